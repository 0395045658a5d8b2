/*-------------------------------------------------------------------------
 * ring.c
 *		A bounded ring of fixed-size records, for every kind of record.
 *
 * Locking: none of its own.  Callers hold the lock that guards the ring,
 * exclusively to add, shared to read, and only as long as it takes to copy.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "ring.h"

/*
 * Bytes that a ring of so many records needs.
 */
Size
lg_ring_size(int capacity, int record_size)
{
	return MAXALIGN(add_size(offsetof(LgRing, data), mul_size(capacity, MAXALIGN(record_size))));
}

/*
 * Make an empty ring in memory of lg_ring_size() bytes.
 */
void
lg_ring_init(LgRing *ring, int capacity, int record_size)
{
	ring->last = 0;
	ring->capacity = capacity;
	ring->record_size = MAXALIGN(record_size);
}

static void *
place_of(LgRing *ring, uint64 number)
{
	return ring->data + (number % ring->capacity) * ring->record_size;
}

/*
 * Add a record, over the oldest if the ring is full.  Returns its number.
 */
uint64
lg_ring_add(LgRing *ring, const void *record)
{
	uint64 number = ring->last + 1;

	memcpy(place_of(ring, number), record, ring->record_size);
	return ring->last = number;
}

/*
 * The number of the oldest record that is still there; more than ring->last
 * when there is none.
 */
uint64
lg_ring_first(const LgRing *ring)
{
	return ring->last > (uint64) ring->capacity ? ring->last - ring->capacity + 1 : 1;
}

/*
 * The record of that number, in place; NULL if it is not there (any more).
 */
void *
lg_ring_get(LgRing *ring, uint64 number)
{
	if (number < lg_ring_first(ring) || number > ring->last)
		return NULL;
	return place_of(ring, number);
}
