#!/usr/bin/python3
"""What requests allocate, against a server that knows it: a request's bytes are on that request, a leak is at its site.

The victim's connections each have requests of one size, so a histogram of sizes shows whose was whose. Here every request is
accounted; tests/programs/test_requests.py counts those of real servers.
"""

import unittest

import victims

EVERY = "request_every:1,report_min:0"
BLOCKS, CONNECTIONS, REQUESTS = 8, 12, 400


def bucket(value):
    return value.bit_length()


class Requests(victims.Case):
    def run_in(self, *args, conf="", checked=True):
        run = self.run_victim("requests", *map(str, args), conf=",".join(filter(None, (EVERY, conf))), checked=checked)
        self.assertEqual((run.status, run.err), (0, ""), run.out)
        said = dict(line.split() for line in run.out.splitlines() if " " in line)
        return int(said["served"]), int(said["leaks"]), run

    def site(self, report, symbol):
        """The site's part of the requests; zeros when it has none."""
        ids = {s["id"] for s in report["sites"] if s["symbol"] == symbol}
        parts = [s for s in report["requests"]["sites"] if s["site"] in ids]
        return {key: sum(p[key] for p in parts)
                for key in ("alloc_objects", "alloc_space", "escaped_objects", "freed_objects", "escaping_requests")}

    def test_interleaved_connections(self):
        for conf in ("", "own:off", "callers:off", "lifetimes:off", "decay:0,budget:0"):
            with self.subTest(conf=conf):
                served, leaks, run = self.run_in("interleaved", CONNECTIONS, REQUESTS, conf=conf)
                report = run.only()
                r = report["requests"]
                self.assertEqual(served, CONNECTIONS * REQUESTS)
                self.assertEqual((r["boundary"], r["count"], r["accounted"]), ("turn", served, served))
                self.assertEqual((r["connections"], r["accepted"], r["silent"], r["lost"]), (CONNECTIONS,) * 2 + (0, 0))
                sizes = [BLOCKS * (125 << i) for i in range(CONNECTIONS)]
                told = r["alloc_space_hist_log2"]
                right = sum(min(told[bucket(size)], REQUESTS) for size in sizes)
                self.assertGreaterEqual(right, 0.99 * served, told)
                self.assertEqual(self.site(report, "serve")["alloc_objects"], BLOCKS * served)
                self.assertEqual(self.site(report, "serve")["alloc_space"], REQUESTS * sum(sizes))
                self.assertEqual(r["alloc_space"], REQUESTS * sum(sizes) + 48 * leaks)
                self.assertEqual(self.site(report, "outside")["alloc_objects"], 0)
                total = [0] * 48
                for size in sizes:
                    total[bucket(size * REQUESTS)] += 1
                self.assertEqual([n for n in r["connection_space_hist_log2"] if n], [n for n in total if n])
                top = r["top"][0]
                self.assertIn(top["alloc_space"], (sizes[-1], sizes[-1] + 48))
                self.assertEqual(top["sites"][0]["alloc_objects"], BLOCKS)

    def test_a_planted_leak_is_at_its_site(self):
        _, leaks, run = self.run_in("interleaved", CONNECTIONS, REQUESTS)
        report = run.only()
        found = self.site(report, "leak")
        self.assertGreater(leaks, 50)
        self.assertEqual((found["escaped_objects"], found["freed_objects"], found["escaping_requests"]), (leaks, 0, leaks))
        self.assertEqual(self.site(report, "serve")["escaped_objects"], 0)
        self.assertEqual(report["requests"]["escaped_objects"], leaks)

    def test_one_after_another(self):
        served, leaks, run = self.run_in("plain", 1000)
        r = run.only()["requests"]
        self.assertEqual((r["count"], r["accounted"], r["alloc_space"]), (served, served, 1000 * served + 48 * leaks))
        self.assertEqual(sum(r["duration_ns_hist_log2"]), served)
        self.assertEqual((r["reads"], r["writes"]), (2 * served, served))

    def test_the_numbers_of_one_in_so_many_are_in_proportion(self):
        served, _, run = self.run_in("plain", 2000, conf="request_every:10")
        r = run.only()["requests"]
        self.assertEqual((r["count"], r["accounted"]), (served, 200))
        self.assertEqual((r["weight"], r["alloc_objects"]), (1991, 1991 * BLOCKS))

    def test_off(self):
        for conf in ("request:off", "request:turn"):
            _, _, run = self.run_in("plain", 100, conf=conf)
            r = run.only()["requests"]
            self.assertEqual((r["boundary"], r["count"]), (None, 0) if conf == "request:off" else ("turn", 100))

    def test_threads_that_answer_for_another(self):
        served, _, run = self.run_in("pool", 300)
        r = run.only()["requests"]
        self.assertEqual((r["count"], r["connections"]), (served, 1))
        self.assertLessEqual(r["accounted"] + r["lost"], served)

    def test_a_connection_that_is_handed_over(self):
        for conf, count in (("", 0), ("request:turn", 200)):
            served, _, run = self.run_in("handed", 200, conf=conf)
            self.assertEqual(served, 200)
            taken = [r["requests"] for r in run.reports.values() if r["run"]["end"] == "exit"]
            self.assertEqual([r["count"] for r in taken], [count], conf)

    def test_a_child_goes_on(self):
        served, _, run = self.run_in("forked", 100)
        child = int(run.out.split()[0])
        counts = {r["run"]["forked"]: r["requests"]["count"] for r in run.reports.values()}
        # The request that was open at the fork was read by the parent.
        self.assertEqual(counts, {False: served + 1, True: child - 1})
        self.assertEqual((served, child), (100, 201))

    def test_files_at_the_numbers_of_connections(self):
        served, _, run = self.run_in("files", 50)
        r = run.only()["requests"]
        self.assertEqual((r["count"], r["connections"], r["accepted"]), (served, served, served + 1))
        self.assertEqual((r["reads"], r["writes"]), (2 * served, served))

    def test_after_jumps_out_of_handlers(self):
        served, _, run = self.run_in("jumps", 500, checked=False)  # one may have left in the middle of a sum
        self.assertGreaterEqual(run.only()["requests"]["count"], served)
        self.assertEqual(run.only()["requests"]["connection_requests_hist_log2"][bucket(served)], 1)


if __name__ == "__main__":
    victims.main()
