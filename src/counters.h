/*-------------------------------------------------------------------------
 * counters.h
 *		What has been counted since the server started.
 *-------------------------------------------------------------------------
 */
#ifndef LG_COUNTERS_H
#define LG_COUNTERS_H

#include "port/atomics.h"

/* What came of actions, as the ledger words it, without figures and reasons. */
typedef enum LgOutcome
{
	LG_OUTCOME_TERMINATED,
	LG_OUTCOME_CANCELLED,
	LG_OUTCOME_ROLLED_BACK,
	LG_OUTCOME_SURVIVED,
	LG_OUTCOME_REHEARSED,
	LG_OUTCOME_SPARED,
	LG_OUTCOME_NOT_PERMITTED,
	LG_OUTCOME_OVER_LIMIT,
	LG_OUTCOME_ACTED_ON,
	LG_OUTCOMES /* how many there are */
} LgOutcome;

/* Atomics: written by whoever has something to count, read without a lock. */
typedef struct LgCounters
{
	pg_atomic_uint64 outcomes[LG_OUTCOMES];
	pg_atomic_uint64 waited; /* microseconds that sessions have waited for locks */
} LgCounters;

extern void lg_counters_init(LgCounters *counters);
extern void lg_counters_count_outcome(const char *outcome);
extern void lg_counters_count_waited(int64 usecs);
extern const char *lg_counters_outcome_name(LgOutcome outcome);
extern uint64 lg_counters_outcomes(LgOutcome outcome);
extern uint64 lg_counters_waited(void);

#endif /* LG_COUNTERS_H */
