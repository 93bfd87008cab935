/* free_sized, free_aligned_sized (C23) and cfree take our blocks. glibc of Debian 12 has none of the first two, so they
 * are looked up: the victim expects them only where an allocator is preloaded (argument "all").
 */
#include "victim.h"

#include <malloc.h>

int main(int argc, char **argv)
{
	(void)argv;
	void (*free_sized)(void *, size_t) = (void (*)(void *, size_t))(uintptr_t)victim_symbol("free_sized");
	void (*free_aligned_sized)(void *, size_t, size_t) =
		(void (*)(void *, size_t, size_t))(uintptr_t)victim_symbol("free_aligned_sized");
	void (*cfree)(void *) = (void (*)(void *))(uintptr_t)victim_symbol("cfree");
	if (argc > 1) {
		CHECK(free_sized && free_aligned_sized && cfree, "free_sized %d, free_aligned_sized %d, cfree %d",
		      free_sized != NULL, free_aligned_sized != NULL, cfree != NULL);
	}
	for (size_t round = 0; round < 3; round++) {
		FOR_SIZES(n, MIB)
		{
			void *p = malloc(n), *q = aligned_alloc(256, n), *r = calloc(1, n);
			CHECK(p && q && r, "no block of %zu", n);
			memset(p, 1, n);
			memset(q, 2, n);
			errno = 77;
			free_sized ? free_sized(p, n) : free(p);
			free_aligned_sized ? free_aligned_sized(q, 256, n) : free(q);
			cfree ? cfree(r) : free(r);
			CHECK(errno == 77, "a sized free of %zu sets errno to %d", n, errno);
		}
	}
	if (free_sized && free_aligned_sized) {
		free_sized(NULL, 0);
		free_aligned_sized(NULL, 64, 64);
	}
	return victim_ok();
}
