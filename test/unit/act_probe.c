/*-------------------------------------------------------------------------
 * act_probe.c
 *		Call from SQL what only a pass calls: proofs, notes, the ledger.
 *
 * Linked with all of src/ but pg_lifeguard.c, and loaded beside the preloaded
 * library, whose shared memory it uses.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "actions.h"
#include "clock.h"
#include "ledger.h"
#include "names.h"
#include "lock_graph.h"
#include "shared.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(probe_attach);
PG_FUNCTION_INFO_V1(probe_draw);
PG_FUNCTION_INFO_V1(probe_still_blocks);
PG_FUNCTION_INFO_V1(probe_signal);
PG_FUNCTION_INFO_V1(probe_note);
PG_FUNCTION_INFO_V1(probe_survived);
PG_FUNCTION_INFO_V1(probe_add);
PG_FUNCTION_INFO_V1(probe_change);
PG_FUNCTION_INFO_V1(probe_next);
PG_FUNCTION_INFO_V1(probe_mark);
PG_FUNCTION_INFO_V1(probe_lost);
PG_FUNCTION_INFO_V1(probe_stay_in_commit);

static LgLockGraph *graph;

static int
slot_of_pid(int pid)
{
	PGPROC *proc = BackendPidGetProc(pid);

	if (proc == NULL)
		elog(ERROR, "no process %d", pid);
	return (int) (proc - ProcGlobal->allProcs);
}

/* size: as lifeguard.status shows it */
Datum
probe_attach(PG_FUNCTION_ARGS)
{
	bool found;

	lg_shared = ShmemInitStruct("pg_lifeguard", PG_GETARG_INT64(0), &found);
	PG_RETURN_BOOL(found);
}

/* Read a graph and keep it. */
Datum
probe_draw(PG_FUNCTION_ARGS)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	graph = lg_lock_graph_read();
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

/* Of a process in the graph that was kept; 0: of the prepared transaction. */
Datum
probe_still_blocks(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < graph->n_nodes; i++)
	{
		if (graph->nodes[i].pid == PG_GETARG_INT32(0))
			PG_RETURN_BOOL(lg_lock_graph_still_blocks(graph, i));
	}
	PG_RETURN_NULL();
}

/* Cancel whoever has awaited a lock since then; what comes of it, after some time. */
Datum
probe_signal(PG_FUNCTION_ARGS)
{
	LgActing *acting = palloc0(sizeof(LgActing));
	LgProof proof = {.pid = PG_GETARG_INT32(0), .wait_start = PG_GETARG_TIMESTAMPTZ(1)};
	LgReason reason = {.detail = "Probed.", .hint = "None."};
	char buffer[LG_OUTCOME_SIZE];

	lg_sessions_read_one(slot_of_pid(proof.pid), &acting->victim);
	proof.backend_start = acting->victim.backend_start;
	acting->action = LG_ACTION_CANCEL;
	lg_actions_signal(acting, &proof, &reason);
	for (int i = 0; i < 500 && acting->progress == LG_PROGRESS_PENDING; i++)
	{
		pg_usleep(10000L);
		lg_actions_watch(acting);
	}
	lg_actions_release(acting);
	PG_RETURN_TEXT_P(cstring_to_text(lg_actions_describe(acting, buffer, sizeof(buffer))));
}

/* The same without any proof on our side: how the session itself decides. */
Datum
probe_note(PG_FUNCTION_ARGS)
{
	int pid = PG_GETARG_INT32(0);
	LgNote *note = &lg_shared->notes[slot_of_pid(pid)];
	LgSession victim;
	uint32 state;

	lg_sessions_read_one(slot_of_pid(pid), &victim);
	memset(&note->proof, 0, sizeof(LgProof));
	note->proof.pid = pid;
	note->proof.backend_start = victim.backend_start;
	note->proof.wait_start = PG_GETARG_TIMESTAMPTZ(1);
	note->action = LG_ACTION_CANCEL;
	pg_atomic_write_u32(&note->state, LG_NOTE_ARMED);
	kill(pid, SIGUSR2);
	for (int i = 0; i < 500; i++)
	{
		pg_usleep(10000L);
		state = LG_NOTE_STATE(pg_atomic_read_u32(&note->state));
		if (state == LG_NOTE_ACTED || state == LG_NOTE_STALE)
			break;
	}
	pg_atomic_write_u32(&note->state, LG_NOTE_FREE);
	PG_RETURN_TEXT_P(
		cstring_to_text(state == LG_NOTE_ACTED ? "acted" : lg_farewell_describe(note->spared_for)));
}

/* How an action is worded so many milliseconds after its signal. */
Datum
probe_survived(PG_FUNCTION_ARGS)
{
	LgActing acting = {.progress = LG_PROGRESS_PENDING};
	char buffer[LG_OUTCOME_SIZE];

	acting.signalled_at = lg_clock_read(CLOCK_MONOTONIC) - PG_GETARG_INT32(0) * LG_USECS_PER_MSEC;
	PG_RETURN_TEXT_P(cstring_to_text(lg_actions_describe(&acting, buffer, sizeof(buffer))));
}

/* An entry about a relation; its number. */
Datum
probe_add(PG_FUNCTION_ARGS)
{
	LgLedgerEntry entry;

	memset(&entry, 0, sizeof(entry));
	entry.at = GetCurrentTimestamp();
	entry.repeats = 1;
	entry.relation = PG_GETARG_OID(0);
	entry.relation_databaseid = PG_GETARG_OID(1);
	strlcpy(entry.gid, "a gid", LG_LEDGER_GID);
	PG_RETURN_INT64((int64) lg_ledger_add(&entry));
}

/* what: repeat, finish, or what the entry's relation is called */
Datum
probe_change(PG_FUNCTION_ARGS)
{
	uint64 number = (uint64) PG_GETARG_INT64(0);
	char *what = text_to_cstring(PG_GETARG_TEXT_PP(1));
	LgLedgerEntry entry;

	if (strcmp(what, "repeat") == 0)
		lg_ledger_repeat(number);
	else if (strcmp(what, "finish") == 0)
		lg_ledger_finish(number, "survived", 0, -1);
	else if (lg_ledger_copy(number, &entry))
		lg_names_learn(entry.relation_databaseid, entry.relation, what, entry.relation);
	PG_RETURN_VOID();
}

Datum
probe_next(PG_FUNCTION_ARGS)
{
	LgLedgerEntry entry;
	uint64 number =
		lg_records_find(LG_LEDGER, (uint64) PG_GETARG_INT64(0), lg_records_is_unflushed, &entry);

	if (number == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(
		"%d revision %u%s%s", (int) number, entry.head.revision,
		number == entry.head.number && entry.head.boot == lg_shared->created_at ? "" : " misnamed",
		entry.notified ? " notified" : "")));
}

Datum
probe_mark(PG_FUNCTION_ARGS)
{
	uint64 number = (uint64) PG_GETARG_INT64(0);

	lg_records_mark_flushed(LG_LEDGER, number, (uint32) PG_GETARG_INT32(1));
	if (PG_GETARG_BOOL(2))
		lg_ledger_mark_notified(number, (uint32) PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

Datum
probe_lost(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) lg_shared->records_lost[LG_LEDGER]);
}

/* --- a COMMIT that comes to an open savepoint stays there for so many ms */
static int stay = 0;

static void
stay_at_savepoint(SubXactEvent event, SubTransactionId me, SubTransactionId parent, void *arg)
{
	int64 until = lg_clock_read(CLOCK_MONOTONIC) + stay * LG_USECS_PER_MSEC;

	if (event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	while (lg_clock_read(CLOCK_MONOTONIC) < until)
		pg_usleep(1000);
	stay = 0;
}

Datum
probe_stay_in_commit(PG_FUNCTION_ARGS)
{
	stay = PG_GETARG_INT32(0);
	RegisterSubXactCallback(stay_at_savepoint, NULL);
	PG_RETURN_VOID();
}
