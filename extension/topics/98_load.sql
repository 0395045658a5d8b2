-- What active sessions do or wait for, over the last minute, and what that says.

CREATE FUNCTION lifeguard.cores() RETURNS integer
AS 'MODULE_PATHNAME', 'pg_lifeguard_cores' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION lifeguard.cores() IS
'Cores that the machine has switched on. A container may be allowed less, which is not looked at.';

CREATE FUNCTION lifeguard.read_load(
	seconds integer,
	OUT wait_event_type text, OUT wait_event text, OUT average_active numeric, OUT seen numeric)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_load' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_load(integer) IS
'What active client sessions waited for in the last so many seconds, at most 60, from shared memory; what the view load shows.';

CREATE FUNCTION lifeguard.read_recent_usage(
	OUT datname name, OUT usename name, OUT application_name text, OUT client_addr inet,
	OUT held numeric, OUT held_max integer, OUT active numeric, OUT active_max integer,
	OUT idle numeric, OUT idle_in_transaction numeric, OUT samples integer)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_lifeguard_read_recent_usage' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION lifeguard.read_recent_usage() IS
'Who held connections in the minute under way and the one before, taken together: the columns of connection_usage_history, from shared memory.';

GRANT EXECUTE ON FUNCTION lifeguard.cores(), lifeguard.read_load(integer),
	lifeguard.read_recent_usage() TO PUBLIC;

CREATE VIEW lifeguard.load AS
SELECT l.wait_event_type, l.wait_event, l.average_active,
	pg_catalog.round(l.average_active / NULLIF(pg_catalog.sum(l.average_active) OVER (), 0), 4) AS share,
	l.seen
FROM lifeguard.read_load(60) l
ORDER BY l.average_active DESC, l.wait_event_type, l.wait_event;
COMMENT ON VIEW lifeguard.load IS
'What active client sessions did or waited for in the last minute, most first: the average number of active sessions, by wait event. Exact as far as passes see: each counts every session in place, and stands for the time since the one before. Estimated is only what lies between two passes. Parallel workers and the server''s own processes are not counted; CPU has a row in any case. Empty while pg_lifeguard is not preloaded.';
COMMENT ON COLUMN lifeguard.load.wait_event_type IS 'What kind of thing they waited for, as in pg_stat_activity; CPU: for nothing that the server knows of, so they ran or wanted to; Other: what found no room among 23 wait events of a second';
COMMENT ON COLUMN lifeguard.load.wait_event IS 'What they waited for; NULL for CPU and Other';
COMMENT ON COLUMN lifeguard.load.average_active IS 'Active client sessions in that wait, on average over what was seen; NULL when no pass was made in the last minute, which is no calm';
COMMENT ON COLUMN lifeguard.load.share IS 'That, of all active sessions; NULL when there were none';
COMMENT ON COLUMN lifeguard.load.seen IS 'Seconds that these passes stand for: about 60, less after a start or a gap, next to none when passes are made by hand more than a second apart';

-- The three kinds of saturation that follow; weight is how many sessions each hurts.

-- Which component a wait speaks of, and the one thing awaited, where the component is
-- such a thing.  Whoever sleeps wants to, and a leader that waits for its own parallel
-- workers works.
CREATE FUNCTION lifeguard.load_by_component()
RETURNS TABLE (component text, thing text, events text, average_active numeric, share numeric,
	now_active numeric, now_share numeric, seen numeric)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
WITH minute AS MATERIALIZED (
	SELECT l.wait_event_type AS type, l.wait_event AS event, l.average_active,
		l.share, l.seen, n.average_active AS now_active,
		n.average_active / NULLIF(sum(n.average_active) OVER (), 0) AS now_share,
		bool_or(n.average_active IS NOT NULL) OVER () AS seen_now
	FROM lifeguard.load l
		LEFT JOIN lifeguard.read_load(10) n ON n.wait_event_type = l.wait_event_type
			AND n.wait_event IS NOT DISTINCT FROM l.wait_event
), named AS (
	SELECT m.*, CASE
			WHEN m.type = 'CPU' THEN 'CPU'
			WHEN m.type = 'Lock' THEN 'locks'
			WHEN m.type = 'LWLock' OR m.type = 'Buffer' AND m.event <> 'BufferCleanup' THEN 'LWLock'
			WHEN m.type = 'IO' OR m.event = 'AioIoCompletion' THEN 'I/O'
			WHEN m.type = 'Client' THEN 'clients'
			WHEN m.event = 'SyncRep' THEN 'replication'
			WHEN m.type = 'IPC' AND m.event ~ '^(Append|Bgw|BgW|Btree|Execute|Hash|MessageQueue|Parallel)' THEN NULL
			WHEN m.type NOT IN ('Timeout', 'Activity') OR m.event = 'SpinDelay' THEN 'other'
		END AS component
	FROM minute m
)
SELECT n.component, t.thing, string_agg(n.event, ', ' ORDER BY n.average_active DESC, n.event),
	sum(n.average_active), COALESCE(sum(n.share), 0),
	-- between two passes far apart the last seconds are like the minute
	CASE WHEN n.seen_now THEN COALESCE(sum(n.now_active), 0) ELSE sum(n.average_active) END,
	CASE WHEN n.seen_now THEN COALESCE(sum(n.now_share), 0) ELSE COALESCE(sum(n.share), 0) END,
	max(n.seen)
FROM named n
	CROSS JOIN LATERAL (SELECT CASE WHEN n.component IN ('LWLock', 'other')
		THEN COALESCE(n.event, n.type) END AS thing) t
WHERE n.component IS NOT NULL
GROUP BY n.component, t.thing, n.seen_now
$$;
COMMENT ON FUNCTION lifeguard.load_by_component() IS
'The load of the last minute, and of the last 10 s, by what the view bottleneck calls a component.';

-- What the waits of the last minute were for, and behind whom, where most was lost.
-- A pile-up on a row that each has to fetch anew is for transactions, and the collector
-- cannot tell of which table; those who wait at this moment can, in this database.
CREATE FUNCTION lifeguard.costliest_lock()
RETURNS TABLE (datname name, relation_name text, locktype text, seconds numeric, total numeric,
	root_application_name text, root_usename name, root_seconds numeric, waiting bigint)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
WITH costs AS (
	SELECT c.datname, c.relation_name, c.locktype,
		sum(sum(c.lost)) OVER (PARTITION BY c.datname, c.relation_name, c.locktype) AS seconds,
		sum(sum(c.lost)) OVER () AS total, c.root_application_name, c.root_usename, sum(c.lost) AS root_seconds
	FROM (SELECT m.datname, CASE WHEN m.relation_name <> 'uncertain' THEN m.relation_name END AS relation_name,
			CASE WHEN m.relation_name <> 'uncertain' THEN 'relation' ELSE m.locktype END AS locktype,
			m.root_application_name, m.root_usename, m.seconds_seen + m.seconds_estimated AS lost
		FROM lifeguard.contention_minutes m
		WHERE m.minute >= date_trunc('minute', clock_timestamp()) - interval '1 minute'
			AND m.minute <= clock_timestamp() AND (m.recorded_on = 'standby' OR NOT pg_is_in_recovery())) c
	GROUP BY c.datname, c.relation_name, c.locktype, c.root_application_name, c.root_usename
	ORDER BY seconds DESC, root_seconds DESC LIMIT 1
)
SELECT c.datname, COALESCE(c.relation_name, w.relation_name), c.locktype, c.seconds, c.total,
	c.root_application_name, c.root_usename, c.root_seconds, w.waiting
FROM costs c
	LEFT JOIN LATERAL (SELECT w.relation_name, count(*) AS waiting
		FROM lifeguard.lock_waits w
		WHERE c.relation_name IS NULL AND c.datname = current_database()
			AND w.locktype = c.locktype AND w.relation_name <> 'uncertain'
		GROUP BY w.relation_name ORDER BY waiting DESC, w.relation_name LIMIT 1) w ON true
$$;
COMMENT ON FUNCTION lifeguard.costliest_lock() IS
'For which relation, or kind of lock, waiting cost most in the minute under way and the one before, and behind which application and role most of that; from contention. waiting: where only those who wait now know the relation, how many.';

CREATE FUNCTION lifeguard.saturated_waits()
RETURNS TABLE (component text, what text, average_active numeric, share numeric,
	figures text, advice text, weight numeric)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
WITH load AS MATERIALIZED (
	SELECT l.*, c.cores
	FROM lifeguard.load_by_component() l, lifeguard.cores() c (cores)
	WHERE l.seen >= 5
), saturated AS MATERIALIZED (
	SELECT l.*, round(l.average_active, 1) AS n, round(100 * l.share) AS percent
	FROM load l
		CROSS JOIN LATERAL (SELECT CASE l.component
			WHEN 'CPU' THEN greatest(1.25 * l.cores, l.cores + 2)
			WHEN 'locks' THEN 2
			WHEN 'replication' THEN 2
			ELSE greatest(2, l.cores / 4.0) END AS least, CASE l.component
			WHEN 'CPU' THEN 0 ELSE 0.3 END AS least_share) t
	WHERE l.average_active >= t.least AND l.share >= t.least_share
		AND l.now_active >= t.least AND l.now_share >= t.least_share
)
SELECT s.component,
	CASE s.component
		WHEN 'locks' THEN COALESCE(k.relation_name, k.locktype, s.events)
		WHEN 'CPU' THEN s.cores || CASE s.cores WHEN 1 THEN ' core' ELSE ' cores' END
		WHEN 'replication' THEN 'synchronous standby'
		ELSE COALESCE(s.thing, s.events) END,
	s.average_active, s.share,
	CASE s.component
		WHEN 'CPU' THEN format('%s sessions on average wanted to run on %s, %s %% of those active.', s.n,
			s.cores || CASE s.cores WHEN 1 THEN ' core' ELSE ' cores' END, s.percent)
		WHEN 'locks' THEN format('%s sessions on average waited for locks of others, %s %% of those active.', s.n, s.percent)
			|| CASE WHEN k.total IS NULL THEN '' ELSE format(' Of %s s lost to that since %s, %s s were for %s%s, %s s of these behind the application "%s" of role "%s".',
				round(k.total, 1), to_char(date_trunc('minute', clock_timestamp()) - interval '1 minute', 'HH24:MI'),
				round(k.seconds, 1), CASE WHEN k.waiting IS NULL THEN COALESCE(k.relation_name, 'locks of kind ' || k.locktype)
					ELSE format('locks of kind %s (%s sessions wait for one on %s now)', k.locktype, k.waiting, k.relation_name) END,
				COALESCE(' in database "' || k.datname || '"', ''), round(k.root_seconds, 1),
				COALESCE(k.root_application_name, '?'), COALESCE(k.root_usename, '?')) END
		WHEN 'LWLock' THEN format('%s sessions on average waited for the server''s internal lock %s, %s %% of those active.', s.n, s.thing, s.percent)
		WHEN 'I/O' THEN format('%s sessions on average waited for reads or writes (%s), %s %% of those active.', s.n, s.events, s.percent)
		WHEN 'clients' THEN format('%s sessions on average waited, in the middle of a statement, for their client to take or to send data (%s), %s %% of those active.', s.n, s.events, s.percent)
		WHEN 'replication' THEN format('%s sessions on average waited, their work done, for a synchronous standby to confirm the commit, %s %% of those active.', s.n, s.percent)
		ELSE format('%s sessions on average waited for %s, %s %% of those active.', s.n, s.thing, s.percent)
	END,
	CASE s.component
		WHEN 'CPU' THEN 'More sessions would only wait longer: fewer at a time (smaller pools), cheaper statements, or more cores.'
		WHEN 'locks' THEN 'Look at lifeguard.blockers for who is at the root now, and at lifeguard.contention for statements and rows. Shorter transactions around that write mend it; more connections would make it worse.'
		WHEN 'LWLock' THEN CASE
			WHEN s.thing LIKE 'WAL%' THEN 'Commit in larger batches, write less WAL, or put WAL on faster storage.'
			WHEN s.thing LIKE 'LockManager' THEN 'Statements lock very many relations: let them prune partitions, drop unused indexes, prepare them, and let fewer run at a time.'
			WHEN s.thing LIKE 'Buffer%' AND s.thing <> 'BufferMapping' THEN 'Many sessions change the same page: look for a counter row, or an index that grows at one end.'
			WHEN s.thing = 'BufferMapping' THEN 'More data is used than shared_buffers holds: raise it, or read less.'
			WHEN s.thing LIKE 'Subtrans%' THEN 'Transactions have more than 64 subtransactions: look for savepoints and EXCEPTION blocks in loops.'
			WHEN s.thing LIKE 'MultiXact%' THEN 'Many sessions lock the same rows in shared mode: look for foreign keys to a few rows, and FOR SHARE.'
			ELSE 'Let fewer sessions run at a time: smaller pools.' END
		WHEN 'I/O' THEN 'Look for statements that read or write most (pg_stat_statements), missing indexes, too small shared_buffers or work_mem, and at the storage itself.'
		WHEN 'clients' THEN 'The server waits for programs or the network. Look at lifeguard.sessions where wait_event_type is Client: fetch less, read results to their end, do not compute between two reads. A policy with target stalled client ends what stays so.'
		WHEN 'replication' THEN 'Look at pg_stat_replication and at the standby''s network and storage; pg_lifeguard ends no session that waits so.'
		ELSE 'Look at lifeguard.sessions for who waits so, and for the wait event in the server''s manual.'
	END,
	CASE s.component WHEN 'CPU' THEN s.average_active - s.cores ELSE s.average_active END
FROM saturated s
	LEFT JOIN LATERAL (SELECT k.* FROM lifeguard.costliest_lock() k WHERE s.component = 'locks') k ON true
$$;
COMMENT ON FUNCTION lifeguard.saturated_waits() IS
'What active sessions wait for too much; the rows of the view bottleneck that come from load.';

CREATE FUNCTION lifeguard.saturated_slots()
RETURNS TABLE (component text, what text, average_active numeric, share numeric,
	figures text, advice text, weight numeric)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
WITH refused AS MATERIALIZED (
	SELECT CASE r.cause WHEN 'reserved' THEN 'slots' WHEN 'superuser reserved' THEN 'slots' ELSE r.cause END AS cause,
		sum(r.attempts) AS attempts,
		mode() WITHIN GROUP (ORDER BY r.datname) AS datname, mode() WITHIN GROUP (ORDER BY r.usename) AS usename
	FROM lifeguard.refusals r
	WHERE r.at > clock_timestamp() - interval '1 minute' AND r.at <= clock_timestamp()
		AND (r.recorded_on = 'standby' OR NOT pg_is_in_recovery())
	GROUP BY 1
), load AS MATERIALIZED (
	SELECT sum(l.average_active) AS active FROM lifeguard.read_load(60) l
)
SELECT 'slots', 'max_connections', l.active, NULL::numeric,
	format('%s of %s usable slots are taken (active %s, idle %s, idle in a transaction %s); %s turned away in the last minute.',
		c.used, c.usable, c.active, c.idle, c.idle_in_transaction + c.idle_in_transaction_aborted,
		lifeguard.report_count(COALESCE(r.attempts, 0)::bigint, 'connection attempt was', 'connection attempts were'))
		|| COALESCE(format(' Most are held by the application "%s" of role "%s": %s, %s of them idle.',
			u.application_name, u.usename, u.used, u.idle), ''),
	CASE WHEN c.idle + c.idle_in_transaction + c.idle_in_transaction_aborted >= 0.4 * c.used
		THEN 'Slots are held by sessions that do nothing: make the pools smaller (lifeguard.pool_advice), or make room by a policy with target idle and connections_above.'
		ELSE 'Slots are held by sessions at work: mend what they wait for, see lifeguard.load and the other rows here; more slots would only let more of them wait.' END,
	c.used / 2.0
FROM lifeguard.connections c
	CROSS JOIN load l
	LEFT JOIN refused r ON r.cause = 'slots'
	LEFT JOIN LATERAL (SELECT g.application_name, g.usename, g.used, g.idle FROM lifeguard.connection_usage g
		ORDER BY g.used DESC, g.idle DESC LIMIT 1) u ON true
WHERE c.used_share >= 0.95 OR r.attempts > 0
UNION ALL
SELECT 'slots', CASE r.cause WHEN 'database limit' THEN 'CONNECTION LIMIT of ' || COALESCE('database ' || quote_ident(r.datname), 'a database')
		WHEN 'role limit' THEN 'CONNECTION LIMIT of ' || COALESCE('role ' || quote_ident(r.usename), 'a role')
		WHEN 'replication' THEN 'max_wal_senders'
		ELSE 'connections that have not logged in' END,
	l.active, NULL, format('%s turned away by that in the last minute.',
		lifeguard.report_count(r.attempts::bigint, 'connection attempt was', 'connection attempts were')),
	CASE r.cause WHEN 'replication' THEN 'Look at pg_stat_replication for standbys that are counted twice, or raise max_wal_senders.'
		WHEN 'child limit' THEN 'Very many connections are being made at once, or clients connect and then say nothing: look at who does that, and at authentication_timeout.'
		ELSE 'Make the pools of its clients smaller than the limit together, or raise the limit.' END,
	least(r.attempts, 1)
FROM refused r CROSS JOIN load l
WHERE r.cause <> 'slots'
$$;
COMMENT ON FUNCTION lifeguard.saturated_slots() IS
'Whether connection slots run out; the row of the view bottleneck that says so.';

-- A pool's connections are in use from the first statement of a transaction to its
-- end.  Programs of PostgreSQL itself that were told how many connections to keep
-- busy have no queue.
CREATE FUNCTION lifeguard.saturated_pools()
RETURNS TABLE (component text, what text, average_active numeric, share numeric,
	figures text, advice text, weight numeric)
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
SELECT 'client-side pool', u.application_name, u.active,
	least(round(u.active / NULLIF(l.active, 0), 4), 1),
	format('The application "%s" of role "%s" in database "%s"%s has held %s connections in the last minutes and kept them busy (active %s, idle in a transaction %s, idle %s on average, active %s at most), while only %s of %s usable slots are taken. So its own pool is the queue; how long its requests wait there cannot be seen from here.',
		u.application_name, u.usename, u.datname, COALESCE(' on ' || host(u.client_addr), ''), u.held_max,
		round(u.active, 1), round(u.idle_in_transaction, 1), round(u.idle, 1), u.active_max, c.used, c.usable),
	format('Ask that program how long it waits for a connection of its pool. If it does, shorten its transactions and statements first; more connections help as long as sessions on CPU (%s on average) stay below the %s cores.',
		round(COALESCE(l.cpu, 0), 1), lifeguard.cores()),
	u.held
FROM lifeguard.read_recent_usage() u
	CROSS JOIN lifeguard.connections c
	CROSS JOIN (SELECT sum(l.average_active) AS active,
			sum(l.average_active) FILTER (WHERE l.wait_event_type = 'CPU') AS cpu,
			sum(l.average_active) FILTER (WHERE l.wait_event_type = 'Lock' OR l.wait_event = 'SyncRep') AS stuck
		FROM lifeguard.read_load(60) l) l
WHERE u.samples >= 6 AND u.held_max >= 2 AND u.held >= 0.95 * u.held_max
	AND u.idle <= 0.1 * u.held AND u.active >= 0.5 * u.held
	AND c.used_share < 0.85 AND COALESCE(l.cpu, 0) <= lifeguard.cores()
	-- who waits for others is not helped by a larger pool
	AND COALESCE(l.stuck, 0) <= 0.3 * l.active
	AND NOT EXISTS (SELECT FROM lifeguard.refusals r WHERE r.at > clock_timestamp() - interval '1 minute'
		AND r.at <= clock_timestamp() AND r.cause IN ('slots', 'reserved', 'superuser reserved')
		AND (r.recorded_on = 'standby' OR NOT pg_is_in_recovery()))
	AND u.application_name NOT IN ('psql', 'pg_dump', 'pg_dumpall', 'pg_restore', 'vacuumdb', 'reindexdb', 'clusterdb')
	-- a program that has no name is not known to be one program
	AND u.application_name <> ''
$$;
COMMENT ON FUNCTION lifeguard.saturated_pools() IS
'Which programs keep all of their connections busy while the server has room; the rows of the view bottleneck that say so.';

GRANT EXECUTE ON FUNCTION lifeguard.load_by_component(), lifeguard.costliest_lock(),
	lifeguard.saturated_waits(), lifeguard.saturated_slots(), lifeguard.saturated_pools() TO PUBLIC;

CREATE VIEW lifeguard.bottleneck AS
SELECT b.component, b.what, b.average_active, b.share, b.figures, b.advice
FROM (SELECT w.*, 1 AS rank FROM lifeguard.saturated_waits() w
	UNION ALL SELECT s.*, 1 FROM lifeguard.saturated_slots() s
	UNION ALL SELECT p.*, 2 FROM lifeguard.saturated_pools() p) b
ORDER BY b.rank, b.weight DESC, b.component, b.what;
COMMENT ON VIEW lifeguard.bottleneck IS
'What is saturated now, most sessions hurt first; no row when nothing is. Rules, over at least 5 s seen of the last minute, and again over its last 10 s: CPU: sessions that wait for nothing are more than the cores by a quarter and by two (average active sessions against cores, the measure of Oracle''s and Amazon''s load charts); it hurts those beyond the cores. locks and replication (commits that wait for a synchronous standby): 2 sessions on average and 30 % of the active. One LWLock, I/O, clients (that do not take or send data in the middle of a statement), and other (one wait event that is none of these, neither sleep nor a wait for one''s own parallel workers): the same, and a quarter of the cores. slots: 95 % of the usable ones taken now, or any connection attempt turned away in the last minute, as far as refusals are seen (lifeguard.refusals); it comes after what keeps more than half of those slots waiting, which is then the cause, and before everything else; attempts turned away by a CONNECTION LIMIT or another limit than max_connections have a row each behind those waits. client-side pool, always last: one application, role, database and client has held the same 2 connections or more in all samples (every 5 s, at least 6) of the minute under way and the one before, at most 10 % of them idle and at least half active, while less than 85 % of the slots are taken, nobody was turned away for want of one, sessions on CPU are not more than the cores, and at most 30 % of the active wait for locks or a standby: the queue, if there is one, is in its own pool, and cannot be seen from here. A pool whose statements are shorter than the way to the client and back is not recognised; neither are cores that parallel workers take. Not seen is not calm: without passes (lifeguard.status) only slots are judged.';
COMMENT ON COLUMN lifeguard.bottleneck.component IS 'locks, slots, CPU, LWLock, I/O, clients, replication, client-side pool or other';
COMMENT ON COLUMN lifeguard.bottleneck.what IS 'Which: the relation (or kind of lock) where most time is lost, the LWLock, the wait events, the limit on connections, the application';
COMMENT ON COLUMN lifeguard.bottleneck.average_active IS 'Active sessions in it, on average over the last minute, as in load; for slots all active ones';
COMMENT ON COLUMN lifeguard.bottleneck.share IS 'That, of all active sessions; NULL for slots';
COMMENT ON COLUMN lifeguard.bottleneck.figures IS 'The figures that say so';
COMMENT ON COLUMN lifeguard.bottleneck.advice IS 'What to look at, or to do';
GRANT SELECT ON lifeguard.load, lifeguard.bottleneck TO PUBLIC;
