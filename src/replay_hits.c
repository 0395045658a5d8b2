/*-------------------------------------------------------------------------
 * replay_hits.c
 *		When a replayed policy hits a session.
 *
 * lg_policy_decide() is asked for every stretch of time in which its answer stays
 * the same: it can change when a limit is exceeded, or somebody comes to wait for
 * the session or ceases to.  The schedule is asked apart from that, so that a stretch
 * costs the same however many minutes it has.
 *
 * Of who waits for a session, all is told by two sorted lists, of starts and ends:
 * ten thousand waiters cost ten thousand steps.
 *
 * Locking: none of ours; what rights.c takes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "replay.h"
#include "rights.h"
#include "saturation.h"

static int
compare_times(const void *a, const void *b)
{
	TimestampTz left = *(const TimestampTz *) a;
	TimestampTz right = *(const TimestampTz *) b;

	return left < right ? -1 : left > right;
}

/* Is the wait because of that suspect, as far as it is not told by its key? */
static bool
is_behind(const LgReplay *replay, const LgReplayWait *wait, const LgReplaySuspect *suspect)
{
	return replay->policy->target != LG_TARGET_QUEUED_DDL ||
		   (wait->start > suspect->since && suspect->mode != 0 && wait->mode != 0 &&
			DoLockModesConflict(wait->mode, suspect->mode));
}

/*
 * All who wait because of it, at any time until then: in *queue, in the current
 * memory context.
 */
void
lg_replay_gather(LgReplay *replay, const LgReplaySuspect *suspect, TimestampTz until,
				 LgReplayQueue *queue)
{
	int low = 0;
	int high = replay->n_waits;
	int room = 0;

	memset(queue, 0, sizeof(LgReplayQueue));
	while (low < high)
	{
		int middle = low + (high - low) / 2;
		const LgReplayWait *wait = &replay->waits[middle];
		int keys = lg_replay_compare_keys(&wait->key, &suspect->key);

		/* a long wait may stand before many short ones that are over */
		if (keys < 0 || (keys == 0 && wait->latest_end <= suspect->began))
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < replay->n_waits; low++)
	{
		LgReplayWait *wait = &replay->waits[low];

		CHECK_FOR_INTERRUPTS();
		if (lg_replay_compare_keys(&wait->key, &suspect->key) != 0 || wait->start >= until)
			break;
		if (wait->end <= suspect->began || !is_behind(replay, wait, suspect))
			continue;
		if (queue->n == room)
		{
			room = Max(room * 2, 16);
			queue->waits = queue->waits == NULL
							   ? palloc(sizeof(LgReplayWait *) * room)
							   : repalloc_huge(queue->waits, sizeof(LgReplayWait *) * room);
		}
		queue->waits[queue->n++] = wait;
	}
	queue->ends = palloc_extended(sizeof(TimestampTz) * Max(queue->n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < queue->n; i++)
		queue->ends[i] = queue->waits[i]->end;
	qsort(queue->ends, queue->n, sizeof(TimestampTz), compare_times);
}

/*
 * How many wait then, and since when the first of them; 0 = nobody does.  From one
 * call to the next time must not go back.
 */
int
lg_replay_count_waiting(LgReplayQueue *queue, TimestampTz now, TimestampTz *since)
{
	while (queue->began < queue->n && queue->waits[queue->began]->start <= now)
		queue->began++;
	while (queue->over < queue->n && queue->ends[queue->over] <= now)
		queue->over++;
	while (queue->head < queue->began && queue->waits[queue->head]->end <= now)
		queue->head++;
	*since = queue->head < queue->began ? queue->waits[queue->head]->start : 0;
	return queue->began - queue->over;
}

/* What a pass would have known of it at that moment. */
static void
fill_facts(LgReplay *replay, const LgReplaySuspect *suspect, LgReplayQueue *queue, TimestampTz now,
		   LgFacts *facts, LgServerFacts *server)
{
	LgTarget target = replay->policy->target;
	TimestampTz since;

	memset(server, 0, sizeof(LgServerFacts));
	server->now = now;
	server->ages_count_from = DT_NOBEGIN;
	server->usable = lg_saturation_usable();
	memset(facts, 0, sizeof(LgFacts));
	facts->session = &suspect->session;
	facts->locks_held = -1;
	facts->waiting = target == LG_TARGET_WAITER || target == LG_TARGET_QUEUED_DDL;
	facts->wait_start = facts->waiting ? suspect->since : 0;
	if (target != LG_TARGET_WAITER) /* that wait is its own */
	{
		facts->blocked_total = lg_replay_count_waiting(queue, now, &since);
		facts->blocks_since = facts->blocked_total > 0 ? since : 0;
	}
	if (!facts->waiting)
	{
		facts->last_waiting = lg_replay_last_before(&replay->own_ends, &suspect->key, now);
		if (facts->blocks_since != 0)
			facts->blocks_since = Max(facts->blocks_since, facts->last_waiting);
	}
	facts->root_blocker = target == LG_TARGET_BLOCKER && facts->blocked_total > 0;
	facts->queued_ddl = target == LG_TARGET_QUEUED_DDL && facts->blocked_total > 0;
	facts->application_name = suspect->application_name;
	facts->query = suspect->query;
	facts->client_addr = suspect->client_addr;
}

/* And what is today's. */
static void
add_rights(const LgReplay *replay, const LgReplaySuspect *suspect, LgFacts *facts)
{
	facts->role_flags = lg_rights_role_flags(suspect->session.userid, replay->local);
	facts->database_flags = lg_rights_database_flags(suspect->session.databaseid, replay->local);
	facts->protected_application =
		lg_rights_application_protected(suspect->application_name, suspect->session.userid);
}

/*
 * Keep with the suspect what the policy makes of it at that moment, in words too.
 * Allocates in the current memory context.
 */
void
lg_replay_describe(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz at, LgWhy why)
{
	LgFacts facts;
	LgServerFacts server;
	LgReplayQueue queue;

	lg_replay_gather(replay, suspect, suspect->ended, &queue);
	fill_facts(replay, suspect, &queue, at, &facts, &server);
	suspect->at = at;
	suspect->why = why;
	suspect->waiters = facts.blocked_total;
	suspect->reason = MemoryContextStrdup(
		replay->context, lg_policy_describe(replay->policy, &facts, &server,
											why == LG_WHY_OVER_LIMIT ? LG_WHY_HIT : why));
}

/* ------------------------------------------------------------------------
 * When the policy hits it
 * ------------------------------------------------------------------------
 */

/*
 * The first moment from then on at which the policy is in force; LG_REPLAY_NEVER if
 * there is none.
 */
TimestampTz
lg_replay_next_in_force(LgReplay *replay, TimestampTz at)
{
	if (replay->next_after == 0 || at < replay->next_after || at > replay->next_in_force)
	{
		TimestampTz next = at;

		if (replay->local->zone == NULL)
			return LG_REPLAY_NEVER;
		if (!lg_policies_in_schedule(replay->local, at))
			next = lg_schedule_next(&replay->policy->schedule, replay->local->zone, at);
		replay->next_after = at;
		replay->next_in_force = next == 0 ? LG_REPLAY_NEVER : next;
	}
	return Max(at, replay->next_in_force);
}

/*
 * Put the suspect's next moment from then on at which it is hit into ready;
 * LG_REPLAY_NEVER if there is none.
 */
void
lg_replay_make_ready(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz at)
{
	suspect->ready = LG_REPLAY_NEVER;
	for (int i = suspect->first_hit; i < suspect->first_hit + suspect->n_hits; i++)
	{
		const LgReplayStretch *hit = &replay->hits[i];
		TimestampTz from;

		if (hit->to <= at)
			continue;
		from = lg_replay_next_in_force(replay, Max(at, hit->from));
		if (from < hit->to)
		{
			suspect->ready = from;
			suspect->ready_until = hit->to;
			return;
		}
	}
}

/* Moments at which the answer can change, sorted. */
static int
list_changes(LgReplay *replay, const LgReplaySuspect *suspect, const LgReplayQueue *queue,
			 TimestampTz **changes)
{
	const LgPolicy *policy = replay->policy;
	int64 limit = lg_policy_limit(policy) + 1;
	int64 blocked_for = policy->min_blocked_for + 1;
	LgReplayQueue beginning = *queue;
	TimestampTz own = suspect->began;
	LgFacts facts;
	LgServerFacts server;
	int room = 3 * queue->n + 16;
	int n = 0;

	*changes = palloc_extended(sizeof(TimestampTz) * room, MCXT_ALLOC_HUGE);
	fill_facts(replay, suspect, &beginning, suspect->began, &facts, &server);
	(*changes)[n++] = suspect->began;
	(*changes)[n++] = lg_policy_age_start(policy, &facts, &server) + limit;
	(*changes)[n++] = facts.last_waiting + blocked_for;
	for (int i = 0; replay->needs_waits && i < queue->n; i++)
	{
		(*changes)[n++] = queue->waits[i]->start;
		(*changes)[n++] = queue->waits[i]->end;
		(*changes)[n++] = queue->waits[i]->start + blocked_for;
	}
	while (replay->needs_waits &&
		   (own = lg_replay_first_after(&replay->own_ends, &suspect->key, own)) != 0 &&
		   own < suspect->ended)
	{
		if (n + 3 > room)
		{
			room *= 2;
			*changes = repalloc_huge(*changes, sizeof(TimestampTz) * room);
		}
		(*changes)[n++] = own;
		(*changes)[n++] = own + limit;
		(*changes)[n++] = own + blocked_for;
	}
	qsort(*changes, n, sizeof(TimestampTz), compare_times);
	return n;
}

static void
add_hit(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz from, TimestampTz to)
{
	LgReplayStretch *last = suspect->n_hits > 0 ? &replay->hits[replay->n_hits - 1] : NULL;

	if (last != NULL && last->to == from)
	{
		last->to = to;
		return;
	}
	replay->hits = lg_replay_make_room(replay, replay->hits, replay->n_hits, &replay->hits_room,
									   sizeof(LgReplayStretch));
	if (suspect->n_hits++ == 0)
		suspect->first_hit = replay->n_hits;
	replay->hits[replay->n_hits++] = (LgReplayStretch){.from = from, .to = to};
}

/*
 * Find the stretches of time in which the policy hits a suspect, and the first
 * moment at which it is only spared.  Returns whether there is anything to tell.
 * Allocates in the current memory context; needs lg_rights_open().
 */
bool
lg_replay_look(LgReplay *replay, LgReplaySuspect *suspect)
{
	TimestampTz first = Max(suspect->began, replay->since);
	TimestampTz end = Min(suspect->ended, replay->until);
	TimestampTz spared_at = LG_REPLAY_NEVER;
	LgWhy spared_why = LG_WHY_HIT;
	LgReplayQueue queue;
	TimestampTz *changes;
	int n;

	if (first >= end)
		return false;
	lg_replay_gather(replay, suspect, suspect->ended, &queue);
	if (suspect->session.state_change == 0)
		suspect->session.state_change =
			queue.n > 0 ? Max(queue.waits[0]->start, suspect->began) : suspect->began;
	suspect->session.query_start = suspect->session.state_change;
	n = list_changes(replay, suspect, &queue, &changes);
	for (int i = 0; i < n; i++)
	{
		TimestampTz from = Max(changes[i], first);
		TimestampTz to = i + 1 < n ? Min(changes[i + 1], end) : end;
		LgFacts facts;
		LgServerFacts server;
		LgWhy why;

		CHECK_FOR_INTERRUPTS();
		if (from >= to)
			continue;
		fill_facts(replay, suspect, &queue, from, &facts, &server);
		add_rights(replay, suspect, &facts);
		why = lg_policy_decide(replay->policy, &facts, &server);
		if (why > LG_WHY_TARGET && why < LG_WHY_YOUNG)
			return false; /* its texts stay what they are */
		if (why == LG_WHY_HIT)
			add_hit(replay, suspect, from, to);
		else if (LG_WHY_IS_SPARED(why) && spared_at == LG_REPLAY_NEVER)
		{
			spared_at = lg_replay_next_in_force(replay, from);
			spared_why = why;
			if (spared_at >= to)
				spared_at = LG_REPLAY_NEVER;
		}
	}
	if (suspect->n_hits > 0)
		lg_replay_make_ready(replay, suspect, first);
	if (suspect->n_hits > 0 && suspect->ready != LG_REPLAY_NEVER)
		return true;
	suspect->n_hits = 0;
	if (spared_at == LG_REPLAY_NEVER)
		return false;
	lg_replay_describe(replay, suspect, spared_at, spared_why);
	return true;
}
