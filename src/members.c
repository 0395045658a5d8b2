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

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "members.h"

#define OUR_NAME "pg_lifeguard"
#define OUR_SCHEMA "lifeguard"

/* Refuse a catalog of another version than the library. */
static void
check_version(Relation extensions, HeapTuple tuple)
{
	bool isnull;
	Datum value =
		heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(extensions), &isnull);
	char *version = isnull ? "" : TextDatumGetCString(value);

	if (strcmp(version, LG_VERSION) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library %s of pg_lifeguard meets catalog %s", LG_VERSION, version)));
}

/*
 * The extension's OID in this database, or InvalidOid if it is not there.
 * Raises an error if its catalog is of another version than the library.  Needs a
 * transaction.
 */
Oid
lg_members_find_extension(void)
{
	Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
	Oid extension = InvalidOid;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(OUR_NAME));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		check_version(extensions, tuple);
		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
	}
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return extension;
}

static bool
takes_part_in_inheritance(Oid table)
{
	return has_superclass(table) || find_inheritance_children(table, NoLock) != NIL;
}

/*
 * What is wrong with the table, as a phrase that follows its name; NULL when
 * nothing is.  Reading fires no trigger; no table that is written to has one of ours.  A
 * foreign key counts as a trigger: its actions run other code.
 */
static const char *
find_fault(Oid extension, Relation table, bool for_writing)
{
	Form_pg_class form = table->rd_rel;

	if (form->relkind != RELKIND_RELATION || form->relpersistence != RELPERSISTENCE_PERMANENT)
		return "is not an ordinary table";
	if (getExtensionOfObject(RelationRelationId, RelationGetRelid(table)) != extension)
		return "does not belong to the extension";
	if (form->relrowsecurity || form->relforcerowsecurity)
		return "has row-level security";
	if (table->rd_rules != NULL)
		return "has a rule";
	if (takes_part_in_inheritance(RelationGetRelid(table)))
		return "takes part in inheritance";
	if (for_writing && table->trigdesc != NULL)
		return "has a trigger or a foreign key";
	return NULL;
}

static Oid
find_table(const char *name)
{
	Oid schema = get_namespace_oid(OUR_SCHEMA, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* The table is locked: prove that it can be used.  Returns its owner. */
static Oid
prove(Oid extension, Oid table, const char *name, bool for_writing)
{
	Relation relation = relation_open(table, NoLock);
	const char *fault = find_fault(extension, relation, for_writing);
	Oid owner = relation->rd_rel->relowner;

	if (fault != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s.%s\" %s", OUR_SCHEMA, name, fault)));
	relation_close(relation, NoLock);
	return owner;
}

/*
 * Lock that table of the extension, prove that it can be used, and go on with
 * the rights of its owner; the caller takes back his own before he commits.
 * Raises an error if it cannot be used.  Needs a snapshot, which a newer one
 * replaces.  Returns its OID.
 *
 * Catalogs are read as the executor reads them, without statements: a keeper comes
 * so often that planning these would be most of what it costs.
 */
Oid
lg_members_use_table(Oid extension, const char *name, LOCKMODE mode)
{
	Oid table = find_table(name);
	Oid user;
	Oid owner;
	int context;

	if (OidIsValid(table))
		LockRelationOid(table, mode);
	if (!OidIsValid(table) || find_table(name) != table)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table \"%s.%s\" is not there", OUR_SCHEMA, name)));

	/* what has been committed while we waited counts; to an older one, a rewritten table is empty */
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());

	owner = prove(extension, table, name, mode > AccessShareLock);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	return table;
}
