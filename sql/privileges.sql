-- What pg_stat_activity hides from a role, and only that, is hidden here too.
-- Sessions that wait for each other are in the isolation suite (masking).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_lifeguard;
RESET client_min_messages;
\set VERBOSITY terse

CREATE ROLE regress_lg_user LOGIN;
CREATE ROLE regress_lg_other;
CREATE ROLE regress_lg_reader ROLE regress_lg_other;
GRANT pg_read_all_stats TO regress_lg_reader;
SELECT session_user AS owner \gset

-- Keys whose values differ between pg_stat_activity and lifeguard.sessions, and
-- how many are hidden in either.
CREATE VIEW regress_lg_compare AS
SELECT a.pid = pg_backend_pid() AS me, jsonb_object_agg(k.key, k.value) FILTER (WHERE k.value IS DISTINCT FROM to_jsonb(s) -> k.key) AS differs,
	s.query = '<insufficient privilege>' AS query_hidden,
	string_agg(k.key, ' ' ORDER BY k.key COLLATE "C") FILTER (WHERE k.value <> 'null') AS seen
FROM pg_stat_activity a JOIN lifeguard.sessions s USING (pid), LATERAL jsonb_each(to_jsonb(a)) k
WHERE a.pid = pg_backend_pid() GROUP BY a.pid, s.query;
GRANT SELECT ON regress_lg_compare TO PUBLIC;

-- the superuser, its own session
SELECT * FROM regress_lg_compare;

-- a role that may not see the session (which stays the superuser's)
SET ROLE regress_lg_other;
SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS reads_all;
RESET ROLE;
REVOKE regress_lg_reader FROM regress_lg_other;
SET ROLE regress_lg_other;
-- (a view runs with its owner's rights, so these are asked directly)
SELECT k.key FROM pg_stat_activity a JOIN lifeguard.sessions s USING (pid), LATERAL jsonb_each(to_jsonb(a)) k
WHERE a.pid = pg_backend_pid() AND k.value IS DISTINCT FROM to_jsonb(s) -> k.key;
SELECT string_agg(k.key, ' ' ORDER BY k.key COLLATE "C") AS seen
FROM lifeguard.sessions s, LATERAL jsonb_each(to_jsonb(s)) k WHERE s.pid = pg_backend_pid() AND k.value <> 'null';
SELECT query, state, query_tags, state_age, xact_age FROM lifeguard.sessions WHERE pid = pg_backend_pid();
SELECT used >= 1 AS used, active >= 1 AS active, client_addr, oldest FROM lifeguard.connection_usage
WHERE usename = :'owner' AND application_name = current_setting('application_name');
RESET ROLE;

-- a reader of all statistics
SET ROLE regress_lg_reader;
SELECT k.key FROM pg_stat_activity a JOIN lifeguard.sessions s USING (pid), LATERAL jsonb_each(to_jsonb(a)) k
WHERE a.pid = pg_backend_pid() AND k.value IS DISTINCT FROM to_jsonb(s) -> k.key;
SELECT state, query LIKE 'SELECT state%' AS query_seen, backend_type FROM lifeguard.sessions WHERE pid = pg_backend_pid();
SELECT oldest > '0' AS oldest_seen FROM lifeguard.connection_usage
WHERE usename = :'owner' AND application_name = current_setting('application_name');
RESET ROLE;

-- a member of the session's own role
GRANT :"owner" TO regress_lg_other;
SET ROLE regress_lg_other;
SELECT state, query LIKE 'SELECT state%' AS query_seen FROM lifeguard.sessions WHERE pid = pg_backend_pid();
RESET ROLE;
REVOKE :"owner" FROM regress_lg_other;

-- an ordinary role, connected
\c - regress_lg_user
SELECT k.key FROM pg_stat_activity a JOIN lifeguard.sessions s USING (pid), LATERAL jsonb_each(to_jsonb(a)) k
WHERE a.pid = pg_backend_pid() AND k.value IS DISTINCT FROM to_jsonb(s) -> k.key;
SELECT usename, state, query LIKE 'SELECT usename%' AS query_seen, query_tags FROM lifeguard.sessions WHERE pid = pg_backend_pid() /* mine */;
SELECT usename, used, active, oldest > '0' AS oldest_seen FROM lifeguard.connection_usage WHERE usename = current_user;
-- may look at everything
SELECT count(*) FROM lifeguard.lock_waits;
SELECT count(*) FROM lifeguard.blockers;
SELECT count(*) FROM lifeguard.lock_tree;
SELECT count(*) FROM lifeguard.idle_transactions;
SELECT count(*) FROM lifeguard.connections;
SELECT count(*) FROM lifeguard.status;
-- and change nothing
SELECT lifeguard.run_pass();
SELECT lifeguard.reset();
CREATE TABLE lifeguard.mine ();
DELETE FROM lifeguard.sessions;
UPDATE lifeguard.status SET passes = 0;
INSERT INTO lifeguard.lock_waits (pid) VALUES (1);

-- unless it is let
\c - :owner
GRANT EXECUTE ON FUNCTION lifeguard.run_pass(), lifeguard.reset() TO regress_lg_user;
SET ROLE regress_lg_user;
SELECT lifeguard.run_pass();
SELECT lifeguard.reset();
RESET ROLE;
REVOKE EXECUTE ON FUNCTION lifeguard.run_pass(), lifeguard.reset() FROM regress_lg_user;

-- whoever may use the schema no more gets nothing
REVOKE USAGE ON SCHEMA lifeguard FROM PUBLIC;
SET ROLE regress_lg_user;
SELECT count(*) FROM lifeguard.sessions;
RESET ROLE;
GRANT USAGE ON SCHEMA lifeguard TO PUBLIC;

DROP VIEW regress_lg_compare;
DROP ROLE regress_lg_user, regress_lg_other, regress_lg_reader;
