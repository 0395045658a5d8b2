/*-------------------------------------------------------------------------
 * visitor.h
 *		Prepared transactions and relation names, in other databases.
 *-------------------------------------------------------------------------
 */
#ifndef LG_VISITOR_H
#define LG_VISITOR_H

#include "rescue.h"

extern void lg_visitor_plan(const LgRescue *rescue, LgTime now);
extern int64 lg_visitor_tend(LgTime now);
extern PGDLLEXPORT void lg_visitor_main(Datum arg);

#endif /* LG_VISITOR_H */
