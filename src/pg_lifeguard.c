/*-------------------------------------------------------------------------
 * pg_lifeguard.c
 *		Where the library is loaded: settings, shared memory, hooks, worker.
 *
 * Preloaded, it reserves shared memory and registers the collector.  Loaded by
 * a session, because somebody called one of its functions, it has settings and
 * live views and nothing else.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "collector.h"
#include "compat.h"
#include "hooks.h"
#include "settings.h"
#include "shared.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	lg_settings_define();

	if (!process_shared_preload_libraries_in_progress)
		return;

	lg_shared_request();
	lg_hooks_install();
	lg_collector_register();
}
