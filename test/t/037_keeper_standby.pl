# The keeper on a standby, where no trigger tells of changes and no entry of
# the ledger can be written.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgKeeper;
use LgTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# passes only on demand: the keeper is sent all the same
my $on_demand = "pg_lifeguard.sample_interval = 0\n";
my $node = lg_server('keeper', init => { allows_streaming => 1 }, conf => $on_demand);
my $session = LgSession->new($node);
create_policy($session, $_) foreach qw(one two);
ok(policies_become($session, '2'), 'in force on the primary');

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my $remote = LgSession->new($standby);
ok(policies_become($remote, '2'), 'in force on a standby');
create_policy($session, 'four');
ok(policies_become($remote, '3'), 'a change arrives there, too');
is(lg_status($remote, 'keeper_problem IS NULL'), 't', 'no problem there');
$remote->query("SELECT lifeguard.terminate_session(${\LgSession->new($standby)->pid}, 'there')");
is($remote->query('SELECT reason, recorded_on FROM lifeguard.ledger'), 'there|standby', 'an action there');
is(lg_status($remote, 'ledger_unflushed'), '1', 'cannot be written');
$remote->close;
$standby->restart;
$remote = LgSession->new($standby);
is($remote->query('SELECT reason, recorded_on FROM lifeguard.ledger'), 'there|standby', 'but survives a restart');
$standby->promote;
ok($remote->poll("SELECT count(*) = 1 FROM lifeguard.ledger_entries WHERE recorded_on = 'standby'"), 'and is written after promotion');
is($remote->query('SELECT reason, recorded_on FROM lifeguard.ledger'), 'there|standby', 'shown once');
is(lg_status($remote, 'keeper_problem IS NULL'), 't', 'no problem');
$remote->close;
$session->close;
$_->stop foreach ($standby, $node);
is(lg_log_complaints($_), '', 'nothing bad in the log of ' . $_->name) foreach ($node, $standby);

done_testing();
