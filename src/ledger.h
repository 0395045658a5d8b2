/*-------------------------------------------------------------------------
 * ledger.h
 *		The record of every action.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LEDGER_H
#define LG_LEDGER_H

#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"

#include "records.h"

#define LG_LEDGER_PIDS 32
#define LG_LEDGER_QUERY 1024
#define LG_LEDGER_REASON 513
#define LG_LEDGER_GID 200
#define LG_OUTCOME_SIZE 96
#define LG_OUTCOME_SIGNALLED "signalled" /* and nothing is known yet */
#define LG_OUTCOME_ROLLING_BACK "rolling back"

/*
 * One action; texts are clipped on a character.
 */
typedef struct LgLedgerEntry
{
	LgRecordHead head;
	bool notified; /* its NOTIFY is out; lg_ledger_add() clears it */

	TimestampTz at;
	TimestampTz backend_start;
	TimestampTz outcome_at;
	int64 state_age; /* microseconds */
	SockAddr client_addr;
	int pid;
	Oid userid;
	int blocked_total;
	int n_blocked_pids;
	int blocked_pids[LG_LEDGER_PIDS];
	int repeats;
	int waiters_freed; /* -1 = not known */
	bool on_standby;
	char policy[NAMEDATALEN]; /* empty: by hand */
	char target[32];
	char action[32];
	char usename[NAMEDATALEN];
	char datname[NAMEDATALEN];
	char application_name[NAMEDATALEN];
	char state[32];
	char gid[LG_LEDGER_GID]; /* of a prepared transaction */
	Oid relation;			 /* invalid: not known */
	Oid relation_databaseid; /* where it is; invalid: shared */
	bool uncertain;			 /* some relation, but which is not certain */
	Oid databaseid;			 /* whose encoding query has */
	Oid writer_databaseid;	 /* whose encoding policy and reason have */
	char query[LG_LEDGER_QUERY];
	char signal[16];
	char outcome[LG_OUTCOME_SIZE];
	char reason[LG_LEDGER_REASON];
} LgLedgerEntry;

/* A walk over the newest entries, the newest first.  Begin with zeros. */
typedef struct LgLedgerScan
{
	uint64 number; /* of the entry last looked at */
	int looked_at;
} LgLedgerScan;

extern bool lg_ledger_is_open(const char *outcome);
extern uint64 lg_ledger_add(LgLedgerEntry *entry);
extern void lg_ledger_finish(uint64 number, const char *outcome, TimestampTz at, int waiters_freed);
extern void lg_ledger_signalled(uint64 number, const char *signal);
extern bool lg_ledger_replace(uint64 number, const LgLedgerEntry *now);
extern void lg_ledger_repeat(uint64 number);
extern bool lg_ledger_copy(uint64 number, LgLedgerEntry *entry);
extern bool lg_ledger_next_back(LgLedgerScan *scan, LgLedgerEntry *entry);
extern uint64 lg_ledger_next_unnotified(uint64 from, LgLedgerEntry *entry);
extern void lg_ledger_mark_notified(uint64 number, uint32 revision);

#endif /* LG_LEDGER_H */
