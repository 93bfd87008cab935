/* memalign, aligned_alloc and posix_memalign with every power of two to 4 MiB and sizes of every range: aligned,
 * writable to the last usable byte, kept by realloc, taken by free.
 */
#include "victim.h"

#include <malloc.h>

static void *aligned(int how, size_t alignment, size_t n)
{
	void *p = NULL;
	int error;
	switch (how) {
	case 0:
		return memalign(alignment, n);
	case 1:
		return aligned_alloc(alignment, n);
	default:
		error = posix_memalign(&p, alignment < sizeof(void *) ? sizeof(void *) : alignment, n);
		CHECK(error == 0, "posix_memalign(%zu, %zu) gives %d", alignment, n, error);
		return p;
	}
}

static void one(int how, size_t alignment, size_t n)
{
	enum { BLOCKS = 3 };
	void *p[BLOCKS];
	for (size_t i = 0; i < BLOCKS; i++) {
		p[i] = aligned(how, alignment, n);
		CHECK(p[i], "way %d, alignment %zu, size %zu: NULL", how, alignment, n);
		CHECK((uintptr_t)p[i] % alignment == 0, "way %d, alignment %zu, size %zu: %p", how, alignment, n, p[i]);
		CHECK((uintptr_t)p[i] % 16 == 0, "way %d, alignment %zu, size %zu: %p", how, alignment, n, p[i]);
		size_t usable = malloc_usable_size(p[i]);
		CHECK(usable >= n, "way %d, alignment %zu, size %zu: usable to %zu", how, alignment, n, usable);
		fill(p[i], usable, alignment + n + i);
	}
	for (size_t i = 0; i < BLOCKS; i++) {
		CHECK(first_wrong(p[i], n, alignment + n + i) == n, "way %d, alignment %zu, size %zu: overlap", how, alignment,
		      n);
		if (i == 0) {
			p[0] = realloc(p[0], 2 * n + 1);
			CHECK(p[0] && first_wrong(p[0], n, alignment + n) == n, "realloc of alignment %zu, size %zu", alignment, n);
		}
		free(p[i]);
	}
}

int main(void)
{
	const size_t sizes[] = {0,    1,    8,    15,   16,    17,    24,    63,    64,     65,     100,
	                        128,  192,  200,  500,  512,   1000,  1024,  2000,  2048,   3000,   4095,
	                        4096, 4097, 6000, 8192, 10000, 16384, 20000, 65536, 100000, 262144, 1048577};
	for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			for (int how = 0; how < 3; how++) {
				one(how, alignment, sizes[i]);
			}
		}
	}
	return victim_ok();
}
