/* Routes: how ownership is earned, refused and lost, and who takes what an idle owner has left. */
#include "shim/route.h"
#include "pools/pool.h"
#include "shim/allocate.h"
#include "shim/budget.h"
#include "shim/publish.h"
#include "shim/ready.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/sites.h"

#include <criterion/criterion.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:256M");
}

static bool is_owned(const void *block)
{
	return slab_is_owned(slab_of(block));
}

Test(route, ownership_is_earned_with_a_slab_of_live_bytes)
{
	uint32_t slab = class_table[class_of(64)].capacity;
	take(1, 64, slab / 2);
	cr_assert_eq(route(1, 64)->pool, POOL_NONE);
	take(1, 64, 2 * slab);
	cr_assert_neq(route(1, 64)->pool, POOL_NONE);
	cr_assert(is_owned(blocks[2 * slab - 1]));
	whole();
}

/* A report beside running threads reads a slab's owner first and its pool later. */
Test(route, a_slab_that_changed_hands_is_nobodys_own)
{
	static struct heap another; /* has no owned pools */
	take(1, 64, 5000);
	const struct slab *slab = slab_of(blocks[4999]);
	cr_assert(slab_is_tags_own(slab_heap(slab), slab));
	cr_assert_not(slab_is_tags_own(&another, slab));
	cr_assert_not(slab_is_tags_own(NULL, slab));
}

Test(route, blocks_that_come_and_go_earn_nothing)
{
	for (int i = 0; i < 1000; i++) {
		take(1, 64, 50);
		give(50);
	}
	cr_assert_eq(route(1, 64)->pool, POOL_NONE);
}

Test(route, nothing_is_owned_where_the_option_says_so)
{
	route_limits.own = false;
	take(1, 64, 5000);
	cr_assert_eq(thread_self->heap.owned_pools, 0);
}

Test(route, owned_pools_are_capped)
{
	route_limits.owned_max = 3;
	for (unsigned site = 0; site < 10; site++)
		take(site, 64, 1000);
	cr_assert_eq(thread_self->heap.owned_pools, 3);
	whole();
}

Test(route, the_budget_may_refuse)
{
	budget_init(0);
	for (unsigned site = 0; site < 4; site++)
		take(site, 64, 600);
	cr_assert_eq(thread_self->heap.owned_bytes, 0, "no allowance, and far too little is alive");
	take(0, 64, BLOCKS);
	take(0, 64, BLOCKS);
	cr_assert_gt(thread_self->heap.owned_bytes, 0, "an eighth of what is alive is a slab");
	whole();
}

/* Each of them is slow; whatever call it is that allocates, they come to an end. */
Test(route, only_a_new_routes_first_allocations_say_who_called)
{
	for (int i = 0; i < 20; i++) {
		release(allocate(100, pc_of(1)));
		release(allocate_aligned(128, 64, pc_of(2)));
		release(allocate_zeroed(300, pc_of(3)));
	}
	cr_assert_eq(route(1, 100)->meets, 0);
	cr_assert_eq(route(2, 128)->meets, 0, "aligned: %u to go", route(2, 128)->meets);
	cr_assert_eq(route(3, 300)->meets, 0);
}

static const uint64_t *by_route(unsigned site)
{
	return ledger_sites(publish(END_LIVE))[route(site, 64)->site].route_objects;
}

/* What was counted for a kind of pool stays there when the next blocks come from the other: a fork's child takes what was
 * counted before it off. */
Test(route, counts_by_pool_never_shrink)
{
	enum { COUNT = 5000, RESIZED = 2 * COUNT };
	take(1, 64, COUNT);
	for (unsigned i = 0; i < RESIZED; i++)
		cr_assert_eq(reallocate(blocks[0], 60 - i % 8, pc_of(1)), blocks[0]);
	uint64_t owned = by_route(1)[ROUTE_OWNED], shared = by_route(1)[ROUTE_SHARED];
	cr_assert_eq(owned + shared, COUNT + RESIZED);
	cr_assert_gt(owned, 0);
	for (uint64_t before = shared; by_route(1)[ROUTE_SHARED] == before;) { /* the pool is full, and may not grow */
		route_limits.own = false;
		take(1, 64, 100);
	}
	cr_assert_geq(by_route(1)[ROUTE_OWNED], owned, "%lu, and were %lu", by_route(1)[ROUTE_OWNED], owned);
	take(1, 64, 100);
	cr_assert_geq(by_route(1)[ROUTE_OWNED], owned);
}

/* The allowance is given back with the slab that took it. */
Test(route, charges_come_back)
{
	for (int round = 0; round < 50; round++) {
		take(1, 64, 3000);
		cr_assert_gt(thread_self->heap.owned_bytes, 0, "round %d", round);
		give(3000);
		ready_settle(thread_self);
		whole();
	}
}

enum { AGE = 4096 /* refills, as in route.c */ };

/* Every large block is a refill where none stays ready. */
static void let_ages_pass(unsigned ages)
{
	route_limits.decay_ms = 0;
	for (uint64_t until = (thread_self->refills / AGE + ages) * AGE; thread_self->refills < until;)
		churn(100, 5000, 1);
}

/* What an idle owner has left free is another site's before the heap grows; `own`: before that one's own pool grows. */
static void check_left(bool own)
{
	enum { COUNT = 8000 };
	static void *kept[COUNT];
	take(1, 64, COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		kept[i] = blocks[i];
	cr_assert_neq(route(1, 64)->pool, POOL_NONE);
	route_limits.own = own; /* off: the other site takes from the shared pool */
	for (unsigned i = 0; i < COUNT; i += 3)
		release(kept[i]);
	let_ages_pass(3);
	cr_assert_neq(route(1, 64)->pool, POOL_NONE, "most of it is in use");
	size_t active = range_usage().active;
	take(2, 64, COUNT / 3);
	cr_assert_leq(range_usage().active, active + 2 * GRANULE_BYTES);
	cr_assert(own || !is_owned(blocks[0]));
	whole();
	give(COUNT / 3);
	for (unsigned i = 0; i < COUNT; i++)
		if (i % 3)
			release(kept[i]);
	whole();
}

Test(route, what_an_idle_owner_has_left_serves_another_site)
{
	check_left(false);
}

Test(route, what_an_idle_owner_has_left_serves_another_owner)
{
	check_left(true);
}

/* One site's blocks are replaced by another's at random: what the first frees is the second's at once, though nobody takes
 * from the first any more. */
Test(route, blocks_pass_from_a_site_that_only_frees)
{
	enum { LIVE = 20000 };
	static void *live[LIVE];
	struct dice dice = dice_of(7);
	route_limits.own = false;
	for (unsigned i = 0; i < LIVE; i++)
		live[i] = allocate(200, pc_of(1));
	size_t active = 0;
	uint64_t refills = 0;
	for (unsigned round = 0; round < 3; round++) {
		uint64_t before = thread_self->refills;
		for (unsigned i = 0; i < LIVE / 2; i++) {
			void **one = &live[dice_below(&dice, LIVE)];
			release(*one);
			*one = allocate(200, pc_of(2));
			cr_assert_not_null(*one);
		}
		refills = thread_self->refills - before;
		if (round == 0) { /* from now on the first site is known to take no more */
			let_ages_pass(2);
			active = range_usage().active;
		}
	}
	cr_assert_leq(range_usage().active, active + active / 32, "what was free is used again");
	cr_assert_leq(refills, LIVE / 2 / 6, "%lu refills; it is 2461 where the first site keeps nothing ready", refills);
	whole();
	for (unsigned i = 0; i < LIVE; i++)
		release(live[i]);
	whole();
}
