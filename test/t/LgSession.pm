# LgSession.pm: one client session, spoken to over the wire.
#
# psql would be one process and some megabytes per session, and would hide the
# moments these tests are about: a connection that has not finished logging in,
# an answer that does not come.  Every wait here has a limit.  Use Unix sockets
# and trust, as PostgreSQL::Test::Cluster sets them up.

package LgSession;

use strict;
use warnings;

use Errno;
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time usleep);

# LgSession->new($node, %options): connect and wait until the session is ready.
#   user, dbname        as usual
#   parameters          more startup parameters, e.g. { options => '-c ...' }
#   begin_only => 1     send the startup packet and return at once
#   refused_ok => 1     return the session, with {refused}, if it is turned away
#   host                a loopback address to connect from and to, instead of the socket
sub new
{
	my ($class, $node, %options) = @_;
	my %startup = (
		user => scalar getpwuid($<),
		database => 'postgres',
		application_name => 'lgtest',
		%{ $options{parameters} // {} });
	$startup{user} = $options{user} if defined $options{user};
	$startup{database} = $options{dbname} if defined $options{dbname};

	my $self = bless {
		socket => $options{host}
		? IO::Socket::INET->new(LocalAddr => $options{host}, PeerAddr => $options{host}, PeerPort => $node->port)
		: $node->raw_connect,
		name => $node->name,
		buffer => '',
		limit => $PostgreSQL::Test::Utils::timeout_default
	  },
	  $class;
	die "cannot connect to $options{host}: $@\n" unless $self->{socket};
	my $packet = pack('N', 3 << 16)
	  . join('', map { "$_\0$startup{$_}\0" } sort keys %startup) . "\0";
	$self->_write(pack('N', 4 + length $packet) . $packet);
	return $self if $options{begin_only};

	my $answer = $self->answer;
	die "no answer to a connection attempt\n" unless $answer;
	$self->{refused} = $answer->{error};
	die "connection refused: $answer->{error}{message}\n"
	  if $answer->{error} && !$options{refused_ok};
	return $self;
}

sub pid { return $_[0]->{pid}; }

# Send a statement and do not wait for its answer.
sub send
{
	my ($self, $sql) = @_;
	$self->_write('Q' . pack('N', 5 + length $sql) . "$sql\0");
	return $self;
}

# Send messages of the protocol, (type, body) each, and do not wait for anything.
sub send_messages
{
	my ($self, @messages) = @_;

	while (my ($type, $body) = splice @messages, 0, 2)
	{
		$self->_write($type . pack('N', 4 + length $body) . $body);
	}
	return $self;
}

# The answer to what was sent: { rows => [...], error => undef or { message,
# detail, hint, sqlstate } }, each row joined by "|" as psql -At has it.  Should
# there be several errors, the last is the error, and errors has all of them;
# notices, if any came, has likewise what was told besides.
# Undefined if none comes within so many seconds; ask again then.
sub answer
{
	my ($self, $limit) = @_;
	my $deadline = time + ($limit // $self->{limit});
	my $answer = $self->{partial} //= { rows => [], error => undef };

	while (!$self->{complete})
	{
		my ($type, $body) = $self->_message($deadline) or return undef;

		if ($type eq 'D')
		{
			push @{ $answer->{rows} }, _row($body);
		}
		elsif ($type eq 'E')
		{
			$answer->{error} = _fields($body);
			push @{ $answer->{errors} }, $answer->{error};
		}
		elsif ($type eq 'N')
		{
			push @{ $answer->{notices} }, _fields($body);
		}
		elsif ($type eq 'A')
		{
			my (undef, $channel, $payload) = unpack('N Z* Z*', $body);
			push @{ $self->{notifications} }, { channel => $channel, payload => $payload };
		}
		elsif ($type eq 'K')
		{
			$self->{pid} = unpack('N', $body);
		}
		# the end of an answer; or a password is asked for, which nobody here knows
		$self->{complete} = 1
		  if $type eq 'Z' || ($type eq 'R' && unpack('N', $body) != 0);
	}
	delete @$self{qw(partial complete)};
	return $answer;
}

# The result of a statement, as psql -At prints it; dies on an error.
sub query
{
	my ($self, $sql) = @_;
	my $answer = $self->send($sql)->answer;

	die "no answer within $self->{limit} s to: $sql\n" unless $answer;
	die "$answer->{error}{message}\nin: $sql\n" if $answer->{error};
	return join "\n", @{ $answer->{rows} };
}

# The error of a statement, or undef if there was none.
sub error_of
{
	my ($self, $sql) = @_;
	my $answer = $self->send($sql)->answer;

	die "no answer within $self->{limit} s to: $sql\n" unless $answer;
	return $answer->{error};
}

# What NOTIFY has brought so far, with the answers to other statements.
sub notifications { return @{ $_[0]->{notifications} // [] }; }

# Ask again and again until the answer is as expected; false at the limit.
sub poll
{
	my ($self, $sql, $expected) = @_;
	my $deadline = time + $self->{limit};
	my $last;

	$expected //= 't';
	do
	{
		$last = $self->query($sql);
		return 1 if $last eq $expected;
		usleep(50_000);
	} while (time < $deadline);
	diag "$self->{name}: waited in vain for \"$expected\", last \"$last\", from: $sql";
	return 0;
}

# Say goodbye; the backend may still be there when this returns.
sub close
{
	my ($self) = @_;
	return unless $self->{socket};
	$self->_write('X' . pack('N', 4)) unless $self->{ended};
	CORE::close($self->{socket});
	delete $self->{socket};
	return;
}

sub _write
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';

	while (length $bytes)
	{
		my $n = syswrite $self->{socket}, $bytes;
		next if !defined $n && $!{EINTR};
		return if !defined $n;    # reading will tell
		substr($bytes, 0, $n) = '';
	}
	return;
}

# The next message as (type, body); ('end', '') when the server has hung up;
# nothing when the deadline passes.
sub _message
{
	my ($self, $deadline) = @_;
	my $select = IO::Select->new($self->{socket});

	while (1)
	{
		if (length $self->{buffer} >= 5)
		{
			my ($type, $length) = unpack('aN', $self->{buffer});
			if (length $self->{buffer} >= 1 + $length)
			{
				my $body = substr($self->{buffer}, 5, $length - 4);
				substr($self->{buffer}, 0, 1 + $length) = '';
				return ($type, $body);
			}
		}
		# a signal, as when a child ends, is no reason to give up
		my $left = $deadline - time;
		return if $left <= 0;
		next if !$select->can_read($left);
		my $n = sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer};
		next if !defined $n && $!{EINTR};
		if (!$n)
		{
			$self->{ended} = $self->{complete} = 1;
			$self->{partial}{error} //= { message => 'the server closed the connection' };
			return ('end', '');
		}
	}
}

# What an error, or a notice, says.
sub _fields
{
	my ($body) = @_;
	my %field = map { substr($_, 0, 1) => substr($_, 1) } grep { length } split /\0/, $body;
	return { message => $field{M}, detail => $field{D}, hint => $field{H}, sqlstate => $field{C} };
}

sub _row
{
	my ($body) = @_;
	my $columns = unpack('n', $body);
	my $at = 2;
	my @values;

	for (1 .. $columns)
	{
		my $length = unpack('N', substr($body, $at, 4));
		$at += 4;
		if ($length == 0xFFFFFFFF)
		{
			push @values, '';
			next;
		}
		push @values, substr($body, $at, $length);
		$at += $length;
	}
	return join '|', @values;
}

1;
