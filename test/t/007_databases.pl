# The collector stands in nobody's way when databases come and go, and the
# extension survives a dump.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('databases', conf => "pg_lifeguard.sample_interval = 10ms\n");
$node->safe_psql('postgres', 'CREATE TABLE till (id int)');
$node->safe_psql('postgres', 'CREATE DATABASE office TEMPLATE template0');
my $session = LgSession->new($node, dbname => 'office');
$session->query("CREATE EXTENSION pg_lifeguard; SET statement_timeout = '60s'");

# --- CREATE and DROP DATABASE: whoever were connected would make them fail
# after 5 s, and a worker that sleeps through a barrier would hang DROP.
ok($session->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname IN ('postgres', 'template1')"),
	'nobody is in the templates');
ok(lg_passes($session, 3), 'passes are made');
foreach my $interval ('10ms', '1h', '0')
{
	lg_configure($session, 'pg_lifeguard.sample_interval' => $interval);
	ok($session->poll("SELECT sample_interval = '$interval' FROM lifeguard.status"), "interval $interval");
	my $passes = lg_status($session, 'passes');
	my $error;
	foreach my $template ($interval eq '10ms' ? ('postgres', 'template1') x 2 : 'postgres')
	{
		$error = $session->error_of("CREATE DATABASE branch TEMPLATE $template")
		  // $session->error_of('ALTER DATABASE branch RENAME TO twig')
		  // $session->error_of('DROP DATABASE twig');
		last if $error;
	}
	is($error ? $error->{message} : '', '', "interval $interval: databases come and go");
	next if $interval ne '10ms';
	cmp_ok(lg_status($session, 'passes'), '>', $passes, 'while passes are made');
}
lg_configure($session, 'pg_lifeguard.sample_interval' => '50ms');
ok(lg_passes($session, 3), 'passes go on');

# --- a copy is complete
$session->query('CREATE DATABASE branch TEMPLATE postgres');
my $branch = LgSession->new($node, dbname => 'branch');
is(lg_view_errors($branch), '', 'every view answers in the copy');

# --- databases see each other's sessions, not each other's names
my $holder = LgSession->new($node, dbname => 'branch');
my $waiter = LgSession->new($node, dbname => 'branch');
$holder->query('BEGIN; LOCK TABLE till');
$waiter->send('SELECT FROM till');
ok($branch->poll('SELECT relation_name FROM lifeguard.lock_waits', 'public.till'), 'a wait seen from its database');
is($session->query('SELECT pid, datname, relation_name, root_pids FROM lifeguard.lock_waits'),
	$waiter->pid . "|branch||{${\$holder->pid}}", 'and from another, where the table has no name');
is(lg_view_errors($session), '', 'every view answers there');
$_->close foreach ($holder, $waiter, $branch);
ok($session->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'branch'"), 'all gone');

# --- even the database that everybody thinks is always there may go
$session->query('DROP DATABASE postgres');
$session->query('ALTER DATABASE branch RENAME TO postgres');
ok(lg_passes($session, 3), 'passes go on');

# --- the extension goes, the others stay
$session->close;
$session = LgSession->new($node);
$session->query('DROP EXTENSION pg_lifeguard');
is($session->query("SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'lifeguard'::regnamespace) + (SELECT count(*) FROM pg_proc WHERE pronamespace = 'lifeguard'::regnamespace)"),
	'0', 'dropped with all it had');
$session->query('CREATE EXTENSION pg_lifeguard');
is(lg_view_errors($session), '', 'and made again');
ok(lg_passes($session, 3), 'the collector did not mind');

# --- a dump and its restoration
$session->query('CREATE ROLE clerk LOGIN');
$session->query('GRANT EXECUTE ON FUNCTION lifeguard.run_pass() TO clerk; REVOKE SELECT ON lifeguard.sessions FROM PUBLIC');
my $dump = $node->basedir . '/dump';
my $again = $node->basedir . '/dump_again';
$session->query('CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_dump', '--file', "$dump.sql", $node->connstr('postgres') ], 'dumped as text');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql", $node->connstr('restored') ], 'restored');
$node->command_ok([ 'pg_dump', '--file', "$again.sql", $node->connstr('restored') ], 'dumped again');
# newer ones begin and end with a random word
my ($first, $second) = map { slurp_file("$_.sql") =~ s/^\\(?:un)?restrict .*\n//mgr } ($dump, $again);
is($second, $first, 'both dumps are the same');
unlike($first, qr/CREATE (?:VIEW|FUNCTION|TABLE) lifeguard\./, 'the objects belong to the extension');
my $restored = LgSession->new($node, dbname => 'restored');
is(lg_view_errors($restored), '', 'every view answers in the restored database');
my $clerk = LgSession->new($node, dbname => 'restored', user => 'clerk');
$clerk->query('SELECT lifeguard.run_pass()');
pass('what was granted is granted');
like($clerk->error_of('SELECT FROM lifeguard.sessions')->{message}, qr/permission denied for view sessions/,
	'what was revoked is revoked');
my $members = <<'END';
SELECT string_agg(pg_describe_object(classid, objid, objsubid), E'\n'
	ORDER BY pg_describe_object(classid, objid, objsubid) COLLATE "C")
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.deptype = 'e' AND e.extname = 'pg_lifeguard'
END
is($restored->query($members), $session->query($members), 'the same members');

$_->close foreach ($clerk, $restored);
$session->query('CREATE DATABASE custom TEMPLATE template0');
$node->command_ok([ 'pg_dump', '-Fc', '--file', "$dump.custom", $node->connstr('postgres') ], 'dumped as archive');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('custom'), "$dump.custom" ], 'restored');
my $custom = LgSession->new($node, dbname => 'custom');
is(lg_view_errors($custom), '', 'every view answers');

$_->close foreach ($custom, $session);
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
