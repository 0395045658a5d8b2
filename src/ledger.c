/*-------------------------------------------------------------------------
 * ledger.c
 *		The record of every action: a ring in shared memory.
 *
 * An entry is added just before the signal goes out and completed when its
 * effect is known.  Each change counts its revision; whoever writes entries to
 * a table asks for those whose newest revision is not there, and says when it
 * is.  The ring does not wait for that: what it pushes out unwritten is counted
 * in lg_shared->ledger_lost.
 *
 * Locking: lg_shared->ledger_lock, held only to copy one entry in or out, or to
 * look through some.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "ledger.h"
#include "ring.h"
#include "settings.h"
#include "shared.h"

#define ENTRIES_AT_A_TIME 256 /* looked at in one go, under the lock */

/*
 * Bytes of shared memory that the ring takes.
 */
Size
lg_ledger_size(void)
{
	return lg_ring_size(lg_max_ledger, sizeof(LgLedgerEntry));
}

/*
 * Add an entry, over the oldest if the ring is full.  Its identity and revision
 * are filled in here.  Returns its number.
 */
uint64
lg_ledger_add(const LgLedgerEntry *entry)
{
	LgRing *ring = lg_shared->ledger;
	LgLedgerEntry *place;
	uint64 number;

	LWLockAcquire(lg_shared->ledger_lock, LW_EXCLUSIVE);
	if (ring->last >= (uint64) ring->capacity)
	{
		place = lg_ring_get(ring, lg_ring_first(ring));
		if (place->flushed != place->revision)
			lg_shared->ledger_lost++;
	}
	number = lg_ring_add(ring, entry);
	place = lg_ring_get(ring, number);
	place->boot = lg_shared->created_at;
	place->number = number;
	place->revision = 1;
	place->flushed = 0;
	place->notified = false;
	LWLockRelease(lg_shared->ledger_lock);
	return number;
}

/* Begin to change an entry; NULL if it has been pushed out.  end_change() in every case. */
static LgLedgerEntry *
begin_change(uint64 number)
{
	LgLedgerEntry *entry;

	LWLockAcquire(lg_shared->ledger_lock, LW_EXCLUSIVE);
	entry = lg_ring_get(lg_shared->ledger, number);
	if (entry != NULL)
		entry->revision++;
	return entry;
}

static void
end_change(void)
{
	LWLockRelease(lg_shared->ledger_lock);
}

/*
 * Say what came of an action.  waiters_freed: -1 = not known.  Nothing happens
 * if its entry has been pushed out meanwhile; the server log has it.
 */
void
lg_ledger_finish(uint64 number, const char *outcome, TimestampTz at, int waiters_freed)
{
	LgLedgerEntry *entry = begin_change(number);

	if (entry != NULL)
	{
		strlcpy(entry->outcome, outcome, LG_OUTCOME_SIZE);
		entry->outcome_at = at;
		entry->waiters_freed = waiters_freed;
	}
	end_change();
}

/*
 * Count one more of the same in the same episode.
 */
void
lg_ledger_repeat(uint64 number)
{
	LgLedgerEntry *entry = begin_change(number);

	if (entry != NULL)
		entry->repeats++;
	end_change();
}

/*
 * Add the name of the relation, learnt later; in the encoding of the relation's
 * database.
 */
void
lg_ledger_name_relation(uint64 number, const char *name)
{
	LgLedgerEntry *entry = begin_change(number);

	if (entry != NULL)
		strlcpy(entry->relation_name, name, LG_LEDGER_RELATION);
	end_change();
}

/*
 * Copy an entry out.  Returns false if it is not there (any more).
 */
bool
lg_ledger_copy(uint64 number, LgLedgerEntry *entry)
{
	LgLedgerEntry *place;

	LWLockAcquire(lg_shared->ledger_lock, LW_SHARED);
	place = lg_ring_get(lg_shared->ledger, number);
	if (place != NULL)
		*entry = *place;
	LWLockRelease(lg_shared->ledger_lock);
	return place != NULL;
}

/*
 * The numbers of the oldest and the newest entry there are; first > last when
 * there are none.
 */
void
lg_ledger_bounds(uint64 *first, uint64 *last)
{
	LWLockAcquire(lg_shared->ledger_lock, LW_SHARED);
	*first = lg_ring_first(lg_shared->ledger);
	*last = lg_shared->ledger->last;
	LWLockRelease(lg_shared->ledger_lock);
}

/* The first entry in from .. to that is not written as it is now, copied out; 0 if there is none. */
static uint64
find_unflushed(uint64 from, uint64 to, LgLedgerEntry *entry)
{
	uint64 found = 0;

	LWLockAcquire(lg_shared->ledger_lock, LW_SHARED);
	for (uint64 number = from; number <= to && found == 0; number++)
	{
		const LgLedgerEntry *place = lg_ring_get(lg_shared->ledger, number);

		if (place != NULL && place->flushed != place->revision)
		{
			*entry = *place;
			found = number;
		}
	}
	LWLockRelease(lg_shared->ledger_lock);
	return found;
}

/*
 * Copy out the next entry, at or after a number, whose newest revision is not in
 * the table.  Returns its number, or 0 when there is none.  Takes the lock for
 * so many entries at a time, interruptible in between.
 */
uint64
lg_ledger_next_unflushed(uint64 from, LgLedgerEntry *entry)
{
	uint64 first;
	uint64 last;

	lg_ledger_bounds(&first, &last);
	for (uint64 number = Max(from, first); number <= last; number += ENTRIES_AT_A_TIME)
	{
		uint64 found = find_unflushed(number, Min(number + ENTRIES_AT_A_TIME - 1, last), entry);

		if (found != 0)
			return found;
		CHECK_FOR_INTERRUPTS();
	}
	return 0;
}

/*
 * Say that a revision of an entry is in the table, committed, and whether its
 * NOTIFY is out.  Takes back neither.
 */
void
lg_ledger_mark_flushed(uint64 number, uint32 revision, bool notified)
{
	LgLedgerEntry *entry;

	LWLockAcquire(lg_shared->ledger_lock, LW_EXCLUSIVE);
	entry = lg_ring_get(lg_shared->ledger, number);
	if (entry != NULL)
	{
		entry->flushed = Max(entry->flushed, revision);
		entry->notified |= notified;
	}
	LWLockRelease(lg_shared->ledger_lock);
}
