/*-------------------------------------------------------------------------
 * collector.h
 *		The lifeguard: a pass, and the worker that makes them.
 *-------------------------------------------------------------------------
 */
#ifndef LG_COLLECTOR_H
#define LG_COLLECTOR_H

#include "clock.h"
#include "shared.h"

extern void lg_collector_register(void);
extern void lg_collector_wake(void);
extern void lg_collector_wake_without_lock(void);
extern const char *lg_collector_describe(const LgShared *copy, TimestampTz now);
extern TimestampTz lg_collector_ages_count_from(LgTime now);
extern void lg_collector_run_alone(void (*work)(LgTime now, void *arg), void *arg);
extern bool lg_collector_run_pass(void);
extern PGDLLEXPORT void lg_collector_main(Datum arg);

#endif /* LG_COLLECTOR_H */
