-- What pg_activity's tab "blocking queries" asks at every refresh (2 s), in the
-- shape of pgactivity/queries/get_blocking_post_140000.sql, github.com/dalibo/pg_activity:
-- pg_locks joined with itself once per kind of lock.  It names whoever holds
-- what somebody waits for, root or not.
SELECT sq.pid, sq.application_name, sq.datname, sq.usename, sq.client_addr, sq.relation, sq.mode,
	sq.locktype, sq.duration, sq.state, sq.query, pg_encoding_to_char(b.encoding) AS encoding,
	sq.wait_event, sq.query_id
FROM (
	SELECT a.pid, a.application_name, a.datid, a.datname, a.usename, a.client_addr, a.state, a.query,
		a.wait_event, a.query_id, held.mode, held.locktype, held.relation::regclass AS relation,
		extract(epoch FROM now() - a.query_start) AS duration
	FROM pg_locks held JOIN pg_locks awaited USING (transactionid, locktype)
		JOIN pg_stat_activity a ON a.pid = held.pid
	WHERE held.granted AND NOT awaited.granted
	UNION ALL
	SELECT a.pid, a.application_name, a.datid, a.datname, a.usename, a.client_addr, a.state, a.query,
		a.wait_event, a.query_id, held.mode, held.locktype, held.relation::regclass,
		extract(epoch FROM now() - a.query_start)
	FROM pg_locks held JOIN pg_locks awaited USING (virtualxid, locktype)
		JOIN pg_stat_activity a ON a.pid = held.pid
	WHERE held.granted AND NOT awaited.granted
	UNION ALL
	SELECT a.pid, a.application_name, a.datid, a.datname, a.usename, a.client_addr, a.state, a.query,
		a.wait_event, a.query_id, held.mode, held.locktype, held.relation::regclass,
		extract(epoch FROM now() - a.query_start)
	FROM pg_locks held JOIN pg_locks awaited USING (database, relation, locktype)
		JOIN pg_stat_activity a ON a.pid = held.pid
	WHERE held.granted AND NOT awaited.granted AND awaited.relation IS NOT NULL
) sq LEFT JOIN pg_database b ON b.oid = sq.datid
GROUP BY sq.pid, sq.application_name, sq.datname, sq.usename, sq.client_addr, sq.relation, sq.mode,
	sq.locktype, sq.duration, sq.state, sq.query, b.encoding, sq.wait_event, sq.query_id
ORDER BY sq.duration DESC;
