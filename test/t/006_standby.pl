# On a hot standby everything about "now" works, and goes on through promotion.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = lg_server('primary', init => { allows_streaming => 1 }, conf => <<'END');
pg_lifeguard.sample_interval = 200ms
max_standby_streaming_delay = -1
max_prepared_transactions = 5
END
$primary->safe_psql('postgres', 'CREATE TABLE till (id int); CREATE ROLE clerk LOGIN; GRANT SELECT ON till TO clerk');
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));

my $upstream = LgSession->new($primary);
my $session = LgSession->new($standby);
is($upstream->query('SELECT walsenders FROM lifeguard.connections'), '1', 'the primary has a walsender');

# --- the collector, and every view
is($session->query('SELECT pg_is_in_recovery()'), 't', 'a standby');
ok(lg_passes($session, 3), 'passes on the standby');
my $before = lg_status($session, 'collector, collector_pid, collector_since, collector_starts');
like($before, qr/^running\|\d+\|.*\|1$/, 'by a collector of its own');
is(lg_view_errors($session), '', 'every view answers');
my $clerk = LgSession->new($standby, user => 'clerk');
is(lg_view_errors($clerk), '', 'also a plain role');
$session->query('SELECT lifeguard.run_pass(), lifeguard.reset()');
pass('run_pass() and reset() work');
ok($session->poll('SELECT used, walsenders FROM lifeguard.connections', '2|0'), 'connections are counted');

# --- a query behind the startup process
my ($startup) = split /\n/, $session->query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'");
$upstream->query('BEGIN; LOCK TABLE till');
$primary->safe_psql('postgres', 'CREATE TABLE less (id int)');    # its commit sends the lock, too
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
$clerk->send('SELECT FROM till');
ok($session->poll("SELECT waiting = 1 AND blockers = 1 AND current_interval = '0.1 s' FROM lifeguard.status"),
	'the collector counts the wait, and hurries');
is( $session->query('SELECT pid, usename, relation_name, mode, depth, blocked_by, root_pids FROM lifeguard.lock_waits'),
	$clerk->pid . "|clerk|public.till|AccessShareLock|1|{$startup}|{$startup}",
	'the wait');
is($session->query("SELECT pg_blocking_pids(${\$clerk->pid})"), "{$startup}", 'as the server sees it');
is( $session->query('SELECT pid, backend_type, blocked_total, relation_name, held_modes, remedy FROM lifeguard.blockers'),
	"$startup|startup|1|public.till|{AccessExclusiveLock}|none: this is no session but the server's own startup",
	'its root is no session');
is(lg_view_errors($session), '', 'every view answers');
is(lg_negative_ages($session), '', 'no negative age');
like($session->query('SELECT tree FROM lifeguard.lock_tree WHERE level = 0'), qr/^$startup startup/, 'nor in the tree');
$upstream->query('COMMIT');
ok(!$clerk->answer->{error}, 'over when the primary commits');
ok($session->poll('SELECT waiting = 0 AND blockers = 0 FROM lifeguard.status'), 'the collector sees it, too');

# --- the startup process behind a query
$clerk->query('BEGIN; SELECT FROM till');
$upstream->query('BEGIN; LOCK TABLE till; COMMIT');
ok($session->poll("SELECT count(*) = 1 FROM lifeguard.lock_waits WHERE backend_type = 'startup'"),
	'replay waits for a session');
is($session->query('SELECT pid, datname, usename, blocked_by, root_pids, mode FROM lifeguard.lock_waits'),
	"$startup|||{${\$clerk->pid}}|{${\$clerk->pid}}|AccessExclusiveLock", 'as who it is');
like( $session->query("SELECT remedy FROM lifeguard.blockers WHERE pid = ${\$clerk->pid}"),
	qr/^SELECT lifeguard\.terminate_session\(${\$clerk->pid}, 'sessions blocked: 1', '[-0-9 :.]+\+00'\);$/,
	'its root is a session, with the way to end it');
is($session->query("SELECT pid, blocking FROM lifeguard.idle_transactions"), $clerk->pid . '|1',
	'idle in a transaction');
ok(lg_passes($session, 3), 'passes go on');
is(lg_view_errors($session), '', 'every view answers');
$clerk->query('COMMIT');
ok($session->poll('SELECT count(*) = 0 FROM lifeguard.lock_waits'), 'replay goes on');

# --- an incident of the primary is under way there, too, as long as that tells of it
my ($holder, @pile) = map { LgSession->new($primary) } 1 .. 6;
$holder->query('SELECT pg_advisory_lock(1)');
$_->send('SELECT pg_advisory_lock(1)') foreach @pile;
ok($upstream->poll('SELECT count(*) = 1 FROM lifeguard.incidents WHERE until IS NULL'), 'an incident on the primary');
ok($session->poll('SELECT count(*) = 1 FROM lifeguard.incidents'), 'is known on the standby');
is($session->query('SELECT until, ended_by, recorded_on FROM lifeguard.incidents'), '||primary', 'where it is under way');
is($session->query('SELECT count(*) FROM lifeguard.incident_at(clock_timestamp())'), '1', 'and holds at this moment');
$upstream->query(<<'END');
INSERT INTO lifeguard.incident_entries (boot, number, since, until, going_on, recorded_on)
SELECT '2000-01-01', n, timestamptz '2000-01-01' + n * interval '1 s', now() - ago, going_on, recorded_on
FROM (VALUES (1, interval '3 min', true, 'primary'), (2, '0', false, 'primary'), (3, '0', true, 'standby')) i (n, ago, going_on, recorded_on)
END
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
is($session->query("SELECT count(*), count(until) FROM lifeguard.incidents WHERE since < '2001-01-01'"), '3|3',
	'not so one of which nothing was heard for long, one that is over, and one that a standby saw');
is($upstream->query("SELECT count(*), count(until) FROM lifeguard.incidents WHERE since < '2001-01-01'"), '3|3', 'nor any on the primary');
$upstream->query(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory'});
$_->close foreach ($holder, @pile);

# --- nothing is written there
$upstream->query('CREATE TABLE more (id int)');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('flush'));
is($session->query("SELECT count(*) FROM pg_class WHERE relname = 'more'"), '1', 'replication works');

# --- promotion
$upstream->close;
$standby->promote;
ok($session->poll('SELECT NOT pg_is_in_recovery()'), 'promoted');
ok(lg_passes($session, 3), 'passes after the promotion');
is(lg_status($session, 'collector, collector_pid, collector_since, collector_starts'), $before,
	'by the same collector');
is(lg_status($session, 'late_passes'), '0', 'none was late');
$session->query('INSERT INTO till VALUES (1)');
$session->query("BEGIN; LOCK TABLE till; PREPARE TRANSACTION 'forgotten'");
$clerk->send('SELECT FROM till');
ok($session->poll('SELECT waiting = 1 FROM lifeguard.status'), 'a wait for a prepared transaction');
is($session->query('SELECT count(*) - count(until) FROM lifeguard.incidents'), '0', 'no incident of its former primary goes on');
is($session->query('SELECT pid, gid, blocked_total, remedy FROM lifeguard.blockers'),
	"|forgotten|1|ROLLBACK PREPARED 'forgotten'; -- in database postgres", 'and its root');
is(lg_view_errors($session), '', 'every view answers');
$session->query("ROLLBACK PREPARED 'forgotten'");
ok(!$clerk->answer->{error}, 'over');

$_->close foreach ($clerk, $session);
$standby->stop;
$primary->stop;
is(lg_log_complaints($_), '', 'nothing bad in the log of ' . $_->name) foreach ($standby, $primary);

done_testing();
