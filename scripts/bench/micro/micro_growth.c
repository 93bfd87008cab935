/* micro_growth: one point of a curve: how the cost of a pair grows with threads, live objects, call sites, heap.
 *
 *   micro_growth KIND POINT  prints `KIND_POINT VALUE`, CPU nanoseconds of one malloc and its free
 *   micro_growth --list      kinds, tab, the usual points, tab, titles
 *
 * floor_KIND runs the same loop with the least an allocator can do, handing back the block just freed, which still
 * pays for the caches and page tables that so much memory or code misses: a curve has to be read beside it. A point
 * that the machine has no memory for prints nothing but a line on standard error, and is no failure.
 */
#include "measure.h"
#include "sites.h"
#include <pthread.h>
#include <stdatomic.h>

enum {
	OWN_LIVE = 1000,           /* live blocks of a thread, or of the sites together */
	PAIRS = 400000,            /* of one repetition */
	PAIRS_HEAP = 100000,       /* the same where blocks are up to 64 KiB */
	PAIRS_THREAD_MIN = 200000, /* of one thread: several time slices, so that all of them are under way at once */
	THREADS_MAX = 1024,
	OVERHEAD_MAX = 64 /* bytes a block, for the question whether the memory suffices */
};

struct kind {
	const char *name;
	const char *points;
	const char *title;
	size_t point_max;
	double (*measure)(size_t point); /* ns a pair, or a negative number where there is too little memory */
};

struct thread {
	size_t pairs, core;
	double ns[REPETITIONS];
};

static uint32_t sizes[SIZES];
static allocate_function *allocate = malloc;
static void (*release)(void *) = free;
static pthread_barrier_t barrier;

static char *floor_memory;
static _Atomic(size_t) floor_used;
static _Thread_local void *floor_kept;

/* --- the floor ---------------------------------------------------------------------------------------------------- */

static void *floor_allocate(size_t size)
{
	void *block = floor_kept;
	floor_kept = NULL;
	if (block)
		return block;
	return floor_memory + atomic_fetch_add_explicit(&floor_used, (size + 15) & ~(size_t)15, memory_order_relaxed);
}

/* Writes to the block, as a free list does. */
static void floor_release(void *block)
{
	if (block)
		*(void *volatile *)block = floor_kept;
	floor_kept = block;
}

static void use_floor(void)
{
	size_t room = (size_t)1 << 36;
	floor_memory = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (floor_memory == MAP_FAILED)
		die("mmap");
	allocate = floor_allocate;
	release = floor_release;
}

/* --- what the kinds share ----------------------------------------------------------------------------------------- */

static void *take_checked(size_t size)
{
	void *block = allocate(size);
	if (!block)
		die("malloc");
	touch(block);
	return block;
}

static size_t mean_size(void)
{
	size_t sum = 0;
	for (size_t i = 0; i < SIZES; i++)
		sum += sizes[i];
	return sum / SIZES;
}

/* Whether `count` blocks fit in what is available, with half of it as much again for what an allocator adds. */
static int memory_suffices(size_t count)
{
	size_t need = count * (mean_size() + OVERHEAD_MAX + sizeof(void *)) / 2 * 3, available = memory_available();
	if (!available || need <= available)
		return 1;
	fprintf(stderr, "skipped: it needs %zu MiB available, there are %zu\n", need >> 20, available >> 20);
	return 0;
}

/* Every page of it written: only memory that is there is heap. */
static void *take_resident(size_t size)
{
	char *block = take_checked(size);
	for (size_t i = 4096; i < size; i += 4096)
		touch(block + i);
	return block;
}

static void replace(void **blocks, size_t count, size_t pairs, uint32_t *state)
{
	for (size_t i = 0; i < pairs; i++) {
		size_t slot = random_next(state) % count, size = sizes[i % SIZES];
		release(blocks[slot]);
		blocks[slot] = take_checked(size);
		touch((char *)blocks[slot] + size - 1);
	}
}

/* Fills `count` slots, then replaces random ones: once to warm up, then REPETITIONS times. */
static double measure_replace(size_t count, size_t pairs)
{
	double ns[REPETITIONS];
	uint32_t state = 88172645u;
	void **blocks;
	if (!memory_suffices(count))
		return -1;
	blocks = own_memory(count * sizeof *blocks);
	for (size_t i = 0; i < count; i++)
		blocks[i] = take_resident(sizes[i % SIZES]);
	replace(blocks, count, pairs, &state);
	for (size_t i = 0; i < REPETITIONS; i++) {
		double start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		replace(blocks, count, pairs, &state);
		ns[i] = (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / (double)pairs;
	}
	return median(ns);
}

/* --- the kinds ---------------------------------------------------------------------------------------------------- */

static double measure_live(size_t count)
{
	fill_sizes(sizes, 16, 512);
	return measure_replace(count, PAIRS);
}

/* Sizes from 16 bytes to 64 KiB, each power of two as often as the next: 8 KiB in the mean. */
static double measure_heap(size_t mib)
{
	uint32_t state = 2463534242u;
	for (size_t i = 0; i < SIZES; i++) {
		uint32_t power = 16u << random_next(&state) % 12;
		sizes[i] = power + random_next(&state) % power;
	}
	return measure_replace((mib << 20) / mean_size() + 1, PAIRS_HEAP);
}

/* Each pair from a random one of the sites, each site with a size of its own; a block lives for 1000 pairs. */
static void replace_from_sites(void **blocks, size_t count, size_t pairs, uint32_t *state)
{
	for (size_t i = 0; i < pairs; i++) {
		size_t site = random_next(state) % count, slot = i % OWN_LIVE;
		release(blocks[slot]);
		blocks[slot] = site_at(site)(sizes[site % SIZES], allocate);
		if (!blocks[slot])
			die("malloc");
		touch(blocks[slot]);
	}
}

static double measure_sites(size_t count)
{
	static void *blocks[OWN_LIVE];
	double ns[REPETITIONS];
	uint32_t state = 88172645u;
	fill_sizes(sizes, 16, 512);
	replace_from_sites(blocks, count, 2 * PAIRS, &state); /* each of 100,000 sites eight times */
	for (size_t i = 0; i < REPETITIONS; i++) {
		double start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		replace_from_sites(blocks, count, PAIRS, &state);
		ns[i] = (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / PAIRS;
	}
	return median(ns);
}

static void *run_thread(void *arg)
{
	struct thread *me = arg;
	void *blocks[OWN_LIVE] = {NULL};
	uint32_t state = 88172645u + (uint32_t)me->core;
	pin_to_core(me->core);
	replace(blocks, OWN_LIVE, me->pairs / 4, &state);
	for (size_t i = 0; i < REPETITIONS; i++) {
		pthread_barrier_wait(&barrier);
		double start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		replace(blocks, OWN_LIVE, me->pairs, &state);
		me->ns[i] = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	}
	for (size_t i = 0; i < OWN_LIVE; i++)
		release(blocks[i]);
	return NULL;
}

/* Each thread replaces random ones of its own 1000 blocks. The sum of the threads' CPU clocks, so that more threads
 * than cores cost nothing by themselves. */
static double measure_threads(size_t count)
{
	static struct thread threads[THREADS_MAX];
	static pthread_t ids[THREADS_MAX];
	double ns[REPETITIONS] = {0};
	size_t pairs = 4 * PAIRS / count > PAIRS_THREAD_MIN ? 4 * PAIRS / count : PAIRS_THREAD_MIN;
	fill_sizes(sizes, 16, 512);
	pthread_barrier_init(&barrier, NULL, (unsigned)count);
	for (size_t i = 0; i < count; i++) {
		threads[i] = (struct thread){.pairs = pairs, .core = i};
		if (pthread_create(&ids[i], NULL, run_thread, &threads[i]))
			die("pthread_create");
	}
	for (size_t i = 0; i < count; i++) {
		pthread_join(ids[i], NULL);
		for (size_t k = 0; k < REPETITIONS; k++)
			ns[k] += threads[i].ns[k] / (double)(pairs * count);
	}
	return median(ns);
}

/* clang-format off */
static const struct kind kinds[] = {
	{"threads", "1,2,4,8,16,32,64", "threads, each with 1000 blocks of 16 to 512 bytes", THREADS_MAX, measure_threads},
	{"live", "1000,10000,100000,1000000,10000000", "live blocks of 16 to 512 bytes, random ones replaced", 100000000, measure_live},
	{"sites", "1,10,100,1000,10000,100000", "call sites, a random one for each pair, 1000 live blocks", SITES_MAX, measure_sites},
	{"heap", "16,64,256,1024,4096,8192", "MiB of live blocks of 16 bytes to 64 KiB, random ones replaced", 1 << 20, measure_heap},
};
/* clang-format on */

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	return NULL;
}

static int list_kinds(void)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		printf("%s\t%s\t%s\n", kinds[i].name, kinds[i].points, kinds[i].title);
	return 0;
}

int main(int argc, char **argv)
{
	int floor = argc == 3 && !strncmp(argv[1], "floor_", 6);
	const struct kind *kind = argc == 3 ? find_kind(argv[1] + (floor ? 6 : 0)) : NULL;
	char *end = NULL;
	size_t point = kind ? strtoul(argv[2], &end, 10) : 0;
	double ns;
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list_kinds();
	if (!kind || *end || point < 1 || point > kind->point_max) {
		fputs("usage: micro_growth --list | micro_growth [floor_]KIND POINT\n", stderr);
		return 2;
	}
	if (floor)
		use_floor();
	ns = kind->measure(point);
	if (ns >= 0)
		printf("%s_%zu %.3f\n", argv[1], point, ns);
	return 0;
}
