/*-------------------------------------------------------------------------
 * names.h
 *		Names of relations, of all databases, learnt while they can be.
 *-------------------------------------------------------------------------
 */
#ifndef LG_NAMES_H
#define LG_NAMES_H

#include "datatype/timestamp.h"

#define LG_RELATION_NAME (2 * NAMEDATALEN + 8) /* schema-qualified, quoted */

extern Size lg_names_size(void);
extern void lg_names_want(Oid databaseid, Oid relation);
extern bool lg_names_find(Oid databaseid, Oid relation, char *name);

#endif /* LG_NAMES_H */
