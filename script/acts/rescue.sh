# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# Act 3, the rescue: the first night again, with a policy.  It rehearses first and
# is armed then; the collector does the rest, and tells everybody why.

rescuer=forgotten_transaction_blocks

act_rescue() {
	title "Act 3, the rescue: the first night again, and nobody has to get up"
	night_prepare
	rescue_policies
	rescue_evening
	rescue_rehearsal
	rescue_arm
	rescue_night
	rescue_words
	rescue_result
}

# run SQL: shown, then done
run() {
	tell "$1"
	ask "$1" >/dev/null || give_up "that failed"
}

rescue_policies() {
	step "The next morning: SELECT lifeguard.create_recommended_policies()"
	tell "$(ask "SELECT lifeguard.create_recommended_policies()" | paste -s -d ' ')"
	tell "They only log until somebody arms them. The first is for nights like that one. This demo has" \
		"a minute, so it lowers the two times (5 s idle, 30 s others waiting); all else is as created:"
	run "SELECT lifeguard.alter_policy('$rescuer', min_duration => '2 s', min_blocked_for => '10 s');"
	show -x -c "SELECT name, target, min_duration, min_blocked, min_blocked_for, action, victim_order,
				max_per_pass, max_per_minute, cooldown FROM lifeguard.policy WHERE name = '$rescuer'"
	wait_until 10 has_published 6 || give_up "the policies are not in force"
	check "policies in force" "$(ask "SELECT count(*) FROM lifeguard.policy_status WHERE in_force")" 6
	check "policies that do more than log" "$(ask "SELECT count(*) FROM lifeguard.policy WHERE action <> 'log'")" 0
	check "settings of pg_lifeguard that are not the default" "$(ask "SELECT string_agg(name, ' ')
		FROM pg_settings WHERE name LIKE 'pg\\_lifeguard.%' AND source <> 'default'")" pg_lifeguard.database
}

has_published() { [ "$(ask "SELECT count(*) FROM lifeguard.policy_status")" = "$1" ]; }

rescue_evening() {
	step "An ordinary evening, as before."
	night_begin
	nap 1
	evening_from=$EPOCHREALTIME
	night_show 6
	evening_to=$EPOCHREALTIME
}

# ---------------------------------------------------------------------------
# What it would do
# ---------------------------------------------------------------------------

has_rehearsed() {
	[ "$(ask "SELECT count(*) FROM lifeguard.ledger WHERE policy = '$rescuer' AND outcome = 'rehearsed'")" = 1 ]
}

# Long lines that begin further left than they go on.
hang() {
	local line
	while IFS= read -r line; do
		printf '%s\n' "$line" | fold -s -w 92 | sed '1!s/^/      /; s/^/  /; s/ *$//'
	done
}

# log_lines TEXT: the lines of the server log with that text, and what belongs to each
log_lines() {
	local lines
	lines=$(awk -v text="$1" '
		/ (LOG|FATAL|ERROR|WARNING):  / { wanted = index($0, text) }
		wanted' "$cluster/log/server")
	[ -n "$lines" ] || give_up "the server log says nothing like: $1"
	printf '%s\n' "$lines" | hang
}

rescue_rehearsal() {
	local end=$((SECONDS + 20))
	step "admin-console: BEGIN; UPDATE cart_cache ... WHERE page = 'front page';   and is called away."
	forget_transaction
	until has_rehearsed; do
		[ $SECONDS -lt $end ] || give_up "the policy has rehearsed nothing"
		night_show 1
	done

	step "What would the policy have done?   SELECT * FROM lifeguard.preview_policy('$rescuer')"
	show -x -c "SELECT * FROM lifeguard.preview_policy('$rescuer')"
	step "What has it noted?   TABLE lifeguard.ledger (some columns), and the server log"
	show -x -c "SELECT at, policy, action, pid, application_name, blocked_total, relation_name, outcome
				FROM lifeguard.ledger WHERE policy = '$rescuer'"
	log_lines "policy \"$rescuer\" would act on session"
	check "whom preview_policy names" "$(ask "SELECT string_agg(pid::text, ',') FROM lifeguard.preview_policy('$rescuer')
		WHERE verdict = 'log'")" "$admin_pid"
	check "sessions blocked, as the ledger has it" "$(ask "SELECT blocked_total FROM lifeguard.ledger
		WHERE policy = '$rescuer'")" "$(ask "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")"
	check "sessions that any other policy would have hit" "$(ask "SELECT count(*) FROM lifeguard.ledger
		WHERE policy <> '$rescuer'")" 0
	check "its session, which nobody has touched" \
		"$(ask "SELECT state FROM pg_stat_activity WHERE pid = $admin_pid")" "idle in transaction"

	step "admin-console comes back in time and types COMMIT."
	type_commit
	check "what the console says" "$(tail -n 1 "$cluster/log/admin-console")" "committed 1"
	wait_until 20 has_waiting 0 || give_up "$n_waiting sessions still wait"
	rehearsed_pid=$admin_pid
	close_console
}

rescue_arm() {
	step "It would have hit the right one, and only that one. She arms it:"
	run "SELECT lifeguard.alter_policy('$rescuer', action => 'terminate');"
	night_show 3
	log_lines "policy \"$rescuer\" armed by"
	check "whom it would hit now" "$(ask "SELECT count(*) FROM lifeguard.preview_policy('$rescuer')
		WHERE verdict <> 'spared'")" 0
}

# ---------------------------------------------------------------------------
# What it does
# ---------------------------------------------------------------------------

is_gone() { [ ! -e "/proc/$admin_pid" ]; }

rescue_night() {
	local end=$((SECONDS + 30)) counted
	step "02:47. admin-console logs in again, does the same, and goes home. Nobody is awake."
	trouble_from=$EPOCHREALTIME
	forget_transaction
	rush_in 26
	step "$pile queries are blocked behind one row of one cache table. This demo now only looks on."
	until is_gone; do
		[ $SECONDS -lt $end ] || give_up "nobody has ended it"
		counted=$(ask "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
		# what was counted after its end tells nothing of before
		is_gone || in_pg_locks=$counted
		night_line
		wait_until 1 is_gone || true
	done
	step "The session of admin-console is gone. Nobody has done anything; the collector has."
	night_show 8
	after_to=$EPOCHREALTIME
	check "sessions that wait" "$n_waiting" 0
}

rescue_words() {
	step "Who was it, and why? The server log:"
	log_lines "policy \"$rescuer\" terminates session"
	log_lines "[$admin_pid] FATAL:"
	step "Next morning admin-console types COMMIT:"
	type_commit
	sed '1,/^updated/d' "$cluster/log/admin-console" | hang
	step "And the ledger has it:   TABLE lifeguard.ledger (the reason is as above)"
	show -x -c "SELECT at, policy, target, action, pid, usename, datname, application_name, state, state_age,
				blocked_total, left(blocked_pids::text, 40) || '...' AS blocked_pids, relation_name, query,
				signal, outcome, repeats, waiters_freed
				FROM lifeguard.ledger WHERE policy = '$rescuer' AND signal = 'SIGTERM'"
}

# ---------------------------------------------------------------------------
# Is all that true?
# ---------------------------------------------------------------------------

# of the one row that signalled somebody
from_ledger() { ask "SELECT $1 FROM lifeguard.ledger WHERE signal <> ''"; }

rescue_result() {
	local signalled died evening from answered last waited
	signalled=$(from_ledger "extract(epoch FROM at)::numeric(20,3)")
	died=$(moment "$(sed -n "s/ \[$admin_pid\] FATAL:.*//p" "$cluster/log/server")")
	# pgbench writes its log in blocks: let the newest lines come out
	nap 2

	step "What became of the $pile queries, by the clients' own clocks:"
	answered=$(answered_after "$signalled")
	printf '%s\n' "$answered" | awk -v pile="$pile" '
		{ ms[NR] = $1 }
		END {
			printf "       waiting: %d at the signal", NR
			for (i = 10; i > 0; i -= 3) {
				n = int(NR * i / 10)
				if (n < NR) printf ", %d after %.0f ms", n, ms[NR - n]
			}
			printf ", none after %.0f ms\n", ms[NR]
		}'
	last=$(printf '%s\n' "$answered" | awk 'END { print $1 }')
	waited=$(printf '%s\n' "$answered" | sort -k 2 -n | awk 'END { print $2 }')
	tell "When the signal went out, the longest of them had waited for $waited s; the limit is 10 s."

	step "What it meant for the users of shop-web, measured by the clients:"
	result_head
	requests "$evening_from" "$evening_to" "$evening_to"
	evening=$answers
	result_line "before"
	requests "$trouble_from" "$signalled" "$after_to"
	result_line "during the trouble"
	trouble_p99=$p99
	from=$(awk -v t="$signalled" 'BEGIN { printf "%.6f", t + 2 }')
	requests "$from" "$after_to" "$after_to"
	result_line "after the rescue"

	step "Is all that true? Against the clients, the server log and the process table:"
	check "sessions the server has ended" "$(grep -c 'FATAL:  terminating connection' "$cluster/log/server")" 1
	check "sessions the ledger says were signalled" "$(from_ledger "string_agg(pid || ' ' || application_name, ', ')")" \
		"$admin_pid admin-console"
	check "ended within 0.1 s of the signal, by its own line in the log" \
		"$(number "$died" "<" "$(awk -v t="$signalled" 'BEGIN { printf "%.3f", t + 0.1 }')")" yes
	check "not before the limit of 10 s, by the clients' clocks" "$(number "$waited" ">=" 10)" yes
	check "not later than 0.5 s after it" "$(number "$waited" "<" 10.5)" yes
	check "sessions blocked: the ledger, and pg_locks before" "$(from_ledger blocked_total)" "$in_pg_locks"
	check "waiters freed, as the ledger has it" "$(from_ledger waiters_freed)" "$pile"
	check "blocked queries that were answered" "$(printf '%s\n' "$answered" | wc -l)" "$pile"
	check "the last of them within 2 s of the signal" "$(number "$last" "<" 2000)" yes
	check "errors that any other client saw" "$(cat "$cluster"/log/{shop-*,report} | grep -c 'ERROR\|FATAL')" 0
	check "updates of admin-console: committed, not rolled back" \
		"$(ask "SELECT carts FROM cart_cache WHERE page = 'front page'")" 1
	check "throughput is back" "$(number "$answers" ">=" "$(awk -v b="$evening" 'BEGIN { print b * 0.7 }')")" yes
	check "the trouble was real: p99 above 5 s" "$(number "$trouble_p99" ">=" 5000)" yes
	check "rows of it in the ledger's table, for next morning" "$(ask "SELECT count(*) FROM lifeguard.ledger_entries
		WHERE pid = $admin_pid AND signal = 'SIGTERM'")" 1
}
