# The keeper and the database it reads policies from: others come and go, it
# is closed, renamed, dropped; the extension in it is of another version, or goes.

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
my $node = lg_server('home', conf => $on_demand);
my $session = LgSession->new($node);
create_policy($session, $_) foreach qw(one two three);
ok(policies_become($session, '3'), 'policies of the home database');
$session->query('CREATE DATABASE office');
$session->close;

# Nothing tells the keeper of what follows: it looks every 10 s.  So two
# servers wait at the same time.
my $other = lg_server('extension', conf => $on_demand);
my $home = LgSession->new($other);
$home->query('CREATE DATABASE watch');
# another database has the extension, too, to ask while the home has not
my $watch = LgSession->new($other, dbname => 'watch');
$watch->query('CREATE EXTENSION pg_lifeguard');
create_policy($home, $_) foreach qw(one two);
ok(policies_become($watch, '2'), 'policies beside');

# --- databases come and go while it works
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
lg_configure($session, 'pg_lifeguard.database' => 'office');
ok(policies_become($session, '0'), 'another home, without policies');
create_policy($session, 'five');
ok(policies_become($session, '1'), 'now with one');
$session->close;
$session = LgSession->new($node);
$session->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'office' AND backend_type = 'client backend'");

# --- closed; the catalog is of another version
$session->query('ALTER DATABASE office ALLOW_CONNECTIONS false');
$home->query("UPDATE pg_extension SET extversion = '0.1' WHERE extname = 'pg_lifeguard'");
ok(problem_becomes($session, 'database "office" allows no connections'), 'closed');
is(lg_status($session, 'policies'), '1', 'what is published stays');
ok(problem_becomes($watch, 'library % of pg_lifeguard meets catalog 0.1'), 'another layout is refused');
is(lg_status($watch, 'policies'), '2', 'what is published stays');

# --- left over from a DROP DATABASE that was interrupted: nobody is sent who could not connect
$session->query(<<'END');
BEGIN; ALTER DATABASE office ALLOW_CONNECTIONS true;
UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'office'; COMMIT
END
my $failures = lg_status($session, 'keeper_failures');
ok($session->poll("SELECT keeper_failures >= $failures + 2 FROM lifeguard.status"), 'looked for again');
is(lg_status($session, 'keeper_problem'), 'database "office" allows no connections', 'an invalid database is closed');
unlike(slurp_file($node->logfile), qr/cannot connect to invalid database/, 'nobody tried');
$session->query("UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'office'");

# --- open; of this version
$home->query("UPDATE pg_extension SET extversion = default_version FROM pg_available_extensions WHERE extname = 'pg_lifeguard' AND name = extname");
ok(well_again($session), 'open');
ok(well_again($watch), 'well again');

# --- renamed; the extension goes
$session->query('ALTER DATABASE office RENAME TO bureau');
$home->query('DROP EXTENSION pg_lifeguard');
my $dropped = $home->query('SELECT now()');
ok(policies_become($session, '0'), 'renamed: nothing is in force');
ok(problem_becomes($session, 'database "office" does not exist'), 'and why');
ok(policies_become($watch, '0'), 'without the extension nothing is in force');
is($watch->query("SELECT policies_published_at < timestamptz '$dropped' + '30 s' FROM lifeguard.status"), 't', 'within 10 s, and what a busy machine adds');
ok(problem_becomes($watch, 'extension "pg_lifeguard" is not in database "postgres"'), 'and why');

# --- back again; made again
$session->query('ALTER DATABASE bureau RENAME TO office');
$home->query('CREATE EXTENSION pg_lifeguard');
create_policy($home, 'six');
ok(policies_become($watch, '1'), 'made again');
ok(policies_become($session, '1'), 'back again');

# --- dropped
$session->query('DROP DATABASE office');
ok(policies_become($session, '0'), 'dropped: nothing is in force');
lg_configure($session, 'pg_lifeguard.database' => 'postgres');
ok(policies_become($session, '3'), 'home again');

$_->close foreach ($session, $home, $watch);
$_->stop foreach ($node, $other);
is(lg_log_complaints($_), '', 'nothing bad in the log of ' . $_->name) foreach ($node, $other);

done_testing();
