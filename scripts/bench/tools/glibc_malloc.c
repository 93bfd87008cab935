/* glibc_malloc.c: glibc's own malloc, as a library to preload.
 *
 * A program that links an allocator of its own (Debian's redis-server links jemalloc) never reaches glibc's malloc, so
 * its run without a preload says nothing about glibc. Preloaded, this library answers first and forwards to glibc by
 * glibc's other names: one jump more a call, which is the price of asking at all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *p, size_t bytes);
extern void __libc_free(void *p);
extern void *__libc_memalign(size_t align, size_t bytes);
extern void *__libc_valloc(size_t bytes);
extern void *__libc_pvalloc(size_t bytes);

void *malloc(size_t bytes)
{
	return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
	return __libc_calloc(count, bytes);
}

void *realloc(void *p, size_t bytes)
{
	return __libc_realloc(p, bytes);
}

void *reallocarray(void *p, size_t count, size_t bytes)
{
	size_t total;
	if (__builtin_mul_overflow(count, bytes, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_realloc(p, total);
}

void free(void *p)
{
	__libc_free(p);
}

void *memalign(size_t align, size_t bytes)
{
	return __libc_memalign(align, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
	return __libc_memalign(align, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes)
{
	if (align % sizeof(void *) || !align || align & (align - 1))
		return EINVAL;
	int saved = errno;
	void *p = __libc_memalign(align, bytes);
	errno = saved;
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void *valloc(size_t bytes)
{
	return __libc_valloc(bytes);
}

void *pvalloc(size_t bytes)
{
	return __libc_pvalloc(bytes);
}

/* The one function without another name: asked of the C library itself, since the next library may be the allocator
 * that this one stands before. */
size_t malloc_usable_size(void *p)
{
	static size_t (*glibcs)(void *);
	if (!glibcs) {
		void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
		*(void **)&glibcs = libc ? dlsym(libc, "malloc_usable_size") : NULL;
		if (!glibcs)
			abort();
	}
	return glibcs(p);
}
