/* micro_pairs: CPU nanoseconds of one malloc and its free, in the patterns programs have; and the floor beneath them.
 *
 *   micro_pairs [TEST...]    prints a line `NAME VALUE` for each test (all of them without a name)
 *   micro_pairs --list       names, tab, titles
 *
 * Each test runs in a forked child, but for a single named test, which runs in the process itself (for profilers). It
 * does a fixed number of pairs six times over; the first time warms up, the median of the rest is printed. The clock is
 * the process's CPU clock, which sees all threads, helpers of the allocator included, and does not see who else has the
 * cores; threads that hand blocks to each other leave out what they spent waiting. README.md says what each row means.
 */
#include "ring.h"
#include <dlfcn.h>
#include <pthread.h>

enum {
	LIVE_MAX = 100000,
	BATCH = 1000,
	TURNS = 8,
	BUMP_ARENA = 32 << 10, /* fits the first-level cache: the floor is instructions, not memory */
	STORM = 8,             /* threads alive at once in thread_storm */
	STORM_BLOCKS = 16,
	THREADS_MAX = 8
};

struct test {
	const char *name;
	const char *title;
	size_t pairs; /* of one repetition: about 40 ms under glibc */
	void (*prepare)(void);
	double (*work)(size_t pairs); /* CPU ns it took */
};

struct share {
	size_t pairs, core;
};

static uint32_t sizes[SIZES]; /* the test's mix of sizes */
static void **live;
static char bump_arena[BUMP_ARENA];
static size_t bump_used;
static void *(*operator_new)(size_t);
static void (*operator_delete_sized)(void *, size_t);

static void prepare_64(void)
{
	fill_sizes(sizes, 64, 64);
}

static void prepare_mixed(void)
{
	fill_sizes(sizes, 16, 512);
	live = own_memory(LIVE_MAX * sizeof *live);
}

/* All on one core: to wake another core for each thread costs several times what starting and ending it does. */
static void prepare_storm(void)
{
	prepare_mixed();
	pin_to_core(0);
}

static void prepare_live(void)
{
	prepare_mixed();
	for (size_t i = 0; i < LIVE_MAX; i++)
		live[i] = take(sizes[i % SIZES]);
}

static void prepare_calloc(void)
{
	fill_sizes(sizes, 64, 4096);
}

static void prepare_large(void)
{
	fill_sizes(sizes, 8 << 10, 256 << 10);
}

/* C++'s operators: the allocator's own where it is preloaded and has them, else those of libstdc++, as in a program. */
static void prepare_new(void)
{
	prepare_mixed();
	if (!dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL))
		return;
	*(void **)&operator_new = dlsym(RTLD_DEFAULT, "_Znwm");
	*(void **)&operator_delete_sized = dlsym(RTLD_DEFAULT, "_ZdlPvm");
}

static double cpu_now(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* The loop of the lifo tests with nothing in it but the write. */
static double work_floor_loop(size_t pairs)
{
	double start = cpu_now();
	for (size_t i = 0; i < pairs; i++)
		touch(&bump_arena[sizes[i % SIZES]]);
	return cpu_now() - start;
}

static __attribute__((noinline)) void *bump(size_t size)
{
	size_t at = bump_used;
	bump_used = (at + size) % BUMP_ARENA;
	return &bump_arena[at];
}

/* The same loop with the least an allocator can do, called as a function. */
static double work_floor_bump(size_t pairs)
{
	double start = cpu_now();
	for (size_t i = 0; i < pairs; i++)
		touch(bump(sizes[i % SIZES]));
	return cpu_now() - start;
}

static double work_lifo(size_t pairs)
{
	double start = cpu_now();
	for (size_t i = 0; i < pairs; i++)
		free(take(sizes[i % SIZES]));
	return cpu_now() - start;
}

/* Straight-line code, so that each of the 16 calls has a return address of its own. */
static double work_16_sites(size_t pairs)
{
	double start = cpu_now();
	for (size_t i = 0; i < pairs; i += 16) {
#define PAIR(k) free(take(sizes[(i + (k)) % SIZES]));
#define FOUR_PAIRS(k) PAIR(k) PAIR((k) + 1) PAIR((k) + 2) PAIR((k) + 3)
		FOUR_PAIRS(0) FOUR_PAIRS(4) FOUR_PAIRS(8) FOUR_PAIRS(12)
#undef FOUR_PAIRS
#undef PAIR
	}
	return cpu_now() - start;
}

static double work_fifo(size_t pairs)
{
	double start = cpu_now();
	for (size_t done = 0; done < pairs; done += BATCH) {
		for (size_t i = 0; i < BATCH; i++)
			live[i] = take(sizes[(done + i) % SIZES]);
		for (size_t i = 0; i < BATCH; i++)
			free(live[i]);
	}
	return cpu_now() - start;
}

static double work_batch_lifo(size_t pairs)
{
	double start = cpu_now();
	for (size_t done = 0; done < pairs; done += BATCH) {
		for (size_t i = 0; i < BATCH; i++)
			live[i] = take(sizes[(done + i) % SIZES]);
		for (size_t i = BATCH; i-- > 0;)
			free(live[i]);
	}
	return cpu_now() - start;
}

/* Replaces random ones of `count` blocks. The random numbers go on from one repetition to the next. */
static void replace_random(void **blocks, size_t count, size_t pairs, uint32_t *state)
{
	for (size_t i = 0; i < pairs; i++) {
		size_t slot = random_next(state) % count;
		free(blocks[slot]);
		blocks[slot] = take(sizes[i % SIZES]);
	}
}

static double work_random(size_t pairs)
{
	static uint32_t state = 88172645u;
	double start = cpu_now();
	replace_random(live, LIVE_MAX, pairs, &state);
	return cpu_now() - start;
}

static void *replace_own(void *arg)
{
	const struct share *share = arg;
	void *mine[BATCH] = {NULL};
	uint32_t state = 88172645u;
	pin_to_core(share->core);
	replace_random(mine, BATCH, share->pairs, &state);
	for (size_t i = 0; i < BATCH; i++)
		free(mine[i]);
	return NULL;
}

static double work_threads(size_t pairs, size_t count)
{
	pthread_t threads[THREADS_MAX];
	struct share shares[THREADS_MAX];
	double start = cpu_now();
	for (size_t i = 0; i < count; i++) {
		shares[i] = (struct share){.pairs = pairs / count, .core = i};
		if (pthread_create(&threads[i], NULL, replace_own, &shares[i]))
			die("pthread_create");
	}
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return cpu_now() - start;
}

static double work_threads_2(size_t pairs)
{
	return work_threads(pairs, 2);
}

static double work_threads_8(size_t pairs)
{
	return work_threads(pairs, 8);
}

static double work_ring(size_t pairs)
{
	struct ring ring = {.read = 0};
	struct stage stages[] = {{.start = stage_produce, .out = &ring}, {.start = stage_consume, .in = &ring}};
	return run_stages(stages, 2, sizes, pairs);
}

/* The stage in the middle frees what it got and allocates what it sends on: two pairs a message. */
static double work_chain(size_t pairs)
{
	struct ring first = {.read = 0}, second = {.read = 0};
	struct stage stages[] = {{.start = stage_produce, .out = &first},
	                         {.start = stage_relay, .in = &first, .out = &second},
	                         {.start = stage_consume, .in = &second}};
	return run_stages(stages, 3, sizes, pairs / 2);
}

static double work_calloc(size_t pairs)
{
	double start = cpu_now();
	for (size_t i = 0; i < pairs; i++) {
		char *block = calloc(1, sizes[i % SIZES]);
		if (!block || *(volatile char *)block)
			die("calloc");
		touch(block);
		free(block);
	}
	return cpu_now() - start;
}

static size_t next_by_half(size_t size)
{
	return size + size / 2;
}

static size_t next_by_16(size_t size)
{
	return size + 16;
}

/* Grows blocks in turns from 64 bytes to `limit`, again and again, until `steps` reallocs are done. In turns, because a
 * single growing block sits at the end of glibc's heap and extends for nothing, which no program enjoys for long. */
static double grow(size_t steps, size_t limit, size_t (*next)(size_t))
{
	double start = cpu_now();
	while (steps) {
		char *growing[TURNS];
		size_t size = 64;
		for (size_t i = 0; i < TURNS; i++)
			growing[i] = take(size);
		while ((size = next(size)) <= limit && steps)
			for (size_t i = 0; i < TURNS && steps; i++, steps--) {
				growing[i] = realloc(growing[i], size);
				if (!growing[i])
					die("realloc");
				touch(growing[i] + size - 1);
			}
		for (size_t i = 0; i < TURNS; i++)
			free(growing[i]);
	}
	return cpu_now() - start;
}

static double work_grow_half(size_t steps)
{
	return grow(steps, 64 << 10, next_by_half);
}

static double work_grow_16(size_t steps)
{
	return grow(steps, 2 << 10, next_by_16);
}

static double work_large(size_t pairs)
{
	double start = cpu_now();
	for (size_t i = 0; i < pairs; i++) {
		size_t size = sizes[i % SIZES];
		char *block = take(size);
		touch(block + size - 1);
		free(block);
	}
	return cpu_now() - start;
}

static void *live_shortly(void *arg)
{
	void *blocks[STORM_BLOCKS];
	for (size_t i = 0; i < STORM_BLOCKS; i++)
		blocks[i] = take(sizes[i]);
	for (size_t i = 0; i < STORM_BLOCKS; i++)
		free(blocks[i]);
	return arg;
}

static double work_storm(size_t threads)
{
	double start = cpu_now();
	for (size_t done = 0; done < threads; done += STORM) {
		pthread_t alive[STORM];
		for (size_t i = 0; i < STORM; i++)
			if (pthread_create(&alive[i], NULL, live_shortly, NULL))
				die("pthread_create");
		for (size_t i = 0; i < STORM; i++)
			pthread_join(alive[i], NULL);
	}
	return cpu_now() - start;
}

/* A negative time says that the test cannot be had here. */
static double work_new(size_t pairs)
{
	double start = cpu_now();
	if (!operator_new || !operator_delete_sized)
		return -1;
	for (size_t i = 0; i < pairs; i++) {
		size_t size = sizes[i % SIZES];
		void *block = operator_new(size);
		touch(block);
		operator_delete_sized(block, size);
	}
	return cpu_now() - start;
}

/* clang-format off */
static const struct test tests[] = {
	{"floor_loop", "the lifo loop with nothing but the write", 16000000, prepare_64, work_floor_loop},
	{"floor_bump", "the lifo loop with a bump allocator that never frees", 16000000, prepare_64, work_floor_bump},
	{"lifo_64", "malloc and free at once, 64 bytes", 4000000, prepare_64, work_lifo},
	{"lifo_mixed", "malloc and free at once, 16 to 512 bytes", 4000000, prepare_mixed, work_lifo},
	{"lifo_16_sites", "malloc and free at once, 64 bytes, from 16 call sites in turn", 4000000, prepare_64, work_16_sites},
	{"fifo_1000", "1000 mallocs, then 1000 frees in the same order, 16 to 512 bytes", 1200000, prepare_mixed, work_fifo},
	{"batch_lifo", "1000 mallocs, then 1000 frees in reverse order, 16 to 512 bytes", 1200000, prepare_mixed, work_batch_lifo},
	{"random_100k", "replace a random one of 100,000 live blocks, 16 to 512 bytes", 500000, prepare_live, work_random},
	{"cross_thread_ring", "malloc in one thread, free in another, 16 to 512 bytes", 128000, prepare_mixed, work_ring},
	{"threads_2", "2 threads: each replaces random ones of its 1000 blocks, 16 to 512 bytes", 800000, prepare_mixed, work_threads_2},
	{"threads_8", "8 threads: each replaces random ones of its 1000 blocks, 16 to 512 bytes", 800000, prepare_mixed, work_threads_8},
	{"chain", "3 threads in a row, each frees what the one before it sent, 16 to 512 bytes", 128000, prepare_mixed, work_chain},
	{"calloc_64_4096", "calloc and free at once, 64 bytes to 4 KiB", 800000, prepare_calloc, work_calloc},
	{"realloc_half", "a realloc that grows one of 8 blocks by half, up to 64 KiB", 60000, NULL, work_grow_half},
	{"realloc_16", "a realloc that grows one of 8 blocks by 16 bytes, up to 2 KiB", 1500000, NULL, work_grow_16},
	{"large_8k_256k", "malloc and free at once, 8 to 256 KiB, first and last byte written", 300000, prepare_large, work_large},
	{"new_delete_sized", "C++ operator new and sized delete at once, 16 to 512 bytes", 3000000, prepare_new, work_new},
	{"thread_storm", "a thread that allocates and frees 16 blocks and ends, 8 at a time; ns a thread", 1000, prepare_storm, work_storm},
};
/* clang-format on */

static void run_test(const void *arg)
{
	const struct test *test = arg;
	double ns[REPETITIONS];
	if (test->prepare)
		test->prepare();
	if (test->work(test->pairs) < 0) {
		fprintf(stderr, "micro_pairs: %s left out: no libstdc++\n", test->name);
		return;
	}
	for (size_t i = 0; i < REPETITIONS; i++)
		ns[i] = test->work(test->pairs) / (double)test->pairs;
	printf("%s %.3f\n", test->name, median(ns));
}

static const struct test *find_test(const char *name)
{
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		if (!strcmp(tests[i].name, name))
			return &tests[i];
	return NULL;
}

static int list_tests(void)
{
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		printf("%s\t%s\n", tests[i].name, tests[i].title);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list_tests();
	for (int i = 1; i < argc; i++)
		if (!find_test(argv[i])) {
			fprintf(stderr, "micro_pairs: no test '%s'\nusage: micro_pairs --list | micro_pairs [TEST...]\n", argv[i]);
			return 2;
		}
	if (argc == 2)
		run_test(find_test(argv[1]));
	for (int i = 1; argc > 2 && i < argc; i++)
		run_apart(run_test, find_test(argv[i]));
	for (size_t i = 0; argc == 1 && i < sizeof tests / sizeof *tests; i++)
		run_apart(run_test, &tests[i]);
	return 0;
}
