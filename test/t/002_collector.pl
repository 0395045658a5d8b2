# The collector at work: how often it looks, and when that changes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use LgUnit;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = lg_server('keeps_looking', conf => "deadlock_timeout = 10min\n");
my $session = LgSession->new($node);
$session->query('CREATE TABLE till (id int)');

# Somebody waits on till until the returned code is called.
sub make_wait
{
	my $holder = LgSession->new($node);
	my $waiter = LgSession->new($node);

	$holder->query('BEGIN; LOCK TABLE till');
	$waiter->send('SELECT FROM till');
	$session->poll("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = ${\$waiter->pid}")
	  or die "nobody waits\n";
	return sub {
		$holder->query('ROLLBACK');
		$waiter->answer or die "the waiter still waits\n";
		$_->close foreach ($holder, $waiter);
	};
}

# Time passes without a pass.
sub wait_in_silence
{
	my ($seconds) = @_;
	return $session->poll(
		"SELECT clock_timestamp() - last_pass > '$seconds s' FROM lifeguard.status");
}

# --- at defaults
ok(lg_passes($session, 3), 'passes come by themselves');
is(lg_status($session, 'collector, message, collector_starts, sample_interval, fast_interval, current_interval'),
	'running||1|00:00:01|00:00:00.1|00:00:01', 'status at defaults');
is( $session->query(<<'END'),
SELECT count(*), bool_and(datid IS NULL AND xact_start IS NULL
	AND backend_xmin IS NULL AND pid = s.collector_pid)
FROM pg_stat_activity, lifeguard.status s WHERE backend_type = 'pg_lifeguard collector'
END
	'1|t', 'one worker, in no database and no transaction');
is(lg_status($session, 'last_pass >= collector_since AND last_pass <= clock_timestamp()'),
	't', 'the newest pass is dated');
is( lg_status($session,
		"last_pass_cost >= '0' AND last_pass_cost <= total_cost AND shared_memory BETWEEN 1 AND 16 * 1024 * 1024"),
	't', 'it says what it costs');

# --- adaptive: fast while somebody waits, then calm again
lg_configure($session, 'pg_lifeguard.sample_interval' => '3s', 'pg_lifeguard.fast_interval' => '50ms');
ok($session->poll("SELECT current_interval = '3 s' FROM lifeguard.status"),
	'new intervals are in force');
my $end_wait = make_wait();
ok($session->poll("SELECT current_interval = '50 ms' AND waiting = 1 AND blockers = 1 FROM lifeguard.status"),
	'fast while a session waits');
my $start = time;
ok(lg_passes($session, 20), 'passes come fast');
cmp_ok(time - $start, '<', 30, 'faster than in calm');
ok($session->poll("SELECT longest_wait > '1 s' FROM lifeguard.status"), 'the wait grows older');
$end_wait->();
ok( $session->poll(
		"SELECT current_interval = '3 s' AND waiting = 0 AND blockers = 0 AND longest_wait = '0' FROM lifeguard.status"),
	'calm again afterwards');

# --- a fast interval that is the slower one
lg_configure($session, 'pg_lifeguard.sample_interval' => '20ms', 'pg_lifeguard.fast_interval' => '1h');
$end_wait = make_wait();
ok($session->poll("SELECT waiting = 1 AND current_interval = '20 ms' AND fast_interval = '1 h' FROM lifeguard.status"),
	'a longer fast_interval acts as sample_interval');
ok(lg_passes($session, 5), 'passes go on');
$end_wait->();

# --- never closer than 10 ms
lg_configure($session, 'pg_lifeguard.sample_interval' => '1ms', 'pg_lifeguard.fast_interval' => '10ms');
ok($session->poll("SELECT sample_interval = '1 ms' AND current_interval = '10 ms' FROM lifeguard.status"),
	'a shorter interval acts as 10 ms');
ok(lg_passes($session, 20), 'passes come all the same');

# --- from short to very long, and back after a silence: nobody was late
lg_configure($session, 'pg_lifeguard.sample_interval' => '1h');
ok($session->poll("SELECT current_interval = '1 h' FROM lifeguard.status"), 'a long interval is in force');
my $missed = lg_status($session, 'missed_passes');
ok(wait_in_silence(5.5), 'no pass in a long interval');
is(lg_status($session, 'collector'), 'running', 'which is no stall');
lg_configure($session, 'pg_lifeguard.sample_interval' => '100ms');
ok(lg_passes($session, 3), 'a shorter one acts at once');

# --- on demand, and back after a silence
lg_configure($session, 'pg_lifeguard.sample_interval' => '0');
ok($session->poll("SELECT collector = 'on demand' AND current_interval = '0' FROM lifeguard.status"),
	'0 is on demand');
like(lg_status($session, 'message'), qr/sample_interval is 0/, 'and status says so');
my $passes = lg_status($session, 'passes');
$session->query('SELECT lifeguard.run_pass()');
is(lg_status($session, 'passes'), $passes + 1, 'a pass on demand is one pass');
$end_wait = make_wait();
$session->query('SELECT lifeguard.run_pass()');
is(lg_status($session, "waiting, blockers, longest_wait > '0', current_interval"),
	'1|1|t|00:00:00', 'which sees the wait, and changes no interval');
$end_wait->();
$session->query('SELECT lifeguard.run_pass()');
is(lg_status($session, 'waiting, blockers, longest_wait'), '0|0|00:00:00', 'and its end');
ok(wait_in_silence(5.5), 'nobody looks unasked');
is(lg_status($session, 'passes'), $passes + 3, 'not once');
lg_configure($session, 'pg_lifeguard.sample_interval' => '100ms');
ok(lg_passes($session, 3), 'passes by itself again');
is(lg_status($session, 'late_passes, clock_jumps, last_clock_jump, ages_count_from'),
	'0|0||', 'none of all that was late');
# 5.5 s are 55 passes at 100 ms: a busy machine may miss some, not that many
cmp_ok(lg_status($session, 'missed_passes') - $missed, '<', 50, 'nor missed');

# --- what cannot be set
my $error = $session->error_of("ALTER SYSTEM SET pg_lifeguard.sample_interval = '-1'");
like($error->{message}, qr/is outside the valid range for parameter "pg_lifeguard.sample_interval"/,
	'a negative interval is refused');
like($session->error_of("ALTER SYSTEM SET pg_lifeguard.fast_interval = '9ms'")->{message},
	qr/is outside the valid range for parameter "pg_lifeguard.fast_interval"/,
	'a fast interval below 10 ms is refused');
like($session->error_of("ALTER SYSTEM SET pg_lifeguard.sample_interval = 'soon'")->{message},
	qr/invalid value for parameter "pg_lifeguard.sample_interval"/, 'nonsense is refused');
ok($session->error_of('ALTER SYSTEM SET pg_lifeguard.sampel_interval = 1'),
	'a misspelt setting is refused');
ok($session->error_of('SET pg_lifeguard.sample_interval = 5'), 'no session sets its own');

$session->query('ALTER SYSTEM RESET ALL');
foreach my $bad ('-5', 'soon', '100000000000')
{
	my $offset = -s $node->logfile;
	$node->append_conf('postgresql.conf', "pg_lifeguard.sample_interval = '$bad'");
	$node->reload;
	$node->wait_for_log(qr/(?:invalid value for|valid range for) parameter "pg_lifeguard.sample_interval"/, $offset);
	$node->wait_for_log(qr/contains errors/, $offset);
	ok(lg_passes($session, 2), "with a bad value in the file ($bad) passes go on");
	is(lg_status($session, 'sample_interval'), '00:00:00.1', 'as before');
	$node->adjust_conf('postgresql.conf', 'pg_lifeguard.sample_interval', "'100ms'");
}

# --- restart
my $high_water = $session->query('SELECT high_water FROM lifeguard.connections');
cmp_ok($high_water, '>=', 3, 'there was a high-water mark');
$session->close;
$node->restart;
$session = LgSession->new($node);
ok(lg_passes($session, 3), 'passes after a restart');
is(lg_status($session, 'collector_starts, sample_interval, late_passes'), '1|00:00:00.1|0',
	'shared memory began anew');
is($session->query('SELECT high_water FROM lifeguard.connections'), '1', 'the high-water mark too');

# --- its transactions are as young as its passes: a monitor may ask for the oldest
lg_configure($session, 'pg_lifeguard.sample_interval' => '10ms');
$session->query("SELECT lifeguard.create_policy('watch', 'idle in transaction', min_duration => '1 h', action => 'log')");
ok(lg_passes($session, 100), 'passes with a policy');
$session->query(<<'END');
CREATE FUNCTION transactions_of_collector(OUT seen int, OUT too_old int) LANGUAGE plpgsql AS $$
DECLARE
	collector int := (SELECT collector_pid FROM lifeguard.status);
	was bool;
BEGIN
	seen := 0; too_old := 0;
	FOR i IN 1 .. 20000 LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT xact_start < backend_start + interval '200 ms' INTO was FROM pg_stat_get_activity(collector);
		seen := seen + (was IS NOT NULL)::int;
		too_old := too_old + COALESCE(was, false)::int;
	END LOOP;
END $$
END
my ($seen, $too_old) = split /\|/, $session->query('SELECT * FROM transactions_of_collector()');
note "$seen transactions of the collector seen";
is($too_old, '0', 'none is as old as the collector');

# --- a session that is stopped in the middle of a report stops nobody else
SKIP:
{
	my ($library, $why_not) = build_probe('report_probe');
	skip $why_not, 1 unless $library;

	load_probe($session, $library, 'probe_stay_in_report(int)' => 'void');
	my $stopped = LgSession->new($node);
	my $since = time;
	$stopped->send('SELECT probe_stay_in_report(10)');
	ok(lg_passes($session, 10), 'passes while a session is in the middle of a report');
	$session->query("SET statement_timeout = '5s'; SELECT lifeguard.run_pass(); SELECT count(*) FROM lifeguard.sessions");
	cmp_ok(time - $since, '<', 10, 'it still is');
	ok(!$stopped->answer->{error}, 'until it goes on');
	is(lg_status($session, 'late_passes'), '0', 'no pass was late');
	$stopped->close;
}

$session->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
