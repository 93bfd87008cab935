/* heap.h: everything one thread allocates from.
 *
 * A heap has a cache per tag (cache.h), one shared pool per class and up to HEAP_OWNED_MAX owned pools, each for one
 * tag. A tag is a small number the caller gives one kind of block of one class; pools/ does not know what it means. A
 * heap belongs to one thread at a time and needs no lock:
 *
 *   LIVE       a thread allocates from it; only that thread may touch it
 *   ABANDONED  its thread is gone; whoever wins the state may act for it
 *   BORROWED   somebody does, for a moment
 *   LOST       its thread vanished in a fork, perhaps in the middle of a change: never touched again
 *
 * A new thread adopts an abandoned heap whole. What other threads free comes in parcels (parcel.h) to `inbox`, or block by
 * block on their slab, and the slab on the heap's `pending` list, until the heap's owner drains both; for an abandoned
 * heap the thread that sends a parcel or frees a slab's last block does. Heaps are never given back: their number is the
 * highest number of threads that was alive at once.
 */
#ifndef SLUICE_HEAP_H
#define SLUICE_HEAP_H

#include "cache.h"
#include "parcel.h"
#include "slab.h"

enum heap_state { HEAP_LIVE, HEAP_ABANDONED, HEAP_BORROWED, HEAP_LOST };

enum { HEAP_OWNED_MAX = 4096, HEAP_OWNED_CHUNK = 64, HEAP_TAGS_MAX = 16384, POOL_NONE = UINT16_MAX };

struct pool {
	uint32_t current; /* slab being taken from, or SLAB_NIL */
	uint32_t partly;  /* list of slabs with free blocks, taken from its head */
	uint32_t partly_last;
	uint32_t full;  /* list of slabs without */
	uint32_t slabs; /* in all three */
	uint32_t empty; /* of those in `partly`, how many have no used block */
	uint32_t taken; /* pool_take calls since heap_age last looked */
	uint16_t tag;   /* owned pools */
	uint16_t index; /* in the heap */
	uint8_t class;
	bool shared;    /* by all tags; those behind the first CLASSES are pools aside (pool_open_aside) */
	bool open;      /* owned pools: in use */
	uint8_t idle;   /* heap_age calls in a row that saw no pool_take */
	uint8_t growth; /* pool_grow calls of late; heap_age halves it */
};

struct heap {
	struct cache *caches; /* by tag; 0 is never given */
	_Atomic uint32_t
		tags;           /* highest tag in use; its cache and whatever the caller keeps by it come before it is raised */
	uint32_t tags_room; /* entries of `caches` */
	uint32_t id;
	uint32_t owned_pools; /* open ones */
	uint32_t owned_slots; /* open ones and reusable ones */
	uint32_t node;        /* of memory, where its last thread was when it left */
	struct heap *next;    /* all heaps, newest first */
	struct heap *abandoned_next;
	uint64_t used_bytes;       /* used blocks of all slabs: alive and cached */
	uint64_t owned_bytes;      /* slabs that are or were owned (slab->budgeted) */
	uint64_t owned_used_bytes; /* their used blocks */
	uint64_t
		idle_classes[(CLASSES + 63) / 64]; /* a bit a class: an owned pool of it was idle when heap_age last looked */
	uint64_t spare_bytes;                  /* empty slabs of a single block, kept for the next */
	struct outbox outbox;
	char apart[64];               /* what other threads write shares no cache line with what the owner works on */
	_Atomic uint32_t state;       /* enum heap_state */
	_Atomic uint32_t pending;     /* slabs with remote frees: index + 1, 0 for none */
	struct parcel *_Atomic inbox; /* newest first */
	_Atomic bool behind;          /* its owner does not drain as fast as others free: no more parcels until it has */
	_Atomic bool waited;          /* something waited here when somebody looked around (remote.c); a drain clears it */
	_Atomic uint32_t tended;      /* `pending` when there was nothing more to do without the owner */
	char apart_too[64];
	struct pool shared[CLASSES];
	struct pool *owned[HEAP_OWNED_MAX / HEAP_OWNED_CHUNK];
};

/* Makes a fresh heap of memory the caller gives (zeroed; the heap may be part of a larger struct) and lists it. false:
 * no memory; it is not listed then. */
bool heap_init(struct heap *heap);

/* An abandoned heap, now LIVE and the caller's, or NULL. Rather one that was left on the caller's memory node. */
struct heap *heap_adopt(void);

/* The calling thread is done with it. All caches must have been emptied (cache_empty). */
void heap_abandon(struct heap *heap);

/* Takes an abandoned heap for a moment. false: somebody else has it. */
bool heap_borrow(struct heap *heap);
void heap_return(struct heap *heap);

/* Newest heap; follow `next`. Heaps never leave the list. */
struct heap *heap_first(void);

/* A new tag for `key`, its cache empty, or 0 when there are too many or no memory. The caches may move. */
uint16_t heap_tag_new(struct heap *heap, uint64_t key);

/* Another thread may give a heap's cache another key; the owner must not be finding it by the old one any more. */
void cache_rename(struct heap *heap, uint16_t tag, uint64_t key);

/* Hands back all but `keep` of a cache's blocks: the newest ones, which are still warm for it. */
void cache_shrink(struct heap *heap, struct cache *cache, uint64_t keep);

/* Brings home what other threads freed: into the caches as far as they have room, else to the slabs.
 * A cache without room may be given some: cache_over is asked, and says true if it did. */
void heap_drain(struct heap *heap);
extern bool (*cache_over)(struct heap *heap, uint16_t tag);

/* Once in a while (the caller counts pool_take): gives back slabs of pools that nobody takes from. Owned pools that
 * have been idle for some ages and are less than half used become shared; `lost(heap, tag)` is told. */
void heap_age(struct heap *heap, void (*lost)(struct heap *, uint16_t tag));

/* Gives back every empty slab, now. */
void heap_shed(struct heap *heap);

/* Frees `block` of another heap's slab at once: one compare-and-swap on the slab. */
void heap_free_remote(struct slab *slab, void *block);

/* The same from a thread that has a heap: with the next ones for that heap, in one parcel. */
void heap_free_foreign(struct heap *mine, struct slab *slab, void *block);

/* Sends what lies in the heap's own parcels. */
void heap_send(struct heap *heap);

/* Gives the memory of slabs that others have freed whole back to the kernel, though their owners sleep; not `mine`. Once
 * in a while it happens by itself to heaps that have not drained for a decay period. */
void heap_tend_all(const struct heap *mine);

/* The tag of a block in use and the heap it belongs to; any thread may ask. */
uint16_t slab_whose(const struct slab *slab, const void *block, struct heap **heap);

/* Moves a partly free shared slab of the class from an abandoned heap to `heap`. `translate` gives a tag of `heap` for a
 * tag of `from`. Rather from one that was left on the caller's memory node. false: there is none. */
bool heap_claim(struct heap *heap, unsigned class,
                uint16_t (*translate)(struct heap *heap, struct heap *from, uint16_t));

void heap_fork_prepare(void);
void heap_fork_parent(void);
void caches_fork_prepare(void); /* nests inside the caller's own locks */
void caches_fork_parent(void);
void heap_fork_child(struct heap *mine); /* every other heap that is LIVE or BORROWED is LOST here */

/* remote.c's part of it: what was on its way when the other threads vanished is delivered. */
void remote_fork_child(void);

static inline struct heap *slab_heap(const struct slab *slab)
{
	return (struct heap *)atomic_load_explicit(&slab->owner, memory_order_acquire);
}

#endif
