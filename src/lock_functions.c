/*-------------------------------------------------------------------------
 * lock_functions.c
 *		The SQL-callable function over the lock graph.
 *
 * One function for three views, since all of them show sessions, waits and
 * harm from one reading:
 *
 *	waits		one row per waiting process, for lifeguard.lock_waits
 *	blockers	one row per root or cycle member, for lifeguard.blockers
 *	tree		one row per session of the forest, for lifeguard.lock_tree
 *
 * Locks are nobody's secret, as in pg_locks; what a session does is, as in
 * pg_stat_activity.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "lock_edges.h"
#include "lock_graph.h"
#include "lock_tree.h"
#include "relations.h"
#include "rights.h"
#include "rows.h"
#include "sessions.h"
#include "settings.h"
#include "shared.h"
#include "statement_trail.h"
#include "texts.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_read_lock_graph);

/* Everything that is needed to turn one reading into rows. */
typedef struct LocksReading
{
	LgLockGraph *graph;
	LgRows rows;
	LgSessionTexts texts;
	int *nodes; /* scratch, room for all of them */
	bool with_blockers;
	bool with_statements;
} LocksReading;

static const char *
backend_type_name(const LgSession *session)
{
	if (session->backend_type == B_BG_WORKER)
		return GetBackgroundWorkerTypeByPid(session->pid);
	return GetBackendTypeDesc(session->backend_type);
}

/* The session's columns: who it is and what it does. */
static void
add_session_columns(LocksReading *reading, const LgSession *session)
{
	LgRows *rows = &reading->rows;
	TimestampTz now = reading->graph->read_at;
	char *query;

	lg_sessions_read_texts(session, &reading->texts);
	lg_rows_add_oid(rows, session->databaseid);
	lg_rows_add_oid(rows, session->userid);
	lg_rows_add_text(rows, reading->texts.application_name);
	if (!lg_rights_may_see(session->userid))
	{
		for (int i = 0; i < 8; i++)
			lg_rows_add_null(rows);
		lg_rows_add_text(rows, "<insufficient privilege>");
		for (int i = 0; i < 3; i++)
			lg_rows_add_null(rows);
		return;
	}

	lg_rows_add_text(rows, backend_type_name(session));
	lg_rows_add_pid(rows, session->leader_pid);
	lg_rows_add_address(rows, &reading->texts.client_addr);
	lg_rows_add_time(rows, session->backend_start);
	lg_rows_add_text(rows, lg_sessions_state_name(session->state));
	lg_rows_add_age(rows, session->state_change, now);
	lg_rows_add_age(rows, session->xact_start, now);
	if (session->query_id == 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int8(rows, session->query_id);
	query = lg_texts_to_local(reading->texts.query, session->databaseid);
	lg_rows_add_text(rows, query);
	lg_rows_add_text(rows, lg_texts_query_tags(query));
	if (reading->with_statements)
		lg_statement_trail_add(rows, session);
	else
		lg_rows_add_null(rows);
	lg_rows_add(rows, BoolGetDatum(session->syncrep));
}

/*
 * Who stands in the row: the process in that slot, or what is known of a
 * prepared transaction (its gid is found by its xid).
 */
static void
add_who(LocksReading *reading, int slot, int pid, const LgLockNode *node)
{
	LgRows *rows = &reading->rows;
	LgSession session;

	if (pid == 0)
	{
		lg_rows_add_null(rows);
		lg_rows_add_xid(rows, node->xid);
		lg_rows_add_oid(rows, node->databaseid);
		lg_rows_add_oid(rows, node->roleid);
		for (int i = 0; i < 13; i++)
			lg_rows_add_null(rows);
		return;
	}

	lg_rows_add_int(rows, pid);
	lg_rows_add_null(rows);
	if (lg_sessions_read_one(slot, &session) && session.pid == pid)
		add_session_columns(reading, &session);
	else
	{
		/* gone since the lock was read */
		for (int i = 0; i < 15; i++)
			lg_rows_add_null(rows);
	}
}

/* What is awaited, in words. */
static char *
describe_awaited(const LOCKTAG *tag, const LgAwaitedRow *row, const char *relation_name)
{
	const char *relation = relation_name ? relation_name : "a relation of another database";

	switch ((LockTagType) tag->locktag_type)
	{
		case LOCKTAG_RELATION:
			return psprintf("relation %s", relation);
		case LOCKTAG_RELATION_EXTEND:
			return psprintf("the right to extend %s", relation);
		case LOCKTAG_DATABASE_FROZEN_IDS:
			return pstrdup("the frozen transaction IDs of a database");
		case LOCKTAG_PAGE:
			return psprintf("page %u of %s", row->block, relation);
		case LOCKTAG_TUPLE:
			return psprintf("row (%u,%u) of %s", row->block, row->offset, relation);
		case LOCKTAG_TRANSACTION:
		case LOCKTAG_SPECULATIVE_TOKEN:
			if (row->has_offset)
				return psprintf("transaction %u, row (%u,%u) of %s", tag->locktag_field1,
								row->block, row->offset, relation);
			if (!row->uncertain && relation_name)
				return psprintf("transaction %u, a key of %s", tag->locktag_field1, relation);
			return psprintf("transaction %u", tag->locktag_field1);
		case LOCKTAG_VIRTUALTRANSACTION:
			return psprintf("virtual transaction %d/%u", (int) tag->locktag_field1,
							tag->locktag_field2);
		case LOCKTAG_ADVISORY:
			if (tag->locktag_field4 == 1) /* one key of 64 bits */
				return psprintf(
					"advisory key " INT64_FORMAT,
					(int64) (((uint64) tag->locktag_field2) << 32 | tag->locktag_field3));
			return psprintf("advisory keys %d, %d", (int) tag->locktag_field2,
							(int) tag->locktag_field3);
		case LOCKTAG_OBJECT:
			relation = get_rel_name(tag->locktag_field2); /* catalogs are the same everywhere */
			return psprintf("object %u of catalog %s", tag->locktag_field3,
							relation ? relation : psprintf("%u", tag->locktag_field2));
		default:
			return psprintf("%s %u, %u",
							tag->locktag_type <= LOCKTAG_LAST_TYPE
								? LockTagTypeNames[tag->locktag_type]
								: "lock",
							tag->locktag_field2, tag->locktag_field3);
	}
}

/* locktype, database, relation, relation_name, awaited, page, tuple */
static void
add_awaited_row(LgRows *rows, const LgLockGraph *graph, const LgLockWaiter *waiter)
{
	const LOCKTAG *tag = &graph->locks[waiter->lock].tag;
	LgAwaitedRow row;
	char *name;

	lg_lock_graph_awaited_row(graph, waiter, &row);
	lg_relations_settle(&row);
	name = lg_relations_name(&row);

	lg_rows_add_text(rows, tag->locktag_type <= LOCKTAG_LAST_TYPE
							   ? LockTagTypeNames[tag->locktag_type]
							   : "unknown");
	switch ((LockTagType) tag->locktag_type)
	{
		case LOCKTAG_VIRTUALTRANSACTION:
			lg_rows_add_null(rows);
			break;
		case LOCKTAG_TRANSACTION:
		case LOCKTAG_SPECULATIVE_TOKEN:
			lg_rows_add_oid(rows, row.databaseid);
			break;
		default:
			lg_rows_add(rows, ObjectIdGetDatum(tag->locktag_field1));
	}
	lg_rows_add_oid(rows, row.relation);
	lg_rows_add_text(rows, name);
	lg_rows_add_text(rows, describe_awaited(tag, &row, name));
	if (row.has_block)
		lg_rows_add_int8(rows, row.block);
	else
		lg_rows_add_null(rows);
	if (row.has_offset)
		lg_rows_add_int(rows, row.offset);
	else
		lg_rows_add_null(rows);
}

/*
 * virtualxid, transactionid, classid, objid, objsubid, as pg_locks fills them
 * (but for the locks of parallel apply, which are shown like objects)
 */
static void
add_lock_keys(LgRows *rows, const LOCKTAG *tag)
{
	TransactionId xid = InvalidTransactionId;
	char *virtualxid = NULL;
	bool object = false;

	switch ((LockTagType) tag->locktag_type)
	{
		case LOCKTAG_TRANSACTION:
		case LOCKTAG_SPECULATIVE_TOKEN:
			xid = tag->locktag_field1;
			break;
		case LOCKTAG_VIRTUALTRANSACTION:
			virtualxid = psprintf("%d/%u", (int) tag->locktag_field1, tag->locktag_field2);
			break;
		case LOCKTAG_RELATION:
		case LOCKTAG_RELATION_EXTEND:
		case LOCKTAG_DATABASE_FROZEN_IDS:
		case LOCKTAG_PAGE:
		case LOCKTAG_TUPLE:
			break;
		default:
			object = true;
	}

	lg_rows_add_text(rows, virtualxid);
	lg_rows_add_xid(rows, xid);
	if (tag->locktag_type == LOCKTAG_SPECULATIVE_TOKEN)
	{
		lg_rows_add_null(rows);
		lg_rows_add(rows, ObjectIdGetDatum(tag->locktag_field2)); /* the token */
		lg_rows_add_null(rows);
	}
	else if (object)
	{
		lg_rows_add(rows, ObjectIdGetDatum(tag->locktag_field2));
		lg_rows_add(rows, ObjectIdGetDatum(tag->locktag_field3));
		lg_rows_add_int(rows, tag->locktag_field4);
	}
	else
	{
		for (int i = 0; i < 3; i++)
			lg_rows_add_null(rows);
	}
}

/* The wait of one process, or so many NULLs. */
static void
add_wait_columns(LocksReading *reading, const LgLockWaiter *waiter)
{
	LgRows *rows = &reading->rows;
	const LgLockGraph *graph = reading->graph;

	if (waiter == NULL)
	{
		for (int i = 0; i < 15; i++)
			lg_rows_add_null(rows);
		return;
	}

	lg_rows_add_time(rows, waiter->wait_start);
	lg_rows_add_age(rows, waiter->wait_start, graph->read_at);
	lg_rows_add_text(
		rows, GetLockmodeName(graph->locks[waiter->lock].tag.locktag_lockmethodid, waiter->mode));
	add_awaited_row(rows, graph, waiter);
	add_lock_keys(rows, &graph->locks[waiter->lock].tag);
}

/* blocked_by, root_pids, depth, deadlock */
static void
add_place(LocksReading *reading, int index)
{
	LgRows *rows = &reading->rows;
	const LgLockGraph *graph = reading->graph;
	const LgLockNode *node = &graph->nodes[index];

	if (reading->with_blockers)
	{
		int n = lg_lock_edges_blockers_of(graph, index, reading->nodes);

		n = lg_lock_edges_pids_of(graph, reading->nodes, n);
		lg_rows_add_ints(rows, reading->nodes, n);
	}
	else
		lg_rows_add_null(rows);

	if (reading->with_blockers && node->root_set >= 0)
	{
		const LgRootSet *set = &graph->root_sets[node->root_set];
		int n;

		memcpy(reading->nodes, &graph->set_members[set->first], sizeof(int) * set->count);
		n = lg_lock_edges_pids_of(graph, reading->nodes, set->count);
		lg_rows_add_ints(rows, reading->nodes, n);
	}
	else
		lg_rows_add_null(rows);

	if (node->depth > 0)
		lg_rows_add_int(rows, node->depth);
	else
		lg_rows_add_null(rows);
	lg_rows_add(rows, BoolGetDatum(node->deadlock));
}

static void
add_modes(LgRows *rows, LOCKMETHODID method, LOCKMASK mask)
{
	const char *names[MAX_LOCKMODES];
	int n = 0;

	for (LOCKMODE mode = 1; mode < MAX_LOCKMODES; mode++)
	{
		if (mask & LOCKBIT_ON(mode))
			names[n++] = GetLockmodeName(method, mode);
	}
	lg_rows_add_texts(rows, names, n);
}

/*
 * held_modes, awaited_modes, blocked_directly, blocked_total, longest_wait,
 * total_wait; can_act: terminate_session() would do its work
 */
static void
add_harm(LocksReading *reading, const LgLockNode *node)
{
	LgRows *rows = &reading->rows;
	const LgLockGraph *graph = reading->graph;

	if (node->contended_lock >= 0)
	{
		LOCKMETHODID method = graph->locks[node->contended_lock].tag.locktag_lockmethodid;

		add_modes(rows, method, node->held);
		add_modes(rows, method, node->awaited);
	}
	else
	{
		lg_rows_add_null(rows);
		lg_rows_add_null(rows);
	}
	lg_rows_add_int(rows, node->blocked_directly);
	lg_rows_add_int(rows, node->blocked_total);
	lg_rows_add_age(rows, node->longest, graph->read_at);
	lg_rows_add_span(rows, node->total_wait);
	lg_rows_add(rows, BoolGetDatum(lg_shared != NULL && lg_enforce));
}

static void
add_row(LocksReading *reading, int slot, int pid, int index, const LgLockWaiter *waiter)
{
	const LgLockNode *node = &reading->graph->nodes[index];

	lg_rows_begin_row(&reading->rows);
	lg_rows_add_int(&reading->rows, node->level);
	lg_rows_add(&reading->rows, BoolGetDatum(node->first_waiter >= 0));
	add_who(reading, slot, pid, node);
	add_wait_columns(reading, waiter);
	add_place(reading, index);
	add_harm(reading, node);
	lg_rows_end_row(&reading->rows);
}

static void
add_waits(LocksReading *reading)
{
	for (int i = 0; i < reading->graph->n_waiters; i++)
	{
		const LgLockWaiter *waiter = &reading->graph->waiters[i];

		CHECK_FOR_INTERRUPTS();
		add_row(reading, waiter->slot, waiter->pid, waiter->node, waiter);
	}
}

/* Roots and cycle members, or the whole tree, in its order. */
static void
add_nodes(LocksReading *reading, bool whole_tree)
{
	const LgLockGraph *graph = reading->graph;

	for (int i = 0; i < graph->n_nodes; i++)
	{
		int index = graph->tree[i];
		const LgLockNode *node = &graph->nodes[index];
		bool waits = node->first_waiter >= 0;
		bool blocker = (!waits || node->deadlock) && node->blocked_total > 0;

		CHECK_FOR_INTERRUPTS();
		if (!blocker && !(whole_tree && waits))
			continue;
		add_row(reading, node->slot, node->pid, index,
				whole_tree && waits ? &graph->waiters[node->first_waiter]
									: lg_lock_graph_first_contender(graph, index));
	}
}

/*
 * lifeguard.read_lock_graph(part text): see the top of this file.  Raises an
 * error for a part it does not know.
 */
Datum
pg_lifeguard_read_lock_graph(PG_FUNCTION_ARGS)
{
	char *part = text_to_cstring(PG_GETARG_TEXT_PP(0));
	LocksReading reading;

	memset(&reading, 0, sizeof(reading));
	if (strcmp(part, "waits") != 0 && strcmp(part, "blockers") != 0 && strcmp(part, "tree") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unrecognized part of the lock graph: \"%s\"", part),
						errhint("Use \"waits\", \"blockers\" or \"tree\".")));

	lg_rows_begin(&reading.rows, fcinfo);
	reading.graph = lg_lock_graph_read();
	if (reading.graph == NULL)
		PG_RETURN_NULL();

	lg_sessions_init_texts(&reading.texts, true);
	reading.nodes = palloc(sizeof(int) * reading.graph->n_nodes);
	reading.with_blockers = strcmp(part, "waits") == 0;
	reading.with_statements = strcmp(part, "blockers") == 0;
	if (reading.with_blockers)
		add_waits(&reading);
	else
	{
		lg_lock_tree_build(reading.graph);
		add_nodes(&reading, strcmp(part, "tree") == 0);
	}
	PG_RETURN_NULL();
}
