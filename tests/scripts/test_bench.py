#!/usr/bin/python3
"""The scripts of scripts/bench as people call them: `prove --simulate`, whose coverage is counted here once more."""

import os
import random
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from abtest import simulate, stats  # noqa: E402

BENCH = os.path.join(ROOT, "scripts", "bench")
HANG_S = 120


def call(script, *args, status=0):
    """Its standard output; it must end with that status."""
    done = subprocess.run(["/usr/bin/python3", os.path.join(BENCH, script), *args], capture_output=True, text=True,
                          timeout=HANG_S, check=False)
    if done.returncode != status or "Traceback" in done.stderr:
        raise AssertionError(f"{script} {args}: status {done.returncode}, {status} was expected\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Simulate(unittest.TestCase):
    MEASUREMENTS = 60

    def test_coverage_is_that_of_the_interval_of_stats(self):
        """On the same values, drawn here again by the same seeds."""
        for blocks in (5, 7, 12):
            rng, covered = random.Random(f"0/{blocks}"), 0
            for seed in range(self.MEASUREMENTS):
                ratios = [simulate.skewed(rng) / simulate.skewed(rng) for _ in range(blocks)]
                covered += stats.interval(ratios, seed).covers(1.0)
            found = simulate.coverage(blocks, self.MEASUREMENTS)
            self.assertEqual((found.blocks, found.measurements, found.widened), (blocks, self.MEASUREMENTS, covered))
            self.assertLessEqual(found.bootstrap, found.widened)

    def test_widening_is_what_few_blocks_need(self):
        found = simulate.coverage(7, 400)
        self.assertLess(found.bootstrap, 0.92 * found.measurements)
        self.assertGreater(found.widened, 0.92 * found.measurements)

    def test_intervals_miss_what_is_not_so(self):
        """A truth that no measurement is near is covered by none."""
        self.assertEqual(simulate.coverage(10, 20, noise=Uneven()).widened, 0)

    def test_table(self):
        said = call("prove", "--simulate", str(self.MEASUREMENTS))
        rows = {int(n): (float(a), float(b)) for n, a, b in re.findall(r"^\| (\d+) +\| +([\d.]+) \| +([\d.]+) \|$", said, re.M)}
        self.assertEqual(list(rows), [5, 6, 7, 8, 9, 10, 12, 15, 20, 30])
        for blocks in (5, 7, 12):
            found = simulate.coverage(blocks, self.MEASUREMENTS)
            for share, count in zip(rows[blocks], (found.bootstrap, found.widened)):
                self.assertAlmostEqual(share, 100 * count / self.MEASUREMENTS, delta=0.051)

    def test_wrong_number(self):
        self.assertIn("at least 1", call("prove", "--simulate", "0", status=2))


class Uneven:
    """Noise that gives the one side twice the other's."""

    def __init__(self):
        self.turn = 0

    def __call__(self, rng):
        self.turn += 1
        return (1 + self.turn % 2) * simulate.symmetric(rng)


if __name__ == "__main__":
    unittest.main()
