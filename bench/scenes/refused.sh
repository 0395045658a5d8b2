# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# refused.sh: a full server, and clients that do nothing but try.

# Raw sockets, 8 at a time, in turn with and without us.  A slot kept for superusers
# is refused late, after authentication; where none is left at all, at once.
scene_refused() {
	local round cause library rate=() lost=0
	declare -A rates=()
	title "refused: attempts to connect to a full server, as fast as raw sockets give, $rounds rounds of $flood_seconds s"
	printf '   %-18s %-14s %10s %10s %10s %10s %12s\n' "cause" preloaded "per s" refused otherwise counted "collector"
	for ((round = 0; round < rounds; round++)); do
		for library in "" pg_lifeguard; do
			for cause in slots "superuser reserved"; do
				flood "$library" "$cause"
			done
		done
	done
	for cause in slots "superuser reserved"; do
		verdict "$cause: attempts per second, to those without" \
			"$(awk -v a="$(rate_of "$cause" pg_lifeguard)" -v b="$(rate_of "$cause" "")" 'BEGIN { printf "%.3f", a / b }')" ">=" 0.95 x
	done
	verdict "refused and not counted" "$lost" "<=" 0 ""
}

# rate_of CAUSE LIBRARY: the median over the rounds
rate_of() {
	# shellcheck disable=SC2086	# a list
	printf '%s\n' ${rates[$1.$2]} | median
}

# flood LIBRARY CAUSE: a line for one flood
flood() {
	local max=20 spare=3 attempts refused others took counted=- collector="" from share=-
	with_server "$1" "max_connections = $max" "superuser_reserved_connections = $spare" "log_min_messages = fatal"
	sql -c "CREATE ROLE knocker LOGIN"
	[ -z "$1" ] || collector=$(sql -At -c "SELECT collector_pid FROM lifeguard.status")
	# nobody is to leave meanwhile, and let one in
	nap 0.5
	if [ "$2" = slots ]; then hold $max -s "SELECT 1"; else hold $((max - spare)) -s "SELECT 1"; fi
	[ -z "$collector" ] || from=$(cpu_of "$collector")
	read -r attempts refused others took < <(lg_as_user "$work/crowd" knock 8 "$flood_seconds" "$cluster/.s.PGSQL.5432" \
		knocker postgres) || give_up "nobody knocks"
	[ -z "$collector" ] || share="$(awk -v ns=$(($(cpu_of "$collector") - from)) -v s="$took" 'BEGIN { printf "%.3f", ns / 1e7 / s }') %"
	end_groups
	wait_for "an empty server" "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'" 2>/dev/null
	if [ -n "$1" ]; then
		counted=$(sql -At -c "SELECT sum(refusals) FROM lifeguard.refusal_counts WHERE cause = '$2'")
		# what hold's own end and our log-in were refused is not of that cause, or of all
		lost=$((lost + refused - counted))
	fi
	rates[$2.$1]+="$(awk -v n="$attempts" -v s="$took" 'BEGIN { print n / s }') "
	printf '   %-18s %-14s %10.0f %10d %10d %10s %12s\n' "$2" "${1:-nothing}" \
		"$(awk -v n="$attempts" -v s="$took" 'BEGIN { print n / s }')" "$refused" "$others" "$counted" "$share"
}
