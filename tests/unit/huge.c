/* Which regions of the range are asked for as huge pages and which are given up, by a kernel and a clock of the test's own;
 * and with the real kernel, that a heap which has become sparse gives its memory back. */
#include "pools/huge.h"
#include "pools/os.h"
#include "pools/range.h"
#include "tests/dice.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum {
	MIB_256 = 256 << 20,
	GRANULES = MIB_256 >> GRANULE_SHIFT,
	REGIONS = GRANULES / HUGE_GRANULES,
	RUN = 16,
	FROM = HUGE_FROM >> GRANULE_SHIFT
};

static struct {
	unsigned on[REGIONS], off[REGIONS]; /* how often each was asked for, and given up */
	uint64_t now, page_ns;
} kernel;

static void advise(void *start, size_t bytes, bool huge)
{
	uint32_t region = (uint32_t)(((char *)start - range.base) / (HUGE_GRANULES << GRANULE_SHIFT));
	cr_assert_eq((uintptr_t)start % (2 << 20), 0);
	cr_assert_eq(bytes, 2 << 20);
	cr_assert_lt(region, REGIONS);
	kernel.on[region] += huge;
	kernel.off[region] += !huge;
}

static uint64_t clock_of_test(void)
{
	return kernel.now += kernel.page_ns;
}

static void setup(void)
{
	cr_assert(range_init(MIB_256));
	range_decay_set(-1);
	huge_simulate(advise, clock_of_test);
}

TestSuite(huge, .init = setup);

static struct slab *take(unsigned granules)
{
	enum range_refusal why;
	struct slab *slab = range_take(granules, 1, &why);
	cr_assert_not_null(slab);
	return slab;
}

/* Runs of 16 granules until `granules` are taken from an empty range. */
static void fill(uint32_t granules)
{
	for (uint32_t at = 0; at < granules; at += RUN)
		cr_assert_eq(slab_index(take(RUN)), at);
}

static unsigned asked(void)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < REGIONS; i++)
		n += kernel.on[i];
	return n;
}

static unsigned given_up(void)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < REGIONS; i++)
		n += kernel.off[i];
	return n;
}

/* Gives back something and takes it again, so that the range looks at the clock: the end of the first run of fill(). */
static void look_at_clock(void)
{
	range_cut(&range.slabs[0], RUN - 1);
	cr_assert(range_extend(&range.slabs[0], RUN));
}

/* Goes on until the clock has ticked so often that no more than `granules` wait to be purged. */
static void decay_until(uint32_t granules)
{
	range_decay_set(1);
	while (range_usage().retained > (size_t)granules << GRANULE_SHIFT)
		look_at_clock();
	range_decay_set(-1);
}

/* As long as it takes for everything to have aged. */
static void decay_long(void)
{
	uint64_t from = os_now_ms();
	range_decay_set(1);
	while (os_now_ms() - from < 50)
		look_at_clock();
	range_decay_set(-1);
}

Test(huge, a_small_heap_has_none)
{
	fill(FROM);
	cr_assert_eq(asked(), 0);
	cr_assert_eq(range_usage().huge, 0);
}

Test(huge, a_dense_heap_has_them_from_there_on)
{
	fill(GRANULES);
	for (uint32_t i = 0; i < REGIONS; i++)
		cr_assert_eq(kernel.on[i], i >= FROM / HUGE_GRANULES, "region %u", i);
	cr_assert_eq(given_up(), 0);
	cr_assert_eq(range_usage().huge, MIB_256 - HUGE_FROM);
}

Test(huge, holes_that_are_filled_again_do_no_harm)
{
	fill(FROM + 2 * FROM / 8);
	unsigned before = asked();
	for (uint32_t i = 0; i < FROM / 4; i += 2 * RUN) /* what is left is still more than the least */
		range_give(&range.slabs[i + 5 * RUN]);
	cr_assert_geq(range_usage().active, (size_t)HUGE_FROM);
	while (range_usage().active < (size_t)(FROM + 3 * FROM / 8) << GRANULE_SHIFT && asked() == before)
		take(RUN); /* into the holes first, and then it is dense again */
	cr_assert_gt(asked(), before);
}

Test(huge, a_heap_with_too_small_holes_has_none)
{
	for (uint32_t at = 0; at < 2 * FROM; at++)
		take(1);
	unsigned before = asked();
	for (uint32_t at = 0; at < 2 * FROM; at += 5)
		range_give(&range.slabs[at]);
	while (range_usage().granules < 3 * FROM - 2 * HUGE_GRANULES)
		take(2); /* no hole is as long */
	cr_assert_eq(asked(), before, "a fifth is holes");
}

Test(huge, large_blocks_open_none)
{
	fill(FROM);
	for (int i = 0; i < 8; i++)
		take(HUGE_GRANULES);
	cr_assert_eq(asked(), 0, "nobody knows whether all of it will be touched");
	take(RUN);
	cr_assert_eq(asked(), 1);
}

Test(huge, blocks_that_do_not_fill_their_runs_have_none)
{
	huge_unfilled(2 * HUGE_FROM / 16);
	fill(2 * FROM);
	cr_assert_eq(asked(), 0);
	huge_unfilled(-HUGE_FROM / 16);
	fill(0);
	take(RUN);
	cr_assert_eq(asked(), 1);
}

Test(huge, off_means_none)
{
	huge_allow(false);
	fill(GRANULES);
	cr_assert_eq(asked(), 0);
}

Test(huge, none_where_memory_goes_back_at_once)
{
	range_decay_set(0);
	fill(GRANULES);
	cr_assert_eq(asked(), 0);
}

Test(huge, slow_ones_are_asked_for_less_and_less)
{
	kernel.page_ns = 5000000;
	fill(GRANULES / 2 + 32 * HUGE_GRANULES);
	static const unsigned expected[] = {0, 2, 5, 10, 19, 36, 69}; /* 1, 2, 4, 8, 16 left out between */
	uint32_t first = FROM / HUGE_GRANULES, next = 0;
	for (uint32_t i = first; i < (GRANULES / 2 + 32 * HUGE_GRANULES) / HUGE_GRANULES; i++) {
		bool wanted = i - first == expected[next];
		cr_assert_eq(kernel.on[i], wanted, "region %u", i - first);
		next += wanted;
	}
	kernel.page_ns = 100000;
	unsigned before = asked();
	while (asked() == before)
		take(RUN);
	uint32_t at = (uint32_t)(range_usage().active >> GRANULE_SHIFT) / HUGE_GRANULES;
	for (int i = 0; i < HUGE_GRANULES / RUN; i++)
		take(RUN);
	cr_assert_eq(kernel.on[at + 1], 1, "one that was quick is enough");
}

Test(huge, few_holes_do_not_split_one)
{
	uint32_t a = FROM + HUGE_GRANULES, b = a + HUGE_GRANULES;
	fill(FROM);
	for (int i = 0; i < 4 * HUGE_GRANULES; i++)
		take(1);
	cr_assert_eq(asked(), 4);
	for (uint32_t i = 0; i < HUGE_HOLES - 1; i++)
		range_give(&range.slabs[a + 2 * i]);
	for (uint32_t i = 0; i < 3 * HUGE_HOLES; i++)
		range_give(&range.slabs[b + 2 * i]);
	decay_until(HUGE_HOLES - 1);
	cr_assert_eq(kernel.off[b / HUGE_GRANULES], 1, "many holes");
	decay_long();
	cr_assert_eq(range_usage().retained, (size_t)(HUGE_HOLES - 1) << GRANULE_SHIFT);
	cr_assert_eq(kernel.off[a / HUGE_GRANULES], 0, "few holes");
	range_give(&range.slabs[a + 1]);
	decay_until(0);
	cr_assert_eq(kernel.off[a / HUGE_GRANULES], 1, "now an eighth");
	cr_assert_eq(given_up(), 2);
	cr_assert_eq(range_usage().huge, 2 * (size_t)(2 << 20));
}

Test(huge, one_that_went_as_a_whole_can_come_again)
{
	fill(FROM + 2 * HUGE_GRANULES);
	for (uint32_t i = 0; i < HUGE_GRANULES; i += RUN)
		range_give(&range.slabs[FROM + i]);
	decay_until(0);
	uint32_t region = FROM / HUGE_GRANULES;
	cr_assert_eq(kernel.off[region], 1);
	cr_assert_eq(slab_index(take(RUN)), FROM);
	cr_assert_eq(kernel.on[region], 2, "it is clean, and the heap dense below");
	cr_assert_eq(given_up(), 1);
}

Test(huge, dirty_ones_are_not_asked_for)
{
	fill(FROM + HUGE_GRANULES);
	for (uint32_t i = 0; i < HUGE_GRANULES; i += RUN)
		range_give(&range.slabs[FROM + i]);
	cr_assert_eq(slab_index(take(RUN)), FROM);
	cr_assert_eq(asked(), 1, "its pages are there");
}

Test(huge, a_trim_leaves_no_hole)
{
	fill(FROM);
	range_give(take(1));
	cr_assert_eq(asked(), 1);
	cr_assert_eq(range_trim(), GRANULE_BYTES);
	cr_assert_eq(given_up(), 1);
	cr_assert_eq(range_usage().retained, 0);
}

static size_t resident(void)
{
	size_t pages = 0, unused;
	FILE *f = fopen("/proc/self/statm", "r");
	cr_assert(f && fscanf(f, "%zu %zu", &unused, &pages) == 2);
	fclose(f);
	return pages * 4096;
}

Test(huge, a_sparse_heap_gives_its_memory_back)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer's own memory is in the figure");
	struct dice dice = dice_of(1);
	uint32_t granules = 3 * FROM / 2, left = granules;
	huge_simulate(os_advise_huge, clock_of_test);
	size_t before = resident();
	fill(RUN);
	for (uint32_t i = RUN; i < granules; i++)
		memset(slab_start(take(1)), 1, GRANULE_BYTES);
	cr_assert_geq(resident() - before, (size_t)(granules - RUN) << GRANULE_SHIFT);
	cr_assert_gt(range_usage().huge, 0);
	for (uint32_t i = RUN; i < granules; i++)
		if (dice_chance(&dice, 90)) {
			range_give(&range.slabs[i]);
			left--;
		}
	decay_until(granules / 64);
	cr_assert_leq(resident() - before, (size_t)(left + granules / 16) << GRANULE_SHIFT);
	for (uint32_t i = RUN; i < granules; i++)
		if (!range_is_free(i))
			cr_assert_eq(slab_start(&range.slabs[i])[GRANULE_BYTES - 1], 1);
}
