/*-------------------------------------------------------------------------
 * statement_trail.h
 *		The last statements of each open transaction.
 *-------------------------------------------------------------------------
 */
#ifndef LG_STATEMENT_TRAIL_H
#define LG_STATEMENT_TRAIL_H

#include "rows.h"
#include "sessions.h"

#define LG_TRAIL_MOST 20 /* that pg_lifeguard.track_statements can ask for */

#define LG_TRAIL_KEPT 4		   /* of them a record keeps */
#define LG_TRAIL_KEPT_TEXT 120 /* bytes of each, with its end */

/* What a record keeps of a trail, the oldest first; all zeros is none. */
typedef struct LgTrailExcerpt
{
	int n;
	char texts[LG_TRAIL_KEPT][LG_TRAIL_KEPT_TEXT];
} LgTrailExcerpt;

extern Size lg_statement_trail_size(void);
extern void lg_statement_trail_install(void);
extern void lg_statement_trail_keep(const LgSession *session, LgTrailExcerpt *kept);
extern void lg_statement_trail_add(LgRows *rows, const LgSession *session);
extern void lg_statement_trail_add_kept(LgRows *rows, const LgTrailExcerpt *kept, Oid databaseid);

#endif /* LG_STATEMENT_TRAIL_H */
