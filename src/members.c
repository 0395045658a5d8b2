/*-------------------------------------------------------------------------
 * members.c
 *		Tables that are proven to be the extension's own.
 *
 * The keeper starts with a superuser's rights in a database that is not its
 * own.  So before it touches a table it locks it, proves that it is a member of
 * the extension and that nothing is hung on it that would make other code run,
 * and takes on the rights of the table's owner: whatever that owner may have
 * put into the table runs with no more than these.
 *
 * Errors are raised; their messages are what status shows.
 *
 * Locking: the table, in the mode asked for, and catalogs, until the end of the
 * transaction; never for longer than lock_timeout.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "members.h"

#define OUR_SCHEMA "lifeguard"

/* Run a query about catalogs, planned once for as long as the process lives. */
static void
ask(SPIPlanPtr *plan, const char *query, int n, Oid *types, Datum *values)
{
	if (*plan == NULL)
	{
		SPIPlanPtr prepared = SPI_prepare(query, n, types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare to read catalogs");
		*plan = prepared;
	}
	if (SPI_execute_plan(*plan, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read catalogs");
}

/*
 * The extension's OID in this database, or InvalidOid if it is not there.
 * Raises an error if its catalog is of another version than the library.  Needs
 * SPI and a snapshot.
 */
Oid
lg_members_find_extension(void)
{
	static SPIPlanPtr plan = NULL;
	bool isnull;
	char *version;

	ask(&plan,
		"SELECT e.oid, e.extversion FROM pg_catalog.pg_extension e "
		"WHERE e.extname = 'pg_lifeguard'",
		0, NULL, NULL);
	if (SPI_processed == 0)
		return InvalidOid;

	version = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (strcmp(version, LG_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library %s of pg_lifeguard meets catalog %s", LG_VERSION, version)));
	return DatumGetObjectId(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * What is wrong with the table, as a phrase that follows its name; NULL when
 * nothing is.  Reading fires no trigger.  A foreign key counts as a trigger: its actions run other code.
 */
static char *
find_fault(Oid extension, Oid table, bool for_writing)
{
	static const char *const query =
		"SELECT CASE"
		" WHEN c.relkind <> 'r' OR c.relpersistence <> 'p' THEN 'is not an ordinary table'"
		" WHEN NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
		"  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
		"   AND d.objid = c.oid AND d.objsubid = 0"
		"   AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"
		"   AND d.refobjid = $1 AND d.deptype = 'e')"
		"  THEN 'does not belong to the extension'"
		" WHEN c.relrowsecurity OR c.relforcerowsecurity THEN 'has row-level security'"
		" WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid)"
		"  THEN 'has a rule'"
		" WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits i"
		"  WHERE i.inhrelid = c.oid OR i.inhparent = c.oid) THEN 'takes part in inheritance'"
		" WHEN $3 AND EXISTS (SELECT FROM pg_catalog.pg_trigger t"
		"  WHERE t.tgrelid = c.oid"
		"   AND (t.tgisinternal OR NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
		"    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = t.tgfoid"
		"     AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass"
		"     AND d.refobjid = $1 AND d.deptype = 'e')))"
		"  THEN 'has a trigger or a foreign key that does not belong to the extension'"
		" END "
		"FROM pg_catalog.pg_class c WHERE c.oid = $2";
	static SPIPlanPtr plan = NULL;
	Oid types[] = {OIDOID, OIDOID, BOOLOID};
	Datum values[] = {ObjectIdGetDatum(extension), ObjectIdGetDatum(table),
					  BoolGetDatum(for_writing)};

	ask(&plan, query, lengthof(types), types, values);
	if (SPI_processed != 1)
		elog(ERROR, "could not examine the table");
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static Oid
owner_of(Oid table)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(table)};
	bool isnull;

	ask(&plan, "SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = $1", lengthof(types),
		types, values);
	if (SPI_processed != 1)
		elog(ERROR, "could not find the owner of the table");
	return DatumGetObjectId(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static Oid
find_table(const char *name)
{
	Oid schema = get_namespace_oid(OUR_SCHEMA, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/*
 * Lock that table of the extension, prove that it can be used, and go on with
 * the rights of its owner; the caller takes back his own before he commits.
 * Raises an error if it cannot be used.  Needs SPI and a snapshot, which a newer
 * one replaces.  Returns its OID.
 */
Oid
lg_members_use_table(Oid extension, const char *name, LOCKMODE mode)
{
	Oid table = find_table(name);
	Oid user;
	int context;
	char *fault;

	if (OidIsValid(table))
		LockRelationOid(table, mode);
	if (!OidIsValid(table) || find_table(name) != table)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table \"%s.%s\" is not there", OUR_SCHEMA, name)));

	/* what has been committed while we waited counts; to an older one, a rewritten table is empty */
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());

	fault = find_fault(extension, table, mode > AccessShareLock);
	if (fault != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s.%s\" %s", OUR_SCHEMA, name, fault)));

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner_of(table),
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	return table;
}
