/*-------------------------------------------------------------------------
 * ledger_notify.c
 *		NOTIFY about ledger entries, when their outcome is in their table.
 *
 * One transaction's worth at a time; that a NOTIFY is out the caller says once
 * that is committed.
 *
 * Locking: the table as any reader; lg_shared->records_lock as records.c says.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "ledger_notify.h"
#include "members.h"

#define TABLE "ledger_entries"
#define CHANNEL "pg_lifeguard"
#define LONGEST_PAYLOAD "7900" /* bytes; PostgreSQL's own bound is 7,999 */

/*
 * Any role that may connect to the home database can listen: a payload has no more than
 * what the view ledger shows to all of them.  What does not fit into one is left out,
 * the least needed first.
 */
static const char *const read_payload =
	"SELECT CASE WHEN octet_length(j::text) <= " LONGEST_PAYLOAD " THEN j::text"
	" ELSE (j - '{reason,gid,relation_name,application_name}'::text[])::text END "
	"FROM (SELECT to_jsonb(e) - '{boot,number,userid}'::text[]"
	"       - '{backend_start,client_addr,state,state_age,query,query_tags}'::text[]"
	"       - CASE WHEN e.policy IS NULL THEN '{}'::text[] ELSE '{reason}' END AS j"
	"      FROM ONLY lifeguard.ledger_entries e"
	"      WHERE e.boot = $1 AND e.number = $2) one";

static void
notify_one(const LgLedgerEntry *entry)
{
	Oid types[] = {TIMESTAMPTZOID, INT8OID};
	Datum values[] = {TimestampTzGetDatum(entry->head.boot),
					  Int64GetDatum((int64) entry->head.number)};

	if (SPI_execute_with_args(read_payload, lengthof(types), types, values, NULL, true, 1) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not read a ledger entry");
	/* deleted meanwhile, by hand or by retention */
	if (SPI_processed == 0)
		return;
	Async_Notify(CHANNEL, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
}

/*
 * Fill the batch with entries whose outcome is in the table and not told yet,
 * and send a NOTIFY for each.  An empty one means that there are none.  Raises
 * an error if the table cannot be used or the queue is full.  Needs SPI and a
 * snapshot.
 */
void
lg_ledger_notify(Oid extension, LgNotifyBatch *batch)
{
	LgLedgerEntry *entry = palloc(sizeof(LgLedgerEntry));
	uint64 number = 0;

	batch->n = 0;
	while (batch->n < LG_NOTIFY_BATCH &&
		   (number = lg_ledger_next_unnotified(number + 1, entry)) != 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (batch->n == 0)
			lg_members_use_table(extension, TABLE, AccessShareLock);
		notify_one(entry);
		batch->numbers[batch->n] = number;
		batch->revisions[batch->n++] = entry->head.revision;
	}
}
