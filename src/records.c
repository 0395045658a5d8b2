/*-------------------------------------------------------------------------
 * records.c
 *		Records of what happened: a ring in shared memory for each kind.
 *
 * A record is added when something has happened, or is going on, and may change;
 * each change counts its revision.  Whoever writes records to tables asks for
 * those that are due and whose newest revision is not there, and says when it is.
 * The ring does not wait for that: what it pushes out unwritten is counted.
 *
 * Locking: lg_shared->records_lock, held only to copy one record in or out, to
 * change some fields of one, or to look through some heads.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "contention.h"
#include "idle_episodes.h"
#include "incidents.h"
#include "ledger_rows.h"
#include "lock_episodes.h"
#include "records.h"
#include "refusals.h"
#include "series.h"
#include "shared.h"
#include "snapshots.h"

#define RECORDS_AT_A_TIME 256 /* looked at in one go, under the lock */

static const LgRecordType *const types[LG_RECORD_KINDS] = {
	[LG_LEDGER] = &lg_ledger_type,
	[LG_LOCK_WAITS] = &lg_lock_wait_type,
	[LG_IDLE_TRANSACTIONS] = &lg_idle_transaction_type,
	[LG_CONTENTION] = &lg_contention_type,
	[LG_CONNECTIONS] = &lg_connections_type,
	[LG_USAGE] = &lg_usage_type,
	[LG_LOAD] = &lg_load_type,
	[LG_INCIDENTS] = &lg_incident_type,
	[LG_REFUSALS] = &lg_refusal_type,
	[LG_SNAPSHOTS] = &lg_snapshot_type,
};

/*
 * What a kind is.
 */
const LgRecordType *
lg_records_type(LgRecordKind kind)
{
	return types[kind];
}

/*
 * Bytes of shared memory that all rings take.
 */
Size
lg_records_size(void)
{
	Size size = 0;

	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
		size = add_size(size, lg_ring_size(types[kind]->capacity(), types[kind]->size));
	return size;
}

/*
 * Make empty rings in memory of lg_records_size() bytes.
 */
void
lg_records_init(char *memory)
{
	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
	{
		lg_shared->records[kind] = (LgRing *) memory;
		lg_ring_init(lg_shared->records[kind], types[kind]->capacity(), types[kind]->size);
		memory += lg_ring_size(types[kind]->capacity(), types[kind]->size);
	}
}

/*
 * Be empty again.  Only before anybody else uses the rings.
 */
void
lg_records_forget(void)
{
	lg_records_init((char *) lg_shared->records[0]);
	memset(lg_shared->records_lost, 0, sizeof(lg_shared->records_lost));
	memset(lg_shared->records_unflushed, 0, sizeof(lg_shared->records_unflushed));
}

/*
 * Is its newest revision to be written?
 */
bool
lg_records_is_unflushed(const void *record)
{
	const LgRecordHead *head = record;

	return head->due && head->flushed != head->revision;
}

/* Put a record into its ring, over the oldest if that is full.  Needs the lock. */
static LgRecordHead *
put_into_ring(LgRecordKind kind, const void *record)
{
	LgRing *ring = lg_shared->records[kind];

	if (ring->last >= (uint64) ring->capacity &&
		lg_records_is_unflushed(lg_ring_get(ring, lg_ring_first(ring))))
	{
		lg_shared->records_lost[kind]++;
		lg_shared->records_unflushed[kind]--;
	}
	return lg_ring_get(ring, lg_ring_add(ring, record));
}

/*
 * Add a record, over the oldest if the ring is full.  Its head is filled in here.
 * due: it may be written to its table at once.  Returns its number.
 */
uint64
lg_records_add(LgRecordKind kind, const void *record, bool due)
{
	LgRecordHead *head;
	uint64 number;

	LWLockAcquire(lg_shared->records_lock, LW_EXCLUSIVE);
	head = put_into_ring(kind, record);
	head->boot = lg_shared->created_at;
	head->number = number = lg_shared->records[kind]->last;
	head->revision = 1;
	head->flushed = 0;
	head->due = due;
	lg_shared->records_unflushed[kind] += due;
	LWLockRelease(lg_shared->records_lock);
	return number;
}

/*
 * Take back a record of an earlier life of the server, which keeps its identity
 * and may be written.  Only before anybody else uses the rings.
 */
void
lg_records_restore(LgRecordKind kind, const void *record)
{
	LgRecordHead *head = put_into_ring(kind, record);

	head->due = true;
	lg_shared->records_unflushed[kind] += lg_records_is_unflushed(head);
}

/*
 * Begin to change a record in place; NULL if it has been pushed out.  due: from
 * now on it may be written.  lg_records_end_change() in every case, soon: a lock
 * is held.
 */
void *
lg_records_begin_change(LgRecordKind kind, uint64 number, bool due)
{
	LgRecordHead *head = lg_records_begin_note(kind, number);

	if (head != NULL)
	{
		bool was_unflushed = lg_records_is_unflushed(head);

		head->revision++;
		head->due |= due;
		lg_shared->records_unflushed[kind] += lg_records_is_unflushed(head) - was_unflushed;
	}
	return head;
}

/*
 * The same for what need not be written.
 */
void *
lg_records_begin_note(LgRecordKind kind, uint64 number)
{
	LWLockAcquire(lg_shared->records_lock, LW_EXCLUSIVE);
	return lg_ring_get(lg_shared->records[kind], number);
}

void
lg_records_end_change(void)
{
	LWLockRelease(lg_shared->records_lock);
}

/*
 * Copy a record out.  Returns false if it is not there (any more).
 */
bool
lg_records_copy(LgRecordKind kind, uint64 number, void *record)
{
	void *place;

	LWLockAcquire(lg_shared->records_lock, LW_SHARED);
	place = lg_ring_get(lg_shared->records[kind], number);
	if (place != NULL)
		memcpy(record, place, types[kind]->size);
	LWLockRelease(lg_shared->records_lock);
	return place != NULL;
}

/*
 * The numbers of the oldest and the newest record there are; first > last when
 * there are none.
 */
void
lg_records_bounds(LgRecordKind kind, uint64 *first, uint64 *last)
{
	LWLockAcquire(lg_shared->records_lock, LW_SHARED);
	*first = lg_ring_first(lg_shared->records[kind]);
	*last = lg_shared->records[kind]->last;
	LWLockRelease(lg_shared->records_lock);
}

/* The first in from .. to of which the test is true, copied out; 0 if there is none. */
static uint64
find_among(LgRecordKind kind, uint64 from, uint64 to, bool (*test)(const void *record),
		   void *record)
{
	uint64 found = 0;

	LWLockAcquire(lg_shared->records_lock, LW_SHARED);
	for (uint64 number = from; number <= to && found == 0; number++)
	{
		const void *place = lg_ring_get(lg_shared->records[kind], number);

		if (place != NULL && test(place))
		{
			memcpy(record, place, types[kind]->size);
			found = number;
		}
	}
	LWLockRelease(lg_shared->records_lock);
	return found;
}

/*
 * Copy out the next record, at or after a number, of which the test is true; it
 * is called under the lock.  Returns the record's number in the ring, or 0 when
 * there is none.  Interruptible.
 */
uint64
lg_records_find(LgRecordKind kind, uint64 from, bool (*test)(const void *record), void *record)
{
	uint64 first;
	uint64 last;

	lg_records_bounds(kind, &first, &last);
	for (uint64 number = Max(from, first); number <= last; number += RECORDS_AT_A_TIME)
	{
		uint64 found =
			find_among(kind, number, Min(number + RECORDS_AT_A_TIME - 1, last), test, record);

		if (found != 0)
			return found;
		CHECK_FOR_INTERRUPTS();
	}
	return 0;
}

/*
 * Say that a revision of a record is in its table, committed.
 */
void
lg_records_mark_flushed(LgRecordKind kind, uint64 number, uint32 revision)
{
	LgRecordHead *head;

	LWLockAcquire(lg_shared->records_lock, LW_EXCLUSIVE);
	head = lg_ring_get(lg_shared->records[kind], number);
	if (head != NULL)
	{
		bool was_unflushed = lg_records_is_unflushed(head);

		head->flushed = Max(head->flushed, revision);
		lg_shared->records_unflushed[kind] -= was_unflushed && !lg_records_is_unflushed(head);
	}
	LWLockRelease(lg_shared->records_lock);
}

/*
 * How many records, of all kinds, are to be written.
 */
int
lg_records_unflushed(void)
{
	int n = 0;

	LWLockAcquire(lg_shared->records_lock, LW_SHARED);
	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
		n += lg_shared->records_unflushed[kind];
	LWLockRelease(lg_shared->records_lock);
	return n;
}

/*
 * How many of a kind are to be written, and how many were pushed out before they
 * were.
 */
void
lg_records_count(LgRecordKind kind, int *unflushed, uint64 *lost)
{
	LWLockAcquire(lg_shared->records_lock, LW_SHARED);
	*unflushed = lg_shared->records_unflushed[kind];
	*lost = lg_shared->records_lost[kind];
	LWLockRelease(lg_shared->records_lock);
}

/*
 * The body of an SQL function that shows the records of a kind that are in shared
 * memory, oldest first, masked for the current user; none while pg_lifeguard is
 * not preloaded.
 */
Datum
lg_records_read(FunctionCallInfo fcinfo, LgRecordKind kind)
{
	LgRows rows;
	LgRecordHead *record;
	uint64 first;
	uint64 last;

	lg_rows_begin(&rows, fcinfo);
	if (lg_shared == NULL)
		PG_RETURN_NULL();
	record = palloc(types[kind]->size);
	lg_records_bounds(kind, &first, &last);
	for (uint64 number = first; number <= last; number++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!lg_records_copy(kind, number, record))
			continue;
		lg_rows_begin_row(&rows);
		lg_rows_add_time(&rows, record->boot);
		lg_rows_add_int8(&rows, (int64) record->number);
		types[kind]->add_row(&rows, record, true);
		lg_rows_end_row(&rows);
	}
	PG_RETURN_NULL();
}
