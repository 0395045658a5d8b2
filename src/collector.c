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
 * anything about it.  From then on ages count from that pass.
 *
 * Locking: lg_shared->lock to publish what a pass found, after everything has
 * been read and computed; see lock_graph.c for what reading takes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

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
#include "keeper.h"
#include "lock_graph.h"
#include "saturation.h"
#include "sessions.h"
#include "settings.h"
#include "shared.h"

#define SHORTEST_INTERVAL 10				 /* ms between passes, whatever is set */
#define RESTART_INTERVAL 1					 /* s until a failed collector comes back */
#define CLOCK_JUMP_LIMIT (1 * USECS_PER_SEC) /* between the two clocks, per pass */
#define PASS_MEMORY (1024 * 1024)			 /* bytes that a process keeps for its passes */
#define LATENESS_LIMIT (5 * USECS_PER_SEC)	 /* of a pass */

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

	if (calm == 0)
		return 0;
	return Max(lg_shared->gauges.waiting > 0 ? Min(lg_shared->fast_interval, calm) : calm,
			   SHORTEST_INTERVAL);
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

/* Publish what a pass found.  One short moment under the lock. */
static void
publish(LgTime now, const LgGauges *found, int cut_off, int64 cost)
{
	LgHeartbeat *beat = &lg_shared->beat;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	judge_clocks(beat, now);
	beat->passes++;
	beat->waits_cut_off += cut_off;
	beat->last_pass = now;
	beat->last_cost = cost;
	beat->total_cost += cost;

	lg_shared->gauges.used = found->used;
	lg_shared->gauges.states = found->states;
	lg_shared->gauges.waiting = found->waiting;
	lg_shared->gauges.blockers = found->blockers;
	lg_shared->gauges.longest_wait = found->longest_wait;
	lg_saturation_note_high_water(&lg_shared->gauges, found->used, now.wall);

	lg_shared->current_interval = interval_in_force();
	beat->next_due = lg_shared->current_interval == 0
						 ? 0
						 : now.mono + lg_shared->current_interval * LG_USECS_PER_MSEC;
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

static void
collect(LgTime now)
{
	int64 began = lg_clock_read(CLOCK_THREAD_CPUTIME_ID);
	LgGauges found = {0};
	LgLockGraph *graph;

	found.used = lg_saturation_count(&found.states);
	graph = lg_lock_graph_collect();
	if (graph != NULL)
		gauge_locks(graph, &found);

	publish(now, &found, graph != NULL ? graph->cut_off : 0,
			lg_clock_read(CLOCK_THREAD_CPUTIME_ID) - began);
}

/*
 * Make one pass: collect, and publish.  Waits, interruptibly, while another
 * process makes one.  Needs lg_shared; needs no transaction.  Returns when it
 * began: after that wait, or two passes could change their order.
 */
LgTime
lg_collector_run_pass(void)
{
	static MemoryContext context = NULL;
	static LgTime now;
	MemoryContext caller;

	/* One that keeps its block: pages given back would have to be faulted in again. */
	if (context == NULL)
		context = GenerationContextCreate(TopMemoryContext, "pg_lifeguard pass", PASS_MEMORY,
										  PASS_MEMORY, 8 * PASS_MEMORY);

	lg_shared_begin_pass();
	caller = MemoryContextSwitchTo(context);
	PG_TRY();
	{
		now = lg_clock_now();
		collect(now);
	}
	PG_FINALLY();
	{
		MemoryContextSwitchTo(caller);
		MemoryContextReset(context);
		lg_shared_end_pass();
	}
	PG_END_TRY();
	return now;
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
		lg_shared->current_interval = interval_in_force();
	}
	else if (lg_shared->collector_pid == MyProcPid)
		lg_shared->collector_pid = 0;
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

/* Sleep until the next pass or the keeper is due, a signal comes or the postmaster dies. */
static void
nap(LgTime last, int64 keeper_due, uint32 wait_event)
{
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	int64 due = keeper_due;
	int64 left = 0;

	if (lg_shared->current_interval != 0)
	{
		int64 pass_due = last.mono + lg_shared->current_interval * LG_USECS_PER_MSEC;

		due = due != 0 ? Min(due, pass_due) : pass_due;
	}
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

	if (lg_shared->sample_interval == lg_sample_interval &&
		lg_shared->fast_interval == lg_fast_interval)
		return;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->sample_interval = lg_sample_interval;
	lg_shared->fast_interval = lg_fast_interval;
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
	LgTime last = {0, 0};
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
		int64 now = lg_clock_read(CLOCK_MONOTONIC);

		CHECK_FOR_INTERRUPTS();
		reload_if_asked();
		if (lg_sample_interval != 0 &&
			(last.mono == 0 || now - last.mono >= lg_shared->current_interval * LG_USECS_PER_MSEC))
			last = lg_collector_run_pass();
		nap(last, lg_keeper_tend(lg_clock_now()), wait_event);
	}
}
