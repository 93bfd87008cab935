/* The bound on memory, as a property of traces that try to break it.
 *
 *   owned slabs  <=  (1 + 1/8) x L_max + allowance + one granule at every
 * moment caches       <=  L_max / 8 + BUDGET_READY_SLACK + BUDGET_READY_TAG a route + BUDGET_LARGE_THREAD + one batch a thread
 * at every moment all slabs    <=  those of the same trace without ownership +
 * the first line + a batch a thread
 *
 * L_max is the most bytes that were alive on a heap so far, summed over the
 * heaps: blocks, by their class's size. A trace runs twice, each time in a
 * process of its own that starts with empty pools: first with `own` off, which
 * writes down what all slabs held at every checkpoint, then with it on.
 * Checkpoints come every few hundred calls; there the walker checks everything,
 * and its figures are held against the bound. Sites are numbers that no code is
 * at.
 */
#define _GNU_SOURCE
#include "shim/budget.h"
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/route.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1");
}

enum {
	ALLOWANCE = 256 << 10,
	BATCH_BYTES = 4 << 10, /* as in ready.c */
	ITEMS = 1 << 18,
	CHECKPOINTS = 20000,
	WALK_EVERY = 64,
	THREADS_MAX = 4,
	MIB = 1 << 20
};

struct item {
	void *block;
	uint32_t bytes; /* of its class */
	uint32_t maker; /* the thread on whose heap it is */
};

/* What one thread of a trace has in hand. */
struct hand {
	unsigned number;
	struct dice dice;
	struct item *items;
	uint32_t count;
	struct item *outbox; /* blocks the neighbour is to free */
	uint32_t outbox_count;
	uint64_t steps;
	void (*trace)(struct hand *hand);
};

/* Shared by the processes of a test. */
struct outcome {
	char wrong[256];
	uint64_t shared_bytes[CHECKPOINTS]; /* of the run without ownership */
	uint64_t checkpoints, steps;
	uint64_t owned_max, live_max, bytes_max, shared_max;
	double owned_ratio, ready_ratio, bytes_ratio; /* worst, of the bound */
};

static struct outcome *outcome;
static struct hand hands[THREADS_MAX];
static unsigned threads, period;
static bool owning, compared; /* is this the run with ownership; was there one without */
static _Atomic int64_t live[THREADS_MAX];
static int64_t live_max[THREADS_MAX];
static pthread_barrier_t barrier;
static _Atomic unsigned running;
static bool over; /* said by the main thread between two barriers */

/* --- checkpoints
 * --------------------------------------------------------------------------------------------------
 */

static void worst(double *ratio, uint64_t value, uint64_t bound)
{
	double now = (double)value / (double)bound;
	*ratio = now > *ratio ? now : *ratio;
}

static uint64_t cached_bytes(void)
{
	uint64_t bytes = 0;
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++)
			bytes += cache_cached(&heap->caches[tag]) * class_table[route_at(thread_of(heap), tag)->class].size;
	return bytes;
}

static void say(const char *what, uint64_t value, uint64_t bound, uint64_t most)
{
	if (!outcome->wrong[0])
		snprintf(outcome->wrong, sizeof(outcome->wrong),
		         "checkpoint %lu: %s: %lu KiB, bound %lu KiB, most alive so far %lu KiB", outcome->checkpoints, what,
		         value >> 10, bound >> 10, most >> 10);
}

/* The counters of heaps and range are held against the bound every time, and
 * checked by the walker every so often. */
static void check(void)
{
	uint64_t most = 0, owned = 0, tags = 0, n = outcome->checkpoints++, bytes = range_usage().active;
	for (unsigned i = 0; i < threads; i++)
		most += (uint64_t)live_max[i];
	for (const struct heap *heap = heap_first(); heap; heap = heap->next)
		owned += heap->owned_bytes, tags += heap->tags;
	if (n % WALK_EVERY == 0) {
		struct walk seen = walk_pools();
		if (seen.wrong && !outcome->wrong[0])
			snprintf(outcome->wrong, sizeof(outcome->wrong), "checkpoint %lu: %s", n, seen.wrong);
	}
	uint64_t owned_bound = most + most / 8 + ALLOWANCE + GRANULE_BYTES;
	uint64_t ready = cached_bytes(), ready_bound = most / 8 + tags * BUDGET_READY_TAG +
	                                               threads * (BUDGET_READY_SLACK + BUDGET_LARGE_THREAD + BATCH_BYTES);
	if (owned > owned_bound)
		say("owned slabs", owned, owned_bound, most);
	if (ready > ready_bound)
		say("caches", ready, ready_bound, most);
	worst(&outcome->ready_ratio, ready, ready_bound);
	if (!owning && n < CHECKPOINTS)
		outcome->shared_bytes[n] = bytes;
	if (!owning) {
		outcome->shared_max = bytes > outcome->shared_max ? bytes : outcome->shared_max;
		return;
	}
	uint64_t bytes_bound =
		compared ? outcome->shared_bytes[n % CHECKPOINTS] + owned_bound + threads * BATCH_BYTES : UINT64_MAX;
	if (bytes > bytes_bound)
		say("all slabs", bytes, bytes_bound, most);
	worst(&outcome->owned_ratio, owned, owned_bound);
	worst(&outcome->bytes_ratio, bytes, bytes_bound);
	outcome->owned_max = owned > outcome->owned_max ? owned : outcome->owned_max;
	outcome->bytes_max = bytes > outcome->bytes_max ? bytes : outcome->bytes_max;
	outcome->live_max = most;
}

static void free_item(const struct item *item)
{
	atomic_fetch_sub_explicit(&live[item->maker], item->bytes, memory_order_relaxed);
	release(item->block);
}

/* All threads meet; the main thread checks; then each frees what its neighbour
 * gave it. */
static void meet(struct hand *hand)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	struct hand *neighbour = &hands[(hand->number + 1) % threads];
	for (uint32_t i = 0; i < neighbour->outbox_count; i++)
		free_item(&neighbour->outbox[i]);
	pthread_barrier_wait(&barrier);
	hand->outbox_count = 0;
}

static void step(struct hand *hand)
{
	if (++hand->steps % period)
		return;
	if (threads > 1)
		meet(hand);
	else
		check();
}

/* --- what traces are made of
 * --------------------------------------------------------------------------------------
 */

static void take(struct hand *hand, unsigned site, size_t size)
{
	if (hand->count == ITEMS)
		return;
	struct item *item = &hand->items[hand->count++];
	item->bytes = class_table[class_of(size)].size;
	item->maker = hand->number;
	item->block = allocate(size, 0x10000 + 16 * (uintptr_t)site);
	memset(item->block, 1, size < 16 ? size : 16);
	int64_t now = atomic_fetch_add_explicit(&live[hand->number], item->bytes, memory_order_relaxed) + item->bytes;
	if (now > live_max[hand->number])
		live_max[hand->number] = now;
	step(hand);
}

/* With company, every fifth block is freed by the neighbour. */
static void give(struct hand *hand, struct item item)
{
	if (threads > 1 && dice_chance(&hand->dice, 20))
		hand->outbox[hand->outbox_count++] = item;
	else
		free_item(&item);
	step(hand);
}

/* The last item takes the place of the one that goes. */
static void give_any(struct hand *hand)
{
	if (!hand->count)
		return;
	uint32_t i = (uint32_t)dice_below(&hand->dice, hand->count);
	struct item item = hand->items[i];
	hand->items[i] = hand->items[--hand->count];
	give(hand, item);
}

/* Of the items from `first` on, in the order they were made, every `one_of`
 * stays. */
static void thin_out(struct hand *hand, uint32_t first, uint32_t one_of)
{
	uint32_t kept = first, count = hand->count;
	for (uint32_t i = first; i < count; i++) {
		struct item item = hand->items[i];
		if (one_of && (i - first) % one_of == 0)
			hand->items[kept++] = item;
		else
			give(hand, item);
	}
	hand->count = kept;
}

static void take_bytes(struct hand *hand, unsigned site, size_t size, size_t bytes)
{
	for (size_t sum = 0; sum < bytes; sum += class_table[class_of(size)].size)
		take(hand, site, size);
}

static uint32_t per_slab(size_t size)
{
	return class_table[class_of(size)].capacity;
}

/* Refills enough for some ages to pass, with little alive. */
static void grow_old(struct hand *hand, unsigned site)
{
	for (int i = 0; i < 3000; i++) {
		uint32_t first = hand->count;
		for (int n = 0; n < 64; n++)
			take(hand, site, 4096);
		thin_out(hand, first, 0);
	}
}

/* --- the traces
 * ---------------------------------------------------------------------------------------------------
 */

static void touch_once(struct hand *hand)
{
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned site = 0; site < 20000; site++)
			take(hand, 20000 * round + site, 1 + dice_below(&hand->dice, 600));
		thin_out(hand, 0, 10);
	}
}

/* Site after site fills slabs, leaves one block in each, and is heard of no
 * more. */
static void turn_cold(struct hand *hand)
{
	static const size_t sizes[] = {64, 200, 1000, 64, 3000};
	for (unsigned site = 0; site < 60; site++) {
		uint32_t first = hand->count;
		take_bytes(hand, site, sizes[site % 5], MIB);
		thin_out(hand, first, per_slab(sizes[site % 5]));
	}
}

/* The same with so much going on in between that the cold sites lose their
 * pools. */
static void turn_cold_and_old(struct hand *hand)
{
	for (unsigned site = 0; site < 6; site++) {
		uint32_t first = hand->count;
		take_bytes(hand, site, 128, 8 * MIB);
		thin_out(hand, first, per_slab(128));
		grow_old(hand, 1000);
	}
}

/* Each phase has its own sizes and a few sites; little of it stays. */
static void phases(struct hand *hand)
{
	for (unsigned phase = 0; phase < 24; phase++) {
		size_t size = 32 + 80 * (size_t)phase;
		uint32_t first = hand->count;
		for (unsigned n = 0; n < 2 * MIB / size; n++)
			take(hand, 100 * phase + (unsigned)dice_below(&hand->dice, 6), size + dice_below(&hand->dice, 64));
		thin_out(hand, first, phase % 3 ? 40 : 0);
	}
}

static void sawtooth(struct hand *hand)
{
	for (unsigned tooth = 0; tooth < 15; tooth++) {
		for (unsigned site = 0; site < 8; site++)
			take_bytes(hand, site, 48 + 32 * (size_t)site, MIB / 2);
		thin_out(hand, hand->count / 50, tooth % 4 == 3 ? 100 : 0);
	}
}

/* Blocks of random sites die in random order until few are left, scattered over
 * all slabs. */
static void pins(struct hand *hand)
{
	for (unsigned round = 0; round < 12; round++) {
		size_t size = (size_t)16 << round % 7;
		for (unsigned n = 0; n < MIB / size && n < 20000; n++)
			take(hand, 10 * round + (unsigned)dice_below(&hand->dice, 10), size);
		uint32_t left = 200 * (round + 1);
		while (hand->count > left)
			give_any(hand);
	}
}

/* A few hot sites, many rare ones, sizes of all kinds, and a number alive that
 * wanders. */
static void mixture(struct hand *hand)
{
	unsigned percent = 50;
	for (unsigned n = 0; n < 250000; n++) {
		if (n % 4000 == 0)
			percent = 20 + (unsigned)dice_below(&hand->dice, 60);
		if (!dice_chance(&hand->dice, percent)) {
			give_any(hand);
			continue;
		}
		unsigned site = (unsigned)(dice_below(&hand->dice, 3000) & dice_roll(&hand->dice) & dice_roll(&hand->dice));
		size_t most = dice_chance(&hand->dice, 90) ? 256 : dice_chance(&hand->dice, 90) ? 2048 : 40000;
		take(hand, site, site % 3 ? 16 + 16 * (site % 20) : 1 + dice_below(&hand->dice, most));
	}
}

/* Up to the largest class, where a slab is a block. */
static void large(struct hand *hand)
{
	for (unsigned n = 0; n < 8000; n++) {
		unsigned site = (unsigned)dice_below(&hand->dice, 20);
		if (hand->count > 300 && dice_chance(&hand->dice, 60))
			give_any(hand);
		else
			take(hand, site, site < 10 ? 1500 * (site + 1) : 1 + dice_below(&hand->dice, CLASS_SIZE_MAX));
		if (n % 1500 == 1499)
			thin_out(hand, 0, 25);
	}
}

/* Producer and consumer in one: first in, first out, many sites, a window that
 * opens and closes. */
static void queue(struct hand *hand)
{
	for (unsigned n = 0; n < 40; n++) {
		uint32_t first = hand->count;
		for (unsigned i = 0; i < 3000; i++)
			take(hand, (n + i) % (10 + n / 10 * 100), 16 + 16 * ((n + i) % 10));
		struct item *old = hand->items;
		uint32_t oldest = n % 5 == 4 ? first : first / 3;
		for (uint32_t i = 0; i < oldest; i++)
			give(hand, old[i]);
		memmove(old, old + oldest, (hand->count - oldest) * sizeof(*old));
		hand->count -= oldest;
	}
}

/* --- running them
 * -------------------------------------------------------------------------------------------------
 */

static void *pages(size_t bytes, int flags)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
	cr_assert_neq(p, MAP_FAILED);
	return p;
}

static void *thread_main(void *argument)
{
	struct hand *hand = argument;
	hand->trace(hand);
	atomic_fetch_sub(&running, 1);
	while (!over) /* the others still need us at the barriers */
		meet(hand);
	return NULL;
}

static void run_threads(void)
{
	pthread_t ids[THREADS_MAX];
	atomic_store(&running, threads);
	pthread_barrier_init(&barrier, NULL, threads + 1);
	for (unsigned i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, thread_main, &hands[i]);
	while (!over) {
		pthread_barrier_wait(&barrier);
		check();
		over = atomic_load(&running) == 0;
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
}

static void run(bool own, uint64_t seed, void (*const *traces)(struct hand *))
{
	owning = own;
	route_limits.own = own;
	outcome->checkpoints = 0;
	for (unsigned i = 0; i < threads; i++)
		hands[i] = (struct hand){.number = i,
		                         .dice = dice_of(seed + i),
		                         .items = pages(ITEMS * sizeof(struct item), MAP_PRIVATE),
		                         .outbox = pages(ITEMS * sizeof(struct item), MAP_PRIVATE),
		                         .trace = traces[i]};
	if (threads == 1) {
		hands[0].trace(&hands[0]);
		check();
	} else {
		run_threads();
	}
	outcome->steps = hands[0].steps;
}

static void run_apart(bool own, uint64_t seed, void (*const *traces)(struct hand *))
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		run(own, seed, traces);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0, "seed %lu, own %d: status %x", seed, own, (unsigned)status);
}

static void hold(const char *name, unsigned thread_count, uint64_t seed, unsigned every,
                 void (*const *traces)(struct hand *))
{
	threads = thread_count;
	period = SANITIZED ? 20 * every : every;
	outcome = pages(sizeof(*outcome), MAP_SHARED);
	compared = !SANITIZED || threads == 1;
	for (int own = compared ? 0 : 1; own < 2; own++) {
		if (compared)
			run_apart(own, seed, traces);
		else
			run(own, seed, traces); /* ThreadSanitizer allows a fork's child no threads */
		cr_assert_eq(outcome->wrong[0], 0, "%s, seed %lu, own %d: %s", name, seed, own, outcome->wrong);
		cr_assert_leq(outcome->checkpoints, CHECKPOINTS);
	}
	fprintf(
		stderr,
		"bound: %-18s seed %2lu, %u threads: alive <= %6lu KiB; slabs %6lu KiB, without ownership %6lu; owned %6lu; "
		"worst of bound: owned %.2f, caches %.2f, all %.2f; %lu checkpoints in %lu steps\n",
		name, seed, thread_count, outcome->live_max >> 10, outcome->bytes_max >> 10, outcome->shared_max >> 10,
		outcome->owned_max >> 10, outcome->owned_ratio, outcome->ready_ratio, outcome->bytes_ratio,
		outcome->checkpoints, outcome->steps);
	munmap(outcome, sizeof(*outcome));
}

static void hold_alone(const char *name, unsigned seeds, unsigned every, void (*trace)(struct hand *))
{
	for (uint64_t seed = 1; seed <= seeds; seed++)
		hold(name, 1, seed, every, &trace);
}

Test(budget, holds_for_sites_touched_once)
{
	hold_alone("touch_once", 1, 100, touch_once);
}

Test(budget, holds_for_sites_that_turn_cold)
{
	hold_alone("turn_cold", 1, 200, turn_cold);
}

Test(budget, holds_for_sites_that_turn_cold_and_lose_their_pools)
{
	hold_alone("turn_cold_and_old", 1, 500, turn_cold_and_old);
}

Test(budget, holds_for_phases)
{
	hold_alone("phases", 2, 100, phases);
}

Test(budget, holds_for_a_sawtooth)
{
	hold_alone("sawtooth", 1, 200, sawtooth);
}

Test(budget, holds_for_pinned_slabs)
{
	hold_alone("pins", 2, 100, pins);
}

Test(budget, holds_for_mixtures)
{
	hold_alone("mixture", 3, 100, mixture);
}

Test(budget, holds_for_large_blocks)
{
	hold_alone("large", 2, 10, large);
}

Test(budget, holds_for_queues)
{
	hold_alone("queue", 1, 100, queue);
}

Test(budget, holds_for_threads_of_all_kinds)
{
	hold("threads, mixed", 4, 1, 1000, (void (*[])(struct hand *)){mixture, turn_cold, phases, pins});
}

Test(budget, holds_for_threads_that_all_turn_cold)
{
	hold("threads, cold", 4, 1, 1000, (void (*[])(struct hand *)){turn_cold, turn_cold, turn_cold, turn_cold});
}

Test(budget, holds_for_threads_with_large_blocks)
{
	hold("threads, large", 4, 1, 1000, (void (*[])(struct hand *)){sawtooth, queue, large, touch_once});
}
