/*-------------------------------------------------------------------------
 * choose.c
 *		Whose turn it is among those whom a policy hits.
 *
 * One policy at a time: its victims in their order; less those that are kept;
 * no more than bring the pool below its mark; no more than the limits allow.
 * What a policy only rehearses has limits of its own, so that a rehearsal tells
 * the truth and costs the real thing nothing.
 *
 * Locking: none; the caller makes a pass.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "choose.h"
#include "kinds.h"
#include "pending.h"
#include "sessions.h"
#include "settings.h"
#include "shared.h"

/* Those who are hit first, in their policy's order. */
static int
compare_candidates(const void *left, const void *right)
{
	const LgCandidate *a = left;
	const LgCandidate *b = right;
	const LgPolicy *policy = a->local->policy;
	bool hit_a = a->why == LG_WHY_HIT;
	bool hit_b = b->why == LG_WHY_HIT;
	int later = a->since > b->since ? 1 : a->since < b->since ? -1 : 0;

	if (a->local != b->local)
		return a->local < b->local ? -1 : 1;
	if (hit_a != hit_b)
		return hit_a ? -1 : 1;
	if (policy->victim_order == LG_ORDER_MOST_BLOCKING &&
		a->facts.blocked_total != b->facts.blocked_total)
		return a->facts.blocked_total > b->facts.blocked_total ? -1 : 1;
	if (later == 0)
		return a->session->slot < b->session->slot ? -1 : 1;
	return policy->victim_order == LG_ORDER_YOUNGEST ? -later : later;
}

/* The kind of a candidate, among those that were counted; NULL if there was none. */
static LgKind *
kind_of(HTAB *kinds, const LgCandidate *candidate)
{
	LgKindKey key = lg_kinds_key(candidate->session, candidate->facts.application_name,
								 candidate->facts.client_addr);

	return lg_kinds_find(kinds, &key);
}

/*
 * Leave alone the last of each kind: those who would have come last.  Whom another
 * policy ends in this pass cannot be one of them.
 */
static void
spare_kept(const LgRescue *rescue, LgCandidate *hits, int n)
{
	HTAB *kinds = lg_kinds_count(STATE_IDLE, false); /* young ones, too */

	for (int i = 0; i < rescue->n_candidates; i++)
	{
		LgKind *kind =
			rescue->candidates[i].planned ? kind_of(kinds, &rescue->candidates[i]) : NULL;

		if (kind != NULL)
			kind->count--;
	}
	for (int i = 0; i < n; i++)
	{
		LgCandidate *hit = &hits[i];
		LgKind *kind;

		if (rescue->planned_slots[hit->session->slot])
			continue;
		kind = kind_of(kinds, hit);
		if (kind == NULL || kind->count <= hit->local->policy->keep)
			hit->why = LG_WHY_KEPT;
		else
			kind->count--;
	}
}

/* Of each stampede, or of all, the oldest is left to end. */
static void
spare_oldest(LgCandidate *hits, int n)
{
	for (int i = 0; i < n; i++)
	{
		const LgFacts *facts = &hits[i].facts;

		if (hits[i].local->policy->min_same_query > 0
				? hits[i].session->query_start == facts->oldest_same_query
				: i == 0)
			hits[i].why = LG_WHY_OLDEST;
	}
}

/* The most of the usable slots whose share is below a mark, or that mark itself. */
static int
most_below(double mark, int usable, bool or_at_it)
{
	int n = (int) (mark * usable) + 1;

	/* the product may be off by one either way; shares are what decides elsewhere */
	while (n > 0 && (or_at_it ? (double) n / usable > mark : (double) n / usable >= mark))
		n--;
	return n;
}

/* How many sessions fewer bring the pool below the policy's lower mark. */
static int
count_needed(const LgRescue *rescue, const LgLocalPolicy *local)
{
	const LgPolicy *policy = local->policy;
	int usable = rescue->server.usable;
	int most;

	if (policy->connections_above == 0)
		return PG_INT32_MAX;
	if (policy->connections_until > 0)
		most = most_below(policy->connections_until, usable, false);
	else
		most =
			most_below(policy->connections_above, usable, true); /* acts above it, and only there */
	return Max(rescue->server.used - most - lg_pending_terminating() - rescue->planned_ends, 0);
}

/* Does the policy only rehearse now? */
static bool
only_rehearses(const LgRescue *rescue, const LgPolicyState *state, const LgPolicy *policy)
{
	return rescue->rehearse || rescue->outdated || policy->action == LG_POLICY_LOG ||
		   !lg_state_enforced() || lg_state_paused(rescue->now.wall) ||
		   state->paused_until > rescue->now.mono;
}

/*
 * Is the policy one of those that close many sessions by their purpose, which
 * pg_lifeguard.max_actions_per_minute does not count?
 */
bool
lg_choose_is_uncounted(const LgPolicy *policy)
{
	return policy->connections_above > 0 || policy->victim_order == LG_ORDER_ALL_BUT_OLDEST;
}

/* How many may be dealt with in this pass. */
static int
count_room(const LgRescue *rescue, const LgLocalPolicy *local, bool rehearsal)
{
	const LgPolicy *policy = local->policy;
	const LgPolicyState *state = lg_state_of(local);
	const LgLimiter *limiter = rehearsal ? &state->rehearsed : &state->acted;
	int64 now = rescue->now.mono;
	int room = policy->max_per_pass == 0 ? PG_INT32_MAX : policy->max_per_pass;

	if (limiter->last != 0 && now - limiter->last < policy->cooldown)
		return 0;
	room = Min(room, lg_limiter_room(limiter, policy->max_per_minute, now));
	if (!rehearsal && !lg_choose_is_uncounted(policy))
	{
		int left = lg_limiter_room(&lg_shared->actions, lg_max_actions_per_minute, now);

		room = Min(room, left == PG_INT32_MAX ? left : Max(left - rescue->planned, 0));
	}
	return room;
}

/* It is this one's turn: what policies that come later in this pass have to know. */
static void
plan(LgRescue *rescue, LgCandidate *hit)
{
	const LgPolicy *policy = hit->local->policy;

	hit->planned = hit->prepared == NULL;
	rescue->planned_slots[hit->session->slot] = true;
	if (!lg_choose_is_uncounted(policy))
		rescue->planned++;
	if (hit->prepared == NULL &&
		lg_pending_first_action(policy, hit->session) == LG_ACTION_TERMINATE)
		rescue->planned_ends++;
}

/* Whose turn it is among the n that one policy hits. */
static void
choose_among(LgRescue *rescue, LgCandidate *hits, int n)
{
	LgLocalPolicy *local = hits[0].local;
	const LgPolicyState *state = lg_state_of(local);
	bool rehearsal = only_rehearses(rescue, state, local->policy);
	int needed = count_needed(rescue, local);
	int room = count_room(rescue, local, rehearsal);

	if (local->policy->keep > 0)
		spare_kept(rescue, hits, n);
	if (local->policy->victim_order == LG_ORDER_ALL_BUT_OLDEST)
		spare_oldest(hits, n);
	for (int i = 0; i < n; i++)
	{
		LgCandidate *hit = &hits[i];
		const LgEpisodeMark *mark = lg_state_mark(local, hit->session->slot);

		if (hit->why != LG_WHY_HIT)
			continue;
		hit->rehearsal = rehearsal;
		hit->repeat = lg_state_is_over(local, hit->session->slot, hit->since, rescue->now.mono) ||
					  (mark->since == hit->since && mark->rehearsed && rehearsal);
		if (!hit->repeat && !rehearsal &&
			(rescue->planned_slots[hit->session->slot] ||
			 lg_pending_forbids(hit->session, local->policy->action)))
			hit->why = LG_WHY_ACTED_ON;
		else if (needed == 0)
			hit->why = LG_WHY_ENOUGH;
		else
		{
			if (!hit->repeat && room == 0)
				hit->why = LG_WHY_OVER_LIMIT;
			else if (!hit->repeat)
			{
				room--;
				if (!rehearsal)
					plan(rescue, hit);
			}
			if (needed != PG_INT32_MAX)
				needed--;
		}
	}
}

/*
 * Say of those who are hit whether it is their turn: their verdict becomes
 * kept, oldest, enough, acted on or over limit if not.  Stronger policies come
 * first.  Sorts the candidates by policy.
 */
void
lg_choose(LgRescue *rescue)
{
	LgCandidate *all = rescue->candidates;

	if (rescue->n_candidates == 0)
		return;
	qsort(all, rescue->n_candidates, sizeof(LgCandidate), compare_candidates);
	for (int strength = LG_POLICY_TERMINATE; strength >= LG_POLICY_LOG; strength--)
	{
		for (int i = 0; i < rescue->n_candidates;)
		{
			int end = i;

			while (end < rescue->n_candidates && all[end].local == all[i].local &&
				   all[end].why == LG_WHY_HIT)
				end++;
			if (end > i && (int) all[i].local->policy->action == strength)
				choose_among(rescue, &all[i], end - i);
			while (end < rescue->n_candidates && all[end].local == all[i].local)
				end++;
			i = end;
		}
	}
}
