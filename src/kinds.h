/*-------------------------------------------------------------------------
 * kinds.h
 *		Sessions that are alike: of one program, in one state.
 *-------------------------------------------------------------------------
 */
#ifndef LG_KINDS_H
#define LG_KINDS_H

#include "usage.h"
#include "utils/hsearch.h"

/* Whose sessions, and what they do.  Compared byte by byte. */
typedef struct LgKindKey
{
	LgUsageKey who;
	BackendState state;
} LgKindKey;

typedef struct LgKind
{
	LgKindKey key;
	int count;
} LgKind;

extern LgKindKey lg_kinds_key(const LgSession *session, const char *application_name,
							  const SockAddr *client_addr);
extern HTAB *lg_kinds_count(BackendState only, bool dying_too);
extern LgKind *lg_kinds_find(HTAB *kinds, const LgKindKey *key);

#endif /* LG_KINDS_H */
