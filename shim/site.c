/* site.c: the ledger's region and the table of sites in it.
 *
 * Reading is lock-free: `index` maps a hash of the pc to a site number by linear probing, entries are only ever added,
 * and a site's record is complete before its number is stored. The hash keeps neighbouring call sites in neighbouring
 * entries, so a small program touches few of the table's pages.
 */
#define _GNU_SOURCE
#include "site.h"

#include "context.h"
#include "frame.h"
#include "mapping.h"
#include "pools/apart.h"
#include "pools/lock.h"
#include "pools/meta.h"
#include "pools/os.h"
#include "route.h"
#include "wrapper_names.h"

#include <string.h>

enum { PAGE_MAX = 64 << 10, INDEX_FIRST = 1 << 11, INDEX_SLOTS = 1 << 17, SITES_STEP = 256, FALLBACK_CHUNK = 64 };

/* Site numbers; 0 is never stored. As much of it is used as is needed, so that few pages are touched; who reads while it
 * grows may miss, and looks again under the lock. */
static APART _Atomic uint16_t index_table[INDEX_SLOTS];
static _Atomic uint32_t index_mask = INDEX_FIRST - 1;
static APART uint32_t site_slots[LEDGER_SITES_MAX + 1]; /* where in it a site is found; other entries of it are stale */
static uint32_t index_used;
static _Atomic uint32_t rebuilds; /* twice the times it was; odd while it is */
static struct ledger_header *region;
static uint32_t sites_max = LEDGER_SITES_MAX, sites_committed;
static _Atomic bool full; /* as add_locked found it: nobody need take the lock to hear it again */
static struct lock lock;
static struct site_fallback other_fallback;
static APART void *_Atomic fallback_chunks[LEDGER_SITES_MAX / FALLBACK_CHUNK + 1];

static uint32_t hash(uintptr_t pc)
{
	return (uint32_t)((pc >> 2) ^ (pc >> 21));
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
	lay.frames_at = sites_end(&lay, LEDGER_SITES_MAX + 1);
	lay.stacks_at = lay.frames_at + round_page(LEDGER_FRAMES_MAX * sizeof(struct ledger_frame));
	lay.stack_ids_at = lay.stacks_at + round_page(LEDGER_STACKS_MAX * sizeof(struct ledger_stack));
	lay.total_bytes = lay.stack_ids_at + round_page(LEDGER_STACK_IDS_MAX * sizeof(uint32_t));
	lay.strings_used = 1;
	lay.sites_count = 1; /* "other" */
	struct ledger_header *fresh = os_reserve(lay.total_bytes, OS_PAGE);
	sites_committed = SITES_STEP;
	if (!fresh || !os_commit(fresh, sites_end(&lay, SITES_STEP)))
		return false;
	*fresh = lay;
	memcpy(fresh->magic, LEDGER_MAGIC, sizeof(fresh->magic));
	ledger_sites(fresh)[SITE_OTHER].mapping = LEDGER_NONE;
	ledger_sites(fresh)[SITE_OTHER].stack = LEDGER_NONE;
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

static uint16_t find(uintptr_t pc)
{
	uint32_t mask = atomic_load_explicit(&index_mask, memory_order_acquire);
	for (uint32_t slot = hash(pc) & mask;; slot = (slot + 1) & mask) {
		uint16_t site = atomic_load_explicit(&index_table[slot], memory_order_acquire);
		if (site == 0 || ledger_sites(region)[site].pc == pc)
			return site;
	}
}

/* false: no room. Entries whose site is found elsewhere by now give their place. */
static bool index_put_locked(uint16_t number, uintptr_t context)
{
	uint32_t mask = index_mask;
	for (uint32_t slot = hash(context) & mask;; slot = (slot + 1) & mask) {
		uint16_t is = atomic_load_explicit(&index_table[slot], memory_order_relaxed);
		if (is == 0 && index_used >= mask / 8 * 7)
			return false;
		if (is != 0 && is != number && site_slots[is] == slot)
			continue;
		index_used += is == 0;
		site_slots[number] = slot;
		atomic_store_explicit(&index_table[slot], number, memory_order_release);
		return true;
	}
}

/* With so many slots, and nothing stale in them. */
static void index_rebuild_locked(uint32_t slots)
{
	atomic_fetch_add_explicit(&rebuilds, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release); /* partner: known_for_sure */
	for (uint32_t i = 0; i <= index_mask; i++)
		atomic_store_explicit(&index_table[i], 0, memory_order_relaxed);
	index_used = 0;
	atomic_store_explicit(&index_mask, slots - 1, memory_order_release);
	for (uint32_t i = 1; i < region->sites_count; i++)
		index_put_locked((uint16_t)i, ledger_sites(region)[i].pc);
	atomic_fetch_add_explicit(&rebuilds, 1, memory_order_release);
}

static bool index_locked(uint16_t number, uintptr_t context)
{
	uint32_t slots = index_mask + 1;
	if (2 * index_used > index_mask && 4 * (index_used - region->sites_count) > slots &&
	    index_used > region->sites_count)
		index_rebuild_locked(slots); /* libraries came and went */
	else if (2 * index_used > index_mask && slots < INDEX_SLOTS)
		index_rebuild_locked(2 * slots);
	return index_put_locked(number, context);
}

void site_rename_locked(uint16_t number, uintptr_t context)
{
	/* A thread that is in the old code's allocation at this moment may count it once more on the old one; there is none
	 * when the code is unloaded. */
	ledger_sites(region)[number].pc = context;
	routes_rename(number, context);
}

void site_move_locked(uint16_t number, uintptr_t context)
{
	site_rename_locked(number, context && index_locked(number, context) ? context : SITE_RETIRED | number);
}

static uint32_t key_frames(const struct ledger_site *site)
{
	return site->stack == LEDGER_NONE ? 1 : site->key_frames;
}

/* The `i`th return address of the site's key. */
static struct ledger_frame key_frame(const struct ledger_site *site, uint32_t i)
{
	uint32_t count;
	if (site->stack == LEDGER_NONE)
		return (struct ledger_frame){.offset = site->offset, .mapping = site->mapping};
	return ledger_frames(region)[stack_frames(site->stack, &count)[i]];
}

static bool key_is_in(const struct ledger_site *site, uint32_t mapping)
{
	for (uint32_t i = 0; i < key_frames(site); i++)
		if (key_frame(site, i).mapping == mapping)
			return true;
	return false;
}

/* As its key's return addresses are now; 0: one is nowhere. */
static uintptr_t context_now(const struct ledger_site *site)
{
	uintptr_t context = 0;
	for (uint32_t i = 0; i < key_frames(site); i++) {
		const struct ledger_frame frame = key_frame(site, i);
		uintptr_t pc = frame_pc(&frame);
		if (!pc)
			return 0;
		context = i ? context_extend(context, pc) : pc;
	}
	return context;
}

/* A wrapper's routes are never asked for by its context, whether it is there or not. */
static void move_locked(uint16_t number)
{
	const struct ledger_site *site = &ledger_sites(region)[number];
	uintptr_t context = context_now(site);
	bool is_wrapper = context_moved_locked(number, context);
	if (!is_wrapper && site->pc != context)
		site_move_locked(number, context);
}

void sites_moved_locked(uint32_t mapping)
{
	for (uint32_t i = 1; i < region->sites_count; i++)
		if (key_is_in(&ledger_sites(region)[i], mapping))
			move_locked((uint16_t)i);
}

/* What a new site is made of. */
struct birth {
	uintptr_t context, pc; /* the last return address of its key */
	const struct module *module;
	const uint32_t *frames; /* its stack, if it is known */
	uint32_t frames_count, key_frames;
	bool truncated;
};

/* The frame that the site is at: module_find may meanwhile say another mapping of the same file. */
static uint32_t last_of_key(const struct birth *b)
{
	return b->key_frames && b->key_frames <= b->frames_count ? b->frames[b->key_frames - 1] : LEDGER_NONE;
}

/* The context's site, also where it is a wrapper's: learned by another thread a moment ago, or come back with its library. */
static uint16_t known(uintptr_t context)
{
	uint16_t site = find(context);
	const struct wrapper *wrapper = site ? NULL : context_wrapper(context);
	return wrapper ? (uint16_t)atomic_load_explicit(&wrapper->how, memory_order_relaxed) : site;
}

/* Once more where the index was rebuilt meanwhile, and a site not in it for a moment. */
static uint16_t known_for_sure(uintptr_t context)
{
	uint32_t before = atomic_load_explicit(&rebuilds, memory_order_acquire);
	uint16_t site = known(context);
	atomic_thread_fence(memory_order_acquire);
	if (site || (before % 2 == 0 && atomic_load_explicit(&rebuilds, memory_order_relaxed) == before))
		return site;
	sites_lock();
	site = known(context);
	sites_unlock();
	return site;
}

static uint16_t add_locked(const struct birth *b)
{
	uint32_t number = region->sites_count;
	uint32_t mapping = b->module ? mapping_add_locked(b->module) : LEDGER_NONE;
	uint16_t revived = known(b->context); /* the module came back */
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
	uint32_t stack = b->frames_count ? stack_add_locked(b->frames, b->frames_count, b->truncated) : LEDGER_NONE;
	if (stack == LEDGER_NONE && b->key_frames > 1)
		return SITE_OTHER;
	struct ledger_site *site = &ledger_sites(region)[number];
	site->pc = b->context;
	site->mapping = mapping;
	site->offset = b->module ? b->pc - b->module->bias : b->pc;
	uint32_t last = stack != LEDGER_NONE ? last_of_key(b) : LEDGER_NONE;
	if (last != LEDGER_NONE) {
		site->mapping = ledger_frames(region)[last].mapping;
		site->offset = ledger_frames(region)[last].offset;
	}
	site->stack = stack;
	site->key_frames = b->key_frames;
	if (!index_locked((uint16_t)number, b->context))
		return SITE_OTHER;
	region->sites_count = number + 1;
	return (uint16_t)number;
}

static uint16_t intern(struct birth *b)
{
	struct module module;
	b->module = module_find(b->pc, &module) ? &module : NULL;
	sites_lock();
	uint16_t site = known(b->context);
	if (site == 0)
		site = add_locked(b);
	sites_unlock();
	b->module = NULL; /* was ours */
	return site;
}

bool sites_are_full(void)
{
	return atomic_load_explicit(&full, memory_order_relaxed);
}

uint16_t site_find(uintptr_t context)
{
	return region && context > 1 ? find(context) : SITE_OTHER;
}

uint16_t site_of(uintptr_t context)
{
	if (context & SITE_RETIRED)
		return (uint16_t)context;
	if (!region || context <= 1) /* 1 stands for "other" where a return address is asked for */
		return SITE_OTHER;
	uint16_t site = known_for_sure(context);
	if (site || sites_are_full() || context & CONTEXT_EXTENDED)
		return site;
	uint32_t frame = frame_of(context);
	struct birth birth = {.context = context,
	                      .pc = context,
	                      .frames = &frame,
	                      .frames_count = frame != LEDGER_NONE,
	                      .key_frames = 1,
	                      .truncated = true};
	return intern(&birth);
}

uint16_t site_born(uintptr_t context, const struct unwound *seen, uint32_t key_frames_count)
{
	uint32_t frames[UNWIND_FRAMES_MAX], count = 0;
	if (!region || sites_are_full())
		return SITE_OTHER;
	while (count < seen->count && (frames[count] = frame_of(seen->pcs[count])) != LEDGER_NONE)
		count++;
	if (count < key_frames_count && key_frames_count > 1)
		return SITE_OTHER;
	struct birth birth = {.context = context,
	                      .pc = seen->pcs[key_frames_count - 1],
	                      .frames = frames,
	                      .frames_count = count,
	                      .key_frames = key_frames_count,
	                      .truncated = !seen->whole || count < seen->count};
	return intern(&birth);
}

bool site_is_listed(uint16_t site)
{
	const struct ledger_site *is = &ledger_sites(region)[site];
	return is->mapping != LEDGER_NONE && wrapper_names_hold(is->mapping, is->offset);
}

bool site_pc_is_listed(uintptr_t pc)
{
	uint32_t mapping = mapping_of(pc);
	return mapping != LEDGER_NONE && wrapper_names_hold(mapping, pc - ledger_mappings(region)[mapping].bias);
}

void sites_lock(void)
{
	lock_take(&lock);
}

bool sites_try_lock(void)
{
	return lock_try(&lock);
}

void sites_unlock(void)
{
	lock_drop(&lock);
}

uintptr_t site_pc(uint16_t site)
{
	return region ? ledger_sites(region)[site].pc : 0;
}

struct site_fallback *site_fallback(uint16_t site)
{
	struct site_fallback *chunk = meta_chunk(&fallback_chunks[site / FALLBACK_CHUNK], FALLBACK_CHUNK * sizeof(*chunk));
	return chunk ? &chunk[site % FALLBACK_CHUNK] : &other_fallback;
}

const struct site_fallback *site_fallback_seen(uint16_t site)
{
	struct site_fallback *chunk = atomic_load_explicit(&fallback_chunks[site / FALLBACK_CHUNK], memory_order_acquire);
	return chunk ? &chunk[site % FALLBACK_CHUNK] : NULL;
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
	mappings_fork_child();
	lock_reset(&lock);
}
