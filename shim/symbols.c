/* symbols.c: every module's dynamic symbols are read once, and each is looked up among the module's sites: a heap-sorted
 * list of site numbers by mapping and offset, so the cost is (symbols + sites) x log(sites), and no memory is needed but
 * that list.
 *
 * Other threads may unload modules and retire sites meanwhile: a site's mapping and offset stay, its pc does not; and what
 * was read of a module counts only if it is still there afterwards. A signal handler that interrupted us may come here too,
 * and return when its exec has failed: then the list has another order, but still numbers of sites in it, and what was
 * being read is not trusted.
 */
#include "symbols.h"

#include "module.h"
#include "pools/apart.h"
#include "site.h"

#include <stdatomic.h>

enum { NAME_BYTES = 4096 }; /* longer ones, of which C++ has some, are left out */

static APART uint16_t order[LEDGER_SITES_MAX + 1];
static _Atomic uint32_t fills; /* begun so far */

/* A mapping and its sites in `order`. */
struct search {
	struct ledger_header *l;
	uint32_t mapping, from, to;
};

static struct ledger_site *site_at(const struct ledger_header *l, uint32_t i)
{
	return &ledger_sites(l)[order[i]];
}

static bool is_before(const struct ledger_site *a, const struct ledger_site *b)
{
	return a->mapping != b->mapping ? a->mapping < b->mapping : a->offset < b->offset;
}

static void sift(const struct ledger_header *l, uint32_t root, uint32_t count)
{
	for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
		if (child + 1 < count && is_before(site_at(l, child), site_at(l, child + 1)))
			child++;
		if (!is_before(site_at(l, root), site_at(l, child)))
			return;
		uint16_t swapped = order[root];
		order[root] = order[child];
		order[child] = swapped;
	}
}

static void sort(const struct ledger_header *l, uint32_t count)
{
	for (uint32_t i = count / 2; i-- > 0;)
		sift(l, i, count);
	for (uint32_t end = count; end-- > 1;) {
		uint16_t swapped = order[0];
		order[0] = order[end];
		order[end] = swapped;
		sift(l, 0, end);
	}
}

static struct ledger_string name_of(const struct search *search, uint32_t name)
{
	static APART char text[NAME_BYTES];
	size_t length = module_string(mapping_places(search->mapping), name, text, sizeof(text));
	return length ? ledger_string(text, length) : (struct ledger_string){0};
}

static void name_sites(void *context, uint64_t start, uint64_t bytes, uint32_t name)
{
	const struct search *search = context;
	uint32_t low = search->from, high = search->to;
	while (low < high) { /* first site above start: a return address is behind its call */
		uint32_t middle = (low + high) / 2;
		if (site_at(search->l, middle)->offset <= start)
			low = middle + 1;
		else
			high = middle;
	}
	struct ledger_string at = {0};
	for (; low < search->to && site_at(search->l, low)->offset - start <= bytes; low++) {
		struct ledger_site *site = site_at(search->l, low);
		if (site->mapping != search->mapping || site->symbol.at)
			continue;
		if (!at.at && !(at = name_of(search, name)).at)
			return;
		site->symbol = at;
		site->symbol_offset = site->offset - start;
	}
}

static void name_mapping(struct search *search)
{
	const struct ledger_mapping *map = &ledger_mappings(search->l)[search->mapping];
	const struct module_places *places = mapping_places(search->mapping);
	uint32_t before = search->l->strings_used, fill = atomic_load(&fills);
	if (!module_is_loaded(map, places)) /* another library may be where this one was */
		return;
	module_symbols(map, places, name_sites, search);
	if (module_is_loaded(map, places) && atomic_load(&fills) == fill)
		return;
	for (uint32_t i = search->from; i < search->to; i++)
		if (site_at(search->l, i)->symbol.at >= before)
			site_at(search->l, i)->symbol.at = 0;
}

void symbols_fill(struct ledger_header *l)
{
	uint32_t count = 0;
	atomic_fetch_add(&fills, 1);
	for (uint32_t i = 1; i < l->sites_count; i++)
		if (ledger_sites(l)[i].mapping < l->mappings_count)
			order[count++] = (uint16_t)i;
	sort(l, count);
	struct search search = {.l = l};
	for (; search.from < count; search.from = search.to) {
		search.mapping = site_at(l, search.from)->mapping;
		for (search.to = search.from + 1; search.to < count; search.to++)
			if (site_at(l, search.to)->mapping != search.mapping)
				break;
		name_mapping(&search);
	}
}
