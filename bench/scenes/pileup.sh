# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# pileup.sh: the collector's share of a core with 200 sessions waiting for one row.

scene_pileup() {
	local collector waiters=200 root_query each
	title "pileup: share of one core over $seconds s, $waiters sessions wait for one row, fast interval"
	with_server pg_lifeguard
	start_queue flat
	lengthen_queue flat 0 $waiters
	nap 2
	collector=$(sql -At -c "SELECT collector_pid FROM lifeguard.status")
	share_of "$collector"
	each=${share[$collector]}
	printf '   %-46s %10s %%\n' "pg_lifeguard (100 ms)" "$each"
	measure count_of_blockers:20 roots_by_pg_blocking_pids:5 blocking_of_pg_activity:5
	root_query=${cpu[roots_by_pg_blocking_pids]}
	printf '   %-46s %10s %%\n' "the pg_blocking_pids root query every 100 ms" \
		"$(awk -v ns="$root_query" 'BEGIN { printf "%.4f", ns / 1e6 }')"
	printf '   %-46s %10s %%\n' "pg_activity's query every 100 ms" \
		"$(awk -v ns="${cpu[blocking_of_pg_activity]}" 'BEGIN { printf "%.4f", ns / 1e6 }')"
	verdict "share of one core" "$each" "<" 0.2 " %"
	end_groups
}
