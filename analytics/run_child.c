/* run_child.c: starts the program and stands between it and who started us; see run_child.h.
 *
 * The child stays in our process group, so that a terminal's signals (^C, ^\, ^Z, a new window size, a hang-up) reach it
 * without us, and job control treats the two as one job. Those carry si_code SI_KERNEL and are dropped here: passing
 * them on would deliver them twice. What another process sends to us alone (kill, timeout, a supervisor) is passed on.
 * A sender that signals the whole group by kill(-group) reaches the program both ways; nothing tells that case apart.
 *
 * No handlers: the signals are blocked and taken one by one with sigwaitinfo(), SIGCHLD among them. When the child
 * stops, we stop too, so that the shell sees the job stopped; when the shell continues us, we continue the child.
 */
#include "analytics/run_child.h"

#include "shim/options.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const int passed_on[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,  SIGUSR1,
                                SIGUSR2, SIGCONT, SIGTSTP, SIGWINCH, SIGALRM};

/* In the child: sets the environment and becomes the program. Writes errno to `failed` if it cannot. */
static void become(const struct run_child *c, const sigset_t *mask, const struct sigaction *on_child, int failed)
{
	char pid[24];
	snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	bool set = !c->preload || (setenv("LD_PRELOAD", c->preload, 1) == 0 && setenv(SLUICE_CONF_ENV, c->conf, 1) == 0 &&
	                           setenv(SLUICE_RUN_ENV, pid, 1) == 0);
	if (set) {
		sigaction(SIGCHLD, on_child, NULL);
		sigprocmask(SIG_SETMASK, mask, NULL);
		execv(c->path, c->argv);
		if (errno == ENOEXEC) { /* a script without a first line that says by what: as execvp() does */
			size_t count = 0;
			while (c->argv[count])
				count++;
			char **argv = calloc(count + 2, sizeof(argv[0]));
			if (argv) {
				argv[0] = (char *)"sh";
				argv[1] = (char *)c->path;
				memcpy(argv + 2, c->argv + 1, count * sizeof(argv[0]));
				execv("/bin/sh", argv);
			}
		}
	}
	int error = errno;
	ssize_t written = write(failed, &error, sizeof(error));
	_exit(written == sizeof(error) ? 127 : 126);
}

/* Takes signals until the child is gone. Returns its status. */
static int attend(pid_t child, const sigset_t *watched)
{
	for (;;) {
		siginfo_t info;
		int status, taken = sigwaitinfo(watched, &info);
		if (taken < 0)
			continue; /* EINTR: after a stop */
		if (taken != SIGCHLD) {
			if (info.si_code != SI_KERNEL && info.si_pid != child)
				kill(child, taken);
			continue;
		}
		while (waitpid(child, &status, WNOHANG | WUNTRACED) == child) {
			if (!WIFSTOPPED(status))
				return status;
			raise(SIGSTOP); /* returns when we are continued */
			kill(child, SIGCONT);
		}
	}
}

int run_child(struct run_child *c)
{
	struct sigaction on_child, by_default = {.sa_handler = SIG_DFL};
	sigset_t watched, before;
	int failed[2], status = 0;
	c->error = 0;
	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		sigaddset(&watched, passed_on[i]);
	if (pipe2(failed, O_CLOEXEC) != 0) {
		c->error = errno;
		return 0;
	}
	sigaction(SIGCHLD, &by_default, &on_child); /* ignored, it would take the child's status away */
	sigprocmask(SIG_BLOCK, &watched, &before);
	fflush(NULL);
	c->pid = fork();
	if (c->pid == 0)
		become(c, &before, &on_child, failed[1]);
	close(failed[1]);
	if (c->pid < 0)
		c->error = errno;
	else if (read(failed[0], &c->error, sizeof(c->error)) == 0) /* closed by the exec */
		status = attend(c->pid, &watched);
	else
		waitpid(c->pid, &status, 0);
	close(failed[0]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	sigaction(SIGCHLD, &on_child, NULL);
	return status;
}
