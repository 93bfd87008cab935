#!/usr/bin/python3
"""Who called a wrapper is told, wherever it was called: the report's counts for each caller are the victim's own.

A caller's count is the sum over the sites that have it among the frames all their allocations have in common. The victim's
wrapper is one by name, so not one allocation may be missing; the library's is found by its callers, so its first few are its
own.
"""

import unittest

import victims

CONFS = ("", "range:0", "own:off", "decay:0,budget:0", "stack_period:512")
PLACES = ("plain", "thread", "small", "fiber", "handler", "storm", "jump", "stretched", "deep", "exits")


def count_of(report, symbol):
    total = 0
    for s in report["sites"]:
        frames = report["stacks"][s["stack"]]["frames"][:s["key_frames"]] if s["stack"] is not None else []
        total += s["alloc_objects"] * any(report["frames"][f]["symbol"] == symbol for f in frames)
    return total


class Callers(victims.Case):
    def run_in(self, *where, conf=""):
        run = self.run_victim("callers", *where, conf=conf)
        self.assertEqual((run.status, run.err), (0, ""), run.out)
        truth = {name: int(n) for name, n in (line.split() for line in run.out.splitlines())}
        return truth, run.only()

    def test_every_call_is_its_callers(self):
        for place in PLACES:
            for conf in CONFS:
                with self.subTest(place=place, conf=conf):
                    truth, report = self.run_in(place, conf=conf)
                    self.assertEqual({name: count_of(report, name) for name in truth}, truth)
                    self.assertGreater(sum(truth.values()), 0)

    def test_a_library_that_comes_back_elsewhere_is_the_same(self):
        """However often: its sites, wrappers and routes are those it had, and what is kept of the places it was at is no more."""
        metadata = {}
        for rounds in (100, 15_000):
            truth, report = self.run_in("reload", str(rounds))
            mappings = [m for m in report["mappings"] if m["path"].endswith("/libcallers.so")]
            self.assertEqual(len(mappings), 1, "one file, one mapping")
            for name, true in truth.items():
                told = count_of(report, name)
                self.assertLessEqual(told, true)
                self.assertGreater(told, true - 10, "but for the first few")
            sites = [s for s in report["sites"] if s["symbol"] in truth]
            self.assertEqual(len(sites), len(truth), "a site each, however often it was loaded")
            self.assertLess(len(report["sites"]), len(truth) + 20)
            self.assertFalse(any(report["quality"]["dropped"].values()), report["quality"]["dropped"])
            metadata[rounds] = report["memory"]["metadata"]
        # An index may grow to 64 entries a route, as addresses collide; 15,000 routes for each size would be over 20 MiB.
        self.assertLess(metadata[15_000], metadata[100] + 512 * 1024)

    def test_ten_thousand_loads_by_four_threads(self):
        run = self.run_victim("dlopen", "2500")
        self.assertEqual((run.status, run.out, run.err), (0, "ok\n", ""))
        report = run.only()
        self.assertFalse(any(report["quality"]["dropped"].values()), report["quality"]["dropped"])
        self.assertLess(len(report["sites"]), 50)
        self.assertLess(len(report["mappings"]), 10)
        self.assertLess(report["memory"]["metadata"], 4 << 20)

    def test_off_is_a_return_address(self):
        truth, report = self.run_in("plain", conf="callers:off")
        self.assertEqual({name: count_of(report, name) for name in truth}, dict.fromkeys(truth, 0))
        self.assertEqual(count_of(report, "xmalloc"), sum(truth.values()))
        self.assertEqual(report["quality"]["callers"], {"wrappers": 0, "unwound": 0, "wrong": 0})

    def test_every_site_has_a_stack_to_its_end(self):
        _, report = self.run_in("plain")
        for s in report["sites"]:
            stack = report["stacks"][s["stack"]]
            self.assertGreaterEqual(len(stack["frames"]), s["key_frames"])
        mine = next(s for s in report["sites"] if s["symbol"] == "caller_two")
        names = [report["frames"][f]["symbol"] for f in report["stacks"][mine["stack"]]["frames"]]
        self.assertEqual(names[:2], ["xmalloc", "caller_two"])
        self.assertIn("main", names)
        self.assertFalse(report["stacks"][mine["stack"]]["truncated"])


if __name__ == "__main__":
    unittest.main()
