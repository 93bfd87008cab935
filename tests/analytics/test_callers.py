#!/usr/bin/python3
"""The callers beyond a site: shares, intervals and bytes as a brute-force computation has them, one by one and as a tree.

Reports are made by dice: stacks of a few functions, so that many share a part of their way, with any weights. What the command
says must follow from the weights alone: a share is a sum over the stacks that go that way; its interval holds exactly the
shares from which the sample is less than 1.96 standard errors away (found by bisection, not by Wilson's formula).
"""

import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLUICE = os.path.join(ROOT, os.environ.get("SLUICE_BUILD") or "build", "sluice")
SMALL = os.path.join(ROOT, "tests", "fixtures", "small.json")
Z = 1.959964
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SEEDS = range(12)


def edge(p, n, side):
    """The share on this side of p (0 or 1) at which a sample of n with the share p is just Z standard errors off."""
    near, far = p, float(side)
    for _ in range(200):
        middle = (near + far) / 2
        if abs(p - middle) < Z * math.sqrt(middle * (1 - middle) / n):
            near = middle
        else:
            far = middle
    return (near + far) / 2


def made_by(seed):
    """(report, site): a site whose key is two frames, with sampled stacks beyond them and some of reallocs."""
    dice = random.Random(seed)
    with open(SMALL, encoding="utf-8") as f:
        report = json.load(f)
    report["frames"] = [{"id": i, "mapping": 0, "offset": hex(0x1000 + i), "symbol": f"f{i}", "symbol_offset": 0}
                        for i in range(12)]
    wanted = set()
    while len(wanted) < 30:
        wanted.add((0, 1, *(dice.randrange(2, 6) for _ in range(dice.randrange(0, 7)))))
    wanted |= {(7, dice.randrange(8, 12), dice.randrange(8, 12)) for _ in range(4)}
    report["stacks"] = [{"id": i, "frames": list(w), "truncated": False} for i, w in enumerate(sorted(wanted))]
    site = report["sites"][0]
    sampled = []
    for i, s in enumerate(report["stacks"]):
        samples = dice.randrange(1, 9)
        one = {"stack": i, "samples": samples, "weight": samples * 16384 + dice.randrange(4096)}
        sampled.append({**one, "by_realloc": True} if s["frames"][0] == 7 else one)
    samples, weight = (sum(s[k] for s in sampled) for k in ("samples", "weight"))
    site.update(stack=next(i for i, s in enumerate(report["stacks"]) if s["frames"][0] == 0), key_frames=2,
                alloc_space=dice.randrange(1, 1 << 33),
                sampled={"draws": samples, "estimated_space": weight, "standard_error": 1, "samples": samples,
                         "weight": weight, "effective": samples * .9, "stacks": sampled})
    for other in report["sites"][1:]:
        other.pop("sampled", None)
        other.pop("stack", None)
    return report, site


class Callers(unittest.TestCase):
    maxDiff = 6000

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-callers.")
        self.addCleanup(shutil.rmtree, self.folder)

    def run_on(self, report, *words):
        path = os.path.join(self.folder, "r.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(report, f)
        run = subprocess.run([SLUICE, "report", path, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return run.stdout

    def test_each_stack(self):
        for seed in SEEDS:
            report, site = made_by(seed)
            told = json.loads(self.run_on(report, "--site", "0", "--json"))["rows"][0]["callers"]
            sampled = site["sampled"]
            self.assertEqual(len(told), len(sampled["stacks"]))
            for one, of in zip(told, sampled["stacks"]):
                share, n = of["weight"] / sampled["weight"], sampled["effective"]
                self.assertEqual([f["function"] for f in one["frames"]],
                                 [f"f{i}" for i in report["stacks"][of["stack"]]["frames"]], f"seed {seed}")
                self.assertAlmostEqual(one["share"], share, delta=1e-6)
                self.assertAlmostEqual(one["share_least"], edge(share, n, 0), delta=2e-6)
                self.assertAlmostEqual(one["share_most"], edge(share, n, 1), delta=2e-6)
                self.assertAlmostEqual(one["estimated_space"], share * site["alloc_space"], delta=1)
                self.assertEqual((one["samples"], one["by_realloc"]), (of["samples"], of.get("by_realloc", False)))
            self.assertAlmostEqual(sum(c["estimated_space"] for c in told), site["alloc_space"], delta=len(told),
                                   msg="the exact bytes, in parts")

    def lines(self, text):
        """(level, share %, least %, most %, bytes, functions) of the tree's lines, by kind."""
        kinds, kind = {False: [], True: []}, False
        for line in text.splitlines():
            kind = True if "by realloc" in line else kind
            found = re.fullmatch(r"  ( *)about (\d+) % \((\d+)-(\d+)\), ([\d.]+) (\S+)  (.*)", line)
            if found:
                level, share, least, most, size, unit, names = found.groups()
                kinds[kind].append((len(level) // 2, int(share), int(least), int(most), float(size) * UNITS[unit], names))
        return kinds

    def expected(self, report, site, stacks, depth, level=0):
        """The same by force: stacks are grouped by their next frame, as long as they go together."""
        lines = []
        groups = {}
        for s in stacks:
            groups.setdefault(tuple(report["stacks"][s["stack"]]["frames"][depth:depth + 1]), []).append(s)
        order = sorted(groups.items(), key=lambda g: (-sum(s["weight"] for s in g[1]), g[0]))
        for first, group in order:
            if not first and level:
                continue
            frames = [report["stacks"][s["stack"]]["frames"][depth:] for s in group]
            common = os.path.commonprefix(frames)
            p, n = sum(s["weight"] for s in group) / site["sampled"]["weight"], site["sampled"]["effective"]
            names = " < ".join(f"f{i}+0x0 (till)" for i in common[:4]) + (" < ..." if len(common) > 4 else "")
            lines.append((level, 100 * p, 100 * edge(p, n, 0), 100 * edge(p, n, 1), p * site["alloc_space"],
                          names or "(no caller beyond)"))
            if len(group) > 1:
                lines += self.expected(report, site, group, depth + len(common), level + 1)
        return lines

    def test_the_tree(self):
        for seed in SEEDS:
            report, site = made_by(seed)
            text = self.run_on(report, "--site", "0")
            told = self.lines(text)
            shown = 0
            for by_realloc, depth in ((False, 2), (True, 0)):
                stacks = [s for s in site["sampled"]["stacks"] if s.get("by_realloc", False) == by_realloc]
                wanted = self.expected(report, site, stacks, depth)[:40 - shown]
                shown += len(wanted)
                self.assertEqual([(t[0], t[5]) for t in told[by_realloc]], [(w[0], w[5]) for w in wanted], f"seed {seed}\n{text}")
                for t, w in zip(told[by_realloc], wanted):
                    for of_told, of_wanted in zip(t[1:4], w[1:4]):
                        self.assertAlmostEqual(of_told, of_wanted, delta=.51)
                    self.assertAlmostEqual(t[4] / w[4], 1, delta=.01)
            self.assertRegex(text, r"(?m)^callers     exact: .* asked for here; sampled: \d+ stacks, worth \d+ equal ones, for ")

    def test_without_a_sample(self):
        report, site = made_by(1)
        site.pop("sampled")
        self.assertIn("\ncallers     no stack of it was sampled", self.run_on(report, "--site", "0"))
        report["quality"].pop("stacks")
        self.assertNotIn("callers", self.run_on(report, "--site", "0"), "a report from before there were samples")


if __name__ == "__main__":
    sys.exit(unittest.main())
