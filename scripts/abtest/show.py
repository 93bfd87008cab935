"""show: a Result as people read it: the tables of the terminal, the verdicts in plain words, the progress bar.

Everything here returns or prints text; nothing decides (the verdicts come from the comparisons) and nothing measures.
A text never holds a control character but the newline, and colour codes only where the caller asks for colour.
"""

import collections
import math
import os
import statistics
import sys
import textwrap
import time
import unicodedata

from . import stats
from .model import CONTROL

HEADLINE = ("wall", "cpu", "peak_rss")  # what decides for most people; the other metrics go to the smaller table
OWN_MAX = 3  # of a server's own metrics (throughput, latencies) in the headline
SUMMARY = (("cpu", "CPU time"), ("peak_rss", "peak RSS"))
# The noun after "12 % less"; a metric that is not here is called by its title.
NOUN = {"wall": "time", "cpu": "CPU", "user": "user CPU", "system": "system CPU", "peak_rss": "memory"}
STOPPED = {"decided": "stopped when decided", "blocks": "all blocks done", "budget": "stopped at the time budget",
           "interrupted": "interrupted"}
BOUNDS = (1.01, 1.02, 1.03, 1.05, 1.1, 1.15, 1.25, 1.5, 2, 3, 5)  # of a bar's axis, to either side; beyond is an arrow
BAR_MIN, BAR_GOOD, BAR_MAX = 11, 17, 33
WORDS_MIN = 8  # of columns for a verdict; in less it says nothing
NAME_MIN, SUMMARY_NAME_MAX = 16, 24
WIDTH_MIN = 26  # of a page, in columns: a short name, a median and a ratio

Glyphs = collections.namedtuple("Glyphs", "centre sure unsure below above pm dash about dots full empty")
UNICODE = Glyphs("│", "█", "▒", "◀", "▶", "±", "–", "≈", "…", "█", "░")
ASCII = Glyphs("|", "#", "=", "<", ">", "+-", "-", "~", "..", "#", ".")


# --- numbers --------------------------------------------------------------------------------------------------------
def missing(value):
    return value is None or not math.isfinite(value)


def three_digits(value, step, units):
    """`value` in the largest unit that it fills, as `sluice report` does: 1000 bytes are 0.98 KiB."""
    for i, unit in enumerate(units):
        if abs(value) < 999.5 or i + 1 == len(units):
            break
        value /= step
    decimals = 0 if abs(value) >= 99.95 or i == 0 and value == int(value) else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{decimals}f} {unit}"


def human(value, unit=""):
    """A value as people read it: unit "ns", "B", "/s", "" (a count) or any other, which is put behind it."""
    if missing(value):
        return "-"
    if unit == "ns":
        seconds = round(value / 1e9)
        return three_digits(value, 1000, ("ns", "us", "ms", "s")) if seconds < 60 else duration(seconds)
    if unit == "B":
        return three_digits(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    whole = value == int(value) or abs(value) >= 99.95
    return f"{value:,.{0 if whole else 1 if abs(value) >= 9.995 else 2}f}{unit if unit in ('', '/s') else ' ' + unit}"


def duration(seconds):
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds // 3600} h {seconds // 60 % 60:02} min"


def human_ratio(ratio):
    """Four figures or so, always narrow: 0.881, 13.12, 131."""
    if missing(ratio):
        return "-"
    if 0 < ratio < 0.001:
        return "<.001"
    return f"{ratio:.3f}" if ratio < 9.9995 else f"{ratio:.2f}" if ratio < 99.995 else f"{ratio:.0f}"


def percent(share):
    """The size of an effect: 12 %, 2.3 %, 0.04 %."""
    size = abs(share) * 100
    if size < 0.005:
        return "<0.01 %"
    return f"{size:.0f} %" if size >= 9.95 else f"{size:.1f} %" if size >= 0.095 else f"{size:.2f} %"



# --- words ----------------------------------------------------------------------------------------------------------
def found(comparison):
    """"better", "worse", "no difference" or "unknown". An interval that covers 1 is never a finding."""
    if not comparison or not comparison.interval or missing(comparison.interval.ratio):
        return "unknown"
    if comparison.interval.covers(1.0) and comparison.verdict in ("better", "worse"):
        return "no difference"
    return comparison.verdict


def effect(ratio, metric):
    """"12 % less CPU", "3.1 times the CPU"."""
    noun = NOUN.get(metric.name, metric.title)
    if ratio >= 2:
        return f"{three_digits(ratio, 1000, ('',)).strip()} times the {noun}"
    return f"{percent(ratio - 1)} {'more' if ratio > 1 else 'less' if metric.unit else 'fewer'} {noun}"


def verdict(result, variant, metric, long=True, glyphs=UNICODE):
    """What one variant does to one metric, in plain words."""
    comparison, floor = result.comparisons.get((variant, metric.name)), stats.noise_floor(result, metric.name)
    outcome = found(comparison)
    noise = "" if missing(floor) else f"noise floor {glyphs.pm}{percent(floor)}"
    if variant == CONTROL and noise:
        moved = comparison and comparison.interval and not comparison.interval.covers(1.0)
        return noise + (", and not around 1" if moved and long else "")
    if comparison and not comparison.interval and comparison.baseline_median == 0:
        return "no ratio to 0"
    if outcome == "unknown":
        return "too few runs to say" if comparison and comparison.interval else "not measured"
    if outcome == "no difference":
        return "no difference found" + (f" ({noise})" if long and noise else "")
    return effect(comparison.interval.ratio, metric)


def label(result, variant):
    """A variant's name in tables: the control is the baseline again."""
    return f"{result.baseline} again" if variant == CONTROL else variant


def others(result):
    """Names of the variants in tables' order: without the baseline, the control last."""
    names = [v.name for v in result.variants if v.name != result.baseline]
    return [n for n in names if n != CONTROL] + [n for n in names if n == CONTROL]


def headline(result, first=None):
    """(metrics for the first tables, the others), both in the result's order. `first` names the first ones; without
    it they are wall time, CPU and memory; of a server its own metrics, which come first, instead of the wall time: a
    load is often as long as it was asked to be."""
    names = [m.name for m in result.metrics]
    if first is None:
        own = names[:names.index("wall")][:OWN_MAX] if "wall" in names else []
        first = own + [n for n in HEADLINE if not (own and n == "wall")]
    chosen = [m for m in result.metrics if m.name in first] or result.metrics[:3]
    return chosen, [m for m in result.metrics if m not in chosen]


def baseline_median(result, metric):
    values = [v for _, v in result.values(result.baseline, metric.name)]
    return statistics.median(values) if values else None


def tail(result):
    """The facts under a table, as sentences: how it ended, what warns, what was left out, variants' notes."""
    count = len(result.variants)
    facts = [f"{result.blocks} blocks of {count} runs", STOPPED.get(result.stopped, result.stopped), f"seed {result.seed}"]
    yield "", ", ".join(filter(None, facts)) + "."
    for variant in result.variants:
        if variant.note and variant.name != CONTROL:
            yield "note: ", f"{variant.name}: {variant.note}"
    for warning in result.warnings:
        yield "warning: ", warning
    for name, reason in result.left_out:
        yield "left out: ", f"{name}: {reason}"


# --- text that fits -------------------------------------------------------------------------------------------------
def plain(text, unicode=True):
    """`text` without control characters, and in ASCII where the terminal has no more."""
    text = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(text))
    return text if unicode else text.encode("ascii", "replace").decode()


def cells(text):
    """Columns of a terminal that `text` fills."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text, width, dots):
    if cells(text) <= width:
        return text
    while text and cells(text) > width - len(dots):
        text = text[:-1]
    return (text + dots)[:max(0, width)]


def left(text, width):
    return text + " " * (width - cells(text))


def right(text, width):
    return " " * (width - cells(text)) + text


class Page:
    """Collects lines: knows the width, the glyphs, and whether to colour."""

    SGR = {"better": "32", "worse": "31", "no difference": "2", "unknown": "2", "dim": "2", "bold": "1", "warn": "33"}

    def __init__(self, width, colour, unicode):
        self.width, self.colour, self.unicode = max(WIDTH_MIN, width), colour, unicode
        self.glyphs = UNICODE if unicode else ASCII
        self.lines = []

    def paint(self, text, *styles):
        codes = ";".join(self.SGR[s] for s in styles if s)
        return f"\033[{codes}m{text}\033[0m" if self.colour and codes and text.strip() else text

    def clean(self, text):
        return plain(text, self.unicode)

    def add(self, line=""):
        self.lines.append(line.rstrip())

    def wrap(self, lead, text, style=""):
        """A paragraph, its lead in a style and its further lines indented."""
        for i, line in enumerate(textwrap.wrap(lead + self.clean(text), self.width, subsequent_indent="  ") or [""]):
            self.add(self.paint(lead, style) + line[len(lead):] if i == 0 else line)

    def text(self):
        return "\n".join(self.lines) + "\n"


# --- the table of one result ----------------------------------------------------------------------------------------
def bound(result, metric):
    """How far a bar's axis reaches to either side, as a factor."""
    ends = [1.0]
    for (_, name), comparison in result.comparisons.items():
        if name == metric.name and comparison.interval:
            ends += [comparison.interval.low, comparison.interval.high]
    farthest = max(max(e, 1 / e) if not missing(e) and e > 0 else BOUNDS[-1] for e in ends)
    return next((b for b in BOUNDS if b >= farthest), BOUNDS[-1])


def bar(interval, reach, width, glyphs):
    """The distance from 1.00, on a logarithmic axis: full where it is sure, shaded where the interval lies."""
    half = width // 2
    if not interval or missing(interval.ratio):
        return " " * half + glyphs.centre + " " * half

    def cell(ratio):
        return round(math.log(ratio) / math.log(reach) * half) if not missing(ratio) and ratio > 0 else -half - 1
    low, high = cell(interval.low), cell(interval.high)
    drawn = ""
    for i in range(-half, half + 1):
        if i == 0:
            drawn += glyphs.centre
        elif i == -half and low < i:
            drawn += glyphs.below
        elif i == half and high > i:
            drawn += glyphs.above
        elif low <= i <= high:
            drawn += glyphs.unsure
        else:
            drawn += glyphs.sure if 0 < i < low or high < i < 0 else " "
    return drawn


def axis(reach, width):
    low, high = f"{1 / reach:.2f}", f"{reach:.2f}"
    half = width // 2
    return left(low, half) + "1" + right(high, half)


Row = collections.namedtuple("Row", "variant name median ratio interval outcome words brief raw")


def rows(result, metric, page):
    """The lines of a metric: the baseline, the others, and the control last."""
    g = page.glyphs
    yield Row(result.baseline, page.clean(result.baseline), human(baseline_median(result, metric), metric.unit), "", "", "",
              "", "", None)
    for variant in others(result):
        comparison = result.comparisons.get((variant, metric.name))
        between = comparison.interval if comparison else None
        yield Row(variant, page.clean(label(result, variant)), human(comparison.median if comparison else None, metric.unit),
                  human_ratio(between.ratio) if between else "-",
                  f"{human_ratio(between.low)}{g.dash}{human_ratio(between.high)}" if between else "-",
                  found(comparison), page.clean(verdict(result, variant, metric, True, g)),
                  page.clean(verdict(result, variant, metric, False, g)), between)


class Layout:
    """Widths of the columns: the bar takes what is left; what does not fit goes, first long verdicts, then the bar,
    then the interval."""

    def __init__(self, sections, page):
        every = [r for lines in sections for r in lines]
        self.name = min(max(cells(r.name) for r in every), max(12, page.width // 4))
        self.median = max([8] + [cells(r.median) for r in every])
        self.ratio = max([6] + [cells(r.ratio) for r in every])
        self.interval = max([13] + [cells(r.interval) for r in every])
        self.long, self.bar = True, 0
        self.name = min(self.name, page.width - self.median - self.ratio - 2)
        fixed = self.name + self.median + self.ratio + 3
        rest = page.width - fixed - self.interval - 2
        brief, words = (max([1] + [cells(getattr(r, kind)) for r in every]) for kind in ("brief", "words"))
        if rest - words - 1 < BAR_GOOD:
            self.long = False
        self.words = words if self.long else brief
        bar_width = min(BAR_MAX, rest - self.words - 1)
        if bar_width >= BAR_MIN:
            self.bar = bar_width - 1 + bar_width % 2
        elif rest < self.words:
            self.interval = 0
            rest = page.width - fixed - 1
        self.words = min(self.words, rest - (self.bar + 1 if self.bar else 0))
        if self.words < WORDS_MIN:
            self.words = 0


def section(page, layout, result, metric, lines):
    """One metric: its heading with the axis of the bars, and a line for each variant."""
    reach = bound(result, metric)
    room = layout.name + 1 + layout.median
    title = cut(page.clean(metric.title), room, page.glyphs.dots)
    median = right("median", room - cells(title)) if room - cells(title) > 6 else " " * (room - cells(title))
    head = " ".join(filter(None, [median, right("ratio", layout.ratio),
                                  left("95 % interval", layout.interval) if layout.interval else ""]))
    up = page.paint("higher is better", "dim") if metric.higher_is_better and layout.words >= 16 else ""
    page.add(page.paint(title, "bold") + page.paint(head, "dim") + " " +
             (page.paint(axis(reach, layout.bar), "dim") + " " if layout.bar else "") + up)
    for row in lines:
        page.add(line(page, layout, row, reach))


def line(page, layout, row, reach):
    style = "dim" if row.variant == CONTROL else row.outcome
    emphasis = "bold" if row.variant.startswith("sluice") else "dim" if row.variant == CONTROL else ""
    parts = [page.paint(left(cut(row.name, layout.name, page.glyphs.dots), layout.name), emphasis),
             right(row.median, layout.median), page.paint(right(row.ratio, layout.ratio), style)]
    if layout.interval:
        parts.append(left(row.interval, layout.interval))
    if layout.bar:
        parts.append(page.paint(bar(row.raw, reach, layout.bar, page.glyphs), style if row.raw else "dim"))
    words = row.words if layout.long else row.brief
    parts.append(page.paint(cut(words, layout.words, page.glyphs.dots), style))
    return " ".join(parts)


def ratio_cell(page, comparison):
    """(text, style) of a ratio in a small table: marked where no difference was found."""
    if not comparison or not comparison.interval or missing(comparison.interval.ratio):
        return "-", "dim"
    return marked(comparison, page.glyphs), found(comparison)


def marked(comparison, glyphs=UNICODE):
    """A ratio, with a mark where it is no finding: see legend()."""
    mark = {"no difference": glyphs.about, "unknown": "?"}.get(found(comparison), "")
    return mark + human_ratio(comparison.interval.ratio) if comparison and comparison.interval else "-"


def legend(results, glyphs=UNICODE):
    """What the marks mean that these results need."""
    few = any(c.interval and found(c) == "unknown" for r in results for c in r.comparisons.values())
    return f"{glyphs.about} no difference found" + ("; ? too few runs." if few else ".")


def grid(page, head, body, name_max):
    """A small table: `body` lists rows, of (text, style) cells, under `head`. Too many columns go below, in parts."""
    widths = [max(cells(r[i][0]) for r in body + [[(h, "") for h in head]]) + 2 for i in range(len(head))]
    first = min(widths[0] - 2, name_max)
    if NAME_MIN <= page.width - sum(widths[1:]) < first:  # a shorter name rather than a second part
        first = page.width - sum(widths[1:])
    widths = [min(w, page.width - first) for w in widths[1:]]
    begin = 0
    while begin < len(widths) or begin == 0:
        end = begin + 1
        while end < len(widths) and first + sum(widths[begin:end + 1]) <= page.width:
            end += 1
        for texts, heading in [([(h, "dim") for h in head], True)] + [(r, False) for r in body]:
            name = left(cut(texts[0][0], first, page.glyphs.dots), first)
            page.add(page.paint(name, "bold" if heading else texts[0][1]) + "".join(
                page.paint(right(cut(t, w - 1, page.glyphs.dots), w), s)
                for (t, s), w in zip(texts[1 + begin:1 + end], widths[begin:end])))
        begin = end


def small_table(page, result, metrics):
    """The metrics that are not in the headline: the baseline's medians, and ratios to them."""
    names = others(result)
    head = ["also measured"] + [page.clean(label(result, n)) for n in [result.baseline] + names]
    body = [[(page.clean(m.title), ""), (human(baseline_median(result, m), m.unit), "")] +
            [ratio_cell(page, result.comparisons.get((n, m.name))) for n in names] for m in metrics]
    grid(page, head, body, max(NAME_MIN, page.width // 3))
    page.wrap("", f"Ratios to {result.baseline}; {legend([result], page.glyphs)}")


def table(result, width, colour, unicode=None, first=None):
    """The whole answer for one command, as text of at most `width` columns; `unicode` None asks standard output,
    `first` names the metrics that get a table of their own."""
    page = Page(width, colour, can_unicode(sys.stdout) if unicode is None else unicode)
    page.add(page.paint(cut(page.clean(result.title), page.width, page.glyphs.dots), "bold"))
    if not any(r.block for r in result.runs):
        page.add("nothing measured: no block was completed")
    else:
        chosen, more = headline(result, first)
        lines = [list(rows(result, m, page)) for m in chosen]
        layout = Layout(lines, page)
        for metric, of_metric in zip(chosen, lines):
            page.add()
            section(page, layout, result, metric, of_metric)
        if more:
            page.add()
            small_table(page, result, more)
    page.add()
    for lead, text in tail(result):
        page.wrap(lead, text, "warn" if lead.startswith("warning") else "bold")
    return page.text()


# --- the summary of several -----------------------------------------------------------------------------------------
def summary_columns(results):
    """Every variant but the baselines, in the order of appearance, the control last."""
    names = list(dict.fromkeys(v.name for r in results for v in r.variants if v.name != r.baseline))
    return [n for n in names if n != CONTROL] + [n for n in names if n == CONTROL]


def summary_table(page, results, name, title):
    """Ratios of one metric: programs as rows, allocators as columns, geometric means below."""
    having = [(r, m) for r in results for m in r.metrics if m.name == name]
    if not having:
        return
    columns = summary_columns([r for r, _ in having])
    bases = {r.baseline for r, _ in having}
    base = bases.pop() if len(bases) == 1 else "baseline"
    head = [title, page.clean(base)] + [page.clean(f"{base} again" if c == CONTROL else c) for c in columns]
    body, means = [], [[] for _ in columns]
    for result, metric in having:
        compared = [result.comparisons.get((c, metric.name)) for c in columns]
        body.append([(page.clean(result.title), ""), (human(baseline_median(result, metric), metric.unit), "")] +
                    [ratio_cell(page, c) for c in compared])
        for ratios, comparison in zip(means, compared):
            if comparison and comparison.interval:
                ratios.append(comparison.interval.ratio)
    body.append([("geometric mean", "bold"), ("", "")] + [(mean_cell(r, len(having)), "bold") for r in means])
    page.add()
    grid(page, head, body, min(SUMMARY_NAME_MAX, max(NAME_MIN, page.width // 4)))


def mean_cell(ratios, programs):
    """The mean says of how many programs it is when some are missing."""
    mean = human_ratio(stats.geometric_mean(ratios))
    return mean if len(ratios) == programs or not ratios else f"{mean} ({len(ratios)} of {programs})"


def remarks(results):
    """Warnings and reasons of all results; what all of them say is said once."""
    said = collections.defaultdict(list)
    for result in results:
        for lead, text in tail(result):
            if lead in ("warning: ", "left out: ") and result.title not in said[lead, text]:
                said[lead, text].append(result.title)
    for (lead, text), titles in said.items():
        yield lead, text if len(titles) == len(results) else f"{', '.join(titles)}: {text}"


def summary(results, width, colour, unicode=None, metrics=SUMMARY):
    """Several results side by side, as text of at most `width` columns: ratios to the baseline, in a table for each of
    `metrics` ((name, heading), ...)."""
    page = Page(width, colour, can_unicode(sys.stdout) if unicode is None else unicode)
    page.add(page.paint(f"{len(results)} program{'s' * (len(results) != 1)}", "bold"))
    for name, title in metrics:
        summary_table(page, results, name, title)
    page.add()
    page.wrap("", f"Ratios to the medians: lower is better; {legend(results, page.glyphs)}")
    for lead, text in remarks(results):
        page.wrap(lead, text, "warn" if lead == "warning: " else "bold")
    return page.text()


# --- the terminal ---------------------------------------------------------------------------------------------------
def can_unicode(stream):
    """Whether the stream's encoding has our glyphs."""
    try:
        "".join(UNICODE).encode(getattr(stream, "encoding", None) or "ascii")
        return True
    except (UnicodeEncodeError, LookupError):
        return False


def is_terminal(stream):
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def columns_of(stream, otherwise=100):
    """The terminal's width now; `otherwise` for a pipe or a file."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or otherwise
    except (AttributeError, OSError, ValueError):
        return otherwise


def wants_colour(stream):
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") not in ("", "dumb")


class Progress:
    """A bar on standard error with the time left, only where that is a terminal; erased at the end.

        with Progress("sqlite3") as progress:
            progress.update(0.25, left_s=30, note="block 5 of 20")

    The width is asked at each drawing, so a resized terminal gets the next bar right. Without `left_s` the time left
    is what the share done so far suggests."""

    REDRAW_S = 0.1
    WIDTH_MAX = 100

    def __init__(self, title="", stream=None):
        self.stream = sys.stderr if stream is None else stream
        self.on = is_terminal(self.stream) and os.environ.get("TERM", "") != "dumb"
        self.unicode = can_unicode(self.stream)
        self.glyphs = UNICODE if self.unicode else ASCII
        self.title, self.begin, self.drawn_at, self.drawn = title, time.monotonic(), -math.inf, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __call__(self, done, total, left_s=None, note=""):
        """The same, as the schedule reports it."""
        self.update(done / total if total else 0.0, left_s, note)

    def update(self, share, left_s=None, note=""):
        """Draws, at most every tenth of a second. `share` is what is done, 0 to 1."""
        now = time.monotonic()
        if not self.on or now - self.drawn_at < self.REDRAW_S:
            return
        share = min(1.0, max(0.0, share))
        if left_s is None and share > 0:
            left_s = (now - self.begin) * (1 - share) / share
        width = min(self.WIDTH_MAX, columns_of(self.stream, 80) - 1)
        text = self.text(share, left_s, note, width)
        self.write(self.erasing(width + 1) + text)
        self.drawn_at, self.drawn = now, cells(text)

    def text(self, share, left_s, note, width):
        """The bar in `width` columns. Where there is little room the title becomes short, then the note goes."""
        time_left = f" {duration(left_s)} left" if left_s is not None and math.isfinite(left_s) else ""
        end = f" {share * 100:3.0f} %{time_left}"
        title, note = plain(self.title, self.unicode), plain(note, self.unicode)
        short = cut(title, 20, self.glyphs.dots)
        for words in ((title, note), (short, note), (short,), ()):
            lead = ": ".join(filter(None, words)) + " " if any(words) else ""
            room = width - cells(lead) - cells(end)
            if room >= 10 or not lead:
                break
        room = min(room, 30)
        full = round(share * room)
        drawn = self.glyphs.full * full + self.glyphs.empty * (room - full) if room >= 4 else ""
        return cut(lead + drawn + end if drawn else end.strip(), max(0, width), self.glyphs.dots)

    def erasing(self, columns):
        """Goes to the start of what was drawn and clears from there; a terminal that became narrower since has
        wrapped it over several lines."""
        up = (self.drawn - 1) // columns if self.drawn and columns > 0 else 0
        return "\r" + (f"\033[{up}A" if up else "") + "\033[J"

    def clear(self):
        """Erases the bar, before something else is printed; the next update draws it again."""
        if self.on and self.drawn:
            self.write(self.erasing(columns_of(self.stream, 80)))
            self.drawn, self.drawn_at = 0, -math.inf

    def say(self, text):
        """A line above the bar; without a terminal, just the line."""
        self.clear()
        self.write(text + "\n")

    def close(self):
        self.clear()
        self.on = False

    def write(self, text):
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            self.on = False  # the terminal went away
