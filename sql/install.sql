-- The extension comes, is found in its own schema, and goes.
CREATE EXTENSION pg_lifeguard;
SELECT extname, nspname, extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pg_lifeguard';
