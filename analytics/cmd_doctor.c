/* cmd_doctor.c: `sluice doctor PROGRAM`: what `sluice run` would do, said in advance; see forecast.h. */
#include "analytics/command.h"
#include "analytics/forecast.h"
#include "analytics/memory.h"
#include "analytics/message.h"
#include "analytics/terminal.h"

#include <stdio.h>
#include <stdlib.h>

const struct flag cmd_doctor_flags[] = {
	{"lib", "PATH", "the library to preload, when it is not beside the command or in ../lib", 0},
	{0},
};

static void print(const struct forecast *f, const struct terminal *t)
{
	static const char *const marks[] = {"ok", "note", "NO"};
	for (unsigned i = 0; i < f->findings_count; i++) {
		const struct forecast_finding *finding = &f->findings[i];
		bool bad = finding->mark == MARK_BAD;
		char *text = message_safe(memory_text(finding->text));
		printf("%s%-4s%s  %-10s  %s\n", bad ? terminal_bold(t) : "", marks[finding->mark], terminal_plain(t),
		       finding->about, text);
		free(text);
	}
	char *reason = message_safe(memory_text(f->reason));
	if (f->verdict == FORECAST_ACTS)
		printf("\nsluice will act in this program.\n");
	else
		printf("\nsluice will %s: %s.\n",
		       f->verdict == FORECAST_NO_PROGRAM ? "not run this" : "not act in this program", reason);
	free(reason);
}

int cmd_doctor(char **words)
{
	static struct forecast forecast; /* too large for a small stack */
	struct flags f;
	const char *library = NULL, *program = NULL;
	flags_open(&f, "doctor", cmd_doctor_flags, words);
	for (int flag; !program && (flag = flags_next(&f)) != FLAGS_END;) {
		if (flag == FLAGS_WRONG)
			return EXIT_USAGE;
		*(flag == 0 ? &library : &program) = f.value;
	}
	if (!program) {
		message("doctor: which program? usage: sluice doctor PROGRAM");
		return EXIT_USAGE;
	}
	forecast_make(&forecast, program, library); /* words after the program are its own */
	struct terminal terminal = terminal_of(stdout);
	print(&forecast, &terminal);
	return command_end(forecast.verdict == FORECAST_ACTS ? EXIT_OK : EXIT_WRONG);
}
