/*-------------------------------------------------------------------------
 * ledger_file.c
 *		What is not in the ledger's table when the server stops.
 *
 * Workers end before the last entries can be written, and a standby writes none
 * at all.  So the postmaster, who ends last, puts what is left into a file when
 * it ends cleanly, and reads it back when it starts.  The file stays until its
 * entries are in the table, so that a start that fails, or a crash soon after,
 * does not lose them; writing them twice does no harm.  Neither may keep a server from starting or stopping: what goes wrong is
 * said in the server log.
 *
 * Locking: none; when the postmaster does this, nobody else lives.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"

#include "ledger.h"
#include "ledger_file.h"
#include "ring.h"
#include "shared.h"

#define FILE_NAME PGSTAT_STAT_PERMANENT_DIRECTORY "/pg_lifeguard.ledger"
#define TEMPORARY_NAME FILE_NAME ".tmp"
#define MAGIC 0x4C474C31 /* changes with the meaning of what follows */

typedef struct FileHeader
{
	uint32 magic;
	uint32 entry_size;
	uint32 entries;
	pg_crc32c crc; /* of all entries */
} FileHeader;

static bool
is_unflushed(const LgLedgerEntry *entry)
{
	return entry->flushed != entry->revision;
}

/* What will be in the file. */
static FileHeader
describe_entries(void)
{
	FileHeader header = {.magic = MAGIC, .entry_size = sizeof(LgLedgerEntry)};
	LgRing *ring = lg_shared->ledger;

	INIT_CRC32C(header.crc);
	for (uint64 number = lg_ring_first(ring); number <= ring->last; number++)
	{
		LgLedgerEntry *entry = lg_ring_get(ring, number);

		if (!is_unflushed(entry))
			continue;
		header.entries++;
		COMP_CRC32C(header.crc, entry, sizeof(LgLedgerEntry));
	}
	FIN_CRC32C(header.crc);
	return header;
}

static bool
write_entries(FILE *file, const FileHeader *header)
{
	LgRing *ring = lg_shared->ledger;

	if (fwrite(header, sizeof(FileHeader), 1, file) != 1)
		return false;
	for (uint64 number = lg_ring_first(ring); number <= ring->last; number++)
	{
		LgLedgerEntry *entry = lg_ring_get(ring, number);

		if (is_unflushed(entry) && fwrite(entry, sizeof(LgLedgerEntry), 1, file) != 1)
			return false;
	}
	return true;
}

/*
 * The postmaster's last act, as an on_shmem_exit callback: save what is not in
 * the table.  Only when the server ends cleanly.
 */
void
lg_ledger_file_save(int code, Datum arg)
{
	FileHeader header;
	FILE *file;
	bool written;

	if (code != 0 || lg_shared == NULL)
		return;
	header = describe_entries();
	if (header.entries == 0)
	{
		lg_ledger_file_remove();
		return;
	}

	file = AllocateFile(TEMPORARY_NAME, PG_BINARY_W);
	written = file != NULL && write_entries(file, &header);
	if (file != NULL && FreeFile(file) != 0)
		written = false;
	if (written && durable_rename(TEMPORARY_NAME, FILE_NAME, LOG) == 0)
		return;

	ereport(LOG, (errcode_for_file_access(),
				  errmsg("could not save %u ledger entries in file \"%s\": %m", header.entries,
						 FILE_NAME)));
	unlink(TEMPORARY_NAME);
}

/* Read so many entries, the newest of which fit; false if they are not what was written. */
static bool
read_entries(FILE *file, const FileHeader *header)
{
	static LgLedgerEntry entry;
	pg_crc32c crc;

	INIT_CRC32C(crc);
	for (uint32 i = 0; i < header->entries; i++)
	{
		if (fread(&entry, sizeof(LgLedgerEntry), 1, file) != 1)
			return false;
		COMP_CRC32C(crc, &entry, sizeof(LgLedgerEntry));
		lg_ledger_restore(&entry);
	}
	FIN_CRC32C(crc);
	return EQ_CRC32C(crc, header->crc);
}

/*
 * Remove the file, if there is one: all its entries are in the table.
 */
void
lg_ledger_file_remove(void)
{
	if (!lg_shared->ledger_in_file)
		return;
	lg_shared->ledger_in_file = false;
	if (unlink(FILE_NAME) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(), errmsg("could not remove file \"%s\": %m", FILE_NAME)));
}

/*
 * Read the file back into the ring.  Called by the postmaster
 * when it has created the shared memory.
 */
void
lg_ledger_file_load(void)
{
	FileHeader header;
	FILE *file = AllocateFile(FILE_NAME, PG_BINARY_R);
	const char *problem = NULL;

	if (file == NULL)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not read file \"%s\": %m", FILE_NAME)));
		return;
	}
	if (fread(&header, sizeof(FileHeader), 1, file) != 1 || header.magic != MAGIC ||
		header.entry_size != sizeof(LgLedgerEntry))
		problem = "It was not written by this version of pg_lifeguard.";
	else if (!read_entries(file, &header))
	{
		lg_ledger_forget();
		problem = "It is damaged.";
	}
	FreeFile(file);
	lg_shared->ledger_in_file = true;

	if (problem == NULL)
		return;
	ereport(LOG, (errmsg("ignoring file \"%s\"", FILE_NAME), errdetail("%s", problem)));
	lg_ledger_file_remove();
}
