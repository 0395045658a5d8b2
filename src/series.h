/*-------------------------------------------------------------------------
 * series.h
 *		Connections, who holds them, and what active sessions wait for, over time.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SERIES_H
#define LG_SERIES_H

#include "load.h"
#include "memory.h"
#include "records.h"

extern const LgRecordType lg_connections_type;
extern const LgRecordType lg_usage_type;
extern const LgRecordType lg_load_type;

extern Size lg_series_size(void);
extern void lg_series_begin(LgMemory *memory);
extern void lg_series_consider(LgMemory *memory, const LgSession *session);
extern void lg_series_end(LgMemory *memory);
extern void lg_series_copy_load(LgLoadSecond *seconds);
extern int64 lg_series_full_in(int used, int usable);
extern bool lg_series_load(double averages[]);

#endif /* LG_SERIES_H */
