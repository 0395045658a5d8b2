# How large pools should be: days of history with a known answer, and a live scene.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('pool_advice',
	init => { allows_streaming => 1 },
	conf => <<'END');
pg_lifeguard.sample_interval = 100ms
pg_lifeguard.flush_interval = 1s
END
my $session = LgSession->new($node, parameters => { application_name => 'eye' });
$session->query('CREATE ROLE clerk LOGIN; CREATE ROLE nobody LOGIN');
my $number = 0;
my $now = "timestamptz '" . $session->query('SELECT now()') . "'";    # the same for all

# Minutes of an application as the keeper writes them, the newest an hour ago.
#   minutes; held, active, pausing: averages; held_max and active_max: the samples' most
#   role, client, boot (in hours ago), samples, recorded_on
sub record
{
	my ($application, %of) = @_;
	my $name = defined $application ? "'$application'" : 'NULL';
	my $role = defined $application ? "'" . ($of{role} // 'clerk') . "'" : 'NULL';
	my $database = defined $application ? "'" . ($of{database} // 'shop') . "'" : 'NULL';
	my $client = defined $of{client} ? "'$of{client}'" : 'NULL';
	my ($boot, $on) = ($of{boot} // 100, $of{recorded_on} // 'primary');
	my ($pausing, $samples, $held_max) = ($of{pausing} // 0, $of{samples} // 12, $of{held_max} // $of{held});

	$session->query(<<"END");
INSERT INTO lifeguard.connection_usage_entries
SELECT date_trunc('hour', $now) - interval '$boot h', $number + i, NULL,
	date_trunc('minute', $now) - interval '1 h' - i * interval '1 min',
	$database, $role, $name, $client, $of{held}, $held_max, $of{active}, $of{active_max},
	$of{held} - $of{active} - $pausing, $pausing, $samples, '$on'
FROM generate_series(1, $of{minutes}) i
END
	$number += $of{minutes};
	return;
}

sub advice
{
	my ($columns, $application) = @_;
	return $session->query("SELECT $columns FROM lifeguard.pool_advice WHERE application_name = '$application'");
}

# --- three days of a pool that is far too large, on two machines, with a busy minute
# in fifty, and one that is busier than any
my @busy = (minutes => 4320, held => 30, active => 2, active_max => 4, client => '10.0.0.1');
record('web', @busy);
record('web', minutes => 4320, held => 15, active => 1, active_max => 1, client => '10.0.0.2', database => 'other');
$session->query(<<'END');
UPDATE lifeguard.connection_usage_entries SET active = 3, active_max = 6, idle = 27
WHERE client_addr = '10.0.0.1' AND number % 50 = 0;
UPDATE lifeguard.connection_usage_entries SET active_max = 9 WHERE client_addr = '10.0.0.1' AND number = 50
END
# a: 4 in the busiest minutes; 4 + 2 * 2 = 8
is(advice('held, held_max, active_p50, active_p99, active_max, idle_share, minutes, advised', 'web'),
	'45.0|45|5|7|10|0.933|4320|8', 'a pool that is too large');
is(advice('advice', 'web'),
	'holds 45, never more than 10 active in 3 days, in 99 % of the minutes not more than 7: 8 would do', 'in words');

# --- samples say more than the average: active_p99 counts
record('spiky', minutes => 180, held => 50, active => 1, active_max => 12);
is(advice('active_p50, active_p99, advised, advice', 'spiky'),
	'12|12|12|holds 50, never more than 12 active in 3 hours: 12 would do', 'peaks');

# --- a pool that is the limit itself
record('queue', minutes => 600, held => 10, active => 9.8, active_max => 10);
is(advice('active_max, idle_share, advised, advice', 'queue'),
	'10|0.020|10|9.8 of 10 connections busy on average in 10 hours: this pool may itself be where its clients queue, which cannot be seen from here',
	'a pool that is always busy');

# --- who is in a transaction needs his connection: 0.5 + 4, and 2 * 2.12
record('pauser', minutes => 100, held => 20, active => 0.5, active_max => 2, pausing => 4);
is(advice('active_p99, idle_share, advised, advice', 'pauser'),
	'2|0.775|9|holds 20, never more than 2 active in 100 minutes: 9 would do; more of them pause in a transaction than are active, so shorter transactions need fewer',
	'pauses in transactions count');

# --- never more than it held, never less than two, but for one that has only one
record('fits', minutes => 100, held => 4, active => 2, active_max => 4);
is(advice('advised, advice', 'fits'), '4|holds 4, up to 4 active in 100 minutes: that fits', 'a pool that fits');
record('sleepy', minutes => 100, held => 6, active => 0, active_max => 0);
is(advice('advised, advice', 'sleepy'), '2|holds 6, never more than 0 active in 100 minutes: 2 would do', 'one that never works');
record('single', minutes => 100, held => 1, active => 0.1, active_max => 1);
is(advice('advised, advice', 'single'), '1|holds 1, up to 1 active in 100 minutes: that fits', 'a single connection');

# --- too little data
record('young', minutes => 59, held => 20, active => 1, active_max => 1);
is(advice('minutes, held, advised, advice', 'young'), '59|20.0||only 59 minutes recorded; at least 60 are needed', 'too young');
record('newborn', minutes => 1, held => 20, active => 1, active_max => 1);
is(advice('advice', 'newborn'), 'only 1 minute recorded; at least 60 are needed', 'a minute old');
record('grown', minutes => 60, held => 20, active => 1, active_max => 1);
is(advice('minutes, advised', 'grown'), '60|3', 'old enough');

# --- names that are not known: what had no room in its minute, a role that is gone
record(undef, minutes => 100, held => 7, active => 1, active_max => 1);
is($session->query('SELECT usename, held, held_max, advised, advice FROM lifeguard.pool_advice WHERE application_name IS NULL'),
	'|7.0|7||these cannot be told apart, so no size can be told for them', 'no names');

# --- two roles are two pools
record('shared', minutes => 100, held => 5, active => 0, active_max => 0);
record('shared', minutes => 100, held => 3, active => 0, active_max => 0, role => 'other');
is(advice("string_agg(usename || ' ' || held_max, ', ' ORDER BY usename)", 'shared'), 'clerk 5, other 3', 'a pool per role');

# --- a restart within a minute: both halves are of the same minute
record('twice', minutes => 90, held => 10, active => 4, active_max => 4, samples => 9);
record('twice', minutes => 90, held => 6, active => 0, active_max => 0, samples => 3, boot => 50);
is(advice('held, held_max, active_max, minutes, idle_share', 'twice'), '9.0|10|4|90|0.667', 'a minute with two boots counts once');

# --- waits for locks
record('locked', minutes => 100, held => 8, active => 2, active_max => 4);
$session->query(<<'END');
INSERT INTO lifeguard.contention_entries
	(boot, number, minute, waiter_application_name, waiter_usename, seconds_seen, seconds_estimated, recorded_on)
SELECT 'epoch'::timestamptz, i, date_trunc('minute', now()) - interval '1 h' - i * interval '1 min', 'locked', 'clerk', 29, 1, 'primary'
FROM generate_series(1, 100) i
UNION ALL SELECT 'epoch', 1000, now(), 'locked', 'other', 5000, 0, 'primary'
UNION ALL SELECT 'epoch', 1001, now(), 'locked', 'clerk', 5000, 0, 'standby'
END
is(advice('lock_wait_seconds, advice', 'locked'),
	'3000.0|holds 8, never more than 4 active in 100 minutes: 5 would do; 25 % of their active time they wait for locks, which more connections do not mend',
	'waits for locks');
is(advice('lock_wait_seconds', 'web'), '0.0', 'nobody else has waited');

# --- what a standby recorded before it became this primary
record('elsewhere', minutes => 100, held => 8, active => 2, active_max => 4, recorded_on => 'standby');
is(advice('count(*)', 'elsewhere'), '0', "a standby's minutes are not the primary's");

# --- a live scene: counted in memory, then in memory and table
my @crowd = map { LgSession->new($node, user => 'clerk', parameters => { application_name => 'crowd' }) } 1 .. 5;
$crowd[0]->send('SELECT pg_sleep(600)');
ok($session->poll("SELECT held_max, active_max, lock_wait_seconds, advised FROM lifeguard.pool_advice WHERE application_name = 'crowd'", '5|1|0.0|'),
	'a live scene');
# as the keeper writes it, which keeps it in memory, too
$session->query("INSERT INTO lifeguard.connection_usage_entries SELECT * FROM lifeguard.read_connection_usage_history() ON CONFLICT DO NOTHING");
is(advice('held_max, active_max', 'crowd'), '5|1', 'what is in memory and table counts once');
like(advice('advice', 'crowd'), qr/^only (1 minute|2 minutes) recorded; at least 60 are needed$/, 'of too few minutes');
is($session->query('SELECT bool_and(max_connections = 30 AND cores = lifeguard.cores()), count(DISTINCT total_advised), max(total_advised) = sum(COALESCE(advised, held_max)) FROM lifeguard.pool_advice'),
	't|1|t', 'all together');
is(advice("(SELECT application_name FROM lifeguard.pool_advice LIMIT 1), (SELECT count(*) FROM lifeguard.pool_advice WHERE application_name IN ('web', 'spiky', 'queue', 'pauser', 'fits', 'sleepy', 'single', 'young', 'grown', 'shared', 'twice', 'locked', 'crowd'))", 'web'),
	'spiky|14', 'most to gain first') or diag $session->query('SELECT application_name, held_max - advised FROM lifeguard.pool_advice');

# --- who may not see clients has the same sums
my $nobody = LgSession->new($node, user => 'nobody', parameters => { application_name => 'humble' });
my $rows = "SELECT string_agg(a::text, E'\\n' ORDER BY application_name, usename) FROM lifeguard.pool_advice a WHERE application_name NOT IN ('crowd', 'eye', 'humble')";
my $total = qr/\d+,[^,]*,30\)$/m;    # it counts who has just come, too
(my $seen = $nobody->query($rows)) =~ s/$total//g;
(my $all = $session->query($rows)) =~ s/$total//g;
is($seen, $all, 'advice is for everybody');
$nobody->close;

# --- a standby has the primary's tables, and gives advice of its own sessions
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('pool_advice_standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my $there = LgSession->new($standby, parameters => { application_name => 'traveller' });
ok($there->poll("SELECT count(*) FILTER (WHERE application_name = 'traveller') > 0, count(*) FILTER (WHERE application_name IN ('web', 'crowd')) FROM lifeguard.pool_advice", 't|0'),
	'a standby: its own sessions only');
is($there->query("SELECT count(*) > 0 FROM lifeguard.pool_advice WHERE application_name = 'elsewhere'"), 't',
	'and what was recorded as one');
$there->close;
$standby->stop;

$_->close foreach @crowd;
is(lg_view_errors($session), '', 'every view answers');
$session->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
