/*-------------------------------------------------------------------------
 * incidents.c
 *		Stretches of trouble: one bad night is one row.
 *
 * STUB
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "incidents.h"

static int
capacity(void)
{
	return 16;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
}

const LgRecordType lg_incident_type = {.table = "incident_entries",
									   .time = "since",
									   .size = sizeof(LgRecordHead),
									   .capacity = capacity,
									   .add_row = add_row};

Size
lg_incidents_size(void)
{
	return 0;
}

void
lg_incidents_observe(LgMemory *memory)
{
}
