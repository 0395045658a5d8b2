# When nobody can log in any more, the server log says who holds the slots, who
# blocks whom and what policies do: once a minute, and in nobody else's words.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $max = 14;
my $node = lg_server('full',
	init => { allows_streaming => 1 },
	conf => <<"END");
max_connections = $max
superuser_reserved_connections = 2
max_prepared_transactions = 2
pg_lifeguard.sample_interval = 0
END
my $major = int($node->pg_version);
if ($major >= 16)
{
	$node->append_conf('postgresql.conf', 'reserved_connections = 1');
	$node->restart;
}
my $usable = $max - 2 - ($major >= 16 ? 1 : 0);
my $me = getpwuid($<);

# The reports in a server's log beyond that offset, whole.
sub reports
{
	my ($server, $offset) = @_;
	my $log = slurp_file($server->logfile, $offset);
	my @all = $log =~ /^(\d{4}-[^\n]* LOG:  nobody can log in[^\n]*\n(?:(?:\t|\d{4}-[^\n]*? (?:DETAIL|HINT):  )[^\n]*\n)*)/mg;
	return @all;
}

sub log_size { return -s $_[0]->logfile; }

# Sessions, until the server turns somebody away for want of any slot.
sub fill
{
	my ($server, $leave, @others) = @_;
	my @crowd;

	while (@others + @crowd < $max - $leave)
	{
		my $clerk = @others + @crowd < $usable;
		push @crowd,
		  LgSession->new($server, $clerk ? (user => 'clerk') : (),
			parameters => { application_name => $clerk ? 'web' : 'spare' });
	}
	return @crowd;
}

my $session = LgSession->new($node, parameters => { application_name => 'eye' });
# from 19 on the server refuses roles whose names have line breaks
my $break = $session->query("SELECT current_setting('server_version_num')::int >= 190000") eq 't' ? ' ' : "\n";
my $shown = $break eq "\n" ? '?' : $break;
$session->query(<<"END");
CREATE ROLE clerk LOGIN;
CREATE TABLE till (id int);
GRANT ALL ON till TO clerk;
CREATE ROLE "mal""${break}2030-01-01 00:00:00.000 UTC [1] LOG:  all is well" LOGIN
END
ok( lg_define(
		$session,
		make_room => { target => 'idle', min_duration => '1 h', applications => ['web'] },
		asleep => { enabled => 'false' },
		watch => { action => 'log', min_duration => '1 h' },
		'say "so": LOG' => { schedule => '0 0 1 1 *', applications => undef, min_duration => '1 h' }),
	'policies are in force');
$session->query('SELECT lifeguard.run_pass()');
ok($session->poll('SELECT used = 1 FROM lifeguard.connections'), 'nobody else is here');

# --- a crowd of every kind, with hostile names
my @mal = map {
	LgSession->new($node,
		user => "mal\"${break}2030-01-01 00:00:00.000 UTC [1] LOG:  all is well",
		parameters => { application_name => "x\"\nLOG:  nobody can log in: \xE9vil" })
} 1 .. 2;
my ($holder, @waiters) = map { LgSession->new($node, user => 'clerk', parameters => { application_name => 'web' }) } 1 .. 3;
$holder->query('BEGIN; LOCK TABLE till');
$_->send('SELECT count(*) FROM till') foreach @waiters;
ok(lg_waits($session, @waiters), 'two wait');
my @crowd = fill($node, 1, $session, @mal, $holder, @waiters);
ok($session->poll("SELECT used = max_connections - 1 AND idle = $max - 1 - 4 FROM lifeguard.connections"), 'all slots but one are taken');
my $begin = log_size($node);
lg_run_pass($session) foreach 1 .. 3;
is(scalar reports($node, $begin), 0, 'one slot is free: no report');

push @crowd, LgSession->new($node, parameters => { application_name => 'spare' });
is(LgSession->new($node, refused_ok => 1)->{refused}{message}, 'sorry, too many clients already', 'nobody can log in');
lg_run_pass($session) foreach 1 .. 4;
my @reports = reports($node, $begin);
is(@reports, 1, 'one report in four passes');
my $report = $reports[0];
note $report;

my $web = $usable - 1 - 2;
my $spare = $max - $usable;
my $web_idle = $web - 3;
my $idle = $web_idle + $spare + 2;
like($report, qr/LOG:  nobody can log in: all $max connection slots are taken, of which $usable are for any role\n/,
	'it says that every slot is taken');
like($report, qr/DETAIL:  Sessions: 3 active, $idle idle, 1 idle in transaction, 0 starting, ending or without a state; waiting for a lock: 2\.\n/,
	'sessions by state');
my $held = qr/\tHeld: /;
like($report, qr/$held$web by role "clerk", database "postgres", application "web", a local client: 2 active, $web_idle idle, 1 idle in transaction; idle longest is PID ${\$holder->pid}, for \d+ s\.\n/,
	'who holds them');
like($report, qr/$held$spare by role "$me", database "postgres", application "spare", a local client: 0 active, $spare idle, 0 idle in transaction; idle longest is PID \d+, for \d+ s\.\n/,
	'the reserved ones too');
like($report, qr/$held\Q1 by role "$me", database "postgres", application "eye", a local client: 1 active, 0 idle, 0 idle in transaction.\E\n/, 'whoever makes the pass too');
like($report, qr/$held\Q2 by role "mal""\E\Q$shown\E\Q2030-01-01 00:00:00.000 UTC [1] LOG:  all is well", database "postgres", application "x""\E\S{1,4}\QLOG:  nobody can log in: \E\S+vil", a local client: 0 active, 2 idle/,
	'hostile names stay within their quotes, on their line');
my @lines = $report =~ /^\tHeld: (\d+)/mg;
is("@lines", join(' ', sort { $b <=> $a } @lines), 'most first');
is(eval join('+', @lines), $max, 'and all of them');
like($report, qr/\tBlocker: PID ${\$holder->pid}, role "clerk", application "web", idle in transaction for \d+ s; waiting for it: 2, the longest for \d+ s\.\n/,
	'who blocks whom');
like($report, qr/\tPolicy "make_room" \(idle, terminate\): in force, acts; 0 actions in the last minute\.\n/, 'what a policy does');
like($report, qr/\tPolicy "watch" \(idle in transaction, log\): in force, only logs; 0 actions/, 'one that only logs');
like($report, qr/\tPolicy "say ""so"": LOG" \(idle in transaction, terminate\): outside its schedule;/, 'one outside its schedule, by a hostile name');
like($report, qr/\tPolicy "asleep" \(idle in transaction, terminate\): disabled;/, 'one that is disabled');
like($report, qr/\tConnection attempts refused since the server started: 1\.\n/, 'how many were turned away');
like($report, qr/HINT:  To make room, end a session: "pg_ctl kill TERM" and its PID/, 'what to do');
is_deeply([ grep { /^2030|^LOG:/ } split /\n/, slurp_file($node->logfile, $begin) ], [], 'no line is forged');

# --- a prepared transaction blocks; brakes are told
$holder->query('ROLLBACK');
$_->answer foreach @waiters;
$_->close foreach splice @crowd;
$session->query("BEGIN; LOCK TABLE till; PREPARE TRANSACTION 'forgotten'");
lg_configure($session, 'pg_lifeguard.emergency_report' => 'off', 'pg_lifeguard.enforce' => 'off');
$session->close;
$_->close foreach ($holder, @waiters, @mal);
$node->restart;    # which forgets that it was said

$session = LgSession->new($node, parameters => { application_name => 'eye' });
is($session->query('SHOW pg_lifeguard.emergency_report'), 'off', 'emergency_report is off');
ok($session->poll('SELECT count(*) = 4 FROM lifeguard.policy_status'), 'policies are in force again');
my $waiter = LgSession->new($node, user => 'clerk', parameters => { application_name => 'web' });
$waiter->send('SELECT count(*) FROM till');
ok(lg_waits($session, $waiter), 'one waits');
@crowd = fill($node, 0, $session, $waiter);
ok($session->poll('SELECT used = max_connections FROM lifeguard.connections'), 'all slots are taken');
$begin = log_size($node);
lg_run_pass($session) foreach 1 .. 3;
is(scalar reports($node, $begin), 0, 'no report while it is off');
lg_configure($session, 'pg_lifeguard.emergency_report' => 'on');
ok($session->poll("SELECT current_setting('pg_lifeguard.emergency_report')", 'on'), 'on again');
lg_run_pass($session) foreach 1 .. 3;
@reports = reports($node, $begin);
is(@reports, 1, 'then there is one');
note $reports[0];
like($reports[0], qr/\tBlocker: a prepared transaction \(xid \d+\) of role "$me" in database "postgres"; waiting for it: 1, the longest for \d+ s\.\n/,
	'a prepared transaction blocks');
like($reports[0], qr/\tPolicy "make_room" \(idle, terminate\): only rehearses, pg_lifeguard.enforce is off;/, 'brakes are told');

# --- by the collector, which needs no slot; on a standby too
$_->close foreach splice @crowd;
ok($session->poll('SELECT used <= 2 FROM lifeguard.connections'), 'the crowd has gone');
$session->query("ROLLBACK PREPARED 'forgotten'");
$waiter->answer;
lg_configure($session, 'pg_lifeguard.sample_interval' => '50ms');
$_->close foreach ($session, $waiter);
$node->stop;
$node->start;
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('full_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));

foreach my $server ($node, $standby)
{
	my $where = $server->name;
	$session = LgSession->new($server, parameters => { application_name => 'eye' });
	ok($session->poll("SELECT count(*) = 4 FROM lifeguard.policy_status"), "$where: policies are in force");
	ok($session->poll('SELECT used = 1 FROM lifeguard.connections'), "$where: nobody is here");
	$begin = log_size($server);
	@crowd = fill($server, 1, $session);
	ok(lg_passes($session, 3), "$where: passes");
	is(scalar reports($server, $begin), 0, "$where: one slot is free: no report");
	push @crowd, LgSession->new($server, parameters => { application_name => 'spare' });
	ok(lg_passes($session, 10), "$where: passes in a full server");
	@reports = reports($server, $begin);
	is(@reports, 1, "$where: one report");
	like($reports[0], qr/nobody can log in: all $max connection slots are taken/, "$where: by the collector");
	like($reports[0], qr/Held: ${\($usable - 1)} by role "clerk", database "postgres", application "web"/, "$where: with names, though it has no database");
	like($reports[0], qr/Policy "watch" .*: does not run on standbys;/, "$where: and what policies do") if $server == $standby;
	$_->close foreach (splice(@crowd), $session);
}

$standby->stop;
$node->stop;
is(lg_log_complaints($_), '', $_->name . ': nothing bad in the log') foreach ($node, $standby);

done_testing();
