# LgClock.pm: a wall clock that a test sets, for all processes of a server, where
# libfaketime is installed.

package LgClock;

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);

use LgTest;

# LgClock->new: nothing if there is no libfaketime.
sub new
{
	my ($class) = @_;
	my ($library) = grep { -e } glob '/usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1';
	return unless $library;

	my $self = bless { library => $library, file => PostgreSQL::Test::Utils::tempdir . '/offset' }, $class;
	$self->set('+0');
	return $self;
}

# Another moment for every process at once, so many seconds from ours; the file is
# never empty.
sub set
{
	my ($self, $offset) = @_;
	append_to_file("$self->{file}.new", "$offset\n");
	rename "$self->{file}.new", $self->{file} or die "rename: $!\n";
	return;
}

# Have that moment, in seconds of the epoch, give or take two, whatever holds us up:
# the clock goes on meanwhile.  False if that cannot be had.
sub bring
{
	my ($self, $session, $moment) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $deadline)
	{
		$self->set(sprintf '%+.3f', $moment - time);
		return 1 if $session->query("SELECT abs(extract(epoch FROM clock_timestamp()) - $moment) < 2") eq 't';
	}
	return 0;
}

# Start a server that goes by it, as all that the server starts.
sub start
{
	my ($self, $node) = @_;
	local $ENV{LD_PRELOAD} = $self->{library};
	local $ENV{FAKETIME_TIMESTAMP_FILE} = $self->{file};
	local $ENV{FAKETIME_NO_CACHE} = 1;
	local $ENV{FAKETIME_DONT_FAKE_MONOTONIC} = 1;
	local $ENV{DONT_FAKE_MONOTONIC} = 1;
	local $ENV{NO_FAKE_STAT} = 1;
	$node->start;
	return;
}

# True once the collector goes by it, too.  Up to 15 the postmaster first starts it
# from a signal handler, within a call that libfaketime leaves alone, and all that
# it does stays unfaked.  Ended once, it is started from the postmaster's main loop.
sub take_collector
{
	my ($self, $session) = @_;
	my $unfaked = lg_status($session, 'collector_pid');
	$session->query("SELECT pg_terminate_backend($unfaked)");
	return lg_collector_again($session, $unfaked);
}

1;
