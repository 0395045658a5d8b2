/*-------------------------------------------------------------------------
 * ledger_file.h
 *		What is not in the ledger's table when the server stops.
 *-------------------------------------------------------------------------
 */
#ifndef LG_LEDGER_FILE_H
#define LG_LEDGER_FILE_H

extern void lg_ledger_file_load(void);
extern void lg_ledger_file_remove(void);
extern void lg_ledger_file_save(int code, Datum arg);

#endif /* LG_LEDGER_FILE_H */
