/* names.h: the names of the code at a site, as a person would write them.
 *
 * The best source that is there, when a file of the build-id that the report names is found: its debug information
 * (functions, inlined ones among them, files and lines), else its symbol table; else the dynamic symbol in the report;
 * else module and offset.
 */
#ifndef SLUICE_NAMES_H
#define SLUICE_NAMES_H

#include "analytics/report_load.h"

struct names; /* files that were opened for one report */

struct name {
	const char *function;     /* NULL: not known */
	uint64_t function_offset; /* bytes into it; of the function that it was inlined into, when it was */
	const char *module;       /* the file's base name; NULL: no file is known */
	uint64_t offset;          /* return address in the file, or in the process where there is no file */
	const char *file;         /* source file with its path; NULL: not known */
	unsigned line;            /* 0: not known */
	bool inlined;             /* its body was compiled into the next one's */
};

/* The functions at one return address, innermost first: all but the last were inlined. Never empty. */
struct name_chain {
	struct name *names;
	size_t count;
};

/* The report, and the folders with its files (symbol_file.h) must outlive it. Files are opened when a name in them is
 * first asked for. */
struct names *names_open(const struct report *r, const char *const *folders, size_t folders_count);
void names_close(struct names *s);

/* How many return addresses are known of a site, from the leaf outwards; at least 1. */
size_t names_depth(const struct names *s, const struct report_site *site);

/* Those functions at the site's return address number `depth`, 0 being the leaf. Live until names_close(). */
struct name_chain names_at(struct names *s, const struct report_site *site, size_t depth);

/* The one function that the site is named by: where its identity ends, before what only passes an allocation on. */
struct name names_find(struct names *s, const struct report_site *site);

/* "function (file.c:12)", "function+0x1a (module)", "module+0x1234", "0x7f...". Released by the caller. */
char *names_text(const struct name *name);

/* The functions between that one and the allocation, outermost first: "xstrdup, xmalloc"; NULL when there are none.
 * Released by the caller. */
char *names_via(struct names *s, const struct report_site *site);

/* "function (file.c:12) via xstrdup, xmalloc"; "other". Released by the caller. */
char *names_site(struct names *s, const struct report_site *site);

/* The base name of a mapping's file; "(no file)" for LEDGER_NONE. */
const char *names_module(const struct report *r, uint32_t mapping);

#endif
