/*-------------------------------------------------------------------------
 * lock_edges.c
 *		Write out the picture as edges: who waits for whom.
 *
 * The picture is {lock: holders, ordered queue}.  Written out as pairs, a pile
 * of N waiters is N squared edges, since each waits for all that stand ahead.
 * Two kinds of junctions keep it linear:
 *
 *	holders junction (lock, mode)	leads to every holder of the lock whose
 *					modes conflict with that mode; all waiters of the mode share it
 *	queue junction (lock, mode, n)	leads to the nth waiter of that mode and to
 *					the junction of the n - 1 before it; a waiter links to the
 *					junctions, as they are when its turn comes, of the modes that
 *					conflict with its own
 *
 * So a waiter adds a bounded number of edges.  One who holds the lock already
 * in a conflicting mode, or has a parallel worker ahead in the queue, meets
 * itself over a junction; whoever follows edges must not take that for a cycle.
 *
 * Locking: none.  Everything here reads only the graph, no shared memory.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "lock_edges.h"

/* Per-lock scratch of the edge builder. */
typedef struct Junctions
{
	int holders[MAX_LOCKMODES];		 /* vertex; -1 = not made yet */
	int queue[MAX_LOCKMODES];		 /* vertex; -1 = nobody of that mode yet */
	int first_hard[MAX_LOCKMODES];	 /* in holders[] of the graph; -1 = not looked up yet */
	int first_queued[MAX_LOCKMODES]; /* in waiters[] of the graph; -1 = nobody yet */
} Junctions;

static int
add_vertex(LgLockEdges *e)
{
	if (e->n_vertices == e->vertices_room)
	{
		e->vertices_room *= 2;
		e->out = repalloc_huge(e->out, sizeof(int) * e->vertices_room);
		e->in = repalloc_huge(e->in, sizeof(int) * e->vertices_room);
	}
	e->out[e->n_vertices] = e->in[e->n_vertices] = -1;
	return e->n_vertices++;
}

static void
add_edge(LgLockEdges *e, int from, int to)
{
	LgLockEdge *edge;

	if (e->n_edges == e->edges_room)
	{
		e->edges_room *= 2;
		e->edges = repalloc_huge(e->edges, sizeof(LgLockEdge) * e->edges_room);
	}
	edge = &e->edges[e->n_edges];
	edge->from = from;
	edge->to = to;
	edge->next_out = e->out[from];
	edge->next_in = e->in[to];
	e->out[from] = e->in[to] = e->n_edges++;
}

static LgLockEdges *
create_edges(int n_nodes)
{
	LgLockEdges *e = palloc0(sizeof(LgLockEdges));

	e->vertices_room = e->edges_room = Max(4 * n_nodes, 64);
	e->out = palloc_extended(sizeof(int) * e->vertices_room, MCXT_ALLOC_HUGE);
	e->in = palloc_extended(sizeof(int) * e->vertices_room, MCXT_ALLOC_HUGE);
	e->edges = palloc_extended(sizeof(LgLockEdge) * e->edges_room, MCXT_ALLOC_HUGE);
	for (int i = 0; i < n_nodes; i++)
		add_vertex(e);
	return e;
}

/*
 * The direct blockers that a waiter's place in one queue gives it, in order:
 * holders first, then those ahead.  Calls visit for each, one of its own group
 * excepted; stops when visit returns false.
 */
static void
visit_blockers(const LgLockGraph *graph, int index, bool (*visit)(void *arg, int node), void *arg)
{
	const LgLockWaiter *waiter = &graph->waiters[index];
	const LgAwaitedLock *lock = &graph->locks[waiter->lock];
	LOCKMASK conflicts = lock->conflicts[waiter->mode];

	for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
	{
		const LgLockHolder *holder = &graph->holders[i];

		if (holder->node != waiter->node && (holder->held & conflicts) && !visit(arg, holder->node))
			return;
	}
	for (int i = lock->first_waiter; i < index; i++)
	{
		const LgLockWaiter *ahead = &graph->waiters[i];

		if (ahead->node != waiter->node && (LOCKBIT_ON(ahead->mode) & conflicts) &&
			!visit(arg, ahead->node))
			return;
	}
}

static bool
visit_set_parent(void *arg, int node)
{
	*(int *) arg = node;
	return false;
}

/* Link a waiter to all that block it in this queue. */
static void
link_waiter(LgLockGraph *graph, int index, Junctions *j)
{
	const LgLockWaiter *waiter = &graph->waiters[index];
	const LgAwaitedLock *lock = &graph->locks[waiter->lock];
	LOCKMASK conflicts = lock->conflicts[waiter->mode];
	LgLockEdges *e = graph->edges;

	if (j->holders[waiter->mode] < 0)
	{
		int junction = add_vertex(e);

		j->holders[waiter->mode] = junction;
		for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
		{
			if (graph->holders[i].held & conflicts)
				add_edge(e, junction, graph->holders[i].node);
		}
	}
	add_edge(e, waiter->node, j->holders[waiter->mode]);

	for (LOCKMODE mode = 1; mode < MAX_LOCKMODES; mode++)
	{
		if ((conflicts & LOCKBIT_ON(mode)) && j->queue[mode] >= 0)
			add_edge(e, waiter->node, j->queue[mode]);
	}
}

/* Put a waiter into the queue, where those behind it will find it. */
static void
enqueue_waiter(LgLockGraph *graph, int index, Junctions *j)
{
	const LgLockWaiter *waiter = &graph->waiters[index];
	LgLockEdges *e = graph->edges;

	if (j->first_queued[waiter->mode] < 0)
		j->first_queued[waiter->mode] = index;
	if (graph->locks[waiter->lock].queued & graph->locks[waiter->lock].conflicts[waiter->mode])
	{
		int junction = add_vertex(e);

		add_edge(e, junction, waiter->node);
		if (j->queue[waiter->mode] >= 0)
			add_edge(e, junction, j->queue[waiter->mode]);
		j->queue[waiter->mode] = junction;
	}
}

/*
 * The holder under which the tree shows those who wait in that mode: the first
 * that waits for nobody itself, or else the first of all.  Returns the end of
 * the lock's holders if none conflicts.
 */
static int
find_first_hard(const LgLockGraph *graph, const LgAwaitedLock *lock, LOCKMODE mode)
{
	int end = lock->first_holder + lock->n_holders;
	int first = end;

	for (int i = lock->first_holder; i < end; i++)
	{
		if (!(graph->holders[i].held & lock->conflicts[mode]))
			continue;
		if (graph->nodes[graph->holders[i].node].first_waiter < 0)
			return i;
		if (first == end)
			first = i;
	}
	return first;
}

/*
 * Where the tree shows a waiter: under its first hard blocker, or the first
 * ahead of it if there is none.  The first of each mode is remembered, so that
 * a queue is not searched again for everybody in it.
 */
static int
find_parent(const LgLockGraph *graph, int index, Junctions *j)
{
	const LgLockWaiter *waiter = &graph->waiters[index];
	const LgAwaitedLock *lock = &graph->locks[waiter->lock];
	LOCKMASK conflicts = lock->conflicts[waiter->mode];
	int end = lock->first_holder + lock->n_holders;
	int *hard = &j->first_hard[waiter->mode];
	int soft = -1;
	int parent = -1;

	if (*hard < 0)
		*hard = find_first_hard(graph, lock, waiter->mode);
	if (*hard < end && graph->holders[*hard].node != waiter->node)
		return graph->holders[*hard].node;

	for (LOCKMODE mode = 1; mode < MAX_LOCKMODES; mode++)
	{
		int first = j->first_queued[mode];

		if ((conflicts & LOCKBIT_ON(mode)) && first >= 0 && (soft < 0 || first < soft))
			soft = first;
	}
	if (*hard == end && soft >= 0 && graph->waiters[soft].node != waiter->node)
		return graph->waiters[soft].node;

	/* It is the first itself, or nobody is. */
	if (*hard < end || soft >= 0)
		visit_blockers(graph, index, visit_set_parent, &parent);
	return parent;
}

/*
 * Write out who waits for whom as graph->edges, and choose everybody's parent
 * in the tree.  Allocates in the current memory context.
 */
void
lg_lock_edges_build(LgLockGraph *graph)
{
	Junctions j;

	graph->edges = create_edges(graph->n_nodes);
	for (int l = 0; l < graph->n_locks; l++)
	{
		const LgAwaitedLock *lock = &graph->locks[l];
		int waiters_end = lock->first_waiter + lock->n_waiters;

		memset(j.holders, -1, sizeof(j.holders));
		memset(j.queue, -1, sizeof(j.queue));
		memset(j.first_hard, -1, sizeof(j.first_hard));
		memset(j.first_queued, -1, sizeof(j.first_queued));

		for (int i = lock->first_waiter; i < waiters_end; i++)
		{
			LgLockNode *node = &graph->nodes[graph->waiters[i].node];

			CHECK_FOR_INTERRUPTS();
			link_waiter(graph, i, &j);
			if (node->parent < 0)
				node->parent = find_parent(graph, i, &j);
			enqueue_waiter(graph, i, &j);
		}
	}

	graph->edges->mark =
		palloc_extended(sizeof(int) * graph->edges->n_vertices, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	graph->edges->found = palloc_extended(
		sizeof(int) * ((Size) graph->n_nodes + graph->edges->n_vertices), MCXT_ALLOC_HUGE);
}

typedef struct BlockerVisit
{
	LgLockEdges *edges;
	int *blockers;
	int count;
} BlockerVisit;

static bool
visit_collect(void *arg, int node)
{
	BlockerVisit *visit = arg;

	if (visit->edges->mark[node] != visit->edges->search)
	{
		visit->edges->mark[node] = visit->edges->search;
		visit->blockers[visit->count++] = node;
	}
	return true;
}

static int
compare_ints(const void *a, const void *b)
{
	int x = *(const int *) a;
	int y = *(const int *) b;

	return (x > y) - (x < y);
}

/*
 * Turn nodes into their PIDs, in place: each once and in order; one 0 stands
 * for all prepared transactions.  Returns how many are left.
 */
int
lg_lock_edges_pids_of(const LgLockGraph *graph, int *nodes, int n)
{
	int distinct = 0;

	for (int i = 0; i < n; i++)
		nodes[i] = graph->nodes[nodes[i]].pid;
	qsort(nodes, n, sizeof(int), compare_ints);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || nodes[i] != nodes[i - 1])
			nodes[distinct++] = nodes[i];
	}
	return distinct;
}

/*
 * Put into blockers[], which has room for all nodes, whom a node directly waits
 * for, hard or soft, each once; all its parallel workers' waits together, as
 * pg_blocking_pids() does.  Returns how many.
 */
int
lg_lock_edges_blockers_of(const LgLockGraph *graph, int node, int *blockers)
{
	BlockerVisit visit = {graph->edges, blockers, 0};

	graph->edges->search++;
	for (int i = graph->nodes[node].first_waiter; i >= 0; i = graph->waiters[i].next_of_node)
		visit_blockers(graph, i, visit_collect, &visit);
	return visit.count;
}
