/*-------------------------------------------------------------------------
 * pending.h
 *		Actions of policies that are under way: confirm, escalate, judge.
 *-------------------------------------------------------------------------
 */
#ifndef LG_PENDING_H
#define LG_PENDING_H

#include "actions.h"
#include "kinds.h"
#include "rescue.h"

#define LG_MAX_PENDING 256

/*
 * One action of a policy, from its first signal until it is known what came of
 * it and whether it brought relief.  Written and read only by whoever makes a
 * pass.
 */
typedef struct LgPending
{
	uint64 entry; /* in the ledger; 0 = this place is free */
	LgActing acting;
	LgProof proof;
	LgReason reason;
	int place; /* of the policy, whose name it was */
	char policy[NAMEDATALEN];
	LgPolicyAction action;
	LgTarget target;
	int tries;
	bool by_hand;	   /* by run_policy(), which disabled policies obey, too */
	bool over;		   /* what came of it is known */
	bool escalated;	   /* from cancel to terminate */
	bool survived;	   /* that has been said */
	TimestampTz since; /* the age began that the policy limits */
	int64 began;	   /* monotonic: the first signal */
	int64 grace;
	int64 judge_at; /* monotonic; 0 = relief is not judged */
	int blocked_total;
	int waiting_before; /* sessions in all that waited; -1 = that is not its purpose */
	int used_before;	/* likewise, slots that were taken */
	LgKindKey kind;		/* of the victim, if that is its purpose */
	int alike_before;	/* sessions of that kind, those being terminated left out */
} LgPending;

extern Size lg_pending_size(void);
extern int lg_pending_terminating(void);
extern LgAction lg_pending_first_action(const LgPolicy *policy, const LgSession *session);
extern bool lg_pending_ends(const LgSession *session);
extern bool lg_pending_forbids(const LgSession *session, LgPolicyAction action);
extern bool lg_pending_has_room(void);
extern void lg_pending_prepare(LgRescue *rescue, const LgPolicy *policy);
extern LgProgress lg_pending_start(const LgRescue *rescue, const LgCandidate *candidate,
								   uint64 entry, const LgReason *reason);
extern void lg_pending_count(const LgRescue *rescue, const LgCandidate *candidate);
extern void lg_pending_judge(const LgLocalPolicy *local, uint64 entry, int waiting_before,
							 LgTime now);
extern int64 lg_pending_tend(LgTime now);

#endif /* LG_PENDING_H */
