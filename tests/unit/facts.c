/* What the report says of a site beyond its counts: its peak, sizes, reallocs. Against what the test itself has done. */
#include "shim/facts.h"
#include "shim/allocate.h"
#include "shim/publish.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <pthread.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:256M");
}

/* The site's, as a report would have it now. */
static const struct ledger_fact *fact(unsigned site)
{
	const struct ledger_facts *facts = facts_make(publish(END_LIVE));
	cr_assert_not_null(facts);
	return &facts->sites[site_of(pc_of(site))];
}

static uint64_t held(size_t size)
{
	return class_table[class_of(size)].size;
}

Test(facts, a_peak_of_large_blocks_is_exact)
{
	take(1, 9000, 20);
	give(20);
	take(1, 9000, 7);
	cr_assert_eq(fact(1)->max_space, 20 * held(9000));
	cr_assert_eq(fact(1)->max_slack, 0);
}

Test(facts, a_block_that_comes_and_goes_was_alive)
{
	churn(1, 48, 1000);
	cr_assert_eq(fact(1)->max_space, 48);
}

Test(facts, behind_the_pools_a_peak_is_exact)
{
	take(1, 5 << 20, 3);
	size_t three = 3 * usable_size(blocks[0]);
	give(3);
	cr_assert_eq(fact(1)->max_space, three);
	cr_assert_eq(fact(1)->max_slack, 0);
}

enum { SLOTS = 3000 };

static struct {
	void *block;
	unsigned site;
} slots[SLOTS];

static uint64_t alive[4], highest[4];

static void turn(unsigned i, struct dice *dice)
{
	unsigned site = slots[i].site;
	if (slots[i].block) {
		alive[site] -= usable_size(slots[i].block);
		release(slots[i].block);
		slots[i].block = NULL;
		return;
	}
	site = slots[i].site = dice_below(dice, 4);
	slots[i].block = allocate(dice_below(dice, site == 3 ? 60000 : 100 << site), pc_of(site));
	cr_assert_not_null(slots[i].block);
	alive[site] += usable_size(slots[i].block);
	highest[site] = alive[site] > highest[site] ? alive[site] : highest[site];
}

Test(facts, the_true_peak_lies_within_its_bounds)
{
	for (unsigned seed = 1; seed <= 8; seed++) {
		struct dice dice = dice_of(seed);
		unsigned wide = SLOTS >> dice_below(&dice, 6);
		for (unsigned i = 0; i < 40000; i++)
			turn(dice_below(&dice, wide), &dice);
		for (unsigned site = 0; site < 4; site++) {
			const struct ledger_fact *f = fact(site);
			cr_assert_leq(f->max_space, highest[site], "seed %u, site %u", seed, site);
			cr_assert_geq(f->max_space + f->max_slack, highest[site], "seed %u, site %u", seed, site);
			cr_assert_geq(f->max_space, alive[site]);
		}
	}
}

static void *take_hundred(void *kept)
{
	for (unsigned i = 0; i < 100; i++)
		((void **)kept)[i] = allocate(9000, pc_of(1));
	return NULL;
}

Test(facts, a_peak_is_that_of_all_threads_together)
{
	static void *kept[2][100];
	for (int t = 0; t < 2; t++) {
		pthread_t thread;
		cr_assert_eq(pthread_create(&thread, NULL, take_hundred, kept[t]), 0);
		pthread_join(thread, NULL);
	}
	for (unsigned i = 0; i < 200; i++)
		release(kept[i / 100][i % 100]);
	take(1, 9000, 1);
	cr_assert_eq(fact(1)->max_space, 200 * held(9000));
}

Test(facts, sizes_are_counted_by_what_the_block_can_hold)
{
	static const size_t sizes[] = {0, 16, 17, 32, 33, 512, 513, 4096, 70000, 4 << 20, (4 << 20) + 1, 9 << 20};
	static const unsigned buckets[] = {4, 4, 5, 5, 6, 9, 10, 12, 17, 22, 23, 24};
	for (unsigned i = 0; i < 12; i++) {
		for (unsigned n = 0; n <= i; n++)
			release(allocate(sizes[i], pc_of(i)));
		cr_assert_eq(fact(i)->size_hist_log2[buckets[i]], i + 1, "%zu", sizes[i]);
	}
}

Test(facts, reallocs_that_move_and_grow)
{
	void *block = allocate(100, pc_of(1));
	block = reallocate(block, 1000, pc_of(9));
	block = reallocate(block, 1001, pc_of(9)); /* fits */
	block = reallocate(block, 200, pc_of(9));
	const struct ledger_fact *f = fact(1);
	cr_assert_eq(f->realloc_moved_objects, 2);
	cr_assert_eq(f->realloc_grown_space, held(1000) - held(100));
	cr_assert_eq(f->realloc_shrunk_space, held(1000) - held(200));
	cr_assert_eq(f->realloc_copied_space, held(100) + 200);
	cr_assert_eq(ledger_sites(publish(END_LIVE))[route(1, 100)->site].realloc_objects, 3);
}

Test(facts, a_single_block_that_grows_in_place_does_not_move)
{
	void *block = allocate(20000, pc_of(1)), *before = block;
	block = reallocate(block, 60000, pc_of(9));
	cr_assert_eq(block, before);
	cr_assert_eq(fact(1)->realloc_moved_objects, 0);
	cr_assert_eq(fact(1)->realloc_grown_space, usable_size(block) - held(20000));
	cr_assert_eq(fact(1)->realloc_copied_space, 0);
}

Test(facts, of_the_fallback_too)
{
	void *block = allocate(5 << 20, pc_of(1));
	size_t before = usable_size(block);
	block = reallocate(block, 9 << 20, pc_of(9));
	size_t after = usable_size(block);
	cr_assert_eq(fact(1)->realloc_grown_space, after - before);
	block = reallocate(block, 100, pc_of(9));
	cr_assert_eq(fact(1)->realloc_shrunk_space, after - held(100));
	cr_assert_eq(fact(1)->size_hist_log2[7], 1);
}

static int child(void)
{
	facts_fork_child(); /* reports are off here, so the handler does not */
	take(1, 100, 5);
	take(1, 6 << 20, 2);
	HOLDS(reallocate(blocks[0], 8 << 20, pc_of(9)));
	const struct ledger_fact *f = fact(1);
	HOLDS(f->size_hist_log2[7] == 5 && f->size_hist_log2[5] == 0 && f->size_hist_log2[23] == 3);
	HOLDS(f->realloc_shrunk_space == 0 && f->realloc_grown_space);
	HOLDS(f->max_space >= 999 * held(100));
	return 0;
}

Test(facts, a_child_counts_from_its_fork)
{
	take(1, 100, 1000);
	blocks[0] = reallocate(blocks[0], 20, pc_of(9));
	take(1, 6 << 20, 1);
	cr_assert_eq(forked(child), 0);
}
