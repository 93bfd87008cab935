"""export: a Result as files, with every single run: JSON (and back), CSV, Markdown.

Each writer takes one Result or a list of them, and replaces the file at once or not at all (a temporary file in the
same folder, then a rename). What cannot be written is an OSError whose text says what to do.

The JSON, schema "sluice.ab", schema_version "1.0" (minor versions only add keys; a reader ignores those it does not
know and refuses a newer major). A number's name ends in its unit: _ns, _bytes, _per_s, _s; others are counts or ratios.

  schema, schema_version  these two words
  method                  what the figures are, in sentences: runs, pairs, ratio, interval, noise_floor
  results[]               one measurement each:
    title                 as the tables call it
    command               argv, or {"server": argv, "ready": argv, "load": argv}
    baseline, control     names of two variants: the one all are divided by, and its twin (the A/A control)
    blocks, seed          complete blocks; seed of the random order and of the bootstrap
    stopped               "decided", "blocks", "budget", "interrupted"
    machine               {cpu, cores, memory_bytes, kernel, libc, load_at_start, ...}, as far as known
    warnings[]            sentences
    left_out[]            {name, reason}
    variants[]            {name, preload, env: [[name, value], ...], note}
    metrics[]             {name, key, title, unit, higher_is_better, resolution}; unit "ns", "B", "/s" or "" (a count);
                          key is the name with its unit, in runs' values
    comparisons[]         {variant, metric, pairs, median, baseline_median, ratio, low, high, verdict}: medians in the
                          metric's unit; ratio is the median of the paired ratios, low and high its 95 % interval, all
                          null when there was nothing to divide by; verdict "better", "worse", "no difference", "unknown"
    runs[]                {order, block, position, variant, started_s, status, digest, busy_share, values: {key: number}}:
                          block 0 is the warm-up, position the place within the block; status is the exit status or
                          128 + signal; digest is of the standard output; busy_share is what others used meanwhile of
                          the machine's CPU time. A number that is not finite is null.

The CSV has a line for each run with the same names, and a column for each metric's key; an empty field is a value that
was not measured.
"""

import contextlib
import csv
import io
import json
import math
import os
import tempfile

from . import show
from .model import CONTROL, Comparison, Interval, Metric, Result, Run, Variant

SCHEMA, VERSION = "sluice.ab", "1.0"
SUFFIX = {"ns": "_ns", "B": "_bytes", "/s": "_per_s"}
METHOD = {
    "runs": "one warm-up of each variant (block 0), then blocks; a block runs every variant once, in random order",
    "pairs": "only runs of the same block are compared with each other",
    "ratio": "median over the blocks of variant / baseline",
    "interval": "95 % interval of that median: percentile bootstrap, or order statistics where those are wider",
    "noise_floor": "the control is the baseline a second time: how far its interval reaches from 1 is noise",
}
RUN_FIELDS = ("order", "block", "position", "variant", "started_s", "status", "busy_share", "digest")


def keys_of(metrics):
    """{name: the name in files, with the unit}: cpu is cpu_ns. No two are the same."""
    keys = {}
    for m in metrics:
        suffix = SUFFIX.get(m.unit, "")
        key = m.name if suffix and m.name.endswith(suffix) else m.name + suffix
        while key in keys.values():
            key += "_"
        keys[m.name] = key
    return keys


def listed(results):
    return [results] if isinstance(results, Result) else list(results)


# --- files ----------------------------------------------------------------------------------------------------------
def write_file(path, data):
    """Puts `data` (bytes) at `path`, all of it or nothing. Devices and pipes are written to as they are."""
    path = os.fspath(path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with explained(path), open(path, "wb") as f:
            f.write(data)
        return
    path = os.path.realpath(path)  # a symbolic link stays one
    with explained(path):
        if os.path.isdir(path):
            raise IsADirectoryError(21, "it is a folder")
        mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o666 & ~umask()
        handle, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix="." + os.path.basename(path)[:100] + ".")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(data)
                os.fchmod(f.fileno(), mode)
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise


def umask():
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def explained(path):
    """An OSError inside becomes one of the same kind that says which file, why, and what to do."""
    folder = os.path.dirname(path) or "."
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            advice = f"make the folder first: mkdir -p {folder}"
        elif isinstance(error, IsADirectoryError):
            advice = "name a file in it"
        elif isinstance(error, PermissionError):
            advice = f"name a file in a folder that you may write to; {folder} is not one"
        else:
            advice = "name a file elsewhere"
        raise type(error)(f"cannot write {path}: {error.strerror or error}; {advice}") from error


# --- JSON -----------------------------------------------------------------------------------------------------------
def finite(value):
    """`value` with null for the numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def comparison_out(c):
    low, ratio, high = (c.interval.low, c.interval.ratio, c.interval.high) if c.interval else (None, None, None)
    return finite({"variant": c.variant, "metric": c.metric, "pairs": c.pairs, "median": c.median,
                   "baseline_median": c.baseline_median, "ratio": ratio, "low": low, "high": high, "verdict": c.verdict})


def run_out(run, keys):
    return {"order": run.order, "block": run.block, "position": run.position, "variant": run.variant,
            "started_s": finite(run.started_s), "status": run.status, "digest": run.digest,
            "busy_share": finite(run.busy_share),
            "values": {keys.get(name, name): finite(value) for name, value in run.values.items()}}


def result_out(result):
    keys = keys_of(result.metrics)
    return {
        "title": result.title, "command": result.command, "baseline": result.baseline, "control": CONTROL,
        "blocks": result.blocks, "seed": result.seed, "stopped": result.stopped, "machine": finite(result.machine),
        "warnings": list(result.warnings), "left_out": [{"name": n, "reason": r} for n, r in result.left_out],
        "variants": [{"name": v.name, "preload": v.preload, "env": [list(pair) for pair in v.env], "note": v.note}
                     for v in result.variants],
        "metrics": [{"name": m.name, "key": keys[m.name], "title": m.title, "unit": m.unit,
                     "higher_is_better": m.higher_is_better, "resolution": m.resolution} for m in result.metrics],
        "comparisons": [comparison_out(c) for c in result.comparisons.values()],
        "runs": [run_out(r, keys) for r in result.runs],
    }


def dumps(value, indent=0):
    """JSON with a line for each key and each member of a list of objects, so that a run is a line."""
    pad = " " * (indent + 1)
    if isinstance(value, dict) and indent < 3:
        inner = [f"{pad}{json.dumps(k)}: {dumps(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inner) + "\n" + pad[1:] + "}" if inner else "{}"
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        return "[\n" + ",\n".join(pad + dumps(v, indent + 1) for v in value) + "\n" + pad[1:] + "]"
    return json.dumps(value, allow_nan=False)


def write_json(results, path):
    document = {"schema": SCHEMA, "schema_version": VERSION, "method": METHOD,
                "results": [result_out(r) for r in listed(results)]}
    write_file(path, (dumps(document) + "\n").encode("ascii"))


def comparison_in(c):
    between = None if c["ratio"] is None else Interval(*(number(c[k]) for k in ("ratio", "low", "high")))
    return Comparison(c["variant"], c["metric"], c["pairs"], number(c["median"]), number(c["baseline_median"]), between,
                      c["verdict"])


def number(value):
    return math.nan if value is None else value


def run_in(r, names):
    return Run(r["block"], r["position"], r["order"], r["variant"], number(r["started_s"]), r["status"], r["digest"],
               {names.get(k, k): number(v) for k, v in r["values"].items()}, number(r["busy_share"]))


def result_in(d):
    metrics = [Metric(m["name"], m["title"], m["unit"], m["higher_is_better"], m["resolution"]) for m in d["metrics"]]
    names = {m["key"]: m["name"] for m in d["metrics"]}
    comparisons = [comparison_in(c) for c in d["comparisons"]]
    return Result(d["title"], d["command"], d["baseline"],
                  [Variant(v["name"], v["preload"], tuple(tuple(pair) for pair in v["env"]), v["note"]) for v in d["variants"]],
                  metrics, [run_in(r, names) for r in d["runs"]], {(c.variant, c.metric): c for c in comparisons},
                  list(d["warnings"]), [(entry["name"], entry["reason"]) for entry in d["left_out"]], d["machine"],
                  d["stopped"], d["seed"], d["blocks"])


def read_all(path):
    """The Results of a file that write_json wrote. OSError when it cannot be read, ValueError when it is no such file."""
    with open(path, encoding="utf-8") as f:
        try:
            document = json.load(f)
        except ValueError as wrong:
            raise ValueError(f"{path}: not JSON ({wrong}); name a file that scripts/ab --json wrote") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f'{path}: not of schema "{SCHEMA}"; name a file that scripts/ab --json wrote')
    if str(document.get("schema_version")).partition(".")[0] != VERSION.partition(".")[0]:
        raise ValueError(f"{path}: schema version {document.get('schema_version')}, this reads {VERSION}; measure again, "
                         "or read it with the scripts/ab that wrote it")
    try:
        return [result_in(d) for d in document["results"]]
    except (KeyError, TypeError, AttributeError, ValueError) as wrong:
        raise ValueError(f"{path}: not a whole {SCHEMA} file ({type(wrong).__name__}: {wrong}); was it edited?") from None


def read_json(path):
    """The one Result of a file that write_json wrote."""
    results = read_all(path)
    if len(results) != 1:
        raise ValueError(f"{path}: holds {len(results)} results, not one")
    return results[0]


# --- CSV ------------------------------------------------------------------------------------------------------------
def write_csv(results, path):
    results = listed(results)
    keys = list(dict.fromkeys(k for r in results for k in keys_of(r.metrics).values()))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["title", *RUN_FIELDS, *keys])
    for result in results:
        of_key = {k: name for name, k in keys_of(result.metrics).items()}
        for run in result.runs:
            values = [run.values.get(of_key.get(k)) for k in keys]
            writer.writerow([result.title, *(getattr(run, f) for f in RUN_FIELDS),
                             *("" if show.missing(v) else v for v in values)])
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))


# --- Markdown -------------------------------------------------------------------------------------------------------
def escaped(text):
    """Text that means itself in a cell or a line of Markdown."""
    text = show.plain(text)
    for c in "\\`*_[]|~":
        text = text.replace(c, "\\" + c)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def grid(align, head, lines):
    """A Markdown table; `align` has an l or r for each column."""
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines]) + "\n"


def comparison_lines(result):
    """(metric, variant, median, ratio, interval, verdict) of every variant in every metric, headline first."""
    first, more = show.headline(result)
    for metric in first + more:
        title = f"**{escaped(metric.title)}**"
        yield [title, escaped(result.baseline), show.human(show.baseline_median(result, metric), metric.unit), "", "", ""]
        for variant in show.others(result):
            c = result.comparisons.get((variant, metric.name))
            between = c.interval if c else None
            strong = "**" if variant.startswith("sluice") else ""
            yield ["", f"{strong}{escaped(show.label(result, variant))}{strong}",
                   show.human(c.median if c else None, metric.unit), show.human_ratio(between.ratio) if between else "-",
                   f"{show.human_ratio(between.low)} – {show.human_ratio(between.high)}" if between else "-",
                   escaped(show.verdict(result, variant, metric))]


def run_lines(result):
    for run in result.runs:
        yield [str(run.order), str(run.block or "warm-up"), escaped(show.label(result, run.variant)), f"{run.started_s:.2f} s",
               str(run.status), f"{100 * run.busy_share:.0f} %"] + \
              [show.human(run.values.get(m.name), m.unit) for m in result.metrics]


def command_text(command):
    lines = command.items() if isinstance(command, dict) else [("", command)]
    return "\n".join((f"{name}: " if name else "") + json.dumps(argv, ensure_ascii=False) for name, argv in lines)


def fenced(text):
    """A code block; its fence is longer than any run of backquotes in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}\n"


def result_markdown(result):
    parts = [f"## {escaped(result.title)}\n"]
    if any(r.block for r in result.runs):
        parts.append(grid("llrrrl", ["metric", "allocator", "median", "ratio", "95 % interval", "verdict"],
                          comparison_lines(result)))
    else:
        parts.append("Nothing measured: no block was complete.\n")
    notes = [lead + text for lead, text in show.tail(result)]
    notes += [f"{name}: {value}" for name, value in result.machine.items()]
    parts.append("\n".join(f"- {escaped(n)}" for n in notes) + "\n")
    parts.append(fenced(command_text(result.command)))
    parts.append(f"<details><summary>Every single run ({len(result.runs)})</summary>\n")
    parts.append(grid("rrlrrr" + "r" * len(result.metrics),
                      ["run", "block", "allocator", "started", "status", "others' CPU"] +
                      [escaped(m.title) for m in result.metrics], run_lines(result)))
    parts.append("</details>\n")
    return "\n".join(parts)


def summary_lines(results, columns, name):
    """(title, baseline's median, ratios...) of each result in one metric, and the geometric means."""
    ratios = {c: [] for c in columns}
    having = [(r, m) for r in results for m in r.metrics if m.name == name]
    for result, metric in having:
        cells = []
        for column in columns:
            c = result.comparisons.get((column, name))
            cells.append(show.marked(c))
            if c and c.interval:
                ratios[column].append(c.interval.ratio)
        yield [escaped(result.title), show.human(show.baseline_median(result, metric), metric.unit), *cells]
    yield ["**geometric mean**", "", *(f"**{show.mean_cell(ratios[c], len(having))}**" for c in columns)]


def summary_markdown(results, metrics=show.SUMMARY):
    """The tables of show.summary, in Markdown."""
    columns, parts = show.summary_columns(results), []
    base = results[0].baseline if len({r.baseline for r in results}) == 1 else "baseline"
    for name, title in metrics:
        if any(m.name == name for r in results for m in r.metrics):
            head = [title, base] + [f"{base} again" if c == CONTROL else c for c in columns]
            parts.append(grid("lr" + "r" * len(columns), [escaped(h) for h in head], summary_lines(results, columns, name)))
    return "\n".join(parts) + f"\nRatios to the medians: lower is better; {show.legend(results)}\n"


def write_markdown(results, path):
    about = "\n".join(f"- {name.replace('_', ' ')}: {text}" for name, text in METHOD.items())
    results = listed(results)
    parts = [summary_markdown(results)] if len(results) > 1 else []
    parts += [result_markdown(r) for r in results] + [f"### Method\n\n{about}\n"]
    text = "\n".join(parts)
    write_file(path, text.encode("utf-8", "replace"))
