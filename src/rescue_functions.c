/*-------------------------------------------------------------------------
 * rescue_functions.c
 *		SQL-callable functions that run policies, or tell how they stand.
 *
 * Locking: lg_shared->lock to copy what is shared; preview and run make a pass
 * over one policy, and format their rows when it is over.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "carry_out.h"
#include "compat.h"
#include "collector.h"
#include "ledger.h"
#include "lock_graph.h"
#include "pending.h"
#include "rescue.h"
#include "rights.h"
#include "rows.h"
#include "sessions.h"
#include "settings.h"
#include "shared.h"
#include "texts.h"
#include "visits.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_preview_policy);
PG_FUNCTION_INFO_V1(pg_lifeguard_run_policy);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_policies);

#define LONGEST_WATCH (5 * USECS_PER_SEC) /* until run_policy() returns "signalled" */
#define LONGEST_WAIT (3 * USECS_PER_SEC)  /* for policies that have just been committed */

/* One session, as the result shows it. */
typedef struct Verdict
{
	int pid;
	Oid userid;
	TimestampTz backend_start;
	uint64 entry; /* in the ledger; 0 = none */
	const LgPrepared *prepared;
	bool acts; /* the policy may act on it */
	const char *verdict;
	const char *why;
} Verdict;

/* What is asked of a pass over one policy, and what came of it. */
typedef struct Order
{
	const char *name;
	bool act;
	bool rehearse;
	MemoryContext context; /* of the verdicts */
	bool found;
	bool outdated; /* it only rehearsed, by settings that are old */
	bool visits;   /* the policy is about prepared transactions */
	int n;
	Verdict *verdicts;
	int n_prepared;
	LgPrepared *prepared;
} Order;

/* What a policy does to those it hits. */
static const char *
word_hit(const LgCandidate *candidate)
{
	return lg_policy_action_name(candidate->local->policy->action);
}

static void
copy_verdict(Order *order, const LgRescue *rescue, const LgCandidate *candidate)
{
	Verdict *verdict = &order->verdicts[order->n++];
	const LgEpisodeMark *mark = lg_state_mark(candidate->local, candidate->session->slot);

	verdict->prepared = candidate->prepared;
	verdict->pid = candidate->session->pid;
	verdict->userid = candidate->session->userid;
	verdict->backend_start = candidate->session->backend_start;
	verdict->acts = candidate->why == LG_WHY_HIT || candidate->why == LG_WHY_OVER_LIMIT;
	verdict->verdict = candidate->why == LG_WHY_HIT ? word_hit(candidate) : "spared";
	verdict->why = lg_policy_describe(candidate->local->policy, &candidate->facts, &rescue->server,
									  candidate->why);
	if (order->act && rescue->outdated && candidate->why == LG_WHY_HIT &&
		candidate->local->policy->action != LG_POLICY_LOG)
		verdict->why = psprintf("%s%s", verdict->why, LG_WHY_OUTDATED);
	if (order->act && candidate->prepared == NULL && candidate->why == LG_WHY_HIT &&
		mark->since == candidate->since)
		verdict->entry = mark->entry;
}

/* Raise an error unless the caller may do what the policy's owner may. */
static void
require_owner(const LgPolicy *policy)
{
	Oid owner = get_role_oid(policy->owner, true);

	if (superuser() ||
		(OidIsValid(owner) && !superuser_arg(owner) && has_privs_of_role(GetUserId(), owner)))
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("must be owner of policy \"%s\"", policy->name),
					errdetail("It belongs to role \"%s\".", policy->owner)));
}

/* A pass over one policy. */
static void
make_pass(LgTime now, void *arg)
{
	Order *order = arg;
	LgLocalPolicies *policies = lg_policies_get();
	LgLocalPolicy *only = lg_policies_find(policies, order->name);
	LgRescue *rescue;
	LgSessionScan scan = {0, 0};
	LgSession session;
	MemoryContext pass;

	order->found = only != NULL;
	order->visits = only != NULL && only->policy->target == LG_TARGET_PREPARED;
	if (order->act && only != NULL)
		require_owner(only->policy);
	if (only == NULL ||
		(rescue = lg_rescue_begin(now, policies, lg_lock_graph_collect(), only, true)) == NULL)
		return;
	rescue->rehearse = order->rehearse;
	order->outdated = rescue->outdated;
	rescue->server.ages_count_from = lg_collector_ages_count_from(now);
	while (lg_sessions_next(&scan, &session))
		lg_rescue_consider(rescue, &session);
	for (int i = 0; i < order->n_prepared; i++)
		lg_rescue_consider_prepared(rescue, &order->prepared[i]);
	lg_rescue_decide(rescue);
	if (order->act && !order->visits)
		lg_carry_out(rescue);

	pass = MemoryContextSwitchTo(order->context);
	order->verdicts = palloc0(sizeof(Verdict) * Max(rescue->n_candidates, 1));
	for (int i = 0; i < rescue->n_candidates; i++)
	{
		if (rescue->candidates[i].why != LG_WHY_TARGET)
			copy_verdict(order, rescue, &rescue->candidates[i]);
	}
	MemoryContextSwitchTo(pass);
	if (order->act)
		lg_shared->next_look = lg_pending_tend(lg_clock_now());
}

/* Wait a little, interruptibly. */
static void
pause_for(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * What was committed a moment ago, or before the server started a moment ago,
 * may not be published yet: give it the time it needs.
 */
static void
wait_for_publication(void)
{
	int64 began = lg_clock_read(CLOCK_MONOTONIC);

	while (pg_atomic_read_u32(&lg_shared->policies_changed) != LG_POLICIES_KNOWN &&
		   lg_clock_read(CLOCK_MONOTONIC) - began < LONGEST_WAIT)
		pause_for(10);
}

static void
add_verdict(LgRows *rows, const Verdict *verdict)
{
	bool may_see = lg_rights_may_see(verdict->userid);
	LgLedgerEntry entry;

	lg_rows_begin_row(rows);
	lg_rows_add_pid(rows, verdict->pid);
	lg_rows_add_text(rows,
					 verdict->prepared != NULL
						 ? lg_texts_to_local(verdict->prepared->gid, verdict->prepared->databaseid)
						 : NULL);
	lg_rows_add_time(rows, may_see ? verdict->backend_start : 0);
	if (verdict->entry != 0 && lg_ledger_copy(verdict->entry, &entry))
		lg_rows_add_text(rows, entry.outcome);
	else
		lg_rows_add_text(rows, verdict->verdict);
	lg_rows_add_text(rows, may_see ? verdict->why : "<insufficient privilege>");
	lg_rows_end_row(rows);
}

static void
tend(LgTime now, void *arg)
{
	lg_shared->next_look = lg_pending_tend(now);
}

/* Stay until it is known what came of every signal, or for 5 s. */
static void
watch(const Order *order)
{
	int64 began = lg_clock_read(CLOCK_MONOTONIC);
	long ms = 1;

	for (;;)
	{
		bool open = false;
		LgLedgerEntry entry;

		lg_collector_run_alone(tend, NULL);
		for (int i = 0; i < order->n && !open; i++)
			open = order->verdicts[i].entry != 0 &&
				   lg_ledger_copy(order->verdicts[i].entry, &entry) &&
				   lg_ledger_is_open(entry.outcome);
		if (!open || lg_clock_read(CLOCK_MONOTONIC) - began > LONGEST_WATCH)
			return;
		pause_for(ms);
		ms = Min(ms * 2, 50);
	}
}

/* All prepared transactions, if the policy is about them. */
static void
read_prepared(Order *order)
{
	LgLocalPolicy *local = lg_policies_find(lg_policies_get(), order->name);

	if (local == NULL || local->policy->target != LG_TARGET_PREPARED)
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	order->prepared = lg_prepared_read(InvalidOid, &order->n_prepared);
	PopActiveSnapshot();
}

/* Which databases those are in that the policy may act on, each once. */
static int
list_databases(const Order *order, Oid *databases)
{
	int n = 0;

	for (int i = 0; i < order->n; i++)
	{
		Oid databaseid = order->verdicts[i].prepared->databaseid;
		bool known = !order->verdicts[i].acts;

		for (int j = 0; j < n && !known; j++)
			known = databases[j] == databaseid;
		if (!known && n < LG_MAX_ORDER_VISITS)
			databases[n++] = databaseid;
	}
	return n;
}

/* What the visitor has recorded.  Makes a pass of its own, for marks belong to passes. */
static void
find_entries(LgTime now, void *arg)
{
	Order *order = arg;
	LgLocalPolicy *local = lg_policies_find(lg_policies_get(), order->name);

	for (int i = 0; local != NULL && i < order->n; i++)
	{
		const LgPrepared *prepared = order->verdicts[i].prepared;
		const LgEpisodeMark *mark = lg_state_mark(local, prepared->slot);

		order->verdicts[i].entry =
			order->verdicts[i].acts && mark->since == prepared->prepared_at ? mark->entry : 0;
		if (order->verdicts[i].acts && order->verdicts[i].entry == 0)
			order->verdicts[i].verdict = "not visited";
	}
}

static void
cancel_order(int code, Datum arg)
{
	lg_visits_cancel_order();
}

/* Place the order as soon as nobody else's is open, and wait for its end, 5 s in all. */
static void
await_visits(const Order *order)
{
	int64 began = lg_clock_read(CLOCK_MONOTONIC);
	Oid databases[LG_MAX_ORDER_VISITS];
	int n = list_databases(order, databases);
	uint64 number = 0;

	while (n > 0 && lg_clock_read(CLOCK_MONOTONIC) - began < LONGEST_WATCH)
	{
		if (number == 0)
		{
			number = lg_visits_place_order(order->name, order->rehearse, databases, n);
			if (number != 0)
				lg_collector_wake();
		}
		else if (!lg_visits_order_is_open(number))
			return;
		pause_for(5);
	}
}

/* Let the visitor act, who alone can be in all those databases. */
static void
send_visitors(Order *order)
{
	PG_ENSURE_ERROR_CLEANUP(cancel_order, (Datum) 0);
	{
		await_visits(order);
	}
	PG_END_ENSURE_ERROR_CLEANUP(cancel_order, (Datum) 0);
	lg_visits_cancel_order();
	lg_collector_run_alone(find_entries, order);
}

/*
 * Tell the caller that, and why, a pass of his has only rehearsed.
 */
void
lg_rescue_say_outdated(void)
{
	ereport(NOTICE,
			(errmsg("policies only rehearse until this statement ends"),
			 errdetail("Settings were reloaded since it began, and it still has the old ones."),
			 errhint("Call it in a statement of its own.")));
}

static Datum
run(FunctionCallInfo fcinfo, bool act)
{
	Order order = {.context = CurrentMemoryContext, .act = act};
	LgRows rows;

	lg_shared_require();
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("name of the policy must not be null")));
	order.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	order.rehearse = !act || PG_ARGISNULL(1) || PG_GETARG_BOOL(1);
	lg_rows_begin(&rows, fcinfo);
	wait_for_publication();
	read_prepared(&order);
	lg_collector_run_alone(make_pass, &order);
	if (!order.found)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("policy \"%s\" does not exist", order.name),
						errdetail("It is not among the policies that have been published."),
						errhint("lifeguard.policy_status shows those that are; a new one is "
								"published within a second of COMMIT.")));
	if (act && order.outdated)
	{
		order.rehearse = true; /* the visitor has new settings, but must not belie us */
		lg_rescue_say_outdated();
	}
	if (act && order.visits && order.n_prepared > 0) /* it may have been altered since */
		send_visitors(&order);
	else if (act)
		watch(&order);
	for (int i = 0; i < order.n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		add_verdict(&rows, &order.verdicts[i]);
	}
	PG_RETURN_NULL();
}

/*
 * lifeguard.preview_policy(name): everybody whom the policy's target means, and
 * whom it would hit now, or why not.  Enabled and scheduled or not.  Raises
 * errors for a policy that is not published, and while not preloaded.
 */
Datum
pg_lifeguard_preview_policy(PG_FUNCTION_ARGS)
{
	return run(fcinfo, false);
}

/*
 * lifeguard.run_policy(name, rehearse): the same, and then acts as a pass would.
 * Waits up to 5 s for the outcomes.  Needs the rights of the policy's owner.
 */
Datum
pg_lifeguard_run_policy(PG_FUNCTION_ARGS)
{
	return run(fcinfo, true);
}

/* Why a policy does nothing now, in words; NULL when it does. */
static const char *
word_idle(const LgLocalPolicy *local, const LgPolicyState *state, TimestampTz paused_until,
		  const char *pause_reason, LgTime now)
{
	if (!local->policy->enabled)
		return "it is disabled";
	if (!OidIsValid(get_role_oid(local->policy->owner, true)))
		return "its owner does not exist";
	if (state->idle_why == LG_IDLE_RUNS_ON)
		return local->policy->runs_on == LG_RUNS_ON_STANDBY ? "it runs on standbys only"
															: "it runs on primaries only";
	if (state->idle_why == LG_IDLE_SCHEDULE)
		return "it is outside its schedule";
	if (local->policy->min_same_query > 0 && !IsQueryIdEnabled())
		return "query ids are not computed: set compute_query_id";
	if (local->policy->action == LG_POLICY_LOG)
		return NULL;
	if (!lg_enforce)
		return "pg_lifeguard.enforce is off: it only rehearses";
	if (paused_until > now.wall)
		return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS)
				   ? psprintf("paused: %s", lg_texts_valid_here(pause_reason))
				   : "paused";
	if (state->paused_until > now.mono)
		return "paused by its breaker: its actions brought no relief";
	return NULL;
}

static void
add_policy(LgRows *rows, LgLocalPolicy *local, const LgPolicyState *state, const LgShared *copy,
		   const LgPolicySet *head)
{
	LgTime now = lg_clock_now();
	const char *idle = word_idle(local, state, copy->paused_until, copy->pause_reason, now);
	TimestampTz paused = Max(now.wall + Max(state->paused_until - now.mono, 0), copy->paused_until);

	lg_rows_begin_row(rows);
	lg_rows_add_text(rows, lg_texts_to_local(local->policy->name, head->databaseid));
	lg_rows_add(rows, BoolGetDatum(idle == NULL));
	lg_rows_add_text(rows, idle);
	lg_rows_add_time(rows, paused > now.wall ? paused : 0);
	lg_rows_add_time(rows, local->policy->enabled && local->zone != NULL
							   ? lg_schedule_next(&local->policy->schedule, local->zone, now.wall)
							   : 0);
	lg_rows_add_int(rows, lg_limiter_last_minute(&state->acted, now.mono));
	lg_rows_add_time(rows, state->last_action);
	lg_rows_add_time(rows, head->published_at);
	lg_rows_add_int8(rows, state->over_limit);
	lg_rows_add_int8(rows, state->spared);
	lg_rows_add_text(rows, lg_policy_action_name(local->policy->action));
	lg_rows_add_time(rows, copy->paused_until > now.wall ? copy->paused_since : 0);
	lg_rows_end_row(rows);
}

/* A policy's state of now; of another one's, nothing. */
static LgPolicyState
copy_state(const LgLocalPolicy *local)
{
	LgPolicyState state;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	state = lg_shared->states[local->place];
	LWLockRelease(lg_shared->lock);
	if (strcmp(state.name, local->policy->name) != 0)
		memset(&state, 0, sizeof(state));
	return state;
}

/*
 * Count the published policies by how they stand, as policy_status shows them; copy
 * is of what is shared.
 */
void
lg_rescue_count_policies(const LgShared *copy, int counts[LG_STANDINGS])
{
	LgLocalPolicies *policies = lg_policies_get();
	LgTime now = lg_clock_now();

	memset(counts, 0, sizeof(int) * LG_STANDINGS);
	for (int i = 0; i < policies->n; i++)
	{
		LgLocalPolicy *local = &policies->policies[i];
		LgPolicyState state = copy_state(local);

		const char *why = word_idle(local, &state, copy->paused_until, copy->pause_reason, now);

		CHECK_FOR_INTERRUPTS();
		if (why == NULL)
			counts[LG_IN_FORCE]++;
		else if (strncmp(why, "paused", 6) != 0)
			counts[LG_NOT_IN_FORCE]++;
		else
			counts[copy->paused_until > now.wall ? LG_PAUSED : LG_PAUSED_BY_BREAKER]++;
	}
}

/*
 * lifeguard.read_policies(): one row per published policy, for the view
 * policy_status, and beyond it what findings and reports say of it; none while
 * not preloaded.
 */
Datum
pg_lifeguard_read_policies(PG_FUNCTION_ARGS)
{
	LgLocalPolicies *policies;
	LgPolicySet head;
	LgShared copy;
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	if (lg_shared == NULL)
		PG_RETURN_NULL();
	policies = lg_policies_get();
	lg_policies_describe(&head);
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	copy = *lg_shared;
	LWLockRelease(lg_shared->lock);

	for (int i = 0; i < policies->n; i++)
	{
		LgLocalPolicy *local = &policies->policies[i];
		LgPolicyState state = copy_state(local);

		CHECK_FOR_INTERRUPTS();
		add_policy(&rows, local, &state, &copy, &head);
	}
	PG_RETURN_NULL();
}
