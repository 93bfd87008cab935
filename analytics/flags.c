/* flags.c: takes the words of a command line apart; see flags.h.
 *
 * Not getopt_long: it prints its own messages, guesses at abbreviations, and cannot name the nearest match. Accepted:
 * --name, --name=value, --name value, -n, -nvalue, -n value, -ab; "--" ends the flags; a lone "-" is a word.
 */
#include "analytics/flags.h"

#include "analytics/message.h"
#include "analytics/nearest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS_MAX = 32 };

void flags_open(struct flags *f, const char *command, const struct flag *table, char **words)
{
	*f = (struct flags){.command = command, .table = table, .words = words};
	while (f->table_count < FLAGS_MAX && table[f->table_count].name)
		f->table_count++;
}

/* Gives the flag its argument: what stands in the same word, or the next word. */
static int take(struct flags *f, size_t index, const char *attached)
{
	const struct flag *flag = &f->table[index];
	f->value = attached;
	if (!flag->argument && attached) {
		message("%s: --%s takes no value; try 'sluice help %s'", f->command, flag->name, f->command);
		return FLAGS_WRONG;
	}
	if (flag->argument && !attached) {
		if (!*f->words) {
			message("%s: --%s needs a value: --%s %s", f->command, flag->name, flag->name, flag->argument);
			return FLAGS_WRONG;
		}
		f->value = *f->words++;
	}
	return (int)index;
}

static int next_long(struct flags *f, const char *word)
{
	const char *names[FLAGS_MAX], *equals = strchr(word, '=');
	size_t length = equals ? (size_t)(equals - word) : strlen(word);
	char name[64];
	for (size_t i = 0; i < f->table_count; i++) {
		if (strlen(f->table[i].name) == length && memcmp(f->table[i].name, word, length) == 0)
			return take(f, i, equals ? equals + 1 : NULL);
		names[i] = f->table[i].name;
	}
	length = length < sizeof(name) ? length : sizeof(name) - 1;
	memcpy(name, word, length);
	name[length] = 0;
	const char *near = nearest_match(name, names, f->table_count);
	if (near)
		message("%s: no flag --%s; did you mean --%s?", f->command, name, near);
	else
		message("%s: no flag --%s; try 'sluice help %s'", f->command, name, f->command);
	return FLAGS_WRONG;
}

static int next_short(struct flags *f)
{
	char letter = *f->cluster++;
	const char *rest = *f->cluster ? f->cluster : NULL;
	for (size_t i = 0; i < f->table_count; i++) {
		if (f->table[i].letter != letter)
			continue;
		if (f->table[i].argument || !rest)
			f->cluster = NULL;
		return take(f, i, f->table[i].argument ? rest : NULL);
	}
	message("%s: no flag -%c; try 'sluice help %s'", f->command, letter, f->command);
	return FLAGS_WRONG;
}

int flags_next(struct flags *f)
{
	if (f->cluster)
		return next_short(f);
	const char *word = *f->words;
	if (!word)
		return FLAGS_END;
	f->words++;
	if (f->only_words || word[0] != '-' || !word[1]) {
		f->value = word;
		return FLAGS_WORD;
	}
	if (strcmp(word, "--") == 0) {
		f->only_words = true;
		return flags_next(f);
	}
	if (word[1] == '-')
		return next_long(f, word + 2);
	f->cluster = word + 1;
	return next_short(f);
}

int flags_choice(const struct flags *f, const char *flag, const char *value, const char *const *choices, size_t count)
{
	char all[256] = "";
	for (size_t i = 0; i < count; i++)
		if (strcmp(choices[i], value) == 0)
			return (int)i;
	for (size_t i = 0; i < count; i++) {
		strncat(all, i ? ", " : "", sizeof(all) - strlen(all) - 1);
		strncat(all, choices[i], sizeof(all) - strlen(all) - 1);
	}
	const char *near = nearest_match(value, choices, count);
	if (near)
		message("%s: --%s has no '%s'; did you mean '%s'? (one of: %s)", f->command, flag, value, near, all);
	else
		message("%s: --%s has no '%s' (one of: %s)", f->command, flag, value, all);
	return -1;
}

bool flags_count(const struct flags *f, const char *flag, const char *value, unsigned long *count)
{
	char *end;
	errno = 0;
	*count = strtoul(value, &end, 10);
	if (errno == 0 && value[0] >= '0' && value[0] <= '9' && *end == 0)
		return true;
	message("%s: --%s needs a number, not '%s'", f->command, flag, value);
	return false;
}
