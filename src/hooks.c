/*-------------------------------------------------------------------------
 * hooks.c
 *		What runs inside other people's backends: once, when they log in.
 *
 * Locking: none.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* keep the gssapi headers out; the layout of Port does not change */
#undef ENABLE_GSS
#include "libpq/auth.h"
#include "miscadmin.h"
#include "replication/walsender.h"

#include "farewell.h"
#include "hooks.h"

static ClientAuthentication_hook_type prev_client_authentication_hook = NULL;

/* An authenticated client session begins to listen; a walsender never does. */
static void
after_authentication(Port *port, int status)
{
	if (prev_client_authentication_hook)
		prev_client_authentication_hook(port, status);

	if (status == STATUS_OK && !am_walsender)
		lg_farewell_install();
}

/*
 * Hang in the hooks.  Only while preloading.
 */
void
lg_hooks_install(void)
{
	prev_client_authentication_hook = ClientAuthentication_hook;
	ClientAuthentication_hook = after_authentication;
}
