#!/usr/bin/python3
"""CPython's own tests that concern memory, threads, fork and foreign calls give the same results, test by test, with
and without the shim, both with PYTHONMALLOC=malloc so that every object is a block of ours.

The two runs go side by side, because these tests mostly wait (for sleeps, for children). Some of them watch the clock,
so a loaded machine can fail one in either run: a test case whose results differ is run again alone, three times with
the shim and three times without, and it counts when the shim ever fails it there and the plain runs never do, or when
it never gives the same result again.
"""

import collections
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimmed import STANDS_IN, Case

PYTHON = "/usr/bin/python3.11"
MODULES = ["test_gc", "test_fork1", "test_json", "test_threading", "test_subprocess", "test_list", "test_dict",
           "test_ctypes"]
SECONDS_MAX = 600  # a bound against hangs: both runs take 45 s, most of it asleep
AGAIN = 3


def suite_installed():
    return os.path.exists(PYTHON) and subprocess.run([PYTHON, "-c", "import test.test_gc"], env={},
                                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def outcome(case):
    tags = [child.tag for child in case if child.tag in ("skipped", "failure", "error")]
    return tags[0] if tags else case.get("result", "completed")


@unittest.skipUnless(suite_installed(), "not installed: libpython3.11-testsuite")
class Cpython(Case):
    def begin(self, shim, modules, *more):
        folder = tempfile.mkdtemp(dir=self.folder)
        with open(os.path.join(folder, "log"), "wb") as log:
            proc = self.start([PYTHON, "-m", "test", *modules, "--junit-xml", "results.xml", "--tempdir", folder, *more],
                              shim, env={"PYTHONMALLOC": "malloc", "TMPDIR": folder}, cwd=folder,
                              stdout=log, stderr=subprocess.STDOUT)
        return proc, folder

    def results(self, started):
        """test case -> list of outcomes (parameterised cases share a name), and the run's log."""
        proc, folder = started
        try:
            status = proc.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            status = "none: it hangs"
        with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as file:
            log = file.read()
        path = os.path.join(folder, "results.xml")
        self.assertTrue(os.path.exists(path), f"exit status {status}, no results:\n{log[-3000:]}")
        found = collections.defaultdict(list)
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            found[case.get("name")].append(outcome(case))
        return {name: sorted(list_) for name, list_ in found.items()}, log

    def differs_again(self, name):
        """Run one case alone, with and without; None when it is just as (un)reliable without the shim."""
        module = name.split(".")[1]
        pattern = name.rpartition(".")[2]
        seen = {shim: [self.results(self.begin(shim, [module], "-m", pattern))[0].get(name) for _ in range(AGAIN)]
                for shim in (False, True)}
        bad = [one for one in seen[True] if one not in seen[False]]
        return f"{name}: shimmed {seen[True]}, plain {seen[False]}" if bad else None

    def test_same_results(self):
        self.make_work()
        started = [self.begin(shim, MODULES) for shim in (False, True)]
        (plain, _), (shimmed, log) = [self.results(one) for one in started]
        self.assertGreater(len(plain), 1000, "test cases that ran")
        self.assertEqual(sorted(shimmed), sorted(plain), f"the same cases must run:\n{log[-3000:]}")
        different = [name for name in sorted(plain) if plain[name] != shimmed[name]]
        for name in different:
            print(f"{name}: plain {plain[name]}, shimmed {shimmed[name]}: once more, alone", file=sys.stderr)
        self.assertLess(len(different), 20, f"{different}\n{log[-3000:]}")
        confirmed = [text for text in map(self.differs_again, different) if text]
        self.assertEqual(confirmed, [], log[-3000:])
        self.check_reports(started[1][0].pid, 1000000, exe="python3.11")
        if not STANDS_IN:
            self.assertGreater(len(self.reports()), 100, "reports of the interpreters that the tests started")


if __name__ == "__main__":
    unittest.main()
