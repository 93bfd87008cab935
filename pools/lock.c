/* lock.c: where a contended lock waits and wakes. See lock.h. */
#define _GNU_SOURCE
#include "lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 100 }; /* a hold is some hundred nanoseconds: cheaper to wait out than to sleep through */

static void futex(_Atomic int *word, int op, int value)
{
	int saved = errno;
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
	errno = saved;
}

void lock_wait(struct lock *lock)
{
	for (int i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&lock->state, memory_order_relaxed) == LOCK_FREE && lock_try(lock))
			return;
#if defined(__x86_64__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#endif
	}
	/* We may be one of several sleepers, so we take it as contended: at worst one wake too many. */
	while (atomic_exchange_explicit(&lock->state, LOCK_CONTENDED, memory_order_acquire) != LOCK_FREE)
		futex(&lock->state, FUTEX_WAIT, LOCK_CONTENDED);
}

void lock_wake(struct lock *lock)
{
	futex(&lock->state, FUTEX_WAKE, 1);
}
