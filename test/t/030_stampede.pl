# A stampede: all but the oldest of those who run the same query are hit.  A pile
# of the same query behind a lock is none, whoever made it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgSession;
use LgTest;
use Test::More;

my $node = lg_server('stampede', conf => <<'END');
pg_lifeguard.sample_interval = 0
compute_query_id = on
END
my $boss = LgSession->new($node);
$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE till (id int);
INSERT INTO till VALUES (1);
CREATE ROLE clerk LOGIN;
GRANT ALL ON till TO clerk;
SELECT lifeguard.create_policy('stampede', 'active', '10 ms', min_same_query => 3,
	victim_order => 'all but oldest', queries => '{%pg_sleep%,UPDATE till%}')
END
$boss->poll("SELECT count(*) FROM lifeguard.policy_status", 1) or die 'the policy was not published';

my @crowd = map { LgSession->new($node, user => 'clerk') } 1 .. 4;
my $pids = join ',', map { $_->pid } @crowd;

# Everybody's verdict, when all have run for longer than min_duration.
sub verdicts
{
	$boss->poll("SELECT count(*) FROM pg_stat_activity WHERE pid IN ($pids) AND state = 'active'"
		. " AND clock_timestamp() - query_start > '50 ms'", 4)
	  or die 'they do not run';
	return $boss->query("SELECT verdict, why, count(*) FROM lifeguard.preview_policy('stampede')"
		. " WHERE pid IN ($pids) GROUP BY 1, 2 ORDER BY 1, 2");
}

$boss->query('BEGIN');
$boss->query('UPDATE till SET id = id');
$_->send('UPDATE till SET id = id + 1') foreach @crowd;
$boss->poll("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN ($pids)", 4)
  or die 'they do not wait';
is(verdicts(), 'spared|it waits for a lock, which is not its doing|4', 'those who wait for a lock are spared');
$boss->query('COMMIT');
defined $_->answer or die 'no answer' foreach @crowd;

# of those that begin in the same microsecond each would be the oldest
my ($oldest, @others) = @crowd;
$oldest->send('SELECT pg_sleep(300)');
$boss->poll("SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = ${\$oldest->pid}") or die 'it does not run';
$_->send('SELECT pg_sleep(300)') foreach @others;
like(verdicts(), qr/\Alog\|running its statement for .*; 4 sessions run that query\|\d(\nlog\|.*){0,2}\nspared\|the oldest is left\|1\z/,
	'those who run the same query are hit, but for the oldest');
$boss->query("SELECT pg_cancel_backend(pid) FROM unnest(ARRAY[$pids]) pid");
defined $_->answer or die 'no answer' foreach @crowd;

is(lg_log_complaints($node), '', 'nothing bad in the log');
$_->close foreach @crowd, $boss;
$node->stop;
done_testing();
