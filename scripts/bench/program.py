"""The python3 workload: objects, strings, dicts, json and regular expressions. Run with PYTHONMALLOC=malloc, so that
every object is a malloc. Deterministic; prints what it computed."""

import json
import random
import re


class Node:
    def __init__(self, key, left=None, right=None):
        self.key, self.left, self.right = key, left, right


def insert(node, key):
    if node is None:
        return Node(key)
    if key < node.key:
        return Node(node.key, insert(node.left, key), node.right)
    return Node(node.key, node.left, insert(node.right, key))


def depth(node):
    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))


rng = random.Random(1)
tree = None
for _ in range(5000):
    tree = insert(tree, rng.randrange(10 ** 6))
print(depth(tree))

rows = [{"id": i, "name": f"row-{i}", "tags": [f"t{rng.randrange(99)}" for _ in range(8)],
         "pos": {"x": rng.random(), "y": rng.random()}} for i in range(12000)]
for _ in range(2):
    text = json.dumps(rows)
    rows = json.loads(text)
print(len(text))

words = re.findall(r"\w+", text)
count = {}
for word in words:
    count[word] = count.get(word, 0) + 1
print(len(count), sorted(count.items(), key=lambda kv: (-kv[1], kv[0]))[:5])
print(len(re.sub(r'"(t\d+)"', lambda m: m[1].upper(), text)))

lists = [[j * i for j in range(i % 60)] for i in range(12000)]
lists.sort(key=len)
print(sum(map(sum, lists)), len({tuple(l) for l in lists}))
