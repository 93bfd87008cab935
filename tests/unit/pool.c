/* One heap's pools against a model that knows every block alive: whose it is, what is in it, and that nothing overlaps. Then
 * piece by piece: carving, owning, ageing, reclaiming, passing on, and where it all ends. */
#include "pools/walk.h"
#include "tests/dice.h"
#include "tests/pool_model.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(pool, .init = model_begin);

static void take(unsigned i, unsigned key)
{
	unsigned char *block = user_must_take(user, key);
	size_t size = model_size(key);
	size_t align = (size & -size) < GRANULE_BYTES ? size & -size : GRANULE_BYTES;
	cr_assert_eq((uintptr_t)block % align, 0, "%p is aligned as %zu is", (void *)block, size);
	struct heap *heap;
	cr_assert_eq(slab_whose(slab_of(block), block, &heap), user->tag_of[key]);
	cr_assert_eq(heap, &user->heap);
	memset(block, model_pattern(i), size);
	model_add(i, block, key);
}

static void give(unsigned i)
{
	unsigned char *block = model.at[i];
	size_t size = model_size(model.key[i]);
	cr_assert(block[0] == model_pattern(i) && memcmp(block, block + 1, size - 1) == 0, "block %u has changed", i);
	user_give(user, block);
	model_drop(i);
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
			user_share(user, key);
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
		unsigned i = (unsigned)dice_below(&dice, MODEL_BLOCKS);
		if (model.at[i])
			give(i);
		else if (dice_chance(&dice, percent))
			take(i, dice_chance(&dice, 50) ? favourite : (unsigned)(dice_below(&dice, USER_KEYS) & dice_roll(&dice)));
		if (dice_chance(&dice, 1))
			change_pools(&dice);
		if (step % 1000 == 0)
			model_walk("random", step);
	}
	model_walk("random, at the end", steps);
	for (unsigned i = 0; i < MODEL_BLOCKS; i++)
		if (model.at[i])
			give(i);
	model_walk("all given", seed);
	user_settle(user);
	for (int i = 0; i < 3; i++)
		user_age(user);
	model_walk("all shed", seed);
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

/* Every block of a slab comes exactly once, wherever its carving begins. */
Test(pool, a_slab_is_carved_whole)
{
	static bool seen[GRANULE_BYTES / 16];
	for (unsigned class = 0; class < CLASSES; class ++) {
		struct pool *pool = &user->heap.shared[class];
		uint16_t tag = heap_tag_new(&user->heap, 1000 + class);
		uint32_t capacity = class_table[class].capacity, count, total = 0;
		void *list, *all = NULL;
		cr_assert_eq(pool_grow(&user->heap, pool, 1), RANGE_OK);
		struct slab *slab = &range.slabs[pool->partly];
		cr_assert_lt(slab_first_block(slab), capacity);
		memset(seen, 0, sizeof(seen));
		while ((count = pool_take(&user->heap, pool, tag, 7, 7, &list))) {
			for (void *block = list, *next; block; block = next, total++) {
				size_t offset = (size_t)((char *)block - slab_start(slab)), index = offset / class_table[class].size;
				cr_assert(offset % class_table[class].size == 0 && index < capacity && !seen[index],
				          "class %u: block %zu", class, index);
				seen[index] = true;
				next = *(void **)block;
				*(void **)block = all;
				all = block;
			}
		}
		cr_assert_eq(total, capacity);
		cr_assert_eq(slab_state(slab), SLAB_FULL);
		cr_assert_null(pool_give(&user->heap, all, capacity));
		pool_shed(&user->heap, pool);
		cr_assert_eq(pool->slabs, 0);
	}
	cr_assert_eq(range_usage().active, 0);
}

/* Takes every free block of the pool and all of so many growths. Returns the slabs of the last growth. */
static uint32_t grow_often(struct pool *pool, uint16_t tag, int times)
{
	uint32_t before = pool->slabs;
	void *list;
	while (times--) {
		while (pool_take(&user->heap, pool, tag, 1000, 1000, &list))
			;
		before = pool->slabs;
		cr_assert_eq(pool_grow(&user->heap, pool, pool_growth(pool)), RANGE_OK);
	}
	return pool->slabs - before;
}

static void no_pool_lost(struct heap *heap, uint16_t tag)
{
	cr_assert_fail("heap %u, tag %u", heap->id, tag);
}

Test(pool, a_pool_that_grows_fast_grows_by_more_slabs_at_a_time)
{
	unsigned class = class_of(512);
	struct pool *pool = &user->heap.shared[class];
	uint16_t tag = heap_tag_new(&user->heap, 77);
	cr_assert_eq(pool_growth(pool), 1);
	cr_assert_eq(grow_often(pool, tag, 16), 1, "it is small");
	uint32_t last = grow_often(pool, tag, 100);
	cr_assert_geq(last, 8);
	cr_assert_leq(last, 1 + pool->slabs / 16);
	cr_assert_geq(pool->empty, last - 1);
	for (uint32_t i = pool->partly; range.slabs[i].next != SLAB_NIL; i = range.slabs[i].next)
		cr_assert_eq(range.slabs[i].next, i + class_table[class].granules, "side by side");
	last = grow_often(pool, tag, 40);
	cr_assert_eq(last, ((1 << 20) >> GRANULE_SHIFT) / class_table[class].granules, "1 MiB is the most");
	cr_assert_null(walk_own_heap(&user->heap));
}

Test(pool, a_pool_that_cools_grows_by_one_slab_again)
{
	struct pool *pool = &user->heap.shared[class_of(512)];
	uint16_t tag = heap_tag_new(&user->heap, 77);
	cr_assert_gt(grow_often(pool, tag, 116), 1);
	for (unsigned last = pool_growth(pool), ages = 0; last > 1; last = pool_growth(pool)) {
		heap_age(&user->heap, no_pool_lost);
		cr_assert_leq(pool_growth(pool), last);
		cr_assert_lt(ages++, 8);
	}
	cr_assert_eq(pool->empty, 0, "and what it had no use for is gone");
}

Test(pool, a_cap_ends_a_growth_of_many_slabs_without_loss)
{
	struct pool *pool = &user->heap.shared[class_of(512)];
	uint16_t tag = heap_tag_new(&user->heap, 77);
	grow_often(pool, tag, 116);
	cr_assert_gt(pool_growth(pool), 4);
	range_limit(range_usage().active + 2 * GRANULE_BYTES);
	uint32_t before = pool->slabs;
	cr_assert_eq(pool_grow(&user->heap, pool, pool_growth(pool)), RANGE_OK);
	cr_assert_eq(pool->slabs - before, 2);
	cr_assert_eq(pool_grow(&user->heap, pool, pool_growth(pool)), RANGE_CAPACITY);
	cr_assert_eq(pool->slabs - before, 2);
	cr_assert_null(walk_own_heap(&user->heap));
}

Test(pool, large_blocks_never_come_in_advance)
{
	struct pool *pool = &user->heap.shared[class_of(64 << 10)];
	uint16_t tag = heap_tag_new(&user->heap, 77);
	cr_assert_eq(grow_often(pool, tag, 100), 1);
}

Test(pool, take_gives_no_more_than_wanted)
{
	void *list;
	uint16_t tag = user_tag(user, 0);
	struct pool *pool = &user->heap.shared[user_class_of[0]];
	cr_assert_eq(pool_take(&user->heap, pool, tag, 5, 5, &list), 0, "no slab yet");
	cr_assert_eq(pool_grow(&user->heap, pool, 1), RANGE_OK);
	for (uint32_t want = 1; want < 40; want++) {
		uint32_t count = pool_take(&user->heap, pool, tag, want, want, &list), length = 0;
		for (void *block = list; block; block = *(void **)block)
			length++;
		cr_assert(count == length && count >= 1 && count <= want);
		cr_assert_null(pool_give(&user->heap, list, count));
	}
}

/* Freeing everything leaves at most an eighth of a pool's slabs empty (and the one it takes from). */
Test(pool, empty_slabs_go_back_before_anybody_sheds)
{
	for (unsigned i = 0; i < MODEL_BLOCKS; i++)
		take(i, 31);
	size_t most = range_usage().active, slab = (size_t)class_table[user_class_of[31]].granules << GRANULE_SHIFT;
	for (unsigned i = 0; i < MODEL_BLOCKS; i++)
		give(i);
	user_settle(user);
	cr_assert_gt(most, 16 * slab);
	cr_assert_leq(range_usage().active, most / 8 + slab);
	model_walk("given", 0);
}

Test(pool, owned_slabs_serve_their_tag_only)
{
	cr_assert(user_own(user, 3));
	for (unsigned i = 0; i < 1000; i++)
		take(i, i % 2 ? 3 : 51 + 3); /* keys 3 and 54 are of one class */
	cr_assert_eq(user_class_of[3], user_class_of[54]);
	for (unsigned i = 0; i < 1000; i++) {
		struct slab *slab = slab_of(model.at[i]);
		cr_assert_eq(slab_is_owned(slab), i % 2 == 1);
	}
	model_walk("owned beside shared", 0);
	size_t owned = user->heap.owned_bytes;
	cr_assert_gt(owned, 0);
	user_share(user, 3);
	cr_assert_eq(user->heap.owned_pools, 0);
	cr_assert_eq(user->heap.owned_bytes, owned, "they count as owned until they are empty");
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_not(slab_is_owned(slab_of(model.at[i])));
	model_walk("all shared", 0);
	for (unsigned i = 0; i < 1000; i++)
		give(i);
	model_walk("given", 0);
	user_settle(user);
	user_age(user), user_age(user), user_age(user);
	cr_assert_eq(user->heap.owned_bytes, 0);
}

/* --- one tag or many ---------------------------------------------------------------------------------------------- */

static uint16_t whose(unsigned i)
{
	struct heap *heap;
	return slab_whose(slab_of(model.at[i]), model.at[i], &heap);
}

Test(pool, a_slab_is_of_one_tag_until_a_second_one_takes_from_it)
{
	unsigned capacity = class_table[user_class_of[3]].capacity;
	for (unsigned i = 0; i < capacity / 2; i++)
		take(i, 3);
	struct slab *slab = slab_of(model.at[0]);
	cr_assert_eq(slab_of(model.at[capacity / 2 - 1]), slab);
	cr_assert_not(slab_has_tags(slab));
	take(capacity, 54);
	cr_assert_eq(slab_of(model.at[capacity]), slab);
	cr_assert(slab_has_tags(slab));
	for (unsigned i = 0; i < capacity / 2; i++)
		cr_assert_eq(whose(i), user_tag(user, 3));
	cr_assert_eq(whose(capacity), user_tag(user, 54));
	model_walk("of two tags", 0);
	for (unsigned i = 0; i < capacity / 2; i++)
		give(i);
	give(capacity);
	user_settle(user);
	for (unsigned i = 0; i < capacity / 2; i++)
		take(i, 54);
	cr_assert_eq(slab_of(model.at[0]), slab);
	cr_assert_not(slab_has_tags(slab), "once it has been empty, it is of one tag again");
	cr_assert_eq(whose(0), user_tag(user, 54));
	model_walk("of the other tag", 0);
}

Test(pool, tags_in_turn_keep_to_slabs_of_their_own_where_there_are_some)
{
	unsigned capacity = class_table[user_class_of[3]].capacity;
	for (unsigned i = 0; i < capacity; i++)
		take(i, 3);
	for (unsigned i = capacity; i < 2 * capacity; i++)
		take(i, 54);
	for (unsigned i = 0; i < 2 * capacity; i++)
		if (i % 4)
			give(i);
	user_settle(user);
	for (unsigned i = 0; i < 2 * capacity; i++)
		if (i % 4 == 1 || i % 4 == 2)
			take(i, i % 4 == 1 ? 3 : 54);
	for (unsigned i = 0; i < 2 * capacity; i++)
		cr_assert(i % 4 == 3 || !slab_has_tags(slab_of(model.at[i])), "block %u", i);
	model_walk("two slabs", 0);
}

Test(pool, a_whole_list_comes_where_it_is_no_work)
{
	void *list, *all = NULL;
	uint16_t tag = user_tag(user, 3), other = user_tag(user, 54);
	struct pool *pool = &user->heap.shared[user_class_of[3]];
	uint32_t capacity = class_table[user_class_of[3]].capacity, count;
	cr_assert_eq(pool_grow(&user->heap, pool, 1), RANGE_OK);
	while ((count = pool_take(&user->heap, pool, tag, capacity, capacity, &list)))
		for (void *next; list; list = next) {
			next = *(void **)list;
			*(void **)list = all;
			all = list;
		}
	void *one = all;
	all = *(void **)all;
	cr_assert_null(pool_give(&user->heap, all, capacity - 1));
	cr_assert_eq(pool_take(&user->heap, pool, tag, 5, capacity, &list), capacity - 1, "one tag: all of it");
	cr_assert_null(pool_give(&user->heap, list, capacity - 1));
	cr_assert_eq(pool_take(&user->heap, pool, tag, 5, capacity - 2, &list), 5, "more than may be: a batch");
	cr_assert_null(pool_give(&user->heap, list, 5));
	cr_assert_eq(pool_take(&user->heap, pool, other, 5, capacity, &list), 5, "a second tag: each must be marked");
	cr_assert_null(pool_give(&user->heap, list, 5));
	*(void **)one = NULL;
	cr_assert_null(pool_give(&user->heap, one, 1));
	model_walk("given", 0);
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
	model_walk("aged", 0);
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
	model_walk("lost", 0);
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
		model_walk("reclaimed", 0);
	for (unsigned i = 0; i < 1000; i += 2)
		take(i, 54);
	size_t slab = (size_t)class_table[class].granules << GRANULE_SHIFT; /* what the first takes from stays its own */
	cr_assert_leq(range_usage().active, active + slab, "the second site fills what the first has left");
	model_walk("filled again", 0);
	for (unsigned i = 0; i < 1000; i++)
		give(i);
	user_settle(user);
	model_walk("given", 0);
}

/* --- blocks that pass between caches ------------------------------------------------------------------------------ */

static void put_in_cache(struct cache *cache, void *list, uint32_t count)
{
	cr_assert_null(cache->free);
	cache->free = list;
	cache_supply(cache, count);
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
	int64_t room = from->room;
	cr_assert_eq(cache_pass(from, to, 3, &list), 3);
	cr_assert_eq(list, newest, "the warm ones");
	cr_assert_eq(cache_cached(from), ready - 3);
	cr_assert_eq(from->room, room + 3, "what is passed on makes room for as much");
	cr_assert_eq(slab_whose(slab_of(list), list, &of), to);
	put_in_cache(&user->heap.caches[to], list, 3);
	model_walk("three passed", 0);
	cr_assert_eq(cache_pass(from, to, 1000, &list), ready - 3, "no more than there are");
	cr_assert_null(from->free);
	cr_assert_eq(cache_pass(from, to, 1, &list), 0);
	cr_assert_null(pool_give(&user->heap, list, UINT32_MAX));
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
	model_walk("none passed", 0);
}

/* But those of an owner that takes no more: their slabs are its own no longer. */
Test(pool, blocks_of_an_idle_owner_pass)
{
	void *list = NULL;
	uint16_t to = user_tag(user, 54);
	fill_owned(3, 1000);
	user_age(user), user_age(user);
	give(0);
	struct cache *from = &user->heap.caches[user->tag_of[3]];
	uint64_t owned = user->heap.shared[user_class_of[3]].slabs;
	cr_assert_eq(cache_pass(from, to, 1, &list), 1);
	cr_assert_not(slab_is_owned(slab_of(list)));
	cr_assert_eq(slab_tag(slab_of(list), list), to);
	cr_assert_eq(user->heap.shared[user_class_of[3]].slabs, owned + 1);
	put_in_cache(&user->heap.caches[to], list, 1);
	model_walk("passed", 0);
	take(0, 54);
	for (unsigned i = 0; i < 1000; i++)
		give(i);
	user_settle(user);
	model_walk("given", 0);
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
	pool_share(&user->heap, pools[1234]);
	pool_share(&user->heap, pools[77]);
	cr_assert_eq(pool_open(&user->heap, tag, 9), pools[77]);
	cr_assert_eq(pool_open(&user->heap, tag, 9), pools[1234]);
	cr_assert_null(pool_open(&user->heap, tag, 9));
	model_walk("many pools", 0);
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
