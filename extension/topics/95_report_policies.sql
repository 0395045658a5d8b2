-- What reports and findings say of policies: names for those that they advise, and how
-- those stand that are there already.

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

-- The table is asked first: what it says is newer.  Not everybody may read it, and in
-- other databases it is another one.  The calls change nothing, for they may be pasted
-- before they are read.
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
		call := format('SELECT at, pid, application_name, outcome, reason FROM lifeguard.ledger WHERE policy = %s ORDER BY at DESC LIMIT 20;',
			lifeguard.report_literal(policy));
	ELSE
		step := step || format('armed with action %s: see whom it means and what keeps it from acting.', p.action);
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.report_policy_standing(text, text) IS
'How the policy of that name stands and how to go on with it, and a call for that; NULLs when there is none, as far as the caller may see.';

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

GRANT EXECUTE ON FUNCTION lifeguard.report_policy_name(text, text, name), lifeguard.report_policy_action(text),
	lifeguard.report_policy_standing(text, text), lifeguard.report_replay(jsonb, timestamptz, timestamptz)
	TO PUBLIC;
