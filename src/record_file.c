/*-------------------------------------------------------------------------
 * record_file.c
 *		What is not in the tables when the server stops.
 *
 * Workers end before the last records can be written, and a standby writes none
 * at all.  So the postmaster, who ends last, puts what is left into a file when
 * it ends cleanly, and reads it back when it starts.  The file stays until its
 * records are in their tables, so that a start that fails, or a crash soon after,
 * does not lose them; writing them twice does no harm.  Neither may keep a server
 * from starting or stopping: what goes wrong is said in the server log.
 *
 * In the file: a header, each record behind the number of its kind, the number
 * that is none, the names of relations, and the checksum of all that.
 *
 * Not after an immediate stop: the postmaster's exit code is 0 then as well, but its
 * children were killed wherever they were, holding a lock or with a record half
 * written.  A clean stop ends with a shutdown checkpoint, by the checkpointer, who ends
 * after all who write records; the control file says so.
 *
 * Locking: none; when the postmaster does this, nobody else lives.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog_internal.h"
#include "catalog/pg_control.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "idle_episodes.h"
#include "incidents.h"
#include "lock_episodes.h"
#include "names.h"
#include "refusals.h"
#include "record_file.h"
#include "shared.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/pg_lifeguard.records"
#define TEMPORARY_NAME FILE_NAME ".tmp"
#define MAGIC 0x4C475231 /* changes with the meaning of what follows */

typedef struct FileHeader
{
	uint32 magic;
	uint32 sizes[LG_RECORD_KINDS]; /* of a record */
	uint32 names_size;
} FileHeader;

/* The file while it is written or read. */
typedef struct Stream
{
	FILE *file;
	pg_crc32c crc;
	bool fine; /* so far */
} Stream;

static void
put(Stream *stream, const void *data, Size size)
{
	COMP_CRC32C(stream->crc, data, size);
	stream->fine = stream->fine && fwrite(data, size, 1, stream->file) == 1;
}

static bool
get(Stream *stream, void *data, Size size)
{
	stream->fine = stream->fine && fread(data, size, 1, stream->file) == 1;
	if (stream->fine)
		COMP_CRC32C(stream->crc, data, size);
	return stream->fine;
}

static FileHeader
make_header(void)
{
	FileHeader header = {.magic = MAGIC, .names_size = sizeof(LgNames)};

	for (int kind = 0; kind < LG_RECORD_KINDS; kind++)
		header.sizes[kind] = lg_records_type(kind)->size;
	return header;
}

/* Write what is not in the tables, due or not; with stream NULL nothing is written.  Returns how many. */
static int
write_records(Stream *stream)
{
	int n = 0;

	for (uint32 kind = 0; kind < LG_RECORD_KINDS; kind++)
	{
		LgRing *ring = lg_shared->records[kind];

		for (uint64 number = lg_ring_first(ring); number <= ring->last; number++)
		{
			const LgRecordHead *head = lg_ring_get(ring, number);

			if (head->flushed == head->revision)
				continue;
			n++;
			if (stream == NULL)
				continue;
			put(stream, &kind, sizeof(kind));
			put(stream, head, lg_records_type(kind)->size);
		}
	}
	return n;
}

static bool
write_file(FILE *file)
{
	Stream stream = {.file = file, .fine = true};
	FileHeader header = make_header();
	uint32 end = LG_RECORD_KINDS;
	pg_crc32c crc;

	INIT_CRC32C(stream.crc);
	put(&stream, &header, sizeof(header));
	(void) write_records(&stream);
	put(&stream, &end, sizeof(end));
	put(&stream, lg_shared->names, sizeof(LgNames));
	crc = stream.crc;
	FIN_CRC32C(crc);
	put(&stream, &crc, sizeof(crc));
	return stream.fine;
}

/* Has the server been shut down, and not just killed?  Where that cannot be read it has not. */
static bool
was_shut_down(void)
{
	FILE *file = AllocateFile(XLOG_CONTROL_FILE, PG_BINARY_R);
	ControlFileData control;
	bool read;

	if (file == NULL)
		return false;
	read = fread(&control, sizeof(control), 1, file) == 1;
	FreeFile(file);
	return read && (control.state == DB_SHUTDOWNED || control.state == DB_SHUTDOWNED_IN_RECOVERY);
}

/*
 * The postmaster's last act, as an on_shmem_exit callback: save what is not in
 * the tables.  Only when the server ends cleanly.
 */
void
lg_record_file_save(int code, Datum arg)
{
	FILE *file;
	int n;
	bool written;

	if (code != 0 || lg_shared == NULL || !was_shut_down())
		return;

	/* what went on until now is over */
	lg_lock_episodes_close_all(GetCurrentTimestamp());
	lg_idle_episodes_close_all(GetCurrentTimestamp());
	lg_refusals_close();
	lg_incidents_close();

	n = write_records(NULL);
	if (n == 0)
	{
		lg_record_file_remove();
		return;
	}

	file = AllocateFile(TEMPORARY_NAME, PG_BINARY_W);
	written = file != NULL && write_file(file);
	if (file != NULL && FreeFile(file) != 0)
		written = false;
	if (written && durable_rename(TEMPORARY_NAME, FILE_NAME, LOG) == 0)
		return;

	ereport(LOG, (errcode_for_file_access(),
				  errmsg("could not save %d records in file \"%s\": %m", n, FILE_NAME)));
	unlink(TEMPORARY_NAME);
}

/* Read all behind the header; false if it is not what was written. */
static bool
read_records(Stream *stream)
{
	char *record = NULL;
	uint32 kind;
	pg_crc32c expected;
	pg_crc32c crc;

	while (get(stream, &kind, sizeof(kind)) && kind < LG_RECORD_KINDS)
	{
		record = realloc(record, lg_records_type(kind)->size);
		if (record == NULL || !get(stream, record, lg_records_type(kind)->size))
			break;
		lg_records_restore(kind, record);
	}
	free(record);
	if (!stream->fine || kind != LG_RECORD_KINDS || !get(stream, lg_shared->names, sizeof(LgNames)))
		return false;
	expected = stream->crc;
	FIN_CRC32C(expected);
	return get(stream, &crc, sizeof(crc)) && EQ_CRC32C(crc, expected);
}

/* Read the file.  Returns what is wrong with it, or NULL. */
static const char *
read_file(FILE *file)
{
	Stream stream = {.file = file, .fine = true};
	FileHeader expected = make_header();
	FileHeader header;

	INIT_CRC32C(stream.crc);
	if (!get(&stream, &header, sizeof(header)) || memcmp(&header, &expected, sizeof(header)) != 0)
		return "It was not written by this version of pg_lifeguard.";
	if (read_records(&stream))
	{
		lg_names_restored();
		return NULL;
	}
	lg_records_forget();
	memset(lg_shared->names, 0, sizeof(LgNames));
	return "It is damaged.";
}

/*
 * Remove the file, if there is one: all its records are in their tables.
 */
void
lg_record_file_remove(void)
{
	if (!lg_shared->records_in_file)
		return;
	lg_shared->records_in_file = false;
	if (unlink(FILE_NAME) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(), errmsg("could not remove file \"%s\": %m", FILE_NAME)));
}

/*
 * Read the file back into the rings.  Called by the postmaster when it has
 * created the shared memory.
 */
void
lg_record_file_load(void)
{
	FILE *file = AllocateFile(FILE_NAME, PG_BINARY_R);
	const char *problem;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not read file \"%s\": %m", FILE_NAME)));
		return;
	}
	problem = read_file(file);
	FreeFile(file);
	lg_shared->records_in_file = true;

	if (problem == NULL)
		return;
	ereport(LOG, (errmsg("ignoring file \"%s\"", FILE_NAME), errdetail("%s", problem)));
	lg_record_file_remove();
}
