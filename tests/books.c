/* books.c: see books.h. */
#include "books.h"

#include "pools/walk.h"
#include "shim/publish.h"
#include "shim/site.h"
#include "sites.h"

#include <criterion/criterion.h>

static struct {
	_Atomic uint64_t allocs, space, frees, reallocs;
} books[BOOKS_SITES];

void books_allocated(unsigned site, size_t bytes)
{
	atomic_fetch_add(&books[site].allocs, 1);
	atomic_fetch_add(&books[site].space, bytes);
}

void books_freed(unsigned site)
{
	atomic_fetch_add(&books[site].frees, 1);
}

void books_reallocated(unsigned site, size_t bytes)
{
	books_allocated(site, bytes);
	books_freed(site);
	atomic_fetch_add(&books[site].reallocs, 1);
}

void books_check(void)
{
	const struct ledger_header *l = publish(END_LIVE);
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s", seen.wrong);
	uint64_t objects = 0;
	for (unsigned s = 0; s < BOOKS_SITES; s++) {
		const struct ledger_site *site = &ledger_sites(l)[site_of(pc_of(s))];
		cr_assert_eq(site->tally.alloc_objects, books[s].allocs, "site %u", s);
		cr_assert_eq(site->tally.alloc_space, books[s].space, "site %u", s);
		cr_assert_eq(site->tally.free_objects, books[s].frees, "site %u", s);
		cr_assert_eq(site->tally.inuse_objects, books[s].allocs - books[s].frees, "site %u", s);
		cr_assert_eq(site->realloc_objects, books[s].reallocs, "site %u", s);
		objects += books[s].allocs;
	}
	cr_assert_eq(l->memory.tally.alloc_objects, objects, "nothing is counted anywhere else");
	cr_assert_eq(seen.used - seen.cached + l->routes[ROUTE_FALLBACK].inuse_objects, l->memory.tally.inuse_objects);
}
