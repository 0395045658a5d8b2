/*-------------------------------------------------------------------------
 * policies.c
 *		The policies as published, and this process's own copy of them.
 *
 * The keeper reads lifeguard.policy and publishes the whole set at once;
 * whoever decides works on a copy of its own, made when the set has changed, so
 * that a pass holds no lock while it looks at policies.  Only one process
 * publishes at a time: the keeper or, while none runs, the collector.
 *
 * Locking: lg_shared->policies_lock, held only to copy.  What is published is
 * prepared before, and a copy's memory is there before it is filled.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"

#include "policies.h"
#include "settings.h"
#include "shared.h"

/*
 * Bytes of shared memory that the set takes.
 */
Size
lg_policies_size(void)
{
	return MAXALIGN(
		add_size(offsetof(LgPolicySet, policies), mul_size(lg_max_policies, sizeof(LgPolicy))));
}

/*
 * Make an empty set in zeroed memory of lg_policies_size() bytes.
 */
void
lg_policies_init(LgPolicySet *set)
{
	set->capacity = lg_max_policies;
}

/* ------------------------------------------------------------------------
 * Publishing
 * ------------------------------------------------------------------------
 */

/* Which place each of the new policies takes: the one it had, or a free one. */
static void
assign_places(const LgPolicySet *set, const LgPolicy *policies, int n, const LgPolicy **placed)
{
	bool *has_place = palloc0(sizeof(bool) * Max(n, 1));
	int free_place = 0;

	for (int place = 0; place < set->capacity; place++)
	{
		placed[place] = NULL;
		for (int i = 0; i < n && set->policies[place].name[0] != '\0'; i++)
		{
			if (strcmp(set->policies[place].name, policies[i].name) == 0)
			{
				placed[place] = &policies[i];
				has_place[i] = true;
				break;
			}
		}
	}
	for (int i = 0; i < n; i++)
	{
		if (has_place[i])
			continue;
		while (free_place < set->capacity && placed[free_place] != NULL)
			free_place++;
		if (free_place >= set->capacity)
			elog(ERROR, "%d policies do not fit into %d places", n, set->capacity);
		placed[free_place] = &policies[i];
	}
	pfree(has_place);
}

static bool
place_differs(const LgPolicy *place, const LgPolicy *policy)
{
	if (policy == NULL)
		return place->name[0] != '\0';
	return memcmp(place, policy, sizeof(LgPolicy)) != 0;
}

/*
 * Put these policies in force, instead of all that were: n of them, at most the
 * set's capacity, each in memory that was zeroed before it was filled (so that
 * equal ones are equal byte for byte) and no two of one name.  problem, or NULL,
 * says what is wrong with others that are left out.  They are in the encoding of
 * the caller's database.  Takes policies_lock exclusively, to copy what has
 * changed.  Only one process may publish at a time, so it reads the set without
 * the lock.  Asks for a pass after a change; waking the collector for it is left
 * to the caller.
 */
void
lg_policies_publish(const LgPolicy *policies, int n, const char *problem, TimestampTz now)
{
	LgPolicySet *set = lg_shared->policies;
	const LgPolicy **placed = palloc(sizeof(LgPolicy *) * set->capacity);
	bool *differs = palloc(sizeof(bool) * set->capacity);
	bool changed = set->generation == 0 || set->databaseid != MyDatabaseId;

	assign_places(set, policies, n, placed);
	for (int place = 0; place < set->capacity; place++)
	{
		differs[place] = place_differs(&set->policies[place], placed[place]);
		changed |= differs[place];
	}

	LWLockAcquire(lg_shared->policies_lock, LW_EXCLUSIVE);
	for (int place = 0; place < set->capacity; place++)
	{
		if (!differs[place])
			continue;
		if (placed[place] != NULL)
			memcpy(&set->policies[place], placed[place], sizeof(LgPolicy));
		else
			set->policies[place].name[0] = '\0';
	}
	set->databaseid = MyDatabaseId;
	if (changed)
	{
		set->generation++;
		set->published_at = now;
	}
	set->n = n;
	set->read_at = now;
	set->fails_since = 0;
	strlcpy(set->problem, problem != NULL ? problem : "", LG_PROBLEM_SIZE);
	LWLockRelease(lg_shared->policies_lock);

	if (changed)
		pg_atomic_write_u32(&lg_shared->pass_wanted, 1); /* what is new may be due long since */
	pfree(placed);
	pfree(differs);
}

/*
 * Let no policy be in force, and say why.  Takes policies_lock for a moment.
 * Allocates nothing: the collector calls it, too.
 */
void
lg_policies_withdraw(const char *problem, TimestampTz now)
{
	LgPolicySet *set = lg_shared->policies;
	bool changed = set->generation == 0;

	LWLockAcquire(lg_shared->policies_lock, LW_EXCLUSIVE);
	for (int place = 0; place < set->capacity; place++)
	{
		changed |= set->policies[place].name[0] != '\0';
		set->policies[place].name[0] = '\0';
	}
	set->n = 0;
	if (changed)
	{
		set->generation++;
		set->published_at = now;
	}
	set->fails_since = 0;
	strlcpy(set->problem, problem, LG_PROBLEM_SIZE);
	LWLockRelease(lg_shared->policies_lock);
}

/*
 * Say that the policies cannot be read now, and why: those published stay in
 * force.  Takes policies_lock for a moment; allocates nothing.
 */
void
lg_policies_note_failure(const char *problem, TimestampTz now)
{
	LgPolicySet *set = lg_shared->policies;

	LWLockAcquire(lg_shared->policies_lock, LW_EXCLUSIVE);
	if (set->fails_since == 0)
		set->fails_since = now;
	strlcpy(set->problem, problem, LG_PROBLEM_SIZE);
	LWLockRelease(lg_shared->policies_lock);
}

/*
 * Copy what is to be said of the set: all but the policies.  Needs lg_shared; takes policies_lock, shared, for a moment.
 */
void
lg_policies_describe(LgPolicySet *head)
{
	LWLockAcquire(lg_shared->policies_lock, LW_SHARED);
	memcpy(head, lg_shared->policies, offsetof(LgPolicySet, policies));
	LWLockRelease(lg_shared->policies_lock);
}

/* ------------------------------------------------------------------------
 * A process's own copy
 * ------------------------------------------------------------------------
 */

/* Make room for so many. */
static void
init_copy(LgLocalPolicies *copy, int room)
{
	LgPolicy *policies = palloc0(sizeof(LgPolicy) * Max(room, 1));

	copy->n = 0;
	copy->policies = palloc0(sizeof(LgLocalPolicy) * Max(room, 1));
	for (int i = 0; i < room; i++)
		copy->policies[i].policy = &policies[i];
}

/* Copy the published ones; false if there are more than fit by now. */
static bool
copy_published(LgLocalPolicies *copy, int room)
{
	const LgPolicySet *set = lg_shared->policies;
	bool fits;

	LWLockAcquire(lg_shared->policies_lock, LW_SHARED);
	fits = set->n <= room;
	for (int place = 0; fits && place < set->capacity; place++)
	{
		LgLocalPolicy *local = &copy->policies[copy->n];

		if (set->policies[place].name[0] == '\0')
			continue;
		memcpy(local->policy, &set->policies[place], sizeof(LgPolicy));
		local->place = place;
		copy->n++;
	}
	copy->generation = set->generation;
	copy->databaseid = set->databaseid;
	LWLockRelease(lg_shared->policies_lock);
	return fits;
}

static int
compare_durations(const void *a, const void *b)
{
	const LgLocalPolicy *one = *(LgLocalPolicy *const *) a;
	const LgLocalPolicy *other = *(LgLocalPolicy *const *) b;

	if (one->policy->min_duration != other->policy->min_duration)
		return one->policy->min_duration < other->policy->min_duration ? -1 : 1;
	return one->place - other->place;
}

/* Everything that follows from the policies and would be tedious in each pass. */
static void
complete_copy(LgLocalPolicies *copy)
{
	for (int target = 0; target < LG_TARGETS; target++)
		copy->by_target[target] = palloc(sizeof(LgLocalPolicy *) * Max(copy->n, 1));

	for (int i = 0; i < copy->n; i++)
	{
		LgLocalPolicy *local = &copy->policies[i];
		LgPolicy *policy = local->policy;

		local->needs = lg_policy_needs(policy);
		local->index = i;
		local->action = policy->action;
		local->any_database = policy->filters[LG_FILTER_DATABASES].count == 0 &&
							  policy->filters[LG_FILTER_EXCEPT_DATABASES].count == 0;
		local->limit = lg_policy_limit(policy);
		local->zone = policy->time_zone[0] != '\0' ? pg_tzset(policy->time_zone) : log_timezone;
		local->checked_minute = PG_INT64_MIN;
		if (policy->enabled)
			copy->by_target[policy->target][copy->n_by_target[policy->target]++] = local;
	}
	for (int target = 0; target < LG_TARGETS; target++)
		qsort(copy->by_target[target], copy->n_by_target[target], sizeof(LgLocalPolicy *),
			  compare_durations);
}

static LgLocalPolicies *
make_copy(void)
{
	LgLocalPolicies *copy = palloc0(sizeof(LgLocalPolicies));
	LgPolicySet head;
	int room;

	do
	{
		CHECK_FOR_INTERRUPTS();
		lg_policies_describe(&head);
		room = head.n;
		init_copy(copy, room);
	} while (!copy_published(copy, room));
	complete_copy(copy);
	return copy;
}

/*
 * A set of one policy that is not published, in the current memory context, as if
 * it were enabled.
 */
LgLocalPolicies *
lg_policies_alone(const LgPolicy *policy)
{
	static uint64 generation = PG_UINT64_MAX; /* never that of a published set */
	LgLocalPolicies *alone = palloc0(sizeof(LgLocalPolicies));

	alone->generation = generation--;
	alone->databaseid = MyDatabaseId;
	init_copy(alone, 1);
	alone->n = 1;
	*alone->policies[0].policy = *policy;
	alone->policies[0].policy->enabled = true;
	complete_copy(alone);
	return alone;
}

/*
 * Which set is published: it grows with every change.  Takes policies_lock,
 * shared, for a moment.
 */
uint64
lg_policies_generation(void)
{
	uint64 generation;

	LWLockAcquire(lg_shared->policies_lock, LW_SHARED);
	generation = lg_shared->policies->generation;
	LWLockRelease(lg_shared->policies_lock);
	return generation;
}

/*
 * The policies, ready to be used: this process's own copy, which the next call
 * may replace.  None while pg_lifeguard is not preloaded or nothing has been
 * published.  Takes policies_lock, shared, for a moment; reads time zone files
 * after a change.
 */
LgLocalPolicies *
lg_policies_get(void)
{
	static LgLocalPolicies none;
	static LgLocalPolicies *copy = NULL;
	static MemoryContext context = NULL;
	static pg_tz *zone_of_log = NULL;
	MemoryContext fresh;
	MemoryContext caller;

	if (lg_shared == NULL)
		return &none;
	if (copy != NULL && copy->generation == lg_policies_generation() && zone_of_log == log_timezone)
		return copy;

	/* on an error the old copy stays, and this context goes with the caller's */
	fresh = AllocSetContextCreate(CurrentMemoryContext, "pg_lifeguard policies",
								  ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(fresh);
	zone_of_log = NULL;
	copy = make_copy();
	MemoryContextSwitchTo(caller);

	MemoryContextSetParent(fresh, TopMemoryContext);
	if (context != NULL)
		MemoryContextDelete(context);
	context = fresh;
	zone_of_log = log_timezone;
	return copy;
}

/*
 * The policy of that name, or NULL.
 */
LgLocalPolicy *
lg_policies_find(LgLocalPolicies *policies, const char *name)
{
	for (int i = 0; i < policies->n; i++)
	{
		if (strcmp(policies->policies[i].policy->name, name) == 0)
			return &policies->policies[i];
	}
	return NULL;
}

/*
 * Does its schedule match this minute?  Worked out once a minute.  Never while
 * its time zone cannot be loaded.
 */
bool
lg_policies_in_schedule(LgLocalPolicy *local, TimestampTz now)
{
	int64 minute = now / USECS_PER_MINUTE - (now < 0 && now % USECS_PER_MINUTE != 0);

	if (local->checked_minute != minute)
	{
		local->in_schedule =
			local->zone != NULL && lg_schedule_in_force(&local->policy->schedule, local->zone, now);
		local->checked_minute = minute;
	}
	return local->in_schedule;
}
