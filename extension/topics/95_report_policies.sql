-- What reports and findings say of policies: names for those that they advise, how those
-- stand that are there already, and what to do about what they did.  Calls about one that
-- is there change nothing, for they may be pasted before they are read.

CREATE FUNCTION lifeguard.report_policy_name(purpose text, application_name text, usename name) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT purpose || coalesce('_' || nullif(left(btrim(lower(regexp_replace(
	coalesce(nullif(application_name, ''), usename), '[^A-Za-z0-9]+', '_', 'g')), '_'), 40), ''), '')
$$;
COMMENT ON FUNCTION lifeguard.report_policy_name(text, text, name) IS
'A name for a policy against the sessions of an application, or else of a role.';

-- As create_recommended_policies() has it: what runs or waits can be tried again.
CREATE FUNCTION lifeguard.report_policy_action(target text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE WHEN target IN ('queued ddl', 'active', 'waiter') THEN 'cancel' ELSE 'terminate' END
$$;
COMMENT ON FUNCTION lifeguard.report_policy_action(text) IS
'The action with which a policy on that target is to be armed.';

CREATE FUNCTION lifeguard.report_policy_ledger(policy text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT format('SELECT at, pid, application_name, outcome, reason FROM lifeguard.ledger WHERE policy = %s ORDER BY at DESC LIMIT 20;',
	lifeguard.report_literal(policy))
$$;
COMMENT ON FUNCTION lifeguard.report_policy_ledger(text) IS
'The query that shows whom that policy met last.';

CREATE FUNCTION lifeguard.report_policy_limits(policy text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT format('SELECT max_per_pass, max_per_minute, cooldown FROM lifeguard.policy WHERE name = %s;', lifeguard.report_literal(policy))
$$;
COMMENT ON FUNCTION lifeguard.report_policy_limits(text) IS
'The query that shows the limits of that policy.';

-- The table is asked first: what it says is newer.  Not everybody may read it, and in
-- other databases it is another one.
CREATE FUNCTION lifeguard.report_policy_standing(policy text, target text, OUT step text, OUT call text)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p record;
BEGIN
	IF has_table_privilege('lifeguard.policy', 'SELECT') AND current_database() = lifeguard.home_database() THEN
		SELECT o.enabled, o.action INTO p FROM ONLY lifeguard.policy o WHERE o.name = policy;
	ELSE
		SELECT r.why_not IS DISTINCT FROM 'it is disabled' AS enabled, r.action INTO p FROM lifeguard.read_policies() r WHERE r.name = policy;
	END IF;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	call := format('SELECT * FROM lifeguard.policy_status WHERE name = %s;', lifeguard.report_literal(policy));
	step := format('policy %s is there, ', lifeguard.report_line(policy, 64));
	IF NOT p.enabled THEN
		step := step || format('disabled: enable_policy() puts it in force, with action %s.', p.action);
	ELSIF p.action = 'log' THEN
		step := step || format('only rehearses: see whom it would have met, and if that is right, arm it by alter_policy() with action %s.',
			lifeguard.report_policy_action(target));
		call := lifeguard.report_policy_ledger(policy);
	ELSE
		step := step || format('armed with action %s: see whom it means and what keeps it from acting.', p.action);
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.report_policy_standing(text, text) IS
'How the policy of that name stands and how to go on with it, and a call for that; NULLs when there is none, as far as the caller may see.';

-- What check_replayable() in src/replay.c refuses is not to be advised.
CREATE FUNCTION lifeguard.report_policy_is_replayed(policy text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF current_database() <> lifeguard.home_database() OR NOT has_table_privilege('lifeguard.policy', 'SELECT')
		OR NOT has_function_privilege('lifeguard.replay_policy(text, timestamptz, timestamptz)', 'EXECUTE')
		OR NOT has_function_privilege('lifeguard.replay_policy(lifeguard.policy, timestamptz, timestamptz)', 'EXECUTE')
		OR NOT has_function_privilege('lifeguard.replay_episodes(lifeguard.policy, timestamptz, timestamptz)', 'EXECUTE') THEN
		RETURN false;
	END IF;
	RETURN EXISTS (
		SELECT FROM ONLY lifeguard.policy o
		WHERE o.name = report_policy_is_replayed.policy
			AND o.target IN ('idle in transaction', 'transaction', 'blocker', 'waiter', 'queued ddl')
			AND o.min_horizon_age IS NULL AND o.min_same_query IS NULL AND o.connections_above IS NULL
			AND (o.target <> 'waiter' OR o.min_blocked IS NULL AND o.min_blocked_for IS NULL));
END
$$;
COMMENT ON FUNCTION lifeguard.report_policy_is_replayed(text) IS
'Whether the caller may have replay_policy() replay that policy, and it can: it is there, and asks for nothing that histories do not tell.';

-- A policy runs on primaries, and so does its replay, unless it says otherwise.  Rows of
-- contention() do not tell where they were recorded.
CREATE FUNCTION lifeguard.report_runs_on(from_time timestamptz, to_time timestamptz) RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE WHEN EXISTS (
		SELECT FROM lifeguard.contention_minutes m
		WHERE m.minute >= date_trunc('minute', from_time) AND m.minute < to_time AND m.recorded_on = 'standby')
	THEN '{"runs_on": "both"}' ELSE '{}' END::jsonb
$$;
COMMENT ON FUNCTION lifeguard.report_runs_on(timestamptz, timestamptz) IS
'Where a policy has to run that is meant for what contention() shows of that time, if not on primaries alone; else empty.';

-- The call that tries a policy on what is recorded, and harms nobody.
CREATE FUNCTION lifeguard.report_replay(policy jsonb, from_time timestamptz, to_time timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT format('SELECT * FROM lifeguard.replay_policy(jsonb_populate_record(NULL::lifeguard.policy, jsonb_build_object(%s)), %s, %s);',
	(SELECT string_agg(format('%s, %s', lifeguard.report_literal(p.key),
			CASE WHEN jsonb_typeof(p.value) = 'string' THEN lifeguard.report_literal(p.value #>> '{}') ELSE p.value::text END),
			', ' ORDER BY p.key = 'action', p.key = 'min_blocked', p.key = 'min_duration')
	 FROM jsonb_each(policy) p),
	lifeguard.report_moment(from_time), lifeguard.report_moment(to_time + interval '1 second'))
$$;
COMMENT ON FUNCTION lifeguard.report_replay(jsonb, timestamptz, timestamptz) IS
'The call of replay_policy() for a policy that is not stored.';

CREATE FUNCTION lifeguard.report_action_step(a record, from_time timestamptz, to_time timestamptz,
	OUT step text, OUT call text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text := lifeguard.report_literal(a.policy);
	replayed boolean := lifeguard.report_policy_is_replayed(a.policy);
	see text := CASE WHEN replayed THEN 'what it would have saved' ELSE 'whom it would have met' END;
BEGIN
	IF a.policy IS NULL THEN
		IF a.outcome = 'terminated' AND a.number >= 3 THEN
			step := format('Sessions were ended by hand %s: a policy does that without anybody being woken; see idle transactions and contention for which.',
				lifeguard.report_count(a.number, 'time', 'times'));
		END IF;
	ELSIF a.outcome = 'rehearsed' THEN
		-- the call is not what arms it: it may be pasted before it is read
		step := format('It only rehearsed then, with %s kept waiting%s', lifeguard.report_count(a.blocked, 'session', 'sessions'),
			CASE WHEN a.action <> 'log' THEN format('; see %s.', see)
				WHEN a.armed > a.last THEN format(', and has been armed since; see %s.', see)
				ELSE format('; see %s, and if that is right, arm it by alter_policy() with action %s.', see,
					lifeguard.report_policy_action(a.target)) END);
		call := CASE WHEN replayed THEN format('SELECT * FROM lifeguard.replay_policy(%s, %s, %s);', name, lifeguard.report_moment(from_time), lifeguard.report_moment(to_time))
			ELSE lifeguard.report_policy_ledger(a.policy) END;
	ELSIF a.outcome = 'survived' THEN
		step := format('%s did not end within 10 s of the signal: see what they do.', lifeguard.report_count(a.number, 'session', 'sessions'));
		call := format('SELECT at, pid, state, query, outcome FROM lifeguard.ledger WHERE policy = %s AND outcome LIKE ''survived%%'' ORDER BY at DESC LIMIT 10;', name);
	ELSIF a.outcome = 'over limit' THEN
		step := format('Its limits held it back %s: if it ought to have acted, raise max_per_pass or max_per_minute, or shorten cooldown, whichever it was, or else pg_lifeguard.max_actions_per_minute.',
			lifeguard.report_count(a.number, 'time', 'times'));
		call := lifeguard.report_policy_limits(a.policy);
	ELSIF a.outcome = 'not permitted' THEN
		step := format('Its owner may not signal these sessions (%s): let a role that may own it, or grant pg_signal_backend to its owner.',
			lifeguard.report_count(a.number, 'time', 'times'));
		call := format('SELECT name, owner FROM lifeguard.policy WHERE name = %s;', name);
	ELSIF a.outcome LIKE 'spared%' THEN
		step := format('It spared %s for that reason: see whom.', lifeguard.report_count(a.number, 'session', 'sessions'));
		call := format('SELECT at, pid, application_name, outcome FROM lifeguard.ledger WHERE policy = %s AND outcome LIKE ''spared%%'' ORDER BY at DESC LIMIT 10;', name);
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.report_action_step(record, timestamptz, timestamptz) IS
'The next step for actions of one kind, and its call.';

GRANT EXECUTE ON FUNCTION lifeguard.report_policy_name(text, text, name), lifeguard.report_policy_action(text),
	lifeguard.report_policy_ledger(text), lifeguard.report_policy_limits(text), lifeguard.report_policy_standing(text, text),
	lifeguard.report_policy_is_replayed(text), lifeguard.report_action_step(record, timestamptz, timestamptz),
	lifeguard.report_runs_on(timestamptz, timestamptz), lifeguard.report_replay(jsonb, timestamptz, timestamptz)
	TO PUBLIC;
