/* names.c: names of sites; see names.h.
 *
 * Each mapping of the report gets its file (symbol_file.h) at the first question, each return address its chain of
 * names: a frame that many stacks share is looked up once.
 *
 * A frame holds a return address: the call stands one byte before it, so the function is looked up there. Otherwise a
 * call that never returns, at the end of its function, would be shown as the next function's.
 *
 * Which function names a site? Its identity is the leaf's return address and, where the leaf is a wrapper, those of
 * callers up to one that tells sites apart (key_frames in the report). That one's frame holds the name. Compilers may
 * have inlined wrappers into it, though, which no unwinder sees; so of the functions at that address, those that only
 * pass an allocation on are passed over, from the inside: the standard libraries of C++ and Rust, and functions with
 * "alloc" and the like in their names. What was passed over is said behind "via", so nothing is lost if that was wrong.
 */
#include "analytics/names.h"

#include "analytics/demangle.h"
#include "analytics/memory.h"
#include "analytics/source_lines.h"
#include "analytics/symbol_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VIA_SHOWN_MAX = 3 };

struct module {
	bool tried;
	struct symbol_file file;
	struct source_units units;
};

struct names {
	const struct report *report;
	struct symbol_search search;
	struct module *modules;    /* by index of the mapping */
	struct name_chain *frames; /* by index of the frame; empty until it is asked for */
	struct name_chain *leaves; /* by index of the site, of those without a stack */
};

struct names *names_open(const struct report *r, const char *const *folders, size_t folders_count)
{
	struct names *s = memory_room(1, sizeof(*s));
	s->report = r;
	s->modules = memory_room(r->mappings_count, sizeof(s->modules[0]));
	s->frames = memory_room(r->frames_count, sizeof(s->frames[0]));
	s->leaves = memory_room(r->sites_count, sizeof(s->leaves[0]));
	symbol_search_open(&s->search, folders, folders_count);
	return s;
}

static void chains_free(struct name_chain *chains, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < chains[i].count; k++)
			free((void *)chains[i].names[k].function);
		free(chains[i].names);
	}
	free(chains);
}

void names_close(struct names *s)
{
	chains_free(s->frames, s->report->frames_count);
	chains_free(s->leaves, s->report->sites_count);
	for (size_t i = 0; i < s->report->mappings_count; i++) {
		source_units_close(&s->modules[i].units);
		symbol_file_close(&s->modules[i].file);
	}
	symbol_search_close(&s->search);
	free(s->modules);
	free(s);
}

const char *names_module(const struct report *r, uint32_t mapping)
{
	const char *path = mapping < r->mappings_count ? r->mappings[mapping].path : "";
	const char *slash = strrchr(path, '/');
	if (!*path)
		return "(no file)";
	return slash && slash[1] ? slash + 1 : path;
}

/* --- one return address ------------------------------------------------------------------------------------------- */

/* A symbol as in the source, or else `name`, or else the symbol; NULL when there is neither. Released by the caller. */
static char *readable(const char *symbol, const char *name)
{
	char *plain = symbol ? demangle(symbol) : NULL;
	if (!plain && (name || symbol))
		plain = memory_text(name ? name : symbol);
	return plain;
}

/* Puts the symbol table's name where it covers the address: the dynamic symbol of the report may be a neighbour's.
 * Returns whether it does. */
static bool better_symbol(Dwfl_Module *file, GElf_Addr call, const char **symbol, uint64_t *symbol_offset)
{
	GElf_Off offset;
	GElf_Sym entry;
	const char *name = dwfl_module_addrinfo(file, call, &offset, &entry, NULL, NULL, NULL);
	bool covers = name && *name && offset < entry.st_size;
	if (covers || (name && *name && !*symbol)) {
		*symbol = name;
		*symbol_offset = offset + 1;
	}
	return covers;
}

static struct name_chain chain_make(struct names *s, const struct report_frame *frame)
{
	struct source_frame sources[SOURCE_FRAMES_MAX];
	const char *symbol = frame->symbol;
	uint64_t symbol_offset = frame->symbol_offset;
	struct name_chain chain = {.count = 0};
	bool mapped = frame->mapping < s->report->mappings_count, covered = false;
	struct module *m = mapped ? &s->modules[frame->mapping] : NULL;
	if (m && !m->tried) {
		symbol_file_open(&m->file, &s->search, &s->report->mappings[frame->mapping]);
		m->tried = true;
	}
	if (m && m->file.module && frame->offset) {
		GElf_Addr call = frame->offset + m->file.bias - 1;
		covered = better_symbol(m->file.module, call, &symbol, &symbol_offset);
		chain.count = source_frames(&m->units, m->file.module, call, sources);
	}
	bool in_source = chain.count > 0;
	chain.count += !in_source;
	chain.names = memory_room(chain.count, sizeof(chain.names[0]));
	for (size_t i = 0; i < chain.count; i++) {
		bool last = i + 1 == chain.count;
		struct name *n = &chain.names[i];
		*n = (struct name){.function_offset = symbol_offset, .offset = frame->offset, .inlined = !last};
		n->module = mapped ? names_module(s->report, frame->mapping) : NULL;
		if (in_source) {
			/* C++ gives static functions no linkage name there, the symbol table has theirs with its namespaces */
			const char *mangled = sources[i].linkage_name;
			if (!mangled && last && covered)
				mangled = symbol;
			n->function = readable(mangled, sources[i].name);
			n->file = sources[i].file;
			n->line = sources[i].line;
		}
		if (last && !n->function)
			n->function = readable(symbol, NULL);
	}
	return chain;
}

size_t names_depth(const struct names *s, const struct report_site *site)
{
	size_t count = site->stack < s->report->stacks_count ? s->report->stacks[site->stack].count : 0;
	return count ? count : 1;
}

struct name_chain names_at(struct names *s, const struct report_site *site, size_t depth)
{
	const struct report *r = s->report;
	struct report_frame leaf = {site->offset, site->symbol_offset, site->symbol, site->mapping};
	bool stacked = site->stack < r->stacks_count && depth < r->stacks[site->stack].count;
	uint32_t index = stacked ? r->stacks[site->stack].frames[depth] : 0;
	struct name_chain *chain = stacked ? &s->frames[index] : &s->leaves[site - r->sites];
	if (!chain->count)
		*chain = chain_make(s, stacked ? &r->frames[index] : &leaf);
	return *chain;
}

/* --- a site ------------------------------------------------------------------------------------------------------- */

/* Whether a function only passes an allocation on, by its name. */
static bool passes_on(const char *function)
{
	static const char *const libraries[] = {
		"std::", "__gnu_cxx::", "operator new", "alloc::", "core::", "hashbrown::", "<alloc::", "<core::"};
	static const char *const words[] = {"alloc", "Alloc", "ALLOC", "strdup", "strndup", "memdup"};
	if (!function)
		return false;
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		if (strncmp(function, libraries[i], strlen(libraries[i])) == 0)
			return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(function, words[i]))
			return true;
	return false;
}

/* The frame where the identity ends, and which of its functions names the site. */
static size_t named_frame(struct names *s, const struct report_site *site, size_t *depth)
{
	size_t known = names_depth(s, site), key = site->key_frames ? site->key_frames : 1, at = 0;
	*depth = (key < known ? key : known) - 1;
	struct name_chain chain = names_at(s, site, *depth);
	while (at + 1 < chain.count && passes_on(chain.names[at].function))
		at++;
	return at;
}

struct name names_find(struct names *s, const struct report_site *site)
{
	size_t depth, at = named_frame(s, site, &depth);
	return names_at(s, site, depth).names[at];
}

char *names_text(const struct name *n)
{
	const char *slash = n->file ? strrchr(n->file, '/') : NULL;
	const char *file = slash && slash[1] ? slash + 1 : n->file;
	if (n->function && file && n->line)
		return memory_format("%s (%s:%u)", n->function, file, n->line);
	if (n->function && n->module)
		return memory_format("%s+0x%llx (%s)", n->function, (unsigned long long)n->function_offset, n->module);
	if (n->function)
		return memory_format("%s+0x%llx", n->function, (unsigned long long)n->function_offset);
	if (file && n->line)
		return memory_format("%s:%u", file, n->line);
	if (n->module)
		return memory_format("%s+0x%llx", n->module, (unsigned long long)n->offset);
	return memory_format("0x%llx", (unsigned long long)n->offset);
}

/* A function in a list of several: its name alone. Released by the caller. */
static char *short_text(const struct name *n)
{
	if (n->function)
		return demangle_cut_arguments(memory_text(n->function));
	return n->module ? memory_format("%s+0x%llx", n->module, (unsigned long long)n->offset)
	                 : memory_format("0x%llx", (unsigned long long)n->offset);
}

/* Appends to a list that may be NULL yet, the same name not twice in a row. */
static char *list_add(char *list, char *item, unsigned *shown)
{
	size_t before = list ? strlen(list) : 0, bytes = strlen(item);
	bool again = list && before >= bytes && strcmp(list + before - bytes, item) == 0 &&
	             (before == bytes || list[before - bytes - 1] == ' ');
	char *longer = list;
	if (!again && (*shown)++ <= VIA_SHOWN_MAX) {
		const char *next = *shown > VIA_SHOWN_MAX ? "..." : item;
		longer = list ? memory_format("%s, %s", list, next) : memory_text(next);
		free(list);
	}
	free(item);
	return longer;
}

char *names_via(struct names *s, const struct report_site *site)
{
	size_t depth, at = named_frame(s, site, &depth);
	unsigned shown = 0;
	char *list = NULL;
	for (;; at = names_at(s, site, --depth).count) {
		struct name_chain chain = names_at(s, site, depth);
		while (at-- > 0)
			list = list_add(list, short_text(&chain.names[at]), &shown);
		if (!depth)
			return list;
	}
}

char *names_site(struct names *s, const struct report_site *site)
{
	if (site->other)
		return memory_text("other");
	struct name found = names_find(s, site);
	char *text = names_text(&found), *via = names_via(s, site);
	if (!via)
		return text;
	char *both = memory_format("%s via %s", text, via);
	free(text);
	free(via);
	return both;
}
