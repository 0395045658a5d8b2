# Blockers that isolationtester cannot have: a prepared transaction alone, a
# parallel query that runs, autovacuum, a session of another database.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('blockers');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'pg_lifeguard'
pg_lifeguard.sample_interval = 0
max_prepared_transactions = 5
autovacuum = off
autovacuum_naptime = 1s
deadlock_timeout = 1h
jit = off
});
$node->start;

my $oracle = slurp_file('test/isolation/oracle.sql');
foreach my $db ('postgres', 'elsewhere')
{
	$node->safe_psql('postgres', "CREATE DATABASE $db") if $db ne 'postgres';
	$node->safe_psql($db, "BEGIN; $oracle; COMMIT;");
	$node->safe_psql($db, 'CREATE TABLE till (id int PRIMARY KEY, amount int);
		INSERT INTO till SELECT i, 0 FROM generate_series(1, 1000) i;');
}

my @session;

# A session that is sent a statement and not waited for.
sub send_off
{
	my ($db, $name, $sql) = @_;
	my $session = $node->background_psql($db, on_error_stop => 0);

	push @session, $session;
	$session->query_safe("SET application_name = '$name'");
	$session->query_until(qr/^sent$/m, "\\echo sent\n$sql\n");
	return $session;
}

sub wait_for_waiters
{
	my ($n) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) = $n FROM pg_locks WHERE NOT granted") or die "$n did not wait";
}

sub is_right
{
	my ($db, $what) = @_;
	is($node->safe_psql($db, 'SELECT contradictions()'), '', "$what: as pg_blocking_pids() and pg_locks have it");
}

# --- a prepared transaction, and nobody else ---------------------------------

$node->safe_psql('postgres', "BEGIN; UPDATE till SET amount = 1 WHERE id = 1; PREPARE TRANSACTION 'it''s \"night\"'");
send_off('postgres', 'first', 'UPDATE till SET amount = 2 WHERE id = 1;');
wait_for_waiters(1);
send_off('postgres', 'second', 'UPDATE till SET amount = 3 WHERE id = 1;');
wait_for_waiters(2);
is_right('postgres', 'prepared transaction');
is( $node->safe_psql('postgres', 'SELECT who(pid), blocked_by = ARRAY[0], root_pids, depth, page, tuple FROM lifeguard.lock_waits ORDER BY 1'),
	"first|t|{0}|1|0|1\nsecond|f|{0}|2|0|1", 'prepared transaction: 0 among the PIDs');
is( $node->safe_psql('postgres', 'SELECT pid, gid, datname, usename = current_user, backend_type, state, blocked_directly, blocked_total FROM lifeguard.blockers'),
	"|it's \"night\"|postgres|t|||1|2", 'prepared transaction: its gid among the blockers');
is( $node->safe_psql('elsewhere', 'SELECT gid, datname, relation_name, remedy FROM lifeguard.blockers'),
	qq{it's "night"|postgres||ROLLBACK PREPARED 'it''s "night"'; -- in database postgres}, 'prepared transaction: seen from elsewhere');
$node->safe_psql('postgres', $node->safe_psql('elsewhere', 'SELECT remedy FROM lifeguard.blockers'));
wait_for_waiters(0);
ok($node->poll_query_until('postgres', 'SELECT amount = 3 FROM till WHERE id = 1'), 'prepared transaction: the remedy freed both');

# --- a parallel query that runs ----------------------------------------------

$node->safe_psql('postgres', q{
	CREATE TABLE wide (id int, filler text) WITH (parallel_workers = 2, fillfactor = 10);
	INSERT INTO wide SELECT i, repeat('x', 1000) FROM generate_series(1, 50) i;
	-- runs, and waits for no lock, as long as somebody holds key 1
	CREATE FUNCTION run_on(int) RETURNS bool LANGUAGE plpgsql PARALLEL SAFE COST 100000 AS $$
	BEGIN
		WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 1) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN true;
	END $$;
});
my $key = $node->background_psql('postgres');
$key->query_safe('SELECT pg_advisory_lock(1)');
send_off('postgres', 'leader', 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
	SELECT count(*) FROM wide WHERE run_on(id);');
$node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM pg_locks WHERE relation = 'wide'::regclass}) or die 'no parallel query';
send_off('postgres', 'alter', 'ALTER TABLE wide ADD amount int;');
wait_for_waiters(1);
send_off('postgres', 'reader', 'SELECT FROM wide;');
wait_for_waiters(2);
is_right('postgres', 'parallel query');
is( $node->safe_psql('postgres', 'SELECT who(pid), who(blocked_by), cardinality(blocked_by), who(root_pids), depth FROM lifeguard.lock_waits ORDER BY 1'),
	"alter|leader|1|leader|1\nreader|alter|1|leader|2", 'parallel query: leader and workers are one blocker');
is( $node->safe_psql('postgres', 'SELECT who(pid), state, blocked_directly, blocked_total, held_modes FROM lifeguard.blockers'),
	'leader|active|1|2|{AccessShareLock}', 'parallel query: the root is the session');
is( $node->safe_psql('postgres', q{SELECT count(*), count(leader_pid) FROM lifeguard.sessions WHERE application_name = 'leader'}),
	'1|0', 'parallel query: its workers are no sessions');
$key->quit;
wait_for_waiters(0);

# --- autovacuum ---------------------------------------------------------------

# so slowly that it is still at it when we look; it gives way only after deadlock_timeout
$node->safe_psql('postgres', q{
	CREATE TABLE litter (id int, filler text) WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
		autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, fillfactor = 10);
	INSERT INTO litter SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i;
	UPDATE litter SET id = 0;
	ALTER SYSTEM SET autovacuum = on;
	SELECT pg_reload_conf();
});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE l.relation = 'litter'::regclass AND l.mode = 'ShareUpdateExclusiveLock' AND a.backend_type = 'autovacuum worker'}) or die 'no autovacuum';
send_off('postgres', 'ddl', 'ALTER TABLE litter ADD amount int;');
wait_for_waiters(1);
send_off('postgres', 'reader 2', 'SELECT count(*) FROM litter;');
wait_for_waiters(2);
is_right('postgres', 'autovacuum');
is( $node->safe_psql('postgres', 'SELECT backend_type, datname, usename, relation_name, held_modes, awaited_modes, blocked_directly, blocked_total, remedy FROM lifeguard.blockers'),
	'autovacuum worker|postgres||public.litter|{ShareUpdateExclusiveLock}|{AccessExclusiveLock}|1|2|none: autovacuum gives way by itself, unless it prevents wraparound and must be let finish',
	'autovacuum: the root, and no session to be ended');
is( $node->safe_psql('postgres', q{SELECT regexp_replace(tree, '\m\d+([:.]\d+)*', 'N', 'g') FROM lifeguard.lock_tree LIMIT 1}) =~ /^N autovacuum worker\@postgres/,
	1, 'autovacuum: named in the tree');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM lifeguard.sessions WHERE backend_type <> 'client backend' OR leader_pid IS NOT NULL}),
	'0', 'autovacuum: not among the sessions');
$node->safe_psql('postgres', q{ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf();});
$node->poll_query_until('postgres', q{SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'});
wait_for_waiters(0);

# --- another database ----------------------------------------------------------

my $holder = send_off('elsewhere', 'holder', 'BEGIN; UPDATE till SET amount = 1; LOCK TABLE till IN SHARE MODE;');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE mode = 'ShareLock' AND locktype = 'relation' AND granted});
send_off('elsewhere', 'row', 'SELECT FROM till WHERE id = 7 FOR UPDATE;');
wait_for_waiters(1);
send_off('elsewhere', 'table', 'INSERT INTO till VALUES (0, 0);');
wait_for_waiters(2);
is_right('postgres', 'another database');
is_right('elsewhere', 'another database, from within');
is( $node->safe_psql('postgres', q{SELECT who(pid), datname, relation IS NOT NULL, relation_name, page, tuple, regexp_replace(awaited, 'transaction \d+', 'transaction N'), who(root_pids)
	FROM lifeguard.lock_waits ORDER BY 1}),
	"row|elsewhere|t||0|7|transaction N, row (0,7) of a relation of another database|holder\n"
	  . "table|elsewhere|t||||relation a relation of another database|holder", 'another database: no name, but which row');
is( $node->safe_psql('elsewhere', q{SELECT who(pid), relation_name, regexp_replace(awaited, 'transaction \d+', 'transaction N') FROM lifeguard.lock_waits ORDER BY 1}),
	"row|public.till|transaction N, row (0,7) of public.till\ntable|public.till|relation public.till", 'another database: named within');
is( $node->safe_psql('postgres', 'SELECT who(pid), datname, blocked_total FROM lifeguard.blockers'), 'holder|elsewhere|2', 'another database: the root');
$node->safe_psql('postgres', $node->safe_psql('postgres', 'SELECT remedy FROM lifeguard.blockers'));
wait_for_waiters(0);
is($node->safe_psql('postgres', q{SELECT count(*) FROM lifeguard.sessions WHERE application_name = 'holder'}), '0', 'another database: the remedy ended the root');

# --- names that would be lines of the tree ---------------------------------------

$node->safe_psql('postgres', q{CREATE TABLE U&"till\000a1 nobody@postgres idle\000d2" ()});
send_off('postgres', 'holder', q{BEGIN; LOCK TABLE U&"till\000a1 nobody@postgres idle\000d2";});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation' AND granted});
send_off('postgres', 'reader', q{SELECT FROM U&"till\000a1 nobody@postgres idle\000d2";});
wait_for_waiters(1);
is($node->safe_psql('postgres', q{SELECT count(*), count(*) FILTER (WHERE tree ~ '[\n\r]') FROM lifeguard.lock_tree}), '2|0', 'a line each');

eval { $_->{run}->kill_kill } foreach @session;
$node->stop;
done_testing();
