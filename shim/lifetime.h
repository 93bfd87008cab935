/* lifetime.h: how long blocks live, by samples, at a cost of nothing on the fast path.
 *
 *   arm      now and then, at a refill of whatever route, a route that has allocated enough since its last sample gets a key
 *            in its cache that no look-up has: the next allocation there misses, and nothing else changes
 *   watch    that allocation gets a block from a shared slab, under a tag of its own: the route's twin, a route of the same
 *            site and class whose cache may hold nothing. The block's birth is noted in a small table
 *   end      so its free finds a cache without room and goes the slow way, where its life is told; a free by another thread
 *            goes the slow way anyway and sees that the slab is marked
 *
 * A sample stands for the allocations that its route made since the one before it (its weight), so the weights of a site's
 * samples add up to its allocations, but for those since the last one. Which allocation is taken does not depend on the
 * block: it is the first after a moment that other routes' refills determine. Rates are in lifetime.c; who is not seen, and
 * the error, in analytics/README.md. Any thread may call anything here; a clash of two threads loses a sample, no more.
 */
#ifndef SLUICE_LIFETIME_H
#define SLUICE_LIFETIME_H

#include "route.h"

/* Whether lives are sampled at all: option `lifetimes`. */
extern bool lifetime_on;

/* At each refill of the thread: arms a route if it is time. */
void lifetime_look(struct thread *thread);

/* Is the route armed for a life? Then the allocation that found it so calls lifetime_watch. */
static inline bool lifetime_is_due(const struct thread *thread, uint16_t tag)
{
	return route_is_armed(&thread->heap.caches[tag]) && route_at(thread, tag)->life_due;
}

/* Disarms, and serves the allocation with a block that is watched; NULL: serve it as usual. */
void *lifetime_watch(struct thread *thread, uint16_t tag, size_t size);

/* The cache of a twin has got its block back. */
void lifetime_end(struct thread *thread, uint16_t tag);

/* A block of a marked slab of another thread's is freed; perhaps it is a watched one. */
void lifetime_end_elsewhere(const void *block);

/* The site's samples so far, NULL when there are none; those whose blocks live are in lifetime_alive. */
const struct ledger_life *lifetime_seen(uint16_t site);
uint32_t lifetime_sites(void); /* how many sites have one */

/* Calls `tell` for each watched block that is alive: its site, weight and age. Beside running threads, roughly. */
struct lifetime_age {
	uint16_t site;
	uint32_t weight;
	uint64_t ns, space;
};
void lifetime_alive(void (*tell)(void *, const struct lifetime_age *), void *context);

/* The child of a fork samples anew; what its parent watched is not its own. */
void lifetime_fork_child(void);

#endif
