/*-------------------------------------------------------------------------
 * prepared.h
 *		Prepared transactions: read, prove, roll back.
 *-------------------------------------------------------------------------
 */
#ifndef LG_PREPARED_H
#define LG_PREPARED_H

#include "datatype/timestamp.h"
#include "ledger.h"

/* One that can be committed or rolled back by now. */
typedef struct LgPrepared
{
	int slot; /* of its PGPROC, behind allProcCount */
	TransactionId xid;
	Oid databaseid;
	Oid userid;
	TimestampTz prepared_at;
	char gid[LG_LEDGER_GID];
} LgPrepared;

/* What its PGPROC tells, to whoever is in no database. */
typedef struct LgPreparedSight
{
	TransactionId xid; /* invalid: nobody is in that slot */
	Oid databaseid;
} LgPreparedSight;

extern bool lg_prepared_is_running(TransactionId xid);
extern void lg_prepared_see(LgPreparedSight *sights);
extern LgPrepared *lg_prepared_read(Oid databaseid, int *n);
extern bool lg_prepared_roll_back(const LgPrepared *prepared, char *outcome, Size size);

#endif /* LG_PREPARED_H */
