# The lock graph under fire: many clients lock, deadlock, connect and leave
# while others read as fast as they can; nobody crashes and nobody fails.  Then
# random tangles that hold still, deadlocks among them: not one wrong root.
#
# LG_LONG=1 makes it a minute of fire and ten times as many tangles.
# LG_SEED repeats the tangles of an earlier run.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{LG_LONG} ? 60 : 10;
my $rounds = $ENV{LG_LONG} ? 100 : 20;
my $actors = 16;
my $seed = $ENV{LG_SEED} // int(rand(1_000_000));
note "seed $seed";

my $node = PostgreSQL::Test::Cluster->new('stress');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'pg_lifeguard'
pg_lifeguard.sample_interval = 100
pg_lifeguard.fast_interval = 10
max_connections = 100
max_prepared_transactions = 50
deadlock_timeout = 5ms
autovacuum_naptime = 1s
jit = off
log_min_messages = warning
});
$node->start;

my $oracle = slurp_file('test/isolation/oracle.sql');
$node->safe_psql('postgres', "BEGIN; $oracle; COMMIT;");
$node->safe_psql(
	'postgres', q{
CREATE TABLE till_1 (id int PRIMARY KEY, v int);
CREATE TABLE till_2 (id int PRIMARY KEY, v int);
CREATE TABLE till_3 (id int PRIMARY KEY, v int, shop int REFERENCES till_1);
INSERT INTO till_1 SELECT i, 0 FROM generate_series(1, 5) i;
INSERT INTO till_2 SELECT i, 0 FROM generate_series(1, 5) i;
INSERT INTO till_3 SELECT i, 0, i FROM generate_series(1, 5) i;

CREATE FUNCTION lock_one(tab int, mode int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('LOCK TABLE till_%s IN %s MODE', tab,
		(ARRAY['ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE',
			   'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE'])[mode]);
END $$;

-- n locks, in the order that the seed gives: rows and keys, or whole tables too
CREATE FUNCTION act(seed float8, n int, tables bool) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	tab text;
	id int;
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1..n LOOP
		tab := 'till_' || 1 + floor(random() * 3);
		id := 1 + floor(random() * 5);
		CASE floor(random() * CASE WHEN tables THEN 11 ELSE 9 END)
		WHEN 0, 1, 2, 8 THEN EXECUTE format('UPDATE %s SET v = v + 1 WHERE id = %s', tab, id);
		WHEN 3 THEN EXECUTE format('SELECT FROM %s WHERE id = %s FOR SHARE', tab, id);
		WHEN 4 THEN EXECUTE format('INSERT INTO %s VALUES (%s) ON CONFLICT DO NOTHING', tab, 100 + id);
		WHEN 5 THEN INSERT INTO till_3 VALUES (1000 + floor(random() * 1000000), 0, id) ON CONFLICT DO NOTHING;
		WHEN 6 THEN PERFORM pg_advisory_xact_lock(id);
		WHEN 7 THEN PERFORM pg_advisory_xact_lock_shared(id);
		ELSE PERFORM lock_one(1 + floor(random() * 3)::int, 1 + floor(random() * random() * 8)::int);
		END CASE;
	END LOOP;
END $$;
});

# ---------------------------------------------------------------------------
# Under fire
# ---------------------------------------------------------------------------

my %scripts = (
	one => q{
\set a random(1, 5)
\set t random(1, 3)
UPDATE till_:t SET v = v + 1 WHERE id = :a;
},
	rows => q{
\set a random(1, 5)
\set b random(1, 5)
BEGIN;
UPDATE till_1 SET v = v + 1 WHERE id = :a;
SELECT pg_sleep(0.001);
UPDATE till_2 SET v = v + 1 WHERE id = :b;
UPDATE till_1 SET v = v + 1 WHERE id = :b;
END;
},
	shared => q{
\set a random(1, 5)
\set b random(1, 5)
BEGIN;
SELECT v FROM till_1 WHERE id = :a FOR SHARE;
SELECT pg_sleep(0.001);
SELECT v FROM till_2 WHERE id = :b FOR NO KEY UPDATE;
UPDATE till_1 SET v = v + 1 WHERE id = :a;
END;
},
	tables => q{
\set t random(1, 3)
\set u random(1, 3)
\set m random(1, 8)
\set n random(1, 8)
BEGIN;
SELECT lock_one(:t, :m);
SELECT lock_one(:u, :n);
END;
},
	keys => q{
\set a random(1, 3)
\set b random(1, 3)
SELECT pg_advisory_lock(:a, -1);
BEGIN;
SELECT pg_advisory_xact_lock(:a), pg_advisory_xact_lock_shared(:b);
END;
SELECT pg_advisory_unlock_all();
},
	inserts => q{
\set a random(100, 105)
\set b random(1, 5)
BEGIN;
INSERT INTO till_1 VALUES (:a, 0) ON CONFLICT DO NOTHING;
INSERT INTO till_3 VALUES (:a, 0, :b) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
DELETE FROM till_3 WHERE id = :a;
END;
},
	prepared => q{
\set a random(1, 5)
BEGIN;
UPDATE till_2 SET v = v + 1 WHERE id = :a;
PREPARE TRANSACTION 'client :client_id';
SELECT pg_sleep(0.002);
ROLLBACK PREPARED 'client :client_id';
},
	parallel => q{
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SELECT count(*) FROM till_1 a, till_2 b;
END;
},
	ddl => q{
\set t random(1, 3)
\set n random(10, 100)
ALTER TABLE till_:t ALTER v SET STATISTICS :n;
});
my $dir = $node->basedir;
my @fire;
foreach my $name (sort keys %scripts)
{
	append_to_file("$dir/$name.sql", $scripts{$name});
	my $weight = $name eq 'one' ? 60 : $name eq 'ddl' || $name eq 'tables' ? 1 : 4;
	push @fire, '-f', "$dir/$name.sql\@$weight";
}
append_to_file("$dir/reader.sql", q{
SELECT count(*), sum(cardinality(blocked_by)), sum(depth), count(relation_name), max(waited), count(query_tags) FROM lifeguard.lock_waits;
SELECT count(*), sum(blocked_total), max(remedy) FROM lifeguard.blockers;
SELECT count(*), max(tree) FROM lifeguard.lock_tree;
SELECT count(*), sum(blocking), max(query) FROM lifeguard.sessions;
SELECT count(*), sum(locks_held) FROM lifeguard.idle_transactions;
SELECT * FROM lifeguard.connections;
SELECT * FROM lifeguard.connection_usage;
SELECT * FROM lifeguard.status;
SELECT lifeguard.run_pass();
});
# what can never be, whatever changes between two looks
append_to_file("$dir/impossible.sql", q{
SELECT 1 / (count(*) = 0)::int FROM lifeguard.lock_waits
WHERE pid = ANY (blocked_by) OR depth < 1 OR depth IS NOT NULL AND deadlock OR waited < '0' OR locktype IS NULL OR mode IS NULL
   OR blocked_by IS DISTINCT FROM ARRAY(SELECT DISTINCT p FROM unnest(blocked_by) p ORDER BY 1);
SELECT 1 / (count(*) = count(DISTINCT pid))::int FROM lifeguard.lock_tree WHERE pid IS NOT NULL;
SELECT 1 / (count(*) = 0)::int FROM lifeguard.blockers
WHERE blocked_total < blocked_directly OR blocked_directly < 1 OR total_wait < longest_wait OR remedy IS NULL;
SELECT 1 / (count(*) = 0)::int FROM lifeguard.connections WHERE used < active + idle + idle_in_transaction + idle_in_transaction_aborted;
});
append_to_file("$dir/short.sql", q{
\set a random(1, 5)
UPDATE till_2 SET v = v + 1 WHERE id = :a;
SELECT count(*) FROM lifeguard.lock_waits;
});

my %crowd = (
	'40 clients' => [ '-c', 40, '-j', 2, '--max-tries=0', @fire ],
	'readers' => [ '-c', 4, '-f', "$dir/reader.sql" ],
	'doubters' => [ '-c', 2, '-f', "$dir/impossible.sql" ],
	'short connections' => [ '-C', '-c', 3, '--max-tries=0', '-f', "$dir/short.sql" ]);
my %run;
foreach my $who (sort keys %crowd)
{
	my $output = '';
	$run{$who} = [ \$output, IPC::Run::start(
		[ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-T', $seconds, @{ $crowd{$who} }, 'postgres' ],
		'<', \undef, '>&', \$output, IPC::Run::timeout(10 * $seconds + 120)) ];
}
foreach my $who (sort keys %run)
{
	my ($output, $handle) = @{ $run{$who} };
	ok($handle->finish, "$who: none failed") or diag $$output;
	my ($done) = $$output =~ /number of transactions actually processed: (\d+)/;
	cmp_ok($done // 0, '>', 0, "$who: " . ($done // 0) . ' transactions');
}

is($node->safe_psql('postgres', 'SELECT count(*) FROM lifeguard.lock_waits'), '0', 'nobody waits any more');
is($node->safe_psql('postgres', 'SELECT contradictions()'), '', 'and nothing contradicts that');
is( $node->safe_psql('postgres', 'SELECT collector, collector_starts, passes > 100, waits_cut_off FROM lifeguard.status'),
	'running|1|t|0', 'the collector has lived through it');

my $log = slurp_file($node->logfile);
my $deadlocks = () = $log =~ /ERROR:  deadlock detected/g;
note "$deadlocks deadlocks";
my @unexpected = grep { !/deadlock detected|canceling autovacuum task/ }
	$log =~ /^.*(?:ERROR|FATAL|PANIC|TRAP|was terminated by signal).*$/mg;
is(join("\n", @unexpected), '', 'no error in the log but deadlocks');

# ---------------------------------------------------------------------------
# Tangles that hold still
# ---------------------------------------------------------------------------

$node->append_conf(
	'postgresql.conf', q{
pg_lifeguard.sample_interval = 0
deadlock_timeout = 1h
autovacuum = off
});
$node->restart;

srand($seed);
my @actor = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. $actors;
$actor[$_]->query_safe("SET application_name = 'actor $_'") foreach 0 .. $actors - 1;
my $eye = $node->background_psql('postgres');

# Every actor has done all it was told, or waits, and it was so the last time, too:
# how that is, or nothing if it does not come.
sub settle
{
	my $before = '';
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $now = $eye->query_safe(q{
			SELECT CASE WHEN bool_and(a.state LIKE 'idle%' OR l.pid IS NOT NULL)
				THEN string_agg(concat(a.pid, a.state, l.waitstart), ' ' ORDER BY a.pid) END
			FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
			WHERE a.application_name LIKE 'actor%'});
		return $now if $now ne '' && $now eq $before;
		$before = $now;
		select(undef, undef, undef, 0.02);
	}
	return '';
}

# Send it off; whether and when it comes back is not our affair.
sub send_off
{
	my ($session, $sql) = @_;
	$session->{stdin} .= "$sql\n";
	$session->{run}->pump_nb;
}

my ($waiters, $cycles, $behind, $deepest, $prepared, $wrong) = (0, 0, 0, 0, 0, 0);
foreach my $round (1 .. $rounds)
{
	my $with_prepared = rand() < 0.5;

	if ($with_prepared)
	{
		$node->safe_psql('postgres', sprintf("BEGIN; SELECT act(%f, 2, true); PREPARE TRANSACTION 'round'", rand()));
		$prepared++;
	}
	# one lock each, and again for those who got theirs: so they meet crosswise
	my $settled;
	send_off($_, 'BEGIN;') foreach @actor;
	foreach my $wave (1 .. 5)
	{
		$settled = settle();
		last unless $settled;
		my $free = $eye->query_safe(q{SELECT string_agg(split_part(application_name, ' ', 2), ' ') FROM pg_stat_activity
			WHERE application_name LIKE 'actor%' AND state = 'idle in transaction'});
		send_off($actor[$_], sprintf('SELECT act(%f, 1, %s);', rand(), $round % 2 ? 'true' : 'false'))
		  foreach split / /, $free;
	}
	if (!$settled || !settle())
	{
		fail("round $round settles");
		last;
	}

	my $state = $eye->query_safe('SELECT count(*), count(*) FILTER (WHERE deadlock),
		count(*) FILTER (WHERE NOT deadlock AND root_pids && (SELECT array_agg(pid) FROM lifeguard.blockers WHERE deadlock)),
		COALESCE(max(depth), 0) FROM lifeguard.lock_waits');
	my ($n, $looped, $hind, $depth) = split /\|/, $state;
	my $contradictions;
	for (my $stands = ''; $stands ne settle();)    # else somebody came in between
	{
		$stands = settle();
		$contradictions = $eye->query_safe('SELECT contradictions()');
	}
	if ($contradictions ne '')
	{
		$wrong++;
		diag "round $round, seed $seed:\n$contradictions";
		diag $eye->query_safe('SELECT tree FROM lifeguard.lock_tree');
		diag $eye->query_safe('SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0');
	}
	$waiters += $n;
	$cycles++ if $looped > 0;
	$behind += $hind;
	$deepest = $depth if $depth > $deepest;

	# the last tangle is for the remedies
	last if $round == $rounds;
	$node->poll_query_until('postgres',
		'SELECT count(pg_cancel_backend(pid)) = 0 FROM pg_locks WHERE NOT granted');
	$_->query('ROLLBACK') foreach @actor;
	$node->safe_psql('postgres', "ROLLBACK PREPARED 'round'") if $with_prepared;
}
note "$rounds tangles: $waiters waiters, $cycles with cycles, $behind waiters behind cycles, $prepared with a prepared transaction, depth up to $deepest";
is($wrong, 0, 'no settled state is shown otherwise than pg_blocking_pids() and pg_locks have it');
cmp_ok($waiters, '>', $rounds, 'many waited');
cmp_ok($cycles, '>', 0, 'some in a deadlock') if $rounds >= 10;
cmp_ok($deepest, '>', 1, 'some behind others');

# Do what the remedies say, most harmful first, and break deadlocks as the
# server would: that ends every wait.
my $steps = 0;
while ($steps++ < 10 * $actors)
{
	my $remedy = $eye->query_safe('SELECT CASE WHEN deadlock THEN format($$SELECT pg_cancel_backend(%s)$$, pid) ELSE remedy END
		FROM lifeguard.blockers LIMIT 1');
	last if $remedy eq '';
	$node->safe_psql('postgres', $remedy);
	last if !settle();
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM lifeguard.lock_waits'), '0', 'the remedies free everybody');
is($node->safe_psql('postgres', 'SELECT contradictions()'), '', 'and nothing contradicts that');

foreach my $session (@actor)
{
	# some of them were terminated
	eval { $session->{run}->kill_kill; };
}
$eye->quit;
$node->safe_psql('postgres', "ROLLBACK PREPARED 'round'")
  if $node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts') ne '0';
$node->stop;
$log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|was terminated by signal/, 'no crash');

done_testing();
