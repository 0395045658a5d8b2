/*-------------------------------------------------------------------------
 * policy.h
 *		A policy, the facts about a session, and the verdict.
 *-------------------------------------------------------------------------
 */
#ifndef LG_POLICY_H
#define LG_POLICY_H

#include "datatype/timestamp.h"
#include "libpq/pqcomm.h"
#include "schedule.h"
#include "sessions.h"

#define LG_POLICY_TEXTS 8192

typedef enum LgTarget
{
	LG_TARGET_IDLE_IN_TRANSACTION,
	LG_TARGET_IDLE,
	LG_TARGET_ACTIVE,
	LG_TARGET_TRANSACTION,
	LG_TARGET_BLOCKER,
	LG_TARGET_WAITER,
	LG_TARGET_QUEUED_DDL,
	LG_TARGET_STALLED_CLIENT,
	LG_TARGET_PREPARED,
	LG_TARGETS /* how many there are */
} LgTarget;

/* From weak to strong. */
typedef enum LgPolicyAction
{
	LG_POLICY_LOG,
	LG_POLICY_CANCEL,
	LG_POLICY_CANCEL_THEN_TERMINATE,
	LG_POLICY_TERMINATE
} LgPolicyAction;

typedef enum LgVictimOrder
{
	LG_ORDER_LONGEST,
	LG_ORDER_MOST_BLOCKING,
	LG_ORDER_YOUNGEST,
	LG_ORDER_ALL_BUT_OLDEST
} LgVictimOrder;

typedef enum LgRunsOn
{
	LG_RUNS_ON_PRIMARY,
	LG_RUNS_ON_STANDBY,
	LG_RUNS_ON_BOTH
} LgRunsOn;

/* The lists of a policy, each followed by the one of its exceptions. */
typedef enum LgFilterKind
{
	LG_FILTER_DATABASES,
	LG_FILTER_EXCEPT_DATABASES,
	LG_FILTER_ROLES,
	LG_FILTER_EXCEPT_ROLES,
	LG_FILTER_APPLICATIONS,
	LG_FILTER_EXCEPT_APPLICATIONS,
	LG_FILTER_CLIENTS,
	LG_FILTER_EXCEPT_CLIENTS,
	LG_FILTER_QUERIES,
	LG_FILTER_EXCEPT_QUERIES,
	LG_FILTER_GIDS,
	LG_FILTER_EXCEPT_GIDS,
	LG_FILTERS /* how many there are */
} LgFilterKind;

/* count strings, one after the other, from texts[first] on; count 0 = any */
typedef struct LgFilter
{
	uint16 first;
	uint16 count;
} LgFilter;

/*
 * A row of lifeguard.policy, as it lies in shared memory: no pointers.  Spans
 * are in microseconds; 0 stands for a condition that is not given.
 */
typedef struct LgPolicy
{
	char name[NAMEDATALEN]; /* empty: no policy */
	char owner[NAMEDATALEN];
	char time_zone[TZ_STRLEN_MAX + 1]; /* empty: log_timezone */
	bool enabled;
	bool include_lock_holders;
	bool include_listeners;
	bool include_superusers;
	LgTarget target;
	LgPolicyAction action;
	LgVictimOrder victim_order;
	LgRunsOn runs_on;
	int min_blocked;
	int min_horizon_age;
	int min_same_query;
	int keep;
	int max_per_pass;
	int max_per_minute;
	int64 min_duration;
	int64 min_blocked_for;
	int64 grace;
	int64 cooldown;
	double connections_above;
	double connections_until;
	LgSchedule schedule;
	LgFilter filters[LG_FILTERS];
	char texts[LG_POLICY_TEXTS];
} LgPolicy;

/* What rights say of one role and one policy; resolved by rights.c. */
typedef enum LgRoleFlags
{
	LG_ROLE_KNOWN = 1,	   /* the rest is resolved */
	LG_ROLE_LISTED = 2,	   /* in roles, or roles is not given */
	LG_ROLE_EXCEPTED = 4,  /* in except_roles */
	LG_ROLE_OWNER_MAY = 8, /* the owner may signal its sessions */
	LG_ROLE_SUPERUSER = 16,
	LG_ROLE_PROTECTED = 32, /* by pg_lifeguard.protected_roles */
	LG_ROLE_NO_OWNER = 64	/* the policy's owner does not exist */
} LgRoleFlags;

/* The same of one database. */
typedef enum LgDatabaseFlags
{
	LG_DATABASE_KNOWN = 1,
	LG_DATABASE_LISTED = 2,
	LG_DATABASE_EXCEPTED = 4
} LgDatabaseFlags;

/* What is true of the whole server in one pass. */
typedef struct LgServerFacts
{
	TimestampTz now;
	TimestampTz ages_count_from; /* no age gained before counts; 0 = all do */
	bool standby;
	int used; /* regular connection slots */
	int usable;
} LgServerFacts;

/*
 * What is known of one session, or prepared transaction, under one policy.
 * Texts are NULL where the policy asks for none.
 */
typedef struct LgFacts
{
	const LgSession *session;
	bool ourselves;		/* the process that decides */
	bool waiting;		/* for a heavyweight lock */
	bool root_blocker;	/* others wait for it, and it for nobody */
	bool queued_ddl;	/* awaits a strong lock on a relation, with others behind */
	bool holds_horizon; /* it is what keeps dead rows of its database */
	bool above_mark;	/* connections_above is passed, and connections_until not reached */
	bool protected_application;
	TimestampTz last_waiting;  /* when it was last seen waiting for a lock itself; 0 = never */
	TimestampTz wait_start;	   /* of its own wait; 0 = unknown or none */
	TimestampTz stalled_since; /* seen waiting for its client in every pass since; 0 = not so */
	TimestampTz prepared_at;   /* of a prepared transaction */
	TimestampTz blocks_since;  /* since when it makes somebody wait; 0 = not known */
	int blocked_total;
	int horizon_age;
	int same_query; /* sessions of its database that run its query id; 0 if it waits for a lock */
	TimestampTz oldest_same_query; /* when the first of them began */
	int locks_held;				   /* beyond its own virtual transaction; -1 = not known */
	int role_flags;
	int database_flags;
	const char *application_name;
	const char *query;
	const SockAddr *client_addr;
	const char *gid;
} LgFacts;

/* Why a policy acts on a session, or does not. */
typedef enum LgWhy
{
	LG_WHY_HIT,

	/* the policy does not mean it */
	LG_WHY_TARGET,
	LG_WHY_DATABASE,
	LG_WHY_ROLE,
	LG_WHY_APPLICATION,
	LG_WHY_CLIENT,
	LG_WHY_QUERY,
	LG_WHY_GID,

	/* it does not do that harm, or not yet */
	LG_WHY_YOUNG,
	LG_WHY_BLOCKS_FEW,
	LG_WHY_BLOCKS_SHORT,
	LG_WHY_HORIZON,
	LG_WHY_SAME_QUERY,
	LG_WHY_BELOW_MARK,
	LG_WHY_HOLDS_LOCKS,
	LG_WHY_LISTENS,
	LG_WHY_OLDEST,
	LG_WHY_KEPT,
	LG_WHY_ENOUGH, /* the mark is reached without it */

	/* it does, and is spared all the same: a finding */
	LG_WHY_OURSELVES,
	LG_WHY_NO_CLIENT,
	LG_WHY_SYNCREP,
	LG_WHY_UNKNOWN_ROLE,
	LG_WHY_SUPERUSER,
	LG_WHY_PROTECTED_ROLE,
	LG_WHY_PROTECTED_APPLICATION,
	LG_WHY_NO_OWNER,
	LG_WHY_NOT_PERMITTED,
	LG_WHY_NOTHING_TO_CANCEL,
	LG_WHY_ACTED_ON,
	LG_WHY_OVER_LIMIT
} LgWhy;

#define LG_WHY_IS_SPARED(why) ((why) >= LG_WHY_OURSELVES)

/* What a policy has to be told beyond the session itself. */
#define LG_NEEDS_GRAPH 1
#define LG_NEEDS_HORIZON 2
#define LG_NEEDS_SAME_QUERY 4
#define LG_NEEDS_TEXTS 8
#define LG_NEEDS_LOCKS 16

extern const char *lg_policy_target_name(LgTarget target);
extern bool lg_policy_target_of(const char *name, LgTarget *target);
extern const char *lg_policy_action_name(LgPolicyAction action);
extern bool lg_policy_action_of(const char *name, LgPolicyAction *action);
extern bool lg_policy_order_of(const char *name, LgVictimOrder *order);
extern bool lg_policy_runs_on_of(const char *name, LgRunsOn *runs_on);
extern const char *lg_policy_filter_entry(const LgPolicy *policy, LgFilterKind kind, int i);
extern bool lg_policy_add_filter(LgPolicy *policy, LgFilterKind kind, const char **entries, int n);
extern int lg_policy_needs(const LgPolicy *policy);
extern bool lg_policy_means_state(const LgPolicy *policy, const LgSession *session);
extern int64 lg_policy_limit(const LgPolicy *policy);
extern TimestampTz lg_policy_age_start(const LgPolicy *policy, const LgFacts *facts,
									   const LgServerFacts *server);
extern bool lg_policy_still_means(const LgPolicy *policy, const LgFacts *facts);
extern LgWhy lg_policy_decide(const LgPolicy *policy, const LgFacts *facts,
							  const LgServerFacts *server);
extern const char *lg_policy_span(int64 usecs);
extern const char *lg_policy_describe(const LgPolicy *policy, const LgFacts *facts,
									  const LgServerFacts *server, LgWhy why);

#endif /* LG_POLICY_H */
