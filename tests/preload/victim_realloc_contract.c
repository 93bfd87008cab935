/* realloc(NULL, n) is malloc(n); realloc(p, 0) frees p and gives NULL, as glibc does; one that fails keeps the block and
 * sets ENOMEM. reallocarray multiplies, and refuses the product that does not fit.
 */
#include "victim.h"

#include <malloc.h>

int main(void)
{
	char *p = realloc(NULL, opaque(100));
	CHECK(p && malloc_usable_size(p) >= 100, "realloc(NULL, 100) gives %p", (void *)p);
	CHECK(realloc(p, opaque(0)) == NULL, "realloc(p, 0) gives a block");
	p = reallocarray(NULL, opaque(10), 10);
	CHECK(p && malloc_usable_size(p) >= 100, "reallocarray(NULL, 10, 10) gives %p", (void *)p);
	CHECK(reallocarray(p, opaque(0), 10) == NULL, "reallocarray(p, 0, 10) gives a block");

	const size_t sizes[] = {8, 100, 3000, 20000, 400000, 5 * MIB};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = sizes[i];
		p = malloc(n);
		CHECK(p, "malloc(%zu) gives NULL", n);
		fill(p, n, 3);
		const size_t bad[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 4096,
		                      (size_t)PTRDIFF_MAX - 4096};
		for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
			errno = 0;
			CHECK(realloc(p, opaque(bad[k])) == NULL, "realloc(p, %zu) gives a block", bad[k]);
			CHECK(errno == ENOMEM, "realloc(p, %zu) sets errno %d", bad[k], errno);
		}
		errno = 0;
		CHECK(reallocarray(p, opaque(SIZE_MAX / 2), 3) == NULL, "reallocarray of an overflow gives a block");
		CHECK(errno == ENOMEM, "reallocarray of an overflow sets errno %d", errno);
		errno = 0;
		CHECK(reallocarray(p, opaque((size_t)1 << 32), (size_t)1 << 32) == NULL, "reallocarray of 2^64 gives a block");
		CHECK(errno == ENOMEM, "reallocarray of 2^64 sets errno %d", errno);
		CHECK(first_wrong(p, n, 3) == n, "a realloc that failed changed the block of %zu", n);
		char *q = reallocarray(p, opaque(2), n);
		CHECK(q && first_wrong(q, n, 3) == n, "reallocarray(p, 2, %zu) lost the bytes", n);
		free(q);
	}
	return victim_ok();
}
