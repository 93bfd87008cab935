"""jq turns 4,500 log lines into objects with regular expressions, and groups, sums up and rewrites them. Every string, array
and object of jq's is a malloc of its own; a regular expression is compiled, with all its nodes, for each match."""

from ._data import Prose, write

NEEDS = {"jq": "jq"}
COMMAND = ["jq", "-n", "-R", "-S", "-f", "{inputs}/program.jq", "{inputs}/app.log"]

PROGRAM = r"""
[inputs | capture("^(?<at>[0-9:]+) (?<level>[A-Z]+) \\[(?<part>[^\\]]+)\\] (?<text>.*)$")
  | . + {words: [.text | scan("[a-z]+")], numbers: [.text | scan("=([0-9]+)") | .[0] | tonumber]}
  | .text |= gsub("=[0-9]+"; "=N")] as $all
| {parts: ($all | group_by(.part) | map({key: .[0].part, value: {
     lines: length, sum: (map(.numbers[]) | add), words: (map(.words[]) | unique | length),
     first: (min_by(.at) | .text), levels: (map(.level) | unique | join(" "))}})
     | sort_by(-.value.sum, .key) | .[0:40] | from_entries),
   words: ([$all[] | .words[]] | group_by(.) | map({word: .[0], n: length}) | sort_by(-.n, .word) | .[0:20]),
   errors: [$all[] | select(.level | test("^(error|fatal)$"; "i")) | .at | split(":") | .[1]] | group_by(.) | map(length),
   text: ($all | map(tojson) | map(fromjson | .words | length) | add)}
"""


def inputs(folder):
    prose = Prose(8)
    rng = prose.rng
    lines = (f"{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02} {rng.choice(('INFO', 'INFO', 'DEBUG', 'ERROR', 'FATAL'))} "
             f"[{prose.word()}] {prose.text(5)} {prose.word()}={rng.randrange(10 ** 6)} {prose.word()}={rng.randrange(1000)}"
             for i in range(4500))
    write(folder, "program.jq", PROGRAM)
    write(folder, "app.log", "\n".join(lines) + "\n")
