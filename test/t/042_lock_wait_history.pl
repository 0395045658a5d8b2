# Lock waits from their beginning to their end: who waited for whom and what, how
# long by the clocks of those who did, how it ended; and nothing that did not
# happen.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('lockwaits', conf => <<'END');
max_connections = 80
max_prepared_transactions = 2
log_line_prefix = '%m [%p] '
log_lock_waits = off
deadlock_timeout = 1min
pg_lifeguard.sample_interval = 100
pg_lifeguard.fast_interval = 100
pg_lifeguard.min_episode = 200
END
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE ROLE guest LOGIN;
CREATE TABLE till AS SELECT g AS id, 0 AS paid FROM generate_series(1, 20) g;
CREATE TABLE queue (id int);
CREATE TABLE keys (id int PRIMARY KEY);
GRANT ALL ON ALL TABLES IN SCHEMA public TO guest
END
my $on;             # when the waits under way were going on, for sure
my $by_hand;        # passes are made only when asked for
my %expected;       # by PID of the waiter: how many episodes

sub client
{
	my ($name, %options) = @_;
	return LgSession->new($node, parameters => { application_name => $name }, %options);
}

# Wait for something, and return when everybody can see that.
sub waits_for
{
	my ($session, $sql) = @_;
	$session->{sent} = time;
	$session->send($sql);
	lg_waits($boss, $session) or die "it does not wait: $sql\n";
	$on = $session->{seen} = time;
	$expected{ $session->pid }++;
	return $session;
}

sub holds
{
	my ($name, $sql) = @_;
	my $session = client($name);
	$session->query("BEGIN; $sql");
	return $session;
}

# The wait is over when this returns; how long it took by our clock at most, and at
# least: since it was seen until it was going on for sure, unless that is given.
sub is_over
{
	my ($session, $sqlstate, $name, $least) = @_;
	my $answer = $session->answer or die "$name: it waits on\n";
	$session->{took} = time - $session->{sent};
	$session->{least} = $least // $on - $session->{seen};
	is($answer->{error} ? $answer->{error}{sqlstate} // 'closed' : '', $sqlstate, "$name: the wait is over");
	return;
}

# Columns of its episode, when there is one.
sub episode
{
	my ($session, $columns) = @_;
	my $pid = $session->pid;
	$boss->poll("SELECT count(*) FROM lifeguard.lock_wait_history WHERE waiter_pid = $pid", $expected{$pid})
	  or return 'none';
	return $boss->query("SELECT $columns FROM lifeguard.lock_wait_history WHERE waiter_pid = $pid ORDER BY wait_start DESC LIMIT 1");
}

# Its length is what we have seen, within its precision; passes come each 100 ms,
# later on a busy machine.
sub length_is_right
{
	my ($session, $name) = @_;
	my ($length, $precision) = split /\|/, episode($session,
		'extract(epoch FROM duration), extract(epoch FROM "precision")');
	ok($length - $precision <= $session->{took} && $length + $precision >= $session->{least} && $precision <= 0.5,
		"$name: its length is right")
	  or diag "recorded $length within $precision, by our clock $session->{least} to $session->{took}";
	return $precision;
}

# So long, and for as long as passes take to see it.
sub lasts
{
	my ($seconds) = @_;
	usleep(1e6 * $seconds);
	lg_passes($boss, 2) or die unless $by_hand;
	$on = time;
	return;
}

# ------------------------------------------------ a queue for a row, and its root
my $root = holds('till keeper', 'UPDATE till SET paid = 1 WHERE id = 1 /* the first */');
my @w = map { waits_for(client("clerk $_"), 'UPDATE till SET paid = 2 WHERE id = 1') } 1 .. 3;
lasts(1.2);
$root->query('COMMIT');
is_over($_, '', 'in the queue for a row') foreach @w;
is(episode($w[0], 'root_pid, root_application_name, root_state, root_query, root_at_end_pid, mode, held_mode, ended_by, locktype, database'),
	$root->pid . '|till keeper|idle in transaction|BEGIN; UPDATE till SET paid = 1 WHERE id = 1 /* the first */|' . $root->pid . '|ShareLock|ExclusiveLock|granted|transactionid|postgres',
	'who waits for a row waits for its transaction');
is(episode($w[0], 'waiter_application_name, waiter_query, waiter_state, waiter_backend_start IS NULL, root_backend_start IS NULL, root_query_tags'),
	'clerk 1|UPDATE till SET paid = 2 WHERE id = 1|active|f|f|the first', 'both parties are told');
is(episode($w[1], 'root_pid, locktype, mode, held_mode, max_queue'), $root->pid . '|tuple|ExclusiveLock|ExclusiveLock|2', 'the next wait for their turn');
foreach (@w)
{
	is(episode($_, q(relation_name, page, tuple, relation = 'till'::regclass)), 'public.till|0|1|t', 'which row');
	length_is_right($_, 'in the queue for a row');
}
is(episode($w[0], 'wait_start BETWEEN to_timestamp(' . ($w[0]{sent} - 0.01) . ') AND to_timestamp(' . ($w[0]{seen} + 0.01) . ')'), 't', 'its start is exact');
is(episode($w[0], 'estimated, recorded_on'), '00:00:00|primary', 'nothing of a long wait is estimated');

# ------------------------------------------------------- a waiter becomes the root
$root->query('BEGIN; LOCK TABLE queue');
@w = map { client("clerk $_") } 1 .. 3;
$_->query('BEGIN') foreach @w;
waits_for($_, 'LOCK TABLE queue /* in line */') foreach @w;
lasts(0.3);
$root->query('COMMIT');
is_over($w[0], '', 'the first in line');
lasts(0.5);
$_->query('COMMIT'), is_over($w[1], '', 'the second') foreach $w[0];
$_->query('COMMIT'), is_over($w[2], '', 'the third') foreach $w[1];
$w[2]->query('COMMIT');
is(episode($w[1], 'root_pid, root_at_end_pid, max_queue'), join('|', $root->pid, $w[0]->pid, 3), 'the root at the start and at the end');
is(episode($w[1], 'root_query, root_at_end_query, root_at_end_state'), 'BEGIN; LOCK TABLE queue|LOCK TABLE queue /* in line */|idle in transaction', 'and what they did');
length_is_right($_, 'in line') foreach @w;

# ------------------------------------------------------ the root does something else
$root->query('BEGIN; LOCK TABLE till');
$root->query('SELECT 1 /* first */');
my $waiter = waits_for(client('patient'), 'SELECT count(*) FROM till');
lasts(0.3);
$root->send('SELECT pg_sleep(0.5) /* second */');
$root->answer;
lasts(0);
$root->query('COMMIT');
is_over($waiter, '', 'behind a busy root');
is(episode($waiter, 'root_state, root_query, root_at_end_pid, mode, held_mode, relation_name, page, max_queue'),
	'idle in transaction|SELECT 1 /* first */|' . $root->pid . '|AccessShareLock|AccessExclusiveLock|public.till||1', 'the root when it began');
like(episode($waiter, 'root_at_end_state, root_at_end_query'), qr/^(?:active|idle in transaction)\|SELECT pg_sleep\(0\.5\) \/\* second \*\//, 'and when it ended');
length_is_right($waiter, 'behind a busy root');

# -------------------------------------------------------------- an ALTER TABLE in the way
$root->query('BEGIN; SELECT FROM queue');
my $alter = waits_for(client('migration'), 'ALTER TABLE queue ADD n int');
my @readers = map { waits_for(client('reader'), 'SELECT FROM queue') } 1, 2;
lasts(0.3);
$root->query('COMMIT');
is_over($_, '', 'in the queue') foreach $alter, @readers;
is(episode($alter, 'mode, held_mode, max_queue, root_pid'), 'AccessExclusiveLock|AccessShareLock|3|' . $root->pid, 'the ALTER TABLE');
is(episode($readers[0], 'mode, held_mode, max_queue, root_pid, relation_name'),
	'AccessShareLock|AccessShareLock|3|' . $root->pid . '|public.queue', 'who waits behind it waits for its root');

# ----------------------------------------------------------------- other kinds of locks
$root->query('BEGIN; SELECT pg_advisory_xact_lock(42); INSERT INTO keys VALUES (1)');
$waiter = waits_for(client('advised'), 'SELECT pg_advisory_xact_lock(42)');
my $inserter = waits_for(client('inserter'), 'INSERT INTO keys VALUES (1)');
lasts(0.3);
$root->query('ROLLBACK');
is_over($_, '', 'the wait') foreach $waiter, $inserter;
is(episode($waiter, 'locktype, relation, relation_name, page, mode, held_mode, database, ended_by'),
	'advisory||||ExclusiveLock|ExclusiveLock|postgres|granted', 'an advisory lock');
is(episode($waiter, 'classid, objid, objsubid'), '0|42|1', 'its key, as pg_locks shows it');
is(episode($inserter, 'locktype, relation_name, page, tuple, database, classid, objid, objsubid'), 'transactionid|public.keys|||postgres|||', 'a key: its table is settled here');

$root->query("BEGIN; UPDATE till SET paid = 3 WHERE id = 2; PREPARE TRANSACTION 'forgotten'");
$waiter = waits_for(client('behind it'), 'UPDATE till SET paid = 4 WHERE id = 2');
lasts(0.3);
$root->query("COMMIT PREPARED 'forgotten'");
is_over($waiter, '', 'behind a prepared transaction');
is(episode($waiter, 'root_pid, root_usename = current_user, root_datname, root_at_end_pid, root_state, page, tuple'),
	'0|t|postgres|0||0|2', 'a prepared transaction as root');
is($boss->query("SELECT DISTINCT root_usename = current_user, root_application_name, root_query FROM lifeguard.contention WHERE waiter_application_name = 'behind it'"),
	't||<prepared transaction>', 'contention, too, says what it was');

# --------------------------------------------------------------------- how it ends
$root->query('BEGIN; LOCK TABLE queue');

# A session, what it waits with, what to do then; how the client and the history have it.
sub ends
{
	my ($name, $ended_by, $sqlstate, %how) = @_;
	my $session = client($how{application} // $name);

	$session->query($how{first}) if $how{first};
	waits_for($session, 'SELECT FROM queue');
	my $least;
	if ($how{timeout})
	{
		# counted from when the statement began, or later
		$least = $how{timeout} - ($session->{seen} - $session->{sent});
	}
	else
	{
		lasts(0.25);
		$how{then}->($session) if $how{then};
	}
	is_over($session, $sqlstate, $name, $least);
	is(episode($session, 'ended_by, extract(epoch FROM "precision") = 0, root_pid'), "$ended_by|t|" . $root->pid, "$name: so it is told");
	length_is_right($session, $name);
	return $session;
}

my $act = sub { my ($call) = @_; sub { $boss->query("SELECT $call(" . $_[0]->pid . ')') } };
ends('lock timeout', 'lock timeout', '55P03', first => q(SET lock_timeout = '2s'), timeout => 2);
ends('statement timeout', 'cancelled', '57014', first => q(SET statement_timeout = '2s'), timeout => 2);
my $twice = ends('by the user', 'cancelled', '57014', then => $act->('pg_cancel_backend'));
ends('terminated', 'gone', '57P01', then => $act->('pg_terminate_backend'));
ends('cancelled by hand', 'by hand', '57014', then => sub { $boss->query('SELECT lifeguard.cancel_session(' . $_[0]->pid . ", 'test')") });
ends('terminated by hand', 'by hand', '57P01', then => sub { $boss->query('SELECT lifeguard.terminate_session(' . $_[0]->pid . ", 'test')") });
lg_define($boss,
	impatient => { target => 'waiter', min_duration => '1500 ms', action => 'cancel', include_superusers => 't' },
	angry => { target => 'waiter', min_duration => '1500 ms', action => 'terminate', include_superusers => 't' }) or die;
ends('cancelled by a policy', 'policy', '57014', application => 'impatient', timeout => 1.5);
ends('terminated by a policy', 'policy', '57P01', application => 'angry', timeout => 1.5);
lg_drop($boss);

# A session whose first wait was cancelled is granted the next.
waits_for($twice, 'SELECT FROM queue');
my $lost = client('lost');
$lost->query(q(SET client_connection_check_interval = '50ms'));
waits_for($lost, 'SELECT FROM queue');
lasts(0.25);
CORE::close(delete $lost->{socket});
is(episode($lost, 'ended_by'), 'gone', 'a client that is gone');
# One that leaves as soon as it has the lock is not gone.
my $hasty = waits_for(client('hasty'), 'SELECT FROM queue');
$hasty->_write('X' . pack('N', 4));
lasts(0.25);
$root->query('COMMIT');
is_over($twice, '', 'after a cancelled one');
is(episode($twice, 'ended_by'), 'granted', 'a wait after one that was cancelled');
length_is_right($twice, 'a wait after one that was cancelled');
is(episode($hasty, 'ended_by'), 'granted', 'who leaves with the lock has got it');

# ------------------------------------------------------------------------ a deadlock
my ($first, $second) = (client('first'), client('second'));
$first->query('BEGIN; UPDATE till SET paid = 5 WHERE id = 5');
$second->query(q(SET deadlock_timeout = '2s'; BEGIN; UPDATE till SET paid = 6 WHERE id = 6));
waits_for($first, 'UPDATE till SET paid = 7 WHERE id = 6');
lasts(0.25);
waits_for($second, 'UPDATE till SET paid = 8 WHERE id = 5');
is_over($second, '40P01', 'a deadlock', 2);
is_over($first, '', 'the other');
$_->query('ROLLBACK') foreach $first, $second;
is(episode($second, 'ended_by, root_pid, root_query, root_at_end_pid'), 'deadlock|||', 'a deadlock has no root');
is(episode($first, 'ended_by, root_pid, root_at_end_pid'), 'granted|' . $second->pid . '|', 'the other had one before');
length_is_right($_, 'in a deadlock') foreach $first, $second;

# ----------------------------------------------------- exact, where the server logs waits
$root->query('BEGIN; LOCK TABLE queue');
my $logging = client('logged');
$logging->query(q(SET log_lock_waits = on; SET deadlock_timeout = '50ms'));
my $log = -s $node->logfile;
waits_for($logging, 'SELECT FROM queue');
lasts(0.5);
$root->query('COMMIT');
is_over($logging, '', 'a logged one');
ok(length_is_right($logging, 'a logged one') == 0, 'its end is exact');
my ($said) = slurp_file($node->logfile, $log) =~ /process \d+ acquired AccessShareLock .* after ([0-9.]+) ms/;
my $recorded = episode($logging, 'extract(epoch FROM duration) * 1000');
ok(abs($recorded - $said) < 30, 'as the server has logged it') or diag "recorded $recorded, logged $said";
my $pid = $logging->pid;
is(scalar(() = slurp_file($node->logfile, $log) =~ /\[$pid\] LOG:  process $pid /g), 2, 'and the log has no more and no less lines than before');

# ---------------------------------------------------------- what must not be there
# shorter than pg_lifeguard.min_episode; and a statement that fails after its wait
$root->query('BEGIN; LOCK TABLE queue');
my $short = client('short');
$short->query(q(SET lock_timeout = '20ms'));
$short->error_of('SELECT FROM queue') foreach 1 .. 5;
my $fails = client('fails');
$fails->query(q(SET statement_timeout = '3s'));
waits_for($fails, 'SELECT FROM queue; SELECT pg_sleep(10)');
lasts(0.4);
$root->query('COMMIT');
is($fails->answer->{error}{sqlstate}, '57014', 'a statement fails after its wait');
is(episode($fails, 'ended_by'), 'granted', 'which was granted');

# ------------------------------------------------------------- the collector is killed
$root->query('BEGIN; LOCK TABLE queue');
$waiter = waits_for(client('long'), 'SELECT FROM queue');
lasts(0.3);
my $collector = lg_status($boss, 'collector_pid');
$boss->query("SELECT pg_terminate_backend($collector)");
lg_collector_again($boss, $collector) or die;
lasts(0.3);
$root->query('COMMIT');
is_over($waiter, '', 'across two collectors');
is(episode($waiter, 'ended_by, root_query'), 'granted|BEGIN; LOCK TABLE queue', 'it is one episode');
length_is_right($waiter, 'across two collectors');

# ------------------------------------------------------------------------ a long one
$root->query('BEGIN; LOCK TABLE queue');
$waiter = waits_for(client('patient'), 'SELECT FROM queue');
lasts(20);
$root->query('COMMIT');
is_over($waiter, '', 'of 20 s');
length_is_right($waiter, 'of 20 s');
is(episode($waiter, "duration > '20 s', estimated, root_query, ended_by"), 't|00:00:00|BEGIN; LOCK TABLE queue|granted', 'a wait of 20 s');

# ------------------------------------------------------------------------ by hand, once
lg_configure($boss, 'pg_lifeguard.sample_interval' => 0);
$boss->poll("SELECT collector = 'on demand' FROM lifeguard.status") or die;
$by_hand = 1;
$root->query('BEGIN; LOCK TABLE queue');
lg_run_pass($boss);
my $unseen = client('unseen');
$unseen->query(q(SET lock_timeout = '250ms'));
$unseen->error_of('SELECT FROM queue');
$waiter = waits_for(client('seen'), 'SELECT FROM queue');
lg_run_pass($boss);
lasts(0.6);
$root->query('COMMIT');
is_over($waiter, '', 'between two passes');
is($boss->query('SELECT count(*) FROM lifeguard.lock_wait_history WHERE waiter_pid = ' . $waiter->pid), '0', 'what has ended for no pass is not told');
lg_run_pass($boss);
my ($lower, $upper) = split /\|/, episode($waiter, 'extract(epoch FROM duration - "precision"), extract(epoch FROM duration + "precision")');
ok($lower < $waiter->{took} && $upper > $waiter->{least} && $upper - $lower > 0.2, 'it lies between two passes')
  or diag "$lower .. $upper, by our clock $waiter->{least} to $waiter->{took}";

# ---------------------------------------------------------------- nothing but the truth
lg_run_pass($boss);
my $waiters = join ',', map { "($_, $expected{$_})" } keys %expected;
is($boss->query(<<"END"), '', 'nothing is there that did not happen');
SELECT waiter_application_name, waiter_query, ended_by, duration, n, h FROM (
	SELECT *, count(*) OVER (PARTITION BY waiter_pid) AS h FROM lifeguard.lock_wait_history) h
FULL JOIN (VALUES $waiters) e (pid, n) ON pid = waiter_pid WHERE n IS DISTINCT FROM h
END
is($boss->query('SELECT count(*) FROM lifeguard.lock_wait_history WHERE duration < interval \'200 ms\' OR "precision" < interval \'0\' OR estimated < interval \'0\''), '0', 'no short one, nothing negative');
is(lg_status($boss, 'waits_cut_off'), '0', 'nothing was cut off');

# -------------------------------------------------------------------- who may see what
$root->query('BEGIN; LOCK TABLE queue');
my $guest = LgSession->new($node, user => 'guest', parameters => { application_name => 'guest' });
waits_for($guest, 'SELECT FROM queue /* mine */');
lg_run_pass($boss);
lasts(0.6);
$root->query('COMMIT');
is_over($guest, '', 'a guest');
lg_run_pass($boss);
my $columns = join ', ', map { my $p = $_; map { "${p}_$_" } qw(usename query query_tags state), } qw(waiter root root_at_end);
my $own = 'SELECT ' . $columns . ', root_backend_start, root_at_end_backend_start, waiter_backend_start IS NOT NULL FROM lifeguard.lock_wait_history WHERE waiter_pid = ' . $guest->pid;
my $me = $boss->query('SELECT current_user');
my $masked = "guest|SELECT FROM queue /* mine */|mine|active|$me|<insufficient privilege>|||$me|<insufficient privilege>|||||t";
is($guest->query($own), $masked, 'a guest sees its own part of a wait');
my $others = <<'END';
SELECT count(*) > 20, count(*) FILTER (WHERE waiter_query <> '<insufficient privilege>' OR root_query <> '<insufficient privilege>'
	OR num_nonnulls(waiter_state, waiter_query_tags, waiter_query_id, waiter_client_addr, waiter_backend_start,
		root_state, root_query_tags, root_query_id, root_client_addr, root_backend_start,
		root_at_end_state, root_at_end_query_tags, root_at_end_query_id, root_at_end_client_addr, root_at_end_backend_start) > 0),
	count(*) FILTER (WHERE root_pid IS NULL AND root_query IS NOT NULL)
FROM lifeguard.lock_wait_history WHERE waiter_usename <> 'guest'
END
is($guest->query($others), 't|0|0', 'and nothing of the others');

# the same of what the table holds, whoever has written it
$boss->poll('SELECT records_unflushed = 0 FROM lifeguard.status') or die;
my $all = $boss->query('SELECT count(*) FROM lifeguard.lock_wait_history');
$boss->query(q(CREATE TEMP TABLE kept AS SELECT * FROM lifeguard.read_lock_wait_history()));
$boss->query(q(DELETE FROM lifeguard.lock_wait_entries; INSERT INTO lifeguard.lock_wait_entries SELECT * FROM kept));
is($boss->query('SELECT count(*) FROM lifeguard.lock_wait_history'), $all, 'what is in both is shown once');
my $before = $boss->query('SELECT md5(string_agg(h::text, E\'\n\' ORDER BY h::text)) FROM lifeguard.lock_wait_history h');
$boss->query(q(UPDATE lifeguard.lock_wait_entries SET boot = boot - interval '1 day'));
is($boss->query('SELECT count(*), count(DISTINCT md5(h::text)) FROM lifeguard.lock_wait_history h'), 2 * $all . "|$all", 'the table tells the same as memory');
is($guest->query("$own LIMIT 1"), $masked, 'masked') ;
is($guest->query($others), 't|0|0', 'likewise');
is($guest->query("SELECT count(DISTINCT h::text) FROM lifeguard.lock_wait_history h"), $all, 'and the same in both');
is($guest->error_of('SELECT FROM lifeguard.lock_wait_entries')->{sqlstate}, '42501', 'the table itself is nobody\'s');

is(lg_view_errors($boss), '', 'all views can be read');
$_->close foreach $boss, $guest, $root;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');
done_testing();
