/*-------------------------------------------------------------------------
 * replay.c
 *		Would this policy have prevented it?
 *
 * The recorded episodes are gone through again.  For each session that the policy's
 * target meant, the same lg_policy_decide() as in a pass is asked for every
 * stretch of time in which its answer stays the same: it can change when a limit
 * is exceeded, or somebody comes to wait for the session or ceases to.  Then time
 * is gone through once, from one moment to the next at which the policy could act:
 * when somebody comes to be hit, when it comes to be in force, and when its limits
 * allow one more, who is chosen among those hit then in the policy's order.  Whoever
 * would have been terminated does nothing more.
 *
 * A victim is credited with what others waited because of it from that moment on,
 * and nobody else with the same.  A policy that only logs counts as if it had
 * acted, but for its victims, who go on as they did: it rehearses, as a pass does.
 *
 * What was recorded is less than a pass sees; what that hides is said in each row.
 * Roles, rights and protections are those of today.
 *
 * Locking: none of ours; the histories as any reader.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "choose.h"
#include "clock.h"
#include "limiter.h"
#include "pending.h"
#include "policy_table.h"
#include "replay.h"
#include "rights.h"
#include "rows.h"
#include "saturation.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_replay_episodes);

#define NEVER PG_INT64_MAX

/* Those who wait because of a suspect, at one moment after the other. */
typedef struct Queue
{
	int n;
	LgReplayWait **waits; /* by start */
	TimestampTz *ends;	  /* sorted */
	int began;			  /* so many of them, so far */
	int over;			  /* so many of ends */
	int head;			  /* all before it are over */
} Queue;

/* ------------------------------------------------------------------------
 * One suspect at one moment
 * ------------------------------------------------------------------------
 */

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

/* All who wait because of it, at any time until then. */
static void
gather(LgReplay *replay, const LgReplaySuspect *suspect, TimestampTz until, Queue *queue)
{
	int low = 0;
	int high = replay->n_waits;
	int room = 0;

	memset(queue, 0, sizeof(Queue));
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

/* How many wait then, and since when the first of them.  Moments must not go back. */
static int
count_waiting(Queue *queue, TimestampTz now, TimestampTz *since)
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
fill_facts(LgReplay *replay, const LgReplaySuspect *suspect, Queue *queue, TimestampTz now,
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
		facts->blocked_total = count_waiting(queue, now, &since);
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

/* Keep what the policy makes of it at that moment; in replay->context. */
static void
describe(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz at, LgWhy why)
{
	LgFacts facts;
	LgServerFacts server;
	Queue queue;

	gather(replay, suspect, suspect->ended, &queue);
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

/* The first moment from then on at which the policy is in force; NEVER if there is none. */
static TimestampTz
next_in_force(LgReplay *replay, TimestampTz at)
{
	if (replay->next_after == 0 || at < replay->next_after || at > replay->next_in_force)
	{
		TimestampTz next = at;

		if (replay->local->zone == NULL)
			return NEVER;
		if (!lg_policies_in_schedule(replay->local, at))
			next = lg_schedule_next(&replay->policy->schedule, replay->local->zone, at);
		replay->next_after = at;
		replay->next_in_force = next == 0 ? NEVER : next;
	}
	return Max(at, replay->next_in_force);
}

/* Put the suspect's next moment from then on at which it is hit into ready; NEVER if none. */
static void
make_ready(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz at)
{
	suspect->ready = NEVER;
	for (int i = suspect->first_hit; i < suspect->first_hit + suspect->n_hits; i++)
	{
		const LgReplayStretch *hit = &replay->hits[i];
		TimestampTz from;

		if (hit->to <= at)
			continue;
		from = next_in_force(replay, Max(at, hit->from));
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
list_changes(LgReplay *replay, const LgReplaySuspect *suspect, const Queue *queue,
			 TimestampTz **changes)
{
	const LgPolicy *policy = replay->policy;
	int64 limit = lg_policy_limit(policy) + 1;
	int64 blocked_for = policy->min_blocked_for + 1;
	Queue beginning = *queue;
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
 */
static bool
look(LgReplay *replay, LgReplaySuspect *suspect)
{
	TimestampTz first = Max(suspect->began, replay->since);
	TimestampTz end = Min(suspect->ended, replay->until);
	TimestampTz spared_at = NEVER;
	LgWhy spared_why = LG_WHY_HIT;
	Queue queue;
	TimestampTz *changes;
	int n;

	if (first >= end)
		return false;
	gather(replay, suspect, suspect->ended, &queue);
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
		else if (LG_WHY_IS_SPARED(why) && spared_at == NEVER)
		{
			spared_at = next_in_force(replay, from);
			spared_why = why;
			if (spared_at >= to)
				spared_at = NEVER;
		}
	}
	if (suspect->n_hits > 0)
		make_ready(replay, suspect, first);
	if (suspect->n_hits > 0 && suspect->ready != NEVER)
		return true;
	suspect->n_hits = 0;
	if (spared_at == NEVER)
		return false;
	describe(replay, suspect, spared_at, spared_why);
	return true;
}

/* ------------------------------------------------------------------------
 * Whose turn it is
 * ------------------------------------------------------------------------
 */

/* Time as it goes by. */
typedef struct Course
{
	TimestampTz base; /* limiters count from here: they know no time before their own */
	LgLimiter policy;
	LgLimiter all;		   /* by pg_lifeguard.max_actions_per_minute */
	TimestampTz next_pass; /* none acts before */
	int n_pending;
	LgReplaySuspect **pending; /* who has come to be hit */
} Course;

static int
compare_suspects(const void *a, const void *b)
{
	const LgReplaySuspect *left = a;
	const LgReplaySuspect *right = b;
	int keys;

	if (left->session.backend_start != right->session.backend_start)
		return left->session.backend_start < right->session.backend_start ? -1 : 1;
	keys = left->session.pid - right->session.pid;
	if (keys != 0)
		return keys;
	if (left->since != right->since)
		return left->since < right->since ? -1 : 1;
	return left->began < right->began ? -1 : left->began > right->began;
}

static bool
is_same_process(const LgReplaySuspect *a, const LgReplaySuspect *b)
{
	return a->session.pid == b->session.pid && a->session.backend_start == b->session.backend_start;
}

static int
compare_ready(const void *a, const void *b)
{
	const LgReplaySuspect *left = *(LgReplaySuspect *const *) a;
	const LgReplaySuspect *right = *(LgReplaySuspect *const *) b;

	return left->ready < right->ready ? -1 : left->ready > right->ready;
}

/* As choose.c has it; those of most blocking have been counted. */
static int
compare_turns(const void *a, const void *b, void *arg)
{
	const LgReplaySuspect *left = *(LgReplaySuspect *const *) a;
	const LgReplaySuspect *right = *(LgReplaySuspect *const *) b;
	LgVictimOrder order = ((const LgReplay *) arg)->policy->victim_order;
	int later;

	if (order == LG_ORDER_MOST_BLOCKING && left->waiters != right->waiters)
		return left->waiters > right->waiters ? -1 : 1;
	later = left->since > right->since ? 1 : left->since < right->since ? -1 : 0;
	if (later == 0)
		later = left < right ? -1 : left > right;
	return order == LG_ORDER_YOUNGEST ? -later : later;
}

/* How many it may act on at that moment. */
static int
count_room(const LgReplay *replay, const Course *course, TimestampTz at)
{
	const LgPolicy *policy = replay->policy;
	int64 now = at - course->base;
	int room = policy->max_per_pass == 0 ? PG_INT32_MAX : policy->max_per_pass;

	if (course->policy.last != 0 && now - course->policy.last < policy->cooldown)
		return 0;
	room = Min(room, lg_limiter_room(&course->policy, policy->max_per_minute, now));
	if (policy->action != LG_POLICY_LOG && !lg_choose_is_uncounted(policy))
		room = Min(room, lg_limiter_room(&course->all, lg_max_actions_per_minute, now));
	return room;
}

/* When it is worth asking that again, after there was none. */
static TimestampTz
next_room(const LgReplay *replay, const Course *course, TimestampTz at)
{
	int64 now = at - course->base;
	int64 cooled = course->policy.last + replay->policy->cooldown;

	if (course->policy.last != 0 && cooled > now)
		return course->base + cooled;
	return course->base + (now / USECS_PER_SEC + 1) * USECS_PER_SEC; /* limiters count by seconds */
}

/* Between two passes. */
static int64
interval(const LgReplay *replay)
{
	bool waits = replay->needs_waits || replay->policy->target == LG_TARGET_WAITER;
	int ms = waits ? lg_fast_interval : lg_sample_interval;

	return (ms > 0 ? ms : 1000) * LG_USECS_PER_MSEC;
}

/* What those who wait because of it would not have waited; each wait is credited once. */
static void
credit(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz at)
{
	Queue queue;

	gather(replay, suspect, suspect->episode_ended, &queue);
	for (int i = 0; i < queue.n; i++)
	{
		LgReplayWait *wait = queue.waits[i];

		if (wait->saved || wait->end <= at)
			continue;
		wait->saved = true;
		suspect->saved += wait->end - Max(wait->start, at);
	}
}

/* Would all who wait because of it be free by then, thanks to what was done before? */
static bool
is_harmless(LgReplay *replay, const LgReplaySuspect *suspect, TimestampTz at)
{
	Queue queue;
	int n = 0;

	if (!replay->needs_waits || replay->policy->action == LG_POLICY_LOG ||
		replay->policy->target == LG_TARGET_QUEUED_DDL)
		return false;
	gather(replay, suspect, suspect->ended, &queue);
	for (int i = 0; i < queue.n; i++)
	{
		if (queue.waits[i]->start > at || queue.waits[i]->end <= at)
			continue;
		if (!queue.waits[i]->saved)
			return false;
		n++;
	}
	return n > 0;
}

/* The policy acts; other rows of the same process are over, or have been told. */
static void
act(LgReplay *replay, Course *course, LgReplaySuspect *suspect, TimestampTz at)
{
	const LgPolicy *policy = replay->policy;
	const LgReplaySuspect *end = replay->suspects + replay->n_suspects;
	bool ends = policy->action != LG_POLICY_LOG &&
				lg_pending_first_action(policy, &suspect->session) == LG_ACTION_TERMINATE;

	describe(replay, suspect, at, LG_WHY_HIT);
	credit(replay, suspect, at);
	lg_limiter_count(&course->policy, at - course->base);
	lg_limiter_count(&course->all, at - course->base);
	for (int step = -1; step <= 1; step += 2)
	{
		for (LgReplaySuspect *other = suspect + step;
			 other >= replay->suspects && other < end && is_same_process(other, suspect);
			 other += step)
		{
			bool same = other->since == suspect->since;
			bool untold = other->at == 0 || other->at > at || other->why == LG_WHY_OVER_LIMIT;

			if (!ends && !same)
				break;
			if (same || (untold && other->ended > at))
				other->gone = true;
		}
	}
}

/*
 * Bring who is pending up to date, and put those who are hit at that moment in
 * front.  Returns how many they are; *next: when another one is.
 */
static int
put_ready_first(LgReplay *replay, Course *course, TimestampTz at, TimestampTz *next)
{
	int kept = 0;
	int ready = 0;

	*next = NEVER;
	for (int i = 0; i < course->n_pending; i++)
	{
		LgReplaySuspect *suspect = course->pending[i];

		CHECK_FOR_INTERRUPTS();
		if (suspect->gone)
			continue;
		if (suspect->ready_until <= at || (suspect->ready <= at && next_in_force(replay, at) > at))
			make_ready(replay, suspect, at);
		if (suspect->ready == NEVER)
			continue;
		course->pending[kept++] = suspect;
		if (suspect->ready > at)
		{
			*next = Min(*next, suspect->ready);
			continue;
		}
		if (is_harmless(replay, suspect, at))
		{
			suspect->gone = true;
			kept--;
			continue;
		}
		if (replay->policy->victim_order == LG_ORDER_MOST_BLOCKING)
		{
			TimestampTz since;
			Queue queue;

			gather(replay, suspect, suspect->ended, &queue);
			suspect->waiters = count_waiting(&queue, at, &since);
		}
		course->pending[kept - 1] = course->pending[ready];
		course->pending[ready++] = suspect;
		MemoryContextReset(replay->scratch);
	}
	course->n_pending = kept;
	return ready;
}

/* Put those first whose turn it is; the oldest, where it is left alone, last. */
static void
put_in_turn(LgReplay *replay, LgReplaySuspect **ready, int n, int room)
{
	if (n > 1 && room == 1 && replay->policy->victim_order != LG_ORDER_ALL_BUT_OLDEST)
	{
		int best = 0;
		LgReplaySuspect *swap;

		for (int i = 1; i < n; i++)
		{
			if (compare_turns(&ready[i], &ready[best], replay) < 0)
				best = i;
		}
		swap = ready[0];
		ready[0] = ready[best];
		ready[best] = swap;
	}
	else if (n > 1)
		qsort_arg(ready, n, sizeof(*ready), compare_turns, replay);
}

/* One pass.  Returns when the next is due because of those who are pending. */
static TimestampTz
make_pass(LgReplay *replay, Course *course, TimestampTz at)
{
	bool leaves_oldest = replay->policy->victim_order == LG_ORDER_ALL_BUT_OLDEST;
	int room = count_room(replay, course, at);
	TimestampTz next;
	int n;
	int acted = 0;

	if (room == 0)
		return course->next_pass = next_room(replay, course, at);
	n = put_ready_first(replay, course, at, &next);
	put_in_turn(replay, course->pending, n, room);
	if (leaves_oldest && n > 0)
		course->pending[0]->at = 0; /* which is no news */
	for (int i = leaves_oldest ? 1 : 0; i < n && acted < room; i++)
	{
		if (course->pending[i]->gone) /* another row of a process that was met before */
			continue;
		act(replay, course, course->pending[i], at);
		course->pending[i]->ready = NEVER;
		course->pending[i]->ready_until = 0;
		course->pending[i]->n_hits = 0;
		acted++;
		MemoryContextReset(replay->scratch);
	}
	if (acted == room)
		course->next_pass = at + Max(replay->policy->cooldown, interval(replay));
	if (n - (leaves_oldest ? 1 : 0) > acted)
		next = Min(next, course->next_pass);
	return next;
}

/* Somebody comes to be hit, while nobody may be acted on. */
static void
note_arrival(LgReplay *replay, Course *course, LgReplaySuspect *suspect)
{
	if (suspect->gone)
		return;
	course->pending[course->n_pending++] = suspect;
	describe(replay, suspect, suspect->ready, LG_WHY_OVER_LIMIT);
	MemoryContextReset(replay->scratch);
}

/* Go through time: who would have been acted on, when, and what that would have saved. */
static void
go_through_time(LgReplay *replay)
{
	Course *course = MemoryContextAllocZero(replay->context, sizeof(Course));
	LgReplaySuspect **arrivals =
		MemoryContextAllocHuge(replay->context, sizeof(*arrivals) * (replay->n_suspects + 1));
	TimestampTz due = NEVER;
	int n = 0;
	int i = 0;

	qsort(replay->suspects, replay->n_suspects, sizeof(LgReplaySuspect), compare_suspects);
	for (int s = 0; s < replay->n_suspects; s++)
	{
		if (replay->suspects[s].n_hits > 0)
			arrivals[n++] = &replay->suspects[s];
	}
	if (n == 0)
		return;
	qsort(arrivals, n, sizeof(*arrivals), compare_ready);
	course->pending =
		MemoryContextAllocHuge(replay->context, sizeof(*arrivals) * (replay->n_suspects + 1));
	course->base = arrivals[0]->ready - USECS_PER_SEC;
	course->next_pass = arrivals[0]->ready;

	while (i < n || due != NEVER)
	{
		TimestampTz at = i < n ? Min(arrivals[i]->ready, due) : due;

		CHECK_FOR_INTERRUPTS();
		while (i < n && arrivals[i]->ready <= at)
			note_arrival(replay, course, arrivals[i++]);
		if (at < course->next_pass)
			due = course->next_pass;
		else
			due = make_pass(replay, course, at);
	}
}

/* ------------------------------------------------------------------------
 * What is told
 * ------------------------------------------------------------------------
 */

static const char *
verdict_of(const LgReplay *replay, const LgReplaySuspect *suspect)
{
	if (suspect->why == LG_WHY_HIT)
		return lg_policy_action_name(replay->policy->action);
	return suspect->why == LG_WHY_OVER_LIMIT ? "over limit" : "spared";
}

static void
add_suspect(LgRows *rows, const LgReplay *replay, const LgReplaySuspect *suspect)
{
	lg_rows_begin_row(rows);
	lg_rows_add_time(rows, suspect->at);
	lg_rows_add_pid(rows, suspect->session.pid);
	lg_rows_add_time(rows, suspect->session.backend_start);
	lg_rows_add_text(rows, suspect->usename[0] ? suspect->usename : NULL);
	lg_rows_add_text(rows, suspect->datname[0] ? suspect->datname : NULL);
	lg_rows_add_text(rows, suspect->application_name);
	lg_rows_add_text(rows, verdict_of(replay, suspect));
	lg_rows_add_text(rows, suspect->reason);
	lg_rows_add_int(rows, suspect->waiters);
	lg_rows_add(rows, Float8GetDatum((double) suspect->saved / USECS_PER_SEC));
	lg_rows_add_text(rows, lg_replay_unknown(replay->policy->target));
	lg_rows_end_row(rows);
}

/* Of those rows of one episode that tell of no action only the first is told. */
static void
add_all(LgRows *rows, const LgReplay *replay)
{
	const LgReplaySuspect *told = NULL;

	for (int i = 0; i < replay->n_suspects; i++)
	{
		const LgReplaySuspect *suspect = &replay->suspects[i];

		CHECK_FOR_INTERRUPTS();
		if (suspect->at == 0 || suspect->gone ||
			(told != NULL && is_same_process(told, suspect) && told->since == suspect->since))
			continue;
		add_suspect(rows, replay, suspect);
		told = suspect;
	}
}

/* Refuse what no history tells of. */
static void
check_replayable(const LgPolicy *policy)
{
	bool on_waiters = policy->target == LG_TARGET_WAITER;
	const char *column = policy->min_horizon_age > 0				 ? "min_horizon_age"
						 : policy->min_same_query > 0				 ? "min_same_query"
						 : policy->connections_above > 0			 ? "connections_above"
						 : on_waiters && policy->min_blocked > 0	 ? "min_blocked"
						 : on_waiters && policy->min_blocked_for > 0 ? "min_blocked_for"
																	 : NULL;

	if (lg_replay_unknown(policy->target) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replay a policy on target \"%s\"",
						lg_policy_target_name(policy->target)),
				 errdetail("The histories hold lock waits and stays idle in transaction."),
				 errhint("Let the policy run with action \"log\", and read lifeguard.ledger.")));
	if (column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replay a policy on target \"%s\" with %s",
						lg_policy_target_name(policy->target), column),
				 errdetail("The histories do not tell it for each session and moment."),
				 errhint("Let the policy run with action \"log\", and read lifeguard.ledger.")));
}

/*
 * lifeguard.replay_episodes(policy, since, until): whom a policy, which must be
 * complete, would have acted on, by what the caller may see of the histories.
 */
Datum
pg_lifeguard_replay_episodes(PG_FUNCTION_ARGS)
{
	LgReplay *replay = palloc0(sizeof(LgReplay));
	LgRows rows;
	MemoryContext caller;

	replay->since = PG_GETARG_TIMESTAMPTZ(1);
	replay->until = PG_GETARG_TIMESTAMPTZ(2);
	if (replay->until < replay->since)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("argument \"until\" must not be earlier than \"since\"")));
	replay->context =
		AllocSetContextCreate(CurrentMemoryContext, "pg_lifeguard replay", ALLOCSET_DEFAULT_SIZES);
	replay->scratch =
		AllocSetContextCreate(replay->context, "pg_lifeguard replay row", ALLOCSET_DEFAULT_SIZES);
	lg_rows_begin(&rows, fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to the SPI manager");
	replay->policy = lg_policy_table_read_row(
		PG_GETARG_DATUM(0), get_fn_expr_argtype(fcinfo->flinfo, 0), replay->context);
	check_replayable(replay->policy);
	replay->alone = lg_policies_alone(replay->policy);
	replay->local = &replay->alone->policies[0];
	replay->needs_waits = replay->policy->min_blocked > 0 || replay->policy->min_blocked_for > 0 ||
						  replay->policy->target == LG_TARGET_BLOCKER ||
						  replay->policy->target == LG_TARGET_QUEUED_DDL;
	lg_replay_read_waits(replay);
	lg_rights_open(replay->alone);
	lg_replay_read_suspects(replay, look);
	lg_rights_close();
	caller = MemoryContextSwitchTo(replay->scratch);
	go_through_time(replay);
	MemoryContextSwitchTo(caller);
	SPI_finish();

	add_all(&rows, replay);
	MemoryContextDelete(replay->context);
	PG_RETURN_NULL();
}
