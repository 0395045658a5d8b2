# Connections come and go while passes run as fast as they can: no count ever
# leaves its bounds.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('storm', conf => <<'END');
log_statement = none
pg_lifeguard.sample_interval = 10ms
END
my $session = LgSession->new($node);
$session->query(<<'END');
CREATE PROCEDURE watch() LANGUAGE plpgsql AS $$
DECLARE
	c lifeguard.connections;
	s lifeguard.status;
	n bigint;
	visible bigint;
BEGIN
	FOR i IN 1 .. 200 LOOP
		PERFORM lifeguard.run_pass();
		SELECT * INTO c FROM lifeguard.connections;
		SELECT * INTO s FROM lifeguard.status;
		SELECT count(*), count(v::text) INTO n, visible FROM lifeguard.sessions v;
		ASSERT c.used BETWEEN 1 AND c.max_connections, 'used ' || c.used;
		ASSERT s.used BETWEEN 1 AND c.max_connections, 'seen used ' || s.used;
		ASSERT c.high_water BETWEEN 1 AND c.max_connections, 'high water ' || c.high_water;
		ASSERT least(c.active, c.idle, c.idle_in_transaction, c.idle_in_transaction_aborted,
					 c.other, c.waiting, c.walsenders) >= 0, 'negative: ' || c::text;
		ASSERT c.active >= 1, 'nobody is active';
		ASSERT n BETWEEN 1 AND c.max_connections AND visible = n, 'sessions ' || n;
		ASSERT (SELECT count(*) = count(DISTINCT pid) FROM lifeguard.sessions), 'a session twice';
		ASSERT (SELECT sum(used) BETWEEN 1 AND c.max_connections FROM lifeguard.connection_usage), 'usage';
		ASSERT NOT EXISTS (SELECT FROM lifeguard.sessions WHERE state_age < '0' OR xact_age < '0'), 'an age';
	END LOOP;
END $$
END

# Connects and disconnects, eight at a time, each with a small transaction.
my $rounds = $ENV{LG_LONG} ? 1000 : 50;
my $script = $node->basedir . '/connect.sql';
append_to_file($script, "BEGIN;\nSELECT 1;\nEND;\n");
my ($out, $err) = ('', '');
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
my $storm = IPC::Run::start(
	[ 'pgbench', '-n', '-C', '-c', '8', '-j', '2', '-t', $rounds, '-f', $script, 'postgres' ],
	'<', \undef, '>', \$out, '2>', \$err,
	IPC::Run::timeout(5 * $PostgreSQL::Test::Utils::timeout_default));
my $looks = 0;
my $worst = '';
do
{
	my $error = $session->error_of('CALL watch()');
	$worst ||= $error->{message} if $error;
	$looks++;
} while ($storm->pumpable && ($storm->pump_nb, 1)[1] && $storm->pumpable);
ok($storm->finish, "a storm of connections") or diag $err;
my $all = 8 * $rounds;
like($out, qr/number of transactions actually processed: $all\/$all/, 'every client got in');
is($worst, '', 'no count left its bounds');
note "looked $looks times 200 times";
cmp_ok($session->query('SELECT high_water FROM lifeguard.connections'), '>', 1, 'the storm left a high-water mark');
ok($session->poll('SELECT used = 1 FROM lifeguard.connections'), 'calm again');
is(lg_status($session, 'collector_starts, late_passes, clock_jumps'), '1|0|0', 'the collector went through it');
is(lg_view_errors($session), '', 'every view answers');

$session->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
