/* site.c: the ledger's region and the table of sites in it.
 *
 * Reading is lock-free: `index` maps a hash of the pc to a site number by linear probing, entries are only ever added,
 * and a site's record is complete before its number is stored. The hash keeps neighbouring call sites in neighbouring
 * entries, so a small program touches few of the table's pages.
 */
#define _GNU_SOURCE
#include "site.h"

#include "pools/apart.h"
#include "pools/lock.h"
#include "pools/meta.h"
#include "pools/os.h"
#include "route.h"

#include <string.h>

enum { PAGE_MAX = 64 << 10, INDEX_SLOTS = 1 << 17, SITES_STEP = 256, FALLBACK_CHUNK = 64 };

static APART _Atomic uint16_t index_table[INDEX_SLOTS]; /* site number + 0: site 0 is never stored */
static struct ledger_header *region;
static uint32_t sites_max = LEDGER_SITES_MAX, sites_committed;
static _Atomic bool full; /* as add_locked found it: nobody need take the lock to hear it again */
static struct lock lock;
static APART _Atomic bool mapping_retired[LEDGER_MAPPINGS_MAX];
static APART struct module_places places[LEDGER_MAPPINGS_MAX];
static _Atomic uint64_t dropped_mappings;
static struct site_fallback other_fallback;
static APART struct site_fallback *_Atomic fallback_chunks[LEDGER_SITES_MAX / FALLBACK_CHUNK + 1];

static uint32_t hash(uintptr_t pc)
{
	return (uint32_t)((pc >> 2) ^ (pc >> 21)) & (INDEX_SLOTS - 1);
}

/* To the largest page any kernel has. */
static size_t round_page(size_t bytes)
{
	return (bytes + PAGE_MAX - 1) & -(size_t)PAGE_MAX;
}

/* Where the pages of the first `count` sites end, from the ledger's start, which the kernel puts at a page of its size. */
static size_t sites_end(const struct ledger_header *lay, uint32_t count)
{
	return lay->sites_at + round_page(count * sizeof(struct ledger_site));
}

bool sites_init(void)
{
	struct ledger_header lay = {.header_bytes = sizeof(lay), .version = LEDGER_VERSION, .sites_max = LEDGER_SITES_MAX};
	lay.strings_at = sizeof(lay); /* the first of them share the header's page */
	lay.classes_at = (lay.strings_at + LEDGER_STRINGS_BYTES + 63) & -(size_t)64;
	lay.mappings_at = lay.classes_at + LEDGER_CLASSES_MAX * sizeof(struct ledger_class);
	lay.threads_at = lay.mappings_at + LEDGER_MAPPINGS_MAX * sizeof(struct ledger_mapping);
	lay.sites_at = round_page(lay.threads_at + LEDGER_THREADS_MAX * sizeof(struct ledger_thread));
	lay.total_bytes = sites_end(&lay, LEDGER_SITES_MAX + 1);
	lay.strings_used = 1;
	lay.sites_count = 1; /* "other" */
	struct ledger_header *fresh = os_reserve(lay.total_bytes, OS_PAGE);
	sites_committed = SITES_STEP;
	if (!fresh || !os_commit(fresh, sites_end(&lay, SITES_STEP)))
		return false;
	*fresh = lay;
	memcpy(fresh->magic, LEDGER_MAGIC, sizeof(fresh->magic));
	ledger_sites(fresh)[SITE_OTHER].mapping = LEDGER_NONE;
	region = fresh;
	return true;
}

void sites_limit(uint32_t max)
{
	sites_max = max;
	atomic_store_explicit(&full, false, memory_order_relaxed);
}

struct ledger_header *ledger(void)
{
	return region;
}

struct ledger_string ledger_string(const char *text, size_t bytes)
{
	struct ledger_string at = {0};
	if (!region)
		return at;
	uint32_t used = __atomic_load_n(&region->strings_used, __ATOMIC_RELAXED);
	do {
		if (bytes >= LEDGER_STRINGS_BYTES - used)
			return at;
	} while (!__atomic_compare_exchange_n(&region->strings_used, &used, used + (uint32_t)bytes + 1, true,
	                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	at.at = used;
	memcpy(ledger_strings(region) + at.at, text, bytes);
	ledger_strings(region)[at.at + bytes] = 0;
	return at;
}

static uint16_t find(uintptr_t pc, uint32_t *slot)
{
	for (*slot = hash(pc);; *slot = (*slot + 1) & (INDEX_SLOTS - 1)) {
		uint16_t site = atomic_load_explicit(&index_table[*slot], memory_order_acquire);
		if (site == 0 || ledger_sites(region)[site].pc == pc)
			return site;
	}
}

static bool is_same(uint32_t mapping, const struct module *module)
{
	const struct ledger_mapping *map = &ledger_mappings(region)[mapping];
	const struct module_places *was = &places[mapping], *is = &module->places;
	return map->start == module->start && map->limit == module->limit &&
	       map->build_id_bytes == module->build_id_bytes &&
	       memcmp(map->build_id, module->build_id, module->build_id_bytes) == 0 && was->mark_bytes == is->mark_bytes &&
	       memcmp(was->mark, is->mark, is->mark_bytes) == 0;
}

/* The site's address changes its meaning: from now on it is found by `pc`, on every thread. A thread that is in the old
 * code's allocation at this moment may count it once more on the old one; there is none when the code is unloaded. */
static void rename_site_locked(uint16_t number, uint64_t pc)
{
	ledger_sites(region)[number].pc = pc;
	routes_rename(number, pc);
}

static void retire_locked(uint32_t mapping, bool retired)
{
	mapping_retired[mapping] = retired;
	for (uint32_t i = 1; i < region->sites_count; i++) {
		const struct ledger_site *site = &ledger_sites(region)[i];
		if (site->mapping == mapping)
			rename_site_locked((uint16_t)i,
			                   retired ? SITE_RETIRED | i : site->offset + ledger_mappings(region)[mapping].bias);
	}
}

/* A mapping that comes back while we look is retired wrongly, and revived by its next new allocation (is_same). */
void sites_retire_unloaded(void)
{
	if (!region)
		return;
	lock_take(&lock);
	uint32_t count = region->mappings_count;
	lock_drop(&lock);
	for (uint32_t i = 0; i < count; i++) {
		if (mapping_retired[i] || module_is_loaded(&ledger_mappings(region)[i], &places[i]))
			continue;
		lock_take(&lock);
		if (!mapping_retired[i])
			retire_locked(i, true);
		lock_drop(&lock);
	}
}

/* A module's mapping, added when it is new. The module was found by the caller, outside the lock. */
static uint32_t mapping_of_locked(const struct module *module)
{
	struct ledger_mapping *maps = ledger_mappings(region);
	for (uint32_t i = region->mappings_count; i-- > 0;)
		if (is_same(i, module)) {
			if (mapping_retired[i])
				retire_locked(i, false);
			return i;
		}
	if (region->mappings_count == LEDGER_MAPPINGS_MAX) {
		atomic_fetch_add_explicit(&dropped_mappings, 1, memory_order_relaxed);
		return LEDGER_NONE;
	}
	struct ledger_mapping *map = &maps[region->mappings_count];
	map->start = module->start;
	map->limit = module->limit;
	map->bias = module->bias;
	map->path = ledger_string(module->path, strlen(module->path));
	map->build_id_bytes = module->build_id_bytes;
	memcpy(map->build_id, module->build_id, sizeof(map->build_id));
	places[region->mappings_count] = module->places;
	return region->mappings_count++;
}

static uint16_t add_locked(uintptr_t pc, const struct module *module)
{
	uint32_t number = region->sites_count, slot;
	uint32_t mapping = module ? mapping_of_locked(module) : LEDGER_NONE;
	uint16_t revived = find(pc, &slot); /* the module came back */
	if (revived)
		return revived;
	if (number >= sites_max) {
		atomic_store_explicit(&full, true, memory_order_relaxed);
		return SITE_OTHER;
	}
	if (number >= sites_committed) {
		size_t page = sites_end(region, sites_committed), limit = sites_end(region, sites_committed + SITES_STEP);
		if (limit > page && !os_commit((char *)region + page, limit - page))
			return SITE_OTHER;
		sites_committed += SITES_STEP;
	}
	struct ledger_site *site = &ledger_sites(region)[number];
	site->pc = pc;
	site->mapping = mapping;
	site->offset = module ? pc - module->bias : pc;
	region->sites_count = number + 1;
	atomic_store_explicit(&index_table[slot], (uint16_t)number, memory_order_release);
	return (uint16_t)number;
}

static uint16_t intern(uintptr_t pc)
{
	struct module module;
	bool known = module_find(pc, &module);
	lock_take(&lock);
	uint32_t slot;
	uint16_t site = find(pc, &slot);
	if (site == 0)
		site = add_locked(pc, known ? &module : NULL);
	lock_drop(&lock);
	return site;
}

uint16_t site_of(uintptr_t pc)
{
	uint32_t slot;
	if (pc & SITE_RETIRED)
		return (uint16_t)pc;
	if (!region || pc <= 1) /* 1 stands for "other" where a return address is asked for */
		return SITE_OTHER;
	uint16_t site = find(pc, &slot);
	return site ? site : atomic_load_explicit(&full, memory_order_relaxed) ? SITE_OTHER : intern(pc);
}

uintptr_t site_pc(uint16_t site)
{
	return region ? ledger_sites(region)[site].pc : 0;
}

struct site_fallback *site_fallback(uint16_t site)
{
	struct site_fallback *_Atomic *home = &fallback_chunks[site / FALLBACK_CHUNK];
	struct site_fallback *chunk = atomic_load_explicit(home, memory_order_acquire);
	if (!chunk) {
		struct site_fallback *fresh = meta_take(FALLBACK_CHUNK * sizeof(*fresh));
		if (!fresh)
			return &other_fallback;
		if (atomic_compare_exchange_strong(home, &chunk, fresh))
			chunk = fresh;
		else
			meta_give(fresh, FALLBACK_CHUNK * sizeof(*fresh));
	}
	return &chunk[site % FALLBACK_CHUNK];
}

const struct site_fallback *site_fallback_seen(uint16_t site)
{
	struct site_fallback *chunk = atomic_load_explicit(&fallback_chunks[site / FALLBACK_CHUNK], memory_order_acquire);
	return chunk ? &chunk[site % FALLBACK_CHUNK] : NULL;
}

const struct module_places *mapping_places(uint32_t mapping)
{
	return &places[mapping];
}

uint64_t mappings_dropped(void)
{
	return atomic_load_explicit(&dropped_mappings, memory_order_relaxed);
}

void sites_fork_prepare(void)
{
	lock_take(&lock);
}

void sites_fork_parent(void)
{
	lock_drop(&lock);
}

void sites_fork_child(void)
{
	lock_reset(&lock);
}
