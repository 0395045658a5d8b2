/*-------------------------------------------------------------------------
 * report_probe.c
 *		A session that stays in the middle of a report about itself.
 *
 * Loaded beside the preloaded library, of which it uses nothing.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/backend_status.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(probe_attach);
PG_FUNCTION_INFO_V1(probe_stay_in_report);

/* as load_probe() wants it */
Datum
probe_attach(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

/* So many seconds, as if the process had been stopped there. */
Datum
probe_stay_in_report(PG_FUNCTION_ARGS)
{
	PGSTAT_BEGIN_WRITE_ACTIVITY(MyBEEntry);
	pg_usleep(PG_GETARG_INT32(0) * 1000000L);
	PGSTAT_END_WRITE_ACTIVITY(MyBEEntry);
	PG_RETURN_VOID();
}
