/* demangle.h: the name in the source for a symbol that a compiler of C++ or Rust made. */
#ifndef SLUICE_DEMANGLE_H
#define SLUICE_DEMANGLE_H

/* "ns::list<int>::add" for "_ZN2ns4listIiE3addEi": qualified, without parameters, return type and Rust's hash, and with
 * the words for C++'s own types that its users write: std::string, std::vector<int>. NULL when the symbol is not mangled,
 * or when its name would be longer than 4 KiB. Released by the caller. */
char *demangle(const char *symbol);

/* Cuts arguments of templates out of a demangled name: "ns::list::add", and "Vec::push" for Rust's "<Vec<u8>>::push".
 * Operators keep their signs. Returns `name`. */
char *demangle_cut_arguments(char *name);

#endif
