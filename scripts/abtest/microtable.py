"""microtable: many small tests of one program as a table: a test a row, an allocator a column, the value itself.

A micro benchmark's rows are compared with the best of the other allocators, so the last column is sluice / the best peer
of that row, as the median of the ratios within blocks, with its interval.
"""

import math
import statistics

from . import show, stats
from .model import CONTROL

FLOOR = "floor_"  # tests without an allocator: what no one can be faster than


def median(result, variant, test):
    values = [v for _, v in result.values(variant, test)]
    return statistics.median(values) if values else math.nan


def peers_of(result, ours):
    """Every allocator but ours and other configurations of it."""
    library = next((v.preload for v in result.variants if v.name == ours), None)
    return [v.name for v in result.variants if v.name != CONTROL and v.preload != library]


def best_peer(result, test, ours):
    return min(peers_of(result, ours), key=lambda name: (math.isnan(m := median(result, name, test)), m), default=None)


def against(result, test, ours, peer):
    """Interval of ours / peer, block by block; None when either has no value."""
    base = dict(result.values(peer, test)) if peer else {}
    return stats.interval([v / base[block] for block, v in result.values(ours, test) if base.get(block)], result.seed)


def rows(result, tests, ours):
    """[(test, {variant: median}, best peer, Interval)]."""
    names = [v.name for v in result.variants if v.name != CONTROL]
    found = []
    for test in tests:
        peer = best_peer(result, test, ours)
        found.append((test, {n: median(result, n, test) for n in names}, peer, against(result, test, ours, peer)))
    return found


def table(result, titles, unit, ours="sluice", digits=1):
    """Markdown; `titles` maps a test's name to what its row is called. Floors stand first and have no ratio."""
    names = [v.name for v in result.variants if v.name != CONTROL]
    tests = [t for t in titles if any(not math.isnan(median(result, n, t)) for n in names)]
    lines, ratios = [], []
    for test, medians, peer, found in rows(result, tests, ours):
        cells = ["-" if math.isnan(medians[n]) else f"{medians[n]:.{digits}f}" for n in names]
        if test.startswith(FLOOR):
            last = ""
        elif found is None:
            last = "-"
        else:
            ratios.append((found.ratio, peer))
            last = f"{found.ratio:.2f} of {peer} ({found.low:.2f} – {found.high:.2f})"
        lines.append([titles[test], *cells, last])
    head = [unit, *names, f"{ours} / best peer"]
    if ratios and ours in names:
        means = [f"{stats.geometric_mean([median(result, n, t) / median(result, result.baseline, t) for t in tests if not t.startswith(FLOOR)]):.2f}"
                 for n in names]
        lines.append([f"geometric mean, to {result.baseline}", *means, f"{stats.geometric_mean([r for r, _ in ratios]):.2f}"])
    return markdown(head, lines)


def space_table(result, titles, ours="sluice"):
    """Bytes beyond the requested: differences, not ratios, since the best is 0."""
    names = [v.name for v in result.variants if v.name != CONTROL]
    lines = [[titles[t], *(f"{median(result, n, t):.1f}" for n in names)] for t in titles]
    return markdown(["bytes beyond the requested, a live object of", *names], lines)


def markdown(head, lines):
    """Columns padded, so that the text reads in a terminal too."""
    table_ = [head, *lines]
    widths = [max(show.cells(row[i]) for row in table_) for i in range(len(head))]
    def line(cells):
        padded = [c + " " * (w - show.cells(c)) if i == 0 else " " * (w - show.cells(c)) + c for i, (c, w) in enumerate(zip(cells, widths))]
        return "| " + " | ".join(padded) + " |"
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, lines)])
