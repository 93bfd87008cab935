/* errno is kept by free and by every call that succeeds, for blocks of every range and behind every door. */
#include "victim.h"

#include <malloc.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { MARK = 4711, BLOCKS = 200 };

#define KEEPS(what, call)                                                                                              \
	do {                                                                                                               \
		errno = MARK;                                                                                                  \
		call;                                                                                                          \
		CHECK(errno == MARK, "%s of %zu bytes sets errno to %d", what, n, errno);                                      \
	} while (0)

static void one_size(size_t n)
{
	void *p, *q;
	KEEPS("malloc", p = malloc(n));
	KEEPS("malloc_usable_size", (void)malloc_usable_size(p));
	KEEPS("realloc up", p = realloc(p, 2 * n + 1));
	KEEPS("realloc down", p = realloc(p, n + 1));
	KEEPS("free", free(p));
	KEEPS("calloc", p = calloc(n, 1));
	KEEPS("reallocarray", p = reallocarray(p, n + 1, 2));
	KEEPS("free", free(p));
	KEEPS("memalign", p = memalign(64, n));
	KEEPS("posix_memalign", (void)!posix_memalign(&q, 16384, n));
	KEEPS("free", free(p));
	KEEPS("free", free(q));
	KEEPS("aligned_alloc", p = aligned_alloc(32, n));
	KEEPS("valloc", q = valloc(n));
	KEEPS("free", free(p));
	KEEPS("free", free(q));
	KEEPS("pvalloc", q = pvalloc(n));
	KEEPS("realloc to 0", q = realloc(q, 0));
	KEEPS("free(NULL)", free(NULL));
}

int main(void)
{
	FOR_SIZES(n, 4 * MIB)
	{
		one_size(n);
	}
	/* Many blocks freed at once, so that slabs retire and memory goes back to the kernel inside free. */
	static void *p[BLOCKS];
	const size_t sizes[] = {16, 1000, 5000, 20000, 70000, 300000};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = sizes[i];
		for (int k = 0; k < BLOCKS; k++) {
			KEEPS("malloc", p[k] = malloc(n));
			memset(p[k], 1, n);
		}
		for (int k = 0; k < BLOCKS; k++) {
			KEEPS("free", free(p[k]));
		}
		KEEPS("malloc_trim", malloc_trim(0));
	}
	return victim_ok();
}
