"""stats: from paired runs to a ratio, its interval and a verdict.

Every block gives one ratio, variant / baseline, of two runs made minutes apart at most, so that slow drift of the
machine cancels. The figure is the median of the ratios. Its 95 % interval is the percentile bootstrap of the median
[Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13], widened, where that is wider, to the
distribution-free interval between order statistics, interpolated [Hettmansperger and Sheather, Statistics and
Probability Letters 4, 1986]: with few blocks the percentile bootstrap alone covers too seldom (7 blocks: 88 %, by
`scripts/bench/prove --simulate`).
"""

import math
import random
import statistics

from .model import CONTROL, Comparison, Interval

CONFIDENCE = 0.95
RESAMPLES = 2000
BLOCKS_MIN = 6  # below this no interval between order statistics reaches 95 %
OUTLIER_MADS = 5.0  # robust standard deviations from the median [Iglewicz and Hoaglin 1993, with a wider bar]


def binomial_below(n, k):
    """P(fewer than k of n fair coins show heads)."""
    return sum(math.comb(n, i) for i in range(k)) / 2**n


def order_interval(ordered, confidence=CONFIDENCE):
    """The interval of the median between interpolated order statistics; from end to end where too few values are there."""
    n = len(ordered)
    depth = next((k for k in range(1, n // 2 + 1) if 1 - 2 * binomial_below(n, k + 1) < confidence), 0)
    wide = 1 - 2 * binomial_below(n, depth) if depth else 0.0
    if wide < confidence:
        return ordered[0], ordered[-1]
    narrow = 1 - 2 * binomial_below(n, depth + 1)
    share = (wide - confidence) / (wide - narrow)
    weight = (n - depth) * share / (depth + (n - 2 * depth) * share)
    inner = min(depth, n - 1 - depth)
    low = (1 - weight) * ordered[depth - 1] + weight * ordered[inner]
    high = (1 - weight) * ordered[n - depth] + weight * ordered[n - 1 - inner]
    return low, high


def bootstrap_interval(values, rng, confidence=CONFIDENCE):
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = (1 - confidence) / 2
    return medians[int(tail * RESAMPLES)], medians[min(RESAMPLES - 1, math.ceil((1 - tail) * RESAMPLES) - 1)]


def widened(found, ordered):
    """The interval `found` of these values, at least as wide as the one between order statistics."""
    low, high = order_interval(ordered)
    return min(found[0], low), max(found[1], high)


def interval(ratios, seed=0):
    """Interval of the median of `ratios`, or None when there are none. The same values and seed give the same answer."""
    if not ratios:
        return None
    ordered = sorted(ratios)
    return Interval(statistics.median(ordered), *widened(bootstrap_interval(ordered, random.Random(seed)), ordered))


def paired(result, variant, metric):
    """The ratios variant / baseline, block by block, where both were measured."""
    base = dict(result.values(result.baseline, metric))
    return [value / base[block] for block, value in result.values(variant, metric) if base.get(block)]


def verdict(found, metric, pairs):
    if found is None or pairs < BLOCKS_MIN:  # of fewer pairs the widest interval there is does not reach 95 %
        return "unknown"
    if found.covers(1.0):
        return "no difference"
    return "better" if (found.ratio > 1) == metric.higher_is_better else "worse"


def compare(result, variant, metric):
    ratios = paired(result, variant, metric.name)
    found = interval(ratios, result.seed)
    values = [v for _, v in result.values(variant, metric.name)]
    base = [v for _, v in result.values(result.baseline, metric.name)]
    return Comparison(variant, metric.name, len(ratios), statistics.median(values) if values else math.nan,
                      statistics.median(base) if base else math.nan, found, verdict(found, metric, len(ratios)))


def compare_all(result):
    """Fills result.comparisons. A metric that is mostly 0 under the baseline is left out: nothing can be divided by it."""
    for metric in list(result.metrics):
        base = [v for _, v in result.values(result.baseline, metric.name)]
        if base and not statistics.median(base):
            result.metrics.remove(metric)
    result.comparisons = {(v.name, m.name): compare(result, v.name, m)
                          for v in result.variants if v.name != result.baseline for m in result.metrics}


def half_width(found):
    return (found.high - found.low) / 2 / found.ratio if found and found.ratio else math.inf


def noise_floor(result, metric):
    """How far from 1 the control's interval reaches: a smaller difference cannot be told from noise here."""
    control = result.comparisons.get((CONTROL, metric))
    if not control or not control.interval:
        return math.nan
    return max(abs(control.interval.low - 1), abs(control.interval.high - 1))


def decided(result, metrics, until):
    """Is every ratio of these metrics known to `until` (a share of itself)? Precision, not significance, ends a
    measurement: stopping at the first interval that leaves 1 out would find differences where none are."""
    if result.blocks < BLOCKS_MIN:
        return False
    names = [v.name for v in result.variants if v.name != result.baseline]
    return all(half_width(interval(paired(result, name, m), result.seed)) <= until for name in names for m in metrics)


# --- what disturbs a measurement ----------------------------------------------------------------------------------------


def outliers(values):
    """The values far from the rest, by the median absolute deviation (at least 0.5 % of the median, so that a nearly
    constant series does not call everything an outlier)."""
    if len(values) < 5:
        return []
    middle = statistics.median(values)
    spread = max(1.4826 * statistics.median(abs(v - middle) for v in values), 0.005 * abs(middle))
    return [v for v in values if spread and abs(v - middle) > OUTLIER_MADS * spread]


def drift(values):
    """(share, p): change of the series from its first to its last value by the median of the pairwise slopes [Theil and
    Sen], and the probability of so strong a trend by chance [Mann and Kendall, normal approximation]."""
    n = len(values)
    if n < 8 or not statistics.median(values):
        return 0.0, 1.0
    pairs = [(j - i, values[j] - values[i]) for i in range(n) for j in range(i + 1, n)]
    slope = statistics.median(rise / run for run, rise in pairs)
    s = sum((rise > 0) - (rise < 0) for _, rise in pairs)
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    z = (abs(s) - 1) / deviation if s else 0.0
    return slope * (n - 1) / statistics.median(values), math.erfc(max(z, 0) / math.sqrt(2))


def geometric_mean(values):
    values = [v for v in values if v and v > 0]
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan
