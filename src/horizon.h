/*-------------------------------------------------------------------------
 * horizon.h
 *		Who keeps dead rows from being removed.
 *-------------------------------------------------------------------------
 */
#ifndef LG_HORIZON_H
#define LG_HORIZON_H

#include "sessions.h"
#include "utils/hsearch.h"

extern HTAB *lg_horizon_read(void);
extern bool lg_horizon_held_by(HTAB *horizons, const LgSession *session);

#endif /* LG_HORIZON_H */
