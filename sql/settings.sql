-- Settings: defaults, units, bounds, who may set them when.  Messages differ
-- between majors in form; their codes do not.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_lifeguard;
RESET client_min_messages;

SELECT name, boot_val, unit, vartype, context, min_val, max_val, category, short_desc, extra_desc
FROM pg_settings WHERE name LIKE 'pg\_lifeguard.%' ORDER BY name \gx
-- as test/pg_lifeguard.conf has them
SHOW pg_lifeguard.sample_interval;
SHOW pg_lifeguard.fast_interval;
SHOW pg_lifeguard.database;
SHOW pg_lifeguard.max_policies;

\set VERBOSITY sqlstate
-- not in a session, a transaction, a function, for a role or a database
SET pg_lifeguard.sample_interval = '1s';
SET LOCAL pg_lifeguard.fast_interval = '1s';
SET pg_lifeguard.database = 'template1';
SET pg_lifeguard.max_policies = 65;
SELECT set_config('pg_lifeguard.fast_interval', '1s', false);
CREATE FUNCTION regress_lg_set() RETURNS int LANGUAGE sql SET pg_lifeguard.fast_interval = '1s' RETURN 1;
ALTER ROLE CURRENT_USER SET pg_lifeguard.fast_interval = '1s';
ALTER DATABASE :"DBNAME" SET pg_lifeguard.sample_interval = '1s';
-- no such setting
SET pg_lifeguard.xyz = 1;
SHOW pg_lifeguard.xyz;
-- out of bounds, or no time at all
ALTER SYSTEM SET pg_lifeguard.sample_interval = -1;
ALTER SYSTEM SET pg_lifeguard.sample_interval = '-1s';
ALTER SYSTEM SET pg_lifeguard.sample_interval = '25d';
ALTER SYSTEM SET pg_lifeguard.sample_interval = 'often';
ALTER SYSTEM SET pg_lifeguard.sample_interval = '1 MB';
ALTER SYSTEM SET pg_lifeguard.sample_interval = '';
ALTER SYSTEM SET pg_lifeguard.fast_interval = 9;
ALTER SYSTEM SET pg_lifeguard.fast_interval = '9400us';
ALTER SYSTEM SET pg_lifeguard.fast_interval = 0;
ALTER SYSTEM SET pg_lifeguard.fast_interval = -100;
ALTER SYSTEM SET pg_lifeguard.fast_interval = 1000000000000;
ALTER SYSTEM SET pg_lifeguard.max_policies = 0;
ALTER SYSTEM SET pg_lifeguard.max_policies = 1001;
-- an ordinary role may see them and not change them
CREATE ROLE regress_lg_user;
SET ROLE regress_lg_user;
SHOW pg_lifeguard.fast_interval;
SET pg_lifeguard.fast_interval = 100;
ALTER SYSTEM SET pg_lifeguard.fast_interval = 100;
RESET ROLE;
DROP ROLE regress_lg_user;
\set VERBOSITY default

-- within bounds; what is set is only written here, and read back from the file
ALTER SYSTEM SET pg_lifeguard.sample_interval = '2min';
ALTER SYSTEM SET pg_lifeguard.fast_interval = 10;
SELECT name, setting, applied, error FROM pg_file_settings
WHERE name LIKE 'pg\_lifeguard.%' AND sourcefile LIKE '%postgresql.auto.conf' ORDER BY name;
ALTER SYSTEM SET pg_lifeguard.sample_interval = 0;
ALTER SYSTEM SET pg_lifeguard.fast_interval = 2147483647;
SELECT name, setting, applied, error FROM pg_file_settings
WHERE name LIKE 'pg\_lifeguard.%' AND sourcefile LIKE '%postgresql.auto.conf' ORDER BY name;
ALTER SYSTEM RESET pg_lifeguard.sample_interval;
ALTER SYSTEM RESET pg_lifeguard.fast_interval;
SELECT count(*) FROM pg_file_settings WHERE name LIKE 'pg\_lifeguard.%' AND sourcefile LIKE '%postgresql.auto.conf';
