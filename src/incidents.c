/*-------------------------------------------------------------------------
 * incidents.c
 *		Stretches of trouble: one bad night is one row.
 *
 * An incident begins when many wait, when the server is nearly full or when a
 * connection has been refused.  It ends when whatever of that there was has been
 * below a lower bound for 30 s; then its end is the moment when it was bad last.
 * What is short of the upper bounds throughout makes none, however long it lasts,
 * and neither does it keep one alive: a server that is always at 87 % of its slots
 * has incidents of waiters that end.
 *
 * Its record is added when it begins and changed at most once a second while it goes
 * on, later more seldom, so that little of it is missing after a crash: two seconds, or
 * a six-hundredth of a long one's length, at most a minute.  Between two passes all lies in
 * shared memory: a collector that is started again goes on where the last one
 * stopped.  A new life of the server begins without an incident; the records of
 * the life before tell by their boot that they do not go on.
 *
 * Locking: those of records.c and ledger.c, one entry at a time; what is kept here
 * belongs to whoever makes a pass.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "incidents.h"
#include "ledger.h"
#include "refusals.h"
#include "settings.h"
#include "shared.h"
#include "texts.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_read_incidents);

#define UPPER_SHARE 90			   /* per cent of the usable slots: an incident */
#define LOWER_SHARE 85			   /* it goes on as long as so many are taken */
#define CALM (30 * USECS_PER_SEC)  /* below the lower bounds for so long: it is over */
#define RELIEF (2 * USECS_PER_SEC) /* an action so long before the end has brought it about */
#define WRITE_AFTER USECS_PER_SEC  /* the record is changed no more often ... */
#define WRITE_SHARE 600			   /* ... and no more often than in such a share of its length */
#define WRITE_AT_LEAST USECS_PER_MINUTE /* but so often */

/* The root with most waiters, as it was when it came to be that one. */
typedef struct LgTopRoot
{
	int slot;
	int pid;
	TransactionId xid;		/* of a prepared transaction */
	TimestampTz xact_start; /* of a session's; 0 = it had none */
	LgFirstCause cause;
} LgTopRoot;

/* What is under way; written and read only by whoever makes a pass. */
typedef struct LgIncidents
{
	uint64 number;		/* of the record; 0 = there is no incident */
	int64 last_bad;		/* monotonic */
	TimestampTz bad_at; /* the same by the wall clock */
	int last_causes;	/* what was bad then */
	bool calm;			/* the last pass was below all lower bounds */
	bool changed;		/* since the record was written */
	int64 began;		/* monotonic */
	int64 written;		/* likewise */
	LgIncidentEnd relief;
	int64 calm_charged; /* in calm passes: counts if it becomes bad again */
	int calm_hurt;		/* likewise */
	LgIncident now;		/* the record, as it would be written */
	LgTopRoot top;
	int counted[FLEXIBLE_ARRAY_MEMBER]; /* by connection slot: the PID last counted as hurt */
} LgIncidents;

static int
capacity(void)
{
	return Max(lg_max_episodes / 20, 16);
}

Size
lg_incidents_size(void)
{
	return MAXALIGN(
		add_size(offsetof(LgIncidents, counted), mul_size(sizeof(int), MaxConnections)));
}

/* --- what is bad ---------------------------------------------------------------- */

/* What reaches the upper bounds, or the lower ones. */
static int
causes_at(const LgMemory *memory, bool upper)
{
	int64 waiting = memory->gauges->waiting;
	int64 used = memory->gauges->used;
	int causes = 0;

	if ((upper ? waiting : 2 * waiting) >= lg_incident_min_waiters)
		causes |= LG_CAUSE_WAITERS;
	if (memory->usable > 0 &&
		100 * used >= (int64) memory->usable * (upper ? UPPER_SHARE : LOWER_SHARE))
		causes |= LG_CAUSE_SATURATION;
	if (memory->refusals > 0)
		causes |= LG_CAUSE_REFUSALS;
	return causes;
}

static int
compare_times(const void *a, const void *b)
{
	TimestampTz x = *(const TimestampTz *) a;
	TimestampTz y = *(const TimestampTz *) b;

	return x < y ? -1 : x > y;
}

/* When as many waited as make an incident: of those who wait now, the last of so many. */
static TimestampTz
waiters_reached_at(const LgMemory *memory)
{
	const LgLockGraph *graph = memory->graph;
	TimestampTz *starts = palloc(sizeof(TimestampTz) * Max(graph->n_nodes, 1));
	TimestampTz reached = memory->now.wall;
	int n = 0;

	for (int i = 0; i < graph->n_nodes; i++)
	{
		if (graph->nodes[i].first_waiter >= 0 && graph->nodes[i].wait_start != 0)
			starts[n++] = graph->nodes[i].wait_start;
	}
	if (n >= lg_incident_min_waiters)
	{
		qsort(starts, n, sizeof(TimestampTz), compare_times);
		reached = Min(reached, starts[lg_incident_min_waiters - 1]);
	}
	pfree(starts);
	return reached;
}

/* Sessions that wait for a lock now and are not counted yet in this incident. */
static int
count_hurt(LgIncidents *incidents, const LgLockGraph *graph)
{
	int n = 0;

	for (int i = 0; graph != NULL && i < graph->n_nodes; i++)
	{
		const LgLockNode *node = &graph->nodes[i];

		if (node->first_waiter < 0 || node->slot >= MaxConnections ||
			incidents->counted[node->slot] == node->pid)
			continue;
		incidents->counted[node->slot] = node->pid;
		n++;
	}
	return n;
}

/* --- the first cause ---------------------------------------------------------- */

/* The root for which most sessions wait, in nodes[]; -1 = there is none. */
static int
find_top_root(const LgLockGraph *graph)
{
	int top = -1;

	for (int i = 0; graph != NULL && i < graph->n_nodes; i++)
	{
		const LgLockNode *node = &graph->nodes[i];

		if (node->first_waiter < 0 && node->blocked_total > 0 &&
			(top < 0 || node->blocked_total > graph->nodes[top].blocked_total))
			top = i;
	}
	return top;
}

/* The relation that others await because of a node, if it is known; its name is to be learnt. */
static void
note_relation(LgFirstCause *cause, const LgLockGraph *graph, int node)
{
	const LgLockWaiter *waiter = lg_lock_graph_first_contender(graph, node);
	LgAwaitedRow row;

	if (waiter == NULL)
		return;
	lg_lock_graph_awaited_row(graph, waiter, &row);
	if (row.uncertain && row.n_candidates <= (int) lengthof(row.candidates))
		row.relation = lg_names_settle(row.databaseid, row.candidates, row.n_candidates);
	if (!OidIsValid(row.relation))
		return;
	cause->databaseid = row.databaseid;
	cause->relation = row.relation;
	lg_names_want(row.databaseid, row.relation);
}

/*
 * Is it whom we met before, who still keeps others waiting for the same reason?  In
 * another transaction it is not, unless somebody has waited for longer than that lasts:
 * for a lock that belongs to the session.
 */
static bool
is_same_root(const LgTopRoot *top, const LgLockNode *node)
{
	LgSession session;

	if (!top->cause.known || top->slot != node->slot || top->pid != node->pid ||
		top->xid != node->xid)
		return false;
	if (node->pid == 0 || !lg_sessions_read_one(node->slot, &session) || session.pid != node->pid)
		return true;
	return session.xact_start == 0 || session.xact_start == top->xact_start ||
		   node->longest < session.xact_start;
}

/*
 * Keep who has most waiters, as it is when that begins: what it runs later is
 * another story.
 */
static void
meet_top_root(LgTopRoot *top, const LgLockGraph *graph)
{
	int index = find_top_root(graph);
	const LgLockNode *node;

	if (index < 0)
	{
		memset(top, 0, sizeof(LgTopRoot));
		return;
	}
	node = &graph->nodes[index];
	if (!is_same_root(top, node))
	{
		LgSession session;

		memset(top, 0, sizeof(LgTopRoot));
		top->slot = node->slot;
		top->pid = node->pid;
		top->xid = node->xid;
		if (node->pid == 0)
		{
			top->cause.root.userid = node->roleid;
			top->cause.root.databaseid = node->databaseid;
			top->cause.known = true;
		}
		else if (lg_sessions_read_one(node->slot, &session) && session.pid == node->pid)
		{
			top->xact_start = session.xact_start;
			top->cause.known = lg_who_of(&session, &top->cause.root);
		}
	}
	if (!OidIsValid(top->cause.relation))
		note_relation(&top->cause, graph, index);
}

/* Take it over: the first that is known, and what is learnt of it later. */
static void
keep_first_cause(LgIncidents *incidents)
{
	LgFirstCause *first = &incidents->now.first;
	const LgFirstCause *top = &incidents->top.cause;

	if (top->known &&
		(!first->known || (!OidIsValid(first->relation) && first->root.pid == top->root.pid &&
						   first->root.backend_start == top->root.backend_start &&
						   first->root.query_start == top->root.query_start)))
		*first = *top;
}

/* --- how it ended ------------------------------------------------------------------ */

/* Has that action ended what was bad last? */
static bool
brought_relief(const LgIncidents *incidents, const LgLedgerEntry *entry, TimestampTz now)
{
	static const char *const done[] = {"terminated in", "cancelled in", "rolled back in"};
	bool did = false;

	for (int i = 0; i < (int) lengthof(done); i++)
		did |= strncmp(entry->outcome, done[i], strlen(done[i])) == 0;
	if (!did || entry->at > now || entry->outcome_at < incidents->bad_at - RELIEF)
		return false;
	if (incidents->last_causes & LG_CAUSE_WAITERS)
		return 2 * (int64) entry->blocked_total >= lg_incident_min_waiters;
	return entry->signal[0] != '\0' && strcmp(entry->signal, "SIGINT") != 0;
}

/* Look for an action of ours among the newest, the newest first. */
static void
look_for_relief(LgIncidents *incidents, TimestampTz now)
{
	LgLedgerScan scan = {0, 0};
	LgLedgerEntry entry;

	while (lg_ledger_next_back(&scan, &entry))
	{
		if (brought_relief(incidents, &entry, now))
		{
			incidents->relief =
				entry.policy[0] != '\0' ? LG_INCIDENT_BY_POLICY : LG_INCIDENT_BY_HAND;
			return;
		}
	}
}

/* --- from pass to pass ---------------------------------------------------------------- */

/* Change the record to what is known now. */
static void
put_record(LgIncidents *incidents)
{
	LgIncident *place = lg_records_begin_change(LG_INCIDENTS, incidents->number, true);

	if (place != NULL)
	{
		incidents->now.head = place->head;
		*place = incidents->now;
	}
	lg_records_end_change();
}

/* The same, and see to the name of the relation. */
static void
write_record(LgIncidents *incidents, int64 mono)
{
	LgIncident *now = &incidents->now;

	/* the name stays with the record: the relation may be dropped, or make room for others */
	if (OidIsValid(now->first.relation) && now->first.relation_name[0] == '\0' &&
		!lg_names_find(now->first.databaseid, now->first.relation, now->first.relation_name))
		lg_names_want(now->first.databaseid, now->first.relation);

	put_record(incidents);
	incidents->changed = false;
	incidents->written = mono;
}

/* How long what has changed may wait: a long one is not written each second. */
static int64
write_interval(const LgIncidents *incidents, int64 mono)
{
	return Min(Max((mono - incidents->began) / WRITE_SHARE, WRITE_AFTER), WRITE_AT_LEAST);
}

/* A pass in which it is bad. */
static void
suffer(LgIncidents *incidents, const LgMemory *memory, int causes)
{
	LgIncident *now = &incidents->now;
	const LgGauges *gauges = memory->gauges;

	now->causes |= causes & causes_at(memory, true);
	if ((now->causes & LG_CAUSE_WAITERS) ? gauges->waiting > now->worst_waiters
										 : gauges->used > now->worst_used)
		now->worst_at = memory->now.wall;
	now->worst_waiters = Max(now->worst_waiters, gauges->waiting);
	now->worst_used = Max(now->worst_used, gauges->used);
	now->sessions_hurt += incidents->calm_hurt + count_hurt(incidents, memory->graph);
	now->charged += incidents->calm_charged + memory->charged;
	if (memory->refusals > 0 || lg_refusals_are_counted())
		now->refusals = Max(now->refusals, 0) + memory->refusals;
	now->until = Max(now->until, memory->now.wall);
	keep_first_cause(incidents);

	incidents->calm = false;
	incidents->calm_hurt = 0;
	incidents->calm_charged = 0;
	incidents->relief = LG_INCIDENT_OPEN;
	incidents->last_causes = causes;
	incidents->last_bad = memory->now.mono;
	incidents->bad_at = memory->now.wall;
	incidents->changed = true;
}

/* A pass in which it is not bad any more.  What it charges is the tail of what was. */
static void
calm_down(LgIncidents *incidents, const LgMemory *memory)
{
	int64 calm_for = memory->now.mono - incidents->last_bad;

	if (!incidents->calm)
	{
		incidents->now.charged += memory->charged;
		incidents->changed |= memory->charged != 0;
	}
	else
		incidents->calm_charged += memory->charged;
	incidents->calm_hurt += count_hurt(incidents, memory->graph);

	/* what came of an action may be known a little later */
	if (incidents->relief == LG_INCIDENT_OPEN && (!incidents->calm || calm_for < RELIEF))
		look_for_relief(incidents, memory->now.wall);
	incidents->calm = true;
	if (calm_for < CALM)
		return;
	incidents->now.ended_by =
		incidents->relief != LG_INCIDENT_OPEN ? incidents->relief : LG_INCIDENT_BY_ITSELF;
	write_record(incidents, memory->now.mono);
	incidents->number = 0;
}

/* The first pass of an incident. */
static void
begin(LgIncidents *incidents, const LgMemory *memory, int causes)
{
	LgIncident *now = &incidents->now;
	int interval = lg_shared->current_interval;

	memset(now, 0, sizeof(LgIncident));
	memset(incidents->counted, 0, sizeof(int) * MaxConnections);
	now->since = now->worst_at = memory->now.wall;
	if ((causes & LG_CAUSE_WAITERS) && memory->graph != NULL)
		now->since = waiters_reached_at(memory);
	if (causes & LG_CAUSE_REFUSALS)
		now->since = Min(now->since, memory->refused_since);

	/* what only one pass sees has lasted for an interval */
	now->until = now->since + (interval > 0 ? interval : lg_fast_interval) * LG_USECS_PER_MSEC;
	now->usable = memory->usable;
	now->refusals = -1;
	now->standby = memory->standby;
	incidents->calm_hurt = 0;
	incidents->calm_charged = 0;
	suffer(incidents, memory, causes);

	incidents->number = lg_records_add(LG_INCIDENTS, now, true);
	incidents->began = incidents->written = memory->now.mono;
	incidents->changed = false;
}

/*
 * What a pass has seen: does an incident begin, go on, end?
 */
void
lg_incidents_observe(LgMemory *memory)
{
	LgIncidents *incidents = lg_shared->incidents;
	int causes = causes_at(memory, true);

	meet_top_root(&incidents->top, memory->graph);
	if (incidents->number == 0)
	{
		if (causes != 0)
			begin(incidents, memory, causes);
		return;
	}

	causes |= causes_at(memory, false) & incidents->now.causes;
	if (causes != 0)
		suffer(incidents, memory, causes);
	else
		calm_down(incidents, memory);
	if (incidents->number != 0 && incidents->changed &&
		memory->now.mono - incidents->written >= write_interval(incidents, memory->now.mono))
		write_record(incidents, memory->now.mono);
}

/*
 * The server ends: what has changed since the record was written belongs to it.  Only
 * when nobody makes passes any more; the postmaster's last act, which allocates nothing
 * and raises no error.
 */
void
lg_incidents_close(void)
{
	LgIncidents *incidents = lg_shared->incidents;

	if (incidents->number != 0 && incidents->changed)
		put_record(incidents);
}

/* --- as a row ---------------------------------------------------------------------- */

static void
add_causes(LgRows *rows, int causes)
{
	static const char *const names[] = {"waiters", "saturation", "refusals"};
	const char *shown[lengthof(names)];
	int n = 0;

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		if (causes & (1 << i))
			shown[n++] = names[i];
	}
	lg_rows_add_texts(rows, shown, n);
}

/* The relation: as recorded, as learnt meanwhile, or as this database's catalogs have it. */
static void
add_relation_name(LgRows *rows, const LgFirstCause *cause)
{
	if (cause->relation_name[0] != '\0')
		lg_rows_add_text(rows, lg_texts_to_local(cause->relation_name, cause->databaseid));
	else
		lg_rows_add_text(rows, lg_names_of(cause->databaseid, cause->relation));
}

/*
 * Is one under way?  One word of whoever makes passes, read without a lock.
 */
bool
lg_incidents_is_open(void)
{
	return ((volatile LgIncidents *) lg_shared->incidents)->number != 0;
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const LgIncident *incident = record;
	static const char *const ends[] = {NULL, "by itself", "policy", "by hand"};

	lg_rows_add_time(rows, incident->since);
	lg_rows_add_time(rows, incident->until);
	lg_rows_add(rows, BoolGetDatum(incident->ended_by == LG_INCIDENT_OPEN &&
								   incident->head.boot == lg_shared->created_at));
	lg_rows_add_time(rows, incident->worst_at);
	add_causes(rows, incident->causes);
	lg_rows_add_int(rows, incident->worst_waiters);
	lg_rows_add_int(rows, incident->worst_used);
	lg_rows_add_int(rows, incident->usable);
	if (incident->refusals < 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int8(rows, incident->refusals);
	lg_rows_add_int(rows, incident->sessions_hurt);
	lg_rows_add(rows, NumericGetDatum(int64_div_fast_to_numeric(incident->charged, 6)));
	if (incident->first.known)
		lg_who_add(rows, &incident->first.root, masked);
	else
	{
		for (int i = 0; i < LG_WHO_COLUMNS; i++)
			lg_rows_add_null(rows);
	}
	add_relation_name(rows, &incident->first);
	lg_rows_add_text(rows, ends[incident->ended_by]);
	lg_rows_add_text(rows, incident->standby ? "standby" : "primary");
}

static const Oid column_types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID,
								   TEXTARRAYOID, INT4OID, INT4OID, INT4OID, INT8OID, INT4OID,
								   NUMERICOID,
								   /* the root blocker */
								   OIDOID, INT4OID, TIMESTAMPTZOID, NAMEOID, NAMEOID, TEXTOID,
								   INETOID, TEXTOID, INT8OID, TEXTOID, TEXTOID,
								   /* relation_name, ended_by, recorded_on */
								   TEXTOID, TEXTOID, TEXTOID};

const LgRecordType lg_incident_type = {.table = "incident_entries",
									   .time = "since",
									   .end = "o.until",
									   .size = sizeof(LgIncident),
									   .capacity = capacity,
									   .n_columns = lengthof(column_types),
									   .types = column_types,
									   .add_row = add_row};

/*
 * The incidents in shared memory; what the view incidents shows of them.
 */
Datum
pg_lifeguard_read_incidents(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_INCIDENTS);
}
