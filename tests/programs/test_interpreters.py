#!/usr/bin/python3
"""Interpreters under the shim: python3 (its own small-object allocator off, so that every object is a malloc), perl,
lua5.4, gawk and node. Each script is deterministic and prints a digest or a table of what it computed."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimmed import STANDS_IN, Case, need, write

PYTHON_ENV = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1", "PYTHONDONTWRITEBYTECODE": "1"}

PYTHON_JSON = r"""
import json, random
rng = random.Random(7)
rows = [{"id": i, "name": "n%d" % i, "tags": [rng.choice("abcdef") * rng.randrange(1, 40) for _ in range(6)],
         "deep": {"x": [rng.random() for _ in range(5)], "none": None, "text": "\u00e9\u4e16" * rng.randrange(9)}}
        for i in range(4000)]
text = json.dumps(rows, indent=1, sort_keys=True)
assert json.loads(text) == rows
print(len(text), json.dumps(rows[17], sort_keys=True))
for row in rows[::3]:
    row["tags"].sort()
    row.pop("deep")
print(json.dumps(rows)[:4000])
"""

PYTHON_RE = r"""
import random, re
rng = random.Random(11)
words = ["".join(rng.choice("abcdefghij") for _ in range(rng.randrange(2, 12))) for _ in range(20000)]
text = " ".join(words)
for pattern in (r"(\w)\1", r"(?P<a>[aeiou]+)(?P<b>[^aeiou ]+)", r"\b(?:a|be|cad)\w*?j\b", r"(a|b)*c(d|e)?"):
    found = [m.groups() for m in re.finditer(pattern, text)]
    print(pattern, len(found), found[:5], found[-3:])
print(re.sub(r"([a-e]+)([f-j]+)", r"\2-\1", text)[:3000])
print(len(re.split(r"[aj]\s+", text)))
"""

PYTHON_SUBPROCESS = r"""
import os, subprocess, sys
for i in range(12):
    done = subprocess.run([sys.executable, "-c", "import sys; print(sum(map(int, sys.stdin.read().split())) * %d)" % i],
                          input=" ".join(map(str, range(2000))), capture_output=True, text=True, check=True)
    print(i, done.stdout.strip(), repr(done.stderr))
procs = [subprocess.Popen(["sh", "-c", "cat | tr a-z A-Z; exit %d" % i], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) for i in range(8)]
print([(p.communicate("x" * 5000 + str(i))[0][-6:], p.returncode) for i, p in enumerate(procs)])
for i in range(8):
    pid = os.fork()
    if pid == 0:
        os._exit(len([str(j) * 10 for j in range(30000)]) % 250 + i)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(subprocess.run(["python3", "-c", "raise SystemExit('bye')"], capture_output=True))
"""

PYTHON_THREADING = r"""
import queue, threading
todo, done = queue.Queue(), queue.Queue()
def work():
    while (item := todo.get()) is not None:
        done.put((item, [str(item * k) for k in range(300)]))
threads = [threading.Thread(target=work) for _ in range(6)]
[t.start() for t in threads]
[todo.put(i) for i in range(500)]
[todo.put(None) for _ in threads]
[t.join() for t in threads]
results = dict(done.get() for _ in range(500))
print(len(results), sum(len("".join(results[i])) for i in sorted(results)), results[499][-1])
total, lock = 0, threading.Lock()
def short(n):
    global total
    chunk = [bytes(n) for _ in range(200)]
    with lock:
        total += sum(map(len, chunk))
for wave in range(40):
    wave_threads = [threading.Thread(target=short, args=(wave * 16 + k,)) for k in range(8)]
    [t.start() for t in wave_threads]
    [t.join() for t in wave_threads]
print(total)
"""

PYTHON_LEFT_ALIVE = r"""
import os, threading
kept = [str(i) * 3 for i in range(50000)]
started = threading.Barrier(5)
def churn():
    started.wait()
    while True:
        [bytes(k) for k in range(200)]
for _ in range(4):
    threading.Thread(target=churn, daemon=True).start()
started.wait()
print(len(kept), flush=True)
os._exit(3)
"""

PERL = r"""
use strict; use warnings;
my (%count, @lines); my $x = 12345;
for my $i (1 .. 60000) {
    $x = ($x * 1103515245 + 12345) % 2147483648;
    my $key = join "-", map { chr(97 + ($x >> $_) % 26) } 3, 7, 11;
    $count{$key}{$i % 7} .= "v$i;";
    push @lines, sprintf("%08d %s %s", $x, $key, "y" x ($x % 50)) if $i % 5 == 0;
}
print scalar(keys %count), "\n";
print join("\n", (map { "$_ " . join ",", map { length } @{$count{$_}}{sort keys %{$count{$_}}} } (sort keys %count)[0 .. 400])), "\n";
my $text = join "\n", sort @lines;
my $n = () = $text =~ /(\d+) (\w)-(\w)-\2 (y*)/g;
$text =~ s/(y{10,})/length($1)/ge;
print "$n ", length $text, "\n", substr($text, 0, 4000), "\n";
my @tree; $tree[$_ % 100][$_ % 37]{$_} = [1 .. $_ % 20] for 1 .. 20000;
print join(",", map { my $s = 0; $s += keys %{$_ // {}} for @$_; $s } @tree), "\n";
if (my $pid = fork) { waitpid $pid, 0; print $? >> 8, "\n" } else { my @a = map { "c$_" } 1 .. 20000; exit(@a % 200) }
print `echo from a child | tr a-z A-Z`;
"""

LUA = r"""
local x = 42
local function rnd(n) x = (x * 1103515245 + 12345) % 2147483648; return x % n end
local words, count = {}, {}
for i = 1, 60000 do
  local w = string.char(97 + rnd(26), 97 + rnd(26)) .. rnd(900)
  words[#words + 1] = w
  count[w] = (count[w] or 0) + 1
end
table.sort(words)
print(#words, words[1], words[#words], table.concat(words, " ", 1, 300))
local function tree(d) if d == 0 then return {} end return {tree(d - 1), tree(d - 1)} end
local function size(t) if not t[1] then return 1 end return 1 + size(t[1]) + size(t[2]) end
for d = 4, 14, 2 do print(d, size(tree(d))) end
local parts = {}
for i = 1, 3000 do parts[#parts + 1] = ("%05d:%s"):format(i, ("z"):rep(rnd(90))) end
local text = table.concat(parts, "\n")
print(#text, select(2, text:gsub("z+", function(s) return #s end)))
local co = {}
for i = 1, 500 do co[i] = coroutine.wrap(function() for k = 1, 20 do coroutine.yield({i * k}) end end) end
local sum = 0
for k = 1, 20 do for i = 1, 500 do sum = sum + co[i]()[1] end end
print(sum)
print(pcall(string.rep, "x", -1), select("#", pcall(error, {code = 1})))
"""

GAWK = r"""
BEGIN { PROCINFO["sorted_in"] = "@ind_str_asc" }
{ for (i = 1; i <= NF; i++) { n[$i]++; where[$i] = where[$i] NR "," }
  line[NR] = gensub(/([a-e]+)([0-9]+)/, "\\2\\1", "g", $0) }
END { for (w in n) if (n[w] > 22) print w, n[w], length(where[w])
      for (i = NR; i > NR - 200; i--) print toupper(line[i])
      print asorti(n, keys), keys[1], length(keys) }
"""

NODE = r"""
const crypto = require('crypto'), zlib = require('zlib'), {Worker, isMainThread, parentPort} = require('worker_threads');
function digest(n) {
  let rows = [];
  for (let i = 0; i < n; i++) rows.push({i, s: 'v'.repeat(i % 70), t: [i, i * 2, {k: String(i)}]});
  return crypto.createHash('sha256').update(JSON.stringify(rows)).digest('hex');
}
if (!isMainThread) {
  parentPort.postMessage(digest(4000));
} else {
  console.log(digest(20000));
  const buffer = Buffer.from(Array.from({length: 300000}, (_, i) => (i * i) % 251));
  const jobs = [1, 3, 5, 7, 9].map(level => new Promise((yes, no) => zlib.deflate(buffer, {level}, (e, out) => e ? no(e)
    : zlib.inflate(out, (e2, back) => e2 ? no(e2) : yes([level, out.length, back.equals(buffer)])))));
  const workers = [1, 2, 3].map(() => new Promise((yes, no) => new Worker(__filename).on('message', yes).on('error', no)));
  Promise.all(jobs.concat(workers)).then(all => console.log(JSON.stringify(all)));
}
"""


def gawk_input():
    x, lines = 99, []
    for _ in range(20000):
        fields = []
        for _ in range(8):
            x = (x * 1103515245 + 12345) % 2147483648
            fields.append("abcdefgh"[x >> 8 & 7] + "abcde"[x >> 12 & 3] + str((x >> 16) % 500))
        lines.append(" ".join(fields))
    return "\n".join(lines).encode()


@need("python3")
class Python(Case):
    def python(self, script, status=0, allocations_min=50000):
        self.pair(["/usr/bin/python3", "-c", script], env=PYTHON_ENV, status=status, allocations_min=allocations_min)

    def test_json(self):
        self.python(PYTHON_JSON)

    def test_re(self):
        self.python(PYTHON_RE)

    def test_subprocess(self):
        self.python(PYTHON_SUBPROCESS)

    def test_threading(self):
        self.python(PYTHON_THREADING)

    def test_exit_while_threads_run(self):
        self.python(PYTHON_LEFT_ALIVE, status=3)

    def test_options_change_nothing_seen(self):
        for conf in ("range:0", "pool_max:2M", "site_max:64K", "own:off", "owned_max:1", "budget:0", "decay:0", "decay:-1",
                     "sites_max:16"):
            with self.subTest(conf):
                self.conf = conf
                self.python(PYTHON_THREADING)

    def test_who_is_behind_a_site(self):
        """Sampled stacks go on where a site's own frames end, and stand for what was counted exactly."""
        self.conf = "stack_period:32K"
        self.python(PYTHON_JSON)
        if STANDS_IN:
            return
        report = next(iter(self.reports().values()))
        beyond = behind = exact = seen = 0
        for site in (s for s in report["sites"] if "sampled" in s):
            stacks = [report["stacks"][s["stack"]]["frames"] for s in site["sampled"]["stacks"] if not s.get("by_realloc")]
            beyond += len({tuple(frames[site["key_frames"]:]) for frames in stacks}) > 1
            behind += any(len(frames) > 10 for frames in stacks)
        for site in report["sites"]:
            exact += site["alloc_space"]
            seen += site.get("sampled", {}).get("estimated_space", 0)
        self.assertGreater(beyond, 5, "sites with several callers beyond")
        self.assertGreater(behind, 20, "sites with deep stacks")
        error = report["quality"]["stacks"]["error"]
        self.assertGreater(error["sites"], 10)
        # A miss is expected once in 20 sites: so many more happen once in some 10^5 runs.
        self.assertLessEqual(error["sites"] - error["held"], error["sites"] / 20 + 4.5 * (error["sites"] / 20) ** .5 + 4)
        self.assertAlmostEqual(seen / exact, 1, delta=.2)

    def test_own_allocator_left_on(self):
        # Without PYTHONMALLOC the interpreter's arenas take most objects: big blocks only reach us.
        env = dict(PYTHON_ENV)
        del env["PYTHONMALLOC"]
        self.pair(["/usr/bin/python3", "-c", PYTHON_JSON], env=env, allocations_min=1000)


@need("perl")
class Perl(Case):
    def test_hashes_regexes_children(self):
        self.pair(["perl", "-e", PERL], env={"PERL_HASH_SEED": "0"}, allocations_min=50000)


@need("lua5.4")
class Lua(Case):
    def test_tables_strings_coroutines(self):
        self.pair(["lua5.4", "-e", LUA], allocations_min=50000)


@need("gawk")
class Gawk(Case):
    def test_arrays_and_fields(self):
        self.pair(["gawk", GAWK], stdin=gawk_input(), allocations_min=10000)


@need("node")
class Node(Case):
    def test_workers_and_thread_pool(self):
        self.pair(["node", "main.js"], prepare=lambda folder: write(folder, "main.js", NODE),
                  allocations_min=1000)


if __name__ == "__main__":
    unittest.main()
