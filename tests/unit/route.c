/* Routes: how ownership is earned, refused and lost, how a cache grows and is emptied, and what has no route. */
#include "shim/route.h"
#include "pools/os.h"
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/budget.h"
#include "shim/publish.h"
#include "shim/ready.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/guest.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:256M");
}

enum { BLOCKS = 20000 };

static void *blocks[BLOCKS];

static uintptr_t pc_of(unsigned site)
{
	return 0x40000 + 32 * (uintptr_t)site;
}

static struct cache *cache_of(unsigned site, size_t size)
{
	return route_cache(thread_self, pc_of(site), class_of(size));
}

static struct route *route(unsigned site, size_t size)
{
	return route_of(thread_get(), pc_of(site), class_of(size));
}

static bool is_owned(const void *block)
{
	return slab_is_owned(slab_of(block));
}

static void take(unsigned site, size_t size, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert_not_null(blocks[i] = allocate(size, pc_of(site)));
}

static void give(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		release(blocks[i]);
}

static void whole(void)
{
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s", seen.wrong);
}

Test(route, a_site_touched_once_gets_one_block)
{
	take(1, 64, 1);
	cr_assert_eq(cache_of(1, 64)->supplied, 1);
	cr_assert_null(cache_of(1, 64)->free);
	cr_assert_not(is_owned(blocks[0]));
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

Test(route, batches_double_up_to_their_most)
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

Test(route, a_cache_holds_no_more_than_it_may)
{
	for (int round = 1; round < 12; round++) {
		take(1, 64, 300u * (unsigned)round);
		for (unsigned i = 0; i < 300u * (unsigned)round; i++) {
			release(blocks[i]);
			cr_assert_leq(cache_cached(cache_of(1, 64)), route(1, 64)->ready_max);
		}
	}
	cr_assert_leq(route(1, 64)->ready_max * 64, thread_self->ready_max);
}

Test(route, settling_empties_every_cache)
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

/* More kinds of blocks than a thread has tags: they share a route a class, and count on "other". */
Test(route, without_a_route_of_its_own_a_site_counts_as_other)
{
	enum { KINDS = HEAP_TAGS_MAX + 2000 };
	for (unsigned i = 0; i < KINDS; i++)
		blocks[i % BLOCKS] = allocate(16 + 16 * (i % 30), pc_of(i));
	cr_assert_leq(thread_self->heap.tags, HEAP_TAGS_MAX - 1);
	const struct ledger_header *l = publish(END_LIVE);
	cr_assert_eq(l->memory.tally.alloc_objects, KINDS);
	uint64_t other = ledger_sites(l)[SITE_OTHER].tally.alloc_objects;
	cr_assert(other >= 2000 && other <= 2000 + CLASSES + 2, "%lu on other", other);
	cr_assert_eq(l->quality.dropped_sites, other);
	for (unsigned i = 0; i < KINDS; i++)
		release(blocks[i]);
	l = publish(END_LIVE);
	cr_assert_eq(l->memory.tally.inuse_objects, 0);
	cr_assert_eq(ledger_sites(l)[SITE_OTHER].tally.free_objects, other);
	whole();
}

/* Two kinds whose index entries collide are told apart by their keys, however many there are. */
Test(route, every_kind_has_its_own_route)
{
	for (unsigned i = 0; i < 5000; i++)
		blocks[i] = allocate(16 * (1 + i % 20), pc_of(i / 20));
	for (unsigned i = 0; i < 5000; i++) {
		const struct cache *cache = cache_of(i / 20, 16 * (1 + i % 20));
		cr_assert_not_null(cache);
		cr_assert(cache->allocs == 1 && cache->space == 16 * (1 + i % 20), "kind %u", i);
	}
	give(5000);
	whole();
}

/* Keys that collide drive each other from home until the index has grown enough to part them: then nobody misses. */
Test(route, keys_in_use_find_their_home)
{
	enum { SITES = 40, SIZES = 20, ROUNDS = 2000 };
	uint64_t misses = 0;
	cr_assert_not_null(thread_get()); /* before it, thread_self is less than a thread */
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t before = thread_self->misses;
		for (unsigned i = 0; i < SITES * SIZES; i++)
			release(allocate(16 * (1 + i % SIZES), pc_of(i / SIZES)));
		if (round >= ROUNDS / 2 && thread_self->misses > before)
			misses += thread_self->misses - before;
	}
	cr_assert_leq(misses, (uint64_t)SITES * SIZES * (ROUNDS / 2) / 20, "%lu look-ups away from home", misses);
	whole();
}

/* One site gives back what another of the same class takes: the blocks pass by the caches, the slabs see none of it. */
Test(route, what_overflows_serves_the_next_site)
{
	route_limits.own = false;
	take(1, 64, 2000);
	size_t active = range_usage().active;
	for (unsigned i = 0; i < 1000; i++)
		release(blocks[i]);
	int64_t supplied = cache_of(1, 64)->supplied;
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_not_null(blocks[i] = allocate(64, pc_of(2)));
	cr_assert_leq(range_usage().active, active + GRANULE_BYTES, "a batch more at most");
	cr_assert_lt(cache_of(1, 64)->supplied, supplied, "some came from the first site's cache");
	const struct ledger_header *l = publish(END_LIVE);
	cr_assert_eq(ledger_sites(l)[route(1, 64)->site].tally.inuse_objects, 1000);
	cr_assert_eq(ledger_sites(l)[route(2, 64)->site].tally.inuse_objects, 1000);
	give(2000);
	whole();
}

/* --- large blocks ------------------------------------------------------------------------------------------------- */

enum { MIB = 1 << 20 };

static void churn(unsigned site, size_t size, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		take(site, size, 1);
		give(1);
	}
}

/* The first frees go to the pools: a buffer that is used once is nobody's to keep. */
Test(route, a_large_block_stays_ready_once_it_has_come_back_twice)
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

Test(route, large_blocks_used_together_stay_ready_together)
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

Test(route, what_large_blocks_lie_ready_is_bounded)
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
Test(route, large_blocks_that_nobody_takes_go)
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

Test(route, nothing_large_stays_where_memory_goes_back_at_once)
{
	route_limits.decay_ms = 0;
	churn(1, MIB, 10);
	cr_assert_eq(cache_cached(cache_of(1, MIB)), 0);
	cr_assert_eq(thread_self->ready_large_max, 0);
}

Test(route, trimming_gives_large_blocks_back)
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

/* --- libraries that go -------------------------------------------------------------------------------------------- */

enum { KINDS = 5, SITES_ABROAD = 2 };

static const size_t kinds[KINDS] = {16, 64, 1000, 20000, 100000};
static uintptr_t code; /* where the library is */
static uint16_t sites[SITES_ABROAD];
static pthread_barrier_t met;

static void *load(void)
{
	uintptr_t there;
	void *handle = guest_open(&there);
	if (!handle || (code && there != code))
		cr_skip_test("the library is not there, or came back elsewhere");
	code = there;
	return handle;
}

static void unload(void *handle)
{
	cr_assert_eq(dlclose(handle), 0);
	sites_retire_unloaded();
}

/* A block of each kind from each of its sites, allocated and freed; the tags say where they were counted. */
static void call(uint16_t (*tags)[KINDS])
{
	for (unsigned s = 0; s < SITES_ABROAD; s++)
		for (unsigned kind = 0; kind < KINDS; kind++) {
			void *block = allocate(kinds[kind], code + s);
			tags[s][kind] = slab_tag(slab_of(block), block);
			release(block);
		}
}

/* The index leads straight to the route again, and there is no second one. */
static void check_routes(uint16_t (*tags)[KINDS])
{
	for (unsigned s = 0; s < SITES_ABROAD; s++)
		for (unsigned kind = 0; kind < KINDS; kind++) {
			unsigned class = class_of(kinds[kind]);
			cr_assert_eq(route_cache(thread_self, code + s, class), &thread_self->heap.caches[tags[s][kind]]);
			cr_assert_eq(*index_home(&thread_self->front, code + s, class), tags[s][kind], "it is at home");
			cr_assert_eq(route_at(thread_self, tags[s][kind])->site, sites[s]);
		}
}

static void check_no_routes(void)
{
	for (unsigned s = 0; s < SITES_ABROAD; s++)
		for (unsigned kind = 0; kind < KINDS; kind++)
			cr_assert_null(route_cache(thread_self, code + s, class_of(kinds[kind])));
}

static void meet(void)
{
	pthread_barrier_wait(&met);
}

/* Calls, waits until the library has gone and come back, and calls again. */
static void *call_twice(void *wrong)
{
	uint16_t before[SITES_ABROAD][KINDS], after[SITES_ABROAD][KINDS];
	call(before);
	meet();
	meet();
	if (route_cache(thread_self, code, class_of(kinds[0])))
		wrong = "another library would count on the route";
	meet();
	meet();
	uint32_t tags = thread_self->heap.tags;
	call(after);
	if (thread_self->heap.tags != tags || memcmp(before, after, sizeof(before)))
		wrong = "the route was not found again";
	return wrong;
}

/* Nobody's route serves what may come to a library's place; when the library itself comes back, each thread finds its own
 * again, by way of the site: the first look into the index finds none. */
Test(route, a_library_that_comes_back_finds_its_routes)
{
	uint16_t before[SITES_ABROAD][KINDS], after[SITES_ABROAD][KINDS];
	pthread_t thread;
	void *wrong;
	void *handle = load();
	for (unsigned s = 0; s < SITES_ABROAD; s++)
		sites[s] = site_of(code + s);
	if (ledger_sites(ledger())[sites[0]].mapping == LEDGER_NONE)
		cr_skip_test("this C library cannot be asked (glibc before 2.35)");
	void *kept = allocate(64, code);
	call(before);
	check_routes(before);
	pthread_barrier_init(&met, NULL, 2);
	cr_assert_eq(pthread_create(&thread, NULL, call_twice, NULL), 0);
	meet();
	unload(handle);
	check_no_routes();
	meet();
	meet();
	cr_assert_not_null(kept = reallocate(kept, 100, pc_of(1)), "what was born there is good without it");
	uint32_t tags = thread_self->heap.tags;
	load();
	call(after);
	cr_assert_eq(thread_self->heap.tags, tags);
	cr_assert_eq(memcmp(before, after, sizeof(before)), 0);
	check_routes(before);
	meet();
	pthread_join(thread, &wrong);
	cr_assert_null(wrong, "%s", (char *)wrong);
	release(kept);
	const struct ledger_header *l = publish(END_LIVE);
	for (unsigned s = 0; s < SITES_ABROAD; s++) {
		const struct ledger_tally *tally = &ledger_sites(l)[sites[s]].tally;
		cr_assert_eq(tally->alloc_objects, 4 * KINDS + (s == 0 ? 2 : 0), "site %u: %lu", s, tally->alloc_objects);
		cr_assert_eq(tally->inuse_objects, 0);
	}
	whole();
}

/* The index grows while the library is away: its entries lead elsewhere then, so routes are made anew, once. */
Test(route, a_library_that_comes_back_late_is_counted_on)
{
	uint16_t before[SITES_ABROAD][KINDS], after[SITES_ABROAD][KINDS];
	void *handle = load();
	for (unsigned s = 0; s < SITES_ABROAD; s++)
		sites[s] = site_of(code + s);
	if (ledger_sites(ledger())[sites[0]].mapping == LEDGER_NONE)
		cr_skip_test("this C library cannot be asked (glibc before 2.35)");
	call(before);
	unload(handle);
	uint64_t mask = thread_self->front.mask;
	for (unsigned site = 0; thread_self->front.mask < 4 * mask; site++)
		release(allocate(64, pc_of(site)));
	load();
	call(after);
	uint32_t tags = thread_self->heap.tags;
	call(after);
	cr_assert_eq(thread_self->heap.tags, tags);
	check_routes(after);
	const struct ledger_header *l = publish(END_LIVE);
	for (unsigned s = 0; s < SITES_ABROAD; s++)
		cr_assert_eq(ledger_sites(l)[sites[s]].tally.alloc_objects, 3 * KINDS);
	whole();
}
