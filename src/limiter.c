/*-------------------------------------------------------------------------
 * limiter.c
 *		How often something may still be done: so many times a minute.
 *
 * A window that slides by whole seconds and looks back over a minute and the
 * second that has begun, so never more than the limit within any minute.
 *
 * Locking: none; a limiter belongs to whoever holds what guards it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "clock.h"
#include "limiter.h"

/*
 * Count one, at a moment of the monotonic clock in microseconds.
 */
void
lg_limiter_count(LgLimiter *limiter, int64 now)
{
	int64 second = now / USECS_PER_SEC;

	if (second - limiter->second >= LG_LIMIT_SECONDS)
		memset(limiter->counts, 0, sizeof(limiter->counts));
	else
	{
		for (int64 s = limiter->second + 1; s <= second; s++)
			limiter->counts[s % LG_LIMIT_SECONDS] = 0;
	}
	limiter->second = Max(second, limiter->second);
	limiter->last = now;
	limiter->counts[limiter->second % LG_LIMIT_SECONDS]++;
}

/*
 * How many were counted in the last minute.
 */
int
lg_limiter_last_minute(const LgLimiter *limiter, int64 now)
{
	int64 second = now / USECS_PER_SEC;
	int sum = 0;

	for (int64 s = Max(second - LG_LIMIT_SECONDS + 1, 0); s <= limiter->second; s++)
	{
		if (limiter->second - s < LG_LIMIT_SECONDS)
			sum += limiter->counts[s % LG_LIMIT_SECONDS];
	}
	return sum;
}

/*
 * How many more may be counted now; per_minute 0 stands for any number.
 */
int
lg_limiter_room(const LgLimiter *limiter, int per_minute, int64 now)
{
	if (per_minute == 0)
		return PG_INT32_MAX;
	return Max(per_minute - lg_limiter_last_minute(limiter, now), 0);
}
