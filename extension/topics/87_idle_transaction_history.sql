-- Stays idle in transaction that are over: what the keeper has written, and what is
-- still in shared memory.

CREATE FUNCTION lifeguard.read_idle_transactions(
	OUT boot timestamptz, OUT number bigint, OUT usesysid oid, OUT pid integer,
	OUT backend_start timestamptz, OUT usename name, OUT datname name, OUT application_name text,
	OUT client_addr inet, OUT state text, OUT query_id bigint, OUT query text, OUT query_tags text,
	OUT xact_start timestamptz, OUT idle_start timestamptz, OUT duration interval,
	OUT "precision" interval, OUT locks_held integer, OUT max_blocked integer,
	OUT blocked_seconds numeric, OUT horizon_age integer, OUT ended_by text, OUT statements text[],
	OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_idle_transactions' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_idle_transactions() IS
'Copies the ended stays idle in transaction that are in shared memory; what the view idle_transaction_history shows. boot and number together tell a row from all others.';
REVOKE ALL ON FUNCTION lifeguard.read_idle_transactions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.read_idle_transactions() TO PUBLIC;

-- Written by the keeper alone, in the home database.  usesysid is the session's role,
-- for who may see the row.  Not dumped: it tells of this server.
CREATE TABLE lifeguard.idle_transaction_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	usesysid oid,
	pid integer,
	backend_start timestamptz,
	usename name,
	datname name,
	application_name text,
	client_addr inet,
	state text,
	query_id bigint,
	query text,
	query_tags text,
	xact_start timestamptz,
	idle_start timestamptz NOT NULL,
	duration interval,
	precision interval,
	locks_held integer,
	max_blocked integer,
	blocked_seconds numeric,
	horizon_age integer,
	ended_by text,
	statements text[],
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX idle_transaction_entries_idle_start ON lifeguard.idle_transaction_entries (idle_start);
-- those that may have ended long after they began
CREATE INDEX idle_transaction_entries_long ON lifeguard.idle_transaction_entries (idle_start) WHERE duration >= interval '1 hour';
REVOKE ALL ON TABLE lifeguard.idle_transaction_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.idle_transaction_entries IS
'Stays idle in transaction as the keeper has written them, unmasked; the view idle_transaction_history is for reading.';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.number IS 'Number of the record since then';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.usesysid IS 'Role of the session';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.pid IS 'Process ID of the session';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.backend_start IS 'When its process started';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.usename IS 'Its role';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.datname IS 'Its database';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.application_name IS 'What its client called itself';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.client_addr IS 'Address of its client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.state IS 'idle in transaction, aborted or not';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.query_id IS 'Query identifier of the statement before the pause';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.query IS 'The statement before the pause; of a long one the middle is left out';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.xact_start IS 'When the transaction started';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.idle_start IS 'When it fell idle';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.duration IS 'How long it stayed so';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.precision IS 'How far off the duration may be at most; 0 = exact';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.locks_held IS 'Heavyweight locks it held meanwhile, counted as pg_locks shows them';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.max_blocked IS 'Sessions that waited for it, directly or through others, at the worst';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.blocked_seconds IS 'How long they waited for it during the pause, all together, as far as passes saw them';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.horizon_age IS 'Age, in transactions, of the older of its xid and xmin, at the worst, while nothing older kept dead rows of its database; NULL = never';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.ended_by IS 'statement, end of transaction, gone, timeout, policy, by hand or cancelled';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.statements IS 'The last statements of the transaction before the pause, at most 4, the oldest first; NULL while pg_lifeguard.track_statements is 0';
COMMENT ON COLUMN lifeguard.idle_transaction_entries.recorded_on IS 'primary or standby';

-- Memory is asked once, so that no row is shown twice or, between two questions, not
-- at all.  A barrier, because the table's rows are masked here: no function of the
-- caller's may see them before.  What is hidden from the caller stands by itself, so that
-- the rest is found by the index on idle_start: whoever may see all, what he may see of
-- it, and what he may not, where a time is never asked for.
CREATE VIEW lifeguard.idle_transaction_history WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_idle_transactions() m)
SELECT m.pid, m.backend_start, m.usename, m.datname, m.application_name, m.client_addr, m.state,
	m.query_id, m.query, m.query_tags, m.xact_start, m.idle_start, m.duration, m.precision,
	m.locks_held, m.max_blocked, m.blocked_seconds, m.horizon_age, m.ended_by, m.statements,
	m.recorded_on
FROM memory m
UNION ALL
SELECT e.pid, e.backend_start, e.usename, e.datname, e.application_name, e.client_addr, e.state,
	e.query_id, e.query, e.query_tags, e.xact_start, e.idle_start, e.duration, e.precision,
	e.locks_held, e.max_blocked, e.blocked_seconds, e.horizon_age, e.ended_by, e.statements,
	e.recorded_on
FROM ONLY lifeguard.idle_transaction_entries e
WHERE pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
	AND NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number)
UNION ALL
SELECT e.pid, e.backend_start, e.usename, e.datname, e.application_name, e.client_addr, e.state,
	e.query_id, e.query, e.query_tags, e.xact_start, e.idle_start, e.duration, e.precision,
	e.locks_held, e.max_blocked, e.blocked_seconds, e.horizon_age, e.ended_by, e.statements,
	e.recorded_on
FROM ONLY lifeguard.idle_transaction_entries e
	-- a role that is gone has no members
	CROSS JOIN LATERAL (SELECT COALESCE(pg_catalog.pg_has_role(e.usesysid, 'USAGE'), false) AS see) may
WHERE NOT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AND may.see
	AND NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number)
UNION ALL
SELECT e.pid, NULL, e.usename, e.datname, e.application_name, NULL, NULL, NULL,
	'<insufficient privilege>', NULL, NULL, NULL, NULL, NULL, NULL, e.max_blocked,
	e.blocked_seconds, e.horizon_age, NULL, NULL, e.recorded_on
FROM ONLY lifeguard.idle_transaction_entries e
	CROSS JOIN LATERAL (SELECT COALESCE(pg_catalog.pg_has_role(e.usesysid, 'USAGE'), false) AS see) may
WHERE NOT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') AND NOT may.see
	AND NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.idle_transaction_history IS
'Stays idle in transaction of pg_lifeguard.min_episode or longer that are over: whose, how long, whom they kept waiting, and how they ended. In shared memory at once, in the home database within pg_lifeguard.flush_interval.';
COMMENT ON COLUMN lifeguard.idle_transaction_history.pid IS 'Process ID of the session';
COMMENT ON COLUMN lifeguard.idle_transaction_history.backend_start IS 'When its process started';
COMMENT ON COLUMN lifeguard.idle_transaction_history.usename IS 'Its role';
COMMENT ON COLUMN lifeguard.idle_transaction_history.datname IS 'Its database';
COMMENT ON COLUMN lifeguard.idle_transaction_history.application_name IS 'What its client called itself';
COMMENT ON COLUMN lifeguard.idle_transaction_history.client_addr IS 'Address of its client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.idle_transaction_history.state IS 'idle in transaction, aborted or not';
COMMENT ON COLUMN lifeguard.idle_transaction_history.query_id IS 'Query identifier of the statement before the pause';
COMMENT ON COLUMN lifeguard.idle_transaction_history.query IS 'The statement before the pause; of a long one the middle is left out';
COMMENT ON COLUMN lifeguard.idle_transaction_history.query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.idle_transaction_history.xact_start IS 'When the transaction started';
COMMENT ON COLUMN lifeguard.idle_transaction_history.idle_start IS 'When it fell idle';
COMMENT ON COLUMN lifeguard.idle_transaction_history.duration IS 'How long it stayed so';
COMMENT ON COLUMN lifeguard.idle_transaction_history.precision IS 'How far off the duration may be at most; 0 = exact';
COMMENT ON COLUMN lifeguard.idle_transaction_history.locks_held IS 'Heavyweight locks it held meanwhile, counted as pg_locks shows them';
COMMENT ON COLUMN lifeguard.idle_transaction_history.max_blocked IS 'Sessions that waited for it, directly or through others, at the worst';
COMMENT ON COLUMN lifeguard.idle_transaction_history.blocked_seconds IS 'How long they waited for it during the pause, all together, as far as passes saw them';
COMMENT ON COLUMN lifeguard.idle_transaction_history.horizon_age IS 'Age, in transactions, of the older of its xid and xmin, at the worst, while nothing older kept dead rows of its database; NULL = never';
COMMENT ON COLUMN lifeguard.idle_transaction_history.ended_by IS 'statement, end of transaction, gone, timeout, policy, by hand or cancelled';
COMMENT ON COLUMN lifeguard.idle_transaction_history.statements IS 'The last statements of the transaction before the pause, at most 4, the oldest first; NULL while pg_lifeguard.track_statements is 0';
COMMENT ON COLUMN lifeguard.idle_transaction_history.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.idle_transaction_history TO PUBLIC;
