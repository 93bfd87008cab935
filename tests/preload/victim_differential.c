/* victim_differential.c: the whole API at random against a simple model, on several threads.
 *
 * The model of a block is its address, its size, the bytes that were filled and the seed of the pattern in them, which
 * depends on the position: so a byte lost, moved, shared with another block or left over from one shows when the block is
 * checked, and every block is checked in full before it is freed, resized or handed to another thread. Each thread has
 * slots of its own; mailboxes, each behind a lock, carry blocks between the threads, so that blocks are freed and resized
 * by others than those who made them. Half of the fills go to the last usable byte: all of it belongs to the block,
 * and realloc must keep it.
 *
 * Arguments: operations in total, seed, threads. The same arguments make the same calls in each thread (which mailbox
 * held what depends on the schedule; with one thread nothing does). A failure prints the seed.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

enum { THREADS_MAX = 16, SLOTS = 4096, MAILBOXES = 256, MARK = 4242 };

struct block {
	unsigned char *p;
	size_t size, filled;
	uint64_t seed;
};

struct mailbox {
	atomic_flag lock;
	struct block block;
};

struct worker {
	pthread_t thread;
	uint64_t random;
	long operations, index;
	struct block slots[SLOTS];
};

static struct worker workers[THREADS_MAX];
static struct mailbox mailboxes[MAILBOXES];
static uint64_t start_seed = 1;

#define HOLDS(condition, ...)                                                                                          \
	do {                                                                                                               \
		if (!(condition)) {                                                                                            \
			dprintf(1, "seed %llu, thread %ld, operation %ld: ", (unsigned long long)start_seed, w->index,             \
			        w->operations);                                                                                    \
			victim_fail(__FILE__, __LINE__, __VA_ARGS__);                                                              \
		}                                                                                                              \
	} while (0)

/* What only some allocators have; NULL where it is missing. */
static void (*free_sized_)(void *, size_t);
static void *(*new_)(size_t);
static void (*delete_sized_)(void *, size_t);

static void look_up(void)
{
	free_sized_ = (void (*)(void *, size_t))(uintptr_t)victim_symbol("free_sized");
	new_ = (void *(*)(size_t))(uintptr_t)victim_symbol("_Znwm");
	delete_sized_ = (void (*)(void *, size_t))(uintptr_t)victim_symbol("_ZdlPvm");
}

/* 10 % of the blocks hold most of the bytes, as in programs; the mean is about 600 bytes. */
static size_t some_size(uint64_t r)
{
	uint64_t kind = r % 10000;
	size_t top = kind < 9000 ? 257 : kind < 9900 ? 2049 : kind < 9995 ? 32769 : MIB + 1;
	return (size_t)((r >> 16) % top);
}

static void check(const struct worker *w, const struct block *b, size_t bytes)
{
	size_t wrong = first_wrong(b->p, bytes, b->seed);
	HOLDS(wrong == bytes, "byte %zu of a block of %zu bytes (%zu filled) at %p has changed", wrong, b->size, b->filled,
	      (void *)b->p);
}

static void refill(struct worker *w, struct block *b)
{
	size_t usable = malloc_usable_size(b->p);
	HOLDS(usable >= b->size, "a block of %zu bytes is usable to %zu", b->size, usable);
	uint64_t r = next_random(&w->random);
	b->seed = r;
	b->filled = r % 2 && usable - b->size < 4096 ? usable : b->size;
	fill(b->p, b->filled, b->seed);
}

static void made(struct worker *w, struct block *b, void *p, size_t size, size_t alignment, const char *how)
{
	HOLDS(p, "%s of %zu bytes gives NULL", how, size);
	HOLDS((uintptr_t)p % 16 == 0 && (uintptr_t)p % alignment == 0, "%s of %zu bytes, aligned to %zu, gives %p", how,
	      size, alignment, p);
	HOLDS(errno == MARK, "%s of %zu bytes sets errno to %d", how, size, errno);
	*b = (struct block){.p = p, .size = size};
	refill(w, b);
}

static void make(struct worker *w, struct block *b)
{
	uint64_t r = next_random(&w->random);
	size_t n = some_size(next_random(&w->random));
	size_t alignment = (size_t)16 << ((r >> 32) % ((r >> 8) % 50 == 0 ? 17 : 9));
	void *p = NULL;
	switch (r % 32) {
	case 0:
		made(w, b, memalign(alignment, n), n, alignment, "memalign");
		break;
	case 1:
		made(w, b, aligned_alloc(alignment, n), n, alignment, "aligned_alloc");
		break;
	case 2:
		HOLDS(posix_memalign(&p, alignment, n) == 0, "posix_memalign(%zu, %zu) fails", alignment, n);
		made(w, b, p, n, alignment, "posix_memalign");
		break;
	case 3:
		if ((r >> 8) % 16 == 0) {
			made(w, b, (r >> 16) % 2 ? valloc(n) : pvalloc(n), n, 4096, "valloc");
			break;
		} /* fallthrough */
	case 4:
	case 5:
	case 6:
		p = calloc(r % 2 ? n : 1, r % 2 ? 1 : n);
		for (size_t i = 0; p && i < n; i++) {
			HOLDS(((char *)p)[i] == 0, "byte %zu of calloc(%zu) is not 0", i, n);
		}
		made(w, b, p, n, 16, "calloc");
		break;
	case 7:
		made(w, b, reallocarray(NULL, n / 8, 8), n / 8 * 8, 16, "reallocarray");
		break;
	case 8:
		made(w, b, realloc(NULL, n), n, 16, "realloc(NULL)");
		break;
	case 9:
	case 10:
		made(w, b, new_ ? new_(n) : malloc(n), n, 16, "operator new");
		break;
	default:
		made(w, b, malloc(n), n, 16, "malloc");
	}
}

static void resize(struct worker *w, struct block *b)
{
	uint64_t r = next_random(&w->random);
	size_t n = r % 4 == 0 ? b->size + (r >> 8) % 64 : r % 4 == 1 ? b->size * 3 / 2 + 1 : some_size(r >> 8);
	n = n > 2 * MIB ? 1 : n;
	check(w, b, b->filled);
	if (n == 0) {
		HOLDS(!realloc(b->p, 0), "realloc(p, 0) gives a block");
		b->p = NULL;
		return;
	}
	struct block old = *b;
	void *p = r % 16 == 5 && n % 4 == 0 ? reallocarray(b->p, n / 4, 4) : realloc(b->p, n);
	HOLDS(p, "realloc of %zu to %zu gives NULL", old.size, n);
	old.p = p;
	check(w, &old, old.filled < n ? old.filled : n);
	made(w, b, p, n, 16, "realloc");
}

static void drop(struct worker *w, struct block *b)
{
	uint64_t r = next_random(&w->random);
	check(w, b, b->filled);
	if (r % 16 == 0 && free_sized_) {
		free_sized_(b->p, b->size);
	} else if (r % 16 == 1 && delete_sized_) {
		delete_sized_(b->p, b->size);
	} else {
		free(b->p);
	}
	HOLDS(errno == MARK, "free of %zu bytes sets errno to %d", b->size, errno);
	b->p = NULL;
}

/* Swaps the slot with a mailbox: what comes out was made by anybody. */
static void exchange(struct worker *w, struct block *b)
{
	struct mailbox *m = &mailboxes[next_random(&w->random) % MAILBOXES];
	if (b->p) {
		check(w, b, b->filled);
	}
	while (atomic_flag_test_and_set_explicit(&m->lock, memory_order_acquire)) {
		__builtin_ia32_pause();
	}
	struct block mine = *b;
	*b = m->block;
	m->block = mine;
	atomic_flag_clear_explicit(&m->lock, memory_order_release);
	if (b->p) {
		check(w, b, b->filled);
	}
}

/* Calls that must fail, and must leave the block as it is. */
static void refuse(struct worker *w, struct block *b)
{
	void *p = w;
	uint64_t r = next_random(&w->random);
	size_t huge = opaque((size_t)PTRDIFF_MAX + 1 + (size_t)(r >> 2));
	switch (r % 5) {
	case 0:
		HOLDS(!malloc(huge), "malloc(%zu) gives a block", huge);
		break;
	case 1:
		HOLDS(!calloc(huge, 2), "calloc(%zu, 2) gives a block", huge);
		break;
	case 2:
		HOLDS(!b->p || !realloc(b->p, huge), "realloc to %zu gives a block", huge);
		break;
	case 3:
		HOLDS(posix_memalign(&p, 24, 100) == EINVAL && p == w, "posix_memalign(24) is not refused");
		break;
	case 4:
		HOLDS(!b->p || !reallocarray(b->p, huge, 2), "reallocarray of an overflow gives a block");
		break;
	}
	HOLDS(errno == ENOMEM || errno == MARK, "a refusal sets errno to %d", errno);
	errno = MARK;
	if (b->p) {
		check(w, b, b->filled);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	errno = MARK;
	for (long left = w->operations; left > 0; left--) {
		w->operations = left; /* for the message */
		uint64_t r = next_random(&w->random);
		struct block *b = &w->slots[(r >> 32) % SLOTS];
		unsigned what = r % 1000;
		if (what < 4) {
			refuse(w, b);
		} else if (what < 60) {
			exchange(w, b);
		} else if (!b->p) {
			make(w, b);
		} else if (what < 250) {
			resize(w, b);
		} else if (what < 280) {
			check(w, b, b->filled);
		} else if (what == 999 && r >> 56 == 0) {
			malloc_trim(0);
			errno = MARK;
		} else {
			drop(w, b);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	long operations = argc > 1 ? atol(argv[1]) : 1000000;
	start_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	long threads = argc > 3 ? atol(argv[3]) : 4;
	CHECK(threads >= 1 && threads <= THREADS_MAX, "1 to %d threads", THREADS_MAX);
	look_up();
	for (long i = 0; i < threads; i++) {
		workers[i].random = start_seed * 1000003 + (uint64_t)i;
		workers[i].operations = operations / threads;
		workers[i].index = i;
		CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0, "pthread_create");
	}
	for (long i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
	}
	struct worker *w = &workers[0]; /* main frees what is left, for all */
	errno = MARK;
	for (long i = 0; i < threads * SLOTS + MAILBOXES; i++) {
		struct block *b =
			i < MAILBOXES ? &mailboxes[i].block : &workers[(i - MAILBOXES) / SLOTS].slots[(i - MAILBOXES) % SLOTS];
		if (b->p) {
			drop(w, b);
		}
	}
	return victim_ok();
}
