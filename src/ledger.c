/*-------------------------------------------------------------------------
 * ledger.c
 *		The record of every action.
 *
 * One more kind of record: an entry is added just before the signal goes out
 * and completed when its effect is known.  Besides its table there is a NOTIFY
 * to be sent about it, once.
 *
 * Locking: what records.c takes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "counters.h"
#include "ledger.h"
#include "records.h"

#define NEWEST 64 /* entries that a walk looks at */

/*
 * Is it not known yet what has come of the action?
 */
bool
lg_ledger_is_open(const char *outcome)
{
	return strcmp(outcome, LG_OUTCOME_SIGNALLED) == 0 ||
		   strcmp(outcome, LG_OUTCOME_ROLLING_BACK) == 0;
}

/*
 * Add an entry, over the oldest if the ring is full.  Returns its number.
 */
uint64
lg_ledger_add(LgLedgerEntry *entry)
{
	entry->notified = false;
	lg_counters_count_outcome(entry->outcome);
	return lg_records_add(LG_LEDGER, entry, true);
}

static LgLedgerEntry *
begin_change(uint64 number)
{
	return lg_records_begin_change(LG_LEDGER, number, true);
}

/*
 * Say what came of an action.  waiters_freed: -1 = not known.  Nothing happens
 * to an entry that has been pushed out meanwhile; the server log has it.
 */
void
lg_ledger_finish(uint64 number, const char *outcome, TimestampTz at, int waiters_freed)
{
	LgLedgerEntry *entry = begin_change(number);
	bool corrected = false; /* it is counted already */

	if (entry != NULL)
	{
		corrected = !lg_ledger_is_open(entry->outcome);
		strlcpy(entry->outcome, outcome, LG_OUTCOME_SIZE);
		entry->outcome_at = at;
		entry->waiters_freed = waiters_freed;
	}
	lg_records_end_change();
	if (!corrected)
		lg_counters_count_outcome(outcome);
}

/*
 * Say that a signal of another kind has gone out, and nothing is known of it.
 */
void
lg_ledger_signalled(uint64 number, const char *signal)
{
	LgLedgerEntry *entry = begin_change(number);

	if (entry != NULL)
	{
		strlcpy(entry->signal, signal, sizeof(entry->signal));
		strlcpy(entry->outcome, "signalled", LG_OUTCOME_SIZE);
		entry->outcome_at = 0;
	}
	lg_records_end_change();
}

/*
 * Write over an entry what is true of the same policy and episode now, counting
 * it as a repeat.  Returns false if it has been pushed out meanwhile.
 */
bool
lg_ledger_replace(uint64 number, const LgLedgerEntry *now)
{
	LgLedgerEntry *entry = begin_change(number);

	if (entry != NULL)
	{
		LgRecordHead head = entry->head;
		int repeats = entry->repeats;

		*entry = *now;
		entry->head = head;
		entry->notified = false; /* a new outcome is news */
		entry->repeats = repeats + 1;
	}
	lg_records_end_change();
	if (entry != NULL)
		lg_counters_count_outcome(now->outcome);
	return entry != NULL;
}

/*
 * Count one more of the same in the same episode.  Only numbers that double
 * make it worth writing to the table again: an episode may last for days.
 */
void
lg_ledger_repeat(uint64 number)
{
	LgLedgerEntry *entry = lg_records_begin_note(LG_LEDGER, number);
	bool doubled = false;

	if (entry != NULL)
	{
		entry->repeats++;
		doubled = (entry->repeats & (entry->repeats - 1)) == 0;
	}
	lg_records_end_change();
	if (doubled)
	{
		(void) begin_change(number);
		lg_records_end_change();
	}
}

/*
 * Copy an entry out.  Returns false if it is not there (any more).
 */
bool
lg_ledger_copy(uint64 number, LgLedgerEntry *entry)
{
	return lg_records_copy(LG_LEDGER, number, entry);
}

/*
 * Copy out the next entry of a walk from the newest one back.  Returns false when there
 * is none any more, or enough have been looked at for whoever asks in each pass.
 */
bool
lg_ledger_next_back(LgLedgerScan *scan, LgLedgerEntry *entry)
{
	uint64 first;

	if (scan->looked_at == 0)
		lg_records_bounds(LG_LEDGER, &first, &scan->number);
	else
		scan->number--;
	return scan->looked_at++ < NEWEST && lg_ledger_copy(scan->number, entry);
}

/* Is its outcome known and in the table, and nobody told? */
static bool
is_unnotified(const void *record)
{
	const LgLedgerEntry *entry = record;

	return !entry->notified && entry->outcome_at != 0 && !lg_records_is_unflushed(record);
}

/*
 * Copy out the next entry, at or after a number, whose outcome is known and in
 * the table, and whose NOTIFY is not out.  Returns its number, or 0 when there
 * is none.  Interruptible.
 */
uint64
lg_ledger_next_unnotified(uint64 from, LgLedgerEntry *entry)
{
	return lg_records_find(LG_LEDGER, from, is_unnotified, entry);
}

/*
 * Say that the NOTIFY about a revision of an entry is out, or will never be sent;
 * a newer one may be news.
 */
void
lg_ledger_mark_notified(uint64 number, uint32 revision)
{
	LgLedgerEntry *entry = lg_records_begin_note(LG_LEDGER, number);

	if (entry != NULL)
		entry->notified |= entry->head.revision == revision;
	lg_records_end_change();
}
