/*-------------------------------------------------------------------------
 * forecast.c
 *		When will it be full, if it goes on like this?
 *
 * Pure: what is asked for comes in as arguments.
 *
 * A straight line through what was seen, by least squares.  It is believed when it
 * tells at least four fifths of what moved: a single step up, which would be taken
 * for a slope otherwise, reaches three quarters at most.  And it has to have gone on
 * rising of late: a climb that is over forecasts nothing.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "forecast.h"

#define LEAST_POINTS 10
#define LEAST_SPAN 0.5	/* of the window */
#define LEAST_FIT 0.8	/* of the variance */
#define STILL_RISES 0.3 /* of the slope: so much in the last sixth */

/* The average of what was seen from so many seconds ago until so many; false if nothing was. */
static bool
average(const LgForecastPoint *points, int n, double from, double until, double *result)
{
	double sum = 0;
	int count = 0;

	for (int i = 0; i < n; i++)
	{
		if (points[i].ago <= from && points[i].ago > until)
		{
			sum += points[i].value;
			count++;
		}
	}
	*result = count > 0 ? sum / count : 0;
	return count > 0;
}

/* Was the last sixth of that span above the one before it, as the slope demands? */
static bool
still_rises(const LgForecastPoint *points, int n, double newest, double span, double slope)
{
	double sixth = span / 6;
	double last;
	double before;

	return average(points, n, newest + sixth, newest - 1, &last) &&
		   average(points, n, newest + 2 * sixth, newest + sixth, &before) &&
		   last - before >= STILL_RISES * slope * sixth;
}

/*
 * How much a second it has risen within the last window seconds: clearly and by at
 * least so much in all.  0 if not, or if too little is known.
 */
double
lg_forecast_slope(const LgForecastPoint *points, int n, double window, double least)
{
	double x = 0, y = 0, xx = 0, xy = 0, yy = 0;
	double oldest = 0, newest = window;
	double slope;
	int used = 0;

	for (int i = 0; i < n; i++)
	{
		if (points[i].ago > window)
			continue;
		used++;
		x -= points[i].ago;
		y += points[i].value;
		oldest = Max(oldest, points[i].ago);
		newest = Min(newest, points[i].ago);
	}
	if (used < LEAST_POINTS || oldest - newest < LEAST_SPAN * window)
		return 0;
	x /= used;
	y /= used;
	for (int i = 0; i < n; i++)
	{
		if (points[i].ago > window)
			continue;
		xx += (-points[i].ago - x) * (-points[i].ago - x);
		xy += (-points[i].ago - x) * (points[i].value - y);
		yy += (points[i].value - y) * (points[i].value - y);
	}
	slope = xy / xx;
	if (slope <= 0 || slope * (oldest - newest) < least || xy * xy < LEAST_FIT * xx * yy)
		return 0;
	return still_rises(points, n, newest, oldest - newest, slope) ? slope : 0;
}
