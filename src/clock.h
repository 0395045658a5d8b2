/*-------------------------------------------------------------------------
 * clock.h
 *		One moment, told by two clocks.
 *
 * Ages come from the wall clock, because that is what backends stamp; the
 * monotonic clock tells whether the wall clock can be trusted.
 *-------------------------------------------------------------------------
 */
#ifndef LG_CLOCK_H
#define LG_CLOCK_H

#include <time.h>

#include "utils/timestamp.h"

#define LG_USECS_PER_MSEC INT64CONST(1000)

typedef struct LgTime
{
	TimestampTz wall;
	int64 mono; /* microseconds, from the same start in every process */
} LgTime;

static inline int64
lg_clock_read(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * USECS_PER_SEC + ts.tv_nsec / 1000;
}

/* Read both clocks.  Takes no lock, raises nothing. */
static inline LgTime
lg_clock_now(void)
{
	LgTime now;

	now.wall = GetCurrentTimestamp();
	now.mono = lg_clock_read(CLOCK_MONOTONIC);
	return now;
}

/* Microseconds from start to now; never negative, 0 when start is unknown. */
static inline int64
lg_clock_age(TimestampTz start, TimestampTz now)
{
	return (start == 0 || start > now) ? 0 : now - start;
}

#endif /* LG_CLOCK_H */
