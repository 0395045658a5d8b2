/*-------------------------------------------------------------------------
 * ledger_rows.h
 *		A ledger entry as the columns of a row.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LEDGER_ROWS_H
#define LG_LEDGER_ROWS_H

#include "ledger.h"
#include "rows.h"

extern char *lg_ledger_rows_relation_name(const LgLedgerEntry *entry);
extern void lg_ledger_rows_add(LgRows *rows, const LgLedgerEntry *entry, bool may_see);

#endif /* LG_LEDGER_ROWS_H */
