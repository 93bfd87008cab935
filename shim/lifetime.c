/* lifetime.c: see lifetime.h.
 *
 * Rates. Every LOOK_REFILLS refills a thread looks at the next LOOK_TAGS of its routes, and arms the one with the most
 * allocations since its last sample, if they are an eighth of all it has made, within PERIOD_MIN and PERIOD_MAX, and some
 * more by chance, so that no rhythm of the program's is met in step. A sample costs about half a microsecond and two sums
 * over the thread's caches, which is why a thread of many routes has a longer PERIOD_MIN.
 *
 * The table is of buckets without a lock: an entry is taken by writing its block, and only who frees that block takes it out.
 * A full bucket gives up its oldest entry of the same thread, as if the block had been alive at the end ("censored").
 */
#define _GNU_SOURCE
#include "lifetime.h"

#include "confined.h"
#include "context.h"
#include "pools/apart.h"
#include "pools/lock.h"
#include "pools/meta.h"
#include "pools/os.h"
#include "pools/pool.h"
#include "site_peak.h"

enum {
	LOOK_REFILLS = 32,
	LOOK_TAGS = 16,
	PERIOD_MIN = 128,
	PERIOD_TAGS = 2,
	PERIOD_MAX = 32768,
	PERIOD_SHARE = 8,
	ASIDE_BYTES =
		512 << 10, /* a heap that uses less gets no slabs for watched blocks alone: of each, a page or two is touched */
	BUCKETS = 256,
	WAYS = 8,
	LIVES_CHUNK = 12 /* 8 KiB */
};

#define BUSY ((uintptr_t)1) /* in place of a block: the entry is being written */

struct watched {
	const struct heap *heap;
	uint64_t birth_ns, birth_space;
	uint32_t weight;
	uint16_t site;
};

struct bucket {
	_Atomic uintptr_t blocks[WAYS]; /* 0: empty. One cache line to look through */
	struct watched entries[WAYS];
};

bool lifetime_on = true;

static APART _Alignas(64) struct bucket table[BUCKETS];
static APART _Atomic uint16_t life_of[LEDGER_SITES_MAX + 1]; /* a site's number in `lives`, from 1 on; 0: none */
static APART struct ledger_life *lives[LEDGER_SITES_MAX / LIVES_CHUNK + 1];
static _Atomic uint32_t lives_count;
static struct lock lock;   /* lives; nobody waits for it */
static uint8_t generation; /* of processes: how many forks this one is away from the first */

/* --- clocks ------------------------------------------------------------------------------------------------------- */

/* After a filter is set the coarse clock alone is sure to be no system call. */
static uint64_t now_ns(void)
{
	return confined() ? os_now_ms() * 1000000 : os_now_ns();
}

/* Bytes that the heap's threads have asked for so far. Another thread's may be a little wrong. */
static uint64_t space_of(const struct heap *heap)
{
	uint32_t tags = heap->tags; /* first: the caches that are there by then have room for so many */
	const struct cache *caches = heap->caches;
	uint64_t space = 0;
	for (uint32_t tag = 1; tag <= tags; tag++)
		space += caches[tag].space;
	return space;
}

/* --- what is known of each site's lives --------------------------------------------------------------------------- */

static struct ledger_life *life_at(uint32_t number)
{
	return &lives[number / LIVES_CHUNK][number % LIVES_CHUNK];
}

static struct ledger_life *life_locked(uint16_t site)
{
	uint32_t number = atomic_load_explicit(&life_of[site], memory_order_relaxed);
	if (number)
		return life_at(number - 1);
	number = atomic_load_explicit(&lives_count, memory_order_relaxed);
	struct ledger_life **chunk = &lives[number / LIVES_CHUNK];
	if (!*chunk && !(*chunk = meta_take(LIVES_CHUNK * sizeof(struct ledger_life))))
		return NULL;
	atomic_store_explicit(&lives_count, number + 1, memory_order_relaxed);
	atomic_store_explicit(&life_of[site], (uint16_t)(number + 1), memory_order_release);
	return life_at(number);
}

static uint64_t sum_to_most(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

static unsigned bucket_of(uint64_t value, unsigned shift)
{
	unsigned log2 = value ? 63 - (unsigned)__builtin_clzl(value) : 0;
	unsigned bucket = log2 > shift ? log2 - shift : 0;
	return bucket < LEDGER_LIVES ? bucket : LEDGER_LIVES - 1;
}

static void span_add(struct ledger_span *span, uint64_t value, uint32_t weight, unsigned shift)
{
	span->min = span->count && span->min < value ? span->min : value;
	span->max = span->max > value ? span->max : value;
	span->count++;
	span->weight += weight;
	span->sum = sum_to_most(span->sum, value > UINT64_MAX / weight ? UINT64_MAX : value * weight);
	span->hist[bucket_of(value, shift)] += weight;
}

static void judge(struct ledger_life *life, uint64_t space, uint32_t weight)
{
	life->judged++;
	life->judged_squares += (uint64_t)weight * weight;
	*(space < LEDGER_SHORT_SPACE ? &life->short_weight : &life->long_weight) += weight;
}

/* The block's life has ended; `space` only where that is known. */
static void tell_end(const struct watched *of, uint64_t ns, const uint64_t *space)
{
	if (!lock_try(&lock))
		return;
	struct ledger_life *life = life_locked(of->site);
	if (life) {
		span_add(&life->ns, ns, of->weight, LEDGER_LIFE_SHIFT_NS);
		if (space) {
			span_add(&life->space, *space, of->weight, LEDGER_LIFE_SHIFT_SPACE);
			judge(life, *space, of->weight);
		}
	}
	lock_drop(&lock);
}

/* It has lived so long, and nobody will look on. One that is still short is not judged. */
static void tell_censored(const struct watched *of, uint64_t space)
{
	if (!lock_try(&lock))
		return;
	struct ledger_life *life = life_locked(of->site);
	if (life) {
		life->censored++;
		life->censored_weight += of->weight;
		if (space >= LEDGER_SHORT_SPACE)
			judge(life, space, of->weight);
	}
	lock_drop(&lock);
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static struct bucket *bucket_for(const void *block)
{
	return &table[(uintptr_t)block * UINT64_C(0x9E3779B97F4A7C15) >> 56];
}

_Static_assert(BUCKETS == 1 << (64 - 56), "bucket_for's shift");

/* Takes the entry's block out, if it is still `block`, and leaves the place BUSY. */
static bool take_out(struct bucket *in, unsigned way, uintptr_t block)
{
	if (!atomic_compare_exchange_strong(&in->blocks[way], &block, BUSY))
		return false;
	atomic_fetch_sub_explicit(&slab_of((void *)block)->watched, 1, memory_order_relaxed);
	return true;
}

/* A place in the bucket, now BUSY: an empty one, or that of the heap's oldest, whose block is not watched any more. WAYS:
 * there is none. */
static unsigned make_room(struct bucket *in, const struct heap *heap, uint64_t space)
{
	unsigned oldest = WAYS;
	for (unsigned i = 0; i < WAYS; i++) {
		uintptr_t empty = 0;
		if (atomic_compare_exchange_strong(&in->blocks[i], &empty, BUSY))
			return i;
		if (empty != BUSY && in->entries[i].heap == heap &&
		    (oldest == WAYS || in->entries[i].birth_ns < in->entries[oldest].birth_ns))
			oldest = i;
	}
	uintptr_t was = oldest < WAYS ? atomic_load_explicit(&in->blocks[oldest], memory_order_acquire) : BUSY;
	if (was <= BUSY || !take_out(in, oldest, was))
		return WAYS;
	tell_censored(&in->entries[oldest], space - in->entries[oldest].birth_space);
	return oldest;
}

/* A record for the site, so that its samples are known of though none has ended. */
static bool has_life(uint16_t site)
{
	if (lifetime_seen(site))
		return true;
	bool has = lock_try(&lock);
	if (!has)
		return false;
	has = life_locked(site);
	lock_drop(&lock);
	return has;
}

static void put(const void *block, const struct heap *heap, uint16_t site, uint32_t weight)
{
	uint64_t space = space_of(heap);
	if (!has_life(site))
		return;
	if (slab_of(block)->watched == UINT8_MAX) /* only its own thread adds */
		return;
	struct bucket *in = bucket_for(block);
	unsigned way = make_room(in, heap, space);
	if (way == WAYS)
		return;
	in->entries[way] =
		(struct watched){.heap = heap, .birth_ns = now_ns(), .birth_space = space, .weight = weight, .site = site};
	atomic_fetch_add_explicit(&slab_of(block)->watched, 1, memory_order_relaxed);
	atomic_store_explicit(&in->blocks[way], (uintptr_t)block, memory_order_release);
}

/* The block's entry in *of, and out of the table; false: it is not there. */
static bool find(const void *block, struct watched *of)
{
	struct bucket *in = bucket_for(block);
	for (unsigned i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&in->blocks[i], memory_order_acquire) == (uintptr_t)block &&
		    take_out(in, i, (uintptr_t)block)) {
			*of = in->entries[i];
			atomic_store_explicit(&in->blocks[i], 0, memory_order_release);
			return true;
		}
	return false;
}

static uint64_t since(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

/* --- arming ------------------------------------------------------------------------------------------------------- */

static uint32_t period_of(const struct thread *thread, const struct cache *cache)
{
	uint64_t period = cache->allocs / PERIOD_SHARE, least = PERIOD_MIN + thread->heap.tags / PERIOD_TAGS;
	return (uint32_t)(period < least ? least : period > PERIOD_MAX ? PERIOD_MAX : period);
}

static uint64_t not_sampled(const struct thread *thread, uint32_t tag)
{
	return thread->heap.caches[tag].allocs - route_at(thread, tag)->sampled_at;
}

static bool is_due(const struct thread *thread, uint32_t tag)
{
	const struct route *route = route_at(thread, tag);
	const struct cache *cache = &thread->heap.caches[tag];
	uint32_t period = period_of(thread, cache);
	uint32_t chance = (uint32_t)(((cache->allocs ^ tag) * UINT64_C(0x9E3779B97F4A7C15) >> 40) % period);
	return !route->is_twin && not_sampled(thread, tag) >= period / 2 + chance;
}

static void look(struct thread *thread)
{
	uint32_t tags = thread->heap.tags, best = 0;
	thread->look_at = thread->refills + LOOK_REFILLS;
	for (uint32_t i = 0; i < LOOK_TAGS && i < tags; i++) {
		uint32_t tag = thread->look_tag = thread->look_tag < tags ? thread->look_tag + 1 : 1;
		if (is_due(thread, tag) && (!best || not_sampled(thread, tag) > not_sampled(thread, best)))
			best = tag;
	}
	if (best) {
		route_at(thread, best)->life_due = true;
		route_arm(thread, (uint16_t)best);
	}
}

void lifetime_look(struct thread *thread)
{
	if (SITELESS || !(lifetime_on || contexts_enabled())) /* an armed allocation also says who called */
		return;
	if (thread->look_at == 0)
		thread->look_at = LOOK_REFILLS;
	if (thread->refills >= thread->look_at)
		look(thread);
}

/* --- a sample ----------------------------------------------------------------------------------------------------- */

/* The pool for a watched block: the shared one where that costs nobody anything; where its slabs are of one tag, which all
 * frees of their blocks are faster for, one aside, once the heap is large enough for that. NULL: not now. */
static struct pool *pool_for(struct thread *thread, unsigned class)
{
	struct heap *heap = &thread->heap;
	if (class_is_single(class) || pool_is_tagged(heap, class))
		return &heap->shared[class];
	if (heap->used_bytes < ASIDE_BYTES)
		return NULL;
	if (!thread->aside[class]) {
		const struct pool *opened = pool_open_aside(heap, class);
		thread->aside[class] = opened ? opened->index : 0;
	}
	return thread->aside[class] ? pool_at(heap, thread->aside[class]) : NULL;
}

/* One block of the class, for the twin; NULL: there is none without more memory than a sample is worth. */
static void *take_one(struct thread *thread, uint16_t twin, unsigned class)
{
	void *list = NULL;
	struct pool *pool = pool_for(thread, class);
	if (!pool || pool_take(&thread->heap, pool, twin, 1, 1, &list))
		return list;
	if (pool_grow(&thread->heap, pool, 1) != RANGE_OK || !pool_take(&thread->heap, pool, twin, 1, 1, &list))
		return NULL;
	return list;
}

/* The allocations it stands for. What a fork's child finds was not its own. */
static uint32_t weight_of(struct route *route, const struct cache *cache)
{
	uint64_t since_last = cache->allocs - route->sampled_at + 1;
	route->sampled_at = cache->allocs;
	if (route->generation != generation)
		since_last = 1;
	route->generation = generation;
	return since_last < UINT32_MAX ? (uint32_t)since_last : UINT32_MAX;
}

void *lifetime_watch(struct thread *thread, uint16_t tag, size_t size)
{
	struct route *route = route_at(thread, tag);
	route->life_due = false;
	route_disarm(thread, tag);
	if (!lifetime_on || route_limits.site_max) { /* a twin's blocks would have to count against the cap */
		route->sampled_at = thread->heap.caches[tag].allocs;
		return NULL;
	}
	uint16_t twin = route_twin(thread, tag);
	void *block = twin ? take_one(thread, twin, route->class) : NULL;
	if (!block)
		return NULL;
	struct cache *cache = &thread->heap.caches[twin];
	if (class_is_single(route->class))
		slab_of(block)->zeroed = false; /* as if it came from a cache */
	cache->free = block;
	cache_supply(cache, 1);
	cache_take(cache, size);
	site_peak_note(route_at(thread, twin), cache, 0);
	put(block, &thread->heap, route->site, weight_of(route, &thread->heap.caches[tag]));
	look(thread);
	return block;
}

void lifetime_end(struct thread *thread, uint16_t tag)
{
	struct cache *cache = &thread->heap.caches[tag];
	struct watched of;
	if (find(cache->free, &of)) {
		uint64_t ns = since(of.birth_ns, now_ns()), space = since(of.birth_space, space_of(&thread->heap));
		tell_end(&of, ns, of.heap == &thread->heap ? &space : NULL); /* else its slab has changed hands */
	}
	cache_shrink(&thread->heap, cache, 0);
	site_peak_note(route_at(thread, tag), cache, 0);
	look(thread);
}

void lifetime_end_elsewhere(const void *block)
{
	struct watched of;
	if (find(block, &of))
		tell_end(&of, since(of.birth_ns, now_ns()), NULL);
}

/* --- for the report ----------------------------------------------------------------------------------------------- */

const struct ledger_life *lifetime_seen(uint16_t site)
{
	uint32_t number = atomic_load_explicit(&life_of[site], memory_order_acquire);
	return number ? life_at(number - 1) : NULL;
}

uint32_t lifetime_sites(void)
{
	return atomic_load_explicit(&lives_count, memory_order_relaxed);
}

void lifetime_alive(void (*tell)(void *, const struct lifetime_age *), void *context)
{
	uint64_t now = now_ns();
	for (unsigned i = 0; i < BUCKETS * WAYS; i++) {
		const struct watched *entry = &table[i / WAYS].entries[i % WAYS];
		if (atomic_load_explicit(&table[i / WAYS].blocks[i % WAYS], memory_order_acquire) <= BUSY)
			continue;
		struct lifetime_age age = {.site = entry->site,
		                           .weight = entry->weight,
		                           .ns = since(entry->birth_ns, now),
		                           .space = since(entry->birth_space, space_of(entry->heap))};
		tell(context, &age);
	}
}

void lifetime_fork_child(void)
{
	lock_reset(&lock);
	generation++;
	for (unsigned i = 0; i < BUCKETS * WAYS; i++) {
		_Atomic uintptr_t *home = &table[i / WAYS].blocks[i % WAYS];
		uintptr_t block = atomic_load_explicit(home, memory_order_relaxed);
		if (block > BUSY)
			take_out(&table[i / WAYS], i % WAYS, block);
		if (block)
			atomic_store_explicit(home, 0, memory_order_relaxed);
	}
	for (uint32_t i = 0; i < lifetime_sites(); i++)
		*life_at(i) = (struct ledger_life){.judged = 0};
}
