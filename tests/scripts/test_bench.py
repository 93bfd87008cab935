#!/usr/bin/python3
"""The scripts of scripts/bench as people call them: `prove --simulate`, whose coverage is counted here once more; `suite`
interrupted in its overhead; `readme` on a copy of the tables; `startup` on commands that succeed and fail;
`identity` on notes made by hand; `reading` on a small report.

A signal is sent when a run has begun that comes after finished ones: a preloaded library says so into a FIFO."""

import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from abtest import simulate, stats  # noqa: E402

BENCH = os.path.join(ROOT, "scripts", "bench")
METER = os.path.join(ROOT, os.environ.get("SLUICE_BUILD") or "build", "bench", "meter")
HANG_S = 120

# Says which session it is in: the meter and the sampler give each run one of its own.
SAY_SESSION = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void say(void)
{
	int fd = open(getenv("SESSIONS"), O_WRONLY);
	dprintf(fd, "%d\n", (int)getsid(0));
	close(fd);
}
"""


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


class Interrupted(unittest.TestCase):
    """One run of each allocator unwatched, then sampled ones: with the third run, one of each is sampled."""

    def setUp(self):
        if not os.path.exists(METER):
            raise AssertionError(f"not built: {METER}; `make binaries` builds what the tests need")
        self.folder = tempfile.mkdtemp(prefix="sluice-bench-test.")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        perf = ["perf", "record", "-q", "-e", "cpu-clock", "-o", self.path("perf.data"), "--", "true"]
        if not shutil.which("perf") or subprocess.run(perf, capture_output=True, check=False).returncode:
            self.skipTest("perf is not installed, or may not sample here")
        os.mkdir(self.path("temporary"))
        os.mkfifo(self.path("sessions"))
        self.sessions = os.open(self.path("sessions"), os.O_RDWR)
        self.addCleanup(os.close, self.sessions)
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", self.path("say.so")], input=SAY_SESSION, text=True,
                       check=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        return subprocess.Popen(
            ["/usr/bin/python3", os.path.join(BENCH, "suite"), "--only", "overhead", "--out", self.path("out"), "--allocators",
             "glibc", "--with", f"said={self.path('say.so')},SESSIONS={self.path('sessions')}"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "TMPDIR": self.path("temporary")},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def wait_runs(self, number, running):
        seen, end = b"", os.pidfd_open(running.pid)
        try:
            while len(set(seen.split())) < number:
                if self.sessions not in select.select([self.sessions, end], [], [], HANG_S)[0]:
                    running.kill()
                    self.fail(f"after {len(set(seen.split()))} runs: {running.communicate()}")
                seen += os.read(self.sessions, 4096)
        finally:
            os.close(end)

    def check(self, interrupt):
        running = self.start()
        self.wait_runs(3, running)
        interrupt(running.pid)
        try:
            out, err = running.communicate(timeout=HANG_S)
        finally:
            running.kill()
        self.assertEqual((running.returncode, "Traceback" in err), (130, False), err)
        with open(self.path("out/overhead.md"), encoding="utf-8") as f:
            table = f.read()
        self.assertRegex(table, r"(?s)^\| overhead, % of CPU time .*, said ")
        self.assertEqual(out, table)
        left = [n for n in os.listdir(self.path("temporary")) if n.startswith("sluice")]  # a killed compiler leaves its own
        self.assertEqual(left, [], "scratch files left behind")

    def test_by_sigterm(self):
        self.check(lambda pid: os.kill(pid, signal.SIGTERM))

    def test_by_ctrl_c(self):
        """Which a terminal sends to all of the foreground."""
        self.check(lambda pid: os.killpg(pid, signal.SIGINT))


class Readme(unittest.TestCase):
    PAIRS = "| test | ns |\n|---|---|\n| lifo | 6.1 |\n\n10 blocks.\n"
    OVERHEAD = "| share |\n|---|\n| 12 |\n\n| details |\n|---|\n"
    TEXT = """# title

<!-- results/pairs.md -->

| test | ns |
|---|---|
| lifo | 6.1 |

10 blocks.

<!-- end -->
between
<!-- results/overhead.md, first table -->

| share |
|---|
| 12 |

<!-- end -->
end
"""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-bench-test.")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.makedirs(self.path("scripts/bench/results"))
        shutil.copy(os.path.join(BENCH, "readme"), self.path("scripts/bench/readme"))
        self.write("scripts/bench/results/pairs.md", self.PAIRS)
        self.write("scripts/bench/results/overhead.md", self.OVERHEAD)
        self.write("README.md", self.TEXT)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)

    def read(self):
        with open(self.path("README.md"), encoding="utf-8") as f:
            return f.read()

    def readme(self, *args, status=0):
        return call(self.path("scripts/bench/readme"), *args, status=status)

    def test_what_agrees_stays(self):
        self.assertEqual(self.readme("--check"), "")
        self.readme()
        self.assertEqual(self.read(), self.TEXT)

    def test_a_table_that_differs_is_named_and_put_right(self):
        wrong = self.TEXT.replace("6.1", "5.1").replace("\nbetween", "\nkept")
        self.write("README.md", wrong)
        said = self.readme("--check", status=1)
        self.assertIn("results/pairs.md", said)
        self.assertNotIn("overhead", said)
        self.assertEqual(self.read(), wrong)
        self.readme()
        self.assertEqual(self.read(), self.TEXT.replace("between", "kept"))

    def test_a_result_that_is_new(self):
        """A backslash in it, or a row more, is text like any other."""
        self.write("scripts/bench/results/overhead.md", self.OVERHEAD.replace("12", r"\1 of 2 |\n| 13"))
        self.assertIn("results/overhead.md", self.readme("--check", status=1))
        self.readme()
        self.assertEqual(self.read(), self.TEXT.replace("12", r"\1 of 2 |\n| 13"))

    def test_comments_that_make_no_sense(self):
        for wrong in ("no table\n", self.TEXT.replace("<!-- end -->\nend", "end"), self.TEXT.replace("first table", "second"),
                      self.TEXT.replace("results/pairs", "results/nothing"), self.TEXT + "<!-- end -->\n"):
            self.write("README.md", wrong)
            for args in ((), ("--check",)):
                self.assertIn("readme: ", self.readme(*args, status=2))
            self.assertEqual(self.read(), wrong)


class Startup(unittest.TestCase):
    ROW = r"(?m)^{} +(\d+) +(\d+) +(\d+) +(\d+)$"

    def rows(self, said, name):
        """Wall, least, CPU, faults of that allocator, in each table."""
        return [tuple(map(int, found)) for found in re.findall(self.ROW.format(re.escape(name)), said)]

    def test_each_command_under_each_allocator(self):
        said = call("startup", "--runs", "3", "--allocators", "glibc,sluice,sluice+report")
        for name in ("glibc", "sluice", "sluice+report"):
            self.assertEqual(len(self.rows(said, name)), 3, said)
            for wall, least, _cpu, faults in self.rows(said, name):
                self.assertTrue(0 < least <= wall, said)
                self.assertGreater(faults, 0)

    def test_the_children_are_counted(self):
        one, _, ten = self.rows(call("startup", "--runs", "3", "--allocators", "glibc"), "glibc")
        self.assertGreater(ten[3], 5 * one[3], "ten programs have more than five times one's page faults")

    def test_a_command_of_ones_own(self):
        said = call("startup", "--runs", "2", "--allocators", "sluice", "--", "sh", "-c", "echo hidden")
        self.assertEqual(len(self.rows(said, "sluice")), 1)
        self.assertEqual(said.count("hidden"), 1, "in the title")

    def test_what_cannot_be_measured(self):
        self.assertIn("under glibc: status 1", call("startup", "--allocators", "glibc", "--", "false", status=1))
        self.assertIn("/no/such", call("startup", "--allocators", "glibc", "--", "/no/such", status=1))
        self.assertIn("no such allocator", call("startup", "--allocators", "nomalloc", status=2))


class Identity(unittest.TestCase):
    """Six leaves with 1000 allocations each; addresses are only names."""
    NOTES = [
        # three callers, one of them rare: a wrapper only strictly
        (504, 0, "a b1 f"), (490, 0, "a b2 f"), (6, 0, "a b3 f"),
        # known by its name
        (700, 1, "d* c1 f"), (300, 0, "d* c2 f"),
        # one caller: none
        (1000, 0, "e f c"),
        # four callers, of which one was mistaken
        (400, 1, "11 12 13"), (400, 0, "11 14 13"), (150, -1, "11 15 13"), (50, 1, "11 16 13"),
        # one caller, which six call: two levels; one where the stack ends
        *((170, told, f"20 21 {30 + i}") for i, told in enumerate((2, 2, 1, 0, 2))), (100, 2, "20 21 36"),
        (50, 1, "20 21"),
        # the same, but one of the six is rare
        *((199, 0, f"40 41 {50 + i}") for i in range(5)), (5, 0, "40 41 56"),
    ]

    def setUp(self):
        folder = tempfile.mkdtemp(prefix="sluice-identity-")
        self.addCleanup(shutil.rmtree, folder)
        self.folder = folder

    def shares(self, rows):
        path = os.path.join(self.folder, "notes")
        with open(path, "w", encoding="ascii") as f:
            f.writelines(f"{count} {told} {chain}\n" for count, told, chain in rows)
        head, row = call("identity", "--notes", path).splitlines()
        return dict(zip(head.split(), row.split()[1:]))

    def test_all_together(self):
        self.assertEqual(self.shares(self.NOTES), {"allocations": "6,000", "right": "80.17%", "strict": "46.83%",
                                                   "bare": "50.00%", "astray": "2.50%"})

    def test_each_leaf(self):
        for leaf, right, strict, bare in (("a", 1000, 0, 1000), ("d*", 700, 700, 0), ("e", 1000, 1000, 1000),
                                          ("11", 450, 450, 0), ("20", 660, 660, 0), ("40", 1000, 0, 1000)):
            with self.subTest(leaf=leaf):
                found = self.shares(row for row in self.NOTES if row[2].split()[0] == leaf)
                self.assertEqual((found["right"], found["strict"], found["bare"]),
                                 tuple(f"{n / 10:.2f}%" for n in (right, strict, bare)))

    def test_one_in_a_hundred_is_not_rare(self):
        found = self.shares([(500, 0, "a b1 f"), (490, 0, "a b2 f"), (10, 0, "a b3 f")])
        self.assertEqual((found["right"], found["strict"]), ("0.00%", "0.00%"))

    def test_nothing_noted(self):
        self.assertEqual(self.shares([])["right"], "-")


class Reading(unittest.TestCase):
    def test_each_view(self):
        head, *rows = call("reading", "100", "--runs", "1").splitlines()
        self.assertIn("100 sites", head)
        self.assertEqual([row[:32].rstrip() for row in rows], ["sites", "modules", "one site", "all as JSON"])
        for row in rows:
            self.assertGreater(int(row.split()[-2]), 1, "MiB")

    def test_what_cannot_be_measured(self):
        self.assertIn("25 sites at least", call("reading", "24", status=2))


class Uneven:
    """Noise that gives the one side twice the other's."""

    def __init__(self):
        self.turn = 0

    def __call__(self, rng):
        self.turn += 1
        return (1 + self.turn % 2) * simulate.symmetric(rng)


if __name__ == "__main__":
    unittest.main()
