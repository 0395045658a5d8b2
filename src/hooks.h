/*-------------------------------------------------------------------------
 * hooks.h
 *		What runs inside other people's backends.
 *-------------------------------------------------------------------------
 */
#ifndef LG_HOOKS_H
#define LG_HOOKS_H

extern void lg_hooks_install(void);

#endif /* LG_HOOKS_H */
