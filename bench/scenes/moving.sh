# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# moving.sh: whom one ends who has just gone on.

# Whoever is ended while a statement of his has begun has it in his log line, as
# the server itself saw it.
count_late() {
	awk -v role="$1" '$2 == role && /FATAL:/ { fatal[$1]++; n++ }
		$2 == role && /STATEMENT:/ && fatal[$1] { late++ }
		END { print n + 0, late + 0 }' "$cluster/log/server"
}

scene_moving() {
	local out=$work/moving i lane=0 role name ended late below poll spared below_of=() late_of=()
	title "moving: 100 sessions each that pause 900 to 1,300 ms in a transaction, limit 1 s, $moving_seconds s, both cores loaded"
	with_server pg_lifeguard "log_line_prefix = '%p %u '" "max_connections = 400"
	with_killers
	for ((i = 0; i < $(nproc); i++)); do
		in_group lg_as_user sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1
	done
	in_group poll_and_terminate </dev/null >/dev/null 2>&1
	victims pause "$moving_seconds" 100 1000 900 1300 "$(as_client ours)" "$(as_client core)" "$(as_client polled)" >"$out" ||
		give_up "the clients failed"
	end_groups
	nap 1
	printf '   %-46s %9s %9s %9s %9s %9s\n' "" pauses ended rightful below late
	for role in ours core polled; do
		case $role in
			ours) name="a policy of pg_lifeguard" ;;
			core) name="idle_in_transaction_session_timeout" ;;
			polled) name="a poll each second, pg_terminate_backend()" ;;
		esac
		read -r ended late < <(count_late $role)
		below=$(awk -v l=$lane '$1 == l { print $4 }' "$out")
		printf '   %-46s %9s %9s %9s %9s %9s\n' "$name" "$(awk -v l=$lane '$1 == l { print $2 }' "$out")" \
			"$ended" "$((ended - late - below))" "$below" "$late"
		below_of+=("$below")
		late_of+=("$late")
		lane=$((lane + 1))
	done
	spared=$(sql -At -c "SELECT count(*) FROM lifeguard.ledger WHERE outcome LIKE 'spared: %'")
	echo "   of ours, spared by the session itself because it had moved on: $spared"
	verdict "late" "${late_of[0]}" "<=" 0 ""
	verdict "below the limit, against core's" "${below_of[0]}" "<=" "${below_of[1]}" ""
}

poll_and_terminate() {
	while :; do
		echo "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'
			AND now() - state_change > '1 s' AND usename = 'polled';"
		sleep 1
	done | sql
}
