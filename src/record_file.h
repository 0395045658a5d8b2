/*-------------------------------------------------------------------------
 * record_file.h
 *		What is not in the tables when the server stops.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RECORD_FILE_H
#define LG_RECORD_FILE_H

extern void lg_record_file_load(void);
extern void lg_record_file_remove(void);
extern void lg_record_file_save(int code, Datum arg);

#endif /* LG_RECORD_FILE_H */
