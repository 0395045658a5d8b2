/*-------------------------------------------------------------------------
 * lock_edges.h
 *		Who waits for whom, as edges of a graph.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LOCK_EDGES_H
#define LG_LOCK_EDGES_H

#include "lock_graph.h"

/* from waits for to; -1 ends a list */
typedef struct LgLockEdge
{
	int from;
	int to;
	int next_out;
	int next_in;
} LgLockEdge;

/* Real nodes come first, under their number in the graph; junctions follow. */
typedef struct LgLockEdges
{
	int n_vertices;
	int n_edges;
	int vertices_room;
	int edges_room;
	int *out; /* first edge, by vertex */
	int *in;
	LgLockEdge *edges;
	int *mark; /* by vertex: the last search that met it */
	int search;
	int *found; /* by vertex: scratch of a search */
} LgLockEdges;

extern void lg_lock_edges_build(LgLockGraph *graph);
extern int lg_lock_edges_pids_of(const LgLockGraph *graph, int *nodes, int n);
extern int lg_lock_edges_blockers_of(const LgLockGraph *graph, int node, int *blockers);

#endif /* LG_LOCK_EDGES_H */
