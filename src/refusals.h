/*-------------------------------------------------------------------------
 * refusals.h
 *		Connection attempts that the server turned away.
 *-------------------------------------------------------------------------
 */
#ifndef LG_REFUSALS_H
#define LG_REFUSALS_H

#include "memory.h"
#include "records.h"

extern const LgRecordType lg_refusal_type;

extern Size lg_refusals_size(void);
extern void lg_refusals_init(void);
extern void lg_refusals_note(const ErrorData *error);
extern int64 lg_refusals_collect(const LgMemory *memory);

#endif /* LG_REFUSALS_H */
