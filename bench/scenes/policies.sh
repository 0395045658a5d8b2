# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# policies.sh: a pass with many policies.

# Fifty policies: of all kinds, that nobody violates; and on idle sessions, whose
# limit all have passed, but that mean others.
scene_policies() {
	local policies=50
	title "policies: one pass with $policies policies over $connections idle connections, CPU"
	policies_pass "of all kinds, nobody exceeds a limit" policy_of_some_kind
	policies_pass "on idle sessions, all exceed, none is meant" policy_on_idle
}

policy_of_some_kind() {
	case $(($1 % 5)) in
		0) echo "SELECT lifeguard.create_policy('p$1', 'idle', '$(($1 + 60)) min', roles => '{bench$1}');" ;;
		1) echo "SELECT lifeguard.create_policy('p$1', 'idle', '$(($1 + 60)) min', applications => '{none$1%}');" ;;
		2) echo "SELECT lifeguard.create_policy('p$1', 'idle in transaction', '$(($1 + 60)) s', min_blocked => 1);" ;;
		3) echo "SELECT lifeguard.create_policy('p$1', 'active', '$(($1 + 60)) s', schedule => '* 2-4 * * *; */2 * * * 1-5', time_zone => 'Europe/Berlin');" ;;
		4) echo "SELECT lifeguard.create_policy('p$1', 'idle', '$(($1 + 60)) min', databases => '{postgres}', clients => '{10.0.0.0/8,local}');" ;;
	esac
}

policy_on_idle() {
	case $(($1 % 2)) in
		0) echo "SELECT lifeguard.create_policy('p$1', 'idle', '1 s', roles => '{bench$1}');" ;;
		1) echo "SELECT lifeguard.create_policy('p$1', 'idle', '1 s', applications => '{none$1%}');" ;;
	esac
}

policies_pass() {
	local i
	with_server pg_lifeguard
	{
		echo "SET client_min_messages = warning;" # of roles that do not exist
		for ((i = 0; i < policies; i++)); do "$2" $i; done
	} | sql >/dev/null
	hold "$connections" -s "SELECT 1"
	sql -c "ALTER SYSTEM SET pg_lifeguard.sample_interval = '20ms'" -c "SELECT pg_reload_conf()" >/dev/null
	wait_for "the policies" "SELECT count(*) = $policies FROM lifeguard.policy_status"
	nap 2
	passes_cost 5
	printf '   %s\n' "$1"
	printf '   %-46s %12s\n' "  the collector, per pass, waking included" "$(duration "$pass_cpu")"
	printf '   %-46s %12s\n' "  of that the pass itself (status.total_cost)" "$(duration "$own_cost")"
	verdict "CPU of a pass" "$(awk -v ns="$pass_cpu" 'BEGIN { printf "%.0f", ns / 1e3 }')" "<" 500 " us"
	end_groups
}
