/* optionset.c: the options of SLUICE_CONF, checked before a program starts; see optionset.h. */
#include "analytics/optionset.h"

#include "analytics/human_units.h"
#include "analytics/memory.h"
#include "analytics/message.h"
#include "analytics/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONSET_ROW(field, key, type, initial, min, max, unit, help) {key, type, initial, min, max, unit, help},
const struct optionset_row optionset_table[OPTIONSET_COUNT] = {SLUICE_OPTIONS(OPTIONSET_ROW)};
#undef OPTIONSET_ROW

enum { LINE_BYTES_MAX = 4096, PATH_BYTES_MAX = 1024 /* as in the library */ };

static int find(const char *key, size_t length)
{
	for (int i = 0; i < OPTIONSET_COUNT; i++)
		if (strlen(optionset_table[i].key) == length && memcmp(optionset_table[i].key, key, length) == 0)
			return i;
	return -1;
}

static void unknown_key(const char *key, const char *origin)
{
	const char *keys[OPTIONSET_COUNT];
	for (int i = 0; i < OPTIONSET_COUNT; i++)
		keys[i] = optionset_table[i].key;
	const char *near = nearest_match(key, keys, OPTIONSET_COUNT);
	if (near)
		message("%s: no option '%s'; did you mean '%s'?", origin, key, near);
	else
		message("%s: no option '%s'; 'sluice help conf' lists them", origin, key);
}

/* Reads a whole number with, for bytes, a suffix. Returns false on anything else and on overflow. */
static bool number(const char *text, bool suffix, int64_t *value)
{
	static const char suffixes[] = "KMGT";
	char *end;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (errno || end == text || isspace((unsigned char)*text) || *text == '+')
		return false;
	const char *found = suffix && *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
	int shift = found ? 10 * (int)(found - suffixes + 1) : 0;
	if (n > INT64_MAX >> shift || n < 0 - (INT64_MAX >> shift) || end[found ? 1 : 0])
		return false;
	*value = n * (INT64_C(1) << shift);
	return true;
}

/* Says what an option takes. */
static void wrong_value(const struct optionset_row *o, const char *value, const char *origin)
{
	struct human min = {.text = ""}, max = {.text = ""};
	if (o->type == OPT_PATH) {
		message("%s: option %s needs a path shorter than %d bytes", origin, o->key, PATH_BYTES_MAX);
		return;
	}
	if (o->type == OPT_BOOL) {
		message("%s: option %s is on or off, not '%s'", origin, o->key, value);
		return;
	}
	if (o->type == OPT_WORD) {
		message("%s: option %s is one of %s, not '%s'", origin, o->key, o->unit, value);
		return;
	}
	if (o->type == OPT_BYTES) {
		min = human_suffix((uint64_t)o->min);
		max = human_suffix((uint64_t)o->max);
	} else {
		snprintf(min.text, sizeof(min.text), "%lld", (long long)o->min);
		snprintf(max.text, sizeof(max.text), "%lld", (long long)o->max);
	}
	const char *suffixes = o->type == OPT_BYTES ? ", with a suffix K, M, G or T where wanted" : "";
	if (o->max == INT64_MAX)
		message("%s: option %s is a number of %s from %s%s, not '%s'", origin, o->key, o->unit, min.text, suffixes,
		        value);
	else
		message("%s: option %s is a number of %s from %s to %s%s, not '%s'", origin, o->key, o->unit, min.text,
		        max.text, suffixes, value);
}

/* The number of the word among "off|auto|turn"; -1: none of them. */
static int64_t word_of(const char *words, const char *value)
{
	for (int64_t number = 0; *words; number++) {
		size_t bytes = strcspn(words, "|");
		if (strlen(value) == bytes && memcmp(words, value, bytes) == 0)
			return number;
		words += bytes + (words[bytes] == '|');
	}
	return -1;
}

static bool good_value(const struct optionset_row *o, const char *value)
{
	int64_t n;
	if (o->type == OPT_BOOL)
		return strcmp(value, "on") == 0 || strcmp(value, "off") == 0;
	if (o->type == OPT_WORD)
		return word_of(o->unit, value) >= 0;
	if (o->type == OPT_PATH)
		return strlen(value) < PATH_BYTES_MAX && (*value || !*o->unit);
	return number(value, o->type == OPT_BYTES, &n) && n >= o->min && n <= o->max;
}

static void replace(struct optionset *c, int i, char *value)
{
	free(c->values[i]);
	c->values[i] = value;
}

/* Adds one "key:value" of `length` bytes, blanks around it taken off; nothing and a comment are fine. */
static bool add_one(struct optionset *c, const char *text, size_t length, const char *origin, bool keep)
{
	while (length && isspace((unsigned char)*text)) {
		text++;
		length--;
	}
	while (length && isspace((unsigned char)text[length - 1]))
		length--;
	if (!length || *text == '#')
		return true;
	const char *colon = memchr(text, ':', length);
	if (!colon) {
		message("%s: '%.*s' is not key:value", origin, (int)length, text);
		return false;
	}
	int i = find(text, (size_t)(colon - text));
	if (i < 0) {
		char *key = memory_format("%.*s", (int)(colon - text), text);
		unknown_key(key, origin);
		free(key);
		return false;
	}
	char *value = memory_format("%.*s", (int)(text + length - colon - 1), colon + 1);
	if (!good_value(&optionset_table[i], value)) {
		wrong_value(&optionset_table[i], value, origin);
		free(value);
		return false;
	}
	if (keep && c->values[i])
		free(value);
	else
		replace(c, i, value);
	return true;
}

bool optionset_add(struct optionset *c, const char *text, const char *origin)
{
	while (*text) {
		size_t length = strcspn(text, ",");
		if (!add_one(c, text, length, origin, false))
			return false;
		text += length + (text[length] == ',');
	}
	return true;
}

bool optionset_add_file(struct optionset *c, const char *path)
{
	char line[LINE_BYTES_MAX];
	bool good = true;
	FILE *f = fopen(path, "r");
	if (!f) {
		message("option conf: %s: %s", path, strerror(errno));
		return false;
	}
	while (good && fgets(line, sizeof(line), f))
		good = add_one(c, line, strlen(line), path, true);
	if (ferror(f)) {
		message("option conf: %s: %s", path, strerror(errno));
		good = false;
	}
	fclose(f);
	return good;
}

void optionset_put(struct optionset *c, const char *key, const char *value)
{
	replace(c, find(key, strlen(key)), memory_text(value));
}

const char *optionset_get(const struct optionset *c, const char *key)
{
	return c->values[find(key, strlen(key))];
}

char *optionset_text(const struct optionset *c)
{
	char *text = memory_text("");
	for (int i = 0; i < OPTIONSET_COUNT; i++) {
		if (!c->values[i])
			continue;
		char *longer = memory_format("%s%s%s:%s", text, *text ? "," : "", optionset_table[i].key, c->values[i]);
		free(text);
		text = longer;
	}
	return text;
}

void optionset_clear(struct optionset *c)
{
	for (int i = 0; i < OPTIONSET_COUNT; i++)
		replace(c, i, NULL);
}

static char *default_word(const struct optionset_row *option)
{
	const char *words = option->unit;
	for (int64_t number = option->initial; number; number--)
		words = strchr(words, '|') + 1;
	return memory_format("%.*s", (int)strcspn(words, "|"), words);
}

char *optionset_default(const struct optionset_row *option)
{
	switch (option->type) {
	case OPT_BOOL:
		return memory_text(option->initial ? "on" : "off");
	case OPT_BYTES:
		return memory_text(human_suffix((uint64_t)option->initial).text);
	case OPT_WORD:
		return default_word(option);
	case OPT_PATH:
		return memory_text(option->unit);
	default:
		return memory_format("%lld", (long long)option->initial);
	}
}

const char *optionset_type_name(enum option_type type)
{
	static const char *const names[] = {"on|off", "bytes", "count", "ms", "word", "path"};
	return names[type];
}
