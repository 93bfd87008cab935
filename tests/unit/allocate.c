/* allocate, release, reallocate from end to end in this process: exact counts by site from several threads, and every way
 * to be refused: the right reason is counted, the fallback serves, and the pools have lost nothing. */
#define _GNU_SOURCE
#include "shim/allocate.h"
#include "pools/meta.h"
#include "pools/walk.h"
#include "shim/fallback.h"
#include "shim/publish.h"
#include "shim/ready.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/refusal.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:64M");
}

enum { SITES = 60, BLOCKS = 2000, THREADS = 4, STEPS = 40000, LARGE_BLOCKS = 24, LARGE_STEPS = 4000 };

static bool large; /* blocks of 2 KiB to 5 MiB, fewer of them */

static uintptr_t pc_of(unsigned site)
{
	return 0x30000 + 32 * (uintptr_t)site;
}

/* What the ledger should say of a site. */
struct count {
	_Atomic uint64_t allocs, space, frees, reallocs;
};

static struct count counts[SITES];

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

/* As many between 4 and 8 KiB as between 2 and 4 MiB. */
static size_t large_size(struct dice *dice)
{
	return dice_chance(dice, 3) ? 5 << 20 : dice_below(dice, (size_t)4096 << dice_below(dice, 11)) + 2048;
}

static const char *make(struct dice *dice, struct block *b)
{
	size_t most = dice_chance(dice, 80) ? 600 : dice_chance(dice, 90) ? 20000 : 500000;
	size_t align = dice_chance(dice, 10) ? (size_t)16 << dice_below(dice, 10) : 16;
	bool zero = dice_chance(dice, 20);
	b->bytes = large ? large_size(dice) : dice_below(dice, most);
	b->site = (unsigned)dice_below(dice, large ? 6 : SITES);
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
	atomic_fetch_add(&counts[b->site].allocs, 1);
	atomic_fetch_add(&counts[b->site].space, b->bytes);
	return NULL;
}

static const char *change(struct dice *dice, struct block *b)
{
	size_t bytes = 1 + dice_below(dice, dice_chance(dice, 90) ? 2000 : 400000);
	if (large)
		bytes = dice_chance(dice, 30)   ? large_size(dice)
		        : dice_chance(dice, 50) ? b->bytes + b->bytes / 2
		        : dice_chance(dice, 50) ? b->bytes + 1 + dice_below(dice, 5000)
		                                : 1 + b->bytes / 4 * 3;
	unsigned char *fresh =
		reallocate(b->at, bytes, pc_of((b->site + 1) % SITES)); /* its birth site counts, not the caller */
	if (!fresh)
		return "realloc gives a block";
	b->at = fresh;
	if (!marked(b, bytes < b->bytes ? bytes : b->bytes))
		return "realloc keeps the bytes";
	memset(fresh, (int)b->site + 1, bytes);
	b->bytes = bytes;
	atomic_fetch_add(&counts[b->site].allocs, 1);
	atomic_fetch_add(&counts[b->site].frees, 1);
	atomic_fetch_add(&counts[b->site].space, bytes);
	atomic_fetch_add(&counts[b->site].reallocs, 1);
	return NULL;
}

static const char *drop(struct block *b)
{
	if (!marked(b, b->bytes))
		return "a block keeps its bytes";
	atomic_fetch_add(&counts[b->site].frees, 1);
	errno = 4712;
	release(b->at);
	b->at = NULL;
	return errno == 4712 ? NULL : "free keeps errno";
}

static void *work(void *seed)
{
	struct dice dice = dice_of((uintptr_t)seed);
	struct block *blocks = meta_take(BLOCKS * sizeof(*blocks));
	const char *wrong = NULL;
	for (int i = 0; i < (large ? LARGE_STEPS : STEPS) && !wrong; i++) {
		struct block *b = &blocks[dice_below(&dice, large ? LARGE_BLOCKS : BLOCKS)];
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
	for (int i = 0; i < BLOCKS && !wrong; i += 2) /* the others stay */
		if (blocks[i].at)
			wrong = drop(&blocks[i]);
	return (void *)(uintptr_t)wrong;
}

static void check_ledger(void)
{
	const struct ledger_header *l = publish(END_LIVE);
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s", seen.wrong);
	uint64_t objects = 0;
	for (unsigned s = 0; s < SITES; s++) {
		const struct ledger_site *site = &ledger_sites(l)[site_of(pc_of(s))];
		cr_assert_eq(site->tally.alloc_objects, counts[s].allocs, "site %u", s);
		cr_assert_eq(site->tally.alloc_space, counts[s].space, "site %u", s);
		cr_assert_eq(site->tally.free_objects, counts[s].frees, "site %u", s);
		cr_assert_eq(site->tally.inuse_objects, counts[s].allocs - counts[s].frees, "site %u", s);
		cr_assert_eq(site->realloc_objects, counts[s].reallocs, "site %u", s);
		objects += counts[s].allocs;
	}
	cr_assert_eq(l->memory.tally.alloc_objects, objects, "nothing is counted anywhere else");
	cr_assert_eq(seen.used - seen.cached + l->routes[ROUTE_FALLBACK].inuse_objects, l->memory.tally.inuse_objects);
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
	check_ledger();
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

/* --- on their way ------------------------------------------------------------------------------------------------- */

enum { SENT = 5000, SENT_SITES = 3 };

static void *sent[SENT];
static pthread_barrier_t halt, go;

static void *free_and_halt(void *unused)
{
	for (int i = 0; i < SENT; i++) {
		release(sent[i]);
		if (i % 1000 == 500) {
			pthread_barrier_wait(&halt);
			pthread_barrier_wait(&go);
		}
	}
	return unused;
}

static void check_sent(uint64_t frees)
{
	const struct ledger_header *l = publish(END_LIVE);
	uint64_t found = 0, crossed = 0;
	for (unsigned s = 0; s < SENT_SITES; s++) {
		const struct ledger_site *site = &ledger_sites(l)[site_of(pc_of(s))];
		found += site->tally.free_objects;
		crossed += site->cross_thread_free_objects;
	}
	cr_assert_eq(found, frees);
	cr_assert_eq(crossed, frees);
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s", seen.wrong);
}

/* Wherever a freed block is, the report counts it once: with its slab, in a parcel that is open, under way, or that was
 * given up, in a slab that was purged, at home. */
Test(allocate, frees_on_their_way_are_counted)
{
	pthread_t thread;
	pthread_barrier_init(&halt, NULL, 2);
	pthread_barrier_init(&go, NULL, 2);
	for (int i = 0; i < SENT; i++)
		cr_assert_not_null(sent[i] = allocate(24 + (size_t)i % 70, pc_of((unsigned)i % SENT_SITES)));
	cr_assert_eq(pthread_create(&thread, NULL, free_and_halt, NULL), 0);
	for (uint64_t n = 0; n < SENT / 1000; n++) {
		pthread_barrier_wait(&halt);
		check_sent(1000 * n + 501);
		if (n == 2)
			heap_tend_all(NULL);
		if (n == 3)
			heap_drain(&thread_get()->heap);
		check_sent(1000 * n + 501);
		pthread_barrier_wait(&go);
	}
	pthread_join(thread, NULL);
	check_sent(SENT);
	heap_tend_all(NULL);
	check_sent(SENT);
	heap_drain(&thread_get()->heap);
	check_sent(SENT);
}

static _Atomic bool signalled;

static void note_signal(int number)
{
	(void)number;
	signalled = true;
}

static void *free_under_signals(void *unused)
{
	for (int i = 0; i < SENT; i++)
		release(sent[i]);
	return unused;
}

/* Signals whose handler does not allocate interrupt a sender anywhere. */
Test(allocate, signals_lose_no_free)
{
	signal(SIGUSR1, note_signal);
	for (int round = 0; round < 20; round++) {
		pthread_t thread;
		for (int i = 0; i < SENT; i++)
			cr_assert_not_null(sent[i] = allocate(24 + (size_t)i % 70, pc_of((unsigned)i % SENT_SITES)));
		cr_assert_eq(pthread_create(&thread, NULL, free_under_signals, NULL), 0);
		for (int i = 0; i < 50; i++)
			pthread_kill(thread, SIGUSR1); /* joined below, so it is there */
		pthread_join(thread, NULL);
	}
	cr_assert(signalled);
	check_sent(20 * SENT);
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
		check_ledger();
	}
}

/* A block born here, grown there: it stays in place while it fits, moves to the other thread's heap when it does not. */
static void *grow_elsewhere(void *block)
{
	for (size_t bytes = 20000; bytes < 3 << 20; bytes += bytes / 3) {
		block = reallocate(block, bytes, pc_of(1));
		if (!block || *(unsigned char *)block != 0xA7)
			return NULL;
		((unsigned char *)block)[bytes - 1] = 1;
		counts[15].allocs++;
		counts[15].frees++;
		counts[15].reallocs++;
		counts[15].space += bytes;
	}
	release(block);
	counts[15].frees++;
	return (void *)1;
}

Test(allocate, another_threads_large_block_grows)
{
	for (int i = 0; i < 10; i++) {
		pthread_t thread;
		void *good;
		unsigned char *block = allocate(18000, pc_of(15));
		*block = 0xA7;
		counts[15].allocs++;
		counts[15].space += 18000;
		cr_assert_eq(pthread_create(&thread, NULL, grow_elsewhere, block), 0);
		pthread_join(thread, &good);
		cr_assert_not_null(good);
		check_ledger();
	}
}

/* Zero is what calloc's blocks are, whether fresh, purged, ready, spare, cut, or grown over an old one's bytes. */
Test(allocate, large_zeroed_blocks_are_zero_whatever_was_there)
{
	struct dice dice = dice_of(90);
	for (int i = 0; i < 200; i++) {
		size_t bytes = 1 + large_size(&dice) % CLASS_SIZE_MAX;
		unsigned char *dirty = allocate(bytes, pc_of(16));
		memset(dirty, 0xFF, bytes);
		dirty = reallocate(dirty, 1 + bytes / (1 + dice_below(&dice, 3)), pc_of(16));
		unsigned char *block = allocate_zeroed(bytes, pc_of(17 + (unsigned)dice_below(&dice, 2)));
		cr_assert(block[0] == 0 && memcmp(block, block + 1, bytes - 1) == 0, "%zu bytes", bytes);
		memset(block, 0xFF, bytes);
		release(dice_chance(&dice, 50) ? block : dirty);
		if (dice_chance(&dice, 10)) {
			ready_trim(thread_self);
			range_trim();
		}
	}
}

/* Exactly what was asked for stays in place where the next block is behind it, and copies nothing where none is. */
Test(allocate, large_blocks_grow_and_shrink_in_place)
{
	unsigned char *block = allocate(1 << 20, pc_of(18));
	memset(block, 0xA7, 1 << 20);
	unsigned char *longer = reallocate(block, 3 << 20, pc_of(18));
	cr_assert_eq(longer, block, "nothing lies behind it");
	cr_assert_geq(usable_size(block), 3 << 20);
	size_t active = range_usage().active;
	cr_assert_eq(reallocate(block, 1 << 20, pc_of(18)), block);
	cr_assert_leq(range_usage().active, active - (1 << 20), "the tail goes back");
	cr_assert_eq(block[(1 << 20) - 1], 0xA7);
	void *behind = allocate(2 << 20, pc_of(19));
	for (size_t bytes = 1 << 20; bytes <= CLASS_SIZE_MAX; bytes += 100000)
		cr_assert_not_null(block = reallocate(block, bytes, pc_of(18)));
	cr_assert_eq(block[(1 << 20) - 1], 0xA7);
	release(behind);
	release(block);
	cr_assert_null(walk_pools().wrong);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

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
		counts[site].allocs++;
		counts[site].space += bytes;
	}
	check_ledger();
	for (unsigned i = 0; i < count; i++) {
		cr_assert_eq(*(unsigned char *)taken[i], (unsigned char)i);
		release(taken[i]);
		counts[site].frees++;
	}
	check_ledger();
}

Test(allocate, capacity_is_counted_and_the_fallback_serves)
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

Test(allocate, a_sites_cap_is_counted)
{
	route_limits.site_max = 256 << 10;
	use(3, 100, 20000);
	cr_assert_gt(reason(REASON_CAPACITY), 10000);
	use(4, 100, 2000);
}

Test(allocate, a_full_range_is_counted)
{
	use(3, 1000, 70000);
	cr_assert_gt(reason(REASON_RANGE), 1000);
	cr_assert_eq(reason(REASON_CAPACITY), 0);
}

Test(allocate, large_and_aligned_are_counted)
{
	use(5, CLASS_SIZE_MAX + 1, 10);
	cr_assert_eq(reason(REASON_LARGE), 10);
	void *block = allocate_aligned(100, 8192, pc_of(6));
	cr_assert(block && (uintptr_t)block % 8192 == 0);
	cr_assert_eq(reason(REASON_ALIGNED), 1);
	cr_assert(is_pooled(allocate_aligned(100, 4096, pc_of(6))), "a page is served from pools");
}

Test(allocate, impossible_sizes_are_refused_uncounted)
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
	counts[7].allocs = 1;
	counts[7].space = 100;
	check_ledger();
}

/* The destructor of the program's own key runs after ours, again and again, and allocates each time. */
static pthread_key_t key;

static void allocate_late(void *left)
{
	void *block = allocate(100, pc_of(8));
	counts[8].allocs++;
	counts[8].frees++;
	counts[8].space += 100;
	release(block);
	if ((uintptr_t)left > 1)
		pthread_setspecific(key, (void *)((uintptr_t)left - 1));
}

static void *end_slowly(void *unused)
{
	allocate_late((void *)5);
	return unused;
}

Test(allocate, a_thread_too_late_for_a_heap_is_counted)
{
	pthread_t thread;
	if (SANITIZED)
		cr_skip_test("ThreadSanitizer has left a thread by then");
	cr_assert_eq(pthread_key_create(&key, allocate_late), 0);
	cr_assert_eq(pthread_create(&thread, NULL, end_slowly, NULL), 0);
	pthread_join(thread, NULL);
	cr_assert_gt(reason(REASON_THREAD), 0);
	check_ledger();
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
		size_t size = 1 + large_size(&dice) % CLASS_SIZE_MAX;
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

Test(allocate, refused_memory_is_counted_and_nothing_is_lost)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	cr_expect_eq(forked(memory_refused), 0);
	int large_refused = forked(large_memory_refused);
	cr_expect_eq(large_refused, 0, "%x", (unsigned)large_refused);
	int refused = forked(heap_refused);
	cr_expect_eq(refused, 0, "%x", (unsigned)refused);
}
