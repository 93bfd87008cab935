/* lock.h: a futex lock of four bytes that needs no setup and no libpthread.
 *
 * For the slow paths only. Three states, after U. Drepper's "Futexes Are Tricky" (2011), mutex 2: free, held, and held
 * with somebody asleep. Static zero is an unlocked lock; fork handlers take and release it like any other holder.
 * It is not recursive, and a signal handler that interrupted its holder must not take it: the allocator is, like
 * glibc's, not async-signal-safe on its slow paths. errno is kept.
 */
#ifndef SLUICE_LOCK_H
#define SLUICE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>

struct lock {
	_Atomic int state;
};

enum { LOCK_FREE, LOCK_HELD, LOCK_CONTENDED };

void lock_wait(struct lock *lock); /* the slow halves */
void lock_wake(struct lock *lock);

static inline bool lock_try(struct lock *lock)
{
	int expected = LOCK_FREE;
	return atomic_compare_exchange_strong_explicit(&lock->state, &expected, LOCK_HELD, memory_order_acquire,
	                                               memory_order_relaxed);
}

static inline void lock_take(struct lock *lock)
{
	if (!lock_try(lock))
		lock_wait(lock);
}

static inline void lock_drop(struct lock *lock)
{
	if (atomic_exchange_explicit(&lock->state, LOCK_FREE, memory_order_release) == LOCK_CONTENDED)
		lock_wake(lock);
}

/* Forgets a holder that does not exist in this process: the child of a fork calls it. */
static inline void lock_reset(struct lock *lock)
{
	atomic_store_explicit(&lock->state, LOCK_FREE, memory_order_relaxed);
}

#endif
