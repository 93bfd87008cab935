#!/usr/bin/python3
"""What the command calls the places that allocate: programs built here, run under the library, named by the report.

A program says in comments of its own source what must be found: `/* at NAME */` marks the line that a name must carry.
The stacks in reports come from the program too: it walks its own (glibc's backtrace) at the allocation and prints the
return addresses, which a generator here puts into its report as the library would.
"""

import json
import os
import re
import shutil
import subprocess
import unittest

import test_command
from test_command import SMALL

INLINED = r"""
#include <stdlib.h>
struct node { struct node *next; char text[40]; };
static struct node *volatile list;

static inline __attribute__((always_inline)) void *room(size_t n)
{
	return malloc(n); /* at room */
}
static inline __attribute__((always_inline)) struct node *node_make(struct node *next)
{
	struct node *n = room(sizeof(*n)); /* at node_make */
	n->next = next;
	return n;
}
static __attribute__((noinline)) void shelf_fill(int n)
{
	for (int i = 0; i < n; i++)
		list = node_make(list); /* at shelf_fill */
}
static inline __attribute__((always_inline)) void *my_alloc(size_t n)
{
	return malloc(n); /* at my_alloc */
}
__attribute__((noinline)) void order_make(int n)
{
	for (int i = 0; i < n; i++)
		*(struct node **)my_alloc(100) = list; /* at order_make */
}
int main(void)
{
	shelf_fill(20);
	order_make(30);
	return 0;
}
"""

TEMPLATES = r"""
#include <map>
#include <string>
#include <vector>
namespace shop {
template <typename T> struct basket {
	std::vector<T> items;
	__attribute__((noinline)) void reserve(int n)
	{
		items.reserve(n); /* at reserve */
	}
};
namespace {
__attribute__((noinline)) int *prices(int n)
{
	return new int[n]; /* at prices */
}
}
}
int *volatile keep;
int main()
{
	shop::basket<std::string> b;
	b.reserve(10);
	keep = shop::prices(123);
	delete[] keep;
}
"""

# Names as rustc makes them, of both its schemes; the program is C, since no other compiler is needed then.
RUST = r"""
#include <stdlib.h>
void *volatile keep;
__attribute__((noinline)) void add(int n) __asm__("_ZN7mycrate5shelf3add17h0123456789abcdefE");
__attribute__((noinline)) void insert(int n) __asm__("_RNvNtCs1234_7mycrate5shelf6insert");
void add(int n) { for (int i = 0; i < n; i++) keep = malloc(48); }
void insert(int n) { for (int i = 0; i < n; i++) keep = malloc(64); }
int main(void)
{
	add(20);
	insert(30);
}
"""

RUSTC = r"""
mod shelf {
    #[inline(never)]
    pub fn fill(n: u8) -> Box<[u8; 777]> {
        Box::new([n; 777]) /* at fill */
    }
}
fn main() {
    for i in 0..123 { std::hint::black_box(shelf::fill(i)); }
}
"""

# Prints the return addresses from malloc's caller outwards, as addresses in its file, before it does as the others.
WALKS = r"""
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
extern char __executable_start[];
static void *volatile keep;
static void *volatile frames[16];
static volatile int depth;

__attribute__((noinline)) void walk(void)
{
	void *found[16];
	depth = backtrace(found, 16);
	for (int i = 0; i < depth; i++)
		frames[i] = found[i];
}
__attribute__((noinline)) void *lower(size_t n)
{
	walk();
	void *p = malloc(n); /* at lower */
	keep = p;
	return p;
}
__attribute__((noinline)) void *upper(size_t n)
{
	void *p = lower(n); /* at upper */
	keep = p;
	return p;
}
static inline __attribute__((always_inline)) void cart_fill(int n)
{
	for (int i = 0; i < n; i++)
		*(char *)upper(333) = 1; /* at cart_fill */
}
__attribute__((noinline)) void till_open(void)
{
	cart_fill(40); /* at till_open */
}
int main(void)
{
	backtrace((void **)frames, 1); /* it loads libgcc, which allocates */
	till_open(); /* at main */
	for (int i = 1; i < depth; i++)
		printf("%#zx\n", (size_t)((char *)frames[i] - __executable_start));
	return 0;
}
"""


class Case(test_command.Case):
    def build(self, source, *flags, name="program", compiler="gcc"):
        """Compiles in a folder of its own. Returns the program's path; its source is self.source."""
        folder = self.path("built")
        os.makedirs(folder, exist_ok=True)
        self.source = os.path.join(folder, name + (".cc" if compiler == "g++" else ".c"))
        with open(self.source, "w", encoding="utf-8") as f:
            f.write(source)
        program = os.path.join(folder, name)
        subprocess.run([compiler, "-O2", "-Wl,--build-id", *flags, "-o", program, self.source], check=True)
        return program

    def line(self, mark):
        """Number of the line of the source that is marked so."""
        with open(self.source, encoding="utf-8") as f:
            found = [i for i, text in enumerate(f, 1) if f"/* at {mark} */" in text]
        self.assertEqual(len(found), 1, mark)
        return found[0]

    def report_of(self, program, name="r.json"):
        run = self.sluice("run", "-q", "-o", name, "--", program)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.stdout = run.stdout
        return self.checked(name)

    def rows(self, *words, name="r.json"):
        run = self.sluice("report", name, "--json", "--stacks", *words)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return json.loads(run.stdout)["rows"]

    def row(self, objects, *words, **kw):
        """The one site of so many allocations."""
        found = [r for r in self.rows(*words, **kw) if r["alloc_objects"] == objects]
        self.assertEqual(len(found), 1, objects)
        return found[0]

    def frames(self, row, key=True):
        """(function, line, inlined) of each function that makes the site, or of the whole stack."""
        return [(f["function"], f["line"], f["inlined"]) for f in row["frames"] if f["key"] or not key]

    def build_id(self, report, program):
        return next(m["build_id"] for m in report["mappings"] if m["path"] == os.path.realpath(program))


class FromDebugInformation(Case):
    def inlined(self, *flags):
        program = self.build(INLINED, *flags)
        self.report_of(program)
        shelf = self.row(20)
        self.assertEqual(self.frames(shelf), [("room", self.line("room"), True), ("node_make", self.line("node_make"), True),
                                              ("shelf_fill", self.line("shelf_fill"), False)])
        self.assertEqual({f["file"] for f in shelf["frames"] if f["key"]}, {self.source})
        order = self.row(30)
        self.assertEqual(self.frames(order), [("my_alloc", self.line("my_alloc"), True),
                                              ("order_make", self.line("order_make"), False)])
        self.assertEqual((order["name"], order["function"], order["via"]),
                         (f"order_make (program.c:{self.line('order_make')}) via my_alloc", "order_make", "my_alloc"))
        self.assertEqual(shelf["name"], f"room (program.c:{self.line('room')})")

    def test_inlined_functions(self):
        for flags in (["-g"], ["-g", "-gdwarf-4"], ["-g", "-no-pie"], ["-g", "-flto"], ["-g", "-gz"]):
            with self.subTest(flags=flags):
                self.inlined(*flags)

    def test_without_aranges(self):
        """As clang and rustc leave it."""
        program = self.build(INLINED, "-g")
        subprocess.run(["objcopy", "--remove-section=.debug_aranges", program], check=True)
        self.report_of(program)
        self.assertEqual([f[0] for f in self.frames(self.row(20))], ["room", "node_make", "shelf_fill"])
        self.assertEqual(self.row(30)["line"], self.line("order_make"))

    def test_cxx(self):
        program = self.build(TEMPLATES, "-g", "-fno-optimize-sibling-calls", compiler="g++")
        self.report_of(program)
        prices = next(r for r in self.rows() if r["alloc_space"] == 123 * 4)
        self.assertEqual(prices["name"], f"shop::(anonymous namespace)::prices (program.cc:{self.line('prices')})")
        reserve = next(r for r in self.rows() if r["alloc_space"] == 10 * 32)
        self.assertEqual((reserve["function"], reserve["line"]), ("shop::basket<std::string>::reserve", self.line("reserve")))
        self.assertRegex(reserve["via"], r"^std::vector::reserve, std::")
        self.assertRegex(reserve["frames"][0]["function"], r"^std::__new_allocator<std::string>::allocate$")

    def test_the_call_is_asked_for_not_the_return(self):
        """A call that does not return ends its function: the address behind it is the next function's."""
        program = self.build(r"""
#include <stdlib.h>
__attribute__((noinline, noreturn)) void last(void) { free(malloc(77)); exit(0); }
__attribute__((noreturn, noinline)) static void stop(void *p) { free(p); exit(0); }
__attribute__((noinline)) void first(void) { stop(malloc(76)); /* at first */ }
int main(int argc, char **argv) { if (argc > 1) last(); first(); }
""", "-g")
        self.report_of(program)
        row = next(r for r in self.rows() if r["alloc_space"] == 76)
        self.assertEqual((row["function"], row["line"]), ("first", self.line("first")))


    @unittest.skipUnless(shutil.which("rustc"), "rustc is not installed; it puts functions into namespaces, where gcc does not")
    def test_rustc(self):
        with open(self.path("program.rs"), "w", encoding="utf-8") as f:
            f.write(RUSTC)
        self.source = self.path("program.rs")
        subprocess.run(["rustc", "-O", "-g", "-C", "symbol-mangling-version=v0", "program.rs"], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": self.folder})
        self.report_of(self.path("program"))
        row = self.row(123)
        self.assertEqual((row["function"], row["line"]), ("program::shelf::fill", self.line("fill")))


class FromSymbols(Case):
    def test_rust(self):
        self.report_of(self.build(RUST))
        self.assertRegex(self.row(20)["name"], r"^mycrate::shelf::add\+0x[0-9a-f]+ \(program\)$")
        self.assertRegex(self.row(30)["name"], r"^mycrate::shelf::insert\+0x[0-9a-f]+ \(program\)$")

    def test_rust_with_lines(self):
        self.report_of(self.build(RUST, "-g"))
        self.assertEqual(self.row(20)["name"], "mycrate::shelf::add (program.c:6)")
        self.assertEqual(self.row(30)["name"], "mycrate::shelf::insert (program.c:7)")

    def test_stripped(self):
        """Neither names nor lines: module and offset; what the report itself has of the dynamic symbols, demangled."""
        program = self.build(INLINED, "-s")
        self.report_of(program)
        row = self.row(20)
        self.assertEqual(row["name"], f"program+{row['offset']}")
        self.assertEqual((row["function"], row["file"], row["line"], row["via"]), (None, None, 0, None))
        program = self.build(TEMPLATES, "-s", "-rdynamic", compiler="g++")
        self.report_of(program)
        os.unlink(program)
        row = next(r for r in self.rows() if r["alloc_space"] == 10 * 32)
        self.assertRegex(row["name"], r"^shop::basket<std::string>::reserve\+0x[0-9a-f]+ \(program\)$")


class Elsewhere(Case):
    """The files are found where they are now, and no other file is believed."""

    def setUp(self):
        super().setUp()
        self.program = self.build(INLINED, "-g")
        self.debug = self.path("program.debug")
        subprocess.run(["objcopy", "--only-keep-debug", self.program, self.debug], check=True)
        self.whole = shutil.copy(self.program, self.path("whole"))
        subprocess.run(["strip", self.program], check=True)
        self.identity = self.build_id(self.report_of(self.program), self.program)
        self.folder_of_debug = self.path("symbols")

    def put(self, file, *parts):
        path = os.path.join(self.folder_of_debug, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return shutil.copy(file, path)

    def named(self, *words):
        """Whether the row of order_make has its name and line."""
        row = self.row(30, *words)
        if row["function"] is None:
            self.assertEqual(row["name"], f"program+{row['offset']}")
            return False
        self.assertEqual(row["name"], f"order_make (program.c:{self.line('order_make')}) via my_alloc")
        return True

    def places(self):
        by_id, whole = [self.identity[:2], self.identity[2:] + ".debug"], [self.identity[:2], self.identity[2:]]
        root = os.path.realpath(self.program).lstrip("/")
        return {"debuggers' folder": (self.debug, [".build-id", *by_id]),
                "root": (self.debug, ["usr", "lib", "debug", ".build-id", *by_id]),
                "whole, in a root": (self.whole, [root]), "debug file, in a root": (self.debug, [root]),
                "by its name": (self.whole, ["program"]), "whole, by build-id": (self.whole, [".build-id", *whole])}

    def test_folders(self):
        self.assertFalse(self.named())
        for gone in (False, True):
            for where, (file, parts) in self.places().items():
                with self.subTest(where=where, gone=gone):
                    placed = self.put(file, *parts)
                    self.assertFalse(self.named())
                    self.assertTrue(self.named("--symbols", self.folder_of_debug))
                    self.assertTrue(self.named("--symbols", "symbols"))  # not absolute
                    self.assertTrue(self.named("--symbols", self.path("none"), "--symbols", self.folder_of_debug))
                    self.assertFalse(self.named("--symbols", self.path("none")))
                    os.unlink(placed)
            if os.path.exists(self.program):
                os.unlink(self.program)

    def test_debug_link(self):
        """A file beside the program, or in .debug, that its .gnu_debuglink names."""
        subprocess.run(["objcopy", "--add-gnu-debuglink=" + self.debug, self.program], check=True)
        beside = os.path.dirname(self.program)
        for folder in (beside, os.path.join(beside, ".debug")):
            os.makedirs(folder, exist_ok=True)
            placed = shutil.copy(self.debug, folder)
            self.assertTrue(self.named(), folder)
            os.unlink(placed)
        self.assertFalse(self.named())

    def test_another_build_is_not_believed(self):
        other = self.build(INLINED.replace("order_make", "order_fake"), "-g", name="other")
        for file in (other, "/bin/true", "/dev/null"):
            shutil.copyfile(file, self.program)
            self.source = self.source.replace("other.c", "program.c")
            for _, parts in self.places().values():
                placed = self.put(file, *parts)
                self.assertFalse(self.named("--symbols", self.folder_of_debug), (file, parts))
                os.unlink(placed)

    def test_folders_with_a_fifo(self):
        """Nothing that blocks or never ends is read."""
        folder = os.path.join(self.folder_of_debug, ".build-id", self.identity[:2])
        os.makedirs(folder)
        os.mkfifo(os.path.join(folder, self.identity[2:] + ".debug"))
        os.symlink("/dev/zero", os.path.join(self.folder_of_debug, "program"))
        self.assertFalse(self.named("--symbols", self.folder_of_debug))
        subprocess.run(["objcopy", "--add-gnu-debuglink=" + self.debug, self.program], check=True)
        os.mkfifo(os.path.join(os.path.dirname(self.program), "program.debug"))
        self.assertFalse(self.named("--symbols", self.folder_of_debug))

    def test_build_ids_are_no_paths(self):
        with open(self.path("r.json"), encoding="utf-8") as f:
            text = f.read()
        outside = self.put(self.whole, "xx")
        self.put(self.whole, "sub", ".build-id", "..", "place")
        for build_id in ("../../xx", "..", "", "a", "ab", "xx" * 20, "%s%n"):
            self.write("hostile.json", text.replace(self.identity, build_id))
            row = self.row(30, "--symbols", os.path.join(self.folder_of_debug, "sub"), name="hostile.json")
            self.assertIsNone(row["function"])
        self.assertTrue(os.path.exists(outside))

    def test_wrong_words(self):
        self.refused(["report", "r.json", "--symbols", "a:b"], "colon", "'a:b'")
        self.refused(["report", "r.json", "--symbols", ""], "''")
        self.refused(["report", "r.json", "--site", "x"], "needs a number")
        self.refused(["report", "r.json", "--site", "999999"], "no site has the id 999999", status=1)
        self.refused(["report", "r.json", "--stacks", "--by", "class"], "only a site has a stack, not a class")
        self.refused(["report", "r.json", "--site", "0", "--by", "module"], "only a site has a stack, not a module")


def without_stacks(report):
    """The report, with no stacks but those that a test gives it."""
    for site in report["sites"]:
        site.pop("stack", None)
        site.pop("key_frames", None)
        site.pop("sampled", None)
    report.update(frames=[], stacks=[])
    return report


class Stacks(Case):
    def walk(self, *flags):
        """Runs WALKS and gives the report of its one big site the stack it saw. Returns (report, its site)."""
        program = self.build(WALKS, "-g", "-fno-optimize-sibling-calls", *flags)
        report = without_stacks(self.report_of(program))
        site = next(s for s in report["sites"] if s["alloc_objects"] == 40)
        walked = self.stdout.split()
        offsets = [int(site["offset"], 16)] + [int(w, 16) for w in walked[1:4]]
        self.assertLess(abs(offsets[0] - int(walked[0], 16)), 64, "walk's caller is malloc's, a call earlier")
        report["frames"] = [{"id": i, "mapping": site["mapping"], "offset": hex(o), "symbol": None, "symbol_offset": 0}
                            for i, o in enumerate(offsets)]
        report["stacks"] = [{"id": 0, "frames": list(range(len(offsets))), "truncated": True}]
        return report, site

    def stack(self):
        """What the walk must have seen, as self.frames() has it."""
        return [(name, self.line(name), name == "cart_fill") for name in ("lower", "upper", "cart_fill", "till_open", "main")]

    def test_the_library_saw_the_same(self):
        self.walk()
        with open(self.path("r.json"), encoding="utf-8") as f:
            if not json.load(f).get("stacks"):
                self.skipTest("the library writes no stacks")
        self.assertEqual(self.frames(self.row(40), key=False)[:5], self.stack())

    def test_wrappers_are_folded(self):
        report, site = self.walk()
        lower, upper = f"lower (program.c:{self.line('lower')})", f"upper (program.c:{self.line('upper')}) via lower"
        cart = f"cart_fill (program.c:{self.line('cart_fill')}) via upper, lower"
        main = f"main (program.c:{self.line('main')}) via till_open, cart_fill, upper, ..."
        for key_frames, name in ((None, lower), (1, lower), (2, upper), (3, cart), (4, main)):
            site.update(stack=0, key_frames=key_frames or 1)
            if key_frames is None:
                del site["key_frames"]
            self.write("stack.json", json.dumps(report))
            row = self.row(40, name="stack.json")
            self.assertEqual(row["name"], name)
            self.assertEqual(self.frames(row, key=False), self.stack())
            in_key = [True, key_frames and key_frames > 1, *[key_frames and key_frames > 2] * 2, key_frames == 4]
            self.assertEqual([f["key"] for f in row["frames"]], [bool(k) for k in in_key])
            self.assertTrue(row["truncated"])
        site.update(stack=None)
        self.write("stack.json", json.dumps(report))
        self.assertEqual(self.row(40, name="stack.json")["name"], lower)

    def test_one_site_in_full(self):
        report, site = self.walk()
        site.update(stack=0, key_frames=2)
        self.write("stack.json", json.dumps(report))
        text = self.sluice("report", "stack.json", "--site", str(site["id"])).stdout
        lines = text.splitlines()
        begin = next(i for i, line in enumerate(lines) if line.startswith("  frame"))
        head, table, foot = lines[0], lines[begin:-2], lines[-2]
        self.assertEqual(head, f"site        {site['id']}, upper (program.c:{self.line('upper')}) via lower")
        self.assertIn("allocated   40 blocks, 13.0 KiB asked for, 333 B each\n", text)
        self.assertEqual(table[0].split(), ["frame", "code", "source", "function"])
        offsets = [f["offset"] for f in report["frames"]]
        expected = [("0*", f"program+{offsets[0]}", "lower"), ("1*", f"program+{offsets[1]}", "upper"),
                    ("2", "inlined", "cart_fill"), ("2", f"program+{offsets[2]}", "till_open"),
                    ("3", f"program+{offsets[3]}", "main")]
        self.assertEqual([line.split() for line in table[1:]],
                         [[n, code, f"{self.source}:{self.line(name)}", name] for n, code, name in expected])
        self.assertEqual(foot, "  * makes the site; the rest is as it was first seen, and goes on")
        self.assertEqual(lines[-1], "callers     no stack of it was sampled: the one above is all that is known")
        stacks = self.sluice("report", "stack.json", "--stacks", "--top", "1").stdout
        self.assertEqual(stacks.count("\nsite        "), 1)
        only = self.rows("--site", str(site["id"]), name="stack.json")
        self.assertEqual([r["id"] for r in only], [site["id"]])

    def test_frames_without_files(self):
        """By hand: what is known is shown, and nothing more."""
        with open(SMALL, encoding="utf-8") as f:
            report = without_stacks(json.load(f))
        report["frames"] = [{"id": 0, "mapping": 1, "offset": "0x4007", "symbol": "_ZN6basket4growEv", "symbol_offset": 7},
                            {"id": 1, "mapping": 0, "offset": "0x1210", "symbol": None, "symbol_offset": 0},
                            {"id": 2, "mapping": None, "offset": "0x7fff00001000", "symbol": None, "symbol_offset": 0},
                            {"id": 3, "mapping": 0, "offset": "0x99", "symbol": "\u001b[2Jm\n", "symbol_offset": 1}]
        report["stacks"] = [{"id": 0, "frames": [0, 1, 2, 3], "truncated": False}]
        names = {1: "basket::grow+0x7 (libbasket.so.1)", 2: "till+0x1210 via basket::grow",
                 3: "0x7fff00001000 via till+0x1210, basket::grow"}
        for key_frames, name in names.items():
            report["sites"][3].update(stack=0, key_frames=key_frames)
            with open(self.write("hand.json", json.dumps(report)), encoding="utf-8"):
                rows = {r["id"]: r["name"] for r in self.rows(name="hand.json")}
            self.assertEqual(rows[5], name)
            self.assertEqual(rows[0], "basket_add+0x40 (libbasket.so.1)")
        text = self.sluice("report", "hand.json", "--site", "5").stdout
        self.assertEqual(re.findall("[\x00-\x09\x0b-\x1f\x7f]", text), [])
        self.assertIn("?[2Jm?", text)
        self.assertIn("  frame  code                   source  function\n"
                      "     0*  libbasket.so.1+0x4007  -       basket::grow\n"
                      "     1*  till+0x1210            -       ?\n"
                      "     2*  0x7fff00001000         -       ?\n", text)
        other = self.sluice("report", "hand.json", "--site", "2").stdout
        self.assertTrue(other.startswith("site        2, other\n"), other)

    def test_hostile_indices(self):
        with open(SMALL, encoding="utf-8") as f:
            report = without_stacks(json.load(f))
        report["frames"] = [{"id": 0, "mapping": 0, "offset": "0x10"}]
        for frame, stack, why in ((1, 0, "stacks[0].frames holds"), (0, 1, "sites[0].stack is not"),
                                  (0, -1, "sites[0].stack is not")):
            report["stacks"] = [{"id": 0, "frames": [frame], "truncated": False}]
            report["sites"][0]["stack"] = stack
            self.refused(["report", self.write("bad.json", json.dumps(report))], "bad.json: damaged", why, status=1)


if __name__ == "__main__":
    unittest.main()
