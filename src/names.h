/*-------------------------------------------------------------------------
 * names.h
 *		Names of relations, of all databases, learnt while they can be.
 *-------------------------------------------------------------------------
 */
#ifndef LG_NAMES_H
#define LG_NAMES_H

#include "datatype/timestamp.h"

#define LG_RELATION_NAME (2 * NAMEDATALEN + 8) /* schema-qualified, quoted */
#define LG_NAME_SETS 128
#define LG_NAMES_PER_SET 4

/* What is known of a relation's name. */
typedef struct LgName
{
	Oid databaseid; /* invalid: this place is free */
	Oid relation;
	Oid table;					 /* whose rows it has or finds; invalid: none, or not known */
	int64 wanted_at;			 /* monotonic, since when it is wanted; 0 = it is not */
	int64 read_at;				 /* monotonic; 0 = nobody has looked yet */
	char name[LG_RELATION_NAME]; /* in the database's encoding; empty = not known */
} LgName;

/* Those wanted lately.  Guarded by lg_shared->lock. */
typedef struct LgNames
{
	LgName sets[LG_NAME_SETS][LG_NAMES_PER_SET];
} LgNames;

extern Size lg_names_size(void);
extern void lg_names_restored(void);
extern void lg_names_want(Oid databaseid, Oid relation);
extern Oid lg_names_next_wanted(Oid databaseid, int *place);
extern void lg_names_learn(Oid databaseid, Oid relation, const char *name, Oid table);
extern bool lg_names_find(Oid databaseid, Oid relation, char *name);
extern Oid lg_names_settle(Oid databaseid, const Oid *relations, int n);
extern bool lg_names_settled(Oid databaseid, Oid relation, TimestampTz since, TimestampTz now);
extern char *lg_names_of(Oid databaseid, Oid relation);

#endif /* LG_NAMES_H */
