/*-------------------------------------------------------------------------
 * histogram.h
 *		Log-linear histogram of durations, and percentiles from it.
 *-------------------------------------------------------------------------
 */
#ifndef LG_HISTOGRAM_H
#define LG_HISTOGRAM_H

#define LG_HISTOGRAM_PARTS 4	/* buckets per octave, all of one width */
#define LG_HISTOGRAM_OCTAVES 27 /* from 1 ms to 37 hours */
#define LG_HISTOGRAM_BUCKETS (1 + LG_HISTOGRAM_OCTAVES * LG_HISTOGRAM_PARTS)

/* All zeros is an empty one. */
typedef struct LgHistogram
{
	float4 weights[LG_HISTOGRAM_BUCKETS];
} LgHistogram;

extern int lg_histogram_bucket(int64 duration);
extern int64 lg_histogram_lower(int bucket);
extern void lg_histogram_add(LgHistogram *histogram, int64 duration, double weight);
extern void lg_histogram_merge(LgHistogram *into, const LgHistogram *from);
extern int64 lg_histogram_percentile(const LgHistogram *histogram, double share);
extern int64 lg_histogram_percentile_of(const double *weights, int n, double share);

#endif /* LG_HISTOGRAM_H */
