/*-------------------------------------------------------------------------
 * statement_trail.c
 *		The last statements of each open transaction.
 *
 * What a session shows is its newest statement; what others wait for, an earlier one
 * may have locked.  Where pg_lifeguard.track_statements asks for it, each session
 * leaves the beginning of its statements in its own place in shared memory, the last
 * few of its transaction.  Otherwise there is neither such a place nor a hook.
 *
 * Only what the client sent is noted: not what functions and triggers execute, whose
 * text is another, nor what belongs to a statement already noted (the query within an
 * EXPLAIN, what rules make of it), which begins before that one ends in the same
 * string.  What begins and ends transactions and savepoints is left out.  A statement
 * is noted when its execution begins; one that fails before is not.
 *
 * Locking: none.  The session writes between two changes of a counter, its readers
 * copy between two equal even ones.  Nothing in the hooks allocates or raises an error.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "rights.h"
#include "settings.h"
#include "shared.h"
#include "statement_trail.h"
#include "texts.h"

#define TEXT_SIZE 200
#define MOST_TRIES 100 /* to copy what is being written */

typedef struct Statement
{
	TimestampTz sent; /* by its client; as query_start */
	int64 query_id;
	char text[TEXT_SIZE];
} Statement;

/* The trail of a connection slot; written by its session alone. */
typedef struct LgTrail
{
	pg_atomic_uint32 changes; /* odd while it is being written */
	int pid;
	LocalTransactionId lxid; /* a string of statements may hold several transactions */
	TimestampTz xact_start;
	uint64 count;						   /* of the transaction's statements so far */
	Statement ring[FLEXIBLE_ARRAY_MEMBER]; /* lg_track_statements of them */
} LgTrail;

/* A trail as a reader has copied it. */
typedef struct TrailCopy
{
	uint64 count;
	Statement ring[LG_TRAIL_MOST];
} TrailCopy;

PG_FUNCTION_INFO_V1(pg_lifeguard_read_transaction_statements);

static ExecutorStart_hook_type prev_executor_start = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

/* --- where it lies --------------------------------------------------------------- */

static Size
trail_size(void)
{
	return MAXALIGN(offsetof(LgTrail, ring) + sizeof(Statement) * lg_track_statements);
}

/*
 * Bytes of shared memory for all connection slots; none while nothing is tracked.
 */
Size
lg_statement_trail_size(void)
{
	return lg_track_statements > 0 ? mul_size(trail_size(), MaxConnections) : 0;
}

static LgTrail *
trail_of(int slot)
{
	return (LgTrail *) (lg_shared->trails + slot * trail_size());
}

/* This session's own; NULL for whoever has no connection slot. */
static LgTrail *
my_trail(void)
{
	static LgTrail *mine = NULL;

	if (mine == NULL && MyBackendType == B_BACKEND && lg_shared != NULL && MyProc != NULL &&
		MyProc - ProcGlobal->allProcs < MaxConnections)
		mine = trail_of((int) (MyProc - ProcGlobal->allProcs));
	return mine;
}

/* --- writing --------------------------------------------------------------------- */

static void
begin_change(LgTrail *trail)
{
	pg_atomic_write_u32(&trail->changes, pg_atomic_read_u32(&trail->changes) + 1);
	pg_write_barrier();
}

static void
end_change(LgTrail *trail)
{
	pg_write_barrier();
	pg_atomic_write_u32(&trail->changes, pg_atomic_read_u32(&trail->changes) + 1);
}

/* Another session's, or another transaction's, makes room for this one's. */
static void
enter_transaction(LgTrail *trail)
{
	trail->pid = MyProcPid;
	trail->lxid = LG_MY_LXID;
	trail->xact_start = GetCurrentTransactionStartTimestamp();
	trail->count = 0;
}

/* Keep the beginning of a statement of that length; 0 = to the end of the string. */
static void
keep_text(char *kept, const char *text, int len)
{
	int most;

	while (isspace((unsigned char) *text) && len != 1)
	{
		text++; /* what lies between it and the one before */
		if (len > 0)
			len--;
	}
	most = strnlen(text, len > 0 ? Min(len, TEXT_SIZE - 1) : TEXT_SIZE - 1);
	while (most > 0 && isspace((unsigned char) text[most - 1]))
		most--;
	memcpy(kept, text, most);
	kept[most] = '\0';
}

/*
 * The execution of a statement begins.  source: the string it is from.
 */
static void
note(const PlannedStmt *statement, const char *source)
{
	static TimestampTz last_sent = 0; /* of the statement noted last */
	static int last_end = 0;		  /* where in its string that ends */
	LgTrail *trail = my_trail();
	TimestampTz sent = GetCurrentStatementStartTimestamp();
	int location = Max(statement->stmt_location, 0);
	Statement *entry;

	if (trail == NULL || source == NULL || debug_query_string == NULL ||
		(source != debug_query_string && strncmp(source, debug_query_string, TEXT_SIZE) != 0))
		return;
	if (sent == last_sent && location < last_end)
		return;
	last_sent = sent;
	last_end = statement->stmt_len > 0 ? location + statement->stmt_len : INT_MAX;

	begin_change(trail);
	if (trail->pid != MyProcPid || trail->lxid != LG_MY_LXID ||
		trail->xact_start != GetCurrentTransactionStartTimestamp())
		enter_transaction(trail);
	entry = &trail->ring[trail->count % lg_track_statements];
	entry->sent = sent;
	entry->query_id = (int64) statement->queryId;
	keep_text(entry->text, source + location, statement->stmt_len);
	trail->count++;
	end_change(trail);
}

static void
before_execution(QueryDesc *query, int eflags)
{
	note(query->plannedstmt, query->sourceText);
	if (prev_executor_start)
		prev_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

/* Does it begin or end a transaction or a savepoint, or set what a transaction is like? */
static bool
controls_transaction(const Node *statement)
{
	return IsA(statement, TransactionStmt) ||
		   (IsA(statement, VariableSetStmt) &&
			((const VariableSetStmt *) statement)->kind == VAR_SET_MULTI);
}

/*
 * A transaction that begins in the same string as the one before has the same start:
 * what that has left goes now.
 */
static void
note_control(const Node *statement)
{
	LgTrail *trail = my_trail();
	bool chained = IsA(statement, TransactionStmt) && ((const TransactionStmt *) statement)->chain;

	if (trail == NULL || (trail->lxid == LG_MY_LXID && !chained))
		return;
	begin_change(trail);
	enter_transaction(trail);
	end_change(trail);
}

static void
before_utility(PlannedStmt *statement, const char *source, bool read_only_tree,
			   ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			   DestReceiver *receiver, QueryCompletion *completion)
{
	if (controls_transaction(statement->utilityStmt))
		note_control(statement->utilityStmt);
	else
		note(statement, source);
	if (prev_process_utility)
		prev_process_utility(statement, source, read_only_tree, context, params, environment,
							 receiver, completion);
	else
		standard_ProcessUtility(statement, source, read_only_tree, context, params, environment,
								receiver, completion);
}

/*
 * Hang in the hooks, if anything is to be tracked.  Only while preloading.
 */
void
lg_statement_trail_install(void)
{
	if (lg_track_statements == 0)
		return;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = before_execution;
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = before_utility;
}

/* --- reading --------------------------------------------------------------------- */

/*
 * Copy the trail of a session's transaction.  Returns how many statements there are,
 * the oldest of which statement_at() gives for 0; none if it is not tracked, if the
 * session is gone, or in another transaction.
 */
static int
copy_trail(const LgSession *session, TrailCopy *copy)
{
	LgTrail *trail;

	if (lg_shared == NULL || lg_track_statements == 0 || session->slot >= MaxConnections ||
		session->xact_start == 0)
		return 0;
	trail = trail_of(session->slot);
	for (int tries = 0; tries < MOST_TRIES; tries++)
	{
		uint32 before = pg_atomic_read_u32(&trail->changes);
		bool same;

		pg_read_barrier();
		same = trail->pid == session->pid && trail->xact_start == session->xact_start;
		copy->count = trail->count;
		memcpy(copy->ring, trail->ring, sizeof(Statement) * lg_track_statements);
		pg_read_barrier();
		if ((before & 1) == 0 && before == pg_atomic_read_u32(&trail->changes))
			return same ? (int) Min(copy->count, (uint64) lg_track_statements) : 0;
	}
	return 0;
}

/* The statement at that place among the n of a copy. */
static const Statement *
statement_at(const TrailCopy *copy, int n, int i)
{
	return &copy->ring[(copy->count - n + i) % lg_track_statements];
}

/*
 * Add the texts of a session's statements, the oldest first; NULL if there are none.
 * Needs a transaction.
 */
void
lg_statement_trail_add(LgRows *rows, const LgSession *session)
{
	const char *texts[LG_TRAIL_MOST];
	TrailCopy copy;
	int n = copy_trail(session, &copy);

	for (int i = 0; i < n; i++)
		texts[i] = lg_texts_to_local(statement_at(&copy, n, i)->text, session->databaseid);
	if (n > 0)
		lg_rows_add_texts(rows, texts, n);
	else
		lg_rows_add_null(rows);
}

/*
 * Keep the last of a session's statements, for a record.  Allocates nothing.
 */
void
lg_statement_trail_keep(const LgSession *session, LgTrailExcerpt *kept)
{
	TrailCopy copy;
	int n = copy_trail(session, &copy);

	kept->n = Min(n, LG_TRAIL_KEPT);
	for (int i = 0; i < kept->n; i++)
		strlcpy(kept->texts[i], statement_at(&copy, n, n - kept->n + i)->text, LG_TRAIL_KEPT_TEXT);
}

/*
 * Add the texts that a record has kept, of a session of that database; NULL if there
 * are none.  Needs a transaction.
 */
void
lg_statement_trail_add_kept(LgRows *rows, const LgTrailExcerpt *kept, Oid databaseid)
{
	const char *texts[LG_TRAIL_KEPT];

	for (int i = 0; i < kept->n; i++)
		texts[i] = lg_texts_to_local(kept->texts[i], databaseid);
	if (kept->n > 0)
		lg_rows_add_texts(rows, texts, kept->n);
	else
		lg_rows_add_null(rows);
}

static void
add_statements(LgRows *rows, const LgSession *session)
{
	TrailCopy copy;
	int n = copy_trail(session, &copy);

	for (int i = 0; i < n; i++)
	{
		const Statement *statement = statement_at(&copy, n, i);

		lg_rows_begin_row(rows);
		lg_rows_add_int(rows, session->pid);
		lg_rows_add_oid(rows, session->databaseid);
		lg_rows_add_oid(rows, session->userid);
		lg_rows_add_time(rows, session->xact_start);
		lg_rows_add_int8(rows, (int64) copy.count - n + i + 1);
		lg_rows_add_time(rows, statement->sent);
		if (statement->query_id == 0)
			lg_rows_add_null(rows);
		else
			lg_rows_add_int8(rows, statement->query_id);
		lg_rows_add_text(rows, lg_texts_to_local(statement->text, session->databaseid));
		lg_rows_end_row(rows);
	}
}

/*
 * lifeguard.read_transaction_statements(): one row per statement kept of each open
 * transaction, for the view transaction_statements.  Of sessions whose statements the
 * current user may not see, none.
 */
Datum
pg_lifeguard_read_transaction_statements(PG_FUNCTION_ARGS)
{
	LgSessionScan scan = {0, 0};
	LgSession session;
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	while (lg_sessions_next(&scan, &session))
	{
		CHECK_FOR_INTERRUPTS();
		if (lg_rights_may_see(session.userid))
			add_statements(&rows, &session);
	}
	PG_RETURN_NULL();
}
