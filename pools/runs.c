/* runs.c: see runs.h. */
#include "runs.h"

enum { BEYOND = 1 /* words behind the last that a look at the next one may read */ };

void bits_set(uint64_t *map, uint32_t first, uint32_t count, bool value)
{
	for (uint32_t i = first, here; i < first + count; i += here) {
		uint64_t bits = bits_here(i, first + count, &here);
		if (here == BITS_WORD) /* not read: on a fresh page that is a fault of its own */
			map[i / BITS_WORD] = value ? bits : 0;
		else if (value)
			map[i / BITS_WORD] |= bits;
		else
			map[i / BITS_WORD] &= ~bits;
	}
}

uint32_t bits_count(const uint64_t *map, uint32_t first, uint32_t count)
{
	uint32_t n = 0;
	for (uint32_t i = first, here; i < first + count; i += here)
		n += (uint32_t)__builtin_popcountll(map[i / BITS_WORD] & bits_here(i, first + count, &here));
	return n;
}

static uint32_t level_entries(uint32_t words, unsigned level)
{
	for (; level; level--)
		words = (words + RUNS_FAN - 1) / RUNS_FAN;
	return words;
}

/* Each level is as long as whole groups of it, so that a group can be read to its end. */
static size_t level_bytes(uint32_t words, unsigned level)
{
	return ((size_t)level_entries(words, level) + RUNS_FAN - 1) / RUNS_FAN * RUNS_FAN;
}

size_t runs_bytes(uint32_t granules)
{
	uint32_t words = granules / BITS_WORD;
	size_t bytes = ((size_t)words + BEYOND) * sizeof(uint64_t);
	for (unsigned level = 0; level < RUNS_LEVELS; level++)
		bytes += level_bytes(words, level);
	return bytes;
}

void runs_init(struct runs *runs, void *memory, uint32_t granules)
{
	uint32_t words = granules / BITS_WORD;
	uint8_t *at = memory;
	for (unsigned level = RUNS_LEVELS; level-- > 0; at += level_bytes(words, level))
		runs->longest[level] = at; /* the smallest first: a small heap touches their first page only */
	runs->free = (uint64_t *)(void *)at;
}

uint32_t runs_from(const struct runs *runs, uint32_t first, uint32_t most, uint32_t end)
{
	uint32_t n = 0;
	if (most > end - first)
		most = end - first;
	while (n < most) {
		uint32_t at = (first + n) % BITS_WORD;
		uint64_t taken = ~runs->free[(first + n) / BITS_WORD] >> at;
		if (taken) {
			n += (uint32_t)__builtin_ctzll(taken);
			break;
		}
		n += BITS_WORD - at;
	}
	return n < most ? n : most;
}

uint32_t runs_before(const struct runs *runs, uint32_t end, uint32_t most)
{
	uint32_t n = 0;
	while (n < most && n < end) {
		uint32_t last = end - n - 1, here = last % BITS_WORD + 1;
		uint64_t taken = ~runs->free[last / BITS_WORD] << (BITS_WORD - here);
		if (taken) {
			n += (uint32_t)__builtin_clzll(taken);
			break;
		}
		n += here;
	}
	return n < most ? n : most;
}

static void raise(struct runs *runs, uint32_t word, unsigned step)
{
	for (unsigned level = 0; level < RUNS_LEVELS && runs->longest[level][word] < step; level++, word /= RUNS_FAN)
		runs->longest[level][word] = (uint8_t)step;
}

static uint8_t greatest(const uint8_t *group)
{
	uint8_t most = 0;
	for (unsigned i = 0; i < RUNS_FAN; i++)
		most = group[i] > most ? group[i] : most;
	return most;
}

static void lower(struct runs *runs, uint32_t word, unsigned step)
{
	uint8_t before = runs->longest[0][word], now = (uint8_t)step;
	for (unsigned level = 0;; word /= RUNS_FAN) {
		runs->longest[level][word] = now;
		if (++level == RUNS_LEVELS || runs->longest[level][word / RUNS_FAN] != before)
			return;
		now = greatest(&runs->longest[level - 1][(size_t)word / RUNS_FAN * RUNS_FAN]);
	}
}

/* A run that begins at `first`, which the search must not miss. */
static void note(struct runs *runs, uint32_t first)
{
	uint32_t length = runs_from(runs, first, RUNS_LENGTH_MAX, UINT32_MAX);
	if (length)
		raise(runs, first / BITS_WORD, runs_step(length));
}

void runs_free(struct runs *runs, uint32_t first, uint32_t count)
{
	bits_set(runs->free, first, count, true);
	uint32_t before = runs_before(runs, first, RUNS_LENGTH_MAX);
	if (before < RUNS_LENGTH_MAX) /* else it is noted as long as any is asked for */
		note(runs, first - before);
}

void runs_take(struct runs *runs, uint32_t first, uint32_t count)
{
	bits_set(runs->free, first, count, false);
	note(runs, first + count);
}

/* The next word from `word` on that may have a run of the step beginning in it. */
static uint32_t next_word(const struct runs *runs, uint32_t word, uint32_t words, unsigned step)
{
	enum { FAN_2 = RUNS_FAN * RUNS_FAN };
	while (word < words && runs->longest[0][word] < step) {
		if (word % FAN_2 == 0 && runs->longest[2][word / FAN_2] < step)
			word += FAN_2;
		else if (word % RUNS_FAN == 0 && runs->longest[1][word / RUNS_FAN] < step)
			word += RUNS_FAN;
		else
			word++;
	}
	return word;
}

/* The first run of `granules` that begins in the word; `end`: none, and *longest is the longest that does. */
static uint32_t find_in_word(const struct runs *runs, uint32_t word, uint32_t granules, uint32_t end, uint32_t *longest)
{
	uint64_t bits = runs->free[word];
	uint64_t begins = bits & ~(bits << 1 | (word ? runs->free[word - 1] >> (BITS_WORD - 1) : 0));
	*longest = 0;
	for (; begins; begins &= begins - 1) {
		uint32_t first = word * BITS_WORD + (uint32_t)__builtin_ctzll(begins);
		uint32_t length = runs_from(runs, first, RUNS_LENGTH_MAX, UINT32_MAX);
		if (length >= granules && granules <= end - first)
			return first;
		*longest = length > *longest ? length : *longest;
	}
	return end;
}

uint32_t runs_find(struct runs *runs, uint32_t granules, uint32_t from, uint32_t end)
{
	unsigned step = runs_step(granules);
	uint32_t words = end / BITS_WORD, longest;
	if (runs_from(runs, from, granules, end) == granules) /* it may begin before `from` */
		return from;
	for (uint32_t word = next_word(runs, from / BITS_WORD, words, step); word < words;
	     word = next_word(runs, word + 1, words, step)) {
		uint32_t first = find_in_word(runs, word, granules, end, &longest);
		if (first != end)
			return first;
		lower(runs, word, runs_step(longest));
	}
	return end;
}
