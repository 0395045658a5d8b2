-- Client sessions, and those among them that sit in a transaction.

CREATE VIEW lifeguard.sessions AS
SELECT s.datid, d.datname, s.pid, NULL::integer AS leader_pid, s.usesysid, r.rolname AS usename,
	s.application_name, s.client_addr, s.client_hostname, s.client_port,
	s.backend_start, s.xact_start, s.query_start, s.state_change,
	s.wait_event_type, s.wait_event, s.state, s.backend_xid, s.backend_xmin,
	s.query_id, s.query, s.backend_type,
	s.query_tags, s.state_age, s.xact_age, s.horizon_age, s.blocked_by, s.blocking
FROM lifeguard.read_sessions() s
	LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid
	LEFT JOIN pg_catalog.pg_authid r ON r.oid = s.usesysid;
COMMENT ON VIEW lifeguard.sessions IS
'Client sessions now: the columns of pg_stat_activity, ages, and who blocks whom.';
COMMENT ON COLUMN lifeguard.sessions.datid IS 'OID of the database this session is connected to';
COMMENT ON COLUMN lifeguard.sessions.datname IS 'Name of that database';
COMMENT ON COLUMN lifeguard.sessions.pid IS 'Process ID';
COMMENT ON COLUMN lifeguard.sessions.leader_pid IS 'Always NULL: parallel workers belong to the session that leads them';
COMMENT ON COLUMN lifeguard.sessions.usesysid IS 'OID of the role logged in';
COMMENT ON COLUMN lifeguard.sessions.usename IS 'Name of that role';
COMMENT ON COLUMN lifeguard.sessions.application_name IS 'What the client calls itself; anybody may call itself anything';
COMMENT ON COLUMN lifeguard.sessions.client_addr IS 'Address of the client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.sessions.client_hostname IS 'Its host name, when log_hostname is on';
COMMENT ON COLUMN lifeguard.sessions.client_port IS 'Its port; -1 for a Unix socket';
COMMENT ON COLUMN lifeguard.sessions.backend_start IS 'When the process started';
COMMENT ON COLUMN lifeguard.sessions.xact_start IS 'When the transaction started; NULL outside one';
COMMENT ON COLUMN lifeguard.sessions.query_start IS 'When the statement started, or the last one if none runs';
COMMENT ON COLUMN lifeguard.sessions.state_change IS 'When the state last changed';
COMMENT ON COLUMN lifeguard.sessions.wait_event_type IS 'Class of what the process waits for; NULL while it runs';
COMMENT ON COLUMN lifeguard.sessions.wait_event IS 'What it waits for';
COMMENT ON COLUMN lifeguard.sessions.state IS 'State as in pg_stat_activity';
COMMENT ON COLUMN lifeguard.sessions.backend_xid IS 'Its transaction ID, once it has written something';
COMMENT ON COLUMN lifeguard.sessions.backend_xmin IS 'The oldest transaction its snapshots may still need';
COMMENT ON COLUMN lifeguard.sessions.query_id IS 'Query identifier, when compute_query_id gives one';
COMMENT ON COLUMN lifeguard.sessions.query IS 'The statement, or the last one if none runs; converted to this database''s encoding, ? for what cannot be';
COMMENT ON COLUMN lifeguard.sessions.backend_type IS 'Always client backend, where it may be seen';
COMMENT ON COLUMN lifeguard.sessions.query_tags IS 'The SQL comment behind or in front of the statement, by which frameworks name the program';
COMMENT ON COLUMN lifeguard.sessions.state_age IS 'How long the state has lasted';
COMMENT ON COLUMN lifeguard.sessions.xact_age IS 'How long the transaction has lasted; NULL outside one';
COMMENT ON COLUMN lifeguard.sessions.horizon_age IS 'Age, in transactions, of the older of its xid and xmin: how far back it keeps dead rows';
COMMENT ON COLUMN lifeguard.sessions.blocked_by IS 'Direct blockers, each once, as pg_blocking_pids() has them; 0 stands for a prepared transaction';
COMMENT ON COLUMN lifeguard.sessions.blocking IS 'How many sessions wait for this one, directly or through others';

CREATE VIEW lifeguard.idle_transactions AS
SELECT s.datid, d.datname, s.pid, s.usesysid, r.rolname AS usename,
	s.application_name, s.client_addr, s.backend_start, s.xact_start, s.state_change, s.state,
	s.state_age AS idle_for, s.xact_age, s.horizon_age, s.holds_horizon, s.locks_held, s.blocking,
	s.query_id, s.query, s.query_tags, s.statements
FROM lifeguard.read_sessions() s
	LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid
	LEFT JOIN pg_catalog.pg_authid r ON r.oid = s.usesysid
WHERE s.state IN ('idle in transaction', 'idle in transaction (aborted)')
ORDER BY s.blocking DESC, s.state_age DESC;
COMMENT ON VIEW lifeguard.idle_transactions IS
'Sessions that sit idle in a transaction now, those that block most first.';
COMMENT ON COLUMN lifeguard.idle_transactions.datid IS 'OID of the database this session is connected to';
COMMENT ON COLUMN lifeguard.idle_transactions.datname IS 'Name of that database';
COMMENT ON COLUMN lifeguard.idle_transactions.pid IS 'Process ID';
COMMENT ON COLUMN lifeguard.idle_transactions.usesysid IS 'OID of the role logged in';
COMMENT ON COLUMN lifeguard.idle_transactions.usename IS 'Name of that role';
COMMENT ON COLUMN lifeguard.idle_transactions.application_name IS 'What the client calls itself';
COMMENT ON COLUMN lifeguard.idle_transactions.client_addr IS 'Address of the client; NULL for a Unix socket';
COMMENT ON COLUMN lifeguard.idle_transactions.backend_start IS 'When the process started';
COMMENT ON COLUMN lifeguard.idle_transactions.xact_start IS 'When the transaction started';
COMMENT ON COLUMN lifeguard.idle_transactions.state_change IS 'When it fell idle';
COMMENT ON COLUMN lifeguard.idle_transactions.state IS 'idle in transaction, aborted or not';
COMMENT ON COLUMN lifeguard.idle_transactions.idle_for IS 'How long it has been idle in this transaction';
COMMENT ON COLUMN lifeguard.idle_transactions.xact_age IS 'How long the transaction has lasted';
COMMENT ON COLUMN lifeguard.idle_transactions.horizon_age IS 'Age, in transactions, of the older of its xid and xmin; NULL if it keeps no dead row';
COMMENT ON COLUMN lifeguard.idle_transactions.holds_horizon IS 'Whether nothing older than it (session, prepared transaction, walsender, replication slot) keeps dead rows of its database';
COMMENT ON COLUMN lifeguard.idle_transactions.locks_held IS 'Heavyweight locks it holds, counted as pg_locks shows them';
COMMENT ON COLUMN lifeguard.idle_transactions.blocking IS 'How many sessions wait for this one, directly or through others';
COMMENT ON COLUMN lifeguard.idle_transactions.query_id IS 'Query identifier of the last statement';
COMMENT ON COLUMN lifeguard.idle_transactions.query IS 'The last statement; not necessarily the one that took the locks';
COMMENT ON COLUMN lifeguard.idle_transactions.query_tags IS 'The SQL comment behind or in front of it';
COMMENT ON COLUMN lifeguard.idle_transactions.statements IS 'The last statements of its transaction, the oldest first, as pg_lifeguard.track_statements keeps them; NULL while that is 0';

CREATE VIEW lifeguard.transaction_statements AS
SELECT s.pid, d.datname, r.rolname AS usename, s.xact_start, s.number, s.query_start, s.query_id,
	s.query
FROM lifeguard.read_transaction_statements() s
	LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid
	LEFT JOIN pg_catalog.pg_authid r ON r.oid = s.usesysid
ORDER BY s.xact_start, s.pid, s.number;
COMMENT ON VIEW lifeguard.transaction_statements IS
'The last statements of each open transaction, as pg_lifeguard.track_statements keeps them, as far as you may see them; empty while that is 0.';
COMMENT ON COLUMN lifeguard.transaction_statements.pid IS 'Process ID';
COMMENT ON COLUMN lifeguard.transaction_statements.datname IS 'Name of its database';
COMMENT ON COLUMN lifeguard.transaction_statements.usename IS 'Name of its role';
COMMENT ON COLUMN lifeguard.transaction_statements.xact_start IS 'When the transaction started';
COMMENT ON COLUMN lifeguard.transaction_statements.number IS 'Of the statement among all of its transaction, from 1';
COMMENT ON COLUMN lifeguard.transaction_statements.query_start IS 'When the client sent it';
COMMENT ON COLUMN lifeguard.transaction_statements.query_id IS 'Query identifier, when compute_query_id gives one';
COMMENT ON COLUMN lifeguard.transaction_statements.query IS 'Its first 199 bytes; converted to this database''s encoding, ? for what cannot be';

GRANT SELECT ON lifeguard.sessions, lifeguard.idle_transactions, lifeguard.transaction_statements
	TO PUBLIC;
