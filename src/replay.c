/*-------------------------------------------------------------------------
 * replay.c
 *		Would this policy have prevented it?
 *
 * The recorded episodes are gone through again: for each session that the policy's
 * target means, the same lg_policy_decide() as in a pass is asked at every moment
 * at which its answer can change: when the session exceeds min_duration, when
 * somebody begins to wait for it, has waited for min_blocked_for, or waits no
 * more, and when the schedule comes to be in force.  The first moment at which it
 * says yes is when the policy would have acted; what those who waited then
 * still had to wait is what it would have saved.
 *
 * What was recorded is less than a pass sees; what that hides is said in each row.
 *
 * Locking: none of ours; the histories as any reader.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "catalog/pg_database.h" /* get_database_oid(), from 19 */
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "limiter.h"
#include "policies.h"
#include "policy_table.h"
#include "rights.h"
#include "rows.h"
#include "saturation.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_replay_episodes);

#define FETCH 1000

/* A session, from when the policy's target means it to when it no more does. */
typedef struct Suspect
{
	LgSession session;
	TimestampTz began;
	TimestampTz ended;
	char *usename;
	char *datname;
	char *application_name;
	char *query;
	SockAddr client_addr;
	TimestampTz hit_at; /* when the policy would have acted; 0 = never */
	LgWhy why;			/* then; of one who is spared all the same, that reason */
	const char *reason;
	int waiters; /* at that moment */
	int64 saved; /* microseconds of waiting */
} Suspect;

/* A wait that is such a session's doing. */
typedef struct Wait
{
	int pid; /* of that session */
	TimestampTz backend_start;
	TimestampTz start;
	TimestampTz end;
} Wait;

typedef struct Replay
{
	LgPolicy *policy;
	LgLocalPolicies *alone;
	LgLocalPolicy *local;
	TimestampTz since;
	TimestampTz until;
	MemoryContext context; /* of what is kept */
	int n_suspects;
	int suspects_room;
	Suspect *suspects;
	int n_waits;
	int waits_room;
	Wait *waits;
} Replay;

/* ------------------------------------------------------------------------
 * What was recorded
 * ------------------------------------------------------------------------
 */

/*
 * Who may have been meant, in the order of their processes.  Columns as
 * keep_suspect() takes them.  Rows that are hidden from the caller have no
 * backend_start and are left out.
 */
#define SUSPECT_COLUMNS(of)                                                                        \
	of "pid, " of "backend_start, " of "usename::text, " of "datname::text, " of                   \
	   "application_name, host(" of "client_addr), " of "state, " of "query, " of "query_id, "

static const char *const idle_suspects = "SELECT " SUSPECT_COLUMNS(
	"") "xact_start, idle_start, idle_start AS began,"
		" idle_start + duration AS ended "
		"FROM lifeguard.idle_transaction_history "
		"WHERE backend_start IS NOT NULL AND idle_start < $2 AND idle_start + duration > $1 "
		"ORDER BY 2, 1, began";

static const char *const transaction_suspects =
	"SELECT pid, backend_start, min(usename::text), min(datname::text), min(application_name),"
	" min(host(client_addr)), min(state), min(query), min(query_id), xact_start,"
	" min(idle_start), xact_start AS began, max(idle_start + duration) AS ended "
	"FROM lifeguard.idle_transaction_history "
	"WHERE backend_start IS NOT NULL AND xact_start < $2 AND idle_start + duration > $1 "
	"GROUP BY pid, backend_start, xact_start ORDER BY 2, 1, began";

/* A root's waits that overlap are one stretch of blocking. */
static const char *const blocker_suspects =
	"WITH waits AS ("
	"  SELECT h.*, wait_start + duration AS wait_end,"
	"   max(wait_start + duration) OVER (PARTITION BY root_pid, root_backend_start"
	"    ORDER BY wait_start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before"
	"  FROM lifeguard.lock_wait_history h"
	"  WHERE root_pid <> 0 AND root_backend_start IS NOT NULL"
	"   AND wait_start < $2 AND wait_start + duration > $1),"
	" numbered AS ("
	"  SELECT w.*, count(*) FILTER (WHERE before IS NULL OR before < wait_start)"
	"   OVER (PARTITION BY root_pid, root_backend_start ORDER BY wait_start) AS stretch"
	"  FROM waits w),"
	" stretches AS ("
	"  SELECT root_pid AS pid, root_backend_start AS backend_start, min(root_usename::text) AS u,"
	"   min(root_datname::text) AS d, min(root_application_name) AS a,"
	"   min(host(root_client_addr)) AS c, (array_agg(root_state ORDER BY wait_start))[1] AS s,"
	"   (array_agg(root_query ORDER BY wait_start))[1] AS q,"
	"   (array_agg(root_query_id ORDER BY wait_start))[1] AS i,"
	"   min(wait_start) AS began, max(wait_end) AS ended"
	"  FROM numbered GROUP BY root_pid, root_backend_start, stretch) "
	"SELECT pid, backend_start, u, d, a, c, s, q, i, NULL::timestamptz,"
	" coalesce((SELECT max(t.idle_start) FROM lifeguard.idle_transaction_history t"
	"           WHERE t.pid = r.pid AND t.backend_start = r.backend_start"
	"            AND t.idle_start <= r.began AND t.idle_start + t.duration >= r.began), began),"
	" began, ended FROM stretches r ORDER BY 2, 1, began";

#define WAITER_SUSPECTS(which)                                                                     \
	"SELECT waiter_pid, waiter_backend_start, waiter_usename::text, waiter_datname::text,"         \
	" waiter_application_name, host(waiter_client_addr), 'active', waiter_query,"                  \
	" waiter_query_id, NULL::timestamptz, wait_start, wait_start AS began,"                        \
	" wait_start + duration AS ended "                                                             \
	"FROM lifeguard.lock_wait_history "                                                            \
	"WHERE waiter_backend_start IS NOT NULL" which                                                 \
	" AND wait_start < $2 AND wait_start + duration > $1 ORDER BY 2, 1, began"
#define STRONG                                                                                     \
	"locktype = 'relation' AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',"    \
	" 'AccessExclusiveLock')"

static const char *const waiter_suspects = WAITER_SUSPECTS("");
static const char *const ddl_suspects = WAITER_SUSPECTS(" AND " STRONG);

/* Who waited because of whom. */
static const char *const waits_for_roots =
	"SELECT root_pid, root_backend_start, wait_start, wait_start + duration "
	"FROM lifeguard.lock_wait_history "
	"WHERE root_pid <> 0 AND root_backend_start IS NOT NULL"
	" AND wait_start < $2 AND wait_start + duration > $1 ORDER BY 2, 1, 3";
static const char *const waits_of_their_own =
	"SELECT waiter_pid, waiter_backend_start, wait_start, wait_start + duration "
	"FROM lifeguard.lock_wait_history "
	"WHERE waiter_backend_start IS NOT NULL"
	" AND wait_start < $2 AND wait_start + duration > $1 ORDER BY 2, 1, 3";
static const char *const waits_behind_ddl =
	"SELECT d.waiter_pid, d.waiter_backend_start, o.wait_start, o.wait_start + o.duration "
	"FROM (SELECT * FROM lifeguard.lock_wait_history WHERE " STRONG
	"       AND waiter_backend_start IS NOT NULL"
	"       AND wait_start < $2 AND wait_start + duration > $1) d"
	" JOIN lifeguard.lock_wait_history o ON o.relation = d.relation"
	"  AND o.waiter_datname = d.waiter_datname AND o.locktype = 'relation'"
	"  AND o.wait_start > d.wait_start AND o.wait_start < d.wait_start + d.duration "
	"ORDER BY 2, 1, 3";

/* How each target is replayed; NULLs: it cannot be. */
static const struct
{
	const char *suspects;
	const char *waits;
	const char *unknown; /* what the histories do not tell */
} targets[LG_TARGETS] = {
	[LG_TARGET_IDLE_IN_TRANSACTION] = {idle_suspects, waits_for_roots,
									   "stays shorter than min_episode"},
	[LG_TARGET_TRANSACTION] = {transaction_suspects, waits_for_roots,
							   "transactions never idle for min_episode"},
	[LG_TARGET_BLOCKER] = {blocker_suspects, waits_for_roots,
						   "the age of the state of blockers that were not idle in transaction: "
						   "it counts from their first recorded waiter"},
	[LG_TARGET_WAITER] = {waiter_suspects, waits_of_their_own, "waits shorter than min_episode"},
	[LG_TARGET_QUEUED_DDL] = {ddl_suspects, waits_behind_ddl,
							  "whether those behind it would have waited for its blocker as well"},
};

/* A text of a fetched row, kept; "" for NULL. */
static char *
keep_text(Replay *replay, HeapTuple row, TupleDesc columns, int column)
{
	char *text = SPI_getvalue(row, columns, column);

	return text != NULL ? MemoryContextStrdup(replay->context, text) : "";
}

static int64
int8_of(HeapTuple row, TupleDesc columns, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(row, columns, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value); /* timestamptz, too */
}

static int
int4_of(HeapTuple row, TupleDesc columns, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(row, columns, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static BackendState
state_of(const char *name)
{
	for (BackendState state = STATE_IDLE; state <= STATE_DISABLED; state++)
	{
		if (lg_sessions_state_name(state) != NULL &&
			strcmp(lg_sessions_state_name(state), name) == 0)
			return state;
	}
	return STATE_UNDEFINED;
}

/* An address in digits; "" for a local client. */
static void
address_of(const char *host, SockAddr *address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *) &address->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &address->addr;

	address->addr.ss_family = AF_UNIX;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
	{
		address->addr.ss_family = AF_INET;
		address->salen = sizeof(struct sockaddr_in);
	}
	else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1)
	{
		address->addr.ss_family = AF_INET6;
		address->salen = sizeof(struct sockaddr_in6);
	}
}

/* Room for one more; the array is in replay->context. */
static void *
make_room(Replay *replay, void *array, int n, int *room, Size size)
{
	if (n < *room)
		return array;
	*room = Max(*room * 2, 64);
	if (array == NULL)
		return MemoryContextAllocHuge(replay->context, *room * size);
	return repalloc_huge(array, *room * size);
}

static void
keep_suspect(Replay *replay, HeapTuple row, TupleDesc columns)
{
	Suspect *suspect;

	replay->suspects = make_room(replay, replay->suspects, replay->n_suspects,
								 &replay->suspects_room, sizeof(Suspect));
	suspect = &replay->suspects[replay->n_suspects++];
	memset(suspect, 0, sizeof(Suspect));
	suspect->session.pid = int4_of(row, columns, 1);
	suspect->session.backend_start = int8_of(row, columns, 2);
	suspect->session.backend_type = B_BACKEND;
	suspect->usename = keep_text(replay, row, columns, 3);
	suspect->datname = keep_text(replay, row, columns, 4);
	suspect->application_name = keep_text(replay, row, columns, 5);
	address_of(keep_text(replay, row, columns, 6), &suspect->client_addr);
	suspect->session.state = state_of(keep_text(replay, row, columns, 7));
	suspect->query = keep_text(replay, row, columns, 8);
	suspect->session.query_id = int8_of(row, columns, 9);
	suspect->session.xact_start = int8_of(row, columns, 10);
	suspect->session.state_change = int8_of(row, columns, 11);
	suspect->session.query_start = suspect->session.state_change;
	suspect->began = int8_of(row, columns, 12);
	suspect->ended = int8_of(row, columns, 13);
	suspect->session.userid = get_role_oid(suspect->usename, true);
	suspect->session.databaseid = get_database_oid(suspect->datname, true);
}

static void
keep_wait(Replay *replay, HeapTuple row, TupleDesc columns)
{
	Wait *wait;

	replay->waits =
		make_room(replay, replay->waits, replay->n_waits, &replay->waits_room, sizeof(Wait));
	wait = &replay->waits[replay->n_waits++];
	wait->pid = int4_of(row, columns, 1);
	wait->backend_start = int8_of(row, columns, 2);
	wait->start = int8_of(row, columns, 3);
	wait->end = int8_of(row, columns, 4);
}

/* Read a history, some rows at a time. */
static void
read_history(Replay *replay, const char *query, void (*keep)(Replay *, HeapTuple, TupleDesc))
{
	Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[] = {TimestampTzGetDatum(replay->since), TimestampTzGetDatum(replay->until)};
	Portal cursor =
		SPI_cursor_open_with_args(NULL, query, lengthof(types), types, values, NULL, true, 0);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(cursor, true, FETCH);
		for (uint64 i = 0; i < SPI_processed; i++)
			keep(replay, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		if (SPI_processed < FETCH)
			break;
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(cursor);
}

/* ------------------------------------------------------------------------
 * What the policy would have done
 * ------------------------------------------------------------------------
 */

/* A session and those who wait for it, at one moment after the other. */
typedef struct Moment
{
	const Suspect *suspect;
	const Wait *waits; /* of that session, by their start */
	int n_waits;
	int began; /* of them, so far */
	int over;  /* so many of the first have ended */
	TimestampTz now;
} Moment;

static int
compare_times(const void *a, const void *b)
{
	TimestampTz left = *(const TimestampTz *) a;
	TimestampTz right = *(const TimestampTz *) b;

	return left < right ? -1 : left > right;
}

/* Those who wait at that moment: how many, and since when the first of them. */
static int
count_waiting(Moment *moment, TimestampTz *since)
{
	int n = 0;

	*since = 0;
	while (moment->began < moment->n_waits && moment->waits[moment->began].start < moment->now)
		moment->began++;
	while (moment->over < moment->began && moment->waits[moment->over].end <= moment->now)
		moment->over++;
	for (int i = moment->over; i < moment->began; i++)
	{
		if (moment->waits[i].end <= moment->now)
			continue;
		if (n++ == 0)
			*since = moment->waits[i].start;
	}
	return n;
}

static LgWhy
decide_at(Replay *replay, Moment *moment, LgFacts *facts, LgServerFacts *server)
{
	const Suspect *suspect = moment->suspect;
	LgTarget target = replay->policy->target;

	memset(facts, 0, sizeof(LgFacts));
	memset(server, 0, sizeof(LgServerFacts));
	server->now = moment->now;
	server->usable = lg_saturation_usable();
	facts->session = &suspect->session;
	facts->root_blocker = target == LG_TARGET_BLOCKER;
	facts->waiting = target == LG_TARGET_WAITER || target == LG_TARGET_QUEUED_DDL;
	facts->queued_ddl = target == LG_TARGET_QUEUED_DDL;
	facts->wait_start = facts->waiting ? suspect->began : 0;
	facts->blocked_total = count_waiting(moment, &facts->blocks_since);
	if (target == LG_TARGET_WAITER)
		facts->blocked_total = 0; /* that wait is its own */
	facts->locks_held = -1;
	facts->role_flags = lg_rights_role_flags(suspect->session.userid, replay->local);
	facts->database_flags = lg_rights_database_flags(suspect->session.databaseid, replay->local);
	facts->protected_application =
		lg_rights_application_protected(suspect->application_name, suspect->session.userid);
	facts->application_name = suspect->application_name;
	facts->query = suspect->query;
	facts->client_addr = &suspect->client_addr;
	if (target == LG_TARGET_QUEUED_DDL && facts->blocked_total == 0)
		return LG_WHY_TARGET;
	return lg_policy_decide(replay->policy, facts, server);
}

/* All moments at which the answer can change, but for the schedule; sorted. */
static int
list_moments(const Replay *replay, const Suspect *suspect, const Wait *waits, int n_waits,
			 TimestampTz **moments)
{
	const LgPolicy *policy = replay->policy;
	TimestampTz start =
		policy->target == LG_TARGET_BLOCKER || policy->target == LG_TARGET_IDLE_IN_TRANSACTION
			? suspect->session.state_change
			: suspect->began;
	int n = 0;

	*moments = palloc(sizeof(TimestampTz) * (2 * n_waits + 2));
	(*moments)[n++] = suspect->began + 1;
	(*moments)[n++] = start + lg_policy_limit(policy) + 1;
	for (int i = 0; i < n_waits; i++)
	{
		(*moments)[n++] = waits[i].start + 1;
		if (policy->min_blocked_for > 0)
			(*moments)[n++] = waits[i].start + policy->min_blocked_for + 1;
	}
	qsort(*moments, n, sizeof(TimestampTz), compare_times);
	return n;
}

/* What those who wait then would not have had to wait. */
static int64
count_saved(const Wait *waits, int n_waits, TimestampTz from)
{
	int64 saved = 0;

	for (int i = 0; i < n_waits; i++)
		saved += Max(waits[i].end - Max(waits[i].start, from), 0);
	return saved;
}

/* Does the answer matter?  Whom the policy does not mean, or not yet, is no news. */
static bool
is_news(LgWhy why)
{
	return why == LG_WHY_HIT || LG_WHY_IS_SPARED(why);
}

/*
 * Go through one session's time.  A moment outside the schedule is put off to
 * the next minute in force.
 */
static void
replay_one(Replay *replay, Suspect *suspect, const Wait *waits, int n_waits)
{
	Moment moment = {.suspect = suspect, .waits = waits, .n_waits = n_waits};
	TimestampTz *moments;
	int n = list_moments(replay, suspect, waits, n_waits, &moments);
	LgFacts facts;
	LgServerFacts server;

	for (int i = 0; i < n; i++)
	{
		TimestampTz at = Max(moments[i], replay->since);
		LgWhy why;

		CHECK_FOR_INTERRUPTS();
		if (at <= moment.now)
			continue;
		if (!lg_policies_in_schedule(replay->local, at))
			at = lg_schedule_next(&replay->policy->schedule, replay->local->zone, at);
		if (at == 0 || at >= suspect->ended || at >= replay->until)
			break;
		moment.now = at;
		why = decide_at(replay, &moment, &facts, &server);
		if (!is_news(why))
			continue;
		suspect->hit_at = at;
		suspect->why = why;
		suspect->waiters = facts.blocked_total;
		suspect->saved = why == LG_WHY_HIT ? count_saved(waits, n_waits, at) : 0;
		suspect->reason = MemoryContextStrdup(
			replay->context, lg_policy_describe(replay->policy, &facts, &server, why));
		break;
	}
	pfree(moments);
}

/* Is the wait of a process before, of, or behind that of the suspect? */
static int
compare_process(const Wait *wait, const Suspect *suspect)
{
	if (wait->backend_start != suspect->session.backend_start)
		return wait->backend_start < suspect->session.backend_start ? -1 : 1;
	return wait->pid < suspect->session.pid ? -1 : wait->pid > suspect->session.pid;
}

/* Both lists stand in the order of processes, and of time within each. */
static void
replay_all(Replay *replay)
{
	int first = 0;

	lg_rights_open(replay->alone);
	for (int i = 0; i < replay->n_suspects; i++)
	{
		Suspect *suspect = &replay->suspects[i];
		int last;

		while (first < replay->n_waits && (compare_process(&replay->waits[first], suspect) < 0 ||
										   (compare_process(&replay->waits[first], suspect) == 0 &&
											replay->waits[first].end <= suspect->began)))
			first++;
		for (last = first; last < replay->n_waits &&
						   compare_process(&replay->waits[last], suspect) == 0 &&
						   replay->waits[last].start < suspect->ended;)
			last++;
		replay_one(replay, suspect, replay->waits + first, last - first);
	}
	lg_rights_close();
}

static int
compare_hits(const void *a, const void *b)
{
	TimestampTz left = ((const Suspect *) a)->hit_at;
	TimestampTz right = ((const Suspect *) b)->hit_at;

	return left < right ? -1 : left > right;
}

/* Limits go by the order in which things happened. */
static void
apply_limits(Replay *replay)
{
	LgLimiter limiter = {0};

	qsort(replay->suspects, replay->n_suspects, sizeof(Suspect), compare_hits);
	for (int i = 0; i < replay->n_suspects; i++)
	{
		Suspect *suspect = &replay->suspects[i];
		bool too_soon = limiter.last != 0 && replay->policy->cooldown > 0 &&
						suspect->hit_at - limiter.last < replay->policy->cooldown;

		if (suspect->hit_at == 0 || suspect->why != LG_WHY_HIT)
			continue;
		if (too_soon ||
			lg_limiter_room(&limiter, replay->policy->max_per_minute, suspect->hit_at) == 0)
		{
			suspect->why = LG_WHY_OVER_LIMIT;
			suspect->saved = 0;
			continue;
		}
		lg_limiter_count(&limiter, suspect->hit_at);
	}
}

/* ------------------------------------------------------------------------
 * What is told
 * ------------------------------------------------------------------------
 */

static void
add_suspect(LgRows *rows, const Replay *replay, const Suspect *suspect)
{
	lg_rows_begin_row(rows);
	lg_rows_add_time(rows, suspect->hit_at);
	lg_rows_add_pid(rows, suspect->session.pid);
	lg_rows_add_time(rows, suspect->session.backend_start);
	lg_rows_add_text(rows, suspect->usename[0] ? suspect->usename : NULL);
	lg_rows_add_text(rows, suspect->datname[0] ? suspect->datname : NULL);
	lg_rows_add_text(rows, suspect->application_name);
	lg_rows_add_text(rows, suspect->why == LG_WHY_HIT
							   ? lg_policy_action_name(replay->policy->action)
						   : suspect->why == LG_WHY_OVER_LIMIT ? "over limit"
															   : "spared");
	lg_rows_add_text(rows, suspect->reason);
	lg_rows_add_int(rows, suspect->waiters);
	lg_rows_add(rows, Float8GetDatum((double) suspect->saved / USECS_PER_SEC));
	lg_rows_add_text(rows, targets[replay->policy->target].unknown);
	lg_rows_end_row(rows);
}

/* Refuse what no history tells of. */
static void
check_replayable(const LgPolicy *policy)
{
	const char *column = policy->min_horizon_age > 0	 ? "min_horizon_age"
						 : policy->min_same_query > 0	 ? "min_same_query"
						 : policy->connections_above > 0 ? "connections_above"
														 : NULL;

	if (targets[policy->target].suspects == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replay a policy on target \"%s\"",
						lg_policy_target_name(policy->target)),
				 errdetail("The histories hold lock waits and stays idle in transaction."),
				 errhint("Let the policy run with action \"log\", and read lifeguard.ledger.")));
	if (column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replay a policy with %s", column),
				 errdetail("The histories do not tell it for each session and moment."),
				 errhint("Let the policy run with action \"log\", and read lifeguard.ledger.")));
}

/*
 * lifeguard.replay_episodes(policy, since, until): whom a policy would have acted
 * on, by what the caller may see of the histories.  until is later than since.
 */
Datum
pg_lifeguard_replay_episodes(PG_FUNCTION_ARGS)
{
	Replay replay = {.since = PG_GETARG_TIMESTAMPTZ(1), .until = PG_GETARG_TIMESTAMPTZ(2)};
	LgRows rows;

	replay.context =
		AllocSetContextCreate(CurrentMemoryContext, "pg_lifeguard replay", ALLOCSET_DEFAULT_SIZES);
	lg_rows_begin(&rows, fcinfo);
	SPI_connect();
	replay.policy = lg_policy_table_read_row(
		PG_GETARG_DATUM(0), get_fn_expr_argtype(fcinfo->flinfo, 0), replay.context);
	check_replayable(replay.policy);
	replay.alone = lg_policies_alone(replay.policy);
	replay.local = &replay.alone->policies[0];
	read_history(&replay, targets[replay.policy->target].suspects, keep_suspect);
	read_history(&replay, targets[replay.policy->target].waits, keep_wait);
	replay_all(&replay);
	apply_limits(&replay);
	SPI_finish();

	for (int i = 0; i < replay.n_suspects; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (replay.suspects[i].hit_at != 0)
			add_suspect(&rows, &replay, &replay.suspects[i]);
	}
	MemoryContextDelete(replay.context);
	PG_RETURN_NULL();
}
