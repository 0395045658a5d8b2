/*-------------------------------------------------------------------------
 * rights.h
 *		Who may see what, and whom a policy's owner may signal.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RIGHTS_H
#define LG_RIGHTS_H

#include "policies.h"

extern bool lg_rights_may_see(Oid userid);
extern void lg_rights_open(const LgLocalPolicies *policies);
extern const int *lg_rights_role(Oid roleid);
extern int lg_rights_role_flags(Oid roleid, const LgLocalPolicy *local);
extern int lg_rights_database_flags(Oid databaseid, const LgLocalPolicy *local);
extern const char *lg_rights_role_name(Oid roleid);
extern const char *lg_rights_database_name(Oid databaseid);
extern bool lg_rights_application_protected(const char *application_name, Oid roleid);
extern void lg_rights_close(void);

#endif /* LG_RIGHTS_H */
