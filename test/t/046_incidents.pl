# Incidents: one row for a stretch of trouble, true to what the clients know,
# over when it has been well for 30 s.  Several servers have their trouble at the
# same time, so that this is waited for once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $tags = q{/*application='till app',route='%2Fpay'*/};
my $update = "UPDATE till SET sum = sum + 1 WHERE id = 1 $tags";

# A server with a table to queue for: { node, eye }.
sub server
{
	my ($name, $conf) = @_;
	my $node = lg_server($name, conf => $conf // '');
	my $eye = LgSession->new($node, parameters => { application_name => 'eye' });

	$eye->query('CREATE TABLE till (id int PRIMARY KEY, sum int); INSERT INTO till VALUES (1, 0), (2, 0)');
	$eye->query('CREATE ROLE clerk LOGIN');
	return { name => $name, node => $node, eye => $eye };
}

# A session that holds the row and does nothing.
sub hold
{
	my ($on) = @_;
	my $holder = LgSession->new($on->{node}, parameters => { application_name => 'holder' });

	$holder->query('BEGIN');
	$holder->query($update);
	return $holder;
}

# Have these sessions, and new ones until there are so many, wait for that row, one by one.
sub queue
{
	my ($on, $n, @old) = @_;
	my @waiters;

	foreach (1 .. $n)
	{
		push @waiters, shift(@old) // LgSession->new($on->{node});
		$waiters[-1]->send('UPDATE till SET sum = sum + 1 WHERE id = 1');
		lg_waits($on->{eye}, $waiters[-1]) or die "does not wait\n";
	}
	return @waiters;
}

# When so many waited, as the server's own lock table has it.
sub reached
{
	my ($on, $n) = @_;
	return $on->{eye}->query("SELECT waitstart FROM pg_locks WHERE NOT granted ORDER BY waitstart OFFSET $n - 1 LIMIT 1");
}

sub clock { return $_[0]->{eye}->query('SELECT clock_timestamp()'); }

# All get their answer, whatever it is; when.
sub answered
{
	my ($on, @waiters) = @_;

	foreach my $waiter (@waiters)
	{
		$waiter->answer or die "a waiter still waits\n";
	}
	return clock($on);
}

sub going_on
{
	my ($on, $what) = @_;
	return $on->{eye}->poll("SELECT count(*) FROM lifeguard.incidents WHERE until IS NULL AND $what", '1');
}

sub incident
{
	my ($on, $columns, $where) = @_;
	$where //= 'true';
	return $on->{eye}->query("SELECT $columns FROM lifeguard.incidents WHERE $where ORDER BY since");
}

# It was bad last when its waiters were let go, as far as passes tell: each 100 ms,
# with a second for a slow machine.
sub ended_between
{
	my ($on, $from, $to, $name) = @_;
	is(incident($on, "until BETWEEN timestamptz '$from' - interval '1.1 s' AND '$to'"), 't', $name)
	  or diag incident($on, 'since, until') . ", not $from to $to";
	return;
}

my @all = map { server(@$_) } (
	['hand'],
	['policy'],
	['itself'],
	['full', "max_connections = 20\nsuperuser_reserved_connections = 3\n"],
	['fallen', "pg_lifeguard.sample_interval = 200ms\nrestart_after_crash = on\n"]);
my ($hand, $policy, $itself, $full, $fallen) = @all;

# --- what is below the bounds is none
my $holder = hold($itself);
my @waiters = queue($itself, 4);
ok(lg_passes($itself->{eye}, 5), 'four wait through some passes');
is(incident($itself, '*'), '', 'which is no incident');

# --- one more is; the row is there while it goes on
push @waiters, queue($itself, 1);
$itself->{since} = reached($itself, 5);
push @waiters, queue($itself, 3);
ok(going_on($itself, 'worst_waiters = 8'), 'eight are one');
is(incident($itself, "since = '$itself->{since}', causes, worst_used, usable, refusals, sessions_hurt, ended_by, recorded_on"),
	't|{waiters}|10|27|0|8||primary', 'since the moment when the fifth began to wait');
is(incident($itself, "worst_at >= (SELECT max(waitstart) FROM pg_locks) AND worst_at <= clock_timestamp()"),
	't', 'worst when the eighth had come');
is( incident($itself, 'root_pid, root_usename, root_datname, root_application_name, root_client_addr, root_state, root_query, root_query_tags, relation_name'),
	join('|', $holder->pid, scalar getpwuid($<), 'postgres', 'holder', '', 'idle in transaction', $update, $tags =~ s{^..|..$}{}gr, 'public.till'),
	'its first cause');
is(incident($itself, "root_backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = ${\$holder->pid})"),
	't', 'since when that had been there');

# --- another collector goes on with it
my $collector = lg_status($itself->{eye}, 'collector_pid');
$itself->{eye}->query("SELECT pg_terminate_backend($collector)");
ok(lg_collector_again($itself->{eye}, $collector), 'a new collector');
ok(going_on($itself, "since = '$itself->{since}'"), 'the incident goes on');

# --- another pile 5 s later belongs to it, and who waits again is not hurt twice
$holder->query('ROLLBACK');
my $calm = answered($itself, @waiters);
sleep 5;
my $other = hold($itself);
@waiters = (queue($itself, 8, @waiters[0 .. 3]), @waiters[4 .. 7]);
ok(going_on($itself, 'sessions_hurt = 12'), 'four new ones are hurt, in the same incident');
is(incident($itself, 'count(*) OVER (), root_pid'), '1|' . $holder->pid, 'and its first cause is still the first');

# --- it is bad as long as half of the bound wait, and well below that
$itself->{eye}->query('SELECT pg_cancel_backend(' . $_->pid . ')') foreach @waiters[0 .. 4];
answered($itself, @waiters[0 .. 4]);
my $three = clock($itself);
sleep 2.5;
ok(going_on($itself, "sessions_hurt = 12"), 'three wait');
$itself->{from} = clock($itself);
$itself->{eye}->query('SELECT pg_cancel_backend(' . $waiters[5]->pid . ')');
$itself->{to} = answered($itself, $waiters[5]);
$itself->{waiters} = [@waiters[6, 7]];
$itself->{holder} = $other;

# --- ended by hand
$hand->{holder} = hold($hand);
$hand->{waiters} = [queue($hand, 6)];
$hand->{since} = reached($hand, 5);
ok(going_on($hand, 'worst_waiters = 6'), 'one to be ended by hand');
sleep 1;
$hand->{from} = clock($hand);
my $lost = $hand->{eye}->query("SELECT sum(extract(epoch FROM '$hand->{from}' - greatest(waitstart, '$hand->{since}'))) FROM pg_locks WHERE NOT granted");
$hand->{eye}->query("SELECT lifeguard.terminate_session(${\$hand->{holder}->pid}, 'stands in the way')");
$hand->{to} = answered($hand, @{ $hand->{waiters} });

# --- ended by a policy
ok(lg_define($policy->{eye}, holder => { target => 'blocker', min_blocked => 7, include_superusers => 'true' }),
	'a policy that ends who blocks seven');
$policy->{holder} = hold($policy);
$policy->{waiters} = [queue($policy, 6)];
$policy->{since} = reached($policy, 5);
ok(going_on($policy, 'worst_waiters = 6'), 'one to be ended by a policy');
$policy->{from} = clock($policy);
my $last = LgSession->new($policy->{node})->send('UPDATE till SET sum = sum + 1 WHERE id = 1');
$policy->{to} = answered($policy, @{ $policy->{waiters} }, $last);
is(lg_outcome($policy->{eye}, 'holder', $policy->{holder}->pid), 'terminated in N ms', 'the policy has acted');

# --- few slots left, and nobody waits
my @crowd = map { LgSession->new($full->{node}) } 1 .. 14;
ok(lg_passes($full->{eye}, 3), '15 of 17 slots are taken');
is(incident($full, '*'), '', 'which is no incident');
$full->{from} = clock($full);
push @crowd, LgSession->new($full->{node});
ok(going_on($full, 'worst_used = 16'), '16 are one');
is(incident($full, "since BETWEEN '$full->{from}' AND clock_timestamp(), worst_at = since, causes, worst_waiters, usable, sessions_hurt, seconds_lost, root_pid, root_query, relation_name"),
	't|t|{saturation}|0|17|0|0.000000|||', 'without a root');
(pop @crowd)->close;
ok($full->{eye}->poll('SELECT used = 15 FROM lifeguard.status'), '15 again');
my $fifteen = clock($full);
ok(lg_passes($full->{eye}, 4), 'and is so through some passes');
is(incident($full, "until"), '', 'it goes on');
$full->{from} = clock($full);
(pop @crowd)->close;
ok($full->{eye}->poll('SELECT used = 14 FROM lifeguard.status'), '14 are taken');
$full->{to} = clock($full);
cmp_ok($full->{eye}->query("SELECT '$full->{from}'::timestamptz - '$fifteen' > '2 s'"), 'eq', 't',
	'which was for longer than the precision of what follows');

# --- the server's end is an incident's end, as far as anybody knows
my $fell = hold($fallen);
my @lost = queue($fallen, 5);
ok(going_on($fallen, 'worst_waiters = 5'), 'an incident, and the server is stopped');
sleep 2;
my $stop = clock($fallen);
$fallen->{node}->restart;
$fallen->{eye} = LgSession->new($fallen->{node}, parameters => { application_name => 'eye' });
is(incident($fallen, "count(*) OVER (), until BETWEEN timestamptz '$stop' - interval '2 s' AND pg_postmaster_start_time(), worst_waiters, ended_by"),
	'1|t|5|', 'it is in the history and does not go on');
is($fallen->{eye}->query("SELECT count(*) FROM lifeguard.incident_at(now())"), '0', 'nor does it hold now');

# --- a crash: what was there a second before is there after it
$fell = hold($fallen);
@lost = queue($fallen, 5);
my $fell_since = reached($fallen, 5);
ok(going_on($fallen, 'worst_waiters = 5'), 'an incident');
sleep 5; # the record changes once a second, and two keepers may lie between
my $crash = clock($fallen);
kill KILL => $lost[0]->pid;
ok($lost[1]->answer->{error}, 'a crash');
$fallen->{node}->poll_query_until('postgres', 'SELECT true') or die "the server does not come back\n";
$fallen->{eye} = LgSession->new($fallen->{node}, parameters => { application_name => 'eye' });
is(incident($fallen, "since - timestamptz '$fell_since' BETWEEN interval '0' AND interval '0.2 s', until BETWEEN timestamptz '$crash' - interval '4 s' AND timestamptz '$crash' + interval '1 s', worst_waiters, sessions_hurt, root_pid, relation_name, ended_by", "since > '$stop'"),
	't|t|5|5|' . $fell->pid . '|public.till|', 'it is in the history, to its last seconds, and does not go on');
is(incident($fallen, 'count(*) OVER ()', "since < '$crash'"), "2\n2", 'beside the one before');
is( LgSession->new($fallen->{node}, user => 'clerk')->query('SELECT root_pid, root_usename, relation_name, root_backend_start, root_client_addr, root_state, root_query_id, root_query, root_query_tags FROM lifeguard.incidents ORDER BY since DESC LIMIT 1'),
	join('|', $fell->pid, scalar getpwuid($<), 'public.till', '', '', '', '', '<insufficient privilege>', ''),
	'where an ordinary role sees no statement of others either');

# --- seen by a single pass, it has lasted for an interval
lg_configure($fallen->{eye}, 'pg_lifeguard.sample_interval' => 0);
ok($fallen->{eye}->poll("SELECT sample_interval = '0' FROM lifeguard.status"), 'passes only when asked');

# the root of a moment ago has begun another transaction, and no pass saw it without waiters
$fell = LgSession->new($fallen->{node}, parameters => { application_name => 'holder' });
$fell->query('CREATE TABLE aside ()');
$fell->query('BEGIN; LOCK TABLE aside');
my $aside = LgSession->new($fallen->{node})->send('TABLE aside');
ok(lg_waits($fallen->{eye}, $aside), 'one waits, which is no incident');
lg_run_pass($fallen->{eye});
$fell->query('COMMIT');
answered($fallen, $aside);
$fell->query('BEGIN');
$fell->query($update);
@lost = queue($fallen, 5);
$fallen->{since} = reached($fallen, 5);
lg_run_pass($fallen->{eye});
$fell->query('ROLLBACK');
answered($fallen, @lost);
lg_run_pass($fallen->{eye});
my $burst = "since > '$crash'";
is(incident($fallen, "since - timestamptz '$fallen->{since}' BETWEEN interval '0' AND interval '0.2 s', until", $burst), 't|', 'a burst in a single pass');
is(incident($fallen, 'root_pid, root_query, relation_name', $burst), join('|', $fell->pid, $update, 'public.till'),
	'its first cause is what the root did then, not before');

# --- 30 s later all are over
ok($_->{eye}->poll('SELECT bool_and(until IS NOT NULL) FROM lifeguard.incidents'), "$_->{name}: over")
  foreach ($hand, $policy, $itself, $full);
foreach my $on ($hand, $policy, $itself, $full)
{
	ended_between($on, $on->{from}, $on->{to}, "$on->{name}: until it was bad last");
	is(incident($on, "count(*) OVER (), clock_timestamp() - until > '29 s'"), '1|t',
		"$on->{name}: for which it has to be well for 30 s");
}
is(incident($hand, "since = '$hand->{since}', ended_by, root_pid"), 't|by hand|' . $hand->{holder}->pid, 'ended by hand');
is( incident($hand, "seconds_lost BETWEEN 0.9 * $lost AND 1.2 * $lost + 6 * extract(epoch FROM timestamptz '$hand->{to}' - '$hand->{from}')"),
	't', 'the seconds that six have waited') or diag incident($hand, 'seconds_lost') . ", not $lost";
is(incident($policy, "since = '$policy->{since}', ended_by, root_pid"), 't|policy|' . $policy->{holder}->pid,
	'ended by a policy');
is(incident($itself, "since = '$itself->{since}', ended_by, worst_waiters, sessions_hurt"), 't|by itself|8|12',
	'ended by itself, while two still wait');
is($itself->{eye}->query("SELECT count(*) FROM pg_locks WHERE NOT granted"), '2', 'they do');
is(incident($full, 'ended_by, worst_used'), 'by itself|16', 'some slots are free again');
ok($fallen->{eye}->poll("SELECT clock_timestamp() > timestamptz '$fallen->{since}' + interval '32 s'"), 'time goes by');
lg_run_pass($fallen->{eye});
is(incident($fallen, "until >= since + interval '100 ms', until < since + interval '30 s', ended_by", $burst), 't|t|by itself',
	'the burst has a length');

# --- a clean stop loses nothing: what has come since the record was written, up to a
# second before (of a long one a minute), is in the history, too
my $last_hold = hold($fallen);
@lost = queue($fallen, 5);
push @lost, LgSession->new($fallen->{node});
lg_run_pass($fallen->{eye});
$lost[-1]->send('UPDATE till SET sum = sum + 1 WHERE id = 1');
ok(lg_waits($fallen->{eye}, @lost), 'a sixth one waits');
sleep 0.2;    # what one pass sees lasts for 0.1 s in any case
my $tail = clock($fallen);
my $waited = $fallen->{eye}->query('SELECT sum(extract(epoch FROM clock_timestamp() - waitstart)) FROM pg_locks WHERE NOT granted');
lg_run_pass($fallen->{eye});
my $until = clock($fallen);
$fallen->{node}->restart;
$fallen->{eye} = LgSession->new($fallen->{node}, parameters => { application_name => 'eye' });
is( incident($fallen, "until BETWEEN '$tail' AND '$until', worst_at = until, worst_waiters, sessions_hurt, seconds_lost >= $waited, ended_by", "since > '$fallen->{since}'"),
	't|t|6|6|t|', 'a clean stop loses nothing of an incident') or diag incident($fallen, 'since, until, seconds_lost', "since > '$fallen->{since}'") . ", not $tail $waited";

# --- incident_at()
my $at = sub { return $itself->{eye}->query("SELECT count(*), max(root_pid) FROM lifeguard.incidents i, lifeguard.incident_at($_[0])" =~ s/max\(root_pid\)/max(incident_at.root_pid)/r); };
is($at->('i.since'), '1|' . $holder->pid, 'at its beginning');
is($at->("'$calm'"), '1|' . $holder->pid, 'between the piles, too');
is($at->('i.until'), '1|' . $holder->pid, 'at its end');
is($at->("i.since - interval '1 us'"), '0|', 'not before');
is($at->("i.until + interval '1 us'"), '0|', 'nor after');
is($at->('now()'), '0|', 'nor now');
is($at->('NULL'), '0|', 'nor at no moment');

# --- who may see what
my $clerk = LgSession->new($itself->{node}, user => 'clerk');
is( $clerk->query('SELECT worst_waiters, root_pid, root_usename, root_application_name, relation_name, root_backend_start, root_client_addr, root_state, root_query_id, root_query, root_query_tags FROM lifeguard.incidents'),
	join('|', 8, $holder->pid, scalar getpwuid($<), 'holder', 'public.till', '', '', '', '', '<insufficient privilege>', ''),
	'an ordinary role sees no statement of others');
is($clerk->error_of('TABLE lifeguard.incident_entries')->{message}, 'permission denied for table incident_entries',
	'nor the table');
is($clerk->query("SELECT root_query FROM lifeguard.incident_at('$calm')"), '<insufficient privilege>', 'nor otherwise');

foreach my $on (@all)
{
	is(lg_view_errors($on->{eye}), '', "$on->{name}: every view answers");
	$on->{eye}->close;
	$on->{node}->stop;
	is(lg_log_complaints($on->{node}, allow => qr/terminated by signal 9|because of crash of another server process/),
		'', "$on->{name}: nothing bad in the log");
}

done_testing();
