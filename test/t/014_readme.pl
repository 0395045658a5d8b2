# README and src/README name what there is: every column, setting and function,
# every default, every file; and nothing else.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use LgTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = lg_server('readme');
my $session = LgSession->new($node);
my $readme = slurp_file('README.md');

# column(SQL): the lines of the answer
sub column { return split /\n/, $session->query($_[0]); }

# missing(TEXT, NAME...): those that stand in no backticks, a call by its name
sub missing
{
	my ($text, @names) = @_;
	my %said = map { $_ => 1 } map { /^(?:lifeguard\.)?([a-z_0-9]+)\b/ ? $1 : () } $text =~ /`([^`\n]+)`/g;
	return join ' ', grep { !$said{$_} } @names;
}

# --- views: each has a heading, under it each of its columns.  Columns of one
# session that stand behind one another are "`root_pid` ... `root_query_tags`".
my %under;
while ($readme =~ /^### (.*)\n((?:(?!#).*\n)*)/mg)
{
	my ($heading, $text) = ($1, $2);
	$under{$_} .= $text foreach map { s/^lifeguard\.//r } $heading =~ /`([\w.]+)`/g;
}
my @relations = column(<<'END');
SELECT relname FROM pg_class WHERE relnamespace = 'lifeguard'::regnamespace AND relkind IN ('r', 'v')
	AND relname !~ '_entries$' AND relname NOT IN ('report_usage', 'report_waits') ORDER BY 1
END
cmp_ok(scalar @relations, '>', 25, 'views and the table');
foreach my $relation (@relations)
{
	my @columns = column("SELECT attname FROM pg_attribute WHERE attrelid = 'lifeguard.$relation'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum");
	my @alone = grep { !/^root_/ } @columns;
	is(missing($under{$relation} // '', @alone), '', "README tells of each column of $relation");
	my @named = map { $_->[0] =~ /`([a-z_0-9]+)`/g } map { [ split /\|/, substr($_, 1) ] } ($under{$relation} // '') =~ /^(\| `.*)$/mg;
	my %there = map { $_ => 1 } @columns;
	is(join(' ', grep { !$there{$_} } @named), '', "and of no other column")
		unless $relation =~ /^(?:connection_history|connection_usage_history|load_history|refusals|refusal_counts)$/; # share a table
}

# --- settings: default, bounds where they are told, and what a reload does
my %row = $readme =~ /^\| `(pg_lifeguard\.\w+)` \| ([^|]+) \|/mg;
my %setting = map { my ($name, @rest) = split /\|/, $_, -1; $name => \@rest }
	column(q{SELECT concat_ws('|', name, boot_val, COALESCE(unit, ''), vartype, context) FROM pg_settings WHERE name ~ '^pg_lifeguard\.'});
is(join(' ', sort keys %row), join(' ', sort keys %setting), 'README has each setting');
foreach my $name (sort keys %setting)
{
	my ($default, $unit, $type) = @{ $setting{$name} };
	$default .= " $unit" if $unit;
	$default =~ s/^(\d+)000 ms$/$1 s/;
	my $said = $row{$name} =~ s/`//gr =~ s/ \(.*//r =~ s/^empty$//r;
	is($said, $default, "default of $name");
}
my ($list) = $readme =~ /^All but (.*) take effect on reload/m;
is(join(' ', sort map { "pg_lifeguard.$_" } $list =~ /`(\w+)`/g),
	join(' ', sort grep { $setting{$_}[3] eq 'postmaster' } keys %setting), 'which need a restart');

# --- functions: those made for others are told by the beginnings of their names
my ($functions) = $readme =~ /^## Functions\n(.*?)^## /ms;
is(missing($functions . $readme, grep { !/^(?:read|find|finding|saturated|report)_/ } column(<<'END')), '', 'README tells of each function');
SELECT DISTINCT p.proname FROM pg_proc p WHERE p.pronamespace = 'lifeguard'::regnamespace
	AND p.prorettype <> 'trigger'::regtype AND p.proname !~ '^policy_.*_problems$' ORDER BY 1
END
my %known = map { $_ => 1 } column(<<'END');
SELECT proname FROM pg_proc WHERE pronamespace = 'lifeguard'::regnamespace
UNION SELECT relname FROM pg_class WHERE relnamespace = 'lifeguard'::regnamespace
END
is(join(' ', grep { !$known{$_} } $readme =~ /\blifeguard\.([a-z]\w*)\b/g), '', 'and nothing that is not there');

# --- files
is(join(' ', grep { !-e $_ } $readme =~ m{`((?:script|src|contrib|docs|bench|test)/[\w./-]*)`}g, $readme =~ /\]\(([^#)]+)\)/g), '', 'files that README names');
my $design = slurp_file('src/README');
my ($rooms) = $design =~ /^Rooms\n(.*?)^Readings and passes$/ms;
my %listed = map { $_ => 1 } $rooms =~ /^\t(\w+\.[ch])\t/mg;
my @sources = map { s{.*/}{}r } glob 'src/*.c';
is(join(' ', grep { !$listed{$_} } @sources), '', 'each source has its room in src/README');
is(join(' ', grep { !-e "src/$_" } sort keys %listed), '', 'and each room its source');
my @tests = map { split /, / } $design =~ m{\btest/t/(\d\w*(?:, \d+)*)}g;
cmp_ok(scalar @tests, '>', 30, 'tests that it names');
is(join(' ', grep { my @files = glob "test/t/$_*.pl"; @files != 1 } @tests), '', 'are there');

done_testing();
