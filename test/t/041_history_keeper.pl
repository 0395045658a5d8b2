# Histories on their way to their tables: written soon, once, and whole; nothing
# is lost by a clean stop, no more than the flush interval by a crash, and nothing
# that the rings still hold by a table that cannot be written to.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# a ring of 16 stays idle in transaction
my $node = lg_server('histories', conf => <<'END');
pg_lifeguard.sample_interval = 0
pg_lifeguard.min_episode = 0
pg_lifeguard.max_episodes = 64
END
my $file = $node->data_dir . '/pg_stat/pg_lifeguard.records';
my ($session, $idler);

sub connect_both
{
	($session, $idler) = map { LgSession->new($node) } 1 .. 2;
	return;
}

sub again
{
	my ($mode, %options) = @_;
	$_->close foreach $session, $idler;
	$node->stop($mode);
	$options{between}->() if $options{between};
	$node->start;
	connect_both();
	return;
}

# A stay idle in transaction, begun, seen and over.
sub stay
{
	my ($label) = @_;
	$idler->query("BEGIN; SELECT '$label' /* step=1 */");
	$session->query('SELECT lifeguard.run_pass()');
	$idler->query('COMMIT');
	$session->query('SELECT lifeguard.run_pass()');
	return;
}

my $shown = "SELECT count(*) FROM lifeguard.idle_transaction_history WHERE query LIKE 'BEGIN; SELECT ''%s'' %%'";
my $written = $shown =~ s/transaction_history/transaction_entries/r;
sub shown { return $session->query(sprintf $shown, @_); }
sub written { return $session->query(sprintf $written, @_); }
sub is_written { return $session->poll(sprintf($written, $_[0]), $_[1] // '1'); }
sub records { return lg_status($session, 'records_unflushed, records_lost'); }
# a minute's end may add some of its own, which do not stay
sub records_become { return $session->poll("SELECT records_unflushed || '|' || records_lost FROM lifeguard.status", $_[0]); }
sub problem_becomes { return $session->poll("SELECT keeper_problem LIKE '$_[0]' FROM lifeguard.status"); }
sub well_again { return $session->poll('SELECT keeper_problem IS NULL AND records_unflushed = 0 FROM lifeguard.status'); }

connect_both();

# --- memory at once, the table soon, the view once
stay('one');
is(shown('one'), '1', 'shown at once');
ok(is_written('one'), 'written');
is(shown('one'), '1', 'shown once');
ok(well_again(), 'nothing is left to write');
is(lg_status($session, 'records_lost, keeper_last_flush IS NOT NULL'), '0|t', 'nothing lost');
my $row = "SELECT e::text FROM lifeguard.idle_transaction_history e WHERE query LIKE '%one%'";
my $before = $session->query($row);
again('immediate');
is($session->query($row), $before, 'the same row after a crash, now from the table');

# --- written, and the keeper did not come to say so: it is written again, as one row
my $keeper_waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper' AND wait_event_type = 'Lock'";
my $rival = LgSession->new($node);
$rival->query('BEGIN; LOCK TABLE lifeguard.idle_transaction_entries IN SHARE MODE');
stay('twice');
ok($session->poll($keeper_waits), 'the keeper waits');
$session->query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'");
ok(problem_becomes('%'), 'it was ended');
ok(records_become('1|0'), 'the record waits');
$rival->query(<<'END');
INSERT INTO lifeguard.idle_transaction_entries (boot, number, pid, idle_start)
SELECT boot, number, 1, idle_start FROM lifeguard.read_idle_transactions() WHERE query LIKE '%twice%';
COMMIT
END
ok(is_written('twice'), 'written over what was there');
is($session->query("SELECT count(*) FROM lifeguard.idle_transaction_entries WHERE pid = 1"), '0', 'as one row');
ok(well_again(), 'well again');

# --- locked out for 10 s: other kinds are written, this one later
$rival->query('BEGIN; LOCK TABLE lifeguard.idle_transaction_entries');
my $until = time + 10;
stay("locked out $_") foreach 1 .. 10;
$session->query("SELECT lifeguard.terminate_session(${\LgSession->new($node)->pid}, 'meanwhile')");
ok($session->poll("SELECT count(*) = 1 FROM lifeguard.ledger_entries WHERE reason = 'meanwhile'"), 'the ledger is written meanwhile');
ok(problem_becomes('%lock timeout%'), 'the problem is told');
my $began;
foreach (1 .. 3)    # a busy machine may be slow itself
{
	$began = time;
	stay('unhindered');
	last if time - $began < 1;
}
cmp_ok(time - $began, '<', 1, 'no pass waits for the keeper');
usleep(1000 * 1000 * ($until - time)) if $until > time;
$began = time;
$session->query("SELECT lifeguard.terminate_session(${\LgSession->new($node)->pid}, 'in time')");
ok($session->poll("SELECT count(*) = 1 FROM lifeguard.ledger_entries WHERE reason = 'in time'"), 'the ledger is written still');
cmp_ok(time - $began, '<', 8, 'and as soon as without the trouble, but for a keeper that tries again');
like(records(), qr/^1[1-9]\|0$/, 'all wait');    # the keeper's own waits are on record, too
$rival->query('COMMIT');
ok(is_written('locked out %', '10'), 'written when it can be');
ok(well_again(), 'well again');
is(lg_status($session, 'records_lost'), '0', 'nothing is lost');

# the rival's own pause is over, too
$session->query('SELECT lifeguard.run_pass()');
ok(well_again(), 'all is written');

# --- nothing can be written: the disk is full, say; a clean stop keeps it all
$session->query('ALTER TABLE lifeguard.idle_transaction_entries ADD CONSTRAINT no_room CHECK (false) NOT VALID');
stay("no room $_") foreach 1 .. 16;
ok(problem_becomes('%no_room%'), 'a table that takes nothing is a problem');
ok(records_become('16|0'), 'the ring holds all');
my $identity = "SELECT string_agg(boot || ' ' || number, ',' ORDER BY number) FROM lifeguard.read_idle_transactions()";
$before = $session->query($identity);
again('fast');
ok(-s $file, 'a clean stop leaves a file');
is($session->query($identity), $before, 'which brings all back, with their identity');
again('immediate');
is($session->query($identity), $before, 'after a crash soon after, too');
is(shown('no room %'), '16', 'all are shown');
stay("too many $_") foreach 1 .. 3;
ok(records_become('16|3'), 'what the ring had to drop is counted');
$session->query('ALTER TABLE lifeguard.idle_transaction_entries DROP CONSTRAINT no_room');
ok(is_written('no room %', '13'), 'written when there is room');
ok(is_written('too many %', '3'), 'the newest, too');
ok(well_again(), 'well again');
ok(!-e $file, 'no file is left');
is(shown('no room %'), '13', 'shown once');

# --- read-only and back; which as a setting does not matter to the keeper
$session->query('SET default_transaction_read_only = off');
lg_configure($session, default_transaction_read_only => 'on');
$session->query("ALTER DATABASE postgres SET default_transaction_read_only = on");
stay('read only');
ok(is_written('read only'), 'written all the same');
$session->query("ALTER DATABASE postgres RESET default_transaction_read_only");
$session->query('ALTER SYSTEM RESET default_transaction_read_only');
$session->query('SELECT pg_reload_conf()');

# --- a home that cannot be reached, and is again
$session->query('CREATE DATABASE office');
my $office = LgSession->new($node, dbname => 'office');
$session->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'", '0');
$office->query('ALTER DATABASE postgres ALLOW_CONNECTIONS false');
stay('closed');
ok($session->poll("SELECT keeper_problem LIKE '%allows no connections' FROM lifeguard.status"), 'closed');
like(records(), qr/^[1-9]\d*\|3$/, 'kept');
$office->query('ALTER DATABASE postgres ALLOW_CONNECTIONS true');
ok(is_written('closed'), 'written when it is open');
$office->close;

# --- a table of another layout is refused
$session->query('ALTER TABLE lifeguard.idle_transaction_entries ADD mine int');
stay('strange');
ok(problem_becomes('%has other columns%'), 'another layout is refused');
$session->query('ALTER TABLE lifeguard.idle_transaction_entries DROP mine');
ok(is_written('strange'), 'and this one is not');
ok(well_again(), 'well again');

# --- two of them: the server log hears of each once, though both are tried again and again
my $offset = -s $node->logfile;
my @strange = map { "lifeguard.$_" } qw(idle_transaction_entries ledger_entries);
$session->query("ALTER TABLE $_ ADD mine int") foreach @strange;
stay('both strange');
$session->query("SELECT lifeguard.terminate_session(${\LgSession->new($node)->pid}, 'both strange')");
my $failures = lg_status($session, 'keeper_failures');
ok($session->poll("SELECT keeper_failures >= $failures + 10 FROM lifeguard.status"), 'tried again and again');
my $log = slurp_file($node->logfile, $offset);
is(scalar(() = $log =~ /ERROR:  .*$_.* has other columns/g), 1, "$_: said once") foreach @strange;
$session->query("ALTER TABLE $_ DROP mine") foreach @strange;
ok(is_written('both strange'), 'written when they are as they were');
ok(well_again(), 'well again');

# --- so is one whose rows have no identity any more
my $key = $session->query("SELECT conname FROM pg_constraint WHERE conrelid = 'lifeguard.idle_transaction_entries'::regclass AND contype = 'p'");
$session->query(qq(ALTER TABLE lifeguard.idle_transaction_entries DROP CONSTRAINT "$key"));
stay('nobody');
ok(problem_becomes('%primary key%'), 'a table without its key is refused');
is($session->query(sprintf $written, 'nobody'), '0', 'nothing is written to it');
$session->query(qq(ALTER TABLE lifeguard.idle_transaction_entries ADD CONSTRAINT "$key" PRIMARY KEY (boot, number)));
ok(is_written('nobody'), 'written when the key is back');

# --- its owner's rights, and no more: what the table runs, runs with them
my $superuser = $session->query('SELECT current_user');
$session->query(<<'END');
CREATE ROLE clerk;
GRANT USAGE ON SCHEMA lifeguard TO clerk;
CREATE FUNCTION is_clerk() RETURNS boolean LANGUAGE sql AS $$ SELECT current_user = 'clerk' $$;
ALTER TABLE lifeguard.idle_transaction_entries OWNER TO clerk;
ALTER TABLE lifeguard.idle_transaction_entries ADD CONSTRAINT is_clerk CHECK (public.is_clerk()) NOT VALID;
REVOKE INSERT ON lifeguard.idle_transaction_entries FROM clerk;
END
stay('forbidden');
ok(problem_becomes('%permission denied%'), 'what the owner may not do is not done');
is($session->query(sprintf $written, 'forbidden'), '0', 'nothing is written');
$session->query('GRANT INSERT ON lifeguard.idle_transaction_entries TO clerk');
ok(is_written('forbidden'), 'written with the rights of the owner');
$session->query(<<"END");
ALTER TABLE lifeguard.idle_transaction_entries DROP CONSTRAINT is_clerk;
ALTER TABLE lifeguard.idle_transaction_entries OWNER TO "$superuser";
DROP FUNCTION is_clerk(); DROP OWNED BY clerk; DROP ROLE clerk;
END
ok(well_again(), 'well again');

# --- a name once written stays, though nobody knows it any more
my ($keeper_of_lock, $visitor) = map { LgSession->new($node) } 1 .. 2;
$rival = LgSession->new($node);
$rival->query('BEGIN; LOCK TABLE lifeguard.lock_wait_entries IN SHARE MODE');
$keeper_of_lock->query('SELECT pg_advisory_lock(4711)');
$visitor->send("SELECT 'visit', pg_advisory_lock(4711)");
$session->poll('SELECT count(*) = 1 FROM lifeguard.lock_waits');
$session->query('SELECT lifeguard.run_pass()');
$keeper_of_lock->query('SELECT pg_advisory_unlock(4711)');
$visitor->answer;
$session->query('SELECT lifeguard.run_pass()');
ok($session->poll($keeper_waits), 'the keeper waits');
$rival->query(<<'END');
INSERT INTO lifeguard.lock_wait_entries (boot, number, waiter_pid, wait_start, relation_name, mode)
SELECT boot, number, 1, wait_start, 'as it was', 'gone'
FROM lifeguard.read_lock_wait_history() WHERE waiter_query LIKE '%visit%';
COMMIT
END
my $visit = "SELECT relation_name, waiter_pid = ${\$visitor->pid}, mode FROM lifeguard.lock_wait_entries WHERE waiter_query LIKE '%visit%'";
ok($session->poll($visit, 'as it was|t|ExclusiveLock'), 'all is written anew but the name');
$_->close foreach $keeper_of_lock, $visitor, $rival;

# --- the extension is dropped while the keeper waits for one of its tables
lg_configure($session, 'pg_lifeguard.notify' => 'on');
$rival = LgSession->new($node);
$rival->query('BEGIN; DROP EXTENSION pg_lifeguard');
stay('homeless');
ok($session->poll($keeper_waits), 'the keeper waits');
$rival->query('COMMIT');
$session->poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_lifeguard keeper'", '0');
is($session->query('SELECT 1'), '1', 'the server lives on');
$session->query('CREATE EXTENSION pg_lifeguard');
stay('anew');
ok(is_written('anew'), 'written to the new table');
ok(well_again(), 'well again');

# --- a clean stop keeps what is not over yet: this minute, and a stay that goes on
my $sitter = LgSession->new($node);
$sitter->query("BEGIN; SELECT 'until the end' /* step=2 */");
$session->query('SELECT lifeguard.run_pass()');
my $minute = $session->query('SELECT boot, number FROM lifeguard.read_connection_history() ORDER BY boot DESC, number DESC LIMIT 1');
again('fast');
my ($boot, $number) = split /\|/, $minute;
ok($session->poll("SELECT count(*) FROM lifeguard.connection_entries WHERE boot = '$boot' AND number = $number", '1'), 'a minute that was not over is kept');
ok(is_written('until the end'), 'a stay that went on is over, and kept');
ok(well_again(), 'all is written');
$session->poll("SELECT pg_stat_file('pg_stat/pg_lifeguard.records', true) IS NULL");
ok(!-e $file, 'then the file is gone');

# --- a crash loses what the flush interval holds back, and no more
my @stays;
foreach my $n (1 .. 45)
{
	stay("fast $n");
	push @stays, { name => "fast $n", over => time };
	usleep(250_000);
}
my $crash = time;
again('immediate');
# busy machines: the keeper comes after flush_interval, and needs a moment
my @lost = grep { shown($_->{name}) ne '1' } @stays;
my @early = grep { $_->{over} < $crash - 4 } @lost;
is(join(', ', map { $_->{name} } @early), '', 'a crash loses the flush interval at most: ' . @lost . ' of 45');
cmp_ok(scalar(@lost), '<', 45, 'not all');

# --- a relation that is dropped later, in another database, keeps its name
my ($owner, $holder, $waiter) = map { LgSession->new($node, dbname => 'office') } 1 .. 3;
$owner->query('CREATE SCHEMA "Back Office"; CREATE TABLE "Back Office".till (id int)');
$holder->query('BEGIN; LOCK TABLE "Back Office".till');
$waiter->send('SELECT FROM "Back Office".till');
$session->poll('SELECT count(*) = 1 FROM lifeguard.lock_waits');
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
do    # until somebody has looked what it is called
{
	$session->query('SELECT lifeguard.run_pass()');
	usleep(100_000);
} while ($session->query(q{SELECT count(*) FROM lifeguard.contention WHERE relation_name = '"Back Office".till'}) eq '0' && time < $deadline);
$holder->query('DROP TABLE "Back Office".till; COMMIT');
$waiter->answer;
$session->query('SELECT lifeguard.run_pass()');
my $name = "SELECT string_agg(relation_name, ',') FROM lifeguard.%s WHERE waiter_datname = 'office'";
is($session->query(sprintf $name, 'lock_wait_history'), '"Back Office".till', 'its name is known at once');
ok($session->poll(sprintf($name, 'lock_wait_entries'), '"Back Office".till'), 'and written');
again('fast');
is($session->query(sprintf $name, 'lock_wait_history'), '"Back Office".till', 'and stays');
$_->close foreach $owner, $holder, $waiter, $rival, $sitter, $session, $idler;

$node->stop;
is(lg_log_complaints($node, allow => qr/terminating connection/), '', 'nothing bad in the log');

done_testing();
