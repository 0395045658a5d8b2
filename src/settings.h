/*-------------------------------------------------------------------------
 * settings.h
 *		The pg_lifeguard.* settings.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SETTINGS_H
#define LG_SETTINGS_H

extern int lg_sample_interval; /* ms between passes in calm; 0 = only on demand */
extern int lg_fast_interval;   /* ms between passes while a session waits */
extern int lg_max_policies;	   /* policies that fit into shared memory */

extern int lg_max_ledger; /* ledger entries in shared memory */
extern bool lg_enforce;	  /* off: nobody is signalled */

extern void lg_settings_define(void);
extern const char *lg_settings_home_database(void);

#endif /* LG_SETTINGS_H */
