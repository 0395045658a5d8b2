/*-------------------------------------------------------------------------
 * replay.c
 *		Would this policy have prevented it?
 *
 * The recorded episodes are gone through again.  For each session that the policy's
 * target meant, the same lg_policy_decide() as in a pass is asked for every
 * stretch of time in which its answer stays the same: it can change when a limit
 * is exceeded, or somebody comes to wait for the session or ceases to.  Then time
 * is gone through once, from one moment to the next at which the policy could act:
 * when somebody comes to be hit, when it comes to be in force, and when its limits
 * allow one more, who is chosen among those hit then in the policy's order.  Whoever
 * would have been terminated does nothing more.
 *
 * A victim is credited with what others waited because of it from that moment on,
 * and nobody else with the same.  A policy that only logs counts as if it had
 * acted, but for its victims, who go on as they did: it rehearses, as a pass does.
 *
 * What was recorded is less than a pass sees; what that hides is said in each row.
 * Roles, rights and protections are those of today.
 *
 * Locking: none of ours; the histories as any reader.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "policy_table.h"
#include "replay.h"
#include "rights.h"
#include "rows.h"

PG_FUNCTION_INFO_V1(pg_lifeguard_replay_episodes);

static const char *
verdict_of(const LgReplay *replay, const LgReplaySuspect *suspect)
{
	if (suspect->why == LG_WHY_HIT)
		return lg_policy_action_name(replay->policy->action);
	return suspect->why == LG_WHY_OVER_LIMIT ? "over limit" : "spared";
}

static void
add_suspect(LgRows *rows, const LgReplay *replay, const LgReplaySuspect *suspect)
{
	lg_rows_begin_row(rows);
	lg_rows_add_time(rows, suspect->at);
	lg_rows_add_pid(rows, suspect->session.pid);
	lg_rows_add_time(rows, suspect->session.backend_start);
	lg_rows_add_text(rows, suspect->usename[0] ? suspect->usename : NULL);
	lg_rows_add_text(rows, suspect->datname[0] ? suspect->datname : NULL);
	lg_rows_add_text(rows, suspect->application_name);
	lg_rows_add_text(rows, verdict_of(replay, suspect));
	lg_rows_add_text(rows, suspect->reason);
	lg_rows_add_int(rows, suspect->waiters);
	lg_rows_add(rows, Float8GetDatum((double) suspect->saved / USECS_PER_SEC));
	lg_rows_add_text(rows, lg_replay_unknown(replay->policy->target));
	lg_rows_end_row(rows);
}

/* Of those rows of one episode that tell of no action only the first is told. */
static void
add_all(LgRows *rows, const LgReplay *replay)
{
	const LgReplaySuspect *told = NULL;

	for (int i = 0; i < replay->n_suspects; i++)
	{
		const LgReplaySuspect *suspect = &replay->suspects[i];

		CHECK_FOR_INTERRUPTS();
		if (suspect->at == 0 || suspect->gone ||
			(told != NULL && lg_replay_same_process(told, suspect) &&
			 told->since == suspect->since))
			continue;
		add_suspect(rows, replay, suspect);
		told = suspect;
	}
}

/* Refuse what no history tells of. */
static void
check_replayable(const LgPolicy *policy)
{
	bool on_waiters = policy->target == LG_TARGET_WAITER;
	const char *column = policy->min_horizon_age > 0				 ? "min_horizon_age"
						 : policy->min_same_query > 0				 ? "min_same_query"
						 : policy->connections_above > 0			 ? "connections_above"
						 : on_waiters && policy->min_blocked > 0	 ? "min_blocked"
						 : on_waiters && policy->min_blocked_for > 0 ? "min_blocked_for"
																	 : NULL;

	if (lg_replay_unknown(policy->target) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replay a policy on target \"%s\"",
						lg_policy_target_name(policy->target)),
				 errdetail("The histories hold lock waits and stays idle in transaction."),
				 errhint("Let the policy run with action \"log\", and read lifeguard.ledger.")));
	if (column != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot replay a policy on target \"%s\" with %s",
						lg_policy_target_name(policy->target), column),
				 errdetail("The histories do not tell it for each session and moment."),
				 errhint("Let the policy run with action \"log\", and read lifeguard.ledger.")));
}

/*
 * lifeguard.replay_episodes(policy, since, until): whom a policy, which must be
 * complete, would have acted on, by what the caller may see of the histories.
 */
Datum
pg_lifeguard_replay_episodes(PG_FUNCTION_ARGS)
{
	LgReplay *replay = palloc0(sizeof(LgReplay));
	LgRows rows;
	MemoryContext caller;

	replay->since = PG_GETARG_TIMESTAMPTZ(1);
	replay->until = PG_GETARG_TIMESTAMPTZ(2);
	if (replay->until < replay->since)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("argument \"until\" must not be earlier than \"since\"")));
	replay->context =
		AllocSetContextCreate(CurrentMemoryContext, "pg_lifeguard replay", ALLOCSET_DEFAULT_SIZES);
	replay->scratch =
		AllocSetContextCreate(replay->context, "pg_lifeguard replay row", ALLOCSET_DEFAULT_SIZES);
	lg_rows_begin(&rows, fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to the SPI manager");
	replay->policy = lg_policy_table_read_row(
		PG_GETARG_DATUM(0), get_fn_expr_argtype(fcinfo->flinfo, 0), replay->context);
	check_replayable(replay->policy);
	replay->alone = lg_policies_alone(replay->policy);
	replay->local = &replay->alone->policies[0];
	replay->needs_waits = replay->policy->min_blocked > 0 || replay->policy->min_blocked_for > 0 ||
						  replay->policy->target == LG_TARGET_BLOCKER ||
						  replay->policy->target == LG_TARGET_QUEUED_DDL;
	lg_replay_read_waits(replay);
	lg_rights_open(replay->alone);
	lg_replay_read_suspects(replay, lg_replay_look);
	lg_rights_close();
	caller = MemoryContextSwitchTo(replay->scratch);
	lg_replay_go_through_time(replay);
	MemoryContextSwitchTo(caller);
	SPI_finish();

	add_all(&rows, replay);
	MemoryContextDelete(replay->context);
	PG_RETURN_NULL();
}
