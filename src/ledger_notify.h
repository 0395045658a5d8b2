/*-------------------------------------------------------------------------
 * ledger_notify.h
 *		NOTIFY about ledger entries.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LEDGER_NOTIFY_H
#define LG_LEDGER_NOTIFY_H

#include "ledger.h"

#define LG_NOTIFY_BATCH 100

/* Entries that are told about. */
typedef struct LgNotifyBatch
{
	int n;
	uint64 numbers[LG_NOTIFY_BATCH]; /* in the ring */
	uint32 revisions[LG_NOTIFY_BATCH];
} LgNotifyBatch;

extern void lg_ledger_notify(Oid extension, LgNotifyBatch *batch);

#endif /* LG_LEDGER_NOTIFY_H */
