/*-------------------------------------------------------------------------
 * endings.h
 *		How a session's wait or pause ended, as it says itself.
 *-------------------------------------------------------------------------
 */
#ifndef LG_ENDINGS_H
#define LG_ENDINGS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

/* What the session in a connection slot has said last; written by that session alone. */
typedef struct LgEnding
{
	pg_atomic_uint32 changes; /* odd while it is being written */
	int pid;
	TimestampTz wait_start; /* of the lock wait that ended so; 0 = none */
	TimestampTz at;			/* when */
	int64 duration;			/* exact, as the server logged it; 0 = not known */
	int sqlstate;			/* of the error that ended it; 0 = it was granted */
	uint8 ours;				/* 0 = not our doing; 1 = a policy; 2 = by hand */
} LgEnding;

extern Size lg_endings_size(void);
extern bool lg_endings_of(int slot, int pid, LgEnding *ending);

#endif /* LG_ENDINGS_H */
