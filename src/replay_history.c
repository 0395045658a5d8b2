/*-------------------------------------------------------------------------
 * replay_history.c
 *		What the histories tell a replay: who was in a state that a policy's target
 *		means, and who waited because of whom.
 *
 * A wait's row names its root blocker at its start and at its end.  Where the two
 * differ, it is the first one's doing until that let go: the first moment after
 * the wait's start at which somebody else's wait for the same root was granted, or
 * that root's stay idle in transaction ended for good.  From there on, or from the
 * moment at which the other came out of the queue itself, it is the other's.  So no
 * second of a wait is two roots' doing.
 *
 * All waits are kept, at 200 bytes each at most; of the sessions only those are whom the
 * policy comes to hit, so a long history needs little memory.
 *
 * Locking: none of ours; the histories as any reader, by SPI.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "catalog/pg_database.h" /* get_database_oid(), from 19 */
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "replay.h"

#define FETCH 1000

/* Called for each row of a history. */
typedef void (*RowReader)(LgReplay *replay, HeapTuple row, TupleDesc columns);

/* ------------------------------------------------------------------------
 * The questions: $1 since, $2 until, $3 runs_on, $4 whether texts are asked for
 * ------------------------------------------------------------------------
 */

#define RECORDED_THERE "($3 = 'both' OR recorded_on = $3)"
#define WAIT_IN_TIME "wait_start < $2 AND wait_start + duration > $1 AND " RECORDED_THERE

static const char *const waits_and_roots =
	"SELECT root_backend_start, root_pid::int8, root_at_end_backend_start, root_at_end_pid::int8,"
	" waiter_backend_start, waiter_pid::int8, wait_start, wait_start + duration,"
	" (ended_by = 'granted')::int::int8 "
	"FROM lifeguard.lock_wait_history WHERE " WAIT_IN_TIME;
static const char *const own_waits =
	"SELECT waiter_backend_start, waiter_pid::int8, wait_start, wait_start + duration, 0::int8 "
	"FROM lifeguard.lock_wait_history WHERE " WAIT_IN_TIME;

/* Modes count as in LOCKMODE. */
#define RELATION_KEY "hashtextextended(coalesce(database, ''), 0), relation::int8"
#define MODE_NUMBER                                                                                \
	"array_position('{AccessShareLock,RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,"     \
	"ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'::text[], mode)::int8"

static const char *const waits_for_relations =
	"SELECT " RELATION_KEY ", wait_start, wait_start + duration, " MODE_NUMBER
	" FROM lifeguard.lock_wait_history WHERE locktype = 'relation' AND " WAIT_IN_TIME;

/* What became of stays idle in transaction: while one goes on with a statement it lets go of
 * nothing. */
static const char *const idle_marks =
	"SELECT backend_start, pid::int8, idle_start, idle_start + duration,"
	" (ended_by <> 'statement')::int::int8 "
	"FROM lifeguard.idle_transaction_history WHERE idle_start + duration > $1 AND " RECORDED_THERE;

/*
 * Suspects: pid, backend_start, role, database, application, client, state, query,
 * query_id, xact_start, state_change (NULL: when the first came to wait for it),
 * since, began, ended, of a queue its relation and mode, and of a transaction when it
 * was last known to be there.  Rows that are hidden
 * from the caller have no backend_start.
 */
#define STAY                                                                                       \
	"SELECT pid::int8, backend_start, usename::text, datname::text, application_name,"             \
	" host(client_addr), "
#define STAY_QUERY "CASE WHEN $4 THEN query END, query_id"
#define NO_QUEUE ", 0::int8, 0::int8, 0::int8"
#define IDLE_SUSPECTS                                                                              \
	STAY "state, " STAY_QUERY ", xact_start, idle_start, idle_start, idle_start,"                  \
		 " idle_start + duration" NO_QUEUE " FROM lifeguard.idle_transaction_history"              \
		 " WHERE backend_start IS NOT NULL AND idle_start < $2 AND idle_start + duration > $1"     \
		 " AND " RECORDED_THERE

static const char *const idle_suspects = IDLE_SUSPECTS;

/* Idle in the recorded stays, and at work before and between them. */
static const char *const transaction_suspects =
	"WITH stays AS ("
	" SELECT h.*, idle_start + duration AS idle_end, lag(idle_start + duration)"
	"  OVER (PARTITION BY pid, backend_start, xact_start ORDER BY idle_start) AS before,"
	" max(idle_start + duration) OVER (PARTITION BY pid, backend_start, xact_start) AS last_end"
	" FROM lifeguard.idle_transaction_history h"
	" WHERE backend_start IS NOT NULL AND xact_start < $2"
	"  AND idle_start + duration > $1 AND " RECORDED_THERE ") " STAY "state, " STAY_QUERY
	", xact_start, idle_start, xact_start, idle_start, idle_end" NO_QUEUE
	", last_end FROM stays UNION ALL " STAY "'active', " STAY_QUERY
	", xact_start, coalesce(before, xact_start), xact_start, coalesce(before, xact_start),"
	" idle_start" NO_QUEUE ", last_end FROM stays";

/*
 * Stays idle in transaction; and of roots that were not idle in one the waits that
 * overlap, as long as it was the same statement.
 */
#define ROOT(which)                                                                                \
	"SELECT " which "pid AS pid, " which "backend_start AS backend_start, " which                  \
	"usename::text AS u, " which "datname::text AS d, " which "application_name AS a, host(" which \
	"client_addr) AS c, " which "state AS s, " which "query AS q, " which "query_id AS i,"         \
	" wait_start, wait_start + duration AS wait_end "                                              \
	"FROM lifeguard.lock_wait_history WHERE " which "pid <> 0 AND " which                          \
	"backend_start IS NOT NULL AND " which                                                         \
	"state NOT LIKE 'idle in transaction%' AND " WAIT_IN_TIME
#define SAME_ROOT "PARTITION BY pid, backend_start, s, q ORDER BY wait_start"

static const char *const blocker_suspects = "WITH roots AS (" ROOT("root_") " UNION ALL " ROOT(
	"root_at_end_") " AND (root_at_end_pid, root_at_end_backend_start)"
					" IS DISTINCT FROM (root_pid, root_backend_start)),"
					" waits AS ("
					" SELECT r.*, max(wait_end) OVER (" SAME_ROOT
					" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM roots r),"
					" numbered AS ("
					" SELECT w.*, count(*) FILTER (WHERE before IS NULL OR before < wait_start)"
					"  OVER (" SAME_ROOT " ROWS UNBOUNDED PRECEDING) AS stretch FROM waits w) "
					"SELECT pid::int8, backend_start, min(u), min(d), min(a), min(c), s,"
					" CASE WHEN $4 THEN q END, min(i), NULL::timestamptz, NULL::timestamptz,"
					" min(wait_start), min(wait_start), max(wait_end)" NO_QUEUE
					" FROM numbered GROUP BY pid, backend_start, s, q, stretch"
					" UNION ALL " IDLE_SUSPECTS;

#define WAITER_SUSPECTS(queue)                                                                     \
	"SELECT waiter_pid::int8, waiter_backend_start, waiter_usename::text, waiter_datname::text,"   \
	" waiter_application_name, host(waiter_client_addr), 'active',"                                \
	" CASE WHEN $4 THEN waiter_query END, waiter_query_id, NULL::timestamptz, wait_start,"         \
	" wait_start, wait_start, wait_start + duration, " queue " FROM lifeguard.lock_wait_history"   \
	" WHERE waiter_backend_start IS NOT NULL AND " WAIT_IN_TIME

static const char *const waiter_suspects = WAITER_SUSPECTS("0::int8, 0::int8, 0::int8");
static const char *const ddl_suspects =
	WAITER_SUSPECTS(RELATION_KEY ", " MODE_NUMBER) " AND locktype = 'relation' AND mode IN "
												   "('ShareLock', 'ShareRowExclusiveLock',"
												   " 'ExclusiveLock', 'AccessExclusiveLock')";

/* Stays idle in transaction are recorded of client sessions only, waits of all. */
#define WHETHER_CLIENT                                                                             \
	"whether it was a client session and not, say, a subscription's worker, which a pass spares"

/* How each target is replayed; NULLs: it cannot be. */
static const struct
{
	const char *suspects;
	const char *unknown;
} targets[LG_TARGETS] = {
	[LG_TARGET_IDLE_IN_TRANSACTION] =
		{idle_suspects, "pauses and waits that were not recorded because they were shorter than"
						" pg_lifeguard.min_episode or are not over"},
	[LG_TARGET_TRANSACTION] =
		{transaction_suspects,
		 "transactions that never paused, what they did after their last recorded pause, and waits"
		 " that were not recorded because they were short or are not over"},
	[LG_TARGET_BLOCKER] = {blocker_suspects,
						   "of a blocker that was not idle in transaction, " WHETHER_CLIENT
						   ", how long it had been"
						   " at its statement before the first recorded wait, and statements "
						   "during which nobody new came to wait; waits"
						   " that were not recorded because they were short or are not over"},
	[LG_TARGET_WAITER] = {waiter_suspects,
						  WHETHER_CLIENT "; how many waited behind this one; waits that were not"
										 " recorded because they were short or are not over"},
	[LG_TARGET_QUEUED_DDL] =
		{ddl_suspects,
		 WHETHER_CLIENT "; whether those behind it would have had to wait for its own blocker "
						"all the same; waits that"
						" were not recorded because they were short or are not over"},
};

/*
 * What the histories do not tell of sessions that the target means; NULL if they
 * tell nothing of them.
 */
const char *
lg_replay_unknown(LgTarget target)
{
	return targets[target].unknown;
}

/* ------------------------------------------------------------------------
 * Arrays
 * ------------------------------------------------------------------------
 */

/*
 * Room for one more in an array of replay->context, at array[n].
 */
void *
lg_replay_make_room(LgReplay *replay, void *array, int n, int *room, Size size)
{
	if (n < *room)
		return array;
	if (*room > PG_INT32_MAX / 2)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("too many recorded episodes for one replay")));
	*room = Max(*room * 2, 64);
	if (array == NULL)
		return MemoryContextAllocHuge(replay->context, *room * size);
	return repalloc_huge(array, *room * size);
}

int
lg_replay_compare_keys(const LgReplayKey *a, const LgReplayKey *b)
{
	if (a->major != b->major)
		return a->major < b->major ? -1 : 1;
	return a->minor < b->minor ? -1 : a->minor > b->minor;
}

static int
compare_marks(const void *a, const void *b)
{
	const LgReplayMark *left = a;
	const LgReplayMark *right = b;
	int keys = lg_replay_compare_keys(&left->key, &right->key);

	return keys != 0 ? keys : left->at < right->at ? -1 : left->at > right->at;
}

static int
compare_waits(const void *a, const void *b)
{
	const LgReplayWait *left = a;
	const LgReplayWait *right = b;
	int keys = lg_replay_compare_keys(&left->key, &right->key);

	return keys != 0 ? keys : left->start < right->start ? -1 : left->start > right->start;
}

static void
add_mark(LgReplay *replay, LgReplayMarks *marks, LgReplayKey key, TimestampTz at)
{
	marks->marks =
		lg_replay_make_room(replay, marks->marks, marks->n, &marks->room, sizeof(LgReplayMark));
	marks->marks[marks->n++] = (LgReplayMark){.key = key, .at = at};
}

static void
add_wait(LgReplay *replay, LgReplayKey key, TimestampTz start, TimestampTz end, int mode)
{
	if (start >= end)
		return;
	replay->waits = lg_replay_make_room(replay, replay->waits, replay->n_waits, &replay->waits_room,
										sizeof(LgReplayWait));
	replay->waits[replay->n_waits++] =
		(LgReplayWait){.key = key, .start = start, .end = end, .mode = mode};
}

/* The first mark that is later than that. */
static int
find_mark(const LgReplayMarks *marks, const LgReplayKey *key, TimestampTz at)
{
	LgReplayMark goal = {.key = *key, .at = at};
	int low = 0;
	int high = marks->n;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (compare_marks(&marks->marks[middle], &goal) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * The newest mark of the key at that moment or before; 0 = none.
 */
TimestampTz
lg_replay_last_before(const LgReplayMarks *marks, const LgReplayKey *key, TimestampTz at)
{
	int i = find_mark(marks, key, at) - 1;

	return i >= 0 && lg_replay_compare_keys(&marks->marks[i].key, key) == 0 ? marks->marks[i].at
																			: 0;
}

/*
 * The first mark of the key after that moment; 0 = none.
 */
TimestampTz
lg_replay_first_after(const LgReplayMarks *marks, const LgReplayKey *key, TimestampTz at)
{
	int i = find_mark(marks, key, at);

	return i < marks->n && lg_replay_compare_keys(&marks->marks[i].key, key) == 0
			   ? marks->marks[i].at
			   : 0;
}

static void
sort_marks(LgReplayMarks *marks)
{
	if (marks->n > 1)
		qsort(marks->marks, marks->n, sizeof(LgReplayMark), compare_marks);
}

/* ------------------------------------------------------------------------
 * Rows
 * ------------------------------------------------------------------------
 */

static int64
int8_of(HeapTuple row, TupleDesc columns, int column)
{
	bool isnull;
	Datum value = SPI_getbinval(row, columns, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value); /* timestamptz, too */
}

static LgReplayKey
key_of(HeapTuple row, TupleDesc columns, int column)
{
	return (LgReplayKey){.major = int8_of(row, columns, column),
						 .minor = int8_of(row, columns, column + 1)};
}

/* "" for NULL */
static char *
text_of(HeapTuple row, TupleDesc columns, int column)
{
	char *text = SPI_getvalue(row, columns, column);

	return text != NULL ? text : "";
}

/* Is it a process, and not a prepared transaction, or hidden, or none? */
static bool
is_process(const LgReplayKey *key)
{
	return key->major != 0 && key->minor != 0;
}

/* Read a history, some rows at a time; what a reader allocates lasts for one row. */
static void
read_history(LgReplay *replay, const char *query, RowReader read_row)
{
	static const char *const runs_on_names[] = {"primary", "standby", "both"};
	Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, BOOLOID};
	bool asks_query = replay->policy->filters[LG_FILTER_QUERIES].count > 0 ||
					  replay->policy->filters[LG_FILTER_EXCEPT_QUERIES].count > 0;
	Datum values[] = {TimestampTzGetDatum(replay->since), TimestampTzGetDatum(replay->until),
					  CStringGetTextDatum(runs_on_names[replay->policy->runs_on]),
					  BoolGetDatum(asks_query)};
	Portal cursor =
		SPI_cursor_open_with_args(NULL, query, lengthof(types), types, values, NULL, true, 0);
	uint64 n;

	do
	{
		SPI_cursor_fetch(cursor, true, FETCH);
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
		{
			SPITupleTable *rows = SPI_tuptable;
			MemoryContext caller = MemoryContextSwitchTo(replay->scratch);

			CHECK_FOR_INTERRUPTS();
			read_row(replay, rows->vals[i], rows->tupdesc);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(replay->scratch);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (n == FETCH);
	SPI_cursor_close(cursor);
}

/* ------------------------------------------------------------------------
 * Waits
 * ------------------------------------------------------------------------
 */

static void
keep_raw_wait(LgReplay *replay, HeapTuple row, TupleDesc columns)
{
	LgReplayRawWait wait = {.root = key_of(row, columns, 1),
							.root_at_end = key_of(row, columns, 3),
							.start = int8_of(row, columns, 7),
							.end = int8_of(row, columns, 8)};
	LgReplayKey waiter = key_of(row, columns, 5);

	if (TIMESTAMP_NOT_FINITE(wait.start))
		return;
	if (is_process(&waiter))
		add_mark(replay, &replay->own_ends, waiter, wait.end);
	if (is_process(&wait.root_at_end) && int8_of(row, columns, 9) != 0)
		add_mark(replay, &replay->releases, wait.root_at_end, wait.end);
	replay->raw = lg_replay_make_room(replay, replay->raw, replay->n_raw, &replay->raw_room,
									  sizeof(LgReplayRawWait));
	replay->raw[replay->n_raw++] = wait;
}

static void
keep_idle_marks(LgReplay *replay, HeapTuple row, TupleDesc columns)
{
	LgReplayKey process = key_of(row, columns, 1);

	if (!is_process(&process))
		return;
	add_mark(replay, &replay->idle_starts, process, int8_of(row, columns, 3));
	if (int8_of(row, columns, 5) != 0)
		add_mark(replay, &replay->releases, process, int8_of(row, columns, 4));
}

static void
keep_wait(LgReplay *replay, HeapTuple row, TupleDesc columns)
{
	LgReplayKey key = key_of(row, columns, 1);
	TimestampTz start = int8_of(row, columns, 3);

	if (key.minor != 0 && !TIMESTAMP_NOT_FINITE(start))
		add_wait(replay, key, start, int8_of(row, columns, 4), (int) int8_of(row, columns, 5));
}

/* Whose doing was it until when? */
static void
attribute(LgReplay *replay, const LgReplayRawWait *wait)
{
	TimestampTz until = wait->end;
	TimestampTz from;

	if (lg_replay_compare_keys(&wait->root, &wait->root_at_end) != 0)
	{
		TimestampTz own =
			is_process(&wait->root_at_end)
				? lg_replay_last_before(&replay->own_ends, &wait->root_at_end, wait->end)
				: 0;

		until = is_process(&wait->root)
					? lg_replay_first_after(&replay->releases, &wait->root, wait->start)
					: wait->start;
		if (own <= wait->start)
			own = 0;
		if (until == 0)
			until = own != 0 ? own : wait->end;
		until = Min(until, wait->end);
		from = Max(until, own);
		if (is_process(&wait->root_at_end))
			add_wait(replay, wait->root_at_end, from, wait->end, 0);
	}
	if (is_process(&wait->root))
		add_wait(replay, wait->root, wait->start, until, 0);
}

/*
 * Read who waited, between since and until, because of whom; and what else has to
 * be known of processes.  Needs SPI and a snapshot.
 */
void
lg_replay_read_waits(LgReplay *replay)
{
	switch (replay->policy->target)
	{
		case LG_TARGET_WAITER:
			read_history(replay, own_waits, keep_wait);
			break;
		case LG_TARGET_QUEUED_DDL:
			read_history(replay, waits_for_relations, keep_wait);
			break;
		default:
			read_history(replay, waits_and_roots, keep_raw_wait);
			read_history(replay, idle_marks, keep_idle_marks);
			sort_marks(&replay->own_ends);
			sort_marks(&replay->idle_starts);
			sort_marks(&replay->releases);
			for (int i = 0; i < replay->n_raw; i++)
			{
				CHECK_FOR_INTERRUPTS();
				attribute(replay, &replay->raw[i]);
			}
			if (replay->raw != NULL)
				pfree(replay->raw);
			replay->raw = NULL;
	}
	CHECK_FOR_INTERRUPTS();
	if (replay->n_waits > 1)
		qsort(replay->waits, replay->n_waits, sizeof(LgReplayWait), compare_waits);
	for (int i = 0; i < replay->n_waits; i++)
	{
		LgReplayWait *wait = &replay->waits[i];
		const LgReplayWait *before = wait - 1;

		wait->latest_end = i > 0 && lg_replay_compare_keys(&before->key, &wait->key) == 0
							   ? Max(before->latest_end, wait->end)
							   : wait->end;
	}
}

/* ------------------------------------------------------------------------
 * Suspects
 * ------------------------------------------------------------------------
 */

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

	memset(address, 0, sizeof(SockAddr));
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

static void
read_suspect(LgReplay *replay, HeapTuple row, TupleDesc columns)
{
	LgReplaySuspect suspect;
	LgSession *session = &suspect.session;
	SockAddr client;

	memset(&suspect, 0, sizeof(suspect));
	session->pid = (int) int8_of(row, columns, 1);
	session->backend_start = int8_of(row, columns, 2);
	session->backend_type = B_BACKEND;
	suspect.usename = text_of(row, columns, 3);
	suspect.datname = text_of(row, columns, 4);
	suspect.application_name = text_of(row, columns, 5);
	address_of(text_of(row, columns, 6), &client);
	suspect.client_addr = &client;
	session->state = state_of(text_of(row, columns, 7));
	suspect.query = text_of(row, columns, 8);
	session->query_id = int8_of(row, columns, 9);
	session->xact_start = int8_of(row, columns, 10);
	session->state_change = int8_of(row, columns, 11);
	suspect.since = int8_of(row, columns, 12);
	suspect.began = int8_of(row, columns, 13);
	suspect.ended = int8_of(row, columns, 14);
	suspect.key = key_of(row, columns, 15);
	suspect.mode = (int) int8_of(row, columns, 17);
	suspect.episode_ended = suspect.ended;
	if (replay->policy->target == LG_TARGET_TRANSACTION)
		suspect.episode_ended = int8_of(row, columns, 18);
	session->userid = get_role_oid(suspect.usename, true);
	session->databaseid = get_database_oid(suspect.datname, true);
	if (replay->policy->target != LG_TARGET_QUEUED_DDL)
		suspect.key = (LgReplayKey){.major = session->backend_start, .minor = session->pid};
	if (TIMESTAMP_NOT_FINITE(suspect.began) || TIMESTAMP_NOT_FINITE(suspect.since))
		return;
	if (replay->policy->target == LG_TARGET_BLOCKER && session->state_change == 0)
	{
		TimestampTz idle = lg_replay_first_after(&replay->idle_starts, &suspect.key, suspect.began);

		if (idle != 0)
			suspect.ended = Min(suspect.ended, idle);
	}
	if (!replay->look(replay, &suspect))
		return;

	suspect.usename = MemoryContextStrdup(replay->context, suspect.usename);
	suspect.datname = MemoryContextStrdup(replay->context, suspect.datname);
	suspect.application_name = MemoryContextStrdup(replay->context, suspect.application_name);
	suspect.query = NULL;
	suspect.client_addr = NULL;
	replay->suspects = lg_replay_make_room(replay, replay->suspects, replay->n_suspects,
										   &replay->suspects_room, sizeof(LgReplaySuspect));
	replay->suspects[replay->n_suspects++] = suspect;
}

/*
 * Have a look taken at everybody whom the policy's target meant between since and
 * until, and keep whom it wants to keep.  What the look allocates lasts until it
 * is over.  Needs SPI, a snapshot, and the waits.
 */
void
lg_replay_read_suspects(LgReplay *replay, LgReplayLook look)
{
	replay->look = look;
	read_history(replay, targets[replay->policy->target].suspects, read_suspect);
}
