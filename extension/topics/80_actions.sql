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
	OUT boot timestamptz, OUT number bigint, OUT at timestamptz, OUT policy text, OUT target text, OUT action text, OUT pid integer,
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

CREATE VIEW lifeguard.ledger AS
SELECT l.at, l.policy, l.target, l.action, l.pid, l.gid, l.backend_start, l.usename, l.datname,
	l.application_name, l.client_addr, l.state, l.state_age, l.blocked_total, l.blocked_pids,
	l.relation_name, l.query, l.query_tags, l.signal, l.outcome, l.outcome_at, l.repeats,
	l.waiters_freed, l.reason, l.recorded_on
FROM lifeguard.read_ledger() l
ORDER BY l.at;
COMMENT ON VIEW lifeguard.ledger IS
'Every action: on whom, why, on what evidence, and what came of it. In shared memory: it ends with the server.';
COMMENT ON COLUMN lifeguard.ledger.at IS 'When the signal went out';
COMMENT ON COLUMN lifeguard.ledger.policy IS 'Name of the policy; NULL by hand';
COMMENT ON COLUMN lifeguard.ledger.target IS 'The policy''s target, or by hand';
COMMENT ON COLUMN lifeguard.ledger.action IS 'cancel or terminate';
COMMENT ON COLUMN lifeguard.ledger.pid IS 'Process ID of the victim';
COMMENT ON COLUMN lifeguard.ledger.gid IS 'Name of the prepared transaction';
COMMENT ON COLUMN lifeguard.ledger.backend_start IS 'When the victim''s process started';
COMMENT ON COLUMN lifeguard.ledger.usename IS 'Role of the victim';
COMMENT ON COLUMN lifeguard.ledger.datname IS 'Database of the victim';
COMMENT ON COLUMN lifeguard.ledger.application_name IS 'What its client called itself';
COMMENT ON COLUMN lifeguard.ledger.client_addr IS 'Address of its client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.ledger.state IS 'Its state when it was judged';
COMMENT ON COLUMN lifeguard.ledger.state_age IS 'How long that state had lasted';
COMMENT ON COLUMN lifeguard.ledger.blocked_total IS 'Sessions that waited for it, directly or through others';
COMMENT ON COLUMN lifeguard.ledger.blocked_pids IS 'Their process IDs, at most 32';
COMMENT ON COLUMN lifeguard.ledger.relation_name IS 'The relation they waited for, or that it waited for itself; NULL if it is of another database';
COMMENT ON COLUMN lifeguard.ledger.query IS 'Its running or last statement, clipped at 1,023 bytes';
COMMENT ON COLUMN lifeguard.ledger.query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.ledger.signal IS 'What it was sent: SIGINT for a cancel, SIGTERM for a terminate, as the victim''s own handler carried it out';
COMMENT ON COLUMN lifeguard.ledger.outcome IS 'terminated in N ms, cancelled in N ms, spared: why, or already acted on; signalled while nothing is known';
COMMENT ON COLUMN lifeguard.ledger.outcome_at IS 'When that was known';
COMMENT ON COLUMN lifeguard.ledger.repeats IS 'How often the same was asked for in this episode';
COMMENT ON COLUMN lifeguard.ledger.waiters_freed IS 'How many of those that waited for it do so no more';
COMMENT ON COLUMN lifeguard.ledger.reason IS 'What was given as the reason';
COMMENT ON COLUMN lifeguard.ledger.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.ledger TO PUBLIC;
