/* symbols.c: every module's dynamic symbols are read once, and each is looked up among the sites: a heap-sorted list
 * of site numbers by pc, so the cost is (symbols + sites) x log(sites), and no memory is needed but that list.
 */
#include "symbols.h"

#include "module.h"

#include <string.h>

static uint16_t order[LEDGER_SITES_MAX + 1];

struct search {
	struct ledger_header *l;
	uint32_t count;
};

static uint64_t pc_at(const struct ledger_header *l, uint32_t i)
{
	return ledger_sites(l)[order[i]].pc;
}

static void sift(const struct ledger_header *l, uint32_t root, uint32_t count)
{
	for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
		if (child + 1 < count && pc_at(l, child + 1) > pc_at(l, child))
			child++;
		if (pc_at(l, root) >= pc_at(l, child))
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

static void name_sites(void *context, uintptr_t start, size_t bytes, const char *name)
{
	struct search *search = context;
	struct ledger_site *sites = ledger_sites(search->l);
	uint32_t low = 0, high = search->count;
	while (low < high) { /* first pc above start: a return address is behind its call */
		uint32_t middle = (low + high) / 2;
		if (pc_at(search->l, middle) <= start)
			low = middle + 1;
		else
			high = middle;
	}
	struct ledger_string at = {0};
	for (; low < search->count && pc_at(search->l, low) <= start + bytes; low++) {
		struct ledger_site *site = &sites[order[low]];
		if (site->symbol.at)
			continue;
		size_t length = strlen(name), room = LEDGER_STRINGS_BYTES - search->l->strings_used;
		if (!at.at && length + 1 < room) {
			at.at = search->l->strings_used;
			memcpy(ledger_strings(search->l) + at.at, name, length + 1);
			search->l->strings_used += (uint32_t)length + 1;
		}
		site->symbol = at;
		site->symbol_offset = site->pc - start;
	}
}

void symbols_fill(struct ledger_header *l)
{
	struct search search = {.l = l};
	for (uint32_t i = 1; i < l->sites_count; i++)
		if (ledger_sites(l)[i].mapping != LEDGER_NONE)
			order[search.count++] = (uint16_t)i;
	sort(l, search.count);
	uint32_t last = LEDGER_NONE;
	for (uint32_t i = 0; i < search.count; i++) {
		const struct ledger_site *site = &ledger_sites(l)[order[i]];
		if (site->mapping == last)
			continue;
		last = site->mapping;
		struct module now; /* another library may be where this one was */
		const struct ledger_mapping *map = &ledger_mappings(l)[last];
		if (module_find(site->pc, &now) && now.start == map->start && now.build_id_bytes == map->build_id_bytes &&
		    memcmp(now.build_id, map->build_id, now.build_id_bytes) == 0)
			module_symbols(site->pc, name_sites, &search);
	}
}
