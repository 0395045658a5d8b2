# LgKeeper.pm: what the tests of the keeper share.

package LgKeeper;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(create_policy policies_become problem_becomes well_again poke);

sub create_policy
{
	my ($on, $name) = @_;
	return $on->query("SELECT lifeguard.create_policy('$name', target => 'idle', min_duration => '1 min')");
}

sub policies_become
{
	my ($on, $expected) = @_;
	return $on->poll('SELECT policies FROM lifeguard.status', $expected);
}

# Which problem is shown, once one that matches is.
sub problem_becomes
{
	my ($on, $pattern) = @_;
	return $on->poll("SELECT keeper_problem LIKE '$pattern' FROM lifeguard.status");
}

sub well_again
{
	my ($on) = @_;
	return $on->poll('SELECT keeper_problem IS NULL FROM lifeguard.status');
}

# Have the policies read, without waiting until nothing tells of a change.
sub poke
{
	my ($on) = @_;
	$on->query('UPDATE ONLY lifeguard.policy SET enabled = enabled');
	return;
}

1;
