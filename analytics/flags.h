/* flags.h: the command line of one subcommand, taken apart word by word.
 *
 * Each subcommand declares its flags in one table, from which the parser, its help and the nearest match come. Wrong
 * flags are said on standard error here, so a subcommand only returns EXIT_USAGE.
 */
#ifndef SLUICE_FLAGS_H
#define SLUICE_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

struct flag {
	const char *name;     /* without the dashes */
	const char *argument; /* name of its argument in the help, or NULL when it takes none */
	const char *help;     /* one line */
	char letter;          /* short form, or 0 */
};

enum {
	FLAGS_END = -1,  /* all words are used up */
	FLAGS_WORD = -2, /* a word that is no flag: in `value` */
	FLAGS_WRONG = -3 /* said already */
};

struct flags {
	const char *command; /* for messages */
	const struct flag *table;
	size_t table_count;
	char **words; /* those left, NULL at the end */
	const char *value;
	const char *cluster; /* rest of a word of short flags, such as "n5" of -qn5 */
	bool only_words;     /* "--" was seen */
};

/* `table` ends with a flag without a name; `words` with NULL. Both must outlive `f`. */
void flags_open(struct flags *f, const char *command, const struct flag *table, char **words);

/* The index in the table of the next flag, its argument in `value`; or one of the above. */
int flags_next(struct flags *f);

/* Says which words a flag with a choice of values takes, and the nearest. Returns the index of `value` or -1. */
int flags_choice(const struct flags *f, const char *flag, const char *value, const char *const *choices, size_t count);

/* Reads a count that is not negative. Returns false, having said so, when `value` is none. */
bool flags_count(const struct flags *f, const char *flag, const char *value, unsigned long *count);

#endif
