# LgBouncer.pm: a PgBouncer in front of a server, where it can be had; see
# 027_clients.pl for where from.

package LgBouncer;

use strict;
use warnings;

use IO::Socket::UNIX;
use IPC::Run;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time usleep);

# LgBouncer->new($node, $mode, %options): start one; nothing if there is none.
#   pool_size           connections to the server; 1 unless told
#   user                who logs in to the server; clerk unless told
sub new
{
	my ($class, $node, $mode, %options) = @_;
	my $unpacked = $ENV{LG_CLIENTS} // '/nonexistent';
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $log = "$PostgreSQL::Test::Utils::log_path/pgbouncer_" . $node->name . "_$mode.log";
	my $self = bless { name => "PgBouncer, $mode", dir => $dir, log => $log, limit => $PostgreSQL::Test::Utils::timeout_default }, $class;
	my ($host, $port) = ($node->host, $node->port);
	my ($user, $pool_size) = ($options{user} // 'clerk', $options{pool_size} // 1);
	my $out = '';
	local $ENV{LD_LIBRARY_PATH} = join ':', glob("$unpacked/usr/lib/*-linux-gnu");
	local $ENV{PATH} = "$unpacked/usr/sbin:$ENV{PATH}";

	return unless eval { IPC::Run::run([ 'pgbouncer', '--version' ], '>', \$out, '2>', \$out) };
	PostgreSQL::Test::Utils::append_to_file("$dir/ini", <<"END");
[databases]
postgres = host=$host port=$port dbname=postgres user=$user pool_size=$pool_size
[pgbouncer]
unix_socket_dir = $dir
listen_port = 6432
auth_type = any
pool_mode = $mode
logfile = $log
END
	$self->{process} = IPC::Run::start([ 'pgbouncer', '-q', "$dir/ini" ], '<', \undef, '>', '/dev/null', '2>', '/dev/null');
	my $deadline = time + $self->{limit};
	usleep(20_000) until -S "$dir/.s.PGSQL.6432" || time > $deadline;
	return $self;
}

sub name { return $_[0]->{name}; }

sub raw_connect
{
	my ($self) = @_;
	return IO::Socket::UNIX->new(Peer => "$self->{dir}/.s.PGSQL.6432") || die "no connection to PgBouncer: $!\n";
}

# True once it has noticed that the server hung up, after so much of its log.
# It has other words for a client that sends something before that.
sub lost_server
{
	my ($self, $logged) = @_;
	my $deadline = time + $self->{limit};
	my $lost;
	until ($lost = PostgreSQL::Test::Utils::slurp_file($self->{log}, $logged) =~ /closing because: server conn crashed\?/)
	{
		last if time > $deadline;
		usleep(20_000);
	}
	return $lost;
}

sub stop
{
	my ($self) = @_;
	(delete $self->{process})->kill_kill if $self->{process};
	return;
}

1;
