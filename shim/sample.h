/* sample.h: whole stacks of some allocations, drawn by bytes: who is behind a site, beyond the callers that make it.
 *
 *   clock     each thread's bytes run past sampling points, whose distances are exponential with the mean `sample_period`. A
 *             route tells its bytes when it is refilled, when it overflows, and in turn at other routes' refills: they are a
 *             stretch, and when a point falls into it the route is drawn
 *   due       what was drawn is past, so an allocation like it is looked for: where a stretch like it begins again, the route
 *             is armed (route.h), its next allocations take the slow way, and a random one of as many as the stretch had is
 *             unwound. The one that refills would be no random one: it is where the live bytes grow
 *   alone     a block behind the pools, or one that is large for the period and comes from the slabs, is a stretch by itself,
 *             and is unwound itself
 *
 * Nothing of this is on the fast path. What a stretch stands for, and what follows, is in analytics/README.md. A realloc that
 * moves a block is an allocation of the block's site, but its stack says who made it grow, and is kept apart. Any thread may
 * call anything here.
 */
#ifndef SLUICE_SAMPLE_H
#define SLUICE_SAMPLE_H

#include "route.h"

#include <stddef.h>
#include <stdint.h>

/* Mean bytes between two sampling points; 0: no sampling. sample_alone: blocks of so many bytes are stretches by themselves. */
extern uint64_t sample_period, sample_alone;

/* In a frame's address, which is even: the call is realloc's, which does not lead to the block's site. */
#define SAMPLE_REALLOC ((uintptr_t)1)

/* Option `stack_period`; before the first allocation is counted. */
void sample_begin(uint64_t period);

/* Where stretches end, and others begin: a route's refills and overflows. In between it may be asked for its bytes. */
enum sample_event { SAMPLE_REFILL, SAMPLE_OVERFLOW };
void sample_event(struct thread *thread, uint16_t tag, enum sample_event event);

/* An allocation at the armed route, whose interposed call has this canonical frame address (0: unknown). */
void sample_armed(struct thread *thread, uint16_t tag, uintptr_t frame);

/* The same while its turn has not come, for most: a block of the route's cache; NULL: it is not so, or there is none. */
static inline void *sample_skip(struct thread *thread, uintptr_t pc, unsigned class, size_t size)
{
	uint16_t tag = *index_home(&thread->front, pc, class);
	struct cache *cache = &thread->heap.caches[tag];
	if (cache->key != (route_key(pc, class) | KEY_ARMED))
		return NULL;
	struct route *route = route_at(thread, tag);
	if (route->class != class || route->sample.waits || !route->sample.skip || route->life_due || route->meets)
		return NULL;
	void *block = cache_take(cache, size);
	route->sample.skip -= block != NULL;
	return block;
}

/* A block of sample_alone bytes or more that has just come from the slabs. */
void sample_pooled(const void *block, size_t size, uintptr_t frame);

/* A block behind the pools, of the site of `pc`. */
void sample_fallback(size_t size, uintptr_t pc, uintptr_t frame);

/* Before the report: bytes that no clock has seen are drawn now, though nobody can say where they came from. `add` gets the site,
 * bytes and weight of each stretch. */
void sample_unseen(void (*add)(void *, uint16_t, uint64_t, uint64_t), void *context);

void sample_fork_child(void);

#endif
