/* Heaps and threads, step by step: blocks freed by others, heaps left, adopted and claimed from; and whose a block is, asked
 * while that changes. */
#define _GNU_SOURCE
#include "tests/dice.h"
#include "tests/heap_user.h"

#include <criterion/criterion.h>
#include <pthread.h>

enum { KEYS = 24 };

TestSuite(heap, .init = users_begin);

/* Runs it on a thread of its own, to its end. */
static void on_thread(void *(*run)(void *), void *argument)
{
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, run, argument), 0);
	pthread_join(thread, NULL);
}

/* --- one remote free after the other ------------------------------------------------------------------------------ */

struct blocks {
	void *at[2000];
	unsigned count, key;
	struct user *user;
};

static void *give_without_a_heap(void *argument)
{
	struct blocks *blocks = argument;
	for (unsigned i = 0; i < blocks->count; i++)
		user_give(NULL, blocks->at[i]);
	return NULL;
}

static void fill(struct blocks *blocks, struct user *user, unsigned key, unsigned count)
{
	blocks->count = count;
	blocks->key = key;
	blocks->user = user;
	for (unsigned i = 0; i < count; i++)
		blocks->at[i] = user_must_take(user, key);
}

Test(heap, a_remote_free_waits_for_the_owner)
{
	static struct blocks blocks;
	struct user *user = user_enter();
	fill(&blocks, user, 7, 1000);
	struct heap *only = heap_first();
	on_thread(give_without_a_heap, &blocks);
	cr_assert_eq(heap_first(), only, "a thread that only frees makes no heap");
	users_walk(0);
	cr_assert_eq(user_alive(7), 1000, "not counted before they are home");
	heap_drain(&user->heap);
	cr_assert_eq(user_alive(7), 0);
	cr_assert_eq(user->heap.caches[user_tag(user, 7)].remote, 1000);
	users_walk(0);
	user_settle(user);
	user_age(user), user_age(user), user_age(user);
	cr_assert_eq(range_usage().active, 0);
}

Test(heap, remote_frees_of_owned_and_shared_slabs_are_told_apart)
{
	static struct blocks owned, shared;
	struct user *user = user_enter();
	cr_assert(user_own(user, 3));
	fill(&owned, user, 3, 700);
	fill(&shared, user, 15, 900);
	on_thread(give_without_a_heap, &owned);
	on_thread(give_without_a_heap, &shared);
	users_walk(0);
	heap_drain(&user->heap);
	users_walk(0);
	cr_assert_eq(user->heap.caches[user_tag(user, 3)].remote, 700);
	cr_assert_eq(user->heap.caches[user_tag(user, 15)].remote, 900);
}

/* Producer and consumer: what the other end frees comes back at the next miss, so the footprint stays. */
Test(heap, what_others_free_serves_again)
{
	static struct blocks blocks;
	struct user *user = user_enter();
	size_t most = 0;
	for (int round = 0; round < 200; round++) {
		fill(&blocks, user, 7, 1000);
		give_without_a_heap(&blocks);
		if (round == 2)
			most = range_usage().peak_active;
	}
	cr_assert_eq(range_usage().peak_active, most);
	heap_drain(&user->heap);
	users_walk(0);
}

/* --- leaving ------------------------------------------------------------------------------------------------------ */

static void *fill_and_leave(void *argument)
{
	struct blocks *blocks = argument;
	struct user *user = user_enter();
	if (blocks->key == 3)
		user_own(user, 3);
	fill(blocks, user, blocks->key, blocks->count);
	/* Some go before, so that slabs are left partly free. */
	for (unsigned i = 0; i < blocks->count; i += 3)
		user_give(user, blocks->at[i]);
	user_leave(user);
	return NULL;
}

static void leave_and_free(unsigned key)
{
	static struct blocks blocks;
	blocks.count = 1000;
	blocks.key = key;
	on_thread(fill_and_leave, &blocks);
	users_walk(1000 - 334);
	cr_assert_gt(range_usage().active, 0);
	for (unsigned i = 0; i < 1000; i++)
		if (i % 3)
			user_give(NULL, blocks.at[i]);
	users_walk(0);
	cr_assert_eq(range_usage().active, 0, "who frees the last block of a slab gives it back");
	cr_assert_eq(user_alive(key), 0);
}

Test(heap, the_last_block_of_a_left_heap_frees_its_shared_slab)
{
	leave_and_free(7);
}

Test(heap, the_last_block_of_a_left_heap_frees_its_owned_slab)
{
	leave_and_free(3);
}

Test(heap, nothing_of_an_unused_heap_stays)
{
	struct user *user = user_enter();
	void *block = user_must_take(user, 5);
	user_give(user, block);
	user_leave(user);
	users_walk(0);
	cr_assert_eq(range_usage().active, 0);
}

Test(heap, a_new_thread_adopts_the_left_heap_whole)
{
	static struct blocks blocks;
	blocks.count = 600;
	blocks.key = 3;
	on_thread(fill_and_leave, &blocks);
	struct heap *left = heap_first();
	struct user *user = user_enter();
	cr_assert_eq(&user->heap, left);
	cr_assert_eq(atomic_load(&left->state), HEAP_LIVE);
	cr_assert_neq(user->pool_of[3], POOL_NONE, "its owned pools too");
	cr_assert_eq(user_alive(3), 400);
	for (unsigned i = 0; i < 600; i++)
		if (i % 3)
			user_give(user, blocks.at[i]);
	cr_assert_eq(user_alive(3), 0);
	cr_assert_eq(user->heap.caches[user_tag(user, 3)].remote, 0, "they are its own now");
	users_walk(0);
	cr_assert_null(heap_adopt(), "nobody gets it twice");
	struct user *second = user_enter();
	cr_assert_neq(second, user);
}

Test(heap, heaps_are_as_many_as_threads_at_once)
{
	static struct blocks blocks;
	for (int i = 0; i < 50; i++) {
		blocks.count = 10;
		blocks.key = 7;
		on_thread(fill_and_leave, &blocks);
	}
	cr_assert_null(heap_first()->next);
}

/* --- claiming ----------------------------------------------------------------------------------------------------- */

/* Two keys of one class share the slabs; each block's key must come along, under the tag it has on the new heap. */
static void *fill_two_and_leave(void *argument)
{
	struct blocks *blocks = argument;
	struct user *user = user_enter();
	for (unsigned i = 0; i < 1000; i++)
		blocks->at[i] = user_must_take(user, i % 2 ? 7 : 19);
	for (unsigned i = 0; i < 1000; i++)
		if (i % 5)
			user_give(user, blocks->at[i]);
	user_leave(user);
	return NULL;
}

Test(heap, a_claimed_slab_brings_its_blocks_and_their_keys)
{
	static struct blocks blocks;
	struct heap *owner;
	struct user *user = user_enter();
	user_tag(user, 2), user_tag(user, 19); /* other numbers than over there */
	on_thread(fill_two_and_leave, &blocks);
	struct heap *left = heap_first();
	size_t active = range_usage().active, fresh_count = 0;
	static void *fresh[3000];
	while (range_usage().active == active) /* until nothing is left to claim */
		fresh[fresh_count++] = user_must_take(user, 7);
	cr_assert_gt(fresh_count, 300);
	users_walk(200 + fresh_count);
	cr_assert_eq(left->used_bytes, 0, "all its slabs were partly free, so all went");
	for (unsigned i = 0; i < 1000; i += 5) {
		uint16_t tag = slab_whose(slab_of(blocks.at[i]), blocks.at[i], &owner);
		cr_assert_eq(owner, &user->heap);
		cr_assert_eq(tag, user_tag(user, i % 2 ? 7 : 19));
	}
	cr_assert_eq(user_alive(19), 100);
	cr_assert_eq((uint64_t)user_alive(7), 100 + fresh_count);
	for (unsigned i = 0; i < 1000; i += 5)
		user_give(user, blocks.at[i]);
	for (unsigned i = 0; i < fresh_count; i++)
		user_give(user, fresh[i]);
	cr_assert_eq(user_alive(19), 0);
	cr_assert_eq(user_alive(7), 0);
	users_walk(0);
}

/* A free on its way to the old heap when the slab changes hands arrives at the new one. */
Test(heap, remote_frees_follow_a_claimed_slab)
{
	static struct blocks blocks;
	struct user *user = user_enter();
	on_thread(fill_two_and_leave, &blocks);
	for (unsigned i = 0; i < 500; i += 5)
		user_give(NULL, blocks.at[i]);
	cr_assert(heap_first()->used_bytes);
	size_t active = range_usage().active;
	uint64_t fresh = 0;
	for (; range_usage().active == active; fresh++)
		user_must_take(user, 7);
	for (unsigned i = 500; i < 1000; i += 5)
		user_give(NULL, blocks.at[i]);
	heap_drain(&user->heap);
	users_walk(fresh);
	cr_assert_eq(user_alive(19), 0);
	cr_assert_eq((uint64_t)user_alive(7), fresh);
}

/* The moment between reading whose the slab is and queueing it there, in which it is claimed: made by hand. */
Test(heap, a_slab_queued_on_its_old_heap_is_passed_on)
{
	static struct blocks blocks;
	struct user *user = user_enter();
	on_thread(fill_two_and_leave, &blocks);
	struct heap *left = heap_first();
	size_t active = range_usage().active;
	uint64_t fresh = 0;
	for (; range_usage().active == active; fresh++)
		user_must_take(user, 7);
	for (unsigned i = 0; i < 1000; i += 5)
		user_give(NULL, blocks.at[i]);
	atomic_store(&left->pending, atomic_exchange(&user->heap.pending, 0));
	heap_drain(&user->heap);
	cr_assert_eq(user_alive(19), 100, "its owner does not know yet");
	cr_assert(heap_borrow(left));
	heap_return(left);
	heap_drain(&user->heap);
	users_walk(fresh);
	cr_assert_eq(user_alive(19), 0);
}

static struct blocks *_Atomic asked; /* NULL: enough */
static struct blocks *_Atomic answered;

/* Asks on and on whose a block is: whatever moves meanwhile, it is the same key. */
static void *ask_whose(void *unused)
{
	(void)unused;
	struct dice dice = dice_of(1);
	struct blocks *blocks;
	while ((blocks = atomic_load(&asked))) {
		for (int n = 0; n < 100; n++) {
			unsigned i = (unsigned)dice_below(&dice, blocks->count / 5) * 5;
			unsigned key = blocks->key ? blocks->key : i % 2 ? 7 : 19;
			struct heap *heap;
			uint16_t tag = slab_whose(slab_of(blocks->at[i]), blocks->at[i], &heap);
			if (heap->caches[tag].key != key + 1)
				return blocks;
		}
		atomic_store(&answered, blocks);
	}
	return NULL;
}

/* From here on the asker asks for these; NULL ends it. */
static void ask(struct blocks *blocks)
{
	atomic_store(&asked, blocks);
}

/* Of two left heaps, the one adopted second claims the slabs of the one that was left last; both are left again. */
static void hand_over(struct blocks *blocks)
{
	struct user *holder = user_enter(), *claimer = user_enter();
	user_leave(holder);
	for (unsigned i = 0; i < blocks->count; i++)
		blocks->at[i] = user_must_take(claimer, 7);
	for (unsigned i = 0; i < blocks->count; i++)
		user_give(claimer, blocks->at[i]);
	user_leave(claimer);
}

Test(heap, whose_a_block_is_never_wavers_while_it_is_claimed)
{
	static struct blocks kept, mine;
	pthread_t asker;
	void *wrong;
	/* Two heaps: one holds the blocks, one is empty; they take turns in claiming from each other. All tags are made
	 * before, because the caches must not move while another thread reads keys, and differ between the two. */
	struct user *both[2] = {user_enter(), user_enter()};
	for (unsigned key = 0; key < KEYS; key++) {
		user_tag(both[0], key);
		user_tag(both[1], KEYS - 1 - key);
	}
	user_leave(both[0]);
	kept.count = 1000;
	on_thread(fill_two_and_leave, &kept);
	user_leave(both[1]);
	mine.count = 1500;
	ask(&kept);
	cr_assert_eq(pthread_create(&asker, NULL, ask_whose, NULL), 0);
	uint64_t moves = 0;
	struct heap *heap, *before = NULL;
	for (int i = 0; i < 3000; i++) {
		hand_over(&mine);
		slab_whose(slab_of(kept.at[0]), kept.at[0], &heap);
		moves += heap != before;
		before = heap;
	}
	ask(NULL);
	pthread_join(asker, &wrong);
	cr_assert_null(wrong, "a block had another key for a moment");
	cr_assert_gt(moves, 2000, "it moved %lu times: this test tested nothing", moves);
	users_walk(200);
}

/* An owned pool that becomes a shared one: its slabs get tags for their blocks under the reader's eyes. */
Test(heap, whose_a_block_is_never_wavers_while_its_pool_is_shared)
{
	static struct blocks sets[2];
	pthread_t asker;
	void *wrong = NULL;
	struct user *user = user_enter();
	for (unsigned key = 0; key < KEYS; key++)
		user_tag(user, key);
	for (int i = 0; i < 1000 && !wrong; i++) {
		struct blocks *fresh = &sets[i % 2], *old = &sets[(i + 1) % 2];
		cr_assert(user_own(user, 7));
		fill(fresh, user, 7, 200);
		ask(fresh);
		if (i == 0)
			cr_assert_eq(pthread_create(&asker, NULL, ask_whose, NULL), 0);
		while (atomic_load(&answered) != fresh && pthread_tryjoin_np(asker, &wrong) != 0)
			;
		for (unsigned b = 0; b < old->count; b++)
			user_give(user, old->at[b]);
		user_share(user, 7);
	}
	ask(NULL);
	if (!wrong)
		pthread_join(asker, &wrong);
	cr_assert_null(wrong, "a block had another key for a moment");
	users_walk(200);
}
