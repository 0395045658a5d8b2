/*-------------------------------------------------------------------------
 * incidents.h
 *		Stretches of trouble: one bad night is one row.
 *-------------------------------------------------------------------------
 */
#ifndef LG_INCIDENTS_H
#define LG_INCIDENTS_H

#include "memory.h"
#include "names.h"
#include "records.h"
#include "who.h"

/* Why it is one; bits, in the order in which they are shown. */
#define LG_CAUSE_WAITERS 0x1
#define LG_CAUSE_SATURATION 0x2
#define LG_CAUSE_REFUSALS 0x4

typedef enum LgIncidentEnd
{
	LG_INCIDENT_OPEN, /* it goes on, or nobody saw its end */
	LG_INCIDENT_BY_ITSELF,
	LG_INCIDENT_BY_POLICY,
	LG_INCIDENT_BY_HAND
} LgIncidentEnd;

/* Whom the others waited for, and on what. */
typedef struct LgFirstCause
{
	bool known;
	LgWho root;							  /* as it was when it began to have waiters */
	Oid databaseid;						  /* of the relation; invalid for a shared one */
	Oid relation;						  /* invalid: not known */
	char relation_name[LG_RELATION_NAME]; /* empty: not known yet */
} LgFirstCause;

typedef struct LgIncident
{
	LgRecordHead head;
	TimestampTz since;
	TimestampTz until; /* when it was bad last, as far as recorded */
	TimestampTz worst_at;
	int causes;
	int worst_waiters;
	int worst_used;
	int usable;
	int64 refusals; /* -1: not counted */
	int sessions_hurt;
	int64 charged; /* microseconds that sessions have waited */
	LgFirstCause first;
	LgIncidentEnd ended_by;
	bool standby;
} LgIncident;

extern const LgRecordType lg_incident_type;

extern Size lg_incidents_size(void);
extern bool lg_incidents_is_open(void);
extern void lg_incidents_observe(LgMemory *memory);
extern void lg_incidents_close(void);

#endif /* LG_INCIDENTS_H */
