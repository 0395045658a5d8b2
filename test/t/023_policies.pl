# Policies at work: every target, every action and every filter, against real
# sessions; whom they hit, whom they leave alone, what the ledger, the log and
# the client are told.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = lg_server('policies',
	init => { allows_streaming => 0 },
	conf => <<'END');
max_connections = 80
listen_addresses = '127.0.0.2'
log_line_prefix = '%m [%p] '
compute_query_id = on
pg_lifeguard.sample_interval = 0
pg_lifeguard.max_actions_per_minute = 0
END
append_to_file($node->data_dir . '/pg_hba.conf', "host all all 127.0.0.2/32 trust\n");
$node->reload;
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE DATABASE other;
CREATE ROLE team;
CREATE ROLE app LOGIN IN ROLE team;
CREATE ROLE guest LOGIN;
CREATE ROLE chief LOGIN SUPERUSER;
CREATE TABLE a AS SELECT 1 AS id;
CREATE TABLE b AS SELECT 1 AS id;
CREATE TABLE c AS SELECT 1 AS id;
CREATE TABLE d AS SELECT 1 AS id;
CREATE TABLE e AS SELECT 1 AS id;
CREATE TABLE f (id int);
CREATE TABLE till AS SELECT 1 AS id;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, guest;
ALTER TABLE d OWNER TO app;
CREATE FUNCTION stubborn(naps int) RETURNS text LANGUAGE plpgsql AS
'BEGIN FOR i IN 1 .. naps LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; RETURN ''done''; END'
END

# A session of the role app, or another, whose application has that name; with
# statements it has done, and one it is busy with.
sub client
{
	my ($application, %do) = @_;
	my $session = LgSession->new($node,
		user => 'app',
		parameters => { application_name => $application, %{ $do{parameters} // {} } },
		%{ $do{options} // {} });
	$session->query($do{done}) if $do{done};
	$session->error_of($do{failed}) if $do{failed};
	$session->send($do{doing}) if $do{doing};
	return $session;
}

sub outcome_is
{
	my ($policy, $session, $expected, $name) = @_;
	is(lg_outcome($boss, $policy, $session->pid), $expected, "$policy: $name");
	return;
}

sub is_told
{
	my ($policy, $session, $state, $reason, $hint, $name) = @_;
	my $answer = $session->answer;
	my $error = $answer && $answer->{error} // {};
	ok(($error->{sqlstate} // '') eq $state
		  && ($error->{detail} // '') =~ /^pg_lifeguard acted on this session under policy "\Q$policy\E": $reason\.$/
		  && ($error->{hint} // '') =~ $hint,
		"$policy: $name: its client is told why")
	  or diag explain $answer;
	return;
}

sub lives
{
	my ($policy, $session, $name) = @_;
	my $answer = $session->send('SELECT 42')->answer;
	is($answer->{error} ? $answer->{error}{message} : $answer->{rows}[0], '42', "$policy: $name lives");
	is(lg_outcome($boss, $policy, $session->pid), 'none', "$policy: $name is not in the ledger");
	return;
}

# ---------------------------------------------------------------- every target
my $span = qr/\d+(?:\.\d)? m?s/;
lg_define($boss,
	'idle in transaction' => { target => 'idle in transaction' },
	idle => { target => 'idle' },
	'idle, all' => { target => 'idle', include_lock_holders => 't', include_listeners => 't' },
	active => { target => 'active', action => 'cancel' },
	transaction => { target => 'transaction' },
	blocker => { target => 'blocker', min_blocked => 1 },
	'active blocker' => { target => 'blocker', action => 'cancel' },
	waiter => { target => 'waiter', action => 'cancel' },
	'queued ddl' => { target => 'queued ddl', action => 'cancel' },
	'stalled client' => { target => 'stalled client' })
  or die "policies are not published\n";

my %s = (
	iit => client('idle in transaction', done => 'BEGIN'),
	aborted => client('idle in transaction', done => 'BEGIN', failed => 'SELECT 1/0'),
	iit_idle => client('idle in transaction'),
	iit_active => client('idle in transaction', done => 'BEGIN', doing => 'SELECT pg_sleep(60)'),
	iit_other => client('idle_in_transaction', done => 'BEGIN'),

	idle => client('idle', done => 'SELECT 1'),
	idle_iit => client('idle', done => 'BEGIN'),
	idle_locks => client('idle', done => 'SELECT pg_advisory_lock(1)'),
	idle_listens => client('idle', done => '/* here */ listen x'),
	idle_nested => client('idle', done => '/* here /* and */ there */ LISTEN x'),
	idle_dashes => client('idle', done => "LISTEN--here\nx"),
	all_locks => client('idle, all', done => 'SELECT pg_advisory_lock(2)'),
	all_listens => client('idle, all', done => 'LISTEN x'),

	active => client('active', doing => 'SELECT pg_sleep(60)'),
	active_iit => client('active', done => 'BEGIN'),

	xact_idle => client('transaction', done => 'BEGIN'),
	xact_active => client('transaction', done => 'BEGIN', doing => 'SELECT pg_sleep(60)'),
	xact_none => client('transaction', done => 'BEGIN; COMMIT'),

	root => client('blocker', done => 'BEGIN; LOCK TABLE a'),
	middle => client('blocker', done => 'BEGIN; LOCK TABLE b', doing => 'SELECT * FROM a'),
	last => client('blocker', doing => 'SELECT * FROM b'),
	harmless => client('blocker', done => 'BEGIN; LOCK TABLE e'),
	active_root => client('active blocker', done => 'BEGIN; LOCK TABLE c', doing => 'SELECT pg_sleep(60)'),
	waits_for_active => client('other', doing => 'SELECT * FROM c'),

	holder => client('waiter', done => 'BEGIN; SELECT pg_advisory_xact_lock(3)'),
	waiter => client('waiter', doing => 'SELECT pg_advisory_xact_lock(3)'),

	reader => client('queued ddl', done => 'BEGIN; SELECT FROM d'),
	ddl => client('queued ddl', doing => 'ALTER TABLE d ADD COLUMN x int'),
	lone_reader => client('queued ddl', done => 'BEGIN; SELECT FROM till'),
	lone_ddl => client('queued ddl', options => { user => 'chief' }, doing => 'ALTER TABLE till ADD COLUMN x int'),

	copying => client('stalled client', doing => 'COPY f FROM STDIN'),
	streaming => client('stalled client', doing => 'COPY f FROM STDIN'),
	piping => client('stalled client')->send_messages(
		P => "\0SELECT 1\0" . pack('n', 0), B => "\0\0" . pack('nnn', 0, 0, 0), E => "\0" . pack('N', 0), H => ''),
	stalled_not => client('stalled client', doing => 'SELECT pg_sleep(60)'));
lg_waits($boss, $s{ddl});
my @behind = map { client('queued ddl', doing => 'SELECT count(*) FROM d') } 1 .. 2;
lg_waits($boss, @s{qw(middle last waits_for_active waiter ddl lone_ddl)}, @behind);
my $stalling = 'SELECT count(*) = 3 FROM pg_stat_activity WHERE state = \'active\' AND wait_event = \'ClientRead\' AND pid IN ('
  . join(',', map { $s{$_}->pid } qw(copying streaming piping)) . ')';
ok($boss->poll($stalling), 'three wait for their clients');
ok($boss->poll("SELECT count(*) = 5 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), 'five are active');
lg_grown_old($boss);
lg_run_pass($boss);
is($s{middle}->answer->{rows}[0], '1', 'blocker: who waited goes on');
$s{middle}->query('COMMIT');

# this one sends a row between any two passes, and waits for its client in each
$s{streaming}->send_messages(d => "7\n");
ok($boss->poll('SELECT bytes_processed = 2 FROM pg_stat_progress_copy WHERE pid = ' . $s{streaming}->pid), 'a row has come');
$boss->poll($stalling);
lg_grown_old($boss);
lg_run_pass($boss);

my $idle_hint = qr/^Connect again when/;
my $iit_hint = qr/^Commit or roll back/;
outcome_is('idle in transaction', $s{iit}, 'terminated in N ms', 'idle in transaction');
is_told('idle in transaction', $s{iit}, '57P01', qr/idle in transaction for $span/, $iit_hint, 'idle in transaction');
outcome_is('idle in transaction', $s{aborted}, 'terminated in N ms', 'aborted');
is_told('idle in transaction', $s{aborted}, '57P01', qr/idle in transaction for $span/, $iit_hint, 'aborted');
lives('idle in transaction', $s{$_}, $_) foreach qw(iit_idle iit_other);
outcome_is('idle in transaction', $s{iit_active}, 'none', 'an active session is not meant');

outcome_is('idle', $s{idle}, 'terminated in N ms', 'idle');
is_told('idle', $s{idle}, '57P01', qr/idle for $span/, $idle_hint, 'idle');
lives('idle', $s{$_}, $_) foreach qw(idle_iit idle_locks idle_listens idle_nested idle_dashes);
outcome_is('idle, all', $s{$_}, 'terminated in N ms', $_) foreach qw(all_locks all_listens);

outcome_is('active', $s{active}, 'cancelled in N ms', 'active');
is_told('active', $s{active}, '57014', qr/running its statement for $span/, qr/^Repeat it/, 'active');
lives('active', $s{active_iit}, 'a session in a transaction');

outcome_is('transaction', $s{$_}, 'terminated in N ms', $_) foreach qw(xact_idle xact_active);
is_told('transaction', $s{xact_active}, '57P01', qr/in its transaction for $span/, qr/^Repeat it/, 'active');
lives('transaction', $s{xact_none}, 'a session without transaction');

outcome_is('blocker', $s{root}, 'terminated in N ms', 'the root');
is_told('blocker', $s{root}, '57P01',
	qr/in its state \(idle in transaction\) for $span; 2 sessions wait for it, the longest for $span; AccessExclusiveLock held, AccessShareLock awaited/,
	qr/^Repeat it/, 'the root');
is($s{last}->answer->{rows}[0], '1', 'blocker: and the one behind it');
lives('blocker', $s{$_}, $_) foreach qw(middle last harmless);

outcome_is('active blocker', $s{active_root}, 'cancelled in N ms', 'the root');
is_told('active blocker', $s{active_root}, '57014', qr/in its state \(active\) for $span; 1 session waits for it.*/, qr/^Repeat it/, 'the root');
is($s{waits_for_active}->answer->{error}, undef, 'active blocker: the waiter goes on');

outcome_is('waiter', $s{waiter}, 'cancelled in N ms', 'the waiter');
is_told('waiter', $s{waiter}, '57014', qr/waiting for a lock for $span/, qr/lock_timeout/, 'the waiter');
lives('waiter', $s{holder}, 'the holder');

outcome_is('queued ddl', $s{ddl}, 'cancelled in N ms', 'the DDL');
is_told('queued ddl', $s{ddl}, '57014', qr/waiting for a lock, with others behind it, for $span; 2 sessions wait for it.*/, qr/lock_timeout/, 'the DDL');
is($_->answer->{rows}[0], '1', 'queued ddl: one behind it goes on') foreach @behind;
lives('queued ddl', $_, 'one behind it') foreach @behind;
lives('queued ddl', $s{$_}, $_) foreach qw(reader lone_reader);
outcome_is('queued ddl', $s{lone_ddl}, 'none', 'DDL with nobody behind it');

outcome_is('stalled client', $s{$_}, 'terminated in N ms', $_) foreach qw(copying piping);
is_told('stalled client', $s{copying}, '57P01', qr/stalled by its client for $span/, qr/^Read results and send data/, 'COPY FROM STDIN');
outcome_is('stalled client', $s{$_}, 'none', $_) foreach qw(streaming stalled_not);
$s{streaming}->send_messages(c => '');
lives('stalled client', $s{streaming}, 'a session that streams')
  if is($s{streaming}->answer->{error}, undef, 'stalled client: the stream comes to its end');

is($boss->query(q{SELECT count(*), count(DISTINCT pid) FROM lifeguard.ledger}), '14|14', 'nobody else is in the ledger');
$_->close foreach values %s, @behind;
lg_drop($boss);

# -------------------------------------------------- what the ledger has as proof
my $root = client('evidence', done => 'BEGIN; LOCK TABLE till', doing => "SELECT 'the last' /* controller='till' */");
$root->answer;
my $first = client('waits', done => 'BEGIN; LOCK TABLE a', doing => 'SELECT * FROM till');
my @more = map { client('waits', doing => "SELECT * FROM $_") } qw(till a a till);
lg_waits($boss, $first, @more);
my $blocked = $boss->query('WITH RECURSIVE edges AS (SELECT pid, unnest(pg_blocking_pids(pid)) AS by FROM pg_stat_activity WHERE wait_event_type = \'Lock\'), '
	  . 'behind (pid) AS (SELECT pid FROM edges WHERE by = ' . $root->pid
	  . ' UNION SELECT e.pid FROM edges e JOIN behind b ON e.by = b.pid) SELECT array_agg(pid ORDER BY pid) FROM behind');
is($blocked, '{' . join(',', sort { $a <=> $b } map { $_->pid } $first, @more) . '}', 'five wait, some through another');
my $start = $boss->query('SELECT backend_start FROM pg_stat_activity WHERE pid = ' . $root->pid);
lg_define($boss, evidence => {});
lg_run_pass($boss);
outcome_is('evidence', $root, 'terminated in N ms', 'the root');
is(lg_ledger($boss, 'evidence', $root->pid, <<'END'),
target, action, usename, datname, application_name, client_addr, state, blocked_total, (SELECT array_agg(p ORDER BY p) FROM unnest(blocked_pids) p),
relation_name, query, query_tags, signal, repeats, waiters_freed, recorded_on, gid IS NULL
END
	"idle in transaction|terminate|app|postgres|evidence||idle in transaction|5|$blocked|public.till|"
	  . "SELECT 'the last' /* controller='till' */|controller='till'|SIGTERM|1|5|primary|t",
	'evidence: whom it blocked, as pg_blocking_pids() has it, where, and with what statement');
is(lg_ledger($boss, 'evidence', $root->pid, "backend_start = '$start', state_age BETWEEN '1 ms' AND now() - '$start', outcome_at >= at"),
	't|t|t', 'evidence: times');
like(lg_ledger($boss, 'evidence', $root->pid, 'reason'),
	qr/^idle in transaction for $span; 5 sessions wait for it, the longest for $span; AccessExclusiveLock held, AccessShareLock awaited$/, 'evidence: the reason');
is_told('evidence', $root, '57P01', qr/idle in transaction for $span; 5 sessions wait for it.*/, $iit_hint, 'the root');
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /LOG:  policy "evidence" terminates session with PID @{[$root->pid]}$/mg), 1, 'evidence: one line in the log');
like($log, qr/policy "evidence" terminates.*\n.*DETAIL:  Role "app", database "postgres", application "evidence": idle in transaction for $span; 5 sessions wait/, 'evidence: which says why');
is($first->answer->{error}, undef, 'evidence: the first goes on');
$first->query('COMMIT');
is($_->answer->{error}, undef, 'evidence: another goes on') foreach @more;
$_->close foreach $first, @more;
lg_drop($boss);

# ---------------------------------------------------------------- every action
lg_define($boss,
	log => { action => 'log' },
	escalates => { target => 'active', action => 'cancel then terminate', grace => '1 s' },
	'nothing to cancel' => { target => 'transaction', action => 'cancel' },
	'at once' => { target => 'transaction', action => 'cancel then terminate', grace => '1 h' },
	'ladder 1' => { target => 'active', action => 'cancel', applications => ['ladder'] },
	'ladder 2' => { target => 'active', min_duration => '4 s', applications => ['ladder'] },
	'two, weak' => { target => 'transaction', action => 'cancel then terminate', applications => ['two'] },
	'two, strong' => { applications => ['two'] },
	'two, log' => { action => 'log', applications => ['two'] });
%s = (
	log => client('log', done => 'BEGIN'),
	swallows => client('escalates', doing => 'SELECT stubborn(1000)'),
	ends => client('escalates', doing => 'SELECT stubborn(1)'),
	obeys => client('escalates', doing => 'SELECT pg_sleep(60)'),
	nothing => client('nothing to cancel', done => 'BEGIN'),
	'at once' => client('at once', done => 'BEGIN'),
	ladder => client('ladder', doing => 'SELECT stubborn(1000)'),
	two => client('two', done => 'BEGIN'));
$boss->poll("SELECT count(*) = 4 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name IN ('escalates', 'ladder')");
lg_grown_old($boss);
lg_run_pass($boss) foreach 1 .. 3;

is(lg_ledger($boss, 'log', $s{log}->pid, 'outcome, repeats, signal, action'), 'rehearsed|3||log', 'log: rehearsed once, and repeats counted');
my $line = qr/LOG:  policy "log" would act on session with PID @{[$s{log}->pid]}$/m;
is(scalar(() = slurp_file($node->logfile) =~ /$line/g), 1, 'log: one line in the log');
$s{log}->query('COMMIT; BEGIN');
lg_grown_old($boss);
lg_run_pass($boss);
is($boss->query("SELECT count(*), sum(repeats) FROM lifeguard.ledger WHERE policy = 'log'"), '2|4', 'log: another episode, another row');
is($s{log}->query('SELECT 1'), '1', 'log: nobody is touched');

outcome_is('escalates', $s{obeys}, 'cancelled in N ms', 'whoever obeys');
is($s{obeys}->answer->{error}{sqlstate}, '57014', 'escalates: is only cancelled');
outcome_is('escalates', $s{ends}, 'cancelled in N ms', 'whoever ends in grace');
is($s{ends}->answer->{rows}[0], 'done', 'escalates: goes on');
outcome_is('escalates', $s{swallows}, 'terminated in N ms', 'whoever swallows the cancel');
is_told('escalates', $s{swallows}, '57P01', qr/running its statement for $span/, qr/^Repeat it/, 'whoever swallows the cancel');
is(lg_ledger($boss, 'escalates', $s{swallows}->pid, "signal, outcome_at - at BETWEEN '990 ms' AND '10 s'"), 'SIGTERM|t', 'escalates: after grace');
is(lg_ledger($boss, 'escalates', $s{ends}->pid, 'signal'), 'SIGINT', 'escalates: a cancel is a SIGINT');
my $of = $s{swallows}->pid;
is(join(' ', slurp_file($node->logfile) =~ /LOG:  policy "escalates" (cancels|terminates) session with PID $of$/mg), 'cancels terminates', 'escalates: a line in the log for each signal');

outcome_is('nothing to cancel', $s{nothing}, 'spared: nothing to cancel', 'an idle session');
is(lg_ledger($boss, 'nothing to cancel', $s{nothing}->pid, 'signal'), '', 'nothing to cancel: no signal');
unlike(slurp_file($node->logfile), qr/policy "nothing to cancel" cancels/, 'nothing to cancel: and no line');
$s{nothing}->send('SELECT pg_sleep(60)');
$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = " . $s{nothing}->pid);
lg_run_pass($boss);
outcome_is('nothing to cancel', $s{nothing}, 'cancelled in N ms', 'until it runs something');
outcome_is('at once', $s{'at once'}, 'terminated in N ms', 'an idle session');
is(lg_ledger($boss, 'at once', $s{'at once'}->pid, 'signal'), 'SIGTERM', 'at once: no cancel first');

outcome_is('two, strong', $s{two}, 'terminated in N ms', 'the stronger acts');
outcome_is('two, weak', $s{two}, 'already acted on', 'the weaker finds it');
outcome_is('two, log', $s{two}, 'rehearsed', 'a rehearsal tells what it would do');
is(scalar(() = slurp_file($node->logfile) =~ /LOG:  policy "two, \w+" terminates session/g), 1, 'two: one action');

is(lg_ledger($boss, 'ladder 1', $s{ladder}->pid, 'outcome'), 'signalled', 'ladder: cancelled, and it did not help');
$boss->poll("SELECT now() - query_start > '4.1 s' FROM pg_stat_activity WHERE pid = " . $s{ladder}->pid);
lg_run_pass($boss);
outcome_is('ladder 2', $s{ladder}, 'terminated in N ms', 'a stronger policy is not held up by a weaker one');
is_told('ladder 2', $s{ladder}, '57P01', qr/running its statement for $span/, qr/^Repeat it/, 'the stronger');
$_->close foreach values %s;
lg_drop($boss);

# ---------------------------------------------------------------- every filter
# previews decide as passes do, and need no schedule: one set of policies for all
my %filters = (
	databases => [ { databases => ['other'] }, 'other_db' ],
	except_databases => [ { except_databases => ['postgres'] }, 'other_db' ],
	roles => [ { roles => ['guest'] }, 'guest tcp' ],
	'roles by membership' => [ { roles => ['team'] }, 'app listens other_db' ],
	except_roles => [ { except_roles => ['team'] }, 'guest tcp super' ],
	applications => [ { applications => [ 'gue%', 'tc_' ] }, 'guest tcp' ],
	except_applications => [ { except_applications => [ 'gue%', 'tc_' ] }, 'app listens other_db super' ],
	'clients: cidr' => [ { clients => [ '10.0.0.0/8', '127.0.0.0/30' ] }, 'tcp' ],
	'clients: another cidr' => [ { clients => ['127.0.0.1'] }, '' ],
	'clients: local' => [ { clients => ['local'] }, 'app guest listens other_db super' ],
	'except_clients: local' => [ { except_clients => ['local'] }, 'tcp' ],
	'except_clients: cidr' => [ { except_clients => ['127.0.0.2'] }, 'app guest listens other_db super' ],
	queries => [ { queries => ['%mark_'] }, 'guest' ],
	except_queries => [ { except_queries => [ '%mark_', 'BEGIN' ] }, 'listens' ],
	'all of them' => [ { roles => ['team'], databases => ['postgres'], except_queries => ['%LISTEN%'] }, 'app' ],
	longer => [ { min_duration => '1 h' }, '' ]);
%s = (
	app => client('app', done => 'BEGIN'),
	guest => client('guest', options => { user => 'guest' }, done => 'BEGIN; SELECT 7 AS marks'),
	listens => client('listens', done => 'BEGIN; LISTEN x'),
	other_db => client('other_db', options => { dbname => 'other' }, done => 'BEGIN'),
	tcp => client('tcp', options => { host => '127.0.0.2', user => 'guest' }, done => 'BEGIN'),
	super => client('super', options => { user => 'chief' }, done => 'BEGIN'));
my $query_id = $boss->query('SELECT query_id FROM pg_stat_activity WHERE pid = ' . $s{listens}->pid);
$filters{'queries: id'} = [ { queries => [$query_id] }, 'listens' ];
$filters{'except_queries: id'} = [ { except_queries => [ $query_id, 'BEGIN' ] }, 'guest' ];
lg_define($boss, map { $_ => { applications => undef, except_applications => ['lgtest'], include_superusers => 't', enabled => 'f', %{ $filters{$_}[0] } } } keys %filters);
lg_grown_old($boss);
foreach my $name (sort keys %filters)
{
	my @all = keys %s;
	my %hit = map { $_ => 1 } split / /, $filters{$name}[1];
	my %name_of = map { $s{$_}->pid => $_ } @all;
	my %verdicts = map { /^(\d+)\|(.*)$/; ($name_of{$1} // $1) => $2 } split /\n/,
	  $boss->query("SELECT pid, verdict FROM lifeguard.preview_policy('$name')");
	is(join(' ', map { "$_ $verdicts{$_}" } sort keys %verdicts), join(' ', map { "$_ " . ($hit{$_} ? 'terminate' : 'spared') } sort @all), "filter $name");
}
is($boss->query(qq{SELECT string_agg(DISTINCT why, ', ' ORDER BY why) FROM lifeguard.preview_policy('all of them') WHERE verdict = 'spared'}),
	'another database, another query, another role', 'filters: why not');
is($boss->query(q{SELECT DISTINCT why FROM lifeguard.preview_policy('longer')}), 'not for longer than 1 h', 'filters: or too young');
is($_->query('SELECT 1'), '1', 'filters: nobody is touched') foreach values %s;
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE at > now() - interval '1 min' AND policy IN (" . join(',', map { "'$_'" } keys %filters) . ')'), '0', 'filters: nor in the ledger');

$_->close foreach values %s;
$boss->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');
done_testing();
