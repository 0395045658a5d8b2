-- Who waits for whom.

CREATE VIEW lifeguard.lock_waits AS
SELECT w.pid, w.backend_type, w.leader_pid, w.datid, d.datname, w.usesysid, r.rolname AS usename,
	w.application_name, w.client_addr, w.backend_start, w.state, w.xact_age,
	w.wait_start, w.waited, w.locktype, w.mode, w.database, w.relation,
	w.relation_name,
	w.page, w.tuple, w.virtualxid, w.transactionid, w.classid, w.objid, w.objsubid, w.awaited,
	w.blocked_by, w.root_pids, w.depth, w.deadlock, w.query_id, w.query, w.query_tags
FROM lifeguard.read_lock_graph('waits') w
	LEFT JOIN pg_catalog.pg_database d ON d.oid = w.datid
	LEFT JOIN pg_catalog.pg_authid r ON r.oid = w.usesysid
ORDER BY w.wait_start;
COMMENT ON VIEW lifeguard.lock_waits IS
'Every process that waits for a heavyweight lock now, longest wait first.';
COMMENT ON COLUMN lifeguard.lock_waits.pid IS 'Process ID of the waiter';
COMMENT ON COLUMN lifeguard.lock_waits.backend_type IS 'What kind of process it is, as in pg_stat_activity';
COMMENT ON COLUMN lifeguard.lock_waits.leader_pid IS 'For a parallel worker, the session it works for';
COMMENT ON COLUMN lifeguard.lock_waits.datid IS 'OID of the database it is connected to';
COMMENT ON COLUMN lifeguard.lock_waits.datname IS 'Name of that database';
COMMENT ON COLUMN lifeguard.lock_waits.usesysid IS 'OID of the role logged in';
COMMENT ON COLUMN lifeguard.lock_waits.usename IS 'Name of that role';
COMMENT ON COLUMN lifeguard.lock_waits.application_name IS 'What the client calls itself';
COMMENT ON COLUMN lifeguard.lock_waits.client_addr IS 'Address of the client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.lock_waits.backend_start IS 'When the process started';
COMMENT ON COLUMN lifeguard.lock_waits.state IS 'State as in pg_stat_activity';
COMMENT ON COLUMN lifeguard.lock_waits.xact_age IS 'How long its transaction has lasted';
COMMENT ON COLUMN lifeguard.lock_waits.wait_start IS 'When the wait began, exactly; NULL in the instant before the server notes it';
COMMENT ON COLUMN lifeguard.lock_waits.waited IS 'How long it has waited';
COMMENT ON COLUMN lifeguard.lock_waits.locktype IS 'Kind of lock awaited, as in pg_locks';
COMMENT ON COLUMN lifeguard.lock_waits.mode IS 'Mode awaited';
COMMENT ON COLUMN lifeguard.lock_waits.database IS 'OID of the database the lock is in; 0 for shared objects';
COMMENT ON COLUMN lifeguard.lock_waits.relation IS 'OID of the relation; for a transactionid wait, the one whose row or key is meant, where that is certain';
COMMENT ON COLUMN lifeguard.lock_waits.relation_name IS 'Its schema-qualified name, if it is of this database; uncertain (with relation NULL) when an insert waits and its transaction has written to several tables';
COMMENT ON COLUMN lifeguard.lock_waits.page IS 'Block of the row or page awaited';
COMMENT ON COLUMN lifeguard.lock_waits.tuple IS 'Offset of the row in that block';
COMMENT ON COLUMN lifeguard.lock_waits.virtualxid IS 'Virtual transaction awaited';
COMMENT ON COLUMN lifeguard.lock_waits.transactionid IS 'Transaction awaited';
COMMENT ON COLUMN lifeguard.lock_waits.classid IS 'Catalog of the object, or first half of an advisory key';
COMMENT ON COLUMN lifeguard.lock_waits.objid IS 'OID of the object, or second half of an advisory key';
COMMENT ON COLUMN lifeguard.lock_waits.objsubid IS 'Column number, or for advisory locks 1 for one bigint key and 2 for two integer keys';
COMMENT ON COLUMN lifeguard.lock_waits.awaited IS 'What is awaited, in words';
COMMENT ON COLUMN lifeguard.lock_waits.blocked_by IS 'Direct blockers of its session, each once, as pg_blocking_pids() has them; 0 stands for a prepared transaction';
COMMENT ON COLUMN lifeguard.lock_waits.root_pids IS 'The blockers at the end of the chain, which wait for no lock themselves; of a deadlock its members';
COMMENT ON COLUMN lifeguard.lock_waits.depth IS '1 waits for a root, by the shortest path; NULL for members of a deadlock';
COMMENT ON COLUMN lifeguard.lock_waits.deadlock IS 'Whether it is part of a cycle that the server has not yet broken';
COMMENT ON COLUMN lifeguard.lock_waits.query_id IS 'Query identifier, when compute_query_id gives one';
COMMENT ON COLUMN lifeguard.lock_waits.query IS 'The statement that waits';
COMMENT ON COLUMN lifeguard.lock_waits.query_tags IS 'The SQL comment behind or in front of it';

CREATE VIEW lifeguard.blockers AS
SELECT b.pid, p.gid, b.backend_type, b.datid, d.datname, b.usesysid, r.rolname AS usename,
	b.application_name, b.client_addr, b.backend_start, b.state, b.state_age,
	COALESCE(b.xact_age, pg_catalog.make_interval(secs =>
		EXTRACT(epoch FROM pg_catalog.clock_timestamp() - p.prepared)::double precision)) AS xact_age,
	b.query_id, b.query, b.query_tags, b.locktype, b.relation,
	b.relation_name,
	b.held_modes, b.awaited_modes, b.blocked_directly, b.blocked_total,
	b.longest_wait, b.total_wait, b.deadlock,
	CASE
		WHEN p.gid IS NOT NULL THEN
			-- a line break would end the comment
			pg_catalog.format('ROLLBACK PREPARED %L; -- in database %I', p.gid,
				pg_catalog.translate(d.datname::text, E'\n\r', '  '))
		WHEN b.prepared_xid IS NOT NULL OR b.usesysid IS NULL AND b.backend_type IS NULL THEN
			'none: it has just ended'
		WHEN b.deadlock THEN
			'none: a deadlock, which the server ends itself after deadlock_timeout'
		WHEN b.pid = pg_catalog.pg_backend_pid() THEN
			'none: this is your own session; end its transaction'
		WHEN b.backend_type IS NULL THEN
			'none: you may not see this session; ask a member of pg_read_all_stats'
		WHEN b.syncrep THEN
			'none: its commit waits for a synchronous standby, and ending it would break the promise of that commit'
		WHEN b.backend_type = 'client backend' AND b.can_act THEN
			pg_catalog.format('SELECT lifeguard.terminate_session(%s, %L, %L);',
				b.pid, 'sessions blocked: ' || b.blocked_total,
				pg_catalog.to_char(b.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00')
		WHEN b.backend_type = 'client backend' THEN
			pg_catalog.format('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %L;',
				b.pid, pg_catalog.to_char(b.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00')
		WHEN b.backend_type = 'autovacuum worker' THEN
			'none: autovacuum gives way by itself, unless it prevents wraparound and must be let finish'
		ELSE pg_catalog.format('none: this is no session but the server''s own %s', b.backend_type)
	END AS remedy,
	b.statements
FROM lifeguard.read_lock_graph('blockers') b
	LEFT JOIN pg_catalog.pg_prepared_xact() p ON p.transaction = b.prepared_xid
	LEFT JOIN pg_catalog.pg_database d ON d.oid = b.datid
	LEFT JOIN pg_catalog.pg_authid r ON r.oid = b.usesysid
ORDER BY b.blocked_total DESC, b.total_wait DESC;
COMMENT ON VIEW lifeguard.blockers IS
'Who keeps others waiting and waits for nobody itself (or sits in a deadlock), most harmful first.';
COMMENT ON COLUMN lifeguard.blockers.pid IS 'Process ID; NULL for a prepared transaction';
COMMENT ON COLUMN lifeguard.blockers.gid IS 'Name of the prepared transaction';
COMMENT ON COLUMN lifeguard.blockers.backend_type IS 'What kind of process it is, as in pg_stat_activity';
COMMENT ON COLUMN lifeguard.blockers.datid IS 'OID of its database';
COMMENT ON COLUMN lifeguard.blockers.datname IS 'Name of that database';
COMMENT ON COLUMN lifeguard.blockers.usesysid IS 'OID of its role';
COMMENT ON COLUMN lifeguard.blockers.usename IS 'Name of that role';
COMMENT ON COLUMN lifeguard.blockers.application_name IS 'What the client calls itself';
COMMENT ON COLUMN lifeguard.blockers.client_addr IS 'Address of the client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.blockers.backend_start IS 'When the process started';
COMMENT ON COLUMN lifeguard.blockers.state IS 'State as in pg_stat_activity';
COMMENT ON COLUMN lifeguard.blockers.state_age IS 'How long the state has lasted';
COMMENT ON COLUMN lifeguard.blockers.xact_age IS 'How long its transaction has lasted, or how long ago it was prepared';
COMMENT ON COLUMN lifeguard.blockers.query_id IS 'Query identifier of the running or last statement';
COMMENT ON COLUMN lifeguard.blockers.query IS 'The running or last statement; not necessarily the one that took the lock';
COMMENT ON COLUMN lifeguard.blockers.query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.blockers.locktype IS 'Kind of the lock most wait for because of it';
COMMENT ON COLUMN lifeguard.blockers.relation IS 'OID of the relation that lock is about, where that is certain';
COMMENT ON COLUMN lifeguard.blockers.relation_name IS 'Its schema-qualified name, if it is of this database';
COMMENT ON COLUMN lifeguard.blockers.held_modes IS 'The modes it holds there that are in others'' way';
COMMENT ON COLUMN lifeguard.blockers.awaited_modes IS 'The modes others await there';
COMMENT ON COLUMN lifeguard.blockers.blocked_directly IS 'Sessions that wait for it directly';
COMMENT ON COLUMN lifeguard.blockers.blocked_total IS 'Sessions that wait for it, directly or through others';
COMMENT ON COLUMN lifeguard.blockers.longest_wait IS 'The longest of their waits so far';
COMMENT ON COLUMN lifeguard.blockers.total_wait IS 'The sum of their waits so far; who waits for two blockers counts for both';
COMMENT ON COLUMN lifeguard.blockers.deadlock IS 'Whether it is part of a cycle that the server has not yet broken';
COMMENT ON COLUMN lifeguard.blockers.remedy IS 'The statement that would free the queue (where pg_lifeguard is preloaded, by lifeguard.terminate_session()), or why there is none';
COMMENT ON COLUMN lifeguard.blockers.statements IS 'The last statements of its transaction, the oldest first, as pg_lifeguard.track_statements keeps them; NULL while that is 0';

CREATE VIEW lifeguard.lock_tree AS
SELECT t.pid, p.gid, t.level, t.deadlock,
	-- a name with a line break must not look like a line of ours
	pg_catalog.translate(
		pg_catalog.repeat('    ', t.level)
		|| COALESCE(t.pid::text, 'prepared ' || COALESCE(pg_catalog.quote_literal(p.gid), '(just ended)'))
		|| ' ' || COALESCE(r.rolname::text, t.backend_type, '?') || COALESCE('@' || d.datname::text, '')
		|| COALESCE(' [' || NULLIF(t.application_name, '') || ']', ''), E'\n\r', '  ')
	|| CASE WHEN t.deadlock THEN ' DEADLOCK' ELSE '' END
	|| CASE WHEN NOT t.waits THEN
			COALESCE(' ' || t.state || COALESCE(' for '
				|| pg_catalog.date_trunc('milliseconds', t.state_age)::text, ''), '')
		ELSE pg_catalog.format(' waits %s for %s on %s',
				COALESCE(pg_catalog.date_trunc('milliseconds', t.waited)::text, '?'), t.mode,
				pg_catalog.translate(t.awaited, E'\n\r', '  '))
		END
	|| CASE WHEN t.blocked_total > 0
		THEN pg_catalog.format(', blocks %s (%s directly)', t.blocked_total, t.blocked_directly)
		ELSE '' END
	|| COALESCE(': ' || NULLIF(pg_catalog.left(
			pg_catalog.regexp_replace(t.query, '[[:space:]]+', ' ', 'g'), 60), ''), '') AS tree
FROM lifeguard.read_lock_graph('tree') WITH ORDINALITY t
	LEFT JOIN pg_catalog.pg_prepared_xact() p ON p.transaction = t.prepared_xid
	LEFT JOIN pg_catalog.pg_database d ON d.oid = t.datid
	LEFT JOIN pg_catalog.pg_authid r ON r.oid = t.usesysid
ORDER BY t.ordinality;
COMMENT ON VIEW lifeguard.lock_tree IS
'Who waits for whom as an indented forest, most harmful root first; each waiter once, under its first blocker.';
COMMENT ON COLUMN lifeguard.lock_tree.pid IS 'Process ID; NULL for a prepared transaction';
COMMENT ON COLUMN lifeguard.lock_tree.gid IS 'Name of the prepared transaction';
COMMENT ON COLUMN lifeguard.lock_tree.level IS 'Level in the tree; 0 is at the top';
COMMENT ON COLUMN lifeguard.lock_tree.deadlock IS 'Whether it is part of a cycle that the server has not yet broken';
COMMENT ON COLUMN lifeguard.lock_tree.tree IS 'The line to read';

GRANT SELECT ON lifeguard.lock_waits, lifeguard.blockers, lifeguard.lock_tree TO PUBLIC;
