/*-------------------------------------------------------------------------
 * ring.h
 *		A bounded ring of fixed-size records in shared memory.
 *-------------------------------------------------------------------------
 */
#ifndef LG_RING_H
#define LG_RING_H

/*
 * Guarded by a lock of its owner's.  Records are numbered from 1 and never
 * renumbered; the newest capacity of them are there.
 */
typedef struct LgRing
{
	uint64 last; /* number of the newest record; 0 = none yet */
	int capacity;
	int record_size;
	char data[FLEXIBLE_ARRAY_MEMBER];
} LgRing;

extern Size lg_ring_size(int capacity, int record_size);
extern void lg_ring_init(LgRing *ring, int capacity, int record_size);
extern uint64 lg_ring_add(LgRing *ring, const void *record);
extern void *lg_ring_get(LgRing *ring, uint64 number);
extern uint64 lg_ring_first(const LgRing *ring);

#endif /* LG_RING_H */
