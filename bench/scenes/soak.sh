# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# soak.sh: the collector's memory, when nothing is calm for minutes.

# Sixteen clients want four rows and hold them for a while, four come anew for each
# transaction, and forty of a role that may have two connections are refused again
# and again; a policy rehearses.
scene_soak() {
	local collector end=$((soak_minutes * 60)) every sample=0 own first most=0 last
	title "soak: the collector's memory over $soak_minutes min of contention, reconnecting clients and refusals"
	every=$((end / 20))
	with_server pg_lifeguard "max_connections = 100"
	sql -c "CREATE ROLE visitor LOGIN CONNECTION LIMIT 2" -c "CREATE ROLE worker LOGIN" -c "GRANT ALL ON pile TO worker" \
		-c "SELECT lifeguard.create_policy('holds', 'blocker', '10 ms', min_blocked => 1)" >/dev/null
	printf '%s\n' '\set row random(1, 4)' 'BEGIN;' 'UPDATE pile SET v = v + 1 WHERE id = :row;' '\sleep 20 ms' 'END;' >"$work/hot.sql"
	printf '%s\n' 'SELECT v FROM pile WHERE id = 5;' >"$work/anew.sql"
	chmod 644 "$work"/*.sql
	soak_client hot -c 16 -f "$work/hot.sql"
	soak_client anew -c 4 -C -R 50 -f "$work/anew.sql"
	in_group lg_as_user "$work/crowd" visit 40 500 100 $((end + 60)) "$(as_client visitor)" \
		</dev/null >"$work/visitors" 2>&1
	collector=$(sql -At -c "SELECT collector_pid FROM lifeguard.status")
	# rings and caches fill first
	nap "$every"
	for ((sample = 0; sample < 20; sample++)); do
		own=$(awk '/^RssAnon:/ { print $2 }' "/proc/$collector/status")
		[ $sample -gt 0 ] || first=$own
		[ "$own" -le "$most" ] || most=$own
		nap "$every"
	done
	last=$(awk '/^RssAnon:/ { print $2 }' "/proc/$collector/status") || give_up "the collector has gone"
	printf '   %-46s %10d kB\n' "its own memory (RssAnon) after $every s" "$first" "at most" "$most" "after $((end + every)) s" "$last"
	printf '   %-46s %10s\n' "passes meanwhile" "$(sql -At -c "SELECT passes FROM lifeguard.status")" \
		"lock waits seen" "$(sql -At -c "SELECT sum(waits) FROM lifeguard.contention")" \
		"rehearsals in the ledger" "$(sql -At -c "SELECT count(*) FROM lifeguard.ledger")" \
		"attempts refused, by the clients" "$(grep -c ' refused ' "$work/visitors" || true)" \
		"clients that came and were served" "$(grep -c ' served ' "$work/visitors" || true)"
	verdict "growth" $((last - first)) "<" 256 " kB"
	end_groups
}

# soak_client NAME ARG...: pgbench until the end
soak_client() {
	local name=$1
	shift
	in_group lg_as_user env PGAPPNAME="$name" "$(lg_bindir)/pgbench" -n -h "$cluster" -U worker -T $((soak_minutes * 60 + 600)) "$@" postgres \
		</dev/null >"$work/$name.log" 2>&1
}
