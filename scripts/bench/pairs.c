/* pairs.c: what one malloc and its free cost, in a dozen patterns; and what a live object costs beyond its bytes.
 *
 *   pairs --list             the rows: name, tab, what it does
 *   pairs ROW [SCALE]        prints ns a pair; SCALE in percent shortens or lengthens the run (default 100)
 *   pairs space SIZE         prints bytes of RSS per live object of that size, beyond SIZE
 *
 * A plain program: it knows no allocator, calls malloc and free through the PLT as any program does, and is run under
 * each allocator by scripts/bench-first. One row a process, so that no row inherits another's heap. It is compiled with
 * -fno-builtin, and every block is written to, so that the compiler can neither merge nor drop a pair. A row warms up
 * with an eighth of its pairs before the clock starts: first touches of memory belong to the program workloads and to
 * peak RSS. Rows of one thread read the CPU clock of the process (so an allocator's helper threads count and a busy
 * machine does not); rows of two threads read the wall clock, nine times, and give the median.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
	SIZES = 4096,
	LIVE_MAX = 100000,
	BATCH = 1000,
	RING = 1024,
	HANDED = 64,
	PARTS = 9,
	TURNS = 8,
	OBJECTS = 1000000,
	SPINS_MAX = 2000
};

struct row {
	const char *name;
	const char *text;
	size_t pairs; /* about 0.1 s under glibc */
	int threads;
	void (*prepare)(void);
	void (*work)(size_t pairs);
};

static uint32_t sizes[SIZES]; /* the row's mix of sizes */
static uint32_t random_state = 2463534242u;
static char **live;
static _Alignas(64) _Atomic(size_t) written; /* blocks the producer has put in the ring */
static _Alignas(64) _Atomic(size_t) freed;   /* blocks the consumer has freed */

static uint32_t random_next(uint32_t *state)
{
	uint32_t x = *state;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

static double now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* A block as a program gets it: checked and written to. */
static char *take(size_t size)
{
	char *p = malloc(size);
	if (!p)
		abort();
	*(volatile char *)p = 1;
	return p;
}

/* Every pattern below draws from `sizes`; these fill it. */
static void fill_sizes(uint32_t low, uint32_t high)
{
	for (size_t i = 0; i < SIZES; i++)
		sizes[i] = low + random_next(&random_state) % (high - low + 1);
}

static void prepare_64(void)
{
	fill_sizes(64, 64);
}

static void prepare_mixed(void)
{
	fill_sizes(16, 512);
}

static void prepare_calloc(void)
{
	fill_sizes(64, 4096);
}

static void prepare_large(void)
{
	fill_sizes(8 << 10, 256 << 10);
}

static void prepare_live(void)
{
	fill_sizes(16, 512);
	for (size_t i = 0; i < LIVE_MAX; i++)
		live[i] = take(sizes[i % SIZES]);
}

static void work_lifo(size_t pairs)
{
	for (size_t i = 0; i < pairs; i++)
		free(take(sizes[i % SIZES]));
}

static void work_fifo(size_t pairs)
{
	for (size_t done = 0; done < pairs; done += BATCH) {
		for (size_t i = 0; i < BATCH; i++)
			live[i] = take(sizes[(done + i) % SIZES]);
		for (size_t i = 0; i < BATCH; i++)
			free(live[i]);
	}
}

static void work_random(size_t pairs)
{
	uint32_t state = random_state;
	for (size_t i = 0; i < pairs; i++) {
		size_t slot = random_next(&state) % LIVE_MAX;
		free(live[slot]);
		live[slot] = take(sizes[i % SIZES]);
	}
	random_state = state;
}

static void work_calloc(size_t pairs)
{
	for (size_t i = 0; i < pairs; i++) {
		char *p = calloc(1, sizes[i % SIZES]);
		if (!p || *(volatile char *)p)
			abort();
		*(volatile char *)p = 1;
		free(p);
	}
}

/* Grows blocks in turns from 64 bytes to `limit` and frees them, until `steps` reallocs are done. In turns, because a
 * single growing block sits at the end of glibc's heap and extends for nothing, which no program enjoys for long. */
static void grow(size_t steps, size_t limit, size_t (*next)(size_t))
{
	while (steps) {
		char *growing[TURNS];
		size_t size = 64;
		for (size_t i = 0; i < TURNS; i++)
			growing[i] = take(size);
		while ((size = next(size)) <= limit && steps)
			for (size_t i = 0; i < TURNS && steps; i++, steps--) {
				growing[i] = realloc(growing[i], size);
				if (!growing[i])
					abort();
				((volatile char *)growing[i])[size - 1] = 1;
			}
		for (size_t i = 0; i < TURNS; i++)
			free(growing[i]);
	}
}

static size_t next_by_half(size_t size)
{
	return size + size / 2;
}

static size_t next_by_16(size_t size)
{
	return size + 16;
}

static void work_grow_half(size_t steps)
{
	grow(steps, 64 << 10, next_by_half);
}

static void work_grow_16(size_t steps)
{
	grow(steps, 2 << 10, next_by_16);
}

static void work_large(size_t pairs)
{
	for (size_t i = 0; i < pairs; i++) {
		char *p = take(sizes[i % SIZES]);
		((volatile char *)p)[sizes[i % SIZES] - 1] = 1;
		free(p);
	}
}

/* Spins a while, then gives the core away: there may be fewer cores than threads. */
static void wait_a_bit(unsigned *spins)
{
	if (++*spins % SPINS_MAX == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
}

/* A ring handed over 64 blocks at a time: one by one, the two cores' talk would cost more than the allocator. */
static void *consume(void *arg)
{
	size_t pairs = *(size_t *)arg;
	unsigned spins = 0;
	for (size_t i = 0; i < pairs; i += HANDED) {
		while (atomic_load_explicit(&written, memory_order_acquire) == i)
			wait_a_bit(&spins);
		for (size_t k = i; k < i + HANDED; k++)
			free(live[k % RING]);
		atomic_store_explicit(&freed, i + HANDED, memory_order_release);
	}
	return NULL;
}

static void work_cross(size_t pairs)
{
	pthread_t consumer;
	unsigned spins = 0;
	written = freed = 0;
	if (pthread_create(&consumer, NULL, consume, &pairs))
		abort();
	for (size_t i = 0; i < pairs; i += HANDED) {
		while (i - atomic_load_explicit(&freed, memory_order_acquire) == RING)
			wait_a_bit(&spins);
		for (size_t k = i; k < i + HANDED; k++)
			live[k % RING] = take(sizes[k % SIZES]);
		atomic_store_explicit(&written, i + HANDED, memory_order_release);
	}
	pthread_join(consumer, NULL);
}

static void *replace(void *arg)
{
	size_t pairs = *(size_t *)arg;
	char *mine[BATCH] = {NULL};
	uint32_t state = 88172645u;
	for (size_t i = 0; i < pairs; i++) {
		size_t slot = random_next(&state) % BATCH;
		free(mine[slot]);
		mine[slot] = take(sizes[i % SIZES]);
	}
	for (size_t i = 0; i < BATCH; i++)
		free(mine[i]);
	return NULL;
}

static void work_two(size_t pairs)
{
	pthread_t other;
	if (pthread_create(&other, NULL, replace, &pairs))
		abort();
	replace(&pairs);
	pthread_join(other, NULL);
}

static const struct row rows[] = {
	{"lifo 64 B", "malloc and free at once, 64 bytes", 12000000, 1, prepare_64, work_lifo},
	{"lifo mixed", "malloc and free at once, 16 to 512 bytes", 12000000, 1, prepare_mixed, work_lifo},
	{"fifo 1000", "1000 mallocs, then 1000 frees in the same order, 16 to 512 bytes", 4000000, 1, prepare_mixed,
     work_fifo},
	{"random 100k", "replace a random one of 100,000 live blocks, 16 to 512 bytes", 1200000, 1, prepare_live,
     work_random},
	{"cross-thread", "malloc here, free in another thread, through a ring of 1024, 16 to 512 bytes", 1000000, 2,
     prepare_mixed, work_cross},
	{"two threads", "each replaces a random one of its 1000 live blocks, 16 to 512 bytes", 4000000, 2, prepare_mixed,
     work_two},
	{"calloc", "calloc and free, 64 bytes to 4 KiB", 2000000, 1, prepare_calloc, work_calloc},
	{"realloc x1.5", "a realloc that grows one of 8 blocks by half, up to 64 KiB", 400000, 1, NULL, work_grow_half},
	{"realloc +16", "a realloc that grows one of 8 blocks by 16 bytes, up to 2 KiB", 3000000, 1, NULL, work_grow_16},
	{"large", "malloc and free, 8 to 256 KiB, first and last byte touched", 400000, 1, prepare_large, work_large},
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* A row of two threads is cut in parts and gives their median: a wall clock also sees who else has the cores. */
static int run_row(const struct row *row, size_t scale)
{
	clockid_t clock = row->threads > 1 ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
	size_t parts = row->threads > 1 ? PARTS : 1;
	size_t pairs = row->pairs * scale / 100 / parts + 1;
	double ns[PARTS];
	if (row->prepare)
		row->prepare();
	row->work(pairs * parts / 8 + 1);
	for (size_t i = 0; i < parts; i++) {
		double start = now(clock);
		row->work(pairs);
		ns[i] = (now(clock) - start) / (double)pairs;
	}
	qsort(ns, parts, sizeof *ns, compare);
	printf("%.3f\n", ns[parts / 2]);
	return 0;
}

static size_t resident(void)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%*u %zu", &pages) != 1)
		abort();
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static int run_space(size_t size)
{
	char **objects =
		mmap(NULL, OBJECTS * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (objects == MAP_FAILED)
		abort();
	free(take(size));                         /* the allocator's own start is not the objects' */
	size_t before = (resident(), resident()); /* the first look lets stdio take its buffer */
	for (size_t i = 0; i < OBJECTS; i++) {
		objects[i] = take(size);
		memset(objects[i], (int)i, size);
	}
	size_t after = resident();
	printf("%.3f\n", ((double)after - (double)before) / OBJECTS - (double)size);
	return objects[OBJECTS / 2][0] == 'x';
}

int main(int argc, char **argv)
{
	live = mmap(NULL, LIVE_MAX * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (live == MAP_FAILED)
		abort();
	if (argc == 3 && !strcmp(argv[1], "space"))
		return run_space(strtoul(argv[2], NULL, 10));
	for (size_t i = 0; argc > 1 && i < sizeof rows / sizeof *rows; i++) {
		if (!strcmp(argv[1], "--list"))
			printf("%s\t%s\n", rows[i].name, rows[i].text);
		else if (!strcmp(argv[1], rows[i].name))
			return run_row(&rows[i], argc > 2 ? strtoul(argv[2], NULL, 10) : 100);
	}
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return 0;
	fputs("usage: pairs --list | pairs ROW [SCALE] | pairs space SIZE\n", stderr);
	return 2;
}
