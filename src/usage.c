/*-------------------------------------------------------------------------
 * usage.c
 *		Who holds the connections, over time.
 *
 * Every 5 s one pass counts all sessions by database, role, application and
 * client.  That needs two texts of each, so where a session was counted is
 * remembered, and serves as long as it reports nothing: an idle one is read once
 * a minute.  The records of the minute under way are kept up to date, and due
 * when it is over.
 *
 * Locking: that of the records (records.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"

#include "rights.h"
#include "saturation.h"
#include "series.h"
#include "shared.h"
#include "texts.h"
#include "usage.h"

#define PERIOD (5 * USECS_PER_SEC)

/* What a group had in one minute. */
typedef struct UsageMinute
{
	LgRecordHead head;
	TimestampTz minute;
	LgUsageKey key;
	float4 held; /* averages */
	float4 active;
	float4 idle;
	float4 idle_in_transaction;
	int held_max;
	int active_max;
	uint16 samples;
	bool standby;
} UsageMinute;

static int
capacity(void)
{
	return 2048;
}

/*
 * Bytes of shared memory for the minute under way.
 */
Size
lg_usage_size(void)
{
	return add_size(offsetof(LgUsage, slots), mul_size(sizeof(LgUsagePlace), MaxConnections));
}

/*
 * Begin a pass: is it one that counts?
 */
void
lg_usage_begin_pass(LgUsage *usage, TimestampTz now)
{
	int64 period = now / PERIOD;

	usage->sampling = period != usage->period;
	if (!usage->sampling)
		return;
	usage->period = period;
	for (int i = 0; i < usage->n; i++)
		memset(&usage->groups[i].seen, 0, sizeof(LgStateCounts));
}

static int
add_group(LgUsage *usage, const LgUsageKey *key)
{
	LgUsageGroup *group = &usage->groups[usage->n];

	memset(group, 0, sizeof(LgUsageGroup));
	if (key != NULL)
		group->key = *key;
	return usage->n++;
}

/* The group of that key; the last one is for all that find no room. */
static int
find_group(LgUsage *usage, const LgUsageKey *key)
{
	uint32 place = hash_bytes((const unsigned char *) key, sizeof(LgUsageKey));

	for (;; place++)
	{
		uint16 *group = &usage->places[place % LG_USAGE_PLACES];

		if (*group == 0 && usage->n < LG_USAGE_GROUPS)
			return (*group = add_group(usage, key) + 1) - 1;
		if (*group == 0)
			break;
		if (memcmp(&usage->groups[*group - 1].key, key, sizeof(LgUsageKey)) == 0)
			return *group - 1;
	}
	if (usage->n == LG_USAGE_GROUPS)
		return add_group(usage, NULL);
	return LG_USAGE_GROUPS;
}

/*
 * Whose connection a session is whose texts are known.
 */
void
lg_usage_make_key(const LgSession *session, const char *application_name,
				  const SockAddr *client_addr, LgUsageKey *key)
{
	memset(key, 0, sizeof(LgUsageKey));
	key->databaseid = session->databaseid;
	key->userid = session->userid;
	lg_who_keep_client(client_addr, &key->client);
	strlcpy(key->application_name, application_name, NAMEDATALEN);
}

/*
 * Whose connection a session is.  Returns false if it is gone: then application and
 * client are not known.  Takes no lock.
 */
bool
lg_usage_read_key(const LgSession *session, LgUsageKey *key)
{
	LgSessionTexts texts;
	bool there;

	lg_sessions_init_texts(&texts, false);
	there = lg_sessions_read_texts(session, &texts);
	lg_usage_make_key(session, texts.application_name, &texts.client_addr, key);
	return there;
}

/* The group of a session; -1 if it is gone. */
static int
group_of(LgUsage *usage, const LgSession *session)
{
	LgUsagePlace *known = &usage->slots[session->slot];
	LgUsageKey key;

	if (known->backend_start == session->backend_start && known->changes == session->changes &&
		known->round == usage->round)
		return known->group;

	if (!lg_usage_read_key(session, &key))
		return -1;
	known->backend_start = session->backend_start;
	known->changes = session->changes;
	known->round = usage->round;
	known->group = find_group(usage, &key);
	return known->group;
}

/*
 * Count a session.
 */
void
lg_usage_count(LgUsage *usage, const LgSession *session)
{
	int group = group_of(usage, session);

	if (group >= 0)
		lg_saturation_add(&usage->groups[group].seen, session);
}

/* Bring the record of a group up to date. */
static void
record_group(LgUsageGroup *group, TimestampTz minute, int samples, bool standby)
{
	UsageMinute record;
	UsageMinute *place;

	memset(&record, 0, sizeof(record));
	record.minute = minute;
	record.key = group->key;
	record.held = (float4) group->sums.total / samples;
	record.active = (float4) group->sums.active / samples;
	record.idle = (float4) group->sums.idle / samples;
	record.idle_in_transaction = (float4) lg_saturation_in_transaction(&group->sums) / samples;
	record.held_max = group->held_max;
	record.active_max = group->active_max;
	record.samples = samples;
	record.standby = standby;
	if (group->number == 0)
	{
		group->number = lg_records_add(LG_USAGE, &record, false);
		return;
	}
	place = lg_records_begin_change(LG_USAGE, group->number, false);
	if (place != NULL)
	{
		record.head = place->head;
		*place = record;
	}
	lg_records_end_change();
}

/*
 * The end of a pass.
 */
void
lg_usage_end_pass(LgUsage *usage, TimestampTz minute, bool standby)
{
	if (!usage->sampling)
		return;
	usage->sampling = false;
	usage->samples++;
	for (int i = 0; i < usage->n; i++)
	{
		LgUsageGroup *group = &usage->groups[i];

		lg_saturation_add_counts(&group->sums, &group->seen);
		group->held_max = Max(group->held_max, group->seen.total);
		group->active_max = Max(group->active_max, group->seen.active);
		record_group(group, minute, usage->samples, standby);
	}
}

/*
 * The minute is over: its records are due.
 */
void
lg_usage_end_minute(LgUsage *usage)
{
	for (int i = 0; i < usage->n; i++)
	{
		if (usage->groups[i].number == 0)
			continue;
		(void) lg_records_begin_change(LG_USAGE, usage->groups[i].number, true);
		lg_records_end_change();
	}
	memset(usage->places, 0, sizeof(usage->places));
	usage->n = 0;
	usage->samples = 0;
	usage->round++;
}

/*
 * Add the columns datname, usename, application_name, client_addr; all NULL for those
 * that have no group of their own.  masked: the client is NULL where the current user
 * may not see it.  Needs a transaction.
 */
void
lg_usage_add_key(LgRows *rows, const LgUsageKey *key, bool masked)
{
	bool rest = !OidIsValid(key->databaseid);

	lg_who_add_database(rows, key->databaseid);
	lg_who_add_role(rows, key->userid);
	lg_rows_add_text(rows, rest ? NULL : lg_texts_to_local(key->application_name, key->databaseid));
	if (!rest && (!masked || lg_rights_may_see(key->userid)))
		lg_who_add_client(rows, &key->client);
	else
		lg_rows_add_null(rows);
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const UsageMinute *minute = record;

	lg_rows_add_oid(rows, minute->key.userid);
	lg_rows_add_time(rows, minute->minute);
	lg_usage_add_key(rows, &minute->key, masked);
	lg_rows_add_numeric(rows, minute->held, 3);
	lg_rows_add_int(rows, minute->held_max);
	lg_rows_add_numeric(rows, minute->active, 3);
	lg_rows_add_int(rows, minute->active_max);
	lg_rows_add_numeric(rows, minute->idle, 3);
	lg_rows_add_numeric(rows, minute->idle_in_transaction, 3);
	lg_rows_add_int(rows, minute->samples);
	lg_rows_add_text(rows, minute->standby ? "standby" : "primary");
}

static const Oid column_types[] = {OIDOID,	   TIMESTAMPTZOID, NAMEOID, NAMEOID,	TEXTOID,
								   INETOID,	   NUMERICOID,	   INT4OID, NUMERICOID, INT4OID,
								   NUMERICOID, NUMERICOID,	   INT4OID, TEXTOID};

const LgRecordType lg_usage_type = {.table = "connection_usage_entries",
									.time = "minute",
									.size = sizeof(UsageMinute),
									.capacity = capacity,
									.n_columns = lengthof(column_types),
									.types = column_types,
									.add_row = add_row};

/*
 * Copy the records of the minute that began at since and of the next, newest first.
 */
static int
copy_since(TimestampTz since, UsageMinute *minutes)
{
	uint64 first;
	uint64 number;
	int n = 0;

	lg_records_bounds(LG_USAGE, &first, &number);
	for (; number >= first && n < 2 * (LG_USAGE_GROUPS + 1); number--)
	{
		CHECK_FOR_INTERRUPTS();
		if (!lg_records_copy(LG_USAGE, number, &minutes[n]))
			continue;
		/* not those of before a step of the clock, or a restart */
		if (minutes[n].minute < since || minutes[n].minute > since + USECS_PER_MINUTE ||
			minutes[n].head.boot != lg_shared->created_at)
			break;
		n++;
	}
	return n;
}

/* Take another minute of the same group into a sum of averages times samples. */
static void
add_minute(UsageMinute *sum, const UsageMinute *minute)
{
	sum->held += minute->held * minute->samples;
	sum->active += minute->active * minute->samples;
	sum->idle += minute->idle * minute->samples;
	sum->idle_in_transaction += minute->idle_in_transaction * minute->samples;
	sum->held_max = Max(sum->held_max, minute->held_max);
	sum->active_max = Max(sum->active_max, minute->active_max);
}

/*
 * Put the minutes of each group together; returns how many groups there are, whose
 * sums then stand first, and how many samples these are of.
 */
static int
sum_groups(UsageMinute *minutes, int n, int *samples)
{
	UsageMinute *sums = palloc0(sizeof(UsageMinute) * Max(n, 1));
	TimestampTz minute = 0;
	int groups = 0;

	*samples = 0;
	for (int i = 0; i < n; i++)
	{
		int j = 0;

		if (minutes[i].minute != minute)
			*samples += minutes[i].samples;
		minute = minutes[i].minute;
		while (j < groups && memcmp(&sums[j].key, &minutes[i].key, sizeof(LgUsageKey)) != 0)
			j++;
		if (j == groups)
			sums[groups++].key = minutes[i].key;
		add_minute(&sums[j], &minutes[i]);
	}
	memcpy(minutes, sums, sizeof(UsageMinute) * groups);
	pfree(sums);
	return groups;
}

PG_FUNCTION_INFO_V1(pg_lifeguard_read_recent_usage);

/*
 * lifeguard.read_recent_usage(): who held connections in the minute under way and the
 * one before, together; masked for the current user, and no rows while pg_lifeguard
 * is not preloaded.
 */
Datum
pg_lifeguard_read_recent_usage(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	UsageMinute *groups;
	LgRows rows;
	int samples;
	int n;

	lg_rows_begin(&rows, fcinfo);
	if (lg_shared == NULL)
		PG_RETURN_NULL();
	groups = palloc(sizeof(UsageMinute) * 2 * (LG_USAGE_GROUPS + 1));
	n = copy_since(now - now % USECS_PER_MINUTE - USECS_PER_MINUTE, groups);
	n = sum_groups(groups, n, &samples);
	for (int i = 0; i < n; i++)
	{
		const UsageMinute *sum = &groups[i];

		lg_rows_begin_row(&rows);
		lg_usage_add_key(&rows, &sum->key, true);
		lg_rows_add_numeric(&rows, sum->held / samples, 3);
		lg_rows_add_int(&rows, sum->held_max);
		lg_rows_add_numeric(&rows, sum->active / samples, 3);
		lg_rows_add_int(&rows, sum->active_max);
		lg_rows_add_numeric(&rows, sum->idle / samples, 3);
		lg_rows_add_numeric(&rows, sum->idle_in_transaction / samples, 3);
		lg_rows_add_int(&rows, samples);
		lg_rows_end_row(&rows);
	}
	PG_RETURN_NULL();
}
