/*-------------------------------------------------------------------------
 * series.c
 *		Connections, who holds them, and what active sessions wait for, over time.
 *
 * What a pass sees stands for the time since the pass before it, or since the
 * beginning of the minute if that is later; a pass that comes much too late stands
 * for one interval only, because what was in between nobody saw.  So an average
 * is a sum over time divided by the time that was seen, which is kept with it.
 * Minutes and seconds are those of the wall clock; how much time has passed tells
 * the monotonic one.
 *
 * The records of the minute under way are kept up to date, and due when it is
 * over, which the next pass finds.  Seconds of the last 15 minutes are here only.
 * Who holds connections is in usage.c, what sessions wait for in load.c.
 *
 * Locking: lg_shared->lock to write or copy seconds; for the rest that of the
 * records (records.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lwlock.h"

#include "forecast.h"
#include "load.h"
#include "refusals.h"
#include "series.h"
#include "usage.h"

#define SECONDS (15 * SECS_PER_MINUTE)
#define FORECAST_SECONDS (5 * SECS_PER_MINUTE) /* that a forecast looks back at */
#define FORECAST_LEAST 3					   /* slots by which it has to have risen ... */
#define FORECAST_SHARE 0.02					   /* ... and so much of the usable ones */

/* What is averaged of connections. */
typedef enum Gauge
{
	USED,
	ACTIVE,
	IDLE,
	IDLE_IN_TRANSACTION,
	IDLE_IN_TRANSACTION_ABORTED,
	WAITING,
	GAUGES /* how many there are */
} Gauge;

/* Connections in one minute. */
typedef struct ConnectionMinute
{
	LgRecordHead head;
	TimestampTz minute;
	float4 seen; /* seconds that passes stand for */
	float4 averages[GAUGES];
	int used_max;
	int waiting_max;
	int usable;
	int high_water;
	int64 refusals; /* -1: not counted */
	bool standby;
} ConnectionMinute;

/* One second. */
typedef struct Second
{
	TimestampTz second; /* 0 = never written */
	float4 seen;		/* microseconds that passes stand for */
	float4 gauges[GAUGES];
	float4 classes[LG_LOAD_CLASSES];
	int used_max;
	int waiting_max;
} Second;

/* Written only by whoever makes a pass. */
typedef struct LgSeries
{
	TimestampTz minute; /* the one under way; 0 = none */
	int64 weight;		/* microseconds that this pass stands for */
	int64 in_minute;	/* those of them that lie in its minute */
	int64 refused;		/* connection attempts that it has found, of its minute */
	int64 seen;			/* the sum of these */
	int64 sums[GAUGES];
	int64 refusals; /* -1: not counted */
	int used_max;
	int waiting_max;
	uint64 number;			 /* of its record; 0 = none yet */
	Second seconds[SECONDS]; /* guarded by lg_shared->lock; see second_of() */
	LgLoad load;
	LgUsage usage; /* the last: its size depends on max_connections */
} LgSeries;

static int
capacity(void)
{
	return HOURS_PER_DAY * MINS_PER_HOUR;
}

/*
 * Bytes of shared memory.
 */
Size
lg_series_size(void)
{
	return MAXALIGN(add_size(offsetof(LgSeries, usage), lg_usage_size()));
}

/*
 * Copy the last minute's seconds of load; lg_shared->lock is taken for a moment.
 */
void
lg_series_copy_load(LgLoadSecond *seconds)
{
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	memcpy(seconds, lg_shared->series->load.seconds, sizeof(lg_shared->series->load.seconds));
	LWLockRelease(lg_shared->lock);
}

/* The second of the ring that a moment falls into. */
static Second *
second_of(TimestampTz at)
{
	return &lg_shared->series->seconds[(uint64) (at / USECS_PER_SEC) % SECONDS];
}

/*
 * Microseconds that this pass stands for: since the one before, or, when that was
 * too long ago, one interval.  0 for the first, and for one that comes late where
 * there is no interval.
 */
static int64
weigh(const LgMemory *memory)
{
	int64 interval = lg_shared->current_interval * LG_USECS_PER_MSEC;

	if (memory->elapsed > 2 * interval + USECS_PER_SEC)
		return interval;
	return memory->elapsed;
}

/* Add those of a pass; what cannot be counted stays unknown. */
static int64
add_refusals(int64 sum, int64 refusals)
{
	return refusals > 0 || lg_refusals_are_counted() ? Max(sum, 0) + refusals : sum;
}

/*
 * The minute is over: what was recorded of it is due.  This pass, the first of the
 * next one, has found what was refused at its end.
 */
static void
end_minute(LgSeries *series, const LgMemory *memory)
{
	ConnectionMinute *place;

	if (series->number != 0)
	{
		place = lg_records_begin_change(LG_CONNECTIONS, series->number, true);
		if (place != NULL)
		{
			place->refusals = add_refusals(place->refusals, memory->refusals_before);
			series->refused -= memory->refusals_before;
		}
		lg_records_end_change();
	}
	lg_load_end_minute(&series->load);
	lg_usage_end_minute(&series->usage);
	memset(series->sums, 0, sizeof(series->sums));
	series->number = 0;
	series->seen = 0;
	series->used_max = series->waiting_max = 0;
	series->refusals = -1;
}

/*
 * Begin a pass, before its walk over all sessions.
 */
void
lg_series_begin(LgMemory *memory)
{
	LgSeries *series = lg_shared->series;
	TimestampTz now = memory->now.wall;
	TimestampTz minute = now - now % USECS_PER_MINUTE;

	series->refused = memory->refusals;
	if (minute != series->minute)
	{
		end_minute(series, memory);
		series->minute = minute;
	}
	series->weight = weigh(memory);
	series->in_minute = Min(series->weight, now - minute);
	lg_load_begin_pass(&series->load);
	lg_usage_begin_pass(&series->usage, now);
}

/*
 * One client session of the walk.  Whoever makes the pass is no load.
 */
void
lg_series_consider(LgMemory *memory, const LgSession *session)
{
	LgSeries *series = lg_shared->series;

	if ((session->state == STATE_RUNNING || session->state == STATE_FASTPATH) &&
		session->pid != MyProcPid)
		lg_load_count(&series->load, session->wait_event_info);
	if (series->usage.sampling)
		lg_usage_count(&series->usage, session);
}

/* Write what this pass saw into its second.  One short moment under the lock. */
static void
note_second(const LgMemory *memory, const int64 *gauges)
{
	const LgSeries *series = lg_shared->series;
	TimestampTz begin = memory->now.wall - memory->now.wall % USECS_PER_SEC;
	Second *second = second_of(begin);
	float4 weight = Max(series->weight, 1); /* none would show nothing */

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (second->second != begin)
	{
		memset(second, 0, sizeof(Second));
		second->second = begin;
	}
	second->seen += weight;
	for (int i = 0; i < GAUGES; i++)
		second->gauges[i] += weight * gauges[i];
	for (int i = 0; i < LG_LOAD_CLASSES; i++)
		second->classes[i] += weight * series->load.classes[i];
	lg_load_note_second(&lg_shared->series->load, begin, weight);
	second->used_max = Max(second->used_max, (int) gauges[USED]);
	second->waiting_max = Max(second->waiting_max, (int) gauges[WAITING]);
	LWLockRelease(lg_shared->lock);
}

/* Bring the record of the minute up to date. */
static void
record_connections(LgSeries *series, const LgMemory *memory)
{
	ConnectionMinute record = {.minute = series->minute};
	ConnectionMinute *place;
	TimestampTz high_water_at = lg_shared->gauges.high_water_at;

	for (int i = 0; i < GAUGES; i++)
		record.averages[i] =
			series->seen > 0 ? (float4) ((double) series->sums[i] / series->seen) : NAN;
	record.seen = (float4) series->seen / USECS_PER_SEC;
	record.used_max = record.high_water = series->used_max;
	if (high_water_at >= series->minute && high_water_at < series->minute + USECS_PER_MINUTE)
		record.high_water = Max(record.high_water, lg_shared->gauges.high_water);
	record.waiting_max = series->waiting_max;
	record.refusals = series->refusals;
	record.usable = memory->usable;
	record.standby = memory->standby;
	if (series->number == 0)
	{
		series->number = lg_records_add(LG_CONNECTIONS, &record, false);
		return;
	}
	place = lg_records_begin_change(LG_CONNECTIONS, series->number, false);
	if (place != NULL)
	{
		record.head = place->head;
		*place = record;
	}
	lg_records_end_change();
}

/*
 * The end of a pass, when its gauges are complete.
 */
void
lg_series_end(LgMemory *memory)
{
	LgSeries *series = lg_shared->series;
	const LgStateCounts *states = &memory->gauges->states;
	int64 gauges[GAUGES] = {
		[USED] = memory->gauges->used,
		[ACTIVE] = states->active,
		[IDLE] = states->idle,
		[IDLE_IN_TRANSACTION] = states->idle_in_transaction,
		[IDLE_IN_TRANSACTION_ABORTED] = states->idle_in_transaction_aborted,
		[WAITING] = states->waiting,
	};

	series->seen += series->in_minute;
	for (int i = 0; i < GAUGES; i++)
		series->sums[i] += gauges[i] * series->in_minute;
	series->used_max = Max(series->used_max, (int) gauges[USED]);
	series->waiting_max = Max(series->waiting_max, (int) gauges[WAITING]);
	series->refusals = add_refusals(series->refusals, series->refused);
	note_second(memory, gauges);
	record_connections(series, memory);
	lg_load_end_pass(&series->load, series->minute, series->in_minute, series->seen,
					 memory->standby);
	lg_usage_end_pass(&series->usage, series->minute, memory->standby);
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const ConnectionMinute *minute = record;
	const float4 *averages = minute->averages;

	lg_rows_add_time(rows, minute->minute);
	lg_rows_add_numeric(rows, averages[USED], 3);
	lg_rows_add_int(rows, minute->used_max);
	lg_rows_add_numeric(rows, averages[ACTIVE], 3);
	lg_rows_add_numeric(rows, averages[IDLE], 3);
	lg_rows_add_numeric(rows, averages[IDLE_IN_TRANSACTION], 3);
	lg_rows_add_numeric(rows, averages[IDLE_IN_TRANSACTION_ABORTED], 3);
	lg_rows_add_numeric(rows, averages[WAITING], 3);
	lg_rows_add_int(rows, minute->waiting_max);
	lg_rows_add_int(rows, minute->usable);
	lg_rows_add_int(rows, minute->high_water);
	if (minute->refusals < 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int8(rows, minute->refusals);
	lg_rows_add_numeric(rows, minute->seen, 3);
	lg_rows_add_text(rows, minute->standby ? "standby" : "primary");
}

static const Oid column_types[] = {TIMESTAMPTZOID, NUMERICOID, INT4OID,	   NUMERICOID, NUMERICOID,
								   NUMERICOID,	   NUMERICOID, NUMERICOID, INT4OID,	   INT4OID,
								   INT4OID,		   INT8OID,	   NUMERICOID, TEXTOID};

const LgRecordType lg_connections_type = {.table = "connection_entries",
										  .time = "minute",
										  .size = sizeof(ConnectionMinute),
										  .capacity = capacity,
										  .n_columns = lengthof(column_types),
										  .types = column_types,
										  .add_row = add_row};

/* Call that with each of the last 15 minutes' seconds that a pass saw, oldest first. */
static void
show_seconds(FunctionCallInfo fcinfo, void (*show)(LgRows *rows, const Second *second))
{
	Second *seconds;
	TimestampTz now = GetCurrentTimestamp();
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	if (lg_shared == NULL)
		return;
	seconds = palloc(sizeof(lg_shared->series->seconds));
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	memcpy(seconds, lg_shared->series->seconds, sizeof(lg_shared->series->seconds));
	LWLockRelease(lg_shared->lock);

	now -= now % USECS_PER_SEC;
	for (int ago = SECONDS - 1; ago >= 0; ago--)
	{
		TimestampTz at = now - ago * USECS_PER_SEC;
		Second *second = &seconds[second_of(at) - lg_shared->series->seconds];

		CHECK_FOR_INTERRUPTS();
		if (second->second == at)
			show(&rows, second);
	}
}

/*
 * Microseconds until no slot is left that any role may take, if it goes on as in the
 * longest of the last 5, 2 and 1 minutes in which it rose steadily.  -1: no forecast.
 * Takes lg_shared->lock for a moment.
 */
int64
lg_series_full_in(int used, int usable)
{
	static const double windows[] = {FORECAST_SECONDS, 2 * SECS_PER_MINUTE, SECS_PER_MINUTE};
	double least = Max(FORECAST_LEAST, FORECAST_SHARE * usable);
	LgForecastPoint points[FORECAST_SECONDS];
	TimestampTz now = GetCurrentTimestamp();
	double slope = 0;
	int n = 0;

	if (lg_shared == NULL)
		return -1;
	now -= now % USECS_PER_SEC;
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	for (int ago = 0; ago < FORECAST_SECONDS; ago++)
	{
		TimestampTz at = now - ago * USECS_PER_SEC;
		const Second *second = second_of(at);

		if (second->second == at)
			points[n++] =
				(LgForecastPoint){.ago = ago, .value = second->gauges[USED] / second->seen};
	}
	LWLockRelease(lg_shared->lock);

	for (int i = 0; i < (int) lengthof(windows) && slope == 0; i++)
		slope = lg_forecast_slope(points, n, windows[i], least);
	if (slope == 0)
		return -1;
	return (int64) (Max(usable - used, 0) / slope * USECS_PER_SEC);
}

/*
 * Sessions that were active on average in the last minute, by what they waited for;
 * averages has LG_LOAD_CLASSES places.  False, and zeros, if no pass saw any of it.
 * Takes lg_shared->lock for a moment.
 */
bool
lg_series_load(double averages[])
{
	TimestampTz now = GetCurrentTimestamp();
	double seen = 0;

	memset(averages, 0, sizeof(double) * LG_LOAD_CLASSES);
	if (lg_shared == NULL)
		return false;
	now -= now % USECS_PER_SEC;
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	for (int ago = 0; ago < SECS_PER_MINUTE; ago++)
	{
		TimestampTz at = now - ago * USECS_PER_SEC;
		const Second *second = second_of(at);

		if (second->second != at)
			continue;
		seen += second->seen;
		for (int i = 0; i < LG_LOAD_CLASSES; i++)
			averages[i] += second->classes[i];
	}
	LWLockRelease(lg_shared->lock);
	for (int i = 0; i < LG_LOAD_CLASSES && seen > 0; i++)
		averages[i] /= seen;
	return seen > 0;
}

static void
show_connections(LgRows *rows, const Second *second)
{
	lg_rows_begin_row(rows);
	lg_rows_add_time(rows, second->second);
	lg_rows_add_numeric(rows, second->gauges[USED] / second->seen, 3);
	lg_rows_add_int(rows, second->used_max);
	lg_rows_add_numeric(rows, second->gauges[ACTIVE] / second->seen, 3);
	lg_rows_add_numeric(rows, second->gauges[IDLE] / second->seen, 3);
	lg_rows_add_numeric(rows, second->gauges[IDLE_IN_TRANSACTION] / second->seen, 3);
	lg_rows_add_numeric(rows, second->gauges[IDLE_IN_TRANSACTION_ABORTED] / second->seen, 3);
	lg_rows_add_numeric(rows, second->gauges[WAITING] / second->seen, 3);
	lg_rows_add_int(rows, second->waiting_max);
	lg_rows_end_row(rows);
}

/* A row for CPU in any case, for each other class if anybody was in it. */
static void
show_load(LgRows *rows, const Second *second)
{
	for (int class = 0; class < LG_LOAD_CLASSES; class ++)
	{
		const char *name = lg_load_class_name(class);

		if (name == NULL || (class > 0 && second->classes[class] == 0))
			continue;
		lg_rows_begin_row(rows);
		lg_rows_add_time(rows, second->second);
		lg_rows_add_text(rows, name);
		lg_rows_add_numeric(rows, second->classes[class] / second->seen, 3);
		lg_rows_end_row(rows);
	}
}

PG_FUNCTION_INFO_V1(pg_lifeguard_read_connection_history);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_connection_usage_history);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_load_history);
PG_FUNCTION_INFO_V1(pg_lifeguard_connection_seconds);
PG_FUNCTION_INFO_V1(pg_lifeguard_load_seconds);

/*
 * The SQL functions that show what is in shared memory: minutes for the views
 * connection_history, connection_usage_history and load_history, and seconds.
 */
Datum
pg_lifeguard_read_connection_history(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_CONNECTIONS);
}

Datum
pg_lifeguard_read_connection_usage_history(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_USAGE);
}

Datum
pg_lifeguard_read_load_history(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_LOAD);
}

Datum
pg_lifeguard_connection_seconds(PG_FUNCTION_ARGS)
{
	show_seconds(fcinfo, show_connections);
	PG_RETURN_NULL();
}

Datum
pg_lifeguard_load_seconds(PG_FUNCTION_ARGS)
{
	show_seconds(fcinfo, show_load);
	PG_RETURN_NULL();
}
