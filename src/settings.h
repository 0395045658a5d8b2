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
extern bool lg_emergency_report;

extern int lg_flush_interval;	/* ms until a ledger entry is written to its table */
extern int lg_ledger_retention; /* days until it is deleted; 0 = never */

extern int lg_max_policies;		/* policies that fit into shared memory */
extern int lg_max_ledger;		/* ledger entries in shared memory */
extern int lg_track_statements; /* kept of each open transaction; 0 = no hook either */

extern int lg_max_actions_per_minute;
extern int lg_max_episodes;
extern int lg_min_episode;
extern int lg_incident_min_waiters;
extern int lg_history_retention;
extern int lg_history_max_size;	 /* over all policies; 0 = no limit */
extern char *lg_protected_roles; /* lists, as SplitGUCList() takes them */
extern char *lg_protected_applications;

extern void lg_settings_define(void);
extern const char *lg_settings_home_database(void);

#endif /* LG_SETTINGS_H */
