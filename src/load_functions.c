/*-------------------------------------------------------------------------
 * load_functions.c
 *		SQL functions over the load of the last minute, and what it is measured by.
 *
 * Locking: lg_shared->lock to copy the seconds (series.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "rows.h"
#include "series.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_read_load);
PG_FUNCTION_INFO_V1(pg_lifeguard_cores);

/* The load of some seconds together. */
typedef struct LoadSum
{
	double seen; /* microseconds */
	int n;
	uint32 events[LG_LOAD_SECONDS * LG_LOAD_SECOND_EVENTS];
	double sums[LG_LOAD_SECONDS * LG_LOAD_SECOND_EVENTS];
} LoadSum;

static void
add_event(LoadSum *sum, uint32 event, double amount)
{
	int i = 0;

	while (i < sum->n && sum->events[i] != event)
		i++;
	if (i == sum->n)
	{
		sum->events[i] = event;
		sum->sums[i] = 0;
		sum->n++;
	}
	sum->sums[i] += amount;
}

/* The seconds that begin after since and not after now. */
static LoadSum *
sum_load(TimestampTz since, TimestampTz now)
{
	LgLoadSecond *seconds = palloc(sizeof(LgLoadSecond) * LG_LOAD_SECONDS);
	LoadSum *sum = palloc(sizeof(LoadSum));

	lg_series_copy_load(seconds);
	sum->seen = 0;
	sum->n = 0;
	add_event(sum, 0, 0); /* that nobody was active has a row, too */
	for (int i = 0; i < LG_LOAD_SECONDS; i++)
	{
		const LgLoadSecond *second = &seconds[i];

		CHECK_FOR_INTERRUPTS();
		if (second->second <= since || second->second > now)
			continue;
		sum->seen += second->seen;
		for (int j = 0; j < second->n; j++)
			add_event(sum, second->events[j], second->sums[j]);
	}
	pfree(seconds);
	return sum;
}

/*
 * lifeguard.read_load(seconds): what active sessions waited for in the last so many
 * seconds, at most 60; a row for each event, one for CPU in any case, with NULL where
 * no pass was made.  No rows while pg_lifeguard is not preloaded.
 */
Datum
pg_lifeguard_read_load(PG_FUNCTION_ARGS)
{
	int length = Min(Max(PG_GETARG_INT32(0), 1), SECS_PER_MINUTE);
	TimestampTz now = GetCurrentTimestamp();
	LoadSum *sum;
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	if (lg_shared == NULL)
		PG_RETURN_NULL();
	sum = sum_load(now - length * USECS_PER_SEC, now);
	for (int i = 0; i < sum->n; i++)
	{
		lg_rows_begin_row(&rows);
		lg_load_add_event(&rows, sum->events[i], lg_shared->created_at);
		lg_rows_add_numeric(&rows, sum->seen > 0 ? sum->sums[i] / sum->seen : NAN, 3);
		lg_rows_add_numeric(&rows, sum->seen / USECS_PER_SEC, 3);
		lg_rows_end_row(&rows);
	}
	PG_RETURN_NULL();
}

/*
 * lifeguard.cores(): how many the machine has switched on.
 */
Datum
pg_lifeguard_cores(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32((int32) Max(sysconf(_SC_NPROCESSORS_ONLN), 1));
}
