/*-------------------------------------------------------------------------
 * contention.h
 *		Whom waiting cost how much: every waited second charged once.
 *-------------------------------------------------------------------------
 */
#ifndef LG_CONTENTION_H
#define LG_CONTENTION_H

#include "storage/block.h"
#include "storage/lock.h"
#include "storage/off.h"

#include "records.h"
#include "who.h"

/* What is awaited, in the terms that contention is charged by. */
typedef struct LgContendedLock
{
	Oid databaseid; /* invalid: a shared relation */
	Oid relation;	/* invalid: not known */
	bool uncertain; /* some relation, but which is not certain */
	uint8 locktype; /* LockTagType */
	uint8 lockmethod;
	LOCKMODE mode;		/* awaited */
	LOCKMODE held_mode; /* the strongest that the root holds of it; NoLock = not known */
} LgContendedLock;

extern const LgRecordType lg_contention_type;

extern Size lg_contention_size(void);
extern uint64 lg_contention_find(const LgContendedLock *lock, const LgWho *root,
								 const LgWho *waiter, TimestampTz now);
extern bool lg_contention_is_current(uint64 number, TimestampTz now);
extern void lg_contention_charge(uint64 number, int64 seen, int64 estimated, bool first);
extern void lg_contention_note_row(uint64 number, BlockNumber block, OffsetNumber offset,
								   int64 charged);
extern void lg_contention_note_duration(uint64 number, int64 duration, double weight);

#endif /* LG_CONTENTION_H */
