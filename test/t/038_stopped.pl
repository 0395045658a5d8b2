# Brakes, and callers, workers and clients that end in the middle of what they have
# begun: what was decided before is not carried out after, and nothing is forgotten.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgHeld;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($node, $boss) = lg_held_server('stopped');

# --- nobody is ended any more when pause() has returned
{
	policy('p');
	my $victim = LgSession->new($node, user => 'clerk');
	my $braker = LgSession->new($node);
	hold('before proof');
	$victim->query('BEGIN; SELECT 1');
	ok(is_held('before proof'), 'pause: a pass is about to act');
	$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
	ok($boss->poll(q{SELECT count(*) = 1 FROM lifeguard.policy_status WHERE why_not LIKE 'paused%'}), 'pause: it is in force');
	$boss->poll("SELECT state = 'idle' OR wait_event = 'Extension' FROM pg_stat_activity WHERE pid = ${\$braker->pid}") or die;
	is($boss->query("SELECT state FROM pg_stat_activity WHERE pid = ${\$braker->pid}"), 'active', 'pause: pause() waits for that pass');
	let_go('before proof');
	ok(!$braker->answer->{error}, 'pause: and returns');
	$boss->query('SELECT lifeguard.resume()');
	drop('p');
	$_->close foreach ($victim, $braker);
}

# --- a resume() that is cancelled while it waits for a pass has done nothing
{
	my $file = $node->data_dir . '/pg_stat/pg_lifeguard.pause';
	my $victim = LgSession->new($node, user => 'clerk');
	my ($braker, $resumer) = map { LgSession->new($node) } 1 .. 2;
	policy('p');
	hold('before proof');
	$victim->query('BEGIN; SELECT 1');
	ok(is_held('before proof'), 'resume: a pass is about to act');
	$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
	ok($boss->poll(q{SELECT count(*) = 1 FROM lifeguard.policy_status WHERE why_not LIKE 'paused%'}), 'resume: paused');
	$resumer->send('SELECT lifeguard.resume()');
	ok($boss->poll("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = ${\$resumer->pid}"), 'resume: it waits for that pass');
	$boss->query("SELECT pg_cancel_backend(${\$resumer->pid})");
	is($resumer->answer->{error}{sqlstate}, '57014', 'resume: it is cancelled');
	ok(-e $file, 'resume: the file is still there');
	let_go('before proof');
	ok(!$braker->answer->{error}, 'resume: and pause() returns');
	is($boss->query(q{SELECT why_not FROM lifeguard.policy_status}), 'paused: x', 'resume: still paused');
	ok(-e $file, 'resume: still in the file');
	$resumer->query('SELECT lifeguard.resume()');
	ok(!-e $file, 'resume: resumed');
	drop('p');
	$_->close foreach ($victim, $braker, $resumer);
}

# --- of pause() and resume() at a time, memory and file believe the same
{
	my $file = $node->data_dir . '/pg_stat/pg_lifeguard.pause';
	my $braker = LgSession->new($node);
	policy('p');
	hold('middle of a pause');
	$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
	ok(is_held('middle of a pause'), 'both: pause() is held');
	$boss->query('SELECT lifeguard.resume()');
	let_go('middle of a pause');
	ok(!$braker->answer->{error}, 'both: pause() returns');
	is($boss->query(q{SELECT why_not FROM lifeguard.policy_status}), 'paused: x', 'both: it came last');
	ok(-e $file, 'both: in the file, too');
	$boss->query('SELECT lifeguard.resume()');
	ok(!-e $file, 'both: and resume() ends it');
	drop('p');
	$braker->close;
}

# --- nor is anything rolled back by settings that are old by then
{
	my $clerk = LgSession->new($node, user => 'clerk');
	$clerk->query($_) foreach ('BEGIN', 'INSERT INTO till VALUES (4)', "PREPARE TRANSACTION 'left'");
	hold('between decision and rollback');
	policy('p', target => 'prepared transaction', applications => undef, gids => ['%']);
	ok(is_held('between decision and rollback'), 'reload: a visitor is about to act');
	lg_put_in_force($boss, 'pg_lifeguard.protected_roles' => 'clerk') or die;
	LgSession->new($node)->close;    # the postmaster has told everybody by now
	let_go('between decision and rollback');
	ok($boss->poll("SELECT outcome LIKE 'spared: %' FROM lifeguard.ledger WHERE gid = 'left'"), 'reload: spared');
	like($boss->query("SELECT outcome FROM lifeguard.ledger WHERE gid = 'left'"), qr/^spared: (?:settings were reloaded|protected role)$/, 'reload: why');
	drop('p');
	$clerk->query("ROLLBACK PREPARED 'left'");
	$boss->query('ALTER SYSTEM RESET pg_lifeguard.protected_roles');
	lg_put_in_force($boss) or die;
	$clerk->close;
}

# --- a pass that is held up between two victims: for the second it asks again
my %stop = (
	'dropped' => sub { drop('p') },
	'paused' => sub {
		my ($braker) = @_;
		$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
		$boss->poll('SELECT count(*) = 1 FROM lifeguard.policy_status WHERE paused_until > clock_timestamp()') or die;
	},
	'too long' => sub { usleep(5_500_000) });
# the collector has no pass of its own to wait for: else it would not hear of the drop
lg_put_in_force($boss, 'pg_lifeguard.sample_interval' => 0) or die;
foreach my $name (sort keys %stop)
{
	policy('p', enabled => 'false');
	my ($hand, $braker) = map { LgSession->new($node) } 1 .. 2;
	my @victims = map { LgSession->new($node, user => 'clerk') } 1 .. 2;
	$_->query('BEGIN; SELECT 1') foreach @victims;
	$boss->query('SELECT pg_sleep(0.25)');
	hold('before proof');
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held('before proof'), "$name: a pass is held at the first victim");
	$stop{$name}->($braker);
	let_go('before proof');
	$_->answer or die foreach ($hand, $name eq 'paused' ? $braker : ());
	ok(comes_out($victims[0]->pid, 'terminated in %'), "$name: that one is ended");
	ok(comes_out($victims[1]->pid, 'spared: stopped'), "$name: the second is spared");
	is($victims[1]->query('SELECT 1'), '1', "$name: and lives");
	$boss->query('SELECT lifeguard.resume()');
	drop('p') if $name ne 'dropped';
	$_->close foreach ($hand, $braker, @victims);
}
$boss->query('ALTER SYSTEM RESET pg_lifeguard.sample_interval');
lg_put_in_force($boss) or die;

# --- the same for prepared transactions; no pause() returns while one is rolled back
foreach my $name ('dropped', 'paused')
{
	my $point = 'before rollback';
	my $porter = LgSession->new($node, user => 'porter');
	my $braker = LgSession->new($node);
	$porter->query($_) foreach map { ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION '$name-$_'") } 1 .. 2;
	hold($point);
	policy('p', target => 'prepared transaction', applications => undef, gids => "{$name-%}", roles => '{porter}');
	ok(is_held($point), "$name, prepared: the visitor is held at the first");
	if ($name eq 'dropped')
	{
		drop('p');
	}
	else
	{
		$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
		$boss->poll(q{SELECT count(*) = 1 FROM lifeguard.policy_status WHERE why_not LIKE 'paused%'}) or die;
		is($braker->answer(0.3), undef, "$name, prepared: pause() waits for it");
	}
	let_go($point);
	if ($name eq 'paused')
	{
		ok($braker->answer, "$name, prepared: and returns");
		is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid = '$name-1'"), '0', "$name, prepared: when it is gone");
	}
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE gid = '$name-2' AND outcome IN ('spared: stopped', 'rehearsed', 'spared: there was no time left')"), "$name, prepared: the second is spared");
	is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid = '$name-2'"), '1', "$name, prepared: and still there");
	drop('p') if $name ne 'dropped';
	$boss->query('SELECT lifeguard.resume()');
	$boss->error_of("ROLLBACK PREPARED '$name-2'");
	$_->close foreach ($porter, $braker);
}

# --- nor is the next one when whoever has called run_policy() has left
{
	my $point = 'before rollback';
	my $porter = LgSession->new($node, user => 'porter');
	my $hand = LgSession->new($node);
	$porter->query($_) foreach map { ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION 'left-$_'") } 1 .. 2;
	policy('p', target => 'prepared transaction', applications => undef, gids => '{left-%}', roles => '{porter}', enabled => 'false');
	$boss->query('SELECT pg_sleep(0.25)');
	hold($point);
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held($point), 'left: the visitor is held at the first');
	$boss->query("SELECT pg_cancel_backend(${\$hand->pid})");
	is($hand->answer->{error}{sqlstate}, '57014', 'left: run_policy() is cancelled');
	let_go($point);
	ok($boss->poll(q{SELECT count(*) = 1 FROM lifeguard.ledger WHERE gid = 'left-2' AND outcome = 'spared: stopped'}), 'left: the second is spared');
	is($boss->query(q{SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'left-2'}), '1', 'left: and still there');
	$boss->error_of("ROLLBACK PREPARED 'left-2'");
	drop('p');
	$_->close foreach ($porter, $hand);
}

# --- a policy that is about somebody else when run_policy() comes to its pass
{
	my $porter = LgSession->new($node, user => 'porter');
	my ($hand, $late) = map { LgSession->new($node) } 1 .. 2;
	my $victim = LgSession->new($node, user => 'clerk');
	$porter->query($_) foreach ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION 'turned'");
	$victim->query('BEGIN; SELECT 1');
	policy('p', enabled => 'false');
	policy('turned', target => 'prepared transaction', applications => undef, gids => '{turned}', roles => undef, enabled => 'false');
	$boss->query('SELECT pg_sleep(0.25)');
	hold('before proof');
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held('before proof'), 'turned: a pass is held');
	$late->send("SELECT lifeguard.run_policy('turned', true)");
	ok($boss->poll("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = ${\$late->pid}"), 'turned: another waits for it');
	$boss->query(q{SELECT lifeguard.alter_policy('turned', target => 'idle', reset => '{gids}')});
	usleep(2_000_000);    # until that is published
	let_go('before proof');
	my $answer = $late->answer;
	ok($answer && !$answer->{error}, 'turned: run_policy() goes on with what the policy means now');
	is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'turned'"), '1', 'turned: whom it meant is still there');
	$boss->query("ROLLBACK PREPARED 'turned'");
	drop($_) foreach qw(p turned);
	$_->close foreach ($porter, $hand, $late, $victim);
}

# --- a visitor that is ended after it has decided says of each what it has not come to
# do, and a later one does it.  Each time in another database: where one has failed
# none goes for 10 s.
my $decided = 'between decision and rollback';
my $line = 'before the log line';
my $visitor = q(FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard visitor');
my $midway = 0;
my %ends = (
	'terminated, about to act' => { at => $decided, by => 'pg_terminate_backend' },
	'terminated, deciding' => { at => $line, by => 'pg_terminate_backend' },
	'cancelled, deciding' => { at => $line, by => 'pg_cancel_backend' },
	'too long' => { at => $decided },
	'too long, and a pass goes on' => { at => $decided, n => 1, pass => 1 });
foreach my $name (sort keys %ends)
{
	my $case = $ends{$name};
	my $n = $case->{n} // 2;
	my $here = 'midway_' . ++$midway;
	$boss->query("CREATE DATABASE $here");
	my $porter = LgSession->new($node, user => 'porter', dbname => $here);
	my ($hand, $victim);
	$porter->query($_) foreach map { ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION '$here-$_'") } 1 .. $n;
	$porter->close;
	hold($case->{at});
	policy($here, target => 'prepared transaction', applications => undef, gids => "{$here-%}", roles => '{porter}');
	ok(is_held($case->{at}), "$name: the visitor is held");
	if ($case->{pass})
	{
		policy('p', enabled => 'false');
		$victim = LgSession->new($node, user => 'clerk');
		$hand = LgSession->new($node);
		$victim->query('BEGIN; SELECT 1');
		$boss->query('SELECT pg_sleep(0.25)');
		hold('before proof');
		$hand->send("SELECT lifeguard.run_policy('p', false)");
		ok(is_held('before proof'), "$name: so is a pass");
	}
	if ($case->{by})
	{
		is($boss->query("SELECT $case->{by}(pid) $visitor"), 't', "$name: it is told to end");
	}
	else
	{
		usleep(3_200_000);    # it may stay for 3 s
	}
	let_go($case->{at});
	ok($boss->poll("SELECT count(*) = 0 $visitor"), "$name: it ends");
	is($boss->query("SELECT DISTINCT outcome ~ '^spared: (?:the visitor was ended|there was no time left)\$' FROM lifeguard.ledger WHERE gid LIKE '$here-%'"), 't', "$name: the ledger says that nothing was done");
	is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE '$here-%'"), $n, "$name: nothing was");
	$boss->query("SELECT lifeguard.disable_policy('$here')");
	if ($case->{pass})
	{
		let_go('before proof');
		$hand->answer;
		drop('p');
		$_->close foreach ($hand, $victim);
	}
	$boss->poll("SELECT why_not FROM lifeguard.policy_status WHERE name = '$here'", 'it is disabled') or die;
}
$boss->query("SELECT lifeguard.enable_policy('midway_$_')") foreach 1 .. $midway;
ok($boss->poll("SELECT coalesce(string_agg(gid, ' ' ORDER BY gid), '') FROM pg_prepared_xacts WHERE gid LIKE 'midway%'", ''), 'later visitors roll all back');
ok($boss->poll("SELECT count(*), count(*) FILTER (WHERE outcome LIKE 'rolled back in%') FROM lifeguard.ledger WHERE gid LIKE 'midway%'", '9|9'), 'and the ledger says so of each');
drop(map { "midway_$_" } 1 .. $midway);

# --- what somebody has begun who is ended then, others see to its end, though no passes
# are made by themselves
lg_put_in_force($boss, 'pg_lifeguard.sample_interval' => 0) or die;
policy('p', target => 'active', action => 'cancel then terminate', grace => '300 ms', enabled => 'false');
foreach my $end ('cancel', 'terminate')
{
	my ($hand, $victim) = (LgSession->new($node), LgSession->new($node, user => 'clerk'));
	$victim->send('DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$');
	$boss->query('SELECT pg_sleep(0.25)');
	hold('after signal');
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held('after signal'), "$end midway: a pass has signalled");
	$boss->query("SELECT pg_${end}_backend(${\$hand->pid})");
	let_go('after signal');
	is($hand->answer->{error}{sqlstate}, $end eq 'cancel' ? '57014' : '57P01', "$end midway: whoever made it is ended");
	ok(comes_out($victim->pid, 'terminated in %'), "$end midway: after the cancel comes the terminate");
	$_->close foreach ($hand, $victim);
}
drop('p');
$boss->query('ALTER SYSTEM RESET pg_lifeguard.sample_interval');
lg_put_in_force($boss) or die;

# --- nor is it lost what came of an action by hand, when the call is cancelled afterwards
{
	my ($hand, $victim, @waiters) = (LgSession->new($node), map { LgSession->new($node, user => 'clerk') } 1 .. 3);
	$victim->query('BEGIN; LOCK TABLE till');
	foreach my $waiter (@waiters)
	{
		$waiter->query("BEGIN");
		$waiter->send("LOCK TABLE till");
	}
	lg_waits($boss, @waiters) or die;
	hold('after signal');
	$hand->send("SELECT lifeguard.terminate_session(${\$victim->pid}, 'blocks')");
	ok(is_held('after signal'), 'by hand, counting: held');
	$boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
	$boss->query("SELECT pg_cancel_backend(${\$hand->pid})");
	let_go('after signal');
	is($hand->answer->{error}{sqlstate}, '57014', 'by hand, counting: the call is cancelled');
	ok(comes_out($victim->pid, 'terminated in %'), 'by hand, counting: the ledger says what came of it');
	is($boss->query("SELECT blocked_total, waiters_freed IS NULL FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), '2|t', 'by hand, counting: not whom it has freed');
	ok(slurp_file($node->logfile) =~ /action by hand on session with PID ${\$victim->pid}: terminated in/, 'by hand, counting: so does the server log');
	$_->close foreach ($hand, $victim, @waiters);
}

$boss->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
