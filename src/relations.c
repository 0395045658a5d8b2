/*-------------------------------------------------------------------------
 * relations.c
 *		Which relation is meant, and what it is called.
 *
 * Locking: none of ours; relations are looked up in the system caches, so a
 * transaction and a database are needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "relations.h"

/*
 * The table whose rows a relation has or finds: itself, or the one it is an index of.
 * InvalidOid for any other kind, and if it is gone.  Needs a transaction.
 */
Oid
lg_relations_table(Oid relation)
{
	switch (get_rel_relkind(relation))
	{
		case RELKIND_RELATION:
			return relation;
		case RELKIND_INDEX:
			return IndexGetRelation(relation, true);
		default:
			return InvalidOid; /* has no row that could be in conflict */
	}
}

/*
 * Of the relations that an insert without a tuple lock may be about: if they
 * are one table and its indexes, it is certain which.  Needs a transaction.
 */
void
lg_relations_settle(LgAwaitedRow *row)
{
	Oid table = InvalidOid;

	if (!row->uncertain || row->databaseid != MyDatabaseId ||
		row->n_candidates > (int) lengthof(row->candidates))
		return;

	for (int i = 0; i < row->n_candidates; i++)
	{
		Oid relation = lg_relations_table(row->candidates[i]);

		if (!OidIsValid(relation))
			continue;
		if (OidIsValid(table) && table != relation)
			return;
		table = relation;
	}
	row->relation = table;
	row->uncertain = !OidIsValid(table);
}

/*
 * The schema-qualified name of a relation of this database or of the shared
 * catalogs; "uncertain" where only candidates are known; else NULL.  Needs a
 * transaction.
 */
char *
lg_relations_name(const LgAwaitedRow *row)
{
	char *name;
	char *schema;

	if (row->uncertain)
		return "uncertain";
	if (!OidIsValid(row->relation) ||
		(OidIsValid(row->databaseid) && row->databaseid != MyDatabaseId))
		return NULL;

	/* dropped meanwhile, if either is missing */
	name = get_rel_name(row->relation);
	schema = name ? get_namespace_name(get_rel_namespace(row->relation)) : NULL;
	return schema ? quote_qualified_identifier(schema, name) : NULL;
}
