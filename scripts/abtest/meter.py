"""meter: one execution of a program, through scripts/bench/tools/meter.c, and the metrics it yields."""

import hashlib
import os
import select
import signal
import subprocess

from .allocators import BUILD, ROOT, Unusable
from .model import Metric

METER = os.path.join(BUILD, "bench", "meter")
SAMPLE_MS = 10
CUT = 2000  # bytes of a program's standard error worth quoting
HEAD = 16384  # bytes in which the loader's own words stand, since it speaks first
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PROCESS_METRICS = [
    Metric("wall", "wall time", "ns"),
    Metric("cpu", "CPU time", "ns"),
    Metric("peak_rss", "peak resident memory", "B", resolution=4096),
    Metric("user", "user CPU time", "ns"),
    Metric("system", "system CPU time", "ns"),
    Metric("page_faults", "page faults"),
    Metric("major_faults", "page faults that read a file"),
    Metric("context_switches", "context switches"),
]


class Ended(Exception):
    """The program could not be run as asked; the text says how it ended and quotes its last words."""


def need_meter():
    if not os.access(METER, os.X_OK):
        raise Unusable(f"no {os.path.relpath(METER, ROOT)}: run `make bench-tools` in {ROOT}")


def environment(variant, env, report):
    """NAME=VALUE settings of one run. sluice's report is written as always, but into `report`, not the current folder."""
    settings = dict(env)
    settings.update(variant.env)
    if variant.preload:
        ours = settings.get("LD_PRELOAD")
        settings["LD_PRELOAD"] = variant.preload + (":" + ours if ours else "")
    conf = settings.get("SLUICE_CONF", os.environ.get("SLUICE_CONF", ""))
    if "libsluice" in os.path.basename(variant.preload) and "report:" not in conf:
        settings["SLUICE_CONF"] = (conf + "," if conf else "") + f"report:{report}/sluice.%e.%p.json"
    return [f"{name}={value}" for name, value in settings.items()]


class Metered:
    """A running program. `finish` waits for it and returns (status, metrics). Its output goes
    into the two files, or, where none are named, through a pipe into `said`."""

    def __init__(self, argv, settings, cwd, stdin, stdout=None, stderr=None):
        need_meter()
        self.argv, self.stderr_path, self.said, self.process = argv, stderr or os.devnull, b"", None
        reader, writer = os.pipe()
        self.reader = os.fdopen(reader)
        unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)  # until we know what to kill; the meter unmasks
        try:
            with open(stdin or os.devnull, "rb") as i, open(stdout or os.devnull, "wb") as o, open(self.stderr_path, "wb") as e:
                self.process = subprocess.Popen(
                    [METER, str(writer), str(SAMPLE_MS), *settings, "--", *argv], stdin=i,
                    stdout=o if stdout else subprocess.PIPE, stderr=e if stderr else subprocess.STDOUT, cwd=cwd,
                    pass_fds=[writer], start_new_session=True)
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        except BaseException:
            if self.process:
                self.kill()
            self.reader.close()
            raise
        finally:
            os.close(writer)
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)

    def finish(self, timeout_s):
        try:
            if self.process.stdout:
                self.said = self.process.communicate(timeout=timeout_s)[0]
            elif not select.select([self.reader], [], [], timeout_s)[0]:  # the report; wait() would look time and again
                raise subprocess.TimeoutExpired(self.argv, timeout_s)
            self.process.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise Ended(f"{self.argv[0]} did not end within {timeout_s:g} s (--timeout)") from None
        except BaseException:
            self.kill()
            raise
        with self.reader:
            seen = {key: int(number) for key, number in (line.split() for line in self.reader)}
        if "status" not in seen:
            raise Ended(f"{self.argv[0]}: the meter ended early: {self.last_words()}")
        return seen["status"], {
            "wall": seen["wall"], "cpu": seen["user"] + seen["system"], "peak_rss": max(seen["largest"], seen["tree"]),
            "user": seen["user"], "system": seen["system"], "page_faults": seen["minor"] + seen["major"],
            "major_faults": seen["major"], "context_switches": seen["waits"] + seen["switches"]}

    def stop(self, how, timeout_s):
        """Asks the program to end, with signal `how`."""
        self.process.send_signal(how)
        return self.finish(timeout_s)

    def kill(self):
        """Ends everything: the program is asked to, then the meter kills it with all its descendants."""
        for how, patience_s in ((signal.SIGTERM, 3), (signal.SIGHUP, 10), (signal.SIGKILL, 3)):
            try:
                self.process.send_signal(how)
                self.process.wait(patience_s)
                break
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        for pipe in filter(None, (self.reader, self.process.stdout)):
            pipe.close()

    def running(self):
        return self.process.poll() is None

    def last_words(self):
        return last_words(self.stderr_path)


def last_words(path):
    try:
        with open(path, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - CUT))
            return f.read().decode("utf-8", "replace").strip() or "(nothing on its standard error)"
    except OSError:
        return "(no standard error)"


def first_words(path):
    with open(path, "rb") as f:
        return f.read(HEAD).decode("utf-8", "replace")


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()[:16]
