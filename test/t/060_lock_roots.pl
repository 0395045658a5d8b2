# What is read off the lock graph, against a slow reader, on pictures at random.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = 'test/unit/lock_roots_test.c';
my @objects = map { "src/lock_$_.c" } qw(edges roots tree);
my $pictures = $ENV{LG_LONG} ? 300_000 : 25_000;
my $program = PostgreSQL::Test::Utils::tempdir . '/lock_roots_test';

# All memory of a picture is freed with it, and looking for leaks does not work everywhere.
local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';

# The status of a command, and all that it wrote.
sub run_quietly
{
	my @command = @_;
	my $output = '';
	my $ended = eval { IPC::Run::run(\@command, '<', \undef, '>&', \$output); 1 };

	return (-1, "$@") unless $ended;
	return ($?, $output);
}

# What pg_config says, a list of words; empty if it says nothing.
sub config
{
	my ($status, $output) = run_quietly($ENV{PG_CONFIG} // 'pg_config', "--$_[0]");
	return $status == 0 ? split(' ', $output) : ();
}

# The first of the server's compiler and the machine's that works, with these flags.
sub find_compiler
{
	my @flags = @_;
	my $empty = PostgreSQL::Test::Utils::tempdir . '/empty.c';

	append_to_file($empty, "int main(void) { return 0; }\n") unless -e $empty;
	foreach my $compiler ([ config('cc') ], ['cc'])
	{
		next unless @$compiler;
		my ($built) = run_quietly(@$compiler, @flags, $empty, '-o', $program);
		return (@$compiler, @flags) if $built == 0 && (run_quietly($program))[0] == 0;
	}
	return;
}

# The program's status, and its output, when it reads so many pictures from a seed on.
sub compare
{
	my ($from, $count, @mistake) = @_;
	my ($status, $output) = run_quietly($program, $from, $from + $count, @mistake);
	return ($status & 127 ? "signal $status" : $status >> 8, $output);
}

my ($include) = config('includedir-server');
plan skip_all => "needs the server's headers" unless $include && -e "$include/postgres.h";

my @compiler = find_compiler('-g', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all');
note(@compiler ? 'with sanitizers' : 'without sanitizers, which do not link or do not run here');
@compiler = find_compiler('-g', '-O2') unless @compiler;
plan skip_all => 'needs a C compiler' unless @compiler;

my ($status, $output) = run_quietly(
	@compiler, qw(-Wall -Wextra -Wno-unused-parameter -Wno-ignored-attributes),
	config('cppflags'), '-iquote', 'src', "-I$include", $source, @objects, '-o', $program);
is($status, 0, 'it compiles');
is($output, '', 'without a warning');

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
