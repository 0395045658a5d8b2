/*-------------------------------------------------------------------------
 * sessions.c
 *		Collect what every session is doing.
 *
 * PGPROC and backend status are read where they are.  The status entry of a
 * backend is copied field by field under its own change counter, so what comes
 * out of one entry belongs together; the fields of PGPROC are single words,
 * each true at its own instant.  Nothing ties two sessions, or the two structs
 * of one session, to the same instant: a caller that acts on what it read must
 * prove it again.
 *
 * Who may change it meanwhile: only the process itself.  A slot may pass to
 * another process at any time; its PID differs then, and every read here gives
 * up unless status entry and PGPROC name the same PID before and after.
 *
 * Locking: none.  No text is copied unless lg_sessions_read_texts() is asked.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "compat.h"
#include "prefetch.h"
#include "sessions.h"

#define MAX_TRIES 1000 /* to read a status entry, at once */
#define MAX_NAPS 20	   /* more of them, a millisecond apart, without a lock */

/*
 * The PID of the living process in that slot, or 0.  Up to 16 a free PGPROC
 * keeps its last PID, but on every version its latch is disowned.
 */
static int
living_pid(volatile PGPROC *proc)
{
	int pid = proc->pid;

	return (pid != 0 && proc->procLatch.owner_pid == pid) ? pid : 0;
}

/* The status entry of the process in that PGPROC, or NULL while it has none. */
static volatile PgBackendStatus *
status_of(volatile PGPROC *proc, int pid)
{
	volatile PgBackendStatus *base = LG_STATUS_BASE;
	int index = LG_STATUS_INDEX(proc);

	if (index >= 0 && index < LG_STATUS_SLOTS && base[index].st_procpid == pid)
		return &base[index];

	/* Auxiliary processes up to 16: few, behind all backends, found by PID. */
	for (index = LG_STATUS_AUX_FIRST; index < LG_STATUS_SLOTS; index++)
	{
		if (base[index].st_procpid == pid)
			return &base[index];
	}
	return NULL;
}

/*
 * An entry's owner is in the middle of a change: a few instructions, unless it is
 * stopped there.  May it be read once more?  Whoever holds a lock does not wait for
 * that, and nobody for long: one that is stopped must not stop the passes.
 */
static bool
may_try_again(int tries)
{
	if (tries > MAX_TRIES)
	{
		if (InterruptHoldoffCount > 0 || tries > MAX_TRIES + MAX_NAPS)
			return false;
		pg_usleep(1000);
	}
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* Copy the fixed-size fields of a status entry; false if it is not pid's, or cannot be read. */
static bool
copy_status(volatile PgBackendStatus *status, int pid, LgSession *session)
{
	for (int tries = 1;; tries++)
	{
		int before;
		int after;

		pgstat_begin_read_activity(status, before);
		session->pid = status->st_procpid;
		session->backend_type = status->st_backendType;
		session->state = status->st_state;
		session->databaseid = status->st_databaseid;
		session->userid = status->st_userid;
		session->backend_start = status->st_proc_start_timestamp;
		session->xact_start = status->st_xact_start_timestamp;
		session->query_start = status->st_activity_start_timestamp;
		session->state_change = status->st_state_start_timestamp;
		session->query_id = (int64) status->st_query_id;
		session->changes = before;
		pgstat_end_read_activity(status, after);
		if (pgstat_read_activity_complete(before, after))
			return session->pid == pid;
		if (!may_try_again(tries))
			return false;
	}
}

/*
 * The PID of the process that has taken a slot of ProcGlobal->allProcs, from
 * its start to its very end; 0 = it is free.  Takes no lock.
 */
int
lg_sessions_slot_pid(int slot)
{
	return living_pid(&ProcGlobal->allProcs[slot]);
}

/*
 * Read the process in a slot of ProcGlobal->allProcs.  Returns false if there
 * is none, if it has no status entry (still starting, a prepared transaction), if
 * it went away meanwhile, or if it is stopped in the middle of a report.  Takes no
 * lock.
 */
bool
lg_sessions_read_one(int slot, LgSession *session)
{
	volatile PGPROC *proc = &ProcGlobal->allProcs[slot];
	volatile PgBackendStatus *status;
	int pid = living_pid(proc);

	if (pid == 0 || (status = status_of(proc, pid)) == NULL)
		return false;
	if (!copy_status(status, pid, session))
		return false;

	session->slot = slot;
	session->xid = proc->xid;
	session->xmin = proc->xmin;
	session->wait_event_info = proc->wait_event_info;
	session->waiting = proc->waitLock != NULL;
	session->syncrep = proc->syncRepState == SYNC_REP_WAITING;
	session->in_vacuum = (proc->statusFlags & (PROC_IN_VACUUM | PROC_IN_LOGICAL_DECODING)) != 0;
	session->leader_pid = 0;
	if (slot >= MaxConnections) /* no client session works for another */
	{
		PGPROC *leader = proc->lockGroupLeader;

		if (leader != NULL && leader->pid != pid)
			session->leader_pid = leader->pid;
	}

	return living_pid(proc) == pid;
}

/*
 * Fetch what lg_sessions_read_one() reads of a slot.  Takes no lock.
 */
void
lg_sessions_prefetch(int slot)
{
	volatile PGPROC *proc = &ProcGlobal->allProcs[slot];
	int index = LG_STATUS_INDEX(proc);
	volatile PgBackendStatus *status;

	lg_prefetch(&proc->waitLock);
	lg_prefetch(&proc->statusFlags);
	lg_prefetch(&proc->wait_event_info);
	if (index < 0 || index >= LG_STATUS_SLOTS)
		return;
	status = LG_STATUS_BASE + index;
	lg_prefetch(&status->st_procpid);
	lg_prefetch(&status->st_databaseid);
	lg_prefetch(&status->st_state);
	lg_prefetch(&status->st_query_id);
}

/* More of a slot is worth fetching only if it is taken, so that is fetched earlier still. */
static void
prefetch_ahead(int slot)
{
	volatile PGPROC *procs = ProcGlobal->allProcs;

	if (slot + 2 * LG_AHEAD < MaxConnections)
		lg_prefetch(&procs[slot + 2 * LG_AHEAD].procLatch);
	if (slot + LG_AHEAD < MaxConnections && procs[slot + LG_AHEAD].procLatch.owner_pid != 0)
		lg_sessions_prefetch(slot + LG_AHEAD);
}

/*
 * Read the next client session of a walk.  The first MaxConnections slots are
 * theirs and nobody else's.  Returns false when there is none any more; then
 * scan->used is complete.  Takes no lock.
 */
bool
lg_sessions_next(LgSessionScan *scan, LgSession *session)
{
	while (scan->slot < MaxConnections)
	{
		int slot = scan->slot++;

		prefetch_ahead(slot);
		if (ProcGlobal->allProcs[slot].procLatch.owner_pid == 0)
			continue;
		scan->used++;
		if (lg_sessions_read_one(slot, session) && session->backend_type == B_BACKEND)
			return true;
	}
	return false;
}

/*
 * Count the walsender slots taken: the last before the auxiliary processes.
 * Takes no lock.
 */
int
lg_sessions_count_walsenders(void)
{
	int count = 0;

	for (int slot = MaxBackends - max_wal_senders; slot < MaxBackends; slot++)
	{
		if (ProcGlobal->allProcs[slot].procLatch.owner_pid != 0)
			count++;
	}
	return count;
}

/*
 * Make room for the texts of one session, in the current memory context; for
 * its statement only if that is wanted.
 */
void
lg_sessions_init_texts(LgSessionTexts *texts, bool with_query)
{
	memset(texts, 0, sizeof(LgSessionTexts));
	if (with_query)
		texts->query = palloc0(pgstat_track_activity_query_size);
}

/*
 * Copy the texts of a session that was read before.  They are as new as this
 * call, not as old as the reading.  Returns false, with empty texts, if the
 * process is gone, or stopped in the middle of a report.  The query may end within a
 * character: lg_texts_to_local() mends that.  Takes no lock.
 */
bool
lg_sessions_read_texts(const LgSession *session, LgSessionTexts *texts)
{
	volatile PgBackendStatus *status =
		status_of(&ProcGlobal->allProcs[session->slot], session->pid);
	bool same = false;

	for (int tries = 1; status != NULL; tries++)
	{
		int before;
		int after;

		pgstat_begin_read_activity(status, before);
		same = status->st_procpid == session->pid &&
			   status->st_proc_start_timestamp == session->backend_start;
		if (same)
		{
			strlcpy(texts->application_name, (char *) status->st_appname, NAMEDATALEN);
			strlcpy(texts->client_hostname, (char *) status->st_clienthostname, NAMEDATALEN);
			if (texts->query != NULL)
				strlcpy(texts->query, (char *) status->st_activity_raw,
						pgstat_track_activity_query_size);
			memcpy(&texts->client_addr, (SockAddr *) &status->st_clientaddr, sizeof(SockAddr));
		}
		pgstat_end_read_activity(status, after);
		if (pgstat_read_activity_complete(before, after))
			break;
		same = false;
		if (!may_try_again(tries))
			break;
	}

	if (!same)
	{
		texts->application_name[0] = texts->client_hostname[0] = '\0';
		memset(&texts->client_addr, 0, sizeof(SockAddr));
		if (texts->query != NULL)
			texts->query[0] = '\0';
	}
	return same;
}

/*
 * The state as pg_stat_activity words it, or NULL for none.
 */
const char *
lg_sessions_state_name(BackendState state)
{
	switch (state)
	{
		case STATE_IDLE:
			return "idle";
		case STATE_RUNNING:
			return "active";
		case STATE_IDLEINTRANSACTION:
			return "idle in transaction";
		case STATE_FASTPATH:
			return "fastpath function call";
		case STATE_IDLEINTRANSACTION_ABORTED:
			return "idle in transaction (aborted)";
		case STATE_DISABLED:
			return "disabled";
		default:
			return state == LG_STATE_STARTING && state != STATE_UNDEFINED ? "starting" : NULL;
	}
}

/*
 * The older of a session's xid and xmin: the oldest transaction whose dead
 * rows it keeps from being removed.  Invalid if it keeps none.
 */
TransactionId
lg_sessions_horizon(const LgSession *session)
{
	if (session->in_vacuum)
		return InvalidTransactionId;
	if (!TransactionIdIsValid(session->xid))
		return session->xmin;
	if (!TransactionIdIsValid(session->xmin))
		return session->xid;
	return TransactionIdPrecedes(session->xid, session->xmin) ? session->xid : session->xmin;
}
