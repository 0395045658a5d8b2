# A frozen collector, and a wall clock that jumps: noticed, dated, survived.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use File::Basename;
use LgClock;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# --- stopped for longer than 5 s
my $node = lg_server('frozen');
my $session = LgSession->new($node);
ok(lg_passes($session, 2), 'it runs');
is(lg_status($session, 'late_passes, ages_count_from'), '0|', 'nothing was late so far');
my $missed = lg_status($session, 'missed_passes');
my $pid = lg_freeze_collector($session);
ok($session->poll("SELECT clock_timestamp() - last_pass > '7 s' FROM lifeguard.status"), 'stopped for 7 s');
is(lg_status($session, 'collector, message'),
	'stalled|the collector has made no pass for longer than its interval allows', 'status says so');
is(lg_view_errors($session), '', 'every view answers');
my $thawed = $session->query('SELECT clock_timestamp()');
kill CONT => $pid;
ok($session->poll('SELECT late_passes > 0 FROM lifeguard.status'), 'the next pass is late');
ok(lg_passes($session, 2), 'and passes go on');
is(lg_status($session, 'collector, late_passes, clock_jumps, last_clock_jump'), 'running|1|0|',
	'late once, and no jump');
my $newly_missed = lg_status($session, 'missed_passes') - $missed;
cmp_ok($newly_missed, '>=', 5, 'the passes it missed are counted');
is(lg_status($session, "ages_count_from >= '$thawed' AND ages_count_from <= last_pass"), 't',
	'ages count from the late pass');
is(lg_status($session, 'collector_pid, collector_starts'), "$pid|1", 'it is the same collector');

# --- stopped, while a session looks on its behalf
lg_freeze_collector($session);
ok($session->poll("SELECT clock_timestamp() - last_pass > '6.5 s' FROM lifeguard.status"), 'stopped again');
$session->query("SET statement_timeout = '60s'; SELECT lifeguard.run_pass()");
is(lg_status($session, 'late_passes, collector'), '2|running', 'a session can make the late pass');
kill CONT => $pid;
ok(lg_passes($session, 2), 'passes go on');
is(lg_status($session, 'late_passes'), '2', 'which then is late no more');

$session->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

# --- the wall clock jumps
SKIP:
{
	my $clock = LgClock->new or skip 'faketime is not installed', 1;
	my $faked = lg_server('jumps', start => 0, conf => <<'END');
pg_lifeguard.sample_interval = 200ms
max_prepared_transactions = 2
END
	$clock->start($faked);

	$session = LgSession->new($faked);
	$session->query('CREATE EXTENSION pg_lifeguard; CREATE TABLE till (id int)');
	my $holder = LgSession->new($faked);
	my $waiter = LgSession->new($faked);
	$holder->query('BEGIN; LOCK TABLE till');
	$waiter->send('SELECT FROM till');

	ok($clock->take_collector($session), 'a collector under faketime');
	ok(lg_passes($session, 5), 'passes');
	ok($session->poll('SELECT waiting = 1 FROM lifeguard.status'), 'a wait to look at');
	is(lg_status($session, 'clock_jumps, late_passes, last_clock_jump, ages_count_from'), '0|0||',
		'no jump yet');

	my $jumps = 0;
	foreach my $jump (['+30', 'forward'], ['+0', 'back'], ['-3600', 'far back'], ['+86400', 'far forward'])
	{
		my ($offset, $way) = @$jump;
		$clock->set($offset);
		$jumps++;
		ok($session->poll("SELECT clock_jumps = $jumps FROM lifeguard.status"), "$way: one jump");
		my $skew = $session->query('SELECT extract(epoch FROM clock_timestamp())') - time;
		cmp_ok(abs($skew - $offset), '<', 100, "$way: the clock is elsewhere");
		is( lg_status($session,
				"last_clock_jump = ages_count_from AND abs(extract(epoch FROM clock_timestamp() - last_clock_jump)) < 100"),
			't', "$way: dated");
		ok(lg_passes($session, 3), "$way: passes go on");
		is(lg_status($session, 'clock_jumps, late_passes'), "$jumps|0", "$way: counted once, and not late");
		is(lg_negative_ages($session), '', "$way: no negative age");
		is(lg_view_errors($session), '', "$way: every view answers");
		is($session->query("SELECT longest_wait >= '0' FROM lifeguard.status"), 't', "$way: nor in gauges");
		is($session->query("SELECT pid FROM lifeguard.lock_waits WHERE root_pids = ARRAY[${\$holder->pid}]"),
			$waiter->pid, "$way: the wait is still seen");
	}

	# Less than a second is the ordinary business of an NTP daemon.
	$clock->set('+86400.5');
	ok(lg_passes($session, 3), 'a small step');
	is(lg_status($session, 'clock_jumps'), $jumps, 'is no jump');

	# Nothing tells of a COMMIT PREPARED: policies are read again from time to time,
	# though when they were read last lies in the future by now.
	my $create = "SELECT lifeguard.create_policy(name => '%s', target => 'idle in transaction', "
	  . "min_duration => '1 h', action => 'log')";
	$session->query(sprintf $create, 'at once');
	ok($session->poll('SELECT policies = 1 FROM lifeguard.status'), 'a policy');
	my $read_at = lg_status($session, 'policies_read_at');
	$session->query('BEGIN; ' . sprintf($create, 'later') . "; PREPARE TRANSACTION 'later'");
	ok($session->poll("SELECT policies = 1 AND policies_read_at <> '$read_at' FROM lifeguard.status"), 'one prepared');
	$clock->set('+40000');
	$session->query("COMMIT PREPARED 'later'");
	$session->{limit} = 30;
	ok($session->poll('SELECT policies = 2 FROM lifeguard.status'), 'taken up, by a clock that was set back');

	$holder->query('ROLLBACK');
	ok(!$waiter->answer->{error}, 'the waiter got through');
	is(lg_status($session, 'collector_starts'), '2', 'the collector never failed');

	$_->close foreach ($holder, $waiter, $session);
	$faked->stop;
	is(lg_log_complaints($faked), '', 'nothing bad in the log');

	# Between the jump and the next pass a visitor comes: for it, too, nothing has
	# grown old by that.
	$clock->set('+0');
	$faked = lg_server('visited', start => 0, conf => <<'END');
max_prepared_transactions = 2
log_min_messages = debug1
pg_lifeguard.sample_interval = 1h
END
	$clock->start($faked);
	$session = LgSession->new($faked);
	$session->query('CREATE EXTENSION pg_lifeguard; CREATE ROLE clerk LOGIN');
	ok($clock->take_collector($session), 'a collector under faketime');
	$clock->set('-18000');
	$session->query('SELECT lifeguard.run_pass()');
	my ($counted, $passes) = split /\|/, lg_status($session, 'clock_jumps, passes');
	$session->query(q{SELECT lifeguard.create_policy('left', 'prepared transaction', '4 h', gids => '{%}', action => 'terminate')});
	ok($session->poll(q{SELECT in_force FROM lifeguard.policy_status}), 'a policy');
	my $clerk = LgSession->new($faked, user => 'clerk');
	$clerk->query($_) foreach ('BEGIN', 'SELECT pg_current_xact_id()', q{PREPARE TRANSACTION 'young'});
	$session->query('SELECT lifeguard.run_pass()');
	ok($session->poll("SELECT passes >= $passes + 2 FROM lifeguard.status"), 'the collector has made the one that a new policy asks for');
	my $visits = sub { return scalar(() = slurp_file($faked->logfile) =~ /worker "pg_lifeguard visitor" \(PID \d+\) exited/g); };
	my $so_far = $visits->();
	$clock->set('+0'); # what a signal handler starts, as the visitor up to 15, is there already
	my $bystander = LgSession->new($faked);
	$session->query("SELECT lifeguard.terminate_session(${\$bystander->pid}, 'wake the collector')");
	my $deadline = time + 60;
	usleep(10_000) until $visits->() > $so_far || time > $deadline;
	cmp_ok($visits->(), '>', $so_far, 'five hours later a visitor comes');
	is(lg_status($session, 'clock_jumps'), $counted, 'before any pass');
	is($session->query(q{SELECT count(*) FROM pg_prepared_xacts}), '1', 'and rolls back nothing');
	is($session->query(q{SELECT count(*) FROM lifeguard.ledger WHERE gid IS NOT NULL}), '0', 'nor says so');

	$session->query(q{ROLLBACK PREPARED 'young'});
	$_->close foreach ($bystander, $clerk, $session);
	$faked->stop;
	is(lg_log_complaints($faked), '', 'nothing bad in the log');

	# What is to last some time, or to be done after some, takes no hour longer when the
	# clock is set back by one: the breaker's pause, and until the visitor comes again.
	$faked = lg_server('set_back', start => 0, conf => <<'END');
max_prepared_transactions = 2
log_min_messages = debug1
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.max_actions_per_minute = 0
END
	$clock->start($faked);
	$session = LgSession->new($faked);
	$session->query('CREATE EXTENSION pg_lifeguard; CREATE ROLE clerk LOGIN');
	ok($clock->take_collector($session), 'a collector under faketime');
	ok(lg_define($session,
		pile => { min_blocked => 1, min_duration => '300 ms' },
		left => { target => 'prepared transaction', applications => undef, gids => ['%'], action => 'log' }), 'policies');
	my @clerks = map { LgSession->new($faked, user => 'clerk', parameters => { application_name => 'pile' }) } 1 .. 6;
	my @behind = map { LgSession->new($faked, user => 'clerk') } 0 .. 6;
	$clerk = LgSession->new($faked, user => 'clerk');
	$clerk->query($_) foreach ('BEGIN', 'SELECT pg_current_xact_id()', q{PREPARE TRANSACTION 'left'});
	$holder = LgSession->new($faked);
	$holder->query('SELECT pg_advisory_lock(100)');
	$clerks[$_]->query("BEGIN; SELECT pg_advisory_xact_lock($_)") foreach 0 .. 5;
	$behind[$_]->send("SELECT pg_advisory_xact_lock($_); SELECT pg_advisory_xact_lock(100)") foreach 0 .. 5;
	$behind[6]->send('SELECT pg_advisory_xact_lock(100)');
	my $breaker = q{SELECT why_not LIKE 'paused by its breaker%' FROM lifeguard.policy_status WHERE name = 'pile'};
	my $left = q{SELECT paused_until - clock_timestamp() BETWEEN '9 min' AND '10 min' FROM lifeguard.policy_status WHERE name = 'pile'};
	ok($session->poll($breaker), 'the breaker opens');
	is($session->query($left), 't', 'for ten minutes');
	ok($session->poll(q{SELECT count(*) = 1 FROM lifeguard.ledger WHERE gid = 'left'}), 'a visitor has come');

	$clock->set('-3600');
	$so_far = $visits->();
	ok($session->poll('SELECT clock_jumps > 0 FROM lifeguard.status'), 'an hour back');
	is($session->query($breaker), 't', 'the breaker is open');
	is($session->query($left), 't', 'for what is left of ten minutes');
	$deadline = time + 60;
	usleep(10_000) until $visits->() > $so_far || time > $deadline;
	cmp_ok($visits->(), '>', $so_far, 'and in a few seconds the visitor comes again');
	$clock->set('+3600');
	ok($session->poll('SELECT clock_jumps > 1 FROM lifeguard.status'), 'two hours on');
	is($session->query($breaker), 't', 'it is still open');
	is($session->query($left), 't', 'nor is it over sooner');

	$session->query(q{ROLLBACK PREPARED 'left'});
	$_->close foreach (@clerks, @behind, $clerk, $holder, $session);
	$faked->stop;
	is(lg_log_complaints($faked), '', 'nothing bad in the log');
}

done_testing();
