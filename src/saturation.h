/*-------------------------------------------------------------------------
 * saturation.h
 *		How full the pool of connection slots is, and of what.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SATURATION_H
#define LG_SATURATION_H

#include "sessions.h"
#include "shared.h"

extern void lg_saturation_add(LgStateCounts *counts, const LgSession *session);
extern int lg_saturation_count(LgStateCounts *counts);
extern int lg_saturation_used(void);
extern int lg_saturation_usable(void);
extern void lg_saturation_note_high_water(LgGauges *gauges, int used, TimestampTz now);

#endif /* LG_SATURATION_H */
