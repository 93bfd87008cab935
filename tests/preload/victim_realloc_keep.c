/* realloc keeps every byte up to the smaller size, growing and shrinking over all ranges, in steps and in leaps, and
 * every usable byte of the result may be written. Blocks of calloc and memalign too.
 */
#include "victim.h"

#include <malloc.h>

static uint64_t seed = 7;

/* Resizes p, which holds the pattern `seed` in its first `have` bytes, and writes the pattern to all of the result. */
static void *resize(void *p, size_t have, size_t want)
{
	void *q = realloc(p, opaque(want));
	CHECK(q, "realloc of %zu to %zu gives NULL", have, want);
	CHECK((uintptr_t)q % 16 == 0, "realloc of %zu to %zu gives %p", have, want, q);
	size_t usable = malloc_usable_size(q), kept_bytes = have < want ? have : want;
	CHECK(usable >= want, "realloc to %zu is usable to %zu", want, usable);
	size_t wrong = first_wrong(q, kept_bytes, seed);
	CHECK(wrong == kept_bytes, "realloc of %zu to %zu lost byte %zu", have, want, wrong);
	fill(q, usable, ++seed);
	return q;
}

static void steps(size_t from, size_t to, size_t step)
{
	void *p = malloc(from);
	CHECK(p, "malloc(%zu) gives NULL", from);
	fill(p, from, seed);
	size_t n = from;
	while (n < to) {
		p = resize(p, n, n + step);
		n += step;
	}
	while (n > step + from) {
		p = resize(p, n, n - step);
		n -= step;
	}
	free(p);
}

static void leaps(void)
{
	uint64_t state = 42;
	size_t n = 100;
	void *p = memalign(64, n);
	fill(p, n, seed);
	for (int i = 0; i < 3000; i++) {
		uint64_t r = next_random(&state);
		size_t want = 1 + (size_t)(next_random(&state) % ((size_t)1 << (1 + r % 20)));
		p = resize(p, n, want);
		n = want;
		if (r % 7 == 0) { /* a fresh block from time to time, so that the one resized is not always the same */
			free(p);
			p = r % 2 ? calloc(1, n) : malloc(n);
			CHECK(p, "no block of %zu", n);
			fill(p, n, seed);
		}
	}
	free(p);
}

int main(void)
{
	steps(1, 2100, 1);
	steps(16, 40 * KIB, 16);
	steps(1000, 300 * KIB, 1021);
	steps(100000, 1100000, 16411);
	steps(MIB, 40 * MIB, 5 * MIB + 13);
	leaps();
	return victim_ok();
}
