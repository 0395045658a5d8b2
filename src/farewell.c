/*-------------------------------------------------------------------------
 * farewell.c
 *		The victim's side: hear, prove, obey, and tell the client why.
 *
 * A session that is to be cancelled or terminated gets a note in shared memory
 * and SIGUSR2, which a regular backend otherwise ignores.  Its own handler
 * compares the note with what the session is doing at that very moment, and
 * only if it is still in the episode that was judged does it raise the same
 * interrupt against itself that SIGINT or SIGTERM would.  A session that has
 * moved on spares itself.
 *
 * The reason reaches client and server log as DETAIL and HINT of the usual
 * error, through an error-context callback.  It stands at the end of the error
 * context stack from the session's authentication on.  Errors empty that stack,
 * so it is put back whenever a transaction or subtransaction ends and after
 * every error: a handful of instructions per transaction.
 *
 * Nothing here takes a lock.  The handler may run between any two instructions
 * of the session; it reads its own status entry (giving up while that is being
 * changed), its own PGPROC and its note, and writes its note's outcome.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "libpq/libpq.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/elog.h"
#include "utils/memutils.h"

#include "compat.h"
#include "endings.h"
#include "farewell.h"
#include "setup_times.h"
#include "shared.h"

/* What this session has been told, copied so that the note can be free again. */
static struct
{
	volatile sig_atomic_t pending;
	volatile sig_atomic_t copies; /* counts changes of what follows */
	LgAction action;
	TimestampTz statement; /* that it was told in */
	bool by_hand;
	char detail[LG_DETAIL_SIZE];
	char hint[LG_HINT_SIZE];
} farewell;

static void tell_why(void *arg);
static void after_error(void *arg);
static void await_flush(void);

static ErrorContextCallback at_the_end = {.callback = tell_why};
static MemoryContextCallback when_flushed = {.func = after_error};
static bool awaiting_flush; /* when_flushed is registered */

static LgNote *
my_note(void)
{
	int slot = (int) (MyProc - ProcGlobal->allProcs);

	return slot < MaxConnections ? &lg_shared->notes[slot] : NULL;
}

/*
 * Is the error being raised the very one that our interrupt causes?  Others
 * have the same SQLSTATE: a statement timeout, RAISE in PL/pgSQL, a warning of
 * a commit that does not wait for its standby.  The untranslated text tells.
 */
static bool
is_ours(LgAction action)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData *error = CopyErrorData();
	const char *text = action == LG_ACTION_TERMINATE
						   ? "terminating connection due to administrator command"
						   : "canceling statement due to user request";
	bool ours =
		error->elevel >= ERROR && error->message_id != NULL && strcmp(error->message_id, text) == 0;

	FreeErrorData(error);
	MemoryContextSwitchTo(old);
	return ours;
}

/*
 * Reduce a text to ASCII if it would have to be converted for the client: what
 * has no counterpart there would be an error in the middle of this one, and the
 * client would be told of that instead.
 */
static void
fit_for_client(char *text)
{
	if (pg_get_client_encoding() == GetDatabaseEncoding())
		return;
	for (; *text != '\0'; text++)
	{
		if (IS_HIGHBIT_SET(*text))
			*text = '?';
	}
}

/* Has our own interrupt caused the error with that code?  Whatever comes first, once. */
static bool
is_told(int sqlstate)
{
	LgAction action = farewell.action;

	return farewell.pending &&
		   sqlstate ==
			   (action == LG_ACTION_TERMINATE ? ERRCODE_ADMIN_SHUTDOWN : ERRCODE_QUERY_CANCELED) &&
		   (action == LG_ACTION_TERMINATE ||
			farewell.statement == GetCurrentStatementStartTimestamp()) &&
		   is_ours(action);
}

/*
 * Note how a lock wait, or the session, ends, and add DETAIL and HINT to the error
 * that our own interrupt has caused.  A cancel speaks only in the statement it
 * was meant for.
 */
static void
tell_why(void *arg)
{
	int sqlstate = geterrcode();
	bool told;
	char detail[LG_DETAIL_SIZE];
	char hint[LG_HINT_SIZE];
	int copies;

	await_flush();
	told = is_told(sqlstate);
	lg_endings_note_error(sqlstate, !told			   ? LG_NOT_OURS
									: farewell.by_hand ? LG_OURS_BY_HAND
													   : LG_OURS_BY_POLICY);
	if (!told)
		return;

	/* the handler may bring another text at any instruction */
	do
	{
		copies = farewell.copies;
		pg_compiler_barrier();
		memcpy(detail, farewell.detail, LG_DETAIL_SIZE);
		memcpy(hint, farewell.hint, LG_HINT_SIZE);
		pg_compiler_barrier();
	} while (copies != farewell.copies);
	farewell.pending = false;

	errdetail_log("%s", detail); /* 19 has one of its own, which names the sender */
	fit_for_client(detail);
	errdetail("%s", detail);
	errhint("%s", hint);
}

/*
 * Put tell_why() at the end of the error context stack, unless it is there.
 * Only where every entry lies in the frame of a function that still runs:
 *
 * - at authentication, and when a transaction commits or is prepared: no error
 *   is under way, and whoever returns takes its entry off first;
 * - when a transaction or subtransaction is aborted: PG_CATCH() has set the
 *   stack back to what it was at its PG_TRY(), and PostgresMain() to NULL,
 *   before they abort; on the way out proc_exit() has emptied it;
 * - when an error is flushed, which both do after that.
 *
 * The last entry's own function takes "previous" from memory when it returns,
 * so what we write there stays the end of the stack.
 */
static void
stand_at_the_end(void)
{
	ErrorContextCallback **end = &error_context_stack;

	while (*end != NULL && *end != &at_the_end)
		end = &(*end)->previous;
	*end = &at_the_end;
}

static void
at_xact_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		stand_at_the_end();
	if (unlikely(lg_setup_times_awaited) && event == XACT_EVENT_COMMIT)
		lg_setup_times_note_ready();
}

static void
at_subxact_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		stand_at_the_end();
}

/*
 * An error outside a transaction, or in an aborted one, ends none, but empties
 * the stack all the same.  Whoever has recovered from an error, wherever, calls
 * FlushErrorState(), which resets ErrorContext, and so gets here.
 */
static void
after_error(void *arg)
{
	awaiting_flush = false;
	stand_at_the_end();
}

/* To be called again when the message under way is flushed, if it is an error. */
static void
await_flush(void)
{
	if (awaiting_flush)
		return;
	awaiting_flush = true;
	MemoryContextRegisterResetCallback(ErrorContext, &when_flushed);
}

/*
 * Does that process await a heavyweight lock since that very moment?  Reads two
 * words; of a process that is not our own, a true answer holds for that instant.
 */
bool
lg_farewell_awaits(PGPROC *proc, TimestampTz wait_start)
{
	return ((volatile PGPROC *) proc)->waitLock != NULL &&
		   pg_atomic_read_u64(&proc->waitStart) == (uint64) wait_start;
}

/*
 * Is this session, though shown as idle, already busy with its next message?  That is
 * a move where a state was proven, and none where a transaction or a session was.  It
 * reports that late: a settings file may be read in between, or somebody else
 * have the CPU.  Until the message is read, an interrupt ends the session before
 * it starts with it; from then on the statement would be the one to suffer.  Two
 * words of our own process are read.  One that is still sending the answer to
 * the last message, perhaps to a client that does not read, is idle.
 */
static bool
has_next_message(volatile PgBackendStatus *status)
{
	return (status->st_state == STATE_IDLE || status->st_state == STATE_IDLEINTRANSACTION ||
			status->st_state == STATE_IDLEINTRANSACTION_ABORTED) &&
		   !pq_is_reading_msg() && !pq_is_send_pending();
}

/*
 * Is this session still in the episode that was judged, and may it be touched?
 * What is read of our own transaction is single words of our own process.
 */
static LgSpared
examine_myself(const LgNote *note)
{
	volatile PgBackendStatus *status = MyBEEntry;
	const LgProof *proof = &note->proof;

	if (status->st_changecount & 1)
		return LG_SPARED_BUSY;
	if (proof->pid != MyProcPid || proof->backend_start != status->st_proc_start_timestamp)
		return LG_SPARED_MOVED_ON;
	if ((proof->xact_start != 0 && proof->xact_start != status->st_xact_start_timestamp) ||
		(proof->query_start != 0 && proof->query_start != status->st_activity_start_timestamp) ||
		(proof->state_change != 0 && proof->state_change != status->st_state_start_timestamp))
		return LG_SPARED_MOVED_ON;
	if (proof->wait_start != 0 && !lg_farewell_awaits(MyProc, proof->wait_start))
		return LG_SPARED_MOVED_ON;
	if (proof->state_change != 0 && has_next_message(status))
		return LG_SPARED_MOVED_ON;
	if (MyProc->syncRepState == SYNC_REP_WAITING)
		return LG_SPARED_SYNCREP;

	/*
	 * It may be about to wait for a standby; syncRepState does not tell yet.  Not after
	 * an error in a savepoint, which may be long ago.
	 */
	if (TransactionIdIsValid(MyProc->xid) && !IsTransactionState() &&
		!IsAbortedTransactionBlockState())
		return LG_SPARED_ENDING;
	if (get_backup_status() != SESSION_BACKUP_NONE)
		return LG_SPARED_BACKUP;
	if (note->action == LG_ACTION_CANCEL && status->st_state != STATE_RUNNING &&
		status->st_state != STATE_FASTPATH && status->st_state != STATE_DISABLED)
		return LG_SPARED_NOTHING;
	return LG_SPARED_NOT;
}

/* Keep what is to be said.  A terminate that is under way keeps its own words. */
static void
take_down(const LgNote *note)
{
	if (farewell.pending && farewell.action == LG_ACTION_TERMINATE)
		return;
	farewell.pending = false;
	farewell.copies++;
	farewell.action = note->action;
	farewell.by_hand = note->by_hand;
	farewell.statement = GetCurrentStatementStartTimestamp();
	memcpy(farewell.detail, note->detail, LG_DETAIL_SIZE);
	memcpy(farewell.hint, note->hint, LG_HINT_SIZE);
	pg_compiler_barrier();
	farewell.pending = true;
}

/*
 * SIGUSR2: somebody has written us a note.
 *
 * An error context stack that is empty, as between statements after an error,
 * has no frame in it that could be stale, so tell_why() may be put there even
 * from here.  If the interrupted code is about to push an entry whose
 * "previous" it has just read as NULL, or to set the stack back to NULL, our
 * words go unsaid until the next of the moments above; nothing else happens, for
 * nobody but us ever points to what we have put there.
 */
static void
handle_note(SIGNAL_ARGS)
{
	int save_errno = errno;
	LgNote *note;
	uint32 state;

	if (MyProc != NULL && MyBEEntry != NULL && !proc_exit_inprogress &&
		MyProcPid == (int) getpid() && (note = my_note()) != NULL &&
		LG_NOTE_STATE(state = pg_atomic_read_u32(&note->state)) == LG_NOTE_ARMED &&
		pg_atomic_compare_exchange_u32(&note->state, &state, LG_NOTE_NEXT(state, LG_NOTE_READ)))
	{
		LgSpared spared = note->spared_for = examine_myself(note);
		LgAction action = note->action;

		state = LG_NOTE_NEXT(state, LG_NOTE_READ);
		if (spared == LG_SPARED_NOT)
		{
			take_down(note);
			if (error_context_stack == NULL)
				error_context_stack = &at_the_end;
		}
		(void) pg_atomic_compare_exchange_u32(
			&note->state, &state,
			LG_NOTE_NEXT(state, spared == LG_SPARED_NOT ? LG_NOTE_ACTED : LG_NOTE_STALE));

		/* Last, for die() does not return when the client is gone. */
		if (spared == LG_SPARED_NOT && action == LG_ACTION_TERMINATE)
			LG_RAISE(die, SIGTERM);
		else if (spared == LG_SPARED_NOT)
			LG_RAISE(StatementCancelHandler, SIGINT);
	}

	errno = save_errno;
}

/* On the way out nobody is to signal the next process in this slot for us. */
static void
stop_listening(int code, Datum arg)
{
	my_note()->handler_pid = 0;
	lg_endings_note_exit();
}

/*
 * Begin to listen.  Called in a client session that has just authenticated.  A
 * session whose SIGUSR2 belongs to somebody else stays deaf, and so is spared: returns
 * false.
 */
bool
lg_farewell_install(void)
{
	struct sigaction act;
	LgNote *note = my_note();

	if (note == NULL || sigaction(SIGUSR2, NULL, &act) != 0 || act.sa_handler != SIG_IGN)
		return false;

	pqsignal(SIGUSR2, handle_note);
	stand_at_the_end();
	RegisterXactCallback(at_xact_event, NULL);
	RegisterSubXactCallback(at_subxact_event, NULL);
	before_shmem_exit(stop_listening, (Datum) 0);
	pg_write_barrier();
	note->handler_pid = MyProcPid;
	return true;
}

/*
 * Why a session was spared, as the ledger words it.
 */
const char *
lg_farewell_describe(LgSpared spared)
{
	switch (spared)
	{
		case LG_SPARED_NOT:
			return "not spared";
		case LG_SPARED_MOVED_ON:
			return "it moved on";
		case LG_SPARED_BUSY:
			return "it was changing its state";
		case LG_SPARED_SYNCREP:
			return "its commit waits for a synchronous standby";
		case LG_SPARED_ENDING:
			return "its transaction is just ending";
		case LG_SPARED_BACKUP:
			return "it runs a backup";
		case LG_SPARED_NOTHING:
			return "nothing to cancel";
	}
	return "unknown";
}
