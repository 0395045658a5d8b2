/*-------------------------------------------------------------------------
 * stat_file.c
 *		Small files beside the server's statistics, which outlive a crash.
 *
 * Each holds one record, whose beginning tells what it is.
 *
 * Locking: none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"

#include "stat_file.h"

/*
 * Read the file.  Returns false if there is none or it is too short; the log says
 * so unless it is not there.  What it holds is to be judged by the caller.
 */
bool
lg_stat_file_read(const char *path, void *record, Size size)
{
	FILE *file = AllocateFile(path, PG_BINARY_R);
	bool whole;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG,
					(errcode_for_file_access(), errmsg("could not read file \"%s\": %m", path)));
		return false;
	}
	whole = fread(record, size, 1, file) == 1;
	if (!whole)
		ereport(LOG, (errmsg("ignoring invalid file \"%s\"", path)));
	FreeFile(file);
	return whole;
}

/*
 * Remove the file if it is there.  Else raises an error, and it is left.  Should its
 * removal perhaps not outlive a crash of the machine, there is a WARNING.
 */
void
lg_stat_file_remove(const char *path)
{
	char folder[MAXPGPATH];

	if (unlink(path) != 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not remove file \"%s\": %m", path)));
	strlcpy(folder, path, sizeof(folder));
	get_parent_directory(folder);
	(void) fsync_fname_ext(folder, true, false, WARNING);
}

/*
 * Write the file, so that it is there, whole, when this returns.  Else raises an
 * error, and the old one is left.
 */
void
lg_stat_file_write(const char *path, const void *record, Size size)
{
	char temporary[MAXPGPATH];
	FILE *file;

	snprintf(temporary, sizeof(temporary), "%s.%d.tmp", path, MyProcPid);
	file = AllocateFile(temporary, PG_BINARY_W);
	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create file \"%s\": %m", temporary)));
	if (fwrite(record, size, 1, file) != 1 || FreeFile(file) != 0)
	{
		int save_errno = errno;

		unlink(temporary);
		errno = save_errno;
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not write file \"%s\": %m", temporary)));
	}
	if (durable_rename(temporary, path, LOG) != 0)
	{
		unlink(temporary);
		ereport(ERROR, (errmsg("could not write file \"%s\"", path),
						errdetail("The server log says why.")));
	}
}
