/* posix_memalign refuses what is no power of two or no multiple of a pointer, with EINVAL, and what cannot fit, with
 * ENOMEM; it leaves its argument alone whenever it fails. memalign and aligned_alloc with an alignment that is no power
 * of two either refuse with EINVAL or give a block (glibc rounds up); both are whole. Impossible sizes: NULL, ENOMEM.
 */
#include "victim.h"

#include <malloc.h>

static void refused(size_t alignment, size_t n, int want)
{
	void *mark = &mark, *p = mark;
	int error = posix_memalign(&p, opaque(alignment), opaque(n));
	CHECK(error == want, "posix_memalign(%zu, %zu) gives %d, not %d", alignment, n, error, want);
	CHECK(p == mark, "posix_memalign(%zu, %zu) failed and wrote its argument", alignment, n);
}

static void either(void *p, size_t alignment, size_t n, const char *what)
{
	CHECK(p || errno == EINVAL, "%s(%zu, %zu) gives NULL with errno %d", what, alignment, n, errno);
	if (p) {
		memset(p, 1, malloc_usable_size(p));
		CHECK(malloc_usable_size(p) >= n, "%s(%zu, %zu) is usable to %zu", what, alignment, n, malloc_usable_size(p));
		free(p);
	}
}

int main(void)
{
	const size_t odd[] = {0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 24, 48, 96, 100, 1000, 4095, 4097, 12288, SIZE_MAX};
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		refused(odd[i], 100, EINVAL);
		refused(odd[i], 0, EINVAL);
	}
	for (size_t alignment = 8; alignment <= 4 * MIB; alignment *= 2) {
		refused(alignment, SIZE_MAX, ENOMEM);
		refused(alignment, SIZE_MAX - alignment, ENOMEM);
		refused(alignment, (size_t)PTRDIFF_MAX + 1, ENOMEM);
		refused(alignment, PTRDIFF_MAX - alignment, ENOMEM);
		errno = 0;
		CHECK(!memalign(alignment, opaque(SIZE_MAX - 8)) && errno == ENOMEM, "memalign(%zu, huge): errno %d", alignment,
		      errno);
		errno = 0;
		CHECK(!aligned_alloc(alignment, opaque((size_t)PTRDIFF_MAX + 1)) && errno == ENOMEM,
		      "aligned_alloc(%zu, huge): errno %d", alignment, errno);
	}
	refused((size_t)1 << 62, 100, ENOMEM);
	refused((size_t)1 << 63, 100, ENOMEM);
	for (size_t i = 0; i + 1 < sizeof(odd) / sizeof(odd[0]); i++) {
		errno = 0;
		either(memalign(opaque(odd[i]), 100), odd[i], 100, "memalign");
		errno = 0;
		either(aligned_alloc(opaque(odd[i]), 100), odd[i], 100, "aligned_alloc");
	}
	errno = 0;
	CHECK(!memalign(opaque(SIZE_MAX), 100) && (errno == EINVAL || errno == ENOMEM), "memalign(SIZE_MAX): errno %d",
	      errno);
	return victim_ok();
}
