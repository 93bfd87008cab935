"""model: the words of an A/B measurement, shared by every part of the engine.

A *variant* is one allocator (or one configuration of it) under which the command runs. A *block* is one run of every
variant, in random order; only runs of the same block are compared with each other. The *baseline* is the variant all
others are divided by, and the *control* is the baseline once more under another name: whatever difference the
instrument finds between those two is noise. Times are nanoseconds, sizes bytes, and a ratio is variant / baseline.
"""

from dataclasses import dataclass, field
from typing import Optional

CONTROL = "control"  # name of the A/A variant


@dataclass(frozen=True)
class Variant:
    """One allocator: `preload` is the library's path ("" for none), `env` what is set besides, `note` what to know."""

    name: str
    preload: str = ""
    env: tuple = ()  # ((name, value), ...)
    note: str = ""


@dataclass(frozen=True)
class Metric:
    """What is measured in each run; `higher_is_better` for throughput, `unit` one of ns, B, /s, "" (a count).

    `resolution`: the smallest step the clock or counter can show, in the unit; 0 when it does not matter."""

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool = False
    resolution: float = 0.0


@dataclass
class Run:
    """One execution. `values` maps metric names to numbers; `status` is the exit status or 128 + signal."""

    block: int  # 0 for the warm-up
    position: int  # within the block, from 0: the random order
    order: int  # over the whole measurement, from 0
    variant: str
    started_s: float  # since the measurement's start
    status: int = 0
    digest: str = ""  # of the standard output
    values: dict = field(default_factory=dict)
    busy_share: float = 0.0  # of the machine's CPU time during the run, used by others than the run


@dataclass(frozen=True)
class Interval:
    """Median of the paired ratios and its bootstrap interval."""

    ratio: float
    low: float
    high: float

    def covers(self, value=1.0):
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Comparison:
    """One variant against the baseline in one metric. `interval` is None when there was nothing to divide by."""

    variant: str
    metric: str
    pairs: int
    median: float
    baseline_median: float
    interval: Optional[Interval]
    verdict: str  # "better", "worse", "no difference", "unknown"


@dataclass
class Result:
    """A whole measurement: what was run, every single run, and what follows from them."""

    title: str
    command: list  # argv, or {"server": [...], "ready": [...], "load": [...]}
    baseline: str
    variants: list  # of Variant, the baseline first, the control second
    metrics: list  # of Metric, in the order to show
    runs: list = field(default_factory=list)
    comparisons: dict = field(default_factory=dict)  # (variant, metric) -> Comparison; the control's are the noise floor
    warnings: list = field(default_factory=list)  # plain sentences
    left_out: list = field(default_factory=list)  # (name, reason)
    machine: dict = field(default_factory=dict)  # cpu, cores, kernel, load at start: for the reader of the file
    stopped: str = ""  # why: "decided", "blocks", "budget", "interrupted"
    seed: int = 0
    blocks: int = 0

    def values(self, variant, metric):
        """(block, value) of every measured run, warm-ups left out."""
        return [(r.block, r.values[metric]) for r in self.runs if r.variant == variant and r.block and metric in r.values]
