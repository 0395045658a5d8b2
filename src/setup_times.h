/*-------------------------------------------------------------------------
 * setup_times.h
 *		How long connections take to be ready, and how many there are.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SETUP_TIMES_H
#define LG_SETUP_TIMES_H

extern Size lg_setup_times_size(void);
extern void lg_setup_times_init(void);
extern void lg_setup_times_begin(void);

#endif /* LG_SETUP_TIMES_H */
