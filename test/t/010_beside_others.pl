# Beside other libraries, loaded before and after them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @others = (
	{
		library => 'pg_stat_statements',
		extension => 1,
		works => "SELECT count(*) > 0 FROM pg_stat_statements WHERE query LIKE '%lifeguard%'"
	},
	{
		library => 'auto_explain',
		conf => "auto_explain.log_min_duration = 0\nauto_explain.log_analyze = on\nauto_explain.log_nested_statements = on\n",
	},
	{
		library => 'pg_wait_sampling',
		extension => 1,
		works => 'SELECT count(*) > 0 FROM pg_wait_sampling_profile'
	},
	{
		library => 'pg_cron',
		extension => 1,
		conf => "cron.database_name = 'postgres'\n",
		works => "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher'"
	});
my @present = grep { lg_has_library($_->{library}) } @others;
my $node = lg_server('beside', conf => "compute_query_id = on\n");

foreach my $other (@others)
{
	SKIP:
	{
		skip "$other->{library} is not installed", 1 unless lg_has_library($other->{library});
		pass("$other->{library} is there");
		$node->append_conf('postgresql.conf', $other->{conf} // '');
	}
}

foreach my $order ('first', 'last')
{
	my @libraries = map { $_->{library} } @present;
	@libraries = $order eq 'first' ? ('pg_lifeguard', @libraries) : (@libraries, 'pg_lifeguard');
	$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'" . join(',', @libraries) . "'");
	$node->restart;

	my $session = LgSession->new($node);
	$session->query("CREATE EXTENSION IF NOT EXISTS $_->{library}") foreach grep { $_->{extension} } @present;
	$session->query('DROP TABLE IF EXISTS till; CREATE TABLE till AS SELECT 1 AS id');
	ok(lg_passes($session, 3), "$order: passes");
	is(lg_view_errors($session), '', "$order: every view answers");
	is(lg_negative_ages($session), '', "$order: no negative age");

	# With query ids, and under auto_explain's EXPLAIN ANALYZE.
	my $holder = LgSession->new($node);
	my $waiter = LgSession->new($node);
	$holder->query('BEGIN; UPDATE till SET id = id');
	$waiter->send("UPDATE till SET id = id /* controller='checkout' */");
	ok( $session->poll(
			"SELECT query_id <> 0 AND query_tags = \$\$controller='checkout'\$\$ AND root_pids = ARRAY[${\$holder->pid}] FROM lifeguard.lock_waits"
		),
		"$order: a wait with query id and tags");
	is(lg_view_errors($session), '', "$order: every view answers meanwhile");
	$holder->query('ROLLBACK');
	ok(!$waiter->answer->{error}, "$order: the waiter got through");

	foreach my $other (grep { $_->{works} } @present)
	{
		ok($session->poll($other->{works}), "$order: $other->{library} works");
	}

	# Workers of others come and go by their own rules; ours by ours.
	my $pid = lg_status($session, 'collector_pid');
	$session->query("SELECT pg_terminate_backend($pid)");
	ok(lg_collector_again($session, $pid), "$order: the collector comes back");
	$_->close foreach ($holder, $waiter, $session);
}

$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
