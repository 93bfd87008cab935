/* Every way to be refused a block of the pools: the right reason is counted, the fallback serves, and the pools have lost
 * nothing. */
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/fallback.h"
#include "tests/acting.h"
#include "tests/books.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/refusal.h"
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

static uint64_t reason(enum ledger_reason why)
{
	return fallback_reason_count(why);
}

static void *taken[70000];

/* `count` blocks that all work, then all are freed; the pools must be whole at both moments. */
static void use(unsigned site, size_t bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		taken[i] = allocate(bytes, pc_of(site));
		cr_assert_not_null(taken[i]);
		memset(taken[i], (int)i, bytes);
		books_allocated(site, bytes);
	}
	books_check();
	for (unsigned i = 0; i < count; i++) {
		cr_assert_eq(*(unsigned char *)taken[i], (unsigned char)i);
		release(taken[i]);
		books_freed(site);
	}
	books_check();
}

Test(refused, capacity_is_counted_and_the_fallback_serves)
{
	range_limit(1 << 20);
	use(3, 100, 20000);
	cr_assert_gt(reason(REASON_CAPACITY), 5000);
	cr_assert_eq(reason(REASON_RANGE) + reason(REASON_MEMORY) + reason(REASON_THREAD), 0);
	cr_assert_leq(range_usage().peak_active, 1 << 20);
	uint64_t before = reason(REASON_CAPACITY);
	range_limit(SIZE_MAX);
	use(3, 100, 20000);
	cr_assert_eq(reason(REASON_CAPACITY), before, "raised, the pools serve again");
}

Test(refused, a_sites_cap_is_counted)
{
	route_limits.site_max = 256 << 10;
	use(3, 100, 20000);
	cr_assert_gt(reason(REASON_CAPACITY), 10000);
	use(4, 100, 2000);
}

Test(refused, a_full_range_is_counted)
{
	use(3, 1000, 70000);
	cr_assert_gt(reason(REASON_RANGE), 1000);
	cr_assert_eq(reason(REASON_CAPACITY), 0);
}

Test(refused, large_and_aligned_are_counted)
{
	use(5, CLASS_SIZE_MAX + 1, 10);
	cr_assert_eq(reason(REASON_LARGE), 10);
	void *block = allocate_aligned(100, 8192, pc_of(6));
	cr_assert(block && (uintptr_t)block % 8192 == 0);
	cr_assert_eq(reason(REASON_ALIGNED), 1);
	cr_assert(is_pooled(allocate_aligned(100, 4096, pc_of(6))), "a page is served from pools");
}

Test(refused, impossible_sizes_are_refused_uncounted)
{
	const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1};
	void *block = allocate(100, pc_of(7));
	for (size_t i = 0; i < 3; i++) {
		errno = 0;
		cr_assert(!allocate(sizes[i], pc_of(7)) && errno == ENOMEM);
		errno = 0;
		cr_assert(!allocate_zeroed(sizes[i], pc_of(7)) && errno == ENOMEM);
		errno = 0;
		cr_assert(!allocate_aligned(sizes[i], 64, pc_of(7)) && errno == ENOMEM);
		errno = 0;
		cr_assert(!reallocate(block, sizes[i], pc_of(7)) && errno == ENOMEM);
	}
	books_allocated(7, 100);
	books_check();
}

/* The destructor of the program's own key runs after ours, again and again, and allocates each time. */
static pthread_key_t key;

static void allocate_late(void *left)
{
	void *block = allocate(100, pc_of(8));
	books_allocated(8, 100);
	release(block);
	books_freed(8);
	if ((uintptr_t)left > 1)
		pthread_setspecific(key, (void *)((uintptr_t)left - 1));
}

static void *end_slowly(void *unused)
{
	allocate_late((void *)5);
	return unused;
}

Test(refused, a_thread_too_late_for_a_heap_is_counted)
{
	pthread_t thread;
	if (SANITIZED)
		cr_skip_test("ThreadSanitizer has left a thread by then");
	cr_assert_eq(pthread_key_create(&key, allocate_late), 0);
	cr_assert_eq(pthread_create(&thread, NULL, end_slowly, NULL), 0);
	pthread_join(thread, NULL);
	cr_assert_gt(reason(REASON_THREAD), 0);
	books_check();
}

/* --- the kernel says no ------------------------------------------------------------------------------------------- */

static void warm_the_fallback(void)
{
	for (int i = 0; i < 20; i++)
		taken[i] = allocate(CLASS_SIZE_MAX + 1, pc_of(1));
	for (int i = 0; i < 20; i++)
		release(taken[i]);
}

static int memory_refused(void)
{
	unsigned n = 0;
	warm_the_fallback();
	HOLDS(allocate(50, pc_of(9)) && memory_refuse());
	tables_use_up();
	while (n < 70000 && (taken[n] = allocate(2000, pc_of(9 + n % 40)))) {
		memset(taken[n], (int)n, 2000);
		n++;
	}
	HOLDS(n > 1000 && n < 70000 && errno == ENOMEM && reason(REASON_MEMORY) > 100);
	HOLDS(!walk_pools().wrong);
	for (unsigned i = 0; i < n; i++) {
		HOLDS(*(unsigned char *)taken[i] == (unsigned char)i);
		release(taken[i]);
	}
	HOLDS(!walk_pools().wrong);
	HOLDS(memory_allow());
	for (unsigned i = 0; i < 20000; i++)
		HOLDS(taken[i] = allocate(2000, pc_of(9)));
	for (unsigned i = 0; i < 20000; i++)
		release(taken[i]);
	struct walk seen = walk_pools();
	HOLDS(!seen.wrong);
	return seen.used - seen.cached == 1 ? 0 : 255;
}

/* Large blocks when the kernel gives no more: whatever grows, moves or is new may be refused, and nothing is lost by it. */
static int large_memory_refused(void)
{
	enum { MOST = 64 };
	struct dice dice = dice_of(70);
	size_t bytes[MOST] = {0};
	unsigned refused = 0;
	/* What the kernel has said yes to stays; a few blocks of it are in use. */
	for (int i = 0; i < 8; i++) {
		HOLDS(taken[i] = allocate(bytes[i] = 300000, pc_of(13)));
		memset(taken[i], i, bytes[i]);
	}
	HOLDS(memory_refuse());
	for (int step = 0; step < 4000; step++) {
		unsigned i = (unsigned)dice_below(&dice, MOST);
		size_t size = 1 + dice_large_size(&dice) % CLASS_SIZE_MAX;
		if (taken[i] && dice_chance(&dice, 40)) {
			HOLDS(*(unsigned char *)taken[i] == (unsigned char)i &&
			      ((unsigned char *)taken[i])[bytes[i] - 1] == (unsigned char)i);
			release(taken[i]);
			taken[i] = NULL;
			bytes[i] = 0;
			continue;
		}
		errno = 0;
		unsigned char *fresh = taken[i]                 ? reallocate(taken[i], size, pc_of(14))
		                       : dice_chance(&dice, 30) ? allocate_zeroed(size, pc_of(13))
		                                                : allocate(size, pc_of(13));
		HOLDS(fresh || errno == ENOMEM);
		refused += !fresh;
		if (!fresh)
			continue; /* a refused realloc leaves the block */
		HOLDS(!taken[i] || fresh[0] == (unsigned char)i);
		taken[i] = fresh;
		bytes[i] = size;
		fresh[0] = fresh[size - 1] = (unsigned char)i;
		HOLDS(step % 100 || !walk_pools().wrong);
	}
	HOLDS(refused > 10);
	for (unsigned i = 0; i < MOST; i++)
		release(taken[i]);
	HOLDS(memory_allow());
	struct walk seen = walk_pools();
	HOLDS(!seen.wrong);
	return seen.used - seen.cached ? 255 : 0;
}

static pthread_barrier_t both;

static void *first_without_memory(void *unused)
{
	(void)unused;
	/* jemalloc 5.3 crashes when it must refuse a thread it has never seen; a large block needs no heap of ours. */
	release(allocate(CLASS_SIZE_MAX + 1, pc_of(12)));
	pthread_barrier_wait(&both);
	pthread_barrier_wait(&both);
	void *block = allocate(100, pc_of(12));
	uintptr_t wrong = !block ? 1 : is_pooled(block) ? 2 : thread_if_any() ? 3 : reason(REASON_THREAD) != 1 ? 4 : 0;
	release(block);
	return (void *)wrong;
}

static int heap_refused(void)
{
	pthread_t thread;
	void *wrong;
	warm_the_fallback();
	pthread_barrier_init(&both, NULL, 2);
	HOLDS(pthread_create(&thread, NULL, first_without_memory, NULL) == 0);
	pthread_barrier_wait(&both);
	HOLDS(memory_refuse());
	tables_use_up();
	pthread_barrier_wait(&both);
	pthread_join(thread, &wrong);
	if (wrong)
		return (int)(uintptr_t)wrong;
	HOLDS(!walk_pools().wrong);
	return memory_allow() ? 0 : 255;
}

Test(refused, refused_memory_is_counted_and_nothing_is_lost)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	cr_expect_eq(forked(memory_refused), 0);
	int large_refused = forked(large_memory_refused);
	cr_expect_eq(large_refused, 0, "%x", (unsigned)large_refused);
	int refused = forked(heap_refused);
	cr_expect_eq(refused, 0, "%x", (unsigned)refused);
}
