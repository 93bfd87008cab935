/* run_victim.h: run one program the way a user would, and keep what it said.
 *
 * Every driver that runs a victim (tests/preload) uses this one door. A run happens in a fresh folder, which is the
 * program's current folder and, unless the test says otherwise, the place of its reports. The program gets its own
 * process group; standard output, standard error and the wait status are captured. A watchdog, generous enough that a
 * slow machine never meets it, kills a group that hangs, prints the stacks of its threads when gdb is there, and
 * marks the outcome: it finds hangs, it does not measure time.
 *
 * After the run every report in the folder is held to its schema and its equations by scripts/check-report: no test
 * can forget that. A victim prints "ok" and exits 0, or prints one line of what is wrong and exits 1.
 *
 * Environment of the tests: SLUICE_BUILD, the build folder (default "build", relative to the repository's root, from
 * which the tests are run); SLUICE_RUNS, how often the repeated tests run (default 200 or what the test says, and 50
 * times that when SLUICE_SOAK is set); SLUICE_KEEP, when set, leaves the folders of the runs in place.
 */
#ifndef RUN_VICTIM_H
#define RUN_VICTIM_H

#include <stdbool.h>
#include <stddef.h>

enum {
	VICTIM_PATH_MAX = 4096,
	VICTIM_WATCHDOG_S = 180, /* for one run; a run that needs a tenth of it is already slow */
};

/* What to run. Fields left out are what a user who types the command gets. */
struct victim {
	const char *name;        /* of a victim, or a path, or a program found by PATH when `installed` */
	bool installed;          /* look in PATH, not among the victims */
	const char *const *args; /* after the name; NULL ends them; NULL: none */
	const char *const *env;  /* "KEY=VALUE" sets, "KEY" removes; NULL ends them; NULL: none */
	const char *preload;     /* LD_PRELOAD; NULL: none. See victim_sluice() */
	const char *conf;        /* options, "key:value,key:value", besides report */
	const char *report; /* value of the option report; NULL: "%e.%p.%t.json" in the run's folder; "": the default */
	int watchdog_s;     /* 0: VICTIM_WATCHDOG_S */
	bool unchecked;     /* reports of this run are not ours to check */
};

/* What came of it. Release with victim_forget. */
struct outcome {
	int status;    /* as waitpid gives it */
	bool hung;     /* killed by the watchdog */
	char *out;     /* NUL-terminated */
	char *err;     /* NUL-terminated */
	int reports;   /* files named *.json in the folder */
	char *checked; /* what check-report said against them; NULL when all are good */
	char dir[VICTIM_PATH_MAX];
};

/* The absolute path of a file of the build folder; the string lives as long as the process. */
const char *victim_build(const char *relative);

/* build/libsluice.so, absolute. */
const char *victim_sluice(void);

/* How often a repeated test runs: SLUICE_RUNS or `usual`. */
int victim_runs(int usual);

/* Runs, waits, checks the reports. Never fails the test itself. */
struct outcome victim_run(const struct victim *v);

/* The path of the only report in the folder, or NULL when there is not exactly one. Static storage. */
const char *victim_only_report(const struct outcome *o);

/* The whole of a file of the outcome's folder as a string (free it), or NULL. */
char *victim_read(const struct outcome *o, const char *name);

/* Removes the folder, frees the texts. */
void victim_forget(struct outcome *o);

/* One line on the standard error for a person: what was run and what came of it. */
void victim_explain(const struct victim *v, const struct outcome *o);

/* Exit 0, "ok" on standard output, nothing on standard error, no hang, good reports. Explains itself when not. */
bool victim_is_ok(const struct victim *v, const struct outcome *o);

/* Runs and forgets; true when victim_is_ok. */
bool victim_passes(const struct victim *v);

/* Runs it `runs` times in one folder, checks the reports of all together at the end. Stops at the first run that is not
 * ok. For repeated races, where a check of each run would take longer than the run.
 */
bool victim_repeats(const struct victim *v, int runs);

/* victim_passes without a preload (the program is right on glibc), then under libsluice.so with each of the
 * configurations in `confs` (NULL-terminated; NULL: only the default one). False at the first that fails. */
bool victim_passes_both(const char *name, const char *const *confs);

/* The same without the run on glibc, for what only sluice promises. */
bool victim_passes_sluice(const char *name, const char *const *confs);

/* Whether a program is in PATH. */
bool victim_has(const char *program);

#endif
