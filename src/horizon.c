/*-------------------------------------------------------------------------
 * horizon.c
 *		Who keeps dead rows from being removed.
 *
 * As ComputeXidHorizons() in core's procarray.c has it: what counts in a
 * database is the oldest xid or xmin of its own sessions and prepared
 * transactions, of walsenders and of replication slots.
 *
 * Each value is read at its own instant.  A session that holds the horizon
 * still holds it while it sits there, so for those the answer is right.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/hsearch.h"

#include "horizon.h"
#include "prepared.h"

/* What holds back the horizon: the oldest transaction, by database. */
typedef struct Horizon
{
	Oid databaseid; /* hash key */
	TransactionId oldest;
} Horizon;

static void
lower_horizon(HTAB *horizons, Oid databaseid, TransactionId xid)
{
	Horizon *horizon;
	bool found;

	if (!TransactionIdIsNormal(xid))
		return;
	horizon = hash_search(horizons, &databaseid, HASH_ENTER, &found);
	if (!found || TransactionIdPrecedes(xid, horizon->oldest))
		horizon->oldest = xid;
}

/*
 * Read the oldest xid or xmin per database, over every process, prepared
 * transaction and replication slot.  Walsenders and slots hold all databases
 * back and stand under InvalidOid.  Returns a hash table in the current memory
 * context.  ProcArrayLock is taken shared, by core's own functions.
 */
HTAB *
lg_horizon_read(void)
{
	HASHCTL ctl = {
		.keysize = sizeof(Oid), .entrysize = sizeof(Horizon), .hcxt = CurrentMemoryContext};
	HTAB *horizons =
		hash_create("pg_lifeguard horizons", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int n_procs = ProcGlobal->allProcCount;
	TransactionId slot_xmin;
	TransactionId slot_catalog_xmin;
	LgSession session;

	for (int slot = 0; slot < n_procs; slot++)
	{
		if (lg_sessions_read_one(slot, &session))
			lower_horizon(horizons,
						  session.backend_type == B_WAL_SENDER ? InvalidOid : session.databaseid,
						  lg_sessions_horizon(&session));
	}
	for (int slot = n_procs; slot < n_procs + max_prepared_xacts; slot++)
	{
		volatile PGPROC *prepared = &ProcGlobal->allProcs[slot];
		TransactionId xid = prepared->xid;

		if (lg_prepared_is_running(xid))
			lower_horizon(horizons, prepared->databaseId, xid);
	}
	ProcArrayGetReplicationSlotXmin(&slot_xmin, &slot_catalog_xmin);
	lower_horizon(horizons, InvalidOid, slot_xmin);
	return horizons;
}

/*
 * Is there nothing older than this session that keeps dead rows of its
 * database?  If several are equally old, each of them holds it.
 */
bool
lg_horizon_held_by(HTAB *horizons, const LgSession *session)
{
	TransactionId mine = lg_sessions_horizon(session);
	Oid databases[] = {session->databaseid, InvalidOid};

	if (!TransactionIdIsNormal(mine))
		return false;
	for (int i = 0; i < (int) lengthof(databases); i++)
	{
		Horizon *horizon = hash_search(horizons, &databases[i], HASH_FIND, NULL);

		if (horizon != NULL && TransactionIdPrecedes(horizon->oldest, mine))
			return false;
	}
	return true;
}
