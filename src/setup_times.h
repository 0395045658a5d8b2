/*-------------------------------------------------------------------------
 * setup_times.h
 *		How long connections take to be ready, and how many there are.
 *-------------------------------------------------------------------------
 */
#ifndef LG_SETUP_TIMES_H
#define LG_SETUP_TIMES_H

#define LG_SETUP_BOUNDS 12 /* 1 ms, 2 ms ... 2.048 s */

/* Setup times of the whole server; the last bound is infinity. */
typedef struct LgSetupHistogram
{
	double bounds[LG_SETUP_BOUNDS + 1];		/* seconds */
	int64 connections[LG_SETUP_BOUNDS + 1]; /* that were ready within them */
	double seconds;							/* that all took together */
} LgSetupHistogram;

extern bool lg_setup_times_awaited; /* this session is not ready yet, and will be counted */

extern Size lg_setup_times_size(void);
extern void lg_setup_times_init(void);
extern void lg_setup_times_reset(TimestampTz now);
extern void lg_setup_times_begin(bool heard);
extern void lg_setup_times_note_ready(void);
extern void lg_setup_times_read(LgSetupHistogram *histogram);

#endif /* LG_SETUP_TIMES_H */
