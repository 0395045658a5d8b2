/*-------------------------------------------------------------------------
 * crowd.c
 *		Clients of a server that is too small for them, and what they meet.
 *
 *		crowd park COUNT CONNINFO
 *			Open COUNT connections, use each once, say "ready" and leave them idle
 *			until standard input ends.  Per connection that the server closes:
 *			"TIME ended NUMBER SQLSTATE MESSAGE", on one line.
 *		crowd visit COUNT CYCLE_MS HOLD_MS SECONDS CONNINFO
 *			COUNT visitors, who come one after another during the first cycle: connect,
 *			keep the server busy for HOLD_MS, disconnect, and think for the rest of a
 *			cycle.  Who is refused tries again 250 ms later.  It ends after SECONDS or at
 *			SIGTERM, when those inside have been served.  Per attempt:
 *				TIME refused SQLSTATE MS
 *				TIME served READY MS
 *				TIME failed SQLSTATE MS
 *			and at the end, for each still outside, "TIME outside - MS".  TIME is when
 *			it was over, READY when the session was there; MS how long the visitor had
 *			wanted to come in by then, or until READY.
 *
 * Times are seconds since 1970 by this machine's clock, which is the server's too.
 * Visitors are threads with libpq, so that hundreds of them cost little.
 *-------------------------------------------------------------------------
 */
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_CLIENTS 4096
#define RETRY_MS 250

/* Set before any thread, never changed after. */
static const char *conninfo;
static double cycle;
static double hold;
static double start;
static int count;

/* Brought forward by SIGTERM. */
static _Atomic double end;

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* In slices: a visitor who sleeps hears of the end. */
static void
nap_until(double when)
{
	double left;

	while ((left = when - now()) > 0 && (end == 0 || now() < end))
	{
		struct timespec ts = {.tv_nsec = left < 0.2 ? (long) (left * 1e9) : 200000000};

		nanosleep(&ts, NULL);
	}
}

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "crowd: %s: %s\n", what, why);
	exit(1);
}

static bool
await(PGconn *conn, short events)
{
	struct pollfd fd = {.fd = PQsocket(conn), .events = events};

	return fd.fd >= 0 && poll(&fd, 1, -1) >= 0;
}

/*
 * As PQconnectdb(); but where the server says no, the message of the connection
 * is the SQLSTATE, which libpq keeps to itself otherwise.
 */
static PGconn *
connect_for_state(void)
{
	PGconn *conn = PQconnectStart(conninfo);
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (conn == NULL)
		fail("could not connect", "out of memory");
	PQsetErrorVerbosity(conn, PQERRORS_SQLSTATE);
	while (PQstatus(conn) != CONNECTION_BAD && status != PGRES_POLLING_OK &&
		   status != PGRES_POLLING_FAILED)
	{
		if (!await(conn, status == PGRES_POLLING_READING ? POLLIN : POLLOUT))
			break;
		status = PQconnectPoll(conn);
	}
	return conn;
}

/* The SQLSTATE in a message of not much else, or "-"; into the caller's buffer. */
static const char *
state_of(PGconn *conn, char *state)
{
	const char *found = strstr(PQerrorMessage(conn), "FATAL:");

	if (found == NULL)
		found = strstr(PQerrorMessage(conn), "ERROR:");
	if (found == NULL || sscanf(found + 6, " %5[0-9A-Z]", state) != 1)
		strcpy(state, "-");
	return state;
}

/* ------------------------------------------------------------------------
 * Visitors
 * ------------------------------------------------------------------------
 */

/* One visit, from wanting to come in until it is over. */
static void
visit(double wanted)
{
	char statement[128];
	char state[16];

	snprintf(statement, sizeof(statement), "SELECT pg_sleep(%f)", hold / 1000);
	while (now() < end)
	{
		PGconn *conn = connect_for_state();
		double ready = now();
		PGresult *result;
		bool served;

		if (PQstatus(conn) != CONNECTION_OK)
		{
			state_of(conn, state);
			PQfinish(conn);
			printf("%.6f %s %s %.1f\n", ready, strcmp(state, "53300") == 0 ? "refused" : "failed",
				   state, (ready - wanted) * 1000);
			nap_until(ready + RETRY_MS / 1000.0);
			continue;
		}
		result = PQexec(conn, statement);
		served = PQresultStatus(result) == PGRES_TUPLES_OK;
		PQclear(result);
		if (served)
			printf("%.6f served %.6f %.1f\n", now(), ready, (ready - wanted) * 1000);
		else
			printf("%.6f failed %s %.1f\n", now(), state_of(conn, state), (ready - wanted) * 1000);
		PQfinish(conn);
		return;
	}
	printf("%.6f outside - %.1f\n", now(), (now() - wanted) * 1000);
}

static void *
visitor(void *arg)
{
	double wanted = start + cycle / 1000 * *(int *) arg / count;

	while (wanted < end)
	{
		nap_until(wanted);
		visit(wanted);
		wanted = now() + (cycle - hold) / 1000;
	}
	return NULL;
}

static void
run_visitors(double seconds)
{
	static pthread_t threads[MAX_CLIENTS];
	static int numbers[MAX_CLIENTS];
	pthread_attr_t attributes;
	struct timespec patience = {.tv_sec = (time_t) seconds};
	sigset_t term;

	/* no visitor is to be interrupted: only we take it, when we ask */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 256 * 1024);
	start = now();
	end = start + seconds;
	for (int i = 0; i < count; i++)
	{
		numbers[i] = i;
		if (pthread_create(&threads[i], &attributes, visitor, &numbers[i]) != 0)
			fail("could not start a visitor", "too many threads");
	}
	if (sigtimedwait(&term, NULL, &patience) == SIGTERM)
		end = now();
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* ------------------------------------------------------------------------
 * A pool that nobody uses
 * ------------------------------------------------------------------------
 */

typedef struct Parked
{
	PGconn *conn;
	char state[16];
	char message[2048];
} Parked;

/*
 * A receiver of notices: to a connection that waits for no answer, libpq hands
 * over the server's last words as one.  Line ends become bars.
 */
static void
listen_to(void *arg, const PGresult *result)
{
	Parked *parked = arg;
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	snprintf(parked->state, sizeof(parked->state), "%s", state != NULL ? state : "-");
	snprintf(parked->message, sizeof(parked->message), "%s", PQresultErrorMessage(result));
	for (char *at = parked->message; (at = strchr(at, '\n')) != NULL;)
		*at = '|';
}

static void
park(void)
{
	static Parked parked[MAX_CLIENTS];
	static struct pollfd fds[MAX_CLIENTS + 1];

	for (int i = 0; i < count; i++)
	{
		PGconn *conn = PQconnectdb(conninfo);

		if (PQstatus(conn) != CONNECTION_OK)
			fail("could not connect", PQerrorMessage(conn));
		PQclear(PQexec(conn, "SELECT 1"));
		strcpy(parked[i].state, "-");
		PQsetNoticeReceiver(conn, listen_to, &parked[i]);
		parked[i].conn = conn;
		fds[i].fd = PQsocket(conn);
		fds[i].events = POLLIN;
	}
	fds[count].fd = STDIN_FILENO;
	fds[count].events = POLLIN;
	puts("ready");
	while (poll(fds, count + 1, -1) >= 0 && fds[count].revents == 0)
	{
		for (int i = 0; i < count; i++)
		{
			if (fds[i].revents == 0)
				continue;
			if (PQconsumeInput(parked[i].conn) == 1)
			{
				(void) PQisBusy(parked[i].conn); /* reads it */
				continue;
			}
			printf("%.6f ended %d %s %s\n", now(), i, parked[i].state, parked[i].message);
			fds[i].fd = -1;
		}
	}
}

int
main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	count = argc > 2 ? atoi(argv[2]) : 0;
	conninfo = argv[argc - 1];
	if (count > 0 && count <= MAX_CLIENTS && argc == 4 && strcmp(argv[1], "park") == 0)
		park();
	else if (count > 0 && count <= MAX_CLIENTS && argc == 7 && strcmp(argv[1], "visit") == 0)
	{
		cycle = atof(argv[3]);
		hold = atof(argv[4]);
		run_visitors(atof(argv[5]));
	}
	else
	{
		fprintf(stderr, "usage: crowd park COUNT CONNINFO\n"
						"       crowd visit COUNT CYCLE_MS HOLD_MS SECONDS CONNINFO\n");
		return 2;
	}
	return 0;
}
