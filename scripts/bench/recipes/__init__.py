"""recipes: real programs with inputs they make themselves, for scripts/ab --recipe NAME. README.md has the contract.

Each module here whose name does not begin with "_" is a recipe; its file's name is the recipe's. load() turns one into a
Recipe with every field set, and says which Debian package is missing before anything is run.
"""

import difflib
import glob
import importlib
import os
import re
import shutil
import signal
from dataclasses import dataclass, field
from typing import Callable, Optional

HERE = os.path.dirname(os.path.abspath(__file__))
# Servers live in /usr/sbin, which is not in the PATH of an ordinary user.
SEARCH = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
FIELDS = {"NEEDS", "ENV", "COMMAND", "SERVER", "READY", "LOAD", "METRICS", "CHECK", "STOP"}
PLACES = {"inputs", "work", "port"}  # what may stand in braces in an argument


class MissingProgram(LookupError):
    """A program that the recipe runs is not installed; the text names its Debian package."""


def no_inputs(_folder):
    """For recipes that read nothing."""


def no_preparation(_work, _port):
    """For servers that need no files of their own."""


@dataclass(frozen=True)
class Recipe:
    """One recipe. Either `command` is set, or `server`, `ready` and `load` are; the others are then None.

    Arguments may hold {inputs}, {work} and, for servers, {port}; filled() puts the values in. `metrics` are
    (name, regex with one group, unit, higher_is_better, factor to the unit), found in the load's output."""

    name: str
    about: str
    needs: dict = field(default_factory=dict)  # command -> Debian package
    env: dict = field(default_factory=dict)  # of the measured program alone
    inputs: Callable = no_inputs  # (folder): once a session, not measured
    command: Optional[list] = None
    server: Optional[list] = None
    prepare: Callable = no_preparation  # (work, port): before each start of the server, not measured
    ready: Optional[list] = None
    load: Optional[list] = None
    metrics: tuple = ()
    check: Optional[str] = None
    stop: int = signal.SIGTERM

    @property
    def is_server(self):
        return self.server is not None

    def missing(self):
        """[(command, package)] of what is not installed."""
        return [(command, package) for command, package in self.needs.items() if not which(command)]


def names():
    """Names of all recipes, sorted."""
    return sorted(file[:-3] for file in os.listdir(HERE) if file.endswith(".py") and not file.startswith("_"))


def load(name, check_programs=True):
    """The Recipe of that name. ValueError: no such recipe (the nearest names are said), or the file breaks the contract.
    MissingProgram: a program it needs is not installed."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.5)
        near = near or [n for n in names() if name and (name in n or n in name)]
        hint = f"did you mean {' or '.join(near)}?" if near else "there are: " + " ".join(names())
        raise ValueError(f"no recipe '{name}'; {hint}")
    recipe = made(name, importlib.import_module("." + name, __name__))
    missing = recipe.missing() if check_programs else []
    if missing:
        what = ", ".join(f"{command} (Debian package {package})" for command, package in missing)
        raise MissingProgram(f"recipe {name} needs {what}: run scripts/deps bench")
    return recipe


def made(name, module):
    """The module's fields as a Recipe, checked against the contract."""
    def wrong(why):
        return ValueError(f"recipe {name}: {why}")

    given = {key: getattr(module, key) for key in FIELDS if hasattr(module, key)}
    if ("COMMAND" in given) == ("SERVER" in given):
        raise wrong("exactly one of COMMAND and SERVER must be set")
    if "SERVER" in given and not {"READY", "LOAD"} <= set(given):
        raise wrong("a SERVER needs READY and LOAD")
    if not module.__doc__ or not given.get("NEEDS"):
        raise wrong("a docstring and NEEDS must be there")
    for key in ("COMMAND", "SERVER", "READY", "LOAD"):
        unknown = set(re.findall(r"\{(.*?)\}", " ".join(given.get(key, ())))) - PLACES
        if unknown:
            raise wrong(f"{key} has {{{'}, {'.join(sorted(unknown))}}}; known are {', '.join(sorted(PLACES))}")
    functions = {key: getattr(module, key) for key in ("inputs", "prepare") if hasattr(module, key)}
    fields = {key.lower(): value for key, value in given.items()}
    fields["metrics"] = tuple(checked_metric(metric, wrong) for metric in given.get("METRICS", ()))
    fields["stop"] = signal.Signals["SIG" + given.get("STOP", "TERM")]
    return Recipe(name, " ".join(module.__doc__.split()), **fields, **functions)


def checked_metric(metric, wrong):
    """(name, regex, unit, higher_is_better, factor); the factor is 1 when it is left out."""
    name, regex, unit, higher_is_better, *factor = metric
    if re.compile(regex).groups != 1 or unit not in ("ns", "B", "/s", ""):
        raise wrong(f"metric {name}: one group in the regex, and a unit of ns, B, /s or nothing")
    return name, regex, unit, bool(higher_is_better), float(factor[0]) if factor else 1.0


def which(command):
    """Path of the program, Debian's before any other of the same name in PATH; None when there is none. A command with "*"
    is a pattern of paths (programs that Debian keeps in a folder of their version)."""
    if "*" in command:
        return max(glob.glob(command), default=None)
    return shutil.which(command, path=os.pathsep.join(SEARCH + (os.environ.get("PATH", ""),)))


def filled(argv, inputs="", work="", port=""):
    """The argument list with {inputs}, {work} and {port} replaced, and the program's name by its path."""
    places = {"inputs": str(inputs), "work": str(work), "port": str(port)}
    argv = [re.sub(r"\{(\w+)\}", lambda found: places.get(found[1], found[0]), word) for word in argv]
    return [which(argv[0]) or argv[0]] + argv[1:]
