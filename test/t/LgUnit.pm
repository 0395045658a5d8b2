# LgUnit.pm: what the tests share that compile a program and run it, or a library
# that the server under test loads.

package LgUnit;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(run_quietly build_program build_probe load_probe);

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
	my ($program, @flags) = @_;
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

# Compile a program, with sanitizers where they work, and test that there is no
# warning; skips all tests where it cannot be tried.
sub build_program
{
	my ($program, @sources) = @_;
	my ($include) = config('includedir-server');
	plan skip_all => "needs the server's headers" unless $include && -e "$include/postgres.h";

	my @compiler = find_compiler($program, '-g', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all');
	note(@compiler ? 'with sanitizers' : 'without sanitizers, which do not link or do not run here');
	@compiler = find_compiler($program, '-g', '-O2') unless @compiler;
	plan skip_all => 'needs a C compiler' unless @compiler;

	my ($status, $output) = run_quietly(
		@compiler, qw(-Wall -Wextra -Wno-unused-parameter -Wno-ignored-attributes),
		config('cppflags'), '-iquote', 'src', "-I$include", @sources, '-lm', '-o', $program);
	is($status, 0, 'it compiles');
	is($output, '', 'without a warning');
	return;
}

# Compile a source of test/unit with all of pg_lifeguard but its _PG_init() as a
# library; returns its path, or nothing and why it cannot be compiled here.
sub build_probe
{
	my ($name) = @_;
	my ($include) = config('includedir-server');
	return (undef, "needs the server's headers") unless $include && -e "$include/postgres.h";

	# -iquote: a header of ours must not stand in for the compiler's <limits.h>
	my $library = PostgreSQL::Test::Utils::tempdir . "/$name.so";
	my ($status, $output) = run_quietly(
		config('cc'), qw(-g -O1 -Wall -fPIC -shared), '-Wl,-Bsymbolic', '-DLG_VERSION="x"', config('cppflags'),
		'-iquote', 'src', "-I$include", "test/unit/$name.c", (grep { !/pg_lifeguard\.c/ } glob('src/*.c')), '-o', $library);
	return (undef, 'needs a C compiler') if $status == -1;
	is($status, 0, 'it compiles') or die $output;
	return $library;
}

# Create the functions of such a library, "name(arguments)" => result type, and
# attach it to the shared memory of the preloaded one, by its probe_attach().
sub load_probe
{
	my ($session, $library, %functions) = @_;
	%functions = ('probe_attach(int8)' => 'bool', %functions);

	foreach my $function (sort keys %functions)
	{
		my ($name) = $function =~ /^(\w+)/;
		$session->query("CREATE FUNCTION $function RETURNS $functions{$function} AS '$library', '$name' LANGUAGE C STRICT");
	}
	is($session->query('SELECT probe_attach(shared_memory) FROM lifeguard.status'), 't', 'attached');
	return;
}

1;
