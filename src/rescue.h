/*-------------------------------------------------------------------------
 * rescue.h
 *		One pass over all policies: who is hit, and what is done about it.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RESCUE_H
#define LG_RESCUE_H

#include "clock.h"
#include "limits.h"
#include "lock_graph.h"
#include "policies.h"
#include "utils/hsearch.h"

/* Why a policy does nothing now. */
typedef enum LgIdleWhy
{
	LG_IDLE_NOT, /* it is in force, and acts */
	LG_IDLE_DISABLED,
	LG_IDLE_SCHEDULE,
	LG_IDLE_RUNS_ON,
	LG_IDLE_NO_OWNER
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
	int fruitless;			  /* actions in a row without relief */
	TimestampTz paused_until; /* by the breaker; 0 or past = not paused */
	TimestampTz last_action;
	uint64 over_limit; /* sessions that were hit and held back by a limit, once per episode */
	LgLimiter acted;
	LgLimiter rehearsed;
} LgPolicyState;

/*
 * The ledger entry of a policy and a session's episode.  Written and read only
 * by whoever makes a pass.
 */
typedef struct LgEpisodeMark
{
	TimestampTz since; /* the episode; another: nothing is recorded of this one */
	uint64 entry;
	bool acted; /* its session was signalled, or spared for good */
	bool rehearsed;
} LgEpisodeMark;

/* A session seen waiting for its client.  Likewise. */
typedef struct LgStall
{
	TimestampTz state_change; /* of the statement it was seen in */
	TimestampTz since;
} LgStall;

/* When a session was last seen waiting for a lock.  Likewise. */
typedef struct LgLastWait
{
	int pid;
	TimestampTz seen;
} LgLastWait;

/* A session, or prepared transaction, and what one policy makes of it. */
typedef struct LgCandidate
{
	LgLocalPolicy *local;
	LgSession *session;
	int node; /* in the graph; -1 = none */
	LgFacts facts;
	TimestampTz since; /* the age's start, as it is: names the episode */
	LgWhy why;
	bool repeat;	/* hit before in this episode, and dealt with */
	bool rehearsal; /* nothing is to be done for real */
} LgCandidate;

/* One pass over the policies. */
typedef struct LgRescue
{
	LgTime now;
	LgServerFacts server;
	LgLocalPolicies *policies;
	LgLocalPolicy *only;  /* that policy and no other, enabled and scheduled or not */
	bool all;			  /* keep those that are not hit, too */
	bool rehearse;		  /* act on nobody */
	TimestampTz deadline; /* when the next session comes to violate a limit; 0 = none known */
	int64 shortest;		  /* limit in force, in microseconds; 0 = none */
	bool opened;		  /* some policy can hit somebody */
	bool near_mark;		  /* few slots below a connections_above */
	int waiting;		  /* sessions that wait for a lock */
	int n_in_force[LG_TARGETS];
	LgLocalPolicy *
		*in_force[LG_TARGETS];	  /* that can hit anybody now; shortest min_duration first */
	HTAB *same_queries;			  /* NULL unless a policy asks */
	const LgLockGraph *collected; /* NULL when nobody waits */
	LgLockGraph *graph;			  /* NULL unless a policy asks, or nobody waits */
	int n_candidates;
	int room;
	LgCandidate *candidates;
} LgRescue;

extern Size lg_policy_states_size(void);
extern Size lg_episode_marks_size(void);
extern Size lg_stalls_size(void);
extern Size lg_last_waits_size(void);
extern LgRescue *lg_rescue_begin(LgTime now, const LgLockGraph *collected, LgLocalPolicy *only,
								 bool all);
extern void lg_rescue_consider(LgRescue *rescue, const LgSession *session);
extern void lg_rescue_decide(LgRescue *rescue);
extern LgPolicyState *lg_rescue_state(const LgLocalPolicy *local);
extern LgEpisodeMark *lg_rescue_mark(const LgLocalPolicy *local, int slot);
extern bool lg_rescue_paused(TimestampTz now);

#endif /* LG_RESCUE_H */
