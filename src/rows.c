/*-------------------------------------------------------------------------
 * rows.c
 *		Result rows, built column by column.
 *
 * Columns are added in the order in which the SQL function declares them; a
 * row of another length, as after a package upgrade without ALTER EXTENSION,
 * is an error and not a crash.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>
#include <netdb.h>

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/ip.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "clock.h"
#include "rows.h"

/*
 * Begin the result set of a set-returning function.
 */
void
lg_rows_begin(LgRows *rows, FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, 0);
	rows->result = (ReturnSetInfo *) fcinfo->resultinfo;
	rows->context =
		AllocSetContextCreate(CurrentMemoryContext, "pg_lifeguard row", ALLOCSET_DEFAULT_SIZES);
	rows->n = 0;
}

/*
 * Begin a row.  What is allocated until it ends is gone then.
 */
void
lg_rows_begin_row(LgRows *rows)
{
	rows->n = 0;
	rows->caller = MemoryContextSwitchTo(rows->context);
}

/*
 * Put the current row into the result set.
 */
void
lg_rows_end_row(LgRows *rows)
{
	if (rows->n != rows->result->setDesc->natts)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("library and catalog of pg_lifeguard do not match"),
						errdetail("The library returns %d columns where the catalog declares %d.",
								  rows->n, rows->result->setDesc->natts),
						errhint("Run ALTER EXTENSION pg_lifeguard UPDATE; after a package upgrade "
								"restart the server first.")));
	tuplestore_putvalues(rows->result->setResult, rows->result->setDesc, rows->values, rows->nulls);
	MemoryContextSwitchTo(rows->caller);
	MemoryContextReset(rows->context);
}

/*
 * Add the next column; lg_rows_add_*() below are the same for each type.
 */
void
lg_rows_add(LgRows *rows, Datum value)
{
	if (rows->n >= LG_MAX_COLUMNS)
		elog(ERROR, "too many columns in a row");
	rows->values[rows->n] = value;
	rows->nulls[rows->n] = false;
	rows->n++;
}

void
lg_rows_add_null(LgRows *rows)
{
	lg_rows_add(rows, (Datum) 0);
	rows->nulls[rows->n - 1] = true;
}

void
lg_rows_add_int(LgRows *rows, int value)
{
	lg_rows_add(rows, Int32GetDatum(value));
}

void
lg_rows_add_int8(LgRows *rows, int64 value)
{
	lg_rows_add(rows, Int64GetDatum(value));
}

/* A numeric with so many decimals; NULL for no number */
void
lg_rows_add_numeric(LgRows *rows, double value, int decimals)
{
	if (isnan(value))
		lg_rows_add_null(rows);
	else
		lg_rows_add(rows, NumericGetDatum(int64_div_fast_to_numeric(
							  llrint(value * pow(10.0, decimals)), decimals)));
}

/* NULL for none */
void
lg_rows_add_pid(LgRows *rows, int pid)
{
	if (pid == 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_int(rows, pid);
}

/* NULL for InvalidOid */
void
lg_rows_add_oid(LgRows *rows, Oid value)
{
	if (!OidIsValid(value))
		lg_rows_add_null(rows);
	else
		lg_rows_add(rows, ObjectIdGetDatum(value));
}

/* NULL for an invalid one */
void
lg_rows_add_xid(LgRows *rows, TransactionId value)
{
	if (!TransactionIdIsValid(value))
		lg_rows_add_null(rows);
	else
		lg_rows_add(rows, TransactionIdGetDatum(value));
}

/* NULL for NULL */
void
lg_rows_add_text(LgRows *rows, const char *value)
{
	if (value == NULL)
		lg_rows_add_null(rows);
	else
		lg_rows_add(rows, CStringGetTextDatum(value));
}

void
lg_rows_add_name(LgRows *rows, const char *value)
{
	NameData *name = palloc(sizeof(NameData));

	namestrcpy(name, value);
	lg_rows_add(rows, NameGetDatum(name));
}

/* NULL for 0 */
void
lg_rows_add_time(LgRows *rows, TimestampTz value)
{
	if (value == 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add(rows, TimestampTzGetDatum(value));
}

/*
 * An interval of so many microseconds, without days: a day is not always 24 hours,
 * so that a start and its duration would not always add up to the end.
 */
void
lg_rows_add_span(LgRows *rows, int64 usecs)
{
	Interval *span = palloc0(sizeof(Interval));

	span->time = usecs;
	lg_rows_add(rows, IntervalPGetDatum(span));
}

/* NULL when the start is unknown; never negative */
void
lg_rows_add_age(LgRows *rows, TimestampTz start, TimestampTz now)
{
	if (start == 0)
		lg_rows_add_null(rows);
	else
		lg_rows_add_span(rows, lg_clock_age(start, now));
}

void
lg_rows_add_ints(LgRows *rows, const int *values, int n)
{
	Datum *datums = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		datums[i] = Int32GetDatum(values[i]);
	lg_rows_add(rows, PointerGetDatum(
						  construct_array(datums, n, INT4OID, sizeof(int32), true, TYPALIGN_INT)));
	pfree(datums);
}

void
lg_rows_add_texts(LgRows *rows, const char **values, int n)
{
	Datum *datums = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(values[i]);
	lg_rows_add(rows,
				PointerGetDatum(construct_array(datums, n, TEXTOID, -1, false, TYPALIGN_INT)));
	pfree(datums);
}

/* Host and port of a client in digits; false if it has none. */
static bool
describe_address(const SockAddr *address, char *host, char *port)
{
	int family = address->addr.ss_family;

	if (family != AF_INET && family != AF_INET6)
		return false;
	return pg_getnameinfo_all(&address->addr, address->salen, host, NI_MAXHOST, port, NI_MAXSERV,
							  NI_NUMERICHOST | NI_NUMERICSERV) == 0;
}

/* NULL for a local client, as pg_stat_activity shows it */
void
lg_rows_add_address(LgRows *rows, const SockAddr *address)
{
	char host[NI_MAXHOST];
	char port[NI_MAXSERV];

	if (!describe_address(address, host, port))
	{
		lg_rows_add_null(rows);
		return;
	}
	clean_ipv6_addr(address->addr.ss_family, host);
	lg_rows_add(rows, DirectFunctionCall1(inet_in, CStringGetDatum(host)));
}

/* -1 for a local client, NULL when unknown, as pg_stat_activity shows it */
void
lg_rows_add_port(LgRows *rows, const SockAddr *address)
{
	char host[NI_MAXHOST];
	char port[NI_MAXSERV];

	if (describe_address(address, host, port))
		lg_rows_add_int(rows, atoi(port));
	else if (address->addr.ss_family == AF_UNIX)
		lg_rows_add_int(rows, -1);
	else
		lg_rows_add_null(rows);
}
