# Cancel and terminate by hand: in every state of the victim it obeys or is
# spared, its client is told why, the ledger and the log have it, and the reason
# is never shown with an error that we did not cause.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = lg_server('byhand',
	init => { allows_streaming => 1 },
	conf => <<'END');
max_connections = 60
max_prepared_transactions = 2
log_line_prefix = '%m [%p] '
log_min_messages = debug1
pg_lifeguard.sample_interval = 0
pg_lifeguard.max_ledger = 16
max_parallel_workers_per_gather = 2
END
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE till (id int);
INSERT INTO till VALUES (1);
CREATE TABLE big AS SELECT g AS id FROM generate_series(1, 20000) g;
ALTER TABLE big SET (parallel_workers = 2);
ANALYZE big;
CREATE ROLE clerk LOGIN;
CREATE ROLE cousin LOGIN;
CREATE ROLE warden LOGIN;
GRANT pg_signal_backend TO warden;
CREATE ROLE chief LOGIN SUPERUSER;
CREATE FUNCTION parallel_nap() RETURNS bool LANGUAGE sql PARALLEL SAFE AS 'SELECT pg_sleep(0.05) IS NOT NULL';
CREATE PROCEDURE rounds() LANGUAGE plpgsql AS
'BEGIN LOOP UPDATE till SET id = id; COMMIT; PERFORM pg_sleep(0.01); END LOOP; END';
CREATE FUNCTION stubborn() RETURNS void LANGUAGE plpgsql AS
'BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN RAISE NOTICE ''never mind''; END; END LOOP; END'
END

# Act, and return the outcome.
sub act
{
	my ($by, $what, $pid, $reason) = @_;
	return $by->query("SELECT lifeguard.${what}_session($pid, '$reason')");
}

sub ledger_row
{
	my ($pid) = @_;
	return $boss->query(<<"END");
SELECT target, action, signal, outcome, reason, recorded_on, policy IS NULL, outcome_at >= at, repeats
FROM lifeguard.ledger WHERE pid = $pid ORDER BY at DESC LIMIT 1
END
}

my $me = $boss->query('SELECT current_user');

sub told
{
	my ($error, $what, $reason) = @_;
	my $object = $what eq 'cancel' ? 'this statement' : 'this session';
	return $error
	  && $error->{sqlstate} eq ($what eq 'cancel' ? '57014' : '57P01')
	  && ($error->{detail} // '') eq
	  qq(Role "$me" asked pg_lifeguard to $what $object, giving the reason "$reason".)
	  && ($error->{hint} // '') =~ /^(Repeat|Connect again).*\.$/;
}

sub is_told
{
	my ($error, $what, $reason, $name) = @_;
	ok(told($error, $what, $reason), $name) or diag explain $error;
	return;
}

# The states of the matrix: what a session does and how that shows; spared: it
# has nothing to cancel; held: a cancel is held while it reads from its client.
my $active = "state = 'active'";
my %states = (
	idle => { shows => "state = 'idle'", spared => 1 },
	'idle in transaction' =>
	  { first => 'BEGIN', shows => "state = 'idle in transaction'", spared => 1 },
	aborted => {
		first => 'BEGIN',
		fails => 'SELECT 1/0',
		shows => "state = 'idle in transaction (aborted)'",
		spared => 1
	},
	sleeping => { sql => 'SELECT pg_sleep(60)', shows => "wait_event = 'PgSleep'" },
	'in PL/pgSQL' => {
		sql => 'DO $$ BEGIN BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN division_by_zero THEN NULL; END; END $$',
		shows => "wait_event = 'PgSleep'"
	},
	computing => { sql => 'SELECT count(*) FROM generate_series(1, 2000000000)', shows => $active },
	'in a procedure' => { sql => 'CALL rounds()', shows => $active },
	'waiting for a lock' =>
	  { sql => 'LOCK TABLE big', before => 'BEGIN', shows => "wait_event_type = 'Lock'", lock => 1 },
	'parallel leader' => {
		first => 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2',
		sql => 'SELECT count(*) FROM big WHERE parallel_nap()',
		shows => 'EXISTS (SELECT FROM pg_stat_activity l WHERE l.leader_pid = a.pid)'
	},
	copying => { sql => 'COPY till FROM STDIN', shows => "wait_event = 'ClientRead' AND query LIKE 'COPY%'", held => 1 },
	deep => {
		first => 'CREATE OR REPLACE FUNCTION dive(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF n = 0 THEN PERFORM pg_sleep(60); RETURN 0; END IF; RETURN dive(n - 1); EXCEPTION WHEN division_by_zero THEN RETURN 0; END $$',
		sql => 'SELECT dive(60)',
		shows => "wait_event = 'PgSleep'"
	});

sub victim_in
{
	my ($state) = @_;
	my $victim = LgSession->new($node);
	my $pid = $victim->pid;

	$victim->query($state->{first}) if $state->{first};
	$victim->query($state->{before}) if $state->{before};
	$victim->error_of($state->{fails}) if $state->{fails};
	$victim->send($state->{sql}) if $state->{sql};
	$boss->poll("SELECT $state->{shows} FROM pg_stat_activity a WHERE pid = $pid") or die;
	return $victim;
}

my $lock = LgSession->new($node);
foreach my $name (sort keys %states)
{
	my $state = $states{$name};

	foreach my $what (qw(cancel terminate))
	{
		$lock->query('BEGIN; LOCK TABLE big') if $state->{lock};
		my $victim = victim_in($state);
		my $pid = $victim->pid;
		my $reason = "$what it, $name";
		if ($what eq 'cancel' && $state->{held})
		{
			# COPY FROM STDIN holds the cancel while it reads, and drops it at the end.
			$boss->send("SELECT lifeguard.cancel_session($pid, '$reason')");
			# who waits for what comes of it has signalled
			$lock->poll("SELECT count(*) = 1 FROM lifeguard.ledger l, pg_stat_activity a WHERE l.pid = $pid AND l.outcome = 'signalled' AND a.pid = ${\$boss->pid} AND a.wait_event = 'Extension'") or die;
			$victim->_write('c' . pack('N', 4));
			my $end = $victim->answer;
			my $outcome = $boss->answer->{rows}[0];
			like($outcome, qr/^cancelled in \d+ ms$/, "$what $name: outcome");
			ok(!$end->{error} || told($end->{error}, $what, $reason), "$what $name: the end of the copy");
			$victim->query("SET statement_timeout = '50ms'");
			my $later = $victim->error_of('SELECT pg_sleep(10)');
			is("$later->{sqlstate} " . ($later->{detail} // 'none'), '57014 none', "$what $name: a later timeout is not ours");
			$victim->close;
			next;
		}
		my $outcome = act($boss, $what, $pid, $reason);
		if ($what eq 'cancel' && $state->{spared})
		{
			is($outcome, 'spared: nothing to cancel', "$what $name: outcome");
			is(ledger_row($pid), "by hand|cancel|SIGINT|$outcome|$reason|primary|t|t|1", "$what $name: ledger");
			is($victim->error_of('ROLLBACK'), undef, "$what $name: goes on");
		}
		else
		{
			like($outcome, $what eq 'cancel' ? qr/^cancelled in \d+ ms$/ : qr/^terminated in \d+ ms$/, "$what $name: outcome");
			is_told($victim->answer->{error}, $what, $reason, "$what $name: the client is told");
			is(ledger_row($pid),
				join('|', 'by hand', $what, $what eq 'cancel' ? 'SIGINT' : 'SIGTERM', $outcome, $reason, 'primary', 't', 't', 1),
				"$what $name: ledger");
			if ($what eq 'cancel')
			{
				$victim->error_of('ROLLBACK');
				$victim->query("SET statement_timeout = '50ms'");
				my $later = $victim->error_of('SELECT pg_sleep(10)');
				is("$later->{sqlstate} " . ($later->{detail} // 'none'), '57014 none', "$what $name: a later timeout is not ours");
			}
		}
		$victim->close;
		$lock->query('ROLLBACK') if $state->{lock};
	}
}
my $text = slurp_file($node->logfile);
like($text, qr/LOG:  action by hand on session with PID \d+: terminated in \d+ ms\n.*DETAIL:  Role "\Q$me\E" asked to terminate it, giving the reason "terminate it, idle"\. It blocked 0 sessions\./,
	'the log has the action');
like($text, qr/FATAL:  terminating connection due to administrator command\n.*DETAIL:  Role "\Q$me\E" asked pg_lifeguard to terminate this session.*\n.*HINT:  Connect again/,
	"and the victim's own words");

# --- what emptied or changed the error context stack before does not matter
my $nap = 'DO $$ BEGIN PERFORM pg_sleep(60); END $$';    # has contexts of its own on that stack
my $divide = q{DO $$ BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END $$};
$boss->query(<<'END');
CREATE PROCEDURE ends(what text) LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO till VALUES (3);
	IF what = 'commit' THEN COMMIT; ELSE ROLLBACK; END IF;
	BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END;
	PERFORM pg_sleep(60);
END $$
END

# Whatever of a message is wrong, the answer is one error.
sub extended_error
{
	my ($session, @messages) = @_;
	$session->_write(join '', map { substr($_, 0, 1) . pack('N', 3 + length $_) . substr($_, 1) } @messages, 'S');
	return $session->answer->{error};
}
my %before = (
	'nothing' => [],
	'a syntax error' => [ ['SELEC'] ],
	'two syntax errors' => [ ['SELEC'], ['SELEC'] ],
	'an aborted transaction' => [ 'BEGIN', ['SELECT 1/0'], 'ROLLBACK' ],
	'an error in an aborted transaction' => [ 'BEGIN', ['SELECT 1/0'], ['SELECT 1'], 'ROLLBACK' ],
	'an error at COMMIT' => [
		'CREATE TEMP TABLE once (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)', 'BEGIN',
		'INSERT INTO once VALUES (1), (1)', ['COMMIT'] ],
	'a savepoint' => [ 'BEGIN', 'SAVEPOINT a', ['SELECT 1/0'], 'ROLLBACK TO a' ],
	'a savepoint after two errors' => [ 'BEGIN', 'SAVEPOINT a', ['SELECT 1/0'], ['SELECT 1'], 'ROLLBACK TO a' ],
	'a released savepoint' => [ 'BEGIN', 'SAVEPOINT a', 'RELEASE a' ],
	'an exception block' => [$divide],
	'an exception block in a transaction' => [ 'BEGIN', $divide, $divide ],
	'a prepared transaction' => [ 'BEGIN', 'SELECT 1', "PREPARE TRANSACTION 'x'", "ROLLBACK PREPARED 'x'" ],
	'a statement_timeout' => [ "SET statement_timeout = '500ms'", [$nap], 'SET statement_timeout = 0' ],
	'an error in the extended protocol' => [ sub { extended_error($_[0], "P\0SELEC\0\0\0") } ],
	'an unknown statement' => [ sub { extended_error($_[0], "Bx\0y\0" . "\0" x 6) } ],
	'an error outside a transaction' => [ sub { extended_error($_[0], "CQ\0") } ]);
my %then = (
	'DO' => sub { $_[0]->send($nap) },
	'COMMIT in a procedure' => sub { $_[0]->send("CALL ends('commit')") },
	'ROLLBACK in a procedure' => sub { $_[0]->send("CALL ends('rollback')") },
	'a parameter' => sub {
		my $sql = 'SELECT pg_sleep($1)';
		$_[0]->_write(join '', map { substr($_, 0, 1) . pack('N', 3 + length $_) . substr($_, 1) }
			  "P\0$sql\0\0\0", "B\0\0\0\0" . pack('nNa*', 1, 2, '60') . "\0\0", "E\0\0\0\0\0", 'S');
	});
foreach my $before (sort keys %before)
{
	foreach my $then ($before eq 'nothing' ? sort keys %then : 'DO')
	{
		foreach my $what (qw(cancel terminate))
		{
			my $session = LgSession->new($node);
			foreach my $step (@{ $before{$before} })
			{
				my $fails = ref $step;
				my $error = $fails eq 'CODE' ? $step->($session) : $session->error_of($fails ? $step->[0] : $step);
				is($error ? 'an error' : 'none', $fails ? 'an error' : 'none', "$before: as intended") or diag explain $error;
				is($error->{hint}, undef, "$before: not ours") if $error && ($error->{hint} // '') =~ /needed/;
			}
			$then{$then}->($session);
			$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = " . $session->pid) or die;
			like(act($boss, $what, $session->pid, $before), qr/ed in \d+ ms$/, "$what after $before, in $then");
			is_told($session->answer->{error}, $what, $before, "$what after $before, in $then: told");
			$session->close;
		}
	}
}

# --- the ledger has whom the victim blocked, and where; the remedy is ours
my $holder = LgSession->new($node);
my @blocked = map { LgSession->new($node) } 1 .. 3;
$holder->query('BEGIN; LOCK TABLE till');
$_->send('UPDATE till SET id = id') foreach @blocked;
ok($boss->poll('SELECT blocked_total = 3 FROM lifeguard.blockers'), 'three wait');
lg_put_in_force($boss, 'pg_lifeguard.enforce' => 'off');
ok($boss->poll("SELECT remedy LIKE 'SELECT pg_terminate_backend(%' FROM lifeguard.blockers"), 'where we may not act, the remedy is not ours');
lg_put_in_force($boss, 'pg_lifeguard.enforce' => 'on');
ok($boss->poll("SELECT remedy LIKE 'SELECT lifeguard.terminate_session(%' FROM lifeguard.blockers"), 'else it is');
like($boss->query($boss->query('SELECT remedy FROM lifeguard.blockers')), qr/^terminated in \d+ ms$/, 'and it works');
is_told($holder->answer->{error}, 'terminate', 'sessions blocked: 3', 'with a reason');
is($_->answer->{error}, undef, 'one goes on') foreach @blocked;
is($boss->query('SELECT blocked_total, blocked_pids @> ARRAY[' . join(',', map { $_->pid } @blocked)
		  . '], relation_name, waiters_freed BETWEEN 0 AND 3 FROM lifeguard.ledger WHERE pid = ' . $holder->pid),
	'3|t|public.till|t', 'the ledger has them, and the relation');
is($boss->query('SELECT count(DISTINCT boot) = 1 AND min(boot) > pg_postmaster_start_time() - interval \'1 min\' AND max(number) - min(number) = count(*) - 1 FROM lifeguard.read_ledger()'),
	't', 'entries are numbered');
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', 'CREATE EXTENSION pg_lifeguard');
is($node->safe_psql('elsewhere', 'SELECT relation_name FROM lifeguard.ledger WHERE pid = ' . $holder->pid),
	'public.till', 'a recorded name is shown in other databases');
$_->close foreach @blocked;

# --- a victim that swallows cancels: told once, and a terminate is obeyed
my $victim = LgSession->new($node);
$victim->send('SELECT stubborn()');
ok($boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = " . $victim->pid), 'a stubborn session');
is(act($boss, 'cancel', $victim->pid, 'please'), 'signalled', 'survives a cancel');
is($boss->query('SELECT outcome_at IS NULL, waiters_freed IS NULL FROM lifeguard.ledger WHERE pid = ' . $victim->pid),
	't|t', 'of which nothing is known');

# --- whoever gives up before the victim has heard tells so
{
	my $stopped = LgSession->new($node);
	my $hasty = LgSession->new($node);
	$hasty->query("SET statement_timeout = '300ms'");
	kill STOP => $stopped->pid;
	my $error = $hasty->error_of("SELECT lifeguard.terminate_session(${\$stopped->pid}, 'too slow')");
	kill CONT => $stopped->pid;
	is($error->{sqlstate}, '57014', 'a caller gives up');
	is($stopped->query('SELECT 1'), '1', 'whom he meant lives');
	is(ledger_row($stopped->pid), 'by hand|terminate|SIGTERM|spared: it did not answer|too slow|primary|t|t|1', 'as the ledger has it');
	like(slurp_file($node->logfile), qr/LOG:  action by hand on session with PID ${\$stopped->pid}: spared: it did not answer\n/, 'and the log');
	$_->close foreach ($stopped, $hasty);
}

# --- whoever is ended while he waits for it leaves no note behind
my $writer = LgSession->new($node);
foreach my $end (qw(pg_terminate_backend pg_cancel_backend))
{
	$writer = LgSession->new($node);
	$writer->send('SELECT lifeguard.cancel_session(' . $victim->pid . ", 'again')");
	$boss->poll("SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = " . $writer->pid);
	$boss->query("SELECT $end(" . $writer->pid . ')');
	my $error = $writer->answer->{error};
	is($error->{detail}, undef, "$end is not ours");
	is(act($boss, 'cancel', $victim->pid, 'once more'), 'signalled', "a later call works after $end");
}
like(act($boss, 'terminate', $victim->pid, 'enough'), qr/^terminated in/, 'a terminate ends it');
is_told($victim->answer->{error}, 'terminate', 'enough', 'and tells it why');

# --- what is not asked for, or cannot be
is($boss->query("SELECT lifeguard.cancel_session(NULL, 'x') IS NULL, lifeguard.terminate_session(NULL, NULL) IS NULL"),
	't|t', 'NULL for NULL');
is(act($boss, 'terminate', 2147483647, 'x'), 'spared: it is gone', 'nobody has that PID');
is(act($boss, 'terminate', $_, 'x'), 'spared: it is gone', "nor $_") foreach (0, -1);
$victim = LgSession->new($node);
my $pid = $victim->pid;
is($boss->query("SELECT lifeguard.terminate_session($pid, 'x', now())"), 'spared: it is gone', 'another start time');
is($victim->query('SELECT 1'), '1', 'the session is unharmed');
like($boss->query("SELECT lifeguard.terminate_session(pid, 'x', backend_start) FROM pg_stat_activity WHERE pid = $pid"),
	qr/^terminated in/, 'its own start time');
my %errors = (
	'SELECT lifeguard.terminate_session(pg_backend_pid(), \'x\')' => '55000 cannot act on this session itself',
	'SELECT lifeguard.cancel_session(1, \'\')' => '22023 reason must not be empty',
	'SELECT lifeguard.cancel_session(1, \' \')' => '22023 reason must not be empty',
	'SELECT lifeguard.cancel_session(1, NULL)' => '22023 reason must not be empty',
	'SELECT lifeguard.cancel_session(1, repeat(\'x\', 201))' => '22001 reason is too long');
foreach my $sql (sort keys %errors)
{
	my $error = $boss->error_of($sql);
	is("$error->{sqlstate} $error->{message}", $errors{$sql}, $sql);
}
is(act($boss, 'cancel', 2147483647, 'x' x 200), 'spared: it is gone', '200 bytes are allowed');

# --- other processes
my $standby = PostgreSQL::Test::Cluster->new('follower');
$node->backup('base');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "pg_lifeguard.max_ledger = 32\nmax_connections = 60");
$standby->start;
$boss->poll("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'");
foreach my $row (split /\n/, $boss->query(
	"SELECT pid, backend_type FROM pg_stat_activity WHERE backend_type NOT IN ('client backend', 'parallel worker')"))
{
	my ($other, $type) = split /\|/, $row;
	my $answer = $boss->send("SELECT lifeguard.terminate_session($other, 'x')")->answer or die;
	my $error = $answer->{error};
	next if !$error && $answer->{rows}[0] eq 'spared: it is gone'; # a keeper comes and goes
	is($error && "$error->{sqlstate} $error->{message}", "42809 process with PID $other is not a client session", "not the $type");
}
my $far = LgSession->new($standby);
my $far_victim = LgSession->new($standby);
like(act($far, 'terminate', $far_victim->pid, 'on a standby'), qr/^terminated in/, 'on a standby too');
is_told($far_victim->answer->{error}, 'terminate', 'on a standby', 'and its client is told');
is($far->query("SELECT recorded_on FROM lifeguard.ledger WHERE reason = 'on a standby'"), 'standby', 'recorded there');
$far->close;
$standby->stop;

# --- rights: as pg_terminate_backend()
my %asks = map { $_ => LgSession->new($node, user => $_) } qw(clerk cousin warden chief);
foreach my $case ([ 'clerk', 'clerk', 1 ], [ 'cousin', 'clerk', 0 ], [ 'warden', 'clerk', 1 ],
	[ 'warden', 'chief', 0 ], [ 'clerk', 'chief', 0 ], [ 'chief', 'chief', 1 ])
{
	my ($who, $whom, $may) = @$case;
	$victim = LgSession->new($node, user => $whom);
	my $native = $asks{$who}->error_of("SELECT pg_cancel_backend(" . $victim->pid . ")");
	is(defined $native ? 0 : 1, $may, "$who and ${whom}'s session: the server");
	my $error = $asks{$who}->error_of('SELECT lifeguard.terminate_session(' . $victim->pid . ", 'x')");
	is($error ? $error->{sqlstate} : 'may', $may ? 'may' : '42501', "$who and ${whom}'s session: we");
	is($victim->query('SELECT 1'), '1', 'unharmed') if !$may;
	$victim->close;
}
my $row = "SELECT usename, query, query_tags IS NULL, backend_start IS NULL, state IS NULL, state_age IS NULL FROM lifeguard.ledger WHERE usename = 'chief' ORDER BY at DESC LIMIT 1";
is($asks{clerk}->query($row), 'chief|<insufficient privilege>|t|t|t|t', "masked for others");
is($asks{chief}->query($row), 'chief||t|f|f|f', 'not for oneself');
$_->close foreach values %asks;

# --- enforce = off
lg_put_in_force($boss, 'pg_lifeguard.enforce' => 'off') or die;
$victim = LgSession->new($node);
my $off = $boss->error_of('SELECT lifeguard.terminate_session(' . $victim->pid . ", 'x')");
is("$off->{sqlstate} $off->{message}", '55000 pg_lifeguard may not signal sessions', 'enforce = off');
like($off->{hint}, qr/reload/, 'with a hint');
is($victim->query('SELECT 1'), '1', 'nobody is signalled');
lg_put_in_force($boss, 'pg_lifeguard.enforce' => 'on') or die;

# --- the user's own cancel, and the next session in the slot, show nothing
$victim->send('SELECT pg_sleep(60)');
$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = " . $victim->pid);
like(act($boss, 'cancel', $victim->pid, 'ours'), qr/^cancelled/, 'cancelled by us');
is_told($victim->answer->{error}, 'cancel', 'ours', 'told');
$victim->send('SELECT pg_sleep(60)');
$boss->poll("SELECT wait_event = 'PgSleep' AND state = 'active' FROM pg_stat_activity WHERE pid = " . $victim->pid);
$boss->query('SELECT pg_cancel_backend(' . $victim->pid . ')');
is($victim->answer->{error}{detail}, undef, 'cancelled by somebody else: not ours');
act($boss, 'terminate', $victim->pid, 'the slot');
foreach (1 .. 8)
{
	my $next = LgSession->new($node);
	$boss->query('SELECT pg_terminate_backend(' . $next->pid . ')');
	my $error = $next->answer->{error};
	unlike($error->{detail} // '', qr/pg_lifeguard/, 'the next session is not told');
}

# --- RAISE with the same SQLSTATE is not ours
$victim = LgSession->new($node);
$victim->send(q{DO $$ BEGIN LOOP BEGIN RAISE EXCEPTION USING ERRCODE = '57014'; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$});
$boss->poll("SELECT state = 'active' FROM pg_stat_activity WHERE pid = " . $victim->pid);
like(act($boss, 'terminate', $victim->pid, 'noise'), qr/^terminated/, 'a loop that raises our SQLSTATE');
is_told($victim->answer->{error}, 'terminate', 'noise', 'told at the right error');

# --- nor is a statement_timeout in the very statement that holds our cancel back
my $other = LgSession->new($node);
$victim = LgSession->new($node);
$pid = $victim->pid;
$victim->query("SET statement_timeout = '1s'");
$victim->send('COPY till FROM STDIN');
$boss->poll("SELECT wait_event = 'ClientRead' AND query LIKE 'COPY%' FROM pg_stat_activity WHERE pid = $pid") or die;
$boss->send("SELECT lifeguard.cancel_session($pid, 'held back')");
$other->poll("SELECT outcome = 'signalled' FROM lifeguard.ledger WHERE pid = $pid") or die;
$other->poll("SELECT clock_timestamp() > query_start + interval '1.5 s' FROM pg_stat_activity WHERE pid = $pid") or die;
$victim->_write('d' . pack('N', 6) . "1\n");
my $end = $victim->answer->{error};
like($end->{message}, qr/due to statement timeout/, 'the timeout comes first');
is($end->{detail}, undef, 'and is not ours');
like($boss->answer->{rows}[0], qr/^cancelled in/, 'the statement has ended');
$victim->close;

# --- what is said is said once, even in the same statement
$victim = LgSession->new($node);
$pid = $victim->pid;
$victim->send(q{DO $$ BEGIN BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
	PERFORM pg_advisory_lock(42); PERFORM pg_sleep(60); END $$});
$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid") or die;
$boss->send("SELECT lifeguard.cancel_session($pid, 'once')");
$other->poll("SELECT count(*) = 1 FROM pg_locks WHERE pid = $pid AND locktype = 'advisory'") or die;
$other->query("SELECT pg_cancel_backend($pid)");
$end = $victim->answer->{error};
is("$end->{sqlstate} " . ($end->{detail} // 'none'), '57014 none', "somebody else's cancel in the same statement is not ours");
$boss->answer;
$victim->close;
$other->close;

# --- whatever is logged
my $loud = LgSession->new($node);
foreach my $level (qw(debug5 debug1 info notice warning error log fatal panic))
{
	lg_configure($loud, log_min_messages => $level);
	$loud->poll("SELECT setting = '$level' FROM pg_settings WHERE name = 'log_min_messages'");
	foreach my $what (qw(cancel terminate))
	{
		my $session = LgSession->new($node);
		$session->send('SELECT pg_sleep(60)');
		$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = " . $session->pid);
		act($boss, $what, $session->pid, $level);
		is_told($session->answer->{error}, $what, $level, "log_min_messages = $level, $what");
		$session->close;
	}
}
lg_configure($loud, log_min_messages => 'warning');
$loud->close;

# --- the ledger is a ring
is($boss->query('SELECT count(*) FROM lifeguard.read_ledger()'), '16', 'the newest 16 entries');

# --- a commit that waits for a dead standby, and a backup, are spared
lg_await_standby($boss, $node) or die;
$victim = LgSession->new($node);
$victim->send('INSERT INTO till VALUES (2)');
ok($boss->poll("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = " . $victim->pid), 'a commit waits for a standby');
foreach my $what (qw(cancel terminate))
{
	is(act($boss, $what, $victim->pid, 'x'), 'spared: its commit waits for a synchronous standby', "spared: $what");
}
ok(!$victim->answer(0.2), 'it waits on');
lg_configure($boss, synchronous_standby_names => '');
is($victim->answer->{error}, undef, 'and gets through');
my $start = $node->pg_version < 15 ? 'pg_start_backup' : 'pg_backup_start';
$victim->query("SELECT $start('x', true)");
is(act($boss, 'terminate', $victim->pid, 'x'), 'spared: it runs a backup', 'a backup is spared');
$victim->query('SELECT lsn IS NOT NULL FROM pg_backup_stop(false)');
like(act($boss, 'terminate', $victim->pid, 'x'), qr/^terminated/, 'until it is over');

# --- track_activities off: no state to prove, no wrong label
$victim = LgSession->new($node, parameters => { options => '-c track_activities=off' });
$victim->send('SELECT pg_sleep(60)');
$boss->poll('SELECT count(*) = 1 FROM pg_locks WHERE locktype = \'virtualxid\' AND pid = ' . $victim->pid) or die;
is(act($boss, 'cancel', $victim->pid, 'unseen'), 'signalled', 'a session without a state');
is_told($victim->answer->{error}, 'cancel', 'unseen', 'is cancelled and told');
$victim->close;

# --- a storm
my %named;
my @load = map { LgSession->new($node) } 1 .. 15;
my @hunters = map { LgSession->new($node) } 1 .. 20;
my ($sent, $ours, $others, $plain, $wrong) = (0, 0, 0, 0, '');
my $until = time + ($ENV{LG_LONG} ? 60 : 5);
my @tasks = ('SELECT count(*) FROM generate_series(1, 30000)', 'BEGIN; UPDATE till SET id = id; SELECT pg_sleep(0.002); COMMIT',
	'DO $$ BEGIN FOR i IN 1..20 LOOP BEGIN PERFORM 1/(i % 3); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$',
	'SELECT pg_sleep(0.01)', 'SELECT 1/0');
my (%busy, %asked);
while (time < $until)
{
	foreach my $i (0 .. $#load)
	{
		if (!$busy{$i})
		{
			$load[$i]->send($tasks[ rand @tasks ]);
			$busy{$i} = 1;
		}
		my $answer = $load[$i]->answer(0.0005) or next;
		$busy{$i} = 0;
		my $error = $answer->{error} or next;
		my $state = $error->{sqlstate} // '';
		if (($error->{detail} // '') =~ /giving the reason "(\d+)"/)
		{
			$ours++;
			$wrong .= "told of $1\n" if ($named{$1} // 0) != $load[$i]->pid;
		}
		elsif (!$state)
		{
			# ended while we wrote to it: the words are lost on the way
			$others++;
		}
		elsif ($state =~ /^57/)
		{
			$plain++;
		}
		elsif ($state ne '22012' && $state ne '25P02' && $state ne '40P01')
		{
			$wrong .= "$state $error->{message}\n";
		}
		if ($state eq '57P01' || !$state)
		{
			$load[$i]->close;
			$load[$i] = LgSession->new($node);
		}
		else
		{
			$load[$i]->send('ROLLBACK')->answer;
		}
	}
	foreach my $hunter (@hunters)
	{
		if (!$asked{$hunter} || $hunter->answer(0.0005))
		{
			my $prey = $load[ rand @load ]->pid;
			$sent++;
			$named{$sent} = $prey;
			$asked{$hunter} = 1;
			$hunter->send('SELECT lifeguard.' . (rand() < 0.7 ? 'cancel' : 'terminate') . "_session($prey, '$sent')");
		}
	}
}
is($wrong, '', 'no wrong word to anybody');
cmp_ok($ours, '>', 20, 'many were told why');
note "$sent actions, $ours told, $plain without reason, $others cut off";
cmp_ok($plain, '<=', 2 + $ours / 50, 'hardly any without');
foreach my $session (@load, @hunters)
{
	$session->close;
}
is($boss->query('SELECT 1'), '1', 'the server is up');
ok($boss->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name = 'lgtest' AND state <> 'idle'"), 'quiet again');
$victim = LgSession->new($node);
like(act($boss, 'terminate', $victim->pid, 'after the storm'), qr/^terminated/, 'no note is stuck');

$node->stop;
is(lg_log_complaints($node, allow => qr/there is no transaction in progress/), '', 'nothing bad in the log');

# --- not preloaded
my $bare = lg_server('bare', preload => '');
my $visitor = LgSession->new($bare);
my $error = $visitor->error_of("SELECT lifeguard.terminate_session(1, 'x')");
is("$error->{sqlstate} $error->{message}", '55000 pg_lifeguard is not loaded', 'not preloaded');
is($visitor->query('SELECT count(*) FROM lifeguard.ledger'), '0', 'and the ledger is empty');
$visitor->close;
$bare->stop;

done_testing();
