/*-------------------------------------------------------------------------
 * series.c
 *		Connections, who holds them, and what active sessions wait for, over time.
 *
 * STUB
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "series.h"

static int
capacity(void)
{
	return 16;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
}

const LgRecordType lg_connections_type = {.table = "connection_entries",
										  .time = "minute",
										  .size = sizeof(LgRecordHead),
										  .capacity = capacity,
										  .add_row = add_row};

const LgRecordType lg_usage_type = {.table = "connection_usage_entries",
									.time = "minute",
									.size = sizeof(LgRecordHead),
									.capacity = capacity,
									.add_row = add_row};

const LgRecordType lg_load_type = {.table = "load_entries",
								   .time = "minute",
								   .size = sizeof(LgRecordHead),
								   .capacity = capacity,
								   .add_row = add_row};

Size
lg_series_size(void)
{
	return 0;
}

void
lg_series_begin(LgMemory *memory)
{
}

void
lg_series_consider(LgMemory *memory, const LgSession *session)
{
}

void
lg_series_end(LgMemory *memory)
{
}
