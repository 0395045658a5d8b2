-- Would this policy have prevented it?

CREATE FUNCTION lifeguard.replay_episodes(policy lifeguard.policy, since timestamptz,
	until timestamptz, OUT at timestamptz, OUT pid integer, OUT backend_start timestamptz,
	OUT usename text, OUT datname text, OUT application_name text, OUT verdict text, OUT why text,
	OUT waiters integer, OUT seconds_saved double precision, OUT unknown text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_replay_episodes' LANGUAGE C STRICT STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION lifeguard.replay_episodes(lifeguard.policy, timestamptz, timestamptz) IS
'Goes through the recorded episodes with a complete policy; made for replay_policy().';

CREATE FUNCTION lifeguard.replay_policy(policy lifeguard.policy, since timestamptz,
	until timestamptz, OUT at timestamptz, OUT pid integer, OUT backend_start timestamptz,
	OUT usename text, OUT datname text, OUT application_name text, OUT verdict text, OUT why text,
	OUT waiters integer, OUT seconds_saved numeric, OUT unknown text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	p lifeguard.policy := replay_policy.policy;
	many boolean := p.connections_above IS NOT NULL OR p.victim_order IS NOT DISTINCT FROM 'all but oldest';
	problem record;
BEGIN
	IF p IS NULL THEN -- all of its columns are
		RAISE null_value_not_allowed USING
			MESSAGE = 'policy must not be null',
			HINT = 'A stored policy is replayed by its name; one that is not, as jsonb_populate_record(NULL::lifeguard.policy, ''{"target": "blocker", "min_duration": "30 s"}'').';
	END IF;
	IF replay_policy.until < replay_policy.since THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'argument "until" must not be earlier than "since"',
			DETAIL = format('since is %s, until is %s.', replay_policy.since, replay_policy.until);
	END IF;

	-- what the table would fill in
	p.name := coalesce(p.name, 'replayed');
	p.enabled := coalesce(p.enabled, true);
	p.keep := coalesce(p.keep, 0);
	p.schedule := coalesce(p.schedule, '* * * * *');
	p.action := coalesce(p.action, 'log');
	p.victim_order := coalesce(p.victim_order, 'longest');
	p.runs_on := coalesce(p.runs_on, 'primary');
	p.include_lock_holders := coalesce(p.include_lock_holders, false);
	p.include_listeners := coalesce(p.include_listeners, false);
	p.include_superusers := coalesce(p.include_superusers, false);
	p.owner := coalesce(p.owner, current_user);
	p.max_per_pass := coalesce(p.max_per_pass, CASE WHEN many THEN 0 ELSE 1 END);
	p.max_per_minute := coalesce(p.max_per_minute, CASE WHEN many THEN 600 ELSE 10 END);
	p.cooldown := coalesce(p.cooldown, CASE WHEN many THEN interval '0' ELSE interval '2 s' END);
	IF p.action = 'cancel then terminate' THEN
		p.grace := coalesce(p.grace, interval '5 s');
	END IF;

	SELECT w.* INTO problem FROM lifeguard.policy_problems(p) w LIMIT 1;
	IF FOUND THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('invalid value for column "%s" of the policy', problem.column_name),
			DETAIL = format('It must %s%s.', problem.must, coalesce('; it is ' || quote_literal(problem.got), ''));
	END IF;
	RETURN QUERY
		SELECT e.at, e.pid, e.backend_start, e.usename, e.datname, e.application_name, e.verdict,
			e.why, e.waiters, e.seconds_saved::numeric(20, 3), e.unknown
		FROM lifeguard.replay_episodes(p, coalesce(replay_policy.since, '-infinity'),
			coalesce(replay_policy.until, now())) e
		ORDER BY e.at, e.pid;
END
$$;
COMMENT ON FUNCTION lifeguard.replay_policy(lifeguard.policy, timestamptz, timestamptz) IS
'Whom a policy, which need not be stored, would have acted on between two moments (NULL: from the first on; until now), when and why, from the recorded episodes that are over, through the same decisions as a pass. seconds_saved: what others waited because of that session from then on, each second counted once; 0 for whom it would have spared or left over limit. Schedule, filters and limits count, and roles and rights as they are today; enabled and pauses do not. Action log: whom it would have logged, seconds as if it had acted. unknown: what the histories do not tell. Columns left NULL have their defaults.';

CREATE FUNCTION lifeguard.replay_policy(name text, since timestamptz,
	until timestamptz, OUT at timestamptz, OUT pid integer, OUT backend_start timestamptz,
	OUT usename text, OUT datname text, OUT application_name text, OUT verdict text, OUT why text,
	OUT waiters integer, OUT seconds_saved numeric, OUT unknown text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM lifeguard.require_home_database();
	PERFORM lifeguard.require_policy(replay_policy.name);
	RETURN QUERY
		SELECT r.* FROM ONLY lifeguard.policy p,
			LATERAL lifeguard.replay_policy(p, replay_policy.since, replay_policy.until) r
		WHERE p.name = replay_policy.name;
END
$$;
COMMENT ON FUNCTION lifeguard.replay_policy(text, timestamptz, timestamptz) IS
'The same for a stored policy, whether it was in force or not.';

REVOKE ALL ON FUNCTION lifeguard.replay_episodes(lifeguard.policy, timestamptz, timestamptz),
	lifeguard.replay_policy(lifeguard.policy, timestamptz, timestamptz),
	lifeguard.replay_policy(text, timestamptz, timestamptz) FROM PUBLIC;
