/*-------------------------------------------------------------------------
 * idle_episodes.c
 *		Stays idle in transaction: began, goes on, ended.
 *
 * STUB
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "idle_episodes.h"

static int
capacity(void)
{
	return 16;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
}

const LgRecordType lg_idle_transaction_type = {.table = "idle_transaction_entries",
											   .time = "idle_start",
											   .size = sizeof(LgRecordHead),
											   .capacity = capacity,
											   .add_row = add_row};

Size
lg_idle_episodes_size(void)
{
	return 0;
}

void
lg_idle_episodes_consider(LgMemory *memory, const LgSession *session)
{
}

void
lg_idle_episodes_end(LgMemory *memory)
{
}
