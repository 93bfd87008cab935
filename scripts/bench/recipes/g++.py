"""g++ compiles one C++17 file with many standard headers and templates into an object file: g++, cc1plus and as. The compiler
keeps its trees in pages of its own; its hash tables, vectors, bitmaps and strings are malloc."""

from ._cplusplus import source
from ._data import write

NEEDS = {"g++": "g++", "sh": "dash", "sha256sum": "coreutils"}
ENV = {"LC_ALL": "C", "CPATH": "", "CPLUS_INCLUDE_PATH": ""}
COMMAND = ["sh", "-c", "g++ -std=c++17 -c -o program.o \"$1\" && sha256sum program.o", "sh", "{inputs}/program.cc"]


def inputs(folder):
    write(folder, "program.cc", source(1))
