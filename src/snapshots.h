/*-------------------------------------------------------------------------
 * snapshots.h
 *		Who held the connections when the server was fullest, and when it turned
 *		somebody away.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SNAPSHOTS_H
#define LG_SNAPSHOTS_H

#include "memory.h"
#include "records.h"

extern const LgRecordType lg_snapshot_type;

extern Size lg_snapshots_size(void);
extern void lg_snapshots_observe(const LgMemory *memory);

#endif /* LG_SNAPSHOTS_H */
