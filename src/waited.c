/*-------------------------------------------------------------------------
 * waited.c
 *		What a lock wait is about: what is awaited, from whom.
 *
 * The graph is the caller's own.  Locking: see each function; never two locks together.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lock_roots.h"
#include "names.h"
#include "waited.h"

#define MOST_ROOTS 64 /* of a set, looked through for the one a wait had before */

/*
 * The root that a waiter's waits lead to, in nodes[]: the one it had before if that
 * is still among them, else the first; -1 = none, as in a deadlock.  slot_before: of
 * that one's PGPROC, -1 = none.  Takes no lock.
 */
int
lg_waited_root(const LgLockGraph *graph, const LgLockWaiter *waiter, int slot_before)
{
	int set = graph->nodes[waiter->node].root_set;
	int first;
	int count;

	if (set < 0 || graph->root_sets[set].count == 0)
		return -1;
	first = graph->root_sets[set].first;
	count = Min(graph->root_sets[set].count, MOST_ROOTS);
	for (int i = first; i < first + count && slot_before >= 0; i++)
	{
		const LgLockNode *node = &graph->nodes[graph->set_members[i]];

		if (node->slot == slot_before && !node->deadlock)
			return graph->set_members[i];
	}
	return graph->nodes[graph->set_members[first]].deadlock ? -1 : graph->set_members[first];
}

/*
 * The strongest mode in which the awaited lock is held by the root, or, where that
 * holds another one, by whoever keeps the waiter from it; NoLock = nobody does.  root: in
 * nodes[].  Takes no lock.
 */
LOCKMODE
lg_waited_held_mode(const LgLockGraph *graph, const LgLockWaiter *waiter, int root)
{
	const LgAwaitedLock *lock = &graph->locks[waiter->lock];
	LOCKMASK held = 0;
	LOCKMODE strongest = NoLock;

	for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
	{
		const LgLockHolder *holder = &graph->holders[i];

		if (holder->node == root)
		{
			held = holder->held;
			break;
		}
		if (held == 0 && holder->node != waiter->node &&
			(holder->held & lock->conflicts[waiter->mode]) != 0)
			held = holder->held;
	}
	for (LOCKMODE mode = 1; mode < MAX_LOCKMODES; mode++)
	{
		if (held & LOCKBIT_ON(mode))
			strongest = mode;
	}
	return strongest;
}

/* Where the lock is: its tag says so, or its waiter is there. */
static Oid
database_of(const LOCKTAG *tag, const LgAwaitedRow *row, Oid of_waiter)
{
	switch ((LockTagType) tag->locktag_type)
	{
		case LOCKTAG_VIRTUALTRANSACTION:
			return of_waiter;
		case LOCKTAG_TRANSACTION:
		case LOCKTAG_SPECULATIVE_TOKEN:
			return OidIsValid(row->relation) ? row->databaseid : of_waiter;
		default:
			return tag->locktag_field1;
	}
}

/*
 * Which table is it, of the candidates?  An update that waits for one row again and
 * again has no tuple lock after the first time, so this is how a hot row is told.
 * Returns whether that is new.  Takes lg_shared->lock for a moment.
 */
bool
lg_waited_settle(LgWaited *waited)
{
	Oid table = InvalidOid;

	if (waited->lock.uncertain && waited->n_candidates > 0)
		table = lg_names_settle(waited->lock.databaseid, waited->candidates, waited->n_candidates);
	if (!OidIsValid(table))
		return false;
	waited->lock.relation = table;
	waited->lock.uncertain = false;
	waited->n_candidates = 0;
	return true;
}

/*
 * What is awaited, as it is told when the wait is first seen.  of_waiter: its database.
 * Asks for the relation's name.  Takes lock partitions one at a time, shared, and then
 * lg_shared->lock for moments.
 */
void
lg_waited_describe(const LgLockGraph *graph, const LgLockWaiter *waiter, Oid of_waiter,
				   LgWaited *waited)
{
	const LOCKTAG *tag = &graph->locks[waiter->lock].tag;
	LgAwaitedRow row;

	lg_lock_graph_awaited_row(graph, waiter, &row);
	memset(waited, 0, sizeof(LgWaited));
	waited->lock.databaseid = database_of(tag, &row, of_waiter);
	waited->lock.relation = row.relation;
	waited->lock.uncertain = row.uncertain;
	waited->lock.locktype = tag->locktag_type;
	waited->lock.lockmethod = tag->locktag_lockmethodid;
	waited->lock.mode = waiter->mode;
	waited->has_block = row.has_block;
	waited->has_offset = row.has_offset;
	waited->block = row.block;
	waited->offset = row.offset;
	waited->classid = tag->locktag_field2;
	waited->objid = tag->locktag_field3;
	waited->objsubid = tag->locktag_field4;
	if (row.uncertain && row.n_candidates <= LG_WAIT_CANDIDATES)
	{
		waited->n_candidates = row.n_candidates;
		memcpy(waited->candidates, row.candidates, sizeof(Oid) * row.n_candidates);
	}
	(void) lg_waited_settle(waited);
	if (OidIsValid(waited->lock.relation))
		lg_names_want(waited->lock.databaseid, waited->lock.relation);
}
