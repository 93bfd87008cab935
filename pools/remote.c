/* remote.c: how frees from elsewhere get home. See parcel.h and heap.h.
 *
 * Two ways. A parcel is put on its heap's inbox. A single block is put on its slab's remote list, by one compare-and-swap;
 * the first of a lot also puts the slab on its heap's pending list. Only a drain, which takes the whole list, empties a
 * slab's remote word: so a slab is on at most one pending list, once. Blocks count as used until they are drained, so
 * a slab with blocks on either way cannot be retired; but it may change hands (heap_claim), and the drain then passes on
 * what it finds.
 *
 * Who has pushed looks at the heap's state, and whoever leaves a heap looks at inbox and pending after it has set the
 * state: so one of the two sees the other.
 */
#include "meta.h"
#include "os.h"
#include "pool.h"

enum { LOOK_MS_MIN = 10, TEND_BYTES = 16 << 20 };

static void look_around(const struct heap *mine);

static bool no_more_room(struct heap *heap, uint16_t tag)
{
	(void)heap, (void)tag;
	return false;
}

bool (*cache_over)(struct heap *, uint16_t) = no_more_room;

static void pending_push(struct heap *heap, struct slab *slab)
{
	uint32_t head = atomic_load_explicit(&heap->pending, memory_order_relaxed);
	do
		atomic_store_explicit(&slab->pending_next, head, memory_order_relaxed);
	while (!atomic_compare_exchange_weak(&heap->pending, &head, slab_index(slab) + 1));
}

static uint64_t remote_offset(const struct slab *slab, const void *block)
{
	return (uint64_t)((const char *)block - slab_start(slab)) / 16 + 1;
}

static uint32_t remote_count(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

/* After `count` blocks of the slab wait for `heap`. If its owner is gone and they are all that is used, nobody else would
 * ever look; and if the slab was claimed from that heap while we queued it there, its new owner would not either. */
static void settle(const struct slab *slab, struct heap *heap, uint32_t count)
{
	if (atomic_load(&heap->state) == HEAP_ABANDONED && (count >= slab_used(slab) || slab_heap(slab) != heap) &&
	    heap_borrow(heap))
		heap_return(heap);
}

/* Puts the slab, whose remote word says that there is something, on its heap's pending list. */
static void queue(struct slab *slab)
{
	struct heap *heap = slab_heap(slab);
	pending_push(heap, slab);
	/* Others may have come while it was not queued. */
	settle(slab, heap, remote_count(atomic_load_explicit(&slab->remote, memory_order_relaxed)));
}

/* Puts `count` blocks of the slab, linked by their first word from `first` to `last`, on its remote list. */
static void slab_push(struct slab *slab, void *first, void *last, uint32_t count)
{
	uint64_t word = atomic_load_explicit(&slab->remote, memory_order_relaxed), fresh;
	struct heap *heap = slab_heap(slab); /* while our blocks still hold the slab in place */
	do {
		uint32_t head = (uint32_t)word;
		*(void **)last = head ? slab_start(slab) + (size_t)(head - 1) * 16 : NULL;
		fresh = (((word >> 32) + count) << 32) | remote_offset(slab, first);
	} while (!atomic_compare_exchange_weak_explicit(&slab->remote, &word, fresh, memory_order_release,
	                                                memory_order_relaxed));
	if (word == 0)   /* we hold it until it is queued, though it may have changed hands */
		queue(slab); /* and others may have come while it was not */
	else
		settle(slab, heap, remote_count(fresh));
}

void heap_free_remote(struct slab *slab, void *block)
{
	slab_push(slab, block, block, 1);
}

/* --- parcels, the sender's side ----------------------------------------------------------------------------------- */

static struct parcel **lane_of(struct outbox *outbox, const struct heap *to)
{
	return &outbox->open[(uintptr_t)to * UINT64_C(0x9E3779B97F4A7C15) >> 61];
}

_Static_assert(OUTBOX_LANES == 1 << (64 - 61), "lane_of's shift");

/* Gives a parcel's blocks to their slabs, those in a row of one slab together. */
static void deliver(struct parcel *parcel)
{
	uint32_t left = atomic_load_explicit(&parcel->count, memory_order_relaxed);
	while (left) {
		void *first = parcel->blocks[--left], *last = first;
		struct slab *slab = slab_of(first);
		uint32_t count = 1;
		for (; left && slab_of(parcel->blocks[left - 1]) == slab; count++)
			last = *(void **)last = parcel->blocks[--left];
		atomic_store_explicit(&parcel->count, left, memory_order_release); /* first: see remote_fork_child */
		slab_push(slab, first, last, count);
	}
}

static __attribute__((noinline)) void send(struct parcel **lane)
{
	struct parcel *parcel = *lane;
	struct heap *to = parcel->to;
	*lane = NULL;
	if (atomic_load_explicit(&to->behind, memory_order_relaxed)) {
		deliver(parcel);
		return;
	}
	struct parcel *head = atomic_load_explicit(&to->inbox, memory_order_relaxed);
	do
		parcel->next = head;
	while (!atomic_compare_exchange_weak(&to->inbox, &head, parcel));
	if (atomic_load(&to->state) == HEAP_ABANDONED && heap_borrow(to))
		heap_return(to);
}

void heap_send(struct heap *heap)
{
	for (unsigned i = 0; i < OUTBOX_LANES; i++)
		if (heap->outbox.open[i])
			send(&heap->outbox.open[i]);
}

/* Nobody has fetched these parcels for a while: their blocks go to the slabs, and so do others until the owner drains. */
static void fetch_inbox(struct heap *heap)
{
	atomic_store_explicit(&heap->behind, true, memory_order_relaxed);
	struct parcel *parcel = atomic_exchange(&heap->inbox, NULL), *next;
	for (; parcel; parcel = next) {
		next = parcel->next; /* before its sender may use it again */
		deliver(parcel);
	}
}

/* All parcels are under way: those that nobody has fetched yet come back, and go another way. */
static void call_back(struct outbox *outbox)
{
	for (unsigned i = 0; i < OUTBOX_PARCELS; i++) {
		const struct parcel *mine = atomic_load_explicit(&outbox->parcels[i], memory_order_relaxed);
		struct heap *to = mine ? mine->to : NULL;
		if (!to || !atomic_load_explicit(&to->inbox, memory_order_relaxed))
			continue;
		fetch_inbox(to);
	}
}

/* An empty parcel of the outbox, made if need be; NULL: all are under way. */
static struct parcel *empty_parcel(struct outbox *outbox)
{
	for (unsigned i = 0; i < OUTBOX_PARCELS; i++) {
		unsigned at = outbox->cursor++ % OUTBOX_PARCELS;
		struct parcel *parcel = atomic_load_explicit(&outbox->parcels[at], memory_order_relaxed);
		if (!parcel) {
			parcel = meta_take(sizeof(*parcel));
			if (parcel)
				atomic_store_explicit(&outbox->parcels[at], parcel, memory_order_release); /* for sum and walk */
			return parcel;
		}
		if (atomic_load_explicit(&parcel->count, memory_order_acquire) == 0) /* partner: take_parcel, deliver */
			return parcel;
	}
	return NULL;
}

/* Opens a parcel for `to` in its lane; NULL: the block must go at once. */
static struct parcel *open_parcel(struct outbox *outbox, struct parcel **lane, struct heap *to)
{
	if (*lane)
		send(lane);
	if (atomic_load_explicit(&to->behind, memory_order_relaxed) ||
	    atomic_load_explicit(&to->state, memory_order_relaxed) == HEAP_LOST)
		return NULL;
	struct parcel *parcel = empty_parcel(outbox);
	if (!parcel) {
		call_back(outbox);
		return NULL;
	}
	parcel->to = to;
	parcel->bytes = 0;
	return *lane = parcel;
}

static void put(struct parcel **lane, void *block, uint32_t size)
{
	struct parcel *parcel = *lane;
	uint32_t count = atomic_load_explicit(&parcel->count, memory_order_relaxed);
	__atomic_store_n(&parcel->blocks[count++], block, __ATOMIC_RELAXED); /* a report may look */
	parcel->bytes += size;
	atomic_store_explicit(&parcel->count, count, memory_order_release);
	if (__builtin_expect(count == PARCEL_BLOCKS || parcel->bytes >= PARCEL_BYTES, 0))
		send(lane);
}

static __attribute__((noinline)) void put_first(struct heap *mine, struct slab *slab, void *block)
{
	struct heap *to = slab_heap(slab);
	uint32_t size = class_table[slab->class].size;
	struct parcel **lane = lane_of(&mine->outbox, to);
	if (size <= PARCEL_BLOCK_MAX && open_parcel(&mine->outbox, lane, to))
		put(lane, block, size);
	else
		heap_free_remote(slab, block);
}

void heap_free_foreign(struct heap *mine, struct slab *slab, void *block)
{
	struct heap *to = slab_heap(slab);
	struct parcel **lane = lane_of(&mine->outbox, to);
	if (__builtin_expect(*lane && (*lane)->to == to, 1))
		put(lane, block, class_table[slab->class].size);
	else
		put_first(mine, slab, block);
}

/* --- heaps whose owners sleep -------------------------------------------------------------------------------------- */

/* Every block of a slab that nobody but us can reach now is free: its memory goes back to the kernel, and the record says
 * so instead of a list. First the record: a forked child must not follow links that may be gone. Returns bytes. */
static size_t purge_whole(struct slab *slab)
{
	uint32_t capacity = class_table[slab->class].capacity;
	uint64_t word = atomic_load_explicit(&slab->remote, memory_order_acquire);
	if (remote_count(word) != capacity || (uint32_t)word == REMOTE_ALL)
		return 0;
	atomic_store_explicit(&slab->remote, (uint64_t)capacity << 32 | REMOTE_ALL, memory_order_relaxed);
	range_purge(slab);
	return (size_t)slab->granules << GRANULE_SHIFT;
}

/* Does for a heap whose owner does not drain what needs no owner. Who has taken the pending list has its slabs for
 * himself, but for pushes. Purges up to `most` bytes; returns how many. */
static size_t tend(struct heap *heap, size_t most)
{
	size_t bytes = 0;
	fetch_inbox(heap);
	uint32_t at = atomic_exchange(&heap->pending, 0), next;
	for (; at; at = next) {
		struct slab *slab = &range.slabs[at - 1];
		next = atomic_load_explicit(&slab->pending_next, memory_order_relaxed);
		if (bytes < most)
			bytes += purge_whole(slab);
		queue(slab);
	}
	if (bytes < most) /* until something is pushed, nothing more can be done */
		atomic_store_explicit(&heap->tended, atomic_load_explicit(&heap->pending, memory_order_relaxed),
		                      memory_order_relaxed);
	return bytes;
}

static bool is_live(const struct heap *heap)
{
	return atomic_load_explicit(&heap->state, memory_order_relaxed) == HEAP_LIVE;
}

void heap_tend_all(const struct heap *mine)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		if (heap != mine && is_live(heap))
			tend(heap, SIZE_MAX);
}

/* Is there something to do for the heap that was already there when somebody last looked? */
static bool has_waited(struct heap *heap)
{
	uint32_t pending = atomic_load_explicit(&heap->pending, memory_order_relaxed);
	if (!is_live(heap) || (pending == atomic_load_explicit(&heap->tended, memory_order_relaxed) &&
	                       !atomic_load_explicit(&heap->inbox, memory_order_relaxed)))
		return false;
	return atomic_exchange_explicit(&heap->waited, true, memory_order_relaxed);
}

/* Once in a decay period, by whoever comes along: heaps that had something waiting a period ago and have not drained since
 * are tended. So memory that a sleeping owner's blocks leave goes as late as other free memory does. */
static void look_around(const struct heap *mine)
{
	static _Atomic uint64_t due_at; /* ms */
	int64_t decay_ms = range_decay();
	if (decay_ms < 0)
		return;
	uint64_t now = os_now_ms(), due = atomic_load_explicit(&due_at, memory_order_relaxed);
	uint64_t next = now + (uint64_t)(decay_ms > LOOK_MS_MIN ? decay_ms : LOOK_MS_MIN);
	if (now < due ||
	    !atomic_compare_exchange_strong_explicit(&due_at, &due, next, memory_order_relaxed, memory_order_relaxed))
		return;
	size_t left = TEND_BYTES;
	for (struct heap *heap = heap_first(); heap && left; heap = heap->next)
		if (heap != mine && has_waited(heap)) {
			size_t bytes = tend(heap, left);
			left -= bytes < left ? bytes : left;
		}
	if (!left) /* the rest soon, but not by the same call */
		atomic_store_explicit(&due_at, now + LOOK_MS_MIN, memory_order_relaxed);
}

/* --- the owner's side --------------------------------------------------------------------------------------------- */

/* The tag's cache is full: the block is for its slab. */
static __attribute__((noinline)) bool is_over(struct heap *heap, uint16_t tag, void *block, void **over)
{
	if (cache_over(heap, tag))
		return false;
	cache_supply(&heap->caches[tag], -1);
	*(void **)block = *over;
	*over = block;
	return true;
}

/* Takes one block home: to its tag's cache, or where that is full to the list `*over`. */
static inline void take_home(struct heap *heap, const struct slab *slab, void *block, void **over)
{
	uint16_t tag = slab_tag(slab, block);
	struct cache *cache = &heap->caches[tag];
	cache->remote++;
	if (__builtin_expect(--cache->room < 0, 0) && is_over(heap, tag, block, over))
		return;
	*(void **)block = cache->free;
	cache->free = block;
}

/* Where its blocks lie and what their slabs' records say is far apart, and often with another core. */
static void fetch_ahead(const struct parcel *parcel, uint32_t count)
{
	for (uint32_t i = count; i-- > 0;) {
		const char *block = parcel->blocks[i];
		__builtin_prefetch(&range.slabs[(size_t)(block - range.base) >> GRANULE_SHIFT]);
		__builtin_prefetch(block, 1);
	}
}

static __attribute__((noinline)) void take_parcel(struct heap *heap, struct parcel *parcel, void **over)
{
	uint32_t left = atomic_load_explicit(&parcel->count, memory_order_relaxed);
	fetch_ahead(parcel, left);
	while (left) {
		void *block = parcel->blocks[--left];
		struct slab *slab = slab_of(block);
		atomic_store_explicit(&parcel->count, left, memory_order_release); /* first: see remote_fork_child */
		if (slab_heap(slab) == heap)
			take_home(heap, slab, block, over);
		else
			heap_free_remote(slab, block);
	}
}

/* The program gave `count` blocks of the tag back, and they went past the cache. */
static void count_home(struct heap *heap, uint16_t tag, uint32_t count)
{
	struct cache *cache = &heap->caches[tag];
	cache->remote += count;
	cache->supplied -= count;
}

static void drain_whole(struct heap *heap, struct slab *slab)
{
	uint32_t capacity = class_table[slab->class].capacity;
	for (uint32_t i = 0; slab_has_tags(slab) && i < capacity; i++)
		count_home(heap, slab_tag(slab, slab_start(slab) + (size_t)i * class_table[slab->class].size), 1);
	if (!slab_has_tags(slab))
		count_home(heap, slab->tag, capacity);
	pool_renew(heap, slab);
}

static void drain_slab(struct heap *heap, struct slab *slab, void **over)
{
	uint64_t word = atomic_exchange_explicit(&slab->remote, 0, memory_order_acquire);
	if ((uint32_t)word == REMOTE_ALL) {
		drain_whole(heap, slab);
		return;
	}
	void *block = slab_start(slab) + (size_t)((uint32_t)word - 1) * 16, *next;
	for (uint32_t left = remote_count(word); left; left--, block = next) {
		next = *(void **)block;
		take_home(heap, slab, block, over);
	}
}

static void drain_pending(struct heap *heap, void **over)
{
	uint32_t at = atomic_exchange(&heap->pending, 0);
	atomic_store_explicit(&heap->tended, 0, memory_order_relaxed);
	while (at) {
		struct slab *slab = &range.slabs[at - 1];
		at = atomic_load_explicit(&slab->pending_next, memory_order_relaxed); /* before anybody can queue it again */
		struct heap *owner = slab_heap(slab);
		if (owner == heap)
			drain_slab(heap, slab, over);
		else
			pending_push(owner, slab);
	}
}

void heap_drain(struct heap *heap)
{
	void *over = NULL;
	if (atomic_load_explicit(&heap->behind, memory_order_relaxed))
		atomic_store_explicit(&heap->behind, false, memory_order_relaxed);
	if (atomic_load_explicit(&heap->waited, memory_order_relaxed))
		atomic_store_explicit(&heap->waited, false, memory_order_relaxed);
	if (atomic_load_explicit(&heap->inbox, memory_order_relaxed)) {
		struct parcel *parcel = atomic_exchange(&heap->inbox, NULL), *next;
		for (; parcel; parcel = next) {
			next = parcel->next; /* before its sender may use it again */
			take_parcel(heap, parcel, &over);
		}
	}
	if (atomic_load_explicit(&heap->pending, memory_order_relaxed))
		drain_pending(heap, &over);
	if (over)
		pool_give(heap, over, UINT32_MAX);
	if (++heap->outbox.drains % OUTBOX_AGE == 0) {
		heap_send(heap);
		look_around(heap);
	}
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

/* A thread that is gone may have put a block on a slab and not yet the slab on its heap's list. */
static void requeue_all(void)
{
	uint32_t granules = range_usage().granules;
	for (uint32_t i = 0; i < granules; i++)
		if (slab_owner(&range.slabs[i]) && atomic_load_explicit(&range.slabs[i].remote, memory_order_relaxed))
			pending_push(slab_heap(&range.slabs[i]), &range.slabs[i]);
}

/* Or it may have had a parcel in its hands. Whoever takes blocks out of one counts down first: so a block of which the
 * count speaks is nowhere else, and the worst is that one block stays with nobody. */
static void deliver_all(struct outbox *outbox)
{
	for (unsigned i = 0; i < OUTBOX_LANES; i++)
		outbox->open[i] = NULL;
	for (unsigned i = 0; i < OUTBOX_PARCELS; i++) {
		struct parcel *parcel = atomic_load_explicit(&outbox->parcels[i], memory_order_relaxed);
		if (parcel)
			deliver(parcel);
	}
}

void remote_fork_child(void)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->next) {
		atomic_store_explicit(&heap->pending, 0, memory_order_relaxed);
		atomic_store_explicit(&heap->tended, 0, memory_order_relaxed);
		atomic_store_explicit(&heap->inbox, NULL, memory_order_relaxed);
	}
	requeue_all();
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		deliver_all(&heap->outbox);
}
