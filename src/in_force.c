/*-------------------------------------------------------------------------
 * in_force.c
 *		Which policies can hit anybody in this pass.
 *
 * Asked once, before the walk over the sessions, so that each session is compared
 * only with policies that are enabled, run on this server, are within their schedule,
 * and whose conditions of harm can be met at all: the pool is above the mark, somebody
 * waits.  What of that outlives the pass, whether a policy is engaged and why it is
 * idle, is kept in its state.
 *
 * Locking: lg_shared->lock for a moment, when a policy's state changes.  The caller
 * makes a pass (lg_shared_begin_pass).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "in_force.h"
#include "shared.h"

#define NEAR_MARK 0.05 /* of the usable slots */

/* Why a policy does nothing now, as far as it depends on nobody. */
static LgIdleWhy
why_idle(LgRescue *rescue, LgLocalPolicy *local)
{
	const LgPolicy *policy = local->policy;

	if (rescue->only == NULL && !policy->enabled)
		return LG_IDLE_DISABLED;
	if (policy->runs_on != LG_RUNS_ON_BOTH &&
		(policy->runs_on == LG_RUNS_ON_STANDBY) != rescue->server.standby)
		return LG_IDLE_RUNS_ON;
	if (rescue->only == NULL && !lg_policies_in_schedule(local, rescue->now.wall))
		return LG_IDLE_SCHEDULE;
	return LG_IDLE_NOT;
}

/*
 * Has the pool passed the policy's mark, and, when it is engaged, not yet come back
 * below the other?
 */
bool
lg_in_force_passes_mark(const LgRescue *rescue, const LgLocalPolicy *local, bool engaged)
{
	const LgPolicy *policy = local->policy;
	double share =
		rescue->server.usable > 0 ? (double) rescue->server.used / rescue->server.usable : 1;
	double until =
		policy->connections_until > 0 ? policy->connections_until : policy->connections_above;

	if (share > policy->connections_above)
		return true;
	return engaged && share >= until && until < policy->connections_above;
}

/* Bring a policy's state up to date.  Returns whether it is in force. */
static bool
check_in_force(LgRescue *rescue, LgLocalPolicy *local)
{
	LgPolicyState *state = lg_state_of(local);
	LgIdleWhy idle = why_idle(rescue, local);
	bool engaged = false;

	if (local->policy->connections_above > 0)
	{
		double near = local->policy->connections_above - NEAR_MARK;

		engaged = lg_in_force_passes_mark(rescue, local, state->engaged);
		if (idle == LG_IDLE_NOT && (engaged || rescue->server.used >= near * rescue->server.usable))
			rescue->near_mark = true;
	}

	/* looking at a policy by hand changes nothing about it */
	if (rescue->only == NULL && (state->idle_why != idle || state->engaged != engaged))
	{
		LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
		state->idle_why = idle;
		state->engaged = engaged;
		LWLockRelease(lg_shared->lock);
	}
	return idle == LG_IDLE_NOT;
}

/* Is there anything in this pass that could meet the policy's conditions of harm? */
static bool
can_hit(const LgRescue *rescue, const LgLocalPolicy *local)
{
	const LgPolicy *policy = local->policy;

	if (rescue->waiting == 0 &&
		(policy->min_blocked > 0 || policy->min_blocked_for > 0 ||
		 policy->target == LG_TARGET_BLOCKER || policy->target == LG_TARGET_WAITER ||
		 policy->target == LG_TARGET_QUEUED_DDL))
		return false;
	return policy->connections_above == 0 ||
		   lg_in_force_passes_mark(rescue, local, lg_shared->states[local->place].engaged);
}

/* What a policy in force asks of this pass, and of the next. */
static void
note_wishes(LgRescue *rescue, const LgPolicy *policy, uint32 *wake_above)
{
	int64 limits[] = {policy->min_duration, policy->min_blocked_for};

	for (int i = 0; i < (int) lengthof(limits); i++)
	{
		if (limits[i] > 0)
			rescue->shortest = rescue->shortest == 0 ? limits[i] : Min(rescue->shortest, limits[i]);
	}
	if (policy->connections_above > 0)
	{
		uint32 mark = Max((uint32) (policy->connections_above * rescue->server.usable), 1);

		*wake_above = *wake_above == 0 ? mark : Min(*wake_above, mark);
	}
}

/*
 * Bring the states of all policies up to date, or of the only one, and list those that
 * can hit anybody now: by target, in the order of their limits.  Says too what this
 * pass, the next one and those who log in have to know: near_mark, shortest,
 * LgShared.wake_above.  Takes lg_shared->lock when a state changes.  Allocates in the
 * current memory context.
 */
void
lg_in_force_list(LgRescue *rescue)
{
	LgLocalPolicies *policies = rescue->policies;
	bool *in_force = palloc0(sizeof(bool) * policies->n);
	uint32 wake_above = 0;

	for (int i = 0; i < policies->n; i++)
	{
		LgLocalPolicy *local = &policies->policies[i];

		if (rescue->only != NULL && rescue->only != local)
			continue;
		if (!check_in_force(rescue, local))
			continue;
		note_wishes(rescue, local->policy, &wake_above);
		in_force[i] = rescue->all || can_hit(rescue, local);
	}
	for (int target = 0; target < LG_TARGETS; target++)
	{
		rescue->in_force[target] = palloc(sizeof(LgLocalPolicy *) * policies->n);
		for (int i = 0; i < policies->n_by_target[target]; i++)
		{
			LgLocalPolicy *local = policies->by_target[target][i];

			if (in_force[local - policies->policies] && rescue->only == NULL)
				rescue->in_force[target][rescue->n_in_force[target]++] = local;
		}
	}
	if (rescue->only != NULL && in_force[rescue->only - policies->policies])
	{
		LgTarget target = rescue->only->policy->target;

		rescue->in_force[target][rescue->n_in_force[target]++] = rescue->only;
	}
	if (rescue->only == NULL)
		pg_atomic_write_u32(&lg_shared->wake_above, wake_above);
}
