/* heap.h: everything one thread allocates from.
 *
 * A heap has one shared pool per class and up to HEAP_OWNED_MAX owned pools, each for one (tag, class). A tag is a
 * number the caller gives a kind of block; pools/ does not know what it means, it only counts by it. A heap belongs to
 * one thread at a time and needs no lock:
 *
 *   LIVE       a thread allocates from it; only that thread may touch it
 *   ABANDONED  its thread is gone; whoever wins the state may act for it
 *   BORROWED   somebody does, for a moment
 *   LOST       its thread vanished in a fork, perhaps in the middle of a change: never touched again
 *
 * A new thread adopts an abandoned heap whole. Blocks freed by other threads wait on their slab, and the slab on the
 * heap's `pending` list, until the heap's owner drains it; for an abandoned heap the thread that frees a slab's last
 * block drains it. Heaps are never given back: their number is the highest number of threads that was alive at once.
 */
#ifndef SLUICE_HEAP_H
#define SLUICE_HEAP_H

#include "slab.h"

enum heap_state { HEAP_LIVE, HEAP_ABANDONED, HEAP_BORROWED, HEAP_LOST };

enum {
	HEAP_OWNED_MAX = 4096,
	HEAP_OWNED_CHUNK = 64,
	HEAP_TAGS_MAX = 16384,
	HEAP_TAGS_CHUNK = 64,
	POOL_NONE = UINT16_MAX
};

struct pool {
	uint32_t current; /* slab being taken from, or SLAB_NIL */
	uint32_t partly;  /* list of slabs with free blocks */
	uint32_t full;    /* list of slabs without */
	uint32_t slabs;   /* in all three */
	uint32_t taken;   /* pool_take calls since heap_age last looked */
	uint16_t tag;     /* owned pools */
	uint16_t index;   /* in the heap */
	uint8_t class;
	bool shared;
	bool open; /* owned pools: in use */
	uint8_t idle; /* heap_age calls in a row that saw no pool_take */
};

/* What has happened to the blocks of one tag. Written by whoever acts for the heap. */
struct tally {
	uint64_t frees_owned;  /* from owned slabs, as of their last fold */
	uint64_t frees_shared; /* from shared slabs, exact */
	uint64_t frees_remote; /* those of both that another thread made */
};

struct heap {
	_Atomic uint32_t pending; /* slabs with remote frees: index + 1, 0 for none */
	_Atomic uint32_t state;   /* enum heap_state */
	struct heap *next;            /* all heaps, newest first */
	struct heap *abandoned_next;
	uint32_t id;
	uint32_t tags;             /* tags in use; 0 is never given */
	uint64_t live_bytes;       /* used blocks of all slabs, as of their last folds */
	uint64_t owned_bytes;      /* owned slabs */
	uint64_t owned_live_bytes; /* used blocks of owned slabs, as of their last folds */
	uint32_t owned_pools;      /* open ones */
	uint32_t owned_slots;      /* open ones and reusable ones */
	struct pool shared[CLASSES];
	struct pool *owned[HEAP_OWNED_MAX / HEAP_OWNED_CHUNK];
	struct tally *tallies[HEAP_TAGS_MAX / HEAP_TAGS_CHUNK];
};

/* Makes a fresh heap of memory the caller gives (zeroed; the heap may be the head of a larger struct) and lists it. */
void heap_init(struct heap *heap);

/* An abandoned heap, now LIVE and the caller's, or NULL. */
struct heap *heap_adopt(void);

/* The calling thread is done with it. All blocks it held ready must have been given back with pool_untake. */
void heap_abandon(struct heap *heap);

/* Takes an abandoned heap for a moment. false: somebody else has it. */
bool heap_borrow(struct heap *heap);
void heap_return(struct heap *heap);

/* Newest heap; follow `next`. Heaps never leave the list. */
struct heap *heap_first(void);

/* A new tag, or 0 when there are too many or no memory. */
uint16_t heap_tag_new(struct heap *heap);

static inline struct tally *heap_tally(const struct heap *heap, uint16_t tag)
{
	return &heap->tallies[tag / HEAP_TAGS_CHUNK][tag % HEAP_TAGS_CHUNK];
}

/* Brings home what other threads freed. */
void heap_drain(struct heap *heap);

/* Once in a while (the caller counts pool_take): gives back slabs of pools that nobody takes from. Owned pools that
 * have been idle for HEAP_IDLE_AGES and are less than half used become shared; `lost(heap, tag, class)` is told. */
void heap_age(struct heap *heap, void (*lost)(struct heap *, uint16_t tag, unsigned class));

/* Frees `block` of another heap's slab. */
void heap_free_remote(struct slab *slab, void *block);

/* The tag of a block in use and the heap it belongs to; any thread may ask. */
uint16_t slab_whose(const struct slab *slab, const void *block, struct heap **heap);

/* Moves a partly free shared slab of the class from an abandoned heap to `heap`, or does nothing. `translate` gives a
 * tag of `heap` for a tag of `from`, 0 when it cannot. */
bool heap_claim(struct heap *heap, unsigned class, uint16_t (*translate)(struct heap *heap, struct heap *from, uint16_t));

void heap_fork_prepare(void);
void heap_fork_parent(void);
void heap_fork_child(struct heap *mine); /* every other heap that is LIVE or BORROWED is LOST here */

#endif
