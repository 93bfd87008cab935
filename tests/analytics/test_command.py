#!/usr/bin/python3
"""The command `sluice`, driven as a user drives it: good words and bad ones, real programs, signals and files.

Reports come from real runs under build/libsluice.so, or from tests/fixtures/. Every report that a run writes is held to
its schema and equations by scripts/check-report. Signals are synchronised by what the program prints, never by time.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import textwrap
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SLUICE_BUILD") or "build")
SLUICE = os.path.join(BUILD, "sluice")
LIBRARY = os.path.join(BUILD, "libsluice.so")
VICTIMS = os.path.join(BUILD, "tests", "victims")
SMALL = os.path.join(ROOT, "tests", "fixtures", "small.json")
CHECK_REPORT = os.path.join(ROOT, "scripts", "check-report")
PYTHON = "/usr/bin/python3"
WATCHDOG_S = 180  # finds hangs; measures nothing
ALLOCATES = ["/usr/bin/jq", "-n", "-c", "[range(1000)|tostring]|length"]  # prints 1000


def clean_environment(**more):
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("SLUICE_") and k not in ("LD_PRELOAD", "NO_COLOR", "DEBUGINFOD_URLS")}
    env.update(more)
    return env


class Case(unittest.TestCase):
    maxDiff = 6000

    def setUp(self):
        signal.signal(signal.SIGALRM, lambda *_: self.fail("hangs"))
        signal.alarm(WATCHDOG_S)
        self.addCleanup(signal.alarm, 0)
        self.folder = tempfile.mkdtemp(prefix="sluice-command.")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def sluice(self, *words, env=None, stdin=subprocess.DEVNULL, cwd=None, **kw):
        """Runs the command in the test's own folder; status, out and err of what came."""
        return subprocess.run([kw.pop("command", SLUICE), *words], env=clean_environment(**(env or {})), stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd or self.folder, text=True,
                              errors="replace", timeout=WATCHDOG_S, **kw)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def refused(self, words, *parts, status=2, **kw):
        """One line on standard error that holds `parts`, nothing on standard output."""
        run = self.sluice(*words, **kw)
        self.assertEqual((run.returncode, run.stdout), (status, ""), run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        self.assertTrue(run.stderr.startswith("sluice: "), run.stderr)
        for part in parts:
            self.assertIn(part, run.stderr)

    def checked(self, name):
        """A report in the folder, after check-report."""
        check = subprocess.run([CHECK_REPORT, self.path(name)], stdout=subprocess.PIPE, text=True)
        self.assertEqual(check.returncode, 0, check.stdout)
        with open(self.path(name), encoding="utf-8") as f:
            return json.load(f)


class Words(Case):
    """Help, versions and wrong words."""

    def test_version_is_the_same_everywhere(self):
        version = self.sluice("--version").stdout
        self.assertRegex(version, r"^sluice \d+\.\d+\.\d+\n$")
        with open(SMALL, encoding="utf-8") as f:
            self.assertEqual(version, f"sluice {json.load(f)['tool_version']}\n")
        with open(os.path.join(ROOT, "analytics", "sluice.1"), encoding="utf-8") as f:
            self.assertIn(f'"sluice {version.split()[1]}"', f.readline())

    def test_help(self):
        top = self.sluice("help")
        self.assertEqual((top.returncode, top.stderr), (0, ""))
        self.assertEqual(self.sluice("--help").stdout, top.stdout)
        for command in ("run", "report", "doctor", "help"):
            self.assertRegex(top.stdout, rf"(?m)^  {command} +\w")
            text = self.sluice("help", command)
            self.assertEqual((text.returncode, text.stderr), (0, ""))
            self.assertEqual(text.stdout, self.sluice(command, "--help").stdout)
            self.assertIn(f"usage: sluice {command} ", text.stdout)
            self.assertIn(f"example: sluice {command} ", text.stdout)

    def options(self):
        """(key, type) of each row in shim/options.h."""
        with open(os.path.join(ROOT, "shim", "options.h"), encoding="utf-8") as f:
            return re.findall(r'(?m)^\tX\(\w+, "(\w+)", (\w+)', f.read())

    def test_help_conf_has_every_option(self):
        table, markdown = self.sluice("help", "conf").stdout, self.sluice("help", "conf", "--markdown").stdout
        for key, _ in self.options():
            self.assertRegex(table, rf"(?m)^  {key} ")
            self.assertRegex(markdown, rf"(?m)^\| `{key}` \|")
        lines = markdown.splitlines()
        self.assertEqual(len(lines), 2 + len(self.options()))
        self.assertEqual({len(re.findall(r"(?<!\\)\|", line)) for line in lines}, {5}, "columns")

    def test_manual_page_has_every_flag_and_option(self):
        with open(os.path.join(ROOT, "analytics", "sluice.1"), encoding="utf-8") as f:
            page = f.read().replace(r"\-", "-")
        for command in ("run", "report", "doctor", "help"):
            for flag in re.findall(r"--[a-z]+", self.sluice("help", command).stdout.split("\n\n")[1]):
                self.assertIn(flag, page)
        for key, _ in self.options():
            self.assertRegex(page, rf"(?m)^\.B {key}$")

    def test_wrong_words(self):
        self.refused([], "sluice help")
        self.refused(["rnu"], "no command 'rnu'", "did you mean 'run'?")
        self.refused(["frobnicate"], "no command 'frobnicate'", "sluice help")
        self.refused(["--vresion"], "no flag --vresion")
        self.refused(["help", "rport"], "did you mean 'report'?")
        self.refused(["help", "run", "report"], "one topic")
        self.refused(["help", "--markdown"], "help conf")
        self.refused(["run"], "which program?")
        self.refused(["run", "--"], "which program?")
        self.refused(["run", "--quite", "true"], "no flag --quite", "did you mean --quiet?")
        self.refused(["run", "-x", "true"], "no flag -x")
        self.refused(["run", "-o"], "--output needs a value")
        self.refused(["run", "-o", "a,b.json", "true"], "comma")
        self.refused(["run", "-o", "", "true"], "empty")
        self.refused(["run", "--conf", "deacy:5", "true"], "no option 'deacy'", "did you mean 'decay'?")
        self.refused(["run", "--conf", "decay:soon", "true"], "from -1 to 86400000", "not 'soon'")
        self.refused(["run", "--conf", "own:maybe", "true"], "on or off", "not 'maybe'")
        self.refused(["run", "--conf", "decay", "true"], "not key:value")
        self.refused(["run", "true"], "SLUICE_CONF", "no option 'x'", env={"SLUICE_CONF": "x:1"})
        self.refused(["run", "--lib", "/no/lib.so", "true"], "/no/lib.so", "No such file")
        self.refused(["report"], "which file?")
        self.refused(["report", SMALL, SMALL], "one file")
        self.refused(["report", SMALL, "--by", "sit"], "did you mean 'site'?", "site, module, class, thread")
        self.refused(["report", SMALL, "--sort=byte"], "did you mean 'bytes'?")
        self.refused(["report", SMALL, "--top", "many"], "needs a number")
        self.refused(["report", SMALL, "--top", "-1"], "needs a number")
        self.refused(["report", SMALL, "--sort", "size"], "nothing to sort by size")
        self.refused(["report", SMALL, "--by", "thread", "--sort", "live"], "nothing to sort by live")
        self.refused(["doctor"], "which program?")
        self.refused(["doctor", "--libs", "x", "true"], "did you mean --lib?")

    def test_option_file_is_checked(self):
        good = self.write("good.conf", "# mine\n\n  decay:5 \nown:off\n")
        self.assertEqual(self.sluice("run", "-q", "--conf", f"conf:{good},own:on", "-o", "r.json", *ALLOCATES).returncode, 0)
        conf = self.checked("r.json")["run"]["conf"]
        self.assertEqual((conf["decay"], conf["own"]), ("5", "on"), "what the user says wins over the file")
        bad = self.write("bad.conf", "decay:5\nonw:off\n")
        self.refused(["run", "--conf", f"conf:{bad}", "true"], bad, "no option 'onw'", "did you mean 'own'?")
        self.refused(["run", "--conf", "conf:/no/file", "true"], "/no/file", "No such file")

    def test_full_standard_output(self):
        for words in (["help"], ["--version"], ["report", SMALL], ["report", SMALL, "--json"], ["help", "conf"]):
            with open("/dev/full", "w") as full:
                run = subprocess.run([SLUICE, *words], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual((run.returncode, run.stderr), (1, "sluice: standard output: No space left on device\n"), words)


class Report(Case):
    """`sluice report` on files."""

    def rows(self, *words):
        run = self.sluice("report", SMALL, "--json", *words)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return json.loads(run.stdout)

    def test_text_is_stable(self):
        run = self.sluice("report", SMALL, "--top", "2")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertEqual(run.stdout, textwrap.dedent("""\
            program   till --name=Jürgen "J" broken\ufffd?
            run       pid 4242, exit, 2.50 s
            allocated 1,084 blocks, 3.89 MiB asked for
            live      118 blocks, 993 KiB at the end; 966 freed
            peak      2.00 MiB of blocks (perhaps 8.00 KiB more), 5.00 MiB resident
            resident  4.07 MiB = 16.2 KiB blocks + 23.8 KiB slack + 16.0 KiB free slabs + 64.0 KiB tables + 977 KiB fallback + 3.00 MiB program + 4.00 KiB unattributed
            routes    of blocks: owned 92.3 %, shared 7.4 %, fallback 0.4 %
                      of bytes:  owned 1.5 %, shared 0.5 %, fallback 98.0 %
            fallback  because of large (4 blocks)

               bytes   share  count  average      live  blocks  route     id  site
            3.81 MiB  98.0 %      4  977 KiB   977 KiB       1  fallback   5  basket_grow+0x7 (libbasket.so.1)
            60.5 KiB   1.5 %  1,050     59 B  6.25 KiB     100  owned      0  basket_add+0x40 (libbasket.so.1) via libbasket.so.1+0x3010
            and 3 more, with 0.5 % of the bytes; --top 0 shows all
            """))

    def test_one_site(self):
        self.assertEqual(self.sluice("report", SMALL, "--site", "0").stdout, textwrap.dedent("""\
            site        0, basket_add+0x40 (libbasket.so.1) via libbasket.so.1+0x3010
            allocated   1,050 blocks, 60.5 KiB asked for, 59 B each
            live        100 blocks, 6.25 KiB at the end; 950 freed, 12 by other threads
            routes      of blocks: owned 95.2 %, shared 4.8 %
            peak        15.6 KiB (perhaps 640 B more)
            slack       19.5 KiB of slabs beyond the live blocks; explains 24.0 KiB resident
            sizes to          64 B    100 %  ##############################
            lifetimes   9 samples ended, 1 were alive at the end; they stand for 95.2 % of the allocations
            short-lived 78 % (45 to 94 %), worth 9 samples: freed before 64 KiB more were asked for
                        100 ns to 5.00 ms, 10.0 us in the mean
            time from       512 ns   94.4 %  ##############################
                           4.19 ms    5.6 %  ##
            bytes from        16 B   87.5 %  ##############################
                           128 KiB   12.5 %  ####
              frame  code                   source  function
                 0*  libbasket.so.1+0x3010  -       ?
                 1*  libbasket.so.1+0x2340  -       basket_add
                 2   0x7fff00002000         -       ?
              * makes the site; the rest is as it was first seen
            callers     exact: 60.5 KiB asked for here; sampled: 3 stacks, worth 3 equal ones, for 72.6 % of it
              who called beyond the frames that make the site, by samples:
              about 67 % (21-94), 40.4 KiB  0x7fff00002000
              about 33 % (6-79), 20.2 KiB  basket_grow+0x7 (libbasket.so.1)
              the sample's own error: of 1 sites' bytes it is <0.1 % off, and 0 of their 95 % intervals hold the exact ones
            """))
        wrong = self.sluice("report", SMALL, "--site", "7")
        self.assertEqual((wrong.returncode, wrong.stdout), (1, ""))
        self.assertIn("no site has the id 7", wrong.stderr)

    def test_sorts(self):
        def ids(sort):
            return [r["id"] for r in self.rows("--sort", sort)["rows"]]
        self.assertEqual(ids("bytes"), [5, 0, 1, 2, 3])
        self.assertEqual(ids("count"), [0, 1, 2, 5, 3])
        self.assertEqual(ids("live"), [5, 1, 0, 2, 3])
        self.assertEqual(ids("live-count"), [0, 1, 2, 5, 3])
        self.assertEqual(ids("frees"), [0, 1, 3, 5, 2])
        self.assertEqual(ids("reallocs"), [5, 0, 1, 3, 2], "ties keep the report's order")
        self.assertEqual(ids("cross-thread"), [0, 1, 3, 5, 2])
        self.assertEqual(ids("peak"), [5, 0, 1, 2, 3])
        self.assertEqual(ids("slack"), [0, 1, 3, 5, 2])
        self.assertEqual(ids("resident"), [0, 1, 3, 5, 2])
        self.assertEqual(ids("average"), [5, 1, 0, 2, 3])
        self.assertEqual(ids("name"), [3, 0, 5, 2, 1])

    def test_rows_add_up_to_the_totals(self):
        with open(SMALL, encoding="utf-8") as f:
            memory = json.load(f)["memory"]
        for by, names in (("site", None), ("module", None), ("thread", ("alloc_objects", "alloc_space"))):
            view = self.rows("--by", by)
            self.assertEqual((view["schema"], view["schema_version"], view["by"]), ("sluice.rows", "1.2", by))
            self.assertEqual(view["rows_total"], len(view["rows"]))
            for name, value in view["total"].items():
                self.assertEqual(value, memory[name])
                if names is None or name in names:
                    self.assertEqual(sum(r[name] for r in view["rows"]), value, (by, name))

    def test_by_module_and_class(self):
        modules = {r["name"]: r["alloc_objects"] for r in self.rows("--by", "module")["rows"]}
        self.assertEqual(modules, {"libbasket.so.1": 1054, "till": 20, "(no file)": 10})
        classes = [(r["size"], r["alloc_objects"], r["slots"]) for r in self.rows("--by", "class")["rows"]]
        self.assertEqual(classes, [(64, 1060, 512), (1024, 20, 16)])
        table = self.sluice("report", SMALL, "--by", "class").stdout
        self.assertRegex(table, r"(?m)^ +64 +60\.6 KiB +75\.6 % +1,060 +6\.69 KiB +107 +2 +20\.9 %$")
        threads = self.sluice("report", SMALL, "--by", "thread").stdout
        self.assertRegex(threads, r"(?m)^1\.03 MiB +26\.5 % +84 +12\.6 KiB +1\.00 s +4243  fifteen-letters$")

    def test_one_file_mapped_twice_is_one_module(self):
        with open(SMALL, encoding="utf-8") as f:
            report = json.load(f)
        report["mappings"].append(report["mappings"][1])
        report["sites"][3]["mapping"] = 2
        with open(self.write("twice.json", json.dumps(report)), encoding="utf-8") as f:
            view = self.sluice("report", "-", "--json", "--by", "module", stdin=f)
        self.assertEqual({r["name"]: r["alloc_objects"] for r in json.loads(view.stdout)["rows"]}["libbasket.so.1"], 1054)

    def test_requests(self):
        view = self.sluice("report", "--requests", SMALL).stdout
        for part in ("10 on 2 connections, 3 accepted", "12 reads, 11 writes; nothing on 1 connection,",
                     "allocates 3 times, 7.42 KiB; 99 % under 4 times, under 32.0 KiB; half take under 16.4 us",
                     "1 block by 1 site, 64 B; freed of what earlier ones had left: 2 blocks, 2.00 KiB",
                     "3, 30.0 % of the requests; they stand for 4; of 1 the time is not known; 1 more"):
            self.assertIn(part, view)
        rows = [line.split() for line in view.splitlines()]
        self.assertIn(["16.0", "KiB..", "1", "#############"], rows)
        self.assertIn(["29.3", "KiB", "1", "3", "-", "99.6", "%", "till+0x1210"], rows)
        self.assertIn(["512", "B", "1.7", "%", "11", "1", "0", "basket_add+0x40", "(libbasket.so.1)", "via",
                       "libbasket.so.1+0x3010"], rows)
        with open(SMALL, encoding="utf-8") as f:
            report = json.load(f)
        report["requests"].update(boundary=None, io_uring=True)
        self.assertIn("none: no connection was accepted, or none was looked for (option request); there is a ring",
                      self.sluice("report", "--requests", self.write("none.json", json.dumps(report))).stdout)
        del report["requests"]
        self.assertIn("none: the report does not know of them",
                      self.sluice("report", "--requests", self.write("none.json", json.dumps(report))).stdout)
        for words in (["--json"], ["--by", "module"], ["--site", "0"], ["--sort", "count"], ["--stacks"]):
            self.refused(["report", "--requests", *words, SMALL], "a view of its own", status=2)

    def test_damaged_requests(self):
        with open(SMALL, encoding="utf-8") as f:
            text = f.read()
        for damaged, key in ((text.replace('"accepted":3', '"accepted":-3'), "accepted"),
                             (text.replace('"alloc_objects_hist_log2":[', '"alloc_objects_hist_log2":["x",'), "hist_log2"),
                             (text.replace('"top":[', '"top":7,"tip":['), "top"),
                             (text.replace('"requests":{', '"requests":[],"others":{'), "requests")):
            self.assertNotEqual(damaged, text)
            self.refused(["report", "--requests", self.write("bad.json", damaged)], "bad.json", key, status=1)

    def test_damaged_files(self):
        with open(SMALL, encoding="utf-8") as f:
            text = f.read()
        cases = {
            text[:len(text) // 2]: "cut short",
            "": "empty",
            "{}": "not a report of sluice",
            "hello": "not a report of sluice",
            '{"schema":"other"}': "not a report of sluice",
            text.replace('"1.3"', '"2.0"'): "newer sluice",
            text.replace(":1084", ":-1"): "damaged",
            text.replace('"alloc_space":', '"alloc_space":{}', 1): "damaged",
            "{" * 100000: "damaged",
            '{"a":' * 100000: "damaged",
        }
        for damaged, part in cases.items():
            self.refused(["report", self.write("bad.json", damaged)], "bad.json", part, status=1)
        self.refused(["report", "missing.json"], "No such file", status=1)
        self.refused(["report", self.folder], "Is a directory", status=1)
        self.refused(["report", "/dev/zero"], "not a report", status=1)
        self.refused(["report", SLUICE], "not a report", status=1)

    def test_hostile_names_cannot_reach_the_terminal(self):
        with open(SMALL, encoding="utf-8") as f:
            text = f.read()
        text = text.replace('"basket_grow"', '"\\u001b[2J\\u0007grow\\n"').replace('"till"', '"\\u001b]0;x\\u0007"')
        run = self.sluice("report", self.write("hostile.json", text))
        self.assertEqual(run.returncode, 0)
        self.assertEqual(re.findall("[\x00-\x09\x0b-\x1f\x7f]", run.stdout), [])
        self.assertIn("?[2J?grow?", run.stdout)

    def test_paths_in_a_report_are_not_obeyed(self):
        """A report may name any file; a pipe or a device must not be read, a file of another build not be believed."""
        with open(SMALL, encoding="utf-8") as f:
            text = f.read()
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        for path in (fifo, "/dev/zero", SLUICE, self.folder, ""):
            run = self.sluice("report", self.write("paths.json", text.replace("/opt/shop/lib/libbasket.so.1", path)))
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertIn("basket_grow+0x7", run.stdout)

    def on_terminal(self, columns, **env):
        primary, secondary = pty.openpty()
        subprocess.run(["stty", "rows", "30", "cols", str(columns)], stdin=secondary, check=True)
        run = subprocess.Popen([SLUICE, "report", SMALL], stdin=secondary, stdout=secondary, stderr=secondary,
                               env=clean_environment(TERM="xterm", **env))
        os.close(secondary)
        text = b""
        while True:
            try:
                piece = os.read(primary, 65536)
            except OSError:  # EIO: the last holder of the other side is gone
                break
            text += piece
        os.close(primary)
        self.assertEqual(run.wait(WATCHDOG_S), 0)
        return text.decode().replace("\r\n", "\n")

    def test_terminal(self):
        coloured, plain = self.on_terminal(90), self.on_terminal(90, NO_COLOR="1")
        self.assertIn("\033[", coloured)
        self.assertNotIn("\033", plain)
        self.assertEqual(re.sub(r"\033\[\d*m", "", coloured), plain)
        table = plain.split("\n\n")[1].splitlines()
        self.assertEqual(max(map(len, table)), 90, "the name gives way to the width")
        self.assertIn("...", table[1])
        self.assertEqual(self.sluice("report", SMALL).stdout, self.on_terminal(200, NO_COLOR="1"))


class Doctor(Case):
    def doctor(self, *words, status, env=None):
        run = self.sluice("doctor", *words, env=env)
        self.assertEqual((run.returncode, run.stderr), (status, ""), run.stdout)
        self.assertEqual("\nsluice will act in this program.\n" in run.stdout, status == 0)
        self.assertEqual(bool(re.search(r"(?m)^NO ", run.stdout)), status != 0)
        return run.stdout

    def test_program_that_will_do(self):
        said = self.doctor("jq", status=0)
        self.assertRegex(said, r"program +/usr/bin/jq, found in PATH")
        self.assertIn("linked dynamically", said)
        self.assertIn(LIBRARY, said)

    def test_programs_where_it_will_not_act(self):
        for victim, part in (("static", "linked statically"), ("asan", "AddressSanitizer"), ("own_malloc", "defines malloc")):
            self.assertIn(part, self.doctor(os.path.join(VICTIMS, victim), status=1))

    def test_what_cannot_run(self):
        self.assertIn("No such file", self.doctor("no-such-program", status=1))
        self.assertIn("Permission denied", self.doctor(self.write("data", "x", 0o644), status=1))
        self.assertIn("Permission denied", self.doctor(self.folder, status=1))
        self.assertIn("not a program in ELF", self.doctor(self.write("elf", "\177ELF damaged", 0o755), status=1))
        said = self.doctor(self.write("script", "#!/no/interpreter\n", 0o755), status=1)
        self.assertIn("/no/interpreter", said)
        self.write("self", f"#!{self.path('self')}\n", 0o755)
        self.assertIn("Too many levels", self.doctor(self.path("self"), status=1))

    def test_scripts(self):
        for text, image in (("#!/usr/bin/jq -f\n", "/usr/bin/jq"), ("#!/usr/bin/env -S A=1 jq -f\n", "/usr/bin/jq"),
                            ("echo no first line\n", "/bin/sh"), ("#! /usr/bin/perl\n", "/usr/bin/perl")):
            self.assertIn(f"run by {image}\n", self.doctor(self.write("script", text, 0o755), status=0))

    def test_damaged_elf_files(self):
        """Files cut at many lengths, and with bytes overwritten: an answer, never a crash."""
        with open("/usr/bin/jq", "rb") as f:
            whole = f.read()
        path = self.write("elf", "", 0o755)
        for cut in list(range(16, 256, 24)) + list(range(256, len(whole), len(whole) // 40)):
            with open(path, "wb") as f:
                f.write(whole[:cut])
            self.assertIn(self.sluice("doctor", path).returncode, (0, 1))
        for at in range(16, 2000, 61):
            with open(path, "wb") as f:
                f.write(whole[:at] + b"\xff" * 8 + whole[at + 8:])
            self.assertIn(self.sluice("doctor", path).returncode, (0, 1))

    def test_valgrind(self):
        self.assertIn("valgrind", self.doctor(shutil.copy("/usr/bin/jq", self.path("valgrind")), status=1))

    def test_surroundings(self):
        self.assertIn("LD_PRELOAD is set", self.sluice("doctor", "jq", env={"LD_PRELOAD": LIBRARY}).stdout)
        limited = self.sluice("doctor", "jq", preexec_fn=lambda: __import__("resource").setrlimit(
            __import__("resource").RLIMIT_AS, (1 << 32, 1 << 32)))
        self.assertIn("limited to 4.00 GiB (RLIMIT_AS)", limited.stdout)

    @unittest.skipUnless(os.getuid() == 0, "only root can give a file to another user")
    def test_rights_that_are_gained(self):
        program = self.path("setuid")
        shutil.copy("/usr/bin/jq", program)
        os.chown(program, 65534, 65534)
        os.chmod(program, 0o4755)
        self.assertIn("is setuid", self.doctor(program, status=1))
        os.chmod(program, 0o2755)
        self.assertIn("is setgid", self.doctor(program, status=1))
        os.chown(program, 0, 0)
        os.chmod(program, 0o4755)
        self.assertIn("run by its owner", self.doctor(program, status=0))

    def test_library_beside_or_in_lib(self):
        for where in ("prefix/bin/libsluice.so", "prefix/lib/libsluice.so"):
            os.makedirs(self.path("prefix/bin"))
            os.makedirs(self.path("prefix/lib"))
            command = shutil.copy(SLUICE, self.path("prefix/bin/sluice"))
            self.assertIn("--lib", self.sluice("doctor", "jq", command=command).stdout)
            shutil.copy(LIBRARY, self.path(where))
            self.assertIn(f"library     {self.path(where)}\n", self.sluice("doctor", "jq", command=command).stdout)
            shutil.rmtree(self.path("prefix"))
        odd = shutil.copy(LIBRARY, self.path("odd name.so"))
        self.assertIn("blank", self.sluice("doctor", "--lib", odd, "jq").stdout)


class Run(Case):
    def ran(self, *words, status=0, **kw):
        run = self.sluice("run", *words, **kw)
        self.assertEqual(run.returncode, status, run.stderr)
        return run

    def test_screen_and_report(self):
        program = [PYTHON, "-c", "import json; print(1000)"]
        run = self.ran("-o", "r.json", "--", *program)
        self.assertEqual(run.stdout, "1000\n", "standard output is the program's")
        report = self.checked("r.json")
        self.assertEqual(report["run"]["argv"], program)
        lines = run.stderr.splitlines()
        self.assertEqual(lines[0], "--- sluice ---")
        self.assertEqual(lines[-1], f"report    {self.path('r.json')}")
        self.assertIn(f"allocated {report['memory']['alloc_objects']:,} blocks", run.stderr)
        for title in ("by bytes", "by count", "by live at end"):
            self.assertRegex(run.stderr, rf"(?m)^ *{title} +share ")
        self.assertLess(len(lines), 32, "one screen")
        most = max(report["sites"], key=lambda s: s["alloc_objects"])["alloc_objects"]
        self.assertRegex(run.stderr, rf"(?m)^ *by count .*\n +{most:,} ")

    def test_default_name_and_quiet(self):
        run = self.ran("-q", *ALLOCATES)
        self.assertEqual(run.stderr, "")
        files = os.listdir(self.folder)
        self.assertEqual(len(files), 1)
        self.assertEqual(files[0], f"sluice.jq.{self.checked(files[0])['run']['pid']}.json")

    def test_names_and_places(self):
        host = os.uname().nodename
        self.ran("-q", "-o", "%e-%h-[%p]?*.json", *ALLOCATES)
        self.assertRegex(os.listdir(self.folder)[0], rf"^jq-{re.escape(host)}-\[\d+\]\?\*\.json$")
        run = self.ran("-o", "%e-%h-[%p]?*.json", *ALLOCATES)
        self.assertIn("by bytes", run.stderr, "found again in spite of its name")
        os.mkdir(self.path("elsewhere"))
        moved = self.ran("-o", "moved.json", PYTHON, "-c", f"import os; os.chdir({self.path('elsewhere')!r})")
        self.assertIn(f"report    {self.path('moved.json')}\n", moved.stderr, "a program that changes its folder")
        self.assertEqual(os.listdir(self.path("elsewhere")), [])

    def test_odd_current_folder(self):
        for name in ("with,comma", "100%p"):
            os.mkdir(self.path(name))
            run = self.ran(*ALLOCATES, cwd=self.path(name))
            self.assertIn("by bytes", run.stderr)
            self.assertRegex(os.listdir(self.path(name))[0], r"^sluice\.jq\.\d+\.json$")

    def test_folder_that_refuses(self):
        name = os.path.basename(self.folder) + ".json"
        self.addCleanup(lambda: os.path.exists("/tmp/" + name) and os.unlink("/tmp/" + name))
        run = self.ran("-o", "/no/such/folder/" + name, *ALLOCATES)
        self.assertIn(f"report    /tmp/{name}\n", run.stderr)

    def test_status_and_signal_of_the_program(self):
        self.ran("sh", "-c", "exit 0")
        self.ran("sh", "-c", "exit 7", status=7)
        self.ran("sh", "-c", "exit 255", status=255)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP):
            run = self.ran("-o", "x.json", "sh", "-c", f"kill -{int(number)} $$", status=128 + number)
            self.assertIn(f"ended by signal {int(number)} ", run.stderr)
            self.assertEqual(run.stderr.count("\n"), 1)

    def test_what_cannot_run(self):
        self.refused(["run", "no-such-program"], "no-such-program", "No such file", status=127)
        self.refused(["run", self.write("data", "x")], "Permission denied", status=126)
        self.refused(["run", self.folder], "Permission denied", status=126)
        self.refused(["run", self.write("elf", "\177ELF damaged", 0o755)], "not a program in ELF", status=126)
        self.refused(["run", self.write("script", "#!/no/interpreter\n", 0o755)], "/no/interpreter", status=127)

    def test_words_of_the_program_are_its_own(self):
        self.assertEqual(self.ran("-q", "echo", "-o", "--conf", "--", "-q").stdout, "-o --conf -- -q\n")
        self.assertEqual(self.ran("-q", "--", "sh", "-c", 'echo "$@"', "a", "--help").stdout, "--help\n")
        self.assertEqual(self.ran("-q", "sh", "-c", 'echo "$@"', "a", "--help").stdout, "--help\n")
        self.assertEqual(self.ran("-q", "sh", "-c", 'echo "$0" "$1"', "a", "").stdout, "a \n")

    def test_script_without_a_first_line(self):
        script = self.write("script", 'echo "$0 $1 $#"\n', 0o755)
        self.assertEqual(self.ran("-q", script, "b", "c").stdout, f"{script} b 2\n")

    def test_environment_of_the_program(self):
        names = ("LD_PRELOAD", "SLUICE_CONF", "SLUICE_RUN_PID")
        code = f"import os; print(os.getpid(), *(os.environ.get(n) for n in {names!r}))"
        run = self.ran("-q", "-o", "r.json", "--conf", "decay:7", "--conf", "own:off", PYTHON, "-c", code,
                       env={"SLUICE_CONF": "decay:1,site_max:1M", "LD_PRELOAD": "libm.so.6"})
        pid, preload, conf, run_pid = run.stdout.split()
        self.assertEqual(preload, f"{LIBRARY}:libm.so.6")
        self.assertEqual(dict(c.split(":", 1) for c in conf.split(",")),
                         {"report": self.path("r.json"), "decay": "7", "site_max": "1M", "own": "off"})
        self.assertEqual(run_pid, pid)
        self.assertEqual(self.checked("r.json")["run"]["conf"]["decay"], "7")
        twice = self.ran("-q", "-o", "r.json", "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": LIBRARY})
        self.assertEqual(twice.stdout, LIBRARY + "\n", "not twice")

    def test_report_off(self):
        run = self.ran("--conf", "report:off", *ALLOCATES)
        self.assertEqual((run.stdout, run.stderr, os.listdir(self.folder)), ("1000\n", "", []))

    def test_exec_and_children(self):
        """The report shown is the last one of the main process; children do not take its name."""
        run = self.ran("-o", "r.json", "sh", "-c", f"{PYTHON} -c 'import json'; exec {' '.join(ALLOCATES[:-1])} '1000'")
        self.assertEqual(run.stdout, "1000\n")
        self.assertIn("program   /usr/bin/jq -n -c 1000\n", run.stderr)
        self.assertEqual(os.path.basename(self.checked("r.json")["run"]["exe"]), "jq")

    def test_other_processes_are_counted(self):
        """Reports of children beside the one that is shown, not those of earlier runs."""
        program = ["sh", "-c", f"for i in 1 2 3; do {PYTHON} -c pass; done; exit 0"]
        for args in (["-o", "with.json"], []):
            for earlier in ("with.json", "with.1.json", "sluice.dash.1.json"):
                shutil.copy(SMALL, self.path(earlier))
                os.utime(self.path(earlier), (0, 0))
            run = self.ran(*args, *program)
            self.assertRegex(run.stderr, r"report    \S+, and 3 more beside it of other processes\n$")
        self.assertNotIn("more beside it", self.ran("-o", "alone.json", *ALLOCATES).stderr)

    def test_report_of_an_earlier_run_is_not_shown(self):
        shutil.copy(SMALL, self.path("r.json"))
        run = self.ran("-o", "r.json", "sh", "-c", "kill -9 $$", status=137)
        self.assertIn("no report", run.stderr)
        self.assertNotIn("till", run.stderr)

    def test_programs_where_it_does_not_act(self):
        for victim, part in (("static", "linked statically"), ("asan", "AddressSanitizer"), ("own_malloc", "defines malloc")):
            plain = subprocess.run([os.path.join(VICTIMS, victim)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            run = self.sluice("run", os.path.join(VICTIMS, victim))
            self.assertEqual((run.returncode, run.stdout), (plain.returncode, plain.stdout))
            self.assertEqual(run.stderr.count("\n"), plain.stderr.count("\n") + 1, run.stderr)
            self.assertIn("runs without sluice, no report: ", run.stderr)
            self.assertIn(part, run.stderr)
            self.assertEqual(os.listdir(self.folder), [])

    def test_library_that_is_none(self):
        run = self.ran("--lib", SMALL, *ALLOCATES)
        self.assertEqual(run.stdout, "1000\n")
        self.assertIn("no report", run.stderr)

    def test_closed_and_broken_standard_error(self):
        self.ran(*ALLOCATES, preexec_fn=lambda: os.close(2))
        ends = os.pipe()
        os.close(ends[0])
        run = subprocess.run([SLUICE, "run", *ALLOCATES], env=clean_environment(), cwd=self.folder, stderr=ends[1],
                             stdout=subprocess.PIPE)
        os.close(ends[1])
        self.assertEqual((run.returncode, run.stdout), (0, b"1000\n"))


# Prints its pid, then each signal it gets; ends at "end" on standard input, with what it counted.
COUNTS_SIGNALS = """
import os, signal, sys
def handler(number, frame):
    os.write(1, b"got %d\\n" % number)
for number in map(int, sys.argv[1:]):
    signal.signal(number, handler)
os.write(1, b"pid %d\\n" % os.getpid())
while True:
    if os.read(0, 1) in (b"e", b""):
        break
os.write(1, b"end\\n")
"""
PASSED_ON = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH]


class Signals(Case):
    def setUp(self):
        super().setUp()
        for number in (signal.SIGINT, signal.SIGQUIT):  # a shell ignores them for what it runs in the background
            before = signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            self.addCleanup(signal.signal, number, before)

    def start(self, *numbers, **kw):
        program = [PYTHON, self.write("counts.py", COUNTS_SIGNALS), *map(str, map(int, numbers))]
        run = subprocess.Popen([SLUICE, "run", "-q", *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, cwd=self.folder, env=clean_environment(), bufsize=0, **kw)
        self.addCleanup(run.communicate)
        self.addCleanup(lambda: run.poll() is None and (run.send_signal(signal.SIGCONT), run.kill()))
        pid = int(self.line(run).split()[1])
        self.addCleanup(self.end, pid)
        return run, pid

    def end(self, pid):
        """Ends a program that a failed test left behind."""
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if self.folder.encode() in f.read():
                    os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

    def line(self, run):
        ready, _, _ = select.select([run.stdout], [], [], WATCHDOG_S)
        self.assertTrue(ready, "hangs")
        return run.stdout.readline().decode().strip()

    def test_signals_are_passed_on(self):
        run, _ = self.start(*PASSED_ON)
        for number in PASSED_ON:
            run.send_signal(number)
            self.assertEqual(self.line(run), f"got {int(number)}")
        out, err = run.communicate(b"e", timeout=WATCHDOG_S)
        self.assertEqual((run.returncode, out, err), (0, b"end\n", b""))

    def test_signal_that_ends_the_program(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            run, _ = self.start()
            run.send_signal(number)
            run.wait(timeout=WATCHDOG_S)  # not communicate: that closes the standard input, which ends the program too
            # Python turns an INT into an exception and then ends itself by the same signal
            self.assertEqual(run.returncode, 128 + number)

    def test_ignored_signals_stay_ignored(self):
        run, pid = self.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        run.send_signal(signal.SIGHUP)
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            status = f.read()
        self.assertTrue(int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16) & 1, "nohup must reach program")
        self.assertEqual(int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16), 0, "nothing is blocked for program")
        out, _ = run.communicate(b"e", timeout=WATCHDOG_S)
        self.assertEqual((run.returncode, out), (0, b"end\n"))

    def test_ignored_child_signal(self):
        run, pid = self.start(preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            ignored = int(re.search(r"SigIgn:\s*(\w+)", f.read())[1], 16)
        self.assertTrue(ignored & (1 << (signal.SIGCHLD - 1)), "as the program would have found it")
        run.communicate(b"e", timeout=WATCHDOG_S)
        self.assertEqual(run.returncode, 0)

    def test_job_control(self):
        """Stop: both stop, and who started us sees it. Continue: both go on."""
        for target in ("command", "program", "group"):
            run, pid = self.start(signal.SIGCONT, preexec_fn=os.setpgrp)
            for _ in range(3):
                if target == "group":
                    os.killpg(run.pid, signal.SIGTSTP)
                else:
                    os.kill(run.pid if target == "command" else pid, signal.SIGTSTP)
                self.assertTrue(os.WIFSTOPPED(os.waitpid(run.pid, os.WUNTRACED)[1]))
                with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                    self.assertEqual(f.read().rsplit(")", 1)[1].split()[0], "T")
                os.kill(run.pid, signal.SIGCONT)
                self.assertEqual(self.line(run), f"got {int(signal.SIGCONT)}")
            out, _ = run.communicate(b"e", timeout=WATCHDOG_S)
            self.assertEqual(run.returncode, 0)
            self.assertEqual(set(out.decode().split("\n")) - {"end", f"got {int(signal.SIGCONT)}", ""}, set())

    def test_terminal_signals_arrive_once(self):
        """^C on a terminal goes to the whole group. The command is stopped until the program has taken its own, so that a
        second one could not melt into it; a USR1 sent through the command afterwards shows that none came."""
        program = self.write("counts.py", COUNTS_SIGNALS)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execve(SLUICE, ["sluice", "run", "-q", PYTHON, program, "2", "10"], clean_environment())
        text = b""

        def until(part):
            nonlocal text
            while part not in text:
                ready, _, _ = select.select([terminal], [], [], WATCHDOG_S)
                self.assertTrue(ready, f"hangs after {text!r}")
                text += os.read(terminal, 4096)

        until(b"pid ")
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)
        os.write(terminal, b"\x03")
        until(b"got 2")
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGUSR1)
        until(b"got 10")
        os.write(terminal, b"e\n")
        until(b"end")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(terminal)
        self.assertEqual(text.count(b"got 2"), 1, text)


class CheckReport(Case):
    """scripts/check-report finds what it is there to find."""

    def setUp(self):
        super().setUp()
        self.changes = []

    def differs(self, change, *parts):
        """Notes a change of the good report, and what must be said of it; all are judged in one go at the test's end."""
        with open(SMALL, encoding="utf-8") as f:
            report = json.load(f)
        change(report)
        self.changes.append((self.write(f"changed{len(self.changes)}.json", json.dumps(report)), parts))

    def judge(self):
        check = subprocess.run([CHECK_REPORT, *(path for path, _ in self.changes)], stdout=subprocess.PIPE, text=True)
        self.assertEqual(check.returncode, 1)
        for path, parts in self.changes:
            said = "".join(line for line in check.stdout.splitlines(True) if line.startswith(path + ":"))
            self.assertTrue(said, f"nothing said of a report that must say {parts}")
            for part in parts:
                self.assertIn(part, said)

    def test_good(self):
        self.assertEqual(subprocess.run([CHECK_REPORT, SMALL, SMALL]).returncode, 0)

    def test_every_counter_of_every_tally_is_held(self):
        with open(SMALL, encoding="utf-8") as f:
            report = json.load(f)
        names = ["alloc_objects", "alloc_space", "free_objects", "inuse_objects", "inuse_space", "inherited_objects",
                 "inherited_space"]
        renamed = {"alloc_objects": "nmalloc", "free_objects": "ndalloc", "inuse_objects": "curregs"}
        for name in names:
            for i in range(len(report["sites"])):
                self.differs(lambda r: r["sites"][i].update({name: r["sites"][i][name] + 1}), "sum of sites")
            for i in range(len(report["classes"])):
                key = renamed.get(name, name)
                self.differs(lambda r: r["classes"][i].update({key: r["classes"][i][key] + 1}), "classes and fallback")
            for route in report["routing"]:
                self.differs(lambda r: r["routing"][route].update({name: r["routing"][route][name] + 1}), "sum of routes")
            self.differs(lambda r: r["memory"].update({name: r["memory"][name] + 1}), "sum of sites", "sum of routes")
        self.judge()

    def test_splits_and_bounds(self):
        self.differs(lambda r: r["sites"][0]["routes"]["owned"].update(alloc_space=1), "site 0: sum of routes, alloc_space")
        self.differs(lambda r: r["sites"][0]["routes"].pop("shared"), "route shared: sum over sites")
        self.differs(lambda r: r["routing"]["fallback"]["reasons"].update(large=5), "reasons")
        self.differs(lambda r: r["memory"].update(requested=5), "memory.requested")
        self.differs(lambda r: r["memory"].update(peak_allocated=5), "peak_allocated")
        self.differs(lambda r: r["classes"][0].update(slots=5), "slabs that hold 5")
        self.differs(lambda r: r["sites"][0].update(mapping=2), "mapping 2 of 2")
        self.differs(lambda r: r["sites"][0].update(realloc_objects=5000), "reallocs")
        self.differs(lambda r: r["sites"][0].update(cross_thread_free_objects=951), "frees by other threads")
        self.differs(lambda r: r["sites"].reverse(), "other is not the last")
        self.judge()

    def test_schema_and_keys(self):
        self.differs(lambda r: r["run"].pop("pid"), "'pid' is a required property")
        self.differs(lambda r: r["run"].update(pid="1"), "$.run.pid", "integer")
        self.differs(lambda r: r["sites"][0].update(extra=1), "$.sites[0].extra", "does not name this key")
        self.differs(lambda r: r.update(extra=1), "$.extra")
        self.differs(lambda r: r["routing"].update(extra={}), "$.routing.extra")
        self.judge()

    def test_racing_is_only_for_reports_that_say_so(self):
        with open(SMALL, encoding="utf-8") as f:
            report = json.load(f)
        report["sites"][0]["free_objects"] += 1
        path = self.write("racing.json", json.dumps(report))
        self.assertEqual(subprocess.run([CHECK_REPORT, "--racing", path], stdout=subprocess.PIPE).returncode, 1)
        report["quality"].update(site_counts="racing", live_threads=1)
        path = self.write("racing.json", json.dumps(report))
        self.assertEqual(subprocess.run([CHECK_REPORT, path], stdout=subprocess.PIPE).returncode, 1)
        self.assertEqual(subprocess.run([CHECK_REPORT, "--racing", path], stdout=subprocess.PIPE).returncode, 0)

    def test_broken_files(self):
        for text in ("", "{", "[]", "null", '{"schema":1,"schema":2}'):
            path = self.write("broken.json", text)
            self.assertEqual(subprocess.run([CHECK_REPORT, path], stdout=subprocess.PIPE).returncode, 1, text)
        self.assertEqual(subprocess.run([CHECK_REPORT], stderr=subprocess.PIPE).returncode, 2)


if __name__ == "__main__":
    unittest.main()
