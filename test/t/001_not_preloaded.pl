# Without preloading, whatever describes "now" works and the rest says why not.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('plain', preload => '', extension => 0);
my $session = LgSession->new($node);
$session->query('CREATE EXTENSION pg_lifeguard; CREATE TABLE till (id int); CREATE ROLE clerk LOGIN');

# Settings exist from the first call on, or from LOAD, in every process.
my $fresh = LgSession->new($node);
like($fresh->error_of('SHOW pg_lifeguard.sample_interval')->{message},
	qr/unrecognized configuration parameter/, 'no settings before the library is loaded');
$fresh->query("LOAD 'pg_lifeguard'");
is($fresh->query('SHOW pg_lifeguard.sample_interval'), '1s', 'sample_interval after LOAD');
is($fresh->query('SHOW pg_lifeguard.fast_interval'), '100ms', 'fast_interval after LOAD');
like($fresh->error_of('SET pg_lifeguard.sample_interval = 5')->{message},
	qr/parameter "pg_lifeguard.sample_interval" cannot be changed now/,
	'a session cannot set what a reload sets');
like($fresh->error_of('SET pg_lifeguard.sample_intervall = 5')->{message},
	qr/"pg_lifeguard.sample_intervall"/, 'a misspelt setting is refused');
$fresh->close;

# Live views, by anybody.
is(lg_view_errors($session), '', 'every view answers');
my $clerk = LgSession->new($node, user => 'clerk');
is(lg_view_errors($clerk), '', 'every view answers a plain role');
is(lg_negative_ages($session), '', 'no negative age');

# What status says of itself.
is(lg_status($session, 'collector'), 'not loaded', 'status says so');
is( lg_status($session,
		'library_version = catalog_version AND catalog_version = (SELECT default_version FROM pg_available_extensions WHERE name = \'pg_lifeguard\')'),
	't', 'status knows its versions');
like(lg_status($session, 'message'),
	qr/^pg_lifeguard is not loaded: add it to shared_preload_libraries and restart/,
	'status says what to do');
is($session->query(<<'END'), '', 'everything else in status is NULL');
SELECT string_agg(key, ' ') FROM lifeguard.status s, jsonb_each(to_jsonb(s))
WHERE key NOT IN ('collector', 'library_version', 'catalog_version', 'message') AND value <> 'null'
END
ok($session->poll('SELECT used, used_share > 0, high_water, high_water_at FROM lifeguard.connections', '2|t||'),
	'connections are counted, without a high-water mark');

# What needs the collector.
foreach my $function (qw(run_pass reset))
{
	my $error = $session->error_of("SELECT lifeguard.$function()");
	is($error->{message}, 'pg_lifeguard is not loaded', "$function() refuses");
	is($error->{sqlstate}, '55000', "$function() has its SQLSTATE");
	is( $error->{hint},
		'Add "pg_lifeguard" to "shared_preload_libraries" and restart the server.',
		"$function() says what to do");
	like($clerk->error_of("SELECT lifeguard.$function()")->{message},
		qr/permission denied for function $function/, "$function() is not everybody's");
}
is($session->query("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'lifeguard'"),
	'0', 'no worker');

# A wait and its root are seen all the same.
my $holder = LgSession->new($node);
$holder->query('BEGIN; LOCK TABLE till');
my $waiter = LgSession->new($node);
$waiter->send('SELECT FROM till');
ok( $session->poll(
		"SELECT root_pids = ARRAY[${\$holder->pid}] AND depth = 1 FROM lifeguard.lock_waits WHERE pid = ${\$waiter->pid}"),
	'a wait and its root');
is($session->query('SELECT pid, state, blocked_total, relation_name FROM lifeguard.blockers'),
	$holder->pid . '|idle in transaction|1|public.till', 'the blocker');
is(lg_view_errors($session), '', 'every view answers while somebody waits');
$holder->query('ROLLBACK');
ok(!$waiter->answer->{error}, 'the waiter got through');
is($session->query('SELECT count(*) FROM lifeguard.lock_waits'), '0', 'nobody waits any more');

$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
