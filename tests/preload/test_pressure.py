#!/usr/bin/python3
"""Memory pressure, as the library finds it by itself: a control group's files at their true place.

Where they are the kernel's, with a limit that the victim passes. Everywhere else the same place is another folder's, in a
mount namespace of the victim's own: the files are ours then, all that the library does with them is real.
"""

import os
import subprocess
import unittest

import victims

CGROUP = "/sys/fs/cgroup"
PERIOD_MS, ROUNDS = 200, 4
STALL = "some avg10={0} avg60=0.00 avg300=0.00 total=0\nfull avg10={0} avg60=0.00 avg300=0.00 total=0\n"


def text_of(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


def write(folder, name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        f.write(text)


class Pressure(victims.Case):
    def drive(self, prefix, conf, leaves_mib=16, stays_mib=0, between=lambda: None):
        """(report, RSS in KiB after each round) of a victim that is started by the command `prefix`."""
        folder = self.fresh_folder()
        report = folder + "/report.json"
        options = f"report:{report},decay:{PERIOD_MS}" + conf
        argv = [*prefix, "env", "LD_PRELOAD=" + victims.LIBRARY, "SLUICE_CONF=" + options, victims.victim("pressure"),
                str(leaves_mib), str(stays_mib), str(3 * PERIOD_MS), str(ROUNDS)]
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        resident = []
        for line in child.stdout:
            if not line.strip().isdigit():
                break
            resident.append(int(line))
            between()
            child.stdin.write("\n")
            child.stdin.flush()
        err = child.stderr.read()
        self.assertEqual((line, child.wait(), err), ("ok\n", 0, ""))
        check = subprocess.run([victims.CHECK_REPORT, report], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(check.returncode, 0, check.stdout.decode(errors="replace"))
        return victims.json.loads(text_of(report)), resident

    def elsewhere(self):
        """A folder, and the command that runs another with that folder in the control groups' place."""
        folder = self.fresh_folder()
        prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                  f'mount --bind "{folder}" {CGROUP} && exec "$@"', "sh"]
        write(folder, "memory.pressure", STALL.format("0.00"))
        write(folder, "memory.events", self.events(0))
        if "\n0::/" not in "\n" + text_of("/proc/self/cgroup"):
            self.skipTest("this kernel has no cgroup v2, so the library asks nobody")
        if subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no mount namespace of one's own here (root may have one)")
        return folder, prefix

    @staticmethod
    def events(high):
        return f"low 0\nhigh {high}\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"

    def trims(self, conf="", between=lambda folder, turn: None):
        folder, prefix = self.elsewhere()
        turns = iter(range(1, 100))
        report, _ = self.drive(prefix, conf, between=lambda: between(folder, next(turns)))
        return report["memory"]["pressure_trims"]

    def test_all_is_well(self):
        self.assertEqual(self.trims(), 0)

    def test_counters_rise(self):
        self.assertGreater(self.trims(between=lambda folder, turn: write(folder, "memory.events", self.events(turn))), 0)

    def test_tasks_wait(self):
        self.assertGreater(self.trims(between=lambda folder, turn: write(folder, "memory.pressure", STALL.format("20.00"))), 0)

    def test_off(self):
        self.assertEqual(self.trims(",pressure:off", lambda folder, turn: write(folder, "memory.events", self.events(turn))), 0)

    def test_a_true_limit(self):
        """memory.high is passed by what the victim has freed: the library hears of it and gives that back."""
        if "memory" not in text_of(CGROUP + "/cgroup.subtree_control").split() or os.geteuid() != 0:
            self.skipTest("not root, or no cgroup v2 here that has the memory controller")
        group = f"{CGROUP}/sluice-test.{os.getpid()}"
        try:
            os.mkdir(group)
        except OSError as error:
            self.skipTest(f"no group may be made: {error}")
        self.addCleanup(os.rmdir, group)
        try:
            write(group, "memory.high", "64M")
        except OSError as error:
            self.skipTest(f"it may not be limited: {error}")
        prefix = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        report, resident = self.drive(prefix, "", leaves_mib=48, stays_mib=32)
        self.assertGreater(report["memory"]["pressure_trims"], 0, text_of(group + "/memory.events"))
        self.assertLess(resident[-1], resident[0])


if __name__ == "__main__":
    unittest.main()
