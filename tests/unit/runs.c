/* The first free run of a length, against a walk over every granule: whatever was freed and taken before, wherever the
 * search begins and ends, and however often it was misled. */
#include "pools/runs.h"
#include "tests/dice.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { GRANULES = 3 * RUNS_FAN * RUNS_FAN * BITS_WORD + 5 * RUNS_FAN * BITS_WORD, PART = 64 * BITS_WORD };

static struct runs runs;
static uint8_t *model; /* 1: free */

static void setup(void)
{
	runs_init(&runs, calloc(1, runs_bytes(GRANULES)), GRANULES);
	model = calloc(1, GRANULES);
}

TestSuite(runs, .init = setup);

static void make_free(uint32_t first, uint32_t count)
{
	runs_free(&runs, first, count);
	memset(model + first, 1, count);
}

static void take(uint32_t first, uint32_t count)
{
	runs_take(&runs, first, count);
	memset(model + first, 0, count);
}

static uint32_t model_find(uint32_t granules, uint32_t from, uint32_t end)
{
	for (uint32_t i = from, free = 0; i < end; i++) {
		free = model[i] ? free + 1 : 0;
		if (free == granules)
			return i + 1 - granules;
	}
	return end;
}

static uint32_t find(uint32_t granules, uint32_t from, uint32_t end)
{
	uint32_t first = runs_find(&runs, granules, from, end);
	cr_assert_eq(first, model_find(granules, from, end), "%u granules in [%u, %u): %u", granules, from, end, first);
	return first;
}

/* Frees and takes at random in [from, from + PART), always whole free or taken stretches, as the range does; then looks. */
static void churn(struct dice *dice, uint32_t from, int steps)
{
	for (int i = 0; i < steps; i++) {
		uint32_t first = from + (uint32_t)dice_below(dice, PART), count = 1;
		uint32_t most = dice_chance(dice, 20) ? 1 + (uint32_t)dice_below(dice, 600) : 1 + (uint32_t)dice_below(dice, 5);
		while (count < most && first + count < from + PART && model[first + count] == model[first])
			count++;
		if (model[first])
			take(first, count);
		else
			make_free(first, count);
		uint32_t granules = dice_chance(dice, 25) ? 1 + (uint32_t)dice_below(dice, RUNS_LENGTH_MAX)
		                                          : 1 + (uint32_t)dice_below(dice, 12);
		uint32_t begin = from + BITS_WORD * (uint32_t)dice_below(dice, PART / BITS_WORD);
		uint32_t end = begin + BITS_WORD * (uint32_t)dice_below(dice, (from + PART - begin) / BITS_WORD + 1);
		find(granules, begin, end);
		if (dice_chance(dice, 30) && (first = find(granules, from, from + PART)) != from + PART)
			take(first, granules);
	}
}

Test(runs, the_first_that_fits_is_found)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		struct dice dice = dice_of(seed);
		churn(&dice, (uint32_t)dice_below(&dice, GRANULES / PART) * PART, 3000);
	}
}

/* Far from the start, behind words, groups and groups of groups that have none. */
Test(runs, a_run_far_away_is_found)
{
	static const uint32_t places[] = {GRANULES - 256, 2 * RUNS_FAN * RUNS_FAN * BITS_WORD - 100,
	                                  RUNS_FAN * RUNS_FAN * BITS_WORD, 70 * BITS_WORD + 63, 63};
	for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
		make_free(places[i], 256);
		for (uint32_t granules = 1; granules <= RUNS_LENGTH_MAX; granules++)
			cr_assert_eq(find(granules, 0, GRANULES), places[i]);
		for (uint32_t j = 0; j < GRANULES; j += 16 * BITS_WORD) /* holes too short, in its way */
			if (j + 2 < places[i])
				make_free(j, 2);
		cr_assert_eq(find(3, 0, GRANULES), places[i]);
		take(places[i] + 100, 156);
		cr_assert_eq(find(100, 0, GRANULES), places[i]);
		cr_assert_eq(find(101, 0, GRANULES), GRANULES);
		for (uint32_t j = 0; j < GRANULES; j++)
			if (model[j])
				take(j, 1);
		cr_assert_eq(find(1, 0, GRANULES), GRANULES);
	}
}

/* Taken from the front again and again, what is left of a run begins in a later word each time. */
Test(runs, what_is_left_of_a_run_is_found)
{
	for (uint32_t length = 1; length <= RUNS_LENGTH_MAX; length += 5) {
		make_free(BITS_WORD, 1000);
		uint32_t at = BITS_WORD, end = BITS_WORD + 1000;
		for (; at + length <= end; at += length) {
			cr_assert_eq(find(length, 0, GRANULES), at);
			take(at, length);
		}
		cr_assert_eq(find(length, 0, GRANULES), GRANULES);
		if (at < end)
			take(at, end - at);
	}
}

Test(runs, lengths_before_and_from)
{
	make_free(10, 300);
	cr_assert_eq(runs_from(&runs, 10, 1000, GRANULES), 300);
	cr_assert_eq(runs_from(&runs, 10, 256, GRANULES), 256);
	cr_assert_eq(runs_from(&runs, 100, 1000, 128), 28);
	cr_assert_eq(runs_from(&runs, 310, 1000, GRANULES), 0);
	cr_assert_eq(runs_before(&runs, 310, 1000), 300);
	cr_assert_eq(runs_before(&runs, 310, 256), 256);
	cr_assert_eq(runs_before(&runs, 10, 5), 0);
	cr_assert_eq(runs_before(&runs, 0, 5), 0);
	make_free(0, 10);
	cr_assert_eq(runs_before(&runs, 64, 1000), 64);
	make_free(GRANULES - 3, 3);
	cr_assert_eq(runs_from(&runs, GRANULES - 3, 256, UINT32_MAX), 3, "nothing lies behind the last");
}
