/* cache.h: the blocks of one tag that lie ready on a heap, and the tag's books. The hot end of the pools.
 *
 * Every block belongs to a tag for life (until its slab changes hands). What the program frees goes on its tag's cache,
 * last in, first out, and comes back from there while it is warm in the processor's cache; slabs see blocks only in
 * batches. A cache is one cache line; its counters run on for the life of the heap and are read, never reset:
 *
 *   cached = most - room          on the list, as long as it may be less what it may still take
 *   alive  = supplied - cached    with the program (less what moved here from other heaps, see heap_claim)
 *   frees  = allocs - alive
 *
 * So one more addition in malloc and one subtraction in free are all the bookkeeping of a free: the subtraction that
 * makes `room` negative says that the list must shrink, and the exact figures follow from it.
 */
#ifndef SLUICE_CACHE_H
#define SLUICE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache {
	uint64_t key;     /* the caller's name for the tag; 0: none */
	void *free;       /* blocks ready, linked by their first word */
	uint64_t allocs;  /* blocks given to the program */
	uint64_t space;   /* bytes asked for with them */
	int64_t room;     /* blocks the list may still take; below 0 it is longer than it may be: cache_shrink is due */
	int64_t supplied; /* blocks from the pools, less those handed back */
	uint64_t remote;  /* blocks that came back from another thread */
	uint32_t most;    /* blocks the list may hold */
	uint32_t batch;   /* blocks to ask the pools for at once */
};

_Static_assert(sizeof(struct cache) == 64, "one cache line a tag");

static inline void cache_count(struct cache *cache, size_t size)
{
#ifdef SLUICE_BARE /* the variant that tells what counting costs */
	(void)cache, (void)size;
#else
	cache->allocs++;
	cache->space += size;
#endif
}

/* A block for `size` bytes; NULL when none is ready. */
static inline void *cache_take(struct cache *cache, size_t size)
{
	void *block = cache->free;
	if (__builtin_expect(!block, 0))
		return NULL;
	void *next = *(void **)block;
	cache->free = next;
	__builtin_prefetch(next); /* its link is what the next call waits for */
	cache_count(cache, size);
	cache->room++;
	return block;
}

/* Takes a block back. true: the list is longer than it may be, cache_shrink is due. */
static inline bool cache_give(struct cache *cache, void *block)
{
	*(void **)block = cache->free;
	cache->free = block;
	return __builtin_expect(--cache->room < 0, 0);
}

/* Blocks on the list. */
static inline uint64_t cache_cached(const struct cache *cache)
{
	return (uint64_t)((int64_t)cache->most - cache->room);
}

/* Blocks with the program; below 0 when more that moved here from other heaps have come back. */
static inline int64_t cache_alive(const struct cache *cache)
{
	return cache->supplied - (int64_t)cache_cached(cache);
}

/* Blocks that came back, from whatever thread. */
static inline uint64_t cache_frees(const struct cache *cache)
{
	return cache->allocs - (uint64_t)cache_alive(cache);
}

/* The next two change two numbers that make a third, cache_alive; a fork may catch the thread between them and keep what
 * is there for ever. They go in the order that makes blocks of the list look alive meanwhile, never the other way round. */

/* `count` blocks were put on the list from the pools, or are about to leave it for them (less than 0). */
static inline void cache_supply(struct cache *cache, int64_t count)
{
	int64_t supplied = cache->supplied + count, room = cache->room - count;
	if (count < 0)
		__atomic_store_n(&cache->room, room, __ATOMIC_RELAXED);
	__atomic_store_n(&cache->supplied, supplied, __ATOMIC_RELEASE);
	__atomic_store_n(&cache->room, room, __ATOMIC_RELEASE);
}

/* How many blocks the list may hold from now on. */
static inline void cache_set_most(struct cache *cache, uint32_t most)
{
	int64_t room = cache->room + ((int64_t)most - cache->most);
	if (most > cache->most)
		__atomic_store_n(&cache->room, room, __ATOMIC_RELAXED);
	__atomic_store_n(&cache->most, most, __ATOMIC_RELEASE);
	__atomic_store_n(&cache->room, room, __ATOMIC_RELEASE);
}

#endif
