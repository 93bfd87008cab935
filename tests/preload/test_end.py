#!/usr/bin/python3
"""Every way a program can end, and the report it leaves: whether, where, with what `end` and with which counts.

The victim (victim_end.c) calls make_some(), which makes 100 blocks of 48 bytes of which 40 live, and then ends in the way
named by its argument. Its status must be what it is without the shim, and so must its output.
"""

import glob
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
import unittest

import victims

SOME, ALIVE, SIZE, STATUS, MANY = 100, 40, 48, 23, 5000


class Base(victims.Case):
    def end(self, way, **kw):
        """Runs plain and shimmed; the same status and output; the shimmed run."""
        plain = subprocess.run([victims.victim("end"), way], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, cwd=self.fresh_folder(), timeout=victims.WATCHDOG_S)
        run = self.run_victim("end", way, **kw)
        self.assertEqual(run.status, plain.returncode, run.err)
        self.assertEqual(run.out, plain.stdout.decode())
        self.assertEqual(run.err, plain.stderr.decode())
        leftovers = [f for f in os.listdir(run.folder) if not f.endswith(".json")]
        self.assertEqual(leftovers, [], "files left behind")
        return run

    def holds(self, report, end, times=1):
        self.assertEqual(report["run"]["end"], end)
        sites = victims.symbol_sites(report, report["run"]["exe"], "make_some")
        self.assertEqual(sum(s["alloc_objects"] for s in sites), times * SOME)
        self.assertEqual(sum(s["alloc_space"] for s in sites), times * SOME * SIZE)
        self.assertEqual(sum(s["free_objects"] for s in sites), times * (SOME - ALIVE))
        self.assertEqual(sum(s["inuse_objects"] for s in sites), times * ALIVE)

    def many(self, report):
        return sum(s["alloc_objects"] for s in victims.symbol_sites(report, victims.victim("end"), "make_many"))


class Ways(Base):
    """One test for each way, added below."""


def add(name, way, body):
    setattr(Ways, "test_" + name, lambda self: body(self, way))


def plainly(self, way):
    run = self.end(way)
    self.assertEqual(run.status, STATUS)
    report = run.only()
    self.assertEqual((report["run"]["pid"], report["run"]["forked"]), (run.pid, False))
    self.assertEqual(report["run"]["argv"], [victims.victim("end"), way])
    self.holds(report, "exit")


def by_exec(self, way):
    """The environment is empty after the exec, so that the new program has no shim and writes nothing."""
    run = self.end(way)
    self.assertEqual((run.status, run.out), (0, "after\n"))
    self.holds(run.only(), "exec")


def by_exec_with_preload(self, way):
    """The new program inherits the preload and writes a report of its own, beside the first."""
    run = self.end(way)
    self.assertEqual((run.status, run.out), (0, "after\n"))
    self.holds(run.only("end"), "exec")
    self.assertEqual(run.only("echo")["run"]["end"], "exit")


for w in ("return", "exit", "_exit", "_Exit", "quick_exit", "thread"):
    add(w, w, plainly)
for w in ("execve", "execvpe", "execle", "fexecve", "execveat"):
    add(w, w, by_exec)
for w in ("execv", "execvp", "execl", "execlp"):
    add(w, w, by_exec_with_preload)


class Ends(Base):
    def test_atexit_handlers_are_counted(self):
        self.holds(self.end("atexit").only(), "exit", times=2)

    def test_at_quick_exit_handlers_are_counted(self):
        self.holds(self.end("at_quick_exit").only(), "exit", times=2)

    def test_exec_that_fails_goes_on(self):
        run = self.end("exec_fails")
        self.assertEqual(run.status, STATUS)
        self.holds(run.only(), "exit", times=2)

    def test_last_thread_returns(self):
        run = self.end("pthread_exit")
        self.assertEqual(run.status, 0)
        self.holds(run.only(), "exit", times=2)

    def test_vfork_children_write_nothing(self):
        run = self.end("vfork")
        others = [n for n, r in run.reports.items() if r["run"]["pid"] != run.pid and "end" in os.path.basename(r["run"]["exe"])]
        self.assertEqual(others, [])
        self.holds(run.only("end"), "exit")

    def test_fork_children_write_from_report_min_on(self):
        run = self.end("fork")
        mine = [r for r in run.reports.values() if r["run"]["pid"] == run.pid]
        children = [r for r in run.reports.values() if r["run"]["pid"] != run.pid]
        self.assertEqual((len(mine), len(children)), (1, 1), sorted(run.reports))
        self.holds(mine[0], "exit")
        self.assertEqual(self.many(mine[0]), 0)
        child = children[0]
        self.assertTrue(child["run"]["forked"])
        self.assertEqual(child["run"]["ppid"], run.pid)
        self.assertEqual(self.many(child), MANY)
        inherited = victims.symbol_sites(child, victims.victim("end"), "make_some")
        self.assertEqual(sum(s["inherited_objects"] for s in inherited), ALIVE)
        self.assertEqual(sum(s["alloc_objects"] for s in inherited), 0)

    def test_report_min_is_an_option(self):
        self.assertEqual(len(self.end("fork", conf="report_min:0").reports), 3)
        self.assertEqual(len(self.end("fork", conf=f"report_min:{2 * MANY}").reports), 1)

    def test_fork_then_exec(self):
        run = self.end("fork_exec")
        ends = sorted((r["run"]["end"], self.many(r)) for r in run.reports.values())
        self.assertEqual(ends, [("exec", MANY), ("exit", 0)])

    def test_fork_then_fork(self):
        run = self.end("fork_fork")
        made = sorted(self.many(r) for r in run.reports.values())
        self.assertEqual(made, [0, MANY, 2 * MANY])

    def test_killed_leaves_no_half_report(self):
        run = self.end("killed")
        self.assertEqual(run.status, -signal.SIGKILL)
        for report in run.reports.values():
            self.assertEqual(report["run"]["end"], "killed")

    def test_abort_keeps_its_signal(self):
        self.assertEqual(self.end("abort").status, -signal.SIGABRT)


class Names(Base):
    def test_default_name(self):
        run = self.run_victim("end", "exit", report="")
        self.assertEqual(list(run.reports), [f"sluice.end.{run.pid}.json"])

    def test_percent_names(self):
        before = time.time()
        run = self.run_victim("end", "exit", report="r-%e-%p-%h-%t.json")
        name = next(iter(run.reports))
        self.assertTrue(name.startswith(f"r-end-{run.pid}-{socket.gethostname()}-"), name)
        digits = name[len(f"r-end-{run.pid}-{socket.gethostname()}-"):-len(".json")]
        start = run.only()["run"]["start_unix_ns"]
        self.assertIn(int(digits), (start, start // 10**9), "%t is the start of the process")
        self.assertGreaterEqual(start / 1e9, before - 1)

    def test_private_file(self):
        run = self.run_victim("end", "exit", report="private.json")
        mode = os.stat(os.path.join(run.folder, "private.json")).st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)

    def test_link_is_not_followed(self):
        folder = self.fresh_folder()
        precious = os.path.join(folder, "precious")
        with open(precious, "w", encoding="utf-8") as f:
            f.write("untouched")
        os.symlink(precious, os.path.join(folder, "report.json"))
        run = self.run_victim("end", "exit", report="report.json", folder=folder)
        self.assertEqual(run.status, STATUS)
        with open(precious, encoding="utf-8") as f:
            self.assertEqual(f.read(), "untouched")
        self.assertFalse(os.path.islink(os.path.join(folder, "report.json")))
        self.holds(run.only(), "exit")

    def test_older_report_is_replaced(self):
        folder = self.fresh_folder()
        for _ in range(2):
            run = self.run_victim("end", "exit", report="report.json", folder=folder)
        self.assertEqual(run.only()["run"]["pid"], run.pid)
        self.assertEqual(os.listdir(folder), ["report.json"])

    def test_off_is_silence(self):
        for way in ("exit", "fork", "execve"):
            run = self.end(way, report="off")
            self.assertEqual(run.reports, {})
            self.assertEqual(os.listdir(run.folder), [])

    def test_folder_of_the_start_holds(self):
        """A relative name means the folder the program started in, wherever it goes later."""
        run = self.run_victim("end_elsewhere", report="here.json")
        self.assertEqual((run.status, run.out, run.err), (0, "ok\n", ""))
        self.assertEqual(list(run.reports), ["here.json"])

    def one_line(self, err, name, why):
        """What is wrong, with which file, and where the report is instead if it is anywhere: there it must be."""
        lines = err.splitlines()
        self.assertEqual(len(lines), 1, err)
        self.assertTrue(lines[0].startswith("sluice: "), lines[0])
        self.assertIn(name, lines[0])
        self.assertIn(why, lines[0].lower())
        found = re.search(r"it is in (\S+)", lines[0])
        if found:
            with open(found.group(1), encoding="utf-8") as f:
                self.holds(json.load(f), "exit")
            os.unlink(found.group(1))

    def test_unwritable_folder_is_one_line(self):
        """And the program's status is its own. A missing folder, since root may write everywhere."""
        for way in ("exit", "_exit", "quick_exit"):
            run = self.run_victim("end", way, report="/no/such/folder/report.json")
            self.assertEqual(run.status, STATUS)
            self.one_line(run.err, "/no/such/folder/report.json", "no such folder")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody who may not write")
    def test_forbidden_folder_is_one_line(self):
        folder = self.fresh_folder()
        os.chmod(folder, 0o755)
        library = shutil.copy(victims.LIBRARY, folder)
        program = shutil.copy(victims.victim("end"), folder)
        env = dict(os.environ, LD_PRELOAD=library, SLUICE_CONF="report:report.json")
        run = subprocess.run([program, "exit"], env=env, cwd=folder, user="nobody", group="nogroup", extra_groups=[],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=victims.WATCHDOG_S)
        self.assertEqual((run.returncode, run.stdout), (STATUS, b""))
        self.one_line(run.stderr.decode(), "report.json", "permission denied")

    def test_odd_names_and_arguments(self):
        """Bytes that are no text, quotes, newlines: the report is good JSON all the same, and the file has the name."""
        folder = self.fresh_folder()
        program = os.fsencode(folder) + b'/odd "name\xff\nx'
        shutil.copy(victims.victim("end"), program)
        run = self.run_command([program, b"exit", b'\xfe\x01"\\'], folder=folder, report="")
        self.assertEqual((run.status, run.err), (STATUS, ""))
        self.assertEqual(list(run.reports), [os.fsdecode(b'sluice.odd "name\xff\nx.%d.json' % run.pid)])
        self.assertEqual(run.only()["run"]["argv"][1:], ["exit", '\ufffd\x01"\\'])

    @unittest.skipUnless(os.geteuid() == 0, "only root can make a program of another user")
    def test_setuid_is_left_alone(self):
        """The dynamic linker ignores our preload in a setuid program: no report, no word."""
        folder = self.fresh_folder()
        if os.statvfs(folder).f_flag & os.ST_NOSUID:
            self.skipTest(f"{folder} is mounted nosuid")
        os.chmod(folder, 0o777)
        program = shutil.copy(victims.victim("end"), folder)
        shutil.chown(program, "nobody")
        os.chmod(program, 0o4755)
        run = self.run_command([program, "exit"], folder=folder)
        self.assertEqual((run.status, run.out, run.err, run.reports), (STATUS, "", "", {}))

    def test_children_under_run_do_not_overwrite(self):
        """`sluice run` names the main process; the others put their pid into a name that has none."""
        folder = self.fresh_folder()
        full = dict(os.environ, SLUICE_CONF=f"report:{folder}/one.json")
        # The shell itself runs without the shim: env(1) sets the preload, with the shell's pid.
        script = f'export SLUICE_RUN_PID=$$; exec env LD_PRELOAD="{victims.LIBRARY}" "{victims.victim("end")}" fork'
        child = subprocess.Popen(["/bin/sh", "-c", script], env=full, stdout=subprocess.PIPE)
        child.communicate(timeout=victims.WATCHDOG_S)
        self.assertEqual(child.returncode, STATUS)
        names = sorted(os.path.basename(p) for p in glob.glob(folder + "/*"))
        self.assertEqual(len(names), 2, names)
        self.assertIn("one.json", names)
        other = next(n for n in names if n != "one.json")
        self.assertRegex(other, r"^one\.\d+\.json$")
        self.assertNotEqual(other, f"one.{child.pid}.json")


if __name__ == "__main__":
    unittest.main()
