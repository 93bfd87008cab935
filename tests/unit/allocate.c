/* allocate, release, reallocate from end to end in this process: blocks of all sizes from one thread and from several keep
 * their bytes, and every one is counted exactly on its site. */
#include "shim/allocate.h"
#include "pools/meta.h"
#include "pools/walk.h"
#include "shim/fallback.h"
#include "shim/publish.h"
#include "tests/acting.h"
#include "tests/books.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/sanitized.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:64M");
}

enum { HELD = 2000, THREADS = 4, STEPS = 40000, LARGE_HELD = 24, LARGE_STEPS = 4000 };

static bool large; /* blocks of 2 KiB to 5 MiB, fewer of them */

struct block {
	unsigned char *at;
	size_t bytes;
	unsigned site;
};

static struct block *_Atomic passed[256]; /* between threads */

static bool marked(const struct block *b, size_t bytes)
{
	unsigned char mark = (unsigned char)(b->site + 1);
	for (size_t i = 0; i < bytes; i += i < 64 ? 1 : 997)
		if (b->at[i] != mark)
			return false;
	return true;
}

static const char *make(struct dice *dice, struct block *b)
{
	size_t most = dice_chance(dice, 80) ? 600 : dice_chance(dice, 90) ? 20000 : 500000;
	size_t align = dice_chance(dice, 10) ? (size_t)16 << dice_below(dice, 10) : 16;
	bool zero = dice_chance(dice, 20);
	b->bytes = large ? dice_large_size(dice) : dice_below(dice, most);
	b->site = (unsigned)dice_below(dice, large ? 6 : BOOKS_SITES);
	errno = 4711;
	b->at = align > 16 ? allocate_aligned(b->bytes, align, pc_of(b->site))
	        : zero     ? allocate_zeroed(b->bytes, pc_of(b->site))
	                   : allocate(b->bytes, pc_of(b->site));
	if (!b->at || errno != 4711)
		return "a block comes and errno stays";
	if ((uintptr_t)b->at % align || usable_size(b->at) < b->bytes)
		return "a block is aligned and large enough";
	for (size_t i = 0; zero && align == 16 && i < b->bytes; i++)
		if (b->at[i])
			return "calloc's bytes are zero";
	memset(b->at, (int)b->site + 1, b->bytes);
	books_allocated(b->site, b->bytes);
	return NULL;
}

static const char *change(struct dice *dice, struct block *b)
{
	size_t bytes = 1 + dice_below(dice, dice_chance(dice, 90) ? 2000 : 400000);
	if (large)
		bytes = dice_chance(dice, 30)   ? dice_large_size(dice)
		        : dice_chance(dice, 50) ? b->bytes + b->bytes / 2
		        : dice_chance(dice, 50) ? b->bytes + 1 + dice_below(dice, 5000)
		                                : 1 + b->bytes / 4 * 3;
	unsigned char *fresh =
		reallocate(b->at, bytes, pc_of((b->site + 1) % BOOKS_SITES)); /* its birth site counts, not the caller */
	if (!fresh)
		return "realloc gives a block";
	b->at = fresh;
	if (!marked(b, bytes < b->bytes ? bytes : b->bytes))
		return "realloc keeps the bytes";
	memset(fresh, (int)b->site + 1, bytes);
	b->bytes = bytes;
	books_reallocated(b->site, bytes);
	return NULL;
}

static const char *drop(struct block *b)
{
	if (!marked(b, b->bytes))
		return "a block keeps its bytes";
	books_freed(b->site);
	errno = 4712;
	release(b->at);
	b->at = NULL;
	return errno == 4712 ? NULL : "free keeps errno";
}

static void *work(void *seed)
{
	struct dice dice = dice_of((uintptr_t)seed);
	struct block *held = meta_take(HELD * sizeof(*held));
	const char *wrong = NULL;
	for (int i = 0; i < (large ? LARGE_STEPS : STEPS) && !wrong; i++) {
		struct block *b = &held[dice_below(&dice, large ? LARGE_HELD : HELD)];
		if (!b->at) {
			wrong = make(&dice, b);
		} else if (dice_chance(&dice, 25)) {
			wrong = change(&dice, b);
		} else if (dice_chance(&dice, 30)) { /* exchanged with another thread's */
			struct block *envelope = meta_take(sizeof(*envelope));
			*envelope = *b;
			b->at = NULL;
			envelope = atomic_exchange(&passed[dice_below(&dice, 256)], envelope);
			if (envelope) {
				*b = *envelope;
				meta_give(envelope, sizeof(*envelope));
			}
		} else {
			wrong = drop(b);
		}
	}
	for (int i = 0; i < HELD && !wrong; i += 2) /* the others stay */
		if (held[i].at)
			wrong = drop(&held[i]);
	return (void *)(uintptr_t)wrong;
}

static void exact(uintptr_t seed, unsigned threads)
{
	pthread_t ids[THREADS];
	for (uintptr_t i = 0; i < threads; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, work, (void *)(seed + i)), 0);
	for (unsigned i = 0; i < threads; i++) {
		void *wrong;
		pthread_join(ids[i], &wrong);
		cr_assert_null(wrong, "seed %lu: %s", seed + i, (char *)wrong);
	}
	books_check();
}

Test(allocate, one_thread_is_counted_exactly)
{
	exact(1, 1);
}

Test(allocate, threads_are_counted_exactly)
{
	exact(10, THREADS);
}

Test(allocate, threads_after_threads_are_counted_exactly)
{
	for (uintptr_t wave = 0; wave < 4; wave++)
		exact(100 * wave, THREADS);
}

Test(allocate, without_ownership_all_is_counted_exactly)
{
	route_limits.own = false;
	exact(20, THREADS);
	cr_assert_eq(publish(END_LIVE)->routes[ROUTE_OWNED].alloc_objects, 0);
}

/* --- large ones ----------------------------------------------------------------------------------------------------- */

Test(allocate, large_blocks_of_one_thread_are_counted_exactly)
{
	large = true;
	range_limit(SIZE_MAX);
	for (uintptr_t seed = 30; seed < 33; seed++)
		exact(seed, 1);
}

Test(allocate, large_blocks_of_threads_are_counted_exactly)
{
	large = true;
	exact(40, THREADS);
	cr_assert_gt(fallback_reason_count(REASON_LARGE), 0);
}

/* The range is soon full, so blocks move between the pools and the fallback. */
Test(allocate, large_blocks_under_a_cap_are_counted_exactly)
{
	large = true;
	range_limit(8 << 20);
	exact(50, 2);
	cr_assert_gt(fallback_reason_count(REASON_CAPACITY), 0);
	cr_assert_leq(range_usage().peak_active, 8 << 20);
}

Test(allocate, large_blocks_with_memory_going_back_at_once)
{
	large = true;
	route_limits.decay_ms = 0;
	range_decay_set(0);
	exact(60, 2);
}

/* A child goes on with what its parent had in caches and spare slabs, and the parent is not touched by it. */
static int go_on_in_the_child(void)
{
	return work((void *)(uintptr_t)71) || walk_pools().wrong ? 1 : 0;
}

Test(allocate, large_blocks_go_on_in_a_forks_child)
{
	if (SANITIZED)
		cr_skip_test("jemalloc's fork handler takes more locks than ThreadSanitizer can count");
	large = true;
	for (uintptr_t round = 0; round < 2; round++) {
		cr_assert_null(work((void *)(80 + round)));
		cr_assert_eq(forked(go_on_in_the_child), 0);
		books_check();
	}
}
