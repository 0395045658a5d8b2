/*-------------------------------------------------------------------------
 * contention.c
 *		Whom waiting cost how much: every waited second charged once.
 *
 * One record per minute and key: lock, modes, and who waits for whom.  An index of
 * this minute's finds it; whoever follows a wait keeps its number.  A statement is
 * known by its query id, else by its text without constants.  When there are too
 * many keys, records without statements take the rest, and one of everything else
 * what does not fit there either: no second is lost, and folded says that there was
 * something.
 *
 * lifeguard.reset() begins anew: what is charged later goes to records whose minute
 * begins then, and the view shows none from before.  That moment is kept in a file.
 *
 * Locking: charges take the lock of the records, once each.  The index is only for
 * whoever makes a pass.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "pgstat.h"
#include "port/atomics.h"

#include "contention.h"
#include "names.h"
#include "settings.h"
#include "shared.h"
#include "stat_file.h"
#include "statements.h"

#define PLACES 512							/* a power of two, well above the number of keys */
#define CLIPPED_QUERY 128					/* of a statement that we do not have whole */
#define CLIPPED_HEAD (LG_WHO_QUERY * 5 / 8) /* before what LgWho leaves out */
#define PREPARED "<prepared transaction>"	/* instead of its statement */
#define RESET_FILE PGSTAT_STAT_PERMANENT_DIRECTORY "/pg_lifeguard.reset"
#define RESET_MAGIC 0x4c475231

StaticAssertDecl(PLACES > LG_CONTENTION_KEYS + LG_CONTENTION_REDUCED + 1,
				 "the index of contention has a free place");

/* How much of a key is left. */
typedef enum KeyLevel
{
	WHOLE,
	WITHOUT_STATEMENTS,
	EVERYTHING_ELSE
} KeyLevel;

/* Compared byte by byte, padding included: begin with zeros. */
typedef struct ContentionKey
{
	Oid databaseid;
	Oid relation;
	Oid root_userid;
	Oid waiter_userid;
	uint8 uncertain;
	uint8 locktype;
	uint8 lockmethod;
	uint8 mode;
	uint8 held_mode;
	uint8 level; /* KeyLevel */
	uint64 root_application;
	uint64 waiter_application;
	uint64 root_statement; /* query id, or hash of the text */
	uint64 waiter_statement;
} ContentionKey;

typedef struct ContentionPlace
{
	uint64 number; /* of the record; 0 = free */
	ContentionKey key;
} ContentionPlace;

typedef struct LgContention
{
	pg_atomic_uint64 reset_at; /* the last reset; 0 = never */
	pg_atomic_uint64 folded;   /* waits charged without their statements, or to nobody */

	/* Written and read only by whoever makes a pass. */
	TimestampTz minute;
	TimestampTz reset_seen;
	uint64 first; /* record of this minute; 0 = none yet */
	int n_keys[EVERYTHING_ELSE + 1];
	ContentionPlace places[PLACES];
} LgContention;

/* What the file holds. */
typedef struct ResetRecord
{
	uint32 magic;
	uint32 size;
	TimestampTz at;
} ResetRecord;

static const int limits[] = {[WHOLE] = LG_CONTENTION_KEYS,
							 [WITHOUT_STATEMENTS] = LG_CONTENTION_REDUCED,
							 [EVERYTHING_ELSE] = 1};

static const Oid column_types[] = {
	TIMESTAMPTZOID,							 /* minute */
	NAMEOID,		OIDOID,			TEXTOID, /* datname, relation, relation_name */
	TEXTOID,		TEXTOID,		TEXTOID, /* locktype, mode, held_mode */
	OIDOID,			TEXTOID,		NAMEOID,	INT8OID,	TEXTOID, /* root */
	OIDOID,			TEXTOID,		NAMEOID,	INT8OID,	TEXTOID, /* waiter */
	INT8OID,		INT8OID,		NUMERICOID, NUMERICOID, /* waits, waits_seen, seconds seen, estimated */
	FLOAT4ARRAYOID, INTERVALOID,							/* histogram, max */
	TEXTARRAYOID,	FLOAT8ARRAYOID,							/* top rows and their seconds */
	TEXTOID													/* recorded_on */
};

/* Several minutes of all keys, at least one; a quiet server's hours. */
static int
capacity(void)
{
	return Max(lg_max_episodes * 7 / 32, LG_CONTENTION_KEYS + LG_CONTENTION_REDUCED + 1);
}

const LgRecordType lg_contention_type = {.table = "contention_entries",
										 .time = "minute",
										 .size = sizeof(LgContentionRecord),
										 .capacity = capacity,
										 .n_columns = lengthof(column_types),
										 .types = column_types,
										 .add_row = lg_contention_add_row,
										 .ready = lg_contention_is_ready};

/*
 * Bytes of shared memory for the index.
 */
Size
lg_contention_size(void)
{
	return MAXALIGN(sizeof(LgContention));
}

/*
 * Begin with an empty index, and as the last reset left it.  Called once, in the
 * postmaster, when shared memory is created.
 */
void
lg_contention_init(void)
{
	ResetRecord record;
	TimestampTz at = 0;

	if (lg_stat_file_read(RESET_FILE, &record, sizeof(record)))
	{
		if (record.magic == RESET_MAGIC && record.size == sizeof(record))
			at = record.at;
		else
			ereport(LOG, (errmsg("ignoring invalid file \"%s\"", RESET_FILE)));
	}
	pg_atomic_init_u64(&lg_shared->contention->reset_at, at);
	pg_atomic_init_u64(&lg_shared->contention->folded, 0);
	lg_shared->contention->reset_seen = at;
	if (at != 0)
		lg_shared->reset_at = at;
}

/*
 * Begin anew.  Raises an error, with nothing done, if the file cannot be written.
 */
void
lg_contention_reset(TimestampTz now)
{
	ResetRecord record = {.magic = RESET_MAGIC, .size = sizeof(ResetRecord), .at = now};

	lg_stat_file_write(RESET_FILE, &record, sizeof(record));
	pg_atomic_write_u64(&lg_shared->contention->reset_at, now);
}

/* When lifeguard.reset() was called last; 0 = never. */
static TimestampTz
last_reset(void)
{
	return (TimestampTz) pg_atomic_read_u64(&lg_shared->contention->reset_at);
}

/*
 * How many waits were charged without their statements, or to nobody, for want of
 * room; one that goes on over several minutes may count in each.
 */
uint64
lg_contention_folded(void)
{
	return pg_atomic_read_u64(&lg_shared->contention->folded);
}

static TimestampTz
minute_of(TimestampTz now)
{
	return now - now % USECS_PER_MINUTE;
}

/*
 * Is this a record of the minute that now belongs to?
 */
bool
lg_contention_is_current(uint64 number, TimestampTz now)
{
	LgContention *contention = lg_shared->contention;

	return contention->first != 0 && number >= contention->first &&
		   contention->minute == minute_of(now) && contention->reset_seen == last_reset();
}

/* Empty the index, unless it is this minute's. */
static void
begin_minute(LgContention *contention, TimestampTz now)
{
	TimestampTz reset_at = last_reset();

	if (contention->minute == minute_of(now) && contention->reset_seen == reset_at)
		return;
	contention->minute = minute_of(now);
	contention->reset_seen = reset_at;
	contention->first = 0;
	memset(contention->n_keys, 0, sizeof(contention->n_keys));
	memset(contention->places, 0, sizeof(contention->places));
}

/* Who takes part.  Of a statement that is not here whole, what does not move with its constants. */
static void
keep_party(LgContentionParty *party, const LgWho *who)
{
	char head[LG_WHO_QUERY];

	party->userid = who->userid;
	party->databaseid = who->databaseid;
	party->query_id = who->query_id;

	/* a prepared transaction has no statement; a session without a name is none */
	if (who->pid == 0)
	{
		strlcpy(party->query, PREPARED, LG_CONTENTION_QUERY);
		return;
	}
	strlcpy(party->application_name, who->application_name, NAMEDATALEN);
	if (strlen(who->query) < LG_WHO_QUERY - 1)
		lg_statements_squeeze(who->query, party->query, LG_CONTENTION_QUERY);
	else
	{
		strlcpy(head, who->query, CLIPPED_HEAD);
		lg_statements_squeeze(head, party->query, CLIPPED_QUERY);
		strlcat(party->query, " ...", LG_CONTENTION_QUERY);
	}
}

static uint64
hash_text(const char *text)
{
	return hash_bytes_extended((const unsigned char *) text, strlen(text), 0);
}

static uint64
statement_of(const LgContentionParty *party)
{
	return party->query_id != 0 ? (uint64) party->query_id : hash_text(party->query);
}

static void
make_key(ContentionKey *key, const LgContentionRecord *record)
{
	memset(key, 0, sizeof(ContentionKey));
	key->databaseid = record->lock.databaseid;
	key->relation = record->lock.relation;
	key->uncertain = record->lock.uncertain;
	key->locktype = record->lock.locktype;
	key->lockmethod = record->lock.lockmethod;
	key->mode = (uint8) record->lock.mode;
	key->held_mode = (uint8) record->lock.held_mode;
	key->level = WHOLE;
	key->root_userid = record->root.userid;
	key->waiter_userid = record->waiter.userid;
	key->root_application = hash_text(record->root.application_name);
	key->waiter_application = hash_text(record->waiter.application_name);
	key->root_statement = statement_of(&record->root);
	key->waiter_statement = statement_of(&record->waiter);
}

/* Leave of a key, and of the record to be made for it, only so much. */
static void
reduce(ContentionKey *key, LgContentionRecord *record, KeyLevel level)
{
	LgContentionParty *parties[] = {&record->root, &record->waiter};

	if (level == EVERYTHING_ELSE)
	{
		memset(key, 0, sizeof(ContentionKey));
		memset(&record->lock, 0, sizeof(LgContendedLock));
		memset(&record->root, 0, sizeof(LgContentionParty));
		memset(&record->waiter, 0, sizeof(LgContentionParty));
		record->everything_else = true;
	}
	key->level = level;
	key->root_statement = 0;
	key->waiter_statement = 0;
	for (int i = 0; i < (int) lengthof(parties); i++)
	{
		parties[i]->query_id = 0;
		parties[i]->query[0] = '\0';
	}
}

/* The place of a key, or the free one where it belongs. */
static ContentionPlace *
find_place(LgContention *contention, const ContentionKey *key)
{
	uint32 i = (uint32) hash_bytes_extended((const unsigned char *) key, sizeof(*key), 0);
	ContentionPlace *place;

	for (;; i++)
	{
		place = &contention->places[i & (PLACES - 1)];
		if (place->number == 0 || memcmp(&place->key, key, sizeof(*key)) == 0)
			return place;
	}
}

/* The number of the record for that key, made if there is room; 0 if there is none. */
static uint64
find_or_add(LgContention *contention, const ContentionKey *key, const LgContentionRecord *record)
{
	ContentionPlace *place = find_place(contention, key);

	if (place->number == 0 && contention->n_keys[key->level] < limits[key->level])
	{
		contention->n_keys[key->level]++;
		place->key = *key;
		place->number = lg_records_add(LG_CONTENTION, record, false);
		if (contention->first == 0)
			contention->first = place->number;
	}
	return place->number;
}

/*
 * The record that waiting for this lock, behind that root, is charged to now; made
 * if there is none.  Returns its number.  root: NULL or all zeros if there is none, or
 * nothing is known of it.  Only for whoever makes a pass.
 */
uint64
lg_contention_find(const LgContendedLock *lock, const LgWho *root, const LgWho *waiter,
				   TimestampTz now)
{
	LgContention *contention = lg_shared->contention;
	LgContentionRecord record;
	ContentionKey key;
	uint64 number;

	begin_minute(contention, now);
	memset(&record, 0, sizeof(record));
	record.minute = contention->minute;
	/* not if the clock was set back */
	if (contention->reset_seen < contention->minute + USECS_PER_MINUTE)
		record.minute = Max(record.minute, contention->reset_seen);
	record.created_at = now;
	record.standby = RecoveryInProgress();
	record.lock = *lock;
	/* not a shared relation's: nothing but who waits is known of it */
	if (!OidIsValid(lock->databaseid) && !OidIsValid(lock->relation))
		record.lock.databaseid = waiter->databaseid;
	if (root != NULL)
		keep_party(&record.root, root);
	keep_party(&record.waiter, waiter);
	make_key(&key, &record);

	number = find_or_add(contention, &key, &record);
	if (number == 0)
	{
		pg_atomic_fetch_add_u64(&contention->folded, 1);
		reduce(&key, &record, WITHOUT_STATEMENTS);
		number = find_or_add(contention, &key, &record);
	}
	if (number == 0)
	{
		reduce(&key, &record, EVERYTHING_ELSE);
		number = find_or_add(contention, &key, &record);
	}
	if (OidIsValid(record.lock.relation))
		lg_names_want(record.lock.databaseid, record.lock.relation);
	return number;
}

/*
 * Charge so many microseconds of waiting to a record: those that were seen, and those
 * estimated beyond them.  first: of this wait there.  Takes the lock of the records,
 * as the next two do.
 */
void
lg_contention_charge(uint64 number, int64 seen, int64 estimated, bool first)
{
	LgContentionRecord *record = lg_records_begin_change(LG_CONTENTION, number, true);

	if (record != NULL)
	{
		record->seen += seen;
		record->estimated += estimated;
		record->waits_seen += first;
	}
	lg_records_end_change();
}

/* The place of a row among the top ones: its own, a free one, or the least one's. */
static LgContentionRow *
find_row(LgContentionRecord *record, BlockNumber block, OffsetNumber offset)
{
	LgContentionRow *least = &record->rows[0];

	for (int i = 0; i < record->n_rows; i++)
	{
		LgContentionRow *row = &record->rows[i];

		if (row->block == block && row->offset == offset)
			return row;
		if (row->charged < least->charged)
			least = row;
	}
	return record->n_rows < LG_CONTENTION_ROWS ? &record->rows[record->n_rows++] : least;
}

/*
 * Say which row such a charge was about.  A new one takes over what the least one
 * had: whoever has more than an eighth of all is among them in any case.
 */
void
lg_contention_note_row(uint64 number, BlockNumber block, OffsetNumber offset, int64 charged)
{
	LgContentionRecord *record = lg_records_begin_change(LG_CONTENTION, number, true);

	if (record != NULL)
	{
		LgContentionRow *row = find_row(record, block, offset);

		row->block = block;
		row->offset = offset;
		row->charged += charged;
	}
	lg_records_end_change();
}

/*
 * A wait has ended that lasted so long and stands for so many.
 */
void
lg_contention_note_duration(uint64 number, int64 duration, double weight)
{
	LgContentionRecord *record = lg_records_begin_change(LG_CONTENTION, number, true);

	if (record != NULL)
	{
		lg_histogram_add(&record->histogram, duration, weight);
		record->waits += weight;
		record->longest = Max(record->longest, duration);
	}
	lg_records_end_change();
}
