/* command.h: the subcommands of `sluice`. Each gets the words after its name, NULL at the end, and returns the status
 * that the command ends with (analytics/message.h names them).
 */
#ifndef SLUICE_COMMAND_H
#define SLUICE_COMMAND_H

#include "analytics/flags.h"

struct command {
	const char *name;
	int (*run)(char **words);
	const char *usage;        /* what follows the name */
	const char *help;         /* one line */
	const char *example;      /* one command line */
	const struct flag *flags; /* ends with one without a name */
};

int cmd_run(char **words);
int cmd_report(char **words);
int cmd_doctor(char **words);
int cmd_help(char **words);

extern const struct flag cmd_run_flags[], cmd_report_flags[], cmd_doctor_flags[], cmd_help_flags[];

/* The command of that name; NULL, having said what it could have been. */
const struct command *command_find(const char *name);

/* Every command with its line, or the usage, flags and example of one, on standard output. */
void command_help_all(void);
void command_help(const struct command *c);

/* Ends what was written to standard output: `status`, or EXIT_WRONG, said, when it could not all be written. */
int command_end(int status);

/* What main() does with its words. */
int command_main(char **words);

#endif
