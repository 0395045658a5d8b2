# What only passes call, called from SQL: does a blocker still block, is a waiter
# still in the wait that was judged, what of the ledger is to be written.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use LgUnit;
use PostgreSQL::Test::Utils;
use Test::More;

my ($library, $lacking) = build_probe('act_probe');
plan skip_all => $lacking unless $library;

my $node = lg_server('proofs', conf => <<'END');
max_prepared_transactions = 2
pg_lifeguard.sample_interval = 0
pg_lifeguard.max_ledger = 16
pg_lifeguard.database = 'nowhere'
END
my $eye = LgSession->new($node);
load_probe($eye, $library,
	'probe_draw()' => 'void',
	'probe_still_blocks(int)' => 'bool',
	'probe_signal(int, timestamptz)' => 'text',
	'probe_note(int, timestamptz)' => 'text',
	'probe_survived(int)' => 'text',
	'probe_add(oid, oid)' => 'int8',
	'probe_change(int8, text)' => 'void',
	'probe_next(int8)' => 'text',
	'probe_mark(int8, int, bool)' => 'void',
	'probe_lost()' => 'int8',
	'probe_stay_in_commit(int)' => 'void');
$eye->query('CREATE TABLE till (id int); INSERT INTO till VALUES (1), (2)');

# --- does it still block?
my ($holder, $waiter, $second) = map { LgSession->new($node) } 1 .. 3;
my ($h, $w, $s) = map { $_->pid } $holder, $waiter, $second;

sub waits
{
	my ($pid) = @_;
	return $eye->poll("SELECT count(*) = 1 FROM pg_locks WHERE pid = $pid AND NOT granted AND waitstart IS NOT NULL");
}
sub still { return $eye->query("SELECT probe_still_blocks($_[0])"); }

$holder->query('BEGIN; SAVEPOINT a; UPDATE till SET id = id WHERE id = 1; LOCK TABLE till IN SHARE MODE');
$waiter->query('BEGIN');
$waiter->send('LOCK TABLE till');
waits($w) or die;
$second->send('SELECT FROM till');
waits($s) or die;
$eye->query('SELECT probe_draw()');
is(still($h), 't', 'a holder blocks');
is(still($w), 'f', 'who only waits is no root');
$eye->query("SELECT pg_cancel_backend($w)");
is($waiter->answer->{error}{sqlstate}, '57014', 'the waiter gives up');
is($second->answer->{error}, undef, 'and so the second goes on');
is(still($h), 'f', 'nobody waits for it any more');
$waiter->query('ROLLBACK; BEGIN');
$waiter->send('UPDATE till SET id = id');
waits($w) or die;
$second->query('BEGIN');
$second->send('LOCK TABLE till');
waits($s) or die;
$eye->query('SELECT probe_draw()');
is(still($h), 't', 'blocks again');
is($holder->query('ROLLBACK TO a; SELECT 1'), '1', 'the holder lets go of the lock, but stays in its transaction');
is($waiter->answer->{error}, undef, 'so the waiter has it');
is(still($h), 'f', 'and the holder blocks nobody');
$_->query('ROLLBACK') foreach $holder, $waiter;
is($second->answer->{error}, undef, 'all go on');
$second->query('ROLLBACK');

$holder->query("BEGIN; LOCK TABLE till; PREPARE TRANSACTION 'x'");
$waiter->send('SELECT FROM till');
waits($w) or die;
$eye->query('SELECT probe_draw()');
is(still(0), 't', 'a prepared transaction blocks');
$eye->query("ROLLBACK PREPARED 'x'");
$waiter->answer;
is(still(0), 'f', 'until it is rolled back');

# --- is it still the same wait?
foreach my $probe (qw(note signal))
{
	my %ends = $probe eq 'note' ? (other => 'it moved on', same => qr/^acted$/) : (other => 'spared: it moved on', same => qr/^cancelled in \d+ ms$/);

	is($eye->query("SELECT probe_$probe($w, now())"), $ends{other}, "$probe: who does not wait is spared");
	$holder->query('BEGIN; LOCK TABLE till');
	$waiter->send('SELECT FROM till');
	waits($w) or die;
	my $since = $eye->query("SELECT waitstart FROM pg_locks WHERE pid = $w AND NOT granted");
	is($eye->query("SELECT probe_$probe($w, '$since'::timestamptz - interval '1 us')"), $ends{other}, "$probe: who awaits another is spared");
	is($waiter->answer(0.1), undef, "$probe: and waits on");
	like($eye->query("SELECT probe_$probe($w, '$since')"), $ends{same}, "$probe: who awaits it is cancelled");
	is($waiter->answer->{error}{sqlstate}, '57014', "$probe: indeed");
	is($eye->query("SELECT probe_$probe($w, '$since')"), $ends{other}, "$probe: its stamp is not believed when the wait is over");
	$holder->query('ROLLBACK');
}
is($eye->query('SELECT probe_survived(9000), probe_survived(10001)'), 'signalled|survived', 'survives after ten seconds');

# --- what of the ledger is to be written
is($eye->query('SELECT probe_next(1) IS NULL'), 't', 'the ledger is empty');
my $here = "'till'::regclass, (SELECT oid FROM pg_database WHERE datname = current_database())";
is($eye->query("SELECT probe_add($here)"), '1', 'an entry');
is($eye->query("SELECT probe_add($here)"), '2', 'another');
is($eye->query('SELECT probe_next(1), probe_next(2), probe_next(3) IS NULL'), '1 revision 1|2 revision 1|t', 'both are due');
$eye->query('SELECT probe_mark(1, 1, true)');
is($eye->query('SELECT probe_next(1)'), '2 revision 1', 'the first is written');
$eye->query("SELECT probe_change(1, 'repeat')");
is($eye->query('SELECT probe_next(1)'), '1 revision 2 notified', 'a repeat makes it due again');
$eye->query('SELECT probe_mark(1, 1, false)');
is($eye->query('SELECT probe_next(1)'), '1 revision 2 notified', 'writing the older revision does not help');
$eye->query("SELECT probe_change(1, 'finish')");
is($eye->query('SELECT probe_next(1)'), '1 revision 3 notified', 'nor does an outcome');
is($eye->query('SELECT relation_name, gid, repeats, outcome FROM lifeguard.ledger ORDER BY at LIMIT 1'),
	'public.till|a gid|2|survived', 'as the view has it, the name resolved when read');
$eye->query("SELECT probe_change(2, 'repeat'), probe_mark(2, 2, false), probe_mark(2, 1, false)");
is($eye->query('SELECT probe_next(2) IS NULL'), 't', 'a mark takes back no newer one');
is($eye->query("SELECT probe_add('till'::regclass, 1)"), '3', 'a relation of another database');
is($eye->query('SELECT relation_name IS NULL FROM lifeguard.ledger ORDER BY at DESC LIMIT 1'), 't', 'has no name here');
$eye->query("SELECT probe_change(3, 'far.away')");
is($eye->query('SELECT relation_name FROM lifeguard.ledger ORDER BY at DESC LIMIT 1'), 'far.away', 'until it is learnt');
is($eye->query("SELECT max(probe_add($here)), probe_lost() FROM generate_series(1, 13)"), '16|0', 'the ring is full, nothing lost');
is($eye->query("SELECT max(probe_add($here)) FROM generate_series(1, 3)"), '19', 'three more');
is($eye->query('SELECT probe_lost(), probe_next(1)'), '2|4 revision 1', 'of three pushed out one was written');
$eye->query("SELECT probe_change(1, 'repeat'), probe_mark(1, 9, true)");
is($eye->query('SELECT probe_lost(), probe_next(1)'), '2|4 revision 1', 'what is gone is changed no more');

# --- a COMMIT that releases a savepoint first is a COMMIT: it may wait for a standby next
{
	my $committer = LgSession->new($node);
	$committer->query($_) foreach ('BEGIN', 'INSERT INTO till VALUES (3)', 'SAVEPOINT a', 'INSERT INTO till VALUES (4)', 'SELECT probe_stay_in_commit(2000)');
	$committer->send('COMMIT');
	$eye->poll("SELECT state = 'active' AND query = 'COMMIT' FROM pg_stat_activity WHERE pid = ${\$committer->pid}") or die;
	is($eye->query("SELECT lifeguard.terminate_session(${\$committer->pid}, 'too long')"), 'spared: its transaction is just ending', 'who commits is spared, savepoints or not');
	is($committer->answer->{error}, undef, 'and commits');
	is($committer->query('SELECT count(*) FROM till WHERE id IN (3, 4)'), '2', 'all of it');
	$committer->close;
}

$eye->close;
$_->close foreach $holder, $waiter, $second;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
