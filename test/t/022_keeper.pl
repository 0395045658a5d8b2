# The keeper brings policies into force, whatever happens to their table, and
# to the keeper itself.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgKeeper;
use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# passes only on demand: the keeper is sent all the same
my $on_demand = "pg_lifeguard.sample_interval = 0\n";
my $node = lg_server('keeper', conf => $on_demand);
my $session = LgSession->new($node);

# no worker slot is free: one is the collector's, one logical replication's
my $narrow = lg_server('narrow', conf => $on_demand . "max_worker_processes = 2\n");
create_policy(my $boxed = LgSession->new($narrow), 'one');

# --- from COMMIT into force
ok(policies_become($session, '0'), 'read once at start');
$session->poll('SELECT policies_read_at IS NOT NULL FROM lifeguard.status');
$session->query('BEGIN');
create_policy($session, 'one');
create_policy($session, 'two');
is(lg_status($session, 'policies'), '0', 'nothing before COMMIT');
$session->query('COMMIT');
my $committed = $session->query('SELECT now()');
ok(policies_become($session, '2'), 'in force after COMMIT');
is($session->query("SELECT policies_published_at < timestamptz '$committed' + '9 s' FROM lifeguard.status"), 't', 'sooner than polling would');
is(lg_status($session, 'keeper_problem IS NULL AND keeper_failures = 0 AND keeper_last_run > collector_since'),
	't', 'all is well');
my $published = lg_status($session, 'policies_published_at');
$session->query("SELECT lifeguard.disable_policy('one')");
ok($session->poll("SELECT policies_published_at > timestamptz '$published' FROM lifeguard.status"), 'changed');
is(lg_status($session, 'policies'), '2', 'a disabled one counts');
$published = lg_status($session, 'policies_published_at');
my $read = lg_status($session, 'policies_read_at');
poke($session);
ok($session->poll("SELECT policies_read_at > timestamptz '$read' FROM lifeguard.status"), 'read again');
is(lg_status($session, 'policies_published_at'), $published, 'and found unchanged');
$session->query('BEGIN; DELETE FROM lifeguard.policy; ROLLBACK');
$session->query("SELECT lifeguard.drop_policy('one')");
ok(policies_become($session, '1'), 'one dropped, the other not');

# --- somebody locks the table; and a keeper that waits for it is killed
my $locker = LgSession->new($node);
$locker->query('BEGIN; LOCK TABLE lifeguard.policy');
ok(problem_becomes($session, '%lock timeout%'), 'a locked table is a problem');
is(lg_status($session, 'policies'), '1', 'but what is published stays');
ok(lg_status($session, 'keeper_failures') > 0, 'counted');
my $failures = lg_status($session, 'keeper_failures');
ok($session->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper' AND wait_event_type = 'Lock'"),
	'a keeper waits for the table');
$session->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'");
ok($session->poll("SELECT keeper_failures > $failures FROM lifeguard.status"), 'killed, and counted');
is(lg_status($session, 'policies'), '1', 'what is published stays');
$locker->query('COMMIT');
ok(well_again($session), 'over, and the next one is well');

# --- somebody rewrites it while the keeper waits
$locker->query("BEGIN; ALTER TABLE lifeguard.policy ALTER comment TYPE text USING comment || ''");
ok($session->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper' AND wait_event_type = 'Lock'"),
	'a keeper waits for the table that is being rewritten');
$read = $session->query('SELECT clock_timestamp()');
$locker->query('COMMIT');
ok($session->poll("SELECT policies_read_at > timestamptz '$read' FROM lifeguard.status"), 'and reads it');
is(lg_status($session, 'policies'), '1', 'as it is by then');

# --- columns are of other types
$session->query(<<'END');
ALTER TABLE lifeguard.policy ALTER keep DROP DEFAULT, ALTER keep TYPE text, ALTER roles TYPE int[] USING '{1}'
END
$read = $session->query('SELECT clock_timestamp()');
ok($session->poll("SELECT policies_read_at > timestamptz '$read' FROM lifeguard.status"), 'read');
is(lg_status($session, 'policies'), '1', 'what can be converted is');
$session->query(<<'END');
ALTER TABLE lifeguard.policy ALTER keep TYPE int USING 0, ALTER keep SET DEFAULT 0, ALTER roles TYPE text[] USING NULL
END

# --- the table is not what it was
foreach my $change (
	[ 'ENABLE ROW LEVEL SECURITY', 'DISABLE ROW LEVEL SECURITY', '%row-level security%' ],
	[ 'FORCE ROW LEVEL SECURITY', 'NO FORCE ROW LEVEL SECURITY', '%row-level security%' ])
{
	my ($do, $undo, $problem) = @$change;
	$session->query("ALTER TABLE lifeguard.policy $do");
	poke($session);
	ok(problem_becomes($session, $problem), "refused: $do");
	is(lg_status($session, 'policies'), '1', 'what is published stays');
	$session->query("ALTER TABLE lifeguard.policy $undo");
	poke($session);
	ok(well_again($session), 'well again');
}
$session->query('CREATE TABLE heir () INHERITS (lifeguard.policy)');
poke($session);
ok(problem_becomes($session, '%inheritance%'), 'refused: inheritance');
$session->query('DROP TABLE heir');
poke($session);
ok(well_again($session), 'well again');
$session->query('ALTER EXTENSION pg_lifeguard DROP TABLE lifeguard.policy');
poke($session);
ok(problem_becomes($session, '%does not belong to the extension%'), 'refused: no member');
$session->query('ALTER EXTENSION pg_lifeguard ADD TABLE lifeguard.policy');
ok(well_again($session), 'well again, though nothing told of it');

# --- nobody's settings get in its way
$session->query("ALTER DATABASE postgres SET default_transaction_read_only = on");
$session->query("ALTER DATABASE postgres SET search_path = nowhere");
$session->query("ALTER DATABASE postgres SET default_transaction_isolation = serializable");
$session->query("ALTER DATABASE postgres SET session_replication_role = replica");
$session->query("SET default_transaction_read_only = off");
create_policy($session, 'three');
ok(policies_become($session, '2'), 'settings of the database do not matter');
is(lg_status($session, 'keeper_problem IS NULL'), 't', 'no problem');
$session->query("ALTER DATABASE postgres RESET ALL");

# --- the collector is killed
$read = lg_status($session, 'policies_read_at');
my $collector = lg_status($session, 'collector_pid');
$session->query("SELECT pg_terminate_backend($collector)");
ok($session->poll("SELECT collector_pid <> $collector AND policies_read_at > timestamptz '$read' FROM lifeguard.status"),
	'another collector sends it, too');

$_->close foreach ($locker, $session);
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

# --- no worker slot
ok(problem_becomes($boxed, 'no background worker slot is free'), 'no slot: said in status');
like(slurp_file($narrow->logfile), qr/could not start the keeper of pg_lifeguard/, 'and in the log');
ok($boxed->poll('SELECT keeper_failures >= 3 FROM lifeguard.status'), 'tried again');
is(() = slurp_file($narrow->logfile) =~ /could not start the keeper/g, 1, 'said once');
$boxed->close;
$narrow->stop;

done_testing();
