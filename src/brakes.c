/*-------------------------------------------------------------------------
 * brakes.c
 *		lifeguard.pause() and lifeguard.resume().
 *
 * While everything is paused policies only rehearse; calls by hand still work.
 * A pause ends by itself.  It has to outlive a restart and a crash, for it is
 * called before a migration that must not be disturbed, so it lies in a small
 * file as well, which is written before the pause counts.
 *
 * Locking: lg_shared->lock for a moment; both make a pass of their own, resume()
 * since it changes what only passes may change, pause() to wait for one under way.
 * When it ends that pass memory and file say the same: a pause() what is in force by
 * then, its own if nothing is, so a newer one stays.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "brakes.h"
#include "policy.h"
#include "rescue.h"
#include "settings.h"
#include "shared.h"
#include "stat_file.h"
#include "test_point.h"
#include "visits.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_pause);
PG_FUNCTION_INFO_V1(pg_lifeguard_resume);

#define PAUSE_FILE PGSTAT_STAT_PERMANENT_DIRECTORY "/pg_lifeguard.pause"
#define PAUSE_MAGIC 0x4c475032
#define LONGEST_PAUSE (366 * USECS_PER_DAY)

/* What the file holds. */
typedef struct PauseRecord
{
	uint32 magic;
	uint32 size;
	TimestampTz until;
	char reason[LG_PAUSE_REASON];
	TimestampTz since;
} PauseRecord;

/*
 * Take up a pause that was in force when the server stopped.  Called once, in
 * the postmaster, when shared memory is created.  What cannot be read is said
 * in the log and left.
 */
void
lg_brakes_restore(void)
{
	PauseRecord record;

	if (!lg_stat_file_read(PAUSE_FILE, &record, sizeof(record)))
		return;
	if (record.magic != PAUSE_MAGIC || record.size != sizeof(record) ||
		record.until > GetCurrentTimestamp() + LONGEST_PAUSE ||
		memchr(record.reason, '\0', LG_PAUSE_REASON) == NULL)
		ereport(LOG, (errmsg("ignoring invalid file \"%s\"", PAUSE_FILE)));
	else if (record.until > GetCurrentTimestamp())
	{
		lg_shared->paused_until = record.until;
		lg_shared->paused_since = record.since;
		strlcpy(lg_shared->pause_reason, record.reason, LG_PAUSE_REASON);
	}
}

/* Put a pause into the file, then into force. */
static void
keep(const PauseRecord *record)
{
	lg_stat_file_write(PAUSE_FILE, record, sizeof(PauseRecord));
	LG_TEST_POINT("middle of a pause");
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_shared->paused_until = record->until;
	lg_shared->paused_since = record->since;
	strlcpy(lg_shared->pause_reason, record->reason, LG_PAUSE_REASON);
	LWLockRelease(lg_shared->lock);
}

/* What is in force; until is 0 if nothing is. */
static void
read_in_force(PauseRecord *record)
{
	LWLockAcquire(lg_shared->lock, LW_SHARED);
	record->until = lg_shared->paused_until;
	record->since = lg_shared->paused_since;
	strlcpy(record->reason, lg_shared->pause_reason, LG_PAUSE_REASON);
	LWLockRelease(lg_shared->lock);
}

/*
 * lifeguard.pause(duration, reason): policies only rehearse for that long.
 * Returns until when, as soon as a pass or rollback that is being made is over.  A
 * second pause replaces the first.  Raises errors for a duration or reason that is
 * none, while not preloaded, and when the file cannot be written; then nothing is
 * paused that was not.  When it is cancelled while it waits, it may be.
 */
Datum
pg_lifeguard_pause(PG_FUNCTION_ARGS)
{
	PauseRecord record = {.magic = PAUSE_MAGIC, .size = sizeof(PauseRecord)};
	PauseRecord in_force = record;
	TimestampTz now = GetCurrentTimestamp();
	char *reason;

	lg_shared_require();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("duration and reason must not be null")));
	reason = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (reason[strspn(reason, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("reason must not be empty"),
				 errhint("It is shown in lifeguard.policy_status.")));
	if (strlen(reason) >= LG_PAUSE_REASON)
		ereport(ERROR, (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("reason is too long"),
						errdetail("It has %d bytes; the limit is %d.", (int) strlen(reason),
								  LG_PAUSE_REASON - 1)));
	record.until = DatumGetTimestampTz(
		DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), PG_GETARG_DATUM(0)));
	if (record.until <= now || record.until > now + LONGEST_PAUSE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("duration must be greater than 0 and at most 366 days"),
						errhint("pg_lifeguard.enforce = off stops all action for good.")));
	/* one that replaces another only prolongs it, or ends it sooner */
	read_in_force(&in_force);
	record.since = in_force.until > now ? in_force.since : now;
	strlcpy(record.reason, reason, LG_PAUSE_REASON);

	/* at once: a pass that is being made asks before each victim */
	keep(&record);
	ereport(LOG, (errmsg("policies paused by role \"%s\" until %s",
						 GetUserNameFromId(GetUserId(), false), timestamptz_to_str(record.until)),
				  errdetail("Reason: %s", reason), errhidestmt(true), errhidecontext(true)));

	/*
	 * What a pass has decided before it may still be carried out: not after we return.
	 * And in case a resume(), or another pause(), came between file and memory:
	 */
	lg_shared_begin_pass();
	PG_TRY();
	{
		read_in_force(&in_force);
		if (in_force.until == 0)
			keep(&record);
		else
			lg_stat_file_write(PAUSE_FILE, &in_force, sizeof(PauseRecord));
	}
	PG_FINALLY();
	{
		lg_shared_end_pass();
	}
	PG_END_TRY();
	lg_visits_await_rollback();
	PG_RETURN_TIMESTAMPTZ(record.until);
}

/*
 * lifeguard.resume(): end a pause, and those of all breakers.  Waits for a pass
 * that is being made.  Raises errors while not preloaded, and when the file cannot be
 * removed; then, as when it is cancelled while it waits, nothing is resumed.
 */
Datum
pg_lifeguard_resume(PG_FUNCTION_ARGS)
{
	lg_shared_require();
	lg_shared_begin_pass();
	PG_TRY();
	{
		lg_stat_file_remove(PAUSE_FILE);
		LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
		lg_shared->paused_until = 0;
		lg_shared->pause_reason[0] = '\0';
		for (int place = 0; place < lg_max_policies; place++)
		{
			lg_shared->states[place].paused_until = 0;
			lg_shared->states[place].fruitless = 0;
		}
		LWLockRelease(lg_shared->lock);
	}
	PG_FINALLY();
	{
		lg_shared_end_pass();
	}
	PG_END_TRY();

	ereport(LOG, (errmsg("policies resumed by role \"%s\"", GetUserNameFromId(GetUserId(), false)),
				  errhidestmt(true), errhidecontext(true)));
	PG_RETURN_VOID();
}
