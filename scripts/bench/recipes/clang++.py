"""clang++ compiles one C++17 file with many standard headers and templates into assembler text. Its trees come
from slabs of 4 KiB and more, its tables, vectors, strings and instructions from malloc."""

from ._cplusplus import source
from ._data import write

NEEDS = {"clang++": "clang"}
ENV = {"LC_ALL": "C", "CPATH": "", "CPLUS_INCLUDE_PATH": ""}
COMMAND = ["clang++", "-std=c++17", "-S", "-o", "-", "{inputs}/program.cc"]


def inputs(folder):
    write(folder, "program.cc", source(2))
