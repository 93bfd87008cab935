/* Above PTRDIFF_MAX and on overflow every function gives NULL and sets ENOMEM, and works on as before. */
#include "victim.h"

#include <malloc.h>

#define REFUSES(call)                                                                                                  \
	do {                                                                                                               \
		errno = 0;                                                                                                     \
		void *none = (call);                                                                                           \
		CHECK(!none, "%s with %zu gives a block", #call, n);                                                           \
		CHECK(errno == ENOMEM, "%s with %zu sets errno to %d", #call, n, errno);                                       \
	} while (0)

int main(void)
{
	const size_t sizes[] = {(size_t)PTRDIFF_MAX + 1,
	                        (size_t)PTRDIFF_MAX + 4096,
	                        SIZE_MAX / 2 + 100,
	                        SIZE_MAX - 65536,
	                        SIZE_MAX - 4096,
	                        SIZE_MAX - 16,
	                        SIZE_MAX - 1,
	                        SIZE_MAX,
	                        PTRDIFF_MAX,
	                        PTRDIFF_MAX - 4096};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = opaque(sizes[i]);
		REFUSES(malloc(n));
		REFUSES(calloc(1, n));
		REFUSES(calloc(n, 1));
		REFUSES(realloc(NULL, n));
		REFUSES(reallocarray(NULL, n, 1));
		REFUSES(memalign(64, n));
		REFUSES(aligned_alloc(4096, n));
	}
	const size_t factors[][2] = {{SIZE_MAX, 2},
	                             {2, SIZE_MAX},
	                             {(size_t)1 << 32, (size_t)1 << 32},
	                             {((size_t)1 << 32) + 1, (size_t)1 << 32},
	                             {SIZE_MAX / 16 + 1, 16},
	                             {24, SIZE_MAX / 24 + 1},
	                             {SIZE_MAX, SIZE_MAX},
	                             {(size_t)1 << 33, (size_t)1 << 30}};
	for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++) {
		size_t n = opaque(factors[i][0]), m = opaque(factors[i][1]);
		REFUSES(calloc(n, m));
		REFUSES(reallocarray(NULL, n, m));
	}
	for (size_t n = 0; n < 1000; n++) {
		void *p = malloc(n);
		CHECK(p, "malloc(%zu) gives NULL after refusals", n);
		memset(p, 1, n);
		free(p);
	}
	return victim_ok();
}
