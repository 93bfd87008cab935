/* allocate.c: where the fast path in allocate.h goes when it misses.
 *
 * Everything the interposed families share is here, so an entry is only its own contract (interpose*.c). When the shim
 * is inert every call is passed on to the next allocator. See README.md for what realloc counts as.
 */
#define _GNU_SOURCE
#include "allocate.h"

#include "context.h"
#include "early.h"
#include "fallback.h"
#include "fallback_start.h"
#include "inert.h"
#include "lifetime.h"
#include "process.h"
#include "route.h"
#include "sample.h"
#include "site.h"

#include <errno.h>
#include <unistd.h>

enum { PAGE = 4096, LARGE_GROWTH = 16 << 10 /* a block that grows beyond it is large: copying it costs */ };

static void *refuse(void)
{
	errno = ENOMEM;
	return NULL;
}

static __attribute__((noreturn)) void die(const char *what, const void *block)
{
	process_die(what, (uintptr_t)block);
}

/* We are asked while process_start runs on this thread: by glibc, or by inert.c's probe. */
static void *early_block(size_t size)
{
	inert_probe_seen();
	void *block = early_take(size);
	return block ? block : refuse();
}

/* A frame that leads to the block's site; 0: none. */
static uintptr_t frame_of_birth(uintptr_t frame)
{
	return frame & SAMPLE_REALLOC ? 0 : frame;
}

/* From the pools, NULL with the reason to count otherwise. */
static void *from_pools(size_t size, unsigned class, uintptr_t pc, enum ledger_reason *why)
{
	struct thread *thread = thread_get();
	*why = range.bytes ? REASON_THREAD : REASON_RANGE;
	if (!thread || !range.bytes)
		return NULL;
	return route_refill(thread, pc, class, size, why);
}

static void *from_fallback(size_t size, size_t align, bool zero, uintptr_t pc, uintptr_t frame, enum ledger_reason why)
{
	void *block = fallback_take(size, align, zero, pc, why);
	if (!block)
		return refuse();
	sample_fallback(size, pc, frame);
	return block;
}

/* Is the block, its slab's only one, still as the kernel gave it but for the link in its first word? Asked once, when it
 * comes from the pools: from now on it is the program's, and a cache only gets it dirty. */
static bool is_untouched(void *block)
{
	struct slab *slab = slab_of(block);
	if (!class_is_single(slab->class))
		return false;
	bool untouched = slab->zeroed;
	slab->zeroed = false;
	return untouched;
}

/* The route that the allocation was about to take was armed: to say who called, for a stack, for a life, or all of it. Its
 * context now; a block, if it is one that is watched. */
static uintptr_t meet_armed(uint16_t tag, size_t size, uintptr_t pc, uintptr_t frame, void **block)
{
	struct route *route = route_at(thread_self, tag);
	bool meets = route->meets != 0;
	route->meets -= meets; /* first: what comes now may disarm */
	sample_armed(thread_self, tag, frame);
	bool due = lifetime_is_due(thread_self, tag);
	if (!due && !meets)
		return pc;
	uintptr_t learned = context_meet(pc, frame_of_birth(frame));
	if (learned == pc && due)
		*block = lifetime_watch(thread_self, tag, size);
	return learned;
}

/* A block when the cache that its key hashes to had none: `class` is of at least `size` bytes, CLASSES when there is
 * none. */
static __attribute__((noinline)) void *allocate_missed(size_t size, unsigned class, bool zero, uintptr_t pc,
                                                       uintptr_t frame)
{
	enum ledger_reason why = REASON_LARGE;
	struct cache *cache = class < CLASSES ? route_cache(thread_self, pc, class) : NULL;
	void *block = NULL;
	if (cache && route_is_armed(cache))
		pc = meet_armed((uint16_t)(cache - thread_self->heap.caches), size, pc, frame, &block);
	if (cache && !block && (cache = route_cache(thread_self, pc, class)))
		block = cache_take(cache, size); /* its key was not at home */
	if (block)
		return zero ? memset(block, 0, size) : block;
	if (!process_start()) {
		block = process_is_inert() ? inert_malloc(size) : early_block(size);
		return zero && block ? memset(block, 0, size) : block;
	}
	pc = context_meet(pc, frame_of_birth(frame));
	/* The first call of all: the tables were empty until process_start filled them. */
	if (class < CLASSES && class_table[class].size < size)
		class = class_of(size);
	block = class < CLASSES ? from_pools(size, class, pc, &why) : NULL;
	if (block) {
		bool untouched = is_untouched(block);
		if (size >= sample_alone)
			sample_pooled(block, size, frame);
		return zero ? memset(block, 0, untouched ? sizeof(void *) : size) : block;
	}
	return from_fallback(size, 0, zero, pc, frame, why);
}

static unsigned class_or_none(size_t size)
{
	return size <= CLASS_SIZE_MAX ? class_of(size) : CLASSES;
}

/* As context_of, but gives up (0) where anything is unusual: a leaf without calls has no registers to save. */
static inline uintptr_t context_usual(uintptr_t pc, uintptr_t frame)
{
	const struct wrapper *w = context_home(pc);
	if (atomic_load_explicit(&w->context, memory_order_acquire) != pc)
		return 0;
	for (;;) {
		uint64_t how = atomic_load_explicit(&w->how, memory_order_relaxed);
		uintptr_t slot = frame + (how >> 17);
		if (__builtin_expect(!stack_holds(slot), 0))
			return 0;
		pc = context_extend(pc, *(const uintptr_t *)slot);
		if (!(how & WRAPPER_DEEPER))
			return pc;
		w = context_home(pc);
		uint64_t is = atomic_load_explicit(&w->context, memory_order_acquire);
		if (is != pc)
			return is ? 0 : pc;
	}
}

static __attribute__((noinline)) void *allocate_behind_slow(size_t size, unsigned class, bool zero, uintptr_t pc,
                                                            uintptr_t frame)
{
	uintptr_t context = SITELESS ? pc : context_of(pc, frame);
	if (class < CLASSES) {
		void *block = context != pc ? thread_take(thread_self, context, class, size) : NULL;
		if (block || (block = sample_skip(thread_self, context, class, size)))
			return zero ? memset(block, 0, size) : block;
	}
	return allocate_missed(size, class, zero, context, frame);
}

/* The cache of the return address had none, which is always so behind a wrapper: the way of most programs' blocks. */
void *allocate_behind(size_t size, uintptr_t pc, uintptr_t frame)
{
	unsigned class = class_of_small(size);
	uintptr_t context = SITELESS ? 0 : context_usual(pc, frame);
	void *block = context ? thread_take(thread_self, context, class, size) : NULL;
	return __builtin_expect(block != NULL, 1) ? block : allocate_behind_slow(size, class, false, pc, frame);
}

/* A block of more bytes than the class needs, if need be. */
static inline void *allocate_class(size_t size, unsigned class, bool zero, uintptr_t pc, uintptr_t frame)
{
	void *block = class < CLASSES ? thread_take(thread_self, pc, class, size) : NULL;
	if (block)
		return zero ? memset(block, 0, size) : block;
	return allocate_behind_slow(size, class, zero, pc, frame);
}

void *allocate_slow(size_t size, uintptr_t pc, uintptr_t frame)
{
	return allocate_class(size, size <= CLASS_SIZE_MAX ? class_of_large(size) : CLASSES, false, pc, frame);
}

void *allocate_aligned_from(size_t size, size_t align, uintptr_t pc, uintptr_t frame)
{
	enum ledger_reason why = size > CLASS_SIZE_MAX ? REASON_LARGE : REASON_ALIGNED;
	if (align <= 16)
		return allocate_from(size, pc, frame);
	if (IDENTITY)
		identity_note(pc, frame);
	if (!process_start())
		return process_is_inert() ? inert_memalign(align, size) : early_block(size); /* nobody aligns so early */
	if (size > PTRDIFF_MAX - align)
		return refuse();
	unsigned class = align <= PAGE && size <= CLASS_SIZE_MAX ? class_of_aligned(size, align) : CLASSES;
	if (!SITELESS)
		pc = context_of(pc, frame);
	void *block = class < CLASSES ? thread_take(thread_self, pc, class, size) : NULL;
	struct cache *cache = block || class == CLASSES ? NULL : route_cache(thread_self, pc, class);
	if (cache && route_is_armed(cache))
		pc = meet_armed((uint16_t)(cache - thread_self->heap.caches), size, pc, frame, &block);
	if (cache && !block && (cache = route_cache(thread_self, pc, class)))
		block = cache_take(cache, size);
	if (block)
		return block;
	pc = context_meet(pc, frame);
	block = class < CLASSES ? from_pools(size, class, pc, &why) : NULL;
	if (block) {
		is_untouched(block);
		if (size >= sample_alone)
			sample_pooled(block, size, frame);
		return block;
	}
	return from_fallback(size, align, false, pc, frame, why);
}

void *allocate_zeroed_from(size_t size, uintptr_t pc, uintptr_t frame)
{
	if (size > CLASS_SHARED_MAX)
		return allocate_class(size, class_or_none(size), true, pc, frame);
	void *block = allocate_from(size, pc, frame);
	return block ? memset(block, 0, size) : NULL;
}

static void release_outside(void *block)
{
	if (!block || early_holds(block))
		return;
	if (process_is_inert())
		inert_free(block);
	else if (fallback_is_up())
		fallback_give(block);
	else
		die("free of a block that is not allocated", block);
}

void release_other(void *block)
{
	if (!range_holds(block)) {
		release_outside(block);
		return;
	}
	struct thread *thread = thread_self;
	struct slab *slab = slab_of(block);
	uintptr_t owner = slab_owner(slab);
	if (owner == 0)
		die("free of a block that is not allocated", block);
	if (owner != (uintptr_t)&thread->heap) {
		if (atomic_load_explicit(&slab->watched, memory_order_relaxed))
			lifetime_end_elsewhere(block);
		struct heap *sender = thread_sender(thread);
		if (sender)
			heap_free_foreign(sender, slab, block);
		else
			heap_free_remote(slab, block);
		return;
	}
	struct cache *cache = &thread->heap.caches[slab_tag(slab, block)];
	if (cache_give(cache, block))
		ready_overflow(thread, cache);
}

/* The return address a pooled block was born at. */
static uintptr_t birth_pc(const struct slab *slab, const void *block)
{
	struct heap *heap;
	uint16_t tag = slab_whose(slab, block, &heap);
	uintptr_t pc = site_pc(route_at(thread_of(heap), tag)->site);
	return pc ? pc : PC_OTHER;
}

static inline void count_in_place(struct route *route, size_t size)
{
	route->realloc_allocs++;
	route->realloc_space += size;
}

/* `fresh` is the block after it. */
static void count_realloc(uintptr_t pc, unsigned class, size_t size, const void *fresh, bool in_place)
{
	struct thread *thread = thread_get();
	struct route *route = thread ? route_of(thread, pc, class) : NULL;
	if (route) {
		if (in_place)
			count_in_place(route, size);
		else
			route_count_move(route, usable_size(fresh), size);
		return;
	}
	struct site_fallback *on = site_fallback(site_of(pc)); /* too late in the thread's life for a route */
	fallback_count_resize(on, class_table[class].size, usable_size(fresh), size, !in_place);
	if (in_place) {
		atomic_fetch_add_explicit(&on->allocs, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&on->frees, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&on->space, size, memory_order_relaxed);
		atomic_fetch_add_explicit(&on->by_size[fallback_size_bucket(class_table[class].size)], 1, memory_order_relaxed);
	}
}

/* Shrinking moves only where it gives back more than a quarter, and never within a class. 0 bytes fit nowhere. */
static inline bool fits_in_place(size_t size, size_t usable)
{
	return size - 1 < usable && usable - size < usable / 4 + (1 << CLASS_STEP_SHIFT);
}

/* The class a block moves to or becomes. One that grew in a small step, or is large, will grow again: it gets room. What a
 * large block does not use of its own is not touched, so its room costs addresses. */
static unsigned class_to_grow(size_t size, size_t usable)
{
	if (size > CLASS_SIZE_MAX)
		return CLASSES;
	if (size > usable && size >= LARGE_GROWTH)
		return class_of(size < CLASS_SIZE_MAX / 2 ? 2 * size : CLASS_SIZE_MAX);
	if (size > usable && size - usable <= usable / 8) {
		unsigned class = class_of(usable + usable / 4);
		if (fits_in_place(size, class_table[class].size))
			return class;
	}
	return class_of(size);
}

/* Of a single-block class. */
static bool is_roomy(unsigned class, size_t size)
{
	return class_table[class].size - size > class_table[class].size / 4;
}

/* A block with room has more than a quarter to spare; one that then shrinks again, to less than three eighths, loses it. */
static bool slab_fits(const struct slab *slab, size_t size)
{
	size_t usable = class_table[slab->class].size;
	if (fits_in_place(size, usable) || !class_is_single(slab->class))
		return fits_in_place(size, usable); /* other blocks' threads write to the record */
	return slab->roomy && size <= usable && size >= usable / 8 * 3;
}

/* The block keeps its site, whose context is `pc`; `frame` is realloc's. */
static void *move(void *block, size_t usable, size_t size, unsigned class, uintptr_t pc, uintptr_t frame)
{
	void *fresh = class < CLASSES ? thread_take(thread_self, pc, class, size) : NULL;
	if (!fresh && !(fresh = allocate_missed(size, class, false, pc, frame | SAMPLE_REALLOC)))
		return NULL;
	struct slab *slab = range_holds(fresh) ? slab_of(fresh) : NULL;
	if (slab && class_is_single(slab->class))
		slab->roomy = is_roomy(slab->class, size);
	return memcpy(fresh, block, size < usable ? size : usable);
}

/* A block that is its slab's only one grows into what is free behind it, and gives back what it no longer needs. */
static bool resize_in_place(struct thread *thread, struct slab *slab, size_t size, unsigned class)
{
	if (!class_is_single(slab->class) || size <= CLASS_SHARED_MAX || size > CLASS_SIZE_MAX)
		return false;
	unsigned least = class_of(size);
	if (route_resize(thread, slab, class, size))
		slab->roomy = is_roomy(class, size);
	else if (least != class && route_resize(thread, slab, least, size))
		slab->roomy = false;
	else
		return false;
	return true;
}

/* A block of the calling thread's own heap: its cache knows its birth, its route takes the count. */
static void *reallocate_own(struct thread *thread, struct slab *slab, void *block, size_t size, uintptr_t frame)
{
	uint16_t tag = slab_tag(slab, block);
	struct route *route = route_at(thread, tag);
	size_t usable = class_table[slab->class].size;
	if (slab_fits(slab, size)) {
		count_in_place(route, size);
		return block;
	}
	unsigned class = class_to_grow(size, usable);
	if (resize_in_place(thread, slab, size, class)) {
		if (size >= sample_alone)
			sample_pooled(block, size, frame | SAMPLE_REALLOC);
		return block;
	}
	void *fresh = move(block, usable, size, class, key_pc(thread->heap.caches[tag].key), frame);
	if (!fresh)
		return NULL;
	route_count_move(route, usable_size(fresh), size); /* on the route it leaves: the site is the same */
	release(block);
	return fresh;
}

static __attribute__((noinline)) void *reallocate_pooled(void *block, size_t size, uintptr_t frame)
{
	struct thread *thread = thread_self;
	struct slab *slab = slab_of(block);
	uintptr_t owner = slab_owner(slab);
	if (size == 0) {
		release(block);
		return NULL;
	}
	if (size > PTRDIFF_MAX)
		return refuse();
	if (owner == 0)
		die("realloc of a block that is not allocated", block);
	if (owner == (uintptr_t)&thread->heap)
		return reallocate_own(thread, slab, block, size, frame);
	unsigned class = slab->class;
	uintptr_t pc = birth_pc(slab, block);
	bool in_place = slab_fits(slab, size);
	void *fresh = in_place ? block : move(block, class_table[class].size, size, class_or_none(size), pc, frame);
	if (fresh)
		count_realloc(pc, class, size, fresh, in_place);
	if (fresh && !in_place)
		release(block);
	return fresh;
}

static void *reallocate_fallback(void *block, size_t size, uintptr_t frame)
{
	size_t usable = fallback_usable(block);
	if (size > CLASS_SIZE_MAX || fits_in_place(size, usable)) {
		enum ledger_reason small = range.bytes ? REASON_CAPACITY : REASON_RANGE; /* why it was here to begin with */
		uintptr_t born = fallback_pc(block);
		void *fresh = fallback_resize(block, size, size > CLASS_SIZE_MAX ? REASON_LARGE : small);
		if (!fresh)
			return refuse();
		sample_fallback(size, born, frame | SAMPLE_REALLOC);
		return fresh;
	}
	uintptr_t pc = fallback_pc(block);
	void *fresh = move(block, usable, size, class_or_none(size), pc ? pc : PC_OTHER, frame);
	if (!fresh)
		return NULL;
	fallback_count_move(block, usable, usable_size(fresh), size);
	fallback_give(block);
	return fresh;
}

static __attribute__((noinline)) void *reallocate_other(void *block, size_t size, uintptr_t pc, uintptr_t frame)
{
	if (!block)
		return allocate_from(size, pc, frame);
	if (process_is_inert() && !early_holds(block))
		return inert_realloc(block, size);
	if (size == 0) {
		release(block);
		return NULL;
	}
	if (size > PTRDIFF_MAX)
		return refuse();
	if (early_holds(block)) {
		void *fresh = allocate_from(size, pc, frame);
		size_t usable = early_usable(block);
		return fresh ? memcpy(fresh, block, size < usable ? size : usable) : NULL;
	}
	return reallocate_fallback(block, size, frame);
}

/* A block that shares a slab of the calling thread's moves: one allocation, one copy, one free, on its birth site. */
static __attribute__((noinline)) void *reallocate_small(struct thread *thread, uint16_t tag, void *block, size_t usable,
                                                        size_t size, uintptr_t frame)
{
	uintptr_t pc = key_pc(thread->heap.caches[tag].key);
	unsigned class = class_to_grow(size, usable);
	void *fresh = thread_take(thread, pc, class, size);
	if (!fresh && !(fresh = allocate_missed(size, class, false, pc, frame | SAMPLE_REALLOC)))
		return NULL;
	memcpy(fresh, block, size < usable ? size : usable);
	route_count_move(route_at(thread, tag), class_table[class].size, size);
	struct cache *cache = &thread->heap.caches[tag]; /* only now: caches move when a tag is added */
	if (cache_give(cache, block))
		ready_overflow(thread, cache);
	return fresh;
}

/* In place of the thread's own, which most are, without a call. */
void *reallocate_from(void *block, size_t size, uintptr_t pc, uintptr_t frame)
{
	uintptr_t offset = (uintptr_t)block - (uintptr_t)range.base;
	if (offset >= range.bytes)
		return reallocate_other(block, size, pc, frame);
	struct thread *thread = thread_self;
	const struct slab *slab = &range.slabs[offset >> GRANULE_SHIFT];
	if (slab_owner(slab) != (uintptr_t)&thread->heap) /* or behind its slab's first granule */
		return reallocate_pooled(block, size, frame);
	uint16_t tag = own_tag(slab, offset);
	size_t usable = class_table[slab->class].size;
	if (fits_in_place(size, usable)) {
		count_in_place(route_at(thread, tag), size);
		return block;
	}
	if (size - 1 < CLASS_SHARED_MAX && usable <= CLASS_SHARED_MAX)
		return reallocate_small(thread, tag, block, usable, size, frame);
	return reallocate_pooled(block, size, frame);
}

size_t usable_size(const void *block)
{
	if (!block)
		return 0;
	if (range_holds(block))
		return class_table[slab_of(block)->class].size;
	if (early_holds(block))
		return early_usable(block);
	return process_is_inert() ? inert_usable_size(block) : fallback_usable(block);
}
