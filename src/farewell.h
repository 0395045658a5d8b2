/*-------------------------------------------------------------------------
 * farewell.h
 *		The victim's side of an action: proof, obedience, and the reason why.
 *-------------------------------------------------------------------------
 */
#ifndef LG_FAREWELL_H
#define LG_FAREWELL_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

#define LG_DETAIL_SIZE 512
#define LG_HINT_SIZE 256

typedef enum LgAction
{
	LG_ACTION_CANCEL,
	LG_ACTION_TERMINATE
} LgAction;

/*
 * The life of a note: free -> claimed -> armed -> read -> acted | stale -> free.
 * Above these three bits the state word counts the claims, so that nobody takes
 * a later note in the same slot for his own.
 */
#define LG_NOTE_STATE(word) ((word) &7)
#define LG_NOTE_NEXT(word, state) (((word) & ~(uint32) 7) | (state))
#define LG_NOTE_CLAIM(word) ((((word) & ~(uint32) 7) + 8) | LG_NOTE_CLAIMED)

typedef enum LgNoteState
{
	LG_NOTE_FREE,
	LG_NOTE_CLAIMED, /* its writer writes it */
	LG_NOTE_ARMED,	 /* whole; the victim may act on it */
	LG_NOTE_READ,	 /* the victim reads it */
	LG_NOTE_ACTED,	 /* the victim has raised the interrupt against itself */
	LG_NOTE_STALE	 /* the victim has spared itself; spared_for says why */
} LgNoteState;

/* Why a victim spares itself. */
typedef enum LgSpared
{
	LG_SPARED_NOT,
	LG_SPARED_MOVED_ON, /* it is no longer in the episode that was judged */
	LG_SPARED_BUSY,		/* it was changing its status just then */
	LG_SPARED_SYNCREP,	/* its commit waits for a synchronous standby */
	LG_SPARED_ENDING,	/* it commits, or rolls back, at that very moment */
	LG_SPARED_BACKUP,	/* it runs a non-exclusive backup */
	LG_SPARED_NOTHING	/* there is no statement to cancel */
} LgSpared;

/* Who is meant, and in which episode.  0 = any. */
typedef struct LgProof
{
	int pid;
	TimestampTz backend_start;
	TimestampTz xact_start;
	TimestampTz query_start;
	TimestampTz state_change;
	TimestampTz wait_start; /* of the heavyweight lock it awaits */
} LgProof;

/*
 * A note to the session in one connection slot.  The state is changed by
 * compare-and-swap only.  Whoever claims a note writes the rest, then arms it;
 * the victim takes it for reading, writes spared_for and says how it decided;
 * nobody writes anything else from armed to acted or stale.
 */
typedef struct LgNote
{
	pg_atomic_uint32 state;
	int handler_pid;  /* the process in this slot that hears us; its own to write */
	int64 written_at; /* monotonic, in microseconds */
	LgProof proof;
	LgAction action;
	LgSpared spared_for;
	bool by_hand; /* not by a policy */
	char detail[LG_DETAIL_SIZE];
	char hint[LG_HINT_SIZE];
} LgNote;

struct PGPROC;

extern bool lg_farewell_install(void);
extern bool lg_farewell_awaits(struct PGPROC *proc, TimestampTz wait_start);
extern const char *lg_farewell_describe(LgSpared spared);

#endif /* LG_FAREWELL_H */
