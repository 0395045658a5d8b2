/*-------------------------------------------------------------------------
 * rights.c
 *		Who may see what: what pg_stat_activity hides, and only that, is hidden.
 *
 * Locking: none of ours; membership is looked up in the system caches, so a
 * transaction is needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"

#include "rights.h"

/*
 * May the current user see the details of that role's sessions?  Members of
 * the role and of pg_read_all_stats may.
 */
bool
lg_rights_may_see(Oid userid)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		   has_privs_of_role(GetUserId(), userid);
}
