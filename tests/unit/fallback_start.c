/* jemalloc is set up by the first call that needs it, once, by whichever thread that is, and by nothing else. Each test is a
 * process of its own, so each begins without it. */
#define _GNU_SOURCE
#include "shim/fallback_start.h"
#include "shim/allocate.h"
#include "shim/fallback.h"
#include "shim/publish.h"
#include "tests/acting.h"
#include "tests/forked.h"
#include "tests/refusal.h"
#include "tests/sanitized.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

static __attribute__((constructor(101))) void begin(void)
{
	unsetenv("MALLOC_CONF");
	acting_begin("");
}

static const size_t beyond_pools = (size_t)CLASS_SIZE_MAX + 1;

static void use_pools(void)
{
	for (size_t bytes = 1; bytes <= CLASS_SIZE_MAX; bytes = bytes * 2 + 1)
		release(reallocate(allocate(bytes, pc_of(1)), bytes + 1, pc_of(1)));
}

static int use_pools_in_child(void)
{
	use_pools();
	HOLDS(publish(END_EXIT));
	HOLDS(!fallback_is_up());
	return 0;
}

Test(fallback_start, the_pools_alone_do_not_need_it)
{
	use_pools();
	cr_assert_not_null(publish(END_LIVE));
	fallback_trim();
	cr_assert_eq(forked(use_pools_in_child), 0);
	cr_assert_not_null(publish(END_EXIT));
	cr_assert(!fallback_is_up());
	release(allocate(beyond_pools, pc_of(1)));
	cr_assert(fallback_is_up());
}

Test(fallback_start, the_report_names_its_version)
{
	const char *version, *named = fallback_version();
	size_t bytes = sizeof(version);
	cr_assert(!fallback_is_up());
	cr_assert_eq(fallback_control("version", &version, &bytes, NULL, 0), 0);
	cr_assert(fallback_is_up());
	cr_assert(strncmp(named, "jemalloc ", 9) == 0 && strcmp(named + 9, version) == 0, "%s is not %s", named, version);
}

Test(fallback_start, each_control_may_be_the_first)
{
	size_t mib[2], length = 2, bytes = sizeof(unsigned);
	unsigned arenas = 0;
	cr_assert_eq(fallback_control_mib("opt.narenas", mib, &length), 0);
	cr_assert(fallback_is_up());
	cr_assert_eq(fallback_control_by_mib(mib, length, &arenas, &bytes, NULL, 0), 0);
	cr_assert_eq(arenas, 1);
}

static int in_child(void)
{
	HOLDS(!fallback_is_up());
	release(allocate(beyond_pools, pc_of(1)));
	HOLDS(fallback_is_up());
	return 0;
}

Test(fallback_start, a_child_sets_it_up_for_itself)
{
	cr_assert_eq(forked(in_child), 0);
	cr_assert(!fallback_is_up());
	cr_assert_eq(forked(in_child), 0);
	release(allocate(beyond_pools, pc_of(1)));
	cr_assert(fallback_is_up());
}

static pthread_barrier_t barrier;

static void *take_one(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&barrier);
	return fallback_take(beyond_pools, 0, false, pc_of(1), REASON_LARGE);
}

Test(fallback_start, of_many_threads_one_sets_it_up)
{
	enum { THREADS = 8 };
	pthread_t threads[THREADS];
	void *taken[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, take_one, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &taken[i]);
		cr_assert_not_null(taken[i]);
	}
	for (int i = 0; i < THREADS; i++)
		fallback_give(taken[i]);
	cr_assert_eq(fallback_untracked(), 0);
}

Test(fallback_start, errno_and_signals_are_kept)
{
	sigset_t before, after;
	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = 4711;
	cr_assert(fallback_start());
	cr_assert_eq(errno, 4711);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int s = 1; s < SIGRTMIN; s++)
		cr_assert_eq(sigismember(&after, s), s == SIGUSR2, "signal %d", s);
}

/* No memory now is no memory for this block; later there may be some. */
static int refused_first(void)
{
	HOLDS(memory_refuse());
	for (int i = 0; i < 100; i++) {
		errno = 4711;
		HOLDS(!fallback_take(beyond_pools, 0, false, pc_of(1), REASON_LARGE));
		HOLDS(errno == 4711 && !fallback_is_up());
	}
	size_t bytes = sizeof(unsigned);
	unsigned arenas;
	HOLDS(fallback_control("opt.narenas", &arenas, &bytes, NULL, 0) == EAGAIN);
	HOLDS(memory_allow());
	void *block = fallback_take(beyond_pools, 0, false, pc_of(1), REASON_LARGE);
	HOLDS(block && fallback_is_up());
	memset(block, 1, beyond_pools);
	fallback_give(block);
	return 0;
}

Test(fallback_start, refused_memory_it_tries_again)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	cr_assert_eq(forked(refused_first), 0);
}

Test(fallback_start, a_block_of_nobody_is_named, .signal = SIGABRT)
{
	static _Alignas(16) char no_block[64];
	release(no_block);
}
