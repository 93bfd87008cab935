/* How a thread finds its routes: whatever collides in the index is told apart and brought home, what has no route of its own
 * is counted as "other", and a library that comes back finds its own. */
#include "pools/pool.h"
#include "shim/allocate.h"
#include "shim/mapping.h"
#include "shim/publish.h"
#include "shim/route.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/guest.h"
#include "tests/sanitized.h"
#include "tests/sites.h"
#include "tests/steps.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:256M");
}

/* More kinds of blocks than a thread has tags: they share a route a class, and count on "other". */
Test(route_index, without_a_route_of_its_own_a_site_counts_as_other)
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
Test(route_index, every_kind_has_its_own_route)
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

/* --- collisions --------------------------------------------------------------------------------------------------- */

enum { FIRST = 256 /* entries, as in route.c */, SPARSEST = 64 };

static bool share_a_home(uintptr_t pc, uintptr_t other, uint64_t entries)
{
	const struct front front = {thread_self->front.index, (entries - 1) * sizeof(uint16_t)};
	return index_home(&front, pc, class_of(64)) == index_home(&front, other, class_of(64));
}

static uint64_t entries(void)
{
	return thread_self->front.mask / sizeof(uint16_t) + 1;
}

static struct cache *find(uintptr_t pc)
{
	return route_cache(thread_self, pc, class_of(64));
}

static uint16_t tag_at_home(uintptr_t pc)
{
	return *index_home(&thread_self->front, pc, class_of(64));
}

/* Routes of `tags` sites, two of which share their home in an index of up to `together` entries, but not of more. */
static void make_twins(uintptr_t twins[2], unsigned tags, uint64_t together)
{
	cr_assert_not_null(thread_get()); /* before it, thread_self is less than a thread */
	twins[0] = pc_of(0);
	twins[1] = pc_of(1);
	while (!share_a_home(twins[0], twins[1], together) || share_a_home(twins[0], twins[1], 2 * together))
		twins[1] += 16;
	for (unsigned i = 0; i < 2; i++)
		release(allocate(64, twins[i]));
	for (unsigned site = 1; site < tags - 1; site++)
		release(allocate(64, pc_of(site)));
	cr_assert_eq(thread_self->heap.tags, tags);
	cr_assert_eq(entries(), FIRST);
}

static volatile unsigned steps, unmade;

/* The routes of all tags are made: of whatever class but the first, which a route of zeros would have. */
static void on_step(int sig)
{
	(void)sig;
	steps++;
	for (uint32_t tag = 1; tag <= thread_self->heap.tags; tag++)
		unmade += !thread_self->routes[tag / ROUTES_CHUNK] || route_at(thread_self, tag)->class == 0;
}

/* Who writes a report, or renames a site's routes, goes by the number of tags. */
Test(route_index, a_tag_is_told_of_when_its_route_is_made)
{
	if (SANITIZED || !STEPS_ARE_KNOWN)
		cr_skip_test("steps are known of x86-64 alone, and not of a sanitizer's code");
	steps_begin(on_step);
	for (unsigned site = 0; site <= ROUTES_CHUNK; site++)
		route(site, 100);
	steps_end();
	cr_assert_gt(steps, 1000);
	cr_assert_eq(unmade, 0, "%u in %u steps", unmade, steps);
}

Test(route_index, of_two_with_one_home_the_last_asked_for_lives_there)
{
	uintptr_t twins[2];
	make_twins(twins, 10, FIRST);
	const struct cache *caches[] = {find(twins[0]), find(twins[1])};
	cr_assert(caches[0] && caches[1] && caches[0] != caches[1]);
	for (unsigned i = 0; i < 100; i++) {
		cr_assert_eq(find(twins[i % 2]), caches[i % 2]);
		cr_assert_eq(&thread_self->heap.caches[tag_at_home(twins[i % 2])], caches[i % 2]);
	}
	for (unsigned site = 1; site < 9; site++)
		cr_assert_not_null(find(pc_of(site)), "nobody else is lost by it");
	cr_assert_eq(entries(), FIRST, "it is not worth a larger index yet");
	cr_assert_eq(thread_self->heap.tags, 10);
}

/* How often two can be asked for in turn until the index grows; `most` if it does not. */
static uint64_t turns_until_it_grows(const uintptr_t twins[2], uint64_t most)
{
	uint64_t before = entries();
	for (uint64_t turns = 0; turns < most; turns++) {
		if (entries() != before)
			return turns;
		cr_assert(find(twins[0]) && find(twins[1]));
	}
	return most;
}

Test(route_index, two_in_use_are_parted)
{
	uintptr_t twins[2];
	make_twins(twins, 10, FIRST);
	cr_assert_lt(turns_until_it_grows(twins, 100000), 100000);
	cr_assert_eq(entries(), 2 * FIRST);
	find(twins[0]), find(twins[1]);
	uint64_t misses = thread_self->misses;
	cr_assert_eq(turns_until_it_grows(twins, 100000), 100000);
	cr_assert_eq(thread_self->misses, misses, "both are at home");
}

/* Each size of the index has cost look-ups in proportion before it grows, and there is a largest one for so many tags. */
Test(route_index, two_that_cannot_be_parted_do_not_grow_it_for_ever)
{
	enum { TAGS = 40 };
	uintptr_t twins[2];
	make_twins(twins, TAGS, 1 << 16);
	uint64_t before = 0;
	while (entries() < SPARSEST * TAGS) {
		uint64_t turns = turns_until_it_grows(twins, 1000000);
		cr_assert(turns < 1000000 && turns + 1 >= 2 * before, "%lu turns after %lu", turns, before);
		before = turns;
	}
	cr_assert_eq(turns_until_it_grows(twins, 1000000), 1000000);
	cr_assert_lt(entries(), 2 * SPARSEST * TAGS);
}

/* As a program does it: sites anywhere, of many classes each, whose stretches of the index overlap. In the end few miss. */
Test(route_index, keys_in_use_find_their_home)
{
	enum { SITES = 40, CLASSES_EACH = 20, ROUNDS = 20000 };
	uint64_t misses = 0;
	uintptr_t pcs[SITES];
	struct dice dice = dice_of(1);
	for (unsigned i = 0; i < SITES; i++)
		pcs[i] = 0x400000 + dice_below(&dice, 1 << 20);
	cr_assert_not_null(thread_get());
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t before = thread_self->misses;
		for (unsigned i = 0; i < SITES * CLASSES_EACH; i++)
			release(allocate(16 * (1 + i % CLASSES_EACH), pcs[i / CLASSES_EACH]));
		if (round >= ROUNDS / 10 * 9 && thread_self->misses > before)
			misses += thread_self->misses - before;
	}
	cr_assert_leq(misses, (uint64_t)SITES * CLASSES_EACH * (ROUNDS / 10) / 10, "%lu look-ups away from home", misses);
	whole();
}

/* --- libraries that go -------------------------------------------------------------------------------------------- */

enum { CALLS = 2, SIZES = 5 };

static const size_t kinds[SIZES] = {16, 64, 1000, 20000, 100000};
static uintptr_t code; /* where the library is */
static uint16_t sites[CALLS];
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
	mappings_retire_unloaded();
}

/* A block of each kind from each of its sites, allocated and freed; the tags say where they were counted. */
static void call(uint16_t (*tags)[SIZES])
{
	for (unsigned s = 0; s < CALLS; s++)
		for (unsigned kind = 0; kind < SIZES; kind++) {
			void *block = allocate(kinds[kind], code + s);
			tags[s][kind] = slab_tag(slab_of(block), block);
			release(block);
		}
}

/* The index leads straight to the route again, and there is no second one. */
static void check_routes(uint16_t (*tags)[SIZES])
{
	for (unsigned s = 0; s < CALLS; s++)
		for (unsigned kind = 0; kind < SIZES; kind++) {
			unsigned class = class_of(kinds[kind]);
			cr_assert_eq(route_cache(thread_self, code + s, class), &thread_self->heap.caches[tags[s][kind]]);
			cr_assert_eq(*index_home(&thread_self->front, code + s, class), tags[s][kind], "it is at home");
			cr_assert_eq(route_at(thread_self, tags[s][kind])->site, sites[s]);
		}
}

static void check_no_routes(void)
{
	for (unsigned s = 0; s < CALLS; s++)
		for (unsigned kind = 0; kind < SIZES; kind++)
			cr_assert_null(route_cache(thread_self, code + s, class_of(kinds[kind])));
}

static void meet(void)
{
	pthread_barrier_wait(&met);
}

/* Calls, waits until the library has gone and come back, and calls again. */
static void *call_twice(void *wrong)
{
	uint16_t before[CALLS][SIZES], after[CALLS][SIZES];
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
Test(route_index, a_library_that_comes_back_finds_its_routes)
{
	uint16_t before[CALLS][SIZES], after[CALLS][SIZES];
	pthread_t thread;
	void *wrong;
	void *handle = load();
	for (unsigned s = 0; s < CALLS; s++)
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
	for (unsigned s = 0; s < CALLS; s++) {
		const struct ledger_tally *tally = &ledger_sites(l)[sites[s]].tally;
		cr_assert_eq(tally->alloc_objects, 4 * SIZES + (s == 0 ? 2 : 0), "site %u: %lu", s, tally->alloc_objects);
		cr_assert_eq(tally->inuse_objects, 0);
	}
	whole();
}

/* The index grows while the library is away: its entries lead elsewhere then, so routes are made anew, once. */
Test(route_index, a_library_that_comes_back_late_is_counted_on)
{
	uint16_t before[CALLS][SIZES], after[CALLS][SIZES];
	void *handle = load();
	for (unsigned s = 0; s < CALLS; s++)
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
	for (unsigned s = 0; s < CALLS; s++)
		cr_assert_eq(ledger_sites(l)[sites[s]].tally.alloc_objects, 3 * SIZES);
	whole();
}
