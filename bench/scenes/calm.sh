# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# calm.sh: the collector's share of a core with idle connections, and memory.

has_wait_sampling() { [ -e "$("$(lg_pg_config)" --pkglibdir)/pg_wait_sampling.so" ]; }

scene_calm() {
	local collector sampler=
	title "calm: share of one core over $seconds s, $connections idle connections, default settings"
	if has_wait_sampling; then
		with_server "pg_lifeguard,pg_wait_sampling"
		sampler=$(pid_of "pg_wait_sampling collector")
	else
		with_server pg_lifeguard
	fi
	hold "$connections" -s "SELECT 1"
	nap 3
	collector=$(sql -At -c "SELECT collector_pid FROM lifeguard.status")
	# shellcheck disable=SC2086	# none, or one
	share_of "$collector" $sampler
	printf '   %-46s %10s %%\n' "pg_lifeguard (1 s)" "${share[$collector]}"
	local calm=${share[$collector]}
	if [ -n "$sampler" ]; then
		printf '   %-46s %10s %%\n' "pg_wait_sampling (10 ms, its default)" "${share[$sampler]}"
		sql -c "ALTER SYSTEM SET pg_wait_sampling.history_period = 1000" \
			-c "ALTER SYSTEM SET pg_wait_sampling.profile_period = 1000" -c "SELECT pg_reload_conf()" >/dev/null
		nap 2
		share_of "$collector" "$sampler"
		printf '   %-46s %10s %%\n' "pg_lifeguard (1 s), once more" "${share[$collector]}"
		printf '   %-46s %10s %%\n' "pg_wait_sampling (1 s)" "${share[$sampler]}"
	else
		echo "   pg_wait_sampling is not installed: nothing to set beside it"
	fi
	verdict "share of one core" "$calm" "<" 0.02 " %"
	memory_of "pg_lifeguard's collector" "$collector"
	[ -z "$sampler" ] || memory_of "pg_wait_sampling's collector" "$sampler"
	memory_of "PostgreSQL's logical replication launcher" "$(pid_of "logical replication launcher")"
	printf '   %-46s %10s bytes\n' "pg_lifeguard's shared memory" "$(sql -At -c "SELECT shared_memory FROM lifeguard.status")"
	end_groups
}
