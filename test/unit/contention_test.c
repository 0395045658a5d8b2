/*-------------------------------------------------------------------------
 * contention_test.c
 *		Compare histogram.c with sorted durations, and try statements.c.
 *
 * Links with those two objects and nothing else.
 *
 * usage: contention_test SEED [MISTAKE]
 *
 * MISTAKE makes what is compared with err: "weights" (each duration counts once),
 * "shift" (durations are a third longer), "alike" (statements that differ are said to
 * be the same).  Exit status: 0 all is well, 1 something is not, 2 wrong usage.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "histogram.h"
#include "statements.h"

/* The C library's own: the server's are not linked. */
#undef fprintf
#undef printf
#undef qsort
#undef vprintf

#define DURATIONS 20000
#define TOLERANCE 0.125

typedef struct Counted
{
	int64 duration;
	double weight;
} Counted;

static Counted counted[DURATIONS];
static const char *mistake = "";
static int failures = 0;

static double
draw(void)
{
	return (random() + 0.5) / ((double) RAND_MAX + 1);
}

static int64
draw_duration(int kind)
{
	double normal = sqrt(-2 * log(draw())) * cos(2 * M_PI * draw());

	switch (kind)
	{
		case 0:
			return (int64) (1000 + draw() * 60e6); /* up to a minute */
		case 1:
			return (int64) (1000 - 200e3 * log(draw())); /* mostly below a second */
		case 2:
			return (int64) (1000 + 50e3 * exp(1.5 * normal)); /* a long tail */
		default:
			return (int64) fmin(1000 / pow(draw(), 1.2), 3e11); /* a longer one, to days */
	}
}

static int
compare(const void *a, const void *b)
{
	int64 difference = ((const Counted *) a)->duration - ((const Counted *) b)->duration;

	return difference < 0 ? -1 : difference > 0;
}

static void
complain(const char *what, int kind, double share, int64 got, int64 expected)
{
	printf("%s: kind %d, share %g: %lld, not %lld\n", what, kind, share, (long long) got,
		   (long long) expected);
	failures++;
}

static int64
exact_percentile(double share)
{
	double total = 0;
	double below = 0;

	for (int i = 0; i < DURATIONS; i++)
		total += strcmp(mistake, "weights") == 0 ? 1 : counted[i].weight;
	for (int i = 0; i < DURATIONS; i++)
	{
		below += strcmp(mistake, "weights") == 0 ? 1 : counted[i].weight;
		if (below >= total * share)
			return strcmp(mistake, "shift") == 0 ? counted[i].duration * 4 / 3
												 : counted[i].duration;
	}
	return -1;
}

/* Durations at random, in two halves that are merged. */
static void
try_percentiles(int kind)
{
	static const double shares[] = {0.1, 0.5, 0.9, 0.95, 0.99};
	LgHistogram halves[2];

	memset(halves, 0, sizeof(halves));
	for (int i = 0; i < DURATIONS; i++)
	{
		counted[i].duration = draw_duration(kind);
		/* as waits are counted: the shorter, the more it stands for */
		counted[i].weight = fmax(1, 100e3 / counted[i].duration);
		lg_histogram_add(&halves[i % 2], counted[i].duration, counted[i].weight);
	}
	qsort(counted, DURATIONS, sizeof(Counted), compare);
	lg_histogram_merge(&halves[0], &halves[1]);

	for (int i = 0; i < (int) lengthof(shares); i++)
	{
		int64 got = lg_histogram_percentile(&halves[0], shares[i]);
		int64 exact = exact_percentile(shares[i]);

		if (fabs((double) (got - exact)) > TOLERANCE * exact)
			complain("percentile", kind, shares[i], got, exact);
	}
}

/* What is alike is off by a quarter at most; buckets meet without gap or overlap. */
static void
try_bounds(void)
{
	LgHistogram one;

	memset(&one, 0, sizeof(one));
	if (lg_histogram_percentile(&one, 0.5) != -1)
		complain("empty", 0, 0.5, lg_histogram_percentile(&one, 0.5), -1);
	for (int i = 0; i < LG_HISTOGRAM_BUCKETS; i++)
	{
		int64 lower = lg_histogram_lower(i);
		int64 upper = lg_histogram_lower(i + 1);

		if (lower >= upper || lg_histogram_bucket(lower) != i ||
			lg_histogram_bucket(upper - 1) != i || (i > 0 && (upper - lower) * 4 > lower))
			complain("bounds", i, 0, lower, upper);
	}
	for (int i = 0; i < 1000; i++)
	{
		int64 duration = draw_duration(i % 3);

		memset(&one, 0, sizeof(one));
		lg_histogram_add(&one, duration, 1 + draw());
		for (int share = 0; share <= 4; share++)
		{
			int64 got = lg_histogram_percentile(&one, share / 4.0);

			if (llabs(got - duration) * 4 > duration + 4)
				complain("single", i, share / 4.0, got, duration);
		}
	}
	memset(&one, 0, sizeof(one));
	lg_histogram_add(&one, -5, 1);
	lg_histogram_add(&one, PG_INT64_MAX, 1);
	if (one.weights[0] != 1 || one.weights[LG_HISTOGRAM_BUCKETS - 1] != 1)
		complain("ends", 0, 0, 0, 1);
}

/* Pairs of statements: are they the same? */
static const struct
{
	const char *one;
	const char *other;
	bool same;
} pairs[] = {
	{"UPDATE t SET v = 1 WHERE id = 2", "UPDATE t\n SET v = -17.5e+3 WHERE id = 0x2F ;", true},
	{"SELECT 'a'", "SELECT 'it''s -- not /* a comment'", true},
	{"SELECT 'a'", "SELECT E'it\\'s'", true},
	{"SELECT 'a'", "SELECT $$a$$", true},
	{"SELECT 'a'", "SELECT $x$ $y$ $x$", true},
	{"SELECT 1 FROM t1", "SELECT 1 FROM t2", false},
	{"SELECT \"a 1\"", "SELECT \"a 2\"", false},
	{"SELECT \"a\"\"1\", 5", "SELECT \"a\"\"1\", 6", true},
	{"DELETE FROM t WHERE id IN (1, 2,3)", "DELETE FROM t WHERE id IN (4)", true},
	{"INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO t VALUES (3, 'c')", true},
	{"INSERT INTO t VALUES (1, 'a')", "INSERT INTO u VALUES (1, 'a')", false},
	{"SELECT 1 /* trace=4711 */", "SELECT 1 /* trace=1147 /* nested */ */", true},
	{"-- by cron\nSELECT 1", "SELECT 2", true},
	{"SELECT a-1", "SELECT a-22", true},
	{"SELECT a-1", "SELECT a+1", false},
	{"SELECT a -1 FROM t", "SELECT a FROM t", false},
	{"SELECT $1, $2", "SELECT 1, 2", true},
	{"SELECT x'1F' || b'0' || n'u'", "SELECT x'FF' || b'1' || n'v'", true},
	{"SELECT a.b1 FROM a", "SELECT a.b2 FROM a", false},
	{"SELECT .5", "SELECT 0.5", true},
	{"SELECT 'unended", "SELECT 'other and unended", true},
	{"SELECT 1 /* unended", "SELECT 2 /*", true},
	{"SELECT $tag$ unended", "SELECT $tag$ $tag", true},
};

static void
try_statements(void)
{
	char one[256];
	char other[256];

	for (int i = 0; i < (int) lengthof(pairs); i++)
	{
		bool same;

		lg_statements_squeeze(pairs[i].one, one, sizeof(one));
		lg_statements_squeeze(pairs[i].other, other, sizeof(other));
		same = strcmp(one, other) == 0;
		if (same != (pairs[i].same || strcmp(mistake, "alike") == 0))
		{
			printf("statement: %s: \"%s\" and \"%s\"\n", same ? "same" : "not the same", one,
				   other);
			failures++;
		}
	}
}

/* Any bytes, into any room: what checks memory finds what is wrong. */
static void
try_garbage(void)
{
	static const char letters[] = "''\"\"$$eExX--//**\\\\(?), ;aZ_09.+=\n\t\x80\xff";

	for (int i = 0; i < 20000; i++)
	{
		int len = random() % 80;
		int room = 1 + random() % 60;
		char *query = malloc(len + 1);
		char *squeezed = malloc(room);
		int n;

		for (int j = 0; j < len; j++)
			query[j] = letters[random() % (sizeof(letters) - 1)];
		query[len] = '\0';
		n = lg_statements_squeeze(query, squeezed, room);
		if (n >= room || (int) strlen(squeezed) != n)
			complain("garbage", i, 0, n, room);
		free(query);
		free(squeezed);
	}
}

int
main(int argc, char **argv)
{
	if (argc < 2 || argc > 3)
		return 2;
	srandom(atoi(argv[1]));
	if (argc == 3)
		mistake = argv[2];
	try_bounds();
	for (int kind = 0; kind < 4; kind++)
		try_percentiles(kind);
	try_statements();
	try_garbage();
	printf("%d failures\n", failures);
	return failures > 0;
}
