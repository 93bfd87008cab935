/* resident.c: see resident.h. */
#include "resident.h"

#include "fallback_start.h"
#include "pools/apart.h"
#include "pools/meta.h"
#include "pools/os.h"
#include "pools/pool.h"
#include "route.h"
#include "site.h"

#include <string.h>

/* Of one class, in bytes; weights in blocks. */
static APART struct {
	uint64_t bytes, resident; /* slabs, and what of them is */
	uint64_t shared;          /* bytes of those that no site owns */
	uint64_t owned_alive;     /* bytes alive in the others */
	uint64_t weight;          /* blocks alive in the shared ones, by the routes' books */
} of_class[CLASSES];

static uint64_t part(uint64_t of, uint64_t share, uint64_t whole)
{
	return whole ? (uint64_t)((unsigned __int128)of * share / whole) : 0;
}

/* Calls `see` for every slab, with its owner: a running thread may give the slab away meanwhile. */
static void each_slab(void see(void *context, const struct heap *owner, const struct slab *slab), void *context)
{
	uint32_t granules = range_usage().granules;
	for (uint32_t i = 0; i < granules; i++) {
		const struct slab *slab = &range.slabs[i];
		const struct heap *owner = slab_heap(slab);
		if (owner && slab_state(slab) != SLAB_REST && slab->class < CLASSES)
			see(context, owner, slab);
	}
}

static uint64_t slab_bytes(const struct slab *slab)
{
	return (uint64_t)slab->granules << GRANULE_SHIFT;
}

static void add_slab(void *in_slabs, const struct heap *owner, const struct slab *slab)
{
	uint64_t resident = os_resident(slab_start(slab), slab_bytes(slab));
	of_class[slab->class].bytes += slab_bytes(slab);
	of_class[slab->class].resident += resident;
	of_class[slab->class].shared += slab_is_tags_own(owner, slab) ? 0 : slab_bytes(slab);
	*(uint64_t *)in_slabs += resident;
}

/* Blocks of the route alive in its own slabs (`owned`), and elsewhere. sum.c has left what is used in the former. */
static uint64_t alive_of(const struct heap *heap, uint32_t tag, bool owned)
{
	const struct route *route = route_at(thread_of((struct heap *)(uintptr_t)heap), tag);
	int64_t alive = cache_alive(&heap->caches[tag]);
	int64_t here = (int64_t)route->owned_used - (int64_t)cache_cached(&heap->caches[tag]);
	alive = alive > 0 ? alive : 0;
	here = here < 0 ? 0 : here > alive ? alive : here;
	return (uint64_t)(owned ? here : alive - here);
}

static void each_route(void see(void *context, const struct heap *heap, uint32_t tag), void *context)
{
	for (const struct heap *heap = heap_first(); heap; heap = heap->next)
		for (uint32_t tag = 1; tag <= heap->tags; tag++)
			see(context, heap, tag);
}

static void weigh(void *unused, const struct heap *heap, uint32_t tag)
{
	unsigned class = route_at(thread_of((struct heap *)(uintptr_t)heap), tag)->class;
	(void)unused;
	of_class[class].owned_alive += alive_of(heap, tag, true) * class_table[class].size;
	of_class[class].weight += alive_of(heap, tag, false);
}

static void give_owned(void *context, const struct heap *owner, const struct slab *slab)
{
	struct ledger_facts *facts = context;
	const struct thread *thread = thread_of((struct heap *)(uintptr_t)owner);
	uint16_t tag = __atomic_load_n(&slab->tag, __ATOMIC_RELAXED);
	if (!slab_is_tags_own(owner, slab) || tag > owner->tags || route_at(thread, tag)->site >= facts->sites_count)
		return;
	struct ledger_fact *fact = &facts->sites[route_at(thread, tag)->site];
	fact->slack_space += slab_bytes(slab);
	fact->resident_space += part(slab_bytes(slab), of_class[slab->class].resident, of_class[slab->class].bytes);
}

static void give_shared(void *context, const struct heap *heap, uint32_t tag)
{
	struct ledger_facts *facts = context;
	const struct route *route = route_at(thread_of((struct heap *)(uintptr_t)heap), tag);
	if (route->site >= facts->sites_count)
		return;
	struct ledger_fact *fact = &facts->sites[route->site];
	uint64_t size = class_table[route->class].size, shared = alive_of(heap, tag, false);
	uint64_t owned = alive_of(heap, tag, true) * size;
	uint64_t alive = of_class[route->class].weight * size, all = of_class[route->class].shared;
	uint64_t slack = part(all > alive ? all - alive : 0, shared, of_class[route->class].weight);
	fact->slack_space += slack;
	fact->slack_space -= owned < fact->slack_space ? owned : fact->slack_space;
	fact->resident_space += part(shared * size + slack, of_class[route->class].resident, of_class[route->class].bytes);
}

/* --- the rest of the process -------------------------------------------------------------------------------------- */

/* One mapping of /proc/self/smaps after another: its first line, and its Rss in bytes. */
struct mapping {
	uint64_t start, resident;
	bool named; /* a file, a stack, the program break: anything with a name */
};

struct others {
	uint64_t named, anonymous; /* bytes resident, outside of the range */
	struct mapping now;
};

static uint64_t number(const char *text, unsigned base)
{
	uint64_t value = 0;
	for (;; text++) {
		unsigned digit = *text >= '0' && *text <= '9' ? (unsigned)(*text - '0') : (unsigned)(*text | 32) - 'a' + 10;
		if (digit >= base || *text == 0)
			return value;
		value = value * base + digit;
	}
}

static void end_mapping(struct others *others)
{
	if (!range_holds((const void *)(uintptr_t)others->now.start))
		*(others->now.named ? &others->named : &others->anonymous) += others->now.resident;
	others->now = (struct mapping){.start = 0};
}

/* "start-end perms offset device inode name", or "Key: value kB". */
static void see_line(void *context, const char *line)
{
	struct others *others = context;
	if (memcmp(line, "Rss:", 4) == 0) {
		line += 4;
		others->now.resident = number(line + strspn(line, " "), 10) << 10;
	} else if (!(line[0] >= 'A' && line[0] <= 'Z')) {
		end_mapping(others);
		others->now.start = number(line, 16);
		others->now.named = strchr(line, '/') || strchr(line, '[');
	}
}

/* "size resident shared ...", in pages: enough where all that is not ours is the program's. smaps walks every page, which a
 * process of a tenth of a second notices at its end. `ours`: bytes of the range. */
static bool see_statm(struct others *others, uint64_t ours)
{
	char text[128];
	os_read("/proc/self/statm", text, sizeof(text));
	const char *at = strchr(text, ' ');
	uint64_t resident = at ? number(at + 1, 10) * OS_PAGE : 0;
	at = at ? strchr(at + 1, ' ') : NULL;
	others->named = at ? number(at + 1, 10) * OS_PAGE : 0;
	others->anonymous = resident > others->named + ours ? resident - others->named - ours : 0;
	return resident;
}

static uint64_t meta_resident(const struct ledger_header *l)
{
	uint64_t bytes = os_resident(range.slabs, range.bytes ? range_usage().granules * sizeof(struct slab) : 0);
	const void *start;
	size_t length;
	for (unsigned i = 0; meta_mapping(i, &start, &length); i++)
		bytes += os_resident(start, length);
	return bytes + os_resident(l, l->sites_at + l->sites_count * sizeof(struct ledger_site));
}

void resident_fill(const struct ledger_header *l, struct ledger_facts *facts)
{
	struct ledger_resident *sum = &facts->resident;
	struct others others = {.named = 0};
	uint64_t in_slabs = 0, alive = 0;
	memset(of_class, 0, sizeof(of_class));
	os_resident_begin();
	each_slab(add_slab, &in_slabs);
	each_route(weigh, NULL);
	each_slab(give_owned, facts);
	each_route(give_shared, facts);
	for (unsigned c = 0; c < CLASSES; c++) {
		uint64_t here = ledger_classes(l)[c].tally.inuse_space;
		alive += here < of_class[c].resident ? here : of_class[c].resident;
	}
	sum->blocks = alive;
	sum->slack = in_slabs - alive;
	sum->retained = os_resident(range.base, (size_t)range_usage().granules << GRANULE_SHIFT);
	sum->retained -= in_slabs < sum->retained ? in_slabs : sum->retained;
	sum->metadata = meta_resident(l);
	os_resident_end();
	bool known = fallback_is_up() ? os_read_lines("/proc/self/smaps", see_line, &others)
	                              : see_statm(&others, in_slabs + sum->retained);
	if (!known)
		return;
	end_mapping(&others);
	uint64_t rest = others.anonymous > sum->metadata ? others.anonymous - sum->metadata : 0;
	uint64_t behind = l->routes[ROUTE_FALLBACK].inuse_space;
	sum->fallback = behind < rest ? behind : rest;
	rest -= sum->fallback;
	sum->program = others.named + (fallback_is_up() ? 0 : rest);
	sum->unattributed = fallback_is_up() ? rest : 0;
	sum->resident = sum->blocks + sum->slack + sum->retained + sum->metadata + sum->fallback + sum->program;
	sum->resident += sum->unattributed;
}
