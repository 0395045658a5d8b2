/*-------------------------------------------------------------------------
 * lock_episodes.c
 *		Lock waits: began, goes on, ended.
 *
 * STUB
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lock_episodes.h"

static int
capacity(void)
{
	return 16;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
}

const LgRecordType lg_lock_wait_type = {.table = "lock_wait_entries",
										.time = "wait_start",
										.size = sizeof(LgRecordHead),
										.capacity = capacity,
										.add_row = add_row};

Size
lg_lock_episodes_size(void)
{
	return 0;
}

void
lg_lock_episodes_observe(LgMemory *memory)
{
}
