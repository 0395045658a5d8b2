/*-------------------------------------------------------------------------
 * keeper.h
 *		The logbook: policies in, records out, retention.
 *-------------------------------------------------------------------------
 */
#ifndef LG_KEEPER_H
#define LG_KEEPER_H

#include "clock.h"
#include "records.h"
#include "shared.h"

#define POLL_INTERVAL (10 * USECS_PER_SEC) /* where nothing tells of changes */

extern void lg_keeper_note_failure(const char *problem);
extern LgKeeperNews lg_keeper_news(void);
extern int64 lg_keeper_pause_after(int failures);
extern bool lg_keeper_has_unflushed(LgRecordKind kind);
extern int64 lg_keeper_purge_due(const LgKeeperNews *news, LgRecordKind kind);
extern bool lg_keeper_must_poll(void);
extern int64 lg_keeper_policies_age(const LgPolicySet *head);
extern int64 lg_keeper_tend(LgTime now);
extern PGDLLEXPORT void lg_keeper_main(Datum arg);

#endif /* LG_KEEPER_H */
