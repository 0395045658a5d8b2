/*-------------------------------------------------------------------------
 * lock_tree.h
 *		Lay out who waits for whom as a forest that can be read.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LOCK_TREE_H
#define LG_LOCK_TREE_H

#include "lock_graph.h"

extern void lg_lock_tree_build(LgLockGraph *graph);

#endif /* LG_LOCK_TREE_H */
