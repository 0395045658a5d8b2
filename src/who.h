/*-------------------------------------------------------------------------
 * who.h
 *		A session as a record keeps it: who it was, and what it was doing.
 *-------------------------------------------------------------------------
 */
#ifndef LG_WHO_H
#define LG_WHO_H

#include "rows.h"
#include "sessions.h"

#define LG_WHO_QUERY 400

/* An address without its port. */
typedef struct LgClient
{
	uint8 family; /* 0 = not known; else AF_UNIX, AF_INET or AF_INET6 */
	uint8 address[16];
} LgClient;

/* pid 0: nobody, or a prepared transaction (backend_type tells nothing then). */
typedef struct LgWho
{
	int pid;
	Oid userid;
	Oid databaseid; /* whose encoding the texts have */
	BackendState state;
	TimestampTz backend_start;
	TimestampTz state_change;
	TimestampTz query_start;
	int64 query_id;
	LgClient client;
	char application_name[NAMEDATALEN];
	char query
		[LG_WHO_QUERY]; /* a longer one has its middle left out: query_tags may stand at either end */
} LgWho;

#define LG_WHO_COLUMNS 11 /* that lg_who_add() adds */

extern bool lg_who_read(int slot, int pid, LgWho *who);
extern bool lg_who_of(const LgSession *session, LgWho *who);
extern void lg_who_add(LgRows *rows, const LgWho *who, bool masked);
extern void lg_who_keep_client(const SockAddr *from, LgClient *client);
extern void lg_who_add_client(LgRows *rows, const LgClient *client);
extern void lg_who_add_role(LgRows *rows, Oid userid);
extern void lg_who_add_database(LgRows *rows, Oid databaseid);

#endif /* LG_WHO_H */
