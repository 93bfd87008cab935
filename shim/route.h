/* route.h: for each (return address, class) of a thread, which pool serves it.
 *
 * A route is the cold half of a tag; the hot half is its cache (pools/cache.h). Every route begins with the shared pool
 * of its class, and with one block at a time; its batches double as it goes on, and with them what its cache may hold
 * (ready.h). It earns a pool of its own when it has about a slab of live bytes and the budget allows (budget.h), and
 * loses it when the pool is mostly empty and nobody asks (heap_age).
 */
#ifndef SLUICE_ROUTE_H
#define SLUICE_ROUTE_H

#include "analytics/ledger.h"
#include "thread.h"

#define PC_OTHER ((uintptr_t)1) /* stands for all sites without a route of their own; no code is there */

/* Counters by where the blocks came from. */
enum route_kind { KIND_OWNED, KIND_SHARED, ROUTE_KINDS };

/* Of a route, sample.c's. */
struct route_sample {
	uint64_t space_seen;  /* bytes asked for that the clock has seen */
	uint64_t weight;      /* bytes that the stacks to be seen stand for */
	uint16_t window;      /* a random one of so many allocations is the next to be seen */
	uint16_t skip;        /* allocations before it */
	uint8_t due;          /* stacks to be seen */
	uint8_t phase, after; /* the present stretch's; and that in which those are to be seen */
	bool overflows;       /* it has phases at all */
	bool waits;           /* for it to come */
	uint8_t generation;
};

struct route {
	uint64_t allocs[ROUTE_KINDS]; /* of the cache's and realloc_allocs, those before the last change of kind */
	uint64_t space[ROUTE_KINDS];
	uint64_t reallocs;       /* of blocks of the site that moved or changed their class */
	uint64_t realloc_allocs; /* of the others, in place: each counts as one alloc and one free */
	uint64_t realloc_space;  /* bytes requested by those in place */
	uint64_t owned_used;     /* publish.c's: used blocks of owned slabs, summed up while it runs */
	uint64_t realloc_grown;  /* usable bytes that reallocs added */
	uint64_t realloc_shrunk; /* and took away */
	uint64_t
		realloc_shrunk_copied; /* bytes that those that moved to a smaller block copied; the others copy a block each */
	uint64_t realloc_shrunk_moved; /* how many did */
	uint64_t
		realloc_unmoved;   /* of `reallocs`, those whose block changed its class where it lies, and all before a fork */
	uint64_t retry_at;     /* thread's refill number before which ownership is not asked for again */
	uint64_t capped_until; /* refill number before which the site's cap is taken as reached */
	uint32_t seen;         /* low half of the cache's allocs when ready.c last looked */
	uint32_t told_held, told_floor; /* site_peak.h's, in blocks, modulo 2^32 */
	uint16_t site;
	uint16_t pool; /* index of its owned pool, or POOL_NONE */
	uint16_t twin; /* tag of the route that has its watched blocks (lifetime.h); 0: none yet */
	bool is_twin;
	uint8_t generation; /* lifetime.c's */
	bool life_due;      /* the next allocation's block is to be watched (lifetime.h) */
	uint8_t meets;      /* so many of the next allocations are still to say who called (context.h) */
	struct route_sample sample;
	uint64_t sampled_at; /* the cache's allocs at the last sample of a life */
	uint8_t class;
	uint8_t kind;     /* of the last batch */
	uint8_t refilled; /* since the cache last overflowed */
	uint8_t churned;  /* large classes: overflows after a refill, up to the one that earns a ready block */
};

/* Options, set once by the process's start. */
struct route_limits {
	bool own;           /* may a site own slabs at all */
	uint32_t owned_max; /* owned pools a thread may have */
	uint64_t site_max;  /* bytes of blocks one site may have from the pools on one thread; 0: no cap */
	int64_t decay_ms;   /* what lies ready of large classes and is not taken from goes after this; -1: never */
};
extern struct route_limits route_limits;

static inline struct route *route_at(const struct thread *thread, uint32_t tag)
{
	return &thread->routes[tag / ROUTES_CHUNK][tag % ROUTES_CHUNK];
}

/* A block of the class for `size` bytes asked for at `pc`, when thread_take had none. NULL: *why says what to count the
 * fallback for. */
void *route_refill(struct thread *thread, uintptr_t pc, unsigned class, size_t size, enum ledger_reason *why);

/* The route's next allocation misses: a key that no look-up has is in its cache's key. Nothing else changes. */
void route_arm(struct thread *thread, uint16_t tag);

/* No longer, unless a caller, a life or a stack is to be looked at. */
void route_disarm(struct thread *thread, uint16_t tag);

static inline bool route_is_armed(const struct cache *cache)
{
	return key_class(cache->key) == KEY_ARMED;
}

/* The cache that serves (pc, class) on this thread if there is one; any thread_self will do. */
struct cache *route_cache(struct thread *thread, uintptr_t pc, unsigned class);

/* The route's twin, made if need be; 0: no memory or no tag left. */
uint16_t route_twin(struct thread *thread, uint16_t tag);

/* The route of (pc, class) on this thread, made if need be; NULL: no memory. */
struct route *route_of(struct thread *thread, uintptr_t pc, unsigned class);

/* The site is known by another address: every thread's routes of it are found by that one alone. */
void routes_rename(uint16_t site, uintptr_t pc);

/* A realloc moved a block of the class's size off this route to one of `after` usable bytes, for `size` bytes. */
static inline void route_count_move(struct route *route, size_t after, size_t size)
{
	size_t before = class_table[route->class].size;
	route->reallocs++;
	if (__builtin_expect(after >= before, 1)) {
		route->realloc_grown += after - before;
		return;
	}
	route->realloc_shrunk += before - after;
	route->realloc_shrunk_copied += size < before ? size : before;
	route->realloc_shrunk_moved++;
}

/* May the site hold one more block of the tag's class? */
bool route_may_take(const struct thread *thread, uint16_t tag);

/* Makes a block of this thread, its slab's only one, one of the single-block class `class` where it lies, on the route of
 * its birth; false: it cannot be. Counters: as if it had been freed and allocated with `size` bytes. */
bool route_resize(struct thread *thread, struct slab *slab, unsigned class, size_t size);

#endif
