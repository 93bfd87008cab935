/* calloc gives zeroes, over the whole usable size where the block was dirty before, in every range of sizes. */
#include "victim.h"

#include <malloc.h>

enum { BLOCKS = 24 };

static void zero_everywhere(const unsigned char *p, size_t n)
{
	/* A block whose first byte is zero, and each byte equal to the one after it, is zero all over. */
	if (n && (p[0] != 0 || memcmp(p, p + 1, n - 1) != 0)) {
		for (size_t i = 0; i < n; i++) {
			CHECK(p[i] == 0, "byte %zu of calloc(%zu) is %d", i, n, p[i]);
		}
	}
}

static void one_size(size_t n)
{
	unsigned char *p[BLOCKS];
	int blocks = n <= 16 * KIB ? BLOCKS : 3;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < blocks; i++) {
			p[i] = malloc(n);
			CHECK(p[i], "malloc(%zu) gives NULL", n);
			memset(p[i], 0xff, malloc_usable_size(p[i]));
		}
		for (int i = 0; i < blocks; i++) {
			free(p[i]);
		}
		for (int i = 0; i < blocks; i++) {
			p[i] = i % 2 ? calloc(opaque(n), 1) : calloc(1, opaque(n));
			CHECK(p[i], "calloc(%zu) gives NULL", n);
			CHECK((uintptr_t)p[i] % 16 == 0, "calloc(%zu) gives %p", n, (void *)p[i]);
			zero_everywhere(p[i], n);
			memset(p[i], 0xee, malloc_usable_size(p[i]));
		}
		for (int i = 0; i < blocks; i++) {
			free(p[i]);
		}
	}
}

int main(void)
{
	FOR_SIZES(n, MIB)
	{
		one_size(n);
	}
	one_size(5 * MIB + 3);
	one_size(33 * MIB);
	return victim_ok();
}
