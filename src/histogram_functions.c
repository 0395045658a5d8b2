/*-------------------------------------------------------------------------
 * histogram_functions.c
 *		SQL-callable functions over histograms: their sum, and percentiles.
 *
 * In a table a histogram is an array of weights that ends with the last bucket in
 * use.
 *
 * Locking: none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "histogram.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_histogram_add);
PG_FUNCTION_INFO_V1(pg_lifeguard_histogram_percentile);

/* How many buckets an array has; an error if it cannot be a histogram. */
static int
buckets_of(ArrayType *array, Oid type)
{
	int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) > 1 || ARR_ELEMTYPE(array) != type || array_contains_nulls(array) ||
		n > LG_HISTOGRAM_BUCKETS)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("array is not a histogram"),
						errdetail("It has one dimension, no nulls and at most %d elements.",
								  LG_HISTOGRAM_BUCKETS)));
	return n;
}

/* ARR_DATA_PTR(), without its comparison of an int with a Size. */
static void *
data_of(ArrayType *array)
{
	int offset =
		ARR_HASNULL(array) ? array->dataoffset : (int) ARR_OVERHEAD_NONULLS(ARR_NDIM(array));

	return (char *) array + offset;
}

/* One with all buckets, and nothing in them. */
static ArrayType *
make_sum(void)
{
	Datum zeros[LG_HISTOGRAM_BUCKETS];

	for (int i = 0; i < LG_HISTOGRAM_BUCKETS; i++)
		zeros[i] = Float8GetDatum(0);
	return construct_array(zeros, LG_HISTOGRAM_BUCKETS, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
						   TYPALIGN_DOUBLE);
}

/*
 * lifeguard.histogram_add(sum, histogram): the transition of histogram_sum().  An
 * empty sum is where it begins.
 */
Datum
pg_lifeguard_histogram_add(PG_FUNCTION_ARGS)
{
	ArrayType *sum = PG_GETARG_ARRAYTYPE_P(0);
	ArrayType *histogram = PG_GETARG_ARRAYTYPE_P(1);
	int n = buckets_of(histogram, FLOAT4OID);
	const float4 *weights = (const float4 *) data_of(histogram);
	float8 *sums;

	if (buckets_of(sum, FLOAT8OID) < LG_HISTOGRAM_BUCKETS)
	{
		ArrayType *whole = make_sum();

		memcpy(data_of(whole), data_of(sum), buckets_of(sum, FLOAT8OID) * sizeof(float8));
		sum = whole;
	}
	else if (!AggCheckCallContext(fcinfo, NULL))
		sum = PG_GETARG_ARRAYTYPE_P_COPY(0); /* only an aggregate's own may be changed in place */

	sums = (float8 *) data_of(sum);
	for (int i = 0; i < n; i++)
		sums[i] += weights[i];
	PG_RETURN_ARRAYTYPE_P(sum);
}

/*
 * lifeguard.histogram_percentile(sum, share): the duration that such a share (0 to 1)
 * does not exceed; NULL if nothing was counted.
 */
Datum
pg_lifeguard_histogram_percentile(PG_FUNCTION_ARGS)
{
	ArrayType *sum = PG_GETARG_ARRAYTYPE_P(0);
	float8 share = PG_GETARG_FLOAT8(1);
	int64 usecs;
	Interval *duration;

	if (!(share >= 0 && share <= 1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("share must be between 0 and 1")));
	usecs = lg_histogram_percentile_of((const double *) data_of(sum), buckets_of(sum, FLOAT8OID),
									   share);
	if (usecs < 0)
		PG_RETURN_NULL();
	duration = palloc0(sizeof(Interval));
	duration->day = (int32) (usecs / USECS_PER_DAY);
	duration->time = usecs % USECS_PER_DAY;
	PG_RETURN_INTERVAL_P(duration);
}
