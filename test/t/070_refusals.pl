# Refusals: every connection that the server turns away is counted, exactly, by
# cause, and kept with who it was.  The clients keep their own count.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgFlood;
use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $many = $ENV{LG_LONG} ? 10_000 : 2_000;    # attempts, of all causes together
my @causes = ('slots', 'reserved', 'superuser reserved', 'database limit', 'role limit', 'child limit', 'replication');
my $name = getpwuid($<);
my $on;
my %cause_at;    # by where in the source the server refuses, which is the same in any language

# What a client is told in English, as the cause that it names.
sub cause_of
{
	my ($told) = @_;

	return $told->{file} eq 'proc.c' ? 'slots' : 'child limit' if $told->{message} eq 'sorry, too many clients already';
	return 'reserved' if $told->{message} =~ /^remaining .* with privileges of the "pg_use_reserved_connections" role$/;
	return 'superuser reserved' if $told->{message} =~ /^remaining .* superuser connections$|^remaining .* SUPERUSER attribute$/;
	return 'database limit' if $told->{message} =~ /^too many connections for database/;
	return 'role limit' if $told->{message} =~ /^too many connections for role/;
	return 'replication' if $told->{message} =~ /standby connections exceeds/;
	return "unknown: $told->{message}";
}

# A server whose doors can be shut in every way.
sub server
{
	my ($server_name, $conf, %options) = @_;
	my $node = lg_server($server_name, %options, conf => <<"END" . ($conf // ''));
max_connections = 20
superuser_reserved_connections = 2
autovacuum_max_workers = 1
max_worker_processes = 5
wal_level = replica
max_wal_senders = 1
log_statement = none
END
	my $eye = LgSession->new($node, parameters => { application_name => 'eye' });
	my $new = $eye->query("SELECT current_setting('server_version_num')::int >= 160000") eq 't';

	if ($new)
	{
		$eye->query('ALTER SYSTEM SET reserved_connections = 1');
		$eye->close;
		$node->restart;
		$eye = LgSession->new($node, parameters => { application_name => 'eye' });
		$eye->query('CREATE ROLE vip LOGIN; GRANT pg_use_reserved_connections TO vip');
	}
	$eye->query('CREATE ROLE clerk LOGIN; CREATE ROLE limited LOGIN CONNECTION LIMIT 1');
	$eye->query('CREATE DATABASE small');
	$eye->query('ALTER DATABASE small CONNECTION LIMIT 1');
	return {
		name => $server_name,
		node => $node,
		eye => $eye,
		new => $new,
		told => { map { $_ => 0 } @causes },
		by => {} };
}

# Attempts on which the clients keep count: by cause, and by what they call themselves.
sub knock
{
	my ($on, $n, %options) = @_;
	my $told = lg_flood($on->{node}, $n, application_name => 'knock', %options);
	my $all = 0;
	my @others;

	while (my ($where, $answer) = each %$told)
	{
		push @others, "$where $answer->{sqlstate}" if $answer->{sqlstate} ne '53300';
		next if $answer->{sqlstate} ne '53300';
		$cause_at{$where} = cause_of($answer) if !$on->{translated};
		my $cause = $cause_at{$where} // "unknown: $where";
		$on->{told}{$cause} += $answer->{n};
		$on->{by}{ join '|', $cause, $options{user}, $options{database} // 'postgres', $options{application_name} // 'knock' } +=
		  $answer->{n};
		$on->{message}{$cause} = $answer->{message};
		$all += $answer->{n};
	}
	is("@others", '', "$on->{name}: $options{application_name}: nobody got in, or heard anything else")
	  if $options{application_name};
	return $all;
}

sub told
{
	my ($on) = @_;
	return join "\n", map { "$_|$on->{told}{$_}" } @causes;
}

# The numbers of all are what the clients have heard.
sub counts_are_exact
{
	my ($on, $what) = @_;
	my $eye = $on->{eye};
	my $all = eval join '+', values %{ $on->{told} };

	$eye->query('SELECT lifeguard.run_pass()');
	is($eye->query('SELECT cause, refusals FROM lifeguard.refusal_counts'), told($on), "$on->{name}: $what: the counters");
	is($eye->query('SELECT refusals FROM lifeguard.connections'), $all, "$on->{name}: $what: their sum");
	is( $eye->query("SELECT cause, sum(COALESCE(attempts, 0)) FROM unnest('{" . join(',', @causes) . "}'::text[]) WITH ORDINALITY u (cause, n) LEFT JOIN lifeguard.refusals r USING (cause) GROUP BY cause, n ORDER BY n")
		  =~ s/\|$/|0/mgr,
		told($on), "$on->{name}: $what: the rows");
	is($eye->query('SELECT sum(refusals) FROM lifeguard.connection_history'), $all, "$on->{name}: $what: by the minute")
	  unless $on->{restarted};
	return $all;
}

# Make passes until they have told that: an incident is written once a second.
sub until_passes_tell
{
	my ($sql, $expected) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while ($on->{eye}->query($sql) ne $expected)
	{
		return 0 if time > $deadline;
		$on->{eye}->query('SELECT lifeguard.run_pass(), pg_sleep(0.05)');
	}
	return 1;
}

sub crowd
{
	my ($on, $n, $user) = @_;
	return map { LgSession->new($on->{node}, user => $user) } 1 .. $n;
}

# The one session that the limited role may have; nobody else is there but the eye.
sub hold
{
	my ($on, $user, $dbname) = @_;

	$on->{eye}->poll('SELECT used FROM lifeguard.connections', '1') or die "somebody stays\n";
	return LgSession->new($on->{node}, user => $user // 'limited', dbname => $dbname);
}

# Shut each door and knock so often, at the ones that are quick more often.
sub shut_all_doors
{
	my ($on, $n) = @_;
	my ($node, $eye) = @$on{qw(node eye)};

	my $held = hold($on);
	knock($on, $n, user => 'limited', application_name => 'role limit', at_once => 2);
	$held->close;

	$held = hold($on, 'clerk', 'small');
	knock($on, $n, user => 'clerk', database => 'small', application_name => 'database limit', at_once => 2);
	$held->close;

	$held = LgSession->new($node, parameters => { replication => 'true' });
	knock($on, $n, user => $name, database => '', replication => 'true', application_name => 'replication');
	$held->close;

	# one slot after the other: plain roles get 17 or 18 of 20
	ok($eye->poll('SELECT used + walsenders FROM lifeguard.connections', '1'), "$on->{name}: the house is empty");
	my @crowd = crowd($on, $on->{new} ? 16 : 17, 'clerk');
	if ($on->{new})
	{
		knock($on, $n, user => 'clerk', application_name => 'reserved', at_once => 1);
		ok($eye->poll('SELECT used FROM lifeguard.connections', '17'), "$on->{name}: three slots are left");
		push @crowd, crowd($on, 1, 'vip');
	}
	knock($on, $n, user => $on->{new} ? 'vip' : 'clerk', application_name => 'superuser reserved', at_once => 1);
	ok($eye->poll('SELECT used FROM lifeguard.connections', '18'), "$on->{name}: two slots are left");
	push @crowd, crowd($on, 2);
	knock($on, $n, user => 'clerk', application_name => 'slots');
	knock($on, 2, user => $name, application_name => 'superuser');
	is(lg_view_errors($eye), '', "$on->{name}: every view answers when the house is full");

	# so many that have not said who they are that the postmaster takes no more; when
	# one of its own workers ends, the next client gets as far as the slots
	my $silent = lg_half_open($node, 150);
	knock($on, $n, user => 'clerk', application_name => 'child limit');
	undef $silent;
	$_->close foreach @crowd;
	ok($eye->poll('SELECT used FROM lifeguard.connections', '1'), "$on->{name}: the house is empty again");
	return;
}

$on = server('doors', "pg_lifeguard.sample_interval = 1h\nlisten_addresses = '127.0.0.1'\n");
my ($node, $eye) = @$on{qw(node eye)};

# --- without any
is($eye->query('TABLE lifeguard.refusal_counts'), join("\n", map { "$_|0|" } @causes), 'none so far');
is($eye->query('TABLE lifeguard.refusals'), '', 'so no rows');
is($eye->query('SELECT refusals FROM lifeguard.connections'), '0', 'nor a sum');
is(lg_status($eye, 'refusals_counted, message'), 't|', 'status has nothing to say');

# --- the first one wakes the collector
my $held = hold($on);
is(knock($on, 1, user => 'limited'), 1, 'one is refused');
ok($eye->poll('SELECT sum(attempts) FROM lifeguard.refusals', '1'), 'its row is there long before the next pass is due');
is($eye->query("SELECT r.at = c.last_at, r.at BETWEEN now() - interval '10 s' AND now(), r.cause, usename, datname, application_name, client_addr, attempts, recorded_on FROM lifeguard.refusals r, lifeguard.refusal_counts c WHERE refusals > 0"),
	't|t|role limit|limited|postgres|knock||1|primary', 'which says who it was');
ok($eye->poll('SELECT causes, refusals, i.since = r.at, worst_waiters, until FROM lifeguard.incidents i, lifeguard.refusals r', '{refusals}|1|t|0|'),
	'and it is an incident, since it was refused');

# --- names of unknown encoding, nobody's names, and none
knock($on, 1, user => 'limited', application_name => "caf\xc3\xa9\x01");
knock($on, 1, user => 'limited', application_name => 'x' x 100);
{
	my $told = lg_flood($node, 1, user => 'limited');
	$on->{told}{'role limit'} += $_->{n} foreach values %$told;
}
ok($eye->poll('SELECT sum(attempts) FROM lifeguard.refusals', '4'), 'three more');
is($eye->query('SELECT application_name FROM lifeguard.refusals ORDER BY at OFFSET 1'),
	($on->{new} ? 'caf\xc3\xa9\x01' : 'caf???') . "\n" . 'x' x 63 . "\n",
	'as what the client calls itself, as the server has it');

# --- nothing else wakes it: it comes for the keeper's sake, too, but no sooner than
# 10 s after that was there last
my $prompt = 0;
foreach (1 .. 3)
{
	$eye->poll("SELECT records_unflushed = 0 AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper') FROM lifeguard.status")
	  or die "the keeper does not end\n";
	my ($before, $keeper) = split /\|/, lg_status($eye, 'passes, keeper_last_run');
	knock($on, 1, user => 'limited');
	$eye->poll("SELECT passes > $before FROM lifeguard.status") or last;
	$prompt++ if lg_status($eye, "last_pass < timestamptz '$keeper' + interval '8 s'") eq 't';
}
cmp_ok($prompt, '>=', 2, 'the collector comes because somebody was refused');

# --- by cause
$held->close;
my $passes = lg_status($eye, 'passes');
my $began = time;
my $n = int(($many - 10) / ($on->{new} ? 7 : 6));
shut_all_doors($on, $n);
my $took = time - $began;
my $all = counts_are_exact($on, 'every cause');
cmp_ok($all, '>=', 0.9 * $many, "$all refusals");
note sprintf '%d refusals in %.1f s', $all, $took;
$passes = lg_status($eye, 'passes') - $passes;
cmp_ok($passes, '<=', $took / 0.1 + 5, 'a flood makes no more than ten passes a second') or note $took;
is($on->{told}{$_} > 0, $_ ne 'reserved' || $on->{new}, "$_ was among them") foreach @causes;
is($on->{told}{"unknown: $_"}, undef, 'and nothing unknown') foreach grep { /^unknown/ } keys %{ $on->{told} };

# who it was, for all of which that is known
my %kept = map { /^(.*)\|(\d+)$/ } split /\n/, $eye->query(
	'SELECT cause, usename, datname, application_name, sum(attempts) FROM lifeguard.refusals WHERE usename IS NOT NULL AND application_name IS NOT NULL AND length(application_name) < 20 AND application_name !~ \'caf\' GROUP BY 1, 2, 3, 4');
my $unknown = $eye->query('SELECT COALESCE(sum(attempts), 0) FROM lifeguard.refusals WHERE usename IS NULL');
my %by = %{ $on->{by} };
delete @by{ grep { /xxxx|caf/ } keys %by };
my $told = eval join '+', values %by;
is(eval(join '+', values %kept) + $unknown, $told, "all but $unknown are kept by name");
is(join("\n", grep { !exists $by{$_} || $kept{$_} > $by{$_} } sort keys %kept), '', 'never more than there were, nor others');
is(join("\n", grep { $by{$_} - ($kept{$_} // 0) > $unknown } sort keys %by), '', 'and hardly less') or diag explain [\%by, \%kept];
cmp_ok($eye->query("SELECT max(n) FROM (SELECT count(*) AS n FROM lifeguard.refusals GROUP BY date_trunc('second', at)) s"),
	'<=', 180, 'few rows for a flood');
cmp_ok($eye->query('SELECT count(*) FROM lifeguard.refusals WHERE attempts > 1 AND usename IS NOT NULL'), '>', 0, 'those that are alike share some')
  if $took < $all / 300;
ok(until_passes_tell('SELECT sum(refusals) FROM lifeguard.incidents', $all), 'all in incidents');
is($eye->query("SELECT count(*) = 1 FROM lifeguard.incident_at((SELECT min(at) FROM lifeguard.refusals))"), 't', 'from the first on');
is(lg_status($eye, 'records_lost'), '0', 'no row is lost');

# --- who may see from where
$held = hold($on);
is(knock($on, 2, user => 'limited', host => '127.0.0.1', application_name => 'from afar'), 2, 'two by TCP');
is(knock($on, 1, user => 'limited', application_name => 'from here'), 1, 'one not');
$held->close;
ok($eye->poll('SELECT used FROM lifeguard.connections', '1'), 'a slot for the limited role');
my $afar = "SELECT client_addr, sum(attempts) FROM lifeguard.refusals WHERE application_name = 'from afar' GROUP BY 1";
sub from_where
{
	my ($when) = @_;
	my ($clerk, $limited) = map { LgSession->new($node, user => $_) } qw(clerk limited);

	is($eye->query($afar), "127.0.0.1|2", "$when: a superuser sees the address");
	is($limited->query($afar), "127.0.0.1|2", "$when: so does the role");
	is($clerk->query($afar), "|2", "$when: another does not");
	is($clerk->query('SELECT sum(refusals) FROM lifeguard.refusal_counts'), $eye->query('SELECT refusals FROM lifeguard.connections'), "$when: numbers are for all");
	is($clerk->error_of('TABLE lifeguard.refusal_entries')->{message}, 'permission denied for table refusal_entries', "$when: the table is for nobody");
	is(lg_view_errors($clerk), '', "$when: every view answers");
	$_->close foreach ($clerk, $limited);
	return;
}
ok($eye->poll("SELECT count(*) FROM lifeguard.refusals WHERE application_name = 'from here'", '1'), 'all are there');
from_where('in memory');

# --- in the table, and after a restart
counts_are_exact($on, 'before the restart');
ok($eye->poll("SELECT count(*) = (SELECT count(*) FROM lifeguard.refusal_entries) FROM lifeguard.refusals"), 'written to the table');
lg_configure($eye, 'pg_lifeguard.sample_interval' => 0);
ok($eye->poll("SELECT sample_interval = '0' FROM lifeguard.status"), 'passes only when asked');
$held = hold($on);
knock($on, 7, user => 'limited', application_name => 'the last');
is($eye->query("SELECT count(*) FROM lifeguard.refusals WHERE application_name = 'the last'"), '0', 'seven that no pass sees');
my %before = %{ $on->{told} };
my $rows = $eye->query("SELECT cause, sum(attempts) FROM lifeguard.refusals GROUP BY 1 ORDER BY 1");
$eye->close;
$node->restart;
$eye = $on->{eye} = LgSession->new($node, parameters => { application_name => 'eye' });
is($eye->query('SELECT cause, refusals FROM lifeguard.refusal_counts'), join("\n", map { "$_|0" } @causes), 'the counters begin anew');
is($eye->query("SELECT cause, sum(attempts) FROM lifeguard.refusals WHERE application_name IS DISTINCT FROM 'the last' GROUP BY 1 ORDER BY 1"), $rows, 'the rows are there');
# how many rows that is, the flood decides: the second they fall in may be full of it
is($eye->query("SELECT sum(attempts) FROM lifeguard.refusals WHERE application_name = 'the last'"), '7', 'those that no pass has seen, too');
from_where('from the table');

# --- more than there are places for, while nobody makes a pass
$held = hold($on);
my $since = $eye->query('SELECT clock_timestamp()');
$on->{told} = { map { $_ => 0 } @causes };
is(knock($on, 700, user => 'limited', application_name => 'the flood', at_once => 2), 700, 'more than are kept');
is($eye->query("SELECT refusals FROM lifeguard.refusal_counts WHERE cause = 'role limit'"), '700', 'counted at once');
is($eye->query("SELECT count(*) FROM lifeguard.refusals WHERE at >= '$since'"), '0', 'without a pass no rows');
$eye->query('SELECT lifeguard.run_pass()');
is($eye->query("SELECT usename, application_name, sum(attempts) FROM lifeguard.refusals WHERE at >= '$since' GROUP BY 1, 2 ORDER BY 1"),
	"limited|the flood|512\n||188", 'rows for all, with names as far as they are known');
is($eye->query("SELECT max(attempts) FROM lifeguard.refusals WHERE usename IS NULL AND at >= '$since'"), '188', 'one row for those that have none');
$eye->query('SELECT lifeguard.run_pass()');
is($eye->query("SELECT sum(attempts) FROM lifeguard.refusals WHERE at >= '$since'"), '700', 'another pass adds nothing');
$held->close;

# --- many different ones in a second, one of them again and again
my $sum = $eye->query('SELECT sum(attempts) FROM lifeguard.refusals');
$held = hold($on);
# where most rows are yet to be written, none has a row of its own
ok($eye->poll('SELECT records_unflushed = 0 FROM lifeguard.status'), 'what was before is written');
knock($on, 1, user => 'limited', application_name => "app $_") foreach 1 .. 250;
$eye->query('SELECT lifeguard.run_pass()');
is($eye->query("SELECT sum(attempts) - $sum FROM lifeguard.refusals"), '250', 'many different ones');
is($eye->query("SELECT count(*) > 100, bool_and(n = 1) FROM (SELECT sum(attempts) AS n FROM lifeguard.refusals WHERE application_name LIKE 'app %' GROUP BY application_name) s"), 't|t', 'nobody has the attempts of another');
$held->close;

# --- reset
$rows = $eye->query('SELECT count(*), sum(attempts) FROM lifeguard.refusals');
$eye->query('SELECT lifeguard.reset()');
is($eye->query('TABLE lifeguard.refusal_counts'), join("\n", map { "$_|0|" } @causes), 'reset() counts anew');
is($eye->query('SELECT refusals FROM lifeguard.connections'), '0', 'the sum, too');
is($eye->query('SELECT count(*), sum(attempts) FROM lifeguard.refusals'), $rows, 'the rows stay');
$held = hold($on);
knock($on, 3, user => 'limited');
is($eye->query("SELECT refusals, last_at IS NOT NULL FROM lifeguard.refusal_counts WHERE cause = 'role limit'"), '3|t', 'from then on');

# --- where the log does not have them, neither have we
foreach my $hides ('panic', $eye->query("SELECT current_setting('server_version_num')::int >= 190000") eq 't' ? 'warning, backend:panic' : ())
{
	lg_configure($eye, log_min_messages => $hides);
	ok($eye->poll('SELECT NOT refusals_counted FROM lifeguard.status'), "log_min_messages = $hides: status says so");
	like(lg_status($eye, 'message'), qr/interval is 0/, 'what is more urgent first');
	lg_configure($eye, 'pg_lifeguard.sample_interval' => '1h');
	ok($eye->poll("SELECT message LIKE '%log_min_messages%' FROM lifeguard.status"), 'and what to do');
	knock($on, 2, user => 'limited');
	is($eye->query("SELECT refusals FROM lifeguard.refusal_counts WHERE cause = 'role limit'"), '3', 'they are not seen');
	lg_configure($eye, log_min_messages => 'fatal', 'pg_lifeguard.sample_interval' => 0);
	ok($eye->poll('SELECT refusals_counted FROM lifeguard.status'), 'fatal will do');
}
knock($on, 2, user => 'limited');
is($eye->query("SELECT refusals FROM lifeguard.refusal_counts WHERE cause = 'role limit'"), '5', 'they are seen again');

# --- what is no refusal is not counted
is((values %{ lg_flood($node, 1, user => 'nobody') })[0]{sqlstate}, '28000', 'a role that is not there');
is((values %{ lg_flood($node, 1, user => 'clerk', database => 'nowhere') })[0]{sqlstate}, '3D000', 'nor that database');
is($eye->error_of("DO \$\$ BEGIN RAISE 'too many connections for role' USING ERRCODE = '53300'; END \$\$")->{sqlstate}, '53300', 'an error that only looks like one');
is($eye->query('SELECT refusals FROM lifeguard.connections'), '5', 'they do not count');
$held->close;

# --- and the collector goes on
lg_configure($eye, 'pg_lifeguard.sample_interval' => '1s');
ok(lg_passes($eye, 2), 'passes again');
is(lg_status($eye, 'collector_starts, records_lost'), '1|0', 'one collector, and nothing lost');
is(lg_view_errors($eye), '', 'every view answers');

# --- in another language
SKIP:
{
	my $locales = $node->basedir . '/locales';
	mkdir $locales;
	skip 'no localedef, or no sources of locales', 1
	  if system("localedef -i de_DE -f UTF-8 $locales/de_DE.UTF-8 >/dev/null 2>&1") != 0;
	local $ENV{LOCPATH} = $locales;
	my $german = server('tueren', "lc_messages = 'de_DE.UTF-8'\n");

	$german->{translated} = 1;
	shut_all_doors($german, 5);
	skip 'no translations here', 1 if $german->{message}{slots} eq 'sorry, too many clients already';
	is($german->{message}{slots}, 'tut mir leid, schon zu viele Verbindungen', 'in German');
	unlike($german->{message}{$_}, qr/^(?:sorry|remaining|too many|number of) /, "$_, too") foreach keys %{ $german->{message} };
	counts_are_exact($german, 'every cause');
	is_deeply([ sort grep { $german->{told}{$_} == 0 } keys %{ $german->{told} } ], $on->{new} ? [] : ['reserved'], 'every cause was among them');
	$german->{eye}->close;
	$german->{node}->stop;
	is(lg_log_complaints($german->{node}), '', 'nothing bad in the log');
}
$eye->close;
$node->stop;
is(lg_log_complaints($node), '', 'nothing bad in the log');

# --- on a standby
my $primary = lg_server('primary', init => { allows_streaming => 1 }, conf => "max_connections = 8\nsuperuser_reserved_connections = 2\n");
$primary->safe_psql('postgres', 'CREATE ROLE clerk LOGIN');
$primary->backup('copy');
my $standby = { name => 'standby', told => { map { $_ => 0 } @causes }, by => {} };
$standby->{node} = PostgreSQL::Test::Cluster->new('standby');
$standby->{node}->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->{node}->start;
$primary->wait_for_catchup($standby->{node}, 'replay', $primary->lsn('flush'));
$standby->{eye} = LgSession->new($standby->{node});
my @crowd = (crowd($standby, 5, 'clerk'), crowd($standby, 2));
knock($standby, 20, user => 'clerk', application_name => 'standby');
counts_are_exact($standby, 'on it');
is($standby->{told}{slots}, 20, 'slots');
is($standby->{eye}->query('SELECT recorded_on, usename, sum(attempts) FROM lifeguard.refusals GROUP BY 1, 2'), 'standby|clerk|20', 'recorded there');
$_->close foreach (@crowd, $standby->{eye});
foreach my $server ($standby->{node}, $primary)
{
	$server->stop;
	is(lg_log_complaints($server), '', 'nothing bad in the log of ' . $server->name);
}

done_testing();
