/* cmd_run.c: `sluice run -- PROGRAM ARGUMENTS`: a program with the library preloaded, and one screen at its end.
 *
 * Standard output is the program's; the command speaks on standard error only, and never between the program's start
 * and its end. Where sluice would not act (forecast.h), the program runs as if we were not there, after one line that
 * says why. The status is the program's, or 128 + N when signal N ended it.
 */
#include "analytics/command.h"
#include "analytics/forecast.h"
#include "analytics/memory.h"
#include "analytics/message.h"
#include "analytics/optionset.h"
#include "analytics/report_view.h"
#include "analytics/run_child.h"
#include "analytics/run_report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FLAG_OUTPUT, FLAG_CONF, FLAG_LIB, FLAG_QUIET };

const struct flag cmd_run_flags[] = {
	{"output", "FILE", "where the report goes; takes %p pid, %e program, %h host, %t start time", 'o'},
	{"conf", "K:V", "an option of SLUICE_CONF, or several with commas; may be repeated", 0},
	{"lib", "PATH", "the library to preload, when it is not beside the command or in ../lib", 0},
	{"quiet", NULL, "no screen at the end", 'q'},
	{0},
};

struct run {
	struct optionset conf;
	const char *library; /* or NULL */
	char **program;      /* its words */
	bool quiet;
};

/* Reads flags and options. Returns false, having said why, when something is wrong. */
static bool read_words(struct run *run, char **words)
{
	const char *environment = getenv(SLUICE_CONF_ENV), *output = NULL;
	struct flags f;
	bool good = !environment || optionset_add(&run->conf, environment, SLUICE_CONF_ENV);
	flags_open(&f, "run", cmd_run_flags, words);
	for (int flag; good && !run->program && (flag = flags_next(&f)) != FLAGS_END;) {
		switch (flag) {
		case FLAG_OUTPUT:
			output = f.value;
			break;
		case FLAG_CONF:
			good = optionset_add(&run->conf, f.value, "--conf");
			break;
		case FLAG_LIB:
			run->library = f.value;
			break;
		case FLAG_QUIET:
			run->quiet = true;
			break;
		case FLAGS_WORD:
			run->program = f.words - 1;
			break;
		default:
			good = false;
		}
	}
	if (!good)
		return false;
	if (!run->program || (output && (!*output || strchr(output, ',')))) {
		message(run->program ? "run: the report's name must not be empty or hold a comma"
		                     : "run: which program? usage: sluice run -- PROGRAM [ARGUMENT]...");
		return false;
	}
	if (output)
		optionset_put(&run->conf, "report", output);
	const char *file = optionset_get(&run->conf, "conf");
	return !file || !*file || optionset_add_file(&run->conf, file);
}

/* By the clock that the kernel stamps files with, so that a file written from now on is never older. */
static uint64_t now_unix_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Why a program that should have written a report has not. */
static void say_no_report(const char *program, int status, const char *why)
{
	if (*why)
		message("%s", why);
	else if (WIFSIGNALED(status))
		message("no report: %s was ended by signal %d (%s), which leaves no time to write one", program,
		        WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		message("no report: %s did not load the library, or could not write the file; --conf verbose:on says more",
		        program);
}

/* The screen at the end, with the line that says where it is from. */
static void show_screen(const struct report *r, const char *path, size_t others)
{
	struct terminal terminal = terminal_of(stderr);
	struct names *s = names_open(r, NULL, 0);
	char *safe = message_safe(memory_text(path));
	signal(SIGPIPE, SIG_IGN); /* a reader of standard error that is gone must not change the status */
	fprintf(stderr, "%s--- sluice ---%s\n", terminal_dim(&terminal), terminal_plain(&terminal));
	view_summary(r, s, &terminal);
	fprintf(stderr, "%sreport%s    %s", terminal_dim(&terminal), terminal_plain(&terminal), safe);
	if (others)
		fprintf(stderr, ", and %zu more beside it of other processes", others);
	fputc('\n', stderr);
	free(safe);
	names_close(s);
}

/* Finds the report and shows it, or says why there is none. */
static void show(const struct run *run, const struct run_child *child, int status, uint64_t start_unix_ns)
{
	char why[REPORT_MESSAGE_MAX];
	struct report r;
	const char *pattern = optionset_get(&run->conf, "report");
	if (strcmp(pattern, "off") == 0)
		return;
	char *path = run_report_find(&r, pattern, child->pid, start_unix_ns, why);
	if (!path) {
		say_no_report(run->program[0], status, why);
		return;
	}
	if (!run->quiet)
		show_screen(&r, path, run_report_others(pattern, path, start_unix_ns));
	report_close(&r);
	free(path);
}

/* The words for the child: the library, before what the user preloads already. */
static void prepare(struct run_child *child, struct run *run, const struct forecast *forecast)
{
	const char *already = getenv("LD_PRELOAD");
	char *pattern = run_report_pattern(optionset_get(&run->conf, "report"));
	child->path = forecast->program.path;
	child->argv = run->program;
	optionset_put(&run->conf, "report", pattern);
	free(pattern);
	if (forecast->verdict != FORECAST_ACTS)
		return;
	child->conf = optionset_text(&run->conf);
	bool there = already && strstr(already, forecast->library);
	child->preload = already && *already && !there ? memory_format("%s:%s", forecast->library, already)
	                                               : memory_text(there ? already : forecast->library);
}

int cmd_run(char **words)
{
	static struct forecast forecast; /* too large for a small stack */
	struct run_child child = {0};
	struct run run = {0};
	if (!read_words(&run, words)) {
		optionset_clear(&run.conf);
		return EXIT_USAGE;
	}
	forecast_make(&forecast, run.program[0], run.library);
	if (forecast.verdict == FORECAST_NO_PROGRAM || forecast.verdict == FORECAST_NO_LIBRARY) {
		message("run: %s", forecast.reason);
		optionset_clear(&run.conf);
		if (forecast.verdict == FORECAST_NO_LIBRARY)
			return EXIT_USAGE;
		return forecast.error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE;
	}
	if (forecast.verdict != FORECAST_ACTS)
		message("runs without sluice, no report: %s", forecast.reason);
	prepare(&child, &run, &forecast);
	uint64_t start_unix_ns = now_unix_ns();
	int status = run_child(&child);
	if (child.error)
		message("%s: %s", run.program[0], strerror(child.error));
	else if (child.preload)
		show(&run, &child, status, start_unix_ns);
	free((void *)child.preload);
	free((void *)child.conf);
	optionset_clear(&run.conf);
	if (child.error)
		return child.error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE;
	return WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}
