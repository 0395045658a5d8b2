/*-------------------------------------------------------------------------
 * state.h
 *		What is remembered of policies and sessions from pass to pass.
 *-------------------------------------------------------------------------
 */
#ifndef LG_STATE_H
#define LG_STATE_H

#include "limiter.h"
#include "policies.h"

/* Why a policy does nothing now. */
typedef enum LgIdleWhy
{
	LG_IDLE_NOT, /* it is in force, and acts */
	LG_IDLE_DISABLED,
	LG_IDLE_SCHEDULE,
	LG_IDLE_RUNS_ON
} LgIdleWhy;

/*
 * What is remembered of a policy from pass to pass, by its place in the set.
 * Written by whoever makes a pass, under lg_shared->lock, exclusively; he alone
 * reads it without.
 */
typedef struct LgPolicyState
{
	char name[NAMEDATALEN]; /* whose state it is; another name: nobody's yet */
	bool engaged;			/* connections_above was passed, connections_until not yet reached */
	LgIdleWhy idle_why;
	int fruitless;		/* actions in a row without relief */
	int64 paused_until; /* by the breaker, monotonic; 0 or past = not paused */
	TimestampTz last_action;
	uint64 spared;	   /* sessions that something protected, once per episode */
	uint64 over_limit; /* sessions that were hit and held back by a limit, once per episode */
	LgLimiter acted;
	LgLimiter rehearsed;
	LgLimiter noted; /* entries about sessions on which nobody acted */
} LgPolicyState;

/*
 * The ledger entry of a policy and an episode of a session, or a prepared
 * transaction.  Written and read only by whoever makes a pass.
 */
typedef struct LgEpisodeMark
{
	TimestampTz since; /* the episode; another: nothing is recorded of this one */
	uint64 entry;
	uint32 again_at; /* monotonic, in seconds: it may be tried again; 0 = it was the last word */
	uint8 acted; /* LgPolicyAction: the strongest that was signalled; LG_POLICY_LOG: nothing yet */
	bool rehearsed;
	bool noted;	  /* that nobody acts has been counted, and recorded or left */
	bool unmeant; /* its texts are not those that the policy means */
} LgEpisodeMark;

/* A session seen waiting for its client.  Likewise. */
typedef struct LgStall
{
	TimestampTz state_change; /* of the statement it was seen in */
	TimestampTz since;
	int changes; /* LgSession.changes then */
	uint64 pass; /* the newest that saw it so */
} LgStall;

/* When a session was last seen waiting for a lock.  Likewise. */
typedef struct LgLastWait
{
	int pid;
	TimestampTz seen;
} LgLastWait;

/*
 * Has the policy done in the episode of this mark whatever it can, for now?  One that has
 * become stronger has not.  now: by the monotonic clock, in microseconds.
 */
static inline bool
lg_state_is_done(const LgEpisodeMark *mark, const LgLocalPolicy *local, int64 now)
{
	return mark->acted != LG_POLICY_LOG && mark->acted >= local->action &&
		   (mark->again_at == 0 || now / USECS_PER_SEC < mark->again_at);
}

extern Size lg_state_policies_size(void);
extern Size lg_state_marks_size(void);
extern Size lg_state_stalls_size(void);
extern Size lg_state_last_waits_size(void);
extern int lg_state_count_slots(void);
extern LgPolicyState *lg_state_of(const LgLocalPolicy *local);
extern LgEpisodeMark *lg_state_marks(int slot);
extern LgEpisodeMark *lg_state_mark(const LgLocalPolicy *local, int slot);
extern bool lg_state_is_over(const LgLocalPolicy *local, int slot, TimestampTz since, int64 now);
extern void lg_state_let_rest(LgEpisodeMark *mark, LgTime now);
extern void lg_state_forget_unmeant(uint64 generation);
extern TimestampTz lg_state_last_waiting(const LgSession *session);
extern bool lg_state_enforced(void);
extern bool lg_state_outdated(void);
extern bool lg_state_paused(TimestampTz now);

#endif /* LG_STATE_H */
