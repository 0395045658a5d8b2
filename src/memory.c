/*-------------------------------------------------------------------------
 * memory.c
 *		What a pass has to remember: tells each room of the memory what it saw.
 *
 * Called by whoever makes a pass, who alone writes what these rooms keep in shared
 * memory; so they need no lock but the one of the records (records.c).
 *
 * Locking: none of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"

#include "counters.h"
#include "idle_episodes.h"
#include "incidents.h"
#include "lock_episodes.h"
#include "lock_roots.h"
#include "memory.h"
#include "refusals.h"
#include "saturation.h"
#include "series.h"

/*
 * Begin, before the walk over all sessions.  graph: NULL or as collected.
 */
void
lg_memory_begin(LgMemory *memory, LgTime now, LgLockGraph *graph, const LgGauges *gauges)
{
	TimestampTz last = lg_shared->beat.last_pass.mono;

	memset(memory, 0, sizeof(LgMemory));
	memory->now = now;
	memory->elapsed = last != 0 ? Max(now.mono - last, 0) : 0;
	memory->interval = lg_shared->current_interval * LG_USECS_PER_MSEC;
	memory->graph = graph;
	memory->gauges = gauges;
	memory->usable = lg_saturation_usable();
	memory->standby = RecoveryInProgress();
	lg_refusals_collect(memory);
	lg_series_begin(memory);
}

/*
 * One client session of the walk.
 */
void
lg_memory_consider(LgMemory *memory, const LgSession *session)
{
	lg_series_consider(memory, session);
	lg_idle_episodes_consider(memory, session);
}

/*
 * The end of the pass, when its gauges are complete and whoever had to act has
 * acted.  Concludes the graph if nobody has done so.
 */
void
lg_memory_end(LgMemory *memory)
{
	if (memory->graph != NULL && memory->graph->edges == NULL)
		lg_lock_roots_solve(memory->graph);
	lg_lock_episodes_observe(memory);
	lg_counters_count_waited(memory->charged);
	lg_idle_episodes_end(memory);
	lg_series_end(memory);
	lg_incidents_observe(memory);
}
