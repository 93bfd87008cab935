/* Contexts: whose call it is, seen through functions that allocate for their callers; and never believed without proof. */
#define _GNU_SOURCE
#include "shim/context.h"
#include "pools/slab.h"
#include "shim/allocate.h"
#include "shim/frame.h"
#include "shim/route.h"
#include "shim/site.h"
#include "tests/acting.h"
#include "tests/frames.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1");
}

TestSuite(context);

static uintptr_t called_from; /* the wrapper's own return address */

/* Interposed functions, as far as contexts go. */
OWN_FRAME static void *entry(size_t size)
{
	return allocate_from(size, SLUICE_CALLER(), SLUICE_FRAME());
}

OWN_FRAME static uintptr_t meet(void)
{
	uintptr_t frame = SLUICE_FRAME();
	return context_meet(context_of(SLUICE_CALLER(), frame), frame);
}

OWN_FRAME static void *wrapper(size_t size)
{
	called_from = (uintptr_t)__builtin_return_address(0);
	void *block = entry(size);
	STAY();
	return block;
}

CALLER(one, wrapper)
CALLER(two, wrapper)
CALLER(three, wrapper)
CALLER(outer, one)
CALLER(outer_too, one)
CALLER(outer_three, one)

static const struct ledger_site *site_of_block(const void *block)
{
	struct heap *heap;
	uint16_t tag = slab_whose(slab_of(block), block, &heap);
	return &ledger_sites(ledger())[route_at(thread_of(heap), tag)->site];
}

static uintptr_t key_pc_of(const struct ledger_site *site, uint32_t i)
{
	uint32_t count;
	const uint32_t *frames = stack_frames(site->stack, &count);
	cr_assert_lt(i, count);
	return frame_pc(&ledger_frames(ledger())[frames[i]]);
}

/* Each in turn takes the first block of a class: that is a refill, where learning is. */
static void call_in_turn(void *(*const callers[3])(size_t))
{
	unsigned turn = 0;
	for (size_t size = 16; size < 2000; size += 160)
		callers[turn++ % 3](size);
}

static void learn(void)
{
	call_in_turn((void *(*const[])(size_t)){one, two, three});
}

Test(context, three_callers_make_a_wrapper)
{
	const struct ledger_site *first = site_of_block(one(100));
	cr_assert_eq(first->key_frames, 1);
	learn();
	void *a = one(100);
	uintptr_t from_one = called_from;
	void *b = two(100);
	cr_assert_neq(site_of_block(a), site_of_block(b));
	cr_assert_eq(site_of_block(a)->key_frames, 2);
	cr_assert_eq(key_pc_of(site_of_block(a), 1), from_one, "the caller of the wrapper");
	cr_assert_eq(key_pc_of(site_of_block(a), 0), key_pc_of(first, 0), "the wrapper");
	for (int i = 0; i < 100; i++) /* it has more callers by now, and may be seen through itself */
		cr_assert_eq(key_pc_of(site_of_block(one(100)), 1), from_one);
	cr_assert_eq(context_counts().wrong, 0);
}

/* A hit takes no look: the same block comes and goes. */
Test(context, what_is_learned_costs_no_unwinding)
{
	learn();
	for (int i = 0; i < 20; i++) /* a new route's first allocations are looked at */
		release(one(100));
	uint64_t before = context_counts().unwound;
	for (int i = 0; i < 10000; i++)
		release(one(100));
	cr_assert_eq(context_counts().unwound, before);
}

/* No refill shows who else calls: there is one block, and it is ready each time. */
Test(context, a_wrapper_is_learned_though_its_blocks_come_and_go)
{
	for (int i = 0; i < 5; i++) {
		release(one(100));
		release(two(100));
		release(three(100));
	}
	cr_assert_eq(site_of_block(one(100))->key_frames, 2);
}

Test(context, wrappers_of_wrappers)
{
	learn();
	call_in_turn((void *(*const[])(size_t)){outer, outer_too, outer_three});
	void *a = outer(100), *b = outer_too(100);
	cr_assert_neq(site_of_block(a), site_of_block(b));
	cr_assert_eq(site_of_block(a)->key_frames, 3);
}

CALLER(outer_four, one)
CALLER(outer_five, one)
CALLER(outer_six, one)

/* An allocator behind an allocator has one caller, whom many call. */
Test(context, one_caller_that_many_call_passes_on)
{
	void *(*const all[])(size_t) = {outer, outer_too, outer_three, outer_four, outer_five, outer_six};
	for (uint32_t i = 0; i < 3000; i++)
		all[(i * 2654435761u >> 16) % 6](16 + i % 60 * 80); /* not in step with the looks */
	void *a = outer(100), *b = outer_six(100);
	cr_assert_eq(site_of_block(a)->key_frames, 3);
	cr_assert_neq(site_of_block(a), site_of_block(b));
}

/* One block comes and goes, so the site needs no refill after its first; others do. */
Test(context, a_site_without_refills_is_looked_at_too)
{
	void *(*const callers[])(size_t) = {one, two, three};
	for (size_t i = 0; i < 2000; i++)
		for (size_t c = 0; c < 3; c++) {
			release(callers[c](100));
			if (i % 3 == c)
				entry(200 + i % 50 * 16);
		}
	cr_assert_geq(site_of_block(one(100))->key_frames, 2);
}

/* The blocks of a site that is a wrapper now keep it, also when they grow. */
Test(context, a_block_keeps_the_site_it_was_born_with)
{
	void *block = one(100);
	const struct ledger_site *born = site_of_block(block);
	learn();
	cr_assert_eq(site_of_block(block), born);
	block = reallocate(block, 1000, PC_OTHER);
	cr_assert_eq(site_of_block(block), born);
	cr_assert_eq(born->pc, SITE_RETIRED | (uint64_t)(born - ledger_sites(ledger())));
}

static void *on_a_thread(void *site)
{
	void *block = one(100);
	*(const struct ledger_site **)site = site_of_block(block);
	return NULL;
}

Test(context, other_threads_know_it_too)
{
	const struct ledger_site *there = NULL;
	pthread_t thread;
	learn();
	pthread_create(&thread, NULL, on_a_thread, &there);
	pthread_join(thread, NULL);
	cr_assert_eq(there->key_frames, 2);
	cr_assert_eq(key_pc_of(there, 1), called_from);
}

/* --- what is no wrapper ------------------------------------------------------------------------------------------- */

OWN_FRAME static uintptr_t met_by(void)
{
	uintptr_t context = meet();
	STAY();
	return context;
}

#define MET(name)                                                                                                      \
	OWN_FRAME static uintptr_t name(void)                                                                              \
	{                                                                                                                  \
		uintptr_t context = met_by();                                                                                  \
		STAY();                                                                                                        \
		return context;                                                                                                \
	}
MET(often)
MET(seldom)
MET(hardly_ever)

Test(context, nine_tenths_from_one_caller_is_that_callers)
{
	uintptr_t leaf = often();
	for (int i = 0; i < 400; i++)
		often();
	for (int i = 0; i < 15; i++) {
		seldom();
		hardly_ever();
	}
	cr_assert_eq(often(), leaf, "it is one caller's, but for a few");
	for (int i = 0; i < 400; i++)
		seldom();
	cr_assert_neq(often(), leaf, "a second one that counts");
}

/* The frame between the call and its caller has another size each time. */
OWN_FRAME static uintptr_t stretched(size_t by)
{
	volatile char *room = __builtin_alloca(by);
	room[0] = 1;
	uintptr_t context = meet();
	return room[0] ? context : 0;
}

#define STRETCHED(name)                                                                                                \
	OWN_FRAME static uintptr_t name(size_t by)                                                                         \
	{                                                                                                                  \
		uintptr_t context = stretched(by);                                                                             \
		STAY();                                                                                                        \
		return context;                                                                                                \
	}
STRETCHED(stretch_one)
STRETCHED(stretch_two)
STRETCHED(stretch_three)

Test(context, a_frame_of_no_fixed_size_is_left_alone)
{
	uintptr_t leaf = stretch_one(16);
	for (size_t by = 16; by < 4000; by += 48) {
		cr_assert_eq(stretch_one(by), leaf);
		cr_assert_eq(stretch_two(by + 16), leaf);
		cr_assert_eq(stretch_three(by + 32), leaf);
	}
	cr_assert_eq(context_counts().wrappers, 0);
	cr_assert_eq(context_counts().wrong, 0);
}

/* Its size was one for long, so it was believed; the first that is not finds it out. */
Test(context, a_wrong_load_is_found_out)
{
	uintptr_t leaf = stretch_one(16);
	for (int i = 0; i < 8; i++) {
		stretch_one(16);
		stretch_two(16);
		stretch_three(16);
	}
	cr_assert_neq(stretch_one(16), leaf);
	cr_assert_eq(context_counts().wrappers, 1);
	cr_assert_eq(stretch_two(1600), leaf);
	cr_assert_eq(context_counts().wrong, 1);
	cr_assert_eq(context_counts().wrappers, 0);
	cr_assert_eq(stretch_one(16), leaf, "and for good");
}

/* As a wrapper it was nowhere in the index of sites when that grew. */
Test(context, a_site_that_is_no_wrapper_any_more_is_found_again)
{
	enum { FURTHER = 2000 };
	uintptr_t leaf = stretch_one(16);
	uint16_t site = site_find(leaf);
	cr_assert_neq(site, SITE_OTHER);
	for (int i = 0; i < 8; i++) {
		stretch_one(16);
		stretch_two(16);
		stretch_three(16);
	}
	cr_assert_eq(context_counts().wrappers, 1);
	for (uintptr_t i = 0; i < FURTHER; i++)
		cr_assert_neq(site_of(0x10000 + 16 * i), SITE_OTHER);
	cr_assert_eq(stretch_two(1600), leaf);
	cr_assert_eq(context_counts().wrong, 1);
	cr_assert_eq(site_find(leaf), site);
}

/* A caller that says another return address than it has (or none: a test, a birth that is known). */
Test(context, an_address_without_a_frame_stays_what_it_is)
{
	learn();
	cr_assert_eq(context_of(0x12345, 0), 0x12345);
	cr_assert_eq(context_meet(0x12345, 0), 0x12345);
	cr_assert_eq(context_meet(0x12345, SLUICE_FRAME()), 0x12345);
	uintptr_t wrapper_pc = key_pc_of(site_of_block(one(100)), 0);
	uintptr_t alone = context_of(wrapper_pc, 0);
	cr_assert(alone & SITE_RETIRED, "a wrapper whose stack may not be read is itself");
}

/* --- many --------------------------------------------------------------------------------------------------------- */

OWN_FRAME static int dive(unsigned depth, void **block)
{
	if (depth == 0)
		*block = wrapper(100);
	else
		dive(depth - 1, block);
	STAY();
	return 1;
}

Test(context, recursion_ends)
{
	learn();
	uint32_t before = ledger()->sites_count;
	void *block = NULL;
	for (unsigned depth = 0; depth < 10000; depth = depth * 3 + 1) {
		dive(depth, &block);
		cr_assert_leq(site_of_block(block)->key_frames, 1 + CONTEXT_LEVELS_MAX);
	}
	cr_assert_leq(ledger()->sites_count - before, 2 + CONTEXT_LEVELS_MAX * CONTEXT_LEVELS_MAX);
	cr_assert_leq(ledger()->stack_ids_count, 64 * ledger()->sites_count);
}

CALLER(late, entry)

/* They are "other" whatever unwinding says of them. */
Test(context, without_room_for_sites_new_callers_are_seldom_unwound)
{
	one(100);
	sites_limit(ledger()->sites_count);
	late(100); /* finds out that there is no room */
	uint64_t before = context_counts().unwound;
	for (size_t size = 160; size < 4000; size += 160)
		cr_assert_eq(site_of_block(late(size)), ledger_sites(ledger()));
	cr_assert_leq(context_counts().unwound, before + 1, "%lu", context_counts().unwound - before);
}

#if defined(__x86_64__)
/* Code that only calls: sub $8, %rsp; mov $wrapper, %rax; call *%rax; add $8, %rsp; ret. */
static const unsigned char stub[] = {0x48, 0x83, 0xec, 0x08, 0x48, 0xb8, 0,    0,    0,    0,   0,
                                     0,    0,    0,    0xff, 0xd0, 0x48, 0x83, 0xc4, 0x08, 0xc3};

Test(context, more_callers_than_there_are_sites)
{
	enum { CALLERS = 100000, EACH = 32 };
	unsigned char *code =
		mmap(NULL, (size_t)CALLERS * EACH, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *(*target)(size_t) = wrapper;
	uint32_t others = 0;
	for (unsigned i = 0; i < CALLERS; i++) {
		memcpy(code + (size_t)i * EACH, stub, sizeof(stub));
		memcpy(code + (size_t)i * EACH + 6, &target, sizeof(target));
	}
	learn();
	for (unsigned i = 0; i < CALLERS; i++) {
		void *(*call)(size_t);
		*(void **)&call = code + (size_t)i * EACH;
		void *block = call(64);
		others += site_of_block(block) == ledger_sites(ledger());
		release(block);
	}
	cr_assert_leq(ledger()->sites_count, LEDGER_SITES_MAX);
	cr_assert_geq(others, CALLERS - LEDGER_SITES_MAX);
	cr_assert_eq(ledger()->quality.dropped_frames + ledger()->quality.dropped_stacks, 0);
}
#endif
