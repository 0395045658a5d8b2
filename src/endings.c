/*-------------------------------------------------------------------------
 * endings.c
 *		How a session's wait or pause ended, as it says itself.
 *
 * A pass sees that a wait is over, and no more.  The waiter knows how and when:
 * from the error that ends the wait, and, where the server logs lock waits, from
 * the line it writes itself when it gets the lock.  It leaves that in its own
 * place in shared memory, for the next pass to find.
 *
 * Which of its errors ends a wait it knows from two words of its own PGPROC and of
 * its timers: the wait status says whether the last wait was granted or given up,
 * the deadlock timer when it began.  Both outlive the wait, so only the first error
 * after it is noted.  (waitStart would not do: minor releases differ in when it is
 * reset.)
 *
 * Locking: none.  The session writes between two changes of a counter, its readers
 * copy between two equal even ones.  Nothing here allocates or raises an error.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "endings.h"
#include "shared.h"

#define MOST_TRIES 100 /* to copy what is being written */

/*
 * Bytes of shared memory for all connection slots.
 */
Size
lg_endings_size(void)
{
	return MAXALIGN(mul_size(sizeof(LgEnding), MaxConnections));
}

/* This session's own place; NULL for whoever has no connection slot. */
static LgEnding *
my_ending(void)
{
	int slot;

	if (lg_shared == NULL || MyProc == NULL)
		return NULL;
	slot = (int) (MyProc - ProcGlobal->allProcs);
	return slot < MaxConnections ? &lg_shared->endings[slot] : NULL;
}

/* Begin to write; what the slot's last session said goes. */
static void
begin_change(LgEnding *ending)
{
	pg_atomic_write_u32(&ending->changes, pg_atomic_read_u32(&ending->changes) + 1);
	pg_write_barrier();
	if (ending->pid != MyProcPid)
	{
		ending->pid = MyProcPid;
		ending->wait_start = ending->session_at = 0;
	}
}

static void
end_change(LgEnding *ending)
{
	pg_write_barrier();
	pg_atomic_write_u32(&ending->changes, pg_atomic_read_u32(&ending->changes) + 1);
}

/* Does an error with that code end the session, as a rule? */
static bool
ends_session(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_DATABASE_DROPPED:
		case ERRCODE_IDLE_SESSION_TIMEOUT:
		case ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT:
		case LG_ERRCODE_TRANSACTION_TIMEOUT:
		case ERRCODE_CONNECTION_FAILURE:
		case ERRCODE_CONNECTION_DOES_NOT_EXIST:
			return true;
	}
	return false;
}

/* Can an error with that code end a lock wait? */
static bool
ends_wait(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
			return true;
	}
	return ends_session(sqlstate);
}

/*
 * An error is being raised in this session: if it ends a lock wait, or the session,
 * say so.  For any error, of any level; a few instructions if it does neither.
 */
void
lg_endings_note_error(int sqlstate, LgOurs ours)
{
	LgEnding *ending;
	TimestampTz wait_start = 0;
	TimestampTz now;

	if (!ends_wait(sqlstate) || (ending = my_ending()) == NULL)
		return;
	if (MyProc->waitStatus == PROC_WAIT_STATUS_ERROR)
		wait_start = get_timeout_start_time(DEADLOCK_TIMEOUT);
	if (ending->pid == MyProcPid && ending->wait_start == wait_start)
		wait_start = 0; /* an earlier error has ended it */
	if (wait_start == 0 && !ends_session(sqlstate))
		return;

	now = GetCurrentTimestamp();
	begin_change(ending);
	if (wait_start != 0)
	{
		ending->wait_start = wait_start;
		ending->at = now;
		ending->duration = 0;
		ending->sqlstate = sqlstate;
		ending->ours = ours;
	}
	if (ends_session(sqlstate))
	{
		ending->session_at = now;
		ending->session_statement = 0;
		ending->session_sqlstate = sqlstate;
		ending->session_ours = ours;
	}
	end_change(ending);
}

/*
 * This session ends, while it still holds what it has: say when, unless the error
 * has that ends it.  One that it was in an earlier state has not.
 */
void
lg_endings_note_exit(void)
{
	LgEnding *ending = my_ending();

	if (ending == NULL || MyBEEntry == NULL ||
		(ending->pid == MyProcPid && ending->session_at >= MyBEEntry->st_state_start_timestamp))
		return;
	begin_change(ending);
	ending->session_at = GetCurrentTimestamp();
	ending->session_sqlstate = 0;
	ending->session_ours = LG_NOT_OURS;
	ending->session_statement =
		MyBEEntry->st_xact_start_timestamp == 0 ? GetCurrentStatementStartTimestamp() : 0;
	end_change(ending);
}

/*
 * A message goes to the server log: if it is this session's own, that it got the
 * lock it has waited for, note how long it took.  For messages of any level; two
 * comparisons for most of them.
 */
void
lg_endings_note_log(const ErrorData *error)
{
	LgEnding *ending;
	TimestampTz wait_start;
	TimestampTz now;

	if (error->elevel != LOG || error->message_id == NULL ||
		strcmp(error->message_id, "process %d acquired %s on %s after %ld.%03d ms") != 0 ||
		(ending = my_ending()) == NULL)
		return;

	/* as the server computes it; the number in the message may be in any language */
	wait_start = get_timeout_start_time(DEADLOCK_TIMEOUT);
	now = GetCurrentTimestamp();
	begin_change(ending);
	ending->wait_start = wait_start;
	ending->at = now;
	ending->duration = Max(now - wait_start, 1);
	ending->sqlstate = 0;
	ending->ours = LG_NOT_OURS;
	end_change(ending);
}

/*
 * Copy what the session with that PID in that slot has said last, whether it is
 * still there or not.  Returns false if it has said nothing, or another has since.
 */
bool
lg_endings_of(int slot, int pid, LgEnding *ending)
{
	LgEnding *place;

	if (slot >= MaxConnections)
		return false;
	place = &lg_shared->endings[slot];
	for (int tries = 0; tries < MOST_TRIES; tries++)
	{
		uint32 before = pg_atomic_read_u32(&place->changes);

		pg_read_barrier();
		memcpy(ending, place, sizeof(LgEnding));
		pg_read_barrier();
		if ((before & 1) == 0 && before == pg_atomic_read_u32(&place->changes))
			return ending->pid == pid;
	}
	return false;
}
