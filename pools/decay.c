/* decay.c: see decay.h. */
#include "decay.h"

#include "huge.h"
#include "os.h"
#include "runs.h"

#include <string.h>

enum { RUN_MAX = 512 /* granules purged at a time: 8 MiB */ };

static struct {
	uint64_t *dirty, *aged;
	uint32_t count; /* dirty ones */
	int64_t period_ms;
	uint64_t tick_at; /* ms; 0: the clock has not begun */
	bool unfinished;  /* the last tick's work is not done */
} decay = {.period_ms = 1000};

static size_t map_bytes(uint32_t granules)
{
	return (size_t)granules / 8;
}

size_t decay_bytes(uint32_t granules)
{
	return 2 * map_bytes(granules);
}

void decay_init(void *memory, uint32_t granules)
{
	decay.dirty = memory;
	decay.aged = (uint64_t *)(void *)((char *)memory + map_bytes(granules));
}

void decay_period_set(int64_t ms)
{
	decay.period_ms = ms;
}

int64_t decay_period(void)
{
	return decay.period_ms;
}

void decay_add(uint32_t first, uint32_t count)
{
	bits_set(decay.dirty, first, count, true);
	decay.count += count;
}

/* Only dirty ones are aged, and a map of which nothing was ever set is not even read: it stays without memory. */
uint32_t decay_remove(uint32_t first, uint32_t count)
{
	uint32_t dirty = decay_count(first, count);
	if (dirty) {
		bits_set(decay.dirty, first, count, false);
		bits_set(decay.aged, first, count, false);
		decay.count -= dirty;
	}
	return dirty;
}

uint32_t decay_count(uint32_t first, uint32_t count)
{
	return decay.count ? bits_count(decay.dirty, first, count) : 0;
}

uint32_t decay_count_all(void)
{
	return decay.count;
}

/* The end of what can be purged in one call from `first` on: a huge page alone, and nothing else with one. */
static uint32_t end_of(uint32_t first, uint32_t top)
{
	uint32_t end = (first / HUGE_GRANULES + 1) * HUGE_GRANULES;
	while (!huge_is(first) && end < first + RUN_MAX && !huge_is(end))
		end += HUGE_GRANULES;
	end = end < first + RUN_MAX ? end : first + RUN_MAX;
	return end < top ? end : top;
}

/* Is it a hole in a huge page that has too few to be split for them? */
static bool is_kept(uint32_t granule)
{
	uint32_t region = granule / HUGE_GRANULES * HUGE_GRANULES;
	return huge_is(granule) && decay_count(region, HUGE_GRANULES) < HUGE_HOLES;
}

uint32_t decay_next(bool all, uint32_t from, uint32_t top, uint32_t *first)
{
	const uint64_t *map = all ? decay.dirty : decay.aged;
	for (uint32_t i = from; i < top; i++) {
		if (map[i / BITS_WORD] == 0) {
			i |= BITS_WORD - 1;
			continue;
		}
		if (!bit_test(map, i) || (!all && is_kept(i)))
			continue;
		uint32_t count = 0, end = end_of(i, top);
		while (i + count < end && bit_test(map, i + count))
			count++;
		*first = i;
		return count;
	}
	return 0;
}

bool decay_is_due(void)
{
	if (decay.period_ms < 0 || decay.count == 0)
		return false;
	if (decay.period_ms == 0 || decay.unfinished)
		return true;
	uint64_t now = os_now_ms();
	if (now < decay.tick_at)
		return false;
	bool due = decay.tick_at != 0;
	decay.tick_at = now + (uint64_t)decay.period_ms;
	return due;
}

void decay_done(bool all_of_it, uint32_t top)
{
	decay.unfinished = !all_of_it;
	if (all_of_it)
		memcpy(decay.aged, decay.dirty, (top + BITS_WORD - 1) / BITS_WORD * sizeof(uint64_t));
}
