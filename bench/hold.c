/*-------------------------------------------------------------------------
 * hold.c
 *		Hold many connections open until standard input ends.
 *
 *		hold -n COUNT [-f FIRST] [-s SQL] [-w SQL] CONNINFO
 *
 * Connection number i (from FIRST, default 1) runs the -s statement and waits
 * for its end; then it sends the -w statement and does not wait, because that
 * is the one that is meant to block.  In both, %d stands for i and %p for i - 1.
 * Connections are opened one after another, so a chain can be built.  "ready"
 * on standard output says that everything has been sent.
 *
 * One process and one socket per connection: a thousand of them cost the client
 * side a few megabytes, where a thousand psqls would cost the machine.
 *-------------------------------------------------------------------------
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void
fail(const char *what, int number, const char *why)
{
	fprintf(stderr, "hold: %s, connection %d: %s\n", what, number, why);
	exit(1);
}

/* The statement for connection "number"; the buffer is good until the next call. */
static const char *
statement_for(const char *template, int number)
{
	static char text[8192];
	char *end = text;

	for (; *template != '\0'; template ++)
	{
		if (end - text > (int) sizeof(text) - 16)
			fail("statement too long", number, template);
		if (template[0] == '%' && (template[1] == 'd' || template[1] == 'p'))
		{
			end += sprintf(end, "%d", template[1] == 'd' ? number : number - 1);
			template ++;
		}
		else
			*end++ = *template;
	}
	*end = '\0';
	return text;
}

/* A descriptor per connection is more than many systems allow at first. */
static void
raise_descriptor_limit(int count)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t) count + 16)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void) setrlimit(RLIMIT_NOFILE, &limit);
}

static void
open_one(const char *conninfo, int number, const char *setup, const char *wait)
{
	PGconn *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		fail("could not connect", number, PQerrorMessage(conn));
	if (setup != NULL)
	{
		PGresult *result = PQexec(conn, statement_for(setup, number));

		if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
			fail("first statement failed", number, PQerrorMessage(conn));
		PQclear(result);
	}
	if (wait != NULL && PQsendQuery(conn, statement_for(wait, number)) == 0)
		fail("could not send", number, PQerrorMessage(conn));
	/* never closed: the end of the process does that */
}

int
main(int argc, char **argv)
{
	int count = 0;
	int first = 1;
	const char *setup = NULL;
	const char *wait = NULL;
	char rest[256];
	int option;

	while ((option = getopt(argc, argv, "n:f:s:w:")) != -1)
	{
		switch (option)
		{
			case 'n':
				count = atoi(optarg);
				break;
			case 'f':
				first = atoi(optarg);
				break;
			case 's':
				setup = optarg;
				break;
			case 'w':
				wait = optarg;
				break;
			default:
				return 2;
		}
	}
	if (count <= 0 || optind != argc - 1)
	{
		fprintf(stderr, "usage: hold -n COUNT [-f FIRST] [-s SQL] [-w SQL] CONNINFO\n");
		return 2;
	}

	raise_descriptor_limit(count);
	for (int i = 0; i < count; i++)
		open_one(argv[optind], first + i, setup, wait);
	puts("ready");
	fflush(stdout);

	while (read(STDIN_FILENO, rest, sizeof(rest)) > 0)
		;
	return 0;
}
