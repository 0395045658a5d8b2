/*-------------------------------------------------------------------------
 * load.h
 *		What active sessions wait for, over time.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LOAD_H
#define LG_LOAD_H

#include "records.h"

#define LG_LOAD_EVENTS 64  /* told apart in a minute */
#define LG_LOAD_CLASSES 16 /* room for those there are, by the high byte; the last = others */

/* The minute under way; written and read only by whoever makes a pass. */
typedef struct LgLoad
{
	int n; /* events of this minute */
	uint32 events[LG_LOAD_EVENTS + 1];
	int seen[LG_LOAD_EVENTS + 1];		/* active sessions of this pass */
	int64 sums[LG_LOAD_EVENTS + 1];		/* session microseconds of the minute */
	uint64 numbers[LG_LOAD_EVENTS + 1]; /* of their records */
	int classes[LG_LOAD_CLASSES];		/* active sessions of this pass */
} LgLoad;

extern void lg_load_begin_pass(LgLoad *load);
extern void lg_load_count(LgLoad *load, uint32 wait_event_info);
extern void lg_load_end_pass(LgLoad *load, TimestampTz minute, int64 weight, int64 seen,
							 bool standby);
extern void lg_load_end_minute(LgLoad *load);
extern const char *lg_load_class_name(int class);

#endif /* LG_LOAD_H */
