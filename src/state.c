/*-------------------------------------------------------------------------
 * state.c
 *		What is remembered of policies and sessions from pass to pass.
 *
 * Of each policy, at its place in the set: limits, breaker, mark.  Of each policy
 * and each slot that a process or prepared transaction can have: the episode that
 * has been dealt with.  Of each slot: since when its client makes it wait, and
 * when it was last seen waiting for a lock.
 *
 * Locking: only who makes a pass writes here.  What others show is changed under
 * lg_shared->lock, exclusively.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/proc.h"

#include "settings.h"
#include "shared.h"
#include "state.h"

#define REST (10 * USECS_PER_SEC) /* before an episode is tried again */

/*
 * Bytes of shared memory for what is kept per policy, per policy and session,
 * and per session.
 */
Size
lg_state_policies_size(void)
{
	return MAXALIGN(mul_size(sizeof(LgPolicyState), lg_max_policies));
}

/*
 * How many slots a candidate can have: those of all processes, then those of
 * prepared transactions.
 */
int
lg_state_count_slots(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts;
}

Size
lg_state_marks_size(void)
{
	return MAXALIGN(
		mul_size(sizeof(LgEpisodeMark), mul_size(lg_max_policies, lg_state_count_slots())));
}

Size
lg_state_stalls_size(void)
{
	return MAXALIGN(mul_size(sizeof(LgStall), MaxConnections));
}

Size
lg_state_last_waits_size(void)
{
	return MAXALIGN(mul_size(sizeof(LgLastWait), MaxConnections));
}

/*
 * What is remembered of a policy; of a new one under an old place, nothing.
 * Takes lg_shared->lock for a moment then.  The caller makes a pass.
 */
LgPolicyState *
lg_state_of(const LgLocalPolicy *local)
{
	LgPolicyState *state = &lg_shared->states[local->place];

	if (strcmp(state->name, local->policy->name) != 0)
	{
		for (int slot = 0; slot < lg_state_count_slots(); slot++)
			memset(lg_state_mark(local, slot), 0, sizeof(LgEpisodeMark));
		LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
		memset(state, 0, sizeof(LgPolicyState));
		strlcpy(state->name, local->policy->name, NAMEDATALEN);
		LWLockRelease(lg_shared->lock);
	}
	return state;
}

/*
 * What is recorded of the session, or prepared transaction, in a slot, by place
 * of the policy; of one policy.  The caller makes a pass.
 */
LgEpisodeMark *
lg_state_marks(int slot)
{
	Assert(slot >= 0 && slot < lg_state_count_slots());
	return &lg_shared->marks[(Size) slot * lg_max_policies];
}

LgEpisodeMark *
lg_state_mark(const LgLocalPolicy *local, int slot)
{
	return &lg_state_marks(slot)[local->place];
}

/*
 * What was tried is not the policy's last word on this episode: after 10 s it is judged
 * anew.  The caller makes a pass.
 */
void
lg_state_let_rest(LgEpisodeMark *mark, LgTime now)
{
	mark->again_at = (uint32) ((now.mono + REST) / USECS_PER_SEC + 1);
}

/*
 * Has the policy done with this episode whatever it can, for now, by the monotonic
 * clock in microseconds?  The caller makes a pass.
 */
bool
lg_state_is_over(const LgLocalPolicy *local, int slot, TimestampTz since, int64 now)
{
	const LgEpisodeMark *mark = lg_state_mark(local, slot);

	return mark->since == since && lg_state_is_done(mark, local, now);
}

/*
 * Policies have changed: whom they do not mean has to be asked anew.  For who makes
 * a pass, with the generation of his policies.
 */
void
lg_state_forget_unmeant(uint64 generation)
{
	Size n = lg_state_marks_size() / sizeof(LgEpisodeMark);

	if (lg_shared->marks_generation == generation)
		return;
	for (Size i = 0; i < n; i++)
		lg_shared->marks[i].unmeant = false;
	lg_shared->marks_generation = generation;
}

/*
 * When the session was last seen waiting for a lock; 0 = never.
 */
TimestampTz
lg_state_last_waiting(const LgSession *session)
{
	const LgLastWait *last = &lg_shared->last_waits[session->slot];

	return session->slot < MaxConnections && last->pid == session->pid ? last->seen : 0;
}

/*
 * Does pg_lifeguard.enforce allow signals?  A session in a long statement has not
 * heard of a reload yet, the collector has; either may say no.
 */
bool
lg_state_enforced(void)
{
	return lg_enforce && lg_shared->enforce;
}

/*
 * Have settings been reloaded that this process does not have yet, and will not have
 * before its statement ends?  Who is protected now it cannot know.  The collector
 * reloads before each pass, so what comes in the middle of one is the next one's.
 */
bool
lg_state_outdated(void)
{
	return ConfigReloadPending && lg_shared->collector_pid != MyProcPid;
}

/*
 * Is everything paused, by lifeguard.pause()?  The caller makes a pass, or
 * takes it for what it was a moment ago.
 */
bool
lg_state_paused(TimestampTz now)
{
	return lg_shared->paused_until > now;
}
