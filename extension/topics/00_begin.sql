\echo Not for psql: run "CREATE EXTENSION pg_lifeguard" instead \quit
