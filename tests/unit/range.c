/* The address range against a model of one byte a granule: first fit, no overlap, true counters, every refusal named,
 * and pages that really go back to the kernel. Nothing waits for the clock: decay is tested at 0, at never, and by going
 * on until the clock has ticked. */
#define _GNU_SOURCE
#include "pools/range.h"
#include "pools/os.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/refusal.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { GRANULES = 1024, SMALL = GRANULES << GRANULE_SHIFT, GIB = 1 << 30 };
enum state { NEVER, DIRTY, TAKEN };

static struct {
	uint8_t state[GRANULES];
	uint16_t first_of[GRANULES]; /* length of the run that begins there, 0: none does */
	uint32_t taken, peak, limit;
} model;

static void setup(void)
{
	model.limit = GRANULES;
	cr_assert(range_init(SMALL));
	cr_assert_eq(range.bytes, SMALL);
	range_decay_set(-1);
}

TestSuite(range, .init = setup);
TestSuite(range_start);

/* Lowest free run of the length, GRANULES: none. */
static uint32_t model_find(unsigned length)
{
	for (uint32_t i = 0, free = 0; i < GRANULES; i++) {
		free = model.state[i] == TAKEN ? 0 : free + 1;
		if (free == length)
			return i + 1 - length;
	}
	return GRANULES;
}

static uint32_t model_count(enum state state)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < GRANULES; i++)
		n += model.state[i] == state;
	return n;
}

static void check_counters(void)
{
	struct range_usage usage = range_usage();
	cr_assert_eq(usage.active, (size_t)model.taken << GRANULE_SHIFT);
	cr_assert_eq(usage.peak_active, (size_t)model.peak << GRANULE_SHIFT);
	cr_assert_eq(usage.retained, (size_t)model_count(DIRTY) << GRANULE_SHIFT);
	cr_assert_leq(usage.granules, GRANULES);
	for (uint32_t i = 0; i < usage.granules; i++)
		cr_assert_eq(range_is_free(i), model.state[i] != TAKEN, "granule %u", i);
	for (uint32_t i = usage.granules; i < GRANULES; i++)
		cr_assert_eq(model.state[i], NEVER, "granule %u is in use and not counted", i);
}

static void check_records(uint32_t first, unsigned length)
{
	for (unsigned i = 0; i < length; i++) {
		bool far = i >= SLAB_REST_MAX;
		cr_assert_eq(slab_state(&range.slabs[first + i]), far ? SLAB_NONE : i ? SLAB_REST : SLAB_CURRENT);
		cr_assert_eq(range.slabs[first + i].granules, far ? 0 : i ? i : length);
		cr_assert_eq(slab_owner(&range.slabs[first + i]), 0);
	}
}

static void take(unsigned length)
{
	enum range_refusal why, expected = RANGE_OK;
	uint32_t first = model_find(length);
	if (model.taken + length > model.limit)
		expected = model.limit < GRANULES ? RANGE_CAPACITY : RANGE_FULL;
	else if (first == GRANULES)
		expected = RANGE_FULL;
	struct slab *slab = range_take(length, 1, &why);
	cr_assert_eq(why, expected, "a run of %u: %d, not %d", length, why, expected);
	cr_assert_eq(!slab, why != RANGE_OK);
	if (!slab)
		return;
	cr_assert_eq(slab_index(slab), first, "a run of %u at %u, not %u", length, slab_index(slab), first);
	check_records(first, length);
	memset(slab_start(slab), 0xA5, (size_t)length << GRANULE_SHIFT);
	memset(&model.state[first], TAKEN, length);
	model.first_of[first] = (uint16_t)length;
	model.taken += length;
	model.peak = model.peak > model.taken ? model.peak : model.taken;
}

static void give(uint32_t first)
{
	unsigned length = model.first_of[first];
	range_give(&range.slabs[first]);
	for (unsigned i = 0; i < length; i++)
		cr_assert_eq(slab_state(&range.slabs[first + i]), SLAB_NONE);
	memset(&model.state[first], DIRTY, length);
	model.first_of[first] = 0;
	model.taken -= length;
}

/* Longer where it lies: exactly when what lies behind is free and the cap allows. */
static void extend(uint32_t first, unsigned length)
{
	unsigned before = model.first_of[first];
	bool fits = first + length <= GRANULES && model.taken + length - before <= model.limit;
	for (unsigned i = before; i < length && fits; i++)
		fits = model.state[first + i] != TAKEN;
	cr_assert_eq(range_extend(&range.slabs[first], length), fits, "%u at %u to %u", before, first, length);
	if (!fits) {
		check_records(first, before);
		return;
	}
	check_records(first, length);
	memset(slab_start(&range.slabs[first]), 0xA5, (size_t)length << GRANULE_SHIFT);
	memset(&model.state[first], TAKEN, length);
	model.first_of[first] = (uint16_t)length;
	model.taken += length - before;
	model.peak = model.peak > model.taken ? model.peak : model.taken;
}

static void cut(uint32_t first, unsigned length)
{
	unsigned before = model.first_of[first];
	range_cut(&range.slabs[first], length);
	check_records(first, length);
	for (unsigned i = length; i < before; i++)
		cr_assert_eq(slab_state(&range.slabs[first + i]), SLAB_NONE);
	memset(&model.state[first + length], DIRTY, before - length);
	model.first_of[first] = (uint16_t)length;
	model.taken -= before - length;
}

static bool zeros(uint32_t granule)
{
	const char *at = range.base + ((size_t)granule << GRANULE_SHIFT);
	return at[0] == 0 && memcmp(at, at + 1, GRANULE_BYTES - 1) == 0;
}

/* What is clean reads as zeros, what is dirty kept the bytes it had. */
static void check_bytes(void)
{
	uint32_t mapped = range_usage().granules;
	for (uint32_t i = 0; i < mapped; i++)
		cr_assert_eq(zeros(i), model.state[i] == NEVER, "granule %u in state %d", i, model.state[i]);
}

static void trim(void)
{
	size_t dirty = (size_t)model_count(DIRTY) << GRANULE_SHIFT, purged = range_usage().purged;
	cr_assert_eq(range_trim(), dirty);
	cr_assert_eq(range_usage().purged, purged + dirty);
	for (uint32_t i = 0; i < GRANULES; i++)
		if (model.state[i] == DIRTY)
			model.state[i] = NEVER;
}

/* Taking in bursts and giving in bursts, so that the range is now full, now nearly empty, and always cut up. */
static void random_run(uint64_t seed, int steps)
{
	struct dice dice = dice_of(seed);
	unsigned percent = 60;
	for (int i = 0; i < steps; i++) {
		if (i % 200 == 0)
			percent = (unsigned)dice_below(&dice, 100);
		if (dice_chance(&dice, percent)) {
			unsigned most = dice_chance(&dice, 90) ? CLASS_SHARED_GRANULES_MAX : CLASS_SLAB_GRANULES_MAX;
			take(dice_chance(&dice, 50) ? 1 : 1 + (unsigned)dice_below(&dice, most));
		} else {
			uint32_t first = (uint32_t)dice_below(&dice, GRANULES);
			while (first < GRANULES && !model.first_of[first])
				first++;
			unsigned length = first < GRANULES ? model.first_of[first] : 0;
			if (length > 1 && dice_chance(&dice, 30))
				cut(first, 1 + (unsigned)dice_below(&dice, length - 1));
			else if (length && length < CLASS_SLAB_GRANULES_MAX && dice_chance(&dice, 30))
				extend(first,
				       length + 1 +
				           (unsigned)dice_below(&dice, dice_chance(&dice, 80) ? 4 : CLASS_SLAB_GRANULES_MAX - length));
			else if (length)
				give(first);
		}
		if (i % 50 == 0)
			check_counters();
		if (i % 1000 == 999) {
			check_bytes();
			trim();
			check_counters();
			check_bytes();
		}
	}
}

Test(range, random_runs_equal_the_model_1)
{
	random_run(1, 20000);
}

Test(range, random_runs_equal_the_model_2)
{
	random_run(2, 20000);
}

Test(range, random_runs_equal_the_model_under_a_cap)
{
	model.limit = 600;
	range_limit((size_t)600 << GRANULE_SHIFT);
	random_run(3, 20000);
}

Test(range, cap_may_change_and_go)
{
	range_limit((size_t)10 << GRANULE_SHIFT);
	model.limit = 10;
	for (int i = 0; i < 12; i++)
		take(1);
	cr_assert_eq(model.taken, 10);
	model.limit = 5; /* below what is in use: nothing is taken away */
	range_limit((size_t)5 << GRANULE_SHIFT);
	take(1);
	check_counters();
	model.limit = GRANULES;
	range_limit(SIZE_MAX);
	take(16);
	check_counters();
}

Test(range, cap_below_a_granule_refuses_everything)
{
	range_limit(GRANULE_BYTES - 1);
	model.limit = 0;
	take(1);
	check_counters();
}

Test(range, full_to_the_last_granule_and_empty_again)
{
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < GRANULES / 16; i++)
			take(16);
		take(1);
		for (uint32_t i = 0; i < GRANULES; i += 16)
			give(i);
		check_counters();
	}
	for (uint32_t i = 0; i < GRANULES; i++)
		take(1);
	take(1);
	check_counters();
	/* Room in all, but no two neighbours. */
	for (uint32_t i = 0; i < GRANULES; i += 2)
		give(i);
	take(2);
	take(1);
	check_counters();
}

Test(range, memory_comes_in_steps)
{
	struct range_usage none = range_usage();
	cr_assert_eq(none.granules, 0);
	cr_assert_eq(none.mapped, 0, "nothing is accessible before it is needed");
	take(1);
	struct range_usage first = range_usage();
	cr_assert_eq(first.granules, 64);
	cr_assert_eq(first.mapped, (64 << GRANULE_SHIFT) + 64 * sizeof(struct slab));
	cr_assert_geq(first.metadata, 64 * sizeof(struct slab));
}

Test(range, decay_never_keeps_everything)
{
	for (int i = 0; i < 100; i++)
		take(1);
	for (uint32_t i = 0; i < 100; i++)
		give(i);
	check_counters();
	check_bytes();
	cr_assert_eq(range_usage().purged, 0);
}

Test(range, decay_at_once_keeps_nothing)
{
	range_decay_set(0);
	take(5);
	take(16);
	give(0);
	give(5);
	memset(model.state, NEVER, sizeof(model.state));
	check_counters();
	check_bytes();
	cr_assert_eq(range_usage().purged, (size_t)21 << GRANULE_SHIFT);
}

/* A granule that is given back and left alone goes when the clock has ticked twice, whatever else goes on; those taken
 * again in time never go. */
Test(range, decay_purges_what_stays_free)
{
	range_decay_set(1);
	for (int i = 0; i < 64; i++)
		take(1);
	give(40);
	while (range_usage().purged == 0) {
		give(7);
		take(1);
	}
	cr_assert(zeros(40));
	model.state[40] = NEVER;
	cr_assert_eq(range_usage().purged, GRANULE_BYTES);
	check_counters();
}

/* The same when the program only takes: its burst of frees must not stay for ever. */
Test(range, decay_ticks_on_taking_too)
{
	range_decay_set(1);
	for (int i = 0; i < 64; i++)
		take(1);
	for (uint32_t i = 0; i < 64; i += 2)
		give(i);
	for (int ticks = 0; ticks < 10; ticks++) {
		enum range_refusal why;
		for (uint64_t now = os_now_ms(); os_now_ms() < now + 2;)
			;
		cr_assert(range_take(1, 1, &why));
	}
	cr_assert_geq(range_usage().purged, (size_t)22 << GRANULE_SHIFT, "at most 10 of 32 were taken again before");
	cr_assert_eq(range_usage().retained, 0);
}

Test(range, locked_pages_stay_and_are_told_so)
{
	take(2);
	take(1);
	if (SANITIZED || mlock(range.base, GRANULE_BYTES)) /* a sanitizer takes mlock for itself */
		cr_skip_test("this process may not lock memory");
	give(0);
	give(2);
	cr_assert_eq(range_trim(), 0, "one purge for neighbours: the kernel refused it");
	check_counters();
	cr_assert_eq(munlock(range.base, GRANULE_BYTES), 0);
	trim();
	check_counters();
	check_bytes();
}

Test(range, purged_pages_leave_memory)
{
	unsigned char resident[GRANULE_BYTES / 4096];
	take(1);
	if (mincore(range.base, GRANULE_BYTES, resident))
		cr_skip_test("mincore does not answer");
	cr_assert(resident[0] & 1);
	give(0);
	trim();
	cr_assert_eq(mincore(range.base, GRANULE_BYTES, resident), 0);
	for (size_t i = 0; i < sizeof(resident); i++)
		cr_assert_not(resident[i] & 1, "page %zu", i);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

enum { THREADS = 4, HELD = 24 };

/* Every granule held carries its holder's number; a granule given to two would show it. */
static void *churn(void *number)
{
	unsigned char mine = (unsigned char)(uintptr_t)number;
	struct dice dice = dice_of(mine);
	struct slab *held[HELD] = {NULL};
	for (int i = 0; i < 4000; i++) {
		struct slab **h = &held[dice_below(&dice, HELD)];
		if (*h) {
			for (unsigned g = 0; g < (*h)->granules; g++)
				if (slab_start(*h)[(size_t)g << GRANULE_SHIFT] != mine)
					return (void *)1;
			range_give(*h);
			*h = NULL;
		} else {
			enum range_refusal why;
			*h = range_take(1 + (unsigned)dice_below(&dice, 8), 1, &why);
			for (unsigned g = 0; *h && g < (*h)->granules; g++)
				slab_start(*h)[(size_t)g << GRANULE_SHIFT] = (char)mine;
		}
		if (i % 512 == 0)
			range_trim();
	}
	for (int i = 0; i < HELD; i++)
		if (held[i])
			range_give(held[i]);
	return NULL;
}

Test(range, threads_never_share_a_granule)
{
	pthread_t threads[THREADS];
	range_decay_set(0);
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "a granule changed under thread %d", i);
	}
	struct range_usage usage = range_usage();
	cr_assert_eq(usage.active, 0);
	cr_assert_eq(usage.retained, 0, "decay 0");
	for (uint32_t i = 0; i < usage.granules; i++)
		cr_assert(range_is_free(i) && zeros(i), "granule %u", i);
}

/* --- the kernel says no ------------------------------------------------------------------------------------------- */

static int refused_growth(void)
{
	enum range_refusal why;
	HOLDS(memory_refuse());
	HOLDS(!range_take(1, 1, &why) && why == RANGE_NO_MEMORY);
	HOLDS(range_usage().active == 0 && range_usage().granules == 0 && range_usage().mapped == 0);
	HOLDS(memory_allow());
	while (!range_take(1, 1, &why)) /* a refusal is remembered for a moment */
		HOLDS(why == RANGE_NO_MEMORY);
	for (int i = 1; i < 64; i++)
		HOLDS(range_take(1, 1, &why) && why == RANGE_OK);
	HOLDS(memory_refuse());
	HOLDS(!range_take(1, 1, &why) && why == RANGE_NO_MEMORY);
	range_give(&range.slabs[5]); /* what there is goes on serving */
	HOLDS(slab_index(range_take(1, 1, &why)) == 5);
	HOLDS(range_usage().active == 64 << GRANULE_SHIFT && range_usage().granules == 64);
	HOLDS(memory_allow());
	struct slab *next;
	while (!(next = range_take(16, 1, &why)))
		HOLDS(why == RANGE_NO_MEMORY);
	HOLDS(slab_index(next) == 64);
	return 0;
}

Test(range, refused_growth_loses_nothing)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	cr_assert_eq(forked(refused_growth), 0);
}

static int start_without_address_space(void)
{
	struct rlimit few = {1 << 20, RLIM_INFINITY};
	HOLDS(setrlimit(RLIMIT_AS, &few) == 0);
	HOLDS(!range_init((size_t)64 * GIB) && range.bytes == 0);
	HOLDS(!range_holds(&few) && !range_holds(NULL));
	return 0;
}

static int start_with_a_gib(void)
{
	struct rlimit some = {GIB, RLIM_INFINITY};
	HOLDS(setrlimit(RLIMIT_AS, &some) == 0);
	HOLDS(range_init((size_t)64 * GIB));
	HOLDS(range.bytes && range.bytes <= GIB / 4 && range.bytes % (64 << GRANULE_SHIFT) == 0);
	HOLDS((uintptr_t)range.base % (2 << 20) == 0);
	return 0;
}

/* Reserves all but about `left` GiB of 20, then starts. */
static bool start_squeezed(size_t bytes, size_t left)
{
	struct rlimit limit = {(rlim_t)20 * GIB, RLIM_INFINITY};
	return setrlimit(RLIMIT_AS, &limit) == 0 && os_reserve((20 - left) * GIB, 4096) && range_init(bytes);
}

static int start_refused_once(void)
{
	/* 5 GiB are within a quarter of the limit, but the kernel refuses them: a quarter of that is tried. */
	HOLDS(start_squeezed((size_t)4097 << 20, 2));
	HOLDS(range.bytes == (size_t)1024 << 20); /* 1024.25 MiB, in whole steps */
	enum range_refusal why;
	uint32_t total = (uint32_t)(range.bytes >> GRANULE_SHIFT), taken = 0;
	for (; range_take(16, 1, &why); taken += 16)
		;
	HOLDS(why == RANGE_FULL && taken == total);
	return 0;
}

static int start_refused_altogether(void)
{
	size_t before = os_address_limit();
	HOLDS(!start_squeezed((size_t)64 * GIB, 1) && range.bytes == 0);
	HOLDS(os_address_limit() < before);
	/* Nothing of the address space that is left was used up. */
	HOLDS(os_reserve((size_t)900 << 20, 4096));
	return 0;
}

Test(range_start, takes_what_the_limits_leave)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer fills the address space");
	cr_expect_eq(forked(start_without_address_space), 0);
	cr_expect_eq(forked(start_with_a_gib), 0);
	cr_expect_eq(forked(start_refused_once), 0);
	cr_expect_eq(forked(start_refused_altogether), 0);
}

/* The blocks' reservation succeeds, that of the maps behind it does not: the first must not stay. */
static int start_refused_halfway(void)
{
	struct rlimit limit = {(rlim_t)20 * GIB, RLIM_INFINITY};
	size_t step = 64 << GRANULE_SHIFT;
	HOLDS(setrlimit(RLIMIT_AS, &limit) == 0);
	while (os_reserve(GIB, 4096))
		;
	for (size_t bytes = (size_t)4 << 20; bytes < (size_t)GIB; bytes += step) {
		void *probe = os_reserve(bytes + (size_t)(2 << 20), 4096);
		if (probe) {
			os_unmap(probe, bytes + (size_t)(2 << 20));
			continue;
		}
		/* Just too large, so what is a step smaller fits and leaves less than its records need. */
		HOLDS(!range_init(bytes - step) && range.bytes == 0);
		probe = os_reserve(bytes - step, 4096);
		HOLDS(probe);
		return 0;
	}
	return 0;
}

Test(range_start, gives_back_what_is_not_enough)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer fills the address space");
	cr_assert_eq(forked(start_refused_halfway), 0);
}

Test(range_start, none_of_no_bytes)
{
	cr_assert_not(range_init(0));
	cr_assert_not(range_holds("text"));
	cr_assert_not(range_holds(NULL));
	cr_assert_eq(range_trim(), 0);
}

Test(range_start, a_step_is_the_least)
{
	cr_assert_not(range_init((64 << GRANULE_SHIFT) - 1));
	cr_assert(range_init((64 << GRANULE_SHIFT) + 5));
	cr_assert_eq(range.bytes, 64 << GRANULE_SHIFT);
	cr_assert(range_holds(range.base) && range_holds(range.base + range.bytes - 1));
	cr_assert_not(range_holds(range.base - 1) || range_holds(range.base + range.bytes));
}

static atomic_bool enough;

static void *purge_all_the_time(void *unused)
{
	(void)unused;
	enum range_refusal why;
	while (!atomic_load(&enough)) {
		range_give(range_take(3, 1, &why));
		range_trim();
	}
	return NULL;
}

/* A fork falls into every moment of another thread's purge: the child knows each granule as free or as a slab's. */
static int whole_in_the_child(void)
{
	range_fork_child();
	for (uint32_t i = 0; i < range_usage().granules; i++)
		HOLDS(range_is_free(i) == (slab_state(&range.slabs[i]) == SLAB_NONE));
	HOLDS(churn((void *)8) == NULL);
	return 0;
}

Test(range_start, fork_handlers_leave_the_child_a_whole_range)
{
	cr_assert(range_init(SMALL));
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, purge_all_the_time, NULL), 0);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(forked_between(range_fork_prepare, whole_in_the_child, range_fork_parent), 0, "run %d", i);
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
}
