#!/usr/bin/python3
"""The arithmetic of scripts/ab (scripts/abtest/stats.py) on simulated measurements whose truth is known.

Every simulation is seeded, so that it gives the same answer everywhere. Hand-computed values are from the binomial
distribution with p = 1/2: for n = 20, P(fewer than 6 heads) = 21700 / 2^20 and P(fewer than 7) = 60460 / 2^20."""

import math
import os
import random
import statistics
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from abtest import allocators, cli, stats, workload  # noqa: E402
from abtest.model import CONTROL, Metric, Result, Run, Variant  # noqa: E402
from abtest.simulate import skewed, symmetric  # noqa: E402

CPU, RATE = Metric("cpu", "CPU time", "ns"), Metric("rate", "rate", "/s", higher_is_better=True)
SIMULATIONS = 200


def measurement(blocks, effect, rng, noise=skewed, metric=CPU, drift=0.0):
    """A Result as the schedule makes it, with a variant "other" that takes `effect` times as much as the baseline."""
    result = Result("simulated", ["true"], "base", [Variant("base"), Variant(CONTROL), Variant("other")], [metric],
                    seed=rng.randrange(1 << 30), blocks=blocks)
    for block in range(blocks + 1):
        speed = 1e8 * (1 + drift * block / blocks)  # what all runs of a block have in common
        for position, variant in enumerate(result.variants):
            value = speed * noise(rng) * (effect if variant.name == "other" else 1)
            result.runs.append(Run(block, position, len(result.runs), variant.name, 0.0, values={metric.name: value}))
    stats.compare_all(result)
    return result


class Coverage(unittest.TestCase):
    def share_covered(self, blocks, noise):
        rng = random.Random(blocks)
        ratios = ([noise(rng) / noise(rng) for _ in range(blocks)] for _ in range(SIMULATIONS))
        return sum(stats.interval(r, seed).covers(1.0) for seed, r in enumerate(ratios)) / SIMULATIONS

    def check(self, noise):
        for blocks in (6, 8, 10, 20):
            with self.subTest(blocks=blocks):
                covered = self.share_covered(blocks, noise)
                self.assertGreaterEqual(covered, 0.92)
                self.assertLessEqual(covered, 0.99)

    def test_skewed_noise_with_outliers(self):
        self.check(skewed)

    def test_symmetric_noise(self):
        self.check(symmetric)

    def test_fewer_blocks_than_needed_give_the_whole_range(self):
        self.assertEqual(stats.order_interval([1.0, 2.0, 3.0, 4.0, 5.0]), (1.0, 5.0))
        found = stats.interval([3.0, 1.0, 2.0])
        self.assertEqual((found.low, found.ratio, found.high), (1.0, 2.0, 3.0))
        self.assertIsNone(stats.interval([]))


class OrderInterval(unittest.TestCase):
    def test_binomial(self):
        self.assertEqual(stats.binomial_below(6, 1), 1 / 64)
        self.assertEqual(stats.binomial_below(6, 2), 7 / 64)
        self.assertEqual(stats.binomial_below(20, 6), 21700 / 2**20)

    def test_six_values(self):
        # From end to end 1 - 2/64 = 96.875 %, one further in 78.125 %: share (96.875 - 95) / 18.75 = 0.1 of the way, and
        # its weight is 5 * 0.1 / (1 + 4 * 0.1) = 0.5 / 1.4.
        low, high = stats.order_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        self.assertAlmostEqual(low, 1 + 0.5 / 1.4)
        self.assertAlmostEqual(high, 6 - 0.5 / 1.4)

    def test_twenty_values(self):
        # The table of the sign test: 6th to 15th covers 95.86 %, 7th to 14th 88.47 %.
        wide, narrow = 1 - 2 * 21700 / 2**20, 1 - 2 * 60460 / 2**20
        share = (wide - 0.95) / (wide - narrow)
        weight = 14 * share / (6 + 8 * share)
        low, high = stats.order_interval([float(i) for i in range(1, 21)])
        self.assertAlmostEqual(low, 6 + weight)
        self.assertAlmostEqual(high, 15 - weight)
        self.assertTrue(6 < low < 7 and 14 < high < 15)

    def test_between_the_tabled_neighbours(self):
        # Conover's table: the widest interval of at most 95 % is this far in, its wider neighbour one further out.
        for n, depth in ((8, 1), (9, 2), (10, 2), (12, 3), (15, 4), (30, 10)):
            with self.subTest(n=n):
                low, high = stats.order_interval([float(i) for i in range(1, n + 1)])
                self.assertTrue(depth <= low < depth + 1, low)
                self.assertAlmostEqual(low + high, n + 1)

    def test_interval_is_never_narrower_than_that(self):
        rng = random.Random(5)
        for n in (6, 7, 10, 15):
            ratios = sorted(skewed(rng) for _ in range(n))
            found, (low, high) = stats.interval(ratios), stats.order_interval(ratios)
            self.assertTrue(found.low <= low <= found.ratio <= high <= found.high)
            self.assertEqual(found.ratio, statistics.median(ratios))

    def test_same_seed_same_interval(self):
        ratios = [symmetric(random.Random(i)) for i in range(15)]
        self.assertEqual(stats.interval(ratios, 4), stats.interval(list(reversed(ratios)), 4))


class Planted(unittest.TestCase):
    def test_found_with_the_right_sign_and_size(self):
        for effect, blocks, sigma in ((1.02, 30, 0.005), (1.05, 20, 0.01), (1.2, 12, 0.02), (0.95, 20, 0.01), (0.8, 12, 0.02)):
            with self.subTest(effect=effect):
                rng, found, covered = random.Random(int(effect * 1000)), 0, 0
                for _ in range(50):
                    one = measurement(blocks, effect, rng, lambda r: symmetric(r, sigma)).comparisons["other", "cpu"]
                    found += one.verdict == ("worse" if effect > 1 else "better")
                    covered += one.interval.covers(effect)
                    self.assertLess(abs(one.interval.ratio - effect), abs(effect - 1) / 2 + 1e-9)
                self.assertEqual(found, 50)
                self.assertGreaterEqual(covered, 45)

    def test_no_effect_is_seldom_called_one(self):
        rng = random.Random(2)
        verdicts = [measurement(12, 1.0, rng).comparisons["other", "cpu"].verdict for _ in range(100)]
        self.assertGreaterEqual(verdicts.count("no difference"), 91)

    def test_higher_is_better_turns_the_verdict(self):
        more = measurement(10, 1.3, random.Random(1), metric=RATE)
        self.assertEqual(more.comparisons["other", "rate"].verdict, "better")
        less = measurement(10, 0.7, random.Random(1), metric=RATE)
        self.assertEqual(less.comparisons["other", "rate"].verdict, "worse")

    def test_drift_of_the_machine_cancels(self):
        found = measurement(12, 1.05, random.Random(7), lambda r: symmetric(r, 0.002), drift=0.5).comparisons["other", "cpu"]
        self.assertAlmostEqual(found.interval.ratio, 1.05, delta=0.004)
        self.assertLess(found.interval.high - found.interval.low, 0.02)

    def test_too_few_blocks_say_nothing(self):
        """With fewer than BLOCKS_MIN pairs the interval does not reach 95 %: no verdict may rest on it."""
        for blocks in range(1, stats.BLOCKS_MIN):
            found = measurement(blocks, 1.5, random.Random(blocks)).comparisons["other", "cpu"]
            self.assertEqual((blocks, found.verdict), (blocks, "unknown"))
        self.assertEqual(measurement(stats.BLOCKS_MIN, 1.5, random.Random(1)).comparisons["other", "cpu"].verdict, "worse")

    def test_only_runs_of_one_block_are_paired(self):
        result = measurement(8, 1.0, random.Random(3))
        result.runs = [r for r in result.runs if (r.variant, r.block) not in (("other", 2), ("base", 5))]
        self.assertEqual(len(stats.paired(result, "other", "cpu")), 6)
        self.assertEqual(len(stats.paired(result, CONTROL, "cpu")), 7)
        base = {r.block: r.values["cpu"] for r in result.runs if r.variant == "base"}
        want = [r.values["cpu"] / base[r.block] for r in result.runs if r.variant == "other" and r.block and r.block in base]
        self.assertEqual(stats.paired(result, "other", "cpu"), want)

    def test_a_baseline_of_zero_divides_nothing(self):
        result = measurement(8, 1.0, random.Random(3))
        for run in result.runs:
            run.values["cpu"] *= run.variant != "base"
        stats.compare_all(result)
        self.assertEqual(result.comparisons, {})

    def test_noise_floor_is_how_far_the_control_reaches(self):
        result = measurement(10, 1.0, random.Random(4))
        control = result.comparisons[CONTROL, "cpu"].interval
        self.assertEqual(stats.noise_floor(result, "cpu"), max(1 - control.low, control.high - 1))


class Decided(unittest.TestCase):
    def test_never_before_enough_blocks(self):
        for blocks in range(1, stats.BLOCKS_MIN):
            result = measurement(blocks, 1.0, random.Random(1), lambda r: 1.0)
            self.assertFalse(stats.decided(result, ["cpu"], 0.5), blocks)
        self.assertTrue(stats.decided(measurement(stats.BLOCKS_MIN, 1.0, random.Random(1), lambda r: 1.0), ["cpu"], 0.01))

    def test_precision_not_significance(self):
        clear = measurement(10, 3.0, random.Random(1), lambda r: symmetric(r, 0.1))
        self.assertEqual(clear.comparisons["other", "cpu"].verdict, "worse")
        self.assertFalse(stats.decided(clear, ["cpu"], 0.01))
        for run in clear.runs:
            if run.variant == CONTROL:
                run.values["cpu"] = next(r.values["cpu"] for r in clear.runs if (r.variant, r.block) == ("base", run.block))
        self.assertFalse(stats.decided(clear, ["cpu"], 0.01), "nor when the control is precise")
        equal = measurement(10, 1.0, random.Random(1), lambda r: symmetric(r, 0.001))
        self.assertEqual(equal.comparisons["other", "cpu"].verdict, "no difference")
        self.assertTrue(stats.decided(equal, ["cpu"], 0.01))

    def test_every_variant_must_be_precise(self):
        result = measurement(10, 1.0, random.Random(1), lambda r: symmetric(r, 0.001))
        rng = random.Random(2)
        for run in result.runs:
            if run.variant == CONTROL:
                run.values["cpu"] *= symmetric(rng, 0.2)
        self.assertFalse(stats.decided(result, ["cpu"], 0.01))

    def test_until_is_a_share_of_the_ratio(self):
        found = stats.Interval(10.0, 9.9, 10.1)
        self.assertAlmostEqual(stats.half_width(found), 0.01)
        self.assertEqual(stats.half_width(None), math.inf)


class Disturbances(unittest.TestCase):
    def test_drift_found_when_planted(self):
        for planted in (0.1, -0.1, 0.05):
            rng = random.Random(int(planted * 100))
            share, p = stats.drift([100 * (1 + planted * i / 29) * symmetric(rng, 0.005) for i in range(30)])
            self.assertAlmostEqual(share, planted, delta=0.012)
            self.assertLess(p, 0.001)

    def test_drift_not_found_in_noise(self):
        rng = random.Random(3)
        found = [stats.drift([skewed(rng) for _ in range(20)])[1] for _ in range(400)]
        self.assertLessEqual(sum(p < 0.01 for p in found), 10)  # 4 expected; 10 or more one time in 130
        self.assertTrue(0.4 < statistics.median(found) <= 1.0)

    def test_drift_does_not_mind_outliers(self):
        values = [100.0 + (i % 3) for i in range(30)]
        values[0], values[29] = 20.0, 500.0
        share, p = stats.drift(values)
        self.assertLess(abs(share), 0.02)
        self.assertGreater(p, 0.01)

    def test_drift_by_hand(self):
        # 1..8: every slope is 1, so the series rises by 7 of its median 4.5; S = 28, its deviation sqrt(8*7*21/18).
        share, p = stats.drift([float(i) for i in range(1, 9)])
        self.assertAlmostEqual(share, 7 / 4.5)
        self.assertAlmostEqual(p, math.erfc(27 / math.sqrt(8 * 7 * 21 / 18) / math.sqrt(2)))
        self.assertEqual(stats.drift([1.0, 2.0, 3.0]), (0.0, 1.0))

    def test_outliers(self):
        rng = random.Random(1)
        values = [100 * symmetric(rng, 0.01) for _ in range(20)]
        self.assertEqual(stats.outliers(values), [])
        self.assertEqual(sorted(stats.outliers(values + [150.0, 60.0])), [60.0, 150.0])
        self.assertEqual(stats.outliers([100.0] * 19 + [101.0]), [], "a constant series does not make 1 % an outlier")
        self.assertEqual(stats.outliers([100.0] * 19 + [104.0]), [104.0])
        self.assertEqual(stats.outliers([1.0, 1.0, 1.0, 99.0]), [], "too few to tell")

    def test_geometric_mean(self):
        self.assertAlmostEqual(stats.geometric_mean([2.0, 0.5, 4.0, 0.25]), 1.0)
        self.assertTrue(math.isnan(stats.geometric_mean([])))


class Words(unittest.TestCase):
    """What the command line's words become."""

    def test_placeholders(self):
        words = ["{work}/a{port}", "{ port }", "awk '{print}'", "{inputs}", "{work}{work}"]
        names = {"work": "/w", "port": 80, "inputs": "/i"}
        self.assertEqual(workload.substituted(words, names), ["/w/a80", "{ port }", "awk '{print}'", "/i", "/w/w"])
        self.assertEqual(workload.substituted(["{port}"], {"work": "/w"}), ["{port}"], "a command has no port")
        self.assertEqual(workload.substituted(["{work}"], {"work": "/{port}", "port": 1}), ["/{port}"], "once only")

    def test_with(self):
        lean = allocators.parse_with("lean=glibc,SLUICE_CONF=budget:0,decay:0,MALLOC_ARENA_MAX=1")
        self.assertEqual((lean.name, lean.preload), ("lean", ""))
        self.assertEqual(lean.env, (("SLUICE_CONF", "budget:0,decay:0"), ("MALLOC_ARENA_MAX", "1")))
        self.assertEqual(allocators.parse_with("a=glibc,X=1=2,Y=").env, (("X", "1=2"), ("Y", "")))

    def test_with_wrong(self):
        for text in ("lean", "=glibc", "a b=glibc", "control=glibc", "as-shipped=glibc", "a=", "a=,X=1"):
            with self.subTest(text=text), self.assertRaises(allocators.Unusable):
                allocators.parse_with(text)

    def test_metric(self):
        metric, expression, factor = cli.metric_of("p99:ms=99%: ([0-9.]+)")
        self.assertEqual((metric.name, metric.unit, metric.higher_is_better, factor), ("p99", "ns", False, 1e6))
        self.assertEqual(expression.search("99%: 1.5")[1], "1.5")
        metric, _, _ = cli.metric_of("([0-9.]+) requests")
        self.assertEqual((metric.name, metric.higher_is_better), ("throughput", True))

    def test_condition(self):
        self.assertEqual(cli.condition("cpu>1.05"), (None, "cpu", ">", 1.05))
        self.assertEqual(cli.condition(" je-2.peak_rss < 0.9 "), ("je-2", "peak_rss", "<", 0.9))
        for text in ("cpu", "cpu>", "cpu=1", "cpu>x", ">1", "cpu>1.2.3", "cpu>."):
            with self.subTest(text=text), self.assertRaises(allocators.Unusable):
                cli.condition(text)

    def test_numbers_in_output(self):
        one = workload.OutputMetrics([cli.metric_of("rate:/s=rate ([0-9.,]+)")])
        self.assertEqual(one.read("rate 12\nrate 1,234.5\n"), {"rate": 1234.5}, "the last one counts")
        with self.assertRaisesRegex(workload.meter.Ended, "nothing that matches"):
            one.read("slow")
        with self.assertRaisesRegex(workload.meter.Ended, "no number"):
            one.read("rate 1.2.3")


if __name__ == "__main__":
    unittest.main()
