/*-------------------------------------------------------------------------
 * pending.c
 *		Actions of policies that are under way: confirm, escalate, judge.
 *
 * After a signal the victim is looked at until it is gone, or its statement is;
 * soon after the signal often, then less so.  A cancel that has not taken effect
 * when its grace is over becomes a terminate.  Two seconds later it is judged
 * whether the action has brought relief; a policy whose actions bring none, five
 * times in a row, is paused.  Whatever is sent after the first signal asks again
 * for brakes, rights, the policy as it is by then, and harm.
 *
 * What is under way lies in shared memory, so whoever makes the next pass goes
 * on with it, whoever began it.
 *
 * Locking: lg_shared->lock for a moment when a policy's state changes; what
 * actions.c and ledger.c take.  The caller makes a pass (lg_shared_begin_pass).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/proc.h"

#include "choose.h"
#include "ledger.h"
#include "lock_graph.h"
#include "lock_roots.h"
#include "pending.h"
#include "rights.h"
#include "saturation.h"
#include "settings.h"
#include "shared.h"

#define MAX_TRIES 5						 /* to meet a victim that is busy for an instant */
#define PASS_IS_OVER (3 * USECS_PER_SEC) /* then one that was cut off has left its work to others */
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

/* What is under way on that session, or NULL. */
static LgPending *
find_pending(const LgSession *session)
{
	for (int i = 0; i < LG_MAX_PENDING; i++)
	{
		LgPending *pending = &lg_shared->pendings[i];

		if (pending->entry != 0 && !pending->over && pending->acting.victim.slot == session->slot &&
			pending->acting.victim.pid == session->pid &&
			pending->acting.victim.backend_start == session->backend_start)
			return pending;
	}
	return NULL;
}

/*
 * Is that session being terminated, and still there?
 */
bool
lg_pending_ends(const LgSession *session)
{
	const LgPending *pending = find_pending(session);

	return pending != NULL && pending->acting.action == LG_ACTION_TERMINATE;
}

/*
 * May a policy with that action not touch the session, because another is at
 * work on it?  A cancel that has not ended its statement gives way to a stronger
 * action: else who ignores cancels would be safe from being terminated.
 */
bool
lg_pending_forbids(const LgSession *session, LgPolicyAction action)
{
	const LgPending *pending = find_pending(session);

	return pending != NULL &&
		   (pending->acting.action == LG_ACTION_TERMINATE || action <= pending->action);
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
			proof.query_start = victim->query_start;
			proof.state_change = victim->state_change; /* idle afterwards, query_start stays */
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

/*
 * Count an action for the limits, whatever comes of it.  Takes lg_shared->lock
 * for a moment.
 */
void
lg_pending_count(const LgRescue *rescue, const LgCandidate *candidate)
{
	LgPolicyState *state = lg_state_of(candidate->local);

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_limiter_count(&state->acted, rescue->now.mono);
	state->last_action = rescue->now.wall;
	if (!lg_choose_is_uncounted(candidate->local->policy))
		lg_limiter_count(&lg_shared->actions, rescue->now.mono);
	LWLockRelease(lg_shared->lock);
}

/*
 * What a policy does first to that session: what escalates does so at once where
 * nothing runs that could be cancelled.
 */
LgAction
lg_pending_first_action(const LgPolicy *policy, const LgSession *session)
{
	bool runs = session->state == STATE_RUNNING || session->state == STATE_FASTPATH;

	if (policy->action == LG_POLICY_TERMINATE ||
		(policy->action == LG_POLICY_CANCEL_THEN_TERMINATE && !runs))
		return LG_ACTION_TERMINATE;
	return LG_ACTION_CANCEL;
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

/* How many wait for the victim now. */
static int
count_waiting_for(const LgSession *victim)
{
	LgLockGraph *graph = lg_lock_graph_read();
	int node = graph != NULL ? graph->node_of_slot[victim->slot] : -1;

	if (node < 0 || graph->nodes[node].pid != victim->pid)
		return 0;
	return lg_lock_roots_count_blocked(graph, node);
}

/* How many of those who waited for the victim do so no more. */
static int
count_freed(const LgPending *pending)
{
	if (pending->blocked_total == 0 || pending->acting.action == LG_ACTION_TERMINATE)
		return pending->blocked_total;
	return Max(pending->blocked_total - count_waiting_for(&pending->acting.victim), 0);
}

static void
send_signal(LgPending *pending)
{
	pending->tries++;
	lg_actions_signal(&pending->acting, &pending->proof, &pending->reason);
}

/*
 * However this pass ends, and whether others are made: by then somebody looks.  A pass
 * that comes to its end looks itself, and says anew when.  Only passes write next_look.
 */
static void
look_by(int64 due)
{
	if (lg_shared->next_look == 0 || due < lg_shared->next_look)
		lg_shared->next_look = due;
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

/* A stronger action takes the place of a cancel that has not helped. */
static void
give_way(LgPending *pending, uint64 entry)
{
	char outcome[LG_OUTCOME_SIZE] = "survived";

	lg_actions_release(&pending->acting);
	if (pending->acting.progress != LG_PROGRESS_PENDING)
		(void) lg_actions_describe(&pending->acting, outcome, sizeof(outcome));
	if (pending->entry != entry) /* the same when its policy has become stronger */
		lg_ledger_finish(pending->entry, outcome, GetCurrentTimestamp(), -1);
	pending->entry = 0;
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
 * Find out what lg_pending_start() will note down.  This may be interrupted, and raise
 * errors; so it comes before anything is recorded.
 */
void
lg_pending_prepare(LgRescue *rescue, const LgPolicy *policy)
{
	if (policy->connections_above > 0 && rescue->kinds == NULL)
		rescue->kinds = lg_kinds_count(STATE_UNDEFINED, false);
}

/* How full it was, for who judges later. */
static void
note_fullness(LgPending *pending, const LgRescue *rescue, const LgCandidate *candidate)
{
	const LgFacts *facts = &candidate->facts;
	LgKind *alike;

	pending->used_before = rescue->server.used;
	pending->kind = lg_kinds_key(candidate->session, facts->application_name, facts->client_addr);
	alike = lg_kinds_find(rescue->kinds, &pending->kind);
	pending->alike_before = alike != NULL ? alike->count : 0;
}

/*
 * Act on a candidate whom lg_pending_forbids() leaves to the policy.  There must
 * be room, lg_pending_prepare() has been called, and its ledger entry is there
 * already, which tells what came of it, now or as soon as it is known.  Returns how
 * far the signal has come.
 */
LgProgress
lg_pending_start(const LgRescue *rescue, const LgCandidate *candidate, uint64 entry,
				 const LgReason *reason)
{
	const LgPolicy *policy = candidate->local->policy;
	LgPending *weaker = find_pending(candidate->session);
	LgPending *pending;

	if (weaker != NULL)
		give_way(weaker, entry);
	pending = free_place();

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
	pending->since = candidate->since;
	pending->began = rescue->now.mono;
	pending->grace = policy->grace;
	pending->blocked_total = candidate->facts.blocked_total;
	pending->waiting_before =
		policy->min_blocked > 0 || policy->min_blocked_for > 0 ? rescue->waiting : -1;
	pending->used_before = -1;
	if (policy->connections_above > 0)
		note_fullness(pending, rescue, candidate);
	if (pending->waiting_before >= 0 || pending->used_before >= 0)
		pending->judge_at = pending->began + JUDGE_AFTER;

	pending->acting.action = lg_pending_first_action(policy, candidate->session);
	pending->entry = entry;
	look_by(rescue->now.mono + PASS_IS_OVER);
	send_signal(pending);
	if (pending->acting.progress == LG_PROGRESS_PENDING)
		lg_pending_count(rescue, candidate);
	return pending->acting.progress;
}

/* Does the policy, as it is now, mean that session, and its owner's rights reach it? */
static bool
still_means(LgLocalPolicies *policies, const LgLocalPolicy *local, const LgSession *victim)
{
	LgFacts facts = {.session = victim};
	LgSessionTexts texts;

	lg_sessions_init_texts(&texts, true);
	(void) lg_sessions_read_texts(victim, &texts); /* empty if it is gone */
	facts.application_name = texts.application_name;
	facts.query = texts.query;
	facts.client_addr = &texts.client_addr;
	lg_rights_open(policies);
	facts.role_flags = lg_rights_role_flags(victim->userid, local);
	facts.database_flags = lg_rights_database_flags(victim->databaseid, local);
	facts.protected_application =
		lg_rights_application_protected(texts.application_name, victim->userid);
	lg_rights_close();
	return lg_policy_still_means(local->policy, &facts);
}

/*
 * Is the policy, as it is now, in force here, and is what the victim does still too
 * much for it?
 */
static bool
is_in_force(const LgPending *pending, LgLocalPolicy *local, LgTime now)
{
	const LgPolicy *policy = local->policy;

	if (policy->target != pending->target || policy->action != pending->action)
		return false;
	if (!pending->by_hand && (!policy->enabled || !lg_policies_in_schedule(local, now.wall)))
		return false;
	if (policy->runs_on != LG_RUNS_ON_BOTH &&
		(policy->runs_on == LG_RUNS_ON_STANDBY) != RecoveryInProgress())
		return false;
	return lg_clock_age(pending->since, now.wall) > local->limit;
}

/* Does it still do what the policy ends it for: make others wait, take their room? */
static bool
still_harms(const LgPending *pending, const LgPolicy *policy)
{
	bool blocks = pending->waiting_before >= 0 || pending->target == LG_TARGET_BLOCKER ||
				  pending->target == LG_TARGET_QUEUED_DDL;

	if (policy->connections_above > 0)
	{
		bool counted = pending->acting.action == LG_ACTION_TERMINATE; /* it is tried again */
		int used = lg_saturation_used() - lg_pending_terminating() + (counted ? 1 : 0);
		double share = (double) used / Max(lg_saturation_usable(), 1);

		if (policy->connections_until > 0 ? share < policy->connections_until
										  : share <= policy->connections_above)
			return false;
	}
	return !blocks || count_waiting_for(&pending->acting.victim) > 0;
}

/*
 * May the policy signal its victim again?  The brakes, the policy, its owner's
 * rights or what is protected may have changed since the first time.
 */
static bool
may_go_on(const LgPending *pending, LgTime now)
{
	LgLocalPolicies *policies = lg_policies_get();
	LgLocalPolicy *local = lg_policies_find(policies, pending->policy);

	return lg_state_enforced() && !lg_state_outdated() && !lg_state_paused(now.wall) &&
		   local != NULL && is_in_force(pending, local, now) &&
		   still_means(policies, local, &pending->acting.victim) &&
		   still_harms(pending, local->policy);
}

/*
 * Judge later whether what was done without a signal has brought relief: fewer
 * sessions that wait than before.  Does nothing for a policy that is not about
 * waiting, or if too many actions are under way.
 */
void
lg_pending_judge(const LgLocalPolicy *local, uint64 entry, int waiting_before, LgTime now)
{
	const LgPolicy *policy = local->policy;
	LgPending *pending = free_place();

	if (pending == NULL || (policy->min_blocked == 0 && policy->min_blocked_for == 0))
		return;
	memset(pending, 0, sizeof(LgPending));
	pending->over = true;
	pending->place = local->place;
	strlcpy(pending->policy, policy->name, NAMEDATALEN);
	pending->began = now.mono;
	pending->judge_at = now.mono + JUDGE_AFTER;
	pending->waiting_before = waiting_before;
	pending->used_before = -1;
	pending->entry = entry;
	look_by(pending->judge_at);
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
	if (pending->acting.progress == LG_PROGRESS_PENDING)
		ereport(LOG_SERVER_ONLY, (errmsg("policy \"%s\" terminates session with PID %d",
										 pending->policy, pending->acting.victim.pid),
								  errdetail("It was cancelled before, and has not ended within %s.",
											lg_policy_span(pending->grace)),
								  errhidestmt(true), errhidecontext(true)));
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

/*
 * Has it come to nothing only because of the moment?  Its episode is over when the
 * victim is in another state, but for a transaction, which goes on: it was idle where
 * only a statement can be cancelled, its status was being changed, or it was just
 * ending a savepoint.  What waits for a standby or runs a backup is let alone.
 */
static bool
was_wrong_moment(const LgPending *pending)
{
	const LgActing *acting = &pending->acting;

	if (pending->target != LG_TARGET_TRANSACTION)
		return false;
	return acting->progress == LG_PROGRESS_GONE ||
		   (acting->progress == LG_PROGRESS_SPARED &&
			(acting->spared == LG_SPARED_NOTHING || acting->spared == LG_SPARED_BUSY ||
			 acting->spared == LG_SPARED_ENDING));
}

/* Let a later pass decide anew: what was tried is not the policy's last word. */
static void
try_again_later(const LgPending *pending, LgTime now)
{
	LgEpisodeMark *mark = &lg_state_marks(pending->acting.victim.slot)[pending->place];

	if (state_of(pending) != NULL && mark->since == pending->since)
		lg_state_let_rest(mark, now);
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
	if (pending->over && was_wrong_moment(pending))
		try_again_later(pending, now);
}

/*
 * Are there fewer sessions of the victim's kind than before?  A pool that opens at once
 * what has been closed has as many again; others who have taken the slots are whom room
 * was made for, however full the server is now.  kinds: counted once for all who are
 * judged now.
 */
static bool
are_fewer(const LgPending *pending, HTAB **kinds)
{
	LgKind *alike;

	if (*kinds == NULL)
		*kinds = lg_kinds_count(STATE_UNDEFINED, true);
	alike = lg_kinds_find(*kinds, &pending->kind);
	return (alike != NULL ? alike->count : 0) < pending->alike_before;
}

/* Tell that a policy is paused. */
static void
say_paused(const LgPending *pending)
{
	const LgGauges *gauges = &lg_shared->gauges;

	ereport(
		LOG_SERVER_ONLY,
		(errmsg("policy \"%s\" is paused for 10 minutes", pending->policy),
		 pending->used_before >= 0
			 ? errdetail("Its last %d actions brought no relief. %d connection slots were taken "
						 "before the last one and %d afterwards.",
						 MAX_FRUITLESS, pending->used_before, gauges->used)
			 : errdetail("Its last %d actions brought no relief. %d sessions waited for locks "
						 "before the last one and %d afterwards.",
						 MAX_FRUITLESS, pending->waiting_before, gauges->waiting),
		 errhint("Look for the cause; lifeguard.resume() ends the pause."), errhidestmt(true),
		 errhidecontext(true)));
}

/* Has the action brought relief?  Where that is not defined, nobody asks. */
static void
judge(LgPending *pending, LgTime now, HTAB **kinds)
{
	LgPolicyState *state = state_of(pending);
	bool relief;
	bool opens = false;

	pending->judge_at = 0;
	if (state == NULL)
		return;
	relief =
		(pending->waiting_before >= 0 && lg_shared->gauges.waiting < pending->waiting_before) ||
		(pending->used_before >= 0 &&
		 (lg_shared->gauges.used < pending->used_before || are_fewer(pending, kinds)));
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	state->fruitless = relief ? 0 : state->fruitless + 1;
	if (state->fruitless >= MAX_FRUITLESS)
	{
		state->fruitless = 0;
		opens = state->paused_until <= now.mono; /* what it had begun before is no more news */
		if (opens)
			state->paused_until = now.mono + BREAKER_PAUSE;
	}
	LWLockRelease(lg_shared->lock);

	if (opens)
		say_paused(pending);
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
	HTAB *kinds = NULL;

	for (int i = 0; i < LG_MAX_PENDING; i++)
	{
		LgPending *pending = &lg_shared->pendings[i];

		if (pending->entry == 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (!pending->over)
			look(pending, now);
		if (pending->over && pending->judge_at != 0 && now.mono >= pending->judge_at)
			judge(pending, now, &kinds);
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
