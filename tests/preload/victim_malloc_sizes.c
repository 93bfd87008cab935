/* Every size from 0 to 1 MiB and some big ones: 16-byte aligned, at least as usable as asked, every usable byte
 * writable and not shared with a neighbour.
 */
#include "victim.h"

#include <malloc.h>

enum { NEIGHBOURS = 8 };

static void one_size(size_t n)
{
	unsigned char *p[NEIGHBOURS];
	size_t usable[NEIGHBOURS];
	for (size_t i = 0; i < NEIGHBOURS; i++) {
		p[i] = malloc(n);
		CHECK(p[i], "malloc(%zu) gives NULL", n);
		CHECK((uintptr_t)p[i] % 16 == 0, "malloc(%zu) gives %p", n, (void *)p[i]);
		usable[i] = malloc_usable_size(p[i]);
		CHECK(usable[i] >= n, "malloc(%zu) is usable to %zu", n, usable[i]);
		memset(p[i], (int)(n + i), usable[i]);
	}
	for (size_t i = 0; i < NEIGHBOURS; i++) {
		unsigned char want = (unsigned char)(n + i);
		for (size_t k = 0; k < usable[i]; k = k < 64 || k + 64 >= usable[i] ? k + 1 : k + 61) {
			CHECK(p[i][k] == want, "byte %zu of %zu of malloc(%zu) was overwritten", k, usable[i], n);
		}
		free(p[i]);
	}
}

int main(void)
{
	FOR_SIZES(n, MIB)
	{
		one_size(n);
	}
	const size_t big[] = {3 * MIB, 4 * MIB - 1, 17 * MIB + 5};
	for (size_t i = 0; i < sizeof(big) / sizeof(big[0]); i++) {
		one_size(big[i]);
	}
	return victim_ok();
}
