/* runs.h: bitmaps over the granules, and which free run of some length is the first.
 *
 *   free    word │ word │ word │ ...           a bit a granule, 64 granules a word
 *   level 0   a byte a word                    how long is the longest run that begins in it
 *   level 1   a byte for 64 of those           the greatest of them
 *   level 2   a byte for 64 of those
 * A byte is a bound from above, in steps of length (runs_step): what makes a run longer raises it at once, what takes from
 * one leaves it, and a search that finds it wrong sets it right. So a search looks at few words that do not have what it
 * seeks, each of them once for each time it was raised, and at some hundred bytes, whatever the heap's size. The walk over
 * all words that it replaces took 2.7 us a block with 8 GiB live.
 *
 * A run counts in the word of its first granule. Callers see to it that nobody else is here.
 */
#ifndef SLUICE_RUNS_H
#define SLUICE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BITS_WORD = 64, RUNS_LENGTH_MAX = 256, RUNS_LEVELS = 3, RUNS_FAN = 64 };

struct runs {
	uint64_t *free;
	uint8_t *longest[RUNS_LEVELS];
};

static inline bool bit_test(const uint64_t *map, uint32_t i)
{
	return map[i / BITS_WORD] >> (i % BITS_WORD) & 1;
}

/* The part of [first, end) that lies in first's word: its bits there, and how many. */
static inline uint64_t bits_here(uint32_t first, uint32_t end, uint32_t *count)
{
	uint32_t at = first % BITS_WORD, left = end - first;
	*count = left < BITS_WORD - at ? left : BITS_WORD - at;
	return ~UINT64_C(0) >> (BITS_WORD - *count) << at;
}

void bits_set(uint64_t *map, uint32_t first, uint32_t count, bool value);
uint32_t bits_count(const uint64_t *map, uint32_t first, uint32_t count);

/* Bytes of all that belongs to `granules`, a multiple of BITS_WORD; zero-filled memory for it, aligned to 8. */
size_t runs_bytes(uint32_t granules);
void runs_init(struct runs *runs, void *memory, uint32_t granules);

/* The granules become free, or are free no more. */
void runs_free(struct runs *runs, uint32_t first, uint32_t count);
void runs_take(struct runs *runs, uint32_t first, uint32_t count);

/* The first free run of `granules` (at most RUNS_LENGTH_MAX) in [from, end), both multiples of BITS_WORD; `end`: none. */
uint32_t runs_find(struct runs *runs, uint32_t granules, uint32_t from, uint32_t end);

/* How many granules are free from `first` on, or directly before `end`; `most` at most. */
uint32_t runs_from(const struct runs *runs, uint32_t first, uint32_t most, uint32_t end);
uint32_t runs_before(const struct runs *runs, uint32_t end, uint32_t most);

/* The step a length is counted in: each of up to 16 has one of its own, above them eight to a doubling have. */
static inline unsigned runs_step(uint32_t granules)
{
	enum { EXACT = 16, EXACT_DOUBLING = 4 };
	if (granules <= EXACT)
		return granules;
	unsigned doubling = 31u - (unsigned)__builtin_clz(granules); /* 2^doubling <= granules */
	return EXACT + (doubling - EXACT_DOUBLING) * 8 + (granules >> (doubling - 3) & 7);
}

#endif
