# Policies at work: the harm they ask for, whom they take first, and where they
# stop: limits, marks of the pool, schedules, standbys, by hand.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('limits',
	init => { allows_streaming => 1 },
	conf => <<'END');
max_connections = 28
superuser_reserved_connections = 3
log_line_prefix = '%m [%p] '
compute_query_id = on
hot_standby_feedback = off
pg_lifeguard.sample_interval = 0
pg_lifeguard.max_actions_per_minute = 0
END
my $boss = LgSession->new($node);
my $me = $boss->query('SELECT current_user');
$boss->query($_) foreach split /;\n/, <<'END';
CREATE DATABASE other;
CREATE ROLE app LOGIN;
CREATE ROLE warden LOGIN IN ROLE pg_signal_backend;
CREATE ROLE clerk LOGIN;
GRANT EXECUTE ON FUNCTION lifeguard.run_policy, lifeguard.preview_policy TO warden, clerk;
CREATE TABLE a AS SELECT 1 AS id;
CREATE TABLE b AS SELECT 1 AS id;
CREATE TABLE c AS SELECT 1 AS id;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app
END

sub client
{
	my ($application, %do) = @_;
	my $session = LgSession->new($do{node} // $node,
		user => 'app',
		parameters => { application_name => $application },
		%{ $do{options} // {} });
	$session->query($do{done}) if $do{done};
	$session->send($do{doing}) if $do{doing};
	return $session;
}

# True once a session is gone.
sub gone
{
	my ($session, $limit) = @_;
	my $answer = $session->answer($limit // 0.2);
	return $answer && ($answer->{error}{sqlstate} // '') eq '57P01';
}

# Which of some named sessions a policy would act on, and what is said of the rest.
sub preview
{
	my ($policy, %sessions) = @_;
	my %name_of = map { $sessions{$_}->pid => $_ } keys %sessions;
	my @rows = map { [ split /\|/, $_, 3 ] } split /\n/,
	  $boss->query("SELECT pid, verdict, why FROM lifeguard.preview_policy('$policy')");
	return join ', ', sort map { ($name_of{ $_->[0] } // 'somebody') . ($_->[1] eq 'spared' ? ": $_->[2]" : '') } @rows;
}

sub outcomes
{
	my ($policy, @sessions) = @_;
	return join ', ', map { lg_outcome($boss, $policy, $_->pid) } @sessions;
}

sub waits_for_slots
{
	my ($used) = @_;
	# a session leaves pg_stat_activity before its slot is free
	return $boss->poll('SELECT used FROM lifeguard.connections', $used);
}

my %harm = (min_duration => '0 s', applications => ['h'], enabled => 'f');
my $hour = $boss->query("SELECT extract(hour FROM now() AT TIME ZONE 'UTC')::int");
my ($next_hour, $far_hour) = (($hour + 1) % 24, ($hour + 12) % 24);
lg_define($boss,
	'horizon 1' => { %harm, min_horizon_age => 1 },
	'horizon 5' => { %harm, min_horizon_age => 5 },
	'horizon 6' => { %harm, min_horizon_age => 6 },
	'blocked 3' => { %harm, min_blocked => 3 },
	'blocked for 1 ms' => { %harm, min_blocked_for => '1 ms' },
	'blocked for 1 h' => { %harm, min_blocked_for => '1 h' },
	longest => { %harm, min_duration => '1 ms', max_per_pass => 1 },
	youngest => { %harm, min_duration => '1 ms', max_per_pass => 1, victim_order => 'youngest' },
	'most blocking' => { %harm, min_duration => '1 ms', max_per_pass => 1, victim_order => 'most blocking' },
	'all but oldest' => { %harm, min_duration => '1 ms', victim_order => 'all but oldest' },
	'stampede 4' => { target => 'active', action => 'cancel', applications => ['s'], min_same_query => 4, victim_order => 'all but oldest' },
	'stampede 5' => { target => 'active', action => 'cancel', applications => ['s'], min_same_query => 5, victim_order => 'all but oldest' },
	'per pass' => { max_per_pass => 2 },
	'cooling' => { max_per_pass => 1, cooldown => '1 h' },
	'per minute' => { max_per_minute => 3 },
	disabled => { enabled => 'f' },
	scheduled => { schedule => "* $far_hour * * *", time_zone => 'UTC' },
	excepted => { except_schedule => "* $hour,$next_hour * * *", time_zone => 'UTC' },
	'on standbys' => { runs_on => 'standby', applications => [ 'on standbys', 'far' ] },
	'on both' => { runs_on => 'both', applications => ['both'] },
	'on primaries' => { applications => [ 'on primaries', 'far primary' ] });

# the standby is for the end; until then it gets ready
my $standby = PostgreSQL::Test::Cluster->new('follower');
$node->backup('base');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "pg_lifeguard.sample_interval = 1s");
$standby->start;

# ------------------------------------------------------------------ kinds of harm
my %s;
$s{old} = client('h', done => 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$boss->query('SELECT txid_current()') foreach 1 .. 3;
$s{newer} = client('h', done => 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
$s{none} = client('h', done => 'BEGIN; SELECT 1');
$boss->query('SELECT txid_current()') foreach 1 .. 2;
lg_grown_old($boss);
my $horizon = 'it does not hold the horizon back, or not so far';
is(preview('horizon 1', %s), "newer: $horizon, none: $horizon, old", 'min_horizon_age: only who holds it back');
is(preview('horizon 5', %s), "newer: $horizon, none: $horizon, old", 'min_horizon_age: and so far');
is(preview('horizon 6', %s), "newer: $horizon, none: $horizon, old: $horizon", 'min_horizon_age: not farther');
$_->close foreach values %s;
waits_for_slots(1);

%s = map { $_ => client('h', done => "BEGIN; LOCK TABLE $_") } qw(a b c);
my @waiters = (client('w', doing => 'SELECT FROM a'), client('w', done => 'BEGIN; SELECT pg_advisory_lock(1)', doing => 'SELECT FROM b'));
lg_waits($boss, @waiters);
push @waiters, client('w', doing => 'SELECT pg_advisory_lock(1)'), map { client('w', doing => "SELECT FROM $_") } qw(b c c);
lg_waits($boss, @waiters);
lg_grown_old($boss);
is(preview('blocked 3', %s), 'a: 1 wait for it, min_blocked is 3, b, c: 2 wait for it, min_blocked is 3', 'min_blocked: through others too');
is(preview('blocked for 1 ms', %s), 'a, b, c', 'min_blocked_for');
is(preview('blocked for 1 h', %s), join(', ', map { "$_: nobody has waited for it for longer than 1 h" } qw(a b c)), 'min_blocked_for: not so long');
is(preview('longest', %s), 'a, b: over limit, c: over limit', 'longest');
is(preview('youngest', %s), 'a: over limit, b: over limit, c', 'youngest');
is(preview('most blocking', %s), 'a: over limit, b, c: over limit', 'most blocking');
is(preview('all but oldest', %s), 'a: the oldest is left, b, c', 'all but oldest');
$_->query('COMMIT') foreach values %s;
$_->close foreach values %s, @waiters;
waits_for_slots(1);

my @crowd = map { my $s = client('s', doing => 'SELECT pg_sleep(60)'); $boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = " . $s->pid); $s } 1 .. 4;
my $elsewhere = client('s', options => { dbname => 'other' }, doing => 'SELECT pg_sleep(60)');
my $another = client('s', doing => 'SELECT pg_sleep(60), 1');
$boss->poll("SELECT count(*) = 6 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
lg_grown_old($boss);
lg_run_pass($boss);
is(outcomes('stampede 4', @crowd), 'none, cancelled in N ms, cancelled in N ms, cancelled in N ms', 'a stampede: the oldest is left');
is(outcomes('stampede 4', $elsewhere, $another), 'none, none', 'a stampede: nor another database, or query');
is(outcomes('stampede 5', @crowd), 'none, none, none, none', 'a stampede: that is none');
like($crowd[1]->answer->{error}{detail}, qr/; 4 sessions run that query\.$/, 'a stampede: told');
$boss->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 's'");
waits_for_slots(1);

# ------------------------------------------------------------------------ limits
my @five = map { client('per pass', done => 'BEGIN') } 1 .. 5;
my @three = map { client('cooling', done => 'BEGIN') } 1 .. 3;
lg_grown_old($boss);
lg_run_pass($boss);
is(outcomes('per pass', @five), 'terminated in N ms, terminated in N ms, over limit, over limit, over limit', 'max_per_pass: the longest');
is(outcomes('cooling', @three), 'terminated in N ms, over limit, over limit', 'cooldown: one');
lg_run_pass($boss) foreach 1 .. 2;
is(outcomes('per pass', @five), join(', ', ('terminated in N ms') x 5), 'max_per_pass: the others in further passes');
is(outcomes('cooling', @three), 'terminated in N ms, over limit, over limit', 'cooldown: no more');
is($boss->query("SELECT count(*), count(DISTINCT pid) FROM lifeguard.ledger WHERE policy IN ('per pass', 'cooling')"), '8|8', 'one row per episode');
is($boss->query("SELECT name, actions_last_minute, last_action > now() - interval '1 min', over_limit FROM lifeguard.policy_status WHERE name IN ('per pass', 'cooling') ORDER BY 1"),
	"cooling|1|t|2\nper pass|5|t|3", 'policy_status counts');
$_->close foreach @three;
@five = map { client('per minute', done => 'BEGIN') } 1 .. 5;
lg_grown_old($boss);
lg_run_pass($boss) foreach 1 .. 3;
is(outcomes('per minute', @five), 'terminated in N ms, terminated in N ms, terminated in N ms, over limit, over limit', 'max_per_minute');
$_->close foreach @five;

# -------------------------------------------- not in force, and how that is told
%s = map { $_ => client($_, done => 'BEGIN') } ('disabled', 'scheduled', 'excepted', 'on standbys', 'on primaries', 'both');
lg_grown_old($boss);
lg_run_pass($boss);
is(outcomes('on primaries', $s{'on primaries'}) . ', ' . outcomes('on both', $s{both}), 'terminated in N ms, terminated in N ms', 'in force');
is(outcomes($_, $s{$_}) . ', ' . $s{$_}->query('SELECT 1'), 'none, 1', "not in force: $_") foreach 'disabled', 'scheduled', 'excepted', 'on standbys';
is($boss->query(<<"END"), <<'END' =~ s/\n$//r, 'policy_status says why not');
SELECT name, in_force, why_not, paused_until IS NULL,
	extract(hour FROM next_in_force AT TIME ZONE 'UTC') IN (CASE name WHEN 'scheduled' THEN $far_hour WHEN 'excepted' THEN ($next_hour + 1) % 24 ELSE $hour END,
		CASE name WHEN 'on standbys' THEN $next_hour END),
	published_at BETWEEN now() - interval '5 min' AND now()
FROM lifeguard.policy_status WHERE name IN ('disabled', 'scheduled', 'excepted', 'on standbys') ORDER BY 1
END
disabled|f|it is disabled|t||t
excepted|f|it is outside its schedule|t|t|t
on standbys|f|it runs on standbys only|t|t|t
scheduled|f|it is outside its schedule|t|t|t
END
is($boss->query("SELECT in_force, why_not, actions_last_minute, over_limit FROM lifeguard.policy_status WHERE name = 'on primaries'"), 't||1|0', 'and that one is');

# ----------------------------------------------------------------------- by hand
sub run_rows
{
	my ($by, $call) = @_;
	my $rows = $by->query("SELECT pid, gid IS NULL, verdict, why FROM lifeguard.$call WHERE why <> 'another application'");
	$rows =~ s/ in \d+ ms/ in N ms/g;
	$rows =~ s/ for \d+(\.\d)? m?s/ for N/g;
	return $rows;
}
my $pid = $s{scheduled}->pid;
lg_grown_old($boss);
is(run_rows($boss, "preview_policy('scheduled')"), "$pid|t|terminate|idle in transaction for N", 'preview: whatever the schedule')
  or diag $boss->query("SELECT * FROM lifeguard.preview_policy('scheduled')");
is(run_rows($boss, "run_policy('scheduled', rehearse => true)"), "$pid|t|rehearsed|idle in transaction for N", 'run_policy: a rehearsal');
is(run_rows($boss, "run_policy('scheduled', NULL)"), "$pid|t|rehearsed|idle in transaction for N", 'run_policy: NULL rehearses');
is(lg_ledger($boss, 'scheduled', $pid, 'repeats') . $s{scheduled}->query('SELECT 1'), '21', 'run_policy: which touches nobody');
lg_grown_old($boss);
lg_put_in_force($boss, 'pg_lifeguard.enforce' => 'off') or die;
is(run_rows($boss, "run_policy('scheduled')"), "$pid|t|rehearsed|idle in transaction for N", 'run_policy: enforce = off');
is($boss->query("SELECT in_force, why_not FROM lifeguard.policy_status WHERE name = 'cooling'"), 'f|pg_lifeguard.enforce is off: it only rehearses', 'enforce = off: policy_status');
lg_put_in_force($boss, 'pg_lifeguard.enforce' => 'on') or die;
is(run_rows($boss, "run_policy('scheduled')"), "$pid|t|terminated in N ms|idle in transaction for N", 'run_policy: whatever the schedule');
ok(gone($s{scheduled}, 10), 'run_policy: it is gone');
$pid = $s{disabled}->pid;
is(run_rows($boss, "run_policy('disabled')"), "$pid|t|terminated in N ms|idle in transaction for N", 'run_policy: disabled or not');
is(run_rows($boss, "run_policy('disabled')"), '', 'run_policy: nobody left');
my @late = map { client('cooling', done => 'BEGIN') } 1 .. 2;
lg_grown_old($boss);
is(run_rows($boss, "run_policy('cooling')"), join("\n", map { $_->pid . '|t|spared|over limit' } @late), 'run_policy: limits hold');
$_->close foreach @late;

# what is just being read counts as not yet published
my ($writer, $locker) = map { LgSession->new($node) } 1 .. 2;
$writer->query("BEGIN; SELECT lifeguard.create_policy('new', 'idle', '1 h')");
$locker->send('BEGIN; LOCK TABLE lifeguard.policy');
lg_waits($boss, $locker);
$writer->query('COMMIT');
ok($boss->poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper' AND wait_event_type = 'Lock'"), 'the keeper waits for the table');
ok(!$boss->send("SELECT count(*) >= 0 FROM lifeguard.preview_policy('new')")->answer(0.1), 'preview waits until a new policy is published');
$locker->answer;
$locker->query('COMMIT');
my $found = $boss->answer;
is($found->{error} ? $found->{error}{message} : $found->{rows}[0], 't', 'and finds it');
$_->close foreach $writer, $locker;

my %asks = map { $_ => LgSession->new($node, user => $_) } qw(warden clerk);
$boss->query("SELECT lifeguard.create_policy('of warden', 'idle in transaction', '1 ms', applications => '{mine}', action => 'terminate', enabled => false, owner => 'warden', max_per_pass => 0, cooldown => '0 s')");
$s{mine} = client('mine', done => 'BEGIN');
$s{boss} = client('mine', options => { user => $me }, done => 'BEGIN');
lg_grown_old($boss);
is($asks{clerk}->query("SELECT pid, gid IS NULL, verdict, why FROM lifeguard.preview_policy('of warden') WHERE pid = " . $s{mine}->pid), $s{mine}->pid . '|t|terminate|<insufficient privilege>', 'preview: masked');
my $shown = "SELECT count(*) > 0, bool_or(reason IS NOT NULL), bool_or(state IS NOT NULL) FROM lifeguard.ledger WHERE policy = 'scheduled'";
is($asks{clerk}->query($shown), 't|f|f', 'the ledger: what a policy has seen of a session is masked');
is($boss->query($shown), 't|t|t', 'but not for whoever may see it');
my $error = $asks{clerk}->error_of("SELECT lifeguard.run_policy('of warden')");
is("$error->{sqlstate} $error->{message}", '42501 must be owner of policy "of warden"', "run_policy: owner's rights");
$error = $asks{warden}->error_of("SELECT lifeguard.run_policy('disabled')");
is("$error->{sqlstate} $error->{message}", '42501 must be owner of policy "disabled"', "run_policy: not a superuser's");
is($asks{warden}->query("SELECT pid, regexp_replace(verdict, '\\d+ ms', 'N ms') FROM lifeguard.run_policy('of warden') WHERE pid IN (" . $s{mine}->pid . ', ' . $s{boss}->pid . ") ORDER BY verdict DESC"),
	$s{mine}->pid . "|terminated in N ms\n" . $s{boss}->pid . '|spared', 'run_policy: its owner may, and only with his rights');
is(outcomes('of warden', $s{boss}), 'spared: superuser', 'run_policy: a superuser is spared');
my %errors = ("run_policy('nobody')" => '42704 policy "nobody" does not exist', "preview_policy('nobody')" => '42704 policy "nobody" does not exist',
	'run_policy(NULL)' => '22004 name of the policy must not be null', 'preview_policy(NULL)' => '22004 name of the policy must not be null');
foreach my $call (sort keys %errors)
{
	$error = $boss->error_of("SELECT lifeguard.$call");
	is("$error->{sqlstate} $error->{message}", $errors{$call}, $call);
}
$_->close foreach values %s, values %asks;

# -------------------------------------------------------------------- the standby
# its keeper looks every 10 s; all but the newest policies were there at the start
my $far = LgSession->new($standby);
$far->poll("SELECT count(*) FROM lifeguard.policy_status WHERE name = 'on standbys'", 1);
my ($far_victim, $far_other) = (client('far', node => $standby, done => 'BEGIN'), client('far primary', node => $standby, done => 'BEGIN'));
ok($far->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE policy = 'on standbys' AND outcome ~ '^terminated in' AND recorded_on = 'standby'"), "a standby's policy acts on the standby");
ok(gone($far_victim, 10), "a standby's policy: the victim is gone");
lg_passes($far, 2);
is($far_other->query('SELECT 1'), '1', 'others do not');
is($far->query("SELECT name, why_not FROM lifeguard.policy_status WHERE name IN ('on primaries', 'on standbys', 'on both') ORDER BY 1"), "on both|\non primaries|it runs on primaries only\non standbys|", 'policy_status on a standby');
$far_other->close;
$far->close;
$standby->stop;

# ------------------------------------------------------------- marks of the pool
# 25 slots: above 20, until fewer than 14 (0.56 * 25 is not 14 to a computer)
lg_drop($boss);
waits_for_slots(1);
lg_define($boss, pool => {
		target => 'idle', min_duration => '1 s', applications => [ 'one', 'two' ], keep => 3, max_per_pass => 4,
		connections_above => 0.8, connections_until => 0.56 },
	full => { applications => [ 'one', 'two', 'x' ], connections_above => 0.8, include_superusers => 't', enabled => 'f' });
my @one = map { client('one') } 1 .. 6;
my @two = map { client('two') } 1 .. 12;
$boss->query('SELECT pg_sleep(1.1)');
lg_run_pass($boss);
is($boss->query("SELECT count(*) FROM lifeguard.ledger WHERE policy = 'pool'"), '0', 'below the mark: nobody');
my @young = map { client('two') } 1 .. 2;
is($boss->query('SELECT used, usable FROM lifeguard.connections'), '21|25', 'above the mark');
like($boss->query("SELECT string_agg(DISTINCT why, ', ') FROM lifeguard.preview_policy('pool') WHERE verdict = 'spared' AND pid IN (" . join(',', map { $_->pid } @young, $one[5]) . ')'),
	qr/^3 are kept of its kind, not for longer than 1 s$/, 'why some are spared');
lg_run_pass($boss);
waits_for_slots(17);
is(join('', map { gone($_) ? 'x' : '.' } @one, @two, @young), 'xxx...x.............', 'the longest go first, but for those that are kept');
lg_run_pass($boss);
waits_for_slots(13);
lg_run_pass($boss);
is(join('', map { gone($_) ? 'x' : '.' } @one[3 .. 5], @two[1 .. 11], @young), '...xxxx.........', 'on below the upper mark, until below the lower, and no farther');
push @young, map { client('x') } 1 .. 3;
$boss->query('SELECT pg_sleep(1.1)');
lg_run_pass($boss);
is($boss->query("SELECT count(*), count(*) FILTER (WHERE outcome ~ '^terminated') FROM lifeguard.ledger WHERE policy = 'pool'"), '8|8', 'between the marks it does not begin again');
$_->close foreach @one, @two, @young;
waits_for_slots(1);

# ------------------ two policies in one pass: neither ends whom the other one keeps
{
	my @pool = map { client('pool') } 1 .. 3;
	lg_drop($boss);
	lg_define($boss, map { $_ => { target => 'idle', applications => ['pool'], keep => 1, victim_order => $_ } } qw(longest youngest));
	lg_grown_old($boss);
	lg_run_pass($boss);
	waits_for_slots(2);
	is(scalar(grep { gone($_) } @pool), 2, 'one is left');
	$_->close foreach @pool;
	waits_for_slots(1);
}

# ------------------------------------------ the limit over all, and its exceptions
lg_drop($boss);
lg_configure($boss, 'pg_lifeguard.max_actions_per_minute' => 2);
$boss->close;
$node->restart;    # so that none counts that was before
$boss = LgSession->new($node);
lg_define($boss, many => {}, pool2 => { target => 'idle', connections_above => 0.1 }, stampede => { target => 'active', action => 'cancel', victim_order => 'all but oldest' });
%s = map { ("many$_" => client('many', done => 'BEGIN'), "pool$_" => client('pool2'), "stampede$_" => client('stampede', doing => 'SELECT pg_sleep(60)')) } 1 .. 3;
$boss->poll("SELECT count(*) = 3 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
lg_grown_old($boss);
lg_run_pass($boss);
is($boss->query("SELECT policy, count(*) FILTER (WHERE outcome ~ '^(signalled|terminated|cancelled)'), count(*) FILTER (WHERE outcome = 'over limit') FROM lifeguard.ledger WHERE policy IN ('many', 'pool2', 'stampede') GROUP BY 1 ORDER BY 1"),
	"many|2|1\npool2|3|0\nstampede|2|0", 'max_actions_per_minute, which does not count those that close many');
$boss->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stampede'");
$_->close foreach values %s;
waits_for_slots(1);

# ------------------------------------------- what the collector does without being asked
lg_drop($boss);
lg_configure($boss, 'pg_lifeguard.max_actions_per_minute' => 0, 'pg_lifeguard.sample_interval' => '1s');
ok(lg_passes($boss, 2), 'the collector makes passes');
my $victim = client('soon', done => 'BEGIN');
my $began = time;
$boss->query("SELECT lifeguard.create_policy('soon', 'idle in transaction', '100 ms', applications => '{soon}', action => 'terminate')");
my $answer = $victim->answer;
is($answer && $answer->{error}{sqlstate}, '57P01', 'a new policy acts without being asked');
diag sprintf 'a new policy acted after %.0f ms', 1000 * (time - $began);

lg_configure($boss, 'pg_lifeguard.sample_interval' => '60s');
$boss->poll('SELECT pg_sleep(0.1) IS NOT NULL AND setting::int = 60000 FROM pg_settings WHERE name = \'pg_lifeguard.sample_interval\'');
lg_drop($boss);
$victim = client('calm', done => 'BEGIN');
$began = time;
lg_define($boss, calm => { min_duration => '10 ms' });
$answer = $victim->answer(45);
is($answer && $answer->{error}{sqlstate}, '57P01', 'and does not wait for sample_interval');
diag sprintf 'it acted after %.0f ms', 1000 * (time - $began);

# a limit in time would make it look more often
lg_drop($boss);
lg_define($boss, wake => { target => 'idle', connections_above => 0.4, min_duration => '0 s' });
my @crew = map { client('wake') } 1 .. 9;
$boss->poll("SELECT count(*) = 9 FROM pg_stat_activity WHERE application_name = 'wake' AND state = 'idle'");
$began = time;
push @crew, client('wake');
$answer = $crew[0]->answer(45);
is($answer && $answer->{error}{sqlstate}, '57P01', 'a session that authenticates above the mark wakes the collector');
diag sprintf 'the collector acted after %.0f ms', 1000 * (time - $began);
$boss->query('SELECT lifeguard.run_pass()') foreach 1 .. 2;
is(join('', map { gone($_) ? 'x' : '.' } @crew[1 .. 9]), '.........', 'and one is enough');
$_->close foreach @crew;

$boss->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');
is(lg_log_complaints($standby), '', "nor in the standby's");
done_testing();
