/* pool.c: slabs between three lists.
 *
 *            pool_grow                      no block left
 *   range ─────────────► CURRENT ─────────────────────────► FULL
 *     ▲                     ▲                                 │
 *     │ last block given    │ the current one is full         │ first block given
 *     └──────────────── PARTLY ◄──────────────────────────────┘
 *
 * The fast path raises `frees` and compares it with `trigger`, nothing more. So `trigger` says what the slab waits for:
 *   CURRENT  SLAB_NEVER  pool_take looks at it anyway
 *   PARTLY   used        the last used block comes back: retire
 *   FULL     1           any block comes back: it is of use again
 */
#include "pool.h"

#include "meta.h"

#include <string.h>

enum { CARVE_BYTES = 4096 }; /* blocks are linked a page ahead of their use, so memory is touched as it is needed */

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

static struct pool *pool_of(const struct heap *heap, const struct slab *slab)
{
	return pool_at(heap, slab->pool);
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

static void unlist(struct pool *pool, struct slab *slab)
{
	switch (slab_state(slab)) {
	case SLAB_CURRENT:
		pool->current = SLAB_NIL;
		break;
	case SLAB_PARTLY:
		list_remove(&pool->partly, slab);
		break;
	default:
		list_remove(&pool->full, slab);
	}
}

/* Lists the slab by what its folded counters say. */
static void enlist(struct pool *pool, struct slab *slab)
{
	bool full = slab->used == class_table[slab->class].capacity;
	slab_state_set(slab, full ? SLAB_FULL : SLAB_PARTLY);
	slab->trigger = full ? 1 : slab->used;
	list_push(full ? &pool->full : &pool->partly, slab);
}

static size_t slab_bytes(const struct slab *slab)
{
	return (size_t)slab->granules << GRANULE_SHIFT;
}

void pool_detach(struct heap *heap, struct pool *pool, struct slab *slab)
{
	size_t live = (size_t)slab->used * class_table[slab->class].size;
	unlist(pool, slab);
	pool->slabs--;
	heap->live_bytes -= live;
	if (!pool->shared) {
		heap->owned_bytes -= slab_bytes(slab);
		heap->owned_live_bytes -= live;
		if (slab->charged)
			slab_discharge(slab);
	}
}

void pool_attach(struct heap *heap, struct pool *pool, struct slab *slab)
{
	size_t live = (size_t)slab->used * class_table[slab->class].size;
	slab->pool = pool->index;
	slab->tag = pool->tag;
	pool->slabs++;
	heap->live_bytes += live;
	if (!pool->shared) {
		heap->owned_bytes += slab_bytes(slab);
		heap->owned_live_bytes += live;
	}
	atomic_store_explicit(&slab->owner, (uintptr_t)heap | (pool->shared ? SLAB_SHARED_BIT : 0), memory_order_release);
	enlist(pool, slab);
}

static void retire(struct heap *heap, struct pool *pool, struct slab *slab)
{
	pool_detach(heap, pool, slab);
	if (slab->tags)
		meta_give(slab->tags, class_table[slab->class].capacity * sizeof(uint16_t));
	range_give(slab);
}

void slab_fold(struct heap *heap, struct slab *slab)
{
	uint32_t frees = slab->frees;
	if (!frees)
		return;
	uint64_t bytes = (uint64_t)frees * class_table[slab->class].size;
	slab->used -= (uint16_t)frees;
	slab->frees = 0;
	heap->live_bytes -= bytes;
	if (!slab->tags) {
		heap->owned_live_bytes -= bytes;
		heap_tally(heap, slab->tag)->frees_owned += frees;
	}
}

void slab_settle(struct heap *heap, struct slab *slab)
{
	slab_fold(heap, slab);
	if (slab_state(slab) == SLAB_CURRENT)
		return;
	struct pool *pool = pool_of(heap, slab);
	if (slab->used == 0) {
		retire(heap, pool, slab);
		return;
	}
	unlist(pool, slab);
	enlist(pool, slab);
}

void slab_event(struct heap *heap, struct slab *slab)
{
	slab_settle(heap, slab);
}

static uint32_t take_free(struct slab *slab, uint32_t want, void **list)
{
	uint32_t held = (uint32_t)slab->carved - slab->used;
	*list = slab->free;
	if (held <= want) {
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

static uint32_t carve(struct slab *slab, uint32_t want, void **list)
{
	const struct class *class = &class_table[slab->class];
	uint32_t left = (uint32_t)class->capacity - slab->carved;
	uint32_t most = CARVE_BYTES / class->size ? CARVE_BYTES / class->size : 1;
	uint32_t count = want < left ? want : left;
	if (count > most)
		count = most;
	if (!count)
		return 0;
	char *block = slab_start(slab) + (size_t)slab->carved * class->size;
	*list = block;
	for (uint32_t i = 1; i < count; i++, block += class->size)
		*(void **)block = block + class->size;
	*(void **)block = NULL;
	slab->carved += (uint16_t)count;
	return count;
}

static void tag_blocks(struct slab *slab, uint16_t tag, void *list)
{
	for (void *block = list; block; block = *(void **)block)
		slab->tags[slab_block_index(slab, block)] = tag;
}

static struct slab *current_slab(struct pool *pool)
{
	if (pool->current == SLAB_NIL) {
		if (pool->partly == SLAB_NIL)
			return NULL;
		struct slab *slab = &range.slabs[pool->partly];
		list_remove(&pool->partly, slab);
		slab_state_set(slab, SLAB_CURRENT);
		slab->trigger = SLAB_NEVER;
		pool->current = slab_index(slab);
	}
	return &range.slabs[pool->current];
}

uint32_t pool_take(struct heap *heap, struct pool *pool, uint16_t tag, uint32_t want, void **list)
{
	struct slab *slab;
	pool->taken++;
	while ((slab = current_slab(pool))) {
		slab_fold(heap, slab);
		uint32_t count = slab->free ? take_free(slab, want, list) : carve(slab, want, list);
		if (count) {
			uint64_t bytes = (uint64_t)count * class_table[slab->class].size;
			slab->used += (uint16_t)count;
			heap->live_bytes += bytes;
			if (slab->tags)
				tag_blocks(slab, tag, *list);
			else
				heap->owned_live_bytes += bytes;
			return count;
		}
		unlist(pool, slab);
		enlist(pool, slab);
	}
	return 0;
}

enum range_refusal pool_grow(struct heap *heap, struct pool *pool)
{
	const struct class *class = &class_table[pool->class];
	enum range_refusal why;
	struct slab *slab = range_take(class->granules, &why);
	if (!slab)
		return why;
	slab->class = pool->class;
	if (pool->shared) {
		slab->tags = meta_take(class->capacity * sizeof(uint16_t));
		if (!slab->tags) {
			range_give(slab);
			return RANGE_NO_MEMORY;
		}
	}
	pool_attach(heap, pool, slab);
	return RANGE_OK;
}

void pool_untake(struct heap *heap, void *list)
{
	while (list) {
		void *block = list;
		struct slab *slab = slab_of(block);
		list = *(void **)block;
		slab_fold(heap, slab);
		*(void **)block = slab->free;
		slab->free = block;
		slab->used--;
		heap->live_bytes -= class_table[slab->class].size;
		if (!slab->tags)
			heap->owned_live_bytes -= class_table[slab->class].size;
		slab_settle(heap, slab);
	}
}

static void pool_init(struct pool *pool, uint16_t index, unsigned class, bool shared)
{
	*pool = (struct pool){.current = SLAB_NIL,
	                      .partly = SLAB_NIL,
	                      .full = SLAB_NIL,
	                      .index = index,
	                      .class = (uint8_t)class,
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

static bool slab_share(struct heap *heap, struct pool *pool, struct slab *slab)
{
	uint32_t capacity = class_table[slab->class].capacity;
	uint16_t *tags = meta_take(capacity * sizeof(uint16_t));
	if (!tags)
		return false;
	for (uint32_t i = 0; i < capacity; i++)
		tags[i] = slab->tag;
	slab_fold(heap, slab); /* while it still counts as owned */
	pool_detach(heap, pool, slab);
	slab->tags = tags;
	pool_attach(heap, &heap->shared[slab->class], slab);
	return true;
}

bool pool_share(struct heap *heap, struct pool *pool)
{
	pool_shed(heap, pool);
	uint32_t *heads[] = {&pool->current, &pool->partly, &pool->full};
	for (unsigned i = 0; i < 3; i++)
		while (*heads[i] != SLAB_NIL)
			if (!slab_share(heap, pool, &range.slabs[*heads[i]]))
				return false;
	pool->open = false;
	heap->owned_pools--;
	return true;
}

void pool_shed(struct heap *heap, struct pool *pool)
{
	if (pool->current == SLAB_NIL)
		return;
	struct slab *slab = &range.slabs[pool->current];
	slab_fold(heap, slab);
	unlist(pool, slab);
	enlist(pool, slab);
	slab_settle(heap, slab);
}
