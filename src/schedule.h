/*-------------------------------------------------------------------------
 * schedule.h
 *		Is this minute in force?  Five-field cron expressions, in a time zone.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SCHEDULE_H
#define LG_SCHEDULE_H

#include "datatype/timestamp.h"
#include "pgtime.h"

#define LG_MAX_CRONS 8 /* expressions in a schedule; as many again that except */

/*
 * One expression: a bit for each value that it names.  No pointers, so it can
 * lie in shared memory.
 */
typedef struct LgCron
{
	uint64 minutes;		   /* bits 0 to 59 */
	uint32 hours;		   /* bits 0 to 23 */
	uint32 days_of_month;  /* bits 1 to 31 */
	uint16 months;		   /* bits 1 to 12 */
	uint8 weekdays;		   /* bits 0 to 6, from Sunday */
	bool last_day;		   /* the last day of each month too, whichever that is */
	bool day_of_month_any; /* that field begins with "*" */
	bool weekday_any;	   /* likewise */
} LgCron;

/* In force in minutes that any of crons and none of excepts matches. */
typedef struct LgSchedule
{
	int n_crons;
	int n_excepts;
	LgCron crons[LG_MAX_CRONS];
	LgCron excepts[LG_MAX_CRONS];
} LgSchedule;

extern bool lg_schedule_parse(const char *text, LgCron *crons, int max, int *n, char **problem);
extern bool lg_schedule_in_force(const LgSchedule *schedule, pg_tz *zone, TimestampTz now);
extern TimestampTz lg_schedule_next(const LgSchedule *schedule, pg_tz *zone, TimestampTz after);

#endif /* LG_SCHEDULE_H */
