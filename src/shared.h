/*-------------------------------------------------------------------------
 * shared.h
 *		What the processes of one server share, and who guards each field.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SHARED_H
#define LG_SHARED_H

#include "clock.h"
#include "counters.h"
#include "farewell.h"
#include "limiter.h"
#include "policies.h"
#include "records.h"
#include "port/atomics.h"
#include "ring.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#define LG_PAUSE_REASON 256

/* Client sessions by state; whoever is in no group has no state (yet). */
typedef struct LgStateCounts
{
	int total;
	int active; /* fast-path function calls are */
	int idle;
	int idle_in_transaction;
	int idle_in_transaction_aborted;
	int waiting; /* for a heavyweight lock; counted under its state too */
} LgStateCounts;

/* What the newest pass saw. */
typedef struct LgGauges
{
	int used; /* regular connection slots taken */
	LgStateCounts states;
	int waiting;		/* sessions waiting for a heavyweight lock */
	int blockers;		/* root blockers */
	int64 longest_wait; /* microseconds */
	int high_water;		/* most slots ever seen taken; 0 = no pass yet */
	TimestampTz high_water_at;
} LgGauges;

/* That the collector lives, how much it costs, and what it missed. */
typedef struct LgHeartbeat
{
	uint64 passes;
	uint64 missed_passes; /* that the interval in force asked for and nobody made */
	uint64 late_passes;	  /* that came more than 5 s late */
	uint64 clock_jumps;	  /* of the wall clock against the monotonic one, by more than 1 s */
	uint64 waits_cut_off; /* waiters, or roots of waiters, left out of passes by a bound */
	LgTime last_pass;	  /* its beginning; 0 = none yet */
	TimestampTz last_clock_jump;
	TimestampTz ages_count_from; /* no age gained before this counts; 0 = all do */
	TimestampTz serves_since;	 /* prepared transactions can be finished here; 0 = not known */
	bool was_standby;			 /* when the collector last looked */
	int64 next_due;				 /* monotonic; 0 = nothing is scheduled */
	int64 last_cost;			 /* CPU microseconds of the newest pass */
	int64 total_cost;			 /* CPU microseconds of all of them */
} LgHeartbeat;

/* How a table of records fares, for the keeper who comes next. */
typedef struct LgTableNews
{
	int64 measured_at; /* monotonic; 0 = never */
	int written;	   /* rows since then */
	bool full;		   /* nothing more may be written */
	int64 purged_at;   /* monotonic; when nothing was left that was too old; 0 = never */
	int purged_days;   /* older than so many days */
	int failures;	   /* in a row */
	uint32 said;	   /* hash of the problem that the server log has heard last; 0 = none */
	int64 retry_at;	   /* monotonic; it is left alone until then */
} LgTableNews;

/* How the keeper fares.  A problem is why rows are not written; empty = all is well. */
typedef struct LgKeeperNews
{
	pid_t pid;			  /* 0 while none runs */
	uint64 runs;		  /* of those that came to run */
	TimestampTz last_run; /* when the newest one had reached its database; 0 = never */
	TimestampTz last_flush;
	uint64 failures;   /* jobs it could not do, or that it could not be sent for */
	uint64 setbacks;   /* the same, but for those that concern one table of records only */
	bool no_extension; /* in the database where the newest one was */
	LgTableNews tables[LG_RECORD_KINDS];
	char problem[LG_PROBLEM_SIZE];
} LgKeeperNews;

/* What lifeguard.policy holds that has not been published yet. */
#define LG_POLICIES_KNOWN 0 /* nothing */
#define LG_POLICIES_CHANGED 1
#define LG_POLICIES_TAKEN_UP 2 /* what is being read */

typedef struct LgShared
{
	/* Set before any reader exists, never changed after. */
	LWLock *lock;
	LWLock *policies_lock;
	LWLock *records_lock;
	LgRing *records[LG_RECORD_KINDS]; /* guarded by records_lock */
	LgPolicySet *policies;			  /* guarded by policies_lock */
	struct LgPolicyState *states;	  /* by place in the set; see state.h */
	struct LgEpisodeMark *marks;	  /* by slot and place; see state.h */
	struct LgStall *stalls;			  /* by connection slot; see state.h */
	struct LgLastWait *last_waits;	  /* likewise */
	struct LgPending *pendings;		  /* actions under way; see pending.h */
	struct LgVisits *visits; /* where the visitor is wanted; guarded by lock; see visits.h */
	struct LgLockEpisodes *lock_episodes; /* those under way; written by whoever makes a pass */
	struct LgIdleEpisodes *idle_episodes; /* likewise */
	struct LgContention *contention;	  /* likewise */
	struct LgSeries *series;			  /* likewise */
	struct LgIncidents *incidents;		  /* likewise */
	struct LgEnding *endings;			  /* by connection slot; see endings.h */
	char *trails;						  /* likewise; see statement_trail.c */
	struct LgNames *names;				  /* of relations; see names.h */
	struct LgRefusals *refusals;		  /* atomics; see refusals.h */
	struct LgSnapshots *snapshots;		  /* written by whoever makes a pass */
	struct LgSetupTimes *setup_times;	  /* atomics; see setup_times.h */
	Size size;
	TimestampTz created_at; /* stands for this life of the shared memory */

	/* Set by the postmaster at start, cleared by the keeper; needs no lock. */
	bool records_in_file; /* there is a file whose records may not be in their tables */

	/* Guarded by records_lock; by kind. */
	uint64 records_lost[LG_RECORD_KINDS];	/* pushed out before they were written */
	int records_unflushed[LG_RECORD_KINDS]; /* that are to be written */

	/*
	 * Guarded by lock: shared to read, exclusive to write.  The collector, who
	 * alone sets the three intervals but for passes by hand, reads its own
	 * current one without it.
	 */
	pid_t collector_pid; /* 0 while none runs */
	TimestampTz collector_since;
	int collector_starts;
	int sample_interval; /* as the collector has them in force, in ms */
	int fast_interval;
	int current_interval; /* the one it now keeps; 0 = on demand */
	int64 shortest_limit; /* of policies in force, in ms; 0 = none */
	bool enforce;		  /* pg_lifeguard.enforce, as the collector has it */
	bool near_mark;		  /* few slots below a policy's connections_above */
	LgHeartbeat beat;
	LgGauges gauges;
	TimestampTz reset_at;	  /* of the last lifeguard.reset(); 0 = never */
	pid_t pass_owner;		  /* who makes a pass now; 0 = nobody */
	LgLimiter actions;		  /* of all policies that max_actions_per_minute counts */
	TimestampTz paused_until; /* by lifeguard.pause(); 0 or past = not paused */
	TimestampTz paused_since; /* since when without a break */
	char pause_reason[LG_PAUSE_REASON];
	LgKeeperNews keeper;

	/*
	 * Written and read without a lock.  LG_POLICIES_CHANGED when a transaction
	 * that wrote to lifeguard.policy in the home database has been committed, or
	 * prepared, LG_POLICIES_TAKEN_UP while the keeper reads them.
	 */
	pg_atomic_uint32 policies_changed;

	/*
	 * Likewise, as are the counters.  wake_above: a session that logs in and finds more slots taken
	 * than that wakes the collector; 0 = nobody need.  pass_wanted: 1 when
	 * whoever set the collector's latch wants a pass.  collector_place: where the
	 * collector's PGPROC is, from 1, for those who can take no lock; 0 = none runs.
	 */
	pg_atomic_uint32 wake_above;
	pg_atomic_uint32 pass_wanted;
	pg_atomic_uint32 collector_place;
	LgCounters counters;

	/* Written and read only by whoever makes a pass. */
	uint64 marks_generation;   /* of the policies that marks[].unmeant is about */
	int64 emergency_at;		   /* monotonic: when nobody could log in was last said; 0 = never */
	int64 refusals_unreported; /* since then */

	/* Written by whoever makes a pass, read by the collector without a lock. */
	int64 next_look; /* monotonic: when actions under way are to be looked at; 0 = none are */

	/* Guards itself; signalled when pass_owner becomes 0. */
	ConditionVariable pass_free;

	/* By connection slot; see farewell.h for who may write when. */
	LgNote notes[FLEXIBLE_ARRAY_MEMBER];
} LgShared;

extern LgShared *lg_shared; /* NULL while pg_lifeguard is not preloaded */

extern void lg_shared_request(void);
extern void lg_shared_require(void);
extern void lg_shared_begin_pass(void);
extern void lg_shared_end_pass(void);

#endif /* LG_SHARED_H */
