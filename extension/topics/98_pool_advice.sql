-- How large the pools of connections should be.

-- Days of minutes are many rows, which floats are quicker for.
CREATE VIEW lifeguard.pool_advice WITH (security_barrier = true) AS
-- the tables of a standby are its primary's
WITH here AS MATERIALIZED (
	SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' ELSE 'primary' END AS name
), minutes AS (
	SELECT r.minute, r.application_name, r.usename, max(r.samples) AS samples,
		sum(r.held_max) AS held_max, sum(r.active_max) AS active_max,
		sum(r.held::double precision) AS held, sum(r.active::double precision) AS active,
		sum(r.idle::double precision) AS idle,
		sum(r.idle_in_transaction::double precision) AS idle_in_transaction
	FROM lifeguard.report_usage r
	WHERE r.recorded_on = (SELECT h.name FROM here h)
	GROUP BY r.boot, r.minute, r.application_name, r.usename
), sums AS (
	SELECT m.application_name, m.usename, count(DISTINCT m.minute)::integer AS minutes,
		sum(m.held * m.samples) / sum(m.samples) AS held, max(m.held_max)::integer AS held_max,
		(percentile_disc(0.5) WITHIN GROUP (ORDER BY m.active_max))::integer AS active_p50,
		(percentile_disc(0.99) WITHIN GROUP (ORDER BY m.active_max))::integer AS active_p99,
		max(m.active_max)::integer AS active_max,
		percentile_disc(0.99) WITHIN GROUP (ORDER BY m.active + m.idle_in_transaction) AS load,
		sum(m.idle * m.samples) / NULLIF(sum(m.held * m.samples), 0) AS idle_share,
		sum(m.active * m.samples) / NULLIF(sum(m.held * m.samples), 0) AS active_share,
		sum(m.idle_in_transaction * m.samples) / NULLIF(sum(m.held * m.samples), 0) AS pause_share,
		5 * sum(m.active * m.samples) AS active_seconds
	FROM minutes m
	GROUP BY m.application_name, m.usename
), waits AS (
	SELECT c.waiter_application_name, c.waiter_usename,
		sum(c.seconds_seen + c.seconds_estimated) AS seconds
	FROM lifeguard.contention_minutes c
	WHERE c.recorded_on = (SELECT h.name FROM here h)
	GROUP BY c.waiter_application_name, c.waiter_usename
), sizes AS (
	SELECT s.*, COALESCE(w.seconds, 0) AS lock_wait_seconds,
		CASE WHEN s.application_name IS NOT NULL AND s.usename IS NOT NULL AND s.minutes >= 60 THEN
			LEAST(s.held_max, GREATEST(2, s.active_p99,
				ceil(round((s.load + 2 * sqrt(s.load))::numeric, 6)))::integer)
		END AS advised,
		CASE
			WHEN s.minutes < 120 THEN pg_catalog.format('%s minutes', s.minutes)
			WHEN s.minutes < 2880 THEN pg_catalog.format('%s hours', s.minutes / 60)
			ELSE pg_catalog.format('%s days', s.minutes / 1440)
		END AS recorded
	FROM sums s
		LEFT JOIN waits w ON w.waiter_application_name = s.application_name
			AND w.waiter_usename = s.usename
)
SELECT s.application_name, s.usename, pg_catalog.round(s.held::numeric, 1) AS held, s.held_max,
	s.active_p50, s.active_p99, s.active_max, pg_catalog.round(s.idle_share::numeric, 3) AS idle_share,
	pg_catalog.round(s.lock_wait_seconds, 1) AS lock_wait_seconds, s.minutes, s.advised,
	CASE
		WHEN s.application_name IS NULL OR s.usename IS NULL THEN
			'these cannot be told apart, so no size can be told for them'
		WHEN s.advised IS NULL THEN
			pg_catalog.format('only %s recorded; at least 60 are needed', lifeguard.report_count(s.minutes, 'minute', 'minutes'))
		WHEN s.idle_share <= 0.1 AND s.active_share >= 0.5 AND s.held_max > 1 THEN
			pg_catalog.format('%s of %s connections busy on average in %s: this pool may itself be where its clients queue, which cannot be seen from here',
				pg_catalog.round(((1 - s.idle_share) * s.held)::numeric, 1), s.held_max, s.recorded)
		WHEN s.advised < s.held_max THEN
			pg_catalog.format('holds %s, never more than %s active in %s', s.held_max, s.active_max, s.recorded)
			|| CASE WHEN s.active_max > s.active_p99 THEN
					pg_catalog.format(', in 99 %% of the minutes not more than %s', s.active_p99)
				ELSE '' END
			|| pg_catalog.format(': %s would do', s.advised)
		ELSE
			pg_catalog.format('holds %s, up to %s active in %s: that fits', s.held_max, s.active_max, s.recorded)
	END
	|| CASE WHEN s.advised IS NOT NULL AND s.pause_share > s.active_share THEN
			'; more of them pause in a transaction than are active, so shorter transactions need fewer'
		ELSE '' END
	|| CASE WHEN s.advised IS NOT NULL AND s.lock_wait_seconds > 0.2 * s.active_seconds THEN
			pg_catalog.format('; %s %% of their active time they wait for locks, which more connections do not mend',
				LEAST(pg_catalog.round((100 * s.lock_wait_seconds / NULLIF(s.active_seconds, 0))::numeric), 100))
		ELSE '' END AS advice,
	(sum(COALESCE(s.advised, s.held_max)) OVER ())::integer AS total_advised,
	lifeguard.cores() AS cores,
	pg_catalog.current_setting('max_connections')::integer AS max_connections
FROM sizes s
ORDER BY s.held_max - s.advised DESC NULLS LAST, s.held_max DESC, s.application_name, s.usename;
COMMENT ON VIEW lifeguard.pool_advice IS
'How many connections each application and role held, how many of them worked, and how many would have served: all databases and clients together, over the minutes that connection_usage_history has. The rule for advised: the load a, which is how many are at work on average (Little, A proof for the queuing formula L = lambda W, 1961), that is active or idle in a transaction, of the busiest minutes (99 % have less); and a safety of twice its square root, with which less than 3 % of the transactions have to wait for a connection (Halfin and Whitt, Heavy-traffic limits for queues with many exponential servers, 1981). Not less than active_p99, nor than 2; not more than was held. Counted every 5 s: a peak between two samples is not seen. A session that waits for a lock is active too. It is advice for a pool that hands out connections per transaction; where a pool is as busy as it is large, its clients queue in it, and nobody here can see how many.';
COMMENT ON COLUMN lifeguard.pool_advice.application_name IS 'What the clients called themselves; NULL in the row, if there is one, for all that came after 256 groups in their minute';
COMMENT ON COLUMN lifeguard.pool_advice.usename IS 'Role of the sessions';
COMMENT ON COLUMN lifeguard.pool_advice.held IS 'Sessions, on average over the minutes in which there were any';
COMMENT ON COLUMN lifeguard.pool_advice.held_max IS 'Most of them at a time; with several clients or databases the sum of what each had most in that minute, which may be too many, never too few';
COMMENT ON COLUMN lifeguard.pool_advice.active_p50 IS 'In half of the minutes no sample had more of them active; sums like held_max';
COMMENT ON COLUMN lifeguard.pool_advice.active_p99 IS 'In 99 % of the minutes; likewise';
COMMENT ON COLUMN lifeguard.pool_advice.active_max IS 'In all of them; likewise';
COMMENT ON COLUMN lifeguard.pool_advice.idle_share IS 'Share of their time in which they were idle outside a transaction';
COMMENT ON COLUMN lifeguard.pool_advice.lock_wait_seconds IS 'Seconds they waited for heavyweight locks, as far as contention_minutes has them, estimated ones included';
COMMENT ON COLUMN lifeguard.pool_advice.minutes IS 'Minutes recorded in which there were any';
COMMENT ON COLUMN lifeguard.pool_advice.advised IS 'Connections that would have served; NULL with less than 60 minutes, and where programs cannot be told apart';
COMMENT ON COLUMN lifeguard.pool_advice.advice IS 'The same in words';
COMMENT ON COLUMN lifeguard.pool_advice.total_advised IS 'What is advised for all rows together; held_max for those without advice. The same in each row';
COMMENT ON COLUMN lifeguard.pool_advice.cores IS 'Cores of the machine, as lifeguard.cores() tells. The same in each row';
COMMENT ON COLUMN lifeguard.pool_advice.max_connections IS 'Connection slots of the server. The same in each row';
GRANT SELECT ON lifeguard.pool_advice TO PUBLIC;
