/*-------------------------------------------------------------------------
 * ledger_rows.c
 *		A ledger entry as the columns of a row: for the view, and for its table.
 *
 * Locking: none of ours; names and conversions are looked up in the system
 * caches, so a transaction and a database are needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "ledger_rows.h"
#include "names.h"
#include "rights.h"
#include "settings.h"
#include "texts.h"

/*
 * The name of the relation, as far as it is known; else NULL.
 */
char *
lg_ledger_rows_relation_name(const LgLedgerEntry *entry)
{
	return entry->uncertain ? "uncertain"
							: lg_names_of(entry->relation_databaseid, entry->relation);
}

/* A name; NULL for one that is not known, or that the server's own processes lack. */
static void
add_name(LgRows *rows, const char *name)
{
	if (name[0] != '\0')
		lg_rows_add_name(rows, lg_texts_valid_here(name));
	else
		lg_rows_add_null(rows);
}

static int
capacity(void)
{
	return lg_max_ledger;
}

/* The ledger's columns, in the encoding of this database. */
static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const LgLedgerEntry *entry = record;
	bool may_see = !masked || lg_rights_may_see(entry->userid);
	char *query;

	lg_rows_add_oid(rows, entry->userid);
	lg_rows_add_time(rows, entry->at);
	lg_rows_add_text(
		rows, entry->policy[0] ? lg_texts_to_local(entry->policy, entry->writer_databaseid) : NULL);
	lg_rows_add_text(rows, entry->target);
	lg_rows_add_text(rows, entry->action);
	lg_rows_add_pid(rows, entry->pid);
	lg_rows_add_text(rows, entry->gid[0] ? lg_texts_to_local(entry->gid, entry->databaseid) : NULL);
	lg_rows_add_time(rows, may_see ? entry->backend_start : 0);
	add_name(rows, entry->usename);
	add_name(rows, entry->datname);
	lg_rows_add_text(rows, entry->application_name);
	if (may_see)
	{
		lg_rows_add_address(rows, &entry->client_addr);
		lg_rows_add_text(rows, entry->state[0] ? entry->state : NULL);
		lg_rows_add_span(rows, entry->state_age);
	}
	else
	{
		for (int i = 0; i < 3; i++)
			lg_rows_add_null(rows);
	}
	lg_rows_add_int(rows, entry->blocked_total);
	lg_rows_add_ints(rows, entry->blocked_pids, entry->n_blocked_pids);
	lg_rows_add_text(rows, lg_ledger_rows_relation_name(entry));
	query = may_see ? lg_texts_to_local(entry->query, entry->databaseid) : NULL;
	lg_rows_add_text(rows, may_see ? query : "<insufficient privilege>");
	lg_rows_add_text(rows, may_see ? lg_texts_query_tags(query) : NULL);
	lg_rows_add_text(rows, entry->signal[0] ? entry->signal : NULL);
	lg_rows_add_text(rows, entry->outcome);
	lg_rows_add_time(rows, entry->outcome_at);
	lg_rows_add_int(rows, entry->repeats);
	if (entry->waiters_freed < 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int(rows, entry->waiters_freed);

	/* what a policy has seen of a session tells as much as the columns that are hidden */
	lg_rows_add_text(rows, may_see || entry->policy[0] == '\0'
							   ? lg_texts_to_local(entry->reason, entry->writer_databaseid)
							   : NULL);
	lg_rows_add_text(rows, entry->on_standby ? "standby" : "primary");
}

/* Its relation's name comes soon, if it comes. */
static bool
ready(const void *record, TimestampTz now)
{
	const LgLedgerEntry *entry = record;

	return lg_names_settled(entry->relation_databaseid, entry->relation, entry->at, now);
}

static const Oid types[] = {OIDOID,	 TIMESTAMPTZOID, TEXTOID, TEXTOID,		  TEXTOID, INT4OID,
							TEXTOID, TIMESTAMPTZOID, NAMEOID, NAMEOID,		  TEXTOID, INETOID,
							TEXTOID, INTERVALOID,	 INT4OID, INT4ARRAYOID,	  TEXTOID, TEXTOID,
							TEXTOID, TEXTOID,		 TEXTOID, TIMESTAMPTZOID, INT4OID, INT4OID,
							TEXTOID, TEXTOID};
static const int unlimited = 0;

const LgRecordType lg_ledger_type = {.table = "ledger_entries",
									 .time = "at",
									 .size = sizeof(LgLedgerEntry),
									 .capacity = capacity,
									 .n_columns = lengthof(types),
									 .types = types,
									 .add_row = add_row,
									 .ready = ready,
									 .retention = &lg_ledger_retention,
									 .max_size = &unlimited};
