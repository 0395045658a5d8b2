/*-------------------------------------------------------------------------
 * refusals.c
 *		Connection attempts that the server turned away.
 *
 * The server counts none of them.  It does say so in its log, from the backend that
 * has to refuse, and there we listen.  Which refusal it is tell SQLSTATE, the
 * message as it stands in the source and, where two places use the same words, the
 * source file; never the translated text.
 *
 * That backend may be one that got no PGPROC.  It can take no LWLock and should
 * allocate nothing, so it uses atomics alone: a counter for each cause, which is
 * always right, and a place of a small array for who was refused.  It claims one by
 * an exchange of the place's state, so that two never write into the same; if the
 * place that is its turn is taken, another counter says that nobody knows who it
 * was.  The next pass makes records of all that, and of a flood few: the attempts
 * of all records together are what the counters say.
 *
 * Locking: atomics; for records that of records.c.  What is kept of the second
 * under way belongs to whoever makes a pass.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/* keep the gssapi headers out; the layout of Port does not change */
#undef ENABLE_GSS
#include "libpq/libpq-be.h"

#include "collector.h"
#include "compat.h"
#include "refusals.h"
#include "rights.h"
#include "settings.h"
#include "who.h"

#define PLACES 512		  /* refusals between two passes of which is known who it was */
#define SINGLES 100		  /* in a second that have a record of their own */
#define GROUPS 64		  /* in a second of those that share one */
#define OLDER_IS_CLOCK 10 /* seconds that a refusal comes late at most; more: the clock was set */

/* Who was refused, as the client said; '?' for what is not ASCII, zeros behind. */
typedef struct Client
{
	char usename[NAMEDATALEN];
	char datname[NAMEDATALEN];			/* empty: a physical walsender */
	char application_name[NAMEDATALEN]; /* empty: it did not say */
	LgClient address;
} Client;

/*
 * A place: free, being written or ready to be read.  The state holds the PID of
 * whoever writes or wrote it (lowest 32 bits), then what is in the place, then the
 * cause.
 */
#define STATE_FREE UINT64CONST(0)
#define STATE_WRITING (UINT64CONST(1) << 32)
#define STATE_READY (UINT64CONST(2) << 32)
#define STATE_CAUSE_SHIFT 40
#define STATE_PID(state) ((pid_t) ((state) &PG_UINT32_MAX))
#define STATE_CAUSE(state) ((LgRefusalCause) ((state) >> STATE_CAUSE_SHIFT))

typedef struct Place
{
	pg_atomic_uint64 state;
	TimestampTz at;
	Client client;
} Place;

/* Refusals that are alike, in one second. */
typedef struct Alike
{
	LgRefusalCause cause;
	Client client;
	uint64 number; /* of its record */
} Alike;

typedef struct LgRefusals
{
	pg_atomic_uint32 hidden;  /* the server log does not have them, nor have we */
	pg_atomic_uint32 waiting; /* there are some that no pass has seen */

	/* By cause. */
	pg_atomic_uint64 refused[LG_REFUSAL_CAUSES]; /* since the server's start */
	pg_atomic_uint64 unknown[LG_REFUSAL_CAUSES]; /* of those, without a place */
	pg_atomic_uint64 reset[LG_REFUSAL_CAUSES];	 /* refused, at the last reset */
	pg_atomic_uint64 last_at[LG_REFUSAL_CAUSES]; /* 0 = none since the start or the reset */

	pg_atomic_uint32 turn; /* modulo PLACES */
	Place places[PLACES];

	/* Written and read only by whoever makes a pass. */
	uint64 unknown_seen[LG_REFUSAL_CAUSES];
	bool standby; /* the last pass was on one */
	int64 second; /* the one under way */
	int singles;  /* its records that stand for one attempt */
	int n_groups;
	Alike groups[GROUPS + LG_REFUSAL_CAUSES]; /* the rest, when these are many, by cause only */
} LgRefusals;

typedef struct Refusal
{
	LgRecordHead head;
	TimestampTz at;
	LgRefusalCause cause;
	bool standby;
	int64 attempts; /* how many it stands for */
	Client client;	/* zeros: not known, or several */
} Refusal;

static const char *const cause_names[LG_REFUSAL_CAUSES] = {
	[LG_REFUSED_SLOTS] = "slots",
	[LG_REFUSED_RESERVED] = "reserved",
	[LG_REFUSED_SUPERUSER_RESERVED] = "superuser reserved",
	[LG_REFUSED_DATABASE_LIMIT] = "database limit",
	[LG_REFUSED_ROLE_LIMIT] = "role limit",
	[LG_REFUSED_CHILD_LIMIT] = "child limit",
	[LG_REFUSED_REPLICATION] = "replication",
};

static int
capacity(void)
{
	return Max(lg_max_episodes / 4, 64);
}

Size
lg_refusals_size(void)
{
	return MAXALIGN(sizeof(LgRefusals));
}

/*
 * Begin with none.  Called once, in zeroed memory, when nobody else uses it.
 */
void
lg_refusals_init(void)
{
	LgRefusals *refusals = lg_shared->refusals;

	pg_atomic_init_u32(&refusals->hidden, 0);
	pg_atomic_init_u32(&refusals->waiting, 0);
	pg_atomic_init_u32(&refusals->turn, 0);
	for (int cause = 0; cause < LG_REFUSAL_CAUSES; cause++)
	{
		pg_atomic_init_u64(&refusals->refused[cause], 0);
		pg_atomic_init_u64(&refusals->unknown[cause], 0);
		pg_atomic_init_u64(&refusals->reset[cause], 0);
		pg_atomic_init_u64(&refusals->last_at[cause], 0);
	}
	for (int i = 0; i < PLACES; i++)
		pg_atomic_init_u64(&refusals->places[i].state, STATE_FREE);
	lg_refusals_note_settings();
}

/* --- in the backend that refuses -------------------------------------------------- */

static bool
begins_with(const char *text, const char *beginning)
{
	return strncmp(text, beginning, strlen(beginning)) == 0;
}

/*
 * Which refusal is this?  -1: none that the server itself makes.  Up to 15 only
 * superusers have reserved slots.
 */
static int
cause_of(const ErrorData *error)
{
	const char *message = error->message_id;

	if (message == NULL)
		return -1;
	if (strcmp(message, "sorry, too many clients already") == 0)
	{
		/* the postmaster's child, before it has asked for a slot */
		if (error->filename != NULL && (strcmp(error->filename, "postmaster.c") == 0 ||
										strcmp(error->filename, "backend_startup.c") == 0))
			return LG_REFUSED_CHILD_LIMIT;
		return LG_REFUSED_SLOTS;
	}
	if (begins_with(message, "remaining connection slots are reserved for roles with privileges"))
		return LG_REFUSED_RESERVED;
	if (begins_with(message, "remaining connection slots are reserved for "))
		return LG_REFUSED_SUPERUSER_RESERVED;
	if (begins_with(message, "too many connections for database"))
		return LG_REFUSED_DATABASE_LIMIT;
	if (begins_with(message, "too many connections for role"))
		return LG_REFUSED_ROLE_LIMIT;
	if (begins_with(message, "number of requested standby connections exceeds"))
		return LG_REFUSED_REPLICATION;
	return -1;
}

/* Keep a name that has some encoding or other. */
static void
keep_name(const char *name, char *kept)
{
	int i;

	for (i = 0; name != NULL && name[i] != '\0' && i < NAMEDATALEN - 1; i++)
		kept[i] = name[i] >= 0x20 && name[i] < 0x7F ? name[i] : '?';
	memset(kept + i, 0, NAMEDATALEN - i);
}

/* Write down who it was, in the place whose turn it is.  False if that is taken. */
static bool
write_place(LgRefusals *refusals, LgRefusalCause cause, TimestampTz now)
{
	uint64 free = STATE_FREE;
	uint64 mine = (uint32) MyProcPid | ((uint64) cause << STATE_CAUSE_SHIFT);
	Place *place = &refusals->places[pg_atomic_fetch_add_u32(&refusals->turn, 1) % PLACES];

	if (!pg_atomic_compare_exchange_u64(&place->state, &free, mine | STATE_WRITING))
		return false;
	place->at = now;
	keep_name(MyProcPort->user_name, place->client.usename);
	keep_name(MyProcPort->database_name, place->client.datname);
	keep_name(MyProcPort->application_name, place->client.application_name);
	memset(&place->client.address, 0, sizeof(LgClient));
	lg_who_keep_client(&MyProcPort->raddr, &place->client.address);
	pg_write_barrier();
	pg_atomic_write_u64(&place->state, mine | STATE_READY);
	return true;
}

/*
 * A message goes to the server log: if it refuses this process's client a
 * connection, count that.  For messages of any level; a comparison for most of
 * them.  Takes no lock, allocates nothing and raises no error: there may be no
 * PGPROC.
 */
void
lg_refusals_note(const struct ErrorData *error)
{
	LgRefusals *refusals;
	TimestampTz now;
	int cause;

	if (error->sqlerrcode != ERRCODE_TOO_MANY_CONNECTIONS || error->elevel != FATAL ||
		lg_shared == NULL || !IsUnderPostmaster || MyProcPort == NULL ||
		(cause = cause_of(error)) < 0)
		return;

	refusals = lg_shared->refusals;
	now = GetCurrentTimestamp();
	pg_atomic_fetch_add_u64(&refusals->refused[cause], 1);
	pg_atomic_write_u64(&refusals->last_at[cause], (uint64) now);
	if (!write_place(refusals, cause, now))
		pg_atomic_fetch_add_u64(&refusals->unknown[cause], 1);

	/* the first since a pass began wakes the collector; it knows how soon it wants to look */
	if (pg_atomic_exchange_u32(&refusals->waiting, 1) == 0)
		lg_collector_wake_without_lock();
}

/* --- in a pass --------------------------------------------------------------------- */

/*
 * The settings of the server are those of this process, postmaster or collector:
 * does its log tell of refusals?
 */
void
lg_refusals_note_settings(void)
{
	pg_atomic_write_u32(&lg_shared->refusals->hidden, LG_HIDES_FATAL);
}

/*
 * Are refusals counted?  Not while the server log leaves them out.
 */
bool
lg_refusals_are_counted(void)
{
	return pg_atomic_read_u32(&lg_shared->refusals->hidden) == 0;
}

/*
 * Are there any that no pass has seen?
 */
bool
lg_refusals_unseen(void)
{
	return pg_atomic_read_u32(&lg_shared->refusals->waiting) != 0;
}

/* The group of that kind; NULL if there is none. */
static Alike *
find_group(LgRefusals *refusals, LgRefusalCause cause, const Client *client)
{
	for (int i = 0; i < refusals->n_groups; i++)
	{
		Alike *group = &refusals->groups[i];

		if (group->cause == cause && memcmp(&group->client, client, sizeof(Client)) == 0)
			return group;
	}
	return NULL;
}

/* Put these attempts to others of the same second that are like them. */
static void
add_to_group(LgRefusals *refusals, Refusal *refusal)
{
	static const Client nobody;
	Alike *group = find_group(refusals, refusal->cause, &refusal->client);
	Refusal *place;

	if (group == NULL && refusals->n_groups >= GROUPS)
	{
		refusal->client = nobody;
		group = find_group(refusals, refusal->cause, &refusal->client);
	}
	if (group != NULL)
	{
		place = lg_records_begin_change(LG_REFUSALS, group->number, true);
		if (place != NULL)
			place->attempts += refusal->attempts;
		lg_records_end_change();
		if (place != NULL)
			return;
	}
	else
	{
		group = &refusals->groups[refusals->n_groups++];
		group->cause = refusal->cause;
		group->client = refusal->client;
	}
	group->number = lg_records_add(LG_REFUSALS, refusal, true);
}

/*
 * Make a record, or add to one.  Few are left to singles when the keeper does not
 * come after, or cannot.
 */
static void
record(LgRefusals *refusals, Refusal *refusal, bool single)
{
	int64 second = refusal->at / USECS_PER_SEC;
	int unflushed;
	uint64 lost;

	if (second > refusals->second || second < refusals->second - OLDER_IS_CLOCK)
	{
		refusals->second = second;
		refusals->singles = 0;
		refusals->n_groups = 0;
	}
	refusal->standby = refusals->standby;
	lg_records_count(LG_REFUSALS, &unflushed, &lost);
	if (!single || refusals->singles >= SINGLES || unflushed > capacity() / 2)
		add_to_group(refusals, refusal);
	else
	{
		refusals->singles++;
		(void) lg_records_add(LG_REFUSALS, refusal, true);
	}
}

/* A place that is ready. */
typedef struct Ready
{
	TimestampTz at;
	int place;
} Ready;

static int
compare_ready(const void *a, const void *b)
{
	TimestampTz x = ((const Ready *) a)->at;
	TimestampTz y = ((const Ready *) b)->at;

	return x < y ? -1 : x > y;
}

/*
 * Which places are ready, oldest first.  One whose writer died in the middle is
 * given free: who it was stays unknown.
 */
static int
find_ready(LgRefusals *refusals, Ready *ready)
{
	int n = 0;

	for (int i = 0; i < PLACES; i++)
	{
		Place *place = &refusals->places[i];
		uint64 state = pg_atomic_read_u64(&place->state);

		if (state & STATE_READY)
		{
			pg_read_barrier();
			ready[n].at = place->at;
			ready[n++].place = i;
		}
		else if (state != STATE_FREE && kill(STATE_PID(state), 0) != 0 && errno == ESRCH)
		{
			pg_atomic_fetch_add_u64(&refusals->unknown[STATE_CAUSE(state)], 1);
			pg_atomic_write_u64(&place->state, STATE_FREE);
		}
	}
	qsort(ready, n, sizeof(Ready), compare_ready);
	return n;
}

/* Say of some attempts when they were. */
static void
count_in(LgMemory *memory, TimestampTz at, int64 attempts)
{
	memory->refusals += attempts;
	if (memory->refused_since == 0 || at < memory->refused_since)
		memory->refused_since = at;
	if (at < memory->now.wall - memory->now.wall % USECS_PER_MINUTE)
		memory->refusals_before += attempts;
}

/*
 * Make records of all refusals since the pass before, and tell the memory how many
 * there were.  Raises no error: none is recorded twice, or not at all.
 */
void
lg_refusals_collect(LgMemory *memory)
{
	LgRefusals *refusals = lg_shared->refusals;
	Ready ready[PLACES];
	int n;

	refusals->standby = memory->standby;
	if (pg_atomic_exchange_u32(&refusals->waiting, 0) == 0)
		return;

	n = find_ready(refusals, ready);
	for (int i = 0; i < n; i++)
	{
		Place *place = &refusals->places[ready[i].place];
		Refusal refusal = {.at = place->at, .attempts = 1};

		refusal.cause = STATE_CAUSE(pg_atomic_read_u64(&place->state));
		refusal.client = place->client;
		count_in(memory, refusal.at, 1);
		record(refusals, &refusal, true);
		pg_memory_barrier();
		pg_atomic_write_u64(&place->state, STATE_FREE);
	}
	for (int cause = 0; cause < LG_REFUSAL_CAUSES; cause++)
	{
		uint64 unknown = pg_atomic_read_u64(&refusals->unknown[cause]);
		Refusal refusal = {.at = memory->now.wall, .cause = cause};

		refusal.attempts = (int64) (unknown - refusals->unknown_seen[cause]);
		if (refusal.attempts == 0)
			continue;
		refusals->unknown_seen[cause] = unknown;
		count_in(memory, refusal.at, refusal.attempts);
		record(refusals, &refusal, false);
	}
}

/*
 * The server ends: what no pass has seen gets its records now.  Only when nobody
 * else lives.
 */
void
lg_refusals_close(void)
{
	LgMemory memory = {.now = lg_clock_now(), .standby = lg_shared->refusals->standby};

	lg_refusals_collect(&memory);
}

/* --- to be read ---------------------------------------------------------------------- */

/*
 * Count anew from now on.  Takes no lock.
 */
void
lg_refusals_reset(void)
{
	LgRefusals *refusals = lg_shared->refusals;

	for (int cause = 0; cause < LG_REFUSAL_CAUSES; cause++)
	{
		pg_atomic_write_u64(&refusals->last_at[cause], 0);
		pg_atomic_write_u64(&refusals->reset[cause], pg_atomic_read_u64(&refusals->refused[cause]));
	}
}

/*
 * What a cause is called.
 */
const char *
lg_refusals_cause_name(LgRefusalCause cause)
{
	return cause_names[cause];
}

/*
 * Refused for that cause since the start or the last reset.
 */
int64
lg_refusals_count(LgRefusalCause cause)
{
	LgRefusals *refusals = lg_shared->refusals;
	uint64 reset = pg_atomic_read_u64(&refusals->reset[cause]);

	/* before, not after it, lest a reset in between gives a negative number */
	pg_read_barrier();
	return (int64) (pg_atomic_read_u64(&refusals->refused[cause]) - reset);
}

/*
 * All that were refused since the start or the last reset.
 */
int64
lg_refusals_total(void)
{
	int64 total = 0;

	for (int cause = 0; cause < LG_REFUSAL_CAUSES; cause++)
		total += lg_refusals_count(cause);
	return total;
}

/* May the current user see where clients come from who say that they are this role? */
static bool
may_see(const char *usename)
{
	Oid userid = get_role_oid(usename, true);

	return OidIsValid(userid) ? lg_rights_may_see(userid)
							  : has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

static void
add_name(LgRows *rows, const char *name)
{
	if (name[0] != '\0')
		lg_rows_add_name(rows, name);
	else
		lg_rows_add_null(rows);
}

static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const Refusal *refusal = record;
	const Client *client = &refusal->client;

	lg_rows_add_time(rows, refusal->at);
	lg_rows_add_text(rows, cause_names[refusal->cause]);
	add_name(rows, client->usename);
	add_name(rows, client->datname);
	lg_rows_add_text(rows, client->application_name[0] != '\0' ? client->application_name : NULL);
	if (!masked || may_see(client->usename))
		lg_who_add_client(rows, &client->address);
	else
		lg_rows_add_null(rows);
	lg_rows_add_int8(rows, refusal->attempts);
	lg_rows_add_text(rows, refusal->standby ? "standby" : "primary");
}

static const Oid column_types[] = {TIMESTAMPTZOID, TEXTOID, NAMEOID, NAMEOID,
								   TEXTOID,		   INETOID, INT8OID, TEXTOID};

const LgRecordType lg_refusal_type = {.table = "refusal_entries",
									  .time = "at",
									  .size = sizeof(Refusal),
									  .capacity = capacity,
									  .n_columns = lengthof(column_types),
									  .types = column_types,
									  .add_row = add_row};

PG_FUNCTION_INFO_V1(pg_lifeguard_read_refusals);
PG_FUNCTION_INFO_V1(pg_lifeguard_read_refusal_counts);

/*
 * The refusals in shared memory; what the view refusals shows of them.
 */
Datum
pg_lifeguard_read_refusals(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_REFUSALS);
}

/*
 * lifeguard.read_refusal_counts(): a row for each cause; without numbers while
 * pg_lifeguard is not preloaded.
 */
Datum
pg_lifeguard_read_refusal_counts(PG_FUNCTION_ARGS)
{
	LgRows rows;

	lg_rows_begin(&rows, fcinfo);
	for (int cause = 0; cause < LG_REFUSAL_CAUSES; cause++)
	{
		lg_rows_begin_row(&rows);
		lg_rows_add_text(&rows, cause_names[cause]);
		if (lg_shared == NULL)
		{
			lg_rows_add_null(&rows);
			lg_rows_add_null(&rows);
		}
		else
		{
			lg_rows_add_int8(&rows, lg_refusals_count(cause));
			lg_rows_add_time(
				&rows, (TimestampTz) pg_atomic_read_u64(&lg_shared->refusals->last_at[cause]));
		}
		lg_rows_end_row(&rows);
	}
	PG_RETURN_NULL();
}
