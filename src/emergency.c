/*-------------------------------------------------------------------------
 * emergency.c
 *		A report in the server log when nobody can log in any more.
 *
 * When every connection slot is taken, the reserved ones too, no view can be
 * read: whoever is called has a shell on the machine and the server log.  There
 * the pass that finds it so says who holds the slots, who blocks whom, what the
 * policies do about it and how many were turned away, once a minute as long as
 * it lasts.
 *
 * What sessions call themselves is anybody's to choose, so it is told in ASCII,
 * without control characters, in quotes that it cannot close.
 *
 * Locking: what rights.c takes, and never waits for.  The caller makes a pass
 * (lg_shared_begin_pass); nothing is held while the report is written.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "access/xlog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "compat.h"
#include "emergency.h"
#include "rights.h"
#include "saturation.h"
#include "sessions.h"
#include "settings.h"
#include "usage.h"

#define PERIOD (60 * USECS_PER_SEC) /* between two reports */
#define MAX_GROUPS 5				/* told of each kind */
#define MAX_BLOCKERS 5
#define MAX_POLICIES 10

/* Sessions of one database, role, application and client. */
typedef struct Holder
{
	LgUsageKey key;
	LgStateCounts states;
	int idle_pid;			/* of the one that has been idle longest, in a transaction or not */
	TimestampTz idle_since; /* 0 = none is idle */
} Holder;

/* Who holds the slots. */
typedef struct Holders
{
	int used;
	LgStateCounts states;
	int n;
	Holder *all;
} Holders;

/* Append a text that anybody may have chosen. */
static void
append_quoted(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '"');
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == '"')
			appendStringInfoString(out, "\"\"");
		else
			appendStringInfoChar(out, (*c < ' ' || *c > '~') ? '?' : *c);
	}
	appendStringInfoChar(out, '"');
}

static void
append_age(StringInfo out, TimestampTz since, TimestampTz now)
{
	appendStringInfo(out, INT64_FORMAT " s", lg_clock_age(since, now) / USECS_PER_SEC);
}

/* A name as it was resolved; the OID while it is not known. */
static void
append_name(StringInfo out, const char *what, const char *name, Oid oid)
{
	appendStringInfo(out, "%s ", what);
	if (name[0] != '\0')
		append_quoted(out, name);
	else
		appendStringInfo(out, "%u", oid);
}

static void
append_role(StringInfo out, Oid roleid)
{
	append_name(out, "role", lg_rights_role_name(roleid), roleid);
}

static void
append_database(StringInfo out, Oid databaseid)
{
	append_name(out, "database", lg_rights_database_name(databaseid), databaseid);
}

static void
append_client(StringInfo out, const LgClient *client)
{
	char address[INET6_ADDRSTRLEN];

	if ((client->family == AF_INET || client->family == AF_INET6) &&
		inet_ntop(client->family, client->address, address, sizeof(address)) != NULL)
		appendStringInfo(out, "client %s", address);
	else
		appendStringInfoString(out, "a local client");
}

/* --- who holds the slots ------------------------------------------------------ */

static int
compare_keys(const void *a, const void *b)
{
	return memcmp(&((const Holder *) a)->key, &((const Holder *) b)->key, sizeof(LgUsageKey));
}

static int
compare_totals(const void *a, const void *b)
{
	const Holder *x = a;
	const Holder *y = b;

	return x->states.total != y->states.total ? y->states.total - x->states.total
											  : compare_keys(a, b);
}

/* One session, as a group of its own. */
static void
keep_session(Holder *holder, const LgSession *session)
{
	memset(holder, 0, sizeof(Holder));
	(void) lg_usage_read_key(session, &holder->key); /* if it is gone by now, it was counted */
	lg_saturation_add(&holder->states, session);
	if (holder->states.idle + lg_saturation_in_transaction(&holder->states) > 0)
	{
		holder->idle_pid = session->pid;
		holder->idle_since = session->state_change;
	}
}

static void
add_to(Holder *group, const Holder *one)
{
	lg_saturation_add_counts(&group->states, &one->states);
	if (one->idle_since != 0 && (group->idle_since == 0 || one->idle_since < group->idle_since))
	{
		group->idle_pid = one->idle_pid;
		group->idle_since = one->idle_since;
	}
}

/* Read all sessions anew, so that all figures are of one moment; the largest groups come first. */
static void
collect_holders(Holders *holders)
{
	LgSessionScan scan = {0, 0};
	LgSession session;
	int n = 0;

	memset(holders, 0, sizeof(Holders));
	holders->all = palloc(sizeof(Holder) * MaxConnections);
	while (lg_sessions_next(&scan, &session))
	{
		CHECK_FOR_INTERRUPTS();
		lg_saturation_add(&holders->states, &session);
		keep_session(&holders->all[n++], &session);
	}
	holders->used = scan.used;

	qsort(holders->all, n, sizeof(Holder), compare_keys);
	for (int i = 0; i < n; i++)
	{
		if (holders->n > 0 && compare_keys(&holders->all[holders->n - 1], &holders->all[i]) == 0)
			add_to(&holders->all[holders->n - 1], &holders->all[i]);
		else
			holders->all[holders->n++] = holders->all[i];
	}
	qsort(holders->all, holders->n, sizeof(Holder), compare_totals);
}

static void
tell_states(StringInfo out, const Holders *holders)
{
	const LgStateCounts *states = &holders->states;
	int in_transaction = lg_saturation_in_transaction(states);

	appendStringInfo(out,
					 "Sessions: %d active, %d idle, %d idle in transaction, %d starting, ending or "
					 "without a state; waiting for a lock: %d.",
					 states->active, states->idle, in_transaction,
					 holders->used - states->active - states->idle - in_transaction,
					 states->waiting);
}

static void
tell_holders(StringInfo out, const Holders *holders, TimestampTz now)
{
	int others = 0;

	for (int i = 0; i < holders->n; i++)
	{
		const Holder *holder = &holders->all[i];

		if (i >= MAX_GROUPS)
		{
			others += holder->states.total;
			continue;
		}
		appendStringInfo(out, "\nHeld: %d by ", holder->states.total);
		append_role(out, holder->key.userid);
		appendStringInfoString(out, ", ");
		append_database(out, holder->key.databaseid);
		appendStringInfoString(out, ", application ");
		append_quoted(out, holder->key.application_name);
		appendStringInfoString(out, ", ");
		append_client(out, &holder->key.client);
		appendStringInfo(out, ": %d active, %d idle, %d idle in transaction", holder->states.active,
						 holder->states.idle, lg_saturation_in_transaction(&holder->states));
		if (holder->idle_since != 0)
		{
			appendStringInfo(out, "; idle longest is PID %d, for ", holder->idle_pid);
			append_age(out, holder->idle_since, now);
		}
		appendStringInfoChar(out, '.');
	}
	if (others > 0)
		appendStringInfo(out, "\nHeld: %d by %d more of these.", others, holders->n - MAX_GROUPS);
}

/* --- who blocks --------------------------------------------------------------- */

static int
compare_harm(const void *a, const void *b)
{
	const LgLockNode *x = *(const LgLockNode *const *) a;
	const LgLockNode *y = *(const LgLockNode *const *) b;

	if (x->blocked_total != y->blocked_total)
		return y->blocked_total - x->blocked_total;
	return x->pid - y->pid;
}

static void
tell_blocker(StringInfo out, const LgLockNode *node, TimestampTz now)
{
	LgSession session;
	LgSessionTexts texts;

	if (node->pid == 0)
	{
		appendStringInfo(out, "\nBlocker: a prepared transaction (xid %u) of ", node->xid);
		append_role(out, node->roleid);
		appendStringInfoString(out, " in ");
		append_database(out, node->databaseid);
	}
	else if (!lg_sessions_read_one(node->slot, &session) || session.pid != node->pid)
		appendStringInfo(out, "\nBlocker: PID %d, which has just ended", node->pid);
	else if (session.backend_type != B_BACKEND)
		appendStringInfo(out, "\nBlocker: PID %d, no session but the server's %s", node->pid,
						 GetBackendTypeDesc(session.backend_type));
	else
	{
		const char *state = lg_sessions_state_name(session.state);

		lg_sessions_init_texts(&texts, false);
		(void) lg_sessions_read_texts(&session, &texts);
		appendStringInfo(out, "\nBlocker: PID %d, ", node->pid);
		append_role(out, session.userid);
		appendStringInfoString(out, ", application ");
		append_quoted(out, texts.application_name);
		appendStringInfo(out, ", %s for ", state != NULL ? state : "without a state");
		append_age(out, session.state_change, now);
	}
	appendStringInfo(out, "; waiting for it: %d, the longest for ", node->blocked_total);
	append_age(out, node->longest, now);
	appendStringInfo(out, "%s.", node->deadlock ? " (a deadlock)" : "");
}

/* The graph has been concluded at the end of the pass. */
static void
tell_blockers(StringInfo out, const LgLockGraph *graph, TimestampTz now)
{
	const LgLockNode **roots;
	int n = 0;

	if (graph == NULL)
		return;
	roots = palloc(sizeof(LgLockNode *) * Max(graph->n_nodes, 1));
	for (int i = 0; i < graph->n_nodes; i++)
	{
		if (graph->nodes[i].blocked_total > 0)
			roots[n++] = &graph->nodes[i];
	}
	qsort(roots, n, sizeof(LgLockNode *), compare_harm);
	for (int i = 0; i < Min(n, MAX_BLOCKERS); i++)
		tell_blocker(out, roots[i], now);
	if (n > MAX_BLOCKERS)
		appendStringInfo(out, "\nBlockers: %d more.", n - MAX_BLOCKERS);
}

/* --- what policies do --------------------------------------------------------- */

/* What a policy does now, or why it does nothing.  owner_gone: that is known. */
static const char *
standing_of(const LgLocalPolicy *local, const LgPolicyState *state, bool owner_gone, LgTime now)
{
	if (!local->policy->enabled)
		return "disabled";
	if (owner_gone)
		return "does nothing, its owner does not exist";
	if (state->idle_why == LG_IDLE_RUNS_ON)
		return RecoveryInProgress() ? "does not run on standbys" : "does not run on primaries";
	if (state->idle_why == LG_IDLE_SCHEDULE)
		return "outside its schedule";
	if (local->policy->min_same_query > 0 && !IsQueryIdEnabled())
		return "does nothing, query ids are not computed";
	if (local->policy->action == LG_POLICY_LOG)
		return "in force, only logs";
	if (!lg_state_enforced())
		return "only rehearses, pg_lifeguard.enforce is off";
	if (lg_state_paused(now.wall))
		return "only rehearses, paused by lifeguard.pause()";
	if (state->paused_until > now.mono)
		return "paused by its breaker, its actions brought no relief";
	return "in force, acts";
}

static void
tell_policy(StringInfo out, const LgLocalPolicy *local, Oid some_role, LgTime now)
{
	LgPolicyState state = lg_shared->states[local->place]; /* ours while we make a pass */
	bool owner_gone = (lg_rights_role_flags(some_role, local) & LG_ROLE_NO_OWNER) != 0;

	if (strcmp(state.name, local->policy->name) != 0)
		memset(&state, 0, sizeof(state));
	appendStringInfoString(out, "\nPolicy ");
	append_quoted(out, local->policy->name);
	appendStringInfo(out, " (%s, %s): %s; %d actions in the last minute",
					 lg_policy_target_name(local->policy->target),
					 lg_policy_action_name(local->policy->action),
					 standing_of(local, &state, owner_gone, now),
					 lg_limiter_last_minute(&state.acted, now.mono));
	if (state.last_action != 0)
	{
		appendStringInfoString(out, ", the last one ");
		append_age(out, state.last_action, now.wall);
		appendStringInfoString(out, " ago");
	}
	if (state.over_limit > 0)
		appendStringInfo(out, "; its limits have spared " UINT64_FORMAT, state.over_limit);
	appendStringInfoChar(out, '.');
}

/* Those that do something come first. */
static void
tell_policies(StringInfo out, const LgLocalPolicies *policies, Oid some_role, LgTime now)
{
	int told = 0;

	if (policies->n == 0)
		appendStringInfoString(out, "\nNo policy is in force.");
	for (int disabled = 0; disabled <= 1; disabled++)
	{
		for (int i = 0; i < policies->n; i++)
		{
			const LgLocalPolicy *local = &policies->policies[i];

			if (local->policy->enabled == (disabled == 0) && told++ < MAX_POLICIES)
				tell_policy(out, local, some_role, now);
		}
	}
	if (told > MAX_POLICIES)
		appendStringInfo(out, "\nPolicies: %d more.", told - MAX_POLICIES);
}

/* --- the report --------------------------------------------------------------- */

static void
write_report(const Holders *holders, const LgMemory *memory, const LgRescue *rescue)
{
	/* those of the rescue, which are not copied anew while it is in use */
	LgLocalPolicies *policies = rescue != NULL ? rescue->policies : lg_policies_get();
	Oid some_role = holders->n > 0 ? holders->all[0].key.userid : InvalidOid;
	StringInfoData out;

	initStringInfo(&out);
	tell_states(&out, holders);
	lg_rights_open(policies);
	tell_holders(&out, holders, memory->now.wall);
	tell_blockers(&out, memory->graph, memory->now.wall);
	tell_policies(&out, policies, some_role, memory->now);
	lg_rights_close();
	appendStringInfo(&out, "\nConnection attempts refused since %s: " INT64_FORMAT ".",
					 lg_shared->emergency_at == 0 ? "the server started" : "the last such report",
					 lg_shared->refusals_unreported);

	ereport(LOG_SERVER_ONLY,
			(errmsg("nobody can log in: all %d connection slots are taken, of which %d are for any "
					"role",
					MaxConnections, memory->usable),
			 errdetail_internal("%s", out.data),
			 errhint("To make room, end a session: \"pg_ctl kill TERM\" and its PID, on this "
					 "machine. Never SIGKILL, which restarts the whole server."),
			 errhidestmt(true), errhidecontext(true)));
}

/*
 * The end of a pass: report if every slot is taken, and a minute has passed since
 * that was last said.  rescue: what the policies did, or NULL when there are none.
 * Allocates in the current memory context; needs no transaction.
 */
void
lg_emergency_observe(const LgMemory *memory, const LgRescue *rescue)
{
	Holders holders;

	lg_shared->refusals_unreported += memory->refusals;
	if (!lg_emergency_report || memory->gauges->used < MaxConnections ||
		(lg_shared->emergency_at != 0 && memory->now.mono - lg_shared->emergency_at < PERIOD))
		return;

	collect_holders(&holders);
	if (holders.used < MaxConnections)
		return; /* somebody has left meanwhile */
	write_report(&holders, memory, rescue);
	lg_shared->emergency_at = memory->now.mono;
	lg_shared->refusals_unreported = 0;
}
