#!/usr/bin/python3
"""The report's counts are the truth: victims that keep their own books, compared site by site.

Each victim prints a line for each of its sites, "SYMBOL alloc_objects alloc_space free_objects inuse_objects [inuse_space
realloc_objects cross_thread_free_objects]"; the report must have exactly one site with that symbol in the victim's module
(one call, one return address) with exactly these numbers, whatever door served the blocks.
"""

import unittest

import victims

FIELDS = ("alloc_objects", "alloc_space", "free_objects", "inuse_objects", "inuse_space", "realloc_objects",
          "cross_thread_free_objects")
# As it comes; only the fallback; no owned pools; pools soon full; ownership that is refused and lost all the time; no
# memory kept.
CONFS = ("", "range:0", "own:off", "pool_max:1M", "budget:0,owned_max:1", "site_max:64K", "decay:0")


class Counts(victims.Case):
    def compare(self, name, *args, conf="", pooled=True):
        run = self.run_victim(name, *args, conf=conf)
        self.assertEqual((run.status, run.err), (0, ""), run.out)
        report = run.only() if "forked" not in args else next(r for r in run.reports.values() if r["run"]["forked"])
        self.assertEqual(report["quality"]["site_counts"], "exact", report["quality"])
        truth, found = {}, {}
        for line in run.out.splitlines():
            symbol, *numbers = line.split()
            truth[symbol] = {f: int(n) for f, n in zip(FIELDS, numbers) if n != "-"}
            if not pooled:  # a block of the fallback lies in no thread's heap, so no free of it crosses
                truth[symbol].pop("cross_thread_free_objects", None)
            mine = victims.symbol_sites(report, victims.victim(name), symbol)
            if int(numbers[0]):
                self.assertEqual(len(mine), 1, f"{symbol}: one call, so one site")
            found[symbol] = {f: sum(s[f] for s in mine) for f in truth[symbol]}
        self.assertGreater(len(truth), 5, run.out)
        wrong = [f"{symbol} {f}: reported {found[symbol][f]}, true {n}"
                 for symbol, numbers in truth.items() for f, n in numbers.items() if found[symbol][f] != n]
        self.assertFalse(wrong, f"{len(wrong)} counts are wrong: " + "; ".join(wrong[:12]))
        self.totals(report)
        return report

    def totals(self, report):
        """The sums hold too; check-report has these equations, and here they stand once more in plain sight."""
        for field in ("alloc_objects", "alloc_space", "free_objects", "inuse_objects", "inuse_space"):
            total = sum(s[field] for s in report["sites"])
            self.assertEqual(total, report["memory"][field], field)
            self.assertEqual(total, sum(report["routing"][r][field] for r in ("owned", "shared", "arena", "fallback")), field)

    def test_new(self):
        for conf in CONFS:
            with self.subTest(conf=conf):
                self.compare("counts_new", conf=conf)

    def test_thousand_sites(self):
        for conf in CONFS:
            with self.subTest(conf=conf):
                self.compare("counts_sites", conf=conf)

    def test_lives_are_sampled_unless_off(self):
        for conf, sampled in (("", True), ("lifetimes:off", False), ("lifetimes:off,callers:off", False)):
            with self.subTest(conf=conf):
                report = self.compare("counts", "threads", "1", conf=conf)
                self.assertEqual(any("lifetimes" in s for s in report["sites"]), sampled)

    def test_sites_past_the_cap_are_counted_as_other(self):
        run = self.run_victim("counts_sites", conf="sites_max:100")
        report = run.only()
        self.totals(report)
        other = [s for s in report["sites"] if s.get("other")]
        self.assertEqual(len(other), 1)
        self.assertGreater(other[0]["alloc_objects"], 0)
        self.assertGreater(report["quality"]["dropped"]["sites"], 0)
        self.assertLessEqual(len(report["sites"]), 101)
        mine = victims.module_sites(report, victims.victim("counts_sites"))
        truth = sum(int(line.split()[1]) for line in run.out.splitlines())
        rest = sum(s["alloc_objects"] for s in report["sites"] if not s.get("other") and s not in mine)
        self.assertGreaterEqual(other[0]["alloc_objects"] + sum(s["alloc_objects"] for s in mine), truth)
        self.assertLess(other[0]["alloc_objects"] + sum(s["alloc_objects"] for s in mine), truth + 1000 + rest)


def scenario(name):
    def body(self):
        for conf in CONFS:
            for seed in ("4",) if conf else ("1", "2", "3"):
                with self.subTest(conf=conf, seed=seed):
                    self.compare("counts", name, seed, conf=conf, pooled=conf not in ("range:0", "pool_max:1M", "site_max:64K"))
    return body


for s in ("single", "threads", "orphans", "cross", "storm", "refused", "zero", "reallocs", "phases", "forked"):
    setattr(Counts, "test_" + s, scenario(s))

if __name__ == "__main__":
    unittest.main()
