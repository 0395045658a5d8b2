/*-------------------------------------------------------------------------
 * schedule_functions.c
 *		The SQL-callable functions over schedules.
 *
 * They read only their arguments and the time zone database: who asks brings
 * the clock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "schedule.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_check_schedule);
PG_FUNCTION_INFO_V1(pg_lifeguard_schedule_in_force);
PG_FUNCTION_INFO_V1(pg_lifeguard_schedule_next);

/* Parse a schedule or raise an error that calls it by its column. */
static int
parse_or_fail(const char *column, text *argument, LgCron *crons)
{
	char *value = text_to_cstring(argument);
	char *problem;
	int n;

	if (!lg_schedule_parse(value, crons, LG_MAX_CRONS, &n, &problem))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid %s \"%s\": %s", column, value, problem),
						errhint("The fields are minute, hour, day of month, month and weekday; "
								"\"0 0 * * *\" is the first minute of each day.")));
	return n;
}

/* A zone as SET TIME ZONE knows it: by name or as POSIX writes it. */
static pg_tz *
zone_or_fail(text *argument)
{
	char *name = text_to_cstring(argument);
	pg_tz *zone = name[0] != '\0' ? pg_tzset(name) : NULL;

	/* one that counts leap seconds would put minutes where nobody expects them */
	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("time zone \"%s\" not recognized", name),
						errhint("See pg_timezone_names for the names that are.")));
	return zone;
}

/*
 * The arguments (schedule, except_schedule, time_zone, instant).  Returns
 * false if one is NULL that must not be; except_schedule may.
 */
static bool
read_arguments(FunctionCallInfo fcinfo, LgSchedule *schedule, pg_tz **zone, TimestampTz *instant)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		return false;

	memset(schedule, 0, sizeof(LgSchedule));
	schedule->n_crons = parse_or_fail("schedule", PG_GETARG_TEXT_PP(0), schedule->crons);
	if (!PG_ARGISNULL(1))
		schedule->n_excepts =
			parse_or_fail("except_schedule", PG_GETARG_TEXT_PP(1), schedule->excepts);
	*zone = zone_or_fail(PG_GETARG_TEXT_PP(2));
	*instant = PG_GETARG_TIMESTAMPTZ(3);
	return true;
}

/* lifeguard.check_schedule(schedule): NULL when it parses, else what is wrong. */
Datum
pg_lifeguard_check_schedule(PG_FUNCTION_ARGS)
{
	char *schedule = text_to_cstring(PG_GETARG_TEXT_PP(0));
	LgCron crons[LG_MAX_CRONS];
	char *problem;
	int n;

	if (lg_schedule_parse(schedule, crons, LG_MAX_CRONS, &n, &problem))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}

/* lifeguard.schedule_in_force(schedule, except_schedule, time_zone, at) */
Datum
pg_lifeguard_schedule_in_force(PG_FUNCTION_ARGS)
{
	LgSchedule schedule;
	pg_tz *zone;
	TimestampTz at;

	if (!read_arguments(fcinfo, &schedule, &zone, &at))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(lg_schedule_in_force(&schedule, zone, at));
}

/* lifeguard.schedule_next(schedule, except_schedule, time_zone, after); NULL = never */
Datum
pg_lifeguard_schedule_next(PG_FUNCTION_ARGS)
{
	LgSchedule schedule;
	pg_tz *zone;
	TimestampTz after;
	TimestampTz next;

	if (!read_arguments(fcinfo, &schedule, &zone, &after))
		PG_RETURN_NULL();
	next = lg_schedule_next(&schedule, zone, after);
	if (next == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}
