/*-------------------------------------------------------------------------
 * forecast.h
 *		When will it be full, if it goes on like this?
 *-------------------------------------------------------------------------
 */
#ifndef LG_FORECAST_H
#define LG_FORECAST_H

/* How much there was, and so many seconds before now. */
typedef struct LgForecastPoint
{
	float ago;
	float value;
} LgForecastPoint;

extern double lg_forecast_slope(const LgForecastPoint *points, int n, double window, double least);

#endif /* LG_FORECAST_H */
