/*-------------------------------------------------------------------------
 * metrics.c
 *		What a monitoring system asks each second.
 *
 * So it has to be cheap: one walk over the sessions, what the newest pass has
 * published, and counters.  No table, no history and no lock of others is read.
 *
 * Each metric is here for an alert of contrib/prometheus or for a finding; one that
 * is for neither does not belong here, and there are never more than 25 of them.
 * Counters begin with zero when the server does, those of refusals and setup times
 * with lifeguard.reset(), too.
 *
 * Locking: lg_shared->lock to copy what is shared; series.c and rescue_functions.c
 * say what they take.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "collector.h"
#include "incidents.h"
#include "load.h"
#include "refusals.h"
#include "rescue.h"
#include "rows.h"
#include "saturation.h"
#include "series.h"
#include "sessions.h"
#include "setup_times.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_read_metrics);

typedef enum Metric
{
	UP,
	LAST_PASS_AGE,
	PASSES,
	MISSED_PASSES,
	CLOCK_JUMPS,
	CONNECTIONS_MAX,
	CONNECTIONS_USABLE,
	CONNECTIONS_USED,
	CONNECTIONS_HIGH_WATER,
	CONNECTIONS_FULL_IN,
	CONNECTIONS_BY_STATE,
	REFUSALS,
	REFUSALS_COUNTED,
	CONNECTION_SETUP,
	IDLE_IN_TRANSACTION_LONGEST,
	WAITERS,
	BLOCKERS,
	LONGEST_WAIT,
	LOCK_WAIT,
	LOAD,
	INCIDENT,
	ACTIONS,
	POLICIES,
	KEEPER_FAILURES,
	RECORDS_LOST,
	METRICS /* how many there are */
} Metric;

StaticAssertDecl(METRICS <= 25, "few metrics are looked at, many are not");

/* In one namespace, with units where OpenMetrics wants them. */
typedef struct MetricType
{
	const char *name; /* after pg_lifeguard_ */
	const char *type;
	const char *help;
} MetricType;

/* The alert or finding that each is for is in contrib/prometheus/README. */
static const MetricType types[] = {
	[UP] = {"up", "gauge", "Whether the collector watches: 1, or 0 when it does not"},
	[LAST_PASS_AGE] = {"last_pass_age_seconds", "gauge", "Time since the newest pass began"},
	[PASSES] = {"passes_total", "counter", "Passes made"},
	[MISSED_PASSES] = {"missed_passes_total", "counter", "Passes that were due and not made"},
	[CLOCK_JUMPS] = {"clock_jumps_total", "counter",
					 "Times the wall clock moved against the monotonic one"},
	[CONNECTIONS_MAX] = {"connections_max", "gauge", "Regular connection slots"},
	[CONNECTIONS_USABLE] = {"connections_usable", "gauge",
							"Connection slots that any role may take"},
	[CONNECTIONS_USED] = {"connections_used", "gauge", "Connection slots taken"},
	[CONNECTIONS_HIGH_WATER] = {"connections_high_water", "gauge",
								"Most connection slots that a pass ever saw taken"},
	[CONNECTIONS_FULL_IN] = {"connections_full_in_seconds", "gauge",
							 "Forecast of when usable slots are all taken; infinite while their "
							 "number does not rise"},
	[CONNECTIONS_BY_STATE] = {"connections_by_state", "gauge", "Connection slots taken, by state"},
	[REFUSALS] = {"refusals_total", "counter", "Connection attempts turned away, by cause"},
	[REFUSALS_COUNTED] =
		{"refusals_counted", "gauge",
		 "Whether refusals are counted: 1, or 0 where log_min_messages hides them"},
	[CONNECTION_SETUP] = {"connection_setup_seconds", "histogram",
						  "Time from the start of a connection's process until it was ready"},
	[IDLE_IN_TRANSACTION_LONGEST] =
		{"idle_in_transaction_longest_seconds", "gauge",
		 "Longest stay idle in a transaction now; 0 when there is none"},
	[WAITERS] = {"waiters", "gauge", "Sessions and other processes waiting for a lock"},
	[BLOCKERS] = {"blockers", "gauge", "Root blockers"},
	[LONGEST_WAIT] = {"longest_wait_seconds", "gauge", "Longest lock wait now"},
	[LOCK_WAIT] = {"lock_wait_seconds_total", "counter",
				   "Time that sessions have waited for locks"},
	[LOAD] = {"load_average_active", "gauge",
			  "Active sessions in the last minute, on average, by what they waited for"},
	[INCIDENT] = {"incident", "gauge", "Whether an incident is under way"},
	[ACTIONS] = {"actions_total", "counter", "Actions, by what came of them"},
	[POLICIES] = {"policies_by_state", "gauge", "Published policies, by how they stand"},
	[KEEPER_FAILURES] = {"keeper_failures_total", "counter",
						 "What keepers could not do, or could not be sent for"},
	[RECORDS_LOST] = {"records_lost_total", "counter",
					  "Records pushed out of memory before they were in their tables"},
};

StaticAssertDecl(lengthof(types) == METRICS, "every metric is described");

/* What the result is made from. */
typedef struct Scene
{
	LgRows rows;
	TimestampTz now;
	LgStateCounts states;
	int used;
	int64 idle_in_transaction_longest; /* microseconds */
	LgShared shared;				   /* a copy; zeros unless preloaded */
} Scene;

/* A row.  Labels hold nothing that JSON would have to escape. */
static void
add(Scene *scene, Metric metric, const char *suffix, const char *label, const char *value,
	double number)
{
	LgRows *rows = &scene->rows;
	char *labels;

	lg_rows_begin_row(rows);
	labels = label != NULL ? psprintf("{\"%s\": \"%s\"}", label, value) : pstrdup("{}");
	lg_rows_add_text(rows, psprintf("pg_lifeguard_%s%s", types[metric].name, suffix));
	lg_rows_add_text(rows, types[metric].type);
	lg_rows_add(rows, DirectFunctionCall1(jsonb_in, CStringGetDatum(labels)));
	lg_rows_add(rows, Float8GetDatum(number));
	lg_rows_add_text(rows, types[metric].help);
	lg_rows_end_row(rows);
}

static void
add_plain(Scene *scene, Metric metric, double number)
{
	add(scene, metric, "", NULL, NULL, number);
}

static double
seconds(int64 usecs)
{
	return (double) usecs / USECS_PER_SEC;
}

/* One walk over all sessions. */
static void
read_sessions(Scene *scene)
{
	LgSessionScan scan = {0, 0};
	LgSession session;

	while (lg_sessions_next(&scan, &session))
	{
		CHECK_FOR_INTERRUPTS();
		lg_saturation_add(&scene->states, &session);
		if (session.state == STATE_IDLEINTRANSACTION ||
			session.state == STATE_IDLEINTRANSACTION_ABORTED)
			scene->idle_in_transaction_longest = Max(
				scene->idle_in_transaction_longest, lg_clock_age(session.state_change, scene->now));
	}
	scene->used = scan.used;
}

/* What is known without preloading. */
static void
add_connections(Scene *scene)
{
	const LgStateCounts *states = &scene->states;
	int others = scene->used - states->active - states->idle - lg_saturation_in_transaction(states);

	add_plain(scene, CONNECTIONS_MAX, MaxConnections);
	add_plain(scene, CONNECTIONS_USABLE, lg_saturation_usable());
	add_plain(scene, CONNECTIONS_USED, scene->used);
	add(scene, CONNECTIONS_BY_STATE, "", "state", "active", states->active);
	add(scene, CONNECTIONS_BY_STATE, "", "state", "idle", states->idle);
	add(scene, CONNECTIONS_BY_STATE, "", "state", "idle in transaction",
		states->idle_in_transaction);
	add(scene, CONNECTIONS_BY_STATE, "", "state", "idle in transaction (aborted)",
		states->idle_in_transaction_aborted);
	add(scene, CONNECTIONS_BY_STATE, "", "state", "other", Max(others, 0));
	add_plain(scene, IDLE_IN_TRANSACTION_LONGEST, seconds(scene->idle_in_transaction_longest));
}

/* How the collector is, and what the newest pass saw unless that is long ago. */
static void
add_collector(Scene *scene, bool up)
{
	const LgHeartbeat *beat = &scene->shared.beat;
	const LgGauges *gauges = &scene->shared.gauges;
	int64 full_in = lg_series_full_in(scene->used, lg_saturation_usable());

	add_plain(scene, PASSES, beat->passes);
	add_plain(scene, MISSED_PASSES, beat->missed_passes);
	add_plain(scene, CLOCK_JUMPS, beat->clock_jumps);
	add_plain(scene, CONNECTIONS_FULL_IN, full_in < 0 ? get_float8_infinity() : seconds(full_in));
	add_plain(scene, LOCK_WAIT, seconds((int64) lg_counters_waited()));
	if (gauges->high_water > 0)
		add_plain(scene, CONNECTIONS_HIGH_WATER, gauges->high_water);
	if (beat->last_pass.wall == 0)
		return;
	add_plain(scene, LAST_PASS_AGE, seconds(lg_clock_age(beat->last_pass.wall, scene->now)));
	if (!up)
		return;
	add_plain(scene, WAITERS, gauges->waiting);
	add_plain(scene, BLOCKERS, gauges->blockers);
	add_plain(scene, LONGEST_WAIT, seconds(gauges->longest_wait));
	add_plain(scene, INCIDENT, lg_incidents_is_open());
}

/* Every kind that there is has a row, so that none comes and goes. */
static void
add_load(Scene *scene)
{
	double averages[LG_LOAD_CLASSES];

	if (!lg_series_load(averages))
		return;
	for (int class = 0; class < LG_LOAD_CLASSES; class ++)
	{
		const char *name = lg_load_class_name(class);

		if (name != NULL)
			add(scene, LOAD, "", "wait_event_type", name, averages[class]);
	}
}

static void
add_refusals(Scene *scene)
{
	for (int i = 0; i < LG_REFUSAL_CAUSES; i++)
		add(scene, REFUSALS, "", "cause", lg_refusals_cause_name(i), (double) lg_refusals_count(i));
	add_plain(scene, REFUSALS_COUNTED, lg_refusals_are_counted());
}

static void
add_setup_times(Scene *scene)
{
	LgSetupHistogram histogram;

	lg_setup_times_read(&histogram);
	for (int i = 0; i <= LG_SETUP_BOUNDS; i++)
	{
		char bound[32] = "+Inf";

		if (i < LG_SETUP_BOUNDS)
			snprintf(bound, sizeof(bound), "%g", histogram.bounds[i]);
		add(scene, CONNECTION_SETUP, "_bucket", "le", bound, (double) histogram.connections[i]);
	}
	add(scene, CONNECTION_SETUP, "_sum", NULL, NULL, histogram.seconds);
	add(scene, CONNECTION_SETUP, "_count", NULL, NULL,
		(double) histogram.connections[LG_SETUP_BOUNDS]);
}

static void
add_policies(Scene *scene)
{
	static const char *const standings[] = {[LG_IN_FORCE] = "in force",
											[LG_NOT_IN_FORCE] = "not in force",
											[LG_PAUSED] = "paused",
											[LG_PAUSED_BY_BREAKER] = "paused by its breaker"};
	int counts[LG_STANDINGS];

	lg_rescue_count_policies(&scene->shared, counts);
	for (int i = 0; i < LG_STANDINGS; i++)
		add(scene, POLICIES, "", "state", standings[i], counts[i]);
	for (int i = 0; i < LG_OUTCOMES; i++)
		add(scene, ACTIONS, "", "outcome", lg_counters_outcome_name(i), lg_counters_outcomes(i));
}

static void
add_keeper(Scene *scene)
{
	uint64 lost = 0;

	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
	{
		int unflushed;
		uint64 of_kind;

		lg_records_count(kind, &unflushed, &of_kind);
		lost += of_kind;
	}
	add_plain(scene, KEEPER_FAILURES, scene->shared.keeper.failures);
	add_plain(scene, RECORDS_LOST, lost);
}

/*
 * lifeguard.read_metrics(): a row per sample, for the view metrics.  Of itself it has
 * only that it is not up where pg_lifeguard is not preloaded.
 */
Datum
pg_lifeguard_read_metrics(PG_FUNCTION_ARGS)
{
	Scene *scene = palloc0(sizeof(Scene));
	bool up = false;

	lg_rows_begin(&scene->rows, fcinfo);
	scene->now = GetCurrentTimestamp();
	read_sessions(scene);
	if (lg_shared != NULL)
	{
		const char *collector;

		LWLockAcquire(lg_shared->lock, LW_SHARED);
		scene->shared = *lg_shared;
		LWLockRelease(lg_shared->lock);
		collector = lg_collector_describe(&scene->shared, scene->now);
		up = strcmp(collector, "running") == 0 || strcmp(collector, "on demand") == 0;
	}

	add_plain(scene, UP, up);
	add_connections(scene);
	if (lg_shared != NULL)
	{
		add_collector(scene, up);
		add_load(scene);
		add_refusals(scene);
		add_setup_times(scene);
		add_policies(scene);
		add_keeper(scene);
	}
	PG_RETURN_NULL();
}
