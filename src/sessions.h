/*-------------------------------------------------------------------------
 * sessions.h
 *		What every session is doing, read in place.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SESSIONS_H
#define LG_SESSIONS_H

#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"
#include "utils/backend_status.h"

/* One process as a reading saw it.  No texts: see lg_sessions_read_texts(). */
typedef struct LgSession
{
	int slot; /* of its PGPROC in ProcGlobal->allProcs */
	int pid;
	int leader_pid; /* of a parallel worker; 0 for everybody else */
	BackendType backend_type;
	BackendState state;
	Oid databaseid;
	Oid userid;
	TimestampTz backend_start;
	TimestampTz xact_start;
	TimestampTz query_start;
	TimestampTz state_change;
	int64 query_id;
	int changes; /* differs whenever the session has reported anything meanwhile */
	TransactionId xid;
	TransactionId xmin;
	uint32 wait_event_info;
	bool waiting;	/* for a heavyweight lock */
	bool syncrep;	/* waiting for a synchronous standby */
	bool in_vacuum; /* holds no horizon back, whatever its xmin */
} LgSession;

/* Its texts.  query has room for pgstat_track_activity_query_size bytes, or is NULL. */
typedef struct LgSessionTexts
{
	char application_name[NAMEDATALEN];
	char client_hostname[NAMEDATALEN];
	SockAddr client_addr;
	char *query;
} LgSessionTexts;

/* A walk over all client sessions.  Begin with zeros. */
typedef struct LgSessionScan
{
	int slot; /* the next to look at */
	int used; /* regular connection slots taken so far, those still starting included */
} LgSessionScan;

extern bool lg_sessions_next(LgSessionScan *scan, LgSession *session);
extern int lg_sessions_count_walsenders(void);
extern int lg_sessions_slot_pid(int slot);
extern void lg_sessions_prefetch(int slot);
extern bool lg_sessions_read_one(int slot, LgSession *session);
extern void lg_sessions_init_texts(LgSessionTexts *texts, bool with_query);
extern bool lg_sessions_read_texts(const LgSession *session, LgSessionTexts *texts);
extern const char *lg_sessions_state_name(BackendState state);
extern TransactionId lg_sessions_horizon(const LgSession *session);

#endif /* LG_SESSIONS_H */
