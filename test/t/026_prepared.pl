# Prepared transactions: whoever left one behind is rolled back, in whatever
# database, proven and told; who is younger, protected or not meant is not.
# Relations of other databases get their names in the ledger.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('prepared', init => { allows_streaming => 1 }, conf => <<'END');
max_prepared_transactions = 40
log_line_prefix = '%m [%p] '
log_min_messages = debug1
pg_lifeguard.sample_interval = 200ms
pg_lifeguard.max_actions_per_minute = 0
END
my $boss = LgSession->new($node);
my $me = $boss->query('SELECT current_user');
$boss->query($_) foreach split /;\n/, <<'END';
CREATE ROLE clerk LOGIN;
CREATE ROLE cousin LOGIN;
CREATE TABLE till (id int);
INSERT INTO till VALUES (1), (2);
GRANT ALL ON till TO PUBLIC;
CREATE TABLE race (gid text);
GRANT ALL ON race TO PUBLIC;
CREATE DATABASE branch;
CREATE DATABASE closed;
CREATE DATABASE doomed;
END
my $clerk = LgSession->new($node, user => 'clerk');
my $next = 0;

# Leave a transaction prepared; it holds the row if there is one to lock.
sub prepare
{
	my ($session, $gid, $row) = @_;

	$session->query('BEGIN');
	$session->query($row ? "UPDATE till SET id = id WHERE id = $row" : 'SELECT pg_current_xact_id()');
	$session->query("PREPARE TRANSACTION '$gid'");
	return;
}

sub still_there
{
	my ($gid) = @_;
	return $boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid = '$gid'") eq '1';
}

sub gone_by
{
	my ($gid, $name) = @_;
	return ok($boss->poll("SELECT count(*) = 0 FROM pg_prepared_xacts WHERE gid = '$gid'"), $name);
}

# A policy in force; every test has its own, and drops it.  Returns its name.
sub policy
{
	my ($gids, %more) = @_;
	my $name = 'p' . ++$next;
	my %row = (min_duration => '300 ms', action => 'terminate', max_per_pass => 0,
		max_per_minute => 0, cooldown => '0', %more);
	my $owner = delete $row{owner};
	my $args = join '', map { ", $_ => '$row{$_}'" } sort keys %row;

	# in one transaction: it is never in force under another owner
	$boss->query("SELECT lifeguard.create_policy('$name', 'prepared transaction', gids => '$gids'$args)"
		  . ($owner ? "; UPDATE lifeguard.policy SET owner = '$owner' WHERE name = '$name'" : ''));
	$boss->poll("SELECT count(*) = 1 FROM lifeguard.policy_status WHERE name = '$name'");
	return $name;
}

sub drop_policy
{
	my ($name) = @_;

	$boss->query("SELECT lifeguard.drop_policy('$name')");
	$boss->poll("SELECT count(*) = 0 FROM lifeguard.policy_status WHERE name = '$name'");
	return;
}

sub ledger
{
	my ($gid, $columns) = @_;
	return $boss->query("SELECT $columns FROM lifeguard.ledger WHERE gid = '$gid'");
}

sub ledger_says
{
	my ($gid, $outcome, $name) = @_;
	return ok($boss->poll(<<"END"), $name);
SELECT count(*) = 1 FROM lifeguard.ledger WHERE gid = '$gid' AND outcome LIKE '$outcome'
END
}

sub log_lines
{
	my ($pattern) = @_;
	my @lines = slurp_file($node->logfile) =~ /$pattern/g;
	return scalar @lines;
}

# --- an orphan that holds a lock
{
	my $waiter = LgSession->new($node, user => 'clerk');
	my $policy;

	prepare($clerk, 'app-1', 1);
	prepare($clerk, 'other-1', 2);
	$waiter->send('UPDATE till SET id = id WHERE id = 1');
	$boss->poll("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = " . $waiter->pid);
	$policy = policy('{app-%}');
	my $answer = $waiter->answer;
	ok($answer && !$answer->{error}, 'who waited for the orphan goes on');
	ok(!still_there('app-1'), 'the orphan is gone');
	ok(still_there('other-1'), 'one of another gid is not');
	ledger_says('app-1', 'rolled back in %', 'the ledger says so');
	is(ledger('app-1', <<'END'), "$policy|prepared transaction|terminate|t|clerk|postgres|prepared|t|1|${\$waiter->pid}|t|1|1|public.till|t|primary", 'and all that was known of it');
policy, target, action, pid IS NULL AND backend_start IS NULL AND client_addr IS NULL, usename, datname, state,
state_age > '300 ms', blocked_total, array_to_string(blocked_pids, ','), signal IS NULL, repeats, waiters_freed,
relation_name, reason LIKE 'prepared for %; 1 session waits for it%', recorded_on
END
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger_entries WHERE gid = 'app-1' AND outcome LIKE 'rolled back%'"),
		'so does its table');
	is(log_lines(qr/LOG:  policy "$policy" rolls back prepared transaction "app-1"\n/), 1, 'one line in the log');
	drop_policy($policy);
	$boss->query("ROLLBACK PREPARED 'other-1'");
	$waiter->close;
}

# --- which gids, whose, and in what words preview_policy() and run_policy() tell it
sub verdicts
{
	my ($call) = @_;
	return $boss->query("SELECT gid, verdict, why FROM lifeguard.$call WHERE pid IS NULL ORDER BY gid COLLATE \"C\"");
}
{
	my $policy = policy('{%}', except_gids => '{keep%}', except_roles => '{cousin}', enabled => 'false',
		min_duration => '1 ms');
	my $cousin = LgSession->new($node, user => 'cousin');

	prepare($clerk, 'a');
	prepare($clerk, 'keep-1');
	prepare($clerk, 'pg_gid_16384_700');
	prepare($cousin, 'theirs');
	prepare($boss, 'supers');
	usleep(5_000);
	like(verdicts("preview_policy('$policy')"), qr/\A
		a\|terminate\|prepared\ for\ [\d.]+\ m?s\n
		keep-1\|spared\|another\ gid\n
		pg_gid_16384_700\|spared\|another\ gid\n
		supers\|spared\|superuser\n
		theirs\|spared\|another\ role\z/x, 'a preview tells all of them');
	is($boss->query('SELECT count(*) FROM pg_prepared_xacts'), 5, 'and touches none');
	like(verdicts("run_policy('$policy', true)"), qr/\Aa\|rehearsed\|prepared for/, 'a rehearsal says what it would do');
	ok(still_there('a'), 'and does nothing');
	like(verdicts("run_policy('$policy')"), qr/\A
		a\|rolled\ back\ in\ \d+\ ms\|prepared\ for\ [\d.]+\ m?s\n
		keep-1\|spared\|another\ gid\n
		pg_gid_16384_700\|spared\|another\ gid\n
		supers\|spared\|superuser\n
		theirs\|spared\|another\ role\z/x, 'a run by hand ignores that it is disabled, and returns outcomes');
	is($boss->query("SELECT string_agg(gid, ',' ORDER BY gid COLLATE \"C\") FROM pg_prepared_xacts"),
		'keep-1,pg_gid_16384_700,supers,theirs', 'those that are spared are there');
	drop_policy($policy);
	$boss->query("ROLLBACK PREPARED '$_'") foreach qw(keep-1 pg_gid_16384_700 theirs);

	$policy = policy('{supers}', include_superusers => 'true');
	gone_by('supers', q(a superuser's goes if its policy says so));
	drop_policy($policy);
	$cousin->close;
}

# --- rights
{
	my $policy;

	prepare($clerk, 'rights-1');
	$policy = policy('{rights-%}', owner => 'cousin');
	ledger_says('rights-1', 'not permitted', 'an owner without rights over the role is not permitted');
	ok(still_there('rights-1'), 'and nothing happens');
	drop_policy($policy);

	lg_put_in_force($boss, 'pg_lifeguard.protected_roles' => 'clerk') or die;
	$policy = policy('{rights-%}');
	ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE gid = 'rights-1' AND outcome = 'spared: protected role'"),
		'protected roles are spared');
	$boss->query('ALTER SYSTEM RESET pg_lifeguard.protected_roles');
	$boss->query('SELECT pg_reload_conf()');
	gone_by('rights-1', 'and no longer when they are none');
	drop_policy($policy);
}

# --- brakes
{
	my $policy;

	lg_put_in_force($boss, 'pg_lifeguard.enforce' => 'off') or die;
	prepare($clerk, 'brake-1');
	$policy = policy('{brake-%}');
	ledger_says('brake-1', 'rehearsed', 'enforce = off: it is rehearsed');
	lg_passes($boss, 3);
	prepare($clerk, 'brake-2');
	ledger_says('brake-2', 'rehearsed', 'so is the next');
	ok($boss->poll("SELECT repeats > 1 FROM lifeguard.ledger WHERE gid = 'brake-1'"), 'looking at it again counts in its entry');
	is(log_lines(qr/LOG:  policy "$policy" would roll back prepared transaction "brake-1"\n/), 1, 'one line in the log');
	ok(still_there('brake-1') && still_there('brake-2'), 'both are there');

	$boss->query("SELECT lifeguard.pause('1 h', 'migration')");
	lg_configure($boss, 'pg_lifeguard.enforce' => 'on');
	prepare($clerk, 'brake-3');
	ledger_says('brake-3', 'rehearsed', 'paused: it is rehearsed');
	ok(still_there('brake-1') && still_there('brake-3'), 'nothing is rolled back');
	$boss->query('SELECT lifeguard.resume()');
	gone_by($_, "$_: resumed, it is rolled back") foreach qw(brake-1 brake-2 brake-3);
	drop_policy($policy);

	prepare($clerk, 'log-1');
	$policy = policy('{log-%}', action => 'log');
	ledger_says('log-1', 'rehearsed', 'action log only rehearses');
	is(log_lines(qr/LOG:  policy "$policy" would act on prepared transaction "log-1"\n/), 1, 'with one line in the log');
	ok(still_there('log-1'), 'it is there');
	drop_policy($policy);
	$boss->query("ROLLBACK PREPARED 'log-1'");
}

# --- only the harmful
{
	my $policy;
	my $waiter = LgSession->new($node, user => 'clerk');

	prepare($clerk, 'harm-1', 1);
	prepare($clerk, 'harm-2', 2);
	$policy = policy('{harm-%}', min_blocked => 1);
	lg_passes($boss, 5);
	ok(still_there('harm-1') && still_there('harm-2'), 'who blocks nobody stays');
	$waiter->send('UPDATE till SET id = id WHERE id = 2');
	ok($waiter->answer, 'as soon as somebody waits he goes on');
	ok(still_there('harm-1') && !still_there('harm-2'), 'only the one he waited for is rolled back');
	drop_policy($policy);
	$boss->query("ROLLBACK PREPARED 'harm-1'");
	$waiter->close;
}

# --- two policies on one; somebody who is just finishing it
{
	my @policies;

	prepare($clerk, 'both-1');
	@policies = (policy('{both-%}', enabled => 'false'), policy('{both-%}', enabled => 'false'));
	$boss->query("UPDATE lifeguard.policy SET enabled = true WHERE name IN ('$policies[0]', '$policies[1]')");
	gone_by('both-1', 'two policies on one');
	ok($boss->poll(q(SELECT string_agg(regexp_replace(outcome, '\d+', 'N'), ', ' ORDER BY outcome) FROM lifeguard.ledger WHERE gid = 'both-1'),
			'already acted on, rolled back in N ms'), 'one of them acts');
	drop_policy($_) foreach @policies;

	# a COMMIT PREPARED that waits for a standby has the transaction, which still looks prepared
	prepare($clerk, 'busy-1');
	lg_await_standby($boss, $node) or die;
	$boss->query('SET synchronous_commit = local');
	$clerk->send("COMMIT PREPARED 'busy-1'");
	$boss->poll("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = " . $clerk->pid);
	@policies = policy('{busy-%}', max_per_pass => 1);
	ledger_says('busy-1', 'spared: somebody else is finishing it', 'whom somebody finishes is left to him');
	is($clerk->answer(0.1), undef, 'who waits on');
	{
		my $other = LgSession->new($node, user => 'clerk');
		$other->query('SET synchronous_commit = local');
		prepare($other, 'busy-2');
		gone_by('busy-2', 'a rollback waits for no standby, nor until an older one can be rolled back');
		$other->close;
	}
	ok($boss->poll("SELECT repeats > 1 FROM lifeguard.ledger WHERE gid = 'busy-1'"), 'that one is tried again');
	lg_configure($boss, synchronous_standby_names => '');
	my $answer = $clerk->answer;
	ok($answer && !$answer->{error}, 'its COMMIT PREPARED succeeds in the end');
	drop_policy($_) foreach @policies;
	$boss->query('RESET synchronous_commit');
}

# --- limits
{
	my $policy;

	prepare($clerk, "limit-$_") foreach 1 .. 3;
	$policy = policy('{limit-%}', max_per_minute => 1);
	gone_by('limit-1', 'the oldest goes first');
	ledger_says($_, 'over limit', "$_ is over the limit") foreach qw(limit-2 limit-3);
	lg_passes($boss, 10);
	is($boss->query("SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'limit-%'"), 2, 'and stays');
	ok($boss->poll("SELECT count(*) FROM lifeguard.ledger WHERE gid LIKE 'limit-%' AND outcome LIKE 'rolled back%'", 1),
		'one in a minute');
	drop_policy($policy);
	$boss->query("ROLLBACK PREPARED 'limit-$_'") foreach 2, 3;
}

# --- other databases; one that allows no connections
{
	my $policy;

	foreach my $database (qw(branch closed))
	{
		my $session = LgSession->new($node, user => 'clerk', dbname => $database);
		prepare($session, "$database-1");
		$session->close;
	}
	$boss->query('ALTER DATABASE closed ALLOW_CONNECTIONS false');
	$policy = policy('{branch-%,closed-%}');
	gone_by('branch-1', 'in another database');
	is(ledger('branch-1', 'datname'), 'branch', 'the ledger names it');
	lg_passes($boss, 5);
	ok(still_there('closed-1'), 'a database that allows no connections is skipped');
	like(verdicts("run_policy('$policy')"), qr/\Aclosed-1\|not visited\|/, 'run_policy() says so');
	$boss->query('ALTER DATABASE closed ALLOW_CONNECTIONS true');
	gone_by('closed-1', 'and visited once it allows them');
	drop_policy($policy);
	$policy = policy('{away-%}', databases => '{postgres}');
	{
		my $session = LgSession->new($node, user => 'clerk', dbname => 'branch');
		prepare($session, 'away-1');
		prepare($clerk, 'away-2');
		gone_by('away-2', 'databases: the one that is listed');
		ok(still_there('away-1'), 'and no other');
		$session->query("ROLLBACK PREPARED 'away-1'");
		$session->close;
	}
	drop_policy($policy);
}

# --- many that are finished in time, some that are not: who is rolled back was too old
{
	my $policy = policy('{race-%}', min_duration => '500 ms');
	my @racers = map { { session => LgSession->new($node, user => 'clerk') } } 1 .. 4;
	my ($committed, $lost, $young) = (0, 0, 0);
	my $end = time + 8;

	while (time < $end)
	{
		foreach my $i (0 .. $#racers)
		{
			my $racer = $racers[$i];
			my $session = $racer->{session};

			if (!$racer->{until})
			{
				# the gid is always the same: another transaction under it is not to be hit for it
				$session->query("BEGIN; INSERT INTO race VALUES ('race-$i')");
				$racer->{began} = time;
				# refused while the last one of that gid is being rolled back
				$session->error_of("PREPARE TRANSACTION 'race-$i'") and next;
				$racer->{until} = time + ($i < 2 ? 0.4 + rand 0.5 : rand 0.02);
			}
			elsif (time >= $racer->{until})
			{
				my $error = $session->error_of("COMMIT PREPARED 'race-$i'");

				$racer->{until} = 0;
				$error ? $lost++ : $committed++;
				$young++ if $error && time - $racer->{began} < 0.5;
			}
		}
		usleep(1000);
	}
	usleep(100_000);
	foreach my $i (0 .. $#racers)
	{
		$racers[$i]{session}->error_of("COMMIT PREPARED 'race-$i'") ? $lost++ : $committed++ if $racers[$i]{until};
	}
	note "$committed committed, $lost rolled back";
	cmp_ok($committed, '>', 50, 'most are finished in time');
	cmp_ok($lost, '>', 0, 'some are not');
	is($young, 0, 'nobody younger than the limit is rolled back');
	is($boss->query('SELECT count(*) FROM race'), $committed, 'what was committed is there, what was not is not');
	ok($boss->poll("SELECT count(*) FROM lifeguard.ledger WHERE gid LIKE 'race-%' AND outcome LIKE 'rolled back%'", $lost),
		'each that was rolled back is in the ledger');
	is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE gid LIKE 'race-%' AND state_age <= '500 ms'"),
		0, 'with an age above the limit');
	drop_policy($policy);
	$_->{session}->close foreach @racers;
}

# --- between decision and deed others take over the gid: they are not meant
{
	my $policy = policy('{swap-%}', min_duration => '5 ms');
	my @racers = map { { session => LgSession->new($node, user => 'clerk') } } 1 .. 16;
	my $end = time + 6;
	my (%lost, $tries);

	while (time < $end)
	{
		foreach my $i (0 .. $#racers)
		{
			my $racer = $racers[$i];
			my $session = $racer->{session};

			$tries++;
			$lost{ $racer->{prepared} }++
			  if $racer->{prepared} && $session->error_of("COMMIT PREPARED 'swap-$i'");
			$session->query('BEGIN; SELECT pg_current_xact_id()');
			$racer->{prepared} = $session->error_of("PREPARE TRANSACTION 'swap-$i'") ? '' :
			  $session->query("SELECT prepared FROM pg_prepared_xacts WHERE gid = 'swap-$i'");
		}
	}
	# gone before its time of preparation could be read
	delete $lost{''};
	drop_policy($policy);
	$racers[$_]{session}->error_of("COMMIT PREPARED 'swap-$_'") foreach 0 .. $#racers;
	note scalar(keys %lost) . " of $tries rolled back, "
	  . $boss->query("SELECT count(*) FROM lifeguard.ledger WHERE gid LIKE 'swap-%' AND outcome LIKE 'spared: somebody%'")
	  . ' swapped in between';
	cmp_ok(scalar keys %lost, '>', 0, 'some are rolled back');
	ok($boss->poll(<<"END", 0), 'none that was not meant');
SELECT count(*) FROM unnest('{${\join ',', map { qq("$_") } keys %lost}}'::timestamptz[]) AS l (prepared)
WHERE NOT EXISTS (SELECT FROM lifeguard.ledger WHERE gid LIKE 'swap-%' AND outcome LIKE 'rolled back%' AND at - state_age = l.prepared)
END
	$_->{session}->close foreach @racers;
}

# --- transactions that are finished at once cost no visit
{
	my $policy = policy('{quick-%}', min_duration => '1 day');
	my ($before, $tries, $end);

	lg_passes($boss, 3);
	$before = log_lines(qr/starting background worker process "pg_lifeguard visitor"/);
	cmp_ok($before, '>', 20, 'visits show in the log');
	$end = time + 3;
	while (time < $end)
	{
		prepare($clerk, 'quick-' . ++$tries);
		usleep(rand 20_000);
		$clerk->query("COMMIT PREPARED 'quick-$tries'");
	}
	lg_passes($boss, 2);
	cmp_ok(log_lines(qr/starting background worker process "pg_lifeguard visitor"/) - $before, '<=', 1, "$tries cost none");
	drop_policy($policy);
}

# --- a database is free again at once
{
	my $policy = policy('{drop-%}');
	my $session = LgSession->new($node, user => 'clerk', dbname => 'doomed');

	prepare($session, 'drop-1');
	$session->close;
	gone_by('drop-1', 'rolled back where a database is to be dropped');
	$session = LgSession->new($node, user => 'clerk', dbname => 'branch');
	prepare($session, "drop-2");
	is($boss->error_of('DROP DATABASE doomed'), undef, 'it can be dropped while the visitor goes about');
	$session->close;
	gone_by('drop-2', 'and it still does');
	is($boss->error_of('CREATE DATABASE copy TEMPLATE branch'), undef, 'a database that was visited can be copied');
	drop_policy($policy);
}

# --- the owner of a database cannot shield what is prepared there
{
	my $policy = policy('{shield-%}');
	my $session = LgSession->new($node, user => 'clerk', dbname => 'branch');
	my $owner = LgSession->new($node, user => 'cousin', dbname => 'branch');

	$boss->query('ALTER DATABASE branch OWNER TO cousin');
	foreach my $setting ('role = cousin', 'session_authorization = cousin')
	{
		$owner->query("ALTER DATABASE branch SET $setting");
		prepare($session, "shield-$setting");
		gone_by("shield-$setting", "not by ALTER DATABASE SET $setting");
		$owner->query('ALTER DATABASE branch RESET ALL');
	}
	$_->close foreach $session, $owner;
	drop_policy($policy);
}

# --- relations of other databases are named
{
	my $blocker = LgSession->new($node, dbname => 'branch');
	my $waiter = LgSession->new($node, dbname => 'branch');

	$blocker->query('CREATE SCHEMA "Back Office"; CREATE TABLE "Back Office".ledger (id int)');
	$blocker->query('BEGIN; LOCK TABLE "Back Office".ledger');
	$waiter->send('SELECT * FROM "Back Office".ledger');
	$boss->query(<<'END');
SELECT lifeguard.create_policy('names', 'blocker', '100 ms', min_blocked => 1, include_superusers => true)
END
	ok($boss->poll(<<'END'), 'a relation of another database has its name in the ledger');
SELECT count(*) = 1 FROM lifeguard.ledger WHERE policy = 'names' AND relation_name = '"Back Office".ledger'
END
	ok($boss->poll(<<'END'), 'and in its table');
SELECT count(*) = 1 FROM lifeguard.ledger_entries WHERE policy = 'names' AND relation_name = '"Back Office".ledger'
END
	$blocker->query('COMMIT');
	$waiter->answer;
	$_->close foreach $blocker, $waiter;
	$boss->query("SELECT lifeguard.drop_policy('names')");
}

# --- while there is no server, or only a standby, nobody can finish what is prepared
{
	my $limit = 3;
	my $policy = policy('{down-%}', min_duration => "$limit s");
	my $since = sub {
		my ($gid, $moment) = @_;
		return $boss->query("SELECT min(at) - $moment > '$limit s' FROM lifeguard.ledger WHERE gid = '$gid' AND outcome LIKE 'rolled back%'");
	};

	prepare($clerk, 'down-1');
	my $prepared = time;
	$_->close foreach $boss, $clerk;
	$node->stop('fast');
	usleep(100_000) while time < $prepared + $limit + 1;
	$node->start;
	$boss = LgSession->new($node);
	$clerk = LgSession->new($node, user => 'clerk');
	ok(still_there('down-1'), 'what grew old while the server was down is there');
	gone_by('down-1', 'and rolled back in the end');
	ledger_says('down-1', 'rolled back in %', 'the ledger says so');
	is($since->('down-1', 'pg_postmaster_start_time()'), 't', 'when it is too old without that time');

	my $heir = PostgreSQL::Test::Cluster->new('heir');
	$node->backup('for_heir');
	$heir->init_from_backup($node, 'for_heir', has_streaming => 1);
	$heir->start;
	$boss->query("SELECT lifeguard.pause('1 hour', 'the standby will be promoted')");
	prepare($clerk, 'down-2');
	$prepared = time;
	$node->wait_for_catchup('heir', 'replay', $node->lsn('insert'));
	usleep(100_000) while time < $prepared + $limit + 1;
	is(log_lines(qr/policy "$policy" rolls back prepared transaction "down-2"/), 0, 'paused, it stays');
	my $primary = $boss;
	my $promoted = time;
	$heir->promote;
	$boss = LgSession->new($heir);
	ok(still_there('down-2'), 'what grew old before the promotion is there');
	gone_by('down-2', 'and rolled back in the end');
	ledger_says('down-2', 'rolled back in %', 'the ledger says so');
	is($since->('down-2', "to_timestamp($promoted)"), 't', 'when it is too old without the time before');
	$boss->close;
	is(lg_log_complaints($heir), '', 'its log is clean');
	$heir->stop;
	$boss = $primary;
	$boss->query("ROLLBACK PREPARED 'down-2'");
	$boss->query('SELECT lifeguard.resume()');
	drop_policy($policy);
}

is($boss->query('SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is left over');
is(lg_log_complaints($node), '', 'the log is clean');
$boss->close;
$node->stop('fast');
ok(1, 'a fast stop is not held up');

done_testing();
