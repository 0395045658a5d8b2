/*-------------------------------------------------------------------------
 * idle_episodes.c
 *		Stays idle in transaction: began, goes on, ended.
 *
 * An episode is opened when a pass sees a session idle in transaction for so long
 * that it may exceed pg_lifeguard.min_episode before the next one looks: its texts
 * are copied and its locks counted once, then.  Each pass that sees it again adds
 * whom it keeps waiting.  It is closed by the first pass that does not see it any
 * more, and becomes a record if it was long enough.
 *
 * Its start is exact: when the session reported that state.  Of its end the session
 * shows the start of its newest statement; that is the end if no more than one can
 * have begun since, which the count of its reports tells: whatever is exact says so
 * by a precision of 0.
 *
 * No more is charged than is proven: a waiter has waited since the start of its own
 * wait, at most since the pass before or since the pause began.
 *
 * Durations are told by the monotonic clock; the wall clock, which backends stamp,
 * makes them finer where the two agree.
 *
 * Locking: none of ours; what is under way is written and read only by whoever makes
 * a pass, and by the postmaster when nobody else lives.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/numeric.h"

#include "clock.h"
#include "compat.h"
#include "endings.h"
#include "horizon.h"
#include "idle_episodes.h"
#include "ledger.h"
#include "lock_roots.h"
#include "rights.h"
#include "settings.h"
#include "shared.h"
#include "statement_trail.h"
#include "statements.h"
#include "who.h"

#define CLOCK_TOLERANCE USECS_PER_SEC  /* between what the two clocks say of a pause */
#define HORIZON_INTERVAL USECS_PER_SEC /* between two looks at who holds the horizon back */
#define MAX_BLOCKED_LOOKED_AT 4096	   /* in a pass; beyond, their waits are added up in bulk */

/* How an episode ended. */
typedef enum EndedBy
{
	BY_STATEMENT,
	BY_END_OF_TRANSACTION,
	BY_GOING,
	BY_TIMEOUT,
	BY_POLICY,
	BY_HAND,
	BY_CANCEL
} EndedBy;

static const char *const ended_by_names[] = {
	[BY_STATEMENT] = "statement", [BY_END_OF_TRANSACTION] = "end of transaction",
	[BY_GOING] = "gone",		  [BY_TIMEOUT] = "timeout",
	[BY_POLICY] = "policy",		  [BY_HAND] = "by hand",
	[BY_CANCEL] = "cancelled"};

/* An episode under way, by connection slot. */
typedef struct IdleEpisode
{
	int pid;   /* 0 = none is open */
	int place; /* in open[] */
	int texts; /* in texts[], from 1; 0 = there was no room */
	Oid userid;
	Oid databaseid;
	BackendState state;
	int64 query_id;
	TimestampTz backend_start;
	TimestampTz xact_start;
	TimestampTz idle_start;
	int64 seen;		/* monotonic: the newest pass that saw it */
	int64 gap;		/* microseconds: to the pass that saw it before, or to its start */
	int64 proven;	/* microseconds that it had lasted when last seen */
	int changes;	/* LgSession.changes then */
	int locks_held; /* -1 = not known */
	int max_blocked;
	int64 blocked;			   /* microseconds, of all that it kept waiting */
	TimestampTz charged_until; /* 0 = nobody was charged yet */
	TransactionId horizon;	   /* the older of its xid and xmin */
	int horizon_age;		   /* at its worst; -1 = it was never the one */
} IdleEpisode;

/* What is kept of a session in such a state. */
typedef struct Texts
{
	LgWho who;
	LgTrailExcerpt trail;
} Texts;

typedef struct LgIdleEpisodes
{
	LgTime clock;			/* of the newest pass */
	int64 jump;				/* what the wall clock jumped by, last; 0 = it never did */
	TimestampTz jumped_at;	/* the pass before that jump, by the clock as it is since */
	int64 horizons_read_at; /* monotonic */
	bool standby;
	int n_open;
	int n_texts_used; /* of texts[], once at least */
	int n_texts_free; /* in free_texts[] */
	IdleEpisode *of_slot;
	int *open; /* slots, in no order */
	Texts *texts;
	int *free_texts;
	char data[FLEXIBLE_ARRAY_MEMBER];
} LgIdleEpisodes;

typedef struct IdleRecord
{
	LgRecordHead head;
	LgWho who;
	LgTrailExcerpt trail;
	TimestampTz xact_start;
	TimestampTz idle_start;
	int64 duration;
	int64 precision; /* how far that may be off; 0 = exact */
	int64 blocked;
	int locks_held; /* -1 = not known */
	int max_blocked;
	int horizon_age; /* -1 = never held it */
	EndedBy ended_by;
	bool standby;
} IdleRecord;

/* What is known of an end. */
typedef struct End
{
	TimestampTz at; /* 0 = only that it lies between two passes */
	bool exact;
	bool at_latest; /* it may have been sooner; else later */
	EndedBy by;
} End;

PG_FUNCTION_INFO_V1(pg_lifeguard_read_idle_transactions);

/* --- the record ------------------------------------------------------------------ */

static int
capacity(void)
{
	return Max(lg_max_episodes / 4, 16);
}

/* -1 = NULL */
static void
add_count(LgRows *rows, int count)
{
	if (count < 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int(rows, count);
}

/*
 * What tells how a session passes its time is hidden with its state; that others
 * waited for it, and how old its transaction was in transactions, everybody may see.
 */
static void
add_row(LgRows *rows, const void *record, bool masked)
{
	const IdleRecord *r = record;
	bool may_see = !masked || lg_rights_may_see(r->who.userid);

	lg_who_add(rows, &r->who, masked);
	lg_rows_add_time(rows, may_see ? r->xact_start : 0);
	lg_rows_add_time(rows, may_see ? r->idle_start : 0);
	if (may_see)
	{
		lg_rows_add_span(rows, r->duration);
		lg_rows_add_span(rows, r->precision);
		add_count(rows, r->locks_held);
	}
	else
	{
		for (int i = 0; i < 3; i++)
			lg_rows_add_null(rows);
	}
	lg_rows_add_int(rows, r->max_blocked);
	lg_rows_add(rows, NumericGetDatum(int64_div_fast_to_numeric(r->blocked, 6)));
	add_count(rows, r->horizon_age);
	lg_rows_add_text(rows, may_see ? ended_by_names[r->ended_by] : NULL);
	if (may_see)
		lg_statement_trail_add_kept(rows, &r->trail, r->who.databaseid);
	else
		lg_rows_add_null(rows);
	lg_rows_add_text(rows, r->standby ? "standby" : "primary");
}

static const Oid column_types[] = {
	OIDOID,			/* usesysid */
	INT4OID,		/* pid */
	TIMESTAMPTZOID, /* backend_start */
	NAMEOID,		/* usename */
	NAMEOID,		/* datname */
	TEXTOID,		/* application_name */
	INETOID,		/* client_addr */
	TEXTOID,		/* state */
	INT8OID,		/* query_id */
	TEXTOID,		/* query */
	TEXTOID,		/* query_tags */
	TIMESTAMPTZOID, /* xact_start */
	TIMESTAMPTZOID, /* idle_start */
	INTERVALOID,	/* duration */
	INTERVALOID,	/* precision */
	INT4OID,		/* locks_held */
	INT4OID,		/* max_blocked */
	NUMERICOID,		/* blocked_seconds */
	INT4OID,		/* horizon_age */
	TEXTOID,		/* ended_by */
	TEXTARRAYOID,	/* statements */
	TEXTOID,		/* recorded_on */
};

const LgRecordType lg_idle_transaction_type = {
	.table = "idle_transaction_entries",
	.time = "idle_start",
	.end = "COALESCE(o.idle_start + o.duration, o.idle_start)",
	.size = sizeof(IdleRecord),
	.capacity = capacity,
	.n_columns = lengthof(column_types),
	.types = column_types,
	.add_row = add_row};

/*
 * lifeguard.read_idle_transactions(): the records in shared memory, for the view
 * idle_transaction_history.
 */
Datum
pg_lifeguard_read_idle_transactions(PG_FUNCTION_ARGS)
{
	return lg_records_read(fcinfo, LG_IDLE_TRANSACTIONS);
}

/* --- shared memory --------------------------------------------------------------- */

/* So many sessions at a time can have their texts kept. */
static int
count_texts(void)
{
	return Min(MaxConnections, Max(lg_max_episodes / 8, 16));
}

/*
 * Bytes of shared memory for the episodes under way.
 */
Size
lg_idle_episodes_size(void)
{
	Size size = MAXALIGN(offsetof(LgIdleEpisodes, data));

	size = add_size(size, MAXALIGN(mul_size(sizeof(IdleEpisode), MaxConnections)));
	size = add_size(size, MAXALIGN(mul_size(sizeof(Texts), count_texts())));
	size = add_size(size, MAXALIGN(mul_size(sizeof(int), MaxConnections)));
	return add_size(size, MAXALIGN(mul_size(sizeof(int), count_texts())));
}

/* The room, laid out when it is first entered: until then it is all zeros. */
static LgIdleEpisodes *
enter(void)
{
	LgIdleEpisodes *room = lg_shared->idle_episodes;

	if (room->of_slot == NULL)
	{
		char *at = (char *) room + MAXALIGN(offsetof(LgIdleEpisodes, data));

		room->texts = (Texts *) (at + MAXALIGN(sizeof(IdleEpisode) * MaxConnections));
		room->open = (int *) ((char *) room->texts + MAXALIGN(sizeof(Texts) * count_texts()));
		room->free_texts = (int *) ((char *) room->open + MAXALIGN(sizeof(int) * MaxConnections));
		room->of_slot = (IdleEpisode *) at;
	}
	return room;
}

/* A place for texts, from 1; 0 = there is none. */
static int
take_texts(LgIdleEpisodes *room)
{
	if (room->n_texts_free > 0)
		return room->free_texts[--room->n_texts_free];
	return room->n_texts_used < count_texts() ? ++room->n_texts_used : 0;
}

static void
drop_episode(LgIdleEpisodes *room, IdleEpisode *episode)
{
	int last = room->open[--room->n_open];

	room->open[episode->place] = last;
	room->of_slot[last].place = episode->place;
	if (episode->texts != 0)
		room->free_texts[room->n_texts_free++] = episode->texts;
	episode->pid = episode->texts = 0;
}

/* --- time ------------------------------------------------------------------------ */

/* Once in each pass: has the wall clock jumped since the one before? */
static void
follow_clock(LgIdleEpisodes *room, LgTime now)
{
	int64 jump = (now.wall - room->clock.wall) - (now.mono - room->clock.mono);

	if (room->clock.mono == now.mono)
		return;
	if (room->clock.mono != 0 && (jump > CLOCK_TOLERANCE || jump < -CLOCK_TOLERANCE))
	{
		room->jump = jump;
		room->jumped_at = room->clock.wall + jump;
	}
	room->clock = now;
}

/*
 * How long that state has lasted; what the wall clock's last jump added to it, or
 * took away so that it seems to begin in the future, does not count.
 */
static int64
age_of(const LgIdleEpisodes *room, TimestampTz state_change)
{
	int64 age = room->clock.wall - state_change;

	if ((room->jump > 0 && state_change < room->jumped_at) || (room->jump < 0 && age < 0))
		age -= room->jump;
	return Max(age, 0);
}

static int64
min_episode(void)
{
	return lg_min_episode * LG_USECS_PER_MSEC;
}

/*
 * From which age on an episode is opened: so early that none which lasts a fifth
 * longer than min_episode is over before it was seen.
 */
static int64
age_to_open(void)
{
	int64 interval = lg_shared->sample_interval * LG_USECS_PER_MSEC;

	if (interval == 0)
		return 0; /* nobody knows when the next pass comes */
	return Max(Min(min_episode(), min_episode() + min_episode() / 5 - interval), 0);
}

/* --- the end --------------------------------------------------------------------- */

/*
 * Has only one statement begun since the pause?  Each is at least three reports: that
 * it runs, one about its query id or that it runs on, and that the session is idle;
 * the end of a transaction is one more.  So it is certain while there are fewer than
 * two statements would have made.  A plain COMMIT or ROLLBACK is five or six; other
 * statements may have more to say, and then are not taken for certain.  A message
 * without any statement is not thought of.
 */
static bool
one_statement(const IdleEpisode *episode, const LgSession *session, int reports)
{
	uint32 changes = (uint32) session->changes - (uint32) episode->changes; /* two each */

	return changes <= 2 * (uint32) reports;
}

/* Does what it runs end its transaction?  A slow COMMIT is seen while it does. */
static bool
runs_its_last(const LgSession *session)
{
	static const char *const words[] = {"commit", "end", "rollback", "abort",
										"prepare transaction"};
	LgSession again;
	LgWho who;
	char statement[32];

	if (!lg_who_of(session, &who) || !lg_sessions_read_one(session->slot, &again) ||
		again.pid != session->pid || again.changes != session->changes)
		return false;
	lg_statements_squeeze(who.query, statement, sizeof(statement));
	if (pg_strncasecmp(statement, "rollback to", 11) == 0 ||
		pg_strncasecmp(statement, "rollback prepared", 17) == 0 ||
		pg_strncasecmp(statement, "commit prepared", 15) == 0)
		return false;
	for (int i = 0; i < (int) lengthof(words); i++)
	{
		int len = strlen(words[i]);

		if (pg_strncasecmp(statement, words[i], len) == 0 &&
			(statement[len] == '\0' || strchr(" ;", statement[len]) != NULL))
			return true;
	}
	return false;
}

/* The session is there, and not in this pause any more. */
static End
judge_next(const IdleEpisode *episode, const LgSession *session)
{
	End end = {.at_latest = true};
	bool runs = session->state == STATE_RUNNING || session->state == STATE_FASTPATH;

	end.at =
		session->query_start > episode->idle_start ? session->query_start : session->state_change;
	if (episode->xact_start != 0 && session->xact_start == episode->xact_start)
	{
		end.by = runs && runs_its_last(session) ? BY_END_OF_TRANSACTION : BY_STATEMENT;
		end.exact = one_statement(episode, session, runs ? 4 : 5);
	}
	else if (session->state == STATE_IDLEINTRANSACTION_ABORTED)
	{
		end.by = BY_STATEMENT; /* that failed, and with it the start of the transaction is gone */
		end.exact = one_statement(episode, session, 6);
	}
	else
	{
		end.by = BY_END_OF_TRANSACTION;
		if (session->xact_start == 0)
			end.exact = one_statement(episode, session, runs ? 5 : 6);
		else
			end.at = Min(end.at, session->xact_start);
	}
	end.exact &= end.at == session->query_start;
	return end;
}

/* Did we end it?  The newest ledger entries tell, should the session have said nothing. */
static EndedBy
look_into_ledger(const IdleEpisode *episode)
{
	LgLedgerScan scan = {0, 0};
	LgLedgerEntry entry;

	while (lg_ledger_next_back(&scan, &entry))
	{
		if (entry.pid == episode->pid && entry.backend_start == episode->backend_start &&
			entry.at >= episode->idle_start &&
			(lg_ledger_is_open(entry.outcome) || strncmp(entry.outcome, "terminated", 10) == 0))
			return entry.policy[0] != '\0' ? BY_POLICY : BY_HAND;
	}
	return BY_GOING;
}

/* The process is gone. */
static End
judge_gone(const IdleEpisode *episode, int slot)
{
	End end = {.by = BY_GOING};
	LgEnding ending;

	if (lg_endings_of(slot, episode->pid, &ending) && ending.session_at >= episode->idle_start)
	{
		end.at = ending.session_at;
		end.exact = true;
		if (ending.session_ours == LG_OURS_BY_POLICY)
			end.by = BY_POLICY;
		else if (ending.session_ours == LG_OURS_BY_HAND)
			end.by = BY_HAND;
		else if (ending.session_sqlstate == ERRCODE_IDLE_IN_TRANSACTION_SESSION_TIMEOUT ||
				 ending.session_sqlstate == LG_ERRCODE_TRANSACTION_TIMEOUT)
			end.by = BY_TIMEOUT;
		else if (ending.session_sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE)
			end.by = BY_CANCEL; /* it stood in the way of recovery */
		else if (ending.session_statement > episode->idle_start)
		{
			/* between two passes it has ended its transaction and then left */
			end = (End){
				.at = ending.session_statement, .at_latest = true, .by = BY_END_OF_TRANSACTION};
		}
	}
	if (end.by == BY_GOING)
		end.by = look_into_ledger(episode);
	return end;
}

/* How long it lasted, by both clocks if they agree. */
static void
measure(const IdleEpisode *episode, const End *end, int64 gap, IdleRecord *record)
{
	int64 duration = end->at - episode->idle_start;

	if (end->at == 0 || duration < episode->proven - CLOCK_TOLERANCE ||
		duration > episode->proven + gap + CLOCK_TOLERANCE)
	{
		record->duration = episode->proven;
		record->precision = gap;
		return;
	}
	record->duration = Max(duration, 0);
	if (end->exact)
		record->precision = 0;
	else if (end->at_latest)
		record->precision = Max(duration - episode->proven, 0);
	else
		record->precision = Max(episode->proven + gap - duration, 0);
}

/*
 * Close an episode; a record is made of it if it was long enough.  session: what
 * the same process does now; NULL if it is gone.
 */
static void
close_episode(LgIdleEpisodes *room, IdleEpisode *episode, const LgSession *session)
{
	int slot = room->open[episode->place];
	End end = session != NULL ? judge_next(episode, session) : judge_gone(episode, slot);
	IdleRecord record;

	memset(&record, 0, sizeof(record));
	measure(episode, &end, Max(room->clock.mono - episode->seen, 0), &record);
	if (record.duration >= min_episode())
	{
		if (episode->texts != 0)
		{
			record.who = room->texts[episode->texts - 1].who;
			record.trail = room->texts[episode->texts - 1].trail;
		}
		else
		{
			record.who.pid = episode->pid;
			record.who.userid = episode->userid;
			record.who.databaseid = episode->databaseid;
			record.who.state = episode->state;
			record.who.backend_start = episode->backend_start;
			record.who.state_change = episode->idle_start;
			record.who.query_id = episode->query_id;
		}
		record.xact_start = episode->xact_start;
		record.idle_start = episode->idle_start;
		record.blocked = episode->blocked;
		record.locks_held = episode->locks_held;
		record.max_blocked = episode->max_blocked;
		record.horizon_age = episode->horizon_age;
		record.ended_by = end.by;
		record.standby = room->standby;
		(void) lg_records_add(LG_IDLE_TRANSACTIONS, &record, true);
	}
	drop_episode(room, episode);
}

/*
 * Close all that are under way: the server stops.  Called by the postmaster after
 * everybody else has ended; allocates nothing and raises no error.
 */
void
lg_idle_episodes_close_all(TimestampTz now)
{
	LgIdleEpisodes *room = enter();
	LgTime both = {.wall = now, .mono = lg_clock_read(CLOCK_MONOTONIC)};

	follow_clock(room, both);
	while (room->n_open > 0)
		close_episode(room, &room->of_slot[room->open[room->n_open - 1]], NULL);
}

/* --- the beginning, and as long as it lasts ---------------------------------------- */

static bool
is_idle_in_transaction(const LgSession *session)
{
	return session->state == STATE_IDLEINTRANSACTION ||
		   session->state == STATE_IDLEINTRANSACTION_ABORTED;
}

static bool
is_same_process(const IdleEpisode *episode, const LgSession *session)
{
	return episode->pid == session->pid && episode->backend_start == session->backend_start;
}

static bool
is_same_pause(const IdleEpisode *episode, const LgSession *session)
{
	return is_same_process(episode, session) && is_idle_in_transaction(session) &&
		   episode->idle_start == session->state_change;
}

/*
 * Copy texts and count locks, if there is room.  If the session reports something
 * meanwhile, they may be those of its next statement, and are left out.
 */
static void
copy_texts(LgIdleEpisodes *room, IdleEpisode *episode, const LgSession *session)
{
	LgSession again;
	Texts texts;
	int held;

	(void) lg_who_of(session, &texts.who); /* may be interrupted */
	lg_statement_trail_keep(session, &texts.trail);
	held = lg_lock_graph_count_held(session->slot, session->pid);
	if (!lg_sessions_read_one(session->slot, &again) || again.pid != session->pid ||
		again.changes != session->changes)
	{
		texts.who.query[0] = '\0';
		texts.trail.n = 0;
		held = -1;
	}
	episode->locks_held = held;
	episode->texts = take_texts(room);
	if (episode->texts != 0)
		room->texts[episode->texts - 1] = texts;
}

static void
open_episode(LgIdleEpisodes *room, IdleEpisode *episode, const LgSession *session, int64 age)
{
	memset(episode, 0, sizeof(IdleEpisode));
	episode->userid = session->userid;
	episode->databaseid = session->databaseid;
	episode->state = session->state;
	episode->query_id = session->query_id;
	episode->backend_start = session->backend_start;
	episode->xact_start = session->xact_start;
	episode->idle_start = session->state_change;
	episode->proven = episode->gap = age;
	episode->seen = room->clock.mono;
	episode->changes = session->changes;
	episode->horizon = lg_sessions_horizon(session);
	episode->horizon_age = -1;
	episode->locks_held = -1;
	copy_texts(room, episode, session);

	/* from here on it is open, whatever happens to this pass */
	episode->place = room->n_open;
	episode->pid = session->pid;
	room->open[room->n_open++] = session->slot;
}

/*
 * Look at one client session: open, keep up or close its episode.  Almost all are
 * not idle in transaction, and cost a comparison.
 */
void
lg_idle_episodes_consider(LgMemory *memory, const LgSession *session)
{
	LgIdleEpisodes *room;
	IdleEpisode *episode;
	int64 age;

	if (!is_idle_in_transaction(session))
		return;

	room = enter();
	follow_clock(room, memory->now);
	episode = &room->of_slot[session->slot];
	if (episode->pid != 0 && is_same_pause(episode, session))
	{
		episode->gap = Max(memory->now.mono - episode->seen, 0);
		episode->proven += episode->gap;
		episode->seen = memory->now.mono;
		episode->changes = session->changes;
		episode->horizon = lg_sessions_horizon(session);
		return;
	}
	age = age_of(room, session->state_change);
	if (age < age_to_open())
		return; /* what was open here before, the end of the pass closes */
	room->standby = memory->standby;
	if (episode->pid != 0)
		close_episode(room, episode, is_same_process(episode, session) ? session : NULL);
	open_episode(room, episode, session, age);
}

/*
 * What those whom it blocks have waited since they were last charged, within the
 * pause.  When the clock has been set back, all that is known of them is that they
 * were there.
 */
static int64
waited_since(const LgLockGraph *graph, const IdleEpisode *episode, const int *blocked, int n)
{
	TimestampTz from = Max(episode->idle_start, episode->charged_until);
	int64 sum = 0;

	for (int i = 0; i < n; i++)
	{
		TimestampTz start = graph->nodes[blocked[i]].wait_start;
		TimestampTz since = Max(start, from);

		if (start == 0 && episode->charged_until == 0)
			continue;
		if (since <= graph->read_at + CLOCK_TOLERANCE)
			sum += Min(lg_clock_age(since, graph->read_at), episode->gap);
		else if (episode->charged_until != 0)
			sum += episode->gap;
	}
	return sum;
}

/* Whom does it keep waiting now?  blocked: room for all nodes. */
static void
charge(const LgLockGraph *graph, IdleEpisode *episode, int slot, int *blocked, int *looked_at)
{
	int index = graph->node_of_slot[slot];
	const LgLockNode *node = index >= 0 ? &graph->nodes[index] : NULL;
	int n;

	if (node == NULL || node->slot != slot || node->pid != episode->pid)
		return;
	if (*looked_at < MAX_BLOCKED_LOOKED_AT)
	{
		n = lg_lock_roots_find_blocked(graph, index, blocked);
		*looked_at += n;
		episode->blocked += waited_since(graph, episode, blocked, n);
	}
	else
	{
		n = lg_lock_roots_count_blocked(graph, index);
		episode->blocked += Min(node->total_wait, n * episode->gap);
	}
	episode->charged_until = graph->read_at;
	episode->max_blocked = Max(episode->max_blocked, n);
}

/* Once a second at most, and only if any of them holds dead rows back at all. */
static void
look_at_horizons(LgIdleEpisodes *room, LgTime now)
{
	HTAB *horizons = NULL;
	TransactionId next_xid = InvalidTransactionId;

	if (now.mono - room->horizons_read_at < HORIZON_INTERVAL)
		return;
	for (int i = 0; i < room->n_open; i++)
	{
		IdleEpisode *episode = &room->of_slot[room->open[i]];
		LgSession session = {.databaseid = episode->databaseid, .xmin = episode->horizon};

		if (!TransactionIdIsNormal(episode->horizon) || episode->proven < min_episode())
			continue;
		if (horizons == NULL)
		{
			horizons = lg_horizon_read();
			next_xid = ReadNextTransactionId();
			room->horizons_read_at = now.mono;
		}
		if (lg_horizon_held_by(horizons, &session))
			episode->horizon_age =
				Max(episode->horizon_age, Max((int32) (next_xid - episode->horizon), 0));
	}
}

/*
 * The end of a pass, with the picture of locks concluded: close what is over, and
 * see what harm the rest does.
 */
void
lg_idle_episodes_end(LgMemory *memory)
{
	LgIdleEpisodes *room = enter();
	LgLockGraph *graph = memory->graph;
	int *blocked = NULL;
	int looked_at = 0;

	follow_clock(room, memory->now);
	room->standby = memory->standby;
	if (room->n_open == 0)
		return;
	if (graph != NULL)
		blocked = palloc_extended(sizeof(int) * (graph->n_nodes + 1), MCXT_ALLOC_HUGE);

	for (int i = room->n_open - 1; i >= 0; i--) /* the last takes the place of one that ends */
	{
		int slot = room->open[i];
		IdleEpisode *episode = &room->of_slot[slot];
		LgSession session;

		CHECK_FOR_INTERRUPTS();
		if (episode->seen != memory->now.mono)
		{
			bool there = lg_sessions_read_one(slot, &session) && is_same_process(episode, &session);

			if (!there || !is_same_pause(episode, &session))
				close_episode(room, episode, there ? &session : NULL);
		}
		else if (graph != NULL)
			charge(graph, episode, slot, blocked, &looked_at);
	}
	look_at_horizons(room, memory->now);
}
