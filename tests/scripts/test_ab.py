#!/usr/bin/python3
"""scripts/ab as people call it: the command line on real programs, servers and signals; the arithmetic is in
test_ab_stats.py, what the output looks like in test_ab_output.py.

After every run of it nothing may be left: the test is the reaper of orphans (PR_SET_CHILD_SUBREAPER), so a process that
outlives scripts/ab becomes a child of ours and is seen; and the folder for its scratch files must be empty.

Programs under test are held where a test wants them by two FIFOs: they say "started" into one and wait for a word from
the other. So a signal arrives in the middle of a run because the run cannot end before. Bounds in seconds are against
hangs only."""

import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SLUICE_BUILD") or "build")
PYTHON = "/usr/bin/python3"
AB = [PYTHON, os.path.join(ROOT, "scripts", "ab")]
BENCH = os.path.join(BUILD, "bench")
PLANTED, SLOW = os.path.join(BENCH, "planted"), os.path.join(BENCH, "libslow_malloc.so")
SLUICE = os.path.join(BUILD, "libsluice.so")
QUICK = ["--allocators", "glibc,sluice", "--blocks", "2"]
HANG_S = 120
MIB = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

ACT = r"""
/* act MODE...: a program whose doings are known. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void touch(size_t mib)
{
	char *p = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(p, 1, mib << 20);
}

static void say(const char *fifo, const char *word)
{
	int fd = open(fifo, O_WRONLY);
	dprintf(fd, "%s\n", word);
	close(fd);
}

int main(int argc, char **argv)
{
	if (!strcmp(argv[1], "touch")) {
		touch(atoi(argv[2]));
	} else if (!strcmp(argv[1], "tree")) { /* N processes of MIB each, alive at once for a while */
		for (int i = 0; i < atoi(argv[2]); i++)
			if (fork() == 0) {
				touch(atoi(argv[3]));
				struct timespec life = {0, 200000000};
				nanosleep(&life, NULL);
				_exit(0);
			}
		while (wait(NULL) > 0) {
		}
	} else if (!strcmp(argv[1], "daemon")) { /* leaves a daemon behind, which burns CPU until it is killed */
		int ready[2];
		char byte;
		if (pipe(ready))
			return 1;
		if (fork() == 0) {
			setsid();
			if (fork() != 0)
				_exit(0);
			signal(SIGTERM, SIG_IGN);
			signal(SIGHUP, SIG_IGN);
			clock_t until = clock() + CLOCKS_PER_SEC / 20;
			while (clock() < until) {
			}
			close(ready[0]);
			close(ready[1]);
			for (;;)
				pause();
		}
		close(ready[1]);
		while (wait(NULL) > 0) {
		}
		if (read(ready[0], &byte, 1) != 0)
			return 1;
	} else if (!strcmp(argv[1], "stubborn")) { /* asked to end, does not; nor does its child in a session of its own */
		signal(SIGTERM, SIG_IGN);
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		if (fork() == 0)
			setsid();
		else
			say(argv[2], "started");
		for (;;)
			pause();
	} else if (!strcmp(argv[1], "kill")) {
		raise(atoi(argv[2]));
	}
	printf("done\n");
	return 0;
}
"""

OWN_MALLOC = r"""
#include <stddef.h>
#include <stdio.h>
static char heap[1 << 20];
static size_t used;
void *malloc(size_t bytes) { void *p = heap + used; used += (bytes + 15) / 16 * 16; return p; }
void free(void *p) { (void)p; }
int main(void) { puts("own"); return 0; }
"""

SERVER = """
import os, socket, sys
with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", int(sys.argv[1])))
    except OSError as e:
        sys.exit("cannot bind: " + str(e))
    s.listen()
    while True:
        with s.accept()[0] as c:
            c.sendall(str(os.getpid()).encode())
"""

# The first time it finds its port taken, by a socket that it opened itself: the system says so, as if it were a thief's.
ROBBED = """
import os, socket, sys
if not os.path.exists(sys.argv[2]):
    open(sys.argv[2], "w").close()
    thief = socket.create_server(("127.0.0.1", int(sys.argv[1])))
""" + SERVER

ASK = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60) as c:
        assert c.recv(100)
print("asked %s times; rate: %d.5/s" % (sys.argv[2], 100 * int(sys.argv[2])))
"""

FETCH = """
import sys, urllib.request
for _ in range(int(sys.argv[2])):
    assert len(urllib.request.urlopen("http://127.0.0.1:%s/page" % sys.argv[1]).read()) == 1000
"""

# Which process serves the port?
PID = """
import socket, sys
print(socket.create_connection(("127.0.0.1", int(sys.argv[1]))).recv(99).decode())
"""

# Who allocates for redis? Its own jemalloc's count of bytes, and which libraries it has, after 4 MiB of values.
REDIS_PROBE = """
import re, subprocess, sys
ask = lambda *words: subprocess.run(["redis-cli", "-p", sys.argv[1], *words], check=True, capture_output=True, text=True).stdout
for i in range(64):
    ask("setrange", "k%d" % i, "65535", "x")
pid = re.search(r"process_id:(\\d+)", ask("info", "server"))[1]
own = re.search(r"Allocated: (\\d+)", ask("memory", "malloc-stats"))
maps = open("/proc/%s/maps" % pid).read()
with open(sys.argv[2], "a") as f:
    libraries = sorted(set(re.findall(r"lib(?:glibc_malloc|sluice|jemalloc)", maps)))
    f.write("%s %s\\n" % (own[1] if own else "none", ",".join(libraries)))
print("value 1")
"""


def setUpModule():
    global PROGRAMS
    for needed in (os.path.join(BENCH, "meter"), PLANTED, SLOW, SLUICE):
        if not os.path.exists(needed):
            raise AssertionError(f"not built: {needed}; `make binaries` builds what the tests need")
    PROGRAMS = tempfile.mkdtemp(prefix="sluice-ab-test.")
    unittest.addModuleCleanup(shutil.rmtree, PROGRAMS, ignore_errors=True)
    os.chmod(PROGRAMS, 0o755)
    for name, text in (("server", SERVER), ("robbed", ROBBED), ("ask", ASK), ("fetch", FETCH), ("pid", PID),
                       ("redis_probe", REDIS_PROBE)):
        with open(program(name + ".py"), "w", encoding="ascii") as f:
            f.write(text)
    compile_c("act", ACT)
    compile_c("own", OWN_MALLOC, "-fno-builtin")
    compile_c("static", "int main(void) { return 0; }", "-static")


def program(name):
    return os.path.join(PROGRAMS, name)


def compile_c(name, text, *flags):
    subprocess.run(["gcc", "-O1", "-w", *flags, "-x", "c", "-", "-o", program(name)], input=text, text=True, check=True)


def python(script, *words):
    """A command line for --server and its like. -I -S: a quick start, and nothing of the caller's."""
    return " ".join([PYTHON, "-I", "-S", program(script + ".py"), *words])


def kill_orphans():
    """Kills what was left to us, and says what it was."""
    named, limit = [], 50
    while limit and reap() and (pids := children()):
        for pid in pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                named.append(f.read().replace(b"\0", b" ").decode(errors="replace").strip() or str(pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        limit -= 1
    return named


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as f:
        return [int(word) for word in f.read().split()]


def reap():
    """Collects what has ended; False when there are no children at all."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


def all_ended(seconds):
    """Waits until every orphan has ended, woken by each end; False when one lives longer than that."""
    while reap() and (pids := children()):
        watched = [fd for pid in pids if (fd := pidfd(pid)) is not None]
        try:
            if watched and not select.select(watched, [], [], seconds)[0]:
                return False
        finally:
            for fd in watched:
                os.close(fd)
    return True


def pidfd(pid):
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


class Done:
    """One run of scripts/ab: status, out, err, and `doc`, the only result of the JSON file (None without one)."""

    def __init__(self, status, out, err, path):
        self.status, self.out, self.err, self.doc = status, out, err, None
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.doc = json.load(f)["results"][0]

    def runs(self, variant=None):
        return [r for r in self.doc["runs"] if variant in (None, r["variant"])]

    def variants(self):
        return [v["name"] for v in self.doc["variants"]]

    def comparison(self, variant, metric):
        return next(c for c in self.doc["comparisons"] if (c["variant"], c["metric"]) == (variant, metric))

    def values(self, key, variant=None):
        return [r["values"][key] for r in self.runs(variant)]


class Case(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-ab-test.")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(kill_orphans)
        os.chmod(self.folder, 0o755)
        self.here, self.temporary, self.side = (self.make(n) for n in ("here", "temporary", "side"))
        self.json = os.path.join(self.folder, "out.json")
        self.started = self.go = None

    def make(self, name):
        path = os.path.join(self.folder, name)
        os.mkdir(path)
        return path

    def environment(self, env):
        ours = {k: v for k, v in os.environ.items() if k not in ("SLUICE_CONF", "LD_PRELOAD", "NO_COLOR")}
        ours.update({"TMPDIR": self.temporary, "SIDE": self.side, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"})
        ours.update(env or {})
        return ours

    def start(self, *args, env=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE):
        if os.path.exists(self.json):
            os.unlink(self.json)
        # SIGINT as a shell's foreground has it: whoever runs us may be in the background, where it is ignored.
        return subprocess.Popen([*AB, "--json", self.json, *args], cwd=self.here, env=self.environment(env), stdin=stdin,
                                stdout=stdout, stderr=subprocess.PIPE, text=True, start_new_session=True,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def finish(self, running):
        try:
            out, err = running.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            self.fail(f"scripts/ab did not end within {HANG_S} s")
        done = Done(running.returncode, out or "", err, self.json)
        self.assertNotIn("Traceback", done.err)
        return done

    def nothing_left(self):
        self.assertTrue(all_ended(20), f"still running: {kill_orphans()}")
        self.assertEqual(os.listdir(self.temporary), [], "scratch files left behind")

    def ab(self, *args, status=0, **kw):
        """Runs scripts/ab to its end, which must be of that status and leave nothing behind."""
        done = self.finish(self.start(*args, **kw))
        self.assertEqual(done.status, status, f"{args}\n{done.out}{done.err}")
        self.nothing_left()
        return done

    def refused(self, *args, says, **kw):
        """Wrong usage, or nothing to be run: status 2, one clear error, no table."""
        done = self.ab(*args, status=2, **kw)
        self.assertRegex(done.err, says)
        self.assertEqual(done.out, "")
        return done

    # ---- the FIFOs

    def hold(self):
        """Makes the FIFOs, both ends kept open so that no open of a program's waits for us."""
        fds = []
        for name in ("started", "go"):
            os.mkfifo(os.path.join(self.side, name))
            fds.append(os.open(os.path.join(self.side, name), os.O_RDWR))
            self.addCleanup(os.close, fds[-1])
        self.started, self.go = fds

    def let(self, times):
        os.write(self.go, b"go\n" * times)

    def wait_started(self, times, running):
        """Until that many programs said so. Fails when scripts/ab ends before."""
        seen = 0
        end = pidfd(running.pid)
        try:
            while seen < times:
                ready = select.select([self.started, end], [], [], HANG_S)[0]
                if self.started not in ready:
                    self.fail(f"{seen} of {times} starts, then: {self.finish(running).err if ready else 'nothing'}")
                seen += os.read(self.started, 4096).count(b"\n")
        finally:
            os.close(end)
        self.assertEqual(seen, times)

    HELD = 'echo started >"$SIDE/started"; read word <"$SIDE/go"; echo "$word"'


class Commands(Case):
    def test_every_run_is_in_the_json_and_the_table_on_stdout(self):
        done = self.ab("--allocators", "glibc,sluice", "--blocks", "6", "--until", "0", "--seed", "7",
                       "--", PLANTED, "2000", "100")
        self.assertEqual(done.variants(), ["glibc", "control", "sluice"])
        self.assertEqual((done.doc["blocks"], done.doc["stopped"], done.doc["seed"]), (6, "blocks", 7))
        self.assertEqual([r["order"] for r in done.runs()], list(range(21)))
        for block in range(7):
            self.assertEqual(sorted(r["variant"] for r in done.runs() if r["block"] == block), ["control", "glibc", "sluice"])
        for run in done.runs():
            self.assertEqual(run["status"], 0)
            self.assertGreater(run["values"]["wall_ns"], 0)
            self.assertGreater(run["values"]["peak_rss_bytes"], 100000)
        self.assertEqual(len({r["digest"] for r in done.runs()}), 1)
        self.assertEqual([v["preload"] for v in done.doc["variants"]], ["", "", SLUICE])
        for text in ("CPU time", "glibc", "glibc again", "sluice", "noise floor", "6 blocks"):
            self.assertIn(text, done.out)
        self.assertEqual(done.err, "", "nothing but the table when there is no terminal")
        self.assertNotRegex(done.out, "[\x1b\r]")
        self.assertTrue(done.out.startswith(PLANTED + " 2000 100\n"))

    def test_default_is_every_allocator_found(self):
        done = self.ab("--blocks", "1", "--", "true")
        listed = re.findall(r"^  (\w+) +(no preload|/\S+)$", self.ab("--list").out, re.M)
        self.assertEqual([n for n in done.variants() if n != "control"], [name for name, _ in listed])
        self.assertLessEqual({"glibc", "sluice"}, set(done.variants()))

    def test_one_that_is_not_there_is_left_out_with_the_reason(self):
        done = self.ab("--blocks", "1", "--", "true", env={"SLUICE_LIB": "/nowhere/libsluice.so"})
        self.assertNotIn("sluice", done.variants())
        self.assertRegex(done.out, r"left out: sluice: no library at /nowhere/libsluice.so")

    def test_the_same_table_again(self):
        done = self.ab(*QUICK, "--", "sh", "-c", "echo hello")
        kept = os.path.join(self.folder, "kept.json")
        os.rename(self.json, kept)
        again = subprocess.run([*AB, "--from", kept], capture_output=True, text=True, cwd=self.here, env=self.environment(None))
        self.assertEqual((again.returncode, again.stdout, again.stderr), (0, done.out, ""))

    def test_list(self):
        done = self.ab("--list")
        self.assertRegex(done.out, r"(?m)^  redis +\S")
        self.assertRegex(done.out, r"(?m)^  sluice +" + re.escape(SLUICE) + "$")

    def test_quiet(self):
        done = self.ab(*QUICK, "--quiet", "--", "true")
        self.assertEqual((done.out, done.err), ("", ""))
        self.assertEqual(len(done.runs()), 9)

    def test_reader_of_the_table_that_goes_away(self):
        """`scripts/ab ... | head -1`: no complaint, and the files and the exit status are what they would be."""
        for more, status in ((), 0), (("--fail-if", "nonsense<1"), 2):
            reader, writer = os.pipe()
            os.close(reader)
            running = self.start(*QUICK, *more, "--", "true", stdout=writer)
            os.close(writer)
            done = self.finish(running)
            self.assertEqual(done.status, status, done.err)
            self.assertEqual(len(done.err.splitlines()), len(more) // 2, done.err)
            self.assertEqual(len(done.runs()), 9)
            self.nothing_left()

    def test_runs_in_the_callers_folder_and_leaves_nothing_there(self):
        with open(os.path.join(self.here, "file"), "w", encoding="ascii") as f:
            f.write("abc")
        done = self.ab(*QUICK, "--", "sh", "-c", 'pwd >>"$SIDE/pwd"; cat file; exec jq . /dev/null')
        self.assertEqual(set(self.lines("pwd")), {self.here})
        self.assertEqual({r["status"] for r in done.runs()}, {0})
        self.assertEqual(os.listdir(self.here), ["file"], "sluice's reports go elsewhere")

    def lines(self, name):
        with open(os.path.join(self.side, name), encoding="utf-8") as f:
            return f.read().splitlines()

    def test_standard_input(self):
        with open(os.path.join(self.here, "in"), "w", encoding="ascii") as f:
            f.write("from the file\n")
        self.ab(*QUICK, "--stdin", "in", "--", "sh", "-c", 'cat >>"$SIDE/seen"')
        self.assertEqual(self.lines("seen"), ["from the file"] * 9)
        self.ab(*QUICK, "--", "sh", "-c", 'cat >>"$SIDE/none"', stdin=None)  # ours, whatever it is, is not read
        self.assertEqual(self.lines("none"), [])

    def test_work_is_fresh_each_time(self):
        self.ab(*QUICK, "--", "sh", "-c", 'mkdir {work}/made && echo {work} >>"$SIDE/work" && ls {work}')
        self.assertEqual(len(set(self.lines("work"))), 9)
        self.assertTrue(all(path.startswith(self.temporary + "/") for path in self.lines("work")))

    def test_settings_of_a_variant(self):
        reports = self.make("reports")
        self.ab("--allocators", "glibc", "--blocks", "1", "--with", "plain=sluice",
                "--with", "lean=sluice,SLUICE_CONF=budget:0,decay:0,ANOTHER=a=b",
                "--with", f"told=sluice,SLUICE_CONF=report:{reports}/%p.json",
                "--", "sh", "-c", 'echo "$SLUICE_CONF|$ANOTHER|${LD_PRELOAD##*/}" >>"$SIDE/conf"; exec jq . /dev/null')
        seen = sorted(set(self.lines("conf")), key=lambda line: (line.count("|") and len(line.split("|")[2]), line))
        scratch = f"report:{re.escape(self.temporary)}/[^|,]*json"
        for line, wanted in zip(seen, (r"\|\|", rf"budget:0,decay:0,{scratch}\|a=b\|libsluice.so",)):
            self.assertRegex(line, f"^{wanted}$")
        kinds = {re.sub(scratch, "R", line) for line in seen}
        self.assertEqual(kinds, {"||", "R||libsluice.so", "budget:0,decay:0,R|a=b|libsluice.so",
                                 f"report:{reports}/%p.json||libsluice.so"})
        self.assertEqual(len(os.listdir(reports)), 2, "warm-up and a block, each with its report")

    def test_the_callers_sluice_conf_is_kept(self):
        self.ab(*QUICK, "--", "sh", "-c", 'echo "$SLUICE_CONF" >>"$SIDE/conf"', env={"SLUICE_CONF": "pool_max:1M"})
        kinds = {re.sub(f"report:{re.escape(self.temporary)}.*json", "R", line) for line in self.lines("conf")}
        self.assertEqual(kinds, {"pool_max:1M", "pool_max:1M,R"})

    def test_the_callers_preload_is_no_row(self):
        """Under a preload of the caller's glibc's row would be that allocator's."""
        done = self.ab(*QUICK, "--", "sh", "-c", 'echo "$LD_PRELOAD" >>"$SIDE/preload"', env={"LD_PRELOAD": SLOW})
        self.assertEqual(set(self.lines("preload")), {"", SLUICE})
        self.assertRegex(done.err, "LD_PRELOAD")

    def test_numbers_from_the_output(self):
        done = self.ab(*QUICK, "--metric", "items:/s=([0-9.]+) items", "--metric", "p99:us=p99 ([0-9]+)", "--",
                       "sh", "-c", "echo 12.5 items; echo p99 30")
        self.assertEqual((set(done.values("items_per_s")), set(done.values("p99_ns"))), ({12.5}, {30000.0}))
        done = self.ab(*QUICK, "--metrics", r"us=^(?P<name>\w+) took (?P<value>\d+)", "--",
                       "sh", "-c", "echo sort took 5; echo merge took 7")
        self.assertEqual((set(done.values("sort_ns")), set(done.values("merge_ns"))), ({5000.0}, {7000.0}))

    def test_a_script_with_env(self):
        script = os.path.join(self.here, "script")
        with open(script, "w", encoding="ascii") as f:
            f.write('#!/usr/bin/env sh\necho "${LD_PRELOAD##*/}" >>"$SIDE/seen"\n')
        os.chmod(script, 0o755)
        self.ab(*QUICK, "--", "./script")
        self.assertEqual(sorted(self.lines("seen")), [""] * 6 + ["libsluice.so"] * 3)

    def test_stops_when_decided_or_at_the_budget(self):
        # The same count each time: --until decides by CPU time, which differs, so ask for what any run fulfils.
        done = self.ab("--allocators", "glibc", "--blocks", "400", "--until", "99%", "--", PLANTED, "20000", "1000")
        self.assertEqual((done.doc["stopped"], done.doc["blocks"]), ("decided", 6))
        done = self.ab("--allocators", "glibc", "--blocks", "100000", "--until", "0", "--budget", "0.3", "--", "true")
        self.assertEqual(done.doc["stopped"], "budget")
        self.assertLess(done.doc["blocks"], 100000)


class Order(Case):
    ARGS = ["--allocators", "glibc,sluice", "--until", "0"]

    def orders(self, blocks, seed):
        done = self.ab(*self.ARGS, "--blocks", str(blocks), "--seed", str(seed), "--", "true")
        found = [[r["variant"] for r in done.runs() if r["block"] == block] for block in range(blocks + 1)]
        self.assertEqual([r["position"] for r in done.runs()], list(range(3)) * (blocks + 1))
        return found

    def test_blocks_in_random_order_that_the_seed_gives(self):
        warm_up, *blocks = self.orders(90, 3)
        self.assertEqual(warm_up, ["glibc", "control", "sluice"])
        for block in blocks:
            self.assertEqual(sorted(block), ["control", "glibc", "sluice"])
        for variant in warm_up:
            for position in range(3):  # 30 expected, standard deviation 4.5
                count = sum(block[position] == variant for block in blocks)
                self.assertTrue(14 <= count <= 46, f"{variant} {count} times at {position} of {len(blocks)}")
        self.assertEqual(self.orders(10, 3)[1:], blocks[:10])
        self.assertNotEqual(self.orders(10, 4)[1:], blocks[:10])


class Measures(Case):
    def test_peak_of_one_process_is_the_kernels(self):
        for mib in (2, 64):  # 2: scripts/ab itself is larger, and must not be seen in it
            done = self.ab("--allocators", "glibc", "--blocks", "1", "--", program("act"), "touch", str(mib))
            for peak in done.values("peak_rss_bytes"):
                self.assertTrue(mib * MIB < peak < (mib + 4) * MIB, peak)

    def test_peak_of_a_tree_is_the_sum(self):
        done = self.ab("--allocators", "glibc", "--blocks", "1", "--", program("act"), "tree", "3", "20")
        for peak in done.values("peak_rss_bytes"):
            self.assertTrue(60 * MIB < peak < 70 * MIB, peak)

    def test_cpu_of_descendants_counts(self):
        work = f"{PLANTED} 100000 1000"
        direct = self.ab("--allocators", "glibc", "--blocks", "1", "--", "sh", "-c", f"exec {work}")
        below = self.ab("--allocators", "glibc", "--blocks", "1", "--", "sh", "-c", f"sh -c '{work}; {work}; true'; true")
        self.assertGreater(min(below.values("cpu_ns")), min(direct.values("cpu_ns")))
        self.assertGreater(min(below.values("cpu_ns")), 10_000_000)

    def test_daemon_left_behind_counts_and_is_ended(self):
        done = self.ab("--allocators", "glibc", "--blocks", "1", "--", program("act"), "daemon")
        for cpu in done.values("cpu_ns"):
            self.assertGreater(cpu, 45_000_000)  # it burnt 50 ms, and its parent waited for that

    def test_wait_is_wall_and_not_cpu(self):
        self.hold()
        running = self.start("--allocators", "glibc", "--blocks", "1", "--", "sh", "-c", self.HELD)
        self.let(4)
        done = self.finish(running)
        for run in done.runs():
            self.assertGreaterEqual(run["values"]["wall_ns"], run["values"]["cpu_ns"] * 0.5)
            parts = [value for key, value in run["values"].items() if re.match("(user|system)(_ns)?$", key)]
            self.assertEqual(run["values"]["cpu_ns"], sum(parts))


class Conditions(Case):
    """--fail-if, on an effect that was planted: every malloc costs as much again as the work between two."""

    def check(self, condition, status, says=""):
        again = subprocess.run([*AB, "--from", self.kept, "--quiet", "--fail-if", condition], capture_output=True, text=True,
                               env=self.environment(None))
        self.assertEqual(again.returncode, status, f"{condition}: {again.stderr}")
        self.assertRegex(again.stderr, says)

    def test_both_ways(self):
        slow = f"slow={SLOW},SLOW_TURNS=1000"
        done = self.ab("--allocators", "glibc", "--with", slow, "--blocks", "6", "--until", "0", "--fail-if", "slow.cpu > 1.3",
                       "--", PLANTED, "100000", "1000", status=1)
        self.assertRegex(done.err, r"^ab: fails: .*slow's cpu is [12]\.\d+ of glibc's .* above 1\.3")
        found = done.comparison("slow", "cpu")
        self.assertEqual(found["verdict"], "worse")
        self.assertTrue(1.5 < found["ratio"] < 2.5, found)
        self.kept = os.path.join(self.folder, "kept.json")
        os.rename(self.json, self.kept)
        self.check("cpu>1.3", 1, "slow's cpu")  # the only other one
        self.check("slow.cpu>4", 0, "^$")
        self.check("slow.cpu<1.3", 0, "^$")
        self.check("slow.cpu<4", 1, "below 4")
        inside = (found["low"] + found["high"]) / 2  # part of the interval lies beyond, which is not enough
        self.check(f"slow.cpu>{inside:.12f}", 0, "^$")
        self.check(f"slow.cpu<{inside:.12f}", 0, "^$")
        self.check("slow.nonsense>1", 2, "no nonsense of slow .*metrics: .*cpu")
        self.check("jemalloc.cpu>1", 2, "no cpu of jemalloc")

    def test_few_pairs_judge_nothing(self):
        done = self.ab(*QUICK, "--fail-if", "cpu>0.001", "--", "true", status=2)
        self.assertRegex(done.err, "2 pairs of runs are too few")

    def test_nonsense(self):
        for text in ("cpu", "cpu=1", "cpu>x", "cpu>1.2.3", ">1"):
            self.refused("--fail-if", text, "--", "true", says=r"--fail-if .*expected")


class Outputs(Case):
    def test_one_that_prints_something_else_is_left_out(self):
        done = self.ab(*QUICK, "--with", "again=glibc", "--", "sh", "-c", "echo preload: $LD_PRELOAD", status=3)
        self.assertEqual(done.variants(), ["glibc", "control", "again"])
        self.assertEqual([entry["name"] for entry in done.doc["left_out"]], ["sluice"])
        self.assertRegex(done.err, "sluice is left out: its standard output differs")
        self.assertRegex(done.out, "left out: sluice")

    def test_one_that_ends_otherwise_is_left_out(self):
        done = self.ab(*QUICK, "--", "sh", "-c", 'test -z "$LD_PRELOAD" || { echo not under this >&2; exit 9; }', status=3)
        self.assertEqual(done.variants(), ["glibc", "control"])
        self.assertRegex(done.err, r"sluice is left out: ended with status 9 \(under glibc: 0\): not under this")

    def test_output_that_varies_by_itself_is_not_compared(self):
        done = self.ab(*QUICK, "--", "sh", "-c", 'echo "$$ $LD_PRELOAD"')
        self.assertEqual(done.variants(), ["glibc", "control", "sluice"])
        self.assertRegex(" ".join(done.doc["warnings"]), "output differs from run to run")
        self.assertEqual(sum("output differs" in w for w in done.doc["warnings"]), 1)

    def test_output_that_varies_from_a_later_run_on(self):
        """A clock's next second: the runs before it agreed, and the first after it need not be the baseline's."""
        script = 'echo >>"$SIDE/count"; test $(wc -l <"$SIDE/count") -le 2; echo $?'
        done = self.ab(*QUICK, "--with", "again=glibc", "--", "sh", "-c", script)
        self.assertEqual(done.variants(), ["glibc", "control", "sluice", "again"])
        self.assertRegex(" ".join(done.doc["warnings"]), "output differs from run to run")

    def test_what_may_differ(self):
        line = 'echo "took $$ ms, ok"'
        done = self.ab(*QUICK, "--ignore-output", r"took \d+ ms", "--", "sh", "-c", line)
        self.assertNotRegex(" ".join(done.doc["warnings"]), "output differs")
        done = self.ab(*QUICK, "--ignore-output", r"took \d+ ms", "--", "sh", "-c", line + '; echo "$LD_PRELOAD"', status=3)
        self.assertEqual(done.variants(), ["glibc", "control"])
        self.ab(*QUICK, "--ignore-output", "(?s).*", "--", "sh", "-c", 'echo "$$ $LD_PRELOAD"')


class Refusals(Case):
    def test_what_to_run(self):
        one = "name one thing to run"
        self.refused(says=one)
        self.refused("--recipe", "redis", "--", "true", says=one)
        self.refused("--server", "a", "--ready", "b", "--load", "c", "--", "true", says=one)
        self.refused("--server", "a", "--load", "c", says="belong together")
        self.refused("--ready", "a", "--", "true", says="belong together")
        self.refused("--server", "a 'b", "--ready", "b", "--load", "c", says="--server .*quotation")
        self.refused("--nonsense", "--", "true", says="unrecognized arguments: --nonsense")
        self.refused("--blocks", "0", "--", "true", says="blocks, 1 or more")
        self.refused("--until", "x", "--", "true", says="a share is wanted")
        self.refused("--budget", "-1", "--", "true", says="positive number")

    def test_recipes(self):
        self.refused("--recipe", "reddis", says="no recipe 'reddis'; did you mean redis")
        empty = self.make("empty")
        done = self.refused("--recipe", "no/such", says="no recipe 'no/such'", env={"PATH": empty})
        self.assertRegex(done.err, "redis")

    def test_allocators(self):
        self.refused("--allocators", "glibc,snmalloc", "--", "true",
                     says="snmalloc: no such allocator; known are glibc, .*--with")
        self.refused("--allocators", "glibc,sluice", "--", "true", says="no library at /nowhere.*make",
                     env={"SLUICE_LIB": "/nowhere/libsluice.so"})
        self.refused("--allocators", "glibc,glibc", "--", "true", says="glibc is named twice")
        self.refused("--allocators", "glibc", "--baseline", "sluice", "--", "true", says="baseline sluice is not among .*glibc")
        self.refused("--with", "a=/nowhere/lib.so", "--", "true", says="no file /nowhere/lib.so")
        self.refused("--with", "nothing", "--", "true", says="expected NAME=PATH")

    def test_libraries_that_are_none(self):
        with open(SLUICE, "rb") as f:
            head = bytearray(f.read(4096))
        for name, place, byte in (("bits", 4, 1), ("machine", 18, 0xF3), ("program", 16, 2), ("text", 0, 0x23)):
            path = os.path.join(self.side, name + ".so")
            with open(path, "wb") as f:
                f.write(head[:place] + bytes([byte]) + head[place + 1:])
            with self.subTest(name=name):
                self.refused("--with", f"a={path}", "--", "true", says="not a shared library of this machine's kind")
        self.refused("--with", f"a={self.side}", "--", "true", says="not a shared library")

    def test_preload_that_the_loader_refuses(self):
        """It only warns and goes on without: that is no measurement of the library, however much the program says."""
        path = os.path.join(self.side, "cut.so")
        with open(SLUICE, "rb") as f, open(path, "wb") as cut:
            cut.write(f.read(200))
        for words in ("true", "seq 5000 >&2"):
            done = self.ab("--allocators", "glibc", "--with", f"cut={path}", "--blocks", "1", "--", "sh", "-c", words, status=3)
            self.assertEqual(done.variants(), ["glibc", "control"])
            self.assertRegex(done.err, "cut is left out: cut did not get in: .*cannot be preloaded")

    def test_programs(self):
        self.refused("--", "no-such-program", says="no-such-program: no such program in PATH")
        self.refused("--", program("static"), says="linked statically: no preload acts in it")
        self.refused("--", program("own"), says="defines malloc itself")
        self.refused("--", "/etc/passwd", says="/etc/passwd: no such program|not a")
        plain = os.path.join(self.here, "plain")
        with open(plain, "w", encoding="ascii") as f:
            f.write("echo no #!\n")
        os.chmod(plain, 0o755)
        self.refused("--", "./plain", says="not a 64-bit ELF program, nor a script")

    def test_programs_that_fail(self):
        self.refused(*QUICK, "--", "sh", "-c", "echo dear me >&2; exit 7", says="ended with status 7 under glibc: dear me")
        self.refused(*QUICK, "--", program("act"), "kill", "9", says="ended with status 137 under glibc")
        self.refused(*QUICK, "--timeout", "0.3", "--", "sh", "-c", "sleep 600; true",
                     says=r"sh did not end within 0\.3 s \(--timeout\)")
        # In a later run it is the measurement that fails, not the program's first impression.
        script = 'echo >>"$SIDE/count"; test $(wc -l <"$SIDE/count") -lt 7'
        self.refused("--allocators", "glibc", "--blocks", "9", "--", "sh", "-c", script, says="ended with status 1")

    def test_expressions(self):
        self.refused("--metric", "a=(", "--", "true", says="--metric .*(unterminated|missing)")
        self.refused("--metric", "a=[0-9]+", "--", "true", says="needs one group")
        self.refused("--metric", "a:parsec=([0-9]+)", "--", "true", says="no unit parsec; known are ns")
        self.refused("--metric", "a=(1)", "--metric", "a=(2)", "--", "true", says="two --metric of one name")
        self.refused("--metrics", "(.)(.)", "--", "true", says=r"\(\?P<name>")
        self.refused("--ignore-output", "[", "--", "true", says="--ignore-output .*unterminated")
        self.refused(*QUICK, "--metric", "a=found ([0-9]+)", "--", "echo", "lost", says="nothing that matches .*\n?.*lost")

    def test_files(self):
        self.refused("--csv", "/nowhere/out.csv", "--", "true", says="--csv /nowhere/out.csv: the folder /nowhere is not there")
        self.refused("--json", "/nowhere/out.json", "--", "true", says="--json .*: the folder /nowhere is not there")
        self.refused("--stdin", "missing", "--", "cat", says="--stdin missing: cannot be read")
        self.refused("--from", "missing.json", says="missing.json")
        with open(os.path.join(self.here, "bad.json"), "w", encoding="ascii") as f:
            f.write("{}")
        self.refused("--from", "bad.json", says="bad.json: not of schema")

    def test_file_that_cannot_be_written_after_all(self):
        """The table is printed all the same, and the other files are written."""
        os.mkdir(os.path.join(self.here, "taken.csv"))
        done = self.ab(*QUICK, "--csv", "taken.csv", "--", "true", status=2)
        self.assertRegex(done.err, "cannot write .*taken.csv")
        self.assertRegex(done.out, "CPU time")
        self.assertEqual(len(done.runs()), 9)


class Servers(Case):
    def server(self, *more, server=None, ready=None, load=None, **kw):
        """The arguments for a server of ours, any part of it replaced."""
        return self.ab(*QUICK, *more, "--server", server or python("server", "{port}"),
                       "--ready", ready or python("ask", "{port}", "1"), "--load", load or python("ask", "{port}", "50"), **kw)

    def refused_server(self, *more, says, **kw):
        done = self.server(*more, status=2, **kw)
        self.assertRegex(done.err, says)
        self.assertEqual(done.out, "")
        return done

    def test_a_server_of_pythons(self):
        with open(os.path.join(self.here, "page"), "w", encoding="ascii") as f:
            f.write("x" * 1000)
        done = self.server(server=f"{PYTHON} -m http.server --bind 127.0.0.1 --directory {self.here} {{port}}",
                           ready=python("fetch", "{port}", "1"), load=python("fetch", "{port}", "20"))
        self.assertEqual(done.variants(), ["glibc", "control", "sluice"])
        for run in done.runs():
            self.assertEqual(run["status"], 0, "ended by the signal that asked it to")
            self.assertGreater(run["values"]["wall_ns"], run["values"]["cpu_ns"] * 0.2)
            self.assertGreater(run["values"]["peak_rss_bytes"], 5 * MIB)
        self.assertEqual(os.listdir(self.here), ["page"])

    def test_numbers_of_the_load(self):
        done = self.server("--metric", r"rate:/s=rate: ([\d.]+)/s", "--metric", r"asked=asked (\d+)")
        self.assertEqual((set(done.values("rate_per_s")), set(done.values("asked"))), ({5000.5}, {50.0}))
        self.assertEqual(next(m for m in done.doc["metrics"] if m["name"] == "rate")["higher_is_better"], True)
        self.assertRegex(done.out, "higher is better")
        self.assertRegex(done.out, "server CPU time")

    def test_only_the_server_is_preloaded(self):
        say = 'sh -c \'echo "{} $LD_PRELOAD" >>$SIDE/seen; exec ' + python("ask", "{{port}}", "1") + "'"
        self.server(ready=say.format("ready"), load=say.format("load"))
        with open(os.path.join(self.side, "seen"), encoding="ascii") as f:
            self.assertEqual({line.strip() for line in f}, {"load", "ready"})

    def test_programs_are_found_where_the_caller_is(self):
        for name, words in (("serve", python("server", '"$1"')), ("ask", python("ask", '"$1"', "1")), ("load", "pwd")):
            with open(os.path.join(self.here, name), "w", encoding="ascii") as f:
                f.write(f"#!/bin/sh\npwd >>$SIDE/{name}\nexec {words}\n")
            os.chmod(f.name, 0o755)
        self.server(server="./serve {port}", ready="./ask {port}", load="./load")
        for name, place in (("serve", self.temporary + "/"), ("ask", self.here), ("load", self.temporary + "/")):
            with open(os.path.join(self.side, name), encoding="utf-8") as f:
                self.assertTrue(all(line.startswith(place) for line in f), name)

    def test_never_ready(self):
        done = self.refused_server("--ready-timeout", "0.5", server="sleep 600", ready="false",
                                   says=r"not ready after 0\.5 s \(--ready-timeout\): false never succeeded")
        self.assertNotIn("left out", done.err)

    def test_ready_that_never_answers(self):
        self.refused_server("--ready-timeout", "0.5", ready="sh -c 'sleep 600; true'", says=r"not ready after 0\.5 s")

    def test_dies_at_start(self):
        self.refused_server(server="sh -c 'echo no database >&2; exit 3'", says="ended before it was ready: no database")
        self.refused_server(server="sh -c 'echo on stdout; exit 3'", says="ended before it was ready: (?s:.*)on stdout")

    def test_programs_that_are_not_there(self):
        self.refused_server(server="no-such-server {port}", says="no-such-server: no such program")
        self.refused_server(ready="no-such-question", says="--ready: no-such-question: no such program")
        self.refused_server(load="no-such-load", says="--load: no-such-load: no such program")

    def test_load_that_fails(self):
        self.refused_server(load="sh -c 'echo connection lost; exit 4'", says="load failed with status 4: connection lost")

    def test_server_of_a_failed_run_is_ended_before_the_next(self):
        """The load fails under sluice alone; later loads fail when any server but the last one started is there."""
        load = os.path.join(self.side, "load")
        with open(load, "w", encoding="ascii") as f:
            f.write('#!/bin/sh\nfor pid in $(head -n -1 $SIDE/pids); do kill -0 $pid 2>&- && exit 9; done\n'
                    'grep -qz ^LD_PRELOAD= /proc/$(tail -n 1 $SIDE/pids)/environ && exit 4\nexit 0\n')
        os.chmod(load, 0o755)
        done = self.server(server="sh -c 'echo $$ >>$SIDE/pids; exec " + python("server", "{port}") + "'", load=load, status=3)
        self.assertEqual(done.variants(), ["glibc", "control"])
        self.assertRegex(done.err, "sluice is left out: the load failed with status 4")
        self.assertEqual(done.doc["blocks"], 2)

    def test_load_without_the_number(self):
        self.refused_server("--metric", r"rate:/s=speed ([\d.]+)", says="nothing that matches 'speed(?s:.*)asked 50 times")

    def test_load_that_opens_its_output_again(self):
        done = self.server("--metric", r"all=a(\d)b2\nc3$", load="sh -c 'echo a1b2 >&2; echo c3 >/dev/stdout'")
        self.assertEqual(set(done.values("all")), {1.0})

    def test_load_that_says_much(self):
        done = self.server("--metric", r"last=^(300000)$", load="seq 300000")
        self.assertEqual(set(done.values("last")), {300000.0})

    def test_load_that_does_not_end(self):
        self.refused_server("--timeout", "2", load="sh -c 'sleep 600; true'", says=r"the load: \S+ did not end within 2 s")

    def test_server_that_dies_under_the_load(self):
        self.refused_server(load="sh -c 'kill -9 $(" + python("pid", "{port}") + ")'",
                            says="server ended under the load|ended with status 137")

    def test_fixed_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            self.refused_server(server=python("server", str(port)), ready="false",
                                says="server's port is taken .*already in use")

    def test_fixed_port_whose_owner_answers(self):
        """Somebody else's server must not pass for the one to be measured."""
        with socket.create_server(("127.0.0.1", 0)) as taken:  # the backlog answers a connect
            port = str(taken.getsockname()[1])
            connect = f"{PYTHON} -I -S -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'"
            self.refused_server(server=python("server", port), ready=connect, load=connect,
                                says="port is taken, by a server that")
            # It begins to answer later, and ours fails under the load.
            self.refused_server(server="sh -c 'trap : TERM; " + python("server", port) + "; >$SIDE/failed; exit 1'",
                                ready="sh -c 'test -e $SIDE/asked || { >$SIDE/asked; exit 1; }'",
                                load="sh -c 'until test -e $SIDE/failed; do :; done'",
                                says="server's port is taken .*already in use")

    def test_port_stolen_in_between(self):
        flag = os.path.join(self.side, "stolen")
        done = self.server(server=python("robbed", "{port}", flag))
        self.assertTrue(os.path.exists(flag), "nothing was stolen")
        self.assertEqual(len(done.runs()), 9)

    def test_two_at_once(self):
        args = [*QUICK, "--server", python("server", "{port}"), "--ready", python("ask", "{port}", "1"), "--load",
                "sh -c '" + self.HELD.replace("'", "'\\''") + "'"]
        self.hold()
        first, second = os.path.join(self.folder, "1.json"), os.path.join(self.folder, "2.json")
        both = [self.start("--json", path, *args) for path in (first, second)]
        self.wait_started(2, both[0])  # both have a server under its load now
        self.let(18)
        for running, path in zip(both, (first, second)):
            done = self.finish(running)
            self.assertEqual(done.status, 0, done.err)
            with open(path, encoding="ascii") as f:
                self.assertEqual(len(json.load(f)["results"][0]["runs"]), 9)
        self.nothing_left()


@unittest.skipUnless(shutil.which("redis-server") and shutil.which("redis-cli"), "not installed: redis")
class Redis(Case):
    """Debian's redis-server links jemalloc: without a preload it is not glibc that serves it."""

    def test_glibcs_row_is_glibcs(self):
        seen = os.path.join(self.side, "seen")
        done = self.ab("--allocators", "glibc,sluice", "--blocks", "1",
                       "--server", "redis-server --port {port} --bind 127.0.0.1 --dir {work} --save ''",
                       "--ready", "redis-cli -e -p {port} ping", "--load", python("redis_probe", "{port}", seen),
                       "--metric", r"value=value (\d)")
        self.assertEqual(done.variants(), ["glibc", "control", "sluice", "as-shipped"])
        notes = {v["name"]: v["note"] for v in done.doc["variants"]}
        self.assertRegex(notes["glibc"], "forwards to glibc's, since redis-server links libjemalloc")
        self.assertRegex(notes["as-shipped"], "no preload: libjemalloc")
        self.assertRegex(done.out, r"note: glibc: a preload that forwards")
        with open(seen, encoding="ascii") as f:
            for run, line in zip(done.runs(), f, strict=True):
                allocated, libraries = line.split()
                with self.subTest(variant=run["variant"], line=line):
                    preloaded = {"sluice": "libsluice", "as-shipped": ""}.get(run["variant"], "libglibc_malloc")
                    self.assertEqual(libraries.split(","), sorted(filter(None, ["libjemalloc", preloaded])))
                    # 64 values of 64 KiB: jemalloc counts them where it serves them, and only there.
                    if run["variant"] == "as-shipped":
                        self.assertGreater(int(allocated), 4 * MIB)
                    elif allocated.isdigit():
                        self.assertLess(int(allocated), 4 * MIB)


class Interrupts(Case):
    """The program holds still in its 11th run: warm-up and two blocks of three are over, the third block has begun."""

    def interrupted(self, send, *what, started=11, let=10):
        self.hold()
        running = self.start("--allocators", "glibc,sluice", "--blocks", "50", "--until", "0", *what)
        self.let(let)
        self.wait_started(started, running)
        send(running.pid)
        return running

    def check(self, send):
        for what in (["--", "sh", "-c", self.HELD],
                     ["--server", python("server", "{port}"), "--ready", python("ask", "{port}", "1"),
                      "--load", "sh -c '" + self.HELD + "'"]):
            with self.subTest(what=what[0]):
                done = self.finish(self.interrupted(send, *what))
                self.assertEqual(done.status, 130, done.err)
                self.assertEqual((done.doc["stopped"], done.doc["blocks"], len(done.runs())), ("interrupted", 2, 10))
                self.assertRegex(done.out, "2 blocks of 3 runs, interrupted")
                self.assertEqual(done.err, "")
                self.nothing_left()
            for name in ("started", "go"):
                os.unlink(os.path.join(self.side, name))

    def test_ctrl_c(self):
        self.check(lambda pid: os.killpg(pid, signal.SIGINT))

    def test_sigint_to_it_alone(self):
        self.check(lambda pid: os.kill(pid, signal.SIGINT))

    def test_sigterm(self):
        self.check(lambda pid: os.kill(pid, signal.SIGTERM))

    def test_terminal_gone(self):
        self.check(lambda pid: os.kill(pid, signal.SIGHUP))

    def test_in_the_warm_up(self):
        running = self.interrupted(lambda pid: os.kill(pid, signal.SIGINT), "--", "sh", "-c", self.HELD, started=2, let=1)
        done = self.finish(running)
        self.assertEqual(done.status, 130)
        self.assertRegex(done.out, "nothing measured")
        self.nothing_left()

    def test_program_that_will_not_end(self):
        running = self.interrupted(lambda pid: os.kill(pid, signal.SIGINT), "--", program("act"), "stubborn",
                                   os.path.join(self.side, "started"), started=1, let=0)
        self.assertEqual(self.finish(running).status, 130)
        self.nothing_left()

    def killed(self, *what, started=1):
        """SIGKILL leaves it no time to clean up: the kernel tells the meter, and the meter ends what it started."""
        running = self.interrupted(lambda pid: os.kill(pid, signal.SIGKILL), *what, started=started, let=0)
        running.communicate()
        self.assertEqual(running.returncode, -signal.SIGKILL)
        self.assertTrue(all_ended(20), f"still running: {kill_orphans()}")

    def test_killed(self):
        self.killed("--", "sh", "-c", self.HELD + "; true")

    def test_killed_under_a_program_that_will_not_end(self):
        self.killed("--", program("act"), "stubborn", os.path.join(self.side, "started"))

    def test_killed_with_a_server_under_load(self):
        self.killed("--server", python("server", "{port}"), "--ready", python("ask", "{port}", "1"),
                    "--load", "sh -c '" + self.HELD + "; true'")

    def test_killed_while_a_server_is_asked(self):
        self.killed("--server", python("server", "{port}"), "--ready", "sh -c '" + self.HELD + "; true'", "--load", "true")


if __name__ == "__main__":
    unittest.main()
