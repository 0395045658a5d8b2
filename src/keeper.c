/*-------------------------------------------------------------------------
 * keeper.c
 *		The logbook: policies in, records out, retention.
 *
 * The collector is bound to no database, so that it stands in nobody's way.
 * Whatever needs tables is done by a short-lived worker that it sends to the
 * home database when there is something to do: it stays 3 s at most, and then
 * nobody is there for 300 ms at least, so that whoever wants to drop or copy the
 * database gets his turn.  It waits for no lock longer than a second.  What it
 * cannot do is kept for the next one, counted and told in status.
 *
 * When one is sent is keeper_plan.c's affair.
 *
 * Locking: lg_shared->lock to copy news in or out.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "collector.h"
#include "compat.h"
#include "errand.h"
#include "keeper.h"
#include "ledger_notify.h"
#include "members.h"
#include "policies.h"
#include "policy_table.h"
#include "record_file.h"
#include "record_tables.h"
#include "retention.h"
#include "settings.h"
#include "shared.h"

#define LONGEST_ABSENCE (10 * USECS_PER_SEC)  /* after failures, as long as there is work */
#define FULL_TIME (2000 * LG_USECS_PER_MSEC)  /* of a stay: after it no large job begins */
#define LAST_WORDS (2500 * LG_USECS_PER_MSEC) /* the last round of records */
#define LAST_START (2600 * LG_USECS_PER_MSEC) /* its last transaction */
#define SHORTEST_LINGER 100					  /* ms between two rounds, whatever is set */
#define MEASURE_INTERVAL (USECS_PER_MINUTE)	  /* of a table that is written to */
#define MEASURE_ROWS 1000					  /* the same, when it is written to fast */

/*
 * Count a failure, and say what it was.  Takes lg_shared->lock for a moment.
 */
void
lg_keeper_note_failure(const char *problem)
{
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->keeper.failures++;
	lg_shared->keeper.setbacks++;
	strlcpy(lg_shared->keeper.problem, problem, LG_PROBLEM_SIZE);
	LWLockRelease(lg_shared->lock);
}

/*
 * How keepers fare.  Takes lg_shared->lock, shared, for a moment.
 */
LgKeeperNews
lg_keeper_news(void)
{
	LgKeeperNews news;

	LWLockAcquire(lg_shared->lock, LW_SHARED);
	news = lg_shared->keeper;
	LWLockRelease(lg_shared->lock);
	return news;
}

/*
 * How long to wait after so many failures in a row, in microseconds.
 */
int64
lg_keeper_pause_after(int failures)
{
	int64 pause = LG_SHORTEST_ABSENCE;

	for (int i = 0; i < failures && pause < LONGEST_ABSENCE; i++)
		pause *= 2;
	return Min(pause, LONGEST_ABSENCE);
}

static bool at_work = false; /* has reached its database, and not left it yet */

/* Become the one keeper, or find that there is one. */
static bool
claim(void)
{
	bool mine;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	mine = lg_shared->keeper.pid == 0;
	if (mine)
		lg_shared->keeper.pid = MyProcPid;
	lg_shared->keeper.runs++;
	LWLockRelease(lg_shared->lock);
	return mine;
}

/* However it ends: say so, and that it did not end well. */
static void
leave(int code, Datum arg)
{
	if (code != 0)
	{
		const char *problem = at_work ? "the keeper was ended before it was done"
									  : "the keeper could not connect; the server log says why";

		lg_policies_note_failure(problem, GetCurrentTimestamp());
		lg_keeper_note_failure(problem);
		pg_atomic_write_u32(&lg_shared->policies_changed, LG_POLICIES_CHANGED);
	}
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (lg_shared->keeper.pid == MyProcPid)
		lg_shared->keeper.pid = 0;
	LWLockRelease(lg_shared->lock);
}

/* What is done in a transaction of its own; extension is there. */
typedef void (*Job)(Oid extension, void *arg);

/* What came of this keeper's jobs. */
typedef struct Stay
{
	int64 began;
	TimestampTz came_at;
	bool has_extension;
	bool setback;				   /* something went wrong that concerns more than one table */
	bool left_alone;			   /* a table that had a problem before was not tried again yet */
	char problem[LG_PROBLEM_SIZE]; /* the first one; empty = none */
} Stay;

/*
 * The server log need not hear again, ten times a minute, what status says; nor what is
 * still wrong with this table while status tells of another.  What the log was told of a
 * table only the keeper changes, so it is read without the lock.
 */
static bool
is_known(const char *problem, LgTableNews *table)
{
	uint32 hash = hash_bytes((const unsigned char *) problem, strlen(problem));
	bool said = table != NULL && table->said == hash;
	LgPolicySet head;

	if (table != NULL)
		table->said = hash;
	lg_policies_describe(&head);
	return said || strcmp(problem, lg_keeper_news().problem) == 0 ||
		   strcmp(problem, head.problem) == 0;
}

/* The current error as a problem, and in the server log. */
static void
take_error(char *problem, LgTableNews *table)
{
	ErrorData *error = CopyErrorData();

	strlcpy(problem, error->message, LG_PROBLEM_SIZE);
	FreeErrorData(error);
	if (!is_known(problem, table))
		EmitErrorReport();
	FlushErrorState();
}

/*
 * Do a job in a transaction, if the extension is there.  table: what it concerns, or
 * NULL.  Returns NULL, or what went wrong; that has been counted and is no error any more.
 */
static const char *
do_job(Stay *stay, const char *doing, Job job, void *arg, LgTableNews *table)
{
	static char problem[LG_PROBLEM_SIZE];
	MemoryContext caller = CurrentMemoryContext;

	problem[0] = '\0';
	pgstat_report_activity(STATE_RUNNING, doing);
	PG_TRY();
	{
		Oid extension;
		Oid user;
		int context;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		GetUserIdAndSecContext(&user, &context);
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		extension = lg_members_find_extension();
		stay->has_extension = OidIsValid(extension);
		if (OidIsValid(extension))
			job(extension, arg);
		SetUserIdAndSecContext(user, context);
		PopActiveSnapshot();
		SPI_finish();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller);
		take_error(problem, table);
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (problem[0] == '\0')
		return NULL;

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->keeper.failures++;
	LWLockRelease(lg_shared->lock);
	stay->setback = true;
	if (stay->problem[0] == '\0')
		strlcpy(stay->problem, problem, LG_PROBLEM_SIZE);
	return problem;
}

/*
 * Is there time for one more transaction?  FULL_TIME for what may wait for a lock or
 * take a while, and can as well be the next keeper's: STATEMENT_TIMEOUT must not be what
 * ends it.  LAST_START for the few records of the last round.
 */
static bool
time_is_left(const Stay *stay, int64 until)
{
	return lg_clock_read(CLOCK_MONOTONIC) - stay->began < until;
}

static void
read_policies(Oid extension, void *arg)
{
	lg_policy_table_publish(extension);
	if (pg_atomic_read_u32(&lg_shared->pass_wanted) != 0)
		lg_collector_wake();
}

/*
 * Policies in.  That they have changed is taken note of before they are read,
 * so that no later change is missed; until they are published it is not over,
 * for whoever waits for that.
 */
static void
bring_policies(Stay *stay)
{
	const char *problem;
	char text[LG_PROBLEM_SIZE];
	uint32 taken_up = LG_POLICIES_TAKEN_UP;

	pg_atomic_exchange_u32(&lg_shared->policies_changed, LG_POLICIES_TAKEN_UP);
	problem = do_job(stay, "reading policies", read_policies, NULL, NULL);
	if (problem != NULL)
	{
		pg_atomic_write_u32(&lg_shared->policies_changed, LG_POLICIES_CHANGED);
		lg_policies_note_failure(problem, GetCurrentTimestamp());
	}
	else if (!stay->has_extension)
	{
		snprintf(text, sizeof(text), "extension \"pg_lifeguard\" is not in database \"%s\"",
				 lg_settings_home_database());
		lg_policies_withdraw(text, GetCurrentTimestamp());
	}

	/* unless they have changed again */
	(void) pg_atomic_compare_exchange_u32(&lg_shared->policies_changed, &taken_up,
										  LG_POLICIES_KNOWN);
}

/*
 * Need they be read?  Whoever changes them says so where a trigger can tell;
 * elsewhere they are read again now and then, and soon enough if nobody comes in
 * between.
 */
static bool
policies_wanted(void)
{
	LgPolicySet head;

	lg_policies_describe(&head);
	return pg_atomic_read_u32(&lg_shared->policies_changed) != LG_POLICIES_KNOWN ||
		   head.databaseid != MyDatabaseId || head.problem[0] != '\0' || head.fails_since != 0 ||
		   (lg_keeper_must_poll() &&
			lg_keeper_policies_age(&head) >= POLL_INTERVAL - LG_LONGEST_STAY * LG_USECS_PER_MSEC);
}

static bool
has_policies(void)
{
	LgPolicySet head;

	lg_policies_describe(&head);
	return head.n > 0;
}

static LgTableNews *
table_news(LgRecordKind kind)
{
	return &lg_shared->keeper.tables[kind];
}

/*
 * Do a job that concerns the table of one kind.  Returns false if it could not be
 * done: then that table is left alone for a while, and no other.
 */
static bool
do_table_job(Stay *stay, LgRecordKind kind, const char *doing, Job job, void *arg)
{
	LgTableNews *news = table_news(kind);
	bool setback = stay->setback;

	if (do_job(stay, doing, job, arg, news) == NULL)
		return stay->has_extension;
	stay->setback = setback;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	news->retry_at = lg_clock_read(CLOCK_MONOTONIC) + lg_keeper_pause_after(++news->failures);
	LWLockRelease(lg_shared->lock);
	return false;
}

static void
write_records(Oid extension, void *arg)
{
	LgRecordBatch *batch = arg;

	batch->n = 0;
	if (lg_keeper_news().tables[batch->kind].full)
		ereport(ERROR,
				(errcode(ERRCODE_DISK_FULL),
				 errmsg("table \"lifeguard.%s\" is full: its deleted rows cannot be removed",
						lg_records_type(batch->kind)->table),
				 errhint("Look for transactions that are open for long, and for autovacuum.")));
	lg_record_tables_write(extension, batch);
}

/*
 * A batch is committed: from now on it counts.
 */
static void
note_written(const LgRecordBatch *batch)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < batch->n; i++)
	{
		uint32 revision = lg_record_tables_get(batch, i)->revision;

		lg_records_mark_flushed(batch->kind, batch->numbers[i], revision);
		if (batch->kind == LG_LEDGER && !lg_notify)
			lg_ledger_mark_notified(batch->numbers[i], revision);
	}
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	table_news(batch->kind)->written += batch->n;
	table_news(batch->kind)->failures = 0;
	table_news(batch->kind)->said = 0;
	lg_shared->keeper.last_flush = now;
	LWLockRelease(lg_shared->lock);
}

/*
 * May one more batch be written?  When there is no time left to look at a table's size,
 * no more than may be written to it between two looks.  That count only the keeper
 * changes, so it is read without the lock.
 */
static bool
may_write(const Stay *stay, LgRecordKind kind)
{
	return time_is_left(stay, FULL_TIME) ||
		   (time_is_left(stay, LAST_START) && table_news(kind)->written < MEASURE_ROWS);
}

/*
 * Records of a kind out.  No more than the ring can hold: where they come as fast as
 * they go, the table's size must have its turn, too.
 */
static void
bring_kind(Stay *stay, LgRecordBatch *batch)
{
	int most = lg_records_type(batch->kind)->capacity();

	batch->next = 0;
	batch->last = false;
	while (!batch->last && most > 0 && may_write(stay, batch->kind) &&
		   do_table_job(stay, batch->kind, "writing records", write_records, batch))
	{
		if (batch->n > 0)
			note_written(batch);
		most -= batch->n;
	}
}

/* A table, and what is to be done to it or found out. */
typedef struct Purge
{
	LgRecordKind kind;
	const LgRecordType *type;
	TimestampTz before;
	int64 most;
	int64 deleted;
	LgTableSize size;
} Purge;

static void
measure(Oid extension, void *arg)
{
	Purge *purge = arg;

	purge->size = lg_retention_measure(extension, purge->type);
}

static void
purge_some(Oid extension, void *arg)
{
	Purge *purge = arg;

	purge->deleted = lg_retention_delete(extension, purge->type, purge->before, purge->most);
}

/* Delete rows in small batches.  Returns whether all that were meant are gone, or locked. */
static bool
purge_all(Stay *stay, Purge *purge)
{
	do
	{
		if (!time_is_left(stay, FULL_TIME) ||
			!do_table_job(stay, purge->kind, "deleting old rows", purge_some, purge))
			return false;
		purge->most -= purge->deleted;
	} while (purge->deleted == LG_PURGE_SIZE && purge->most > 0);
	return true;
}

/* Has that been written to a table after which its size has to be looked at? */
static bool
must_measure(const LgTableNews *news)
{
	int64 age = lg_clock_read(CLOCK_MONOTONIC) - news->measured_at;

	return news->full || news->written >= MEASURE_ROWS ||
		   (news->written > 0 && (age > MEASURE_INTERVAL || news->measured_at == 0));
}

/* Keep a table within its size. */
static void
limit_size(Stay *stay, LgRecordKind kind)
{
	LgTableNews news = lg_keeper_news().tables[kind];
	Purge purge = {.kind = kind, .type = lg_records_type(kind), .before = DT_NOEND};
	bool done;

	if (lg_retention_limit(purge.type) == 0 && !news.full)
		return;
	if (!must_measure(&news) || !time_is_left(stay, FULL_TIME) ||
		!do_table_job(stay, kind, "measuring a table", measure, &purge))
		return;
	purge.most = purge.size.excess;
	done = purge.most == 0 || purge_all(stay, &purge);

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (done)
	{
		table_news(kind)->measured_at = lg_clock_read(CLOCK_MONOTONIC);
		table_news(kind)->written = 0;
	}
	if (news.full && !purge.size.full)
		table_news(kind)->retry_at = 0;
	table_news(kind)->full = purge.size.full;
	LWLockRelease(lg_shared->lock);
}

/*
 * Records out: the ledger first, then the histories, each of which is the first
 * once.  What goes wrong with one does not keep the others back.
 */
static void
bring_records(Stay *stay)
{
	LgRecordBatch *batch = lg_record_tables_new_batch();
	LgKeeperNews news = lg_keeper_news();
	int turn = (int) (news.runs % LG_RECORD_KINDS);

	for (int i = -1; i < LG_RECORD_KINDS; i++)
	{
		batch->kind = i < 0 ? LG_LEDGER : (turn + i) % LG_RECORD_KINDS;
		if (!lg_keeper_has_unflushed(batch->kind))
			continue;
		if (news.tables[batch->kind].retry_at > stay->began)
		{
			stay->left_alone = true;
			continue;
		}
		bring_kind(stay, batch);
		limit_size(stay, batch->kind);
	}
	if (lg_records_unflushed() == 0)
		lg_record_file_remove();
}

static void
send_some(Oid extension, void *arg)
{
	lg_ledger_notify(extension, (LgNotifyBatch *) arg);
}

/* NOTIFY about ledger entries that are in their table. */
static void
send_notifications(Stay *stay)
{
	LgNotifyBatch batch;

	while (lg_notify && time_is_left(stay, LAST_START))
	{
		batch.n = 0; /* nothing is looked for where the extension has been dropped */
		if (do_job(stay, "sending notifications", send_some, &batch, NULL) != NULL || batch.n == 0)
			break;
		for (int i = 0; i < batch.n; i++)
			lg_ledger_mark_notified(batch.numbers[i], batch.revisions[i]);
	}
}

/* What is older than its retention goes, once an hour. */
static void
apply_retention(Stay *stay)
{
	LgKeeperNews news = lg_keeper_news();

	for (int kind = 0; kind < LG_RECORD_KINDS && stay->has_extension; kind++)
	{
		Purge purge = {.kind = kind, .type = lg_records_type(kind), .most = PG_INT64_MAX};
		int days = lg_retention_days(purge.type);

		purge.before = GetCurrentTimestamp() - days * USECS_PER_DAY;
		if (lg_keeper_purge_due(&news, kind) > lg_clock_read(CLOCK_MONOTONIC) ||
			!purge_all(stay, &purge))
			continue;
		LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
		table_news(kind)->purged_at = lg_clock_read(CLOCK_MONOTONIC);
		table_news(kind)->purged_days = days;
		LWLockRelease(lg_shared->lock);
	}
}

/* Say that we have arrived, or, at the end, what is wrong. */
static void
tell(const Stay *stay, bool done)
{
	LgKeeperNews *news = &lg_shared->keeper;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (!done)
		news->last_run = now;
	else if (stay->problem[0] != '\0' || !stay->left_alone)
		strlcpy(news->problem, stay->problem, LG_PROBLEM_SIZE);
	news->setbacks += done && stay->setback;
	news->no_extension = done && !stay->has_extension;
	LWLockRelease(lg_shared->lock);
}

/*
 * To come is dearer than to stay: where records come one after the other, wait for
 * those of the next flush_interval, or as many as come before it is time to go, so
 * that none waits for the next keeper that need not.  Returns false when it is time to
 * go: when none have come, when anything is wrong, or when there would be no time left
 * to write them.
 */
static bool
linger(const Stay *stay)
{
	int64 now = lg_clock_read(CLOCK_MONOTONIC);
	int64 last = stay->began + LAST_WORDS;
	int64 interval = Max(lg_flush_interval, SHORTEST_LINGER) * LG_USECS_PER_MSEC;
	int64 flush = Min(now + interval, last);

	(void) pgstat_report_stat(true); /* autovacuum is not to wait until we go */
	if (RecoveryInProgress() || !stay->has_extension || stay->left_alone ||
		stay->problem[0] != '\0' || lg_keeper_news().last_flush < stay->came_at || now >= last)
		return false;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			return false; /* the next one has the new settings */
		if (pg_atomic_read_u32(&lg_shared->policies_changed) != LG_POLICIES_KNOWN)
			return time_is_left(stay, FULL_TIME);
		if (now >= flush)
			return lg_records_unflushed() > 0;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (flush - now + LG_USECS_PER_MSEC - 1) / LG_USECS_PER_MSEC,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		now = lg_clock_read(CLOCK_MONOTONIC);
	}
}

/*
 * The keeper, in the database whose OID it is given.  It does what there is to
 * do and ends, with code 0 even if some of it failed: that is told in shared
 * memory.  SIGTERM is die().
 */
void
lg_keeper_main(Datum arg)
{
	Stay stay = {0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (lg_shared == NULL || !claim())
		proc_exit(0);
	before_shmem_exit(leave, (Datum) 0);
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	at_work = true;

	stay.began = lg_clock_read(CLOCK_MONOTONIC);
	stay.came_at = GetCurrentTimestamp();
	tell(&stay, false);
	lg_errand_settle_in("1s");
	stay.has_extension = true; /* each job looks again */
	do
	{
		if (policies_wanted())
			bring_policies(&stay);
		if (!RecoveryInProgress())
		{
			if (stay.has_extension)
			{
				bring_records(&stay);
				send_notifications(&stay);
			}
			apply_retention(&stay);
		}
		if (!stay.has_extension && has_policies())
			bring_policies(&stay); /* none, then */
	} while (linger(&stay));
	disable_timeout(STATEMENT_TIMEOUT, false);
	tell(&stay, true);
	proc_exit(0);
}
