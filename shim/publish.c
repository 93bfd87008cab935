/* publish.c: see publish.h.
 *
 * Where the numbers come from, per (thread, site, class), that is per route:
 *   allocations, bytes   the cache's allocs and space + reallocs in place
 *   frees                the cache's frees + what lies on slabs' remote lists + reallocs in place
 * and for the fallback, per site, struct site_fallback. Sums by site, by class and by route are made from these same
 * items, side by side: they must agree, and every test checks that they do.
 *
 * A fork's child starts with all of its parent's counts. They are summed up once, in the child, and taken off later.
 */
#define _GNU_SOURCE
#include "publish.h"

#include "conf.h"
#include "confined.h"
#include "fallback.h"
#include "module.h"
#include "peak.h"
#include "pools/lock.h"
#include "pools/meta.h"
#include "pools/os.h"
#include "pools/pool.h"
#include "process.h"
#include "route.h"
#include "site.h"
#include "symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Atomic int64_t peak_live, peak_highest;

static struct ledger_site *base_sites; /* at the fork; NULL in a process that was not forked */
static uint32_t base_sites_count;
static struct ledger_class base_classes[CLASSES];
static struct ledger_tally base_routes[LEDGER_ROUTES];
static uint64_t base_reasons[LEDGER_REASONS];
static struct lock threads_lock;
static struct lock publish_lock; /* the ledger is one: two at once would add into each other's sums */
static uint64_t dropped_threads;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;
	return clock_gettime(clock, &now) ? 0 : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t started_ns; /* monotonic */

/* --- summing up ------------------------------------------------------------------------------------------------- */

static const enum ledger_route route_names[ROUTE_KINDS] = {[KIND_OWNED] = ROUTE_OWNED, [KIND_SHARED] = ROUTE_SHARED};

static void add_alloc(struct ledger_tally *tally, uint64_t objects, uint64_t space, uint64_t size)
{
	tally->alloc_objects += objects;
	tally->alloc_space += space;
	tally->inuse_objects += objects;
	tally->inuse_space += objects * size;
}

static void add_free(struct ledger_tally *tally, uint64_t objects, uint64_t size)
{
	tally->free_objects += objects;
	tally->inuse_objects -= objects;
	tally->inuse_space -= objects * size;
}

static void count_allocs(struct ledger_header *l, uint16_t site, unsigned class, enum ledger_route route,
                         uint64_t objects, uint64_t space)
{
	struct ledger_site *record = &ledger_sites(l)[site];
	uint64_t size = class_table[class].size;
	add_alloc(&record->tally, objects, space, size);
	add_alloc(&ledger_classes(l)[class].tally, objects, space, size);
	l->routes[route].alloc_objects += objects;
	l->routes[route].alloc_space += space;
	record->route_objects[route] += objects;
	record->route_space[route] += space;
}

static void count_frees(struct ledger_header *l, uint16_t site, unsigned class, uint64_t objects)
{
	uint64_t size = class_table[class].size;
	add_free(&ledger_sites(l)[site].tally, objects, size);
	add_free(&ledger_classes(l)[class].tally, objects, size);
}

/* A running thread may go on counting, so every counter is read once, and frees before allocs: then no block is freed
 * that was not allocated, and all sums are made of the same numbers. */
static struct cache snapshot(const volatile struct cache *cache)
{
	struct cache copy = {.frees = cache->frees};
	atomic_thread_fence(memory_order_acquire);
	copy.allocs = cache->allocs;
	copy.space = cache->space;
	copy.supplied = cache->supplied;
	copy.remote = cache->remote;
	return copy;
}

static void sum_route(struct ledger_header *l, const struct cache *live, const struct route *live_route)
{
	const struct cache copy = snapshot(live), *cache = &copy;
	const struct route route_copy = *live_route, *route = &route_copy;
	struct ledger_site *record = &ledger_sites(l)[route->site];
	enum route_kind now = route->kind, other = now == KIND_OWNED ? KIND_SHARED : KIND_OWNED;
	uint64_t allocs = cache->allocs - route->allocs[other] + route->realloc_allocs;
	uint64_t space = cache->space - route->space[other] + route->realloc_space;
	count_allocs(l, route->site, route->class, route_names[now], allocs, space);
	count_allocs(l, route->site, route->class, route_names[other], route->allocs[other], route->space[other]);
	count_frees(l, route->site, route->class, cache->frees + route->realloc_allocs);
	record->realloc_objects += route->reallocs;
	record->cross_thread_free_objects += cache->remote;
}

static void sum_thread(struct ledger_header *l, const struct thread *thread)
{
	for (uint32_t tag = 1; tag <= thread->heap.tags; tag++)
		if (thread->routes[tag / ROUTES_CHUNK])
			sum_route(l, &thread->heap.caches[tag], route_at(thread, tag));
}

/* A block on a remote list was allocated before we read its cache, unless its thread runs: then it may be missing
 * there, and is left out here too. */
static void sum_remote_block(struct ledger_header *l, const struct thread *thread, const struct slab *slab,
                             uint16_t tag)
{
	uint16_t site = route_at(thread, tag)->site;
	const struct ledger_tally *by_site = &ledger_sites(l)[site].tally,
							  *by_class = &ledger_classes(l)[slab->class].tally;
	if ((int64_t)by_site->inuse_objects <= 0 || (int64_t)by_class->inuse_objects <= 0)
		return;
	count_frees(l, site, slab->class, 1);
	ledger_sites(l)[site].cross_thread_free_objects++;
	if (!slab->tags)
		route_at(thread, tag)->owned_used--;
}

/* What other threads gave back to the slab and its owner has not seen. A running owner may take the list while we walk
 * it; then we may follow a block's new content, so every step is checked to stay inside the slab. */
static void sum_remote(struct ledger_header *l, const struct thread *thread, const struct slab *slab)
{
	uint64_t word = atomic_load_explicit(&slab->remote, memory_order_acquire);
	const struct class *class = &class_table[slab->class];
	uintptr_t start = (uintptr_t)slab_start(slab), at = start + (size_t)((uint32_t)word - 1) * 16;
	for (uint32_t left = (uint32_t)(word >> 32); left && at - start < (uintptr_t) class->capacity * class->size;
	     left--) {
		uint16_t tag = slab_tag(slab, (const void *)at);
		if (tag > thread->heap.tags)
			return;
		sum_remote_block(l, thread, slab, tag);
		at = *(const uintptr_t *)at;
	}
}

static void sum_slabs(struct ledger_header *l)
{
	uint32_t granules = range_usage().granules;
	for (uint32_t i = 0; i < granules; i++) {
		const struct slab *slab = &range.slabs[i];
		uintptr_t owner = slab_owner(slab);
		if (!owner || slab_state(slab) == SLAB_REST || slab->class >= CLASSES)
			continue;
		const struct thread *thread = thread_of((struct heap *)(owner & ~(uintptr_t)SLAB_SHARED_BIT));
		ledger_classes(l)[slab->class].curslabs++;
		ledger_classes(l)[slab->class].slots += class_table[slab->class].capacity;
		if (!slab->tags && slab->tag <= thread->heap.tags)
			route_at(thread, slab->tag)->owned_used += slab_used(slab);
		sum_remote(l, thread, slab);
	}
}

/* What the owned slabs hold, less what lies ready, is alive there; all else that is alive in pools is in shared slabs. */
static void split_alive(struct ledger_header *l)
{
	struct ledger_tally *owned = &l->routes[ROUTE_OWNED], *shared = &l->routes[ROUTE_SHARED];
	for (unsigned c = 0; c < CLASSES; c++) {
		shared->inuse_objects += ledger_classes(l)[c].tally.inuse_objects;
		shared->inuse_space += ledger_classes(l)[c].tally.inuse_space;
	}
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++) {
			const struct route *route = route_at(thread_of(heap), tag);
			int64_t alive = (int64_t)(route->owned_used - cache_cached(&heap->caches[tag]));
			if (alive <= 0 || (uint64_t)alive > shared->inuse_objects)
				continue;
			owned->inuse_objects += (uint64_t)alive;
			owned->inuse_space += (uint64_t)alive * class_table[route->class].size;
			shared->inuse_objects -= (uint64_t)alive;
			shared->inuse_space -= (uint64_t)alive * class_table[route->class].size;
		}
}

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void sum_fallback(struct ledger_header *l)
{
	struct ledger_tally *total = &l->routes[ROUTE_FALLBACK];
	for (uint32_t i = 0; i < l->sites_count; i++) {
		const struct site_fallback *on = site_fallback_seen((uint16_t)i);
		if (!on)
			continue;
		struct ledger_site *site = &ledger_sites(l)[i];
		struct ledger_tally one = {.alloc_objects = load(&on->allocs),
		                           .alloc_space = load(&on->space),
		                           .free_objects = load(&on->frees),
		                           .inuse_space = load(&on->inuse_space)};
		one.inuse_objects = one.alloc_objects - one.free_objects;
		struct ledger_tally *sums[] = {total, &site->tally};
		for (int s = 0; s < 2; s++) {
			sums[s]->alloc_objects += one.alloc_objects;
			sums[s]->alloc_space += one.alloc_space;
			sums[s]->free_objects += one.free_objects;
			sums[s]->inuse_objects += one.inuse_objects;
			sums[s]->inuse_space += one.inuse_space;
		}
		site->route_objects[ROUTE_FALLBACK] += one.alloc_objects;
		site->route_space[ROUTE_FALLBACK] += one.alloc_space;
		site->realloc_objects += load(&on->reallocs);
	}
}

static void clear(struct ledger_header *l)
{
	memset(l->routes, 0, sizeof(l->routes));
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++)
			route_at(thread_of(heap), tag)->owned_used = 0;
	l->classes_count = CLASSES;
	memset(ledger_classes(l), 0, CLASSES * sizeof(struct ledger_class));
	for (unsigned c = 0; c < CLASSES; c++) {
		ledger_classes(l)[c].size = class_table[c].size;
		ledger_classes(l)[c].slab_size = (uint64_t)class_table[c].granules << GRANULE_SHIFT;
	}
	for (uint32_t i = 0; i < l->sites_count; i++) {
		struct ledger_site *site = &ledger_sites(l)[i];
		memset(&site->tally, 0, sizeof(*site) - offsetof(struct ledger_site, tally));
	}
}

static void sum_up(struct ledger_header *l)
{
	clear(l);
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		sum_thread(l, thread_of(heap));
	sum_slabs(l);
	split_alive(l);
	sum_fallback(l);
}

/* --- the child of a fork ---------------------------------------------------------------------------------------- */

static void take_off(struct ledger_tally *tally, const struct ledger_tally *base)
{
	tally->alloc_objects -= base->alloc_objects;
	tally->alloc_space -= base->alloc_space;
	tally->free_objects -= base->free_objects;
	tally->inherited_objects = base->inuse_objects;
	tally->inherited_space = base->inuse_space;
}

static void take_off_base(struct ledger_header *l)
{
	if (!base_sites)
		return;
	for (uint32_t i = 0; i < base_sites_count; i++) {
		struct ledger_site *site = &ledger_sites(l)[i];
		const struct ledger_site *base = &base_sites[i];
		take_off(&site->tally, &base->tally);
		site->realloc_objects -= base->realloc_objects;
		site->cross_thread_free_objects -= base->cross_thread_free_objects;
		for (int r = 0; r < LEDGER_ROUTES; r++) {
			site->route_objects[r] -= base->route_objects[r];
			site->route_space[r] -= base->route_space[r];
		}
	}
	for (unsigned c = 0; c < CLASSES; c++)
		take_off(&ledger_classes(l)[c].tally, &base_classes[c].tally);
	for (int r = 0; r < LEDGER_ROUTES; r++)
		take_off(&l->routes[r], &base_routes[r]);
}

void publish_fork_child(void)
{
	struct ledger_header *l = ledger();
	if (!l)
		return;
	lock_reset(&threads_lock);
	lock_reset(&publish_lock);
	sum_up(l);
	size_t bytes = l->sites_count * sizeof(struct ledger_site);
	if (base_sites)
		os_unmap(base_sites, base_sites_count * sizeof(struct ledger_site));
	base_sites = os_map(bytes);
	base_sites_count = l->sites_count;
	if (base_sites)
		memcpy(base_sites, ledger_sites(l), bytes);
	memcpy(base_classes, ledger_classes(l), sizeof(base_classes));
	memcpy(base_routes, l->routes, sizeof(base_routes));
	for (int r = 0; r < LEDGER_REASONS; r++)
		base_reasons[r] = base_sites ? fallback_reason_count((enum ledger_reason)r) : 0;
	l->run.forked = base_sites != NULL; /* without memory for the base the child reports its parent's counts too */
	l->run.ppid = l->run.pid;
	l->run.pid = (uint64_t)getpid();
	l->run.start_unix_ns = now_ns(CLOCK_REALTIME);
	started_ns = now_ns(CLOCK_MONOTONIC);
	l->threads_count = 0;
	dropped_threads = 0;
	struct thread *thread = thread_if_any();
	if (thread)
		publish_thread_begin(thread);
}

/* --- threads ---------------------------------------------------------------------------------------------------- */

static void totals(const struct thread *thread, uint64_t *objects, uint64_t *space)
{
	*objects = *space = 0;
	for (uint32_t tag = 1; tag <= thread->heap.tags; tag++) {
		const struct cache *cache = &thread->heap.caches[tag];
		const struct route *route = route_at(thread, tag);
		*objects += cache->allocs + route->realloc_allocs;
		*space += cache->space + route->realloc_space;
	}
}

void publish_thread_begin(struct thread *thread)
{
	struct ledger_header *l = ledger();
	totals(thread, &thread->base_objects, &thread->base_space);
	if (!l)
		return;
	lock_take(&threads_lock);
	uint32_t number = l->threads_count < LEDGER_THREADS_MAX ? l->threads_count : LEDGER_THREADS_MAX - 1;
	struct ledger_thread *record = &ledger_threads(l)[number];
	if (l->threads_count < LEDGER_THREADS_MAX) {
		*record = (struct ledger_thread){.start_unix_ns = now_ns(CLOCK_REALTIME)};
		if (!confined()) { /* by the raw call: prctl is one of our own entries */
			record->tid = (uint64_t)syscall(SYS_gettid);
			syscall(SYS_prctl, PR_GET_NAME, record->name, 0, 0, 0);
		}
	} else {
		dropped_threads++;
	}
	if (number == LEDGER_THREADS_MAX - 1)
		strcpy(record->name, "(others)");
	l->threads_count = number + 1;
	thread->ledger_thread = number;
	lock_drop(&threads_lock);
}

static void thread_record(const struct thread *thread, struct ledger_thread *record)
{
	uint64_t objects, space;
	totals(thread, &objects, &space);
	if (thread->ledger_thread == LEDGER_THREADS_MAX - 1) { /* many threads share it; the living are not in it yet */
		record->alloc_objects += objects - thread->base_objects;
		record->alloc_space += space - thread->base_space;
		return;
	}
	record->alloc_objects = objects - thread->base_objects;
	record->alloc_space = space - thread->base_space;
}

void publish_thread_end(struct thread *thread)
{
	struct ledger_header *l = ledger();
	if (!l)
		return;
	lock_take(&threads_lock);
	struct ledger_thread *record = &ledger_threads(l)[thread->ledger_thread];
	thread_record(thread, record);
	if (thread->ledger_thread < LEDGER_THREADS_MAX - 1)
		record->end_unix_ns = now_ns(CLOCK_REALTIME);
	lock_drop(&threads_lock);
}

static void sum_threads(struct ledger_header *l)
{
	l->quality.live_threads = 0;
	struct thread *mine = thread_if_any();
	for (struct heap *heap = heap_first(); heap; heap = heap->next) {
		if (atomic_load_explicit(&heap->state, memory_order_relaxed) != HEAP_LIVE)
			continue;
		struct thread *thread = thread_of(heap);
		if (thread->ledger_thread < LEDGER_THREADS_MAX - 1)
			thread_record(thread, &ledger_threads(l)[thread->ledger_thread]);
		l->quality.live_threads += thread != mine;
	}
}

uint64_t publish_allocs(void)
{
	const struct ledger_header *l = publish(END_LIVE);
	return l ? l->memory.tally.alloc_objects : 0;
}

/* --- the rest of the ledger ------------------------------------------------------------------------------------- */

/* Resident pages, the second number of /proc/self/statm; 0 when it cannot be read. */
static uint64_t resident_bytes(void)
{
	char text[128];
	if (confined())
		return 0;
	int cancelled_before;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled_before);
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t bytes = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	uint64_t pages = 0;
	if (fd >= 0)
		close(fd);
	pthread_setcancelstate(cancelled_before, NULL);
	text[bytes > 0 ? bytes : 0] = 0;
	const char *at = strchr(text, ' ');
	for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
		pages = pages * 10 + (uint64_t)(*at - '0');
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void add_up(struct ledger_tally *sum, const struct ledger_tally *one)
{
	sum->alloc_objects += one->alloc_objects;
	sum->alloc_space += one->alloc_space;
	sum->free_objects += one->free_objects;
	sum->inuse_objects += one->inuse_objects;
	sum->inuse_space += one->inuse_space;
	sum->inherited_objects += one->inherited_objects;
	sum->inherited_space += one->inherited_space;
}

static void fill_memory(struct ledger_header *l)
{
	struct range_usage usage = range_usage();
	struct ledger_memory *memory = &l->memory;
	struct rusage self;
	uint64_t behind = l->routes[ROUTE_FALLBACK].inuse_space;
	uint32_t heaps = 0;
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		heaps++;
	memset(memory, 0, sizeof(*memory));
	for (unsigned c = 0; c < CLASSES; c++)
		add_up(&memory->tally, &ledger_classes(l)[c].tally);
	add_up(&memory->tally, &l->routes[ROUTE_FALLBACK]);
	memory->active = usage.active + behind;
	memory->metadata = usage.metadata + meta_bytes() + l->sites_at + l->sites_count * sizeof(struct ledger_site);
	memory->resident = resident_bytes();
	memory->mapped = usage.mapped + meta_bytes() + behind;
	memory->retained = usage.retained;
	memory->purged = usage.purged;
	memory->peak_active = usage.peak_active;
	int64_t highest = atomic_load_explicit(&peak_highest, memory_order_relaxed);
	memory->peak_allocated = highest > 0 ? (uint64_t)highest : 0;
	if (memory->peak_allocated < memory->tally.inuse_space)
		memory->peak_allocated = memory->tally.inuse_space;
	memory->peak_slack = (uint64_t)heaps * PEAK_STEP_BYTES;
	memory->peak_resident = confined() || getrusage(RUSAGE_SELF, &self) ? 0 : (uint64_t)self.ru_maxrss * 1024;
}

/* How many blocks each kind of slab gave back is not counted, only both together; and slabs change sides with the blocks
 * in them. So a pooled route's frees are what its equation lacks, and where that would be less than none, blocks moved. */
static void settle_routes(struct ledger_header *l)
{
	static const enum ledger_route other[LEDGER_ROUTES] = {[ROUTE_OWNED] = ROUTE_SHARED, [ROUTE_SHARED] = ROUTE_OWNED};
	memset(l->routes_moved, 0, sizeof(l->routes_moved));
	for (enum ledger_route r = ROUTE_OWNED; r <= ROUTE_SHARED; r++) {
		struct ledger_tally *route = &l->routes[r];
		int64_t left = (int64_t)(route->inherited_objects + route->alloc_objects - route->inuse_objects);
		if (left < 0) {
			l->routes_moved[r] -= left;
			l->routes_moved[other[r]] += left;
		}
	}
	for (enum ledger_route r = ROUTE_OWNED; r <= ROUTE_SHARED; r++) {
		struct ledger_tally *route = &l->routes[r];
		route->free_objects =
			route->inherited_objects + route->alloc_objects + (uint64_t)l->routes_moved[r] - route->inuse_objects;
	}
}

/* Running threads may have counted an allocation and not yet its reason, or the other way round. */
static void settle_reasons(struct ledger_header *l)
{
	uint64_t sum = 0;
	int most = 0;
	for (int r = 0; r < LEDGER_REASONS; r++) {
		sum += l->fallback_reasons[r];
		most = l->fallback_reasons[r] > l->fallback_reasons[most] ? r : most;
	}
	l->fallback_reasons[most] += l->routes[ROUTE_FALLBACK].alloc_objects - sum;
}

static void fill(struct ledger_header *l, enum ledger_end end)
{
	sum_up(l);
	take_off_base(l);
	settle_routes(l);
	sum_threads(l);
	fill_memory(l);
	for (int r = 0; r < LEDGER_REASONS; r++)
		l->fallback_reasons[r] = fallback_reason_count((enum ledger_reason)r) - base_reasons[r];
	if (l->quality.live_threads)
		settle_reasons(l);
	l->quality.dropped_sites = ledger_sites(l)[SITE_OTHER].tally.alloc_objects;
	l->quality.dropped_threads = dropped_threads;
	l->quality.dropped_mappings = mappings_dropped();
	l->quality.untracked_frees = fallback_untracked();
	l->run.end = end;
	l->run.duration_ns = now_ns(CLOCK_MONOTONIC) - started_ns;
	if (end != END_LIVE)
		symbols_fill(l);
}

const struct ledger_header *publish(enum ledger_end end)
{
	static void *_Atomic publisher; /* a signal handler that interrupted it and leaves the program goes ahead */
	struct ledger_header *l = ledger();
	if (!l)
		return NULL;
	int saved = errno;
	bool inside = atomic_load(&publisher) == (void *)&thread_self;
	if (!inside)
		lock_take(&publish_lock);
	atomic_store(&publisher, (void *)&thread_self);
	fill(l, end);
	if (!inside) {
		atomic_store(&publisher, NULL);
		lock_drop(&publish_lock);
	}
	errno = saved;
	return l;
}

/* --- the start -------------------------------------------------------------------------------------------------- */

static void keep_argv(struct ledger_run *run, int argc, char **argv)
{
	static const uint32_t kept_max = LEDGER_STRINGS_BYTES / 4;
	uint32_t kept = 0;
	for (; (int)run->argc < argc; run->argc++) {
		size_t bytes = strlen(argv[run->argc]);
		if (kept + bytes > kept_max)
			break;
		struct ledger_string at = ledger_string(argv[run->argc], bytes);
		if (run->argc == 0)
			run->argv = at;
		kept += (uint32_t)bytes + 1;
	}
	run->argv_truncated = (int)run->argc < argc;
}

static void keep_conf(struct ledger_run *run)
{
	static char value[CONF_PATH_MAX];
	const char *key;
	for (uint32_t i = 0; i < LEDGER_CONF_MAX && conf_show(i, &key, value); i++) {
		run->conf_keys[i] = ledger_string(key, strlen(key));
		run->conf_values[i] = ledger_string(value, strlen(value));
		run->conf_count = i + 1;
	}
}

void publish_begin(int argc, char **argv)
{
	static char exe[4096];
	struct ledger_header *l = ledger();
	ssize_t bytes = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[bytes > 0 ? bytes : 0] = 0;
	module_executable(exe);
	started_ns = now_ns(CLOCK_MONOTONIC);
	if (!l)
		return;
	l->run.pid = (uint64_t)getpid();
	l->run.ppid = (uint64_t)getppid();
	l->run.exe = ledger_string(exe, strlen(exe));
	l->run.start_unix_ns = now_ns(CLOCK_REALTIME);
	keep_argv(&l->run, argc, argv);
	keep_conf(&l->run);
	l->run.fallback = ledger_string(fallback_version(), strlen(fallback_version()));
}
