/* cache.h: the blocks of one tag that lie ready on a heap, and the tag's books. The hot end of the pools.
 *
 * Every block belongs to a tag for life (until its slab changes hands). What the program frees goes on its tag's cache,
 * last in, first out, and comes back from there while it is warm in the processor's cache; slabs see blocks only in
 * batches. A cache is one cache line; its counters run on for the life of the heap and are read, never reset:
 *
 *   alive  = allocs - frees             with the program (plus what moved here from other heaps, see heap_claim)
 *   cached = supplied + frees - allocs  on the list
 *
 * So one addition to `allocs` or `frees` is all the bookkeeping a call pays, and it serves the exact figures and the
 * bound on the list at once: `room` is the highest frees - allocs may be before the list must shrink.
 */
#ifndef SLUICE_CACHE_H
#define SLUICE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache {
	uint64_t key;         /* the caller's name for the tag; 0: none */
	void *free;           /* blocks ready, linked by their first word */
	uint64_t allocs;      /* blocks given to the program */
	uint64_t space;       /* bytes asked for with them */
	uint64_t frees;       /* blocks that came back, from whatever thread */
	int64_t room;         /* frees - allocs beyond which cache_shrink is due */
	int64_t supplied;     /* blocks from the pools, less those handed back */
	uint64_t batch : 16;  /* blocks to ask the pools for at once */
	uint64_t remote : 48; /* of frees, those that another thread made */
};

_Static_assert(sizeof(struct cache) == 64, "one cache line a tag");

/* A block for `size` bytes; NULL when none is ready. */
static inline void *cache_take(struct cache *cache, size_t size)
{
	void *block = cache->free;
	if (__builtin_expect(!block, 0))
		return NULL;
	cache->free = *(void **)block;
	cache->allocs++;
	cache->space += size;
	return block;
}

/* Takes a block back. true: the list is longer than it may be, cache_shrink is due. */
static inline bool cache_give(struct cache *cache, void *block)
{
	*(void **)block = cache->free;
	cache->free = block;
	return __builtin_expect((int64_t)(++cache->frees - cache->allocs) > cache->room, 0);
}

static inline uint64_t cache_cached(const struct cache *cache)
{
	return (uint64_t)cache->supplied + cache->frees - cache->allocs;
}

#endif
