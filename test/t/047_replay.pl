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

my $node = lg_server('replay', conf => "pg_lifeguard.min_episode = 200ms\npg_lifeguard.sample_interval = 200ms\nlog_timezone = 'UTC'\n");
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
	transaction => { target => 'transaction', applications => ['alone', 'idles', 'reader', 'chain%'], min_duration => '1500 ms', action => 'log' },
	ddl_blocks_for => { %any, target => 'queued ddl', min_duration => '100 ms', min_blocked_for => '600 ms', action => 'log' },
	crowd => { %limits, applications => ['crowd%'], min_duration => '800 ms' },
	doomed => { applications => ['doomed%'], min_duration => '700 ms', action => 'terminate' },
	nothing_to_cancel => { target => 'transaction', applications => ['crowd 1'], min_duration => '1 s', action => 'cancel' });
# comes into force later: in which pass the first of a crowd is met decides who comes next
my %late = (crowd_youngest => { %limits, applications => ['crowd%'], min_duration => '800 ms', victim_order => 'youngest', max_per_pass => 2, cooldown => '1 s' });
ok(lg_define($eye, %policies), 'policies are in force');
my $since = $eye->query('SELECT clock_timestamp()');
my %since = map { $_ => $since } keys %policies;

my $alone = session('alone');
$alone->query('BEGIN; SELECT 1');
my $idles = hold('idles', 1);
my @behind_idle = map { queue("behind idles $_", 1) } 1 .. 3;
my $runs = hold('runs', 2);
$runs->send('SELECT pg_sleep(3); ROLLBACK');
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

sleep 1.2;
ok(lg_define($eye, %late), 'a policy comes into force when all of the crowd are old enough');
$since{crowd_youngest} = $eye->query('SELECT published_at FROM lifeguard.policy_status LIMIT 1');
%policies = (%policies, %late);
sleep 1.2;
$_->query('ROLLBACK') foreach $alone, $idles, $reader;
my %got;    # when each waiter had its lock
sub got { $got{ $_[0]->pid } = (split /\|/, $_[0]->answer->{rows}[-1])[-1]; return; }
ok($ddl->answer, 'the DDL is through');
got($_) foreach @behind_idle, @behind_ddl, $behind_doomed;
$runs->answer;
got($_) foreach @behind_runs;
# by turns, 2 s and 1 s apart: the fourth of "crowd" does not have his before they end
foreach my $turns ([ crowd => 3 ], [ crowd_youngest => 4 ])
{
	my ($policy, $n) = @$turns;
	ok($eye->poll("SELECT count(*) FROM lifeguard.ledger WHERE policy = '$policy' AND outcome = 'rehearsed'", $n), "$policy: $n have had their turn");
}
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
SELECT coalesce(l.application_name, r.application_name), l.verdict, r.verdict, l.at - '$since{$policy}', r.at - '$since{$policy}', r.why
FROM (SELECT pid, backend_start, min(application_name) AS application_name, min(at) AS at,
		min(CASE WHEN outcome ~ '^(over limit|spared)' THEN split_part(outcome, ':', 1) ELSE action END) AS verdict
	FROM lifeguard.ledger WHERE policy = '$policy' GROUP BY pid, backend_start) l
FULL JOIN lifeguard.replay_policy('$policy', '$since{$policy}', '$until') r USING (pid, backend_start)
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
	my $imprecise = $eye->query('SELECT sum(extract(epoch FROM "precision")) FROM lifeguard.lock_wait_history WHERE waiter_pid IN (' . join(',', map { $_->pid } @waiters) . ')');
	is($waiters, scalar @waiters, "$policy: who waits");
	cmp_ok(abs($saved - $truth), '<', 0.15 * @waiters + $imprecise, "$policy: seconds saved are those that they went on to wait")
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
is($eye->query("SELECT DISTINCT unknown LIKE '%whether it was a client session%' FROM lifeguard.replay_policy('$_', '$since', '$until')"), $_ eq 'idle' ? 'f' : 't', "$_: of waits nobody knows whether a worker waited")
  foreach 'blocker', 'waiter', 'ddl', 'idle';

# --- histories written by hand: 2 June 2025 in UTC, unless a row says otherwise
my $number = 0;
my $day = '2025-06-02';

# A row for one of the tables; columns as SQL.
sub row
{
	my ($table, %columns) = @_;
	my @names = sort keys %columns;

	$number++;
	return "INSERT INTO lifeguard.$table (boot, number, recorded_on, " . join(', ', map { qq("$_") } @names)
	  . ") VALUES ('$day', $number, 'primary', " . join(', ', map { $columns{$_} } @names) . ');';
}

# Who: a process that started at midnight.
sub who
{
	my ($prefix, $pid, %more) = @_;
	my %who = (
		usesysid => "coalesce(to_regrole('app')::oid, 1)", pid => $pid, backend_start => "'$day 00:00'",
		usename => "'app'", datname => "'postgres'", application_name => "'app'", state => "'idle in transaction'",
		query => "'SELECT 1'", query_id => 1, %more);
	return map { ("$prefix$_" => $who{$_}) } keys %who;
}

# A stay idle in transaction.
sub stay
{
	my ($pid, $start, $seconds, %more) = @_;
	return row('idle_transaction_entries', who('', $pid), idle_start => "'$day $start'",
		xact_start => "timestamptz '$day $start' - interval '1 s'", duration => "interval '$seconds s'",
		ended_by => "'end of transaction'", %more);
}

# A wait, and behind whom: root alone, or root and root at the end.
sub wait_for
{
	my ($pid, $roots, $start, $seconds, %more) = @_;
	my ($root, $last) = ref $roots ? @$roots : ($roots, $roots);
	my %state = (state => "'active'");
	my %root = (state => $more{root} // "'active'");

	delete $more{root};

	return row('lock_wait_entries', who('waiter_', $pid, %state),
		(defined $root ? who('root_', $root, %root) : ()), (defined $last ? who('root_at_end_', $last, %root) : ()),
		locktype => "'transactionid'", mode => "'ShareLock'", wait_start => "'$day $start'",
		duration => "interval '$seconds s'", ended_by => "'granted'", %more);
}

sub history
{
	$eye->query('TRUNCATE lifeguard.lock_wait_entries, lifeguard.idle_transaction_entries');
	$eye->query(join ' ', @_) if @_;
	return;
}

sub told
{
	my ($policy, %ask) = @_;
	my $from = $ask{since} // "'$day 00:00'";
	my $to = $ask{until} // "'2025-06-03'";
	my $columns = $ask{columns} // "to_char(at, 'HH24:MI:SS.MS'), pid, verdict, waiters, seconds_saved";

	return ($ask{session} // $eye)
	  ->query("SELECT $columns FROM lifeguard.replay_policy(jsonb_populate_record(NULL::lifeguard.policy, '$policy'), $from, $to)" . ($columns =~ /count/ ? '' : ' ORDER BY at, pid'));
}
my $minute = '{"target": "idle in transaction", "min_duration": "1 min"}';
my $free = '"max_per_pass": 0, "max_per_minute": 0, "cooldown": "0 s"';

history(stay(1, '10:00', 59), stay(2, '10:00', 61), stay(3, '10:00', 60.001), stay(4, '10:10', 600));
is(told($minute), "10:01:00.002|2|log|0|0.000\n10:11:00.002|4|log|0|0.000", 'who was idle for longer than that');
is(told($minute, since => "'$day 10:15'"), '10:15:00.000|4|log|0|0.000', 'who had been so before is met at once');
is(told($minute, until => "'$day 10:11'"), '10:01:00.002|2|log|0|0.000', 'and not who came to it afterwards');
is(told($minute, since => "'$day 10:20'"), '', 'nor who was through with it');
is(told($minute, since => 'NULL', until => 'NULL'), told($minute), 'NULL: from the first on, until now');
is(told($minute, since => "'-infinity'", until => "'infinity'"), told($minute), 'infinity likewise');
is(told($minute, since => "'$day 10:15'", until => "'$day 10:15'"), '', 'no time, no victim');

# schedule
is(told('{"target": "idle in transaction", "min_duration": "1 min", "schedule": "13-14 * * * *"}'), '10:13:00.000|4|log|0|0.000', 'in force in some minutes only');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "schedule": "13 12 * * *", "time_zone": "Europe/Berlin"}'), '10:13:00.000|4|log|0|0.000', 'in another time zone');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "except_schedule": "0-14 * * * *"}'), '10:15:00.000|4|log|0|0.000', 'and not in others');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "schedule": "0 0 30 2 *"}'), '', 'never');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "enabled": false}'), told($minute), 'disabled or not');

# filters
history(stay(1, '10:00', 90, usename => "'other'"), stay(2, '10:10', 90, application_name => "'till 7'"),
	stay(3, '10:20', 90, client_addr => "'10.1.2.3'"), stay(4, '10:30', 90, query => "'SELECT 2 FROM till'", query_id => 77),
	stay(5, '10:40', 90, datname => "'template1'"), stay(6, '10:50', 90, client_addr => "'fe80::7'"));
foreach ([roles => 'other', 1], [except_roles => 'app', 1], [applications => 'till%', 2], [clients => '10.1.0.0/16', 3], [queries => '%till', 4],
	[queries => '77', 4], [databases => 'template1', 5], [except_databases => 'postgres', 5], [clients => 'fe80::/16', 6])
{
	my ($filter, $entry, $pid) = @$_;
	is(told(qq({"target": "idle in transaction", "min_duration": "1 min", "$filter": ["$entry"]}), columns => 'pid'), $pid, "$filter: $entry");
}
is(told('{"target": "idle in transaction", "min_duration": "1 min", "except_clients": ["local"]}', columns => 'pid'), "3\n6", 'except_clients: local');

# where it was recorded
history(stay(1, '10:00', 90), stay(2, '10:10', 90) =~ s/'primary'/'standby'/r, stay(3, '10:20', 90, backend_start => 'NULL'));
is(told($minute, columns => 'pid'), '1', 'a policy of the primary; hidden rows are left out');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "runs_on": "standby"}', columns => 'pid'), '2', 'of the standby');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "runs_on": "both"}', columns => 'pid'), "1\n2", 'of both');

# who is spared, and why
my $self = scalar getpwuid($<);
history(stay(1, '10:00', 90, usename => "'$self'"), stay(2, '10:10', 90, usename => "'gone'"), stay(3, '10:20', 90, application_name => "'pg_dump'"));
is(told($minute, columns => 'pid, verdict, why'), "1|spared|superuser\n2|spared|its role or database could not be looked up\n3|spared|protected application", 'who is spared, and why');
history(stay(1, '10:00', 90, xact_start => "'$day 09:59'"), wait_for(9, 1, '10:00:10', 60));
is(told('{"target": "transaction", "min_duration": "90 s", "action": "cancel"}', columns => 'pid, verdict, why, seconds_saved'), '1|spared|nothing to cancel|0.000', 'nothing to cancel, nothing saved');
is(told('{"target": "transaction", "min_duration": "90 s", "action": "cancel then terminate"}'), '10:00:30.000|1|cancel then terminate|1|40.000', 'what escalates terminates at once');
is(told('{"target": "transaction", "min_duration": "30 s", "action": "cancel"}'), '09:59:30.000|1|cancel|0|60.000', 'while it ran there was something to cancel, and nobody would have come to wait');

# limits
history(map { stay($_, "10:00:0$_", 100) } 1 .. 5);
is(told($minute), join("\n", map { "10:01:0$$_[1].00$$_[2]|$$_[0]|log|0|0.000" } [1, 1, 2], [2, 3, 2], [3, 5, 2], [4, 7, 2], [5, 9, 2]), 'one at a time, one in 2 s: each in its turn');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "cooldown": "30 s"}'), "10:01:01.002|1|log|0|0.000\n10:01:03.002|3|over limit|0|0.000\n10:01:04.002|4|over limit|0|0.000\n10:01:05.002|5|over limit|0|0.000\n10:01:31.002|2|log|0|0.000", 'some do not get theirs before they end');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "cooldown": "30 s", "victim_order": "youngest"}', columns => 'pid, verdict'), "1|log\n2|over limit\n3|over limit\n4|over limit\n5|log", 'the youngest first');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "cooldown": "0 s", "max_per_minute": 3}', columns => 'pid, verdict'), "1|log\n2|log\n3|log\n4|over limit\n5|over limit", 'three in a minute');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "victim_order": "all but oldest"}', columns => 'pid'), "2\n3\n4\n5", 'all but the oldest');
history(map { stay($_, '10:00', 100) } 1 .. 5);
is(told('{"target": "idle in transaction", "min_duration": "1 min", "max_per_pass": 3, "cooldown": "10 s"}', columns => "to_char(at, 'MI:SS'), pid"), "01:00|1\n01:00|2\n01:00|3\n01:10|4\n01:10|5", 'three in a pass, though a pause follows');
history((map { stay($_, '10:00', 100) } 1 .. 3), wait_for(8, 2, '10:00:20', 100), wait_for(9, 2, '10:00:20', 100), wait_for(10, 3, '10:00:20', 100));
is(told('{"target": "idle in transaction", "min_duration": "1 min", "cooldown": "5 s", "victim_order": "most blocking"}'),
	"10:01:00.002|2|log|2|119.996\n10:01:05.002|3|log|1|54.998\n10:01:10.002|1|log|0|0.000", 'who blocks most first; the rest of a wait counts');

# who has been terminated does nothing more; who was only logged goes on
my @often = (stay(1, '10:00', 100, ended_by => "'statement'"), stay(1, '10:10', 100, xact_start => "'$day 10:00'"), wait_for(9, 1, '10:00:30', 900));
history(@often);
is(told('{"target": "idle in transaction", "min_duration": "1 min", "action": "terminate"}'), '10:01:00.002|1|terminate|1|869.998', 'a session is terminated once');
is(told($minute), "10:01:00.002|1|log|1|869.998\n10:11:00.002|1|log|1|0.000", 'and logged twice, but a second of waiting is saved once');

# a long wait behind which others hide, before and after the pause
history(stay(1, '10:10', 300), wait_for(9, 1, '10:00', 1200), (map { wait_for(20 + $_, 1, "10:0$_", 10) } 1 .. 9), wait_for(40, 1, '10:12', 30), wait_for(41, 1, '10:20', 30));
is(told('{"target": "idle in transaction", "min_duration": "1 min", "min_blocked": 1}'), '10:11:00.002|1|log|1|569.998', 'a long wait counts, short ones before it do not');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "min_blocked": 2}'), '10:12:00.000|1|log|2|510.000', 'from the moment on when enough wait');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "min_blocked": 3}'), '', 'never enough');
is(told('{"target": "idle in transaction", "min_duration": "1 min", "min_blocked_for": "14 min"}'), '10:14:00.000|1|log|1|360.000', 'from the moment on when one has waited long enough');

# the root blocker changes: each one's part of a wait is its own doing
my @idle = (root => "'idle in transaction'");
history(stay(1, '10:00', 60), stay(2, '10:01:10', 90), wait_for(2, 1, '10:00:10', 50, @idle), wait_for(3, [1, 2], '10:00:20', 140, @idle));
is(told('{"target": "blocker", "min_duration": "30 s"}'), "10:00:30.000|1|log|2|60.000\n10:01:40.000|2|log|1|60.000", 'of a wait with two roots each has its part');
is(told('{"target": "idle in transaction", "min_duration": "30 s", "min_blocked": 1}', columns => 'pid, seconds_saved'), "1|59.996\n2|59.998", 'whoever asks');

# blockers that run; prepared transactions, deadlocks and hidden ones are nobody's
history(wait_for(9, 1, '10:00', 50), wait_for(10, 1, '10:00:40', 60), wait_for(11, 1, '10:05', 60), wait_for(12, 0, '10:05', 60), wait_for(13, undef, '10:05', 60),
	wait_for(14, 2, '10:05', 60, root_backend_start => 'NULL', root_at_end_backend_start => 'NULL'));
is(told('{"target": "blocker", "min_duration": "30 s"}'), "10:00:30.000|1|log|1|80.000\n10:05:30.000|1|log|1|30.000", 'waits that overlap are one stretch of blocking');
is(told('{"target": "waiter", "min_duration": "55 s", "cooldown": "0 s", "max_per_pass": 0}', columns => 'pid, verdict, seconds_saved'), "10|log|5.000\n11|log|5.000\n12|log|5.000\n13|log|5.000\n14|log|5.000", 'waiters, whoever the root is');

# DDL
my %on_shelf = (locktype => "'relation'", relation => 4711, database => "'postgres'", mode => "'AccessShareLock'");
history(wait_for(1, 9, '10:00', 60, %on_shelf, mode => "'AccessExclusiveLock'"), wait_for(2, 9, '10:00:10', 50, %on_shelf), wait_for(3, 9, '10:00:15', 50, %on_shelf, relation => 4712),
	wait_for(4, 9, '10:00:05', 60, %on_shelf, mode => "'AccessExclusiveLock'"), wait_for(5, 9, '10:00:20', 50, %on_shelf, database => "'template1'"),
	wait_for(6, 9, '10:20', 60, %on_shelf, mode => "'ShareLock'"), wait_for(7, 9, '10:20:10', 50, %on_shelf), wait_for(8, 9, '10:20:15', 50, %on_shelf, mode => "'RowExclusiveLock'"));
is(told('{"target": "queued ddl", "min_duration": "20 s", "action": "cancel"}'), "10:00:20.000|1|cancel|2|85.000\n10:00:25.000|4|cancel|1|0.000\n10:20:20.000|6|cancel|1|45.000", 'DDL, and who waits behind it for the same relation, in a mode that conflicts');

# a jumble from before 2000, and what is no time at all
history(row('idle_transaction_entries', who('', 1), idle_start => "'1999-01-01'", duration => "'1 h'", xact_start => "'1999-01-01'", ended_by => "'gone'"),
	row('idle_transaction_entries', who('', 2), idle_start => "'-infinity'", duration => "'1 h'", xact_start => "'-infinity'"),
	row('idle_transaction_entries', who('', 3), idle_start => "'1999-01-01'", duration => 'NULL'));
is(told($minute, since => "'-infinity'", columns => 'at, pid, verdict'), '1999-01-01 00:01:00.002001+00|1|log', 'another century');

# --- long histories
my $columns = 'boot, number, usesysid, pid, backend_start, usename, datname, application_name, state, query, xact_start, idle_start, duration, ended_by, recorded_on';
history();
$eye->query(<<"END");
INSERT INTO lifeguard.idle_transaction_entries ($columns)
SELECT '$day', i, 1, i % 50 + 1, '$day', 'app', 'postgres', 'app ' || i, 'idle in transaction', repeat('x', 500), t, t, '70 s', 'end of transaction', 'primary'
FROM (SELECT i, timestamptz '$day' + i * interval '0.8 s' AS t FROM generate_series(1, 100000) i) g;
INSERT INTO lifeguard.lock_wait_entries (boot, number, waiter_pid, waiter_backend_start, waiter_usename, waiter_datname, waiter_state, root_pid, root_backend_start, root_usename,
	root_datname, root_state, root_query, root_at_end_pid, root_at_end_backend_start, locktype, relation, database, mode, wait_start, duration, ended_by, recorded_on)
SELECT '$day', i, 100 + i, '$day', 'app', 'postgres', 'active', i % 50 + 1, '$day', 'app', 'postgres', 'active', 'UPDATE', i % 50 + 1, '$day', 'relation', 1, 'postgres',
	CASE i % 100 WHEN 0 THEN 'AccessExclusiveLock' ELSE 'AccessShareLock' END, timestamptz '$day' + i * interval '0.8 s', '10 s', 'granted', 'primary'
FROM generate_series(1, 50000) i;
INSERT INTO lifeguard.lock_wait_entries (boot, number, waiter_pid, waiter_backend_start, waiter_usename, waiter_datname, waiter_state, root_pid, root_backend_start, root_usename,
	root_datname, root_state, root_query, root_at_end_pid, root_at_end_backend_start, locktype, mode, wait_start, duration, ended_by, recorded_on)
SELECT '$day', 200000 + i, 200000 + i, '$day', 'app', 'postgres', 'active', 7777, '$day', 'app', 'postgres', 'active', 'UPDATE', 7777, '$day', 'transactionid',
	'ShareLock', timestamptz '$day' + i * interval '0.01 s', '500 s', 'granted', 'primary'
FROM generate_series(1, 10000) i;
ANALYZE lifeguard.idle_transaction_entries, lifeguard.lock_wait_entries
END
my %long = (
	'everybody in turn' => $minute,
	'everybody at once' => qq({"target": "idle in transaction", "min_duration": "1 min", $free}),
	'a queue of filters' => qq({"target": "idle in transaction", "min_duration": "1 min", "applications": ["%7"], "queries": ["%y%", "%x"], $free}),
	'rarely in force' => qq({"target": "idle in transaction", "min_duration": "1 min", "schedule": "0 0 29 2 *"}),
	'in force now and then' => qq({"target": "idle in transaction", "min_duration": "1 min", "schedule": "*/7 * * * *", "time_zone": "Europe/Berlin", $free}),
	'most blocking' => qq({"target": "idle in transaction", "min_duration": "42 s", "min_blocked": 1, "victim_order": "most blocking"}),
	'transactions' => qq({"target": "transaction", "min_duration": "42 s", "min_blocked": 1, $free}),
	'blockers' => qq({"target": "blocker", "min_duration": "5 s", "min_blocked": 3, "action": "terminate", $free}),
	'10,000 behind one' => qq({"target": "blocker", "min_duration": "5 s", "min_blocked": 10000, $free}),
	'waiters' => qq({"target": "waiter", "min_duration": "5 s", "max_per_minute": 0, "max_per_pass": 0, "cooldown": "1 s", "victim_order": "youngest"}),
	'waiters all but the oldest' => qq({"target": "waiter", "min_duration": "5 s", "victim_order": "all but oldest"}),
	'DDL' => qq({"target": "queued ddl", "min_duration": "5 s", "min_blocked": 1, $free}));
$eye->query("SET statement_timeout = '60s'");
foreach my $name (sort keys %long)
{
	my $start = time;
	my $n = eval { told($long{$name}, since => 'NULL', until => 'NULL', columns => "count(*) || '|' || count(*) FILTER (WHERE verdict <> 'over limit')"); };
	ok(defined $n, "long: $name") or diag $@;
	note sprintf '%s: %s in %.1f s', $name, $n // '?', time - $start;
	like($n, $name eq 'rarely in force' ? qr/^0\|0$/ : qr/^[1-9]\d*\|[1-9]/, "long: $name: victims") if defined $n;
}
$eye->query("SET statement_timeout = '300ms'");
is($eye->error_of("SELECT count(*) FROM lifeguard.replay_policy(jsonb_populate_record(NULL::lifeguard.policy, '$long{'everybody in turn'}'), NULL, NULL)")->{sqlstate}, '57014', 'it can be cancelled');
$eye->query('RESET statement_timeout');

# --- what is refused
sub refused
{
	my ($call, $message, $hint, $name) = @_;
	my $error = $eye->error_of("SELECT * FROM lifeguard.replay_policy($call)") // { message => 'no error' };

	like($error->{message}, $message, $name);
	like($error->{hint} // '', $hint, "$name: hint");
	return;
}
sub unstored { return "jsonb_populate_record(NULL::lifeguard.policy, '{$_[0]}'), now() - interval '1 h', now()"; }

refused("'nobody', now(), now()", qr/^policy "nobody" does not exist$/, qr/lifeguard\.policy/, 'unknown policy');
refused("NULL, now(), now()", qr/^name of the policy must not be null$/, qr/^$/, 'no name');
refused("NULL::lifeguard.policy, now(), now()", qr/^policy must not be null$/, qr/jsonb_populate_record/, 'no policy');
refused("'idle', now(), now() - interval '1 s'", qr/^argument "until" must not be earlier than "since"$/, qr/^$/, 'until before since');
refused(unstored(qq("target": "$_", "min_duration": "1 min", "gids": ["x%"])) =~ s/, "gids": \["x%"\]/$_ eq 'prepared transaction' ? $& : ''/er,
	qr/^cannot replay a policy on target "$_"$/, qr/action "log"/, "target $_")
  foreach 'idle', 'active', 'stalled client', 'prepared transaction';
refused(unstored(qq("target": "transaction", "min_duration": "1 min", $_)), qr/^cannot replay a policy on target "transaction" with min_horizon_age|connections_above$/, qr/action "log"/, $_)
  foreach '"min_horizon_age": 5', '"connections_above": 0.5';
refused(unstored('"target": "waiter", "min_duration": "1 min", "min_blocked": 5'), qr/^cannot replay a policy on target "waiter" with min_blocked$/, qr/action "log"/, 'min_blocked of waiters');
refused(unstored('"target": "active", "min_duration": "1 min", "min_same_query": 5'), qr/^cannot replay a policy on target "active"/, qr/action "log"/, 'min_same_query');
refused(unstored('"target": "blocker"'), qr/^invalid value for column "min_duration" of the policy$/, qr/^$/, 'invalid policy');
refused(unstored('"target": "blocker", "min_duration": "1 s", "time_zone": "Nowhere"'), qr/^invalid value for column "time_zone" of the policy$/, qr/^/, 'unknown time zone');

# --- rights
history(stay(1, '10:00', 90, usesysid => "to_regrole('auditor')::oid"), stay(2, '10:00', 90), wait_for(9, 1, '10:00:30', 60), wait_for(10, 2, '10:00:30', 60, waiter_usesysid => "to_regrole('auditor')::oid"));
my $auditor = LgSession->new($node, user => 'auditor', parameters => { options => '-c TimeZone=UTC' });
my $call = "lifeguard.replay_policy(jsonb_populate_record(NULL::lifeguard.policy, '$minute'), '$day', '2025-06-03')";
like($auditor->error_of("SELECT * FROM $call")->{message}, qr/^permission denied for function replay_policy$/, 'not PUBLIC\'s');
like($auditor->error_of("SELECT * FROM lifeguard.replay_policy('idle', '$day', '2025-06-03')")->{message}, qr/^permission denied for function replay_policy$/, 'by name neither');
$eye->query("GRANT EXECUTE ON FUNCTION lifeguard.replay_policy(lifeguard.policy, timestamptz, timestamptz), lifeguard.replay_episodes(lifeguard.policy, timestamptz, timestamptz) TO auditor");
is(told($minute, session => $auditor, columns => 'pid'), '1', 'whoever is granted it sees what the views show him');
$eye->query('GRANT pg_read_all_stats TO auditor');
is(told($minute, session => $auditor, columns => 'pid, verdict, why'), join("\n", map { "$_|spared|the policy's owner may not signal it" } 1, 2), 'and acts, as policies do, with his own rights');

is(lg_log_complaints($node), '', 'nothing to complain about in the log');

done_testing();
