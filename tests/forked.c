/* forked.c: see forked.h. */
#include "forked.h"

#include <sys/wait.h>
#include <unistd.h>

static void nothing(void) {}

int forked(int (*run)(void))
{
	return forked_between(nothing, run, nothing);
}

int forked_between(void (*prepare)(void), int (*run)(void), void (*parent)(void))
{
	int status;
	prepare();
	pid_t child = fork();
	if (child == 0)
		_exit(run());
	parent();
	return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}
