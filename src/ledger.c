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
 * Is it not known yet what has come of the action?
 */
bool
lg_ledger_is_open(const char *outcome)
{
	return strcmp(outcome, LG_OUTCOME_SIGNALLED) == 0 ||
		   strcmp(outcome, LG_OUTCOME_ROLLING_BACK) == 0;
}

/* Is its newest revision not in the table? */
static bool
is_unflushed(const LgLedgerEntry *entry)
{
	return entry->flushed != entry->revision;
}

/* Add an entry that is not in the table, over the oldest if the ring is full.  Needs the lock. */
static uint64
put_into_ring(const LgLedgerEntry *entry)
{
	LgRing *ring = lg_shared->ledger;

	if (ring->last >= (uint64) ring->capacity &&
		is_unflushed(lg_ring_get(ring, lg_ring_first(ring))))
		lg_shared->ledger_lost++;
	else
		lg_shared->ledger_unflushed++;
	return lg_ring_add(ring, entry);
}

/*
 * Add an entry, over the oldest if the ring is full.  Its identity and revision
 * are filled in here.  Returns its number.
 */
uint64
lg_ledger_add(const LgLedgerEntry *entry)
{
	LgLedgerEntry *place;
	uint64 number;

	LWLockAcquire(lg_shared->ledger_lock, LW_EXCLUSIVE);
	number = put_into_ring(entry);
	place = lg_ring_get(lg_shared->ledger, number);
	place->boot = lg_shared->created_at;
	place->number = number;
	place->revision = 1;
	place->flushed = 0;
	place->notified = false;
	LWLockRelease(lg_shared->ledger_lock);
	return number;
}

/* A change that has to reach the table.  The caller holds the lock. */
static void
note_change(LgLedgerEntry *entry)
{
	lg_shared->ledger_unflushed += !is_unflushed(entry);
	entry->revision++;
}

/* Begin to change an entry; NULL if it has been pushed out.  end_change() in every case. */
static LgLedgerEntry *
begin_change(uint64 number)
{
	LgLedgerEntry *entry;

	LWLockAcquire(lg_shared->ledger_lock, LW_EXCLUSIVE);
	entry = lg_ring_get(lg_shared->ledger, number);
	if (entry != NULL)
		note_change(entry);
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
 * Say that a signal of another kind has gone out, and nothing is known of it.
 */
void
lg_ledger_signalled(uint64 number, const char *signal)
{
	LgLedgerEntry *entry = begin_change(number);

	if (entry != NULL)
	{
		strlcpy(entry->signal, signal, sizeof(entry->signal));
		strlcpy(entry->outcome, "signalled", LG_OUTCOME_SIZE);
		entry->outcome_at = 0;
	}
	end_change();
}

/*
 * Write over an entry what is true of the same policy and episode now, counting
 * it as a repeat.  Returns false if it has been pushed out meanwhile.
 */
bool
lg_ledger_replace(uint64 number, const LgLedgerEntry *now)
{
	LgLedgerEntry *entry = begin_change(number);

	if (entry != NULL)
	{
		LgLedgerEntry was = *entry;

		*entry = *now;
		entry->boot = was.boot;
		entry->number = was.number;
		entry->revision = was.revision;
		entry->flushed = was.flushed;
		entry->notified = false; /* a new outcome is news */
		entry->repeats = was.repeats + 1;
		if (now->relation == was.relation && now->relation_databaseid == was.relation_databaseid &&
			now->relation_name[0] == '\0')
			strlcpy(entry->relation_name, was.relation_name, LG_LEDGER_RELATION);
	}
	end_change();
	return entry != NULL;
}

/*
 * Count one more of the same in the same episode.  Only numbers that double
 * make it worth writing to the table again: an episode may last for days.
 */
void
lg_ledger_repeat(uint64 number)
{
	LgLedgerEntry *entry;

	LWLockAcquire(lg_shared->ledger_lock, LW_EXCLUSIVE);
	entry = lg_ring_get(lg_shared->ledger, number);
	if (entry != NULL)
	{
		entry->repeats++;
		if ((entry->repeats & (entry->repeats - 1)) == 0)
			note_change(entry);
	}
	LWLockRelease(lg_shared->ledger_lock);
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

/* Is its outcome known and in the table, and nobody told? */
static bool
is_unnotified(const LgLedgerEntry *entry)
{
	return !entry->notified && entry->outcome_at != 0 && !is_unflushed(entry);
}

/* The first entry in from .. to of which the test is true, copied out; 0 if there is none. */
static uint64
find(uint64 from, uint64 to, bool (*test)(const LgLedgerEntry *), LgLedgerEntry *entry)
{
	uint64 found = 0;

	LWLockAcquire(lg_shared->ledger_lock, LW_SHARED);
	for (uint64 number = from; number <= to && found == 0; number++)
	{
		const LgLedgerEntry *place = lg_ring_get(lg_shared->ledger, number);

		if (place != NULL && test(place))
		{
			*entry = *place;
			found = number;
		}
	}
	LWLockRelease(lg_shared->ledger_lock);
	return found;
}

/* The same of all from there on; the lock is taken for so many at a time. */
static uint64
find_next(uint64 from, bool (*test)(const LgLedgerEntry *), LgLedgerEntry *entry)
{
	uint64 first;
	uint64 last;

	lg_ledger_bounds(&first, &last);
	for (uint64 number = Max(from, first); number <= last; number += ENTRIES_AT_A_TIME)
	{
		uint64 found = find(number, Min(number + ENTRIES_AT_A_TIME - 1, last), test, entry);

		if (found != 0)
			return found;
		CHECK_FOR_INTERRUPTS();
	}
	return 0;
}

/*
 * Copy out the next entry, at or after a number, whose newest revision is not in
 * the table.  Returns its number, or 0 when there is none.  Interruptible.
 */
uint64
lg_ledger_next_unflushed(uint64 from, LgLedgerEntry *entry)
{
	return find_next(from, is_unflushed, entry);
}

/*
 * The same for an entry whose outcome is known and in the table, and whose
 * NOTIFY is not out.
 */
uint64
lg_ledger_next_unnotified(uint64 from, LgLedgerEntry *entry)
{
	return find_next(from, is_unnotified, entry);
}

/*
 * How many entries are there whose newest revision is not in the table.
 */
int
lg_ledger_unflushed(void)
{
	int n;

	LWLockAcquire(lg_shared->ledger_lock, LW_SHARED);
	n = lg_shared->ledger_unflushed;
	LWLockRelease(lg_shared->ledger_lock);
	return n;
}

/*
 * Take back an entry of an earlier life of the server, which keeps its
 * identity.  Only before anybody else uses the ledger.
 */
void
lg_ledger_restore(const LgLedgerEntry *entry)
{
	(void) put_into_ring(entry);
}

/*
 * Be empty again.  Only before anybody else uses the ledger.
 */
void
lg_ledger_forget(void)
{
	lg_ring_init(lg_shared->ledger, lg_shared->ledger->capacity, sizeof(LgLedgerEntry));
	lg_shared->ledger_unflushed = 0;
	lg_shared->ledger_lost = 0;
}

/*
 * Say that a revision of an entry is in the table, committed, and whether the
 * NOTIFY about that revision is out (a newer one may be news).  Takes back
 * neither.
 */
void
lg_ledger_mark_flushed(uint64 number, uint32 revision, bool notified)
{
	LgLedgerEntry *entry;

	LWLockAcquire(lg_shared->ledger_lock, LW_EXCLUSIVE);
	entry = lg_ring_get(lg_shared->ledger, number);
	if (entry != NULL)
	{
		bool was_unflushed = is_unflushed(entry);

		entry->flushed = Max(entry->flushed, revision);
		lg_shared->ledger_unflushed -= was_unflushed && !is_unflushed(entry);
		entry->notified |= notified && entry->revision == revision;
	}
	LWLockRelease(lg_shared->ledger_lock);
}
