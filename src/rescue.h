/*-------------------------------------------------------------------------
 * rescue.h
 *		One pass over all policies: who is hit, and what is done about it.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RESCUE_H
#define LG_RESCUE_H

#include "clock.h"
#include "limiter.h"
#include "lock_graph.h"
#include "policies.h"
#include "prepared.h"
#include "shared.h"
#include "state.h"
#include "utils/hsearch.h"

/* A session, or prepared transaction, and what one policy makes of it. */
typedef struct LgCandidate
{
	LgLocalPolicy *local;
	LgSession *session;			/* of a prepared transaction: its slot, xid, database and role */
	const LgPrepared *prepared; /* NULL for a session */
	uint64 entry;				/* in the ledger, once there is one; 0 = none */
	int node;					/* in the graph; -1 = none */
	LgFacts facts;
	TimestampTz since; /* the age's start, as it is: names the episode */
	LgWhy why;
	bool repeat;	/* hit before in this episode, and dealt with */
	bool rehearsal; /* nothing is to be done for real */
	bool planned;	/* it is its turn in this pass, and not for a rehearsal */
	bool dooms;		/* it is to be rolled back as soon as the pass is over */
} LgCandidate;

/* One pass over the policies. */
typedef struct LgRescue
{
	LgTime now;
	LgServerFacts server;
	LgLocalPolicies *policies;
	LgLocalPolicy *only; /* that policy and no other, enabled and scheduled or not */
	bool all;			 /* keep those that are not hit, too */
	bool rehearse;		 /* act on nobody */
	bool outdated;		 /* nor because settings have changed that this process has not (state.c) */
	TimestampTz deadline; /* when the next session comes to violate a limit; 0 = none known */
	int64 shortest;		  /* limit in force, in microseconds; 0 = none */
	bool opened;		  /* some policy can hit somebody */
	bool near_mark;		  /* few slots below a connections_above */
	int waiting;		  /* sessions that wait for a lock */
	int planned;		  /* actions that max_actions_per_minute will count */
	int planned_ends;	  /* sessions to be terminated */
	bool *planned_slots;  /* by process slot: one of these */
	int n_in_force[LG_TARGETS];
	LgLocalPolicy *
		*in_force[LG_TARGETS];	  /* that can hit anybody now; shortest min_duration first */
	HTAB *same_queries;			  /* NULL unless a policy asks */
	HTAB *kinds;				  /* of sessions (kinds.h); NULL until somebody asks */
	const LgLockGraph *collected; /* NULL when nobody waits */
	LgLockGraph *graph;			  /* NULL unless a policy asks, or nobody waits */
	int n_candidates;
	int room;
	LgCandidate *candidates;
} LgRescue;

/* How policies stand, for those who count them. */
typedef enum LgStanding
{
	LG_IN_FORCE,
	LG_NOT_IN_FORCE,
	LG_PAUSED, /* all of them, by lifeguard.pause() */
	LG_PAUSED_BY_BREAKER,
	LG_STANDINGS /* how many there are */
} LgStanding;

/* What is said of those on whom a policy would act otherwise. */
#define LG_WHY_OUTDATED "; settings were reloaded since the statement began"

extern LgRescue *lg_rescue_begin(LgTime now, LgLocalPolicies *policies,
								 const LgLockGraph *collected, LgLocalPolicy *only, bool all);
extern void lg_rescue_consider(LgRescue *rescue, const LgSession *session);
extern void lg_rescue_consider_prepared(LgRescue *rescue, const LgPrepared *prepared);
extern void lg_rescue_decide(LgRescue *rescue);

/* rescue_functions.c */
extern void lg_rescue_say_outdated(void);
extern void lg_rescue_count_policies(const LgShared *copy, int counts[LG_STANDINGS]);

#endif /* LG_RESCUE_H */
