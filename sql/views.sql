-- What is there: every view with its columns, every function with its rights.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_lifeguard;
RESET client_min_messages;

SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'lifeguard'::regnamespace AND c.relkind IN ('v', 'r', 'm', 'p') AND a.attnum > 0
ORDER BY c.relname COLLATE "C", a.attnum;

\pset format unaligned
SELECT p.proname, oidvectortypes(p.proargtypes) AS arguments,
	CASE WHEN p.proretset THEN 'setof ' ELSE '' END || format_type(p.prorettype, NULL) AS result,
	p.provolatile, p.proparallel, p.proisstrict, p.prosecdef,
	has_function_privilege('public', p.oid, 'EXECUTE') AS public
FROM pg_proc p WHERE p.pronamespace = 'lifeguard'::regnamespace
ORDER BY p.proname COLLATE "C", oidvectortypes(p.proargtypes) COLLATE "C";
\pset format aligned

-- rights are spelled out: nothing is left to defaults, nobody but PUBLIC, the owner and pg_read_all_stats has any
SELECT c.relname, CASE g.grantee WHEN 0 THEN 'public' ELSE g.grantee::regrole::text END AS grantee, g.privilege_type
FROM pg_class c, aclexplode(c.relacl) g
WHERE c.relnamespace = 'lifeguard'::regnamespace AND g.grantee <> c.relowner ORDER BY c.relname COLLATE "C";
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'lifeguard'::regnamespace AND p.proacl IS NULL;
SELECT g.grantee = 0 AS public, g.privilege_type
FROM pg_namespace n, aclexplode(n.nspacl) g WHERE n.nspname = 'lifeguard' AND g.grantee <> n.nspowner;

-- everything has a comment
SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_lifeguard')
  AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
  AND obj_description(d.objid, (SELECT relname FROM pg_class WHERE oid = d.classid)) IS NULL;
SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'lifeguard'::regnamespace AND c.relkind IN ('v', 'r', 'm', 'p') AND a.attnum > 0
  AND NOT a.attisdropped AND COALESCE(col_description(c.oid, a.attnum), '') = '';
SELECT obj_description('lifeguard'::regnamespace, 'pg_namespace') IS NOT NULL AS schema_has_comment,
	(SELECT obj_description(oid, 'pg_extension') IS NOT NULL FROM pg_extension WHERE extname = 'pg_lifeguard') AS extension_has_comment;
-- two columns of a view do not share a comment by mistake
SELECT c.relname, col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'lifeguard'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
GROUP BY 1, 2 HAVING count(*) > 1;

-- columns that pg_stat_activity and pg_locks have too are spelled and typed like theirs
SELECT c.relname, a.attname, format_type(a.atttypid, NULL), format_type(b.atttypid, NULL) AS there
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	JOIN pg_attribute b ON b.attrelid IN ('pg_stat_activity'::regclass, 'pg_locks'::regclass) AND b.attname = a.attname AND b.attnum > 0
WHERE c.relnamespace = 'lifeguard'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 AND a.atttypid <> b.atttypid
ORDER BY 1, 2;
SELECT a.attname AS missing_in_sessions FROM pg_attribute a
WHERE a.attrelid = 'pg_stat_activity'::regclass AND a.attnum > 0
  AND NOT EXISTS (SELECT FROM pg_attribute b WHERE b.attrelid = 'lifeguard.sessions'::regclass AND b.attname = a.attname);

-- nobody else connects here: this session is all there is
SELECT count(*) FROM lifeguard.lock_waits;
SELECT count(*) FROM lifeguard.blockers;
SELECT count(*) FROM lifeguard.lock_tree;
SELECT count(*) FROM lifeguard.idle_transactions;
SELECT pid = pg_backend_pid() AS me, state, usename = session_user AS own, datname = current_database() AS here,
	blocked_by, blocking, backend_type, state_age >= '0' AS state_age, xact_age >= '0' AS xact_age, horizon_age
FROM lifeguard.sessions WHERE pid = pg_backend_pid();
BEGIN;
SELECT horizon_age IS NOT NULL AS has_horizon_age FROM lifeguard.sessions WHERE pid = pg_backend_pid();
COMMIT;
SELECT max_connections, superuser_reserved_connections, reserved_connections, usable,
	used >= 1 AS used, used_share = round(used / usable::numeric, 4) AS share,
	used = active + idle + idle_in_transaction + idle_in_transaction_aborted + other AS adds_up,
	active >= 1 AS active, idle_in_transaction, waiting, max_wal_senders, walsenders
FROM lifeguard.connections;
SELECT datname = current_database() AS here, application_name, client_addr, active, idle_in_transaction, waiting, oldest > '0' AS oldest
FROM lifeguard.connection_usage
WHERE datname = current_database() AND application_name = current_setting('application_name');
-- as pg_stat_activity has it, column by column
SELECT a.pid = pg_backend_pid() AS me, k.key FROM pg_stat_activity a JOIN lifeguard.sessions s USING (pid),
	LATERAL jsonb_each(to_jsonb(a)) k
WHERE k.value IS DISTINCT FROM to_jsonb(s) -> k.key AND a.pid = pg_backend_pid();

-- the readings can be used as functions are: joined, limited, in a cursor, twice in a statement
BEGIN;
DECLARE c CURSOR FOR SELECT pid = pg_backend_pid() FROM lifeguard.sessions WHERE pid = pg_backend_pid();
FETCH 1 FROM c;
FETCH 1 FROM c;
COMMIT;
SELECT count(*) FROM lifeguard.sessions a JOIN lifeguard.sessions b USING (pid) WHERE pid = pg_backend_pid();
SELECT pid = pg_backend_pid() AS me FROM lifeguard.sessions WHERE pid = pg_backend_pid() LIMIT 1;
SELECT (lifeguard.read_connections()).max_connections;
PREPARE p AS SELECT count(*) FROM lifeguard.sessions WHERE pid = $1;
EXECUTE p (pg_backend_pid());
EXECUTE p (-1);
DEALLOCATE p;
-- a changed search_path misleads no view
CREATE SCHEMA regress_lg_trap;
CREATE FUNCTION regress_lg_trap.round(numeric, int) RETURNS numeric LANGUAGE sql RETURN -1;
CREATE TABLE regress_lg_trap.pg_database (oid oid, datname name);
CREATE TABLE regress_lg_trap.pg_authid (oid oid, rolname name);
SET search_path = regress_lg_trap, pg_catalog;
SELECT used_share > 0 AS right FROM lifeguard.connections;
SELECT datname IS NOT NULL AS right, usename IS NOT NULL AS right FROM lifeguard.sessions WHERE pid = pg_backend_pid();
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA regress_lg_trap CASCADE;
