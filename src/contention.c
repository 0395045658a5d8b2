/*-------------------------------------------------------------------------
 * contention.c
 *		Whom waiting cost how much: every waited second charged once.
 *
 * STUB
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "contention.h"

static int
capacity(void)
{
	return 16;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
}

const LgRecordType lg_contention_type = {.table = "contention_entries",
										 .time = "minute",
										 .size = sizeof(LgRecordHead),
										 .capacity = capacity,
										 .add_row = add_row};

Size
lg_contention_size(void)
{
	return 0;
}

uint64
lg_contention_find(const LgContendedLock *lock, const LgWho *root, const LgWho *waiter,
				   TimestampTz now)
{
	return 0;
}

bool
lg_contention_is_current(uint64 number, TimestampTz now)
{
	return false;
}

void
lg_contention_charge(uint64 number, int64 seen, int64 estimated, bool first)
{
}

void
lg_contention_note_row(uint64 number, BlockNumber block, OffsetNumber offset, int64 charged)
{
}

void
lg_contention_note_duration(uint64 number, int64 duration, double weight)
{
}
