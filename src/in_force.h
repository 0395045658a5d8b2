/*-------------------------------------------------------------------------
 * in_force.h
 *		Which policies can hit anybody in this pass.
 *-------------------------------------------------------------------------
 */
#ifndef LG_IN_FORCE_H
#define LG_IN_FORCE_H

#include "rescue.h"

extern void lg_in_force_list(LgRescue *rescue);
extern bool lg_in_force_passes_mark(const LgRescue *rescue, const LgLocalPolicy *local,
									bool engaged);

#endif /* LG_IN_FORCE_H */
