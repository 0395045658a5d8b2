/*-------------------------------------------------------------------------
 * brakes.h
 *		lifeguard.pause() and lifeguard.resume().
 *-------------------------------------------------------------------------
 */
#ifndef LG_BRAKES_H
#define LG_BRAKES_H

extern void lg_brakes_restore(void);

#endif /* LG_BRAKES_H */
