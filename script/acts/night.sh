# shellcheck shell=bash disable=SC2154,SC2034	# names of and for the other files
#
# night.sh: the shop, its clients and what goes wrong: the stage of every act.
#
# The cast, 195 connections for the 195 slots that ordinary roles can use:
#   shop-mobile    88  a pool far too large, idle (45 %)
#   shop-web       24  pages; one in twenty also counts a visit in cart_cache
#   shop-web       65  requests that come later and open connections of their own
#   report          8  reads cart_cache now and then
#   shop-worker     8  books orders; never touches cart_cache
#   admin-console   1  forgets a transaction
#   deploy          1  ALTER TABLE cart_cache (in the watch)
#
# All of them are real clients.  Connections are counted by the titles of the
# server's processes, which takes none of the slots that are the story here.

n_mobile=88
n_web=24
n_rush=65
n_report=8
n_worker=8
usable=195
pile=$((n_web + n_rush))

# night_prepare [SETTING...]: a server with a shop in it
night_prepare() {
	cluster_database=postgres
	cluster_create "$work/night" "max_connections = 200" "superuser_reserved_connections = 5" \
		"shared_preload_libraries = 'pg_lifeguard'" "pg_lifeguard.database = 'shop'" \
		"synchronous_commit = off" "log_timezone = 'UTC'" "compute_query_id = on" "$@" ||
		give_up "no cluster could be made"
	cluster_start || give_up "no server"
	sql -c "CREATE ROLE shop LOGIN" -c "CREATE DATABASE shop OWNER shop"
	cluster_database=shop
	sql -c "CREATE EXTENSION pg_lifeguard" || give_up "the extension cannot be created"
	as_shop psql -X -q -v ON_ERROR_STOP=1 shop <<-'SQL' || give_up "the shop could not be set up"
		CREATE TABLE product (id int PRIMARY KEY, name text, price numeric);
		INSERT INTO product SELECT i, 'product ' || i, i % 100 FROM generate_series(1, 10000) i;
		CREATE TABLE orders (id bigserial PRIMARY KEY, product int, at timestamptz DEFAULT now());
		CREATE TABLE cart_cache (page text PRIMARY KEY, visits bigint, carts int);
		INSERT INTO cart_cache VALUES ('front page', 0, 0), ('offers', 0, 0);
	SQL

	cat >"$cluster/web.sql" <<-'SQL'
		\set product random(1, 10000)
		\set page random(1, 20)
		BEGIN;
		SELECT name, price FROM product WHERE id = :product;
		\if :page = 1
		UPDATE cart_cache SET visits = visits + 1 WHERE page = 'front page';
		\endif
		END;
	SQL
	cat >"$cluster/rush.sql" <<-'SQL'
		BEGIN;
		UPDATE cart_cache SET visits = visits + 1 WHERE page = 'front page';
		END;
	SQL
	cat >"$cluster/report.sql" <<-'SQL'
		SELECT sum(visits), sum(carts) FROM cart_cache;
	SQL
	cat >"$cluster/worker.sql" <<-'SQL'
		\set product random(1, 10000)
		INSERT INTO orders (product) VALUES (:product);
	SQL
	cat >"$cluster/mobile.sql" <<-'SQL'
		SELECT 1;
		\sleep 1800 s
	SQL
	chmod 644 "$cluster"/*.sql
}

as_shop() {
	local tool=$1
	shift
	lg_as_user "$(lg_bindir)/$tool" -h "$cluster" -U shop "$@"
}

# client NAME TOOL ARGS...: a client in the background, its output in log/NAME
client() {
	local name=$1 tool=$2
	shift 2
	in_group lg_as_user env PGAPPNAME="$name" "$(lg_bindir)/$tool" -h "$cluster" -U shop "$@" shop \
		</dev/null >>"$cluster/log/$name" 2>&1
}

# count_sessions: how many sessions there are, and how many of them wait
count_sessions() {
	local child name
	n_sessions=0
	n_waiting=0
	# shellcheck disable=SC2013	# words, on one line
	for child in $(cat "/proc/$postmaster/task/$postmaster/children"); do
		name=
		{ IFS= read -r -d '' name <"/proc/$child/cmdline"; } 2>/dev/null || true
		case $name in
			"postgres: shop shop "*waiting) n_waiting=$((n_waiting + 1)) ;&
			"postgres: shop shop "*) n_sessions=$((n_sessions + 1)) ;;
		esac
	done
}

has_sessions() {
	count_sessions
	[ "$n_sessions" = "$1" ]
}

has_waiting() {
	count_sessions
	[ "$n_waiting" = "$1" ]
}

# What the one on call asks.
show() { sql -P pager=off -P null=- -P columns=98 -P format=wrapped "$@" | sed '/^$/d; s/^/  /; s/ *$//'; }

# one value
ask() { sql -At -c "$1"; }

# ---------------------------------------------------------------------------
# An ordinary evening
# ---------------------------------------------------------------------------

# The web load has its own clock (--rate), as users have: requests that the
# server does not answer are late, and given up when 1 s late.
night_begin() {
	client shop-mobile pgbench -n -c "$n_mobile" -t 1 -f "$cluster/mobile.sql"
	client shop-worker pgbench -n -c "$n_worker" -T 3600 -R 40 -P 1 -f "$cluster/worker.sql"
	client report pgbench -n -c "$n_report" -T 3600 -R 16 -f "$cluster/report.sql"
	client shop-web pgbench -n -c "$n_web" -T 3600 -R 200 -L 1000 -P 1 -f "$cluster/web.sql" \
		-l --log-prefix="$cluster/log/requests"
	wait_until 30 has_sessions $((n_mobile + n_worker + n_report + n_web)) ||
		give_up "the clients could not all connect: $n_sessions sessions"
}

# One line a second of what the clients themselves notice.
night_show() {
	local left=$1
	while [ "$left" -gt 0 ]; do
		nap 1
		night_line
		left=$((left - 1))
	done
}

night_line() {
	local web=() worker=()
	read -ra web < <(grep '^progress' "$cluster/log/shop-web" | tail -n 1) || true
	read -ra worker < <(grep '^progress' "$cluster/log/shop-worker" | tail -n 1) || true
	count_sessions
	printf '       shop-web %5.0f answers/s   shop-worker %3.0f orders/s   %3d of %d slots taken, %2d waiting\n' \
		"${web[3]:-0}" "${worker[3]:-0}" "$n_sessions" "$usable" "$n_waiting"
}

# ---------------------------------------------------------------------------
# The trouble
# ---------------------------------------------------------------------------

admin_input=

open_console() {
	mkfifo "$cluster/admin"
	[ -z "$admin_input" ] || exec {admin_input}>&-
	# for both directions: opening one end would wait for the other
	exec {admin_input}<>"$cluster/admin"
	in_group lg_as_user env PGAPPNAME=admin-console "$(lg_bindir)/psql" -X -q -At \
		-h "$cluster" -U shop shop <&"$admin_input" >"$cluster/log/admin-console" 2>&1
	echo "SELECT pg_backend_pid();" >&"$admin_input"
	wait_until 10 grep -q . "$cluster/log/admin-console" || give_up "admin-console could not log in"
	admin_pid=$(head -n 1 "$cluster/log/admin-console")
	updates=0
}

close_console() {
	echo '\q' >&"$admin_input"
	wait_until 10 has_left "$admin_pid" || give_up "admin-console does not leave"
	rm -f "$cluster/admin" "$cluster/log/admin-console"
}

has_left() { [ ! -e "/proc/$1" ]; }

# Somebody changes the front page by hand, and goes to dinner before COMMIT.
forget_transaction() {
	[ -e "$cluster/admin" ] || open_console
	updates=$((updates + 1))
	cat >&"$admin_input" <<-SQL
		BEGIN;
		UPDATE cart_cache SET carts = carts + 1 WHERE page = 'front page';
		\echo updated $updates
	SQL
	wait_until 10 grep -q "updated $updates" "$cluster/log/admin-console" ||
		give_up "admin-console could not update"
}

# What the console of whoever comes back from dinner says.
type_commit() {
	printf 'COMMIT;\n\\echo committed %d\n' "$updates" >&"$admin_input" || true
	wait_until 10 grep -q "connection to server was lost\|committed $updates" "$cluster/log/admin-console" || true
}

# rush_in EACH_SECOND: new requests find no free connection in the pool and open
# more
rush_in() {
	local each=$1 left=$n_rush now sessions=$((n_mobile + n_web + n_report + n_worker + 1))
	while [ "$left" -gt 0 ]; do
		now=$each
		[ "$left" -ge "$now" ] || now=$left
		client shop-web pgbench -n -c "$now" -t 1 -f "$cluster/rush.sql" \
			-l --log-prefix="$cluster/log/requests_rush$left"
		left=$((left - now))
		sessions=$((sessions + now))
		wait_until 20 has_sessions "$sessions" || give_up "$n_sessions sessions instead of $sessions"
		night_show 1
	done
	wait_until 30 has_waiting "$pile" || give_up "$n_waiting sessions wait instead of $pile"
}

# Whoever only reads could go on, if this did not queue in front of them.
deploy() {
	client deploy psql -X -q -c "ALTER TABLE cart_cache ADD COLUMN note text"
	wait_until 20 has_waiting $((pile + 1 + n_report)) ||
		give_up "$n_waiting sessions wait instead of $((pile + 1 + n_report))"
}

# ---------------------------------------------------------------------------
# What it meant for the users
# ---------------------------------------------------------------------------

# requests FROM TO GIVEN_UP_TO: answers per second, p99 in ms, given up.  The
# p99 is that of requests made in that time, whenever they were answered; when
# a request was given up the log says only after the fact, hence the third.
requests() {
	local latencies rank
	latencies=$(cat "$cluster"/log/requests* | awk -v from="$1" -v to="$2" '
		$3 != "skipped" { made = $5 + ($6 - $3) / 1e6; if (made >= from && made < to) print $3 }' | sort -n)
	rank=$(printf '%s\n' "$latencies" | awk 'END { print int(NR * 0.99 + 0.999) }')
	p99=$(printf '%s\n' "$latencies" | sed -n "${rank}p" | awk '{ printf "%.1f", $1 / 1000 }')
	read -r answers given_up < <(cat "$cluster"/log/requests* | awk -v from="$1" -v to="$2" -v late="$3" '
		{ at = $5 + $6 / 1e6 }
		$3 == "skipped" && at >= from && at < late { skipped++ }
		$3 != "skipped" && at >= from && at < to { done++ }
		END { printf "%.1f %d\n", done / (to - from), skipped }')
}

result_head() { printf '       %-20s %10s %12s %9s\n' "" "answers/s" "p99" "given up"; }
result_line() { printf '       %-20s %10s %9s ms %9d\n' "$1" "$answers" "$p99" "$given_up"; }

# answered_after WHEN: for each client of shop-web that had a request under way at
# that moment, how many ms later it was answered, and for how many seconds it had
# waited by then (the client's own clock); soonest first
answered_after() {
	awk -v when="$1" '
		$3 == "skipped" { next }
		{ at = $5 + $6 / 1e6 }
		at <= when || (FILENAME, $1) in seen { next }
		{ seen[FILENAME, $1] = 1 }
		at - $3 / 1e6 <= when { printf "%.1f %.3f\n", (at - when) * 1000, when - at + $3 / 1e6 }' \
		"$cluster"/log/requests* | sort -n
}

# moment TEXT: seconds since 1970 of a time stamp of the server log
moment() { date -u -d "$1" +%s.%3N; }

# number A OP B: yes or no
number() { awk -v a="$1" -v b="$3" -v op="$2" 'BEGIN { print (op == "<" ? a + 0 < b + 0 : a + 0 >= b + 0) ? "yes" : "no" }'; }
