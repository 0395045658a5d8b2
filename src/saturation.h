/*-------------------------------------------------------------------------
 * saturation.h
 *		How full the pool of connection slots is, and of what.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SATURATION_H
#define LG_SATURATION_H

#include "sessions.h"
#include "shared.h"

/* Those that sit in a transaction, failed or not. */
static inline int
lg_saturation_in_transaction(const LgStateCounts *counts)
{
	return counts->idle_in_transaction + counts->idle_in_transaction_aborted;
}

extern void lg_saturation_add(LgStateCounts *counts, const LgSession *session);
extern void lg_saturation_add_counts(LgStateCounts *sum, const LgStateCounts *counts);
extern int lg_saturation_count(LgStateCounts *counts);
extern int lg_saturation_used(void);
extern int lg_saturation_usable(void);
extern void lg_saturation_note_high_water(LgGauges *gauges, int used, TimestampTz now);

#endif /* LG_SATURATION_H */
