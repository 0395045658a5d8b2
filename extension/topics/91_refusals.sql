-- Refusals: connection attempts that the server turned away.

CREATE FUNCTION lifeguard.read_refusals(
	OUT boot timestamptz, OUT number bigint,
	OUT at timestamptz, OUT cause text, OUT usename name, OUT datname name,
	OUT application_name text, OUT client_addr inet, OUT attempts bigint, OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_refusals' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION lifeguard.read_refusals() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.read_refusals() TO PUBLIC;
COMMENT ON FUNCTION lifeguard.read_refusals() IS
'Copies the refusals in shared memory; what the view refusals shows of them.';

CREATE FUNCTION lifeguard.read_refusal_counts(
	OUT cause text, OUT refusals bigint, OUT last_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_refusal_counts'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 7;
REVOKE ALL ON FUNCTION lifeguard.read_refusal_counts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.read_refusal_counts() TO PUBLIC;
COMMENT ON FUNCTION lifeguard.read_refusal_counts() IS
'Copies the counters of refusals; what the view refusal_counts shows.';

-- Written by the keeper alone, in the home database.  Not dumped: it tells of this server.
CREATE TABLE lifeguard.refusal_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	at timestamptz NOT NULL,
	cause text,
	usename name,
	datname name,
	application_name text,
	client_addr inet,
	attempts bigint,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX refusal_entries_at ON lifeguard.refusal_entries (at);
REVOKE ALL ON TABLE lifeguard.refusal_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.refusal_entries IS
'Refusals as the keeper has written them, unmasked; the view refusals is for reading.';
COMMENT ON COLUMN lifeguard.refusal_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.refusal_entries.number IS 'Number of the row since then';
COMMENT ON COLUMN lifeguard.refusal_entries.at IS 'When the server refused; of many, when it first did, or when that was noticed';
COMMENT ON COLUMN lifeguard.refusal_entries.cause IS 'slots: all are taken; reserved: the last are for members of pg_use_reserved_connections (PostgreSQL 16 and newer); superuser reserved: the last are for superusers; database limit, role limit: its CONNECTION LIMIT; child limit: so many connections have not even logged in yet; replication: max_wal_senders';
COMMENT ON COLUMN lifeguard.refusal_entries.usename IS 'Role as the client named it, whether there is one or not, with ? for what is not ASCII; NULL where attempts stands for several clients';
COMMENT ON COLUMN lifeguard.refusal_entries.datname IS 'Database as the client named it, likewise; NULL also for physical replication';
COMMENT ON COLUMN lifeguard.refusal_entries.application_name IS 'What the client called itself, if it said so when it connected';
COMMENT ON COLUMN lifeguard.refusal_entries.client_addr IS 'Address of the client; NULL for a Unix socket, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.refusal_entries.attempts IS 'How many attempts this row stands for: 1; more of those that were alike when there were more than 100 in a second';
COMMENT ON COLUMN lifeguard.refusal_entries.recorded_on IS 'primary or standby';

CREATE VIEW lifeguard.refusals WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_refusals() m)
SELECT m.at, m.cause, m.usename, m.datname, m.application_name, m.client_addr, m.attempts,
	m.recorded_on
FROM memory m
UNION ALL
SELECT e.at, e.cause, e.usename, e.datname, e.application_name,
	CASE WHEN may.see THEN e.client_addr END, e.attempts, e.recorded_on
FROM ONLY lifeguard.refusal_entries e
	-- the client has only named a role; one that there is not has no members
	CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE((SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles r
			WHERE r.rolname = e.usename), false) AS see) may
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.refusals IS
'Connection attempts that the server turned away with SQLSTATE 53300 for want of a slot or by a limit. attempts, summed over all rows kept, is what refusal_counts counted. What never reaches a server process is not here and cannot be counted: attempts that the kernel drops or keeps waiting because the listen backlog is full, that pg_hba.conf or a wrong password turns away, for which no process could be forked, and those that wait in a pooler. Nor are those that the server log leaves out: see status.refusals_counted.';
COMMENT ON COLUMN lifeguard.refusals.at IS 'When the server refused; of many, when it first did, or when that was noticed';
COMMENT ON COLUMN lifeguard.refusals.cause IS 'slots: all are taken; reserved: the last are for members of pg_use_reserved_connections (PostgreSQL 16 and newer); superuser reserved: the last are for superusers; database limit, role limit: its CONNECTION LIMIT; child limit: so many connections have not even logged in yet; replication: max_wal_senders';
COMMENT ON COLUMN lifeguard.refusals.usename IS 'Role as the client named it, whether there is one or not, with ? for what is not ASCII; NULL where attempts stands for several clients';
COMMENT ON COLUMN lifeguard.refusals.datname IS 'Database as the client named it, likewise; NULL also for physical replication';
COMMENT ON COLUMN lifeguard.refusals.application_name IS 'What the client called itself, if it said so when it connected';
COMMENT ON COLUMN lifeguard.refusals.client_addr IS 'Address of the client; NULL for a Unix socket, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.refusals.attempts IS 'How many attempts this row stands for: 1; more of those that were alike when there were more than 100 in a second';
COMMENT ON COLUMN lifeguard.refusals.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.refusals TO PUBLIC;

CREATE VIEW lifeguard.refusal_counts AS
SELECT c.cause, c.refusals, c.last_at FROM lifeguard.read_refusal_counts() c;
COMMENT ON VIEW lifeguard.refusal_counts IS
'Connection attempts that the server turned away since it started or lifeguard.reset() was called, exactly, by cause, one row each; numbers NULL where pg_lifeguard is not preloaded.';
COMMENT ON COLUMN lifeguard.refusal_counts.cause IS 'As in refusals';
COMMENT ON COLUMN lifeguard.refusal_counts.refusals IS 'Attempts turned away';
COMMENT ON COLUMN lifeguard.refusal_counts.last_at IS 'When the newest of them was; NULL if there is none';
GRANT SELECT ON lifeguard.refusal_counts TO PUBLIC;
