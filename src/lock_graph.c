/*-------------------------------------------------------------------------
 * lock_graph.c
 *		Draw the picture of who waits for whom.
 *
 * For each awaited lock a reading copies its holders and its queue, in order,
 * and lets go of that one partition before it follows any chain: long chains
 * cost others nothing, and a pile-up of N waiters is N entries, not N squared
 * pairs.  A session ahead of us in the queue is a blocker even while it holds
 * nothing.  What can be concluded from the picture is lock_roots.c's affair.
 *
 * Locks are not all copied in the same instant, so what was read of two locks
 * may never have been true together.  Whatever is settled is read right.  A
 * cycle is believed only when two readings in a row show it with the same
 * waits: its members have then waited all the time in between, could let go of
 * nothing, and so the cycle was whole at one instant.
 *
 * Locking: one lock partition at a time, shared, only inside copy_lock(),
 * find_tuple_lock(), look_again() and lg_lock_graph_count_held(); the fast-path lock of one
 * process at a time.  Never two together, and no allocation under either: the
 * room is made before.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "compat.h"
#include "lock_graph.h"
#include "lock_roots.h"
#include "prefetch.h"
#include "sessions.h"

/* At most so many holders are copied in a reading; what is beyond is cut off and counted. */
#define MAX_HOLDERS (1 << 20)

/* How often a reading is repeated to tell a cycle from locks read at different instants. */
#define MAX_READINGS 3

/* As copied under the partition lock, before nodes are looked up. */
typedef struct RawEntry
{
	PGPROC *proc;
	PGPROC *leader;
	int pid;
	int leader_pid;	   /* 0 for a prepared transaction, and only for one */
	TransactionId xid; /* the rest of the leader's, for a prepared transaction */
	Oid databaseid;
	Oid roleid;
	LOCKMASK held; /* of a holder */
	LOCKMODE mode; /* of a waiter */
	TimestampTz wait_start;
} RawEntry;

typedef struct Reader
{
	LgLockGraph *graph;
	int slots; /* PGPROCs, those of prepared transactions included */
	RawEntry *raw;
	int n_raw_holders; /* raw[0 ..], then the queue */
	int n_raw;
	int *awaiting; /* slots of processes that wait */
	int n_awaiting;
	HTAB *seen; /* tags of the locks copied in this reading */
	int nodes_room;
	int waiters_room;
	int holders_room;
	int locks_room;
} Reader;

static int
slot_of(const PGPROC *proc)
{
	return (int) (proc - ProcGlobal->allProcs);
}

/*
 * Copy who holds or awaits.  The partition lock is held: while the PROCLOCK is
 * there, so are its process, or its prepared transaction, and their PGPROC is
 * nobody else's.  A leader may have ended before its workers.
 */
static void
copy_entry(RawEntry *entry, PROCLOCK *proclock)
{
	entry->proc = proclock->tag.myProc;
	entry->leader = proclock->groupLeader;
	entry->pid = entry->proc->pid;
	entry->leader_pid = entry->leader->pid;
	if (entry->leader_pid == 0 && slot_of(entry->leader) < (int) ProcGlobal->allProcCount)
		entry->leader_pid = entry->pid;
	entry->xid = entry->leader->xid;
	entry->databaseid = entry->leader->databaseId;
	entry->roleid = entry->leader->roleId;
	entry->held = proclock->holdMask;
	entry->mode = NoLock;
	entry->wait_start = 0;
}

/*
 * Copy holders and queue of the lock that proc awaits into reader->raw, and
 * its tag and conflict table into lock.  Returns false if proc no longer waits.
 *
 * waitLock was read without a lock.  It points into the lock manager's hash
 * table, which is never unmapped, so the tag can be read; it may be garbage of
 * another lock by now, and only under that tag's partition lock, with waitLock
 * and tag unchanged, is it known to be what proc waits for.  Holders and
 * waiters cannot go away while we hold the partition: to release a lock, or to
 * leave a queue, takes it exclusively.
 */
static bool
copy_lock(Reader *reader, volatile PGPROC *proc, LOCK *lock, LgAwaitedLock *copy)
{
	LWLock *partition;
	LOCKMASK minded = 0;
	int n = 0;

	memcpy(&copy->tag, &lock->tag, sizeof(LOCKTAG));
	if (copy->tag.locktag_lockmethodid != DEFAULT_LOCKMETHOD &&
		copy->tag.locktag_lockmethodid != USER_LOCKMETHOD)
		return false;
	partition = LockHashPartitionLock(LockTagHashCode(&copy->tag));

	LWLockAcquire(partition, LW_SHARED);
	if (proc->waitLock != lock || memcmp(&copy->tag, &lock->tag, sizeof(LOCKTAG)) != 0)
	{
		LWLockRelease(partition);
		return false;
	}

	copy->conflicts = GetLocksMethodTable(lock)->conflictTab;
	copy->queued = lock->waitMask;
	for (LOCKMODE mode = 1; mode < MAX_LOCKMODES; mode++)
	{
		if (copy->queued & LOCKBIT_ON(mode))
			minded |= copy->conflicts[mode];
	}

	for (PROCLOCK *holder = LG_FIRST_HOLDER(lock); holder; holder = LG_NEXT_HOLDER(lock, holder))
	{
		if ((holder->holdMask & minded) && n < reader->slots)
			copy_entry(&reader->raw[n++], holder);
	}
	reader->n_raw_holders = n;

	for (PGPROC *waiter = LG_FIRST_WAITER(lock); waiter; waiter = LG_NEXT_WAITER(lock, waiter))
	{
		if (n >= 2 * reader->slots)
			break;
		copy_entry(&reader->raw[n], waiter->waitProcLock);
		reader->raw[n].mode = waiter->waitLockMode;
		reader->raw[n].wait_start = (TimestampTz) pg_atomic_read_u64(&waiter->waitStart);
		n++;
	}
	LWLockRelease(partition);

	reader->n_raw = n;
	return true;
}

/*
 * The node of a copied entry, made when it is met for the first time.  A slot
 * may have passed to another process, or prepared transaction, since an earlier
 * lock was copied, so PID and prepared xid must be the same, too.
 */
static int
node_of(Reader *reader, const RawEntry *entry)
{
	LgLockGraph *graph = reader->graph;
	int slot = slot_of(entry->leader);
	int known = graph->node_of_slot[slot];
	LgLockNode *node;

	if (known >= 0 && graph->nodes[known].pid == entry->leader_pid &&
		(entry->leader_pid != 0 || graph->nodes[known].xid == entry->xid))
		return known;

	node = &graph->nodes[graph->n_nodes];
	memset(node, 0, sizeof(LgLockNode));
	node->slot = slot;
	node->pid = entry->leader_pid;
	node->first_waiter = node->root_set = node->parent = node->contended_lock = node->depth = -1;
	if (entry->leader_pid == 0)
	{
		node->xid = entry->xid;
		node->databaseid = entry->databaseid;
		node->roleid = entry->roleid;
	}

	return graph->node_of_slot[slot] = graph->n_nodes++;
}

/* Make room for one more lock with all of raw[], before any lock is taken. */
static void
make_room(Reader *reader)
{
	LgLockGraph *graph = reader->graph;

	if (graph->n_locks + 1 > reader->locks_room)
	{
		reader->locks_room *= 2;
		graph->locks = repalloc_huge(graph->locks, sizeof(LgAwaitedLock) * reader->locks_room);
	}
	while (graph->n_nodes + reader->n_raw > reader->nodes_room)
	{
		reader->nodes_room *= 2;
		graph->nodes = repalloc_huge(graph->nodes, sizeof(LgLockNode) * reader->nodes_room);
	}
	while (graph->n_waiters + reader->n_raw > reader->waiters_room)
	{
		reader->waiters_room *= 2;
		graph->waiters = repalloc_huge(graph->waiters, sizeof(LgLockWaiter) * reader->waiters_room);
	}
	while (graph->n_holders + reader->n_raw > reader->holders_room)
	{
		reader->holders_room *= 2;
		graph->holders = repalloc_huge(graph->holders, sizeof(LgLockHolder) * reader->holders_room);
	}
}

/*
 * When that wait began.  waitStart is set a moment after waitLock, and a wait
 * that ended by a cancel leaves its own start behind: what is older than the
 * statement is not this wait's.
 */
static TimestampTz
wait_start_of(const RawEntry *entry)
{
	LgSession session;

	if (entry->wait_start == 0 ||
		(lg_sessions_read_one(slot_of(entry->proc), &session) && session.pid == entry->pid &&
		 session.query_start > entry->wait_start))
		return 0;
	return entry->wait_start;
}

/* Turn what copy_lock() left into nodes, holders and waiters of the graph. */
static void
store_lock(Reader *reader, const LgAwaitedLock *copy)
{
	LgLockGraph *graph = reader->graph;
	LgAwaitedLock *lock;

	make_room(reader);
	lock = &graph->locks[graph->n_locks];
	*lock = *copy;
	lock->first_holder = graph->n_holders;
	lock->first_waiter = graph->n_waiters;

	for (int i = 0; i < reader->n_raw; i++)
	{
		const RawEntry *entry = &reader->raw[i];

		if (i + LG_AHEAD < reader->n_raw)
			lg_sessions_prefetch(slot_of(entry[LG_AHEAD].proc));
		if (i < reader->n_raw_holders)
		{
			LgLockHolder *holder = &graph->holders[graph->n_holders++];

			holder->node = node_of(reader, entry);
			holder->held = entry->held;
		}
		else
		{
			LgLockWaiter *waiter = &graph->waiters[graph->n_waiters];
			int node = node_of(reader, entry);

			waiter->slot = slot_of(entry->proc);
			waiter->pid = entry->pid;
			waiter->node = node;
			waiter->lock = graph->n_locks;
			waiter->mode = entry->mode;
			waiter->wait_start = wait_start_of(entry);
			waiter->next_of_node = graph->nodes[node].first_waiter;
			graph->nodes[node].first_waiter = graph->n_waiters++;
			graph->node_of_slot[waiter->slot] = node;
			if (waiter->wait_start != 0 && (graph->nodes[node].wait_start == 0 ||
											waiter->wait_start < graph->nodes[node].wait_start))
				graph->nodes[node].wait_start = waiter->wait_start;
		}
	}
	lock->n_holders = graph->n_holders - lock->first_holder;
	lock->n_waiters = graph->n_waiters - lock->first_waiter;
	graph->n_locks++;
}

/* Room for the graph of a pile-up of moderate size; it grows when needed. */
static void
init_reader(Reader *reader)
{
	LgLockGraph *graph = palloc0(sizeof(LgLockGraph));
	HASHCTL ctl = {
		.keysize = sizeof(LOCKTAG), .entrysize = sizeof(LOCKTAG), .hcxt = CurrentMemoryContext};

	reader->graph = graph;
	reader->slots = ProcGlobal->allProcCount + max_prepared_xacts;
	reader->raw = palloc_extended(sizeof(RawEntry) * 2 * reader->slots, MCXT_ALLOC_HUGE);
	reader->awaiting = palloc_extended(sizeof(int) * reader->slots, MCXT_ALLOC_HUGE);
	reader->seen =
		hash_create("pg_lifeguard awaited locks", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	reader->nodes_room = reader->waiters_room = reader->holders_room = reader->locks_room = 64;
	graph->waiters = palloc(sizeof(LgLockWaiter) * reader->waiters_room);
	graph->holders = palloc(sizeof(LgLockHolder) * reader->holders_room);
	graph->locks = palloc(sizeof(LgAwaitedLock) * reader->locks_room);
	graph->nodes = palloc(sizeof(LgLockNode) * reader->nodes_room);
	graph->node_of_slot = palloc_extended(sizeof(int) * reader->slots, MCXT_ALLOC_HUGE);
	memset(graph->node_of_slot, -1, sizeof(int) * reader->slots);
}

/*
 * Find who waits.  Of each is fetched what a walk along its queue reads: that walk
 * goes from one to the next under the partition lock, and would wait for memory
 * there.  Takes no lock, so a wait may begin or end at any moment: what is read here
 * only says where to look again, and fetching from a stale address does no harm.
 */
static void
find_awaiting(Reader *reader)
{
	for (int slot = 0; slot < (int) ProcGlobal->allProcCount; slot++)
	{
		volatile PGPROC *proc = &ProcGlobal->allProcs[slot];

		if (proc->waitLock == NULL)
			continue;
		if (reader->graph == NULL)
			init_reader(reader);
		reader->awaiting[reader->n_awaiting++] = slot;
		lg_prefetch(&proc->LG_WAIT_LINK);
		lg_prefetch(&proc->waitStart);
		lg_prefetch(proc->waitProcLock);
	}
}

/*
 * Read all awaited locks, once, and conclude nothing: of the nodes only what
 * they are and what they wait for is filled in.  Returns NULL when nobody
 * waits.  The graph lies in the current memory context.  Takes lock partitions
 * one at a time, shared.
 */
LgLockGraph *
lg_lock_graph_collect(void)
{
	Reader reader;
	LgAwaitedLock copy;

	memset(&reader, 0, sizeof(reader));

	find_awaiting(&reader);
	for (int i = 0; i < reader.n_awaiting; i++)
	{
		volatile PGPROC *proc = &ProcGlobal->allProcs[reader.awaiting[i]];
		LOCK *lock = proc->waitLock;

		if (lock == NULL)
			continue;
		CHECK_FOR_INTERRUPTS();
		memcpy(&copy.tag, &lock->tag, sizeof(LOCKTAG));
		if (hash_search(reader.seen, &copy.tag, HASH_FIND, NULL) != NULL)
			continue;
		if (reader.graph->n_holders >= MAX_HOLDERS)
		{
			reader.graph->cut_off++;
			continue;
		}
		if (!copy_lock(&reader, proc, lock, &copy))
			continue;
		hash_search(reader.seen, &copy.tag, HASH_ENTER, NULL);
		store_lock(&reader, &copy);
	}

	if (reader.graph == NULL)
		return NULL;
	reader.graph->read_at = GetCurrentTimestamp();
	hash_destroy(reader.seen);
	pfree(reader.awaiting);
	pfree(reader.raw);
	return reader.graph->n_waiters > 0 ? reader.graph : NULL;
}

/* Does an earlier reading show the same process in the same wait, in a cycle? */
static bool
cycle_member_before(const LgLockGraph *before, const LgLockNode *node)
{
	int index = before->node_of_slot[node->slot];

	return index >= 0 && before->nodes[index].deadlock && before->nodes[index].pid == node->pid &&
		   node->wait_start != 0 && before->nodes[index].wait_start == node->wait_start;
}

/* Compare with the reading before.  Returns false if a cycle is new. */
static bool
confirm_cycles(const LgLockGraph *before, const LgLockGraph *graph)
{
	for (int i = 0; i < graph->n_nodes; i++)
	{
		if (graph->nodes[i].deadlock &&
			(before == NULL || !cycle_member_before(before, &graph->nodes[i])))
			return false;
	}
	return true;
}

/*
 * Take back the cycles that could not be confirmed: their members are mere
 * waiters, and what waits for them has no root that is known.
 */
static void
drop_unconfirmed_cycles(const LgLockGraph *before, LgLockGraph *graph)
{
	for (int i = 0; i < graph->n_nodes; i++)
	{
		LgLockNode *node = &graph->nodes[i];

		if (!node->deadlock || cycle_member_before(before, node))
			continue;
		node->deadlock = false;
		graph->root_sets[node->root_set].count = 0;
	}
	for (int i = 0; i < graph->n_nodes; i++)
	{
		LgLockNode *node = &graph->nodes[i];

		if (node->root_set >= 0 && graph->root_sets[node->root_set].count == 0)
			node->depth = -1;
	}
}

/*
 * Read who waits for whom, and conclude what follows (see lock_roots.c).  Else
 * as lg_lock_graph_collect().
 */
LgLockGraph *
lg_lock_graph_read(void)
{
	LgLockGraph *before = NULL;

	for (int reading = 1;; reading++)
	{
		LgLockGraph *graph = lg_lock_graph_collect();

		if (graph == NULL)
			return NULL;
		lg_lock_roots_solve(graph);
		if (confirm_cycles(before, graph))
			return graph;
		if (reading == MAX_READINGS)
		{
			drop_unconfirmed_cycles(before, graph);
			return graph;
		}
		before = graph;
	}
}

/*
 * Look for the tuple lock that a waiter holds or awaits while it waits for
 * another transaction.  Collects, on the way, the relations it may write to.
 *
 * The waiter sleeps, so its lists change only if it wakes meanwhile; under the
 * partition lock each is whole.  Whether a list is empty is looked at without
 * the lock: only its owner fills it, and whoever fills a fast-path entry into
 * it adds no tuple lock.
 */
static void
find_tuple_lock(PGPROC *proc, LgAwaitedRow *row)
{
	for (int part = 0; part < NUM_LOCK_PARTITIONS && !OidIsValid(row->relation); part++)
	{
		LWLock *partition = LockHashPartitionLockByIndex(part);

		if (LG_OWNS_NONE(proc, part))
			continue;

		LWLockAcquire(partition, LW_SHARED);
		for (PROCLOCK *own = LG_FIRST_OWN(proc, part); own; own = LG_NEXT_OWN(proc, part, own))
		{
			const LOCKTAG *tag = &own->tag.myLock->tag;

			if (tag->locktag_type == LOCKTAG_TUPLE)
			{
				row->databaseid = tag->locktag_field1;
				row->relation = tag->locktag_field2;
				row->block = tag->locktag_field3;
				row->offset = tag->locktag_field4;
				row->has_block = row->has_offset = true;
				break;
			}
			if (tag->locktag_type == LOCKTAG_RELATION && own->holdMask >= LOCKBIT_ON(RowShareLock))
			{
				row->databaseid = proc->databaseId;
				if (row->n_candidates < (int) lengthof(row->candidates))
					row->candidates[row->n_candidates] = tag->locktag_field2;
				row->n_candidates++;
			}
		}
		LWLockRelease(partition);
	}
}

/* Add the relations that the waiter has locked by the fast path. */
static void
find_fastpath_relations(PGPROC *proc, LgAwaitedRow *row)
{
	LWLockAcquire(&proc->fpInfoLock, LW_SHARED);
	for (int i = 0; i < LG_FASTPATH_SLOTS; i++)
	{
		if (LG_FASTPATH_MASK(proc, i) < LOCKBIT_ON(RowShareLock))
			continue;
		row->databaseid = proc->databaseId;
		if (row->n_candidates < (int) lengthof(row->candidates))
			row->candidates[row->n_candidates] = proc->fpRelId[i];
		row->n_candidates++;
	}
	LWLockRelease(&proc->fpInfoLock);
}

/* Is that process still in the wait that the graph shows? */
static bool
still_waits(volatile PGPROC *proc, const LgLockWaiter *waiter)
{
	return proc->pid == waiter->pid && proc->waitLock != NULL &&
		   (waiter->wait_start == 0 ||
			waiter->wait_start == (TimestampTz) pg_atomic_read_u64(&proc->waitStart));
}

/*
 * Say what a waiter waits for: relation, page and row where its lock names
 * them.  A wait for another transaction names them by the tuple lock that goes
 * with it; inserts that meet a unique key take none, and then only the
 * relations that the waiter may write to are told, as candidates.  Takes lock
 * partitions one at a time, shared.
 */
void
lg_lock_graph_awaited_row(const LgLockGraph *graph, const LgLockWaiter *waiter, LgAwaitedRow *row)
{
	const LOCKTAG *tag = &graph->locks[waiter->lock].tag;
	PGPROC *proc = &ProcGlobal->allProcs[waiter->slot];

	memset(row, 0, sizeof(LgAwaitedRow));
	switch ((LockTagType) tag->locktag_type)
	{
		case LOCKTAG_RELATION:
		case LOCKTAG_RELATION_EXTEND:
		case LOCKTAG_PAGE:
		case LOCKTAG_TUPLE:
			row->databaseid = tag->locktag_field1;
			row->relation = tag->locktag_field2;
			row->has_block =
				tag->locktag_type == LOCKTAG_PAGE || tag->locktag_type == LOCKTAG_TUPLE;
			row->has_offset = tag->locktag_type == LOCKTAG_TUPLE;
			row->block = tag->locktag_field3;
			row->offset = tag->locktag_field4;
			break;
		case LOCKTAG_TRANSACTION:
		case LOCKTAG_SPECULATIVE_TOKEN:
			find_tuple_lock(proc, row);
			if (!OidIsValid(row->relation))
				find_fastpath_relations(proc, row);

			/* What a process does after its wait is not what it waited for. */
			if (!still_waits(proc, waiter))
				memset(row, 0, sizeof(LgAwaitedRow));
			row->uncertain = !OidIsValid(row->relation);
			break;
		default:
			break;
	}
}

/*
 * The first that awaits a node's contended lock because of that node; NULL if
 * there is none.  The graph must be one of lg_lock_graph_read().
 */
const LgLockWaiter *
lg_lock_graph_first_contender(const LgLockGraph *graph, int node)
{
	const LgLockNode *holder = &graph->nodes[node];
	const LgAwaitedLock *lock;

	if (holder->contended_lock < 0)
		return NULL;
	lock = &graph->locks[holder->contended_lock];
	for (int i = lock->first_waiter; i < lock->first_waiter + lock->n_waiters; i++)
	{
		if ((LOCKBIT_ON(graph->waiters[i].mode) & holder->awaited) &&
			graph->waiters[i].node != node)
			return &graph->waiters[i];
	}
	return NULL;
}

/* Is that PGPROC still the blocker's leader's?  The partition lock is held. */
static bool
still_the_same(const PGPROC *leader, const LgLockNode *blocker)
{
	if (slot_of(leader) != blocker->slot)
		return false;
	return blocker->pid != 0 ? leader->pid == blocker->pid
							 : leader->pid == 0 && leader->xid == blocker->xid;
}

/*
 * If that process still awaits a lock of that tag: does the blocker hold it in a
 * mode in the way of anybody in its queue, but for its own group?  Told through
 * blocks.  Returns false if the process awaits it no more, and so nothing is
 * known.  As to what may be read how, see copy_lock().
 */
static bool
look_again(volatile PGPROC *proc, const LOCKTAG *tag, const LgLockNode *blocker, bool *blocks)
{
	LWLock *partition = LockHashPartitionLock(LockTagHashCode(tag));
	LOCK *lock = proc->waitLock;
	const LOCKMASK *conflicts;
	LOCKMASK minded = 0;

	if (lock == NULL || memcmp(tag, &lock->tag, sizeof(LOCKTAG)) != 0)
		return false;

	LWLockAcquire(partition, LW_SHARED);
	if (proc->waitLock != lock || memcmp(tag, &lock->tag, sizeof(LOCKTAG)) != 0)
	{
		LWLockRelease(partition);
		return false;
	}

	conflicts = GetLocksMethodTable(lock)->conflictTab;
	for (PGPROC *waiter = LG_FIRST_WAITER(lock); waiter; waiter = LG_NEXT_WAITER(lock, waiter))
	{
		if (!still_the_same(waiter->waitProcLock->groupLeader, blocker))
			minded |= conflicts[waiter->waitLockMode];
	}
	*blocks = false;
	for (PROCLOCK *holder = LG_FIRST_HOLDER(lock); holder; holder = LG_NEXT_HOLDER(lock, holder))
	{
		if ((holder->holdMask & minded) && still_the_same(holder->groupLeader, blocker))
			*blocks = true;
	}
	LWLockRelease(partition);
	return true;
}

/*
 * Does a root of the graph still block somebody, at this very instant, on its
 * contended lock?  To be asked right before it is signalled.  The graph must be
 * one of lg_lock_graph_read().  Takes one lock partition, shared; raises nothing
 * but what CHECK_FOR_INTERRUPTS() does.
 */
bool
lg_lock_graph_still_blocks(const LgLockGraph *graph, int node)
{
	const LgLockNode *blocker = &graph->nodes[node];
	const LgAwaitedLock *lock;

	if (blocker->contended_lock < 0)
		return false;
	lock = &graph->locks[blocker->contended_lock];
	for (int i = lock->first_waiter; i < lock->first_waiter + lock->n_waiters; i++)
	{
		bool blocks;

		CHECK_FOR_INTERRUPTS();
		if (look_again(&ProcGlobal->allProcs[graph->waiters[i].slot], &lock->tag, blocker, &blocks))
			return blocks;
	}
	return false;
}

static int
count_bits(LOCKMASK mask)
{
	int count = 0;

	for (; mask != 0; mask &= mask - 1)
		count++;
	return count;
}

/*
 * Count the heavyweight locks that a process holds, mode by mode, as pg_locks
 * shows them granted.  Returns -1 if the process is gone.  Takes lock
 * partitions one at a time, shared, then the process's fast-path lock.
 */
int
lg_lock_graph_count_held(int slot, int pid)
{
	PGPROC *proc = &ProcGlobal->allProcs[slot];
	int count = 0;

	for (int part = 0; part < NUM_LOCK_PARTITIONS; part++)
	{
		LWLock *partition = LockHashPartitionLockByIndex(part);

		if (LG_OWNS_NONE(proc, part))
			continue;
		LWLockAcquire(partition, LW_SHARED);
		for (PROCLOCK *own = LG_FIRST_OWN(proc, part); own; own = LG_NEXT_OWN(proc, part, own))
			count += count_bits(own->holdMask);
		LWLockRelease(partition);
	}

	LWLockAcquire(&proc->fpInfoLock, LW_SHARED);
	for (int i = 0; i < LG_FASTPATH_SLOTS; i++)
		count += count_bits(LG_FASTPATH_MASK(proc, i));
	if (proc->fpVXIDLock)
		count++;
	LWLockRelease(&proc->fpInfoLock);

	return proc->pid == pid ? count : -1;
}
