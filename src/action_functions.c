/*-------------------------------------------------------------------------
 * action_functions.c
 *		SQL-callable functions that act by hand, and the one that reads the ledger.
 *
 * By hand a session is proven, told why and recorded just as by a policy.
 *
 * Locking: none of ours; see actions.c, ledger.c and lock_graph.c.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "common/ip.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "actions.h"
#include "clock.h"
#include "collector.h"
#include "ledger.h"
#include "lock_edges.h"
#include "lock_graph.h"
#include "lock_roots.h"
#include "names.h"
#include "relations.h"
#include "rights.h"
#include "rows.h"
#include "settings.h"
#include "shared.h"
#include "state.h"
#include "texts.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_cancel_session);
PG_FUNCTION_INFO_V1(pg_lifeguard_terminate_session);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_ledger);

#define LONGEST_WATCH (5 * USECS_PER_SEC) /* until a call by hand returns "signalled" */
#define MAX_REASON 200					  /* bytes */
#define MAX_TRIES 5

/* Raise an error unless the current user may signal that role's sessions, as pg_signal_backend does. */
static void
require_rights(Oid userid, LgAction action)
{
	bool super = !OidIsValid(userid) || superuser_arg(userid);

	if ((super && !superuser()) || (!has_privs_of_role(GetUserId(), userid) &&
									!has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 action == LG_ACTION_TERMINATE ? errmsg("permission denied to terminate session")
											   : errmsg("permission denied to cancel statement"),
				 super ? errdetail("Only superusers may signal the sessions of superusers.")
					   : errdetail("Only roles with privileges of the session's role or of the "
								   "role \"pg_signal_backend\" may signal it.")));
}

static void
refuse_type(int pid, Oid userid, BackendType type)
{
	ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
					errmsg("process with PID %d is not a client session", pid),
					lg_rights_may_see(userid)
						? errdetail("It is a process of the type \"%s\".", GetBackendTypeDesc(type))
						: 0));
}

/* The session that the caller means; false if it is gone. */
static bool
find_victim(int pid, LgSession *victim)
{
	PGPROC *proc = BackendPidGetProc(pid);

	if (pid == MyProcPid)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot act on this session itself")));
	if (proc == NULL && (proc = AuxiliaryPidGetProc(pid)) == NULL)
		return false;
	if (!lg_sessions_read_one((int) (proc - ProcGlobal->allProcs), victim) || victim->pid != pid)
		return false;
	if (victim->backend_type != B_BACKEND)
		refuse_type(pid, victim->userid, victim->backend_type);
	return true;
}

/* A text as a session of another encoding can be sent it: ASCII, unless both agree. */
static void
clip_for(char *target, Size size, const char *text, Oid databaseid)
{
	strlcpy(target, text, size);
	target[pg_mbcliplen(text, strlen(text), size - 1)] = '\0';
	if (databaseid == MyDatabaseId)
		return;
	for (char *c = target; *c != '\0'; c++)
	{
		if (IS_HIGHBIT_SET(*c))
			*c = '?';
	}
}

/* What the victim's client and the server log are told. */
static void
compose_reason(LgReason *reason, LgAction action, const char *why, Oid databaseid)
{
	char *role = lg_texts_valid_here(GetUserNameFromId(GetUserId(), false));
	char *detail = psprintf(
		"Role \"%s\" asked pg_lifeguard to %s, giving the reason \"%s\".", role,
		action == LG_ACTION_TERMINATE ? "terminate this session" : "cancel this statement", why);

	clip_for(reason->detail, LG_DETAIL_SIZE, detail, databaseid);
	clip_for(reason->hint, LG_HINT_SIZE,
			 action == LG_ACTION_TERMINATE
				 ? "Connect again and repeat the transaction if it is still needed."
				 : "Repeat the statement if it is still needed.",
			 databaseid);
	reason->by_hand = true;
}

/* The relation that others wait for because of that node, or that it awaits itself. */
static void
record_relation(LgLedgerEntry *entry, const LgLockGraph *graph, int node)
{
	const LgLockWaiter *waiter = lg_lock_graph_first_contender(graph, node);
	LgAwaitedRow row;

	if (waiter == NULL && graph->nodes[node].first_waiter >= 0)
		waiter = &graph->waiters[graph->nodes[node].first_waiter];
	if (waiter == NULL)
		return;
	lg_lock_graph_awaited_row(graph, waiter, &row);
	lg_relations_settle(&row);
	entry->relation = row.relation;
	entry->relation_databaseid = row.databaseid;
	entry->uncertain = row.uncertain;
	if (row.databaseid == MyDatabaseId)
		lg_names_learn(row.databaseid, row.relation, lg_relations_name(&row),
					   lg_relations_table(row.relation));
	else
		lg_names_want(row.databaseid, row.relation);
}

/* Whom the victim blocks, and on what. */
static void
record_evidence(LgLedgerEntry *entry, const LgSession *victim)
{
	LgLockGraph *graph = lg_lock_graph_read();
	int node = graph != NULL ? graph->node_of_slot[victim->slot] : -1;
	int *blocked;

	if (node < 0 || graph->nodes[node].pid != victim->pid)
		return;
	blocked = palloc(sizeof(int) * graph->n_nodes);
	entry->blocked_total = lg_lock_roots_find_blocked(graph, node, blocked);
	entry->n_blocked_pids = Min(entry->blocked_total, LG_LEDGER_PIDS);
	for (int i = 0; i < entry->n_blocked_pids; i++)
		entry->blocked_pids[i] = graph->nodes[blocked[i]].pid;
	record_relation(entry, graph, node);
}

/* How many of the sessions that waited for the victim do so no more. */
static int
count_freed(const LgLedgerEntry *entry, const LgSession *victim)
{
	LgLockGraph *graph = entry->blocked_total > 0 ? lg_lock_graph_read() : NULL;
	int node = graph != NULL ? graph->node_of_slot[victim->slot] : -1;

	if (node < 0 || graph->nodes[node].pid != victim->pid)
		return entry->blocked_total;
	return Max(entry->blocked_total - lg_lock_roots_count_blocked(graph, node), 0);
}

static void
fill_entry(LgLedgerEntry *entry, const LgSession *victim, LgAction action, const char *why)
{
	LgSessionTexts texts;
	const char *state = lg_sessions_state_name(victim->state);
	char *name;

	memset(entry, 0, sizeof(LgLedgerEntry));
	lg_sessions_init_texts(&texts, true);
	lg_sessions_read_texts(victim, &texts);

	entry->at = GetCurrentTimestamp();
	entry->backend_start = victim->backend_start;
	entry->state_age = lg_clock_age(victim->state_change, entry->at);
	entry->pid = victim->pid;
	entry->userid = victim->userid;
	entry->databaseid = victim->databaseid;
	entry->writer_databaseid = MyDatabaseId;
	entry->on_standby = RecoveryInProgress();
	entry->repeats = 1;
	entry->waiters_freed = -1;
	strlcpy(entry->target, "by hand", sizeof(entry->target));
	strlcpy(entry->action, action == LG_ACTION_TERMINATE ? "terminate" : "cancel",
			sizeof(entry->action));
	strlcpy(entry->signal, action == LG_ACTION_TERMINATE ? "SIGTERM" : "SIGINT",
			sizeof(entry->signal));
	if (state != NULL)
		strlcpy(entry->state, state, sizeof(entry->state));
	if ((name = GetUserNameFromId(victim->userid, true)) != NULL)
		strlcpy(entry->usename, name, NAMEDATALEN);
	if ((name = get_database_name(victim->databaseid)) != NULL)
		strlcpy(entry->datname, name, NAMEDATALEN);
	strlcpy(entry->application_name, texts.application_name, NAMEDATALEN);
	entry->client_addr = texts.client_addr;
	strlcpy(entry->query, texts.query, LG_LEDGER_QUERY);
	strlcpy(entry->reason, why, LG_LEDGER_REASON);
	strlcpy(entry->outcome, "signalled", LG_OUTCOME_SIZE);
}

/* Wait, interruptibly, until it is known what came of it, or the patience is at an end. */
static void
watch(LgActing *acting)
{
	int64 began = lg_clock_read(CLOCK_MONOTONIC);
	int pause = 1;

	for (;;)
	{
		lg_actions_watch(acting);
		if (acting->progress != LG_PROGRESS_PENDING ||
			lg_clock_read(CLOCK_MONOTONIC) - began > LONGEST_WATCH)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, pause,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		pause = Min(pause * 2, 50);
	}
}

/* An action by hand, and what is to be said of it. */
typedef struct ByHand
{
	LgActing acting;
	LgLedgerEntry entry;
	uint64 number;	  /* of that entry */
	const char *role; /* that asks for it */
	int freed;		  /* sessions that waited for the victim and do so no more; -1 = not known */
} ByHand;

static void
log_action(const ByHand *action, const char *outcome)
{
	const LgLedgerEntry *entry = &action->entry;

	ereport(LOG,
			(errmsg("action by hand on session with PID %d: %s", entry->pid, outcome),
			 errdetail_plural(
				 "Role \"%s\" asked to %s it, giving the reason \"%s\". It blocked %d session.",
				 "Role \"%s\" asked to %s it, giving the reason \"%s\". It blocked %d sessions.",
				 entry->blocked_total, action->role, entry->action, entry->reason,
				 entry->blocked_total),
			 errhidestmt(true), errhidecontext(true)));
}

/*
 * However the caller's statement or session ends, its note is given back, and ledger
 * and server log say what is known by then.
 */
static void
give_up(int code, Datum arg)
{
	ByHand *action = (ByHand *) DatumGetPointer(arg);
	char outcome[LG_OUTCOME_SIZE];

	lg_actions_release(&action->acting);
	lg_actions_describe(&action->acting, outcome, LG_OUTCOME_SIZE);
	if (action->acting.progress != LG_PROGRESS_PENDING)
		lg_ledger_finish(action->number, outcome, GetCurrentTimestamp(),
						 action->acting.progress == LG_PROGRESS_DONE ? -1 : 0);
	lg_collector_wake();
	log_action(action, outcome);
}

/* Signal, and see what comes of it. */
static void
signal_once(ByHand *action, const LgProof *proof, const LgReason *reason)
{
	LgActing *acting = &action->acting;

	lg_actions_signal(acting, proof, reason);
	PG_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(action));
	{
		watch(acting);
		lg_actions_release(acting);
		if (acting->progress == LG_PROGRESS_DONE)
			action->freed = count_freed(&action->entry, &acting->victim);
		else
			action->freed = acting->progress == LG_PROGRESS_PENDING ? -1 : 0;
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_up, PointerGetDatum(action));
}

/* Signal, and again if it was met in the middle of something short. */
static void
signal_victim(ByHand *action, const LgProof *proof, const LgReason *reason)
{
	const LgActing *acting = &action->acting;

	for (int tries = 0; tries < MAX_TRIES; tries++)
	{
		if (tries > 0)
			pg_usleep(1000L);
		signal_once(action, proof, reason);
		if (acting->progress != LG_PROGRESS_SPARED ||
			(acting->spared != LG_SPARED_BUSY && acting->spared != LG_SPARED_ENDING))
			return;
	}
}

/* Act, and say in the ledger, in the server log and in outcome what came of it. */
static void
act(const LgSession *victim, LgAction what, const char *why, char *outcome)
{
	ByHand action = {.acting = {.victim = *victim, .action = what}};
	LgProof proof = {.pid = victim->pid, .backend_start = victim->backend_start};
	LgReason reason;

	if (what == LG_ACTION_CANCEL)
		proof.query_start = victim->query_start;
	action.role = GetUserNameFromId(GetUserId(), false);
	compose_reason(&reason, what, why, victim->databaseid);
	fill_entry(&action.entry, victim, what, why);
	record_evidence(&action.entry, victim);

	action.number = lg_ledger_add(&action.entry); /* before the client can read our words */
	lg_collector_wake();
	signal_victim(&action, &proof, &reason);

	lg_actions_describe(&action.acting, outcome, LG_OUTCOME_SIZE);
	lg_ledger_finish(action.number, outcome,
					 action.acting.progress == LG_PROGRESS_PENDING ? 0 : GetCurrentTimestamp(),
					 action.freed);
	lg_collector_wake();
	log_action(&action, outcome);
}

static Datum
act_by_hand(FunctionCallInfo fcinfo, LgAction action)
{
	LgSession victim;
	char outcome[LG_OUTCOME_SIZE];
	char *why;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	lg_shared_require();
	why = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (why[strspn(why, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("reason must not be empty"),
				 errhint("It is told to the session's client and kept in lifeguard.ledger.")));
	if (strlen(why) > MAX_REASON)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("reason is too long"),
				 errdetail("It has %d bytes; the limit is %d.", (int) strlen(why), MAX_REASON)));

	if (!find_victim(PG_GETARG_INT32(0), &victim) ||
		(!PG_ARGISNULL(2) && PG_GETARG_TIMESTAMPTZ(2) != victim.backend_start))
		PG_RETURN_TEXT_P(cstring_to_text("spared: it is gone"));
	require_rights(victim.userid, action);
	if (!lg_state_enforced())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("pg_lifeguard may not signal sessions"),
						errdetail("\"pg_lifeguard.enforce\" is off."),
						errhint("Set it to on and reload, or use pg_terminate_backend().")));

	act(&victim, action, why, outcome);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/*
 * lifeguard.cancel_session(pid, reason, backend_start) and
 * lifeguard.terminate_session(...): act by hand, wait at most 5 s, return the
 * outcome.  NULL for a NULL pid.  Raise errors for whoever may not signal that
 * session, for an empty or too long reason, and while not preloaded.
 */
Datum
pg_lifeguard_cancel_session(PG_FUNCTION_ARGS)
{
	return act_by_hand(fcinfo, LG_ACTION_CANCEL);
}

Datum
pg_lifeguard_terminate_session(PG_FUNCTION_ARGS)
{
	return act_by_hand(fcinfo, LG_ACTION_TERMINATE);
}

/*
 * lifeguard.read_ledger(): the entries in shared memory, oldest first; none
 * while pg_lifeguard is not preloaded.
 */
Datum
pg_lifeguard_read_ledger(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_LEDGER);
}
