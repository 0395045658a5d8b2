/*-------------------------------------------------------------------------
 * lock_episodes.c
 *		Lock waits: began, goes on, ended.
 *
 * A process awaits one lock at a time, so each PGPROC slot has one place for the
 * wait that is under way: the same as long as PID, start and lock are.  What is
 * seen of it when it is first seen stays: the root blocker and its statement
 * (which changes), the waiter, what is awaited.  Sessions with their texts lie in a
 * bounded pool and are shared: a thousand waiters behind one statement keep it
 * once.  Where the pool is full, a wait is only summed.
 *
 * Charges: each pass charges each waiter what it has waited since it was charged
 * last, and its end whatever is left of its charge in all.  Be T the time between the
 * two passes around its start.  Where its length is known well, the charge is the
 * length or, if that is more, T: for those of its length that no pass came to see,
 * and so estimated.  Where it is not, taking the middle of what it may be would
 * charge waits about as long as T up to an eighth too much; instead the charge is T
 * and, from the pass on at which it is as old as T, the time between each pass that
 * sees it and the one before.  Either way waits of any length are charged their
 * length on average, whatever the intervals are.
 *
 * The end lies between the last pass that saw the wait and the one that does not,
 * unless the session has said itself when it was and why (endings.c).  Lengths are
 * reckoned by the monotonic clock from the first sight on; of the wall clock only
 * the age at first sight is taken, as far as it can be true.
 *
 * Locking: none.  Only who makes a pass writes or reads here, and the postmaster at
 * its clean end; records go to their ring under its lock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

#include "endings.h"
#include "farewell.h"
#include "lock_episodes.h"
#include "lock_roots.h"
#include "prefetch.h"
#include "settings.h"
#include "shared.h"
#include "state.h"
#include "waited.h"

#define WELL_KNOWN 16					  /* a length is, if it is so many times its precision */
#define SETTLE_WITHIN (3 * USECS_PER_SEC) /* by then it is known which tables they are */
#define CLOCK_SLACK (1 * USECS_PER_SEC)

/* A session with its texts, for whoever refers to it. */
typedef struct KeptWho
{
	int refs; /* 0 = this place is free */
	int slot;
	TransactionId xid; /* of a prepared transaction */
	LgWho who;
} KeptWho;

/* A wait under way.  Places in the pool count from 1; 0 = not kept. */
typedef struct OpenWait
{
	int pid; /* 0 = none */
	LOCKTAG tag;
	TimestampTz wait_start;
	LgTime first_seen;
	LgTime last_seen;
	LgTime over;	 /* when it was seen no more; 0 = it goes on, as far as is known */
	uint64 seen_in;	 /* the newest pass that has seen it */
	int64 first_age; /* when it was first seen */
	int64 interval;	 /* T: between the passes around its start, as far as it may be charged */
	int64 sampled;	 /* what it is to be charged in all, as far as passes can tell */
	uint64 contention;
	int max_queue;
	int waiter;
	int root; /* at first sight */
	int root_now;
	int root_slot;		/* of the newest root; -1 = none is known */
	LOCKMODE held_mode; /* at first sight; waited has the newest */
	LgWaited waited;
} OpenWait;

struct LgLockEpisodes
{
	uint64 passes;	   /* observed */
	int64 last_mono;   /* the newest of them */
	bool last_cut_off; /* it did not see all waits */
	bool standby;	   /* in the newest of them */
	int n_open;
	int next_kept;					  /* where to look for a free place first */
	int n_kept;						  /* places in use */
	int lists[FLEXIBLE_ARRAY_MEMBER]; /* slots of open waits; then newest roots, by slot */
};

/* One pass at work. */
typedef struct Pass
{
	LgMemory *memory;
	const LgLockGraph *graph;
	int64 elapsed; /* since the pass before that was observed; 0 = there was none */
	int *kept;	   /* by node: place in the pool in this pass; -1 = not looked up yet */
	int cut_off;   /* waits that are only summed, for want of room */
} Pass;

/* --- where things lie ------------------------------------------------------- */

static Size
lists_size(void)
{
	return MAXALIGN(add_size(offsetof(struct LgLockEpisodes, lists),
							 mul_size(2 * sizeof(int), lg_state_count_slots())));
}

static int
pool_size(void)
{
	return lg_max_episodes * 3 / 8;
}

/*
 * Bytes of shared memory for the waits under way and whom they concern.
 */
Size
lg_lock_episodes_size(void)
{
	Size size =
		add_size(lists_size(), MAXALIGN(mul_size(sizeof(OpenWait), lg_state_count_slots())));

	return add_size(size, MAXALIGN(mul_size(sizeof(KeptWho), pool_size())));
}

static int *
open_slots(void)
{
	return lg_shared->lock_episodes->lists;
}

static int *
newest_roots(void)
{
	return lg_shared->lock_episodes->lists + lg_state_count_slots();
}

static OpenWait *
wait_of(int slot)
{
	return (OpenWait *) ((char *) lg_shared->lock_episodes + lists_size()) + slot;
}

static void
prefetch_wait(const OpenWait *wait)
{
	lg_prefetch(&wait->pid);
	lg_prefetch(&wait->seen_in);
	lg_prefetch(&wait->root_now);
}

static KeptWho *
kept_at(int place)
{
	char *waits = (char *) wait_of(0);

	Assert(place > 0 && place <= pool_size());
	return (KeptWho *) (waits + MAXALIGN(sizeof(OpenWait) * lg_state_count_slots())) + place - 1;
}

/* --- the pool ----------------------------------------------------------------- */

/* A free place in the pool, filled but referred to by nobody yet; 0 = there is none. */
static int
fill_place(int slot, TransactionId xid, const LgWho *who)
{
	struct LgLockEpisodes *episodes = lg_shared->lock_episodes;
	KeptWho *kept;

	if (episodes->n_kept >= pool_size())
		return 0;
	do
	{
		episodes->next_kept = episodes->next_kept % pool_size() + 1;
		kept = kept_at(episodes->next_kept);
	} while (kept->refs > 0);
	kept->slot = slot;
	kept->xid = xid;
	kept->who = *who;
	return episodes->next_kept;
}

/* Refer to a place, in *reference, instead of to what that referred to. */
static void
refer_to(int *reference, int place)
{
	struct LgLockEpisodes *episodes = lg_shared->lock_episodes;

	if (place > 0 && kept_at(place)->refs++ == 0)
		episodes->n_kept++;
	if (*reference > 0 && --kept_at(*reference)->refs == 0)
		episodes->n_kept--;
	*reference = place;
}

/* Is that place about what the node is, and does, at this moment? */
static bool
is_about(int place, const LgLockNode *node, const LgSession *session)
{
	const KeptWho *kept;

	if (place == 0)
		return false;
	kept = kept_at(place);
	if (kept->refs == 0 || kept->slot != node->slot || kept->who.pid != node->pid)
		return false;
	if (node->pid == 0)
		return kept->xid == node->xid;
	return kept->who.backend_start == session->backend_start &&
		   kept->who.query_start == session->query_start &&
		   kept->who.state_change == session->state_change &&
		   kept->who.query_id == session->query_id;
}

/*
 * Who a root is and what it is doing now: in *who, and kept, if there is room.
 * Returns its place; 0 if there is none; -1 if it has ended since.
 */
static int
keep_root(Pass *pass, int index, LgWho *who)
{
	const LgLockNode *node = &pass->graph->nodes[index];
	int *newest = &newest_roots()[node->slot];
	LgSession session;
	int place = pass->kept[index];

	if (place > 0 && kept_at(place)->refs > 0)
	{
		*who = kept_at(place)->who;
		return place;
	}

	memset(who, 0, sizeof(LgWho));
	memset(&session, 0, sizeof(session));
	who->pid = node->pid;
	if (node->pid == 0)
	{
		who->databaseid = node->databaseid;
		who->userid = node->roleid;
	}
	else if (!lg_sessions_read_one(node->slot, &session) || session.pid != node->pid)
		return -1;

	if (is_about(*newest, node, &session))
		*who = kept_at(*newest)->who;
	else
	{
		if (node->pid != 0)
			(void) lg_who_of(&session, who);
		place = fill_place(node->slot, node->xid, who);
		if (place == 0)
			return 0;
		*newest = place;
	}
	return pass->kept[index] = *newest;
}

/* --- charges ------------------------------------------------------------------------ */

/* Charge so much of a wait, in this pass; memory: NULL outside of one. */
static void
charge(LgMemory *memory, const OpenWait *wait, int64 seen, int64 estimated, bool first)
{
	if (memory != NULL)
		memory->charged += seen + estimated;
	if (wait->contention == 0)
		return;
	lg_contention_charge(wait->contention, seen, estimated, first);
	if (wait->waited.has_offset)
		lg_contention_note_row(wait->contention, wait->waited.block, wait->waited.offset,
							   seen + estimated);
}

/*
 * Who waits.  One that has gone on since the picture was drawn may be at its next
 * statement, which is not the one that waited.
 */
static void
read_waiter(const LgLockWaiter *waiter, LgWho *who)
{
	(void) lg_who_read(waiter->slot, waiter->pid, who);
	if (who->query_start > waiter->wait_start)
	{
		who->query_id = 0;
		who->query[0] = '\0';
	}
}

/*
 * Who is the root now, and by what record is the wait charged?  Both are found anew
 * only when they may have changed.  waiter: NULL if it has to be asked for.
 */
static void
attribute(Pass *pass, OpenWait *wait, const LgLockWaiter *lock_waiter, const LgWho *waiter)
{
	int root = lg_waited_root(pass->graph, lock_waiter, wait->root_slot);
	LgWho root_who;
	LgWho waiter_who;
	int place = 0;
	bool same;

	if (root >= 0)
		place = keep_root(pass, root, &root_who);
	if (place < 0)
		root = -1, place = 0;
	same = waiter == NULL && place == wait->root_now && (place != 0) == (root >= 0);
	if (same && wait->contention != 0 &&
		lg_contention_is_current(wait->contention, pass->memory->now.wall))
		return;

	if (!same)
		wait->waited.lock.held_mode = lg_waited_held_mode(pass->graph, lock_waiter, root);
	if (waiter == NULL && wait->waiter != 0)
		waiter = &kept_at(wait->waiter)->who;
	else if (waiter == NULL)
	{
		read_waiter(lock_waiter, &waiter_who);
		waiter = &waiter_who;
	}
	refer_to(&wait->root_now, place);
	wait->root_slot = root >= 0 ? pass->graph->nodes[root].slot : -1;
	wait->contention = lg_contention_find(&wait->waited.lock, root >= 0 ? &root_who : NULL, waiter,
										  pass->memory->now.wall);
}

/*
 * T of a wait that is first seen now.  Where nobody looked for much longer than
 * planned, only what is proven is charged: its age.
 */
static int64
interval_around(const Pass *pass, int64 age)
{
	if (pass->elapsed == 0 || pass->elapsed > 2 * pass->memory->interval + USECS_PER_SEC)
		return age;
	return pass->elapsed;
}

/*
 * Its age then.  Nobody saw it in the pass before, so it cannot be much older: if it
 * looks so, the wall clock has been set.
 */
static int64
age_at_first_sight(const Pass *pass, const LgLockWaiter *waiter)
{
	int64 age = lg_clock_age(waiter->wait_start, pass->graph->read_at);

	if (pass->elapsed != 0 && !lg_shared->lock_episodes->last_cut_off &&
		age > pass->elapsed + CLOCK_SLACK)
		age = pass->elapsed;
	return age;
}

/* --- a wait ends ---------------------------------------------------------------------- */

/* How did a wait end in that error? */
static LgWaitEnd
end_by_error(int sqlstate, LgOurs ours)
{
	if (ours != LG_NOT_OURS)
		return ours == LG_OURS_BY_HAND ? LG_WAIT_BY_HAND : LG_WAIT_POLICY;
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
			return LG_WAIT_LOCK_TIMEOUT;
		case ERRCODE_T_R_DEADLOCK_DETECTED:
			return LG_WAIT_DEADLOCK;
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
			return LG_WAIT_CANCELLED;
	}
	return LG_WAIT_GONE;
}

/*
 * How did a wait end of which nothing was said?  A session that listens would have
 * said that it was not granted.  Of others the wait status tells, which the wait
 * leaves behind, until another process has the slot.
 */
static LgWaitEnd
end_unsaid(int slot, int pid)
{
	int pid_now = lg_sessions_slot_pid(slot);

	if (slot < MaxConnections && lg_shared->notes[slot].handler_pid == pid)
		return LG_WAIT_GRANTED;
	if (pid_now != 0 && pid_now != pid)
		return slot < MaxConnections ? LG_WAIT_GRANTED : LG_WAIT_GONE;
	if (ProcGlobal->allProcs[slot].waitStatus != PROC_WAIT_STATUS_ERROR)
		return LG_WAIT_GRANTED;
	return pid_now == 0 ? LG_WAIT_GONE : LG_WAIT_CANCELLED;
}

/*
 * Fill in when and how a wait ended, that was still going on when it had lasted
 * "least", and no more when it would have lasted "most".  What the session says is
 * believed if it lies there, or nearly: it tells it by the wall clock.
 */
static void
judge_end(const OpenWait *wait, int slot, int64 least, int64 most, LgLockWaitRecord *record)
{
	int64 slack = 100 * LG_USECS_PER_MSEC + most / 1000;
	LgEnding ending;

	record->duration = least + (most - least) / 2;
	record->precision = (most - least + 1) / 2;
	if (!lg_endings_of(slot, wait->pid, &ending) || ending.wait_start != wait->wait_start)
	{
		record->end = end_unsaid(slot, wait->pid);
		return;
	}

	record->end =
		ending.sqlstate == 0 ? LG_WAIT_GRANTED : end_by_error(ending.sqlstate, ending.ours);
	if (ending.duration == 0)
		ending.duration = ending.at - wait->wait_start;
	if (ending.duration >= least - slack && ending.duration <= most + slack)
	{
		record->duration = Max(ending.duration, 0);
		record->precision = 0;
	}
}

/*
 * Charge what is left of a wait that has lasted so long, the last that was seen of it
 * being "least".  Returns how much of its charge exceeds its length.
 */
static int64
charge_rest(LgMemory *memory, const OpenWait *wait, int64 least, int64 duration, int64 precision)
{
	bool known = precision == 0 || (least >= wait->interval && least >= WELL_KNOWN * precision);
	int64 rest = (known ? Max(duration, wait->interval) : wait->sampled) - least;
	int64 estimated = 0;

	if (duration < wait->interval)
		estimated = rest - Max(duration - least, 0);
	estimated = Max(estimated, 0);
	charge(memory, wait, Max(rest - estimated, 0), estimated, false);
	return estimated;
}

/* A wait is over, and its place free. */
static void
forget(OpenWait *wait, int slot)
{
	struct LgLockEpisodes *episodes = lg_shared->lock_episodes;
	int *slots = open_slots();

	refer_to(&wait->waiter, 0);
	refer_to(&wait->root, 0);
	refer_to(&wait->root_now, 0);
	wait->pid = 0;
	for (int i = 0; i < episodes->n_open; i++)
	{
		if (slots[i] == slot)
		{
			slots[i] = slots[--episodes->n_open];
			break;
		}
	}
}

/*
 * A wait has ended: sum it, record it if it was long enough.  now: of the moment at
 * which it was over; begun: when the next wait of the same process began, or 0.
 */
static void
finish(LgMemory *memory, OpenWait *wait, int slot, LgTime now, TimestampTz begun)
{
	LgLockWaitRecord record;
	int64 least = wait->first_age + (wait->last_seen.mono - wait->first_seen.mono);
	int64 most = wait->first_age + (now.mono - wait->first_seen.mono);

	memset(&record, 0, sizeof(record));
	if (begun != 0)
		most = Max(Min(most, begun - wait->wait_start), least);
	judge_end(wait, slot, least, most, &record);
	record.estimated = charge_rest(memory, wait, least, record.duration, record.precision);
	if (wait->contention != 0)
		lg_contention_note_duration(wait->contention, record.duration,
									Max(1.0, (double) wait->interval / Max(record.duration, 1)));

	if (record.duration >= lg_min_episode * LG_USECS_PER_MSEC && wait->waiter != 0)
	{
		record.wait_start = wait->wait_start;
		record.recorded_at = now.wall;
		record.waited = wait->waited;
		record.waited.lock.held_mode = wait->held_mode;
		record.max_queue = wait->max_queue;
		record.standby = lg_shared->lock_episodes->standby;
		record.waiter = kept_at(wait->waiter)->who;
		record.has_root = wait->root != 0;
		if (record.has_root)
			record.root = kept_at(wait->root)->who;
		record.has_root_at_end = wait->root_now != 0;
		if (record.has_root_at_end)
			record.root_at_end = kept_at(wait->root_now)->who;
		(void) lg_records_add(LG_LOCK_WAITS, &record, true);
	}
	forget(wait, slot);
}

/* --- a wait is seen ----------------------------------------------------------------------- */

static bool
is_same(const OpenWait *wait, const LgLockGraph *graph, const LgLockWaiter *waiter)
{
	return wait->pid == waiter->pid && wait->wait_start == waiter->wait_start &&
		   wait->waited.lock.mode == waiter->mode &&
		   memcmp(&wait->tag, &graph->locks[waiter->lock].tag, sizeof(LOCKTAG)) == 0;
}

/*
 * A wait is seen for the first time.  Should an error come while its root is looked
 * up, the next pass does that.
 */
static void
begin(Pass *pass, const LgLockWaiter *waiter)
{
	struct LgLockEpisodes *episodes = lg_shared->lock_episodes;
	OpenWait *wait = wait_of(waiter->slot);
	LgTime now = pass->memory->now;
	LgWaited waited;
	LgWho who;
	int64 age = age_at_first_sight(pass, waiter);

	read_waiter(waiter, &who);
	lg_waited_describe(pass->graph, waiter, who.databaseid, &waited);

	memset(wait, 0, sizeof(OpenWait));
	wait->pid = waiter->pid;
	wait->tag = pass->graph->locks[waiter->lock].tag;
	wait->wait_start = waiter->wait_start;
	wait->waited = waited;
	wait->first_seen = wait->last_seen = now;
	wait->seen_in = episodes->passes;
	wait->first_age = age;
	wait->interval = wait->sampled = interval_around(pass, age);
	wait->max_queue = pass->graph->locks[waiter->lock].n_waiters;
	wait->root_slot = -1;
	open_slots()[episodes->n_open++] = waiter->slot;

	refer_to(&wait->waiter, fill_place(waiter->slot, InvalidTransactionId, &who));
	attribute(pass, wait, waiter, &who);
	refer_to(&wait->root, wait->root_now);
	wait->held_mode = wait->waited.lock.held_mode;
	if (wait->waiter == 0 || (wait->root == 0 && wait->root_slot >= 0))
		pass->cut_off++;
	charge(pass->memory, wait, age, 0, true);
}

/* A wait goes on. */
static void
go_on(Pass *pass, OpenWait *wait, const LgLockWaiter *waiter)
{
	LgTime now = pass->memory->now;
	int64 elapsed = now.mono - wait->last_seen.mono;

	if (now.mono - wait->first_seen.mono < SETTLE_WITHIN && lg_waited_settle(&wait->waited))
		wait->contention = 0; /* from now on it is charged to that table */
	attribute(pass, wait, waiter, NULL);
	charge(pass->memory, wait, elapsed, 0, false);
	if (wait->first_age + (now.mono - wait->first_seen.mono) >= wait->interval)
		wait->sampled += elapsed;
	wait->max_queue = Max(wait->max_queue, pass->graph->locks[waiter->lock].n_waiters);
	wait->last_seen = now;
	wait->over.mono = 0;
	wait->seen_in = lg_shared->lock_episodes->passes;
}

/* One that waits in this pass. */
static void
see(Pass *pass, const LgLockWaiter *waiter)
{
	OpenWait *wait = wait_of(waiter->slot);

	if (waiter->wait_start == 0)
		return; /* it has just begun; the next pass sees it whole */
	if (wait->pid != 0 && is_same(wait, pass->graph, waiter))
	{
		if (wait->seen_in != lg_shared->lock_episodes->passes)
			go_on(pass, wait, waiter);
		return;
	}
	if (wait->pid != 0)
		finish(pass->memory, wait, waiter->slot,
			   wait->over.mono != 0 ? wait->over : pass->memory->now,
			   wait->pid == waiter->pid ? waiter->wait_start : 0);
	begin(pass, waiter);
}

/* Has it not woken up since its wait ended, so that it can have said nothing of it? */
static bool
sleeps_on(int slot, int pid)
{
	return lg_sessions_slot_pid(slot) == pid &&
		   (ProcGlobal->allProcs[slot].wait_event_info & 0xFF000000) == PG_WAIT_LOCK;
}

/*
 * Waits that this pass has not seen are over; not so those that its picture has left
 * out, which their process still shows.
 */
static void
finish_unseen(LgMemory *memory, LgTime now)
{
	struct LgLockEpisodes *episodes = lg_shared->lock_episodes;

	for (int i = episodes->n_open - 1; i >= 0; i--)
	{
		int slot = open_slots()[i];
		OpenWait *wait = wait_of(slot);

		CHECK_FOR_INTERRUPTS();
		if (wait->seen_in == episodes->passes ||
			(lg_sessions_slot_pid(slot) == wait->pid &&
			 lg_farewell_awaits(&ProcGlobal->allProcs[slot], wait->wait_start)))
			continue;
		if (wait->over.mono == 0)
		{
			wait->over = now;
			if (sleeps_on(slot, wait->pid))
				continue; /* what it has to say, the next pass hears */
		}
		finish(memory, wait, slot, wait->over, 0);
	}
}

/* Some waits are only summed: say so where other bounds are counted. */
static void
count_cut_off(int cut_off)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->beat.waits_cut_off += cut_off;
	LWLockRelease(lg_shared->lock);
}

/*
 * Fold a pass into the lock waits under way: which began, go on, have ended; and
 * charge them.  Allocates in the current memory context.  Takes lock partitions
 * one at a time, shared, and the records' lock; for whoever makes a pass.
 */
void
lg_lock_episodes_observe(LgMemory *memory)
{
	struct LgLockEpisodes *episodes = lg_shared->lock_episodes;
	Pass pass = {.memory = memory, .graph = memory->graph};

	if (episodes->last_mono != 0)
		pass.elapsed = Max(memory->now.mono - episodes->last_mono, 1);
	episodes->passes++;
	episodes->standby = memory->standby;
	if (pass.graph != NULL)
	{
		pass.kept = palloc_extended(sizeof(int) * pass.graph->n_nodes, MCXT_ALLOC_HUGE);
		memset(pass.kept, -1, sizeof(int) * pass.graph->n_nodes);
		for (int i = 0; i < pass.graph->n_waiters; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (i + LG_AHEAD < pass.graph->n_waiters)
				prefetch_wait(wait_of(pass.graph->waiters[i + LG_AHEAD].slot));
			see(&pass, &pass.graph->waiters[i]);
		}
	}
	finish_unseen(memory, memory->now);
	if (pass.cut_off > 0)
		count_cut_off(pass.cut_off);
	episodes->last_mono = memory->now.mono;
	episodes->last_cut_off = pass.graph != NULL && pass.graph->cut_off > 0;
}

/*
 * The server has stopped, and all sessions with it: what was under way is over.
 * For the postmaster, when all others have ended.
 */
void
lg_lock_episodes_close_all(TimestampTz now)
{
	struct LgLockEpisodes *episodes = lg_shared->lock_episodes;
	LgTime end = {.wall = now, .mono = lg_clock_read(CLOCK_MONOTONIC)};

	while (episodes->n_open > 0)
	{
		int slot = open_slots()[episodes->n_open - 1];

		finish(NULL, wait_of(slot), slot, end, 0);
	}
}
