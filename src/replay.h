/*-------------------------------------------------------------------------
 * replay.h
 *		Recorded episodes, as a replay goes through them.
 *-------------------------------------------------------------------------
 */
#ifndef LG_REPLAY_H
#define LG_REPLAY_H

#include "policies.h"

#define LG_REPLAY_NEVER PG_INT64_MAX

/* A process, by start and PID; or, for a queue, a relation by database and OID. */
typedef struct LgReplayKey
{
	int64 major;
	int64 minor;
} LgReplayKey;

/* A moment of one of them. */
typedef struct LgReplayMark
{
	LgReplayKey key;
	TimestampTz at;
} LgReplayMark;

typedef struct LgReplayMarks
{
	int n;
	int room;
	LgReplayMark *marks; /* by key and time, once sorted */
} LgReplayMarks;

/* A wait as it was recorded, until it is known whose doing it was when. */
typedef struct LgReplayRawWait
{
	LgReplayKey root;
	LgReplayKey root_at_end;
	TimestampTz start;
	TimestampTz end;
} LgReplayRawWait;

/* Somebody waits because of a process, or for a relation. */
typedef struct LgReplayWait
{
	LgReplayKey key;
	TimestampTz start;
	TimestampTz end;
	TimestampTz latest_end; /* of this and all before it, of the same key */
	int mode;				/* that is awaited; of waits for a relation */
	bool saved;				/* a victim has been credited with the rest of it */
} LgReplayWait;

/*
 * A session, as long as the policy's target means it and its state stays the
 * same.  since names the episode, as in a pass.
 */
typedef struct LgReplaySuspect
{
	LgSession session;
	LgReplayKey key; /* of the waits that are its doing */
	int mode;		 /* that it awaits itself */
	TimestampTz since;
	TimestampTz began;
	TimestampTz ended;
	TimestampTz episode_ended; /* in whatever state */
	const char *usename;
	const char *datname;
	const char *application_name;
	const char *query; /* this and the address only while its row is read */
	SockAddr *client_addr;

	int first_hit; /* of its stretches of time in which the policy hits it */
	int n_hits;
	TimestampTz ready; /* in one of them and in force, until ready_until */
	TimestampTz ready_until;
	TimestampTz at; /* when the policy acted, or would have but for why; 0 = never */
	LgWhy why;
	const char *reason;
	int waiters; /* at that moment */
	int64 saved; /* microseconds of waiting */
	bool gone;	 /* it would not have come to this, or another row tells of it */
} LgReplaySuspect;

typedef struct LgReplayStretch
{
	TimestampTz from;
	TimestampTz to;
} LgReplayStretch;

/* Those who wait because of a suspect, at one moment after the other. */
typedef struct LgReplayQueue
{
	int n;
	LgReplayWait **waits; /* by start */
	TimestampTz *ends;	  /* sorted */
	int began;			  /* so many of them, so far */
	int over;			  /* so many of ends */
	int head;			  /* all before it are over */
} LgReplayQueue;

struct LgReplay;

/* Looks at a suspect, which is kept if that returns true. */
typedef bool (*LgReplayLook)(struct LgReplay *replay, LgReplaySuspect *suspect);

typedef struct LgReplay
{
	LgPolicy *policy;
	LgLocalPolicies *alone;
	LgLocalPolicy *local;
	bool needs_waits; /* the policy asks who waits */
	TimestampTz since;
	TimestampTz until;
	MemoryContext context; /* of what is kept */
	MemoryContext scratch; /* of one row, or one suspect */
	int n_suspects;
	int suspects_room;
	LgReplaySuspect *suspects; /* only those whom the policy hits, or would */
	int n_hits;
	int hits_room;
	LgReplayStretch *hits;
	LgReplayLook look; /* at each suspect, while they are read */
	int n_raw;
	int raw_room;
	LgReplayRawWait *raw; /* while waits are read */
	int n_waits;
	int waits_room;
	LgReplayWait *waits;	   /* by key and start */
	LgReplayMarks own_ends;	   /* of the waits of processes themselves */
	LgReplayMarks idle_starts; /* of their stays idle in transaction */
	LgReplayMarks releases;	   /* when they let go of what others waited for */
	TimestampTz next_after;	   /* the newest answer of the schedule: next_in_force is */
	TimestampTz next_in_force; /* the first moment in force from next_after on */
} LgReplay;

extern const char *lg_replay_unknown(LgTarget target);
extern void *lg_replay_make_room(LgReplay *replay, void *array, int n, int *room, Size size);
extern int lg_replay_compare_keys(const LgReplayKey *a, const LgReplayKey *b);
extern TimestampTz lg_replay_last_before(const LgReplayMarks *marks, const LgReplayKey *key,
										 TimestampTz at);
extern TimestampTz lg_replay_first_after(const LgReplayMarks *marks, const LgReplayKey *key,
										 TimestampTz at);
extern void lg_replay_read_waits(LgReplay *replay);
extern void lg_replay_read_suspects(LgReplay *replay, LgReplayLook look);

extern void lg_replay_gather(LgReplay *replay, const LgReplaySuspect *suspect, TimestampTz until,
							 LgReplayQueue *queue);
extern int lg_replay_count_waiting(LgReplayQueue *queue, TimestampTz now, TimestampTz *since);
extern void lg_replay_describe(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz at,
							   LgWhy why);
extern TimestampTz lg_replay_next_in_force(LgReplay *replay, TimestampTz at);
extern void lg_replay_make_ready(LgReplay *replay, LgReplaySuspect *suspect, TimestampTz at);
extern bool lg_replay_look(LgReplay *replay, LgReplaySuspect *suspect);

extern bool lg_replay_same_process(const LgReplaySuspect *a, const LgReplaySuspect *b);
extern void lg_replay_go_through_time(LgReplay *replay);

#endif /* LG_REPLAY_H */
