/* Loads and closes libraries that allocate in their constructors and destructors, again and again, in several threads,
 * while another thread allocates; blocks that a library made outlive it. What unwinds or asks the loader for names must
 * neither hang nor meet a library that is gone. Arguments: rounds; "leave" to end while all of that goes on,
 * after execs that fail, before each of which a report is written too.
 *
 * A timer's signal makes the loaders yield at any instruction, so that one is often held up between having found a
 * library and reading it, while another unloads it.
 */
#include "victim.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/time.h>

enum { LIBRARIES = 2, LOADERS = 4, LEFT = 64, YIELD_US = 50 };

static char path[LIBRARIES][4096];
static atomic_int done, loaded;
static int rounds = 40;
static bool leaves;
static const char *const others[] = {"libm.so.6", "libresolv.so.2", "libnss_files.so.2", "libutil.so.1", "libanl.so.1"};

static void give_way(int unused)
{
	int saved = errno;
	(void)unused;
	sched_yield();
	errno = saved;
}

/* Interrupts whatever does not hold the signal back. */
static void start_timer(void)
{
	struct sigaction action = {.sa_handler = give_way, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, YIELD_US}, {0, YIELD_US}};
	CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0, "timer");
}

static void hold_alarms(int how)
{
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(how, &alarms, NULL);
}

static void *load(void *arg)
{
	void *left[LEFT] = {NULL};
	size_t self = (uintptr_t)arg;
	hold_alarms(SIG_UNBLOCK);
	for (int i = 0; leaves || i < rounds; i++) {
		void *lib = dlopen(path[self % LIBRARIES], i % 2 ? RTLD_NOW : RTLD_LAZY);
		CHECK(lib, "%s", dlerror());
		void *(*take)(size_t) = (void *(*)(size_t))(uintptr_t)dlsym(lib, "lib_late_take");
		CHECK(take, "%s", dlerror());
		size_t size = (size_t)(i % 1000) * 10;
		free(left[i % LEFT]);
		left[i % LEFT] = take(size);
		fill(left[i % LEFT], size, self);
		void *other = dlopen(others[((size_t)i + self) % 5], RTLD_LAZY);
		CHECK(dlclose(lib) == 0, "%s", dlerror());
		CHECK(!dlopen("/no/such/library.so", RTLD_NOW) && dlerror(), "a library that is not there was loaded");
		if (other) {
			dlclose(other);
		}
		loaded++;
	}
	for (int i = 0; i < LEFT; i++) {
		free(left[i]);
	}
	return NULL;
}

/* And closes what stays loaded, so that somebody looks for gone libraries nearly all the time. */
static void *allocate(void *unused)
{
	hold_alarms(SIG_UNBLOCK);
	for (size_t i = 0; !done; i++) {
		free(kept(malloc(i % 3000)));
		CHECK(dlclose(dlopen(NULL, RTLD_LAZY)) == 0, "%s", dlerror());
	}
	return unused;
}

/* For who writes a report at the end, an exec that fails was one. */
__attribute__((noreturn)) static void leave(void)
{
	hold_alarms(SIG_UNBLOCK);
	while (loaded < rounds * LOADERS) {
		CHECK(execl("/no/such/program", "program", (char *)NULL) == -1 && errno == ENOENT, "exec: %d", errno);
	}
	_exit(victim_ok());
}

int main(int argc, char **argv)
{
	static const char *const names[LIBRARIES] = {"liblate.so", "liblate_too.so"};
	pthread_t t[LOADERS], busy;
	for (int i = 0; i < LIBRARIES; i++) {
		ssize_t n = readlink("/proc/self/exe", path[i], sizeof(path[i]) - 32);
		CHECK(n > 0, "readlink");
		path[i][n] = '\0';
		strcpy(strrchr(path[i], '/') + 1, names[i]);
	}
	rounds = argc > 1 ? atoi(argv[1]) : rounds;
	leaves = argc > 2 && strcmp(argv[2], "leave") == 0;
	hold_alarms(SIG_BLOCK);
	start_timer();
	CHECK(pthread_create(&busy, NULL, allocate, NULL) == 0, "pthread_create");
	for (uintptr_t i = 0; i < LOADERS; i++) {
		CHECK(pthread_create(&t[i], NULL, load, (void *)i) == 0, "pthread_create");
	}
	if (leaves) {
		leave();
	}
	for (int i = 0; i < LOADERS; i++) {
		pthread_join(t[i], NULL);
	}
	done = 1;
	pthread_join(busy, NULL);
	return victim_ok();
}
