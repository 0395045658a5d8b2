# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# Act 1, the watch: what is wrong now, who causes it, seen when every ordinary
# connection slot is taken.

act_watch() {
	title "Act 1, the watch: who blocks whom, when nobody can log in any more"
	night_prepare
	tell "A throwaway PostgreSQL $(sql -At -c 'SHOW server_version') with pg_lifeguard preloaded," \
		"200 connections of which 5 are reserved for superusers, and a small shop. Its clients are" \
		"real: pgbench and psql."

	watch_evening
	watch_trouble
	watch_refused
	watch_look
	watch_remedy
	watch_result
}

watch_evening() {
	step "An ordinary evening: $n_mobile connections sit idle in a pool, the others work."
	night_begin
	nap 1
	evening_from=$EPOCHREALTIME
	night_show 7
}

watch_trouble() {
	evening_to=$EPOCHREALTIME
	step "admin-console: BEGIN; UPDATE cart_cache ... WHERE page = 'front page';   and goes to dinner."
	forget_transaction
	tell "One page in twenty counts a visit in that row. Each that does now waits, and so, one by" \
		"one, does every connection of shop-web. New requests open new connections."
	night_show 3
	rush_in 13
	step "$pile queries are blocked behind one row of one cache table. Somebody deploys a new version:"
	tell "deploy: ALTER TABLE cart_cache ADD COLUMN note text"
	tell "It needs the table for itself, so it queues; now whoever only reads queues behind it."
	deploy
	night_show 2
}

watch_refused() {
	local error
	step "Every slot for ordinary roles is taken. The monitoring agent tries to log in:"
	check "slots taken by the shop's clients" "$n_sessions" "$usable"
	if error=$(as_shop psql -X -At shop -c "SELECT 1" 2>&1); then
		check "a new ordinary connection" accepted refused
	else
		tell "$error"
		check "a new ordinary connection" refused refused
	fi
}

# ---------------------------------------------------------------------------
# What the one on call sees
# ---------------------------------------------------------------------------

watch_look() {
	local blocked=$((pile + 1 + n_report)) lines

	step "The one on call logs in through a reserved slot.   TABLE lifeguard.connections"
	show -x -c "TABLE lifeguard.connections"
	tell "(her own session sits in a reserved slot: that is the one more than usable)"

	step "Who holds them?   TABLE lifeguard.connection_usage"
	show -c "SELECT datname, usename, application_name, used, active, idle, idle_in_transaction AS in_xact,
				waiting, date_trunc('second', oldest) AS oldest FROM lifeguard.connection_usage"
	tell "$(ask "SELECT format('%s of %s connections, %s %%, are an idle pool.', idle, $usable, round(100.0 * idle / $usable))
		FROM lifeguard.connection_usage WHERE application_name = 'shop-mobile'")"

	step "Who causes it?   TABLE lifeguard.blockers"
	show -x -c "TABLE lifeguard.blockers"

	step "Who waits for whom?   SELECT tree FROM lifeguard.lock_tree"
	lines=$(ask "SELECT tree FROM lifeguard.lock_tree")
	# the head of it, and the ALTER TABLE with some of those behind it
	printf '%s\n' "$lines" | awk -v columns=96 '
		/\[deploy\]/ { deploy = NR }
		NR <= 13 || (deploy && NR <= deploy + 5) {
			if (skipped) printf "      ... %d lines more\n", skipped
			skipped = 0
			print "  " substr($0, 1, columns)
			next
		}
		{ skipped++ }
		END { if (skipped) printf "      ... %d lines more\n", skipped }'
	tell "Each is cut to this width here. In full the first reads:"
	tell "$(printf '%s\n' "$lines" | sed -n 1p)"

	step "Who sits in a transaction?   TABLE lifeguard.idle_transactions"
	show -c "SELECT pid, application_name, date_trunc('second', idle_for) AS idle_for, locks_held, blocking,
				left(query, 45) AS query FROM lifeguard.idle_transactions WHERE blocking > 0"

	step "And the lifeguard itself?   TABLE lifeguard.status"
	show -x -c "SELECT collector, collector_since, current_interval, last_pass_cost, total_cost, passes, missed_passes,
				waiting, blockers, longest_wait, shared_memory FROM lifeguard.status"

	step "Is all that true? Against what the demo did, and against PostgreSQL's own views:"
	check "root blockers" "$(ask "SELECT string_agg(pid || ' ' || application_name, ', ') FROM lifeguard.blockers")" \
		"$admin_pid admin-console"
	check "its state" "$(ask "SELECT state FROM lifeguard.blockers")" "idle in transaction"
	check "sessions it blocks" "$(ask "SELECT blocked_total FROM lifeguard.blockers")" "$blocked"
	check "the same in pg_locks" "$(ask "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")" "$blocked"
	check "of those directly, as pg_blocking_pids has it" \
		"$(ask "SELECT blocked_directly FROM lifeguard.blockers")" \
		"$(ask "SELECT count(*) FROM pg_stat_activity WHERE $admin_pid = ANY (pg_blocking_pids(pid))")"
	check "waits for the row" "$(ask "SELECT count(*) FROM lifeguard.lock_waits
		WHERE relation_name = 'public.cart_cache' AND tuple IS NOT NULL")" "$pile"
	check "waits for the table" "$(ask "SELECT count(*) FROM lifeguard.lock_waits
		WHERE relation_name = 'public.cart_cache' AND locktype = 'relation'")" $((n_report + 1))
	check "waiters whose blocked_by differs from pg_blocking_pids" "$(ask "
		WITH theirs AS (SELECT pid, ARRAY(SELECT DISTINCT unnest(pg_blocking_pids(pid)) ORDER BY 1) AS blocked_by
						FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0),
			ours AS (SELECT pid, ARRAY(SELECT DISTINCT unnest(blocked_by) ORDER BY 1) AS blocked_by
					 FROM lifeguard.lock_waits)
		SELECT count(*) FROM ours FULL JOIN theirs USING (pid)
		WHERE ours.blocked_by IS DISTINCT FROM theirs.blocked_by")" 0
	check "waiters with another root" "$(ask "SELECT count(*) FROM lifeguard.lock_waits
		WHERE root_pids IS DISTINCT FROM ARRAY[$admin_pid]")" 0
	check "lines of the tree" "$(printf '%s\n' "$lines" | wc -l)" $((blocked + 1))
	check "the idle transaction that blocks" "$(ask "SELECT string_agg(pid::text, ',')
		FROM lifeguard.idle_transactions WHERE blocking > 0")" "$admin_pid"
	check "slots taken, with hers" "$(ask "SELECT used FROM lifeguard.connections")" $((usable + 1))
	check "the idle pool" "$(ask "SELECT idle FROM lifeguard.connection_usage
		WHERE application_name = 'shop-mobile'")" "$n_mobile"
	check "the most slots the collector ever saw taken is at least" \
		"$(ask "SELECT least(high_water, $usable) FROM lifeguard.connections")" "$usable"
	check "the collector" "$(ask "SELECT collector FROM lifeguard.status")" running
	check "waiting, as its last pass saw it" "$(ask "SELECT waiting FROM lifeguard.status")" "$blocked"
}

# ---------------------------------------------------------------------------
# Make it stop
# ---------------------------------------------------------------------------

watch_remedy() {
	local remedy
	remedy=$(ask "SELECT remedy FROM lifeguard.blockers LIMIT 1")
	step "She runs the remedy that lifeguard.blockers shows:"
	tell "$remedy"
	trouble_to=$EPOCHREALTIME
	ask "$remedy" >/dev/null || give_up "the remedy failed"
	wait_until 20 has_waiting 0 || give_up "$n_waiting sessions still wait"
	step "$(awk -v from="$trouble_to" -v to="$EPOCHREALTIME" \
		'BEGIN { printf "%.1f s later nobody waits any more.", to - from }')"
	night_show 8
	after_to=$EPOCHREALTIME
	tell "admin-console comes back from dinner and types COMMIT:"
	type_commit
	sed '1,/^updated/d; s/^/       /' "$cluster/log/admin-console"
}

watch_result() {
	local evening trouble_p99 after from
	# pgbench writes its log in blocks: let the newest lines come out
	nap 2
	step "What it meant for the users of shop-web, measured by the clients:"
	result_head
	requests "$evening_from" "$evening_to" "$evening_to"
	evening=$answers
	result_line "before"
	requests "$evening_to" "$trouble_to" "$after_to"
	result_line "during the trouble"
	trouble_p99=$p99
	from=$(awk -v t="$trouble_to" 'BEGIN { printf "%.6f", t + 2 }')
	requests "$from" "$after_to" "$after_to"
	after=$answers
	result_line "after the remedy"
	tell "p99: of the requests made in that time, whenever they were answered. Given up: unanswered" \
		"for a second. shop-worker, which never touches that table, kept its pace (see above)."
	check "throughput is back" "$(awk -v a="$after" -v b="$evening" 'BEGIN { print (a > b * 0.7) ? "yes" : "no" }')" yes
	check "the trouble was real: p99 above 5 s" \
		"$(awk -v p99="$trouble_p99" 'BEGIN { print (p99 > 5000) ? "yes" : "no" }')" yes
	check "the deployed column is there" "$(ask "SELECT count(*) FROM pg_attribute
		WHERE attrelid = 'public.cart_cache'::regclass AND attname = 'note'")" 1
	check "connections refused now" "$(as_shop psql -X -At shop -c "SELECT 'none'" 2>&1)" none
}
