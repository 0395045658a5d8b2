/*-------------------------------------------------------------------------
 * incidents.h
 *		Stretches of trouble: one bad night is one row.
 *-------------------------------------------------------------------------
 */
#ifndef LG_INCIDENTS_H
#define LG_INCIDENTS_H

#include "memory.h"
#include "records.h"

extern const LgRecordType lg_incident_type;

extern Size lg_incidents_size(void);
extern void lg_incidents_observe(LgMemory *memory);

#endif /* LG_INCIDENTS_H */
