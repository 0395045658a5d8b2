# Policies, victims, roles and databases whose names and statements have
# different encodings: each filter works within its own encoding, victims are
# told in ASCII, and what was recorded can be read everywhere.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = lg_server('policy_encodings', conf => <<'END');
log_line_prefix = '%m [%p] '
pg_lifeguard.sample_interval = 200
pg_lifeguard.flush_interval = 200
END

# A word with an umlaut, or of two Japanese characters, as each database writes
# it: in the names of the database and of a role, and in a statement.  The last
# has no encoding.
my %word = (
	utf8 => "M\xc3\xbcll \xe2\x82\xac",    # and a Euro sign, which LATIN1 lacks
	latin1 => "M\xfcll",
	euc_jp => "\xc6\xfc\xcb\xdc",
	sql_ascii => "M\xfcllerei");
my @encodings = sort keys %word;
my $policy = "f\xc3\xbcr \xe2\x82\xac";

# How it reads elsewhere: statements and policies are converted, and what has no
# counterpart is a '?'; JIS X 0212 has the umlaut, and no Euro sign.
my %query = (
	utf8 => { %word, latin1 => "M\xc3\xbcll", euc_jp => "\xe6\x97\xa5\xe6\x9c\xac", sql_ascii => 'M?llerei' },
	latin1 => { %word, utf8 => "M\xfcll ?", euc_jp => '????', sql_ascii => 'M?llerei' },
	euc_jp => { %word, utf8 => "M\x8f\xab\xe4ll ?", latin1 => 'M?ll', sql_ascii => 'M?llerei' },
	sql_ascii => \%word);
my %policy_in = (
	utf8 => $policy,
	latin1 => "f\xfcr ?",
	euc_jp => "f\x8f\xab\xe4r ?",
	sql_ascii => $policy);

# Names of roles and databases are bytes without an encoding in the shared
# catalogs, and so they are shown, unless they are nothing here: then '?'.
my %name = (
	utf8 => { %word, latin1 => 'M?ll', euc_jp => '????', sql_ascii => 'M?llerei' },
	latin1 => \%word,
	# two of its bytes make a character in EUC_JP, three of the Euro sign do not
	euc_jp => { %word, utf8 => "M\xc3\xbcll ???", latin1 => 'M?ll', sql_ascii => 'M?llerei' },
	sql_ascii => \%word);

my $boss = LgSession->new($node);
$boss->query("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
my $plain = LgSession->new($node, dbname => 'plain');
foreach my $encoding (@encodings)
{
	$plain->query(qq(CREATE DATABASE "$word{$encoding}" ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'));
	$plain->query(qq(CREATE ROLE "$word{$encoding}" LOGIN));
}
my %session = map { $_ => LgSession->new($node, dbname => $word{$_}) } @encodings;
$_->query('SET client_min_messages = warning; CREATE EXTENSION pg_lifeguard') foreach values %session;
is($session{$_}->query('SELECT lower(getdatabaseencoding())'), $_, "a database of $_") foreach @encodings;

sub victim
{
	my ($encoding, $statement, %options) = @_;
	my $victim = LgSession->new($node,
		dbname => $word{$encoding},
		user => $word{$encoding},
		parameters => { application_name => "victim $word{$encoding}" },
		%options);

	$victim->query("BEGIN; $statement");
	return $victim;
}

# Hexadecimal digits, so that nothing converts it again.
sub hex_of { return unpack('H*', shift); }

sub read_hex
{
	my ($session, $column, $from) = @_;
	return $session->query("SELECT encode(convert_to($column, getdatabaseencoding()), 'hex') FROM $from");
}

sub is_in_force
{
	my ($session, $name) = @_;
	return $session->poll("SELECT in_force FROM lifeguard.policy_status WHERE name = '$name'");
}

# --- whoever they are, they are told in ASCII
my $any = "max_per_pass => 0, max_per_minute => 0, cooldown => '0'";
$boss->query("SELECT lifeguard.create_policy('$policy', 'idle in transaction', '300 ms', action => 'terminate', applications => '{victim %}', $any)");
ok(is_in_force($boss, $policy), 'the policy is in force');
my $collector = lg_status($boss, 'collector_pid');
my %victim = map { $_ => victim($_, "SELECT '$word{$_}'") } @encodings;
foreach my $encoding (@encodings)
{
	my $error = $victim{$encoding}->answer->{error};
	is($error->{sqlstate}, '57P01', "$encoding: terminated");
	like($error->{detail}, qr/^pg_lifeguard acted on this session under policy "f\?\?r \?\?\?": idle in transaction for [\d.]+ m?s\.$/,
		"$encoding: DETAIL is ASCII");
	like($error->{hint}, qr/^[ -~]+$/, "$encoding: HINT is ASCII");
}

# --- the ledger, read from each database: from memory, and at home from the table
my $all = join ',', map { $_->pid } values %victim;
ok($boss->poll("SELECT count(*) = 4 FROM lifeguard.ledger_entries WHERE pid IN ($all) AND outcome LIKE 'terminated in %'"),
	'the entries are in the table');
foreach my $reader (@encodings, 'home')
{
	my $session = $reader eq 'home' ? $boss : $session{$reader};
	my $as = $reader eq 'home' ? 'utf8' : $reader;

	foreach my $encoding (@encodings)
	{
		my $from = 'lifeguard.ledger WHERE pid = ' . $victim{$encoding}->pid;
		is(read_hex($session, 'policy', $from), hex_of($policy_in{$as}), "$reader reads $encoding: policy");
		is(read_hex($session, 'query', $from), hex_of("BEGIN; SELECT '$query{$as}{$encoding}'"), "$reader reads $encoding: query");
		is(read_hex($session, "usename::text || ' ' || datname::text", $from),
			hex_of("$name{$as}{$encoding} $name{$as}{$encoding}"), "$reader reads $encoding: names");
		like($session->query("SELECT application_name, outcome FROM $from"), qr/^victim [ -~]+\|terminated in \d+ ms$/,
			"$reader reads $encoding: application and outcome");
	}
	is($session->query(q{SELECT count(*) FROM lifeguard.ledger l
		WHERE convert_from(convert_to(l::text, getdatabaseencoding()), getdatabaseencoding()) <> l::text}),
		'0', "$reader: every column is valid there");
	is(read_hex($session, 'name', 'lifeguard.policy_status'), hex_of($policy_in{$as}), "$reader: policy_status");
	is(lg_view_errors($session), '', "$reader: every view answers");
}

# --- filters mean what their own encoding means by them
sub spared_for
{
	my ($session, $name, $victim) = @_;
	return $session->query("SELECT verdict, why FROM lifeguard.preview_policy('$name') WHERE pid = " . $victim->pid);
}

$boss->query("SELECT lifeguard.drop_policy('$policy')");
$boss->query("SELECT lifeguard.create_policy('queries', 'idle in transaction', '300 ms', action => 'terminate', queries => '{%'' \xc3\xbc%}', $any)");
ok(is_in_force($boss, 'queries'), 'a policy for certain statements');
my $meant = victim('utf8', "SELECT ' \xc3\xbcber'");
my $other = victim('utf8', "SELECT ' uber'");
my $foreign = victim('latin1', "SELECT ' \xfcber'");
like($meant->answer->{error}{detail}, qr/under policy "queries"/, 'queries: hit');
ok($boss->poll('SELECT state_age > interval \'600 ms\' FROM lifeguard.sessions WHERE pid = ' . $foreign->pid), 'the others are old enough');
is(spared_for($boss, 'queries', $other), 'spared|another query', 'queries: another statement');
is(spared_for($boss, 'queries', $foreign), 'spared|another query', 'queries: the same in another encoding');
$boss->query("SELECT lifeguard.drop_policy('queries')");

$boss->query("SELECT lifeguard.create_policy('names', 'idle in transaction', '300 ms', action => 'terminate', databases => '{$word{utf8}}', roles => '{$word{utf8}}', $any)");
like($other->answer->{error}{detail}, qr/under policy "names"/, 'roles and databases: hit');
is(spared_for($boss, 'names', $foreign), 'spared|another database', 'roles and databases: the same word in another encoding');
is($foreign->query("SELECT '$word{latin1}'"), $word{latin1}, 'it is unharmed');
$foreign->query('ROLLBACK');
$boss->query("SELECT lifeguard.drop_policy('names')");

# --- a home of another encoding; statements that end, in its eyes, within a character
$session{euc_jp}->query("ALTER SYSTEM SET pg_lifeguard.database = '$word{euc_jp}'");
$session{euc_jp}->query('SELECT pg_reload_conf()');
ok($session{euc_jp}->poll("SELECT current_setting('pg_lifeguard.database') = current_database()"), 'home is moved');
$session{euc_jp}->query("SELECT lifeguard.create_policy('$word{euc_jp}', 'idle in transaction', '300 ms', enabled => false, action => 'terminate', queries => '{%SELECT _\xc6\xfc%,% _ber%}', $any)");
ok($session{euc_jp}->poll("SELECT count(*) = 1 FROM lifeguard.policy_status WHERE name = '$word{euc_jp}'"), 'a policy there');
%victim = (
	euc_jp => victim('euc_jp', "SELECT '$word{euc_jp}'"),
	latin1 => victim('latin1', "SELECT 1 -- \xfc"),
	sql_ascii => victim('sql_ascii', "SELECT ' \xfcber'"),
	utf8 => victim('utf8', "SELECT '\xf0\x9f\x98\x80'"));
ok( $session{euc_jp}->poll(
		"SELECT count(*) = 4 FROM lifeguard.preview_policy('$word{euc_jp}') WHERE why NOT LIKE 'not for longer%' AND pid IN ("
		  . join(',', map { $_->pid } values %victim) . ')'),
	'all are old enough');
is(spared_for($session{euc_jp}, $word{euc_jp}, $victim{$_}) =~ s/ for \d.*//r,
	$_ eq 'latin1' || $_ eq 'utf8' ? 'spared|another query' : 'terminate|idle in transaction', "home in EUC_JP: $_")
  foreach @encodings;
is($session{euc_jp}->query("SELECT count(*), min(verdict) LIKE 'terminated in %' FROM lifeguard.run_policy('$word{euc_jp}') WHERE verdict <> 'spared'"),
	'2|t', 'home in EUC_JP: run by hand');
like($victim{$_}->answer->{error}{detail}, qr/under policy "\?{4}": idle in transaction/, "home in EUC_JP: $_ is told") foreach qw(euc_jp sql_ascii);
is($victim{$_}->query('SELECT 1'), '1', "home in EUC_JP: $_ is unharmed") foreach qw(latin1 utf8);
is(read_hex($session{utf8}, 'policy', 'lifeguard.ledger WHERE pid = ' . $victim{euc_jp}->pid), hex_of("\xe6\x97\xa5\xe6\x9c\xac"),
	'and its name reads right elsewhere');
$session{euc_jp}->query("SELECT lifeguard.enable_policy('$word{euc_jp}')");
$foreign = victim('sql_ascii', "SELECT ' \xfcber'");
like($foreign->answer->{error}{detail}, qr/under policy "\?{4}": idle in transaction/, 'home in EUC_JP: by the collector, too');

# --- what people say by hand: a role's name that is nothing here, to a client that has it converted
$plain->query(qq(GRANT pg_signal_backend TO "$word{latin1}"));
my $asks = LgSession->new($node, user => $word{latin1}, dbname => $word{utf8});
$plain->query('CREATE ROLE clerk LOGIN');
foreach my $client ('UTF8', 'LATIN1')
{
	my $told = LgSession->new($node, user => 'clerk', dbname => $word{utf8}, parameters => { client_encoding => $client });
	my $reason = $client eq 'UTF8' ? $policy : 'f??r ???';

	like($asks->query('SELECT lifeguard.terminate_session(' . $told->pid . ", '$policy')"), qr/^terminated in/, "by hand, $client");
	my $error = $told->answer->{error};
	is("$error->{sqlstate} $error->{message}", '57P01 terminating connection due to administrator command', "by hand, $client: it is that error");
	is($error->{detail}, qq(Role "M?ll" asked pg_lifeguard to terminate this session, giving the reason "$reason".), "by hand, $client: the reason");
}

# --- a pause, said in one encoding and read in others
$session{latin1}->query("SELECT lifeguard.pause('1 min', 'f\xfcr')");
foreach my $reader (@encodings)
{
	is($session{$reader}->query('SELECT why_not FROM lifeguard.policy_status'),
		'paused: ' . ($reader =~ /latin1|sql_ascii/ ? "f\xfcr" : 'f?r'), "$reader: why it is paused");
}

is(lg_status($boss, 'collector_pid'), $collector, 'the collector has never failed');
is(lg_status($boss, 'keeper_failures'), '0', 'nor has the keeper');
$_->close foreach ($boss, $plain, $asks, values %session);
$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/DETAIL:  Role "M\?ll" asked pg_lifeguard to terminate this session, giving the reason "\Q$policy\E"/, 'so has it all that was said by hand');
like($log, qr/LOG:  policy "\Q$policy\E" terminates session/, 'the log has the name of the policy');
is(join("\n", grep { /ERROR|WARNING|PANIC|TRAP|invalid byte|no equivalent/ } split /\n/, $log), '', 'and no error');
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
