/* budget.c: see budget.h.
 *
 * A thread's blocks that lie ready in its caches count as used in the slabs but are not alive: so the most they can be
 * is taken off L and put onto S here. That is the pessimistic side.
 */
#include "budget.h"

#include "pools/pool.h"

static _Atomic int64_t allowance_left; /* granules */

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
	uint64_t used = thread->heap.used_bytes;
	return used > thread->ready_max ? used - thread->ready_max : 0;
}

bool budget_allows(const struct thread *thread, size_t bytes, uint8_t *charged)
{
	const struct heap *heap = &thread->heap;
	uint64_t unused = heap->owned_bytes - heap->owned_used_bytes + thread->ready_owned_max;
	*charged = 0;
	if (unused + bytes <= live_bytes(thread) / 8)
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

bool budget_allows_ready(const struct thread *thread, size_t bytes)
{
	return thread->ready_max + bytes <= live_bytes(thread) / 8 + BUDGET_READY_SLACK;
}
