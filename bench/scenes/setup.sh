# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# setup.sh: instructions that preloading adds to a connection.

# From the fork until the backend says for the first time that it is ready for a
# query: there callgrind is told to dump.  Not two connections take the same number
# of them; how much they differ without us, servers with nothing preloaded, with
# nothing once more, and with a library that is not asked, show.
scene_setup() {
	local turns=20 others=() medians=() libraries
	[ -z "$quick" ] || turns=5
	title "setup: instructions of a backend from fork to ready, $turns connections each (callgrind)"
	with_server pg_lifeguard
	stop_under_callgrind
	printf '   %-46s %12s %12s %12s\n' "" median least most
	for libraries in "" passwordcheck "" pg_lifeguard; do
		[ -z "$libraries" ] || [ -e "$("$(lg_pg_config)" --pkglibdir)/$libraries.so" ] || continue
		counted=()
		inside=()
		count_setups "$libraries"
		printf '   %-46s %12.0f %12.0f %12.0f\n' "${libraries:-nothing} preloaded" \
			"$(printf '%s\n' "${counted[@]}" | median)" "$(printf '%s\n' "${counted[@]}" | percentile 0)" \
			"$(printf '%s\n' "${counted[@]}" | percentile 100)"
		if [ "$libraries" != pg_lifeguard ]; then
			others+=("${counted[@]}")
			medians+=("$(printf '%s\n' "${counted[@]}" | median)")
		fi
	done
	printf '   %-46s %12.0f\n' "the medians of the others differ by" "$(width "${medians[@]}")"
	verdict "instructions inside pg_lifeguard.so" "$(printf '%s\n' "${inside[@]}" | median)" "<" 50000 ""
	verdict "instructions added in all" \
		"$(awk -v a="$(printf '%s\n' "${others[@]}" | median)" -v b="$(printf '%s\n' "${counted[@]}" | median)" \
			'BEGIN { printf "%.0f", b - a }')" "<" 50000 ""
}

# count_setups LIBRARIES: sets counted, in all, and inside, in our library.  The
# first connections fill what a server keeps for the later ones.
count_setups() {
	local turn pid file
	start_under_callgrind "$1" --zero-before=fork_process --dump-before=ReadyForQuery
	for ((turn = -3; turn < turns; turn++)); do
		pid=$(sql -At -c "SELECT pg_backend_pid()")
		[ $turn -ge 0 ] || continue
		file=$(counted_in "$pid.1")
		counted+=("$(in_all "$file")")
		inside+=("$(inside_library "$file")")
	done
	stop_under_callgrind
}
