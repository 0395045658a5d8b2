/*-------------------------------------------------------------------------
 * visits.c
 *		Where the visitor is wanted, and why.
 *
 * There are three reasons to visit a database: a prepared transaction may come to
 * violate a policy, lifeguard.run_policy() wants one run there, or the name of a
 * relation of it is wanted.  The first is kept per transaction: a pass says
 * since when it is there at the most, so that nobody is sent for what is younger
 * than any limit, and the visitor says when to look again.
 *
 * Locking: lg_shared->lock, to copy in and out.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "collector.h"
#include "settings.h"
#include "shared.h"
#include "state.h"
#include "visits.h"

#define MAX_TRIES 3 /* to name what a database has to name */

/*
 * Bytes of shared memory that it takes.
 */
Size
lg_visits_size(void)
{
	return MAXALIGN(
		add_size(offsetof(LgVisits, slots), mul_size(sizeof(LgVisitSlot), max_prepared_xacts)));
}

/* What a pass has seen in a slot, if it is not what was there before. */
static void
note_slot(LgVisitSlot *slot, const LgPreparedSight *sight, TimestampTz before)
{
	if (slot->xid == sight->xid)
		return;
	memset(slot, 0, sizeof(LgVisitSlot));
	slot->xid = sight->xid;
	slot->databaseid = sight->databaseid;
	slot->since = before; /* it was not there at the pass before */
}

/*
 * Say what a pass has seen (of each slot), which policies could hit somebody, as
 * a number that stands for them (0 = none), and the shortest of their limits.
 * By whoever makes a pass.
 */
void
lg_visits_note(const LgPreparedSight *sights, uint64 in_force, int64 shortest, LgTime now)
{
	LgVisits *visits = lg_shared->visits;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < max_prepared_xacts; i++)
		note_slot(&visits->slots[i], &sights[i], Min(visits->noted_at.wall, now.wall));
	visits->in_force = in_force;
	visits->shortest = shortest;
	visits->noted_at = now;
	LWLockRelease(lg_shared->lock);
}

/*
 * Say that no policy is about prepared transactions, so that a pass does not
 * look at them.  By whoever makes a pass.
 */
void
lg_visits_forget(void)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->visits->in_force = 0;
	memset(&lg_shared->visits->noted_at, 0, sizeof(LgTime));
	LWLockRelease(lg_shared->lock);
}

/*
 * Copy all of it, into lg_visits_size() bytes.
 */
void
lg_visits_copy(LgVisits *copy)
{
	Size size = lg_visits_size();

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	memcpy(copy, lg_shared->visits, size);
	LWLockRelease(lg_shared->lock);
}

/*
 * For the visitor: say that it rolls somebody back.  Returns false, and says nothing,
 * while everything is paused.  lg_visits_end_rollback() must follow, on the way out,
 * too.
 */
bool
lg_visits_begin_rollback(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool may;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	may = !lg_state_paused(now);
	lg_shared->visits->rolls_back = may;
	LWLockRelease(lg_shared->lock);
	return may;
}

/*
 * It does so no more.
 */
void
lg_visits_end_rollback(void)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->visits->rolls_back = false;
	LWLockRelease(lg_shared->lock);
}

/*
 * Wait, interruptibly, while the visitor rolls somebody back.  That takes as long as
 * ROLLBACK PREPARED does, and the visitor is ended when that is more than 3 s.
 */
void
lg_visits_await_rollback(void)
{
	for (;;)
	{
		bool busy;

		LWLockAcquire(lg_shared->lock, LW_SHARED);
		busy = lg_shared->visits->rolls_back;
		LWLockRelease(lg_shared->lock);
		if (!busy)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
set_judged(LgVisitSlot *slot, uint64 under, int64 at, int64 next_due)
{
	slot->judged_under = under;
	slot->judged_at = at;
	slot->next_due = next_due;
}

/*
 * The visitor has judged a transaction under the policies that this number stands
 * for.  Both moments are by the monotonic clock; next_due 0: unless these change, nothing
 * more is to be done.
 */
void
lg_visits_judged(const LgPrepared *prepared, uint64 under, int64 at, int64 next_due)
{
	int i = prepared->slot - ProcGlobal->allProcCount;
	LgVisitSlot *slot = &lg_shared->visits->slots[i];

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (slot->xid == prepared->xid)
	{
		slot->since = prepared->prepared_at;
		set_judged(slot, under, at, next_due);
	}
	LWLockRelease(lg_shared->lock);
}

/*
 * The same for those of a database that the visitor did not find: they are not
 * wholly there yet, or not any more.  Those judged at that very moment are meant
 * no more.
 */
void
lg_visits_judged_others(Oid databaseid, uint64 under, int64 at, int64 next_due)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		LgVisitSlot *slot = &lg_shared->visits->slots[i];

		if (TransactionIdIsValid(slot->xid) && slot->databaseid == databaseid &&
			slot->judged_at != at)
			set_judged(slot, under, at, next_due);
	}
	LWLockRelease(lg_shared->lock);
}

/*
 * Names of relations of that database are wanted (names.c), for which somebody
 * has to be there.  Lost if too many databases are to be visited for that.  Wakes
 * the collector.
 */
void
lg_visits_want_names(Oid databaseid)
{
	LgNameVisit *place = NULL;

	if (!OidIsValid(databaseid) || lg_shared->collector_pid == 0)
		return;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LG_MAX_NAME_VISITS; i++)
	{
		LgNameVisit *visit = &lg_shared->visits->names[i];

		if (visit->databaseid == databaseid || (place == NULL && !OidIsValid(visit->databaseid)))
			place = visit;
		if (visit->databaseid == databaseid)
			break;
	}
	if (place != NULL)
	{
		place->databaseid = databaseid;
		place->tries = MAX_TRIES;
		place->asked++;
	}
	LWLockRelease(lg_shared->lock);
	if (lg_shared->collector_pid != MyProcPid)
		lg_collector_wake();
}

/*
 * How many wishes there have been of names in a database; 0 = there is none
 * open.
 */
uint32
lg_visits_names_asked(Oid databaseid)
{
	uint32 asked = 0;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	for (int i = 0; i < LG_MAX_NAME_VISITS; i++)
	{
		if (lg_shared->visits->names[i].databaseid == databaseid)
			asked = lg_shared->visits->names[i].asked;
	}
	LWLockRelease(lg_shared->lock);
	return asked;
}

/*
 * A try to name what there was when so many had been asked for is over.
 */
void
lg_visits_end_names(Oid databaseid, uint32 asked, bool all_named)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < LG_MAX_NAME_VISITS; i++)
	{
		LgNameVisit *visit = &lg_shared->visits->names[i];

		if (visit->databaseid == databaseid &&
			(all_named ? visit->asked == asked : --visit->tries <= 0))
			visit->databaseid = InvalidOid;
	}
	LWLockRelease(lg_shared->lock);
}

/* Does the process that has placed the order still exist?  Asked without the lock. */
static bool
is_abandoned(pid_t pid)
{
	return pid != 0 && pid != MyProcPid && BackendPidGetProc(pid) == NULL;
}

/*
 * Order a policy to be run in these databases, at most LG_MAX_ORDER_VISITS.
 * Returns the order's number, or 0 if somebody else's is under way.  The caller
 * must reach lg_visits_cancel_order().
 */
uint64
lg_visits_place_order(const char *policy, bool rehearse, const Oid *databases, int n)
{
	LgVisitOrder *order = &lg_shared->visits->order;
	uint64 number = 0;
	pid_t owner;
	bool abandoned;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	owner = order->pid;
	LWLockRelease(lg_shared->lock);
	abandoned = is_abandoned(owner);

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (order->pid == 0 || (abandoned && order->pid == owner))
	{
		order->pid = MyProcPid;
		number = ++order->number;
		strlcpy(order->policy, policy, NAMEDATALEN);
		order->rehearse = rehearse;
		order->n = Min(n, LG_MAX_ORDER_VISITS);
		memcpy(order->databases, databases, sizeof(Oid) * order->n);
	}
	LWLockRelease(lg_shared->lock);
	return number;
}

/*
 * Is there a visit of that order still to be made?
 */
bool
lg_visits_order_is_open(uint64 number)
{
	const LgVisitOrder *order = &lg_shared->visits->order;
	bool open = false;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	for (int i = 0; order->number == number && i < order->n; i++)
		open |= OidIsValid(order->databases[i]);
	LWLockRelease(lg_shared->lock);
	return open;
}

/*
 * The visit of that order to a database is over, or will never be.
 */
void
lg_visits_end_order(uint64 number, Oid databaseid)
{
	LgVisitOrder *order = &lg_shared->visits->order;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; order->number == number && i < order->n; i++)
	{
		if (order->databases[i] == databaseid)
			order->databases[i] = InvalidOid;
	}
	LWLockRelease(lg_shared->lock);
}

/*
 * The caller's order, if there is one, is of no use any more.
 */
void
lg_visits_cancel_order(void)
{
	LgVisitOrder *order = &lg_shared->visits->order;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (order->pid == MyProcPid)
	{
		order->pid = 0;
		order->n = 0;
	}
	LWLockRelease(lg_shared->lock);
}
