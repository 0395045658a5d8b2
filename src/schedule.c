/*-------------------------------------------------------------------------
 * schedule.c
 *		Is this minute in force, and when is the next one that is?
 *
 * A schedule is a set of local minutes, written as crontab(5) and pg_cron write
 * the minutes in which a job starts: five fields of lists, ranges, steps and
 * names, "$" for the last day of a month.  Where those two differ, or read a
 * mistake as something else, we refuse it and say why.
 *
 * Whether an instant is in force follows from its local time alone: so a local
 * minute that does not exist is skipped, and one that occurs twice counts twice.
 * The search for the next one walks from one change of the zone's offset to the
 * next: in between, local time is plain arithmetic on days, hours and minutes.
 *
 * Locking: none.  Nothing here reads anything but its arguments; matching and
 * searching allocate nothing and need no database, parsing allocates only the
 * description of a mistake.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "schedule.h"

#define BLANKS " \t\n\r\f\v"
#define N_FIELDS 5

/* How much of somebody's text an error message repeats. */
#define MAX_QUOTED 40

/*
 * How far to search.  29 February on a given weekday can be 40 years away (around
 * 2100, which is no leap year); what does not come in 41 years does not come.
 */
#define SEARCH_DAYS (41 * 366)

#define EPOCH_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

#define HAS_BIT(set, bit) ((((uint64) (set)) >> (bit)) & 1)

/* Part of a text; at is NULL behind the last part. */
typedef struct Piece
{
	const char *at;
	int length;
} Piece;

/* What a field may hold. */
typedef struct FieldRule
{
	const char *name;
	int low;
	int high;
	const char *const *names; /* of low and what follows; may be NULL */
	int n_names;
} FieldRule;

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun",
										  "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekday_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

enum
{
	FIELD_MINUTE,
	FIELD_HOUR,
	FIELD_DAY_OF_MONTH,
	FIELD_MONTH,
	FIELD_WEEKDAY
};

static const FieldRule rules[N_FIELDS] = {
	{"minute", 0, 59, NULL, 0},
	{"hour", 0, 23, NULL, 0},
	{"day of month", 1, 31, NULL, 0},
	{"month", 1, 12, month_names, lengthof(month_names)},
	{"weekday", 0, 7, weekday_names, lengthof(weekday_names)}, /* both 0 and 7 are Sunday */
};

/* A day of the calendar. */
typedef struct Day
{
	int year;
	int month;	 /* from 1 */
	int day;	 /* from 1 */
	int weekday; /* from Sunday, 0 */
} Day;

/* Which expressions of a schedule match a day: a bit for each. */
typedef struct DayMatch
{
	uint32 crons;
	uint32 excepts;
} DayMatch;

/* ------------------------------------------------------------------------
 * Parsing
 * ------------------------------------------------------------------------
 */

/* A copy for an error message, clipped. */
static char *
quote(Piece piece)
{
	int length = Min(piece.length, MAX_QUOTED);

	if (length == piece.length)
		return pnstrdup(piece.at, length);
	return psprintf("%.*s...", pg_mbcliplen(piece.at, piece.length, length), piece.at);
}

/*
 * Cut the front part off rest, up to a separator, which is dropped.  Returns
 * false when there is none left; an empty text has one part, an empty one.
 */
static bool
cut_off(Piece *rest, char separator, Piece *front)
{
	const char *end;

	if (rest->at == NULL)
		return false;

	*front = *rest;
	end = memchr(rest->at, separator, rest->length);
	if (end == NULL)
	{
		rest->at = NULL;
		rest->length = 0;
		return true;
	}
	front->length = end - rest->at;
	rest->at = end + 1;
	rest->length -= front->length + 1;
	return true;
}

/* Cut the next field off rest.  Returns false when there is none left. */
static bool
cut_off_field(Piece *rest, Piece *field)
{
	while (rest->length > 0 && strchr(BLANKS, *rest->at) != NULL)
	{
		rest->at++;
		rest->length--;
	}
	field->at = rest->at;
	field->length = 0;
	while (rest->length > 0 && strchr(BLANKS, *rest->at) == NULL)
	{
		rest->at++;
		rest->length--;
		field->length++;
	}
	return field->length > 0;
}

static bool
piece_is(Piece piece, const char *word)
{
	return piece.length == (int) strlen(word) && pg_strncasecmp(piece.at, word, piece.length) == 0;
}

/* Read digits; what is too large for any field may come out as any large number. */
static bool
read_number(Piece piece, int *number)
{
	*number = 0;
	for (int i = 0; i < piece.length; i++)
	{
		if (piece.at[i] < '0' || piece.at[i] > '9')
			return false;
		*number = Min(*number * 10 + (piece.at[i] - '0'), 100000);
	}
	return piece.length > 0;
}

/* Read one value of a field, by number or by name. */
static bool
parse_value(const FieldRule *rule, Piece element, Piece value, int *number, char **problem)
{
	if (read_number(value, number))
	{
		if (*number >= rule->low && *number <= rule->high)
			return true;
		*problem = psprintf("%s %s is out of range %d to %d", rule->name, quote(value), rule->low,
							rule->high);
		return false;
	}

	for (int i = 0; i < rule->n_names; i++)
	{
		*number = rule->low + i;
		if (piece_is(value, rule->names[i]))
			return true;
	}

	if (piece_is(value, "$"))
		*problem = pstrdup("\"$\" cannot be part of a range");
	else if (value.length == 0)
		*problem = psprintf("%s \"%s\" is incomplete", rule->name, quote(element));
	else if (rule->names == NULL)
		*problem = psprintf("%s \"%s\" is not a number", rule->name, quote(value));
	else
		*problem = psprintf("%s \"%s\" is neither a number nor one of %s to %s", rule->name,
							quote(value), rule->names[0], rule->names[rule->n_names - 1]);
	return false;
}

/* Read one value, a range or "*", without its step. */
static bool
parse_range(const FieldRule *rule, Piece element, Piece range, int *low, int *high, char **problem)
{
	Piece rest = range;
	Piece first;

	if (piece_is(range, "*"))
	{
		*low = rule->low;
		*high = rule->high;
		return true;
	}

	cut_off(&rest, '-', &first);
	if (!parse_value(rule, element, first, low, problem))
		return false;
	*high = *low;
	if (rest.at == NULL)
		return true;

	if (!parse_value(rule, element, rest, high, problem))
		return false;
	/* by name, Sunday also ends a week */
	if (rule == &rules[FIELD_WEEKDAY] && *low > 0 && piece_is(rest, weekday_names[0]))
		*high = 7;
	if (*high < *low)
	{
		*problem = psprintf("%s range %s ends before it begins", rule->name, quote(range));
		return false;
	}
	return true;
}

/* Read one element of a list: its values go into set. */
static bool
parse_element(const FieldRule *rule, Piece element, uint64 *set, char **problem)
{
	Piece step_text = element;
	Piece range;
	int low;
	int high;
	int step = 1;

	cut_off(&step_text, '/', &range);
	if (!parse_range(rule, element, range, &low, &high, problem))
		return false;

	if (step_text.at != NULL)
	{
		/* "5/15" means different things in different crons; ours have no such thing */
		if (!piece_is(range, "*") && memchr(range.at, '-', range.length) == NULL)
		{
			*problem = psprintf("%s \"%s\" has a step without a range", rule->name, quote(element));
			return false;
		}
		if (!read_number(step_text, &step) || step == 0)
		{
			*problem =
				psprintf("%s step \"%s\" is not a positive number", rule->name, quote(step_text));
			return false;
		}
	}

	for (int i = low; i <= high; i += step)
		*set |= UINT64CONST(1) << i;
	return true;
}

/* Read one field, a list. */
static bool
parse_field(const FieldRule *rule, Piece field, uint64 *set, bool *last_day, char **problem)
{
	Piece rest = field;
	Piece element;

	*set = 0;
	while (cut_off(&rest, ',', &element))
	{
		if (element.length == 0)
		{
			*problem = psprintf("%s list \"%s\" has an empty element", rule->name, quote(field));
			return false;
		}
		if (!piece_is(element, "$"))
		{
			if (!parse_element(rule, element, set, problem))
				return false;
		}
		else if (rule == &rules[FIELD_DAY_OF_MONTH])
			*last_day = true;
		else
		{
			*problem = psprintf("\"$\" is a day of month, not a%s %s",
								rule == &rules[FIELD_HOUR] ? "n" : "", rule->name);
			return false;
		}
	}
	return true;
}

/*
 * Cut an expression into its five fields.  What pg_cron or crontab(5) would
 * also take, and we do not, is called by its name.
 */
static bool
split_expression(Piece expression, Piece *fields, char **problem)
{
	Piece rest = expression;
	Piece field;
	int n = 0;

	while (cut_off_field(&rest, &field))
	{
		if (n < N_FIELDS)
			fields[n] = field;
		n++;
	}

	if (n > 0 && fields[0].at[0] == '@')
		*problem = psprintf("\"%s\" is not supported", quote(fields[0]));
	else if (n == 2 && (piece_is(fields[1], "seconds") || piece_is(fields[1], "second")))
		*problem =
			psprintf("seconds (\"%s %s\") are not supported", quote(fields[0]), quote(fields[1]));
	else if (n != N_FIELDS)
		*problem = psprintf("expected %d fields, found %d", N_FIELDS, n);
	return n == N_FIELDS && *problem == NULL;
}

static bool
parse_expression(Piece expression, LgCron *cron, char **problem)
{
	Piece fields[N_FIELDS];
	uint64 sets[N_FIELDS];

	memset(cron, 0, sizeof(LgCron));
	if (!split_expression(expression, fields, problem))
		return false;
	for (int i = 0; i < N_FIELDS; i++)
	{
		if (!parse_field(&rules[i], fields[i], &sets[i], &cron->last_day, problem))
			return false;
	}

	cron->minutes = sets[FIELD_MINUTE];
	cron->hours = (uint32) sets[FIELD_HOUR];
	cron->days_of_month = (uint32) sets[FIELD_DAY_OF_MONTH];
	cron->months = (uint16) sets[FIELD_MONTH];
	cron->weekdays = (uint8) ((sets[FIELD_WEEKDAY] | HAS_BIT(sets[FIELD_WEEKDAY], 7)) & 0x7f);
	cron->day_of_month_any = fields[FIELD_DAY_OF_MONTH].at[0] == '*';
	cron->weekday_any = fields[FIELD_WEEKDAY].at[0] == '*';
	return true;
}

/*
 * Read up to max expressions, separated by ";", into crons[]; *n is how many
 * there are.  On a mistake returns false and says in *problem, palloc'd, what
 * is wrong: part of a sentence, for a message that names the text.
 */
bool
lg_schedule_parse(const char *text, LgCron *crons, int max, int *n, char **problem)
{
	Piece rest = {text, (int) strlen(text)};
	Piece expression;
	bool several = strchr(text, ';') != NULL;

	*n = 0;
	*problem = NULL;
	if (strspn(text, BLANKS) == strlen(text))
	{
		*problem = pstrdup("it is empty");
		return false;
	}

	while (cut_off(&rest, ';', &expression))
	{
		if (*n == max)
		{
			*problem = psprintf("it has more than %d expressions", max);
			return false;
		}
		if (!parse_expression(expression, &crons[*n], problem))
		{
			if (several)
				*problem = psprintf("%s (in expression %d)", *problem, *n + 1);
			return false;
		}
		(*n)++;
	}
	return true;
}

/* ------------------------------------------------------------------------
 * Matching
 * ------------------------------------------------------------------------
 */

static inline int
days_in_month(const Day *day)
{
	return day_tab[isleap(day->year) ? 1 : 0][day->month - 1];
}

/*
 * Does the expression match some minute of that day?  crontab(5)'s rule: when
 * both day fields are restricted, either will do.  Restricted is one that does
 * not begin with "*", whatever follows.
 */
static bool
matches_day(const LgCron *cron, const Day *day)
{
	bool day_of_month = HAS_BIT(cron->days_of_month, day->day) ||
						(cron->last_day && day->day == days_in_month(day));
	bool weekday = HAS_BIT(cron->weekdays, day->weekday);

	if (!HAS_BIT(cron->months, day->month))
		return false;
	if (cron->day_of_month_any || cron->weekday_any)
		return day_of_month && weekday;
	return day_of_month || weekday;
}

static DayMatch
match_day(const LgSchedule *schedule, const Day *day)
{
	DayMatch match = {0, 0};

	for (int i = 0; i < schedule->n_crons; i++)
		match.crons |= (uint32) matches_day(&schedule->crons[i], day) << i;
	/* exceptions from nothing do not matter */
	for (int i = 0; match.crons != 0 && i < schedule->n_excepts; i++)
		match.excepts |= (uint32) matches_day(&schedule->excepts[i], day) << i;
	return match;
}

/* The minutes of that hour that some of these expressions match. */
static uint64
minutes_of(const LgCron *crons, uint32 which, int hour)
{
	uint64 minutes = 0;

	for (int i = 0; which != 0; i++, which >>= 1)
	{
		if ((which & 1) && HAS_BIT(crons[i].hours, hour))
			minutes |= crons[i].minutes;
	}
	return minutes;
}

/* The minutes in force in that hour of a day. */
static uint64
minutes_in_force(const LgSchedule *schedule, DayMatch match, int hour)
{
	uint64 minutes = minutes_of(schedule->crons, match.crons, hour);

	return minutes == 0 ? 0 : minutes & ~minutes_of(schedule->excepts, match.excepts, hour);
}

/* The whole seconds of an instant, counted from 1970. */
static pg_time_t
unix_seconds(TimestampTz instant)
{
	int64 seconds = instant / USECS_PER_SEC;

	if (instant % USECS_PER_SEC < 0)
		seconds--;
	return (pg_time_t) (seconds + EPOCH_SHIFT);
}

/*
 * Is the local minute that now lies in one of the schedule's?  Never at
 * infinity.
 */
bool
lg_schedule_in_force(const LgSchedule *schedule, pg_tz *zone, TimestampTz now)
{
	pg_time_t seconds;
	struct pg_tm *local;
	Day day;

	if (TIMESTAMP_NOT_FINITE(now))
		return false;
	seconds = unix_seconds(now);
	local = pg_localtime(&seconds, zone);
	if (local == NULL)
		return false;

	day = (Day){local->tm_year + 1900, local->tm_mon + 1, local->tm_mday, local->tm_wday};
	return HAS_BIT(minutes_in_force(schedule, match_day(schedule, &day), local->tm_hour),
				   local->tm_min);
}

/* ------------------------------------------------------------------------
 * Searching
 *
 * Here local time is a number too: seconds since 1970 by the local calendar.
 * ------------------------------------------------------------------------
 */

/* The day that begins so many days after 1 January 1970. */
static Day
find_day(int64 days)
{
	int julian = (int) (days + UNIX_EPOCH_JDATE);
	Day day;

	j2date(julian, &day.year, &day.month, &day.day);
	day.weekday = j2day(julian);
	return day;
}

/*
 * Go on to the next day, or past the rest of a month that no expression names.
 * Returns how many days that was.
 */
static int
leave_day(const LgSchedule *schedule, Day *day)
{
	int days = 1;
	bool month_matches = false;

	for (int i = 0; i < schedule->n_crons && !month_matches; i++)
		month_matches = HAS_BIT(schedule->crons[i].months, day->month);
	if (!month_matches)
		days = days_in_month(day) - day->day + 1;

	day->weekday = (day->weekday + days) % 7;
	day->day += days;
	if (day->day > day_tab[isleap(day->year) ? 1 : 0][day->month - 1])
	{
		day->day = 1;
		if (++day->month > MONTHS_PER_YEAR)
		{
			day->month = 1;
			day->year++;
		}
	}
	return days;
}

/*
 * The first minute of a day in force, from a minute of the day on (0 to 1439);
 * -1 if there is none.
 */
static int
first_minute_of_day(const LgSchedule *schedule, DayMatch match, int from)
{
	uint64 not_before = PG_UINT64_MAX << (from % MINS_PER_HOUR);

	for (int hour = from / MINS_PER_HOUR; hour < HOURS_PER_DAY; hour++)
	{
		uint64 minutes = minutes_in_force(schedule, match, hour) & not_before;

		if (minutes != 0)
		{
			int minute = 0;

			while (!HAS_BIT(minutes, minute))
				minute++;
			return hour * MINS_PER_HOUR + minute;
		}
		not_before = PG_UINT64_MAX;
	}
	return -1;
}

/*
 * The first local time in force from one to before another, while the zone's
 * offset stays what it is.  Returns false if there is none.
 */
static bool
find_local(const LgSchedule *schedule, int64 from, int64 until, int64 *found)
{
	int64 days = from / SECS_PER_DAY - (from % SECS_PER_DAY < 0 ? 1 : 0);
	int minute = (int) ((from - days * SECS_PER_DAY) / SECS_PER_MINUTE);
	Day day = find_day(days);
	DayMatch barren = {0, 0}; /* what a day without any minute in force matched */

	while (days * SECS_PER_DAY < until)
	{
		DayMatch match = match_day(schedule, &day);

		if (match.crons != barren.crons || match.excepts != barren.excepts)
		{
			int first = first_minute_of_day(schedule, match, minute);

			if (first >= 0)
			{
				/* we may have begun in the middle of that minute */
				*found = Max(from, days * SECS_PER_DAY + first * SECS_PER_MINUTE);
				return *found < until;
			}
			if (minute == 0)
				barren = match;
		}
		minute = 0;
		days += leave_day(schedule, &day);
	}
	return false;
}

/* When the zone's offset changes after start, or limit if it does not change before. */
static pg_time_t
end_of_offset(pg_tz *zone, pg_time_t start, pg_time_t limit)
{
	pg_time_t boundary;
	long before_offset;
	long after_offset;
	int before_dst;
	int after_dst;

	if (pg_next_dst_boundary(&start, &before_offset, &before_dst, &boundary, &after_offset,
							 &after_dst, zone) != 1)
		return limit;
	return Min(boundary, limit);
}

/*
 * The first instant in force at or after the given one: that one itself, or
 * the beginning of a minute.  0 = never, which is also the answer at infinity
 * and for the instant that is 0, the first of 2000 in UTC.
 */
TimestampTz
lg_schedule_next(const LgSchedule *schedule, pg_tz *zone, TimestampTz after)
{
	const pg_time_t last = (pg_time_t) (END_TIMESTAMP / USECS_PER_SEC + EPOCH_SHIFT);
	pg_time_t begin;
	pg_time_t start;
	pg_time_t limit;

	if (TIMESTAMP_NOT_FINITE(after))
		return 0;
	begin = unix_seconds(after);
	limit = Min(begin + (pg_time_t) SEARCH_DAYS * SECS_PER_DAY, last);

	/* from one change of the zone's offset to the next */
	for (start = begin; start < limit;)
	{
		pg_time_t end = end_of_offset(zone, start, limit);
		struct pg_tm *local = pg_localtime(&start, zone);
		int64 offset = local != NULL ? local->tm_gmtoff : 0; /* *local does not last */
		int64 found;

		CHECK_FOR_INTERRUPTS();
		if (find_local(schedule, start + offset, end + offset, &found))
		{
			pg_time_t instant = (pg_time_t) (found - offset);

			/* our seconds are whole, the caller's need not be */
			return instant == begin ? after : (instant - EPOCH_SHIFT) * USECS_PER_SEC;
		}
		start = end;
	}
	return 0;
}
