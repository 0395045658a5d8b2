# A library that meets a catalog of another version says so and crashes nobody.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('versions', conf => <<'END');
pg_lifeguard.sample_interval = 200ms
pg_lifeguard.min_episode = 0
pg_lifeguard.incident_min_waiters = 1
pg_lifeguard.track_statements = 1
END
my $session = LgSession->new($node);
my $version = lg_status($session, 'library_version');

ok(lg_passes($session, 1), 'a pass');
is(lg_status($session, 'catalog_version, message'), "$version|", 'versions agree, nothing to say');

# --- an older catalog
$session->query("UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'pg_lifeguard'");
is(lg_status($session, 'catalog_version'), '0.9', 'an older catalog');
like(lg_status($session, 'message'),
	qr/^library \Q$version\E meets catalog 0\.9: run ALTER EXTENSION pg_lifeguard UPDATE/, 'status says what to do');
is(lg_view_errors($session), '', 'every view answers');
ok(lg_passes($session, 2), 'passes go on');
$session->query("UPDATE pg_extension SET extversion = '$version' WHERE extname = 'pg_lifeguard'");
is(lg_status($session, 'message'), '', 'nothing to say again');

# --- functions that an other version declared with other columns
my @functions = split /\n/, $session->query(<<'END');
SELECT prosrc || ' ' || array_length(array_remove(proargmodes, 'i'), 1)
FROM pg_proc p JOIN pg_language l ON l.oid = prolang
WHERE pronamespace = 'lifeguard'::regnamespace AND lanname = 'c' AND proretset ORDER BY 1
END
cmp_ok(scalar @functions, '>=', 4, 'functions that return rows');
$session->query('CREATE TABLE till (id int)');
my $holder = LgSession->new($node);
my $waiter = LgSession->new($node);
$holder->query('BEGIN; LOCK TABLE till');    # so that each of them has a row to return
$waiter->send('SELECT FROM till');
ok($session->poll('SELECT count(*) = 1 FROM lifeguard.lock_waits'), 'somebody waits');
is($session->query("SELECT lifeguard.cancel_session($holder->{pid}, 'nothing runs')"),
	'spared: nothing to cancel', 'an entry in the ledger');
$session->query("SELECT lifeguard.create_policy('watch', 'idle in transaction', '1 h')");
ok($session->poll("SELECT count(*) = 1 FROM lifeguard.preview_policy('watch') WHERE pid = $holder->{pid}"),
	'a policy that means somebody');

# an episode of each kind that is over
my ($before, $behind) = map { LgSession->new($node) } 1 .. 2;
$before->query('BEGIN; SELECT pg_advisory_xact_lock(1)');
$behind->send('SELECT pg_advisory_xact_lock(1)');
ok($session->poll('SELECT count(*) = 2 FROM lifeguard.lock_waits'), 'one more waits');
$session->query('SELECT lifeguard.run_pass(), pg_sleep(0.01), lifeguard.run_pass()');
$before->query('COMMIT');
ok(!$behind->answer->{error}, 'and has waited');
$_->close foreach ($before, $behind);
ok($session->poll('SELECT count(*) > 0 FROM lifeguard.lock_wait_history'), 'a lock wait that is over');
ok($session->poll('SELECT count(*) > 0 FROM lifeguard.idle_transaction_history'), 'a pause that is over');
ok($session->poll('SELECT count(*) > 0 FROM lifeguard.connection_usage_history'), 'a sample of who holds connections');
$session->query('CREATE ROLE nobody LOGIN CONNECTION LIMIT 0');
ok(LgSession->new($node, user => 'nobody', refused_ok => 1)->{refused}, 'a connection is refused');
ok($session->poll('SELECT count(*) = 1 FROM lifeguard.refusals'), 'which is kept');
$session->query("SELECT lifeguard.create_policy('was', 'idle in transaction', '1 ms')");
my %arguments = (
	pg_lifeguard_replay_episodes => [
		'policy lifeguard.policy, since timestamptz, until timestamptz, ',
		"(SELECT p FROM lifeguard.policy p WHERE name = 'was'), '-infinity', 'infinity'" ],
	pg_lifeguard_read_lock_graph => ['part text, ', "'waits'"],
	pg_lifeguard_preview_policy => ['name text, ', "'watch'"],
	pg_lifeguard_run_policy => ['name text, rehearse boolean, ', "'watch', true"]);
foreach my $function (@functions)
{
	my ($symbol, $n) = split / /, $function;

	foreach my $columns (2, $n - 1, $n + 1, 100)
	{
		my ($in, $argument) = @{ $arguments{$symbol} // ['', ''] };
		$session->query("DROP FUNCTION IF EXISTS impostor");
		$session->query("CREATE FUNCTION impostor($in"
			  . join(', ', map { "OUT c$_ text" } 1 .. $columns)
			  . ") RETURNS SETOF record AS '\$libdir/pg_lifeguard', '$symbol' LANGUAGE C STRICT");
		my $error = $session->error_of("SELECT count(*) FROM impostor($argument)");
		is($error && "$error->{sqlstate} $error->{message}",
			'55000 library and catalog of pg_lifeguard do not match',
			"$symbol declared with $columns columns");
		like($error->{hint} // '', qr/ALTER EXTENSION pg_lifeguard UPDATE/, "$symbol says what to do");
	}
	like(
		$session->error_of("CREATE FUNCTION nobody() RETURNS int AS '\$libdir/pg_lifeguard', '${symbol}_0_1' LANGUAGE C")->{message},
		qr/could not find function "${symbol}_0_1"/,
		'a function that the library does not have is refused');
}
is(lg_view_errors($session), '', 'every view answers');
$holder->query('ROLLBACK');
ok(!$waiter->answer->{error}, 'the waiter got through');
is(lg_status($session, 'collector_starts'), '1', 'the collector did not notice');

$_->close foreach ($holder, $waiter, $session);
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
