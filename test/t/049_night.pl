# A night by a script: piles of several kinds, short waits, a full pool, two
# policies at work.  What the histories tell of it is compared with what the
# clients themselves measured: nothing is missing, nothing is made up.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use Test::More;
use Time::HiRes qw(time usleep);

my $fast = 0.1;
my $late = 0.25;    # s that a busy machine takes to tell a client
my $node = lg_server('night', conf => <<'END');
max_connections = 60
jit = off
deadlock_timeout = 1h
pg_lifeguard.max_actions_per_minute = 0
END
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE ROLE clerk LOGIN;
GRANT pg_read_all_stats TO clerk;
CREATE TABLE cache (id int PRIMARY KEY, n int);
INSERT INTO cache SELECT g, 0 FROM generate_series(1, 20) g;
CREATE TABLE orders (id int);
GRANT ALL ON cache, orders TO clerk;
ALTER TABLE orders OWNER TO clerk;
GRANT CREATE ON SCHEMA public TO clerk
END
lg_define($boss,
	forgotten => { applications => ['forgotten'], min_duration => '1 s', min_blocked => 2, min_blocked_for => '1800 ms' },
	impatient => { applications => ['impatient'], target => 'waiter', min_duration => '1300 ms', action => 'cancel' }) or die;

# --- the script: what happens when, and what is expected of each wait
my @clients;
my @waits;    # { pid, from, until, relation, root, ended_by }

sub client
{
	my ($application) = @_;
	my $session = LgSession->new($node, user => 'clerk', parameters => { application_name => $application });
	push @clients, $session;
	return $session;
}

# A client sends what will have to wait.
my @waiting;
sub wait_with
{
	my ($session, $sql, %wait) = @_;
	my $began = time;
	$session->query('SELECT 1');
	my $idle = time - $began;    # what it costs to be asked
	push @waiting, { session => $session, from => time, pid => $session->pid, idle => $idle, %wait };
	$session->send($sql);
	return $session;
}

# Who holds what others want; in a transaction, idle unless told otherwise.
sub holder
{
	my ($application, $sql, $then) = @_;
	my $session = client($application);
	$session->query($_) foreach 'BEGIN', $sql;
	$session->send($then) if $then;
	return $session;
}

# A holder ends its transaction, and goes.
sub end_of
{
	my ($session) = @_;
	$session->query('COMMIT');
	$session->close;
	return;
}

my @script;
sub at
{
	my ($moment, $what) = @_;
	push @script, [ $moment, $what ];
	return;
}

# eight updates of one row, behind one who commits after 2.6 s
my $committer;
at(0.2, sub { $committer = holder('cart', 'UPDATE cache SET n = 1 WHERE id = 1') });
foreach my $i (1 .. 8)
{
	at(0.3 + $i / 50, sub { wait_with(client('shop'), "UPDATE cache SET n = n + 1 WHERE id = 1 /* $i */", relation => 'public.cache', root => $committer->pid, ended_by => 'granted') });
}
at(2.8, sub { end_of($committer) });

# an advisory lock, whose holder works
my $worker;
at(3.5, sub { $worker = holder('batch', 'SELECT pg_advisory_xact_lock(42)', 'SELECT pg_sleep(1.7)') });
foreach my $i (1 .. 3)
{
	at(3.6, sub { wait_with(client('job'), 'SELECT pg_advisory_lock_shared(42)', relation => '', root => $worker->pid, ended_by => 'granted') });
}
at(5.4, sub { $worker->answer; end_of($worker) });

# ALTER TABLE behind a reader, and others behind that
my $reader;
my $altering;
at(6, sub { $reader = holder('report', 'SELECT count(*) FROM orders') });
at(6.1, sub { $altering = wait_with(client('deploy'), 'ALTER TABLE orders ADD IF NOT EXISTS note text', relation => 'public.orders', root => $reader->pid, ended_by => 'granted') });
foreach my $i (1 .. 5)
{
	at(6.3 + $i / 100, sub { wait_with(client('shop'), 'SELECT count(*) FROM orders', relation => 'public.orders', root => $reader->pid, ended_by => 'granted') });
}
at(8.2, sub { end_of($reader) });

# one who has forgotten his transaction: the policy ends him
my $forgotten;
at(9, sub { $forgotten = holder('forgotten', 'UPDATE cache SET n = 1 WHERE id = 2') });
foreach my $i (1 .. 4)
{
	at(9.1 + $i / 50, sub { wait_with(client('shop'), 'UPDATE cache SET n = n + 1 WHERE id = 2', relation => 'public.cache', root => $forgotten->pid, ended_by => 'granted') });
}

# who does not wait to the end: by a policy, a timeout, by hand, by leaving
my $slow;
my ($cancelled, $killed);
at(12, sub { $slow = holder('slow', 'UPDATE cache SET n = 1 WHERE id > 16') });
at(12.1, sub { wait_with(client('impatient'), 'DELETE FROM cache WHERE id = 17', relation => 'public.cache', root => $slow->pid, ended_by => 'policy') });
at(12.1, sub {
		my $session = client('timed');
		$session->query("SET lock_timeout = '1400ms'");
		wait_with($session, 'SELECT * FROM cache WHERE id = 18 FOR UPDATE', relation => 'public.cache', root => $slow->pid, ended_by => 'lock timeout');
});
at(12.1, sub { $cancelled = wait_with(client('user'), 'UPDATE cache SET n = 5 WHERE id = 19', relation => 'public.cache', root => $slow->pid, ended_by => 'cancelled') });
at(12.1, sub { $killed = wait_with(client('leaver'), 'UPDATE cache SET n = 6 WHERE id = 20', relation => 'public.cache', root => $slow->pid, ended_by => 'gone') });
at(13.6, sub { $boss->query("SELECT pg_cancel_backend(${\$cancelled->pid})") });
at(13.7, sub { $boss->query("SELECT pg_terminate_backend(${\$killed->pid})") });
at(14, sub { end_of($slow) });

# short ones, which have no rows of their own, behind holders of 0.05 to 0.8 s
my $rounds = 0;
foreach my $round (1 .. 20)
{
	my ($short, $moment) = (undef, 14.5 + $round / 4);
	my $length = (0.05, 0.15, 0.3, 0.8)[ $round % 4 ];
	my $row = 4 + $round % 8;
	at($moment, sub { $short = holder('quick', "UPDATE cache SET n = 1 WHERE id = $row") });
	foreach my $i (1 .. 2)
	{
		at($moment + 0.01, sub { wait_with(client('short'), "UPDATE cache SET n = n + 1 WHERE id = $row") });
	}
	at($moment + $length, sub { end_of($short) });
}

# and a pool that is full
my @crowd;
at(20.5, sub {
		while (my $session = LgSession->new($node, user => 'clerk', refused_ok => 1, parameters => { application_name => 'crowd' }))
		{
			last if $session->{refused};
			push @crowd, $session;
		}
		# until a pass has seen it, however late that comes
		$boss->poll('SELECT s.used >= c.usable FROM lifeguard.status s, lifeguard.connections c');
});
at(22, sub { $_->close foreach @crowd });

# --- the night
sub hear
{
	foreach my $wait (@waiting)
	{
		my $answer = $wait->{session}->answer(0.0003) or next;
		$wait->{until} = time;
		push @waits, $wait;

		# whoever is done makes room, as an application's pool would
		$wait->{session}->close;
	}
	@waiting = grep { !$_->{until} } @waiting;
	return;
}
my $began = time;
foreach my $step (sort { $a->[0] <=> $b->[0] } @script)
{
	while (time < $began + $step->[0])
	{
		hear();
		usleep(1000);
	}
	$step->[1]->();
}
my $limit = time + $PostgreSQL::Test::Utils::timeout_default;
while (@waiting && time < $limit)
{
	hear();
	usleep(1000);
}
is(scalar @waiting, 0, 'everybody is done');
$_->close foreach grep { $_->{socket} } @clients;

# --- the morning
my @long = grep { $_->{until} - $_->{from} > 1.2 } @waits;
cmp_ok(scalar @long, '>=', 21, 'many waited for long');
$boss->poll('SELECT count(*) >= ' . @long . ' FROM lifeguard.lock_wait_history') or diag 'there are fewer';
my %seen;
foreach my $row (split /\n/, $boss->query("SELECT waiter_pid, extract(epoch FROM wait_start), extract(epoch FROM duration), coalesce(relation_name, ''), root_pid, ended_by, extract(epoch FROM precision), waiter_query FROM lifeguard.lock_wait_history ORDER BY wait_start"))
{
	my ($pid, $start, $duration, $relation, $root, $ended_by, $precision, $query) = split /\|/, $row;
	push @{ $seen{$pid} }, { start => $start, duration => $duration, relation => $relation, root => $root, ended_by => $ended_by, precision => $precision, query => $query };
}
my $invented = 0;
foreach my $wait (@waits)
{
	my $rows = delete $seen{ $wait->{pid} };
	my $measured = $wait->{until} - $wait->{from};
	my $name = sprintf '%s of %.3f s', $wait->{relation} || 'a wait', $measured;

	if (!$rows)
	{
		fail("$name is there") if $measured > 1.2 + $late;
		next;
	}

	# on a row, a waiter may first wait for its turn and then for the transaction: two waits
	my ($duration, $slack) = (0, 0);
	$duration += $_->{duration}, $slack += $_->{precision} foreach @$rows;
	$invented++ if $measured < 0.9;
	next if $measured <= 1.2;
	cmp_ok(abs($duration - $measured), '<', $fast + $late + $slack, "$name: its duration, $duration s");
	is($rows->[0]{relation}, $wait->{relation}, "$name: relation");
	is($rows->[0]{root}, $wait->{root}, "$name: root blocker");
	is($rows->[-1]{ended_by}, $wait->{ended_by}, "$name: end");
}
is($invented, 0, 'no wait is longer than it was');
is(join(',', keys %seen), '', 'nobody else has waited');

# seconds lost: what all clients measured, short waits and long ones, less what
# such a statement takes when nobody is in its way
my $truth = 0;
$truth += $_->{until} - $_->{from} - $_->{idle} foreach @waits;
my ($lost, $estimated) = split /\|/, $boss->query('SELECT sum(seconds_lost), sum(seconds_estimated) FROM lifeguard.contention');
note sprintf 'lost by the clients\' clocks %.2f s, by contention %.2f s, of which %.2f s estimated', $truth, $lost, $estimated;
cmp_ok(abs($lost - $truth) / $truth, '<', 0.05, 'seconds lost are within 5 %');

# what the policies did, and the idle transactions
is($boss->query("SELECT string_agg(policy || ' ' || split_part(outcome, ' ', 1), ', ' ORDER BY at) FROM lifeguard.ledger"), 'forgotten terminated, impatient cancelled', 'both policies have acted');
is($boss->query("SELECT string_agg(application_name || ' ' || ended_by, ', ' ORDER BY idle_start) FROM lifeguard.idle_transaction_history WHERE application_name <> 'quick' OR duration < '1 s'"),
	'cart end of transaction, report end of transaction, forgotten policy, slow end of transaction', 'who was idle in transaction, and how that ended');
my ($blocked) = $boss->query("SELECT blocked_seconds FROM lifeguard.idle_transaction_history WHERE application_name = 'forgotten'");
my $hurt = 0;
$hurt += $_->{until} - $_->{from} foreach grep { $_->{root} && $_->{root} == $forgotten->pid } @waits;
cmp_ok(abs($blocked - $hurt), '<', 4 * ($fast + $late), "what the forgotten one cost: $blocked s");

# trouble: the piles are one incident, for they follow each other within 30 s
$boss->poll("SELECT bool_and(until IS NOT NULL) FROM lifeguard.incidents") or diag 'an incident does not end';
my $incidents = $boss->query("SELECT count(*), bool_or('saturation' = ANY (causes)), max(worst_waiters), max(sessions_hurt) FROM lifeguard.incidents");
like($incidents, qr/^1\|t\|8\|\d+$/, 'one incident') or diag $incidents;
$boss->close;
$node->stop;
is(lg_log_complaints($node, allow => qr/sorry, too many clients|remaining connection slots|canceling statement|terminating connection/), '', 'nothing bad in the log');
done_testing();
