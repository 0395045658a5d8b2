/*-------------------------------------------------------------------------
 * records.h
 *		Records of what happened: rings in shared memory whose content reaches
 *		tables of the home database.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RECORDS_H
#define LG_RECORDS_H

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "ring.h"
#include "rows.h"

/*
 * What every record begins with; filled in by lg_records_add().  boot and number
 * together tell a record from all others of its kind, those before a restart
 * included.
 */
typedef struct LgRecordHead
{
	TimestampTz boot; /* lg_shared->created_at */
	uint64 number;	  /* in the ring */
	uint32 revision;  /* counts its changes, from 1 */
	uint32 flushed;	  /* the revision last written to the table; 0 = none */
	bool due;		  /* it may be written; until then only a clean stop keeps it */
} LgRecordHead;

typedef enum LgRecordKind
{
	LG_LEDGER, /* the ledger's entries */
	LG_LOCK_WAITS,
	LG_IDLE_TRANSACTIONS,
	LG_CONTENTION,
	LG_CONNECTIONS, /* per minute */
	LG_USAGE,		/* per minute and group */
	LG_LOAD,		/* per minute and wait event */
	LG_INCIDENTS,
	LG_REFUSALS,
	LG_SNAPSHOTS,	/* of who held the connections */
	LG_RECORD_KINDS /* how many there are */
} LgRecordKind;

/*
 * What a kind is.  Its table has the columns boot, number and those that add_row
 * adds, in that order; so has the function that reads its ring.
 */
typedef struct LgRecordType
{
	const char *table; /* in schema lifeguard */
	const char *time;  /* the column that says when it was, or began; it has an index */
	const char *end;   /* when a row o is over, which retention goes by; NULL = at that time */
	int size;		   /* of a record, in bytes */
	int (*capacity)(void);
	int n_columns;	  /* that add_row adds */
	const Oid *types; /* of those */

	/*
	 * Adds the columns.  masked: those that pg_stat_activity hides from the current
	 * user are NULL (or say so); the keeper asks for all.
	 */
	void (*add_row)(LgRows *rows, const void *record, bool masked);

	/* May it be written now?  NULL = whenever it is due. */
	bool (*ready)(const void *record, TimestampTz now);

	/* Days until rows are deleted, and MB beyond which they are; 0 = never; NULL = as histories. */
	const int *retention;
	const int *max_size;
} LgRecordType;

extern const LgRecordType *lg_records_type(LgRecordKind kind);
extern Size lg_records_size(void);
extern void lg_records_init(char *memory);
extern uint64 lg_records_add(LgRecordKind kind, const void *record, bool due);
extern void *lg_records_begin_change(LgRecordKind kind, uint64 number, bool due);
extern void *lg_records_begin_note(LgRecordKind kind, uint64 number);
extern void lg_records_end_change(void);
extern bool lg_records_copy(LgRecordKind kind, uint64 number, void *record);
extern void lg_records_bounds(LgRecordKind kind, uint64 *first, uint64 *last);
extern bool lg_records_is_unflushed(const void *record);
extern uint64 lg_records_find(LgRecordKind kind, uint64 from, bool (*test)(const void *record),
							  void *record);
extern void lg_records_mark_flushed(LgRecordKind kind, uint64 number, uint32 revision);
extern int lg_records_unflushed(void);
extern void lg_records_count(LgRecordKind kind, int *unflushed, uint64 *lost);
extern void lg_records_restore(LgRecordKind kind, const void *record);
extern void lg_records_forget(void);
extern Datum lg_records_read(FunctionCallInfo fcinfo, LgRecordKind kind);

#endif /* LG_RECORDS_H */
