/*-------------------------------------------------------------------------
 * rights.h
 *		Who may see what.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RIGHTS_H
#define LG_RIGHTS_H

extern bool lg_rights_may_see(Oid userid);

#endif /* LG_RIGHTS_H */
