# Making room: policies with connections_above under floods of clients who are turned
# away and try again.  Who goes, who stays, and that who wants to work gets in.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IO::Select;
use IPC::Run;
use LgBouncer;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# An hour between passes: what happens sooner somebody has asked for.
my $usable = 60;
my $node = lg_server('room', conf => <<"END");
max_connections = @{[$usable + 3]}
superuser_reserved_connections = 3
log_line_prefix = '%m [%p] '
log_statement = none
pg_lifeguard.sample_interval = 1h
pg_lifeguard.flush_interval = 200ms
END
my $boss = LgSession->new($node, parameters => { application_name => 'boss' });
$boss->query('CREATE ROLE clerk LOGIN');
my %making_room = (
	target => 'idle',
	connections_above => '0.9',
	connections_until => '0.75',
	min_duration => '0 s');

sub client { my ($application) = @_; return LgSession->new($node, user => 'clerk', parameters => { application_name => $application }); }
sub used { return $boss->query('SELECT used FROM lifeguard.connections'); }
sub becomes { return $boss->poll('SELECT used FROM lifeguard.connections', $_[0]); }

# The victims of a policy, those first whose turn was first.
sub victims
{
	my ($policy) = @_;
	return split /\n/, $boss->query("SELECT pid FROM lifeguard.ledger WHERE policy = '$policy' AND outcome LIKE 'terminated%' ORDER BY at, at - state_age");
}

# True once nothing is under way.
sub settled { return $boss->poll("SELECT count(*) FROM lifeguard.ledger WHERE outcome = 'signalled'", '0'); }

sub drop_all
{
	lg_drop($boss) or die;
	$_->close foreach @_;
	return becomes(1);
}

# Clients that want to work, all at once: each connects, again and again while it is
# turned away, runs some statements and hangs up.
sub flood
{
	my ($n, %options) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my @clients = map { { left => $options{statements} // 3, next_try => 0, number => $_ } } 1 .. $n;
	my %flood = (refused => 0, left => 0, served => 0, errors => [], waited => 0);

	while (grep { !$_->{done} } @clients)
	{
		if (time > $deadline)
		{
			push @{ $flood{errors} }, 'time is up';
			last;
		}
		foreach my $c (grep { !$_->{session} && !$_->{done} && time >= $_->{next_try} } @clients)
		{
			$c->{began} //= time;
			$c->{session} = LgSession->new($node, user => 'clerk', begin_only => 1,
				parameters => { application_name => $options{application} // "worker" });
		}
		my %of = map { fileno($_->{session}{socket}) => $_ } grep { $_->{session} && !$_->{held} } @clients;
		last unless %of || grep { !$_->{done} } @clients;
		foreach my $handle (IO::Select->new(map { $_->{session}{socket} } values %of)->can_read(0.02))
		{
			my $c = $of{ fileno $handle };
			my $answer = $c->{session}->answer(0.01) or next;
			if ($answer->{error})
			{
				if (!$c->{in} && ($answer->{error}{sqlstate} // '') eq '53300')
				{
					$flood{refused}++;
					$c->{next_try} = time + 0.02;
					$c->{done} = $flood{left}++ || 1 if $options{tries} && ++$c->{tries} == $options{tries};
				}
				else
				{
					push @{ $flood{errors} }, ($answer->{error}{sqlstate} // '') . " $answer->{error}{message}";
					$c->{done} = 1;
				}
				(delete $c->{session})->close;
				next;
			}
			if (!$c->{in})
			{
				$c->{in} = 1;
				$flood{waited} = time - $c->{began} if time - $c->{began} > $flood{waited};
			}
			if ($c->{left}-- > 0)
			{
				$c->{session}->send($options{sql} // 'SELECT pg_sleep(0.05)');
				next;
			}
			$flood{served}++;
			$c->{done} = 1;
			if ($options{stay}) { $c->{held} = 1; }
			else { (delete $c->{session})->close; }
		}
	}
	$flood{stay} = [ map { $_->{session} } grep { $_->{held} } @clients ];
	return \%flood;
}

# --------------------------------------------------- a flood over parked connections
# Parked one after the other, so everybody's turn is known.
sub park
{
	my (%n) = @_;
	my @parked;
	while (%n)
	{
		foreach my $application (sort keys %n)
		{
			push @parked, client($application);
			$parked[-1]->{application} = $application;
			delete $n{$application} unless --$n{$application};
		}
	}
	return @parked;
}

# Those that a policy may take, in their turn: the last of each program are kept.
sub eligible
{
	my ($keep, @parked) = @_;
	my %left;
	$left{ $_->{application} }++ foreach @parked;
	return grep { $left{ $_->{application} }-- > $keep } @parked;
}

my %parked = (web => 12, batch => 8, cron => 4, report => 2);
my $flood;

# --- without a policy they are refused
my @parked = park(%parked, web => 40);
$flood = flood(20, statements => 1, tries => 10, stay => 1);
is($flood->{served} . ' ' . $flood->{left}, '5 15', "without a policy: there is room for 5 of 20, whoever is idle");
# one that is on its way out still takes a slot from one who comes in
cmp_ok($flood->{refused}, '>=', 150, 'and each of their attempts was refused');
is_deeply($flood->{errors}, [], 'nothing else goes wrong');
$_->close foreach @parked, @{ $flood->{stay} };
becomes(1);

# --- with one, some have to go
@parked = park(%parked);
ok(lg_define($boss, 'room' => { %making_room, keep => 3, applications => [ keys %parked ] }), 'a policy');
ok($boss->poll("SELECT in_force FROM lifeguard.policy_status WHERE name = 'room'"), 'in force');
$boss->query('SELECT lifeguard.reset(), pg_sleep(1.1)');
my $passes = lg_status($boss, 'passes');
my @eligible = map { $_->pid } eligible(3, @parked);
$flood = flood(30, stay => 1);
is_deeply($flood->{errors}, [], 'a burst: every statement of every client succeeds');
is($flood->{served}, 30, 'and each is served');
diag sprintf 'a burst of 30 over 26 parked: %d attempts refused, the longest until in %.0f ms', $flood->{refused}, 1000 * $flood->{waited};
$boss->poll("SELECT count(*) > 0 FROM lifeguard.ledger WHERE policy = 'room'");
settled();
my @victims = victims('room');
cmp_ok(scalar @victims, '>', 0, scalar(@victims) . ' had to go');
is_deeply(\@victims, [ @eligible[0 .. $#victims] ], 'the longest idle first, program or not, less those that are kept');
cmp_ok(used(), '>=', int(0.75 * $usable) - 1, 'no more than needed');
cmp_ok(used(), '<=', 0.9 * $usable, 'and enough');
is(used(), 1 + 26 + 30 - @victims, 'nobody else left');
cmp_ok(lg_status($boss, 'passes') - $passes, '<', 60, 'the collector did not wait for its interval, nor run wild');
is($boss->query("SELECT count(*), count(DISTINCT pid), min(state), min(target), min(signal), bool_and(reason LIKE 'idle for%'), bool_and(outcome_at >= at) FROM lifeguard.ledger WHERE policy = 'room' AND outcome LIKE 'terminated%'"),
	@victims . '|' . @victims . '|idle|idle|SIGTERM|t|t', 'the ledger tells of each');

# who filled the server is told as it was before they went
is($boss->query("SELECT application_name, total, idle FROM lifeguard.saturation_snapshots WHERE at = (SELECT min(at) FROM lifeguard.ledger WHERE policy = 'room') AND application_name IN ('web', 'batch', 'cron', 'report') ORDER BY 1"),
	"batch|8|8\ncron|4|4\nreport|2|2\nweb|12|12", 'a snapshot of who filled the server, before anybody went');

# --- and more than there is room for: all but those kept
my $more = flood(50);
is_deeply($more->{errors}, [], 'more than there is room for: every statement succeeds');
is($more->{served}, 50, 'each is served in its turn');
diag sprintf '50 more: %d attempts refused, the longest until in %.0f ms', $more->{refused}, 1000 * $more->{waited};
settled();
is(scalar victims('room'), scalar @eligible, 'everybody had to go but those who are kept');
is_deeply([ victims('room') ], \@eligible, 'in their turn');
is($boss->query("SELECT string_agg(application_name || ' ' || n, ', ' ORDER BY application_name) FROM (SELECT application_name, count(*) n FROM pg_stat_activity WHERE application_name IN ('web', 'batch', 'cron', 'report') GROUP BY 1) s"),
	'batch 3, cron 3, report 2, web 3', 'three of each are kept, if there are so many');
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE policy = 'room' AND application_name = 'worker'"), '0', 'nobody else');

drop_all(@parked, @{ $flood->{stay} });


# ------------------------------------------- only who is idle, and for long enough
# All under one name: those who run something are not idle, those who have just
# been served not for long enough.
my @busy = map { client('app')->send('SELECT pg_sleep(2.5)') } 1 .. 10;
@parked = map { client('app') } 1 .. 30;
ok(lg_define($boss, 'patient' => { %making_room, applications => ['app'], min_duration => '0.8 s' }), 'a policy with min_duration');
my @young = map { client('app') } 1 .. 15;
ok($boss->poll("SELECT count(*) > 0 FROM lifeguard.ledger WHERE policy = 'patient'"), 'it acts when the time is over');
settled();
becomes(44);
is($boss->query("SELECT count(*), min(state_age) > '0.8 s', max(state_age) < '1 min' FROM lifeguard.ledger WHERE policy = 'patient'"), '12|t|t', 'twelve had to go, each idle for long enough');
is_deeply([ victims('patient') ], [ map { $_->pid } @parked[0 .. 11] ], 'the longest idle');
is(scalar(grep { my $a = $_->answer; $a && !$a->{error} } @busy), 10, 'who runs a statement ends it');
is(scalar(grep { $_->query('SELECT 1') } @parked[12 .. 29], @young), 33, 'and the others can go on');
drop_all(@parked, @young, @busy);

# -------------------------------------------------------------------------- limits
@parked = map { client('app') } 1 .. 50;
ok(lg_define($boss,
		'five' => { %making_room, applications => ['app'], max_per_minute => 5 }), 'a limit per minute');
my @burst = map { client('other') } 1 .. 8;
ok($boss->poll("SELECT over_limit >= 10 FROM lifeguard.policy_status WHERE name = 'five'"), 'it is reached');
settled();
ok(lg_passes($boss, 5), 'the collector goes on');
is(scalar victims('five'), 5, 'and holds');
drop_all(@parked, @burst);

# One at a time, down to a mark that is far below: nobody waits for the interval.
@parked = map { client('app') } 1 .. 50;
ok(lg_define($boss, 'slow' => { %making_room, applications => ['app'], connections_until => '0.7', max_per_pass => 1, cooldown => '50 ms' }), 'a limit per pass');
@burst = map { client('other') } 1 .. 5;
ok(becomes(41), 'goes on until the lower mark is reached');
settled();
is(scalar victims('slow'), 15, 'fifteen');
is($boss->query("SELECT count(*) = count(DISTINCT at) FROM lifeguard.ledger WHERE policy = 'slow' AND signal IS NOT NULL"), 't', 'one by one');
drop_all(@parked, @burst);

# ---------------------------------------------------- comings and goings at full speed
@parked = map { client('app') } 1 .. 46;
ok(lg_define($boss, 'churn' => { %making_room, applications => ['app'] }), 'a policy');
{
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	my $script = $node->basedir . '/churn.sql';
	my ($out, $err) = ('', '');
	append_to_file($script, "SELECT 1;\n");
	ok(IPC::Run::run([ 'pgbench', '-n', '-C', '-c', '8', '-j', '1', '-T', '1', '-f', $script, 'postgres' ], '<', \undef, '>', \$out, '2>', \$err),
		'clients come and go') or diag $err;
	note $out =~ /number of transactions actually processed: (\d+)/ ? "$1 connections" : $out;
}
settled();
my $gone = victims('churn');
cmp_ok($gone, '>', 0, "$gone had to go");
cmp_ok(46 - $gone, '>=', 43 - 24, 'no more than needed with all that come and go at a time');
ok(becomes(1 + 46 - $gone), 'then all is counted right');
ok($boss->query('SELECT lifeguard.run_pass()') eq '', 'a pass');
is(scalar victims('churn'), $gone, 'and the policy has stopped');
is($boss->query("SELECT used FROM lifeguard.status"), 1 + 46 - $gone, 'the collector counts the same');
drop_all(@parked);

# ------------------------------------------------- whom the freed slots go to
# A burst that takes every slot that was freed is what room was made for.
@parked = map { client('parked') } 1 .. 46;
ok(lg_define($boss, 'relief' => { %making_room, applications => ['parked'] }), 'a policy');
$flood = flood(56, stay => 1);
is("$flood->{served} @{ $flood->{errors} }", '56 ', 'a burst that takes all of it is served');
settled();
is(scalar victims('relief'), 46, 'everybody else had to go');
cmp_ok(used(), '>=', 57, 'as many slots are taken as before');
ok($boss->poll("SELECT clock_timestamp() - last_action > '2.5 s' FROM lifeguard.policy_status"), 'it is judged');
is($boss->query('SELECT in_force, why_not, paused_until IS NULL FROM lifeguard.policy_status'), 't||t', 'and goes on: that was relief');
drop_all(@{ $flood->{stay} }, @parked);

# A pool that opens anew at once whatever is closed gains nobody anything.
my @pool = map { client('pool') } 1 .. 56;
ok(lg_define($boss, 'pooler' => { %making_room, applications => ['pool'], min_duration => '300 ms' }), 'a policy');
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
my $status = '';
my $reopened = 0;
while (time < $deadline && $status !~ /^f/)
{
	my %of = map { fileno($_->{socket}) => $_ } @pool;
	foreach my $handle (IO::Select->new(map { $_->{socket} } @pool)->can_read(0.05))
	{
		my $session = $of{ fileno $handle };
		$session->answer(0.01) or next;
		$session->close;
		%$session = %{ client('pool') };
		$reopened++;
	}
	$status = $boss->query("SELECT in_force, why_not, paused_until - clock_timestamp() BETWEEN '9 min' AND '10 min' FROM lifeguard.policy_status");
}
is($status, 'f|paused by its breaker: its actions brought no relief|t', 'a pool that opens anew what is closed: the breaker');
diag "after $reopened connections opened anew";
my @figures = slurp_file($node->logfile) =~ /LOG:  policy "pooler" is paused for 10 minutes\n.*DETAIL:  Its last 5 actions brought no relief\. (\d+) connection slots were taken before the last one and (\d+) afterwards\.\n/g;
is(scalar @figures, 2, 'the log says so, once');
cmp_ok($figures[1] // 0, '>=', $figures[0] // 1, 'with figures');
settled();
$gone = victims('pooler');
ok(lg_passes($boss, 3), 'the collector goes on');
is(scalar victims('pooler'), $gone, 'the policy does not');
drop_all(@pool);
$boss->query('SELECT lifeguard.resume()');

# ----------------------------------------------------------------- behind PgBouncer
SKIP:
{
	my $bouncer = LgBouncer->new($node, 'transaction', pool_size => 8);
	skip 'PgBouncer is not installed' . ($ENV{LG_LACKING} ? " ($ENV{LG_LACKING})" : ''), 1 unless $bouncer;
	my @shop = map { LgSession->new($bouncer, user => 'clerk', parameters => { application_name => 'shop' }) } 1 .. 5;
	my @desk = map { LgSession->new($bouncer, user => 'clerk', parameters => { application_name => 'desk' }) } 1 .. 3;
	$_->send('SELECT pg_sleep(0.3)') foreach @shop, @desk;
	$_->answer foreach @shop, @desk;
	my $held = "SELECT string_agg(application_name || ' ' || n, ', ' ORDER BY application_name) FROM (SELECT application_name, count(*) n FROM pg_stat_activity WHERE usename = 'clerk' GROUP BY 1) s";
	is($boss->query($held), 'desk 3, shop 5', 'the pool has eight connections');
	ok(lg_define($boss, 'bouncer' => { %making_room, applications => undef, connections_above => '0.1', connections_until => '0.01', keep => 2 }), 'a policy');
	ok($boss->poll($held, 'desk 2, shop 2'), 'two of each program are kept') or diag $boss->query($held);
	settled();
	is(scalar victims('bouncer'), 4, 'four had to go');
	lg_drop($boss);
	is(join(',', map { $_->query('SELECT 1') } @shop, @desk), join(',', (1) x 8), 'no client notices');
	$_->close foreach @shop, @desk;
	$bouncer->stop;
	becomes(1);
}

# -------------------------------------------------------------------- a full server
@parked = map { client('app') } 1 .. $usable - 1;
my @admins = map { LgSession->new($node) } 1 .. 3;
my $reader = $admins[2];
is($reader->query('SELECT used = max_connections FROM lifeguard.connections'), 't', 'every slot is taken');
my $refused_at = $reader->query('SELECT clock_timestamp()');
is(LgSession->new($node, refused_ok => 1)->{refused}{message}, 'sorry, too many clients already', "a superuser's too");
ok($reader->poll("SELECT count(*) > 0 FROM lifeguard.saturation_snapshots WHERE reason = 'refusal' AND at > '$refused_at'"), 'who is refused wakes the collector');
is($reader->query("SELECT sum(total), sum(total) FILTER (WHERE application_name = 'app') FROM lifeguard.saturation_snapshots WHERE reason = 'refusal' AND at = (SELECT max(at) FROM lifeguard.saturation_snapshots)"),
	$usable + 3 . '|' . ($usable - 1), 'who has the slots is told');
lg_configure($reader, 'pg_lifeguard.sample_interval' => '200ms');
my $until = time + ($ENV{LG_LONG} ? 180 : 1);
my $worst = '';
my $goes_on = 1;
while ($goes_on && time < $until)
{
	$worst ||= lg_view_errors($reader);
	$goes_on &&= lg_passes($reader, 3);
	LgSession->new($node, user => 'clerk', refused_ok => 1)->close;
}
is($worst, '', 'who came last reads every view');
ok($goes_on, 'the collector makes its passes');
is(lg_status($reader, 'late_passes, keeper_problem'), '0|', 'in time');
ok(lg_define($reader, 'full' => { %making_room, applications => ['app'] }), 'a policy, made now');
ok($reader->poll('SELECT used FROM lifeguard.connections', '44'), 'makes room');
ok($reader->poll("SELECT count(*) FROM lifeguard.ledger WHERE policy = 'full' AND outcome LIKE 'terminated%'", $usable + 3 - 44), 'the ledger tells of each');
my $welcome = client('newcomer');
is($welcome->query('SELECT 1'), '1', 'who comes now gets in');

$_->close foreach $welcome, @parked, @admins, $boss;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
