/* interpose_malloc.c: malloc and its family as C and POSIX define them.
 *
 * Each entry is its contract and nothing else; the work is in allocate.h. The caller's return address is taken here, in
 * the frame the program called. glibc's public aliases (__libc_malloc and so on) are the same functions.
 */
#define _GNU_SOURCE
#include "allocate.h"
#include "interpose.h"
#include "process.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

static bool power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

SLUICE_API void *malloc(size_t size)
{
	return allocate_from(size, SLUICE_CALLER(), SLUICE_FRAME());
}

SLUICE_API void free(void *block)
{
	release(block);
}

SLUICE_API void *calloc(size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return allocate_zeroed_from(bytes, SLUICE_CALLER(), SLUICE_FRAME());
}

SLUICE_API void *realloc(void *block, size_t size)
{
	return reallocate_from(block, size, SLUICE_CALLER(), SLUICE_FRAME());
}

SLUICE_API void *reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return reallocate_from(block, bytes, SLUICE_CALLER(), SLUICE_FRAME());
}

/* glibc 2.26 dropped it from its headers and kept it for old programs. */
SLUICE_API void cfree(void *block);
SLUICE_API void cfree(void *block)
{
	release(block);
}

/* C23; the sizes are the caller's promise, and we know better. */
SLUICE_API void free_sized(void *block, size_t size);
SLUICE_API void free_sized(void *block, size_t size)
{
	(void)size;
	release(block);
}

SLUICE_API void free_aligned_sized(void *block, size_t align, size_t size);
SLUICE_API void free_aligned_sized(void *block, size_t align, size_t size)
{
	(void)align;
	(void)size;
	release(block);
}

/* Like glibc's, takes any alignment and rounds it up to a power of two. */
SLUICE_API void *memalign(size_t align, size_t size)
{
	if (align > (size_t)PTRDIFF_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	size_t rounded = 16;
	while (rounded < align)
		rounded *= 2;
	return allocate_aligned_from(size, rounded, SLUICE_CALLER(), SLUICE_FRAME());
}

SLUICE_API void *aligned_alloc(size_t align, size_t size)
{
	if (!power_of_two(align)) {
		errno = EINVAL;
		return NULL;
	}
	return allocate_aligned_from(size, align, SLUICE_CALLER(), SLUICE_FRAME());
}

SLUICE_API int posix_memalign(void **out, size_t align, size_t size)
{
	if (!power_of_two(align) || align % sizeof(void *))
		return EINVAL;
	int saved = errno;
	void *block = allocate_aligned_from(size, align, SLUICE_CALLER(), SLUICE_FRAME());
	errno = saved;
	if (!block)
		return ENOMEM;
	*out = block;
	return 0;
}

static size_t page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE); /* answered from the auxiliary vector: no system call */
}

SLUICE_API void *valloc(size_t size)
{
	return allocate_aligned_from(size, page_bytes(), SLUICE_CALLER(), SLUICE_FRAME());
}

SLUICE_API void *pvalloc(size_t size)
{
	size_t page = page_bytes(), rounded = (size + page - 1) & -page;
	if (rounded < size) {
		errno = ENOMEM;
		return NULL;
	}
	return allocate_aligned_from(rounded ? rounded : page, page, SLUICE_CALLER(), SLUICE_FRAME());
}

SLUICE_API size_t malloc_usable_size(void *block)
{
	return usable_size(block);
}

#ifndef __clang__ /* the aliases promise less than glibc's headers do of their targets, which does no harm */
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif
#define SAME(name, as) __typeof__(as) name __attribute__((alias(#as), visibility("default")))
SAME(__libc_malloc, malloc);
SAME(__libc_free, free);
SAME(__libc_cfree, cfree);
SAME(__libc_calloc, calloc);
SAME(__libc_realloc, realloc);
SAME(__libc_reallocarray, reallocarray);
SAME(__libc_memalign, memalign);
SAME(__libc_valloc, valloc);
SAME(__libc_pvalloc, pvalloc);
SAME(__posix_memalign, posix_memalign);

__typeof__(malloc) interpose_malloc __attribute__((alias("malloc"), visibility("hidden")));
