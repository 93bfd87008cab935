/* sample.c: see sample.h. */
#define _GNU_SOURCE
#include "sample.h"

#include "chance.h"
#include "pools/pool.h"
#include "sample_table.h"
#include "site.h"
#include "unwind.h"

/* A random allocation of a stretch is unwound, or of its first 4096, or of so many as are an eighth of the bytes that the sample
 * stands for: so at most one in 16 of a route's allocations takes the slow way. */
enum { WINDOW_SHARE = 8, WINDOW_MOST = 4096 };

enum {
	SWEEP_REFILLS = 32, /* so often SWEEP_TAGS further routes tell their bytes: those that live from their caches */
	SWEEP_TAGS = 16,
	DUE_MOST = 8,     /* stacks to be seen for one stretch, however long */
	PHASE_MOST = 15,  /* further refills are all alike */
	ALONE_SHARE = 16, /* of a period */
	PERIOD_MAX_BITS = 40
};

uint64_t sample_period, sample_alone = SIZE_MAX;
static uint8_t generation; /* of processes, as lifetime.c's */

void sample_begin(uint64_t period)
{
	const uint64_t most = UINT64_C(1) << PERIOD_MAX_BITS;
	sample_period = SITELESS ? 0 : period < most ? period : most;
	sample_alone = sample_period ? (sample_period + ALONE_SHARE - 1) / ALONE_SHARE : SIZE_MAX;
}

static uint64_t gap(struct thread *thread)
{
	return chance_gap(&thread->sample_dice, sample_period);
}

/* Two threads, processes or runs shall not draw alike. */
static void seed(struct thread *thread)
{
	uint64_t pid = ledger() ? ledger()->run.pid : 0;
	thread->sample_dice = (uintptr_t)thread ^ pid << 40 ^ (uint64_t)generation << 32;
	chance_roll(&thread->sample_dice);
	thread->sample_left = gap(thread);
}

/* How many sampling points fall into the next `bytes` bytes of the thread's, up to DUE_MOST. */
static unsigned points(struct thread *thread, uint64_t bytes)
{
	unsigned count = 0;
	if (!thread->sample_left)
		seed(thread);
	while (bytes >= thread->sample_left && count < DUE_MOST) {
		bytes -= thread->sample_left;
		thread->sample_left = gap(thread);
		count++;
	}
	if (count < DUE_MOST) /* else a gap that begins here is as good as any: they have no memory */
		thread->sample_left -= bytes;
	return count;
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return value < most ? value : most;
}

/* Allocations of `bytes` bytes, as those of the route are. */
static uint64_t allocs_of(const struct thread *thread, uint16_t tag, uint64_t bytes)
{
	const struct cache *cache = &thread->heap.caches[tag];
	uint64_t each = cache->allocs ? cache->space / cache->allocs : 0;
	return bytes / (each ? each : 1);
}

static void roll_skip(struct thread *thread, struct route_sample *s)
{
	s->skip = s->window ? (uint16_t)(chance_roll(&thread->sample_dice) % s->window) : 0;
}

/* Several draws wait together, and share their weights evenly; so where they are to be seen is decided by weight. */
static void await(struct thread *thread, uint16_t tag, uint64_t bytes, uint64_t weight, unsigned count)
{
	struct route_sample *s = &route_at(thread, tag)->sample;
	bool takes_over = !s->due || chance_roll(&thread->sample_dice) % (s->weight + weight) < weight;
	s->due = (uint8_t)at_most(s->due + count, UINT8_MAX);
	s->weight += weight;
	if (!takes_over)
		return;
	uint64_t window = at_most(allocs_of(thread, tag, s->weight / s->due) / WINDOW_SHARE, WINDOW_MOST);
	s->window = (uint16_t)at_most(allocs_of(thread, tag, bytes), window);
	s->after = s->phase;
	roll_skip(thread, s);
}

static void draw(struct thread *thread, uint16_t tag, uint64_t bytes, unsigned count)
{
	const struct route *route = route_at(thread, tag);
	uint64_t weight = chance_weight(bytes, sample_period);
	/* A twin is never asked for: its blocks, one in some hundreds, count among the bytes only. */
	if (sample_table_drawn(route->site, bytes, weight) && !route->is_twin && route->site != SITE_OTHER)
		await(thread, tag, bytes, weight, count);
}

/* The stretch so far. true: it was drawn. */
static bool pass(struct thread *thread, uint16_t tag)
{
	struct route *route = route_at(thread, tag);
	uint64_t space = thread->heap.caches[tag].space + route->realloc_space, bytes = space - route->sample.space_seen;
	route->sample.space_seen = space;
	if (route->sample.generation != generation) { /* where the parent's bytes end is not known */
		route->sample = (struct route_sample){.generation = generation, .space_seen = space};
		return false;
	}
	if (bytes < thread->sample_left) {
		thread->sample_left -= bytes;
		return false;
	}
	unsigned count = bytes ? points(thread, bytes) : 0;
	if (count)
		draw(thread, tag, bytes, count);
	return count;
}

static void sweep(struct thread *thread)
{
	uint32_t tags = thread->heap.tags;
	thread->sweep_at = thread->refills + SWEEP_REFILLS;
	for (uint32_t i = 0; i < SWEEP_TAGS && i < tags; i++) {
		thread->sweep_tag = thread->sweep_tag < tags ? thread->sweep_tag + 1 : 1;
		if (pass(thread, (uint16_t)thread->sweep_tag) && route_at(thread, thread->sweep_tag)->sample.due) {
			/* Now is a moment that other routes have chosen: as good as any. */
			route_at(thread, thread->sweep_tag)->sample.waits = false;
			route_arm(thread, (uint16_t)thread->sweep_tag);
		}
	}
}

/* Where a cache overflows and runs dry in turn, the stretches between are each of their own kind, as a batch's beginning and
 * end are; so they are told apart by how many refills there were since an overflow. */
void sample_event(struct thread *thread, uint16_t tag, enum sample_event event)
{
	struct route_sample *s = &route_at(thread, tag)->sample;
	if (!sample_period)
		return;
	bool drawn = pass(thread, tag);
	if (event == SAMPLE_OVERFLOW) {
		s->overflows = true;
		s->phase = 0;
	} else if (s->overflows && s->phase < PHASE_MOST) {
		s->phase++;
	}
	if (s->due && (drawn || s->waits)) {
		s->waits = s->phase != s->after;
		if (!s->waits)
			route_arm(thread, tag);
	}
	if (event == SAMPLE_REFILL && thread->refills >= thread->sweep_at)
		sweep(thread);
}

/* --- a stack ------------------------------------------------------------------------------------------------------ */

/* A handler that interrupts it on this thread takes none. */
static void take(struct thread *thread, uint16_t site, uint64_t weight, uintptr_t frame)
{
	struct unwound seen;
	if (!(frame & ~SAMPLE_REALLOC) || site == SITE_OTHER)
		return;
	if (thread->sampling) {
		sample_table_drop();
		return;
	}
	thread->sampling = true;
	unwind(frame & ~SAMPLE_REALLOC, UNWIND_FRAMES_MAX, &seen);
	sample_table_add(site, weight, &seen, frame & SAMPLE_REALLOC);
	thread->sampling = false;
}

void sample_armed(struct thread *thread, uint16_t tag, uintptr_t frame)
{
	const struct route *route = route_at(thread, tag);
	struct route_sample *s = &route_at(thread, tag)->sample;
	uint64_t weight = 0;
	if (s->due && !s->waits) {
		if (s->skip) {
			s->skip--;
			return;
		}
		weight = s->weight / s->due--;
		s->weight -= weight;
		s->waits = s->due && s->phase != s->after;
		roll_skip(thread, s);
	}
	route_disarm(thread, tag);
	if (weight && s->generation == generation)
		take(thread, route->site, weight, frame);
}

static void alone(struct thread *thread, uint16_t site, uint64_t bytes, uintptr_t frame)
{
	if (!bytes || !points(thread, bytes))
		return;
	uint64_t weight = chance_weight(bytes, sample_period);
	if (sample_table_drawn(site, bytes, weight))
		take(thread, site, weight, frame);
}

void sample_pooled(const void *block, size_t size, uintptr_t frame)
{
	struct heap *heap;
	uint16_t tag = slab_whose(slab_of(block), block, &heap);
	struct thread *thread = thread_of(heap);
	struct route *route = route_at(thread, tag);
	if (route->sample.generation != generation)
		return;
	route->sample.space_seen += size;
	alone(thread, route->site, size, frame);
}

void sample_fallback(size_t size, uintptr_t pc, uintptr_t frame)
{
	struct thread *thread = sample_period ? thread_if_any() : NULL;
	if (!thread)
		return;
	if (size > CLASS_SIZE_MAX) /* compared with what it costs, this is nothing */
		sweep(thread);
	if (thread->sample_left > size)
		thread->sample_left -= size;
	else
		alone(thread, site_of(pc), size, frame);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

/* On a clock of its own: it may run beside the threads. */
void sample_unseen(void (*add)(void *, uint16_t, uint64_t, uint64_t), void *context)
{
	static struct thread clock;
	if (!sample_period)
		return;
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++) {
			const struct route *route = route_at(thread_of(heap), tag);
			uint64_t space = heap->caches[tag].space + route->realloc_space, bytes = space - route->sample.space_seen;
			if (bytes && bytes <= space && route->sample.generation == generation && points(&clock, bytes))
				add(context, route->site, bytes, chance_weight(bytes, sample_period));
		}
}

void sample_fork_child(void)
{
	struct thread *thread = thread_if_any();
	generation++;
	if (thread)
		thread->sample_left = 0; /* its brothers shall not draw alike */
	sample_table_fork_child();
}
