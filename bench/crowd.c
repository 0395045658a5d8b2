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
 *		crowd knock COUNT SECONDS SOCKET USER DATABASE
 *			COUNT processes that do nothing but try, on raw sockets, as fast as they
 *			are turned away.  Prints "ATTEMPTS REFUSED OTHERS SECONDS": REFUSED were
 *			answered with SQLSTATE 53300.
 *
 * Times are seconds since 1970 by this machine's clock, which is the server's too.
 * Visitors are threads with libpq, so that hundreds of them cost little.
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
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

/* ------------------------------------------------------------------------
 * As fast as sockets are
 * ------------------------------------------------------------------------
 */

typedef struct Knocks
{
	long attempts;
	long refused;
	long others;
} Knocks;

/* A startup packet of protocol 3.0; returns its length. */
static size_t
make_packet(char *packet, size_t size, const char *user, const char *database)
{
	const char *words[] = {"user", user, "database", database, "application_name", "knock"};
	size_t length = 8;
	uint32_t number;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		if (length + strlen(words[i]) + 2 > size)
			fail("startup packet too long", words[i]);
		strcpy(packet + length, words[i]);
		length += strlen(words[i]) + 1;
	}
	packet[length++] = '\0';
	number = htonl((uint32_t) length);
	memcpy(packet, &number, 4);
	number = htonl(196608);
	memcpy(packet + 4, &number, 4);
	return length;
}

/* What an answer has come to so far. */
typedef enum Answer
{
	GOES_ON,
	REFUSED, /* an error with SQLSTATE 53300 */
	OTHER	 /* another error, or a session */
} Answer;

static Answer
read_error(const char *fields, const char *end)
{
	for (; fields < end && *fields != '\0'; fields += strlen(fields) + 1)
	{
		if (*fields == 'C')
			return strcmp(fields + 1, "53300") == 0 ? REFUSED : OTHER;
	}
	return OTHER;
}

/* Message by message: before its error a backend may have let the client in. */
static Answer
read_answer(const char *answer, size_t length)
{
	size_t at = 0;

	while (at + 5 <= length)
	{
		uint32_t size;

		memcpy(&size, answer + at + 1, 4);
		size = ntohl(size);
		if (answer[at] == 'Z')
			return OTHER;
		if (at + 1 + size > length)
			break;
		if (answer[at] == 'E')
			return read_error(answer + at + 5, answer + at + 1 + size);
		at += 1 + size;
	}
	return GOES_ON;
}

static void
knock_once(const struct sockaddr_un *address, const char *packet, size_t size, Knocks *knocks)
{
	char answer[4096];
	size_t length = 0;
	ssize_t got;
	Answer said = GOES_ON;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0)
		fail("no socket", "socket()");
	if (connect(fd, (const struct sockaddr *) address, sizeof(*address)) != 0)
		fail("could not connect", address->sun_path);
	knocks->attempts++;
	if (send(fd, packet, size, MSG_NOSIGNAL) == (ssize_t) size)
	{
		while (said == GOES_ON && length < sizeof(answer) &&
			   (got = recv(fd, answer + length, sizeof(answer) - length, 0)) > 0)
		{
			length += (size_t) got;
			said = read_answer(answer, length);
		}
	}
	if (said == REFUSED)
		knocks->refused++;
	else
		knocks->others++;
	close(fd);
}

static void
knock(double seconds, const char *path, const char *user, const char *database)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char packet[1024];
	size_t size = make_packet(packet, sizeof(packet), user, database);
	int ends[2];
	Knocks knocks = {0};
	Knocks sum = {0};

	if (strlen(path) >= sizeof(address.sun_path) || pipe(ends) != 0)
		fail("cannot knock at", path);
	strcpy(address.sun_path, path);
	start = now();
	for (int i = 0; i < count; i++)
	{
		if (fork() != 0)
			continue;
		while (now() < start + seconds)
			knock_once(&address, packet, size, &knocks);
		if (write(ends[1], &knocks, sizeof(knocks)) != sizeof(knocks))
			_exit(1);
		_exit(0);
	}
	close(ends[1]);
	for (int i = 0; i < count; i++)
	{
		if (read(ends[0], &knocks, sizeof(knocks)) != sizeof(knocks))
			fail("a process that knocks", "has failed");
		sum.attempts += knocks.attempts;
		sum.refused += knocks.refused;
		sum.others += knocks.others;
	}
	printf("%ld %ld %ld %.3f\n", sum.attempts, sum.refused, sum.others, now() - start);
	while (wait(NULL) > 0)
		;
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
	else if (count > 0 && argc == 7 && strcmp(argv[1], "knock") == 0)
		knock(atof(argv[3]), argv[4], argv[5], argv[6]);
	else
	{
		fprintf(stderr, "usage: crowd park COUNT CONNINFO\n"
						"       crowd visit COUNT CYCLE_MS HOLD_MS SECONDS CONNINFO\n"
						"       crowd knock COUNT SECONDS SOCKET USER DATABASE\n");
		return 2;
	}
	return 0;
}
