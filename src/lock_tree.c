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

/*
 * Put graph->nodes[] into the order of the tree and give each its level:
 * blockers at the top, most harmful first, everybody below the parent that
 * lock_roots.c chose, in queue order.  Allocates in the current memory context.
 */
void
lg_lock_tree_build(LgLockGraph *graph)
{
	int n = graph->n_nodes;
	int *first_child = palloc(sizeof(int) * n);
	int *sibling = palloc(sizeof(int) * n);
	bool *linked = palloc0(sizeof(bool) * n);
	int *open = palloc(sizeof(int) * n);
	TreeTop *tops = palloc(sizeof(TreeTop) * n);
	int n_tops = 0;
	int n_tree = 0;

	memset(first_child, -1, sizeof(int) * n);
	for (int i = graph->n_waiters - 1; i >= 0; i--)
	{
		int node = graph->waiters[i].node;
		int parent = graph->nodes[node].parent;

		if (parent < 0 || linked[node])
			continue;
		linked[node] = true;
		sibling[node] = first_child[parent];
		first_child[parent] = node;
	}
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
