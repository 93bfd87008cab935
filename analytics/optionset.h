/* optionset.h: the options of SLUICE_CONF as the command sees them: listed, checked and merged before a program starts.
 *
 * The library reads the same text with its own parser (shim/options.c) from the same table (shim/options.h). What is a
 * warning there, in a program that must run on, is an error here.
 */
#ifndef SLUICE_OPTIONSET_H
#define SLUICE_OPTIONSET_H

#include "shim/options.h"

#include <stdbool.h>
#include <stddef.h>

#define OPTIONSET_ONE(field, key, type, initial, min, max, unit, help) +1
enum { OPTIONSET_COUNT = 0 SLUICE_OPTIONS(OPTIONSET_ONE) };
#undef OPTIONSET_ONE

/* One row of the table in shim/options.h. */
struct optionset_row {
	const char *key;
	enum option_type type;
	int64_t initial, min, max;
	const char *unit; /* for OPT_PATH: the default */
	const char *help;
};

extern const struct optionset_row optionset_table[OPTIONSET_COUNT];

/* What was said for each option, by its index in the table; NULL: nothing. Zeroed is empty; optionset_clear() releases. */
struct optionset {
	char *values[OPTIONSET_COUNT];
};

/* Adds "key:value,key:value"; a later value takes the place of an earlier one. `origin` says where the text is from,
 * for the message. Returns false, having said what is wrong, on an unknown key or a bad value. */
bool optionset_add(struct optionset *c, const char *text, const char *origin);

/* Adds the lines of a file ("key:value", blanks and # comments), but keeps what `c` has already. */
bool optionset_add_file(struct optionset *c, const char *path);

/* Sets one option from a value that needs no reading; it must not hold a comma. */
void optionset_put(struct optionset *c, const char *key, const char *value);

/* The value that was said for an option, or NULL. */
const char *optionset_get(const struct optionset *c, const char *key);

/* The text for the environment: "key:value,...". Released by the caller. */
char *optionset_text(const struct optionset *c);

void optionset_clear(struct optionset *c);

/* The default of an option as SLUICE_CONF would spell it: "on", "64G", "1000". Released by the caller. */
char *optionset_default(const struct optionset_row *option);

/* "on|off", "bytes", "count", "ms", "path". */
const char *optionset_type_name(enum option_type type);

#endif
