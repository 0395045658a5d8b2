# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# memory.sh: a pile-up with all that is remembered and written: collector, keeper, visitor.

# A pile-up that only goes on; then the same while others wait and pause, and are over.
scene_memory() {
	local collector waiters=200 blocker waiter written
	title "memory: share of one core over $seconds s, $waiters sessions wait for one row, fast interval"
	with_server pg_lifeguard
	start_queue flat
	lengthen_queue flat 0 $waiters
	nap 3
	collector=$(sql -At -c "SELECT collector_pid FROM lifeguard.status")
	remembering "the pile-up"
	# each 1.3 s one pause ends, and one wait
	blocker=$cluster/turns/blocker
	waiter=$cluster/turns/waiter
	for _ in $(seq 1000); do
		printf '%s\n' "BEGIN; UPDATE pile SET v = v + 1 WHERE id = 1;" "\\! sleep 1.2" "COMMIT;" "\\! sleep 0.1"
	done >"$blocker"
	for _ in $(seq 10000); do
		printf '%s\n' "UPDATE pile SET v = v + 1 WHERE id = 1;" "\\! sleep 0.05"
	done >"$waiter"
	in_group sql -f "$blocker" </dev/null >/dev/null 2>&1
	nap 0.2
	in_group sql -f "$waiter" </dev/null >/dev/null 2>&1
	nap 3
	remembering "and others wait and pause, and are over, each second"
	written=$(sql -At -F ' and ' -c "SELECT (SELECT count(*) FROM lifeguard.lock_wait_history),
		(SELECT count(*) FROM lifeguard.idle_transaction_history)")
	printf '   lock waits and pauses remembered: %s\n' "$written"
	end_groups
}

# remembering WHAT: what all of it costs meanwhile.  Keeper and visitor are short-lived:
# their postmaster knows what they took.
remembering() {
	local from_cpu from_reaped began own workers all
	began=$EPOCHREALTIME
	from_cpu=$(cpu_of "$collector")
	from_reaped=$(reaped_by "$postmaster")
	nap "$seconds"
	all=$(awk -v own="$(($(cpu_of "$collector") - from_cpu))" -v reaped="$(reaped_by "$postmaster")" \
		-v from_reaped="$from_reaped" -v from="$began" -v to="$EPOCHREALTIME" \
		'BEGIN { t = 1e7 * (to - from); printf "%.4f %.4f %.4f", own / t, (reaped - from_reaped) / t, (own + reaped - from_reaped) / t }')
	read -r own workers all <<<"$all"
	printf '   %s\n' "$1"
	printf '   %-46s %10s %%\n' "  the collector (100 ms)" "$own" "  keeper and visitor" "$workers"
	verdict "share of one core, together" "$all" "<" 0.5 " %"
}
