/* sites.c: see sites.h. */
#include "sites.h"

#include "pools/walk.h"
#include "shim/allocate.h"

#include <criterion/criterion.h>

void *blocks[BLOCKS];

void take(unsigned site, size_t size, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert_not_null(blocks[i] = allocate(size, pc_of(site)));
}

void give(unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		release(blocks[i]);
}

void churn(unsigned site, size_t size, unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		take(site, size, 1);
		give(1);
	}
}

struct cache *cache_of(unsigned site, size_t size)
{
	return route_cache(thread_self, pc_of(site), class_of(size));
}

struct route *route(unsigned site, size_t size)
{
	return route_of(thread_get(), pc_of(site), class_of(size));
}

void whole(void)
{
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s", seen.wrong);
}
