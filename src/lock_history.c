/*-------------------------------------------------------------------------
 * lock_history.c
 *		A lock wait that is over, as columns.
 *
 * Locking: none of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h" /* get_database_name(), from 19 */

#include "lock_episodes.h"
#include "names.h"
#include "relations.h"
#include "settings.h"
#include "texts.h"

/* Three times a session; then what is awaited; then the wait. */
static const Oid types[] = {
	OIDOID,			INT4OID,	 TIMESTAMPTZOID, NAMEOID,	  NAMEOID, TEXTOID,
	INETOID,		TEXTOID,	 INT8OID,		 TEXTOID,	  TEXTOID, /* waiter */
	OIDOID,			INT4OID,	 TIMESTAMPTZOID, NAMEOID,	  NAMEOID, TEXTOID,
	INETOID,		TEXTOID,	 INT8OID,		 TEXTOID,	  TEXTOID, /* root */
	OIDOID,			INT4OID,	 TIMESTAMPTZOID, NAMEOID,	  NAMEOID, TEXTOID,
	INETOID,		TEXTOID,	 INT8OID,		 TEXTOID,	  TEXTOID, /* root at the end */
	TEXTOID,		OIDOID,		 TEXTOID,		 INT8OID,	  INT4OID, /* to tuple */
	OIDOID,			OIDOID,		 INT4OID,		 TEXTOID,	  TEXTOID, /* to held_mode */
	TIMESTAMPTZOID, INTERVALOID, INTERVALOID,	 INTERVALOID, INT4OID, /* to max_queue */
	TEXTOID,		NAMEOID,	 TEXTOID /* ended_by, database, recorded_on */
};

PG_FUNCTION_INFO_V1(pg_lifeguard_read_lock_wait_history);

static int
capacity(void)
{
	return Max(lg_max_episodes / 2, 1);
}

static const char *
end_name(LgWaitEnd end)
{
	switch (end)
	{
		case LG_WAIT_GRANTED:
			return "granted";
		case LG_WAIT_CANCELLED:
			return "cancelled";
		case LG_WAIT_GONE:
			return "gone";
		case LG_WAIT_LOCK_TIMEOUT:
			return "lock timeout";
		case LG_WAIT_DEADLOCK:
			return "deadlock";
		case LG_WAIT_POLICY:
			return "policy";
		case LG_WAIT_BY_HAND:
			return "by hand";
	}
	return "unknown";
}

static void
add_party(LgRows *rows, const LgWho *who, bool there, bool masked)
{
	if (there)
	{
		lg_who_add(rows, who, masked);
		return;
	}
	for (int i = 0; i < LG_WHO_COLUMNS; i++)
		lg_rows_add_null(rows);
}

/* relation, relation_name: as learnt in time, else as it is called here and now */
static void
add_relation(LgRows *rows, const LgWaited *waited)
{
	LgAwaitedRow row;

	memset(&row, 0, sizeof(row));
	row.databaseid = waited->lock.databaseid;
	row.relation = waited->lock.relation;
	row.uncertain = waited->lock.uncertain;
	row.n_candidates = waited->n_candidates;
	memcpy(row.candidates, waited->candidates, sizeof(Oid) * waited->n_candidates);
	lg_relations_settle(&row);

	lg_rows_add_oid(rows, row.relation);
	lg_rows_add_text(rows, OidIsValid(row.relation) ? lg_names_of(row.databaseid, row.relation)
													: lg_relations_name(&row));
}

static void
add_mode(LgRows *rows, const LgContendedLock *lock, LOCKMODE mode)
{
	lg_rows_add_text(rows, mode == NoLock ? NULL : GetLockmodeName(lock->lockmethod, mode));
}

/* locktype, relation, relation_name, page, tuple, classid, objid, objsubid, mode, held_mode */
static void
add_waited(LgRows *rows, const LgWaited *waited)
{
	const LgContendedLock *lock = &waited->lock;

	lg_rows_add_text(rows, lock->locktype <= LOCKTAG_LAST_TYPE ? LockTagTypeNames[lock->locktype]
															   : "unknown");
	add_relation(rows, waited);
	if (waited->has_block)
		lg_rows_add_int8(rows, waited->block);
	else
		lg_rows_add_null(rows);
	if (waited->has_offset)
		lg_rows_add_int(rows, waited->offset);
	else
		lg_rows_add_null(rows);
	if (lock->locktype == LOCKTAG_OBJECT || lock->locktype == LOCKTAG_USERLOCK ||
		lock->locktype == LOCKTAG_ADVISORY)
	{
		/* either half of a key may be 0 */
		lg_rows_add(rows, ObjectIdGetDatum(waited->classid));
		lg_rows_add(rows, ObjectIdGetDatum(waited->objid));
		lg_rows_add_int(rows, waited->objsubid);
	}
	else
	{
		for (int i = 0; i < 3; i++)
			lg_rows_add_null(rows);
	}
	add_mode(rows, lock, lock->mode);
	add_mode(rows, lock, lock->held_mode);
}

/* The columns of lifeguard.lock_wait_entries, without boot and number. */
static void
add_row(LgRows *rows, const void *data, bool masked)
{
	const LgLockWaitRecord *record = data;

	add_party(rows, &record->waiter, true, masked);
	add_party(rows, &record->root, record->has_root, masked);
	add_party(rows, &record->root_at_end, record->has_root_at_end, masked);
	add_waited(rows, &record->waited);
	lg_rows_add_time(rows, record->wait_start);
	lg_rows_add_span(rows, record->duration);
	lg_rows_add_span(rows, record->precision);
	lg_rows_add_span(rows, record->estimated);
	lg_rows_add_int(rows, record->max_queue);
	lg_rows_add_text(rows, end_name(record->end));
	lg_who_add_database(rows, record->waited.lock.databaseid);
	lg_rows_add_text(rows, record->standby ? "standby" : "primary");
}

/* Is the relation's name known, or waited for in vain? */
static bool
ready(const void *data, TimestampTz now)
{
	const LgLockWaitRecord *record = data;
	const LgContendedLock *lock = &record->waited.lock;

	return lg_names_settled(lock->databaseid, lock->relation, record->recorded_at, now);
}

const LgRecordType lg_lock_wait_type = {.table = "lock_wait_entries",
										.time = "wait_start",
										.end = "COALESCE(o.wait_start + o.duration, o.wait_start)",
										.size = sizeof(LgLockWaitRecord),
										.capacity = capacity,
										.n_columns = lengthof(types),
										.types = types,
										.add_row = add_row,
										.ready = ready};

/*
 * lifeguard.read_lock_wait_history(): the lock waits that are in shared memory,
 * oldest first.
 */
Datum
pg_lifeguard_read_lock_wait_history(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_LOCK_WAITS);
}
