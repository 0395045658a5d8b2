# lifeguard.metrics: every figure against the truth by another way, names and types as
# OpenMetrics wants them, without rights, without preloading; scraped by the real
# exporter; the alerts, the dashboard and what is said of both; the forecast of slots.
#
# Prometheus and its exporter are in the folder that LG_CLIENTS names, unpacked by
# script/setup, or installed; LG_LACKING says why not, where they could not be had.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use LgClock;
use LgTest;
use LgUnit;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $limit = $PostgreSQL::Test::Utils::timeout_default;
my $lacking = 'is not installed' . ($ENV{LG_LACKING} ? " ($ENV{LG_LACKING})" : '');
$ENV{PATH} .= ":$ENV{LG_CLIENTS}/usr/bin" if $ENV{LG_CLIENTS};

# The metrics as a role sees them: { 'name{label="value"}' => value }.
sub metrics
{
	my ($session) = @_;
	my %value;

	foreach my $row (split /\n/, $session->query(<<'END'))
SELECT name || COALESCE('{' || (SELECT string_agg(format('%s="%s"', key, value), ',') FROM jsonb_each_text(labels)) || '}', ''), value
FROM lifeguard.metrics
END
	{
		my ($sample, $value) = $row =~ /^pg_lifeguard_(.*)\|(.*)$/ or die "not ours: $row\n";
		die "twice: $sample\n" if exists $value{$sample};
		$value{$sample} = $value;
	}
	return \%value;
}

# Of a metric with one label: { label => value }.
sub by_label
{
	my ($metrics, $name) = @_;
	return { map { /^\Q$name\E\{\w+="(.*)"\}$/ ? ($1 => $metrics->{$_}) : () } keys %$metrics };
}

# Rows of two columns as a hash.
sub pairs
{
	my ($session, $sql) = @_;
	return { map { split /\|/, $_, 2 } split /\n/, $session->query($sql) };
}

sub epoch { return $_[0]->query('SELECT extract(epoch FROM clock_timestamp())'); }

sub between
{
	my ($value, $low, $high, $name) = @_;
	ok(defined $value && $value >= $low - 1e-6 && $value <= $high + 1e-6, $name)
	  or diag(join ' ', "not $low <=", $value // 'nothing', "<= $high");
	return;
}

my $node = lg_server('metrics', conf => <<'END');
max_connections = 40
pg_lifeguard.sample_interval = 100ms
pg_lifeguard.flush_interval = 100ms
deadlock_timeout = 10min
compute_query_id = on
END
my $eye = LgSession->new($node, parameters => { application_name => 'eye' });
$eye->query('CREATE TABLE till (id int)');
$eye->query('CREATE ROLE nobody LOGIN');
$eye->query('CREATE ROLE clerk LOGIN; GRANT ALL ON till TO clerk');
$eye->query('CREATE ROLE crowd LOGIN CONNECTION LIMIT 0');
ok(lg_passes($eye, 3), 'passes');
ok($eye->poll('SELECT extract(second FROM clock_timestamp()) < 45'), 'the minute does not turn in the scene');

# --- names, types, helps
my $calm = metrics($eye);
my %type = %{ pairs($eye, "SELECT DISTINCT regexp_replace(name, CASE type WHEN 'histogram' THEN '_(bucket|sum|count)\$' ELSE '^\$' END, ''), type FROM lifeguard.metrics") };
my %help = %{ pairs($eye, "SELECT DISTINCT regexp_replace(name, CASE type WHEN 'histogram' THEN '_(bucket|sum|count)\$' ELSE '^\$' END, ''), help FROM lifeguard.metrics") };
my @names = sort keys %type;
cmp_ok(scalar @names, '<=', 25, 'at most 25 names');
cmp_ok(scalar @names, '>=', 20, 'and those that are meant');
is(join(' ', grep { !/^pg_lifeguard_[a-z]+(_[a-z]+)*$/ } @names), '', 'all in one namespace, in plain letters');
is(join(' ', grep { $type{$_} !~ /^(?:counter|gauge|histogram)$/ } @names), '', 'types');
is(join(' ', grep { ($type{$_} eq 'counter') != /_total$/ } @names), '', 'counters end in _total, and nothing else does');
is(join(' ', grep { /(?:_bucket|_sum|_count|_created|_info)$/ } @names), '', 'nobody takes the name of a part of a histogram');
is(join(' ', grep { /milli|micro|minutes|hours|_ms\b|percent/ } @names), '', 'base units');
is(join(' ', grep { ($help{$_} // '') !~ /^[A-Z].*[^.]$/ } @names), '', 'each has a help');
is($eye->query('SELECT count(*) - count(DISTINCT (name, labels)) FROM lifeguard.metrics'), '0', 'no sample twice');
is($eye->query("SELECT count(*) FROM lifeguard.metrics WHERE labels IS NULL OR jsonb_typeof(labels) <> 'object' OR value IS NULL"), '0', 'labels and values');
is($calm->{up}, 1, 'up');
is($calm->{incident}, 0, 'no incident');
is($calm->{idle_in_transaction_longest_seconds}, 0, 'nobody idle in transaction');
is($calm->{connections_full_in_seconds}, 'Infinity', 'no forecast');

# --- a scene: each state, a queue, some refused, one slow to log in
my $counted = $calm->{connection_setup_seconds_count};
my $slow_before = $calm->{'connection_setup_seconds_bucket{le="0.256"}'};
my @idle = map { LgSession->new($node, user => 'clerk') } 1 .. 3;
my ($holder, $aborted, $sleeper, @waiters) = map { LgSession->new($node, user => 'clerk') } 1 .. 8;
$holder->query('BEGIN; LOCK TABLE till');
my $held_since = $eye->query('SELECT extract(epoch FROM state_change) FROM pg_stat_activity WHERE pid = ' . $holder->pid);
$aborted->query('BEGIN');
$aborted->error_of('SELECT 1/0');
$sleeper->send('SELECT pg_sleep(600)');
$_->send('SELECT count(*) FROM till') foreach @waiters;
{
	# the clock of a connection starts with its process, which waits for the packet
	my $socket = $node->raw_connect;
	my $packet = pack('N', 3 << 16) . "user\0clerk\0database\0postgres\0\0";
	usleep(800_000);
	syswrite $socket, pack('N', 4 + length $packet) . $packet;
	my $read = '';
	sysread $socket, $read, 4096, length $read until $read =~ /Z\0\0\0\x05I/;
	syswrite $socket, 'X' . pack('N', 4);
}
foreach (1 .. 7)
{
	my $turned_away = LgSession->new($node, user => 'crowd', refused_ok => 1);
	is($turned_away->{refused}{sqlstate}, '53300', 'turned away');
	$turned_away->close;
}
ok($eye->poll("SELECT count(*) = 5 FROM pg_locks WHERE NOT granted"), 'five wait');
ok($eye->poll("SELECT count(*) = 12 FROM pg_stat_activity WHERE backend_type = 'client backend'"), 'and nobody is there by chance');
my $waited_from = $eye->query('SELECT extract(epoch FROM clock_timestamp()), extract(epoch FROM min(waitstart)) FROM pg_locks WHERE NOT granted');
ok(lg_passes($eye, 3), 'passes see it');

# from now on passes only by hand: nothing but the clock moves
lg_configure($eye, 'pg_lifeguard.sample_interval' => 0);
ok($eye->poll("SELECT collector = 'on demand' FROM lifeguard.status"), 'passes on demand');
is($eye->query('SELECT lifeguard.run_pass()'), '', 'a pass');
my ($before, $scene, $after) = (epoch($eye), metrics($eye), epoch($eye));

is_deeply(by_label($scene, 'connections_by_state'), {
	%{ pairs($eye, "SELECT state, count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1") }, other => 0 },
	'connections by state');
is($scene->{'connections_by_state{state="active"}'}, 7, 'the sleeper, the waiters and who asks');
is($scene->{connections_used}, 12, 'used');
is($scene->{connections_max}, $eye->query('SHOW max_connections'), 'max');
is($scene->{connections_usable}, 37, 'usable');
is("$scene->{connections_high_water}", $eye->query('SELECT high_water FROM lifeguard.connections'), 'high water');
cmp_ok($scene->{connections_high_water}, '>=', 12, 'which is no less than what there is');
is($scene->{waiters}, 5, 'waiters');
is($scene->{blockers}, $eye->query('SELECT count(DISTINCT b) FROM pg_locks, unnest(pg_blocking_pids(pid)) b WHERE NOT granted AND b NOT IN (SELECT pid FROM pg_locks WHERE NOT granted)'), 'blockers');
my ($asked, $wait_start) = split /\|/, $waited_from;
between($scene->{longest_wait_seconds}, $asked - $wait_start, $before - $wait_start, 'longest wait, when the newest pass looked');
between($scene->{idle_in_transaction_longest_seconds}, $before - $held_since, $after - $held_since, 'longest idle in transaction, now');
my $last_pass = $eye->query('SELECT extract(epoch FROM last_pass) FROM lifeguard.status');
between($scene->{last_pass_age_seconds}, $before - $last_pass, $after - $last_pass, 'age of the newest pass');
is($scene->{incident}, 1, 'five waiters are an incident');
is($eye->query('SELECT count(*) FROM lifeguard.incidents WHERE until IS NULL'), '1', 'as the view has it');
is_deeply(by_label($scene, 'refusals_total'), pairs($eye, 'SELECT cause, refusals FROM lifeguard.refusal_counts'), 'refusals by cause');
is($scene->{'refusals_total{cause="role limit"}'}, 7, 'those that we know of');
is($scene->{refusals_counted}, 1, 'they are counted');
is($scene->{connection_setup_seconds_count} - $counted, 12, 'eleven sessions, and one slow one');
cmp_ok($scene->{'connection_setup_seconds_bucket{le="0.256"}'} - $slow_before, '<=', 11, 'which took longer');
is($scene->{'connection_setup_seconds_bucket{le="+Inf"}'}, $scene->{connection_setup_seconds_count}, 'the last bucket has all');
between($scene->{connection_setup_seconds_sum} - $calm->{connection_setup_seconds_sum}, 0.4, 60, 'their time');
my @bounds = sort { $a <=> $b } grep { $_ ne '+Inf' } keys %{ by_label($scene, 'connection_setup_seconds_bucket') };
my $falls = grep { by_label($scene, 'connection_setup_seconds_bucket')->{ $bounds[$_] } < by_label($scene, 'connection_setup_seconds_bucket')->{ $bounds[ $_ - 1 ] } } 1 .. $#bounds;
is($falls, 0, 'buckets are cumulative');
my $status = 'passes, missed_passes, clock_jumps, keeper_failures, ledger_lost + records_lost';
is(join('|', map { $scene->{$_} } qw(passes_total missed_passes_total clock_jumps_total keeper_failures_total records_lost_total)),
	lg_status($eye, $status), 'what status has, too');

# Load: the server is less than a minute old, so all that was seen is in the minute.
{
	my $truth = pairs($eye, <<'END');
SELECT wait_event_type, round(sum(average_active * seen) / (SELECT sum(seen) FROM lifeguard.connection_history), 2)
FROM lifeguard.load_history GROUP BY 1
END
	my $load = by_label($scene, 'load_average_active');
	my $old = epoch($eye) - $eye->query('SELECT extract(epoch FROM pg_postmaster_start_time())');

	note("the server is $old s old");
	SKIP:
	{
		skip 'this machine takes its time', 1 if $old > 50;
		is(join(' ', grep { abs($load->{$_} - ($truth->{$_} // 0)) > 0.05 } keys %$load), '', 'load of the last minute, by kind')
		  or diag(explain([ $load, $truth ]));
	}
	cmp_ok($load->{Timeout}, '>', 0, 'the sleeper');
	cmp_ok($load->{Lock}, '>', 2 * $load->{Timeout}, 'the waiters, who are more');
	is(join(' ', grep { !exists $load->{$_} } keys %$truth), '', 'no kind is left out');
}

# --- without any rights
{
	my $nobody = LgSession->new($node, user => 'nobody');
	my ($mine, $theirs) = (metrics($eye), metrics($nobody));
	delete $_->{last_pass_age_seconds}, delete $_->{idle_in_transaction_longest_seconds} foreach ($mine, $theirs);
	is_deeply($theirs, $mine, 'a role without rights sees the same');
	$nobody->close;
	ok($eye->poll("SELECT count(*) = 12 FROM pg_stat_activity WHERE backend_type = 'client backend'"), 'it is gone');
}

# --- the exporter
package Exporter078
{
	sub new
	{
		my ($class, $server) = @_;
		my $port = PostgreSQL::Test::Cluster::get_free_port();
		my $out = '';
		local $ENV{DATA_SOURCE_NAME} = 'host=' . $server->host . ' port=' . $server->port . ' user=nobody dbname=postgres sslmode=disable';
		my $self = bless { port => $port, log => "$PostgreSQL::Test::Utils::log_path/exporter_" . $server->name . '.log' }, $class;

		return unless eval { IPC::Run::run([ 'prometheus-postgres-exporter', '--version' ], '>', \$out, '2>', \$out) };
		$self->{process} = IPC::Run::start(
			[ 'prometheus-postgres-exporter', '--extend.query-path=contrib/prometheus/queries.yaml', "--web.listen-address=127.0.0.2:$port",
				qw(--disable-default-metrics --disable-settings-metrics --no-collector.database --no-collector.bgwriter) ],
			'<', \undef, '>', $self->{log}, '2>&1');
		my $deadline = Time::HiRes::time + $limit;
		Time::HiRes::usleep(20_000) until $self->scrape || Time::HiRes::time > $deadline;
		return $self;
	}

	# What it tells of us, as text; nothing if it does not answer.
	sub scrape
	{
		my ($self) = @_;
		my $answer = HTTP::Tiny->new(timeout => $limit)->get("http://127.0.0.2:$self->{port}/metrics");
		return $answer->{success} ? $answer->{content} : undef;
	}

	# As metrics() has it.
	sub metrics
	{
		my ($self) = @_;
		my %value;

		foreach my $line (grep { /^pg_lifeguard_/ } split /\n/, $self->scrape // '')
		{
			my ($name, $labels, $value) = $line =~ /^pg_lifeguard_(\w+)(?:\{(.*)\})? (\S+)$/ or die "what is that: $line\n";
			my @labels = grep { !/^server=/ } ($labels // '') =~ /(\w+="[^"]*")/g;
			$value{ $name . (@labels ? '{' . join(',', @labels) . '}' : '') } = $value =~ /^([+-]?)Inf$/ ? "$1Infinity" : $value;
		}
		return \%value;
	}

	sub stop
	{
		my ($self) = @_;
		(delete $self->{process})->kill_kill if $self->{process};
		return;
	}
}

package main;

my @exporters;
END { $_->stop foreach @exporters; }

SKIP:
{
	my $exporter = Exporter078->new($node);
	skip "prometheus-postgres-exporter $lacking", 1 unless $exporter;
	push @exporters, $exporter;
	my $text = $exporter->scrape;
	like($text, qr/^pg_exporter_last_scrape_error 0$/m, 'the exporter scrapes without an error');
	like($text, qr/^pg_exporter_user_queries_load_error\{.*\} 0$/m, 'and reads its queries');

	# it stays connected, so both see the same sessions; who asks is active, the other is idle
	# the minute that load is of may move on in between
	my ($scraped, $ours, $earlier);
	foreach (1 .. 50)
	{
		($earlier, $scraped, $ours) = (metrics($eye), $exporter->metrics, metrics($eye));
		last unless grep { /^load/ && $earlier->{$_} != $ours->{$_} } keys %$ours;
	}
	my ($age, $idle) = map { delete $scraped->{$_} } qw(last_pass_age_seconds idle_in_transaction_longest_seconds);
	between($age, 1e-9, delete $ours->{last_pass_age_seconds}, 'the age of the newest pass grows');
	between($idle, 1e-9, delete $ours->{idle_in_transaction_longest_seconds}, 'and so does that of the transaction');
	is($ours->{connections_used}, 13, 'it has one connection');
	$_ = 0 + $_ foreach grep { !/Inf/ } (values %$ours, values %$scraped);
	$scraped->{$_} =~ s/^\+// foreach keys %$scraped;
	is_deeply($scraped, $ours, 'every sample, and nothing else, with the right value');
	is(join(' ', grep { $text !~ /^# HELP \Q$_ $help{$_}\E$/m } @names), '', 'their helps');
	is(join(' ', grep { $text !~ /^# TYPE \Q$_ $type{$_}\E$/m } @names), '', 'their types');
	my ($in, $out) = ($text, '');
	ok(IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$in, '>&', \$out), 'promtool has nothing to say against them') or diag($out);
	is($out, '', 'nothing at all');
	$exporter->stop;
	ok($eye->poll("SELECT count(*) = 12 FROM pg_stat_activity WHERE backend_type = 'client backend'"), 'it is gone');
}

# --- time waited, when it is over
lg_configure($eye, 'pg_lifeguard.sample_interval' => '100ms');
ok(lg_passes($eye, 2), 'passes again');
$holder->query('COMMIT');
ok(!$_->answer->{error}, 'it has waited') foreach @waiters;
my $waited_until = epoch($eye);
ok($eye->poll('SELECT waiting = 0 FROM lifeguard.status') && lg_passes($eye, 2), 'nobody waits');
ok($eye->poll(<<'END'), 'seconds waited are those of contention');
SELECT abs(c.lost - m.value) < 0.01 FROM lifeguard.metrics m, (SELECT sum(seconds_lost) AS lost FROM lifeguard.contention) c
WHERE m.name = 'pg_lifeguard_lock_wait_seconds_total'
END
between(metrics($eye)->{lock_wait_seconds_total}, 4 * ($asked - $wait_start), 5 * ($waited_until - $wait_start) + 1, 'five sessions, so long');

# --- what came of actions, as the ledger has it
$eye->query($_) foreach split /\n/, <<'END';
SELECT lifeguard.create_policy('forgotten', 'idle in transaction', '200 ms', action => 'terminate', applications => '{doomed}', max_per_pass => 0, max_per_minute => 0, cooldown => '0')
SELECT lifeguard.create_policy('lenient', 'idle in transaction', '200 ms', applications => '{noted}')
SELECT lifeguard.create_policy('resting', 'idle', '1 h', action => 'terminate', enabled => false)
END
my @doomed = map { LgSession->new($node, user => 'clerk', parameters => { application_name => $_ }) } qw(doomed doomed noted);
ok($eye->poll('SELECT count(*) = 3 FROM lifeguard.policy_status'), 'three policies');
$_->query('BEGIN') foreach @doomed;
ok($eye->poll("SELECT count(*) = 2 FROM lifeguard.ledger WHERE outcome LIKE 'terminated in%'"), 'two are ended');
ok($eye->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE outcome = 'rehearsed'"), 'one is noted');
like($eye->query('SELECT lifeguard.cancel_session(' . $sleeper->pid . ", 'enough')"), qr/^cancelled in/, 'one is cancelled');
like($eye->query('SELECT lifeguard.cancel_session(' . $idle[0]->pid . ", 'to no purpose')"), qr/^spared/, 'one has nothing to cancel');
my $outcomes = by_label(metrics($eye), 'actions_total');
is_deeply({ map { $outcomes->{$_} ? ($_ => $outcomes->{$_}) : () } keys %$outcomes },
	pairs($eye, "SELECT substring(outcome FROM '^(terminated|cancelled|rolled back|survived|rehearsed|spared|not permitted|over limit|already acted on)'), count(*) FROM lifeguard.ledger GROUP BY 1"),
	'actions by what came of them, as the ledger has it');
is(join(' ', map { "$_:$outcomes->{$_}" } qw(terminated cancelled rehearsed spared survived)), 'terminated:2 cancelled:1 rehearsed:1 spared:1 survived:0', 'and as we know it');

# --- policies by how they stand
sub standings { return join ' ', map { by_label(metrics($eye), 'policies_by_state')->{$_} } 'in force', 'not in force', 'paused', 'paused by its breaker'; }
is(standings(), '2 1 0 0', 'two in force, one disabled');
is(standings(), $eye->query("SELECT concat_ws(' ', count(*) FILTER (WHERE in_force), count(*) FILTER (WHERE NOT in_force), 0, 0) FROM lifeguard.policy_status"), 'as policy_status has it');
$eye->query("SELECT lifeguard.pause('1 h', 'a migration')");
is(standings(), '1 1 1 0', 'what would act is paused; what only logs goes on');
$eye->query('SELECT lifeguard.resume()');
is(standings(), '2 1 0 0', 'and goes on');

# --- a collector that does not look: its gauges are left out
my $missed = metrics($eye)->{missed_passes_total};
my $pid = lg_freeze_collector($eye);
ok($eye->poll("SELECT value = 0 FROM lifeguard.metrics WHERE name = 'pg_lifeguard_up'"), 'it is not up');
my $blind = metrics($eye);
is(join(' ', grep { exists $blind->{$_} } qw(waiters blockers longest_wait_seconds incident)), '', 'what it would see is not known');
between($blind->{last_pass_age_seconds}, 5, 1e6, 'nor has it been for long');
is($blind->{connections_used}, $eye->query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"), 'connections are read all the same');
kill CONT => $pid;
ok($eye->poll("SELECT value = 1 FROM lifeguard.metrics WHERE name = 'pg_lifeguard_up'"), 'it is up again');
cmp_ok(metrics($eye)->{missed_passes_total}, '>=', $missed + 20, 'and the gap is counted');

$_->close foreach @idle, $holder, $aborted, $sleeper, @waiters, @doomed, $eye;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

# --- not preloaded
{
	my $bare = lg_server('bare', preload => '');
	my $session = LgSession->new($bare);
	$session->query('CREATE ROLE nobody LOGIN');
	ok($session->poll('SELECT used = 1 FROM lifeguard.connections'), 'nobody else is there any more');
	my $metrics = metrics($session);
	is($metrics->{up}, 0, 'not preloaded: not up');
	is(join(' ', sort map { s/\{.*//r } keys %$metrics),
		join(' ', ('connections_by_state') x 5, qw(connections_max connections_usable connections_used idle_in_transaction_longest_seconds up)),
		'and no more than connections');
	is($metrics->{connections_used}, 1, 'which are counted');
	SKIP:
	{
		my $exporter = Exporter078->new($bare);
		skip "prometheus-postgres-exporter $lacking", 1 unless $exporter;
		push @exporters, $exporter;
		my $scraped = $exporter->metrics;
		like($exporter->scrape, qr/^pg_exporter_last_scrape_error 0$/m, 'the exporter scrapes it without an error');
		is($scraped->{up}, 0, 'not up');
		is($scraped->{connections_used}, 2, 'connections');
		is($scraped->{waiters}, 'NaN', 'what is not known is no number');
		is(join(' ', grep { /^(?:refusals_total|actions|policies|connection_setup)/ } keys %$scraped), '', 'and has no sample where there are labels');
		$exporter->stop;
	}
	$session->close;
	$bare->stop;
}

# --- alerts, dashboard, README
my %exists = map { $_ => 1 } map { $type{$_} eq 'histogram' ? map { "$_" } ("${_}_bucket", "${_}_sum", "${_}_count") : $_ } @names;
sub unknown_names
{
	my ($text) = @_;
	return join ' ', grep { !$exists{$_} } $text =~ /\b(pg_lifeguard_\w+)/g;
}

my $rules = slurp_file('contrib/prometheus/rules.yaml');
my $readme = slurp_file('contrib/prometheus/README');
my @alerts = $rules =~ /^\s+- alert: (\w+)$/mg;
cmp_ok(scalar @alerts, '>=', 10, 'alerts');
is(unknown_names($rules), '', 'they ask for what there is');
is(join(' ', grep { my $alert = $_; $readme !~ /\b$alert\b/ } @alerts), '', 'README has each');
my %for = $readme =~ /^\t([a-z_]+)\t+(?:[a-z_]+\t+)?((?:[A-Z]\w+(?:, )?)+)/mg;
is(join(' ', map { "pg_lifeguard_$_" } sort keys %for), join(' ', @names), 'and says what each metric is for');
is(join(' ', grep { my $alert = $_; !grep { $_ eq $alert } @alerts } map { split /, / } values %for), '', 'which is an alert');
foreach my $metric (sort keys %for)
{
	foreach my $alert (split /, /, $for{$metric})
	{
		my ($rule) = $rules =~ /^\s+- alert: $alert\n(.*?)(?=^\s+- alert|\z)/ms;
		like($rule, qr/\bpg_lifeguard_$metric(?:_bucket)?\b/, "$alert asks for $metric");
	}
}

my $board = decode_json(slurp_file('contrib/grafana/pg_lifeguard.json'));
my @asked = map { map { $_->{expr} } @{ $_->{targets} } } @{ $board->{panels} };
cmp_ok(scalar @asked, '>=', 20, 'the dashboard asks');
is(join(' ', grep { !/\bpg_lifeguard_/ } @asked), '', 'for nothing but ours');
is(unknown_names(join ' ', @asked, map { $_->{definition} // '' } @{ $board->{templating}{list} }), '', 'which there is');
is(join(' ', grep { my $name = $_; !grep { /\b$name(?:_bucket)?\b/ } @asked } grep { !/_max$|_counted$/ } @names), '', 'and leaves out next to nothing');
ok($board->{schemaVersion} >= 30 && $board->{title} && $board->{uid}, 'it can be imported');
is($board->{templating}{list}[0]{type}, 'datasource', 'into any data source');
is(join(' ', grep { $_->{datasource}{uid} ne '${datasource}' } map { ($_, @{ $_->{targets} }) } @{ $board->{panels} }), '', 'which all panels use');
is(scalar(keys %{ { map { $_->{id} => 1 } @{ $board->{panels} } } }), scalar @{ $board->{panels} }, 'panels are told apart');

SKIP:
{
	my $out = '';
	skip "promtool $lacking", 1 unless eval { IPC::Run::run([ 'promtool', '--version' ], '>&', \$out) };
	my ($status, $output) = run_quietly('promtool', 'check', 'rules', 'contrib/prometheus/rules.yaml');
	is($status, 0, 'promtool check rules') or diag($output);
	($status, $output) = run_quietly('promtool', 'test', 'rules', 'contrib/prometheus/rules_test.yaml');
	is($status, 0, 'promtool test rules') or diag($output);
	my $tested = slurp_file('contrib/prometheus/rules_test.yaml');
	is(join(' ', grep { $tested !~ /alertname="$_"/ } @alerts), '', 'which has a scene for each');

	# every query of the dashboard is one
	my $dir = PostgreSQL::Test::Utils::tempdir;
	append_to_file("$dir/board.yaml", "groups:\n- name: board\n  rules:\n");
	foreach my $i (0 .. $#asked)
	{
		append_to_file("$dir/board.yaml", "  - record: r$i\n    expr: '" . ($asked[$i] =~ s/\$__rate_interval/1m/gr) . "'\n");
	}
	($status, $output) = run_quietly('promtool', 'check', 'rules', "$dir/board.yaml");
	is($status, 0, 'every query of the dashboard can be read') or diag($output);
}

# --- the forecast
SKIP:
{
	my $clock = LgClock->new or skip 'faketime is not installed', 1;
	my $faked = lg_server('filling', start => 0, conf => "max_connections = 103\npg_lifeguard.sample_interval = 0\n");
	$clock->start($faked);
	my $session = LgSession->new($faked);
	$session->query('CREATE EXTENSION pg_lifeguard');
	my ($zero, $second, @more) = (int(time) + 3600, 0);

	# So many seconds later, passing once in each fourth.
	my $later = sub {
		my ($seconds, $joining) = @_;
		foreach (1 .. $seconds / 4)
		{
			$second += 4;
			push @more, LgSession->new($faked) if $joining;
			$clock->bring($session, $zero + $second) or die "the clock stands\n";
			$session->query('SELECT lifeguard.run_pass()');
		}
		return $session->query('SELECT extract(epoch FROM full_in) FROM lifeguard.connections');
	};
	is($later->(20, 1), '', 'five connections in 20 s are too little to tell');
	my $forecast = $later->(100, 1);
	my $free = $session->query('SELECT usable - used FROM lifeguard.connections');
	is($free, 100 - 1 - 30, 'thirty came in two minutes');
	between($forecast, 3.6 * $free, 4.4 * $free, 'the rest is full in as long as that says');
	my ($sample) = map { metrics($session)->{$_} } 'connections_full_in_seconds';
	between($sample, 3.6 * $free, 4.4 * $free, 'the metric says the same');
	is($later->(100, 0), '', 'nobody comes: no forecast');
	is(metrics($session)->{connections_full_in_seconds}, 'Infinity', 'as a metric: never');
	$_->close foreach @more, $session;
	$faked->stop;
}

# --- and by shapes of all kinds: last, for it skips what follows where there is no compiler
{
	my $program = PostgreSQL::Test::Utils::tempdir . '/forecast_test';

	local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';
	subtest 'forecasts' => sub {
		build_program($program, 'test/unit/forecast_test.c', 'src/forecast.c');
		foreach my $seed (1, 2, 3, 1 + int(rand(1_000_000_000)))
		{
			my ($status, $output) = run_quietly($program, $seed);
			is($status, 0, 'forecast_test ' . ($seed <= 3 ? $seed : '(random)')) or diag("seed $seed: $output");
		}
		foreach my $mistake ('ramp', 'flat', 'plateau', 'late step')
		{
			my ($status, $output) = run_quietly($program, 1, $mistake);
			is($status >> 8, 1, "a mistake about a $mistake is noticed");
			like($output, qr/^$mistake: /, 'as such');
		}
	};
}

done_testing();
