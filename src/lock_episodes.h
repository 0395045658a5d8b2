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
#include "waited.h"
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
