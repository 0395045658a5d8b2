/*-------------------------------------------------------------------------
 * visitor.c
 *		Prepared transactions and relation names, in other databases.
 *
 * A gid, the moment of PREPARE and the name of a relation can be read only by
 * somebody who is in a database, and a prepared transaction can be finished only
 * in its own.  So the collector sends a worker there that reads catalogs, decides
 * as a pass does, gives the pass back, rolls back, and leaves: it waits 100 ms
 * for a lock, stays 3 s at most, and is then away from that database for 300 ms
 * at least.  One visitor at a time.
 *
 * A pass sees only who is there.  It costs no visit as long as nobody can have
 * been prepared for longer than the shortest limit, so that transactions that
 * are prepared and finished at once, by the thousand, cost none at all.
 *
 * Locking: what visits.c, prepared.c, and a pass take; never an LWLock of ours
 * while anything is rolled back.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "carry_out.h"
#include "collector.h"
#include "errand.h"
#include "ledger.h"
#include "names.h"
#include "pending.h"
#include "relations.h"
#include "settings.h"
#include "shared.h"
#include "test_point.h"
#include "visitor.h"
#include "visits.h"

#define RETRY_INTERVAL (1 * USECS_PER_SEC)	 /* when it could not be sent; between two looks */
#define LONG_INTERVAL (10 * USECS_PER_SEC)	 /* until what seldom changes is looked at again */
#define FAILURE_ABSENCE (10 * USECS_PER_SEC) /* from a database that could not be visited */
#define NAME_ABSENCE (1 * USECS_PER_SEC)	 /* between two visits for names */
#define MAX_RECENT 16						 /* databases whose last visit is remembered */
#define NEVER PG_INT64_MAX

/* ------------------------------------------------------------------------
 * In a pass: who is there, and under which policies
 * ------------------------------------------------------------------------
 */

/* A number that stands for the policies that could hit, and for how they would act; never 0. */
static uint64
sum_up(const LgRescue *rescue)
{
	uint64 sum = rescue->policies->generation;

	sum = hash_combine64(sum, (lg_state_enforced() ? 1 : 0) +
								  (lg_state_paused(rescue->now.wall) ? 2 : 0));
	for (int i = 0; i < rescue->n_in_force[LG_TARGET_PREPARED]; i++)
	{
		const LgLocalPolicy *local = rescue->in_force[LG_TARGET_PREPARED][i];
		bool paused = lg_state_of(local)->paused_until > rescue->now.mono;

		sum = hash_combine64(sum, local->place * 2 + (paused ? 1 : 0) + 1);
	}
	return Max(sum, 1);
}

/*
 * Take note of the prepared transactions that are there.  rescue is the pass as
 * it has been decided, NULL when there is no policy.  For whoever makes a pass;
 * allocates in the current memory context; wakes the collector.
 */
void
lg_visitor_plan(const LgRescue *rescue, LgTime now)
{
	LgPreparedSight *sights;
	int n;

	if (max_prepared_xacts == 0)
		return;
	if (rescue == NULL || rescue->policies->n_by_target[LG_TARGET_PREPARED] == 0 ||
		rescue->server.standby)
	{
		if (lg_shared->visits->noted_at.mono != 0)
			lg_visits_forget();
		return;
	}
	sights = palloc(sizeof(LgPreparedSight) * max_prepared_xacts);
	lg_prepared_see(sights);
	n = rescue->n_in_force[LG_TARGET_PREPARED];
	lg_visits_note(sights, n > 0 ? sum_up(rescue) : 0,
				   n > 0 ? rescue->in_force[LG_TARGET_PREPARED][0]->policy->min_duration : 0, now);
	if (lg_shared->collector_pid != MyProcPid)
		lg_collector_wake();
}

/* ------------------------------------------------------------------------
 * In the collector: when to send a visitor, and where
 * ------------------------------------------------------------------------
 */

/* A database that was visited.  Times are monotonic, in microseconds. */
typedef struct Recent
{
	Oid databaseid;
	int64 names_at;	  /* for names, too */
	int64 not_before; /* it is to be left alone until then */
} Recent;

/* What the collector remembers. */
static struct
{
	LgErrand worker;
	Oid databaseid; /* where it was sent */
	uint64 order;	/* which was open then */
	uint32 names;	/* likewise */
	uint64 done_before;
	int64 not_before; /* after a failure to send one */
	Recent recent[MAX_RECENT];
} errand;

/* The earliest moment found so far, and for which database. */
typedef struct Target
{
	Oid databaseid;
	int64 due; /* monotonic */
} Target;

static Recent *
find_recent(Oid databaseid)
{
	for (int i = 0; i < MAX_RECENT; i++)
	{
		if (errand.recent[i].databaseid == databaseid)
			return &errand.recent[i];
	}
	return NULL;
}

/* Leave a database alone for a while; the one that may soonest be visited again is forgotten. */
static void
leave_alone(Oid databaseid, int64 until, bool names, int64 now)
{
	Recent *recent = find_recent(databaseid);

	if (recent == NULL)
	{
		recent = &errand.recent[0];
		for (int i = 1; i < MAX_RECENT; i++)
		{
			if (errand.recent[i].not_before < recent->not_before)
				recent = &errand.recent[i];
		}
		memset(recent, 0, sizeof(Recent));
		recent->databaseid = databaseid;
	}
	recent->not_before = until;
	if (names)
		recent->names_at = now;
}

/* What became of the visitor that has just ended. */
static void
judge_end(const LgVisits *visits, int64 now)
{
	bool failed = visits->done == errand.done_before;

	leave_alone(errand.databaseid, now + (failed ? FAILURE_ABSENCE : LG_SHORTEST_ABSENCE),
				errand.names != 0, now);
	if (!failed)
		return;
	if (errand.order != 0)
		lg_visits_end_order(errand.order, errand.databaseid);
	if (errand.names != 0)
		lg_visits_end_names(errand.databaseid, errand.names, false);
}

/* Is a visitor under way? */
static bool
is_under_way(const LgVisits *visits, int64 now)
{
	bool sent = errand.worker.handle != NULL;

	if (lg_errand_is_under_way(&errand.worker, now))
		return true;
	if (sent)
		judge_end(visits, now);
	/* sent by the collector before us, perhaps */
	return visits->pid != 0 && BackendPidGetProc(visits->pid) != NULL;
}

static void
propose(Target *target, Oid databaseid, int64 due)
{
	const Recent *recent = find_recent(databaseid);

	due = Max(due, errand.not_before);
	if (recent != NULL)
		due = Max(due, recent->not_before);
	if (due < target->due)
	{
		target->databaseid = databaseid;
		target->due = due;
	}
}

/*
 * When a prepared transaction has to be judged, by the monotonic clock; 0 = it need not
 * be.  Its age is by the wall clock, as the server stamps it; what was put off is not.
 */
static int64
slot_due(const LgVisits *visits, const LgVisitSlot *slot, LgTime now)
{
	int64 due;

	if (!TransactionIdIsValid(slot->xid) || visits->in_force == 0)
		return 0;
	if (slot->judged_under == visits->in_force)
		due = slot->next_due;
	else if (slot->since == 0)
		due = visits->noted_at.mono;
	else
	{
		due = now.mono - now.wall +
			  Max(Max(slot->since, lg_shared->beat.ages_count_from), lg_shared->beat.serves_since) +
			  visits->shortest + LG_USECS_PER_MSEC;
		if (slot->judged_at != 0)
			due = Max(due, slot->judged_at + RETRY_INTERVAL);
	}

	/* without an interval nothing happens that no pass has asked for */
	return lg_sample_interval == 0 && due > visits->noted_at.mono ? 0 : due;
}

/* Where a visitor is wanted first. */
static Target
choose_target(const LgVisits *visits, LgTime now)
{
	Target target = {InvalidOid, NEVER};

	for (int i = 0; i < visits->order.n; i++)
	{
		if (OidIsValid(visits->order.databases[i]))
			propose(&target, visits->order.databases[i], now.mono);
	}
	for (int i = 0; i < LG_MAX_NAME_VISITS; i++)
	{
		const Recent *recent = find_recent(visits->names[i].databaseid);

		if (OidIsValid(visits->names[i].databaseid))
			propose(&target, visits->names[i].databaseid,
					recent == NULL || recent->names_at == 0 ? now.mono
															: recent->names_at + NAME_ABSENCE);
	}
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		int64 due = slot_due(visits, &visits->slots[i], now);

		if (due != 0)
			propose(&target, visits->slots[i].databaseid, Max(due, now.mono));
	}
	return target;
}

/* Send it, unless the database allows no connection or is gone. */
static void
send_visitor(const LgVisits *visits, Oid databaseid, LgTime now)
{
	Oid found = InvalidOid;
	bool allows;
	bool read;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	read = lg_errand_look_up(DatabaseOidIndexId, Anum_pg_database_oid, F_OIDEQ,
							 ObjectIdGetDatum(databaseid), &found, &allows);
	CommitTransactionCommand();
	if (!read)
	{
		errand.not_before = now.mono + RETRY_INTERVAL;
		return;
	}
	errand.databaseid = databaseid;
	errand.order = visits->order.pid != 0 ? visits->order.number : 0;
	errand.names = lg_visits_names_asked(databaseid);
	errand.done_before = visits->done;
	if (!OidIsValid(found) || !allows)
		judge_end(visits, now.mono);
	else if (!lg_errand_send(&errand.worker, "lg_visitor_main", "visitor",
							 "prepared transactions are left alone", databaseid, now.mono))
		errand.not_before = now.mono + RETRY_INTERVAL;
}

/*
 * Send a visitor if one is wanted.  For the collector alone, outside a
 * transaction, whenever it is awake.  Returns the moment, by the monotonic
 * clock, at which it wants to be called at the latest; 0 = when something
 * happens.  Waits for no heavyweight lock.
 */
int64
lg_visitor_tend(LgTime now)
{
	static LgVisits *visits = NULL;
	Target target;

	if (visits == NULL)
		visits = MemoryContextAllocZero(TopMemoryContext, lg_visits_size());
	lg_visits_copy(visits);
	if (is_under_way(visits, now.mono))
		return now.mono + LG_LONGEST_PATIENCE;

	target = choose_target(visits, now);
	if (target.due == NEVER)
		return 0;
	if (target.due > now.mono)
		return target.due;
	send_visitor(visits, target.databaseid, now);
	return now.mono + RETRY_INTERVAL;
}

/* ------------------------------------------------------------------------
 * The visitor
 * ------------------------------------------------------------------------
 */

/* One that has been decided to be rolled back. */
typedef struct Doomed
{
	LgPrepared prepared;
	LgLocalPolicy *local;
	uint64 entry; /* in the ledger; 0 = what came of it is written there */
	int blocked_total;
	bool rolled_back;
	bool resists; /* that was tried, and failed */
} Doomed;

/* What a visit finds, and does. */
typedef struct Visit
{
	int64 began;
	MemoryContext context;
	uint64 in_force;	/* what it judges under; 0: it has not come to judge */
	uint64 generation;	/* of the policies by which it has decided */
	const char *policy; /* only that one, NULL = all that are in force */
	uint64 order;		/* whose; 0 = nobody's */
	bool rehearse;
	int waiting; /* sessions, before it has done anything */
	int n;
	LgPrepared *found;
	int n_doomed;
	Doomed *doomed;
} Visit;

static Visit visit;

/* Become the one visitor, or find that there is one. */
static bool
claim(void)
{
	bool mine;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	mine = lg_shared->visits->pid == 0;
	if (mine)
		lg_shared->visits->pid = MyProcPid;
	LWLockRelease(lg_shared->lock);
	return mine;
}

/* However it ends: what it has not come to do is said. */
static void
leave(int code, Datum arg)
{
	for (int i = 0; i < visit.n_doomed; i++)
	{
		if (visit.doomed[i].entry != 0)
			lg_ledger_finish(visit.doomed[i].entry, "spared: the visitor was ended",
							 GetCurrentTimestamp(), 0);
	}
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (lg_shared->visits->pid == MyProcPid)
	{
		lg_shared->visits->pid = 0;
		lg_shared->visits->rolls_back = false;
	}
	lg_shared->visits->done += code == 0;
	LWLockRelease(lg_shared->lock);
}

/* Read the prepared transactions of this database. */
static void
read_prepared(void)
{
	MemoryContext caller = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(visit.context);
	visit.found = lg_prepared_read(MyDatabaseId, &visit.n);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(caller);
}

/* When this policy has to look at it again, monotonic; NEVER = only when policies change. */
static int64
look_again_at(const LgRescue *rescue, const LgCandidate *candidate)
{
	int64 now = rescue->now.mono;
	TimestampTz start = Max(candidate->since, rescue->server.ages_count_from);
	int64 age = lg_clock_age(start, rescue->now.wall);

	switch (candidate->why)
	{
		case LG_WHY_TARGET:
		case LG_WHY_DATABASE:
		case LG_WHY_GID:
			return NEVER;
		case LG_WHY_YOUNG:
			return now - age + candidate->local->policy->min_duration + 1;
		case LG_WHY_HIT:
			return candidate->dooms || rescue->outdated ? now + RETRY_INTERVAL
														: now + LONG_INTERVAL;
		case LG_WHY_BLOCKS_FEW:
		case LG_WHY_BLOCKS_SHORT:
		case LG_WHY_OVER_LIMIT:
		case LG_WHY_UNKNOWN_ROLE:
			return now + RETRY_INTERVAL;
		default:
			return now + LONG_INTERVAL;
	}
}

/* Say when each of them has to be judged again. */
static void
note_judged(const LgRescue *rescue)
{
	int64 now = rescue->now.mono;

	for (int i = 0; i < visit.n; i++)
	{
		int64 next = NEVER;

		for (int j = 0; j < rescue->n_candidates; j++)
		{
			const LgCandidate *candidate = &rescue->candidates[j];

			if (candidate->prepared == &visit.found[i])
				next = Min(next, look_again_at(rescue, candidate));
		}
		lg_visits_judged(&visit.found[i], visit.in_force, now, next == NEVER ? 0 : next);
	}
	lg_visits_judged_others(MyDatabaseId, visit.in_force, now, now + RETRY_INTERVAL);
}

/* Copy what outlives the pass, however it ends; there is room for it. */
static void
take_doomed(int code, Datum arg)
{
	const LgRescue *rescue = (const LgRescue *) DatumGetPointer(arg);

	visit.n_doomed = 0;
	for (int i = 0; i < rescue->n_candidates; i++)
	{
		const LgCandidate *candidate = &rescue->candidates[i];
		Doomed *doomed = &visit.doomed[visit.n_doomed];

		if (!candidate->dooms)
			continue;
		doomed->prepared = *candidate->prepared;
		doomed->local = candidate->local;
		doomed->entry = candidate->entry;
		doomed->blocked_total = candidate->facts.blocked_total;
		visit.n_doomed++;
	}
}

/* Whatever interrupts it, what it has recorded is known to leave(). */
static void
carry_out(LgRescue *rescue)
{
	visit.waiting = rescue->waiting;
	visit.doomed =
		MemoryContextAllocZero(visit.context, sizeof(Doomed) * Max(rescue->n_candidates, 1));
	PG_ENSURE_ERROR_CLEANUP(take_doomed, PointerGetDatum(rescue));
	{
		lg_carry_out(rescue);
	}
	PG_END_ENSURE_ERROR_CLEANUP(take_doomed, PointerGetDatum(rescue));
	take_doomed(0, PointerGetDatum(rescue));
}

/* A pass over the prepared transactions of this database, and nobody else. */
static void
decide(LgTime now, void *arg)
{
	LgLocalPolicies *policies = lg_policies_get();
	LgLocalPolicy *only = visit.policy != NULL ? lg_policies_find(policies, visit.policy) : NULL;
	LgRescue *rescue;

	if (visit.policy != NULL && (only == NULL || only->policy->target != LG_TARGET_PREPARED))
		return;
	rescue = lg_rescue_begin(now, policies, lg_lock_graph_collect(), only, only != NULL);
	if (rescue == NULL)
		return;
	visit.generation = policies->generation;
	rescue->rehearse = visit.rehearse;
	rescue->server.ages_count_from = lg_collector_ages_count_from(now);
	for (int target = 0; target < LG_TARGETS; target++)
	{
		if (target != LG_TARGET_PREPARED)
			rescue->n_in_force[target] = 0;
	}
	for (int i = 0; i < visit.n; i++)
		lg_rescue_consider_prepared(rescue, &visit.found[i]);
	lg_rescue_decide(rescue);
	carry_out(rescue);
	if (only == NULL)
		note_judged(rescue);
}

/*
 * Afterwards: was it of use?  What could not be rolled back rests, lest it take the
 * place of those that can; not so what only had no time left, or was stopped.
 */
static void
settle(LgTime now, void *arg)
{
	for (int i = 0; i < visit.n_doomed; i++)
	{
		const Doomed *doomed = &visit.doomed[i];
		LgEpisodeMark *mark = lg_state_mark(doomed->local, doomed->prepared.slot);

		if (doomed->rolled_back)
			lg_pending_judge(doomed->local, mark->entry, visit.waiting, now);
		else if (doomed->resists && mark->since == doomed->prepared.prepared_at)
		{
			mark->acted = LG_POLICY_TERMINATE;
			lg_state_let_rest(mark, now);
		}
	}
	lg_shared->next_look = lg_pending_tend(now);
}

static bool
time_is_left(void)
{
	return lg_clock_read(CLOCK_MONOTONIC) - visit.began <
		   LG_LONGEST_STAY * LG_USECS_PER_MSEC * 2 / 3;
}

/*
 * Is there still time, do the brakes and the policies still allow it, and does
 * whoever has ordered it still wait?  If not, outcome says so; if so,
 * lg_visits_end_rollback() has to follow.
 */
static bool
may_go_on(char *outcome)
{
	if (lg_state_outdated())
	{
		/* who is protected now it has not asked; the next visit does */
		strlcpy(outcome, "spared: settings were reloaded", LG_OUTCOME_SIZE);
		return false;
	}
	strlcpy(outcome, time_is_left() ? "spared: stopped" : "spared: there was no time left",
			LG_OUTCOME_SIZE);
	return time_is_left() && lg_state_enforced() && lg_policies_generation() == visit.generation &&
		   (visit.order == 0 || lg_visits_order_is_open(visit.order)) && lg_visits_begin_rollback();
}

/* Roll back what has been decided on, each after one more proof. */
static void
roll_back(void)
{
	for (int i = 0; i < visit.n_doomed; i++)
	{
		Doomed *doomed = &visit.doomed[i];
		char outcome[LG_OUTCOME_SIZE];

		CHECK_FOR_INTERRUPTS();
		pgstat_report_activity(STATE_RUNNING, "rolling back a prepared transaction");
		LG_TEST_POINT("between decision and rollback");
		if (may_go_on(outcome))
		{
			doomed->rolled_back =
				lg_prepared_roll_back(&doomed->prepared, outcome, sizeof(outcome));
			doomed->resists = !doomed->rolled_back;
		}
		lg_visits_end_rollback();
		lg_ledger_finish(doomed->entry, outcome, GetCurrentTimestamp(),
						 doomed->rolled_back ? doomed->blocked_total : 0);
		doomed->entry = 0;
	}
	pgstat_report_activity(STATE_IDLE, NULL);
	if (visit.n_doomed > 0)
		lg_collector_run_alone(settle, NULL);
}

/* One turn: read, decide, roll back. */
static void
judge_prepared(const char *policy, bool rehearse)
{
	visit.policy = policy;
	visit.rehearse = rehearse;
	visit.n_doomed = 0;
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	pgstat_report_activity(STATE_RUNNING, "reading prepared transactions");
	read_prepared();
	lg_collector_run_alone(decide, NULL);
	roll_back();
}

/* Read the names of this database's relations that are wanted. */
static void
name_relations(uint32 asked)
{
	int place = 0;
	Oid relation;

	pgstat_report_activity(STATE_RUNNING, "naming relations");
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	while (OidIsValid(relation = lg_names_next_wanted(MyDatabaseId, &place)))
	{
		LgAwaitedRow row = {.databaseid = MyDatabaseId, .relation = relation};

		CHECK_FOR_INTERRUPTS();
		lg_names_learn(MyDatabaseId, relation, lg_relations_name(&row),
					   lg_relations_table(relation));
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	lg_visits_end_names(MyDatabaseId, asked, true); /* what is missing now will not come back */
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Does the order want this database visited? */
static bool
is_ordered(const LgVisitOrder *order)
{
	for (int i = 0; i < order->n; i++)
	{
		if (order->databases[i] == MyDatabaseId)
			return true;
	}
	return false;
}

/* Is there anything to judge here, by itself? */
static bool
has_prepared(const LgVisits *visits)
{
	LgTime now = lg_clock_now();

	for (int i = 0; visits->in_force != 0 && i < max_prepared_xacts; i++)
	{
		int64 due = slot_due(visits, &visits->slots[i], now);

		if (visits->slots[i].databaseid == MyDatabaseId && due != 0 && due <= now.mono)
			return true;
	}
	return false;
}

/*
 * The visitor, in the database whose OID it is given.  It does what there is to
 * do there and ends.  SIGTERM is die().
 */
void
lg_visitor_main(Datum arg)
{
	LgVisits *visits;
	uint32 asked;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (lg_shared == NULL || !claim())
		proc_exit(0);
	before_shmem_exit(leave, (Datum) 0);
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);

	visit.began = lg_clock_read(CLOCK_MONOTONIC);
	visit.context =
		AllocSetContextCreate(TopMemoryContext, "pg_lifeguard visit", ALLOCSET_DEFAULT_SIZES);
	lg_errand_settle_in("100ms");
	visits = MemoryContextAllocZero(visit.context, lg_visits_size());
	lg_visits_copy(visits);
	if (!RecoveryInProgress())
	{
		visit.in_force = visits->in_force;
		if (is_ordered(&visits->order))
		{
			visit.order = visits->order.number;
			judge_prepared(visits->order.policy, visits->order.rehearse);
			visit.order = 0;
			lg_visits_end_order(visits->order.number, MyDatabaseId);
		}
		if (has_prepared(visits))
			judge_prepared(NULL, false);
	}
	asked = lg_visits_names_asked(MyDatabaseId);
	if (asked != 0)
		name_relations(asked);
	disable_timeout(STATEMENT_TIMEOUT, false);
	proc_exit(0);
}
