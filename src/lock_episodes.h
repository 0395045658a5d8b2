/*-------------------------------------------------------------------------
 * lock_episodes.h
 *		Lock waits: began, goes on, ended.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LOCK_EPISODES_H
#define LG_LOCK_EPISODES_H

#include "contention.h"
#include "memory.h"
#include "records.h"
#include "who.h"

/* How a wait ended. */
typedef enum LgWaitEnd
{
	LG_WAIT_GRANTED,
	LG_WAIT_CANCELLED,
	LG_WAIT_GONE,
	LG_WAIT_LOCK_TIMEOUT,
	LG_WAIT_DEADLOCK,
	LG_WAIT_POLICY,
	LG_WAIT_BY_HAND
} LgWaitEnd;

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

/* A wait that is over.  All times in microseconds. */
typedef struct LgLockWaitRecord
{
	LgRecordHead head;
	TimestampTz wait_start;
	TimestampTz recorded_at;
	int64 duration;
	int64 precision;
	int64 estimated;
	LgWaited waited;
	int max_queue;
	LgWaitEnd end;
	bool has_root; /* there was one, and room to keep it */
	bool has_root_at_end;
	bool standby;
	LgWho waiter;
	LgWho root;
	LgWho root_at_end;
} LgLockWaitRecord;

extern const LgRecordType lg_lock_wait_type;

extern Size lg_lock_episodes_size(void);
extern void lg_lock_episodes_observe(LgMemory *memory);
extern void lg_lock_episodes_close_all(TimestampTz now);

#endif /* LG_LOCK_EPISODES_H */
