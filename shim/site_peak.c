/* site_peak.c: see site_peak.h.
 *
 * The sums are the process's, so threads add to them atomically; while there is only one thread, which glibc says, they are
 * added to as any variable is (two locked instructions at each refill are what a program of one thread would notice).
 */
#include "site_peak.h"

#include "pools/apart.h"
#include "pools/meta.h"

enum { CHUNK = 64 };

static APART void *_Atomic chunks[LEDGER_SITES_MAX / CHUNK + 1];
static struct site_peak nowhere; /* for sites whose memory was refused */

extern char single_threaded __asm__("__libc_single_threaded") __attribute__((weak)); /* glibc 2.32 */

static bool is_alone(void)
{
	return &single_threaded && single_threaded;
}

static struct site_peak *peak_of(uint16_t site)
{
	struct site_peak *chunk = meta_chunk(&chunks[site / CHUNK], CHUNK * sizeof(*chunk));
	return chunk ? &chunk[site % CHUNK] : &nowhere;
}

/* The sum afterwards. */
static int64_t add(_Atomic int64_t *sum, int64_t by, bool alone)
{
	if (!alone)
		return atomic_fetch_add_explicit(sum, by, memory_order_relaxed) + by;
	int64_t now = atomic_load_explicit(sum, memory_order_relaxed) + by;
	atomic_store_explicit(sum, now, memory_order_relaxed);
	return now;
}

static void raise_to(_Atomic int64_t *highest, int64_t now, bool alone)
{
	int64_t before = atomic_load_explicit(highest, memory_order_relaxed);
	if (now > before && alone)
		atomic_store_explicit(highest, now, memory_order_relaxed);
	while (now > before && !alone &&
	       !atomic_compare_exchange_weak_explicit(highest, &before, now, memory_order_relaxed, memory_order_relaxed))
		;
}

/* Numbers of blocks are kept modulo 2^32: what they changed by is right as long as that is less than 2^31. */
void site_peak_note(struct route *route, const struct cache *cache, uint32_t taken)
{
	struct site_peak *peak = peak_of(route->site);
	int64_t size = class_table[route->class].size;
	uint32_t held = (uint32_t)cache->supplied, floor = held - cache->most;
	int32_t more_held = (int32_t)(held - route->told_held), more_floor = (int32_t)(floor - route->told_floor);
	bool alone = is_alone();
	route->told_held = held;
	route->told_floor = floor;
	raise_to(&peak->most, add(&peak->held, more_held * size, alone), alone);
	raise_to(&peak->seen, add(&peak->floor, more_floor * size, alone) + (cache->room + taken) * size, alone);
}

void site_peak_add(uint16_t site, int64_t bytes)
{
	struct site_peak *peak = peak_of(site);
	bool alone = is_alone();
	raise_to(&peak->most, add(&peak->held, bytes, alone), alone);
	raise_to(&peak->seen, add(&peak->floor, bytes, alone), alone);
}

const struct site_peak *site_peak_seen(uint16_t site)
{
	struct site_peak *chunk = atomic_load_explicit(&chunks[site / CHUNK], memory_order_acquire);
	return chunk ? &chunk[site % CHUNK] : NULL;
}
