/* Allocates through xmalloc, which everybody knows to be a wrapper, from three callers, in a place where it is not easy to see who
 * called. Prints "CALLER allocations" for each. The argument says where:
 *   plain, thread, small (a 16 KiB stack), fiber (its stack ends where nobody may read), handler (on an alternate stack), storm
 *   (signals that allocate, in allocations), jump (frames that never return), stretched (a caller with alloca), deep
 *   (recursion), exits (threads that end), reload (a library that is unloaded, and comes back elsewhere, as often as the next
 *   argument says).
 */
#include "tests/frames.h"
#include "victim.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/time.h>

enum { TIMES = 500, THREADS = 50, DEPTH = 10000, LIB_CALLERS = 26, TURNS = 20 };

CALLER(xmalloc, malloc)

static atomic_long counts[3];
static bool jumps;
static __thread jmp_buf out;

/* In a handler that interrupts free, free is nobody's to call; so storms keep what they take. */
static bool keeps;

OWN_FRAME static void done_with(void *block, int caller)
{
	CHECK(block, "no block");
	atomic_fetch_add(&counts[caller], 1);
	memset(block, 1, 8);
	if (!keeps)
		free(block);
	if (jumps)
		longjmp(out, 1);
}

void caller_one(size_t size);
OWN_FRAME void caller_one(size_t size)
{
	done_with(xmalloc(size), 0);
	STAY();
}

void caller_two(size_t size);
OWN_FRAME void caller_two(size_t size)
{
	volatile char room[200] = {0};
	done_with(xmalloc(size + (size_t)room[0]), 1);
	STAY();
}

void caller_three(size_t size);
OWN_FRAME void caller_three(size_t size)
{
	volatile char *room = __builtin_alloca(size * 3 + 1);
	room[0] = 0;
	done_with(xmalloc(size + (size_t)room[0]), 2);
	STAY();
}

static void (*const callers[])(size_t) = {caller_one, caller_two, caller_three};

static void call_all(void)
{
	for (volatile int i = 0; i < TIMES; i++)
		for (volatile int c = 0; c < 3; c++)
			if (!jumps || !setjmp(out))
				callers[c](16 + (size_t)(i % 30) * 16);
}

static void *in_thread(void *unused)
{
	call_all();
	return unused;
}

static void threads(size_t stack, int times)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	if (stack)
		CHECK(pthread_attr_setstacksize(&attr, stack) == 0, "stack of %zu", stack);
	for (int i = 0; i < times; i++) {
		pthread_t some[2];
		for (int t = 0; t < 2; t++)
			CHECK(pthread_create(&some[t], &attr, in_thread, NULL) == 0, "thread");
		for (int t = 0; t < 2; t++)
			pthread_join(some[t], NULL);
	}
}

static ucontext_t back, fiber;
static void in_fiber(void)
{
	call_all();
	swapcontext(&fiber, &back);
}

static void on_fiber(void)
{
	for (int i = 0; i < 10; i++) {
		char *stack = fiber_make(&fiber, in_fiber);
		CHECK(stack, "stack");
		swapcontext(&back, &fiber);
		fiber_drop(stack);
	}
}

static void handle(int signal)
{
	(void)signal;
	call_all();
}

static void on_alternate_stack(void)
{
	stack_t stack = {.ss_sp = mmap(NULL, 64 * KIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	                 .ss_size = 64 * KIB};
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
	CHECK(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0, "alternate stack");
	for (int i = 0; i < 20; i++)
		raise(SIGUSR1);
}

/* The signal comes wherever the program's own code is, never inside malloc, which no program may interrupt and call. */
static volatile sig_atomic_t may_handle;
static void handle_in_storm(int signal)
{
	(void)signal;
	if (may_handle) {
		may_handle = 0;
		caller_two(100);
	}
}

OWN_FRAME static void wait_for_a_signal(unsigned depth)
{
	volatile char room[300] = {0};
	if (depth) {
		wait_for_a_signal(depth - 1);
	} else {
		may_handle = 1;
		while (may_handle)
			;
	}
	STAY();
	(void)room[0];
}

static void in_storm(void)
{
	struct sigaction action = {.sa_handler = handle_in_storm};
	struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
	CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0, "timer");
	for (unsigned i = 0; i < TIMES; i++)
		wait_for_a_signal(i % 20);
	setitimer(ITIMER_REAL, &never, NULL);
}

OWN_FRAME static void dive(unsigned depth)
{
	if (depth)
		dive(depth - 1);
	else
		call_all();
	STAY();
}

/* Where it was lies something else, and some more in the way, so that it comes elsewhere. */
static void leave_in_its_place(void *was)
{
	static uint64_t dice = 1;
	size_t more = (1 + next_random(&dice) % 4096) * 4096;
	mmap((void *)((uintptr_t)was & ~(uintptr_t)4095), 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mmap(NULL, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "mmap");
}

static void *load_elsewhere(const char *path, const void *was)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	CHECK(lib, "%s", dlerror());
	CHECK(dlsym(lib, "lib_a") != was, "it is where it was");
	return lib;
}

static void call_library(void *lib, int turn)
{
	char name[] = "lib_a";
	for (int c = 0; c < LIB_CALLERS; c++, name[4]++) {
		void *(*take)(size_t);
		*(void **)&take = dlsym(lib, name);
		free(take(16 + (size_t)((turn + c) % 20) * 48));
	}
}

static void reload(const char *self, int rounds)
{
	char path[4096];
	CHECK(snprintf(path, sizeof(path), "%.*s/libcallers.so", (int)(strrchr(self, '/') - self), self) <
	          (int)sizeof(path),
	      "path");
	void *was = NULL;
	for (int i = 0; i < rounds; i++) {
		void *lib = load_elsewhere(path, was);
		for (int turn = 0; turn < TURNS; turn++)
			call_library(lib, turn);
		was = dlsym(lib, "lib_a");
		if (i + 1 == rounds) /* what is gone has no names */
			break;
		dlclose(lib);
		leave_in_its_place(was);
	}
	for (int c = 0; c < LIB_CALLERS; c++)
		printf("lib_%c %ld\n", 'a' + c, (long)rounds * TURNS);
}

int main(int argc, char **argv)
{
	const char *where = argc > 1 ? argv[1] : "plain";
	bool reloads = strcmp(where, "reload") == 0;
	jumps = strcmp(where, "jump") == 0;
	keeps = strcmp(where, "storm") == 0;
	if (reloads)
		reload(argv[0], argc > 2 ? atoi(argv[2]) : 1);
	else if (strcmp(where, "thread") == 0)
		threads(0, 2);
	else if (strcmp(where, "small") == 0)
		threads(16 * KIB, 4);
	else if (strcmp(where, "exits") == 0)
		threads(0, THREADS);
	else if (strcmp(where, "fiber") == 0)
		on_fiber();
	else if (strcmp(where, "handler") == 0)
		on_alternate_stack();
	else if (keeps)
		in_storm();
	else if (strcmp(where, "deep") == 0)
		dive(DEPTH);
	else
		call_all();
	for (int c = 0; c < 3 && !reloads; c++)
		printf("caller_%s %ld\n", (const char *const[]){"one", "two", "three"}[c], (long)counts[c]);
	return 0;
}
