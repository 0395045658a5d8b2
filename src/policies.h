/*-------------------------------------------------------------------------
 * policies.h
 *		The policies as published, and this process's own copy of them.
 *-------------------------------------------------------------------------
 */
#ifndef LG_POLICIES_H
#define LG_POLICIES_H

#include "pgtime.h"
#include "policy.h"

#define LG_PROBLEM_SIZE 160

/*
 * The set in shared memory.  Guarded by lg_shared->policies_lock.  A policy
 * keeps its place as long as it exists under its name.
 */
typedef struct LgPolicySet
{
	uint64 generation;		  /* counts changes; 0 = nothing has been published yet */
	TimestampTz published_at; /* of the newest change */
	TimestampTz read_at;	  /* when the table was last seen; 0 = never */
	TimestampTz fails_since;  /* it cannot be read since; 0 = it can */
	char problem[160];		  /* why, or why nothing is published; empty = all is well */
	int n;					  /* policies there are */
	Oid databaseid;			  /* where the table is, and whose encoding its texts have */
	int capacity;			  /* places in policies[] */
	LgPolicy policies[FLEXIBLE_ARRAY_MEMBER];
} LgPolicySet;

/* One policy, ready to be used in this process. */
typedef struct LgLocalPolicy
{
	LgPolicy *policy; /* elsewhere, for it is large, and a walk over sessions asks each of them */
	int place;		  /* in the set, and in everything that is kept per policy */
	int needs;		  /* LG_NEEDS_... */
	int index;		  /* in this copy */
	LgPolicyAction action; /* the policy's */
	bool any_database;	   /* neither databases nor except_databases is given */
	int64 limit;		   /* lg_policy_limit() */

	pg_tz *zone;
	int64 checked_minute; /* for which in_schedule was worked out */
	bool in_schedule;
} LgLocalPolicy;

/* All of them. */
typedef struct LgLocalPolicies
{
	uint64 generation;
	Oid databaseid; /* where they come from, and whose encoding their texts have */
	int n;
	LgLocalPolicy *policies;
	int n_by_target[LG_TARGETS];
	LgLocalPolicy **by_target[LG_TARGETS]; /* enabled ones, shortest min_duration first */
} LgLocalPolicies;

extern Size lg_policies_size(void);
extern void lg_policies_init(LgPolicySet *set);
extern void lg_policies_publish(const LgPolicy *policies, int n, const char *problem,
								TimestampTz now);
extern void lg_policies_withdraw(const char *problem, TimestampTz now);
extern void lg_policies_note_failure(const char *problem, TimestampTz now);
extern void lg_policies_describe(LgPolicySet *head);
extern LgLocalPolicies *lg_policies_alone(const LgPolicy *policy);
extern uint64 lg_policies_generation(void);
extern LgLocalPolicies *lg_policies_get(void);
extern LgLocalPolicy *lg_policies_find(LgLocalPolicies *policies, const char *name);
extern bool lg_policies_in_schedule(LgLocalPolicy *local, TimestampTz now);

#endif /* LG_POLICIES_H */
