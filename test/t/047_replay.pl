# Replay: what a policy would have done is what passes with it have done, by the
# ledger; what it would have saved is what clients really went on to wait.  Then
# histories written by hand, for what no night brings at will.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = lg_server('replay', conf => "pg_lifeguard.min_episode = 200ms\nlog_timezone = 'UTC'\n");
my $eye = LgSession->new($node, parameters => { options => '-c TimeZone=UTC' });

$eye->query($_) foreach ('CREATE ROLE app LOGIN', 'CREATE ROLE other LOGIN', 'CREATE ROLE auditor LOGIN',
	'CREATE TABLE till (id int PRIMARY KEY, sum int)', 'INSERT INTO till SELECT i, 0 FROM generate_series(1, 9) i',
	'CREATE TABLE shelf (id int)', 'GRANT ALL ON till TO app', 'ALTER TABLE shelf OWNER TO app');

sub session
{
	my ($name) = @_;
	return LgSession->new($node, user => 'app', parameters => { application_name => $name });
}

# A session that holds a row, in a transaction.
sub hold
{
	my ($name, $id) = @_;
	my $holder = session($name);

	$holder->query('BEGIN');
	$holder->query("UPDATE till SET sum = sum + 1 WHERE id = $id");
	return $holder;
}

# One that waits for that row; its answer is when it got it, by its own account.
sub queue
{
	my ($name, $id) = @_;
	my $waiter = session($name);

	$waiter->send("UPDATE till SET sum = sum + 1 WHERE id = $id RETURNING extract(epoch FROM clock_timestamp())");
	lg_waits($eye, $waiter) or die "does not wait\n";
	return $waiter;
}

# --- a night, with policies at work
my %any = (applications => undef, except_applications => ['crowd%', 'doomed%']);
my %limits = (max_per_pass => undef, max_per_minute => undef, cooldown => undef, action => 'log');
my %policies = (
	idle => { %any, min_duration => '1 s', action => 'log' },
	idle_blocks => { %any, min_duration => '500 ms', min_blocked => 2, min_blocked_for => '700 ms', action => 'log' },
	blocker => { %any, target => 'blocker', min_duration => '900 ms', action => 'log' },
	blocker_cancel => { %any, target => 'blocker', applications => ['runs'], except_applications => undef, min_duration => '700 ms', min_blocked => 1, action => 'log' },
	waiter => { %any, target => 'waiter', min_duration => '1200 ms', action => 'log' },
	ddl => { %any, target => 'queued ddl', min_duration => '600 ms', min_blocked => 2, action => 'log' },
	transaction => { %any, target => 'transaction', min_duration => '1500 ms', action => 'log' },
	crowd => { %limits, applications => ['crowd%'], min_duration => '800 ms' },
	crowd_youngest => { %limits, applications => ['crowd%'], min_duration => '800 ms', victim_order => 'youngest', max_per_pass => 2, cooldown => '1500 ms' },
	doomed => { applications => ['doomed%'], min_duration => '700 ms', action => 'terminate' },
	nothing_to_cancel => { target => 'transaction', applications => ['crowd 1'], min_duration => '1 s', action => 'cancel' });
ok(lg_define($eye, %policies), 'policies are in force');
my $since = $eye->query('SELECT clock_timestamp()');

my $alone = session('alone');
$alone->query('BEGIN; SELECT 1');
my $idles = hold('idles', 1);
my @behind_idle = map { queue("behind idles $_", 1) } 1 .. 3;
my $runs = hold('runs', 2);
$runs->send('SELECT pg_sleep(3)');
my @behind_runs = map { queue("behind runs $_", 2) } 1 .. 2;
my $reader = session('reader');
$reader->query('BEGIN; SELECT count(*) FROM shelf');
my $ddl = session('ddl');
$ddl->send('ALTER TABLE shelf ADD x int');
lg_waits($eye, $ddl);
my @behind_ddl = map { session("behind ddl $_") } 1 .. 2;
$_->send('SELECT count(*), extract(epoch FROM clock_timestamp()) FROM shelf') foreach @behind_ddl;
lg_waits($eye, @behind_ddl);
my @crowd = map { session("crowd $_") } 1 .. 4;
foreach my $session (@crowd)
{
	$session->query('BEGIN; SELECT 1');
	sleep 0.05;
}
my @doomed = (session('doomed 1'), hold('doomed 2', 3));
my $behind_doomed = queue('behind doomed', 3);
$doomed[0]->query('BEGIN; SELECT 1');

sleep 2.4;
$_->query('ROLLBACK') foreach $alone, $idles, $reader;
my %got;    # when each waiter had its lock
sub got { $got{ $_[0]->pid } = (split /\|/, $_[0]->answer->{rows}[-1])[-1]; return; }
ok($ddl->answer, 'the DDL is through');
got($_) foreach @behind_idle, @behind_ddl, $behind_doomed;
$runs->answer;
$runs->query('ROLLBACK');
got($_) foreach @behind_runs;
sleep 1;
$_->query('ROLLBACK') foreach @crowd;
my $until = $eye->query('SELECT clock_timestamp()');
is($eye->query("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'doomed%'"), '0', 'two were terminated');
ok($eye->poll("SELECT count(*) FROM lifeguard.idle_transaction_history WHERE application_name LIKE 'crowd%'", '4'), 'the night is over');
ok(lg_passes($eye, 3), 'and recorded');
$eye->query("SELECT lifeguard.disable_policy('$_')") foreach sort keys %policies;

# Where the replay of a policy tells anything else than the ledger.
sub differences
{
	my ($policy) = @_;
	return $eye->query(<<"END");
SELECT coalesce(l.application_name, r.application_name), l.verdict, r.verdict, l.at - '$since', r.at - '$since', r.why
FROM (SELECT pid, backend_start, min(application_name) AS application_name, min(at) AS at,
		min(CASE WHEN outcome ~ '^(over limit|spared)' THEN split_part(outcome, ':', 1) ELSE action END) AS verdict
	FROM lifeguard.ledger WHERE policy = '$policy' GROUP BY pid, backend_start) l
FULL JOIN lifeguard.replay_policy('$policy', '$since', '$until') r USING (pid, backend_start)
WHERE l.verdict IS DISTINCT FROM r.verdict OR abs(extract(epoch FROM l.at - r.at)) > 1
END
}

foreach my $policy (sort keys %policies)
{
	cmp_ok($eye->query("SELECT count(*) FROM lifeguard.ledger WHERE policy = '$policy'"), '>', 0, "$policy: has done something");
	is(differences($policy), '', "$policy: so does its replay");
}

# What these waited from the moment on at which the policy would have acted on that one.
sub is_saved
{
	my ($policy, $victim, @waiters) = @_;
	my ($at, $saved, $waiters) = split /\|/, $eye->query("SELECT extract(epoch FROM at), seconds_saved, waiters FROM lifeguard.replay_policy('$policy', '$since', '$until') WHERE pid = " . $victim->pid);
	my $truth = 0;

	$truth += $got{ $_->pid } - $at foreach @waiters;
	is($waiters, scalar @waiters, "$policy: who waits");
	cmp_ok(abs($saved - $truth), '<', 0.15 * @waiters, "$policy: seconds saved are those that they went on to wait")
	  or diag "$saved, not $truth";
	return;
}

is_saved('idle', $idles, @behind_idle);
is_saved('idle_blocks', $idles, @behind_idle);
is_saved('blocker', $idles, @behind_idle);
is_saved('blocker', $runs, @behind_runs);
is_saved('transaction', $idles, @behind_idle);
is_saved('ddl', $ddl, @behind_ddl);
is($eye->query("SELECT count(*), sum(seconds_saved) FROM lifeguard.replay_policy('crowd', '$since', '$until')"), '4|0.000', 'who blocks nobody: nothing is saved');
is($eye->query("SELECT count(*) FROM lifeguard.replay_policy('idle', '$since', '$until') WHERE length(unknown) < 20 OR unknown IS NULL"), '0', 'each row says what it cannot know');

done_testing();
