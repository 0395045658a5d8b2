/*-------------------------------------------------------------------------
 * visits.h
 *		Where the visitor is wanted, and why.
 *-------------------------------------------------------------------------
 */
#ifndef LG_VISITS_H
#define LG_VISITS_H

#include "clock.h"
#include "prepared.h"

#define LG_MAX_NAME_VISITS 16
#define LG_MAX_ORDER_VISITS 64

/*
 * What is known of the prepared transaction in a slot.  A pass fills it in; the
 * visitor adds what it has read and decided.
 */
typedef struct LgVisitSlot
{
	TransactionId xid; /* invalid: free */
	Oid databaseid;
	TimestampTz since;	 /* prepared then, or later; 0 = not known */
	uint64 judged_under; /* the policies in force then; 0 = no visitor has judged it */
	int64 judged_at;	 /* monotonic; 0 = never */
	int64 next_due;		 /* monotonic: then it has to be judged again; 0 = when policies change */
} LgVisitSlot;

/* A database in which relations are to be named. */
typedef struct LgNameVisit
{
	Oid databaseid; /* invalid: free */
	int tries;		/* left */
	uint32 asked;	/* counts the wishes */
} LgNameVisit;

/* Run a policy now, for whoever has called lifeguard.run_policy(). */
typedef struct LgVisitOrder
{
	pid_t pid; /* who waits for it; 0 = there is none */
	uint64 number;
	char policy[NAMEDATALEN];
	bool rehearse;
	int n;
	Oid databases[LG_MAX_ORDER_VISITS]; /* invalid: that visit is over */
} LgVisitOrder;

/* All of it.  Guarded by lg_shared->lock. */
typedef struct LgVisits
{
	pid_t pid;		 /* of the visitor; 0 while none runs */
	uint64 done;	 /* visits that came to their end */
	bool rolls_back; /* the visitor does so, and no pause was in force when it began */
	uint64 in_force; /* stands for the policies that could hit anybody now; 0 = none */
	int64 shortest;	 /* min_duration among them */
	LgTime noted_at; /* by the newest pass; zeros: by none, or not by the one before it */
	LgVisitOrder order;
	LgNameVisit names[LG_MAX_NAME_VISITS];
	LgVisitSlot slots[FLEXIBLE_ARRAY_MEMBER];
} LgVisits;

extern Size lg_visits_size(void);
extern void lg_visits_note(const LgPreparedSight *sights, uint64 in_force, int64 shortest,
						   LgTime now);
extern void lg_visits_forget(void);
extern void lg_visits_copy(LgVisits *copy);
extern bool lg_visits_begin_rollback(void);
extern void lg_visits_end_rollback(void);
extern void lg_visits_await_rollback(void);
extern void lg_visits_judged(const LgPrepared *prepared, uint64 under, int64 at, int64 next_due);
extern void lg_visits_judged_others(Oid databaseid, uint64 under, int64 at, int64 next_due);
extern void lg_visits_want_names(Oid databaseid);
extern uint32 lg_visits_names_asked(Oid databaseid);
extern void lg_visits_end_names(Oid databaseid, uint32 asked, bool all_named);
extern uint64 lg_visits_place_order(const char *policy, bool rehearse, const Oid *databases, int n);
extern bool lg_visits_order_is_open(uint64 number);
extern void lg_visits_end_order(uint64 number, Oid databaseid);
extern void lg_visits_cancel_order(void);

#endif /* LG_VISITS_H */
