# The policy table beyond one session: what changes leave in the server log and
# when, dumps, the home database, the number of policies.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('policies', conf => <<'END');
max_prepared_transactions = 2
pg_lifeguard.max_policies = 5
END
my $session = LgSession->new($node);
my $me = $session->query('SELECT current_user');
my $offset;

# What the log says of policies since the last look.  Lines end here: "look" is
# the last that this session has it write.
sub lines_since
{
	my ($name) = @_;
	my $log;
	my @lines;

	$session->query("DO 'BEGIN RAISE LOG ''look''; END'");
	$log = slurp_file($node->logfile, $offset);
	$offset += length $log;
	$log =~ s/LOG:  look\n.*//s;
	unlike($log, qr/CONTEXT:|STATEMENT:/, "$name: neither context nor statement") unless $log =~ /ERROR:/;
	@lines = $log =~ /LOG:  (policy .*)/g;
	return join "\n", @lines;
}

sub lines_are
{
	my ($sql, $expected, $name) = @_;

	$offset //= -s $node->logfile;
	ref $sql ? $sql->() : $session->query($sql);
	is(lines_since($name), $expected, $name);
	return;
}

# --- one line for each change
lines_are("SELECT lifeguard.create_policy('p', 'active', '1 min')",
	qq(policy "p" created by role "$me": action is log), 'created');
lines_are("SELECT lifeguard.alter_policy('p', action => 'cancel then terminate', min_blocked => 3)",
	qq(policy "p" armed by role "$me": action was log, is cancel then terminate; changed: min_blocked, action, grace), 'armed');
lines_are("SELECT lifeguard.alter_policy('p', comment => 'why', roles => '{postgres}')",
	qq(policy "p" changed by role "$me": action was cancel then terminate, is cancel then terminate; changed: comment, roles), 'changed');
lines_are("SELECT lifeguard.disable_policy('p')",
	qq(policy "p" disarmed by role "$me": action was cancel then terminate, is cancel then terminate (disabled); changed: enabled), 'disabled');
lines_are("SELECT lifeguard.disable_policy('p'); SELECT lifeguard.alter_policy('p'); UPDATE lifeguard.policy SET keep = 0",
	'', 'a change that changes nothing');
lines_are("SELECT lifeguard.enable_policy('p')",
	qq(policy "p" armed by role "$me": action was cancel then terminate (disabled), is cancel then terminate; changed: enabled), 'enabled');
lines_are("UPDATE lifeguard.policy SET name = 'q', action = 'log'",
	qq(policy "p", now "q", disarmed by role "$me": action was cancel then terminate, is log; changed: name, action, grace), 'renamed');
lines_are("DELETE FROM lifeguard.policy", qq(policy "q" dropped by role "$me": action was log), 'dropped');
lines_are("INSERT INTO lifeguard.policy (name, target, min_duration, action, enabled) VALUES ('a', 'active', '1 h', 'cancel', true), ('b', 'active', '1 h', 'cancel', false)",
	qq(policy "a" created and armed by role "$me": action is cancel\npolicy "b" created by role "$me": action is cancel (disabled)), 'two at once');
lines_are('TRUNCATE lifeguard.policy',
	qq(policy "a" dropped by role "$me": action was cancel\npolicy "b" dropped by role "$me": action was cancel (disabled)), 'truncated');
lines_are("SET session_replication_role = replica; INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('p', 'active', '1 h'); RESET session_replication_role",
	qq(policy "p" created by role "$me": action is log), 'in replica mode');
$session->query(<<'END');
CREATE ROLE clerk LOGIN;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON lifeguard.policy TO clerk;
END
lines_are("SET ROLE clerk; INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('of clerk', 'active', '1 h'); RESET ROLE",
	qq(policy "of clerk" created by role "clerk" (session user "$me"): action is log), 'by another role');
lines_are(sub { $session->query('SET ROLE clerk'); $session->error_of('TRUNCATE lifeguard.policy'); $session->query('RESET ROLE') },
	'', 'what is refused');

# --- when it is committed, and only then
my $other = LgSession->new($node);
my $insert = "INSERT INTO lifeguard.policy (name, target, min_duration) VALUES ('x', 'active', '1 h')";
my $created = qq(policy "x" created by role "$me": action is log);
my $dropped = qq(policy "x" dropped by role "$me": action was log);
lines_are(sub { $other->query("BEGIN; $insert") }, '', 'before COMMIT');
lines_are(sub { $other->query('COMMIT') }, $created, 'at COMMIT');
lines_are("BEGIN; DELETE FROM lifeguard.policy WHERE name = 'x'; ROLLBACK", '', 'rolled back');
lines_are(sub { $session->error_of("DELETE FROM lifeguard.policy WHERE name = 'x'; SELECT 1/0") }, '', 'rolled back by an error');
lines_are("DELETE FROM lifeguard.policy WHERE name = 'x'", $dropped, 'after that');
lines_are(<<"END", "$created\n$dropped", 'savepoints');
BEGIN;
SAVEPOINT a;
$insert;
SAVEPOINT b;
UPDATE lifeguard.policy SET keep = 0, comment = 'never' WHERE name = 'x';
RELEASE b;
ROLLBACK TO a;
$insert;
RELEASE a;
SAVEPOINT c;
UPDATE lifeguard.policy SET comment = 'never' WHERE name = 'x';
ROLLBACK TO c;
DELETE FROM lifeguard.policy WHERE name = 'x';
COMMIT;
END
lines_are(<<"SQL", $created, 'a caught error');
DO \$\$
BEGIN
	BEGIN
		$insert;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		$insert;
	END;
END
\$\$
SQL
lines_are(<<"SQL", "$dropped\n$created", 'COMMIT and ROLLBACK in a procedure');
DO \$\$
BEGIN
	DELETE FROM lifeguard.policy WHERE name = 'x';
	COMMIT;
	$insert;
	COMMIT;
	DELETE FROM lifeguard.policy;
	ROLLBACK;
END
\$\$
SQL
$session->query('CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)');
lines_are(sub { $session->error_of("BEGIN; DELETE FROM lifeguard.policy; INSERT INTO late VALUES (1), (1); COMMIT") },
	'', 'a COMMIT that fails');
$session->query('DROP TABLE late');
lines_are("BEGIN; DELETE FROM lifeguard.policy WHERE name = 'x'; PREPARE TRANSACTION 'later'",
	"$dropped; effective with COMMIT PREPARED", 'prepared');
lines_are("COMMIT PREPARED 'later'", '', 'COMMIT PREPARED');
is($session->query("SELECT string_agg(name, ' ' ORDER BY name) FROM lifeguard.policy"), 'of clerk p', 'what is left');

# --- as many as there is room for
$session->query("SELECT lifeguard.create_policy('p' || i, 'active', '1 h') FROM generate_series(1, 3) i");
my $error = $session->error_of("SELECT lifeguard.create_policy('one more', 'active', '1 h')");
is($error->{message}, 'cannot store policy "one more": there are 5 already', 'one too many');
$_->close foreach ($session, $other);
$node->append_conf('postgresql.conf', "pg_lifeguard.max_policies = 3\n");
$node->restart;
$session = LgSession->new($node);
$session->query("SELECT lifeguard.alter_policy('p', keep => 0, comment => 'still here')");
is($session->query("SELECT count(*) FROM lifeguard.policy"), '5', 'fewer allowed: those there stay and can be changed');
$error = $session->error_of("SELECT lifeguard.create_policy('one more', 'active', '1 h')");
is($error->{message}, 'cannot store policy "one more": there are 3 already', 'and no other comes');
$session->query("SELECT lifeguard.drop_policy(n) FROM unnest('{p1,p2,p3}'::text[]) n");

# --- a dump keeps state and owner, also where nobody has heard of that owner
$session->query(<<'END');
UPDATE lifeguard.policy SET enabled = false, action = 'terminate', max_per_pass = 7, schedule = '0 3 * * *', queries = '{"it''s %",42}'
WHERE name = 'of clerk'
END
$session->query('CREATE DATABASE office TEMPLATE template0');
my $dump = $node->basedir . '/dump.sql';
my $rows = "SELECT p FROM lifeguard.policy p ORDER BY name";
my $before = $session->query($rows);
$node->command_ok([ 'pg_dump', '--file', $dump, $node->connstr('postgres') ], 'dumped');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('office') ], 'restored elsewhere');
my $office = LgSession->new($node, dbname => 'office');
is($office->query($rows), $before, 'state and owners are kept');
like($before, qr/clerk/, 'that of another role, too');
$session->query('CREATE ROLE reader LOGIN');
$node->command_fails_like([ 'pg_dump', '-U', 'reader', $node->connstr('office') ], qr/permission denied for table policy/,
	'a role that may not read policies cannot dump them');
$session->query('GRANT pg_read_all_stats TO reader');
$node->command_ok([ 'pg_dump', '-U', 'reader', '--file', "$dump.reader", $node->connstr('office') ], 'one that may can');

my $fresh = lg_server('fresh', extension => 0);
# without what was granted to a role that is not there
$node->command_ok([ 'pg_dump', '--no-privileges', '--file', $dump, $node->connstr('postgres') ], 'dumped without privileges');
my ($out, $err) = run_command([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $fresh->connstr('postgres') ]);
like($err, qr/WARNING:  policy "of clerk" never acts: its owner, role "clerk", does not exist/, 'restored in another cluster, with a warning');
is($fresh->safe_psql('postgres', $rows), $before, 'and kept there');
$fresh->stop;

# --- the home database
sub notices
{
	my ($server, $database, $sql) = @_;
	my ($result, $output, $errors) = $server->psql($database, $sql);
	return $errors =~ s/^psql:<stdin>:\d+: //mgr;
}

$office->close;
$session->query('DROP DATABASE office');
$session->query('CREATE DATABASE "o\'Brien" TEMPLATE template0');
is(notices($node, "o'Brien", 'BEGIN; CREATE EXTENSION pg_lifeguard; ROLLBACK'), '', 'rolled back: nothing is said');
is(notices($node, "o'Brien", 'BEGIN; SAVEPOINT a; CREATE EXTENSION pg_lifeguard; ROLLBACK TO a; COMMIT'), '', 'nor by a savepoint');
is(notices($node, "o'Brien", 'SET client_min_messages = warning; BEGIN; CREATE EXTENSION pg_lifeguard; COMMIT; DROP EXTENSION pg_lifeguard'),
	'', 'nor to who wants none');
is(notices($node, "o'Brien", 'CREATE EXTENSION pg_lifeguard'), <<'END' =~ s/\n$//r, 'away from home');
NOTICE:  policies are managed in database "postgres"
DETAIL:  In database "o'Brien" the views show the whole server, but no policy is in force.
HINT:  To make this one the home database: ALTER SYSTEM SET pg_lifeguard.database = 'o''Brien'; SELECT pg_reload_conf();
END
my $away = LgSession->new($node, dbname => "o'Brien");
$error = $away->error_of("SELECT lifeguard.create_policy('p', 'active', '1 h')");
is($error->{message}, 'policies are managed in database "postgres"', 'managing fails');
my ($hint) = $error->{hint} =~ /(ALTER SYSTEM .*?;) SELECT pg_reload_conf\(\);$/;
ok($hint, 'and says how to move') or $hint = 'SELECT 1';
$away->query($hint);
$away->query('SELECT pg_reload_conf()');
ok($away->poll('SELECT lifeguard.home_database()', "o'Brien"), 'moved');
$away->query("SELECT lifeguard.create_policy('p', 'active', '1 h')");
ok($session->poll('SELECT lifeguard.home_database()', "o'Brien"), 'moved for the others');
like($session->error_of("SELECT lifeguard.drop_policy('p')")->{message}, qr/policies are managed in database "o'Brien"/, 'the old home is none');
$away->query(q(SELECT lifeguard.drop_policy('p')));
is(notices($node, "o'Brien", 'DROP EXTENSION pg_lifeguard; CREATE EXTENSION pg_lifeguard'), '', 'at home nothing is said');
is($session->query('SELECT collector FROM lifeguard.status'), 'running', 'the collector is none the worse');
$_->close foreach ($session, $away);
$node->stop;
is(lg_log_complaints($node, allow => qr/policies fit into shared memory/), '', 'nothing bad in the log');

# --- not loaded: stored and told all the same
$node = lg_server('plain', preload => '', extension => 0);
$node->safe_psql('postgres', 'CREATE DATABASE office');
is(notices($node, 'office', 'CREATE EXTENSION pg_lifeguard'), '', 'not loaded: nowhere is home');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_lifeguard');
$session = LgSession->new($node);
$offset = undef;
lines_are($insert, $created, 'not loaded');
is($session->query('SELECT count(*) FROM lifeguard.policy'), '1', 'stored');
$session->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
