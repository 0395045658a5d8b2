# What a policy's victim is told, in every state, whatever goes to the log; that
# it is told only by the error that we caused; and that a clock which jumps, or a
# collector that was stopped, ends nobody.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use File::Basename;
use LgClock;
use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('farewells', conf => <<'END');
max_connections = 60
log_line_prefix = '%m [%p] '
jit = off
deadlock_timeout = 1h
max_parallel_workers_per_gather = 2
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.max_actions_per_minute = 0
END
my $boss = LgSession->new($node);

sub prepare
{
	$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE till (id int);
INSERT INTO till VALUES (1);
CREATE TABLE wide AS SELECT g AS id FROM generate_series(1, 20000) g;
ALTER TABLE wide SET (parallel_workers = 2);
ANALYZE wide;
CREATE TABLE locked (id int);
GRANT ALL ON till, wide, locked TO PUBLIC;
CREATE FUNCTION parallel_nap() RETURNS bool LANGUAGE sql PARALLEL SAFE AS 'SELECT pg_sleep(0.05) IS NOT NULL';
CREATE PROCEDURE rounds() LANGUAGE plpgsql AS
'BEGIN LOOP PERFORM pg_sleep(0.01); COMMIT; END LOOP; END';
CREATE ROLE clerk LOGIN
END
	return;
}
prepare();

sub policy
{
	my ($name, %columns) = @_;
	lg_define($boss, $name => { applications => undef, target => 'active', min_duration => '200 ms', roles => '{clerk}', %columns }) or die;
	return;
}

sub drop
{
	lg_drop_named($boss, @_) or die;
	return;
}

# How a session comes into each state; "shows": that it has; cancel: can be cancelled there.
my $sleeps = "wait_event = 'PgSleep'";
my %states = (
	'idle' => { shows => "state = 'idle'", says => 'idle' },
	'idle in transaction' => { first => 'BEGIN; SELECT 1', shows => "state = 'idle in transaction'", says => 'idle in transaction' },
	'aborted' => { first => 'BEGIN', fails => 'SELECT 1/0', shows => "state = 'idle in transaction (aborted)'", says => 'idle in transaction' },
	'active' => { sql => 'SELECT pg_sleep(60)', shows => $sleeps, cancel => 1 },
	'computing' => { sql => 'SELECT count(*) FROM generate_series(1, 2000000000)', shows => "state = 'active'", cancel => 1 },
	'in a transaction' => { first => 'BEGIN; SELECT 1', sql => 'SELECT pg_sleep(60)', shows => $sleeps, cancel => 1 },
	'in PL/pgSQL' => {
		sql => 'DO $$ BEGIN BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN division_by_zero THEN NULL; END; END $$',
		shows => $sleeps, cancel => 1
	},
	'after an EXCEPTION' => {
		sql => 'DO $$ BEGIN BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END; PERFORM pg_sleep(60); END $$',
		shows => $sleeps, cancel => 1
	},
	'in a procedure' => { sql => 'CALL rounds()', shows => "state = 'active'", cancel => 1 },
	'copying' => { sql => 'COPY till FROM STDIN', shows => "wait_event = 'ClientRead' AND query LIKE 'COPY%'" },
	'waiting for a lock' => { sql => 'SELECT FROM locked', shows => "wait_event_type = 'Lock'", cancel => 1, says => 'waiting for a lock' },
	'parallel leader' => {
		first => 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2',
		sql => 'SELECT count(*) FROM wide WHERE parallel_nap()',
		shows => 'EXISTS (SELECT FROM pg_stat_activity l WHERE l.leader_pid = a.pid)', cancel => 1
	},
	'after an error' => { fails => 'SELEC', sql => 'SELECT pg_sleep(60)', shows => $sleeps, cancel => 1 });

# Which policies: each about its target, and about clerks.
my %actions = (
	terminate => [ 'idle', 'idle in transaction', 'active', 'waiter' ],
	cancel => [ 'active', 'waiter' ]);
my $lock = LgSession->new($node);
$lock->query('BEGIN; LOCK TABLE locked');
foreach my $level (qw(debug5 debug1 warning error log fatal panic))
{
	next if !$ENV{LG_LONG} && $level =~ /debug1|error/;
	lg_configure($boss, log_min_messages => $level);
	$boss->poll("SELECT setting = '$level' FROM pg_settings WHERE name = 'log_min_messages'") or die;
	foreach my $action (sort keys %actions)
	{
		my %victim;
		foreach my $name (grep { $action eq 'terminate' || $states{$_}{cancel} } sort keys %states)
		{
			my $state = $states{$name};
			my $session = $victim{$name} = LgSession->new($node, user => 'clerk');
			$session->query($state->{first}) if $state->{first};
			$session->error_of($state->{fails}) if $state->{fails};
			$session->send($state->{sql}) if $state->{sql};
			$boss->poll("SELECT $state->{shows} FROM pg_stat_activity a WHERE pid = ${\$session->pid}") or die $name;
		}

		# whom two policies could hit is hit by the one, or the other
		policy("$action $_", target => $_, action => $action) foreach @{ $actions{$action} };
		foreach my $name (sort keys %victim)
		{
			my $says = $states{$name}{says} // 'running its statement';
			$says = "(?:$says|running its statement)" if $name eq 'waiting for a lock';
			my $error = ($victim{$name}->answer // { error => { message => 'no answer' } })->{error} // {};
			is($error->{sqlstate}, $action eq 'cancel' ? '57014' : '57P01', "$level, $action, $name: SQLSTATE");
			like($error->{detail} // '', qr/^pg_lifeguard acted on this session under policy "$action [a-z ]+": $says for [0-9.]+ m?s/, "$level, $action, $name: DETAIL");
			like($error->{hint} // '', qr/^[A-Z].*\.$/, "$level, $action, $name: HINT");
		}
		drop(map { "$action $_" } @{ $actions{$action} });
		if ($action eq 'cancel')
		{
			foreach my $name (sort keys %victim)
			{
				$victim{$name}->error_of('ROLLBACK');
				$victim{$name}->query("SET statement_timeout = '20ms'");
				my $error = $victim{$name}->error_of('SELECT pg_sleep(10)');
				is("$error->{sqlstate} " . ($error->{detail} // 'none'), '57014 none', "$level, $name: a later timeout is its own");
			}
		}
		$_->close foreach values %victim;
	}
}
lg_configure($boss, log_min_messages => 'warning');

# --- errors of the same kind that we did not cause, while a policy acts on others
policy('busy', min_duration => '1 s', action => 'cancel');
my $clerk = LgSession->new($node, user => 'clerk');
sub is_own
{
	my ($error, $sqlstate, $name) = @_;
	is(join('|', map { $error->{$_} // '' } qw(sqlstate detail hint)), "$sqlstate||", $name);
	return;
}
foreach my $round (1 .. 3)
{
	my $error = $clerk->error_of('SELECT pg_sleep(60)');
	like($error->{detail} // '', qr/under policy "busy"/, 'cancelled by the policy');
	$clerk->query("SET statement_timeout = '50ms'");
	is_own($clerk->error_of('SELECT pg_sleep(60)'), '57014', 'statement_timeout');
	$clerk->query("SET statement_timeout = 0; SET lock_timeout = '50ms'");
	is_own($clerk->error_of('SELECT FROM locked'), '55P03', 'lock_timeout');
	$clerk->query('SET lock_timeout = 0');
	$clerk->send('SELECT pg_sleep(60)');
	$boss->poll("SELECT $sleeps FROM pg_stat_activity WHERE pid = ${\$clerk->pid}") or die;
	$boss->query("SELECT pg_cancel_backend(${\$clerk->pid})");
	is_own($clerk->answer->{error}, '57014', 'a cancel of the user');
	is_own($clerk->error_of("DO \$\$ BEGIN RAISE query_canceled USING MESSAGE = 'canceling statement due to user request'; END \$\$"), '57014', 'one raised');
}

# The text is armed, and swallowed: what follows in the session is its own.
$clerk->send('DO $$ BEGIN BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END $$');
is($clerk->answer->{error}, undef, 'a cancel swallowed');
$clerk->query("SET statement_timeout = '50ms'");
is_own($clerk->error_of('SELECT pg_sleep(60)'), '57014', 'the next error is its own');
$clerk->close;
drop('busy');
$lock->query('COMMIT');
$lock->close;

# ---------------------------------------------------------------------------
# Ages gained while nobody could look
# ---------------------------------------------------------------------------

# --- a collector stopped for longer than 5 s
policy('sweep', target => 'idle in transaction', min_duration => '4 s');
policy('run', target => 'idle in transaction', min_duration => '4 s', enabled => 'f');
$clerk = LgSession->new($node, user => 'clerk');
lg_passes($boss, 2);
my $collector = lg_freeze_collector($boss);
$clerk->query('BEGIN; SELECT 1');
ok($boss->poll("SELECT clock_timestamp() - last_pass > '7.2 s' FROM lifeguard.status"), 'stopped');
is($boss->query("SELECT verdict, why FROM lifeguard.run_policy('run') WHERE pid = ${\$clerk->pid}"), 'spared|not for longer than 4 s', 'run_policy() does not trust that age');
kill CONT => $collector;
ok($boss->poll("SELECT late_passes = 1 AND ages_count_from IS NOT NULL FROM lifeguard.status"), 'a late pass');
ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$clerk->pid}"), 'hit at last');
is($boss->query("SELECT l.at - s.ages_count_from BETWEEN '4 s' AND '7 s', l.reason ~ '^idle in transaction for [456](?:\\.\\d)? s', l.state_age > '10 s' FROM lifeguard.ledger l, lifeguard.status s WHERE pid = ${\$clerk->pid}"),
	't|t|t', 'but not for age gained while it was stopped');
like($clerk->answer->{error}{detail}, qr/idle in transaction for [456](?:\.\d)? s/, 'and told so');
$clerk->close;
$boss->close;
$node->stop;
is(lg_log_complaints($node, allow => qr/terminating connection|WARNING:  there is/), '', 'nothing bad in the log');

# --- a clock that jumps forward
SKIP:
{
	my $clock = LgClock->new or skip 'faketime is not installed', 1;
	$node = lg_server('jumps', start => 0, conf => "pg_lifeguard.fast_interval = 50ms\nlog_line_prefix = '%m [%p] '\n");
	$clock->start($node);
	$boss = LgSession->new($node);
	$boss->query('CREATE EXTENSION pg_lifeguard');
	prepare();
	ok($clock->take_collector($boss), 'a collector under faketime');

	my %victims = (
		'idle in transaction' => sub { $_[0]->query('BEGIN; SELECT 1') },
		'active' => sub { $_[0]->send('SELECT pg_sleep(60)') },
		'transaction' => sub { $_[0]->query('BEGIN'); $_[0]->send('SELECT pg_sleep(60)') },
		'waiter' => sub { $_[0]->send('SELECT FROM locked') });
	my $holder = LgSession->new($node);
	$holder->query('BEGIN; LOCK TABLE locked');
	foreach my $target (sort keys %victims)
	{
		policy($target, target => $target, min_duration => '3 s');
		policy('run', target => $target, min_duration => '3 s', enabled => 'f');
		$clerk = LgSession->new($node, user => 'clerk');
		$victims{$target}->($clerk);
		lg_passes($boss, 2);
		my $jumps = lg_status($boss, 'clock_jumps');
		my $collector = lg_freeze_collector($boss);
		$clock->set('+' . 600 * ($jumps + 1));
		my $verdict = $boss->query("SELECT verdict, why FROM lifeguard.run_policy('run') WHERE pid = ${\$clerk->pid}");
		kill CONT => $collector;
		is($verdict, 'spared|not for longer than 3 s', "$target: run_policy() does not trust that age");
		ok($boss->poll("SELECT clock_jumps = $jumps + 1 AND ages_count_from = last_clock_jump FROM lifeguard.status"), "$target: a jump");
		ok($boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$clerk->pid} AND policy = '$target'"), "$target: hit at last");
		is($boss->query("SELECT l.at - s.ages_count_from BETWEEN '3 s' AND '6 s', l.reason ~ ' for [345](?:\\.\\d)? s' FROM lifeguard.ledger l, lifeguard.status s WHERE pid = ${\$clerk->pid}"),
			't|t', "$target: but not for age gained by the jump");
		is($clerk->answer->{error}{sqlstate}, '57P01', "$target: ended");
		$clerk->close;
		drop($target, 'run');
	}
	$holder->close;
	$boss->close;
	$node->stop;
	is(lg_log_complaints($node), '', 'nothing bad in the log');
}

done_testing();
