# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# locks.sh: the root blockers of three shapes of lock queue.

scene_locks() {
	local shape size before ours
	declare -A flat=()
	title "locks: count(*) FROM lifeguard.blockers, CPU of the backend per execution"
	printf '   %-12s %7s %10s %18s %18s %18s\n' "" waiters ours "pg_blocking_pids" pg_activity "pg_locks join"
	for shape in flat chain exclusive; do
		with_server pg_lifeguard
		before=0
		start_queue "$shape"
		for size in "${sizes[@]}"; do
			lengthen_queue "$shape" "$before" "$size"
			before=$size
			check_roots
			measure count_of_blockers:20 roots_by_pg_blocking_pids:2 blocking_of_pg_activity:2 pairs_by_pg_locks:1 \
				all_of_lock_waits:5 waits_by_pg_blocking_pids:2
			ours=${cpu[count_of_blockers]}
			printf '   %-12s %7d %10s' "$shape" "$size" "$(duration "$ours")"
			for name in roots_by_pg_blocking_pids blocking_of_pg_activity pairs_by_pg_locks; do
				printf ' %10s %7s' "$(duration "${cpu[$name]}")" "$(ratio "${cpu[$name]}" "$ours")"
			done
			printf '\n'
			flat[$shape.$size]=$ours
			flat[$shape.$size.roots]=${cpu[roots_by_pg_blocking_pids]}
			flat[$shape.$size.least]=$(printf '%s\n' "${cpu[roots_by_pg_blocking_pids]}" \
				"${cpu[blocking_of_pg_activity]}" "${cpu[pairs_by_pg_locks]}" | sort -g | sed -n 1p)
			flat[$shape.$size.waits]="$(duration "${cpu[all_of_lock_waits]}") $(duration "${cpu[waits_by_pg_blocking_pids]}")"
			flat[$shape.$size.waits_ratio]=$(ratio "${cpu[waits_by_pg_blocking_pids]}" "${cpu[all_of_lock_waits]}")
		done
		end_groups
	done
	for size in "${sizes[@]}"; do
		verdict "flat, $size: pg_blocking_pids to ours" "$(quotient "${flat[flat.$size.roots]}" "${flat[flat.$size]}")" ">=" 50 x
	done
	for shape in flat chain exclusive; do
		for size in "${sizes[@]}"; do
			verdict "$shape, $size: the fastest of them to ours" \
				"$(quotient "${flat[$shape.$size.least]}" "${flat[$shape.$size]}")" ">=" 1 x
		done
		verdict "$shape, ${sizes[0]} to ${sizes[1]} waiters" \
			"$(quotient "${flat[$shape.${sizes[1]}]}" "${flat[$shape.${sizes[0]}]}")" "<=" 2 x
	done
	printf '   for information: every waiter, SELECT * FROM lifeguard.lock_waits, and pid with pg_blocking_pids(pid)\n'
	for shape in flat chain exclusive; do
		for size in "${sizes[@]}"; do
			# shellcheck disable=SC2086	# number and unit, twice
			printf '   %-12s %7d %7s %s %15s %s %7s\n' "$shape" "$size" ${flat[$shape.$size.waits]} "${flat[$shape.$size.waits_ratio]}"
		done
	done
}

# A figure for a wrong answer is worth nothing.
check_roots() {
	local ours theirs
	ours=$(sql -At -c "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM lifeguard.blockers")
	theirs=$(sql -At -f "$cluster/turns/roots_by_pg_blocking_pids.sql" | cut -d '|' -f 1 | sort -n | paste -sd ,)
	[ "$ours" = "$theirs" ] || give_up "lifeguard.blockers names $ours, pg_blocking_pids() $theirs"
}
