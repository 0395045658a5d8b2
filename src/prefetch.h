/*-------------------------------------------------------------------------
 * prefetch.h
 *		Ask for memory some steps before it is read.
 *
 * Between two passes the caches have forgotten all that a pass reads, and most of
 * its time would go into waiting for memory, one line after another.
 *-------------------------------------------------------------------------
 */
#ifndef LG_PREFETCH_H
#define LG_PREFETCH_H

/* Never faults, whatever the address; a compiler that knows no such thing does without. */
#if defined(__GNUC__) || defined(__clang__)
#define lg_prefetch(address) __builtin_prefetch((const void *) (address))
#else
#define lg_prefetch(address) ((void) 0)
#endif

/* Far enough ahead for memory to answer, near enough to be in the caches still. */
#define LG_AHEAD 8

#endif /* LG_PREFETCH_H */
