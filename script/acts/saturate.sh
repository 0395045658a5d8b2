# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# Act 2, the saturation: more clients than slots, while nearly half of the slots
# are parked.  Once without a policy, once with the recommended one.
#
# The cast, for the 100 slots that ordinary roles can use:
#   shop-mobile    20  connections that pools of three programs once opened and
#   back-office    15  do not use (45 %)
#   newsletter     10
#   shop-web      300  visitors in four steps, 50, 100, 200, 300: each comes every
#                      3 s, connects, is served for 0.7 s and leaves.  At 300 that
#                      is 70 connections at a time, beside the parked ones 15 too many.
#
# They are real clients, bench/crowd.c: libpq, a thread per visitor.

slots=100
parkers=(shop-mobile back-office newsletter)
declare -A n_parked=([shop-mobile]=20 [back-office]=15 [newsletter]=10)
all_parked=45
crowd_steps=(50 100 200 300)
crowd_lasts=(3 3 5 8)		# seconds of each step
crowd_cycle=3000
crowd_hold=700
making_room=idle_while_full

act_saturate() {
	title "Act 2, the saturation: 300 visitors, 100 slots, and 45 of them parked"
	night_prepare "max_connections = 120" "superuser_reserved_connections = 20"
	saturate_build
	saturate_park
	saturate_without
	saturate_story
	saturate_arm
	saturate_with
	saturate_words
	saturate_result
}

saturate_build() {
	gcc -O2 -Wall -Wextra -I"$("$(lg_pg_config)" --includedir)" "$lg_root/bench/crowd.c" -o "$work/crowd" \
		-L"$("$(lg_pg_config)" --libdir)" -Wl,-rpath,"$("$(lg_pg_config)" --libdir)" -lpq -lpthread ||
		give_up "the clients could not be built"
}

# crowd NAME OUTPUT ARG...: clients that call themselves NAME
crowd() {
	local name=$1 output=$2
	shift 2
	in_group lg_as_user "$work/crowd" "$@" "host=$cluster user=shop dbname=shop application_name=$name" \
		<&"$crowd_input" >"$cluster/log/$output" 2>&1
}

has_parked() {
	[ "$(cat "$cluster"/log/parked.* | grep -c '^ready')" = ${#parkers[@]} ]
}

saturate_park() {
	local name
	tell "A server with $slots connections for ordinary roles (and 20 for superusers). Three programs" \
		"opened pools once and leave them idle; no policy exists."
	mkfifo "$cluster/crowd"
	exec {crowd_input}<>"$cluster/crowd"
	for name in "${parkers[@]}"; do
		crowd "$name" "parked.$name" park "${n_parked[$name]}"
	done
	wait_until 20 has_parked || give_up "the pools could not be opened: $(cat "$cluster"/log/parked.*)"
	show -c "SELECT usename, application_name, used, active, idle FROM lifeguard.connection_usage WHERE usename = 'shop'"
	check "idle connections, of $slots" "$(ask "SELECT sum(idle) FROM lifeguard.connection_usage WHERE usename = 'shop'")" \
		"$all_parked"
}

# ---------------------------------------------------------------------------
# The step load
# ---------------------------------------------------------------------------

# visitors RUN CMD: all four steps, and CMD STEP SECOND in each second; step_from and
# step_to are when each step began and ended
visitors() {
	local i before=0 second came=()
	step_from=()
	step_to=()
	for i in "${!crowd_steps[@]}"; do
		step_from[i]=$EPOCHREALTIME
		crowd shop-web "visitors.$1.$i" visit $((crowd_steps[i] - before)) $crowd_cycle $crowd_hold 600
		came+=("$group")
		before=${crowd_steps[i]}
		for ((second = 0; second < crowd_lasts[i]; second++)); do
			nap 1
			visitors_line "$1" "${crowd_steps[i]}"
			"$2" "$i" "$second"
		done
		step_to[i]=$EPOCHREALTIME
	done
	for i in "${came[@]}"; do
		kill -TERM -- "-$i" 2>/dev/null || true
	done
	wait_until 20 has_only_parked || give_up "the visitors do not leave: $n_sessions sessions"
	step_to[3]=$EPOCHREALTIME
}

# Nobody there any more but who parks.
has_only_parked() {
	count_sessions
	[ "$n_sessions" = $((all_parked - $(count_ended))) ]
}

count_ended() { awk '/ ended / { n++ } END { print n + 0 }' "$cluster"/log/parked.*; }

# One line a second of what the visitors themselves met in it.
visitors_line() {
	local served refused
	count_sessions
	read -r served refused < <(cat "$cluster/log/visitors.$1".* | awk -v now="$EPOCHREALTIME" '
		$2 == "served" && $1 > now - 1 && $1 <= now { served++ }
		$2 == "refused" && $1 > now - 1 && $1 <= now { refused++ }
		END { print served + 0, refused + 0 }')
	printf '       %3d visitors: %3d served, %3d attempts refused   %3d of %d slots taken, %2d parked\n' \
		"$2" "$served" "$refused" "$n_sessions" "$slots" $((all_parked - $(count_ended)))
}

# met RUN STEP WHAT: what the visitors met in that step
met() {
	cat "$cluster/log/visitors.$1".* | awk -v what="$3" -v from="${step_from[$2]}" -v to="${step_to[$2]}" '
		$2 == what { at = (what == "served") ? $3 : $1; if (at >= from && at < to) n++ }
		END { print n + 0 }'
}

# met_in_all RUN WHAT
met_in_all() { cat "$cluster/log/visitors.$1".* | awk -v what="$2" '$2 == what { n++ } END { print n + 0 }'; }

# waited RUN STEP: the 99th percentile of how many ms visitors had wanted to come
# in when they were let in, or at the end had not been
waited() {
	cat "$cluster/log/visitors.$1".* | awk -v from="${step_from[$2]}" -v to="${step_to[$2]}" '
		$2 == "served" && $3 >= from && $3 < to { print $4 }
		$2 == "outside" && $1 >= from && $1 < to { print $4 }' |
		sort -n | awk '{ v[NR] = $1 } END { i = int(NR * 0.99 + 0.999); printf "%.0f", v[i ? i : 1] }'
}

visitors_table() {
	local i
	printf '       %-10s %12s %12s %16s\n' "visitors" "let in" "refused" "p99 to get in"
	for i in "${!crowd_steps[@]}"; do
		printf '       %-10d %12d %12d %13d ms\n' "${crowd_steps[i]}" "$(met "$1" "$i" served)" \
			"$(met "$1" "$i" refused)" "$(waited "$1" "$i")"
	done
}

# ---------------------------------------------------------------------------
# Without a policy
# ---------------------------------------------------------------------------

saturate_without() {
	step "The sale begins: 50 visitors, then 100, 200, 300. Each comes every 3 s, and stays for 0.7 s."
	tell "(Slots are counted as processes of the server: one that is about to refuse counts, too.)"
	slots_named=
	visitors 1 saturate_look
	step "What they met, by their own count:"
	visitors_table 1
	tell "(attempts refused with SQLSTATE 53300; who is refused tries again 250 ms later)"
	check "attempts refused while 50 and 100 came" $(($(met 1 0 refused) + $(met 1 1 refused))) 0
	check "slots named while 50 and 100 came" "${slots_named:-no}" no
	check "attempts refused while 300 came: more than 50" "$(number "$(met 1 3 refused)" ">=" 50)" yes
	check "the trouble was real: p99 to get in above 1 s" "$(number "$(waited 1 3)" ">=" 1000)" yes
	check "parked connections, none of which anybody has touched" $((all_parked - $(count_ended))) "$all_parked"
	check "visitors that failed otherwise" "$(met_in_all 1 failed)" 0
}

# saturate_look STEP SECOND: at the end of a step, or in the middle of the last
saturate_look() {
	local names
	if [ "$1" -lt 3 ]; then
		[ $(($2 + 1)) = "${crowd_lasts[$1]}" ] || return 0
		names=$(ask "SELECT string_agg(component, ', ') FROM lifeguard.bottleneck") || give_up "the view bottleneck cannot be read"
		printf '       What gives way, as lifeguard.bottleneck says: %s\n' "${names:-nothing}"
		[ "$1" = 2 ] || slots_named+=$(printf '%s\n' "$names" | grep -o slots || true)
		return 0
	fi
	[ "$2" = 5 ] || return 0
	step "She logs in through a reserved slot. What gives way?   TABLE lifeguard.bottleneck (some columns)"
	tell "$(ask "SELECT concat_ws(E'\n', component || ' (' || what || ')', figures, advice) FROM lifeguard.bottleneck LIMIT 1")"
	check "what it names first" "$(ask "SELECT component FROM lifeguard.bottleneck LIMIT 1")" slots
	step "Who has them?   TABLE lifeguard.connection_usage (some columns)"
	show -c "SELECT application_name, used, active, idle, date_trunc('second', oldest) AS oldest
				FROM lifeguard.connection_usage WHERE usename = 'shop'"
}

# The server has no count of those it turns away; each of them tells us.
saturate_story() {
	local refused
	refused=$(met_in_all 1 refused)
	wait_until 10 has_counted "$refused" || true
	step "Who was turned away, and why?   TABLE lifeguard.refusal_counts; lifeguard.refusals by client"
	show -c "SELECT cause, refusals, last_at::time(3) AS last_at FROM lifeguard.refusal_counts WHERE refusals > 0"
	show -c "SELECT usename, datname, application_name, sum(attempts) AS attempts, min(at)::time(3) AS first,
				max(at)::time(3) AS last FROM lifeguard.refusals GROUP BY 1, 2, 3 ORDER BY 4 DESC"
	check "attempts refused: the server's count, and the visitors'" \
		"$(ask "SELECT refusals FROM lifeguard.connections")" "$refused"
	check "the same from one row each" "$(ask "SELECT sum(attempts) FROM lifeguard.refusals")" "$refused"

	step "And who had the slots when that began?   TABLE lifeguard.saturation_snapshots"
	show -c "SELECT at::time(3) AS at, used, application_name, total, active, idle, date_trunc('second', oldest_idle) AS oldest_idle
				FROM lifeguard.saturation_snapshots WHERE reason = 'refusal'
				AND at = (SELECT min(at) FROM lifeguard.saturation_snapshots WHERE reason = 'refusal') ORDER BY total DESC"
	check "snapshots whose rows do not add up to the slots taken" "$(ask "SELECT count(*) FROM (SELECT FROM lifeguard.saturation_snapshots
		GROUP BY at, reason, used HAVING sum(total) <> used) x")" 0
	check "idle in that moment, of the three programs" "$(ask "SELECT sum(idle) FROM lifeguard.saturation_snapshots
		WHERE reason = 'refusal' AND application_name <> 'shop-web'
		AND at = (SELECT min(at) FROM lifeguard.saturation_snapshots WHERE reason = 'refusal')")" "$all_parked"
}

has_counted() { [ "$(ask "SELECT sum(attempts) FROM lifeguard.refusals")" = "$1" ]; }

# ---------------------------------------------------------------------------
# With the recommended one
# ---------------------------------------------------------------------------

saturate_arm() {
	step "The next sale will come. SELECT lifeguard.create_recommended_policies(), and she arms one of them:"
	ask "SELECT lifeguard.create_recommended_policies()" >/dev/null || give_up "that failed"
	tell "While 90 % of the slots are taken it ends the longest idle sessions, until 75 % are, and leaves" \
		"two per program. What has been idle for less than a minute is left alone; this demo has no" \
		"minute, and says 10 s. All else is as created:"
	run "SELECT lifeguard.alter_policy('$making_room', min_duration => '10 s', action => 'terminate');"
	show -x -c "SELECT name, target, min_duration, connections_above, connections_until, keep, action, victim_order,
				max_per_pass, max_per_minute FROM lifeguard.policy WHERE name = '$making_room'"
	tell "SELECT lifeguard.reset();   -- forgets the high-water mark and the refusals so far"
	ask "SELECT lifeguard.reset()" >/dev/null || give_up "that failed"
	wait_until 10 is_armed || give_up "the policy is not in force"
	check "settings of pg_lifeguard that are not the default" "$(ask "SELECT string_agg(name, ' ')
		FROM pg_settings WHERE name LIKE 'pg\\_lifeguard.%' AND source <> 'default'")" pg_lifeguard.database
}

is_armed() {
	[ "$(ask "SELECT in_force AND action = 'terminate' FROM lifeguard.policy_status JOIN lifeguard.policy USING (name)
		WHERE name = '$making_room'")" = t ]
}

saturate_with() {
	step "The same visitors again. This demo only looks on."
	visitors 2 true
	step "What they met this time:"
	visitors_table 2
}

saturate_words() {
	local ended
	step "Who had the slots when it acted first?   TABLE lifeguard.saturation_snapshots"
	show -c "SELECT at::time(3) AS at, used, application_name, total, active, idle, date_trunc('second', oldest_idle) AS oldest_idle
				FROM lifeguard.saturation_snapshots WHERE reason = 'high water'
				AND at = (SELECT s.at FROM lifeguard.saturation_snapshots s,
						(SELECT min(at) AS first FROM lifeguard.ledger WHERE policy = '$making_room') l
					WHERE reason = 'high water' ORDER BY abs(extract(epoch FROM s.at - first)) LIMIT 1)
				ORDER BY total DESC"
	step "Whom did it end? By the ledger:"
	show -c "SELECT application_name, count(*) AS ended, min(at)::time(3) AS first, max(at)::time(3) AS last,
				min(state_age)::interval(0) AS idle_least, string_agg(DISTINCT regexp_replace(outcome, ' in .*', ''), ', ') AS outcome
			FROM lifeguard.ledger WHERE policy = '$making_room' GROUP BY 1 ORDER BY 2 DESC"
	step "And what were they told? The first of them:"
	ended=$(awk '/ ended /' "$cluster"/log/parked.* | sort -n | sed -n 1p | cut -d ' ' -f 5-)
	printf '%s\n' "$ended" | tr '|' '\n' | sed '/^$/d' | hang
}

# ---------------------------------------------------------------------------
# Is all that true?
# ---------------------------------------------------------------------------

# refused_late RUN: attempts refused when 90 % of the slots had been taken for more
# than a second already, by the clients' own account of who tries to come in, is
# there, or parks.
refused_late() {
	{
		cat "$cluster/log/visitors.$1".* | awk '
			$2 == "served" { printf "%.6f 1\n%s -1\n", $3 - $4 / 1000, $1 }
			$2 == "refused" { print $1, 0 }'
		[ "$1" = 1 ] || cat "$cluster"/log/parked.* | awk '$2 == "ended" { print $1, -1 }'
	} | sort -n | awk -v n="$all_parked" -v mark=$((slots * 9 / 10)) '
		$2 == 0 && since && $1 > since + 1 { late++ }
		{ n += $2; if (n <= mark) since = 0; else if (!since) since = $1 }
		END { print late + 0 }'
}

saturate_result() {
	local name ended
	ended=$(count_ended)
	step "Is all that true? Against the clients' own count:"
	check "attempts refused when 90 slots had been taken for more than 1 s" "$(refused_late 2)" 0
	check "without the policy there were such: more than 50" "$(number "$(refused_late 1)" ">=" 50)" yes
	check "p99 to get in below 1 s while 300 came" "$(number "$(waited 2 3)" "<" 1000)" yes
	check "attempts refused this time: the server's count, and the visitors'" \
		"$(ask "SELECT refusals FROM lifeguard.connections")" "$(met_in_all 2 refused)"
	check "visitors whose session was ended, or who failed otherwise" "$(met_in_all 2 failed)" 0
	check "sessions ended: the ledger, and the clients" \
		"$(ask "SELECT count(*) FROM lifeguard.ledger WHERE policy = '$making_room' AND outcome LIKE 'terminated in %'")" "$ended"
	check "of those, clients that were told which policy did it" "$(cat "$cluster"/log/parked.* |
		grep -c " ended [0-9]* 57P01 .*under policy \"$making_room\"")" "$ended"
	check "actions on anything but a session idle for 10 s" "$(ask "SELECT count(*) FROM lifeguard.ledger
		WHERE policy <> '$making_room' OR state <> 'idle' OR state_age <= '10 s' OR application_name = 'shop-web'")" 0
	for name in "${parkers[@]}"; do
		check "$name: at least two are left" "$(number $((n_parked[$name] - $(grep -c ' ended ' "$cluster/log/parked.$name"))) ">=" 2)" yes
	done
}
