# LgFlood.pm: many connection attempts at once, as fast as one process can make
# them, and what each of them was told.

package LgFlood;

use strict;
use warnings;

use Exporter 'import';
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time);

our @EXPORT = qw(lg_flood lg_half_open);

# So many attempts; returns the different answers that came, by where in the
# server's source they were given ("in": logged in, "closed": hung up without a
# word), each { n, sqlstate, message, file }.
#   at_once      attempts under way at a time; 8 unless told
#   host         a loopback address, instead of the socket
#   all else     startup parameters
sub lg_flood
{
	my ($node, $attempts, %startup) = @_;
	my $at_once = delete $startup{at_once} // 8;
	my $host = delete $startup{host};
	my $deadline = time + 2 * $PostgreSQL::Test::Utils::timeout_default;
	my $select = IO::Select->new;
	my (%heard, %told);

	%startup = (database => 'postgres', %startup);
	my $packet = pack('N', 3 << 16) . join('', map { "$_\0$startup{$_}\0" } sort keys %startup) . "\0";
	$packet = pack('N', 4 + length $packet) . $packet;
	local $SIG{PIPE} = 'IGNORE';
	while ($attempts > 0 || $select->count)
	{
		while ($attempts > 0 && $select->count < $at_once)
		{
			my $socket =
				$host
			  ? IO::Socket::INET->new(PeerAddr => $host, PeerPort => $node->port)
			  : $node->raw_connect;
			die "cannot connect: $!\n" unless $socket;
			syswrite $socket, $packet;
			$heard{$socket} = '';
			$select->add($socket);
			$attempts--;
		}
		die "no answer to a connection attempt\n" if time > $deadline;
		foreach my $socket ($select->can_read(1))
		{
			my $n = sysread $socket, $heard{$socket}, 8192, length $heard{$socket};
			my $answer = _answer($heard{$socket}, !$n) or next;

			# as a client does: what it has been told is all it wants to know
			my $where = $answer->{F} ? "$answer->{F}:$answer->{L}" : $answer->{C};
			$told{$where} //= { n => 0, sqlstate => $answer->{C}, message => $answer->{M}, file => $answer->{F} };
			$told{$where}{n}++;
			$select->remove($socket);
			delete $heard{$socket};
			close $socket;
		}
	}
	return \%told;
}

# The first error, or that the session is ready; nothing while neither is there.
sub _answer
{
	my ($heard, $closed) = @_;

	while (length $heard >= 5)
	{
		my ($type, $length) = unpack('aN', $heard);
		last if length $heard < 1 + $length;
		return { map { substr($_, 0, 1) => substr($_, 1) } grep { length } split /\0/,
			substr($heard, 5, $length - 4) }
		  if $type eq 'E';
		return { C => 'in' } if $type eq 'Z';
		substr($heard, 0, 1 + $length) = '';
	}
	return $closed ? { C => 'closed' } : undef;
}

# So many connections that say nothing; they go when the result does.
sub lg_half_open
{
	my ($node, $n) = @_;
	return [map { $node->raw_connect } 1 .. $n];
}

1;
