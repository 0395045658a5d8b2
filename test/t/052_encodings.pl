# Statements of databases with different encodings, read from each other: never
# an error, never an invalid character; what cannot be converted is a '?'.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('encodings');
$node->init;
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'pg_lifeguard'
pg_lifeguard.sample_interval = 0
deadlock_timeout = 1h
});
$node->start;

my @encodings = ('utf8', 'latin1', 'sql_ascii', 'euc_jp');
my %session;
my %waiter;

# What each database's own session says, in its own bytes: a word with an
# umlaut, or, in EUC_JP, of two Japanese characters.
my %word = (
	utf8 => "K\xc3\xa4se \xe2\x82\xac",    # and a Euro sign, which LATIN1 lacks
	latin1 => "K\xe4se",
	sql_ascii => "K\xe4se",
	euc_jp => "\xc6\xfc\xcb\xdc");

# How it reads elsewhere.  JIS X 0212 has the umlaut, and no Euro sign; nothing
# leads from LATIN1 to EUC_JP.
my %expected = (
	utf8 => {
		utf8 => $word{utf8}, latin1 => "K\xc3\xa4se", sql_ascii => 'K?se',
		euc_jp => "\xe6\x97\xa5\xe6\x9c\xac" },
	latin1 => {
		utf8 => "K\xe4se ?", latin1 => $word{latin1}, sql_ascii => 'K?se', euc_jp => '????' },
	# no encoding of its own: bytes as they are
	sql_ascii => \%word,
	euc_jp => {
		utf8 => "K\x8f\xab\xa3se ?", latin1 => 'K?se', sql_ascii => 'K?se', euc_jp => $word{euc_jp} });

foreach my $db (@encodings)
{
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$db' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($db, 'CREATE EXTENSION pg_lifeguard; CREATE TABLE till (id int)');
	$session{$db} = $node->background_psql($db);
	$session{$db}->query_safe("SET client_encoding = $db");
	$session{$db}->query_safe("SET application_name = 'from $db'");
	$session{$db}->query_safe("BEGIN; LOCK TABLE till /* tag $word{$db} */");
	$waiter{$db} = $node->background_psql($db, on_error_stop => 0);
	$waiter{$db}->query_safe("SET client_encoding = $db");
	$waiter{$db}->query_safe("SET application_name = 'waiter of $db'");
	$waiter{$db}->query_until(qr/^sent$/m, "\\echo sent\nSELECT '$word{$db}' FROM till;\n");
}
$node->poll_query_until('postgres', 'SELECT count(*) = 4 FROM pg_locks WHERE NOT granted');

sub hex_of { return unpack('H*', shift); }

# As hexadecimal digits, so that no client converts it again.
sub read_hex
{
	my ($db, $column, $from) = @_;
	return $node->safe_psql($db, "SELECT encode(convert_to($column, getdatabaseencoding()), 'hex') FROM $from");
}

foreach my $db (@encodings)
{
	foreach my $other (@encodings)
	{
		my $word = $expected{$db}{$other};
		is(read_hex($db, 'query_tags', "lifeguard.sessions WHERE application_name = 'from $other'"), hex_of("tag $word"), "$db reads $other: sessions");
		is(read_hex($db, 'query', "lifeguard.lock_waits WHERE application_name = 'waiter of $other'"),
			hex_of("SELECT '$word' FROM till;"), "$db reads $other: lock_waits");
	}
	# nothing invalid is left: the server checks what it copies and casts
	is($node->safe_psql($db, q{
		SELECT count(*) FROM (SELECT query FROM lifeguard.sessions UNION ALL SELECT query FROM lifeguard.lock_waits
			UNION ALL SELECT query FROM lifeguard.blockers UNION ALL SELECT tree FROM lifeguard.lock_tree
			UNION ALL SELECT query FROM lifeguard.idle_transactions) q
		WHERE convert_from(convert_to(query, getdatabaseencoding()), getdatabaseencoding()) <> query OR length(query) = 0}),
		'0', "$db: every text is valid there");
	is($node->safe_psql($db, 'SELECT count(*), count(DISTINCT upper(query)) > 0 FROM lifeguard.lock_waits'), '4|t', "$db: every wait is shown");
}

# Cut off within a character: track_activity_query_size is 1024, and the cut
# falls on each byte of it in turn.
foreach my $db ('utf8', 'euc_jp')
{
	my $character = $db eq 'utf8' ? "\xe2\x82\xac" : "\xc6\xfc";
	foreach my $shift (0 .. 2)
	{
		$session{$db}->query_safe("SELECT 1 WHERE '" . ('x' x $shift) . ($character x 600) . "' <> ''");
		foreach my $reader ('utf8', 'latin1', 'euc_jp')
		{
			my $tail = $node->safe_psql($reader, "SELECT encode(convert_to(right(query, 1), getdatabaseencoding()), 'hex') FROM lifeguard.sessions WHERE application_name = 'from $db'");
			my $whole = hex_of(
				$reader eq $db ? $character
				: $reader eq 'utf8' ? "\xe6\x97\xa5"
				: '?');
			is($tail, $whole, "$reader reads a long statement of $db, shifted by $shift: it ends with a character");
		}
	}
}

foreach my $db (@encodings)
{
	$session{$db}->query_safe('ROLLBACK');
	$session{$db}->quit;
	$waiter{$db}->quit;
}
$node->stop;
unlike(slurp_file($node->logfile), qr/ERROR|PANIC|TRAP/, 'no error');
done_testing();
