/*-------------------------------------------------------------------------
 * hooks.c
 *		What runs inside other people's backends: when they log in, and when they
 *		write to the server log.  What follows their statements is in statement_trail.c.
 *
 * Locking: lg_shared->lock for a moment when the pool is fuller than a policy
 * wants it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

/* keep the gssapi headers out; the layout of Port does not change */
#undef ENABLE_GSS
#include "libpq/auth.h"
#include "miscadmin.h"
#include "replication/walsender.h"

#include "collector.h"
#include "endings.h"
#include "farewell.h"
#include "hooks.h"
#include "refusals.h"
#include "saturation.h"
#include "setup_times.h"
#include "shared.h"
#include "statement_trail.h"

static ClientAuthentication_hook_type prev_client_authentication_hook = NULL;
static emit_log_hook_type prev_emit_log_hook = NULL;

/*
 * Whoever finds the pool fuller than a policy wants it does not leave it to the
 * collector's interval.
 */
static void
report_fullness(void)
{
	uint32 mark = pg_atomic_read_u32(&lg_shared->wake_above);

	if (mark == 0 || lg_saturation_used() <= (int) mark)
		return;
	pg_atomic_write_u32(&lg_shared->pass_wanted, 1);
	lg_collector_wake();
}

/* An authenticated client session begins to listen; a walsender never does. */
static void
after_authentication(Port *port, int status)
{
	if (prev_client_authentication_hook)
		prev_client_authentication_hook(port, status);

	if (status == STATUS_OK && !am_walsender)
	{
		lg_setup_times_begin(lg_farewell_install());
		report_fullness();
	}
}

/* A message goes to the server log.  It is read, never changed. */
static void
before_log(ErrorData *error)
{
	if (prev_emit_log_hook)
		prev_emit_log_hook(error);
	lg_endings_note_log(error);
	lg_refusals_note(error);
}

/*
 * Hang in the hooks.  Only while preloading.
 */
void
lg_hooks_install(void)
{
	prev_client_authentication_hook = ClientAuthentication_hook;
	ClientAuthentication_hook = after_authentication;
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = before_log;
	lg_statement_trail_install();
}
