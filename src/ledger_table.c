/*-------------------------------------------------------------------------
 * ledger_table.c
 *		From the ledger in shared memory into its table, and out of that.
 *
 * Each function does one transaction's worth; what is true only once that has
 * been committed (an entry is in the table, its NOTIFY is out) the caller says
 * afterwards.  Entries may be written twice, after a crash between the two or
 * because they have changed: they have an identity.
 *
 * Locking: the table as any writer; lg_shared->ledger_lock as ledger.c says.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "ledger_rows.h"
#include "ledger_table.h"
#include "members.h"
#include "settings.h"

#define TABLE "ledger_entries"
#define CHANNEL "pg_lifeguard"
#define BATCH_SIZE 100
#define PURGE_SIZE 1000
#define LONGEST_PAYLOAD "7900" /* bytes; PostgreSQL's own bound is 7,999 */

/* The columns as lg_ledger_rows_add() adds them, behind three of the table's own. */
static const char *const write_entry =
	"INSERT INTO lifeguard.ledger_entries AS e (boot, number, userid, at, policy, target, action,"
	" pid, gid, backend_start, usename, datname, application_name, client_addr, state, state_age,"
	" blocked_total, blocked_pids, relation_name, query, query_tags, signal, outcome, outcome_at,"
	" repeats, waiters_freed, reason, recorded_on) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,"
	" $20, $21, $22, $23, $24, $25, $26, $27, $28) "
	"ON CONFLICT (boot, number) DO UPDATE SET"
	" userid = excluded.userid, at = excluded.at, policy = excluded.policy,"
	" target = excluded.target, action = excluded.action, pid = excluded.pid,"
	" gid = excluded.gid, backend_start = excluded.backend_start,"
	" usename = excluded.usename, datname = excluded.datname,"
	" application_name = excluded.application_name, client_addr = excluded.client_addr,"
	" state = excluded.state, state_age = excluded.state_age,"
	" blocked_total = excluded.blocked_total, blocked_pids = excluded.blocked_pids,"
	" relation_name = coalesce(excluded.relation_name, e.relation_name),"
	" query = excluded.query, query_tags = excluded.query_tags, signal = excluded.signal,"
	" outcome = excluded.outcome, outcome_at = excluded.outcome_at,"
	" repeats = excluded.repeats, waiters_freed = excluded.waiters_freed,"
	" reason = excluded.reason, recorded_on = excluded.recorded_on";
static Oid entry_types[] = {
	TIMESTAMPTZOID, INT8OID,	 OIDOID,		 TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID,
	INT4OID,		TEXTOID,	 TIMESTAMPTZOID, NAMEOID,		 NAMEOID, TEXTOID, INETOID,
	TEXTOID,		INTERVALOID, INT4OID,		 INT4ARRAYOID,	 TEXTOID, TEXTOID, TEXTOID,
	TEXTOID,		TEXTOID,	 TIMESTAMPTZOID, INT4OID,		 INT4OID, TEXTOID, TEXTOID};

/* What does not fit into a payload is shortened, the least needed first. */
static const char *const read_payload =
	"SELECT CASE WHEN octet_length(j::text) <= " LONGEST_PAYLOAD " THEN j::text"
	" WHEN octet_length(shorter::text) <= " LONGEST_PAYLOAD " THEN shorter::text"
	" ELSE (shorter - '{query,reason,gid,relation_name,application_name}'::text[])::text END "
	"FROM (SELECT j, (j - 'query_tags') || jsonb_build_object('query', left(j->>'query', 200))"
	"       AS shorter"
	"      FROM (SELECT to_jsonb(e) - '{boot,number,userid}'::text[] AS j"
	"            FROM ONLY lifeguard.ledger_entries e"
	"            WHERE e.boot = $1 AND e.number = $2) one) both_forms";

static const char *const purge_entries =
	"DELETE FROM ONLY lifeguard.ledger_entries e "
	"WHERE e.ctid = ANY (ARRAY(SELECT o.ctid FROM ONLY lifeguard.ledger_entries o"
	"                          WHERE o.at < $1 ORDER BY o.at LIMIT $2 FOR UPDATE SKIP LOCKED))";

/*
 * Room for a batch, in the current memory context.
 */
LgLedgerBatch *
lg_ledger_table_new_batch(void)
{
	LgLedgerBatch *batch = palloc0(sizeof(LgLedgerBatch));

	batch->numbers = palloc(sizeof(uint64) * BATCH_SIZE);
	batch->entries = palloc(sizeof(LgLedgerEntry) * BATCH_SIZE);
	return batch;
}

/* Give an entry's relation the name that it has in this database, for those elsewhere. */
static void
name_relation(uint64 number, LgLedgerEntry *entry)
{
	char *name = NULL;

	if (OidIsValid(entry->relation) && entry->relation_name[0] == '\0')
		name = lg_ledger_rows_relation_name(entry);
	if (name == NULL)
		return;
	lg_ledger_name_relation(number, name);
	(void) lg_ledger_copy(number, entry);
}

static void
write_one(SPIPlanPtr plan, const LgLedgerEntry *entry)
{
	LgRows row = {.n = 0};
	char nulls[lengthof(entry_types) + 1];

	lg_rows_add_time(&row, entry->boot);
	lg_rows_add_int8(&row, (int64) entry->number);
	lg_rows_add_oid(&row, entry->userid);
	lg_ledger_rows_add(&row, entry, true);
	if (row.n != (int) lengthof(entry_types))
		elog(ERROR, "a ledger entry has %d columns", row.n);
	for (int i = 0; i < row.n; i++)
		nulls[i] = row.nulls[i] ? 'n' : ' ';
	nulls[row.n] = '\0';
	if (SPI_execute_plan(plan, row.values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write a ledger entry");
}

/*
 * Fill the batch with entries, behind those of the batch before, whose newest
 * revision is not in the table, and write them.  An empty one means that there
 * are none.  Raises an error if the
 * table cannot be used.  Needs SPI and a snapshot.
 */
void
lg_ledger_table_write(Oid extension, LgLedgerBatch *batch)
{
	uint64 number;
	SPIPlanPtr plan;

	batch->n = 0;
	while (batch->n < BATCH_SIZE &&
		   (number = lg_ledger_next_unflushed(batch->next, &batch->entries[batch->n])) != 0)
	{
		name_relation(number, &batch->entries[batch->n]);
		batch->numbers[batch->n++] = number;
		batch->next = number + 1;
	}
	if (batch->n == 0)
		return;

	lg_members_use_table(extension, TABLE, RowExclusiveLock);
	plan = SPI_prepare(write_entry, lengthof(entry_types), entry_types);
	if (plan == NULL)
		elog(ERROR, "could not prepare to write ledger entries");
	for (int i = 0; i < batch->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_one(plan, &batch->entries[i]);
	}
}

static void
notify_one(const LgLedgerEntry *entry)
{
	Oid types[] = {TIMESTAMPTZOID, INT8OID};
	Datum values[] = {TimestampTzGetDatum(entry->boot), Int64GetDatum((int64) entry->number)};

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
lg_ledger_table_notify(Oid extension, LgLedgerBatch *batch)
{
	uint64 number = 0;

	batch->n = 0;
	while (batch->n < BATCH_SIZE &&
		   (number = lg_ledger_next_unnotified(number + 1, &batch->entries[batch->n])) != 0)
		batch->numbers[batch->n++] = number;
	if (batch->n == 0)
		return;

	lg_members_use_table(extension, TABLE, AccessShareLock);
	for (int i = 0; i < batch->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		notify_one(&batch->entries[i]);
	}
}

/*
 * Delete some rows that are older than pg_lifeguard.ledger_retention, but none
 * that somebody has locked.  Returns whether there may be more.  Raises an error
 * if the table cannot be used.  Needs SPI and a snapshot.
 */
bool
lg_ledger_table_purge(Oid extension, TimestampTz now)
{
	Oid types[] = {TIMESTAMPTZOID, INT8OID};
	Datum values[] = {TimestampTzGetDatum(now - lg_ledger_retention * USECS_PER_DAY),
					  Int64GetDatum(PURGE_SIZE)};

	lg_members_use_table(extension, TABLE, RowExclusiveLock);
	if (SPI_execute_with_args(purge_entries, lengthof(types), types, values, NULL, false, 0) !=
		SPI_OK_DELETE)
		elog(ERROR, "could not delete old ledger entries");
	return SPI_processed == PURGE_SIZE;
}
