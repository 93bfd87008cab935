/* The first block that the pools do not serve, in a place where an allocator's start is not welcome. The argument names the
 * place. What "never" and "killed" do differs under sluice only: there the start asks the kernel for the name of a link.
 */
#include "victim.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { STACK = 16 << 10, THREADS = 4, RACES = 150, LATER = 800 };

static const size_t beyond_pools = 5 * MIB;

static bool large_works(void)
{
	char *block = malloc(beyond_pools);
	if (!block)
		return false;
	block[0] = block[beyond_pools - 1] = 1;
	free(block);
	return true;
}

/* Of every size the pools have. */
static void small_work(void)
{
	for (size_t n = 1; n < 4 * MIB; n = n * 3 + 1) {
		char *block = calloc(1, n);
		CHECK(block && (block = realloc(block, n + n / 3)), "no %zu bytes", n);
		block[n] = 1;
		free(block);
	}
}

/* --- filters ------------------------------------------------------------------------------------------------------ */

#define KILL(name)                                                                                                     \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static struct sock_filter code[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_readlink
	KILL(readlink),
#endif
	KILL(readlinkat),
	KILL(sched_getaffinity),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

static void no_new_privileges(void)
{
	CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs: %s", strerror(errno));
}

/* By the C library's own prctl, past every preload. */
static void filter_unseen(void)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	int (*own)(int, ...) = (int (*)(int, ...))(uintptr_t)dlsym(libc, "prctl");
	no_new_privileges();
	CHECK(own && own(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "filter: %s", strerror(errno));
}

static void never(void)
{
	filter_unseen();
	small_work();
	CHECK(mallinfo2().hblks == 0, "there are blocks behind the pools");
	malloc_trim(0);
	small_work();
}

static void killed(void)
{
	filter_unseen();
	large_works();
}

static void filtered(void)
{
	no_new_privileges();
	CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0, "filter: %s", strerror(errno));
	CHECK(large_works(), "no large block");
}

static void filtered_by_syscall(void)
{
	no_new_privileges();
	CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "filter: %s", strerror(errno));
	CHECK(large_works(), "no large block");
}

/* --- threads and signals ------------------------------------------------------------------------------------------ */

static pthread_barrier_t barrier;

static void *in_thread(void *waits)
{
	if (waits)
		pthread_barrier_wait(&barrier);
	return large_works() ? NULL : (void *)1;
}

static pthread_t thread_begins(const pthread_attr_t *attr, void *argument)
{
	pthread_t thread;
	CHECK(pthread_create(&thread, attr, in_thread, argument) == 0, "pthread_create");
	return thread;
}

static void thread_ends(pthread_t thread)
{
	void *failed = NULL;
	pthread_join(thread, &failed);
	CHECK(!failed, "no large block in a thread");
}

static void small_stack(void)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	long least = sysconf(_SC_THREAD_STACK_MIN);
	CHECK(pthread_attr_setstacksize(&attr, least < STACK ? STACK : (size_t)least) == 0, "no stacks of %d bytes", STACK);
	thread_ends(thread_begins(&attr, NULL));
}

static void at_once(void)
{
	pthread_t threads[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_begins(NULL, &barrier);
	for (int i = 0; i < THREADS; i++)
		thread_ends(threads[i]);
}

static volatile sig_atomic_t handled;

static void handler(int number)
{
	(void)number;
	handled = large_works();
}

static void in_handler(void)
{
	static char stack[STACK];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	CHECK(sigaltstack(&alternate, NULL) == 0 && sigaction(SIGUSR1, &act, NULL) == 0, "no handler");
	raise(SIGUSR1);
	CHECK(handled, "no large block in a handler");
}

static void *nothing_frees(void *value)
{
	return value;
}

/* A program may take every key of thread-specific data there is. */
static void keys(void)
{
	pthread_key_t key;
	while (pthread_key_create(&key, (void (*)(void *))(uintptr_t)nothing_frees) == 0)
		;
	thread_ends(thread_begins(NULL, NULL));
	CHECK(large_works(), "no large block");
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

static void child_ends(pid_t pid, const char *what)
{
	int status;
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "%s: status %x", what, status);
}

static void child(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		small_work();
		_exit(!large_works());
	}
	child_ends(pid, "the child");
	CHECK(large_works(), "no large block after the fork");
}

/* A process that forks while its threads ask for their first large blocks, sooner or later after they began. */
static void race(int late)
{
	pthread_t threads[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_begins(NULL, &barrier);
	pthread_barrier_wait(&barrier);
	for (volatile int i = 0; i < late; i++)
		;
	child();
	for (int i = 0; i < THREADS; i++)
		thread_ends(threads[i]);
}

static void races(void)
{
	for (int i = 0; i < RACES; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			race(i * LATER);
			_exit(0);
		}
		child_ends(pid, "a race");
	}
}

/* --- the environment ---------------------------------------------------------------------------------------------- */

static unsigned arenas(void)
{
	int (*control)(const char *, void *, size_t *, void *, size_t) =
		(int (*)(const char *, void *, size_t *, void *, size_t))(uintptr_t)victim_symbol("mallctl");
	unsigned count = 0;
	size_t bytes = sizeof(count);
	CHECK(control && control("opt.narenas", &count, &bytes, NULL, 0) == 0, "no mallctl");
	return count;
}

/* MALLOC_CONF=narenas:3 */
static void told(void)
{
	CHECK(arenas() == 3, "%u arenas", arenas());
}

static void told_late(void)
{
	setenv("MALLOC_CONF", "narenas:3", 1);
	CHECK(large_works() && arenas() == 1, "%u arenas", arenas());
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} places[] = {{"never", never},
	              {"killed", killed},
	              {"filtered", filtered},
	              {"filtered_by_syscall", filtered_by_syscall},
	              {"small_stack", small_stack},
	              {"at_once", at_once},
	              {"in_handler", in_handler},
	              {"keys", keys},
	              {"child", child},
	              {"races", races},
	              {"told", told},
	              {"told_late", told_late}};
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
		if (argc == 2 && strcmp(argv[1], places[i].name) == 0) {
			places[i].run();
			return victim_ok();
		}
	CHECK(false, "no such place");
}
