"""Run a victim under the shim and read what it reported: for the tests that look into the JSON.

The sibling of tests/run_victim.[ch], which the C drivers use. A run happens in a fresh folder; its reports go there
unless the test says otherwise; every one of them is held to its schema and equations by scripts/check-report. A
watchdog, far above what anything here needs, ends what hangs: it finds hangs, it does not measure.
"""

import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SLUICE_BUILD") or "build")
LIBRARY = os.path.join(BUILD, "libsluice.so")
CHECK_REPORT = os.environ.get("SLUICE_CHECK_REPORT") or os.path.join(ROOT, "scripts", "check-report")
WATCHDOG_S = 180


def victim(name):
    return os.path.join(BUILD, "tests", "victims", name)


class Run:
    """What one run left: status, out, err (text), folder, and the reports by file name."""

    def __init__(self, pid, status, out, err, folder, reports):
        self.pid, self.status, self.out, self.err, self.folder, self.reports = pid, status, out, err, folder, reports

    def only(self, program=None):
        """The one report there is, of `program` when given."""
        found = [r for r in self.reports.values()
                 if program is None or os.path.basename(r["run"]["exe"]) == program]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} reports of {program or 'any program'}, not 1: {sorted(self.reports)}; "
                                 f"stderr: {self.err}")
        return found[0]


class Case(unittest.TestCase):
    maxDiff = 6000

    def setUp(self):
        if not os.path.exists(LIBRARY):
            self.fail(f"no library at {LIBRARY}: build it (make)")

    def fresh_folder(self):
        folder = tempfile.mkdtemp(prefix="sluice-victim.")
        if not os.environ.get("SLUICE_KEEP"):
            self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def run_command(self, argv, conf="", report=None, env=None, preload=LIBRARY, folder=None, stdin=b"", cwd=None,
                    checked=True, inherit=True):
        """`report`: the option's value, "" for the default; None: a name of its own for each process, in the folder."""
        folder = folder or self.fresh_folder()
        if report is None:
            report = folder + "/%e.%p.json"
        options = ",".join(([f"report:{report}"] if report else []) + ([conf] if conf else []))
        full = {k: v for k, v in os.environ.items() if inherit and not k.startswith("SLUICE_") and k != "LD_PRELOAD"}
        if preload:
            full.update(LD_PRELOAD=preload, SLUICE_CONF=options)
        full.update(env or {})
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=full,
                                 cwd=cwd or folder, start_new_session=True)
        try:
            out, err = child.communicate(stdin, timeout=WATCHDOG_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            self.fail(f"{argv} hangs")
        paths = sorted(glob.glob(folder + "/*.json"))
        if paths and checked:
            check = subprocess.run([CHECK_REPORT, *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(check.returncode, 0, f"check-report on {argv}: {check.stdout.decode(errors='replace')}")
        reports = {}
        for path in paths:
            with open(path, encoding="utf-8") as f:
                reports[os.path.basename(path)] = json.load(f)
        return Run(child.pid, child.returncode, out.decode(errors="replace"), err.decode(errors="replace"), folder, reports)

    def run_victim(self, name, *args, **kw):
        return self.run_command([victim(name), *args], **kw)


def module_sites(report, path):
    """The report's sites whose code lies in the file `path`."""
    path = os.path.realpath(path)
    wanted = {i for i, m in enumerate(report["mappings"]) if os.path.realpath(m["path"]) == path}
    return [s for s in report["sites"] if s["mapping"] in wanted]


def call_path(report, site):
    """(file, offset) of each return address that makes the site, the leaf first: its key frames, or its own place alone."""
    stack = site.get("stack")
    frames = [site]
    if stack is not None:
        frames = [report["frames"][f] for f in report["stacks"][stack]["frames"][:site["key_frames"]]]
    paths = [report["mappings"][f["mapping"]]["path"] if f["mapping"] is not None else "" for f in frames]
    return tuple((os.path.realpath(p) if p else "", int(f["offset"], 16)) for p, f in zip(paths, frames))


def symbol_sites(report, path, symbol):
    return [s for s in module_sites(report, path) if s["symbol"] == symbol]


def main():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    unittest.main()
