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
	scrape_by_exporter $waiters
	end_groups
}

# per_second NANOSECONDS: as percent of one core, once a second
per_second() { awk -v ns="$1" 'BEGIN { printf "%.3f", ns / 1e7 }'; }

# Where script/setup --test has unpacked it, or LG_CLIENTS says, or installed.
exporter() { PATH=${LG_CLIENTS:-$lg_cache/clients}/usr/bin:$PATH command -v prometheus-postgres-exporter; }

scrape_by_exporter() {
	local ours
	if [ -z "$(exporter)" ]; then
		echo "   postgres_exporter is not here (script/setup --test unpacks it): it scrapes nothing"
		return 0
	fi
	cp "$lg_root/contrib/prometheus/queries.yaml" "$work/queries.yaml"
	chmod 644 "$work/queries.yaml"
	sql -c "CREATE ROLE exporter LOGIN" -c "GRANT pg_monitor TO exporter"
	printf '   %-46s %12s %10s\n' "by postgres_exporter, $seconds scrapes, 1 s apart" "a time" "each second"
	exporter_cost --extend.query-path="$work/queries.yaml" --disable-default-metrics --disable-settings-metrics \
		--no-collector.database --no-collector.bgwriter
	ours=$exporter_share
	printf '   %-46s %12s %10s\n' "contrib/prometheus/queries.yaml" "$(exporter_time)" "$ours %"
	[ "$(sed -n 's/^pg_lifeguard_waiters{.*} //p' "$work/scraped")" = "$1" ] || give_up "the exporter sees no $1 waiters"
	exporter_cost
	printf '   %-46s %12s %10s\n' "the exporter as it comes, without them" "$(exporter_time)" "$exporter_share %"
	verdict "share of one core, by postgres_exporter" "$ours" "<" 0.5 " %"
}

exporter_time() { duration "$(awk -v percent="$exporter_share" 'BEGIN { print percent * 1e7 }')"; }

# exporter_cost OPTION...: sets exporter_share, in percent of one core, of all its
# backends, and leaves the last scrape in $work/scraped
exporter_cost() {
	local port i began next from reaped sessions try
	port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
	in_group lg_as_user env DATA_SOURCE_NAME="host=$cluster user=exporter dbname=postgres sslmode=disable" \
		"$(exporter)" --web.listen-address="127.0.0.1:$port" "$@" </dev/null >"$work/exporter.log" 2>&1
	for ((try = 0; try < 100; try++)); do
		! scrape "$port" || break
		nap 0.1
	done
	scrape "$port" || give_up "postgres_exporter does not answer: $(tail -n 3 "$work/exporter.log")"
	sessions=$(exporter_sessions)
	from=$(cpu_of_all "$sessions")
	reaped=$(reaped_by "$postmaster")
	began=$EPOCHREALTIME
	for ((i = 1; i <= seconds; i++)); do
		scrape "$port" || give_up "postgres_exporter has stopped answering"
		next=$(awk -v a="$began" -v i=$i -v b="$EPOCHREALTIME" 'BEGIN { print (a + i > b) ? a + i - b : 0 }')
		nap "$next"
	done
	grep -q '^pg_exporter_last_scrape_error 0' "$work/scraped" || give_up "postgres_exporter scrapes in vain: $(tail -n 3 "$work/exporter.log")"
	# whoever connects anew for each scrape leaves no process to look at
	if [ "$(exporter_sessions)" = "$sessions" ]; then
		reaped=0
	else
		reaped=$(awk -v a="$reaped" -v b="$(reaped_by "$postmaster")" 'BEGIN { print b - a }')
		echo "   (with its sessions that ended meanwhile)"
	fi
	exporter_share=$(per_second "$(awk -v a="$from" -v b="$(cpu_of_all "$sessions")" -v r="$reaped" -v n="$seconds" \
		'BEGIN { print (b - a + r) / n }')")
	kill -TERM -- "-$group" 2>/dev/null || true
	wait_for "the exporter's end" "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'exporter'"
}

exporter_sessions() { sql -At -c "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE usename = 'exporter'"; }

# cpu_of_all PIDS: together, in ns; those that have gone count nothing
cpu_of_all() {
	local pid sum=0
	for pid in $1; do
		sum=$((sum + $(cpu_of "$pid" 2>/dev/null || echo 0)))
	done
	echo $sum
}

# scrape PORT: into $work/scraped
scrape() {
	{
		exec {web}<>"/dev/tcp/127.0.0.1/$1" || return 1
	} 2>/dev/null
	printf 'GET /metrics HTTP/1.0\r\n\r\n' >&"$web"
	tr -d '\r' <&"$web" >"$work/scraped"
	exec {web}>&-
	grep -q '^pg_exporter_last_scrape_error' "$work/scraped"
}
