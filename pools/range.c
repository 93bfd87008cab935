/* range.c: which granules are free (runs.h) and which of them hold old bytes (decay.h), under one lock.
 *
 * Purging happens outside the lock: the run is taken off the free map, purged, and put back as clean.
 *
 * Taking is first fit by address; runs.h finds the first.
 *
 * Where the machine has several memory nodes (node.h), each word of the maps, 1 MiB, belongs to the node whose thread made
 * it accessible. A thread's run comes from its own node's words, else from new ones, and only when there can be none from
 * another node's. So what one node's thread has touched and given back serves the same node. Each node has a map of its own
 * of what is free (struct runs): it shows only that node's words.
 */
#include "range.h"

#include "decay.h"
#include "huge.h"
#include "lock.h"
#include "meta.h"
#include "node.h"
#include "os.h"
#include "runs.h"

#include <string.h>

struct range range;

_Static_assert((int)RUNS_LENGTH_MAX >= (int)CLASS_SLAB_GRANULES_MAX, "no run is longer");

enum {
	RUN_MAX = CLASS_SLAB_GRANULES_MAX,
	STEP_MIN = 64, /* granules made accessible at a time: 1 MiB, whose records are one page */
	RECORDS_STEP = (64 << 10) / sizeof(struct slab),
	NODES_FROM = 4 * 64,         /* granules: nodes are not looked for before the range is that large */
	STEP_MAX = 16 * 64,          /* 16 MiB: under mlockall(MCL_FUTURE) a step is resident at once */
	PURGE_CALL_BYTES = 16 << 20, /* under a millisecond */
	REFUSED_MS = 100
};

#define NO_REGION UINT32_MAX

static struct {
	struct lock lock;
	struct runs runs[NODES_MAX]; /* what is free, by node */
	uint32_t total;              /* granules in the range */
	uint32_t top;                /* granules below it are accessible */
	uint32_t records_top;        /* their records, in larger steps */
	uint32_t used;               /* granules in slabs */
	uint32_t used_max;           /* cap */
	uint32_t used_peak;
	uint32_t purging;    /* runs that are off all maps while the kernel purges them */
	uint8_t *node_of;    /* by word; NULL: one node */
	unsigned first_node; /* its first that asked */
	bool nodes_known;
	uint64_t refused_at; /* ms; 0: the kernel's last word was yes */
	size_t purged;
} state;

/* 64 GiB, else 16, else 4; and never more than a quarter of what RLIMIT_AS leaves the program. */
static char *reserve(size_t *bytes)
{
	size_t limit = os_address_limit() / 4, least = (size_t)4 << 30;
	size_t want = *bytes & -(size_t)(STEP_MIN * GRANULE_BYTES);
	while (want > limit)
		want = want / 4 & -(size_t)(STEP_MIN * GRANULE_BYTES);
	for (; want; want = want > least ? want / 4 & -(size_t)(STEP_MIN * GRANULE_BYTES) : 0) {
		char *base = os_reserve(want, (size_t)1 << 21); /* so that huge pages can be used */
		if (base) {
			*bytes = want;
			return base;
		}
	}
	return NULL;
}

bool range_init(size_t bytes)
{
	char *base = bytes ? reserve(&bytes) : NULL;
	if (!base)
		return false;
	uint32_t total = (uint32_t)(bytes >> GRANULE_SHIFT);
	size_t slabs_bytes = (size_t)total * sizeof(struct slab);
	struct slab *slabs = os_reserve(slabs_bytes, OS_PAGE);
	size_t runs_size = runs_bytes(total), decay_size = decay_bytes(total);
	size_t maps_bytes = runs_size + decay_size + huge_bytes(total);
	char *maps = os_map(maps_bytes); /* 1.6 MiB for 64 GiB, touched as far as the heap has grown */
	if (!slabs || !maps) {
		if (slabs)
			os_unmap(slabs, slabs_bytes);
		if (maps)
			os_unmap(maps, maps_bytes);
		os_unmap(base, bytes);
		return false;
	}
	runs_init(&state.runs[0], maps, total);
	decay_init(maps + runs_size, total);
	huge_init(maps + runs_size + decay_size);
	state.total = total;
	state.used_max = total;
	range.slabs = slabs;
	range.base = base;
	range.bytes = bytes;
	return true;
}

void range_limit(size_t active_max)
{
	size_t granules = active_max >> GRANULE_SHIFT;
	state.used_max = granules < state.total ? (uint32_t)granules : state.total;
}

void range_decay_set(int64_t decay_ms)
{
	decay_period_set(decay_ms);
}

int64_t range_decay(void)
{
	return decay_period();
}

/* A program at its memory limit allocates on, from the fallback: the kernel is not asked again for every block. */
static enum range_refusal refused_locked(void)
{
	state.refused_at = os_now_ms();
	return RANGE_NO_MEMORY;
}

/* Records are made accessible in steps of the largest page any kernel has, 64 KiB. */
static bool records_reach_locked(uint32_t granules)
{
	while (state.records_top < granules) {
		uint32_t step = state.total - state.records_top < RECORDS_STEP ? state.total - state.records_top : RECORDS_STEP;
		if (!os_commit(range.slabs + state.records_top, step * sizeof(struct slab)))
			return false;
		state.records_top += step;
	}
	return true;
}

static unsigned node_of(uint32_t granule)
{
	return state.node_of ? state.node_of[granule / BITS_WORD] : 0;
}

static struct runs *runs_at(uint32_t granule)
{
	return &state.runs[node_of(granule)];
}

/* A map for the node, which has none of its own yet; false: no memory. */
static bool runs_make(unsigned node)
{
	void *memory = os_map(runs_bytes(state.total));
	if (memory)
		runs_init(&state.runs[node], memory, state.total);
	return memory;
}

/* What was accessible before nodes were looked for is said to be of the one that is first to ask. */
static void nodes_know_locked(void)
{
	state.nodes_known = true;
	uint32_t words = state.total / BITS_WORD;
	if (node_look() <= 1 || !(state.node_of = os_map(words)))
		return;
	unsigned first = node_here();
	memset(state.node_of, (int)first, state.top / BITS_WORD);
	struct runs all = state.runs[0];
	state.runs[0] = (struct runs){.free = NULL};
	state.runs[first] = all;
	state.first_node = first;
}

/* The calling thread's node; no memory to keep several apart: the first that asked. */
static unsigned node_locked(void)
{
	if (!state.nodes_known && state.top >= NODES_FROM)
		nodes_know_locked();
	if (!state.node_of)
		return 0;
	unsigned node = node_here();
	return state.runs[node].free || runs_make(node) ? node : state.first_node;
}

/* Free granules of the node at the end of what is accessible, up to RUN_MAX: a run may begin there. */
static uint32_t tail_locked(unsigned node)
{
	return runs_before(&state.runs[node], state.top, RUN_MAX);
}

static void node_set_locked(uint32_t first, uint32_t count, unsigned node)
{
	if (!state.node_of)
		return;
	memset(state.node_of + first / BITS_WORD, (int)node, count / BITS_WORD);
	node_prefer(range.base + ((size_t)first << GRANULE_SHIFT), (size_t)count << GRANULE_SHIFT, node);
}

/* Makes more accessible, for threads of the node, so that it has a free run of `granules`. Where there are huge pages or several
 * nodes, as far as one of them ends: a page is of one node. */
static enum range_refusal grow_locked(uint32_t granules, unsigned node)
{
	granules -= tail_locked(node);
	uint32_t step = state.top / 8 & ~(uint32_t)(STEP_MIN - 1);
	step = step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : step;
	if (step < granules)
		step = (granules + STEP_MIN - 1) & ~(uint32_t)(STEP_MIN - 1);
	if (state.node_of || state.top >= (uint32_t)HUGE_FROM >> GRANULE_SHIFT)
		step += -(state.top + step) & (HUGE_GRANULES - 1);
	if (step > state.total - state.top)
		step = state.total - state.top;
	if (step < granules)
		return RANGE_FULL;
	if (state.refused_at && os_now_ms() - state.refused_at < REFUSED_MS)
		return RANGE_NO_MEMORY;
	if (!os_commit(range.base + ((size_t)state.top << GRANULE_SHIFT), (size_t)step << GRANULE_SHIFT) ||
	    !records_reach_locked(state.top + step))
		return refused_locked();
	state.refused_at = 0;
	node_set_locked(state.top, step, node);
	runs_free(&state.runs[node], state.top, step);
	state.top += step;
	return RANGE_OK;
}

/* How many of the granules from `first` on are of one node. */
static uint32_t stretch(uint32_t first, uint32_t count)
{
	uint32_t end = first + count, at = first | (BITS_WORD - 1);
	if (!state.node_of)
		return count;
	while (at + 1 < end && node_of(at + 1) == node_of(first))
		at += BITS_WORD;
	return at + 1 < end ? at + 1 - first : count;
}

/* Runs that were purged cross borders between nodes. */
static void free_locked(uint32_t first, uint32_t count)
{
	for (uint32_t here; count; first += here, count -= here)
		runs_free(runs_at(first), first, here = stretch(first, count));
}

static void unfree_locked(uint32_t first, uint32_t count)
{
	for (uint32_t here; count; first += here, count -= here)
		runs_take(runs_at(first), first, here = stretch(first, count));
}

static uint32_t find_locked(unsigned granules, unsigned node)
{
	return state.runs[node].free ? runs_find(&state.runs[node], granules, 0, state.top) : state.top;
}

/* Finds a free run for a thread of the node: there, or behind all that is accessible, or at another node. */
static enum range_refusal place_locked(unsigned granules, unsigned node, uint32_t *first)
{
	enum range_refusal why = RANGE_OK;
	*first = find_locked(granules, node);
	if (*first == state.top && (why = grow_locked(granules, node)) == RANGE_OK)
		*first = find_locked(granules, node);
	for (unsigned other = 0; why != RANGE_OK && state.node_of && other < NODES_MAX; other++)
		if ((*first = find_locked(granules, other)) != state.top)
			why = RANGE_OK;
	return why;
}

/* Takes the next run to be purged off the free map; 0 when there is none. *split: first it must be told that it is no part of a
 * huge page any more. */
static uint32_t purgeable_locked(bool all, uint32_t from, uint32_t *first, bool *split)
{
	uint32_t count = decay_next(all, from, state.top, first);
	if (!count)
		return 0;
	*split = huge_is(*first);
	if (*split)
		huge_end(*first);
	unfree_locked(*first, count);
	decay_remove(*first, count);
	return count;
}

/* Purges up to `most` bytes, so that no single call of the program's pays for a whole heap. When there may be more, the
 * tick stays due. */
static size_t purge(bool all, size_t most)
{
	size_t bytes = 0;
	uint32_t first = 0, count = 0;
	for (uint32_t from = 0; bytes < most; from = first + count) {
		lock_take(&state.lock);
		bool split = false;
		count = purgeable_locked(all, from, &first, &split);
		state.purging += count != 0;
		lock_drop(&state.lock);
		if (!count)
			break;
		if (split)
			huge_split(first);
		bool clean = os_purge(range.base + ((size_t)first << GRANULE_SHIFT), (size_t)count << GRANULE_SHIFT);
		lock_take(&state.lock);
		if (clean)
			bytes += (size_t)count << GRANULE_SHIFT;
		else /* locked pages: they stay dirty */
			decay_add(first, count);
		free_locked(first, count);
		state.purging--;
		lock_drop(&state.lock);
	}
	lock_take(&state.lock);
	state.purged += bytes;
	decay_done(count == 0, state.top);
	lock_drop(&state.lock);
	return bytes;
}

/* Field by field where other threads may look: one that has just freed the last block reads owner and used once more. */
static void record_clear(struct slab *slab)
{
	atomic_store_explicit(&slab->owner, 0, memory_order_relaxed);
	slab_state_set(slab, SLAB_NONE);
	slab_used_add(slab, -(int32_t)slab_used(slab));
	slab->tags = NULL;
	slab->tag_shift = SLAB_ONE_TAG;
	slab->free = NULL;
	slab->tag = slab->pool = slab->carved = 0;
	slab->class = slab->granules = slab->charged = 0;
	slab->budgeted = slab->zeroed = slab->roomy = false;
}

/* The records behind the run's present end, up to its new one, as far as a slab of several blocks may reach. */
static void rest_make(struct slab *slab, unsigned granules)
{
	for (unsigned i = slab->granules; i < granules && i < SLAB_REST_MAX; i++) {
		slab[i].granules = (uint16_t)i;
		slab_state_set(&slab[i], SLAB_REST);
	}
	slab->granules = (uint16_t)granules;
}

static struct slab *slab_make(uint32_t first, unsigned granules, bool zeroed)
{
	struct slab *slab = &range.slabs[first];
	slab_state_set(slab,
	               SLAB_CURRENT); /* first: a bit-field is read too, and reading a fresh page is a fault of its own */
	slab->zeroed = zeroed;
	slab->granules = 1;
	rest_make(slab, granules);
	return slab;
}

/* Takes free granules off the maps. Returns how many of them were dirty. */
static uint32_t take_locked(uint32_t first, uint32_t count)
{
	unfree_locked(first, count);
	state.used += count;
	if (state.used > state.used_peak)
		state.used_peak = state.used;
	return decay_remove(first, count);
}

static bool is_of_node(uint32_t first, uint32_t count, unsigned node)
{
	for (uint32_t w = first / BITS_WORD; state.node_of && w <= (first + count - 1) / BITS_WORD; w++)
		if (state.node_of[w] != node)
			return false;
	return true;
}

/* Gives back the granules of the slab from the one at `from` on. */
static void give_locked(struct slab *slab, uint32_t from)
{
	uint32_t first = slab_index(slab) + from, count = slab->granules - from;
	for (uint32_t i = from; i < from + count && i < SLAB_REST_MAX; i++)
		record_clear(&slab[i]);
	decay_add(first, count);
	state.used -= count;
	free_locked(first, count);
}

/* Does a run that is about to be taken open a region that is to be a huge page? NO_REGION: none. */
static uint32_t region_locked(uint32_t first, uint32_t granules)
{
	uint32_t region = (first + HUGE_GRANULES - 1) / HUGE_GRANULES * HUGE_GRANULES;
	if (granules > CLASS_SHARED_GRANULES_MAX || region >= first + granules || region + HUGE_GRANULES > state.top ||
	    decay_period() == 0)
		return NO_REGION;
	if (bits_count(runs_at(region)->free, region, HUGE_GRANULES) != HUGE_GRANULES || decay_count(region, HUGE_GRANULES))
		return NO_REGION;
	return huge_wants(region, state.used) ? region : NO_REGION;
}

/* *region: that of the huge page to be made; a run opens one only where none is so far. */
static struct slab *take_run_locked(unsigned granules, unsigned node, uint32_t *region, enum range_refusal *why)
{
	uint32_t first;
	if (state.used + granules > state.used_max)
		*why = state.used_max < state.total ? RANGE_CAPACITY : RANGE_FULL;
	else
		*why = place_locked(granules, node, &first);
	if (*why)
		return NULL;
	if (*region == NO_REGION)
		*region = region_locked(first, granules);
	bool zeroed = take_locked(first, granules) == 0;
	return slab_make(first, granules, zeroed);
}

struct slab *range_take(unsigned granules, unsigned count, enum range_refusal *why)
{
	uint32_t region = NO_REGION, head = SLAB_NIL, *tail = &head;
	enum range_refusal enough;
	lock_take(&state.lock);
	unsigned node = node_locked();
	for (unsigned i = 0; i < count; i++) {
		struct slab *slab = take_run_locked(granules, node, &region, i ? &enough : why);
		if (!slab)
			break;
		*tail = slab_index(slab);
		tail = &slab->next;
	}
	*tail = SLAB_NIL;
	bool due = decay_is_due();
	lock_drop(&state.lock);
	if (region != NO_REGION)
		huge_make(region);
	if (due)
		purge(decay_period() == 0, PURGE_CALL_BYTES);
	return head == SLAB_NIL ? NULL : &range.slabs[head];
}

void range_give(struct slab *slab)
{
	lock_take(&state.lock);
	give_locked(slab, 0);
	bool due = decay_is_due();
	lock_drop(&state.lock);
	if (due)
		purge(decay_period() == 0, PURGE_CALL_BYTES);
}

bool range_extend(struct slab *slab, unsigned granules)
{
	uint32_t end = slab_index(slab) + slab->granules, more = granules - slab->granules;
	lock_take(&state.lock);
	unsigned node = node_of(end - 1);
	bool free = state.used + more <= state.used_max;
	if (free && end + more > state.top) /* to the end of what is accessible, and on */
		free = end + tail_locked(node) == state.top && grow_locked(more, node) == RANGE_OK;
	free = free && is_of_node(end, more, node) && bits_count(state.runs[node].free, end, more) == more;
	if (free) {
		take_locked(end, more);
		rest_make(slab, granules);
	}
	lock_drop(&state.lock);
	return free;
}

void range_cut(struct slab *slab, unsigned granules)
{
	lock_take(&state.lock);
	give_locked(slab, granules);
	slab->granules = (uint16_t)granules;
	bool due = decay_is_due();
	lock_drop(&state.lock);
	if (due)
		purge(decay_period() == 0, PURGE_CALL_BYTES);
}

void range_purge(const struct slab *slab)
{
	size_t bytes = (size_t)slab->granules << GRANULE_SHIFT;
	if (!os_purge(slab_start(slab), bytes))
		return;
	lock_take(&state.lock);
	state.purged += bytes;
	lock_drop(&state.lock);
}

size_t range_trim(void)
{
	return range.bytes ? purge(true, SIZE_MAX) : 0;
}

void range_shrink(size_t keep)
{
	lock_take(&state.lock);
	uint32_t left = (uint32_t)(keep >> GRANULE_SHIFT) & ~(uint32_t)(RECORDS_STEP - 1);
	if (left < state.records_top)
		left = state.records_top;
	if (keep >> GRANULE_SHIFT < state.total && left < state.total) {
		size_t bytes = (size_t)left << GRANULE_SHIFT, total = (size_t)state.total << GRANULE_SHIFT;
		size_t records = left * sizeof(struct slab), all_records = state.total * sizeof(struct slab);
		range.bytes = bytes; /* first: nobody has a block beyond it */
		os_unmap(range.base + bytes, total - bytes);
		os_unmap((char *)range.slabs + records, all_records - records);
		state.total = left;
		if (state.used_max > state.total)
			state.used_max = state.total;
	}
	lock_drop(&state.lock);
}

struct range_usage range_usage(void)
{
	size_t records = (size_t)state.top * sizeof(struct slab);
	return (struct range_usage){.active = (size_t)state.used << GRANULE_SHIFT,
	                            .peak_active = (size_t)state.used_peak << GRANULE_SHIFT,
	                            .retained = (size_t)decay_count_all() << GRANULE_SHIFT,
	                            .mapped = ((size_t)state.top << GRANULE_SHIFT) + records,
	                            .metadata = records + 3 * (size_t)state.top / 8,
	                            .purged = state.purged,
	                            .huge = (size_t)huge_count() * HUGE_GRANULES << GRANULE_SHIFT,
	                            .granules = state.top};
}

bool range_is_free(uint32_t granule)
{
	return bit_test(runs_at(granule)->free, granule);
}

void range_fork_prepare(void)
{
	lock_take(&state.lock);
}

void range_fork_parent(void)
{
	lock_drop(&state.lock);
}

/* A run that another thread was having purged is on no map here, and that thread is not here either. */
void range_fork_child(void)
{
	for (uint32_t i = 0, count; state.purging && i < state.top; i += count) {
		count = 1;
		if (slab_state(&range.slabs[i]) != SLAB_NONE) {
			count = range.slabs[i].granules;
		} else if (!range_is_free(i)) {
			decay_add(i, 1);
			free_locked(i, 1);
		}
	}
	state.purging = 0;
	lock_reset(&state.lock);
}
