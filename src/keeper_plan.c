/*-------------------------------------------------------------------------
 * keeper_plan.c
 *		When to send a keeper.
 *
 * In the collector, between passes.  A keeper is wanted when policies have changed,
 * when something has waited for flush_interval to be written, when retention is
 * due, and now and then where nothing would tell of a change.
 *
 * Locking: lg_shared->lock to copy news out.  The home database is looked up only if
 * its catalog can be locked at once.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"

#include "compat.h"
#include "errand.h"
#include "keeper.h"
#include "policies.h"
#include "records.h"
#include "retention.h"
#include "settings.h"
#include "shared.h"

#define RETRY_INTERVAL (1 * USECS_PER_SEC) /* when it could not be sent */
#define PURGE_INTERVAL (USECS_PER_HOUR)	   /* between two rounds of retention by age */
#define NEVER PG_INT64_MAX

/* What the collector remembers.  Times are monotonic, in microseconds. */
typedef struct Errand
{
	LgErrand worker;
	int64 ended_at;
	int64 not_before;	   /* after a failure to send it */
	int64 unflushed_since; /* 0 = nothing is to be written now */
	int failures_in_a_row;
	uint64 setbacks_before; /* news when it was sent */
	uint64 runs_before;
	char home[NAMEDATALEN]; /* where it was sent */
} Errand;

static Errand errand;

/* What became of the keeper that has just ended. */
static void
judge_end(int64 now)
{
	LgKeeperNews news = lg_keeper_news();

	if (news.runs == errand.runs_before)
		lg_keeper_note_failure("the keeper did not start; the server log says why");
	if (news.runs == errand.runs_before || news.setbacks != errand.setbacks_before)
		errand.failures_in_a_row++;
	else
		errand.failures_in_a_row = 0;

	errand.ended_at = now;
	if (errand.unflushed_since != 0)
		errand.unflushed_since = now;
}

/* Is a keeper under way?  One that stays too long is told to end. */
static bool
is_under_way(int64 now)
{
	LgKeeperNews news;

	if (errand.worker.handle == NULL)
	{
		/* sent by the collector before us, perhaps */
		news = lg_keeper_news();
		return news.pid != 0 && BackendPidGetProc(news.pid) != NULL;
	}
	if (lg_errand_is_under_way(&errand.worker, now))
		return true;
	judge_end(now);
	return false;
}

/*
 * Are records of that kind to be written?
 */
bool
lg_keeper_has_unflushed(LgRecordKind kind)
{
	int unflushed;
	uint64 lost;

	lg_records_count(kind, &unflushed, &lost);
	return unflushed > 0;
}

/* When records are to be written; NEVER if there are none. */
static int64
flush_due(const LgKeeperNews *news, int64 now)
{
	int64 retry = NEVER;
	bool any = false;

	for (int kind = 0; kind < LG_RECORD_KINDS && !RecoveryInProgress(); kind++)
	{
		if (!lg_keeper_has_unflushed(kind))
			continue;
		if (news->tables[kind].retry_at > now)
			retry = Min(retry, news->tables[kind].retry_at);
		else
			any = true;
	}
	if (!any)
		errand.unflushed_since = 0;
	else if (errand.unflushed_since == 0)
		errand.unflushed_since = now;
	return any ? Min(retry, errand.unflushed_since + lg_flush_interval * LG_USECS_PER_MSEC) : retry;
}

/*
 * Must somebody look from time to time, because nothing would tell of a change?
 */
bool
lg_keeper_must_poll(void)
{
	LgPolicySet head;

	lg_policies_describe(&head);

	/*
	 * No trigger fires for COMMIT PREPARED, DROP EXTENSION, DROP DATABASE, or a
	 * copy of a database, nor on a standby for what comes from the primary.
	 */
	return head.n > 0 || head.problem[0] != '\0' || max_prepared_xacts > 0 || RecoveryInProgress();
}

/*
 * When a table has to be looked through for rows that are too old, by the monotonic
 * clock; PG_INT64_MAX if it has not.
 */
int64
lg_keeper_purge_due(const LgKeeperNews *news, LgRecordKind kind)
{
	const LgTableNews *table = &news->tables[kind];
	int days = lg_retention_days(lg_records_type(kind));

	if (days == 0)
		return NEVER;
	return Max(table->retry_at, table->purged_days == days ? table->purged_at + PURGE_INTERVAL : 0);
}

/*
 * How long ago policies were read, in microseconds.  When the clock was set back since,
 * nobody can tell: long enough ago to be read again.
 */
int64
lg_keeper_policies_age(const LgPolicySet *head)
{
	TimestampTz now = GetCurrentTimestamp();

	return head->read_at > now ? POLL_INTERVAL : lg_clock_age(head->read_at, now);
}

/*
 * When policies in force are to be read again, because nothing else would tell that
 * they are gone: however often keepers have come for something else.  Where they cannot
 * be read, those who come are enough.
 */
static int64
policies_due(int64 now)
{
	LgPolicySet head;

	lg_policies_describe(&head);
	if (head.n == 0 || head.fails_since != 0)
		return NEVER;
	return now + POLL_INTERVAL - Min(lg_keeper_policies_age(&head), POLL_INTERVAL);
}

/* When a keeper is wanted; NEVER if it is not. */
static int64
wanted_at(int64 now)
{
	LgKeeperNews news = lg_keeper_news();
	int64 wanted = news.no_extension ? NEVER : flush_due(&news, now);

	if (errand.worker.sent_at == 0 ||
		pg_atomic_read_u32(&lg_shared->policies_changed) != LG_POLICIES_KNOWN ||
		strcmp(errand.home, lg_settings_home_database()) != 0)
		return now;
	if (news.no_extension || lg_keeper_must_poll())
		wanted = Min(wanted, errand.worker.sent_at + POLL_INTERVAL);
	wanted = Min(wanted, policies_due(now));
	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
	{
		if (!RecoveryInProgress() && !news.no_extension)
			wanted = Min(wanted, lg_keeper_purge_due(&news, kind));
	}
	return wanted;
}

/* The first moment at which another may be sent. */
static int64
may_be_sent_at(void)
{
	if (errand.ended_at == 0)
		return errand.not_before;
	return Max(errand.ended_at + lg_keeper_pause_after(errand.failures_in_a_row),
			   errand.not_before);
}

/* Where to send a keeper; InvalidOid if it cannot be sent, which is noted. */
static Oid
find_home(const char *name, LgTime now)
{
	Oid home;
	bool allows = false;
	bool found;
	char problem[LG_PROBLEM_SIZE];

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	found = lg_errand_look_up(DatabaseNameIndexId, Anum_pg_database_datname, F_NAMEEQ,
							  CStringGetDatum(name), &home, &allows);
	CommitTransactionCommand();

	if (!found)
	{
		errand.not_before = now.mono + RETRY_INTERVAL;
		return InvalidOid;
	}
	if (OidIsValid(home) && allows)
		return home;

	snprintf(problem, sizeof(problem),
			 OidIsValid(home) ? "database \"%s\" allows no connections"
							  : "database \"%s\" does not exist",
			 name);
	if (OidIsValid(home))
		lg_policies_note_failure(problem, now.wall);
	else
		lg_policies_withdraw(problem, now.wall);
	lg_keeper_note_failure(problem);
	errand.failures_in_a_row++;
	errand.ended_at = now.mono;
	errand.worker.sent_at = now.mono; /* as far as polling goes */
	strlcpy(errand.home, name, NAMEDATALEN);
	pg_atomic_write_u32(&lg_shared->policies_changed, LG_POLICIES_KNOWN); /* found out by polling */
	return InvalidOid;
}

static void
send_keeper(Oid home, const char *name, LgTime now)
{
	LgKeeperNews news = lg_keeper_news();

	if (!lg_errand_send(&errand.worker, "lg_keeper_main", "keeper",
						"policies are not read and what is recorded stays in memory", home,
						now.mono))
	{
		errand.not_before = now.mono + RETRY_INTERVAL;
		lg_keeper_note_failure(LG_NO_WORKER_SLOT);
		return;
	}
	errand.setbacks_before = news.setbacks;
	errand.runs_before = news.runs;
	strlcpy(errand.home, name, NAMEDATALEN);
}

/*
 * Let the keeper that is there look again.  By now it may be gone, and its PGPROC
 * another's: whose latch that is must bear it.
 */
static void
wake_keeper(void)
{
	pid_t pid = lg_keeper_news().pid;
	PGPROC *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

/*
 * Send a keeper if there is something for it to do.  For the collector alone,
 * outside a transaction, whenever it is awake; cheap when nothing is to be done.
 * Returns the moment, by the monotonic clock, at which it wants to be called at
 * the latest; 0 = when something happens.  Waits for no heavyweight lock.
 */
int64
lg_keeper_tend(LgTime now)
{
	const char *name = lg_settings_home_database();
	int64 due;
	Oid home;

	if (is_under_way(now.mono))
	{
		if (pg_atomic_read_u32(&lg_shared->policies_changed) == LG_POLICIES_CHANGED)
			wake_keeper();
		return now.mono + LG_LONGEST_PATIENCE;
	}

	due = wanted_at(now.mono);
	if (due == NEVER)
		return 0;
	due = Max(due, may_be_sent_at());
	if (due > now.mono)
		return due;

	home = find_home(name, now);
	if (OidIsValid(home))
		send_keeper(home, name, now);
	return now.mono + RETRY_INTERVAL;
}
