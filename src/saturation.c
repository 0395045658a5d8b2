/*-------------------------------------------------------------------------
 * saturation.c
 *		Connection slots: how many there are, how many are taken and by what.
 *
 * Nothing here takes a lock; what lies in shared memory is handed in by
 * callers who hold its lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"

#include "compat.h"
#include "saturation.h"

/*
 * Count one session into its state.
 */
void
lg_saturation_add(LgStateCounts *counts, const LgSession *session)
{
	counts->total++;
	if (session->waiting)
		counts->waiting++;
	switch (session->state)
	{
		case STATE_RUNNING:
		case STATE_FASTPATH:
			counts->active++;
			break;
		case STATE_IDLE:
			counts->idle++;
			break;
		case STATE_IDLEINTRANSACTION:
			counts->idle_in_transaction++;
			break;
		case STATE_IDLEINTRANSACTION_ABORTED:
			counts->idle_in_transaction_aborted++;
			break;
		default:
			break;
	}
}

/*
 * Add up what was counted apart.
 */
void
lg_saturation_add_counts(LgStateCounts *sum, const LgStateCounts *counts)
{
	sum->total += counts->total;
	sum->active += counts->active;
	sum->idle += counts->idle;
	sum->idle_in_transaction += counts->idle_in_transaction;
	sum->idle_in_transaction_aborted += counts->idle_in_transaction_aborted;
	sum->waiting += counts->waiting;
}

/*
 * Count all client sessions by state.  Returns how many regular slots are
 * taken, those still starting included.
 */
int
lg_saturation_count(LgStateCounts *counts)
{
	LgSessionScan scan = {0, 0};
	LgSession session;

	memset(counts, 0, sizeof(LgStateCounts));
	while (lg_sessions_next(&scan, &session))
		lg_saturation_add(counts, &session);
	return scan.used;
}

/*
 * How many regular slots are taken, those still starting included.
 */
int
lg_saturation_used(void)
{
	int used = 0;

	for (int slot = 0; slot < MaxConnections; slot++)
	{
		if (ProcGlobal->allProcs[slot].procLatch.owner_pid != 0)
			used++;
	}
	return used;
}

/*
 * The slots that any role may take: max_connections less both kinds of
 * reserved ones.  Never below 0.
 */
int
lg_saturation_usable(void)
{
	return Max(MaxConnections - LG_SUPERUSER_RESERVED - LG_RESERVED, 0);
}

/*
 * Keep the most slots ever seen taken, and when that was first so.  The caller
 * holds the lock that guards the gauges, exclusively.
 */
void
lg_saturation_note_high_water(LgGauges *gauges, int used, TimestampTz now)
{
	if (used > gauges->high_water)
	{
		gauges->high_water = used;
		gauges->high_water_at = now;
	}
}
