# Contention: every waited second once, to whom it is due, as the waiters' own
# clocks have it; and what explains it, without waiting for anybody.
#
# LG_LONG=1 makes the storms longer.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use List::Util qw(sum max min);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep usleep);

my $storm = $ENV{LG_LONG} ? 60 : 12;
my $node = lg_server('contention', conf => "max_connections = 60\n");
my $session = LgSession->new($node);
my $files = PostgreSQL::Test::Utils::tempdir;

$session->query('CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; GRANT pg_read_all_stats TO auditor');
$session->query('CREATE TABLE hot (id int PRIMARY KEY, v int DEFAULT 0, own bool DEFAULT false)');
$session->query('INSERT INTO hot (id) SELECT generate_series(1, 200)');

# --- clients in processes of their own; each writes what it has measured

my @children;

sub in_child
{
	my ($code) = @_;
	my $file = "$files/" . scalar(@children);
	my $pid = fork // die "cannot fork: $!\n";

	if ($pid == 0)
	{
		my @results = eval { $code->() };
		print STDERR "child: $@" if $@;
		append_to_file($file, join('', map { "$_\n" } @results, $@ ? () : 'done'));
		POSIX::_exit(0);    # the parent's servers are not ours to stop
	}
	push @children, [ $pid, $file ];
	return;
}

# All that they have measured.
sub collect_children
{
	my @results;

	foreach my $child (@children)
	{
		waitpid $child->[0], 0;
		my @lines = split /\n/, slurp_file($child->[1]);
		die "a client has failed\n" unless @lines && pop @lines eq 'done';
		push @results, @lines;
		unlink $child->[1];
	}
	@children = ();
	return @results;
}

# How long a statement takes, by our clock.
sub clocked
{
	my ($client, $sql) = @_;
	my $start = time;
	$client->query($sql);
	return time - $start;
}

# What a statement takes when nobody is in the way.
sub usual_time
{
	my ($client, $sql) = @_;
	my @times = sort { $a <=> $b } map { clocked($client, $sql) } 1 .. 21;
	return $times[10];
}

sub within
{
	my ($got, $expected, $share, $name) = @_;
	my $off = $expected ? abs($got - $expected) / $expected : 9;
	ok($off <= $share, sprintf '%s: %.3f, the clients have %.3f, off by %.1f %%', $name, $got, $expected, 100 * $off);
	return;
}

# All waits are over, and seen to be.
sub settle
{
	return $session->poll('SELECT count(*) = 0 FROM lifeguard.lock_waits') && lg_passes($session, 3);
}

sub begin_anew
{
	settle();
	$session->query('SELECT lifeguard.reset()');
	return;
}

# Columns of contention, those rows.
sub contention
{
	my ($columns, $where) = @_;
	return $session->query("SELECT $columns FROM lifeguard.contention WHERE " . ($where // 'true'));
}

# --- long waits, begun in calm and amid others, on rows and on tables
$session->query('CREATE TABLE door ()');
begin_anew();
foreach my $i (1 .. 8)
{
	my $length = 1 + 4 * $i / 8;
	my $what = $i % 4 ? "UPDATE hot SET v = v + 1 WHERE id = $i" : 'LOCK TABLE door';
	my $begin = 1.3 * ($i - 1) + ($i % 4 ? 0 : 1);
	in_child(sub {
		my $client = LgSession->new($node, parameters => { application_name => 'root' });
		sleep $begin;
		$client->query("BEGIN; $what");
		sleep $length;
		$client->query('COMMIT');
		return;
	});
	foreach my $j (1 .. 3)
	{
		in_child(sub {
			my $client = LgSession->new($node, parameters => { application_name => 'waiter' });
			sleep $begin + 0.1 * $j;
			$client->query('BEGIN');
			my $took = clocked($client, $what);
			$client->query('COMMIT');
			return $took;
		});
	}
}
my @waits = collect_children();
ok(settle(), 'long waits are over');
is(scalar @waits, 24, 'all clients have waited');
within(contention('sum(seconds_lost)'), sum(@waits), 0.05, 'seconds lost in waits of 1 to 5 s');
within(contention('sum(seconds_lost)', "relation_name = 'public.door'"),
	contention('sum(seconds_seen)', "relation_name = 'public.door'"), 0.1, 'hardly any of that estimated');
like(contention("string_agg(DISTINCT concat_ws(' ', relation_name, locktype, mode, held_mode, datname), ', ' ORDER BY concat_ws(' ', relation_name, locktype, mode, held_mode, datname))"),
	qr/^public\.door relation AccessExclusiveLock AccessExclusiveLock postgres, .*public\.hot transactionid ShareLock ExclusiveLock postgres\b/, 'of what');
is(contention('count(*)', "root_application_name NOT IN ('root', 'waiter') OR waiter_application_name <> 'waiter'"), '0', 'by whom, and to whom');
is(contention("bool_and(seconds_lost = seconds_seen + seconds_estimated AND waits >= 1 AND max <= '6 s' AND p50 <= p95 AND p95 <= p99 AND p99 <= max)"), 't', 'columns agree');
is($session->query('SELECT count(*) FROM lifeguard.contention_minutes WHERE seconds_seen < 0 OR seconds_estimated < 0'), '0', 'nothing below zero');

# --- many short ones on few rows, hundreds a second
begin_anew();
foreach my $i (1 .. 15)
{
	in_child(sub {
		my $client = LgSession->new($node, parameters => { application_name => 'storm' });
		my $usual = usual_time($client, 'UPDATE hot SET v = v + 1 WHERE id = ' . (100 + $i));
		my $end = time + $storm;
		my ($lost, $count) = (0, 0);

		srand($i);
		while (time < $end)
		{
			my $row = 1 + int rand 3;
			my $value = int rand 1000;
			$client->query('BEGIN');
			$lost += max(0, clocked($client, "UPDATE hot SET v = $value WHERE id = $row") - $usual);
			$count++;
			sleep(rand() < 0.03 ? 0.15 : 0.004 + rand 0.016);
			$client->query('COMMIT');
		}
		return "$lost $count";
	});
}
my @storm = map { [split] } collect_children();
my $updates = sum(map { $_->[1] } @storm);
ok(settle(), "a storm is over, of $updates updates");
within(contention('sum(seconds_lost)'), sum(map { $_->[0] } @storm), 0.10, 'seconds lost in a storm of short waits');
cmp_ok(contention("sum(seconds_lost) FILTER (WHERE relation_name = 'public.hot') / sum(seconds_lost)"), '>', 0.75,
	'of which table, although few of them have a tuple lock');
ok($updates / $storm > 50, sprintf 'of %.0f updates a second', $updates / $storm);
is(contention('count(DISTINCT waiter_query)'), '1', 'one statement, whatever its constants');
is(contention("max(waiter_query)"), 'UPDATE hot SET v = ? WHERE id = ?', 'without them');
cmp_ok(contention('max(cardinality(top_rows))'), '<=', 8, 'a few top rows');

# --- how long they were: one lock per wait, so that clients can tell
begin_anew();
foreach my $i (1 .. 10)
{
	in_child(sub {
		my $client = LgSession->new($node, parameters => { application_name => 'lengths' });
		my $usual = usual_time($client, "SELECT pg_advisory_xact_lock(" . (100 + $i) . ')');
		my $end = time + $storm;
		my @took;

		srand(100 + $i);
		while (time < $end)
		{
			my $key = 1 + int rand 2;
			$client->query('BEGIN');
			my $took = clocked($client, "SELECT pg_advisory_xact_lock($key)") - $usual;
			push @took, $took if $took > 0.001;
			sleep(-0.02 * log(1 - rand));
			$client->query('COMMIT');
		}
		return @took;
	});
}
my @took = sort { $a <=> $b } collect_children();
ok(settle(), 'another storm is over, of ' . @took . ' waits');
foreach my $p (50, 95)
{
	within(contention("extract(epoch FROM p$p)", 'true LIMIT 1'), $took[ @took * $p / 100 ], 0.30, "p$p of waits for an advisory lock");
}
within(contention('sum(waits)'), scalar @took, 0.20, 'how many they were');
is(contention('count(DISTINCT waiter_query), max(seconds_lost) > 0.9 * sum(seconds_lost)'), '1|t', 'nearly all in one row');

# --- what explains it, from the table itself
$session->query("CREATE TABLE wide (id int PRIMARY KEY, v int DEFAULT 0, doc text); ALTER TABLE wide ALTER doc SET STORAGE EXTERNAL");
$session->query("INSERT INTO wide SELECT i, 0, repeat('x', CASE i WHEN 7 THEN 3000000 ELSE 10 END) FROM generate_series(1, 9) i");
$session->query('ANALYZE wide');
begin_anew();
my $root = LgSession->new($node);
my $waiter = LgSession->new($node);
$root->query('BEGIN; UPDATE wide SET v = v + 1 WHERE id = 7');
$waiter->send("UPDATE wide SET v = v + 5 WHERE id = 7 /* secret=17 */");
ok($session->poll("SELECT count(*) > 0 FROM lifeguard.contention WHERE relation_name = 'public.wide'"), 'a row is waited for');
is(contention('hot_row_width > 3000000 AND hot_row_width < 3100000 AND avg_row_width > 300000'), 't', 'a wide one');
is(contention("top_rows[1] = (SELECT ctid::text FROM wide WHERE id = 7)"), 't', 'which one');

# in another database, where nobody can look from here
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', 'CREATE TABLE far (); CREATE TABLE "far away" ()');
my @far = map { LgSession->new($node, dbname => 'elsewhere') } 1 .. 2;
$far[0]->query('BEGIN; LOCK TABLE far');
$far[1]->send('SELECT count(*) FROM far');
ok($session->poll("SELECT count(*) = 1 FROM lifeguard.contention WHERE relation_name = 'public.far' AND datname = 'elsewhere' AND n_tup_upd IS NULL AND avg_row_width IS NULL"), 'a table of another database has its name');
$_->close for @far;

# locked by another
my $ddl = LgSession->new($node);
$root->query('COMMIT');
$waiter->answer;
$ddl->query('BEGIN; LOCK TABLE wide');
$session->query("SET statement_timeout = '5s'");
is(contention('count(*) > 0 AND max(hot_row_width) IS NULL AND max(avg_row_width) IS NULL'), 't', 'nobody waits for a locked table');
$session->query('RESET statement_timeout');
$ddl->query('ROLLBACK');
$session->query('UPDATE wide SET v = v + 1 WHERE id = 7') for 1 .. 20;
ok($session->poll("SELECT hot_share > 0.9 AND n_tup_upd >= 22 AND n_dead_tup > 0 FROM lifeguard.contention LIMIT 1"), 'updates, most of them HOT');
is(contention('bool_and(hot_row_width > 3000000)'), 't', 'the row is found where it has moved');

# --- masks: the same sums, in memory and from the table
settle();
my %eyes = map { $_ => LgSession->new($node, user => $_) } qw(clerk auditor);
my $masked = "SELECT sum(seconds_lost), count(root_query), count(waiter_query), count(root_query_id), bool_and(waiter_application_name = 'lgtest'), count(hot_row_width) FROM lifeguard.contention";
my $total = contention('sum(seconds_lost)');
foreach my $place ('memory', 'the table')
{
	is($eyes{clerk}->query($masked), "$total|0|0|0|t|0", "from $place: an ordinary role sees sums");
	my $n = contention('count(*)');
	is($eyes{auditor}->query($masked), "$total|$n|$n|0|t|0", "from $place: pg_read_all_stats sees statements");
	unlike($session->query('SELECT string_agg(c::text, chr(10)) FROM lifeguard.contention c'), qr/secret/, "from $place: comments are left out");
	is($eyes{clerk}->query('SELECT count(root_query) + count(waiter_query) FROM lifeguard.contention_minutes'), '0', "from $place: nor in single minutes");
	my $sneak = 'CREATE OR REPLACE FUNCTION pg_temp.sneak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS $$BEGIN IF $1 IS NOT NULL THEN RAISE EXCEPTION \'seen: %\', $1; END IF; RETURN true; END$$';
	$eyes{clerk}->query($sneak);
	is($eyes{clerk}->error_of('SELECT count(*) FROM lifeguard.contention_minutes WHERE pg_temp.sneak(waiter_query)'), undef, "from $place: nor by a function");
	last if $place eq 'the table';

	ok($session->poll('SELECT sum(seconds_seen + seconds_estimated) = ' . $total . ' FROM lifeguard.contention_entries e, lifeguard.status s WHERE e.minute >= s.reset_at'), 'all is written');
	$_->close for $session, $root, $waiter, $ddl, values %eyes;
	$node->restart;
	$session = LgSession->new($node);
	%eyes = map { $_ => LgSession->new($node, user => $_) } qw(clerk auditor);
	is($session->query('SELECT count(*) FROM lifeguard.read_contention()'), '0', 'nothing in memory');
	is(contention('sum(seconds_lost)'), $total, 'the same sum, counted from the reset before the restart');
}
isnt($eyes{clerk}->error_of('SELECT * FROM lifeguard.contention_entries'), undef, 'the table is not for everybody');

# --- windows, and a table that is gone
$session->query('DROP TABLE wide');
is(contention("count(*) > 0 AND count(n_tup_upd) = 0 AND count(avg_row_width) = 0 AND count(hot_row_width) = 0", "relation_name = 'public.wide'"), 't', 'a table that is gone still has its name');
my $all = $session->query("SELECT sum(seconds_seen + seconds_estimated) FROM lifeguard.contention_entries");
is($session->query("SELECT sum(seconds_lost) FROM lifeguard.contention('2000-01-01')"), $all, 'asked from when on, it forgets nothing');
is($session->query("SELECT count(*) FROM lifeguard.contention('2000-01-01', '2001-01-01')"), '0', 'nothing then');
is($session->query("SELECT bool_and((SELECT sum(seconds_lost) FROM lifeguard.contention(date_trunc('minute', e.minute) + '59 s', e.minute + '1 s')) >= e.seconds) FROM (SELECT minute, sum(seconds_seen + seconds_estimated) AS seconds FROM lifeguard.contention_entries GROUP BY 1) e"), 't', 'a moment means its minute');
is($session->query("SELECT count(*) FROM lifeguard.contention((SELECT date_trunc('minute', max(minute)) + '1 min' FROM lifeguard.contention_entries))"), '0', 'and no minute before');
begin_anew();
is(contention('count(*)'), '0', 'after a reset it begins anew');
cmp_ok($session->query("SELECT count(*) FROM lifeguard.contention('2000-01-01')"), '>', 0, 'the history stays');

# --- too many keys in a minute: passes when asked, all on one lock
lg_configure($session, 'pg_lifeguard.sample_interval' => 0);
ok($session->poll("SELECT collector = 'on demand' FROM lifeguard.status"), 'passes only when asked');
$root = LgSession->new($node);
$root->query('SELECT pg_advisory_lock(1)');
my @crowd = map { LgSession->new($node) } 1 .. 34;
my $keys = 0;
my $folded = $session->query('SELECT waits_folded FROM lifeguard.status');

# all within one minute
sleep 1 while $session->query('SELECT extract(second FROM clock_timestamp()) > 35') eq 't';
$session->query('SELECT lifeguard.reset()');
foreach my $round (1 .. 10)
{
	foreach my $client (@crowd)
	{
		$keys++;
		$client->query("SET application_name = 'app$keys'");
		$client->send("SELECT pg_advisory_lock(1) AS column$keys");
	}
	die "they do not wait\n" unless $session->poll('SELECT count(*) FROM lifeguard.lock_waits WHERE wait_start IS NOT NULL', scalar @crowd);
	$session->query('SELECT lifeguard.run_pass()');
	$session->query("SELECT pg_cancel_backend(pid) FROM lifeguard.lock_waits");
	$_->answer for @crowd;
}
$session->query('SELECT lifeguard.run_pass()');
is($session->query("SELECT count(*), sum(waits_seen), count(waiter_query), count(locktype), sum(waits_seen) FILTER (WHERE locktype IS NULL) FROM lifeguard.contention_minutes m, lifeguard.status s WHERE m.minute >= s.reset_at"),
	"289|$keys|256|288|" . ($keys - 288), 'at most so many keys in a minute, and nothing lost');
is($session->query('SELECT waits_folded FROM lifeguard.status') - $folded, $keys - 256, 'what was folded is counted');

is(lg_view_errors($session), '', 'views can be read');
is(lg_log_complaints($node), '', 'no complaints in the log');
$_->close for @crowd, $root, $session, values %eyes;
$node->stop;
done_testing();
