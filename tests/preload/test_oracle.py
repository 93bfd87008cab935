#!/usr/bin/python3
"""Real programs, counted twice: the report's counts per site against an independent counting preload (lib_oracle.c).

Two runs of the same program, one under sluice, one under the oracle, in the same folder, with the same arguments and an
environment of the same bytes: the libraries lie under names of one length, and both find the variables of both. Then, for
each (module, offset): allocations, bytes requested, frees, live blocks and reallocs must be equal, and so the totals.

What could make two runs of one program differ, and what is done about it:
  addresses     address space randomisation is off (setarch -R); hashes are seeded (PYTHONHASHSEED, PERL_HASH_SEED); the
                oracle keeps glibc off the program break, so that its addresses have as many bits as sluice's
  environment   equal, byte for byte, in length and order; the same working folder, made anew
  usable sizes  sqlite3 asks malloc_usable_size and grows strings by it: the oracle answers with sluice's sizes
  pids, time    no workload prints or keeps them
A control run of the oracle against itself shows whether the program is deterministic at all; a difference there fails the
test as a bad workload, not as a wrong count.
"""

import json
import os
import shutil
import subprocess
import unittest

import victims

FIELDS = ("alloc_objects", "alloc_space", "free_objects", "inuse_objects", "realloc_objects")

SQL = """
create table t(id integer primary key, name text, value real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into t select i, 'name number ' || (i * 7919 % 20011), i / 7.0 from n;
create index by_name on t(name);
select count(*), sum(value), min(name), max(name) from t where name like '%1%';
select name from t order by value * (id % 17) desc limit 5;
update t set name = name || '!' where id % 3 = 0;
delete from t where id % 5 = 0;
select group_concat(name) from (select name from t order by name limit 2000);
"""

PYTHON = """
import json, re, collections
rows = [{"id": i, "text": "x" * (i % 90), "list": list(range(i % 20))} for i in range(3000)]
text = json.dumps(rows)
again = json.loads(text)
words = collections.Counter(re.findall(r"[a-z]+|\\\\d+", text))
tree = {}
for w, n in sorted(words.items()):
    tree.setdefault(len(w), []).append((w, n))
print(len(text), len(again), sum(len(v) for v in tree.values()))
"""

PERL = """
my %h; my @a;
for my $i (0 .. 20000) { push @a, "line $i " . ("y" x ($i % 70)); $h{$i % 977} .= substr($a[-1], 0, 9); }
my @sorted = sort { length($a) <=> length($b) or $a cmp $b } @a;
my $joined = join ",", map { uc } grep { /1.*7/ } @sorted;
$joined =~ s/LINE (\\d+)/<$1>/g;
print length($joined), " ", scalar(keys %h), "\\n";
"""

JQ = ('[range(6000) | {id: ., name: ("n" * (. % 30 + 1)), tags: [range(. % 7)]}] | group_by(.tags | length) '
      '| map({n: length, names: (map(.name) | unique | length), text: (map(tostring) | join(";") | length)})')

WORKLOADS = {
    "sqlite3": (["sqlite3", ":memory:"], SQL),
    "python3": (["/usr/bin/python3", "-S", "-c", PYTHON], ""),
    "perl": (["perl", "-e", PERL], ""),
    "jq": (["jq", "-n", "-c", JQ], ""),
}


class Oracle(victims.Case):
    def setUp(self):
        super().setUp()
        self.folder = self.fresh_folder()
        self.work = os.path.join(self.folder, "work")
        self.sizes = os.path.join(self.folder, "sizes")
        # Names of one length; beside each other, so that the paths are too.
        self.library = {"sluice": shutil.copy(victims.LIBRARY, os.path.join(self.folder, "libsluice.so")),
                        "oracle": shutil.copy(victims.victim("liboracle.so"), os.path.join(self.folder, "liboracle.so"))}
        self.assertEqual(len(self.library["sluice"]), len(self.library["oracle"]))

    def environment(self, which, out):
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": self.work, "TZ": "UTC", "PYTHONMALLOC": "malloc",
                "PYTHONHASHSEED": "0", "PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0",
                "LD_PRELOAD": self.library[which], "SLUICE_CONF": f"report:{out}", "ORACLE_OUT": out,
                "ORACLE_SIZES": self.sizes}

    def count(self, which, argv, stdin, times=0):
        """Runs and returns (standard output, the JSON it wrote)."""
        shutil.rmtree(self.work, ignore_errors=True)
        os.mkdir(self.work)
        out = os.path.join(self.folder, f"{which}.{times}.json")
        run = subprocess.run(["setarch", "-R", "env", "-i", *(f"{k}={v}" for k, v in self.environment(which, out).items()),
                              *argv], input=stdin.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.work,
                             timeout=victims.WATCHDOG_S)
        self.assertEqual((run.returncode, run.stderr), (0, b""), f"{argv[0]} under {which}")
        with open(out, encoding="utf-8") as f:
            return run.stdout, json.load(f), out

    def of_report(self, report):
        """By return address, which is all that the oracle knows: sites that only their callers tell apart are added up."""
        table, seen = {}, set()
        for s in report["sites"]:
            stack = report["stacks"][s["stack"]]["frames"] if s["stack"] is not None else []
            self.assertNotIn(tuple(stack[:s["key_frames"]]) or s["id"], seen, "a site twice")
            seen.add(tuple(stack[:s["key_frames"]]) or s["id"])
            leaf = report["frames"][stack[0]] if stack else s
            path = report["mappings"][leaf["mapping"]]["path"] if leaf["mapping"] is not None else ""
            sums = table.setdefault((os.path.realpath(path), int(leaf["offset"], 16)), dict.fromkeys(FIELDS, 0))
            for f in FIELDS:
                sums[f] += s[f]
        return table

    def of_oracle(self, sites):
        return {(s["module"], int(s["offset"], 16)): {f: s[f] for f in FIELDS} for s in sites}

    def differences(self, left, right):
        nothing = dict.fromkeys(FIELDS, 0)
        return [f"{os.path.basename(key[0])}+{key[1]:#x}: {left.get(key)} | {right.get(key)}"
                for key in sorted(set(left) | set(right)) if left.get(key, nothing) != right.get(key, nothing)]

    def measure_sizes(self):
        env = {"LD_PRELOAD": self.library["sluice"], "SLUICE_CONF": "report:off"}
        run = subprocess.run([victims.victim("sizes")], env=env, stdout=subprocess.PIPE, check=True, timeout=victims.WATCHDOG_S)
        with open(self.sizes, "wb") as f:
            f.write(run.stdout)

    def compare(self, name):
        argv, stdin = WORKLOADS[name]
        if not shutil.which(argv[0]):
            self.skipTest(f"{argv[0]} is not installed")
        self.measure_sizes()
        out_one, first, _ = self.count("oracle", argv, stdin, 1)
        out_two, second, _ = self.count("oracle", argv, stdin, 2)
        one, two = self.of_oracle(first), self.of_oracle(second)
        self.assertEqual(self.differences(one, two), [], "the workload differs from run to run: not a fair test")
        out, report, path = self.count("sluice", argv, stdin)
        subprocess.run([victims.CHECK_REPORT, path], check=True)
        self.assertEqual((out_one, out_two), (out, out))
        self.assertEqual(report["quality"]["site_counts"], "exact")
        ours = self.of_report(report)
        self.assertEqual(self.differences(ours, one), [], "site: report | oracle")
        totals = {f: sum(s[f] for s in ours.values()) for f in FIELDS}
        self.assertEqual(totals, {f: sum(s[f] for s in one.values()) for f in FIELDS})
        self.assertEqual({f: report["memory"][f] for f in FIELDS[:-1]}, {f: totals[f] for f in FIELDS[:-1]})
        self.assertGreater(totals["alloc_objects"], 10000, "a workload should allocate")

    def test_sqlite3(self):
        self.compare("sqlite3")

    def test_python3(self):
        self.compare("python3")

    def test_perl(self):
        self.compare("perl")

    def test_jq(self):
        self.compare("jq")


SMALL = {
    "jq": ["jq", "-n", '[range(300) | {id: ., name: ("n" * (. % 30 + 1))}] | group_by(.id % 7) | map(length) | add'],
    "lua5.4": ["lua5.4", "-e", "local t = {} for i = 1, 3000 do t[i] = ('x'):rep(i % 50) end print(#table.concat(t))"],
    "sqlite3": ["sqlite3", ":memory:", "create table t(x); insert into t values(1), (2), (3); select sum(x) from t;"],
}


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
class Dhat(victims.Case):
    """Totals against another tool's: valgrind's DHAT counts blocks and bytes of the same program.

    DHAT counts a realloc as a further block of the new size, which is what we do (one allocation of n bytes, one free).
    No perl here: it copies its environment, to which valgrind adds.
    """

    def totals_agree(self, name):
        argv = SMALL[name]
        if not shutil.which(argv[0]):
            self.skipTest(f"{argv[0]} is not installed")
        folder = self.fresh_folder()
        out = os.path.join(folder, "dhat.out")
        subprocess.run(["valgrind", "-q", "--run-libc-freeres=no", "--tool=dhat", f"--dhat-out-file={out}", *argv], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL, timeout=victims.WATCHDOG_S)
        with open(out, encoding="utf-8") as f:
            points = json.load(f)["pps"]
        memory = self.run_command(argv).only()["memory"]
        self.assertEqual((memory["alloc_objects"], memory["alloc_space"]), (sum(p["tbk"] for p in points), sum(p["tb"] for p in points)))
        self.assertEqual(memory["inuse_objects"], sum(p["ebk"] for p in points), "blocks at the end")
        self.assertGreater(memory["alloc_objects"], 300)

    def test_jq(self):
        self.totals_agree("jq")

    def test_lua(self):
        self.totals_agree("lua5.4")

    def test_sqlite3(self):
        self.totals_agree("sqlite3")


if __name__ == "__main__":
    unittest.main()
