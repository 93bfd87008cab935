/* A program linked to jemalloc (Debian's redis-server) hands our blocks to jemalloc's own functions: they work on them,
 * and blocks of theirs go to free and realloc. Looked up by name, since the C library has none of them; the first
 * argument names a library to take them from when they are not preloaded.
 */
#include "victim.h"

#include <malloc.h>

#define ALIGNED(n) ((int)__builtin_ctzll(n)) /* MALLOCX_LG_ALIGN */
#define ZEROED 0x40                          /* MALLOCX_ZERO */

static void *(*mallocx_)(size_t, int);
static void *(*rallocx_)(void *, size_t, int);
static size_t (*xallocx_)(void *, size_t, size_t, int);
static size_t (*sallocx_)(const void *, int);
static void (*dallocx_)(void *, int);
static void (*sdallocx_)(void *, size_t, int);
static size_t (*nallocx_)(size_t, int);
static int (*mallctl_)(const char *, void *, size_t *, void *, size_t);

static void *named(const char *name)
{
	void *p = victim_symbol(name);
	CHECK(p, "%s is not exported", name);
	return p;
}

static void look_up(void)
{
	mallocx_ = (void *(*)(size_t, int))(uintptr_t)named("mallocx");
	rallocx_ = (void *(*)(void *, size_t, int))(uintptr_t)named("rallocx");
	xallocx_ = (size_t(*)(void *, size_t, size_t, int))(uintptr_t)named("xallocx");
	sallocx_ = (size_t(*)(const void *, int))(uintptr_t)named("sallocx");
	dallocx_ = (void (*)(void *, int))(uintptr_t)named("dallocx");
	sdallocx_ = (void (*)(void *, size_t, int))(uintptr_t)named("sdallocx");
	nallocx_ = (size_t(*)(size_t, int))(uintptr_t)named("nallocx");
	mallctl_ = (int (*)(const char *, void *, size_t *, void *, size_t))(uintptr_t)named("mallctl");
}

static void our_block(size_t n)
{
	void *p = malloc(n);
	size_t usable = malloc_usable_size(p);
	fill(p, usable, n);
	CHECK(sallocx_(p, 0) == usable, "sallocx of malloc(%zu) is %zu, usable %zu", n, sallocx_(p, 0), usable);
	size_t got = xallocx_(p, n, 0, 0);
	CHECK(got >= n && got == malloc_usable_size(p), "xallocx of malloc(%zu) is %zu", n, got);
	p = rallocx_(p, 3 * n, 0);
	CHECK(p && malloc_usable_size(p) >= 3 * n, "rallocx of malloc(%zu) to %zu gives %p", n, 3 * n, p);
	CHECK(first_wrong(p, n, n) == n, "rallocx of malloc(%zu) lost bytes", n);
	dallocx_(p, 0);
	p = calloc(1, n);
	sdallocx_(p, n, 0);
	p = malloc(n);
	fill(p, n, n);
	p = rallocx_(p, 2 * n, ALIGNED(512));
	CHECK(p && (uintptr_t)p % 512 == 0, "rallocx to %zu, aligned to 512, gives %p", 2 * n, p);
	CHECK(first_wrong(p, n, n) == n, "rallocx of malloc(%zu), aligned, lost bytes", n);
	free(p);
}

static void their_block(size_t n)
{
	CHECK(nallocx_(n, 0) >= n, "nallocx(%zu) is %zu", n, nallocx_(n, 0));
	void *p = mallocx_(n, 0);
	CHECK(p && sallocx_(p, 0) >= n, "mallocx(%zu) gives %p", n, p);
	fill(p, n, n);
	p = realloc(p, 2 * n);
	CHECK(p && first_wrong(p, n, n) == n, "realloc of mallocx(%zu) lost bytes", n);
	free(p);
	p = mallocx_(n, ALIGNED(1024) | ZEROED);
	CHECK(p && (uintptr_t)p % 1024 == 0, "mallocx(%zu), aligned to 1024, gives %p", n, p);
	for (size_t i = 0; i < n; i++) {
		CHECK(((char *)p)[i] == 0, "mallocx(%zu), zeroed, has byte %zu at %d", n, i, ((char *)p)[i]);
	}
	dallocx_(p, 0);
}

int main(void)
{
	look_up();
	const size_t sizes[] = {1, 8, 16, 100, 500, 1000, 3000, 16384, 50000, 300000, 3 * MIB};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		our_block(sizes[i]);
		their_block(sizes[i]);
	}
	const char *version = NULL;
	size_t bytes = sizeof(version);
	int error = mallctl_("version", &version, &bytes, NULL, 0);
	CHECK(error == 0 && version && version[0], "mallctl(version) gives %d", error);
	CHECK(mallctl_("no.such.name", NULL, NULL, NULL, 0) == ENOENT, "mallctl of an unknown name is not ENOENT");
	errno = 0;
	CHECK(!mallocx_(opaque((size_t)PTRDIFF_MAX + 1), 0), "mallocx of an impossible size gives a block");
	return victim_ok();
}
