# Stays idle in transaction: each pause that the client made, by its own clock, is
# a row with its exact start, its end, whom it kept waiting and for how long, and
# what ended it; a pause that was too short, or that nobody made, is none.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgClock;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $interval = 0.1;
my $node = lg_server('pauses', conf => <<'END');
max_connections = 40
log_line_prefix = '%m [%p] '
compute_query_id = off
jit = off
deadlock_timeout = 1h
pg_lifeguard.sample_interval = 100ms
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.min_episode = 200ms
END
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE till (id int PRIMARY KEY, amount int);
INSERT INTO till SELECT g, 0 FROM generate_series(1, 9) g;
CREATE ROLE clerk LOGIN;
CREATE ROLE cousin LOGIN;
CREATE ROLE auditor LOGIN;
GRANT pg_read_all_stats TO auditor;
GRANT ALL ON till TO PUBLIC
END

sub clerk { return LgSession->new($node, user => 'clerk', @_); }

# Say that, wait so long, then do that.  inner: how long the pause lasted at least,
# outer: at most, by our clock, which is the server's.
sub pause
{
	my ($session, $first, $seconds, $next) = @_;
	my $begin = time;
	$session->send($first)->answer;
	my $paused = time;
	usleep(1_000_000 * $seconds);
	my $ended = time;
	$next->($session);
	return { inner => $ended - $paused, outer => time - $begin };
}

sub says
{
	my ($sql) = @_;
	return sub { $_[0]->send($sql)->answer or die };
}

# Columns of the nth row of a session, once it is there.
sub row
{
	my ($session, $columns, $nth) = @_;
	my $pid = $session->pid;
	$nth //= 1;
	return 'none' unless $boss->poll("SELECT count(*) >= $nth FROM lifeguard.idle_transaction_history WHERE pid = $pid");
	return $boss->query("SELECT $columns FROM lifeguard.idle_transaction_history WHERE pid = $pid ORDER BY idle_start LIMIT 1 OFFSET " . ($nth - 1));
}

# Is that row's duration the client's?  What is exact lies between our two readings.
my $seconds = 'extract(epoch FROM duration), extract(epoch FROM "precision")';
sub lasted
{
	my ($session, $pause, $exact, $name, $nth) = @_;
	my ($duration, $precision) = split /\|/, row($session, $seconds, $nth);
	note sprintf '%s: %.6f +- %.6f s, by the client %.6f to %.6f s', $name, $duration, $precision, @$pause{qw(inner outer)};
	is($precision + 0, 0, "$name: exact") if $exact;
	cmp_ok($duration + $precision, '>=', $pause->{inner} - 0.000_01, "$name: not too short");
	cmp_ok($duration - $precision, '<=', $pause->{outer} + 0.000_01, "$name: not too long");
	cmp_ok($precision, '<', $interval + 1, "$name: to an interval of a busy machine");
	return;
}

sub rows_of { return $boss->query('SELECT count(*) FROM lifeguard.idle_transaction_history WHERE pid = ' . $_[0]->pid); }

# --- two pauses of one transaction are two rows
my $session = clerk();
my $locks;
my $first = pause($session, 'BEGIN; UPDATE till SET amount = 1 WHERE id = 1 /* from=till */', 0.4, sub {
	$locks = $boss->query('SELECT count(*) FROM pg_locks WHERE pid = ' . $session->pid);
	$_[0]->query('SELECT 1');
});
my $second = pause($session, 'SELECT 2', 0.7, says('COMMIT'));
is(row($session, 'usename, datname, application_name, client_addr, state, query, query_tags, max_blocked, blocked_seconds, ended_by, recorded_on'),
	'clerk|postgres|lgtest||idle in transaction|BEGIN; UPDATE till SET amount = 1 WHERE id = 1 /* from=till */|from=till|0|0.000000|statement|primary',
	'the first, ended by a statement');
cmp_ok($locks, '>', 2, 'it held locks');
is(row($session, 'locks_held'), $locks, 'as many as pg_locks showed');
is(row($session, 'state, query, ended_by', 2), 'idle in transaction|SELECT 2|end of transaction', 'the second, by the end of the transaction');
is(row($session, 'count(*) OVER (PARTITION BY pid, backend_start, xact_start)'), 2, 'of one transaction');
lasted($session, $first, 0, 'ended by a statement');
lasted($session, $second, 1, 'ended by COMMIT', 2);
$session->close;

# a COMMIT that takes long is seen at it
$boss->query($_) foreach 'CREATE TABLE slow ()', 'GRANT ALL ON slow TO PUBLIC', <<'END';
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()
END
foreach my $last ('/* at last */ Commit', 'end; SELECT 1')
{
	$session = clerk();
	pause($session, 'BEGIN; INSERT INTO slow DEFAULT VALUES', 0.3, says($last));
	is(row($session, 'ended_by'), 'end of transaction', "a slow one: $last");
	$session->close;
}

# nothing runs between the pauses but one statement
foreach my $case (
	[ 'quick statement', says('SELECT 1'), 'statement' ],
	[ 'long statement', says('SELECT pg_sleep(0.5)'), 'statement' ],
	[ 'failing statement', says('SELECT 1 / 0'), 'statement', 1 ],
	[ 'COMMIT', says('COMMIT'), 'end of transaction', 1 ],
	[ 'ROLLBACK', says('ROLLBACK'), 'end of transaction', 1 ])
{
	my ($name, $next, $ended_by, $exact) = @$case;
	my $clerk = clerk();
	my $pause = pause($clerk, 'BEGIN; SELECT 1', 0.3, $next);
	is(row($clerk, 'ended_by'), $ended_by, "$name: named");
	lasted($clerk, $pause, $exact, $name);
	$clerk->close;
}

# --- an aborted transaction
$session = clerk();
my $aborted = pause($session, 'BEGIN; SELECT 1 / 0', 0.3, says('ROLLBACK'));
is(row($session, 'state, query, ended_by'), 'idle in transaction (aborted)|BEGIN; SELECT 1 / 0|end of transaction', 'aborted');
lasted($session, $aborted, 1, 'aborted');
$session->close;

# --- the extended protocol, each message of which may come alone
$session = clerk();
my $extended = pause($session, 'BEGIN; SELECT 1', 0.4, sub {
	$_[0]->send_messages(P => "\0SELECT 3\0" . pack('n', 0), B => "\0\0" . pack('nnn', 0, 0, 0), E => "\0" . pack('N', 0), S => '')->answer;
});
is(row($session, 'ended_by'), 'statement', 'by messages: named');
lasted($session, $extended, 0, 'by messages');
$session->close;

# --- another transaction has begun already
$session = clerk();
my $next = pause($session, 'BEGIN; SELECT 1', 0.4, sub { $_[0]->query($_) foreach 'COMMIT', 'BEGIN', 'SELECT 4' });
is(row($session, 'ended_by'), 'end of transaction', 'another has begun: named');
lasted($session, $next, 0, 'another has begun');
$session->close;

# --- the session's end, which it notes itself
sub is_gone { return $boss->poll("SELECT count(*) FROM pg_stat_activity WHERE pid = $_[0]", '0') }
foreach my $case (
	[ 'goodbye', sub { $_[0]->close; is_gone($_[0]->pid) }, 'gone' ],
	[ 'hung up', sub { CORE::close($_[0]{socket}); delete $_[0]{socket}; is_gone($_[0]->pid) }, 'gone' ],
	[ 'pg_terminate_backend', sub { $boss->query('SELECT pg_terminate_backend(' . $_[0]->pid . ')'); $_[0]->answer }, 'gone' ],
	[ 'by hand', sub { $boss->query('SELECT lifeguard.terminate_session(' . $_[0]->pid . ", 'test')"); $_[0]->answer }, 'by hand' ],
	[ 'policy', sub { lg_define($boss, p => { applications => undef, roles => '{clerk}', min_duration => '200 ms' }); $_[0]->answer; lg_drop($boss) }, 'policy' ])
{
	my ($name, $how, $ended_by) = @$case;
	my $clerk = clerk();
	my $pause = pause($clerk, 'BEGIN; SELECT 1', 0.4, $how);
	is(row($clerk, 'ended_by'), $ended_by, "$name: named");
	lasted($clerk, $pause, 1, $name);
	$clerk->close;
}
$session = clerk();
$session->query("SET idle_in_transaction_session_timeout = '400ms'");
my $timeout = pause($session, 'BEGIN; SELECT 1', 0.2, sub { $_[0]->answer });
is(row($session, 'query, ended_by'), 'BEGIN; SELECT 1|timeout', 'timeout: named');
lasted($session, $timeout, 1, 'timeout');
$session->close;

# an error of its own that looks like an end is none
$session = clerk();
$session->query('BEGIN; SELECT 1');
is($session->error_of(q{DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '57P01'; END $$})->{sqlstate}, '57P01', 'an error that looks like an end');
my $survived = pause($session, 'ROLLBACK; BEGIN; SELECT 7', 0.4, sub { $_[0]->close; is_gone($_[0]->pid) });
is(row($session, 'query, ended_by'), 'ROLLBACK; BEGIN; SELECT 7|gone', 'is not');
lasted($session, $survived, 1, 'the real end');

# --- too short: opened or not, none of them is a row
$session = clerk();
my %short;
for my $length (0.02, 0.16)
{
	for (1 .. 50)
	{
		my $pause = pause($session, 'BEGIN; SELECT 5', $length, says('COMMIT'));
		if ($pause->{outer} < 0.2)
		{
			$short{$length}++;
		}
		else
		{
			note 'not short enough, of this one nothing is asked';
			$session->close;
			$session = clerk();
			next;
		}
		lg_passes($boss, 2); # else one between two pauses may find both to be one
		last if $short{$length} == 5;
	}
	is($short{$length}, 5, "pauses of $length s");
	is(rows_of($session), 0, 'are no rows');
}
my $idle = clerk();
$idle->query('SELECT 1');
usleep(400_000);
$idle->query('SELECT pg_sleep(0.4)');
lg_passes($boss, 2);
is(rows_of($idle), 0, 'nor is being idle, or busy');
$idle->close;
$session->close;

# --- whom it keeps waiting, by their own clocks: one row, so through each other
$session = clerk();
$session->query('BEGIN; UPDATE till SET amount = 2 WHERE id = 2');
my $fell_idle = time;
my @waiters = map { clerk() } 1 .. 3;
my @since;
foreach my $waiter (@waiters)
{
	usleep(300_000);
	push @since, time;
	$waiter->send('UPDATE till SET amount = 3 WHERE id = 2');
}
usleep(600_000);
my $let_go = time;
$session->query('COMMIT');
my $gone = time;
my ($waited, $at_most) = (0, 0);
foreach my $waiter (@waiters)
{
	$waiter->answer;
	my $sent = shift @since;
	$waited += $let_go - $sent;
	$at_most += $gone - $sent;
}
$_->close foreach @waiters;
my ($blocked, $max_blocked) = split /\|/, row($session, 'blocked_seconds, max_blocked');
note "$blocked s blocked, by the clients' clocks $waited to $at_most s";
is($max_blocked, 3, 'three waited at the worst');
cmp_ok($blocked, '<=', $at_most + 0.02, 'no longer than they did');
cmp_ok($blocked, '>=', $waited - 3 * (0.05 + 0.4), 'and not much shorter');
$session->close;

# a wait that began before the pause is charged from its beginning only
$session = clerk();
$session->query('BEGIN; UPDATE till SET amount = 2 WHERE id = 3');
my $begun_at_soonest = time + 0.6;
$session->send('SELECT pg_sleep(0.6)');
my $waiter = clerk();
$waiter->send('UPDATE till SET amount = 3 WHERE id = 3');
$session->answer;
my $begun = time;
usleep(1_500_000);
my $over = time;
$session->query('ROLLBACK');
my $over_at_latest = time;
$waiter->answer;
$blocked = row($session, 'blocked_seconds');
note "$blocked s blocked of " . ($over - $begun);
cmp_ok($blocked, '<=', $over_at_latest - $begun_at_soonest + 0.02, 'not the time before it fell idle');
cmp_ok($blocked, '>=', $over - $begun - 0.75, 'but that after');
$_->close foreach $session, $waiter;

# --- who holds the horizon back, and how far
my $old = clerk();
my $young = clerk();
$old->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$boss->query('SELECT txid_current()') foreach 1 .. 20;
$young->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
usleep(2_300_000);
$_->query('COMMIT') foreach $young, $old;
is(row($young, 'horizon_age'), '', 'the younger one never held the horizon');
my $age = row($old, 'horizon_age');
cmp_ok($age, '>=', 20, 'the older one did');
cmp_ok($age, '<', 1000, 'but not forever');
$_->close foreach $young, $old;

# --- the collector starts again meanwhile
$session = clerk();
my $across = pause($session, 'BEGIN; SELECT 6', 0.4, sub {
	my $collector = lg_status($boss, 'collector_pid');
	$boss->query("SELECT pg_terminate_backend($collector)");
	lg_collector_again($boss, $collector);
	usleep(300_000);
	$_[0]->query('COMMIT');
});
is(row($session, 'query, ended_by'), 'BEGIN; SELECT 6|end of transaction', 'a collector later');
lasted($session, $across, 1, 'a collector later');
is(rows_of($session), 1, 'once');
$session->close;

# --- who may see it
my $all = $boss->query('SELECT count(*) FROM lifeguard.idle_transaction_history');
cmp_ok($all, '>', 10, 'many rows');
my $hidden = 'backend_start, client_addr, state, query_id, query_tags, xact_start, idle_start, duration, "precision", locks_held, ended_by';
my $masked = "SELECT DISTINCT query, num_nonnulls($hidden) FROM lifeguard.idle_transaction_history";
my $cousin = LgSession->new($node, user => 'cousin');
my $auditor = LgSession->new($node, user => 'auditor');
is($cousin->query($masked), '<insufficient privilege>|0', 'an ordinary role sees none of what pg_stat_activity hides');
is($cousin->query('SELECT count(*) FROM lifeguard.idle_transaction_history WHERE usename IS NULL OR pid IS NULL OR max_blocked IS NULL'), 0, 'but whose');
is(clerk()->query('SELECT count(*) FROM lifeguard.idle_transaction_history WHERE duration IS NULL'), 0, 'one sees one\'s own');
is($auditor->query('SELECT count(*) FROM lifeguard.idle_transaction_history WHERE duration IS NULL'), 0, 'a monitor sees all');
like($cousin->error_of('SELECT * FROM lifeguard.idle_transaction_entries')->{message}, qr/permission denied/, 'the table is not for reading');

# --- what memory and the table have is shown once; the table is masked alike
$boss->query('INSERT INTO lifeguard.idle_transaction_entries SELECT * FROM lifeguard.read_idle_transactions() ON CONFLICT DO NOTHING');
is($boss->query('SELECT count(*) FROM lifeguard.idle_transaction_history'), $all, 'no row twice');
$boss->query('CREATE TEMP TABLE before AS SELECT * FROM lifeguard.idle_transaction_entries');
$boss->query("UPDATE before SET boot = boot - interval '1 day'");
$boss->query('INSERT INTO lifeguard.idle_transaction_entries SELECT * FROM before');
is($boss->query('SELECT count(*) FROM lifeguard.idle_transaction_history'), 2 * $all, 'those before a restart beside those since');
foreach my $who ($boss, $cousin, $auditor)
{
	is($who->query('SELECT count(*) FROM (SELECT h FROM lifeguard.idle_transaction_history h GROUP BY h HAVING count(*) % 2 = 1) d'), 0, 'the table shows what memory did');
}
is($cousin->query($masked), '<insufficient privilege>|0', 'and to an ordinary role no more');

is($boss->query('SELECT count(*) FROM lifeguard.idle_transaction_history WHERE duration < interval \'0\' OR "precision" < interval \'0\' OR blocked_seconds < 0'), 0, 'nothing is negative');

# --- a server that stops cleanly remembers those it ended, too
$_->close foreach $cousin, $auditor;
$boss->query('DELETE FROM lifeguard.idle_transaction_entries WHERE boot < (SELECT min(boot) FROM lifeguard.read_idle_transactions())');
$session = clerk();
my $stopped = pause($session, 'BEGIN; SELECT 8', 0.4, sub { $boss->close; $node->stop });
$node->start;
$boss = LgSession->new($node);
is(row($session, 'query, ended_by'), 'BEGIN; SELECT 8|gone', 'it was idle to the end');
lasted($session, $stopped, 1, 'to the end');
is($boss->query('SELECT count(*) FROM lifeguard.idle_transaction_history'), $all + 1, 'nothing is lost, nor there twice');
$session->close;
$boss->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

# --- the wall clock jumps by an hour: seconds stay seconds
SKIP:
{
	my $clock = LgClock->new or skip 'faketime is not installed', 1;
	$node = lg_server('jumps', start => 0, conf => <<'END');
pg_lifeguard.sample_interval = 100ms
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.min_episode = 200ms
END
	$clock->start($node);
	$boss = LgSession->new($node);
	$boss->query('CREATE EXTENSION pg_lifeguard; CREATE ROLE clerk LOGIN; CREATE TABLE till (id int PRIMARY KEY, amount int); INSERT INTO till VALUES (1, 0); GRANT ALL ON till TO PUBLIC');

	$clock->take_collector($boss) or die;
	lg_passes($boss, 5);

	my $jumps = 0;
	foreach my $offset ('+3600', '+0')
	{
		my $holder = clerk();
		my $victim = clerk();
		my $asked;
		my $pause = pause($holder, 'BEGIN; UPDATE till SET amount = 1', 0.5, sub {
			$asked = time;
			$victim->send('UPDATE till SET amount = 2');
			$boss->poll('SELECT waiting = 1 FROM lifeguard.status') or die;
			$clock->set($offset);
			$jumps++;
			$boss->poll("SELECT clock_jumps = $jumps FROM lifeguard.status") or die;
			usleep(1_200_000);
			$holder->query('COMMIT');
			$victim->answer;
		});
		my $waited = time - $asked;
		lasted($holder, $pause, 0, "clock at $offset");
		is(row($holder, 'ended_by'), 'end of transaction', "clock at $offset: named");
		my $charged = row($holder, 'blocked_seconds');
		note "$charged s blocked, by the client's clock $waited s";
		cmp_ok($charged, '<=', $waited + 1, "clock at $offset: no hour out of a second");
		cmp_ok($charged, '>=', $waited - 0.6, "clock at $offset: nor nothing");
		$_->close foreach $holder, $victim;
	}

	# a start and its age add up to now where a night has but 23 hours
	my $noon = 1743246000;    # 2025-03-29 12:00 in Berlin
	ok($clock->bring($boss, $noon), 'the day before clocks are put forward');
	my $idler = clerk();
	$idler->query('BEGIN');
	ok($clock->bring($boss, $noon + 36 * 3600), 'the night after');
	my $berlin = LgSession->new($node, parameters => { TimeZone => 'Europe/Berlin' });
	is($berlin->query("SELECT idle_for BETWEEN interval '36:00' - interval '9 s' AND interval '36:00:09' FROM lifeguard.idle_transactions WHERE pid = ${\$idler->pid}"), 't', 'a day and a half');
	is($berlin->query("SELECT abs(extract(epoch FROM xact_start + xact_age - clock_timestamp())) < 9 FROM lifeguard.idle_transactions WHERE pid = ${\$idler->pid}"), 't', 'which ends now');
	$_->close foreach ($idler, $berlin);
	$boss->close;
	$node->stop;
	is(lg_log_complaints($node), '', 'nothing bad in this log either');
}

done_testing();
