/* pg_lifeguard 1.0: joined by make from extension/topics */
\echo Not for psql: run "CREATE EXTENSION pg_lifeguard" instead \quit

-- CREATE EXTENSION makes the schema if there is none.  In one that an ordinary
-- role made before us, or filled, could lie objects that ours would then trust.
-- An empty one that a superuser owns is what a restored dump brings along.
DO $$
DECLARE
	schema_oid oid;
	schema_owner oid;
BEGIN
	SELECT n.oid, n.nspowner INTO STRICT schema_oid, schema_owner
	FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'lifeguard';

	IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles r
				   WHERE r.oid OPERATOR(pg_catalog.=) schema_owner
					 AND (r.rolsuper OR r.rolname OPERATOR(pg_catalog.=) current_user))
	THEN
		RAISE insufficient_privilege USING
			MESSAGE = 'schema "lifeguard" exists and belongs to another role',
			HINT = 'Drop or rename it, or make it your own, and run CREATE EXTENSION again.';
	END IF;

	IF EXISTS (SELECT FROM pg_catalog.pg_depend d
			   WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
				 AND d.refobjid OPERATOR(pg_catalog.=) schema_oid
				 AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass)
	THEN
		RAISE duplicate_object USING
			MESSAGE = 'schema "lifeguard" exists and is not empty',
			HINT = 'Drop or rename it, or move its objects away, and run CREATE EXTENSION again.';
	END IF;
END
$$;

COMMENT ON SCHEMA lifeguard IS
'What pg_lifeguard sees, does and remembers: lock waits, idle transactions, connection saturation.';
GRANT USAGE ON SCHEMA lifeguard TO PUBLIC;
