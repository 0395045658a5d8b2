# Who held the connections when the server was fullest, and when it turned somebody
# away: against pg_stat_activity at that moment; how often; bounds; who sees what;
# restarts; a standby.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('snapshots',
	init => { allows_streaming => 1 },
	conf => <<'END');
max_connections = 110
max_wal_senders = 3
listen_addresses = '127.0.0.1'
log_statement = none
authentication_timeout = 10min
pg_lifeguard.sample_interval = 0
pg_lifeguard.flush_interval = 100ms
END
my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
unlink $node->data_dir . '/pg_hba.conf';
append_to_file($node->data_dir . '/pg_hba.conf', "local all locked password\n$hba" . "host all all 127.0.0.0/8 trust\n");
$node->restart;

my $session;
my $snapshots = 'lifeguard.saturation_snapshots';
my $columns = 'datname, usename, application_name, client_addr, total, active, idle, idle_in_transaction';

sub ask { return $session->query(@_); }
sub one_pass { return ask('SELECT lifeguard.run_pass()'); }
sub client { my ($application, %options) = @_; return LgSession->new($node, user => 'clerk', parameters => { application_name => $application }, %options); }
sub taken { return $session->poll('SELECT used FROM lifeguard.connections', $_[0]); }

# When the newest one was, and the reason.
sub newest { return split /\|/, ask("SELECT max(at), (array_agg(reason ORDER BY at DESC))[1] FROM $snapshots"); }

# The seconds that have to lie between two of them are over.
sub a_second { usleep(1_050_000); return; }

# The newest one, and the same of pg_stat_activity now.
sub compare
{
	my ($name) = @_;
	my ($at) = newest();
	my $truth = ask(<<"END");
SELECT datname, usename, application_name, client_addr, count(*), count(*) FILTER (WHERE state = 'active'),
	count(*) FILTER (WHERE state = 'idle'), count(*) FILTER (WHERE state LIKE 'idle in%'),
	'$at'::timestamptz - min(state_change) FILTER (WHERE state = 'idle')
FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
END
	is(ask("SELECT $columns, oldest_idle FROM $snapshots WHERE at = '$at' AND datname IS NOT NULL ORDER BY 1, 2, 3, 4"), $truth, $name);
	return $at;
}

$session = LgSession->new($node, parameters => { application_name => 'eye' });
my $me = ask('SELECT current_user');
ask('CREATE ROLE clerk LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE auditor LOGIN IN ROLE pg_read_all_stats');
ask("CREATE ROLE locked LOGIN PASSWORD 'unknown'");
ask('CREATE DATABASE other');

# --- against pg_stat_activity, with everybody frozen
my %s = map { $_ => client('till') } qw(idle begun failed);
$s{begun}->query('BEGIN');
$s{failed}->query('BEGIN');
$s{failed}->error_of('SELECT 1/0');
$s{"sleeps $_"} = client('report')->send('SELECT pg_sleep(3600)') foreach 1 .. 2;
$s{"far $_"} = client('till', host => '127.0.0.1') foreach 1 .. 2;
$s{other} = client('till', dbname => 'other');
$s{nameless} = client('');
my $half_open = LgSession->new($node, user => 'locked', begin_only => 1);
$half_open->answer;
ok($session->poll("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", '2'), 'everybody is in place');
taken(11);
is(ask("SELECT count(*) FROM $snapshots"), '0', 'no pass, no snapshot');
one_pass();
my $at = compare('who holds the connections, as pg_stat_activity has it');
is(ask("SELECT DISTINCT at, reason, used, usable, recorded_on FROM $snapshots"), "$at|high water|11|" . ask('SELECT usable FROM lifeguard.connections') . '|primary', 'one snapshot');
is(ask("SELECT high_water, high_water_at FROM lifeguard.connections"), "11|$at", 'of the high-water mark');
is(ask("SELECT usename, application_name, client_addr, total, active, idle, idle_in_transaction, oldest_idle FROM $snapshots WHERE datname IS NULL"),
	'|||1|0|0|0|', 'who is still logging in has no name');
is(ask("SELECT sum(total) = used FROM $snapshots GROUP BY used"), 't', 'every slot is in it');
one_pass() foreach 1 .. 3;
is_deeply([newest()], [$at, 'high water'], 'no new mark, no new snapshot');
$half_open->close;
taken(10);

# --- at most once a second, and of each second the fullest
a_second();
my $began = time;
my @crowd;
while (time - $began < 2.5)
{
	push @crowd, client('crowd');
	one_pass();
	usleep(50_000);
}
my $elapsed = time - $began;
my $peak = ask('SELECT high_water FROM lifeguard.connections');
is($peak, 10 + @crowd, scalar(@crowd) . ' marks passed');
my $n = ask("SELECT count(DISTINCT at) FROM $snapshots WHERE at > '$at'");
cmp_ok($n, '<=', int($elapsed) + 1, sprintf('%d snapshots in %.1f s', $n, $elapsed));
cmp_ok($n, '>=', 2, 'but some');
my $before = ask('SELECT clock_timestamp()');
$_->close foreach splice @crowd, 1;
taken(11);
a_second();
one_pass();
is(ask("SELECT max(used), max(total) FILTER (WHERE application_name = 'crowd'), max(at) < '$before' FROM $snapshots"),
	"$peak|" . ($peak - 10) . '|t', 'the fullest moment is kept until it may be shown');
is(ask("SELECT count(DISTINCT at), count(DISTINCT at) FILTER (WHERE sum <> used) FROM (SELECT at, used, sum(total) FROM $snapshots GROUP BY 1, 2) s"),
	ask("SELECT count(DISTINCT at) FROM $snapshots") . '|0', 'all add up');
a_second();
my @seen = newest();
one_pass();
is_deeply([newest()], \@seen, 'once');

# --- reset(): marks count anew
ask('SELECT lifeguard.reset()');
one_pass();
$at = compare('after reset() the next pass sets a mark');
isnt($at, $seen[0], 'a new one');
is(ask("SELECT used FROM $snapshots WHERE at = '$at' LIMIT 1"), '11', 'lower than the old one');

# --- bounded: 72 groups
$_->close foreach @crowd, values %s;
ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'report'");
taken(1);
@crowd = ((map { client('big') } 1 .. 5), (map { client('middle', host => '127.0.0.1') } 1 .. 2), map { client("app $_") } 1 .. 70);
$_->query('BEGIN') foreach @crowd[7 .. 76];
taken(78);
a_second();
one_pass();
($at) = newest();
is(ask("SELECT count(*), count(DISTINCT application_name), sum(total), min(used) FROM $snapshots WHERE at = '$at'"), '65|64|78|78', '64 groups of 73, and one row for the rest');
is(ask("SELECT $columns, oldest_idle FROM $snapshots WHERE at = '$at' AND datname IS NULL"), '||||9|0|0|9|', 'the rest has states, and no names');
is(ask("SELECT application_name, total, oldest_idle > '0' FROM $snapshots WHERE at = '$at' AND total > 1 AND datname IS NOT NULL ORDER BY total DESC"),
	"big|5|t\nmiddle|2|t", 'the largest are in it');

# --- what the keeper writes, shown once, masked as in memory
ok($session->poll('SELECT records_unflushed FROM lifeguard.status', '0'), 'all is written');
is(ask('SELECT keeper_problem FROM lifeguard.status'), '', 'well');
my $whole = "SELECT count(*), md5(string_agg(v::text, '/' ORDER BY v::text)) FROM $snapshots v";
my $all = ask($whole);
is(ask('SELECT count(*) FROM lifeguard.snapshot_entries'), $all =~ s/\|.*//r, 'every row is in the table');

my $middle = "SELECT count(*), sum(total), sum(idle), count(client_addr), count(oldest_idle) FROM $snapshots WHERE at = '$at' AND application_name IN ('middle', 'big')";

sub masks
{
	my ($where) = @_;
	my %expected = (clerk => '2|7|7|1|2', auditor => '2|7|7|1|2', stranger => '2|7|7|0|0');

	is(ask($middle), '2|7|7|1|2', "$where: who may see everything");
	foreach my $user (sort keys %expected)
	{
		my $reader = LgSession->new($node, user => $user);
		is($reader->query($middle), $expected{$user}, "$where: $user sees counts"
			  . ($user eq 'stranger' ? ', not who and since when' : ', who and since when'));
		is($reader->query("SELECT count(*), sum(total) FROM $snapshots WHERE at = '$at'"), '65|78', "$where: every row");
		ok($reader->error_of('SELECT FROM lifeguard.snapshot_entries'), "$where: $user may not read the table");
		is(lg_view_errors($reader), '', "$where: every view answers");
		$reader->close;
	}
	return;
}
masks('memory');
$_->close foreach @crowd, $session;
$node->stop('immediate');
$node->start;
$session = LgSession->new($node, parameters => { application_name => 'eye' });
is(ask($whole), $all, 'the same after a crash');
masks('table');


# a clean stop keeps what is not written yet
lg_configure($session, 'pg_lifeguard.flush_interval' => '1h');
$session->poll("SELECT setting FROM pg_settings WHERE name = 'pg_lifeguard.flush_interval'", '3600000');
@crowd = map { client('late') } 1 .. 3;
taken(4);
one_pass();
($at) = compare('after a restart marks count anew');
$all = ask($whole);
$_->close foreach @crowd, $session;
$node->stop;
$node->start;
$session = LgSession->new($node, parameters => { application_name => 'eye' });
is(ask($whole), $all, 'the same after a clean stop');
is(ask("SELECT application_name, total FROM $snapshots WHERE at = '$at' ORDER BY 1"), "eye|1\nlate|3", 'unwritten ones too');

# --- refusals
SKIP:
{
	skip 'nobody counts refusals', 1 if ask("SELECT to_regclass('lifeguard.refusal_counts') IS NULL") eq 't';
	my $refuse = sub
	{
		my $refused = LgSession->new($node, user => 'clerk', dbname => 'other', refused_ok => 1)->{refused};
		die 'not refused' unless $refused && $refused->{sqlstate} eq '53300';
		return;
	};
	my $refused = "SELECT count(DISTINCT at) FROM $snapshots WHERE reason = 'refusal'";

	ask('ALTER DATABASE other CONNECTION LIMIT 2');
	@crowd = map { client('holder', dbname => 'other') } 1 .. 2;
	taken(3);
	one_pass();
	a_second();
	one_pass();
	is(ask($refused), '0', 'nobody was refused');
	$refuse->();
	taken(3);
	one_pass();
	$at = compare('who held the connections when somebody was refused');
	is(ask("SELECT DISTINCT at, reason, used FROM $snapshots WHERE reason = 'refusal'"), "$at|refusal|3", 'one snapshot');
	one_pass();
	is(ask($refused), '1', 'no more refusals, no more of them');
	a_second();
	$began = time;
	while (time - $began < 2.5)
	{
		$refuse->();
		one_pass();
		usleep(20_000);
	}
	$elapsed = time - $began;
	$n = ask($refused) - 1;
	cmp_ok($n, '<=', int($elapsed) + 1, sprintf('refusals go on: %d snapshots in %.1f s', $n, $elapsed));
	cmp_ok($n, '>=', 2, 'but some');
	is(ask("SELECT count(DISTINCT at) FROM $snapshots WHERE reason = 'refusal' AND (used <> 3 OR total NOT IN (1, 2))"), '0', 'all of them true');
	a_second();
	taken(3);
	one_pass();
	a_second();
	one_pass();
	$n = ask($refused);
	a_second();
	one_pass();
	is(ask($refused), $n, 'they stop');
	ask('SELECT lifeguard.reset()');
	a_second();
	$refuse->();
	taken(3);
	one_pass();
	is(ask($refused), $n + 1, 'and begin again');
	$_->close foreach @crowd;
}

# --- on a standby, from memory
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my $primary_session = $session;
$session = LgSession->new($standby, parameters => { application_name => 'eye' });
one_pass();
is(ask("SELECT $columns, oldest_idle, used, reason FROM $snapshots WHERE recorded_on = 'standby'"), "postgres|$me|eye||1|1|0|0||1|high water", 'a standby');
cmp_ok(ask("SELECT count(*) FROM $snapshots WHERE recorded_on = 'primary'"), '>', 65, "and the primary's");
$_->close foreach $session, $primary_session;
$standby->stop;
$node->stop;
is(lg_log_complaints($_), '', 'nothing bad in the log of ' . $_->name) foreach $node, $standby;

done_testing();
