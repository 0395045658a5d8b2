/*-------------------------------------------------------------------------
 * policy.c
 *		Decide: does this policy act on that session, and if not, why not.
 *
 * Pure functions of a policy, of facts and of the time: nothing here reads
 * shared memory, catalogs or a clock, so a live pass, a preview and a rehearsal
 * decide alike, and a test brings its own clock.
 *
 * All conditions that a policy gives must hold.  The verdict names the first
 * that does not.  Whoever meets all of them and is spared all the same, because
 * something protects it, is told apart: that is harm somebody should know of.
 *
 * Texts are compared byte by byte, as PostgreSQL's LIKE does it with bytea: they
 * come from databases of any encoding, and may be cut off within a character.
 * So "_" is one byte, too.  Texts and held locks cost more to get than the rest: a caller may
 * leave them out (NULL, -1), then what asks for them is taken as fulfilled, and
 * a hit has to be decided again with them.
 *
 * Locking: none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/ip.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/wait_event.h"

#include "clock.h"
#include "policy.h"

#define UNTIL_HEARD (2 * LG_USECS_PER_MSEC)

static const char *const target_names[LG_TARGETS] = {
	"idle in transaction", "idle",			 "active",
	"transaction",		   "blocker",		 "waiter",
	"queued ddl",		   "stalled client", "prepared transaction"};

static const char *const action_names[] = {"log", "cancel", "cancel then terminate", "terminate"};
static const char *const order_names[] = {"longest", "most blocking", "youngest", "all but oldest"};
static const char *const runs_on_names[] = {"primary", "standby", "both"};

/* The place of a word in a list, or -1. */
static int
find_word(const char *const *words, int n, const char *word)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(words[i], word) == 0)
			return i;
	}
	return -1;
}

/*
 * The words of lifeguard.policy, both ways.  The latter return false for a word
 * that is none of theirs.
 */
const char *
lg_policy_target_name(LgTarget target)
{
	return target_names[target];
}

const char *
lg_policy_action_name(LgPolicyAction action)
{
	return action_names[action];
}

bool
lg_policy_target_of(const char *name, LgTarget *target)
{
	int i = find_word(target_names, lengthof(target_names), name);

	*target = (LgTarget) Max(i, 0);
	return i >= 0;
}

bool
lg_policy_action_of(const char *name, LgPolicyAction *action)
{
	int i = find_word(action_names, lengthof(action_names), name);

	*action = (LgPolicyAction) Max(i, 0);
	return i >= 0;
}

bool
lg_policy_order_of(const char *name, LgVictimOrder *order)
{
	int i = find_word(order_names, lengthof(order_names), name);

	*order = (LgVictimOrder) Max(i, 0);
	return i >= 0;
}

bool
lg_policy_runs_on_of(const char *name, LgRunsOn *runs_on)
{
	int i = find_word(runs_on_names, lengthof(runs_on_names), name);

	*runs_on = (LgRunsOn) Max(i, 0);
	return i >= 0;
}

/*
 * Put a list into a policy, behind those that are there already.  Returns
 * false, and changes nothing, if there is no room for it.
 */
bool
lg_policy_add_filter(LgPolicy *policy, LgFilterKind kind, const char **entries, int n)
{
	Size used = 0;
	Size wanted = 0;

	for (int k = 0; k < LG_FILTERS; k++)
	{
		const LgFilter *filter = &policy->filters[k];
		const char *end = policy->texts + filter->first;

		for (int i = 0; i < filter->count; i++)
			end += strlen(end) + 1;
		used = Max(used, (Size) (end - policy->texts));
	}
	for (int i = 0; i < n; i++)
		wanted += strlen(entries[i]) + 1;
	if (n > PG_UINT16_MAX || used + wanted > LG_POLICY_TEXTS)
		return false;

	policy->filters[kind].first = used;
	policy->filters[kind].count = n;
	for (int i = 0; i < n; i++)
	{
		strcpy(policy->texts + used, entries[i]);
		used += strlen(entries[i]) + 1;
	}
	return true;
}

/*
 * The i-th entry of a list, in place; NULL behind the last.
 */
const char *
lg_policy_filter_entry(const LgPolicy *policy, LgFilterKind kind, int i)
{
	const LgFilter *filter = &policy->filters[kind];
	const char *entry = policy->texts + filter->first;

	if (i >= filter->count)
		return NULL;
	while (i-- > 0)
		entry += strlen(entry) + 1;
	return entry;
}

static bool
gives(const LgPolicy *policy, LgFilterKind kind)
{
	return policy->filters[kind].count > 0;
}

/*
 * What a policy has to be told, beyond the session itself, to decide.
 */
int
lg_policy_needs(const LgPolicy *policy)
{
	int needs = 0;

	if (policy->min_blocked > 0 || policy->min_blocked_for > 0 ||
		policy->victim_order == LG_ORDER_MOST_BLOCKING || policy->target == LG_TARGET_BLOCKER ||
		policy->target == LG_TARGET_WAITER || policy->target == LG_TARGET_QUEUED_DDL)
		needs |= LG_NEEDS_GRAPH;
	if (policy->min_horizon_age > 0)
		needs |= LG_NEEDS_HORIZON;
	if (policy->min_same_query > 0)
		needs |= LG_NEEDS_SAME_QUERY;
	if (policy->keep > 0 || (policy->target == LG_TARGET_IDLE && !policy->include_listeners))
		needs |= LG_NEEDS_TEXTS;
	for (int kind = LG_FILTER_APPLICATIONS; kind <= LG_FILTER_EXCEPT_QUERIES; kind++)
	{
		if (gives(policy, kind))
			needs |= LG_NEEDS_TEXTS;
	}
	if (policy->target == LG_TARGET_IDLE && !policy->include_lock_holders)
		needs |= LG_NEEDS_LOCKS;
	return needs;
}

static bool
runs_statement(const LgSession *session)
{
	return session->state == STATE_RUNNING || session->state == STATE_FASTPATH;
}

/*
 * Is the session in a state that the policy's target means?  For targets that
 * are told by their place in a lock queue, any session may be.
 */
bool
lg_policy_means_state(const LgPolicy *policy, const LgSession *session)
{
	bool runs = runs_statement(session);

	switch (policy->target)
	{
		case LG_TARGET_IDLE_IN_TRANSACTION:
			return session->state == STATE_IDLEINTRANSACTION ||
				   session->state == STATE_IDLEINTRANSACTION_ABORTED;
		case LG_TARGET_IDLE:
			return session->state == STATE_IDLE;
		case LG_TARGET_ACTIVE:
			return runs;
		case LG_TARGET_TRANSACTION:
			return session->xact_start != 0;
		case LG_TARGET_STALLED_CLIENT:
			return runs && (session->wait_event_info == WAIT_EVENT_CLIENT_READ ||
							session->wait_event_info == WAIT_EVENT_CLIENT_WRITE);
		case LG_TARGET_BLOCKER:
		case LG_TARGET_WAITER:
		case LG_TARGET_QUEUED_DDL:
			return true;
		case LG_TARGET_PREPARED:
		case LG_TARGETS:
			break;
	}
	return false;
}

static bool
means(const LgPolicy *policy, const LgFacts *facts)
{
	if (policy->target == LG_TARGET_PREPARED)
		return facts->gid != NULL;
	if (facts->session == NULL || !lg_policy_means_state(policy, facts->session))
		return false;
	switch (policy->target)
	{
		case LG_TARGET_BLOCKER:
			return facts->root_blocker;
		case LG_TARGET_WAITER:
			return facts->waiting;
		case LG_TARGET_QUEUED_DDL:
			return facts->queued_ddl;
		default:
			return true;
	}
}

/*
 * The age, in microseconds, that has to be exceeded.  A client hears that its
 * session is idle a moment after the server has noted it, and counts from there:
 * that moment is not the client's fault.
 */
int64
lg_policy_limit(const LgPolicy *policy)
{
	bool idles =
		policy->target == LG_TARGET_IDLE || policy->target == LG_TARGET_IDLE_IN_TRANSACTION;

	return policy->min_duration + (idles ? UNTIL_HEARD : 0);
}

/*
 * Since when the age counts that min_duration limits; 0 = unknown.  What was
 * gained by a jump of the clock does not count.
 */
TimestampTz
lg_policy_age_start(const LgPolicy *policy, const LgFacts *facts, const LgServerFacts *server)
{
	const LgSession *session = facts->session;
	TimestampTz start = 0;

	switch (policy->target)
	{
		case LG_TARGET_IDLE_IN_TRANSACTION:
		case LG_TARGET_IDLE:
			start = session->state_change;
			break;
		case LG_TARGET_BLOCKER: /* as long as it waits itself, somebody else is to blame */
			start = Max(session->state_change, facts->last_waiting);
			break;
		case LG_TARGET_STALLED_CLIENT:
			start = facts->stalled_since;
			break;
		case LG_TARGET_ACTIVE:
			start = session->query_start;
			break;
		case LG_TARGET_TRANSACTION:
			start = session->xact_start;
			break;
		case LG_TARGET_WAITER:
		case LG_TARGET_QUEUED_DDL:
			start = facts->wait_start;
			break;
		case LG_TARGET_PREPARED:
			start = facts->prepared_at;
			break;
		case LG_TARGETS:
			break;
	}
	return start == 0 ? 0 : Max(start, server->ages_count_from);
}

/* The same of the longest wait that the session causes. */
static int64
longest_wait(const LgFacts *facts, const LgServerFacts *server)
{
	if (facts->blocks_since == 0)
		return 0;
	return lg_clock_age(Max(facts->blocks_since, server->ages_count_from), server->now);
}

static bool
is_like(const char *text, const char *pattern)
{
	/* a text is laid out as a bytea is */
	return DatumGetBool(
		DirectFunctionCall2(bytealike, CStringGetTextDatum(text), CStringGetTextDatum(pattern)));
}

/* Is an entry of a list of queries a query id, and which? */
static bool
is_query_id(const char *entry, int64 *id)
{
	char *end;

	if (entry[strspn(entry, "+-0123456789")] != '\0')
		return false;
	errno = 0;
	*id = strtoll(entry, &end, 10);
	return *end == '\0' && errno == 0;
}

/* The client's address, or NULL for one that has none. */
static Datum
address_of(const SockAddr *client, bool *known)
{
	char host[NI_MAXHOST];

	*known = (client->addr.ss_family == AF_INET || client->addr.ss_family == AF_INET6) &&
			 pg_getnameinfo_all(&client->addr, client->salen, host, sizeof(host), NULL, 0,
								NI_NUMERICHOST | NI_NUMERICSERV) == 0;
	if (!*known)
		return (Datum) 0;
	clean_ipv6_addr(client->addr.ss_family, host);
	return DirectFunctionCall1(inet_in, CStringGetDatum(host));
}

/* Does any entry of the list fit the session's client? */
static bool
fits_client(const LgPolicy *policy, LgFilterKind kind, const SockAddr *client)
{
	const char *entry;
	bool known;
	Datum address = address_of(client, &known);

	for (int i = 0; (entry = lg_policy_filter_entry(policy, kind, i)) != NULL; i++)
	{
		if (strcmp(entry, "local") == 0)
		{
			if (client->addr.ss_family == AF_UNIX)
				return true;
		}
		else if (known &&
				 DatumGetBool(DirectFunctionCall2(
					 network_subeq, address, DirectFunctionCall1(cidr_in, CStringGetDatum(entry)))))
			return true;
	}
	return false;
}

static bool
fits_text(const LgPolicy *policy, LgFilterKind kind, const char *text)
{
	const char *entry;

	for (int i = 0; (entry = lg_policy_filter_entry(policy, kind, i)) != NULL; i++)
	{
		if (is_like(text, entry))
			return true;
	}
	return false;
}

static bool
fits_query(const LgPolicy *policy, LgFilterKind kind, const LgFacts *facts)
{
	const char *entry;
	int64 id;

	for (int i = 0; (entry = lg_policy_filter_entry(policy, kind, i)) != NULL; i++)
	{
		if (is_query_id(entry, &id) ? id == facts->session->query_id : is_like(facts->query, entry))
			return true;
	}
	return false;
}

/* The lists: the first that the session does not pass, or LG_WHY_HIT. */
static LgWhy
check_filters(const LgPolicy *policy, const LgFacts *facts)
{
	if ((gives(policy, LG_FILTER_DATABASES) || gives(policy, LG_FILTER_EXCEPT_DATABASES)) &&
		((facts->database_flags & LG_DATABASE_LISTED) == 0 ||
		 (facts->database_flags & LG_DATABASE_EXCEPTED) != 0))
		return LG_WHY_DATABASE;
	if ((facts->role_flags & LG_ROLE_KNOWN) != 0 &&
		((facts->role_flags & LG_ROLE_LISTED) == 0 || (facts->role_flags & LG_ROLE_EXCEPTED) != 0))
		return LG_WHY_ROLE;
	if (policy->target == LG_TARGET_PREPARED)
	{
		if (strncmp(facts->gid, "pg_gid_", 7) == 0 ||
			!fits_text(policy, LG_FILTER_GIDS, facts->gid) ||
			fits_text(policy, LG_FILTER_EXCEPT_GIDS, facts->gid))
			return LG_WHY_GID;
		return LG_WHY_HIT;
	}
	if (facts->application_name == NULL)
		return LG_WHY_HIT; /* to be decided again */
	if ((gives(policy, LG_FILTER_APPLICATIONS) &&
		 !fits_text(policy, LG_FILTER_APPLICATIONS, facts->application_name)) ||
		(gives(policy, LG_FILTER_EXCEPT_APPLICATIONS) &&
		 fits_text(policy, LG_FILTER_EXCEPT_APPLICATIONS, facts->application_name)))
		return LG_WHY_APPLICATION;
	if ((gives(policy, LG_FILTER_CLIENTS) &&
		 !fits_client(policy, LG_FILTER_CLIENTS, facts->client_addr)) ||
		(gives(policy, LG_FILTER_EXCEPT_CLIENTS) &&
		 fits_client(policy, LG_FILTER_EXCEPT_CLIENTS, facts->client_addr)))
		return LG_WHY_CLIENT;
	if ((gives(policy, LG_FILTER_QUERIES) && !fits_query(policy, LG_FILTER_QUERIES, facts)) ||
		(gives(policy, LG_FILTER_EXCEPT_QUERIES) &&
		 fits_query(policy, LG_FILTER_EXCEPT_QUERIES, facts)))
		return LG_WHY_QUERY;
	return LG_WHY_HIT;
}

/* The harm: the first condition that is not met, or LG_WHY_HIT. */
static LgWhy
check_harm(const LgPolicy *policy, const LgFacts *facts, const LgServerFacts *server)
{
	if (policy->connections_above > 0 && !facts->above_mark)
		return LG_WHY_BELOW_MARK;
	if (policy->min_blocked > 0 && facts->blocked_total < policy->min_blocked)
		return LG_WHY_BLOCKS_FEW;
	if (policy->min_blocked_for > 0 && longest_wait(facts, server) <= policy->min_blocked_for)
		return LG_WHY_BLOCKS_SHORT;
	if (policy->min_horizon_age > 0 &&
		(!facts->holds_horizon || facts->horizon_age < policy->min_horizon_age))
		return LG_WHY_HORIZON;
	if (policy->min_same_query > 0 && facts->same_query < policy->min_same_query)
		return LG_WHY_SAME_QUERY;
	return LG_WHY_HIT;
}

/* The end of a comment that begins here, with those in it; NULL if it has none. */
static const char *
end_of_comment(const char *c)
{
	int depth = 0;

	for (; *c != '\0'; c++)
	{
		if (c[0] == '/' && c[1] == '*')
		{
			depth++;
			c++;
		}
		else if (c[0] == '*' && c[1] == '/')
		{
			c++;
			if (--depth == 0)
				return c + 1;
		}
	}
	return NULL;
}

/*
 * Does a statement of the text begin with LISTEN?  Comments are skipped, quotes
 * are not understood: rather one session spared too many.
 */
static bool
listens(const char *query)
{
	const char *c = query;

	while (*c != '\0')
	{
		c += strspn(c, " \t\r\n\f\v;");
		if (c[0] == '-' && c[1] == '-')
		{
			c += strcspn(c, "\n");
			continue;
		}
		if (c[0] == '/' && c[1] == '*')
		{
			c = end_of_comment(c);
			if (c == NULL)
				return false;
			continue;
		}
		if (pg_strncasecmp(c, "listen", 6) == 0 && strchr(" \t\r\n\f\v\"/-", c[6]) != NULL)
			return true;
		c += strcspn(c, ";");
	}
	return false;
}

/* What idle sessions are left alone for. */
static LgWhy
check_idle(const LgPolicy *policy, const LgFacts *facts)
{
	if (policy->target != LG_TARGET_IDLE)
		return LG_WHY_HIT;
	if (!policy->include_lock_holders && facts->locks_held > 0)
		return LG_WHY_HOLDS_LOCKS;
	if (!policy->include_listeners && facts->query != NULL && listens(facts->query))
		return LG_WHY_LISTENS;
	return LG_WHY_HIT;
}

/* What protects a session, whatever harm it does. */
static LgWhy
check_protections(const LgPolicy *policy, const LgFacts *facts)
{
	const LgSession *session = facts->session;

	if (facts->ourselves)
		return LG_WHY_OURSELVES;
	if (session != NULL && session->backend_type != B_BACKEND)
		return LG_WHY_NO_CLIENT;
	if (session != NULL && session->syncrep)
		return LG_WHY_SYNCREP;
	if ((facts->role_flags & LG_ROLE_KNOWN) == 0)
		return LG_WHY_UNKNOWN_ROLE;
	if ((gives(policy, LG_FILTER_DATABASES) || gives(policy, LG_FILTER_EXCEPT_DATABASES)) &&
		(facts->database_flags & LG_DATABASE_KNOWN) == 0)
		return LG_WHY_UNKNOWN_ROLE;
	if ((facts->role_flags & LG_ROLE_NO_OWNER) != 0)
		return LG_WHY_NO_OWNER;
	if ((facts->role_flags & LG_ROLE_PROTECTED) != 0)
		return LG_WHY_PROTECTED_ROLE;
	if (facts->protected_application)
		return LG_WHY_PROTECTED_APPLICATION;
	if ((facts->role_flags & LG_ROLE_SUPERUSER) != 0 && !policy->include_superusers)
		return LG_WHY_SUPERUSER;
	if ((facts->role_flags & LG_ROLE_OWNER_MAY) == 0)
		return LG_WHY_NOT_PERMITTED;
	if (policy->action == LG_POLICY_CANCEL && session != NULL && !runs_statement(session))
		return LG_WHY_NOTHING_TO_CANCEL;
	return LG_WHY_HIT;
}

/*
 * Does the policy act on the session now?  LG_WHY_HIT if so, else the first
 * reason why not.  What depends on other victims too (order, keep, limits) is
 * not decided here.  Allocates in the current memory context.
 */
LgWhy
lg_policy_decide(const LgPolicy *policy, const LgFacts *facts, const LgServerFacts *server)
{
	TimestampTz start;
	LgWhy why;

	if (!means(policy, facts))
		return LG_WHY_TARGET;
	if ((why = check_filters(policy, facts)) != LG_WHY_HIT)
		return why;

	/* exactly at the limit is still allowed */
	start = lg_policy_age_start(policy, facts, server);
	if (start == 0 || lg_clock_age(start, server->now) <= lg_policy_limit(policy))
		return LG_WHY_YOUNG;
	if ((why = check_harm(policy, facts, server)) != LG_WHY_HIT ||
		(why = check_idle(policy, facts)) != LG_WHY_HIT)
		return why;
	return check_protections(policy, facts);
}

/*
 * Would the policy, as it is by now, still mean a session that it has hit before?
 * What it asks of the session's age and of the harm it does is not asked again.
 * Needs all facts of who it is, its texts included.  Allocates in the current memory
 * context.
 */
bool
lg_policy_still_means(const LgPolicy *policy, const LgFacts *facts)
{
	return check_filters(policy, facts) == LG_WHY_HIT &&
		   check_protections(policy, facts) == LG_WHY_HIT;
}

/*
 * A span in words: "1.5 s", "2 min 5 s", "3 h 4 min", "2 d 1 h".  Rounded down.
 */
const char *
lg_policy_span(int64 usecs)
{
	int64 ms = usecs / LG_USECS_PER_MSEC;
	int64 s = ms / 1000;

	if (ms < 1000)
		return psprintf(INT64_FORMAT " ms", ms);
	if (s < 10 && ms % 1000 >= 100)
		return psprintf(INT64_FORMAT "." INT64_FORMAT " s", s, ms % 1000 / 100);
	if (s < 60)
		return psprintf(INT64_FORMAT " s", s);
	if (s < 3600)
		return s % 60 == 0 ? psprintf(INT64_FORMAT " min", s / 60)
						   : psprintf(INT64_FORMAT " min " INT64_FORMAT " s", s / 60, s % 60);
	if (s < 86400)
		return s / 60 % 60 == 0
				   ? psprintf(INT64_FORMAT " h", s / 3600)
				   : psprintf(INT64_FORMAT " h " INT64_FORMAT " min", s / 3600, s / 60 % 60);
	return s / 3600 % 24 == 0
			   ? psprintf(INT64_FORMAT " d", s / 86400)
			   : psprintf(INT64_FORMAT " d " INT64_FORMAT " h", s / 86400, s / 3600 % 24);
}

/* The harm of a session that is hit: what the ledger, the log and its client are told. */
static const char *
describe_hit(const LgPolicy *policy, const LgFacts *facts, const LgServerFacts *server)
{
	static const char *const what[LG_TARGETS] = {"idle in transaction",
												 "idle",
												 "running its statement",
												 "in its transaction",
												 "blocking",
												 "waiting for a lock",
												 "waiting for a lock, with others behind it,",
												 "stalled by its client",
												 "prepared"};
	StringInfoData text;
	int64 age = lg_clock_age(lg_policy_age_start(policy, facts, server), server->now);

	initStringInfo(&text);
	if (policy->target == LG_TARGET_BLOCKER)
		appendStringInfo(&text, "in its state (%s) for %s",
						 lg_sessions_state_name(facts->session->state) != NULL
							 ? lg_sessions_state_name(facts->session->state)
							 : "unknown",
						 lg_policy_span(age));
	else
		appendStringInfo(&text, "%s for %s", what[policy->target], lg_policy_span(age));
	if (facts->blocked_total > 0)
	{
		appendStringInfo(&text,
						 ngettext("; %d session waits for it", "; %d sessions wait for it",
								  facts->blocked_total),
						 facts->blocked_total);
		if (facts->blocks_since != 0)
			appendStringInfo(&text, facts->blocked_total == 1 ? ", for %s" : ", the longest for %s",
							 lg_policy_span(longest_wait(facts, server)));
	}
	if (policy->min_horizon_age > 0)
		appendStringInfo(&text, "; it keeps the dead rows of %d transactions", facts->horizon_age);
	if (policy->min_same_query > 0)
		appendStringInfo(&text, "; %d sessions run that query", facts->same_query);
	if (policy->connections_above > 0)
		appendStringInfo(&text, "; %d of %d connection slots are taken", server->used,
						 server->usable);
	return text.data;
}

/*
 * A verdict in words, in the current memory context.
 */
const char *
lg_policy_describe(const LgPolicy *policy, const LgFacts *facts, const LgServerFacts *server,
				   LgWhy why)
{
	switch (why)
	{
		case LG_WHY_HIT:
			return describe_hit(policy, facts, server);
		case LG_WHY_TARGET:
			return psprintf("not a target of the kind \"%s\"", target_names[policy->target]);
		case LG_WHY_DATABASE:
			return "another database";
		case LG_WHY_ROLE:
			return "another role";
		case LG_WHY_APPLICATION:
			return "another application";
		case LG_WHY_CLIENT:
			return "another client";
		case LG_WHY_QUERY:
			return "another query";
		case LG_WHY_GID:
			return "another gid";
		case LG_WHY_YOUNG:
			return psprintf("not for longer than %s", lg_policy_span(policy->min_duration));
		case LG_WHY_BLOCKS_FEW:
			return psprintf("%d wait for it, min_blocked is %d", facts->blocked_total,
							policy->min_blocked);
		case LG_WHY_BLOCKS_SHORT:
			return psprintf("nobody has waited for it for longer than %s",
							lg_policy_span(policy->min_blocked_for));
		case LG_WHY_HORIZON:
			return "it does not hold the horizon back, or not so far";
		case LG_WHY_SAME_QUERY:
			if (facts->session->waiting)
				return "it waits for a lock, which is not its doing";
			return psprintf("%d run that query, min_same_query is %d", facts->same_query,
							policy->min_same_query);
		case LG_WHY_BELOW_MARK:
			return psprintf("%d of %d connection slots are taken, below the mark", server->used,
							server->usable);
		case LG_WHY_HOLDS_LOCKS:
			return "it holds a lock";
		case LG_WHY_LISTENS:
			return "it listens";
		case LG_WHY_OLDEST:
			return "the oldest is left";
		case LG_WHY_KEPT:
			return psprintf("%d are kept of its kind", policy->keep);
		case LG_WHY_ENOUGH:
			return "others are enough";
		case LG_WHY_OURSELVES:
			return "this session itself";
		case LG_WHY_NO_CLIENT:
			return "not a client session";
		case LG_WHY_SYNCREP:
			return "its commit waits for a synchronous standby";
		case LG_WHY_UNKNOWN_ROLE:
			return "its role or database could not be looked up";
		case LG_WHY_SUPERUSER:
			return "superuser";
		case LG_WHY_PROTECTED_ROLE:
			return "protected role";
		case LG_WHY_PROTECTED_APPLICATION:
			return "protected application";
		case LG_WHY_NO_OWNER:
			return "the policy's owner does not exist";
		case LG_WHY_NOT_PERMITTED:
			return "the policy's owner may not signal it";
		case LG_WHY_NOTHING_TO_CANCEL:
			return "nothing to cancel";
		case LG_WHY_ACTED_ON:
			return "already acted on";
		case LG_WHY_OVER_LIMIT:
			return "over limit";
	}
	return "unknown";
}
