/*-------------------------------------------------------------------------
 * policy_table.h
 *		From lifeguard.policy into shared memory.
 *-------------------------------------------------------------------------
 */
#ifndef LG_POLICY_TABLE_H
#define LG_POLICY_TABLE_H

extern void lg_policy_table_publish(Oid extension);

#endif /* LG_POLICY_TABLE_H */
