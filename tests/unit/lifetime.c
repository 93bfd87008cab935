/* Lives by samples: known lifetimes are found, whoever frees; and a watched block is as any other in every book. */
#include "shim/lifetime.h"
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/context.h"
#include "shim/facts.h"
#include "shim/publish.h"
#include "shim/sample.h"
#include "tests/acting.h"
#include "tests/books.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <pthread.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:1G");
}

enum { RING = 4096, ROUNDS = 300000, ROUNDS_MAX = 4 * ROUNDS, AT_ONCE = 1, RINGED = 2, KEPT = 3, MIXED = 4 };

static void *ring[RING], *kept[ROUNDS_MAX / 16];

/* The site's lives, as a report would have them now; all 0 when there is no sample. */
static struct ledger_life life(unsigned site, size_t size)
{
	const struct ledger_facts *facts = facts_make(publish(END_LIVE));
	uint64_t number = facts->sites[route(site, size)->site].life;
	return number ? ledger_lives(facts)[number - 1] : (struct ledger_life){.judged = 0};
}

static uint64_t allocs(unsigned site, size_t size)
{
	return ledger_sites(publish(END_LIVE))[route(site, size)->site].tally.alloc_objects;
}

/* One site frees at once, one after RING blocks of 100 bytes, one never; the mixed one does the first or the last, as `long_of`
 * of a hundred say. */
static void play(unsigned rounds, unsigned long_of)
{
	struct dice dice = dice_of(7);
	for (unsigned i = 0; i < rounds; i++) {
		release(allocate(48, pc_of(AT_ONCE)));
		void **home = &ring[i % RING];
		if (*home)
			release(*home);
		*home = allocate(100, pc_of(RINGED));
		if (i % 16 == 0)
			kept[i / 16] = allocate(64, pc_of(KEPT));
		void *mixed = allocate(80, pc_of(MIXED));
		if (!dice_chance(&dice, long_of))
			release(mixed);
	}
}

Test(lifetime, known_lives_are_found)
{
	play(ROUNDS, 30);
	struct ledger_life at_once = life(AT_ONCE, 48), ringed = life(RINGED, 100), never = life(KEPT, 64);
	cr_assert_gt(at_once.judged, 20, "%lu", at_once.judged);
	cr_assert_eq(at_once.long_weight, 0);
	cr_assert_leq(at_once.space.max, 0, "nothing was asked for in between");
	cr_assert_gt(ringed.judged, 20, "%lu", ringed.judged);
	cr_assert_eq(ringed.short_weight, 0);
	cr_assert_geq(ringed.space.min, RING * 100);
	cr_assert_leq(ringed.space.max, RING * (48 + 100 + 64 + 80));
	cr_assert_eq(never.ns.count, 0);
	cr_assert_gt(never.censored, 5);
	cr_assert_gt(never.long_weight, 0);
	whole();
}

/* Of samples worth n equal ones, the share of 30 in a hundred is found within four times its standard error. As long as each
 * stands for an eighth of all before it n is some 16, however many there are; then for 32768 allocations, and n grows. */
Test(lifetime, a_mixture_is_found_in_its_shares)
{
	play(ROUNDS_MAX, 30);
	struct ledger_life mixed = life(MIXED, 80);
	double all = (double)(mixed.short_weight + mixed.long_weight), n = all * all / (double)mixed.judged_squares;
	double error = (double)mixed.long_weight / all - .3;
	cr_assert_gt(n, 20, "%f", n);
	cr_assert_lt(error * error * n, 16 * .3 * .7, "%f off, of %f", error, n);
}

Test(lifetime, weights_are_the_allocations)
{
	play(ROUNDS, 30);
	static const size_t sizes[] = {0, 48, 100, 64, 80};
	for (unsigned site = AT_ONCE; site <= MIXED; site++) {
		struct ledger_life of = life(site, sizes[site]);
		uint64_t weight = of.ns.weight + of.censored_weight, all = allocs(site, sizes[site]);
		cr_assert_leq(weight, all);
		cr_assert_gt(weight, all / 2, "site %u: %lu of %lu", site, weight, all);
	}
}

static void *free_kept(void *unused)
{
	for (unsigned i = 0; i < ROUNDS / 16; i++) {
		if (kept[i])
			release(kept[i]);
		kept[i] = NULL;
	}
	return unused;
}

Test(lifetime, others_frees_end_lives_too)
{
	pthread_t other;
	play(ROUNDS, 0);
	struct ledger_life before = life(KEPT, 64);
	cr_assert_gt(before.censored, 5);
	pthread_create(&other, NULL, free_kept, NULL);
	pthread_join(other, NULL);
	struct ledger_life after = life(KEPT, 64);
	cr_assert_eq(after.censored, 0);
	cr_assert_eq(after.ns.count, before.censored);
	cr_assert_eq(after.space.count, 0, "how much its thread asked for meanwhile another one cannot say");
	whole();
}

static void *play_and_go(void *unused)
{
	play(ROUNDS / 2, 0);
	return unused;
}

static void *take_over(void *unused)
{
	void *own = allocate(64, pc_of(KEPT));
	free_kept(NULL);
	release(own);
	return unused;
}

/* The blocks are alive when their thread ends; the next one takes over its heap and frees them. */
Test(lifetime, watched_blocks_outlive_their_thread)
{
	static void *(*const bodies[])(void *) = {play_and_go, take_over};
	take(9, 5000, 1); /* else it would be us */
	for (int i = 0; i < 2; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, bodies[i], NULL);
		pthread_join(thread, NULL);
		cr_assert_eq(life(KEPT, 64).censored > 0, i == 0);
	}
	cr_assert_gt(life(KEPT, 64).space.count, 3, "the heap's clock went on");
	cr_assert_eq(ledger_sites(publish(END_LIVE))[route(KEPT, 64)->site].tally.inuse_objects, 0);
	whole();
}

/* Two sites' blocks lie side by side, so their slabs are mixed; every third goes again, so they are partly free. */
static void *mix_and_go(void *unused)
{
	for (unsigned i = 0; i < ROUNDS / 16; i++)
		kept[i] = allocate(64, pc_of(i % 2 ? KEPT : MIXED));
	for (unsigned i = 0; i < ROUNDS / 16; i += 3) {
		release(kept[i]);
		kept[i] = NULL;
	}
	return unused;
}

/* Slabs of a heap that is left are claimed by one that allocates already; their watched blocks stay watched. */
Test(lifetime, watched_blocks_of_claimed_slabs)
{
	pthread_t thread;
	take(9, 5000, 1);
	route_limits.own = false;
	pthread_create(&thread, NULL, mix_and_go, NULL);
	pthread_join(thread, NULL);
	cr_assert_gt(life(KEPT, 64).censored, 0);
	for (unsigned i = 0; i < ROUNDS / 32; i++)
		cr_assert_not_null(allocate(64, pc_of(30)));
	free_kept(NULL);
	cr_assert_eq(life(KEPT, 64).censored, 0);
	cr_assert_eq(ledger_sites(publish(END_LIVE))[route(KEPT, 64)->site].tally.inuse_objects, 0);
	whole();
}

static int child(void)
{
	facts_fork_child();
	HOLDS(life(KEPT, 64).ns.count == 0 && life(KEPT, 64).censored == 0);
	free_kept(NULL);
	HOLDS(life(KEPT, 64).ns.count == 0);
	play(ROUNDS / 2, 0);
	HOLDS(life(RINGED, 100).ns.count > 0 && life(KEPT, 64).censored > 0);
	HOLDS(!walk_pools().wrong);
	return 0;
}

Test(lifetime, a_child_samples_its_own)
{
	play(ROUNDS, 0);
	cr_assert_gt(life(KEPT, 64).censored, 0);
	int status = forked(child);
	cr_assert_eq(status, 0, "%d", status >> 8);
}

/* Sizes of all classes that share slabs or not, reallocs that stay, move, grow in place; the books of `books.h` agree. */
Test(lifetime, a_watched_block_counts_as_any_other)
{
	enum { SLOTS = 3000, SITES = 12 };
	static struct {
		void *block;
		unsigned site;
	} slots[SLOTS];
	struct dice dice = dice_of(11);
	uint64_t watched = 0;
	for (unsigned i = 0; i < 1200000; i++) {
		unsigned at = (unsigned)dice_below(&dice, SLOTS);
		size_t size = dice_chance(&dice, 2) ? dice_large_size(&dice) / 8 : 1 + dice_below(&dice, 300);
		if (!slots[at].block) {
			slots[at].site = (unsigned)dice_below(&dice, SITES);
			slots[at].block = allocate(size, pc_of(slots[at].site));
			books_allocated(slots[at].site, size);
		} else if (dice_chance(&dice, 30)) {
			slots[at].block = reallocate(slots[at].block, size, pc_of(50));
			books_reallocated(slots[at].site, size);
		} else {
			release(slots[at].block);
			books_freed(slots[at].site);
			slots[at].block = NULL;
		}
	}
	books_check();
	for (unsigned site = 0; site < SITES; site++)
		watched += life(site, 64).ns.count + life(site, 64).censored;
	cr_assert_gt(watched, 50, "%lu", watched);
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].block) {
			release(slots[i].block);
			books_freed(slots[i].site);
		}
	books_check();
}

/* Single blocks, which lie alone and can grow in place: they stay watched. */
Test(lifetime, large_blocks)
{
	enum { LARGE = 1500, TURNS = 4 };
	uint64_t watched = 0;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		for (unsigned i = 0; i < LARGE; i++) {
			char *block = kept[i] = allocate_zeroed(20000, pc_of(KEPT));
			for (size_t k = 0; k < 20000; k += 8)
				cr_assert_eq(block[k], 0);
			memset(block, 1, 20000);
		}
		for (unsigned i = 0; i < LARGE; i++)
			kept[i] = reallocate(kept[i], i % 2 ? 30000 : 17000, pc_of(50));
		watched += life(KEPT, 20000).censored;
		free_kept(NULL);
		cr_assert_eq(life(KEPT, 20000).censored, 0);
	}
	cr_assert_gt(watched, 5, "%lu", watched);
	whole();
}

/* A slab counts its watched blocks in eight bits, and has up to a thousand. */
Test(lifetime, a_slab_has_no_more_watched_blocks_than_it_can_count)
{
	enum { MANY = 300, COUNTED = 255, SITE = 9 };
	take(KEPT, 64, BLOCKS); /* a heap that is large enough for a pool aside */
	route(SITE, 16);
	uint16_t tag = (uint16_t)(cache_of(SITE, 16) - thread_self->heap.caches);
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_not_null(blocks[i] = lifetime_watch(thread_self, tag, 16));
	const struct slab *slab = slab_of(blocks[0]);
	cr_assert_eq(slab_of(blocks[MANY - 1]), slab);
	cr_assert_eq(slab->watched, COUNTED, "%u", slab->watched);
	give(MANY);
	cr_assert_eq(slab->watched, 0, "%u", slab->watched);
}

Test(lifetime, zeroed_means_zeroed)
{
	play(ROUNDS / 4, 0);
	for (unsigned i = 0; i < 100000; i++) {
		size_t size = i % 100 ? 200 : 40000;
		char *block = allocate_zeroed(size, pc_of(20));
		for (size_t k = 0; k < size; k += 8)
			cr_assert_eq(block[k], 0);
		memset(block, 1, size);
		release(block);
	}
}

/* A block that was watched and alone in its slab comes back to the pool as the program left it; who asks for zeros gets them. */
Test(lifetime, a_watched_block_is_not_fresh_again)
{
	enum { SIZE = 20000, SITES = 4, AGAIN = 10, MOST = 20000 };
	unsigned again = 0;
	for (unsigned i = 0; i < MOST && again < AGAIN; i++) {
		char *block = allocate(SIZE, pc_of(10 + i % SITES)); /* armed at the refill of another, mostly */
		if (!slab_of(block)->watched)
			continue;
		memset(block, 1, SIZE);
		release(block);
		char *zeros = allocate_zeroed(SIZE, pc_of(MIXED));
		for (size_t k = 0; k < SIZE; k++)
			cr_assert_eq(zeros[k], 0, "byte %zu", k);
		again += zeros == block;
	}
	cr_assert_eq(again, AGAIN);
}

Test(lifetime, off_is_off)
{
	lifetime_on = false;
	play(ROUNDS / 4, 30);
	cr_assert_eq(lifetime_sites(), 0);
}

/* An armed allocation is slow, so where neither lives nor callers nor stacks are asked for none is. */
Test(lifetime, nothing_is_armed_for_nobody)
{
	lifetime_on = false;
	contexts_enable(false);
	sample_begin(0);
	for (unsigned i = 0; i < 5000; i++) {
		for (unsigned site = 0; site < 20; site++) /* refills, and no turn for the one that one of them would arm */
			blocks[site] = allocate(64 + 16 * (i % 20), pc_of(site));
		for (uint32_t tag = 1; tag <= thread_self->heap.tags; tag++)
			cr_assert_not(route_is_armed(&thread_self->heap.caches[tag]), "tag %u", tag);
	}
}
