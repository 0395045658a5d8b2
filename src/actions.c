/*-------------------------------------------------------------------------
 * actions.c
 *		Act on a session: prove, note, signal, confirm.
 *
 * The only file that sends a signal.  A victim is proven twice: here, under
 * ProcArrayLock, which keeps its PID from passing to another process until the
 * signal is out, and by its own handler (farewell.c), which knows at every
 * instant what the session is doing.
 *
 * Whom a note belongs to: a note is free, or its writer's.  The writer frees
 * it when it has seen what came of it, or on its way out.  A note whose session
 * is gone, or that is older than ABANDONED, counts as free all the same.  The
 * state word counts the claims, so whoever lost a note that way cannot touch
 * the next one.
 *
 * Locking: ProcArrayLock, shared, for one victim at a time; nothing is
 * allocated or reported under it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "actions.h"
#include "clock.h"
#include "shared.h"
#include "test_point.h"

#define ABANDONED (30 * USECS_PER_SEC)

static LgNote *
note_of(const LgActing *acting)
{
	return &lg_shared->notes[acting->victim.slot];
}

/* Is that note nobody's any more, though nobody has freed it? */
static bool
abandoned(const LgNote *note, const LgSession *victim, int64 now)
{
	return note->proof.pid != victim->pid || note->proof.backend_start != victim->backend_start ||
		   now - note->written_at > ABANDONED;
}

/* Make the note ours; false if somebody else is at work with it. */
static bool
claim_note(LgNote *note, LgActing *acting, int64 now)
{
	uint32 state = pg_atomic_read_u32(&note->state);

	pg_read_barrier();
	if (LG_NOTE_STATE(state) == LG_NOTE_CLAIMED ||
		(LG_NOTE_STATE(state) != LG_NOTE_FREE && !abandoned(note, &acting->victim, now)))
		return false;
	acting->claim = LG_NOTE_CLAIM(state);
	return pg_atomic_compare_exchange_u32(&note->state, &state, acting->claim);
}

static void
write_note(LgNote *note, const LgActing *acting, const LgProof *proof, const LgReason *reason,
		   int64 now)
{
	note->written_at = now;
	note->proof = *proof;
	note->action = acting->action;
	note->spared_for = LG_SPARED_NOT;
	note->by_hand = reason->by_hand;
	strlcpy(note->detail, reason->detail, LG_DETAIL_SIZE);
	strlcpy(note->hint, reason->hint, LG_HINT_SIZE);
}

/* What became of our note; LG_NOTE_FREE if it is no longer ours. */
static LgNoteState
state_of(const LgActing *acting)
{
	uint32 state = pg_atomic_read_u32(&note_of(acting)->state);

	pg_read_barrier();
	return LG_NOTE_NEXT(state, LG_NOTE_CLAIMED) == acting->claim
			   ? (LgNoteState) LG_NOTE_STATE(state)
			   : LG_NOTE_FREE;
}

/* Free our note if it is in that state. */
static bool
free_from(const LgActing *acting, LgNoteState state)
{
	uint32 expected = LG_NOTE_NEXT(acting->claim, state);

	return pg_atomic_compare_exchange_u32(&note_of(acting)->state, &expected,
										  LG_NOTE_NEXT(acting->claim, LG_NOTE_FREE));
}

/* Does the session still match?  The caller holds ProcArrayLock. */
static bool
still_matches(const LgSession *victim, const LgProof *proof)
{
	PGPROC *proc = BackendPidGetProcWithLock(proof->pid);
	LgSession now;

	return proc == &ProcGlobal->allProcs[victim->slot] &&
		   lg_sessions_read_one(victim->slot, &now) && now.pid == proof->pid &&
		   now.backend_type == B_BACKEND && now.backend_start == proof->backend_start &&
		   (proof->xact_start == 0 || now.xact_start == proof->xact_start) &&
		   (proof->query_start == 0 || now.query_start == proof->query_start) &&
		   (proof->state_change == 0 || now.state_change == proof->state_change) &&
		   (proof->wait_start == 0 || lg_farewell_awaits(proc, proof->wait_start));
}

/*
 * Prove a victim, leave it a note and signal it.  acting->victim and ->action
 * are given; progress tells how it went.  When that is LG_PROGRESS_PENDING,
 * the caller goes on with lg_actions_watch(); in every case it ends with
 * lg_actions_release().  Takes ProcArrayLock, shared.  Raises nothing.
 */
void
lg_actions_signal(LgActing *acting, const LgProof *proof, const LgReason *reason)
{
	LgNote *note = note_of(acting);
	int64 now = lg_clock_read(CLOCK_MONOTONIC);
	bool sent = false;

	acting->spared = LG_SPARED_NOT;
	acting->signalled_at = now;
	acting->ended_at = 0;
	acting->obeyed = false;
	if (!claim_note(note, acting, now))
	{
		acting->progress = LG_PROGRESS_CONTENDED;
		return;
	}
	write_note(note, acting, proof, reason, now);
	LG_TEST_POINT("before proof");

	/*
	 * Exit removes a process from the ProcArray, under the lock exclusively,
	 * before its slot and PID can be another's; so while we hold it shared,
	 * the PID is the victim's.  handler_pid is the victim's own to write, and
	 * it takes it back before that.
	 */
	LWLockAcquire(ProcArrayLock, LW_SHARED);
	if (!still_matches(&acting->victim, proof))
		acting->progress = LG_PROGRESS_GONE;
	else if (note->handler_pid != proof->pid)
		acting->progress = LG_PROGRESS_DEAF;
	else
	{
		pg_write_barrier();
		pg_atomic_write_u32(&note->state, LG_NOTE_NEXT(acting->claim, LG_NOTE_ARMED));
		LG_TEST_POINT("between proof and signal");
		sent = kill(proof->pid, SIGUSR2) == 0;
		acting->progress = sent ? LG_PROGRESS_PENDING : LG_PROGRESS_GONE;
	}
	LWLockRelease(ProcArrayLock);
	LG_TEST_POINT("after signal");

	if (!sent)
		lg_actions_release(acting);
}

/* What the victim has answered, if our note is still ours. */
static void
hear(LgActing *acting)
{
	switch (state_of(acting))
	{
		case LG_NOTE_ACTED:
			acting->obeyed = true;
			break;
		case LG_NOTE_STALE:
			acting->spared = note_of(acting)->spared_for;
			acting->progress = LG_PROGRESS_SPARED;
			break;
		default:
			break;
	}
}

/* Has the statement that was to be cancelled ended?  Unknown while nothing is tracked. */
static bool
statement_ended(const LgSession *victim, const LgSession *now)
{
	return now->state != STATE_DISABLED &&
		   (now->query_start != victim->query_start ||
			(now->state != STATE_RUNNING && now->state != STATE_FASTPATH));
}

/*
 * Look how far an action has come.  A terminated session is done when it is
 * gone, a cancelled one when its statement has ended.  May be called after
 * lg_actions_release(), too, to learn that a survivor has ended at last.  Takes
 * no lock.
 */
void
lg_actions_watch(LgActing *acting)
{
	LgSession now;
	bool readable;
	bool here;

	if (acting->progress != LG_PROGRESS_PENDING)
		return;

	/*
	 * In this order: once it is gone, nobody changes our note any more.  On its
	 * way out it loses its status first; whoever waits for its connection slot
	 * waits for more than that.
	 */
	readable = lg_sessions_read_one(acting->victim.slot, &now) && now.pid == acting->victim.pid &&
			   now.backend_start == acting->victim.backend_start;
	here = readable || (acting->action == LG_ACTION_TERMINATE &&
						lg_sessions_slot_pid(acting->victim.slot) == acting->victim.pid);
	pg_read_barrier();
	hear(acting);
	if (acting->progress != LG_PROGRESS_PENDING)
		return;

	if (!here)
		acting->progress = acting->obeyed ? LG_PROGRESS_DONE : LG_PROGRESS_GONE;
	else if (acting->action == LG_ACTION_CANCEL && acting->obeyed &&
			 statement_ended(&acting->victim, &now))
		acting->progress = LG_PROGRESS_DONE;
	if (acting->progress == LG_PROGRESS_DONE)
		acting->ended_at = lg_clock_read(CLOCK_MONOTONIC);
}

/*
 * Free the note of an action that is over, or that nobody will watch any more.
 * One that the victim has not yet read is taken back: nothing comes of it.  One
 * that it reads in this instant is left to be found abandoned.  May be called
 * again.  Takes no lock, raises nothing.
 */
void
lg_actions_release(LgActing *acting)
{
	if (acting->progress == LG_PROGRESS_CONTENDED)
		return; /* never ours */
	if (free_from(acting, LG_NOTE_ARMED) && acting->progress == LG_PROGRESS_PENDING)
		acting->progress = LG_PROGRESS_UNANSWERED;
	if (acting->progress == LG_PROGRESS_PENDING)
		hear(acting);
	(void) (free_from(acting, LG_NOTE_CLAIMED) || free_from(acting, LG_NOTE_ACTED) ||
			free_from(acting, LG_NOTE_STALE));
}

/*
 * What came of an action so far, as caller and ledger are told.  Returns the
 * buffer, which LG_OUTCOME_SIZE bytes are enough for.  Allocates nothing.
 */
const char *
lg_actions_describe(const LgActing *acting, char *buffer, Size size)
{
	const char *outcome = "signalled";

	switch (acting->progress)
	{
		case LG_PROGRESS_DONE:
			snprintf(buffer, size, "%s in " INT64_FORMAT " ms",
					 acting->action == LG_ACTION_TERMINATE ? "terminated" : "cancelled",
					 (acting->ended_at - acting->signalled_at) / LG_USECS_PER_MSEC);
			return buffer;
		case LG_PROGRESS_SPARED:
			snprintf(buffer, size, "spared: %s", lg_farewell_describe(acting->spared));
			return buffer;
		case LG_PROGRESS_GONE:
			outcome = "spared: it moved on";
			break;
		case LG_PROGRESS_DEAF:
			outcome = "spared: it does not listen to pg_lifeguard";
			break;
		case LG_PROGRESS_UNANSWERED:
			outcome = "spared: it did not answer";
			break;
		case LG_PROGRESS_CONTENDED:
			outcome = "already acted on";
			break;
		case LG_PROGRESS_PENDING:
			if (lg_clock_read(CLOCK_MONOTONIC) - acting->signalled_at >= LG_SURVIVAL)
				outcome = "survived";
			break;
	}
	strlcpy(buffer, outcome, size);
	return buffer;
}
