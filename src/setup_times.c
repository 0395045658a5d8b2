/*-------------------------------------------------------------------------
 * setup_times.c
 *		How long connections take to be ready, and how many there are.
 *
 * A connection is ready when the transaction in which a backend starts has
 * committed: the first commit after authentication.  Its time counts from the
 * start of the process; what it waited before, for the postmaster, nobody inside
 * knows.  From there on it costs a transaction one look at a variable of its own
 * process.
 *
 * Connections are counted by what the client called itself when it connected and by
 * its address, in a table of fixed size.  A group is found, or claimed, by a hash of
 * 64 bits of that, in one compare-and-swap: it alone says which group it is, so that
 * nobody ever waits for who has claimed one and still writes down its name.  What
 * finds no room is counted in the last group, which has no name.
 *
 * Durations are counted in eighths of the histogram's unit: it begins at 1/8 ms, since
 * a log-in may take less than the millisecond at which its buckets begin.
 *
 * Locking: none; every number is an atomic of its own.  A reader may find a connection
 * in one and not yet in another.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

/* keep the gssapi headers out; the layout of Port does not change */
#undef ENABLE_GSS
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "libpq/libpq-be.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "histogram.h"
#include "rows.h"
#include "setup_times.h"
#include "shared.h"
#include "test_point.h"
#include "who.h"

#define GROUPS 64				  /* that have a name; one more is for the rest */
#define FINER 8					  /* than histograms of whole milliseconds */
#define RATE_SECONDS 60			  /* that the rate is of */
#define SECONDS 64				  /* kept: those, and the one under way */
#define COUNT_BITS 24			  /* of a second's entry; the rest says which second it is */
#define BEING_RESET PG_UINT64_MAX /* in place of an id; no hash is */

PG_FUNCTION_INFO_V1(pg_lifeguard_read_setup_times);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_setup_histogram);

/* Who connects.  Without padding that could differ: it is hashed as it is. */
typedef struct SetupKey
{
	LgClient client;
	char application_name[NAMEDATALEN]; /* ASCII, as the server takes it from the packet */
} SetupKey;

/* Times are in microseconds. */
typedef struct SetupGroup
{
	pg_atomic_uint64 named; /* the id whose key has been written down; 0 = none */
	SetupKey key;			/* written once, by whoever claimed the group */
	pg_atomic_uint64 ready[LG_HISTOGRAM_BUCKETS];
	pg_atomic_uint64 total; /* from start to ready, of all */
	pg_atomic_uint64 max;
	pg_atomic_uint64 ended;
	pg_atomic_uint64 lives;			   /* of those that ended */
	pg_atomic_uint64 seconds[SECONDS]; /* number of the second, and connections in it */
} SetupGroup;

typedef struct LgSetupTimes
{
	pg_atomic_uint64 since;		  /* start, or reset; a TimestampTz */
	pg_atomic_uint64 ids[GROUPS]; /* hash of the key; 0 = free.  Only a reset frees */
	SetupGroup groups[GROUPS + 1];
} LgSetupTimes;

/* What is counted of a client, or of all that have no name. */
typedef struct SetupSum
{
	bool named;
	SetupKey key;
	uint64 connections;
	uint64 recent; /* of these */
	uint64 ended;
	uint64 lives;
	int64 max;
	double weights[LG_HISTOGRAM_BUCKETS];
} SetupSum;

bool lg_setup_times_awaited = false;

/*
 * Bytes of shared memory.
 */
Size
lg_setup_times_size(void)
{
	return MAXALIGN(sizeof(LgSetupTimes));
}

static void
init_group(SetupGroup *group)
{
	pg_atomic_init_u64(&group->named, 0);
	for (int i = 0; i < LG_HISTOGRAM_BUCKETS; i++)
		pg_atomic_init_u64(&group->ready[i], 0);
	pg_atomic_init_u64(&group->total, 0);
	pg_atomic_init_u64(&group->max, 0);
	pg_atomic_init_u64(&group->ended, 0);
	pg_atomic_init_u64(&group->lives, 0);
	for (int i = 0; i < SECONDS; i++)
		pg_atomic_init_u64(&group->seconds[i], 0);
}

/*
 * Begin with nothing.  Called once, when shared memory is created.
 */
void
lg_setup_times_init(void)
{
	LgSetupTimes *times = lg_shared->setup_times;

	pg_atomic_init_u64(&times->since, (uint64) GetCurrentTimestamp());
	for (int i = 0; i < GROUPS; i++)
		pg_atomic_init_u64(&times->ids[i], 0);
	for (int i = 0; i <= GROUPS; i++)
		init_group(&times->groups[i]);
}

static void
clear_group(SetupGroup *group)
{
	for (int i = 0; i < LG_HISTOGRAM_BUCKETS; i++)
		pg_atomic_write_u64(&group->ready[i], 0);
	pg_atomic_write_u64(&group->total, 0);
	pg_atomic_write_u64(&group->max, 0);
	pg_atomic_write_u64(&group->ended, 0);
	pg_atomic_write_u64(&group->lives, 0);
	for (int i = 0; i < SECONDS; i++)
		pg_atomic_write_u64(&group->seconds[i], 0);
}

/* Claim a place, free or not, from everybody else.  A claim under way is waited for. */
static void
claim_to_reset(LgSetupTimes *times, int place)
{
	for (;;)
	{
		uint64 id = pg_atomic_read_u64(&times->ids[place]);

		if (id != BEING_RESET && id == pg_atomic_read_u64(&times->groups[place].named) &&
			pg_atomic_compare_exchange_u64(&times->ids[place], &id, BEING_RESET))
			return;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000L);
	}
}

/*
 * Count anew, and free all groups: each is claimed for that, so two never write to one
 * group's key, and nothing between its claim and its release can raise an error.  Whoever
 * has found its group just now may count in it when it is free, or another's: it counts
 * once all the same.
 */
void
lg_setup_times_reset(TimestampTz now)
{
	LgSetupTimes *times = lg_shared->setup_times;

	for (int i = 0; i < GROUPS; i++)
	{
		if (i == GROUPS / 2)
			LG_TEST_POINT("middle of a reset");
		claim_to_reset(times, i);
		clear_group(&times->groups[i]);
		pg_atomic_write_u64(&times->groups[i].named, 0);
		pg_write_barrier();
		pg_atomic_write_u64(&times->ids[i], 0);
	}
	clear_group(&times->groups[GROUPS]);
	pg_atomic_write_u64(&times->since, (uint64) now);
}

/* What this session's client is counted under. */
static void
make_key(SetupKey *key)
{
	memset(key, 0, sizeof(SetupKey));
	lg_who_keep_client(&MyProcPort->raddr, &key->client);
	if (MyProcPort->application_name != NULL)
		strlcpy(key->application_name, MyProcPort->application_name, NAMEDATALEN);
}

/* The group of this session, claimed if it is a new one; the last if there is no room. */
static SetupGroup *
my_group(void)
{
	LgSetupTimes *times = lg_shared->setup_times;
	SetupKey key;
	uint64 id;

	make_key(&key);
	id = hash_bytes_extended((const unsigned char *) &key, sizeof(key), 0);
	id = Min(Max(id, 1), BEING_RESET - 1);
	for (int i = 0; i < GROUPS; i++)
	{
		int place = (id + i) % GROUPS;
		uint64 there = pg_atomic_read_u64(&times->ids[place]);

		if (there == 0 && pg_atomic_compare_exchange_u64(&times->ids[place], &there, id))
		{
			times->groups[place].key = key;
			pg_write_barrier();
			pg_atomic_write_u64(&times->groups[place].named, id);
			there = id;
		}
		if (there == id)
			return &times->groups[place];
	}
	return &times->groups[GROUPS];
}

/* One more in the second of that moment; what the place had of another second goes. */
static void
count_in_second(SetupGroup *group, TimestampTz now)
{
	uint64 second = (uint64) (now / USECS_PER_SEC);
	pg_atomic_uint64 *place = &group->seconds[second % SECONDS];
	uint64 was = pg_atomic_read_u64(place);
	uint64 becomes;

	do
	{
		becomes = (was >> COUNT_BITS) == second ? was + 1 : (second << COUNT_BITS) + 1;
	} while (!pg_atomic_compare_exchange_u64(place, &was, becomes));
}

/* This session ends: it counts if it was ready. */
static void
note_end(int code, Datum arg)
{
	SetupGroup *group;
	TimestampTz now;

	if (lg_setup_times_awaited)
		return;
	group = my_group();
	now = GetCurrentTimestamp();
	pg_atomic_fetch_add_u64(&group->ended, 1);
	pg_atomic_fetch_add_u64(&group->lives, Max(now - MyStartTimestamp, 0));
}

/*
 * The first commit of a session that awaits it: it is ready.  Without a lock, and
 * without any error.
 */
void
lg_setup_times_note_ready(void)
{
	SetupGroup *group = my_group();
	TimestampTz now = GetCurrentTimestamp();
	uint64 took = (uint64) Max(now - MyStartTimestamp, 0);
	uint64 max = pg_atomic_read_u64(&group->max);

	lg_setup_times_awaited = false;
	pg_atomic_fetch_add_u64(&group->ready[lg_histogram_bucket(took * FINER)], 1);
	pg_atomic_fetch_add_u64(&group->total, took);
	while (took > max && !pg_atomic_compare_exchange_u64(&group->max, &max, took))
		;
	count_in_second(group, now);
}

/* For a session in which farewell.c does not hear of commits. */
static void
at_xact_event(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && lg_setup_times_awaited)
		lg_setup_times_note_ready();
}

/*
 * A client session has just authenticated: await that it is ready.  heard: somebody
 * else will call lg_setup_times_note_ready() at its first commit.
 */
void
lg_setup_times_begin(bool heard)
{
	lg_setup_times_awaited = true;
	before_shmem_exit(note_end, (Datum) 0);
	if (!heard)
		RegisterXactCallback(at_xact_event, NULL);
}

/* Connections in the last RATE_SECONDS whole seconds, and in the one under way. */
static uint64
count_recent(SetupGroup *group, uint64 this_second)
{
	uint64 sum = 0;

	for (int i = 0; i < SECONDS; i++)
	{
		uint64 entry = pg_atomic_read_u64(&group->seconds[i]);
		uint64 second = entry >> COUNT_BITS;

		if (second <= this_second && second + RATE_SECONDS >= this_second)
			sum += entry & ((UINT64CONST(1) << COUNT_BITS) - 1);
	}
	return sum;
}

/* So many recent connections per second; NaN where all began less than a second ago. */
static double
rate_of(uint64 recent, TimestampTz since, TimestampTz now)
{
	TimestampTz begin = Max(since, (now / USECS_PER_SEC - RATE_SECONDS) * USECS_PER_SEC);

	if (now - begin < USECS_PER_SEC)
		return get_float8_nan();
	return (double) recent * USECS_PER_SEC / (now - begin);
}

/* Add the buckets of a group as they are now; returns how many connections these are. */
static uint64
add_buckets(SetupGroup *group, double *weights)
{
	uint64 sum = 0;

	for (int i = 0; i < LG_HISTOGRAM_BUCKETS; i++)
	{
		uint64 n = pg_atomic_read_u64(&group->ready[i]);

		weights[i] += (double) n;
		sum += n;
	}
	return sum;
}

static void
add_percentile(LgRows *rows, const double *weights, double share, int64 max)
{
	int64 took = lg_histogram_percentile_of(weights, LG_HISTOGRAM_BUCKETS, share);

	if (took < 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_span(rows, Min(took / FINER, max));
}

/* Who is counted in a group; false for the last one, and while that is being written. */
static bool
read_key(SetupGroup *group, SetupKey *key)
{
	uint64 named = pg_atomic_read_u64(&group->named);

	pg_read_barrier();
	*key = group->key;
	pg_read_barrier();
	return named != 0 && named == pg_atomic_read_u64(&group->named);
}

/* Add what is counted in a group. */
static void
add_group(SetupSum *sum, SetupGroup *group, TimestampTz now)
{
	sum->connections += add_buckets(group, sum->weights);
	sum->recent += count_recent(group, (uint64) (now / USECS_PER_SEC));
	sum->max = Max(sum->max, (int64) pg_atomic_read_u64(&group->max));
	sum->ended += pg_atomic_read_u64(&group->ended);
	sum->lives += pg_atomic_read_u64(&group->lives);
}

/*
 * Put together what groups of the same client have counted: one that came during a reset
 * may have two (src/README).  sums: zeros, room for GROUPS + 1.  Returns how many.
 */
static int
sum_groups(SetupSum *sums, TimestampTz now)
{
	int n = 0;

	for (int i = 0; i <= GROUPS; i++)
	{
		SetupGroup *group = &lg_shared->setup_times->groups[i];
		SetupKey key;
		bool named = read_key(group, &key);
		int j = 0;

		while (j < n && (sums[j].named != named ||
						 (named && memcmp(&sums[j].key, &key, sizeof(SetupKey)) != 0)))
			j++;
		if (j == n)
		{
			sums[n].named = named;
			sums[n++].key = key;
		}
		add_group(&sums[j], group, now);
	}
	return n;
}

static void
add_row(LgRows *rows, const SetupSum *sum, TimestampTz now, bool may_see)
{
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(&lg_shared->setup_times->since);

	if (sum->connections == 0 && sum->ended == 0)
		return;

	lg_rows_begin_row(rows);
	lg_rows_add_text(rows, sum->named ? sum->key.application_name : NULL);
	if (sum->named && may_see)
		lg_who_add_client(rows, &sum->key.client);
	else
		lg_rows_add_null(rows);
	lg_rows_add_int8(rows, (int64) sum->connections);
	lg_rows_add_numeric(rows, rate_of(sum->recent, since, now), 3);
	add_percentile(rows, sum->weights, 0.5, sum->max);
	add_percentile(rows, sum->weights, 0.95, sum->max);
	add_percentile(rows, sum->weights, 0.99, sum->max);
	if (sum->connections == 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_span(rows, sum->max);
	if (sum->ended == 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_span(rows, (int64) (sum->lives / sum->ended));
	lg_rows_add_int8(rows, (int64) sum->ended);
	lg_rows_end_row(rows);
}

/*
 * lifeguard.read_setup_times(): a row per application and client, for the view
 * setup_times; none unless pg_lifeguard is preloaded.
 */
Datum
pg_lifeguard_read_setup_times(PG_FUNCTION_ARGS)
{
	LgRows rows;
	bool may_see = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	TimestampTz now = GetCurrentTimestamp();
	SetupSum *sums;
	int n;

	lg_rows_begin(&rows, fcinfo);
	if (lg_shared == NULL)
		PG_RETURN_NULL();
	sums = palloc0(sizeof(SetupSum) * (GROUPS + 1));
	n = sum_groups(sums, now);
	for (int i = 0; i < n; i++)
		add_row(&rows, &sums[i], now, may_see);
	PG_RETURN_NULL();
}

/*
 * The setup times of the whole server: how many connections were ready within each
 * bound.  Zeros unless preloaded.
 */
void
lg_setup_times_read(LgSetupHistogram *histogram)
{
	double weights[LG_HISTOGRAM_BUCKETS] = {0};
	double below = 0;
	int bucket = 0;

	memset(histogram, 0, sizeof(LgSetupHistogram));
	for (int i = 0; lg_shared != NULL && i <= GROUPS; i++)
	{
		SetupGroup *group = &lg_shared->setup_times->groups[i];

		if (add_buckets(group, weights) > 0)
			histogram->seconds += (double) pg_atomic_read_u64(&group->total) / USECS_PER_SEC;
	}
	for (int i = 0; i <= LG_SETUP_BOUNDS; i++)
	{
		int64 bound = INT64CONST(1000) << i;

		for (; bucket < LG_HISTOGRAM_BUCKETS; bucket++)
		{
			if (i < LG_SETUP_BOUNDS && lg_histogram_lower(bucket) >= bound * FINER)
				break;
			below += weights[bucket];
		}
		histogram->bounds[i] =
			i < LG_SETUP_BOUNDS ? (double) bound / USECS_PER_SEC : get_float8_infinity();
		histogram->connections[i] = (int64) below;
	}
}

/*
 * lifeguard.read_setup_histogram(): the setup times of the whole server, as a
 * cumulative histogram; no row unless pg_lifeguard is preloaded.
 */
Datum
pg_lifeguard_read_setup_histogram(PG_FUNCTION_ARGS)
{
	LgSetupHistogram histogram;
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	if (lg_shared == NULL)
		PG_RETURN_NULL();
	lg_setup_times_read(&histogram);
	for (int i = 0; i <= LG_SETUP_BOUNDS; i++)
	{
		lg_rows_begin_row(&rows);
		lg_rows_add(&rows, Float8GetDatum(histogram.bounds[i]));
		lg_rows_add_int8(&rows, histogram.connections[i]);
		lg_rows_add(&rows, Float8GetDatum(histogram.seconds));
		lg_rows_end_row(&rows);
	}
	PG_RETURN_NULL();
}
