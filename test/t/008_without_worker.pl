# Where no worker may run, the library is loaded all the same and harms nobody:
# initdb, single-user mode, pg_upgrade's binary upgrade mode, a server without slots.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run qw(run);
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

# --- initdb with the library in its configuration template
chomp(my $share = `pg_config --sharedir`);
my $template = PostgreSQL::Test::Utils::tempdir;
symlink $_, $template . '/' . s/.*\///r foreach glob "$share/*";
unlink "$template/postgresql.conf.sample";
append_to_file("$template/postgresql.conf.sample",
	slurp_file("$share/postgresql.conf.sample") . "\nshared_preload_libraries = 'pg_lifeguard'\n");
my $data = PostgreSQL::Test::Utils::tempdir . '/data';
command_ok([ 'initdb', '-N', '-A', 'trust', '-L', $template, '-D', $data ], 'initdb');
like(slurp_file("$data/postgresql.conf"), qr/^shared_preload_libraries = 'pg_lifeguard'$/m, 'with the library preloaded');

# --- single-user mode
sub single_user
{
	my ($folder, $sql) = @_;
	my ($out, $err) = ('', '');

	run [ 'postgres', '--single', '-j', '-D', $folder, 'postgres' ], '<', \$sql, '>', \$out, '2>', \$err,
	  IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default);
	return ($? == 0, $out, $err);
}

my ($ok, $out, $err) = single_user($data, "CREATE EXTENSION pg_lifeguard;\n\nSELECT collector FROM lifeguard.status;\n\n"
	  . "SELECT lifeguard.run_pass();\n\nSELECT 'passes ' || passes AS told FROM lifeguard.status;\n\n"
	  . "SELECT 'used ' || used AS told FROM lifeguard.connections;\n\nSELECT count(*) FROM lifeguard.lock_tree;\n\n");
ok($ok, 'single-user mode');
like($out, qr/collector = "no collector"/, 'has no collector');
like($out, qr/told = "passes 1"/, 'can make a pass');
like($out, qr/told = "used 1"/, 'counts its only connection');
unlike($err, qr/(?:WARNING|ERROR|FATAL|PANIC|TRAP)/, 'and complains of nothing');

# --- binary upgrade mode
my $node = lg_server('upgraded');
ok($node->poll_query_until('postgres', 'SELECT passes > 0 FROM lifeguard.status'), 'before, the collector runs');
$node->stop;
my $begin = -s $node->logfile;
command_ok(
	[ 'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start' ],
	'started as pg_upgrade does');
my $session = LgSession->new($node);
is($session->query("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'lifeguard'"), '0', 'no worker');
is(lg_status($session, 'collector, collector_pid, passes'), 'no collector||0', 'status says so');
is(lg_view_errors($session), '', 'every view answers');
$session->query('SELECT lifeguard.run_pass()');
is(lg_status($session, 'passes'), '1', 'a pass on demand works');
$session->close;
command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, '-m', 'fast', 'stop' ], 'stopped');
unlike(slurp_file($node->logfile, $begin), qr/pg_lifeguard collector/, 'no worker was tried');
$node->start;
ok($node->poll_query_until('postgres', "SELECT collector = 'running' AND passes > 0 FROM lifeguard.status"),
	'afterwards it runs again');

# --- no worker slot
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
$session = LgSession->new($node);
is(lg_status($session, 'collector, collector_starts'), 'no collector|0', 'no slot for the collector');
like(lg_status($session, 'message'), qr/no worker slot.*raise max_worker_processes/, 'status says what to do');
is(lg_view_errors($session), '', 'every view answers');
$session->close;

$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
