# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# refused.sh: a full server, and clients that do nothing but try.

# Raw sockets, 8 at a time, in turn with and without us.  Where no slot is left at
# all a backend refuses at once; where the last ones are the superusers', after
# authentication.  How many a second depends on what else the machine does; what
# CPU each takes, as the postmaster is charged for its dead children, hardly does.
scene_refused() {
	local round cause library wrong=0
	declare -A rates=() costs=()
	title "refused: attempts to connect to a full server, as fast as raw sockets give, $rounds rounds of $flood_seconds s"
	printf '   %-18s %-13s %7s %9s %9s %8s %8s %10s\n' "cause" preloaded "per s" "CPU each" refused others counted "collector"
	for ((round = 0; round < rounds; round++)); do
		for library in "" pg_lifeguard; do
			for cause in slots "superuser reserved"; do
				flood "$library" "$cause"
			done
		done
	done
	for cause in slots "superuser reserved"; do
		echo "   $cause: attempts per second, to those without: $(to_without "${rates[$cause.pg_lifeguard]}" "${rates[$cause.]}")x"
		verdict "$cause: CPU of an attempt, to one without" \
			"$(to_without "${costs[$cause.pg_lifeguard]}" "${costs[$cause.]}")" "<=" 1.05 x
	done
	verdict "refused and not counted, or counted and not refused" "$wrong" "<=" 0 ""
}

# to_without OURS THEIRS: of the medians of two lists
to_without() {
	# shellcheck disable=SC2086	# lists
	awk -v a="$(printf '%s\n' $1 | median)" -v b="$(printf '%s\n' $2 | median)" 'BEGIN { printf "%.3f", a / b }'
}

# Sessions by the titles of the server's processes: to ask it would be refused.
nobody_left() {
	local child
	# shellcheck disable=SC2013	# words, on one line
	for child in $(cat "/proc/$postmaster/task/$postmaster/children"); do
		! grep -q '^postgres: postgres postgres ' "/proc/$child/cmdline" 2>/dev/null || return 1
	done
}

# flood LIBRARY CAUSE: a line for one flood
flood() {
	local max=20 spare=3 attempts refused others took counted=- collector="" from reaped cost rate share=- try
	with_server "$1" "max_connections = $max" "superuser_reserved_connections = $spare"
	sql -c "CREATE ROLE knocker LOGIN"
	[ -z "$1" ] || collector=$(sql -At -c "SELECT collector_pid FROM lifeguard.status")
	nap 1
	if [ "$2" = slots ]; then hold $max -s "SELECT 1"; else hold $((max - spare)) -s "SELECT 1"; fi
	[ -z "$collector" ] || from=$(cpu_of "$collector")
	reaped=$(reaped_by "$postmaster")
	read -r attempts refused others took < <(lg_as_user "$work/knock" 8 "$flood_seconds" 0 "$cluster/.s.PGSQL.5432" \
		knocker postgres) || give_up "nobody knocks"
	cost=$(awk -v a="$reaped" -v b="$(reaped_by "$postmaster")" -v n="$attempts" 'BEGIN { print (b - a) / n }')
	rate=$(awk -v n="$attempts" -v s="$took" 'BEGIN { print n / s }')
	[ -z "$collector" ] || share="$(awk -v ns=$(($(cpu_of "$collector") - from)) -v s="$took" 'BEGIN { printf "%.3f", ns / 1e7 / s }') %"
	end_groups
	for ((try = 0; try < 100; try++)); do
		! nobody_left || break
		nap 0.1
	done
	if [ -n "$1" ]; then
		counted=$(sql -At -c "SELECT sum(refusals) FROM lifeguard.refusal_counts")
		wrong=$((wrong + (refused > counted ? refused - counted : counted - refused)))
	fi
	rates[$2.$1]+="$rate "
	costs[$2.$1]+="$cost "
	printf '   %-18s %-13s %7.0f %9s %9d %8d %8s %10s\n' "$2" "${1:-nothing}" "$rate" "$(duration "$cost")" \
		"$refused" "$others" "$counted" "$share"
}
