/*-------------------------------------------------------------------------
 * lock_tree.c
 *		Lay out who waits for whom as a forest that can be read.
 *
 * Locking: none, it reads only the graph.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lock_tree.h"

typedef struct TreeTop
{
	int node;
	int blocked;
	int64 total_wait;
} TreeTop;

/* Most harmful first. */
static int
compare_tops(const void *a, const void *b)
{
	const TreeTop *x = a;
	const TreeTop *y = b;

	if (x->blocked != y->blocked)
		return x->blocked > y->blocked ? -1 : 1;
	if (x->total_wait != y->total_wait)
		return x->total_wait > y->total_wait ? -1 : 1;
	return x->node - y->node;
}

typedef struct TreeChild
{
	int node;
	int pid;
	TimestampTz wait_start; /* 0 = in this instant not known: the newest */
} TreeChild;

/* Longest wait first. */
static int
compare_children(const void *a, const void *b)
{
	const TreeChild *x = a;
	const TreeChild *y = b;

	if (x->wait_start != y->wait_start)
	{
		if (x->wait_start == 0 || y->wait_start == 0)
			return x->wait_start == 0 ? 1 : -1;
		return x->wait_start < y->wait_start ? -1 : 1;
	}
	return x->pid - y->pid;
}

/* Link every node that has a parent into that parent's list of children, in order. */
static void
link_children(const LgLockGraph *graph, int *first_child, int *sibling)
{
	TreeChild *children = palloc(sizeof(TreeChild) * graph->n_nodes);
	int n = 0;

	for (int i = 0; i < graph->n_nodes; i++)
	{
		const LgLockNode *node = &graph->nodes[i];

		first_child[i] = -1;
		if (node->parent >= 0)
			children[n++] = (TreeChild){i, node->pid, node->wait_start};
	}
	qsort(children, n, sizeof(TreeChild), compare_children);

	while (--n >= 0)
	{
		int parent = graph->nodes[children[n].node].parent;

		sibling[children[n].node] = first_child[parent];
		first_child[parent] = children[n].node;
	}
}

/*
 * Put graph->nodes[] into the order of the tree and give each its level:
 * blockers at the top, most harmful first, everybody below the parent that
 * lock_edges.c chose, longest wait first.  Allocates in the current memory context.
 */
void
lg_lock_tree_build(LgLockGraph *graph)
{
	int n = graph->n_nodes;
	int *first_child = palloc(sizeof(int) * n);
	int *sibling = palloc(sizeof(int) * n);
	int *open = palloc(sizeof(int) * n);
	TreeTop *tops = palloc(sizeof(TreeTop) * n);
	int n_tops = 0;
	int n_tree = 0;

	link_children(graph, first_child, sibling);
	for (int i = 0; i < n; i++)
	{
		if (graph->nodes[i].parent < 0)
			tops[n_tops++] =
				(TreeTop){i, graph->nodes[i].blocked_total, graph->nodes[i].total_wait};
	}
	qsort(tops, n_tops, sizeof(TreeTop), compare_tops);

	graph->tree = palloc(sizeof(int) * n);
	for (int top = 0; top < n_tops; top++)
	{
		int n_open = 0;
		int node = tops[top].node;

		sibling[node] = -1;
		while (node >= 0)
		{
			int parent = graph->nodes[node].parent;

			graph->nodes[node].level = parent < 0 ? 0 : graph->nodes[parent].level + 1;
			graph->tree[n_tree++] = node;
			if (sibling[node] >= 0)
				open[n_open++] = sibling[node];
			node = first_child[node];
			if (node < 0 && n_open > 0)
				node = open[--n_open];
		}
	}
	Assert(n_tree == n);
}
