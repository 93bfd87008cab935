/* cmd_help.c: `sluice help [COMMAND | conf [--markdown]]`.
 *
 * The table of options comes from shim/options.h, like the parser; so the README's table is made by
 * `sluice help conf --markdown` and a check can hold the two together.
 */
#include "analytics/command.h"
#include "analytics/human_units.h"
#include "analytics/memory.h"
#include "analytics/message.h"
#include "analytics/optionset.h"
#include "analytics/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct flag cmd_help_flags[] = {
	{"markdown", NULL, "print the options as a Markdown table", 0},
	{0},
};

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

/* "16..65535 sites", "-1..86400000 ms", "0..1T bytes", "0 or more bytes", "on|off", "path". Released by the caller. */
static char *values_of(const struct optionset_row *o)
{
	if (o->type == OPT_WORD)
		return memory_text(o->unit);
	if (o->type == OPT_BOOL || o->type == OPT_PATH)
		return memory_text(optionset_type_name(o->type));
	if (o->max == INT64_MAX)
		return memory_format("%lld or more %s", (long long)o->min, o->unit);
	if (o->type == OPT_BYTES)
		return memory_format("%lld..%s %s", (long long)o->min, human_suffix((uint64_t)o->max).text, o->unit);
	return memory_format("%lld..%lld %s", (long long)o->min, (long long)o->max, o->unit);
}

static void conf_markdown(void)
{
	printf("| option | default | values | what it does |\n| --- | --- | --- | --- |\n");
	for (size_t i = 0; i < OPTIONSET_COUNT; i++) {
		char *initial = optionset_default(&optionset_table[i]), *values = values_of(&optionset_table[i]);
		printf("| `%s` | `%s` | ", optionset_table[i].key, or_dash(initial));
		for (const char *c = values; *c; c++) {
			if (*c == '|') /* would end the cell */
				putchar('\\');
			putchar(*c);
		}
		printf(" | %s |\n", optionset_table[i].help);
		free(initial);
		free(values);
	}
}

static void conf_table(void)
{
	static const struct table_column columns[] = {
		{"option", false}, {"default", false}, {"values", false}, {"", false}};
	struct terminal terminal = terminal_of(stdout);
	struct table table;
	printf(
		"SLUICE_CONF=\"key:value,key:value\", or for `sluice run` --conf key:value. Bytes take the suffixes K, M, G\n"
		"and T, powers of 1024. Report names take %%p pid, %%e program, %%h host, %%t start time.\n\n");
	table_open(&table, columns, 4);
	for (size_t i = 0; i < OPTIONSET_COUNT; i++) {
		char *initial = optionset_default(&optionset_table[i]), *values = values_of(&optionset_table[i]);
		table_cell(&table, optionset_table[i].key);
		table_cell(&table, or_dash(initial));
		table_cell(&table, values);
		table_cell(&table, optionset_table[i].help);
		free(initial);
		free(values);
	}
	terminal.columns = 0;
	table_print(&table, &terminal, 2);
	table_close(&table);
}

int cmd_help(char **words)
{
	struct flags f;
	const char *topic = NULL;
	bool markdown = false;
	flags_open(&f, "help", cmd_help_flags, words);
	for (int flag; (flag = flags_next(&f)) != FLAGS_END;) {
		if (flag == FLAGS_WRONG)
			return EXIT_USAGE;
		if (flag == 0)
			markdown = true;
		else if (topic) {
			message("help: one topic at a time, not also '%s'", f.value);
			return EXIT_USAGE;
		} else
			topic = f.value;
	}
	bool conf = topic && strcmp(topic, "conf") == 0;
	if (markdown && !conf) {
		message("help: --markdown belongs to 'sluice help conf'");
		return EXIT_USAGE;
	}
	const struct command *c = topic && !conf ? command_find(topic) : NULL;
	if (topic && !conf && !c)
		return EXIT_USAGE;
	if (conf && markdown)
		conf_markdown();
	else if (conf)
		conf_table();
	else if (c)
		command_help(c);
	else
		command_help_all();
	return command_end(EXIT_OK);
}
