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

#define LG_LOAD_SECONDS 64		 /* the last minute, and some */
#define LG_LOAD_SECOND_EVENTS 24 /* told apart in a second */

/* One second of the last minute. */
typedef struct LgLoadSecond
{
	TimestampTz second; /* 0 = never written */
	float4 seen;		/* microseconds that passes stand for */
	int n;				/* events; the last place is for all that found none */
	uint32 events[LG_LOAD_SECOND_EVENTS];
	float4 sums[LG_LOAD_SECOND_EVENTS]; /* session microseconds */
} LgLoadSecond;

/*
 * The minute under way; written and read only by whoever makes a pass, but for the
 * seconds, which lg_shared->lock guards.
 */
typedef struct LgLoad
{
	int n; /* events of this minute */
	uint32 events[LG_LOAD_EVENTS + 1];
	int seen[LG_LOAD_EVENTS + 1];		/* active sessions of this pass */
	int64 sums[LG_LOAD_EVENTS + 1];		/* session microseconds of the minute */
	uint64 numbers[LG_LOAD_EVENTS + 1]; /* of their records */
	int classes[LG_LOAD_CLASSES];		/* active sessions of this pass */
	LgLoadSecond seconds[LG_LOAD_SECONDS];
} LgLoad;

extern void lg_load_begin_pass(LgLoad *load);
extern void lg_load_count(LgLoad *load, uint32 wait_event_info);
extern void lg_load_note_second(LgLoad *load, TimestampTz begin, float4 weight);
extern void lg_load_end_pass(LgLoad *load, TimestampTz minute, int64 weight, int64 seen,
							 bool standby);
extern void lg_load_end_minute(LgLoad *load);
extern const char *lg_load_class_name(int class);
extern void lg_load_add_event(LgRows *rows, uint32 event, TimestampTz boot);

#endif /* LG_LOAD_H */
