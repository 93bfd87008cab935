/* slab.h: one slab's record.
 *
 * A slab is a run of granules cut into blocks of one class. Its record lies out of line, in the array `range.slabs`,
 * one record a granule, so "which slab is this block in?" is a subtract, a shift and an add. The record of a run's
 * first granule is the slab; the records behind it say SLAB_REST and how far back the slab is, as far as a slab of
 * several blocks can reach (SLAB_REST_MAX); those behind are as empty as a free granule's.
 *
 *   range.base ───► | granule | granule | granule | ...        blocks, and nothing else
 *   range.slabs ──► [ record  ][ record ][ record ] ...        64 bytes each
 *
 * Blocks are in one of four places:
 *   used      handed to a cache of the heap: with the program, or ready for it. The slab cannot tell, nor does it care
 *   free      on `free`, handed back by a cache
 *   remote    given back by another thread, on `remote`, not yet seen by the heap; they count as used
 *   uncarved  at the end of the slab, never handed out since the slab was made
 * The fast path of a free only reads the record: whose the slab is, and which cache the block goes to.
 *
 *   who writes       | owner, tags, tag         | remote | pending_next          | the rest
 *   owning thread    | yes                      | takes  | when it drains        | yes
 *   any other thread | never (reads: see heap.h)| pushes | first pusher of a lot | never
 */
#ifndef SLUICE_SLAB_H
#define SLUICE_SLAB_H

#include "classes.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum slab_state {
	SLAB_NONE,    /* granule not in a slab, or far behind a long one's first */
	SLAB_REST,    /* a granule behind a slab's first one */
	SLAB_CURRENT, /* its pool takes blocks from it */
	SLAB_PARTLY,  /* has free blocks, waits in its pool's list */
	SLAB_FULL     /* every block is used */
};

enum {
	SLAB_REST_MAX = CLASS_SHARED_GRANULES_MAX,
	SLAB_ONE_TAG = 63 /* in place of a class's tag_shift: shifts every offset to 0 */
};

#define SLAB_NIL UINT32_MAX /* no slab, in a list by index */

#define REMOTE_ALL UINT32_MAX /* in `remote` in place of a list: every block was given back, their bytes are gone */

struct slab {
	_Atomic uintptr_t owner; /* struct heap *; 0 when free */
	uint16_t *tags;    /* of a slab with blocks of several tags: whose each is, by offset >> tag_shift; else &tag */
	uint16_t tag;      /* whose all blocks are, while there is only one */
	uint16_t pool;     /* index in the heap's pools */
	uint16_t granules; /* length of the run; for SLAB_REST: granules back to the slab */
	uint8_t class;
	_Atomic uint8_t state;         /* enum slab_state; other threads read it to tell SLAB_REST from the others */
	void *free;                    /* blocks handed back, linked by their first word */
	_Atomic uint64_t remote;       /* count << 32 | (offset of the first block / 16 + 1), 0 when there is none */
	uint32_t next, prev;           /* neighbours in the pool's list, as indices into range.slabs */
	_Atomic uint32_t pending_next; /* next slab with remote frees for the same heap */
	_Atomic uint16_t used;   /* blocks handed out; a thread that has just freed one here may still look (heap.c) */
	uint16_t carved;         /* blocks ever handed out: the rest of the slab is untouched */
	uint8_t tag_shift;       /* the class's, SLAB_ONE_TAG while all blocks are of one */
	uint8_t charged;         /* granules of the process's allowance it holds (see shim/budget.h) */
	bool zeroed : 1;         /* what was never handed out reads as zeros: its granules are fresh from the kernel */
	bool budgeted : 1;       /* counts as owned in its heap's books: it is, or it was when it was filled */
	bool roomy : 1;          /* its only block is longer than was asked for, to grow into */
	_Atomic uint8_t watched; /* blocks whose frees the caller wants to see, by whatever thread; its own count */
	_Atomic uint16_t moves;  /* odd while it changes hands between heaps: owner and tags do not belong together */
};

_Static_assert(sizeof(struct slab) == 64, "one cache line a granule");

struct range {
	char *base;
	size_t bytes; /* 0 until the range is up, and when there is none: then no pointer is ours */
	struct slab *slabs;
};

extern struct range range;

static inline bool range_holds(const void *p)
{
	return (uintptr_t)p - (uintptr_t)range.base < range.bytes;
}

static inline uint32_t slab_index(const struct slab *slab)
{
	return (uint32_t)(slab - range.slabs);
}

static inline char *slab_start(const struct slab *slab)
{
	return range.base + ((size_t)slab_index(slab) << GRANULE_SHIFT);
}

static inline enum slab_state slab_state(const struct slab *slab)
{
	return (enum slab_state)atomic_load_explicit(&slab->state, memory_order_relaxed);
}

static inline void slab_state_set(struct slab *slab, enum slab_state state)
{
	atomic_store_explicit(&slab->state, (uint8_t)state, memory_order_relaxed);
}

static inline uintptr_t slab_owner(const struct slab *slab)
{
	return atomic_load_explicit(&slab->owner, memory_order_relaxed);
}

static inline uint32_t slab_used(const struct slab *slab)
{
	return atomic_load_explicit(&slab->used, memory_order_relaxed);
}

/* By whoever acts for the heap, so it need not be one step. */
static inline void slab_used_add(struct slab *slab, int32_t count)
{
	atomic_store_explicit(&slab->used, (uint16_t)((int32_t)slab_used(slab) + count), memory_order_relaxed);
}

/* The slab of a block that range_holds. */
static inline struct slab *slab_of(const void *block)
{
	struct slab *slab = &range.slabs[((uintptr_t)block - (uintptr_t)range.base) >> GRANULE_SHIFT];
	return __builtin_expect(slab_state(slab) == SLAB_REST, 0) ? slab - slab->granules : slab;
}

/* Where in `tags` a block's is. */
static inline uint32_t slab_tag_index(const struct slab *slab, const void *block)
{
	return (uint32_t)((uint64_t)((const char *)block - slab_start(slab)) >> class_table[slab->class].tag_shift);
}

/* Do its blocks have tags of their own? */
static inline bool slab_has_tags(const struct slab *slab)
{
	return __atomic_load_n(&slab->tag_shift, __ATOMIC_RELAXED) != SLAB_ONE_TAG;
}

/* Does a tag own the slab, or is it of a pool aside? The first pools of a heap are the shared ones. */
static inline bool slab_is_owned(const struct slab *slab)
{
	return slab->pool >= CLASSES;
}

/* Whose a block of the slab is; any thread may ask. A slab of one tag may be getting tags meanwhile, from its own thread: all
 * of them are its `tag`, which stays, so either answer is right. `tag_shift` does not change in the same step, so it is for
 * the owner alone: with the one of before, the new tags of a slab would all be its first block's. 0: the slab is gone,
 * which only a report beside running threads can meet. */
static inline uint16_t slab_tag(const struct slab *slab, const void *block)
{
	const uint16_t *tags = __atomic_load_n(&slab->tags, __ATOMIC_ACQUIRE); /* partner: tags_make */
	if (tags == &slab->tag)
		return __atomic_load_n(&slab->tag, __ATOMIC_RELAXED);
	return tags ? __atomic_load_n(&tags[slab_tag_index(slab, block)], __ATOMIC_RELAXED) : 0;
}

#endif
