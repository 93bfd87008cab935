"""cli: the command line of scripts/ab, from its words to an exit status."""

import argparse
import os
import re
import shlex
import signal
import sys

from . import allocators, export, fromrecipe, plots, show
from .allocators import AS_SHIPPED, GLIBC, SLUICE, Unusable
from .meter import Ended, need_meter
from .model import CONTROL, Metric
from .schedule import Failed, Schedule
from .workload import NUMBER, Command, OutputMetrics, Scratch, Server

OK, FAIL_IF, USAGE, RAN_BADLY, INTERRUPTED = 0, 1, 2, 3, 130
METRIC_UNITS = {"ns": ("ns", 1), "us": ("ns", 1e3), "ms": ("ns", 1e6), "s": ("ns", 1e9), "B": ("B", 1), "KiB": ("B", 1024),
                "MiB": ("B", 1 << 20), "/s": ("/s", 1), "": ("", 1)}

USAGE_TEXT = """%(prog)s [options] -- COMMAND [ARG]...
       %(prog)s [options] --server 'CMD' --ready 'CMD' --load 'CMD'
       %(prog)s [options] --recipe NAME[,NAME]...|all
       %(prog)s --from FILE [--plot STEM] [--markdown FILE] ..."""

DESCRIPTION = """\
Run a program under several allocators, by LD_PRELOAD, and say honestly what each changes: time, CPU, memory, page
faults; for servers throughput and latency. The allocators are glibc's, those found of jemalloc, mimalloc and tcmalloc,
and sluice; or the ones you name, two configurations of one among them."""

METHOD = """\
method
  One warm-up of every allocator, then blocks. A block runs each once, in an order drawn anew (--seed), so that neither
  place nor neighbour favours anyone, and only runs of one block are divided by each other: slow drift cancels
  [randomised complete blocks; Curtsinger and Berger, ASPLOS 2013; Georges, Buytaert and Eeckhout, OOPSLA 2007].
  The baseline runs twice a block. The second, the control, differs from it by nothing: the interval of their ratio is
  the noise floor, printed with every table. A difference smaller than that is not seen here.
  A figure is the median of the blocks' ratios. Its 95 % interval is the percentile bootstrap [Efron and Tibshirani
  1993], widened to the interpolated order-statistic interval [Hettmansperger and Sheather 1986] where few blocks make
  the bootstrap too narrow. When the interval covers 1 the verdict is "no difference found".
  Measuring ends when every interval of the deciding metric (cpu; for servers the first --metric, or wall) is narrower
  than --until on either side, at --blocks, or when --budget is used up. Significance ends nothing: who stops at the first
  interval that leaves 1 out finds differences where there are none.
  Exit status and standard output must be the same under every allocator (servers: the exit status); one that differs
  is left out, said so, and makes the exit status 3.
  wall: from fork to the program's end; cpu: user + system of it and all descendants; peak_rss: the largest of the
  kernel's figure for one process and the sum over the processes alive at once, looked at every 10 ms, in which shared
  pages count for each. For a server cpu counts from being ready, wall is the load's. The load has no preload.
  sluice writes its report as it always does, into a scratch folder, unless your SLUICE_CONF says otherwise.

exit status
  0  measured            1  a --fail-if holds        2  wrong usage, or nothing could be run
  3  an allocator was left out because the program failed or printed something else under it     130  Ctrl-C
     (what there is by then is printed, and nothing is left running)

examples
  scripts/ab -- xmllint --noout big.xml
  scripts/ab --allocators glibc,sluice --fail-if 'cpu>1.02' -- ./my-program
  scripts/ab --allocators sluice --with lean=sluice,SLUICE_CONF=budget:0,decay:0 --baseline sluice -- ./my-program
  scripts/ab --server 'redis-server --port {port}' --ready 'redis-cli -p {port} ping' \\
             --load 'redis-benchmark -p {port} -q -t set -n 200000' --metric 'throughput:/s=SET: ([0-9.]+)'
  scripts/ab --recipe all --json all.json --plot all"""


def parser():
    p = argparse.ArgumentParser(prog="scripts/ab", usage=USAGE_TEXT, description=DESCRIPTION, epilog=METHOD,
                                formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    what = p.add_argument_group("what to run")
    what.add_argument("command", nargs="*", metavar="COMMAND", help="after --; run in the current folder")
    what.add_argument("--stdin", metavar="FILE", help="the command's standard input (default: none)")
    what.add_argument("--ignore-output", metavar="REGEX", help="bytes of the output that may differ, e.g. a time; '.*' with "
                                                               "(?s) for all of it")
    what.add_argument("--server", metavar="CMD", help="a server in the foreground; {port}: a free port, {work}: a fresh folder")
    what.add_argument("--ready", metavar="CMD", help="asked until it succeeds")
    what.add_argument("--load", metavar="CMD", help="the load, run without a preload")
    what.add_argument("--ready-timeout", type=positive, default=10.0, metavar="S", help="(default %(default)g s)")
    what.add_argument("--metric", action="append", default=[], metavar="[NAME[:UNIT]=]REGEX",
                      help="a number in the load's, or the command's, output: the first group. UNIT: ns us ms s B KiB MiB /s; "
                           "/s means higher is better")
    what.add_argument("--metrics", metavar="[UNIT=]REGEX", help="many numbers: REGEX has groups (?P<name>) and (?P<value>)")
    what.add_argument("--recipe", metavar="NAME", help="one of scripts/bench/recipes, several with commas, or all")
    what.add_argument("--list", action="store_true", help="list recipes and allocators of this machine, and end")
    what.add_argument("--from", dest="from_file", metavar="FILE", help="show, convert or plot an earlier --json FILE")

    who = p.add_argument_group("under what")
    who.add_argument("--allocators", metavar="NAMES", help="of glibc, jemalloc, mimalloc, tcmalloc, sluice (default: those found)")
    who.add_argument("--with", dest="extra", action="append", default=[], metavar="NAME=PATH[,VAR=VALUE]...",
                     help="another library, or PATH a known allocator's name, with variables set")
    who.add_argument("--baseline", default=None, metavar="NAME", help="divide by this one (default glibc, or the first)")

    how = p.add_argument_group("how long")
    how.add_argument("--until", type=share, default=0.01, metavar="SHARE", help="precise enough (default 1%%; 0: never)")
    how.add_argument("--blocks", type=count, default=30, metavar="N", help="at most (default %(default)s)")
    how.add_argument("--budget", type=positive, default=120.0, metavar="S", help="seconds a measurement (default %(default)g)")
    how.add_argument("--timeout", type=positive, default=300.0, metavar="S", help="of a single run (default %(default)g)")
    how.add_argument("--seed", type=int, default=1, metavar="N", help="of the order and the bootstrap (default %(default)s)")

    out = p.add_argument_group("what to write")
    out.add_argument("--json", metavar="FILE", help="every run, and what follows from them")
    out.add_argument("--csv", metavar="FILE", help="every run, a line each")
    out.add_argument("--markdown", metavar="FILE", help="the tables and every run")
    out.add_argument("--plot", metavar="STEM", help="STEM-intervals and STEM-order, .png and .svg (python3-matplotlib)")
    out.add_argument("--fail-if", action="append", default=[], metavar="[NAME.]METRIC>N",
                     help="exit status 1 when the whole interval of sluice's (or NAME's) ratio lies beyond N; also <")
    out.add_argument("--quiet", action="store_true", help="no table")
    return p


def positive(text):
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text}: a positive number is wanted")
    return value


def count(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: a number of blocks, 1 or more, is wanted")
    return int(text)


def share(text):
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}: a share is wanted, such as 1% or 0.01")
    return value


# --- from words to a workload ----------------------------------------------------------------------------------------


def metric_of(text):
    """`[NAME[:UNIT]=]REGEX` to (Metric, compiled, factor)."""
    head = re.match(r"([A-Za-z]\w*)(?::([A-Za-z/]*))?=(?=.)", text)
    name, unit, regex = (head[1], head[2] or "", text[head.end():]) if head else ("throughput", "/s", text)
    if unit not in METRIC_UNITS:
        raise Unusable(f"--metric {text}: no unit {unit}; known are {' '.join(u for u in METRIC_UNITS if u)}")
    compiled = expression("--metric", regex)
    if compiled.groups != 1:
        raise Unusable(f"--metric {text}: the expression needs one group, around the number, such as {NUMBER!r}")
    base, factor = METRIC_UNITS[unit]
    return Metric(name, name, base, higher_is_better=base == "/s"), compiled, factor


def expression(option, text, flags=re.M):
    try:
        return re.compile(text, flags)
    except re.error as e:
        raise Unusable(f"{option} {text!r}: {e}") from None


def outputs_of(args):
    wanted, unit = [metric_of(m) for m in args.metric], ""
    names = [m.name for m, _, _ in wanted]
    if len(set(names)) < len(names):
        raise Unusable("two --metric of one name: give each its own, NAME=REGEX")
    if args.metrics:
        head = re.match(r"(ns|us|ms|s|B|KiB|MiB|/s)=", args.metrics)
        unit, factor = METRIC_UNITS[head[1] if head else ""]
        compiled = expression("--metrics", args.metrics[head.end():] if head else args.metrics)
        if not {"name", "value"} <= set(compiled.groupindex):
            raise Unusable(f"--metrics {args.metrics}: the expression needs the groups (?P<name>...) and (?P<value>...)")
        wanted.append((None, compiled, factor))
    return OutputMetrics(wanted, unit) if wanted else None


def split(option, text):
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise Unusable(f"{option} {text!r}: {e}") from None
    if not words:
        raise Unusable(f"{option}: an empty command")
    if "/" in words[0] and not words[0].startswith("{"):
        words[0] = os.path.abspath(words[0])  # seen from here, not from the folder it will run in
    return words


def workloads(args, scratch):
    """Yields (name, function that makes the workload)."""
    if args.recipe:
        known = fromrecipe.names()
        names = known if args.recipe == "all" else args.recipe.split(",")
        for name in names:
            yield name, lambda name=name: fromrecipe.workload(name, scratch)
    elif args.server:
        parts = [split("--" + n, getattr(args, n)) for n in ("server", "ready", "load")]
        yield args.server, lambda: Server(*parts, scratch, cwd=None, output=outputs_of(args), ready_s=args.ready_timeout)
    else:
        yield shlex.join(args.command), lambda: Command(
            args.command, scratch, stdin=args.stdin, cwd=os.getcwd(), output=outputs_of(args),
            normalise=expression("--ignore-output", args.ignore_output, 0) and re.compile(args.ignore_output.encode())
            if args.ignore_output else None)


def check_usage(args):
    asked = [bool(args.command), bool(args.server), bool(args.recipe), bool(args.from_file), args.list]
    if sum(asked) != 1:
        raise Unusable("name one thing to run: -- COMMAND, --server (with --ready and --load), --recipe, or --from FILE; "
                       "--help has examples")
    if args.server and not (args.ready and args.load) or (args.ready or args.load) and not args.server:
        raise Unusable("--server, --ready and --load belong together")
    if args.stdin and not os.access(args.stdin, os.R_OK):
        raise Unusable(f"--stdin {args.stdin}: cannot be read")
    for option in ("json", "csv", "markdown", "plot"):
        path = getattr(args, option)
        folder = os.path.dirname(os.path.abspath(path)) if path else None
        if folder and not os.access(folder, os.W_OK):
            raise Unusable(f"--{option} {path}: the folder {folder} is not there or cannot be written")
    if args.plot:
        need_matplotlib()


def need_matplotlib():
    try:
        with plots.drawing():
            pass
    except plots.Unavailable as e:
        raise Unusable(f"--plot: {e}") from None


# --- what fails a build ----------------------------------------------------------------------------------------------


def condition(text):
    match = re.fullmatch(r"(?:([\w.+-]+)\.)?(\w+)\s*([<>])\s*(\d+\.?\d*|\.\d+)", text.strip())
    if not match:
        raise Unusable(f"--fail-if {text!r}: expected [NAME.]METRIC>N, such as 'cpu>1.05' or 'jemalloc.peak_rss>1.1'")
    return match[1], match[2], match[3], float(match[4])


def holds(result, wanted):
    """Sentences on the conditions that hold for this result, and on those that cannot be judged (a False in front)."""
    found = []
    for name, metric, sign, bound in wanted:
        others = [v.name for v in result.variants if v.name not in (result.baseline, CONTROL, AS_SHIPPED)]
        name = name or (SLUICE if SLUICE in others else others[-1] if others else "")
        comparison = result.comparisons.get((name, metric))
        if not comparison or not comparison.interval:
            known = ", ".join(m.name for m in result.metrics)
            found.append((False, f"--fail-if: there is no {metric} of {name or 'any other allocator'} (metrics: {known})"))
            continue
        i = comparison.interval
        if comparison.verdict == "unknown":
            found.append((False, f"--fail-if: {comparison.pairs} pairs of runs are too few to judge {metric} of {name}"))
            continue
        if i.low > bound if sign == ">" else i.high < bound:
            found.append((True, f"{result.title}: {name}'s {metric} is {i.ratio:.3f} of {result.baseline}'s ({i.low:.3f} to "
                                f"{i.high:.3f}), all of it {'above' if sign == '>' else 'below'} {bound:g}"))
    return found


# --- the run ---------------------------------------------------------------------------------------------------------


def measure(workload, args):
    wanted = args.allocators.split(",") if args.allocators else None
    variants, absent = allocators.choose(wanted, args.extra)
    baseline = args.baseline or (GLIBC if any(v.name == GLIBC for v in variants) else variants[0].name)
    chosen = allocators.variants_for(workload.argv, variants, baseline)
    with show.Progress(workload.title) as progress:
        schedule = Schedule(workload, chosen, baseline, args.blocks, args.budget, args.until, args.timeout, args.seed,
                            lambda done, total, left_s, text: progress.update(done / total if total else 0, left_s, text))
        result = schedule.measure()
    result.left_out += absent
    for name, reason in schedule.failed:
        note(f"{workload.title}: {name} is left out: {reason}")
    return result, bool(schedule.failed)


def pictures(results, stem):
    for result in results:
        plots.plot(result, stem if len(results) == 1 else stem + "-" + re.sub(r"[^\w.+-]+", "_", result.title))
    if len(results) > 1 and any(m.name in ("cpu", "peak_rss") for r in results for m in r.metrics):
        plots.plot_summary(results, stem)


def write(results, args):
    """The files asked for; every one is tried, and the first error is raised at the end."""
    errors = []
    for path, writer in ((args.json, export.write_json), (args.csv, export.write_csv), (args.markdown, export.write_markdown)):
        if path:
            try:
                writer(results, path)
            except OSError as e:
                errors.append(e)
    if args.plot:
        try:
            pictures(results, args.plot)
        except OSError as e:
            errors.append(e)
    if errors:
        raise errors[0]


def terminal():
    return show.columns_of(sys.stdout), show.wants_colour(sys.stdout), show.can_unicode(sys.stdout)


def say(text):
    """A reader that went away (`| head`) misses the rest, but neither the files nor the exit status do."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def listing():
    print("recipes (scripts/ab --recipe NAME):")
    for name in fromrecipe.names():
        print(f"  {name:<14} {fromrecipe.about(name)}")
    print("\nallocators:")
    variants, absent = allocators.choose(None, [])
    for v in variants:
        print(f"  {v.name:<14} {v.preload or 'no preload'}")
    for name, reason in absent:
        print(f"  {name:<14} not here: {reason}")
    return OK


def note(text):
    print(f"ab: {text}", file=sys.stderr)


def measure_all(args):
    """(results, whether anything was left out): each shown as soon as it is there. One of several recipes that cannot run
    is left out; a single workload's error is the caller's."""
    results, badly = [], False
    alone = args.recipe is None or args.recipe != "all" and "," not in args.recipe
    need_meter()
    if os.environ.pop("LD_PRELOAD", ""):
        note("LD_PRELOAD is set here and would be in every row: no row runs under it. --with NAME=PATH gives it one.")
    scratch = Scratch()
    try:
        for name, make in workloads(args, scratch):
            try:
                result, failed = measure(make(), args)
            except (Unusable, Failed, Ended, fromrecipe.MissingProgram) as e:
                if alone:
                    raise
                note(f"{name} is left out: {e}")
                badly = True
                continue
            results.append(result)
            badly |= failed
            if not args.quiet:
                say(show.table(result, *terminal()))
            if result.stopped == "interrupted":
                break
    finally:
        scratch.remove()
    return results, badly


def run(args):
    check_usage(args)
    conditions = [condition(text) for text in args.fail_if]
    if args.list:
        return listing()
    results, badly = (export.read_all(args.from_file), False) if args.from_file else measure_all(args)
    if not args.quiet:
        for result in results if args.from_file else []:
            say(show.table(result, *terminal()))
        if len(results) > 1:
            say(show.summary(results, *terminal()))
    write(results, args)
    found = [f for r in results for f in holds(r, conditions)]
    for is_true, text in found:
        note(("fails: " if is_true else "") + text)
    if not args.from_file and any(r.stopped == "interrupted" for r in results):
        return INTERRUPTED
    return FAIL_IF if any(t for t, _ in found) else RAN_BADLY if badly else USAGE if found else OK


def interrupt(*_):
    """SIGTERM and SIGHUP end a measurement as Ctrl-C does: what there is gets printed, nothing is left running."""
    raise KeyboardInterrupt


def main(argv):
    args = parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, interrupt)
    try:
        return run(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except (Unusable, Failed, Ended, ValueError, OSError, fromrecipe.MissingProgram) as e:
        print(f"ab: {e}", file=sys.stderr)
        return USAGE
