/*-------------------------------------------------------------------------
 * actions.h
 *		Act on a session: prove, note, signal, confirm.
 *-------------------------------------------------------------------------
 */
#ifndef LG_ACTIONS_H
#define LG_ACTIONS_H

#include "farewell.h"
#include "sessions.h"

/* What a session may be told. */
typedef struct LgReason
{
	char detail[LG_DETAIL_SIZE];
	char hint[LG_HINT_SIZE];
	bool by_hand; /* not by a policy */
} LgReason;

/* How far an action has come. */
typedef enum LgProgress
{
	LG_PROGRESS_PENDING,	/* signalled; the victim has not yet answered, or not yet ended */
	LG_PROGRESS_DONE,		/* gone, or its statement is */
	LG_PROGRESS_SPARED,		/* by itself; see spared */
	LG_PROGRESS_GONE,		/* it was gone, or another, before the signal */
	LG_PROGRESS_DEAF,		/* it does not listen to us */
	LG_PROGRESS_UNANSWERED, /* it never read our note, which we have taken back */
	LG_PROGRESS_CONTENDED	/* somebody else is acting on it */
} LgProgress;

/* How long an action may take before it is said that its victim survived. */
#define LG_SURVIVAL (10 * USECS_PER_SEC)

/*
 * One action under way.  No pointers: whoever watches many of them may keep
 * them in shared memory.
 */
typedef struct LgActing
{
	LgSession victim; /* as it was judged */
	LgAction action;
	LgProgress progress;
	LgSpared spared;
	int64 signalled_at; /* monotonic, in microseconds */
	int64 ended_at;		/* likewise: when it was first seen done; 0 = not yet */
	uint32 claim;		/* the note's state word when we claimed it */
	bool obeyed;		/* it has raised the interrupt against itself */
} LgActing;

extern void lg_actions_signal(LgActing *acting, const LgProof *proof, const LgReason *reason);
extern void lg_actions_watch(LgActing *acting);
extern void lg_actions_release(LgActing *acting);
extern const char *lg_actions_describe(const LgActing *acting, char *buffer, Size size);

#endif /* LG_ACTIONS_H */
