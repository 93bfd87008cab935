/* pool.c: slabs between three lists.
 *
 *            pool_grow                      no block left
 *   range ─────────────► CURRENT ─────────────────────────► FULL
 *     ▲                     ▲                                 │
 *     │ last block back,    │ the current one is full         │ first block back
 *     │ and enough empties  │                                 │
 *     └──────────────── PARTLY ◄──────────────────────────────┘
 *
 * A slab that was full and gets its first block back goes to the end of the partly list: by the time it comes to the
 * head it has collected more, so a refill finds several blocks in one place instead of one.
 *
 * A slab of a single block is full or empty, never current. Empty ones ("spare") wait in the partly list within an
 * allowance of bytes for each heap, the last one first, so that buffers that come and go need neither the range nor the
 * kernel; they go before the heap takes more memory that they could have been.
 */
#include "pool.h"

#include "huge.h"
#include "meta.h"

#include <string.h>

enum {
	CARVE_BYTES = 4096, /* blocks are linked a page ahead of their use, so memory is touched as it is needed */
	EMPTY_FRACTION = 8,
	SPARE_BYTES = 1 << 20, /* and an eighth of the heap's used bytes */
	SPARE_FRACTION = 8,
	GROWTH_FRACTION = 16, /* so what is not carved yet is at most so much of the pool's slabs */
	GROWTH_GRANULES = 64  /* 1 MiB at a time */
};

static void discharge_nobody(struct slab *slab)
{
	slab->charged = 0;
}

void (*slab_discharge)(struct slab *slab) = discharge_nobody;

struct pool *pool_at(const struct heap *heap, uint16_t index)
{
	if (index < CLASSES)
		return (struct pool *)(uintptr_t)&heap->shared[index];
	index -= CLASSES;
	return &heap->owned[index / HEAP_OWNED_CHUNK][index % HEAP_OWNED_CHUNK];
}

bool slab_is_tags_own(const struct heap *owner, const struct slab *slab)
{
	uint16_t index = __atomic_load_n(&slab->pool, __ATOMIC_RELAXED); /* once: it may be another's at any moment */
	if (!owner || index < CLASSES)
		return false;
	const struct pool *chunk = __atomic_load_n(&owner->owned[(index - CLASSES) / HEAP_OWNED_CHUNK], __ATOMIC_RELAXED);
	return chunk && !chunk[(index - CLASSES) % HEAP_OWNED_CHUNK].shared;
}

static void list_push(uint32_t *head, struct slab *slab)
{
	slab->prev = SLAB_NIL;
	slab->next = *head;
	if (*head != SLAB_NIL)
		range.slabs[*head].prev = slab_index(slab);
	*head = slab_index(slab);
}

static void list_remove(uint32_t *head, struct slab *slab)
{
	if (slab->prev != SLAB_NIL)
		range.slabs[slab->prev].next = slab->next;
	else
		*head = slab->next;
	if (slab->next != SLAB_NIL)
		range.slabs[slab->next].prev = slab->prev;
}

static size_t slab_bytes(const struct slab *slab)
{
	return (size_t)slab->granules << GRANULE_SHIFT;
}

static void partly_append(struct pool *pool, struct slab *slab)
{
	slab->next = SLAB_NIL;
	slab->prev = pool->partly_last;
	if (slab->prev != SLAB_NIL)
		range.slabs[slab->prev].next = slab_index(slab);
	else
		pool->partly = slab_index(slab);
	pool->partly_last = slab_index(slab);
}

static void partly_push(struct pool *pool, struct slab *slab)
{
	if (pool->partly == SLAB_NIL)
		pool->partly_last = slab_index(slab);
	list_push(&pool->partly, slab);
}

/* An empty slab comes to the partly list (1) or leaves it (-1). */
static void count_empty(struct heap *heap, struct pool *pool, const struct slab *slab, int change)
{
	pool->empty += (uint32_t)change;
	if (class_is_single(slab->class))
		heap->spare_bytes += (uint64_t)((int64_t)slab_bytes(slab) * change);
}

static void partly_remove(struct heap *heap, struct pool *pool, struct slab *slab)
{
	if (pool->partly_last == slab_index(slab))
		pool->partly_last = slab->prev;
	list_remove(&pool->partly, slab);
	if (slab_used(slab) == 0)
		count_empty(heap, pool, slab, -1);
}

static void unlist(struct heap *heap, struct pool *pool, struct slab *slab)
{
	switch (slab_state(slab)) {
	case SLAB_CURRENT:
		pool->current = SLAB_NIL;
		break;
	case SLAB_PARTLY:
		partly_remove(heap, pool, slab);
		break;
	default:
		list_remove(&pool->full, slab);
	}
}

static void enlist(struct heap *heap, struct pool *pool, struct slab *slab)
{
	if (slab_used(slab) == class_table[slab->class].capacity) {
		slab_state_set(slab, SLAB_FULL);
		list_push(&pool->full, slab);
	} else {
		slab_state_set(slab, SLAB_PARTLY);
		if (class_is_single(slab->class))
			partly_push(pool, slab);
		else
			partly_append(pool, slab);
		if (slab_used(slab) == 0)
			count_empty(heap, pool, slab, 1);
	}
}

static size_t used_bytes(const struct slab *slab)
{
	return (size_t)slab_used(slab) * class_table[slab->class].size;
}

void pool_detach(struct heap *heap, struct pool *pool, struct slab *slab)
{
	unlist(heap, pool, slab);
	pool->slabs--;
	heap->used_bytes -= used_bytes(slab);
	if (slab->budgeted) {
		heap->owned_bytes -= slab_bytes(slab);
		heap->owned_used_bytes -= used_bytes(slab);
	}
}

void pool_attach(struct heap *heap, struct pool *pool, struct slab *slab)
{
	slab->pool = pool->index;
	if (!pool->shared)
		slab->tag = pool->tag;
	pool->slabs++;
	heap->used_bytes += used_bytes(slab);
	slab->budgeted |= !pool->shared;
	if (slab->budgeted) {
		heap->owned_bytes += slab_bytes(slab);
		heap->owned_used_bytes += used_bytes(slab);
	}
	atomic_store_explicit(&slab->owner, (uintptr_t)heap, memory_order_release);
	enlist(heap, pool, slab);
}

/* Tags for the blocks of a slab that was of one tag. */
static bool tags_make(struct slab *slab)
{
	uint32_t count = class_tags(slab->class);
	uint16_t *tags = meta_take(count * sizeof(uint16_t));
	if (!tags)
		return false;
	for (uint32_t i = 0; i < count; i++)
		tags[i] = slab->tag;
	__atomic_store_n(&slab->tag_shift, class_table[slab->class].tag_shift, __ATOMIC_RELAXED);
	__atomic_store_n(&slab->tags, tags, __ATOMIC_RELEASE); /* partner: slab_tag */
	return true;
}

static void tags_drop(struct slab *slab)
{
	if (!slab_has_tags(slab))
		return;
	meta_give(slab->tags, class_tags(slab->class) * sizeof(uint16_t));
	slab->tags = &slab->tag;
	slab->tag_shift = SLAB_ONE_TAG;
}

/* Makes a shared slab ready to have blocks of the tag: it is of one tag until a second one comes. false: no memory. */
static bool admit(struct slab *slab, uint16_t tag)
{
	if (slab_used(slab) == 0) {
		tags_drop(slab);
		slab->tag = tag;
	}
	return slab_has_tags(slab) || slab->tag == tag || tags_make(slab);
}

/* Bytes of a slab that are behind the end of its only block, and so need no memory. */
static int64_t unfilled(unsigned class)
{
	const struct class *c = &class_table[class];
	return class_is_single(class) ? ((int64_t)c->granules << GRANULE_SHIFT) - (int64_t)c->size : 0;
}

static void retire(struct heap *heap, struct pool *pool, struct slab *slab)
{
	pool_detach(heap, pool, slab);
	if (slab->charged)
		slab_discharge(slab);
	tags_drop(slab);
	huge_unfilled(-unfilled(slab->class));
	range_give(slab);
}

/* An empty slab may stay while at most an eighth of its pool's slabs are, or as a spare one within their allowance, and
 * a thread is there to use it. */
static bool may_stay_empty(const struct heap *heap, const struct pool *pool)
{
	if (atomic_load_explicit(&heap->state, memory_order_relaxed) != HEAP_LIVE)
		return false;
	if (class_is_single(pool->class))
		return heap->spare_bytes <= SPARE_BYTES + heap->used_bytes / SPARE_FRACTION;
	return pool->empty <= pool->slabs / EMPTY_FRACTION;
}

/* `count` blocks, linked from `first` to `last`, are back on their slab's list. */
static void blocks_back(struct heap *heap, struct slab *slab, void *first, void *last, uint32_t count)
{
	size_t bytes = (size_t)count * class_table[slab->class].size;
	*(void **)last = slab->free;
	slab->free = first;
	slab_used_add(slab, -(int32_t)count);
	heap->used_bytes -= bytes;
	if (slab->budgeted)
		heap->owned_used_bytes -= bytes;
	if (slab_state(slab) == SLAB_CURRENT || (slab_used(slab) && slab_state(slab) == SLAB_PARTLY))
		return;
	struct pool *pool = pool_at(heap, slab->pool);
	if (slab_state(slab) == SLAB_FULL) {
		list_remove(&pool->full, slab);
		enlist(heap, pool, slab);
	} else {
		count_empty(heap, pool, slab, 1);
	}
	if (slab_used(slab) == 0 && !may_stay_empty(heap, pool))
		retire(heap, pool, slab);
}

void *pool_give(struct heap *heap, void *list, uint32_t count)
{
	while (count && list) {
		void *first = list, *last = first;
		struct slab *slab = slab_of(first);
		uint32_t run = 1;
		for (list = *(void **)last; run < count && list && slab_of(list) == slab; run++) {
			last = list;
			list = *(void **)last;
		}
		count -= run;
		blocks_back(heap, slab, first, last, run);
	}
	return list;
}

void pool_renew(struct heap *heap, struct slab *slab)
{
	struct pool *pool = pool_at(heap, slab->pool);
	unlist(heap, pool, slab);
	heap->used_bytes -= used_bytes(slab);
	if (slab->budgeted)
		heap->owned_used_bytes -= used_bytes(slab);
	slab_used_add(slab, -(int32_t)slab_used(slab));
	slab->free = NULL;
	slab->carved = 0;
	enlist(heap, pool, slab);
	if (!may_stay_empty(heap, pool))
		retire(heap, pool, slab);
}

/* All of the list if it is not more than `most`, which takes no look at the blocks; else `want`. */
static uint32_t take_free(struct slab *slab, uint32_t want, uint32_t most, void **list)
{
	uint32_t held = (uint32_t)slab->carved - slab_used(slab);
	*list = slab->free;
	if (held <= most) {
		slab->free = NULL;
		return held;
	}
	void *last = slab->free;
	for (uint32_t i = 1; i < want; i++)
		last = *(void **)last;
	slab->free = *(void **)last;
	*(void **)last = NULL;
	return want;
}

static void slab_share(struct heap *heap, struct pool *pool, struct slab *slab)
{
	pool_detach(heap, pool, slab);
	pool_attach(heap, &heap->shared[slab->class], slab);
}

/* Nobody has taken from the owned pool for a while: its free blocks may serve others. */
static bool is_idle(const struct pool *pool)
{
	return pool->idle && !pool->taken;
}

/* Makes the slab one whose blocks may change their tags, if that is not against its owner's interest. */
static bool make_passable(struct slab *slab)
{
	if (slab_is_owned(slab)) {
		struct heap *heap = slab_heap(slab);
		struct pool *pool = pool_at(heap, slab->pool);
		if (!is_idle(pool))
			return false;
		slab_share(heap, pool, slab);
	}
	return class_is_single(slab->class) || slab_has_tags(slab) || tags_make(slab);
}

uint32_t cache_pass(struct cache *from, uint16_t tag, uint32_t want, void **list)
{
	void **cut = &from->free;
	uint32_t count = 0;
	for (; count < want && *cut; count++, cut = *cut) {
		struct slab *slab = slab_of(*cut);
		if (!make_passable(slab))
			break;
		uint32_t index = slab_has_tags(slab) ? slab_tag_index(slab, *cut) : 0;
		__atomic_store_n(&slab->tags[index], tag, __ATOMIC_RELAXED); /* slab_whose may look */
	}
	if (!count)
		return 0;
	*list = from->free;
	from->free = *cut;
	*cut = NULL;
	cache_supply(from, -(int64_t)count);
	return count;
}

/* Blocks are carved in address order from a block that differs from slab to slab. If every slab began with its first,
 * the first blocks of all classes would lie 16 KiB apart and so fight for the same few lines of the processor's cache:
 * malloc and free in turn of 32 sizes cost 17 ns a pair then, and 8 this way. */
uint32_t slab_first_block(const struct slab *slab)
{
	return (uint32_t)((slab_index(slab) * 40503u & 0xffffu) * class_table[slab->class].capacity >> 16);
}

static uint32_t carve(struct slab *slab, uint32_t want, void **list)
{
	const struct class *class = &class_table[slab->class];
	uint32_t left = (uint32_t) class->capacity - slab->carved;
	uint32_t most = CARVE_BYTES / class->size ? CARVE_BYTES / class->size : 1;
	uint32_t count = want < left ? want : left;
	if (count > most)
		count = most;
	uint32_t at = slab_first_block(slab) + slab->carved;
	for (uint32_t i = 0; i < count; i++, at++) {
		at -= at >= class->capacity ? class->capacity : 0;
		*list = slab_start(slab) + (size_t)at * class->size;
		list = *list;
	}
	if (count)
		*list = NULL;
	slab->carved += (uint16_t)count;
	return count;
}

static void tag_blocks(struct slab *slab, uint16_t tag, void *list)
{
	for (void *block = list; block; block = *(void **)block)
		slab->tags[slab_tag_index(slab, block)] = tag;
}

/* The slab the pool takes blocks from, one with a free block; NULL: pool_grow first. */
static struct slab *current_slab(struct heap *heap, struct pool *pool)
{
	if (pool->current != SLAB_NIL) {
		struct slab *slab = &range.slabs[pool->current];
		if (slab_used(slab) < class_table[slab->class].capacity)
			return slab;
		unlist(heap, pool, slab);
		enlist(heap, pool, slab);
	}
	if (pool->partly == SLAB_NIL)
		return NULL;
	struct slab *slab = &range.slabs[pool->partly];
	partly_remove(heap, pool, slab);
	slab_state_set(slab, SLAB_CURRENT);
	pool->current = slab_index(slab);
	return slab;
}

static bool is_of_tag(const struct slab *slab, uint16_t tag)
{
	return slab_used(slab) == 0 || (!slab_has_tags(slab) && slab->tag == tag);
}

/* The slab a shared pool takes blocks of the tag from. Rather than to mix two tags in the current one, which costs memory
 * for their tags and each free a look at them, it takes the last of the partly free ones in its place if that fits. */
static struct slab *current_for(struct heap *heap, struct pool *pool, uint16_t tag)
{
	struct slab *slab = current_slab(heap, pool);
	if (!slab || slab_has_tags(slab) || is_of_tag(slab, tag) || pool->partly == SLAB_NIL ||
	    !is_of_tag(&range.slabs[pool->partly_last], tag))
		return slab;
	struct slab *other = &range.slabs[pool->partly_last];
	partly_remove(heap, pool, other);
	unlist(heap, pool, slab);
	enlist(heap, pool, slab);
	slab_state_set(other, SLAB_CURRENT);
	pool->current = slab_index(other);
	return other;
}

static uint32_t take_single(struct heap *heap, struct pool *pool, uint16_t tag, void **list)
{
	if (pool->partly == SLAB_NIL)
		return 0;
	struct slab *slab = &range.slabs[pool->partly];
	size_t size = class_table[slab->class].size;
	partly_remove(heap, pool, slab);
	slab->free = NULL;
	slab->carved = 1;
	slab->tag = tag;
	slab_used_add(slab, 1);
	heap->used_bytes += size;
	if (slab->budgeted)
		heap->owned_used_bytes += size;
	enlist(heap, pool, slab);
	*list = slab_start(slab);
	*(void **)*list = NULL;
	return 1;
}

uint32_t pool_take(struct heap *heap, struct pool *pool, uint16_t tag, uint32_t want, uint32_t most, void **list)
{
	pool->taken++;
	if (class_is_single(pool->class))
		return take_single(heap, pool, tag, list);
	struct slab *slab = pool->shared ? current_for(heap, pool, tag) : current_slab(heap, pool);
	if (!slab || (pool->shared && !admit(slab, tag)))
		return 0;
	bool has_tags = slab_has_tags(slab); /* then each block's must be written */
	uint32_t count = slab->free ? take_free(slab, want, has_tags ? want : most, list) : carve(slab, want, list);
	uint64_t bytes = (uint64_t)count * class_table[slab->class].size;
	slab_used_add(slab, (int32_t)count);
	heap->used_bytes += bytes;
	if (slab->budgeted)
		heap->owned_used_bytes += bytes;
	if (has_tags)
		tag_blocks(slab, tag, *list);
	return count;
}

void heap_shed_spares(struct heap *heap)
{
	for (unsigned c = CLASS_SINGLE; c < CLASSES && heap->spare_bytes; c++)
		if (heap->shared[c].empty)
			pool_shed(heap, &heap->shared[c]);
}

unsigned pool_growth(const struct pool *pool)
{
	unsigned rate = pool->growth / 2, share = pool->slabs / GROWTH_FRACTION;
	unsigned most = GROWTH_GRANULES / class_table[pool->class].granules;
	unsigned count = rate < share ? rate : share;
	count = count < most ? count : most;
	return count && !class_is_single(pool->class) ? count : 1;
}

enum range_refusal pool_grow(struct heap *heap, struct pool *pool, unsigned count)
{
	const struct class *class = &class_table[pool->class];
	enum range_refusal why;
	if (heap->spare_bytes >= (uint64_t) class->granules << GRANULE_SHIFT)
		heap_shed_spares(heap);
	struct slab *slab = range_take(class->granules, count, &why);
	if (!slab)
		return why;
	for (uint32_t next = slab_index(slab); next != SLAB_NIL;) {
		slab = &range.slabs[next];
		next = slab->next;
		slab->class = pool->class;
		huge_unfilled(unfilled(pool->class));
		slab->tags = &slab->tag;
		slab->tag_shift = SLAB_ONE_TAG;
		pool_attach(heap, pool, slab);
	}
	pool->growth += pool->growth < UINT8_MAX;
	return RANGE_OK;
}

bool pool_resize(struct heap *heap, struct slab *slab, unsigned class, uint16_t tag)
{
	unsigned granules = class_table[class].granules, before = slab->granules, was = slab->class;
	if (slab_is_owned(slab) || slab_state(slab) != SLAB_FULL)
		return false;
	pool_detach(heap, &heap->shared[was], slab);
	if (granules > before && !range_extend(slab, granules)) {
		pool_attach(heap, &heap->shared[was], slab);
		return false;
	}
	if (granules < before)
		range_cut(slab, granules);
	huge_unfilled(unfilled(class) - unfilled(was));
	slab->class = (uint8_t) class;
	slab->tag = tag;
	pool_attach(heap, &heap->shared[class], slab);
	return true;
}

static void pool_init(struct pool *pool, uint16_t index, unsigned class, bool shared)
{
	*pool = (struct pool){.current = SLAB_NIL,
	                      .partly = SLAB_NIL,
	                      .partly_last = SLAB_NIL,
	                      .full = SLAB_NIL,
	                      .index = index,
	                      .class = (uint8_t) class,
	                      .shared = shared,
	                      .open = true};
}

void heap_pools_init(struct heap *heap)
{
	for (unsigned c = 0; c < CLASSES; c++)
		pool_init(&heap->shared[c], (uint16_t)c, c, true);
}

struct pool *pool_open(struct heap *heap, uint16_t tag, unsigned class)
{
	uint32_t slot = 0;
	if (heap->owned_pools == heap->owned_slots) { /* none to reuse */
		slot = heap->owned_slots;
		if (slot == HEAP_OWNED_MAX)
			return NULL;
		struct pool **chunk = &heap->owned[slot / HEAP_OWNED_CHUNK];
		if (!*chunk && !(*chunk = meta_take(HEAP_OWNED_CHUNK * sizeof(struct pool))))
			return NULL;
		heap->owned_slots++;
	} else {
		while (pool_at(heap, (uint16_t)(CLASSES + slot))->open)
			slot++;
	}
	struct pool *pool = pool_at(heap, (uint16_t)(CLASSES + slot));
	pool_init(pool, (uint16_t)(CLASSES + slot), class, false);
	pool->tag = tag;
	heap->owned_pools++;
	return pool;
}

struct pool *pool_open_aside(struct heap *heap, unsigned class)
{
	struct pool *pool = pool_open(heap, 0, class);
	if (pool)
		pool->shared = true;
	return pool;
}

bool pool_is_tagged(const struct heap *heap, unsigned class)
{
	uint32_t current = heap->shared[class].current;
	const struct slab *slab = current == SLAB_NIL ? NULL : &range.slabs[current];
	return slab && slab_has_tags(slab) && slab_used(slab) < class_table[class].capacity;
}

bool pool_has_reclaimed(const struct pool *shared)
{
	return shared->partly != SLAB_NIL && range.slabs[shared->partly].budgeted;
}

bool pool_reclaim(struct heap *heap, unsigned class)
{
	uint64_t *idle = &heap->idle_classes[class / 64], bit = UINT64_C(1) << class % 64;
	if (!(*idle & bit))
		return false;
	*idle &= ~bit; /* until one is seen, here or by heap_age */
	for (uint32_t i = 0; i < heap->owned_slots; i++) {
		struct pool *pool = pool_at(heap, (uint16_t)(CLASSES + i));
		if (!pool->open || pool->shared || pool->class != class || !is_idle(pool))
			continue;
		*idle |= bit;
		if (pool->partly != SLAB_NIL) {
			slab_share(heap, pool, &range.slabs[pool->partly_last]);
			return true;
		}
	}
	return false;
}

void pool_share(struct heap *heap, struct pool *pool)
{
	pool_shed(heap, pool);
	uint32_t *heads[] = {&pool->current, &pool->partly, &pool->full};
	for (unsigned i = 0; i < 3; i++)
		while (*heads[i] != SLAB_NIL)
			slab_share(heap, pool, &range.slabs[*heads[i]]);
	pool->open = false;
	heap->owned_pools--;
}

void pool_shed(struct heap *heap, struct pool *pool)
{
	if (pool->current != SLAB_NIL) {
		struct slab *slab = &range.slabs[pool->current];
		unlist(heap, pool, slab);
		enlist(heap, pool, slab);
	}
	for (uint32_t i = pool->partly, next; i != SLAB_NIL && pool->empty; i = next) {
		next = range.slabs[i].next;
		if (slab_used(&range.slabs[i]) == 0)
			retire(heap, pool, &range.slabs[i]);
	}
}
