# Contention: every waited second once, to whom it is due, as the waiters' own
# clocks have it; and what explains it, without waiting for anybody.
#
# LG_LONG=1 makes the storms longer.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use LgTest;
use List::Util qw(max sum);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep usleep);

my $storm = $ENV{LG_LONG} ? 60 : 12;
my $node = lg_server('contention', conf => "max_connections = 80\n");
my $of_storm = "waiter_application_name = 'storm'";
my $session = LgSession->new($node);
my $files = PostgreSQL::Test::Utils::tempdir;

$session->query('CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; GRANT pg_read_all_stats TO auditor');
$session->query('CREATE TABLE hot (id int PRIMARY KEY, v int DEFAULT 0, own bool DEFAULT false)');
$session->query('INSERT INTO hot (id) SELECT generate_series(1, 200)');

# --- names of other databases' tables: four have room at each place of a hash table

sub murmurhash32
{
	my ($h) = @_;
	$h = (($h ^ $h >> 16) * 0x85ebca6b) & 0xffffffff;
	$h = (($h ^ $h >> 13) * 0xc2b2ae35) & 0xffffffff;
	return $h ^ $h >> 16;
}

sub place_of_name
{
	my ($h, $of_relation) = map { murmurhash32($_) } @_;
	return ($h ^ (($of_relation + 0x9e3779b9 + ($h << 6) + ($h >> 2)) & 0xffffffff)) % 128;
}

# Have four other tables of database elsewhere awaited that belong in the same place.
sub push_out
{
	my ($relation) = @_;
	my @others = map { LgSession->new($node, dbname => 'elsewhere') } 0 .. 4;
	my $database = $session->query("SELECT oid FROM pg_database WHERE datname = 'elsewhere'");

	$others[0]->query('DO $$BEGIN FOR i IN 1 .. 2500 LOOP EXECUTE format($f$CREATE TABLE other_%s ()$f$, i); IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END$$');
	my @same = grep { place_of_name($database, $_) == place_of_name($database, $relation) }
	  split /\n/, $others[0]->query("SELECT oid FROM pg_class WHERE relname ^@ 'other_'");
	my @names = split /\n/, $others[0]->query('SELECT oid::regclass FROM pg_class WHERE oid IN (' . join(',', @same[0 .. 3]) . ')');

	$others[0]->query('BEGIN; LOCK TABLE ' . join ', ', @names);
	$others[$_]->send("TABLE $names[$_ - 1]") foreach 1 .. 4;
	ok($session->poll("SELECT count(DISTINCT relation) FROM lifeguard.contention_minutes WHERE relation IN (" . join(',', @same[0 .. 3]) . ") AND relation_name ^@ 'public.other_'", '4'),
		'others have their names');
	$_->close foreach @others;
	return;
}

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

# --- storms: waits of 20 to 500 ms and some less, hundreds a second

# Clients of pgbench, which costs little: a transaction gets what only it wants,
# then one of few things that all want, and keeps it for so many ms.  Returns how long
# each has waited, shortest first, in so far as the rest took each as long.
#
# Seconds lost are the clients' own: what the statement took them, less what the one
# before it took, which nobody is in the way of.  They include that a waiter has to wake
# up, which is no lock wait: 2 to 5 % with a dozen at work per core, most for UPDATE, which
# wakes up several times.  By chance ours are off by 1 or 2 %.
#
# Somebody waits already when it begins, so that passes are fast.  Else the first pass
# would charge each who waits in it for up to a second in which there was no storm.
sub storm
{
	my ($name, $clients, $things, $hold, $what, $alone) = @_;
	my ($script, $log) = ("$files/$name.sql", "$files/$name.log");
	my ($out, $err) = ('', '');

	append_to_file($script, <<"END");
\\set thing random(1, $things)
\\set value random(0, 999)
\\set hold $hold
BEGIN;
$alone;
$what;
\\sleep :hold ms
COMMIT;
END
	$session->query('SELECT lifeguard.reset()');    # what was before is settled
	my ($owner, $visitor) = map { LgSession->new($node) } 1 .. 2;
	$owner->query('BEGIN; LOCK TABLE door');
	$visitor->send('SELECT FROM door');
	$session->poll("SELECT count(*) > 0 FROM lifeguard.contention WHERE relation_name = 'public.door'") or die;

	local @ENV{qw(PGHOST PGPORT PGAPPNAME)} = ($node->host, $node->port, 'storm');
	IPC::Run::run([ 'pgbench', '-n', '-r', '-l', "--log-prefix=$log", '-c', $clients, '-T', $storm, '-f', $script, 'postgres' ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($storm + 2 * $PostgreSQL::Test::Utils::timeout_default))
	  or die "pgbench has failed: $out$err\n";
	$_->close for $owner, $visitor;
	ok(settle(), "$name: it is over");

	my ($count) = $out =~ /actually processed: (\d+)/ or die $out;
	my ($whole) = $out =~ /latency average = ([\d.]+) ms/ or die $out;
	my ($took, $usual) = map { $out =~ /^ +([\d.]+) .*\Q$_;\E$/m ? $1 : die $out } $what, $alone;
	my @waits = sort { $a <=> $b } map { (split)[2] / 1e6 - ($whole - $took) / 1000 } map { split /\n/, slurp_file($_) } glob "$log.*";
	my $lost = $count * ($took - $usual) / 1000;
	is(scalar @waits, $count, "$name: all transactions are told");
	note sprintf '%s: of 5, 25, 50, 75, 95 %% waiting up to about %s ms; usual %.2f ms; lost %.1f s, by contention %s s', $name,
	  join(', ', map { sprintf '%.0f', 1000 * max(0, $waits[ $_ * $#waits / 100 ]) } 5, 25, 50, 75, 95), $usual, $lost, contention('sum(seconds_lost), sum(seconds_seen)', $of_storm);
	ok($count / $storm > 50 && $lost / $count > 0.02, sprintf '%s: %.0f transactions a second, each waiting %.0f ms', $name, $count / $storm, 1000 * $lost / $count)
	  or diag $out;
	within(contention('sum(seconds_lost)', $of_storm), $lost, 0.10, "$name: seconds lost");
	return @waits;
}

# on rows: in turn for one, each of an UPDATE's waits lasts about as long as one holds it
storm('updates', 60, 15, 'random(25, 45)', 'UPDATE hot SET v = :value WHERE id = :thing', 'SELECT FROM hot WHERE id = 100 + :client_id FOR UPDATE');
cmp_ok(contention("sum(seconds_lost) FILTER (WHERE relation_name = 'public.hot') / sum(seconds_lost)", $of_storm), '>', 0.75,
	'of which table, although few of them have a tuple lock');
is(contention('count(DISTINCT waiter_query)', $of_storm), '1', 'one statement, whatever its constants');
is(contention('max(waiter_query)', $of_storm), 'UPDATE hot SET v = ? WHERE id = ?', 'without them');
cmp_ok(contention('max(cardinality(top_rows))', $of_storm), '<=', 8, 'a few top rows');

# one lock per wait, so that clients can tell how many there were, and how long
my @took = grep { $_ > 0.002 } storm('keys', 50, 8, '14', 'SELECT pg_advisory_xact_lock(:thing)', 'SELECT pg_advisory_xact_lock(1000 + :client_id)');
# where clients clump, short waits are told too long: their ends lie between two passes
my ($p50, $p95) = split /\|/, contention('extract(epoch FROM p50), extract(epoch FROM p95)', "$of_storm LIMIT 1");
cmp_ok(abs($p50 - $took[ @took * 0.5 ]), '<=', max(0.025, 0.30 * $took[ @took * 0.5 ]), 'p50 of waits for an advisory lock');
within($p95, $took[ @took * 0.95 ], 0.30, 'p95');
# too few, for how short the shortest were nobody knows: up to 17 % with a dozen at work
# per core; were each counted once, 38 %
within(contention('sum(waits)', $of_storm), scalar @took, 0.25, 'how many they were');
is(contention('count(DISTINCT waiter_query), max(seconds_lost) > 0.9 * sum(seconds_lost)', $of_storm), '1|t', 'nearly all in one row');

# --- a row is as wide as it is, however much room its table has
$session->query("CREATE TABLE counters (id int PRIMARY KEY, n int)");
$session->query('INSERT INTO counters SELECT i, 0 FROM generate_series(1, 20000) i');
$session->query('DELETE FROM counters WHERE id > 1');
$session->query('ANALYZE counters');
begin_anew();
{
	my @two = map { LgSession->new($node) } 1 .. 2;
	$two[0]->query('BEGIN; UPDATE counters SET n = 1 WHERE id = 1');
	$two[1]->send('UPDATE counters SET n = 2 WHERE id = 1');
	ok($session->poll("SELECT count(*) > 0 FROM lifeguard.contention WHERE relation_name = 'public.counters'"), 'a counter is waited for');
	is(contention('hot_row_width < 100, avg_row_width < 100'), 't|t', 'a narrow one');
	$_->close foreach @two;
}

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

# which stays when the names of others push it out of memory: what is in the table has it
my $far_oid = $far[0]->query(q(SELECT 'far'::regclass::oid));
ok($session->poll("SELECT now() - waitstart > '1.1 s' FROM pg_locks WHERE pid = ${\$far[1]->pid} AND NOT granted"), 'a wait that is recorded');
like($session->query("SELECT lifeguard.terminate_session(${\$far[0]->pid}, 'in the way')"), qr/^terminated/, 'and an action about it');
ok($session->poll("SELECT count(*) > 0 FROM lifeguard.$_ WHERE relation_name = 'public.far'"), "in $_")
  foreach 'lock_wait_entries', 'ledger_entries', 'contention_entries';
push_out($far_oid);
is($session->query("SELECT count(*) > 0 AND count(relation_name) = 0 FROM lifeguard.read_contention() WHERE relation = $far_oid"), 't', 'in memory its name is not known any more');
is($session->query("SELECT string_agg(DISTINCT coalesce(relation_name, 'unknown'), ',') FROM lifeguard.$_->[0] WHERE $_->[1]"), 'public.far', "$_->[0] has it")
  foreach [ contention => "datname = 'elsewhere' AND coalesce(relation_name, '') !~ '^public.other'" ], [ contention_minutes => "relation = $far_oid" ],
  [ lock_wait_history => "relation = $far_oid" ], [ report_waits => "wait_start = (SELECT wait_start FROM lifeguard.lock_wait_history WHERE relation = $far_oid)" ], [ ledger => "reason = 'in the way'" ];
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
