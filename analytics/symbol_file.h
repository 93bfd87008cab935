/* symbol_file.h: the file that a mapping of a report names, found and opened for its symbols. */
#ifndef SLUICE_SYMBOL_FILE_H
#define SLUICE_SYMBOL_FILE_H

#include "analytics/report_load.h"

#include <elfutils/libdwfl.h>

/* Where to look besides the path in the report; shared by the files of one report. */
struct symbol_search {
	const char *const *folders; /* that the user named, asked in this order and before the path itself */
	size_t folders_count;
	char *debug_path; /* elfutils' list of folders, for the one search that is left to it */
	Dwfl_Callbacks callbacks;
};

struct symbol_file {
	const struct symbol_search *search;
	const struct report_mapping *mapping;
	Dwfl *session; /* NULL: not to be had */
	Dwfl_Module *module;
	GElf_Addr bias; /* from addresses in the file to libdwfl's */
};

void symbol_search_open(struct symbol_search *search, const char *const *folders, size_t folders_count);
void symbol_search_close(struct symbol_search *search);

/* Opens the file of a mapping, if one with its build-id is found; `session` and `module` are NULL otherwise. Neither of
 * the three may move until it is closed. */
void symbol_file_open(struct symbol_file *file, const struct symbol_search *search,
                      const struct report_mapping *mapping);
void symbol_file_close(struct symbol_file *file);

#endif
