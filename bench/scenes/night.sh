# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# night.sh: what the histories of a night take on disk.

# Pairs of clients take turns at a row of their own: while one pauses in its
# transaction the other waits, each for 1.1 s, over the shortest episode that is
# kept.  No two statements have the same text.
scene_night() {
	local seconds=$((night_episodes / 160 + 4)) group before waits pauses name size
	title "night: size of the tables after $night_episodes lock waits and idle transactions"
	with_server pg_lifeguard
	wait_for "the keeper" "SELECT keeper_last_run IS NOT NULL FROM lifeguard.status"
	before=$(histories_size)
	printf '%s\n' '\set row 1 + :client_id % 25 + 25 * :group' '\set v random(1, 1000000000)' 'BEGIN;' \
		"UPDATE pile SET v = :v WHERE id = :row AND 'a statement that is about as long as programs write them' IS NOT NULL;" \
		'\sleep 1100 ms' 'END;' >"$work/turns.sql"
	chmod 644 "$work/turns.sql"
	for group in 0 1 2 3; do
		in_group lg_as_user env PGAPPNAME="program $group" "$(lg_bindir)/pgbench" -n -h "$cluster" -U postgres -T "$seconds" \
			-c 50 -j 1 -D "group=$group" -f "$work/turns.sql" postgres </dev/null >"$work/turns.$group" 2>&1
	done
	nap $((seconds + 3))
	wait_for "the keeper" "SELECT records_unflushed = 0 FROM lifeguard.status"
	[ "$(sql -At -c "SELECT records_lost FROM lifeguard.status")" = 0 ] || give_up "records were lost"
	read -r waits pauses < <(sql -At -F ' ' -c "SELECT (SELECT count(*) FROM lifeguard.lock_wait_entries),
		(SELECT count(*) FROM lifeguard.idle_transaction_entries)")
	[ $((waits + pauses)) -ge "$night_episodes" ] || give_up "only $waits waits and $pauses pauses were written"
	sql -At -F ' ' -c "SELECT relname, pg_total_relation_size(oid) / 1024 FROM pg_class
		WHERE relnamespace = 'lifeguard'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0 ORDER BY 2 DESC" |
		while read -r name size; do printf '   %-46s %10d kB\n' "$name" "$size"; done
	printf '   %-46s %10d\n' "lock waits in their table" "$waits" "stays idle in transaction in theirs" "$pauses"
	size=$(awk -v from="$before" -v to="$(histories_size)" -v n=$((waits + pauses)) \
		'BEGIN { printf "%.1f", (to - from) / 1e6 * 10000 / n }')
	verdict "all tables and indexes, of 10,000" "$size" "<" 20 " MB"
	end_groups
}

histories_size() {
	sql -At -c "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'lifeguard'::regnamespace AND relkind = 'r'"
}
