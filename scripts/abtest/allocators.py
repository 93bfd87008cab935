"""allocators: which variants there are, and which of them a program can be run under.

A preload only counts where the program's calls reach it. A static program, or one that defines malloc itself, is
refused with the reason; one that links an allocator of its own runs under every preload, but its run without one is
that allocator's, not glibc's: there glibc's row is made by a preload that forwards to glibc (glibc_malloc.c), and the
program as it is shipped gets a row of its own.
"""

import glob
import os
import re
import shutil
import struct

from .model import CONTROL, Variant

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("SLUICE_BUILD") or "build")
GLIBC, SLUICE, AS_SHIPPED = "glibc", "sluice", "as-shipped"
SONAMES = {  # the names under which distributions install them, the newest first
    "jemalloc": ("libjemalloc.so.2",),
    "mimalloc": ("libmimalloc.so.3", "libmimalloc.so.2"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc.so.4"),
}
PACKAGES = {"jemalloc": "libjemalloc2", "mimalloc": "libmimalloc2.0", "tcmalloc": "libtcmalloc-minimal4"}
OTHER_SONAMES = re.compile(r"lib(jemalloc|mimalloc|tcmalloc|snmalloc|rpmalloc|hoard|scudo|sluice)[-_.\w]*")
FORWARDER = os.path.join(BUILD, "bench", "libglibc_malloc.so")


class Unusable(Exception):
    """A named allocator or program cannot be measured; the text says why and what to do."""


def library_folders():
    return sorted(glob.glob("/usr/lib/*-linux-gnu")) + ["/usr/lib64", "/usr/lib", "/usr/local/lib"]


def sluice_library():
    path = os.environ.get("SLUICE_LIB") or os.path.join(BUILD, "libsluice.so")
    return os.path.abspath(path)


def known(name):
    """The preload of a known allocator's name; raises Unusable when it is not on this machine."""
    if name == GLIBC:
        return ""
    if name == SLUICE:
        path = sluice_library()
        if not os.path.exists(path):
            raise Unusable(f"{SLUICE}: no library at {path}; run `make`, or name it in SLUICE_LIB")
        return path
    if name not in SONAMES:
        names = ", ".join([GLIBC, *SONAMES, SLUICE])
        raise Unusable(f"{name}: no such allocator; known are {names}, others come with --with NAME=PATH")
    for folder in library_folders():
        for soname in SONAMES[name]:
            if os.path.exists(path := os.path.join(folder, soname)):
                return path
    raise Unusable(f"{name}: {' or '.join(SONAMES[name])} is not installed (scripts/deps bench, or package {PACKAGES[name]})")


def parse_with(text):
    """`NAME=PATH[,VARIABLE=VALUE]...` to a Variant. PATH may be a known allocator's name; a comma separates only when a
    variable's name in capitals and `=` follow, since values may hold commas (SLUICE_CONF)."""
    name, equals, rest = text.partition("=")
    if not equals or not re.fullmatch(r"[\w.+-]+", name) or name in (CONTROL, AS_SHIPPED):
        raise Unusable(f"--with {text}: expected NAME=PATH[,VARIABLE=VALUE]..., NAME of letters, digits and ._+-")
    path, *settings = re.split(r",(?=[A-Z_][A-Z0-9_]*=)", rest)
    env = tuple(tuple(s.split("=", 1)) for s in settings)
    if path in (GLIBC, SLUICE, *SONAMES):
        return Variant(name, known(path), env)
    if not os.path.exists(path):
        raise Unusable(f"--with {text}: no file {path}")
    if not is_shared_library(path):
        raise Unusable(f"--with {text}: {path} is not a shared library of this machine's kind")
    return Variant(name, os.path.abspath(path), env)


def is_shared_library(path):
    try:
        with open(path, "rb") as f:
            head = f.read(20)
        with open("/proc/self/exe", "rb") as f:
            ours = f.read(20)
    except OSError:
        return False
    return head[:5] == ours[:5] and len(head) == 20 and head[18:20] == ours[18:20] and struct.unpack("<H", head[16:18])[0] == 3


def choose(names, extra):
    """(variants, left out): the allocators asked for, or all that are found. A name that was asked for must be there."""
    found, left_out = [], []
    for name in names or [GLIBC, *SONAMES, SLUICE]:
        try:
            found.append(Variant(name, known(name)))
        except Unusable as absent:
            if names:
                raise
            left_out.append((name, str(absent).split(": ", 1)[1]))
    found += [parse_with(w) for w in extra]
    for v in found:
        if sum(o.name == v.name for o in found) > 1:
            raise Unusable(f"{v.name} is named twice; give each its own NAME in --with NAME=PATH")
    return found, left_out


# --- the program -------------------------------------------------------------------------------------------------------


def executable_of(argv):
    """The file that exec would run, through one #! line or /usr/bin/env; raises Unusable."""
    path = shutil.which(argv[0])
    if not path:
        raise Unusable(f"{argv[0]}: no such program in PATH (or it may not be executed)")
    try:
        with open(path, "rb") as f:
            first = f.readline(256)
    except OSError as e:
        raise Unusable(f"{path}: {e.strerror}") from e
    if first.startswith(b"#!"):
        words = first[2:].decode("utf-8", "replace").split()
        if words and os.path.basename(words[0]) == "env" and len(words) > 1:
            words = [w for w in words[1:] if not w.startswith("-") and "=" not in w]
        if words:
            return shutil.which(words[0]) or path
    return path


class Elf:
    """What the dynamic section of an ELF file says: `static`, `needed`, `defines_malloc`."""

    def __init__(self, path):
        self.static, self.needed, self.defines_malloc, self.is_elf = True, [], False, False
        with open(path, "rb") as f:
            self.data = f.read()
        if self.data[:4] != b"\x7fELF" or self.data[4] != 2:
            return
        self.is_elf = True
        self._read()

    def _read(self):
        phoff, = struct.unpack_from("<Q", self.data, 32)
        phentsize, phnum = struct.unpack_from("<HH", self.data, 54)
        segments = [struct.unpack_from("<IIQQQQ", self.data, phoff + i * phentsize) for i in range(phnum)]
        self.loads = [(vaddr, offset, size) for kind, _, offset, vaddr, _, size in segments if kind == 1]
        for kind, _, offset, _, _, size in segments:
            if kind == 3:  # PT_INTERP
                self.static = False
            if kind == 2:  # PT_DYNAMIC
                self._read_dynamic(offset, size)

    def _at(self, address):
        for vaddr, offset, size in self.loads:
            if vaddr <= address < vaddr + size:
                return address - vaddr + offset
        return None

    def _read_dynamic(self, offset, size):
        tags = [struct.unpack_from("<qQ", self.data, offset + i) for i in range(0, size, 16)]
        table = dict(reversed(tags))
        strings, symbols = self._at(table.get(5, 0)), self._at(table.get(6, 0))
        if strings is None:
            return
        self.needed = [self._string(strings + value) for tag, value in tags if tag == 1]
        if symbols is not None and symbols < strings:  # the linker puts the symbols right before their names
            for at in range(symbols, strings - 23, 24):
                name, info, _, section, value = struct.unpack_from("<IBBHQ", self.data, at)
                if section and value and info & 15 in (2, 10) and self._string(strings + name) == "malloc":
                    self.defines_malloc = True

    def _string(self, at):
        return self.data[at:self.data.find(b"\0", at)].decode("utf-8", "replace")


def own_allocator(argv):
    """The soname of the allocator that the program links itself, or None. Raises Unusable where no preload can act."""
    path = executable_of(argv)
    elf = Elf(path)
    if not elf.is_elf:
        raise Unusable(f"{path}: not a 64-bit ELF program, nor a script with #!")
    if elf.static:
        raise Unusable(f"{path} is linked statically: no preload acts in it, there is nothing to compare")
    if elf.defines_malloc:
        raise Unusable(f"{path} defines malloc itself: a preload never sees its calls, there is nothing to compare")
    return next((n for n in elf.needed if OTHER_SONAMES.match(n)), None)


def variants_for(argv, variants, baseline):
    """The variants for this program: the baseline first, its control second, the rest in their order."""
    own = own_allocator(argv)
    program = os.path.basename(argv[0])
    by_name = {v.name: v for v in variants}
    if baseline not in by_name:
        raise Unusable(f"the baseline {baseline} is not among the allocators: {', '.join(by_name)}")
    if own:
        if not os.path.exists(FORWARDER):
            raise Unusable(f"no {FORWARDER}, which glibc's row needs for {program}: run `make bench-tools`")
        for v in variants:
            if v.preload == "":
                by_name[v.name] = Variant(v.name, FORWARDER, v.env, f"a preload that forwards to glibc's, since {program} links {own}")
        by_name[AS_SHIPPED] = Variant(AS_SHIPPED, "", (), f"no preload: {own}")
    first = by_name.pop(baseline)
    control = Variant(CONTROL, first.preload, first.env, f"{baseline} once more")
    return [first, control, *by_name.values()]
