"""Perl as a log analyser: regular expressions with captures, split and join, hashes of hashes of arrays, sort. Perl
mallocs the body of every string and table; its small heads come from arenas of its own."""

from ._data import Prose, write

NEEDS = {"perl": "perl"}
ENV = {"PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0", "PERL5OPT": "", "PERL5LIB": "", "PERL_UNICODE": ""}
COMMAND = ["perl", "{inputs}/program.pl", "{inputs}/access.log"]

PROGRAM = r'''
use strict; use warnings;
my (%user, %page, @rows);
open(my $log, '<', $ARGV[0]) or die $!;
while (my $line = <$log>) {
  chomp $line;
  next unless $line =~ m{^(\S+) (\w+) \[(\d+):([^\]]*)\] "(GET|POST) (/[^ "]*)" (\d{3}) (\d+) "([^"]*)"$};
  my ($host, $name, $at, $zone, $verb, $path, $status, $size, $agent) = ($1, $2, $3, $4, $5, $6, $7, $8, $9);
  my ($short, $query) = split /\?/, $path, 2;
  my %arg = map { my ($k, $v) = split /=/, $_, 2; ($k => $v // '') } split /&/, $query // '';
  (my $plain = lc $agent) =~ s/([aeiou])([^aeiou ])/$2$1/g;
  push @{$user{$name}{$short}}, { at => $at, size => $size, arg => \%arg, agent => $plain };
  $page{$short}{$status}++;
  push @rows, join("\t", sprintf("%08d", $at), $host, $short, map { "$_=$arg{$_}" } sort keys %arg);
}
close $log;
printf "%d users, %d pages, %d rows\n", scalar keys %user, scalar keys %page, scalar @rows;
for my $name ((sort { keys %{$user{$b}} <=> keys %{$user{$a}} || $a cmp $b } keys %user)[0 .. 9]) {
  my $visits = $user{$name};
  my @all = sort { $a->{at} <=> $b->{at} || $a->{agent} cmp $b->{agent} } map { @$_ } values %$visits;
  my $sum = 0;
  $sum += $_->{size} for @all;
  printf "%-12s %5d %9d %s\n", $name, scalar @all, $sum, substr($all[-1]{agent}, 0, 30);
}
my @sorted = sort @rows;
my $text = join "\n", @sorted;
my $changed = ($text =~ s/(\w+)=(\w+)/\U$2\E:$1/g);
my %word;
$word{$_}++ for $text =~ /\w+/g;
printf "%d %d %d\n", length $text, $changed, scalar keys %word;
my %copy = map { $_ => [ map { { %$_, seen => 1 } } map { @$_ } values %{$user{$_}} ] } keys %user;
my $seen = 0;
for my $list (values %copy) { $seen += $_->{seen} for @$list; }
printf "%d %s\n", $seen, (sort { $word{$b} <=> $word{$a} || $a cmp $b } keys %word)[7];
'''


def inputs(folder):
    prose = Prose(6)
    rng, lines = prose.rng, []
    for i in range(22000):
        query = "&".join(f"{prose.word()}={rng.randrange(10 ** 5):x}" for _ in range(rng.randrange(5)))
        lines.append(f'10.0.{rng.randrange(256)}.{rng.randrange(256)} {prose.word()} [{i * 7}:+0000] '
                     f'"{rng.choice(("GET", "POST"))} /{prose.word()}/{prose.word()}{"?" * bool(query)}{query}" '
                     f'{rng.choice((200, 200, 304, 404))} {rng.randrange(90000)} "{prose.text(6)}"')
    write(folder, "program.pl", PROGRAM)
    write(folder, "access.log", "\n".join(lines) + "\n")
