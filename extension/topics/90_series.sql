-- Time series: connections, who holds them, and what active sessions wait for,
-- by the minute; the last 15 minutes by the second.  The tables are written by the
-- keeper alone, in the home database; boot and number tell a row from all others.
-- Not dumped: they tell of this server.

CREATE TABLE lifeguard.connection_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	minute timestamptz NOT NULL,
	used numeric,
	used_max integer,
	active numeric,
	idle numeric,
	idle_in_transaction numeric,
	idle_in_transaction_aborted numeric,
	waiting numeric,
	waiting_max integer,
	usable integer,
	high_water integer,
	refusals bigint,
	seen numeric,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX connection_entries_minute ON lifeguard.connection_entries (minute);
REVOKE ALL ON TABLE lifeguard.connection_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.connection_entries IS
'Connections per minute as the keeper has written them; the view connection_history is for reading.';
COMMENT ON COLUMN lifeguard.connection_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.connection_entries.number IS 'Number of the row since then';
COMMENT ON COLUMN lifeguard.connection_entries.minute IS 'The minute, by its beginning';
COMMENT ON COLUMN lifeguard.connection_entries.used IS 'Slots taken, on average, by connections still starting too; NULL when no pass stands for any time of that minute';
COMMENT ON COLUMN lifeguard.connection_entries.used_max IS 'Most slots that a pass saw taken';
COMMENT ON COLUMN lifeguard.connection_entries.active IS 'Sessions that ran a statement, on average';
COMMENT ON COLUMN lifeguard.connection_entries.idle IS 'Sessions idle outside a transaction, on average';
COMMENT ON COLUMN lifeguard.connection_entries.idle_in_transaction IS 'Sessions idle in a transaction, on average';
COMMENT ON COLUMN lifeguard.connection_entries.idle_in_transaction_aborted IS 'Sessions idle in a transaction that failed, on average';
COMMENT ON COLUMN lifeguard.connection_entries.waiting IS 'Sessions that waited for a heavyweight lock, on average; counted under their state too';
COMMENT ON COLUMN lifeguard.connection_entries.waiting_max IS 'Most sessions that a pass saw waiting';
COMMENT ON COLUMN lifeguard.connection_entries.usable IS 'Slots that any role could take';
COMMENT ON COLUMN lifeguard.connection_entries.high_water IS 'Most slots that were taken, as far as is known';
COMMENT ON COLUMN lifeguard.connection_entries.refusals IS 'Connection attempts turned away in that minute; NULL: not counted, as status says';
COMMENT ON COLUMN lifeguard.connection_entries.seen IS 'Seconds of that minute which the averages are of; what lay between two passes too far apart nobody saw';
COMMENT ON COLUMN lifeguard.connection_entries.recorded_on IS 'primary or standby';

CREATE FUNCTION lifeguard.read_connection_history(
	OUT boot timestamptz, OUT number bigint, OUT minute timestamptz, OUT used numeric,
	OUT used_max integer, OUT active numeric, OUT idle numeric,
	OUT idle_in_transaction numeric, OUT idle_in_transaction_aborted numeric,
	OUT waiting numeric, OUT waiting_max integer, OUT usable integer, OUT high_water integer,
	OUT refusals bigint, OUT seen numeric, OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_connection_history' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_connection_history() IS
'Copies the minutes that are in shared memory; what the view connection_history shows of them.';
GRANT EXECUTE ON FUNCTION lifeguard.read_connection_history() TO PUBLIC;

CREATE VIEW lifeguard.connection_history WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_connection_history() m)
SELECT
	m.minute, m.used, m.used_max, m.active, m.idle, m.idle_in_transaction,
	m.idle_in_transaction_aborted, m.waiting, m.waiting_max, m.usable, m.high_water,
	m.refusals, m.seen, m.recorded_on
FROM memory m
UNION ALL
SELECT
	e.minute, e.used, e.used_max, e.active, e.idle, e.idle_in_transaction,
	e.idle_in_transaction_aborted, e.waiting, e.waiting_max, e.usable, e.high_water,
	e.refusals, e.seen, e.recorded_on
FROM ONLY lifeguard.connection_entries e
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.connection_history IS
'What the server''s connections did in each minute: averages over time, and maxima. The minute under way is shown as far as it has come.';
COMMENT ON COLUMN lifeguard.connection_history.minute IS 'The minute, by its beginning';
COMMENT ON COLUMN lifeguard.connection_history.used IS 'Slots taken, on average, by connections still starting too; NULL when no pass stands for any time of that minute';
COMMENT ON COLUMN lifeguard.connection_history.used_max IS 'Most slots that a pass saw taken';
COMMENT ON COLUMN lifeguard.connection_history.active IS 'Sessions that ran a statement, on average';
COMMENT ON COLUMN lifeguard.connection_history.idle IS 'Sessions idle outside a transaction, on average';
COMMENT ON COLUMN lifeguard.connection_history.idle_in_transaction IS 'Sessions idle in a transaction, on average';
COMMENT ON COLUMN lifeguard.connection_history.idle_in_transaction_aborted IS 'Sessions idle in a transaction that failed, on average';
COMMENT ON COLUMN lifeguard.connection_history.waiting IS 'Sessions that waited for a heavyweight lock, on average; counted under their state too';
COMMENT ON COLUMN lifeguard.connection_history.waiting_max IS 'Most sessions that a pass saw waiting';
COMMENT ON COLUMN lifeguard.connection_history.usable IS 'Slots that any role could take';
COMMENT ON COLUMN lifeguard.connection_history.high_water IS 'Most slots that were taken, as far as is known';
COMMENT ON COLUMN lifeguard.connection_history.refusals IS 'Connection attempts turned away in that minute; NULL: not counted, as status says';
COMMENT ON COLUMN lifeguard.connection_history.seen IS 'Seconds of that minute which the averages are of; what lay between two passes too far apart nobody saw';
COMMENT ON COLUMN lifeguard.connection_history.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.connection_history TO PUBLIC;

CREATE TABLE lifeguard.connection_usage_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	usesysid oid,
	minute timestamptz NOT NULL,
	datname name,
	usename name,
	application_name text,
	client_addr inet,
	held numeric,
	held_max integer,
	active numeric,
	active_max integer,
	idle numeric,
	idle_in_transaction numeric,
	samples integer,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX connection_usage_entries_minute ON lifeguard.connection_usage_entries (minute);
REVOKE ALL ON TABLE lifeguard.connection_usage_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.connection_usage_entries IS
'Who held connections per minute, as the keeper has written it, unmasked; the view connection_usage_history is for reading.';
COMMENT ON COLUMN lifeguard.connection_usage_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.connection_usage_entries.number IS 'Number of the row since then';
COMMENT ON COLUMN lifeguard.connection_usage_entries.usesysid IS 'Role of the sessions';
COMMENT ON COLUMN lifeguard.connection_usage_entries.minute IS 'The minute, by its beginning';
COMMENT ON COLUMN lifeguard.connection_usage_entries.datname IS 'Name of the database; NULL in the one row, if there is one, for all that came after 256 groups in that minute, and for sessions that were still starting';
COMMENT ON COLUMN lifeguard.connection_usage_entries.usename IS 'Name of the role';
COMMENT ON COLUMN lifeguard.connection_usage_entries.application_name IS 'What the clients called themselves';
COMMENT ON COLUMN lifeguard.connection_usage_entries.client_addr IS 'Address of the clients; NULL for Unix sockets, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.connection_usage_entries.held IS 'Sessions, on average over the samples of that minute';
COMMENT ON COLUMN lifeguard.connection_usage_entries.held_max IS 'Most sessions in one sample';
COMMENT ON COLUMN lifeguard.connection_usage_entries.active IS 'Of those, running a statement, on average';
COMMENT ON COLUMN lifeguard.connection_usage_entries.active_max IS 'Most of those in one sample';
COMMENT ON COLUMN lifeguard.connection_usage_entries.idle IS 'Of those, idle outside a transaction, on average';
COMMENT ON COLUMN lifeguard.connection_usage_entries.idle_in_transaction IS 'Of those, idle in a transaction, a failed one too, on average';
COMMENT ON COLUMN lifeguard.connection_usage_entries.samples IS 'Samples in that minute, of all sessions, one every 5 s';
COMMENT ON COLUMN lifeguard.connection_usage_entries.recorded_on IS 'primary or standby';

CREATE FUNCTION lifeguard.read_connection_usage_history(
	OUT boot timestamptz, OUT number bigint, OUT usesysid oid, OUT minute timestamptz,
	OUT datname name, OUT usename name, OUT application_name text, OUT client_addr inet,
	OUT held numeric, OUT held_max integer, OUT active numeric, OUT active_max integer,
	OUT idle numeric, OUT idle_in_transaction numeric, OUT samples integer,
	OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_connection_usage_history' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_connection_usage_history() IS
'Copies the minutes that are in shared memory; what the view connection_usage_history shows of them.';
GRANT EXECUTE ON FUNCTION lifeguard.read_connection_usage_history() TO PUBLIC;

CREATE VIEW lifeguard.connection_usage_history WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_connection_usage_history() m)
SELECT
	m.minute, m.datname, m.usename, m.application_name, m.client_addr, m.held, m.held_max,
	m.active, m.active_max, m.idle, m.idle_in_transaction, m.samples, m.recorded_on
FROM memory m
UNION ALL
SELECT
	e.minute, e.datname, e.usename, e.application_name,
	CASE WHEN may.see THEN e.client_addr END, e.held, e.held_max, e.active, e.active_max,
	e.idle, e.idle_in_transaction, e.samples, e.recorded_on
FROM ONLY lifeguard.connection_usage_entries e
	-- a role that is gone has no members
	CROSS JOIN LATERAL (SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
		OR COALESCE(pg_catalog.pg_has_role(e.usesysid, 'USAGE'), false) AS see) may
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.connection_usage_history IS
'Who held the connections in each minute, by database, role, application and client. Counts are true for everybody, whoever may see the sessions; whoever may not see the clients has a row for each all the same. The minute under way is shown as far as it has come.';
COMMENT ON COLUMN lifeguard.connection_usage_history.minute IS 'The minute, by its beginning';
COMMENT ON COLUMN lifeguard.connection_usage_history.datname IS 'Name of the database; NULL in the one row, if there is one, for all that came after 256 groups in that minute, and for sessions that were still starting';
COMMENT ON COLUMN lifeguard.connection_usage_history.usename IS 'Name of the role';
COMMENT ON COLUMN lifeguard.connection_usage_history.application_name IS 'What the clients called themselves';
COMMENT ON COLUMN lifeguard.connection_usage_history.client_addr IS 'Address of the clients; NULL for Unix sockets, and for roles whose sessions you may not see';
COMMENT ON COLUMN lifeguard.connection_usage_history.held IS 'Sessions, on average over the samples of that minute';
COMMENT ON COLUMN lifeguard.connection_usage_history.held_max IS 'Most sessions in one sample';
COMMENT ON COLUMN lifeguard.connection_usage_history.active IS 'Of those, running a statement, on average';
COMMENT ON COLUMN lifeguard.connection_usage_history.active_max IS 'Most of those in one sample';
COMMENT ON COLUMN lifeguard.connection_usage_history.idle IS 'Of those, idle outside a transaction, on average';
COMMENT ON COLUMN lifeguard.connection_usage_history.idle_in_transaction IS 'Of those, idle in a transaction, a failed one too, on average';
COMMENT ON COLUMN lifeguard.connection_usage_history.samples IS 'Samples in that minute, of all sessions, one every 5 s';
COMMENT ON COLUMN lifeguard.connection_usage_history.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.connection_usage_history TO PUBLIC;

CREATE TABLE lifeguard.load_entries (
	boot timestamptz NOT NULL,
	number bigint NOT NULL,
	minute timestamptz NOT NULL,
	wait_event_type text,
	wait_event text,
	average_active numeric,
	seen numeric,
	recorded_on text,
	PRIMARY KEY (boot, number)
) WITH (fillfactor = 90, autovacuum_enabled = true, autovacuum_vacuum_threshold = 1000,
	autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 2);
CREATE INDEX load_entries_minute ON lifeguard.load_entries (minute);
REVOKE ALL ON TABLE lifeguard.load_entries FROM PUBLIC;
COMMENT ON TABLE lifeguard.load_entries IS
'Load per minute as the keeper has written it; the view load_history is for reading.';
COMMENT ON COLUMN lifeguard.load_entries.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.load_entries.number IS 'Number of the row since then';
COMMENT ON COLUMN lifeguard.load_entries.minute IS 'The minute, by its beginning';
COMMENT ON COLUMN lifeguard.load_entries.wait_event_type IS 'What kind of thing they waited for, as in pg_stat_activity; CPU: for nothing that the server knows of, so they ran or wanted to; Other: all that came after 64 wait events in that minute';
COMMENT ON COLUMN lifeguard.load_entries.wait_event IS 'What they waited for; NULL for CPU and Other, and for an extension''s own event whose name went with a restart';
COMMENT ON COLUMN lifeguard.load_entries.average_active IS 'Active client sessions in that wait, on average; NULL when no pass stands for any time of that minute';
COMMENT ON COLUMN lifeguard.load_entries.seen IS 'Seconds of that minute which the average is of';
COMMENT ON COLUMN lifeguard.load_entries.recorded_on IS 'primary or standby';

CREATE FUNCTION lifeguard.read_load_history(
	OUT boot timestamptz, OUT number bigint, OUT minute timestamptz, OUT wait_event_type text,
	OUT wait_event text, OUT average_active numeric, OUT seen numeric, OUT recorded_on text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_load_history' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_load_history() IS
'Copies the minutes that are in shared memory; what the view load_history shows of them.';
GRANT EXECUTE ON FUNCTION lifeguard.read_load_history() TO PUBLIC;

CREATE VIEW lifeguard.load_history WITH (security_barrier = true) AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_load_history() m)
SELECT
	m.minute, m.wait_event_type, m.wait_event, m.average_active, m.seen, m.recorded_on
FROM memory m
UNION ALL
SELECT
	e.minute, e.wait_event_type, e.wait_event, e.average_active, e.seen, e.recorded_on
FROM ONLY lifeguard.load_entries e
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.load_history IS
'What active client sessions waited for in each minute, or that they ran. A minute without any has a row for CPU. The minute under way is shown as far as it has come.';
COMMENT ON COLUMN lifeguard.load_history.minute IS 'The minute, by its beginning';
COMMENT ON COLUMN lifeguard.load_history.wait_event_type IS 'What kind of thing they waited for, as in pg_stat_activity; CPU: for nothing that the server knows of, so they ran or wanted to; Other: all that came after 64 wait events in that minute';
COMMENT ON COLUMN lifeguard.load_history.wait_event IS 'What they waited for; NULL for CPU and Other, and for an extension''s own event whose name went with a restart';
COMMENT ON COLUMN lifeguard.load_history.average_active IS 'Active client sessions in that wait, on average; NULL when no pass stands for any time of that minute';
COMMENT ON COLUMN lifeguard.load_history.seen IS 'Seconds of that minute which the average is of';
COMMENT ON COLUMN lifeguard.load_history.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.load_history TO PUBLIC;

-- Memory alone has them.

CREATE FUNCTION lifeguard.connection_seconds(
	OUT second timestamptz, OUT used numeric, OUT used_max integer, OUT active numeric,
	OUT idle numeric, OUT idle_in_transaction numeric, OUT idle_in_transaction_aborted numeric,
	OUT waiting numeric, OUT waiting_max integer)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_connection_seconds' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.connection_seconds() IS
'Connections in each second of the last 15 minutes, oldest first, as in connection_history; a second without a pass has no row.';
CREATE FUNCTION lifeguard.load_seconds(
	OUT second timestamptz, OUT wait_event_type text, OUT average_active numeric)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_load_seconds' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.load_seconds() IS
'What active client sessions waited for in each second of the last 15 minutes, oldest first, by kind as in load_history; CPU has a row in each, a second without a pass has none.';
GRANT EXECUTE ON FUNCTION lifeguard.connection_seconds(), lifeguard.load_seconds() TO PUBLIC;

-- What reports are about.

-- One row per minute, as this server saw it; on a standby its own, not its primary's.
-- Started anew within a minute it has two rows of that one: both were.
CREATE FUNCTION lifeguard.report_minutes(from_time timestamptz, to_time timestamptz)
RETURNS SETOF lifeguard.connection_history
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
WITH rows AS MATERIALIZED (
	SELECT c.*, c.seen / nullif(sum(c.seen) OVER (PARTITION BY c.minute, c.recorded_on), 0) AS part
	FROM lifeguard.connection_history c
	WHERE c.minute > from_time - interval '1 minute' AND c.minute < to_time
		AND (c.recorded_on = 'standby' OR NOT pg_is_in_recovery())
)
SELECT DISTINCT ON (r.minute) r.minute, sum(r.used * r.part), max(r.used_max), sum(r.active * r.part), sum(r.idle * r.part),
	sum(r.idle_in_transaction * r.part), sum(r.idle_in_transaction_aborted * r.part), sum(r.waiting * r.part), max(r.waiting_max),
	max(r.usable), max(r.high_water), sum(r.refusals)::bigint, sum(r.seen), r.recorded_on
FROM rows r
GROUP BY r.minute, r.recorded_on
ORDER BY r.minute, r.recorded_on
$$;
COMMENT ON FUNCTION lifeguard.report_minutes(timestamptz, timestamptz) IS
'The minutes of connection_history that a report is about, each once.';

-- Rows of a minute share their seen, but where the server was started anew within it:
-- those before and those after have their own, and averages are over both.  Of what
-- this server, promoted since, and its primary both saw it is the primary's.
CREATE FUNCTION lifeguard.report_load_minutes(from_time timestamptz, to_time timestamptz,
	OUT minute timestamptz, OUT wait_event_type text, OUT wait_event text, OUT active numeric)
RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
WITH rows AS MATERIALIZED (
	SELECT l.*, min(l.recorded_on) OVER (PARTITION BY l.minute) AS seen_on
	FROM lifeguard.load_history l
	WHERE l.minute > from_time - interval '1 minute' AND l.minute < to_time AND l.seen > 0 AND (l.recorded_on = 'standby' OR NOT pg_is_in_recovery())
)
SELECT r.minute, r.wait_event_type, r.wait_event, r.average_active * r.seen / t.seen
FROM rows r JOIN (SELECT s.minute, sum(DISTINCT s.seen) AS seen FROM rows s WHERE s.recorded_on = s.seen_on GROUP BY s.minute) t
	ON t.minute = r.minute
WHERE r.recorded_on = r.seen_on
$$;
COMMENT ON FUNCTION lifeguard.report_load_minutes(timestamptz, timestamptz) IS
'The minutes of load_history that a report is about; what is said of a minute twice is to be added.';

-- Two boots may share a minute: within one its groups are added, of several there is
-- the most, and averages are over the samples of all.  Without clients nothing is
-- hidden from anybody, and whoever may not see them has the same sums.
CREATE VIEW lifeguard.report_usage AS
WITH memory AS MATERIALIZED (SELECT m.* FROM lifeguard.read_connection_usage_history() m)
SELECT m.boot, m.minute, m.datname, m.usename, m.application_name, m.held, m.held_max, m.active,
	m.active_max, m.idle, m.idle_in_transaction, m.samples, m.recorded_on
FROM memory m
UNION ALL
SELECT e.boot, e.minute, e.datname, e.usename, e.application_name, e.held, e.held_max, e.active,
	e.active_max, e.idle, e.idle_in_transaction, e.samples, e.recorded_on
FROM ONLY lifeguard.connection_usage_entries e
WHERE NOT EXISTS (SELECT FROM memory m WHERE m.boot = e.boot AND m.number = e.number);
COMMENT ON VIEW lifeguard.report_usage IS
'Of connection_usage_history what is hidden from nobody, with the server''s life that it is of; for reports, findings and pool_advice.';
COMMENT ON COLUMN lifeguard.report_usage.boot IS 'Since when the server had been up that recorded it';
COMMENT ON COLUMN lifeguard.report_usage.minute IS 'The minute, by its beginning';
COMMENT ON COLUMN lifeguard.report_usage.datname IS 'Name of the database';
COMMENT ON COLUMN lifeguard.report_usage.usename IS 'Name of the role';
COMMENT ON COLUMN lifeguard.report_usage.application_name IS 'What the clients called themselves';
COMMENT ON COLUMN lifeguard.report_usage.held IS 'Sessions, on average over the samples of that minute';
COMMENT ON COLUMN lifeguard.report_usage.held_max IS 'Most sessions in one sample';
COMMENT ON COLUMN lifeguard.report_usage.active IS 'Of those, running a statement, on average';
COMMENT ON COLUMN lifeguard.report_usage.active_max IS 'Most of those in one sample';
COMMENT ON COLUMN lifeguard.report_usage.idle IS 'Of those, idle outside a transaction, on average';
COMMENT ON COLUMN lifeguard.report_usage.idle_in_transaction IS 'Of those, idle in a transaction, a failed one too, on average';
COMMENT ON COLUMN lifeguard.report_usage.samples IS 'Samples in that minute, of all sessions';
COMMENT ON COLUMN lifeguard.report_usage.recorded_on IS 'primary or standby';
GRANT SELECT ON lifeguard.report_usage TO PUBLIC;

GRANT EXECUTE ON FUNCTION lifeguard.report_minutes(timestamptz, timestamptz),
	lifeguard.report_load_minutes(timestamptz, timestamptz) TO PUBLIC;
