-- Lock waits from their beginning to their end: what the keeper has written, and
-- what is still in shared memory.

CREATE FUNCTION lifeguard.read_lock_wait_history(
	OUT boot timestamptz, OUT number bigint, OUT waiter_usesysid oid, OUT waiter_pid integer,
	OUT waiter_backend_start timestamptz, OUT waiter_usename name, OUT waiter_datname name,
	OUT waiter_application_name text, OUT waiter_client_addr inet, OUT waiter_state text,
	OUT waiter_query_id bigint, OUT waiter_query text, OUT waiter_query_tags text,
	OUT root_usesysid oid, OUT root_pid integer, OUT root_backend_start timestamptz,
	OUT root_usename name, OUT root_datname name, OUT root_application_name text,
	OUT root_client_addr inet, OUT root_state text, OUT root_query_id bigint, OUT root_query text,
	OUT root_query_tags text, OUT root_at_end_usesysid oid, OUT root_at_end_pid integer,
	OUT root_at_end_backend_start timestamptz, OUT root_at_end_usename name,
	OUT root_at_end_datname name, OUT root_at_end_application_name text,
	OUT root_at_end_client_addr inet, OUT root_at_end_state text, OUT root_at_end_query_id bigint,
	OUT root_at_end_query text, OUT root_at_end_query_tags text, OUT locktype text,
	OUT relation oid, OUT relation_name text, OUT page bigint, OUT tuple integer, OUT classid oid, OUT objid oid,
	OUT objsubid integer, OUT mode text,
	OUT held_mode text, OUT wait_start timestamptz, OUT duration interval, OUT "precision" interval,
	OUT estimated interval, OUT max_queue integer, OUT ended_by text, OUT database name,
	OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_lock_wait_history' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_lock_wait_history() IS
'Reads the lock waits that have ended and are still in shared memory; what the view lock_wait_history shows beside those in the table.';
GRANT EXECUTE ON FUNCTION lifeguard.read_lock_wait_history() TO PUBLIC;

-- Written by the keeper alone, in the home database.  boot and number tell a wait
-- from all others; the usesysids are for who may see what of the row.
CREATE TABLE lifeguard.lock_wait_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	waiter_usesysid oid,
	waiter_pid integer,
	waiter_backend_start timestamptz,
	waiter_usename name,
	waiter_datname name,
	waiter_application_name text,
	waiter_client_addr inet,
	waiter_state text,
	waiter_query_id bigint,
	waiter_query text,
	waiter_query_tags text,
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
	root_at_end_usesysid oid,
	root_at_end_pid integer,
	root_at_end_backend_start timestamptz,
	root_at_end_usename name,
	root_at_end_datname name,
	root_at_end_application_name text,
	root_at_end_client_addr inet,
	root_at_end_state text,
	root_at_end_query_id bigint,
	root_at_end_query text,
	root_at_end_query_tags text,
	locktype text,
	relation oid,
	relation_name text,
	page bigint,
	tuple integer,
	classid oid,
	objid oid,
	objsubid integer,
	mode text,
	held_mode text,
	wait_start timestamptz NOT NULL,
	duration interval,
	"precision" interval,
	estimated interval,
	max_queue integer,
	ended_by text,
	database name,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX lock_wait_entries_wait_start ON lifeguard.lock_wait_entries (wait_start);
-- those that may have ended long after they began
CREATE INDEX lock_wait_entries_long ON lifeguard.lock_wait_entries (wait_start) WHERE duration >= interval '1 hour';
REVOKE ALL ON TABLE lifeguard.lock_wait_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.lock_wait_entries IS
'Lock waits as the keeper has written them, unmasked; the view lock_wait_history is for reading.';
COMMENT ON COLUMN lifeguard.lock_wait_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.lock_wait_entries.number IS 'Number of the wait since then';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_usesysid IS 'Role of the waiter, for who may see the row';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_pid IS 'Process ID of the waiter';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_backend_start IS 'When the process of the waiter started';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_usename IS 'Role of the waiter';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_datname IS 'Database of the waiter';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_application_name IS 'What the client of the waiter called itself';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_client_addr IS 'Address of the client of the waiter; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_state IS 'Its state';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_query_id IS 'Query id of the waiter''s statement; NULL where none is computed';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_query IS 'The statement that waited; of a long one the middle is left out';
COMMENT ON COLUMN lifeguard.lock_wait_entries.waiter_query_tags IS 'The SQL comment behind or in front of that statement';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_usesysid IS 'Role of the root blocker, for who may see the row';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_pid IS 'Process ID of the root blocker when the wait was first seen: who did not wait himself; 0 for a prepared transaction, NULL when none is known, as in a deadlock';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_backend_start IS 'When the process of the root blocker started';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_usename IS 'Role of the root blocker';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_datname IS 'Database of the root blocker';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_application_name IS 'What the client of the root blocker called itself';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_client_addr IS 'Address of the client of the root blocker; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_state IS 'Its state when the wait was first seen';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_query_id IS 'Query id of the root blocker''s statement; NULL where none is computed';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_query IS 'Its running or last statement when the wait was first seen; of a long one the middle is left out';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_query_tags IS 'The SQL comment behind or in front of that statement';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_usesysid IS 'Role of the root blocker at the end, for who may see the row';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_pid IS 'The same when the wait was last seen';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_backend_start IS 'When the process of the root blocker at the end started';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_usename IS 'Role of the root blocker at the end';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_datname IS 'Database of the root blocker at the end';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_application_name IS 'What the client of the root blocker at the end called itself';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_client_addr IS 'Address of the client of the root blocker at the end; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_state IS 'Its state when the wait was last seen';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_query_id IS 'Query id of the root blocker at the end''s statement; NULL where none is computed';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_query IS 'Its running or last statement when the wait was last seen';
COMMENT ON COLUMN lifeguard.lock_wait_entries.root_at_end_query_tags IS 'The SQL comment behind or in front of that statement';
COMMENT ON COLUMN lifeguard.lock_wait_entries.locktype IS 'What kind of lock was awaited, as in pg_locks';
COMMENT ON COLUMN lifeguard.lock_wait_entries.relation IS 'The relation concerned; NULL when none is, or it is not known';
COMMENT ON COLUMN lifeguard.lock_wait_entries.relation_name IS 'Its name, as learnt while it was there; uncertain where only candidates were known, NULL where it could not be learnt';
COMMENT ON COLUMN lifeguard.lock_wait_entries.page IS 'Block of the row or page; NULL when the wait showed none';
COMMENT ON COLUMN lifeguard.lock_wait_entries.tuple IS 'Offset of the row in it';
COMMENT ON COLUMN lifeguard.lock_wait_entries.classid IS 'Catalog of the object, or first half of an advisory key';
COMMENT ON COLUMN lifeguard.lock_wait_entries.objid IS 'OID of the object, or second half of an advisory key';
COMMENT ON COLUMN lifeguard.lock_wait_entries.objsubid IS 'Column number, or for advisory locks 1 for one bigint key and 2 for two integer keys';
COMMENT ON COLUMN lifeguard.lock_wait_entries.mode IS 'Mode that was awaited';
COMMENT ON COLUMN lifeguard.lock_wait_entries.held_mode IS 'Strongest mode in which the root blocker held the same lock, or, where it held another, in which somebody else kept the waiter from it, when the wait was first seen; NULL when nobody held it so';
COMMENT ON COLUMN lifeguard.lock_wait_entries.wait_start IS 'When the wait began; exact';
COMMENT ON COLUMN lifeguard.lock_wait_entries.duration IS 'How long it lasted; with a precision, the middle of what is possible';
COMMENT ON COLUMN lifeguard.lock_wait_entries."precision" IS '0: the end is exact, told by the session itself or by the line that the server logs. Else the end lies between the last pass that saw the wait and the next one, and the true duration is at most so much shorter or longer than the one given';
COMMENT ON COLUMN lifeguard.lock_wait_entries.estimated IS 'What is charged for it in contention beyond its duration, for the like of it that no pass saw; 0 when it lasted longer than the time between two passes';
COMMENT ON COLUMN lifeguard.lock_wait_entries.max_queue IS 'Most processes seen in the queue for that lock while it lasted, itself included';
COMMENT ON COLUMN lifeguard.lock_wait_entries.ended_by IS 'granted, cancelled, gone, lock timeout, deadlock, policy or by hand';
COMMENT ON COLUMN lifeguard.lock_wait_entries.database IS 'Database of the lock; NULL for what all share';
COMMENT ON COLUMN lifeguard.lock_wait_entries.recorded_on IS 'primary or standby';

-- Memory is asked once, so that no wait is shown twice or, between two questions,
-- not at all.  A barrier, because the table's rows are masked here: no function of
-- the caller's may see them before.  A relation's name that memory has no more, for it
-- has room for few, is in the table.
CREATE VIEW lifeguard.lock_wait_history WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_lock_wait_history() m)
SELECT
	m.waiter_pid, m.waiter_backend_start, m.waiter_usename, m.waiter_datname,
	m.waiter_application_name, m.waiter_client_addr, m.waiter_state, m.waiter_query_id,
	m.waiter_query, m.waiter_query_tags, m.root_pid, m.root_backend_start, m.root_usename,
	m.root_datname, m.root_application_name, m.root_client_addr, m.root_state, m.root_query_id,
	m.root_query, m.root_query_tags, m.root_at_end_pid, m.root_at_end_backend_start,
	m.root_at_end_usename, m.root_at_end_datname, m.root_at_end_application_name,
	m.root_at_end_client_addr, m.root_at_end_state, m.root_at_end_query_id, m.root_at_end_query,
	m.root_at_end_query_tags, m.locktype, m.relation,
	CASE WHEN m.relation_name IS NULL AND m.relation IS NOT NULL THEN (
		SELECT e.relation_name FROM ONLY lifeguard.lock_wait_entries e WHERE e.boot = m.boot AND e.number = m.number)
		ELSE m.relation_name END AS relation_name,
	m.page, m.tuple,
	m.classid, m.objid, m.objsubid, m.mode, m.held_mode, m.wait_start, m.duration, m."precision", m.estimated, m.max_queue, m.ended_by,
	m.database, m.recorded_on
FROM memory m
UNION ALL
SELECT
	e.waiter_pid, CASE WHEN may_waiter.see THEN e.waiter_backend_start END, e.waiter_usename,
	e.waiter_datname, e.waiter_application_name,
	CASE WHEN may_waiter.see THEN e.waiter_client_addr END,
	CASE WHEN may_waiter.see THEN e.waiter_state END,
	CASE WHEN may_waiter.see THEN e.waiter_query_id END,
	CASE WHEN may_waiter.see THEN e.waiter_query
		WHEN e.waiter_pid IS NOT NULL THEN '<insufficient privilege>' END,
	CASE WHEN may_waiter.see THEN e.waiter_query_tags END, e.root_pid,
	CASE WHEN may_root.see THEN e.root_backend_start END, e.root_usename, e.root_datname,
	e.root_application_name, CASE WHEN may_root.see THEN e.root_client_addr END,
	CASE WHEN may_root.see THEN e.root_state END, CASE WHEN may_root.see THEN e.root_query_id END,
	CASE WHEN may_root.see THEN e.root_query
		WHEN e.root_pid IS NOT NULL THEN '<insufficient privilege>' END,
	CASE WHEN may_root.see THEN e.root_query_tags END, e.root_at_end_pid,
	CASE WHEN may_root_at_end.see THEN e.root_at_end_backend_start END, e.root_at_end_usename,
	e.root_at_end_datname, e.root_at_end_application_name,
	CASE WHEN may_root_at_end.see THEN e.root_at_end_client_addr END,
	CASE WHEN may_root_at_end.see THEN e.root_at_end_state END,
	CASE WHEN may_root_at_end.see THEN e.root_at_end_query_id END,
	CASE WHEN may_root_at_end.see THEN e.root_at_end_query
		WHEN e.root_at_end_pid IS NOT NULL THEN '<insufficient privilege>' END,
	CASE WHEN may_root_at_end.see THEN e.root_at_end_query_tags END, e.locktype, e.relation,
	e.relation_name, e.page, e.tuple, e.classid, e.objid, e.objsubid, e.mode, e.held_mode,
	e.wait_start, e.duration, e."precision",
	e.estimated, e.max_queue, e.ended_by, e.database, e.recorded_on
FROM ONLY lifeguard.lock_wait_entries e
	-- a role that is gone has no members
	CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE(pg_catalog.pg_has_role(e.waiter_usesysid, 'USAGE'), false) AS see) may_waiter
	CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE(pg_catalog.pg_has_role(e.root_usesysid, 'USAGE'), false) AS see) may_root
	CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE(pg_catalog.pg_has_role(e.root_at_end_usesysid, 'USAGE'), false) AS see) may_root_at_end
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.lock_wait_history IS
'Waits for heavyweight locks of at least pg_lifeguard.min_episode that are over: who waited for what, behind whom, how long, and how it ended.';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_pid IS 'Process ID of the waiter';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_backend_start IS 'When the process of the waiter started';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_usename IS 'Role of the waiter';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_datname IS 'Database of the waiter';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_application_name IS 'What the client of the waiter called itself';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_client_addr IS 'Address of the client of the waiter; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_state IS 'Its state';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_query_id IS 'Query id of the waiter''s statement; NULL where none is computed';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_query IS 'The statement that waited; of a long one the middle is left out';
COMMENT ON COLUMN lifeguard.lock_wait_history.waiter_query_tags IS 'The SQL comment behind or in front of that statement';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_pid IS 'Process ID of the root blocker when the wait was first seen: who did not wait himself; 0 for a prepared transaction, NULL when none is known, as in a deadlock';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_backend_start IS 'When the process of the root blocker started';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_usename IS 'Role of the root blocker';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_datname IS 'Database of the root blocker';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_application_name IS 'What the client of the root blocker called itself';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_client_addr IS 'Address of the client of the root blocker; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_state IS 'Its state when the wait was first seen';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_query_id IS 'Query id of the root blocker''s statement; NULL where none is computed';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_query IS 'Its running or last statement when the wait was first seen; of a long one the middle is left out';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_query_tags IS 'The SQL comment behind or in front of that statement';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_pid IS 'The same when the wait was last seen';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_backend_start IS 'When the process of the root blocker at the end started';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_usename IS 'Role of the root blocker at the end';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_datname IS 'Database of the root blocker at the end';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_application_name IS 'What the client of the root blocker at the end called itself';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_client_addr IS 'Address of the client of the root blocker at the end; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_state IS 'Its state when the wait was last seen';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_query_id IS 'Query id of the root blocker at the end''s statement; NULL where none is computed';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_query IS 'Its running or last statement when the wait was last seen';
COMMENT ON COLUMN lifeguard.lock_wait_history.root_at_end_query_tags IS 'The SQL comment behind or in front of that statement';
COMMENT ON COLUMN lifeguard.lock_wait_history.locktype IS 'What kind of lock was awaited, as in pg_locks';
COMMENT ON COLUMN lifeguard.lock_wait_history.relation IS 'The relation concerned; NULL when none is, or it is not known';
COMMENT ON COLUMN lifeguard.lock_wait_history.relation_name IS 'Its name, as learnt while it was there; uncertain where only candidates were known, NULL where it could not be learnt';
COMMENT ON COLUMN lifeguard.lock_wait_history.page IS 'Block of the row or page; NULL when the wait showed none';
COMMENT ON COLUMN lifeguard.lock_wait_history.tuple IS 'Offset of the row in it';
COMMENT ON COLUMN lifeguard.lock_wait_history.classid IS 'Catalog of the object, or first half of an advisory key';
COMMENT ON COLUMN lifeguard.lock_wait_history.objid IS 'OID of the object, or second half of an advisory key';
COMMENT ON COLUMN lifeguard.lock_wait_history.objsubid IS 'Column number, or for advisory locks 1 for one bigint key and 2 for two integer keys';
COMMENT ON COLUMN lifeguard.lock_wait_history.mode IS 'Mode that was awaited';
COMMENT ON COLUMN lifeguard.lock_wait_history.held_mode IS 'Strongest mode in which the root blocker held the same lock, or, where it held another, in which somebody else kept the waiter from it, when the wait was first seen; NULL when nobody held it so';
COMMENT ON COLUMN lifeguard.lock_wait_history.wait_start IS 'When the wait began; exact';
COMMENT ON COLUMN lifeguard.lock_wait_history.duration IS 'How long it lasted; with a precision, the middle of what is possible';
COMMENT ON COLUMN lifeguard.lock_wait_history."precision" IS '0: the end is exact, told by the session itself or by the line that the server logs. Else the end lies between the last pass that saw the wait and the next one, and the true duration is at most so much shorter or longer than the one given';
COMMENT ON COLUMN lifeguard.lock_wait_history.estimated IS 'What is charged for it in contention beyond its duration, for the like of it that no pass saw; 0 when it lasted longer than the time between two passes';
COMMENT ON COLUMN lifeguard.lock_wait_history.max_queue IS 'Most processes seen in the queue for that lock while it lasted, itself included';
COMMENT ON COLUMN lifeguard.lock_wait_history.ended_by IS 'granted, cancelled, gone, lock timeout, deadlock, policy or by hand';
COMMENT ON COLUMN lifeguard.lock_wait_history.database IS 'Database of the lock; NULL for what all share';
COMMENT ON COLUMN lifeguard.lock_wait_history.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.lock_wait_history TO PUBLIC;
