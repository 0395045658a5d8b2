# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# Act 4, the memory: the morning after the rescue, on the server that it has left.
# What happened, whom it cost how much, who was to blame, and what would have
# prevented it?  It ends with the report of the night, as text and as a page.

act_remember() {
	[ "$played" = rescue ] || act_rescue
	title "Act 4, the memory: the next morning, somebody asks what happened"
	# the report is about the time in which the shop was open
	night="'$(stamp "$evening_from")', '$(stamp "$EPOCHREALTIME")'"
	remember_incident
	remember_idle
	remember_contention
	remember_waits
	remember_replay
	remember_result
	remember_report
	remember_page
}

# stamp SECONDS: since 1970, for PostgreSQL
stamp() { date -u -d "@$1" '+%F %T.%6N+00'; }

is_over() { [ "$(ask "SELECT bool_and(until IS NOT NULL) FROM lifeguard.incidents")" = t ]; }

# incident COLUMNS: of the only one
incident() { ask "SELECT $1 FROM lifeguard.incidents"; }

remember_incident() {
	step "Was there trouble last night?   TABLE lifeguard.incidents (some columns)"
	tell "An incident is over when all has been well for 30 s, so that one bad night is one row, not" \
		"forty. This demo waits for that."
	wait_until 60 is_over || give_up "the incident goes on"
	night="'$(stamp "$evening_from")', '$(stamp "$EPOCHREALTIME")'"
	show -x -c "SELECT since, until, worst_at, causes, worst_waiters, worst_used, usable, sessions_hurt,
				round(seconds_lost, 1) AS seconds_lost, root_pid, root_usename, root_application_name, root_state,
				root_query, relation_name, ended_by FROM lifeguard.incidents"
}

remember_idle() {
	step "What had admin-console done?   TABLE lifeguard.idle_transaction_history (some columns)"
	tell "It had left a transaction open twice; what became of each:"
	show -x -c "SELECT pid, usename, query, idle_start, duration, locks_held, max_blocked,
				round(blocked_seconds, 1) AS blocked_seconds, ended_by
			FROM lifeguard.idle_transaction_history WHERE application_name = 'admin-console' ORDER BY idle_start"
}

remember_contention() {
	step "Which statement cost whom how much?   SELECT * FROM lifeguard.contention(since, until)"
	tell "(some columns; statements are without their constants)"
	show -x -c "SELECT relation_name, locktype, mode, root_application_name, root_query, waiter_application_name,
				waiter_query, waits, round(seconds_lost, 1) AS seconds_lost,
				date_trunc('milliseconds', p50) AS p50, date_trunc('milliseconds', max) AS max
			FROM lifeguard.contention($night) ORDER BY seconds_lost DESC LIMIT 2"
}

remember_waits() {
	step "Who waited longest, and for whom?   TABLE lifeguard.lock_wait_history (some columns)"
	show -c "SELECT waiter_pid, waiter_application_name AS waiter, root_application_name AS root, relation_name,
				date_trunc('milliseconds', duration) AS duration, ended_by
			FROM lifeguard.lock_wait_history ORDER BY duration DESC LIMIT 5"
}

# ---------------------------------------------------------------------------
# What would have prevented it
# ---------------------------------------------------------------------------

# The policy of the rescue, changed or not, on what is recorded.
sooner='{"min_blocked_for": "3 s"}'
replay() {
	ask "SELECT $1 FROM lifeguard.policy p, lifeguard.replay_policy(jsonb_populate_record(p, '$2'), $night) r
		WHERE p.name = '$rescuer'"
}

remember_replay() {
	step "And had the policy been armed all night?"
	tell "SELECT ... FROM lifeguard.replay_policy('$rescuer', since, until)"
	show -x -c "SELECT at, pid, application_name, verdict, why, waiters, seconds_saved
			FROM lifeguard.replay_policy('$rescuer', $night)"
	tell "The first time it only rehearsed; the second time it was armed, so there is next to nothing" \
		"left to save. And if others had to wait for 3 s and not for 10? It need not be stored for that:"
	tell "SELECT ... FROM lifeguard.policy p, lifeguard.replay_policy(jsonb_populate_record(p, '$sooner'), since, until)" \
		"WHERE p.name = '$rescuer'"
	show -c "SELECT date_trunc('milliseconds', at) AS at, pid, application_name, verdict, waiters, seconds_saved
			FROM lifeguard.policy p, lifeguard.replay_policy(jsonb_populate_record(p, '$sooner'), $night)
			WHERE p.name = '$rescuer'"
}

# ---------------------------------------------------------------------------
# Is all that true?
# ---------------------------------------------------------------------------

# clients_waits LONGER: how many requests took longer, and for how many seconds in
# all, by the clients' clocks; from when they were sent, not from when they were due.
# File by file: the last line of one that is still written is torn.
clients_waits() {
	awk -v longer="$1" '
		NF >= 6 && $3 != "skipped" { took = ($3 - $7) / 1e6; if (took > longer) { n++; sum += took } }
		END { printf "%d %.1f\n", n, sum }' "$cluster"/log/requests*
}

# clients_waited_after WHEN...: seconds that those requests still waited which were
# under way at one of these moments, or came before the first of them was answered
clients_waited_after() {
	awk -v moments="$*" '
		BEGIN { n = split(moments, moment) }
		NF < 6 || $3 == "skipped" || $3 - $7 < 20000 { next }
		{
			to = $5 + $6 / 1e6
			from = to - ($3 - $7) / 1e6
			# the last moment that it met: nobody waits from one pile to the next
			for (i = n; i > 1 && moment[i] > to; i--)
				;
			if (to > moment[i]) sum += to - (from > moment[i] ? from : moment[i])
		}
		END { printf "%.1f\n", sum }' "$cluster"/log/requests*
}

# check_seconds WHAT GOT CLIENTS: within 5 % of what the clients' clocks say
check_seconds() {
	check "$(printf "%s: %.1f s, within 5 %% of the clients' %.1f" "$@")" "$(awk -v a="$2" -v b="$3" 'BEGIN {
		print (b > 0 && a >= 0.95 * b && a <= 1.05 * b) ? "yes" : "no" }')" yes
}

remember_result() {
	local waits seconds least most history moments
	read -r waits seconds < <(clients_waits 0.02)
	step "Is all that true? Against the clients' own clocks, the ledger and what was done:"
	tell "By those clocks $waits requests of shop-web took longer than 20 ms, $seconds s in all."
	check "incidents of the night" "$(ask "SELECT count(*) FROM lifeguard.incidents")" 1
	check "its first cause" "$(incident "root_application_name || ', ' || root_pid")" "admin-console, $rehearsed_pid"
	check "on what" "$(incident relation_name)" public.cart_cache
	check "most that waited at one time" "$(incident worst_waiters)" "$pile"
	check "most slots taken, at least" "$(incident "least(worst_used, $usable - 1)")" $((usable - 1))
	check "what ended it" "$(incident ended_by)" policy
	check_seconds "what it cost" "$(incident seconds_lost)" "$seconds"
	check_seconds "by contention" "$(ask "SELECT sum(seconds_lost) FROM lifeguard.contention($night)")" "$seconds"
	check_seconds "by the idle transactions" "$(ask "SELECT sum(blocked_seconds)
		FROM lifeguard.idle_transaction_history WHERE application_name = 'admin-console'")" "$seconds"
	check "what ended admin-console's idle transactions" "$(ask "
		SELECT string_agg(pid || ' ' || ended_by, ', ' ORDER BY idle_start)
		FROM lifeguard.idle_transaction_history WHERE application_name = 'admin-console'")" \
		"$rehearsed_pid end of transaction, $admin_pid policy"

	# a request near the bound may be on either side of it
	read -r least _ < <(clients_waits 2.1)
	read -r most _ < <(clients_waits 1.9)
	history=$(ask "SELECT count(DISTINCT (waiter_pid, wait_start)) FROM lifeguard.lock_wait_history WHERE duration > '2 s'")
	check "waits above 2 s in the history: all that the clients saw" "$(number "$history" ">=" "$least")" yes
	check "and no others" "$(number "$most" ">=" "$history")" yes
	check "of those, waits for anybody but admin-console" "$(ask "SELECT count(*) FROM lifeguard.lock_wait_history
		WHERE duration > '2 s' AND root_application_name IS DISTINCT FROM 'admin-console'")" 0

	check "replay: whom the policy would have ended" "$(replay "string_agg(r.pid || ' ' || r.verdict, ', ' ORDER BY r.at)" '{}')" \
		"$rehearsed_pid terminate, $admin_pid terminate"
	check "both within 0.5 s of what the ledger has" "$(ask "
		SELECT count(*) FROM lifeguard.replay_policy('$rescuer', $night) r JOIN lifeguard.ledger l
			ON l.policy = '$rescuer' AND l.pid = r.pid AND abs(extract(epoch FROM l.at - r.at)) < 0.5")" 2
	moments=$(replay "string_agg(extract(epoch FROM r.at)::numeric(20, 3)::text, ' ' ORDER BY r.at)" "$sooner")
	check_seconds "saved with 3 s" "$(replay "sum(r.seconds_saved)" "$sooner")" "$(clients_waited_after "$moments")"
}

# ---------------------------------------------------------------------------
# The report
# ---------------------------------------------------------------------------

remember_report() {
	step "All of that in one text, with the next step for each:"
	tell "SELECT lifeguard.report($night)"
	ask "SELECT lifeguard.report($night)" >"$cluster/report.md" || give_up "there is no report"
	echo
	# tables and calls stay whole
	fold_text <"$cluster/report.md"
}

fold_text() {
	local line
	while IFS= read -r line; do
		case $line in
			"") echo ;;
			"|"* | "  "*) printf '  %s\n' "$line" ;;
			"- "*) printf '%s\n' "$line" | fold -s -w 94 | sed '1!s/^/  /; s/^/  /; s/ *$//' ;;
			*) tell "$line" ;;
		esac
	done
}

# Where the page goes, which is to outlive the server: to LG_REPORT, else to
# report.html in the current folder, unless that is somebody else's or closed.
find_place() {
	local folder
	page=${LG_REPORT:-$PWD/report.html}
	if [ -n "${LG_REPORT:-}" ] || [ ! -e "$page" ] || grep -q 'Report of pg_lifeguard' "$page" 2>/dev/null; then
		# not asked with -w, which root is never refused
		{ : >>"$page"; } 2>/dev/null && return 0
		[ -z "${LG_REPORT:-}" ] || give_up "cannot write $page"
	fi
	folder=$(mktemp -d "${TMPDIR:-/tmp}/pg_lifeguard_report.XXXXXX") || give_up "no place for the page"
	page=$folder/report.html
}

# What is wrong with the tags of a page as XML would have it.
page_error() {
	perl -0777 -ne '
		s/\A<!DOCTYPE html>\n// or print "no head";
		s/<meta [^<>]*>//g;
		while (/<(\/?)([a-zA-Z0-9]+)[^<>]*?(\/?)>/g) {
			next if $3;
			if (!$1) { push @open, $2 }
			elsif (!@open || pop(@open) ne $2) { print "</$2> closes nothing"; exit }
		}
		print @open ? "open: @open" : "nothing";' "$1"
}

remember_page() {
	local statement="UPDATE cart_cache SET carts = carts + 1 WHERE page = &#39;front page&#39;"
	find_place
	step "The same as a page for a browser, with charts:"
	tell "SELECT lifeguard.report_html($night)"
	ask "SELECT lifeguard.report_html($night)" >"$page" || give_up "there is no page"

	step "Do they say what is shown above?"
	check "sections of the text" "$(grep '^## ' "$cluster/report.md" | cut -c 4- | paste -s -d ,)" \
		"What was recorded,Incidents,Contention,Idle transactions,Connections,Load,Actions"
	check "incidents in it" "$(grep -c '^1 incident: ' "$cluster/report.md")" 1
	check "its first cause, in both" \
		"$(cat "$cluster/report.md" "$page" | grep -c "PID $rehearsed_pid, idle in transaction; awaited was")" 2
	check "sections of the page" "$(grep -o '<h2' "$page" | wc -l)" 7
	check "charts of it" "$(grep -o '<svg [^>]*role="img"' "$page" | wc -l)" 3
	check "what is wrong with its tags" "$(page_error "$page")" nothing
	check "what it would fetch or run" "$(grep -ciE '<script|<link|<img|<iframe|(src|href)=|url\(| on[a-z]+=' "$page")" 0
	check "the statement of the night, harmless as text" "$(grep -qF "$statement" "$page" && echo there)" there
	printf '\n  %sThe page is %s%s\n' "$bold" "$page" "$plain"
}
