/*-------------------------------------------------------------------------
 * rows.h
 *		Result rows, built column by column.
 *-------------------------------------------------------------------------
 */
#ifndef LG_ROWS_H
#define LG_ROWS_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "libpq/pqcomm.h"
#include "nodes/execnodes.h"

#define LG_MAX_COLUMNS 56

/* A result set under construction, and its current row. */
typedef struct LgRows
{
	ReturnSetInfo *result;
	MemoryContext context; /* of the current row */
	MemoryContext caller;
	int n; /* columns of the current row so far */
	Datum values[LG_MAX_COLUMNS];
	bool nulls[LG_MAX_COLUMNS];
} LgRows;

extern void lg_rows_begin(LgRows *rows, FunctionCallInfo fcinfo);
extern void lg_rows_begin_row(LgRows *rows);
extern void lg_rows_end_row(LgRows *rows);
extern void lg_rows_add(LgRows *rows, Datum value);
extern void lg_rows_add_null(LgRows *rows);
extern void lg_rows_add_int(LgRows *rows, int value);
extern void lg_rows_add_int8(LgRows *rows, int64 value);
extern void lg_rows_add_numeric(LgRows *rows, double value, int decimals);
extern void lg_rows_add_pid(LgRows *rows, int pid);
extern void lg_rows_add_oid(LgRows *rows, Oid value);
extern void lg_rows_add_xid(LgRows *rows, TransactionId value);
extern void lg_rows_add_text(LgRows *rows, const char *value);
extern void lg_rows_add_name(LgRows *rows, const char *value);
extern void lg_rows_add_time(LgRows *rows, TimestampTz value);
extern void lg_rows_add_span(LgRows *rows, int64 usecs);
extern void lg_rows_add_age(LgRows *rows, TimestampTz start, TimestampTz now);
extern void lg_rows_add_ints(LgRows *rows, const int *values, int n);
extern void lg_rows_add_texts(LgRows *rows, const char **values, int n);
extern void lg_rows_add_address(LgRows *rows, const SockAddr *address);
extern void lg_rows_add_port(LgRows *rows, const SockAddr *address);

#endif /* LG_ROWS_H */
