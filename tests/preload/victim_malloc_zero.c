/* malloc(0) gives a block of its own, each time, that free takes; so do its relatives. */
#include "victim.h"

#include <malloc.h>

enum { BLOCKS = 1000 };

static int by_address(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
	return (x > y) - (x < y);
}

int main(void)
{
	static void *block[BLOCKS];
	for (int i = 0; i < BLOCKS; i++) {
		void *p = NULL;
		switch (i % 6) {
		case 0:
			p = malloc(opaque(0));
			break;
		case 1:
			p = calloc(opaque(0), 8);
			break;
		case 2:
			p = calloc(8, opaque(0));
			break;
		case 3:
			p = realloc(NULL, opaque(0));
			break;
		case 4:
			p = memalign(64, opaque(0));
			break;
		case 5:
			CHECK(posix_memalign(&p, 64, opaque(0)) == 0, "posix_memalign(64, 0) fails");
			break;
		}
		CHECK(p, "case %d of size 0 gives NULL", i % 6);
		CHECK((uintptr_t)p % 16 == 0, "case %d of size 0 gives %p", i % 6, p);
		memset(p, 0xa5, malloc_usable_size(p));
		block[i] = p;
	}
	static void *sorted[BLOCKS];
	memcpy(sorted, block, sizeof(sorted));
	qsort(sorted, BLOCKS, sizeof(sorted[0]), by_address);
	for (int i = 1; i < BLOCKS; i++) {
		CHECK(sorted[i] != sorted[i - 1], "two live blocks of size 0 are both %p", sorted[i]);
	}
	for (int i = 0; i < BLOCKS; i++) {
		free(block[i]);
	}
	free(NULL);
	return victim_ok();
}
