/* command.c: the table of subcommands, and what comes out of it: dispatch and help; see command.h. */
#include "analytics/command.h"

#include "analytics/message.h"
#include "analytics/nearest.h"
#include "analytics/table.h"
#include "analytics/version.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
	{"run", cmd_run, "[-q] [-o FILE] [--conf K:V] [--lib PATH] [--] PROGRAM [ARGUMENT]...",
     "run a program with its memory routed and counted, and say at its end who allocated what",
     "sluice run -o jq.json -- jq . orders.json", cmd_run_flags},
	{"report", cmd_report, "[--by WHAT] [--sort WHAT] [--top N] [--site ID] [--stacks] [--symbols DIR] [--json] FILE",
     "show a report", "sluice report jq.json --by module --sort live", cmd_report_flags},
	{"doctor", cmd_doctor, "[--lib PATH] PROGRAM", "say whether sluice will act in a program, and why not",
     "sluice doctor redis-server", cmd_doctor_flags},
	{"help", cmd_help, "[COMMAND | conf [--markdown]]", "explain a command, or the options of SLUICE_CONF",
     "sluice help conf", cmd_help_flags},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

const struct command *command_find(const char *name)
{
	const char *names[COMMANDS];
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
		names[i] = commands[i].name;
	}
	const char *near = nearest_match(name, names, COMMANDS);
	if (near)
		message("no command '%s'; did you mean '%s'?", name, near);
	else
		message("no command '%s'; 'sluice help' lists them", name);
	return NULL;
}

void command_help_all(void)
{
	printf("sluice says who allocates what in a program that nobody changed, and routes it.\n\n"
	       "usage: sluice COMMAND [FLAG]... [WORD]...\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].help);
	printf(
		"\n'sluice help COMMAND' explains one, 'sluice help conf' the options, 'sluice --version' says which this is.\n"
		"All of it is in the manual page sluice(1).\n");
}

void command_help(const struct command *c)
{
	static const struct table_column columns[] = {{"flag", false}, {"", false}};
	struct terminal terminal = terminal_of(stdout);
	struct table table;
	char name[128];
	printf("usage: sluice %s %s\n%s\n\n", c->name, c->usage, c->help);
	table_open(&table, columns, 2);
	for (const struct flag *f = c->flags; f->name; f++) {
		const char short_form[] = {'-', f->letter, ',', ' ', 0};
		snprintf(name, sizeof(name), "%s--%s%s%s", f->letter ? short_form : "    ", f->name, f->argument ? " " : "",
		         f->argument ? f->argument : "");
		table_cell(&table, name);
		table_cell(&table, f->help);
	}
	terminal.columns = 0; /* help is wrapped by the terminal, not cut */
	table_print(&table, &terminal, 2);
	table_close(&table);
	printf("\nexample: %s\n", c->example);
}

int command_end(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	message("standard output: %s", strerror(errno));
	return EXIT_WRONG;
}

int command_main(char **words)
{
	const char *first = words[0];
	if (!first) {
		message("what to do? try 'sluice help'");
		return EXIT_USAGE;
	}
	if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
		printf("sluice %s\n", SLUICE_VERSION);
		return command_end(EXIT_OK);
	}
	if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0) {
		command_help_all();
		return command_end(EXIT_OK);
	}
	if (first[0] == '-') {
		message("no flag %s before the command; try 'sluice help'", first);
		return EXIT_USAGE;
	}
	const struct command *c = command_find(first);
	if (!c)
		return EXIT_USAGE;
	for (char **word = words + 1; *word && (*word)[0] == '-' && strcmp(*word, "--") != 0; word++)
		if (strcmp(*word, "--help") == 0) {
			command_help(c);
			return command_end(EXIT_OK);
		}
	return c->run(words + 1);
}
