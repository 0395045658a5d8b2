/*-------------------------------------------------------------------------
 * memory.h
 *		What a pass has to remember.
 *-------------------------------------------------------------------------
 */
#ifndef LG_MEMORY_H
#define LG_MEMORY_H

#include "clock.h"
#include "lock_graph.h"
#include "sessions.h"
#include "shared.h"

/* One pass, as those who remember it see it. */
typedef struct LgMemory
{
	LgTime now;
	int64 elapsed;			/* microseconds since the pass before; 0 = this is the first */
	int64 interval;			/* that was in force until this pass, in microseconds; 0 = none */
	LgLockGraph *graph;		/* concluded only at the end; NULL when nobody waits */
	const LgGauges *gauges; /* of this pass; complete only at the end */
	int usable;				/* connection slots */
	int64 charged; /* microseconds of waiting charged in this pass; set by lock_episodes.c */
	bool standby;
	int64 refusals; /* connection attempts turned away since the pass before; see refusals.c */
	int64 refusals_before;	   /* of those, in an earlier minute */
	TimestampTz refused_since; /* the first of them; 0 = there is none */
} LgMemory;

extern void lg_memory_begin(LgMemory *memory, LgTime now, LgLockGraph *graph,
							const LgGauges *gauges);
extern void lg_memory_consider(LgMemory *memory, const LgSession *session);
extern void lg_memory_end(LgMemory *memory);

#endif /* LG_MEMORY_H */
