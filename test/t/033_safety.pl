# Whom policies never touch, whose rights they act with, and that they hit only
# the session that was judged, in the episode that was judged.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('safety',
	init => { allows_streaming => 1 },
	conf => <<'END');
max_connections = 60
superuser_reserved_connections = 3
log_line_prefix = '%m [%p] '
autovacuum_naptime = 1s
deadlock_timeout = 1h
jit = off
commit_siblings = 0
max_parallel_workers_per_gather = 2
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.max_actions_per_minute = 0
END
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
SET synchronous_commit = local;
CREATE TABLE till (id int);
INSERT INTO till VALUES (1);
GRANT ALL ON till TO PUBLIC;
CREATE TABLE wide AS SELECT g AS id FROM generate_series(1, 1000) g;
ALTER TABLE wide SET (parallel_workers = 2);
ANALYZE wide;
GRANT ALL ON wide TO PUBLIC;
CREATE FUNCTION parallel_nap() RETURNS bool LANGUAGE sql PARALLEL SAFE AS 'SELECT pg_sleep(0.05) IS NOT NULL';
CREATE ROLE clerk LOGIN;
CREATE ROLE apprentice LOGIN;
CREATE ROLE vip;
GRANT vip TO apprentice;
CREATE ROLE second LOGIN SUPERUSER;
CREATE ROLE chief LOGIN SUPERUSER;
CREATE ROLE warden;
CREATE ROLE porter;
GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean) TO clerk
END

# A policy without limits that terminates, known to the collector when this returns.
sub policy
{
	my ($name, %columns) = @_;
	lg_define($boss, $name => { applications => undef, min_duration => '200 ms', %columns }) or die;
	return;
}

sub drop
{
	lg_drop_named($boss, @_) or die;
	return;
}

# A session of that role, idle in a transaction.
sub idler
{
	my ($user, %parameters) = @_;
	my $session = LgSession->new($node, user => $user, parameters => \%parameters);
	$session->query('BEGIN; SELECT count(*) FROM till');
	return $session;
}

# True once the ledger has that outcome of a policy's on a session.
sub comes_out
{
	my ($session, $policy, $outcome) = @_;
	my $pid = ref $session ? $session->pid : $session;
	my $quoted = $outcome =~ s/'/''/gr;
	return $boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = $pid AND policy = '$policy' AND outcome LIKE '$quoted'");
}

sub is_spared
{
	my ($session, $policy, $why) = @_;
	ok(comes_out($session, $policy, $why), "$policy: $why");
	ok(lg_passes($boss, 3), 'passes go on');
	is($session->query('SELECT 1'), '1', "$policy: it lives");
	return;
}

sub is_ended
{
	my ($session, $policy) = @_;
	ok(comes_out($session, $policy, 'terminated in %'), "$policy: terminated");
	my $error = $session->answer->{error};
	is($error->{sqlstate}, '57P01', "$policy: as its client hears");
	like($error->{detail} // '', qr/under policy "$policy"/, "$policy: with the reason");
	$session->close;
	return;
}

# ---------------------------------------------------------------------------
# Never
# ---------------------------------------------------------------------------

# --- superusers
policy('sweep');
my $super = idler('chief');
my $clerk = idler('clerk');
is_ended($clerk, 'sweep');
is_spared($super, 'sweep', 'spared: superuser');
drop('sweep');
$super->close;
policy('sweep', include_superusers => 't', owner => 'chief', roles => '{second}');
$super = idler('second');
is_ended($super, 'sweep');
$boss->query('ALTER ROLE chief NOSUPERUSER');
$super = idler('second');
is_spared($super, 'sweep', 'not permitted');
$boss->query('ALTER ROLE chief SUPERUSER');
$super->query('ROLLBACK; BEGIN; SELECT 1');
is_ended($super, 'sweep');
drop('sweep');

# --- protected roles, by membership, and applications
policy('sweep');
ok(lg_put_in_force($boss, 'pg_lifeguard.protected_roles' => 'vip'), 'reloaded');
my $apprentice = idler('apprentice');
ok(comes_out($apprentice, 'sweep', 'spared: protected role'), 'a member is protected');
$clerk = idler('clerk');
is_ended($clerk, 'sweep');
is($boss->query("SELECT repeats, outcome, signal IS NULL, waiters_freed IS NULL FROM lifeguard.ledger WHERE pid = ${\$apprentice->pid}"),
	'1|spared: protected role|t|t', 'its row');
lg_configure($boss, 'pg_lifeguard.protected_roles' => '');
is_ended($apprentice, 'sweep');

my $dump = idler('clerk', application_name => 'pg_dump');
is_spared($dump, 'sweep', 'spared: protected application');
$dump->close;
$boss->query("ALTER SYSTEM SET pg_lifeguard.protected_applications = 'clerk/nightly', 'weekly'");
lg_put_in_force($boss) or die;
my $nightly = idler('clerk', application_name => 'nightly');
my $false_nightly = idler('apprentice', application_name => 'nightly');
my $nearly = idler('clerk', application_name => 'nightly2');
my $weekly = idler('apprentice', application_name => 'weekly');
is_ended($false_nightly, 'sweep');
is_ended($nearly, 'sweep');
is_spared($nightly, 'sweep', 'spared: protected application');
is_spared($weekly, 'sweep', 'spared: protected application');
$_->close foreach ($nightly, $weekly);
$boss->query('ALTER SYSTEM RESET pg_lifeguard.protected_applications');
$boss->query('SELECT pg_reload_conf()');
drop('sweep');

# --- protected by a reload in the middle of the statement that makes the pass: it
# still has the old settings, so it only rehearses
policy('sweep', roles => '{apprentice}');
policy('on call', enabled => 'f', roles => '{apprentice}');
my %late = (
	sweep => 'SELECT lifeguard.run_pass()',
	'on call' => "SELECT pid, verdict, why FROM lifeguard.run_policy('on call')");
foreach my $name (sort keys %late)
{
	my $runner = LgSession->new($node);
	$boss->query('SELECT pg_advisory_lock(33)');
	$runner->send("SELECT pg_advisory_lock(33), pg_advisory_unlock(33); $late{$name}");
	lg_waits($boss, $runner) or die;
	lg_put_in_force($boss, 'pg_lifeguard.protected_roles' => 'vip') or die;
	$apprentice = idler('apprentice');    # the postmaster has told everybody by now
	my $pid = $apprentice->pid;
	ok(comes_out($apprentice, 'sweep', 'spared: protected role'), "$name: the collector knows");
	$boss->query('SELECT pg_advisory_unlock(33)');
	my $answer = $runner->answer;
	is($answer->{error}, undef, "$name: it runs");
	is(join('|', map { $_->{message} } @{ $answer->{notices} // [] }), 'policies only rehearse until this statement ends', "$name: says what it does");
	is($boss->query("SELECT outcome, signal IS NULL, reason LIKE '%; settings were reloaded since the statement began' FROM lifeguard.ledger WHERE pid = $pid AND policy = '$name'"),
		'rehearsed|t|t', "$name: as does the ledger");
	like($answer->{rows}[-1], qr/^$pid\|rehearsed\|.*; settings were reloaded since the statement began$/, "$name: and its row") if $name eq 'on call';
	is($apprentice->query('SELECT 1'), '1', "$name: it lives");

	# the next statement has them
	$boss->poll("SELECT clock_timestamp() - state_change > '300 ms' FROM pg_stat_activity WHERE pid = $pid") or die;
	$answer = $runner->send($late{$name})->answer;
	is($answer->{notices}, undef, "$name: the next one rehearses no more");
	is($answer->{rows}[-1], "$pid|spared|protected role", "$name: and spares") if $name eq 'on call';
	is($apprentice->query('SELECT 1'), '1', "$name: it lives on");
	$apprentice->close;
	$boss->query('ALTER SYSTEM RESET pg_lifeguard.protected_roles');
	lg_put_in_force($boss) or die;
	$runner->close;
}
drop('sweep', 'on call');

# --- the caller
policy('self', target => 'transaction', include_superusers => 't', enabled => 'f', min_duration => '1 ms');
$super = idler('chief');
$boss->poll("SELECT clock_timestamp() - xact_start > '2 ms' FROM pg_stat_activity WHERE pid = ${\$super->pid}");
is($super->query("SELECT verdict, why FROM lifeguard.run_policy('self') WHERE pid = pg_backend_pid()"),
	'spared|this session itself', 'whoever runs a policy is not hit');
is($super->query('SELECT 1'), '1', 'and lives');
$super->close;
drop('self');

# --- a backup: the session knows, nobody else
$clerk = LgSession->new($node, user => 'clerk');
$clerk->query("SELECT pg_backup_start('monday', true) IS NOT NULL");
policy('idlers', target => 'idle', roles => '{clerk}');
is_spared($clerk, 'idlers', 'spared: it runs a backup');
$clerk->query('SELECT lsn IS NOT NULL FROM pg_backup_stop(false)');
is_ended($clerk, 'idlers');
drop('idlers');

# --- a commit that waits for a dead standby
$boss->query('ALTER SYSTEM SET fsync = on');
$boss->query("ALTER SYSTEM SET commit_delay = 100000");
ok(lg_await_standby($boss, $node), 'no standby');
policy('busy', target => 'active', roles => '{clerk}', min_duration => '2 s');
policy('busy now', target => 'transaction', roles => '{clerk}', min_duration => '2 s');
policy('cancel', target => 'active', roles => '{clerk}', min_duration => '2 s', action => 'cancel');
my @waiting;
for my $i (1 .. 3)
{
	my $session = LgSession->new($node, user => 'clerk');
	$session->query("BEGIN; INSERT INTO till VALUES (100 + $i)");
	$session->send('COMMIT');
	push @waiting, $session;
}
my $dead = "'spared: its commit waits for a synchronous standby'";
my $pids = join ',', map { $_->pid } @waiting;
ok($boss->poll("SELECT count(*) = 9 FROM lifeguard.ledger WHERE pid IN ($pids) AND outcome = $dead"), 'each is spared by each');
ok(lg_passes($boss, 3), 'passes go on');
is($_->answer(0.01), undef, 'it still waits') foreach @waiting;
drop('busy', 'busy now', 'cancel');

# Before that wait: the commit is on its way to the disk, where commit_delay holds
# it.  Whoever was signalled, and is spared, was met there.
policy('at commit', target => 'transaction', roles => '{clerk}', min_duration => '300 ms');
my $tries = 0;
my $met = 0;
my @ends;
while (!$met && $tries++ < 20)
{
	my $session = LgSession->new($node, user => 'clerk');
	$session->query("BEGIN; INSERT INTO till VALUES (200 + $tries)");
	usleep(1000 * (240, 200, 160)[ $tries % 3 ]);    # of a slow machine some are late
	$session->send('COMMIT');
	$boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$session->pid} AND outcome <> 'signalled'") or last;
	my ($outcome, $signal) = split /\|/, $boss->query("SELECT outcome, signal FROM lifeguard.ledger WHERE pid = ${\$session->pid}");
	$met = $outcome =~ /^spared: its (commit waits|transaction is just ending)/ && $signal eq 'SIGTERM';
	like($outcome, qr/^terminated in |^spared: its (commit waits|transaction is just ending)/, 'either in time or not at all');
	push @ends, [ $session, 200 + $tries, $outcome ];
}
ok($met, "a commit on its way is spared (met at try $tries)");
drop('at commit');
$boss->query("ALTER SYSTEM RESET commit_delay");
lg_configure($boss, synchronous_standby_names => '');
is($_->answer->{error}, undef, 'it commits when the standby is forgotten') foreach @waiting;
foreach my $end (@ends)
{
	my ($session, $id, $outcome) = @$end;
	my $error = $session->answer->{error};
	my $there = $boss->query("SELECT count(*) FROM till WHERE id = $id");
	is(($error ? $error->{sqlstate} : 'none') . " $there", $outcome =~ /^spared/ ? 'none 1' : '57P01 0', "$outcome: what the client was told is true");
}
$_->close foreach @waiting, map { $_->[0] } @ends;

# --- those who are no client sessions: walsender, autovacuum, another worker
policy('roots', target => 'blocker', min_blocked => 1, min_duration => '100 ms', include_superusers => 't');
my $walsender = LgSession->new($node, parameters => { replication => 'database' });
$walsender->query('BEGIN');
$walsender->query('LOCK TABLE till');
my $waiter = LgSession->new($node, user => 'clerk');
$waiter->send('SELECT count(*) FROM till');
is_spared($walsender, 'roots', 'spared: not a client session');
is($boss->query("SELECT backend_type FROM pg_stat_activity WHERE pid = ${\$walsender->pid}"), 'walsender', 'a walsender');
$walsender->query('ROLLBACK');
$walsender->close;
is($waiter->answer->{error}, undef, 'the waiter went on');

$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE litter (id int, filler text) WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
	autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, fillfactor = 10);
INSERT INTO litter SELECT i, repeat('x', 1000) FROM generate_series(1, 300) i;
UPDATE litter SET id = 0;
GRANT ALL ON litter TO PUBLIC
END
lg_configure($boss, autovacuum => 'on');
my $vacuum = "FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%litter%'";
ok($boss->poll("SELECT count(*) = 1 $vacuum"), 'autovacuum is at it');
my $vacuum_pid = $boss->query("SELECT pid $vacuum");

# what is remembered of it touches nobody else's: each slot has a session of which
# another policy remembers something
# (of superusers too: of those it spares, at most ten a minute get an entry)
policy('witness', action => 'log', include_superusers => 't', owner => 'chief');
my @all;
while (@all < 60)
{
	my $session = LgSession->new($node, user => @all < 40 ? 'clerk' : 'chief', refused_ok => 1);
	last if $session->{refused};
	$session->query('BEGIN; SELECT 1');
	push @all, $session;
}
cmp_ok(@all, '>', 50, 'the server is full');
my $all = join ',', map { $_->pid } @all;
ok($boss->poll("SELECT count(DISTINCT pid) FROM lifeguard.ledger WHERE pid IN ($all) AND policy = 'witness'", scalar @all), 'the other policy has an entry of each');
$waiter->send('BEGIN; LOCK TABLE litter IN EXCLUSIVE MODE');
ok(comes_out($vacuum_pid, 'roots', 'spared: not a client session'), 'autovacuum is spared');
ok(lg_passes($boss, 3), 'passes go on');
is($boss->query("SELECT count(*) $vacuum AND pid = $vacuum_pid"), '1', 'it is still at it');
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE pid IN ($all) AND policy = 'witness'"), scalar @all, 'and one entry only');
$_->close foreach @all;
drop('witness');
is($boss->query("SELECT usename IS NULL, target, signal IS NULL FROM lifeguard.ledger WHERE pid = $vacuum_pid"), 't|blocker|t', 'its row');
$boss->query("SELECT pg_cancel_backend($vacuum_pid)");
is($waiter->answer->{error}, undef, 'the waiter went on');
lg_configure($boss, autovacuum => 'off');
$waiter->query('ROLLBACK');

# --- a parallel query is ended whole, by its leader; a worker alone never is
my $leader = LgSession->new($node, user => 'clerk');
$leader->query('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2');
my $workers = "FROM pg_stat_activity WHERE leader_pid = ${\$leader->pid}";
$leader->send('SELECT count(*) FROM wide WHERE parallel_nap()');
ok($boss->poll("SELECT count(*) = 2 $workers"), 'two workers');
my $worker_pids = $boss->query("SELECT array_agg(pid) $workers");
policy('long', target => 'active', roles => '{clerk}', min_duration => '600 ms');
is_ended($leader, 'long');
ok($boss->poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY ('$worker_pids')"), 'its workers ended with it');
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE pid = ANY ('$worker_pids')"), '0', 'nobody acted on a worker');
drop('long');

# a group that blocks is ended by its leader, too
$leader = LgSession->new($node, user => 'clerk');
$leader->query('SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2');
$workers = "FROM pg_stat_activity WHERE leader_pid = ${\$leader->pid}";
$leader->send('SELECT count(*) FROM wide WHERE parallel_nap()');
ok($boss->poll("SELECT count(*) = 2 $workers"), 'two workers');
$worker_pids = $boss->query("SELECT array_agg(pid) $workers");
$waiter->send('BEGIN; LOCK TABLE wide');
is_ended($leader, 'roots');
is($waiter->answer->{error}, undef, 'the waiter went on');
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE pid = ANY ('$worker_pids')"), '0', 'nobody acted on a worker');
$waiter->close;
drop('roots');

# ---------------------------------------------------------------------------
# Rights
# ---------------------------------------------------------------------------

# --- the owner's, as they are at the moment
policy('guard', owner => 'warden', roles => '{clerk}');
$clerk = idler('clerk');
is_spared($clerk, 'guard', 'not permitted');
$clerk->query('ROLLBACK');
$boss->query('GRANT clerk TO warden');
$clerk->query('BEGIN; SELECT 1');
is_ended($clerk, 'guard');
$boss->query('REVOKE clerk FROM warden');
$clerk = idler('clerk');
is_spared($clerk, 'guard', 'not permitted');
$boss->query('GRANT pg_signal_backend TO warden');
$clerk->query('ROLLBACK; BEGIN; SELECT 1');
is_ended($clerk, 'guard');

# --- granted in the middle of an episode
$boss->query('REVOKE pg_signal_backend FROM warden');
$clerk = idler('clerk');
ok(comes_out($clerk, 'guard', 'not permitted'), 'not permitted again');
$boss->query('GRANT pg_signal_backend TO warden');
is_ended($clerk, 'guard');

# --- renamed and dropped
$boss->query('ALTER ROLE warden RENAME TO keeper');
ok($boss->poll("SELECT NOT in_force AND why_not = 'its owner does not exist' FROM lifeguard.policy_status WHERE name = 'guard'"), 'an owner renamed is no owner');
$clerk = idler('clerk');
is_spared($clerk, 'guard', 'not permitted');
$boss->query('ALTER ROLE keeper RENAME TO warden');
ok($boss->poll("SELECT in_force FROM lifeguard.policy_status WHERE name = 'guard'"), 'until it has its name again');
$clerk->query('ROLLBACK; BEGIN; SELECT 1');
is_ended($clerk, 'guard');
$boss->query('DROP ROLE warden');
ok($boss->poll("SELECT NOT in_force AND why_not = 'its owner does not exist' FROM lifeguard.policy_status WHERE name = 'guard'"), 'an owner dropped is none');
$clerk = idler('clerk');
is_spared($clerk, 'guard', 'not permitted');
$clerk->close;
drop('guard');

# --- an owner who loses superuser may signal only his own
policy('guard', owner => 'second', roles => '{clerk}');
$clerk = idler('clerk');
is_ended($clerk, 'guard');
$boss->query('ALTER ROLE second NOSUPERUSER');
$clerk = idler('clerk');
is_spared($clerk, 'guard', 'not permitted');
$clerk->close;
$boss->query('ALTER ROLE second SUPERUSER');
drop('guard');

# --- a victim's role renamed is the same role; its policy names it no more
policy('guard', roles => '{porter}');
$boss->query('ALTER ROLE porter LOGIN');
my $porter = LgSession->new($node, user => 'porter');
$boss->query('ALTER ROLE porter RENAME TO doorman');
$porter->query('BEGIN; SELECT 1');
ok(lg_passes($boss, 2), 'a pass');
$boss->poll("SELECT clock_timestamp() - state_change > '600 ms' FROM pg_stat_activity WHERE pid = ${\$porter->pid}");
ok(lg_passes($boss, 2), 'and more');
is($porter->query('SELECT 1'), '1', 'its role has another name');
$boss->query('ALTER ROLE doorman RENAME TO porter');
$porter->query('ROLLBACK; BEGIN; SELECT 1');
is_ended($porter, 'guard');
drop('guard');

# --- while somebody keeps the role catalogs locked, the last resolved rights serve
# The locker asks, for nobody else may be able to.
policy('sweep');
$boss->query('CREATE ROLE fresh LOGIN');
my $fresh_roles = 0;
my $locker = LgSession->new($node);
sub locker_sees
{
	my ($session, $outcome) = @_;
	return $locker->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = ${\$session->pid} AND policy = 'sweep' AND outcome LIKE '$outcome'");
}
foreach my $lock ('LOCK TABLE pg_authid', 'LOCK TABLE pg_auth_members', 'LOCK TABLE pg_database',
	'REINDEX INDEX pg_authid_oid_index', 'REINDEX INDEX pg_authid_rolname_index', 'REINDEX INDEX pg_auth_members_member_role_index')
{
	$clerk = LgSession->new($node, user => 'clerk');
	my $first = idler('clerk');
	is_ended($first, 'sweep');    # so clerk's rights are known
	my $number = ++$fresh_roles;
	$boss->query("CREATE ROLE fresh$number LOGIN");    # what was resolved is stale
	my $fresh = LgSession->new($node, user => "fresh$number");
	ok(lg_passes($boss, 2), 'and is resolved again');
	$locker->query('SELECT count(*) FROM lifeguard.ledger; SELECT count(*) FROM lifeguard.status; SELECT count(*) FROM pg_stat_activity');
	$locker->query("BEGIN; $lock");
	$fresh->query('BEGIN; SELECT 1');    # of whom nothing is known
	$clerk->query('BEGIN; SELECT 1');
	ok(locker_sees($clerk, 'terminated in %'), "$lock: the known are acted on");
	is($locker->query("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = (SELECT collector_pid FROM lifeguard.status)"), '0', "$lock: the collector waits for nothing");
	is($fresh->query('SELECT 1'), '1', "$lock: the unknown are not");
	$locker->query('COMMIT');
	is_ended($fresh, 'sweep');
	$clerk->close;
}

# whose role was never looked up is spared until it can be
my $unknown = LgSession->new($node, user => 'fresh');
drop('sweep');
policy('sweep');    # nothing is resolved for the new set of policies
$locker->query('SELECT lifeguard.run_pass()');
$locker->query('BEGIN; LOCK TABLE pg_authid');
$unknown->query('BEGIN; SELECT 1');
ok(locker_sees($unknown, 'spared: its role or database could not be looked up'), 'an unknown role is spared');
is($unknown->query('SELECT 1'), '1', 'and lives');
$locker->query('COMMIT');
is_ended($unknown, 'sweep');

# but not against what has been protected meanwhile
foreach my $protected (q(protected_roles = 'clerk'), q(protected_applications = 'lgtest'))
{
	$clerk = LgSession->new($node, user => 'clerk');
	is_ended(idler('clerk'), 'sweep');
	$locker->query('SELECT count(*) FROM lifeguard.ledger; SELECT count(*) FROM lifeguard.status');
	$locker->query('BEGIN; LOCK TABLE pg_authid');
	my $mark = $locker->query('SELECT extract(milliseconds FROM fast_interval)::int FROM lifeguard.status') + 1;
	$node->append_conf('postgresql.auto.conf', "pg_lifeguard.$protected\npg_lifeguard.fast_interval = ${mark}ms");
	$node->reload;
	ok($locker->poll("SELECT fast_interval = '$mark ms' FROM lifeguard.status"), "$protected: the collector has heard of it");
	$clerk->query('BEGIN; SELECT 1');
	ok(locker_sees($clerk, 'spared: %'), "$protected: nobody is hit before it has been looked up");
	is($clerk->query('SELECT 1'), '1', "$protected: it lives");
	$locker->query('COMMIT');
	lg_passes($locker, 3);
	is($clerk->query('SELECT 1'), '1', "$protected: afterwards, too");
	$node->append_conf('postgresql.auto.conf', ($protected =~ /(\w+)/ ? "pg_lifeguard.$1 = ''" : ''));
	$node->reload;
	is_ended($clerk, 'sweep');
}
$locker->close;

# --- the policy table locked: the last published set stays in force
$locker = LgSession->new($node);
$locker->query('BEGIN; LOCK TABLE lifeguard.policy');
$clerk = idler('clerk');
is_ended($clerk, 'sweep');
my $since = time;
while (time - $since < ($ENV{LG_LONG} ? 12 : 3))
{
	$clerk = idler('clerk');
	is_ended($clerk, 'sweep');
}
is($locker->query("SELECT in_force FROM lifeguard.policy_status WHERE name = 'sweep'"), 't', 'in force all the while');
$locker->query('COMMIT');
$locker->close;

# --- a value that cannot be taken when the server starts, which takes its default then:
# whom to spare is not known, so nobody is acted on
foreach my $bad (q(protected_roles = 'clerk, "x'), q(protected_applications = 'lgtest, "x'), 'enforce = offf')
{
	my ($name) = $bad =~ /(\w+)/;
	my $offset = -s $node->logfile;
	$boss->close;
	$node->append_conf('postgresql.auto.conf', "pg_lifeguard.$bad");
	$node->restart;
	$boss = LgSession->new($node);
	$node->wait_for_log(qr/WARNING: .*signals no session until the server is restarted\n.*DETAIL:  The value of "pg_lifeguard\.$name" is invalid/, $offset);
	ok($boss->poll("SELECT why_not LIKE 'pg_lifeguard.enforce is off%' FROM lifeguard.policy_status WHERE name = 'sweep'"), "$bad: policies only rehearse");
	$clerk = idler('clerk');
	ok(comes_out($clerk, 'sweep', 'rehearsed'), "$bad: nobody is hit");
	is($clerk->query('SELECT 1'), '1', "$bad: it lives");
	$clerk->close;
	$node->append_conf('postgresql.auto.conf', $name eq 'enforce' ? 'pg_lifeguard.enforce = on' : "pg_lifeguard.$name = ''");
	ok(lg_put_in_force($boss, 'pg_lifeguard.fast_interval' => '40ms'), "$bad: corrected, and reloaded");
	is($boss->query('SHOW pg_lifeguard.enforce'), 'off', "$bad: not before a restart");
}
$boss->close;
$node->restart;
$boss = LgSession->new($node);
is_ended(idler('clerk'), 'sweep');
drop('sweep');

$boss->close;
$node->stop;
is(lg_log_complaints($node, allow => qr/WARNING:  (?:canceling wait|there is no|aborting backup|(?:invalid value for )?parameter "pg_lifeguard|pg_lifeguard signals no session)/), '', 'nothing bad in the log');

done_testing();
