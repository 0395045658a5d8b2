/*-------------------------------------------------------------------------
 * names.c
 *		Names of relations, of all databases, learnt while they can be.
 *
 * Only somebody who is in a database can read the name of a relation of it, and
 * only while the relation exists.  So a pass that sees one says that it wants its
 * name, the visitor reads it there within about a second, and a record that is
 * written or read later finds it here.  Names wanted again after ten minutes are
 * read again: relations are renamed.  With the name comes which table it is about, so
 * that a pass can tell an index from a table, too.
 *
 * There is room for 512, found by their hash in sets of four; the one wanted
 * least lately makes room.
 *
 * Locking: lg_shared->lock, to look through one set, or to copy one OID.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lwlock.h"

#include "clock.h"
#include "names.h"
#include "relations.h"
#include "shared.h"
#include "texts.h"
#include "visits.h"

#define STALE_AFTER (10 * USECS_PER_MINUTE)
#define ASK_AGAIN_AFTER (10 * USECS_PER_SEC) /* when nobody has come to read it */
#define PATIENCE (3 * USECS_PER_SEC)		 /* of a record whose relation has no name yet */

/*
 * Bytes of shared memory that it takes; all zeros is empty.
 */
Size
lg_names_size(void)
{
	return MAXALIGN(sizeof(LgNames));
}

/* The relation's set of places. */
static LgName *
set_of(Oid databaseid, Oid relation)
{
	uint32 hash = hash_combine(murmurhash32(databaseid), murmurhash32(relation));

	return lg_shared->names->sets[hash % LG_NAME_SETS];
}

/* Its place, or NULL.  The caller holds the lock. */
static LgName *
find(Oid databaseid, Oid relation)
{
	LgName *set = set_of(databaseid, relation);

	for (int i = 0; i < LG_NAMES_PER_SET; i++)
	{
		if (set[i].relation == relation && set[i].databaseid == databaseid)
			return &set[i];
	}
	return NULL;
}

/* When anything was last done with a place; a free one comes first. */
static int64
last_use(const LgName *name)
{
	return Max(name->wanted_at, name->read_at);
}

/* Its place, or one that is made its own.  The caller holds the lock exclusively. */
static LgName *
find_or_make(Oid databaseid, Oid relation)
{
	LgName *name = find(databaseid, relation);
	LgName *set = set_of(databaseid, relation);

	if (name != NULL)
		return name;
	name = &set[0];
	for (int i = 1; i < LG_NAMES_PER_SET; i++)
	{
		if (last_use(&set[i]) < last_use(name))
			name = &set[i];
	}
	memset(name, 0, sizeof(LgName));
	name->databaseid = databaseid;
	name->relation = relation;
	return name;
}

/*
 * What has come back from a file counts as just read: its clock was another one.
 * Only before anybody else uses the names.
 */
void
lg_names_restored(void)
{
	for (int i = 0; i < LG_NAME_SETS * LG_NAMES_PER_SET; i++)
	{
		LgName *name = &lg_shared->names->sets[i / LG_NAMES_PER_SET][i % LG_NAMES_PER_SET];

		name->wanted_at = 0;
		name->read_at = name->name[0] != '\0' ? lg_clock_read(CLOCK_MONOTONIC) : 0;
	}
}

/* Is there nothing to ask for?  The caller holds the lock. */
static bool
is_fresh(const LgName *name, int64 now)
{
	if (name->wanted_at != 0)
		return now - name->wanted_at < ASK_AGAIN_AFTER;
	return name->read_at != 0 && now - name->read_at < STALE_AFTER;
}

/*
 * Somebody will want to know the name of that relation.  Cheap if it is known;
 * else the visitor is asked to read it, which wakes the collector.  Relations of
 * no database, in the shared catalogs, have the same name everywhere.
 */
void
lg_names_want(Oid databaseid, Oid relation)
{
	int64 now = lg_clock_read(CLOCK_MONOTONIC);
	const LgName *known;
	bool fresh;

	if (!OidIsValid(databaseid) || !OidIsValid(relation))
		return;
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	known = find(databaseid, relation);
	fresh = known != NULL && is_fresh(known, now);
	LWLockRelease(lg_shared->lock);
	if (fresh)
		return;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	find_or_make(databaseid, relation)->wanted_at = now;
	LWLockRelease(lg_shared->lock);
	lg_visits_want_names(databaseid);
}

/*
 * The next relation of that database, from a place on, whose name is wanted;
 * InvalidOid if there is none.  Moves the place on; begin with 0.
 */
Oid
lg_names_next_wanted(Oid databaseid, int *place)
{
	Oid relation = InvalidOid;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	for (; *place < LG_NAME_SETS * LG_NAMES_PER_SET && !OidIsValid(relation); (*place)++)
	{
		const LgName *name =
			&lg_shared->names->sets[*place / LG_NAMES_PER_SET][*place % LG_NAMES_PER_SET];

		if (name->databaseid == databaseid && name->wanted_at != 0)
			relation = name->relation;
	}
	LWLockRelease(lg_shared->lock);
	return relation;
}

/*
 * Say what a relation is called, in the encoding of its database; NULL: it is not
 * there (any more), and what it was called stays.  table: itself, or the one it is an
 * index of; InvalidOid for any other kind.
 */
void
lg_names_learn(Oid databaseid, Oid relation, const char *name, Oid table)
{
	int64 now = lg_clock_read(CLOCK_MONOTONIC);
	LgName *place;

	if (!OidIsValid(databaseid) || !OidIsValid(relation))
		return;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	place = find_or_make(databaseid, relation);
	place->wanted_at = 0;
	place->read_at = now;
	if (name != NULL)
	{
		strlcpy(place->name, name, LG_RELATION_NAME);
		place->table = table;
	}
	LWLockRelease(lg_shared->lock);
}

/*
 * The one table that all of these relations of a database are, or are indexes of.
 * InvalidOid if they are of several tables, of none, or if that is not known: then it
 * will be within about a second.
 */
Oid
lg_names_settle(Oid databaseid, const Oid *relations, int n)
{
	Oid table = InvalidOid;
	bool known = true;
	bool several = false;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	for (int i = 0; i < n; i++)
	{
		const LgName *place = find(databaseid, relations[i]);

		if (place == NULL || place->read_at == 0)
			known = false;
		else if (OidIsValid(place->table))
		{
			several |= OidIsValid(table) && table != place->table;
			table = place->table;
		}
	}
	LWLockRelease(lg_shared->lock);

	for (int i = 0; i < n && !known; i++)
		lg_names_want(databaseid, relations[i]);
	return known && !several ? table : InvalidOid;
}

/*
 * Copy out what a relation is called, in the encoding of its database (see
 * lg_texts_to_local()).  Returns false if that is not known.
 */
bool
lg_names_find(Oid databaseid, Oid relation, char *name)
{
	const LgName *place;

	name[0] = '\0';
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	place = OidIsValid(databaseid) ? find(databaseid, relation) : NULL;
	if (place != NULL)
		strlcpy(name, place->name, LG_RELATION_NAME);
	LWLockRelease(lg_shared->lock);
	return name[0] != '\0';
}

/*
 * Need a record that is so old wait no longer for the name of its relation?
 */
bool
lg_names_settled(Oid databaseid, Oid relation, TimestampTz since, TimestampTz now)
{
	const LgName *place;
	bool read;

	if (!OidIsValid(relation) || !OidIsValid(databaseid) || databaseid == MyDatabaseId ||
		now < since || now - since > PATIENCE)
		return true;
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	place = find(databaseid, relation);
	read = place != NULL && place->read_at != 0;
	LWLockRelease(lg_shared->lock);
	return read;
}

/*
 * What a relation is called, in the encoding of this database: as it has been
 * learnt, or as the catalogs say here.  NULL if neither knows.  Returns a palloc'd
 * string; needs a transaction.
 */
char *
lg_names_of(Oid databaseid, Oid relation)
{
	LgAwaitedRow row = {.relation = relation, .databaseid = databaseid};
	char name[LG_RELATION_NAME];

	if (lg_shared != NULL && lg_names_find(databaseid, relation, name))
		return lg_texts_to_local(name, databaseid);
	return lg_relations_name(&row);
}
