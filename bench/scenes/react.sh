# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# react.sh: how soon after its limit an idle transaction is ended.

scene_react() {
	local out=$work/react lane p50=() p95=()
	title "react: ms from a limit of 1 s to the client's end, $trials trials each, in turn, default intervals"
	with_server pg_lifeguard
	with_killers
	victims react "$trials" 1000 "$(as_client ours)" "$(as_client core)" >"$out" || give_up "the clients failed"
	printf '   %-46s %10s %10s %10s\n' "" median p95 most
	for lane in 0 1; do
		p50[lane]=$(awk -v l=$lane '$1 == l { print $2 }' "$out" | percentile 50)
		p95[lane]=$(awk -v l=$lane '$1 == l { print $2 }' "$out" | percentile 95)
		printf '   %-46s %10s %10s %10s\n' "$([ $lane = 0 ] && echo "a policy of pg_lifeguard" || echo "idle_in_transaction_session_timeout")" \
			"${p50[lane]}" "${p95[lane]}" "$(awk -v l=$lane '$1 == l { print $2 }' "$out" | percentile 100)"
	done
	verdict "median beyond core's" "$(awk -v a="${p50[0]}" -v b="${p50[1]}" 'BEGIN { printf "%.1f", a - b }')" "<=" 5 " ms"
	verdict "p95 beyond core's" "$(awk -v a="${p95[0]}" -v b="${p95[1]}" 'BEGIN { printf "%.1f", a - b }')" "<=" 20 " ms"
}
