#!/usr/bin/python3
"""Developers' tools and thread pools: git (init, commits, clone, gc, log), g++ on a real file, openssl speed on several
processes, xz on several threads, GNU sort. Most of them start other programs: every process of a tree preloads the
library, and every one that allocated enough must leave a valid report."""

import os
import random
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from shimmed import Case, need, write

GIT_ENV = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "1700000000 +0000",
           "GIT_COMMITTER_NAME": "C", "GIT_COMMITTER_EMAIL": "c@example.org", "GIT_COMMITTER_DATE": "1700000000 +0000",
           "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}

# Every step's output is part of the comparison. `gc --auto` in the background would outlive the script: off.
GIT = r"""
set -e
git init -q -b main origin
cd origin
git config gc.auto 0; git config pack.threads 2; git config gc.autoDetach false
git fast-import --quiet --date-format=raw < ../history
git reset -q --hard main
for i in 1 2 3 4 5 6; do
    for f in a b c d; do echo "line $i of $f" >> dir/$f$i.txt; cp dir/$f$i.txt $f; done
    git add -A && git commit -q -m "commit $i"
done
git checkout -q -b side HEAD~3 && echo side > side.txt && git add side.txt && git commit -q -m side
git checkout -q main && git merge -q -m merge side
git log --stat --format='%H %an %s' | tail -n 4000
git log -p -n 60 | sha256sum
git blame dir/f3.txt | sha256sum
git grep -c 'word 7' main~5 | sha256sum
git repack -q -a -d --depth=20 --window=20
git gc --quiet --prune=now
git fsck --full --strict 2>&1
git count-objects -v | grep -v size
cd ..
git clone -q --no-local file://$PWD/origin copy
cd copy
git rev-list --objects --all | sort | sha256sum
git diff --stat HEAD~4 HEAD
git status --porcelain
git rebase -q --onto HEAD~6 HEAD~4 2>&1 || git rebase --abort
git log --oneline --graph | head -n 30
git archive HEAD | sha256sum
git pull -q --rebase=false origin no-such-branch || echo "status $?, at the end"
"""

CPLUSPLUS = r"""
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct tower { static constexpr long value = tower<N - 1>::value + tower<N - 2>::value; };
template <> struct tower<1> { static constexpr long value = 1; };
template <> struct tower<0> { static constexpr long value = 0; };

struct visitor {
	std::string operator()(int i) const { return std::to_string(i); }
	std::string operator()(const std::string &s) const { return "'" + s + "'"; }
	std::string operator()(const std::vector<double> &v) const { return "[" + std::to_string(v.size()) + "]"; }
};

int main()
{
	std::map<std::string, std::unique_ptr<std::vector<int>>> table;
	for (int i = 0; i < 30000; i++) {
		auto &slot = table["key" + std::to_string(i % 1009)];
		if (!slot)
			slot = std::make_unique<std::vector<int>>();
		slot->push_back(i);
	}
	std::unordered_map<long, std::string> words;
	std::regex pattern("([a-z]+)(\\d+)");
	for (const auto &[key, list] : table) {
		std::smatch found;
		if (std::regex_match(key, found, pattern))
			words[std::stol(found[2])] += found[1].str() + std::to_string(list->size());
	}
	std::vector<std::pair<long, std::string>> sorted(words.begin(), words.end());
	std::sort(sorted.begin(), sorted.end(), [](const auto &a, const auto &b) { return a.first > b.first; });
	std::variant<int, std::string, std::vector<double>> any[] = {7, std::string("x"), std::vector<double>(9)};
	for (const auto &v : any)
		std::cout << std::visit(visitor{}, v) << ' ';
	try {
		sorted.at(sorted.size());
	} catch (const std::out_of_range &) {
		std::cout << "caught ";
	}
	std::cout << sorted.size() << ' ' << sorted.front().second << ' ' << tower<60>::value << std::endl;
}
"""


def git_history():
    """A stream for git fast-import: 400 commits over 40 files of growing text."""
    rng = random.Random(3)
    texts, out = {i: "" for i in range(40)}, []
    for commit in range(400):
        out.append(f"commit refs/heads/main\nmark :{commit + 1}\n"
                   f"committer C <c@example.org> {1600000000 + commit * 60} +0000\ndata <<END\nchange {commit}\nEND\n")
        for file in rng.sample(range(40), 4):
            texts[file] += "".join(f"{commit} word {rng.randrange(50)} {rng.random()}\n" for _ in range(12))
            name = f"dir/f{file}.txt" if file % 2 else f"deep/er/{file % 5}/f{file}.txt"
            out.append(f"M 100644 inline {name}\ndata {len(texts[file])}\n{texts[file]}\n")
        out.append("\n")
    return "".join(out)


def mask_numbers(text):
    """openssl speed prints what the machine could do: keep the words and the shape."""
    return re.sub(rb"\s*[0-9]+(\.[0-9]+)?k?", b" N", text)


@need("git")
class Git(Case):
    def test_commits_clone_gc_log(self):
        run = self.pair(["sh", "-c", GIT], prepare=lambda folder: write(folder, "history", git_history()), env=GIT_ENV,
                        allocations_min=0)
        self.assertIn(b"at the end", run.out)
        self.report_of_child("git", 5000)


@need("g++")
class Cplusplus(Case):
    def test_compile_and_run(self):
        prepare = lambda folder: write(folder, "real.cc", CPLUSPLUS)
        self.pair(["g++", "-std=c++17", "-O1", "-g", "-Wall", "-o", "real", "real.cc"], prepare=prepare, files=["real"])
        self.report_of_child("cc1plus", 100000)
        self.report_of_child("ld.bfd", 1000)
        # The program of the shimmed compiler, under the shim: C++'s operator new and exceptions.
        os.rename(os.path.join(self.work, "real"), os.path.join(self.folder, "real"))
        run = self.pair([os.path.join(self.folder, "real")], allocations_min=10000)
        self.assertIn(b"1548008755920", run.out)

    def test_errors(self):
        self.pair(["g++", "-std=c++17", "-c", "bad.cc"], status=1, allocations_min=10, prepare=lambda folder: write(
            folder, "bad.cc", "#include <vector>\nint main() { std::vector<int> v; v.push(1, foo); return v; }\n"))
        self.report_of_child("cc1plus", 10000)


@need("openssl")
class Openssl(Case):
    def test_speed_on_two_processes(self):
        self.pair(["openssl", "speed", "-seconds", "1", "-bytes", "1024", "-multi", "2", "-evp", "sha256"],
                  normalise=mask_numbers)

    def test_keys_and_certificates(self):
        script = """set -e
            openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem 2>/dev/null
            openssl req -new -x509 -key key.pem -subj /CN=x -days 9 -out cert.pem
            openssl verify -CAfile cert.pem cert.pem
            openssl x509 -in cert.pem -noout -subject -checkend 0
            head -c 3000000 /dev/zero | openssl enc -aes-256-cbc -pass pass:x -nosalt -pbkdf2 | openssl dgst -sha512"""
        self.pair(["sh", "-c", script], allocations_min=0)
        self.report_of_child("openssl", 2000)


@need("xz", "sort")
class Threads(Case):
    def prepare(self, folder):
        rng = random.Random(9)
        write(folder, "lines", "\n".join(f"{rng.random()} {rng.randrange(10 ** 6)}" for _ in range(120000)))

    def test_xz_threads(self):
        script = "xz -T3 --block-size=300KiB -3 -k lines && xz -T3 -dc lines.xz | sha256sum && sha256sum < lines.xz"
        self.pair(["sh", "-c", script], prepare=self.prepare, files=["lines.xz"], allocations_min=0)
        self.report_of_child("xz", 20)

    def test_sort_parallel(self):
        self.pair(["sort", "--parallel=4", "-S", "3M", "-k2,2n", "-k1,1", "lines"], prepare=self.prepare,
                  allocations_min=5)


if __name__ == "__main__":
    unittest.main()
