/* Blocks on their way to another heap: in parcels, on slabs, past an owner that sleeps. What is on its way is bounded,
 * nothing is lost or counted twice, and the walker agrees at every step. */
#define _GNU_SOURCE
#include "pools/walk.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/heap_user.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

enum { KEYS = 24, SMALL = 1, TWIN = 13, BIG = 20, MANY = 60000 }; /* SMALL and TWIN: one class */

static void setup(void)
{
	users_begin();
	user_class_of[BIG] = (uint8_t)class_of(PARCEL_BLOCK_MAX + 1);
}

TestSuite(remote, .init = setup);

static void *at[MANY];

static void fill(struct user *user, unsigned key, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		at[i] = user_must_take(user, key);
}

/* Two heaps at once, of two threads that are both this one: no heap looks at who calls. */
static struct user *owner, *other;

static void two(void)
{
	owner = user_enter();
	other = user_enter();
	cr_assert(owner && other && owner != other);
}

static uint64_t in_parcels(const struct user *user)
{
	uint64_t count = 0;
	for (unsigned i = 0; i < OUTBOX_PARCELS; i++) {
		const struct parcel *parcel = atomic_load(&user->heap.outbox.parcels[i]);
		count += parcel ? atomic_load(&parcel->count) : 0;
	}
	return count;
}

/* --- parcels ------------------------------------------------------------------------------------------------------ */

Test(remote, a_parcel_goes_when_it_is_full)
{
	two();
	fill(owner, SMALL, 2 * PARCEL_BLOCKS);
	for (unsigned i = 0; i < 2 * PARCEL_BLOCKS; i++) {
		user_give(other, at[i]);
		users_walk(2 * PARCEL_BLOCKS - 1 - i);
		cr_assert_eq(!!atomic_load(&owner->heap.inbox), i + 1 >= PARCEL_BLOCKS, "after %u", i + 1);
	}
	cr_assert_eq(atomic_load(&owner->heap.pending), 0, "no slab was touched");
	cr_assert_eq(user_alive(SMALL), 2 * PARCEL_BLOCKS, "not counted before they are home");
	heap_drain(&owner->heap);
	users_walk(0);
	cr_assert_eq(user_alive(SMALL), 0);
	cr_assert_eq(owner->heap.caches[user_tag(owner, SMALL)].remote, 2 * PARCEL_BLOCKS);
	cr_assert_eq(in_parcels(other), 0);
}

Test(remote, a_parcel_goes_when_it_is_heavy)
{
	two();
	unsigned key = 11;
	uint32_t size = class_table[user_class_of[key]].size;
	cr_assert(size <= PARCEL_BLOCK_MAX && size * PARCEL_BLOCKS > PARCEL_BYTES);
	fill(owner, key, 1000);
	for (unsigned i = 0; i < 1000; i++) {
		user_give(other, at[i]);
		cr_assert_lt((in_parcels(other) * size) % (PARCEL_BYTES + size), PARCEL_BYTES + size);
		uint32_t open = 0;
		for (unsigned lane = 0; lane < OUTBOX_LANES; lane++)
			open += other->heap.outbox.open[lane] ? other->heap.outbox.open[lane]->bytes : 0;
		cr_assert_lt(open, PARCEL_BYTES);
	}
	heap_send(&other->heap);
	heap_drain(&owner->heap);
	users_walk(0);
}

Test(remote, a_large_block_goes_at_once)
{
	two();
	fill(owner, BIG, 3);
	for (unsigned i = 0; i < 3; i++)
		user_give(other, at[i]);
	cr_assert_eq(in_parcels(other), 0);
	cr_assert_neq(atomic_load(&owner->heap.pending), 0);
	heap_drain(&owner->heap);
	users_walk(0);
	cr_assert_eq(user_alive(BIG), 0);
}

Test(remote, what_comes_home_is_ready_again)
{
	two();
	fill(owner, SMALL, 400);
	struct cache *cache = &owner->heap.caches[user_tag(owner, SMALL)];
	uint64_t before = cache_cached(cache);
	for (unsigned i = 0; i < 400; i++)
		user_give(other, at[i]);
	heap_send(&other->heap);
	heap_drain(&owner->heap);
	cr_assert_gt(cache_cached(cache), before, "not by way of the slabs");
	cr_assert_geq(cache->room, 0, "and no more than the cache may hold");
	users_walk(0);
}

/* To many heaps at once: few parcels, whose lanes they share; each block arrives where it belongs. */
Test(remote, many_heaps_share_the_lanes)
{
	enum { HEAPS = 40 };
	struct user *owners[HEAPS];
	struct dice dice = dice_of(11);
	other = user_enter();
	for (unsigned h = 0; h < HEAPS; h++)
		owners[h] = user_enter();
	for (int round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 4000; i++)
			at[i] = user_must_take(owners[dice_below(&dice, HEAPS)], (unsigned)dice_below(&dice, 12));
		for (unsigned i = 0; i < 4000; i++)
			user_give(other, at[i]);
		users_walk(0);
		for (unsigned h = 0; h < HEAPS; h++)
			if (dice_chance(&dice, 50))
				heap_drain(&owners[h]->heap);
		users_walk(0);
	}
	heap_send(&other->heap);
	for (unsigned h = 0; h < HEAPS; h++)
		heap_drain(&owners[h]->heap);
	for (unsigned key = 0; key < 12; key++)
		cr_assert_eq(user_alive(key), 0, "key %u", key);
	cr_assert_eq(in_parcels(other), 0);
	users_walk(0);
}

/* A heap that is used on sends what it holds though nobody fills the parcel. */
Test(remote, an_open_parcel_goes_with_age)
{
	two();
	fill(owner, SMALL, 5);
	for (unsigned i = 0; i < 5; i++)
		user_give(other, at[i]);
	for (unsigned i = 0; i < OUTBOX_AGE; i++)
		heap_drain(&other->heap);
	cr_assert(atomic_load(&owner->heap.inbox));
	heap_drain(&owner->heap);
	cr_assert_eq(user_alive(SMALL), 0);
	users_walk(0);
}

Test(remote, who_leaves_sends_what_it_holds)
{
	two();
	fill(owner, SMALL, 10);
	for (unsigned i = 0; i < 10; i++)
		user_give(other, at[i]);
	user_leave(other);
	heap_drain(&owner->heap);
	cr_assert_eq(user_alive(SMALL), 0);
	users_walk(0);
	/* Who comes next gets the heap, its parcels included. */
	fill(owner, SMALL, 500);
	cr_assert_eq(user_enter(), other);
	for (unsigned i = 0; i < 500; i++)
		user_give(other, at[i]);
	user_leave(other);
	heap_drain(&owner->heap);
	cr_assert_eq(user_alive(SMALL), 0);
	users_walk(0);
}

Test(remote, a_parcel_to_a_heap_that_was_left_frees_its_slabs)
{
	two();
	fill(owner, SMALL, 1000);
	for (unsigned i = 0; i < 10; i++)
		user_give(other, at[i]); /* in a parcel when its owner leaves */
	user_leave(owner);
	for (unsigned i = 10; i < 1000; i++)
		user_give(other, at[i]);
	heap_send(&other->heap);
	users_walk(0);
	cr_assert_eq(range_usage().active, 0);
	cr_assert_eq(user_alive(SMALL), 0);
}

/* Its slabs go to another heap between the free and the arrival. */
Test(remote, a_parcel_follows_a_claimed_slab)
{
	two();
	struct user *third = user_enter();
	for (unsigned i = 0; i < 1000; i++)
		at[i] = user_must_take(owner, i % 2 ? SMALL : TWIN);
	for (unsigned i = 0; i < 1000; i++)
		if (i % 5)
			user_give(owner, at[i]);
	user_leave(owner);
	for (unsigned i = 0; i < 250; i += 5) /* fewer than a parcel holds */
		user_give(other, at[i]);
	size_t active = range_usage().active;
	uint64_t fresh = 0;
	for (; range_usage().active == active; fresh++)
		user_must_take(third, SMALL);
	cr_assert_eq(owner->heap.used_bytes, 0, "all its slabs went");
	heap_send(&other->heap);
	heap_drain(&third->heap);
	cr_assert_eq((uint64_t)(user_alive(SMALL) + user_alive(TWIN)), 150 + fresh);
	users_walk(150 + fresh);
}

/* A report beside running threads may follow a block to a slab that has just gone. */
Test(remote, a_slab_that_is_gone_has_no_tags)
{
	two();
	fill(owner, SMALL, 1);
	struct slab *slab = slab_of(at[0]);
	cr_assert_eq(slab_tag(slab, at[0]), user_tag(owner, SMALL));
	user_leave(owner);
	user_give(NULL, at[0]);
	cr_assert_eq(slab_owner(slab), 0);
	cr_assert_eq(slab_tag(slab, at[0]), 0);
}

/* --- owners that sleep -------------------------------------------------------------------------------------------- */

static const unsigned everybody_has = OUTBOX_PARCELS * PARCEL_BLOCKS;

Test(remote, a_sleeping_owner_holds_few_parcels)
{
	two();
	fill(owner, SMALL, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		user_give(other, at[i]);
		cr_assert_leq(in_parcels(other), everybody_has);
	}
	cr_assert(atomic_load(&owner->heap.behind));
	cr_assert_null(atomic_load(&owner->heap.inbox), "what nobody fetched is with the slabs");
	users_walk(0);
	heap_drain(&owner->heap);
	cr_assert(!atomic_load(&owner->heap.behind));
	cr_assert_eq(user_alive(SMALL), 0);
	users_walk(0);
}

/* How a program that keeps the last block of every slab looks: nothing may be purged then. */
static void free_and_tend(unsigned key, bool own, unsigned keep_every)
{
	size_t size = class_table[user_class_of[key]].size;
	two();
	if (own)
		cr_assert(user_own(owner, key));
	for (unsigned i = 0; i < MANY; i++) {
		at[i] = user_must_take(owner, key == SMALL && i % 2 && !own ? TWIN : key);
		memset(at[i], (int)i, size);
	}
	uint64_t kept = 0;
	for (unsigned i = 0; i < MANY; i++)
		if (keep_every && i % keep_every == 0)
			kept++;
		else
			user_give(other, at[i]);
	heap_send(&other->heap);
	users_walk(kept);
	size_t before = range_usage().purged, active = range_usage().active;
	heap_tend_all(NULL);
	size_t purged = range_usage().purged - before;
	users_walk(kept);
	if (keep_every)
		cr_assert_eq(purged, 0);
	else
		cr_assert_gt(purged, active - active / 8);
	for (unsigned i = 0; keep_every && i < MANY; i += keep_every)
		for (size_t b = 0; b < size; b++)
			cr_assert_eq(((unsigned char *)at[i])[b], (unsigned char)i);
	heap_tend_all(NULL);
	cr_assert_eq(range_usage().purged - before, purged, "there was no more to do");
	heap_drain(&owner->heap);
	cr_assert_eq((uint64_t)(user_alive(SMALL) + user_alive(key == SMALL ? TWIN : key)), kept);
	users_walk(kept);
	for (unsigned i = 0; i < MANY; i++) /* and it serves again */
		memset(user_must_take(owner, key), 1, size);
	users_walk(kept + MANY);
}

Test(remote, a_sleeping_owners_memory_goes_back)
{
	free_and_tend(SMALL, false, 0);
}

Test(remote, a_sleeping_owners_own_slabs_go_back)
{
	free_and_tend(SMALL + 1, true, 0);
}

Test(remote, a_slab_with_a_block_in_use_stays)
{
	free_and_tend(SMALL, false, 9); /* odd, so that blocks of both sites stay */
}

/* By itself, for a heap that has waited a whole period. (With a decay of 0 the period is as short as it can be.) */
Test(remote, somebody_looks_around)
{
	two();
	range_decay_set(0);
	fill(owner, SMALL, MANY);
	for (unsigned i = 0; i < MANY; i++)
		user_give(other, at[i]);
	size_t before = range_usage().purged;
	while (range_usage().purged == before) /* until the clock has moved twice */
		for (unsigned i = 0; i < OUTBOX_AGE; i++)
			heap_drain(&other->heap);
	users_walk(0);
	heap_drain(&owner->heap);
	users_walk(0);
	cr_assert_eq(user_alive(SMALL), 0);
}

Test(remote, nobody_tends_without_decay)
{
	two();
	fill(owner, SMALL, 5000);
	for (unsigned i = 0; i < 5000; i++)
		user_give(other, at[i]);
	for (unsigned i = 0; i < 100 * OUTBOX_AGE; i++)
		heap_drain(&other->heap);
	cr_assert_eq(range_usage().purged, 0);
	heap_send(&other->heap);
	user_leave(owner);
	users_walk(0);
	cr_assert_eq(range_usage().active, 0);
}

/* --- all at once -------------------------------------------------------------------------------------------------- */

enum { PAIRS = 2, RING = 4096, PASSED = 150000 };

struct ring {
	void *_Atomic slots[RING];
	_Atomic bool done;
};

static struct ring rings[PAIRS];
static _Atomic bool stop;

static uint64_t seal_of(const void *block)
{
	return (uint64_t)(uintptr_t)block * UINT64_C(0x9E3779B97F4A7C15);
}

/* Makes blocks, now and then sleeps (that is: makes none until all are gone), now and then drains or ages. */
static void *produce(void *argument)
{
	struct ring *ring = argument;
	struct dice dice = dice_of((uintptr_t)(ring - rings));
	struct user *user = user_enter();
	for (unsigned i = 0; i < PASSED; i++) {
		uint64_t *block = user_must_take(user, (unsigned)dice_below(&dice, 12) + (dice_chance(&dice, 50) ? 12 : 0));
		*block = seal_of(block);
		void *_Atomic *slot = &ring->slots[i % RING];
		while (atomic_load(slot))
			sched_yield();
		atomic_store(slot, block);
		if (dice_below(&dice, 5000) == 0)
			user_age(user);
		if (dice_below(&dice, 20000) == 0) {
			user_leave(user);
			user = user_enter();
		}
	}
	atomic_store(&ring->done, true);
	user_leave(user);
	return NULL;
}

static void *consume(void *argument)
{
	struct ring *ring = argument;
	struct dice dice = dice_of(50 + (uintptr_t)(ring - rings));
	struct user *user = user_enter();
	uintptr_t wrong = 0;
	for (unsigned i = 0; i < PASSED; i++) {
		uint64_t *block;
		while (!(block = atomic_exchange(&ring->slots[i % RING], NULL)))
			sched_yield();
		wrong += *block != seal_of(block);
		user_give(dice_below(&dice, 100) ? user : NULL, block);
		if (dice_below(&dice, 20000) == 0) {
			user_leave(user);
			user = user_enter();
		}
	}
	user_leave(user);
	return (void *)wrong;
}

static void *tend_on_and_on(void *unused)
{
	while (!atomic_load(&stop)) {
		heap_tend_all(NULL);
		sched_yield();
	}
	return unused;
}

Test(remote, producers_consumers_and_one_that_tends)
{
	pthread_t threads[2 * PAIRS], tender;
	for (int i = 0; i < PAIRS; i++) {
		cr_assert_eq(pthread_create(&threads[2 * i], NULL, produce, &rings[i]), 0);
		cr_assert_eq(pthread_create(&threads[2 * i + 1], NULL, consume, &rings[i]), 0);
	}
	cr_assert_eq(pthread_create(&tender, NULL, tend_on_and_on, NULL), 0);
	for (int i = 0; i < 2 * PAIRS; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_eq(wrong, NULL, "%zu blocks were damaged", (size_t)wrong);
	}
	atomic_store(&stop, true);
	pthread_join(tender, NULL);
	users_walk(0);
	for (unsigned key = 0; key < KEYS; key++)
		cr_assert_eq(user_alive(key), 0, "key %u: %ld", key, user_alive(key));
	cr_assert_eq(range_usage().active, 0);
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

static pthread_barrier_t full, after_fork;

static void *hold_parcels(void *user)
{
	struct user *mine = user_enter();
	for (unsigned i = 0; i < 300; i++)
		user_give(mine, at[i]);
	pthread_barrier_wait(&full);
	pthread_barrier_wait(&after_fork);
	user_leave(mine);
	return user;
}

static int bring_home_in_the_child(struct user *mine)
{
	heap_drain(&mine->heap);
	HOLDS(user_alive(SMALL) == 10);
	HOLDS(!walk_own_heap(&mine->heap));
	return 0;
}

/* The other thread vanishes with an open parcel and some under way; in the child all of them come home. */
Test(remote, parcels_of_a_vanished_thread_come_home)
{
	pthread_t thread;
	owner = user_enter();
	fill(owner, SMALL, 310);
	pthread_barrier_init(&full, NULL, 2);
	pthread_barrier_init(&after_fork, NULL, 2);
	cr_assert_eq(pthread_create(&thread, NULL, hold_parcels, owner), 0);
	pthread_barrier_wait(&full);
	cr_assert_eq(user_alive(SMALL), 310);
	users_walk(10);
	cr_assert_eq(user_forked(owner, bring_home_in_the_child), 0);
	pthread_barrier_wait(&after_fork);
	pthread_join(thread, NULL);
	heap_drain(&owner->heap);
	cr_assert_eq(user_alive(SMALL), 10);
	users_walk(10);
}
