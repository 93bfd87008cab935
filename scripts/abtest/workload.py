"""workload: what is run once per variant and block: a command, or a server under a load.

A workload has `title`, `command` (for the record), `argv` (whose allocator matters), `metrics` and `decide_by`, and
`run(variant, timeout_s)` which returns an Outcome or raises meter.Ended with what went wrong.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import tempfile
import time
from dataclasses import dataclass

from . import meter
from .model import Metric

POLL_S = 0.005  # between two questions whether a server is ready
STRANGER_S = 2  # for the question whether another server answers already
CHANGED_PORTS = 5  # tries, when somebody else took the port between our look and the server's bind
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass
class Outcome:
    status: int
    digest: str  # of what must be the same under every allocator
    values: dict
    words: str = ""  # the end of its standard error, for a message


class Scratch:
    """A folder for everything a measurement writes; gone with it."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="sluice-ab-")
        self.count = 0

    def fresh(self):
        self.count += 1
        path = os.path.join(self.path, f"run-{self.count}")
        os.mkdir(path)
        os.chmod(path, 0o777)  # a recipe may give its program another user
        os.chmod(self.path, 0o755)
        return path

    def fresh_pair(self):
        """(a folder for what we keep of a run, the empty one in it that the program gets as {work})."""
        path = self.fresh()
        work = os.path.join(path, "work")
        os.mkdir(work)
        os.chmod(work, 0o777)
        return path, work

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class OutputMetrics:
    """Numbers that the program itself prints: a regular expression with one group (one metric), or with the groups
    `name` and `value` (a metric for each name that occurs)."""

    def __init__(self, wanted, unit=""):
        self.wanted = wanted  # [(Metric or None, compiled expression, factor)]
        self.unit = unit  # of the metrics that the program names

    def read(self, text):
        """{name: value}; raises meter.Ended when an expression finds nothing."""
        found = {}
        for metric, expression, factor in self.wanted:
            seen = list(expression.finditer(text))
            if not seen:
                raise meter.Ended(f"its output has nothing that matches {expression.pattern!r}; it ends:\n{text[-meter.CUT:].strip()}")
            for match in seen if metric is None else seen[-1:]:
                name = metric.name if metric else match["name"]
                text_value = match["value"] if metric is None else match[1] if match.re.groups else match[0]
                try:
                    found[name] = float(text_value.replace(",", "")) * factor
                except ValueError:
                    raise meter.Ended(f"{expression.pattern!r} matches {text_value!r}, which is no number") from None
        return found


def substituted(argv, names):
    """{inputs}, {work} and {port} in the words of a command. Other braces stay (they may be the program's own)."""
    return [re.sub(r"\{(inputs|work|port)\}", lambda m: str(names.get(m[1], m[0])), word) for word in argv]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Command:
    """One command line, run to its end."""

    decide_by = ("cpu",)

    def __init__(self, argv, scratch, title="", env=None, stdin=None, cwd=None, inputs="", output=None, normalise=None,
                 keep_output=False):
        self.argv, self.scratch, self.title = argv, scratch, title or shlex.join(argv)
        self.env, self.stdin, self.cwd, self.inputs = env or {}, stdin, cwd, inputs
        self.output, self.normalise, self.keep_output = output, normalise, keep_output
        self.metrics = list(meter.PROCESS_METRICS) + [m for m, _, _ in (output.wanted if output else []) if m]
        self.command = argv

    def run(self, variant, timeout_s):
        folder, work = self.scratch.fresh_pair()
        try:
            out, err = os.path.join(folder, "stdout"), os.path.join(folder, "stderr")
            names = {"inputs": self.inputs, "work": work}
            settings = meter.environment(variant, self.env, folder)
            running = meter.Metered(substituted(self.argv, names), settings, self.cwd or work, self.stdin, out, err)
            status, values = running.finish(timeout_s)
            words = meter.last_words(err)
            check_preload(variant, err)
            if self.output and status == 0:
                values.update(self.output.read(text_of(out)))
            return Outcome(status, "" if self.output else self.digest(out), values, words)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def new_metric(self, name):
        """A metric whose name the program itself chose."""
        return Metric(name, name, self.output.unit if self.output else "")

    def digest(self, path):
        """Of the output, without what the caller says may differ."""
        if not self.normalise:
            return meter.digest(path)
        with open(path, "rb") as f:
            text = self.normalise.sub(b"", f.read())
        with open(path, "wb") as f:
            f.write(text)
        return meter.digest(path)


def text_of(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def check_preload(variant, err):
    """The loader only warns when it cannot preload: the run would be one of glibc under another name."""
    words = meter.first_words(err)
    if variant.preload and "cannot be preloaded" in words and os.path.basename(variant.preload) in words:
        line = next(w for w in words.splitlines() if "cannot be preloaded" in w)
        raise meter.Ended(f"{variant.name} did not get in: {line.strip()}")


class Server:
    """A server that is started, waited for, put under a load, and ended; then the next variant's. Only the server gets
    the preload. Its CPU time is what it takes from being ready to its end; wall is the load's."""

    def __init__(self, server, ready, load, scratch, title="", env=None, cwd=None, inputs="", output=None, check=None,
                 prepare=None, stop="TERM", ready_s=10.0):
        self.server, self.ready, self.load, self.scratch = server, ready, load, scratch
        self.argv, self.title = server, title or shlex.join(server)
        self.env, self.cwd, self.inputs, self.output = env or {}, cwd, inputs, output
        self.check, self.prepare, self.ready_s = check, prepare, ready_s
        self.stop = getattr(signal, "SIG" + stop)
        self.port_is_ours, self.asked = bool(prepare) or any("{port}" in word for word in server), False
        self.command = {"server": server, "ready": ready, "load": load}
        own = [m for m, _, _ in (output.wanted if output else []) if m]
        self.metrics = own + [Metric(m.name, {"wall": "time of the load", "cpu": "server CPU time"}.get(m.name, m.title),
                                     m.unit, m.higher_is_better, m.resolution) for m in meter.PROCESS_METRICS]
        self.decide_by = (own[0].name,) if own else ("wall",)

    def run(self, variant, timeout_s):
        for attempt in range(CHANGED_PORTS):
            folder, work = self.scratch.fresh_pair()
            try:
                return self.run_in(folder, work, variant, timeout_s)
            except PortTaken:
                if attempt == CHANGED_PORTS - 1 or not self.port_is_ours:
                    raise
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        raise AssertionError

    def run_in(self, folder, work, variant, timeout_s):
        names = {"inputs": self.inputs, "work": work, "port": free_port()}
        if self.prepare:
            self.prepare(work, names["port"])
        out, err = os.path.join(folder, "stdout"), os.path.join(folder, "stderr")
        settings = meter.environment(variant, self.env, folder)
        self.nobody_answers(names)
        server = meter.Metered(substituted(self.server, names), settings, self.cwd or work, None, out, err)
        try:
            self.wait_ready(server, names, out, timeout_s)
            check_preload(variant, err)
            before = cpu_of_tree(server.process.pid)
            try:
                wall, text = self.run_load(names, work, timeout_s)
            except meter.Ended as e:
                if server.running():
                    raise
                raise self.ended(server, names, out, "under the load") from e  # which explains what the load complains of
            if not server.running():
                raise self.ended(server, names, out, "under the load")
            status, values = server.stop(self.stop, timeout_s)
            if status and isinstance(error := self.ended(server, names, out, "under the load"), PortTaken):
                raise error
        except BaseException:
            server.kill()
            raise
        values["cpu"] = max(0, values["cpu"] - before)
        values["wall"] = wall
        if self.output:
            values.update(self.output.read(text))
        if status in (128 + signal.SIGTERM, 128 + signal.SIGINT):
            status = 0  # it ended by the signal that asked it to
        return Outcome(status, "", values, meter.last_words(err))

    def new_metric(self, name):
        return Metric(name, name, self.output.unit if self.output else "")

    def nobody_answers(self, names):
        """A server with a fixed port must not find another one there, which would be measured in its place: asked once."""
        if self.port_is_ours or self.asked:
            return
        self.asked = True
        if answered(substituted(self.ready, names), STRANGER_S):
            raise PortTaken("--ready succeeds before the server is started: either its port is taken, by a server that would be "
                            "measured in its place (write {port} in --server and it gets a free one), or it asks nothing")

    def wait_ready(self, server, names, out, timeout_s):
        question = substituted(self.ready, names)
        limit = time.monotonic() + min(self.ready_s, timeout_s)
        while True:
            yes = answered(question, max(0.1, limit - time.monotonic()))
            if not server.running():  # whoever said yes
                raise self.ended(server, names, out, "before it was ready")
            if yes:
                return
            if time.monotonic() >= limit:
                raise meter.Ended(f"the server was not ready after {self.ready_s:g} s (--ready-timeout): {shlex.join(question)} "
                                  f"never succeeded; the server says: {server.last_words()}")
            time.sleep(POLL_S)

    def ended(self, server, names, out, when):
        """The error of a server that has ended by itself."""
        words = (server.last_words() + "\n" + meter.last_words(out)).strip()
        if not re.search(r"(?i)address already in use|EADDRINUSE", words):
            return meter.Ended(f"the server ended {when}: {words}")
        if self.port_is_ours:
            return PortTaken(f"port {names['port']} is taken, {CHANGED_PORTS} times over: {words}")
        return PortTaken(f"the server's port is taken (write {{port}} in --server and it gets a free one): {words}")

    def run_load(self, names, work, timeout_s):
        """(wall ns, output) of the load. Through a pipe: a file it would truncate when it opens /dev/stdout by that name."""
        load = substituted(self.load, names)
        need("--load", load)
        client = meter.Metered(load, [], work, None)
        try:
            status, taken = client.finish(timeout_s)
        except meter.Ended as e:
            raise meter.Ended(f"the load: {e}") from None
        text = client.said.decode("utf-8", "replace")
        if status != 0:
            raise meter.Ended(f"the load failed with status {status}: {text[-meter.CUT:].strip()}")
        if self.check and not self.check.search(text):
            raise meter.Ended(f"the load's output does not match {self.check.pattern!r}; it ends:\n{text[-meter.CUT:].strip()}")
        return taken["wall"], text


def answered(question, timeout_s):
    """Does --ready succeed within that time?"""
    need("--ready", question)
    try:
        return meter.Metered(question, [], None, None, os.devnull, os.devnull).finish(timeout_s)[0] == 0
    except meter.Ended:  # it did not end in time
        return False


def need(option, argv):
    if not shutil.which(argv[0]):
        raise meter.Ended(f"{option}: {argv[0]}: no such program in PATH (or it may not be executed)")


class PortTaken(meter.Ended):
    """Somebody bound the port between our look and the server's."""


def cpu_of_tree(meter_pid):
    """CPU nanoseconds so far of every process below the meter, ended and reaped ones included (those at the kernel's
    clock tick)."""
    total, ask = 0, [meter_pid]
    tick_ns = 1e9 / os.sysconf("SC_CLK_TCK")
    while ask:
        pid = ask.pop()
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as f:
                    ask += map(int, f.read().split())
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) * tick_ns  # cutime, cstime
            if pid != meter_pid:
                total += time.clock_gettime_ns((~pid << 3) | 2)  # the process's CPU clock (clock_getcpuclockid)
        except OSError:
            continue
    return int(total)
