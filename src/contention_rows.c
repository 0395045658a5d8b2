/*-------------------------------------------------------------------------
 * contention_rows.c
 *		A record of contention as the columns of a row: for views, and for its table.
 *
 * Locking: none of ours; names and conversions are looked up in the system caches,
 * so a transaction and a database are needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h" /* get_database_name(), from 19 */
#include "utils/numeric.h"

#include "contention.h"
#include "names.h"
#include "rights.h"
#include "texts.h"

/* NULL for NULL */
static void
add_name(LgRows *rows, char *name)
{
	if (name != NULL)
		lg_rows_add_name(rows, lg_texts_valid_here(name));
	else
		lg_rows_add_null(rows);
}

/* datname, relation, relation_name, locktype, mode, held_mode */
static void
add_lock(LgRows *rows, const LgContendedLock *lock)
{
	bool method = lock->lockmethod == DEFAULT_LOCKMETHOD || lock->lockmethod == USER_LOCKMETHOD;

	add_name(rows, OidIsValid(lock->databaseid) ? get_database_name(lock->databaseid) : NULL);
	lg_rows_add_oid(rows, lock->relation);
	lg_rows_add_text(rows,
					 lock->uncertain ? "uncertain" : lg_names_of(lock->databaseid, lock->relation));
	lg_rows_add_text(rows, lock->locktype <= LOCKTAG_LAST_TYPE ? LockTagTypeNames[lock->locktype]
															   : "unknown");
	lg_rows_add_text(rows, method ? GetLockmodeName(lock->lockmethod, lock->mode) : NULL);
	lg_rows_add_text(rows, method && lock->held_mode != NoLock
							   ? GetLockmodeName(lock->lockmethod, lock->held_mode)
							   : NULL);
}

/* usesysid, application_name, usename, query_id, query */
static void
add_party(LgRows *rows, const LgContentionParty *party, bool masked)
{
	bool may_see = !masked || lg_rights_may_see(party->userid);

	lg_rows_add_oid(rows, party->userid);
	lg_rows_add_text(rows, party->application_name[0] != '\0'
							   ? lg_texts_to_local(party->application_name, party->databaseid)
							   : NULL);
	add_name(rows, OidIsValid(party->userid) ? GetUserNameFromId(party->userid, true) : NULL);
	if (may_see && party->query_id != 0)
		lg_rows_add_int8(rows, party->query_id);
	else
		lg_rows_add_null(rows);
	lg_rows_add_text(rows, may_see && party->query[0] != '\0'
							   ? lg_texts_to_local(party->query, party->databaseid)
							   : NULL);
}

/* The buckets, up to the last that holds anything. */
static void
add_histogram(LgRows *rows, const LgHistogram *histogram)
{
	Datum datums[LG_HISTOGRAM_BUCKETS];
	int n = LG_HISTOGRAM_BUCKETS;

	while (n > 0 && histogram->weights[n - 1] == 0)
		n--;
	for (int i = 0; i < n; i++)
		datums[i] = Float4GetDatum(histogram->weights[i]);
	lg_rows_add(rows, PointerGetDatum(construct_array(datums, n, FLOAT4OID, sizeof(float4), true,
													  TYPALIGN_INT)));
}

/* top_rows, top_row_seconds */
static void
add_rows(LgRows *rows, const LgContentionRecord *record)
{
	const char *texts[LG_CONTENTION_ROWS];
	Datum seconds[LG_CONTENTION_ROWS];

	for (int i = 0; i < record->n_rows; i++)
	{
		texts[i] = psprintf("(%u,%u)", record->rows[i].block, record->rows[i].offset);
		seconds[i] = Float8GetDatum((double) record->rows[i].charged / USECS_PER_SEC);
	}
	lg_rows_add_texts(rows, texts, record->n_rows);
	lg_rows_add(rows,
				PointerGetDatum(construct_array(seconds, record->n_rows, FLOAT8OID, sizeof(float8),
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
}

static void
add_seconds(LgRows *rows, int64 usecs)
{
	lg_rows_add(rows, NumericGetDatum(int64_div_fast_to_numeric(usecs, 6)));
}

/*
 * Add the columns of contention_entries behind boot and number.  masked: statements
 * that pg_stat_activity hides from the current user are NULL, so that whoever sums by
 * them sums over all such.  Needs a transaction.
 */
void
lg_contention_add_row(LgRows *rows, const void *data, bool masked)
{
	const LgContentionRecord *record = data;

	lg_rows_add_time(rows, record->minute);
	if (record->everything_else)
	{
		for (int i = 0; i < 6; i++)
			lg_rows_add_null(rows);
	}
	else
		add_lock(rows, &record->lock);
	add_party(rows, &record->root, masked);
	add_party(rows, &record->waiter, masked);
	lg_rows_add_int8(rows, (int64) (record->waits + 0.5));
	lg_rows_add_int8(rows, record->waits_seen);
	add_seconds(rows, record->seen);
	add_seconds(rows, record->estimated);
	add_histogram(rows, &record->histogram);
	lg_rows_add_span(rows, record->longest);
	add_rows(rows, record);
	lg_rows_add_text(rows, record->standby ? "standby" : "primary");
}

/*
 * May it be written?  For some seconds not before the name of its relation is known,
 * unless whoever writes can look that up.
 */
bool
lg_contention_is_ready(const void *data, TimestampTz now)
{
	const LgContentionRecord *record = data;

	return record->lock.uncertain ||
		   lg_names_settled(record->lock.databaseid, record->lock.relation, record->created_at,
							now);
}
