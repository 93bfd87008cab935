/* budget.c: see budget.h.
 *
 * A thread's blocks that lie ready in its caches count as used in the slabs but are not alive: so the most they can be
 * is taken off L and put onto S here. That is the pessimistic side.
 */
#include "budget.h"

#include "pools/pool.h"

static _Atomic int64_t allowance_left; /* granules */
static _Atomic uint64_t large_taken;   /* bytes, by all threads */

static void discharge(struct slab *slab)
{
	atomic_fetch_add_explicit(&allowance_left, slab->charged, memory_order_relaxed);
	slab->charged = 0;
}

void budget_init(uint64_t allowance)
{
	atomic_store_explicit(&allowance_left, (int64_t)(allowance >> GRANULE_SHIFT), memory_order_relaxed);
	slab_discharge = discharge;
}

static uint64_t live_bytes(const struct thread *thread)
{
	uint64_t used = thread->heap.used_bytes, ready = thread->ready_max + thread->ready_large_max;
	return used > ready ? used - ready : 0;
}

static uint64_t unused_bytes(const struct thread *thread)
{
	return thread->heap.owned_bytes - thread->heap.owned_used_bytes + thread->ready_owned_max;
}

bool budget_allows(const struct thread *thread, size_t bytes, uint8_t *charged)
{
	*charged = 0;
	if (unused_bytes(thread) + bytes <= live_bytes(thread) / 8)
		return true;
	int64_t granules = (int64_t)(bytes >> GRANULE_SHIFT);
	int64_t left = atomic_load_explicit(&allowance_left, memory_order_relaxed);
	while (left >= granules)
		if (atomic_compare_exchange_weak_explicit(&allowance_left, &left, left - granules, memory_order_relaxed,
		                                          memory_order_relaxed)) {
			*charged = (uint8_t)granules;
			return true;
		}
	return false;
}

unsigned budget_allows_many(const struct thread *thread, size_t bytes, unsigned count)
{
	while (count > 1 && unused_bytes(thread) + count * bytes > live_bytes(thread) / 8)
		count--;
	return count;
}

bool budget_allows_ready(const struct thread *thread, size_t bytes)
{
	uint64_t slack = BUDGET_READY_SLACK + (uint64_t)thread->heap.tags * BUDGET_READY_TAG;
	return thread->ready_max + bytes <= live_bytes(thread) / 8 + slack;
}

bool budget_take_large(struct thread *thread, size_t bytes)
{
	if (thread->ready_large_max + bytes > BUDGET_LARGE_THREAD)
		return false;
	if (atomic_fetch_add_explicit(&large_taken, bytes, memory_order_relaxed) + bytes > BUDGET_LARGE_PROCESS) {
		atomic_fetch_sub_explicit(&large_taken, bytes, memory_order_relaxed);
		return false;
	}
	thread->ready_large_max += bytes;
	return true;
}

void budget_give_large(struct thread *thread, size_t bytes)
{
	atomic_fetch_sub_explicit(&large_taken, bytes, memory_order_relaxed);
	thread->ready_large_max -= bytes;
}

/* Heaps of threads that are gone are never touched again, so what they held ready is lost, and not held against us. */
void budget_fork_child(const struct thread *thread)
{
	atomic_store_explicit(&large_taken, thread ? thread->ready_large_max : 0, memory_order_relaxed);
}
