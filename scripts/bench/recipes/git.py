"""git reads a history of 1,400 commits: blame that follows moved lines, graph, patches, moved lines in colour, a word diff, the
list of all objects. Commits, trees, file texts and the tables of a diff are malloc, from 16 bytes to a whole file."""

import os
import subprocess

from ._data import Prose, write

NEEDS = {"git": "git", "sh": "dash"}
SETTINGS = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat", "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ATTR_NOSYSTEM": "1", "HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null", "LC_ALL": "C", "TZ": "UTC"}
ENV = SETTINGS
COMMAND = ["sh", "{inputs}/program.sh", "{inputs}/history.git"]

PROGRAM = """set -e
repository=$1
git() { command git --git-dir="$repository" "$@"; }
for file in $(git ls-tree -r --name-only main); do git blame -M -C -w --date=short main -- $file | tail -n 20; done
git log --graph --topo-order --raw --date=iso main | tail -n 2000
git log -p --color=always --color-moved=zebra -n 700 main | tail -n 1000
git log -p --stat -w main | tail -n 1000
git diff --histogram --word-diff=porcelain main~700 main | tail -n 1000
git rev-list --objects --all | tail -n 500
git shortlog -s main
"""


class Tree:
    """Files that change as sources do: lines added, changed and removed, a file moved at times."""

    def __init__(self, prose):
        self.prose, self.rng = prose, prose.rng
        self.files = {f"source/{('core', 'net')[i % 2]}/part{i}.c": self.lines(28) for i in range(24)}

    def line(self):
        word, number = self.prose.word(), self.rng.randrange(100)
        return self.rng.choice((f"\ttotal_{word} = find_{self.prose.word()}({word}, {number});", "}", "",
                                f"\tif ({word} > {number})", f"\t\treturn {number};", f"/* {self.prose.text(6)} */"))

    def lines(self, count):
        return [self.line() for _ in range(count)]

    def change(self):
        """One commit's changes: {path: text}, None for a file that is gone."""
        changed = {}
        for path in self.rng.sample(sorted(self.files), self.rng.randrange(1, 5)):
            text = self.files[path]
            for _ in range(self.rng.randrange(1, 4)):
                at = self.rng.randrange(len(text))
                text[at:at + self.rng.randrange(7)] = self.lines(self.rng.randrange(1, 7))
            if self.rng.random() < 0.03:
                changed[path] = None
                self.files[path.replace("/part", "/old/part") if "/old" not in path else path.replace("/old", "")] = text
                del self.files[path]
                path = next(name for name, found in self.files.items() if found is text)
            changed[path] = "\n".join(text) + "\n"
        return changed


def history(commits):
    """A stream for git fast-import, with fixed authors and dates."""
    prose = Prose(11)
    tree, out = Tree(prose), []
    changes = {path: "\n".join(text) + "\n" for path, text in tree.files.items()}
    for commit in range(commits):
        name = f"Author {prose.rng.randrange(12)} <a@example.org> {1600000000 + commit * 3600} +0000"
        message = prose.text(7).capitalize()
        out.append(f"commit refs/heads/main\nmark :{commit + 1}\nauthor {name}\ncommitter {name}\n"
                   f"data {len(message)}\n{message}\n")
        for path, text in changes.items():
            out.append(f"D {path}\n" if text is None else f"M 100644 inline {path}\ndata {len(text)}\n{text}\n")
        out.append("\n")
        changes = tree.change()
    return "".join(out)


def inputs(folder):
    write(folder, "program.sh", PROGRAM)
    repository = str(folder / "history.git")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | SETTINGS
    subprocess.run(["git", "init", "-q", "--bare", "--template=", "-b", "main", repository], env=clean, check=True)
    git = ["git", "--git-dir", repository]
    subprocess.run([*git, "config", "core.compression", "0"], env=clean, check=True)  # else most of the time is zlib's
    subprocess.run([*git, "fast-import", "--quiet"], input=history(1400).encode(), env=clean, check=True)
