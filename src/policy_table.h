/*-------------------------------------------------------------------------
 * policy_table.h
 *		From lifeguard.policy into shared memory.
 *-------------------------------------------------------------------------
 */
#ifndef LG_POLICY_TABLE_H
#define LG_POLICY_TABLE_H

#include "policy.h"

extern void lg_policy_table_publish(Oid extension);
extern LgPolicy *lg_policy_table_read_row(Datum row, Oid type, MemoryContext context);

#endif /* LG_POLICY_TABLE_H */
