/*-------------------------------------------------------------------------
 * retention.c
 *		How long rows stay in the tables, and how many.
 *
 * The oldest rows are deleted in small batches; vacuum makes their room free for
 * new ones.  A table seldom becomes smaller by that, and as long as somebody
 * reads with an old snapshot not even room becomes free.  So the size of a
 * table says when to look, but how much goes is decided by the rows that are
 * there: what is dead already is not paid for twice with rows that are not.  And
 * when a table has grown far beyond its limit all the same, because its dead
 * rows cannot be removed, nothing more is written to it.
 *
 * Locking: the table as any writer; no row that somebody else has locked.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "members.h"
#include "retention.h"
#include "settings.h"

#define MEGABYTE INT64CONST(1048576)
#define SAMPLE_PAGES 2000 /* looked at to learn how many rows there are */
#define ROW_OVERHEAD 12	  /* bytes in the table: line pointer and alignment */
#define INDEX_OVERHEAD 60 /* in both indexes */
#define FILL 0.9		  /* of a page */
#define TARGET 0.9		  /* of the limit, that living rows may take */
#define SLACK (8 * MEGABYTE)

/*
 * Days that rows stay; 0 = for ever.
 */
int
lg_retention_days(const LgRecordType *type)
{
	return type->retention != NULL ? *type->retention : lg_history_retention;
}

/*
 * Bytes that the table may take; 0 = as many as it likes.
 */
int64
lg_retention_limit(const LgRecordType *type)
{
	return (type->max_size != NULL ? *type->max_size : lg_history_max_size) * MEGABYTE;
}

/* The numbers, at most three, that a query returns in its one row. */
static void
ask(const char *sql, int n, Oid *types, Datum *values, double *answers, int n_answers)
{
	if (SPI_execute_with_args(sql, n, types, values, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not measure a table");
	for (int i = 0; i < n_answers; i++)
	{
		bool isnull;
		Datum answer = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &isnull);

		answers[i] = isnull ? 0 : DatumGetFloat8(answer);
	}
}

/*
 * Measure a table.  Cheap while it is within its limit; else some of its pages
 * are read.  Raises an error if it cannot be used.  Needs SPI and a snapshot.
 */
LgTableSize
lg_retention_measure(Oid extension, const LgRecordType *type)
{
	Oid table = lg_members_use_table(extension, type->table, RowExclusiveLock);
	double limit = (double) lg_retention_limit(type);
	Oid oid = OIDOID;
	Oid float8 = FLOAT8OID;
	Datum value = ObjectIdGetDatum(table);
	double size[3];	  /* in bytes, and of that in pages of the table; dead rows */
	double sample[2]; /* rows, bytes */
	double percent;
	double row_size;
	double rows;
	char *sql;

	ask("SELECT pg_catalog.pg_total_relation_size($1)::float8,"
		" pg_catalog.pg_relation_size($1)::float8 / "
		"pg_catalog.current_setting('block_size')::float8,"
		" pg_catalog.pg_stat_get_dead_tuples($1)::float8",
		1, &oid, &value, size, 3);
	if (limit == 0 || size[0] <= limit)
		return (LgTableSize){0};

	percent = Min(100.0, 100.0 * SAMPLE_PAGES / Max(size[1], 1));
	value = Float8GetDatum(percent);
	sql = psprintf("SELECT count(*)::float8, sum(pg_catalog.pg_column_size(e.*))::float8 "
				   "FROM ONLY lifeguard.%s e TABLESAMPLE SYSTEM ($1)",
				   type->table);
	ask(sql, 1, &float8, &value, sample, 2);
	row_size = (sample[1] / Max(sample[0], 1) + ROW_OVERHEAD) / FILL + INDEX_OVERHEAD;
	rows = sample[0] * 100.0 / percent;

	return (LgTableSize){.excess = (int64) Max(rows - TARGET * limit / row_size, 0),
						 .full = size[0] > limit + Max(limit / 4, SLACK) &&
								 (rows + size[2]) * row_size > limit};
}

/*
 * Delete the oldest rows, at most LG_PURGE_SIZE and at most so many, that were over
 * before that time, but none that somebody has locked.  Returns how many.
 * Raises an error if the table cannot be used.  Needs SPI and a snapshot.
 *
 * They are found by when they began, which has an index.  What had begun by then but
 * was not over is passed by: no more than one row of each session there was.
 */
int64
lg_retention_delete(Oid extension, const LgRecordType *type, TimestampTz before, int64 most)
{
	Oid types[] = {TIMESTAMPTZOID, INT8OID};
	Datum values[] = {TimestampTzGetDatum(before), Int64GetDatum(Min(most, LG_PURGE_SIZE))};
	char *over = type->end != NULL ? psprintf(" AND %s < $1", type->end) : "";
	char *sql = psprintf("DELETE FROM ONLY lifeguard.%s e WHERE e.ctid = ANY (ARRAY("
						 "SELECT o.ctid FROM ONLY lifeguard.%s o WHERE o.%s < $1%s "
						 "ORDER BY o.%s LIMIT $2 FOR UPDATE SKIP LOCKED))",
						 type->table, type->table, type->time, over, type->time);

	lg_members_use_table(extension, type->table, RowExclusiveLock);
	if (SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete old rows");
	return (int64) SPI_processed;
}
