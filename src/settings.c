/*-------------------------------------------------------------------------
 * settings.c
 *		Every pg_lifeguard.* setting, in one place.
 *
 * Those that can be reloaded are defined in every process that loads the
 * library, preloaded or not, so that SHOW always answers.  Sizes in shared
 * memory are set at start, and known only where pg_lifeguard is preloaded.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "settings.h"
#include "statement_trail.h"

#define HOME_DATABASE "postgres" /* unless set */

int lg_sample_interval = 1000;
int lg_fast_interval = 100;
int lg_max_policies = 64;
int lg_max_ledger = 1024;
int lg_track_statements = 0;
bool lg_enforce = true;
bool lg_notify = false;
bool lg_emergency_report = true;
int lg_flush_interval = 1000;
int lg_ledger_retention = 365;
int lg_max_actions_per_minute = 60;
int lg_max_episodes = 4096;
int lg_min_episode = 1000;
int lg_incident_min_waiters = 5;
int lg_history_retention = 30;
int lg_history_max_size = 256;
char *lg_protected_roles = NULL;
char *lg_protected_applications = NULL;

static char *database = NULL;

/* A list that could not be taken apart would protect nobody. */
static bool
check_list(char **newval, void **extra, GucSource source)
{
	char *copy = pstrdup(*newval);
	List *names;
	bool fine = SplitGUCList(copy, ',', &names);

	if (!fine)
		GUC_check_errdetail("List syntax is invalid.");
	else
		list_free(names);
	pfree(copy);
	return fine;
}

/* What configuration files say of a setting that is not defined yet; NULL = nothing. */
static char *
read_raw(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return value != NULL ? pstrdup(value) : NULL;
}

static bool
is_list_refused(const char *raw, const char *taken)
{
	return raw != NULL && strcmp(raw, taken) != 0;
}

/*
 * A server does not start with a bad value of one of its own settings; of an extension's
 * it takes the default and warns.  Of these three that would be to act on sessions that
 * are to be spared, so then nobody is acted on, whatever is reloaded.
 */
static void
spare_all(const char *name)
{
	SetConfigOption("pg_lifeguard.enforce", "off", PGC_POSTMASTER, PGC_S_OVERRIDE);
	ereport(WARNING,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("pg_lifeguard signals no session until the server is restarted"),
			 errdetail("The value of \"%s\" is invalid, so whom to spare is not known.", name),
			 errhint("Correct it and restart the server.")));
}

static void
define_settings(void)
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

	DefineCustomStringVariable("pg_lifeguard.database",
							   "Sets the database whose policies are in force.",
							   "An empty string stands for \"postgres\".", &database, HOME_DATABASE,
							   PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_lifeguard.enforce", "Allows sessions to be signalled.",
							 "When off, nobody is cancelled or terminated, not even by hand.",
							 &lg_enforce, true, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"pg_lifeguard.max_actions_per_minute",
		"Sets how many sessions all policies together may signal in a minute.",
		"Zero stands for no limit. Policies with connections_above or victim_order \"all but "
		"oldest\" are not counted.",
		&lg_max_actions_per_minute, 60, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"pg_lifeguard.protected_roles", "Sets the roles whose members' sessions no policy acts on.",
		NULL, &lg_protected_roles, "", PGC_SIGHUP, GUC_LIST_INPUT, check_list, NULL, NULL);

	DefineCustomStringVariable(
		"pg_lifeguard.protected_applications",
		"Sets the applications whose sessions no policy acts on.",
		"Exact names, or a role and a name with a slash between; any session may claim any name.",
		&lg_protected_applications, "pg_dump, pg_dumpall, pg_basebackup", PGC_SIGHUP,
		GUC_LIST_INPUT, check_list, NULL, NULL);

	DefineCustomIntVariable("pg_lifeguard.flush_interval",
							"Sets how long what is recorded may wait to be written to its table.",
							NULL, &lg_flush_interval, 1000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_lifeguard.ledger_retention",
							"Sets the number of days after which ledger entries are deleted.",
							"Zero keeps them for ever.", &lg_ledger_retention, 365, 0, 100000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("pg_lifeguard.history_retention",
							"Sets the number of days after which histories are deleted.",
							"For each kind of history. Zero keeps them for ever.",
							&lg_history_retention, 30, 0, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("pg_lifeguard.history_max_size",
							"Sets the size beyond which the oldest history is deleted.",
							"For each kind of history. Zero stands for no limit.",
							&lg_history_max_size, 256, 0, INT_MAX / 1024, PGC_SIGHUP, GUC_UNIT_MB,
							NULL, NULL, NULL);

	DefineCustomIntVariable("pg_lifeguard.min_episode",
							"Sets how long a lock wait or a stay idle in transaction must last to "
							"have a history row of its own.",
							"Shorter ones are only summed.", &lg_min_episode, 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("pg_lifeguard.incident_min_waiters",
							"Sets how many sessions must wait for locks to make an incident.", NULL,
							&lg_incident_min_waiters, 5, 1, INT_MAX, PGC_SIGHUP, 0, NULL, NULL,
							NULL);

	DefineCustomBoolVariable("pg_lifeguard.notify",
							 "Sends a NOTIFY on channel pg_lifeguard for each ledger entry.",
							 "It is sent in the home database, when the outcome is known.",
							 &lg_notify, false, PGC_SIGHUP, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("pg_lifeguard.emergency_report",
							 "Reports in the server log when nobody can log in any more.",
							 "Once a minute while every connection slot is taken, the reserved "
							 "ones too.",
							 &lg_emergency_report, true, PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* sizes in shared memory; only the postmaster may define what is set at start */
	if (process_shared_preload_libraries_in_progress)
	{
		DefineCustomIntVariable("pg_lifeguard.max_policies",
								"Sets the number of policies that can be stored.", NULL,
								&lg_max_policies, 64, 1, 1000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomIntVariable(
			"pg_lifeguard.max_episodes", "Sets the number of episodes kept in shared memory.",
			"Of all kinds, those under way and those that have ended.", &lg_max_episodes, 4096, 64,
			1000000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomIntVariable(
			"pg_lifeguard.max_ledger", "Sets the number of ledger entries kept in shared memory.",
			NULL, &lg_max_ledger, 1024, 16, 1000000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomIntVariable("pg_lifeguard.track_statements",
								"Sets the number of statements kept of each open transaction.",
								"The last ones that its client sent. Zero keeps none.",
								&lg_track_statements, 0, 0, LG_TRAIL_MOST, PGC_POSTMASTER, 0, NULL,
								NULL, NULL);
	}
}

/*
 * Define the settings and reserve their prefix, so that a misspelt one is
 * refused.  Called once, by _PG_init.
 */
void
lg_settings_define(void)
{
	char *enforce = read_raw("pg_lifeguard.enforce");
	char *roles = read_raw("pg_lifeguard.protected_roles");
	char *applications = read_raw("pg_lifeguard.protected_applications");
	bool enforced;

	define_settings();
	MarkGUCPrefixReserved("pg_lifeguard");
	if (!process_shared_preload_libraries_in_progress)
		return;
	if (enforce != NULL && !parse_bool(enforce, &enforced))
		spare_all("pg_lifeguard.enforce");
	if (is_list_refused(roles, lg_protected_roles))
		spare_all("pg_lifeguard.protected_roles");
	if (is_list_refused(applications, lg_protected_applications))
		spare_all("pg_lifeguard.protected_applications");
}

/*
 * The name of the home database, as this process has its settings.  SQL asks
 * lifeguard.home_database(), which says the same.
 */
const char *
lg_settings_home_database(void)
{
	return database != NULL && database[0] != '\0' ? database : HOME_DATABASE;
}
