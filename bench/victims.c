/*-------------------------------------------------------------------------
 * victims.c
 *		Sessions that get themselves killed, and say by their own clock when.
 *
 *		victims react TRIALS LIMIT_MS CONNINFO CONNINFO
 *			One lane per conninfo, all trials at once in turn: begin a transaction,
 *			do nothing, and wait for the end.  Prints "LANE MS" per trial: how long
 *			after the limit the end arrived.
 *		victims pause SECONDS COUNT LIMIT_MS FROM_MS TO_MS CONNINFO...
 *			COUNT sessions per lane, each in short transactions with one pause of
 *			FROM to TO ms in the middle.  Prints per lane how many were ended, and
 *			of these how many before the limit by the client's clock.
 *		victims pile TRIALS COUNT WAIT|COMMIT STATEMENT CONNINFO
 *			One session updates a row and stays; COUNT others want the row.  With
 *			WAIT it waits to be ended (STATEMENT is what it runs meanwhile; empty:
 *			nothing), with COMMIT it commits by itself after 1.2 s.  Prints per trial
 *			the ms from its end to the end of the last of the others.
 *
 * Everything is measured with the monotonic clock of this process, between what
 * libpq hands over: what a client can know.
 *-------------------------------------------------------------------------
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_SESSIONS 1024

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "victims: %s: %s\n", what, why);
	exit(1);
}

/* What a client is told at its end is no news here. */
static void
ignore(void *arg, const char *message)
{
	(void) arg;
	(void) message;
}

static PGconn *
open_session(const char *conninfo)
{
	PGconn *conn = PQconnectdb(conninfo);

	PQsetNoticeProcessor(conn, ignore, NULL);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("no connection", PQerrorMessage(conn));
	return conn;
}

static void
run(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail(sql, PQerrorMessage(conn));
	PQclear(result);
}

/* Has the server ended the session?  Reads what there is. */
static bool
is_ended(PGconn *conn)
{
	return PQconsumeInput(conn) == 0 || PQstatus(conn) == CONNECTION_BAD;
}

static struct pollfd fds[MAX_SESSIONS]; /* as wait_for_events() has left them */
static short wanted[MAX_SESSIONS];		/* events to wait for; 0: something to read */

static void
wait_for_events(PGconn **conns, int n, double until)
{
	double left = until - now_ms();

	for (int i = 0; i < n; i++)
	{
		fds[i].fd = conns[i] != NULL ? PQsocket(conns[i]) : -1;
		fds[i].events = wanted[i] != 0 ? wanted[i] : POLLIN;
	}
	poll(fds, n, left < 0 ? 0 : (int) left + 1);
}

/* --- react ------------------------------------------------------------------ */

static void
react(int trials, double limit, char **conninfos, int lanes)
{
	for (int trial = 0; trial < trials; trial++)
	{
		PGconn *conns[8];
		double began[8];
		int open = lanes;

		/* whose turn it is to be first changes, and when within a second they begin */
		for (int i = 0; i < lanes; i++)
			conns[(trial + i) % lanes] = open_session(conninfos[(trial + i) % lanes]);
		usleep(rand() % 300000);
		for (int i = 0; i < lanes; i++)
		{
			int lane = (trial + i) % lanes;

			run(conns[lane], "BEGIN; SELECT 1");
			began[lane] = now_ms();
		}
		while (open > 0)
		{
			wait_for_events(conns, lanes, now_ms() + 1000);
			for (int lane = 0; lane < lanes; lane++)
			{
				if (conns[lane] == NULL || !is_ended(conns[lane]))
					continue;
				printf("%d %.2f\n", lane, now_ms() - began[lane] - limit);
				PQfinish(conns[lane]);
				conns[lane] = NULL;
				open--;
			}
		}
	}
}

/* --- pause ------------------------------------------------------------------ */

typedef struct Pauser
{
	PGconn *conn;
	int lane;
	int step;	  /* -1 connects, 0 begins, 1 pauses, 2 ends its transaction */
	short events; /* that it waits for while it connects */
	double since; /* when the server said that it is idle */
	double until; /* of the pause */
} Pauser;

typedef struct Tally
{
	long pauses;
	long ended;
	long below;
} Tally;

static void
send_step(Pauser *p)
{
	static const char *const steps[] = {"BEGIN; SELECT 1", NULL, "SELECT 2; COMMIT"};

	if (PQsendQuery(p->conn, steps[p->step]) == 0)
		p->since = -1; /* it is ended; seen when read */
}

/* Everything that has arrived; true when the statement is over. */
static bool
drain(PGconn *conn)
{
	while (!PQisBusy(conn))
	{
		PGresult *result = PQgetResult(conn);

		if (result == NULL)
			return true;
		PQclear(result);
	}
	return false;
}

/* Begin to connect again; nobody else is to wait for that. */
static void
restart(Pauser *p, char **conninfos)
{
	PQfinish(p->conn);
	p->conn = PQconnectStart(conninfos[p->lane]);
	if (p->conn == NULL || PQstatus(p->conn) == CONNECTION_BAD)
		fail("no connection", p->conn ? PQerrorMessage(p->conn) : "out of memory");
	PQsetNoticeProcessor(p->conn, ignore, NULL);
	p->step = -1;
	p->events = POLLOUT;
}

static void
go_on_connecting(Pauser *p)
{
	switch (PQconnectPoll(p->conn))
	{
		case PGRES_POLLING_READING:
			p->events = POLLIN;
			break;
		case PGRES_POLLING_WRITING:
			p->events = POLLOUT;
			break;
		case PGRES_POLLING_OK:
			p->step = 0;
			p->events = POLLIN;
			send_step(p);
			break;
		default:
			fail("no connection", PQerrorMessage(p->conn));
	}
}

static void
look(Pauser *p, Tally *tally, double limit, double from, double to, char **conninfos)
{
	if (p->step == -1)
	{
		go_on_connecting(p);
		return;
	}
	if (is_ended(p->conn))
	{
		tally->ended++;
		if (p->step == 1 && now_ms() - p->since <= limit)
			tally->below++;
		restart(p, conninfos);
		return;
	}
	if (p->step == 1)
	{
		if (now_ms() < p->until)
			return;
		p->step = 2;
		send_step(p);
		return;
	}
	if (!drain(p->conn))
		return;
	if (PQstatus(p->conn) == CONNECTION_BAD)
	{
		tally->ended++;
		restart(p, conninfos);
		return;
	}
	if (p->step == 0)
	{
		p->step = 1;
		p->since = now_ms();
		p->until = p->since + from + (to - from) * (rand() / (double) RAND_MAX);
		tally->pauses++;
	}
	else
	{
		p->step = 0;
		send_step(p);
	}
}

static void
pause_and_go(double seconds, int count, double limit, double from, double to, char **conninfos,
			 int lanes)
{
	static Pauser pausers[MAX_SESSIONS];
	static PGconn *conns[MAX_SESSIONS];
	Tally tallies[8] = {{0, 0, 0}};
	int n = count * lanes;
	double end = now_ms() + seconds * 1000;

	if (n > MAX_SESSIONS)
		fail("pause", "too many sessions");
	for (int i = 0; i < n; i++)
	{
		pausers[i].lane = i % lanes;
		pausers[i].conn = open_session(conninfos[i % lanes]);
		pausers[i].events = POLLIN;
		send_step(&pausers[i]);
	}
	while (now_ms() < end)
	{
		double next = now_ms() + 50;

		for (int i = 0; i < n; i++)
		{
			if (pausers[i].step == 1 && pausers[i].until < next)
				next = pausers[i].until;
			conns[i] = pausers[i].conn;
			wanted[i] = pausers[i].events;
		}
		wait_for_events(conns, n, next);
		for (int i = 0; i < n; i++)
		{
			if (fds[i].revents != 0 || (pausers[i].step == 1 && now_ms() >= pausers[i].until))
				look(&pausers[i], &tallies[pausers[i].lane], limit, from, to, conninfos);
		}
	}
	for (int lane = 0; lane < lanes; lane++)
		printf("%d %ld %ld %ld\n", lane, tallies[lane].pauses, tallies[lane].ended,
			   tallies[lane].below);
}

/* --- pile ------------------------------------------------------------------- */

static double
one_pile(PGconn *blocker, PGconn **waiters, int count, bool commits, const char *statement)
{
	double ended = 0;
	int open = count;
	double commit_at;

	run(blocker, "BEGIN; UPDATE pile SET v = v + 1 WHERE id = 1");
	if (statement[0] != '\0')
		PQsendQuery(blocker, statement);
	for (int i = 0; i < count; i++)
		PQsendQuery(waiters[i], "UPDATE pile SET v = v + 1 WHERE id = 1");
	commit_at = now_ms() + 1200;

	while (open > 0)
	{
		PGconn *all[MAX_SESSIONS];

		memcpy(all, waiters, sizeof(PGconn *) * count);
		all[count] = ended == 0 ? blocker : NULL;
		wait_for_events(all, count + 1, commits && ended == 0 ? commit_at : now_ms() + 1000);
		if (ended == 0 && commits && now_ms() >= commit_at)
		{
			PQsendQuery(blocker, "COMMIT");
			PQflush(blocker);
			ended = now_ms();
			drain(blocker);
		}
		else if (ended == 0 && !commits && (is_ended(blocker) || (statement[0] && drain(blocker))))
			ended = now_ms();
		open = 0;
		for (int i = 0; i < count; i++)
		{
			if (is_ended(waiters[i]))
				fail("a waiter was ended", PQerrorMessage(waiters[i]));
			if (!drain(waiters[i]))
				open++;
		}
	}
	return now_ms() - ended;
}

static void
pile(int trials, int count, bool commits, const char *statement, const char *conninfo)
{
	PGconn *waiters[MAX_SESSIONS];

	for (int i = 0; i < count; i++)
		waiters[i] = open_session(conninfo);
	for (int trial = 0; trial < trials; trial++)
	{
		PGconn *blocker = open_session(conninfo);

		printf("%.2f\n", one_pile(blocker, waiters, count, commits, statement));
		fflush(stdout);
		PQfinish(blocker);

		/* two seconds later it is judged whether the action has helped: it has */
		usleep(commits ? 200000 : 2500000);
	}
}

int
main(int argc, char **argv)
{
	srand(1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc >= 5 && strcmp(argv[1], "react") == 0)
		react(atoi(argv[2]), atof(argv[3]), argv + 4, argc - 4);
	else if (argc >= 8 && strcmp(argv[1], "pause") == 0)
		pause_and_go(atof(argv[2]), atoi(argv[3]), atof(argv[4]), atof(argv[5]), atof(argv[6]),
					 argv + 7, argc - 7);
	else if (argc == 7 && strcmp(argv[1], "pile") == 0)
		pile(atoi(argv[2]), atoi(argv[3]), strcmp(argv[4], "COMMIT") == 0, argv[5], argv[6]);
	else
		fail("arguments", "see the head of victims.c");
	return 0;
}
