-- Incidents: stretches of trouble, one row each.

-- until is always there, so that an incident that the server's end cut off has
-- one; going_on says whether it was under way when the row was written.
CREATE FUNCTION lifeguard.read_incidents(
	OUT boot timestamptz, OUT number bigint,
	OUT since timestamptz, OUT until timestamptz, OUT going_on boolean, OUT worst_at timestamptz,
	OUT causes text[], OUT worst_waiters integer, OUT worst_used integer, OUT usable integer,
	OUT refusals bigint, OUT sessions_hurt integer, OUT seconds_lost numeric,
	OUT root_usesysid oid, OUT root_pid integer, OUT root_backend_start timestamptz,
	OUT root_usename name, OUT root_datname name, OUT root_application_name text,
	OUT root_client_addr inet, OUT root_state text, OUT root_query_id bigint, OUT root_query text,
	OUT root_query_tags text, OUT relation_name text, OUT ended_by text, OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_incidents' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION lifeguard.read_incidents() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.read_incidents() TO PUBLIC;
COMMENT ON FUNCTION lifeguard.read_incidents() IS
'Copies the incidents in shared memory; what the view incidents shows. boot and number together tell an incident from all others.';

-- Written by the keeper alone, in the home database.  Not dumped: it tells of this server.
CREATE TABLE lifeguard.incident_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	since timestamptz NOT NULL,
	until timestamptz NOT NULL,
	going_on boolean NOT NULL,
	worst_at timestamptz,
	causes text[],
	worst_waiters integer,
	worst_used integer,
	usable integer,
	refusals bigint,
	sessions_hurt integer,
	seconds_lost numeric,
	root_usesysid oid,
	root_pid integer,
	root_backend_start timestamptz,
	root_usename name,
	root_datname name,
	root_application_name text,
	root_client_addr inet,
	root_state text,
	root_query_id bigint,
	root_query text,
	root_query_tags text,
	relation_name text,
	ended_by text,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX incident_entries_since ON lifeguard.incident_entries (since);
REVOKE ALL ON TABLE lifeguard.incident_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.incident_entries IS
'Incidents as the keeper has written them, unmasked; the view incidents is for reading.';
COMMENT ON COLUMN lifeguard.incident_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.incident_entries.number IS 'Number of the incident since then';
COMMENT ON COLUMN lifeguard.incident_entries.since IS 'When as many sessions waited, or as many slots were taken, as make an incident, or a connection was refused';
COMMENT ON COLUMN lifeguard.incident_entries.until IS 'When it was bad for the last time';
COMMENT ON COLUMN lifeguard.incident_entries.going_on IS 'It was under way when this was written';
COMMENT ON COLUMN lifeguard.incident_entries.worst_at IS 'When most sessions waited; if none did, when most slots were taken';
COMMENT ON COLUMN lifeguard.incident_entries.causes IS 'What reached its bound: waiters, saturation, refusals';
COMMENT ON COLUMN lifeguard.incident_entries.worst_waiters IS 'Most sessions that waited for locks at one time';
COMMENT ON COLUMN lifeguard.incident_entries.worst_used IS 'Most connection slots taken at one time';
COMMENT ON COLUMN lifeguard.incident_entries.usable IS 'Connection slots that any role may take';
COMMENT ON COLUMN lifeguard.incident_entries.refusals IS 'Connection attempts turned away meanwhile; NULL: not counted';
COMMENT ON COLUMN lifeguard.incident_entries.sessions_hurt IS 'Sessions that waited for a lock meanwhile, each counted once';
COMMENT ON COLUMN lifeguard.incident_entries.seconds_lost IS 'Seconds that sessions waited for locks meanwhile, summed over all';
COMMENT ON COLUMN lifeguard.incident_entries.root_usesysid IS 'Role of the root blocker, for who may see what it did';
COMMENT ON COLUMN lifeguard.incident_entries.root_pid IS 'Process ID of the first root blocker with most waiters; 0 for a prepared transaction, NULL if there was none';
COMMENT ON COLUMN lifeguard.incident_entries.root_backend_start IS 'When its process started';
COMMENT ON COLUMN lifeguard.incident_entries.root_usename IS 'Its role';
COMMENT ON COLUMN lifeguard.incident_entries.root_datname IS 'Its database';
COMMENT ON COLUMN lifeguard.incident_entries.root_application_name IS 'What its client called itself';
COMMENT ON COLUMN lifeguard.incident_entries.root_client_addr IS 'Address of its client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.incident_entries.root_state IS 'Its state when sessions began to wait for it';
COMMENT ON COLUMN lifeguard.incident_entries.root_query_id IS 'Identifier of its statement; NULL without compute_query_id';
COMMENT ON COLUMN lifeguard.incident_entries.root_query IS 'Its running or last statement when sessions began to wait for it; the middle of a long one is left out';
COMMENT ON COLUMN lifeguard.incident_entries.root_query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.incident_entries.relation_name IS 'The relation that was awaited because of it; NULL until its name has been looked up';
COMMENT ON COLUMN lifeguard.incident_entries.ended_by IS 'What ended it: by itself, policy or by hand; NULL while it goes on, and if the server ended first';
COMMENT ON COLUMN lifeguard.incident_entries.recorded_on IS 'primary or standby';

-- Memory is asked once, and the table's rows are masked here, as in the ledger.
-- Whatever goes on is in memory: a row of the table that says so is of a server
-- that has ended, or of another one, and has lasted as long as is known.  On a standby
-- that is its primary, under way if it has just been written: while an incident goes on
-- its row is written at least once a minute, and it may be well for 30 s.
CREATE VIEW lifeguard.incidents WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_incidents() m)
SELECT m.since, CASE WHEN NOT m.going_on THEN m.until END AS until, m.worst_at, m.causes,
	m.worst_waiters, m.worst_used, m.usable, m.refusals, m.sessions_hurt, m.seconds_lost,
	m.root_pid, m.root_backend_start, m.root_usename, m.root_datname, m.root_application_name,
	m.root_client_addr, m.root_state, m.root_query_id, m.root_query, m.root_query_tags,
	m.relation_name, m.ended_by, m.recorded_on
FROM memory m
UNION ALL
SELECT e.since, CASE WHEN NOT (e.going_on AND e.recorded_on = 'primary' AND pg_catalog.pg_is_in_recovery()
		AND e.until > statement_timestamp() - interval '2 min') THEN e.until END, e.worst_at, e.causes, e.worst_waiters, e.worst_used, e.usable, e.refusals,
	e.sessions_hurt, e.seconds_lost, e.root_pid, CASE WHEN may.see THEN e.root_backend_start END,
	e.root_usename, e.root_datname, e.root_application_name,
	CASE WHEN may.see THEN e.root_client_addr END, CASE WHEN may.see THEN e.root_state END,
	CASE WHEN may.see THEN e.root_query_id END,
	CASE WHEN may.see THEN e.root_query ELSE '<insufficient privilege>' END,
	CASE WHEN may.see THEN e.root_query_tags END, e.relation_name, e.ended_by, e.recorded_on
FROM ONLY lifeguard.incident_entries e
	-- a role that is gone has no members; where there is no root, nothing is hidden
	CROSS JOIN LATERAL (SELECT e.root_pid IS NULL
		OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE(pg_catalog.pg_has_role(e.root_usesysid, 'USAGE'), false) AS see) may
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.incidents IS
'Stretches of trouble, one row each: many sessions waiting for locks, few connection slots left, or connections refused; who it began with, whom it hurt, what ended it.';
COMMENT ON COLUMN lifeguard.incidents.since IS 'When as many sessions waited, or as many slots were taken, as make an incident, or a connection was refused';
COMMENT ON COLUMN lifeguard.incidents.until IS 'When it was bad for the last time; NULL while it goes on, until all has been well for 30 s; on a standby also for one of its primary, if bad in the last 2 minutes';
COMMENT ON COLUMN lifeguard.incidents.worst_at IS 'When most sessions waited; if none did, when most slots were taken';
COMMENT ON COLUMN lifeguard.incidents.causes IS 'What reached its bound: waiters, saturation, refusals';
COMMENT ON COLUMN lifeguard.incidents.worst_waiters IS 'Most sessions that waited for locks at one time';
COMMENT ON COLUMN lifeguard.incidents.worst_used IS 'Most connection slots taken at one time';
COMMENT ON COLUMN lifeguard.incidents.usable IS 'Connection slots that any role may take';
COMMENT ON COLUMN lifeguard.incidents.refusals IS 'Connection attempts turned away meanwhile; NULL: not counted';
COMMENT ON COLUMN lifeguard.incidents.sessions_hurt IS 'Sessions that waited for a lock meanwhile, each counted once';
COMMENT ON COLUMN lifeguard.incidents.seconds_lost IS 'Seconds that sessions waited for locks meanwhile, summed over all';
COMMENT ON COLUMN lifeguard.incidents.root_pid IS 'Process ID of the first root blocker with most waiters; 0 for a prepared transaction, NULL if there was none';
COMMENT ON COLUMN lifeguard.incidents.root_backend_start IS 'When its process started';
COMMENT ON COLUMN lifeguard.incidents.root_usename IS 'Its role';
COMMENT ON COLUMN lifeguard.incidents.root_datname IS 'Its database';
COMMENT ON COLUMN lifeguard.incidents.root_application_name IS 'What its client called itself';
COMMENT ON COLUMN lifeguard.incidents.root_client_addr IS 'Address of its client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.incidents.root_state IS 'Its state when sessions began to wait for it';
COMMENT ON COLUMN lifeguard.incidents.root_query_id IS 'Identifier of its statement; NULL without compute_query_id';
COMMENT ON COLUMN lifeguard.incidents.root_query IS 'Its running or last statement when sessions began to wait for it; the middle of a long one is left out';
COMMENT ON COLUMN lifeguard.incidents.root_query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.incidents.relation_name IS 'The relation that was awaited because of it; NULL until its name has been looked up';
COMMENT ON COLUMN lifeguard.incidents.ended_by IS 'What ended it: by itself, policy or by hand; NULL while it goes on, and if the server ended first';
COMMENT ON COLUMN lifeguard.incidents.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.incidents TO PUBLIC;

CREATE FUNCTION lifeguard.incident_at(at timestamptz) RETURNS SETOF lifeguard.incidents
LANGUAGE sql VOLATILE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
	SELECT i.*
	FROM lifeguard.incidents i
	WHERE i.since <= incident_at.at AND COALESCE(i.until, clock_timestamp()) >= incident_at.at
	ORDER BY i.since
$$;
REVOKE ALL ON FUNCTION lifeguard.incident_at(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lifeguard.incident_at(timestamptz) TO PUBLIC;
COMMENT ON FUNCTION lifeguard.incident_at(timestamptz) IS
'The incidents that held at that moment; none, if there was none.';
