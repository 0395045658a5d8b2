# What a lock wait is charged, at times that the test chooses; what becomes of waits
# under way when the server stops, when there is no room, and when the wall clock is
# set.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgClock;
use LgPolicies;
use LgTest;
use LgUnit;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($library, $lacking) = build_probe('waits_probe');
plan skip_all => $lacking unless $library;

# ---------------------------------------------------------------- what is charged
my $node = lg_server('charges', conf => "pg_lifeguard.sample_interval = 0\n");
my $eye = LgSession->new($node);
load_probe($eye, $library, 'probe_pass(int)' => 'text', 'probe_close_all()' => 'void');
$eye->query('CREATE TABLE till (id int)');
my ($holder, $waiter) = map { LgSession->new($node) } 1 .. 2;
my $later = 0;    # ms that have passed for our passes, and for nobody else
my $at;           # of the newest pass, in us

# A pass, so many ms after the one before at least: us since that one, us charged.
sub make_pass
{
	my ($more) = @_;
	my $before = $at;
	($at, my $charged) = split /\|/, $eye->query('SELECT probe_pass(' . ($later += $more) . ')');
	return ($at - ($before // 0), $charged);
}

sub newest
{
	my ($columns) = @_;
	return $eye->query("SELECT $columns FROM lifeguard.lock_wait_history ORDER BY wait_start DESC LIMIT 1");
}

sub waits
{
	my ($sql) = @_;
	$holder->query('BEGIN; LOCK TABLE till');
	$waiter->send($sql // 'SELECT FROM till');
	lg_waits($eye, $waiter) or die;
	return;
}

sub goes_on
{
	$holder->query('ROLLBACK');
	$waiter->answer or die;
	return;
}

my $us = sub { "round(extract(epoch FROM $_[0]) * 1000000)" };
make_pass(0);
waits();
my ($interval, $charged) = make_pass(600);
cmp_ok($charged, '<', $interval, 'when it is first seen, a wait is charged its age');
goes_on();
my (undef, $rest) = make_pass(0);
is($charged + $rest, $interval, 'a short wait is charged the time between two passes');
is(newest('count(*) OVER ()'), '1', 'it is told');
my ($estimated, $length) = split /\|/, newest($us->('estimated') . ', ' . $us->('duration'));
cmp_ok(abs($estimated + $length - $interval), '<=', 1, 'what exceeds its length is estimated');

# A long one, seen often: T, and each pass from when it is as old as T.
foreach my $step (50, 300, 700)
{
	make_pass(0);
	waits();
	my ($t, $sum) = make_pass(500);
	my ($age, $expected) = ($sum, $t);
	foreach (1 .. 6)
	{
		my ($elapsed, $more) = make_pass($step);
		is($more, $elapsed, "each $step ms: it is charged what has passed") if $_ == 1;
		$sum += $more;
		$age += $elapsed;
		$expected += $elapsed if $age >= $t;
	}
	goes_on();
	$sum += (make_pass($step))[1];
	is($sum, $expected, "each $step ms: in all what passes can tell");
	my ($length, $precision) = split /\|/, newest($us->('duration') . ', ' . $us->('"precision"'));
	ok(abs($length - $sum) <= $precision + $t / 2 && $precision >= $step * 500, "each $step ms: which is about its length")
	  or diag "charged $sum, length $length +- $precision";
}

# One so long that its length is known well.
make_pass(0);
waits();
my $total = (make_pass(500))[1];
$total += (make_pass(100))[1] foreach 1 .. 60;
goes_on();
$total += (make_pass(100))[1];
cmp_ok(abs($total - newest($us->('duration'))), '<=', 1, 'a long wait is charged its length');

# Where the end is known, so is the charge.
foreach my $more (0, 400)
{
	make_pass(0);
	$waiter->query(q(SET lock_timeout = '1500ms'));
	waits();
	my ($t, $sum) = make_pass($more);
	is($waiter->answer->{error}{sqlstate}, '55P03', 'it gives up');
	$holder->query('ROLLBACK');
	$sum += (make_pass(0))[1];
	my ($length, $precision) = split /\|/, newest($us->('duration') . ', ' . $us->('"precision"'));
	is($precision, '0', 'its end is exact');
	cmp_ok(abs($sum - ($length > $t ? $length : $t)), '<=', 1, 'it is charged its length, or the time between two passes');
	$waiter->query('RESET lock_timeout');
}

# Nobody looked for a minute: only what is proven is charged.
make_pass(0);
waits();
(undef, $charged) = make_pass(60_000);
cmp_ok($charged, '<', 30_000_000, 'not the time that nobody looked');
my ($elapsed, $more) = make_pass(60_000);
is($more, $elapsed, 'but a wait that is known to have begun has lasted since');
goes_on();
(undef, $rest) = make_pass(60_000);
is($rest, 0, 'and nothing is known of one that has ended since');
is(newest('estimated'), '00:00:00', 'nothing is estimated');
my ($precision) = newest('extract(epoch FROM "precision")');
cmp_ok(abs($precision - 30), '<', 2, 'its end is not known well, and that is told');

# ---------------------------------------------------------------- the server stops
waits();
make_pass(100);
$eye->query('SELECT probe_close_all()');
is(newest("waiter_pid = ${\$waiter->pid}, wait_start > now() - interval '1 min'"), 't|t', 'a wait under way is told when the server stops');
goes_on();
make_pass(0);
my $n = $eye->query('SELECT count(*) FROM lifeguard.lock_wait_history WHERE wait_start IS NOT NULL');
make_pass(0);
is($eye->query('SELECT count(*) FROM lifeguard.lock_wait_history'), $n, 'and only once');
$_->close foreach $eye, $holder, $waiter;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

# -------------------------------------------------------------- there is no room
my $small = lg_server('small', conf => <<'END');
max_connections = 60
pg_lifeguard.sample_interval = 0
pg_lifeguard.min_episode = 1
pg_lifeguard.max_episodes = 64
END
$eye = LgSession->new($small);
$eye->query('CREATE TABLE till (id int)');
$holder = LgSession->new($small);
my @crowd = map { LgSession->new($small) } 1 .. 30;
foreach my $round (1, 2)
{
	$holder->query('BEGIN; LOCK TABLE till');
	$_->send('SELECT FROM till') foreach @crowd;
	lg_waits($eye, @crowd) or die;
	lg_run_pass($eye) foreach 1, 2;
	usleep(50_000);
	$holder->query('ROLLBACK');
	$_->answer or die foreach @crowd;
	lg_run_pass($eye);
	is($eye->query('SELECT count(*), count(DISTINCT waiter_pid) <= 30, bool_and(root_pid = ' . $holder->pid . ') FROM lifeguard.read_lock_wait_history()'),    # what the keeper has written is in the view, too
		($round == 1 ? 23 : 32) . '|t|t', "round $round: as many as there is room for: 24 sessions under way, 32 waits in all");
	is(lg_status($eye, 'waits_cut_off'), 7 * $round, "round $round: the others are counted");
}
$_->close foreach $eye, $holder, @crowd;
$small->stop;
is(lg_log_complaints($small), '', 'nothing bad in the log');

# ------------------------------------------------------------ the wall clock is set
SKIP:
{
	my $clock = LgClock->new or skip 'faketime is not installed', 1;
	my $faked = lg_server('set', start => 0, conf => <<'END');
log_lock_waits = off
deadlock_timeout = 1min
pg_lifeguard.sample_interval = 100ms
pg_lifeguard.min_episode = 200ms
END
	$clock->start($faked);
	$eye = LgSession->new($faked);
	$eye->query('CREATE EXTENSION pg_lifeguard; CREATE TABLE till (id int)');
	($holder, $waiter) = map { LgSession->new($faked) } 1 .. 2;

	$clock->take_collector($eye) or die;
	my $told = 0;

	foreach my $offset ('+3600', '+0', '-3600', '+86400')
	{
		foreach my $end ('granted', 'cancelled')
		{
			my $began = time;
			waits();
			lg_passes($eye, 2) or die;
			$clock->set($offset);
			lg_passes($eye, 3) or die;
			if ($end eq 'cancelled')
			{
				$eye->query('SELECT pg_cancel_backend(' . $waiter->pid . ')');
				is($waiter->answer->{error}{sqlstate}, '57014', 'it is cancelled');
				$holder->query('ROLLBACK');
			}
			else
			{
				goes_on();
			}
			my $took = time - $began;
			lg_passes($eye, 2) or die;
			$told++;
			my ($count, $length, $precision, $ended_by) = split /\|/, $eye->query(
				'SELECT count(*) OVER (), extract(epoch FROM duration), extract(epoch FROM "precision"), ended_by FROM lifeguard.read_lock_wait_history() ORDER BY number DESC LIMIT 1');
			is("$count $ended_by", "$told $end", "$offset: one more wait is told");
			ok($length > 0.15 && $length - $precision <= $took + 0.2, "$offset: as long as it was")
			  or diag "length $length +- $precision, for the client $took";
		}
	}
	is($eye->query('SELECT count(*) FROM lifeguard.lock_wait_history WHERE estimated > \'3 s\''), '0', 'nothing is estimated from a jump');
	$_->close foreach $holder, $waiter, $eye;
	$faked->stop;
	is(lg_log_complaints($faked), '', 'nothing bad in the log');
}

done_testing();
