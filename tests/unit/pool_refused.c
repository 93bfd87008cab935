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

/* No memory for the tags of a slab that a second site wants blocks of: it gets a slab of its own meanwhile. */
static int tags_refused(void)
{
	enum range_refusal why;
	struct user *spare = user;
	cr_assert_eq(user_class_of[3], user_class_of[54]);
	void *first = user_take(user, 3, &why);
	HOLDS(first && user_tag(user, 54) && !slab_has_tags(slab_of(first)));
	HOLDS(memory_refuse());
	tables_use_up();
	void *second = user_take(spare, 54, &why);
	HOLDS(second && slab_of(second) != slab_of(first) && !slab_has_tags(slab_of(second)) && whole(2));
	user_give(user, first);
	user_give(user, second);
	uint64_t active = range_usage().active;
	for (int i = 0; i < 1000; i++) {
		HOLDS((first = user_take(user, i % 2 ? 3 : 54, &why)));
		user_give(user, first);
	}
	HOLDS(range_usage().active == active && whole(0));
	HOLDS(!heap_tag_new(&user->heap, 1) || user->heap.tags < user->heap.tags_room);
	HOLDS(!user_own(user, 3));
	HOLDS(memory_allow());
	HOLDS(user_own(user, 3) && user_take(user, 3, &why));
	return 0;
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
	cr_expect_eq(forked(caches_refused), 0);
}
