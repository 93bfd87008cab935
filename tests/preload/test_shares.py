#!/usr/bin/python3
"""Who is behind a chain of functions longer than a site's key: the shares that the sampled stacks tell are the true ones.

Each rhythm is run by CHILDREN processes with a report each. A report's interval for a caller holds his true share in 95 of 100;
so of CHILDREN reports more than MISSES_MAX miss about once in a million runs of this test, if each does what it says. A bias
of the size of the interval is missed by nearly all. Batches, which caches take in step, are known to be a little biased: their
shares are held to what was measured.
"""

import math
import unittest

import victims

CHILDREN, MISSES_MAX = 40, 11
PERIOD = 16 << 10
BATCH_BIAS_MAX = 0.06  # .03 was measured; without phases, .22
Z = 1.959964


def wilson(p, n):
    """E. B. Wilson 1927: the interval of a share p of n samples."""
    middle, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return (middle - half) / (1 + Z * Z / n), (middle + half) / (1 + Z * Z / n)


def names(report, stack):
    return [report["frames"][f]["symbol"] for f in report["stacks"][stack]["frames"]]


def chain_sites(report):
    return [s for s in report["sites"] if s["stack"] is not None and names(report, s["stack"])[:1] == ["chain_1"]]


class Shares(victims.Case):
    def run_rhythm(self, rhythm, conf=""):
        conf = ",".join(filter(None, [f"stack_period:{PERIOD},report_min:100", conf]))
        run = self.run_victim("shares", str(CHILDREN), rhythm, conf=conf)
        self.assertEqual((run.status, run.err), (0, ""), run.out)
        truth = {name: int(n) for name, n in (line.split() for line in run.out.splitlines())}
        reports = [r for r in run.reports.values() if r["run"]["forked"]]
        self.assertEqual(len(reports), CHILDREN)
        return truth, reports

    def check(self, rhythm, conf=""):
        truth, reports = self.run_rhythm(rhythm, conf)
        whole, misses, held, judged = sum(truth.values()), dict.fromkeys(truth, 0), 0, 0
        for report in reports:
            (site,) = chain_sites(report)
            sampled = site["sampled"]
            self.assertEqual(site["alloc_space"], whole, "the site's bytes are exact")
            self.assertLess(site["key_frames"], 9, "the callers are beyond the key")
            self.assertGreater(sampled["effective"], 30)
            for name, true in truth.items():
                weight = sum(s["weight"] for s in sampled["stacks"] if name in names(report, s["stack"]))
                least, most = wilson(weight / sampled["weight"], sampled["effective"])
                misses[name] += not least <= true / whole <= most
            held += report["quality"]["stacks"]["error"]["held"]
            judged += report["quality"]["stacks"]["error"]["sites"]
        self.assertLessEqual(max(misses.values()), MISSES_MAX, f"{rhythm}: intervals without the true share: {misses}")
        self.assertLessEqual(judged - held, MISSES_MAX, "intervals of the sites' bytes without the exact number")
        return reports

    def test_who_makes_the_refills_is_not_who_is_seen(self):
        reports = self.check("trick")
        draws = {r["quality"]["stacks"]["error"]["estimated_space"] for r in reports}
        self.assertGreater(len(draws), CHILDREN // 2, "a parent's children do not draw alike")

    def test_callers_of_different_sizes(self):
        self.check("sizes")

    def test_batches(self):
        truth, reports = self.run_rhythm("batch")
        whole = sum(truth.values())
        sampled = [site["sampled"] for report in reports for site in chain_sites(report)]
        for name, true in truth.items():
            weight = sum(s["weight"] for report, one in zip(reports, sampled) for s in one["stacks"]
                         if name in names(report, s["stack"]))
            self.assertAlmostEqual(weight / sum(s["weight"] for s in sampled), true / whole, delta=BATCH_BIAS_MAX, msg=name)

    def test_large_blocks(self):
        self.check("large")

    def test_behind_the_pools(self):
        self.check("sizes", "range:0")

    def test_stacks_go_on_to_main(self):
        _, reports = self.run_rhythm("batch")
        (site,) = chain_sites(reports[0])
        for s in site["sampled"]["stacks"]:
            seen = names(reports[0], s["stack"])
            self.assertEqual(seen[:8], [f"chain_{i}" for i in range(1, 9)])
            self.assertIn(seen[8], ("caller_one", "caller_two", "caller_three"))
            self.assertIn("main", seen)

    def test_off_is_off(self):
        run = self.run_victim("shares", "1", "batch", conf="stack_period:0")
        for report in run.reports.values():
            self.assertEqual(report["quality"]["stacks"]["method"], "off")
            self.assertEqual([s for s in report["sites"] if "sampled" in s], [])


if __name__ == "__main__":
    unittest.main()
