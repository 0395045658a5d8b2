/*-------------------------------------------------------------------------
 * errand.h
 *		Short-lived workers that the collector sends to a database.
 *-------------------------------------------------------------------------
 */
#ifndef LG_ERRAND_H
#define LG_ERRAND_H

#include "access/attnum.h"
#include "postmaster/bgworker.h"

#define LG_LONGEST_STAY 3000						  /* ms, of such a worker in its database */
#define LG_LONGEST_PATIENCE (5 * USECS_PER_SEC)		  /* until it is told to end */
#define LG_SHORTEST_ABSENCE (300 * LG_USECS_PER_MSEC) /* between two in one database */

#define LG_NO_WORKER_SLOT "no background worker slot is free"

/* One under way, as the collector remembers it.  Begin with zeros. */
typedef struct LgErrand
{
	BackgroundWorkerHandle *handle; /* NULL = none is */
	bool told_to_end;
	bool said_no_slot;
	int64 sent_at; /* monotonic, of the newest one; 0 = never */
} LgErrand;

extern bool lg_errand_send(LgErrand *errand, const char *function, const char *role,
						   const char *meanwhile, Oid databaseid, int64 now);
extern bool lg_errand_is_under_way(LgErrand *errand, int64 now);
extern bool lg_errand_look_up(Oid index, AttrNumber column, RegProcedure equals, Datum value,
							  Oid *databaseid, bool *allows);
extern void lg_errand_settle_in(const char *lock_timeout);

#endif /* LG_ERRAND_H */
