/* The lock: one holder at a time, nobody left asleep, errno kept. Counters that are not atomic are what it guards: under
 * ThreadSanitizer the same tests prove the memory orders. */
#include "pools/lock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { THREADS = 4, TURNS = 20000 };

static struct lock lock;
static unsigned long counter, inside;

Test(lock, static_zero_is_free)
{
	static struct lock fresh;
	cr_assert(lock_try(&fresh));
	cr_assert_not(lock_try(&fresh));
	lock_drop(&fresh);
	cr_assert_eq(atomic_load(&fresh.state), LOCK_FREE);
	lock_take(&fresh);
	lock_reset(&fresh);
	cr_assert(lock_try(&fresh), "reset forgets the holder");
}

Test(lock, uncontended_drop_wakes_nobody)
{
	lock_take(&lock);
	cr_assert_eq(atomic_load(&lock.state), LOCK_HELD, "nobody waits");
	lock_drop(&lock);
	cr_assert_eq(atomic_load(&lock.state), LOCK_FREE);
}

static void *count_up(void *wrong)
{
	for (int i = 0; i < TURNS; i++) {
		lock_take(&lock);
		if (inside++ != 0)
			*(bool *)wrong = true;
		counter++;
		inside--;
		lock_drop(&lock);
	}
	return NULL;
}

Test(lock, excludes)
{
	pthread_t threads[THREADS];
	bool wrong[THREADS] = {false};
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, count_up, &wrong[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		cr_assert_not(wrong[i], "two were inside");
	}
	cr_assert_eq(counter, (unsigned long)THREADS * TURNS);
	cr_assert_eq(atomic_load(&lock.state), LOCK_FREE);
}

static void *wait_once(void *got)
{
	errno = 4711;
	lock_take(&lock);
	*(int *)got = errno;
	counter++;
	lock_drop(&lock);
	return NULL;
}

/* The state says CONTENDED only once somebody is about to sleep: so the sleepers are really there when it is dropped. */
Test(lock, sleepers_all_wake_and_keep_errno)
{
	pthread_t threads[THREADS];
	int errnos[THREADS] = {0};
	lock_take(&lock);
	for (int i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, wait_once, &errnos[i]), 0);
	while (atomic_load(&lock.state) != LOCK_CONTENDED)
		;
	cr_assert_eq(counter, 0, "nobody got in");
	errno = 4712;
	lock_drop(&lock);
	cr_assert_eq(errno, 4712);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		cr_assert_eq(errnos[i], 4711);
	}
	cr_assert_eq(counter, THREADS);
}
