/*-------------------------------------------------------------------------
 * waits_probe.c
 *		Passes over lock waits, at a time that the test chooses.
 *
 * A library of all of pg_lifeguard's objects but its _PG_init(), attached to the
 * shared memory of the server under test, whose collector makes no passes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "collector.h"
#include "lock_episodes.h"
#include "lock_roots.h"
#include "settings.h"
#include "shared.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(probe_attach);
PG_FUNCTION_INFO_V1(probe_pass);
PG_FUNCTION_INFO_V1(probe_close_all);

/* How far the monotonic clock is put on, and what the pass has charged. */
typedef struct Turn
{
	int64 later;
	int64 at;
	int64 charged;
} Turn;

/* Attach to the shared memory, of that size.  From now on no wait is too short. */
Datum
probe_attach(PG_FUNCTION_ARGS)
{
	bool found;

	lg_shared = ShmemInitStruct("pg_lifeguard", PG_GETARG_INT64(0), &found);
	lg_min_episode = 0;
	PG_RETURN_BOOL(found);
}

static void
turn(LgTime now, void *arg)
{
	Turn *turn = arg;
	LgMemory memory;

	memset(&memory, 0, sizeof(memory));
	memory.now = now;
	memory.now.mono += turn->later;
	memory.graph = lg_lock_graph_collect();
	if (memory.graph != NULL)
		lg_lock_roots_solve(memory.graph);
	lg_lock_episodes_observe(&memory);
	turn->at = memory.now.mono;
	turn->charged = memory.charged;
}

/* A pass, so many ms later than it is: when it was, and what it charged, in microseconds. */
Datum
probe_pass(PG_FUNCTION_ARGS)
{
	Turn t = {.later = PG_GETARG_INT32(0) * LG_USECS_PER_MSEC};

	lg_collector_run_alone(turn, &t);
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(INT64_FORMAT "|" INT64_FORMAT, t.at, t.charged)));
}

static void
close_all(LgTime now, void *arg)
{
	lg_lock_episodes_close_all(now.wall);
}

Datum
probe_close_all(PG_FUNCTION_ARGS)
{
	lg_collector_run_alone(close_all, NULL);
	PG_RETURN_VOID();
}
