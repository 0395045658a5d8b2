# What a view takes for one row it gives back before the next: many sessions
# with statements of a megabyte cost what one of them costs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('memory', conf => <<'END');
max_connections = 60
track_activity_query_size = 1MB
log_statement = none
work_mem = 64kB
END

# The most memory that the server process of a session has ever held, in kB, as
# getrusage() tells the server and the server tells its log.
sub peak
{
	my ($session, $query) = @_;
	my $offset = -s $node->logfile;

	$session->query('SET log_statement_stats = on');
	$session->query($query);
	$session->query('SET log_statement_stats = off');
	$node->wait_for_log(qr/SET log_statement_stats = off/, $offset);
	my @peaks = slurp_file($node->logfile, $offset) =~ /(\d+) kB max resident size/g;
	return (sort { $b <=> $a } @peaks)[0];
}

my $large = 'x' x 900_000;
my @sessions = map { LgSession->new($node) } 1 .. 40;
$_->query("SELECT 1 /* $large */") foreach @sessions;

my $reader = LgSession->new($node);
my $few = peak($reader, 'SELECT count(*), max(length(query_tags)) FROM lifeguard.sessions WHERE pid = '
	  . $sessions[0]->pid);
cmp_ok($few, '>', 1000, "with one row shown: $few kB");
is($reader->query('SELECT count(*) FROM lifeguard.sessions WHERE length(query_tags) = 900000'),
	40, 'all 40 statements are whole');

# The statements themselves, 40 MB, lie in shared memory and count once they are
# looked at.  Forty times four copies more would be 200 MB in all.
my $fresh = LgSession->new($node);
my $base = peak($fresh, 'SELECT 1');
my $all = peak($fresh, 'SELECT count(*) FROM lifeguard.read_sessions()');
cmp_ok($all - $base, '<', 80_000, "forty rows of a megabyte: $base kB before, $all kB after");

is(lg_log_complaints($node), '', 'nothing in the server log');
done_testing();
