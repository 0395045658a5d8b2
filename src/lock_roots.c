/*-------------------------------------------------------------------------
 * lock_roots.c
 *		Conclude from the picture: roots, depths, cycles, who hurts how many.
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
 * So a waiter adds a bounded number of edges (at most two per lock mode).  One
 * who would meet itself over a junction, because it holds the lock already in
 * a conflicting mode or has a parallel worker ahead in the queue, gets plain
 * edges instead; without a deadlock at most a few per lock can be in that
 * position.
 *
 * Strongly connected components (Tarjan, SIAM J. Comput. 1 (1972) 146-160) come
 * out sinks first: roots, then what waits for them.  One with two sessions or
 * more is a deadlock cycle.  Root sets are shared as long as they are equal;
 * sessions blocked are counted once for all roots that block by the same edges.
 *
 * Everything here reads only the graph: no shared memory, no lock, no clock.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "clock.h"
#include "lock_roots.h"
#include "lock_tree.h"

/* Sets of roots hold at most so many members in all; what is beyond is cut off. */
#define MAX_SET_MEMBERS (1 << 22)

/* from waits for to; -1 ends a list */
typedef struct Edge
{
	int from;
	int to;
	int next_out;
	int next_in;
} Edge;

/* Real nodes come first, under their number in the graph; junctions follow. */
struct LgLockEdges
{
	int n_vertices;
	int n_edges;
	int vertices_room;
	int edges_room;
	int *out; /* first edge, by vertex */
	int *in;
	Edge *edges;
	int *mark; /* by vertex: the last search that met it */
	int search;
	int *found; /* by vertex: scratch of a search */
};

typedef struct LgLockEdges Edges;

/* Per-lock scratch of the edge builder. */
typedef struct Junctions
{
	int holders[MAX_LOCKMODES];		 /* vertex; -1 = not made yet */
	int queue[MAX_LOCKMODES];		 /* vertex; -1 = nobody of that mode yet */
	int first_hard[MAX_LOCKMODES];	 /* in holders[] of the graph; -1 = not looked up yet */
	int first_queued[MAX_LOCKMODES]; /* in waiters[] of the graph; -1 = nobody yet */
	LOCKMASK *held;					 /* by node: what it holds of this lock */
	LOCKMASK *ahead;				 /* by node: the modes its processes queue for */
} Junctions;

static int
add_vertex(Edges *e)
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
add_edge(Edges *e, int from, int to)
{
	Edge *edge;

	if (e->n_edges == e->edges_room)
	{
		e->edges_room *= 2;
		e->edges = repalloc_huge(e->edges, sizeof(Edge) * e->edges_room);
	}
	edge = &e->edges[e->n_edges];
	edge->from = from;
	edge->to = to;
	edge->next_out = e->out[from];
	edge->next_in = e->in[to];
	e->out[from] = e->in[to] = e->n_edges++;
}

static Edges *
create_edges(int n_nodes)
{
	Edges *e = palloc0(sizeof(Edges));

	e->vertices_room = e->edges_room = Max(4 * n_nodes, 64);
	e->out = palloc_extended(sizeof(int) * e->vertices_room, MCXT_ALLOC_HUGE);
	e->in = palloc_extended(sizeof(int) * e->vertices_room, MCXT_ALLOC_HUGE);
	e->edges = palloc_extended(sizeof(Edge) * e->edges_room, MCXT_ALLOC_HUGE);
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
visit_blockers(const LgLockGraph *graph, int index, bool (*visit)(void *arg, int node, bool hard),
			   void *arg)
{
	const LgLockWaiter *waiter = &graph->waiters[index];
	const LgAwaitedLock *lock = &graph->locks[waiter->lock];
	LOCKMASK conflicts = lock->conflicts[waiter->mode];

	for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
	{
		const LgLockHolder *holder = &graph->holders[i];

		if (holder->node != waiter->node && (holder->held & conflicts) &&
			!visit(arg, holder->node, true))
			return;
	}
	for (int i = lock->first_waiter; i < index; i++)
	{
		const LgLockWaiter *ahead = &graph->waiters[i];

		if (ahead->node != waiter->node && (LOCKBIT_ON(ahead->mode) & conflicts) &&
			!visit(arg, ahead->node, false))
			return;
	}
}

typedef struct EdgeVisit
{
	Edges *edges;
	int from;
} EdgeVisit;

static bool
visit_add_edge(void *arg, int node, bool hard)
{
	EdgeVisit *visit = arg;

	add_edge(visit->edges, visit->from, node);
	return true;
}

static bool
visit_set_parent(void *arg, int node, bool hard)
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
	Edges *e = graph->edges;

	if ((j->held[waiter->node] | j->ahead[waiter->node]) & conflicts)
	{
		EdgeVisit visit = {e, waiter->node};

		visit_blockers(graph, index, visit_add_edge, &visit);
		return;
	}

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
	Edges *e = graph->edges;

	j->ahead[waiter->node] |= LOCKBIT_ON(waiter->mode);
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
	{
		*hard = lock->first_holder;
		while (*hard < end && !(graph->holders[*hard].held & conflicts))
			(*hard)++;
	}
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

static void
link_all(LgLockGraph *graph)
{
	Junctions j;

	j.held = palloc0(sizeof(LOCKMASK) * graph->n_nodes);
	j.ahead = palloc0(sizeof(LOCKMASK) * graph->n_nodes);

	for (int l = 0; l < graph->n_locks; l++)
	{
		const LgAwaitedLock *lock = &graph->locks[l];
		int holders_end = lock->first_holder + lock->n_holders;
		int waiters_end = lock->first_waiter + lock->n_waiters;

		CHECK_FOR_INTERRUPTS();
		memset(j.holders, -1, sizeof(j.holders));
		memset(j.queue, -1, sizeof(j.queue));
		memset(j.first_hard, -1, sizeof(j.first_hard));
		memset(j.first_queued, -1, sizeof(j.first_queued));
		for (int i = lock->first_holder; i < holders_end; i++)
			j.held[graph->holders[i].node] |= graph->holders[i].held;

		for (int i = lock->first_waiter; i < waiters_end; i++)
		{
			LgLockNode *node = &graph->nodes[graph->waiters[i].node];

			link_waiter(graph, i, &j);
			if (node->parent < 0)
				node->parent = find_parent(graph, i, &j);
			enqueue_waiter(graph, i, &j);
		}

		for (int i = lock->first_holder; i < holders_end; i++)
			j.held[graph->holders[i].node] = 0;
		for (int i = lock->first_waiter; i < waiters_end; i++)
			j.ahead[graph->waiters[i].node] = 0;
	}
}

/* --- components, sinks first ------------------------------------------------ */

typedef struct Tarjan
{
	const Edges *e;
	int *index; /* by vertex: order of discovery from 1; 0 = not met yet */
	int *low;
	bool *on_stack;
	int *stack;
	int n_stack;
	int *order; /* vertices, component by component, sinks first */
	int *ends;	/* by component: where it ends in order */
	int n_components;
	int n_ordered;
} Tarjan;

/* Close a component when its first vertex is done. */
static void
close_component(Tarjan *t, int vertex)
{
	int member;

	do
	{
		member = t->stack[--t->n_stack];
		t->on_stack[member] = false;
		t->order[t->n_ordered++] = member;
	} while (member != vertex);
	t->ends[t->n_components++] = t->n_ordered;
}

/* The depth-first search from one vertex, on a stack of our own: chains are long. */
static void
search_components(Tarjan *t, int start, int *path, int *next_edge, int *n_met)
{
	int depth = 0;

	path[0] = start;
	for (;;)
	{
		int v = path[depth];

		if (t->index[v] == 0)
		{
			t->index[v] = t->low[v] = ++(*n_met);
			t->stack[t->n_stack++] = v;
			t->on_stack[v] = true;
			next_edge[v] = t->e->out[v];
		}

		if (next_edge[v] >= 0)
		{
			int to = t->e->edges[next_edge[v]].to;

			next_edge[v] = t->e->edges[next_edge[v]].next_out;
			if (t->index[to] == 0)
				path[++depth] = to;
			else if (t->on_stack[to])
				t->low[v] = Min(t->low[v], t->index[to]);
			continue;
		}

		if (t->low[v] == t->index[v])
			close_component(t, v);
		if (depth == 0)
			return;
		depth--;
		t->low[path[depth]] = Min(t->low[path[depth]], t->low[v]);
	}
}

static void
find_components(Tarjan *t, const Edges *e)
{
	int n = e->n_vertices;
	int *path = palloc_extended(sizeof(int) * n, MCXT_ALLOC_HUGE);
	int *next_edge = palloc_extended(sizeof(int) * n, MCXT_ALLOC_HUGE);
	int n_met = 0;

	memset(t, 0, sizeof(Tarjan));
	t->e = e;
	t->index = palloc_extended(sizeof(int) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	t->low = palloc_extended(sizeof(int) * n, MCXT_ALLOC_HUGE);
	t->on_stack = palloc_extended(sizeof(bool) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	t->stack = palloc_extended(sizeof(int) * n, MCXT_ALLOC_HUGE);
	t->order = palloc_extended(sizeof(int) * n, MCXT_ALLOC_HUGE);
	t->ends = palloc_extended(sizeof(int) * n, MCXT_ALLOC_HUGE);

	for (int v = 0; v < n; v++)
	{
		if (t->index[v] == 0)
			search_components(t, v, path, next_edge, &n_met);
	}
}

/* --- root sets and depths ----------------------------------------------------- */

typedef struct Sets
{
	LgLockGraph *graph;
	int sets_room;
	int members_room;
	int *set;	/* by vertex; -1 = leads nowhere */
	int *depth; /* by vertex: waits to the nearest root */
} Sets;

static int
begin_set(Sets *s)
{
	LgLockGraph *graph = s->graph;

	if (graph->n_root_sets == s->sets_room)
	{
		s->sets_room *= 2;
		graph->root_sets = repalloc_huge(graph->root_sets, sizeof(LgRootSet) * s->sets_room);
	}
	graph->root_sets[graph->n_root_sets].first = graph->n_set_members;
	graph->root_sets[graph->n_root_sets].count = 0;
	return graph->n_root_sets++;
}

/* Add a root to the newest set, unless this search has met it. */
static void
add_member(Sets *s, int node)
{
	LgLockGraph *graph = s->graph;
	Edges *e = graph->edges;

	if (e->mark[node] == e->search)
		return;
	e->mark[node] = e->search;
	if (graph->n_set_members == MAX_SET_MEMBERS)
	{
		graph->cut_off++;
		return;
	}
	if (graph->n_set_members == s->members_room)
	{
		s->members_room *= 2;
		graph->set_members = repalloc_huge(graph->set_members, sizeof(int) * s->members_room);
	}
	graph->set_members[graph->n_set_members++] = node;
	graph->root_sets[graph->n_root_sets - 1].count++;
}

/* Take over what the vertices that v leads to have found out before. */
static void
inherit(Sets *s, int v)
{
	LgLockGraph *graph = s->graph;
	const Edges *e = graph->edges;
	int common = -1;
	bool several = false;

	s->depth[v] = INT_MAX;
	for (int i = e->out[v]; i >= 0; i = e->edges[i].next_out)
	{
		int to = e->edges[i].to;

		if (s->set[to] < 0)
			continue;
		s->depth[v] = Min(s->depth[v], s->depth[to]);
		several |= common >= 0 && common != s->set[to];
		common = s->set[to];
	}
	if (several)
	{
		common = begin_set(s);
		graph->edges->search++;
		for (int i = e->out[v]; i >= 0; i = e->edges[i].next_out)
		{
			int set = s->set[e->edges[i].to];

			for (int m = 0; set >= 0 && m < graph->root_sets[set].count; m++)
				add_member(s, graph->set_members[graph->root_sets[set].first + m]);
		}
	}
	s->set[v] = common;
	if (common >= 0 && v < graph->n_nodes)
		s->depth[v]++;
}

/* One component: a root, a cycle, or something that leads to either. */
static void
solve_component(Sets *s, const int *members, int count)
{
	LgLockGraph *graph = s->graph;
	int n_real = 0;
	int real = -1;

	for (int i = 0; i < count; i++)
	{
		if (members[i] < graph->n_nodes)
		{
			real = members[i];
			n_real++;
		}
	}

	if (n_real >= 2 || (n_real == 1 && graph->nodes[real].first_waiter < 0))
	{
		int set = begin_set(s);

		graph->edges->search++;
		for (int i = 0; i < count; i++)
		{
			s->set[members[i]] = set;
			s->depth[members[i]] = 0;
			if (members[i] < graph->n_nodes)
			{
				add_member(s, members[i]);
				graph->nodes[members[i]].deadlock = n_real >= 2;
			}
		}
		return;
	}
	for (int i = 0; i < count; i++)
		inherit(s, members[i]);
}

static void
solve_roots(LgLockGraph *graph)
{
	Edges *e = graph->edges;
	Tarjan t;
	Sets s;

	find_components(&t, e);

	s.graph = graph;
	s.sets_room = s.members_room = 64;
	graph->root_sets = palloc(sizeof(LgRootSet) * s.sets_room);
	graph->set_members = palloc(sizeof(int) * s.members_room);
	s.set = palloc_extended(sizeof(int) * e->n_vertices, MCXT_ALLOC_HUGE);
	s.depth = palloc_extended(sizeof(int) * e->n_vertices, MCXT_ALLOC_HUGE);
	for (int c = 0, begin = 0; c < t.n_components; begin = t.ends[c++])
		solve_component(&s, &t.order[begin], t.ends[c] - begin);

	for (int i = 0; i < graph->n_nodes; i++)
	{
		LgLockNode *node = &graph->nodes[i];

		node->root_set = s.set[i];
		if (node->first_waiter >= 0)
			graph->waiting_sessions++;
		if (node->first_waiter >= 0 && !node->deadlock && node->root_set >= 0)
			node->depth = s.depth[i];
		if (node->deadlock)
			node->parent = -1;
	}
}

/* --- who is blocked ------------------------------------------------------------ */

/*
 * Collect into e->found the sessions that wait for the given ones: directly,
 * or through others too.  Returns how many; the given ones do not count.
 */
static int
find_blocked(const LgLockGraph *graph, const int *starts, int n_starts, bool directly)
{
	Edges *e = graph->edges;
	int n_open = 0;
	int n_found = 0;
	int *open = e->found + graph->n_nodes; /* behind what is found */

	e->search++;
	for (int i = 0; i < n_starts; i++)
	{
		e->mark[starts[i]] = e->search;
		open[n_open++] = starts[i];
	}
	while (n_open > 0)
	{
		int v = open[--n_open];

		for (int i = e->in[v]; i >= 0; i = e->edges[i].next_in)
		{
			int from = e->edges[i].from;

			if (e->mark[from] == e->search)
				continue;
			e->mark[from] = e->search;
			if (from < graph->n_nodes)
				e->found[n_found++] = from;
			if (from >= graph->n_nodes || !directly)
				open[n_open++] = from;
		}
	}
	return n_found;
}

/* Fill in whom a root, or a member of a cycle, keeps waiting. */
static void
count_harm(LgLockGraph *graph, int index)
{
	LgLockNode *node = &graph->nodes[index];
	const int *found = graph->edges->found;

	node->blocked_directly = find_blocked(graph, &index, 1, true);
	node->blocked_total = find_blocked(graph, &index, 1, false);
	for (int i = 0; i < node->blocked_total; i++)
	{
		TimestampTz start = graph->nodes[found[i]].wait_start;

		if (start == 0)
			continue;
		if (node->longest == 0 || start < node->longest)
			node->longest = start;
		node->total_wait += lg_clock_age(start, graph->read_at);
	}
}

/* Do two vertices have the same incoming edges, in the same order? */
static bool
same_blocked(const Edges *e, int a, int b)
{
	int i = e->in[a];
	int k = e->in[b];

	while (i >= 0 && k >= 0 && e->edges[i].from == e->edges[k].from)
	{
		i = e->edges[i].next_in;
		k = e->edges[k].next_in;
	}
	return i < 0 && k < 0;
}

/*
 * Count for every root.  A hundred readers in front of an ALTER TABLE block
 * the same sessions by the same edges: those are counted once.
 */
static void
count_all_harm(LgLockGraph *graph)
{
	const Edges *e = graph->edges;
	uint32 size = 64;
	int *table;

	while (size < 2 * (uint32) graph->n_nodes)
		size *= 2;
	table = palloc(sizeof(int) * size);
	memset(table, -1, sizeof(int) * size);

	for (int index = 0; index < graph->n_nodes; index++)
	{
		LgLockNode *node = &graph->nodes[index];
		uint32 slot = 0;

		CHECK_FOR_INTERRUPTS();
		if (node->first_waiter >= 0 && !node->deadlock)
			continue;
		for (int i = e->in[index]; i >= 0; i = e->edges[i].next_in)
			slot = hash_combine(slot, murmurhash32(e->edges[i].from));
		for (slot &= size - 1; table[slot] >= 0; slot = (slot + 1) & (size - 1))
		{
			if (!node->deadlock && !graph->nodes[table[slot]].deadlock &&
				same_blocked(e, table[slot], index))
				break;
		}
		if (table[slot] < 0)
		{
			table[slot] = index;
			count_harm(graph, index);
		}
		else
		{
			const LgLockNode *same = &graph->nodes[table[slot]];

			node->blocked_directly = same->blocked_directly;
			node->blocked_total = same->blocked_total;
			node->longest = same->longest;
			node->total_wait = same->total_wait;
		}
	}
}

/* Of the locks that somebody holds, the one that most queue for because of it. */
static void
find_contended_locks(LgLockGraph *graph)
{
	int *most = palloc0(sizeof(int) * graph->n_nodes);

	for (int l = 0; l < graph->n_locks; l++)
	{
		const LgAwaitedLock *lock = &graph->locks[l];
		int queued[MAX_LOCKMODES] = {0};

		for (int i = lock->first_waiter; i < lock->first_waiter + lock->n_waiters; i++)
			queued[graph->waiters[i].mode]++;

		for (int i = lock->first_holder; i < lock->first_holder + lock->n_holders; i++)
		{
			LgLockNode *node = &graph->nodes[graph->holders[i].node];
			LOCKMASK held = 0;
			LOCKMASK awaited = 0;
			int count = 0;

			for (LOCKMODE mode = 1; mode < MAX_LOCKMODES; mode++)
			{
				if (queued[mode] == 0 || !(lock->conflicts[mode] & graph->holders[i].held))
					continue;
				count += queued[mode];
				awaited |= LOCKBIT_ON(mode);
				held |= lock->conflicts[mode] & graph->holders[i].held;
			}
			if (count <= most[graph->holders[i].node])
				continue;
			most[graph->holders[i].node] = count;
			node->contended_lock = l;
			node->held = held;
			node->awaited = awaited;
		}
	}
}

/*
 * Fill in everything about nodes that follows from locks, holders and queues,
 * and the order of the tree.  Allocates in the current memory context.
 */
void
lg_lock_roots_solve(LgLockGraph *graph)
{
	Edges *e = graph->edges = create_edges(graph->n_nodes);

	link_all(graph);
	e->mark = palloc_extended(sizeof(int) * e->n_vertices, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	e->found = palloc_extended(sizeof(int) * (graph->n_nodes + e->n_vertices), MCXT_ALLOC_HUGE);
	solve_roots(graph);
	count_all_harm(graph);
	find_contended_locks(graph);
	lg_lock_tree_build(graph);
}

typedef struct BlockerVisit
{
	Edges *edges;
	int *blockers;
	int count;
} BlockerVisit;

static bool
visit_collect(void *arg, int node, bool hard)
{
	BlockerVisit *visit = arg;

	if (visit->edges->mark[node] != visit->edges->search)
	{
		visit->edges->mark[node] = visit->edges->search;
		visit->blockers[visit->count++] = node;
	}
	return true;
}

/*
 * Put into blockers[], which has room for all nodes, whom a node directly waits
 * for, hard or soft, each once; all its parallel workers' waits together, as
 * pg_blocking_pids() does.  Returns how many.
 */
int
lg_lock_roots_blockers_of(const LgLockGraph *graph, int node, int *blockers)
{
	BlockerVisit visit = {graph->edges, blockers, 0};

	graph->edges->search++;
	for (int i = graph->nodes[node].first_waiter; i >= 0; i = graph->waiters[i].next_of_node)
		visit_blockers(graph, i, visit_collect, &visit);
	return visit.count;
}

/*
 * Count the sessions that wait for a node, directly or through others.
 */
int
lg_lock_roots_count_blocked(const LgLockGraph *graph, int node)
{
	const LgLockNode *n = &graph->nodes[node];

	if (n->first_waiter < 0 || n->deadlock)
		return n->blocked_total;
	return find_blocked(graph, &node, 1, false);
}
