/* meter.c: run one program once and say what it took.
 *
 *   meter PRELOAD OUTPUT PROGRAM ARGS...      PRELOAD may be empty; OUTPUT gets the program's standard output
 *
 * Prints one line on standard output:
 *   status  wall ns  user ns  system ns  peak RSS bytes  minor faults  major faults
 * where status is the exit status, or 128 + the signal, or 127 when the program could not be started.
 *
 * Why it exists: the kernel counts the parent's pages at the time of the fork into the child's peak RSS (exec carries
 * ru_maxrss over), so a program started from python would seem to need python's 10 MiB. This parent is tiny. Only the
 * program gets the preload, not the meter.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long ns(struct timeval t)
{
	return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL;
}

static void become(char **argv)
{
	int out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (out < 0 || dup2(out, 1) < 0 || (*argv[1] && setenv("LD_PRELOAD", argv[1], 1)))
		_exit(127);
	close(out);
	execvp(argv[3], argv + 3);
	_exit(127);
}

int main(int argc, char **argv)
{
	struct rusage use;
	int status;
	if (argc < 4) {
		fputs("usage: meter PRELOAD OUTPUT PROGRAM ARGS...\n", stderr);
		return 2;
	}
	long long start = now();
	pid_t pid = fork();
	if (pid == 0)
		become(argv);
	if (pid < 0 || wait4(pid, &status, 0, &use) != pid) {
		perror("meter");
		return 2;
	}
	printf("%d %lld %lld %lld %ld %ld %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
	       now() - start, ns(use.ru_utime), ns(use.ru_stime), use.ru_maxrss * 1024L, use.ru_minflt, use.ru_majflt);
	return 0;
}
