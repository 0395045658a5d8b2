/*-------------------------------------------------------------------------
 * rights.c
 *		Who may see what, and whom a policy's owner may signal.
 *
 * Seeing: what pg_stat_activity hides, and only that, is hidden.
 *
 * Signalling: a policy acts with its owner's rights, as pg_signal_backend has
 * them.  Names and memberships are in shared catalogs, so the collector can
 * read them; but whoever reads a catalog waits for its lock, and the lifeguard
 * must not wait.  So what was resolved is kept, until an invalidation says that
 * a role, a membership or a database has changed.  Then it is resolved anew as
 * soon as the catalogs' locks can be had at once; until then the last
 * resolved rights serve.  What was never resolved is not known, and who is not
 * known is spared; so is everybody after a change of what is protected.
 *
 * Locking: AccessShareLock on pg_authid, pg_auth_members, pg_database and those of
 * their indexes that are used, never waited for, from the first name that has to
 * be looked up to lg_rights_close().
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "rights.h"
#include "settings.h"

/* What is known of the role that sessions run under. */
typedef struct RoleEntry
{
	Oid roleid; /* hash key */
	char name[NAMEDATALEN];
	int *flags; /* LgRoleFlags by policy */
} RoleEntry;

typedef struct DatabaseEntry
{
	Oid databaseid; /* hash key */
	char name[NAMEDATALEN];
	int *flags; /* LgDatabaseFlags by policy */
} DatabaseEntry;

/* A policy's names, resolved. */
typedef struct PolicyRights
{
	Oid owner; /* invalid: it does not exist */
	int n_roles;
	int n_excepted;
	Oid *roles;
	Oid *excepted;
} PolicyRights;

/* Everything that was resolved, for one set of policies and one setting. */
static struct
{
	MemoryContext context;
	const LgLocalPolicies *policies;
	uint64 generation;
	char *protected_roles;		  /* the setting, as it was resolved */
	PolicyRights *rights;		  /* by policy */
	List *protected;			  /* OIDs */
	char *protected_applications; /* that setting, likewise */
	List *applications;			  /* its entries */
	HTAB *roles;
	HTAB *databases;
	RoleEntry *last_role;		  /* that was found: the next question is about the same session */
	DatabaseEntry *last_database; /* likewise */
} resolved;

static bool stale = true; /* something has changed since */
static bool opened_xact;  /* lg_rights_open() has begun a transaction */
static enum
{
	NOT_TRIED,
	GRANTED,
	REFUSED
} catalogs; /* their locks, since lg_rights_open() */

/* What is read to look up roles, memberships and databases, indexes included. */
static const Oid catalog_ids[] = {AuthIdRelationId,	  AuthIdOidIndexId,		 AuthIdRolnameIndexId,
								  AuthMemRelationId,  AuthMemRoleMemIndexId, AuthMemMemRoleIndexId,
								  DatabaseRelationId, DatabaseOidIndexId};

/*
 * May the current user see the details of that role's sessions?  Members of
 * the role and of pg_read_all_stats may.  Needs a transaction.
 */
bool
lg_rights_may_see(Oid userid)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		   has_privs_of_role(GetUserId(), userid);
}

static void
note_change(Datum arg, int cacheid, uint32 hashvalue)
{
	stale = true;
}

/*
 * Once in a process: hear of changes.  A process without a database has not
 * been told to by core.
 */
static void
listen_to_changes(void)
{
	static bool listening = false;

	if (listening)
		return;
	if (!OidIsValid(MyDatabaseId))
		initialize_acl();
	CacheRegisterSyscacheCallback(AUTHOID, note_change, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, note_change, (Datum) 0);
	CacheRegisterSyscacheCallback(DATABASEOID, note_change, (Datum) 0);
	listening = true;
}

/*
 * Is there a role whose row lies partly elsewhere?  Then the system cache would
 * fetch the rest, for which a process without a database has no catalog: FATAL.
 * Only a password of kilobytes can be the reason.
 */
static bool
has_external_rows(void)
{
	Relation roles;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found = false;

	if (OidIsValid(MyDatabaseId))
		return false;
	roles = table_open(AuthIdRelationId, NoLock);
	scan = systable_beginscan(roles, InvalidOid, false, NULL, 0, NULL);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
		found = HeapTupleHasExternal(tuple);
	systable_endscan(scan);
	table_close(roles, NoLock);
	return found;
}

/* May catalogs be read now?  Tried once between open and close. */
static bool
have_catalogs(void)
{
	static bool said = false;
	int n = 0;

	if (catalogs != NOT_TRIED)
		return catalogs == GRANTED;
	while (n < (int) lengthof(catalog_ids) &&
		   ConditionalLockRelationOid(catalog_ids[n], AccessShareLock))
		n++;
	catalogs = n == (int) lengthof(catalog_ids) ? GRANTED : REFUSED;
	if (catalogs == GRANTED && stale && has_external_rows())
	{
		catalogs = REFUSED;
		if (!said)
			ereport(LOG, (errmsg("pg_lifeguard cannot read roles: the password of one is too long"),
						  errdetail("Rights stay as they were last resolved.")));
		said = true;
	}
	if (catalogs == GRANTED)
		return true;
	while (n-- > 0)
		UnlockRelationOid(catalog_ids[n], AccessShareLock);
	return false;
}

static RoleEntry *find_role(Oid roleid);
static DatabaseEntry *find_database(Oid databaseid);

static Oid
role_of(const char *name)
{
	return get_role_oid(name, true);
}

/* The OIDs of the roles in a list that exist. */
static Oid *
resolve_list(const LgPolicy *policy, LgFilterKind kind, int *n)
{
	Oid *roles = palloc(sizeof(Oid) * Max(policy->filters[kind].count, 1));
	const char *entry;

	*n = 0;
	for (int i = 0; (entry = lg_policy_filter_entry(policy, kind, i)) != NULL; i++)
	{
		Oid role = role_of(entry);

		if (OidIsValid(role))
			roles[(*n)++] = role;
	}
	return roles;
}

static List *
resolve_protected(const char *setting)
{
	List *names;
	List *roles = NIL;
	ListCell *cell;

	if (!SplitGUCList(pstrdup(setting), ',', &names))
		return NIL; /* refused by the setting's own check */
	foreach (cell, names)
	{
		Oid role = role_of((char *) lfirst(cell));

		if (OidIsValid(role))
			roles = lappend_oid(roles, role);
	}
	return roles;
}

/* The OIDs of all roles, or databases, that are known. */
static List *
known_oids(HTAB *table)
{
	List *oids = NIL;
	HASH_SEQ_STATUS scan;
	Oid *entry; /* the key comes first in an entry */

	if (table == NULL)
		return NIL;
	hash_seq_init(&scan, table);
	while ((entry = hash_seq_search(&scan)) != NULL)
		oids = lappend_oid(oids, *entry);
	return oids;
}

/*
 * Forget what was resolved, and begin anew for these policies.  Whoever was
 * known is looked up at once: next time the catalogs may be locked.  They are
 * ours now.
 */
static void
begin_anew(const LgLocalPolicies *policies)
{
	HASHCTL ctl = {.keysize = sizeof(Oid)};
	List *roles = known_oids(resolved.roles);
	List *databases = known_oids(resolved.databases);
	ListCell *cell;
	MemoryContext caller;

	listen_to_changes();
	if (resolved.context == NULL)
		resolved.context =
			AllocSetContextCreate(TopMemoryContext, "pg_lifeguard rights", ALLOCSET_DEFAULT_SIZES);
	resolved.policies = NULL;
	resolved.roles = resolved.databases = NULL;
	resolved.last_role = NULL;
	resolved.last_database = NULL;
	MemoryContextReset(resolved.context);
	caller = MemoryContextSwitchTo(resolved.context);

	stale = false; /* before reading: what changes meanwhile makes it stale again */
	resolved.protected_roles = pstrdup(lg_protected_roles);
	resolved.protected = resolve_protected(lg_protected_roles);
	resolved.protected_applications = pstrdup(lg_protected_applications);
	if (!SplitGUCList(pstrdup(lg_protected_applications), ',', &resolved.applications))
		resolved.applications = NIL; /* refused by the setting's own check */
	resolved.rights = palloc0(sizeof(PolicyRights) * Max(policies->n, 1));
	for (int i = 0; i < policies->n; i++)
	{
		const LgPolicy *policy = policies->policies[i].policy;
		PolicyRights *rights = &resolved.rights[i];

		rights->owner = role_of(policy->owner);
		rights->roles = resolve_list(policy, LG_FILTER_ROLES, &rights->n_roles);
		rights->excepted = resolve_list(policy, LG_FILTER_EXCEPT_ROLES, &rights->n_excepted);
	}
	ctl.hcxt = resolved.context;
	ctl.entrysize = sizeof(RoleEntry);
	resolved.roles =
		hash_create("pg_lifeguard roles", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(DatabaseEntry);
	resolved.databases =
		hash_create("pg_lifeguard databases", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContextSwitchTo(caller);
	resolved.generation = policies->generation;
	resolved.policies = policies; /* last: an error before leaves nothing */

	foreach (cell, roles)
		(void) find_role(lfirst_oid(cell));
	foreach (cell, databases)
		(void) find_database(lfirst_oid(cell));
}

/*
 * Make ready to answer for these policies: until lg_rights_close() names can
 * be resolved.  Begins a transaction unless the caller is in one.  What follows
 * allocates nothing in the caller's memory context.
 */
void
lg_rights_open(const LgLocalPolicies *policies)
{
	MemoryContext caller = CurrentMemoryContext;

	opened_xact = !IsTransactionState();
	catalogs = NOT_TRIED;
	if (opened_xact)
	{
		SetCurrentStatementStartTimestamp(); /* it shows in pg_stat_activity as old as that */
		StartTransactionCommand();			 /* and hears of invalidations */
	}
	else
		AcceptInvalidationMessages();
	MemoryContextSwitchTo(caller);

	/* rights of a set that is gone would be those of other policies */
	if (resolved.policies != NULL)
		resolved.policies = resolved.generation == policies->generation ? policies : NULL;
	/* nor do they say who has been protected since: until that is looked up nobody is known */
	if (resolved.policies != NULL &&
		(strcmp(resolved.protected_roles, lg_protected_roles) != 0 ||
		 strcmp(resolved.protected_applications, lg_protected_applications) != 0))
		resolved.policies = NULL;
	if ((stale || resolved.policies == NULL) && have_catalogs())
		begin_anew(policies);
}

/*
 * The end of it.
 */
void
lg_rights_close(void)
{
	MemoryContext caller = CurrentMemoryContext;

	if (catalogs == GRANTED)
	{
		for (int i = 0; i < (int) lengthof(catalog_ids); i++)
			UnlockRelationOid(catalog_ids[i], AccessShareLock);
	}
	catalogs = REFUSED;
	if (opened_xact)
		CommitTransactionCommand();
	opened_xact = false;
	MemoryContextSwitchTo(caller);
}

static bool
is_member_of_any(Oid roleid, const Oid *roles, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (is_member_of_role_nosuper(roleid, roles[i]))
			return true;
	}
	return false;
}

/* As pg_terminate_backend() has it. */
static bool
may_signal(Oid owner, Oid roleid, bool superuser)
{
	if (superuser_arg(owner))
		return true;
	return !superuser &&
		   (has_privs_of_role(owner, roleid) || has_privs_of_role(owner, ROLE_PG_SIGNAL_BACKEND));
}

/* Everything about a role.  Catalogs are locked. */
static void
resolve_role(RoleEntry *entry, const char *name)
{
	bool superuser = superuser_arg(entry->roleid);
	int common = LG_ROLE_KNOWN | (superuser ? LG_ROLE_SUPERUSER : 0);
	int *flags =
		MemoryContextAllocZero(resolved.context, sizeof(int) * Max(resolved.policies->n, 1));
	ListCell *cell;

	strlcpy(entry->name, name, NAMEDATALEN);
	foreach (cell, resolved.protected)
	{
		if (is_member_of_role_nosuper(entry->roleid, lfirst_oid(cell)))
			common |= LG_ROLE_PROTECTED;
	}
	for (int i = 0; i < resolved.policies->n; i++)
	{
		const PolicyRights *rights = &resolved.rights[i];
		const LgPolicy *policy = resolved.policies->policies[i].policy;

		flags[i] = common;
		if (policy->filters[LG_FILTER_ROLES].count == 0 ||
			is_member_of_any(entry->roleid, rights->roles, rights->n_roles))
			flags[i] |= LG_ROLE_LISTED;
		if (is_member_of_any(entry->roleid, rights->excepted, rights->n_excepted))
			flags[i] |= LG_ROLE_EXCEPTED;
		if (!OidIsValid(rights->owner))
			flags[i] |= LG_ROLE_NO_OWNER;
		else if (may_signal(rights->owner, entry->roleid, superuser))
			flags[i] |= LG_ROLE_OWNER_MAY;
	}
	entry->flags = flags; /* last: an error before leaves it unknown */
}

/* The entry of a role, resolved if that is possible; NULL when it is not known. */
static RoleEntry *
find_role(Oid roleid)
{
	RoleEntry *entry;
	HeapTuple tuple;
	bool found;

	if (resolved.policies == NULL || !OidIsValid(roleid))
		return NULL;
	if (resolved.last_role != NULL && resolved.last_role->roleid == roleid)
		return resolved.last_role;
	entry = hash_search(resolved.roles, &roleid, HASH_FIND, NULL);
	if (entry != NULL && entry->flags != NULL)
		return resolved.last_role = entry;
	if (!have_catalogs())
		return NULL;

	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(roleid));
	if (!HeapTupleIsValid(tuple))
		return NULL;
	entry = hash_search(resolved.roles, &roleid, HASH_ENTER, &found);
	entry->flags = NULL;
	resolve_role(entry, NameStr(((Form_pg_authid) GETSTRUCT(tuple))->rolname));
	ReleaseSysCache(tuple);
	return entry;
}

static bool
is_listed(const LgPolicy *policy, LgFilterKind kind, const char *name)
{
	const char *entry;

	for (int i = 0; (entry = lg_policy_filter_entry(policy, kind, i)) != NULL; i++)
	{
		if (strcmp(entry, name) == 0)
			return true;
	}
	return false;
}

/*
 * The name of a database, from its row as it is.  The system cache would fetch
 * what lies elsewhere of it, too: a long list of grants, for which a process
 * without a database has no catalog.
 */
static bool
read_database_name(Oid databaseid, NameData *name)
{
	Relation databases = table_open(DatabaseRelationId, NoLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool found;

	ScanKeyInit(&key, Anum_pg_database_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(databaseid));
	scan = systable_beginscan(databases, DatabaseOidIndexId, criticalSharedRelcachesBuilt, NULL, 1,
							  &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		*name = ((Form_pg_database) GETSTRUCT(tuple))->datname;
	systable_endscan(scan);
	table_close(databases, NoLock);
	return found;
}

static DatabaseEntry *
find_database(Oid databaseid)
{
	DatabaseEntry *entry;
	NameData name;
	bool found;

	if (resolved.policies == NULL || !OidIsValid(databaseid))
		return NULL;
	if (resolved.last_database != NULL && resolved.last_database->databaseid == databaseid)
		return resolved.last_database;
	entry = hash_search(resolved.databases, &databaseid, HASH_FIND, NULL);
	if (entry != NULL && entry->flags != NULL)
		return resolved.last_database = entry;
	if (!have_catalogs())
		return NULL;

	if (!read_database_name(databaseid, &name))
		return NULL;
	entry = hash_search(resolved.databases, &databaseid, HASH_ENTER, &found);
	entry->flags = NULL;
	strlcpy(entry->name, NameStr(name), NAMEDATALEN);
	entry->flags =
		MemoryContextAllocZero(resolved.context, sizeof(int) * Max(resolved.policies->n, 1));
	for (int i = 0; i < resolved.policies->n; i++)
	{
		const LgPolicy *policy = resolved.policies->policies[i].policy;

		entry->flags[i] = LG_DATABASE_KNOWN;
		if (policy->filters[LG_FILTER_DATABASES].count == 0 ||
			is_listed(policy, LG_FILTER_DATABASES, entry->name))
			entry->flags[i] |= LG_DATABASE_LISTED;
		if (is_listed(policy, LG_FILTER_EXCEPT_DATABASES, entry->name))
			entry->flags[i] |= LG_DATABASE_EXCEPTED;
	}
	return entry;
}

/*
 * What policies have to know of a role: LgRoleFlags by their index, for who asks on
 * behalf of many; NULL while that is not known.  They stay until the next
 * lg_rights_open().
 */
const int *
lg_rights_role(Oid roleid)
{
	RoleEntry *entry = find_role(roleid);

	return entry != NULL ? entry->flags : NULL;
}

/*
 * What a policy has to know of a role or a database: LgRoleFlags,
 * LgDatabaseFlags; 0 while that is not known.  After lg_rights_close() only
 * what was resolved before is known.
 */
int
lg_rights_role_flags(Oid roleid, const LgLocalPolicy *local)
{
	const int *flags = lg_rights_role(roleid);

	return flags != NULL ? flags[local->index] : 0;
}

int
lg_rights_database_flags(Oid databaseid, const LgLocalPolicy *local)
{
	DatabaseEntry *entry = find_database(databaseid);

	return entry != NULL ? entry->flags[local->index] : 0;
}

/*
 * The name of a role or a database; "" while it is not known.
 */
const char *
lg_rights_role_name(Oid roleid)
{
	RoleEntry *entry = find_role(roleid);

	return entry != NULL ? entry->name : "";
}

const char *
lg_rights_database_name(Oid databaseid)
{
	DatabaseEntry *entry = find_database(databaseid);

	return entry != NULL ? entry->name : "";
}

/*
 * Is a session of that application, and that role, protected by
 * pg_lifeguard.protected_applications?  Its entries are exact names, or a role
 * and a name with a slash between.
 */
bool
lg_rights_application_protected(const char *application_name, Oid roleid)
{
	const char *role = lg_rights_role_name(roleid);
	Size role_length = strlen(role);
	ListCell *cell;

	if (resolved.policies == NULL)
		return false; /* then no role is known, and everybody is spared */
	foreach (cell, resolved.applications)
	{
		const char *entry = lfirst(cell);

		if (strcmp(entry, application_name) == 0 ||
			(role_length > 0 && strncmp(entry, role, role_length) == 0 &&
			 entry[role_length] == '/' && strcmp(entry + role_length + 1, application_name) == 0))
			return true;
	}
	return false;
}
