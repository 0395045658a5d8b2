# Histograms against sorted durations, and statements without their constants.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgUnit;
use PostgreSQL::Test::Utils;
use Test::More;

my $program = PostgreSQL::Test::Utils::tempdir . '/contention_test';

local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';
build_program($program, 'test/unit/contention_test.c', 'src/histogram.c', 'src/statements.c');

foreach my $seed (1, 2, 3, 1 + int(rand(1_000_000_000)))
{
	my ($status, $output) = run_quietly($program, $seed);
	is($status, 0, 'contention_test ' . ($seed <= 3 ? $seed : '(random)')) or diag("seed $seed: $output");
}

# --- what errs is found out
my %told = (weights => 'percentile', shift => 'percentile', alike => 'statement');
foreach my $mistake (sort keys %told)
{
	my ($status, $output) = run_quietly($program, 1, $mistake);
	is($status >> 8, 1, "a mistake about $mistake is noticed");
	like($output, qr/^\Q$told{$mistake}\E: /m, "as a wrong $told{$mistake}");
}

done_testing();
