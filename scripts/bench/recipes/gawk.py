"""gawk over a table of 30,000 lines: fields, arrays of arrays, string building, gensub, sorted output. A string value
is a malloc; array elements come from blocks of a hundred that gawk mallocs."""

from ._data import Prose, write

NEEDS = {"gawk": "gawk"}
ENV = {"LC_ALL": "C", "AWKPATH": "", "AWKLIBPATH": "", "GAWK_READ_TIMEOUT": "0"}
COMMAND = ["gawk", "-f", "{inputs}/program.awk", "{inputs}/table.txt"]

PROGRAM = r'''
{
  name = $1; sum[name] += $2; n[name]++
  for (i = 3; i <= NF; i++) { word[$i]++; where[$i][name] = NR; pair[name, $i] = pair[name, $i] substr($i, 1, 3) }
  line[NR] = toupper(substr($0, 1, 1)) substr($0, 2)
}
END {
  print length(sum), length(word), length(pair)
  PROCINFO["sorted_in"] = "@val_num_desc"
  count = 0
  for (name in sum) if (++count <= 10) printf "%-12s %8d %6.2f\n", name, sum[name], sum[name] / n[name]
  PROCINFO["sorted_in"] = "@ind_str_asc"
  total = 0; widest = ""
  for (w in where) {
    list = ""
    for (name in where[w]) list = list (list == "" ? "" : ",") name ":" where[w][name]
    total += length(list)
    if (length(list) > length(widest)) widest = list
  }
  print total, substr(widest, 1, 60)
  total = 0
  for (i = 1; i <= NR; i++) {
    text = gensub(/([a-z]+) ([0-9]+)/, "\\2-\\1", "g", line[i])
    gsub(/[aeiou]/, "&&", text)
    m = split(text, part, /[ -]/)
    for (j = m; j > 0; j--) total += length(part[j] i)
  }
  print total, text
}
'''


def inputs(folder):
    prose = Prose(7, 2500)
    write(folder, "program.awk", PROGRAM)
    write(folder, "table.txt", "".join(f"{prose.word()} {prose.rng.randrange(1000)} {prose.text(6)}\n" for _ in range(30000)))
