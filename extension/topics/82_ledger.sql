-- The ledger: what the keeper has written, and what is still in shared memory.

-- Written by the keeper alone, in the home database.  boot and number tell an
-- entry from all others; userid is the victim's role, for who may see the row.
-- Not dumped: it tells of this server.
CREATE TABLE lifeguard.ledger_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	userid oid,
	at timestamptz NOT NULL,
	policy text,
	target text,
	action text,
	pid integer,
	gid text,
	backend_start timestamptz,
	usename name,
	datname name,
	application_name text,
	client_addr inet,
	state text,
	state_age interval,
	blocked_total integer,
	blocked_pids integer[],
	relation_name text,
	query text,
	query_tags text,
	signal text,
	outcome text,
	outcome_at timestamptz,
	repeats integer,
	waiters_freed integer,
	reason text,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX ledger_entries_at ON lifeguard.ledger_entries (at);
REVOKE ALL ON TABLE lifeguard.ledger_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.ledger_entries IS
'The ledger as the keeper has written it, unmasked; the view ledger is for reading.';
COMMENT ON COLUMN lifeguard.ledger_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.ledger_entries.number IS 'Number of the entry since then';
COMMENT ON COLUMN lifeguard.ledger_entries.userid IS 'Role of the victim';
COMMENT ON COLUMN lifeguard.ledger_entries.at IS 'When the signal went out, or the verdict was reached';
COMMENT ON COLUMN lifeguard.ledger_entries.policy IS 'Name of the policy; NULL by hand';
COMMENT ON COLUMN lifeguard.ledger_entries.target IS 'The policy''s target, or by hand';
COMMENT ON COLUMN lifeguard.ledger_entries.action IS 'log, cancel, terminate or cancel then terminate';
COMMENT ON COLUMN lifeguard.ledger_entries.pid IS 'Process ID of the victim';
COMMENT ON COLUMN lifeguard.ledger_entries.gid IS 'Name of the prepared transaction';
COMMENT ON COLUMN lifeguard.ledger_entries.backend_start IS 'When the victim''s process started';
COMMENT ON COLUMN lifeguard.ledger_entries.usename IS 'Role of the victim';
COMMENT ON COLUMN lifeguard.ledger_entries.datname IS 'Database of the victim';
COMMENT ON COLUMN lifeguard.ledger_entries.application_name IS 'What its client called itself';
COMMENT ON COLUMN lifeguard.ledger_entries.client_addr IS 'Address of its client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.ledger_entries.state IS 'Its state when it was judged';
COMMENT ON COLUMN lifeguard.ledger_entries.state_age IS 'How long that state had lasted';
COMMENT ON COLUMN lifeguard.ledger_entries.blocked_total IS 'Sessions that waited for it, directly or through others';
COMMENT ON COLUMN lifeguard.ledger_entries.blocked_pids IS 'Their process IDs, at most 32';
COMMENT ON COLUMN lifeguard.ledger_entries.relation_name IS 'The relation they waited for, or that it waited for itself; NULL until its name has been looked up';
COMMENT ON COLUMN lifeguard.ledger_entries.query IS 'Its running or last statement, clipped at 1,023 bytes';
COMMENT ON COLUMN lifeguard.ledger_entries.query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.ledger_entries.signal IS 'What it was sent: SIGINT for a cancel, SIGTERM for a terminate, as the victim''s own handler carried it out';
COMMENT ON COLUMN lifeguard.ledger_entries.outcome IS 'terminated in N ms, cancelled in N ms, rolled back in N ms, survived, spared: why, not permitted, over limit, already acted on or rehearsed; signalled while nothing is known';
COMMENT ON COLUMN lifeguard.ledger_entries.outcome_at IS 'When that was known';
COMMENT ON COLUMN lifeguard.ledger_entries.repeats IS 'How often the same was asked for in this episode; in the table written when it doubles';
COMMENT ON COLUMN lifeguard.ledger_entries.waiters_freed IS 'How many of those that waited for it do so no more';
COMMENT ON COLUMN lifeguard.ledger_entries.reason IS 'By hand: what was given as the reason; of a policy: what the session did, for how long, and to whom';
COMMENT ON COLUMN lifeguard.ledger_entries.recorded_on IS 'primary or standby';

-- Memory is asked once, so that no entry is shown twice or, between two
-- questions, not at all.  A barrier, because the table's rows are masked here:
-- no function of the caller's may see them before.  A relation's name that memory has
-- no more, for it has room for few, is in the table.
CREATE VIEW lifeguard.ledger WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_ledger() m)
SELECT m.at, m.policy, m.target, m.action, m.pid, m.gid, m.backend_start, m.usename, m.datname,
	m.application_name, m.client_addr, m.state, m.state_age, m.blocked_total, m.blocked_pids,
	CASE WHEN m.relation_name IS NULL THEN (
		SELECT e.relation_name FROM ONLY lifeguard.ledger_entries e WHERE e.boot = m.boot AND e.number = m.number)
		ELSE m.relation_name END AS relation_name,
	m.query, m.query_tags, m.signal, m.outcome, m.outcome_at, m.repeats,
	m.waiters_freed, m.reason, m.recorded_on
FROM memory m
UNION ALL
SELECT e.at, e.policy, e.target, e.action, e.pid, e.gid,
	CASE WHEN may.see THEN e.backend_start END, e.usename, e.datname, e.application_name,
	CASE WHEN may.see THEN e.client_addr END, CASE WHEN may.see THEN e.state END,
	CASE WHEN may.see THEN e.state_age END, e.blocked_total, e.blocked_pids, e.relation_name,
	CASE WHEN may.see THEN e.query ELSE '<insufficient privilege>' END,
	CASE WHEN may.see THEN e.query_tags END, e.signal, e.outcome, e.outcome_at, e.repeats,
	e.waiters_freed, CASE WHEN may.see OR e.policy IS NULL THEN e.reason END, e.recorded_on
FROM ONLY lifeguard.ledger_entries e
	-- a role that is gone has no members
	CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE(pg_catalog.pg_has_role(e.userid, 'USAGE'), false) AS see) may
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.ledger IS
'Every action: on whom, why, on what evidence, and what came of it. In shared memory at once, in the home database within pg_lifeguard.flush_interval.';
COMMENT ON COLUMN lifeguard.ledger.at IS 'When the signal went out, or the verdict was reached';
COMMENT ON COLUMN lifeguard.ledger.policy IS 'Name of the policy; NULL by hand';
COMMENT ON COLUMN lifeguard.ledger.target IS 'The policy''s target, or by hand';
COMMENT ON COLUMN lifeguard.ledger.action IS 'log, cancel, terminate or cancel then terminate';
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
COMMENT ON COLUMN lifeguard.ledger.relation_name IS 'The relation they waited for, or that it waited for itself; NULL until its name has been looked up';
COMMENT ON COLUMN lifeguard.ledger.query IS 'Its running or last statement, clipped at 1,023 bytes';
COMMENT ON COLUMN lifeguard.ledger.query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.ledger.signal IS 'What it was sent: SIGINT for a cancel, SIGTERM for a terminate, as the victim''s own handler carried it out';
COMMENT ON COLUMN lifeguard.ledger.outcome IS 'terminated in N ms, cancelled in N ms, rolled back in N ms, survived, spared: why, not permitted, over limit, already acted on or rehearsed; signalled while nothing is known';
COMMENT ON COLUMN lifeguard.ledger.outcome_at IS 'When that was known';
COMMENT ON COLUMN lifeguard.ledger.repeats IS 'How often the same was asked for in this episode; in the table written when it doubles';
COMMENT ON COLUMN lifeguard.ledger.waiters_freed IS 'How many of those that waited for it do so no more';
COMMENT ON COLUMN lifeguard.ledger.reason IS 'By hand: what was given as the reason; of a policy: what the session did, for how long, and to whom';
COMMENT ON COLUMN lifeguard.ledger.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.ledger TO PUBLIC;
