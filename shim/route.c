/* route.c: finding, refilling and ageing routes. Off the fast path; everything here belongs to the calling thread.
 *
 * A refill is where the books are kept: the slot's counts go to the route, other threads' frees are brought home, the
 * pool is chosen, and a batch is handed over. When the thread has as many routes as it may have, further ones share one
 * route per class, counted on site "other".
 */
#include "route.h"

#include "pools/meta.h"
#include "pools/pool.h"
#include "budget.h"
#include "peak.h"
#include "site.h"

enum {
	SLOTS_FIRST = 64,
	BATCH_MAX = 64,
	BATCH_BYTES_MAX = 4096,
	EARN_SLABS = 4,     /* slabs' worth of requests that earn a pool without a slab of live bytes */
	RETRY_REFILLS = 64, /* after a refusal */
	AGE_REFILLS = 4096
};

struct route_limits route_limits = {.own = true, .owned_max = 256};

static uint64_t slot_count(const struct thread *thread)
{
	return thread->front.slots ? thread->front.mask / sizeof(struct slot) + 1 : 0;
}

static struct slot *probe(const struct thread *thread, uint64_t key)
{
	struct slot *slots = thread->front.slots;
	uint64_t count = slot_count(thread);
	for (uint64_t i = (uint64_t)(slot_home(&thread->front, key) - slots);; i++) {
		struct slot *slot = &slots[i & (count - 1)];
		if (slot->key == key || slot->key == 0)
			return slot;
	}
}

static bool grow_slots(struct thread *thread)
{
	struct slot *old = thread->front.slots;
	uint64_t count = slot_count(thread);
	uint64_t fresh_count = count ? 2 * count : SLOTS_FIRST;
	struct slot *fresh = meta_take(fresh_count * sizeof(struct slot));
	if (!fresh)
		return false;
	thread->front = (struct front){.slots = fresh, .mask = (fresh_count - 1) * sizeof(struct slot)};
	for (uint64_t i = 0; i < count; i++)
		if (old[i].key)
			*probe(thread, old[i].key) = old[i];
	if (count)
		meta_give(old, count * sizeof(struct slot));
	return true;
}

/* A new route's slot; NULL: no memory or no tag left. */
static struct slot *add(struct thread *thread, uintptr_t pc, unsigned class, uint64_t key)
{
	uint64_t count = slot_count(thread);
	if (2 * (uint64_t)thread->slots_used >= count && !grow_slots(thread))
		return NULL;
	uint16_t tag = heap_tag_new(&thread->heap);
	if (!tag)
		return NULL;
	struct route **chunk = &thread->routes[tag / ROUTES_CHUNK];
	if (!*chunk && !(*chunk = meta_take(ROUTES_CHUNK * sizeof(struct route))))
		return NULL;
	struct route *route = route_at(thread, tag);
	route->pool = POOL_NONE;
	route->class = (uint8_t)class;
	route->kind = KIND_SHARED;
	route->site = site_of(pc);
	struct slot *slot = probe(thread, key);
	*slot = (struct slot){.key = key, .tag = tag};
	thread->slots_used++;
	return slot;
}

static struct slot *find_or_add(struct thread *thread, uintptr_t pc, unsigned class)
{
	uint64_t key = route_key(pc, class);
	if (thread->front.slots != NULL) {
		struct slot *slot = probe(thread, key);
		if (slot->key == key)
			return slot;
	}
	/* The last tags are kept for "other", whose pc is 1: no code is there. */
	if (thread->heap.tags + CLASSES + 1 >= HEAP_TAGS_MAX && pc > 1) {
		site_drop();
		return find_or_add(thread, 1, class);
	}
	return add(thread, pc, class, key);
}

struct route *route_of(struct thread *thread, uintptr_t pc, unsigned class)
{
	struct slot *slot = find_or_add(thread, pc, class);
	return slot ? route_at(thread, slot->tag) : NULL;
}

static void ready_count(struct thread *thread, const struct route *route, int sign)
{
	uint64_t bytes = (uint64_t)route->batch * class_table[route->class].size;
	thread->ready_bytes += sign > 0 ? bytes : -bytes;
	if (route->kind == KIND_OWNED)
		thread->ready_owned_bytes += sign > 0 ? bytes : -bytes;
}

static void fold(struct slot *slot, struct route *route)
{
	route->allocs[route->kind] += slot->allocs;
	route->space[route->kind] += slot->space;
	slot->allocs = 0;
	slot->space = 0;
	route->seen = 0;
}

static void give_ready(struct thread *thread, struct slot *slot)
{
	struct route *route = route_at(thread, slot->tag);
	fold(slot, route);
	ready_count(thread, route, -1);
	route->batch = 0;
	void *list = slot->free;
	slot->free = NULL;
	pool_untake(&thread->heap, list);
}

void routes_settle(struct thread *thread)
{
	uint64_t count = slot_count(thread);
	for (uint64_t i = 0; i < count; i++)
		if (thread->front.slots[i].key)
			give_ready(thread, &thread->front.slots[i]);
}

static void pool_lost(struct heap *heap, uint16_t tag, unsigned class)
{
	(void)class;
	struct thread *thread = thread_of(heap);
	struct route *route = route_at(thread, tag);
	if (route->kind == KIND_OWNED) { /* the batch in its slot comes from what are now shared slabs */
		for (uint64_t i = 0; i < slot_count(thread); i++)
			if (thread->front.slots[i].key && thread->front.slots[i].tag == tag)
				fold(&thread->front.slots[i], route);
		ready_count(thread, route, -1);
		route->kind = KIND_SHARED;
		ready_count(thread, route, 1);
	}
	route->converted = route->allocs[KIND_OWNED] - heap_tally(heap, tag)->frees_owned;
	route->pool = POOL_NONE;
	route->retry_at = thread->refills + RETRY_REFILLS;
}

/* Lists nobody has taken from since the last time go back, and so do pools that have gone cold. */
static void age(struct thread *thread)
{
	for (uint64_t i = 0; i < slot_count(thread); i++) {
		struct slot *slot = &thread->front.slots[i];
		if (!slot->key || !slot->free)
			continue;
		struct route *route = route_at(thread, slot->tag);
		if (slot->allocs == route->seen)
			give_ready(thread, slot);
		else
			route->seen = slot->allocs;
	}
	heap_age(&thread->heap, pool_lost);
}

static bool has_earned(const struct thread *thread, const struct route *route, uint16_t tag)
{
	const struct class *class = &class_table[route->class];
	const struct tally *tally = heap_tally(&thread->heap, tag);
	uint64_t allocs = route->allocs[KIND_SHARED] + route->allocs[KIND_OWNED];
	uint64_t live = allocs - tally->frees_shared - tally->frees_owned;
	uint64_t slab_bytes = (uint64_t)class->granules << GRANULE_SHIFT;
	return live * class->size >= slab_bytes || allocs * class->size >= EARN_SLABS * slab_bytes;
}

/* One more slab for an owned pool, if caps and budget allow. */
static bool grow_owned(struct thread *thread, struct pool *pool)
{
	size_t bytes = (size_t)class_table[pool->class].granules << GRANULE_SHIFT;
	uint8_t charged;
	if (route_limits.site_max && ((uint64_t)pool->slabs + 1) * bytes > route_limits.site_max)
		return false;
	if (!budget_allows(thread, bytes, &charged))
		return false;
	struct slab *newest = NULL;
	if (pool_grow(&thread->heap, pool) == RANGE_OK)
		newest = &range.slabs[pool->partly];
	struct slab unused = {.charged = charged};
	if (newest)
		newest->charged = charged;
	else if (charged)
		slab_discharge(&unused);
	return newest;
}

static uint32_t take_owned(struct thread *thread, struct route *route, uint16_t tag, void **list)
{
	if (route->pool == POOL_NONE) {
		if (!route_limits.own || (int32_t)(thread->refills - route->retry_at) < 0 ||
		    thread->heap.owned_pools >= route_limits.owned_max || !has_earned(thread, route, tag))
			return 0;
		struct pool *opened = pool_open(&thread->heap, tag, route->class);
		if (!opened)
			return 0;
		route->pool = opened->index;
	}
	struct pool *pool = pool_at(&thread->heap, route->pool);
	uint32_t count = pool_take(&thread->heap, pool, tag, UINT32_MAX, list);
	if (!count && (int32_t)(thread->refills - route->retry_at) >= 0) {
		if (grow_owned(thread, pool))
			count = pool_take(&thread->heap, pool, tag, UINT32_MAX, list);
		else
			route->retry_at = thread->refills + RETRY_REFILLS;
	}
	return count;
}

/* The tag on `heap` for blocks that had `tag` on `from`: same site, same class. */
static uint16_t translate(struct heap *heap, struct heap *from, uint16_t tag)
{
	const struct route *old = route_at(thread_of(from), tag);
	struct thread *thread = thread_of(heap);
	uintptr_t pc = old->site == SITE_OTHER ? 1 : site_pc(old->site);
	struct slot *slot = find_or_add(thread, pc, old->class);
	return slot ? (uint16_t)slot->tag : 0;
}

static uint32_t take_shared(struct thread *thread, struct route *route, uint16_t tag, void **list,
                            enum ledger_reason *why)
{
	size_t size = class_table[route->class].size;
	uint32_t most = BATCH_BYTES_MAX / size ? (uint32_t)(BATCH_BYTES_MAX / size) : 1;
	if (most > BATCH_MAX)
		most = BATCH_MAX;
	uint32_t want = route->batch ? 2u * route->batch : 1;
	want = budget_batch(thread, want < most ? want : most, size);
	struct pool *pool = &thread->heap.shared[route->class];
	uint32_t count = pool_take(&thread->heap, pool, tag, want, list);
	if (!count && heap_claim(&thread->heap, route->class, translate))
		count = pool_take(&thread->heap, pool, tag, want, list);
	if (count)
		return count;
	switch (pool_grow(&thread->heap, pool)) {
	case RANGE_OK:
		return pool_take(&thread->heap, pool, tag, want, list);
	case RANGE_CAPACITY:
		*why = REASON_CAPACITY;
		return 0;
	case RANGE_FULL:
		*why = REASON_RANGE;
		return 0;
	default:
		*why = REASON_MEMORY;
		return 0;
	}
}

static bool refill(struct thread *thread, struct slot *slot, struct route *route, enum ledger_reason *why)
{
	uint16_t tag = (uint16_t)slot->tag;
	uint64_t key = slot->key;
	void *list = NULL;
	fold(slot, route);
	ready_count(thread, route, -1);
	enum route_kind kind = KIND_OWNED;
	uint32_t batch = route->batch;
	route->batch = 0;
	uint32_t count = take_owned(thread, route, tag, &list);
	if (!count) {
		kind = KIND_SHARED;
		route->batch = (uint16_t)batch;
		count = take_shared(thread, route, tag, &list, why);
	}
	route->kind = (uint8_t)kind;
	route->batch = (uint16_t)count;
	ready_count(thread, route, 1);
	probe(thread, key)->free = list; /* heap_claim may have added routes and so moved the table */
	return count != 0;
}

void *route_refill(struct thread *thread, uintptr_t pc, unsigned class, size_t size, enum ledger_reason *why)
{
	*why = REASON_MEMORY;
	heap_drain(&thread->heap);
	if (++thread->refills % AGE_REFILLS == 0)
		age(thread);
	struct slot *slot = find_or_add(thread, pc, class);
	if (!slot)
		return NULL;
	uint64_t key = slot->key; /* not always that of (pc, class): it may be "other" */
	if (!slot->free && !refill(thread, slot, route_at(thread, slot->tag), why))
		return NULL;
	int64_t live = (int64_t)(thread->heap.live_bytes - thread->ready_bytes);
	if (live - thread->live_noted >= PEAK_STEP_BYTES || thread->live_noted - live >= PEAK_STEP_BYTES) {
		peak_note(live - thread->live_noted);
		thread->live_noted = live;
	}
	slot = probe(thread, key);
	void *block = slot->free;
	slot->free = *(void **)block;
	slot->space += size;
	slot->allocs++;
	return block;
}
