/*-------------------------------------------------------------------------
 * load.c
 *		What active sessions wait for, over time.
 *
 * Each pass counts the active client sessions by their wait event, and each of
 * them stands for the time since the pass before.  The records of the minute
 * under way are kept up to date, and due when it is over.  What is kept is the
 * wait event's number; it gets its name when a row is made.  The seconds of the last
 * minute are here only, for the view load.
 *
 * Locking: lg_shared->lock to write seconds, taken by the caller; for the rest that
 * of the records (records.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "storage/lwlock.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "load.h"
#include "series.h"
#include "shared.h"

#define OTHER_EVENTS 0xFFFFFFFFU /* of a minute, or a second, that has too many */
#define CLASS_OF(info) ((int) ((info) >> 24))

/* What one wait event had in one minute. */
typedef struct LoadMinute
{
	LgRecordHead head;
	TimestampTz minute;
	uint32 event;
	float4 average;
	float4 seen; /* seconds of the minute that passes stand for */
	bool standby;
} LoadMinute;

static int
capacity(void)
{
	return 2048;
}

/*
 * Begin a pass: nobody counted yet.
 */
void
lg_load_begin_pass(LgLoad *load)
{
	memset(load->seen, 0, sizeof(int) * load->n);
	memset(load->classes, 0, sizeof(load->classes));
}

/* A new event in this minute; the last place is for all that have none. */
static int
add_event(LgLoad *load, uint32 event)
{
	int i = load->n;

	if (i > LG_LOAD_EVENTS)
		return LG_LOAD_EVENTS;
	load->n++;
	load->events[i] = i < LG_LOAD_EVENTS ? event : OTHER_EVENTS;
	load->seen[i] = 0;
	load->sums[i] = 0;
	load->numbers[i] = 0;
	return i;
}

/*
 * Count an active session.
 */
void
lg_load_count(LgLoad *load, uint32 wait_event_info)
{
	int i = 0;

	while (i < load->n && load->events[i] != wait_event_info)
		i++;
	if (i == load->n)
		i = add_event(load, wait_event_info);
	load->seen[i]++;
	load->classes[Min(CLASS_OF(wait_event_info), LG_LOAD_CLASSES - 1)]++;
}

/* The place of an event in a second; the last one is for all that have none. */
static int
place_in_second(LgLoadSecond *second, uint32 event)
{
	int i = 0;

	while (i < second->n && second->events[i] != event)
		i++;
	if (i < second->n)
		return i;
	if (i == LG_LOAD_SECOND_EVENTS)
		return i - 1;
	second->events[i] = i < LG_LOAD_SECOND_EVENTS - 1 ? event : OTHER_EVENTS;
	return second->n++;
}

/*
 * Write what this pass, which stands for weight microseconds, saw into the second
 * that begins there.  The caller holds lg_shared->lock, exclusive.
 */
void
lg_load_note_second(LgLoad *load, TimestampTz begin, float4 weight)
{
	LgLoadSecond *second = &load->seconds[(uint64) (begin / USECS_PER_SEC) % LG_LOAD_SECONDS];

	if (second->second != begin)
	{
		memset(second, 0, sizeof(LgLoadSecond));
		second->second = begin;
	}
	second->seen += weight;
	for (int i = 0; i < load->n; i++)
	{
		if (load->seen[i] > 0)
			second->sums[place_in_second(second, load->events[i])] += weight * load->seen[i];
	}
}

/* Bring the record of an event up to date. */
static void
record_event(LgLoad *load, int i, TimestampTz minute, int64 seen, bool standby)
{
	LoadMinute record = {.minute = minute, .event = load->events[i], .standby = standby};
	LoadMinute *place;

	record.average = seen > 0 ? (float4) ((double) load->sums[i] / seen) : NAN;
	record.seen = (float4) seen / USECS_PER_SEC;
	if (load->numbers[i] == 0)
	{
		load->numbers[i] = lg_records_add(LG_LOAD, &record, false);
		return;
	}
	place = lg_records_begin_change(LG_LOAD, load->numbers[i], false);
	if (place != NULL)
	{
		place->average = record.average;
		place->seen = record.seen;
		place->standby = standby;
	}
	lg_records_end_change();
}

/*
 * The end of a pass that stands for weight microseconds, and brings what was seen
 * of its minute to seen.
 */
void
lg_load_end_pass(LgLoad *load, TimestampTz minute, int64 weight, int64 seen, bool standby)
{
	/* a minute without load has a row that says so */
	if (load->n == 0)
		(void) add_event(load, 0);
	for (int i = 0; i < load->n; i++)
	{
		load->sums[i] += load->seen[i] * weight;
		record_event(load, i, minute, seen, standby);
	}
}

/*
 * The minute is over: its records are due.
 */
void
lg_load_end_minute(LgLoad *load)
{
	for (int i = 0; i < load->n; i++)
	{
		if (load->numbers[i] == 0)
			continue;
		(void) lg_records_begin_change(LG_LOAD, load->numbers[i], true);
		lg_records_end_change();
	}
	load->n = 0;
}

/*
 * The name of a class of wait events as pg_stat_activity has it; CPU for none.
 * NULL where this major has no such class.
 */
const char *
lg_load_class_name(int class)
{
	const char *name;

	if (class == 0)
		return "CPU";
	if (class == LG_LOAD_CLASSES - 1)
		return "Other";
	name = pgstat_get_wait_event_type((uint32) class << 24);
	return name != NULL && strcmp(name, "???") != 0 ? name : NULL;
}

/*
 * Is the event's number good for this life of the server only?  Those that
 * extensions take are given out anew after each start, and to ask for the name of
 * one that nobody has is an error.
 */
static bool
is_passing(uint32 event)
{
	switch (event & 0xFF000000U)
	{
		case PG_WAIT_LWLOCK:
			return (event & 0xFFFF) >= LWTRANCHE_FIRST_USER_DEFINED;
		case PG_WAIT_EXTENSION:
		case LG_WAIT_INJECTION_POINT:
			return (event & 0xFFFF) != 0;
		default:
			return false;
	}
}

/*
 * Add the columns wait_event_type and wait_event of an event that was recorded in
 * the life of the server that began at boot.
 */
void
lg_load_add_event(LgRows *rows, uint32 event, TimestampTz boot)
{
	bool known = event != OTHER_EVENTS && event != 0;

	if (known)
		lg_rows_add_text(rows, pgstat_get_wait_event_type(event));
	else
		lg_rows_add_text(rows, event == 0 ? "CPU" : "Other");
	if (known && is_passing(event) && boot != lg_shared->created_at)
		known = false;
	lg_rows_add_text(rows, known ? pgstat_get_wait_event(event) : NULL);
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const LoadMinute *minute = record;

	lg_rows_add_time(rows, minute->minute);
	lg_load_add_event(rows, minute->event, minute->head.boot);
	lg_rows_add_numeric(rows, minute->average, 3);
	lg_rows_add_numeric(rows, minute->seen, 3);
	lg_rows_add_text(rows, minute->standby ? "standby" : "primary");
}

static const Oid column_types[] = {TIMESTAMPTZOID, TEXTOID,	   TEXTOID,
								   NUMERICOID,	   NUMERICOID, TEXTOID};

const LgRecordType lg_load_type = {.table = "load_entries",
								   .time = "minute",
								   .size = sizeof(LoadMinute),
								   .capacity = capacity,
								   .n_columns = lengthof(column_types),
								   .types = column_types,
								   .add_row = add_row};
