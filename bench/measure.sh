# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# measure.sh: servers and their connections, measuring and showing: what the
# scenes of script/bench have in common.

# ---------------------------------------------------------------------------
# Servers and their connections
# ---------------------------------------------------------------------------

# with_server LIBRARIES [SETTING...]: a fresh server with the extension in it
with_server() {
	local libraries=$1
	shift
	cluster_stop
	[ -z "$cluster" ] || rm -rf "$cluster"
	# So many slots that a pool full of idle connections is no incident; and nobody's
	# deadlock check may come between: of a thousand waiters in one
	# queue each makes one after deadlock_timeout.
	cluster_create "$work/server" "shared_preload_libraries = '$libraries'" \
		"max_connections = $((connections + connections / 5))" "deadlock_timeout = 1h" "autovacuum = off" \
		"max_locks_per_transaction = 64" "$@" || give_up "no cluster could be made"
	cluster_start || give_up "no server"
	mkdir "$cluster/turns"
	cp "$lg_root"/bench/*.sql "$cluster/turns"
	chmod 755 "$cluster/turns"
	[ "$(id -u)" != 0 ] || chown -R "$lg_user:$lg_group" "$cluster/turns"
	sql -c "CREATE EXTENSION pg_lifeguard" -c "CREATE TABLE pile (id int PRIMARY KEY, v int)" \
		-c "INSERT INTO pile SELECT i, 0 FROM generate_series(0, 2000) i" -c "VACUUM ANALYZE pile"
}

# hold COUNT ARG...: connections that stay; they end with end_groups
hold() {
	local count=$1 out try
	shift
	out=$(mktemp "$cluster/log/hold.XXXXXX")
	mkfifo "$out.in"
	exec {hold_input}<>"$out.in"
	in_group lg_as_user "$work/hold" -n "$count" "$@" \
		"host=$cluster user=postgres dbname=postgres application_name=bench" \
		<&"$hold_input" >"$out" 2>&1
	for ((try = 0; try < 1200; try++)); do
		[ ! -s "$out" ] || break
		nap 0.1
	done
	[ "$(cat "$out")" = ready ] || give_up "$(cat "$out")"
}

start_queue() {
	case $1 in
		flat) hold 1 -s "BEGIN; UPDATE pile SET v = v + 1 WHERE id = 0" ;;
		chain) hold 1 -f 0 -s "BEGIN; UPDATE pile SET v = v + 1 WHERE id = %d" ;;
		exclusive) hold 1 -s "BEGIN; SELECT count(*) FROM pile" ;;
	esac
}

# lengthen_queue SHAPE FROM TO: so many waiters more
lengthen_queue() {
	local more=$(($3 - $2))
	case $1 in
		# all of them update one row
		flat) hold $more -w "UPDATE pile SET v = v + 1 WHERE id = 0" ;;
		# each has updated a row of its own and wants its predecessor's
		chain) hold $more -f $(($2 + 1)) -s "BEGIN; UPDATE pile SET v = v + 1 WHERE id = %d" \
			-w "UPDATE pile SET v = v + 1 WHERE id = %p" ;;
		# readers behind one that wants the table for itself
		exclusive)
			if [ "$2" = 0 ]; then
				hold 1 -w "BEGIN; LOCK TABLE pile"
				wait_for_waiting 1
				more=$((more - 1))
			fi
			hold $more -w "SELECT count(*) FROM pile"
			;;
	esac
	wait_for_waiting "$3"
}

waiting() { sql -At -c "SELECT count(*) FROM pg_locks WHERE NOT granted"; }

wait_for_waiting() {
	local try
	for ((try = 0; try < 300; try++)); do
		[ "$(waiting)" != "$1" ] || return 0
		nap 0.2
	done
	give_up "$(waiting) wait instead of $1"
}

# wait_for WHAT QUERY: until it says t
wait_for() {
	local try
	for ((try = 0; try < 300; try++)); do
		[ "$(sql -At -c "$2")" != t ] || return 0
		nap 0.2
	done
	give_up "waited in vain for $1"
}

victims() { lg_as_user "$work/victims" "$@"; }

# as_client ROLE: where a client of that role connects
as_client() { echo "host=$cluster user=$1 dbname=postgres application_name=$1"; }

# Roles whose idle transactions end after 1 s, each in its own way.
with_killers() {
	sql -c "CREATE ROLE ours LOGIN" -c "CREATE ROLE core LOGIN" -c "CREATE ROLE polled LOGIN" \
		-c "ALTER ROLE core SET idle_in_transaction_session_timeout = '1s'" \
		-c "GRANT ALL ON pile TO ours, core, polled" >/dev/null
	sql -c "SELECT lifeguard.create_policy('pauses', 'idle in transaction', '1 s', roles => '{ours}',
		action => 'terminate', max_per_pass => 0, max_per_minute => 0, cooldown => '0')" \
		-c "ALTER SYSTEM SET pg_lifeguard.max_actions_per_minute = 0" -c "SELECT pg_reload_conf()" >/dev/null
	wait_for "the policy" "SELECT count(*) = 1 FROM lifeguard.policy_status"
}

pid_of() { sql -At -c "SELECT pid FROM pg_stat_activity WHERE backend_type = '$1'"; }

cpu_of() { cut -d ' ' -f 1 "/proc/$1/schedstat"; }

# ---------------------------------------------------------------------------
# Measuring
# ---------------------------------------------------------------------------

declare -A cpu			# by name: nanoseconds per execution, median

median() { sort -g | awk '{ v[NR] = $1 } END { printf "%.1f\n", (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# percentile P: of the numbers on standard input
percentile() { sort -g | awk -v p="$1" '{ v[NR] = $1 } END { i = int(p * NR / 100 + 0.999999); printf "%.1f\n", v[i < 1 ? 1 : i] }'; }

width() { printf '%s\n' "$@" | sort -g | awk 'NR == 1 { least = $1 } END { printf "%.1f", $1 - least }'; }

# measure NAME:TIMES...: run bench/NAME.sql in one session, TIMES in a row, all
# of them in turn, $rounds turns.
measure() {
	local script=$cluster/turns/script item name times round i log=$cluster/turns/log
	rm -f "$log"
	{
		echo "SET statement_timeout = '120s';"
		echo "SELECT pg_backend_pid() AS pid \\gset"
		echo "\\setenv LG_PID :pid"
		echo "\\o /dev/null"
		for item in "$@"; do
			echo "\\i $cluster/turns/${item%:*}.sql"
		done
		for ((round = 0; round < rounds; round++)); do
			for item in "$@"; do
				name=${item%:*}
				times=${item#*:}
				echo "\\! echo $name $times \$(cut -d ' ' -f 1 /proc/\$LG_PID/schedstat) >>$log"
				for ((i = 0; i < times; i++)); do
					echo "\\i $cluster/turns/$name.sql"
				done
				echo "\\! echo end 0 \$(cut -d ' ' -f 1 /proc/\$LG_PID/schedstat) >>$log"
			done
		done
	} >"$script"
	sql -P pager=off -f "$script" || give_up "the queries could not be run"
	for item in "$@"; do
		name=${item%:*}
		cpu[$name]=$(awk -v name="$name" '
			$1 == "end" && open { print ($3 - from) / times; open = 0 }
			$1 == name { from = $3; times = $2; open = 1 }' "$log" | median)
	done
}

# passes_cost SECONDS: CPU of the collector per pass in that time, by the
# scheduler's account and by its own
passes_cost() {
	local collector from_cpu from_passes from_cost to_passes to_cost
	collector=$(sql -At -c "SELECT collector_pid FROM lifeguard.status")
	read -r from_passes from_cost < <(collector_account)
	from_cpu=$(cpu_of "$collector")
	nap "$1"
	pass_cpu=$(($(cpu_of "$collector") - from_cpu))
	read -r to_passes to_cost < <(collector_account)
	passes=$((to_passes - from_passes))
	[ $passes -gt 0 ] || give_up "the collector made no pass"
	own_cost=$(awk -v c="$((to_cost - from_cost))" -v n=$passes 'BEGIN { print c * 1000 / n }')
	pass_cpu=$(awk -v c=$pass_cpu -v n=$passes 'BEGIN { print c / n }')
}

collector_account() {
	sql -At -F ' ' -c "SELECT passes, (extract(epoch FROM total_cost) * 1e6)::bigint FROM lifeguard.status"
}

# share_of PID...: sets share[PID], percent of one core in $seconds
declare -A share
share_of() {
	local pid from=()
	local began=$EPOCHREALTIME
	for pid in "$@"; do from+=("$(cpu_of "$pid")"); done
	nap "$seconds"
	for pid in "$@"; do
		share[$pid]=$(awk -v cpu="$(($(cpu_of "$pid") - from[0]))" -v from="$began" -v to="$EPOCHREALTIME" \
			'BEGIN { printf "%.4f", cpu / 1e7 / (to - from) }')
		from=("${from[@]:1}")
	done
}

# CPU of the processes that a server has had, those still there not counted, in
# ns: what the kernel charges a parent for its dead children.  Nobody else may end
# meanwhile.  In steps of 10 ms.
reaped_by() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($14 + $15) * 1e9 / hz }' "/proc/$1/stat"; }

# What a process has of its own is what it costs; shared pages are PostgreSQL's.
memory_of() {
	awk -v what="$1" '/^RssAnon:/ { own = $2 } /^VmRSS:/ { all = $2 }
		END { printf "   %-46s %10d kB resident, %d kB of that its own\n", what, all, own }' "/proc/$2/status"
}

# start_under_callgrind LIBRARIES [OPTION...]: the server of with_server, stopped
# since, with these libraries; OPTION: for callgrind.
start_under_callgrind() {
	local libraries=$1 try
	shift
	# a folder each: processes of the one before may still be writing
	callgrind=$(mktemp -d "$work/callgrind.XXXXXX")
	[ "$(id -u)" != 0 ] || chown "$lg_user" "$callgrind"
	in_group lg_as_user valgrind --tool=callgrind --callgrind-out-file="$callgrind/%p" "$@" \
		"$(lg_bindir)/postgres" -D "$cluster/data" -c "shared_preload_libraries=$libraries" \
		-c pg_lifeguard.sample_interval=0 </dev/null >"$work/valgrind" 2>&1
	for ((try = 0; try < 600; try++)); do
		! sql -c "SELECT 1" >/dev/null 2>&1 || return 0
		nap 0.2
	done
	give_up "no server under callgrind: $(tail -n 3 "$work/valgrind")"
}

stop_under_callgrind() {
	lg_as_user "$(lg_bindir)/pg_ctl" -D "$cluster/data" -m fast -w -t 120 stop >/dev/null
}

# counted_in NAME: the file of that name that callgrind writes, once it is whole
counted_in() {
	local try
	for ((try = 0; try < 300; try++)); do
		! grep -q '^totals:' "$callgrind/$1" 2>/dev/null || break
		nap 0.1
	done
	echo "$callgrind/$1"
}

in_all() { awk '/^totals:/ { print $2 }' "$1"; }

# Cost lines belong to the object named last; the line after "calls=" is what
# the callee took, and is counted there.
inside_library() {
	awk '/^ob=/ { id = $1; if (NF > 1) names[id] = $2 }
		/^cob=/ { if (NF > 1) names[substr($1, 2)] = $2 }
		/^calls=/ { skip = 1; next }
		/^[-+*0-9]/ { if (!skip) cost[id] += $2; skip = 0 }
		END { for (id in cost) if (names[id] ~ /pg_lifeguard/) sum += cost[id]; print sum + 0 }' "$1"
}

# ---------------------------------------------------------------------------
# Showing
# ---------------------------------------------------------------------------

title() { printf '\n== %s\n' "$*"; }

duration() { awk -v ns="$1" 'BEGIN { if (ns < 99950) printf "%.1f us", ns / 1e3; else if (ns < 99.95e6) printf "%.2f ms", ns / 1e6; else printf "%.0f ms", ns / 1e6 }'; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf (a / b < 10) ? "%.1fx" : "%.0fx", a / b }'; }

# verdict WHAT MEASURED RELATION WANTED UNIT
verdict() {
	printf '   wanted: %s %s %s%s   measured: %s%s   %s\n' "$1" "$3" "$4" "$5" "$2" "$5" \
		"$(awk -v a="$2" -v b="$4" -v r="$3" 'BEGIN { print ((r == ">=") ? a >= b : (r == "<") ? a < b : a <= b) ? "met" : "NOT MET" }')"
}

quotient() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }

# against NAME TEXT: a line that sets cpu[NAME] beside ours
against() { printf '   %-46s %12s  %8s\n' "$2" "$(duration "${cpu[$1]}")" "$(ratio "${cpu[$1]}" "$ours")"; }
