/*-------------------------------------------------------------------------
 * names.c
 *		Names of relations, of all databases, learnt while they can be.
 *
 * STUB
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "names.h"

Size
lg_names_size(void)
{
	return 0;
}

void
lg_names_want(Oid databaseid, Oid relation)
{
}

bool
lg_names_find(Oid databaseid, Oid relation, char *name)
{
	return false;
}
