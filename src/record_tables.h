/*-------------------------------------------------------------------------
 * record_tables.h
 *		From the records in shared memory into their tables.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RECORD_TABLES_H
#define LG_RECORD_TABLES_H

#include "records.h"

/* Records of one kind on their way into its table. */
typedef struct LgRecordBatch
{
	LgRecordKind kind;
	uint64 next; /* to be written: none before this, in the ring */
	bool last;	 /* there were no more */
	int n;
	uint64 *numbers; /* in the ring */
	char *records;	 /* one behind the other */
} LgRecordBatch;

extern LgRecordBatch *lg_record_tables_new_batch(void);
extern const LgRecordHead *lg_record_tables_get(const LgRecordBatch *batch, int i);
extern void lg_record_tables_write(Oid extension, LgRecordBatch *batch);

#endif /* LG_RECORD_TABLES_H */
