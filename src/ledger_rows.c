/*-------------------------------------------------------------------------
 * ledger_rows.c
 *		A ledger entry as the columns of a row: for the view, and for its table.
 *
 * Locking: none of ours; names and conversions are looked up in the system
 * caches, so a transaction and a database are needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ledger_rows.h"
#include "relations.h"
#include "texts.h"

/*
 * The name of the relation: as recorded, or as this database's catalogs have
 * it; NULL if neither knows.
 */
char *
lg_ledger_rows_relation_name(const LgLedgerEntry *entry)
{
	LgAwaitedRow row = {.relation = entry->relation, .databaseid = entry->relation_databaseid};

	if (entry->relation_name[0] != '\0')
		return lg_texts_to_local(entry->relation_name, entry->relation_databaseid);
	return lg_relations_name(&row);
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

/*
 * Add the ledger's columns, from "at" to "recorded_on", in the encoding of this
 * database.  Without may_see, those that pg_stat_activity hides are NULL.
 */
void
lg_ledger_rows_add(LgRows *rows, const LgLedgerEntry *entry, bool may_see)
{
	char *query;

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
