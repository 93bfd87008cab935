"""Run an unmodified program without and with the shim, and hold the two runs together.

Every test in this folder rests on the same comparison: the program runs twice in a folder of the same path with the
same input, once plain and once with the library preloaded; its exit status, its standard output, its standard error
and the files it made must be the same bytes. Then every report that the preloaded run left is read: the program
itself must have written one (found by its pid), and scripts/check-report must accept all of them (schema and sums).

Environment:
  SLUICE_LIB        library to preload; default $SLUICE_BUILD/libsluice.so (SLUICE_BUILD defaults to build). Any other
                    allocator may stand in, to test the tests; then no reports are expected.
  SLUICE_TEST_CONF  options for the shim in every test ("pool_max:1M", "range:0"), to look for trouble by hand
  SLUICE_KEEP       keep the tests' folders
Servers run on free loopback ports in the test's own folder. Whatever was started is stopped and reaped by the test's
clean-ups, on failure too, and dies with this process (PDEATHSIG) if that is killed. Nothing here sleeps to synchronise:
readiness is a connection that succeeds, the end is a process that was waited for.
"""

import contextlib
import ctypes
import glob
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SLUICE_BUILD", "build")
LIBRARY = os.environ.get("SLUICE_LIB") or os.path.join(ROOT, BUILD, "libsluice.so")
STANDS_IN = not os.path.basename(LIBRARY).startswith("libsluice")  # another allocator: no reports to expect
CHECK_REPORT = os.path.join(ROOT, "scripts", "check-report")
RUN_SECONDS_MAX = 120  # a bound against hangs, far above what any program here needs; nothing is asserted about time
READY_SECONDS_MAX = 60

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)
# Orphans of a killed server come to us, to be collected: not every machine's process 1 does that.
_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _terminated(*_):
    # A SIGTERM to the test runner must run the clean-ups, which stop the servers.
    raise SystemExit("terminated")


if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    signal.signal(signal.SIGTERM, _terminated)


def need(*programs):
    """Class decorator: skip, with the reason, when a program is not installed. scripts/deps names the packages."""
    missing = [p for p in programs if not shutil.which(p, path=search_path())]
    return unittest.skipIf(missing, "not installed: " + " ".join(missing))


def search_path():
    # Debian's programs first: another python3 or node of the developer's may come before them in PATH.
    return os.pathsep.join(["/usr/bin", "/bin", "/usr/sbin", "/sbin", os.environ.get("PATH", "")])


class Run:
    """What one run left behind."""

    def __init__(self, pid, status, out, err, files):
        self.pid, self.status, self.out, self.err, self.files = pid, status, out, err, files


class Case(unittest.TestCase):
    maxDiff = 4000
    conf = os.environ.get("SLUICE_TEST_CONF", "")  # more options for the shim

    def setUp(self):
        if not os.path.exists(LIBRARY):
            self.fail(f"no library at {LIBRARY}: build it (make), or set SLUICE_LIB")
        self.folder = tempfile.mkdtemp(prefix="sluice-programs.")
        self.addCleanup(self._remove_folder)
        os.chmod(self.folder, 0o755)
        self.work = os.path.join(self.folder, "work")
        self.reports_folder = os.path.join(self.folder, "reports")
        os.mkdir(self.reports_folder)
        os.chmod(self.reports_folder, 0o1777)  # servers write their reports as another user
        self.library = self._readable_library()

    def _remove_folder(self):
        if os.environ.get("SLUICE_KEEP"):
            print(f"{self.id()}: kept {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _readable_library(self):
        # The checkout may lie where only its owner can look (a home folder); a server that gives up root cannot then.
        copy = os.path.join(self.folder, os.path.basename(LIBRARY))
        shutil.copy(LIBRARY, copy)
        os.chmod(copy, 0o755)
        return copy

    # ---- environment and processes

    def environment(self, shim, extra=None):
        env = {"PATH": search_path(), "HOME": self.folder, "TMPDIR": self.work, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        env.update(extra or {})
        if shim:
            env["LD_PRELOAD"] = self.library
            env["SLUICE_CONF"] = f"report:{self.reports_folder}/%e.%p.json" + (self.conf and "," + self.conf)
        return env

    def start(self, argv, shim, env=None, user=None, **kw):
        """Start a process that the test's clean-ups stop and reap. Its session is its own, to be killed as a whole."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        as_user = identity(user)
        proc = subprocess.Popen(argv, env=self.environment(shim, env), cwd=kw.pop("cwd", self.work),
                                start_new_session=True, preexec_fn=_die_with_parent, **as_user, **kw)
        self.addCleanup(reap, proc)
        return proc

    def run_once(self, argv, shim, env=None, stdin=b"", user=None):
        proc = self.start(argv, shim, env=env, user=user, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
        try:
            out, err = proc.communicate(stdin, timeout=RUN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            reap(proc)
            self.fail(f"{'shimmed' if shim else 'plain'} {argv[0]} did not end in {RUN_SECONDS_MAX} s")
        return Run(proc.pid, proc.returncode, out, err, None)

    def make_work(self, prepare=None, user=None):
        """Make the work folder anew, filled by prepare(folder); its path is the same for both runs of a pair."""
        shutil.rmtree(self.work, ignore_errors=True)
        os.mkdir(self.work)
        if prepare:
            prepare(self.work)
        if user and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            for top, _, names in os.walk(self.work):
                for path in [top] + [os.path.join(top, name) for name in names]:
                    os.chown(path, entry.pw_uid, entry.pw_gid)

    # ---- the comparison

    def pair(self, argv, prepare=None, env=None, stdin=b"", files=(), normalise=None, status=0, allocations_min=100):
        """Run plain and shimmed, compare; return the shimmed Run. `files`: glob patterns, under the work folder, of
        files that must come out the same. `normalise(bytes)`: takes out what differs between any two runs."""
        runs = []
        for shim in (False, True):
            self.make_work(prepare)
            run = self.run_once(argv, shim, env=env, stdin=stdin)
            run.files = read_files(self.work, files)
            runs.append(run)
        plain, shimmed = runs
        if status is not None:  # None: fails, but with a status that depends on the program's version
            self.assertEqual(plain.status, status, f"{argv[0]} without the shim: {plain.err[-2000:]!r}")
        self.assertTrue(plain.out or plain.err or plain.files, "the program said nothing: there is nothing to compare")
        self.same(plain, shimmed, normalise)
        if files:
            self.assertTrue(plain.files, "the program made none of the files to compare")
        self.check_reports(shimmed.pid, allocations_min)
        return shimmed

    def same(self, plain, shimmed, normalise=None):
        clean = normalise or (lambda text: text)
        self.assertEqual(shimmed.status, plain.status, f"exit status under the shim; stderr: {shimmed.err[-2000:]!r}")
        self.assertEqual(shorten(clean(shimmed.err)), shorten(clean(plain.err)), "standard error")
        self.assertEqual(shorten(clean(shimmed.out)), shorten(clean(plain.out)), "standard output")
        self.assertTrue(clean(shimmed.out) == clean(plain.out), "standard output differs beyond its shown part")
        self.assertEqual(sorted(shimmed.files or ()), sorted(plain.files or ()), "files made")
        for name in plain.files or ():
            self.assertTrue(shimmed.files[name] == plain.files[name], f"file {name} differs")

    # ---- the reports

    def reports(self):
        """Every report of this test so far: path -> parsed JSON. A file that is no JSON fails the test."""
        found = {}
        for path in sorted(glob.glob(self.reports_folder + "/*")):
            self.assertTrue(path.endswith(".json"), f"left beside the reports: {path}")
            with open(path, encoding="utf-8") as file:
                try:
                    found[path] = json.load(file)
                except ValueError as error:
                    self.fail(f"{path} is not JSON: {error}")
        return found

    def check_reports(self, pid, allocations_min=100, exe=None):
        """All reports are valid; the process `pid` wrote one, of its normal end, with at least that many allocations
        of which the pools served some. Returns its report, or None for a stand-in."""
        if STANDS_IN:
            return None
        reports = self.reports()
        by_pid = {report["run"]["pid"]: report for report in reports.values()}
        self.assertIn(pid, by_pid, f"no report by pid {pid} among {sorted(map(os.path.basename, reports))}")
        own = by_pid[pid]
        self.assertEqual(own["run"]["end"], "exit")
        if exe:
            self.assertEqual(os.path.basename(own["run"]["exe"]), exe)
        self.allocated(own, allocations_min)
        self.validate(list(reports))
        return own

    def allocated(self, report, allocations_min):
        objects = sum(site["alloc_objects"] for site in report["sites"])
        self.assertGreaterEqual(objects, allocations_min, "allocations in the report of " + report["run"]["exe"])

    def validate(self, paths):
        if not os.access(CHECK_REPORT, os.X_OK):
            print(f"{self.id()}: reports not validated: scripts/check-report does not exist", file=sys.stderr)
            return
        for at in range(0, len(paths), 40):
            # --racing: other threads may live on at exit (a server's, a daemon's); the report then says so itself.
            done = subprocess.run([CHECK_REPORT, "--racing", *paths[at:at + 40]], stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=RUN_SECONDS_MAX)
            self.assertEqual(done.returncode, 0, f"scripts/check-report: {done.stdout[-3000:]}")

    def report_of_child(self, exe, allocations_min):
        """Some process whose program has this name (after any "...-" prefix) reported at least that many allocations."""
        if STANDS_IN:
            return
        counts = [sum(site["alloc_objects"] for site in report["sites"]) for report in self.reports().values()
                  if re.search(rf"(^|-){re.escape(exe)}$", os.path.basename(report["run"]["exe"]))]
        self.assertTrue(counts, f"no report by a process of {exe}")
        self.assertGreaterEqual(max(counts), allocations_min, f"allocations in the reports of {exe}")

    def quiet(self, text):
        """Log of a server: the shim must not have spoken in it. Paths of this test's own folder do not count."""
        spoken = [line for line in text.decode(errors="replace").replace(self.folder, "").splitlines()
                  if "sluice" in line.lower() or "LD_PRELOAD" in line]
        self.assertEqual(spoken, [], "the shim spoke on a server's standard error")

    # ---- servers

    def stop(self, proc, signum=signal.SIGTERM, status=0):
        """End a server as its operator would, and wait for it; its status must be the given one."""
        proc.send_signal(signum)
        try:
            code = proc.wait(RUN_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            reap(proc)
            self.fail(f"{proc.args[0]} did not end after signal {signum}")
        self.assertEqual(code, status, f"exit status of {proc.args[0]} after signal {signum}")

    def wait_ready(self, proc, port, greet=None):
        """Poll until the port accepts (and, if given, answers `greet` with anything); False if the server ended."""
        limit = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < limit:
            if answers(port, greet):
                return True
            try:
                proc.wait(0.02)  # both the pause between two attempts and the look whether it died
                return False
            except subprocess.TimeoutExpired:
                pass
        self.fail(f"{proc.args[0]} not ready on its port after {READY_SECONDS_MAX} s")

    def start_server(self, make_argv, shim, greet=None, attempts=5, **kw):
        """Start make_argv(port) on a free loopback port; another port when someone took it in between."""
        for _ in range(attempts):
            port = free_port()
            log = open(os.path.join(self.folder, f"server.{'shim' if shim else 'plain'}.log"), "w+b")
            self.addCleanup(log.close)
            proc = self.start(make_argv(port), shim, stdout=log, stderr=subprocess.STDOUT, **kw)
            if self.wait_ready(proc, port, greet):
                return proc, port, log
            log.seek(0)
            text = log.read()
            if b"in use" not in text.lower():
                break
        self.fail(f"{proc.args[0]} ended with status {proc.returncode} before it was ready: {text[-2000:]!r}")


def identity(user):
    """Popen's arguments to run as `user`: only root can and must change."""
    if not user or os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid)}


def reap(proc):
    """Kill a process we started with all its descendants, if it still runs, and collect them."""
    if proc.poll() is None:
        tree = [proc.pid, *descendants(proc.pid)]  # not its session: PostgreSQL's backends make their own
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        proc.wait()
        for pid in tree[1:]:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    for pipe in (proc.stdin, proc.stdout, proc.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def children(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
    return []


def descendants(pid):
    return [found for child in children(pid) for found in (child, *descendants(child))]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port, greet):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as conn:
            if greet is None:
                return True
            conn.sendall(greet)
            return bool(conn.recv(1))
    except OSError:
        return False


def read_files(folder, patterns):
    files = {}
    for pattern in patterns:
        for path in glob.glob(os.path.join(folder, pattern), recursive=True):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    files[os.path.relpath(path, folder)] = file.read()
    return files


def shorten(text):
    # A failed assertEqual prints both sides: keep that readable. What is cut off is compared separately.
    return text if len(text) <= 4000 else text[:2000] + b"..." + text[-2000:]


def write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path
