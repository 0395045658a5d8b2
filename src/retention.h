/*-------------------------------------------------------------------------
 * retention.h
 *		How long rows stay in the tables, and how many.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RETENTION_H
#define LG_RETENTION_H

#include "records.h"

#define LG_PURGE_SIZE 1000 /* rows deleted in one transaction */

/* What is to be said of a table's size. */
typedef struct LgTableSize
{
	int64 excess; /* so many of the oldest rows have to go */
	bool full;	  /* nothing more may be written */
} LgTableSize;

extern int lg_retention_days(const LgRecordType *type);
extern int64 lg_retention_limit(const LgRecordType *type);
extern LgTableSize lg_retention_measure(Oid extension, const LgRecordType *type);
extern int64 lg_retention_delete(Oid extension, const LgRecordType *type, TimestampTz before,
								 int64 most);

#endif /* LG_RETENTION_H */
