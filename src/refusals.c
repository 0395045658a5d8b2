#include "postgres.h"

#include "refusals.h"

/* stub */
typedef struct Refusal
{
	LgRecordHead head;
} Refusal;

static int
capacity(void)
{
	return 16;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
}

const LgRecordType lg_refusal_type = {.table = "refusal_entries",
									  .time = "at",
									  .size = sizeof(Refusal),
									  .capacity = capacity,
									  .add_row = add_row};

Size
lg_refusals_size(void)
{
	return 0;
}

void
lg_refusals_init(void)
{
}

void
lg_refusals_note(const ErrorData *error)
{
}

int64
lg_refusals_collect(const LgMemory *memory)
{
	return 0;
}
