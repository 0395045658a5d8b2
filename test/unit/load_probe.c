/*-------------------------------------------------------------------------
 * load_probe.c
 *		Passes over real sessions, at times that the test chooses, and waits that no
 *		test can bring about otherwise.
 *
 * A library of all of pg_lifeguard's objects but its _PG_init(), attached to the
 * shared memory of the server under test, whose collector makes no passes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "collector.h"
#include "load.h"
#include "lock_episodes.h"
#include "lock_roots.h"
#include "saturation.h"
#include "series.h"
#include "settings.h"
#include "shared.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(probe_attach);
PG_FUNCTION_INFO_V1(probe_forget);
PG_FUNCTION_INFO_V1(probe_passes);
PG_FUNCTION_INFO_V1(probe_wait);
PG_FUNCTION_INFO_V1(probe_hold);
PG_FUNCTION_INFO_V1(probe_events);

/* So many passes, a second from each to the next, the last one so many seconds ago. */
typedef struct Passes
{
	int n;
	int ago;
} Passes;

Datum
probe_attach(PG_FUNCTION_ARGS)
{
	bool found;

	lg_shared = ShmemInitStruct("pg_lifeguard", PG_GETARG_INT64(0), &found);
	PG_RETURN_BOOL(found);
}

/* Seconds of an hour ago over those there are, in which nobody was seen. */
static void
forget(LgTime now, void *arg)
{
	LgGauges found = {0};

	for (int i = LG_LOAD_SECONDS; i > 0; i--)
	{
		LgMemory memory = {.now = now, .elapsed = 1, .gauges = &found, .usable = 1};

		memory.now.wall -= USECS_PER_HOUR + i * USECS_PER_SEC;
		lg_series_begin(&memory);
		lg_series_end(&memory);
	}
	lg_records_forget();
}

/* No load and no records of any kind, as after a start. */
Datum
probe_forget(PG_FUNCTION_ARGS)
{
	lg_collector_run_alone(forget, NULL);
	PG_RETURN_VOID();
}

static void
pass(LgTime now)
{
	LgGauges found = {0};
	LgSessionScan scan = {0, 0};
	LgSession session;
	LgMemory memory = {.now = now,
					   .elapsed = USECS_PER_SEC,
					   .interval = USECS_PER_SEC,
					   .gauges = &found,
					   .usable = lg_saturation_usable()};

	memory.graph = lg_lock_graph_collect();
	lg_series_begin(&memory);
	while (lg_sessions_next(&scan, &session))
	{
		lg_saturation_add(&found.states, &session);
		lg_series_consider(&memory, &session);
	}
	found.used = scan.used;
	if (memory.graph != NULL)
		lg_lock_roots_solve(memory.graph);
	lg_lock_episodes_observe(&memory);
	lg_series_end(&memory);
}

static void
make_passes(LgTime now, void *arg)
{
	const Passes *passes = arg;

	for (int i = passes->n - 1; i >= 0; i--)
	{
		int64 back = (passes->ago + i) * USECS_PER_SEC;

		pass((LgTime){.wall = now.wall - back, .mono = now.mono - back});
	}
}

Datum
probe_passes(PG_FUNCTION_ARGS)
{
	Passes passes = {.n = PG_GETARG_INT32(0), .ago = PG_GETARG_INT32(1)};

	lg_collector_run_alone(make_passes, &passes);
	PG_RETURN_VOID();
}

/* Wait for something of that kind, or say so, until cancelled. */
Datum
probe_wait(PG_FUNCTION_ARGS)
{
	const char *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint32 event = strcmp(kind, "read") == 0	 ? WAIT_EVENT_DATA_FILE_READ
				   : strcmp(kind, "write") == 0	 ? WAIT_EVENT_DATA_FILE_WRITE
				   : strcmp(kind, "gather") == 0 ? WAIT_EVENT_EXECUTE_GATHER
												 : PG_WAIT_EXTENSION;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		pgstat_report_wait_start(event);
		pg_usleep(10 * 1000);
	}
}

/*
 * Hold a lock of the server's that nobody needs once it has started, until cancelled,
 * or wait for whoever does.
 */
Datum
probe_hold(PG_FUNCTION_ARGS)
{
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	while (!QueryCancelPending && !ProcDiePending)
		pg_usleep(10 * 1000);
	LWLockRelease(AddinShmemInitLock);
	CHECK_FOR_INTERRUPTS();
	PG_RETURN_VOID();
}

/* A second in which each of so many events has a session: events, and sessions told apart. */
Datum
probe_events(PG_FUNCTION_ARGS)
{
	LgLoad *load = palloc0(sizeof(LgLoad));
	LgLoadSecond *second = &load->seconds[0];
	double known = 0;
	double all = 0;

	lg_load_begin_pass(load);
	for (int i = 0; i < PG_GETARG_INT32(0); i++)
		lg_load_count(load, PG_WAIT_IO + i);
	for (int i = 0; i < 2; i++)
		lg_load_note_second(load, LG_LOAD_SECONDS * USECS_PER_SEC, USECS_PER_SEC / 2);
	for (int i = 0; i < second->n; i++)
	{
		all += second->sums[i] / second->seen;
		known += second->events[i] != PG_UINT32_MAX ? second->sums[i] / second->seen : 0;
	}
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%d|%.0f|%.0f", second->n, known, all)));
}
