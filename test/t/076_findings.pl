# Findings: each comes with the harm it tells of and goes with it, its remedy works,
# and in calm there is none.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgClock;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# The findings of a kind, as severity|what, a line each.
sub found
{
	my ($session, $kind) = @_;
	return $session->query("SELECT severity || '|' || what FROM lifeguard.findings WHERE finding = '$kind' ORDER BY what");
}

sub column
{
	my ($session, $kind, $column) = @_;
	return $session->query("SELECT $column FROM lifeguard.findings WHERE finding = '$kind' ORDER BY what LIMIT 1");
}

# True once there are so many of a kind.
sub comes
{
	my ($session, $kind, $number) = @_;
	return $session->poll("SELECT count(*) FROM lifeguard.findings WHERE finding = '$kind'", $number // 1);
}

sub goes { return comes(@_[ 0, 1 ], 0); }

# Leave nobody of these.
sub dismiss
{
	my ($session, @sessions) = @_;
	my $pids = join ',', map { $_->pid } @sessions;
	$session->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN ($pids)");
	$_->close foreach @sessions;
	return $session->poll("SELECT count(*) FROM pg_stat_activity WHERE pid IN ($pids)", '0');
}

# Transactions that write, so many.
sub burn
{
	my ($session, $number) = @_;
	return $session->query(<<"END");
DO \$\$ BEGIN FOR i IN 1 .. $number LOOP
	BEGIN INSERT INTO chaff VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END;
END LOOP; END \$\$
END
}

# --- calm: an extension just created, all settings at their defaults
my $node = lg_server('findings', init => { allows_streaming => 1 }, conf => "max_connections = 40\nmax_prepared_transactions = 2\n");
my $session = LgSession->new($node);
ok(lg_passes($session, 2), 'passes are made');
ok($session->poll('SELECT keeper_last_run IS NOT NULL FROM lifeguard.status'), 'a keeper has been there');
is($session->query('SELECT * FROM lifeguard.findings'), '', 'calm: no finding at all');

# meanwhile, on another server, the collector stands still
my $odd = lg_server('odd', extension => 0, conf => <<'END');
pg_lifeguard.sample_interval = 100ms
pg_lifeguard.min_episode = 0
pg_lifeguard.max_episodes = 64
END
$odd->safe_psql('postgres', 'CREATE DATABASE shop');
my $strange = LgSession->new($odd, dbname => 'shop');
$strange->query('CREATE EXTENSION pg_lifeguard');
ok(lg_passes($strange, 2), 'passes on another server');
ok(comes($strange, 'keeper'), 'its home database has no extension');
like(column($strange, 'keeper', 'what'), qr/^policies are not read, or histories not written: .*postgres/, 'which one, and what that means');
is(found($strange, 'gap'), '', 'no gap yet');
my @copies = map { LgSession->new($odd) } 1 .. 8;
$copies[0]->query('CREATE TABLE inbox (line text)');
$_->send('COPY inbox FROM STDIN') foreach @copies;
my $frozen = lg_freeze_collector($strange);

$session->query($_) foreach split /;\n/, <<'END';
CREATE ROLE web LOGIN;
CREATE ROLE clerk LOGIN;
CREATE TABLE cache (id int PRIMARY KEY, payload text);
ALTER TABLE cache ALTER payload SET STORAGE EXTERNAL;
INSERT INTO cache SELECT g, repeat('x', 20000) FROM generate_series(1, 3) g;
CREATE TABLE chaff (id int);
CREATE TABLE till (id int);
GRANT ALL ON cache, chaff, till TO PUBLIC
END
lg_configure($session,
	'pg_lifeguard.sample_interval' => '100ms', 'pg_lifeguard.fast_interval' => '50ms',
	'pg_lifeguard.min_episode' => '200ms', 'compute_query_id' => 'on');
ok($session->poll("SELECT current_interval <= '0.1 s' FROM lifeguard.status"), 'quicker now');

# what was recorded of two pools, before anybody ran short of slots
$session->query(<<'END');
INSERT INTO lifeguard.connection_usage_entries (boot, number, usesysid, minute, datname, usename, application_name, held, held_max, active, active_max, idle, samples, recorded_on)
SELECT '2000-01-01', n * 2 + k, 'clerk'::regrole, now() - n * interval '1 min', 'postgres', 'clerk', CASE k WHEN 0 THEN 'reporter' ELSE 'worker' END,
	20, 20, 2, CASE k WHEN 0 THEN 3 ELSE 15 END, 18, 12, 'primary'
FROM generate_series(1, 12) n, generate_series(0, 1) k
END

sub web { return LgSession->new($node, user => 'web', parameters => { application_name => 'shop' }); }

# --- idle transactions: one that holds what others want to write, one that does not
my ($locker, $harmless, $maker) = (web(), web(), web());
$locker->query("BEGIN; LOCK TABLE till IN SHARE MODE; SELECT 'no news'");
$harmless->query('BEGIN; LOCK TABLE chaff IN ROW EXCLUSIVE MODE');
$maker->query('BEGIN; CREATE TEMP TABLE own (i int PRIMARY KEY)');    # strong locks that nobody can wait for

# --- waits that end behind others than they began
$session->query(<<'END');
INSERT INTO lifeguard.contention_entries (boot, number, minute, datname, relation_name, locktype, mode, root_application_name, root_usename,
	waiter_application_name, waiter_usename, waits, waits_seen, seconds_seen, seconds_estimated, max, recorded_on)
SELECT '2000-01-01', n, now() - interval '2 min', 'postgres', 'public.shelf', 'transactionid', 'ShareLock', root, 'web', 'till', 'clerk', 0, 9, seconds, 0, '0', 'primary'
FROM (VALUES (1, 'first', 50), (2, 'second', 20)) r (n, root, seconds)
END
sub shelf_row
{
	my ($row) = $session->query("SELECT lifeguard.report(now() - interval '10 min')") =~ /^\| *1 *\| *public\.shelf *\|(.*)$/m;
	return ($row // 'none') =~ s/ //gr;
}
is(column($session, 'hot row', 'why'), '18 waits; most (50.0 s) of till as clerk behind first as web, which go on. See who keeps others waiting: none of these waits ended in this time.',
	'none has ended');
is(column($session, 'hot row', 'remedy'), 'SELECT * FROM lifeguard.blockers;', 'so the blocker is to be seen');
is(shelf_row(), 'postgres|ShareLock|9|50.0|0.0|||', 'nor does a report tell how long they were');
$session->query("UPDATE lifeguard.contention_entries SET max = '12 s' WHERE boot = '2000-01-01' AND number = 2");
like(column($session, 'hot row', 'why'), qr/ behind first as web, the longest of all that are over 12\.0 s\. Waits took up to 12\.0 s: /, 'some have ended, behind another');
like(column($session, 'hot row', 'remedy'), qr/replay_policy.*'min_duration', '2 s'/, 'so it is known what would end them');
is(shelf_row(), 'postgres|ShareLock|9|50.0|0.0|||', 'a report tells only where they ended');
$session->query("UPDATE lifeguard.contention_entries SET max = '8 s' WHERE boot = '2000-01-01' AND number = 1");
like(column($session, 'hot row', 'why'), qr/ behind first as web, 19 of 20 of those up to 8\.0 s\. Waits took up to 12\.0 s, 19 of 20 up to 8\.0 s: /, 'some behind that one, too');
is(shelf_row(), 'postgres|ShareLock|9|50.0|0.0|8.0s|8.0s|', 'as a report has it');
$session->query("DELETE FROM lifeguard.contention_entries WHERE boot = '2000-01-01'");

# --- a blocker, who makes a hot row
is(found($session, 'hot row') . found($session, 'timeout'), '', 'no hot row yet');
my $holder = web();
$holder->query("BEGIN; UPDATE cache SET payload = payload || 'y' WHERE id = 2");
my @waiters = map { LgSession->new($node, user => 'clerk', parameters => { application_name => 'till' }) } 1 .. 2;
$_->send("UPDATE cache SET payload = payload || 'z' WHERE id = 2") foreach @waiters;
ok(comes($session, 'blocker'), 'a blocker');
like(found($session, 'blocker'), qr/^warning\|PID ${\$holder->pid}, shop as web in postgres, keeps 2 sessions waiting$/, 'who it is');
push @waiters, map { LgSession->new($node, user => 'clerk', parameters => { application_name => 'till' }) } 1 .. 23;
$_->send("UPDATE cache SET payload = payload || 'z' WHERE id = 2") foreach @waiters[ 2 .. 24 ];
ok($session->poll("SELECT what FROM lifeguard.findings WHERE severity = 'critical' AND finding = 'blocker'",
		"PID ${\$holder->pid}, shop as web in postgres, keeps 25 sessions waiting"), 'many wait: critical');
like(column($session, 'blocker', 'why'),
	qr/^1 directly, the longest for [^,;]*s, [^,;]*s in all; it is idle in transaction for [^,;]*s; awaited is public\.cache; its statement: BEGIN; UPDATE cache SET payload/,
	'with figures');
my $clerk = LgSession->new($node, user => 'clerk');
is($clerk->error_of('SELECT f::text FROM lifeguard.findings f'), undef, 'a role without rights may look');
my $for_clerk = $clerk->query("SELECT what, why, remedy FROM lifeguard.findings WHERE finding = 'blocker'");
like($for_clerk, qr/^PID ${\$holder->pid}, .*\|none: you may not see this session/, 'and sees who blocks');
unlike($for_clerk, qr/payload|idle in transaction for/, 'but nothing of what it does');
$clerk->close;
ok($session->poll("SELECT total_wait >= '70 s' FROM lifeguard.blockers WHERE pid = ${\$holder->pid}"), 'they wait a minute, together');
is($session->query("SELECT count(*) FROM lifeguard.findings WHERE what LIKE 'PID ${\$holder->pid},%'"), 1, 'who blocks is told once');
is($session->query("SELECT string_agg(DISTINCT finding, ',') FROM lifeguard.findings WHERE what LIKE 'PID ${\$harmless->pid},%'"), '', 'an idle transaction that is in nobody\'s way is not told');
my $remedy = column($session, 'blocker', 'remedy');
like($remedy, qr/^SELECT lifeguard\.terminate_session\(${\$holder->pid}, /, 'the remedy');
$session->query($remedy);
$_->answer foreach @waiters;
ok(goes($session, 'blocker'), 'it mends it');
dismiss($session, @waiters);

ok(comes($session, 'hot row'), 'what it cost');
like(found($session, 'hot row'), qr/^warning\|rows of public\.cache cost \d+ min[^|]* of waiting in the last hour$/, 'which rows');
# behind whom each ended is chance: behind the first or behind one another
ok($session->poll(q{SELECT why ~ 'behind shop as web, (19 of 20 of those up to|the longest of all that are over) [0-9]' FROM lifeguard.findings WHERE finding = 'hot row'}),
	'when they are over it is known how long they were');
like(column($session, 'hot row', 'why'),
	qr/behind shop as web.*Most waited for: row \(\d+,\d+\)\. A row has (?:an unknown size|\S+ \S+) on average, the hot ones up to \d+ kB\..* % of \d+ updates were HOT, .*split it into several rows/,
	'how wide it is, and what to do');
is($session->query("SELECT count(*) FROM lifeguard.findings WHERE finding = 'contention'"), 0, 'and no relation');
ok($session->poll("SELECT count(*) FROM lifeguard.findings WHERE finding = 'timeout' AND what = 'role web has no idle_in_transaction_session_timeout'", 1),
	'it had no timeout');
like(column($session, 'timeout', 'why'), qr/kept others waiting 1 time, up to 25 sessions at a time, for /, 'with figures');
$remedy = column($session, 'timeout', 'remedy');
like($remedy, qr/^ALTER ROLE web SET idle_in_transaction_session_timeout = '\d+ s';$/, 'the remedy');
$session->query($remedy);
is(found($session, 'timeout'), '', 'it mends it');
$session->query("ALTER ROLE web SET idle_in_transaction_session_timeout = 0");
isnt(found($session, 'timeout'), '', 'zero is none');

# a pause counts that ended in the last day, whenever it began
$session->query('BEGIN');
foreach my $old ([ '23 hours 59 min', '90 s' ], [ '24 hours 2 min', '5 min' ], [ '10 days', '9 days 1 hour' ])
{
	$session->query(<<"END");
INSERT INTO lifeguard.idle_transaction_entries (boot, number, usesysid, pid, usename, idle_start, duration, max_blocked, blocked_seconds, recorded_on)
VALUES ('2000-01-01', 1, 'clerk'::regrole, 1, 'clerk', now() - interval '$old->[0]', '$old->[1]', 3, 60, 'primary')
END
	is($session->query(q{SELECT substring(why FROM 'kept others.*at a time') FROM lifeguard.findings WHERE what LIKE 'role clerk has no idle%'}),
		'kept others waiting 1 time, up to 3 sessions at a time', "$old->[0] ago, for $old->[1]");
	$session->query("UPDATE lifeguard.idle_transaction_entries SET duration = duration - interval '2 days' + interval '22 h' WHERE boot = '2000-01-01'");
	is($session->query(q{SELECT why FROM lifeguard.findings WHERE what LIKE 'role clerk has no idle%'}), '', 'not what ended before') if $old->[1] =~ /days/;
	$session->query("DELETE FROM lifeguard.idle_transaction_entries WHERE boot = '2000-01-01'");
}
$session->query('ROLLBACK');

# whoever has a timeout of his own does not take it for the server's, nor the server's for none
$session->query("CREATE ROLE chief LOGIN SUPERUSER; CREATE ROLE guest LOGIN; ALTER ROLE chief SET idle_in_transaction_session_timeout = '1h'");
$session->query("ALTER ROLE guest SET idle_in_transaction_session_timeout = '1h'");
my ($chief, $guest) = map { LgSession->new($node, user => $_) } qw(chief guest);
$session->query('GRANT pg_read_all_stats TO guest');
isnt(found($chief, 'timeout'), '', 'his own is not the server\'s');
is(found($guest, 'timeout'), '', 'whoever cannot know is not told');
lg_configure($session, idle_in_transaction_session_timeout => '10min');
ok($session->poll('SHOW idle_in_transaction_session_timeout', '10min'), 'the server has one');
is(found($chief, 'timeout'), '', 'nor is the server\'s hidden by it');
$chief->query('SET idle_in_transaction_session_timeout = 0');
is(found($chief, 'timeout'), '', 'nor by what the session has set');
lg_configure($session, idle_in_transaction_session_timeout => '0');
$_->close foreach ($chief, $guest);
lg_configure($session, idle_in_transaction_session_timeout => '10min');
ok(goes($session, 'timeout'), 'one for all mends it, too');

# --- the idle transaction from above has grown old
ok(comes($session, 'idle transaction'), 'an idle transaction');
like(found($session, 'idle transaction'), qr/^warning\|PID ${\$locker->pid}, shop as web in postgres, is idle in a transaction for [^,|]* s$/, 'who it is');
is(column($session, 'idle transaction', 'why'),
	"It holds ShareLock on public.till: whoever writes there will wait for it. Its last statement: BEGIN; LOCK TABLE till IN SHARE MODE; SELECT 'no news'",
	'what it holds');
is($session->query("SELECT count(*) FROM lifeguard.findings WHERE what LIKE 'PID ${\$maker->pid},%'"), '0', 'nor one whose locks nobody can wait for');
$maker->close;
$session->query(column($session, 'idle transaction', 'remedy'));
ok(goes($session, 'idle transaction'), 'the remedy mends it');
$harmless->query('ROLLBACK');

# --- one that holds back the horizon, and a prepared transaction that does
my $reader = web();
$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM till');
burn($session, 9000);
is(found($session, 'idle transaction'), '', 'not so far back');
burn($session, 1500);
ok(comes($session, 'idle transaction'), 'far back');
like(column($session, 'idle transaction', 'why'), qr/^Because of it no dead row of the last 105\d\d transactions can be removed/, 'how far');
$reader->query('ROLLBACK');
is(found($session, 'idle transaction'), '', 'when it ends it is gone');
$session->query("BEGIN; INSERT INTO till VALUES (2); PREPARE TRANSACTION 'it''s forgotten'");
is(found($session, 'prepared transaction'), '', 'a prepared transaction that does no harm');
burn($session, 10100);
like(found($session, 'prepared transaction'), qr/^warning\|prepared transaction E'it\\x27s forgotten' of \S+ in postgres waits to be committed for /, 'one that does');
$session->query(column($session, 'prepared transaction', 'remedy'));
is(found($session, 'prepared transaction'), '', 'the remedy mends it');

# --- a stampede: the same query, not just many
my @herd = map { web() } 1 .. 4;
$_->send('SELECT pg_sleep(600)') foreach @herd;
push @herd, map { web() } 1 .. 3;
$herd[$_]->send('SELECT pg_sleep(600)' . ', 1' x $_) foreach 4 .. 6;
ok($session->poll("SELECT count(*) FROM lifeguard.sessions WHERE clock_timestamp() - query_start > '1.1 s' AND state = 'active'", 7), 'seven run');
is(found($session, 'stampede'), '', 'not the same');
push @herd, map { web() } 1 .. 4;
$_->send('SELECT pg_sleep(601)') foreach @herd[ 7 .. 10 ];
ok(comes($session, 'stampede'), 'a stampede');
like(found($session, 'stampede'), qr/^critical\|[5-8] sessions run one and the same query in postgres$/, 'of how many');
like(column($session, 'stampede', 'why'), qr/% of the active ones and \d+ % of the usable slots; .* The query: SELECT pg_sleep\(/, 'of what');
if ($session->query('SHOW server_version_num') < 190000)	# from 19 on they never do
{
	my $old = LgSession->new($node, parameters => { standard_conforming_strings => 'off', escape_string_warning => 'off' });
	my $error = $old->error_of('SELECT count(*) FROM lifeguard.findings');
	is($error ? $error->{message} : undef, undef, 'findings where backslashes escape in strings');
	like(found($old, 'stampede'), qr/^critical\|[5-8] sessions run one/, 'and the stampede is among them') unless $error;
	$old->close;
}
$remedy = column($session, 'stampede', 'remedy');
$session->query($remedy =~ s/; --.*//r);
is($session->query("SELECT count(*) FROM lifeguard.policy WHERE min_same_query >= 3 AND victim_order = 'all but oldest' AND action = 'log'"), 1, 'the remedy is a policy that only logs');
is(found($session, 'query ids'), '', 'which has what it needs');
like(column($session, 'stampede', 'why'), qr/ Policy stampede_\d+ is there, only rehearses: /, 'now that it is there');
is($session->error_of(column($session, 'stampede', 'remedy')), undef, 'another remedy');
unlike(column($session, 'stampede', 'remedy'), qr/create_policy/, 'is not to create it again');
lg_configure($session, compute_query_id => 'off');
ok(comes($session, 'query ids'), 'without query ids it can never act');
is(column($session, 'query ids', 'remedy'), 'ALTER SYSTEM SET compute_query_id = on; SELECT pg_reload_conf();', 'the remedy');
lg_configure($session, compute_query_id => 'on');
ok(goes($session, 'query ids'), 'it mends it');
lg_drop($session);
dismiss($session, @herd);
ok(goes($session, 'stampede'), 'the stampede is over');

# --- full: 37 slots are for any role
my @crowd;
ok($session->poll('SELECT used <= 3 FROM lifeguard.connections'), 'few are here');
is(found($session, 'oversized pool') . found($session, 'refusals'), '', 'nobody ran short of slots so far');
my $usable = $session->query('SELECT usable FROM lifeguard.connections');
sub crowd_to
{
	my ($number) = @_;
	push @crowd, LgSession->new($node, user => 'clerk', parameters => { application_name => q{poo%l'} })
	  while $session->query('SELECT used FROM lifeguard.connections') < $number;
	return;
}
crowd_to(int(0.9 * $usable));
is(found($session, 'connections'), '', 'not full yet');
crowd_to(int(0.9 * $usable) + 1);
is(found($session, 'connections'), 'warning|' . (int(0.9 * $usable) + 1) . " of $usable usable connection slots are taken", 'nearly full');
like(column($session, 'connections', 'why'), qr/poo%l' as clerk in postgres holds \d+: 0 active, \d+ idle, 0 idle in transaction\.$/, 'of whom');
crowd_to($usable);
is(found($session, 'connections'), "critical|$usable of $usable usable connection slots are taken", 'full');
$remedy = column($session, 'connections', 'remedy');
$session->query($remedy =~ s/; --.*//r);
is($session->query('SELECT target, connections_above, applications FROM lifeguard.policy'), q(idle|0.9|{"poo\\\\%l'"}), 'the remedy is a policy for those');
like(column($session, 'connections', 'why'), qr/ Policy close_idle_poo_l is there, only rehearses: .* with action terminate\.$/, 'now it is there');
unlike(column($session, 'connections', 'remedy'), qr/create_policy/, 'and not to be created again');
lg_drop($session);
like(LgSession->new($node, user => 'clerk', parameters => { application_name => 'late' }, refused_ok => 1)->{refused}{message}, qr/^remaining connection slots are reserved/, 'the next is refused');
ok(comes($session, 'refusals'), 'a refusal');
is(found($session, 'refusals'), 'critical|1 connection attempt was turned away: only slots for superusers were left', 'for which reason');
like(column($session, 'refusals', 'why'), qr/: late as clerk in postgres\.$/, 'of whom');
like($session->query(column($session, 'refusals', 'remedy')), qr/poo%l'/, 'who held the slots then');
dismiss($session, splice @crowd);
is(found($session, 'connections'), '', 'no more');
$session->query('ALTER ROLE clerk CONNECTION LIMIT 0');
LgSession->new($node, user => 'clerk', refused_ok => 1)->close for 1 .. 2;
ok($session->poll("SELECT count(*) FROM lifeguard.findings WHERE finding = 'refusals' AND severity = 'critical' AND what = '2 connection attempts were turned away: a role''s limit was reached'", 1),
	'refusals of another kind');
ok(comes($session, 'refusals', 2), 'beside those');
$session->query($session->query("SELECT remedy FROM lifeguard.findings WHERE finding = 'refusals' AND what LIKE '2 %'"));
ok(!LgSession->new($node, user => 'clerk')->{refused}, 'the remedy mends it');
$session->query("INSERT INTO lifeguard.refusal_entries (boot, number, at, cause, attempts, recorded_on) VALUES ('2001-01-01', 1, clock_timestamp(), 'database limit', 7, 'primary')");
is($session->query("SELECT what FROM lifeguard.bottleneck WHERE what LIKE '%database%'"), 'CONNECTION LIMIT of a database', 'of whom nobody knows');
is($session->error_of('SELECT f::text FROM lifeguard.findings f'), undef, 'which is no error');
$session->query("DELETE FROM lifeguard.refusal_entries WHERE boot = '2001-01-01'");
is(found($session, 'oversized pool'), 'warning|reporter as clerk holds 20 connections, and never more than 3 worked', 'where slots are short, an oversized pool');
is($session->query(column($session, 'oversized pool', 'remedy') =~ s/advised, advice/count(*)/r), 1, 'what pool_advice says of it');

# --- policies that left harm alone
lg_put_in_force($session, 'pg_lifeguard.protected_applications' => 'payroll') or die;
ok(lg_define($session, payroll => {}, few => { max_per_minute => 1 }), 'policies');
my @left = map { LgSession->new($node, user => 'web', parameters => { application_name => $_ }) } qw(payroll few few);
is(found($session, 'spared') . found($session, 'over limit'), '', 'nobody to act on');
$_->query('BEGIN') foreach @left;
ok(comes($session, 'spared'), 'a protection');
is(found($session, 'spared'), 'warning|policy payroll left 1 session as it was: protected application', 'whose');
like(column($session, 'spared', 'remedy'), qr/^pg_lifeguard\.protected_applications names it/, 'what to do');
ok(comes($session, 'over limit'), 'a limit');
is(found($session, 'over limit'), 'warning|policy few left 1 session as it was: over limit', 'whose');
my $limits = "SELECT max_per_pass, max_per_minute, cooldown FROM lifeguard.policy WHERE name = 'few'";
my $few = $session->query($limits);
is($session->query(column($session, 'over limit', 'remedy') =~ s/; --.*//r), $few, 'the remedy shows the limits');
like(column($session, 'over limit', 'remedy'), qr/-- alter_policy\(\) raises max_per_pass or max_per_minute or shortens cooldown; /, 'and says what to do about them');
is($session->query($limits), $few, 'which stay as they are');
dismiss($session, @left);
lg_drop($session);

# without its owner's rights
ok(lg_define($session, foreign => {}), 'a policy');
my $published = $session->query('SELECT published_at FROM lifeguard.policy_status');
$session->query("UPDATE lifeguard.policy SET owner = 'web'");
ok($session->poll("SELECT published_at > '$published' FROM lifeguard.policy_status"), 'of somebody else');
is(found($session, 'not permitted'), '', 'nobody to act on');
my $not_mine = LgSession->new($node, user => 'clerk', parameters => { application_name => 'foreign' });
$not_mine->query('BEGIN');
ok(comes($session, 'not permitted'), 'a policy that may not');
is(found($session, 'not permitted'), 'warning|policy foreign left 1 session as it was: not permitted', 'which');
dismiss($session, $not_mine);
lg_drop($session);

# --- policies that are held
is(found($session, 'paused') . found($session, 'enforce off'), '', 'nothing holds policies');
ok(lg_define($session, idle => { action => 'log' }), 'a policy that only logs');
sub hold
{
	my $before = $session->query("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS')");
	my $until = $session->query("SELECT to_char(lifeguard.pause('1 h', 'the night''s load'), 'YYYY-MM-DD HH24:MI:SS')");
	return ($before, $until);
}
my ($before) = hold();
is(found($session, 'paused'), '', 'which would not act anyway');
$session->query("SELECT lifeguard.alter_policy('idle', action => 'terminate')");
ok(comes($session, 'paused'), 'one that would act is held');
my ($again, $until) = hold();
my $held = found($session, 'paused');
like($held, qr/^warning\|policies are paused until $until, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$/, 'until when');
cmp_ok(substr($held, -19), 'ge', $before, 'since when');
cmp_ok(substr($held, -19), 'le', $again, 'which is when the first of two pauses began');
is(column($session, 'paused', 'why'), '1 policy would act now, and only rehearses. The reason given: the night\'s load.', 'which that concerns, and why');
my $other = LgSession->new($node, user => 'clerk');
is(column($other, 'paused', 'why'), '1 policy would act now, and only rehearses.', 'the reason is not for everybody');
$other->close;
$session->query("SELECT lifeguard.disable_policy('idle')");
ok(goes($session, 'paused'), 'a disabled one is not held by it');
$session->query("SELECT lifeguard.enable_policy('idle')");
ok(comes($session, 'paused'), 'an enabled one is');
lg_configure($session, 'pg_lifeguard.enforce' => 'off');
ok(comes($session, 'enforce off'), 'enforce');
is(found($session, 'enforce off'), 'warning|pg_lifeguard.enforce is off: nobody is signalled', 'what that means');
is(column($session, 'enforce off', 'why'), '1 policy would act now, and only rehearses; nor does a call by hand end anybody. So it stays until it is set on.', 'for how long');
$session->query($_) foreach split /; /, column($session, 'enforce off', 'remedy') =~ s/;$//r;
ok(goes($session, 'enforce off'), 'the remedy mends it');
is(column($session, 'paused', 'remedy'), 'SELECT lifeguard.resume();', 'what ends the pause');
$session->query(column($session, 'paused', 'remedy'));
is(found($session, 'paused'), '', 'and it is gone');
lg_drop($session);

# a breaker: whoever is ended, no fewer wait
ok(lg_define($session, pile => { min_blocked => 1, min_duration => '300 ms' }), 'a policy');
my $stays = LgSession->new($node, parameters => { application_name => 'stays' });
$stays->query('BEGIN; SELECT pg_advisory_xact_lock(0)');
my @pile = map { LgSession->new($node, user => 'web', parameters => { application_name => 'pile' }) } 1 .. 6;
my @behind = map { web() } 1 .. 6;
my @later = map { web() } 1 .. 8;
$pile[$_]->query("BEGIN; SELECT pg_advisory_xact_lock($_ + 1)") foreach 0 .. 5;
$behind[$_]->send("SELECT pg_advisory_xact_lock($_ + 1)") foreach 0 .. 5;
is(found($session, 'breaker'), '', 'no breaker');
$_->answer foreach @behind;
$_->send('SELECT pg_advisory_xact_lock(0)') foreach @later;
ok(comes($session, 'breaker'), 'a breaker');
like(found($session, 'breaker'), qr/^warning\|policy pile is paused by its breaker until 20/, 'of which policy');
$session->query(column($session, 'breaker', 'remedy') =~ s/; --.*//r);
is(found($session, 'breaker'), '', 'the remedy mends it');
$stays->query('ROLLBACK');
$_->answer foreach @later;
dismiss($session, @pile, @behind, @later, $stays);
lg_drop($session);

# --- elsewhere the collector has stood still meanwhile
ok($strange->poll("SELECT collector = 'stalled' AND clock_timestamp() - last_pass > '6.5 s' FROM lifeguard.status"), 'it has stood still');
is(found($strange, 'collector'), 'critical|the collector makes no passes', 'critical');
kill CONT => $frozen;
ok(comes($strange, 'gap'), 'a gap');
like(found($strange, 'gap'), qr/^warning\|the collector came more than 5 s late at 20/, 'of which kind');
ok(goes($strange, 'collector'), 'it goes on');

# --- a whole table, asked for without a limit; it can be any relation
my $writer = web();
$writer->query('BEGIN; INSERT INTO till VALUES (3)');
my $ddl = LgSession->new($node, user => 'clerk');
$ddl->send('BEGIN; LOCK TABLE till IN ACCESS EXCLUSIVE MODE; ROLLBACK');
ok(lg_waits($session, $ddl), 'somebody asks for the whole table');
my @queue = map { web() } 1 .. 28;
$_->send('SELECT count(*) FROM till') foreach @queue;
ok($session->poll("SELECT total_wait >= '75 s' FROM lifeguard.blockers WHERE pid = ${\$writer->pid}"), 'and a queue behind');
$writer->query('ROLLBACK');
$_->answer foreach ($ddl, @queue);
ok(comes($session, 'contention'), 'contention');
like(found($session, 'contention'), qr/^warning\|locks on public\.till cost \d+ min/, 'where');
ok($session->poll("SELECT count(*) FROM lifeguard.findings WHERE finding = 'timeout' AND what = 'role clerk asks for locks on the whole of public.till without lock_timeout'", 1), 'and whose doing');
$session->query(column($session, 'timeout', 'remedy'));
ok(goes($session, 'timeout'), 'the remedy mends it');
dismiss($session, $writer, $ddl, @queue);

$clerk = LgSession->new($node, user => 'clerk');
is($clerk->error_of('SELECT f::text FROM lifeguard.findings f'), undef, 'a role without rights may look at all of it');
is($clerk->query("SELECT count(*) > 0 FROM lifeguard.findings WHERE finding = 'contention'"), 't', 'and sees what it may');
dismiss($session, $clerk);

# --- connections that live for moments
is(found($session, 'churn'), '', 'no churn');
$session->query('SELECT lifeguard.reset()');
LgSession->new($node, user => 'clerk', parameters => { application_name => 'cgi' })->close for 1 .. 120;
ok(comes($session, 'churn'), 'churn');
like(found($session, 'churn'), qr/^warning\|cgi connects \d+\.\d times a second, and leaves after \S+ m?s$/, 'whose');
like(column($session, 'churn', 'why'), qr/^To be ready takes \S+ ms, one in a hundred \S+ m?s or more: \S+ m?s of each second/, 'what it costs');

# --- ourselves: a collector that ended
is(found($session, 'gap'), '', 'no gap');
my $pid = lg_status($session, 'collector_pid');
$session->query("SELECT pg_terminate_backend($pid)");
ok(lg_collector_again($session, $pid), 'another collector');
like(found($session, 'gap'), qr/^warning\|the collector was gone, and came back at 20/, 'a gap');
is(found($session, 'collector'), '', 'it runs');
lg_configure($session, 'pg_lifeguard.sample_interval' => 0);
ok($session->poll("SELECT collector = 'on demand' FROM lifeguard.status"), 'passes only on demand');
is(found($session, 'collector'), '', 'nobody relies on it');
ok(lg_define($session, idle => {}), 'a policy does');
is(found($session, 'collector'), 'warning|pg_lifeguard.sample_interval is 0: passes are made only by lifeguard.run_pass()', 'then it is a finding');
$session->query($_) foreach split /; /, column($session, 'collector', 'remedy') =~ s/;$//r;
ok(goes($session, 'collector'), 'the remedy mends it');
lg_drop($session);

lg_configure($session, log_min_messages => 'panic');
ok(comes($session, 'refusals not counted'), 'refusals cannot be seen');
$session->query($_) foreach split /; /, column($session, 'refusals not counted', 'remedy') =~ s/;$//r;
ok(goes($session, 'refusals not counted'), 'the remedy mends it');
is(found($session, 'version'), '', 'library and catalog fit');
my $version = $session->query("UPDATE pg_extension e SET extversion = '0.1' FROM pg_extension o WHERE o.oid = e.oid AND e.extname = 'pg_lifeguard' RETURNING o.extversion");
is(found($session, 'version'), "warning|library $version meets catalog 0.1", 'then they do not');
$session->query("UPDATE pg_extension SET extversion = '$version' WHERE extname = 'pg_lifeguard'");

# --- on a standby
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('findings_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
my $there = LgSession->new($standby);
ok(lg_passes($there, 2), 'passes on a standby');
is($there->query("SELECT * FROM lifeguard.findings WHERE finding NOT IN ('timeout')"), '', 'its primary\'s findings are not its own');
is(LgSession->new($standby, user => 'clerk')->error_of('SELECT f::text FROM lifeguard.findings f'), undef, 'a role without rights may look');

# of waits it tells of its own, and of no others beside them
my ($first, @others) = map { LgSession->new($standby, user => 'web', parameters => { application_name => 'readers' }) } 1 .. 8;
is($session->query("SELECT count(*) > 0 FROM lifeguard.findings WHERE what LIKE 'locks on public.till cost %'"), 't', 'waits of its primary');
$first->query('SELECT pg_advisory_lock(5)');
$_->send('SELECT pg_advisory_lock_shared(5)') foreach @others;
ok($there->poll("SELECT sum(seconds_seen) >= 15 FROM lifeguard.contention_minutes WHERE recorded_on = 'standby'", 't'), 'waits on a standby');
is($there->query("SELECT count(*) > 0 FROM lifeguard.contention(now() - interval '1 h') WHERE relation_name = 'public.till'"), 't', 'contention has those of its primary');
is($there->query("SELECT string_agg(DISTINCT locktype, ',') FROM lifeguard.contention_on('standby', now() - interval '1 h', NULL)"), 'advisory', 'or only its own');
is($there->query("SELECT what FROM lifeguard.findings WHERE finding IN ('hot row', 'contention', 'timeout')"), '', 'findings are about its own');
$first->query('SELECT pg_advisory_unlock(5)');
$_->answer foreach @others;
$_->close foreach ($first, @others);
$there->close;
$standby->stop;

# --- elsewhere: clients that do not send, and what did not fit
ok($strange->poll("SELECT count(*) FROM lifeguard.findings WHERE finding = 'bottleneck' AND what LIKE 'clients: %'", 1), 'clients that send nothing are a bottleneck');
like($strange->query("SELECT why FROM lifeguard.findings WHERE what LIKE 'clients: %'"), qr/^\d\.\d sessions on average waited, in the middle of a statement/, 'with figures');
dismiss($strange, @copies);
is(found($strange, 'cut off'), '', 'nothing is lost');
my $idler = LgSession->new($odd);
for (1 .. 40)
{
	$idler->query('BEGIN');
	$strange->query('SELECT lifeguard.run_pass()');
	$idler->query('COMMIT');
	last if found($strange, 'cut off');
}
like(found($strange, 'cut off'), qr/^warning\|what was to be remembered did not fit into memory$/, 'then it is');
is(column($strange, 'cut off', 'remedy'), 'ALTER SYSTEM SET pg_lifeguard.max_episodes = 128; -- or max_ledger; then restart the server', 'the remedy');

# --- the clock is moved
$_->close foreach ($session, $strange);
$node->stop;
SKIP:
{
	my $clock = LgClock->new or skip 'faketime is not installed', 1;
	$clock->start($node);
	$session = LgSession->new($node);
	ok($clock->take_collector($session), 'a collector by another clock');
	ok(lg_passes($session, 2), 'passes');
	is(found($session, 'clock'), '', 'it goes evenly');
	$clock->set('+60');
	ok(comes($session, 'clock'), 'it is moved');
	like(found($session, 'clock'), qr/^notice\|the clock was moved at 20/, 'when');
	$session->close;
	$node->stop;
}

# --- not preloaded: what is live is found all the same
$odd->adjust_conf('postgresql.conf', $_, undef) foreach qw(pg_lifeguard.sample_interval pg_lifeguard.min_episode pg_lifeguard.max_episodes);
$odd->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$odd->restart;
my $lone = LgSession->new($odd, dbname => 'shop');
is(found($lone, 'not loaded'), 'warning|pg_lifeguard is not loaded: no policy acts and nothing is remembered', 'not loaded');
is($lone->query('SELECT count(*) FROM lifeguard.findings'), 1, 'and nothing else');
my ($owner, $waiter) = map { LgSession->new($odd) } 1 .. 2;
$owner->query('BEGIN; SELECT pg_advisory_xact_lock(1)');
$waiter->send('SELECT pg_advisory_xact_lock(1)');
ok(comes($lone, 'blocker'), 'a blocker');
$remedy = column($lone, 'blocker', 'remedy');
like($remedy, qr/^SELECT pg_terminate_backend/, 'the remedy');
$lone->query($remedy);
$waiter->answer;
ok(goes($lone, 'blocker'), 'mends it');
is(lg_view_errors($lone), '', 'every view answers');

$lone->close;
$odd->stop;
is(lg_log_complaints($_), '', $_->name . ': nothing bad in the log') foreach ($node, $odd);

done_testing();
