# LgTest.pm: what these tests share: servers, and questions asked of each.

package LgTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use LgSession;

our @EXPORT = qw(lg_server lg_configure lg_put_in_force lg_await_standby lg_passes lg_status
  lg_collector_again lg_freeze_collector
  lg_view_errors lg_negative_ages lg_log_complaints lg_has_library);

# A started server with the extension in its database postgres.
#   preload     shared_preload_libraries; pg_lifeguard unless told
#   conf        more lines for postgresql.conf
#   init        more for the node's init()
#   extension => 0, start => 0    leave that to the caller
sub lg_server
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $preload = $options{preload} // 'pg_lifeguard';

	$node->init(%{ $options{init} // {} });
	$node->append_conf('postgresql.conf', <<"END" . ($options{conf} // ''));
shared_preload_libraries = '$preload'
max_connections = 30
autovacuum = off
END
	return $node if defined $options{start} && !$options{start};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_lifeguard')
	  unless defined $options{extension} && !$options{extension};
	return $node;
}

# Change settings with ALTER SYSTEM, in this order, and reload.
sub lg_configure
{
	my ($session, @settings) = @_;

	while (my ($name, $value) = splice @settings, 0, 2)
	{
		$session->query("ALTER SYSTEM SET $name = '$value'");
	}
	$session->query('SELECT pg_reload_conf()');
	return;
}

# Likewise, and wait until the collector and this session have them, as has every
# process that starts from now on.  Of all its settings the collector tells but few,
# so one of these changes, too: fast_interval, by a millisecond.
sub lg_put_in_force
{
	my ($session, @settings) = @_;
	my $mark = lg_status($session, '1000 * extract(epoch FROM fast_interval)') ^ 1;

	lg_configure($session, @settings, 'pg_lifeguard.fast_interval' => "${mark}ms");
	return $session->poll(<<"END");
SELECT s.fast_interval = '$mark ms' AND g.setting = '$mark'
FROM lifeguard.status s, pg_settings g WHERE g.name = 'pg_lifeguard.fast_interval'
END
}

# From now on a commit waits for a standby that never comes, until
# synchronous_standby_names is '' again.  That is so when the checkpointer has
# read the setting, which shows only in a commit that waits.
sub lg_await_standby
{
	my ($session, $node) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	lg_configure($session, synchronous_standby_names => 'nobody');
	while (time < $deadline)
	{
		my $probe = LgSession->new($node);
		$probe->send("SELECT pg_logical_emit_message(true, 'probe', '')");
		until ($probe->answer(0.05))
		{
			# it is gone when the setting is
			return 1 if $session->query("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = " . $probe->pid);
		}
		$probe->close;
	}
	return 0;
}

# Columns of lifeguard.status, as psql -At prints them.
sub lg_status
{
	my ($session, $columns) = @_;
	return $session->query("SELECT $columns FROM lifeguard.status");
}

# True once so many more passes have been made.
sub lg_passes
{
	my ($session, $more) = @_;
	my $goal = lg_status($session, 'passes') + $more;
	return $session->poll("SELECT passes >= $goal FROM lifeguard.status");
}

# True once another collector than the one with that PID makes passes.
sub lg_collector_again
{
	my ($session, $old) = @_;
	return $session->poll(
		"SELECT collector_pid <> $old AND last_pass >= collector_since FROM lifeguard.status");
}

# Stop the collector between two passes: within one it has what passes of others,
# and readers, would wait for.  Returns its PID, for kill CONT.
sub lg_freeze_collector
{
	my ($session) = @_;

	for (1 .. 1000)
	{
		my $pid = lg_status($session, 'collector_pid');
		kill STOP => $pid;
		my $deadline = time + 10;
		my $state = '';
		while ($state !~ /^T/ && time < $deadline)
		{
			usleep(1000);
			$state = `ps -o stat= -p $pid 2>/dev/null` // '';
			last if $state eq '';    # nobody to ask: no ps, or no /proc
		}
		usleep(20_000) if $state !~ /^T/;    # then the signal has had its time
		return $pid if $session->query("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid") eq 'Extension';
		kill CONT => $pid;
		usleep(1000);
	}
	die "the collector cannot be stopped between two passes\n";
}

# Read every column of every view: what went wrong, a line each; '' is well.
sub lg_view_errors
{
	my ($session) = @_;
	my @views = split /\n/, $session->query(
		"SELECT viewname FROM pg_views WHERE schemaname = 'lifeguard' ORDER BY 1");
	my @errors;

	push @errors, 'no views' unless @views;
	foreach my $view (@views)
	{
		my $error = $session->error_of("SELECT v::text FROM lifeguard.$view v");
		push @errors, "$view: $error->{message}" if $error;
	}
	return join "\n", @errors;
}

# Every age in any view that is below zero, a line each.
sub lg_negative_ages
{
	my ($session) = @_;
	my @columns = split /\n/, $session->query(<<'END');
SELECT format('SELECT count(*) FROM lifeguard.%I WHERE %I < %s', c.relname, a.attname,
			  CASE WHEN a.atttypid = 'interval'::regtype THEN 'interval ''0''' ELSE '0' END)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'lifeguard'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
	AND (a.atttypid = 'interval'::regtype OR a.attname LIKE '%\_age')
END
	die "no ages in any view\n" unless @columns;
	return join "\n", grep { $session->query($_) ne '0' } @columns;
}

# What the server's log must not hold, a line each: panics, warnings, failed
# assertions and dead children.  "allow" excuses lines that a test provoked.
# That a session has gone of itself before a test's pg_terminate_backend()
# reached it is no complaint: nothing of ours calls that.
sub lg_log_complaints
{
	my ($node, %options) = @_;
	my $bad = qr/^\d{4}-[^\[]*\[\d+\] .*?\b(?:PANIC|WARNING):  |TRAP: |terminated by signal|because of crash of another server process/;
	my $fine = qr/ LOG:  (?:statement|execute|duration)|WARNING:  PID \d+ is not a PostgreSQL (?:backend|server) process$/;
	my @lines;

	# line by line: a flood leaves millions of them
	open my $log, '<', $node->logfile or die "$!\n";
	while (my $line = <$log>)
	{
		push @lines, $line if $line =~ $bad && $line !~ $fine && !($options{allow} && $line =~ /$options{allow}/);
	}
	close $log;
	chomp @lines;
	return join "\n", @lines;
}

# Whether the server under test has that library.
sub lg_has_library
{
	my ($name) = @_;
	chomp(my $folder = `pg_config --pkglibdir`);
	return -e "$folder/$name.so";
}

1;
