# After a crash of the server, or of any process in it, everything begins anew.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('crash', conf => <<'END');
restart_after_crash = on
pg_lifeguard.sample_interval = 100ms
END

# Marks in shared memory that only a fresh one lacks.
sub leave_marks
{
	my $session = LgSession->new($node);
	my @crowd = map { LgSession->new($node) } 1 .. 5;

	$session->query('SELECT lifeguard.reset(), lifeguard.run_pass() FROM generate_series(1, 500)');
	$session->poll('SELECT high_water >= 6 AND passes >= 500 FROM lifeguard.connections, lifeguard.status')
	  or die "no marks\n";
	return ($session, @crowd);
}

sub is_fresh
{
	my ($how) = @_;
	my $session = LgSession->new($node);

	ok(lg_passes($session, 2), "$how: the collector is back");
	is(lg_status($session, 'collector, collector_starts, late_passes, clock_jumps'), 'running|1|0|0',
		"$how: shared memory is fresh");
	is($session->query('SELECT high_water < 6 FROM lifeguard.connections'), 't', "$how: the high-water mark, too");
	is(lg_view_errors($session), '', "$how: every view answers");
	$session->query('SELECT lifeguard.run_pass()');
	pass("$how: run_pass() works");
	$session->close;
	return;
}

# --- immediate stop
my @sessions = leave_marks();
$node->stop('immediate');
# whoever was killed may have held a lock, or left a record half written
ok(!-e $node->data_dir . '/pg_stat/pg_lifeguard.records', 'immediate stop: nothing is saved');
$node->start;
is_fresh('immediate stop');

# --- kill -9 of the postmaster
@sessions = leave_marks();
my $pid_file = $node->data_dir . '/postmaster.pid';
my @processes = (
	(split /\n/, slurp_file($pid_file))[0],
	split /\n/, $sessions[0]->query('SELECT pid FROM pg_stat_activity'));
$node->kill9;

# Until the last of its processes is gone, the collector among them, shared
# memory is in use and a new start refused.  The dead may wait to be buried.
my $limit = 10 * $PostgreSQL::Test::Utils::timeout_default;
my $alive = sub { return kill(0, $_[0]) && `ps -o stat= -p $_[0] 2>&1` !~ /^\s*Z/; };
while ((@processes = grep { $alive->($_) } @processes) && $limit-- > 0)
{
	select undef, undef, undef, 0.1;
}
is("@processes", '', 'killed postmaster: all its processes end');
# a dead one that nobody has buried yet still has its PID, and with it its files
unlink $pid_file, $node->host . '/.s.PGSQL.' . $node->port . '.lock';
$node->start;
is_fresh('killed postmaster');

# --- kill -9 of a session, of one in the middle of a pass, and of the collector
foreach my $victim ('a session', 'a session in a pass', 'the collector')
{
	@sessions = leave_marks();
	my $offset = -s $node->logfile;
	my $pid = $victim eq 'the collector' ? lg_status($sessions[0], 'collector_pid') : $sessions[1]->pid;

	if ($victim eq 'a session in a pass')
	{
		$sessions[1]->send('DO $$ BEGIN LOOP PERFORM lifeguard.run_pass(); END LOOP; END $$');
		lg_passes($sessions[0], 20);
	}
	kill KILL => $pid;
	$node->wait_for_log(qr/\(PID $pid\) was terminated by signal 9/, $offset);
	$node->wait_for_log(qr/all server processes terminated; reinitializing.*database system is ready to accept connections/s, $offset);
	is_fresh("$victim killed");
}

$node->stop;
is( lg_log_complaints($node,
		allow => qr/terminated by signal 9|terminating connection because of crash/),
	'', 'nothing else bad in the log');

done_testing();
