/*-------------------------------------------------------------------------
 * rescue.c
 *		One pass over all policies: who is hit.
 *
 * The walk over all sessions asks each policy in force only what costs nothing:
 * state, age, role, database.  Policies of one target stand in the order of
 * their limits, so a session is compared with those it exceeds and one more;
 * that one tells when the session will come to violate it, and the next pass
 * is made at that moment.
 *
 * Whoever exceeds a limit is a candidate.  Only for candidates the lock graph is
 * concluded, horizons are read, texts copied, locks counted; then policy.c
 * decides.  choose.c says whose turn it is, pending.c acts.
 *
 * Locking: what in_force.c, rights.c and lock_graph.c take.  The caller makes a pass
 * (lg_shared_begin_pass).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/hsearch.h"

#include "choose.h"
#include "compat.h"
#include "horizon.h"
#include "in_force.h"
#include "lock_roots.h"
#include "rescue.h"
#include "rights.h"
#include "saturation.h"
#include "sessions.h"
#include "shared.h"

/* How many sessions of a database run a query id, and since when the oldest. */
typedef struct SameQueryKey
{
	int64 query_id;
	Oid databaseid;
	Oid unused; /* no padding in a hash key */
} SameQueryKey;

typedef struct SameQuery
{
	SameQueryKey key;
	int count;
	TimestampTz oldest;
} SameQuery;

/* A session with candidates, and its texts once they have been asked for. */
typedef struct KeptSession
{
	LgSession session; /* first: candidates point to it */
	LgSessionTexts *texts;
} KeptSession;

/*
 * Remember who waits.  Whoever comes out of a queue and holds the lock that the
 * others behind him want has not made them wait for longer than that.  While
 * anybody waits passes follow each other at the fast interval, so this is known
 * to one such interval.
 */
static void
note_waiting(LgRescue *rescue)
{
	const LgLockGraph *graph = rescue->collected;

	for (int i = 0; graph != NULL && i < graph->n_nodes; i++)
	{
		const LgLockNode *node = &graph->nodes[i];

		if (node->first_waiter < 0)
			continue;
		rescue->waiting++;
		if (node->slot < MaxConnections && rescue->only == NULL)
		{
			lg_shared->last_waits[node->slot].pid = node->pid;
			lg_shared->last_waits[node->slot].seen = rescue->now.wall;
		}
	}
}

static HTAB *
make_same_queries(void)
{
	HASHCTL ctl = {.keysize = sizeof(SameQueryKey),
				   .entrysize = sizeof(SameQuery),
				   .hcxt = CurrentMemoryContext};

	return hash_create("pg_lifeguard same queries", 256, &ctl,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Begin a pass over the policies, which are lg_policies_get()'s and must not be
 * asked for anew before it ends: all that are in force, or only one, whatever its
 * schedule and whether it is enabled or not.  collected is the picture of
 * who waits for whom, NULL when nobody does.  all: keep, with the reason, those
 * too who meet the target and are not hit.  Returns NULL when there is no
 * policy; else lg_rescue_decide() must follow, for it ends what
 * lg_rights_open() began.  Allocates in the current memory context.
 */
LgRescue *
lg_rescue_begin(LgTime now, LgLocalPolicies *policies, const LgLockGraph *collected,
				LgLocalPolicy *only, bool all)
{
	LgRescue *rescue;
	int needs = 0;
	int n = 0;

	if (policies->n == 0)
	{
		pg_atomic_write_u32(&lg_shared->wake_above, 0);
		return NULL;
	}

	rescue = palloc0(sizeof(LgRescue));
	rescue->now = now;
	rescue->policies = policies;
	rescue->collected = collected;
	rescue->only = only;
	rescue->all = all;
	rescue->outdated = lg_state_outdated();
	rescue->server.now = now.wall;
	rescue->server.ages_count_from = lg_shared->beat.ages_count_from;
	rescue->server.standby = RecoveryInProgress();
	rescue->server.used = lg_saturation_used();
	rescue->server.usable = lg_saturation_usable();
	note_waiting(rescue);
	lg_in_force_list(rescue);

	for (int target = 0; target < LG_TARGETS; target++)
	{
		n += rescue->n_in_force[target];
		for (int i = 0; i < rescue->n_in_force[target]; i++)
			needs |= rescue->in_force[target][i]->needs;
	}
	if ((needs & LG_NEEDS_SAME_QUERY) != 0)
		rescue->same_queries = make_same_queries();
	rescue->opened = n > 0;
	rescue->planned_slots = palloc0(sizeof(bool) * lg_state_count_slots());
	lg_state_forget_unmeant(policies->generation);
	if (rescue->opened)
		lg_rights_open(policies);
	return rescue;
}

/* Keep a session for a policy. */
static LgCandidate *
add_candidate(LgRescue *rescue, LgLocalPolicy *local, LgSession *session)
{
	LgCandidate *candidate;

	if (rescue->n_candidates == rescue->room)
	{
		rescue->room = Max(rescue->room * 2, 64);
		rescue->candidates = rescue->candidates == NULL
								 ? palloc(sizeof(LgCandidate) * rescue->room)
								 : repalloc(rescue->candidates, sizeof(LgCandidate) * rescue->room);
	}
	candidate = &rescue->candidates[rescue->n_candidates++];
	memset(candidate, 0, sizeof(LgCandidate));
	candidate->local = local;
	candidate->session = session;
	candidate->node = -1;
	candidate->facts.session = session;
	candidate->facts.locks_held = -1;
	return candidate;
}

/*
 * Since when the session has been seen waiting for its client, in one and the
 * same statement, by every pass, and without any progress: COPY reports each
 * piece that it has read or written, and each message of a pipeline is one.  Of
 * a SELECT whose client reads slowly, what is between two passes nobody sees.
 */
static TimestampTz
note_stall(LgRescue *rescue, const LgSession *session)
{
	LgStall *stall = &lg_shared->stalls[session->slot];
	uint64 last_pass = lg_shared->beat.passes;
	bool waits = session->wait_event_info == WAIT_EVENT_CLIENT_READ ||
				 session->wait_event_info == WAIT_EVENT_CLIENT_WRITE;
	bool goes_on = waits && stall->since != 0 && stall->pass == last_pass &&
				   stall->state_change == session->state_change &&
				   stall->changes == session->changes;

	if (rescue->only != NULL)
		return goes_on ? stall->since : 0;
	if (!goes_on)
		stall->since = waits ? rescue->now.wall : 0;
	stall->state_change = session->state_change;
	stall->changes = session->changes;
	stall->pass = last_pass + 1;
	return stall->since;
}

/*
 * Does the policy mean sessions of this role and database?  Unknown ones are asked again
 * later.  roles is lg_rights_role() of the session, looked up when it is first needed.
 */
static bool
in_scope(const LgLocalPolicy *local, const LgSession *session, const int **roles)
{
	int database;

	if (*roles == NULL)
		*roles = lg_rights_role(session->userid);
	if (*roles != NULL)
	{
		int role = (*roles)[local->index];

		if ((role & LG_ROLE_LISTED) == 0 || (role & LG_ROLE_EXCEPTED) != 0)
			return false;
	}
	if (local->any_database)
		return true;
	database = lg_rights_database_flags(session->databaseid, local);
	return database == 0 ||
		   ((database & LG_DATABASE_LISTED) != 0 && (database & LG_DATABASE_EXCEPTED) == 0);
}

/* Does it not even have to be asked: not meant, or dealt with, in this episode? */
static bool
is_settled(const LgEpisodeMark *mark, const LgLocalPolicy *local, TimestampTz since, int64 now)
{
	return mark->since == since && (mark->unmeant || lg_state_is_done(mark, local, now));
}

/* Compare a session with the policies of one target; kept is its copy, once there is one. */
static void
consider_for(LgRescue *rescue, LgTarget target, const LgSession *session, TimestampTz since,
			 LgSession **kept)
{
	TimestampTz start = Max(since, rescue->server.ages_count_from);
	int64 age = lg_clock_age(start, rescue->now.wall);
	const LgEpisodeMark *marks = lg_state_marks(session->slot);
	const int *roles = NULL;

	if (since == 0 && !rescue->all)
		return;
	for (int i = 0; i < rescue->n_in_force[target]; i++)
	{
		LgLocalPolicy *local = rescue->in_force[target][i];

		if (age <= local->limit && !rescue->all)
		{
			TimestampTz violates = start + local->limit + 1;

			if (rescue->deadline != 0 && violates >= rescue->deadline)
				break; /* the others are later still */
			if (!in_scope(local, session, &roles))
				continue;
			rescue->deadline = violates;
			break;
		}
		/* what is remembered of it last: of all sessions together that is megabytes */
		if (!rescue->all && (!in_scope(local, session, &roles) ||
							 is_settled(&marks[local->place], local, since, rescue->now.mono)))
			continue;
		if (*kept == NULL)
		{
			KeptSession *copy = palloc(sizeof(KeptSession));

			copy->session = *session;
			copy->texts = NULL;
			*kept = &copy->session;
		}
		add_candidate(rescue, local, *kept)->since = since;
	}
}

/*
 * Count a session among those that run the same query.  Whoever waits for a lock
 * runs nothing: a pile behind a lock is its holder's doing, and no stampede.
 */
static void
count_query(LgRescue *rescue, const LgSession *session)
{
	SameQueryKey key = {session->query_id, session->databaseid, 0};
	SameQuery *same;
	bool found;

	if (session->query_id == 0 || session->waiting)
		return;
	same = hash_search(rescue->same_queries, &key, HASH_ENTER, &found);
	if (!found)
	{
		same->count = 0;
		same->oldest = session->query_start;
	}
	same->count++;
	same->oldest = Min(same->oldest, session->query_start);
}

/*
 * Compare one client session of the walk with the policies in force.
 */
void
lg_rescue_consider(LgRescue *rescue, const LgSession *session)
{
	bool runs = session->state == STATE_RUNNING || session->state == STATE_FASTPATH;
	LgSession *kept = NULL;

	if (session->state == STATE_IDLE)
		consider_for(rescue, LG_TARGET_IDLE, session, session->state_change, &kept);
	else if (session->state == STATE_IDLEINTRANSACTION ||
			 session->state == STATE_IDLEINTRANSACTION_ABORTED)
		consider_for(rescue, LG_TARGET_IDLE_IN_TRANSACTION, session, session->state_change, &kept);
	else if (runs)
	{
		if (rescue->same_queries != NULL)
			count_query(rescue, session);
		consider_for(rescue, LG_TARGET_ACTIVE, session, session->query_start, &kept);
	}
	if (session->xact_start != 0)
		consider_for(rescue, LG_TARGET_TRANSACTION, session, session->xact_start, &kept);
	if (rescue->n_in_force[LG_TARGET_STALLED_CLIENT] > 0)
	{
		TimestampTz since = runs ? note_stall(rescue, session) : 0;

		if (since != 0)
			consider_for(rescue, LG_TARGET_STALLED_CLIENT, session, since, &kept);
	}
}

/*
 * Compare a prepared transaction with the policies in force.  It must stay where
 * it is until the pass is over.
 */
void
lg_rescue_consider_prepared(LgRescue *rescue, const LgPrepared *prepared)
{
	LgSession *session = palloc0(sizeof(LgSession));

	session->slot = prepared->slot;
	session->backend_type = B_INVALID;
	session->databaseid = prepared->databaseid;
	session->userid = prepared->userid;
	session->state_change = prepared->prepared_at;
	session->xid = prepared->xid;
	for (int i = 0; i < rescue->n_in_force[LG_TARGET_PREPARED]; i++)
	{
		LgLocalPolicy *local = rescue->in_force[LG_TARGET_PREPARED][i];
		LgCandidate *candidate = add_candidate(rescue, local, session);

		candidate->prepared = prepared;
		candidate->since = prepared->prepared_at;
		candidate->facts.session = NULL; /* what policies ask of sessions is not asked of it */
		candidate->facts.gid = prepared->gid;
		candidate->facts.prepared_at = prepared->prepared_at;
	}
}

/* Where a node waits with DDL that holds up a queue; NULL if nowhere. */
static const LgLockWaiter *
find_queued_ddl(const LgLockGraph *graph, const LgLockNode *node)
{
	for (int w = node->first_waiter; w >= 0; w = graph->waiters[w].next_of_node)
	{
		const LgLockWaiter *waiter = &graph->waiters[w];
		const LgAwaitedLock *lock = &graph->locks[waiter->lock];

		if (lock->tag.locktag_type == LOCKTAG_RELATION && waiter->mode >= ShareLock &&
			w < lock->first_waiter + lock->n_waiters - 1)
			return waiter;
	}
	return NULL;
}

/* Does any policy ask what only the concluded graph can tell? */
static bool
asks_for_graph(LgRescue *rescue, const LgLockGraph *collected)
{
	int64 longest = 0;

	for (int i = 0; i < rescue->n_candidates; i++)
	{
		if ((rescue->candidates[i].local->needs & LG_NEEDS_GRAPH) != 0)
			return true;
	}
	if (rescue->n_in_force[LG_TARGET_BLOCKER] > 0)
		return true;

	/* those who wait: only when somebody has waited long enough */
	for (int i = 0; i < collected->n_nodes; i++)
		longest = Max(longest, lg_clock_age(collected->nodes[i].wait_start, rescue->server.now));
	for (LgTarget target = LG_TARGET_WAITER; target <= LG_TARGET_QUEUED_DDL; target++)
	{
		if (rescue->n_in_force[target] > 0 &&
			(rescue->all || longest > rescue->in_force[target][0]->policy->min_duration))
			return true;
	}
	return false;
}

/* A moment at which the next pass has something to do. */
static void
note_deadline(LgRescue *rescue, TimestampTz since, int64 limit)
{
	TimestampTz violates = Max(since, rescue->server.ages_count_from) + limit + 1;

	if (since != 0 && violates > rescue->server.now &&
		(rescue->deadline == 0 || violates < rescue->deadline))
		rescue->deadline = violates;
}

/*
 * When those who wait now will have waited for too long, for a policy on waiters;
 * and for one on those who make them wait: of each queue its head, which as a rule
 * has waited longest.
 */
static void
note_wait_deadlines(LgRescue *rescue)
{
	const LgLockGraph *graph = rescue->collected;

	for (LgTarget target = LG_TARGET_WAITER; target <= LG_TARGET_QUEUED_DDL; target++)
	{
		for (int i = 0; i < rescue->n_in_force[target]; i++)
		{
			for (int w = 0; w < graph->n_waiters; w++)
				note_deadline(rescue, graph->waiters[w].wait_start,
							  rescue->in_force[target][i]->limit);
		}
	}
	for (int i = 0; i < rescue->policies->n; i++)
	{
		const LgLocalPolicy *local = &rescue->policies->policies[i];

		if (local->policy->min_blocked_for == 0 || !local->policy->enabled)
			continue;
		for (int l = 0; l < graph->n_locks; l++)
		{
			if (graph->locks[l].n_waiters > 0)
				note_deadline(rescue, graph->waiters[graph->locks[l].first_waiter].wait_start,
							  local->policy->min_blocked_for);
		}
	}
}

/* Compare everybody in the graph with the policies that are about waiting. */
static void
consider_graph(LgRescue *rescue)
{
	const LgLockGraph *graph = rescue->graph;

	for (int i = 0; i < graph->n_nodes; i++)
	{
		const LgLockNode *node = &graph->nodes[i];
		const LgLockWaiter *ddl;
		LgSession session;
		LgSession *kept = NULL;

		CHECK_FOR_INTERRUPTS();
		if (node->pid == 0 || !lg_sessions_read_one(node->slot, &session) ||
			session.pid != node->pid)
			continue;
		if (node->first_waiter < 0)
		{
			consider_for(rescue, LG_TARGET_BLOCKER, &session,
						 Max(session.state_change, lg_state_last_waiting(&session)), &kept);
			continue;
		}
		consider_for(rescue, LG_TARGET_WAITER, &session, node->wait_start, &kept);
		ddl = find_queued_ddl(graph, node);
		if (ddl != NULL)
			consider_for(rescue, LG_TARGET_QUEUED_DDL, &session, ddl->wait_start, &kept);
	}
}

/* How many wait for it, and since when the first. */
static void
count_blocked(const LgLockGraph *graph, int index, LgFacts *facts)
{
	const LgLockNode *node = &graph->nodes[index];
	int *blocked;

	if (node->first_waiter < 0 || node->deadlock)
	{
		facts->blocked_total = node->blocked_total;
		facts->blocks_since = node->longest;
		return;
	}
	blocked = palloc(sizeof(int) * graph->n_nodes);
	facts->blocked_total = lg_lock_roots_find_blocked(graph, index, blocked);
	for (int i = 0; i < facts->blocked_total; i++)
	{
		TimestampTz start = graph->nodes[blocked[i]].wait_start;

		if (start != 0 && (facts->blocks_since == 0 || start < facts->blocks_since))
			facts->blocks_since = start;
	}
	pfree(blocked);
}

/* What the graph says of a candidate. */
static void
add_graph_facts(LgRescue *rescue, LgCandidate *candidate)
{
	LgLockGraph *graph = rescue->graph;
	LgFacts *facts = &candidate->facts;
	int index = graph != NULL ? graph->node_of_slot[candidate->session->slot] : -1;
	const LgLockNode *node;
	const LgLockWaiter *ddl;

	if (index < 0 || graph->nodes[index].pid != candidate->session->pid ||
		(candidate->prepared != NULL && graph->nodes[index].xid != candidate->prepared->xid))
		return;
	node = &graph->nodes[index];
	candidate->node = index;
	facts->waiting = node->first_waiter >= 0;
	facts->wait_start = node->wait_start;
	facts->root_blocker = node->first_waiter < 0;
	facts->last_waiting = lg_state_last_waiting(candidate->session);
	count_blocked(graph, index, facts);
	if (facts->blocks_since != 0 && candidate->local->policy->target != LG_TARGET_WAITER &&
		candidate->local->policy->target != LG_TARGET_QUEUED_DDL) /* those are meant as they wait */
		facts->blocks_since = Max(facts->blocks_since, facts->last_waiting);
	ddl = find_queued_ddl(graph, node);
	if (ddl != NULL)
	{
		facts->queued_ddl = true;
		facts->wait_start = ddl->wait_start;
	}
}

/* What costs little to know of a candidate. */
static void
add_facts(LgRescue *rescue, LgCandidate *candidate, HTAB *horizons, TransactionId next_xid)
{
	const LgLocalPolicy *local = candidate->local;
	const LgSession *session = candidate->session;
	LgFacts *facts = &candidate->facts;

	facts->ourselves = session->pid == MyProcPid;
	facts->role_flags = lg_rights_role_flags(session->userid, local);
	facts->database_flags = lg_rights_database_flags(session->databaseid, local);
	facts->above_mark =
		local->policy->connections_above > 0 &&
		lg_in_force_passes_mark(rescue, local, lg_shared->states[local->place].engaged);
	if (local->policy->target == LG_TARGET_STALLED_CLIENT)
		facts->stalled_since = candidate->since;
	add_graph_facts(rescue, candidate);
	if ((local->needs & LG_NEEDS_HORIZON) != 0)
	{
		TransactionId horizon = lg_sessions_horizon(session);

		facts->holds_horizon = lg_horizon_held_by(horizons, session);
		facts->horizon_age =
			TransactionIdIsNormal(horizon) ? Max((int32) (next_xid - horizon), 0) : 0;
	}
	if ((local->needs & LG_NEEDS_SAME_QUERY) != 0 && session->query_id != 0 && !session->waiting)
	{
		SameQueryKey key = {session->query_id, session->databaseid, 0};
		SameQuery *same = hash_search(rescue->same_queries, &key, HASH_FIND, NULL);

		facts->same_query = same != NULL ? same->count : 0;
		facts->oldest_same_query = same != NULL ? same->oldest : 0;
	}
}

/* What costs more, and is only asked of those who would be hit. */
static void
add_costly_facts(LgCandidate *candidate)
{
	const LgSession *session = candidate->session;
	LgFacts *facts = &candidate->facts;
	LgSessionTexts *texts;

	if (candidate->prepared != NULL)
		return; /* nobody is there who has any */
	texts = ((KeptSession *) candidate->session)->texts;
	if (texts == NULL)
	{
		texts = ((KeptSession *) candidate->session)->texts = palloc(sizeof(LgSessionTexts));
		lg_sessions_init_texts(texts, true);
		lg_sessions_read_texts(session, texts); /* empty if it is gone: then proof fails, too */
	}
	facts->application_name = texts->application_name;
	facts->query = texts->query;
	facts->client_addr = &texts->client_addr;
	facts->protected_application =
		lg_rights_application_protected(texts->application_name, session->userid);
	if ((candidate->local->needs & LG_NEEDS_LOCKS) != 0)
		facts->locks_held = lg_lock_graph_count_held(session->slot, session->pid);
}

/* Whom those block who are hit, though their policies do not ask. */
static void
add_evidence(LgRescue *rescue)
{
	for (int i = 0; i < rescue->n_candidates; i++)
	{
		if (rescue->candidates[i].why != LG_WHY_HIT)
			continue;
		if (rescue->graph == NULL && (rescue->graph = lg_lock_graph_read()) == NULL)
			return;
		add_graph_facts(rescue, &rescue->candidates[i]);
	}
}

/*
 * While a session is idle its texts stay what they are.  Whom a policy does not
 * mean because of them it need not be asked again, pass after pass.
 */
static void
note_unmeant(LgRescue *rescue, LgCandidate *candidate)
{
	LgTarget target = candidate->local->policy->target;
	LgEpisodeMark *mark;

	if (rescue->only != NULL ||
		(target != LG_TARGET_IDLE && target != LG_TARGET_IDLE_IN_TRANSACTION) ||
		(candidate->why != LG_WHY_APPLICATION && candidate->why != LG_WHY_CLIENT &&
		 candidate->why != LG_WHY_QUERY))
		return;
	mark = lg_state_mark(candidate->local, candidate->session->slot);
	if (mark->since != candidate->since)
	{
		memset(mark, 0, sizeof(LgEpisodeMark));
		mark->since = candidate->since;
	}
	mark->unmeant = true;
}

/*
 * Decide on every candidate, and whose turn it is among those who are hit.  From
 * here on names and rights are those that were resolved.
 */
void
lg_rescue_decide(LgRescue *rescue)
{
	const LgLockGraph *collected = rescue->collected;
	HTAB *horizons = NULL;
	int needs = 0;

	if (!rescue->opened)
		return;
	if (collected != NULL && !rescue->all)
		note_wait_deadlines(rescue);
	if (collected != NULL && asks_for_graph(rescue, collected))
	{
		rescue->graph = lg_lock_graph_read();
		if (rescue->graph != NULL)
			consider_graph(rescue);
	}
	for (int i = 0; i < rescue->n_candidates; i++)
		needs |= rescue->candidates[i].local->needs;
	if ((needs & LG_NEEDS_HORIZON) != 0)
		horizons = lg_horizon_read();

	for (int i = 0; i < rescue->n_candidates; i++)
	{
		LgCandidate *candidate = &rescue->candidates[i];
		const LgPolicy *policy = candidate->local->policy;

		CHECK_FOR_INTERRUPTS();
		add_facts(rescue, candidate, horizons, horizons ? ReadNextTransactionId() : 0);
		candidate->why = lg_policy_decide(policy, &candidate->facts, &rescue->server);
		if (rescue->all || candidate->why == LG_WHY_HIT || LG_WHY_IS_SPARED(candidate->why))
		{
			add_costly_facts(candidate);
			candidate->why = lg_policy_decide(policy, &candidate->facts, &rescue->server);
			note_unmeant(rescue, candidate);
		}
	}
	if (collected != NULL && rescue->graph == NULL)
		add_evidence(rescue);
	lg_choose(rescue);
	for (int i = 0; i < rescue->n_candidates; i++)
		(void) lg_rights_database_name(rescue->candidates[i].session->databaseid);
	lg_rights_close();
}
