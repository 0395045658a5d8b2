-- Actions by hand, and the ledger of all actions.

CREATE FUNCTION lifeguard.cancel_session(pid integer, reason text, backend_start timestamptz DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'pg_lifeguard_cancel_session' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.cancel_session(integer, text, timestamptz) IS
'Cancels the statement that the session runs now, tells its client the reason, waits up to 5 s and returns the outcome. For whoever pg_cancel_backend() would obey.';

CREATE FUNCTION lifeguard.terminate_session(pid integer, reason text, backend_start timestamptz DEFAULT NULL)
RETURNS text
AS 'MODULE_PATHNAME', 'pg_lifeguard_terminate_session' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.terminate_session(integer, text, timestamptz) IS
'Ends the session, tells its client the reason, waits up to 5 s and returns the outcome. For whoever pg_terminate_backend() would obey.';

-- each call is checked as pg_terminate_backend() checks it
REVOKE ALL ON FUNCTION lifeguard.cancel_session(integer, text, timestamptz),
	lifeguard.terminate_session(integer, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.cancel_session(integer, text, timestamptz),
	lifeguard.terminate_session(integer, text, timestamptz) TO PUBLIC;

CREATE FUNCTION lifeguard.read_ledger(
	OUT boot timestamptz, OUT number bigint, OUT userid oid,
	OUT at timestamptz, OUT policy text, OUT target text, OUT action text, OUT pid integer,
	OUT gid text, OUT backend_start timestamptz, OUT usename name, OUT datname name,
	OUT application_name text, OUT client_addr inet, OUT state text, OUT state_age interval,
	OUT blocked_total integer, OUT blocked_pids integer[], OUT relation_name text,
	OUT query text, OUT query_tags text, OUT signal text, OUT outcome text,
	OUT outcome_at timestamptz, OUT repeats integer, OUT waiters_freed integer,
	OUT reason text, OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_ledger' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_ledger() IS
'Copies the ledger entries in shared memory; what the view ledger shows. boot and number together tell an entry from all others.';
REVOKE ALL ON FUNCTION lifeguard.read_ledger() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.read_ledger() TO PUBLIC;
