# How long histories stay in their tables, and how many: by days and by bytes, in
# small batches, for which nobody waits; what a long-running reader keeps from
# being removed is not paid for with rows that are not dead.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $megabyte = 1024 * 1024;
my $node = lg_server('retention', conf => <<'END');
max_connections = 50
autovacuum = on
autovacuum_naptime = 1s
pg_lifeguard.sample_interval = 0
pg_lifeguard.min_episode = 0
pg_lifeguard.max_episodes = 32768
pg_lifeguard.flush_interval = 100ms
pg_lifeguard.history_max_size = 1MB
pg_lifeguard.history_retention = 0
END
my $session = LgSession->new($node);
my $table = 'lifeguard.idle_transaction_entries';
my @idlers = map { LgSession->new($node) } 1 .. 30;

# So many stays idle in transaction, with statements that take room.
sub load
{
	my ($rounds) = @_;
	my $filler = join '', map { chr(97 + int rand 26) } 1 .. 300;

	foreach my $round (1 .. $rounds)
	{
		$_->send("BEGIN; SELECT '$round $filler'") foreach @idlers;
		$_->answer foreach @idlers;
		$session->query('SELECT lifeguard.run_pass()');
		$_->send('COMMIT') foreach @idlers;
		$_->answer foreach @idlers;
		$session->query('SELECT lifeguard.run_pass()');
	}
	return $rounds * @idlers;
}

# Rows from long ago, to save time.
sub fill
{
	my ($rows, $age) = @_;
	return $session->query(<<"END");
INSERT INTO $table (boot, number, idle_start, query)
SELECT clock_timestamp(), g, now() - interval '$age' + g * interval '1 ms',
	'old ' || (SELECT string_agg(md5(random()::text || i), '') FROM generate_series(1, 30) i WHERE g > 0)
FROM generate_series(1, $rows) g
END
}

sub size { return $session->query("SELECT pg_total_relation_size('$table')"); }
sub old_rows { return $session->query("SELECT count(*) FROM $table WHERE query LIKE 'old %'"); }
sub all_written { return $session->poll('SELECT records_unflushed = 0 FROM lifeguard.status'); }
# Rows that live; up to a round of load() may have been written since the keeper looked.
sub live { return $session->query("SELECT coalesce(sum(pg_column_size(e.*)), 0) FROM $table e"); }

# --- too much: the oldest goes, the newest stays
fill(3000, '1 day');
cmp_ok(size(), '>', 3 * $megabyte, 'the table is too large');
my $locker = LgSession->new($node);
$locker->query("BEGIN; SELECT FROM $table WHERE number = 1 AND query LIKE 'old %' FOR UPDATE");
my $new = load(80);    # tables are measured each 1,000 rows
ok($session->poll("SELECT count(*) = 1 FROM $table WHERE query LIKE 'old %'"), 'what is oldest goes, but for a row that somebody has locked');
ok(all_written(), 'all is written');
cmp_ok($session->query("SELECT count(*) FROM $table"), '>', 500, 'what is new stays');
cmp_ok(live(), '<', 2.6 * $megabyte, 'within the limit, but for what was written since it was looked at');
is(lg_status($session, 'records_lost, keeper_problem, keeper_failures'), '0||0', 'nobody waited for anything');
$locker->query('COMMIT');

# --- steady load beside a long-running reader: what lives is not paid for what is dead
$session->query("VACUUM $table");    # what is dead by now is not the reader's doing
my $reader = LgSession->new($node);
$reader->query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM $table");
my @live;
foreach my $round (1 .. 6)
{
	$new = load(40);
	ok(all_written(), "round $round is written");
	push @live, live();
}
cmp_ok((sort { $a <=> $b } @live)[0], '>', 0.5 * $megabyte, 'no more goes because of dead rows: ' . join(', ', @live));
cmp_ok((sort { $a <=> $b } @live)[-1], '<', 2.6 * $megabyte, 'what is too much goes');
is($session->query("SELECT count(*) FROM $table WHERE query LIKE 'old %'"), '0', 'the row that was locked, too');

# --- until it is far beyond the limit: then nothing is written any more, and nothing lost at once
fill(12000, '1 day');
load(80);
ok($session->poll("SELECT keeper_problem LIKE '%is full%' FROM lifeguard.status"), 'full, and told');
my $full = size();
cmp_ok($full, '>', 9 * $megabyte, 'for it is very large');
load(20);
cmp_ok(lg_status($session, 'records_unflushed'), '>=', 600, 'what comes now is kept in memory');
is(lg_status($session, 'records_lost'), '0', 'and not lost');
load(300);
cmp_ok(lg_status($session, 'records_lost'), '>', 0, 'until that is full: then it is counted');
like($session->query('SELECT lifeguard.report()'), qr/Since the server started[^\n]* \d+ records of histories that never reached their tables/, 'and a report says so');
cmp_ok(size(), '<', $full + $megabyte, 'the table has not grown');

# --- the reader ends
$reader->query('COMMIT');
ok(all_written(), 'vacuum finds room, and all is written');
ok($session->poll('SELECT keeper_problem IS NULL FROM lifeguard.status'), 'well again');
load(40);
ok(all_written(), 'steady again');
cmp_ok(size(), '<', $full + $megabyte, 'in the room that there is');
cmp_ok(live(), '<', 2.6 * $megabyte, 'of which the rows that live take their share');

# --- by days, counted from the end: what began long before is there as long as what did not
# only by these: a keeper may still be deleting for the size
lg_put_in_force($session, 'pg_lifeguard.history_max_size' => '0') or die;
$session->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'", '0') or die;
my %ends = (
	idle_transaction_entries => [ 'idle_start, duration', 'idle_start + duration' ],
	lock_wait_entries => [ 'wait_start, duration', 'wait_start + duration' ],
	incident_entries => [ 'since, going_on, until', 'until' ]);
foreach my $history (sort keys %ends)
{
	my $end = $history eq 'incident_entries' ? "false, now() - interval '20 days' + length" : 'length';
	$session->query(<<"END");
INSERT INTO lifeguard.$history (boot, number, $ends{$history}[0])
SELECT '2000-01-01', n, now() - interval '20 days', $end
FROM (VALUES (1, interval '10 days'), (2, '12 days'), (3, '19 days 23 hours')) v (n, length)
END
}
$session->query("INSERT INTO $table (boot, number, idle_start) VALUES ('2000-01-01', 4, now() - interval '20 days')");
$session->query("UPDATE $table SET idle_start = idle_start - interval '10 days' WHERE number % 2 = 0 AND boot > '2000-01-01'");
my $young = $session->query("SELECT count(*) FROM $table WHERE number % 2 = 1 AND boot > '2000-01-01'");
lg_configure($session, 'pg_lifeguard.history_retention' => '9');
foreach my $history (sort keys %ends)
{
	ok($session->poll("SELECT count(*) = 0 FROM lifeguard.$history WHERE coalesce($ends{$history}[1], '-infinity') < now() - interval '9 days'"),
		"$history: what ended long ago goes");
	is($session->query("SELECT string_agg(number::text, ',' ORDER BY number) FROM lifeguard.$history WHERE boot = '2000-01-01'"),
		'2,3', "$history: what ended later stays, though it began then");
}
is($session->query("SELECT count(*) FROM $table WHERE boot > '2000-01-01'"), $young, 'young ones stay');

$_->close foreach @idlers, $session, $reader, $locker;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
