/* ready.c: see ready.h.
 *
 * How much a cache may hold follows use, as in TCMalloc's slow start: a refill doubles the batch, up to where it pays; an
 * overflow after a refill (blocks go back and forth) doubles what may lie ready; both within the budget. Large blocks are
 * too many bytes for that: a cache keeps one only when its site has taken and freed it twice, within allowances of their
 * own (budget.h), and only while it goes on so: sweep() looks by the clock.
 */
#include "ready.h"

#include "budget.h"
#include "lifetime.h"
#include "pools/os.h"
#include "pools/pool.h"
#include "pressure.h"
#include "sample.h"
#include "site_peak.h"

enum {
	BATCH_MAX = 64, /* more would not make a refill cheaper for each block, and lie unused in every route */
	BATCH_BYTES_MAX = 4 << 10,
	OVERFLOW_MAX = 64, /* a batch: what goes back is still in the processor's first cache */
	READY_MAX = 1024,  /* what goes back and forth may be longer: a program's own batches */
	READY_BYTES_MAX = 64 << 10,
	READY_FIRST = 16,                 /* blocks of a site that only frees: so they go back by lots */
	LARGE = 4 << 10,                  /* classes above it have allowances of their own */
	READY_SINGLE_BYTES_MAX = 4 << 20, /* of a single-block class, but always one block */
	READY_LARGE_FEW = 4,              /* a list as short only gives back what is over */
	CHURNED = 2,
	SWEEP_REFILLS = 64
};

static bool is_large(unsigned class)
{
	return class_table[class].size > LARGE;
}

/* Sets how many blocks the route's cache may hold. */
static void set_ready_max(struct thread *thread, uint16_t tag, uint32_t blocks)
{
	const struct route *route = route_at(thread, tag);
	struct cache *cache = &thread->heap.caches[tag];
	uint64_t size = class_table[route->class].size, before = cache->most * size, after = blocks * size;
	if (!is_large(route->class))
		thread->ready_max += after - before;
	else if (before > after)
		budget_give_large(thread, before - after); /* more has been taken by the caller */
	if (route->pool != POOL_NONE)
		thread->ready_owned_max += after - before;
	cache_set_most(cache, blocks);
}

void ready_set_owned(struct thread *thread, uint16_t tag, bool owned)
{
	const struct route *route = route_at(thread, tag);
	uint64_t bytes = (uint64_t)thread->heap.caches[tag].most * class_table[route->class].size;
	if (route->pool != POOL_NONE)
		thread->ready_owned_max -= bytes;
	if (owned)
		thread->ready_owned_max += bytes;
}

/* Lets the cache hold `blocks`, if the budget does. */
static void allow_ready(struct thread *thread, uint16_t tag, uint32_t blocks)
{
	size_t size = class_table[route_at(thread, tag)->class].size;
	uint32_t most = thread->heap.caches[tag].most;
	if (blocks > most && budget_allows_ready(thread, (blocks - most) * size))
		set_ready_max(thread, tag, blocks);
}

void ready_grow_batch(struct thread *thread, uint16_t tag)
{
	struct cache *cache = &thread->heap.caches[tag];
	uint32_t size = class_table[route_at(thread, tag)->class].size;
	uint32_t batch = cache->batch ? 2u * cache->batch : 1;
	if (is_large(route_at(thread, tag)->class)) {
		cache->batch = 1;
		return;
	}
	if (batch > 1 && (batch > BATCH_MAX || batch * size > BATCH_BYTES_MAX))
		return;
	allow_ready(thread, tag, 2 * batch);
	if (batch == 1 || cache->most >= batch)
		cache->batch = batch;
}

uint32_t ready_batch_max(const struct thread *thread, uint16_t tag)
{
	unsigned c = route_at(thread, tag)->class;
	const struct class *class = &class_table[c];
	uint32_t batch = thread->heap.caches[tag].batch, most = thread->heap.caches[tag].most;
	bool full_batch = 2 * batch > BATCH_MAX || 2 * batch * class->size > BATCH_BYTES_MAX;
	if (!full_batch || is_large(c) || class->capacity <= batch)
		return batch;
	uint32_t more = class->capacity > most ? class->capacity - most : 0;
	return budget_allows_ready(thread, (size_t)more * class->size) ? class->capacity : batch;
}

void ready_refilled(struct thread *thread, uint16_t tag, uint32_t count)
{
	const struct cache *cache = &thread->heap.caches[tag];
	if (count > cache->batch && count > cache->most) /* a whole list: the budget was asked */
		set_ready_max(thread, tag, count);
	route_at(thread, tag)->refilled = 1;
}

/* A number that changes when blocks are taken from the cache. */
static uint32_t taken(const struct cache *cache)
{
	return (uint32_t)(SITELESS ? cache->room * 31 + cache->supplied : (int64_t)cache->allocs);
}

/* Does the site only free, while another of its class finds nothing ready and goes to the pools? Then that one could use what
 * this one frees. */
static bool others_want(const struct thread *thread, uint16_t tag)
{
	const struct route *route = route_at(thread, tag);
	uint16_t other = thread->stocked[route->class];
	return other && other != tag && route_at(thread, other)->refilled &&
	       taken(&thread->heap.caches[tag]) == route->seen;
}

static uint32_t at_first(uint32_t size)
{
	return READY_FIRST * size <= BATCH_BYTES_MAX ? READY_FIRST : BATCH_BYTES_MAX / size;
}

/* The cache of `tag` is full. If it was refilled since the last time, or is `wanted`, it may hold twice as much, and if it
 * may hold nothing, some; within the budget. */
static void more_room(struct thread *thread, uint16_t tag, bool wanted)
{
	struct route *route = route_at(thread, tag);
	uint32_t twice = 2 * thread->heap.caches[tag].most, size = class_table[route->class].size;
	if (!twice)
		allow_ready(thread, tag, at_first(size));
	else if ((route->refilled || wanted) && twice <= READY_MAX && twice * size <= READY_BYTES_MAX)
		allow_ready(thread, tag, twice);
	route->refilled = 0;
}

/* Blocks that share a slab keep all of it when they lie ready, so there may be fewer. */
static size_t ready_bytes_max(unsigned class)
{
	return class_is_single(class) ? READY_SINGLE_BYTES_MAX : READY_BYTES_MAX;
}

/* Of a large class: what is taken and freed again and again may stay, one block first. */
static void overflow_large(struct thread *thread, uint16_t tag)
{
	struct route *route = route_at(thread, tag);
	struct cache *cache = &thread->heap.caches[tag];
	size_t size = class_table[route->class].size;
	uint32_t more = cache->most ? cache->most : 1, twice = cache->most + more;
	route->churned += route->churned < CHURNED && route->refilled;
	if (route->refilled && route->churned == CHURNED && route_limits.decay_ms &&
	    (twice == 1 || twice * size <= ready_bytes_max(route->class)) && budget_take_large(thread, more * size))
		set_ready_max(thread, tag, twice);
	route->refilled = 0;
	uint32_t keep = cache->most < READY_LARGE_FEW ? cache->most : cache->most / 2;
	if (cache->room < 0)
		cache_shrink(&thread->heap, cache, keep);
	site_peak_note(route, cache, 0);
	thread_note_peak(thread);
}

void ready_overflow(struct thread *thread, struct cache *cache)
{
	uint16_t tag = (uint16_t)(cache - thread->heap.caches);
	if (route_at(thread, tag)->is_twin) {
		lifetime_end(thread, tag);
		return;
	}
	sample_event(thread, tag, SAMPLE_OVERFLOW);
	if (is_large(route_at(thread, tag)->class)) {
		overflow_large(thread, tag);
		return;
	}
	more_room(thread, tag, others_want(thread, tag));
	thread->stocked[route_at(thread, tag)->class] = tag;
	uint32_t less = cache->most - cache->most / 2;
	cache_shrink(&thread->heap, cache, cache->most - (less < OVERFLOW_MAX ? less : OVERFLOW_MAX));
	site_peak_note(route_at(thread, tag), cache, 0);
}

/* What others freed comes home in lots, and the cache is full. Where it may hold nothing that stays so: the heap may have been
 * left, and whoever brings the blocks home keeps none in its caches. */
static bool more_room_at_home(struct heap *heap, uint16_t tag)
{
	const struct cache *cache = &heap->caches[tag];
	const struct route *route = route_at(thread_of(heap), tag);
	if (!route->refilled || !cache->most || is_large(route->class))
		return false;
	more_room(thread_of(heap), tag, false);
	site_peak_note(route_at(thread_of(heap), tag), cache, 0);
	return cache->room >= 0;
}

void ready_init(void)
{
	cache_over = more_room_at_home;
}

static void empty_cache(struct thread *thread, uint16_t tag)
{
	struct cache *cache = &thread->heap.caches[tag];
	cache_shrink(&thread->heap, cache, 0);
	cache->batch = 0;
	route_at(thread, tag)->churned = 0;
	set_ready_max(thread, tag, 0);
	site_peak_note(route_at(thread, tag), cache, 0);
}

void ready_settle(struct thread *thread)
{
	for (uint32_t tag = 1; tag <= thread->heap.tags; tag++)
		empty_cache(thread, (uint16_t)tag);
}

void ready_age(struct thread *thread)
{
	for (uint32_t tag = 1; tag <= thread->heap.tags; tag++) {
		const struct cache *cache = &thread->heap.caches[tag];
		struct route *route = route_at(thread, tag);
		if (is_large(route->class))
			continue;
		if (cache->most && taken(cache) == route->seen)
			empty_cache(thread, (uint16_t)tag);
		route->seen = taken(cache);
	}
}

/* Large classes: caches nobody has taken from since the last time give theirs back, and the heap its spare ones. */
static void sweep(struct thread *thread, bool all)
{
	for (uint32_t tag = 1; tag <= thread->heap.tags && thread->ready_large_max; tag++) {
		struct route *route = route_at(thread, tag);
		if (!is_large(route->class) || !thread->heap.caches[tag].most)
			continue;
		const struct cache *cache = &thread->heap.caches[tag];
		if (all || taken(cache) == route->seen)
			empty_cache(thread, (uint16_t)tag);
		route->seen = taken(cache);
	}
	heap_shed_spares(&thread->heap);
}

void ready_decay(struct thread *thread, unsigned class)
{
	if (!is_large(class) && thread->refills % SWEEP_REFILLS != 0)
		return;
	uint64_t now = os_now_ms();
	pressure_look(thread, now);
	if (route_limits.decay_ms <= 0 || !(thread->ready_large_max || thread->heap.spare_bytes))
		return;
	if (now - thread->swept_ms < (uint64_t)route_limits.decay_ms)
		return;
	thread->swept_ms = now;
	sweep(thread, false);
}

void ready_trim(struct thread *thread)
{
	sweep(thread, true);
}
