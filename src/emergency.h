/*-------------------------------------------------------------------------
 * emergency.h
 *		A report in the server log when nobody can log in any more.
 *-------------------------------------------------------------------------
 */
#ifndef LG_EMERGENCY_H
#define LG_EMERGENCY_H

#include "memory.h"
#include "rescue.h"

extern void lg_emergency_observe(const LgMemory *memory, const LgRescue *rescue);

#endif /* LG_EMERGENCY_H */
