/* sum.c: see sum.h.
 *
 * Where the numbers come from, per (thread, site, class), that is per route:
 *   allocations, bytes   the cache's allocs and space + reallocs in place
 *   frees                cache_frees + what lies on slabs' remote lists and in parcels + reallocs in place
 * and for the fallback, per site, struct site_fallback. Sums by site, by class and by route are made from these same
 * items, side by side: they must agree, and every test checks that they do.
 */
#include "sum.h"

#include "fallback.h"
#include "pools/pool.h"
#include "route.h"
#include "site.h"

#include <string.h>

_Static_assert((int)CLASSES <= (int)LEDGER_CLASSES_MAX, "the ledger has room for every class");

static const enum ledger_route route_names[ROUTE_KINDS] = {[KIND_OWNED] = ROUTE_OWNED, [KIND_SHARED] = ROUTE_SHARED};

static void add_alloc(struct ledger_tally *tally, uint64_t objects, uint64_t space, uint64_t size)
{
	tally->alloc_objects += objects;
	tally->alloc_space += space;
	tally->inuse_objects += objects;
	tally->inuse_space += objects * size;
}

static void add_free(struct ledger_tally *tally, uint64_t objects, uint64_t size)
{
	tally->free_objects += objects;
	tally->inuse_objects -= objects;
	tally->inuse_space -= objects * size;
}

static void count_allocs(struct ledger_header *l, uint16_t site, unsigned class, enum ledger_route route,
                         uint64_t objects, uint64_t space)
{
	struct ledger_site *record = &ledger_sites(l)[site];
	uint64_t size = class_table[class].size;
	add_alloc(&record->tally, objects, space, size);
	add_alloc(&ledger_classes(l)[class].tally, objects, space, size);
	l->routes[route].alloc_objects += objects;
	l->routes[route].alloc_space += space;
	record->route_objects[route] += objects;
	record->route_space[route] += space;
}

static void count_frees(struct ledger_header *l, uint16_t site, unsigned class, uint64_t objects)
{
	uint64_t size = class_table[class].size;
	add_free(&ledger_sites(l)[site].tally, objects, size);
	add_free(&ledger_classes(l)[class].tally, objects, size);
}

enum { SNAPSHOT_TRIES = 10 };

/* A running thread may go on counting, so every counter is read once, and all sums are made of the same numbers. How many
 * blocks are alive follows from three that change together at a refill; so they are read until they hold still. */
static struct cache snapshot(const volatile struct cache *cache)
{
	struct cache copy = {.key = 0};
	int tries = 0;
	do {
		copy.supplied = cache->supplied;
		copy.most = cache->most;
		atomic_thread_fence(memory_order_acquire);
		copy.room = cache->room;
		atomic_thread_fence(memory_order_acquire);
	} while ((copy.supplied != cache->supplied || copy.most != cache->most) && ++tries < SNAPSHOT_TRIES);
	copy.allocs = cache->allocs; /* last: no block is freed that was not allocated */
	copy.space = cache->space;
	copy.remote = cache->remote;
	return copy;
}

static void sum_route(struct ledger_header *l, const struct cache *live, const struct route *live_route)
{
	const struct cache copy = snapshot(live), *cache = &copy;
	const struct route route_copy = *live_route, *route = &route_copy;
	struct ledger_site *record = &ledger_sites(l)[route->site];
	enum route_kind now = route->kind, other = now == KIND_OWNED ? KIND_SHARED : KIND_OWNED;
	uint64_t allocs = cache->allocs + route->realloc_allocs - route->allocs[other];
	uint64_t space = cache->space + route->realloc_space - route->space[other];
	count_allocs(l, route->site, route->class, route_names[now], allocs, space);
	count_allocs(l, route->site, route->class, route_names[other], route->allocs[other], route->space[other]);
	count_frees(l, route->site, route->class, cache_frees(cache) + route->realloc_allocs);
	record->realloc_objects += route->reallocs + route->realloc_allocs;
	record->cross_thread_free_objects += cache->remote;
}

static void sum_thread(struct ledger_header *l, const struct thread *thread)
{
	for (uint32_t tag = 1; tag <= thread->heap.tags; tag++)
		if (thread->routes[tag / ROUTES_CHUNK])
			sum_route(l, &thread->heap.caches[tag], route_at(thread, tag));
}

/* A block on its way home was allocated before we read its cache, unless its thread runs: then it may be missing
 * there, and is left out here too. */
static void sum_remote_block(struct ledger_header *l, const struct thread *thread, const struct slab *slab,
                             uint16_t tag)
{
	uint16_t site = route_at(thread, tag)->site;
	const struct ledger_tally *by_site = &ledger_sites(l)[site].tally,
							  *by_class = &ledger_classes(l)[slab->class].tally;
	if ((int64_t)by_site->inuse_objects <= 0 || (int64_t)by_class->inuse_objects <= 0)
		return;
	count_frees(l, site, slab->class, 1);
	ledger_sites(l)[site].cross_thread_free_objects++;
	if (slab_is_tags_own(&thread->heap, slab)) /* slabs of a pool aside (lifetime.h) are all sites' */
		route_at(thread, tag)->owned_used--;
}

/* Every block of the slab was given back, and there is no list to follow. */
static void sum_whole(struct ledger_header *l, const struct thread *thread, const struct slab *slab)
{
	for (uint32_t i = 0; i < class_table[slab->class].capacity; i++) {
		uint16_t tag = slab_tag(slab, slab_start(slab) + (size_t)i * class_table[slab->class].size);
		if (tag && tag <= thread->heap.tags)
			sum_remote_block(l, thread, slab, tag);
	}
}

/* What other threads gave back to the slab and its owner has not seen. A running owner may take the list while we walk
 * it; then we may follow a block's new content, so every step is checked to stay inside the slab. */
static void sum_remote(struct ledger_header *l, const struct thread *thread, const struct slab *slab)
{
	uint64_t word = atomic_load_explicit(&slab->remote, memory_order_acquire);
	if ((uint32_t)word == REMOTE_ALL) {
		sum_whole(l, thread, slab);
		return;
	}
	const struct class *class = &class_table[slab->class];
	uintptr_t start = (uintptr_t)slab_start(slab), at = start + (size_t)((uint32_t)word - 1) * 16;
	for (uint32_t left = (uint32_t)(word >> 32); left && at - start < (uintptr_t) class->capacity * class->size;
	     left--) {
		uint16_t tag = slab_tag(slab, (const void *)at);
		if (tag > thread->heap.tags)
			return;
		sum_remote_block(l, thread, slab, tag);
		at = *(const uintptr_t *)at;
	}
}

/* What lies in parcels on their way. Senders and receivers may run meanwhile; then a block may be home before we look, and
 * its slab anything. */
static void sum_parcel(struct ledger_header *l, struct parcel *parcel)
{
	uint32_t count = atomic_load_explicit(&parcel->count, memory_order_acquire);
	for (uint32_t i = 0; i < count; i++) {
		const void *block = __atomic_load_n(&parcel->blocks[i], __ATOMIC_RELAXED);
		const struct slab *slab = slab_of(block);
		struct heap *heap = slab_heap(slab);
		uint16_t tag = heap && slab->class < CLASSES ? slab_tag(slab, block) : 0;
		if (tag && tag <= heap->tags)
			sum_remote_block(l, thread_of(heap), slab, tag);
	}
}

static void sum_parcels(struct ledger_header *l)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (unsigned i = 0; i < OUTBOX_PARCELS; i++) {
			struct parcel *parcel = atomic_load_explicit(&heap->outbox.parcels[i], memory_order_acquire);
			if (parcel)
				sum_parcel(l, parcel);
		}
}

static void sum_slabs(struct ledger_header *l)
{
	uint32_t granules = range_usage().granules;
	for (uint32_t i = 0; i < granules; i++) {
		const struct slab *slab = &range.slabs[i];
		uintptr_t owner = slab_owner(slab);
		if (!owner || slab_state(slab) == SLAB_REST || slab->class >= CLASSES)
			continue;
		const struct thread *thread = thread_of((struct heap *)owner);
		ledger_classes(l)[slab->class].curslabs++;
		ledger_classes(l)[slab->class].slots += class_table[slab->class].capacity;
		uint16_t tag = __atomic_load_n(&slab->tag, __ATOMIC_RELAXED);
		if (slab_is_tags_own(&thread->heap, slab) && tag <= thread->heap.tags)
			route_at(thread, tag)->owned_used += slab_used(slab);
		sum_remote(l, thread, slab);
	}
}

/* What the owned slabs hold, less what lies ready, is alive there; all else that is alive in pools is in shared slabs. */
static void split_alive(struct ledger_header *l)
{
	struct ledger_tally *owned = &l->routes[ROUTE_OWNED], *shared = &l->routes[ROUTE_SHARED];
	for (unsigned c = 0; c < CLASSES; c++) {
		shared->inuse_objects += ledger_classes(l)[c].tally.inuse_objects;
		shared->inuse_space += ledger_classes(l)[c].tally.inuse_space;
	}
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++) {
			const struct route *route = route_at(thread_of(heap), tag);
			int64_t alive = (int64_t)(route->owned_used - cache_cached(&heap->caches[tag]));
			if (alive <= 0 || (uint64_t)alive > shared->inuse_objects)
				continue;
			owned->inuse_objects += (uint64_t)alive;
			owned->inuse_space += (uint64_t)alive * class_table[route->class].size;
			shared->inuse_objects -= (uint64_t)alive;
			shared->inuse_space -= (uint64_t)alive * class_table[route->class].size;
		}
}

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void sum_fallback(struct ledger_header *l)
{
	struct ledger_tally *total = &l->routes[ROUTE_FALLBACK];
	for (uint32_t i = 0; i < l->sites_count; i++) {
		const struct site_fallback *on = site_fallback_seen((uint16_t)i);
		if (!on)
			continue;
		struct ledger_site *site = &ledger_sites(l)[i];
		struct ledger_tally one = {.alloc_objects = load(&on->allocs),
		                           .alloc_space = load(&on->space),
		                           .free_objects = load(&on->frees),
		                           .inuse_space = load(&on->inuse_space)};
		one.inuse_objects = one.alloc_objects - one.free_objects;
		struct ledger_tally *sums[] = {total, &site->tally};
		for (int s = 0; s < 2; s++) {
			sums[s]->alloc_objects += one.alloc_objects;
			sums[s]->alloc_space += one.alloc_space;
			sums[s]->free_objects += one.free_objects;
			sums[s]->inuse_objects += one.inuse_objects;
			sums[s]->inuse_space += one.inuse_space;
		}
		site->route_objects[ROUTE_FALLBACK] += one.alloc_objects;
		site->route_space[ROUTE_FALLBACK] += one.alloc_space;
		site->realloc_objects += load(&on->reallocs);
	}
}

static void clear(struct ledger_header *l)
{
	memset(l->routes, 0, sizeof(l->routes));
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++) {
			struct route *route = route_at(thread_of(heap), tag);
			if (route->owned_used) /* in a fork's child a write copies the page */
				route->owned_used = 0;
		}
	l->classes_count = CLASSES;
	memset(ledger_classes(l), 0, CLASSES * sizeof(struct ledger_class));
	for (unsigned c = 0; c < CLASSES; c++) {
		ledger_classes(l)[c].size = class_table[c].size;
		ledger_classes(l)[c].slab_size = (uint64_t)class_table[c].granules << GRANULE_SHIFT;
	}
	for (uint32_t i = 0; i < l->sites_count; i++) {
		struct ledger_site *site = &ledger_sites(l)[i];
		memset(&site->tally, 0, sizeof(*site) - offsetof(struct ledger_site, tally));
	}
}

void sum_up(struct ledger_header *l)
{
	clear(l);
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		sum_thread(l, thread_of(heap));
	sum_slabs(l);
	sum_parcels(l);
	split_alive(l);
	sum_fallback(l);
}
