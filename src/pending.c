/*-------------------------------------------------------------------------
 * pending.c
 *		Actions of policies that are under way: confirm, escalate, judge.
 *
 * After a signal the victim is looked at until it is gone, or its statement is;
 * soon after the signal often, then less so.  A cancel that has not taken effect
 * when its grace is over becomes a terminate.  Two seconds later it is judged
 * whether the action has brought relief; a policy whose actions bring none, five
 * times in a row, is paused.  Whatever is sent after the first signal asks again
 * for brakes and rights.
 *
 * What is under way lies in shared memory, so whoever makes the next pass goes
 * on with it, whoever began it.
 *
 * Locking: lg_shared->lock for a moment when a policy's state changes; what
 * actions.c and ledger.c take.  The caller makes a pass (lg_shared_begin_pass).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"

#include "choose.h"
#include "ledger.h"
#include "lock_graph.h"
#include "lock_roots.h"
#include "pending.h"
#include "rights.h"
#include "settings.h"
#include "shared.h"

#define MAX_TRIES 5						  /* to meet a victim that is busy for an instant */
#define GIVE_UP (10 * 60 * USECS_PER_SEC) /* nobody looks at it any more */
#define JUDGE_AFTER (2 * USECS_PER_SEC)	  /* whether there is relief */
#define MAX_FRUITLESS 5					  /* actions without relief, then the breaker opens */
#define BREAKER_PAUSE (10 * 60 * USECS_PER_SEC)
#define LONGEST_LOOK (50 * LG_USECS_PER_MSEC)

/*
 * Bytes of shared memory for them.
 */
Size
lg_pending_size(void)
{
	return MAXALIGN(mul_size(sizeof(LgPending), LG_MAX_PENDING));
}

/*
 * How many sessions are being terminated and are still there.
 */
int
lg_pending_terminating(void)
{
	int n = 0;

	for (int i = 0; i < LG_MAX_PENDING; i++)
	{
		const LgPending *pending = &lg_shared->pendings[i];

		if (pending->entry != 0 && !pending->over && !pending->survived &&
			pending->acting.action == LG_ACTION_TERMINATE)
			n++;
	}
	return n;
}

/*
 * Is somebody acting on that session just now, for any policy?
 */
bool
lg_pending_has(const LgSession *session)
{
	for (int i = 0; i < LG_MAX_PENDING; i++)
	{
		const LgPending *pending = &lg_shared->pendings[i];

		if (pending->entry != 0 && !pending->over && pending->acting.victim.slot == session->slot &&
			pending->acting.victim.pid == session->pid &&
			pending->acting.victim.backend_start == session->backend_start)
			return true;
	}
	return false;
}

/* Which episode of the victim's is meant, so that it is spared when it has moved on. */
static LgProof
proof_of(const LgSession *victim, const LgFacts *facts, LgTarget target)
{
	LgProof proof = {.pid = victim->pid, .backend_start = victim->backend_start};

	switch (target)
	{
		case LG_TARGET_IDLE_IN_TRANSACTION:
		case LG_TARGET_BLOCKER:
			proof.xact_start = victim->xact_start;
			proof.state_change = victim->state_change;
			break;
		case LG_TARGET_IDLE:
		case LG_TARGET_STALLED_CLIENT:
			proof.state_change = victim->state_change;
			break;
		case LG_TARGET_ACTIVE:
			proof.query_start = victim->query_start; /* stays when the statement ends */
			proof.state_change = victim->state_change;
			break;
		case LG_TARGET_TRANSACTION:
			proof.xact_start = victim->xact_start;
			break;
		case LG_TARGET_WAITER:
		case LG_TARGET_QUEUED_DDL:
			proof.query_start = victim->query_start;
			proof.state_change = victim->state_change;
			proof.wait_start = facts->wait_start;
			break;
		case LG_TARGET_PREPARED:
		case LG_TARGETS:
			break;
	}
	return proof;
}

/* The policy's state, unless another has taken its place meanwhile. */
static LgPolicyState *
state_of(const LgPending *pending)
{
	LgPolicyState *state = &lg_shared->states[pending->place];

	return strcmp(state->name, pending->policy) == 0 ? state : NULL;
}

/* A signal counts for the limits, whatever comes of it. */
static void
count_action(const LgRescue *rescue, const LgCandidate *candidate)
{
	LgPolicyState *state = lg_rescue_state(candidate->local);

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_limits_count(&state->acted, rescue->now.mono);
	state->last_action = rescue->now.wall;
	if (!lg_choose_is_uncounted(&candidate->local->policy))
		lg_limits_count(&lg_shared->actions, rescue->now.mono);
	LWLockRelease(lg_shared->lock);
}

static bool
runs_statement(const LgSession *session)
{
	return session->state == STATE_RUNNING || session->state == STATE_FASTPATH;
}

/* Say what came of it. */
static void
finish(LgPending *pending, const char *outcome, int waiters_freed)
{
	lg_ledger_finish(pending->entry, outcome, GetCurrentTimestamp(), waiters_freed);
	lg_actions_release(&pending->acting);
	pending->over = true;
	if (pending->acting.progress != LG_PROGRESS_DONE)
		pending->judge_at = 0; /* nothing was done that could have helped */
}

static void
finish_as_seen(LgPending *pending, int waiters_freed)
{
	char outcome[LG_OUTCOME_SIZE];

	finish(pending, lg_actions_describe(&pending->acting, outcome, sizeof(outcome)), waiters_freed);
}

/* How many of those who waited for the victim do so no more. */
static int
count_freed(const LgPending *pending)
{
	const LgSession *victim = &pending->acting.victim;
	LgLockGraph *graph;
	int node;

	if (pending->blocked_total == 0 || pending->acting.action == LG_ACTION_TERMINATE)
		return pending->blocked_total;
	graph = lg_lock_graph_read();
	node = graph != NULL ? graph->node_of_slot[victim->slot] : -1;
	if (node < 0 || graph->nodes[node].pid != victim->pid)
		return pending->blocked_total;
	return Max(pending->blocked_total - lg_lock_roots_count_blocked(graph, node), 0);
}

static void
send_signal(LgPending *pending)
{
	pending->tries++;
	lg_actions_signal(&pending->acting, &pending->proof, &pending->reason);
}

/* A place for one more action, or NULL. */
static LgPending *
free_place(void)
{
	for (int i = 0; i < LG_MAX_PENDING; i++)
	{
		if (lg_shared->pendings[i].entry == 0)
			return &lg_shared->pendings[i];
	}
	return NULL;
}

/*
 * May another action be started, or are too many under way?
 */
bool
lg_pending_has_room(void)
{
	return free_place() != NULL;
}

/*
 * Act on a candidate.  There must be room, and its ledger entry is there
 * already, which tells what came of it, now or as soon as it is known.
 */
void
lg_pending_start(const LgRescue *rescue, const LgCandidate *candidate, uint64 entry,
				 const LgReason *reason)
{
	const LgPolicy *policy = &candidate->local->policy;
	LgPending *pending = free_place();

	Assert(pending != NULL);
	memset(pending, 0, sizeof(LgPending));
	pending->acting.victim = *candidate->session;
	pending->proof = proof_of(candidate->session, &candidate->facts, policy->target);
	pending->reason = *reason;
	pending->place = candidate->local->place;
	strlcpy(pending->policy, policy->name, NAMEDATALEN);
	pending->action = policy->action;
	pending->target = policy->target;
	pending->by_hand = rescue->only != NULL;
	pending->began = rescue->now.mono;
	pending->grace = policy->grace;
	pending->blocked_total = candidate->facts.blocked_total;
	pending->waiting_before =
		policy->min_blocked > 0 || policy->min_blocked_for > 0 ? rescue->waiting : -1;
	pending->used_before = policy->connections_above > 0 ? rescue->server.used : -1;
	if (pending->waiting_before >= 0 || pending->used_before >= 0)
		pending->judge_at = pending->began + JUDGE_AFTER;

	/* where nothing runs there is nothing to cancel; what escalates does so at once */
	pending->acting.action = policy->action == LG_POLICY_TERMINATE ||
									 (policy->action == LG_POLICY_CANCEL_THEN_TERMINATE &&
									  !runs_statement(candidate->session))
								 ? LG_ACTION_TERMINATE
								 : LG_ACTION_CANCEL;
	pending->entry = entry;
	if (pending->acting.action == LG_ACTION_CANCEL && !runs_statement(candidate->session))
	{
		pending->acting.progress = LG_PROGRESS_SPARED;
		pending->acting.spared = LG_SPARED_NOTHING;
		pending->over = true; /* never claimed a note */
		pending->judge_at = 0;
		lg_ledger_finish(entry, "spared: nothing to cancel", rescue->now.wall, 0);
		pending->entry = 0;
		return;
	}

	send_signal(pending);
	if (pending->acting.progress == LG_PROGRESS_PENDING)
		count_action(rescue, candidate);
}

/*
 * May the policy signal its victim again?  The brakes, the policy or its
 * owner's rights may have changed since the first time.
 */
static bool
may_go_on(const LgPending *pending, LgTime now)
{
	LgLocalPolicies *policies = lg_policies_get();
	LgLocalPolicy *local = lg_policies_find(policies, pending->policy);
	int flags;

	if (!lg_enforce || lg_rescue_paused(now.wall) || local == NULL ||
		local->policy.action != pending->action || (!local->policy.enabled && !pending->by_hand))
		return false;
	lg_rights_open(policies);
	flags = lg_rights_role_flags(pending->acting.victim.userid, local);
	lg_rights_close();
	return (flags & LG_ROLE_OWNER_MAY) != 0 && (flags & LG_ROLE_PROTECTED) == 0 &&
		   ((flags & LG_ROLE_SUPERUSER) == 0 || local->policy.include_superusers);
}

/* What a cancel did not end, a terminate will. */
static void
escalate(LgPending *pending, bool same_statement)
{
	lg_actions_release(&pending->acting);
	pending->escalated = true;
	pending->tries = 0;
	pending->acting.action = LG_ACTION_TERMINATE;
	if (!same_statement)
	{
		pending->proof.state_change = pending->proof.query_start = pending->proof.wait_start = 0;
		pending->proof.xact_start = pending->acting.victim.xact_start;
	}
	lg_ledger_signalled(pending->entry, "SIGTERM");
	send_signal(pending);
}

/* The victim spared itself: for good, or only for this instant? */
static void
hear_spared(LgPending *pending, LgTime now)
{
	LgSpared spared = pending->acting.spared;
	bool momentary = spared == LG_SPARED_BUSY || spared == LG_SPARED_ENDING;
	bool whole_transaction =
		pending->target == LG_TARGET_TRANSACTION && pending->acting.victim.xact_start != 0;

	if (momentary && pending->tries < MAX_TRIES && may_go_on(pending, now))
	{
		lg_actions_release(&pending->acting);
		send_signal(pending);
	}
	else if (spared == LG_SPARED_NOTHING && whole_transaction &&
			 pending->action == LG_POLICY_CANCEL_THEN_TERMINATE && !pending->escalated &&
			 may_go_on(pending, now))
		escalate(pending, false);
	else
		finish_as_seen(pending, 0);
}

/* One look at one action. */
static void
look(LgPending *pending, LgTime now)
{
	lg_actions_watch(&pending->acting);
	switch (pending->acting.progress)
	{
		case LG_PROGRESS_PENDING:
			if (pending->action == LG_POLICY_CANCEL_THEN_TERMINATE && !pending->escalated &&
				pending->acting.action == LG_ACTION_CANCEL &&
				now.mono - pending->began >= pending->grace && may_go_on(pending, now))
				escalate(pending, true);
			else if (now.mono - pending->began >= GIVE_UP)
				finish(pending, "survived", -1);
			else if (now.mono - pending->acting.signalled_at >= LG_SURVIVAL && !pending->survived)
			{
				pending->survived = true;
				lg_ledger_finish(pending->entry, "survived", now.wall, -1);
			}
			break;
		case LG_PROGRESS_DONE:
			finish_as_seen(pending, count_freed(pending));
			break;
		case LG_PROGRESS_SPARED:
			hear_spared(pending, now);
			break;
		default:
			finish_as_seen(pending, 0);
			break;
	}
}

/* Has the action brought relief?  Where that is not defined, nobody asks. */
static void
judge(LgPending *pending, LgTime now)
{
	LgPolicyState *state = state_of(pending);
	bool relief =
		(pending->waiting_before >= 0 && lg_shared->gauges.waiting < pending->waiting_before) ||
		(pending->used_before >= 0 && lg_shared->gauges.used < pending->used_before);
	bool opens = false;

	pending->judge_at = 0;
	if (state == NULL)
		return;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	state->fruitless = relief ? 0 : state->fruitless + 1;
	if (state->fruitless >= MAX_FRUITLESS)
	{
		state->fruitless = 0;
		state->paused_until = now.wall + BREAKER_PAUSE;
		opens = true;
	}
	LWLockRelease(lg_shared->lock);

	if (opens)
		ereport(LOG, (errmsg("policy \"%s\" is paused for 10 minutes", pending->policy),
					  errdetail("Its last %d actions brought no relief.", MAX_FRUITLESS),
					  errhint("Look for the cause; lifeguard.resume() ends the pause."),
					  errhidestmt(true), errhidecontext(true)));
}

/* When to look at it next: after half its age, so soon at first. */
static int64
next_look(const LgPending *pending, LgTime now)
{
	int64 age = now.mono - pending->acting.signalled_at;

	if (pending->over)
		return pending->judge_at;
	return now.mono + Min(Max(age / 2, LG_USECS_PER_MSEC), LONGEST_LOOK);
}

/*
 * Look at all actions under way.  Returns when to do so next, by the monotonic
 * clock in microseconds; 0 = when there is a new one.
 */
int64
lg_pending_tend(LgTime now)
{
	int64 next = 0;

	for (int i = 0; i < LG_MAX_PENDING; i++)
	{
		LgPending *pending = &lg_shared->pendings[i];

		if (pending->entry == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!pending->over)
			look(pending, now);
		if (pending->over && pending->judge_at != 0 && now.mono >= pending->judge_at)
			judge(pending, now);
		if (pending->over && pending->judge_at == 0)
			pending->entry = 0;
		else
		{
			int64 due = next_look(pending, now);

			next = next == 0 ? due : Min(next, due);
		}
	}
	return next;
}
