"""schedule: the order of the runs, when they end, and what makes a run count.

One warm-up of every variant (files come into the page cache; exit statuses and outputs are compared), then blocks: each
runs every variant once in an order drawn anew, so that neither place nor neighbour favours anyone [randomised complete
blocks; Georges, Buytaert and Eeckhout, OOPSLA 2007, and Curtsinger and Berger, ASPLOS 2013, on why order and layout
must vary]. The baseline runs twice a block, the second time as the control.
"""

import random
import resource
import time

from . import stats
from .machine import Watch, describe
from .meter import Ended
from .model import CONTROL, Result, Run

BUSY_WARN = 0.10  # of the machine's CPU time, taken by others
DRIFT_WARN, DRIFT_P = 0.02, 0.01
IDENTICAL = "its output differs from run to run under one allocator: outputs are not compared"


class Failed(Exception):
    """The baseline itself does not run: there is nothing to compare."""


class Schedule:
    """One measurement. `progress(done, total, seconds_left, text)` is called before each run."""

    def __init__(self, workload, variants, baseline, blocks, budget_s, until, timeout_s, seed, progress, metrics=None):
        self.workload, self.blocks, self.budget_s, self.until = workload, blocks, budget_s, until
        self.timeout_s, self.progress, self.rng = timeout_s, progress, random.Random(seed)
        self.result = Result(workload.title, workload.command, baseline, list(variants), list(workload.metrics),
                             machine=describe(), seed=seed)
        self.decide_by = metrics or workload.decide_by
        self.failed = []  # (variant, reason): ran otherwise than the baseline
        self.compare_outputs = True
        self.start = time.monotonic()

    def measure(self):
        """Runs everything; always returns the Result, after Ctrl-C too. Raises Failed when the baseline does not run."""
        result = self.result
        try:
            self.warm_up()
            self.warmed = time.monotonic()
            result.stopped = "blocks"
            for block in range(1, self.blocks + 1):
                self.run_block(block)
                result.blocks = block
                if self.until and stats.decided(result, self.decide_by, self.until):
                    result.stopped = "decided"
                    break
                if self.elapsed() + self.block_s() > self.budget_s:
                    result.stopped = "budget"
                    break
        except KeyboardInterrupt:
            result.stopped = "interrupted"
        stats.compare_all(result)
        result.warnings += self.warnings()
        return result

    def elapsed(self):
        return time.monotonic() - self.start

    def block_s(self):
        return (time.monotonic() - self.warmed) / max(1, self.result.blocks)

    def left_s(self, position):
        """Estimated seconds to the end: by blocks or by budget, whichever comes first."""
        if not self.result.blocks:
            return None
        done = self.result.blocks + position / len(self.result.variants)
        return max(0.0, min((self.blocks - done) * self.block_s(), self.budget_s - self.elapsed()))

    # --- runs -----------------------------------------------------------------------------------------------------

    def warm_up(self):
        for position, variant in enumerate(list(self.result.variants)):
            self.progress(position, len(self.result.variants), None, f"warm-up: {variant.name}")
            try:
                run, words = self.run_once(0, position, variant)
            except Ended as e:
                self.reject(variant, str(e))
                continue
            self.judge(variant, run, words)

    def run_block(self, block):
        order = list(self.result.variants)
        self.rng.shuffle(order)
        for position, variant in enumerate(order):
            if variant not in self.result.variants:
                continue
            self.progress(block - 1 + position / len(order), self.blocks, self.left_s(position),
                          f"block {block} of at most {self.blocks}: {variant.name}")
            try:
                run, words = self.run_once(block, position, variant)
                self.judge(variant, run, words)
            except Ended as e:
                self.reject(variant, str(e))

    def run_once(self, block, position, variant):
        watch, own = Watch(), own_cpu_ns()
        started = self.elapsed()
        outcome = self.workload.run(variant, self.timeout_s)
        run = Run(block, position, len(self.result.runs), variant.name, started, outcome.status, outcome.digest,
                  outcome.values, watch.others_share(own_cpu_ns() - own))
        self.result.runs.append(run)
        for name in outcome.values:
            if name not in (m.name for m in self.result.metrics):
                self.result.metrics.append(self.workload.new_metric(name))
        return run, outcome.words

    def judge(self, variant, run, words):
        """A run counts when it ended as the baseline's first one did, and printed the same."""
        first = self.result.runs[0]
        if variant.name == self.result.baseline and run is first:
            if run.status != 0:
                raise Failed(f"{self.workload.title}: ended with status {run.status} under {variant.name}: {words}")
            return
        if run.status != first.status:
            self.reject(variant, f"ended with status {run.status} (under {first.variant}: {first.status}): {words}")
        elif self.compare_outputs and run.digest != first.digest:
            if variant.name in (self.result.baseline, CONTROL) or self.baseline_varies():
                self.result.warnings.append(IDENTICAL + ".")
                self.compare_outputs = False
            else:
                self.reject(variant, f"its standard output differs from that under {first.variant}")

    def baseline_varies(self):
        """Does the baseline, too, print something else by now (a clock's next second)?"""
        baseline = next(v for v in self.result.variants if v.name == self.result.baseline)
        try:
            return self.workload.run(baseline, self.timeout_s).digest != self.result.runs[0].digest
        except Ended:
            return False

    def reject(self, variant, reason):
        if variant.name in (self.result.baseline, CONTROL):
            raise Failed(f"{self.workload.title}: under {self.result.baseline}: {reason}")
        self.failed.append((variant.name, reason))
        self.result.left_out.append((variant.name, reason))
        self.result.variants.remove(variant)

    # --- what the reader should know ------------------------------------------------------------------------------

    def warnings(self):
        result, found = self.result, []
        measured = [r for r in result.runs if r.block]
        if result.blocks < stats.BLOCKS_MIN:
            found.append(f"{result.blocks} block{'s' * (result.blocks != 1)} only: an interval needs {stats.BLOCKS_MIN} for 95 %. "
                         "Give it more time (--budget) or a shorter command.")
        busy = [r.busy_share for r in measured]
        if busy and sum(busy) / len(busy) > BUSY_WARN:
            found.append(f"others used {100 * sum(busy) / len(busy):.0f} % of the machine's CPU time meanwhile: "
                         "wall times are not to be trusted, CPU times less than usual.")
        for name in self.decide_by:
            found += self.odd_runs(name)
        return found

    def odd_runs(self, metric):
        result, found = self.result, []
        far = {v.name: len(stats.outliers([value for _, value in result.values(v.name, metric)])) for v in result.variants}
        told = [f"{n} under {name}" for name, n in far.items() if n > 0.1 * result.blocks]
        if told:
            found.append(f"runs that lie far from the others in {metric}, of {result.blocks}: {', '.join(told)}. The median does "
                         "not mind; ask what they met.")
        share, p = stats.drift([value for _, value in result.values(result.baseline, metric)])
        if abs(share) > DRIFT_WARN and p < DRIFT_P:
            found.append(f"{metric} of {result.baseline} drifted by {100 * share:+.1f} % from the first block to the last; "
                         "pairs cancel that, single values do not.")
        control = result.comparisons.get((CONTROL, metric))
        if control and control.interval and not control.interval.covers(1.0):
            low, high = control.interval.low, control.interval.high
            found.append(f"the control differs from its own twin in {metric} ({low:.3f} to {high:.3f}): one time in twenty that is "
                         "chance; believe no difference of that size here.")
        return found


def own_cpu_ns():
    """CPU time of this process and everything it has waited for."""
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return int(1e9 * sum(u.ru_utime + u.ru_stime for u in both))
