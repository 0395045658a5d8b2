# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# select.sh: instructions that preloading adds to a transaction.

# Instructions of one backend per transaction.  Two sessions with different numbers
# of them, so that log-in and exit cancel.  Where data lies in memory decides how
# memcmp() and its like go about it, so equal servers differ a little; how much,
# several pairs of each server show, and a control: a library that has nothing
# to do with transactions.
scene_select() {
	local few=200 many=1200 turns=3 without=() control=() libraries
	[ -z "$quick" ] || turns=2
	title "select: instructions of a backend per transaction, a SELECT by primary key (callgrind)"
	with_server pg_lifeguard
	lg_as_user "$(lg_bindir)/pg_ctl" -D "$cluster/data" -m fast -w stop >/dev/null
	for libraries in "" passwordcheck pg_lifeguard; do
		[ -z "$libraries" ] || [ -e "$("$(lg_pg_config)" --pkglibdir)/$libraries.so" ] || continue
		counted=()
		inside=()
		count_instructions "$libraries"
		printf '   %-46s %s\n' "${libraries:-nothing} preloaded" "${counted[*]}"
		case $libraries in
			'') without=("${counted[@]}") ;;
			passwordcheck) control=("${counted[@]}") ;;
		esac
	done
	printf '   %-46s %s\n' "spread of the others" "$(width "${without[@]}" "${control[@]}")"
	verdict "instructions inside pg_lifeguard.so" "$(printf '%s\n' "${inside[@]}" | median)" "<" 200 ""
	verdict "instructions added in all" \
		"$(awk -v a="$(printf '%s\n' "${without[@]}" "${control[@]}" | median)" \
			-v b="$(printf '%s\n' "${counted[@]}" | median)" 'BEGIN { printf "%.1f", b - a }')" "<" 200 ""
}

# The file of a session that ran so many transactions.
session_under_callgrind() {
	local i pid file try
	pid=$({
		echo "SELECT pg_backend_pid();"
		for ((i = 0; i < $1; i++)); do
			echo "SELECT v FROM pile WHERE id = 5;"
		done
	} | sql -At | sed -n 1p)
	file=$work/callgrind/$pid
	for ((try = 0; try < 300; try++)); do
		! grep -q '^totals:' "$file" 2>/dev/null || break
		nap 0.1
	done
	echo "$file"
}

per_transaction() { awk -v a="$1" -v b="$2" -v n=$((many - few)) 'BEGIN { printf "%.1f", (b - a) / n }'; }

# count_instructions LIBRARIES: a server under callgrind, and $turns pairs of
# sessions; sets counted, in all, and inside, in our library, per transaction.
count_instructions() {
	local out=$work/callgrind turn first second try
	rm -rf "$out"
	mkdir "$out"
	[ "$(id -u)" != 0 ] || chown "$lg_user" "$out"
	in_group lg_as_user valgrind --tool=callgrind --callgrind-out-file="$out/%p" \
		"$(lg_bindir)/postgres" -D "$cluster/data" -c "shared_preload_libraries=$1" \
		-c pg_lifeguard.sample_interval=0 </dev/null >"$work/valgrind" 2>&1
	for ((try = 0; try < 600; try++)); do
		! sql -c "SELECT 1" >/dev/null 2>&1 || break
		nap 0.2
	done
	for ((turn = 0; turn < turns; turn++)); do
		first=$(session_under_callgrind "$few")
		second=$(session_under_callgrind "$many")
		counted+=("$(per_transaction "$(in_all "$first")" "$(in_all "$second")")")
		inside+=("$(per_transaction "$(inside_library "$first")" "$(inside_library "$second")")")
	done
	lg_as_user "$(lg_bindir)/pg_ctl" -D "$cluster/data" -m fast -w -t 120 stop >/dev/null
}
