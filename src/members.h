/*-------------------------------------------------------------------------
 * members.h
 *		Tables that are proven to be the extension's own.
 *-------------------------------------------------------------------------
 */
#ifndef LG_MEMBERS_H
#define LG_MEMBERS_H

#include "storage/lockdefs.h"

extern Oid lg_members_find_extension(void);
extern Oid lg_members_use_table(Oid extension, const char *name, LOCKMODE mode);

#endif /* LG_MEMBERS_H */
