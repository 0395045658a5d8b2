/*-------------------------------------------------------------------------
 * idle_episodes.h
 *		Stays idle in transaction: began, goes on, ended.
 *-------------------------------------------------------------------------
 */
#ifndef LG_IDLE_EPISODES_H
#define LG_IDLE_EPISODES_H

#include "memory.h"
#include "records.h"
#include "who.h"

extern const LgRecordType lg_idle_transaction_type;

extern Size lg_idle_episodes_size(void);
extern void lg_idle_episodes_consider(LgMemory *memory, const LgSession *session);
extern void lg_idle_episodes_end(LgMemory *memory);
extern void lg_idle_episodes_close_all(TimestampTz now);

#endif /* LG_IDLE_EPISODES_H */
