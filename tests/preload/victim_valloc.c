/* valloc and pvalloc give whole pages, pvalloc rounds the size up to pages; free and realloc take both. */
#include "victim.h"

#include <malloc.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

int main(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	FOR_SIZES(n, 256 * KIB)
	{
		void *v = valloc(n), *w = pvalloc(n);
		CHECK(v && w, "valloc(%zu) %p, pvalloc %p", n, v, w);
		CHECK((uintptr_t)v % page == 0, "valloc(%zu) gives %p", n, v);
		CHECK((uintptr_t)w % page == 0, "pvalloc(%zu) gives %p", n, w);
		size_t whole = (n + page - 1) / page * page;
		CHECK(malloc_usable_size(v) >= n, "valloc(%zu) is usable to %zu", n, malloc_usable_size(v));
		CHECK(malloc_usable_size(w) >= whole, "pvalloc(%zu) is usable to %zu", n, malloc_usable_size(w));
		fill(v, malloc_usable_size(v), n);
		fill(w, malloc_usable_size(w), n + 1);
		CHECK(first_wrong(v, n, n) == n, "valloc(%zu) overlaps", n);
		w = realloc(w, n + 100);
		CHECK(w && first_wrong(w, n, n + 1) == n, "realloc of pvalloc(%zu) lost bytes", n);
		free(v);
		free(w);
	}
	const size_t bad[] = {SIZE_MAX, SIZE_MAX - 4095, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		CHECK(!valloc(opaque(bad[i])) && errno == ENOMEM, "valloc(%zu): errno %d", bad[i], errno);
		errno = 0;
		CHECK(!pvalloc(opaque(bad[i])) && errno == ENOMEM, "pvalloc(%zu): errno %d", bad[i], errno);
	}
	return victim_ok();
}
