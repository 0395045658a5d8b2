/*-------------------------------------------------------------------------
 * keeper.h
 *		The logbook: policies in, records out, retention.
 *-------------------------------------------------------------------------
 */
#ifndef LG_KEEPER_H
#define LG_KEEPER_H

#include "clock.h"

extern int64 lg_keeper_tend(LgTime now);
extern PGDLLEXPORT void lg_keeper_main(Datum arg);

#endif /* LG_KEEPER_H */
