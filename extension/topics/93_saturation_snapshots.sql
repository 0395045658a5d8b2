-- Who held the connections when the server was fullest, and when it turned somebody
-- away.

-- Written by the keeper alone, in the home database.  Not dumped: it tells of this server.
CREATE TABLE lifeguard.snapshot_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	usesysid oid,
	at timestamptz NOT NULL,
	reason text,
	used integer,
	usable integer,
	datname name,
	usename name,
	application_name text,
	client_addr inet,
	total integer,
	active integer,
	idle integer,
	idle_in_transaction integer,
	oldest_idle interval,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX snapshot_entries_at ON lifeguard.snapshot_entries (at);
REVOKE ALL ON TABLE lifeguard.snapshot_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.snapshot_entries IS
'Who held the connections, as the keeper has written it, unmasked; the view saturation_snapshots is for reading.';
COMMENT ON COLUMN lifeguard.snapshot_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.snapshot_entries.number IS 'Number of the row since then';
COMMENT ON COLUMN lifeguard.snapshot_entries.usesysid IS 'Role of the sessions';
COMMENT ON COLUMN lifeguard.snapshot_entries.at IS 'When: the beginning of the pass that looked';
COMMENT ON COLUMN lifeguard.snapshot_entries.reason IS 'high water: more slots were taken than ever before; refusal: connection attempts had been turned away since the pass before';
COMMENT ON COLUMN lifeguard.snapshot_entries.used IS 'Connection slots taken then, by connections still logging in too; the sum of total';
COMMENT ON COLUMN lifeguard.snapshot_entries.usable IS 'Connection slots that any role may take';
COMMENT ON COLUMN lifeguard.snapshot_entries.datname IS 'Name of the database; NULL in the row of all that have none of their own';
COMMENT ON COLUMN lifeguard.snapshot_entries.usename IS 'Name of the role';
COMMENT ON COLUMN lifeguard.snapshot_entries.application_name IS 'What the clients called themselves';
COMMENT ON COLUMN lifeguard.snapshot_entries.client_addr IS 'Address of the clients; NULL for Unix sockets, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.snapshot_entries.total IS 'Slots that these hold';
COMMENT ON COLUMN lifeguard.snapshot_entries.active IS 'Of those, running a statement';
COMMENT ON COLUMN lifeguard.snapshot_entries.idle IS 'Of those, idle outside a transaction';
COMMENT ON COLUMN lifeguard.snapshot_entries.idle_in_transaction IS 'Of those, idle in a transaction, a failed one too';
COMMENT ON COLUMN lifeguard.snapshot_entries.oldest_idle IS 'For how long the longest of those in idle had been so; NULL if there were none, in the row without names, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.snapshot_entries.recorded_on IS 'primary or standby';

CREATE FUNCTION lifeguard.read_saturation_snapshots(
	OUT boot timestamptz, OUT number bigint, OUT usesysid oid, OUT at timestamptz,
	OUT reason text, OUT used integer, OUT usable integer, OUT datname name, OUT usename name,
	OUT application_name text, OUT client_addr inet, OUT total integer, OUT active integer,
	OUT idle integer, OUT idle_in_transaction integer, OUT oldest_idle interval,
	OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_saturation_snapshots' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION lifeguard.read_saturation_snapshots() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.read_saturation_snapshots() TO PUBLIC;
COMMENT ON FUNCTION lifeguard.read_saturation_snapshots() IS
'Copies the snapshots in shared memory; what the view saturation_snapshots shows of them.';

-- Memory is asked once, and the table's rows are masked here, as in the ledger.
CREATE VIEW lifeguard.saturation_snapshots WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_saturation_snapshots() m)
SELECT
	m.at, m.reason, m.used, m.usable, m.datname, m.usename, m.application_name, m.client_addr,
	m.total, m.active, m.idle, m.idle_in_transaction, m.oldest_idle, m.recorded_on
FROM memory m
UNION ALL
SELECT
	e.at, e.reason, e.used, e.usable, e.datname, e.usename, e.application_name,
	CASE WHEN may.see THEN e.client_addr END, e.total, e.active, e.idle, e.idle_in_transaction,
	CASE WHEN may.see THEN e.oldest_idle END, e.recorded_on
FROM ONLY lifeguard.snapshot_entries e
	-- a role that is gone has no members
	CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE(pg_catalog.pg_has_role(e.usesysid, 'USAGE'), false) AS see) may
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.saturation_snapshots IS
'Who held the connection slots each time more were taken than ever before (since the server''s start or reset()), and when connections were refused, as sessions were before any policy acted: a row for each of the 64 largest groups, and one without names for all other slots, those still logging in included, so that total adds up to used. At most once a second for each reason; of a second with several high-water marks the last is kept, and shown by the first pass after it. Counts are true for everybody, whoever may see the sessions.';
COMMENT ON COLUMN lifeguard.saturation_snapshots.at IS 'When: the beginning of the pass that looked';
COMMENT ON COLUMN lifeguard.saturation_snapshots.reason IS 'high water: more slots were taken than ever before; refusal: connection attempts had been turned away since the pass before';
COMMENT ON COLUMN lifeguard.saturation_snapshots.used IS 'Connection slots taken then, by connections still logging in too; the sum of total';
COMMENT ON COLUMN lifeguard.saturation_snapshots.usable IS 'Connection slots that any role may take';
COMMENT ON COLUMN lifeguard.saturation_snapshots.datname IS 'Name of the database; NULL in the row of all that have none of their own';
COMMENT ON COLUMN lifeguard.saturation_snapshots.usename IS 'Name of the role';
COMMENT ON COLUMN lifeguard.saturation_snapshots.application_name IS 'What the clients called themselves';
COMMENT ON COLUMN lifeguard.saturation_snapshots.client_addr IS 'Address of the clients; NULL for Unix sockets, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.saturation_snapshots.total IS 'Slots that these hold';
COMMENT ON COLUMN lifeguard.saturation_snapshots.active IS 'Of those, running a statement';
COMMENT ON COLUMN lifeguard.saturation_snapshots.idle IS 'Of those, idle outside a transaction';
COMMENT ON COLUMN lifeguard.saturation_snapshots.idle_in_transaction IS 'Of those, idle in a transaction, a failed one too';
COMMENT ON COLUMN lifeguard.saturation_snapshots.oldest_idle IS 'For how long the longest of those in idle had been so; NULL if there were none, in the row without names, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.saturation_snapshots.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.saturation_snapshots TO PUBLIC;
