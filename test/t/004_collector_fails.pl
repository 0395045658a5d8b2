# The collector is ended, fails, or is stopped: it comes back, says so, and
# never leaves a pass behind that nobody finishes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('fails', conf => "pg_lifeguard.fast_interval = 10ms\n");
my $session = LgSession->new($node);
$session->query("SET statement_timeout = '60s'");
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');

# --- ended by an administrator, seen while it is away: a stopped postmaster
# cannot start it again before we have looked
ok(lg_passes($session, 1), 'it runs');
my ($old, $passes) = split /\|/, lg_status($session, 'collector_pid, passes');
my $offset = -s $node->logfile;
kill STOP => $postmaster;
$session->query("SELECT pg_terminate_backend($old)");
ok($session->poll("SELECT collector = 'no collector' FROM lifeguard.status"), 'away');
like(lg_status($session, 'message'), qr/^no collector runs; it is started again/, 'status says so');
is(lg_status($session, 'collector_pid, collector_since, collector_starts'), '||1', 'nobody is named');
is(lg_view_errors($session), '', 'every view answers');
$session->query('SELECT lifeguard.run_pass()');
cmp_ok(lg_status($session, 'passes'), '>', $passes, 'run_pass() works');
kill CONT => $postmaster;
ok(lg_collector_again($session, $old), 'back');
is(lg_status($session, 'collector, message, collector_starts'), 'running||2', 'status counts starts');
cmp_ok(lg_status($session, 'passes'), '>', $passes, 'and goes on counting passes');
$node->wait_for_log(qr/background worker "pg_lifeguard collector" \(PID $old\) exited with exit code 1/, $offset);
pass('the log says that it ended');

# --- an error in it
$old = lg_status($session, 'collector_pid');
$offset = -s $node->logfile;
$session->query("SELECT pg_cancel_backend($old)");
ok(lg_collector_again($session, $old), 'back after an error');
$node->wait_for_log(qr/\[$old\] .*ERROR:  canceling statement due to user request/, $offset);
$node->wait_for_log(qr/background worker "pg_lifeguard collector" \(PID $old\) exited with exit code 1/, $offset);
is(lg_status($session, 'collector_starts'), '3', 'which is counted');
ok(lg_passes($session, 2), 'passes go on');

# --- again and again, in the middle of passes too: those over many waiters
# stop for interrupts on their way
$session->query('CREATE TABLE till (id int)');
my $holder = LgSession->new($node);
my @waiters = map { LgSession->new($node) } 1 .. 16;
$holder->query('BEGIN; LOCK TABLE till');
$_->send('SELECT FROM till') foreach @waiters;
ok($session->poll('SELECT waiting = 16 FROM lifeguard.status'), 'a pile-up');
lg_configure($session, 'pg_lifeguard.sample_interval' => '10ms');
ok($session->poll("SELECT current_interval = '10 ms' FROM lifeguard.status"), 'passes as often as can be');
my $rounds = $ENV{LG_LONG} ? 40 : 4;
for (1 .. $rounds)
{
	my $function = $_ % 2 ? 'pg_terminate_backend' : 'pg_cancel_backend';

	lg_passes($session, 2) or last;
	$session->query("SELECT $function(collector_pid), lifeguard.run_pass() FROM lifeguard.status");
	$session->poll("SELECT collector_starts = 3 + $_ AND collector = 'running' FROM lifeguard.status")
	  or last;
	$session->query('SELECT lifeguard.run_pass()');
}
is(lg_status($session, 'collector_starts'), 3 + $rounds, 'always back');
ok(lg_passes($session, 10), 'and at work');
is(lg_status($session, 'sample_interval'), '00:00:00.01', 'with the settings in force');

# --- passes of sessions, ended anywhere
my $endless = <<'END';
DO $$ BEGIN LOOP PERFORM lifeguard.run_pass(); END LOOP; END $$
END
my $caught = <<'END';
DO $$
BEGIN
	LOOP
		BEGIN
			PERFORM pg_advisory_lock(pg_backend_pid());
			LOOP PERFORM lifeguard.run_pass(); END LOOP;
		EXCEPTION WHEN query_canceled THEN EXIT;
		END;
	END LOOP;
	PERFORM lifeguard.run_pass();
END $$
END
my $ended_well = 0;
$rounds = $ENV{LG_LONG} ? 300 : 30;
for (1 .. $rounds)
{
	my $way = $_ % 3;
	my $other = LgSession->new($node);

	$other->send($way == 2 ? $caught : $endless);
	$session->poll($way == 2 # an error before its inner block would not be caught
		? "SELECT count(*) = 1 FROM pg_locks WHERE pid = ${\$other->pid} AND locktype = 'advisory'"
		: "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = ${\$other->pid} AND query LIKE 'DO %'")
	  && lg_passes($session, 5)
	  or last;
	$session->query(
		$way == 0
		? "SELECT pg_terminate_backend(${\$other->pid})"
		: "SELECT pg_cancel_backend(${\$other->pid})");
	$session->query('SELECT lifeguard.run_pass()');
	my $answer = $other->answer or last;
	my $said = $answer->{error} ? $answer->{error}{message} : '';
	$ended_well++
	  if $said eq (
		'terminating connection due to administrator command',
		'canceling statement due to user request', '')[$way];
	$other->close;
}
is($ended_well, $rounds, 'sessions ended in the middle of passes leave nothing behind');
ok(lg_passes($session, 10), 'passes go on');

$holder->query('ROLLBACK');
is(scalar(grep { my $answer = $_->answer; $answer && !$answer->{error} } @waiters), 16, 'the pile-up dissolves');
$_->close foreach ($holder, @waiters);
ok($session->poll('SELECT waiting = 0 FROM lifeguard.status'), 'nobody waits any more');

# --- several at once: every pass is one pass
lg_configure($session, 'pg_lifeguard.sample_interval' => '0');
ok($session->poll("SELECT collector = 'on demand' FROM lifeguard.status"), 'only on demand now');
$passes = lg_status($session, 'passes');
my @many = map { LgSession->new($node) } 1 .. 6;
$_->send('SELECT lifeguard.run_pass() FROM generate_series(1, 100)') foreach @many;
is(scalar(grep { my $answer = $_->answer; $answer && !$answer->{error} } @many), 6,
	'six sessions make passes at once');
is(lg_status($session, 'passes'), $passes + 600, 'one after the other');
$_->close foreach @many;

# --- a pass that is stopped half-way: who waits for it can be cancelled
my $impatient = LgSession->new($node);
my $patient = LgSession->new($node);
$impatient->query("SET statement_timeout = '500ms'");

# Does the collector wait for the pass, and not for what is not interruptible; and may
# sessions come and go, which take locks that passes only share?
sub waits_for_pass
{
	return 0 if $session->query("SELECT wait_event_type FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard collector'") ne 'Extension';
	my $passer_by = LgSession->new($node, begin_only => 1);
	return 0 if !$passer_by->answer(10);
	my $pid = $passer_by->pid;
	$passer_by->close;
	return $session->poll("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0');
}

# A session stopped in the middle of a pass, and what another got to hear.
sub stop_within_pass
{
	for (1 .. 200)
	{
		my $stopped = LgSession->new($node);
		$stopped->send($endless);
		lg_passes($session, 5);
		kill STOP => $stopped->pid;

		# It may sit between two passes, or on a lock for which no reader can wait:
		# of the server's own, or that of the records.
		my $answer = $impatient->send('SELECT lifeguard.run_pass()')->answer(10);
		if ($answer && (my $error = $answer->{error}))
		{
			$answer = $impatient->send('SELECT count(*) FROM lifeguard.read_ledger()')->answer(10);
			return ($stopped, $error) if $answer && waits_for_pass();
		}
		end_stopped($stopped);
		$impatient->answer unless $answer;
	}
	die "no session could be stopped within a pass\n";
}

sub end_stopped
{
	my ($stopped) = @_;

	kill CONT => $stopped->pid;
	kill TERM => $stopped->pid;
	$stopped->answer;
	$stopped->close;
	return;
}

lg_configure($session, 'pg_lifeguard.sample_interval' => '20ms');
ok($session->poll("SELECT current_interval = '20 ms' FROM lifeguard.status"), 'the collector looks often');
my ($stopped, $error) = stop_within_pass();
is($error->{message}, 'canceling statement due to statement timeout',
	'a session that waits for the pass of another can be cancelled');
is(lg_view_errors($session), '', 'every view answers meanwhile');

$old = lg_status($session, 'collector_pid');
my $starts = lg_status($session, 'collector_starts');
$session->query("SELECT pg_terminate_backend($old)");
ok($session->poll("SELECT collector_starts > $starts AND collector_pid <> $old FROM lifeguard.status"),
	'a collector that waits for it can be ended, and comes back');
end_stopped($stopped);
ok(lg_passes($session, 10), 'when it is over, everything goes on');

# --- who has waited for another's pass looks at the present, not at the past
lg_configure($session, 'pg_lifeguard.sample_interval' => '0');
ok($session->poll("SELECT collector = 'on demand' FROM lifeguard.status"), 'only on demand again');
($stopped) = stop_within_pass();
$patient->send('SELECT lifeguard.run_pass()');
ok($session->poll("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = ${\$patient->pid}"),
	'a session waits for the pass');
my $freed_at = $session->query('SELECT clock_timestamp()');
end_stopped($stopped);
my $answer = $patient->answer;
ok($answer && !$answer->{error}, 'and gets its turn');
is(lg_status($session, "last_pass >= '$freed_at'"), 't', 'its pass is dated when it began');

$_->close foreach ($impatient, $patient, $session);
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
