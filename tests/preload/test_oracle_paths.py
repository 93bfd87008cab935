#!/usr/bin/python3
"""Who called, held against another tool: valgrind's DHAT unwinds every allocation, we look at a few and learn the rest.

DHAT's program points are stacks of code addresses, with blocks and bytes for each. lib_bases.c, preloaded into that run,
says where files were mapped, so the addresses become (file, offset) as in a report; DHAT keeps the address of the call,
a byte before the one it returns to. Inlined frames are not asked for: they are no return addresses.

A site of the report is a path of return addresses from the leaf outwards: one, or where that is a wrapper's, up to five.
All paths form a tree (with the leaf at the root), and for each node there are

    ours    blocks and bytes of all sites whose path begins with that node's
    DHAT's  blocks and bytes of all program points whose stack does

At every leaf the two must be equal. Further out they are equal too, wherever no site ends at a node before: a site of a
wrapper alone holds what was allocated before it was known as one, or where its callers could not be told; there ours may
have less than DHAT, by what such sites hold at most. Never more: that would be blocks counted on another's path.
"""

import json
import os
import shutil
import subprocess
import unittest

import victims

SCRIPT = """
local t = {}
for i = 1, 4000 do t[#t + 1] = ("x"):rep(i % 61) .. i end
local n = 0
for w in table.concat(t, " "):gmatch("%d+") do n = n + #w end
local objects = {}
for i = 1, 500 do objects[i] = setmetatable({ name = "n" .. i, next = objects[i - 1] }, { __len = function() return i end }) end
table.sort(t)
print(n, #objects[#objects], #string.format("%s", table.concat(t, ",", 1, 200)))
"""

SQL = """
create table t(id integer primary key, name text, value real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 900)
insert into t select i, 'name number ' || (i * 7919 % 307), i / 7.0 from n;
create index by_name on t(name);
select count(*), sum(value), min(name) from t where name like '%1%' group by id % 3 order by 2;
delete from t where id % 5 = 0;
select group_concat(name) from (select name from t order by name limit 50);
"""

JQ = '[range(300) | {id: ., name: ("n" * (. % 30 + 1)), tags: [range(. % 5)]}] | group_by(.id % 7) | map({n: length}) | tojson'

# The same for both but for what is preloaded; jq looks for HOME.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent"}


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
class CallPaths(victims.Case):
    def watched(self, argv, folder):
        """Runs under DHAT. Returns {stack of (file, offset), leaf first: (blocks, bytes)}."""
        out, bases = os.path.join(folder, "dhat.out"), os.path.join(folder, "bases")
        env = {**ENVIRONMENT, "LD_PRELOAD": victims.victim("libbases.so"), "BASES_OUT": bases}
        subprocess.run(["valgrind", "-q", "--tool=dhat", "--run-libc-freeres=no", "--read-inline-info=no", "--num-callers=40",
                        "--trace-children=no", f"--dhat-out-file={out}", *argv], check=True, cwd=folder, env=env,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=victims.WATCHDOG_S)
        with open(out, encoding="utf-8") as f:
            dhat = json.load(f)
        frames = [self.place(text, self.mapped(bases, argv[0])) for text in dhat["ftbl"]]
        table = {}
        for point in dhat["pps"]:
            stack = [frames[f] for f in point["fs"]]
            while stack and "vgpreload" in stack[0][0]:
                stack = stack[1:]
            blocks, size = table.get(tuple(stack), (0, 0))
            table[tuple(stack)] = blocks + point["tbk"], size + point["tb"]
        return table

    def mapped(self, bases, program):
        """[(base, file)], the highest first."""
        with open(bases, encoding="utf-8") as f:
            lines = [line.rstrip("\n").split(" ", 1) for line in f]
        program = os.path.realpath(shutil.which(program))
        return sorted(((int(base, 16), os.path.realpath(path) if path else program) for base, path in lines), reverse=True)

    def place(self, text, mapped):
        """"0x123: name (in file)" as (file, offset of the return address)."""
        if not text.startswith("0x"):
            return ("", 0)  # "[root]"
        address = int(text.split(":", 1)[0], 16) + 1
        base, path = next(((b, p) for b, p in mapped if b <= address), (0, ""))
        return (path, address - base)

    def tree(self, table):
        """{path: (blocks, bytes) of all in `table` that begin with it}, up to the depth that a site may have."""
        sums = {}
        for path, (blocks, size) in table.items():
            for depth in range(1, min(len(path), 8) + 1):
                have = sums.get(path[:depth], (0, 0))
                sums[path[:depth]] = have[0] + blocks, have[1] + size
        return sums

    def leaves(self, tree):
        return {path: counts for path, counts in tree.items() if len(path) == 1}

    def sites(self, report):
        """{path: (blocks, bytes)} of the report's sites; a path stands once."""
        paths = [(victims.call_path(report, s), (s["alloc_objects"], s["alloc_space"])) for s in report["sites"]]
        self.assertEqual(len({path for path, _ in paths}), len(paths), "a path twice")
        self.assertFalse([s for s in report["sites"] if s.get("other")], "the table of sites was large enough")
        return dict(paths)

    def compare(self, argv):
        if not shutil.which(argv[0]):
            self.skipTest(f"{argv[0]} is not installed")
        folder = self.fresh_folder()
        dhat = self.tree(self.watched(argv, folder))
        report = self.run_command(argv, env=ENVIRONMENT, inherit=False).only()
        self.assertEqual(report["quality"]["site_counts"], "exact")
        sites = self.sites(report)
        ours = self.tree(sites)
        self.assertEqual(self.leaves(ours), self.leaves(dhat), "leaves")
        unequal = [self.difference(path, ours[path], dhat, sites) for path in ours]
        self.assertEqual([text for text in unequal if text], [])
        self.assertGreater(sum(blocks for blocks, _ in sites.values()), 2000)
        if report.get("stacks"):
            self.assertTrue([path for path in sites if len(path) > 1], "each of these programs has a wrapper")

    def difference(self, path, ours, dhat, sites):
        """What is wrong with a node, or None."""
        true = dhat.get(path, (0, 0))
        before = [sites[path[:depth]] for depth in range(1, len(path)) if path[:depth] in sites]
        missing = (true[0] - ours[0], true[1] - ours[1])
        if min(missing) >= 0 and missing[0] <= sum(b for b, _ in before) and missing[1] <= sum(n for _, n in before):
            return None
        names = " < ".join(f"{os.path.basename(p)}+{o:#x}" for p, o in path)
        return f"{names}: ours {ours}, DHAT's {true}, of which sites nearer to the leaf hold {before}"

    def test_victim(self):
        self.compare([victims.victim("paths")])

    def test_lua(self):
        self.compare(["lua5.4", "-e", SCRIPT])

    def test_sqlite3(self):
        self.compare(["sqlite3", ":memory:", SQL])

    def test_jq(self):
        """Not xmllint: libxml2 seeds its hashes by the time, and a collision allocates."""
        self.compare(["jq", "-n", JQ])


class TheComparison(unittest.TestCase):
    """The comparison itself, on counts made by hand: what it must find and what it must bear."""

    def differences(self, sites, points):
        case = CallPaths("test_victim")
        ours, dhat = case.tree(sites), case.tree(points)
        return case.leaves(ours) == case.leaves(dhat), [p for p in ours if case.difference(p, ours[p], dhat, sites)]

    def test_rules(self):
        a, b, c, d = ("f", 1), ("f", 2), ("f", 3), ("f", 4)
        points = {(a, b, d): (10, 100), (a, c, d): (5, 50), (b, d): (2, 20)}
        self.assertEqual(self.differences({(a,): (15, 150), (b,): (2, 20)}, points), (True, []), "leaves alone")
        self.assertEqual(self.differences({(a, b): (10, 100), (a, c): (5, 50), (b,): (2, 20)}, points), (True, []), "paths")
        self.assertEqual(self.differences({(a,): (3, 30), (a, b): (8, 80), (a, c): (4, 40), (b,): (2, 20)}, points),
                         (True, []), "some before the wrapper was known")
        self.assertEqual(self.differences({(a,): (14, 140), (b,): (3, 30)}, points)[0], False, "another leaf")
        self.assertEqual(self.differences({(a, b): (9, 90), (a, c): (6, 60), (b,): (2, 20)}, points), (True, [(a, b), (a, c)]),
                         "a block of another caller")
        self.assertEqual(self.differences({(a,): (1, 10), (a, b): (8, 80), (a, c): (6, 60), (b,): (2, 20)}, points)[1],
                         [(a, b), (a, c)], "too much on one, and more missing from the other than its wrapper's site holds")
        self.assertEqual(self.differences({(a, d): (15, 150), (b,): (2, 20)}, points)[1], [(a, d)], "a caller that is none")


if __name__ == "__main__":
    unittest.main()
