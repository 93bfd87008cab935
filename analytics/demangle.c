/* demangle.c: names in the source; see demangle.h.
 *
 * libiberty does both languages. Its callbacks, rather than the functions that return a text: a symbol of a hostile
 * file doubles its name with every ten bytes, and a callback can leave in the middle. That is safe, since neither
 * demangler holds memory of the heap then (both work on the stack). Rust comes first: its older symbols are valid ones
 * of C++, with a hash at the end.
 */
#include "analytics/demangle.h"

#include "analytics/memory.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 4096 };

struct output {
	jmp_buf too_long;
	size_t used;
	char text[NAME_MAX_BYTES];
};

static void add(const char *piece, size_t bytes, void *context)
{
	struct output *out = context;
	if (bytes >= sizeof(out->text) - out->used)
		longjmp(out->too_long, 1);
	memcpy(out->text + out->used, piece, bytes);
	out->used += bytes;
	out->text[out->used] = 0;
}

static bool known(const char *symbol, struct output *out)
{
	if (setjmp(out->too_long))
		return false;
	if (rust_demangle_callback(symbol, 0, add, out) == 1)
		return true;
	out->used = 0; /* what it wrote before it gave up */
	return cplus_demangle_v3_callback(symbol, DMGL_ANSI, add, out) == 1;
}

/* Replaces each `from` in the text by `to`, which is not longer. */
static void replace(char *text, const char *from, const char *to)
{
	size_t before = strlen(from), after = strlen(to);
	for (char *at = text; (at = strstr(at, from)); at += after) {
		memcpy(at, to, after);
		memmove(at + after, at + before, strlen(at + before) + 1);
	}
}

/* Takes out each argument that begins with `from`, up to where its own brackets close. */
static void drop_argument(char *text, const char *from)
{
	for (char *at = text; (at = strstr(at, from));) {
		char *end = at + strlen(from);
		for (unsigned depth = 1; *end && depth; end++)
			depth += (*end == '<') - (*end == '>');
		memmove(at, end, strlen(end) + 1);
	}
}

/* The names that stand in the source for what the compiler makes of them. The order matters. */
static void shorten_types(char *text)
{
	drop_argument(text, ", std::char_traits<");
	drop_argument(text, ", std::allocator<");
	replace(text, "std::__cxx11::", "std::");
	replace(text, "std::basic_string<char >", "std::string");
	replace(text, "std::basic_string<char>", "std::string");
	replace(text, "> >", ">>");
	replace(text, " >", ">");
}

char *demangle(const char *symbol)
{
	struct output out = {.used = 0};
	if (strncmp(symbol, "_Z", 2) != 0 && strncmp(symbol, "_R", 2) != 0)
		return NULL; /* libiberty takes the names of types too: "i" would be "int" */
	if (!known(symbol, &out) || !out.used)
		return NULL;
	shorten_types(out.text);
	return memory_text(out.text);
}

/* Whether the text at `at` ends in "operator", so that what follows is its sign and no bracket. */
static bool after_operator(const char *name, const char *at)
{
	static const char word[] = "operator";
	size_t before = (size_t)(at - name), bytes = sizeof(word) - 1;
	return before >= bytes && memcmp(at - bytes, word, bytes) == 0;
}

/* Takes the outer brackets off "<T<u8>>::f" and "<T as Trait>::f", as Rust writes the owner of a method. */
static void unwrap(char *name)
{
	unsigned depth = 0;
	char *owner_end = NULL;
	for (char *at = name; *name == '<' && *at; at++) {
		depth += (*at == '<') - (*at == '>' && at[-1] != '-');
		if (depth == 1 && !owner_end && strncmp(at, " as ", 4) == 0)
			owner_end = at;
		if (depth)
			continue;
		owner_end = owner_end ? owner_end : at;
		memmove(owner_end, at + 1, strlen(at + 1) + 1);
		memmove(name, name + 1, strlen(name));
		return;
	}
}

char *demangle_cut_arguments(char *name)
{
	char *to = name;
	unsigned depth = 0;
	unwrap(name);
	for (const char *from = name; *from; from++) {
		if (depth == 0 && (*from == '<' || *from == '-') && after_operator(name, from)) {
			while (*from && strchr("<>=-", *from)) /* <, <<, <=, <=>, <<=, -> */
				*to++ = *from++;
			if (!*from)
				break;
		}
		if (*from == '<' && depth++ == 0 && to - name > 2 && memcmp(to - 2, "::", 2) == 0)
			to -= 2; /* Rust's "f::<T>" */
		if (depth == 0)
			*to++ = *from;
		depth -= *from == '>' && depth;
	}
	*to = 0;
	return name;
}
