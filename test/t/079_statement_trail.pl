# The last statements of an open transaction: those that its client sent, in order and
# no more than asked for, of this transaction and no other; for whom they keep waiting,
# and for the history.  Nothing while pg_lifeguard.track_statements is 0.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('trail', conf => <<'END');
compute_query_id = off
jit = off
deadlock_timeout = 1h
max_prepared_transactions = 2
pg_lifeguard.sample_interval = 0
pg_lifeguard.min_episode = 0
END
my $boss = LgSession->new($node);
$boss->query(<<'END');
CREATE TABLE till (id int PRIMARY KEY, amount int);
INSERT INTO till SELECT g, 0 FROM generate_series(1, 9) g;
CREATE ROLE clerk LOGIN;
CREATE ROLE cousin LOGIN;
GRANT ALL ON till TO clerk;
CREATE FUNCTION fill() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	UPDATE till SET amount = 1 WHERE id = 9;
	EXECUTE 'LOCK TABLE till IN ROW SHARE MODE';
	RETURN 1;
END $$;
CREATE PROCEDURE renew() LANGUAGE plpgsql AS $$
BEGIN
	UPDATE till SET amount = 7 WHERE id = 7;
	COMMIT;
	UPDATE till SET amount = 8 WHERE id = 7;
	PERFORM pg_sleep(3600);
END $$;
CREATE FUNCTION sum_up() RETURNS bigint LANGUAGE sql AS 'SELECT sum(amount) FROM till';
CREATE TABLE log (id int);
CREATE RULE also AS ON INSERT TO log DO ALSO UPDATE till SET amount = 3 WHERE id = 8
END

sub clerk { return LgSession->new($node, user => 'clerk', @_); }

# What the views say of a session, one statement a line; undef for NULL.
sub trail
{
	my ($session, $view, $by) = @_;
	$view //= 'idle_transactions';
	my $from = "FROM lifeguard.$view WHERE pid = " . $session->pid;
	my $there = ($by // $boss)->query("SELECT statements IS NULL $from");
	die "no row in $view\n" unless $there;
	return undef if $there eq 't';
	return ($by // $boss)->query("SELECT array_to_string(statements, E'\\n') $from");
}

# Say that, each as a string of its own; the trail then, once the session is idle.
sub trail_after
{
	my ($session, @statements) = @_;
	$session->send($_)->answer foreach @statements;
	$boss->poll('SELECT count(*) = 1 FROM lifeguard.idle_transactions WHERE pid = ' . $session->pid);
	return trail($session);
}

sub restart
{
	my ($conf) = @_;
	$node->append_conf('postgresql.conf', $conf);
	$node->restart;
	$boss = LgSession->new($node);
	return;
}

# A statement by the extended protocol, from Parse to Sync.
sub extended
{
	my ($session, $sql, $execute_twice) = @_;
	my @execute = ('E', "\0" . pack('N', $execute_twice ? 1 : 0));
	$session->send_messages('P', "\0$sql\0" . pack('n', 0), 'B', "\0\0" . pack('nnn', 0, 0, 0),
		@execute, $execute_twice ? @execute : (), 'S', '');
	return $session->answer;
}

# Off: nothing.
{
	my $off = clerk();
	is(trail_after($off, 'BEGIN', 'UPDATE till SET amount = 0 WHERE id = 1'), undef, 'nothing is kept unless asked for');
	is($boss->query('SELECT count(*) FROM lifeguard.transaction_statements'), '0', 'nor is there a row');
	$off->query('COMMIT');
}
my $size_off = lg_status($boss, 'shared_memory');

restart("pg_lifeguard.track_statements = 3\n");

# 30 sessions, 3 statements of 200 bytes
cmp_ok(lg_status($boss, 'shared_memory') - $size_off, '>=', 30 * 3 * 200, 'room for them is part of the shared memory');
cmp_ok(lg_status($boss, 'shared_memory') - $size_off, '<=', 30 * (3 * 224 + 64), 'and no more than they need');

# The statement that took the lock, among those after it.
my $idle = clerk();
my $update = 'UPDATE till SET amount = 2 WHERE id = 1';
is(trail_after($idle, 'BEGIN'), undef, 'a transaction without statements');
is(trail_after($idle, $update), $update, 'one statement');
is(trail_after($idle, 'SELECT 1', 'SELECT 2'), "$update\nSELECT 1\nSELECT 2", 'the oldest first');
my $waiter = LgSession->new($node);
$waiter->send('DELETE FROM till WHERE id = 1');
$boss->poll('SELECT count(*) = 1 FROM lifeguard.blockers');
is(trail($idle, 'blockers'), "$update\nSELECT 1\nSELECT 2", 'of who blocks, too');
is($boss->query('SELECT query FROM lifeguard.blockers'), 'SELECT 2', 'where the last one has not taken the lock');
$boss->query('SELECT lifeguard.run_pass()');

# Who sees it.
my $cousin = LgSession->new($node, user => 'cousin');
is(trail($idle, 'blockers', $cousin), undef, 'hidden from another role');
is($cousin->query('SELECT query, statements IS NULL FROM lifeguard.blockers'), '<insufficient privilege>|t', 'as the query is');
is($cousin->query('SELECT count(*), count(statements) FROM lifeguard.read_sessions() WHERE pid = ' . $idle->pid),
	'1|0', 'and in the function below');
my $own = clerk();
is(trail($idle, 'idle_transactions', $own), "$update\nSELECT 1\nSELECT 2", 'shown to its own');

# Each with its time and number.
is($cousin->query('SELECT count(*) FROM lifeguard.transaction_statements WHERE usename <> current_user'), '0', 'no statement of another role');
is($own->query('SELECT number, query, query_id IS NULL, query_start BETWEEN xact_start AND now() FROM lifeguard.transaction_statements WHERE pid = ' . $idle->pid),
	"1|$update|t|t\n2|SELECT 1|t|t\n3|SELECT 2|t|t", 'a row for each statement');
is($boss->query('SELECT s.query_start = a.query_start FROM lifeguard.transaction_statements s JOIN pg_stat_activity a USING (pid) WHERE number = 3'),
	't', 'with the time that pg_stat_activity has');

# The history.
$idle->query('ROLLBACK');
$waiter->answer;
$boss->query('SELECT lifeguard.run_pass()');
my $of_idle = 'FROM lifeguard.idle_transaction_history WHERE max_blocked = 1 AND pid = ' . $idle->pid;
is($boss->query("SELECT array_to_string(statements, E'\\n') $of_idle"), "$update\nSELECT 1\nSELECT 2", 'kept in the history');
ok($boss->poll('SELECT count(*) = 1 FROM lifeguard.idle_transaction_entries WHERE statements[1] = ' . "'$update'"), 'and in its table');
my $hidden = 'SELECT count(*), count(statements) FROM lifeguard.idle_transaction_history WHERE pid = ' . $idle->pid;
is($cousin->query($hidden), '1|0', 'hidden there');
my ($in_all, $with) = split /\|/, $own->query($hidden);
is("$in_all|$with", '1|1', 'and shown to its own');

# One transaction's, the last three.
is(trail_after($idle, 'BEGIN; SELECT 3'), 'SELECT 3', 'nothing of the transaction before');
is(trail_after($idle, 'SELECT 4', 'SELECT 5', 'SELECT 6'), "SELECT 4\nSELECT 5\nSELECT 6", 'no more than the last three');
is($boss->query('SELECT number FROM lifeguard.transaction_statements WHERE pid = ' . $idle->pid), "2\n3\n4", 'which are numbered in the transaction');
is(trail_after($idle, 'COMMIT; BEGIN; SELECT 7; COMMIT; BEGIN'), undef, 'nothing of one that ended in the same string');
is(trail_after($idle, 'SELECT 8', 'COMMIT AND CHAIN'), undef, 'nor of one that was chained');
is(trail_after($idle, 'COMMIT; BEGIN; SELECT 9; COMMIT AND CHAIN'), undef, 'nor in one string');
is(trail_after($idle, 'SELECT 9; COMMIT AND CHAIN; SELECT 10'), 'SELECT 10', 'with a statement behind it');
$idle->query('COMMIT');

# Savepoints, errors, and what is no statement of interest.
is(trail_after($idle, 'BEGIN', 'SET TRANSACTION READ WRITE', 'SAVEPOINT s', 'SELECT 1 / (id - 1) FROM till', 'ROLLBACK TO s', 'RELEASE s', 'SELECT 11'),
	"SELECT 1 / (id - 1) FROM till\nSELECT 11", 'after an error and ROLLBACK TO SAVEPOINT');
is(trail_after($idle, 'SELECT nonsense'), undef, 'none of a transaction that has failed and holds no locks');
$idle->query('ROLLBACK');

# A procedure that has begun another transaction: what was noted belongs to the one before.
my $renewer = LgSession->new($node);
$renewer->send('CALL renew()');
$waiter->send('DELETE FROM till WHERE id = 7') if $boss->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
$boss->poll('SELECT count(*) = 1 FROM lifeguard.blockers');
is($boss->query('SELECT query, statements IS NULL FROM lifeguard.blockers'), 'CALL renew()|t', 'nothing of the transaction before within a procedure');
$boss->query('SELECT pg_cancel_backend(' . $renewer->pid . ')');
$renewer->answer;
$waiter->answer;

# What functions and rules do is no statement of the client.
is(trail_after($idle, 'BEGIN', 'SELECT fill()', 'DO $$BEGIN PERFORM fill(); END$$', 'SELECT sum_up() FROM till WHERE id = 2'),
	"SELECT fill()\nDO \$\$BEGIN PERFORM fill(); END\$\$\nSELECT sum_up() FROM till WHERE id = 2", 'a function is one statement');
$idle->query('ROLLBACK');
my $owner = LgSession->new($node);
is(trail_after($owner, 'BEGIN', 'INSERT INTO log VALUES (1)', 'EXPLAIN ANALYZE SELECT 12', 'CREATE TABLE copied AS SELECT 13 AS x'),
	"INSERT INTO log VALUES (1)\nEXPLAIN ANALYZE SELECT 12\nCREATE TABLE copied AS SELECT 13 AS x", 'as are rules, and a query within a command');
is(trail_after($owner, 'DECLARE c CURSOR FOR SELECT 14', 'FETCH c', 'LOCK TABLE till IN SHARE MODE'),
	"DECLARE c CURSOR FOR SELECT 14\nFETCH c\nLOCK TABLE till IN SHARE MODE", 'cursors and commands');
is(trail_after($owner, 'PREPARE p AS SELECT 15', 'EXECUTE p', 'DEALLOCATE p'), "PREPARE p AS SELECT 15\nEXECUTE p\nDEALLOCATE p", 'EXECUTE is what was sent');

# Strings of several statements: each by itself.
is(trail_after($owner, "SELECT 16;\n  SELECT 17; EXPLAIN SELECT 18 ; SELECT 19"), "SELECT 17\nEXPLAIN SELECT 18\nSELECT 19", 'each statement of a string');
is(trail_after($owner, 'ROLLBACK', 'BEGIN; SELECT fill(); SELECT 20'), "SELECT fill()\nSELECT 20", 'with functions in it');
$owner->query('ROLLBACK');

# The extended protocol.
$owner->query('BEGIN');
is(extended($owner, 'SELECT fill()')->{error}, undef, 'by the extended protocol');
extended($owner, 'UPDATE till SET amount = 4 WHERE id = 4');
extended($owner, 'SELECT fill() FROM generate_series(1, 3)', 1);
is(trail_after($owner), "SELECT fill()\nUPDATE till SET amount = 4 WHERE id = 4\nSELECT fill() FROM generate_series(1, 3)", 'each once, without what functions do');
extended($owner, 'EXPLAIN SELECT 21');
extended($owner, 'UPDATE till SET amount = 5 WHERE id = 5 RETURNING id');
is(trail_after($owner), "SELECT fill() FROM generate_series(1, 3)\nEXPLAIN SELECT 21\nUPDATE till SET amount = 5 WHERE id = 5 RETURNING id", 'commands and RETURNING');
extended($owner, 'COMMIT');
extended($owner, 'BEGIN');
extended($owner, 'SELECT 22');
is(trail_after($owner), 'SELECT 22', 'and nothing of the transaction before');
$owner->query('ROLLBACK');

# Long ones are cut.
my $long = 'SELECT ' . join ' + ', 1 .. 200;
is(trail_after($owner, 'BEGIN', $long), substr($long, 0, 199), 'the beginning of a long one');
extended($owner, $long);
is(trail_after($owner), join("\n", (substr($long, 0, 199)) x 2), 'by the extended protocol, too');
$owner->query('ROLLBACK');

# A slot's next session has nothing of the last one's.
my $pid = $owner->pid;
$owner->query('BEGIN; SELECT 23');
$owner->close;
$boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
my @next = map { clerk() } 1 .. 3;
$_->query('BEGIN') foreach @next;
is($boss->query('SELECT count(*), count(statements) FROM lifeguard.idle_transactions'), '3|0', 'a slot is its own session\'s');
$_->query('COMMIT') foreach @next;

# Other encodings: the cut is between characters, and what cannot be converted is '?'.
$boss->query("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
$boss->query("CREATE DATABASE unicode ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
my $latin = LgSession->new($node, dbname => 'latin', parameters => { client_encoding => 'LATIN1' });
my $unicode = LgSession->new($node, dbname => 'unicode', parameters => { client_encoding => 'UTF8' });
$unicode->query('CREATE EXTENSION pg_lifeguard');
trail_after($latin, 'BEGIN', "SELECT 'K\xe4se'");
is(trail($latin, 'idle_transactions', $unicode), "SELECT 'K\xc3\xa4se'", 'a statement of a LATIN1 database');
my $umlauts = "SELECT '" . "\xc3\xa4" x 200 . "'";
my $reader = LgSession->new($node, dbname => 'unicode', parameters => { client_encoding => 'UTF8' });
trail_after($unicode, 'BEGIN', $umlauts);
is(trail($unicode, 'idle_transactions', $reader), "SELECT '" . "\xc3\xa4" x 95, 'no broken character where it is cut');
$reader->query('SELECT lifeguard.run_pass()');
$unicode->query('COMMIT');
$latin->query('COMMIT');
$reader->query('SELECT lifeguard.run_pass()');
is($reader->query('SELECT statements[1] FROM lifeguard.idle_transaction_history WHERE pid = ' . $unicode->pid),
	"SELECT '" . "\xc3\xa4" x 55, 'nor in the history');

# A prepared transaction has no session any more; who prepared it, no transaction.
$idle->query('BEGIN');
$idle->query('UPDATE till SET amount = 6 WHERE id = 6');
$idle->query("PREPARE TRANSACTION 'left'");
$waiter->send('DELETE FROM till WHERE id = 6');
$boss->poll('SELECT count(*) = 1 FROM lifeguard.blockers');
is($boss->query('SELECT gid, statements IS NULL FROM lifeguard.blockers'), 'left|t', 'nothing is known of a prepared transaction');
$boss->query("ROLLBACK PREPARED 'left'");
$waiter->answer;

is(lg_view_errors($boss), '', 'all views can be read');
is(lg_negative_ages($boss), '', 'no age is negative');

# From the table alone.
restart("pg_lifeguard.track_statements = 2\n");
$own = clerk();
$cousin = LgSession->new($node, user => 'cousin');
is($boss->query('SELECT count(*) FROM lifeguard.read_idle_transactions() WHERE pid = ' . $idle->pid), '0', 'after a restart');
is($boss->query("SELECT array_to_string(statements, E'\n') $of_idle"), "$update\nSELECT 1\nSELECT 2", 'the history is there');
is($cousin->query("SELECT count(*), count(statements) $of_idle"), '1|0', 'hidden');
is($own->query("SELECT count(*), count(statements) $of_idle"), '1|1', 'and shown to its own');

# Other libraries in the same hooks, before and behind.
SKIP:
{
	skip 'no pg_stat_statements', 4 unless lg_has_library('pg_stat_statements');
	foreach my $order ('pg_lifeguard, pg_stat_statements', 'pg_stat_statements, pg_lifeguard')
	{
		restart("shared_preload_libraries = '$order'\ncompute_query_id = on\npg_lifeguard.track_statements = 20\n");
		$boss->query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()');
		my $session = LgSession->new($node);
		my @statements = map { "SELECT fill(), $_" } 1 .. 25;
		is(trail_after($session, 'BEGIN', @statements) . '|' . $boss->query("SELECT calls FROM pg_stat_statements WHERE query LIKE 'SELECT fill(), %'"),
			join("\n", @statements[5 .. 24]) . '|25', "preloaded as $order: both see each statement");
		is($boss->query('SELECT count(*) FROM lifeguard.transaction_statements s JOIN pg_stat_activity a USING (pid, query_id) WHERE number = 25'),
			'1', 'with the query id that pg_stat_activity has');
		$session->query('COMMIT');
	}
}

is(lg_log_complaints($node), '', 'nothing to complain about in the log');
$node->stop;
done_testing();
