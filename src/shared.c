/*-------------------------------------------------------------------------
 * shared.c
 *		The one struct in shared memory: create or attach, and the pass lock.
 *
 * Two passes never run at once.  A pass allocates, so what keeps them apart is
 * not an LWLock but a field that names the owner, with a condition variable to
 * wait on: whoever waits stays interruptible.
 *
 * Locking: lg_shared->lock, held only to copy, never together with any other.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

#include "brakes.h"
#include "collector.h"
#include "compat.h"
#include "contention.h"
#include "endings.h"
#include "idle_episodes.h"
#include "incidents.h"
#include "lock_episodes.h"
#include "names.h"
#include "policies.h"
#include "pending.h"
#include "record_file.h"
#include "records.h"
#include "refusals.h"
#include "series.h"
#include "settings.h"
#include "setup_times.h"
#include "shared.h"
#include "snapshots.h"
#include "state.h"
#include "statement_trail.h"
#include "visits.h"

#define TRANCHE_NAME "pg_lifeguard"

LgShared *lg_shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/*
 * Lay out the segment: the struct with its notes, then what it points to.
 * Returns its size; with base NULL nothing else is done.
 */
static Size
lay_out(char *base)
{
	Size notes =
		MAXALIGN(add_size(offsetof(LgShared, notes), mul_size(sizeof(LgNote), MaxConnections)));
	Size policies = notes;
	Size states = add_size(policies, lg_policies_size());
	Size marks = add_size(states, lg_state_policies_size());
	Size stalls = add_size(marks, lg_state_marks_size());
	Size last_waits = add_size(stalls, lg_state_stalls_size());
	Size pendings = add_size(last_waits, lg_state_last_waits_size());
	Size visits = add_size(pendings, lg_pending_size());
	Size records = add_size(visits, lg_visits_size());
	Size lock_episodes = add_size(records, lg_records_size());
	Size idle_episodes = add_size(lock_episodes, lg_lock_episodes_size());
	Size contention = add_size(idle_episodes, lg_idle_episodes_size());
	Size series = add_size(contention, lg_contention_size());
	Size incidents = add_size(series, lg_series_size());
	Size endings = add_size(incidents, lg_incidents_size());
	Size trails = add_size(endings, lg_endings_size());
	Size names = add_size(trails, lg_statement_trail_size());
	Size refusals = add_size(names, lg_names_size());
	Size snapshots = add_size(refusals, lg_refusals_size());
	Size setup_times = add_size(snapshots, lg_snapshots_size());
	Size end = add_size(setup_times, lg_setup_times_size());

	if (base != NULL)
	{
		lg_shared->policies = (LgPolicySet *) (base + policies);
		lg_shared->states = (LgPolicyState *) (base + states);
		lg_shared->marks = (LgEpisodeMark *) (base + marks);
		lg_shared->stalls = (LgStall *) (base + stalls);
		lg_shared->last_waits = (LgLastWait *) (base + last_waits);
		lg_shared->pendings = (LgPending *) (base + pendings);
		lg_shared->visits = (LgVisits *) (base + visits);
		lg_records_init(base + records);
		lg_shared->lock_episodes = (struct LgLockEpisodes *) (base + lock_episodes);
		lg_shared->idle_episodes = (struct LgIdleEpisodes *) (base + idle_episodes);
		lg_shared->contention = (struct LgContention *) (base + contention);
		lg_shared->series = (struct LgSeries *) (base + series);
		lg_shared->incidents = (struct LgIncidents *) (base + incidents);
		lg_shared->endings = (LgEnding *) (base + endings);
		lg_shared->trails = base + trails;
		lg_shared->names = (struct LgNames *) (base + names);
		lg_shared->refusals = (struct LgRefusals *) (base + refusals);
		lg_shared->snapshots = (struct LgSnapshots *) (base + snapshots);
		lg_shared->setup_times = (struct LgSetupTimes *) (base + setup_times);
	}
	return end;
}

static void
request_shared(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	RequestAddinShmemSpace(lay_out(NULL));
	RequestNamedLWLockTranche(TRANCHE_NAME, 3);
}

static void
create_or_attach_shared(void)
{
	bool found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	lg_shared = ShmemInitStruct("pg_lifeguard", lay_out(NULL), &found);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(TRANCHE_NAME);

		memset(lg_shared, 0, lay_out(NULL));
		lg_shared->size = lay_out((char *) lg_shared);
		lg_shared->created_at = GetCurrentTimestamp();
		lg_shared->lock = &locks[0].lock;
		lg_shared->policies_lock = &locks[1].lock;
		lg_shared->records_lock = &locks[2].lock;
		lg_policies_init(lg_shared->policies);
		lg_brakes_restore();
		lg_contention_init();
		lg_refusals_init();
		lg_setup_times_init();
		lg_counters_init(&lg_shared->counters);
		lg_shared->enforce = lg_enforce;
		pg_atomic_init_u32(&lg_shared->policies_changed, LG_POLICIES_CHANGED); /* never read */
		pg_atomic_init_u32(&lg_shared->wake_above, 0);
		pg_atomic_init_u32(&lg_shared->pass_wanted, 0);
		pg_atomic_init_u32(&lg_shared->collector_place, 0);
		ConditionVariableInit(&lg_shared->pass_free);
		for (int slot = 0; slot < MaxConnections; slot++)
			pg_atomic_init_u32(&lg_shared->notes[slot].state, LG_NOTE_FREE);
	}
	LWLockRelease(AddinShmemInitLock);

	/* the postmaster ends last, and cleanly only after everybody else has */
	if (!IsUnderPostmaster)
	{
		lg_record_file_load();
		on_shmem_exit(lg_record_file_save, (Datum) 0);
	}
}

/*
 * Ask the postmaster for our shared memory.  Only while preloading.
 */
void
lg_shared_request(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = create_or_attach_shared;
}

/*
 * Raise an error unless pg_lifeguard is preloaded.
 */
void
lg_shared_require(void)
{
	if (lg_shared == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("pg_lifeguard is not loaded"),
						errhint("Add \"pg_lifeguard\" to \"shared_preload_libraries\" and restart "
								"the server.")));
}

/*
 * Hand the pass on if it is still ours: on error, on exit, or when done.  What a
 * session has begun the collector sees to its end, and into the table.  Two words are
 * read without the lock: our pass wrote next_look, or another's has by now, which wakes
 * it too; a collector that comes or goes looks for itself.
 */
static void
release_pass(int code, Datum arg)
{
	bool mine;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	mine = lg_shared->pass_owner == MyProcPid;
	if (mine)
		lg_shared->pass_owner = 0;
	LWLockRelease(lg_shared->lock);

	if (!mine)
		return;
	ConditionVariableBroadcast(&lg_shared->pass_free);
	if (lg_shared->collector_pid != MyProcPid &&
		(lg_shared->next_look != 0 || lg_records_unflushed() > 0))
		lg_collector_wake();
}

static bool
claim_pass(void)
{
	bool mine;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	mine = lg_shared->pass_owner == 0;
	if (mine)
		lg_shared->pass_owner = MyProcPid;
	LWLockRelease(lg_shared->lock);

	return mine;
}

/*
 * Wait until nobody makes a pass, then become the one who does.  Interruptible.
 * Takes lg_shared->lock for a moment.  The caller must reach
 * lg_shared_end_pass() on every path out, errors included; the death of the
 * process is taken care of here.
 */
void
lg_shared_begin_pass(void)
{
	static bool registered = false;

	if (!registered)
	{
		before_shmem_exit(release_pass, (Datum) 0);
		registered = true;
	}

	ConditionVariablePrepareToSleep(&lg_shared->pass_free);
	while (!claim_pass())
		ConditionVariableSleep(&lg_shared->pass_free, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
}

/*
 * Let the next pass begin, and wake the collector if ours has left something to do.
 * Takes lg_shared->lock, and what that needs, each for a moment.  Raises nothing.
 */
void
lg_shared_end_pass(void)
{
	release_pass(0, (Datum) 0);
}
