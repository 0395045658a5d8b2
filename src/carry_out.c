/*-------------------------------------------------------------------------
 * carry_out.c
 *		Carry out what was decided: record it, say it, begin it.
 *
 * Every verdict that concerns anybody has one entry in the ledger per policy and
 * episode, written before a signal goes out; when the same is decided again, the
 * entry counts it.  Policies that are stronger come first: of two that hit one
 * session one acts, and the other finds it acted on.
 *
 * Locking: what ledger.c, pending.c and lock_graph.c take.  The caller makes a
 * pass (lg_shared_begin_pass).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"

#include "carry_out.h"
#include "ledger.h"
#include "lock_roots.h"
#include "names.h"
#include "pending.h"
#include "rights.h"
#include "sessions.h"
#include "settings.h"
#include "shared.h"
#include "test_point.h"

#define LONGEST_PASS (5 * USECS_PER_SEC) /* until what it has decided is not acted on any more */
#define MAX_NOTED 10 /* new entries of a policy, in a minute, about sessions on which nobody acts */

/* The strongest of the modes in a mask, as pg_locks names it. */
static const char *
strongest_mode(LOCKMASK mask)
{
	LOCKMODE mode = 0;

	for (LOCKMODE m = 1; m <= MaxLockMode; m++)
	{
		if ((mask & LOCKBIT_ON(m)) != 0)
			mode = m;
	}
	return GetLockmodeName(DEFAULT_LOCKMETHOD, mode);
}

/* A waiter in the queue of a lock whose relation is to be named. */
static const LgLockWaiter *
waiter_to_ask(const LgLockGraph *graph, const LgLockNode *node)
{
	if (node->first_waiter >= 0)
		return &graph->waiters[node->first_waiter];
	if (node->contended_lock >= 0 && graph->locks[node->contended_lock].n_waiters > 0)
		return &graph->waiters[graph->locks[node->contended_lock].first_waiter];
	return NULL;
}

/*
 * On what others wait for it, in words.  The locks of a row and of a key are
 * those of the transaction that has touched it; their modes tell nobody anything.
 */
static void
describe_lock(StringInfo reason, const LgLockGraph *graph, const LgLockNode *node)
{
	if (graph->locks[node->contended_lock].tag.locktag_type == LOCKTAG_TRANSACTION)
		appendStringInfoString(reason, "; the lock is on a row or key that its transaction has "
									   "written or locked");
	else
		appendStringInfo(reason, "; %s held, %s awaited", strongest_mode(node->held),
						 strongest_mode(node->awaited));
}

/* Whom the candidate blocks, and on what. */
static void
record_harm(LgLedgerEntry *entry, const LgRescue *rescue, const LgCandidate *candidate,
			StringInfo reason)
{
	const LgLockGraph *graph = rescue->graph;
	const LgLockNode *node;
	const LgLockWaiter *waiter;
	LgAwaitedRow row;
	int *blocked;

	entry->blocked_total = candidate->facts.blocked_total;
	if (candidate->node < 0)
		return;
	node = &graph->nodes[candidate->node];
	if (entry->blocked_total > 0)
	{
		int n;

		blocked = palloc(sizeof(int) * graph->n_nodes);
		n = lg_lock_roots_find_blocked(graph, candidate->node, blocked);
		entry->n_blocked_pids = Min(n, LG_LEDGER_PIDS);
		for (int i = 0; i < entry->n_blocked_pids; i++)
			entry->blocked_pids[i] = graph->nodes[blocked[i]].pid;
		pfree(blocked);
	}
	if (node->contended_lock >= 0 && node->held != 0 && node->awaited != 0)
		describe_lock(reason, graph, node);

	waiter = waiter_to_ask(graph, node);
	if (waiter == NULL)
		return;
	lg_lock_graph_awaited_row(graph, waiter, &row);
	if (OidIsValid(row.relation))
	{
		entry->relation = row.relation;
		entry->relation_databaseid = row.databaseid;
	}
}

/* Everything about a candidate, for the ledger. */
static void
fill_entry(LgLedgerEntry *entry, const LgRescue *rescue, const LgCandidate *candidate)
{
	const LgPolicy *policy = candidate->local->policy;
	const LgSession *session = candidate->session;
	const LgFacts *facts = &candidate->facts;
	const char *state = lg_sessions_state_name(session->state);
	StringInfoData reason;

	memset(entry, 0, sizeof(LgLedgerEntry));
	initStringInfo(&reason);
	appendStringInfoString(&reason, lg_policy_describe(policy, facts, &rescue->server, LG_WHY_HIT));
	record_harm(entry, rescue, candidate, &reason);
	if (rescue->outdated && candidate->rehearsal && policy->action != LG_POLICY_LOG)
		appendStringInfoString(&reason, LG_WHY_OUTDATED);

	entry->at = rescue->now.wall;
	entry->backend_start = session->backend_start;
	entry->state_age = lg_clock_age(session->state_change, rescue->now.wall);
	entry->pid = session->pid;
	entry->userid = session->userid;
	entry->databaseid = session->databaseid;
	entry->writer_databaseid = rescue->policies->databaseid;
	entry->on_standby = rescue->server.standby;
	entry->repeats = 1;
	entry->waiters_freed = -1;
	strlcpy(entry->policy, policy->name, NAMEDATALEN);
	strlcpy(entry->target, lg_policy_target_name(policy->target), sizeof(entry->target));
	strlcpy(entry->action, lg_policy_action_name(policy->action), sizeof(entry->action));
	if (candidate->prepared != NULL)
		strlcpy(entry->gid, candidate->prepared->gid, LG_LEDGER_GID);
	if (state != NULL || candidate->prepared != NULL)
		strlcpy(entry->state, candidate->prepared != NULL ? "prepared" : state,
				sizeof(entry->state));
	strlcpy(entry->usename, lg_rights_role_name(session->userid), NAMEDATALEN);
	strlcpy(entry->datname, lg_rights_database_name(session->databaseid), NAMEDATALEN);
	if (facts->application_name != NULL)
	{
		strlcpy(entry->application_name, facts->application_name, NAMEDATALEN);
		memcpy(&entry->client_addr, facts->client_addr, sizeof(SockAddr));
		strlcpy(entry->query, facts->query, LG_LEDGER_QUERY);
	}
	strlcpy(entry->reason, reason.data, LG_LEDGER_REASON);
}

/* Only ASCII: the victim's encoding is not ours to know. */
static void
copy_ascii(char *target, Size size, const char *text)
{
	strlcpy(target, text, size);
	for (char *c = target; *c != '\0'; c++)
	{
		if (IS_HIGHBIT_SET(*c))
			*c = '?';
	}
}

/* What the client can do about it. */
static const char *
hint_for(LgTarget target)
{
	switch (target)
	{
		case LG_TARGET_IDLE_IN_TRANSACTION:
			return "Commit or roll back before the program waits for anything else; connect again "
				   "and repeat the transaction if it is still needed.";
		case LG_TARGET_IDLE:
			return "Connect again when there is something to do, or use a connection pool.";
		case LG_TARGET_STALLED_CLIENT:
			return "Read results and send data as they come; connect again and repeat the "
				   "statement if it is still needed.";
		case LG_TARGET_WAITER:
		case LG_TARGET_QUEUED_DDL:
			return "Repeat the statement when the lock is free, with lock_timeout set.";
		default:
			return "Repeat it if it is still needed, in shorter steps if that can be done.";
	}
}

static void
compose_reason(LgReason *reason, const LgLedgerEntry *entry, const LgPolicy *policy)
{
	copy_ascii(reason->detail, LG_DETAIL_SIZE,
			   psprintf("pg_lifeguard acted on this session under policy \"%s\": %s.", policy->name,
						entry->reason));
	copy_ascii(reason->hint, LG_HINT_SIZE, hint_for(policy->target));
	reason->by_hand = false;
}

/* The line in the server log. */
static void
write_log(const LgCandidate *candidate, const LgLedgerEntry *entry, bool rehearsal)
{
	const LgPolicy *policy = candidate->local->policy;
	const char *does;

	if (candidate->prepared != NULL)
	{
		ereport(LOG_SERVER_ONLY,
				(errmsg("policy \"%s\" %s prepared transaction \"%s\"", policy->name,
						rehearsal
							? (policy->action == LG_POLICY_LOG ? "would act on" : "would roll back")
							: "rolls back",
						entry->gid),
				 errdetail("Role \"%s\", database \"%s\": %s.", entry->usename, entry->datname,
						   entry->reason),
				 errhidestmt(true), errhidecontext(true)));
		return;
	}
	if (policy->action == LG_POLICY_LOG)
		does = "would act on";
	else if (lg_pending_first_action(policy, candidate->session) == LG_ACTION_TERMINATE)
		does = rehearsal ? "would terminate" : "terminates";
	else
		does = rehearsal ? "would cancel" : "cancels";
	ereport(LOG_SERVER_ONLY,
			(errmsg("policy \"%s\" %s session with PID %d", policy->name, does, entry->pid),
			 errdetail("Role \"%s\", database \"%s\", application \"%s\": %s.", entry->usename,
					   entry->datname, entry->application_name, entry->reason),
			 errhidestmt(true), errhidecontext(true)));
}

/* How the ledger words that somebody is spared. */
static const char *
outcome_of(const LgRescue *rescue, const LgCandidate *candidate)
{
	switch (candidate->why)
	{
		case LG_WHY_OVER_LIMIT:
			return "over limit";
		case LG_WHY_ACTED_ON:
			return "already acted on";
		case LG_WHY_NOT_PERMITTED:
		case LG_WHY_NO_OWNER:
			return "not permitted";
		default:
			return psprintf("spared: %s",
							lg_policy_describe(candidate->local->policy, &candidate->facts,
											   &rescue->server, candidate->why));
	}
}

/*
 * The entry of this policy and episode: the one there is, with what is true
 * now, or a new one.  Returns its number.
 */
static uint64
record(LgLedgerEntry *entry, const LgRescue *rescue, LgCandidate *candidate, const char *signal,
	   const char *outcome)
{
	LgEpisodeMark *mark = lg_state_mark(candidate->local, candidate->session->slot);

	fill_entry(entry, rescue, candidate);
	strlcpy(entry->signal, signal, sizeof(entry->signal));
	strlcpy(entry->outcome, outcome, LG_OUTCOME_SIZE);
	if (!lg_ledger_is_open(outcome))
		entry->outcome_at = entry->at;
	if (mark->since != candidate->since || mark->entry == 0 ||
		!lg_ledger_replace(mark->entry, entry))
	{
		memset(mark, 0, sizeof(LgEpisodeMark));
		mark->entry = lg_ledger_add(entry);
		mark->since = candidate->since;
	}
	lg_names_want(entry->relation_databaseid, entry->relation);
	return candidate->entry = mark->entry;
}

static void
rehearse(LgRescue *rescue, LgCandidate *candidate)
{
	LgPolicyState *state = lg_state_of(candidate->local);
	LgLedgerEntry *entry = palloc(sizeof(LgLedgerEntry));

	(void) record(entry, rescue, candidate, "", "rehearsed");
	lg_state_mark(candidate->local, candidate->session->slot)->rehearsed = true;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	lg_limiter_count(&state->rehearsed, rescue->now.mono);
	LWLockRelease(lg_shared->lock);
	write_log(candidate, entry, true);
	pfree(entry);
}

/*
 * Leave a trace of harm that nobody ended, once per episode.  Where many are
 * spared, some of them tell enough; policy_status counts all.
 */
static void
note_spared(LgRescue *rescue, LgCandidate *candidate)
{
	LgEpisodeMark *mark = lg_state_mark(candidate->local, candidate->session->slot);
	LgPolicyState *state = lg_state_of(candidate->local);
	LgLedgerEntry *entry;
	bool has_room;

	if (mark->since == candidate->since && mark->noted)
		return;
	if (mark->since != candidate->since)
	{
		memset(mark, 0, sizeof(LgEpisodeMark));
		mark->since = candidate->since;
	}
	mark->noted = true;
	has_room = lg_limiter_room(&state->noted, MAX_NOTED, rescue->now.mono) > 0;
	LWLockAcquire(lg_shared->lock, LW_EXCLUSIVE);
	if (candidate->why == LG_WHY_OVER_LIMIT)
		state->over_limit++;
	else if (candidate->why != LG_WHY_ACTED_ON)
		state->spared++;
	if (has_room)
		lg_limiter_count(&state->noted, rescue->now.mono);
	LWLockRelease(lg_shared->lock);
	if (!has_room)
		return;

	entry = palloc(sizeof(LgLedgerEntry));
	(void) record(entry, rescue, candidate, "", outcome_of(rescue, candidate));
	mark->noted = true;
	pfree(entry);
}

/*
 * Decide that a prepared transaction is rolled back.  That may write and wait, so
 * the visitor does it when the pass is over.  If it does not come to that, the next
 * visit decides anew, and finds no mark in its way.
 */
static void
doom(LgRescue *rescue, LgCandidate *candidate)
{
	LgLedgerEntry *entry = palloc(sizeof(LgLedgerEntry));

	(void) record(entry, rescue, candidate, "", LG_OUTCOME_ROLLING_BACK);
	candidate->dooms = true; /* before anything may be interrupted */
	lg_pending_count(rescue, candidate);
	LG_TEST_POINT("before the log line");
	write_log(candidate, entry, false);
	pfree(entry);
}

/*
 * Is what the pass has decided out of date?  It may have been held up since: by a slow
 * server log, by whoever has stopped the process.  Then the next pass decides anew.
 */
static bool
is_out_of_date(const LgRescue *rescue)
{
	return lg_policies_generation() != rescue->policies->generation || !lg_state_enforced() ||
		   lg_state_paused(GetCurrentTimestamp()) ||
		   lg_clock_read(CLOCK_MONOTONIC) - rescue->now.mono > LONGEST_PASS;
}

/*
 * Act for real.  Says "already acted on" if another policy, or somebody by hand,
 * was first.  Only when something was tried is it the policy's last word on this
 * episode, unless pending.c finds that it was the wrong moment.
 */
static void
act(LgRescue *rescue, LgCandidate *candidate)
{
	const LgPolicy *policy = candidate->local->policy;
	LgLedgerEntry *entry;
	LgProgress progress;
	LgReason reason;
	uint64 number;

	if (is_out_of_date(rescue))
	{
		entry = palloc(sizeof(LgLedgerEntry));
		(void) record(entry, rescue, candidate, "", "spared: stopped");
		pfree(entry);
		return;
	}
	if (candidate->prepared != NULL)
	{
		doom(rescue, candidate);
		return;
	}
	if (!lg_pending_has_room())
	{
		/* nothing has been done, so its turn comes in a later pass */
		candidate->why = LG_WHY_OVER_LIMIT;
		note_spared(rescue, candidate);
		return;
	}

	lg_pending_prepare(rescue, policy);
	entry = palloc(sizeof(LgLedgerEntry));
	if (lg_pending_forbids(candidate->session, policy->action))
		(void) record(entry, rescue, candidate, "", "already acted on");
	else if ((candidate->local->needs & LG_NEEDS_GRAPH) != 0 &&
			 candidate->facts.blocked_total > 0 && candidate->facts.root_blocker &&
			 !lg_lock_graph_still_blocks(rescue->graph, candidate->node))
		(void) record(entry, rescue, candidate, "", "spared: it blocks nobody any more");
	else
	{
		number = record(entry, rescue, candidate,
						lg_pending_first_action(policy, candidate->session) == LG_ACTION_TERMINATE
							? "SIGTERM"
							: "SIGINT",
						"signalled");
		compose_reason(&reason, entry, policy);
		progress = lg_pending_start(rescue, candidate, number, &reason);
		if (progress != LG_PROGRESS_CONTENDED)
		{
			LgEpisodeMark *mark = lg_state_mark(candidate->local, candidate->session->slot);

			mark->acted = policy->action;
			mark->again_at = 0;
		}
		if (progress == LG_PROGRESS_PENDING)
			write_log(candidate, entry, false);
	}
	pfree(entry);
}

/*
 * Carry out what lg_rescue_decide() has decided, the strongest actions first.
 * Allocates in the current memory context; writes to the server log.
 */
void
lg_carry_out(LgRescue *rescue)
{
	for (int strength = LG_POLICY_TERMINATE; strength >= LG_POLICY_LOG; strength--)
	{
		for (int i = 0; i < rescue->n_candidates; i++)
		{
			LgCandidate *candidate = &rescue->candidates[i];

			CHECK_FOR_INTERRUPTS();
			if ((int) candidate->local->policy->action != strength)
				continue;
			if (LG_WHY_IS_SPARED(candidate->why))
				note_spared(rescue, candidate);
			else if (candidate->why != LG_WHY_HIT)
				continue;
			else if (candidate->repeat && candidate->prepared != NULL && !candidate->rehearsal)
				continue; /* it rests, and its entry says why */
			else if (candidate->repeat)
				lg_ledger_repeat(lg_state_mark(candidate->local, candidate->session->slot)->entry);
			else if (candidate->rehearsal)
				rehearse(rescue, candidate);
			else
				act(rescue, candidate);
		}
	}
}
