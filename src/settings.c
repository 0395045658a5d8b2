/*-------------------------------------------------------------------------
 * settings.c
 *		Every pg_lifeguard.* setting, in one place.
 *
 * All of them can be reloaded.  They are defined in every process that loads
 * the library, preloaded or not, so that SHOW always answers; only the
 * collector acts on them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "settings.h"

int lg_sample_interval = 1000;
int lg_fast_interval = 100;

/*
 * Define the settings and reserve their prefix, so that a misspelt one is
 * refused.  Called once, by _PG_init.
 */
void
lg_settings_define(void)
{
	DefineCustomIntVariable(
		"pg_lifeguard.sample_interval", "Sets the time between passes while nobody waits.",
		"Zero makes passes only on demand, by lifeguard.run_pass().", &lg_sample_interval, 1000, 0,
		INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("pg_lifeguard.fast_interval",
							"Sets the time between passes while a session waits or a limit is "
							"near.",
							"One longer than pg_lifeguard.sample_interval acts as that one.",
							&lg_fast_interval, 100, 10, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL,
							NULL, NULL);

	MarkGUCPrefixReserved("pg_lifeguard");
}
