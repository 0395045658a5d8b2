/*-------------------------------------------------------------------------
 * record_tables.c
 *		From the records in shared memory into their tables.
 *
 * One way for all kinds: a table has the columns boot and number and then those
 * that its kind adds.  A table of another layout is refused.
 *
 * Rows are written as a subscription writes them, with constraints, indexes and
 * triggers but without statements: a keeper's first statement about a table would
 * cost more than all rows that it mostly has for it.  They are written with the
 * rights of the table's owner, and only if that may write there.
 *
 * Each function does one transaction's worth; that a record is in its table the
 * caller says once that is committed.  Records may be written twice, after a
 * crash between the two or because they have changed: they have an identity.
 *
 * Locking: the table as any writer; lg_shared->records_lock as records.c says.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "members.h"
#include "record_tables.h"

#define BATCH_SIZE 100
#define IDENTITY 2 /* columns in front of those that a kind adds: boot and number */
#define RIGHTS (ACL_INSERT | ACL_UPDATE | ACL_SELECT) /* that the table's owner must have */

/* A table that is being written to. */
typedef struct Target
{
	const LgRecordType *type;
	Relation relation;
	Oid identity;				   /* the index over boot and number */
	int relation_name;			   /* its number among the columns, from 0; -1 = there is none */
	AttrNumber at[LG_MAX_COLUMNS]; /* where each of our columns is, from 0 */
	EState *estate;
	ResultRelInfo *result;
	TupleTableSlot *row;   /* to be written */
	TupleTableSlot *there; /* what is there under its identity */
} Target;

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
	uint64 number = 0;

	batch->n = 0;
	while (batch->n < BATCH_SIZE &&
		   (number = lg_records_find(batch->kind, batch->next, lg_records_is_unflushed,
									 place_of(batch, batch->n))) != 0)
	{
		batch->next = number + 1;
		if (type->ready == NULL || type->ready(place_of(batch, batch->n), now))
			batch->numbers[batch->n++] = number;
	}
	batch->last = number == 0;
}

/* Find the columns, and refuse a table whose columns are not those that the kind adds. */
static void
find_columns(Target *target)
{
	const LgRecordType *type = target->type;
	TupleDesc description = RelationGetDescr(target->relation);
	int n = 0;
	bool fits = true;

	target->relation_name = -1;
	for (int i = 0; i < description->natts && fits; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(description, i);
		Oid expected;

		if (attribute->attisdropped)
			continue;
		fits = n < IDENTITY + type->n_columns && n < LG_MAX_COLUMNS;
		if (!fits)
			break;
		expected = n == 0 ? TIMESTAMPTZOID : n == 1 ? INT8OID : type->types[n - IDENTITY];
		fits = attribute->atttypid == expected;
		if (strcmp(NameStr(attribute->attname), "relation_name") == 0)
			target->relation_name = n;
		target->at[n++] = i;
	}
	if (!fits || n != IDENTITY + type->n_columns)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"lifeguard.%s\" has other columns than this version of "
							   "pg_lifeguard writes",
							   type->table)));
}

/*
 * Find the primary key among the open indexes, and refuse a table where it is not over
 * boot and number.
 */
static void
find_identity(Target *target)
{
	const ResultRelInfo *result = target->result;

	for (int i = 0; i < result->ri_NumIndices; i++)
	{
		Form_pg_index form = result->ri_IndexRelationDescs[i]->rd_index;

		if (form->indisprimary && form->indisvalid && form->indnkeyatts == IDENTITY &&
			form->indkey.values[0] == target->at[0] + 1 &&
			form->indkey.values[1] == target->at[1] + 1)
		{
			target->identity = form->indexrelid;
			return;
		}
	}
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"lifeguard.%s\" has not the primary key that pg_lifeguard needs",
						   target->type->table)));
}

/* Get ready to write; the caller has the table locked, and its owner's rights. */
static void
open_target(Target *target, const LgRecordType *type, Oid table)
{
	target->type = type;
	target->relation = table_open(table, NoLock);
	find_columns(target);
	PreventCommandIfReadOnly("INSERT");
	if (pg_class_aclmask(table, GetUserId(), RIGHTS, ACLMASK_ALL) != RIGHTS)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(target->relation));

	target->estate = CreateExecutorState();
	target->estate->es_output_cid = GetCurrentCommandId(true);
	target->result = makeNode(ResultRelInfo);
	InitResultRelInfo(target->result, target->relation, 0, NULL, 0);
	target->estate->es_opened_result_relations =
		lappend(target->estate->es_opened_result_relations, target->result);
	ExecOpenIndices(target->result, false);
	find_identity(target);
	target->row = table_slot_create(target->relation, &target->estate->es_tupleTable);
	target->there = table_slot_create(target->relation, &target->estate->es_tupleTable);
	AfterTriggerBeginQuery();
}

static void
close_target(Target *target)
{
	AfterTriggerEndQuery(target->estate);
	ExecCloseIndices(target->result);
	ExecResetTupleTable(target->estate->es_tupleTable, false);
	FreeExecutorState(target->estate);
	table_close(target->relation, NoLock);
}

/* Put a record into the slot for it. */
static void
fill_row(Target *target, const LgRecordHead *record)
{
	TupleTableSlot *row = target->row;
	LgRows columns = {.n = 0};

	lg_rows_add_time(&columns, record->boot);
	lg_rows_add_int8(&columns, (int64) record->number);
	target->type->add_row(&columns, record, false);
	if (columns.n != IDENTITY + target->type->n_columns)
		elog(ERROR, "a record for table \"%s\" has %d columns", target->type->table, columns.n);

	ExecClearTuple(row);
	memset(row->tts_isnull, true, sizeof(bool) * row->tts_tupleDescriptor->natts);
	memset(row->tts_values, 0, sizeof(Datum) * row->tts_tupleDescriptor->natts);
	for (int i = 0; i < columns.n; i++)
	{
		row->tts_values[target->at[i]] = columns.values[i];
		row->tts_isnull[target->at[i]] = columns.nulls[i];
	}
	ExecStoreVirtualTuple(row);
}

/* A name once known stays. */
static void
keep_name(Target *target)
{
	int i = target->relation_name >= 0 ? target->at[target->relation_name] : -1;

	if (i < 0 || !target->row->tts_isnull[i])
		return;
	target->row->tts_values[i] = slot_getattr(target->there, i + 1, &target->row->tts_isnull[i]);
}

/* Look up what is there under a row's identity.  Returns false if nothing is. */
static bool
find_there(Target *target)
{
	const AttrNumber *at = target->at;
	const Datum *values = target->row->tts_values;
	ScanKeyData keys[IDENTITY];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], at[0] + 1, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, values[at[0]]);
	ScanKeyInit(&keys[1], at[1] + 1, BTEqualStrategyNumber, F_INT8EQ, values[at[1]]);
	scan = systable_beginscan(target->relation, target->identity, true, GetActiveSnapshot(),
							  IDENTITY, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		ExecForceStoreHeapTuple(tuple, target->there, false);
		target->there->tts_tid = tuple->t_self;
	}
	systable_endscan(scan);
	return HeapTupleIsValid(tuple);
}

/* Write a record over what is there under its identity, or anew. */
static void
write_one(Target *target, const LgRecordHead *record)
{
	MemoryContext caller = MemoryContextSwitchTo(GetPerTupleMemoryContext(target->estate));
	EPQState epq;

	fill_row(target, record);
	if (find_there(target))
	{
		keep_name(target);
		lg_epq_init(&epq, target->estate);
		ExecSimpleRelationUpdate(target->result, target->estate, &epq, target->there, target->row);
		EvalPlanQualEnd(&epq);
	}
	else
		ExecSimpleRelationInsert(target->result, target->estate, target->row);
	ExecClearTuple(target->row);
	ExecClearTuple(target->there);
	MemoryContextSwitchTo(caller);
	ResetPerTupleExprContext(target->estate);
}

/*
 * Fill the batch with records of its kind, behind those of the batch before, that
 * are to be written, and write them.
 * Raises an error if the table cannot be used.  Needs a snapshot.
 */
void
lg_record_tables_write(Oid extension, LgRecordBatch *batch)
{
	const LgRecordType *type = lg_records_type(batch->kind);
	Target target;

	fill(batch);
	if (batch->n == 0)
		return;

	open_target(&target, type, lg_members_use_table(extension, type->table, RowExclusiveLock));
	for (int i = 0; i < batch->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_one(&target, lg_record_tables_get(batch, i));
	}
	close_target(&target);
}
