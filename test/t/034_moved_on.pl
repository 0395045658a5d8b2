# Victims that move on at the last moment are spared, and nobody is hit or told
# in their place.  The moments are held; then many sessions move on by themselves.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgHeld;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($node, $boss) = lg_held_server('moved');

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
		} while (!was_held($point) && time < $deadline);
		ok(was_held($point), "again, $point: held");
		push @tries, time;
		is($errors, 0, "again, $point: its statements end");
		let_go($point);
		ok(comes_out($victim->pid, 'spared: nothing to cancel'), "again, $point: spared");
	}
	$victim->send('SELECT pg_sleep(60)');
	is(($victim->answer // {})->{error}{sqlstate}, '57014', 'again: cancelled in the end');
	push @tries, time;
	ok(comes_out($victim->pid, 'cancelled in %'), 'again: the ledger says so');
	# a pass may have met it between two statements, which it says once
	is($boss->query("SELECT count(*), sum(repeats) BETWEEN 3 AND 4 FROM lifeguard.ledger WHERE pid = ${\$victim->pid}"), '1|t', 'again: one entry, three tries');
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
lg_define($boss, p => { applications => ['lgtest'], roles => '{clerk}', min_duration => '300 ms' }) or die;
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
