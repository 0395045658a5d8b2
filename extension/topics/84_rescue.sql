-- Policies at work: what they would do, what they do, how they stand, and the brakes.

CREATE FUNCTION lifeguard.preview_policy(name text, OUT pid integer, OUT gid text,
	OUT backend_start timestamptz, OUT verdict text, OUT why text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_preview_policy' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.preview_policy(text) IS
'Everybody whom the policy''s target means: what it would do to them now, and why, or why it spares them. Touches nobody; asks neither schedule nor whether it is enabled.';

CREATE FUNCTION lifeguard.run_policy(name text, rehearse boolean DEFAULT false, OUT pid integer,
	OUT gid text, OUT backend_start timestamptz, OUT verdict text, OUT why text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_run_policy' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.run_policy(text, boolean) IS
'Runs the policy once, now, and returns the outcomes. Needs its owner''s rights; obeys enforce, pause, limits and protections, and ignores its schedule and whether it is enabled.';

CREATE FUNCTION lifeguard.pause(duration interval, reason text) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'pg_lifeguard_pause' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.pause(interval, text) IS
'Lets all policies only rehearse for that long, through a restart if need be; calls by hand still work. Returns when it ends by itself.';

CREATE FUNCTION lifeguard.resume() RETURNS void
AS 'MODULE_PATHNAME', 'pg_lifeguard_resume' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.resume() IS
'Ends a pause, and the pauses of policies whose breaker has opened.';

CREATE FUNCTION lifeguard.read_policies(OUT name text, OUT in_force boolean, OUT why_not text,
	OUT paused_until timestamptz, OUT next_in_force timestamptz, OUT actions_last_minute integer,
	OUT last_action timestamptz, OUT published_at timestamptz, OUT over_limit bigint,
	OUT spared bigint, OUT action text, OUT paused_since timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_policies' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_policies() IS
'Reads how the published policies stand; made for the view policy_status. Also their action, and since when lifeguard.pause() holds them, for reports and findings.';

CREATE VIEW lifeguard.policy_status AS
SELECT p.name, p.in_force, p.why_not, p.paused_until, p.next_in_force, p.actions_last_minute,
	p.last_action, p.published_at, p.over_limit, p.spared
FROM lifeguard.read_policies() p;
COMMENT ON VIEW lifeguard.policy_status IS
'The policies that have been published to the collector, and how each stands.';
COMMENT ON COLUMN lifeguard.policy_status.name IS 'Name of the policy';
COMMENT ON COLUMN lifeguard.policy_status.in_force IS 'Whether it acts now, or logs if its action is log';
COMMENT ON COLUMN lifeguard.policy_status.why_not IS 'Why it does not';
COMMENT ON COLUMN lifeguard.policy_status.paused_until IS 'Until when it only rehearses, by lifeguard.pause() or its breaker';
COMMENT ON COLUMN lifeguard.policy_status.next_in_force IS 'When its schedules next have it in force, now included; NULL: never, or it is disabled';
COMMENT ON COLUMN lifeguard.policy_status.actions_last_minute IS 'Sessions it signalled in the last minute';
COMMENT ON COLUMN lifeguard.policy_status.last_action IS 'When it last signalled one, since the server started';
COMMENT ON COLUMN lifeguard.policy_status.published_at IS 'When the set of policies last changed for the collector';
COMMENT ON COLUMN lifeguard.policy_status.over_limit IS 'Sessions it hit and had to leave because of a limit, since the server started';
COMMENT ON COLUMN lifeguard.policy_status.spared IS 'Sessions it hit and spared because something protects them, since the server started';

REVOKE ALL ON FUNCTION lifeguard.read_policies() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.read_policies() TO PUBLIC;
REVOKE ALL ON FUNCTION lifeguard.preview_policy(text), lifeguard.run_policy(text, boolean),
	lifeguard.pause(interval, text), lifeguard.resume() FROM PUBLIC;
GRANT SELECT ON lifeguard.policy_status TO PUBLIC;
