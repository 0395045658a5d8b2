/*-------------------------------------------------------------------------
 * carry_out.h
 *		Carry out what was decided: record it, say it, begin it.
 *-------------------------------------------------------------------------
 */
#ifndef LG_CARRY_OUT_H
#define LG_CARRY_OUT_H

#include "rescue.h"

extern void lg_carry_out(LgRescue *rescue);

#endif /* LG_CARRY_OUT_H */
