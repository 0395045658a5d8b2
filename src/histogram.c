/*-------------------------------------------------------------------------
 * histogram.c
 *		Log-linear histogram of durations, and percentiles from it.
 *
 * One bucket for all below 1 ms, then four of equal width per octave up to 37
 * hours, longer ones in the last.  A bucket is a quarter of its lower bound wide at
 * most.  A percentile is interpolated within its bucket, as if what is in there were
 * spread evenly: as a rule within 12 % of the true one, never 25 % off above 1 ms.
 *
 * Pure: nothing is allocated, raised or locked.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bitutils.h"

#include "histogram.h"

#define SHORTEST INT64CONST(1000) /* microseconds: where the first octave begins */

/*
 * The bucket of a duration, in microseconds.
 */
int
lg_histogram_bucket(int64 duration)
{
	int octave;
	int64 base;

	if (duration < SHORTEST)
		return 0;
	octave = pg_leftmost_one_pos64((uint64) (duration / SHORTEST));
	if (octave >= LG_HISTOGRAM_OCTAVES)
		return LG_HISTOGRAM_BUCKETS - 1;
	base = SHORTEST << octave;
	return 1 + octave * LG_HISTOGRAM_PARTS + (int) ((duration - base) * LG_HISTOGRAM_PARTS / base);
}

/*
 * The shortest duration of a bucket, in microseconds.  For one past the last: where
 * that ends, as far as percentiles are concerned.
 */
int64
lg_histogram_lower(int bucket)
{
	int octave = (bucket - 1) / LG_HISTOGRAM_PARTS;
	int part = (bucket - 1) % LG_HISTOGRAM_PARTS;

	if (bucket == 0)
		return 0;
	return (SHORTEST << octave) + part * ((SHORTEST / LG_HISTOGRAM_PARTS) << octave);
}

/*
 * Count a duration, in microseconds, as that many.
 */
void
lg_histogram_add(LgHistogram *histogram, int64 duration, double weight)
{
	histogram->weights[lg_histogram_bucket(duration)] += (float4) weight;
}

/*
 * Count all that another one has.
 */
void
lg_histogram_merge(LgHistogram *into, const LgHistogram *from)
{
	for (int i = 0; i < LG_HISTOGRAM_BUCKETS; i++)
		into->weights[i] += from->weights[i];
}

/*
 * The duration, in microseconds, that such a share (0 to 1) does not exceed; -1 if
 * nothing has been counted.
 */
int64
lg_histogram_percentile(const LgHistogram *histogram, double share)
{
	double weights[LG_HISTOGRAM_BUCKETS];

	for (int i = 0; i < LG_HISTOGRAM_BUCKETS; i++)
		weights[i] = histogram->weights[i];
	return lg_histogram_percentile_of(weights, LG_HISTOGRAM_BUCKETS, share);
}

/*
 * The same of a sum over many histograms, of which the first n buckets are given.
 */
int64
lg_histogram_percentile_of(const double *weights, int n, double share)
{
	double total = 0;
	double below = 0;
	double wanted;
	int bucket = -1;

	for (int i = 0; i < n; i++)
		total += weights[i];
	wanted = total * share;

	/* the last that holds anything, should rounding leave none that reaches it */
	for (int i = 0; i < n; i++)
	{
		if (!(weights[i] > 0))
			continue;
		if (bucket >= 0)
			below += weights[bucket];
		bucket = i;
		if (below + weights[i] >= wanted)
			break;
	}
	if (bucket < 0)
		return -1;
	return lg_histogram_lower(bucket) +
		   (int64) ((lg_histogram_lower(bucket + 1) - lg_histogram_lower(bucket)) *
					Min((wanted - below) / weights[bucket], 1.0));
}
