/* facts.c: see facts.h.
 *
 * A route is of one site and one class, so its allocations are one bar of its site's histogram of sizes, exactly. The child
 * of a fork keeps how many each route had, eight bytes a route: a route's own counters are its parent's too, on pages that
 * neither has copied.
 */
#include "facts.h"

#include "confined.h"
#include "lifetime.h"
#include "pools/os.h"
#include "pools/pool.h"
#include "request_sum.h"
#include "resident.h"
#include "route.h"
#include "sample.h"
#include "sample_table.h"
#include "site.h"
#include "site_peak.h"

/* Allocations before the fork, by tag, heap after heap as their numbers say. */
static struct base {
	size_t bytes;
	uint32_t heaps;
	uint32_t first[]; /* of each heap, in what follows; one more for the end */
} * base;

static uint64_t *base_allocs(const struct base *of)
{
	size_t at = offsetof(struct base, first) + (of->heaps + 1) * sizeof(uint32_t);
	return (uint64_t *)((char *)(uintptr_t)of + ((at + 7) & -(size_t)8));
}

static uint64_t route_allocs(const struct heap *heap, uint32_t tag)
{
	return heap->caches[tag].allocs + route_at(thread_of((struct heap *)(uintptr_t)heap), tag)->realloc_allocs;
}

static uint64_t allocs_before(const struct heap *heap, uint32_t tag)
{
	if (!base || heap->id >= base->heaps)
		return 0;
	uint32_t at = base->first[heap->id] + tag - 1;
	return at < base->first[heap->id + 1] ? base_allocs(base)[at] : 0;
}

/* --- the child of a fork ------------------------------------------------------------------------------------------ */

static struct base *base_make(void)
{
	uint32_t heaps = 0, routes = 0;
	for (const struct heap *heap = heap_first(); heap; heap = heap->next) {
		heaps = heap->id >= heaps ? heap->id + 1 : heaps;
		routes += heap->tags;
	}
	struct base size = {.heaps = heaps};
	size_t bytes = (size_t)((char *)base_allocs(&size) - (char *)&size) + routes * sizeof(uint64_t);
	struct base *made = os_map(bytes);
	if (!made)
		return NULL;
	made->bytes = bytes;
	made->heaps = heaps;
	for (const struct heap *heap = heap_first(); heap; heap = heap->next)
		made->first[heap->id + 1] = heap->tags;
	for (uint32_t i = 0; i < heaps; i++)
		made->first[i + 1] += made->first[i];
	for (const struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++)
			base_allocs(made)[made->first[heap->id] + tag - 1] = route_allocs(heap, tag);
	return made;
}

/* What nobody else adds up is simply set back: few routes have any, and a write copies a page. */
static void forget_reallocs(void)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++) {
			struct route *route = route_at(thread_of(heap), tag);
			if (route->reallocs == 0)
				continue;
			route->realloc_unmoved = route->reallocs;
			route->realloc_grown = route->realloc_shrunk = 0;
			route->realloc_shrunk_copied = route->realloc_shrunk_moved = 0;
		}
}

static void forget_fallback(void)
{
	const struct ledger_header *l = ledger();
	for (uint32_t i = 0; i < l->sites_count; i++) {
		struct site_fallback *on = (struct site_fallback *)(uintptr_t)site_fallback_seen((uint16_t)i);
		if (!on || !atomic_load_explicit(&on->allocs, memory_order_relaxed))
			continue;
		on->moved = on->grown = on->shrunk = on->copied = 0;
		for (unsigned k = 0; k < LEDGER_SIZES; k++)
			on->by_size[k] = 0;
	}
}

void facts_fork_child(void)
{
	if (base)
		os_unmap(base, base->bytes);
	base = base_make();
	lifetime_fork_child();
	sample_fork_child();
	forget_reallocs();
	forget_fallback();
}

/* --- for the report ----------------------------------------------------------------------------------------------- */

static void add_route(struct ledger_facts *facts, const struct heap *heap, uint32_t tag)
{
	const struct route *route = route_at(thread_of((struct heap *)(uintptr_t)heap), tag);
	if (route->site >= facts->sites_count)
		return;
	struct ledger_fact *fact = &facts->sites[route->site];
	uint32_t size = class_table[route->class].size, bucket = 32 - (uint32_t)__builtin_clz(size - 1);
	fact->size_hist_log2[bucket] += route_allocs(heap, tag) - allocs_before(heap, tag);
	uint64_t moved = route->reallocs - route->realloc_unmoved;
	fact->realloc_moved_objects += moved;
	fact->realloc_grown_space += route->realloc_grown;
	fact->realloc_shrunk_space += route->realloc_shrunk;
	fact->realloc_copied_space += (moved - route->realloc_shrunk_moved) * size + route->realloc_shrunk_copied;
}

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_fallback(struct ledger_fact *fact, const struct site_fallback *on)
{
	for (unsigned k = 0; k < LEDGER_SIZES; k++)
		fact->size_hist_log2[k] += load(&on->by_size[k]);
	fact->realloc_moved_objects += load(&on->moved);
	fact->realloc_grown_space += load(&on->grown);
	fact->realloc_shrunk_space += load(&on->shrunk);
	fact->realloc_copied_space += load(&on->copied);
}

/* What is alive now was seen, too. */
static void add_peak(struct ledger_fact *fact, uint16_t number, uint64_t alive)
{
	const struct site_peak *peak = site_peak_seen(number);
	int64_t seen = peak ? atomic_load_explicit(&peak->seen, memory_order_relaxed) : 0;
	int64_t most = peak ? atomic_load_explicit(&peak->most, memory_order_relaxed) : 0;
	fact->max_space = seen > (int64_t)alive ? (uint64_t)seen : alive;
	fact->max_slack = most > (int64_t)fact->max_space ? (uint64_t)most - fact->max_space : 0;
}

static void add_alive(void *context, const struct lifetime_age *age)
{
	struct ledger_facts *facts = context;
	uint64_t number = age->site < facts->sites_count ? facts->sites[age->site].life : 0;
	if (!number) /* a thread has only now watched its first block of the site */
		return;
	struct ledger_life *life = &ledger_lives(facts)[number - 1];
	life->censored++;
	life->censored_weight += age->weight;
	if (age->space >= LEDGER_SHORT_SPACE) {
		life->judged++;
		life->judged_squares += (uint64_t)age->weight * age->weight;
		life->long_weight += age->weight;
	}
}

/* A thread may have told a life while it was copied: what was half told is told whole. */
static void settle_span(struct ledger_span *span)
{
	span->weight = 0;
	for (unsigned i = 0; i < LEDGER_LIVES; i++)
		span->weight += span->hist[i];
	if (span->min > span->max)
		span->min = span->max;
}

static void add_lives(struct ledger_facts *facts, uint64_t room)
{
	for (uint32_t i = 0; i < facts->sites_count; i++) {
		const struct ledger_life *life = lifetime_seen((uint16_t)i);
		if (!life || facts->lives_count == room)
			continue;
		struct ledger_life *copy = &ledger_lives(facts)[facts->lives_count];
		*copy = *life;
		settle_span(&copy->ns);
		settle_span(&copy->space);
		facts->sites[i].life = ++facts->lives_count;
	}
	lifetime_alive(add_alive, facts);
}

/* Running threads go on counting while we add up after publish() has: what came later is taken off where most is. */
static void settle(struct ledger_fact *fact, const struct ledger_site *site)
{
	uint64_t sum = 0;
	for (unsigned k = 0; k < LEDGER_SIZES; k++)
		sum += fact->size_hist_log2[k];
	while (sum != site->tally.alloc_objects) {
		unsigned most = 0;
		for (unsigned k = 0; k < LEDGER_SIZES; k++)
			most = fact->size_hist_log2[k] > fact->size_hist_log2[most] ? k : most;
		uint64_t over = sum - site->tally.alloc_objects, off = fact->size_hist_log2[most];
		off = sum > site->tally.alloc_objects && over > off ? off : over;
		fact->size_hist_log2[most] -= off;
		sum -= off;
	}
	if (fact->realloc_moved_objects > site->realloc_objects)
		fact->realloc_moved_objects = site->realloc_objects;
}

const struct ledger_facts *facts_make(const struct ledger_header *l)
{
	static struct ledger_facts *facts;
	static size_t bytes;
	if (facts)
		os_unmap(facts, bytes);
	/* Once: running threads make more of both. */
	uint32_t records = sample_table_records(), lives = lifetime_sites();
	uint32_t sites = __atomic_load_n(&l->sites_count, __ATOMIC_ACQUIRE);
	size_t lives_at = offsetof(struct ledger_facts, sites) + sites * sizeof(struct ledger_fact);
	size_t sampled_at = lives_at + lives * sizeof(struct ledger_life);
	size_t stacks_at = sampled_at + sites * sizeof(struct ledger_sampled);
	size_t requests_at = (stacks_at + records * sizeof(struct ledger_sampled_stack) + 7) & -(size_t)8;
	bytes = requests_at + sizeof(struct ledger_requests) + sites * sizeof(struct ledger_request_site);
	facts = os_map(bytes);
	if (!facts)
		return NULL;
	facts->sites_count = sites;
	facts->lives_at = lives_at;
	facts->sampled_at = sampled_at;
	facts->sampled_stacks_at = stacks_at;
	facts->requests_at = requests_at;
	for (const struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++)
			add_route(facts, heap, tag);
	for (uint32_t i = 0; i < facts->sites_count; i++) {
		const struct site_fallback *on = site_fallback_seen((uint16_t)i);
		if (on)
			add_fallback(&facts->sites[i], on);
		add_peak(&facts->sites[i], (uint16_t)i, ledger_sites(l)[i].tally.inuse_space);
		if (l->quality.live_threads)
			settle(&facts->sites[i], &ledger_sites(l)[i]);
	}
	add_lives(facts, lives);
	sample_table_fill(facts, l, records);
	requests_sum(ledger_requests(facts), l, sites);
	if (!confined())
		resident_fill(l, facts);
	return facts;
}
