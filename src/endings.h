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

/* Was an error our doing? */
typedef enum LgOurs
{
	LG_NOT_OURS,
	LG_OURS_BY_POLICY,
	LG_OURS_BY_HAND
} LgOurs;

/*
 * What the session in a connection slot has said last; written by that session
 * alone.  The second group tells of its last lock wait that ended in an error or
 * in a line of the server log, the third of what ended the session.
 */
typedef struct LgEnding
{
	pg_atomic_uint32 changes; /* odd while it is being written */
	int pid;

	TimestampTz wait_start; /* of that wait; 0 = there was none */
	TimestampTz at;			/* when it ended */
	int64 duration;			/* exact, if it was granted and the server logged that; else 0 */
	int sqlstate;			/* of the error that ended it; 0 = it was granted */
	uint8 ours;				/* LgOurs */

	TimestampTz session_at; /* when it began to end; 0 = not yet, or another session did */
	int session_sqlstate;	/* of the error that ended it; 0 = its client did */
	uint8 session_ours;		/* LgOurs */

	/* When its last statement began, if its client left when no transaction was open; else 0. */
	TimestampTz session_statement;
} LgEnding;

struct ErrorData;

extern Size lg_endings_size(void);
extern void lg_endings_note_error(int sqlstate, LgOurs ours);
extern void lg_endings_note_exit(void);
extern void lg_endings_note_log(const struct ErrorData *error);
extern bool lg_endings_of(int slot, int pid, LgEnding *ending);

#endif /* LG_ENDINGS_H */
