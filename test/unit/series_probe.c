/*-------------------------------------------------------------------------
 * series_probe.c
 *		Load with more wait events in a minute than a test can bring about.
 *
 * Linked with all of src/ but pg_lifeguard.c, and loaded beside the preloaded
 * library, whose shared memory it uses.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "load.h"
#include "shared.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(probe_attach);
PG_FUNCTION_INFO_V1(probe_load);

/* size: as lifeguard.status shows it */
Datum
probe_attach(PG_FUNCTION_ARGS)
{
	bool found;

	lg_shared = ShmemInitStruct("pg_lifeguard", PG_GETARG_INT64(0), &found);
	PG_RETURN_BOOL(found);
}

/*
 * Two passes of half a minute each, then the end of the minute: in the first each
 * of so many events has a session, in the second the first event has two.
 */
Datum
probe_load(PG_FUNCTION_ARGS)
{
	TimestampTz minute = PG_GETARG_TIMESTAMPTZ(0);
	int events = PG_GETARG_INT32(1);
	LgLoad *load = palloc0(sizeof(LgLoad));
	int64 half = USECS_PER_MINUTE / 2;

	lg_load_begin_pass(load);
	for (int i = 0; i < events; i++)
		lg_load_count(load, PG_WAIT_IO + i);
	lg_load_end_pass(load, minute, half, half, false);

	lg_load_begin_pass(load);
	lg_load_count(load, PG_WAIT_IO);
	lg_load_count(load, PG_WAIT_IO);
	lg_load_end_pass(load, minute, half, 2 * half, false);
	lg_load_end_minute(load);
	PG_RETURN_INT32(load->n);
}
