/*-------------------------------------------------------------------------
 * usage.h
 *		Who holds the connections, over time.
 *-------------------------------------------------------------------------
 */
#ifndef LG_USAGE_H
#define LG_USAGE_H

#include "memory.h"
#include "who.h"

#define LG_USAGE_GROUPS 256 /* told apart in a minute */
#define LG_USAGE_PLACES 512 /* of the hash table over them; a power of two */

/* Whose connections.  All zeros: of those that have no group of their own. */
typedef struct LgUsageKey
{
	Oid databaseid;
	Oid userid;
	LgClient client;
	char application_name[NAMEDATALEN];
} LgUsageKey;

typedef struct LgUsageGroup
{
	LgUsageKey key;
	uint64 number;		/* of its record; 0 = none yet */
	LgStateCounts seen; /* in this sample */
	LgStateCounts sums; /* of the minute's samples */
	int held_max;
	int active_max;
} LgUsageGroup;

/* In which group a session was found; serves until it reports anything. */
typedef struct LgUsagePlace
{
	TimestampTz backend_start;
	int changes;
	uint16 round; /* of LgUsage */
	uint16 group;
} LgUsagePlace;

/* The minute under way; written and read only by whoever makes a pass. */
typedef struct LgUsage
{
	int64 period; /* of the newest sample */
	bool sampling;
	uint16 round;	/* counts minutes */
	uint16 samples; /* of this minute */
	int n;
	uint16 places[LG_USAGE_PLACES]; /* place of a group, from 1; 0 = free */
	LgUsageGroup groups[LG_USAGE_GROUPS + 1];
	LgUsagePlace slots[FLEXIBLE_ARRAY_MEMBER]; /* by connection slot */
} LgUsage;

extern void lg_usage_make_key(const LgSession *session, const char *application_name,
							  const SockAddr *client_addr, LgUsageKey *key);
extern bool lg_usage_read_key(const LgSession *session, LgUsageKey *key);
extern void lg_usage_add_key(LgRows *rows, const LgUsageKey *key, bool masked);
extern Size lg_usage_size(void);
extern void lg_usage_begin_pass(LgUsage *usage, TimestampTz now);
extern void lg_usage_count(LgUsage *usage, const LgSession *session);
extern void lg_usage_end_pass(LgUsage *usage, TimestampTz minute, bool standby);
extern void lg_usage_end_minute(LgUsage *usage);

#endif /* LG_USAGE_H */
