/* meter.c: run one program once and say what it and its descendants took.
 *
 *   meter FD SAMPLE_MS [NAME=VALUE]... -- PROGRAM [ARG]...
 *
 * NAME=VALUE is set for the program only, never for the meter: a preload must not measure itself. When the program and
 * all its descendants are gone, lines "KEY NUMBER" are written to descriptor FD:
 *   status         exit status, 128 + signal, or 127 when the program could not be started
 *   wall           ns, from the fork to the end of the program itself
 *   user system    ns, of the program and every descendant
 *   largest        bytes: the peak resident set of the largest single process (exact, from the kernel)
 *   tree           bytes: the peak of the sum over the processes alive at once, looked at every SAMPLE_MS milliseconds;
 *                  pages that processes share count once for each of them. 0: there was never more than one process
 *   minor major    page faults
 *   waits switches voluntary and involuntary context switches
 * SIGTERM, SIGINT and SIGQUIT are passed on to the program; whatever it leaves behind is killed at its end. SIGHUP kills the
 * program and all its descendants at once, in whatever session they are; the kernel sends it when the parent dies.
 *
 * Why it exists: the kernel carries the peak resident set of the process that called fork over exec, so a program
 * started from Python would seem to need Python's memory. This parent is tiny.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TREE_MAX = 4096, PATH_BYTES = 64, LIST_BYTES = 65536 };

static pid_t program;
static long page_bytes;

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

static ssize_t slurp(const char *path, char *text, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, room - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n;
}

/* The kernel lists children by the thread that forked them. */
static int add_children_of_thread(pid_t pid, const char *thread, pid_t *tree, int count)
{
	char path[PATH_BYTES], list[LIST_BYTES];
	snprintf(path, sizeof(path), "/proc/%d/task/%.16s/children", pid, thread);
	if (slurp(path, list, sizeof(list)) <= 0)
		return count;
	for (char *at = list, *end; count < TREE_MAX; at = end) {
		long child = strtol(at, &end, 10);
		if (end == at)
			break;
		tree[count++] = (pid_t)child;
	}
	return count;
}

static int add_children(pid_t pid, pid_t *tree, int count)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *threads = opendir(path);
	for (const struct dirent *thread; threads && (thread = readdir(threads));)
		if (thread->d_name[0] != '.')
			count = add_children_of_thread(pid, thread->d_name, tree, count);
	if (threads)
		closedir(threads);
	return count;
}

static long long resident(pid_t pid)
{
	char path[PATH_BYTES], line[128];
	long size, pages;
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	return slurp(path, line, sizeof(line)) > 0 && sscanf(line, "%ld %ld", &size, &pages) == 2 ? pages * page_bytes : 0;
}

/* The sum over the meter's descendants; `several` becomes 1 when there is more than one. */
static long long tree_resident(int *several)
{
	static pid_t tree[TREE_MAX];
	long long sum = 0;
	int count = add_children(getpid(), tree, 0);
	for (int i = 0; i < count; i++) {
		count = add_children(tree[i], tree, count);
		sum += resident(tree[i]);
	}
	*several |= count > 1;
	return sum;
}

static void kill_all(void)
{
	pid_t rest[TREE_MAX];
	for (int count; (count = add_children(getpid(), rest, 0)) > 0;) {
		for (int i = 0; i < count; i++)
			kill(rest[i], SIGKILL);
		for (int i = 0; i < count; i++)
			waitpid(-1, NULL, 0);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0) {
	}
}

/* The parent holds the other end of the report's pipe: has it died before we asked to be told? */
static int orphaned(int report)
{
	struct pollfd pipe = {.fd = report};
	return poll(&pipe, 1, 0) == 1 && pipe.revents & POLLERR;
}

static void become(int report, char **argv)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(report);
	for (; *argv && strcmp(*argv, "--") != 0; argv++)
		putenv(*argv);
	execvp(argv[1], argv + 1);
	fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
	_exit(127);
}

/* Waits for the program's own end, adopting and reaping whatever else ends meanwhile. `awaited` are blocked signals. */
static int wait_for_program(const sigset_t *awaited, int sample_ms, long long *tree, long long *end)
{
	int status, several = 0;
	struct timespec step = {sample_ms / 1000, sample_ms % 1000 * 1000000L};
	for (*tree = 0;;) {
		for (pid_t gone; (gone = waitpid(-1, &status, WNOHANG)) > 0;)
			if (gone == program) {
				*end = now();
				*tree = several ? *tree : 0;
				return status;
			}
		int told = sigtimedwait(awaited, NULL, &step);
		if (told < 0) {
			long long sum = tree_resident(&several);
			*tree = sum > *tree ? sum : *tree;
		} else if (told == SIGHUP) {
			*end = now();
			return SIGKILL; /* as main() does next to whatever is left */
		} else if (told != SIGCHLD) {
			kill(program, told);
		}
	}
}

int main(int argc, char **argv)
{
	static const int awaits[] = {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP};
	sigset_t awaited;
	int report = argc > 1 ? atoi(argv[1]) : -1, sample_ms = argc > 2 ? atoi(argv[2]) : 0, command = 3;
	while (command < argc && strcmp(argv[command], "--") != 0)
		command++;
	if (report < 0 || sample_ms < 1 || command + 1 >= argc) {
		fputs("usage: meter FD SAMPLE_MS [NAME=VALUE]... -- PROGRAM [ARG]...\n", stderr);
		return 2;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fcntl(report, F_SETFD, FD_CLOEXEC);
	page_bytes = sysconf(_SC_PAGESIZE);
	sigemptyset(&awaited);
	for (size_t i = 0; i < sizeof(awaits) / sizeof(*awaits); i++)
		sigaddset(&awaited, awaits[i]);
	sigprocmask(SIG_BLOCK, &awaited, NULL);
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	if (orphaned(report))
		return 2;

	long long start = now(), end = 0, tree = 0;
	program = fork();
	if (program == 0)
		become(report, argv + 3);
	if (program < 0) {
		perror("meter: fork");
		return 2;
	}
	int status = wait_for_program(&awaited, sample_ms, &tree, &end);
	kill_all();
	struct rusage use;
	getrusage(RUSAGE_CHILDREN, &use);
	dprintf(report,
	        "status %d\nwall %lld\nuser %lld\nsystem %lld\nlargest %lld\ntree %lld\nminor %ld\nmajor %ld\nwaits %ld\n"
	        "switches %ld\n",
	        WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), end - start, ns(use.ru_utime),
	        ns(use.ru_stime), use.ru_maxrss * 1024LL, tree, use.ru_minflt, use.ru_majflt, use.ru_nvcsw, use.ru_nivcsw);
	return 0;
}
