/* pg_lifeguard 1.0: joined by make from extension/topics */
\echo Not for psql: run "CREATE EXTENSION pg_lifeguard" instead \quit

-- CREATE EXTENSION makes the schema if there is none.  One that somebody else
-- made before us could hold objects of theirs that ours would then trust.
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_namespace
			   WHERE nspname = 'lifeguard'
				 AND nspowner <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))
	THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'schema "lifeguard" exists and belongs to another role',
			HINT = 'Drop or rename it, or make it your own, and run CREATE EXTENSION again.';
	END IF;
END
$$;

COMMENT ON SCHEMA lifeguard IS
'What pg_lifeguard sees, does and remembers: lock waits, idle transactions, connection saturation.';
GRANT USAGE ON SCHEMA lifeguard TO PUBLIC;
