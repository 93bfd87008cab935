/* heap.c: who acts for a heap. See heap.h; how frees from elsewhere get home is in remote.c. */
#include "heap.h"

#include "lock.h"
#include "meta.h"
#include "node.h"
#include "pool.h"

#include <string.h>

enum { HEAP_IDLE_AGES = 2, CLAIM_TRIES = 4, LOOKS = 32 /* at heaps of other nodes */, TAGS_FIRST = 32 };

static struct heap *_Atomic all_heaps;
static struct lock lock; /* the abandoned list */
static struct heap *abandoned;
static struct lock caches_lock; /* a heap's caches move, or another thread renames one */
static _Atomic uint32_t abandoned_count;
static _Atomic uint32_t heap_count;

bool heap_init(struct heap *heap)
{
	heap->caches = meta_take(TAGS_FIRST * sizeof(struct cache));
	if (!heap->caches)
		return false;
	heap->tags_room = TAGS_FIRST;
	heap_pools_init(heap);
	heap->id = atomic_fetch_add_explicit(&heap_count, 1, memory_order_relaxed);
	atomic_store_explicit(&heap->state, HEAP_LIVE, memory_order_relaxed);
	struct heap *head = atomic_load_explicit(&all_heaps, memory_order_relaxed);
	do
		heap->next = head;
	while (!atomic_compare_exchange_weak_explicit(&all_heaps, &head, heap, memory_order_release, memory_order_relaxed));
	return true;
}

struct heap *heap_first(void)
{
	return atomic_load_explicit(&all_heaps, memory_order_acquire);
}

static bool state_change(struct heap *heap, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(
		&heap->state, &from, to); /* seq_cst: partner of those who push and then look at the state (remote.c) */
}

bool heap_borrow(struct heap *heap)
{
	return state_change(heap, HEAP_ABANDONED, HEAP_BORROWED);
}

void heap_return(struct heap *heap)
{
	/* What was pushed while we had it, by somebody who saw BORROWED and left it to us. */
	do {
		heap_drain(heap);
		atomic_store(&heap->state, HEAP_ABANDONED);
	} while ((atomic_load(&heap->pending) || atomic_load(&heap->inbox)) && heap_borrow(heap));
}

/* The link to the heap that the caller had best adopt: the newest left on its node, as far as it looks, else the newest. */
static struct heap **nearest_locked(void)
{
	unsigned here = node_here();
	struct heap **link = &abandoned;
	for (int i = 0; *link && i < LOOKS; i++, link = &(*link)->abandoned_next)
		if ((*link)->node == here)
			return link;
	return &abandoned;
}

struct heap *heap_adopt(void)
{
	if (atomic_load_explicit(&abandoned_count, memory_order_relaxed) == 0)
		return NULL;
	lock_take(&lock);
	struct heap **link = nearest_locked(), *heap = *link;
	if (heap) {
		*link = heap->abandoned_next;
		atomic_fetch_sub_explicit(&abandoned_count, 1, memory_order_relaxed);
	}
	lock_drop(&lock);
	while (heap && !state_change(heap, HEAP_ABANDONED, HEAP_LIVE))
		; /* borrowed for a moment */
	return heap;
}

void heap_shed(struct heap *heap)
{
	for (uint32_t i = 0; i < CLASSES + heap->owned_slots; i++)
		if (pool_at(heap, (uint16_t)i)->open)
			pool_shed(heap, pool_at(heap, (uint16_t)i));
}

void heap_abandon(struct heap *heap)
{
	heap_send(heap);
	atomic_store(&heap->state, HEAP_BORROWED); /* nobody's thread from here on: no empty slab stays */
	heap_drain(heap);
	heap_shed(heap);
	heap_return(heap);
	heap->node = node_here();
	lock_take(&lock);
	heap->abandoned_next = abandoned;
	abandoned = heap;
	atomic_fetch_add_explicit(&abandoned_count, 1, memory_order_relaxed);
	lock_drop(&lock);
}

static bool caches_grow(struct heap *heap)
{
	struct cache *old = heap->caches, *fresh = meta_take(2 * (size_t)heap->tags_room * sizeof(struct cache));
	if (!fresh)
		return false;
	lock_take(&caches_lock);
	memcpy(fresh, old, heap->tags_room * sizeof(struct cache));
	heap->caches = fresh;
	heap->tags_room *= 2;
	lock_drop(&caches_lock);
	meta_give(old, heap->tags_room / 2 * sizeof(struct cache));
	return true;
}

void cache_rename(struct heap *heap, uint16_t tag, uint64_t key)
{
	lock_take(&caches_lock);
	heap->caches[tag].key = key;
	lock_drop(&caches_lock);
}

uint16_t heap_tag_new(struct heap *heap, uint64_t key)
{
	uint32_t tag = heap->tags + 1;
	if (tag >= HEAP_TAGS_MAX || (tag == heap->tags_room && !caches_grow(heap)))
		return 0;
	heap->caches[tag] = (struct cache){.key = key};
	heap->tags = tag;
	return (uint16_t)tag;
}

void cache_shrink(struct heap *heap, struct cache *cache, uint64_t keep)
{
	uint64_t cached = cache_cached(cache);
	if (cached <= keep)
		return;
	cache_supply(cache, (int64_t)keep - (int64_t)cached); /* first: their slab may go */
	cache->free = pool_give(heap, cache->free, (uint32_t)(cached - keep));
}

uint16_t slab_whose(const struct slab *slab, const void *block, struct heap **heap)
{
	for (;;) { /* a sequence lock; its writer is claim_from */
		uint16_t moves = atomic_load_explicit(&slab->moves, memory_order_acquire);
		*heap = slab_heap(slab);
		uint16_t tag = slab_tag(slab, block);
		atomic_thread_fence(memory_order_acquire);
		if (!(moves & 1) && atomic_load_explicit(&slab->moves, memory_order_relaxed) == moves)
			return tag;
	}
}

static bool is_mostly_empty(const struct pool *pool)
{
	uint64_t used = 0, slots = (uint64_t)pool->slabs * class_table[pool->class].capacity;
	for (uint32_t i = pool->partly; i != SLAB_NIL; i = range.slabs[i].next)
		used += slab_used(&range.slabs[i]);
	for (uint32_t i = pool->full; i != SLAB_NIL; i = range.slabs[i].next)
		used += slab_used(&range.slabs[i]);
	return used < slots / 2 || slots == 0;
}

void heap_age(struct heap *heap, void (*lost)(struct heap *, uint16_t tag))
{
	for (uint32_t i = 0; i < CLASSES + heap->owned_slots; i++) {
		struct pool *pool = pool_at(heap, (uint16_t)i);
		if (!pool->open || (pool->shared && !pool->slabs))
			continue;
		pool->idle = pool->taken ? 0 : (uint8_t)(pool->idle + (pool->idle < UINT8_MAX));
		pool->taken = 0;
		pool->growth /= 2;
		if (pool->idle && !pool->shared)
			heap->idle_classes[pool->class / 64] |= UINT64_C(1) << pool->class % 64;
		if (pool->idle < HEAP_IDLE_AGES)
			continue;
		pool_shed(heap, pool);
		uint16_t tag = pool->tag;
		/* Rarer and rarer: a pool of many slabs that stays as it is need not be walked at every age. */
		bool look = pool->slabs == 0 || (pool->idle & (pool->idle - 1)) == 0;
		if (!pool->shared && look && is_mostly_empty(pool)) {
			pool_share(heap, pool);
			lost(heap, tag);
		}
	}
}

static void retag(struct heap *heap, struct heap *from, struct slab *slab,
                  uint16_t (*translate)(struct heap *, struct heap *, uint16_t))
{
	uint16_t old = 0, fresh = 0;
	if (!slab_has_tags(slab)) {
		if (slab->tag)
			__atomic_store_n(&slab->tag, translate(heap, from, slab->tag), __ATOMIC_RELAXED);
		return;
	}
	for (uint32_t i = 0; i < class_tags(slab->class); i++) {
		if (slab->tags[i] == 0)
			continue;
		if (slab->tags[i] != old) {
			old = slab->tags[i];
			fresh = translate(heap, from, old);
		}
		__atomic_store_n(&slab->tags[i], fresh, __ATOMIC_RELAXED);
	}
}

static bool claim_from(struct heap *heap, struct heap *from, unsigned class,
                       uint16_t (*translate)(struct heap *, struct heap *, uint16_t))
{
	heap_drain(from);
	struct pool *pool = &from->shared[class];
	if (pool->partly == SLAB_NIL)
		return false;
	struct slab *slab = &range.slabs[pool->partly];
	pool_detach(from, pool, slab);
	uint16_t moves = atomic_load_explicit(&slab->moves, memory_order_relaxed);
	atomic_store_explicit(&slab->moves, moves + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release); /* partner: slab_whose */
	retag(heap, from, slab, translate);
	pool_attach(heap, &heap->shared[class], slab);
	atomic_store_explicit(&slab->moves, moves + 2, memory_order_release);
	return true;
}

/* From heaps that were left on the node, or on any other. */
static bool claim_locked(struct heap *heap, unsigned class, unsigned node, bool other,
                         uint16_t (*translate)(struct heap *, struct heap *, uint16_t))
{
	struct heap *from = abandoned;
	for (int looks = LOOKS, tries = CLAIM_TRIES; from && looks && tries; looks--, from = from->abandoned_next) {
		if ((from->node == node) == other)
			continue;
		tries--;
		if (heap_borrow(from)) {
			bool claimed = claim_from(heap, from, class, translate);
			heap_return(from);
			if (claimed)
				return true;
		}
	}
	return false;
}

bool heap_claim(struct heap *heap, unsigned class, uint16_t (*translate)(struct heap *, struct heap *, uint16_t))
{
	/* A slab of a single block is full, or it went when it became empty. */
	if (class_is_single(class) || atomic_load_explicit(&abandoned_count, memory_order_relaxed) == 0)
		return false;
	unsigned here = node_here();
	lock_take(&lock); /* keeps the list, and so the heaps on it abandoned or borrowed */
	bool claimed =
		claim_locked(heap, class, here, false, translate) || claim_locked(heap, class, here, true, translate);
	lock_drop(&lock);
	return claimed;
}

void heap_fork_prepare(void)
{
	lock_take(&lock);
}

void heap_fork_parent(void)
{
	lock_drop(&lock);
}

void caches_fork_prepare(void)
{
	lock_take(&caches_lock);
}

void caches_fork_parent(void)
{
	lock_drop(&caches_lock);
}

void heap_fork_child(struct heap *mine)
{
	lock_reset(&lock);
	lock_reset(&caches_lock);
	for (struct heap *heap = heap_first(); heap; heap = heap->next) {
		uint32_t now = atomic_load_explicit(&heap->state, memory_order_relaxed);
		if (heap != mine && (now == HEAP_LIVE || now == HEAP_BORROWED))
			atomic_store_explicit(&heap->state, HEAP_LOST, memory_order_relaxed);
	}
	/* Adoption spins on BORROWED and must not meet a lost heap. */
	struct heap **link = &abandoned;
	uint32_t count = 0;
	while (*link) {
		if (atomic_load_explicit(&(*link)->state, memory_order_relaxed) == HEAP_LOST) {
			*link = (*link)->abandoned_next;
		} else {
			link = &(*link)->abandoned_next;
			count++;
		}
	}
	atomic_store_explicit(&abandoned_count, count, memory_order_relaxed);
	remote_fork_child();
}
