/* One heap's pools against a model that knows every block alive: whose it is, what is in it, and that nothing overlaps.
 * The walker looks at everything again and again. */
#define _GNU_SOURCE
#include "pools/meta.h"
#include "pools/walk.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/heap_user.h"
#include "tests/refusal.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <string.h>

enum { BLOCKS = 4000, GIB = 1 << 30 };

static struct {
	unsigned char *at[BLOCKS];
	uint8_t key[BLOCKS];
	uint32_t alive[USER_KEYS], total;
} model;

static struct user *user;

static void setup(void)
{
	classes_init();
	cr_assert(range_init(GIB));
	range_decay_set(-1);
	for (unsigned key = 0; key < USER_KEYS; key++) /* half of them share a class with another */
		user_class_of[key] = (uint8_t)(key < 52 ? 2 * key : key % 48);
	user = user_enter();
	cr_assert_not_null(user);
}

TestSuite(pool, .init = setup);

static void walk(const char *when, uint64_t step)
{
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s, step %lu: %s (granule %u)", when, step, seen.wrong, seen.granule);
	cr_assert_eq(seen.used - seen.cached, model.total, "%s, step %lu: %lu alive", when, step, seen.used - seen.cached);
	cr_assert_eq(seen.owned_bytes, user->heap.owned_bytes);
	for (unsigned key = 0; key < USER_KEYS; key++)
		cr_assert_eq(user_alive(key), model.alive[key], "%s, step %lu: key %u", when, step, key);
}

static size_t size_of_key(unsigned key)
{
	return class_table[user_class_of[key]].size;
}

static unsigned char pattern(unsigned i)
{
	return (unsigned char)(i * 7 + 1);
}

static void take(unsigned i, unsigned key)
{
	enum range_refusal why;
	unsigned char *block = user_take(user, key, &why);
	cr_assert_not_null(block, "refused: %d", why);
	size_t size = size_of_key(key);
	size_t align = (size & -size) < GRANULE_BYTES ? size & -size : GRANULE_BYTES;
	cr_assert_eq((uintptr_t)block % align, 0, "%p is aligned as %zu is", (void *)block, size);
	struct heap *heap;
	cr_assert_eq(slab_whose(slab_of(block), block, &heap), user->tag_of[key]);
	cr_assert_eq(heap, &user->heap);
	memset(block, pattern(i), size);
	model.at[i] = block;
	model.key[i] = (uint8_t)key;
	model.alive[key]++;
	model.total++;
}

static void give(unsigned i)
{
	unsigned char *block = model.at[i];
	size_t size = size_of_key(model.key[i]);
	cr_assert(block[0] == pattern(i) && memcmp(block, block + 1, size - 1) == 0, "block %u has changed", i);
	user_give(user, block);
	model.at[i] = NULL;
	model.alive[model.key[i]]--;
	model.total--;
}

static void change_pools(struct dice *dice)
{
	unsigned key = (unsigned)dice_below(dice, USER_KEYS);
	switch (dice_below(dice, 6)) {
	case 0:
	case 1:
		user_own(user, key);
		break;
	case 2:
		if (user->pool_of[key] != POOL_NONE)
			cr_assert(user_share(user, key));
		break;
	case 3:
		user_age(user);
		break;
	case 4:
		user_settle(user);
		break;
	default:
		if (user->tag_of[key])
			cache_shrink(&user->heap, &user->heap.caches[user->tag_of[key]], dice_below(dice, 20));
	}
}

/* Keys come in favour and go out of it, sizes lean to the small ones, and now and then nearly everything goes. */
static void random_run(uint64_t seed, unsigned steps)
{
	struct dice dice = dice_of(seed);
	unsigned favourite = 0, percent = 60;
	for (unsigned step = 0; step < steps; step++) {
		if (step % 500 == 0) {
			favourite = (unsigned)dice_below(&dice, USER_KEYS);
			percent = 20 + (unsigned)dice_below(&dice, 70);
		}
		unsigned i = (unsigned)dice_below(&dice, BLOCKS);
		if (model.at[i])
			give(i);
		else if (dice_chance(&dice, percent))
			take(i, dice_chance(&dice, 50) ? favourite : (unsigned)(dice_below(&dice, USER_KEYS) & dice_roll(&dice)));
		if (dice_chance(&dice, 1))
			change_pools(&dice);
		if (step % 1000 == 0)
			walk("random", step);
	}
	walk("random, at the end", steps);
	for (unsigned i = 0; i < BLOCKS; i++)
		if (model.at[i])
			give(i);
	walk("all given", seed);
	user_settle(user);
	for (int i = 0; i < 3; i++)
		user_age(user);
	walk("all shed", seed);
	cr_assert_eq(range_usage().active, 0, "seed %lu: %zu bytes still in slabs", seed, range_usage().active);
	cr_assert_eq(user->heap.used_bytes, 0);
	cr_assert_eq(user->heap.owned_pools, 0, "owned pools without a slab are lost too");
}

Test(pool, random_run_equals_the_model_1)
{
	random_run(1, 60000);
}

Test(pool, random_run_equals_the_model_2)
{
	random_run(2, 60000);
}

Test(pool, random_run_equals_the_model_3)
{
	random_run(3, 60000);
}

/* --- slabs of a single block -------------------------------------------------------------------------------------- */

enum { LARGE_BLOCKS = 60, SPARE_FLOOR = 1 << 20 };

static void large_keys(void)
{
	for (unsigned key = 0; key < USER_KEYS; key++)
		user_class_of[key] = (uint8_t)(CLASS_SINGLE + key % (CLASSES - CLASS_SINGLE));
}

/* The first and the last byte, and one of every page. */
static void mark(unsigned i, size_t size)
{
	for (size_t at = 0; at < size; at += 4096)
		model.at[i][at] = pattern(i);
	model.at[i][size - 1] = pattern(i);
}

static bool is_marked(unsigned i, size_t size)
{
	for (size_t at = 0; at < size; at += 4096)
		if (model.at[i][at] != pattern(i))
			return false;
	return size % 4096 || model.at[i][size - 1] == pattern(i);
}

static unsigned large_key(struct dice *dice)
{
	uint64_t most = dice_chance(dice, 80) ? (uint64_t)USER_KEYS / 4 : USER_KEYS;
	return (unsigned)dice_below(dice, most);
}

static void large_take(unsigned i, unsigned key)
{
	enum range_refusal why;
	cr_assert_not_null(model.at[i] = user_take(user, key, &why), "refused: %d", why);
	cr_assert_eq(slab_start(slab_of(model.at[i])), (char *)model.at[i], "it is its slab's only block");
	model.key[i] = (uint8_t)key;
	model.alive[key]++;
	model.total++;
	mark(i, size_of_key(key));
}

static void large_give(unsigned i, bool elsewhere)
{
	cr_assert(is_marked(i, size_of_key(model.key[i])), "block %u has changed", i);
	user_give(elsewhere ? NULL : user, model.at[i]);
	model.at[i] = NULL;
	if (elsewhere)
		heap_drain(&user->heap);
	model.alive[model.key[i]]--;
	model.total--;
}

/* In place exactly when its run is long enough or what lies behind is free; and the bytes that both sizes have stay. */
static void large_resize(unsigned i, unsigned key)
{
	const struct slab *slab = slab_of(model.at[i]);
	unsigned before = slab->granules, after = class_table[user_class_of[key]].granules;
	size_t least = size_of_key(key) < size_of_key(model.key[i]) ? size_of_key(key) : size_of_key(model.key[i]);
	bool fits = true; /* where nothing was yet, too */
	for (unsigned g = slab_index(slab) + before; g < slab_index(slab) + after && g < range_usage().granules; g++)
		fits = fits && range_is_free(g);
	bool resized = user_resize(user, model.at[i], key);
	cr_assert_eq(resized, fits, "%u granules to %u", before, after);
	if (!resized)
		return;
	cr_assert_eq(slab->granules, after);
	for (size_t at = 0; at < least; at += 4096)
		cr_assert_eq(model.at[i][at], pattern(i));
	model.alive[model.key[i]]--;
	model.alive[key]++;
	model.key[i] = (uint8_t)key;
	mark(i, size_of_key(key));
}

static void large_run(uint64_t seed, unsigned steps)
{
	struct dice dice = dice_of(seed);
	uint64_t most_used = 0;
	large_keys();
	for (unsigned step = 0; step < steps; step++) {
		unsigned i = (unsigned)dice_below(&dice, LARGE_BLOCKS);
		if (!model.at[i])
			large_take(i, large_key(&dice));
		else if (dice_chance(&dice, 40))
			large_resize(i, large_key(&dice));
		else
			large_give(i, dice_chance(&dice, 20));
		if (dice_chance(&dice, 2))
			user_settle(user);
		if (dice_chance(&dice, 1))
			heap_shed_spares(&user->heap);
		most_used = user->heap.used_bytes > most_used ? user->heap.used_bytes : most_used;
		cr_assert_leq(user->heap.spare_bytes, SPARE_FLOOR + most_used / 8, "step %u", step);
		if (step % 50 == 0)
			walk("large", step);
	}
	for (unsigned i = 0; i < LARGE_BLOCKS; i++)
		if (model.at[i])
			large_give(i, i % 2);
	user_settle(user);
	heap_shed_spares(&user->heap);
	walk("large, all given", seed);
	cr_assert_eq(range_usage().active, 0);
	cr_assert_eq(user->heap.spare_bytes, 0);
}

Test(pool, single_blocks_equal_the_model_1)
{
	large_run(1, 6000);
}

Test(pool, single_blocks_equal_the_model_2)
{
	large_run(2, 6000);
}

/* What was given last is taken first, and the range is not asked. */
Test(pool, a_spare_slab_is_the_next_one)
{
	large_keys();
	large_take(0, 1), large_take(1, 1);
	unsigned char *last = model.at[1];
	size_t active = range_usage().active;
	large_give(0, false), user_settle(user);
	large_give(1, false), user_settle(user);
	cr_assert_eq(user->heap.spare_bytes, active, "both stay");
	large_take(2, 1);
	cr_assert_eq(model.at[2], last);
	cr_assert_eq(range_usage().active, active);
	walk("one taken again", 0);
	large_take(3, 1), large_take(4, 0); /* a class of the same length that has none: the spare ones go first */
	large_give(3, false);
	user_settle(user);
	large_take(5, 0);
	cr_assert_eq(user->heap.spare_bytes, 0);
	walk("shed by another class", 0);
}

Test(pool, a_left_heap_keeps_no_spare_slab)
{
	large_keys();
	for (unsigned i = 0; i < 5; i++)
		large_take(i, i);
	for (unsigned i = 0; i < 4; i++)
		large_give(i, false);
	user_settle(user);
	cr_assert_gt(user->heap.spare_bytes, 0);
	user_leave(user);
	cr_assert_eq(user->heap.spare_bytes, 0);
	user_give(NULL, model.at[4]);
	cr_assert_eq(range_usage().active, 0, "and who frees its last block gives it back");
	cr_assert_eq(user_enter(), user);
}

/* What shared slabs are cut into has nothing to give to another heap here: full, or gone. */
Test(pool, owned_single_blocks_may_be_shared)
{
	large_keys();
	cr_assert(user_own(user, 3));
	for (unsigned i = 0; i < 10; i++)
		large_take(i, 3);
	cr_assert_gt(user->heap.owned_bytes, 0);
	cr_assert_not(user_resize(user, model.at[0], 4), "an owned slab stays as it is");
	walk("owned", 0);
	cr_assert(user_share(user, 3));
	walk("shared", 0);
	for (unsigned i = 0; i < 10; i++)
		large_give(i, i % 2);
	user_settle(user);
	heap_shed_spares(&user->heap);
	walk("given", 0);
	cr_assert_eq(user->heap.owned_bytes, 0);
}

/* Every block of a slab comes exactly once, wherever its carving begins. */
Test(pool, a_slab_is_carved_whole)
{
	static bool seen[GRANULE_BYTES / 16];
	for (unsigned class = 0; class < CLASSES; class ++) {
		struct pool *pool = &user->heap.shared[class];
		uint16_t tag = heap_tag_new(&user->heap, 1000 + class);
		uint32_t capacity = class_table[class].capacity, count, total = 0;
		void *list, *all = NULL;
		cr_assert_eq(pool_grow(&user->heap, pool), RANGE_OK);
		struct slab *slab = &range.slabs[pool->partly];
		cr_assert_lt(slab_first_block(slab), capacity);
		memset(seen, 0, sizeof(seen));
		while ((count = pool_take(&user->heap, pool, tag, 7, &list))) {
			for (void *block = list, *next; block; block = next, total++) {
				uint32_t index = slab_block_index(slab, block);
				cr_assert(index < capacity && !seen[index], "class %u: block %u", class, index);
				seen[index] = true;
				next = *(void **)block;
				*(void **)block = all;
				all = block;
			}
		}
		cr_assert_eq(total, capacity);
		cr_assert_eq(slab_state(slab), SLAB_FULL);
		cr_assert_eq(pool_give(&user->heap, all), capacity);
		pool_shed(&user->heap, pool);
		cr_assert_eq(pool->slabs, 0);
	}
	cr_assert_eq(range_usage().active, 0);
}

Test(pool, take_gives_no_more_than_wanted)
{
	void *list;
	uint16_t tag = user_tag(user, 0);
	struct pool *pool = &user->heap.shared[user_class_of[0]];
	cr_assert_eq(pool_take(&user->heap, pool, tag, 5, &list), 0, "no slab yet");
	cr_assert_eq(pool_grow(&user->heap, pool), RANGE_OK);
	for (uint32_t want = 1; want < 40; want++) {
		uint32_t count = pool_take(&user->heap, pool, tag, want, &list), length = 0;
		for (void *block = list; block; block = *(void **)block)
			length++;
		cr_assert(count == length && count >= 1 && count <= want);
		cr_assert_eq(pool_give(&user->heap, list), count);
	}
}

/* Freeing everything leaves at most an eighth of a pool's slabs empty (and the one it takes from). */
Test(pool, empty_slabs_go_back_before_anybody_sheds)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		take(i, 31);
	size_t most = range_usage().active, slab = (size_t)class_table[user_class_of[31]].granules << GRANULE_SHIFT;
	for (unsigned i = 0; i < BLOCKS; i++)
		give(i);
	user_settle(user);
	cr_assert_gt(most, 16 * slab);
	cr_assert_leq(range_usage().active, most / 8 + slab);
	walk("given", 0);
}

Test(pool, owned_slabs_serve_their_tag_only)
{
	cr_assert(user_own(user, 3));
	for (unsigned i = 0; i < 1000; i++)
		take(i, i % 2 ? 3 : 51 + 3); /* keys 3 and 54 are of one class */
	cr_assert_eq(user_class_of[3], user_class_of[54]);
	for (unsigned i = 0; i < 1000; i++) {
		struct slab *slab = slab_of(model.at[i]);
		cr_assert_eq(slab_has_tags(slab), i % 2 == 0);
	}
	walk("owned beside shared", 0);
	size_t owned = user->heap.owned_bytes;
	cr_assert_gt(owned, 0);
	cr_assert(user_share(user, 3));
	cr_assert_eq(user->heap.owned_pools, 0);
	cr_assert_eq(user->heap.owned_bytes, owned, "they count as owned until they are empty");
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(slab_has_tags(slab_of(model.at[i])));
	walk("all shared", 0);
	for (unsigned i = 0; i < 1000; i++)
		give(i);
	walk("given", 0);
	user_settle(user);
	user_age(user), user_age(user), user_age(user);
	cr_assert_eq(user->heap.owned_bytes, 0);
}

/* --- ageing ------------------------------------------------------------------------------------------------------- */

static void fill_owned(unsigned key, unsigned count)
{
	cr_assert(user_own(user, key));
	for (unsigned i = 0; i < count; i++)
		take(i, key);
}

Test(pool, a_busy_pool_is_not_lost)
{
	fill_owned(5, 500);
	for (unsigned i = 1; i < 500; i++)
		give(i);
	user_settle(user);
	for (int age = 0; age < 10; age++) {
		take(500, 5);
		give(500);
		user_settle(user);
		user_age(user);
		cr_assert_neq(user->pool_of[5], POOL_NONE);
	}
}

Test(pool, an_idle_full_pool_is_not_lost)
{
	fill_owned(5, 500);
	for (int age = 0; age < 10; age++)
		user_age(user);
	cr_assert_neq(user->pool_of[5], POOL_NONE);
	walk("aged", 0);
}

Test(pool, an_idle_mostly_empty_pool_is_lost)
{
	fill_owned(5, 500);
	for (unsigned i = 0; i < 500; i++)
		if (i % 10)
			give(i);
	user_settle(user);
	for (int age = 0; age < 4; age++)
		user_age(user);
	cr_assert_eq(user->pool_of[5], POOL_NONE);
	cr_assert_eq(user->heap.owned_pools, 0);
	walk("lost", 0);
}

/* A site whose blocks are all gone gives its place to another, or those a thread may have would be used up for ever. */
Test(pool, an_idle_pool_without_slabs_is_lost)
{
	fill_owned(5, 500);
	for (unsigned i = 0; i < 500; i++)
		give(i);
	user_settle(user);
	for (int age = 0; age < 4; age++)
		user_age(user);
	cr_assert_eq(user->pool_of[5], POOL_NONE);
	cr_assert_eq(user->heap.owned_pools, 0);
	cr_assert_eq(range_usage().active, 0);
}

/* What an idle site has left is room for another before the heap grows. Keys 3 and 54 are of one class. */
Test(pool, free_blocks_of_an_idle_site_are_reclaimed)
{
	unsigned class = user_class_of[3];
	fill_owned(3, 1000);
	for (unsigned i = 0; i < 1000; i += 2)
		give(i);
	user_settle(user);
	size_t active = range_usage().active;
	cr_assert_not(pool_reclaim(&user->heap, class), "it has just been taken from");
	user_age(user), user_age(user);
	cr_assert_neq(user->pool_of[3], POOL_NONE, "half of it is used");
	cr_assert_not(pool_reclaim(&user->heap, class + 1), "of another class");
	take(0, 3);
	cr_assert_not(pool_reclaim(&user->heap, class), "it has just been taken from again");
	give(0);
	user_settle(user);
	user_age(user), user_age(user);
	while (pool_reclaim(&user->heap, class))
		walk("reclaimed", 0);
	for (unsigned i = 0; i < 1000; i += 2)
		take(i, 54);
	size_t slab = (size_t)class_table[class].granules << GRANULE_SHIFT; /* what the first takes from stays its own */
	cr_assert_leq(range_usage().active, active + slab, "the second site fills what the first has left");
	walk("filled again", 0);
	for (unsigned i = 0; i < 1000; i++)
		give(i);
	user_settle(user);
	walk("given", 0);
}

/* --- blocks that pass between caches ------------------------------------------------------------------------------ */

static void put_in_cache(struct cache *cache, void *list, uint32_t count)
{
	cr_assert_null(cache->free);
	cache->free = list;
	cache->supplied += count;
	cache->room -= count;
}

Test(pool, ready_blocks_pass_to_another_tag)
{
	struct heap *of;
	void *list = NULL;
	uint16_t to = user_tag(user, 54);
	for (unsigned i = 0; i < 8; i++)
		take(i, 3);
	for (unsigned i = 0; i < 8; i++)
		give(i);
	struct cache *from = &user->heap.caches[user->tag_of[3]];
	uint64_t ready = cache_cached(from);
	cr_assert_geq(ready, 4);
	void *newest = from->free;
	int64_t may_hold = from->room + from->supplied;
	cr_assert_eq(cache_pass(from, to, 3, &list), 3);
	cr_assert_eq(list, newest, "the warm ones");
	cr_assert_eq(cache_cached(from), ready - 3);
	cr_assert_eq(from->room + from->supplied, may_hold, "what is passed on makes room for as much");
	cr_assert_eq(slab_whose(slab_of(list), list, &of), to);
	put_in_cache(&user->heap.caches[to], list, 3);
	walk("three passed", 0);
	cr_assert_eq(cache_pass(from, to, 1000, &list), ready - 3, "no more than there are");
	cr_assert_null(from->free);
	cr_assert_eq(cache_pass(from, to, 1, &list), 0);
	pool_give(&user->heap, list);
	take(9, 54);
	give(9);
}

Test(pool, blocks_of_owned_slabs_do_not_pass)
{
	void *list = NULL;
	uint16_t to = user_tag(user, 54);
	fill_owned(3, 100);
	give(0);
	struct cache *from = &user->heap.caches[user->tag_of[3]];
	uint64_t ready = cache_cached(from);
	cr_assert_gt(ready, 0);
	cr_assert_eq(cache_pass(from, to, 10, &list), 0);
	cr_assert_eq(cache_cached(from), ready);
	walk("none passed", 0);
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

Test(pool, owned_pools_end_at_their_most_and_are_reused)
{
	static struct pool *pools[HEAP_OWNED_MAX];
	uint16_t tag = user_tag(user, 0);
	for (unsigned i = 0; i < HEAP_OWNED_MAX; i++) {
		pools[i] = pool_open(&user->heap, tag, i % CLASSES);
		cr_assert_not_null(pools[i], "pool %u", i);
		cr_assert_eq(pool_at(&user->heap, pools[i]->index), pools[i]);
		for (unsigned other = i < 5 ? 0 : i - 5; other < i; other++)
			cr_assert_neq(pools[other], pools[i]);
	}
	cr_assert_null(pool_open(&user->heap, tag, 0));
	cr_assert_eq(user->heap.owned_pools, HEAP_OWNED_MAX);
	cr_assert(pool_share(&user->heap, pools[1234]));
	cr_assert(pool_share(&user->heap, pools[77]));
	cr_assert_eq(pool_open(&user->heap, tag, 9), pools[77]);
	cr_assert_eq(pool_open(&user->heap, tag, 9), pools[1234]);
	cr_assert_null(pool_open(&user->heap, tag, 9));
	walk("many pools", 0);
}

Test(pool, tags_end_at_their_most_and_keep_their_books)
{
	for (unsigned tag = 1; tag < HEAP_TAGS_MAX; tag++) {
		cr_assert_eq(heap_tag_new(&user->heap, 5 * tag), tag);
		user->heap.caches[tag].space = tag;
	}
	cr_assert_eq(heap_tag_new(&user->heap, 1), 0);
	for (unsigned tag = 1; tag < HEAP_TAGS_MAX; tag++)
		cr_assert(user->heap.caches[tag].key == 5 * tag && user->heap.caches[tag].space == tag, "tag %u", tag);
	cr_assert_eq(user->heap.caches[0].key, 0);
}

/* --- somebody says no --------------------------------------------------------------------------------------------- */

static bool whole(uint64_t alive)
{
	struct walk seen = walk_pools();
	return !seen.wrong && seen.used - seen.cached == alive && seen.bytes == range_usage().active;
}

Test(pool, a_full_range_refuses_and_loses_nothing)
{
	enum range_refusal why;
	uint64_t taken = 0;
	static void *blocks[1000];
	range_limit(50 << GRANULE_SHIFT);
	while (taken < 1000 && (blocks[taken] = user_take(user, 40, &why)))
		taken++;
	cr_assert_eq(why, RANGE_CAPACITY);
	cr_assert(whole(taken));
	cr_assert_null(user_take(user, 40, &why));
	cr_assert(user_own(user, 41));
	cr_assert_null(user_take(user, 41, &why));
	cr_assert_eq(why, RANGE_CAPACITY);
	cr_assert(whole(taken));
	user_give(user, blocks[--taken]);
	cr_assert_eq(user_take(user, 40, &why), blocks[taken++], "what comes back serves again");
	while (taken)
		user_give(user, blocks[--taken]);
	user_settle(user);
	for (int i = 0; i < 3; i++)
		user_age(user);
	cr_assert(whole(0));
	cr_assert_eq(range_usage().active, 0);
}

/* No memory for the tags of a shared slab: the slab goes back, the thread goes on. */
static int tags_refused(void)
{
	enum range_refusal why;
	uint16_t tag = user_tag(user, 2);
	HOLDS(tag && user_tag(user, 3) && range_take(1, &why)); /* there are granules */
	struct user *spare = user;
	HOLDS(memory_refuse());
	tables_use_up();
	uint64_t active = range_usage().active;
	HOLDS(!user_take(spare, 2, &why) && why == RANGE_NO_MEMORY && range_usage().active == active);
	HOLDS(!heap_tag_new(&user->heap, 1) || user->heap.tags < user->heap.tags_room);
	HOLDS(!user_own(user, 3));
	HOLDS(memory_allow());
	HOLDS(user_take(spare, 2, &why) && user_own(user, 3) && user_take(user, 3, &why));
	return 0;
}

/* An owned pool whose slabs cannot all become shared stays owned with the rest, and becomes shared later. */
static int share_refused(void)
{
	enum range_refusal why;
	void *blocks[600];
	uint16_t *few[3];
	HOLDS(user_own(user, 20));
	for (int i = 0; i < 600; i++)
		HOLDS((blocks[i] = user_take(user, 20, &why)));
	size_t tags_bytes = class_table[user_class_of[20]].capacity * sizeof(uint16_t);
	for (int i = 0; i < 3; i++)
		few[i] = meta_take(tags_bytes);
	HOLDS(memory_refuse());
	tables_use_up();
	for (int i = 0; i < 3; i++)
		meta_give(few[i], tags_bytes);
	uint64_t owned = user->heap.owned_bytes;
	HOLDS(!user_share(user, 20) && whole(600));
	HOLDS(user->heap.owned_bytes == owned && user->heap.owned_pools == 1);
	HOLDS(user->heap.shared[user_class_of[20]].slabs == 3 && user_alive(20) == 600);
	for (int i = 0; i < 300; i++)
		user_give(user, blocks[i]);
	HOLDS(whole(300) && user_alive(20) == 300);
	HOLDS(memory_allow());
	HOLDS(user_share(user, 20) && user->heap.owned_pools == 0 && whole(300));
	for (int i = 300; i < 600; i++)
		user_give(user, blocks[i]);
	return whole(0) ? 0 : 255;
}

static int caches_refused(void)
{
	HOLDS(memory_refuse());
	tables_use_up();
	uint32_t tags = 0;
	while (heap_tag_new(&user->heap, 5))
		tags++;
	HOLDS(tags == user->heap.tags && tags < user->heap.tags_room && whole(0));
	HOLDS(!user_enter());
	HOLDS(memory_allow());
	HOLDS(heap_tag_new(&user->heap, 5) == tags + 1 && whole(0));
	return user_enter() ? 0 : 255;
}

Test(pool, refused_tables_lose_nothing)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	cr_expect_eq(forked(tags_refused), 0);
	cr_expect_eq(forked(share_refused), 0);
	cr_expect_eq(forked(caches_refused), 0);
}
