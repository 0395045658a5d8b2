/*-------------------------------------------------------------------------
 * forecast_test.c
 *		Does a forecast see a climb, and nothing else?
 *
 *		forecast_test SEED [MISTAKE]
 *
 * Shapes of a few minutes, with noise from the seed, and what is to be said of them.
 * With a mistake, which is one about a shape, it has to fail: that is tested too.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "forecast.h"

/* The C library's own: the server's are not linked. */
#undef printf
#undef vprintf

#define WINDOW 300

static unsigned int state;
static const char *mistake = "";
static int failures = 0;
static LgForecastPoint points[WINDOW];

/* Noise between -1 and 1. */
static double
noise(void)
{
	state = state * 1103515245u + 12345u;
	return ((state >> 8) & 0xFFFF) / 32767.5 - 1;
}

/* What is measured so many seconds after the first of them. */
typedef double (*Shape)(int second);

static double
flat(int second)
{
	return 50 + noise();
}

static double
ramp(int second)
{
	return 10 + 0.2 * second + noise();
}

static double
slow_ramp(int second)
{
	return 10 + floor(0.02 * second);
}

static double
falling(int second)
{
	return 90 - 0.2 * second + noise();
}

static double
early_step(int second)
{
	return second < 60 ? 10 : 50;
}

static double
step(int second)
{
	return second < 150 ? 10 : 50;
}

static double
late_step(int second)
{
	return second < 270 ? 10 : 50;
}

static double
plateau(int second)
{
	return 10 + 0.3 * Min(second, 200) + noise();
}

static double
waves(int second)
{
	return 50 + 20 * sin(second / 15.0) + noise();
}

static double
late_ramp(int second)
{
	return 10 + (second > 240 ? 0.8 * (second - 240) : 0) + noise() / 4;
}

static double
barely(int second)
{
	return 10 + 0.005 * second;
}

/* Put down so many seconds of it, each gap-th of them, newest first as series.c does. */
static int
measure(Shape shape, int length, int gap)
{
	int n = 0;

	for (int ago = 0; ago < length; ago += gap)
		points[n++] = (LgForecastPoint){.ago = ago, .value = shape(length - 1 - ago)};
	return n;
}

static void
expect(const char *name, Shape shape, int length, int gap, int window, double slope)
{
	int n = measure(strcmp(mistake, name) == 0 ? (slope > 0 ? flat : ramp) : shape, length, gap);
	double got = lg_forecast_slope(points, n, window, 3);

	if (fabs(got - slope) > 0.1 * slope)
	{
		printf("%s: slope %g, should be %g\n", name, got, slope);
		failures++;
	}
}

int
main(int argc, char **argv)
{
	state = argc > 1 ? (unsigned int) atoi(argv[1]) : 1;
	if (argc > 2)
		mistake = argv[2];

	expect("ramp", ramp, 300, 1, 300, 0.2);
	expect("slow ramp", slow_ramp, 300, 1, 300, 0.02);
	expect("sparse ramp", ramp, 300, 10, 300, 0.2);
	expect("half a ramp", ramp, 160, 1, 300, 0.2);
	expect("late ramp, short window", late_ramp, 300, 1, 60, 0.8);
	expect("late ramp, long window", late_ramp, 300, 1, 300, 0);
	expect("flat", flat, 300, 1, 300, 0);
	expect("falling", falling, 300, 1, 300, 0);
	expect("early step", early_step, 300, 1, 300, 0);
	expect("step", step, 300, 1, 300, 0);
	expect("late step", late_step, 300, 1, 300, 0);
	expect("plateau", plateau, 300, 1, 300, 0);
	expect("waves", waves, 300, 1, 300, 0);
	expect("barely", barely, 300, 1, 300, 0);
	expect("too short", ramp, 100, 1, 300, 0);
	expect("too few", ramp, 300, 35, 300, 0);
	if (lg_forecast_slope(points, 0, 300, 3) != 0)
	{
		printf("nothing: a slope\n");
		failures++;
	}
	return failures > 0;
}
