# Connections, who holds them and what they wait for, over time: averages and
# maxima against the test's own clock and against an independent poll; minutes,
# gaps and bounds; who sees what; a standby.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgClock;
use LgTest;
use LgUnit;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = lg_server('series', conf => <<'END');
pg_lifeguard.sample_interval = 100ms
deadlock_timeout = 10min
END
my $session = LgSession->new($node, parameters => { application_name => 'eye' });
$session->query('CREATE TABLE till (id int)');
ok(lg_passes($session, 3), 'passes');

# Session seconds since the server started, by name.  The minute under way counts
# as far as it has come.
sub connection_seconds
{
	my %sum;
	my @names = qw(used active idle idle_in_transaction idle_in_transaction_aborted waiting);
	my $sql = join ', ', map { "COALESCE(sum($_ * seen), 0)" } @names;
	@sum{ @names, 'seen' } =
	  split /\|/, $session->query("SELECT $sql, COALESCE(sum(seen), 0) FROM lifeguard.connection_history");
	return \%sum;
}

sub load_seconds
{
	return { map { my ($what, $seconds) = split /\|/; $what => $seconds } split /\n/, $session->query(<<'END') };
SELECT concat_ws(':', wait_event_type, wait_event), sum(average_active * seen)
FROM lifeguard.load_history GROUP BY 1
END
}

# What an independent client sees between two moments: session seconds by wait.
my %polled;
my $polled_at;

sub poll_until
{
	my ($end) = @_;
	while (1)
	{
		my $now = time;
		my @rows = split /\n/, $session->query(<<'END');
SELECT concat_ws(':', COALESCE(wait_event_type, 'CPU'), wait_event), count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid() GROUP BY 1
END
		foreach (@rows)
		{
			my ($what, $n) = split /\|/;
			$polled{$what} += $n * ($now - $polled_at);
		}
		$polled_at = $now;
		return if $now >= $end;
		usleep(100_000);
	}
	return;
}

# As near as sampling comes: so much at each of two edges.
sub near
{
	my ($got, $expected, $error, $what) = @_;
	ok(abs($got - $expected) <= $error,
		sprintf('%s: %.2f s, %.2f s in truth, may differ by %.2f', $what, $got, $expected, $error));
	return;
}

# --- known sessions in known states for a known time
# An edge may be missed by the time between two passes, 0.1 s, and by the time in
# which the test brings all of them into place.
my $before = connection_seconds();
my $load_before = load_seconds();
my $opened = time;
my @idle = map { LgSession->new($node) } 1 .. 2;
my ($holder, $aborted, $busy, @sleepers, @waiters) = map { LgSession->new($node) } 1 .. 8;
@waiters = splice @sleepers, 3;
$holder->query('BEGIN; LOCK TABLE till');
$aborted->query('BEGIN');
$aborted->error_of('SELECT 1/0');
my $began = time;
$_->send('SELECT count(*) FROM till') foreach @waiters;
$_->send('SELECT pg_sleep(5)') foreach @sleepers[0, 1];
$sleepers[2]->send('SELECT pg_sleep(2.5)');
$busy->send(<<'END');
DO $$ DECLARE until timestamptz := clock_timestamp() + '5 s';
BEGIN WHILE clock_timestamp() < until LOOP END LOOP; END $$
END
my $slack = 2 * 0.1 + (time - $opened);
$polled_at = time;
poll_until($began + 5);
my $ended = time;
$holder->query('ROLLBACK');
$aborted->query('ROLLBACK');
ok(!$_->answer->{error}, 'done') foreach (@waiters, @sleepers, $busy);
$slack += time - $ended;
ok(lg_passes($session, 2), 'passes');
my $after = connection_seconds();
my $load = load_seconds();
my $time = $ended - $began;
my %lasted = map { $_ => $after->{$_} - $before->{$_} } keys %$after;
$load->{$_} -= $load_before->{$_} // 0 foreach keys %$load;
my $until_now = time - $opened;

SKIP:
{
	skip 'this machine takes its time', 14 if $slack >= 2.5;

	near($lasted{seen}, $until_now, $slack, 'seen');
	near($lasted{used}, 11 * $until_now, 11 * $slack, 'used');
	near($lasted{active}, 5 * $time + 2.5, 6 * $slack, 'active');
	near($lasted{idle_in_transaction}, $time, $slack, 'idle in transaction');
	near($lasted{idle_in_transaction_aborted}, $time, $slack, 'idle in a failed transaction');
	near($lasted{waiting}, 2 * $time, 2 * $slack, 'waiting');
	near($lasted{idle}, 11 * $until_now - 7 * $time - 2.5, 11 * $slack, 'idle');

	near($load->{'Timeout:PgSleep'}, 12.5, 3 * $slack, 'load of sleepers');
	near($load->{'Lock:relation'}, 2 * $time, 2 * $slack, 'load of waiters');
	near($load->{'CPU'}, $time, 2 * $slack, 'load of the busy one');
	# two samplings of the same, each off by an interval at each edge
	foreach my $what ('Timeout:PgSleep', 'Lock:relation', 'CPU')
	{
		my $n = { 'Timeout:PgSleep' => 3, 'Lock:relation' => 2, 'CPU' => 1 }->{$what};
		near($load->{$what}, $polled{$what}, $n * ($slack + 0.2), "$what, as polled");
	}
	my @strange = grep { !/^(Timeout:PgSleep|Lock:relation|CPU)$/ && $load->{$_} > 1 } keys %$load;
	is("@strange", '', 'no other load worth mentioning');
}

# --- seconds
is( $session->query(<<"END"), 't|t|t', 'each second has its row');
SELECT count(*) >= $time - 1, max(used_max) = 11, bool_and(used BETWEEN 0.9 AND 11)
FROM lifeguard.connection_seconds() WHERE second >= to_timestamp($began) AND second < to_timestamp($ended)
END
is( $session->query(<<"END"), 'CPU|Lock|Timeout', 'and its kinds of waits');
SELECT string_agg(DISTINCT wait_event_type, '|' ORDER BY wait_event_type) FROM lifeguard.load_seconds()
WHERE second >= to_timestamp($began) AND second < to_timestamp($ended) AND average_active >= 0.5
END
ok($session->poll("SELECT max(second) > to_timestamp($ended) FROM lifeguard.connection_seconds()"), 'that second is over');
near($session->query(<<'END'), $load->{'Lock:relation'}, 1, 'seconds add up');
SELECT sum(average_active) FROM lifeguard.load_seconds() WHERE wait_event_type = 'Lock'
END
is($session->query('SELECT count(*) = count(DISTINCT second) AND max(second) <= clock_timestamp() FROM lifeguard.connection_seconds()'),
	't', 'one row a second');

# --- peaks
$_->close foreach (@idle, $holder, $aborted, $busy, @sleepers, @waiters);
ok($session->poll('SELECT used = 1 FROM lifeguard.status'), 'all gone');
$session->query('SELECT lifeguard.reset()');
my @crowd = map { LgSession->new($node) } 1 .. 20;
ok($session->poll('SELECT used = 21 FROM lifeguard.status'), 'a crowd');
$_->close foreach @crowd;
ok($session->poll('SELECT used = 1 FROM lifeguard.status'), 'gone');
is($session->query('SELECT max(used_max), max(high_water), max(waiting_max), min(usable) FROM lifeguard.connection_history'),
	'21|21|2|27', 'the maxima stay');

# --- nobody saw what happened while the collector was stopped
my $collector = lg_freeze_collector($session);
$before = connection_seconds();
my $stopped = lg_status($session, 'extract(epoch FROM last_pass)');
my $unseen = LgSession->new($node);
ok($session->poll("SELECT clock_timestamp() - last_pass > '4 s' FROM lifeguard.status"), 'stopped for 4 s');
$unseen->close;
ok($session->poll('SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = \'client backend\''), 'nobody left');
kill CONT => $collector;
ok(lg_passes($session, 3), 'passes again');
my $all = time - $stopped;
$after = connection_seconds();
cmp_ok($after->{seen} - $before->{seen}, '<', $all - 3.5, 'the gap is not seen');
cmp_ok($after->{seen} - $before->{seen}, '>', 0.15, 'what came after it is');
cmp_ok($after->{used} - $before->{used}, '<', $after->{seen} - $before->{seen} + 0.5, 'and nobody is counted in it');
is($session->query("SELECT count(*) > 2 FROM generate_series(to_timestamp(ceil($stopped)), to_timestamp($stopped + 4), '1 s') s WHERE s NOT IN (SELECT second FROM lifeguard.connection_seconds())"),
	't', 'seconds without a pass have no row');

$session->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

# --- minutes, by a clock of our own; a pass only when asked for
SKIP:
{
	my $clock = LgClock->new or skip 'faketime is not installed', 1;
	my $faked = lg_server('minutes', start => 0, conf => <<'END');
pg_lifeguard.sample_interval = 0
pg_lifeguard.flush_interval = 1h
listen_addresses = '127.0.0.1'
END
	append_to_file($faked->data_dir . '/pg_hba.conf', "host all all 127.0.0.0/8 trust\n");
	$clock->start($faked);
	$session = LgSession->new($faked, parameters => { application_name => 'eye' });
	$session->query('CREATE EXTENSION pg_lifeguard; CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; GRANT pg_read_all_stats TO auditor');

	# Set the server's clock to that second of a minute to come, in which no other is
	# reached by itself.
	my $zero = 60 * int(time / 60) + 3600;
	my $at = sub {
		my ($seconds) = @_;
		ok($clock->bring($session, $zero + $seconds), "second $seconds");
		return;
	};
	my $pass = sub { return $session->query('SELECT lifeguard.run_pass()'); };
	my $minute = sub { return 'minute = to_timestamp(' . ($zero + 60 * $_[0]) . ')'; };

	my @till = map { LgSession->new($faked, user => 'clerk', parameters => { application_name => 'till' }, host => '127.0.0.1') } 1 .. 2;
	my $report = LgSession->new($faked, user => 'clerk', parameters => { application_name => 'report' });
	$report->query('BEGIN');
	$at->(11);
	$pass->();
	my $usage = 'SELECT application_name, usename, datname, client_addr, held, held_max, active, active_max, idle, idle_in_transaction, samples, recorded_on FROM lifeguard.connection_usage_history WHERE ';
	my $eye = 'eye|' . getpwuid($<) . '|postgres|';
	is($session->query($usage . $minute->(0) . ' ORDER BY 1'),
		"$eye|1.000|1|1.000|1|0.000|0.000|1|primary\nreport|clerk|postgres||1.000|1|0.000|0|0.000|1.000|1|primary\ntill|clerk|postgres|127.0.0.1|2.000|2|0.000|0|2.000|0.000|1|primary",
		'the minute under way shows who holds connections');
	is($session->query('SELECT count(*) FROM lifeguard.connection_usage_entries'), '0', 'and is in no table');
	# a pass long after another says nothing of the time between
	usleep(100_000), $pass->() foreach 1 .. 3;
	$pass->();
	is($session->query($usage . $minute->(0) . " AND application_name = 'till'"),
		'till|clerk|postgres|127.0.0.1|2.000|2|0.000|0|2.000|0.000|1|primary', 'one sample in 5 s');
	$report->query('COMMIT');
	$report->query("SET application_name = 'other'");
	(pop @till)->close;
	ok($session->poll('SELECT used = 3 FROM lifeguard.connections'), 'one left');
	$at->(16);
	$pass->();
	is($session->query($usage . $minute->(0) . " AND usename = 'clerk' ORDER BY 1"),
		"other|clerk|postgres||0.500|1|0.000|0|0.500|0.000|2|primary\nreport|clerk|postgres||0.500|1|0.000|0|0.000|0.500|2|primary\ntill|clerk|postgres|127.0.0.1|1.500|2|0.000|0|1.500|0.000|2|primary",
		'averages over the samples; who calls himself otherwise is another');
	is($session->query('SELECT used_max, seen BETWEEN 0.2 AND 3, used BETWEEN 3 AND 4, refusals, recorded_on FROM lifeguard.connection_history WHERE ' . $minute->(0)),
		'4|t|t|0|primary', 'connections of that minute');
	is($session->query('SELECT wait_event_type, wait_event, average_active FROM lifeguard.load_history WHERE ' . $minute->(0)),
		'CPU||0.000', 'no load: who makes the pass does not count');

	# the minute turns
	my $shown = $session->query('SELECT array_agg(h::text ORDER BY h::text) FROM lifeguard.connection_usage_history h WHERE ' . $minute->(0));
	$report->send('SELECT pg_sleep(3600)');
	ok($session->poll("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", '1'), 'asleep');
	$session->query('CREATE ROLE nobody LOGIN CONNECTION LIMIT 0');
	ok(LgSession->new($faked, user => 'nobody', refused_ok => 1)->{refused}, 'one is refused');
	ok($session->poll('SELECT used = 3 FROM lifeguard.connections'), 'and gone');
	$at->(60 + 1);
	ok(LgSession->new($faked, user => 'nobody', refused_ok => 1)->{refused}, 'another is')
	  foreach 1, 2;
	ok($session->poll('SELECT used = 3 FROM lifeguard.connections'), 'and they, too');
	$pass->();
	is($session->query('SELECT refusals FROM lifeguard.connection_history ORDER BY minute'), "1\n2",
		'each counts in the minute in which it was refused');
	usleep(100_000), $pass->() foreach 1 .. 3;
	is($session->query('SELECT array_agg(h::text ORDER BY h::text) FROM lifeguard.connection_usage_history h WHERE ' . $minute->(0)),
		$shown, 'the old minute stays as it was');
	is($session->query('SELECT count(*), count(DISTINCT minute) FROM lifeguard.connection_history'), '2|2', 'two minutes');
	is($session->query('SELECT used, used_max FROM lifeguard.connection_history WHERE ' . $minute->(1)), '3.000|3',
		'the new one begins anew');
	is($session->query("SELECT wait_event_type, wait_event, average_active > 0.9 FROM lifeguard.load_history WHERE wait_event IS NOT NULL"),
		'Timeout|PgSleep|t', 'and so does its load');
	is($session->query($usage . $minute->(1) . " AND usename = 'clerk' ORDER BY 1"),
		"other|clerk|postgres||1.000|1|1.000|1|0.000|0.000|1|primary\ntill|clerk|postgres|127.0.0.1|1.000|1|0.000|0|1.000|0.000|1|primary",
		'and who holds connections');
	$session->query("SELECT pg_cancel_backend(${\$report->pid})");
	ok($report->answer->{error}, 'awake');

	# a minute that nobody saw, and the clock going back
	$at->(180 + 30);
	$pass->();
	$at->(120 + 30);
	$pass->();
	is($session->query("SELECT (extract(epoch FROM minute)::bigint - $zero) / 60 FROM lifeguard.connection_history ORDER BY 1"),
		"0\n1\n2\n3", 'a clock that steps');
	is($session->query('SELECT count(*) FROM lifeguard.connection_seconds() WHERE second > clock_timestamp()'), '0', 'no second to come');

	# --- bounded: 25 sessions, each under a new name in each of 12 samples
	my @many = map { LgSession->new($faked, user => 'clerk') } 1 .. 23;
	foreach my $sample (0 .. 11)
	{
		$many[$_]->query("SET application_name = 'app $sample $_'") foreach 0 .. $#many;
		$at->(300 + 5 * $sample + 1);
		$pass->();
	}
	is($session->query('SELECT count(*), count(DISTINCT application_name), max(samples) FROM lifeguard.connection_usage_history WHERE ' . $minute->(5)),
		'257|256|12', '256 groups and one for the rest');
	is($session->query('SELECT sum(round(held * 12)), sum(round(idle * 12)) FROM lifeguard.connection_usage_history WHERE ' . $minute->(5)),
		12 * (23 + 3) . '|' . 12 * (23 + 2), 'nobody is lost');
	# the first 256: eye, till, other, and 253 of 276 others
	is($session->query('SELECT datname, usename, application_name, client_addr, round(held * 12), held_max FROM lifeguard.connection_usage_history WHERE application_name IS NULL AND ' . $minute->(5)),
		'||||23|23', 'the rest has no names');
	$_->close foreach @many;

	# --- what the keeper writes: minutes that are over, shown once, masked as in memory
	my $now = $minute->(5);
	lg_configure($session, 'pg_lifeguard.flush_interval' => '100ms');
	foreach my $kind (['connection_entries', 4], ['connection_usage_entries', 13], ['load_entries', 4])
	{
		my ($table, $n) = @$kind;
		ok($session->poll("SELECT count(*) FROM lifeguard.$table", $n), "$table is written");
		is($session->query("SELECT count(*) FROM lifeguard.$table WHERE $now"), '0', 'but not the minute under way');
	}
	ok($session->poll('SELECT records_unflushed, keeper_problem FROM lifeguard.status', '0|'), 'all is well');
	foreach my $kind (['connection_entries', 'connection_history'], ['connection_usage_entries', 'connection_usage_history'], ['load_entries', 'load_history'])
	{
		my ($table, $view) = @$kind;
		my $rows = $session->query("SELECT count(*), md5(string_agg(v::text, '/' ORDER BY v::text)) FROM lifeguard.$view v");
		$session->query("INSERT INTO lifeguard.$table SELECT * FROM lifeguard.read_$view() ON CONFLICT DO NOTHING");
		is($session->query("SELECT count(*), md5(string_agg(v::text, '/' ORDER BY v::text)) FROM lifeguard.$view v"),
			$rows, "$view: memory and table do not add up");
	}
	my $masks = sub {
		my ($where) = @_;
		my $all = "SELECT count(*), count(client_addr), sum(round(held * samples)) FROM lifeguard.connection_usage_history WHERE application_name = 'till'";
		my $truth = $session->query($all);
		foreach my $user ('clerk', 'auditor')
		{
			my $reader = LgSession->new($faked, user => $user);
			is($reader->query($all), $truth, "$where: $user sees all");
			$reader->close;
		}
		$session->query('CREATE ROLE stranger LOGIN');
		my $stranger = LgSession->new($faked, user => 'stranger');
		is($stranger->query($all), $truth =~ s/\|\d+\|/|0|/r, "$where: a stranger sees counts, and no client");
		is($stranger->query('SELECT count(*) > 0 FROM lifeguard.connection_history'), 't', "$where: and connections");
		is($stranger->query('SELECT count(*) > 0 FROM lifeguard.load_history'), 't', "$where: and load");
		ok($stranger->error_of('SELECT FROM lifeguard.connection_usage_entries'), "$where: not the table");
		is($stranger->query('SELECT count(*) > 0 FROM lifeguard.connection_seconds(), lifeguard.load_seconds()'), 't',
			"$where: and seconds") if $where eq 'memory';
		is(lg_view_errors($stranger), '', "$where: every view answers");
		$stranger->close;
		$session->query('DROP ROLE stranger');
		return;
	};
	$masks->('memory');
	$_->close foreach (@till, $report, $session);
	$faked->stop('immediate');
	$faked->start;
	$session = LgSession->new($faked);
	is($session->query('SELECT count(*) > 0 FROM lifeguard.connection_history WHERE ' . $minute->(0)), 't',
		'the table is shown after a crash');
	$masks->('table');
	$session->close;
	$faked->stop;
	is(lg_log_complaints($faked), '', 'nothing bad in the log');
}

# --- more wait events in a minute than are told apart
SKIP:
{
	my ($library, $why_not) = build_probe('series_probe');
	skip $why_not, 1 unless $library;

	my $probed = lg_server('events', conf => "pg_lifeguard.sample_interval = 0\n");
	$session = LgSession->new($probed);
	load_probe($session, $library, 'probe_load(timestamptz, int)' => 'int');
	foreach my $case ([64, '64|0|', '64 are told apart'], [70, '65|1|3.000', 'the rest of 70 are others'])
	{
		my ($events, $expected, $what) = @$case;
		my $when = "'2001-01-01 00:$events:00Z'::timestamptz" =~ s/00:(6|7)(\d)/0$1:0$2/r;
		$session->query("SELECT probe_load($when, $events)");
		is($session->query("SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Other'), max(average_active) FILTER (WHERE wait_event_type = 'Other') FROM lifeguard.load_history WHERE minute = $when"),
			$expected, $what);
		is($session->query("SELECT max(average_active), min(seen), sum(average_active) = $events * 0.5 + 1 FROM lifeguard.load_history WHERE minute = $when"),
			($events == 70 ? '3.000' : '1.500') . '|60.000|t', "nobody is lost of $events");
	}
	$session->close;
	$probed->stop;
	is(lg_log_complaints($probed), '', 'nothing bad in the log');
}

# --- on a standby, from memory
my $primary = lg_server('primary', init => { allows_streaming => 1 });
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$session = LgSession->new($standby);
ok(lg_passes($session, 2), 'passes on the standby');
foreach my $view ('connection_history', 'connection_usage_history', 'load_history')
{
	ok($session->poll("SELECT count(*) > 0 FROM lifeguard.$view WHERE recorded_on = 'standby'"), "$view of the standby");
}
is($session->query("SELECT DISTINCT application_name, held_max FROM lifeguard.connection_usage_history WHERE recorded_on = 'standby' AND usename IS NOT NULL"),
	'lgtest|1', 'who holds connections there');
is($session->query('SELECT count(*) > 0 FROM lifeguard.connection_seconds()'), 't', 'and seconds');
$session->close;
$standby->stop;
$primary->stop;
is(lg_log_complaints($_), '', 'nothing bad in the log of ' . $_->name) foreach ($standby, $primary);

done_testing();
