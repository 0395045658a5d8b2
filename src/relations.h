/*-------------------------------------------------------------------------
 * relations.h
 *		Which relation is meant, and what it is called.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RELATIONS_H
#define LG_RELATIONS_H

#include "lock_graph.h"

extern Oid lg_relations_table(Oid relation);
extern void lg_relations_settle(LgAwaitedRow *row);
extern char *lg_relations_name(const LgAwaitedRow *row);

#endif /* LG_RELATIONS_H */
