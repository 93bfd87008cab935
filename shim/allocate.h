/* allocate.h: one allocation, one free, top to bottom.
 *
 *   allocate ─ route's cache ──hit──► block                      (here, inlined into every entry)
 *                  └─miss─► a wrapper's caller's cache ──hit──► block      (context.h)
 *                           └─miss─► route_refill ─┬─ owned pool
 *                                                  ├─ shared pool
 *                                                  └─ fallback
 *   release ─ ours? ─ own slab ──► its tag's cache               (here)
 *                └─► release_other ─┬─ a block behind a slab's first granule: the same
 *                                   ├─ another thread's slab: its remote list
 *                                   └─ fallback
 * `pc` is the return address of the interposed call, `frame` its canonical frame address (0: unknown): together they lead to
 * the site (context.h). errno is ENOMEM when NULL comes back, else untouched.
 */
#ifndef SLUICE_ALLOCATE_H
#define SLUICE_ALLOCATE_H

#include "identity.h"
#include "pools/pool.h"
#include "ready.h"

#include <string.h>

#define SLUICE_CALLER() (SITELESS ? PC_OTHER : (uintptr_t)__builtin_return_address(0))
/* Costs nothing on the fast path: it is a constant away from the stack pointer. Only in the interposed function itself. */
#define SLUICE_FRAME() ((uintptr_t)__builtin_dwarf_cfa())
#define SLUICE_API __attribute__((visibility("default")))

void *allocate_slow(size_t size, uintptr_t pc, uintptr_t frame);
void *allocate_behind(size_t size, uintptr_t pc, uintptr_t frame);
void release_other(void *block);

/* A block whose address is a multiple of `align`, a power of two. */
void *allocate_aligned_from(size_t size, size_t align, uintptr_t pc, uintptr_t frame);

/* A block of `size` zero bytes. */
void *allocate_zeroed_from(size_t size, uintptr_t pc, uintptr_t frame);

/* realloc's contract. The block keeps its site for life; a realloc counts there as one alloc and one free. */
void *reallocate_from(void *block, size_t size, uintptr_t pc, uintptr_t frame);

/* Bytes the block can hold; 0 for NULL. */
size_t usable_size(const void *block);

/* Is it a block of the pools? (Then jemalloc must never see it.) */
static inline bool is_pooled(const void *block)
{
	return range_holds(block);
}

static inline void *allocate_from(size_t size, uintptr_t pc, uintptr_t frame)
{
	if (IDENTITY)
		identity_note(pc, frame);
	if (__builtin_expect(size > CLASS_TABLE_MAX, 0))
		return allocate_slow(size, pc, frame);
	void *block = thread_take(thread_self, pc, class_of_small(size), size);
	return __builtin_expect(block != NULL, 1) ? block : allocate_behind(size, pc, frame);
}

/* For a context that is known already, or an address that no wrapper has. */
static inline void *allocate(size_t size, uintptr_t pc)
{
	return allocate_from(size, pc, 0);
}

static inline void *allocate_aligned(size_t size, size_t align, uintptr_t pc)
{
	return allocate_aligned_from(size, align, pc, 0);
}

static inline void *allocate_zeroed(size_t size, uintptr_t pc)
{
	return allocate_zeroed_from(size, pc, 0);
}

static inline void *reallocate(void *block, size_t size, uintptr_t pc)
{
	return reallocate_from(block, size, pc, 0);
}

/* The tag of a block of the calling thread's, `offset` into the range, in its slab's first granule: only that has an owner,
 * so the offset in the granule is that in the slab. */
static inline uint16_t own_tag(const struct slab *slab, uintptr_t offset)
{
	return slab->tags[(offset & (GRANULE_BYTES - 1)) >> slab->tag_shift];
}

static inline void release(void *block)
{
	uintptr_t offset = (uintptr_t)block - (uintptr_t)range.base;
	if (__builtin_expect(offset < range.bytes, 1)) {
		struct thread *thread = thread_self;
		const struct slab *slab = &range.slabs[offset >> GRANULE_SHIFT];
		if (__builtin_expect(slab_owner(slab) != (uintptr_t)&thread->heap, 0)) {
			release_other(block);
			return;
		}
		struct cache *cache = &thread->heap.caches[own_tag(slab, offset)];
		if (cache_give(cache, block))
			ready_overflow(thread, cache);
		return;
	}
	release_other(block);
}

#endif
