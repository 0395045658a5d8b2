/*-------------------------------------------------------------------------
 * stat_file.h
 *		Small files beside the server's statistics, which outlive a crash.
 *-------------------------------------------------------------------------
 */
#ifndef LG_STAT_FILE_H
#define LG_STAT_FILE_H

extern bool lg_stat_file_read(const char *path, void *record, Size size);
extern void lg_stat_file_remove(const char *path);
extern void lg_stat_file_write(const char *path, const void *record, Size size);

#endif /* LG_STAT_FILE_H */
