-- Schedules: cron expressions that say in which minutes a policy is in force.

CREATE FUNCTION lifeguard.check_schedule(schedule text) RETURNS text
AS 'MODULE_PATHNAME', 'pg_lifeguard_check_schedule'
LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION lifeguard.check_schedule(text) IS
'Says what is wrong with a schedule; NULL when nothing is.';

-- STABLE: the time zone database may be exchanged under a running server
CREATE FUNCTION lifeguard.schedule_in_force(
	schedule text, except_schedule text, time_zone text, at timestamptz) RETURNS boolean
AS 'MODULE_PATHNAME', 'pg_lifeguard_schedule_in_force'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION lifeguard.schedule_in_force(text, text, text, timestamptz) IS
'Whether the local minute of an instant is one that the schedule matches and except_schedule (which may be NULL) does not.';

CREATE FUNCTION lifeguard.schedule_next(
	schedule text, except_schedule text, time_zone text, after timestamptz) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'pg_lifeguard_schedule_next'
LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION lifeguard.schedule_next(text, text, text, timestamptz) IS
'The first instant in force at or after the given one: that one itself, or the beginning of a minute; NULL means never.';

REVOKE ALL ON FUNCTION lifeguard.check_schedule(text),
	lifeguard.schedule_in_force(text, text, text, timestamptz),
	lifeguard.schedule_next(text, text, text, timestamptz)
	FROM PUBLIC;
-- The policy table's trigger and next_in_force call them with the rights of
-- whoever may use those; they tell nothing that is not in their arguments.
GRANT EXECUTE ON FUNCTION lifeguard.check_schedule(text),
	lifeguard.schedule_in_force(text, text, text, timestamptz),
	lifeguard.schedule_next(text, text, text, timestamptz)
	TO PUBLIC;
