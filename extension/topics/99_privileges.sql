-- Who may do what has been said above, for PUBLIC and pg_read_all_stats.  Default
-- privileges of whoever runs this must not hand what views hide, or what changes
-- something, to others besides; nor let them put functions beside ours, which might
-- be called in their stead.
REVOKE CREATE ON SCHEMA lifeguard FROM PUBLIC;
DO $$
DECLARE
	given record;
BEGIN
	FOR given IN
		SELECT 'TABLE' AS kind, c.oid::pg_catalog.regclass::text AS name, r.rolname
		FROM pg_catalog.pg_class c
			CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a
			JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
		WHERE c.relnamespace = 'lifeguard'::pg_catalog.regnamespace AND a.grantee <> c.relowner
			AND r.rolname <> 'pg_read_all_stats'
		UNION
		SELECT 'ROUTINE', p.oid::pg_catalog.regprocedure::text, r.rolname
		FROM pg_catalog.pg_proc p
			CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
			JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
		WHERE p.pronamespace = 'lifeguard'::pg_catalog.regnamespace AND a.grantee <> p.proowner
			AND r.rolname <> 'pg_read_all_stats'
		UNION
		SELECT 'SCHEMA', n.nspname::text, r.rolname
		FROM pg_catalog.pg_namespace n
			CROSS JOIN LATERAL pg_catalog.aclexplode(n.nspacl) a
			JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
		WHERE n.nspname = 'lifeguard' AND a.grantee <> n.nspowner AND a.privilege_type = 'CREATE'
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON %s %s FROM %I', given.kind, given.name, given.rolname);
	END LOOP;
END
$$;
