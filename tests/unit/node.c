/* Memory nodes, simulated: a thread's runs come from its node's part of the range, what is given back stays there, and where
 * that part is used up the others serve. The range is held against a model that knows whose each MiB is; one node must give
 * the addresses that a range without nodes gives. What cannot be simulated is that the kernel's pages come from there. */
#define _GNU_SOURCE
#include "pools/node.h"
#include "pools/os.h"
#include "pools/range.h"
#include "tests/dice.h"
#include "tests/heap_user.h"

#include <criterion/criterion.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { GRANULES = 4096, WORD = 64, WORDS = GRANULES / WORD, LOOKED_FROM = 256, NONE = GRANULES };

static __thread unsigned thread_node;

static unsigned simulated(void)
{
	return thread_node;
}

static unsigned never(void)
{
	cr_assert_fail("the node was asked for");
	return 0;
}

static void machine(unsigned nodes)
{
	node_simulate(nodes, nodes > 1 ? simulated : never);
	cr_assert(range_init((size_t)GRANULES << GRANULE_SHIFT));
	range_decay_set(-1);
}

TestSuite(node);

/* --- the kernel's list -------------------------------------------------------------------------------------------- */

static unsigned parsed(const char *text, unsigned room)
{
	static uint16_t ids[8];
	memset(ids, 0xFF, sizeof(ids));
	unsigned count = node_parse(text, ids, room);
	for (unsigned i = room; i < 8; i++)
		cr_assert_eq(ids[i], UINT16_MAX, "beyond the room");
	for (unsigned i = 1; i < count; i++)
		cr_assert_gt(ids[i], ids[i - 1]);
	return count;
}

Test(node, lists_as_the_kernel_writes_them)
{
	uint16_t ids[8];
	cr_expect_eq(parsed("0\n", 8), 1);
	cr_expect_eq(parsed("0-1\n", 8), 2);
	cr_expect_eq(parsed("0-3,6", 8), 5);
	cr_expect_eq(parsed("0,8\n", 8), 2);
	cr_expect_eq(parsed("0-1023\n", 4), 4);
	cr_assert_eq(node_parse("0,8,250-252\n", ids, 8), 5);
	cr_expect(ids[0] == 0 && ids[1] == 8 && ids[2] == 250 && ids[3] == 251 && ids[4] == 252);
}

Test(node, other_lists_are_none)
{
	const char *wrong[] = {"",
	                       "\n",
	                       "x",
	                       "-1\n",
	                       "0-\n",
	                       "1-0\n",
	                       "0,\n",
	                       "0,,1",
	                       "3-2,5",
	                       "0 1",
	                       "0-1x",
	                       "0;1",
	                       "1024",
	                       "0-1024\n",
	                       "99999999999999999999",
	                       "0-99999999999999999999"};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_eq(parsed(wrong[i], 8), 0, "'%s'", wrong[i]);
}

/* --- the range against a model -------------------------------------------------------------------------------------- */

static struct {
	unsigned nodes;
	bool looked;
	bool taken[GRANULES];
	uint16_t length_of[GRANULES]; /* 0: no run begins there */
	uint8_t node_of[WORDS];
} model;

static bool is_nodes(uint32_t granule, unsigned node)
{
	return model.node_of[granule / WORD] == node;
}

/* Lowest free run of the node's below `top`. */
static uint32_t lowest(unsigned node, unsigned length, uint32_t top)
{
	for (uint32_t i = 0, free = 0; i < top; i++) {
		free = model.taken[i] || !is_nodes(i, node) ? 0 : free + 1;
		if (free == length)
			return i + 1 - length;
	}
	return NONE;
}

static void grown(uint32_t before, unsigned node)
{
	uint32_t after = range_usage().granules;
	memset(&model.node_of[before / WORD], (int)node, (after - before) / WORD);
}

static void hold(uint32_t first, unsigned length)
{
	for (unsigned i = 0; i < length; i++) {
		cr_assert_not(model.taken[first + i]);
		model.taken[first + i] = true;
	}
	model.length_of[first] = (uint16_t)length;
}

/* Own node, else new memory, else any other node's. */
static uint32_t take(unsigned node, unsigned length)
{
	enum range_refusal why;
	uint32_t before = range_usage().granules;
	thread_node = node;
	if (!model.looked && before >= LOOKED_FROM) {
		model.looked = true;
		memset(model.node_of, (int)node, before / WORD);
	}
	unsigned asks = model.looked && model.nodes > 1 ? node : 0;
	uint32_t expected = lowest(asks, length, before);
	struct slab *slab = range_take(length, 1, &why);
	if (expected == NONE) {
		grown(before, asks);
		expected = lowest(asks, length, range_usage().granules);
	} else {
		cr_assert_eq(range_usage().granules, before, "grown without need");
	}
	for (unsigned other = 0; other < model.nodes && expected == NONE; other++)
		expected = lowest(other, length, before);
	cr_assert_eq(slab ? slab_index(slab) : NONE, expected, "node %u, a run of %u", node, length);
	cr_assert_eq(why, slab ? RANGE_OK : RANGE_FULL);
	if (slab)
		hold(expected, length);
	return expected;
}

static void give(uint32_t first, unsigned from)
{
	unsigned length = model.length_of[first];
	if (from)
		range_cut(&range.slabs[first], from);
	else
		range_give(&range.slabs[first]);
	memset(&model.taken[first + from], 0, length - from);
	model.length_of[first] = (uint16_t)from;
}

static void extend(uint32_t first, unsigned length)
{
	uint32_t before = range_usage().granules, end = first + model.length_of[first];
	unsigned node = model.node_of[(end - 1) / WORD];
	bool fits = first + length <= GRANULES;
	for (uint32_t i = end; i < first + length && i < before && fits; i++)
		fits = !model.taken[i] && is_nodes(i, node);
	bool done = range_extend(&range.slabs[first], length);
	grown(before, node);
	cr_assert_eq(done, fits, "%u at %u to %u", model.length_of[first], first, length);
	if (done) {
		memset(&model.taken[end], 1, first + length - end);
		model.length_of[first] = (uint16_t)length;
	}
}

static uint32_t any_run(struct dice *dice)
{
	uint32_t first = (uint32_t)dice_below(dice, GRANULES);
	while (first < GRANULES && !model.length_of[first])
		first++;
	return first;
}

/* In bursts, so that nodes are now full, now nearly empty. */
static void random_run(unsigned nodes, uint64_t seed)
{
	struct dice dice = dice_of(seed);
	unsigned percent = 60;
	model.nodes = nodes;
	machine(nodes);
	for (int i = 0; i < 20000; i++) {
		if (i % 300 == 0)
			percent = (unsigned)dice_below(&dice, 100);
		if (i % 1000 == 999) {
			range_trim();
			cr_assert_eq(range_usage().retained, 0);
		}
		if (dice_chance(&dice, percent)) {
			take((unsigned)dice_below(&dice, nodes),
			     1 + (unsigned)dice_below(&dice, dice_chance(&dice, 90) ? 16 : 256));
			continue;
		}
		uint32_t first = any_run(&dice);
		unsigned length = first < GRANULES ? model.length_of[first] : 0;
		if (length && length < 200 && dice_chance(&dice, 30))
			extend(first, length + 1 + (unsigned)dice_below(&dice, 50));
		else if (length > 1 && dice_chance(&dice, 30))
			give(first, 1 + (unsigned)dice_below(&dice, length - 1));
		else if (length)
			give(first, 0);
	}
	uint32_t taken = 0;
	for (uint32_t i = 0; i < GRANULES; i++)
		taken += model.taken[i];
	cr_assert_eq(range_usage().active, (size_t)taken << GRANULE_SHIFT);
}

/* The hook fails when it is asked. */
Test(node, one_node_is_no_node)
{
	random_run(1, 1);
	cr_assert_eq(node_here(), 0);
}

Test(node, two_nodes_equal_the_model)
{
	random_run(2, 2);
}

Test(node, five_nodes_equal_the_model)
{
	random_run(5, 3);
}

/* --- one idea at a time --------------------------------------------------------------------------------------------- */

/* The range is large enough for nodes to be looked for; all of that is node 0's. */
static void begin(unsigned nodes)
{
	model.nodes = nodes;
	machine(nodes);
	for (unsigned i = 0; i < LOOKED_FROM; i += 16)
		take(0, 16);
}

Test(node, what_a_node_gave_back_serves_it_again)
{
	begin(2);
	uint32_t zero = take(0, 8), one = take(1, 8);
	cr_assert(is_nodes(zero, 0) && is_nodes(one, 1));
	give(zero, 0);
	uint32_t next = take(1, 8);
	cr_assert_neq(next, zero);
	cr_assert(is_nodes(next, 1), "there is a free run of node 0 further down");
	range_trim(); /* a run that is clean again is still the node's: so its mapping was asked for */
	cr_assert(is_nodes(take(1, 8), 1));
	cr_assert_eq(take(0, 8), zero);
}

Test(node, parts_begin_where_huge_pages_do)
{
	begin(3);
	for (unsigned i = 0; i < 30; i++)
		take(i % 3, 200);
	for (unsigned w = 0; w < WORDS; w += 2)
		cr_assert_eq(model.node_of[w], model.node_of[w + 1], "MiB %u", w);
}

Test(node, a_full_range_goes_on_elsewhere)
{
	begin(2);
	uint32_t one = take(1, 16);
	while (range_usage().active < range.bytes)
		take(0, 1);
	cr_assert_eq(take(1, 1), NONE);
	give(0, 0);
	uint32_t foreign = take(1, 16);
	cr_assert_eq(foreign, 0, "the last free run is node 0's");
	give(one, 0);
	cr_assert_eq(take(0, 16), one, "and the other way round");
}

Test(node, the_cap_holds_for_all_nodes_together)
{
	enum range_refusal why;
	begin(2);
	range_limit((LOOKED_FROM + 20) << GRANULE_SHIFT);
	take(0, 10);
	take(1, 10);
	cr_assert(!range_take(1, 1, &why) && why == RANGE_CAPACITY);
}

/* A number that no node has is that of a machine that has changed; nothing is lost by it. */
Test(node, an_unknown_node_is_the_first)
{
	begin(2);
	thread_node = 7;
	cr_assert_eq(node_here(), 0);
	thread_node = 1;
	cr_assert_eq(node_here(), 1);
}

/* --- heaps ---------------------------------------------------------------------------------------------------------- */

static void leave_on(unsigned node, struct user *user)
{
	thread_node = node;
	user_leave(user);
}

static void heaps_begin(void)
{
	node_simulate(2, simulated);
	users_begin();
}

Test(node, a_thread_takes_over_a_heap_of_its_node, .init = heaps_begin)
{
	struct user *zero = user_enter(), *one = user_enter(), *another_zero = user_enter();
	leave_on(0, zero);
	leave_on(1, one);
	leave_on(0, another_zero);
	thread_node = 1;
	cr_assert_eq(user_enter(), one);
	cr_assert_eq(user_enter(), another_zero, "none of node 1 is left: the newest");
	thread_node = 0;
	cr_assert_eq(user_enter(), zero);
}

Test(node, slabs_are_claimed_from_the_own_node_first, .init = heaps_begin)
{
	struct user *mine = user_enter(), *zero = user_enter(), *one = user_enter();
	struct slab *of_zero = slab_of(user_must_take(zero, 0)), *of_one = slab_of(user_must_take(one, 0));
	leave_on(0, zero);
	leave_on(1, one);
	thread_node = 0;
	cr_assert_eq(slab_of(user_must_take(mine, 0)), of_zero, "the other heap is the newer one");
	while (slab_heap(of_one) != &mine->heap)
		user_must_take(mine, 0);
	cr_assert_eq(range_usage().active, 2 * ((size_t)of_one->granules << GRANULE_SHIFT), "claimed before more is taken");
	cr_assert_null(walk_pools().wrong);
}

/* --- threads -------------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, HELD = 24 };

static void *churn(void *number)
{
	unsigned char mine = (unsigned char)(uintptr_t)number;
	struct dice dice = dice_of(mine);
	struct slab *held[HELD] = {NULL};
	thread_node = mine % 3;
	for (int i = 0; i < 4000; i++) {
		struct slab **h = &held[dice_below(&dice, HELD)];
		if (*h) {
			for (unsigned g = 0; g < (*h)->granules; g++)
				if (slab_start(*h)[(size_t)g << GRANULE_SHIFT] != mine)
					return (void *)1;
			range_give(*h);
			*h = NULL;
		} else {
			enum range_refusal why;
			*h = range_take(1 + (unsigned)dice_below(&dice, 40), 1, &why);
			for (unsigned g = 0; *h && g < (*h)->granules; g++)
				slab_start(*h)[(size_t)g << GRANULE_SHIFT] = (char)mine;
		}
		if (i % 16 == 0) /* runs to purge are of several nodes, and others take meanwhile */
			range_trim();
	}
	for (int i = 0; i < HELD; i++)
		if (held[i])
			range_give(held[i]);
	return NULL;
}

/* Everything is free. Each node's threads can take the whole of its part, one granule after the other, before the range
 * grows; together that is all there is. */
static void check_none_is_lost(unsigned nodes)
{
	uint32_t before = range_usage().granules, taken = 0;
	for (thread_node = 0; thread_node < nodes; thread_node++) {
		enum range_refusal why;
		uint32_t top = range_usage().granules;
		struct slab *slab;
		while ((slab = range_take(1, 1, &why)) && range_usage().granules == top)
			taken++;
		cr_assert_not_null(slab);
	}
	cr_assert_eq(taken, before);
}

Test(node, threads_of_several_nodes_never_share_a_granule)
{
	pthread_t threads[THREADS];
	machine(3);
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "a granule changed under thread %d", i);
	}
	cr_assert_eq(range_usage().active, 0);
	check_none_is_lost(3);
}

/* --- the kernel ----------------------------------------------------------------------------------------------------- */

static int policy_at(uint32_t granule)
{
	int mode = -1;
	if (syscall(SYS_get_mempolicy, &mode, NULL, 0ul, range.base + ((size_t)granule << GRANULE_SHIFT), MPOL_F_ADDR))
		return -1;
	return mode;
}

/* By this very test, as the kernel documents it; and without a filter, before which node.c leaves the kernel alone. */
static bool may_prefer(void)
{
	static char status[4096];
	unsigned long mask = 1;
	void *page = os_map(OS_PAGE);
	os_read("/proc/self/status", status, sizeof(status));
	return page && strstr(status, "\nSeccomp:\t0\n") &&
	       syscall(SYS_mbind, page, (unsigned long)OS_PAGE, MPOL_PREFERRED, &mask, 2ul, 0u) == 0;
}

/* This machine has a node 0, whatever else it has. */
Test(node, the_kernel_is_asked_until_the_program_binds_itself)
{
	if (!may_prefer())
		cr_skip_test("mbind is refused here");
	begin(2);
	uint32_t asked = take(0, 16);
	while (asked < LOOKED_FROM)
		asked = take(0, 16);
	cr_assert_eq(policy_at(0), MPOL_DEFAULT);
	cr_assert_eq(policy_at(asked), MPOL_PREFERRED);
	node_stop();
	uint32_t later = take(0, 16);
	while (policy_at(later) == MPOL_PREFERRED)
		later = take(0, 16);
	cr_assert_eq(policy_at(later), MPOL_DEFAULT);
	cr_assert(is_nodes(later, 0), "only the kernel is left alone");
}
