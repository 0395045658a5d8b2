# Victims that move on at the last moment are spared, and nobody is hit or told
# in their place.  The moments are held by a test build of the library; then
# many sessions move on by themselves.  The same build holds a reset, and whoever is
# ended in the middle of what he has begun.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use Cwd;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# --- a library that can be held
my $build = PostgreSQL::Test::Utils::tempdir;
{
	local %ENV = %ENV;
	delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES)};
	chomp(my $pg_config = `which pg_config`);
	my $said = `cp -r src extension Makefile pg_lifeguard.control '$build' && cd '$build' && rm -f src/*.o && make -s with_llvm=no PG_CONFIG='$pg_config' COPT='-DLG_TEST -Werror' pg_lifeguard.so 2>&1`;
	ok($? == 0, 'a test build') or die $said;
}

my $node = lg_server('moved', conf => <<'END');
max_connections = 12
max_prepared_transactions = 12
superuser_reserved_connections = 0
log_line_prefix = '%m [%p] '
log_statement = all
jit = off
deadlock_timeout = 1h
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.max_actions_per_minute = 0
END
# the functions of this server are to come from there, too
$node->safe_psql('postgres', q{UPDATE pg_proc SET probin = 'pg_lifeguard' WHERE probin = '$libdir/pg_lifeguard'});
$node->append_conf('postgresql.conf', "dynamic_library_path = '$build:\$libdir'");
$node->restart;
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE till (id int);
INSERT INTO till VALUES (1);
GRANT ALL ON till TO PUBLIC;
CREATE ROLE clerk LOGIN;
CREATE ROLE porter LOGIN
END

sub policy
{
	my ($name, %columns) = @_;
	lg_define($boss, $name => { applications => ['lgtest'], min_duration => '200 ms', roles => '{clerk}', %columns }) or die;
	return;
}

sub drop
{
	lg_drop_named($boss, @_) or die;
	return;
}

# Hold whoever comes to that point; wait until somebody has; let him go.
my $folder = $node->data_dir . '/lg_test';
mkdir $folder;
sub hold
{
	my ($point) = @_;
	unlink "$folder/$point.reached";
	append_to_file("$folder/$point", '');
	return;
}

sub is_held
{
	my ($point) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	usleep(1000) while !-e "$folder/$point.reached" && time < $deadline;
	return -e "$folder/$point.reached";
}

sub let_go
{
	my ($point) = @_;
	unlink "$folder/$point";
	return;
}

sub comes_out
{
	my ($pid, $outcome) = @_;
	return $boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = $pid AND outcome LIKE '$outcome'");
}

# A session, as soon as there is a place for it.
sub comes_in
{
	my ($role) = @_;
	my $session;

	for (1 .. 200)
	{
		$session = LgSession->new($node, user => $role, refused_ok => 1);
		last if !$session->{refused};
		usleep(10_000);
	}
	return $session;
}

# What others do to it afterwards, with the very words of our own signals, carries
# nothing of ours.  Ends the session.
sub is_untold
{
	my ($session, $name) = @_;
	my %ends = (cancel => '57014', terminate => '57P01');

	$session->error_of('ROLLBACK');
	foreach my $end (sort keys %ends)
	{
		$session->send('SELECT pg_sleep(60)');
		$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = ${\$session->pid}") or die;
		$boss->query("SELECT pg_${end}_backend(${\$session->pid})");
		my $error = $session->answer->{error};
		is(join('|', map { $error->{$_} // '' } qw(sqlstate detail hint)), "$ends{$end}||", "$name: nothing told at another's $end");
	}
	return;
}

# What begins the episode, how it ends (all in one, or sent and not waited for),
# under which target.  Where the move begins another episode, that is to be no victim
# of its own before the policy is gone: the policy does not mean that name.
my $other = "SET application_name = 'moved'";
my %moves = (
	'ends its transaction' => { target => 'idle in transaction', begin => 'BEGIN; SELECT 1', move => 'COMMIT' },
	'begins another' => { target => 'idle in transaction', begin => 'BEGIN; SELECT 1', move => "COMMIT; $other; BEGIN; SELECT 1" },
	'goes on in it' => { target => 'idle in transaction', begin => 'BEGIN; SELECT 1', move => $other },
	'ends a longer one' => { target => 'transaction', begin => 'BEGIN; SELECT 1', move => 'COMMIT' },
	'begins another long one' => { target => 'transaction', begin => 'BEGIN; SELECT 1', move => "COMMIT; $other; BEGIN; SELECT 1" },
	'is idle no more' => { target => 'idle', move => $other },    # since it logged in
	'commits what it wrote' => { target => 'idle in transaction', begin => 'BEGIN; INSERT INTO till VALUES (2)', send => 'COMMIT' },
	'runs another statement' => { target => 'active', begin_send => 'SELECT pg_sleep(2)', answered => 1, move => $other, send => 'SELECT pg_sleep(1)' },
	'ends its statement' => { target => 'active', begin_send => 'SELECT pg_sleep(2)', answered => 1 },
	'ends what is to be cancelled' => { target => 'active', action => 'cancel', begin_send => 'SELECT pg_sleep(2)', answered => 1 },
	'has its lock' => {
		target => 'waiter', action => 'cancel', begin_send => 'BEGIN; LOCK TABLE till; SELECT pg_sleep(0.3)', lock => 1
	});
foreach my $point ('before proof', 'between proof and signal')
{
	foreach my $name (sort keys %moves)
	{
		my $case = $moves{$name};
		my $locker;
		if ($case->{lock})
		{
			$locker = LgSession->new($node);
			$locker->query('BEGIN; LOCK TABLE till IN SHARE MODE');
		}
		policy('p', target => $case->{target}, action => $case->{action} // 'terminate');
		hold($point);
		my $victim = LgSession->new($node, user => 'clerk');
		$victim->query($case->{begin}) if $case->{begin};
		$victim->send($case->{begin_send}) if $case->{begin_send};
		ok(is_held($point), "$point, $name: held");
		is($boss->query("SELECT outcome FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), 'signalled', "$point, $name: its entry is there");
		if ($case->{answered})
		{
			is($victim->answer->{error}, undef, "$point, $name: its statement ends");
		}
		$victim->query($case->{move}) if $case->{move};
		if ($locker)
		{
			$locker->query('COMMIT');
			$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
		}
		if ($case->{send})
		{
			$victim->send($case->{send});
			$boss->poll("SELECT query = '$case->{send}' FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
		}

		let_go($point);
		ok(comes_out($victim->pid, 'spared: it moved on'), "$point, $name: spared");
		drop('p');
		if ($case->{send} || $locker)
		{
			is($victim->answer->{error}, undef, "$point, $name: and not disturbed");
		}
		is_untold($victim, "$point, $name");
		$victim->close;
		$locker->close if $locker;
	}
}

# --- it has read its next message, and has not reported that yet: settings that
# were changed while it was idle are read in between, here from a pipe.  It alone is
# told to read them: whoever else did would wait at that pipe, too.
$node->append_conf('postgresql.conf', "include_if_exists = 'slowly.conf'");
foreach my $begin ('BEGIN; SELECT 1', 'SELECT 1')
{
	my $file = $node->data_dir . '/slowly.conf';
	my $victim = LgSession->new($node, user => 'clerk');
	$victim->query($begin);
	system('mkfifo', $file) == 0 or die;
	kill HUP => $victim->pid;
	$victim->send('SELECT 2 /* next */');
	ok($boss->poll("SELECT wait_event IS NULL AND state LIKE 'idle%' FROM pg_stat_activity WHERE pid = ${\$victim->pid}"), "$begin: it has its next message") or die;
	policy('p', target => $begin =~ /BEGIN/ ? 'idle in transaction' : 'idle');
	ok(comes_out($victim->pid, 'spared: it moved on'), "$begin: spared");
	drop('p');
	append_to_file($file, "# nothing\n");
	is($victim->answer->{error}, undef, "$begin: its statement is not disturbed");
	is($victim->query('SELECT 3'), '3', "$begin: nor the next");
	$victim->close;
	unlink $file;
}

# --- but for a policy on transactions, and by hand, its next message is no move: it is in
# the transaction, or session, that is meant
foreach my $by ('policy', 'hand')
{
	my $file = $node->data_dir . '/slowly.conf';
	my $victim = LgSession->new($node, user => 'clerk');
	my $hand = LgSession->new($node);
	$victim->query('BEGIN; SELECT 1');
	system('mkfifo', $file) == 0 or die;
	kill HUP => $victim->pid;
	$victim->send('SELECT 2 /* next */');
	ok($boss->poll("SELECT wait_event IS NULL AND state LIKE 'idle%' FROM pg_stat_activity WHERE pid = ${\$victim->pid}"), "transaction, by $by: it has its next message") or die;
	if ($by eq 'policy')
	{
		policy('p', target => 'transaction');
	}
	else
	{
		$hand->send("SELECT lifeguard.terminate_session(${\$victim->pid}, 'too long')");
	}
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), "transaction, by $by: it is signalled");
	usleep(200_000);
	append_to_file($file, "# nothing\n");
	ok(comes_out($victim->pid, 'terminated in %'), "transaction, by $by: terminated");
	is($victim->answer->{error}{sqlstate}, '57P01', "transaction, by $by: it is told");
	drop('p') if $by eq 'policy';
	$_->close foreach ($victim, $hand);
	unlink $file;
}

# --- a savepoint that has failed is not the end of its transaction
foreach my $by ('policy', 'hand')
{
	my $victim = LgSession->new($node, user => 'clerk');
	$victim->query($_) foreach ('BEGIN', 'INSERT INTO till VALUES (5)', 'SAVEPOINT a');
	$victim->error_of('SELECT 1/0');
	policy('p', target => 'idle in transaction') if $by eq 'policy';
	$boss->query("SELECT lifeguard.terminate_session(${\$victim->pid}, 'too long')") if $by eq 'hand';
	ok(comes_out($victim->pid, 'terminated in %'), "failed savepoint, by $by: terminated");
	drop('p') if $by eq 'policy';
	$victim->close;
}

# --- a cancel that has found its transaction idle, or in the middle of a change, is tried
# again, after a while, as often as it takes; all in one entry
{
	my $victim = LgSession->new($node, user => 'clerk');
	my @tries;

	policy('again', target => 'transaction', action => 'cancel', max_per_minute => 3);
	$victim->query('BEGIN; SELECT 1');
	foreach my $point ('before proof', 'between proof and signal')
	{
		my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
		my $errors = 0;
		hold($point);
		do
		{
			$errors++ if $victim->send('SELECT pg_sleep(1)')->answer->{error};
		} while (!-e "$folder/$point.reached" && time < $deadline);
		ok(-e "$folder/$point.reached", "again, $point: held");
		push @tries, time;
		is($errors, 0, "again, $point: its statements end");
		let_go($point);
		ok(comes_out($victim->pid, 'spared: nothing to cancel'), "again, $point: spared");
	}
	$victim->send('SELECT pg_sleep(60)');
	is(($victim->answer // {})->{error}{sqlstate}, '57014', 'again: cancelled in the end');
	push @tries, time;
	ok(comes_out($victim->pid, 'cancelled in %'), 'again: the ledger says so');
	is($boss->query("SELECT count(*), sum(repeats) FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), '1|3', 'again: one entry, three tries');
	is($boss->query("SELECT actions_last_minute FROM lifeguard.policy_status WHERE name = 'again'"), '3', 'again: each counts for the limits');
	cmp_ok($tries[$_] - $tries[ $_ - 1 ], '>=', 10, 'again: not at once') foreach 1 .. $#tries;
	is(scalar(() = slurp_file($node->logfile) =~ /LOG:  policy "again" cancels session with PID ${\$victim->pid}$/mg), 3, 'again: a line in the log for each');

	# what was done is done: the next statement of that transaction is not cancelled
	$victim->error_of('ROLLBACK');
	drop('again');
	is_untold($victim, 'again');
	$victim->close;
}

# --- nor is a transaction of many short statements safe, whatever moment is met
foreach my $action ('cancel', 'terminate')
{
	my $victim = LgSession->new($node, user => 'clerk');
	my ($error, $n) = (undef, 0);
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $began = time;

	$victim->query('BEGIN; SELECT 1');
	policy('chatty', target => 'transaction', action => $action);
	while (!$error && time < $deadline)
	{
		$error = $victim->error_of('SELECT pg_sleep(0.001)');
		$n++;
		usleep(1000);
	}
	note sprintf '%s: after %d statements, %.1f s', $action, $n, time - $began;
	like($error->{detail} // '', qr/under policy "chatty": in its transaction for/, "chatty: $action");
	ok(comes_out($victim->pid, $action eq 'cancel' ? 'cancelled in %' : 'terminated in %'), "chatty: the ledger says so, $action");
	my ($entries, $repeats) = split /\|/, $boss->query("SELECT count(*), max(repeats) FROM lifeguard.ledger WHERE pid = ${\$victim->pid}");
	is($entries, 1, "chatty: one entry, $action");
	cmp_ok($repeats, '<=', 2 + (time - $began) / 10, "chatty: few tries, $action");
	drop('chatty');
	$victim->close;
}

# --- a statement that is cancelled by hand
foreach my $point ('before proof', 'between proof and signal')
{
	my $victim = LgSession->new($node, user => 'clerk');
	my $hand = LgSession->new($node);
	hold($point);
	$victim->send('SELECT pg_sleep(1)');
	$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
	$hand->send("SELECT lifeguard.cancel_session(${\$victim->pid}, 'too long')");
	ok(is_held($point), "$point, by hand: held");
	is($victim->answer->{error}, undef, "$point, by hand: its statement ends");
	$victim->send('SELECT pg_sleep(0.3)');
	$boss->poll("SELECT query = 'SELECT pg_sleep(0.3)' FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
	let_go($point);
	is($hand->answer->{rows}[0], 'spared: it moved on', "$point, by hand: spared");
	is($victim->answer->{error}, undef, "$point, by hand: and not disturbed");
	is_untold($victim, "$point, by hand");
	$_->close foreach ($victim, $hand);
}

# --- a cancel that its statement escapes is nothing to the next one
{
	my $victim = LgSession->new($node, user => 'clerk');
	my $hand = LgSession->new($node);
	hold('after signal');
	$victim->send('COPY till FROM STDIN');
	$boss->poll("SELECT wait_event = 'ClientRead' AND query LIKE 'COPY%' FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
	$hand->send("SELECT lifeguard.cancel_session(${\$victim->pid}, 'too long')");
	ok(is_held('after signal'), 'escaped: the signal is out');
	$victim->send_messages(c => '');
	is($victim->answer->{error}, undef, 'escaped: its statement ends');
	let_go('after signal');
	like($hand->answer->{rows}[0], qr/^cancelled in/, 'escaped: the statement is over');
	is_untold($victim, 'escaped');
	$_->close foreach ($victim, $hand);
}

# --- on its way out, still to be seen, it does not listen
{
	my $point = 'between proof and signal';
	policy('p', target => 'idle in transaction');
	my $victim = LgSession->new($node, user => 'clerk');
	my $leaver = LgSession->new($node, user => 'porter');
	$leaver->query('BEGIN; INSERT INTO till VALUES (3)');
	hold($point);
	$victim->query('BEGIN; SELECT 1');
	ok(is_held($point), 'leaving: held');

	# whoever ends a transaction that wrote waits for what is held there
	$leaver->close;
	$boss->poll("SELECT wait_event ILIKE 'procarray%' FROM pg_stat_activity WHERE pid = ${\$leaver->pid}") or die;
	is($boss->query("SELECT lifeguard.terminate_session(${\$leaver->pid}, 'now')"), 'spared: it does not listen to pg_lifeguard', 'leaving: not signalled');
	let_go($point);
	ok(comes_out($victim->pid, 'terminated in %'), 'leaving: the other goes its way');
	drop('p');
	$victim->close;
}

# --- nobody is ended any more when pause() has returned
{
	policy('p');
	my $victim = LgSession->new($node, user => 'clerk');
	my $braker = LgSession->new($node);
	hold('before proof');
	$victim->query('BEGIN; SELECT 1');
	ok(is_held('before proof'), 'pause: a pass is about to act');
	$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
	ok($boss->poll(q{SELECT count(*) = 1 FROM lifeguard.policy_status WHERE why_not LIKE 'paused%'}), 'pause: it is in force');
	$boss->poll("SELECT state = 'idle' OR wait_event = 'Extension' FROM pg_stat_activity WHERE pid = ${\$braker->pid}") or die;
	is($boss->query("SELECT state FROM pg_stat_activity WHERE pid = ${\$braker->pid}"), 'active', 'pause: pause() waits for that pass');
	let_go('before proof');
	ok(!$braker->answer->{error}, 'pause: and returns');
	$boss->query('SELECT lifeguard.resume()');
	drop('p');
	$_->close foreach ($victim, $braker);
}

# --- a resume() that is cancelled while it waits for a pass has done nothing
{
	my $file = $node->data_dir . '/pg_stat/pg_lifeguard.pause';
	my $victim = LgSession->new($node, user => 'clerk');
	my ($braker, $resumer) = map { LgSession->new($node) } 1 .. 2;
	policy('p');
	hold('before proof');
	$victim->query('BEGIN; SELECT 1');
	ok(is_held('before proof'), 'resume: a pass is about to act');
	$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
	ok($boss->poll(q{SELECT count(*) = 1 FROM lifeguard.policy_status WHERE why_not LIKE 'paused%'}), 'resume: paused');
	$resumer->send('SELECT lifeguard.resume()');
	ok($boss->poll("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = ${\$resumer->pid}"), 'resume: it waits for that pass');
	$boss->query("SELECT pg_cancel_backend(${\$resumer->pid})");
	is($resumer->answer->{error}{sqlstate}, '57014', 'resume: it is cancelled');
	ok(-e $file, 'resume: the file is still there');
	let_go('before proof');
	ok(!$braker->answer->{error}, 'resume: and pause() returns');
	is($boss->query(q{SELECT why_not FROM lifeguard.policy_status}), 'paused: x', 'resume: still paused');
	ok(-e $file, 'resume: still in the file');
	$resumer->query('SELECT lifeguard.resume()');
	ok(!-e $file, 'resume: resumed');
	drop('p');
	$_->close foreach ($victim, $braker, $resumer);
}

# --- of pause() and resume() at a time, memory and file believe the same
{
	my $file = $node->data_dir . '/pg_stat/pg_lifeguard.pause';
	my $braker = LgSession->new($node);
	policy('p');
	hold('middle of a pause');
	$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
	ok(is_held('middle of a pause'), 'both: pause() is held');
	$boss->query('SELECT lifeguard.resume()');
	let_go('middle of a pause');
	ok(!$braker->answer->{error}, 'both: pause() returns');
	is($boss->query(q{SELECT why_not FROM lifeguard.policy_status}), 'paused: x', 'both: it came last');
	ok(-e $file, 'both: in the file, too');
	$boss->query('SELECT lifeguard.resume()');
	ok(!-e $file, 'both: and resume() ends it');
	drop('p');
	$braker->close;
}

# --- nor is anything rolled back by settings that are old by then
{
	my $clerk = LgSession->new($node, user => 'clerk');
	$clerk->query($_) foreach ('BEGIN', 'INSERT INTO till VALUES (4)', "PREPARE TRANSACTION 'left'");
	hold('between decision and rollback');
	policy('p', target => 'prepared transaction', applications => undef, gids => ['%']);
	ok(is_held('between decision and rollback'), 'reload: a visitor is about to act');
	lg_put_in_force($boss, 'pg_lifeguard.protected_roles' => 'clerk') or die;
	LgSession->new($node)->close;    # the postmaster has told everybody by now
	let_go('between decision and rollback');
	ok($boss->poll("SELECT outcome LIKE 'spared: %' FROM lifeguard.ledger WHERE gid = 'left'"), 'reload: spared');
	like($boss->query("SELECT outcome FROM lifeguard.ledger WHERE gid = 'left'"), qr/^spared: (?:settings were reloaded|protected role)$/, 'reload: why');
	drop('p');
	$clerk->query("ROLLBACK PREPARED 'left'");
	$boss->query('ALTER SYSTEM RESET pg_lifeguard.protected_roles');
	lg_put_in_force($boss) or die;
	$clerk->close;
}

# --- a pass that is held up between two victims: for the second it asks again
my %stop = (
	'dropped' => sub { drop('p') },
	'paused' => sub {
		my ($braker) = @_;
		$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
		$boss->poll('SELECT count(*) = 1 FROM lifeguard.policy_status WHERE paused_until > clock_timestamp()') or die;
	},
	'too long' => sub { usleep(5_500_000) });
foreach my $name (sort keys %stop)
{
	policy('p', enabled => 'false');
	my ($hand, $braker) = map { LgSession->new($node) } 1 .. 2;
	my @victims = map { LgSession->new($node, user => 'clerk') } 1 .. 2;
	$_->query('BEGIN; SELECT 1') foreach @victims;
	$boss->query('SELECT pg_sleep(0.25)');
	hold('before proof');
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held('before proof'), "$name: a pass is held at the first victim");
	$stop{$name}->($braker);
	let_go('before proof');
	$_->answer or die foreach ($hand, $name eq 'paused' ? $braker : ());
	ok(comes_out($victims[0]->pid, 'terminated in %'), "$name: that one is ended");
	ok(comes_out($victims[1]->pid, 'spared: stopped'), "$name: the second is spared");
	is($victims[1]->query('SELECT 1'), '1', "$name: and lives");
	$boss->query('SELECT lifeguard.resume()');
	drop('p') if $name ne 'dropped';
	$_->close foreach ($hand, $braker, @victims);
}

# --- the same for prepared transactions; no pause() returns while one is rolled back
foreach my $name ('dropped', 'paused')
{
	my $point = 'before rollback';
	my $porter = LgSession->new($node, user => 'porter');
	my $braker = LgSession->new($node);
	$porter->query($_) foreach map { ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION '$name-$_'") } 1 .. 2;
	hold($point);
	policy('p', target => 'prepared transaction', applications => undef, gids => "{$name-%}", roles => '{porter}');
	ok(is_held($point), "$name, prepared: the visitor is held at the first");
	if ($name eq 'dropped')
	{
		drop('p');
	}
	else
	{
		$braker->send("SELECT lifeguard.pause('1 hour', 'x')");
		$boss->poll(q{SELECT count(*) = 1 FROM lifeguard.policy_status WHERE why_not LIKE 'paused%'}) or die;
		is($braker->answer(0.3), undef, "$name, prepared: pause() waits for it");
	}
	let_go($point);
	if ($name eq 'paused')
	{
		ok($braker->answer, "$name, prepared: and returns");
		is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid = '$name-1'"), '0', "$name, prepared: when it is gone");
	}
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE gid = '$name-2' AND outcome IN ('spared: stopped', 'rehearsed', 'spared: there was no time left')"), "$name, prepared: the second is spared");
	is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid = '$name-2'"), '1', "$name, prepared: and still there");
	drop('p') if $name ne 'dropped';
	$boss->query('SELECT lifeguard.resume()');
	$boss->error_of("ROLLBACK PREPARED '$name-2'");
	$_->close foreach ($porter, $braker);
}

# --- nor is the next one when whoever has called run_policy() has left
{
	my $point = 'before rollback';
	my $porter = LgSession->new($node, user => 'porter');
	my $hand = LgSession->new($node);
	$porter->query($_) foreach map { ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION 'left-$_'") } 1 .. 2;
	policy('p', target => 'prepared transaction', applications => undef, gids => '{left-%}', roles => '{porter}', enabled => 'false');
	$boss->query('SELECT pg_sleep(0.25)');
	hold($point);
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held($point), 'left: the visitor is held at the first');
	$boss->query("SELECT pg_cancel_backend(${\$hand->pid})");
	is($hand->answer->{error}{sqlstate}, '57014', 'left: run_policy() is cancelled');
	let_go($point);
	ok($boss->poll(q{SELECT count(*) = 1 FROM lifeguard.ledger WHERE gid = 'left-2' AND outcome = 'spared: stopped'}), 'left: the second is spared');
	is($boss->query(q{SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'left-2'}), '1', 'left: and still there');
	$boss->error_of("ROLLBACK PREPARED 'left-2'");
	drop('p');
	$_->close foreach ($porter, $hand);
}

# --- a policy that is about somebody else when run_policy() comes to its pass
{
	my $porter = LgSession->new($node, user => 'porter');
	my ($hand, $late) = map { LgSession->new($node) } 1 .. 2;
	my $victim = LgSession->new($node, user => 'clerk');
	$porter->query($_) foreach ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION 'turned'");
	$victim->query('BEGIN; SELECT 1');
	policy('p', enabled => 'false');
	policy('turned', target => 'prepared transaction', applications => undef, gids => '{turned}', roles => undef, enabled => 'false');
	$boss->query('SELECT pg_sleep(0.25)');
	hold('before proof');
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held('before proof'), 'turned: a pass is held');
	$late->send("SELECT lifeguard.run_policy('turned', true)");
	ok($boss->poll("SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = ${\$late->pid}"), 'turned: another waits for it');
	$boss->query(q{SELECT lifeguard.alter_policy('turned', target => 'idle', reset => '{gids}')});
	usleep(2_000_000);    # until that is published
	let_go('before proof');
	my $answer = $late->answer;
	ok($answer && !$answer->{error}, 'turned: run_policy() goes on with what the policy means now');
	is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'turned'"), '1', 'turned: whom it meant is still there');
	$boss->query("ROLLBACK PREPARED 'turned'");
	drop($_) foreach qw(p turned);
	$_->close foreach ($porter, $hand, $late, $victim);
}

# --- a visitor that is ended after it has decided says of each what it has not come to
# do, and a later one does it.  Each time in another database: where one has failed
# none goes for 10 s.
my $decided = 'between decision and rollback';
my $line = 'before the log line';
my $visitor = q(FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard visitor');
my $midway = 0;
my %ends = (
	'terminated, about to act' => { at => $decided, by => 'pg_terminate_backend' },
	'terminated, deciding' => { at => $line, by => 'pg_terminate_backend' },
	'cancelled, deciding' => { at => $line, by => 'pg_cancel_backend' },
	'too long' => { at => $decided },
	'too long, and a pass goes on' => { at => $decided, n => 1, pass => 1 });
foreach my $name (sort keys %ends)
{
	my $case = $ends{$name};
	my $n = $case->{n} // 2;
	my $here = 'midway_' . ++$midway;
	$boss->query("CREATE DATABASE $here");
	my $porter = LgSession->new($node, user => 'porter', dbname => $here);
	my ($hand, $victim);
	$porter->query($_) foreach map { ('BEGIN; SELECT pg_current_xact_id()', "PREPARE TRANSACTION '$here-$_'") } 1 .. $n;
	$porter->close;
	hold($case->{at});
	policy($here, target => 'prepared transaction', applications => undef, gids => "{$here-%}", roles => '{porter}');
	ok(is_held($case->{at}), "$name: the visitor is held");
	if ($case->{pass})
	{
		policy('p', enabled => 'false');
		$victim = LgSession->new($node, user => 'clerk');
		$hand = LgSession->new($node);
		$victim->query('BEGIN; SELECT 1');
		$boss->query('SELECT pg_sleep(0.25)');
		hold('before proof');
		$hand->send("SELECT lifeguard.run_policy('p', false)");
		ok(is_held('before proof'), "$name: so is a pass");
	}
	if ($case->{by})
	{
		is($boss->query("SELECT $case->{by}(pid) $visitor"), 't', "$name: it is told to end");
	}
	else
	{
		usleep(3_200_000);    # it may stay for 3 s
	}
	let_go($case->{at});
	ok($boss->poll("SELECT count(*) = 0 $visitor"), "$name: it ends");
	is($boss->query("SELECT DISTINCT outcome ~ '^spared: (?:the visitor was ended|there was no time left)\$' FROM lifeguard.ledger WHERE gid LIKE '$here-%'"), 't', "$name: the ledger says that nothing was done");
	is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE '$here-%'"), $n, "$name: nothing was");
	$boss->query("SELECT lifeguard.disable_policy('$here')");
	if ($case->{pass})
	{
		let_go('before proof');
		$hand->answer;
		drop('p');
		$_->close foreach ($hand, $victim);
	}
	$boss->poll("SELECT why_not FROM lifeguard.policy_status WHERE name = '$here'", 'it is disabled') or die;
}
$boss->query("SELECT lifeguard.enable_policy('midway_$_')") foreach 1 .. $midway;
ok($boss->poll("SELECT coalesce(string_agg(gid, ' ' ORDER BY gid), '') FROM pg_prepared_xacts WHERE gid LIKE 'midway%'", ''), 'later visitors roll all back');
ok($boss->poll("SELECT count(*), count(*) FILTER (WHERE outcome LIKE 'rolled back in%') FROM lifeguard.ledger WHERE gid LIKE 'midway%'", '9|9'), 'and the ledger says so of each');
drop(map { "midway_$_" } 1 .. $midway);

# --- what somebody has begun who is ended then, others see to its end, though no passes
# are made by themselves
lg_put_in_force($boss, 'pg_lifeguard.sample_interval' => 0) or die;
policy('p', target => 'active', action => 'cancel then terminate', grace => '300 ms', enabled => 'false');
foreach my $end ('cancel', 'terminate')
{
	my ($hand, $victim) = (LgSession->new($node), LgSession->new($node, user => 'clerk'));
	$victim->send('DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$');
	$boss->query('SELECT pg_sleep(0.25)');
	hold('after signal');
	$hand->send("SELECT lifeguard.run_policy('p', false)");
	ok(is_held('after signal'), "$end midway: a pass has signalled");
	$boss->query("SELECT pg_${end}_backend(${\$hand->pid})");
	let_go('after signal');
	is($hand->answer->{error}{sqlstate}, $end eq 'cancel' ? '57014' : '57P01', "$end midway: whoever made it is ended");
	ok(comes_out($victim->pid, 'terminated in %'), "$end midway: after the cancel comes the terminate");
	$_->close foreach ($hand, $victim);
}
drop('p');
$boss->query('ALTER SYSTEM RESET pg_lifeguard.sample_interval');
lg_put_in_force($boss) or die;

# --- nor is it lost what came of an action by hand, when the call is cancelled afterwards
{
	my ($hand, $victim, @waiters) = (LgSession->new($node), map { LgSession->new($node, user => 'clerk') } 1 .. 3);
	$victim->query('BEGIN; LOCK TABLE till');
	foreach my $waiter (@waiters)
	{
		$waiter->query("BEGIN");
		$waiter->send("LOCK TABLE till");
	}
	lg_waits($boss, @waiters) or die;
	hold('after signal');
	$hand->send("SELECT lifeguard.terminate_session(${\$victim->pid}, 'blocks')");
	ok(is_held('after signal'), 'by hand, counting: held');
	$boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
	$boss->query("SELECT pg_cancel_backend(${\$hand->pid})");
	let_go('after signal');
	is($hand->answer->{error}{sqlstate}, '57014', 'by hand, counting: the call is cancelled');
	ok(comes_out($victim->pid, 'terminated in %'), 'by hand, counting: the ledger says what came of it');
	is($boss->query("SELECT blocked_total, waiters_freed IS NULL FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), '2|t', 'by hand, counting: not whom it has freed');
	ok(slurp_file($node->logfile) =~ /action by hand on session with PID ${\$victim->pid}: terminated in/, 'by hand, counting: so does the server log');
	$_->close foreach ($hand, $victim, @waiters);
}

# --- it goes, and another session takes its slot: the only one there is
policy('p', target => 'idle in transaction');
my @fill;
while (1)
{
	my $session = LgSession->new($node, user => 'porter', refused_ok => 1);
	last if $session->{refused};
	push @fill, $session;
}
(pop @fill)->close;
foreach my $point ('before proof', 'between proof and signal')
{
	my $victim = comes_in('clerk');
	hold($point);
	$victim->query('BEGIN; SELECT 1');
	ok(is_held($point), "$point, slot: held");
	$victim->close;
	my $next;
	if ($point eq 'before proof')
	{
		$boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
		$next = comes_in('porter');
		$next->query('BEGIN; SELECT 1');
		let_go($point);
	}
	else
	{
		# its PID and slot are its own until the signal is out
		usleep(200_000);
		is(kill(0 => $victim->pid), 1, 'it cannot go so fast');
		let_go($point);
		ok(comes_out($victim->pid, 'spared: it moved on'), "$point, slot: spared");
		$boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
		$next = comes_in('porter');
		$next->query('BEGIN; SELECT 1');
	}
	ok(comes_out($victim->pid, 'spared: it moved on'), "$point, slot: spared");
	is($next->query('SELECT 1'), '1', 'the next one lives');
	kill USR2 => $next->pid;
	is($next->query('SELECT 2'), '2', 'a stray signal is nothing to it');
	is_untold($next, "$point, slot");
	$next->close;
	$boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ${\$next->pid}") or die;
}

# an armed note that nobody has freed yet is not for the next session, though it
# proves no more than which session was meant
{
	my $victim = LgSession->new($node, user => 'porter');
	my $eye = $fill[0];
	hold('between proof and signal');
	hold('after signal');
	$boss->send("SELECT lifeguard.terminate_session(${\$victim->pid}, 'the slot')");
	ok(is_held('between proof and signal'), 'armed: held');
	$victim->close;
	$eye->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ${\$victim->pid}") or die;
	let_go('between proof and signal');
	ok(is_held('after signal'), 'armed: signalled on its way out');
	my $next = comes_in('porter');
	kill USR2 => $next->pid;
	is(($next->send('SELECT 1')->answer // {})->{error}, undef, 'armed: the next one lives');
	let_go('after signal');
	is($boss->answer->{rows}[0], 'spared: it moved on', 'armed: spared');
	is_untold($next, 'armed');
	$next->close;
	$boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ${\$next->pid}") or die;
}

# an armed note whose session is gone is no obstacle, and no word to the next
my $victim = LgSession->new($node, user => 'clerk');
$victim->query('BEGIN; SELECT 1');
ok(comes_out($victim->pid, 'terminated in %'), 'the slot works');
like($victim->answer->{error}{detail} // '', qr/under policy "p"/, 'and its session is told');
$victim->close;
$_->close foreach @fill;
drop('p');
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE outcome LIKE 'terminated%' AND usename <> 'clerk'"), '0', 'nobody else was hit');

# --- clients that come in the middle of a reset find places taken that are free a moment
# later, but still have one row in setup_times
sub come
{
	my ($name, $n) = @_;
	LgSession->new($node, parameters => { application_name => "$name$_" })->close foreach 1 .. $n;
	return;
}
my $point = 'middle of a reset';
come('crowd', 70);
is($boss->query('SELECT count(*) FROM lifeguard.setup_times WHERE application_name IS NULL'), '1', 'every place is taken');
hold($point);
$boss->send('SELECT lifeguard.reset()');
ok(is_held($point), 'a reset is held');
come('guest', 40);
let_go($point);
$boss->answer;
come('guest', 40);
is($boss->query("SELECT count(*), count(DISTINCT application_name), sum(connections) >= 40 FROM lifeguard.setup_times WHERE application_name ~ 'guest'"),
	'40|40|t', 'each has one row');
$boss->close;
$node->stop;
is(lg_log_complaints($node, allow => qr/there is (?:no|already a) transaction in progress/), '', 'nothing bad in the log');

# --- sessions that move on by themselves, around the limit
$node = lg_server('moving', conf => <<'END');
max_connections = 40
log_line_prefix = '%m [%p] '
log_statement = all
pg_lifeguard.max_actions_per_minute = 0
END
$boss = LgSession->new($node);
$boss->query('CREATE ROLE clerk LOGIN');
my $limit = 0.3;
policy('p', target => 'idle in transaction', min_duration => '300 ms');
my @movers;
my ($below, $steps, $wrong) = (0, 0, '');
my @ended;

# A step is a transaction, a pause, and its end; $since: when it was begun at the latest.
sub begin_step
{
	my ($mover) = @_;
	if (!$mover->{session})
	{
		$mover->{session} = LgSession->new($node, user => 'clerk');
	}
	$mover->{begun} = time;
	$mover->{session}->send('BEGIN; SELECT 1 /* first */');
	$mover->{phase} = 'begin';
	return;
}
push @movers, {} foreach 1 .. 20;
begin_step($_) foreach @movers;
my $end = time + ($ENV{LG_LONG} ? 60 : 10);
my $latest = $end + $PostgreSQL::Test::Utils::timeout_default;
my $after = $latest + 5;
while (time < $after && grep { $_->{phase} ne 'done' } @movers)
{
	foreach my $mover (@movers)
	{
		next if $mover->{phase} eq 'done';
		my $answer = $mover->{session}->answer($mover->{phase} eq 'pause' ? 0.0001 : 0.001);
		if ($answer && $answer->{error})
		{
			my $error = $answer->{error};
			my $lasted = time - $mover->{begun};
			$wrong .= "$error->{message}\n" if ($error->{detail} // '') !~ /under policy "p": idle in transaction for (?:[3-9]\d\d ms|[1-9]\d*(?:\.\d)? s)/;
			$below++ if $lasted < $limit;
			push @ended, $mover->{session}->pid;
			$mover->{session}->close;
			delete $mover->{session};
			begin_step($mover);
		}
		elsif ($mover->{phase} eq 'begin' && $answer)
		{
			$mover->{until} = time + 0.18 + rand 0.16;
			$mover->{phase} = 'pause';
		}
		elsif ($mover->{phase} eq 'pause' && time >= $mover->{until})
		{
			$mover->{session}->send('COMMIT /* next */');
			$mover->{phase} = 'commit';
		}
		elsif ($mover->{phase} eq 'commit' && $answer)
		{
			$steps++;
			# on a slow machine it takes longer until there are many of either
			if (time > $end && ($steps > 50 && @ended > 50 || time > $latest))
			{
				$mover->{phase} = 'done';
				next;
			}
			begin_step($mover);
		}
	}
}
my ($kills, $spared) = (scalar @ended, $boss->query("SELECT count(*) FROM lifeguard.ledger WHERE outcome = 'spared: it moved on'"));
note "$steps went on, $kills ended, $spared spared at the last moment";
cmp_ok($steps, '>', 50, 'many went on in time');
cmp_ok($kills, '>', 50, 'many did not');
is($below, 0, 'nobody was ended below the limit, by its own clock');
is($wrong, '', 'each was told why');
$_->{session} && $_->{session}->close foreach @movers;
$boss->close;
$node->stop;

# By the server's log: what came last from a session before its end was its first statement.
my %last;
my ($seen, $late) = (0, 0);
foreach my $line (split /\n/, slurp_file($node->logfile))
{
	next unless $line =~ /^\S+ \S+ \S+ \[(\d+)\] (?:LOG|DETAIL):  (.*)/;
	my ($pid, $text) = ($1, $2);
	$last{$pid} = $text if $text =~ /^statement: /;
	next unless $text =~ /^pg_lifeguard acted on this session/;
	$seen++;
	$late++ if ($last{$pid} // '') !~ /first/;
}
cmp_ok($seen, '>=', $kills, 'each is in the log');
is($late, 0, 'nor after its next statement had begun');
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
