"""fromrecipe: a recipe of scripts/bench/recipes/ as a workload, its inputs made once in the scratch folder."""

import os
import re
import sys
from pathlib import Path

from .allocators import ROOT
from .model import Metric
from .workload import Command, OutputMetrics, Server

sys.path.insert(0, os.path.join(ROOT, "scripts", "bench"))
import recipes  # noqa: E402  (found by the line above)

MissingProgram = recipes.MissingProgram


def names():
    return recipes.names()


def workload(name, scratch):
    """Raises ValueError (no such recipe, with the nearest names) or MissingProgram."""
    recipe = recipes.load(name)
    inputs = os.path.join(scratch.path, "inputs-" + name)
    os.makedirs(inputs, exist_ok=True)
    os.chmod(inputs, 0o755)
    recipe.inputs(Path(inputs))
    env = dict(recipe.env)
    if not recipe.is_server:
        return Command(located(recipe.command), scratch, name, env, inputs=inputs)
    output = OutputMetrics([(Metric(metric, metric.replace("_", " "), unit, higher), re.compile(expression, re.M), factor)
                            for metric, expression, unit, higher, factor in recipe.metrics]) if recipe.metrics else None
    return Server(located(recipe.server), located(recipe.ready), located(recipe.load), scratch, name, env, inputs=inputs,
                  output=output, check=re.compile(recipe.check, re.M) if recipe.check else None,
                  prepare=lambda work, port: recipe.prepare(Path(work), port), stop=recipe.stop.name.removeprefix("SIG"))


def located(argv):
    return [recipes.which(argv[0]) or argv[0], *argv[1:]]


def about(name):
    """The first sentence of the recipe's description."""
    return recipes.load(name, check_programs=False).about.split(". ")[0].rstrip(".")
