/* Every block whose usable size is a multiple of 64 lies on a 64-byte boundary (design section 3): the vector pools.
 * Many live blocks a size, so that every place in a slab is seen; freed out of order, so that reused ones are too.
 */
#include "victim.h"

#include <malloc.h>

enum { LIVE = 96 };

static void look(void *p, size_t n)
{
	CHECK(p, "no block of %zu bytes", n);
	size_t usable = malloc_usable_size(p);
	CHECK(usable % 64 != 0 || (uintptr_t)p % 64 == 0, "a block of %zu bytes, usable %zu, lies at %p", n, usable, p);
}

int main(void)
{
	static void *p[LIVE];
	size_t multiples = 0;
	FOR_SIZES(n, 256 * KIB)
	{
		int live = n <= 8 * KIB ? LIVE : 4;
		for (int i = 0; i < live; i++) {
			p[i] = i % 3 ? malloc(n) : calloc(1, n);
			look(p[i], n);
		}
		for (int i = 0; i < live; i += 2) {
			free(p[i]);
		}
		for (int i = 0; i < live; i += 2) {
			p[i] = realloc(NULL, n);
			look(p[i], n);
			multiples += malloc_usable_size(p[i]) % 64 == 0;
		}
		for (int i = 0; i < live; i++) {
			free(p[i]);
		}
	}
	CHECK(multiples > 1000, "only %zu blocks of a multiple of 64 were seen", multiples);
	return victim_ok();
}
