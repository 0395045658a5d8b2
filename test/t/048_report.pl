# Reports: what they say of a night whose rows are known, that what they advise
# can be done, that nothing in them is more than text, that nobody sees more in
# them than in the views, and that they come in time when the history is long.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('report', init => { allows_streaming => 1 }, conf => <<'END');
pg_lifeguard.sample_interval = 0
pg_lifeguard.history_retention = 0
END
my $night = "'2026-01-10 22:00+00', '2026-01-11 06:00+00'";
my %in_utc = (parameters => { TimeZone => 'UTC' });
my $session = LgSession->new($node, %in_utc);
$session->query('CREATE ROLE shop LOGIN; CREATE ROLE reports LOGIN; CREATE ROLE clerk LOGIN');

sub section
{
	my ($report, $title) = @_;
	return $report =~ /^## \Q$title\E\n(.*?)(?=^## |\z)/ms ? $1 : '';
}

# The cells of a table's rows, by the heading of their column.
sub table
{
	my ($text) = @_;
	my @lines = map { [ map { s/^\s+|\s+$//gr } split /(?<!\\)\|/, $_ ] } grep { /^\|/ } split /\n/, $text;
	my ($head, undef, @rows) = @lines;

	return map { my $row = $_; +{ map { ($head->[$_] => $row->[$_]) } 1 .. $#$head } } @rows;
}

# Every row of a table has as many cells as its head.
sub is_table
{
	my ($text) = @_;
	my %cells = map { scalar(() = /(?<!\\)\|/g) => 1 } grep { /^\|/ } split /\n/, $text;
	return keys %cells == 1;
}

# What is wrong with a page as XML would have it, '' if nothing is.
sub page_error
{
	my ($page) = @_;
	my @open;

	return 'not ASCII' if $page =~ /[^\x09\x0a\x20-\x7e]/;
	$page =~ s/\A<!DOCTYPE html>\n//;
	$page =~ s/<meta [^<>]*>//g;
	$page =~ s/<style>[^<]*<\/style>//;
	while ($page =~ /\G([^<>&]*)(?:&(?:#\d+|amp|lt|gt|quot);|<(\/?)([a-z][a-zA-Z0-9]*)((?: [a-zA-Z][a-zA-Z0-9-]*="[^"<>]*")*)(\/?)>|\z)/gc)
	{
		my ($close, $tag, $alone) = ($2, $3, $5);
		last if !defined $tag && pos($page) == length $page;
		next unless defined $tag;
		return "<$tag> is not for here" unless $tag =~ /^(?:html|head|title|body|main|h[12]|section|p|figure|figcaption|div|ul|li|svg|desc|g|rect|path|line|text|table|thead|tbody|tr|th|td|dl|dt|dd|pre|code|footer)$/;
		next if $alone;
		if (!$close) { push @open, $tag; next; }
		my $last = pop @open // 'nothing';
		return "</$tag> ends <$last>" if $last ne $tag;
	}
	return 'not understood from: ' . substr($page, pos($page) // 0, 60) if (pos($page) // 0) < length $page;
	return @open ? "<$open[-1]> has no end" : '';
}

# --- nothing recorded
my $report = $session->query('SELECT lifeguard.report()');
like($report, qr/^# Report of pg_lifeguard$/m, 'a report of nothing');
like(section($report, 'What was recorded'), qr/^Nothing was recorded in this period\.$/m, 'and it says so');
like(section($report, 'What was recorded'), qr/^From .* \(UTC\), 1 d\.$/m, 'of the last 24 hours');
like(section($report, $_), qr/^\n?\S[^\n]*\.\n+\z/, "one line: $_")
  foreach ('Incidents', 'Contention', 'Idle transactions', 'Connections', 'Load', 'Actions');
my $page = $session->query('SELECT lifeguard.report_html()');
is(page_error($page), '', 'a page of nothing');
unlike($page, qr/<svg/, 'without charts');
like($session->error_of("SELECT lifeguard.$_('2026-01-02', '2026-01-01')")->{message}, qr/^the period of a report must begin before it ends/,
	"$_: a period the wrong way round") foreach ('report', 'report_html');
like($session->error_of("SELECT lifeguard.report(now() + interval '1 hour')")->{message}, qr/and before now$/, 'nor one to come');
foreach my $period ("'-infinity', 'infinity'", "NULL, '2026-01-01'", "'-infinity', '2026-01-01'")
{
	is($session->error_of("SELECT lifeguard.report($period)"), undef, "a report of ($period)");
	is($session->error_of("SELECT lifeguard.report_html($period)"), undef, "a page of ($period)");
}

# --- a night of which all is known
sub fill
{
	my ($session) = @_;
	$session->query(<<'END');
CREATE TABLE public.cache (id int PRIMARY KEY, v text);
ALTER TABLE public.cache ALTER v SET STORAGE EXTERNAL;
INSERT INTO public.cache VALUES (1, repeat('x', 50000));
CREATE TABLE public.counters (id int, n int PRIMARY KEY);
INSERT INTO public.counters VALUES (1, 0);
DO 'BEGIN FOR i IN 1 .. 1200 LOOP UPDATE public.counters SET n = i; END LOOP; END';
INSERT INTO lifeguard.connection_entries
	SELECT '2026-01-01', m, timestamptz '2026-01-10 22:00+00' + m * interval '1 minute', 30, CASE m WHEN 290 THEN 95 ELSE 40 END,
		8, 20, 1.5, 0.5, CASE m WHEN 290 THEN 6 ELSE 0 END, CASE m WHEN 290 THEN 12 ELSE 0 END, 97, 97, NULL, 60, 'primary'
	FROM generate_series(0, 479) m WHERE m NOT BETWEEN 100 AND 104;
INSERT INTO lifeguard.connection_usage_entries
	SELECT '2026-01-01', n, r.oid, '2026-01-11 02:50+00', 'shopdb', u.usename, u.app, NULL, u.held, u.held_max, u.active, u.active_max, u.idle, u.intx, 60, 'primary'
	FROM (VALUES (1, 'shop', 'web', 60, 70, 5, 9, 52, 3), (2, 'reports', 'metabase', 20, 22, 18, 20, 2, 0)) u (n, usename, app, held, held_max, active, active_max, idle, intx)
		JOIN pg_roles r ON r.rolname = u.usename;
INSERT INTO lifeguard.load_entries
	SELECT '2026-01-01', m, timestamptz '2026-01-10 22:00+00' + (m % 480) * interval '1 minute', CASE WHEN m < 480 THEN 'CPU' ELSE 'Lock' END,
		CASE WHEN m >= 480 THEN 'transactionid' END, CASE WHEN m < 480 THEN 2 ELSE 0.5 END, 60, 'primary'
	FROM generate_series(0, 959) m;
INSERT INTO lifeguard.contention_entries (boot, number, minute, datname, relation, relation_name, locktype, mode, held_mode, root_usesysid, root_application_name,
		root_usename, root_query_id, root_query, waiter_usesysid, waiter_application_name, waiter_usename, waiter_query_id, waiter_query,
		waits, waits_seen, seconds_seen, seconds_estimated, max, top_rows, top_row_seconds, recorded_on)
	SELECT '2026-01-01', c.n, '2026-01-11 02:50+00', current_database(), to_regclass(c.relation), c.relation, c.locktype, c.mode, 'ExclusiveLock', s.oid, 'web',
		'shop', 1, 'UPDATE cache SET v = $1 /* secret */', s.oid, 'worker', 'shop', 10 + c.n, c.query, 100, c.seen, c.seconds, c.estimated, c.max, c.top, c.top_seconds, 'primary'
	FROM (VALUES (1, 'public.cache', 'transactionid', 'ShareLock', 'UPDATE cache', 80, 412.5, 12.5, interval '40 s', '{"(0,1)"}'::text[], '{300}'::float8[]),
			(2, 'public.orders', 'relation', 'AccessExclusiveLock', 'ALTER TABLE orders', 100, 90, 0, interval '90 s', '{}', '{}'),
			(4, 'public.counters', 'transactionid', 'ShareLock', 'UPDATE counters', 100, 6, 0, interval '1 s', '{}', '{}'),
			(5, 'public.counters', 'transactionid', 'ShareLock', 'UPDATE counters rarely', 100, 0.4, 0, interval '1 s', '{}', '{}'),
			(6, NULL, 'advisory', 'ExclusiveLock', 'SELECT pg_advisory_lock(2)', 100, 7, 0, interval '2 s', '{}', '{}'),
			(3, NULL, 'advisory', 'ExclusiveLock', 'SELECT pg_advisory_lock(1)', 100, 10, 0, interval '2 s', '{}', '{}'))
		c (n, relation, locktype, mode, query, seen, seconds, estimated, max, top, top_seconds), pg_roles s
	WHERE s.rolname = 'shop';
INSERT INTO lifeguard.lock_wait_entries (boot, number, waiter_usesysid, waiter_pid, waiter_usename, waiter_application_name, waiter_query, root_usesysid,
		root_pid, root_usename, root_application_name, root_query, locktype, relation_name, mode, wait_start, duration, "precision", estimated, ended_by, recorded_on)
	SELECT '2026-01-01', g, s.oid, 100 + g, 'shop', 'worker', 'UPDATE cache /* secret */', s.oid, 99, 'shop', 'web', 'UPDATE cache /* secret */', 'transactionid',
		'public.cache', 'ShareLock', timestamptz '2026-01-11 02:50+00' + g * interval '1 s', g * interval '1 s', '0', '0',
		CASE WHEN g > 30 THEN 'policy' ELSE 'granted' END, 'primary'
	FROM generate_series(1, 40) g, pg_roles s WHERE s.rolname = 'shop';
INSERT INTO lifeguard.idle_transaction_entries (boot, number, usesysid, pid, usename, datname, application_name, state, query, query_tags, xact_start, idle_start,
		duration, "precision", locks_held, max_blocked, blocked_seconds, horizon_age, ended_by, recorded_on)
	SELECT '2026-01-01', i.n, r.oid, 500 + i.n, i.usename, 'shopdb', i.app, 'idle in transaction', CASE i.usename WHEN 'shop' THEN 'UPDATE cache /* secret */' ELSE 'SELECT 1 -- its own' END, 'route=/cart', i.at, i.at, i.duration, '0',
		4, i.blocked, i.seconds, i.horizon, i.ended_by, 'primary'
	FROM (VALUES (1, 'shop', 'web', timestamptz '2026-01-11 02:50+00', interval '40 s', 12, 300.0, NULL::int, 'policy'),
			(2, 'shop', 'web', '2026-01-11 03:00+00', '40 s', 3, 100, NULL, 'end of transaction'),
			(3, 'shop', 'web', '2026-01-11 03:10+00', '2 s', 0, 0, NULL, 'statement'),
			(4, 'reports', 'metabase', '2026-01-11 01:00+00', '30 min', 0, 0, 250000, 'gone')) i (n, usename, app, at, duration, blocked, seconds, horizon, ended_by)
		JOIN pg_roles r ON r.rolname = i.usename;
INSERT INTO lifeguard.incident_entries (boot, number, since, until, going_on, worst_at, causes, worst_waiters, worst_used, usable, sessions_hurt, seconds_lost, root_usesysid,
		root_pid, root_usename, root_datname, root_application_name, root_client_addr, root_state, root_query, relation_name, ended_by, recorded_on)
	SELECT '2026-01-01', i.n, i.since, i.until, false, i.since, i.causes, i.waiters, i.used, 97, i.hurt, i.lost, CASE WHEN i.pid IS NOT NULL THEN s.oid END,
		i.pid, CASE WHEN i.pid IS NOT NULL THEN 'shop' END, 'shopdb', 'web', '10.0.0.7', i.state,
		CASE WHEN i.pid IS NOT NULL THEN 'UPDATE cache /* secret */' END, CASE WHEN i.pid IS NOT NULL THEN 'public.cache' END, i.ended_by, 'primary'
	FROM (VALUES (1, timestamptz '2026-01-11 02:50:00+00', timestamptz '2026-01-11 02:51:30+00', '{waiters}'::text[], 12, 50, 31, 400.5, 99, 'idle in transaction', 'policy'),
			(2, '2026-01-11 02:55:00+00', '2026-01-11 02:56:00+00', '{saturation}', 0, 95, 0, 0, NULL, NULL, 'by itself'),
			(3, '2026-01-11 07:00:00+00', '2026-01-11 07:01:00+00', '{waiters}', 99, 95, 99, 99, NULL, NULL, 'by itself'))
			i (n, since, until, causes, waiters, used, hurt, lost, pid, state, ended_by), pg_roles s
	WHERE s.rolname = 'shop';
INSERT INTO lifeguard.ledger_entries (boot, number, userid, at, policy, target, action, pid, usename, datname, application_name, state, blocked_total,
		relation_name, query, signal, outcome, repeats, waiters_freed, reason, recorded_on)
	SELECT '2026-01-01', a.n, s.oid, timestamptz '2026-01-11 02:50+00' + a.n * interval '1 s', a.policy, 'idle in transaction', a.action, 99, 'shop', 'shopdb', 'web',
		'idle in transaction', 12, 'public.cache', 'UPDATE cache /* secret */', a.signal, a.outcome, 1, a.freed, 'why ' || a.n, 'primary'
	FROM (VALUES (1, 'guard', 'terminate', 'SIGTERM', 'terminated in 3 ms', 11), (2, 'guard', 'terminate', 'SIGTERM', 'terminated in 12 ms', 1),
			(3, 'watch', 'log', NULL, 'rehearsed', NULL), (4, NULL, 'cancel', 'SIGINT', 'cancelled in 2 ms', 4)) a (n, policy, action, signal, outcome, freed), pg_roles s
	WHERE s.rolname = 'shop';
END
	return;
}
fill($session);
$session->query('SELECT pg_stat_force_next_flush()');
$session->query("SELECT lifeguard.create_policy('watch', 'blocker', '1 s')");
$report = $session->query("SELECT lifeguard.report($night)");
my $text = section($report, 'What was recorded');
like($text, qr/^From 2026-01-10 22:00:00 to 2026-01-11 06:00:00 \(UTC\), 8 h\.$/m, 'the period');
like($text, qr/^Recorded: 475 minutes from 2026-01-10 22:00:00 to 2026-01-11 06:00:00\.$/m, 'what was recorded');
like($text, qr/^Missing: nothing was recorded from 2026-01-10 23:40:00 to 2026-01-10 23:45:00 \(5 min\)\.$/m, 'what is missing');

$text = section($report, 'Incidents');
my @rows = table($text);
like($text, qr/^2 incidents: 6 min 41 s lost by waiting, 31 sessions hurt\.$/m, 'incidents in all');
is(scalar @rows, 2, 'two incidents');
is(join('|', @{ $rows[0] }{ 'From', 'Until', 'Lasted', 'Causes', 'Waiters', 'Used', 'Hurt', 'Seconds lost', 'Ended by' }),
	'2026-01-11 02:50:00|2026-01-11 02:51:30|1 min 30 s|waiters|12|50 of 97|31|400.5|policy', 'the worst first');
like($text, qr/^- First cause: web as shop in shopdb, PID 99, from 10\.0\.0\.7, idle in transaction; awaited was public\.cache$/m, 'its first cause');
like($text, qr/^- Statement: UPDATE cache .* secret /m, 'and its statement');
like($text, qr/replay_policy\(.*'target', 'idle in transaction', 'min_duration', '10 s', 'min_blocked', 3, 'action', 'terminate'\)\), '2026-01-11 02:50:00\+00', '2026-01-11 02:51:31\+00'\);$/m,
	'the next step: replay');
like($text, qr/95 of 97 usable slots were taken: look who held them/, 'the next step for saturation');

$text = section($report, 'Contention');
@rows = table($text);
like($text, qr/^8 min 58 s lost in \d+ waits; of that 12\.5 s estimated/m, 'seconds lost in all');
like($text, qr/^40 waits are recorded one by one, the longest took 40\.0 s; ended by: granted 30, policy 10\.$/m, 'single waits');
is(join('|', map { "$_->{Relation} $_->{'Seconds lost'} $_->{'Of that estimated'} $_->{Longest}" } @rows),
	'public.cache 425.0 12.5 40.0 s|public.orders 90.0 0.0 1 min 30 s|advisory 10.0 0.0 2.0 s|advisory 7.0 0.0 2.0 s|public.counters 6.0 0.0 1.0 s|public.counters 0.4 0.0 1.0 s', 'by what they cost');
is($rows[0]{Modes}, 'ShareLock against ExclusiveLock', 'modes');
like($text, qr/^- Who: web as shop made worker as shop wait$/m, 'who made whom wait');
like($text, qr/^- Rows: \(0,1\) 5 min$/m, 'hot rows');
like($text, qr/^- Relation: 0 updates, .*hot row 49 kB$/m, 'what explains it');
like($text, qr/^- Next step: Each update writes a row of 49 kB anew/m, 'the next step for a wide row');
like($text, qr/^  SELECT pg_column_size\(r\.\*\), r\.ctid FROM public\.cache r WHERE r\.ctid = '\(0,1\)';$/m, 'and where it is');
like($text, qr/^- Next step: Only 0 % of 1200 updates were HOT:.*\n\n  ```sql\n  ALTER TABLE public\.counters SET \(fillfactor = 80\);$/m, 'the next step where updates are not HOT');
like($text, qr/create_policy\('queued_ddl', 'queued ddl', '10 s', min_blocked => 1/, 'the next step for DDL');
like($text, qr/pg_try_advisory_lock/, 'the next step for an advisory lock');
like($text, qr/pg_advisory_lock\(2\)\n- Next step: The same as for 3\.\n\n\*\*5/, 'nobody reads the same step twice');
like($text, qr/UPDATE counters rarely\n- Relation: [^\n]*\s*\z/, 'what costs under a hundredth of all has none');

$text = section($report, 'Idle transactions');
@rows = table($text);
is(join('|', map { "$_->{Application} $_->{Role} $_->{Pauses} $_->{Longest} $_->{'Seconds blocked'} $_->{'Most blocked'} $_->{'Horizon age'}" } @rows),
	'web shop 3 40.0 s 400.0 12 |metabase reports 1 30 min 0.0 0 250000', 'the worst, and the longest');
like($text, qr/^- Worst: PID 501 from 2026-01-11 02:50:00 for 40\.0 s, 12 blocked, 5 min of waiting; ended: policy$/m, 'the worst of them');
like($text, qr/a limit of 10 s would have met 2 of 3 pauses and saved about 5 min;/, 'a limit with its figures');
like($text, qr/^  SELECT lifeguard\.create_policy\('idle_web', 'idle in transaction', '10 s', min_blocked => 1, applications => ARRAY\['web'\]\);$/m, 'the call');
like($text, qr/held back vacuum by up to 250000 transactions.*a timeout of 5 min for that role would have ended 1 of 1 pause\./, 'the other has harmed only vacuum');
like($text, qr/^  ALTER ROLE reports SET idle_in_transaction_session_timeout = '5min';$/m, 'the call for that');

$text = section($report, 'Connections');
@rows = table($text);
like($text, qr/^At most 95 of 97 usable slots were taken \(98 %\), in the minute of 2026-01-11 02:50:00; on average 30\.0\.$/m, 'the peak');
like($text, qr/^1 of 475 minutes had 90 % or more taken\.$/m, 'how long');
is(join('|', map { "$_->{Application} $_->{Most} $_->{Idle}" } @rows), 'web 70 52.0|metabase 22 2.0', 'who held them');
like($text, qr/create_policy\('close_idle_web', 'idle', '1 min', connections_above => 0\.9, connections_until => 0\.8, keep => 9, applications => ARRAY\['web'\]\)/, 'the call');

@rows = table(section($report, 'Load'));
is(join('|', map { "$_->{'Wait class'} $_->{'Wait event'} $_->{'Active on average'} $_->{Share}" } @rows), 'CPU  2.00 80 %|Lock transactionid 0.50 20 %', 'load');

$text = section($report, 'Actions');
@rows = table($text);
like($text, qr/^4 entries in the ledger, 3 carried out; 16 waiters freed\.$/m, 'actions in all');
is(join('|', map { "$_->{Policy} $_->{Outcome} $_->{Times} $_->{'Waiters freed'}" } @rows), 'guard terminated 2 12|by hand cancelled 1 4|watch rehearsed 1 0', 'by kind');
like($text, qr/^- Next step: It only rehearsed then, with 12 sessions kept waiting; .* arm it by alter_policy\(\) with action terminate\.\n\n  ```sql\n  SELECT \* FROM lifeguard\.replay_policy\('watch', [^;]*;$/m,
	'a rehearsal is to be looked at, then armed');

# Whatever rehearsed, the call that is given with it works: what cannot be replayed, or not
# by who asks, is looked up in the ledger.
sub rehearsed
{
	my ($session) = @_;
	my $actions = section($session->query("SELECT lifeguard.report($night)"), 'Actions');
	return $actions =~ /^- Next step: It only rehearsed then, .*; (see .*), and if that is right.*\n\n  ```sql\n  (.*)\n  ```$/m;
}
my $shown = LgSession->new($node, user => 'clerk', %in_utc);
$session->query('BEGIN');
$session->query('SELECT lifeguard.create_recommended_policies()');
$session->query("SELECT lifeguard.create_policy('$_->[0]', '$_->[1]', '10 s', $_->[2])")
  foreach ([ 'w', 'waiter', 'min_blocked => 2' ], [ 't', 'transaction', 'min_horizon_age => 1000000' ], [ 'plain', 'waiter', 'max_per_pass => 3' ]);
foreach my $policy (split(/\n/, $session->query('SELECT name FROM lifeguard.policy ORDER BY name')), 'dropped since')
{
	$session->query("SAVEPOINT one; UPDATE lifeguard.ledger_entries SET policy = '$policy' WHERE policy = 'watch'");
	my ($see, $call) = rehearsed($session);
	my $replayed = $session->error_of("SELECT count(*) FROM lifeguard.replay_policy('$policy', $night)") ? 0 : 1;
	$session->query('ROLLBACK TO one');
	is($session->error_of($call), undef, "$policy: the call works") or $session->query('ROLLBACK TO one');
	is($call =~ /replay_policy/ ? 1 : 0, $replayed, "$policy: it is a replay if that can be");
	is($see, $replayed ? 'see what it would have saved' : 'see whom it would have met', "$policy: in words, too");
}
$session->query('ROLLBACK');
my ($see, $to_clerk) = rehearsed($shown);
is($shown->error_of($to_clerk), undef, 'so it is for whoever may not read the policies');
like($to_clerk, qr/FROM lifeguard\.ledger WHERE policy = 'watch'/, 'who is shown the ledger');
$session->query('CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats');
my $monitor = LgSession->new($node, user => 'monitor', %in_utc);
is($monitor->query(q{SELECT has_table_privilege('lifeguard.policy', 'SELECT')}), 't', 'another may');
my ($seen, $to_monitor) = rehearsed($monitor);
is($monitor->error_of($to_monitor), undef, 'but not replay them');
$monitor->close;
$session->query('DROP ROLE monitor');
$shown->close;

# Limits are shown, not set: it may be pasted before it is read.
$session->query("BEGIN; UPDATE lifeguard.ledger_entries SET outcome = 'over limit', policy = 'watch' WHERE number = 2; SELECT lifeguard.alter_policy('watch', max_per_minute => 200, cooldown => '5 s')");
my $before = $session->query('SELECT p::text FROM lifeguard.policy p');
my ($held) = section($session->query("SELECT lifeguard.report($night)"), 'Actions') =~ /^- Next step: Its limits held it back 1 time: .*cooldown.*\n\n  ```sql\n  (.*)\n  ```$/m;
is($session->query($held // "SELECT 'nothing'"), '1|200|00:00:05', 'which limits there are');
is($session->query('SELECT p::text FROM lifeguard.policy p'), $before, 'and that they stay so');
$session->query('ROLLBACK');

# By hand it would be armed with what suits what it is for.
$session->query("BEGIN; UPDATE lifeguard.ledger_entries SET target = 'queued ddl' WHERE policy = 'watch'");
like(section($session->query("SELECT lifeguard.report($night)"), 'Actions'), qr/arm it by alter_policy\(\) with action cancel\.$/m, 'a statement that waits is cancelled');
$session->query('ROLLBACK');

# What it advises can be done.
my @calls = $report =~ /^  ```sql\n  (.*)\n  ```$/mg;
cmp_ok(scalar @calls, '>=', 8, 'calls');
foreach my $call (grep { !/pg_stat_statements/ } @calls)
{
	my $error = $session->error_of("BEGIN; $call ROLLBACK");
	is($error ? $error->{message} : undef, undef, "works: $call");
	$session->query('ROLLBACK') if $error;
}

# Once that is done it is not advised again, but how to go on, to whoever asks.
my @advised = map { [ $_, /create_policy\('([^']*)'/ ] } grep { /create_policy\(/ } @calls;
is(join(' ', sort map { $_->[1] } @advised), 'close_idle_web idle_web queued_ddl', 'policies are advised');
foreach my $advised (@advised)
{
	my ($call, $policy) = @$advised;
	my $action = $policy eq 'queued_ddl' ? 'cancel' : 'terminate';
	my $clerk = LgSession->new($node, user => 'clerk', %in_utc);
	my %seen;

	foreach my $way ([ $call, 'only rehearses' ], [ "SELECT lifeguard.alter_policy('$policy', action => '$action')", "armed with action $action" ], [ "SELECT lifeguard.disable_policy('$policy')", 'disabled' ])
	{
		my ($does, $standing) = @$way;
		my $told = qr/olicy $policy is there, $standing[:;]/;

		$session->query($does);
		my $again = $session->query("SELECT lifeguard.report($night)");
		unlike($again, qr/create_policy\('$policy'/, "$policy is $standing: not advised again");
		like($again, $told, 'which is said');
		like($again, qr/$told .*alter_policy\(\) with action $action/, 'and what arms it') if $standing eq 'only rehearses';
		my ($next) = $again =~ /$told.*\n\n  ```sql\n  (.*)\n/;
		ok($next, 'there is a next step') and is($session->error_of($next), undef, "works: $next");
		# whoever may not read policies sees those that are published
		ok($clerk->poll("SELECT lifeguard.report($night) ~ 'olicy $policy is there, $standing'", 't'), 'the others are told, too') if $policy ne 'idle_web';
	}
	$session->query("SELECT lifeguard.drop_policy('$policy')");
	$clerk->close;
}

# --- the page
$page = $session->query("SELECT lifeguard.report_html($night)");
is(page_error($page), '', 'a page');
is(scalar(() = $page =~ /<svg [^>]*role="img" aria-labelledby/g), 3, 'three charts');
is(scalar(() = $page =~ /<title>/g) > 3, 1, 'with titles');
like($page, qr/>97 usable</, 'the limit line');
is(scalar(() = $page =~ /class="bar(?: cut)?" x=/g), 24, 'the longest waits');
is(scalar(() = $page =~ /class="mark[^"]*" d="M\d+\.\d,0l/g), 4, 'four actions');
is(scalar(() = $page =~ /<rect class="incident" x=/g), 6, 'two incidents behind each');
like($page, qr/<rect class="gap"/, 'what is missing');
like($page, qr/<td class="n">400\.5<\/td>/, 'tables');
unlike($page, qr/<script|\bhttps?:|url\(|\@import/i, 'no script, no network');
my ($longest) = sort { $b <=> $a } map { scalar(() = $_ =~ /V/g) } $page =~ / d="(M[^"]*)"/g;
cmp_ok($longest, '<=', 2 * 300, 'its curves are bounded');

# --- an incident that few waits did not make, and one of refusals alone
$session->query("BEGIN; UPDATE lifeguard.incident_entries SET worst_waiters = 1, root_pid = 77, root_state = 'idle in transaction', root_query = 'UPDATE aside' WHERE number = 2; UPDATE lifeguard.incident_entries SET causes = '{refusals}', refusals = 3, worst_used = 9 WHERE number = 1");
$text = section($session->query("SELECT lifeguard.report($night)"), 'Incidents');
like($text, qr/^- Others waited for: .*, PID 77, .*\n- Statement: UPDATE aside\n- Next step: 95 of 97 usable slots were taken/m, 'few slots, and a wait beside them');
like($text, qr/^- Next step: 3 connections were refused, though no pass saw the slots taken: /m, 'refusals alone');
is($session->error_of($_), undef, 'its call works') foreach $text =~ /^  (SELECT cause, .*;)$/m;
like($text, qr/^  SELECT cause, /m, 'and is there');
$session->query('ROLLBACK');

# --- a prepared transaction is named as such, and what to do about it
$session->query("BEGIN; UPDATE lifeguard.contention_entries SET root_application_name = NULL, root_query_id = NULL, root_query = '<prepared transaction>' WHERE number = 4");
$text = section($session->query("SELECT lifeguard.report($night)"), 'Contention');
like($text, qr/^- Who: a prepared transaction of shop made .* wait\n- Waiter's statement: .*\n(?:- .*\n)*- Next step: The blocker is a prepared transaction/m, 'a prepared transaction');
like($text, qr/pg_prepared_xacts/, 'where to find it');
$session->query('ROLLBACK');

# --- the statement that took the locks, where statements of transactions were recorded
$session->query("BEGIN; UPDATE lifeguard.idle_transaction_entries SET statements = ARRAY['LOCK orders', 'UPDATE cache', query] WHERE number = 1");
$text = section($session->query("SELECT lifeguard.report($night)"), 'Idle transactions');
like($text, qr/^- Last statement: UPDATE cache .*\n- Its transaction: LOCK orders; UPDATE cache; UPDATE cache .*secret.*\n/m, 'what came before the last statement');
is(scalar(() = $text =~ /^- Its transaction: /mg), 1, 'where that is known');
$session->query('ROLLBACK');

# --- whoever may not see statements does not see them here, nor fails because there
# is a schema that he may not use
$session->query('REVOKE USAGE ON SCHEMA public FROM PUBLIC');
foreach my $role ('clerk', 'reports')
{
	my $eye = LgSession->new($node, user => $role, %in_utc);
	foreach my $function ('report', 'report_html')
	{
		my $seen = $eye->query("SELECT lifeguard.$function($night)");
		unlike($seen, qr/secret/, "$role: $function hides statements");
		like($seen, qr/425\.0/, "$role: $function has the figures");
		like($seen, qr/insufficient privilege/, "$role: $function says what it hides");
		is($seen =~ /its own/ ? 'shown' : 'hidden', $role eq 'clerk' ? 'hidden' : 'shown', "$role: $function and the statements of reports");
		like($seen, $role eq 'clerk' ? qr/No transaction that you may see stayed idle/ : qr/1 pause in transactions that you may see, the longest 30 min;/,
			"$role: $function does not take hidden pauses for none");
	}
	$eye->close;
}
like($page, qr/secret/, 'others see them');
$session->query('GRANT USAGE ON SCHEMA public TO PUBLIC');

# --- nor does he get more from default privileges, which are for other tables
$session->query('CREATE DATABASE given');
my $given = LgSession->new($node, dbname => 'given', %in_utc);
$given->query('ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO clerk; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO clerk; ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO clerk');
$given->query('SET client_min_messages = warning; CREATE EXTENSION pg_lifeguard');
is($given->query(<<'END'), '', 'nothing in the schema is given to a role by default');
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'lifeguard'::regnamespace AND c.relacl::text ~ 'clerk'
UNION ALL
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'lifeguard'::regnamespace AND p.proacl::text ~ 'clerk'
UNION ALL
SELECT n.nspname FROM pg_namespace n WHERE n.nspname = 'lifeguard' AND has_schema_privilege('clerk', n.oid, 'CREATE')
END
is($given->query("SELECT has_function_privilege('pg_read_all_stats', 'lifeguard.next_in_force(text, timestamptz)', 'EXECUTE')"), 't', 'what is meant for one it has');
$given->close;

# --- a server that was started anew within a minute: it is one minute, and what was
# seen longer counts for more
$session->query(<<'END');
INSERT INTO lifeguard.connection_entries VALUES
	('2026-01-01', 9001, '2026-01-05 10:00+00', 50, 97, 20, 30, 0, 0, 0, 0, 97, 97, 4, 20, 'primary'),
	('2026-01-05', 1, '2026-01-05 10:00+00', 5, 8, 2, 3, 0, 0, 0, 0, 97, 8, NULL, 30, 'primary');
INSERT INTO lifeguard.connection_usage_entries
	SELECT u.boot::timestamptz, u.n, r.oid, '2026-01-05 10:00+00', 'shopdb', 'shop', u.app, u.client::inet, u.held, u.held, u.active, u.active, u.idle, 0, u.samples, u.side
	FROM (VALUES ('2026-01-01', 9001, 'web', '10.0.0.1', 60, 5, 50, 4, 'primary'), ('2026-01-01', 9002, 'web', '10.0.0.2', 30, 0, 30, 4, 'primary'),
			('2026-01-01', 9003, 'mail', NULL, 7, 0, 7, 4, 'primary'), ('2026-01-05', 1, 'web', '10.0.0.1', 70, 1, 5, 6, 'primary'),
			('2026-01-05', 2, 'web', '10.0.0.1', 300, 1, 5, 12, 'standby')) u (boot, n, app, client, held, active, idle, samples, side)
		JOIN pg_roles r ON r.rolname = 'shop';
INSERT INTO lifeguard.load_entries VALUES
	('2026-01-01', 9001, '2026-01-05 10:00+00', 'CPU', NULL, 20, 20, 'primary'),
	('2026-01-05', 1, '2026-01-05 10:00+00', 'CPU', NULL, 2, 30, 'primary'),
	('2026-01-05', 2, '2026-01-05 10:00+00', 'CPU', NULL, 100, 50, 'standby'),
	('2026-01-05', 3, '2026-01-05 10:01+00', 'CPU', NULL, NULL, 0, 'primary');
END
my $restart = "'2026-01-05 10:00+00', '2026-01-05 10:02+00'";
$text = $session->query("SELECT lifeguard.report($restart)");
like($text, qr/^Recorded: 1 minute from/m, 'started anew: one minute');
like($text, qr/^At most 97 of 97 usable slots were taken \(100 %\), in the minute of 2026-01-05 10:00:00; on average 23\.0\.$/m, 'started anew: as full as it was before');
like($text, qr/^4 connections were refused\.$/m, 'started anew: who was refused before');
is(join('|', map { join ' ', @{$_}{qw(Application Most Held Active Idle)} } table(section($text, 'Connections'))), 'web 90 78.0 2.6 35.0|mail 7 2.8 0.0 2.8',
	'started anew: who held them, before or after');
like($text, qr/^On average 9\.20 sessions were active, over 1 minute\.$/m, 'started anew: load');
like(section($text, 'Load'), qr/ 9\.2 \| 2026-01-05 10:00:00 \|$/m, 'started anew: a minute of which nothing was seen is not the worst');
like($session->query("SELECT lifeguard.report_html($restart)"), qr/At most 9\.2 sessions were active on average/, 'started anew: the chart of it');

# --- nobody's waits: calls that are to show waits show them, those too that began before
$session->query(<<'END');
INSERT INTO lifeguard.lock_wait_entries (boot, number, waiter_pid, waiter_usename, root_pid, root_query, locktype, relation_name, mode, wait_start, duration, ended_by, recorded_on)
	VALUES ('2026-01-01', 9001, 76, 'shop', 77, 'autovacuum: VACUUM public.cache', 'relation', 'public.cache', 'ShareUpdateExclusiveLock', '2026-01-06 09:59:58.5+00', '30 s', 'granted', 'primary');
INSERT INTO lifeguard.contention_entries (boot, number, minute, datname, relation_name, locktype, mode, held_mode, root_query, waiter_application_name, waiter_usename,
		waits, waits_seen, seconds_seen, seconds_estimated, recorded_on)
	VALUES ('2026-01-01', 9001, '2026-01-06 10:00+00', 'postgres', 'public.cache', 'relation', 'ShareUpdateExclusiveLock', 'ShareUpdateExclusiveLock', 'autovacuum: VACUUM public.cache', 'till', 'shop',
		1, 1, 28.5, 0, 'primary');
INSERT INTO lifeguard.incident_entries (boot, number, since, until, going_on, worst_at, causes, worst_waiters, worst_used, usable, sessions_hurt, seconds_lost, ended_by, recorded_on)
	VALUES ('2026-01-01', 9001, '2026-01-06 10:00:00.2+00', '2026-01-06 10:00:00.9+00', false, '2026-01-06 10:00:00.2+00', '{waiters}', 6, 10, 97, 6, 10, 'by itself', 'primary');
END
$text = $session->query("SELECT lifeguard.report('2026-01-06 10:00+00', '2026-01-06 10:01+00')");
foreach my $title ('Incidents', 'Contention')
{
	my ($call) = section($text, $title) =~ /^  (SELECT \* FROM lifeguard\.lock_wait_history .*);$/m;
	like($session->query("SELECT count(*) FROM ($call) w"), qr/^1$/, "$title: the call shows the wait") if ok($call, "$title: single waits are looked at");
}
like(section($text, 'Contention'), qr/^- Next step: No session is known to have blocked: it was autovacuum /m, 'autovacuum is neither a deadlock nor a prepared transaction');

# --- what began before the period and ended in it belongs to it; incidents keep their
# numbers where a chart has a part of the period
$session->query(<<'END');
INSERT INTO lifeguard.lock_wait_entries (boot, number, waiter_pid, waiter_usename, root_pid, locktype, relation_name, mode, wait_start, duration, ended_by, recorded_on)
	SELECT '2026-01-01', 9100 + n, 76, 'shop', 77, 'relation', 'public.cache', 'ShareLock', w.at, w.took, w.ended_by, 'primary'
	FROM (VALUES (1, timestamptz '2026-01-08 09:59:00+00', interval '90 s', 'cancelled'), (2, '2026-01-08 10:01:50+00', '20 s', 'policy'),
		(3, '2026-01-08 09:50:00+00', '9 min', 'granted'), (4, '2026-01-08 10:02:00+00', '1 s', 'gone')) w (n, at, took, ended_by);
INSERT INTO lifeguard.connection_entries
	SELECT '2026-01-01', 9100 + m, timestamptz '2026-01-08 10:00+00' + m * interval '1 min', 5, 8, 2, 3, 0, 0, 0, 0, 97, 8, NULL, 60, 'primary' FROM generate_series(0, 1) m;
INSERT INTO lifeguard.incident_entries (boot, number, since, until, going_on, worst_at, causes, worst_waiters, worst_used, usable, sessions_hurt, seconds_lost, ended_by, recorded_on)
	SELECT '2026-01-01', 9100 + n, i.at, i.at + interval '10 s', false, i.at, '{waiters}', 6, 10, 97, 6, 100 - n, 'by itself', 'primary'
	FROM (VALUES (1, timestamptz '2026-01-08 09:30+00'), (2, '2026-01-08 10:01+00')) i (n, at);
END
my $part = "'2026-01-08 10:00+00', '2026-01-08 10:02+00'";
like(section($session->query("SELECT lifeguard.report($part)"), 'Contention'),
	qr/^2 waits are recorded one by one, the longest took 1 min 30 s; ended by: (?:cancelled 1, policy 1|policy 1, cancelled 1)\.$/m, 'a wait that began before');
my ($bars) = $session->query("SELECT bars FROM lifeguard.report_svg_waits($part)");
is(join('|', map { join ' ', $bars =~ /<rect class="bar cut" x="([\d.]+)" y="$_" width="([\d.]+)"/ } 0, 6), '54.0 222.5|869.8 74.2', 'its bar begins where the chart does')
  or diag $bars;
my $whole = $session->query("SELECT lifeguard.report_html('2026-01-08 09:00+00', '2026-01-08 10:02+00')");
is(join(' ', sort { $a <=> $b } keys %{ { map { $_ => 1 } $whole =~ /<title>incident (\d+): 2026-01-08 10:01:00 / } }), '2', 'an incident has the number of its row');
like($whole, qr/<td class="n">2<\/td><td>2026-01-08 10:01:00/, 'which is this');
$session->query("DELETE FROM lifeguard.$_ WHERE number BETWEEN 9100 AND 9199") foreach ('lock_wait_entries', 'connection_entries', 'incident_entries');

# --- what a standby recorded is to be replayed as what runs there
$session->query("BEGIN; UPDATE lifeguard.incident_entries SET recorded_on = 'standby' WHERE number = 1");
like(section($session->query("SELECT lifeguard.report($night)"), 'Incidents'), qr/replay_policy\(.*'runs_on', 'standby'.*'action', 'terminate'\)/, 'an incident on a standby');
is(scalar(() = section($session->query("SELECT lifeguard.report($night)"), 'Contention') =~ /runs_on/g), 0, 'no other call says so');
$session->query("UPDATE lifeguard.contention_entries SET recorded_on = 'standby' WHERE number IN (2, 3)");
$text = section($session->query("SELECT lifeguard.report($night)"), 'Contention');
like($text, qr/replay_policy\(.*'runs_on', 'both'/, 'contention on a standby');
like($text, qr/create_policy\('queued_ddl', .*, runs_on => 'both'\);$/m, 'a policy for that');
foreach my $call ($text =~ /^  (.*runs_on.*;)$/mg)
{
	$session->query('SAVEPOINT one');
	is($session->error_of($call), undef, "works: $call") or $session->query('ROLLBACK TO one');
}
$session->query('ROLLBACK');

# --- pauses too short for any limit that would have saved something
$session->query(<<'END');
INSERT INTO lifeguard.idle_transaction_entries (boot, number, usesysid, pid, usename, datname, application_name, idle_start, duration, max_blocked, blocked_seconds, recorded_on)
	SELECT '2026-01-01', 9000 + n, 10, n, 'shop', 'shopdb', 'web', '2026-01-07 10:00+00', '1.05 s', 1, 1.0, 'primary' FROM generate_series(1, 100) n;
END
$text = section($session->query("SELECT lifeguard.report('2026-01-07 10:00+00', '2026-01-07 10:01+00')"), 'Idle transactions');
like($text, qr/^- Next step: They kept others waiting for 1 min 40 s, in pauses too short for a limit to save much of it \(the longest 1\.1 s\): /m, 'many short pauses');
unlike($text, qr/create_policy/, 'want no policy');

# --- a day is a day's step, though one in the year has 25 hours
my $berlin = LgSession->new($node, parameters => { TimeZone => 'Europe/Berlin' });
is($berlin->query(<<'END'), join("\n", map { "2026-10-$_" } 22 .. 29), 'days on the axis of a chart');
SELECT t[1] FROM regexp_matches(lifeguard.report_svg_frame('2026-10-22', '2026-10-29', '[]', 3600, 10, 2, 220, 220), '>(\d{4}-\d\d-\d\d)<', 'g') t
END
$berlin->close;

# --- hostile names and statements
sub hostile
{
	my ($session, $evil) = @_;
	my $literal = $evil =~ s/'/''/gr;

	$session->query("UPDATE lifeguard.$_") foreach (
		"incident_entries SET root_application_name = '$literal', root_query = '$literal', relation_name = '$literal', root_query_tags = '$literal' WHERE root_pid IS NOT NULL",
		"contention_entries SET root_application_name = '$literal', waiter_application_name = '$literal', root_query = '$literal', waiter_query = '$literal', relation_name = '$literal'",
		"idle_transaction_entries SET application_name = '$literal', query = '$literal', query_tags = '$literal'",
		"lock_wait_entries SET waiter_application_name = '$literal', root_application_name = '$literal', relation_name = '$literal'",
		"connection_usage_entries SET application_name = '$literal'",
		"ledger_entries SET policy = '$literal', application_name = '$literal', query = '$literal', reason = '$literal', relation_name = '$literal'");
	return ($session->query("SELECT lifeguard.report($night)"), $session->query("SELECT lifeguard.report_html($night)"));
}

sub is_harmless
{
	my ($what, $report, $page) = @_;
	unlike($report, qr/(?<!\\)<(?:script|b|img)|(?<!\\)&[a-z#]|^```|\[x\]\(/mi, "$what: no HTML, links or fences");
	unlike($report, qr/[\x00-\x09\x0b-\x1f\x7f]/, "$what: no control characters");
	foreach my $title ('Incidents', 'Contention', 'Idle transactions', 'Connections', 'Load', 'Actions')
	{
		ok(is_table(section($report, $title)), "$what: the table of $title is one");
	}
	is(page_error($page), '', "$what: the page");
	return;
}

my $evil = "<script>alert(1)</script>|`x```` \r\n# \x01\x1b[31m'\"\\ &lt; [x](http://x) --%_ \$1 *a* M\xc3\xbcll \xf0\x9f\x98\x80 \xe2\x80\xae \xc2\x85";
my ($evil_report, $evil_page) = hostile($session, $evil);
is_harmless('UTF8', $evil_report, $evil_page);
unlike($evil_report, qr/\xe2\x80\xae|\xc2\x85/, 'nothing turns the direction of writing');
like($evil_report, qr/\xf0\x9f\x98\x80/, 'a character of four bytes');
like($evil_page, qr/&lt;script&gt;alert\(1\)&lt;\/script&gt;\|`x`/, 'shown as it is');
like($evil_page, qr/M&#252;ll &#128512;/, 'by its number');
my @evil_calls = $evil_report =~ /^  ```sql\n  (.*)\n  ```$/mg;
unlike(join("\n", @evil_calls), qr/[<>|`]script/, 'calls hold nothing raw');
if ($session->query('SHOW server_version_num') < 190000)	# from 19 on they never do
{
	my $old = LgSession->new($node, parameters => { TimeZone => 'UTC', standard_conforming_strings => 'off', escape_string_warning => 'off' });
	is($old->query("SELECT lifeguard.report($night)"), $evil_report, 'the same where backslashes escape in strings');
	is($old->query("SELECT lifeguard.report_html($night)") =~ s/<footer>.*//sr, $evil_page =~ s/<footer>.*//sr, 'the page too');
	$old->close;
}
foreach my $call (grep { /create_policy\('(?:idle_|close_)/ } @evil_calls)
{
	$session->query('BEGIN');
	$session->query($call);
	my $pattern = ($evil =~ s/\\/\\\\/gr =~ s/%/\\%/gr) =~ s/'/''/gr;
	is($session->query("SELECT count(*) FROM lifeguard.policy WHERE applications = ARRAY['$pattern']"), '1', 'and still mean the same application');
	$session->query('ROLLBACK');
}
($evil_report, $evil_page) = hostile($session, "\xf0\x9f\x98\x80" x 250);
is_harmless('four bytes', $evil_report, $evil_page);
like($evil_report, qr/Statement: (?:\xf0\x9f\x98\x80){197}\.\.\.$/m, 'clipped on a character');
($evil_report, $evil_page) = hostile($session, '|' x 300);
is_harmless('pipes', $evil_report, $evil_page);

# --- other encodings
$session->query("CREATE DATABASE $_ ENCODING '$_' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'") foreach ('latin1', 'sql_ascii');
my $latin1 = LgSession->new($node, dbname => 'latin1', %in_utc);
$latin1->query('SET client_min_messages = warning; CREATE EXTENSION pg_lifeguard');
is(page_error($latin1->query('SELECT lifeguard.report_html()')), '', 'LATIN1: a page of nothing');
fill($latin1);
($evil_report, $evil_page) = hostile($latin1, "<script>M\xfcll\x85|\x01\xa0");
is_harmless('LATIN1', $evil_report, $evil_page);
like($evil_page, qr/&lt;script&gt;M&#252;ll \|/, 'LATIN1: by its number');
like($evil_report, qr/script\\>M\xfcll \\\|/, 'LATIN1: as it is');
like($evil_report, qr/The histories are in database postgres/, 'LATIN1: it is not at home');
my $plain = LgSession->new($node, dbname => 'sql_ascii', %in_utc);
$plain->query('SET client_min_messages = warning; CREATE EXTENSION pg_lifeguard');
fill($plain);
($evil_report, $evil_page) = hostile($plain, "<script>M\xfcll|\x01\xff\xfe");
is_harmless('SQL_ASCII', $evil_report, $evil_page);
like($evil_page, qr/&lt;script&gt;M\?ll\| \?\?/, 'SQL_ASCII: bytes that are nothing');
($evil_report, $evil_page) = hostile($plain, 'x' . "\xf0\x9f\x98\x80" x 70);
is_harmless('UTF-8 in SQL_ASCII', $evil_report, $evil_page);
like($evil_page, qr/x&#128512;/, 'SQL_ASCII: UTF-8 by its number');
like($evil_report, qr/Statement: x(?:\xf0\x9f\x98\x80){49}\.\.\.$/m, 'SQL_ASCII: not clipped within a character');
$_->close foreach ($latin1, $plain);

# --- a standby has what came from its primary
$node->backup('night');
my $standby = PostgreSQL::Test::Cluster->new('report_standby');
$standby->init_from_backup($node, 'night', has_streaming => 1);
$standby->start;
my $there = LgSession->new($standby, %in_utc);
$report = $there->query("SELECT lifeguard.report($night)");
like($report, qr/, a standby, seen from database postgres;/, 'standby: it says so');
like(section($report, 'What was recorded'), qr/^Of its primary too are incidents, contention, idle transactions and actions; connections and load are this standby's own\.$/m, 'standby: and what it tells of');
like(section($report, 'Incidents'), qr/^2 incidents: 6 min 41 s lost/m, 'standby: incidents of its primary');
like(section($report, 'Connections'), qr/^No minute was recorded\.$/m, 'standby: connections are its own');
is(page_error($there->query("SELECT lifeguard.report_html($night)")), '', 'standby: the page');
$there->close;
$standby->stop;

# --- a long history
my $episodes = $ENV{LG_LONG} ? 1_000_000 : 20_000;
$session->query('SET statement_timeout = 0');
$session->query(<<"END");
INSERT INTO lifeguard.lock_wait_entries (boot, number, waiter_usesysid, waiter_pid, waiter_usename, waiter_application_name, waiter_query, root_usesysid,
		root_pid, root_usename, root_application_name, root_query, locktype, relation_name, mode, wait_start, duration, "precision", estimated, ended_by, recorded_on)
	SELECT '2026-01-02', g, s.oid, g, 'shop', 'worker', 'UPDATE cache', s.oid, 99, 'shop', 'web', 'UPDATE cache', 'transactionid', 'public.cache', 'ShareLock',
		timestamptz '2026-02-01 00:00+00' + g % 80000 * interval '1 s', g % 1000 * interval '10 ms', '0', '0', 'granted', 'primary'
	FROM generate_series(1, $episodes * 0.8) g, pg_roles s WHERE s.rolname = 'shop';
INSERT INTO lifeguard.idle_transaction_entries (boot, number, usesysid, pid, usename, datname, application_name, state, query, xact_start, idle_start, duration, "precision",
		locks_held, max_blocked, blocked_seconds, ended_by, recorded_on)
	SELECT '2026-01-02', g, s.oid, g % 50000, 'shop', 'shopdb', 'app ' || g % 100, 'idle in transaction', 'UPDATE cache', NULL,
		timestamptz '2026-02-01 00:00+00' + g % 80000 * interval '1 s', g % 1000 * interval '10 ms', '0', 3, g % 5, g % 5, 'statement', 'primary'
	FROM generate_series(1, $episodes * 0.2) g, pg_roles s WHERE s.rolname = 'shop';
ANALYZE;
END
# findings ask for the last day of it every few seconds
$session->query('SET enable_seqscan = off; SET enable_bitmapscan = off');
like($session->query("EXPLAIN SELECT FROM lifeguard.idle_transaction_history WHERE idle_start >= '2026-02-01 10:00+00' AND idle_start < '2026-02-01 10:01+00'"),
	qr/Index Scan using idle_transaction_entries_idle_start/, 'a minute of it is found by the index');
like($session->query("EXPLAIN SELECT FROM lifeguard.idle_transaction_history WHERE duration >= interval '1 hour' AND idle_start < '2026-02-01 10:00+00'"),
	qr/Scan using idle_transaction_entries_long/, 'and long ones that began before by another');
my $eye = LgSession->new($node, user => 'clerk', %in_utc);
$eye->query('SET enable_seqscan = off; SET enable_bitmapscan = off');
my $plan = $eye->query("EXPLAIN (ANALYZE, COSTS off) SELECT FROM lifeguard.idle_transaction_history WHERE idle_start >= '2026-02-01 10:00+00' AND idle_start < '2026-02-01 10:01+00'");
unlike($plan, qr/Seq Scan/, 'by whoever may see little, too');
like($plan, qr/Index Scan using idle_transaction_entries_idle_start on \S+ \S+ \(actual/, 'the same index');
is($eye->query("SELECT count(*) || ' ' || count(idle_start) || ' ' || count(DISTINCT query) FROM lifeguard.idle_transaction_history WHERE usename = 'shop' AND application_name = 'app 1'"),
	$episodes * 0.002 . ' 0 1', 'who sees them all, and nothing of them');
$eye->query('RESET enable_seqscan; RESET enable_bitmapscan');
# so do they for the last hour of contention
my $scans = "SELECT idx_scan > 0, seq_scan FROM pg_stat_xact_all_tables WHERE relid = 'lifeguard.contention_entries'::regclass";
$session->query("BEGIN; SELECT count(*) FROM lifeguard.contention('2026-01-11 02:50+00', '2026-01-11 02:51+00')");
is($session->query($scans), 't|0', 'a minute of contention, too');
$session->query('COMMIT; RESET enable_seqscan; RESET enable_bitmapscan');
foreach my $reader ($session, $eye)
{
	$reader->query("SET statement_timeout = '10 s'");
	foreach my $function ('report', 'report_html')
	{
		my $long = $reader->query("SELECT lifeguard.$function('2026-02-01 00:00+00', '2026-02-02 00:00+00')");
		like($long, qr/\Q@{[ $episodes * 0.8 ]}\E waits are recorded/, "a long history: $function");
		cmp_ok(length $long, '<', 500_000, 'is bounded');
	}
}

$_->close foreach ($session, $eye);
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
