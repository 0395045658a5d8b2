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

#include "histogram.h"
#include "records.h"
#include "who.h"

#define LG_CONTENTION_KEYS 256	 /* a minute, each with its statements */
#define LG_CONTENTION_REDUCED 32 /* beyond those: without statements */
#define LG_CONTENTION_ROWS 8	 /* top rows of a record */
#define LG_CONTENTION_QUERY 256

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

/* Who waits or is waited for, as far as sums keep them apart. */
typedef struct LgContentionParty
{
	Oid userid;
	Oid databaseid; /* whose encoding the texts have */
	int64 query_id; /* 0 = none */
	char application_name[NAMEDATALEN];
	char query[LG_CONTENTION_QUERY]; /* without its constants */
} LgContentionParty;

typedef struct LgContentionRow
{
	BlockNumber block;
	OffsetNumber offset;
	int64 charged; /* microseconds; what a row pushed out had counts for the one after it */
} LgContentionRow;

/* A minute of one lock, root and waiter.  Times are in microseconds. */
typedef struct LgContentionRecord
{
	LgRecordHead head;
	TimestampTz minute; /* its beginning, or that of counting anew within it */
	TimestampTz created_at;
	bool everything_else; /* what there was no room for: of nobody and nothing */
	bool standby;
	LgContendedLock lock;
	LgContentionParty root;
	LgContentionParty waiter;
	int64 waits_seen;
	double waits; /* estimated, of those that have ended */
	int64 seen;
	int64 estimated;
	int64 longest;
	int n_rows;
	LgContentionRow rows[LG_CONTENTION_ROWS];
	LgHistogram histogram; /* of waits that have ended */
} LgContentionRecord;

extern const LgRecordType lg_contention_type;

extern Size lg_contention_size(void);
extern void lg_contention_init(void);
extern uint64 lg_contention_find(const LgContendedLock *lock, const LgWho *root,
								 const LgWho *waiter, TimestampTz now);
extern bool lg_contention_is_current(uint64 number, TimestampTz now);
extern void lg_contention_charge(uint64 number, int64 seen, int64 estimated, bool first);
extern void lg_contention_note_row(uint64 number, BlockNumber block, OffsetNumber offset,
								   int64 charged);
extern void lg_contention_note_duration(uint64 number, int64 duration, double weight);
extern void lg_contention_reset(TimestampTz now);
extern uint64 lg_contention_folded(void);

/* contention_rows.c */
extern void lg_contention_add_row(LgRows *rows, const void *record, bool masked);
extern bool lg_contention_is_ready(const void *record, TimestampTz now);

#endif /* LG_CONTENTION_H */
