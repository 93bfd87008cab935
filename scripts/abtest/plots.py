"""plots: a Result as pictures, PNG and SVG. Nothing else needs matplotlib (Debian's python3-matplotlib).

One look for all: sluice in a colour of its own and bold, the others in the colours of Okabe and Ito, which the
colour-blind tell apart; names beside the lines instead of a legend; ratios on logarithmic axes, so that 0.5 and 2 are
equally far from 1. The same input gives the same bytes: no date, no version and no random ids are in the files.
"""

import contextlib
import io
import math
import os
import re
import statistics

from . import show, stats
from .export import write_file
from .model import CONTROL

WIDTH_IN = 8.4  # inches at 96 a pixel: 806, what a README shows without shrinking
TITLE_MAX = 76  # characters of the title's size that fit beside each other
DPI = 144  # of the PNG: still sharp where a screen has 1.5 pixels for one
INK, FAINT, BAND, CONTROL_COLOUR = "#24292f", "#6e7781", "#e6eaee", "#98a1aa"
SLUICE = "#d55e00"
COLOURS = {"glibc": "#57606a", "jemalloc": "#0072b2", "mimalloc": "#009e73", "tcmalloc": "#cc79a7"}
MORE = ("#e69f00", "#56b4e9", "#8c6d31", "#5b5ba8", "#999933", "#44aa99")  # for names that have none
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}  # behind text that crosses a line
STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana"], "font.size": 9.5, "text.color": INK,
    "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.linewidth": 0.7, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5, "xtick.major.width": 0.7, "ytick.major.width": 0.7, "grid.color": "#e3e6e9", "grid.linewidth": 0.7,
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white", "svg.fonttype": "none",
    "svg.hashsalt": "sluice", "text.parse_math": False,
}


class Unavailable(RuntimeError):
    """There is no matplotlib here; the text says what to do."""


@contextlib.contextmanager
def drawing():
    """Our style and nobody else's, for as long as a picture is drawn. Needs no display."""
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.ticker
    except ImportError as missing:
        raise Unavailable(f"matplotlib is not installed: scripts/deps bench ({missing})") from missing
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield matplotlib


def save(figure, stem):
    """Writes stem.png and stem.svg; returns their paths."""
    paths = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": "scripts/ab"})):
        data = io.BytesIO()
        figure.savefig(data, format=kind, dpi=DPI, metadata=metadata)
        paths.append(f"{os.fspath(stem)}.{kind}")
        write_file(paths[-1], data.getvalue() if kind == "png" else lean(data.getvalue().decode()).encode())
    return paths


def lean(svg):
    """The same drawing in half the bytes: no comments, no thousandths of a point, and the style of a row of markers
    once instead of at each."""
    def rounded(tag):
        return re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}".rstrip("0").rstrip("."), tag[0])

    def hoisted(group):
        styles = set(re.findall(r'<use [^>]*(style="[^"]*")', group[0]))
        if len(styles) != 1:
            return group[0]
        style = styles.pop()
        return group[0].replace(f" {style}", "").replace("<g", f"<g {style}", 1)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[a-z][^>]*>", rounded, svg)
    svg = re.sub(r"<g[^>]*>\s*(<use [^>]*/>\s*){2,}</g>", hoisted, svg)
    return "\n".join(line.strip() for line in svg.splitlines() if line.strip()) + "\n"


def is_sluice(name):
    return name.startswith("sluice")


def colours_of(names):
    """{name: colour}: the known ones have always the same, the first sluice has its own."""
    spare, chosen = iter(MORE * 4), {}
    first = next((n for n in names if n == "sluice"), next((n for n in names if is_sluice(n)), None))
    for name in names:
        chosen[name] = SLUICE if name == first else COLOURS[name] if name in COLOURS else next(spare)
    return chosen


# --- axes -----------------------------------------------------------------------------------------------------------
def quiet(axes, *spines):
    """No lines but the data's on these sides."""
    for side in spines:
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def ratio_ticks(low, high, wanted=5):
    """Round ratios between two ends, 1 always among them."""
    if high / low < 3:
        step = next(s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
                    if (high - low) / s < wanted or s == 1.0)
        ends = (math.ceil((low - 1) / step - 1e-9), math.floor((high - 1) / step + 1e-9))
        return [t for t in (1 + i * step for i in range(ends[0], ends[1] + 1)) if t > 0]
    if high / low < 30:
        return [t for t in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if low <= t <= high]
    decades = (math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9))
    every = math.ceil((decades[1] - decades[0] + 1) / wanted)
    return [10.0**e for e in range(decades[0], decades[1] + 1) if e % every == 0]


def ratio_axis(plt, axes, values, wanted=5):
    """A logarithmic x axis of ratios that holds `values` and 1."""
    values = [v for v in values if not show.missing(v) and v > 0] + [1.0]
    low, high = min(values), max(values)
    margin = max(0.004, 0.11 * math.log(high / low))
    low, high = low * math.exp(-margin), high * math.exp(margin)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = ratio_ticks(low, high, wanted)
    axes.xaxis.set_major_locator(plt.ticker.FixedLocator(ticks))
    axes.xaxis.set_minor_locator(plt.ticker.NullLocator())
    axes.xaxis.set_major_formatter(plt.ticker.FuncFormatter(lambda t, _: f"{t:.4g}"))
    axes.grid(axis="x")
    axes.axvline(1, color=INK, linewidth=1, zorder=1.5)


def value_ticks(plt, axis, unit, wanted=4):
    """Ticks as people read them: 520 ms, 74 MiB, 12,000. Of bytes they are round in the unit that they are shown in."""
    low, high = axis.get_view_interval()
    scale = 1024 ** max(0, math.floor(math.log(max(abs(low), abs(high), 1), 1024))) if unit == "B" else 1
    ticks = plt.ticker.MaxNLocator(wanted, steps=[1, 2, 2.5, 5, 10]).tick_values(low / scale, high / scale)
    axis.set_major_locator(plt.ticker.FixedLocator([t * scale for t in ticks if low <= t * scale <= high]))
    axis.set_major_formatter(plt.ticker.FuncFormatter(lambda value, _: round_text(value, unit)))


def round_text(value, unit):
    """show.human without the decimals that are 0."""
    return "0" if value == 0 else re.sub(r"\.0+(?=\D|$)|(\.\d*?)0+(?=\D|$)", r"\1", show.human(value, unit))


def apart(places, gap, low=-math.inf, high=math.inf):
    """The nearest places, in the same order, that are at least `gap` from each other, and from `low` to `high` where
    there is room."""
    def kept(middle, count):
        half = (count - 1) / 2 * gap
        return min(max(middle, low + half), max(high - half, low + half))
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups = []  # [sum of wanted middles, members]
    for i in order:
        groups.append([kept(places[i], 1), [i]])
        while len(groups) > 1:
            (a, left), (b, right) = groups[-2:]
            if b - a >= gap * (len(left) + len(right)) / 2:
                break
            both = left + right
            groups[-2:] = [[kept((a * len(left) + b * len(right)) / len(both), len(both)), both]]
    spread = [0.0] * len(places)
    for middle, members in groups:
        for place, i in enumerate(members):
            spread[i] = middle + (place - (len(members) - 1) / 2) * gap
    return spread


def label_ends(axes, ends, colours, points=9.0):
    """Names at the right of an axes, each at its line's end (name -> y), none over another."""
    figure = axes.figure
    height_points = axes.get_position().height * figure.get_figheight() * 72
    names = list(ends)
    shares = [axes.transAxes.inverted().transform(axes.transData.transform((axes.get_xlim()[1], ends[n])))[1] for n in names]
    for name, wanted, share in zip(names, shares, apart(shares, points * 1.25 / height_points, 0, 1.05)):
        axes.annotate(name, (1, wanted), (8, (share - wanted) * height_points), xycoords="axes fraction",
                      textcoords="offset points", color=colours[name], fontsize=points, va="center", annotation_clip=False,
                      fontweight="bold" if is_sluice(name) else "normal",
                      arrowprops={"arrowstyle": "-", "color": colours[name], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0,
                                  "relpos": (0, 0.5)} if abs(share - wanted) * height_points > 2 else None)


def head(figure, title, about, top):
    """Title and its explanation, at the top left of the figure; `top` is the inches they may take."""
    height = figure.get_figheight()
    title = show.cut(show.plain(title), TITLE_MAX, "…")
    figure.text(0.02, 1 - 0.10 / height, title, fontsize=12, fontweight="bold", va="top")
    if about:
        figure.text(0.02, 1 - 0.34 / height, about, fontsize=9, color=FAINT, va="top")
    return 1 - top / height


def panels(plt, count, columns, cell, top, left=0.2, right=0.2, between=0.3, below=0.5, gap=0.62):
    """A figure of `count` axes in a grid, with measures in inches: `cell` the height of one, `left`, `right`, `top` and
    `below` the margins, `between` the columns' and `gap` the rows' distance."""
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    height = top + lines * cell + (lines - 1) * gap + below
    figure = plt.figure.Figure(figsize=(WIDTH_IN, height))
    width = (WIDTH_IN - left - right - (columns - 1) * between) / columns
    axes = []
    for i in range(count):
        x, y = left + (i % columns) * (width + between), height - top - (i // columns) * (cell + gap) - cell
        axes.append(figure.add_axes([x / WIDTH_IN, y / height, width / WIDTH_IN, cell / height]))
    return figure, axes


def name_room(names, points=9.0):
    """Inches that the longest of `names` takes, roughly."""
    return max([len(n) for n in names] + [4]) * points * 0.62 / 72 + 0.15


# --- one measurement ------------------------------------------------------------------------------------------------
def shown_metrics(result):
    """Those with a ratio to show, the headline first."""
    first, more = show.headline(result)
    return [m for m in first + more if any(c.interval for (_, name), c in result.comparisons.items() if name == m.name)]


def draw_intervals(plt, axes, result, metric, names):
    """One panel: a line for each variant, its ratio as a point with its interval, the control's as a band."""
    control = result.comparisons.get((CONTROL, metric.name))
    if control and control.interval:
        axes.axvspan(control.interval.low, control.interval.high, color=BAND, zorder=0.5, linewidth=0)
    found = {n: result.comparisons[n, metric.name].interval for n in names
             if (n, metric.name) in result.comparisons and result.comparisons[n, metric.name].interval}
    every = list(found.values()) + ([control.interval] if control and control.interval else [])
    ratio_axis(plt, axes, [v for i in every for v in (i.low, i.ratio, i.high)], wanted=4)
    for place, name in enumerate(names):
        interval, colour = found.get(name), SLUICE if is_sluice(name) else INK
        if interval is None:
            axes.text(1, place, " not measured", color=FAINT, va="center", fontsize=8)
            continue
        axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot([interval.ratio], [place], "o", color=colour, markersize=6 if is_sluice(name) else 5)
        axes.annotate(show.human_ratio(interval.ratio), (interval.ratio, place), (0, 5), textcoords="offset points",
                      ha="center", va="bottom", fontsize=8, color=colour,
                      fontweight="bold" if is_sluice(name) else "normal", bbox=PAPER)
    axes.set_ylim(len(names) - 0.45, -0.75)
    quiet(axes, "left")
    axes.set_title(metric.title + ("  (higher is better)" if metric.higher_is_better else ""))


def name_lines(axes, names, with_names):
    """The variants' names at the left of the first panel of each row."""
    axes.set_yticks(range(len(names)), names if with_names else [""] * len(names))
    for text, name in zip(axes.get_yticklabels(), names):
        text.set_fontsize(9.5)
        if is_sluice(name):
            text.set_color(SLUICE)
            text.set_fontweight("bold")


def plot_intervals(result, stem):
    with drawing() as plt:
        names, metrics = [n for n in show.others(result) if n != CONTROL], shown_metrics(result)
        if not names:
            names = [CONTROL] * (CONTROL in show.others(result))
        labels = [show.label(result, n) for n in names]
        if not metrics or not names:
            return plot_nothing(plt, result, stem)
        figure, axes = panels(plt, len(metrics), 3, 0.35 + 0.34 * len(names), 1.0, left=name_room(labels) + 0.1)
        head(figure, result.title, f"ratio to {result.baseline}, median of {result.blocks} paired blocks with its 95 % "
             f"interval; shaded: {result.baseline} against itself (noise)", 0.9)
        for i, (ax, metric) in enumerate(zip(axes, metrics)):
            draw_intervals(plt, ax, result, metric, names)
            name_lines(ax, labels, i % 3 == 0)
        return save(figure, stem)


def plot_nothing(plt, result, stem):
    figure, (axes,) = panels(plt, 1, 1, 0.5, 0.6)
    axes.axis("off")
    head(figure, result.title, "nothing to compare: no two variants were measured", 0.6)
    return save(figure, stem)


def draw_order(plt, axes, result, metric, names, colours):
    """One panel: every run's value at the time it started; what is off a variant's line is easily seen."""
    ends = {}
    for name in names:
        runs = [r for r in result.runs if r.variant == name and metric.name in r.values]
        measured = [(r.started_s, r.values[metric.name]) for r in runs if r.block]
        if not measured:
            continue
        warm = [(r.started_s, r.values[metric.name]) for r in runs if not r.block]
        strong = is_sluice(name)
        axes.plot(*zip(*measured), "o-", color=colours[name], markersize=3.6 if strong else 2.8, markeredgewidth=0,
                  linewidth=1.4 if strong else 0.8, alpha=1 if strong else 0.85, zorder=3 if strong else 2)
        if warm:
            axes.plot(*zip(*warm), "o", color=colours[name], markersize=3.2, markerfacecolor="white", markeredgewidth=0.8)
        ends[show.label(result, name)] = statistics.median(v for _, v in measured[-max(1, len(measured) // 5):])
    axes.grid(axis="y")
    quiet(axes, "left")
    axes.set_title(metric.title)
    value_ticks(plt, axes.yaxis, metric.unit)
    label_ends(axes, ends, {show.label(result, n): c for n, c in colours.items()})


def plot_order(result, stem):
    with drawing() as plt:
        names = [result.baseline] + show.others(result)
        colours = colours_of([n for n in names if n != CONTROL])
        colours[CONTROL] = CONTROL_COLOUR
        labels = [show.label(result, n) for n in names]
        metrics = [m for m in show.headline(result)[0] if any(m.name in r.values for r in result.runs if r.block)]
        if not metrics:
            return plot_nothing(plt, result, stem)
        figure, axes = panels(plt, len(metrics), 1, 1.45, 1.0, left=0.85, right=name_room(labels) + 0.15, gap=0.45)
        head(figure, result.title, "every run, in the order they were made (open: warm-up); a slope is drift of the machine",
             0.9)
        for ax, metric in zip(axes, metrics):
            draw_order(plt, ax, result, metric, names, colours)
            ax.tick_params(labelbottom=ax is axes[-1])
        axes[-1].set_xlabel("seconds since the start", fontsize=9)
        return save(figure, stem)


def plot(result, stem):
    """Writes stem-intervals and stem-order, each as .png and .svg; returns the paths."""
    return plot_intervals(result, f"{os.fspath(stem)}-intervals") + plot_order(result, f"{os.fspath(stem)}-order")


# --- several measurements -------------------------------------------------------------------------------------------
def draw_summary(plt, axes, having, name, columns, colours):
    """One panel: a line for each program, a point for each allocator, the geometric means below a rule."""
    found = {(place, c): r.comparisons[c, name].interval for place, r in enumerate(having) for c in columns
             if (c, name) in r.comparisons and r.comparisons[c, name].interval}
    ratio_axis(plt, axes, [v for (_, c), i in found.items() for v in ((i.low, i.high) if is_sluice(c) else (i.ratio,))])
    for place, result in enumerate(having):
        control = result.comparisons.get((CONTROL, name))
        if control and control.interval:
            axes.fill_betweenx([place - 0.38, place + 0.38], control.interval.low, control.interval.high, color=BAND,
                               linewidth=0, zorder=0.6)
    last = len(having)
    for column in columns:
        strong = is_sluice(column)
        look = {"color": colours[column], "markersize": 7 if strong else 5.5, "markeredgewidth": 0,
                "zorder": 4 if strong else 3, "alpha": 1 if strong else 0.85}
        points = [(i.ratio, place) for (place, c), i in found.items() if c == column]
        if not points:
            continue
        axes.plot(*zip(*points), "o", **look)
        if strong:
            for (place, c), i in found.items():
                if c == column:
                    axes.plot([i.low, i.high], [place, place], color=colours[column], linewidth=2, zorder=3.5)
        mean = stats.geometric_mean([ratio for ratio, _ in points])
        axes.plot([mean], [last + 0.1], "D", **look)
        if strong:
            axes.annotate(show.human_ratio(mean), (mean, last + 0.1), (0, -8), textcoords="offset points", ha="center",
                          va="top", fontsize=8.5, fontweight="bold", color=colours[column], bbox=PAPER, zorder=5)
    axes.axhline(last - 0.42, color=FAINT, linewidth=0.6)
    axes.set_ylim(last + 1, -0.65)
    axes.grid(axis="y", visible=False)
    quiet(axes, "left")


def plot_summary(results, stem, metrics=show.SUMMARY):
    """Writes stem.png and stem.svg: ratios of every program and allocator, and their geometric means, a panel for each of
    `metrics` ((name, title), ...) that occurs; returns the paths."""
    with drawing() as plt:
        columns = [c for c in show.summary_columns(results) if c != CONTROL]
        colours = colours_of(columns)
        metrics = [(n, t) for n, t in metrics if any(m.name == n for r in results for m in r.metrics)]
        if not metrics or not columns:
            raise ValueError("nothing to draw: no result has a ratio in " + ", ".join(n for n, _ in show.SUMMARY))
        titles = [show.cut(show.plain(r.title), 28, "…") for r in results] + ["geometric mean"]
        figure, axes = panels(plt, len(metrics), 2, 0.45 + 0.27 * len(titles), 1.25, left=name_room(titles) + 0.1, below=0.45)
        bases = {r.baseline for r in results}
        head(figure, f"{len(results)} programs, as ratios to {bases.pop() if len(bases) == 1 else 'their baselines'}",
             "left of 1 is better; grey: the baseline against itself (noise); diamond: geometric mean", 1.0)
        colour_key(figure, columns, colours, 1.25 - 0.62)
        for i, (ax, (name, title)) in enumerate(zip(axes, metrics)):
            draw_summary(plt, ax, results, name, columns, colours)
            ax.set_title(title)
            ax.set_yticks([*range(len(results)), len(results) + 0.1], titles if i % 2 == 0 else [""] * len(titles))
            ax.get_yticklabels()[-1].set_fontweight("bold")
        return save(figure, stem)


def colour_key(figure, names, colours, inches):
    """The names in a row, in their colours, `inches` below the top."""
    x, y = 0.02, 1 - inches / figure.get_figheight()
    for name in names:
        figure.text(x, y, "● " + name, color=colours[name], fontsize=9.5, va="top",
                    fontweight="bold" if is_sluice(name) else "normal")
        x += (len(name) + 4) * 9.5 * (0.68 if is_sluice(name) else 0.62) / 72 / WIDTH_IN


# --- growth ---------------------------------------------------------------------------------------------------------
def growth_ticks(plt, axis, values, unit):
    """Decades (of bytes: powers of 16 or 4) within the data, as 1k, 1M, 4 KiB, 10 ns."""
    low, high = min(values), max(values)
    base = 10 if unit != "B" else 16 if high / low > 4096 else 4
    first, last = (math.floor(math.log(v, base) + slack) for v, slack in ((low, -1e-9), (high, 1 + 1e-9)))
    ticks = [float(base)**e for e in range(first, last + 1)]
    if unit == "" and high / low <= 1024 and all(math.log2(v) == int(math.log2(v)) for v in values):
        ticks = sorted(set(values))  # 1, 2, 4, 8 threads
    elif base == 10 and len(ticks) <= 4:
        ticks = sorted(t * f for t in ticks for f in (1, 2, 5))
    axis.set_major_locator(plt.ticker.FixedLocator([t for t in ticks if low * 0.85 <= t <= high * 1.15] or [low, high]))
    axis.set_minor_locator(plt.ticker.NullLocator())
    axis.set_major_formatter(plt.ticker.FuncFormatter(lambda v, _: growth_text(v, unit)))


def growth_text(value, unit):
    if unit in ("ns", "B"):
        return round_text(value, unit)
    number = next((f"{value / size:.4g}{mark}" for mark, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if value >= size),
                  f"{value:.4g}")
    return number + (unit if unit in ("", "/s") else " " + unit)


def plot_growth(curves, stem, title="", xlabel="", ylabel="", about="", xunit="", yunit="", xlog=True, ylog=True, floor=None):
    """Writes stem.png and stem.svg: a line for each of curves ({name: [(x, y), ...]}); returns the paths.

    Units are the metrics' ("ns", "B", "/s", "" a count) and make the ticks readable. A point that a logarithmic axis
    cannot hold (0, or not finite) is left out. `floor` names curves to draw dashed: what no allocator can beat."""
    kept = {name: [(x, y) for x, y in sorted(points) if not (show.missing(x) or show.missing(y)) and
                   (x > 0 or not xlog) and (y > 0 or not ylog)] for name, points in curves.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        raise ValueError(f"nothing to draw in {stem}: no curve has a point")
    floor = {floor} if isinstance(floor, str) else set(floor or ())
    with drawing() as plt:
        colours = {**colours_of([n for n in kept if n not in floor]), **{n: CONTROL_COLOUR for n in floor}}
        top = 0.95 if about else 0.75
        figure, (axes,) = panels(plt, 1, 1, 3.3, top, left=0.95, right=name_room(kept, 10) + 0.15, below=0.6)
        head(figure, title, about, top)
        for name, points in kept.items():
            strong = is_sluice(name)
            axes.plot(*zip(*points), "--" if name in floor else "o-", color=colours[name], linewidth=2.4 if strong else 1.4,
                      markersize=5 if strong else 3.5, markeredgewidth=0, zorder=3 if strong else 2)
        for i, (axis, log, unit) in enumerate(((axes.xaxis, xlog, xunit), (axes.yaxis, ylog, yunit))):
            if log:
                (axes.set_yscale if i else axes.set_xscale)("log")
                growth_ticks(plt, axis, [p[i] for points in kept.values() for p in points], unit)
            else:
                value_ticks(plt, axis, unit)
        axes.grid(axis="y")
        quiet(axes, "left")
        axes.set_xlabel(xlabel)
        axes.set_title(ylabel, fontweight="normal", fontsize=9, color=FAINT)
        label_ends(axes, {name: points[-1][1] for name, points in kept.items()}, colours, 10)
        return save(figure, stem)
