# LgPolicies.pm: what the tests of policies at work share: policies that are in
# force when the call returns, passes, and what the ledger says.

package LgPolicies;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

use LgSession;

our @EXPORT = qw(lg_define lg_drop lg_drop_named lg_run_pass lg_outcome lg_ledger lg_grown_old lg_waits);

# The words "name => 'value'" for a function's arguments, from a hash.
sub _arguments
{
	my (%columns) = @_;
	return join ', ', map {
		my $value = $columns{$_};
		$value = '{' . join(',', map { qq("$_") } @$value) . '}' if ref $value;
		$value =~ s/'/''/g;
		"$_ => '$value'"
	} sort keys %columns;
}

# Create policies, all at once, and wait until they are published:
# name => { columns }.  Unless told otherwise they act only on sessions whose
# application has the policy's name, at once, and without limits.
sub lg_define
{
	my ($session, %policies) = @_;

	$session->query(join '; ', map {
		my %columns = (
			target => 'idle in transaction',
			min_duration => '1 ms',
			action => 'terminate',
			applications => [$_],
			max_per_pass => 0,
			max_per_minute => 0,
			cooldown => '0 s',
			%{ $policies{$_} });
		delete $columns{$_} foreach grep { !defined $columns{$_} } keys %columns;
		'SELECT lifeguard.create_policy(' . _arguments(name => $_, %columns) . ')'
	} sort keys %policies);
	return $session->poll('SELECT count(*) FROM lifeguard.policy_status WHERE name IN ('
		  . join(',', map { "'$_'" } keys %policies) . ')', scalar keys %policies);
}

# Drop all policies, and wait until none is in force.
sub lg_drop
{
	my ($session) = @_;
	$session->query('DELETE FROM lifeguard.policy');
	return $session->poll('SELECT count(*) FROM lifeguard.policy_status', '0');
}

# Drop these, and wait until they are not in force any more.
sub lg_drop_named
{
	my ($session, @names) = @_;
	my $list = join ',', map { "'$_'" } @names;

	$session->query("SELECT lifeguard.drop_policy('$_')") foreach @names;
	return $session->poll("SELECT count(*) FROM lifeguard.policy_status WHERE name IN ($list)", '0');
}

sub lg_run_pass
{
	my ($session) = @_;
	return $session->query('SELECT lifeguard.run_pass()');
}

# Whatever is so now is older than any policy's limit here when this returns.
sub lg_grown_old
{
	my ($session) = @_;
	return $session->query('SELECT pg_sleep(0.02)');
}

# Columns of the newest ledger row of a policy and a session, as psql -At has it.
sub lg_ledger
{
	my ($session, $policy, $pid, $columns) = @_;
	return $session->query("SELECT $columns FROM lifeguard.ledger WHERE policy = '$policy' AND pid = $pid ORDER BY at DESC LIMIT 1");
}

# The outcome there, once it is known, with N for the milliseconds; "none"
# when the policy has done nothing to that session.
sub lg_outcome
{
	my ($session, $policy, $pid) = @_;
	$session->poll("SELECT count(*) FROM lifeguard.ledger WHERE policy = '$policy' AND pid = $pid AND outcome = 'signalled'", '0');
	my $outcome = lg_ledger($session, $policy, $pid, 'outcome') || 'none';
	$outcome =~ s/ in \d+ ms$/ in N ms/;
	return $outcome;
}

# True once all these sessions wait for a lock.
sub lg_waits
{
	my ($session, @waiters) = @_;
	return $session->poll("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid IN ("
		  . join(',', map { $_->pid } @waiters) . ')', scalar @waiters);
}

1;
