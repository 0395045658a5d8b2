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
	stop_under_callgrind
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
	local i pid
	pid=$({
		echo "SELECT pg_backend_pid();"
		for ((i = 0; i < $1; i++)); do
			echo "SELECT v FROM pile WHERE id = 5;"
		done
	} | sql -At | sed -n 1p)
	counted_in "$pid"
}

per_transaction() { awk -v a="$1" -v b="$2" -v n=$((many - few)) 'BEGIN { printf "%.1f", (b - a) / n }'; }

# count_instructions LIBRARIES: $turns pairs of sessions; sets counted, in all, and
# inside, in our library, per transaction.
count_instructions() {
	local turn first second
	start_under_callgrind "$1"
	for ((turn = 0; turn < turns; turn++)); do
		first=$(session_under_callgrind "$few")
		second=$(session_under_callgrind "$many")
		counted+=("$(per_transaction "$(in_all "$first")" "$(in_all "$second")")")
		inside+=("$(per_transaction "$(inside_library "$first")" "$(inside_library "$second")")")
	done
	stop_under_callgrind
}
