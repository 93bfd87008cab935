/* huge.c: see huge.h. */
#include "huge.h"

#include "os.h"
#include "slab.h"

enum {
	WORD = 64,
	REGION_BYTES = HUGE_GRANULES << GRANULE_SHIFT,
	DENSE_OF = 8,
	UNFILLED_OF = 16,
	SLOW_NS = 2000000, /* 512 small pages take half of that; one huge page .2 ms where it is there to be had */
	PAUSE_MAX = 64
};

static struct {
	uint64_t *regions; /* a bit each */
	uint32_t count;
	bool forbidden;
	_Atomic uint32_t skip;  /* regions that are not asked for before the next one is */
	_Atomic uint32_t pause; /* what `skip` was set to last; 0: the last one came quickly */
	_Atomic int64_t unfilled;
	void (*advise)(void *start, size_t bytes, bool huge);
	uint64_t (*clock)(void);
} huge = {.advise = os_advise_huge, .clock = os_now_ns};

size_t huge_bytes(uint32_t granules)
{
	return (granules / HUGE_GRANULES / WORD + 1) * sizeof(uint64_t);
}

void huge_init(void *memory)
{
	huge.regions = memory;
}

void huge_allow(bool allowed)
{
	huge.forbidden = !allowed;
}

void huge_unfilled(int64_t bytes)
{
	if (bytes)
		atomic_fetch_add_explicit(&huge.unfilled, bytes, memory_order_relaxed);
}

bool huge_is(uint32_t granule)
{
	uint32_t region = granule / HUGE_GRANULES;
	return huge.count && huge.regions[region / WORD] >> (region % WORD) & 1;
}

uint32_t huge_count(void)
{
	return huge.count;
}

static char *region_start(uint32_t granule)
{
	return range.base + ((size_t)(granule / HUGE_GRANULES) * REGION_BYTES);
}

bool huge_wants(uint32_t granule, uint32_t used)
{
	int64_t used_bytes = (int64_t)used << GRANULE_SHIFT;
	if (huge.forbidden || used_bytes < HUGE_FROM || (uint64_t)used * DENSE_OF < (uint64_t)granule * (DENSE_OF - 1) ||
	    atomic_load_explicit(&huge.unfilled, memory_order_relaxed) > used_bytes / UNFILLED_OF)
		return false;
	uint32_t skip = atomic_load_explicit(&huge.skip, memory_order_relaxed);
	if (skip) {
		atomic_store_explicit(&huge.skip, skip - 1, memory_order_relaxed);
		return false;
	}
	uint32_t region = granule / HUGE_GRANULES;
	huge.regions[region / WORD] |= UINT64_C(1) << region % WORD;
	huge.count++;
	return true;
}

/* The first touch makes the kernel give the page, here and not in the program's code, so that its time can be taken. A thread
 * that was off its processor meanwhile only makes the next few regions small ones. */
void huge_make(uint32_t granule)
{
	char *start = region_start(granule);
	uint64_t before = huge.clock();
	huge.advise(start, REGION_BYTES, true);
	*(volatile char *)start = 0;
	bool slow = huge.clock() - before > SLOW_NS;
	uint32_t pause = atomic_load_explicit(&huge.pause, memory_order_relaxed);
	pause = !slow ? 0 : pause == 0 ? 1 : 2 * pause < PAUSE_MAX ? 2 * pause : PAUSE_MAX;
	atomic_store_explicit(&huge.pause, pause, memory_order_relaxed);
	atomic_store_explicit(&huge.skip, pause, memory_order_relaxed);
}

void huge_end(uint32_t granule)
{
	uint32_t region = granule / HUGE_GRANULES;
	huge.regions[region / WORD] &= ~(UINT64_C(1) << region % WORD);
	huge.count--;
}

void huge_split(uint32_t granule)
{
	huge.advise(region_start(granule), REGION_BYTES, false);
}

void huge_simulate(void (*advise)(void *start, size_t bytes, bool huge_pages), uint64_t (*clock)(void))
{
	huge.advise = advise;
	huge.clock = clock;
}
