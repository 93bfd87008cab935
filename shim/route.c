/* route.c: finding and refilling routes, and the pools they earn and lose. Off the fast path; everything here belongs to
 * the calling thread.
 *
 * How many blocks a refill asks for, and how many may lie ready, is ready.c's. When the thread has as many routes as it may
 * have, further ones share one route per class, counted on site "other".
 */
#include "route.h"

#include "budget.h"
#include "context.h"
#include "lifetime.h"
#include "pools/meta.h"
#include "pools/pool.h"
#include "pools/walk.h"
#include "process.h"
#include "ready.h"
#include "sample.h"
#include "site.h"
#include "site_peak.h"

#include <stdatomic.h>
#include <string.h>

enum {
	MEETS = 8, /* of a new route: a site whose blocks come and go may need no refill for a long time */
	INDEX_FIRST = 256,
	INDEX_SPARSE = 4,    /* entries a tag, at least: few keys miss their home */
	INDEX_SPARSEST = 64, /* and at most, however often they do */
	INDEX_MISSES = 16,   /* an entry, until the index grows for their sake: by then they have cost what growing costs */
	INDEX_MAX = 1 << 17,
	RETRY_REFILLS = 64, /* after a refusal */
	AGE_REFILLS = 4096
};

static _Atomic uint32_t moves; /* how often routes were given another key that is looked for */

struct route_limits route_limits = {.own = true, .owned_max = 256, .decay_ms = 1000};

static uint64_t index_entries(const struct thread *thread)
{
	return thread->front.mask / sizeof(uint16_t) + 1;
}

static bool is_for(const struct thread *thread, uint16_t tag, uint64_t key)
{
	uint64_t has = thread->heap.caches[tag].key;
	return has == key || (has == (key | KEY_ARMED) && route_at(thread, tag)->class == key_class(key));
}

/* The index entry that has the key's tag, or the empty one where it would be. */
static uint16_t *probe(const struct thread *thread, uint64_t key)
{
	uint16_t *index = thread->front.index;
	uint64_t entries = index_entries(thread);
	for (uint64_t i = (uint64_t)(index_home(&thread->front, key_pc(key), key_class(key)) - index);; i++) {
		uint16_t *entry = &index[i & (entries - 1)];
		if (*entry == 0 || is_for(thread, *entry, key))
			return entry;
	}
}

/* From empty. */
static void index_fill(struct thread *thread)
{
	thread->moves = atomic_load_explicit(&moves, memory_order_acquire);
	for (uint32_t tag = 1; tag <= thread->heap.tags; tag++) {
		const struct route *route = route_at(thread, tag);
		if (!route->is_twin)
			*probe(thread, route_key(key_pc(thread->heap.caches[tag].key), route->class)) = (uint16_t)tag;
	}
}

/* The key's tag, 0 when there is none, also if it got that key from another thread (routes_rename). */
static uint16_t find_moved(struct thread *thread, uint64_t key)
{
	if (thread->heap.tags && thread->moves != atomic_load_explicit(&moves, memory_order_acquire)) {
		memset(thread->front.index, 0, index_entries(thread) * sizeof(uint16_t));
		index_fill(thread);
	}
	return *probe(thread, key);
}

static bool index_grow(struct thread *thread)
{
	uint16_t *old = thread->front.index;
	uint64_t entries = index_entries(thread);
	uint64_t fresh_entries = entries < INDEX_FIRST ? INDEX_FIRST : 2 * entries;
	uint16_t *fresh = meta_take(fresh_entries * sizeof(uint16_t));
	if (!fresh)
		return false;
	thread->front = (struct front){.index = fresh, .mask = (fresh_entries - 1) * sizeof(uint16_t)};
	thread->misses = 0;
	index_fill(thread);
	if (entries >= INDEX_FIRST)
		meta_give(old, entries * sizeof(uint16_t));
	return true;
}

/* A key was found, but not at home: the one that is asked for now lives there from now on. Entries on the way are all in
 * use and stay so, hence both are still found. Where two hot keys keep driving each other out, a larger index parts them:
 * whole sites collide, class by class, since the classes of one lie side by side. */
static void bring_home(struct thread *thread, uint64_t key, uint16_t *found)
{
	uint16_t *home = index_home(&thread->front, key_pc(key), key_class(key)), tag = *found;
	uint64_t entries = index_entries(thread);
	*found = *home;
	*home = tag;
	if (++thread->misses > INDEX_MISSES * entries && entries < INDEX_MAX &&
	    entries < (uint64_t)INDEX_SPARSEST * thread->heap.tags)
		index_grow(thread);
}

/* A new route's tag, which no look-up finds yet; 0: no memory or no tag left. The route is made before others hear of it. */
static uint16_t make(struct thread *thread, uint16_t site, unsigned class, uint64_t key)
{
	uint32_t next = thread->heap.tags + 1;
	if (next >= HEAP_TAGS_MAX)
		return 0;
	struct route **chunk = &thread->routes[next / ROUTES_CHUNK];
	if (!*chunk && !(*chunk = meta_take(ROUTES_CHUNK * sizeof(struct route))))
		return 0;
	struct route *route = route_at(thread, next);
	route->pool = POOL_NONE;
	route->class = (uint8_t) class;
	route->kind = KIND_SHARED;
	route->site = site;
	return heap_tag_new(&thread->heap, key);
}

static uint16_t add(struct thread *thread, uint16_t site, unsigned class, uint64_t key)
{
	if (INDEX_SPARSE * ((uint64_t)thread->heap.tags + 1) > index_entries(thread) && !index_grow(thread))
		return 0;
	uint16_t tag = make(thread, site, class, key);
	if (tag) {
		route_at(thread, tag)->meets = contexts_enabled() ? MEETS : 0;
		*probe(thread, key) = tag;
	}
	return tag;
}

/* The last tags are kept for "other". */
static bool is_full(const struct thread *thread)
{
	return thread->heap.tags + CLASSES + 1 >= HEAP_TAGS_MAX;
}

uint16_t route_twin(struct thread *thread, uint16_t tag)
{
	const struct route *route = route_at(thread, tag);
	if (route->is_twin || route->twin || is_full(thread))
		return route->is_twin ? tag : route->twin;
	uint64_t key = route_key(key_pc(thread->heap.caches[tag].key), route->class);
	uint16_t twin = make(thread, route->site, route->class, key);
	if (twin) {
		route_at(thread, twin)->is_twin = true;
		route_at(thread, tag)->twin = twin;
	}
	return twin;
}

static uint16_t find_or_add(struct thread *thread, uintptr_t pc, unsigned class)
{
	uint64_t key = route_key(pc, class);
	uint16_t tag = *probe(thread, key);
	if (tag || (tag = find_moved(thread, key)))
		return tag;
	if (is_full(thread) && pc != PC_OTHER)
		return find_or_add(thread, PC_OTHER, class);
	uint16_t site = pc == PC_OTHER ? SITE_OTHER : site_of(pc);
	if (context_wrapper(pc)) /* since a moment ago */
		return find_or_add(thread, SITE_RETIRED | site, class);
	tag = find_moved(thread, key); /* a library that came back has brought its routes */
	if (tag || !(tag = add(thread, site, class, key)))
		return tag;
	/* Who makes it a wrapper now tells first and looks for routes then; we, the other way round. */
	atomic_thread_fence(memory_order_seq_cst);
	if (context_wrapper(pc))
		cache_rename(&thread->heap, tag, route_key(SITE_RETIRED | site, class));
	return tag;
}

struct cache *route_cache(struct thread *thread, uintptr_t pc, unsigned class)
{
	uint64_t key = route_key(pc, class);
	uint16_t *entry = probe(thread, key), tag = *entry;
	if (!tag)
		return pc != PC_OTHER && thread_has_heap(thread) && is_full(thread) ? route_cache(thread, PC_OTHER, class)
		                                                                    : NULL;
	if (entry != index_home(&thread->front, pc, class))
		bring_home(thread, key, entry);
	return &thread->heap.caches[tag];
}

struct route *route_of(struct thread *thread, uintptr_t pc, unsigned class)
{
	uint16_t tag = find_or_add(thread, pc, class);
	return tag ? route_at(thread, tag) : NULL;
}

/* A cache's key alone decides whether a look-up has found it, so nothing else need change for one that none shall find; where
 * one shall be found by another key, its thread puts it there when it misses it. */
void routes_rename(uint16_t site, uintptr_t pc)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++) {
			const struct route *route = route_at(thread_of(heap), tag);
			if (route->site == site)
				cache_rename(heap, (uint16_t)tag, route_key(pc, route->class));
		}
	if (!(pc & SITE_RETIRED))
		atomic_fetch_add_explicit(&moves, 1, memory_order_release);
}

/* Both only if nobody renames the route meanwhile. */
static void change_key(struct cache *cache, uint64_t key, uint64_t to)
{
	__atomic_compare_exchange_n(&cache->key, &key, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void route_arm(struct thread *thread, uint16_t tag)
{
	struct cache *cache = &thread->heap.caches[tag];
	if (!route_is_armed(cache))
		change_key(cache, cache->key, cache->key | KEY_ARMED);
}

void route_disarm(struct thread *thread, uint16_t tag)
{
	struct cache *cache = &thread->heap.caches[tag];
	const struct route *route = route_at(thread, tag);
	uint64_t armed = cache->key;
	if (!route->life_due && !route->meets && (!route->sample.due || route->sample.waits))
		change_key(cache, armed, route_key(key_pc(armed), route->class));
}

static void set_kind(struct thread *thread, uint16_t tag, enum route_kind kind)
{
	struct route *route = route_at(thread, tag);
	const struct cache *cache = &thread->heap.caches[tag];
	if (route->kind == kind)
		return;
	route->allocs[route->kind] = cache->allocs + route->realloc_allocs - route->allocs[kind];
	route->space[route->kind] = cache->space + route->realloc_space - route->space[kind];
	route->kind = (uint8_t)kind;
}

static void set_pool(struct thread *thread, uint16_t tag, uint16_t pool)
{
	struct route *route = route_at(thread, tag);
	ready_set_owned(thread, tag, pool != POOL_NONE);
	route->pool = pool;
}

static void pool_lost(struct heap *heap, uint16_t tag)
{
	struct thread *thread = thread_of(heap);
	set_pool(thread, tag, POOL_NONE);
	route_at(thread, tag)->retry_at = thread->refills + RETRY_REFILLS;
}

/* Caches nobody takes from are emptied, and pools that have gone cold give back slabs. */
static void age(struct thread *thread)
{
	ready_age(thread);
	heap_age(&thread->heap, pool_lost);
}

static bool has_earned(const struct thread *thread, const struct route *route, uint16_t tag)
{
	const struct class *class = &class_table[route->class];
	const struct cache *cache = &thread->heap.caches[tag];
	int64_t live = cache_alive(cache);
	if (class->capacity == 1) /* such a slab is nobody else's anyway */
		return false;
	return live > 0 && (uint64_t)live * class->size >= (uint64_t) class->granules << GRANULE_SHIFT;
}

/* More slabs for an owned pool, if caps and budget allow. */
static bool grow_owned(struct thread *thread, struct pool *pool)
{
	size_t bytes = (size_t)class_table[pool->class].granules << GRANULE_SHIFT;
	uint8_t charged;
	if (!budget_allows(thread, bytes, &charged))
		return false;
	struct slab *newest = NULL;
	unsigned count = charged ? 1 : budget_allows_many(thread, bytes, pool_growth(pool));
	if (pool_grow(&thread->heap, pool, count) == RANGE_OK)
		newest = &range.slabs[pool->partly];
	struct slab unused = {.charged = charged};
	if (newest)
		newest->charged = charged;
	else if (charged)
		slab_discharge(&unused);
	return newest;
}

static bool may_ask(const struct thread *thread, const struct route *route)
{
	return route_limits.own && thread->refills >= route->retry_at;
}

/* From what the route's own pool has, which it gets here if it has earned one. */
static uint32_t take_owned(struct thread *thread, uint16_t tag, uint32_t want, uint32_t most, void **list)
{
	struct route *route = route_at(thread, tag);
	if (route->pool == POOL_NONE) {
		if (!may_ask(thread, route) || thread->heap.owned_pools >= route_limits.owned_max ||
		    !has_earned(thread, route, tag))
			return 0;
		struct pool *opened = pool_open(&thread->heap, tag, route->class);
		if (!opened)
			return 0;
		set_pool(thread, tag, opened->index);
	}
	return pool_take(&thread->heap, pool_at(&thread->heap, route->pool), tag, want, most, list);
}

/* From what an owner has left that takes no more: before the route's own pool grows for it. */
static uint32_t take_left(struct thread *thread, uint16_t tag, uint32_t want, uint32_t most, void **list)
{
	unsigned class = route_at(thread, tag)->class;
	struct pool *shared = &thread->heap.shared[class];
	if (!pool_has_reclaimed(shared) && !pool_reclaim(&thread->heap, class))
		return 0;
	return pool_take(&thread->heap, shared, tag, want, most, list);
}

/* From a further slab of the route's own pool. */
static uint32_t take_grown(struct thread *thread, uint16_t tag, uint32_t want, uint32_t most, void **list)
{
	struct route *route = route_at(thread, tag);
	if (route->pool == POOL_NONE || !may_ask(thread, route))
		return 0;
	struct pool *pool = pool_at(&thread->heap, route->pool);
	if (grow_owned(thread, pool))
		return pool_take(&thread->heap, pool, tag, want, most, list);
	route->retry_at = thread->refills + RETRY_REFILLS;
	return 0;
}

/* The tag on `heap` for blocks that had `tag` on `from`: same site, same class. */
static uint16_t translate(struct heap *heap, struct heap *from, uint16_t tag)
{
	const struct route *old = route_at(thread_of(from), tag);
	uint16_t now = find_or_add(thread_of(heap), old->site == SITE_OTHER ? PC_OTHER : site_pc(old->site), old->class);
	uint16_t twin = now && old->is_twin ? route_twin(thread_of(heap), now) : 0;
	return twin ? twin : now;
}

/* What one site frees more than it takes, another of the same class may take while it is warm. */
static uint32_t take_passed(struct thread *thread, uint16_t tag, uint32_t want, void **list)
{
	uint16_t *stocked = &thread->stocked[route_at(thread, tag)->class];
	struct cache *giver = &thread->heap.caches[*stocked];
	uint32_t count = *stocked && *stocked != tag ? cache_pass(giver, tag, want, list) : 0;
	if (count)
		site_peak_note(route_at(thread, *stocked), giver, 0);
	else
		*stocked = tag; /* it is about to have some */
	return count;
}

static uint32_t take_shared(struct thread *thread, uint16_t tag, uint32_t want, uint32_t most, void **list,
                            enum ledger_reason *why)
{
	static const enum ledger_reason reasons[] = {
		[RANGE_CAPACITY] = REASON_CAPACITY, [RANGE_FULL] = REASON_RANGE, [RANGE_NO_MEMORY] = REASON_MEMORY};
	unsigned class = route_at(thread, tag)->class;
	struct pool *pool = &thread->heap.shared[class];
	uint32_t count = pool_take(&thread->heap, pool, tag, want, most, list);
	if (!count && (pool_reclaim(&thread->heap, class) || heap_claim(&thread->heap, class, translate)))
		count = pool_take(&thread->heap, pool, tag, want, most, list);
	if (count)
		return count;
	enum range_refusal refusal = pool_grow(&thread->heap, pool, pool_growth(pool));
	if (refusal == RANGE_OK)
		return pool_take(&thread->heap, pool, tag, want, most, list);
	*why = reasons[refusal];
	return 0;
}

/* How many of `want` blocks the site's cap leaves. Only asked where there is a cap, so it may look at every class. */
static uint32_t within_site_max(const struct thread *thread, uint16_t tag, uint32_t want)
{
	uintptr_t pc = key_pc(thread->heap.caches[tag].key);
	uint64_t size = class_table[route_at(thread, tag)->class].size, held = 0;
	for (unsigned class = 0; class < CLASSES; class ++) {
		uint16_t sibling = *probe(thread, route_key(pc, class));
		int64_t supplied = sibling ? thread->heap.caches[sibling].supplied : 0;
		held += supplied > 0 ? (uint64_t)supplied * class_table[class].size : 0;
	}
	uint64_t left = held < route_limits.site_max ? (route_limits.site_max - held) / size : 0;
	return left < want ? (uint32_t)left : want;
}

bool route_may_take(const struct thread *thread, uint16_t tag)
{
	return !route_limits.site_max || within_site_max(thread, tag, 1);
}

bool route_resize(struct thread *thread, struct slab *slab, unsigned class, size_t size)
{
	uint16_t before = slab->tag;
	uint16_t after = find_or_add(thread, key_pc(thread->heap.caches[before].key), class);
	if (after && route_at(thread, before)->is_twin)
		after = route_twin(thread, after);
	if (!after || !route_may_take(thread, after))
		return false;
	struct cache *from = &thread->heap.caches[before], *to = &thread->heap.caches[after];
	/* Off the one class before the slab is another's, and on that one's books after: a fork may catch us anywhere between,
	 * and its child must find no block without a slab of its class. */
	__atomic_store_n(&from->supplied, from->supplied - 1, __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_release);
	if (!pool_resize(&thread->heap, slab, class, after)) {
		from->supplied++;
		return false;
	}
	to->allocs++;
	to->space += size;
	__atomic_store_n(&to->supplied, to->supplied + 1, __ATOMIC_RELEASE);
	struct route *route = route_at(thread, after);
	size_t was = class_table[route_at(thread, before)->class].size, is = class_table[class].size;
	route->reallocs++;
	route->realloc_unmoved++;
	*(is > was ? &route->realloc_grown : &route->realloc_shrunk) += is > was ? is - was : was - is;
	site_peak_note(route_at(thread, before), from, 0);
	site_peak_note(route, to, 0);
	thread_note_peak(thread);
	return true;
}

static bool refill(struct thread *thread, uint16_t tag, enum ledger_reason *why)
{
	void *list = NULL;
	enum route_kind kind = KIND_OWNED;
	ready_grow_batch(thread, tag);
	uint32_t want = thread->heap.caches[tag].batch;
	if (route_limits.site_max && !(want = within_site_max(thread, tag, want))) {
		route_at(thread, tag)->capped_until = thread->refills + RETRY_REFILLS;
		*why = REASON_CAPACITY;
		return false;
	}
	uint32_t most = route_limits.site_max ? want : ready_batch_max(thread, tag);
	uint32_t count = take_owned(thread, tag, want, most, &list);
	if (!count) {
		kind = KIND_SHARED;
		count = take_passed(thread, tag, want, &list);
	}
	if (!count)
		count = take_left(thread, tag, want, most, &list);
	if (!count && (count = take_grown(thread, tag, want, most, &list)))
		kind = KIND_OWNED;
	if (!count)
		count = take_shared(thread, tag, want, most, &list, why);
	struct cache *cache = &thread->heap.caches[tag]; /* only now: heap_claim may have added tags and so moved it */
	set_kind(thread, tag, kind);
	cache->free = list;
	cache_supply(cache, count);
	ready_refilled(thread, tag, count);
	site_peak_note(route_at(thread, tag), cache, count != 0);
	thread_note_peak(thread);
	return count != 0;
}

#ifdef SLUICE_AUDIT
enum { AUDIT_REFILLS = 61 }; /* prime, so that it meets every phase of a program */

/* The audit variant walks the thread's whole heap now and then, and stops at the first broken rule. */
static void audit(const struct thread *thread)
{
	const char *wrong = thread->refills % AUDIT_REFILLS == 0 ? walk_own_heap(&thread->heap) : NULL;
	if (wrong)
		process_die(wrong, (uintptr_t)&thread->heap);
}
#else
static void audit(const struct thread *thread)
{
	(void)thread;
}
#endif

void *route_refill(struct thread *thread, uintptr_t pc, unsigned class, size_t size, enum ledger_reason *why)
{
	*why = REASON_MEMORY;
	heap_drain(&thread->heap);
	audit(thread);
	if (++thread->refills % AGE_REFILLS == 0)
		age(thread);
	ready_decay(thread, class);
	lifetime_look(thread);
	uint16_t tag = find_or_add(thread, pc, class);
	if (!tag)
		return NULL;
	sample_event(thread, tag, SAMPLE_REFILL);
	if (lifetime_is_due(thread, tag)) {
		void *block = lifetime_watch(thread, tag, size);
		if (block)
			return block;
	}
	if (route_at(thread, tag)->capped_until > thread->refills) {
		*why = REASON_CAPACITY;
		return NULL;
	}
	if (!thread->heap.caches[tag].free && !refill(thread, tag, why))
		return NULL;
	if (route_at(thread, tag)->meets)
		route_arm(thread, tag);
	return cache_take(&thread->heap.caches[tag], size);
}
