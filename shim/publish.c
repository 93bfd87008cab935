/* publish.c: see publish.h.
 *
 * A fork's child starts with all of its parent's counts. They are summed up once, in the child, and taken off later.
 */
#define _GNU_SOURCE
#include "publish.h"

#include "conf.h"
#include "confined.h"
#include "context.h"
#include "facts.h"
#include "fallback.h"
#include "mapping.h"
#include "module.h"
#include "peak.h"
#include "pools/apart.h"
#include "pools/lock.h"
#include "pools/meta.h"
#include "pools/os.h"
#include "pools/range.h"
#include "pressure.h"
#include "publish_threads.h"
#include "report.h"
#include "site.h"
#include "sum.h"
#include "symbols.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { GONE_YIELDS = 1000 };

_Atomic int64_t peak_live, peak_highest;

/* The sums at the fork, in one mapping; NULL in a process that was not forked. Most classes are in no use: only those that
 * are have a place here, in ascending order. */
static struct base {
	struct ledger_tally routes[LEDGER_ROUTES];
	uint64_t reasons[LEDGER_REASONS];
	uint32_t sites_count, classes_count;
	size_t bytes;
	uint8_t classes[CLASSES];
	struct ledger_tally by_class[]; /* as many as there are, and then the sites */
} * base;

static struct ledger_site *base_sites(struct base *of)
{
	return (struct ledger_site *)&of->by_class[of->classes_count];
}

_Static_assert(_Alignof(struct ledger_site) <= _Alignof(struct ledger_tally), "sites lie behind the classes");

static struct lock publish_lock; /* the ledger is one: two at once would add into each other's sums */

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;
	return clock_gettime(clock, &now) ? 0 : (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t started_ns; /* monotonic */

/* --- the child of a fork ---------------------------------------------------------------------------------------- */

static void take_off(struct ledger_tally *tally, const struct ledger_tally *then)
{
	tally->alloc_objects -= then->alloc_objects;
	tally->alloc_space -= then->alloc_space;
	tally->free_objects -= then->free_objects;
	tally->inherited_objects = then->inuse_objects;
	tally->inherited_space = then->inuse_space;
}

static void take_off_base(struct ledger_header *l)
{
	if (!base)
		return;
	for (uint32_t i = 0; i < base->sites_count; i++) {
		struct ledger_site *site = &ledger_sites(l)[i];
		const struct ledger_site *then = &base_sites(base)[i];
		take_off(&site->tally, &then->tally);
		site->realloc_objects -= then->realloc_objects;
		site->cross_thread_free_objects -= then->cross_thread_free_objects;
		for (int r = 0; r < LEDGER_ROUTES; r++) {
			site->route_objects[r] -= then->route_objects[r];
			site->route_space[r] -= then->route_space[r];
		}
	}
	for (uint32_t i = 0; i < base->classes_count; i++)
		take_off(&ledger_classes(l)[base->classes[i]].tally, &base->by_class[i]);
	for (int r = 0; r < LEDGER_ROUTES; r++)
		take_off(&l->routes[r], &base->routes[r]);
}

/* Of sums just made; NULL: no memory. */
static struct base *base_make(struct ledger_header *l)
{
	uint32_t classes = 0;
	for (unsigned c = 0; c < CLASSES; c++)
		classes += ledger_classes(l)[c].tally.alloc_objects != 0;
	size_t sites_bytes = l->sites_count * sizeof(struct ledger_site);
	size_t bytes = offsetof(struct base, by_class) + classes * sizeof(struct ledger_tally) + sites_bytes;
	struct base *made = os_map(bytes);
	if (!made)
		return NULL;
	made->bytes = bytes;
	made->sites_count = l->sites_count;
	for (unsigned c = 0; c < CLASSES; c++)
		if (ledger_classes(l)[c].tally.alloc_objects) {
			made->classes[made->classes_count] = (uint8_t)c;
			made->by_class[made->classes_count++] = ledger_classes(l)[c].tally;
		}
	memcpy(base_sites(made), ledger_sites(l), sites_bytes);
	memcpy(made->routes, l->routes, sizeof(made->routes));
	for (int r = 0; r < LEDGER_REASONS; r++)
		made->reasons[r] = fallback_reason_count((enum ledger_reason)r);
	return made;
}

void publish_fork_child(void)
{
	struct ledger_header *l = ledger();
	if (!l)
		return;
	lock_reset(&publish_lock);
	if (report_is_off()) { /* what is left to ask for, mallinfo, is about what is alive: no base is needed for that */
		publish_threads_fork_child(NULL);
		return;
	}
	sum_up(l);
	if (base)
		os_unmap(base, base->bytes);
	base = base_make(l);
	facts_fork_child();
	l->run.forked = base != NULL; /* without memory for the base the child reports its parent's counts too */
	l->run.ppid = l->run.pid;
	l->run.pid = (uint64_t)getpid();
	l->run.start_unix_ns = now_ns(CLOCK_REALTIME);
	started_ns = now_ns(CLOCK_MONOTONIC);
	publish_threads_fork_child(l);
}

/* --- the rest of the ledger ------------------------------------------------------------------------------------- */

/* Resident pages, the second number of /proc/self/statm; 0 when it cannot be read. */
static uint64_t resident_bytes(void)
{
	char text[128];
	uint64_t pages = 0;
	if (confined())
		return 0;
	os_read("/proc/self/statm", text, sizeof(text));
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
	memory->pressure_trims = pressure_trims();
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

/* Threads of the process besides the caller, as the kernel counts them: one that has no heap may be freeing too. Each is
 * a folder below task; a folder's links are two and its subfolders. 0 when it cannot be read. */
static uint64_t other_threads(void)
{
	struct stat tasks;
	bool known = !confined() && stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > 3;
	return known ? (uint64_t)tasks.st_nlink - 3 : 0;
}

/* The same, at the end of the process. The kernel counts a thread a little longer than pthread_join waits for it, so one
 * that is merely being cleared away gets the time for that, a millisecond or so. */
static uint64_t other_threads_at_end(void)
{
	uint64_t others = other_threads();
	for (int i = 0; i < GONE_YIELDS && others && !publish_threads_alive(); i++) {
		sched_yield();
		others = other_threads();
	}
	return others;
}

static void fill(struct ledger_header *l, enum ledger_end end)
{
	uint64_t others = end == END_LIVE
	                      ? other_threads()
	                      : other_threads_at_end(); /* before: one that runs now may be gone when the sums are done */
	sum_up(l);
	take_off_base(l);
	settle_routes(l);
	publish_threads(l);
	if (l->quality.live_threads < others)
		l->quality.live_threads = others;
	fill_memory(l);
	for (int r = 0; r < LEDGER_REASONS; r++)
		l->fallback_reasons[r] = fallback_reason_count((enum ledger_reason)r) - (base ? base->reasons[r] : 0);
	if (l->quality.live_threads)
		settle_reasons(l);
	l->quality.dropped_sites = ledger_sites(l)[SITE_OTHER].tally.alloc_objects;
	l->quality.dropped_mappings = mappings_dropped();
	l->quality.untracked_frees = fallback_untracked();
	struct context_counts contexts = context_counts();
	l->quality.wrappers = contexts.wrappers;
	l->quality.unwound = contexts.unwound;
	l->quality.wrong_callers = contexts.wrong;
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
	static APART char value[CONF_PATH_MAX];
	const char *key;
	for (uint32_t i = 0; i < LEDGER_CONF_MAX && conf_show(i, &key, value); i++) {
		run->conf_keys[i] = ledger_string(key, strlen(key));
		run->conf_values[i] = ledger_string(value, strlen(value));
		run->conf_count = i + 1;
	}
}

void publish_begin(int argc, char **argv)
{
	static APART char exe[4096];
	struct ledger_header *l = ledger();
	/* Only reports name it, and asking costs a start more than its three large mappings. */
	ssize_t bytes = report_is_off() ? 0 : readlink("/proc/self/exe", exe, sizeof(exe) - 1);
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
