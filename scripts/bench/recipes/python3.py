"""CPython on its own syntax trees: parses generated source, folds constants, unparses and compiles it, then runs a
simulation of small objects. With PYTHONMALLOC=malloc every object beyond CPython's few free lists is a malloc."""

import random

from ._data import write

NEEDS = {"/usr/bin/python3": "python3"}
# -S and -s keep other people's packages out; -I would also ignore PYTHONMALLOC.
ENV = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
COMMAND = ["/usr/bin/python3", "-s", "-S", "{inputs}/program.py", "{inputs}/source.txt"]

PROGRAM = '''
import ast, heapq, sys

class Fold(ast.NodeTransformer):
    """Adds and multiplies constants, and gives every name a longer one."""
    def visit_BinOp(self, node):
        self.generic_visit(node)
        if isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant):
            left, right = node.left.value, node.right.value
            return ast.Constant(left * right if isinstance(node.op, ast.Mult) else left + right)
        return node
    def visit_Name(self, node):
        return ast.copy_location(ast.Name(node.id + "_", node.ctx), node)

class Job:
    def __init__(self, number, at, parent):
        self.number, self.at, self.parent, self.log = number, at, parent, []
    def __lt__(self, other):
        return (self.at, self.number) < (other.at, other.number)

def trees(path):
    with open(path, encoding="utf-8") as file:
        parts = file.read().split("#---\\n")
    total = nodes = 0
    for part in parts:
        tree = Fold().visit(ast.parse(part))
        nodes += sum(1 for _ in ast.walk(tree))
        text = ast.unparse(tree)
        compile(text, "part", "exec")
        total += len(text)
    return len(parts), nodes, total

def simulate(steps):
    queue, seed, seen = [Job(0, 0, None)], 1, {}
    for step in range(steps):
        job = heapq.heappop(queue)
        job.log.append((step, f"step {step}"))
        for _ in range(2 if len(queue) < 4000 else 1):
            seed = (seed * 1103515245 + 12345) % 2147483648
            heapq.heappush(queue, Job(step, job.at + seed % 9973, job))
        seen.setdefault(job.at % 4099, []).append({"job": job.number, "log": job.log[-1][1]})
        job.parent = None
    return len(queue), max(map(len, seen.values())), sum(len(entry["log"]) for list_ in seen.values() for entry in list_)

print(*trees(sys.argv[1]))
print(*simulate(60000))
'''


def source(rng, functions):
    """Python text: functions with nested expressions, calls, comprehensions and dictionaries."""
    out = []
    for f in range(functions):
        out.append(f"def function_{f}(first, second=None, *rest):\n    '''Adds up some things.'''\n    total = {f} * 3 + 1\n")
        for i in range(rng.randrange(5, 15)):
            a, b, c = (rng.randrange(1000) for _ in range(3))
            out.append(rng.choice((
                f"    total = total + ({a} * {b} + {c}) * first - (second or {a}) % {b + 1}\n",
                f"    if total > {a} and first != {b}:\n        rest = [item + {c} for item in rest if item % {a + 1} > {b}]\n",
                f"    table_{i} = {{'key{a}': ({b}, {c}), 'other': [first, second, {c} + 2], 'more': f'{{total}} of {b}'}}\n",
                f"    for index in range({a}):\n        total += function_{max(f - 1, 0)}(index, {b} + {c}, *rest)\n")))
        out.append("    return total\n" + ("#---\n" if f % 20 == 19 else ""))
    return "".join(out)


def inputs(folder):
    write(folder, "program.py", PROGRAM)
    write(folder, "source.txt", source(random.Random(1), 600))
