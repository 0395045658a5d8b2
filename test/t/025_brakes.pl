# What stops policies: enforce, pause, the breaker, limits; and what does not:
# a collector that dies, a victim that does not answer, too many at once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('brakes', conf => <<'END');
max_connections = 40
log_line_prefix = '%m [%p] '
restart_after_crash = on
jit = off
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.max_actions_per_minute = 0
END
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE till (id int);
INSERT INTO till VALUES (1);
GRANT ALL ON till TO PUBLIC;
CREATE ROLE clerk LOGIN;
CREATE ROLE warden;
GRANT pg_signal_backend TO warden;
CREATE FUNCTION stubborn() RETURNS void LANGUAGE plpgsql AS
'BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END'
END

# A policy without limits that terminates, known to the collector when this returns.
sub policy
{
	my ($name, %columns) = @_;
	lg_define($boss, $name => { applications => undef, min_duration => '300 ms', roles => '{clerk}', %columns }) or die;
	return;
}

sub drop
{
	lg_drop_named($boss, @_) or die;
	return;
}

# A session idle in a transaction.
sub idler
{
	my $session = LgSession->new($node, user => 'clerk');
	$session->query('BEGIN; SELECT count(*) FROM till');
	return $session;
}

sub ledger
{
	my ($session, $columns) = @_;
	return $boss->query("SELECT $columns FROM lifeguard.ledger WHERE pid = ${\$session->pid} AND policy IS NOT NULL");
}

# True once the ledger has that outcome of a policy's on a session.
sub comes_out
{
	my ($session, $outcome) = @_;
	return $boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$session->pid} AND policy IS NOT NULL AND outcome LIKE '$outcome'");
}

sub is_ended
{
	my ($session, $name) = @_;
	ok(comes_out($session, 'terminated in %'), "$name: terminated");
	is($session->answer->{error}{sqlstate}, '57P01', "$name: as its client hears");
	$session->close;
	return;
}

sub is_rehearsed
{
	my ($session, $name) = @_;
	ok(comes_out($session, 'rehearsed'), "$name: rehearsed");
	ok(lg_passes($boss, 3), 'passes go on');
	is($session->query('SELECT 1'), '1', "$name: it lives");
	return;
}

sub enforce
{
	my ($on) = @_;
	lg_put_in_force($boss, 'pg_lifeguard.enforce' => $on) or die;
	return;
}

sub why_not
{
	my ($name) = @_;
	return $boss->query("SELECT in_force, why_not FROM lifeguard.policy_status WHERE name = '$name'");
}

sub error_is
{
	my ($sql, $expected, $name) = @_;
	my $error = $boss->error_of($sql);
	is($error ? "$error->{sqlstate} $error->{message}" : 'none', $expected, $name // $sql);
	return $error;
}

# ---------------------------------------------------------------------------
# pg_lifeguard.enforce
# ---------------------------------------------------------------------------

policy('sweep');
is(why_not('sweep'), 't|', 'in force');
my $bystander = LgSession->new($node);
my $busy = LgSession->new($node); # since before the reload, so it has not heard of it
$boss->query('SELECT pg_advisory_lock(7)');
$busy->send("DO 'BEGIN PERFORM pg_advisory_xact_lock(7); PERFORM lifeguard.terminate_session(${\$bystander->pid}, ''late''); END'");
lg_waits($boss, $busy) or die;
enforce('off');
$boss->query('SELECT pg_advisory_unlock(7)');
is(($busy->answer->{error} // {})->{message}, 'pg_lifeguard may not signal sessions', 'nor by hand, in a statement that began before');
is($bystander->query('SELECT 1'), '1', 'so nobody is hit');
$_->close foreach ($busy, $bystander);
is(why_not('sweep'), 'f|pg_lifeguard.enforce is off: it only rehearses', 'and no more');
my $victim = idler();
is_rehearsed($victim, 'enforce off');
$victim->query('COMMIT; BEGIN; SELECT 1');
ok($boss->poll("SELECT count(*) = 2 FROM lifeguard.ledger WHERE pid = ${\$victim->pid} AND outcome = 'rehearsed'"), 'an entry for each episode');
like(slurp_file($node->logfile), qr/LOG:  policy "sweep" would terminate session with PID ${\$victim->pid}\n.*DETAIL:  Role "clerk", database "postgres", application "lgtest": idle in transaction for [\d.]+ m?s\./,
	'the log has the rehearsal');
is($boss->query("SELECT verdict FROM lifeguard.run_policy('sweep') WHERE pid = ${\$victim->pid}"), 'rehearsed', 'run_policy() rehearses, too');
my $error = error_is("SELECT lifeguard.terminate_session(${\$victim->pid}, 'now')", '55000 pg_lifeguard may not signal sessions', 'by hand is an error');
like($error->{hint} // '', qr/pg_lifeguard\.enforce|pg_terminate_backend/, 'with a hint');
is($boss->query("SELECT actions_last_minute, last_action IS NULL FROM lifeguard.policy_status"), '0|t', 'no action counted');
enforce('on');
ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$victim->pid} AND outcome LIKE 'terminated in %'"), 'on again: the same victim is terminated');
is($victim->answer->{error}{sqlstate}, '57P01', 'and told');
is($boss->query("SELECT actions_last_minute FROM lifeguard.policy_status"), '1', 'one action');
drop('sweep');

# --- a second signal asks again: brakes, the policy, its owner's rights
policy('twice', target => 'active', action => 'cancel then terminate', grace => '3 s', owner => 'warden');
my %brake = (
	'enforce' => [ sub { enforce('off') }, sub { enforce('on') } ],
	'pause' => [ sub { $boss->query("SELECT lifeguard.pause('1 hour', 'x')") }, sub { $boss->query('SELECT lifeguard.resume()') } ],
	'protected' => [
		sub { lg_put_in_force($boss, 'pg_lifeguard.protected_applications' => 'lgtest') },
		sub { lg_put_in_force($boss, 'pg_lifeguard.protected_applications' => '') }
	],
	'excepted' => [
		sub { $boss->query(q{SELECT lifeguard.alter_policy('twice', except_roles => '{clerk}')}); $boss->query("SELECT lifeguard.preview_policy('twice')") },
		sub { $boss->query(q{SELECT lifeguard.alter_policy('twice', reset => '{except_roles}')}) }
	],
	'rights' => [ sub { $boss->query('REVOKE pg_signal_backend FROM warden') }, sub { $boss->query('GRANT pg_signal_backend TO warden') } ],
	'disabled' => [
		sub { $boss->query("SELECT lifeguard.disable_policy('twice')"); $boss->query("SELECT lifeguard.preview_policy('twice')") },
		sub { $boss->query("SELECT lifeguard.enable_policy('twice')") }
	]);
my %altered = (
	'schedule' => [ q{schedule => '0 0 29 2 *'}, q{reset => '{schedule}'} ],
	'except_schedule' => [ q{except_schedule => '* * * * *'}, q{reset => '{except_schedule}'} ],
	'server' => [ q{runs_on => 'standby'}, q{runs_on => 'primary'} ],
	'age' => [ q{min_duration => '1 day'}, q{min_duration => '300 ms'} ],
	'target' => [ q{target => 'waiter'}, q{target => 'active'} ]);
foreach my $name (keys %altered)
{
	my ($to, $back) = map { "SELECT lifeguard.alter_policy('twice', $_)" } @{ $altered{$name} };
	$brake{$name} = [ sub { $boss->query($to); $boss->query("SELECT lifeguard.preview_policy('twice')") }, sub { $boss->query($back) } ];
}
foreach my $name (sort keys %brake)
{
	$victim = LgSession->new($node, user => 'clerk');
	$victim->send('SELECT stubborn()');
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$victim->pid} AND signal = 'SIGINT'"), "$name: a cancel");
	my $cancelled = time;
	$brake{$name}[0]->();
	cmp_ok(time - $cancelled, '<', 2.9, "$name: changed within the grace");
	ok($boss->poll("SELECT clock_timestamp() - at > '3.6 s' FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), "$name: the grace is over");
	is(ledger($victim, 'signal, outcome'), 'SIGINT|signalled', "$name: no second signal");
	is($victim->answer(0.01), undef, "$name: it goes on");
	$brake{$name}[1]->();
	is_ended($victim, "$name: when that ends");
	is($boss->query("SELECT signal FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), 'SIGTERM', "$name: escalated");
}
drop('twice');

# --- nor does one that harms nobody any more get a second signal
sub is_harmless_meanwhile
{
	my ($name, $policy, $more, $less) = @_;

	policy('harm', action => 'cancel then terminate', grace => '2 s', %$policy);
	my $stubborn = LgSession->new($node, user => 'clerk');
	$stubborn->query('BEGIN; UPDATE till SET id = id');
	$stubborn->send('SELECT stubborn()');
	$more->();
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$stubborn->pid} AND signal = 'SIGINT'"), "$name: a cancel");
	my $cancelled = time;
	$less->();
	cmp_ok(time - $cancelled, '<', 1.9, "$name: no harm within the grace");
	ok($boss->poll("SELECT clock_timestamp() - at > '2.6 s' FROM lifeguard.ledger WHERE pid = ${\$stubborn->pid}"), "$name: the grace is over");
	is(ledger($stubborn, 'signal, outcome'), 'SIGINT|signalled', "$name: no second signal");
	$more->();
	is_ended($stubborn, "$name: when it does harm again");
	$less->();
	drop('harm');
	return;
}

my @others;
is_harmless_meanwhile(
	'a blocker', { target => 'blocker' },
	sub {
		push @others, LgSession->new($node);
		$others[0]->send('UPDATE till SET id = id');
	},
	sub {
		$boss->query("SELECT pg_terminate_backend(${\$_->pid}, 10000)") foreach @others;
		$_->close foreach splice @others;
	});
is_harmless_meanwhile(
	'room',
	{ target => 'active', connections_above => 0.2 },
	sub { push @others, map { LgSession->new($node) } 1 .. 9 },
	sub { $_->close foreach splice @others });

# ---------------------------------------------------------------------------
# pause() and resume()
# ---------------------------------------------------------------------------

error_is("SELECT lifeguard.pause(NULL, 'x')", '22004 duration and reason must not be null');
error_is("SELECT lifeguard.pause('1 h', NULL)", '22004 duration and reason must not be null');
error_is("SELECT lifeguard.pause('1 h', ' ')", '22023 reason must not be empty');
error_is("SELECT lifeguard.pause('1 h', repeat('x', 1000))", '22001 reason is too long');
error_is("SELECT lifeguard.pause('$_', 'x')", '22023 duration must be greater than 0 and at most 366 days')
  foreach ('0', '-1 h', '367 days', '1 h -1 day');
my $clerk = LgSession->new($node, user => 'clerk');
is($clerk->error_of("SELECT lifeguard.pause('1 h', 'x')")->{sqlstate}, '42501', 'not for everybody');
is($clerk->error_of('SELECT lifeguard.resume()')->{sqlstate}, '42501', 'nor resume()');
$clerk->close;

policy('sweep');
is(why_not('sweep'), 't|', 'nothing is paused so far');
my $until = $boss->query("SELECT lifeguard.pause('1 hour', 'migration of till')");
my $paused = "f|paused: migration of till|$until";
is($boss->query("SELECT in_force, why_not, paused_until FROM lifeguard.policy_status"), $paused, 'paused');
is($boss->query("SELECT '$until'::timestamptz - clock_timestamp() BETWEEN '59 min' AND '1 h'"), 't', 'for an hour');
$victim = idler();
is_rehearsed($victim, 'paused');
like($boss->query("SELECT lifeguard.terminate_session(${\$victim->pid}, 'by hand')"), qr/^terminated in/, 'by hand works');
$victim->close;

# Paused still, and nobody is hit: after a stop, an immediate stop, a crash.
my %end = (
	'1 restart' => sub { $node->restart },
	'2 immediate stop' => sub { $node->stop('immediate'); $node->start },
	'3 crash of a backend' => sub {
		my $other = LgSession->new($node);
		kill KILL => $other->pid;
		$boss->send('SELECT pg_sleep(3600)')->answer or die;    # the server ends us
		$other->close;
		$node->poll_query_until('postgres', 'SELECT true') or die;
	});
foreach my $name (sort keys %end)
{
	my $boot = $boss->query('SELECT collector_since FROM lifeguard.status');
	$end{$name}->();
	$boss->close;
	$boss = LgSession->new($node);
	ok($boss->poll("SELECT collector_since > '$boot' FROM lifeguard.status"), "$name: another collector");
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.policy_status"), "$name: policies are read");
	is($boss->query("SELECT in_force, why_not, paused_until FROM lifeguard.policy_status"), $paused, "$name: still paused");
	$victim = idler();
	is_rehearsed($victim, $name);
	$victim->close unless $name =~ /^3/;
}
$boss->query('SELECT lifeguard.resume()');
is(why_not('sweep'), 't|', 'resumed');
is_ended($victim, 'resumed');
$node->restart;
$boss = LgSession->new($node);
ok($boss->poll("SELECT in_force FROM lifeguard.policy_status"), 'after a restart, too');

# --- it ends by itself, and another replaces it
$boss->query("SELECT lifeguard.pause('1 hour', 'long')");
my $began = time;
$boss->query("SELECT lifeguard.pause('4 s', 'short')");
is(why_not('sweep'), 'f|paused: short', 'the later one counts');
$victim = idler();
is_rehearsed($victim, 'a short pause');
is_ended($victim, 'it ends by itself');
cmp_ok(time - $began, '>=', 3.9, 'not too soon');
is(why_not('sweep'), 't|', 'in force again');

# --- a file that cannot be used
my $file = $node->data_dir . '/pg_stat/pg_lifeguard.pause';
my $whole;
$boss->query("SELECT lifeguard.pause('1 hour', 'whole')");
$whole = slurp_file($file);
$boss->query('SELECT lifeguard.resume()');
ok(!-e $file, 'resume() removes the file');
sub put
{
	my ($bytes) = @_;
	open my $out, '>:raw', $file or die "$file: $!\n";
	print $out $bytes;
	close $out;
	return;
}
my $far = $whole;
substr($far, 8, 8) = pack('q', 9e17);
my $endless = $whole;
substr($endless, 16) = 'x' x length(substr($endless, 16));
foreach my $case (
	[ 'garbage', 'x' x length $whole ],
	[ 'nothing', '' ],
	[ 'half of it', substr($whole, 0, length($whole) / 2) ],
	[ 'a reason without end', $endless ],
	[ 'a pause without end', $far ])
{
	my ($name, $bytes) = @$case;
	my $offset = -s $node->logfile;
	$node->stop;
	put($bytes);
	$node->start;
	$boss = LgSession->new($node);
	like(slurp_file($node->logfile, $offset), qr/LOG:  ignoring invalid file "pg_stat\/pg_lifeguard.pause"/, "$name: said");
	ok($boss->poll("SELECT in_force FROM lifeguard.policy_status"), "$name: and not paused");
}
$node->stop;
put($whole);
chmod 0, $file;
my $offset = -s $node->logfile;
$node->start;
$boss = LgSession->new($node);
like(slurp_file($node->logfile, $offset), qr/LOG:  could not read file "pg_stat\/pg_lifeguard.pause": Permission denied/, 'unreadable: said');
unlink $file;
mkdir $file;
error_is("SELECT lifeguard.pause('1 hour', 'x')", 'XX000 could not write file "pg_stat/pg_lifeguard.pause"', 'a pause that cannot be kept is an error');
ok($boss->poll("SELECT in_force FROM lifeguard.policy_status"), 'and does not count');
rmdir $file;
is($boss->query("SELECT count(*) FROM pg_ls_dir('pg_stat') f WHERE f LIKE 'pg_lifeguard.pause%tmp'"), '0', 'nothing is left behind');
drop('sweep');

# --- rehearsals use up no limit of the real thing
policy('one', max_per_minute => 1);
$boss->query("SELECT lifeguard.pause('1 hour', 'x')");
my @two = map { idler() } 1 .. 2;
ok(comes_out($two[0], 'rehearsed'), 'one is rehearsed');
ok(comes_out($two[1], 'over limit'), 'the other is over the limit of rehearsals');
$boss->query('SELECT lifeguard.resume()');
is_ended($two[0], 'the first, when resumed');
is($two[1]->query('SELECT 1'), '1', 'the other is over the limit');
$two[1]->query('ROLLBACK; BEGIN; SELECT 1');
ok($boss->poll("SELECT count(*) = 2 FROM lifeguard.ledger WHERE pid = ${\$two[1]->pid} AND outcome = 'over limit'"), 'in its next episode, too');
is($boss->query("SELECT actions_last_minute, over_limit >= 1 FROM lifeguard.policy_status"), '1|t', 'one action');
$two[1]->close;
drop('one');

# ---------------------------------------------------------------------------
# The breaker
# ---------------------------------------------------------------------------

# --- a pile-up that refills at once: who is ended comes back and queues again
policy('pile', min_blocked => 1, min_duration => '500 ms');
my @pile;
my $told = 0;
sub refill
{
	my ($want) = @_;
	foreach my $i (0 .. $want - 1)
	{
		if ($pile[$i])
		{
			my $answer = $pile[$i]->answer(0.001);
			next unless $answer && $answer->{error};
			$told++;
			$pile[$i]->close;
		}
		$pile[$i] = LgSession->new($node, user => 'clerk');
		$pile[$i]->send('BEGIN; UPDATE till SET id = id');
	}
	return;
}
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
my $breaker = 'f|paused by its breaker: its actions brought no relief';
while (time < $deadline && why_not('pile') ne $breaker)
{
	refill(6);
}
is(why_not('pile'), $breaker, 'the breaker opens');
cmp_ok($told, '>=', 5, 'after five actions');
cmp_ok($told, '<=', 30, 'and not many more');
is($boss->query("SELECT paused_until - clock_timestamp() BETWEEN '9 min' AND '10 min' FROM lifeguard.policy_status"), 't', 'for ten minutes');
like(slurp_file($node->logfile), qr/LOG:  policy "pile" is paused for 10 minutes\n.*DETAIL:  Its last 5 actions brought no relief\./, 'the log says so');
usleep(1_200_000);
refill(6);
my $before = $told;
ok($boss->poll("SELECT count(*) > 0 FROM lifeguard.ledger WHERE policy = 'pile' AND outcome = 'rehearsed'"), 'it rehearses');
usleep(700_000);
refill(6);
is($told, $before, 'and acts no more');
$boss->query('SELECT lifeguard.resume()');
is(why_not('pile'), 't|', 'resume() closes the breaker');
$deadline = time + $PostgreSQL::Test::Utils::timeout_default;
refill(6) while time < $deadline && $told == $before;
cmp_ok($told, '>', $before, 'and it acts');
$_->close foreach @pile;
drop('pile');

# with relief it stays closed: nobody comes back
policy('pile', min_blocked => 1, min_duration => '100 ms');
@pile = (undef, map { LgSession->new($node, user => 'clerk') } 1 .. 8);
for my $i (1 .. 8)
{
	$pile[$i]->send('BEGIN; UPDATE till SET id = id');
	usleep(20_000);
}
ok($boss->poll("SELECT count(*) >= 7 FROM lifeguard.ledger WHERE policy = 'pile' AND outcome LIKE 'terminated%' AND pid IN (" . join(',', map { $pile[$_]->pid } 1 .. 8) . ')'), 'seven are ended, one after the other');
$boss->poll("SELECT clock_timestamp() - last_action > '2.5 s' FROM lifeguard.policy_status");
is(why_not('pile'), 't|', 'each with relief: it goes on');
$pile[$_]->close foreach 1 .. 8;
drop('pile');

# --- connections that come back at once
policy('pool', target => 'idle', connections_above => '0.25', min_duration => '200 ms');
my @pool = map { LgSession->new($node, user => 'clerk') } 1 .. 14;
$deadline = time + $PostgreSQL::Test::Utils::timeout_default;
while (time < $deadline && why_not('pool') ne $breaker)
{
	foreach my $session (@pool)
	{
		next unless $session->answer(0.001);
		$session->close;
		$session = LgSession->new($node, user => 'clerk');
	}
}
is(why_not('pool'), $breaker, 'the breaker opens for those who come back');
$_->close foreach @pool;
drop('pool');
is($boss->query('SELECT lifeguard.resume()'), '', 'resumed');

# ---------------------------------------------------------------------------
# Failure
# ---------------------------------------------------------------------------

# --- the collector ends while actions are under way; a victim that does not answer
$victim = idler();
my $stopped = idler();
kill STOP => $stopped->pid;
policy('sweep');
is_ended($victim, 'another victim');
ok(comes_out($stopped, 'signalled'), 'no answer so far');
my $collector = lg_status($boss, 'collector_pid');
$boss->query("SELECT pg_terminate_backend($collector)");
ok(lg_collector_again($boss, $collector), 'another collector');
is(ledger($stopped, 'outcome'), 'signalled', 'nothing is known yet');
ok(comes_out($stopped, 'survived'), 'it survives');
is(ledger($stopped, "outcome_at - at BETWEEN '9.9 s' AND '20 s', repeats"), 't|1', 'after ten seconds');
$victim = idler();
is_ended($victim, 'others meanwhile');
kill CONT => $stopped->pid;
ok(comes_out($stopped, 'terminated in %'), 'corrected when it ends');
like(ledger($stopped, 'outcome'), qr/^terminated in [1-9]\d{4} ms$/, 'with the time it took');
is($stopped->answer->{error}{sqlstate}, '57P01', 'and told');
$stopped->close;

# killed at once, and what was under way ends while nobody looks
drop('sweep');
$stopped = idler();
kill STOP => $stopped->pid;
policy('sweep');
ok(comes_out($stopped, 'signalled'), 'another');
$collector = lg_status($boss, 'collector_pid');
$boss->query("SELECT pg_terminate_backend($collector)");
kill CONT => $stopped->pid;
is($stopped->answer->{error}{sqlstate}, '57P01', 'ended while there is no collector');
$stopped->close;
ok(comes_out($stopped, 'terminated in %'), 'the next one confirms it');
drop('sweep');
$boss->close;
$node->stop;
is(lg_log_complaints($node, allow => qr/terminated by signal 9|because of crash of another server process/), '', 'nothing bad in the log');

# --- more victims than can be under way at a time: the others wait their turn
$node = lg_server('many', conf => "max_connections = 300\nlog_line_prefix = '%m [%p] '\npg_lifeguard.max_actions_per_minute = 0\n");
$boss = LgSession->new($node);
$boss->query('CREATE TABLE till (id int); GRANT ALL ON till TO PUBLIC; CREATE ROLE clerk LOGIN');
enforce('off');
policy('sweep', min_duration => '500 ms');
my @many = map { idler() } 1 .. 270;
my $pids = join ',', map { $_->pid } @many;
kill STOP => map { $_->pid } @many;
# the youngest, too: while no more can be under way, nobody new gets an entry
ok($boss->poll("SELECT count(*) FROM lifeguard.ledger WHERE pid IN ($pids) AND outcome = 'rehearsed'", '270'), 'all are rehearsed');
enforce('on');
ok($boss->poll("SELECT count(*) FROM lifeguard.ledger WHERE pid IN ($pids) AND outcome = 'signalled'", '256'), 'as many as can be');
ok(lg_passes($boss, 3), 'passes go on');
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE pid IN ($pids) AND outcome = 'signalled'"), '256', 'and no more');
ok($boss->poll("SELECT over_limit FROM lifeguard.policy_status WHERE name = 'sweep'", '14'), 'the others wait');
is($boss->query("SELECT count(*), max(signal) FROM lifeguard.ledger WHERE pid IN ($pids) AND outcome = 'over limit'"), '10|', 'ten of them tell enough');
kill CONT => map { $_->pid } @many;
ok($boss->poll("SELECT count(*) FROM lifeguard.ledger WHERE pid IN ($pids) AND outcome LIKE 'terminated in %'", '270'), 'all are ended at last');
is(scalar(grep { ($_->answer->{error}{detail} // '') =~ /under policy "sweep"/ } @many), 270, 'and told');
$_->close foreach @many;
drop('sweep');

# ---------------------------------------------------------------------------
# No leak
# ---------------------------------------------------------------------------

policy("watch $_", target => ('idle in transaction', 'active', 'transaction', 'blocker', 'waiter')[$_],
	min_duration => '10 ms', action => 'log') foreach 0 .. 4;
my @crowd = map { idler() } 1 .. 20;
$crowd[0]->query('LOCK TABLE till IN EXCLUSIVE MODE');
$_->send('LOCK TABLE till IN EXCLUSIVE MODE') foreach @crowd[ 10 .. 19 ];
$boss->poll("SELECT count(*) = 10 FROM pg_locks WHERE NOT granted") or die;

# What a process has allocated, as it tells the log.
sub allocated
{
	my ($pid) = @_;
	my $from = -s $node->logfile;
	$boss->query("SELECT pg_log_backend_memory_contexts($pid)");
	$node->wait_for_log(qr/Grand total: \d+ bytes/, $from);
	my ($bytes) = slurp_file($node->logfile, $from) =~ /Grand total: (\d+) bytes/;
	return $bytes;
}
my $passes = $ENV{LG_LONG} ? 2000 : 400;    # of each
lg_configure($boss, 'pg_lifeguard.sample_interval' => '10ms', 'pg_lifeguard.fast_interval' => '10ms');
$collector = lg_status($boss, 'collector_pid');
# caches and plans of the questions asked here are none of our business
my $own = "SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'pg_lifeguard%' OR name IN ('TopMemoryContext', 'CacheMemoryContext')";
my $cycle = sub {
	my ($n) = @_;
	foreach my $round (1 .. 4)
	{
		$boss->query("SELECT lifeguard.alter_policy('watch 0', min_duration => '1$round ms')");
		$boss->query('ALTER ROLE clerk CONNECTION LIMIT -1');
		$boss->query("SELECT count(lifeguard.run_pass()) FROM generate_series(1, $n / 4)");
		lg_passes($boss, $n / 4) or die;
	}
};
$cycle->($passes / 4) foreach 1 .. 2;
my @at_first = (allocated($collector), $boss->query($own));
$cycle->($passes);
my @at_last = (allocated($collector), $boss->query($own));
is($boss->query("SELECT count(*) > 30 FROM lifeguard.ledger WHERE outcome = 'rehearsed' AND policy LIKE 'watch%'"), 't', 'policies were busy');
cmp_ok($at_last[0] - $at_first[0], '<', 40_000, "collector: $at_first[0] bytes, $at_last[0] after $passes passes");
cmp_ok($at_last[1] - $at_first[1], '<', 40_000, "run_pass(): $at_first[1] bytes, $at_last[1] after $passes passes");
$_->close foreach @crowd;
$boss->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
