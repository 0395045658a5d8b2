-- Contention: what the keeper has written, and what is still in shared memory.

-- Written by the keeper alone, in the home database, one row per minute and key.
-- Not dumped: it tells of this server.
CREATE TABLE lifeguard.contention_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	minute timestamptz NOT NULL,
	datname name,
	relation oid,
	relation_name text,
	locktype text,
	mode text,
	held_mode text,
	root_usesysid oid,
	root_application_name text,
	root_usename name,
	root_query_id bigint,
	root_query text,
	waiter_usesysid oid,
	waiter_application_name text,
	waiter_usename name,
	waiter_query_id bigint,
	waiter_query text,
	waits bigint,
	waits_seen bigint,
	seconds_seen numeric,
	seconds_estimated numeric,
	histogram real[],
	max interval,
	top_rows text[],
	top_row_seconds double precision[],
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX contention_entries_minute ON lifeguard.contention_entries (minute);
REVOKE ALL ON TABLE lifeguard.contention_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.contention_entries IS
'Contention per minute as the keeper has written it, unmasked; the view contention_minutes is for reading.';
COMMENT ON COLUMN lifeguard.contention_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.contention_entries.number IS 'Number of the record since then';
COMMENT ON COLUMN lifeguard.contention_entries.minute IS 'The minute, by its beginning; after a reset within it, by that moment';
COMMENT ON COLUMN lifeguard.contention_entries.datname IS 'Database of the lock; NULL for a relation that all share';
COMMENT ON COLUMN lifeguard.contention_entries.relation IS 'OID of the relation awaited';
COMMENT ON COLUMN lifeguard.contention_entries.relation_name IS 'Its schema-qualified name; uncertain when its lock does not name the row and the waiter has written to several tables, and in the first second of such waits; NULL where there is none, or it is not known';
COMMENT ON COLUMN lifeguard.contention_entries.locktype IS 'Kind of lock awaited, as in pg_locks';
COMMENT ON COLUMN lifeguard.contention_entries.mode IS 'Mode awaited';
COMMENT ON COLUMN lifeguard.contention_entries.held_mode IS 'Strongest mode in which the root blocker holds it; NULL when that is not known';
COMMENT ON COLUMN lifeguard.contention_entries.root_usesysid IS 'Role of the root blocker';
COMMENT ON COLUMN lifeguard.contention_entries.root_application_name IS 'What the root blocker''s client called itself';
COMMENT ON COLUMN lifeguard.contention_entries.root_usename IS 'Role of the root blocker; NULL when there was none, as in a deadlock';
COMMENT ON COLUMN lifeguard.contention_entries.root_query_id IS 'Query identifier of its running or last statement, when compute_query_id gives one';
COMMENT ON COLUMN lifeguard.contention_entries.root_query IS 'That statement without its constants; <prepared transaction> where the root blocker is one';
COMMENT ON COLUMN lifeguard.contention_entries.waiter_usesysid IS 'Role of the waiter';
COMMENT ON COLUMN lifeguard.contention_entries.waiter_application_name IS 'What the waiter''s client called itself';
COMMENT ON COLUMN lifeguard.contention_entries.waiter_usename IS 'Role of the waiter';
COMMENT ON COLUMN lifeguard.contention_entries.waiter_query_id IS 'Query identifier of the statement that waits';
COMMENT ON COLUMN lifeguard.contention_entries.waiter_query IS 'That statement without its constants';
COMMENT ON COLUMN lifeguard.contention_entries.waits IS 'Waits that ended in this minute, with those estimated that no pass saw';
COMMENT ON COLUMN lifeguard.contention_entries.waits_seen IS 'Waits that passes saw, each in the minute in which it was first seen';
COMMENT ON COLUMN lifeguard.contention_entries.seconds_seen IS 'Seconds of waiting in this minute, of those';
COMMENT ON COLUMN lifeguard.contention_entries.seconds_estimated IS 'Seconds estimated for waits that no pass saw';
COMMENT ON COLUMN lifeguard.contention_entries.histogram IS 'How long those that ended had waited, by bucket; for histogram_sum()';
COMMENT ON COLUMN lifeguard.contention_entries.max IS 'Longest of them';
COMMENT ON COLUMN lifeguard.contention_entries.top_rows IS 'The rows most waited for, as (block,offset), at most 8';
COMMENT ON COLUMN lifeguard.contention_entries.top_row_seconds IS 'Seconds of each; one that took the place of another may have too many';
COMMENT ON COLUMN lifeguard.contention_entries.recorded_on IS 'primary or standby';

CREATE FUNCTION lifeguard.read_contention(
	OUT boot timestamptz, OUT number bigint, OUT minute timestamptz, OUT datname name,
	OUT relation oid, OUT relation_name text, OUT locktype text, OUT mode text,
	OUT held_mode text, OUT root_usesysid oid, OUT root_application_name text,
	OUT root_usename name, OUT root_query_id bigint, OUT root_query text,
	OUT waiter_usesysid oid, OUT waiter_application_name text, OUT waiter_usename name,
	OUT waiter_query_id bigint, OUT waiter_query text, OUT waits bigint,
	OUT waits_seen bigint, OUT seconds_seen numeric, OUT seconds_estimated numeric,
	OUT histogram real[], OUT max interval, OUT top_rows text[],
	OUT top_row_seconds double precision[], OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_contention' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_contention() IS
'Reads contention per minute as shared memory has it; what the view contention_minutes shows besides its table.';

CREATE FUNCTION lifeguard.read_row_widths(
	relation oid, rows text[], OUT average_row bigint, OUT widest_row bigint)
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_row_widths'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_row_widths(oid, text[]) IS
'Bytes that the rows of a table have on average with TOAST, by a few blocks, and the widest of some rows, given as (block,offset). Waits for no lock: NULLs where one would have to be waited for, and for whoever may not read the table.';

CREATE FUNCTION lifeguard.histogram_add(sum double precision[], histogram real[])
RETURNS double precision[]
AS 'MODULE_PATHNAME', 'pg_lifeguard_histogram_add' LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION lifeguard.histogram_add(double precision[], real[]) IS
'Adds a histogram of durations to a sum; the transition of histogram_sum().';

CREATE AGGREGATE lifeguard.histogram_sum(real[]) (
	SFUNC = lifeguard.histogram_add, STYPE = double precision[], INITCOND = '{}', PARALLEL = SAFE);
COMMENT ON AGGREGATE lifeguard.histogram_sum(real[]) IS
'The sum of histograms of durations, bucket by bucket.';

CREATE FUNCTION lifeguard.histogram_percentile(sum double precision[], share double precision)
RETURNS interval
AS 'MODULE_PATHNAME', 'pg_lifeguard_histogram_percentile'
LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION lifeguard.histogram_percentile(double precision[], double precision) IS
'The duration that such a share (0 to 1) of a histogram does not exceed; NULL if it is empty. As a rule within 12 % of the true one, above 1 ms.';

GRANT EXECUTE ON FUNCTION lifeguard.read_contention(),
	lifeguard.read_row_widths(oid, text[]), lifeguard.histogram_add(double precision[], real[]),
	lifeguard.histogram_sum(real[]), lifeguard.histogram_percentile(double precision[], double precision)
	TO PUBLIC;

-- Memory is asked once, so that no minute is counted twice or, between two
-- questions, not at all.  A barrier, because the table's rows are masked here:
-- no function of the caller's may see them before.  A relation's name that memory has
-- no more, for it has room for few, is in the table.
CREATE VIEW lifeguard.contention_minutes WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_contention() m)
SELECT m.minute, m.datname, m.relation,
	CASE WHEN m.relation_name IS NULL AND m.relation IS NOT NULL THEN (
		SELECT e.relation_name FROM ONLY lifeguard.contention_entries e WHERE e.boot = m.boot AND e.number = m.number)
		ELSE m.relation_name END AS relation_name,
	m.locktype, m.mode, m.held_mode,
	m.root_application_name, m.root_usename, m.root_query_id, m.root_query,
	m.waiter_application_name, m.waiter_usename, m.waiter_query_id, m.waiter_query,
	m.waits, m.waits_seen, m.seconds_seen, m.seconds_estimated, m.histogram, m.max,
	m.top_rows, m.top_row_seconds, m.recorded_on
FROM memory m
UNION ALL
SELECT e.minute, e.datname, e.relation, e.relation_name, e.locktype, e.mode, e.held_mode,
	e.root_application_name, e.root_usename,
	CASE WHEN may.see_root THEN e.root_query_id END, CASE WHEN may.see_root THEN e.root_query END,
	e.waiter_application_name, e.waiter_usename,
	CASE WHEN may.see_waiter THEN e.waiter_query_id END,
	CASE WHEN may.see_waiter THEN e.waiter_query END,
	e.waits, e.waits_seen, e.seconds_seen, e.seconds_estimated, e.histogram, e.max,
	e.top_rows, e.top_row_seconds, e.recorded_on
FROM ONLY lifeguard.contention_entries e
	-- a role that is gone has no members
	CROSS JOIN LATERAL (SELECT
		pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
			OR COALESCE(pg_catalog.pg_has_role(e.root_usesysid, 'USAGE'), false) AS see_root,
		pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
			OR COALESCE(pg_catalog.pg_has_role(e.waiter_usesysid, 'USAGE'), false) AS see_waiter) may
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.contention_minutes IS
'Seconds lost waiting for locks, minute by minute: each waited second is charged once, in the minute in which it passed or was seen, to the root blocker.';
COMMENT ON COLUMN lifeguard.contention_minutes.minute IS 'The minute, by its beginning; after a reset within it, by that moment';
COMMENT ON COLUMN lifeguard.contention_minutes.datname IS 'Database of the lock; NULL for a relation that all share';
COMMENT ON COLUMN lifeguard.contention_minutes.relation IS 'OID of the relation awaited';
COMMENT ON COLUMN lifeguard.contention_minutes.relation_name IS 'Its schema-qualified name; uncertain when its lock does not name the row and the waiter has written to several tables, and in the first second of such waits; NULL where there is none, or it is not known';
COMMENT ON COLUMN lifeguard.contention_minutes.locktype IS 'Kind of lock awaited, as in pg_locks';
COMMENT ON COLUMN lifeguard.contention_minutes.mode IS 'Mode awaited';
COMMENT ON COLUMN lifeguard.contention_minutes.held_mode IS 'Strongest mode in which the root blocker holds it; NULL when that is not known';
COMMENT ON COLUMN lifeguard.contention_minutes.root_application_name IS 'What the root blocker''s client called itself';
COMMENT ON COLUMN lifeguard.contention_minutes.root_usename IS 'Role of the root blocker; NULL when there was none, as in a deadlock';
COMMENT ON COLUMN lifeguard.contention_minutes.root_query_id IS 'Query identifier of its running or last statement, when compute_query_id gives one; NULL for roles whose statements you may not see';
COMMENT ON COLUMN lifeguard.contention_minutes.root_query IS 'That statement without its constants; <prepared transaction> where the root blocker is one; likewise';
COMMENT ON COLUMN lifeguard.contention_minutes.waiter_application_name IS 'What the waiter''s client called itself';
COMMENT ON COLUMN lifeguard.contention_minutes.waiter_usename IS 'Role of the waiter';
COMMENT ON COLUMN lifeguard.contention_minutes.waiter_query_id IS 'Query identifier of the statement that waits; NULL where root_query_id would be';
COMMENT ON COLUMN lifeguard.contention_minutes.waiter_query IS 'That statement without its constants; likewise';
COMMENT ON COLUMN lifeguard.contention_minutes.waits IS 'Waits that ended in this minute, with those estimated that no pass saw';
COMMENT ON COLUMN lifeguard.contention_minutes.waits_seen IS 'Waits that passes saw, each in the minute in which it was first seen';
COMMENT ON COLUMN lifeguard.contention_minutes.seconds_seen IS 'Seconds of waiting in this minute, of those';
COMMENT ON COLUMN lifeguard.contention_minutes.seconds_estimated IS 'Seconds estimated for waits that no pass saw';
COMMENT ON COLUMN lifeguard.contention_minutes.histogram IS 'How long those that ended had waited, by bucket; for histogram_sum()';
COMMENT ON COLUMN lifeguard.contention_minutes.max IS 'Longest of them';
COMMENT ON COLUMN lifeguard.contention_minutes.top_rows IS 'The rows most waited for, as (block,offset), at most 8';
COMMENT ON COLUMN lifeguard.contention_minutes.top_row_seconds IS 'Seconds of each; one that took the place of another may have too many';
COMMENT ON COLUMN lifeguard.contention_minutes.recorded_on IS 'primary or standby';

-- A statement is known by its query id, else by its text.  What cannot be told
-- apart, because it may not be seen, is one row.
CREATE FUNCTION lifeguard.contention_on(recorded_on text, since timestamptz, until timestamptz)
RETURNS TABLE (datname name, relation_name text, locktype text, mode text, held_mode text,
	root_application_name text, root_usename name, root_query_id bigint, root_query text,
	waiter_application_name text, waiter_usename name, waiter_query_id bigint, waiter_query text,
	waits bigint, seconds_lost numeric, seconds_seen numeric, seconds_estimated numeric,
	p50 interval, p95 interval, p99 interval, max interval,
	top_rows text[], top_row_seconds numeric[],
	n_tup_upd bigint, hot_share numeric, n_dead_tup bigint,
	avg_row_width bigint, hot_row_width bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
WITH minutes AS MATERIALIZED (
	-- one number for all that make up a row of the result
	SELECT m.*, hash_record_extended(ROW(m.datname, m.relation_name,
			CASE WHEN m.relation_name IS NULL THEN m.relation END,
			m.locktype, m.mode, m.held_mode,
			m.root_application_name, m.root_usename, m.root_query_id,
			CASE WHEN m.root_query_id IS NULL THEN m.root_query END,
			m.waiter_application_name, m.waiter_usename, m.waiter_query_id,
			CASE WHEN m.waiter_query_id IS NULL THEN m.waiter_query END), 0) AS key
	FROM lifeguard.contention_minutes m
	-- the barrier lets comparisons through to the index, but no COALESCE
	WHERE m.minute >= (SELECT COALESCE(date_trunc('minute', contention_on.since),
			(SELECT s.reset_at FROM lifeguard.read_status() s), '-infinity'))
		AND m.minute < (SELECT COALESCE(contention_on.until, 'infinity'))
		AND (contention_on.recorded_on IS NULL OR m.recorded_on = contention_on.recorded_on)
), sums AS (
	SELECT m.key, min(m.datname::text)::name AS datname, max(m.relation) AS relation,
		min(m.relation_name) AS relation_name, min(m.locktype) AS locktype, min(m.mode) AS mode,
		min(m.held_mode) AS held_mode,
		min(m.root_application_name) AS root_application_name,
		min(m.root_usename::text)::name AS root_usename, min(m.root_query_id) AS root_query_id,
		min(m.root_query) AS root_query,
		min(m.waiter_application_name) AS waiter_application_name,
		min(m.waiter_usename::text)::name AS waiter_usename,
		min(m.waiter_query_id) AS waiter_query_id, min(m.waiter_query) AS waiter_query,
		sum(m.waits_seen)::bigint AS waits_seen, sum(m.seconds_seen) AS seconds_seen,
		sum(m.seconds_estimated) AS seconds_estimated,
		-- where none has ended, nothing is known of lengths
		lifeguard.histogram_sum(m.histogram) AS histogram, nullif(max(m.max), interval '0') AS max
	FROM minutes m
	GROUP BY m.key
), row_sums AS (
	SELECT m.key, r.place, sum(r.seconds) AS seconds,
		row_number() OVER (PARTITION BY m.key ORDER BY sum(r.seconds) DESC, r.place) AS rank
	FROM minutes m CROSS JOIN LATERAL unnest(m.top_rows, m.top_row_seconds) AS r (place, seconds)
	GROUP BY m.key, r.place
), top AS (
	SELECT r.key, array_agg(r.place ORDER BY r.rank) AS top_rows,
		array_agg(round(r.seconds::numeric, 3) ORDER BY r.rank) AS top_row_seconds
	FROM row_sums r
	WHERE r.rank <= 8
	GROUP BY r.key
)
SELECT s.datname, s.relation_name, s.locktype, s.mode, s.held_mode,
	s.root_application_name, s.root_usename, s.root_query_id, s.root_query,
	s.waiter_application_name, s.waiter_usename, s.waiter_query_id, s.waiter_query,
	greatest(round((SELECT sum(w) FROM unnest(s.histogram) AS w))::bigint, s.waits_seen),
	s.seconds_seen + s.seconds_estimated, s.seconds_seen, s.seconds_estimated,
	-- no longer than the longest that there was
	least(lifeguard.histogram_percentile(s.histogram, 0.5), s.max),
	least(lifeguard.histogram_percentile(s.histogram, 0.95), s.max),
	least(lifeguard.histogram_percentile(s.histogram, 0.99), s.max),
	s.max, t.top_rows, t.top_row_seconds,
	pg_stat_get_tuples_updated(c.oid),
	round(pg_stat_get_tuples_hot_updated(c.oid)::numeric
		/ nullif(pg_stat_get_tuples_updated(c.oid), 0), 3),
	pg_stat_get_dead_tuples(c.oid),
	w.average_row, w.widest_row
FROM sums s
	LEFT JOIN top t ON t.key = s.key
	LEFT JOIN pg_class c ON c.oid = s.relation AND c.relkind IN ('r', 'm', 't')
		AND (s.datname = current_database() OR (s.datname IS NULL AND c.relisshared))
	-- NULLs, and nothing called, where there is no such relation
	CROSS JOIN LATERAL lifeguard.read_row_widths(c.oid, COALESCE(t.top_rows[1:3], '{}')) w
ORDER BY s.seconds_seen + s.seconds_estimated DESC
$$;
COMMENT ON FUNCTION lifeguard.contention_on(text, timestamptz, timestamptz) IS
'What contention() shows, where recorded_on is given only of what was recorded on a primary, or on a standby: a standby has both, for it has the tables of its primary. For findings.';

CREATE VIEW lifeguard.contention AS
SELECT c.* FROM lifeguard.contention_on(NULL, NULL, NULL) c;

CREATE FUNCTION lifeguard.contention(since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
RETURNS SETOF lifeguard.contention
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
SELECT c.* FROM lifeguard.contention_on(NULL, contention.since, contention.until) c
$$;
COMMENT ON FUNCTION lifeguard.contention(timestamptz, timestamptz) IS
'What the view contention shows, of the minutes between two moments, those included in which they lie; without since from the last lifeguard.reset() on.';
GRANT EXECUTE ON FUNCTION lifeguard.contention_on(text, timestamptz, timestamptz),
	lifeguard.contention(timestamptz, timestamptz) TO PUBLIC;

COMMENT ON VIEW lifeguard.contention IS
'Whom waiting for locks cost how much since the last lifeguard.reset(), most first: every waited second is charged once, to the root blocker and to the waiter. On a standby this has the waits of its primary, too. Statements that you may not see are NULL, and so one row.';
COMMENT ON COLUMN lifeguard.contention.datname IS 'Database of the lock; NULL for a relation that all share';
COMMENT ON COLUMN lifeguard.contention.relation_name IS 'Its schema-qualified name; uncertain when its lock does not name the row and the waiter has written to several tables, and in the first second of such waits; NULL where there is none, or it is not known';
COMMENT ON COLUMN lifeguard.contention.locktype IS 'Kind of lock awaited, as in pg_locks';
COMMENT ON COLUMN lifeguard.contention.mode IS 'Mode awaited';
COMMENT ON COLUMN lifeguard.contention.held_mode IS 'Strongest mode in which the root blocker holds it; NULL when that is not known';
COMMENT ON COLUMN lifeguard.contention.root_application_name IS 'What the root blocker''s client called itself';
COMMENT ON COLUMN lifeguard.contention.root_usename IS 'Role of the root blocker; NULL when there was none, as in a deadlock';
COMMENT ON COLUMN lifeguard.contention.root_query_id IS 'Query identifier of its running or last statement, when compute_query_id gives one; NULL for roles whose statements you may not see';
COMMENT ON COLUMN lifeguard.contention.root_query IS 'That statement without its constants; <prepared transaction> where the root blocker is one; likewise';
COMMENT ON COLUMN lifeguard.contention.waiter_application_name IS 'What the waiter''s client called itself';
COMMENT ON COLUMN lifeguard.contention.waiter_usename IS 'Role of the waiter';
COMMENT ON COLUMN lifeguard.contention.waiter_query_id IS 'Query identifier of the statement that waits; NULL where root_query_id would be';
COMMENT ON COLUMN lifeguard.contention.waiter_query IS 'That statement without its constants; likewise';
COMMENT ON COLUMN lifeguard.contention.waits IS 'Waits, with those estimated that no pass saw';
COMMENT ON COLUMN lifeguard.contention.seconds_lost IS 'Seconds of waiting, of all waiters together: those seen and those estimated';
COMMENT ON COLUMN lifeguard.contention.seconds_seen IS 'Of those, of waits that passes saw';
COMMENT ON COLUMN lifeguard.contention.seconds_estimated IS 'Of those, estimated for waits that no pass saw';
COMMENT ON COLUMN lifeguard.contention.p50 IS 'Half of the waits took no longer; each counts as many as it stands for. From a histogram, as a rule within 12 %';
COMMENT ON COLUMN lifeguard.contention.p95 IS '19 of 20 took no longer; likewise';
COMMENT ON COLUMN lifeguard.contention.p99 IS '99 of 100 took no longer; likewise';
COMMENT ON COLUMN lifeguard.contention.max IS 'Longest wait seen that has ended; NULL while none has, as are percentiles. Each counts where it ended: its root blocker may have been another before';
COMMENT ON COLUMN lifeguard.contention.top_rows IS 'The rows most waited for, as (block,offset), most first, at most 8';
COMMENT ON COLUMN lifeguard.contention.top_row_seconds IS 'Seconds of each; one that took the place of another may have too many';
COMMENT ON COLUMN lifeguard.contention.n_tup_upd IS 'Rows of the relation updated, as in pg_stat_all_tables; this and all that follows only for relations of this database';
COMMENT ON COLUMN lifeguard.contention.hot_share IS 'Share of those updates that were HOT, within their page and without touching indexes';
COMMENT ON COLUMN lifeguard.contention.n_dead_tup IS 'Dead rows, as in pg_stat_all_tables';
COMMENT ON COLUMN lifeguard.contention.avg_row_width IS 'Bytes per row as stored, TOAST included, by the rows in a few blocks of the table; NULL when there are none, the table is locked, or you may not read it';
COMMENT ON COLUMN lifeguard.contention.hot_row_width IS 'Bytes of the widest of the first three top rows as stored, with what TOAST holds of it; where a row has moved on, of the one last updated in its block. NULL when none is there, the table is locked, or you may not read it';

GRANT SELECT ON lifeguard.contention_minutes, lifeguard.contention TO PUBLIC;
