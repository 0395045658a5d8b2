# How full the server is: counted right, remembered at its highest, and told
# even when nobody else gets in.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $max = 20;
my $node = lg_server('pool',
	init => { allows_streaming => 1 },
	conf => <<"END");
max_connections = $max
superuser_reserved_connections = 3
authentication_timeout = 10min
pg_lifeguard.sample_interval = 50ms
END
my $major = int($node->pg_version);
if ($major >= 16)
{
	$node->append_conf('postgresql.conf', 'reserved_connections = 2');
	$node->restart;
}
my $reserved = $major >= 16 ? 2 : 0;
my $usable = $max - 3 - $reserved;

# One session asks, nobody else connects: all numbers below are exact.
my $session = LgSession->new($node, parameters => { application_name => 'eye' });
$session->query('CREATE ROLE clerk LOGIN; CREATE ROLE vip LOGIN');
$session->query('GRANT pg_use_reserved_connections TO vip') if $reserved;
my $alone = "SELECT used = 1 FROM lifeguard.connections";
ok($session->poll($alone), 'nobody else is here');

# --- the high-water mark
# The collector saw the connection that made the extension: begin anew.
$session->query('SELECT lifeguard.reset()');
ok($session->poll('SELECT high_water = 1 FROM lifeguard.connections'), 'a new high-water mark after reset()');
is(lg_status($session, 'reset_at BETWEEN last_pass - interval \'1 h\' AND clock_timestamp()'), 't',
	'which status dates');
lg_passes($session, 1); # one that began before
my $before = $session->query('SELECT clock_timestamp()');
my @crowd = map { LgSession->new($node, user => 'clerk') } 1 .. 10;
my $seen = 'SELECT high_water, (SELECT used FROM lifeguard.status) FROM lifeguard.connections';
ok($session->poll($seen, '11|11'), 'the collector sees every connection');
my $full_at = $session->query('SELECT high_water_at FROM lifeguard.connections');
is($session->query("SELECT '$full_at'::timestamptz BETWEEN '$before' AND clock_timestamp()"),
	't', 'and when it was');
$_->close foreach splice @crowd, 5;
ok($session->poll($seen, '11|6'), 'when some leave, the mark stays');
ok(lg_passes($session, 3), 'through other passes');
is($session->query('SELECT high_water_at FROM lifeguard.connections'), $full_at, 'and so does its date');
push @crowd, map { LgSession->new($node, user => 'clerk') } 1 .. 7;
ok($session->poll($seen, '13|13'), 'more than ever is a new mark');
isnt($session->query('SELECT high_water_at FROM lifeguard.connections'), $full_at, 'with a new date');
$session->query('SELECT lifeguard.reset()');
ok($session->poll($seen, '13|13'), 'reset() forgets, the next pass sees what is');
$_->close foreach splice @crowd;
ok($session->poll($alone), 'all gone');
ok($session->poll($seen, '13|1'), 'all seen gone');
is( $session->query(
		'SELECT max_connections, superuser_reserved_connections, reserved_connections, usable, used, used_share = round(1.0 / usable, 4), max_wal_senders, walsenders FROM lifeguard.connections'),
	"$max|3|$reserved|$usable|1|t|5|0" =~ s/\|5\|/'|' . $session->query('SHOW max_wal_senders') . '|'/er,
	'the slots there are');

# --- sessions by state, against pg_stat_activity
my ($idle, $idle_too, $in_transaction, $aborted, $busy, $waiter) =
  map { LgSession->new($node, user => 'clerk') } 1 .. 6;
$session->query('CREATE TABLE till (id int); GRANT ALL ON till TO clerk');
$idle->query('SELECT 1');
$in_transaction->query('BEGIN; LOCK TABLE till IN SHARE MODE');
$aborted->query('BEGIN');
$aborted->error_of('SELECT 1/0');
$busy->send('SELECT pg_sleep(3600)');
$waiter->send('INSERT INTO till VALUES (1)');
ok($session->poll("SELECT count(*) FROM pg_stat_activity WHERE wait_event IN ('relation', 'PgSleep')", '2'),
	'everybody is in place');
is($session->query('SELECT used, active, idle, idle_in_transaction, idle_in_transaction_aborted, other, waiting FROM lifeguard.connections'),
	'7|3|2|1|1|0|1', 'sessions by state');
my $by_state = <<'END';
SELECT used - n, active - a, idle - i, idle_in_transaction - t, idle_in_transaction_aborted - f, waiting - w
FROM lifeguard.connections, (
	SELECT count(*) n, count(*) FILTER (WHERE state = 'active') a, count(*) FILTER (WHERE state = 'idle') i,
		count(*) FILTER (WHERE state = 'idle in transaction') t,
		count(*) FILTER (WHERE state = 'idle in transaction (aborted)') f,
		count(*) FILTER (WHERE wait_event_type = 'Lock') w
	FROM pg_stat_activity WHERE backend_type = 'client backend') s
END
is($session->query($by_state), '0|0|0|0|0|0', 'the same as in pg_stat_activity');
ok( $session->poll(
		'SELECT used, active, idle_in_transaction, waiting, blockers FROM lifeguard.status', '7|3|2|1|1'),
	'the collector counts the same');
is( $session->query(
		'SELECT application_name, usename, datname, used, active, idle, idle_in_transaction, idle_in_transaction_aborted, waiting FROM lifeguard.connection_usage'
	),
	"lgtest|clerk|postgres|6|2|2|1|1|1\neye|" . getpwuid($<) . "|postgres|1|1|0|0|0|0",
	'by whom');

# --- a session without track_activities has a slot and no state
my $hidden = LgSession->new($node, parameters => { options => '-c track_activities=off' });
is($session->query('SELECT used, active, idle, other FROM lifeguard.connections'), '8|3|2|1',
	'track_activities = off: counted as other');
is($session->query("SELECT state, query, state_age IS NULL FROM lifeguard.sessions WHERE pid = ${\$hidden->pid}"),
	$session->query("SELECT state, query, state_change IS NULL FROM pg_stat_activity WHERE pid = ${\$hidden->pid}"),
	'shown as in pg_stat_activity');
is(lg_view_errors($hidden), '', 'it reads every view');
$hidden->query('BEGIN; LOCK TABLE pg_description IN SHARE MODE');
is(lg_view_errors($session), '', 'every view answers');
is(lg_negative_ages($session), '', 'no negative age');
my $behind = LgSession->new($node);
$behind->send('BEGIN; LOCK TABLE pg_description IN ROW EXCLUSIVE MODE');
ok($session->poll("SELECT blocked_total = 1 FROM lifeguard.blockers WHERE pid = ${\$hidden->pid}"),
	'it is found when it blocks');
ok(lg_passes($session, 3), 'and nothing breaks');
is(lg_view_errors($session), '', 'nor any view');
$hidden->query('ROLLBACK');
ok(!$behind->answer->{error}, 'its waiter goes on');
$_->close foreach ($hidden, $behind);

# --- whoever is still logging in has a slot already
my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
unlink $node->data_dir . '/pg_hba.conf';
append_to_file($node->data_dir . '/pg_hba.conf', "local all stranger password\n$hba");
$session->query("CREATE ROLE stranger LOGIN PASSWORD 'unknown'; SELECT pg_reload_conf()");
ok($session->poll("SELECT count(*) > 0 FROM pg_hba_file_rules WHERE user_name = '{stranger}' AND pg_conf_load_time() > '$before'"),
	'a role that must show a password');
my $stranger;
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
do    # until the postmaster has heard of it
{
	$stranger->close if $stranger;
	$stranger = LgSession->new($node, user => 'stranger', begin_only => 1);
	$stranger->answer;
} while ($stranger->pid && time < $deadline);
ok($session->poll('SELECT used, other FROM lifeguard.connections', '8|1'),
	'a session that has not finished logging in is used and other');
is(lg_view_errors($session), '', 'every view answers meanwhile');
ok($session->poll('SELECT used FROM lifeguard.status', '8'), 'the collector counts it, too');
$stranger->close;
ok($session->poll('SELECT used FROM lifeguard.connections', '7'), 'gone');

# --- walsenders have slots of their own
my $walsender = LgSession->new($node, parameters => { replication => 'true' });
is($session->query('SELECT used, walsenders FROM lifeguard.connections'), '7|1', 'a walsender is counted apart');
$walsender->close;
ok($session->poll('SELECT walsenders FROM lifeguard.connections', '0'), 'gone');

# --- full: no plain role gets in
$busy->close;    # its backend sleeps on; end it
$session->query("SELECT pg_terminate_backend(${\$busy->pid})");
$in_transaction->query('ROLLBACK');
$waiter->answer;
$_->close foreach ($idle, $idle_too, $in_transaction, $aborted, $waiter);
ok($session->poll($alone), 'all gone again');
my $refused;
while (@crowd < $max)
{
	my $guest = LgSession->new($node, user => 'clerk', refused_ok => 1);
	$refused = $guest->{refused} and last;
	push @crowd, $guest;
}
is(@crowd, $usable - 1, 'every usable slot is taken');
like($refused->{message}, qr/^remaining connection slots are reserved/, 'the next plain role is refused');
ok($session->poll('SELECT used_share = 1 FROM lifeguard.connections'), 'used_share is 1');
is(lg_view_errors($session), '', 'every view answers');

if ($reserved)
{
	push @crowd, map { LgSession->new($node, user => 'vip') } 1 .. 2;
	like(LgSession->new($node, user => 'vip', refused_ok => 1)->{refused}{message},
		qr/^remaining connection slots are reserved/, 'the reserved slots are taken, too');
}
my $admin = LgSession->new($node);
is(lg_view_errors($admin), '', 'a superuser gets in and reads every view');
push @crowd, map { LgSession->new($node) } 1 .. 2;
is(LgSession->new($node, refused_ok => 1)->{refused}{message}, 'sorry, too many clients already',
	'now nobody gets in at all');
ok($admin->poll("SELECT used = max_connections AND used_share = round($max.0 / $usable, 4) AND used_share > 1 AND high_water = $max FROM lifeguard.connections"),
	'used_share is above 1');
is($admin->query('SELECT sum(used) FROM lifeguard.connection_usage'), $max, 'by whom');

# The collector needs no slot of theirs.
my $until = time + ($ENV{LG_LONG} ? 60 : 3);
my $worst = '';
my $passes_go_on = 1;
do
{
	$worst ||= lg_view_errors($admin);
	$passes_go_on &&= lg_passes($admin, 10);
	LgSession->new($node, user => 'clerk', refused_ok => 1)->close;
} while (time < $until);
ok($passes_go_on, 'passes go on in a full server');
is($worst, '', 'every view answers all the time');
is(lg_status($admin, 'late_passes'), 0, 'no pass was late');

my $pid = lg_status($admin, 'collector_pid');
$admin->query("SELECT pg_terminate_backend($pid)");
ok(lg_collector_again($admin, $pid), 'a collector that ends in a full server comes back');

$_->close foreach (@crowd, $admin, $session);
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
