/*-------------------------------------------------------------------------
 * policy_functions.c
 *		What lifeguard.policy does besides being a table: tell the collector, and
 *		leave a line in the server log for each change.
 *
 * Both happen when the transaction has been committed and not before: nobody
 * wakes the collector for rows that it cannot see yet, and no line tells of a
 * policy that was rolled back.  Triggers only take notes; notes of a
 * subtransaction that is rolled back are dropped.  COMMIT PREPARED runs nothing
 * of ours, so PREPARE TRANSACTION is told as what it is.
 *
 * After a commit an error would be a PANIC: AbortTransaction() cannot undo it.
 * So all texts are made by the triggers, lines go to the server log only, where
 * no client's encoding or slowness can get in the way, and what another
 * extension's log hook may raise is caught.
 *
 * Locking: none, but for what lg_collector_wake() takes.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "collector.h"
#include "settings.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_announce_home_database);
PG_FUNCTION_INFO_V1(pg_lifeguard_policy_changed);
PG_FUNCTION_INFO_V1(pg_lifeguard_policy_log);

/* A line for the server log, to be written if its subtransaction comes to stay. */
typedef struct LogLine
{
	SubTransactionId subid;
	char *text;
} LogLine;

/* What this transaction has to say when it ends; in TopTransactionContext. */
static List *lines = NIL;										/* of LogLine, in order of time */
static bool written = false;									/* to the table that is in force */
static SubTransactionId installed_by = InvalidSubTransactionId; /* away from home */

/* ------------------------------------------------------------------------
 * At the end of a transaction
 * ------------------------------------------------------------------------
 */

/*
 * Write the lines.  Raises no error.  A log line is about 1 kB at most, which
 * ErrorContext keeps in reserve, so it does not fail for want of memory.
 */
static void
write_lines(const char *remark)
{
	MemoryContext caller = CurrentMemoryContext;
	ErrorContextCallback *context = error_context_stack;
	uint32 held = InterruptHoldoffCount;

	/* the function that was at work is no part of what happened */
	error_context_stack = NULL;
	PG_TRY();
	{
		ListCell *cell;

		foreach (cell, lines)
			ereport(LOG_SERVER_ONLY,
					(errmsg_internal("%s%s", ((LogLine *) lfirst(cell))->text, remark),
					 errhidestmt(true), errhidecontext(true)));
	}
	PG_CATCH();
	{
		/* raising an error lets interrupts in, which a commit holds off */
		InterruptHoldoffCount = held;
		MemoryContextSwitchTo(caller);
		FlushErrorState();
	}
	PG_END_TRY();
	error_context_stack = context;
}

/*
 * CREATE EXTENSION keeps notices of its script to itself, so this one waits
 * until it is over.
 */
static void
say_where_home_is(void)
{
	char *here = get_database_name(MyDatabaseId);

	installed_by = InvalidSubTransactionId;
	if (here == NULL)
		return;
	ereport(
		NOTICE,
		(errmsg("policies are managed in database \"%s\"", lg_settings_home_database()),
		 errdetail("In database \"%s\" the views show the whole server, but no policy is in force.",
				   here),
		 errhint("To make this one the home database: ALTER SYSTEM SET pg_lifeguard.database = "
				 "%s; SELECT pg_reload_conf();",
				 quote_literal_cstr(here))));
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (installed_by != InvalidSubTransactionId)
				say_where_home_is();
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			if (written)
			{
				pg_atomic_write_u32(&lg_shared->policies_changed, LG_POLICIES_CHANGED);
				lg_collector_wake();
			}
			if (lines != NIL)
				write_lines(event == XACT_EVENT_COMMIT ? "" : "; effective with COMMIT PREPARED");
			break;
		case XACT_EVENT_ABORT:
			break;
		default:
			return;
	}
	lines = NIL;
	written = false;
	installed_by = InvalidSubTransactionId;
}

/*
 * What was noted since a subtransaction began carries its number or a higher
 * one, and stands at the end of the list.  That something was written is not
 * taken back: to be woken for nothing does no harm.
 */
static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
						 void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (lines != NIL && ((LogLine *) llast(lines))->subid >= subid)
		lines = list_truncate(lines, list_length(lines) - 1);
	if (installed_by >= subid)
		installed_by = InvalidSubTransactionId;
}

static void
listen_for_the_end(void)
{
	static bool listening = false;

	if (listening)
		return;
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterSubXactCallback(at_end_of_subtransaction, NULL);
	listening = true;
}

/* ------------------------------------------------------------------------
 * Notes
 * ------------------------------------------------------------------------
 */

static void
note_line(const char *text)
{
	MemoryContext caller;
	LogLine *line;

	listen_for_the_end();
	caller = MemoryContextSwitchTo(TopTransactionContext);
	line = palloc(sizeof(LogLine));
	line->subid = GetCurrentSubTransactionId();
	line->text = pstrdup(text);
	lines = lappend(lines, line);
	MemoryContextSwitchTo(caller);
}

/* A column of a policy as text; NULL is NULL. */
static char *
column_of(HeapTuple policy, TupleDesc desc, const char *name)
{
	int number = SPI_fnumber(desc, name);

	if (number <= 0)
		elog(ERROR, "policies have no column \"%s\"", name);
	return SPI_getvalue(policy, desc, number);
}

static bool
is_enabled(HeapTuple policy, TupleDesc desc)
{
	char *enabled = column_of(policy, desc, "enabled");

	return enabled != NULL && enabled[0] == 't';
}

static bool
is_armed(HeapTuple policy, TupleDesc desc)
{
	char *action = column_of(policy, desc, "action");

	return is_enabled(policy, desc) && action != NULL && strcmp(action, "log") != 0;
}

/* The action as lines tell it. */
static char *
action_of(HeapTuple policy, TupleDesc desc)
{
	return psprintf("%s%s", column_of(policy, desc, "action"),
					is_enabled(policy, desc) ? "" : " (disabled)");
}

/* Who does this, as lines tell it. */
static char *
actor(void)
{
	char *name = GetUserNameFromId(GetUserId(), false);

	if (GetSessionUserId() == GetUserId())
		return psprintf("role \"%s\"", name);
	return psprintf("role \"%s\" (session user \"%s\")", name,
					GetUserNameFromId(GetSessionUserId(), false));
}

static void
note_created(HeapTuple policy, TupleDesc desc)
{
	note_line(psprintf("policy \"%s\" created%s by %s: action is %s",
					   column_of(policy, desc, "name"), is_armed(policy, desc) ? " and armed" : "",
					   actor(), action_of(policy, desc)));
}

static void
note_dropped(HeapTuple policy, TupleDesc desc)
{
	note_line(psprintf("policy \"%s\" dropped by %s: action was %s",
					   column_of(policy, desc, "name"), actor(), action_of(policy, desc)));
}

/* The names of the columns in which two policies differ; empty when in none. */
static char *
differences(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 1; i <= desc->natts; i++)
	{
		char *was = SPI_getvalue(old, desc, i);
		char *is = SPI_getvalue(new, desc, i);

		if (was == NULL && is == NULL)
			continue;
		if (was == NULL || is == NULL || strcmp(was, is) != 0)
			appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
							 NameStr(TupleDescAttr(desc, i - 1)->attname));
	}
	return names.data;
}

/* A change that changes nothing is not told. */
static void
note_changed(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	char *changed = differences(old, new, desc);
	char *old_name = column_of(old, desc, "name");
	char *new_name = column_of(new, desc, "name");
	bool was_armed = is_armed(old, desc);
	bool armed = is_armed(new, desc);

	if (changed[0] == '\0')
		return;
	note_line(psprintf("policy \"%s\"%s %s by %s: action was %s, is %s; changed: %s", old_name,
					   strcmp(old_name, new_name) != 0 ? psprintf(", now \"%s\",", new_name) : "",
					   armed == was_armed ? "changed"
					   : armed			  ? "armed"
										  : "disarmed",
					   actor(), action_of(old, desc), action_of(new, desc), changed));
}

/* TRUNCATE drops them all. */
static void
note_all_dropped(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to the SPI manager");
	if (SPI_execute("SELECT * FROM ONLY lifeguard.policy ORDER BY name COLLATE \"C\"", true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not read the policies");
	for (uint64 i = 0; i < SPI_processed; i++)
		note_dropped(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_finish();
}

/* ------------------------------------------------------------------------
 * The triggers
 * ------------------------------------------------------------------------
 */

static TriggerData *
trigger_or_fail(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger functions can only be called as triggers")));
	return (TriggerData *) fcinfo->context;
}

static bool
is_home(void)
{
	char *here = get_database_name(MyDatabaseId);

	return here != NULL && strcmp(here, lg_settings_home_database()) == 0;
}

/*
 * lifeguard.policy_log(): AFTER each row, and BEFORE TRUNCATE.  Notes what will
 * be told at COMMIT.
 */
Datum
pg_lifeguard_policy_log(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_or_fail(fcinfo);
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		note_all_dropped();
	else if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must be fired for each row", trigger->tg_trigger->tgname)));
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		note_created(trigger->tg_trigtuple, desc);
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		note_dropped(trigger->tg_trigtuple, desc);
	else
		note_changed(trigger->tg_trigtuple, trigger->tg_newtuple, desc);
	return PointerGetDatum(NULL);
}

/*
 * lifeguard.policy_changed(): AFTER each statement.  Has the collector told at
 * COMMIT, if this is the table whose policies are in force and there is one.
 */
Datum
pg_lifeguard_policy_changed(PG_FUNCTION_ARGS)
{
	(void) trigger_or_fail(fcinfo);
	if (lg_shared != NULL && is_home())
	{
		listen_for_the_end();
		written = true;
	}
	return PointerGetDatum(NULL);
}

/*
 * Called by the install script: a NOTICE says where policies live, if not here; if
 * here, the keeper is not to find that out by polling.  Neither where pg_lifeguard is
 * not loaded: there they live nowhere.
 */
Datum
pg_lifeguard_announce_home_database(PG_FUNCTION_ARGS)
{
	if (lg_shared == NULL)
		PG_RETURN_VOID();
	listen_for_the_end();
	if (is_home())
		written = true;
	else
		installed_by = GetCurrentSubTransactionId();
	PG_RETURN_VOID();
}
