#include "postgres.h"

#include "snapshots.h"

/* stub */
typedef struct SlotSnapshot
{
	LgRecordHead head;
} SlotSnapshot;

static int
capacity(void)
{
	return 16;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
}

const LgRecordType lg_snapshot_type = {.table = "snapshot_entries",
									  .time = "at",
									  .size = sizeof(SlotSnapshot),
									  .capacity = capacity,
									  .add_row = add_row};

Size
lg_snapshots_size(void)
{
	return 0;
}

void
lg_snapshots_observe(const LgMemory *memory)
{
}
