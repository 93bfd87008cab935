/* thread.h: what one thread of the program knows, and the fast path over it.
 *
 * A slot is a route's hot half: the blocks ready for one (return address, class) and what has been asked for since the
 * last refill. Slots lie in an open-addressed table that doubles when it is half full; a slot's tag names the cold half,
 * struct route, which stays where it is. One allocation reads one slot and one block:
 *
 *   thread_self ─► slots[hash(pc, class)] ─► free block ─► next free block
 *
 * Exactness: `allocs` and `space` are folded into the route when the list is refilled, so they stay small, and nothing
 * is counted anywhere else on the way. What is freed is counted in the slab (see pools/slab.h).
 *
 * thread_self is the library's only thread-local variable. Until a thread has a heap it points at a front whose single
 * slot never matches, so the fast path needs no test for it.
 */
#ifndef SLUICE_THREAD_H
#define SLUICE_THREAD_H

#include "pools/heap.h"

#include <stddef.h>
#include <stdint.h>

struct slot {
	uint64_t key;    /* route_key; 0: empty */
	void *free;      /* blocks ready, linked by their first word */
	uint64_t space;  /* bytes requested since the last fold */
	uint32_t allocs; /* blocks taken since the last fold */
	uint32_t tag;    /* of struct route */
};

_Static_assert(sizeof(struct slot) == 32, "two slots a cache line");

struct front {
	struct slot *slots;
	uint64_t mask; /* (number of slots - 1) * sizeof(struct slot) */
};

struct route; /* route.h */

enum { ROUTES_CHUNK = 64 };

struct thread {
	struct front front;
	struct heap heap;
	uint32_t slots_used;
	uint32_t refills;
	uint64_t ready_bytes;       /* blocks in the slots' lists, as handed over */
	uint64_t ready_owned_bytes; /* those of owned pools */
	int64_t live_noted;         /* live bytes last told to peak.h */
	uint32_t ledger_thread;     /* its record in the ledger */
	uint64_t base_objects, base_space; /* the heap's totals when this thread took it over */
	struct route *routes[HEAP_TAGS_MAX / ROUTES_CHUNK];
};

extern __thread struct thread *thread_self __attribute__((tls_model("initial-exec")));

/* The calling thread's own, made or adopted if need be; NULL: no memory, too early, or too late in its life. */
struct thread *thread_get(void);

/* The calling thread's own if it has one. */
struct thread *thread_if_any(void);

/* Once, before any thread allocates; safe to call before constructors. */
void threads_init(void);

/* The child of a fork: only the calling thread is left. */
void threads_fork_child(void);

static inline struct thread *thread_of(struct heap *heap)
{
	return (struct thread *)((char *)heap - offsetof(struct thread, heap));
}

static inline uint64_t route_key(uintptr_t pc, unsigned class)
{
	return (uint64_t)pc << 7 | class; /* CLASSES < 128; user addresses have at most 57 bits */
}

static inline struct slot *slot_home(const struct front *front, uint64_t key)
{
	/* 2^64 / golden ratio; the product's upper bits depend on all of the key's (Knuth, TAOCP 3, 6.4). */
	return (struct slot *)((char *)front->slots + ((key * UINT64_C(0x9E3779B97F4A7C15) >> 44) & front->mask));
}

/* A block for `size` bytes out of the slot the key hashes to; NULL: route_refill must look closer. */
static inline void *slot_take(struct thread *thread, uint64_t key, size_t size)
{
	struct slot *slot = slot_home(&thread->front, key);
	void *block = slot->free;
	if (__builtin_expect(slot->key != key || !block, 0))
		return NULL;
	slot->free = *(void **)block;
	slot->space += size;
	slot->allocs++;
	return block;
}

#endif
