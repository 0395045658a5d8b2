/*-------------------------------------------------------------------------
 * lock_roots.c
 *		Conclude from the picture: roots, depths, cycles, who hurts how many.
 *
 * Strongly connected components (Tarjan, SIAM J. Comput. 1 (1972) 146-160) come
 * out sinks first: roots, then what waits for them.  One with two sessions or
 * more is a deadlock cycle.  Root sets are shared as long as they are equal;
 * sessions blocked are counted once for all roots that block by the same edges.
 *
 * Locking: none.  Everything here reads only the graph, no shared memory.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "clock.h"
#include "lock_edges.h"
#include "lock_roots.h"

/* Sets of roots hold at most so many members in all; what is beyond is cut off. */
#define MAX_SET_MEMBERS (1 << 22)

/* --- components, sinks first ------------------------------------------------ */

typedef struct Tarjan
{
	const LgLockEdges *e;
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
find_components(Tarjan *t, const LgLockEdges *e)
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
	LgLockEdges *e = graph->edges;

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
	const LgLockEdges *e = graph->edges;
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

/* Nodes before junctions, older junctions before younger ones. */
static int
compare_vertices(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

/*
 * One component: a root, a cycle, or something that leads to either.  The
 * junctions in it may lead elsewhere, too, and others may use them; so they
 * inherit from all that they lead to, the older ones first.
 */
static void
solve_component(Sets *s, int *members, int count)
{
	LgLockGraph *graph = s->graph;
	int n_real = 0;

	if (count > 1)
		qsort(members, count, sizeof(int), compare_vertices);
	while (n_real < count && members[n_real] < graph->n_nodes)
		n_real++;

	if (n_real >= 2 || (n_real == 1 && graph->nodes[members[0]].first_waiter < 0))
	{
		int set = begin_set(s);

		graph->edges->search++;
		for (int i = 0; i < n_real; i++)
		{
			s->set[members[i]] = set;
			s->depth[members[i]] = 0;
			add_member(s, members[i]);
			graph->nodes[members[i]].deadlock = n_real >= 2;
		}
	}
	for (int i = n_real; i < count; i++)
		inherit(s, members[i]);
	if (n_real == 1 && graph->nodes[members[0]].first_waiter >= 0)
	{
		/* it meets itself over these junctions: now they lead to what it leads to */
		inherit(s, members[0]);
		for (int i = n_real; i < count; i++)
			inherit(s, members[i]);
	}
}

static void
solve_roots(LgLockGraph *graph)
{
	LgLockEdges *e = graph->edges;
	Tarjan t;
	Sets s;

	find_components(&t, e);

	s.graph = graph;
	s.sets_room = s.members_room = 64;
	graph->root_sets = palloc(sizeof(LgRootSet) * s.sets_room);
	graph->set_members = palloc(sizeof(int) * s.members_room);
	s.set = palloc_extended(sizeof(int) * e->n_vertices, MCXT_ALLOC_HUGE);
	s.depth = palloc_extended(sizeof(int) * e->n_vertices, MCXT_ALLOC_HUGE);
	memset(s.set, -1, sizeof(int) * e->n_vertices);
	for (int c = 0, begin = 0; c < t.n_components; begin = t.ends[c++])
	{
		CHECK_FOR_INTERRUPTS();
		solve_component(&s, &t.order[begin], t.ends[c] - begin);
	}

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
	LgLockEdges *e = graph->edges;
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
same_blocked(const LgLockEdges *e, int a, int b)
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
	const LgLockEdges *e = graph->edges;
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

/* The modes that others than one node await in the queue of a lock. */
static LOCKMASK
modes_awaited_by_others(const LgLockGraph *graph, const LgAwaitedLock *lock, int index)
{
	LOCKMASK modes = 0;

	if (graph->nodes[index].first_waiter < 0)
		return lock->queued;
	for (int i = lock->first_waiter; i < lock->first_waiter + lock->n_waiters; i++)
	{
		if (graph->waiters[i].node != index)
			modes |= LOCKBIT_ON(graph->waiters[i].mode);
	}
	return modes;
}

/*
 * What a holder's modes mean to others in the queue of a lock: which of them
 * are in the way, and of which of the awaited modes.  False if none is.
 */
static bool
find_modes_in_the_way(const LgLockGraph *graph, const LgAwaitedLock *lock, int index, LOCKMASK held,
					  LOCKMASK *in_the_way, LOCKMASK *awaited)
{
	LOCKMASK queued = modes_awaited_by_others(graph, lock, index);

	*in_the_way = *awaited = 0;
	for (LOCKMODE mode = 1; mode < MAX_LOCKMODES; mode++)
	{
		if ((queued & LOCKBIT_ON(mode)) && (lock->conflicts[mode] & held))
		{
			*in_the_way |= lock->conflicts[mode] & held;
			*awaited |= LOCKBIT_ON(mode);
		}
	}
	return *awaited != 0;
}

/* How many sessions wait, directly or through others, because of one holder of one lock. */
static int
count_blocked_by_lock(const LgLockGraph *graph, int index, int lock_index, LOCKMASK awaited,
					  int *starts)
{
	const LgAwaitedLock *lock = &graph->locks[lock_index];
	LgLockEdges *e = graph->edges;
	int n = 0;

	e->search++;
	for (int i = lock->first_waiter; i < lock->first_waiter + lock->n_waiters; i++)
	{
		int node = graph->waiters[i].node;

		if (!(LOCKBIT_ON(graph->waiters[i].mode) & awaited) || node == index ||
			e->mark[node] == e->search)
			continue;
		e->mark[node] = e->search;
		starts[n++] = node;
	}
	n += find_blocked(graph, starts, n, false);

	/* in a cycle the search comes back to where it began */
	return e->mark[index] == e->search ? n - 1 : n;
}

/* Is that lock, of those the node holds, the one because of which most sessions wait so far? */
static void
weigh_lock(LgLockGraph *graph, int index, int lock_index, LOCKMASK holds, int *most, int *starts)
{
	LgLockNode *node = &graph->nodes[index];
	LOCKMASK held;
	LOCKMASK awaited;

	if ((node->first_waiter >= 0 && !node->deadlock) ||
		!find_modes_in_the_way(graph, &graph->locks[lock_index], index, holds, &held, &awaited))
		return;
	if (node->contended_lock >= 0)
	{
		int count;

		if (most[index] == 0)
			most[index] =
				count_blocked_by_lock(graph, index, node->contended_lock, node->awaited, starts);
		count = count_blocked_by_lock(graph, index, lock_index, awaited, starts);
		if (count <= most[index])
			return;
		most[index] = count;
	}
	node->contended_lock = lock_index;
	node->held = held;
	node->awaited = awaited;
}

/*
 * Of the locks that a root or a cycle member holds, the one because of which
 * most sessions wait.  They are counted only for those who hold several.
 */
static void
find_contended_locks(LgLockGraph *graph)
{
	int *most = palloc0(sizeof(int) * graph->n_nodes); /* 0 = not counted */
	int *starts = palloc(sizeof(int) * graph->n_nodes);
	LOCKMASK *holds = palloc0(sizeof(LOCKMASK) * graph->n_nodes); /* of one lock, all its workers */

	for (int l = 0; l < graph->n_locks; l++)
	{
		const LgAwaitedLock *lock = &graph->locks[l];
		int end = lock->first_holder + lock->n_holders;

		for (int i = lock->first_holder; i < end; i++)
			holds[graph->holders[i].node] |= graph->holders[i].held;

		for (int i = lock->first_holder; i < end; i++)
		{
			int index = graph->holders[i].node;

			CHECK_FOR_INTERRUPTS();
			if (holds[index] != 0)
				weigh_lock(graph, index, l, holds[index], most, starts);
			holds[index] = 0;
		}
	}
}

/*
 * Fill in everything about nodes that follows from locks, holders and queues.
 * Allocates in the current memory context.
 */
void
lg_lock_roots_solve(LgLockGraph *graph)
{
	lg_lock_edges_build(graph);
	solve_roots(graph);
	count_all_harm(graph);
	find_contended_locks(graph);
}

/*
 * Put into blocked[], which has room for all nodes, the sessions that wait for
 * a node, directly or through others.  Returns how many.
 */
int
lg_lock_roots_find_blocked(const LgLockGraph *graph, int node, int *blocked)
{
	int n = find_blocked(graph, &node, 1, false);

	memcpy(blocked, graph->edges->found, sizeof(int) * n);
	return n;
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
