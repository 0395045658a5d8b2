/*-------------------------------------------------------------------------
 * functions.c
 *		SQL-callable functions over sessions, connections and the collector.
 *
 * Thin translations of the rooms above.  What a role may not see in
 * pg_stat_activity it does not see here; see rights.c.
 *
 * Locking: lg_shared->lock to copy what is shared; nothing is formatted under
 * it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/wait_event.h"
#include "utils/timestamp.h"

#include "collector.h"
#include "compat.h"
#include "contention.h"
#include "horizon.h"
#include "lock_edges.h"
#include "lock_graph.h"
#include "lock_roots.h"
#include "refusals.h"
#include "rescue.h"
#include "rights.h"
#include "rows.h"
#include "saturation.h"
#include "series.h"
#include "sessions.h"
#include "setup_times.h"
#include "shared.h"
#include "statement_trail.h"
#include "texts.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_read_sessions);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_connections);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_connection_usage);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_status);
PG_FUNCTION_INFO_V1(pg_lifeguard_run_pass);
PG_FUNCTION_INFO_V1(pg_lifeguard_reset);

/* What a reading of the sessions view has at hand. */
typedef struct SessionsReading
{
	TimestampTz now;
	TransactionId next_xid;
	LgLockGraph *graph; /* NULL when nobody waits */
	int *nodes;			/* scratch */
	HTAB *horizons;
	LgSessionTexts texts;
} SessionsReading;

/* blocked_by and blocking */
static void
add_lock_columns(LgRows *rows, SessionsReading *reading, const LgSession *session)
{
	LgLockGraph *graph = reading->graph;
	int node = graph != NULL ? graph->node_of_slot[session->slot] : -1;
	int n = 0;

	if (node >= 0 && graph->nodes[node].pid != session->pid)
		node = -1;
	if (node >= 0)
	{
		n = lg_lock_edges_blockers_of(graph, node, reading->nodes);
		n = lg_lock_edges_pids_of(graph, reading->nodes, n);
	}
	lg_rows_add_ints(rows, reading->nodes, n);
	lg_rows_add_int(rows, node >= 0 ? lg_lock_roots_count_blocked(graph, node) : 0);
}

/* The age of a transaction id, counted in transactions; NULL for none. */
static void
add_xid_age(LgRows *rows, TransactionId xid, TransactionId next)
{
	if (!TransactionIdIsNormal(xid))
		lg_rows_add_null(rows);
	else
		lg_rows_add_int(rows, Max((int32) (next - xid), 0));
}

/* The columns that pg_stat_activity hides, or so many NULLs and its own words. */
static void
add_private_columns(LgRows *rows, SessionsReading *reading, const LgSession *session)
{
	if (!lg_rights_may_see(session->userid))
	{
		for (int i = 0; i < 11; i++)
			lg_rows_add_null(rows);
		lg_rows_add_text(rows, "<insufficient privilege>");
		for (int i = 0; i < 4; i++)
			lg_rows_add_null(rows);
		return;
	}

	lg_rows_add_address(rows, &reading->texts.client_addr);
	lg_rows_add_text(rows,
					 reading->texts.client_hostname[0] ? reading->texts.client_hostname : NULL);
	lg_rows_add_port(rows, &reading->texts.client_addr);
	lg_rows_add_time(rows, session->backend_start);
	lg_rows_add_time(rows, session->xact_start);
	lg_rows_add_time(rows, session->query_start);
	lg_rows_add_time(rows, session->state_change);
	lg_rows_add_text(rows, pgstat_get_wait_event_type(session->wait_event_info));
	lg_rows_add_text(rows, pgstat_get_wait_event(session->wait_event_info));
	lg_rows_add_text(rows, lg_sessions_state_name(session->state));
	if (session->query_id == 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int8(rows, session->query_id);
	reading->texts.query = lg_texts_to_local(reading->texts.query, session->databaseid);
	lg_rows_add_text(rows, reading->texts.query);
	lg_rows_add_text(rows, lg_texts_query_tags(reading->texts.query));
	lg_rows_add_text(rows, GetBackendTypeDesc(session->backend_type));
	lg_rows_add_age(rows, session->state_change, reading->now);
	lg_rows_add_age(rows, session->xact_start, reading->now);
}

static void
add_session(LgRows *rows, SessionsReading *reading, const LgSession *session)
{
	bool look_closer = (session->state == STATE_IDLEINTRANSACTION ||
						session->state == STATE_IDLEINTRANSACTION_ABORTED) &&
					   lg_rights_may_see(session->userid);
	char *query = reading->texts.query;
	int held;

	if (!lg_sessions_read_texts(session, &reading->texts))
		return;

	lg_rows_begin_row(rows);
	lg_rows_add_oid(rows, session->databaseid);
	lg_rows_add_int(rows, session->pid);
	lg_rows_add_oid(rows, session->userid);
	lg_rows_add_text(rows, reading->texts.application_name);
	lg_rows_add_xid(rows, session->xid);
	lg_rows_add_xid(rows, session->xmin);
	add_private_columns(rows, reading, session);
	reading->texts.query = query;

	add_xid_age(rows, lg_sessions_horizon(session), reading->next_xid);
	lg_rows_add(rows, BoolGetDatum(lg_horizon_held_by(reading->horizons, session)));
	held = look_closer ? lg_lock_graph_count_held(session->slot, session->pid) : -1;
	if (held < 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int(rows, held);
	add_lock_columns(rows, reading, session);
	if (look_closer)
		lg_statement_trail_add(rows, session);
	else
		lg_rows_add_null(rows);
	lg_rows_end_row(rows);
}

/*
 * lifeguard.read_sessions(): one row per client session, for the views
 * sessions and idle_transactions.
 */
Datum
pg_lifeguard_read_sessions(PG_FUNCTION_ARGS)
{
	LgSessionScan scan = {0, 0};
	LgSession session;
	SessionsReading reading;
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	lg_sessions_init_texts(&reading.texts, true);
	reading.graph = lg_lock_graph_read();
	reading.nodes = palloc(sizeof(int) * (reading.graph ? reading.graph->n_nodes : 1));
	reading.horizons = lg_horizon_read();
	reading.next_xid = ReadNextTransactionId();
	reading.now = GetCurrentTimestamp();

	while (lg_sessions_next(&scan, &session))
	{
		CHECK_FOR_INTERRUPTS();
		add_session(&rows, &reading, &session);
	}
	PG_RETURN_NULL();
}

/*
 * lifeguard.read_connections(): one row, for the view connections.
 */
Datum
pg_lifeguard_read_connections(PG_FUNCTION_ARGS)
{
	LgStateCounts counts;
	LgGauges gauges = {0};
	LgRows rows;
	int64 full_in;
	int used;
	int known;

	lg_rows_begin(&rows, fcinfo);
	used = lg_saturation_count(&counts);
	if (lg_shared != NULL)
	{
		LWLockAcquire(lg_shared->lock, LW_SHARED);
		gauges = lg_shared->gauges;
		LWLockRelease(lg_shared->lock);
	}

	known = counts.active + counts.idle + lg_saturation_in_transaction(&counts);
	lg_rows_begin_row(&rows);
	lg_rows_add_int(&rows, MaxConnections);
	lg_rows_add_int(&rows, LG_SUPERUSER_RESERVED);
	lg_rows_add_int(&rows, LG_RESERVED);
	lg_rows_add_int(&rows, lg_saturation_usable());
	lg_rows_add_int(&rows, used);
	lg_rows_add_int(&rows, counts.active);
	lg_rows_add_int(&rows, counts.idle);
	lg_rows_add_int(&rows, counts.idle_in_transaction);
	lg_rows_add_int(&rows, counts.idle_in_transaction_aborted);
	lg_rows_add_int(&rows, Max(used - known, 0));
	lg_rows_add_int(&rows, counts.waiting);
	lg_rows_add_int(&rows, max_wal_senders);
	lg_rows_add_int(&rows, lg_sessions_count_walsenders());
	if (gauges.high_water == 0)
		lg_rows_add_null(&rows);
	else
		lg_rows_add_int(&rows, gauges.high_water);
	lg_rows_add_time(&rows, gauges.high_water_at);
	if (lg_shared == NULL)
		lg_rows_add_null(&rows);
	else
		lg_rows_add_int8(&rows, lg_refusals_total());
	full_in = lg_series_full_in(used, lg_saturation_usable());
	if (full_in < 0)
		lg_rows_add_null(&rows);
	else
		lg_rows_add_span(&rows, full_in);
	lg_rows_end_row(&rows);
	PG_RETURN_NULL();
}

/* Whose connections: the client is zero where the caller may not see it. */
typedef struct UsageKey
{
	Oid databaseid;
	Oid userid;
	char application_name[NAMEDATALEN];
	SockAddr client_addr;
} UsageKey;

typedef struct Usage
{
	UsageKey key;
	LgStateCounts counts;
	TimestampTz oldest; /* 0 where the caller may not see it */
} Usage;

static void
count_usage(HTAB *usages, const LgSession *session, const LgSessionTexts *texts)
{
	bool may_see = lg_rights_may_see(session->userid);
	UsageKey key;
	Usage *usage;
	bool found;

	memset(&key, 0, sizeof(key));
	key.databaseid = session->databaseid;
	key.userid = session->userid;
	strlcpy(key.application_name, texts->application_name, NAMEDATALEN);
	if (may_see && texts->client_addr.addr.ss_family != AF_UNIX)
	{
		key.client_addr = texts->client_addr;

		/* one group per host: the port is each session's own */
		if (key.client_addr.addr.ss_family == AF_INET)
			((struct sockaddr_in *) &key.client_addr.addr)->sin_port = 0;
		else if (key.client_addr.addr.ss_family == AF_INET6)
			((struct sockaddr_in6 *) &key.client_addr.addr)->sin6_port = 0;
	}

	usage = hash_search(usages, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(&usage->counts, 0, sizeof(LgStateCounts));
		usage->oldest = 0;
	}
	lg_saturation_add(&usage->counts, session);
	if (may_see && (usage->oldest == 0 || session->backend_start < usage->oldest))
		usage->oldest = session->backend_start;
}

/*
 * lifeguard.read_connection_usage(): one row per database, role, application
 * and client, for the view connection_usage.  Counts are true for everybody.
 */
Datum
pg_lifeguard_read_connection_usage(PG_FUNCTION_ARGS)
{
	HASHCTL ctl = {
		.keysize = sizeof(UsageKey), .entrysize = sizeof(Usage), .hcxt = CurrentMemoryContext};
	HTAB *usages = hash_create("pg_lifeguard connection usage", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	LgSessionScan scan = {0, 0};
	LgSession session;
	TimestampTz now = GetCurrentTimestamp();
	LgSessionTexts texts;
	HASH_SEQ_STATUS all;
	Usage *usage;
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	lg_sessions_init_texts(&texts, false);
	while (lg_sessions_next(&scan, &session))
	{
		CHECK_FOR_INTERRUPTS();
		if (lg_sessions_read_texts(&session, &texts))
			count_usage(usages, &session, &texts);
	}

	hash_seq_init(&all, usages);
	while ((usage = hash_seq_search(&all)) != NULL)
	{
		lg_rows_begin_row(&rows);
		lg_rows_add_oid(&rows, usage->key.databaseid);
		lg_rows_add_oid(&rows, usage->key.userid);
		lg_rows_add_text(&rows, usage->key.application_name);
		lg_rows_add_address(&rows, &usage->key.client_addr);
		lg_rows_add_int(&rows, usage->counts.total);
		lg_rows_add_int(&rows, usage->counts.active);
		lg_rows_add_int(&rows, usage->counts.idle);
		lg_rows_add_int(&rows, usage->counts.idle_in_transaction);
		lg_rows_add_int(&rows, usage->counts.idle_in_transaction_aborted);
		lg_rows_add_int(&rows, usage->counts.waiting);
		lg_rows_add_age(&rows, usage->oldest, now);
		lg_rows_end_row(&rows);
	}
	PG_RETURN_NULL();
}

/* How keeper, policies and ledger are. */
static void
add_keeper_columns(LgRows *rows, const LgKeeperNews *keeper)
{
	LgPolicySet set;
	const char *problem;
	int unflushed[2] = {0}; /* of the ledger, and of the histories */
	uint64 lost[2] = {0};

	lg_policies_describe(&set);
	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
	{
		int of_kind;
		uint64 lost_of_kind;

		lg_records_count(kind, &of_kind, &lost_of_kind);
		unflushed[kind != LG_LEDGER] += of_kind;
		lost[kind != LG_LEDGER] += lost_of_kind;
	}
	problem = keeper->problem[0] != '\0' ? keeper->problem : set.problem;

	lg_rows_add_time(rows, keeper->last_run);
	lg_rows_add_time(rows, keeper->last_flush);
	lg_rows_add_int8(rows, keeper->failures);
	lg_rows_add_text(rows, problem[0] != '\0' ? lg_texts_valid_here(problem) : NULL);
	lg_rows_add_int(rows, set.n);
	lg_rows_add_time(rows, set.published_at);
	lg_rows_add_time(rows, set.read_at);
	for (int i = 0; i < 2; i++)
	{
		lg_rows_add_int(rows, unflushed[i]);
		lg_rows_add_int8(rows, (int64) lost[i]);
	}
}

/*
 * lifeguard.read_status(): one row, for the view status; also when
 * pg_lifeguard is not preloaded, with NULLs then.
 */
Datum
pg_lifeguard_read_status(PG_FUNCTION_ARGS)
{
	LgShared copy;
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	lg_rows_begin_row(&rows);
	if (lg_shared == NULL)
	{
		lg_rows_add_text(&rows, "not loaded");
		lg_rows_add_text(&rows, LG_VERSION);
		for (int i = 0; i < 37; i++)
			lg_rows_add_null(&rows);
		lg_rows_end_row(&rows);
		PG_RETURN_NULL();
	}

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	copy = *lg_shared;
	LWLockRelease(lg_shared->lock);

	lg_rows_add_text(&rows, lg_collector_describe(&copy, GetCurrentTimestamp()));
	lg_rows_add_text(&rows, LG_VERSION);
	lg_rows_add_pid(&rows, copy.collector_pid);
	lg_rows_add_time(&rows, copy.collector_pid ? copy.collector_since : 0);
	lg_rows_add_int(&rows, copy.collector_starts);
	lg_rows_add_span(&rows, copy.sample_interval * LG_USECS_PER_MSEC);
	lg_rows_add_span(&rows, copy.fast_interval * LG_USECS_PER_MSEC);
	lg_rows_add_span(&rows, copy.current_interval * LG_USECS_PER_MSEC);
	lg_rows_add_time(&rows, copy.beat.last_pass.wall);
	lg_rows_add_span(&rows, copy.beat.last_cost);
	lg_rows_add_span(&rows, copy.beat.total_cost);
	lg_rows_add_int8(&rows, copy.beat.passes);
	lg_rows_add_int8(&rows, copy.beat.missed_passes);
	lg_rows_add_int8(&rows, copy.beat.late_passes);
	lg_rows_add_int8(&rows, copy.beat.clock_jumps);
	lg_rows_add_time(&rows, copy.beat.last_clock_jump);
	lg_rows_add_time(&rows, copy.beat.ages_count_from);
	lg_rows_add_int(&rows, copy.gauges.used);
	lg_rows_add_int(&rows, copy.gauges.states.active);
	lg_rows_add_int(&rows, lg_saturation_in_transaction(&copy.gauges.states));
	lg_rows_add_int(&rows, copy.gauges.waiting);
	lg_rows_add_int(&rows, copy.gauges.blockers);
	lg_rows_add_span(&rows, copy.gauges.longest_wait);
	lg_rows_add_int8(&rows, copy.size);
	lg_rows_add_int8(&rows, copy.beat.waits_cut_off);
	lg_rows_add_int8(&rows, (int64) lg_contention_folded());
	lg_rows_add_time(&rows, copy.reset_at);
	add_keeper_columns(&rows, &copy.keeper);
	lg_rows_add(&rows, BoolGetDatum(lg_refusals_are_counted()));
	lg_rows_end_row(&rows);
	PG_RETURN_NULL();
}

/*
 * lifeguard.run_pass(): one pass now, in the caller's backend, as the
 * collector would make it.  Raises an error unless pg_lifeguard is preloaded.
 */
Datum
pg_lifeguard_run_pass(PG_FUNCTION_ARGS)
{
	lg_shared_require();
	if (!lg_collector_run_pass())
		lg_rescue_say_outdated();
	PG_RETURN_VOID();
}

/*
 * lifeguard.reset(): forget the high-water mark, count contention, refusals and
 * connections anew.  Raises an error unless pg_lifeguard is preloaded, and when that
 * cannot be written down.
 */
Datum
pg_lifeguard_reset(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();

	lg_shared_require();
	lg_contention_reset(now);
	lg_refusals_reset();
	lg_setup_times_reset(now);
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->gauges.high_water = 0;
	lg_shared->gauges.high_water_at = 0;
	lg_shared->reset_at = now;
	LWLockRelease(lg_shared->lock);
	PG_RETURN_VOID();
}
