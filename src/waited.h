/*-------------------------------------------------------------------------
 * waited.h
 *		What a lock wait is about: what is awaited, from whom.
 *-------------------------------------------------------------------------
 */
#ifndef LG_WAITED_H
#define LG_WAITED_H

#include "contention.h"
#include "lock_graph.h"
#include "storage/block.h"
#include "storage/off.h"

#define LG_WAIT_CANDIDATES 8

/* What is awaited, as far as it was known when the wait was first seen. */
typedef struct LgWaited
{
	LgContendedLock lock;
	BlockNumber block;
	OffsetNumber offset;
	bool has_block;
	bool has_offset;
	Oid classid; /* of an object or an advisory key, as pg_locks shows it; else nothing */
	Oid objid;
	int16 objsubid;
	uint8 n_candidates; /* if lock.uncertain: relations it may be; more than fit: none */
	Oid candidates[LG_WAIT_CANDIDATES];
} LgWaited;

extern int lg_waited_root(const LgLockGraph *graph, const LgLockWaiter *waiter, int slot_before);
extern LOCKMODE lg_waited_held_mode(const LgLockGraph *graph, const LgLockWaiter *waiter, int root);
extern void lg_waited_describe(const LgLockGraph *graph, const LgLockWaiter *waiter, Oid of_waiter,
							   LgWaited *waited);
extern bool lg_waited_settle(LgWaited *waited);

#endif /* LG_WAITED_H */
