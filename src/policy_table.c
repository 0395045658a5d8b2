/*-------------------------------------------------------------------------
 * policy_table.c
 *		From lifeguard.policy into shared memory.
 *
 * The table's own triggers have refused what cannot be meant.  Should a row not
 * fit all the same, it is left out and said so: the others still count.
 *
 * Locking: the table as any reader; see policies.c for publishing.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "members.h"
#include "policies.h"
#include "policy_table.h"
#include "settings.h"

/*
 * In the order in which fill_policy() takes them.  Each is cast to the type that
 * is expected: the table's owner may have given it another.
 */
#define SPAN(column) "coalesce((extract(epoch FROM " column "::interval) * 1000000)::int8, 0)"
/* clang-format off */
#define COLUMNS \
	"SELECT name::text, owner::text, time_zone::text, target::text, action::text," \
	" victim_order::text, runs_on::text," \
	" enabled::bool, include_lock_holders::bool, include_listeners::bool," \
	" include_superusers::bool, min_blocked::int4, min_horizon_age::int4, min_same_query::int4," \
	" keep::int4, max_per_pass::int4, max_per_minute::int4," \
	" " SPAN("min_duration") ", " SPAN("min_blocked_for") "," \
	" " SPAN("coalesce(grace::interval, interval '5 s')") ", " SPAN("cooldown") "," \
	" connections_above::float8, connections_until::float8," \
	" schedule::text, except_schedule::text," \
	" databases::text[], except_databases::text[], roles::text[], except_roles::text[]," \
	" applications::text[], except_applications::text[], clients::text[], except_clients::text[]," \
	" queries::text[], except_queries::text[], gids::text[], except_gids::text[] "
static const char *const read_policies =
	COLUMNS "FROM ONLY lifeguard.policy ORDER BY name::text COLLATE \"C\"";
static const char *const read_policy = COLUMNS "FROM (SELECT ($1).*) one";
/* clang-format on */

/* One row, read from left to right. */
typedef struct RowReader
{
	HeapTuple row;
	TupleDesc columns;
	int column;
} RowReader;

/* The next column as text; NULL is the empty one. */
static char *
next_text(RowReader *reader)
{
	char *text = SPI_getvalue(reader->row, reader->columns, ++reader->column);

	return text != NULL ? text : "";
}

static Datum
next_datum(RowReader *reader, bool *isnull)
{
	return SPI_getbinval(reader->row, reader->columns, ++reader->column, isnull);
}

static bool
next_bool(RowReader *reader)
{
	bool isnull;
	Datum value = next_datum(reader, &isnull);

	return !isnull && DatumGetBool(value);
}

static int
next_int(RowReader *reader)
{
	bool isnull;
	Datum value = next_datum(reader, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static int64
next_int8(RowReader *reader)
{
	bool isnull;
	Datum value = next_datum(reader, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static double
next_float8(RowReader *reader)
{
	bool isnull;
	Datum value = next_datum(reader, &isnull);

	return isnull ? 0 : DatumGetFloat8(value);
}

/* The next column, a list of texts; false if it does not fit. */
static bool
next_filter(RowReader *reader, LgPolicy *policy, LgFilterKind kind)
{
	bool isnull;
	Datum value = next_datum(reader, &isnull);
	Datum *datums;
	bool *nulls;
	const char **entries;
	int n;
	int kept = 0;

	if (isnull)
		return true;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &datums, &nulls,
					  &n);
	entries = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			entries[kept++] = TextDatumGetCString(datums[i]);
	}

	/* an empty list of those meant is none, which is not the same as any */
	if (kept == 0)
		return kind % 2 != 0;
	return lg_policy_add_filter(policy, kind, entries, kept);
}

static bool
next_schedule(RowReader *reader, LgCron *crons, int *n)
{
	char *text = next_text(reader);
	char *problem;

	*n = 0;
	return text[0] == '\0' || lg_schedule_parse(text, crons, LG_MAX_CRONS, n, &problem);
}

static bool
next_zone(RowReader *reader, LgPolicy *policy)
{
	char *name = next_text(reader);
	pg_tz *zone;

	if (name[0] == '\0')
		return true;
	zone = pg_tzset(name);
	return zone != NULL && pg_tz_acceptable(zone) &&
		   strlcpy(policy->time_zone, name, sizeof(policy->time_zone)) < sizeof(policy->time_zone);
}

/* A row as a policy, in zeroed memory.  Returns NULL, or the column that does not fit. */
static const char *
fill_policy(RowReader *reader, LgPolicy *policy)
{
	strlcpy(policy->name, next_text(reader), NAMEDATALEN);
	strlcpy(policy->owner, next_text(reader), NAMEDATALEN);
	if (policy->name[0] == '\0')
		return "name";
	if (!next_zone(reader, policy))
		return "time_zone";
	if (!lg_policy_target_of(next_text(reader), &policy->target))
		return "target";
	if (!lg_policy_action_of(next_text(reader), &policy->action))
		return "action";
	if (!lg_policy_order_of(next_text(reader), &policy->victim_order))
		return "victim_order";
	if (!lg_policy_runs_on_of(next_text(reader), &policy->runs_on))
		return "runs_on";

	policy->enabled = next_bool(reader);
	policy->include_lock_holders = next_bool(reader);
	policy->include_listeners = next_bool(reader);
	policy->include_superusers = next_bool(reader);
	policy->min_blocked = next_int(reader);
	policy->min_horizon_age = next_int(reader);
	policy->min_same_query = next_int(reader);
	policy->keep = next_int(reader);
	policy->max_per_pass = next_int(reader);
	policy->max_per_minute = next_int(reader);
	policy->min_duration = next_int8(reader);
	policy->min_blocked_for = next_int8(reader);
	policy->grace = next_int8(reader);
	policy->cooldown = next_int8(reader);
	policy->connections_above = next_float8(reader);
	policy->connections_until = next_float8(reader);

	if (!next_schedule(reader, policy->schedule.crons, &policy->schedule.n_crons) ||
		policy->schedule.n_crons == 0)
		return "schedule";
	if (!next_schedule(reader, policy->schedule.excepts, &policy->schedule.n_excepts))
		return "except_schedule";
	for (LgFilterKind kind = 0; kind < LG_FILTERS; kind++)
	{
		if (!next_filter(reader, policy, kind))
			return SPI_fname(reader->columns, reader->column);
	}
	return NULL;
}

/*
 * Read the policies and put them in force.  Raises an error if the table cannot
 * be used; what is in force then stays so.  Needs SPI and a snapshot.
 */
void
lg_policy_table_publish(Oid extension)
{
	int capacity = lg_max_policies;
	LgPolicySet before;
	LgPolicy *policies;
	char *problem = NULL;
	int n = 0;

	lg_members_use_table(extension, "policy", AccessShareLock);
	if (SPI_execute(read_policies, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the policies");

	policies = palloc0(sizeof(LgPolicy) * Max(Min(SPI_processed, (uint64) capacity), 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		RowReader reader = {.row = SPI_tuptable->vals[i], .columns = SPI_tuptable->tupdesc};
		const char *unfit;

		CHECK_FOR_INTERRUPTS();
		if (n == capacity)
		{
			problem = psprintf("only %d of " UINT64_FORMAT " policies fit into shared memory", n,
							   SPI_processed);
			break;
		}
		unfit = fill_policy(&reader, &policies[n]);
		if (unfit == NULL)
		{
			n++;
			continue;
		}
		problem = psprintf("policy \"%s\" is left out: its %s cannot be understood",
						   policies[n].name, unfit);
		memset(&policies[n], 0, sizeof(LgPolicy));
	}

	lg_policies_describe(&before);
	if (problem != NULL && strncmp(problem, before.problem, LG_PROBLEM_SIZE - 1) != 0)
		ereport(WARNING, (errmsg("not all policies are in force: %s", problem)));
	lg_policies_publish(policies, n, problem, GetCurrentTimestamp());
}

/*
 * Take a row of type lifeguard.policy, which need not be in the table, for a
 * policy, in the current memory context.  Raises an error if a column cannot be
 * understood.  Needs SPI and a snapshot.
 */
LgPolicy *
lg_policy_table_read_row(Datum row, Oid type, MemoryContext context)
{
	LgPolicy *policy = MemoryContextAllocZero(context, sizeof(LgPolicy));
	RowReader reader;
	const char *unfit;

	if (SPI_execute_with_args(read_policy, 1, &type, &row, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read the policy");
	reader = (RowReader){.row = SPI_tuptable->vals[0], .columns = SPI_tuptable->tupdesc};
	unfit = fill_policy(&reader, policy);
	if (unfit != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("column \"%s\" of the policy cannot be understood", unfit)));
	return policy;
}
