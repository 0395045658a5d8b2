# The keeper brings policies into force, whatever happens to the database it
# reads them from, and stands in nobody's way there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# passes only on demand: the keeper is sent all the same
my $on_demand = "pg_lifeguard.sample_interval = 0\n";
my $node = lg_server('keeper', init => { allows_streaming => 1 }, conf => $on_demand);
my $session = LgSession->new($node);

sub create_policy
{
	my ($on, $name) = @_;
	return $on->query("SELECT lifeguard.create_policy('$name', target => 'idle', min_duration => '1 min')");
}

sub policies_become
{
	my ($on, $expected) = @_;
	return $on->poll('SELECT policies FROM lifeguard.status', $expected);
}

# Which problem is shown, once one that matches is.
sub problem_becomes
{
	my ($on, $pattern) = @_;
	return $on->poll("SELECT keeper_problem LIKE '$pattern' FROM lifeguard.status");
}

sub well_again
{
	my ($on) = @_;
	return $on->poll('SELECT keeper_problem IS NULL FROM lifeguard.status');
}

# Have the policies read, without waiting until nothing tells of a change.
sub poke { $_[0]->query('UPDATE ONLY lifeguard.policy SET enabled = enabled'); return; }

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
is($session->query("SELECT policies_published_at < timestamptz '$committed' + '3 s' FROM lifeguard.status"), 't', 'soon');
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

# --- somebody locks the table
my $locker = LgSession->new($node);
$locker->query('BEGIN; LOCK TABLE lifeguard.policy');
ok(problem_becomes($session, '%lock timeout%'), 'a locked table is a problem');
is(lg_status($session, 'policies'), '1', 'but what is published stays');
ok(lg_status($session, 'keeper_failures') > 0, 'counted');
$locker->query('COMMIT');
ok(well_again($session), 'over');

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
	ok(well_again($session), 'well again');
}
$session->query('CREATE TABLE heir () INHERITS (lifeguard.policy)');
poke($session);
ok(problem_becomes($session, '%inheritance%'), 'refused: inheritance');
$session->query('DROP TABLE heir');
ok(well_again($session), 'well again');
$session->query('ALTER EXTENSION pg_lifeguard DROP TABLE lifeguard.policy');
poke($session);
ok(problem_becomes($session, '%does not belong to the extension%'), 'refused: no member');
$session->query('ALTER EXTENSION pg_lifeguard ADD TABLE lifeguard.policy');
ok(well_again($session), 'well again');

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

# --- a keeper that is killed, or never gets to work
my $failures = lg_status($session, 'keeper_failures');
$locker->query('BEGIN; LOCK TABLE lifeguard.policy');
my $keeper;
ok($session->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper' AND wait_event_type = 'Lock'"),
	'a keeper waits for the table');
$session->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'");
ok($session->poll("SELECT keeper_failures > $failures FROM lifeguard.status"), 'killed, and counted');
is(lg_status($session, 'policies'), '2', 'what is published stays');
$locker->query('COMMIT');
ok(well_again($session), 'the next one is well');
$read = lg_status($session, 'policies_read_at');
my $collector = lg_status($session, 'collector_pid');
$session->query("SELECT pg_terminate_backend($collector)");
ok($session->poll("SELECT collector_pid <> $collector AND policies_read_at > timestamptz '$read' FROM lifeguard.status"),
	'another collector sends it, too');

# --- a standby, where no trigger tells
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my $remote = LgSession->new($standby);
ok(policies_become($remote, '2'), 'in force on a standby');
create_policy($session, 'four');
ok(policies_become($remote, '3'), 'a change arrives there, too');
is(lg_status($remote, 'keeper_problem IS NULL'), 't', 'no problem there');
$remote->query("SELECT lifeguard.terminate_session(${\LgSession->new($standby)->pid}, 'there')");
is($remote->query('SELECT reason, recorded_on FROM lifeguard.ledger'), 'there|standby', 'an action there');
is(lg_status($remote, 'ledger_unflushed'), '1', 'cannot be written');
$remote->close;
$standby->restart;
$remote = LgSession->new($standby);
is($remote->query('SELECT reason, recorded_on FROM lifeguard.ledger'), 'there|standby', 'but survives a restart');
$standby->promote;
ok($remote->poll("SELECT count(*) = 1 FROM lifeguard.ledger_entries WHERE recorded_on = 'standby'"), 'and is written after promotion');
is($remote->query('SELECT reason, recorded_on FROM lifeguard.ledger'), 'there|standby', 'shown once');
is(lg_status($remote, 'keeper_problem IS NULL'), 't', 'no problem');
$remote->close;
$standby->stop;

# --- databases come and go while it works
$session->query('CREATE DATABASE office');
$locker->close;
$session->close;
$session = LgSession->new($node, dbname => 'office');
$session->query("CREATE EXTENSION pg_lifeguard; SET statement_timeout = '60s'");
foreach my $round (1 .. 3)
{
	my $victim = LgSession->new($node, dbname => 'office');
	$session->query("SELECT lifeguard.terminate_session(${\$victim->pid}, 'round $round')");
	my $error = $session->error_of('CREATE DATABASE branch TEMPLATE postgres')
	  // $session->error_of('DROP DATABASE branch');
	is($error ? $error->{message} : '', '', 'copied and dropped');
}
ok($session->poll('SELECT ledger_unflushed = 0 FROM lifeguard.status'), 'while entries are written');

# --- another home
is(lg_status($session, 'policies'), '3', 'policies of the home database');
lg_configure($session, 'pg_lifeguard.database' => 'office');
ok(policies_become($session, '0'), 'another home, without policies');
create_policy($session, 'five');
ok(policies_become($session, '1'), 'now with one');
$session->close;
$session = LgSession->new($node);
$session->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'office' AND backend_type = 'client backend'");
$session->query('ALTER DATABASE office ALLOW_CONNECTIONS false');
ok(problem_becomes($session, 'database "office" allows no connections'), 'closed');
is(lg_status($session, 'policies'), '1', 'what is published stays');
$session->query('ALTER DATABASE office ALLOW_CONNECTIONS true');
ok(well_again($session), 'open');
$session->query('ALTER DATABASE office RENAME TO bureau');
ok(policies_become($session, '0'), 'renamed: nothing is in force');
ok(problem_becomes($session, 'database "office" does not exist'), 'and why');
$session->query('ALTER DATABASE bureau RENAME TO office');
ok(policies_become($session, '1'), 'back again');
$session->query('DROP DATABASE office');
ok(policies_become($session, '0'), 'dropped: nothing is in force');
lg_configure($session, 'pg_lifeguard.database' => 'postgres');
ok(policies_become($session, '3'), 'home again');

# --- the catalog is of another version; the extension goes
$session->query("UPDATE pg_extension SET extversion = '0.1' WHERE extname = 'pg_lifeguard'");
ok(problem_becomes($session, 'library % of pg_lifeguard meets catalog 0.1'), 'another layout is refused');
is(lg_status($session, 'policies'), '3', 'what is published stays');
$session->query("UPDATE pg_extension SET extversion = default_version FROM pg_available_extensions WHERE extname = 'pg_lifeguard' AND name = extname");
ok(well_again($session), 'well again');
$session->close;
$session = LgSession->new($node, dbname => 'template1');
$session->query('CREATE EXTENSION pg_lifeguard');
my $home = LgSession->new($node);
$home->query('DROP EXTENSION pg_lifeguard');
my $dropped = $home->query('SELECT now()');
ok(policies_become($session, '0'), 'without the extension nothing is in force');
is($session->query("SELECT policies_published_at < timestamptz '$dropped' + '12 s' FROM lifeguard.status"), 't', 'within 10 s');
ok(problem_becomes($session, 'extension "pg_lifeguard" is not in database "postgres"'), 'and why');
$home->query('CREATE EXTENSION pg_lifeguard');
create_policy($home, 'six');
ok(policies_become($session, '1'), 'made again');
$_->close foreach ($home, $session);
$node->stop;
is(lg_log_complaints($_), '', 'nothing bad in the log of ' . $_->name) foreach ($node, $standby);

# --- no worker slot is free: one is the collector's, one logical replication's
my $narrow = lg_server('narrow', conf => $on_demand . "max_worker_processes = 2\n");
$session = LgSession->new($narrow);
create_policy($session, 'one');
ok(problem_becomes($session, 'no background worker slot is free'), 'no slot: said in status');
like(slurp_file($narrow->logfile), qr/could not start the keeper of pg_lifeguard/, 'and in the log');
ok($session->poll('SELECT keeper_failures >= 3 FROM lifeguard.status'), 'tried again');
is(() = slurp_file($narrow->logfile) =~ /could not start the keeper/g, 1, 'said once');
$session->close;
$narrow->stop;

done_testing();
