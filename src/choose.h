/*-------------------------------------------------------------------------
 * choose.h
 *		Whose turn it is among those whom a policy hits.
 *-------------------------------------------------------------------------
 */
#ifndef LG_CHOOSE_H
#define LG_CHOOSE_H

#include "rescue.h"

extern void lg_choose(LgRescue *rescue);
extern bool lg_choose_is_uncounted(const LgPolicy *policy);

#endif /* LG_CHOOSE_H */
