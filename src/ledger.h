/*-------------------------------------------------------------------------
 * ledger.h
 *		The record of every action.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LEDGER_H
#define LG_LEDGER_H

#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"

#define LG_LEDGER_PIDS 32
#define LG_LEDGER_QUERY 1024
#define LG_LEDGER_REASON 201
#define LG_OUTCOME_SIZE 96

/* One action; texts are clipped on a character. */
typedef struct LgLedgerEntry
{
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
	char relation_name[2 * NAMEDATALEN + 8];
	Oid databaseid;		   /* whose encoding query has */
	Oid writer_databaseid; /* whose encoding the names and reason have */
	char query[LG_LEDGER_QUERY];
	char signal[16];
	char outcome[LG_OUTCOME_SIZE];
	char reason[LG_LEDGER_REASON];
} LgLedgerEntry;

extern Size lg_ledger_size(void);
extern uint64 lg_ledger_add(const LgLedgerEntry *entry);
extern void lg_ledger_finish(uint64 number, const char *outcome, TimestampTz at, int waiters_freed);
extern bool lg_ledger_copy(uint64 number, LgLedgerEntry *entry);
extern void lg_ledger_bounds(uint64 *first, uint64 *last);

#endif /* LG_LEDGER_H */
