/*-------------------------------------------------------------------------
 * texts.c
 *		Texts of other sessions, made fit to be shown in this one.
 *
 * A statement lies in shared memory in the encoding of its own database, cut
 * off wherever the room ended.  Shown in a database of another encoding, as
 * pg_stat_activity does, its bytes can be garbage or break the client.  Here
 * it is clipped on a character and converted; what cannot be converted becomes
 * a question mark, never an error.
 *
 * Locking: none of ours; conversions and encodings are looked up in the system
 * caches, so a transaction is needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "common/string.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/syscache.h"

#include "texts.h"

/* The encoding of a database; SQL_ASCII, which is none, if it is unknown. */
static int
encoding_of(Oid databaseid)
{
	HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(databaseid));
	int encoding = PG_SQL_ASCII;

	if (HeapTupleIsValid(tuple))
	{
		encoding = ((Form_pg_database) GETSTRUCT(tuple))->encoding;
		ReleaseSysCache(tuple);
	}
	return encoding;
}

/* Keep what is valid in the encoding (SQL_ASCII: ASCII); every other byte becomes '?'. */
static char *
keep_valid(const char *raw, int len, int encoding)
{
	StringInfoData out;

	initStringInfo(&out);
	while (len > 0)
	{
		int n = 1;

		if (IS_HIGHBIT_SET(*raw))
			n = encoding == PG_SQL_ASCII ? -1 : pg_encoding_verifymbchar(encoding, raw, len);

		if (n > 0)
			appendBinaryStringInfo(&out, raw, n);
		else
		{
			appendStringInfoChar(&out, '?');
			n = 1;
		}
		raw += n;
		len -= n;
	}
	return out.data;
}

/* Convert what can be converted; every other character becomes '?'. */
static char *
convert(char *raw, int len, int from, int to, Oid proc)
{
	StringInfoData out;
	int room = MAX_CONVERSION_GROWTH * (len + 1) + 1;
	unsigned char *piece = palloc(room);

	initStringInfo(&out);
	while (len > 0)
	{
		int n = pg_do_encoding_conversion_buf(proc, from, to, (unsigned char *) raw, len, piece,
											  room, true);

		appendStringInfoString(&out, (char *) piece);
		raw += n;
		len -= n;
		if (len > 0)
		{
			n = Min(pg_encoding_mblen(from, raw), len);
			appendStringInfoChar(&out, '?');
			raw += n;
			len -= n;
		}
	}
	pfree(piece);
	return out.data;
}

/*
 * The text of a session of that database (InvalidOid: of none), as this
 * database's encoding has it.  Returns a palloc'd string, valid in any case.
 */
char *
lg_texts_to_local(const char *raw, Oid databaseid)
{
	int len = strlen(raw);
	int to = GetDatabaseEncoding();
	int from;
	Oid proc;
	char *clipped;

	if (pg_is_ascii(raw))
		return pstrdup(raw);

	from = encoding_of(databaseid);
	if (from != PG_SQL_ASCII)
		len = pg_encoding_mbcliplen(from, raw, len, len);
	if (to == PG_SQL_ASCII)
		return pnstrdup(raw, len);
	if (from == to)
		return keep_valid(raw, len, to);

	/* Bytes of no encoding mean nothing here, nor do those that cannot be converted. */
	proc = from == PG_SQL_ASCII ? InvalidOid : FindDefaultConversionProc(from, to);
	if (!OidIsValid(proc))
		return keep_valid(raw, len, PG_SQL_ASCII);

	clipped = keep_valid(raw, len, from);
	return convert(clipped, strlen(clipped), from, to, proc);
}

/*
 * A text of which nobody knows the encoding: the name of a role or a database,
 * which the shared catalogs hold as whoever made it wrote it, or a message that
 * may contain one.  PostgreSQL itself takes such names for texts of whatever
 * database they are read in; so do we, with '?' for what is not valid there.
 * Returns a palloc'd string.
 */
char *
lg_texts_valid_here(const char *raw)
{
	int to = GetDatabaseEncoding();

	return to == PG_SQL_ASCII ? pstrdup(raw) : keep_valid(raw, strlen(raw), to);
}

/* The content of a comment, without the blanks around it; NULL if there is none. */
static char *
trim(const char *begin, const char *end)
{
	while (begin < end && isspace((unsigned char) *begin))
		begin++;
	while (begin < end && isspace((unsigned char) end[-1]))
		end--;
	return begin < end ? pnstrdup(begin, end - begin) : NULL;
}

/*
 * The comment that an application framework put behind a statement or, if
 * there is none behind, in front of it (sqlcommenter's and its kin's way to
 * name the program).  A comment that was cut off is none, and neither are the
 * hints of pg_hint_plan.  Returns a palloc'd string or NULL.
 */
char *
lg_texts_query_tags(const char *query)
{
	const char *begin = query;
	const char *end = query + strlen(query);

	while (end > begin && (isspace((unsigned char) end[-1]) || end[-1] == ';'))
		end--;
	if (end - begin >= 4 && end[-1] == '/' && end[-2] == '*')
	{
		for (const char *open = end - 4; open >= begin; open--)
		{
			if (open[0] == '/' && open[1] == '*')
				return open[2] == '+' ? NULL : trim(open + 2, end - 2);
		}
	}

	while (isspace((unsigned char) *begin))
		begin++;
	if (strncmp(begin, "--", 2) == 0)
	{
		end = strchr(begin, '\n');
		return end ? trim(begin + 2, end) : NULL;
	}
	if (strncmp(begin, "/*", 2) == 0 && begin[2] != '+')
	{
		end = strstr(begin + 2, "*/");
		return end ? trim(begin + 2, end) : NULL;
	}
	return NULL;
}
