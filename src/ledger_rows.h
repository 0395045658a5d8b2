/*-------------------------------------------------------------------------
 * ledger_rows.h
 *		A ledger entry as the columns of a row.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LEDGER_ROWS_H
#define LG_LEDGER_ROWS_H

#include "ledger.h"

extern const LgRecordType lg_ledger_type;

extern char *lg_ledger_rows_relation_name(const LgLedgerEntry *entry);

#endif /* LG_LEDGER_ROWS_H */
