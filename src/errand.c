/*-------------------------------------------------------------------------
 * errand.c
 *		Short-lived workers that the collector sends to a database.
 *
 * The keeper and the visitor go the same way: the collector, bound to no
 * database, looks the database up, asks the postmaster for a worker, is told
 * when that ends, and tells it to end if it stays too long.
 *
 * Locking: pg_database, only if it can be locked at once.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/timeout.h"

#include "clock.h"
#include "compat.h"
#include "errand.h"

/*
 * Ask the postmaster for a worker in that database, which runs a function of
 * this library with the database's OID as its argument.  Returns false if no
 * worker slot is free; the log says so once, until one is, and what does not
 * happen meanwhile.  The caller is told by its latch when it starts and ends.
 */
bool
lg_errand_send(LgErrand *errand, const char *function, const char *role, const char *meanwhile,
			   Oid databaseid, int64 now)
{
	BackgroundWorker worker;
	MemoryContext caller;
	bool sent;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION | LG_WORKER_INTERRUPTIBLE;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = ObjectIdGetDatum(databaseid);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "pg_lifeguard", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_lifeguard %s", role);
	strlcpy(worker.bgw_type, worker.bgw_name, BGW_MAXLEN);

	caller = MemoryContextSwitchTo(TopMemoryContext);
	sent = RegisterDynamicBackgroundWorker(&worker, &errand->handle);
	MemoryContextSwitchTo(caller);
	if (!sent)
	{
		errand->handle = NULL;
		if (!errand->said_no_slot)
			ereport(LOG,
					(errmsg("could not start the %s of pg_lifeguard: %s", role, LG_NO_WORKER_SLOT),
					 errhint("Raise \"max_worker_processes\". Until then %s.", meanwhile)));
		errand->said_no_slot = true;
		return false;
	}
	errand->said_no_slot = false;
	errand->told_to_end = false;
	errand->sent_at = now;
	return true;
}

/*
 * Is the one that was sent still under way?  One that stays too long is told to
 * end.  Of one that has ended nothing is kept.
 */
bool
lg_errand_is_under_way(LgErrand *errand, int64 now)
{
	pid_t pid;

	if (errand->handle == NULL)
		return false;
	switch (GetBackgroundWorkerPid(errand->handle, &pid))
	{
		case BGWH_STARTED:
		case BGWH_NOT_YET_STARTED:
			if (now - errand->sent_at > LG_LONGEST_PATIENCE && !errand->told_to_end)
			{
				TerminateBackgroundWorker(errand->handle);
				errand->told_to_end = true;
			}
			return true;
		case BGWH_STOPPED:
		case BGWH_POSTMASTER_DIED:
			break;
	}
	pfree(errand->handle);
	errand->handle = NULL;
	return false;
}

/*
 * Look up a database by one of its indexed columns; *databaseid is invalid if
 * there is none.  Without a database of our own the index can be used only if
 * the server's cache file had it.  Needs a transaction.  False if that could not
 * be done at once.
 */
bool
lg_errand_look_up(Oid index, AttrNumber column, RegProcedure equals, Datum value, Oid *databaseid,
				  bool *allows)
{
	Relation databases;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;

	*databaseid = InvalidOid;
	*allows = false;
	if (!ConditionalLockRelationOid(DatabaseRelationId, AccessShareLock) ||
		(criticalSharedRelcachesBuilt && !ConditionalLockRelationOid(index, AccessShareLock)))
		return false;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, equals, value);
	databases = table_open(DatabaseRelationId, NoLock);
	scan = systable_beginscan(databases, index, criticalSharedRelcachesBuilt, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		*databaseid = ((Form_pg_database) GETSTRUCT(tuple))->oid;
		/* below -1: an interrupted DROP DATABASE has left it invalid, for whoever wants to connect */
		*allows = ((Form_pg_database) GETSTRUCT(tuple))->datallowconn &&
				  ((Form_pg_database) GETSTRUCT(tuple))->datconnlimit >= -1;
	}
	systable_endscan(scan);
	table_close(databases, NoLock);
	return true;
}

/*
 * In the worker, once it has its database: settings of that database or its
 * roles must not change what its statements mean or do, nor with whose rights (a
 * database's owner can set role and session_authorization for it, too), and it
 * stays no longer than LG_LONGEST_STAY.
 */
void
lg_errand_settle_in(const char *lock_timeout)
{
	const char *const settings[][2] = {{"role", "none"},
									   {"search_path", "pg_catalog, pg_temp"},
									   {"lock_timeout", lock_timeout},
									   {"synchronous_commit", "local"},
									   {"default_transaction_read_only", "off"},
									   {"default_transaction_isolation", "read committed"},
									   {"row_security", "off"},
									   {"session_replication_role", "origin"},
									   {"transaction_timeout", "0"},
									   {"datestyle", "ISO"},
									   {"intervalstyle", "postgres"},
									   {"quote_all_identifiers", "off"},
									   {"exit_on_error", "off"},
									   {"max_parallel_workers_per_gather", "0"},
									   {"jit", "off"}};

	SetSessionAuthorization(BOOTSTRAP_SUPERUSERID, true);
	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		/* not every version has each */
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
	enable_timeout_after(STATEMENT_TIMEOUT, LG_LONGEST_STAY);
}
