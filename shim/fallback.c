/* fallback.c: the only file that includes jemalloc's header.
 *
 * The table: shards by address, each an open-addressed array of words  address << 16 | site  under a lock of its own.
 * User addresses fit 48 bits (57-bit ones are only given to who asks for them), sites 16. A shard doubles when it is
 * half full and is swept of tombstones then; with no memory for that, the block goes unrecorded: it still works, and
 * its free is counted as untracked.
 */
#define _GNU_SOURCE
#include "fallback.h"

#include "fallback_start.h"
#include "peak.h"
#include "pools/apart.h"
#include "pools/lock.h"
#include "pools/meta.h"
#include "pools/slab.h"
#include "request_book.h"
#include "site.h"
#include "site_peak.h"

#include <errno.h>

#define JEMALLOC_NO_RENAME 1
#define JEMALLOC_MANGLE_NOT 1
#include <jemalloc/jemalloc.h>

/* Under their private names; the build renames them in jemalloc's archive (see the Makefile). */
extern void *sluice_je_mallocx(size_t size, int flags);
extern void *sluice_je_rallocx(void *block, size_t size, int flags);
extern size_t sluice_je_sallocx(const void *block, int flags);
extern void sluice_je_dallocx(void *block, int flags);
extern int sluice_je_mallctl(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes);
extern int sluice_je_mallctlnametomib(const char *name, size_t *mib, size_t *length);
extern int sluice_je_mallctlbymib(const size_t *mib, size_t length, void *old, size_t *old_bytes, void *fresh,
                                  size_t fresh_bytes);
extern void sluice_je_malloc_stats_print(void (*write_text)(void *, const char *), void *context, const char *opts);

/* One arena: what comes here is large or rare, and jemalloc crashes when a thread's first call needs a new arena and the
 * kernel refuses the memory for it. MALLOC_CONF still has the last word. */
extern const char *sluice_je_malloc_conf;
const char *sluice_je_malloc_conf = "narenas:1";

enum { SHARDS = 64, SHARD_FIRST = 64 };

#define TOMBSTONE UINT64_C(1) /* no address is 0 */

struct shard {
	struct lock lock;
	uint32_t filled; /* entries and tombstones */
	uint32_t live;
	uint64_t mask; /* slots - 1 */
	uint64_t *slots;
};

static APART struct shard shards[SHARDS];
static _Atomic uint64_t untracked;
static _Atomic uint64_t reasons[LEDGER_REASONS];

static uint64_t hash(const void *block)
{
	return (uint64_t)((uintptr_t)block >> 4) * UINT64_C(0x9E3779B97F4A7C15);
}

static struct shard *shard_of(const void *block)
{
	return &shards[hash(block) >> 58];
}

static uint64_t word_of(const void *block, uint16_t site)
{
	return (uint64_t)(uintptr_t)block << 16 | site;
}

static uint64_t *find_locked(struct shard *shard, const void *block)
{
	if (!shard->slots)
		return NULL;
	for (uint64_t i = hash(block) >> 20;; i++) {
		uint64_t *slot = &shard->slots[i & shard->mask];
		if (*slot == 0)
			return NULL;
		if (*slot != TOMBSTONE && *slot >> 16 == (uintptr_t)block)
			return slot;
	}
}

static void put_locked(struct shard *shard, uint64_t word)
{
	uint64_t i = hash((const void *)(uintptr_t)(word >> 16)) >> 20;
	while (shard->slots[i & shard->mask] > TOMBSTONE)
		i++;
	shard->filled += shard->slots[i & shard->mask] == 0;
	shard->live++;
	shard->slots[i & shard->mask] = word;
}

/* Where no probe goes on from here, neither the slot nor the tombstones before it need to stay: so the slot before an
 * empty one is never a tombstone, and a table whose blocks are all gone is empty. */
static void remove_locked(struct shard *shard, uint64_t *slot)
{
	uint64_t i = (uint64_t)(slot - shard->slots);
	shard->live--;
	*slot = TOMBSTONE;
	if (shard->slots[(i + 1) & shard->mask])
		return;
	for (; shard->slots[i & shard->mask] == TOMBSTONE; i--) {
		shard->slots[i & shard->mask] = 0;
		shard->filled--;
	}
}

static bool make_room_locked(struct shard *shard)
{
	uint64_t count = shard->slots ? shard->mask + 1 : 0;
	if (2 * (uint64_t)(shard->filled + 1) <= count)
		return true;
	uint64_t fresh_count = SHARD_FIRST;
	while (fresh_count < 4 * (uint64_t)(shard->live + 1))
		fresh_count *= 2;
	uint64_t *old = shard->slots, *fresh = meta_take(fresh_count * sizeof(uint64_t));
	if (!fresh) /* the probes stay short all the same */
		return shard->filled + 1 <= count / 8 * 7;
	shard->slots = fresh;
	shard->mask = fresh_count - 1;
	shard->filled = shard->live = 0;
	for (uint64_t i = 0; i < count; i++)
		if (old[i] > TOMBSTONE)
			put_locked(shard, old[i]);
	if (old)
		meta_give(old, count * sizeof(uint64_t));
	return true;
}

static void record(const void *block, uint16_t site)
{
	struct shard *shard = shard_of(block);
	lock_take(&shard->lock);
	if (make_room_locked(shard))
		put_locked(shard, word_of(block, site));
	lock_drop(&shard->lock);
}

/* The site recorded, and the record gone; -1 when there is none. */
static int forget(const void *block)
{
	struct shard *shard = shard_of(block);
	lock_take(&shard->lock);
	uint64_t *slot = find_locked(shard, block);
	int site = -1;
	if (slot) {
		site = (int)(*slot & 0xffff);
		remove_locked(shard, slot);
	}
	lock_drop(&shard->lock);
	return site;
}

static void count(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

unsigned fallback_size_bucket(size_t usable)
{
	unsigned bucket = usable > 1 ? 64 - (unsigned)__builtin_clzl(usable - 1) : 0;
	return bucket < LEDGER_SIZES ? bucket : LEDGER_SIZES - 1;
}

void fallback_count_resize(struct site_fallback *on, size_t before, size_t after, size_t size, bool moved)
{
	count(&on->reallocs, 1);
	if (after > before)
		count(&on->grown, after - before);
	else
		count(&on->shrunk, before - after);
	if (moved) {
		count(&on->moved, 1);
		count(&on->copied, size < before ? size : before);
	}
}

static void count_alloc(uint16_t site, size_t size, size_t usable)
{
	struct site_fallback *on = site_fallback(site);
	count(&on->allocs, 1);
	count(&on->by_size[fallback_size_bucket(usable)], 1);
	site_peak_add(site, (int64_t)usable);
	count(&on->space, size);
	count(&on->inuse_space, usable);
	peak_note((int64_t)usable);
}

static void count_free(uint16_t site, size_t usable)
{
	struct site_fallback *on = site_fallback(site);
	count(&on->frees, 1);
	count(&on->inuse_space, -(uint64_t)usable);
	site_peak_add(site, -(int64_t)usable);
	peak_note(-(int64_t)usable);
}

void *fallback_take(size_t size, size_t align, bool zero, uintptr_t pc, enum ledger_reason why)
{
	int saved = errno;
	int flags = (align > 16 ? MALLOCX_ALIGN(align) : 0) | (zero ? MALLOCX_ZERO : 0);
	bool can = size <= PTRDIFF_MAX && fallback_start();
	void *block = can ? sluice_je_mallocx(size < 16 ? 16 : size, flags) : NULL;
	if (block) {
		uint16_t site = site_of(pc);
		record(block, site);
		count_alloc(site, size, sluice_je_sallocx(block, 0));
		count(&reasons[why], 1);
		request_book_behind(size);
	}
	errno = saved;
	return block;
}

void fallback_give(void *block)
{
	int saved = errno;
	int site = forget(block);
	if (site < 0)
		count(&untracked, 1);
	else
		count_free((uint16_t)site, sluice_je_sallocx(block, 0));
	sluice_je_dallocx(block, 0);
	errno = saved;
}

void *fallback_resize(void *block, size_t size, enum ledger_reason why)
{
	int saved = errno;
	size_t before = sluice_je_sallocx(block, 0);
	int site = forget(block); /* before: once it is free, another thread may get the address */
	void *fresh = size > PTRDIFF_MAX ? NULL : sluice_je_rallocx(block, size < 16 ? 16 : size, 0);
	if (site >= 0)
		record(fresh ? fresh : block, (uint16_t)site);
	if (fresh && site >= 0) {
		size_t after = sluice_je_sallocx(fresh, 0);
		count_free((uint16_t)site, before);
		count_alloc((uint16_t)site, size, after);
		fallback_count_resize(site_fallback((uint16_t)site), before, after, size, fresh != block);
		count(&reasons[why], 1);
		request_book_behind(size);
	}
	errno = saved;
	return fresh;
}

static uint16_t site_recorded(const void *block)
{
	struct shard *shard = shard_of(block);
	lock_take(&shard->lock);
	uint64_t *slot = find_locked(shard, block);
	uint16_t site = slot ? (uint16_t)*slot : SITE_OTHER;
	lock_drop(&shard->lock);
	return site;
}

uintptr_t fallback_pc(const void *block)
{
	return site_pc(site_recorded(block));
}

void fallback_count_move(const void *block, size_t before, size_t after, size_t size)
{
	fallback_count_resize(site_fallback(site_recorded(block)), before, after, size, true);
}

size_t fallback_usable(const void *block)
{
	return sluice_je_sallocx(block, 0);
}

uint64_t fallback_untracked(void)
{
	return atomic_load_explicit(&untracked, memory_order_relaxed);
}

uint64_t fallback_reason_count(enum ledger_reason why)
{
	return atomic_load_explicit(&reasons[why], memory_order_relaxed);
}

const char *fallback_version(void)
{
	return "jemalloc " JEMALLOC_VERSION;
}

int fallback_control(const char *name, void *old, size_t *old_bytes, void *fresh, size_t fresh_bytes)
{
	return fallback_start() ? sluice_je_mallctl(name, old, old_bytes, fresh, fresh_bytes) : EAGAIN;
}

int fallback_control_mib(const char *name, size_t *mib, size_t *length)
{
	return fallback_start() ? sluice_je_mallctlnametomib(name, mib, length) : EAGAIN;
}

int fallback_control_by_mib(const size_t *mib, size_t length, void *old, size_t *old_bytes, void *fresh, size_t bytes)
{
	return fallback_start() ? sluice_je_mallctlbymib(mib, length, old, old_bytes, fresh, bytes) : EAGAIN;
}

void fallback_stats_print(void (*write_text)(void *, const char *), void *context, const char *opts)
{
	if (fallback_start())
		sluice_je_malloc_stats_print(write_text, context, opts);
}

void fallback_trim(void)
{
	int saved = errno;
	if (!fallback_is_up())
		return;
	sluice_je_mallctl("arena.4096.purge", NULL, NULL, NULL, 0); /* MALLCTL_ARENAS_ALL */
	errno = saved;
}

/* Before it is up nobody has a shard, and its start is under a lock that fork holds too (fallback_start.h): then the locks are
 * left alone, since to write them here would copy their page in both processes. */
void fallback_fork_prepare(void)
{
	if (!fallback_is_up())
		return;
	for (int i = 0; i < SHARDS; i++)
		lock_take(&shards[i].lock);
}

void fallback_fork_parent(void)
{
	if (!fallback_is_up())
		return;
	for (int i = 0; i < SHARDS; i++)
		lock_drop(&shards[i].lock);
}

void fallback_fork_child(void)
{
	if (!fallback_is_up())
		return;
	for (int i = 0; i < SHARDS; i++)
		lock_reset(&shards[i].lock);
}
