/* The aliases __libc_malloc and so on, which programs that wrap malloc reach, belong to the same allocator as malloc: a
 * block of one is freed by the other.
 */
#include "victim.h"

#include <malloc.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), *__libc_valloc(size_t), *__libc_pvalloc(size_t);
extern void __libc_free(void *);

int main(void)
{
	const size_t sizes[] = {0, 1, 16, 100, 1000, 2000, 5000, 20000, 100000, 2 * MIB};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t n = sizes[i];
		void *ours[] = {__libc_malloc(n),        __libc_calloc(n, 1), __libc_realloc(NULL, n),
		                __libc_memalign(256, n), __libc_valloc(n),    __libc_pvalloc(n)};
		CHECK((uintptr_t)ours[3] % 256 == 0, "__libc_memalign(256, %zu) gives %p", n, ours[3]);
		for (size_t k = 0; k < 6; k++) {
			CHECK(ours[k], "alias %zu of %zu bytes gives NULL", k, n);
			CHECK(malloc_usable_size(ours[k]) >= n, "alias %zu of %zu bytes: usable %zu", k, n,
			      malloc_usable_size(ours[k]));
			fill(ours[k], malloc_usable_size(ours[k]), k + n);
			if (k % 2) {
				ours[k] = realloc(ours[k], 2 * n + 10);
				CHECK(ours[k] && first_wrong(ours[k], n, k + n) == n, "realloc of alias %zu of %zu lost bytes", k, n);
			}
			free(ours[k]);
		}
		void *p = malloc(n);
		fill(p, n, n);
		p = __libc_realloc(p, 3 * n + 1);
		CHECK(p && first_wrong(p, n, n) == n, "__libc_realloc of a block of malloc(%zu) lost bytes", n);
		__libc_free(p);
		__libc_free(calloc(1, n));
	}
	__libc_free(NULL);
	return victim_ok();
}
