/*-------------------------------------------------------------------------
 * replay_turns.c
 *		Whose turn it is in a replay.
 *
 * Time is gone through once, from one moment to the next at which the policy could
 * act: when somebody comes to be hit, and when its limits allow one more.  Who is
 * over limit stays pending until his turn comes, or he is not hit any more, as from
 * pass to pass.
 *
 * Whoever is terminated does nothing more: the other rows of its process are gone.
 *
 * Locking: none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "choose.h"
#include "clock.h"
#include "limiter.h"
#include "pending.h"
#include "replay.h"
#include "settings.h"

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

/*
 * Are they the same process?
 */
bool
lg_replay_same_process(const LgReplaySuspect *a, const LgReplaySuspect *b)
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
	LgReplayQueue queue;

	lg_replay_gather(replay, suspect, suspect->episode_ended, &queue);
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
	LgReplayQueue queue;
	int n = 0;

	if (!replay->needs_waits || replay->policy->action == LG_POLICY_LOG ||
		replay->policy->target == LG_TARGET_QUEUED_DDL)
		return false;
	lg_replay_gather(replay, suspect, suspect->ended, &queue);
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

	lg_replay_describe(replay, suspect, at, LG_WHY_HIT);
	credit(replay, suspect, at);
	lg_limiter_count(&course->policy, at - course->base);
	lg_limiter_count(&course->all, at - course->base);
	for (int step = -1; step <= 1; step += 2)
	{
		for (LgReplaySuspect *other = suspect + step;
			 other >= replay->suspects && other < end && lg_replay_same_process(other, suspect);
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

	*next = LG_REPLAY_NEVER;
	for (int i = 0; i < course->n_pending; i++)
	{
		LgReplaySuspect *suspect = course->pending[i];

		CHECK_FOR_INTERRUPTS();
		if (suspect->gone)
			continue;
		if (suspect->ready_until <= at ||
			(suspect->ready <= at && lg_replay_next_in_force(replay, at) > at))
			lg_replay_make_ready(replay, suspect, at);
		if (suspect->ready == LG_REPLAY_NEVER)
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
			LgReplayQueue queue;

			lg_replay_gather(replay, suspect, suspect->ended, &queue);
			suspect->waiters = lg_replay_count_waiting(&queue, at, &since);
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
		course->pending[i]->ready = LG_REPLAY_NEVER;
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
	lg_replay_describe(replay, suspect, suspect->ready, LG_WHY_OVER_LIMIT);
	MemoryContextReset(replay->scratch);
}

/*
 * Go through time: who would have been acted on, when, and what that would have
 * saved; it is noted with the suspects, which are sorted by process and time.
 * Resets replay->scratch, so the caller keeps nothing there.
 */
void
lg_replay_go_through_time(LgReplay *replay)
{
	Course *course = MemoryContextAllocZero(replay->context, sizeof(Course));
	LgReplaySuspect **arrivals =
		MemoryContextAllocHuge(replay->context, sizeof(*arrivals) * (replay->n_suspects + 1));
	TimestampTz due = LG_REPLAY_NEVER;
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

	while (i < n || due != LG_REPLAY_NEVER)
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
