/*-------------------------------------------------------------------------
 * prepared.c
 *		Prepared transactions: read, prove, roll back.
 *
 * A prepared transaction is no session: nobody is there who could prove that he
 * is still meant.  So whoever rolls one back looks at its xid once more, in the
 * last instruction before core looks for its gid.  Core frees a gid only after
 * its transaction has left the array of running ones; so another one of the same
 * gid could be hit only if, between two instructions of ours, somebody finished
 * the first and prepared the second.  Core offers no way to name the xid.
 *
 * Locking: ProcArrayLock, shared, for a moment; what ROLLBACK PREPARED takes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "prepared.h"
#include "test_point.h"

static const char *const read_all = "SELECT p.transaction, p.gid, p.prepared, p.ownerid, p.dbid "
									"FROM pg_catalog.pg_prepared_xact() AS p";

/*
 * Is the transaction still running whose xid is in a slot for prepared ones?  A slot
 * that is not in use may keep the xid of its last one, for so long that this xid seems
 * to lie ahead: of those core says that they run.  Takes XidGenLock and ProcArrayLock,
 * both shared and each for a moment.
 */
bool
lg_prepared_is_running(TransactionId xid)
{
	return TransactionIdIsValid(xid) && TransactionIdPrecedes(xid, ReadNextTransactionId()) &&
		   TransactionIdIsInProgress(xid);
}

/* Who is in a slot for prepared transactions. */
static LgPreparedSight
look_at(int slot)
{
	volatile PGPROC *proc = &ProcGlobal->allProcs[slot];
	LgPreparedSight sight = {proc->xid, proc->databaseId};

	if (!lg_prepared_is_running(sight.xid))
		sight.xid = InvalidTransactionId;
	return sight;
}

/*
 * See who is in each of the max_prepared_xacts slots.  Needs neither a
 * transaction nor a database.  One that is just being prepared shows already.
 */
void
lg_prepared_see(LgPreparedSight *sights)
{
	for (int i = 0; i < max_prepared_xacts; i++)
		sights[i] = look_at(ProcGlobal->allProcCount + i);
}

/* The slot of a prepared transaction; -1 if it is being finished. */
static int
find_slot(TransactionId xid)
{
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		if (ProcGlobal->allProcs[ProcGlobal->allProcCount + i].xid == xid)
			return ProcGlobal->allProcCount + i;
	}
	return -1;
}

/* Take over the current row of SPI's. */
static void
take_row(LgPrepared *prepared, HeapTuple row)
{
	TupleDesc desc = SPI_tuptable->tupdesc;
	bool isnull;

	prepared->xid = DatumGetTransactionId(SPI_getbinval(row, desc, 1, &isnull));
	strlcpy(prepared->gid, TextDatumGetCString(SPI_getbinval(row, desc, 2, &isnull)),
			LG_LEDGER_GID);
	prepared->prepared_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull));
	prepared->userid = DatumGetObjectId(SPI_getbinval(row, desc, 4, &isnull));
	prepared->databaseid = DatumGetObjectId(SPI_getbinval(row, desc, 5, &isnull));
	prepared->slot = find_slot(prepared->xid);
}

/*
 * Read the prepared transactions of a database, or of all with InvalidOid, into
 * the current memory context.  Those that are just being finished are left out.
 * Gids are in their database's encoding.  Needs a transaction with a snapshot.
 */
LgPrepared *
lg_prepared_read(Oid databaseid, int *n)
{
	LgPrepared *found = palloc0(sizeof(LgPrepared) * Max(max_prepared_xacts, 1));

	*n = 0;
	SPI_connect();
	if (SPI_execute(read_all, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the prepared transactions");
	for (uint64 i = 0; i < SPI_processed && *n < max_prepared_xacts; i++)
	{
		CHECK_FOR_INTERRUPTS();
		take_row(&found[*n], SPI_tuptable->vals[i]);
		if (found[*n].slot >= 0 && (!OidIsValid(databaseid) || found[*n].databaseid == databaseid))
			(*n)++;
	}
	SPI_finish();
	return found;
}

/* Is it still there, the very same? */
static bool
is_there(const LgPrepared *prepared)
{
	int n;
	LgPrepared *now = lg_prepared_read(prepared->databaseid, &n);
	bool found = false;

	for (int i = 0; i < n && !found; i++)
		found = now[i].xid == prepared->xid && now[i].prepared_at == prepared->prepared_at &&
				now[i].slot == prepared->slot && strcmp(now[i].gid, prepared->gid) == 0;
	pfree(now);
	return found;
}

/* Prove it and roll it back, in a transaction of our own.  False if it is not there. */
static bool
try_roll_back(const LgPrepared *prepared, volatile bool *done)
{
	bool proven;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	proven = is_there(prepared);
	PopActiveSnapshot();
	LG_TEST_POINT("before rollback");
	if (proven && look_at(prepared->slot).xid == prepared->xid)
	{
		FinishPreparedTransaction(prepared->gid, false);
		*done = true;
	}
	CommitTransactionCommand();
	return *done;
}

/* The current error in words; what is not to be expected goes to the server log, too. */
static void
word_error(char *outcome, Size size)
{
	ErrorData *error = CopyErrorData();

	switch (error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_OBJECT:
			strlcpy(outcome, "spared: somebody else has finished it", size);
			break;
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			strlcpy(outcome, "spared: somebody else is finishing it", size);
			break;
		default:
			EmitErrorReport();
			strlcpy(outcome, "spared: it could not be rolled back; the server log says why", size);
			break;
	}
	FreeErrorData(error);
	FlushErrorState();
}

/*
 * Prove a prepared transaction of this database once more and roll it back, as
 * ROLLBACK PREPARED does.  Outside a transaction, with a superuser's rights.
 * Returns whether it is rolled back; outcome says it in words.  Errors are
 * caught, but for what ends the process.
 */
bool
lg_prepared_roll_back(const LgPrepared *prepared, char *outcome, Size size)
{
	MemoryContext caller = CurrentMemoryContext;
	int64 began = lg_clock_read(CLOCK_MONOTONIC);
	volatile bool done = false;

	PG_TRY();
	{
		if (!try_roll_back(prepared, &done))
			strlcpy(outcome, "spared: somebody else has finished it", size);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		word_error(outcome, size);
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	if (done)
		snprintf(outcome, size, "rolled back in " INT64_FORMAT " ms",
				 (lg_clock_read(CLOCK_MONOTONIC) - began) / LG_USECS_PER_MSEC);
	return done;
}
