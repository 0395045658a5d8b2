# The ledger in its table: nothing is lost by a clean stop, nothing that was
# written by a crash, nothing is shown twice, and nobody sees more than he may.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgPolicies;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('ledger', conf => <<'END');
pg_lifeguard.sample_interval = 0
pg_lifeguard.max_ledger = 16
END
my $file = $node->data_dir . '/pg_stat/pg_lifeguard.records';
my $session = LgSession->new($node);
$session->query('CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN; GRANT pg_read_all_stats TO auditor');

# End a session, giving that reason.
sub act
{
	my ($reason, %options) = @_;
	my $victim = LgSession->new($node, %options);
	$victim->query("SELECT 'secret of $reason' /* till=4 */");
	return $session->query("SELECT lifeguard.terminate_session(${\$victim->pid}, '$reason')");
}

sub rows_in
{
	my ($relation, $reason) = @_;
	return $session->query("SELECT count(*) FROM lifeguard.$relation WHERE reason = '$reason'");
}

sub is_written
{
	my ($reason) = @_;
	# what the keeper has written it still has to note
	return $session->poll("SELECT count(*) = 1 FROM lifeguard.ledger_entries WHERE reason = '$reason' AND outcome LIKE 'terminated in %'")
	  && $session->poll('SELECT ledger_unflushed = 0 FROM lifeguard.status');
}

sub again
{
	my ($mode) = @_;
	$session->close;
	$node->stop($mode);
	$node->start;
	$session = LgSession->new($node);
	return;
}

# --- memory at once, the table soon, the view once
like(act('one'), qr/^terminated in/, 'an action');
is(rows_in('ledger', 'one'), '1', 'shown at once');
ok(is_written('one'), 'written');
is(rows_in('ledger', 'one'), '1', 'shown once');
is(lg_status($session, 'ledger_unflushed, ledger_lost, keeper_problem, keeper_last_flush IS NOT NULL'), '0|0||t', 'all is well');
my $shown = $session->query("SELECT l::text FROM lifeguard.ledger l");
again('fast');
is(rows_in('read_ledger()', 'one'), '0', 'not in memory after a restart');
is($session->query("SELECT l::text FROM lifeguard.ledger l"), $shown, 'the same row, now from the table');

# --- the table is locked; a crash
my $locker = LgSession->new($node);
$locker->query('BEGIN; LOCK TABLE lifeguard.ledger_entries');
act('locked');
ok($session->poll("SELECT keeper_problem LIKE '%lock timeout%' FROM lifeguard.status"), 'a locked table is a problem');
is(lg_status($session, 'ledger_unflushed, ledger_lost'), '1|0', 'the row waits');
$locker->query('COMMIT');
$locker->close;
ok(is_written('locked'), 'written later');
ok($session->poll('SELECT keeper_problem IS NULL FROM lifeguard.status'), 'well again');
again('immediate');
is(rows_in('ledger', $_), '1', "after a crash: $_") foreach ('one', 'locked');

# --- what is hung on the table is refused, and a clean stop loses nothing
$session->query(<<'END');
CREATE TABLE loot (who text);
CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.loot SELECT current_user; RETURN NEW; END $$;
END
my @refused = (
	[ 'trigger', 'CREATE TRIGGER steal BEFORE INSERT ON lifeguard.ledger_entries FOR EACH ROW EXECUTE FUNCTION steal()',
		'DROP TRIGGER steal ON lifeguard.ledger_entries', '%trigger%' ],
	[ 'rule', 'CREATE RULE steal AS ON INSERT TO lifeguard.ledger_entries DO ALSO INSERT INTO loot VALUES (1)',
		'DROP RULE steal ON lifeguard.ledger_entries', '%a rule%' ],
	[ 'reference', 'CREATE TABLE fence (boot timestamptz, number bigint, FOREIGN KEY (boot, number) REFERENCES lifeguard.ledger_entries ON DELETE CASCADE)',
		'DROP TABLE fence', '%foreign key%' ],
	[ 'security', 'ALTER TABLE lifeguard.ledger_entries ENABLE ROW LEVEL SECURITY',
		'ALTER TABLE lifeguard.ledger_entries DISABLE ROW LEVEL SECURITY', '%row-level security%' ]);
foreach my $case (@refused)
{
	my ($what, $do, $undo, $problem) = @$case;
	$session->query($do);
	act($what);
	ok($session->poll("SELECT keeper_problem LIKE '$problem' FROM lifeguard.status"), "refused: $what");
	is(rows_in('ledger', $what), '1', 'shown from memory');
	is(rows_in('ledger_entries', $what), '0', 'not written');
	again('fast');
	ok(-e $file, 'there is a file');
	again('immediate') if $what eq 'rule';
	is(rows_in('ledger', $what), '1', 'a clean stop does not lose it');
	$session->query($undo);
	ok(is_written($what), 'written after all');
	is(rows_in('ledger', $what), '1', 'shown once');
	again('fast');
	ok(!-e $file, 'the file is gone');
}
is($session->query('SELECT count(*) FROM loot'), '0', 'nothing foreign has run');

# --- more than fits into memory is lost, and counted
$session->query($refused[0][1]);
act("many $_") foreach (1 .. 18);
is(lg_status($session, 'ledger_unflushed, ledger_lost'), '16|2', 'what is pushed out is counted');
$session->close;
$node->stop;

# --- a file that is none
ok(-s $file, 'the file is there');
open(my $handle, '+<', $file) or die $!;
seek $handle, 500, 0;
print $handle 'damage';
close $handle;
$node->start;
$session = LgSession->new($node);
like(slurp_file($node->logfile), qr/ignoring file "pg_stat\/pg_lifeguard\.records"/, 'a damaged file is ignored');
is(lg_status($session, 'ledger_unflushed, ledger_lost'), '0|0', 'nothing of it is taken');
$session->query($refused[0][2]);

# --- NOTIFY: any role that may connect can listen, so it says no more than any may read
my $listener = LgSession->new($node, user => 'clerk');
$listener->query('LISTEN pg_lifeguard');
act('silent');
ok(is_written('silent'), 'written while notify is off');
# a keeper that is there may not have heard of it
ok(lg_put_in_force($session, 'pg_lifeguard.notify' => 'on'), 'switched on');
ok($session->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'", 0), 'no keeper is there');

# The payloads, fit to stand in quotes, once there are so many.
sub heard
{
	my ($n) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($listener->notifications >= $n || time > $deadline)
	{
		$listener->query('SELECT pg_sleep(0.1)');
	}
	return map { $_->{payload} =~ s/'/''/gr } $listener->notifications;
}

act('loud');
my @notes = heard(1);
is(scalar @notes, 1, 'one notification');
is(($listener->notifications)[0]{channel}, 'pg_lifeguard', 'on the channel');
like($session->query("SELECT j->>'reason', j->>'outcome', j->>'usename', j->>'pid' FROM (SELECT jsonb '$notes[0]') p (j)"),
	qr/^loud\|terminated in \d+ ms\|\w+\|\d+$/, 'the row as JSON, with a reason given by hand');
ok(lg_define($session, watch => { action => 'log', include_superusers => 'true' }), 'a policy');
my $watched = LgSession->new($node, parameters => { application_name => 'watch' });
$watched->query("BEGIN; SELECT 'secret of watched' /* till=5 */");
lg_grown_old($session);
lg_run_pass($session);
@notes = heard(2);
is(scalar @notes, 2, 'another one');
my %hidden = (hand => 'backend_start,client_addr,query,query_tags,state,state_age');
$hidden{policy} = $hidden{hand} =~ s/query_tags/query_tags,reason/r;
foreach my $by ('hand', 'policy')
{
	my $note = shift @notes;
	my $found = "FROM lifeguard.ledger l, (SELECT jsonb '$note') p (j) WHERE l.at = (j->>'at')::timestamptz AND l.pid = (j->>'pid')::int AND l.policy IS NOT DISTINCT FROM j->>'policy'";
	is($listener->query("SELECT j <@ to_jsonb(l) $found"), 't', "by $by: only what everybody may read");
	is($listener->query("SELECT string_agg(k, ',' ORDER BY k) FROM (SELECT jsonb_object_keys(to_jsonb(l) - array(SELECT jsonb_object_keys(j))) $found) k (k)"),
		$hidden{$by}, "by $by: and all of it");
	my $auditor = LgSession->new($node, user => 'auditor');
	like($auditor->query("SELECT query, query_tags, state, reason $found"),
		qr/^[^|]*secret of [^|]*\|till=\d\|idle[^|]*\|.*\w/, "by $by: who may see the rest finds it in the ledger");
	$auditor->close;
}
$watched->close;
$listener->close;
lg_drop($session);
lg_configure($session, 'pg_lifeguard.notify' => 'off');

# --- who sees what, once rows come from the table
act('clerk', user => 'clerk');
ok(is_written('clerk'), 'a row about a clerk');
again('fast');
is(rows_in('read_ledger()', 'clerk'), '0', 'none in memory');
my %seen = (
	clerk => [ "secret of clerk", '<insufficient privilege>' ],
	auditor => [ "secret of clerk", "secret of loud" ]);
foreach my $role (sort keys %seen)
{
	my $eye = LgSession->new($node, user => $role);
	my ($own, $other) = @{ $seen{$role} };
	like($eye->query("SELECT query FROM lifeguard.ledger WHERE reason = 'clerk'"), qr/\Q$own/, "$role: the clerk's row");
	like($eye->query("SELECT query FROM lifeguard.ledger WHERE reason = 'loud'"), qr/\Q$other/, "$role: a superuser's row");
	is($eye->query("SELECT backend_start IS NULL AND state IS NULL AND state_age IS NULL AND query_tags IS NULL FROM lifeguard.ledger WHERE reason = 'loud'"),
		$role eq 'clerk' ? 't' : 'f', "$role: the rest of it");
	$eye->close;
}
my $clerk = LgSession->new($node, user => 'clerk');
like($clerk->error_of('SELECT FROM lifeguard.ledger_entries')->{message}, qr/permission denied/, 'the table is nobody\'s');
$clerk->query(<<'END');
CREATE FUNCTION pg_temp.peep(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
	$$ BEGIN IF $1 LIKE '%secret of loud%' THEN RAISE 'seen: %', $1; END IF; RETURN true; END $$;
END
is($clerk->error_of('SELECT FROM lifeguard.ledger WHERE pg_temp.peep(query) AND pg_temp.peep(query_tags)'), undef,
	'nor does a function in WHERE');
$clerk->close;
$session->query('DROP OWNED BY clerk; DROP ROLE clerk');
is(rows_in('ledger', 'clerk'), '1', 'a role that is gone leaves its rows');

# --- retention
# the keeper that came after the restart goes by what was set then
$session->poll('SELECT keeper_last_run IS NOT NULL FROM lifeguard.status') or die;
$session->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'", '0') or die;
$session->query("UPDATE lifeguard.ledger_entries SET at = at - interval '366 days' WHERE reason IN ('one', 'clerk')");
$session->query("UPDATE lifeguard.ledger_entries SET at = at - interval '364 days' WHERE reason = 'loud'");
$session->query("INSERT INTO lifeguard.ledger_entries (boot, number, at, reason) SELECT '2000-01-01', g, '2000-01-01', 'old' FROM generate_series(1, 2500) g");
lg_configure($session, 'pg_lifeguard.ledger_retention' => '0');
again('fast');
$session->poll('SELECT keeper_last_run IS NOT NULL FROM lifeguard.status');
act('kept');
ok(is_written('kept'), 'a keeper has been there');
is(rows_in('ledger', 'old'), '2500', 'retention 0 keeps all');
lg_configure($session, 'pg_lifeguard.ledger_retention' => '365');
ok($session->poll("SELECT count(*) = 0 FROM lifeguard.ledger WHERE reason IN ('one', 'clerk', 'old')"), 'old ones go');
is(rows_in('ledger', $_), '1', "$_ stays") foreach ('loud', 'kept');

$session->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
