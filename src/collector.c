/*-------------------------------------------------------------------------
 * collector.c
 *		The lifeguard: looks at the server again and again.
 *
 * The worker is bound to no database and holds no transaction, so it stands in
 * nobody's way: CREATE and DROP DATABASE, vacuum horizons and pg_upgrade do
 * not notice it.  It does nothing that lifeguard.run_pass() cannot provoke.
 *
 * It looks each pg_lifeguard.sample_interval in calm and each
 * pg_lifeguard.fast_interval while anybody waits, never closer than 10 ms.
 *
 * Two clocks: when wall and monotonic clock drift apart by more than 1 s
 * between passes, or a pass comes more than 5 s late (the machine was frozen,
 * or we were), whatever looks old may have grown old while nobody could do
 * anything about it.  From then on ages count from that pass.  A prepared
 * transaction can have grown old while there was no server to finish it: its
 * age counts from the start, or the promotion, of this one.
 *
 * Locking: lg_shared->lock to publish what a pass found, after everything has
 * been read and computed; see lock_graph.c for what reading takes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "collector.h"
#include "compat.h"
#include "carry_out.h"
#include "emergency.h"
#include "keeper.h"
#include "lock_graph.h"
#include "memory.h"
#include "pending.h"
#include "refusals.h"
#include "rescue.h"
#include "saturation.h"
#include "sessions.h"
#include "settings.h"
#include "shared.h"
#include "snapshots.h"
#include "visitor.h"

#define SHORTEST_INTERVAL 10				 /* ms between passes, whatever is set */
#define MOST_BUSY 20						 /* times its cost a pass has to itself */
#define REFUSALS_INTERVAL 100				 /* ms between passes only because of refusals */
#define RESTART_INTERVAL 1					 /* s until a failed collector comes back */
#define CLOCK_JUMP_LIMIT (1 * USECS_PER_SEC) /* between the two clocks, per pass */
#define PASS_MEMORY (1024 * 1024)			 /* bytes that a process keeps for its passes */
#define LATENESS_LIMIT (5 * USECS_PER_SEC)	 /* of a pass */

static uint64 decided_generation; /* of the policies in this process's last pass */

/*
 * Ask the postmaster for the worker.  Only while preloading.  Under binary
 * upgrade nothing may run that is not the server's own.
 */
void
lg_collector_register(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = RESTART_INTERVAL;
	strlcpy(worker.bgw_library_name, "pg_lifeguard", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "lg_collector_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "pg_lifeguard collector", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "pg_lifeguard collector", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/*
 * The interval to keep now, in ms; 0 = only on demand.  From the settings as
 * the collector has them, not as the process has that makes this pass.  The
 * caller holds lg_shared->lock.
 */
static int
interval_in_force(void)
{
	int calm = lg_shared->sample_interval;
	int interval = calm;

	if (calm == 0)
		return 0;
	if (lg_shared->shortest_limit > 0)
		interval = (int) Min(interval, lg_shared->shortest_limit / 2);
	if (lg_shared->gauges.waiting > 0 || lg_shared->near_mark)
		interval = Min(interval, lg_shared->fast_interval);
	return Max(interval, SHORTEST_INTERVAL);
}

/* Compare this pass with the one before, and with when it was due. */
static void
judge_clocks(LgHeartbeat *beat, LgTime now)
{
	int64 late = beat->next_due != 0 ? now.mono - beat->next_due : 0;
	int64 interval = lg_shared->current_interval * LG_USECS_PER_MSEC;

	if (beat->last_pass.mono != 0)
	{
		int64 jump = (now.wall - beat->last_pass.wall) - (now.mono - beat->last_pass.mono);

		if (jump > CLOCK_JUMP_LIMIT || jump < -CLOCK_JUMP_LIMIT)
		{
			beat->clock_jumps++;
			beat->last_clock_jump = beat->ages_count_from = now.wall;
			beat->serves_since = Min(beat->serves_since, now.wall);
		}
	}
	if (interval > 0 && late >= interval)
		beat->missed_passes += late / interval;
	if (late > LATENESS_LIMIT)
	{
		beat->late_passes++;
		beat->ages_count_from = now.wall;
	}
}

/*
 * From when on ages count for whoever decides now without making a whole pass,
 * those of prepared transactions, too.  The caller makes a pass of a kind
 * (lg_collector_run_alone).
 */
TimestampTz
lg_collector_ages_count_from(LgTime now)
{
	LgHeartbeat beat = lg_shared->beat;

	judge_clocks(&beat, now);
	return Max(beat.ages_count_from, beat.serves_since);
}

/*
 * How the collector is, in two or three words, by a copy of what is shared.
 */
const char *
lg_collector_describe(const LgShared *copy, TimestampTz now)
{
	int64 silence = lg_clock_age(copy->beat.last_pass.wall, now);
	int64 patience = Max(2 * LG_USECS_PER_MSEC * copy->current_interval, 5 * USECS_PER_SEC);

	if (copy->collector_pid == 0)
		return "no collector";
	if (copy->sample_interval == 0)
		return "on demand";
	return silence > patience ? "stalled" : "running";
}

/* Before anything is decided: which ages may be trusted? */
static void
begin_beat(LgTime now)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	judge_clocks(&lg_shared->beat, now);
	LWLockRelease(lg_shared->lock);
}

/*
 * How soon a pass may follow another: never sooner than that, and never so often that
 * they cost more than a twentieth of a core.
 */
static int64
shortest_gap(int64 ms)
{
	return Max(ms * LG_USECS_PER_MSEC, MOST_BUSY * lg_shared->beat.last_cost);
}

/*
 * When the next pass is due, by the monotonic clock: after the interval in
 * force, or when the next session comes to violate a policy's limit, but never
 * sooner than passes may follow each other.  The caller holds lg_shared->lock.
 */
static int64
next_due(LgTime now, TimestampTz deadline)
{
	int64 due;

	if (lg_shared->current_interval == 0)
		return 0;
	due = now.mono + lg_shared->current_interval * LG_USECS_PER_MSEC;
	if (deadline != 0)
		due = Min(due, now.mono + (deadline - now.wall));
	return Max(due, now.mono + shortest_gap(SHORTEST_INTERVAL));
}

/* Publish what a pass found.  One short moment under the lock. */
static void
publish(LgTime now, const LgGauges *found, const LgRescue *rescue, int cut_off)
{
	LgHeartbeat *beat = &lg_shared->beat;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	beat->passes++;
	beat->waits_cut_off += cut_off;
	beat->last_pass = now;

	lg_shared->gauges.used = found->used;
	lg_shared->gauges.states = found->states;
	lg_shared->gauges.waiting = found->waiting;
	lg_shared->gauges.blockers = found->blockers;
	lg_shared->gauges.longest_wait = found->longest_wait;
	lg_saturation_note_high_water(&lg_shared->gauges, found->used, now.wall);

	lg_shared->shortest_limit = rescue != NULL ? rescue->shortest / LG_USECS_PER_MSEC : 0;
	lg_shared->near_mark = rescue != NULL && rescue->near_mark;
	lg_shared->current_interval = interval_in_force();
	beat->next_due = next_due(now, rescue != NULL ? rescue->deadline : 0);
	LWLockRelease(lg_shared->lock);
}

/*
 * What the picture of locks says in a few numbers.  For these nothing needs to
 * be concluded from it: who holds what others await, and waits for nothing
 * itself, is a root.
 */
static void
gauge_locks(const LgLockGraph *graph, LgGauges *gauges)
{
	for (int i = 0; i < graph->n_nodes; i++)
	{
		const LgLockNode *node = &graph->nodes[i];

		if (node->first_waiter >= 0)
			gauges->waiting++;
		else
			gauges->blockers++;
		gauges->longest_wait =
			Max(gauges->longest_wait, lg_clock_age(node->wait_start, graph->read_at));
	}
}

/* One turn: collect, decide, publish, act.  Says in arg whether that was by old settings. */
static void
turn(LgTime now, void *arg)
{
	int64 began = lg_clock_read(CLOCK_THREAD_CPUTIME_ID);
	LgGauges found = {0};
	LgSessionScan scan = {0, 0};
	LgSession session;
	LgMemory memory;
	LgRescue *rescue;
	LgLockGraph *graph;
	int64 cost;

	begin_beat(now);
	graph = lg_lock_graph_collect();
	if (graph != NULL)
		gauge_locks(graph, &found);
	decided_generation = lg_policies_generation();
	rescue = lg_rescue_begin(now, lg_policies_get(), graph, NULL, false);
	*(bool *) arg = rescue != NULL && rescue->outdated;
	lg_memory_begin(&memory, now, graph, &found);
	while (lg_sessions_next(&scan, &session))
	{
		lg_saturation_add(&found.states, &session);
		if (rescue != NULL)
			lg_rescue_consider(rescue, &session);
		lg_memory_consider(&memory, &session);
	}
	found.used = scan.used;
	if (rescue != NULL)
		lg_rescue_decide(rescue);

	publish(now, &found, rescue, graph != NULL ? graph->cut_off : 0);
	lg_snapshots_observe(&memory); /* before those who filled the server are made to go */
	if (rescue != NULL)
		lg_carry_out(rescue);
	lg_memory_end(&memory); /* nobody waits for it, as victims do for the rest */
	lg_visitor_plan(rescue, now);
	lg_emergency_observe(&memory, rescue);
	lg_shared->next_look = lg_pending_tend(lg_clock_now()); /* last: policies may be copied anew */

	cost = lg_clock_read(CLOCK_THREAD_CPUTIME_ID) - began;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->beat.last_cost = cost;
	lg_shared->beat.total_cost += cost;
	LWLockRelease(lg_shared->lock);
}

/*
 * Do something that only one process may do at a time: a pass, or a part of
 * one.  Waits, interruptibly, while another process does; work is told the time
 * after that wait, or two passes could change their order.  Its memory context
 * is emptied afterwards.  Needs lg_shared; needs no transaction.
 */
void
lg_collector_run_alone(void (*work)(LgTime now, void *arg), void *arg)
{
	static MemoryContext context = NULL;
	MemoryContext caller;

	/* One that keeps its block: pages given back would have to be faulted in again. */
	if (context == NULL)
		context = GenerationContextCreate(TopMemoryContext, "pg_lifeguard pass", PASS_MEMORY,
										  PASS_MEMORY, 8 * PASS_MEMORY);

	lg_shared_begin_pass();
	caller = MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(lg_clock_now(), arg);
	}
	PG_FINALLY();
	{
		MemoryContextSwitchTo(caller);
		MemoryContextReset(context);
		lg_shared_end_pass();
	}
	PG_END_TRY();
}

/*
 * Make one pass: collect, decide, publish, act.  Returns false if policies have only
 * rehearsed because settings have changed that this process does not have yet.
 */
bool
lg_collector_run_pass(void)
{
	bool outdated = false;

	lg_collector_run_alone(turn, &outdated);
	return !outdated;
}

/* Between two passes: look how far actions have come. */
static void
tend(LgTime now, void *arg)
{
	lg_shared->next_look = lg_pending_tend(now);
}

/* Say in shared memory that we live, or, on the way out, that we do not. */
static void
announce(bool alive)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (alive)
	{
		lg_shared->collector_pid = MyProcPid;
		lg_shared->collector_since = GetCurrentTimestamp();
		lg_shared->collector_starts++;
		lg_shared->sample_interval = lg_sample_interval;
		lg_shared->fast_interval = lg_fast_interval;
		lg_shared->enforce = lg_enforce;
		lg_shared->current_interval = interval_in_force();
		pg_atomic_write_u32(&lg_shared->collector_place,
							(uint32) (MyProc - ProcGlobal->allProcs) + 1);
		lg_refusals_note_settings();
	}
	else if (lg_shared->collector_pid == MyProcPid)
	{
		lg_shared->collector_pid = 0;
		pg_atomic_write_u32(&lg_shared->collector_place, 0);
	}
	LWLockRelease(lg_shared->lock);
}

static void
announce_end(int code, Datum arg)
{
	announce(false);
}

/*
 * Wake the collector, if there is one: it ends its nap and looks what is to be
 * done.  Needs lg_shared; takes lg_shared->lock and then ProcArrayLock, both
 * shared and each for a moment.  Allocates nothing and raises no error, so it
 * may be called after a commit.
 *
 * The collector may end in between and its PGPROC become another process's: then
 * we set that one's latch, which every process must bear at any time.  The next
 * collector finds for itself what there is to do.
 */
void
lg_collector_wake(void)
{
	pid_t pid;
	PGPROC *proc;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	pid = lg_shared->collector_pid;
	LWLockRelease(lg_shared->lock);

	proc = pid != 0 ? BackendPidGetProc(pid) : NULL;
	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

/*
 * The same for whoever may have no PGPROC: takes no lock.  The latch may be that
 * of another process by now, as above, or nobody's.
 */
void
lg_collector_wake_without_lock(void)
{
	uint32 place = pg_atomic_read_u32(&lg_shared->collector_place);

	if (place != 0)
		SetLatch(&ProcGlobal->allProcs[place - 1].procLatch);
}

/* The earlier of two moments; 0 = never. */
static int64
sooner(int64 a, int64 b)
{
	return a == 0 ? b : b == 0 ? a : Min(a, b);
}

/* Sleep until that moment, 0 = for good, or until a signal comes or the postmaster dies. */
static void
nap(int64 due, uint32 wait_event)
{
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	int64 left = 0;

	if (due != 0)
	{
		events |= WL_TIMEOUT;
		left = Max(due - lg_clock_read(CLOCK_MONOTONIC), 0);
	}
	(void) WaitLatch(MyLatch, events, (left + LG_USECS_PER_MSEC - 1) / LG_USECS_PER_MSEC,
					 wait_event);
	ResetLatch(MyLatch);
}

/*
 * When a pass has to be made: as planned, or at once because somebody asks or
 * other policies are in force, or soon because connections have been refused; 0 =
 * not by itself.
 */
static int64
pass_due(void)
{
	int64 due = lg_shared->beat.next_due;

	if (lg_sample_interval == 0)
		return 0;
	if (lg_shared->beat.last_pass.mono == 0)
		return lg_clock_read(CLOCK_MONOTONIC);
	if (pg_atomic_read_u32(&lg_shared->pass_wanted) != 0 ||
		decided_generation != lg_policies_generation())
		due = sooner(due, lg_shared->beat.last_pass.mono + shortest_gap(SHORTEST_INTERVAL));
	if (lg_refusals_unseen())
		due = sooner(due, lg_shared->beat.last_pass.mono + shortest_gap(REFUSALS_INTERVAL));
	return due;
}

/*
 * Since when does this server finish prepared transactions?  Whoever had to, could
 * not before: there was no server, or it was a standby.  Asked before any visitor is
 * sent.  Only the collector sets this, and reads it without the lock; a pass may bring
 * it forward when the clock was set back, under the lock as well.
 */
static void
note_service(void)
{
	LgHeartbeat *beat = &lg_shared->beat;
	bool standby = RecoveryInProgress();

	if (beat->serves_since != 0 && standby == beat->was_standby)
		return;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	beat->serves_since = GetCurrentTimestamp();
	beat->was_standby = standby;
	LWLockRelease(lg_shared->lock);
}

/*
 * Take over changed settings.  When the interval changes, so does what is due:
 * a pass that nobody had planned for this moment is not late.
 */
static void
reload_if_asked(void)
{
	LgHeartbeat *beat = &lg_shared->beat;
	int64 now = lg_clock_read(CLOCK_MONOTONIC);

	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	lg_refusals_note_settings();

	if (lg_shared->sample_interval == lg_sample_interval &&
		lg_shared->fast_interval == lg_fast_interval && lg_shared->enforce == lg_enforce)
		return;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->sample_interval = lg_sample_interval;
	lg_shared->fast_interval = lg_fast_interval;
	lg_shared->enforce = lg_enforce;
	lg_shared->current_interval = interval_in_force();
	if (lg_shared->current_interval == 0)
		beat->next_due = 0;
	else
		beat->next_due =
			Max(beat->last_pass.mono + lg_shared->current_interval * LG_USECS_PER_MSEC, now);
	LWLockRelease(lg_shared->lock);
}

/*
 * The worker.  SIGTERM is die(): it ends at the next CHECK_FOR_INTERRUPTS()
 * with exit code 1, as it does after an error, and the postmaster starts it
 * again.  It never returns: code 0 would be its end for good.
 */
void
lg_collector_main(Datum arg)
{
	uint32 wait_event;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	before_shmem_exit(announce_end, (Datum) 0);
	announce(true);
	wait_event = lg_wait_event("LifeguardPause");

	for (;;)
	{
		int64 due;
		int64 workers_due;

		CHECK_FOR_INTERRUPTS();
		reload_if_asked();
		note_service();
		due = pass_due();
		if (due != 0 && lg_clock_read(CLOCK_MONOTONIC) >= due)
		{
			pg_atomic_write_u32(&lg_shared->pass_wanted, 0);
			(void) lg_collector_run_pass();
		}
		else if (lg_shared->next_look != 0 &&
				 lg_clock_read(CLOCK_MONOTONIC) >= lg_shared->next_look)
			lg_collector_run_alone(tend, NULL);
		workers_due = lg_keeper_tend(lg_clock_now()); /* after what is to be written */
		workers_due = sooner(workers_due, lg_visitor_tend(lg_clock_now()));
		nap(sooner(sooner(pass_due(), lg_shared->next_look), workers_due), wait_event);
	}
}
