/* Slabs of a single block against the model: they grow and shrink where they lie exactly when they can, and a bounded number of
 * empty ones is kept for the next. */
#include "tests/dice.h"
#include "tests/pool_model.h"

#include <criterion/criterion.h>

TestSuite(pool_single, .init = model_begin_single);

enum { BLOCKS = 60, SPARE_FLOOR = 1 << 20 };

/* The first and the last byte, and one of every page. */
static void mark(unsigned i, size_t size)
{
	for (size_t at = 0; at < size; at += 4096)
		model.at[i][at] = model_pattern(i);
	model.at[i][size - 1] = model_pattern(i);
}

static bool is_marked(unsigned i, size_t size)
{
	for (size_t at = 0; at < size; at += 4096)
		if (model.at[i][at] != model_pattern(i))
			return false;
	return model.at[i][size - 1] == model_pattern(i);
}

static unsigned any_key(struct dice *dice)
{
	uint64_t most = dice_chance(dice, 80) ? (uint64_t)USER_KEYS / 4 : USER_KEYS;
	return (unsigned)dice_below(dice, most);
}

static void take(unsigned i, unsigned key)
{
	model_add(i, user_must_take(user, key), key);
	cr_assert_eq(slab_start(slab_of(model.at[i])), (char *)model.at[i], "it is its slab's only block");
	mark(i, model_size(key));
}

static void give(unsigned i, bool elsewhere)
{
	cr_assert(is_marked(i, model_size(model.key[i])), "block %u has changed", i);
	user_give(elsewhere ? NULL : user, model.at[i]);
	if (elsewhere)
		heap_drain(&user->heap);
	model_drop(i);
}

/* In place exactly when its run is long enough or what lies behind is free; and the bytes that both sizes have stay. */
static void resize(unsigned i, unsigned key)
{
	const struct slab *slab = slab_of(model.at[i]);
	unsigned before = slab->granules, after = class_table[user_class_of[key]].granules;
	size_t least = model_size(key) < model_size(model.key[i]) ? model_size(key) : model_size(model.key[i]);
	bool fits = true; /* where nothing was yet, too */
	for (unsigned g = slab_index(slab) + before; g < slab_index(slab) + after && g < range_usage().granules; g++)
		fits = fits && range_is_free(g);
	bool resized = user_resize(user, model.at[i], key);
	cr_assert_eq(resized, fits, "%u granules to %u", before, after);
	if (!resized)
		return;
	cr_assert_eq(slab->granules, after);
	for (size_t at = 0; at < least; at += 4096)
		cr_assert_eq(model.at[i][at], model_pattern(i));
	unsigned char *block = model.at[i];
	model_drop(i);
	model_add(i, block, key);
	mark(i, model_size(key));
}

static void run(uint64_t seed, unsigned steps)
{
	struct dice dice = dice_of(seed);
	uint64_t most_used = 0;
	for (unsigned step = 0; step < steps; step++) {
		unsigned i = (unsigned)dice_below(&dice, BLOCKS);
		if (!model.at[i])
			take(i, any_key(&dice));
		else if (dice_chance(&dice, 40))
			resize(i, any_key(&dice));
		else
			give(i, dice_chance(&dice, 20));
		if (dice_chance(&dice, 2))
			user_settle(user);
		if (dice_chance(&dice, 1))
			heap_shed_spares(&user->heap);
		most_used = user->heap.used_bytes > most_used ? user->heap.used_bytes : most_used;
		cr_assert_leq(user->heap.spare_bytes, SPARE_FLOOR + most_used / 8, "step %u", step);
		if (step % 50 == 0)
			model_walk("large", step);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		if (model.at[i])
			give(i, i % 2);
	user_settle(user);
	heap_shed_spares(&user->heap);
	model_walk("large, all given", seed);
	cr_assert_eq(range_usage().active, 0);
	cr_assert_eq(user->heap.spare_bytes, 0);
}

Test(pool_single, single_blocks_equal_the_model_1)
{
	run(1, 6000);
}

Test(pool_single, single_blocks_equal_the_model_2)
{
	run(2, 6000);
}

/* What was given last is taken first, and the range is not asked. */
Test(pool_single, a_spare_slab_is_the_next_one)
{
	take(0, 1), take(1, 1);
	unsigned char *last = model.at[1];
	size_t active = range_usage().active;
	give(0, false), user_settle(user);
	give(1, false), user_settle(user);
	cr_assert_eq(user->heap.spare_bytes, active, "both stay");
	take(2, 1);
	cr_assert_eq(model.at[2], last);
	cr_assert_eq(range_usage().active, active);
	model_walk("one taken again", 0);
	take(3, 1), take(4, 0); /* a class of the same length that has none: the spare ones go first */
	give(3, false);
	user_settle(user);
	take(5, 0);
	cr_assert_eq(user->heap.spare_bytes, 0);
	model_walk("shed by another class", 0);
}

Test(pool_single, a_left_heap_keeps_no_spare_slab)
{
	for (unsigned i = 0; i < 5; i++)
		take(i, i);
	for (unsigned i = 0; i < 4; i++)
		give(i, false);
	user_settle(user);
	cr_assert_gt(user->heap.spare_bytes, 0);
	user_leave(user);
	cr_assert_eq(user->heap.spare_bytes, 0);
	user_give(NULL, model.at[4]);
	cr_assert_eq(range_usage().active, 0, "and who frees its last block gives it back");
	cr_assert_eq(user_enter(), user);
}

/* What shared slabs are cut into has nothing to give to another heap here: full, or gone. */
Test(pool_single, owned_single_blocks_may_be_shared)
{
	cr_assert(user_own(user, 3));
	for (unsigned i = 0; i < 10; i++)
		take(i, 3);
	cr_assert_gt(user->heap.owned_bytes, 0);
	cr_assert_not(user_resize(user, model.at[0], 4), "an owned slab stays as it is");
	model_walk("owned", 0);
	user_share(user, 3);
	model_walk("shared", 0);
	for (unsigned i = 0; i < 10; i++)
		give(i, i % 2);
	user_settle(user);
	heap_shed_spares(&user->heap);
	model_walk("given", 0);
	cr_assert_eq(user->heap.owned_bytes, 0);
}
