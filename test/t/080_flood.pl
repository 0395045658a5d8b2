# A flood of refusals: each one is counted, and nothing grows by it.
#
# 20,000 in a row.  With LG_LONG 100,000, and on one server of a run, the machine's
# own, two million; these are at a low priority, beside which other tests keep
# their time.

use strict;
use warnings;
no warnings 'portable';    # addresses are wider than 32 bits

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use LgUnit;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $once = $ENV{LG_LONG} && ($ENV{LG_LEG} // '') !~ /^(?:17|18|19|assert)$/;
my $many = $once ? 2_000_000 : $ENV{LG_LONG} ? 100_000 : 20_000;
my $turns = 10;
my $limit = $once ? 3000 : $PostgreSQL::Test::Utils::timeout_default;    # seconds, of each turn
my $knock = PostgreSQL::Test::Utils::tempdir . '/knock';

$ENV{ASAN_OPTIONS} = 'detect_leaks=0';
build_program($knock, 'bench/knock.c');
POSIX::nice(10) if $once;

# Every slot is taken, the superusers' too; the eye has the last.
my $node = lg_server('flood', conf => <<'END');
max_connections = 20
superuser_reserved_connections = 2
log_statement = none
END
$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN');
my @crowd = map { LgSession->new($node, user => 'clerk') } 1 .. 18;
push @crowd, LgSession->new($node);
my $eye = LgSession->new($node, parameters => { application_name => 'eye' });
ok($eye->poll('SELECT used = max_connections FROM lifeguard.connections', 't'), 'every slot is taken');

my $collector = lg_status($eye, 'collector_pid');
my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

# What a process has to itself, and what it shares with others, in kB.
sub memory
{
	my ($pid) = @_;
	my ($own) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	my $maps = slurp_file("/proc/$pid/maps");
	my $shared = 0;

	$shared += hex($2) - hex($1) while $maps =~ /^([0-9a-f]+)-([0-9a-f]+) ...s /mg;
	return ($own, $shared / 1024);
}

# So many attempts by eight processes; how many of them were refused.
my $all = 0;
sub flood
{
	my ($attempts) = @_;
	my ($status, $said) = run_quietly($knock, 8, $limit, $attempts, $node->host . '/.s.PGSQL.' . $node->port, 'clerk', 'postgres');
	my ($made, $refused, $others, $seconds) = split ' ', $said;

	is("$status $made $others", "0 $attempts 0", sprintf '%d were turned away, %.0f per second', $refused, $refused / $seconds)
	  or die "$said\n";
	$all += $refused;
	return $refused;
}

my $counted = 'SELECT sum(refusals) FROM lifeguard.refusal_counts';
flood($many / 20);
is($eye->query($counted), $all, 'counted, before their clients hear of it');
my $see = -e "/proc/$postmaster/status";
my @before = $see ? (memory($collector), memory($postmaster)) : ();
my $began = time;
foreach my $turn (1 .. $turns)
{
	flood($many / $turns);
	is($eye->query($counted), $all, "$turn: the counters say what the clients have heard");
	note("after $all, kB: collector, shared, postmaster, shared: ", join ' ', memory($collector), memory($postmaster)) if $see;
}
note sprintf '%d in %.0f s', $all, time - $began;
cmp_ok($all, '>=', $many, "$all in all");

$eye->query('SELECT lifeguard.run_pass()');
is($eye->query($counted . " WHERE cause = 'slots'"), $all, 'for want of slots');
is($eye->query('SELECT sum(attempts) FROM lifeguard.refusals'), $all, 'rows stand for them all');
is($eye->query('SELECT sum(refusals) FROM lifeguard.connection_history'), $all, 'minutes, too');
ok($eye->poll('SELECT sum(refusals) FROM lifeguard.incidents', $all), 'and incidents');
is(lg_status($eye, 'collector_starts, records_lost, keeper_failures'), '1|0|0', 'one collector, and nothing lost');
is(lg_status($eye, 'collector_pid'), $collector, 'which is the same');
is(lg_view_errors($eye), '', 'every view answers');
SKIP:
{
	skip 'no /proc here', 4 unless $see;
	my @after = (memory($collector), memory($postmaster));

	cmp_ok($after[0] - $before[0], '<', 512, "the collector has not grown: $before[0] kB, $after[0] kB");
	cmp_ok($after[2] - $before[2], '<', 256, "nor has the postmaster: $before[2] kB, $after[2] kB");
	is($after[1], $before[1], "memory that the collector shares is what it was: $after[1] kB");
	is($after[3], $before[3], "the postmaster's, too: $after[3] kB");
}
$_->close foreach @crowd, $eye;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
