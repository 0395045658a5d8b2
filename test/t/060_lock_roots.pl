# What is read off the lock graph, against a slow reader, on pictures at random.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgUnit;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = 'test/unit/lock_roots_test.c';
my @objects = map { "src/lock_$_.c" } qw(edges roots tree);
my $pictures = $ENV{LG_LONG} ? 300_000 : 25_000;
my $program = PostgreSQL::Test::Utils::tempdir . '/lock_roots_test';

# All memory of a picture is freed with it, and looking for leaks does not work everywhere.
local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';

# The program's status, and its output, when it reads so many pictures from a seed on.
sub compare
{
	my ($from, $count, @mistake) = @_;
	my ($status, $output) = run_quietly($program, $from, $from + $count, @mistake);
	return ($status & 127 ? "signal $status" : $status >> 8, $output);
}

build_program($program, $source, @objects);
my ($status, $output);

# --- the same ones each time, and others each time
foreach my $from (0, 1_000_000 + int(rand(1_000_000_000)))
{
	note("seeds from $from on: lock_roots_test $from " . ($from + $pictures));
	($status, $output) = compare($from, $pictures);
	is($status, 0, ($from == 0 ? 'fixed' : 'random') . ' pictures: both read the same');
	$status eq '0' ? note($output) : diag($output);
}

# --- a slow reader that errs is found out, in the field that it gets wrong
my %field = (
	queue => 'blocker',
	cycles => 'deadlock',
	parents => 'parent',
	harm => 'blocked_total',
	contended => 'contended_lock',
	siblings => 'next row of the tree');
foreach my $mistake (sort keys %field)
{
	($status, $output) = compare(0, 1000, $mistake);
	is($status, 1, "a mistake about $mistake is noticed");
	like($output, qr/^  n\d+ +\Q$field{$mistake}\E is -?\d+, not -?\d+$/m, "as a wrong $field{$mistake}");
}

done_testing();
