/* forecast.h: will sluice act in this program, and why not? Decided from files alone, before anything runs.
 *
 * `sluice doctor` prints all of it, `sluice run` asks for the verdict, so the two never disagree. What only shows when
 * the program runs (a seccomp filter, an allocator loaded later) is left to the library, which is inert then.
 */
#ifndef SLUICE_FORECAST_H
#define SLUICE_FORECAST_H

#include "analytics/program_find.h"

#include <stdbool.h>

enum forecast_verdict {
	FORECAST_ACTS,
	FORECAST_INERT,      /* the program runs, but without sluice */
	FORECAST_NO_LIBRARY, /* libsluice.so is not there */
	FORECAST_NO_PROGRAM  /* there is nothing to run */
};

enum forecast_mark { MARK_GOOD, MARK_NOTE, MARK_BAD };

enum { FORECAST_FINDINGS_MAX = 16, FORECAST_TEXT_MAX = PATH_MAX + 256 };

struct forecast_finding {
	enum forecast_mark mark;
	const char *about; /* "program", "allocator", ... */
	char text[FORECAST_TEXT_MAX];
};

struct forecast {
	enum forecast_verdict verdict;
	int error; /* for FORECAST_NO_PROGRAM: the errno value */
	struct program program;
	char library[PATH_MAX];         /* libsluice.so, or "" */
	char reason[FORECAST_TEXT_MAX]; /* for every verdict but FORECAST_ACTS: one clause */
	struct forecast_finding findings[FORECAST_FINDINGS_MAX];
	unsigned findings_count;
};

/* `library` is a path that the user gave, or NULL: then beside the command, or in ../lib from it. */
void forecast_make(struct forecast *f, const char *name, const char *library);

#endif
