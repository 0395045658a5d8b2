/*-------------------------------------------------------------------------
 * record_tables.c
 *		From the records in shared memory into their tables.
 *
 * One way for all kinds: a table has the columns boot and number and then those
 * that its kind adds; what they are called is read from the catalog.  A table
 * of another layout is refused.
 *
 * Each function does one transaction's worth; that a record is in its table the
 * caller says once that is committed.  Records may be written twice, after a
 * crash between the two or because they have changed: they have an identity.
 *
 * Locking: the table as any writer; lg_shared->records_lock as records.c says.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "members.h"
#include "record_tables.h"

#define BATCH_SIZE 100
#define IDENTITY 2 /* columns in front of those that a kind adds: boot and number */

/* A table's columns, in order. */
typedef struct Columns
{
	int n;
	char *names[LG_MAX_COLUMNS];
	Oid types[LG_MAX_COLUMNS];
} Columns;

/*
 * Room for a batch of any kind, in the current memory context.
 */
LgRecordBatch *
lg_record_tables_new_batch(void)
{
	LgRecordBatch *batch = palloc0(sizeof(LgRecordBatch));
	int largest = 0;

	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
		largest = Max(largest, lg_records_type(kind)->size);
	batch->numbers = palloc(sizeof(uint64) * BATCH_SIZE);
	batch->records = palloc((Size) BATCH_SIZE * largest);
	return batch;
}

static char *
place_of(const LgRecordBatch *batch, int i)
{
	return batch->records + (Size) i * lg_records_type(batch->kind)->size;
}

/*
 * The record at that place in the batch.
 */
const LgRecordHead *
lg_record_tables_get(const LgRecordBatch *batch, int i)
{
	return (const LgRecordHead *) place_of(batch, i);
}

/* The next records that are to be written and ready for it. */
static void
fill(LgRecordBatch *batch)
{
	const LgRecordType *type = lg_records_type(batch->kind);
	TimestampTz now = GetCurrentTimestamp();
	uint64 number;

	batch->n = 0;
	while (batch->n < BATCH_SIZE &&
		   (number = lg_records_find(batch->kind, batch->next, lg_records_is_unflushed,
									 place_of(batch, batch->n))) != 0)
	{
		batch->next = number + 1;
		if (type->ready == NULL || type->ready(place_of(batch, batch->n), now))
			batch->numbers[batch->n++] = number;
	}
}

/* What the table's columns are; the caller has it locked. */
static void
read_columns(Oid table, Columns *columns)
{
	Relation relation = table_open(table, NoLock);
	TupleDesc description = RelationGetDescr(relation);

	columns->n = 0;
	for (int i = 0; i < description->natts && columns->n < LG_MAX_COLUMNS; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(description, i);

		if (attribute->attisdropped)
			continue;
		columns->names[columns->n] = pstrdup(NameStr(attribute->attname));
		columns->types[columns->n++] = attribute->atttypid;
	}
	table_close(relation, NoLock);
}

/* Refuse a table whose columns are not those that the kind adds. */
static void
check_columns(const LgRecordType *type, const Columns *columns)
{
	bool fits = columns->n == IDENTITY + type->n_columns;

	for (int i = 0; fits && i < columns->n; i++)
	{
		Oid expected = i == 0 ? TIMESTAMPTZOID : i == 1 ? INT8OID : type->types[i - IDENTITY];

		fits = columns->types[i] == expected;
	}
	if (!fits)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"lifeguard.%s\" has other columns than this version of "
							   "pg_lifeguard writes",
							   type->table)));
}

/* The statement that writes one record; a name once known stays. */
static SPIPlanPtr
prepare(const LgRecordType *type, Columns *columns)
{
	StringInfoData sql;
	SPIPlanPtr plan;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO lifeguard.%s AS e (", type->table);
	for (int i = 0; i < columns->n; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_identifier(columns->names[i]));
	appendStringInfoString(&sql, ") VALUES (");
	for (int i = 0; i < columns->n; i++)
		appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(&sql, ") ON CONFLICT (boot, number) DO UPDATE SET ");
	for (int i = IDENTITY; i < columns->n; i++)
	{
		const char *name = quote_identifier(columns->names[i]);

		appendStringInfo(&sql,
						 strcmp(name, "relation_name") == 0 ? "%s%s = coalesce(excluded.%s, e.%s)"
															: "%s%s = excluded.%s",
						 i > IDENTITY ? ", " : "", name, name, name);
	}
	plan = SPI_prepare(sql.data, columns->n, columns->types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare to write records");
	return plan;
}

static void
write_one(SPIPlanPtr plan, const LgRecordType *type, const LgRecordHead *record)
{
	LgRows row = {.n = 0};
	char nulls[LG_MAX_COLUMNS + 1];

	lg_rows_add_time(&row, record->boot);
	lg_rows_add_int8(&row, (int64) record->number);
	type->add_row(&row, record, false);
	if (row.n != IDENTITY + type->n_columns)
		elog(ERROR, "a record for table \"%s\" has %d columns", type->table, row.n);
	for (int i = 0; i < row.n; i++)
		nulls[i] = row.nulls[i] ? 'n' : ' ';
	nulls[row.n] = '\0';
	if (SPI_execute_plan(plan, row.values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write a record");
}

/*
 * Fill the batch with records of its kind, behind those of the batch before, that
 * are to be written, and write them.  An empty one means that there are none.
 * Raises an error if the table cannot be used.  Needs SPI and a snapshot.
 */
void
lg_record_tables_write(Oid extension, LgRecordBatch *batch)
{
	const LgRecordType *type = lg_records_type(batch->kind);
	static SPIPlanPtr plans[LG_RECORD_KINDS]; /* for as long as the process lives */
	SPIPlanPtr *plan = &plans[batch->kind];
	Columns columns;

	fill(batch);
	if (batch->n == 0)
		return;

	read_columns(lg_members_use_table(extension, type->table, RowExclusiveLock), &columns);
	check_columns(type, &columns);
	if (*plan == NULL)
		*plan = prepare(type, &columns);
	for (int i = 0; i < batch->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_one(*plan, type, lg_record_tables_get(batch, i));
	}
}
