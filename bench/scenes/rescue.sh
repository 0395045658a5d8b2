# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# rescue.sh: a pile-up, from the limit until its last session is done.

scene_rescue() {
	local waiters=89 crossed=$work/crossed commits least
	title "rescue: $waiters sessions wait for one row; a policy ends who holds it when the first has waited for 1 s"
	with_server pg_lifeguard "log_lock_waits = off"
	with_killers
	sql -c "SET client_min_messages = warning" -c "SELECT lifeguard.drop_policy('pauses')" \
		-c "SELECT lifeguard.create_policy('blocks', 'blocker', '500 ms', roles => '{ours}', min_blocked => 1, min_blocked_for => '1 s',
			action => 'terminate', max_per_minute => 0, cooldown => '0')" >/dev/null
	wait_for "the policy" "SELECT count(*) = 1 FROM lifeguard.policy_status WHERE name = 'blocks'"
	in_group note_waits </dev/null >"$crossed" 2>&1
	commits=$(victims pile "$piles" $waiters COMMIT "" "$(as_client polled)" | percentile 50) || give_up "the clients failed"
	printf '   %-46s %10s %10s %10s\n' "" "" median p95
	printf '   %-46s %10s %10s\n' "last done after a COMMIT, ms" "" "$commits"
	sql -c "TRUNCATE lifeguard.ledger_entries" >/dev/null
	least=$(sql -At -c "SELECT clock_timestamp()")
	pile_of idle ""
	pile_of active "SELECT pg_sleep(60)"
	end_groups
}

# Since when the first of them has waited, again and again, as pg_locks has it.
note_waits() {
	while :; do
		echo "SELECT extract(epoch FROM min(waitstart)) FROM pg_locks WHERE NOT granted;"
		sleep 0.2
	done | sql -At
}

# pile_of KIND STATEMENT: $piles times, with a blocker that does that meanwhile
pile_of() {
	local out=$work/pile.$1 from reaction
	from=$(sql -At -c "SELECT clock_timestamp()")
	victims pile "$piles" "$waiters" WAIT "$2" "$(as_client ours)" >"$out" || give_up "the clients failed"
	# the signal, by the ledger; the limit, by the wait start that pg_locks showed
	sql -At -c "SELECT extract(epoch FROM at) FROM lifeguard.ledger WHERE at > '$from' AND signal IS NOT NULL ORDER BY at" >"$out.at"
	reaction=$(sort -gu "$crossed" | awk -v ats="$out.at" '
		/^[0-9.]+$/ { start[++n] = $1 }
		END { while ((getline at <ats) > 0) { best = 0
			for (i = 1; i <= n; i++) if (start[i] < at && start[i] > best) best = start[i]
			printf "%.1f\n", (at - best - 1) * 1000 } }')
	printf '   %-46s %10s %10s %10s\n' "$1 blocker: from the limit to the signal, ms" "" \
		"$(echo "$reaction" | percentile 50)" "$(echo "$reaction" | percentile 95)"
	printf '   %-46s %10s %10s %10s\n' "$1 blocker: from its end to the last done, ms" "" \
		"$(percentile 50 <"$out")" "$(percentile 95 <"$out")"
	verdict "$1: limit to signal, p95" "$(echo "$reaction" | percentile 95)" "<=" 120 " ms"
	verdict "$1: last done, to a COMMIT's" "$(quotient "$(percentile 50 <"$out")" "$commits")" "<=" 1.5 x
}
