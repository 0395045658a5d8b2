/*-------------------------------------------------------------------------
 * lock_roots.h
 *		What follows from the picture of who waits for whom.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LOCK_ROOTS_H
#define LG_LOCK_ROOTS_H

#include "lock_graph.h"

extern void lg_lock_roots_solve(LgLockGraph *graph);
extern int lg_lock_roots_find_blocked(const LgLockGraph *graph, int node, int *blocked);
extern int lg_lock_roots_count_blocked(const LgLockGraph *graph, int node);

#endif /* LG_LOCK_ROOTS_H */
