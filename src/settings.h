/*-------------------------------------------------------------------------
 * settings.h
 *		The pg_lifeguard.* settings.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SETTINGS_H
#define LG_SETTINGS_H

extern int lg_sample_interval; /* ms between passes in calm; 0 = only on demand */
extern int lg_fast_interval;   /* ms between passes while a session waits */

extern bool lg_enforce; /* off: nobody is signalled */
extern bool lg_notify;	/* NOTIFY for each ledger entry */

extern int lg_flush_interval;	/* ms until a ledger entry is written to its table */
extern int lg_ledger_retention; /* days until it is deleted; 0 = never */

extern int lg_max_policies; /* policies that fit into shared memory */
extern int lg_max_ledger;	/* ledger entries in shared memory */

extern void lg_settings_define(void);
extern const char *lg_settings_home_database(void);

#endif /* LG_SETTINGS_H */
