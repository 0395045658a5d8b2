# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# pass.sh: one pass of the collector over idle connections.

scene_pass() {
	local round ours by_own=() by_cpu=() theirs=()
	title "pass: one pass over $connections idle connections, CPU"
	with_server pg_lifeguard
	hold "$connections" -s "SELECT 1"
	# as often as it may, so that many passes can be counted
	sql -c "ALTER SYSTEM SET pg_lifeguard.sample_interval = '10ms'" -c "SELECT pg_reload_conf()" >/dev/null
	for ((round = 0; round < (rounds + 1) / 2; round++)); do
		passes_cost 3
		by_own+=("$own_cost")
		by_cpu+=("$pass_cpu")
		measure all_of_pg_stat_activity:10 states_of_pg_stat_activity:10 all_of_sessions:10 connections:20 run_pass:20
		theirs+=("${cpu[all_of_pg_stat_activity]}")
	done
	cpu[own]=$(printf '%s\n' "${by_own[@]}" | median)
	cpu[pass]=$(printf '%s\n' "${by_cpu[@]}" | median)
	ours=${cpu[pass]}
	printf '   %-46s %12s  %8s\n' "" "CPU" "to ours"
	against pass "the collector, per pass, waking included"
	against own "  of that the pass itself (status.total_cost)"
	against run_pass "SELECT lifeguard.run_pass()"
	against connections "SELECT * FROM lifeguard.connections"
	against all_of_sessions "SELECT * FROM lifeguard.sessions"
	against states_of_pg_stat_activity "an agent's GROUP BY over pg_stat_activity"
	against all_of_pg_stat_activity "SELECT * FROM pg_stat_activity"
	verdict "pg_stat_activity to a pass" \
		"$(quotient "${cpu[all_of_pg_stat_activity]}" "$ours")" ">=" 20 x
	end_groups
}
