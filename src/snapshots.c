/*-------------------------------------------------------------------------
 * snapshots.c
 *		Who held the connections when the server was fullest, and when it turned
 *		somebody away.
 *
 * A pass that finds more slots taken than ever before, or that connection attempts
 * have been turned away, looks at all sessions once more and counts them by database,
 * role, application and client, before policies act: afterwards those who filled the
 * server may be gone.
 *
 * There is no more than one snapshot a second for each of the two reasons.  A pool
 * fills within less: of what a second saw the fullest is kept until it may be recorded.
 * Marks are passed no more often than there are slots, so looking each time costs
 * nothing that counts; refusals go on and on, so they are looked at once a second.
 *
 * Locking: that of the records (records.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/hsearch.h"

#include "rights.h"
#include "saturation.h"
#include "snapshots.h"
#include "usage.h"

#define LEAST_DISTANCE USECS_PER_SEC /* between two for the same reason */
#define GROUPS 64					 /* told apart in a snapshot */

PG_FUNCTION_INFO_V1(pg_lifeguard_read_saturation_snapshots);

typedef enum Reason
{
	HIGH_WATER,
	REFUSAL
} Reason;

/* One group of a snapshot. */
typedef struct SlotSnapshot
{
	LgRecordHead head;
	TimestampTz at;
	int64 oldest_idle; /* microseconds; -1 = none is idle, or it is of many groups */
	LgUsageKey key;	   /* all zeros: those that have no group of their own */
	LgStateCounts counts;
	int used;
	int usable;
	uint8 reason;
	bool standby;
} SlotSnapshot;

/* A group while it is counted. */
typedef struct SlotGroup
{
	LgUsageKey key; /* first: the hash table's */
	LgStateCounts counts;
	TimestampTz idle_since; /* the longest idle one; 0 = none is */
} SlotGroup;

/* Written and read only by whoever makes a pass. */
typedef struct LgSnapshots
{
	int64 recorded[REFUSAL + 1]; /* monotonic; when there was one for that reason; 0 = never */
	int n;						 /* of the fullest that is yet to be recorded; 0 = there is none */
	SlotSnapshot fullest[GROUPS + 1];
} LgSnapshots;

/* 0.4 MB */
static int
capacity(void)
{
	return 2048;
}

/*
 * Bytes of shared memory.
 */
Size
lg_snapshots_size(void)
{
	return MAXALIGN(sizeof(LgSnapshots));
}

/* --- looking ---------------------------------------------------------------------- */

/*
 * Count a session into its group.  One that is gone by now, or still logging in, has
 * none: its slot is counted all the same.
 */
static void
count_session(HTAB *groups, const LgSession *session)
{
	LgUsageKey key;
	SlotGroup *group;
	bool found;

	if (!OidIsValid(session->databaseid) || !lg_usage_read_key(session, &key))
		return;
	group = hash_search(groups, &key, HASH_ENTER, &found);
	if (!found)
	{
		memset(&group->counts, 0, sizeof(LgStateCounts));
		group->idle_since = 0;
	}
	lg_saturation_add(&group->counts, session);
	if (session->state == STATE_IDLE &&
		(group->idle_since == 0 || session->state_change < group->idle_since))
		group->idle_since = session->state_change;
}

/* The largest first. */
static int
compare_groups(const void *left, const void *right)
{
	const SlotGroup *a = left;
	const SlotGroup *b = right;

	if (a->counts.total != b->counts.total)
		return a->counts.total > b->counts.total ? -1 : 1;
	return memcmp(&a->key, &b->key, sizeof(LgUsageKey));
}

/* Count all sessions.  Sets the slots taken; returns the groups, the largest first. */
static SlotGroup *
count_groups(int *used, int *n)
{
	HASHCTL ctl = {.keysize = sizeof(LgUsageKey),
				   .entrysize = sizeof(SlotGroup),
				   .hcxt = CurrentMemoryContext};
	HTAB *table =
		hash_create("pg_lifeguard snapshot", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	LgSessionScan scan = {0, 0};
	LgSession session;
	HASH_SEQ_STATUS seq;
	SlotGroup *groups;
	SlotGroup *group;

	while (lg_sessions_next(&scan, &session))
	{
		CHECK_FOR_INTERRUPTS();
		count_session(table, &session);
	}
	*used = scan.used;
	*n = 0;
	groups = palloc(sizeof(SlotGroup) * Max(hash_get_num_entries(table), 1));
	hash_seq_init(&seq, table);
	while ((group = hash_seq_search(&seq)) != NULL)
		groups[(*n)++] = *group;
	hash_destroy(table);
	qsort(groups, *n, sizeof(SlotGroup), compare_groups);
	return groups;
}

/* One row; no group: the rest. */
static SlotSnapshot *
add_group(SlotSnapshot *rows, int *n, const SlotSnapshot *common, const SlotGroup *group)
{
	SlotSnapshot *row = &rows[(*n)++];

	*row = *common;
	if (group != NULL)
	{
		row->key = group->key;
		row->counts = group->counts;
		if (group->idle_since != 0)
			row->oldest_idle = lg_clock_age(group->idle_since, common->at);
	}
	return row;
}

/* Look who has the connections now, into room for GROUPS + 1 rows.  Returns how many it takes. */
static int
look(const LgMemory *memory, Reason reason, SlotSnapshot *rows)
{
	SlotSnapshot common;
	SlotGroup *groups;
	int n_groups;
	int named = 0;
	int n = 0;

	memset(&common, 0, sizeof(SlotSnapshot));
	common.at = memory->now.wall;
	common.oldest_idle = -1;
	common.usable = memory->usable;
	common.reason = reason;
	common.standby = memory->standby;
	groups = count_groups(&common.used, &n_groups);
	for (int i = 0; i < Min(n_groups, GROUPS); i++)
		named += add_group(rows, &n, &common, &groups[i])->counts.total;
	if (named < common.used)
	{
		SlotSnapshot *rest = add_group(rows, &n, &common, NULL);

		for (int i = GROUPS; i < n_groups; i++)
			lg_saturation_add_counts(&rest->counts, &groups[i].counts);
		rest->counts.total = common.used - named; /* those of no group, too */
	}
	pfree(groups);
	return n;
}

/* --- recording -------------------------------------------------------------------- */

/* May there be one for that reason? */
static bool
is_time(const LgSnapshots *snapshots, Reason reason, int64 mono)
{
	return snapshots->recorded[reason] == 0 || mono - snapshots->recorded[reason] >= LEAST_DISTANCE;
}

static void
record(LgSnapshots *snapshots, const SlotSnapshot *rows, int n, int64 mono)
{
	for (int i = 0; i < n; i++)
		lg_records_add(LG_SNAPSHOTS, &rows[i], true);
	if (n > 0)
		snapshots->recorded[rows[0].reason] = mono;
}

/*
 * What a pass has seen: who has the connections, if that is worth keeping.  After its
 * gauges are published, and before policies act.
 */
void
lg_snapshots_observe(const LgMemory *memory)
{
	LgSnapshots *snapshots = lg_shared->snapshots;
	bool new_mark = lg_shared->gauges.high_water_at == memory->now.wall;
	int64 mono = memory->now.mono;

	if (new_mark)
	{
		snapshots->n = 0; /* while there is no whole one */
		snapshots->n = look(memory, HIGH_WATER, snapshots->fullest);
	}
	if (snapshots->n > 0 && is_time(snapshots, HIGH_WATER, mono))
	{
		record(snapshots, snapshots->fullest, snapshots->n, mono);
		snapshots->n = 0;
	}
	if (memory->refusals > 0 && is_time(snapshots, REFUSAL, mono))
	{
		SlotSnapshot *rows = palloc(sizeof(SlotSnapshot) * (GROUPS + 1));

		record(snapshots, rows, look(memory, REFUSAL, rows), mono);
		pfree(rows);
	}
}

/* --- as a row --------------------------------------------------------------------- */

static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const SlotSnapshot *snapshot = record;
	const LgUsageKey *key = &snapshot->key;

	lg_rows_add_oid(rows, key->userid);
	lg_rows_add_time(rows, snapshot->at);
	lg_rows_add_text(rows, snapshot->reason == REFUSAL ? "refusal" : "high water");
	lg_rows_add_int(rows, snapshot->used);
	lg_rows_add_int(rows, snapshot->usable);
	lg_usage_add_key(rows, key, masked);
	lg_rows_add_int(rows, snapshot->counts.total);
	lg_rows_add_int(rows, snapshot->counts.active);
	lg_rows_add_int(rows, snapshot->counts.idle);
	lg_rows_add_int(rows, lg_saturation_in_transaction(&snapshot->counts));
	if (snapshot->oldest_idle >= 0 && (!masked || lg_rights_may_see(key->userid)))
		lg_rows_add_span(rows, snapshot->oldest_idle);
	else
		lg_rows_add_null(rows);
	lg_rows_add_text(rows, snapshot->standby ? "standby" : "primary");
}

static const Oid column_types[] = {OIDOID,	TIMESTAMPTZOID, TEXTOID, INT4OID,	  INT4OID,
								   NAMEOID, NAMEOID,		TEXTOID, INETOID,	  INT4OID,
								   INT4OID, INT4OID,		INT4OID, INTERVALOID, TEXTOID};

const LgRecordType lg_snapshot_type = {.table = "snapshot_entries",
									   .time = "at",
									   .size = sizeof(SlotSnapshot),
									   .capacity = capacity,
									   .n_columns = lengthof(column_types),
									   .types = column_types,
									   .add_row = add_row};

/*
 * The snapshots in shared memory; what the view saturation_snapshots shows of them.
 */
Datum
pg_lifeguard_read_saturation_snapshots(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_SNAPSHOTS);
}
