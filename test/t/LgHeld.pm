# LgHeld.pm: a server whose processes a test can hold at certain points, with a test
# build of the library (src/test_point.h), and policies whose outcomes are awaited.

package LgHeld;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use LgPolicies;
use LgTest;

our @EXPORT = qw(lg_held_server policy drop comes_out hold was_held is_held let_go);

my ($folder, $boss);

# Start a server, on which the extension is that of a test build made here, with a
# table and two roles.  Returns it and a superuser's session.
sub lg_held_server
{
	my ($name) = @_;
	my $build = PostgreSQL::Test::Utils::tempdir;
	{
		local %ENV = %ENV;
		delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS MAKEOVERRIDES)};
		chomp(my $pg_config = `which pg_config`);
		my $said = `cp -r src extension Makefile pg_lifeguard.control '$build' && cd '$build' && rm -f src/*.o && make -s with_llvm=no PG_CONFIG='$pg_config' COPT='-DLG_TEST -Werror' pg_lifeguard.so 2>&1`;
		ok($? == 0, 'a test build') or die $said;
	}

	my $node = lg_server($name, conf => <<'END');
max_connections = 12
max_prepared_transactions = 12
superuser_reserved_connections = 0
log_line_prefix = '%m [%p] '
log_statement = all
jit = off
deadlock_timeout = 1h
pg_lifeguard.fast_interval = 50ms
pg_lifeguard.max_actions_per_minute = 0
END
	# the functions of this server are to come from there, too
	$node->safe_psql('postgres', q{UPDATE pg_proc SET probin = 'pg_lifeguard' WHERE probin = '$libdir/pg_lifeguard'});
	$node->append_conf('postgresql.conf', "dynamic_library_path = '$build:\$libdir'");
	$node->restart;
	$folder = $node->data_dir . '/lg_test';
	mkdir $folder;
	$boss = LgSession->new($node);
	$boss->query($_) foreach split /;\n/, <<'END';
CREATE TABLE till (id int);
INSERT INTO till VALUES (1);
GRANT ALL ON till TO PUBLIC;
CREATE ROLE clerk LOGIN;
CREATE ROLE porter LOGIN
END
	return ($node, $boss);
}

# A policy in force, on whatever the clerk's sessions do for 200 ms unless told otherwise.
sub policy
{
	my ($name, %columns) = @_;
	lg_define($boss, $name => { applications => ['lgtest'], min_duration => '200 ms', roles => '{clerk}', %columns }) or die;
	return;
}

# Policies out of force.
sub drop
{
	lg_drop_named($boss, @_) or die;
	return;
}

# Does the ledger come to say that of a session?
sub comes_out
{
	my ($pid, $outcome) = @_;
	return $boss->poll("SELECT count(*) = 1 FROM lifeguard.ledger WHERE pid = $pid AND outcome LIKE '$outcome'");
}

# Hold whoever comes to that point.
sub hold
{
	my ($point) = @_;
	unlink "$folder/$point.reached";
	append_to_file("$folder/$point", '');
	return;
}

# Has somebody?
sub was_held
{
	my ($point) = @_;
	return -e "$folder/$point.reached";
}

# Wait until somebody has.
sub is_held
{
	my ($point) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	usleep(1000) while !was_held($point) && time < $deadline;
	return was_held($point);
}

# Let him go.
sub let_go
{
	my ($point) = @_;
	unlink "$folder/$point";
	return;
}

1;
