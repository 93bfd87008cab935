/* walk.c: the rules of slab.h, pool.c, heap.h and range.h, each checked where its structure is.
 *
 * A rule is one `if` and one sentence; the first that fails ends the walk. Free blocks are ticked off in a bitmap, so a
 * list that loops, repeats a block or holds one that was never carved is found however long it is.
 */
#include "walk.h"

#include "pool.h"

#include <string.h>

enum { CAPACITY_MAX = GRANULE_BYTES / 16, WORD = 64 };

struct ticks {
	uint64_t words[CAPACITY_MAX / WORD];
	uint32_t count;
};

#define RULE(holds, sentence)                                                                                          \
	do {                                                                                                               \
		if (!(holds))                                                                                                  \
			return (sentence);                                                                                         \
	} while (0)

static const char *tick(const struct slab *slab, const void *block, struct ticks *ticks)
{
	const struct class *class = &class_table[slab->class];
	uint64_t offset = (uint64_t)((uintptr_t)block - (uintptr_t)slab_start(slab));
	RULE(offset < (uint64_t) class->capacity * class->size, "a free block lies in its slab");
	RULE(offset % class->size == 0, "a free block begins where a block begins");
	uint64_t i = offset / class->size;
	RULE((i + class->capacity - slab_first_block(slab)) % class->capacity < slab->carved, "a free block was carved");
	RULE(!(ticks->words[i / WORD] >> (i % WORD) & 1), "a block is free once");
	ticks->words[i / WORD] |= UINT64_C(1) << (i % WORD);
	ticks->count++;
	return NULL;
}

static const char *tick_list(const struct slab *slab, const void *list, struct ticks *ticks)
{
	const char *wrong = NULL;
	for (const void *block = list; block && !wrong; block = *(void *const *)block)
		wrong = tick(slab, block, ticks);
	return wrong;
}

static const char *walk_remote(const struct slab *slab, uint64_t word, struct ticks *ticks)
{
	uint32_t remote = (uint32_t)(word >> 32), before = ticks->count;
	if ((uint32_t)word == REMOTE_ALL)
		return remote == class_table[slab->class].capacity ? NULL : "a slab without links is free as a whole";
	const char *wrong = remote ? tick_list(slab, slab_start(slab) + (size_t)((uint32_t)word - 1) * 16, ticks) : NULL;
	RULE(!wrong, wrong);
	RULE(ticks->count - before == remote, "the remote list is as long as its count");
	return NULL;
}

static const char *walk_blocks(const struct slab *slab, struct walk *seen)
{
	const struct class *class = &class_table[slab->class];
	struct ticks ticks = {.count = 0};
	uint64_t word = atomic_load(&slab->remote);
	uint32_t remote = (uint32_t)(word >> 32);
	RULE(slab->carved <= class->capacity, "a slab has at most its class's blocks carved");
	RULE(slab_used(slab) <= slab->carved, "used blocks have been carved");
	const char *wrong = tick_list(slab, slab->free, &ticks);
	RULE(!wrong, wrong);
	RULE(ticks.count == (uint32_t)slab->carved - slab_used(slab), "the free list holds what is not used");
	wrong = walk_remote(slab, word, &ticks);
	if (wrong && atomic_load(&slab->remote) == word) /* else the slab was purged under our eyes (remote.c) */
		return wrong;
	RULE(remote <= slab_used(slab), "remote blocks count as used");
	seen->used += (uint64_t)slab_used(slab) - remote;
	seen->supplied -= slab_used(slab);
	return NULL;
}

static const char *walk_state(const struct slab *slab)
{
	bool full = slab_used(slab) == class_table[slab->class].capacity;
	switch (slab_state(slab)) {
	case SLAB_CURRENT:
		return class_is_single(slab->class) ? "a slab of a single block is never current" : NULL;
	case SLAB_PARTLY:
		return full ? "a partly free slab has a free block" : NULL;
	case SLAB_FULL:
		return full ? NULL : "a full slab has every block used";
	default:
		return "a slab is current, partly free or full";
	}
}

/* A block in a parcel is a block in use of a slab, and in it once. The caller guarantees that its slab stays. */
static const char *walk_parcel(const struct parcel *parcel)
{
	uint32_t count = atomic_load(&parcel->count);
	RULE(count <= PARCEL_BLOCKS, "a parcel holds at most so many blocks");
	for (uint32_t i = 0; i < count; i++) {
		const void *block = parcel->blocks[i];
		RULE(range_holds(block), "a block in a parcel lies in the range");
		const struct slab *slab = slab_of(block);
		RULE(slab_heap(slab), "a block in a parcel lies in a slab");
		const struct class *class = &class_table[slab->class];
		uint64_t offset = (uint64_t)((uintptr_t)block - (uintptr_t)slab_start(slab));
		RULE(offset % class->size == 0 && offset / class->size < class->capacity,
		     "a block in a parcel begins where a block begins");
		for (uint32_t k = 0; k < i; k++)
			RULE(parcel->blocks[k] != block, "a block is in a parcel once");
	}
	return NULL;
}

/* The open ones; those under way are their receivers'. */
static const char *walk_open_parcels(const struct heap *heap)
{
	const char *wrong = NULL;
	for (unsigned i = 0; i < OUTBOX_LANES && !wrong; i++) {
		const struct parcel *open = heap->outbox.open[i];
		bool listed = !open;
		for (unsigned k = 0; k < OUTBOX_PARCELS; k++)
			listed |= heap->outbox.parcels[k] == open;
		RULE(listed, "a heap knows its parcels");
		RULE(!open || atomic_load(&open->count), "an open parcel has a block");
		wrong = open ? walk_parcel(open) : NULL;
	}
	return wrong;
}

/* Parcels on the inbox, and none twice: no list is longer than there are parcels. */
static const char *walk_inbox(const struct heap *heap, uint64_t parcels)
{
	for (const struct parcel *parcel = atomic_load(&heap->inbox); parcel; parcel = parcel->next) {
		RULE(parcels--, "an inbox ends");
		RULE(parcel->to == heap, "a parcel is on the inbox it is for");
		RULE(atomic_load(&parcel->count), "a parcel on an inbox has a block");
	}
	return NULL;
}

static const char *walk_parcels(struct walk *seen)
{
	uint64_t parcels = 0, under_way = 0, received = 0;
	const char *wrong = NULL;
	for (const struct heap *heap = heap_first(); heap && !wrong; heap = heap->next) {
		wrong = walk_open_parcels(heap);
		for (unsigned i = 0; i < OUTBOX_PARCELS && !wrong; i++) {
			const struct parcel *parcel = atomic_load(&heap->outbox.parcels[i]);
			if (!parcel)
				continue;
			parcels++;
			wrong = walk_parcel(parcel);
			under_way += atomic_load(&parcel->count) != 0;
			seen->used -= atomic_load(&parcel->count);
		}
		for (unsigned i = 0; i < OUTBOX_LANES; i++)
			under_way -= heap->outbox.open[i] != NULL;
	}
	for (const struct heap *heap = heap_first(); heap && !wrong; heap = heap->next) {
		wrong = walk_inbox(heap, parcels);
		for (const struct parcel *parcel = heap->inbox; parcel && !wrong; parcel = parcel->next)
			received++;
	}
	RULE(!wrong, wrong);
	RULE(received == under_way, "a parcel that was sent is on an inbox");
	return NULL;
}

static const char *walk_slab(uint32_t granule, struct walk *seen)
{
	const struct slab *slab = &range.slabs[granule];
	RULE(slab->class < CLASSES, "a slab has a class");
	const struct class *class = &class_table[slab->class];
	RULE(slab->granules == class->granules && (!slab_has_tags(slab) || slab->tag_shift == class->tag_shift),
	     "a slab is cut as its class says");
	for (uint32_t i = 1; i < slab->granules; i++) {
		if (i < SLAB_REST_MAX)
			RULE(slab_state(slab + i) == SLAB_REST && slab[i].granules == i, "a slab's rest points back at it");
		else
			RULE(slab_state(slab + i) == SLAB_NONE, "far behind a slab's start the records are empty");
		RULE(slab_owner(slab + i) == 0, "a slab's rest has no owner, so that frees look for its head");
		RULE(!range_is_free(granule + i), "a slab's rest is not free");
	}
	struct heap *heap = slab_heap(slab);
	RULE(heap, "a slab has an owner");
	RULE(slab->tags && slab_has_tags(slab) == (slab->tags != &slab->tag), "a slab has tags or is its own");
	const struct pool *pool = pool_at(heap, slab->pool);
	RULE(pool->open && pool->class == slab->class, "a slab fits its pool");
	RULE(!slab_has_tags(slab) || (pool->shared && !class_is_single(slab->class)), "only a shared slab has tags");
	RULE(pool->shared || slab_is_owned(slab), "a slab of a pool that is a site's is owned");
	RULE(pool->shared || pool->tag == slab->tag, "an owned slab carries its pool's tag");
	const char *wrong = walk_state(slab);
	if (!wrong)
		wrong = walk_blocks(slab, seen);
	seen->slabs++;
	seen->bytes += (uint64_t)slab->granules << GRANULE_SHIFT;
	return wrong;
}

/* What a heap's books should say, by its slabs. */
struct books {
	uint64_t used_bytes, owned_bytes, owned_used_bytes, spare_bytes;
};

static void add_slab(const struct slab *slab, struct books *books)
{
	uint64_t used = (uint64_t)slab_used(slab) * class_table[slab->class].size;
	books->used_bytes += used;
	if (class_is_single(slab->class) && !used)
		books->spare_bytes += (uint64_t)slab->granules << GRANULE_SHIFT;
	if (slab->budgeted) {
		books->owned_bytes += (uint64_t)slab->granules << GRANULE_SHIFT;
		books->owned_used_bytes += used;
	}
}

static const char *walk_list(const struct pool *pool, uint32_t head, enum slab_state state, struct pool *counted,
                             struct books *books)
{
	uint32_t prev = SLAB_NIL;
	for (uint32_t i = head; i != SLAB_NIL; prev = i, i = range.slabs[i].next) {
		const struct slab *slab = &range.slabs[i];
		RULE(slab_state(slab) == state, "a slab is in the list of its state");
		RULE(slab->pool == pool->index, "a slab is in the list of its pool");
		RULE(slab->prev == prev, "lists are linked both ways");
		RULE(++counted->slabs <= pool->slabs, "a pool knows how many slabs it has");
		counted->empty += slab_used(slab) == 0;
		add_slab(slab, books);
	}
	return NULL;
}

static const char *walk_pool(const struct pool *pool, struct books *books)
{
	struct pool counted = {.slabs = 0};
	if (pool->current != SLAB_NIL) {
		const struct slab *slab = &range.slabs[pool->current];
		RULE(slab_state(slab) == SLAB_CURRENT && slab->pool == pool->index, "the current slab is the pool's");
		counted.slabs++;
		add_slab(slab, books);
	}
	const char *wrong = walk_list(pool, pool->partly, SLAB_PARTLY, &counted, books);
	if (!wrong)
		wrong = walk_list(pool, pool->full, SLAB_FULL, &counted, books);
	RULE(!wrong, wrong);
	uint32_t last = pool->partly_last;
	RULE(last == SLAB_NIL ? pool->partly == SLAB_NIL
	                      : range.slabs[last].next == SLAB_NIL && range.slabs[last].pool == pool->index &&
	                            slab_state(&range.slabs[last]) == SLAB_PARTLY,
	     "a pool knows the last of its partly free slabs");
	RULE(counted.slabs == pool->slabs, "a pool's slabs are all in its lists");
	RULE(counted.empty == pool->empty, "a pool knows how many empty slabs it keeps");
	return NULL;
}

/* The list is as long as the books say, and holds only blocks of the tag. */
static const char *walk_cache(const struct heap *heap, uint16_t tag, struct walk *seen)
{
	const struct cache *cache = &heap->caches[tag];
	uint64_t count = 0, expected = cache_cached(cache);
	for (const void *block = cache->free; block; block = *(void *const *)block) {
		RULE(range_holds(block), "a cached block lies in the range");
		const struct slab *slab = slab_of(block);
		RULE(slab_heap(slab) == heap && slab_tag(slab, block) == tag, "a cached block belongs to the cache's tag");
		RULE(++count <= expected, "a cache's list is as long as its counters say");
	}
	RULE(count == expected, "a cache's list is as long as its counters say");
	seen->cached += count;
	seen->supplied += cache->supplied;
	return NULL;
}

static const char *walk_heap(const struct heap *heap, struct walk *seen, uint64_t *listed)
{
	struct books books = {0};
	const char *wrong = NULL;
	uint32_t open = 0;
	for (uint32_t i = 0; i < CLASSES + heap->owned_slots && !wrong; i++) {
		const struct pool *pool = pool_at(heap, (uint16_t)i);
		if (!pool->open)
			continue;
		wrong = walk_pool(pool, &books);
		*listed += pool->slabs;
		open += pool->index >= CLASSES;
	}
	for (uint32_t tag = 1; tag <= heap->tags && !wrong; tag++)
		wrong = walk_cache(heap, (uint16_t)tag, seen);
	RULE(!wrong, wrong);
	RULE(open == heap->owned_pools, "a heap knows how many pools sites own");
	RULE(books.used_bytes == heap->used_bytes, "a heap's used bytes are its slabs' used blocks");
	RULE(books.owned_bytes == heap->owned_bytes, "its owned bytes are the slabs that are or were owned");
	RULE(books.owned_used_bytes == heap->owned_used_bytes, "its owned used bytes are their used blocks");
	RULE(books.spare_bytes == heap->spare_bytes, "its spare bytes are the empty slabs of a single block");
	seen->owned_bytes += books.owned_bytes;
	return NULL;
}

const char *walk_own_heap(const struct heap *heap)
{
	struct walk seen = {0};
	uint64_t listed = 0;
	const char *wrong = walk_heap(heap, &seen, &listed);
	if (!wrong)
		wrong = walk_open_parcels(heap);
	for (uint32_t i = 0; i < CLASSES + heap->owned_slots && !wrong; i++) {
		const struct pool *pool = pool_at(heap, (uint16_t)i);
		const uint32_t heads[] = {pool->open ? pool->partly : SLAB_NIL, pool->open ? pool->full : SLAB_NIL};
		for (int list = 0; list < 2; list++)
			for (uint32_t s = heads[list]; s != SLAB_NIL && !wrong; s = range.slabs[s].next)
				wrong = walk_slab(s, &seen);
	}
	return wrong;
}

struct walk walk_pools(void)
{
	struct walk seen = {0};
	struct range_usage usage = range_usage();
	uint64_t listed = 0;
	uint32_t end = 0; /* of the slab seen last */
	for (uint32_t i = 0; i < usage.granules && !seen.wrong; seen.granule = i++) {
		enum slab_state state = slab_state(&range.slabs[i]);
		if (state == SLAB_NONE && i >= end ? !range_is_free(i) : range_is_free(i))
			seen.wrong = "a granule is free or in a slab";
		else if (state != SLAB_NONE && state != SLAB_REST) {
			seen.wrong = walk_slab(i, &seen);
			end = i + range.slabs[i].granules;
		}
	}
	for (const struct heap *heap = heap_first(); heap && !seen.wrong; heap = heap->next)
		if (atomic_load(&heap->state) != HEAP_LOST)
			seen.wrong = walk_heap(heap, &seen, &listed);
		else
			return seen; /* its lists may be half done */
	if (!seen.wrong)
		seen.wrong = walk_parcels(&seen);
	if (!seen.wrong && seen.supplied)
		seen.wrong = "what the slabs gave out went to the caches";
	if (!seen.wrong && listed != seen.slabs)
		seen.wrong = "every slab is in one list of one pool";
	if (!seen.wrong && seen.bytes != usage.active)
		seen.wrong = "the range's active bytes are the slabs";
	return seen;
}
