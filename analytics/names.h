/* names.h: the name of the code at a site.
 *
 * The best source that is there: the symbol table of the module's file (or its debug file), when the file on this
 * machine has the build-id that the report names; else the dynamic symbol in the report; else module and offset.
 */
#ifndef SLUICE_NAMES_H
#define SLUICE_NAMES_H

#include "analytics/report_load.h"

struct names; /* files that were opened for one report */

struct name {
	const char *function;     /* NULL: not known */
	uint64_t function_offset; /* bytes into it */
	const char *module;       /* the file's base name; NULL: no file is known */
	uint64_t offset;          /* address in the file, or in the process where there is no file */
};

/* The report must outlive it. Files are opened when a name in them is first asked for. */
struct names *names_open(const struct report *r);
void names_close(struct names *s);

/* The texts live until names_close(). */
struct name names_find(struct names *s, const struct report_site *site);

/* "function+0x1a (module)", "module+0x1234", "0x7f...", "other". Released by the caller. */
char *names_site(struct names *s, const struct report_site *site);

/* The base name of a mapping's file; "(no file)" for LEDGER_NONE. */
const char *names_module(const struct report *r, uint32_t mapping);

#endif
