/*-------------------------------------------------------------------------
 * contention_functions.c
 *		SQL-callable functions over contention, and over what explains it.
 *
 * What explains it is read from the table itself, which may be locked by the very
 * session that everybody waits for: no lock is waited for here, and what cannot be
 * had at once is NULL.
 *
 * Locking: AccessShareLock on a table and its TOAST table, if they can be had at
 * once, given back before the functions return; one buffer at a time.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "contention.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_read_contention);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_row_widths);

#define MOST_ROWS 8		/* looked for in one call */
#define SAMPLE_BLOCKS 4 /* of a table, for the average width of its rows */
#define SAMPLE_ROWS 64	/* of each of them, at most */

/*
 * lifeguard.read_contention(): the records in shared memory, masked.
 */
Datum
pg_lifeguard_read_contention(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_CONTENTION);
}

/*
 * Open a relation that is there, may be read in place and can be locked at once; else
 * NULL.  To be closed with the lock.
 */
static Relation
open_at_once(Oid relid)
{
	Relation relation;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return NULL;
	relation = try_relation_open(relid, NoLock);
	if (relation == NULL)
	{
		UnlockRelationOid(relid, AccessShareLock);
		return NULL;
	}
	if ((relation->rd_rel->relkind == RELKIND_RELATION ||
		 relation->rd_rel->relkind == RELKIND_TOASTVALUE) &&
		relation->rd_rel->relam == HEAP_TABLE_AM_OID && !RELATION_IS_OTHER_TEMP(relation) &&
		(RelationIsPermanent(relation) || !RecoveryInProgress()))
		return relation;
	relation_close(relation, AccessShareLock);
	return NULL;
}

/* Bytes of a row as it is stored, with what TOAST holds of it; nothing is fetched. */
static int64
row_width(HeapTuple tuple, TupleDesc desc)
{
	Datum *values = palloc(sizeof(Datum) * desc->natts);
	bool *nulls = palloc(sizeof(bool) * desc->natts);
	int64 width = tuple->t_len;

	heap_deform_tuple(tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		struct varatt_external pointer;

		if (nulls[i] || TupleDescAttr(desc, i)->attlen != -1 ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(values[i])))
			continue;
		VARATT_EXTERNAL_GET_POINTER(pointer, DatumGetPointer(values[i]));
		width += VARATT_EXTERNAL_GET_EXTSIZE(pointer);
	}
	pfree(values);
	pfree(nulls);
	return width;
}

/*
 * Copy the visible row at that place; if there is none (any more), the one of its
 * block that was updated last, for a row that is updated in place of itself (HOT)
 * stays in its block.  NULL if there is none either.
 */
static HeapTuple
fetch_row(Relation table, BlockNumber block, OffsetNumber offset, Snapshot snapshot)
{
	Buffer buffer;
	Page page;
	OffsetNumber last;
	HeapTupleData best = {.t_data = NULL};
	HeapTuple copy = NULL;

	if (block >= RelationGetNumberOfBlocks(table))
		return NULL;
	buffer = ReadBuffer(table, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	last = PageGetMaxOffsetNumber(page);
	for (OffsetNumber i = FirstOffsetNumber; i <= last; i++)
	{
		ItemId item = PageGetItemId(page, i);
		HeapTupleData tuple;

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(table);
		ItemPointerSet(&tuple.t_self, block, i);
		if (!HeapTupleSatisfiesVisibility(&tuple, snapshot, buffer))
			continue;
		if (i == offset)
		{
			best = tuple;
			break;
		}
		if ((tuple.t_data->t_infomask & HEAP_UPDATED) == 0)
			continue;
		if (best.t_data == NULL || TransactionIdFollows(HeapTupleHeaderGetXmin(tuple.t_data),
														HeapTupleHeaderGetXmin(best.t_data)))
			best = tuple;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	/* as long as the buffer is pinned, what is visible stays where it is */
	if (best.t_data != NULL)
		copy = heap_copytuple(&best);
	ReleaseBuffer(buffer);
	return copy;
}

/* Add up the widths of some visible rows of a block; returns how many they are. */
static int
add_widths(Relation table, BlockNumber block, Snapshot snapshot, int64 *sum)
{
	Buffer buffer = ReadBuffer(table, block);
	Page page = BufferGetPage(buffer);
	HeapTupleData rows[SAMPLE_ROWS];
	OffsetNumber last;
	int n = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageGetMaxOffsetNumber(page);
	for (OffsetNumber i = FirstOffsetNumber; i <= last && n < SAMPLE_ROWS; i++)
	{
		ItemId item = PageGetItemId(page, i);

		if (!ItemIdIsNormal(item))
			continue;
		rows[n].t_data = (HeapTupleHeader) PageGetItem(page, item);
		rows[n].t_len = ItemIdGetLength(item);
		rows[n].t_tableOid = RelationGetRelid(table);
		ItemPointerSet(&rows[n].t_self, block, i);
		if (HeapTupleSatisfiesVisibility(&rows[n], snapshot, buffer))
			n++;
	}
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);

	/* as long as the buffer is pinned, what is visible stays where it is */
	for (int i = 0; i < n; i++)
		*sum += row_width(&rows[i], RelationGetDescr(table));
	ReleaseBuffer(buffer);
	return n;
}

/*
 * How wide rows are, by those in a few blocks; -1 if none is there.  Size over rows
 * would take free space and dead rows for width: a counter alone in its table for 8 kB.
 */
static int64
average_row(Relation table)
{
	Snapshot snapshot = GetActiveSnapshot();
	BlockNumber blocks = RelationGetNumberOfBlocks(table);
	int looked_at = (int) Min(blocks, SAMPLE_BLOCKS);
	int64 sum = 0;
	int n = 0;

	for (int i = 0; i < looked_at; i++)
	{
		CHECK_FOR_INTERRUPTS();
		n += add_widths(table, (BlockNumber) ((uint64) blocks * i / looked_at), snapshot, &sum);
	}
	return n > 0 ? sum / n : -1;
}

/* The width of the widest of those rows; -1 if none is there. */
static int64
widest_row(Relation table, ArrayType *rows)
{
	Snapshot snapshot = GetActiveSnapshot();
	Datum *texts;
	bool *nulls;
	int n;
	int64 widest = -1;

	deconstruct_array(rows, TEXTOID, -1, false, TYPALIGN_INT, &texts, &nulls, &n);
	for (int i = 0; i < Min(n, MOST_ROWS); i++)
	{
		unsigned int block;
		unsigned int offset;
		HeapTuple tuple;

		CHECK_FOR_INTERRUPTS();
		if (nulls[i] || sscanf(TextDatumGetCString(texts[i]), "(%u,%u)", &block, &offset) != 2 ||
			offset == InvalidOffsetNumber || offset > MaxOffsetNumber)
			continue;
		tuple = fetch_row(table, block, (OffsetNumber) offset, snapshot);
		if (tuple != NULL)
		{
			widest = Max(widest, row_width(tuple, RelationGetDescr(table)));
			heap_freetuple(tuple);
		}
	}
	return widest;
}

/* May the caller read all of the table? */
static bool
may_read(Oid relid)
{
	bool missing = false;

	return pg_class_aclcheck_ext(relid, GetUserId(), ACL_SELECT, &missing) == ACLCHECK_OK &&
		   !missing && check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED;
}

/*
 * lifeguard.read_row_widths(relation, rows): how wide the rows of a table are on average,
 * and the widest of some, given as "(block,offset)".  NULL where there is no such
 * table, where it is locked, or where the caller may not read it.  Waits for no lock and
 * raises no error for a table that is gone.
 */
Datum
pg_lifeguard_read_row_widths(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	Relation table = open_at_once(relid);
	int64 average = -1;
	int64 width = -1;
	TupleDesc desc;
	Datum values[2];
	bool nulls[2];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != 2)
		elog(ERROR, "return type must be a row type of two columns");
	if (table != NULL)
	{
		if (table->rd_rel->relkind == RELKIND_RELATION && may_read(relid))
		{
			average = average_row(table);
			width = widest_row(table, PG_GETARG_ARRAYTYPE_P(1));
		}
		relation_close(table, AccessShareLock);
	}
	values[0] = Int64GetDatum(average);
	nulls[0] = average < 0;
	values[1] = Int64GetDatum(width);
	nulls[1] = width < 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
