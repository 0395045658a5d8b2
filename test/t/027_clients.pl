# What real clients see of a policy that acts on them: psql (libpq),
# node-postgres, and whoever is behind PgBouncer.  All get SQLSTATE, DETAIL and
# HINT, and can go on afterwards.
#
# Clients that the server's own packages do not bring are in the folder that
# LG_CLIENTS names, unpacked by script/setup, or installed, as in the chroots of
# script/test; LG_LACKING says why not, where they could not be had.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IPC::Run;
use LgBouncer;
use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $unpacked = $ENV{LG_CLIENTS} // '/nonexistent';
my $lacking = 'is not installed' . ($ENV{LG_LACKING} ? " ($ENV{LG_LACKING})" : '');
my $limit = $PostgreSQL::Test::Utils::timeout_default;
my $node = lg_server('clients', conf => <<'END');
log_line_prefix = '%m [%p] '
pg_lifeguard.sample_interval = 200
pg_lifeguard.max_actions_per_minute = 0
END
my $boss = LgSession->new($node);
my $any = "max_per_pass => 0, max_per_minute => 0, cooldown => '0'";
$boss->query($_) foreach split /;\n/, <<"END";
CREATE ROLE clerk LOGIN;
CREATE TABLE till (id int);
GRANT ALL ON till TO clerk;
SELECT lifeguard.create_policy('forgotten', 'idle in transaction', '300 ms', action => 'terminate', applications => '{client}', $any);
SELECT lifeguard.create_policy('spare', 'idle', '300 ms', action => 'terminate', enabled => false, applications => '{client}', $any);
SELECT lifeguard.create_policy('endless', 'active', '300 ms', action => 'cancel', applications => '{client}', queries => '{%pg_sleep%}', $any)
END
ok($boss->poll('SELECT count(*) = 2 FROM lifeguard.policy_status WHERE in_force'), 'the policies are in force');

my %sqlstate = (forgotten => '57P01', endless => '57014');
my %message = (
	forgotten => 'terminating connection due to administrator command',
	endless => 'canceling statement due to user request');
my %detail = (
	forgotten => qr/pg_lifeguard acted on this session under policy "forgotten": idle in transaction for [\d.]+ m?s\./,
	endless => qr/pg_lifeguard acted on this session under policy "endless": running its statement for [\d.]+ m?s\./);
my %hint = (
	forgotten => qr/Commit or roll back before the program waits for anything else; connect again and repeat the transaction if it is still needed\./,
	endless => qr/Repeat it if it is still needed, in shorter steps if that can be done\./);

# An error as a hash of sqlstate, message, detail and hint.
sub is_told
{
	my ($error, $policy, $name) = @_;
	is($error->{sqlstate}, $sqlstate{$policy}, "$name: SQLSTATE");
	is($error->{message}, $message{$policy}, "$name: message");
	like($error->{detail}, qr/^$detail{$policy}$/, "$name: DETAIL");
	like($error->{hint}, qr/^$hint{$policy}$/, "$name: HINT");
	return;
}

# True once the ledger has that many sessions ended, or cancelled, by the policy.
my %acted = (forgotten => 0, endless => 0);
sub acts_again
{
	my ($policy) = @_;
	my $goal = ++$acted{$policy};
	return $boss->poll("SELECT count(*) = $goal FROM lifeguard.ledger WHERE policy = '$policy' AND outcome ~ '^(terminated|cancelled) in'");
}

# --- the protocol itself
{
	my $session = LgSession->new($node, user => 'clerk', parameters => { application_name => 'client' });
	is_told($session->error_of('SELECT pg_sleep(60)'), 'endless', 'protocol');
	$session->query('BEGIN; INSERT INTO till VALUES (1)');
	ok(acts_again('endless'), 'protocol: recorded');
	# nothing was sent: the server speaks first
	is_told($session->answer->{error}, 'forgotten', 'protocol, unasked');
	ok(acts_again('forgotten'), 'protocol: recorded');
	$session->close;
}

# --- psql, here and there: what follows the reason differs
sub psql_is_told
{
	my ($name, $connection, $afterwards, $bouncer) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $logged = $bouncer ? -s $bouncer->{log} : 0;
	my $psql = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', "$connection dbname=postgres user=clerk application_name=client" ],
		'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout($limit));

	$in .= "SELECT pg_sleep(60);\n\\echo :SQLSTATE\nSELECT 'goes on';\nBEGIN\\; SELECT 'forgets';\n";
	$psql->pump until $out =~ /forgets/;
	is($out, "57014\ngoes on\nforgets\n", "$name goes on after a cancel");
	like($err, qr/^ERROR:  57014: \Q$message{endless}\E\nDETAIL:  $detail{endless}\nHINT:  $hint{endless}\n(?:LOCATION: .*\n)$/,
		"$name is told why it was cancelled");
	ok(acts_again('endless') && acts_again('forgotten'), "$name: recorded");
	ok($bouncer->lost_server($logged), "$name: noticed") if $bouncer;
	$err = '';
	$in .= "COMMIT;\n\\q\n";
	$psql->finish;
	like($err, qr/^FATAL:  57P01: \Q$message{forgotten}\E\nDETAIL:  $detail{forgotten}\nHINT:  $hint{forgotten}\nLOCATION: .*\n$afterwards/,
		"$name is told why it was terminated");
	is($psql->result(0), 2, "$name: exit status");
	return;
}

psql_is_told('psql', 'host=' . $node->host . ' port=' . $node->port, qr/server closed the connection unexpectedly/);

# --- node-postgres: errors of queries, and of clients that have asked nothing
my $script = <<'END';
const { Client, Pool } = require('pg');
const say = (what, e) => console.log([what, e.code, e.message, e.detail, e.hint, e.severity].join('|'));
const options = { host: process.argv[1], port: +process.argv[2], database: 'postgres', user: 'clerk', application_name: 'client' };
(async () => {
	const client = new Client(options);
	const ended = new Promise(resolve => client.on('end', resolve));
	client.on('error', e => say('event', e));
	await client.connect();
	await client.query('SELECT pg_sleep(60)').catch(e => say('query', e));
	console.log('answer|' + (await client.query("SELECT 'goes on' AS a")).rows[0].a);
	await client.query('BEGIN');
	await ended;

	const pool = new Pool({ ...options, max: 1 });
	const one = await pool.connect();
	const gone = new Promise(resolve => one.once('end', resolve));
	one.on('error', e => say('checked out', e));
	await one.query('BEGIN');
	await gone;
	one.release(true);
	console.log('answer|' + (await pool.query("SELECT 'pool recovers' AS a")).rows[0].a);
	await pool.end();
})();
END

# Run node; nothing if it cannot find the module.
sub run_node
{
	my (@arguments) = @_;
	local $ENV{NODE_PATH} = "$unpacked/usr/share/nodejs:/usr/share/nodejs";
	my ($out, $err) = ('', '');

	return unless eval { IPC::Run::run([ 'node', '-e', 'require("pg")' ], '>', \$out, '2>', \$err) };
	IPC::Run::run([ 'node', '-e', $script, @arguments ], '>', \$out, '2>', \$err, IPC::Run::timeout($limit));
	return [ $out, $err ];
}

sub node_is_told
{
	my ($name, @server) = @_;
	my $ran = run_node(@server);
	SKIP:
	{
		skip "$name $lacking", 1 unless $ran;
		my ($out, $err) = @$ran;
		my %of;

		is($err, '', "$name: nothing went wrong");
		foreach my $line (split /\n/, $out)
		{
			my ($kind, @fields) = split /\|/, $line;
			push @{ $of{$kind} }, \@fields;
		}
		foreach my $case ([ query => 'endless', 'ERROR' ], [ event => 'forgotten', 'FATAL' ], [ 'checked out' => 'forgotten', 'FATAL' ])
		{
			my ($kind, $policy, $severity) = @$case;
			my %error;
			(@error{qw(sqlstate message detail hint)}, my $got) = @{ $of{$kind}[0] // [] };
			is_told(\%error, $policy, "$name, $kind");
			is($got, $severity, "$name, $kind: severity");
		}
		is_deeply($of{answer}, [ ['goes on'], ['pool recovers'] ], "$name goes on");
		$acted{forgotten}++;
		ok(acts_again('endless') && acts_again('forgotten'), "$name: recorded");
	}
	return;
}

node_is_told('node-postgres', $node->host, $node->port);

# --- behind PgBouncer
my @bouncers;
END { $_->stop foreach @bouncers; }
foreach my $mode ('session', 'transaction')
{
	SKIP:
	{
		my $bouncer = LgBouncer->new($node, $mode);
		skip "PgBouncer $lacking", 1 unless $bouncer;
		push @bouncers, $bouncer;
		my $name = $bouncer->name;
		my @way = ($bouncer, user => 'clerk', parameters => { application_name => 'client' });
		my $session = LgSession->new(@way);

		is_told($session->error_of('SELECT pg_sleep(60)'), 'endless', $name);
		is($session->query("SELECT 'goes on'"), 'goes on', "$name: goes on");
		ok(acts_again('endless'), "$name: recorded");

		# The server's words come through, unasked; then PgBouncer adds its own, and hangs up.
		my $old = $session->query('BEGIN; INSERT INTO till VALUES (1); SELECT pg_backend_pid()');
		my $errors = $session->answer->{errors};
		is_told($errors->[0], 'forgotten', $name);
		is_deeply($errors->[1], { sqlstate => '08P01', message => 'server conn crashed?', detail => undef, hint => undef },
			"$name: it was not PgBouncer's doing");
		is(@$errors, 2, "$name: no more than that");
		ok(acts_again('forgotten'), "$name: recorded");
		$session->close;

		# With one connection to the server, the next client needs a new one.
		$session = LgSession->new(@way);
		my $new = $session->query('SELECT pg_backend_pid()');
		isnt($new, $old, "$name: the pool has a new connection");

		# A connection that the pool keeps for nobody: no client notices.
		if ($mode eq 'transaction')
		{
			ok($boss->poll("SELECT why LIKE 'idle for %' FROM lifeguard.preview_policy('spare') WHERE pid = $new"), "$name: a spare connection");
			like($boss->query("SELECT verdict FROM lifeguard.run_policy('spare') WHERE pid = $new"), qr/^terminated in/, "$name: it is closed");
			isnt($session->query('SELECT pg_backend_pid()'), $new, "$name: its client gets another and sees no error");
		}
		$session->close;

		psql_is_told("psql behind $name", "host=$bouncer->{dir} port=6432", qr/FATAL:  08P01: server conn crashed\?\n/, $bouncer);
		node_is_told("node-postgres behind $name", $bouncer->{dir}, 6432);
	}
}
$_->stop foreach @bouncers;

is($boss->query('SELECT count(*) FROM till'), '0', 'nothing of the forgotten transactions is left');
$boss->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

done_testing();
