# A policy that pg_cron runs: its jobs call lifeguard.run_policy() with the rights
# of whoever made them, in a background worker and over a connection.
#
# pg_cron looks for jobs at full minutes, and for those marked @reboot when it
# starts; the latter are here, unless LG_LONG is set.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'pg_cron is not installed' unless lg_has_library('pg_cron');
my $when = $ENV{LG_LONG} ? '* * * * *' : '@reboot';

foreach my $by ('worker', 'connection')
{
	my $node = lg_server("cron_$by", preload => 'pg_lifeguard,pg_cron', start => 0, conf => <<'END');
log_line_prefix = '%m [%p] '
pg_lifeguard.sample_interval = 200
cron.database_name = 'postgres'
END
	$node->append_conf('postgresql.conf', "cron.host = '" . $node->host . "'\ncron.use_background_workers = "
		  . ($by eq 'worker' ? 'on' : 'off') . "\n");
	$node->start;

	# The jobs wait for their victim, whose state they may not see.
	my $boss = LgSession->new($node);
	$boss->query($_) foreach split /;;\n/, <<"END";
CREATE EXTENSION pg_lifeguard;;
CREATE EXTENSION pg_cron;;
CREATE TABLE till (id int);;
CREATE ROLE clerk LOGIN;;
CREATE ROLE nurse LOGIN;;
CREATE ROLE visitor LOGIN;;
GRANT ALL ON till TO clerk;;
GRANT pg_signal_backend TO nurse, visitor;;
GRANT EXECUTE ON FUNCTION lifeguard.run_policy TO nurse, visitor;;
GRANT USAGE ON SCHEMA cron TO nurse, visitor;;
CREATE FUNCTION await_victim() RETURNS bool SECURITY DEFINER LANGUAGE plpgsql AS \$\$
BEGIN
	FOR i IN 1 .. 2000 LOOP
		IF EXISTS (SELECT FROM lifeguard.sessions
			WHERE usename = 'clerk' AND state = 'idle in transaction' AND state_age > '400 ms') THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
	RETURN false;
END \$\$;;
INSERT INTO lifeguard.policy (name, target, min_duration, action, enabled, owner)
	VALUES ('p', 'idle in transaction', '300 ms', 'terminate', false, 'nurse');;
SET ROLE visitor;;
SELECT cron.schedule('intrusion', '$when', \$\$SELECT lifeguard.run_policy('p')\$\$);;
SET ROLE nurse;;
SELECT cron.schedule('rescue', '$when', \$\$SELECT lifeguard.run_policy('p') FROM await_victim()\$\$)
END
	$boss->close;
	$node->restart;
	$boss = LgSession->new($node);
	is($boss->error_of("SELECT lifeguard.preview_policy('p')"), undef, "by a $by: policies are there when the server is");
	my $victim = LgSession->new($node, user => 'clerk');
	$victim->query('BEGIN; INSERT INTO till VALUES (1)');
	my $error = $victim->answer->{error};

	is($error->{sqlstate}, '57P01', "by a $by: the job ended the session");
	like($error->{detail}, qr/^pg_lifeguard acted on this session under policy "p": idle in transaction for [\d.]+ m?s\.$/,
		"by a $by: its client is told why");
	my $ran = 'FROM cron.job_run_details d JOIN cron.job j USING (jobid)';
	ok($boss->poll("SELECT count(DISTINCT j.jobid) = 2 $ran WHERE d.status IN ('succeeded', 'failed')"), "by a $by: both jobs ran");
	is($boss->query("SELECT d.status, d.username $ran WHERE j.jobname = 'rescue' ORDER BY runid LIMIT 1"),
		'succeeded|nurse', "by a $by: one for the policy's owner");
	like($boss->query("SELECT d.status, d.return_message $ran WHERE j.jobname = 'intrusion' ORDER BY runid LIMIT 1"),
		qr/^failed\|(?:ERROR:\s+)?must be owner of policy "p"/, "by a $by: none for another role");
	like($boss->query('SELECT policy, usename, outcome FROM lifeguard.ledger WHERE pid = ' . $victim->pid),
		qr/^p\|clerk\|terminated in \d+ ms$/, "by a $by: the ledger has it");
	is($boss->query('SELECT count(*) FROM till'), '0', "by a $by: the transaction is rolled back");
	is($boss->query('SELECT in_force, why_not FROM lifeguard.policy_status'), 'f|it is disabled',
		"by a $by: it was not the collector, for which the policy is disabled");
	$_->close foreach ($victim, $boss);
	$node->stop;
	is(lg_log_complaints($node), '', "by a $by: nothing bad in the log");
}

done_testing();
