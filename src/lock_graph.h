/*-------------------------------------------------------------------------
 * lock_graph.h
 *		Who waits for whom: the picture, and what can be read off it.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LOCK_GRAPH_H
#define LG_LOCK_GRAPH_H

#include "datatype/timestamp.h"
#include "storage/block.h"
#include "storage/lock.h"
#include "storage/off.h"

/*
 * Somebody in the picture: a session with its parallel workers (the lock
 * manager calls that a lock group), another process, or a prepared transaction.
 */
typedef struct LgLockNode
{
	int slot;				/* of the leader's PGPROC; prepared ones lie behind allProcCount */
	int pid;				/* the leader's; 0 for a prepared transaction */
	TransactionId xid;		/* of a prepared transaction; else invalid */
	Oid databaseid;			/* of a prepared transaction; else not set */
	Oid roleid;				/* likewise */
	int first_waiter;		/* in waiters[], its own waits; -1 = it awaits nothing */
	TimestampTz wait_start; /* of the longest of them; 0 = unknown or none */
	bool deadlock;			/* member of a cycle that the server has not yet broken */
	int depth;				/* 1 = waits for a root; -1 = root, cycle member or unsettled */
	int root_set;			/* in root_sets[]: what its waits lead to; -1 = nothing */
	int parent;				/* in nodes[], where the tree shows it; -1 = at the top */
	int level;				/* in the tree, by lg_lock_tree_build(); 0 = at the top */
	int blocked_directly;	/* of roots and cycle members only: sessions, distinct */
	int blocked_total;		/* likewise, through others too */
	TimestampTz longest;	/* likewise: the earliest start among those waits; 0 = none known */
	int64 total_wait;		/* likewise: microseconds, summed over those sessions */
	int contended_lock;		/* in locks[]: of those it holds, the one most wait for; -1 = none */
	LOCKMASK held;			/* what it holds of that one, as far as somebody minds */
	LOCKMASK awaited;		/* and the modes that are awaited there because of it */
} LgLockNode;

/* A process in the queue of an awaited lock. */
typedef struct LgLockWaiter
{
	int slot;
	int pid;
	int node;
	int next_of_node; /* in waiters[]; -1 = last */
	int lock;		  /* in locks[] */
	LOCKMODE mode;
	TimestampTz wait_start; /* 0 = in this instant not known */
} LgLockWaiter;

/* Somebody who holds an awaited lock in a mode that conflicts with the queue. */
typedef struct LgLockHolder
{
	int node;
	LOCKMASK held;
} LgLockHolder;

typedef struct LgAwaitedLock
{
	LOCKTAG tag;
	const LOCKMASK *conflicts; /* by mode: the modes it conflicts with */
	LOCKMASK queued;		   /* modes in the queue */
	int first_holder;		   /* in holders[] */
	int n_holders;
	int first_waiter; /* in waiters[], in queue order */
	int n_waiters;
} LgAwaitedLock;

/* What waits lead to: roots, or the members of a cycle. */
typedef struct LgRootSet
{
	int first; /* in set_members[] */
	int count;
} LgRootSet;

typedef struct LgLockGraph
{
	TimestampTz read_at;
	int n_nodes;
	int n_waiters;
	int n_holders;
	int n_locks;
	int n_root_sets;
	int n_set_members;
	int waiting_sessions; /* nodes that wait */
	int cut_off;		  /* waiters left out by a bound */
	LgLockNode *nodes;
	LgLockWaiter *waiters;
	LgLockHolder *holders;
	LgAwaitedLock *locks;
	LgRootSet *root_sets;
	int *set_members;		   /* in nodes[] */
	int *tree;				   /* all of nodes[], in its order; by lg_lock_tree_build() */
	struct LgLockEdges *edges; /* who waits for whom, see lock_edges.h */
	int *node_of_slot; /* in nodes[], by PGPROC slot of the leader or of a waiter; -1 = none */
} LgLockGraph;

/* What a waiter waits for, in users' words. */
typedef struct LgAwaitedRow
{
	Oid databaseid; /* invalid when nothing is known, or for a shared relation */
	Oid relation;	/* invalid when not known */
	bool has_block;
	bool has_offset;
	BlockNumber block;
	OffsetNumber offset;
	bool uncertain; /* some relation is concerned, and only candidates are known */
	int n_candidates;
	Oid candidates[64]; /* relations the waiter may write to, tables and indexes alike */
} LgAwaitedRow;

extern LgLockGraph *lg_lock_graph_collect(void);
extern LgLockGraph *lg_lock_graph_read(void);
extern void lg_lock_graph_awaited_row(const LgLockGraph *graph, const LgLockWaiter *waiter,
									  LgAwaitedRow *row);
extern const LgLockWaiter *lg_lock_graph_first_contender(const LgLockGraph *graph, int node);
extern bool lg_lock_graph_still_blocks(const LgLockGraph *graph, int node);
extern int lg_lock_graph_count_held(int slot, int pid);

#endif /* LG_LOCK_GRAPH_H */
