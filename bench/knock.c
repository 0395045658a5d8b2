/*-------------------------------------------------------------------------
 * knock.c
 *		Clients that do nothing but try, as fast as they are turned away.
 *
 *		knock COUNT SECONDS ATTEMPTS SOCKET USER DATABASE
 *			COUNT processes on raw sockets, until SECONDS have passed or, unless that
 *			is 0, ATTEMPTS are made by all together.  Prints "ATTEMPTS REFUSED OTHERS
 *			SECONDS": REFUSED were answered with SQLSTATE 53300.
 *
 * Without libpq, which takes longer for an attempt than the server does.
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "knock: %s: %s\n", what, why);
	exit(1);
}

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
	/* who is refused before anybody reads the packet has an answer all the same */
	(void) send(fd, packet, size, MSG_NOSIGNAL);
	while (said == GOES_ON && length < sizeof(answer) &&
		   (got = recv(fd, answer + length, sizeof(answer) - length, 0)) > 0)
	{
		length += (size_t) got;
		said = read_answer(answer, length);
	}
	if (said == REFUSED)
		knocks->refused++;
	else
		knocks->others++;
	close(fd);
}

/* What one process does; attempts 0: until the time is over. */
static Knocks
knock(double until, long attempts, const struct sockaddr_un *address, const char *packet,
	  size_t size)
{
	Knocks knocks = {0};

	while (now() < until && (attempts == 0 || knocks.attempts < attempts))
		knock_once(address, packet, size, &knocks);
	return knocks;
}

int
main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char packet[1024];
	size_t size;
	int ends[2];
	int count = argc == 7 ? atoi(argv[1]) : 0;
	long attempts = argc == 7 ? atol(argv[3]) : 0;
	double start = now();
	Knocks knocks;
	Knocks sum = {0};

	if (count <= 0 || (attempts != 0 && attempts < count))
	{
		fprintf(stderr, "usage: knock COUNT SECONDS ATTEMPTS SOCKET USER DATABASE\n");
		return 2;
	}
	if (strlen(argv[4]) >= sizeof(address.sun_path) || pipe(ends) != 0)
		fail("cannot knock at", argv[4]);
	strcpy(address.sun_path, argv[4]);
	size = make_packet(packet, sizeof(packet), argv[5], argv[6]);
	for (int i = 0; i < count; i++)
	{
		pid_t child = fork();

		if (child < 0)
			fail("cannot knock", "no process");
		if (child > 0)
			continue;
		/* the first ones share what cannot be divided */
		knocks = knock(start + atof(argv[2]), attempts / count + (i < attempts % count), &address,
					   packet, size);
		_exit(write(ends[1], &knocks, sizeof(knocks)) == sizeof(knocks) ? 0 : 1);
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
	return 0;
}
