/*-------------------------------------------------------------------------
 * counters.c
 *		What has been counted since the server started.
 *
 * For the view metrics, which may be asked each second: what the ledger and the
 * histories would have to be read for is counted here as it happens.  They begin
 * with zero whenever the server does, as counters do.
 *
 * Locking: none, they are atomics.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "counters.h"
#include "shared.h"

/* How an outcome in the ledger begins. */
static const char *const names[] = {
	[LG_OUTCOME_TERMINATED] = "terminated",		  [LG_OUTCOME_CANCELLED] = "cancelled",
	[LG_OUTCOME_ROLLED_BACK] = "rolled back",	  [LG_OUTCOME_SURVIVED] = "survived",
	[LG_OUTCOME_REHEARSED] = "rehearsed",		  [LG_OUTCOME_SPARED] = "spared",
	[LG_OUTCOME_NOT_PERMITTED] = "not permitted", [LG_OUTCOME_OVER_LIMIT] = "over limit",
	[LG_OUTCOME_ACTED_ON] = "already acted on",
};

StaticAssertDecl(lengthof(names) == LG_OUTCOMES, "every outcome has a name");

/*
 * Begin with zeros.  Called once, when shared memory is created.
 */
void
lg_counters_init(LgCounters *counters)
{
	for (int i = 0; i < LG_OUTCOMES; i++)
		pg_atomic_init_u64(&counters->outcomes[i], 0);
	pg_atomic_init_u64(&counters->waited, 0);
}

/*
 * Count what came of an action, in the ledger's words.  One that is not known yet
 * ("signalled") is in no group.
 */
void
lg_counters_count_outcome(const char *outcome)
{
	for (int i = 0; i < LG_OUTCOMES; i++)
	{
		if (strncmp(outcome, names[i], strlen(names[i])) == 0)
		{
			pg_atomic_fetch_add_u64(&lg_shared->counters.outcomes[i], 1);
			return;
		}
	}
}

/*
 * Count time that sessions have waited for locks.
 */
void
lg_counters_count_waited(int64 usecs)
{
	pg_atomic_fetch_add_u64(&lg_shared->counters.waited, Max(usecs, 0));
}

/*
 * The name of an outcome, as the ledger's begin.
 */
const char *
lg_counters_outcome_name(LgOutcome outcome)
{
	return names[outcome];
}

/*
 * Actions that came to that, and microseconds waited for locks.
 */
uint64
lg_counters_outcomes(LgOutcome outcome)
{
	return pg_atomic_read_u64(&lg_shared->counters.outcomes[outcome]);
}

uint64
lg_counters_waited(void)
{
	return pg_atomic_read_u64(&lg_shared->counters.waited);
}
