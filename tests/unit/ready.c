/* What lies ready: how batches and caches grow with use, how caches are emptied, what passes from one to another, and the
 * rules for large blocks. */
#include "shim/ready.h"
#include "pools/os.h"
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/budget.h"
#include "shim/publish.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/sites.h"

#include <criterion/criterion.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:256M");
}

Test(ready, a_site_touched_once_gets_one_block)
{
	take(1, 64, 1);
	cr_assert_eq(cache_of(1, 64)->supplied, 1);
	cr_assert_null(cache_of(1, 64)->free);
}

Test(ready, batches_double_up_to_their_most)
{
	uint64_t last = 0, most = 0;
	for (int i = 0; i < 3000; i++) {
		take(1, 64, 1);
		uint64_t batch = cache_of(1, 64)->batch;
		cr_assert(batch == last || batch == 2 * last || last == 0, "from %lu to %lu", last, batch);
		last = batch;
		most = batch > most ? batch : most;
	}
	cr_assert(most >= 16 && most * 64 <= GRANULE_BYTES, "%lu", most);
}

Test(ready, a_cache_holds_no_more_than_it_may)
{
	for (int round = 1; round < 12; round++) {
		take(1, 64, 300u * (unsigned)round);
		for (unsigned i = 0; i < 300u * (unsigned)round; i++) {
			release(blocks[i]);
			cr_assert_geq(cache_of(1, 64)->room, 0);
		}
	}
	cr_assert_leq(cache_of(1, 64)->most * 64, thread_self->ready_max);
}

enum { TURNS = 100000 };

/* One of `sites` sites takes a block for each that any of them frees, a thousand alive. Returns the refills in TURNS turns. */
static uint64_t refills_of(unsigned sites, struct dice *dice)
{
	enum { LIVE = 1000 };
	uint64_t before = thread_if_any() ? thread_self->refills : 0;
	for (unsigned turn = 0; turn < TURNS; turn++) {
		unsigned site = dice_below(dice, sites);
		if (blocks[turn % LIVE])
			release(blocks[turn % LIVE]);
		cr_assert_not_null(blocks[turn % LIVE] = allocate(16 + 16 * (site % 32), pc_of(site)));
	}
	return thread_self->refills - before;
}

Test(ready, many_routes_have_enough_ready)
{
	struct dice dice = dice_of(3);
	uint64_t refills = 0;
	for (int i = 0; i < 10; i++)
		refills = refills_of(3000, &dice);
	cr_assert_lt(refills, TURNS / 10, "%lu refills; it is 80,000 without BUDGET_READY_TAG", refills);
	uint64_t slack = BUDGET_READY_SLACK + (uint64_t)thread_self->heap.tags * BUDGET_READY_TAG;
	cr_assert_leq(thread_self->ready_max, thread_self->heap.used_bytes / 8 + slack);
	whole();
}

Test(ready, settling_empties_every_cache)
{
	for (unsigned site = 0; site < 50; site++) {
		take(site, 16 + 30 * site, 100);
		give(site % 2 ? 100 : 50);
	}
	struct walk before = walk_pools();
	cr_assert_gt(before.cached, 0);
	ready_settle(thread_self);
	struct walk after = walk_pools();
	cr_assert_null(after.wrong);
	cr_assert_eq(after.cached, 0);
	cr_assert_eq(after.used, before.used - before.cached);
	cr_assert_eq(thread_self->ready_max, 0);
	cr_assert_eq(thread_self->ready_large_max, 0);
	cr_assert_eq(thread_self->ready_owned_max, 0);
}

static uint64_t alive(unsigned site, size_t size)
{
	return ledger_sites(publish(END_LIVE))[route(site, size)->site].tally.inuse_objects;
}

/* Takes what lies ready for the site; the blocks stay. */
static void use_up(unsigned site, size_t size)
{
	while (cache_cached(cache_of(site, size)))
		cr_assert_not_null(allocate(size, pc_of(site)));
}

/* One site gives back what another of the same class takes: the blocks pass by the caches, the slabs see none of it. A third
 * has been the last to fetch some from there, and has none to pass. */
Test(ready, what_overflows_serves_the_next_site)
{
	route_limits.own = false;
	take(1, 64, 2000);
	use_up(1, 64);
	cr_assert_not_null(allocate(64, pc_of(3)));
	use_up(3, 64);
	size_t active = range_usage().active;
	uint64_t kept = alive(1, 64) - 1000;
	for (unsigned i = 0; i < 1000; i++)
		release(blocks[i]);
	int64_t supplied = cache_of(1, 64)->supplied;
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_not_null(blocks[i] = allocate(64, pc_of(2)));
	cr_assert_leq(range_usage().active, active + GRANULE_BYTES, "a batch more at most");
	cr_assert_lt(cache_of(1, 64)->supplied, supplied, "some came from the first site's cache");
	cr_assert_eq(alive(1, 64), kept);
	cr_assert_eq(alive(2, 64), 1000);
	whole();
	give(2000);
	cr_assert_eq(alive(1, 64), kept - 1000, "each block is its new site's");
	cr_assert_eq(alive(2, 64), 0);
	whole();
}

/* --- large blocks ------------------------------------------------------------------------------------------------- */

enum { MIB = 1 << 20 };

/* The first frees go to the pools: a buffer that is used once is nobody's to keep. */
Test(ready, a_large_block_stays_ready_once_it_has_come_back_twice)
{
	churn(1, MIB, 1);
	cr_assert_eq(cache_cached(cache_of(1, MIB)), 0);
	cr_assert_eq(thread_self->ready_large_max, 0);
	churn(1, MIB, 1);
	cr_assert_eq(cache_cached(cache_of(1, MIB)), 1);
	cr_assert_eq(thread_self->ready_large_max, MIB);
	uint64_t refills = thread_self->refills;
	size_t active = range_usage().active;
	churn(1, MIB, 1000);
	cr_assert_eq(thread_self->refills, refills, "it is taken from there");
	cr_assert_eq(range_usage().active, active);
	whole();
}

Test(ready, large_blocks_used_together_stay_ready_together)
{
	for (int i = 0; i < 20; i++) {
		take(1, 100000, 8);
		give(8);
	}
	uint64_t refills = thread_self->refills;
	for (int i = 0; i < 100; i++) {
		take(1, 100000, 8);
		give(8);
	}
	cr_assert_eq(thread_self->refills, refills);
	whole();
}

static uint64_t ready_bytes(void)
{
	uint64_t bytes = 0;
	for (uint32_t tag = 1; tag <= thread_self->heap.tags; tag++)
		bytes += cache_cached(&thread_self->heap.caches[tag]) * class_table[route_at(thread_self, tag)->class].size;
	return bytes;
}

Test(ready, what_large_blocks_lie_ready_is_bounded)
{
	for (unsigned site = 0; site < 200; site++)
		for (size_t size = 5000; size < 4 * MIB; size *= 2)
			churn(site, size + site, 4);
	cr_assert_leq(thread_self->ready_large_max, BUDGET_LARGE_THREAD);
	cr_assert_gt(thread_self->ready_large_max, BUDGET_LARGE_THREAD / 2);
	cr_assert_leq(ready_bytes(), BUDGET_LARGE_THREAD + thread_self->ready_max);
	whole();
	ready_settle(thread_self);
	cr_assert_eq(thread_self->ready_large_max, 0);
	churn(1, 4 * MIB, 3);
	cr_assert_eq(thread_self->ready_large_max, 4 * MIB, "what was given back can be taken again");
}

static void let_the_clock_tick(void)
{
	for (uint64_t now = os_now_ms(); os_now_ms() < now + 2;)
		;
}

/* Two looks, a period apart, and nothing taken in between. */
Test(ready, large_blocks_that_nobody_takes_go)
{
	route_limits.decay_ms = 1;
	churn(1, MIB, 3);
	churn(2, 2 * MIB, 3);
	for (int look = 0; look < 3; look++) {
		let_the_clock_tick();
		churn(2, 2 * MIB, 1);
		take(3 + (unsigned)look, 50000, 1); /* a refill */
	}
	cr_assert_eq(cache_cached(cache_of(1, MIB)), 0);
	cr_assert_eq(cache_cached(cache_of(2, 2 * MIB)), 1, "this one is in use");
	cr_assert_eq(thread_self->ready_large_max, 2 * MIB);
	whole();
}

Test(ready, nothing_large_stays_where_memory_goes_back_at_once)
{
	route_limits.decay_ms = 0;
	churn(1, MIB, 10);
	cr_assert_eq(cache_cached(cache_of(1, MIB)), 0);
	cr_assert_eq(thread_self->ready_large_max, 0);
}

Test(ready, trimming_gives_large_blocks_back)
{
	churn(1, MIB, 3);
	churn(2, 300000, 1);
	cr_assert(cache_cached(cache_of(1, MIB)) == 1 && thread_self->heap.spare_bytes);
	ready_trim(thread_self);
	cr_assert_eq(cache_cached(cache_of(1, MIB)), 0);
	cr_assert_eq(thread_self->ready_large_max, 0);
	cr_assert_eq(thread_self->heap.spare_bytes, 0);
	whole();
}
