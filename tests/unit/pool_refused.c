/* Somebody says no: the range is full, or the kernel has no memory for tables. The pools lose nothing and go on. */
#include "pools/meta.h"
#include "tests/forked.h"
#include "tests/pool_model.h"
#include "tests/refusal.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>

TestSuite(pool_refused, .init = model_begin);

static bool whole(uint64_t alive)
{
	struct walk seen = walk_pools();
	return !seen.wrong && seen.used - seen.cached == alive && seen.bytes == range_usage().active;
}

Test(pool_refused, a_full_range_refuses_and_loses_nothing)
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

Test(pool_refused, refused_tables_lose_nothing)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	cr_expect_eq(forked(tags_refused), 0);
	cr_expect_eq(forked(share_refused), 0);
	cr_expect_eq(forked(caches_refused), 0);
}
