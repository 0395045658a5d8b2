/*-------------------------------------------------------------------------
 * limiter.h
 *		How often something may still be done: so many times a minute.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LIMITER_H
#define LG_LIMITER_H

#include "c.h"

#define LG_LIMIT_SECONDS 61 /* a whole minute, and the second that has begun */

/* Counts by second, of the monotonic clock.  Begin with zeros. */
typedef struct LgLimiter
{
	int64 second; /* the newest that was counted in */
	int64 last;	  /* microseconds; 0 = never */
	int counts[LG_LIMIT_SECONDS];
} LgLimiter;

extern void lg_limiter_count(LgLimiter *limiter, int64 now);
extern int lg_limiter_last_minute(const LgLimiter *limiter, int64 now);
extern int lg_limiter_room(const LgLimiter *limiter, int per_minute, int64 now);

#endif /* LG_LIMITER_H */
