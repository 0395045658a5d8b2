/*-------------------------------------------------------------------------
 * lock_episodes.h
 *		Lock waits: began, goes on, ended.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LOCK_EPISODES_H
#define LG_LOCK_EPISODES_H

#include "memory.h"
#include "records.h"
#include "who.h"

extern const LgRecordType lg_lock_wait_type;

extern Size lg_lock_episodes_size(void);
extern void lg_lock_episodes_observe(LgMemory *memory);

#endif /* LG_LOCK_EPISODES_H */
