"""simulate: measurements whose truth is known, to hold the intervals of `stats` against.

Both sides of a simulated A/A measurement draw from one distribution, so the median of their ratio is 1 exactly, and an
interval is right when it covers 1. Of so many measurements the share covered is known to 1.96 * sqrt(p (1 - p) / n)."""

import math
import random
from dataclasses import dataclass

from . import stats


def skewed(rng, sigma=0.01):
    """Noise of a benchmark: never much faster, sometimes slower, one run in twenty disturbed by something else."""
    return 1 + rng.expovariate(1 / sigma) + (rng.uniform(0.05, 0.5) if rng.random() < 0.05 else 0.0)


def symmetric(rng, sigma=0.01):
    return math.exp(rng.gauss(0, sigma))


@dataclass(frozen=True)
class Coverage:
    """Of `measurements` of `blocks` blocks, how many intervals cover the truth."""

    blocks: int
    measurements: int
    bootstrap: int  # the percentile bootstrap alone
    widened: int  # what stats.interval gives


def coverage(blocks, measurements, noise=skewed, seed=0):
    """The same arguments give the same Coverage."""
    rng, bootstrap, widened = random.Random(f"{seed}/{blocks}"), 0, 0
    for i in range(measurements):
        ordered = sorted(noise(rng) / noise(rng) for _ in range(blocks))
        alone = stats.bootstrap_interval(ordered, random.Random(i))
        both = stats.widened(alone, ordered)
        bootstrap += alone[0] <= 1 <= alone[1]
        widened += both[0] <= 1 <= both[1]
    return Coverage(blocks, measurements, bootstrap, widened)
