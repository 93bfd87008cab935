"""CPython's json module: a log of 9,000 records is read line by line, indexed, changed and written again, twice. The
decoder makes its dictionaries, lists and strings in C; with PYTHONMALLOC=malloc each of them is at least one malloc."""

import json

from ._data import Prose, write

NEEDS = {"/usr/bin/python3": "python3"}
ENV = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
COMMAND = ["/usr/bin/python3", "-s", "-S", "{inputs}/program.py", "{inputs}/log.jsonl"]

PROGRAM = '''
import hashlib, json, sys

with open(sys.argv[1], encoding="utf-8") as file:
    lines = file.read().splitlines()

for turn in range(2):
    records = [json.loads(line) for line in lines]
    by_user = {}
    for record in records:
        by_user.setdefault(record["user"]["name"], []).append(record)
    for name, list_ in by_user.items():
        for at, record in enumerate(list_):
            record["tags"] = sorted({tag.upper() for tag in record["tags"]} | {f"turn-{turn}"})
            record["context"] = {"place": at, "of": len(list_), "before": list_[at - 1]["id"] if at else None}
            record["message"] = " ".join(word.capitalize() for word in record["message"].split())
    lines = [json.dumps(record, sort_keys=turn == 1) for record in records]

text = json.dumps(by_user, indent=1)
print(len(by_user), len(text), hashlib.sha256(text.encode()).hexdigest())
print(lines[-1])
'''


def inputs(folder):
    prose = Prose(4)
    rng, lines = prose.rng, []
    for i in range(9000):
        lines.append(json.dumps({
            "id": f"{rng.getrandbits(64):016x}", "at": 1.6e9 + i / 8, "level": rng.choice(("debug", "info", "warning")),
            "user": {"name": prose.word(), "roles": [prose.word() for _ in range(rng.randrange(4))], "active": i % 3 == 0},
            "tags": [prose.word() for _ in range(rng.randrange(1, 7))], "message": prose.text(rng.randrange(4, 16)),
            "numbers": [rng.randrange(10 ** 6) if rng.random() < 0.7 else round(rng.random(), 6) for _ in range(5)]}))
    write(folder, "program.py", PROGRAM)
    write(folder, "log.jsonl", "\n".join(lines) + "\n")
