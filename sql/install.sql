-- The extension comes, is found in its own schema, and goes without a trace.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS pg_lifeguard;
DROP SCHEMA IF EXISTS lifeguard;
RESET client_min_messages;
\set VERBOSITY terse

-- only a superuser may install it
CREATE ROLE regress_lg_user;
GRANT CREATE ON DATABASE :"DBNAME" TO regress_lg_user;
SET ROLE regress_lg_user;
CREATE EXTENSION pg_lifeguard;
RESET ROLE;

-- not into a schema that an ordinary role made before us
CREATE SCHEMA lifeguard AUTHORIZATION regress_lg_user;
CREATE EXTENSION pg_lifeguard;
-- nor into one that is not empty, whoever owns it
ALTER SCHEMA lifeguard OWNER TO CURRENT_USER;
CREATE TABLE lifeguard.mine ();
CREATE EXTENSION pg_lifeguard;
DROP TABLE lifeguard.mine;
CREATE FUNCTION lifeguard.mine() RETURNS int LANGUAGE sql RETURN 1;
CREATE EXTENSION pg_lifeguard;
DROP FUNCTION lifeguard.mine();
CREATE TYPE lifeguard.mine AS ENUM ('mine');
CREATE EXTENSION pg_lifeguard;
DROP TYPE lifeguard.mine;
-- an empty one that a superuser made, as a restored dump does, is fine
CREATE ROLE regress_lg_admin SUPERUSER;
ALTER SCHEMA lifeguard OWNER TO regress_lg_admin;
CREATE EXTENSION pg_lifeguard;
DROP EXTENSION pg_lifeguard;
DROP SCHEMA lifeguard;
-- its schema is its own, always
CREATE EXTENSION pg_lifeguard SCHEMA public;

CREATE EXTENSION pg_lifeguard;
SELECT extname, nspname, extversion, extrelocatable, extconfig = ARRAY['lifeguard.policy'::regclass::oid] AS dumps_policies_only
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pg_lifeguard';
CREATE EXTENSION pg_lifeguard;
ALTER EXTENSION pg_lifeguard SET SCHEMA public;
ALTER EXTENSION pg_lifeguard UPDATE;
ALTER EXTENSION pg_lifeguard UPDATE TO '0.9';

-- nothing lies outside its schema
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_lifeguard')
  AND (pg_identify_object(classid, objid, 0)).schema IS DISTINCT FROM 'lifeguard'
  AND classid NOT IN ('pg_rewrite'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass);

-- arguments that make no sense
SELECT count(*) FROM lifeguard.read_lock_graph(NULL);
SELECT count(*) FROM lifeguard.read_lock_graph('waits');
SELECT count(*) FROM lifeguard.read_lock_graph('');
SELECT count(*) FROM lifeguard.read_lock_graph('Waits');
\set VERBOSITY default
SELECT count(*) FROM lifeguard.read_lock_graph('roots');
\set VERBOSITY terse

-- what others build upon it holds it
CREATE VIEW regress_lg_view AS SELECT pid FROM lifeguard.sessions;
DROP EXTENSION pg_lifeguard;
DROP VIEW regress_lg_view;

DROP EXTENSION pg_lifeguard;
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'lifeguard';
SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'lifeguard';
SELECT count(*) FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = 'lifeguard';
SELECT count(*) FROM pg_extension WHERE extname = 'pg_lifeguard';
-- no extension can own the schema it lives in: that one stays, empty, and serves again
SELECT nspname FROM pg_namespace WHERE nspname = 'lifeguard';
CREATE EXTENSION pg_lifeguard;
DROP EXTENSION pg_lifeguard;
DROP SCHEMA lifeguard;
-- the settings stay while the library is loaded
SHOW pg_lifeguard.sample_interval;

REVOKE ALL ON DATABASE :"DBNAME" FROM regress_lg_user;
DROP ROLE regress_lg_user, regress_lg_admin;
