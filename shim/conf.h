/* conf.h: the effective options, parsed from SLUICE_CONF and the file it may name. The table is options.h.
 */
#ifndef SLUICE_CONF_H
#define SLUICE_CONF_H

#include "options.h"

#include <stdbool.h>
#include <stddef.h>

enum { CONF_PATH_MAX = 1024 };

struct conf {
#define CONF_FIELD_OPT_BOOL(field) bool field;
#define CONF_FIELD_OPT_BYTES(field) int64_t field;
#define CONF_FIELD_OPT_COUNT(field) int64_t field;
#define CONF_FIELD_OPT_MS(field) int64_t field;
#define CONF_FIELD_OPT_WORD(field) int64_t field;
#define CONF_FIELD_OPT_PATH(field) char field[CONF_PATH_MAX];
#define X(field, key, type, value, least, most, unit, help) CONF_FIELD_##type(field)
	SLUICE_OPTIONS(X)
#undef X
};

extern struct conf conf;

/* Defaults, then the options in `text` (NULL: none). Each problem is told to `complain` as one line; what is wrong is
 * left at its default. Needs no memory. */
void conf_parse(const char *text, void (*complain)(const char *line));

/* The i-th option's key and effective value as text (buffer of CONF_PATH_MAX); false past the last. */
bool conf_show(size_t i, const char **key, char *value);

#endif
