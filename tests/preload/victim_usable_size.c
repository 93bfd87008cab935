/* malloc_usable_size(NULL) is 0; of a block it never changes while the block lives, and all of it belongs to the block. */
#include "victim.h"

#include <malloc.h>

int main(void)
{
	CHECK(malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is %zu", malloc_usable_size(NULL));
	enum { LIVE = 4000 };
	static unsigned char *p[LIVE];
	static size_t usable[LIVE], asked[LIVE];
	uint64_t state = 5;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < LIVE; i++) {
			asked[i] = (size_t)(next_random(&state) % ((size_t)1 << (1 + next_random(&state) % 16)));
			p[i] = malloc(asked[i]);
			CHECK(p[i], "malloc(%zu) gives NULL", asked[i]);
			usable[i] = malloc_usable_size(p[i]);
			CHECK(usable[i] >= asked[i], "malloc(%zu) is usable to %zu", asked[i], usable[i]);
			fill(p[i], usable[i], i);
		}
		for (size_t i = 0; i < LIVE; i++) {
			CHECK(malloc_usable_size(p[i]) == usable[i], "the usable size of a block changed from %zu to %zu",
			      usable[i], malloc_usable_size(p[i]));
			CHECK(first_wrong(p[i], usable[i], i) == usable[i], "a block of %zu, usable %zu, shares byte %zu", asked[i],
			      usable[i], first_wrong(p[i], usable[i], i));
		}
		for (size_t i = 0; i < LIVE; i++) {
			free(p[i]);
		}
	}
	return victim_ok();
}
