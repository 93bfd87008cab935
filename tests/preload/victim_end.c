/* Makes a known number of allocations in make_some() and ends in the way that its argument names; see `ways` below. The
 * driver knows which ways leave a report, with what `end`, and with which counts.
 */
#include "victim.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { STATUS = 23, SOME = 100, ALIVE = 40, MANY = 5000 };

static char *empty_environment[] = {NULL};
static char *echo_argv[] = {"echo", "after", NULL};
static const char echo[] = "/bin/echo";

/* SOME blocks of 48 bytes, of which ALIVE stay alive. */
__attribute__((noinline)) void make_some(void)
{
	for (int i = 0; i < SOME; i++) {
		char *p = kept(malloc(48));
		CHECK(p, "malloc(48) gives NULL");
		if (i >= ALIVE) {
			free(p);
		}
	}
}

__attribute__((noinline)) void make_many(int n)
{
	for (int i = 0; i < n; i++) {
		free(kept(malloc(32)));
	}
}

static void way_return(void) {}
static void way_exit(void)
{
	exit(STATUS);
}
static void way__exit(void)
{
	_exit(STATUS);
}
static void way__Exit(void)
{
	_Exit(STATUS);
}
static void way_quick_exit(void)
{
	quick_exit(STATUS);
}
static void way_execve(void)
{
	execve(echo, echo_argv, empty_environment);
}
static void way_execv(void)
{
	execv(echo, echo_argv);
}
static void way_execvp(void)
{
	execvp("echo", echo_argv);
}
static void way_execvpe(void)
{
	execvpe("echo", echo_argv, empty_environment);
}
static void way_execl(void)
{
	execl(echo, "echo", "after", (char *)NULL);
}
static void way_execlp(void)
{
	execlp("echo", "echo", "after", (char *)NULL);
}
static void way_execle(void)
{
	execle(echo, "echo", "after", (char *)NULL, empty_environment);
}
static void way_fexecve(void)
{
	fexecve(open(echo, O_RDONLY | O_CLOEXEC), echo_argv, empty_environment);
}
static void way_execveat(void)
{
	execveat(AT_FDCWD, echo, echo_argv, empty_environment, 0);
}

static void say_after(void)
{
	make_some();
	if (write(1, "handler\n", 8) != 8) {
		_exit(99);
	}
}

/* The handlers of exit and quick_exit allocate too: the report must count them. */
static void way_atexit(void)
{
	atexit(say_after);
	exit(STATUS);
}

static void way_at_quick_exit(void)
{
	at_quick_exit(say_after);
	quick_exit(STATUS);
}

/* An exec that fails goes on, with its errno, and what comes after it is counted. */
static void way_exec_fails(void)
{
	char *many[] = {"x", "y", "z", NULL};
	CHECK(execve("/no/such/program", many, empty_environment) == -1 && errno == ENOENT, "execve: errno %d", errno);
	CHECK(execv("/etc", many) == -1 && errno == EACCES, "execv: errno %d", errno);
	CHECK(execvp("no-such-program-in-path", many) == -1 && errno == ENOENT, "execvp: errno %d", errno);
	CHECK(execl("/no/such/program", "x", "y", (char *)NULL) == -1 && errno == ENOENT, "execl: errno %d", errno);
	CHECK(execlp("no-such-program-in-path", "x", "y", (char *)NULL) == -1 && errno == ENOENT, "execlp: errno %d",
	      errno);
	CHECK(execle("/no/such", "x", "y", (char *)NULL, empty_environment) == -1 && errno == ENOENT, "execle: errno %d",
	      errno);
	CHECK(execvpe("no-such-program-in-path", many, empty_environment) == -1 && errno == ENOENT, "execvpe: errno %d",
	      errno);
	CHECK(fexecve(-1, many, empty_environment) == -1 && (errno == EBADF || errno == EINVAL), "fexecve: errno %d",
	      errno);
	make_some();
	exit(STATUS);
}

static void *exit_now(void *unused)
{
	(void)unused;
	exit(STATUS);
}

/* Another thread than the first ends the process. */
static void way_thread(void)
{
	pthread_t t;
	CHECK(pthread_create(&t, NULL, exit_now, NULL) == 0, "pthread_create");
	for (;;) {
		pause();
	}
}

/* The first thread is gone when the last one returns: an exit with status 0. */
static void *return_late(void *first)
{
	pthread_join(*(pthread_t *)first, NULL);
	make_some();
	return NULL;
}

static void way_pthread_exit(void)
{
	static pthread_t first, t;
	first = pthread_self();
	CHECK(pthread_create(&t, NULL, return_late, &first) == 0, "pthread_create");
	pthread_exit(NULL);
}

static void reap(pid_t pid, int want)
{
	int status = -1;
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == want, "child: status %x",
	      status);
}

/* The driver's folder is the current one, and reports go there. */
static void no_report_yet(const char *after)
{
	DIR *d = opendir(".");
	struct dirent *e;
	while (d && (e = readdir(d))) {
		CHECK(!strstr(e->d_name, ".json"), "%s after %s", e->d_name, after);
	}
	CHECK(d && closedir(d) == 0, "opendir");
}

/* A child of vfork borrows its parent's memory: it writes no report, neither at _exit nor at exec. */
static void way_vfork(void)
{
	pid_t pid = vfork();
	if (pid == 0) {
		_exit(7);
	}
	reap(pid, 7);
	no_report_yet("_exit in a child of vfork");
	pid = vfork();
	if (pid == 0) {
		execve(echo, echo_argv, empty_environment);
		_exit(8);
	}
	reap(pid, 0);
	no_report_yet("exec in a child of vfork");
	pid = vfork();
	if (pid == 0) {
		execve("/no/such/program", echo_argv, empty_environment);
		_exit(9);
	}
	reap(pid, 9);
	no_report_yet("an exec that failed in a child of vfork");
	pid_t spawned;
	CHECK(posix_spawn(&spawned, echo, NULL, NULL, echo_argv, empty_environment) == 0, "posix_spawn");
	reap(spawned, 0);
	no_report_yet("posix_spawn");
	FILE *f = popen("exec /bin/true", "r");
	CHECK(f && pclose(f) == 0, "popen");
	exit(STATUS);
}

static void fork_and_make(int n)
{
	pid_t pid = fork();
	CHECK(pid >= 0, "fork");
	if (pid == 0) {
		make_many(n);
		exit(5);
	}
	reap(pid, 5);
}

/* One child below the minimum of allocations, one above: the second writes a report of its own. */
static void way_fork(void)
{
	fork_and_make(10);
	fork_and_make(MANY);
	exit(STATUS);
}

/* The child's own exec, above and below the minimum. */
static void way_fork_exec(void)
{
	for (int n = 10; n <= MANY; n += MANY - 10) {
		pid_t pid = fork();
		if (pid == 0) {
			make_many(n);
			execve(echo, echo_argv, empty_environment);
			_exit(9);
		}
		reap(pid, 0);
	}
	exit(STATUS);
}

/* A child's child. */
static void way_fork_fork(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		make_many(MANY);
		fork_and_make(2 * MANY);
		_exit(6);
	}
	reap(pid, 6);
	exit(STATUS);
}

static void way_killed(void)
{
	raise(SIGKILL);
}

static void way_abort(void)
{
	abort();
}

static const struct way {
	const char *name;
	void (*go)(void);
} ways[] = {
	{"return", way_return},
	{"exit", way_exit},
	{"_exit", way__exit},
	{"_Exit", way__Exit},
	{"quick_exit", way_quick_exit},
	{"execve", way_execve},
	{"execv", way_execv},
	{"execvp", way_execvp},
	{"execvpe", way_execvpe},
	{"execl", way_execl},
	{"execlp", way_execlp},
	{"execle", way_execle},
	{"fexecve", way_fexecve},
	{"execveat", way_execveat},
	{"atexit", way_atexit},
	{"at_quick_exit", way_at_quick_exit},
	{"exec_fails", way_exec_fails},
	{"thread", way_thread},
	{"pthread_exit", way_pthread_exit},
	{"vfork", way_vfork},
	{"fork", way_fork},
	{"fork_exec", way_fork_exec},
	{"fork_fork", way_fork_fork},
	{"killed", way_killed},
	{"abort", way_abort},
};

int main(int argc, char **argv)
{
	CHECK(argc > 1, "which way?");
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(argv[1], ways[i].name) == 0) {
			make_some();
			ways[i].go();
			return STATUS;
		}
	}
	CHECK(0, "no way %s", argv[1]);
}
