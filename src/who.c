/*-------------------------------------------------------------------------
 * who.c
 *		A session as a record keeps it: who it was, and what it was doing.
 *
 * Names of roles and databases are looked up when a record is written or read,
 * within a second as a rule; what is kept in shared memory are their OIDs.
 *
 * Locking: none; status entries are read in place (sessions.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netinet/in.h>

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/backend_status.h"
#include "utils/acl.h"
#include "utils/lsyscache.h" /* get_database_name(), from 19 */

#include "rights.h"
#include "texts.h"
#include "who.h"

#define LEFT_OUT " ... "

/*
 * Keep the address of a client, without its port.
 */
void
lg_who_keep_client(const SockAddr *from, LgClient *client)
{
	client->family = (uint8) from->addr.ss_family;
	if (client->family == AF_INET)
		memcpy(client->address, &((const struct sockaddr_in *) &from->addr)->sin_addr, 4);
	else if (client->family == AF_INET6)
		memcpy(client->address, &((const struct sockaddr_in6 *) &from->addr)->sin6_addr, 16);
}

/* A statement; of a long one the beginning and, for a comment behind it, the end. */
static void
keep_query(const char *query, char *kept)
{
	int len = strlen(query);
	int head = LG_WHO_QUERY * 5 / 8;
	int gap = sizeof(LEFT_OUT) - 1;
	int tail = LG_WHO_QUERY - 1 - head - gap;

	if (len < LG_WHO_QUERY)
	{
		memcpy(kept, query, len + 1);
		return;
	}
	memcpy(kept, query, head);
	memcpy(kept + head, LEFT_OUT, gap);
	memcpy(kept + head + gap, query + len - tail, tail + 1);
}

/*
 * Keep a session that was read before, with its texts as they are now.  Returns
 * false, with the texts empty, if it is gone.  Allocates in the current context.
 */
bool
lg_who_of(const LgSession *session, LgWho *who)
{
	LgSessionTexts texts;
	bool there;

	lg_sessions_init_texts(&texts, true);
	there = lg_sessions_read_texts(session, &texts);
	memset(who, 0, sizeof(LgWho));
	who->pid = session->pid;
	who->userid = session->userid;
	who->databaseid = session->databaseid;
	who->state = session->state;
	who->backend_start = session->backend_start;
	who->state_change = session->state_change;
	who->query_start = session->query_start;
	who->query_id = session->query_id;
	lg_who_keep_client(&texts.client_addr, &who->client);
	strlcpy(who->application_name, texts.application_name, NAMEDATALEN);
	keep_query(texts.query, who->query);
	pfree(texts.query);
	return there;
}

/*
 * The same of the process in a slot, if it is still the one with that PID.
 */
bool
lg_who_read(int slot, int pid, LgWho *who)
{
	LgSession session;

	memset(who, 0, sizeof(LgWho));
	who->pid = pid;
	return lg_sessions_read_one(slot, &session) && session.pid == pid && lg_who_of(&session, who);
}

/*
 * Add a client's address; NULL for a local or unknown one.
 */
void
lg_who_add_client(LgRows *rows, const LgClient *client)
{
	SockAddr address;

	memset(&address, 0, sizeof(address));
	address.addr.ss_family = client->family;
	if (client->family == AF_INET)
	{
		memcpy(&((struct sockaddr_in *) &address.addr)->sin_addr, client->address, 4);
		address.salen = sizeof(struct sockaddr_in);
	}
	else if (client->family == AF_INET6)
	{
		memcpy(&((struct sockaddr_in6 *) &address.addr)->sin6_addr, client->address, 16);
		address.salen = sizeof(struct sockaddr_in6);
	}
	lg_rows_add_address(rows, &address);
}

static void
add_name(LgRows *rows, char *name)
{
	if (name != NULL)
		lg_rows_add_name(rows, lg_texts_valid_here(name));
	else
		lg_rows_add_null(rows);
}

/*
 * Add the name of a role, or of a database; NULL for none.  Needs a transaction.
 */
void
lg_who_add_role(LgRows *rows, Oid userid)
{
	add_name(rows, OidIsValid(userid) ? GetUserNameFromId(userid, true) : NULL);
}

void
lg_who_add_database(LgRows *rows, Oid databaseid)
{
	add_name(rows, OidIsValid(databaseid) ? get_database_name(databaseid) : NULL);
}

/*
 * Add the LG_WHO_COLUMNS columns of a session: usesysid, pid, backend_start,
 * usename, datname, application_name, client_addr, state, query_id, query,
 * query_tags.  masked: those that pg_stat_activity hides from the current user are
 * NULL.  For nobody all are NULL but pid, which is 0 as in pg_blocking_pids(), for
 * a prepared transaction.  Needs a transaction.
 */
void
lg_who_add(LgRows *rows, const LgWho *who, bool masked)
{
	bool may_see = !masked || lg_rights_may_see(who->userid);
	char *query = may_see ? lg_texts_to_local(who->query, who->databaseid) : NULL;

	lg_rows_add_oid(rows, who->userid);
	lg_rows_add_int(rows, who->pid);
	lg_rows_add_time(rows, may_see ? who->backend_start : 0);
	lg_who_add_role(rows, who->userid);
	lg_who_add_database(rows, who->databaseid);
	lg_rows_add_text(rows, lg_texts_to_local(who->application_name, who->databaseid));
	if (may_see)
		lg_who_add_client(rows, &who->client);
	else
		lg_rows_add_null(rows);
	lg_rows_add_text(rows, may_see ? lg_sessions_state_name(who->state) : NULL);
	if (may_see && who->query_id != 0)
		lg_rows_add_int8(rows, who->query_id);
	else
		lg_rows_add_null(rows);
	lg_rows_add_text(rows, may_see ? query : "<insufficient privilege>");
	lg_rows_add_text(rows, may_see ? lg_texts_query_tags(query) : NULL);
}
