/*-------------------------------------------------------------------------
 * kinds.c
 *		Sessions that are alike: of one program, in one state.
 *
 * A policy keeps some of each kind, and what it has done has brought relief when
 * there are fewer of its victim's kind.
 *
 * Locking: none; the caller makes a pass.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "kinds.h"
#include "pending.h"

/*
 * The kind of a session whose texts are known.
 */
LgKindKey
lg_kinds_key(const LgSession *session, const char *application_name, const SockAddr *client_addr)
{
	LgKindKey key;

	memset(&key, 0, sizeof(key));
	lg_usage_make_key(session, application_name, client_addr, &key.who);
	key.state = session->state;
	return key;
}

/*
 * Count the sessions of each kind; only those in a state, if it is not
 * STATE_UNDEFINED; those that are being terminated only if they are asked for, too.
 * Allocates in the current memory context.
 */
HTAB *
lg_kinds_count(BackendState only, bool dying_too)
{
	HASHCTL ctl = {
		.keysize = sizeof(LgKindKey), .entrysize = sizeof(LgKind), .hcxt = CurrentMemoryContext};
	HTAB *kinds =
		hash_create("pg_lifeguard kinds", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	LgSessionScan scan = {0, 0};
	LgSession session;

	while (lg_sessions_next(&scan, &session))
	{
		LgKindKey key;
		LgKind *kind;
		bool found;

		CHECK_FOR_INTERRUPTS();
		if ((only != STATE_UNDEFINED && session.state != only) ||
			(!dying_too && lg_pending_ends(&session)))
			continue;
		memset(&key, 0, sizeof(key));
		if (!lg_usage_read_key(&session, &key.who))
			continue;
		key.state = session.state;
		kind = hash_search(kinds, &key, HASH_ENTER, &found);
		kind->count = found ? kind->count + 1 : 1;
	}
	return kinds;
}

/*
 * The sessions of a kind; NULL if there were none.
 */
LgKind *
lg_kinds_find(HTAB *kinds, const LgKindKey *key)
{
	return hash_search(kinds, key, HASH_FIND, NULL);
}
