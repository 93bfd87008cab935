/* The fallback: blocks that work, a site for each of them however many come and go and whoever frees them, and the same
 * blocks without a site where the table finds no memory. */
#define _GNU_SOURCE
#include "shim/fallback.h"
#include "pools/classes.h"
#include "pools/meta.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/refusal.h"
#include "tests/sanitized.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("");
}

enum { SITES = 40, BLOCKS = 3000, STEPS = 60000, THREADS = 4 };

struct held {
	unsigned char *at;
	size_t bytes;
	unsigned site;
};

struct counted {
	uint64_t allocs, space, frees, inuse_space, reallocs;
};

static uintptr_t pc_of(unsigned site)
{
	return 0x20000 + 64 * site;
}

static void check_site(unsigned site, const struct counted *model)
{
	const struct site_fallback *on = site_fallback(site_of(pc_of(site)));
	cr_assert_eq(on->allocs, model->allocs, "site %u", site);
	cr_assert_eq(on->space, model->space, "site %u", site);
	cr_assert_eq(on->frees, model->frees, "site %u", site);
	cr_assert_eq(on->inuse_space, model->inuse_space, "site %u", site);
	cr_assert_eq(on->reallocs, model->reallocs, "site %u", site);
}

/* First and last byte of a block carry its pattern. */
static void mark(const struct held *h)
{
	memset(h->at, (unsigned char)(h->site + 1), h->bytes < 64 ? h->bytes : 64);
	h->at[h->bytes - 1] = (unsigned char)(h->site + 1);
}

static bool marked(const struct held *h, size_t bytes)
{
	return h->at[0] == (unsigned char)(h->site + 1) && (bytes < h->bytes || h->at[h->bytes - 1] == h->at[0]);
}

static struct held held[BLOCKS];
static struct counted counted[SITES];
static uint64_t by_reason[LEDGER_REASONS];

static void take(struct dice *dice, struct held *h)
{
	size_t align = dice_chance(dice, 20) ? (size_t)16 << dice_below(dice, 10) : 0;
	bool zero = dice_chance(dice, 30);
	enum ledger_reason why = (enum ledger_reason)dice_below(dice, LEDGER_REASONS);
	h->bytes = 1 + dice_below(dice, dice_chance(dice, 2) ? 600000 : 3000);
	h->site = (unsigned)dice_below(dice, SITES);
	errno = 4711;
	h->at = fallback_take(h->bytes, align, zero, pc_of(h->site), why);
	cr_assert(h->at && errno == 4711);
	cr_assert_eq((uintptr_t)h->at % (align > 16 ? align : 16), 0);
	cr_assert_geq(fallback_usable(h->at), h->bytes);
	for (size_t i = 0; zero && i < h->bytes; i++)
		cr_assert_eq(h->at[i], 0);
	mark(h);
	struct counted *c = &counted[h->site];
	c->allocs++;
	c->space += h->bytes;
	c->inuse_space += fallback_usable(h->at);
	by_reason[why]++;
}

static void give(struct held *h)
{
	struct counted *c = &counted[h->site];
	cr_assert(marked(h, h->bytes));
	cr_assert_eq(fallback_pc(h->at), pc_of(h->site));
	c->frees++;
	c->inuse_space -= fallback_usable(h->at);
	errno = 4712;
	fallback_give(h->at);
	cr_assert_eq(errno, 4712);
	h->at = NULL;
}

static void resize(struct dice *dice, struct held *h)
{
	struct counted *c = &counted[h->site];
	size_t fresh_bytes = 33000 + dice_below(dice, 300000), before = fallback_usable(h->at);
	unsigned char *fresh = fallback_resize(h->at, fresh_bytes, REASON_LARGE);
	cr_assert_not_null(fresh);
	h->at = fresh;
	cr_assert(marked(h, fresh_bytes), "the bytes came along");
	h->bytes = fresh_bytes;
	mark(h);
	c->allocs++, c->frees++, c->reallocs++;
	c->space += fresh_bytes;
	c->inuse_space += fallback_usable(fresh) - before;
	by_reason[REASON_LARGE]++;
}

static void random_blocks(uint64_t seed)
{
	struct dice dice = dice_of(seed);
	uint64_t reasons_before[LEDGER_REASONS];
	for (int r = 0; r < LEDGER_REASONS; r++)
		reasons_before[r] = fallback_reason_count((enum ledger_reason)r);
	for (int i = 0; i < STEPS; i++) {
		struct held *h = &held[dice_below(&dice, BLOCKS)];
		if (!h->at)
			take(&dice, h);
		else if (dice_chance(&dice, 10))
			resize(&dice, h);
		else
			give(h);
	}
	for (unsigned s = 0; s < SITES; s++)
		check_site(s, &counted[s]);
	for (int i = 0; i < BLOCKS; i++)
		if (held[i].at)
			give(&held[i]);
	for (unsigned s = 0; s < SITES; s++) {
		cr_assert_eq(counted[s].inuse_space, 0);
		check_site(s, &counted[s]);
	}
	for (int r = 0; r < LEDGER_REASONS; r++)
		cr_assert_eq(fallback_reason_count((enum ledger_reason)r) - reasons_before[r], by_reason[r], "reason %d", r);
	cr_assert_eq(fallback_untracked(), 0);
}

Test(fallback, random_blocks_equal_the_model_1)
{
	random_blocks(1);
}

Test(fallback, random_blocks_equal_the_model_2)
{
	random_blocks(2);
}

/* A table that only remembered where blocks have been would fill with tombstones and grow for ever, or never end. */
Test(fallback, few_blocks_need_a_small_table_however_many_there_were)
{
	void *blocks[200];
	size_t bytes = 0;
	struct dice dice = dice_of(3);
	for (int i = 0; i < 200; i++)
		blocks[i] = fallback_take(40000, 0, false, pc_of(1), REASON_LARGE);
	for (int i = 0; i < 200000; i++) {
		void **b = &blocks[dice_below(&dice, 200)];
		void *fresh = fallback_take(64 + dice_below(&dice, 40000), 0, false, pc_of(1), REASON_LARGE);
		fallback_give(*b);
		*b = fresh;
		if (i == 20000)
			bytes = meta_bytes();
	}
	cr_assert_eq(meta_bytes(), bytes, "the table grew from %zu to %zu", bytes, meta_bytes());
	for (int i = 0; i < 200; i++)
		cr_assert_eq(fallback_pc(blocks[i]), pc_of(1));
	cr_assert_eq(fallback_untracked(), 0);
}

/* Many at once: what a free costs must not grow with their number. Counted in steps of the table it would be thousands. */
Test(fallback, a_million_blocks_are_found_again)
{
	static void *blocks[1000000];
	enum { MANY = sizeof(blocks) / sizeof(*blocks) / (SANITIZED ? 20 : 1) };
	for (unsigned i = 0; i < MANY; i++)
		blocks[i] = fallback_take(16, 0, false, pc_of(i % SITES), REASON_MEMORY);
	for (unsigned i = 0; i < MANY; i++)
		cr_assert_eq(fallback_pc(blocks[i]), pc_of(i % SITES));
	for (unsigned i = 0; i < MANY; i++)
		fallback_give(blocks[i]);
	cr_assert_eq(fallback_untracked(), 0);
}

Test(fallback, impossible_sizes_are_refused_and_not_counted)
{
	errno = 4711;
	cr_assert_null(fallback_take((size_t)PTRDIFF_MAX + 1, 0, false, pc_of(1), REASON_LARGE));
	cr_assert_null(fallback_take(SIZE_MAX, 4096, true, pc_of(1), REASON_LARGE));
	cr_assert_null(fallback_take(PTRDIFF_MAX, 0, false, pc_of(1), REASON_LARGE));
	cr_assert_eq(errno, 4711);
	struct counted none = {0};
	check_site(1, &none);
	cr_assert_eq(fallback_reason_count(REASON_LARGE), 0);
}

Test(fallback, refused_resize_leaves_the_block)
{
	struct held h = {.bytes = 50000, .site = 3};
	h.at = fallback_take(h.bytes, 0, false, pc_of(3), REASON_LARGE);
	mark(&h);
	struct counted one = {.allocs = 1, .space = 50000, .inuse_space = fallback_usable(h.at)};
	cr_assert_null(fallback_resize(h.at, (size_t)PTRDIFF_MAX + 1, REASON_LARGE));
	cr_assert_null(fallback_resize(h.at, PTRDIFF_MAX, REASON_LARGE));
	cr_assert(marked(&h, h.bytes));
	cr_assert_eq(fallback_pc(h.at), pc_of(3));
	check_site(3, &one);
}

Test(fallback, no_bytes_are_a_block)
{
	char *a = fallback_take(0, 0, false, pc_of(1), REASON_RANGE),
		 *b = fallback_take(0, 64, true, pc_of(1), REASON_RANGE);
	cr_assert(a && b && a != b);
	fallback_give(a);
	fallback_give(b);
	struct counted two = {.allocs = 2, .frees = 2};
	check_site(1, &two);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static struct held *_Atomic passed[256];

/* Each frees what others made. */
static void *churn(void *number)
{
	struct dice dice = dice_of((uintptr_t)number);
	for (int i = 0; i < 20000; i++) {
		struct held *h = fallback_take(sizeof(*h) + dice_below(&dice, 2000), 0, false, pc_of(30), REASON_MEMORY);
		h->site = (unsigned)dice_below(&dice, 8);
		h->bytes = 1 + dice_below(&dice, 5000);
		h->at = fallback_take(h->bytes, 0, false, pc_of(h->site), REASON_LARGE);
		mark(h);
		h = atomic_exchange(&passed[dice_below(&dice, 256)], h);
		if (!h)
			continue;
		if (!marked(h, h->bytes) || fallback_pc(h->at) != pc_of(h->site) || fallback_pc(h) != pc_of(30))
			return h;
		fallback_give(h->at);
		fallback_give(h);
	}
	return NULL;
}

Test(fallback, threads_free_each_others_blocks)
{
	pthread_t threads[THREADS];
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
	for (int i = 0; i < THREADS; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "thread %d met a block that is not what it was", i);
	}
	for (int i = 0; i < 256; i++)
		if (passed[i]) {
			fallback_give(passed[i]->at);
			fallback_give(passed[i]);
		}
	uint64_t allocs = 0;
	for (unsigned s = 0; s < SITES; s++) {
		const struct site_fallback *on = site_fallback(site_of(pc_of(s)));
		cr_assert_eq(on->allocs, on->frees, "site %u", s);
		cr_assert_eq(on->inuse_space, 0);
		allocs += on->allocs;
	}
	cr_assert_eq(allocs, 2 * THREADS * 20000);
	cr_assert_eq(fallback_untracked(), 0);
}

/* --- no memory for the table -------------------------------------------------------------------------------------- */

enum { WARM = 20000 };

static void *warm[WARM];

static int without_records(void)
{
	for (int i = 0; i < WARM / 100; i++) /* memory for jemalloc to work with, in few records */
		warm[i] = fallback_take(50000, 0, false, pc_of(1), REASON_MEMORY);
	for (int i = 0; i < WARM / 100; i++)
		fallback_give(warm[i]);
	HOLDS(memory_refuse());
	tables_use_up();
	uint64_t known = 0;
	unsigned taken = 0;
	for (; taken < WARM && (warm[taken] = fallback_take(16, 0, false, pc_of(2), REASON_MEMORY)); taken++) {
		known += fallback_pc(warm[taken]) == pc_of(2);
		memset(warm[taken], 0x77, 16);
	}
	HOLDS(taken >= WARM / 2 && known >= 1000 && known < taken);
	for (unsigned i = 0; i < taken; i++)
		HOLDS(*(unsigned char *)warm[i] == 0x77);
	for (unsigned i = 0; i < taken; i++)
		fallback_give(warm[i]);
	const struct site_fallback *on = site_fallback(site_of(pc_of(2)));
	HOLDS(fallback_untracked() == taken - known);
	/* The table is whole again: a block is recorded, found and forgotten. Only a shard that never had memory cannot. */
	void *block;
	unsigned tries = 0;
	do {
		block = fallback_take(16, 0, false, pc_of(2), REASON_MEMORY);
		tries++;
	} while (block && fallback_pc(block) != pc_of(2) && tries < 100);
	HOLDS(block && fallback_pc(block) == pc_of(2));
	fallback_give(block);
	HOLDS(on->allocs == taken + tries && on->frees == known + 1);
	return 0;
}

Test(fallback, blocks_without_a_record_work_and_are_counted)
{
	if (SANITIZED)
		cr_skip_test("a sanitizer needs the kernel's yes");
	cr_assert_eq(forked(without_records), 0);
}
