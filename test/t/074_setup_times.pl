# How long connections take to be ready and how many there are: against the
# clients' own count and clock, at full speed; slow log-ins of known length; who is
# not counted; lives; bounds; who sees what; reset and crash.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('setup_times',
	init => { allows_streaming => 1 },
	conf => <<'END');
listen_addresses = '127.0.0.1'
log_min_messages = fatal
max_wal_senders = 5
END
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN; CREATE ROLE reader LOGIN IN ROLE pg_read_all_stats');
$node->safe_psql('postgres', 'CREATE DATABASE narrow CONNECTION LIMIT 0');
my $session = LgSession->new($node, parameters => { application_name => 'eye' });

sub named { return (parameters => { application_name => $_[0] }); }

# A column, or several, of the row of an application.
sub of
{
	my ($application, $columns) = @_;
	return $session->query("SELECT $columns FROM lifeguard.setup_times WHERE application_name = '$application'");
}

sub share_of
{
	my ($share, @times) = @_;
	return (sort { $a <=> $b } @times)[ POSIX::ceil($share * @times) - 1 ];
}

# --- as many as the machine gives, from several processes: each counts its own
my ($clients, $each) = (4, $ENV{LG_LONG} ? 10_000 : 500);
my $start = time;
my @files;
foreach my $client (1 .. $clients)
{
	push @files, PostgreSQL::Test::Utils::tempdir . "/storm$client";
	next if fork;
	my (@took, @shared);
	for (1 .. $each)
	{
		my $began = time;
		my $one = LgSession->new($node, refused_ok => 1, named($_ % 5 ? "storm$client" : 'storm'));
		push @{ $_ % 5 ? \@took : \@shared }, time - $began unless $one->{refused};
		$one->close;
	}
	append_to_file($files[-1], join "\n", @took);
	append_to_file("$files[-1].shared", join "\n", @shared);
	POSIX::_exit(0);
}
1 while wait > 0;
my $storm_time = time - $start;
my (@all, @shared);
foreach my $client (1 .. $clients)
{
	my @took = split /\n/, slurp_file($files[ $client - 1 ]);

	cmp_ok(scalar @took, '>', $each / 2, "most of client $client came in");
	ok($session->poll("SELECT ended FROM lifeguard.setup_times WHERE application_name = 'storm$client'", scalar @took),
		"client $client: all ends counted");
	is(of("storm$client", 'connections'), scalar @took, "client $client: all connections counted");
	# the server's clock starts later and stops earlier, its buckets may add a quarter
	foreach my $share (0.5, 0.95, 0.99)
	{
		my $p = 'p' . 100 * $share;
		my ($ours) = of("storm$client", "EXTRACT(epoch FROM $p)");
		cmp_ok($ours, '<=', share_of($share, @took) * 1.25, "client $client: $p is not more than the client's own");
		cmp_ok($ours, '>', 0, "client $client: $p");
	}
	cmp_ok(of("storm$client", 'EXTRACT(epoch FROM max)'), '<=', share_of(1, @took), "client $client: max");
	is(of("storm$client", 'p50 <= p95 AND p95 <= p99 AND p99 <= max'), 't', "client $client: in order");
	cmp_ok(of("storm$client", 'EXTRACT(epoch FROM average_life)'), '<', $storm_time, "client $client: lives");
	push @all, @took;
	push @shared, split /\n/, slurp_file("$files[$client - 1].shared");
}
ok($session->poll("SELECT connections, ended FROM lifeguard.setup_times WHERE application_name = 'storm'", @shared . '|' . @shared),
	'one name for all: all counted');
push @all, @shared;
note sprintf '%d connections in %.1f s: %.0f per second; median %.2f ms for the client, %s for the server',
  scalar @all, $storm_time, @all / $storm_time, 1000 * share_of(0.5, @all), of('storm1', 'p50');

# --- the rate is what was counted over the time that it was counted in
is($session->query('SELECT lifeguard.reset()'), '', 'a reset');
my $began = time;
for (1 .. 30)
{
	LgSession->new($node, named('brisk'))->close;
}
usleep(50_000) while time < $began + 2;
is( $session->query(<<'END'), 't', 'connections per second');
SELECT per_second * EXTRACT(epoch FROM clock_timestamp() - reset_at) >= 29.5
	AND per_second * EXTRACT(epoch FROM statement_timestamp() - reset_at) <= 30.5
FROM lifeguard.setup_times, lifeguard.status WHERE application_name = 'brisk'
END

# --- log-ins of known length: three seconds, and some that are quick
my $slow_began = time;
my @slow = map {
	LgSession->new($node, begin_only => 1,
		parameters => { application_name => 'slow', options => '-c post_auth_delay=3' })
} 1 .. 5;
my $quick_began = time;
my @quick = map { LgSession->new($node, named('slow')) } 1 .. 15;
my $quick_took = time - $quick_began;
is(of('slow', 'connections'), '15', 'those that are not ready yet are not counted');
$_->answer foreach @slow;
my $slow_took = time - $slow_began;
is(of('slow', 'connections'), '20', 'all are ready');
my ($p50, $p95, $p99, $max) = split /\|/,
  of('slow', join ', ', map { "EXTRACT(epoch FROM $_)" } qw(p50 p95 p99 max));
cmp_ok($p50, '<=', $quick_took * 1.25, 'the median is of a quick one');
foreach ([ p95 => $p95 ], [ p99 => $p99 ])
{
	cmp_ok($_->[1], '>=', 3 / 1.25, "$_->[0] is of a slow one");
	cmp_ok($_->[1], '<=', $slow_took * 1.25, "$_->[0]: no longer than the client waited");
}
cmp_ok($max, '>=', 3, 'max: the delay is in it');
cmp_ok($max, '<=', $slow_took, 'max: no longer than the client waited');
is( $session->query(<<'END'), '5|t|t', 'the histogram of the whole server has them');
SELECT max(h.connections) - max(h.connections) FILTER (WHERE upper_bound <= 2.1),
	max(h.connections) = (SELECT sum(s.connections) FROM lifeguard.setup_times s),
	min(total_seconds) > 5 AND min(total_seconds) = max(total_seconds)
FROM lifeguard.read_setup_histogram() h
END
is( $session->query(<<'END'), '13|0.001|Infinity|t', 'its bounds');
SELECT count(*), min(upper_bound), max(upper_bound), bool_and(connections >= before)
FROM (SELECT *, lag(connections, 1, 0::bigint) OVER (ORDER BY upper_bound) AS before
	FROM lifeguard.read_setup_histogram()) h
END
$_->close foreach (@slow, @quick);

# --- lives
$began = time;
my @lives = map { LgSession->new($node, named('short')) } 1 .. 3;
ok($lives[0]->poll("SELECT clock_timestamp() - backend_start > '0.5 s' FROM pg_stat_activity WHERE pid = pg_backend_pid()"),
	'half a second');
is(of('short', 'ended, average_life IS NULL'), '0|t', 'they live');
my $least = 0;
foreach (@lives)
{
	$least += $_->query('SELECT EXTRACT(epoch FROM clock_timestamp() - backend_start) FROM pg_stat_activity WHERE pid = pg_backend_pid()') / 3;
	$_->close;
}
ok($session->poll("SELECT ended FROM lifeguard.setup_times WHERE application_name = 'short'", 3), 'they ended');
my $life = of('short', 'EXTRACT(epoch FROM average_life)');
cmp_ok($life, '>=', $least - 0.001, "they lived for $least s");
cmp_ok($life, '<=', time - $began, 'and no longer than that took');
is(of('short', 'connections, ended'), '3|3', 'each once');

# --- who is not counted: who fails to log in, walsenders, workers
my $counted = 'SELECT sum(connections), sum(ended) FROM lifeguard.setup_times';
ok($session->poll('SELECT sum(connections) = sum(ended) FROM lifeguard.setup_times'), 'all have gone that came since the reset');
my $before = $session->query($counted);
foreach ([ user => 'stranger' ], [ dbname => 'nowhere' ], [ user => 'nobody', dbname => 'narrow' ])
{
	ok(LgSession->new($node, refused_ok => 1, named('failed'), @$_)->{refused}, "@$_: turned away");
}
my $hung_up = LgSession->new($node, begin_only => 1,
	parameters => { application_name => 'failed', options => '-c post_auth_delay=1' });
$hung_up->close;    # the server will come to know only when it is ready, which counts
foreach my $replication (qw(true database))
{
	my $walsender = LgSession->new($node, parameters => { application_name => 'failed', replication => $replication });
	like($walsender->query('IDENTIFY_SYSTEM'), qr/^\d+\|/, "a walsender: $replication");
	$walsender->close;
}
ok($session->poll("SELECT connections, ended FROM lifeguard.setup_times WHERE application_name = 'failed'", '1|1'),
	'only that one was ready whose client had left');
is($session->query($counted), join('|', map { $_ + 1 } split /\|/, $before), 'nobody else is counted');

# --- the name is that of the startup packet, the address the client's
my @local = map { LgSession->new($node, named('traveller')) } 1 .. 2;
my $remote = LgSession->new($node, host => '127.0.0.1', named('traveller'));
$remote->query("SET application_name = 'disguised'");
is( $session->query(<<'END'), '|2,127.0.0.1|1', 'a row for each address');
SELECT string_agg(concat_ws('|', COALESCE(host(client_addr), ''), connections), ',' ORDER BY connections DESC)
FROM lifeguard.setup_times WHERE application_name IN ('traveller', 'disguised')
END
my $nobody = LgSession->new($node, user => 'nobody', named('humble'));
my $reader = LgSession->new($node, user => 'reader', named('humble'));
my $addresses = "SELECT count(*), count(client_addr), sum(connections) FROM lifeguard.setup_times WHERE application_name = 'traveller'";
is($nobody->query($addresses), '2|0|3', 'who may not see all has the rows without addresses');
is($reader->query($addresses), '2|1|3', 'pg_read_all_stats has them');
is($nobody->error_of('SELECT lifeguard.reset()')->{sqlstate}, '42501', 'and only some may reset');
$_->close foreach (@local, $nobody, $reader);

# --- a client without a name; more names than there is room for
my $nameless = LgSession->new($node, parameters => { application_name => '' });
is(of('', 'connections'), '1', 'no name');
$nameless->close;
my ($groups, $had) = split /\|/, $session->query('SELECT count(*), sum(connections) FROM lifeguard.setup_times');
cmp_ok($groups, '<', 64, 'there is room yet');
LgSession->new($node, named("crowd$_"))->close foreach 1 .. 80;
LgSession->new($node, named('crowd1'))->close;
is( $session->query('SELECT count(*), sum(connections), count(*) FILTER (WHERE application_name IS NULL) FROM lifeguard.setup_times'),
	join('|', 65, $had + 81, 1), 'those beyond have one row, and none is lost');
is( $session->query('SELECT connections FROM lifeguard.setup_times WHERE application_name IS NULL'),
	80 - (64 - $groups), 'as many as there was no room for');
is(of('crowd1', 'connections'), '2', 'who has a row keeps it');
is($session->query('SELECT bool_and(connections <= before) FROM (SELECT connections, lag(connections, 1, connections) OVER () AS before FROM lifeguard.setup_times) s'),
	't', 'most first');

# --- reset: all begins anew, with room for other names
ok($session->poll('SELECT sum(connections) - sum(ended) = 1 FROM lifeguard.setup_times'), 'all have gone but one');
$session->query('SELECT lifeguard.reset()');
is($session->query('SELECT count(*) FROM lifeguard.setup_times'), '0', 'nothing after a reset');
is($session->query('SELECT max(connections), max(total_seconds) FROM lifeguard.read_setup_histogram()'), '0|0', 'nor in the histogram');
$remote->close;
ok($session->poll("SELECT host(client_addr), connections, p50 IS NULL, max IS NULL, ended FROM lifeguard.setup_times", '127.0.0.1|0|t|t|1'),
	'who ends after it ends all the same');
LgSession->new($node, named('fresh'))->close;
is(of('fresh', 'connections'), '1', 'a new name has a row');
LgSession->new($node, named('slow'))->close;
is($session->query('SELECT max(h.total_seconds) - 0.001 < (SELECT sum(s.connections * EXTRACT(epoch FROM s.max)) FROM lifeguard.setup_times s) FROM lifeguard.read_setup_histogram() h'),
	't', 'what it took before is forgotten');

# --- resets while connections come: each is counted once, before or after one
my $storm = fork // die "cannot fork: $!\n";
if (!$storm)
{
	LgSession->new($node, named('reset' . $_ % 7))->close for 1 .. 300;
	POSIX::_exit(0);
}
my $resets = 0;
while (waitpid($storm, POSIX::WNOHANG()) == 0)
{
	$session->query('SELECT lifeguard.reset()');
	$resets++;
}
note "$resets resets";
$session->query('SELECT lifeguard.reset()');
LgSession->new($node, named('reset' . $_ % 7))->close for 1 .. 70;
ok($session->poll("SELECT count(*) FILTER (WHERE connections = 10), sum(connections) FROM lifeguard.setup_times WHERE application_name LIKE 'reset_'", '7|70'),
	'no group is left broken');

# --- a minute later
if ($ENV{LG_LONG})
{
	ok($session->poll("SELECT bool_and(per_second = 0 AND connections > 0) FROM lifeguard.setup_times WHERE application_name LIKE 'reset_'"),
		'the rate is of the last minute');
}

# --- a crash
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$session->query('SELECT pg_reload_conf()');
my $victim = LgSession->new($node, named('victim'));
kill KILL => $victim->pid;
$_->answer foreach ($victim, $session);
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is back');
$session = LgSession->new($node, named('survivor'));
is( $session->query("SELECT count(*) FROM lifeguard.setup_times WHERE application_name ~ '^(reset|victim|fresh)'"),
	'0', 'after a crash nothing is left');
is(of('survivor', 'connections, ended'), '1|0', 'and it counts again');
is(lg_view_errors($session), '', 'every view answers');

$session->close;
$node->stop;
is(lg_log_complaints($node, allow => qr/terminated by signal 9|terminating connection because of crash/),
	'', 'nothing bad in the log');

done_testing();
