/*-------------------------------------------------------------------------
 * ledger_table.h
 *		From the ledger in shared memory into its table, and out of that.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LEDGER_TABLE_H
#define LG_LEDGER_TABLE_H

#include "ledger.h"

/* Entries on their way into the table, or told about. */
typedef struct LgLedgerBatch
{
	int n;
	uint64 next;	 /* to be written: none before this, in the ring */
	uint64 *numbers; /* in the ring */
	LgLedgerEntry *entries;
} LgLedgerBatch;

extern LgLedgerBatch *lg_ledger_table_new_batch(void);
extern void lg_ledger_table_write(Oid extension, LgLedgerBatch *batch);
extern void lg_ledger_table_notify(Oid extension, LgLedgerBatch *batch);
extern bool lg_ledger_table_purge(Oid extension, TimestampTz now);

#endif /* LG_LEDGER_TABLE_H */
