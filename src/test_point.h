/*-------------------------------------------------------------------------
 * test_point.h
 *		Places where a test can hold a process, in a test build only.
 *
 * Built with -DLG_TEST (make COPT=-DLG_TEST), a process that comes to a point
 * whose name is that of a file in lg_test/, in the data folder, says so with a
 * file NAME.reached and stays until the first file is gone, or for a minute.
 * Otherwise a point is nothing.
 *-------------------------------------------------------------------------
 */
#ifndef LG_TEST_POINT_H
#define LG_TEST_POINT_H

#ifdef LG_TEST

#include <fcntl.h>
#include <unistd.h>

static inline void
lg_test_point(const char *name)
{
	char asked[MAXPGPATH];
	char reached[MAXPGPATH];

	snprintf(asked, sizeof(asked), "lg_test/%s", name);
	if (access(asked, F_OK) != 0)
		return;
	snprintf(reached, sizeof(reached), "%s.reached", asked);
	close(open(reached, O_CREAT | O_WRONLY, 0600));
	for (int ms = 0; ms < 60000 && access(asked, F_OK) == 0; ms++)
		pg_usleep(1000);
}

#define LG_TEST_POINT(name) lg_test_point(name)
#else
#define LG_TEST_POINT(name) ((void) 0)
#endif

#endif /* LG_TEST_POINT_H */
