-- Findings: few, and worth acting on.
--
-- One function per kind of trouble.  Each asks the live views and histories with its
-- caller's rights, first what costs little, and more only where that speaks for it:
-- in calm all of them together take some milliseconds, so the view may be looked at
-- every few seconds.  Bodies are plpgsql, whose plans a session keeps.  What sessions
-- call themselves goes through the functions of reports (95_report_texts.sql), so
-- that what is to be copied from here is safe to paste.

CREATE FUNCTION lifeguard.finding_end_session(pid integer, backend_start timestamptz, reason text)
RETURNS text
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
SELECT format(CASE
		WHEN s.collector = 'not loaded' THEN 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %L;'
		ELSE 'SELECT lifeguard.terminate_session(%s, %3$L, %2$L);' END,
	pid, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00', reason)
FROM lifeguard.read_status() s
$$;
COMMENT ON FUNCTION lifeguard.finding_end_session(integer, timestamptz, text) IS
'The statement that ends this session and no later one with its PID.';

-- Whoever waits for less than a second is no finding, nor is a deadlock, which the
-- server ends.
CREATE FUNCTION lifeguard.find_blockers()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT CASE WHEN b.blocked_total >= coalesce(nullif(current_setting('pg_lifeguard.incident_min_waiters', true), ''), '5')::integer
				OR b.longest_wait >= interval '1 min' THEN 'critical' ELSE 'warning' END,
		'blocker',
		format('%s keeps %s waiting', CASE
				WHEN b.pid IS NULL THEN 'prepared transaction ' || coalesce(lifeguard.report_literal(b.gid), '(just ended)')
					|| coalesce(' of ' || lifeguard.report_line(b.usename, 64), '') || coalesce(' in ' || lifeguard.report_line(b.datname, 64), '')
				WHEN b.usename IS NULL THEN format('PID %s%s', b.pid, coalesce(', ' || b.backend_type, ''))
				ELSE format('PID %s, %s,', b.pid, lifeguard.report_who(b.application_name, b.usename, b.datname)) END,
			lifeguard.report_count(b.blocked_total, 'session', 'sessions')),
		format('%s directly, the longest for %s, %s in all%s%s%s.', b.blocked_directly,
			lifeguard.report_duration(extract(epoch FROM b.longest_wait)),
			lifeguard.report_duration(extract(epoch FROM b.total_wait)),
			coalesce('; it is ' || b.state || coalesce(' for ' || lifeguard.report_duration(extract(epoch FROM b.state_age)), ''), ''),
			coalesce('; awaited is ' || lifeguard.report_line(b.relation_name, 130), ''),
			coalesce('; its statement: ' || nullif(lifeguard.report_line(b.query, 100), ''), '')),
		b.remedy
	FROM lifeguard.blockers b
	WHERE b.blocked_total > 0 AND NOT b.deadlock AND b.longest_wait >= interval '1 s'
	ORDER BY b.blocked_total DESC, b.total_wait DESC
	LIMIT 5;
END
$$;
COMMENT ON FUNCTION lifeguard.find_blockers() IS
'Findings: who keeps others waiting now, for a second or longer.';

-- Those that block somebody are blockers.  The others pin something when they hold
-- back the horizon by many transactions, or hold a lock that no writer gets past.
CREATE FUNCTION lifeguard.find_idle_transactions()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t record;
BEGIN
	FOR t IN
		WITH stays AS MATERIALIZED (
			SELECT i.*, i.holds_horizon AND i.horizon_age >= 10000 AS pins
			FROM lifeguard.idle_transactions i
			WHERE i.blocking = 0 AND (i.holds_horizon AND i.horizon_age >= 10000
				OR i.locks_held > 0 AND i.idle_for >= interval '5 s')
		), locks AS MATERIALIZED (
			-- what only that transaction can see, nobody will wait for
			SELECT k.pid, string_agg(DISTINCT format('%s on %I.%I', k.mode, n.nspname, c.relname), ', ') AS held
			FROM pg_locks k
				JOIN pg_class c ON c.oid = k.relation AND c.relpersistence <> 't' AND c.relkind NOT IN ('i', 'I')
				JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE EXISTS (SELECT FROM stays s WHERE s.locks_held > 0)
				AND k.granted AND k.locktype = 'relation'
				AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
				AND k.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
			GROUP BY k.pid
		)
		SELECT s.*, l.held
		FROM stays s LEFT JOIN locks l ON l.pid = s.pid
		WHERE s.pins OR l.held IS NOT NULL
		ORDER BY s.horizon_age DESC NULLS LAST, s.idle_for DESC
		LIMIT 20
	LOOP
		severity := 'warning';
		finding := 'idle transaction';
		what := format('PID %s, %s, is idle in a transaction for %s', t.pid,
			lifeguard.report_who(t.application_name, t.usename, t.datname),
			lifeguard.report_duration(extract(epoch FROM t.idle_for)));
		why := concat_ws(' ', CASE WHEN t.pins
				THEN format('Because of it no dead row of the last %s transactions can be removed, and nothing older is in the way.', t.horizon_age) END,
			'It holds ' || lifeguard.report_line(t.held, 300) || ': whoever writes there will wait for it.',
			'Its last statement: ' || nullif(lifeguard.report_line(t.query, 100), ''));
		remedy := lifeguard.finding_end_session(t.pid, t.backend_start, 'idle in transaction');
		RETURN NEXT;
	END LOOP;

	-- a prepared transaction is nobody's session, and is forgotten all the more easily
	RETURN QUERY
	SELECT 'warning', 'prepared transaction',
		format('prepared transaction %s of %s in %s waits to be committed for %s', lifeguard.report_literal(p.gid),
			lifeguard.report_line(p.owner, 64), lifeguard.report_line(p.database, 64),
			lifeguard.report_duration(extract(epoch FROM clock_timestamp() - p.prepared))),
		format('Because of it no dead row of the last %s transactions can be removed.', age(p.transaction)),
		format('ROLLBACK PREPARED %s; -- in database %s, if nobody will commit it', lifeguard.report_literal(p.gid), lifeguard.report_identifier(p.database))
	FROM pg_prepared_xacts p
	WHERE age(p.transaction) >= 10000
	ORDER BY age(p.transaction) DESC
	LIMIT 5;
END
$$;
COMMENT ON FUNCTION lifeguard.find_idle_transactions() IS
'Findings: transactions that nobody continues, and that pin dead rows or hold locks in everybody''s way.';

CREATE FUNCTION lifeguard.find_full()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	c lifeguard.connections;
	u record;
	policy text;
	there record;
BEGIN
	SELECT v.* INTO c FROM lifeguard.connections v;
	IF c.used_share IS NULL OR c.used_share < 0.9 THEN
		RETURN;
	END IF;
	SELECT g.datname, g.usename, g.application_name, sum(g.used) AS used, sum(g.active) AS active, sum(g.idle) AS idle,
		sum(g.idle_in_transaction + g.idle_in_transaction_aborted) AS in_transaction
	INTO u
	FROM lifeguard.connection_usage g
	GROUP BY g.datname, g.usename, g.application_name
	ORDER BY sum(g.used) DESC, g.application_name LIMIT 1;
	severity := CASE WHEN c.used_share >= 1 THEN 'critical' ELSE 'warning' END;
	finding := 'connections';
	what := format('%s of %s usable connection slots are taken', c.used, c.usable);
	why := format('%s active, %s idle, %s idle in transaction. %s holds %s: %s active, %s idle, %s idle in transaction.',
		c.active, c.idle, c.idle_in_transaction + c.idle_in_transaction_aborted,
		lifeguard.report_who(u.application_name, u.usename, u.datname), u.used, u.active, u.idle, u.in_transaction);
	policy := lifeguard.report_policy_name('close_idle', u.application_name, u.usename);
	there := lifeguard.report_policy_standing(policy, 'idle');
	IF u.idle >= 0.5 * u.used THEN
		why := why || coalesce(' P' || substr(there.step, 2), '');
	END IF;
	remedy := CASE
		WHEN u.idle >= 0.5 * u.used AND there.call IS NOT NULL THEN there.call
		WHEN u.idle >= 0.5 * u.used THEN format('SELECT lifeguard.create_policy(%s, ''idle'', ''1 min'', connections_above => 0.9, connections_until => 0.75, keep => %s%s); -- only logs until alter_policy(%1$s, action => ''terminate'')',
			lifeguard.report_literal(policy),
			greatest(1, u.active), lifeguard.report_filter(u.application_name, u.usename))
		WHEN u.in_transaction >= 0.5 * u.used THEN 'SELECT * FROM lifeguard.idle_transactions;'
		ELSE 'SELECT wait_event_type, wait_event, left(query, 100), count(*) FROM lifeguard.sessions WHERE state = ''active'' GROUP BY 1, 2, 3 ORDER BY 4 DESC;' END;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION lifeguard.find_full() IS
'Findings: nine of ten usable connection slots taken, and by whom.';

CREATE FUNCTION lifeguard.find_refusals()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	WITH recent AS MATERIALIZED (
		SELECT r.cause, r.at, r.attempts, r.application_name, r.usename, r.datname
		FROM lifeguard.refusals r
		WHERE r.at >= statement_timestamp() - interval '1 hour' AND (r.recorded_on = 'standby' OR NOT pg_is_in_recovery())
	), causes AS (
		SELECT s.*, n.application_name, n.usename, n.datname
		FROM (SELECT r.cause, sum(r.attempts) AS attempts, max(r.at) AS newest FROM recent r GROUP BY r.cause) s
			-- of a flood most have no names
			CROSS JOIN LATERAL (SELECT r.application_name, r.usename, r.datname FROM recent r
				WHERE r.cause IS NOT DISTINCT FROM s.cause ORDER BY r.usename IS NULL, r.at DESC LIMIT 1) n
	)
	SELECT CASE WHEN c.newest >= statement_timestamp() - interval '5 min' THEN 'critical' ELSE 'warning' END, 'refusals',
		format('%s turned away: %s', lifeguard.report_count(c.attempts::bigint, 'connection attempt was', 'connection attempts were'), CASE c.cause
			WHEN 'slots' THEN 'all slots were taken'
			WHEN 'reserved' THEN 'only slots for pg_use_reserved_connections were left'
			WHEN 'superuser reserved' THEN 'only slots for superusers were left'
			WHEN 'database limit' THEN 'a database''s limit was reached'
			WHEN 'role limit' THEN 'a role''s limit was reached'
			WHEN 'child limit' THEN 'too many were still logging in'
			ELSE coalesce(c.cause, 'for a reason not known') END),
		format('In the last hour, the newest at %s: %s.', lifeguard.report_time(c.newest), lifeguard.report_who(c.application_name, c.usename, c.datname)),
		CASE c.cause
			WHEN 'database limit' THEN coalesce('ALTER DATABASE ' || lifeguard.report_identifier(c.datname) || ' CONNECTION LIMIT -1; -- or a higher one', 'ALTER DATABASE ... CONNECTION LIMIT')
			WHEN 'role limit' THEN coalesce('ALTER ROLE ' || lifeguard.report_identifier(c.usename) || ' CONNECTION LIMIT -1; -- or a higher one', 'ALTER ROLE ... CONNECTION LIMIT')
			WHEN 'child limit' THEN 'find out who connects and does not log in: log_connections; a lower authentication_timeout lets go of them sooner'
			WHEN 'replication' THEN 'ALTER SYSTEM SET max_wal_senders = ...; -- and restart the server'
			ELSE format('SELECT * FROM lifeguard.saturation_snapshots WHERE at >= %s ORDER BY at DESC, total DESC; -- who held them', lifeguard.report_moment(c.newest - interval '1 minute')) END
	FROM causes c
	ORDER BY c.attempts DESC;
END
$$;
COMMENT ON FUNCTION lifeguard.find_refusals() IS
'Findings: connection attempts turned away in the last hour, by cause.';

-- Programs that connect anew for every piece of work.
CREATE FUNCTION lifeguard.find_churn()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT 'warning', 'churn',
		format('%s connects %s times a second, and leaves after %s', CASE WHEN s.application_name IS NULL THEN 'what came after the 64 programs that are told apart'
				ELSE lifeguard.report_who(s.application_name, NULL, NULL) || coalesce(' from ' || host(s.client_addr), '') END,
			round(s.per_second, 1), lifeguard.report_duration(extract(epoch FROM s.average_life))),
		format('To be ready takes %s, one in a hundred %s or more: %s of each second are spent on that.', lifeguard.report_duration(extract(epoch FROM s.p50)),
			lifeguard.report_duration(extract(epoch FROM s.p99)), lifeguard.report_duration(s.per_second * extract(epoch FROM s.p50))),
		CASE WHEN s.application_name IS NULL THEN 'let programs keep their names and their connections, or put a pooler such as PgBouncer before the server'
			ELSE 'let that program keep its connections in a pool, or put a pooler such as PgBouncer before the server' END
	FROM lifeguard.setup_times s
	WHERE s.per_second >= 5 AND s.ended >= 100 AND s.average_life < interval '10 s'
	ORDER BY s.per_second DESC
	LIMIT 3;
END
$$;
COMMENT ON FUNCTION lifeguard.find_churn() IS
'Findings: programs whose connections live for moments, five or more a second.';

-- Only where slots were short in the last hour: a large pool that nobody minds is no
-- finding.  pool_advice reads all that is recorded, so it is not asked here.
CREATE FUNCTION lifeguard.find_pools()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	since timestamptz := statement_timestamp() - interval '1 hour';
	here text := CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END;
	fullest record;
BEGIN
	SELECT h.minute, h.used_max, h.usable INTO fullest
	FROM lifeguard.connection_history h
	WHERE h.minute >= since AND h.recorded_on = here AND (h.used_max >= 0.9 * h.usable
		OR h.refusals > 0 AND EXISTS (SELECT FROM lifeguard.refusals r
			WHERE r.cause IN ('slots', 'reserved', 'superuser reserved') AND r.recorded_on = here
				AND r.at >= h.minute AND r.at < h.minute + interval '1 minute'))
	ORDER BY h.used_max DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH minutes AS (
		SELECT u.minute, u.application_name, u.usename, sum(u.held_max) AS held, sum(u.active_max) AS active
		FROM lifeguard.report_usage u
		WHERE u.minute >= since AND u.recorded_on = here AND u.application_name IS NOT NULL
		GROUP BY u.boot, u.minute, u.application_name, u.usename
	), pools AS (
		SELECT m.application_name, m.usename, count(DISTINCT m.minute) AS minutes, max(m.held) AS held, max(m.active) AS active
		FROM minutes m GROUP BY m.application_name, m.usename
	)
	SELECT 'warning', 'oversized pool',
		format('%s holds %s, and never more than %s worked', lifeguard.report_who(p.application_name, p.usename, NULL),
			lifeguard.report_count(p.held::bigint, 'connection', 'connections'), p.active),
		format('In %s of the last hour, in which up to %s of %s usable slots were taken.', lifeguard.report_count(p.minutes, 'minute', 'minutes'),
			fullest.used_max, fullest.usable),
		format('SELECT advised, advice FROM lifeguard.pool_advice WHERE application_name = %s AND usename = %s; -- the size that its pool should have',
			lifeguard.report_literal(p.application_name), lifeguard.report_literal(p.usename))
	FROM pools p
	WHERE p.minutes >= 10 AND p.held >= 0.1 * fullest.usable AND p.held >= 4 AND p.active <= 0.5 * p.held
	ORDER BY p.held - p.active DESC
	LIMIT 3;
END
$$;
COMMENT ON FUNCTION lifeguard.find_pools() IS
'Findings: programs that held twice the connections they used, in an hour in which slots were short.';

-- Locks and slots have findings of their own.
CREATE FUNCTION lifeguard.find_bottlenecks()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	SELECT CASE b.component WHEN 'client-side pool' THEN 'notice' ELSE 'warning' END,
		CASE b.component WHEN 'client-side pool' THEN 'client-side pool' ELSE 'bottleneck' END,
		CASE b.component WHEN 'client-side pool' THEN format('the pool of %s is as busy as it is large', lifeguard.report_who(b.what, NULL, NULL))
			ELSE format('%s: %s', b.component, lifeguard.report_line(b.what, 130)) END,
		lifeguard.report_line(b.figures, 500), b.advice
	FROM lifeguard.bottleneck b
	WHERE b.component NOT IN ('locks', 'slots')
	LIMIT 3;
END
$$;
COMMENT ON FUNCTION lifeguard.find_bottlenecks() IS
'Findings: what is saturated in the last minute besides locks and slots, and pools that may be the queue themselves.';

-- Many sessions that each run the same statement for a second or longer, and wait
-- neither for a lock, which is a blocker's doing, nor for their client.
CREATE FUNCTION lifeguard.find_stampedes()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
	SET standard_conforming_strings = on AS $$
BEGIN
	RETURN QUERY
	WITH slots AS MATERIALIZED (
		SELECT c.usable, c.active FROM lifeguard.read_connections() c WHERE c.active >= 5
	), same AS (
		SELECT s.datname, s.query_id, count(*) AS sessions, max(clock_timestamp() - s.query_start) AS longest, min(s.query) AS query
		FROM lifeguard.sessions s
		WHERE s.state = 'active' AND s.query_id IS NOT NULL AND clock_timestamp() - s.query_start >= interval '1 s'
			AND coalesce(s.wait_event_type, '') NOT IN ('Lock', 'Client') AND EXISTS (SELECT FROM slots)
			-- commits wait for WAL and standbys, not for each other
			AND s.wait_event IS DISTINCT FROM 'SyncRep'
			AND s.query !~* '^(\s|/\*.*?\*/)*(commit|end|prepare\s+transaction)\M'
		GROUP BY s.datname, s.query_id
	)
	SELECT 'critical', 'stampede',
		format('%s sessions run one and the same query in %s', m.sessions, lifeguard.report_line(m.datname, 64)),
		format('That is %s %% of the active ones and %s %% of the usable slots; the oldest has run for %s. %s', round(100.0 * m.sessions / greatest(n.active, m.sessions)),
			round(100.0 * m.sessions / greatest(n.usable, 1)), lifeguard.report_duration(extract(epoch FROM m.longest)),
			'The query: ' || lifeguard.report_line(m.query, 100) || coalesce('. P' || substr(t.step, 2), '')),
		coalesce(t.call, format('SELECT lifeguard.create_policy(''stampede_%s'', ''active'', ''1 s'', min_same_query => %s, queries => ARRAY[''%s''], victim_order => ''all but oldest''); -- only logs until alter_policy(''stampede_%1$s'', action => ''cancel'')',
			abs(m.query_id % 10000), greatest(3, m.sessions / 4), m.query_id))
	FROM slots n, same m
		CROSS JOIN LATERAL lifeguard.report_policy_standing(format('stampede_%s', abs(m.query_id % 10000)), 'active') t
	WHERE m.sessions >= least(20, greatest(5, n.usable / 10)) AND m.sessions >= 0.5 * n.active
	ORDER BY m.sessions DESC
	LIMIT 3;
END
$$;
COMMENT ON FUNCTION lifeguard.find_stampedes() IS
'Findings: many sessions that compute the same thing at the same time.';

-- What waiting for locks has cost in the last hour, where it was a minute or more.
CREATE FUNCTION lifeguard.find_contention()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	since timestamptz := statement_timestamp() - interval '1 hour';
	-- a standby has its primary's tables; what one saw that has been promoted is its own
	here text := CASE WHEN pg_is_in_recovery() THEN 'standby' END;
	c record;
	next record;
	on_rows boolean;
BEGIN
	-- the sums cost little beside what follows
	IF coalesce((SELECT sum(m.seconds_seen + m.seconds_estimated) FROM lifeguard.contention_minutes m
			WHERE m.minute >= since AND (here IS NULL OR m.recorded_on = here)), 0) < 10 THEN
		RETURN;
	END IF;
	FOR c IN
		WITH costs AS MATERIALIZED (
			SELECT t.*, sum(t.seconds_lost) OVER kind AS all_seconds, sum(t.waits) OVER kind AS all_waits,
				max(t.max) OVER kind AS kind_max, row_number() OVER (kind ORDER BY t.seconds_lost DESC) AS place
			FROM lifeguard.contention_on(here, since, NULL) t
			WINDOW kind AS (PARTITION BY t.datname, t.relation_name,
				CASE WHEN t.locktype IN ('transactionid', 'tuple') THEN 'row' ELSE t.locktype END)
		)
		SELECT o.*, (SELECT lifeguard.report_runs_on(since, statement_timestamp())) AS runs_on FROM costs o
		WHERE o.place = 1 AND o.all_seconds >= 60
		ORDER BY o.all_seconds DESC LIMIT 3
	LOOP
		on_rows := c.locktype IN ('transactionid', 'tuple');
		-- lengths are known of waits that are over, where they ended: behind this one or
		-- behind whoever came after him
		next := lifeguard.report_contention_step(c, c.kind_max, since, statement_timestamp());
		severity := 'warning';
		finding := CASE WHEN on_rows THEN 'hot row' ELSE 'contention' END;
		what := format('%s cost %s of waiting in the last hour', CASE
				WHEN on_rows THEN 'rows of ' || coalesce(lifeguard.report_line(c.relation_name, 130), 'a relation of ' || coalesce(lifeguard.report_line(c.datname, 64), 'some database'))
				ELSE format('%s on %s', CASE c.locktype WHEN 'relation' THEN 'locks' ELSE c.locktype || ' locks' END,
					coalesce(lifeguard.report_line(c.relation_name, 130), lifeguard.report_line(c.datname, 64), 'what all databases share')) END,
			lifeguard.report_duration(c.all_seconds));
		why := concat_ws(' ', format('%s; most (%s) of %s behind %s%s.', lifeguard.report_count(c.all_waits::bigint, 'wait', 'waits'),
				lifeguard.report_duration(c.seconds_lost), lifeguard.report_who(c.waiter_application_name, c.waiter_usename, NULL),
				lifeguard.report_who(c.root_application_name, c.root_usename, NULL),
				CASE
					WHEN c.p95 IS NOT NULL THEN ', 19 of 20 of those up to ' || lifeguard.report_duration(extract(epoch FROM c.p95))
					WHEN c.kind_max IS NOT NULL THEN ', the longest of all that are over ' || lifeguard.report_duration(extract(epoch FROM c.kind_max))
					ELSE ', which go on' END),
			CASE WHEN on_rows AND c.top_rows[1] IS NOT NULL THEN format('Most waited for: row %s.', c.top_rows[1]) END,
			CASE WHEN on_rows AND (c.avg_row_width IS NOT NULL OR c.hot_row_width IS NOT NULL) THEN format('A row has %s on average%s.',
				coalesce(lifeguard.report_bytes(c.avg_row_width), 'an unknown size'), coalesce(', the hot ones up to ' || lifeguard.report_bytes(c.hot_row_width), '')) END,
			CASE WHEN on_rows AND c.n_tup_upd > 0 THEN format('%s %% of %s updates were HOT, %s dead rows.', round(100 * c.hot_share), c.n_tup_upd, c.n_dead_tup) END,
			CASE WHEN next.call IS NOT NULL THEN next.step END);
		remedy := coalesce(next.call, next.step);
		RETURN NEXT;
	END LOOP;

	-- somebody asks for a whole table, without a limit, and others queue up behind
	RETURN QUERY
	WITH costs AS MATERIALIZED (
		SELECT t.* FROM lifeguard.contention_on(here, since, NULL) t WHERE t.locktype = 'relation' AND t.datname IS NOT NULL
	), asking AS (
		SELECT a.datname, a.relation_name, a.waiter_usename, max(a.max) AS longest, sum(a.waits) AS waits,
			(SELECT coalesce(sum(q.seconds_lost), 0) FROM costs q
			 WHERE q.datname = a.datname AND q.relation_name = a.relation_name
				AND q.mode IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')) AS behind
		FROM costs a
		WHERE a.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
			AND a.waiter_usename IS NOT NULL
		GROUP BY a.datname, a.relation_name, a.waiter_usename
	)
	SELECT 'notice', 'timeout', format('role %s asks for locks on the whole of %s without lock_timeout', lifeguard.report_line(a.waiter_usename, 64), lifeguard.report_line(a.relation_name, 130)),
		format('In the last hour %s, the longest %s, and others lost %s in the queue behind.', lifeguard.report_count(a.waits::bigint, 'time', 'times'),
			lifeguard.report_duration(extract(epoch FROM a.longest)), lifeguard.report_duration(a.behind)),
		format('ALTER ROLE %s SET lock_timeout = ''%s'';', lifeguard.report_identifier(a.waiter_usename),
			lifeguard.report_interval(lifeguard.report_limit(extract(epoch FROM a.longest))))
	FROM asking a
	WHERE a.behind >= 10 AND a.longest > interval '0' AND lifeguard.finding_timeout_is_zero('lock_timeout', a.waiter_usename)
	ORDER BY a.behind DESC
	LIMIT 3;
END
$$;
COMMENT ON FUNCTION lifeguard.find_contention() IS
'Findings: rows and relations that sessions lost a minute or more waiting for in the last hour, and roles that ask for whole tables without lock_timeout.';

-- What the role gets when it logs in, as far as settings tell; what a program sets
-- for itself is not known.  Where the caller has a value of his own, the server's is
-- hidden behind it: then its files say it, and nobody knows to whom they are closed.
CREATE FUNCTION lifeguard.finding_timeout_is_zero(setting text, role name) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	mine record;
BEGIN
	IF EXISTS (
		SELECT FROM pg_db_role_setting d LEFT JOIN pg_roles r ON r.oid = d.setrole
			CROSS JOIN LATERAL unnest(d.setconfig) AS c (entry)
		WHERE (d.setrole = 0 OR r.rolname = finding_timeout_is_zero.role)
			AND c.entry LIKE finding_timeout_is_zero.setting || '=%' AND c.entry !~ '=0* *[a-z]*$')
	THEN
		RETURN false;
	END IF;
	SELECT s.source, s.reset_val INTO mine FROM pg_settings s WHERE s.name = finding_timeout_is_zero.setting;
	IF mine.source NOT IN ('global', 'database', 'user', 'database user', 'client', 'session') THEN
		RETURN mine.reset_val = '0';
	ELSIF has_table_privilege('pg_file_settings', 'SELECT') AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') THEN
		RETURN NOT EXISTS (SELECT FROM pg_file_settings f
			WHERE f.name = finding_timeout_is_zero.setting AND f.applied AND f.setting !~ '^0* *[a-z]*$');
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION lifeguard.finding_timeout_is_zero(text, name) IS
'Whether that role logs in with this timeout at zero, as far as settings of server, databases and roles tell; NULL: a value of the caller''s own hides the server''s from him.';

CREATE FUNCTION lifeguard.find_timeouts()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	WITH harm AS (
		SELECT h.usename, count(*) AS stays, sum(h.blocked_seconds) AS blocked, max(h.max_blocked) AS most, max(h.duration) AS longest
		FROM lifeguard.idle_transaction_history h
		-- by what the two indexes find: long ones are few, whenever they began
		WHERE (h.idle_start >= statement_timestamp() - interval '25 hours'
				OR h.duration >= interval '1 hour' AND h.idle_start < statement_timestamp() - interval '25 hours')
			AND h.idle_start + h.duration >= statement_timestamp() - interval '1 day'
			AND h.max_blocked > 0 AND h.usename IS NOT NULL
			AND (h.recorded_on = 'standby' OR NOT pg_is_in_recovery())
		GROUP BY h.usename
	)
	SELECT 'notice', 'timeout', format('role %s has no idle_in_transaction_session_timeout', lifeguard.report_line(h.usename, 64)),
		format('In the last day its idle transactions kept others waiting %s, up to %s at a time, for %s in all; the longest stayed %s.',
			lifeguard.report_count(h.stays, 'time', 'times'), lifeguard.report_count(h.most, 'session', 'sessions'),
			lifeguard.report_duration(h.blocked), lifeguard.report_duration(extract(epoch FROM h.longest))),
		format('ALTER ROLE %s SET idle_in_transaction_session_timeout = ''%s'';', lifeguard.report_identifier(h.usename),
			lifeguard.report_interval(lifeguard.report_limit(extract(epoch FROM h.longest))))
	FROM harm h
	WHERE h.blocked >= 10 AND lifeguard.finding_timeout_is_zero('idle_in_transaction_session_timeout', h.usename)
	ORDER BY h.blocked DESC
	LIMIT 3;
END
$$;
COMMENT ON FUNCTION lifeguard.find_timeouts() IS
'Findings: roles whose idle transactions kept others waiting in the last day, and that have no timeout for them.';

-- What policies did not do in the last hour, and ought to have done.
CREATE FUNCTION lifeguard.find_policies()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM lifeguard.read_policies() p) THEN
		RETURN;
	END IF;
	-- why_not tells of them only where nothing else keeps a policy from acting
	RETURN QUERY
	SELECT 'warning', 'enforce off', 'pg_lifeguard.enforce is off: nobody is signalled',
		format('%s would act now, and only %s; nor does a call by hand end anybody. So it stays until it is set on.',
			lifeguard.report_count(count(*), 'policy', 'policies'), CASE WHEN count(*) = 1 THEN 'rehearses' ELSE 'rehearse' END),
		'ALTER SYSTEM SET pg_lifeguard.enforce = on; SELECT pg_reload_conf();'
	FROM lifeguard.read_policies() p
	WHERE p.why_not LIKE 'pg_lifeguard.enforce is off%'
	HAVING count(*) > 0;
	RETURN QUERY
	SELECT 'warning', 'paused', format('policies are paused until %s, since %s', lifeguard.report_time(max(p.paused_until)), lifeguard.report_time(max(p.paused_since))),
		format('%s would act now, and only %s.%s', lifeguard.report_count(count(*), 'policy', 'policies'), CASE WHEN count(*) = 1 THEN 'rehearses' ELSE 'rehearse' END,
			coalesce(' The reason given: ' || lifeguard.report_line(substr(nullif(min(p.why_not), 'paused'), 9), 200) || '.', '')),
		'SELECT lifeguard.resume();'
	FROM lifeguard.read_policies() p
	WHERE p.why_not = 'paused' OR p.why_not LIKE 'paused: %'
	HAVING count(*) > 0;
	RETURN QUERY
	SELECT 'warning', 'breaker', format('policy %s is paused by its breaker until %s', lifeguard.report_line(p.name, 64), lifeguard.report_time(p.paused_until)),
		'Its last actions brought no relief: those it ended came back at once, or others blocked just as well.'::text,
		format('SELECT lifeguard.resume(); -- when you have seen whom it ended: SELECT * FROM lifeguard.ledger WHERE policy = %s ORDER BY at DESC LIMIT 20;',
			lifeguard.report_literal(p.name))
	FROM lifeguard.policy_status p
	WHERE p.why_not LIKE 'paused by its breaker%';
	RETURN QUERY
	SELECT 'warning', 'query ids', format('policy %s can never act: query ids are not computed', lifeguard.report_line(p.name, 64)),
		'It asks how many sessions run the same query, which is known by its query id.'::text,
		'ALTER SYSTEM SET compute_query_id = on; SELECT pg_reload_conf();'::text
	FROM lifeguard.policy_status p
	WHERE p.why_not LIKE 'query ids are not computed%';

	RETURN QUERY
	WITH entries AS (
		SELECT l.policy, l.outcome, count(*) AS sessions, max(l.blocked_total) AS blocked,
			max(ARRAY[to_char(l.at, 'YYYYMMDDHH24MISSUS'), l.application_name, l.usename, l.datname, l.reason]) AS newest
		FROM lifeguard.ledger l
		WHERE l.at >= statement_timestamp() - interval '1 hour' AND l.policy IS NOT NULL
			AND (l.outcome IN ('spared: protected role', 'spared: protected application', 'spared: superuser',
					'spared: its commit waits for a synchronous standby', 'over limit', 'not permitted')
				OR l.outcome = 'survived')
			AND (l.recorded_on = 'standby' OR NOT pg_is_in_recovery())
		GROUP BY l.policy, l.outcome
	)
	SELECT 'warning', CASE WHEN e.outcome LIKE 'spared%' THEN 'spared' ELSE e.outcome END,
		format('policy %s left %s: %s', lifeguard.report_line(e.policy, 64),
			lifeguard.report_count(e.sessions, 'session as it was', 'sessions as they were'), regexp_replace(e.outcome, '^spared: ', '')),
		format('In the last hour%s. The newest was %s%s.', CASE WHEN e.blocked > 0 THEN format(', while up to %s waited for one of them', e.blocked) ELSE '' END,
			lifeguard.report_who(e.newest[2], e.newest[3]::name, e.newest[4]::name), coalesce(': ' || lifeguard.report_line(e.newest[5], 200), '')),
		CASE e.outcome
			WHEN 'over limit' THEN lifeguard.report_policy_limits(e.policy)
				|| ' -- alter_policy() raises max_per_pass or max_per_minute or shortens cooldown; or pg_lifeguard.max_actions_per_minute held it'
			WHEN 'not permitted' THEN format('GRANT pg_signal_backend TO ...; -- its owner: SELECT owner FROM lifeguard.policy WHERE name = %s;', lifeguard.report_literal(e.policy))
			WHEN 'survived' THEN format('SELECT at, pid, state, query FROM lifeguard.ledger WHERE policy = %s AND outcome = ''survived'' ORDER BY at DESC LIMIT 10;', lifeguard.report_literal(e.policy))
			WHEN 'spared: protected role' THEN 'pg_lifeguard.protected_roles names its role: take it out, or let that program hold its locks for a shorter time'
			WHEN 'spared: protected application' THEN 'pg_lifeguard.protected_applications names it: take it out, or let that program hold its locks for a shorter time'
			WHEN 'spared: superuser' THEN 'include_superusers of the policy lets it act on superusers, if alter_policy() is called by one; or let that program hold its locks for a shorter time'
			ELSE 'SELECT application_name, state, sync_state FROM pg_stat_replication; -- the standby it waits for' END
	FROM entries e
	ORDER BY e.blocked DESC NULLS LAST, e.sessions DESC
	LIMIT 5;
END
$$;
COMMENT ON FUNCTION lifeguard.find_policies() IS
'Findings: policies that are paused or not enforced, that cannot act, were paused by their breaker, or left harm alone in the last hour: for a protection, a limit, or want of rights.';

-- How pg_lifeguard itself is.
CREATE FUNCTION lifeguard.find_own_troubles()
RETURNS TABLE (severity text, finding text, what text, why text, remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s lifeguard.status;
	recent timestamptz := statement_timestamp() - interval '1 hour';
BEGIN
	SELECT v.* INTO s FROM lifeguard.status v;
	IF s.collector = 'not loaded' THEN
		RETURN QUERY VALUES ('warning', 'not loaded', 'pg_lifeguard is not loaded: no policy acts and nothing is remembered',
			'The findings that live views tell are here all the same.',
			'add pg_lifeguard to shared_preload_libraries and restart the server');
		RETURN;
	END IF;
	IF s.library_version IS DISTINCT FROM s.catalog_version THEN
		RETURN QUERY VALUES ('warning', 'version', format('library %s meets catalog %s', s.library_version, s.catalog_version),
			'What one of them has, the other may not know.', 'ALTER EXTENSION pg_lifeguard UPDATE; -- and restart the server if the library was replaced');
	END IF;
	IF s.collector IN ('no collector', 'stalled') THEN
		RETURN QUERY VALUES ('critical', 'collector', CASE s.collector WHEN 'stalled' THEN 'the collector makes no passes' ELSE 'no collector runs' END,
			format('No policy acts and nothing is remembered; the last pass was made %s.', coalesce('at ' || lifeguard.report_time(s.last_pass), 'never')),
			'the server log says why; it is started again within seconds, unless the server has no free worker slot: ALTER SYSTEM SET max_worker_processes');
	ELSIF s.collector = 'on demand' AND s.policies > 0 THEN
		RETURN QUERY VALUES ('warning', 'collector', 'pg_lifeguard.sample_interval is 0: passes are made only by lifeguard.run_pass()',
			format('%s in between.', CASE s.policies WHEN 1 THEN '1 policy does nothing' ELSE s.policies || ' policies do nothing' END),
			'ALTER SYSTEM RESET pg_lifeguard.sample_interval; SELECT pg_reload_conf();');
	END IF;
	IF s.collector_starts > 1 AND s.collector_since >= recent THEN
		RETURN QUERY VALUES ('warning', 'gap', format('the collector was gone, and came back at %s', lifeguard.report_time(s.collector_since)),
			'Nobody looked, and no policy acted, meanwhile.', 'the server log says why it ended');
	END IF;
	IF s.last_clock_jump >= recent THEN
		RETURN QUERY VALUES ('notice', 'clock', format('the clock was moved at %s', lifeguard.report_time(s.last_clock_jump)),
			format('Since the server started %s by more than 1 s; each time the ages by which policies judge began anew.', lifeguard.report_count(s.clock_jumps, 'time', 'times')),
			'let the time service slew the clock, and step it only while the machine starts (chrony: makestep 1 3)');
	END IF;
	IF s.late_passes > 0 AND s.ages_count_from >= recent AND s.ages_count_from IS DISTINCT FROM s.last_clock_jump THEN
		RETURN QUERY VALUES ('warning', 'gap', format('the collector came more than 5 s late at %s', lifeguard.report_time(s.ages_count_from)),
			format('Since the server started %s; ages by which policies judge began anew. The machine was frozen or starved it.', lifeguard.report_count(s.late_passes, 'time', 'times')),
			'look what the machine did then: steal time, swapping, a snapshot of it');
	END IF;
	IF s.keeper_problem IS NOT NULL THEN
		RETURN QUERY VALUES ('warning', 'keeper', 'policies are not read, or histories not written: ' || lifeguard.report_line(s.keeper_problem, 200),
			format('%s in all; only in memory are %s of the ledger and %s of histories.', lifeguard.report_count(s.keeper_failures, 'failure', 'failures'),
				lifeguard.report_count(s.ledger_unflushed, 'entry', 'entries'), lifeguard.report_count(s.records_unflushed, 'record', 'records')),
			'SELECT keeper_problem, keeper_last_run, keeper_last_flush FROM lifeguard.status; -- the server log has the whole message');
	END IF;
	IF NOT s.refusals_counted THEN
		RETURN QUERY VALUES ('notice', 'refusals not counted', 'connections that are turned away are not counted',
			'log_min_messages hides them from the server log, and so from pg_lifeguard.', 'ALTER SYSTEM SET log_min_messages = ''fatal''; SELECT pg_reload_conf();');
	END IF;
	IF s.ledger_lost > 0 OR s.records_lost > 0 THEN
		RETURN QUERY VALUES ('warning', 'cut off', 'what was to be remembered did not fit into memory',
			format('Since the server started %s and %s were pushed out before they were in their tables.',
				lifeguard.report_count(s.ledger_lost, 'entry of the ledger', 'entries of the ledger'), lifeguard.report_count(s.records_lost, 'record of histories', 'records of histories')),
			format('ALTER SYSTEM SET pg_lifeguard.max_episodes = %s; -- or max_ledger; then restart the server',
				2 * coalesce(nullif(current_setting('pg_lifeguard.max_episodes', true), ''), '4096')::bigint));
	END IF;
	IF s.waits_cut_off > 0 OR s.waits_folded > 0 THEN
		RETURN QUERY VALUES ('notice', 'cut off', 'some waits are told only in part',
			format('Since the server started %s left out of passes, and %s summed without their statements, for want of room.',
				lifeguard.report_count(s.waits_cut_off, 'wait was', 'waits were'), lifeguard.report_count(s.waits_folded, 'wait was', 'waits were')),
			format('ALTER SYSTEM SET pg_lifeguard.max_episodes = %s; -- then restart the server',
				2 * coalesce(nullif(current_setting('pg_lifeguard.max_episodes', true), ''), '4096')::bigint));
	END IF;
END
$$;
COMMENT ON FUNCTION lifeguard.find_own_troubles() IS
'Findings: what keeps pg_lifeguard itself from seeing, acting and remembering.';

CREATE VIEW lifeguard.findings AS
SELECT f.severity, f.finding, f.what, f.why, f.remedy
FROM (
	SELECT 1 AS place, b.* FROM lifeguard.find_blockers() b
	UNION ALL SELECT 2, c.* FROM lifeguard.find_full() c
	UNION ALL SELECT 3, r.* FROM lifeguard.find_refusals() r
	UNION ALL SELECT 4, s.* FROM lifeguard.find_stampedes() s
	UNION ALL SELECT 5, i.* FROM lifeguard.find_idle_transactions() i
	UNION ALL SELECT 6, k.* FROM lifeguard.find_bottlenecks() k
	UNION ALL SELECT 7, h.* FROM lifeguard.find_churn() h
	UNION ALL SELECT 7, z.* FROM lifeguard.find_pools() z
	UNION ALL SELECT 8, n.* FROM lifeguard.find_contention() n
	UNION ALL SELECT 9, p.* FROM lifeguard.find_policies() p
	UNION ALL SELECT 10, t.* FROM lifeguard.find_timeouts() t
	UNION ALL SELECT 11, o.* FROM lifeguard.find_own_troubles() o
) f
ORDER BY CASE f.severity WHEN 'critical' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END, f.place;
COMMENT ON VIEW lifeguard.findings IS
'What is worth acting on, most severe first: harm now, harm in the last hour, and what keeps pg_lifeguard from seeing or acting. No row: nothing is. Cheap enough to be looked at every few seconds.';
COMMENT ON COLUMN lifeguard.findings.severity IS 'critical: sessions are hurt now; warning: they were, or soon will be; notice: something to mend';
COMMENT ON COLUMN lifeguard.findings.finding IS 'Kind of the finding, in a word or two';
COMMENT ON COLUMN lifeguard.findings.what IS 'What is so';
COMMENT ON COLUMN lifeguard.findings.why IS 'Why it matters: the figures';
COMMENT ON COLUMN lifeguard.findings.remedy IS 'The statement or setting that mends it, or that shows what is needed to mend it';

GRANT EXECUTE ON FUNCTION lifeguard.finding_end_session(integer, timestamptz, text),
	lifeguard.find_blockers(), lifeguard.find_idle_transactions(), lifeguard.find_full(),
	lifeguard.find_refusals(), lifeguard.find_churn(), lifeguard.find_pools(), lifeguard.find_bottlenecks(),
	lifeguard.find_stampedes(), lifeguard.find_contention(), lifeguard.finding_timeout_is_zero(text, name),
	lifeguard.find_timeouts(), lifeguard.find_policies(), lifeguard.find_own_troubles()
	TO PUBLIC;
GRANT SELECT ON lifeguard.findings TO PUBLIC;
