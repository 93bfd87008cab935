/* Stacks sampled by bytes: every site is drawn in proportion to its bytes, whatever its rhythm; nothing is lost uncounted. */
#include "shim/sample.h"
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/facts.h"
#include "shim/frame.h"
#include "shim/publish.h"
#include "shim/sample_table.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/sites.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:1G");
}

TestSuite(sample);

enum { PERIOD = 16 << 10, ROUNDS = 100000 };
enum { GROWS = 1, PINGS, BATCH, RARE, LARGE, BEHIND, SITES };

static const struct ledger_facts *facts(const struct ledger_header **l)
{
	*l = publish(END_LIVE);
	const struct ledger_facts *made = facts_make(*l);
	cr_assert_not_null(made);
	return made;
}

static struct ledger_sampled sampled(unsigned site)
{
	const struct ledger_header *l;
	const struct ledger_facts *f = facts(&l);
	uint64_t number = f->sites[site_of(pc_of(site))].sampled;
	return number ? ledger_sampled(f)[number - 1] : (struct ledger_sampled){.draws = 0};
}

static uint64_t exact(unsigned site)
{
	const struct ledger_header *l;
	facts(&l);
	return ledger_sites(l)[site_of(pc_of(site))].tally.alloc_space;
}

/* One site keeps every block, one frees each at once, one takes many and frees them all, one seldom takes any, one takes
 * blocks that lie alone, one those behind the pools. */
static void play(unsigned rounds)
{
	static __thread void *batch[500];
	for (unsigned i = 0; i < rounds; i++) {
		cr_assert_not_null(allocate(64, pc_of(GROWS)));
		release(allocate(100, pc_of(PINGS)));
		if (i % 1000 < 500)
			batch[i % 1000] = allocate(80, pc_of(BATCH));
		else
			release(batch[i % 1000 - 500]);
		if (i % 64 == 0)
			cr_assert_not_null(allocate(208, pc_of(RARE)));
		if (i % 200 == 0)
			release(allocate(40000 + i, pc_of(LARGE)));
		if (i % 5000 == 0)
			release(allocate(5 << 20, pc_of(BEHIND)));
	}
}

/* An estimate and what it is off in its own standard errors; five happen once in two million times. */
static double off(unsigned site)
{
	struct ledger_sampled s = sampled(site);
	double error = (double)ledger_sampled_error(&s);
	return fabs((double)s.space - (double)exact(site)) / (error > 1 ? error : 1);
}

Test(sample, sites_are_drawn_by_their_bytes)
{
	sample_begin(PERIOD);
	play(ROUNDS);
	for (unsigned site = GROWS; site < SITES; site++) {
		cr_expect_gt(sampled(site).draws, 10, "site %u", site);
		cr_expect_lt(off(site), 5, "site %u: %lu of %lu", site, sampled(site).space, exact(site));
	}
	/* Blocks of many periods are all drawn, and stand for themselves. */
	cr_expect_eq(sampled(BEHIND).space, exact(BEHIND));
	cr_expect_eq(ledger_sampled_error(&(struct ledger_sampled){.spread = sampled(BEHIND).spread}), PERIOD);
	whole();
}

/* While it goes on, not at the end: the site that lives from its cache is met in turn at others' refills. */
static void count_unseen(void *sum, uint16_t site, uint64_t bytes, uint64_t weight)
{
	(void)weight;
	if (site == site_of(pc_of(PINGS)))
		*(uint64_t *)sum += bytes;
}

Test(sample, a_site_without_refills_is_seen)
{
	uint64_t unseen = 0;
	sample_begin(PERIOD);
	play(ROUNDS);
	sample_unseen(count_unseen, &unseen);
	cr_expect_lt(unseen, exact(PINGS) / 10, "%lu of %lu", unseen, exact(PINGS));
}

static void *in_thread(void *unused)
{
	play(ROUNDS / 20);
	return unused;
}

Test(sample, many_short_threads)
{
	sample_begin(PERIOD);
	for (unsigned i = 0; i < 40; i++) {
		pthread_t two[2];
		for (unsigned t = 0; t < 2; t++)
			pthread_create(&two[t], NULL, in_thread, NULL);
		for (unsigned t = 0; t < 2; t++)
			pthread_join(two[t], NULL);
	}
	for (unsigned site = GROWS; site < LARGE; site++)
		cr_expect_lt(off(site), 5, "site %u: %lu of %lu", site, sampled(site).space, exact(site));
	whole();
}

/* Seldom sampled, a route must not stay armed: that is what the fast path costs. */
Test(sample, what_was_seen_is_armed_no_more)
{
	sample_begin(512 << 10);
	play(ROUNDS);
	unsigned armed = 0, turns = 0;
	for (; turns < 1000; turns++) {
		release(allocate(100, pc_of(PINGS)));
		armed += route_is_armed(cache_of(PINGS, 100));
	}
	cr_expect_lt(armed, 200);
}

/* --- stacks ------------------------------------------------------------------------------------------------------- */

#ifdef __clang__
#define APART_FROM_CALLER __attribute__((noinline))
#else
#define APART_FROM_CALLER __attribute__((noinline, noclone))
#endif
#define STAY() __asm__ volatile("" : : "i"(__COUNTER__) : "memory")

APART_FROM_CALLER static void *entry(size_t size)
{
	return allocate_from(size, SLUICE_CALLER(), SLUICE_FRAME());
}

APART_FROM_CALLER static void *grow(void *block, size_t size)
{
	return reallocate_from(block, size, SLUICE_CALLER(), SLUICE_FRAME());
}

APART_FROM_CALLER static void *leaf(size_t size)
{
	void *block = entry(size);
	STAY();
	return block;
}

#define LEVEL(name, of)                                                                                                \
	APART_FROM_CALLER static void *name(size_t size)                                                                   \
	{                                                                                                                  \
		void *block = of(size);                                                                                        \
		STAY();                                                                                                        \
		return block;                                                                                                  \
	}
LEVEL(second, leaf)
LEVEL(third, second)
LEVEL(fourth, third)
LEVEL(fifth, fourth)
LEVEL(sixth, fifth)
static uintptr_t called_from; /* seventh's return address */

APART_FROM_CALLER static void *seventh(size_t size)
{
	called_from = (uintptr_t)__builtin_return_address(0);
	void *block = sixth(size);
	STAY();
	return block;
}

LEVEL(often, seventh)
LEVEL(seldom, seventh)

static uint16_t site_of_block(const void *block)
{
	struct heap *heap;
	uint16_t tag = slab_whose(slab_of(block), block, &heap);
	return route_at(thread_of(heap), tag)->site;
}

static struct ledger_sampled sampled_of_block(const struct ledger_facts *f, const void *block)
{
	uint64_t number = f->sites[site_of_block(block)].sampled;
	cr_assert_gt(number, 0);
	return ledger_sampled(f)[number - 1];
}

static bool is_through(const struct ledger_sampled_stack *stack, uintptr_t pc)
{
	uint32_t count;
	const uint32_t *frames = stack_frames(stack->stack, &count);
	for (uint32_t i = 0; i < count; i++)
		if (frame_pc(&ledger_frames(ledger())[frames[i]]) == pc)
			return true;
	return false;
}

/* One caller's block goes at once, the other's stays: all refills are the other's. The last of them. */
static const void *two_callers(unsigned rounds)
{
	const void *block = NULL;
	for (unsigned i = 0; i < rounds; i++) {
		release(often(64));
		release(often(64));
		cr_assert_not_null(block = seldom(64));
	}
	return block;
}

static double share_of_often(const struct ledger_sampled *s, const struct ledger_facts *f)
{
	uint64_t weight = 0;
	release(often(64));
	for (uint64_t i = s->first; i < s->first + s->count; i++)
		if (is_through(&ledger_sampled_stacks(f)[i], called_from))
			weight += ledger_sampled_stacks(f)[i].weight;
	return (double)weight / (double)s->weight;
}

Test(sample, who_refills_is_not_who_is_sampled)
{
	const struct ledger_header *l;
	sample_begin(PERIOD);
	const void *block = two_callers(ROUNDS);
	const struct ledger_facts *f = facts(&l);
	struct ledger_sampled s = sampled_of_block(f, block);
	double error = sqrt(2. / 9 / (double)s.samples);
	cr_assert_gt(s.samples, 200);
	cr_assert_eq(s.count, 3, "three calls, three stacks: %lu", s.count);
	cr_expect_float_eq(share_of_often(&s, f), 2. / 3, 5 * error, "%f", share_of_often(&s, f));
	cr_expect_leq(s.weight, s.space);
	cr_expect_gt(s.weight, s.space / 10 * 9);
}

/* A realloc's stack is kept apart: it does not lead to the block's site. */
Test(sample, who_made_a_block_grow)
{
	const struct ledger_header *l;
	uint64_t grown = 0;
	sample_begin(PERIOD);
	void *block = seldom(40);
	for (unsigned i = 0; i < ROUNDS; i++) {
		block = grow(block, 1000);
		STAY();
		block = grow(block, 40);
		STAY();
		cr_assert_not_null(allocate(64, pc_of(GROWS))); /* a thread that never misses is not sampled */
	}
	const struct ledger_facts *f = facts(&l);
	struct ledger_sampled s = sampled_of_block(f, block);
	for (uint64_t i = s.first; i < s.first + s.count; i++)
		grown += ledger_sampled_stacks(f)[i].by_realloc ? ledger_sampled_stacks(f)[i].weight : 0;
	cr_expect_gt(s.samples, 500);
	cr_expect_eq(grown, s.weight);
}

/* --- what can go wrong -------------------------------------------------------------------------------------------- */

/* A handler that allocates while a sample is taken. */
Test(sample, inside_itself_nothing_is_sampled)
{
	sample_begin(PERIOD);
	two_callers(1);
	thread_self->sampling = true;
	const void *block = two_callers(ROUNDS);
	thread_self->sampling = false;
	const struct ledger_header *l;
	const struct ledger_facts *f = facts(&l);
	cr_expect_eq(sampled_of_block(f, block).samples, 0);
	cr_expect_gt(f->sampling.dropped, 200);
	two_callers(ROUNDS);
	cr_expect_gt(sampled_of_block(facts(&l), block).samples, 200);
}

Test(sample, a_full_table_is_counted)
{
	enum { STACKS = LEDGER_SAMPLED_STACKS_MAX + 1000 };
	const struct ledger_header *l;
	static struct unwound seen = {.count = 3, .whole = true};
	sample_begin(PERIOD);
	uint16_t site = site_of(pc_of(1));
	release(allocate(64, pc_of(1)));
	cr_assert(sample_table_drawn(site, 100, UINT64_C(1) << 40));
	for (unsigned turn = 0; turn < 2; turn++)
		for (unsigned i = 0; i < STACKS; i++) {
			seen.pcs[0] = pc_of(1);
			seen.pcs[1] = pc_of(1000 + i % 200);
			seen.pcs[2] = pc_of(5000 + i / 200);
			sample_table_add(site, 1000, &seen, false);
		}
	seen.pcs[0] = pc_of(2); /* not the site's */
	sample_table_add(site, 1000, &seen, false);
	struct ledger_sampled s = sampled(1);
	cr_expect_eq(s.count, LEDGER_SAMPLED_STACKS_MAX);
	cr_expect_eq(s.samples, 2 * s.count);
	cr_expect_eq(s.weight, 1000 * s.samples);
	cr_expect_eq(facts(&l)->sampling.dropped, 2 * (STACKS - s.count));
	uint32_t frames = l->stacks_count;
	site_of(pc_of(3));
	cr_expect_eq(l->stacks_count, frames + 1, "new sites still have stacks");
}

static int child(void)
{
	facts_fork_child();
	HOLDS(sampled(GROWS).draws == 0);
	play(ROUNDS / 10);
	struct ledger_sampled s = sampled(GROWS);
	double all = 64. * ROUNDS / 10; /* but for what came before the first refill */
	HOLDS(s.draws > 10);
	HOLDS((double)sampled(PINGS).space < 100. * ROUNDS / 5); /* what the parent did is not its own */
	HOLDS(fabs((double)s.space - all) < 5 * (double)ledger_sampled_error(&s) + 64. * 1000);
	HOLDS(!walk_pools().wrong);
	return 0;
}

Test(sample, a_child_begins_anew)
{
	sample_begin(PERIOD);
	play(ROUNDS);
	cr_assert_gt(sampled(GROWS).draws, 100);
	for (unsigned i = 0; i < 10 * ROUNDS; i++)
		release(allocate(100, pc_of(PINGS)));
	int status = forked(child);
	cr_assert_eq(status, 0, "%d", status >> 8);
}

Test(sample, off_is_off)
{
	const struct ledger_header *l;
	sample_begin(0);
	play(ROUNDS / 10);
	const struct ledger_facts *f = facts(&l);
	cr_expect_eq(f->sampling.period, 0);
	cr_expect_eq(f->sampled_count, 0);
	cr_expect_eq(sample_table_records(), 0);
}
