/* program_find.h: which file will really run when a command is typed: PATH, then "#!" lines, then env. */
#ifndef SLUICE_PROGRAM_FIND_H
#define SLUICE_PROGRAM_FIND_H

#include <limits.h>
#include <stdbool.h>

struct program {
	char path[PATH_MAX];  /* the file that was named */
	bool searched;        /* found in PATH */
	bool script;          /* the file is a script, and `image` its interpreter */
	char image[PATH_MAX]; /* the file that the kernel maps in the end; the path itself when it is no script */
};

/* Finds what execvp(name) would run. Returns 0, or the errno value that execvp would fail with. A script whose
 * interpreter is missing gives ENOENT with `script` set and the interpreter's name in `image`. */
int program_find(const char *name, struct program *program);

#endif
