/* measure.h: what the micro benchmarks share: clocks, a median, random numbers, and how a block is taken.
 *
 * Everything is static, and take() is inlined always: each test calls malloc from return addresses of its own, through
 * the PLT as any program does. The programs are compiled with -fno-builtin, so that no pair is merged or dropped.
 */
#ifndef SCRIPTS_BENCH_MICRO_MEASURE_H
#define SCRIPTS_BENCH_MICRO_MEASURE_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	SIZES = 4096,   /* entries of a table of block sizes; a power of two, so that the loop only masks */
	REPETITIONS = 5 /* of the same fixed work, whose median is the figure */
};

/* Ends the program: no figure is better than a wrong one. */
static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Nanoseconds of a POSIX clock. */
static inline double clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Marsaglia's xorshift32: a few cycles, no memory, the same numbers everywhere. The state must not be 0. */
static inline uint32_t random_next(uint32_t *state)
{
	uint32_t x = *state;
	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

/* Sizes spread evenly over low..high, always the same ones. */
static inline void fill_sizes(uint32_t *sizes, uint32_t low, uint32_t high)
{
	uint32_t state = 2463534242u;
	for (size_t i = 0; i < SIZES; i++)
		sizes[i] = low + random_next(&state) % (high - low + 1);
}

/* Writes the first byte: a program that asks for a block uses it. */
static inline void touch(void *block)
{
	*(volatile char *)block = 1;
}

/* A block as a program gets it: checked and written to. */
static inline __attribute__((always_inline)) void *take(size_t size)
{
	void *block = malloc(size);
	if (!block)
		die("malloc");
	touch(block);
	return block;
}

/* Ties the calling thread to the k-th of the cores it may use, counted around. Threads that the scheduler puts on one
 * core now and on two the next time give two different figures: a cache line that changes cores costs several pairs. */
static inline void pin_to_core(size_t k)
{
	cpu_set_t allowed, one;
	if (sched_getaffinity(0, sizeof allowed, &allowed) || !CPU_COUNT(&allowed))
		return;
	k %= (size_t)CPU_COUNT(&allowed);
	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && k-- == 0) {
			CPU_SET(cpu, &one);
			break;
		}
	sched_setaffinity(0, sizeof one, &one);
}

/* Zeroed memory for the benchmark itself, resident from the start and not from the allocator under test. */
static inline void *own_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static inline int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The median of REPETITIONS values, which it sorts. */
static inline double median(double values[REPETITIONS])
{
	qsort(values, REPETITIONS, sizeof *values, compare_doubles);
	return values[REPETITIONS / 2];
}

/* MemAvailable in bytes; 0 where the kernel does not tell. */
static inline size_t memory_available(void)
{
	size_t kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "MemAvailable: %zu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

/* Runs work(arg) in a child of its own, so that no test inherits the heap of another; ends the program if it failed. */
static inline void run_apart(void (*work)(const void *), const void *arg)
{
	int status;
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		work(arg);
		fflush(stdout);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		fprintf(stderr, "a test's process ended with status %#x\n", (unsigned)status);
		exit(1);
	}
}

#endif
