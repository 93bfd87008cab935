/* mapping.c: see mapping.h. Reading is lock-free: entries are only ever added, and one is complete before it is counted; but the
 * place of one that comes back elsewhere is written while others may read it, which are then wrong about code that is gone.
 */
#include "mapping.h"

#include "pools/apart.h"
#include "site.h"
#include "unwind.h"
#include "wrapper_names.h"

#include <stdatomic.h>
#include <string.h>

static APART _Atomic bool retired[LEDGER_MAPPINGS_MAX];
static APART struct module_places places[LEDGER_MAPPINGS_MAX];
static _Atomic uint32_t closing; /* calls of dlclose under way: meanwhile code may be gone that the table still has */
static __thread uint32_t own_closing __attribute__((tls_model("initial-exec"))); /* of those, this thread's */
static _Atomic uint64_t dropped;

/* Of the same file? Where it has no build-id, only a file at the same place is. */
static bool is_same(uint32_t mapping, const struct module *module)
{
	const struct ledger_mapping *map = &ledger_mappings(ledger())[mapping];
	const struct module_places *was = &places[mapping], *is = &module->places;
	bool in_place = map->start == module->start && map->limit == module->limit;
	bool moved = retired[mapping] && map->build_id_bytes && map->limit - map->start == module->limit - module->start;
	return (in_place || moved) && map->build_id_bytes == module->build_id_bytes &&
	       memcmp(map->build_id, module->build_id, module->build_id_bytes) == 0 && was->mark_bytes == is->mark_bytes &&
	       memcmp(was->mark, is->mark, is->mark_bytes) == 0;
}

static void set_retired_locked(uint32_t mapping, bool is)
{
	retired[mapping] = is;
	unwind_forget();
	sites_moved_locked(mapping);
}

void mappings_closing(int change)
{
	own_closing += (uint32_t)change;
	atomic_fetch_add_explicit(&closing, (uint32_t)change, memory_order_acq_rel);
}

/* A mapping that comes back while we look is retired wrongly, and revived by its next new allocation (is_same). */
void mappings_retire_unloaded(void)
{
	struct ledger_header *l = ledger();
	if (!l)
		return;
	sites_lock();
	uint32_t count = l->mappings_count;
	sites_unlock();
	for (uint32_t i = 0; i < count; i++) {
		if (retired[i] || module_is_loaded(&ledger_mappings(l)[i], &places[i]))
			continue;
		sites_lock();
		if (!retired[i])
			set_retired_locked(i, true);
		sites_unlock();
	}
}

static void place_locked(uint32_t mapping, const struct module *module)
{
	struct ledger_mapping *map = &ledger_mappings(ledger())[mapping];
	map->start = module->start;
	map->limit = module->limit;
	map->bias = module->bias;
	places[mapping] = module->places;
}

uint32_t mapping_add_locked(const struct module *module)
{
	struct ledger_header *l = ledger();
	for (uint32_t i = l->mappings_count; i-- > 0;)
		if (is_same(i, module)) {
			if (retired[i]) {
				place_locked(i, module);
				set_retired_locked(i, false);
			}
			return i;
		}
	uint32_t number = l->mappings_count;
	if (number == LEDGER_MAPPINGS_MAX) {
		atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
		return LEDGER_NONE;
	}
	struct ledger_mapping *map = &ledger_mappings(l)[number];
	place_locked(number, module);
	map->path = ledger_string(module->path, strlen(module->path));
	map->build_id_bytes = module->build_id_bytes;
	memcpy(map->build_id, module->build_id, sizeof(map->build_id));
	wrapper_names_read(number, module);
	l->mappings_count = number + 1;
	return number;
}

/* Sites ask module_find each time they are new, since their module may have been replaced; frames of others believe the
 * table, which dlclose keeps true; while one is under way they ask too. */
uint32_t mapping_of(uintptr_t pc)
{
	static _Atomic uint32_t last;
	uint32_t count = ledger()->mappings_count, i = atomic_load_explicit(&last, memory_order_relaxed);
	const struct ledger_mapping *maps = ledger_mappings(ledger());
	struct module module;
	bool trusted = !atomic_load_explicit(&closing, memory_order_acquire);
	for (uint32_t n = 0; trusted && n < count; n++, i = i + 1 < count ? i + 1 : 0)
		if (pc - maps[i].start < maps[i].limit - maps[i].start && !retired[i]) {
			atomic_store_explicit(&last, i, memory_order_relaxed);
			return i;
		}
	if (!module_find(pc, &module))
		return LEDGER_NONE;
	sites_lock();
	uint32_t mapping = mapping_add_locked(&module);
	sites_unlock();
	return mapping;
}

bool mapping_is_retired(uint32_t mapping)
{
	return retired[mapping];
}

const struct module_places *mapping_places(uint32_t mapping)
{
	return &places[mapping];
}

uint64_t mappings_dropped(void)
{
	return atomic_load_explicit(&dropped, memory_order_relaxed);
}

void mappings_fork_child(void)
{
	atomic_store_explicit(&closing, own_closing, memory_order_relaxed);
}
