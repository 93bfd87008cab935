/* run_child.h: one program as a child that signals pass through. */
#ifndef SLUICE_RUN_CHILD_H
#define SLUICE_RUN_CHILD_H

#include <sys/types.h>

/* What to start. The program is `path`; its arguments, the name first, end with NULL. */
struct run_child {
	const char *path;
	char **argv;
	const char *preload; /* value of LD_PRELOAD, or NULL: leave it, and the two below, alone */
	const char *conf;    /* value of SLUICE_CONF */
	pid_t pid;           /* out: the child's */
	int error;           /* out: errno of a failed fork or exec, else 0 */
};

/* Starts it, waits for its end and passes signals on meanwhile. Returns the status as waitpid() gives it; when `error`
 * is set the program never ran. */
int run_child(struct run_child *c);

#endif
