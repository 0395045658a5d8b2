/*-------------------------------------------------------------------------
 * refusals.h
 *		Connection attempts that the server turned away.
 *-------------------------------------------------------------------------
 */
#ifndef LG_REFUSALS_H
#define LG_REFUSALS_H

#include "memory.h"
#include "records.h"

/* Why; in the order in which they are shown. */
typedef enum LgRefusalCause
{
	LG_REFUSED_SLOTS,			   /* all slots are taken */
	LG_REFUSED_RESERVED,		   /* the rest is for pg_use_reserved_connections */
	LG_REFUSED_SUPERUSER_RESERVED, /* the rest is for superusers */
	LG_REFUSED_DATABASE_LIMIT,
	LG_REFUSED_ROLE_LIMIT,
	LG_REFUSED_CHILD_LIMIT, /* of the postmaster */
	LG_REFUSED_REPLICATION, /* max_wal_senders */
	LG_REFUSAL_CAUSES		/* how many there are */
} LgRefusalCause;

struct ErrorData;

extern const LgRecordType lg_refusal_type;

extern Size lg_refusals_size(void);
extern void lg_refusals_init(void);
extern void lg_refusals_note(const struct ErrorData *error);
extern void lg_refusals_note_settings(void);
extern bool lg_refusals_are_counted(void);
extern bool lg_refusals_unseen(void);
extern void lg_refusals_collect(LgMemory *memory);
extern void lg_refusals_close(void);
extern void lg_refusals_reset(void);
extern const char *lg_refusals_cause_name(LgRefusalCause cause);
extern int64 lg_refusals_count(LgRefusalCause cause);
extern int64 lg_refusals_total(void);

#endif /* LG_REFUSALS_H */
