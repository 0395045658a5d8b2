/*-------------------------------------------------------------------------
 * setup_times.h
 *		How long connections take to be ready, and how many there are.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SETUP_TIMES_H
#define LG_SETUP_TIMES_H

extern bool lg_setup_times_awaited; /* this session is not ready yet, and will be counted */

extern Size lg_setup_times_size(void);
extern void lg_setup_times_init(void);
extern void lg_setup_times_reset(TimestampTz now);
extern void lg_setup_times_begin(bool heard);
extern void lg_setup_times_note_ready(void);

#endif /* LG_SETUP_TIMES_H */
