# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# Act 3, the memory: the morning after the rescue, on the server that it has left.
# What happened, whom it cost how much, and who was to blame?

act_remember() {
	[ "$played" = rescue ] || act_rescue
	title "Act 3, the memory: the next morning, somebody asks what happened"
	remember_incident
	remember_waits
	remember_contention
	remember_result
}

is_over() { [ "$(ask "SELECT bool_and(until IS NOT NULL) FROM lifeguard.incidents")" = t ]; }

# incident COLUMNS: of the only one
incident() { ask "SELECT $1 FROM lifeguard.incidents"; }

remember_incident() {
	step "Was there trouble last night?   TABLE lifeguard.incidents"
	tell "An incident is over when all has been well for 30 s; this demo waits for that."
	wait_until 60 is_over || give_up "the incident goes on"
	show -x -c "SELECT since, until, worst_at, causes, worst_waiters, worst_used, usable, sessions_hurt,
				seconds_lost, root_pid, root_usename, root_application_name, root_state, root_query,
				relation_name, ended_by FROM lifeguard.incidents"
}

remember_waits() {
	step "Who waited longest, and for whom?   TABLE lifeguard.lock_wait_history"
	show -c "SELECT waiter_application_name AS waiter, root_application_name AS root, relation_name,
				date_trunc('milliseconds', duration) AS duration, max_queue, ended_by
			FROM lifeguard.lock_wait_history ORDER BY duration DESC LIMIT 5"
}

remember_contention() {
	step "Which statements cost whom how much?   TABLE lifeguard.contention"
	show -x -c "SELECT relation_name, mode, root_application_name, root_query, waiter_application_name,
				waiter_query, waits, round(seconds_lost, 1) AS seconds_lost,
				date_trunc('milliseconds', p50) AS p50, date_trunc('milliseconds', p99) AS p99, top_rows
			FROM lifeguard.contention ORDER BY seconds_lost DESC LIMIT 2"
}

# clients_seconds LONGER: how many requests took longer, and for how many seconds in
# all, by the clients' clocks; from when they were sent, not from when they were due
clients_seconds() {
	cat "$cluster"/log/requests* | awk -v longer="$1" '
		$3 != "skipped" { took = ($3 - $7) / 1e6; if (took > longer) { n++; sum += took } }
		END { printf "%d %.1f\n", n, sum }'
}

# close_to A B PERCENT: yes, or what they are
close_to() { awk -v a="$1" -v b="$2" -v p="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; print d <= b * p / 100 ? "yes" : "no (" a ", not " b ")" }'; }

remember_result() {
	local waits seconds n_least n_most n_history
	read -r waits seconds < <(clients_seconds 0.02)
	step "Is all that true? The clients' own clocks have $waits requests that took longer than 20 ms," \
		"$seconds s in all:"
	check "incidents of the night" "$(incident "count(*) OVER ()")" 1
	check "its first cause" "$(incident "root_application_name || ', ' || root_pid")" "admin-console, $admin_pid"
	check "on what" "$(incident relation_name)" public.cart_cache
	check "most that waited at one time" "$(incident worst_waiters)" "$pile"
	check "what ended it" "$(incident ended_by)" policy
	check "seconds lost, within 5 %" "$(close_to "$(ask "SELECT sum(seconds_lost) FROM lifeguard.contention")" "$seconds" 5)" yes

	# a request near the bound may be on either side of it
	read -r n_least _ < <(clients_seconds 2.1)
	read -r n_most _ < <(clients_seconds 1.9)
	n_history=$(ask "SELECT count(*) FROM lifeguard.lock_wait_history WHERE duration > '2 s'")
	check "waits of more than 2 s in the history: not fewer than the clients saw" "$(number "$n_history" ">=" "$n_least")" yes
	check "and not more" "$(number "$n_most" ">=" "$n_history")" yes
	check "of those, waits for anybody but admin-console" "$(ask "SELECT count(*) FROM lifeguard.lock_wait_history
		WHERE duration > '2 s' AND root_application_name IS DISTINCT FROM 'admin-console'")" 0
}
