/* Allocates at known sites, keeps its own exact books beside, and prints them at the end, a line for each site:
 *
 *     SYMBOL alloc_objects alloc_space free_objects inuse_objects inuse_space realloc_objects cross_thread_free_objects
 *
 * The driver holds the report's sites to these lines. Each site is a function of its own with one call of the allocator,
 * never inlined, in the dynamic symbol table. Semantics as in analytics/README.md: realloc of a block is one allocation
 * and one free on the block's birth site, and one realloc there; calls that fail count nothing. A "-" for the last number
 * means that the scenario has frees whose thread is not defined (owners that are gone).
 *
 * Argument: the scenario (see `scenarios`), then a seed.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* ---- the sites: one call each; kept() after the call forbids a tail call, which would lend us our caller's address ---- */

#define SITE(name, call)                                                                                               \
	__attribute__((noinline)) void *name(size_t n);                                                                    \
	__attribute__((noinline)) void *name(size_t n)                                                                     \
	{                                                                                                                  \
		void *p = NULL;                                                                                                \
		call;                                                                                                          \
		return kept(p);                                                                                                \
	}

SITE(site_malloc, p = malloc(n))
SITE(site_malloc_again, p = malloc(n))
SITE(site_malloc_third, p = malloc(n))
SITE(site_calloc, p = calloc(1, n))
SITE(site_calloc_many, p = calloc(n, 3))
SITE(site_realloc_null, p = realloc(NULL, n))
SITE(site_reallocarray, p = reallocarray(NULL, n, 2))
SITE(site_memalign, p = memalign(256, n))
SITE(site_memalign_huge, p = memalign(65536, n))
SITE(site_aligned_alloc, p = aligned_alloc(64, n))
SITE(site_posix_memalign, if (posix_memalign(&p, 4096, n)) p = NULL)
SITE(site_valloc, p = valloc(n))
SITE(site_pvalloc, p = pvalloc(n))

static const struct site {
	const char *symbol;
	void *(*take)(size_t);
	size_t times; /* bytes requested for each byte of n */
} sites[] = {
	{"site_malloc", site_malloc, 1},
	{"site_malloc_again", site_malloc_again, 1},
	{"site_malloc_third", site_malloc_third, 1},
	{"site_calloc", site_calloc, 1},
	{"site_calloc_many", site_calloc_many, 3},
	{"site_realloc_null", site_realloc_null, 1},
	{"site_reallocarray", site_reallocarray, 2},
	{"site_memalign", site_memalign, 1},
	{"site_memalign_huge", site_memalign_huge, 1},
	{"site_aligned_alloc", site_aligned_alloc, 1},
	{"site_posix_memalign", site_posix_memalign, 1},
	{"site_valloc", site_valloc, 1},
	{"site_pvalloc", site_pvalloc, 1},
};

enum { SITES = sizeof(sites) / sizeof(sites[0]), THREADS = 4, SLOTS = 2000 };

/* ---- the books ---- */

static struct {
	atomic_ullong allocs, space, frees, live_space, reallocs, crossed;
	unsigned long long inherited; /* alive at the fork that made this process */
} books[SITES];

static bool crossings_unknown;

struct block {
	void *p;
	size_t usable, asked;
	int site, owner; /* the thread that allocated or last resized it */
};

/* The bytes that carry a pattern; glibc's pvalloc(0) is less usable than the page that we count for it. */
static size_t looked_at(const struct block *b)
{
	size_t n = b->asked < b->usable ? b->asked : b->usable;
	return n < 64 ? n : 64;
}

static struct block take(int site, size_t n, int self)
{
	struct block b = {.p = sites[site].take(n), .asked = n * sites[site].times, .site = site, .owner = self};
	if (sites[site].take == site_pvalloc) /* whole pages are what it asks for */
		b.asked = n ? (n + 4095) / 4096 * 4096 : 4096;
	CHECK(b.p, "%s(%zu) gives NULL", sites[site].symbol, n);
	b.usable = malloc_usable_size(b.p);
	fill(b.p, looked_at(&b), (uintptr_t)b.p);
	books[site].allocs++;
	books[site].space += b.asked;
	books[site].live_space += b.usable;
	return b;
}

static void left(struct block *b, int self)
{
	books[b->site].frees++;
	books[b->site].live_space -= b->usable;
	books[b->site].crossed += b->owner != self;
	b->p = NULL;
}

static void give(struct block *b, int self)
{
	size_t look = looked_at(b);
	CHECK(first_wrong(b->p, look, (uintptr_t)b->p) == look, "a block of %s was overwritten", sites[b->site].symbol);
	free(b->p);
	left(b, self);
}

/* In the owner's thread only: whether another's realloc moves the block is the allocator's business. */
static void resize(struct block *b, size_t n, int self)
{
	CHECK(b->owner == self, "the victim resizes a foreign block");
	void *p = realloc(b->p, n);
	CHECK(p, "realloc to %zu gives NULL", n);
	int site = b->site;
	left(b, self);
	books[site].reallocs++;
	*b = (struct block){.p = p, .usable = malloc_usable_size(p), .asked = n, .site = site, .owner = self};
	fill(p, n < 64 ? n : 64, (uintptr_t)p);
	books[site].allocs++;
	books[site].space += n;
	books[site].live_space += b->usable;
}

static void print_books(void)
{
	for (int i = 0; i < SITES; i++) {
		unsigned long long allocs = books[i].allocs, frees = books[i].frees;
		printf("%s %llu %llu %llu %llu %llu %llu ", sites[i].symbol, allocs, (unsigned long long)books[i].space, frees,
		       books[i].inherited + allocs - frees, (unsigned long long)books[i].live_space,
		       (unsigned long long)books[i].reallocs);
		if (crossings_unknown) {
			printf("-\n");
		} else {
			printf("%llu\n", (unsigned long long)books[i].crossed);
		}
	}
}

/* ---- work ---- */

static uint64_t seed = 1;
static bool only_pooled; /* sizes and alignments that the fallback is not needed for */

/* Small sizes mostly, each range now and then. */
static size_t some_size(uint64_t *random)
{
	uint64_t r = next_random(random);
	size_t top = only_pooled ? 300 : r % 100 < 80 ? 256 : r % 100 < 95 ? 4096 : r % 100 < 99 ? 65536 : 600000;
	return (size_t)((r >> 20) % top);
}

/* A thread's own blocks, coming and going at random; what is left at the end stays alive. In static memory: the victim's
 * books must not need the allocator.
 */
static struct block slots[THREADS][SLOTS];

static void churn(int self, int rounds, bool with_realloc)
{
	uint64_t random = seed * 1000 + (uint64_t)self;
	for (int i = 0; i < rounds; i++) {
		struct block *b = &slots[self][next_random(&random) % SLOTS];
		uint64_t r = next_random(&random);
		if (!b->p) {
			int site = (int)(r % SITES);
			site = only_pooled && sites[site].take == site_memalign_huge ? 0 : site;
			*b = take(site, some_size(&random), self);
		} else if (with_realloc && r % 3 == 0 && b->owner == self) {
			resize(b, 1 + some_size(&random), self);
		} else {
			give(b, self);
		}
	}
}

static void give_all(int whose, int self, int step)
{
	for (int i = 0; i < SLOTS; i += step) {
		if (slots[whose][i].p) {
			give(&slots[whose][i], self);
		}
	}
}

static void in_threads(void *(*body)(void *))
{
	pthread_t t[THREADS];
	for (intptr_t i = 0; i < THREADS; i++) {
		CHECK(pthread_create(&t[i], NULL, body, (void *)i) == 0, "pthread_create");
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
	}
}

static void *churn_body(void *self)
{
	churn((int)(intptr_t)self, 60000, true);
	return NULL;
}

static void single(void)
{
	churn(0, 150000, true);
}

static void threads(void)
{
	in_threads(churn_body);
}

/* The threads are gone when the first one frees their blocks; slabs have no owner then. */
static void orphans(void)
{
	crossings_unknown = true;
	in_threads(churn_body);
	for (int i = 0; i < THREADS; i++) {
		give_all(i, THREADS, i + 1);
	}
}

/* Each thread frees half of its neighbour's blocks, while all live, and allocates on. Only blocks that the pools serve,
 * since the fallback's lie in no thread's heap.
 */
static pthread_barrier_t together;

static void *cross_body(void *arg)
{
	int self = (int)(intptr_t)arg;
	for (int round = 0; round < 5; round++) {
		churn(self, 10000, true);
		pthread_barrier_wait(&together);
		give_all((self + 1) % THREADS, self, 2);
		pthread_barrier_wait(&together);
	}
	return NULL;
}

static void cross(void)
{
	only_pooled = true;
	pthread_barrier_init(&together, NULL, THREADS);
	in_threads(cross_body);
}

/* Many short threads, in waves; each leaves some blocks to the first thread. */
static void *storm_body(void *arg)
{
	int self = (int)(intptr_t)arg;
	static atomic_int started;
	uint64_t random = seed * 10000 + (uint64_t)started++;
	for (int i = 0; i < 60; i++) {
		struct block b = take(i % SITES, some_size(&random), self);
		if (i % 6) {
			give(&b, self);
		} else {
			struct block *slot = &slots[self][next_random(&random) % SLOTS];
			if (slot->p) {
				give(slot, self);
			}
			*slot = b;
		}
	}
	return NULL;
}

static void storm(void)
{
	crossings_unknown = true;
	for (int wave = 0; wave < 100; wave++) {
		in_threads(storm_body);
	}
}

/* Calls that fail between calls that do not. */
static void refused(void)
{
	for (int i = 0; i < SITES; i++) {
		for (int k = 0; k < 10; k++) {
			struct block b = take(i, 100 + (size_t)k, 0);
			CHECK(!sites[i].take(opaque((size_t)PTRDIFF_MAX + 1)), "%s gives an impossible block", sites[i].symbol);
			CHECK(!realloc(b.p, opaque(SIZE_MAX - 100)), "realloc gives an impossible block");
			free(NULL);
			if (k % 2) {
				give(&b, 0);
			}
		}
	}
}

/* Size 0 is a block of 0 bytes; realloc to 0 is a free. */
static void zero(void)
{
	for (int i = 0; i < SITES; i++) {
		for (int k = 0; k < 30; k++) {
			struct block b = take(i, 0, 0);
			if (k % 3 == 0) {
				resize(&b, 10, 0);
				CHECK(!realloc(b.p, opaque(0)), "realloc(p, 0) gives a block");
				left(&b, 0);
			} else if (k % 3 == 1) {
				give(&b, 0);
			}
		}
	}
}

/* One block of each site grown and shrunk through every class and into the fallback and back. */
static void reallocs(void)
{
	for (int i = 0; i < SITES; i++) {
		struct block b = take(i, 1, 0);
		for (size_t n = 1; n < 2 * MIB; n = n * 5 / 4 + 1) {
			resize(&b, n, 0);
		}
		for (size_t n = 2 * MIB; n > 0; n = n * 3 / 4) {
			resize(&b, n, 0);
		}
		if (i % 2) {
			give(&b, 0);
		}
	}
}

/* A site that is busy, then cold while others are busy, then busy again: ownership comes and goes, the counts stay. */
static void phases(void)
{
	for (int phase = 0; phase < 3 * SITES; phase++) {
		int site = phase % SITES;
		size_t n = 16 + (size_t)phase * 16;
		for (int i = 0; i < SLOTS; i++) {
			slots[0][i] = take(site, n, 0);
		}
		give_all(0, 0, 1);
		slots[1][phase] = take(site, n, 0);
	}
}

/* The child of a fork counts from the fork on, with what was alive then as inherited; it frees and resizes that, and
 * makes threads of its own. The parent, which was threaded, prints nothing.
 */
static void forked(void)
{
	crossings_unknown = true;
	in_threads(churn_body);
	churn(0, 20000, true);
	pid_t pid = fork();
	CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (pid) {
		int status;
		_exit(waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1);
	}
	for (int i = 0; i < SITES; i++) {
		books[i].inherited = books[i].allocs - books[i].frees;
		books[i].allocs = books[i].space = books[i].frees = books[i].reallocs = 0;
	}
	churn(0, 20000, true);
	in_threads(churn_body);
	give_all(1, 0, 3);
}

static const struct scenario {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{"single", single},   {"threads", threads}, {"orphans", orphans},   {"cross", cross},   {"storm", storm},
	{"refused", refused}, {"zero", zero},       {"reallocs", reallocs}, {"phases", phases}, {"forked", forked},
};

int main(int argc, char **argv)
{
	CHECK(argc > 1, "which scenario?");
	if (argc > 2) {
		seed = strtoull(argv[2], NULL, 10);
	}
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (strcmp(scenarios[i].name, argv[1]) == 0) {
			scenarios[i].run();
			print_books();
			return 0;
		}
	}
	CHECK(0, "no scenario %s", argv[1]);
}
