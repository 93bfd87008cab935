#!/usr/bin/python3
"""What scripts/ab prints and writes: the tables at every width, the verdicts, the files and back, the pictures.

The results are made up but whole: every run has its values, and the comparisons are the engine's own. Nothing is
measured here.
"""

import argparse
import contextlib
import copy
import csv
import fcntl
import io
import json
import math
import os
import pty
import random
import re
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import unittest
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))
from abtest import export, plots, show, stats  # noqa: E402
from abtest.model import CONTROL, Comparison, Interval, Metric, Result, Run, Variant  # noqa: E402

try:
    import matplotlib  # noqa: F401
    HAVE_MATPLOTLIB = True
except ImportError:
    HAVE_MATPLOTLIB = False

PROCESS = [Metric("wall", "wall time", "ns"), Metric("cpu", "CPU time", "ns"),
           Metric("peak_rss", "peak resident memory", "B", resolution=4096), Metric("user", "user CPU time", "ns"),
           Metric("page_faults", "page faults"), Metric("major_faults", "page faults that read a file")]
SERVER = [Metric("throughput", "throughput", "/s", True), Metric("latency_p99", "p99 latency", "ns")] + PROCESS
USUAL = {"wall": 656e6, "cpu": 640e6, "peak_rss": 81.3 * 2**20, "user": 590e6, "page_faults": 21345, "major_faults": 0,
         "throughput": 51234.5, "latency_p99": 1.31e6}
EFFECTS = {"jemalloc": {"cpu": 0.87, "peak_rss": 0.96}, "mimalloc": {"cpu": 0.80, "wall": 0.82, "peak_rss": 1.13},
           "sluice": {"cpu": 0.79, "wall": 0.80, "throughput": 1.27, "latency_p99": 0.7, "peak_rss": 2.6}}
ESCAPE = re.compile(r"\033\[[0-9;]*m")


def made(title="xsltproc orders.xsl", effects=EFFECTS, metrics=PROCESS, blocks=12, noise=0.004, seed=7, **more):
    """A Result of made-up runs with these effects ({variant: {metric: ratio}}); the rest is noise."""
    dice = random.Random(seed)
    variants = [Variant("glibc"), Variant(CONTROL)] + [
        Variant(n, f"/usr/lib/lib{n}.so.2", (("MALLOC_CONF", "a:b,c:d"), ("EMPTY", "")) if n == "jemalloc" else ())
        for n in effects]
    result = Result(title, ["xsltproc", "orders.xsl", "orders.xml"], "glibc", variants, list(metrics), seed=seed,
                    blocks=blocks, stopped="decided", machine={"cpu": "made up", "cores": 2, "load_at_start": 0.25})
    for name, value in more.items():
        setattr(result, name, value)
    started = 0.0
    for block in range(blocks + 1):
        for position, variant in enumerate(dice.sample(variants, len(variants))):
            values = {}
            for m in metrics:
                value = USUAL[m.name] * effects.get(variant.name, {}).get(m.name, 1) * dice.gauss(1, noise)
                values[m.name] = value if m.unit == "/s" else int(value)
            result.runs.append(Run(block, position, len(result.runs), variant.name, started, 0, "d41d8cd9", values, 0.01))
            started += values["wall"] / 1e9
    compared = copy.deepcopy(result.metrics)
    stats.compare_all(result)
    result.metrics = compared  # with the one that is always 0, which the engine would leave out
    for variant in result.variants[1:]:
        for metric in compared:
            result.comparisons.setdefault((variant.name, metric.name),
                                          Comparison(variant.name, metric.name, 0, 0, 0, None, "unknown"))
    return result


def table(result, width=80, colour=False, unicode=True, **more):
    return show.table(result, width, colour, unicode, **more)


@contextlib.contextmanager
def environment(**settings):
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Terminal:
    """A stream that is a terminal, of a size that can change; `written` is what came out at the other side."""

    def __init__(self, columns):
        self.other, side = pty.openpty()
        attributes = termios.tcgetattr(side)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(side, termios.TCSANOW, attributes)
        self.stream = os.fdopen(side, "w", encoding="utf-8")
        self.resize(columns)

    def resize(self, columns):
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def written(self):
        os.set_blocking(self.other, False)
        data = b""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.other, 65536):
                data += chunk
        return data.decode()

    def close(self):
        self.stream.close()
        os.close(self.other)


class Numbers(unittest.TestCase):
    def test_units(self):
        for value, unit, text in ((8.8, "ns", "8.80 ns"), (999, "ns", "999 ns"), (1000, "ns", "1.00 us"),
                                  (656e6, "ns", "656 ms"), (1.5e9, "ns", "1.50 s"), (75e9, "ns", "1 min 15 s"),
                                  (59.96e9, "ns", "1 min 00 s"),
                                  (7260e9, "ns", "2 h 01 min"), (0, "ns", "0 ns"), (512, "B", "512 B"), (1000, "B", "0.98 KiB"),
                                  (85.2e6, "B", "81.3 MiB"), (8 * 2**30, "B", "8.00 GiB"), (0.13, "B", "0.13 B"),
                                  (51234.5, "/s", "51,234/s"), (12.34, "/s", "12.3/s"), (21345, "", "21,345"),
                                  (2.5, "", "2.50"), (0, "", "0"), (3, "items", "3 items"), (None, "ns", "-"),
                                  (math.nan, "B", "-"), (math.inf, "", "-")):
            with self.subTest(value=value, unit=unit):
                self.assertEqual(show.human(value, unit), text)

    def test_ratios_stay_narrow(self):
        for ratio, text in ((0.881, "0.881"), (1, "1.000"), (9.9999, "10.00"), (13.12, "13.12"), (131.4, "131"),
                            (1e-5, "<.001"), (None, "-")):
            self.assertEqual(show.human_ratio(ratio), text)

    def test_percent(self):
        for share, text in ((-0.12, "12 %"), (0.023, "2.3 %"), (0.0004, "0.04 %"), (0.0995, "10 %"), (0.00001, "<0.01 %")):
            self.assertEqual(show.percent(share), text)

    def test_duration(self):
        self.assertEqual([show.duration(s) for s in (-1, 0.4, 59.4, 59.6, 3599.6, 90)],
                         ["0 s", "0 s", "59 s", "1 min 00 s", "1 h 00 min", "1 min 30 s"])


class Verdicts(unittest.TestCase):
    def words(self, ratio, low, high, metric=PROCESS[1], verdict=None, long=True):
        result = made(effects={"sluice": {}}, blocks=6)
        interval = None if ratio is None else Interval(ratio, low, high)
        verdict = verdict or stats.verdict(interval, metric, stats.BLOCKS_MIN)
        result.comparisons["sluice", metric.name] = Comparison("sluice", metric.name, 6, 1, 2, interval, verdict)
        result.comparisons[CONTROL, metric.name] = Comparison(CONTROL, metric.name, 6, 1, 1, Interval(1, 0.992, 1.003),
                                                              "no difference")
        return show.verdict(result, "sluice", metric, long)

    def test_words(self):
        self.assertEqual(self.words(0.88, 0.87, 0.89), "12 % less CPU")
        self.assertEqual(self.words(1.023, 1.01, 1.03), "2.3 % more CPU")
        self.assertEqual(self.words(1.27, 1.2, 1.3, SERVER[0]), "27 % more throughput")
        self.assertEqual(self.words(0.9, 0.88, 0.92, PROCESS[4]), "10 % fewer page faults")
        self.assertEqual(self.words(13.12, 12, 14, PROCESS[2]), "13.1 times the memory")

    def test_an_interval_that_covers_1_is_no_finding(self):
        self.assertEqual(self.words(0.99, 0.97, 1.01), "no difference found (noise floor ±0.8 %)")
        self.assertEqual(self.words(0.99, 0.97, 1.01, long=False), "no difference found")
        self.assertEqual(self.words(0.99, 0.97, 1.0, verdict="better"), "no difference found (noise floor ±0.8 %)")

    def test_missing(self):
        self.assertEqual(self.words(None, 0, 0), "not measured")
        self.assertEqual(self.words(0.9, 0.8, 0.95, verdict="unknown"), "too few runs to say")
        result = made(blocks=6)
        self.assertEqual(show.verdict(result, "sluice", PROCESS[5]), "no ratio to 0")
        self.assertEqual(show.verdict(result, "nobody", PROCESS[0]), "not measured")

    def test_control_is_the_noise_floor(self):
        result = made(blocks=6)
        self.assertRegex(show.verdict(result, CONTROL, PROCESS[0]), r"^noise floor ±\d\.\d+ %")


class Tables(unittest.TestCase):
    def test_every_width_holds(self):
        for metrics in (PROCESS, SERVER):
            result = made(metrics=metrics, warnings=["The machine was busy. " * 8], left_out=[("snmalloc", "not found " * 12)])
            for width in [*range(show.WIDTH_MIN, 135), 200]:
                for unicode in (True, False):
                    for line in table(result, width, unicode=unicode).splitlines():
                        self.assertLessEqual(len(line), width, (width, line))

    def test_80_columns_have_everything(self):
        text = table(made())
        for words in ("wall time", "CPU time", "peak resident memory", "median", "ratio", "95 % interval", "0.87",
                      "13 % less CPU", "21 % less CPU", " % less memory", "times the memory", "no difference found",
                      "noise floor ±", "also measured", "page faults", "█", "▒", "│", "12 blocks", "seed 7",
                      "stopped when decided"):
            self.assertIn(words, text)

    def test_wide_tables_name_the_noise_floor_at_the_verdict(self):
        self.assertRegex(table(made(), 120), r"no difference found \(noise floor ±0\.\d+ %\)")

    def test_a_pipe_gets_no_control_characters(self):
        result = made(title="sh -c 'echo \033[31mred\033[0m\tx\nnext\r'", warnings=["bell \a and\nnew line"],
                      left_out=[("x\0y", "why\x1b[2J")])
        for text in (table(result), show.summary([result, result], 80, False, True)):
            self.assertEqual([c for c in text if not c.isprintable() and c != "\n"], [])

    def test_colour_changes_nothing_but_the_codes(self):
        for width in (50, 80, 120):
            result = made(metrics=SERVER)
            coloured = table(result, width, colour=True)
            self.assertIn("\033[32m", coloured)
            stripped = "\n".join(line.rstrip() for line in ESCAPE.sub("", coloured).split("\n"))
            self.assertEqual(stripped, table(result, width))

    def test_ascii_where_the_terminal_has_no_more(self):
        for width in (60, 80, 120):
            for text in (table(made(title="naïve", metrics=SERVER), width, unicode=False),
                         show.summary([made()], width, False, False)):
                self.assertEqual(text, text.encode("ascii", "replace").decode())
        self.assertIn("noise floor +-", table(made(), unicode=False))

    def test_encoding_is_asked(self):
        self.assertTrue(show.can_unicode(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")))
        for encoding in ("ascii", "latin-1"):
            self.assertFalse(show.can_unicode(io.TextIOWrapper(io.BytesIO(), encoding=encoding)))

    def test_one_variant_only(self):
        result = made(effects={})
        self.assertIn("glibc again", table(result))
        result.variants = result.variants[:1]
        result.comparisons = {}
        text = table(result)
        self.assertIn("656 ms", text.replace("655 ms", "656 ms").replace("657 ms", "656 ms"))
        self.assertNotIn("glibc again", text)

    def test_a_server_shows_its_own_numbers_first(self):
        text = table(made(metrics=SERVER))
        self.assertLess(text.index("throughput"), text.index("p99 latency"))
        self.assertLess(text.index("p99 latency"), text.index("CPU time"))
        self.assertIn("higher is better", text)
        self.assertLess(text.index("also measured"), text.index("wall time"))
        self.assertIn("27 % more throughput", text)

    def test_the_caller_may_choose_what_comes_first(self):
        text = table(made(), first=["page_faults"])
        self.assertLess(text.index("page faults"), text.index("also measured"))
        self.assertLess(text.index("also measured"), text.index("wall time"))

    def test_nothing_measured(self):
        result = made(blocks=0, stopped="interrupted")
        self.assertIn("nothing measured", table(result))
        self.assertIn("interrupted", table(result))

    def test_missing_interval(self):
        result = made()
        result.comparisons["sluice", "cpu"] = Comparison("sluice", "cpu", 0, math.nan, math.nan, None, "unknown")
        del result.comparisons["sluice", "wall"]
        self.assertEqual(table(result).count("not measured"), 2)

    def test_bars(self):
        def drawn(low, ratio, high, reach=1.25, width=21):
            return show.bar(Interval(ratio, low, high), reach, width, show.ASCII)
        self.assertEqual(drawn(0.8, 0.8, 0.8), "=#########|          ")
        self.assertEqual(drawn(1.1, 1.15, 1.2), "          |###=====  ")
        self.assertEqual(drawn(0.95, 1, 1.05), "        ==|==        ")
        self.assertEqual(drawn(3, 3.5, 4), "          |#########>")
        self.assertEqual(drawn(0.1, 0.2, 0.3), "<#########|          ")
        self.assertEqual(show.bar(None, 1.25, 5, show.ASCII), "  |  ")

    def test_warnings_and_what_was_left_out(self):
        text = table(made(warnings=["3 runs were odd."], left_out=[("snmalloc", "not installed")]))
        self.assertIn("warning: 3 runs were odd.", text)
        self.assertIn("left out: snmalloc: not installed", text)


class Summaries(unittest.TestCase):
    def results(self):
        return [made("python3", seed=1), made("sqlite3", seed=2, effects={"jemalloc": {}, "sluice": {}}), made("redis", seed=3)]

    def test_programs_and_allocators(self):
        results = self.results()
        text = show.summary(results, 80, False, True)
        for words in ("CPU time", "peak RSS", "python3", "sqlite3", "redis", "geometric mean", "mimalloc", "≈"):
            self.assertIn(words, text)
        self.assertIn("(2 of 3)", text)  # mimalloc's mean is of the programs it was measured with
        mean = stats.geometric_mean([r.comparisons["sluice", "cpu"].interval.ratio for r in results])
        line = next(line for line in text.splitlines() if line.startswith("geometric mean"))
        self.assertIn(f"{mean:.3f}", line)

    def test_every_width_holds(self):
        results = self.results() + [made("a program with a very long name indeed, and arguments", warnings=["w " * 80])]
        for width in range(show.WIDTH_MIN, 130):
            for line in show.summary(results, width, False, True).splitlines():
                self.assertLessEqual(len(line), width)

    def test_said_by_all_is_said_once(self):
        results = self.results()
        for result in results:
            result.left_out = [("snmalloc", "not installed")]
        self.assertEqual(show.summary(results, 80, False, True).count("snmalloc"), 1)

    def test_too_few_runs_are_marked(self):
        few = [made("a", blocks=3), made("b")]
        self.assertIn("?0.", show.summary(few, 80, False, True))
        self.assertIn("? too few runs", show.summary(few, 80, False, True))
        self.assertIn("?0.", export.summary_markdown(few))
        self.assertIn("too few runs to say", table(few[0]))
        self.assertNotIn("?", show.summary(few[1:], 80, False, True))

    def test_none(self):
        self.assertIn("0 programs", show.summary([], 80, False, True))


class Progressing(unittest.TestCase):
    def setUp(self):
        self.enterContext(environment(TERM="xterm", NO_COLOR=""))

    def terminal(self, columns):
        terminal = Terminal(columns)
        self.addCleanup(terminal.close)
        return terminal

    def progress(self, terminal, title="sqlite3"):
        progress = show.Progress(title, terminal.stream)
        progress.REDRAW_S = 0
        return progress

    def test_a_pipe_gets_nothing(self):
        stream = io.StringIO()
        with show.Progress("sqlite3", stream) as progress:
            progress.update(0.5, 10, "block 5 of 10")
            progress(1, 2, None, "x")
        self.assertEqual(stream.getvalue(), "")

    def test_drawn_and_erased(self):
        terminal = self.terminal(80)
        with self.progress(terminal) as progress:
            progress(1, 4, 75, "block 5 of 20: sluice")
            text = terminal.written()
            self.assertIn("sqlite3: block 5 of 20: sluice", text)
            self.assertIn("25 % 1 min 15 s left", text)
        self.assertEqual(terminal.written(), "\r\033[J")

    def test_a_long_title_leaves_room_for_the_note(self):
        terminal = self.terminal(80)
        with self.progress(terminal, "perl -e 'print for 1..100000' with arguments and more of them") as progress:
            progress.update(0.5, 12, "block 5 of at most 10: sluice")
            self.assertIn("perl -e 'print for …: block 5 of at most 10: sluice █", terminal.written())

    def test_resized(self):
        terminal = self.terminal(100)
        with self.progress(terminal) as progress:
            for columns in (100, 60, 40, 25, 12, 5, 1, 120):
                terminal.resize(columns)
                progress.update(0.5, 12, "block 5 of 10: jemalloc")
                drawn = terminal.written().rsplit("\033[J", 1)[1]
                self.assertLessEqual(len(drawn), max(0, columns - 1), (columns, drawn))
                self.assertNotIn("\n", drawn)

    def test_made_narrower_it_is_erased_whole(self):
        terminal = self.terminal(100)
        with self.progress(terminal) as progress:
            progress.update(0.5, 12, "block 5 of 10: jemalloc")
            drawn = terminal.written().rsplit("\033[J", 1)[1]
            terminal.resize(30)  # the terminal wraps what stands there
        self.assertEqual(terminal.written(), f"\r\033[{(len(drawn) - 1) // 30}A\033[J")

    def test_a_line_above_it(self):
        terminal = self.terminal(80)
        with self.progress(terminal) as progress:
            progress.update(0.5)
            terminal.written()
            progress.say("hello")
            self.assertEqual(terminal.written(), "\r\033[Jhello\n")

    def test_a_terminal_that_goes_away(self):
        other, side = pty.openpty()
        stream = os.fdopen(side, "w", encoding="utf-8")
        progress = self.progress(argparse.Namespace(stream=stream))
        os.close(other)
        progress.update(0.5)
        progress.update(0.6)
        progress.close()
        with contextlib.suppress(OSError):  # what it could not write is still in its buffer
            stream.close()

    def test_dumb_terminals_get_nothing(self):
        with environment(TERM="dumb"):
            terminal = self.terminal(80)
            with self.progress(terminal) as progress:
                progress.update(0.5)
            self.assertEqual(terminal.written(), "")
            self.assertFalse(show.wants_colour(terminal.stream))

    def test_no_color(self):
        terminal = self.terminal(80)
        self.assertTrue(show.wants_colour(terminal.stream))
        with environment(NO_COLOR="1"):
            self.assertFalse(show.wants_colour(terminal.stream))
        self.assertEqual(show.columns_of(terminal.stream), 80)
        self.assertEqual(show.columns_of(io.StringIO(), 77), 77)


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())

    def path(self, name):
        return os.path.join(self.folder, name)

    def text(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()


class Json(Folder):
    def back(self, result):
        export.write_json(result, self.path("r.json"))
        return export.read_json(self.path("r.json"))

    def test_round_trip(self):
        for result in (made(), made(metrics=SERVER, command={"server": ["redis-server", "--port", "{port}"], "ready": ["true"],
                                                             "load": ["redis-benchmark"]}),
                       made(effects={}), made(blocks=0, stopped="interrupted"),
                       made(title='quotes " and \udcff bytes', warnings=["ünicode"], left_out=[("snmalloc", "not found")])):
            self.assertEqual(self.back(result), result)
            self.assertEqual(table(self.back(result)), table(result))

    def test_what_is_in_it(self):
        result = made(blocks=2)
        export.write_json(result, self.path("r.json"))
        document = json.loads(self.text("r.json"))
        self.assertEqual((document["schema"], document["schema_version"]), ("sluice.ab", "1.0"))
        self.assertIn("ratio", document["method"])
        (one,) = document["results"]
        self.assertEqual(len(one["runs"]), 3 * len(result.variants))
        self.assertEqual(one["seed"], 7)
        self.assertEqual(one["machine"]["cores"], 2)
        self.assertEqual(set(one["runs"][0]["values"]),
                         {"wall_ns", "cpu_ns", "peak_rss_bytes", "user_ns", "page_faults", "major_faults"})
        self.assertEqual(sum('"started_s"' in line for line in self.text("r.json").splitlines()), len(result.runs))

    def test_numbers_that_json_does_not_have(self):
        result = made(blocks=2)
        result.runs[3].values["cpu"] = math.nan
        result.comparisons["sluice", "cpu"] = Comparison("sluice", "cpu", 0, math.nan, math.inf, None, "unknown")
        result.machine["load_at_start"] = math.nan
        back = self.back(result)
        self.assertTrue(math.isnan(back.runs[3].values["cpu"]))
        self.assertIsNone(back.comparisons["sluice", "cpu"].interval)
        self.assertNotIn("NaN", self.text("r.json"))

    def test_two_metrics_never_share_a_key(self):
        metrics = [Metric("cpu", "CPU", "ns"), Metric("cpu_ns", "other", ""), Metric("lag_ns", "lag", "ns")]
        self.assertEqual(export.keys_of(metrics), {"cpu": "cpu_ns", "cpu_ns": "cpu_ns_", "lag_ns": "lag_ns"})

    def test_several(self):
        results = [made("a"), made("b", seed=2)]
        export.write_json(results, self.path("r.json"))
        self.assertEqual(export.read_all(self.path("r.json")), results)
        with self.assertRaisesRegex(ValueError, "holds 2 results"):
            export.read_json(self.path("r.json"))

    def test_what_is_no_such_file(self):
        export.write_json(made(blocks=1), self.path("r.json"))
        whole = json.loads(self.text("r.json"))
        for text, words in (("{", "not JSON"), ("[]", "not of schema"), ('{"schema": "sluice.report"}', "not of schema"),
                            (json.dumps({**whole, "schema_version": "2.0"}), "schema version 2.0"),
                            (json.dumps({**whole, "results": [{}]}), "not a whole"),
                            (json.dumps({**whole, "results": 5}), "not a whole")):
            with open(self.path("bad.json"), "w", encoding="utf-8") as f:
                f.write(text)
            with self.assertRaisesRegex(ValueError, words):
                export.read_json(self.path("bad.json"))
        with self.assertRaises(OSError):
            export.read_json(self.path("none.json"))

    def test_a_newer_minor_version_is_read(self):
        export.write_json(made(blocks=1), self.path("r.json"))
        document = json.loads(self.text("r.json"))
        document.update(schema_version="1.7", new_key=1)
        document["results"][0]["runs"][0]["new_key"] = 1
        with open(self.path("new.json"), "w", encoding="utf-8") as f:
            json.dump(document, f)
        self.assertEqual(export.read_json(self.path("new.json")), made(blocks=1))


class Csv(Folder):
    def rows(self, results):
        export.write_csv(results, self.path("r.csv"))
        with open(self.path("r.csv"), encoding="utf-8", newline="") as f:
            return list(csv.DictReader(f))

    def test_every_run(self):
        result = made(title='a "quoted", title\nof two lines')
        rows = self.rows(result)
        self.assertEqual(len(rows), len(result.runs))
        for row, run in zip(rows, result.runs):
            self.assertEqual((row["title"], row["variant"], int(row["block"])), (result.title, run.variant, run.block))
            self.assertEqual(float(row["cpu_ns"]), run.values["cpu"])
            self.assertEqual(float(row["started_s"]), run.started_s)

    def test_a_value_that_is_missing_is_empty(self):
        result = made(blocks=1)
        del result.runs[2].values["cpu"]
        result.runs[3].values["cpu"] = math.nan
        rows = self.rows([result, made(metrics=SERVER, blocks=1)])
        self.assertEqual([rows[i]["cpu_ns"] for i in (2, 3)], ["", ""])
        self.assertEqual(rows[0]["throughput_per_s"], "")
        self.assertGreater(float(rows[-1]["throughput_per_s"]), 0)


class Markdown(Folder):
    def blocks(self, results):
        """(the text, its tables as lists of rows of cells)."""
        export.write_markdown(results, self.path("r.md"))
        text, tables = self.text("r.md"), []
        for line in text.splitlines():
            if line.startswith("|"):
                cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
                tables[-1].append(cells) if tables and tables[-1] is not None else tables.append([cells])
            elif tables and tables[-1] is not None:
                tables.append(None)
        return text, [t for t in tables if t]

    def test_tables_are_well_formed(self):
        result = made(title="a|b `c` <d> *e*", metrics=SERVER, warnings=["x | y"])
        text, tables = self.blocks(result)
        self.assertEqual(len(tables), 2)
        for rows in tables:
            self.assertEqual({len(r) for r in rows}, {len(rows[0])})
            self.assertTrue(all(re.fullmatch(r"---:?", c) for c in rows[1]))
        self.assertEqual(len(tables[0]) - 2, len(result.metrics) * len(result.variants))
        self.assertEqual(len(tables[1]) - 2, len(result.runs))
        self.assertIn("## a\\|b \\`c\\` &lt;d&gt; \\*e\\*", text)

    def test_the_order_of_its_parts(self):
        text, _ = self.blocks(made(warnings=["odd."], left_out=[("snmalloc", "not installed")]))
        places = [text.index(w) for w in ("| metric |", "warning: odd.", "left out: snmalloc", "<details>", "| warm-up |",
                                          "</details>", "### Method")]
        self.assertEqual(places, sorted(places))
        self.assertIn("21 % less CPU", text)
        self.assertIn("no difference found (noise floor", text)

    def test_several_begin_with_a_summary(self):
        text, tables = self.blocks([made("a"), made("b", seed=3)])
        self.assertEqual(tables[0][0][0], "CPU time")
        self.assertEqual(tables[0][-1][0], "**geometric mean**")
        self.assertEqual(len(tables), 2 + 2 * 2)
        self.assertEqual(text.count("### Method"), 1)

    def test_a_command_with_backquotes(self):
        text, _ = self.blocks(made(blocks=1, command=["sh", "-c", "echo ```"]))
        self.assertIn("\n````\n", text)

    def test_nothing_measured(self):
        text, _ = self.blocks(made(blocks=0))
        self.assertIn("Nothing measured", text)


class Files(Folder):
    def test_replaced_whole(self):
        path = self.path("r.json")
        export.write_json(made(blocks=1), path)
        os.chmod(path, 0o640)
        export.write_json(made(blocks=2), path)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        self.assertEqual(os.listdir(self.folder), ["r.json"])

    def test_a_link_stays_one(self):
        os.symlink("real.json", self.path("link.json"))
        export.write_json(made(blocks=1), self.path("link.json"))
        self.assertTrue(os.path.islink(self.path("link.json")))
        self.assertEqual(export.read_json(self.path("real.json")), made(blocks=1))

    def test_new_files_have_the_usual_mode(self):
        before = os.umask(0o027)
        self.addCleanup(os.umask, before)
        export.write_csv(made(blocks=1), self.path("r.csv"))
        self.assertEqual(stat.S_IMODE(os.stat(self.path("r.csv")).st_mode), 0o640)

    def test_a_device_is_written_to(self):
        export.write_json(made(blocks=1), "/dev/null")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))

    def test_what_cannot_be_written_says_what_to_do(self):
        with open(self.path("file"), "w", encoding="utf-8"):
            pass
        for path, kind, words in ((self.path("no/such/r.json"), FileNotFoundError, "mkdir -p"),
                                  (self.folder, IsADirectoryError, "it is a folder; name a file in it"),
                                  (self.path("file/r.json"), NotADirectoryError, "name a file elsewhere"),
                                  (self.path("x" * 300), OSError, "name a file elsewhere")):
            with self.assertRaisesRegex(kind, words) as caught:
                export.write_json(made(blocks=1), path)
            self.assertIn("cannot write " + path, str(caught.exception))
        self.assertEqual(sorted(os.listdir(self.folder)), ["file"])

    @unittest.skipIf(os.geteuid() == 0, "root may write anywhere")
    def test_a_folder_that_may_not_be_written_to(self):
        os.mkdir(self.path("shut"), 0o555)
        with self.assertRaisesRegex(PermissionError, "that you may write to"):
            export.write_json(made(blocks=1), self.path("shut/r.json"))

    def test_a_full_device(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with self.assertRaisesRegex(OSError, "No space left"):
            export.write_json(made(blocks=1), "/dev/full")


class NoMatplotlib(unittest.TestCase):
    def test_says_what_to_do(self):
        program = ("import sys; sys.path.insert(0, sys.argv[1]); from abtest import plots\n"
                   "try: plots.plot_growth({'a': [(1, 1)]}, '/nowhere/stem')\n"
                   "except plots.Unavailable as e: print(e)")
        said = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", program, os.path.join(ROOT, "scripts")],  # -S: bare
                              stdout=subprocess.PIPE, check=True, text=True).stdout
        self.assertIn("matplotlib is not installed: scripts/deps bench", said)


class PlotParts(unittest.TestCase):
    def test_labels_keep_apart(self):
        for places in ([1, 1, 1], [0, 0.1, 5, 5.05, 5.1], [3, 2, 1], [0.5], []):
            spread = plots.apart(places, 1)
            ordered = [s for _, s in sorted(zip(places, spread))]
            self.assertTrue(all(b - a >= 1 - 1e-9 for a, b in zip(sorted(spread), sorted(spread)[1:])))
            if len(set(places)) == len(places):
                self.assertEqual(ordered, sorted(spread))
        self.assertEqual(plots.apart([1, 5, 9], 1), [1, 5, 9])
        self.assertEqual(plots.apart([1, 1, 9], 1, 1, 8), [1, 2, 8])

    def test_ticks_have_1(self):
        for low, high in ((0.99, 1.01), (0.7, 1.1), (0.2, 1), (1, 15), (0.9, 1.0), (0.01, 300), (0.9999, 1.0001)):
            ticks = plots.ratio_ticks(low, high)
            self.assertTrue(any(abs(t - 1) < 1e-9 for t in ticks), ticks)
            self.assertLessEqual(len(ticks), 6)

    def test_colours_are_everybodys_own(self):
        names = ["glibc", "jemalloc", "a", "b", "sluice", "sluice-own", "c"]
        colours = plots.colours_of(names)
        self.assertEqual(len(set(colours.values())), len(names))
        self.assertEqual(colours["sluice"], plots.SLUICE)

    def test_lean_svg_keeps_its_text(self):
        self.assertEqual(plots.lean('<svg><!-- 0.123456 --><g x="1.23456"><use a="1" style="s"/>\n<use a="2" style="s"/></g>'
                                    '<text>0.123456</text></svg>'),
                         '<svg><g style="s" x="1.23"><use a="1"/>\n<use a="2"/></g><text>0.123456</text></svg>\n')


@unittest.skipUnless(HAVE_MATPLOTLIB, "not installed: python3-matplotlib")
class Plots(Folder):
    def check(self, paths):
        """PNG and SVG in turns, each whole; returns the SVGs' words."""
        words = ""
        for path in paths:
            with open(path, "rb") as f:
                data = f.read()
            if path.endswith(".png"):
                self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
                length, kind, width, height = struct.unpack(">I4sII", data[8:24])
                self.assertEqual((length, kind), (13, b"IHDR"))
                self.assertGreater(width, 1000)
                self.assertGreater(height, 100)
                self.assertEqual(data[-8:-4], b"IEND")
            else:
                tree = xml.etree.ElementTree.fromstring(data)
                self.assertEqual(tree.tag, "{http://www.w3.org/2000/svg}svg")
                words += " ".join(tree.itertext())
                self.assertNotRegex(data, rb"20\d\d-\d\d-\d\d")
                self.assertLess(len(data), 200_000)
        self.assertEqual(sorted(os.path.basename(p) for p in paths), sorted(os.listdir(self.folder)))
        return words

    def test_one_measurement(self):
        paths = plots.plot(made(title="price in $ and $"), self.path("x"))
        self.assertEqual([os.path.basename(p) for p in paths],
                         ["x-intervals.png", "x-intervals.svg", "x-order.png", "x-order.svg"])
        words = self.check(paths)
        for word in ("price in $ and $", "wall time", "peak resident memory", "sluice", "jemalloc", "glibc again", "MiB",
                     "seconds since the start"):
            self.assertIn(word, words)

    def test_a_server(self):
        words = self.check(plots.plot(made(metrics=SERVER), self.path("x")))
        self.assertIn("higher is better", words)

    def test_the_same_bytes_again(self):
        def drawn():
            contents = []
            for path in plots.plot(made(), self.path("x")):
                with open(path, "rb") as f:
                    contents.append(f.read())
            return contents
        self.assertEqual(drawn(), drawn())

    def test_little_to_draw(self):
        half = made(blocks=2)
        half.comparisons["sluice", "cpu"] = Comparison("sluice", "cpu", 0, math.nan, math.nan, None, "unknown")
        half.runs = [r for r in half.runs if r.variant != "jemalloc"]
        lonely = made(effects={})
        lonely.variants, lonely.comparisons = lonely.variants[:1], {}
        for result in (half, made(effects={}), lonely, made(blocks=0), made(blocks=1, noise=0)):
            self.check(plots.plot(result, self.path("x")))

    def test_far_off_ratios(self):
        self.check(plots.plot(made(effects={"bad": {"cpu": 40, "peak_rss": 0.02}, "sluice": {"wall": 1e-4}}), self.path("x")))

    def test_summary(self):
        results = [made("python3", seed=1), made("sqlite3", seed=2, effects={"jemalloc": {}, "sluice": {}}), made("redis")]
        words = self.check(plots.plot_summary(results, self.path("s")))
        for word in ("3 programs", "python3", "geometric mean", "CPU time", "peak RSS", "sluice"):
            self.assertIn(word, words)
        with self.assertRaisesRegex(ValueError, "nothing to draw"):
            plots.plot_summary([made(metrics=PROCESS[:1])], self.path("t"))

    def test_growth(self):
        curves = {"glibc": [(10**k, 20.0 + 9 * k) for k in range(3, 8)], "sluice": [(10**k, 8.0 + k) for k in range(3, 8)],
                  "bump": [(1000, 0), (10**7, 2)], "broken": [(5, math.nan), (6, None)]}
        words = self.check(plots.plot_growth(curves, self.path("g"), title="Live objects", xlabel="live", ylabel="ns a pair",
                                             yunit="ns", floor="bump"))
        for word in ("Live objects", "10k", "10M", "20 ns", "sluice", "bump"):
            self.assertIn(word, words)
        self.assertNotIn("broken", words)
        with self.assertRaisesRegex(ValueError, "nothing to draw"):
            plots.plot_growth({"a": [(0, 1)]}, self.path("none"))

    def test_growth_in_bytes_threads_and_plain_axes(self):
        heap = {n: [(2**k, 2**k * f) for k in range(20, 34)] for n, f in (("glibc", 1.2), ("sluice", 1.1))}
        self.assertIn("256 MiB", self.check(plots.plot_growth(heap, self.path("g"), xunit="B", yunit="B")))
        threads = {"sluice": [(2**k, 1e6 * 2**k) for k in range(7)]}
        words = self.check(plots.plot_growth(threads, self.path("g"), yunit="/s", ylog=False))
        for word in ("16", "64"):
            self.assertIn(word, words)
        self.check(plots.plot_growth({"sluice": [(1, 5)]}, self.path("g"), yunit="ns"))
        self.check(plots.plot_growth({"sluice": [(0, 5), (1, 5)]}, self.path("g"), xlog=False))


if __name__ == "__main__":
    unittest.main()
