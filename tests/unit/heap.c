/* Heaps and threads: blocks freed by others, heaps left, adopted and claimed from, forks. Threads work between two
 * barriers; while they wait, the walker looks at everything and the books are held against the model. */
#define _GNU_SOURCE
#include "pools/meta.h"
#include "pools/walk.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/heap_user.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { GIB = 1 << 30, KEYS = 24 };

static void setup(void)
{
	classes_init();
	cr_assert(range_init(GIB));
	range_decay_set(-1);
	for (unsigned key = 0; key < USER_KEYS; key++)
		user_class_of[key] = (uint8_t)(key % 12 * 4); /* every class has two keys */
}

TestSuite(heap, .init = setup);

static void *take(struct user *user, unsigned key)
{
	enum range_refusal why;
	void *block = user_take(user, key, &why);
	cr_assert_not_null(block);
	return block;
}

static struct walk walk(uint64_t alive)
{
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s (granule %u)", seen.wrong, seen.granule);
	cr_assert_eq(seen.used - seen.cached, alive, "%lu alive, not %lu", seen.used - seen.cached, alive);
	return seen;
}

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
		blocks->at[i] = take(user, key);
}

Test(heap, a_remote_free_waits_for_the_owner)
{
	static struct blocks blocks;
	struct user *user = user_enter();
	fill(&blocks, user, 7, 1000);
	struct heap *only = heap_first();
	on_thread(give_without_a_heap, &blocks);
	cr_assert_eq(heap_first(), only, "a thread that only frees makes no heap");
	walk(0);
	cr_assert_eq(user_alive(7), 1000, "not counted before they are home");
	heap_drain(&user->heap);
	cr_assert_eq(user_alive(7), 0);
	cr_assert_eq(user->heap.caches[user_tag(user, 7)].remote, 1000);
	walk(0);
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
	walk(0);
	heap_drain(&user->heap);
	walk(0);
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
	walk(0);
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
	walk(1000 - 334);
	cr_assert_gt(range_usage().active, 0);
	for (unsigned i = 0; i < 1000; i++)
		if (i % 3)
			user_give(NULL, blocks.at[i]);
	walk(0);
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
	void *block = take(user, 5);
	user_give(user, block);
	user_leave(user);
	walk(0);
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
	walk(0);
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
		blocks->at[i] = take(user, i % 2 ? 7 : 19);
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
		fresh[fresh_count++] = take(user, 7);
	cr_assert_gt(fresh_count, 300);
	walk(200 + fresh_count);
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
	walk(0);
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
		take(user, 7);
	for (unsigned i = 500; i < 1000; i += 5)
		user_give(NULL, blocks.at[i]);
	heap_drain(&user->heap);
	walk(fresh);
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
		take(user, 7);
	for (unsigned i = 0; i < 1000; i += 5)
		user_give(NULL, blocks.at[i]);
	atomic_store(&left->pending, atomic_exchange(&user->heap.pending, 0));
	heap_drain(&user->heap);
	cr_assert_eq(user_alive(19), 100, "its owner does not know yet");
	cr_assert(heap_borrow(left));
	heap_return(left);
	heap_drain(&user->heap);
	walk(fresh);
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
		blocks->at[i] = take(claimer, 7);
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
	walk(200);
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
	walk(200);
}

/* --- everything at once ------------------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 12, STEPS = 6000, MAILBOXES = 512 };

/* A block with its key and a pattern; passed through mailboxes, freed by whoever finds it. */
struct letter {
	uint64_t key;
	uint64_t seal; /* key and address mixed */
};

static struct letter *_Atomic mailboxes[MAILBOXES];
static _Atomic int64_t alive_of[KEYS];
static pthread_barrier_t barrier;

static uint64_t seal_of(const struct letter *letter)
{
	return (uint64_t)(uintptr_t)letter * UINT64_C(0x9E3779B97F4A7C15) ^ letter->key;
}

static const char *step(struct dice *dice, struct user *user)
{
	enum range_refusal why;
	unsigned key = (unsigned)dice_below(dice, KEYS);
	struct letter *fresh = NULL, *old;
	if (user && dice_chance(dice, 55)) {
		fresh = user_take(user, key, &why);
		if (!fresh)
			return "no memory";
		fresh->key = key;
		fresh->seal = seal_of(fresh);
		atomic_fetch_add(&alive_of[key], 1);
	}
	old = atomic_exchange(&mailboxes[dice_below(dice, MAILBOXES)], fresh);
	if (!old)
		return NULL;
	if (old->seal != seal_of(old))
		return "a letter was opened";
	atomic_fetch_sub(&alive_of[old->key], 1);
	user_give(user, old);
	return NULL;
}

static void change(struct dice *dice, struct user *user)
{
	unsigned key = (unsigned)dice_below(dice, KEYS);
	switch (dice_below(dice, 6)) {
	case 0:
		user_own(user, key);
		break;
	case 1:
		if (user->pool_of[key] != POOL_NONE)
			user_share(user, key);
		break;
	case 2:
		user_age(user);
		break;
	case 3:
		heap_send(&user->heap);
		break;
	case 4:
		heap_tend_all(&user->heap);
		break;
	default:
		user_settle(user);
	}
}

static void *live_a_few_lives(void *number)
{
	struct dice dice = dice_of((uintptr_t)number);
	const char *wrong = NULL;
	struct user *user = NULL;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < STEPS && !wrong; i++) {
			if (dice_below(&dice, 500) == 0) { /* threads come and go; while one is away it only frees */
				if (user)
					user_leave(user);
				user = user ? NULL : user_enter();
			}
			if (user && dice_below(&dice, 200) == 0)
				change(&dice, user);
			wrong = step(&dice, user);
		}
		pthread_barrier_wait(&barrier); /* the main thread walks */
		pthread_barrier_wait(&barrier);
	}
	if (user)
		user_leave(user);
	return (void *)(uintptr_t)wrong;
}

static bool anything_waits(void)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->next)
		if (atomic_load(&heap->inbox) || atomic_load(&heap->pending))
			return true;
	return false;
}

/* A heap passes on what has moved to another meanwhile, which may have been asked already. */
static void bring_everything_home(void)
{
	do {
		for (struct heap *heap = heap_first(); heap; heap = heap->next)
			heap_send(heap);
		for (struct heap *heap = heap_first(); heap; heap = heap->next)
			heap_drain(heap);
	} while (anything_waits());
}

static void check_books(int round)
{
	int64_t total = 0;
	for (unsigned key = 0; key < KEYS; key++)
		total += atomic_load(&alive_of[key]);
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "round %d: %s (granule %u)", round, seen.wrong, seen.granule);
	cr_assert_eq(seen.used - seen.cached, (uint64_t)total, "round %d: %lu alive, not %ld", round,
	             seen.used - seen.cached, total);
	bring_everything_home();
	for (unsigned key = 0; key < KEYS; key++)
		cr_assert_eq(user_alive(key), atomic_load(&alive_of[key]), "round %d: key %u: %ld alive, not %ld", round, key,
		             (long)user_alive(key), (long)atomic_load(&alive_of[key]));
	seen = walk_pools();
	cr_assert_null(seen.wrong, "round %d, all home: %s (granule %u)", round, seen.wrong, seen.granule);
}

static void everything_at_once(uintptr_t seed)
{
	pthread_t threads[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, live_a_few_lives, (void *)(seed + i)), 0);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		check_books(round);
		pthread_barrier_wait(&barrier);
	}
	for (int i = 0; i < THREADS; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "seed %lu: %s", seed, (char *)wrong);
	}
	for (int i = 0; i < MAILBOXES; i++) {
		struct letter *letter = atomic_exchange(&mailboxes[i], NULL);
		if (letter)
			user_give(NULL, letter);
	}
	walk(0);
	/* Every heap is left now, so whoever freed a slab's last block gave it back. */
	cr_assert_eq(range_usage().active, 0, "seed %lu: %zu bytes stay", seed, range_usage().active);
}

Test(heap, everything_at_once_1)
{
	everything_at_once(100);
}

Test(heap, everything_at_once_2)
{
	everything_at_once(200);
}

Test(heap, everything_at_once_3)
{
	everything_at_once(300);
}

/* Few blocks, so slabs come and go all the time, and a slab may be gone the moment its last block is given. */
static void *give_the_last(void *number)
{
	struct dice dice = dice_of((uintptr_t)number);
	struct user *user = number == (void *)1 ? user_enter() : NULL;
	const char *wrong = NULL;
	for (int i = 0; i < 100000 && !wrong; i++) {
		unsigned box = (unsigned)dice_below(&dice, 4);
		enum range_refusal why;
		struct letter *fresh = NULL;
		if (user) {
			fresh = user_take(user, 11, &why); /* nine blocks a slab */
			fresh->key = 11;
			fresh->seal = seal_of(fresh);
			if (i % 8 == 0)
				user_settle(user);
		}
		struct letter *old = atomic_exchange(&mailboxes[box], fresh);
		if (old && old->seal != seal_of(old))
			wrong = "a letter was opened";
		else if (old)
			user_give(user && i % 4 ? user : NULL, old);
	}
	if (user)
		user_leave(user);
	return (void *)(uintptr_t)wrong;
}

Test(heap, slabs_that_come_and_go_under_remote_frees)
{
	pthread_t threads[3];
	for (uintptr_t i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, give_the_last, (void *)(i + 1)), 0);
	for (int i = 0; i < 3; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "%s", (char *)wrong);
	}
	for (int i = 0; i < 4; i++)
		if (atomic_load(&mailboxes[i]))
			user_give(NULL, atomic_load(&mailboxes[i]));
	walk(0);
	cr_assert_eq(range_usage().active, 0);
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

static _Atomic bool stop;

static void *work_until_stopped(void *number)
{
	struct dice dice = dice_of((uintptr_t)number);
	struct user *user = user_enter();
	const char *wrong = NULL;
	while (!atomic_load(&stop) && !wrong) {
		if (dice_below(&dice, 300) == 0) {
			user_leave(user);
			user = user_enter();
		}
		wrong = step(&dice, user);
	}
	user_leave(user);
	return (void *)(uintptr_t)wrong;
}

static int live_on_in_the_child(struct user *mine)
{
	for (struct heap *heap = heap_first(); heap; heap = heap->next) {
		uint32_t state = atomic_load(&heap->state);
		HOLDS(state != HEAP_BORROWED && (state != HEAP_LIVE || heap == &mine->heap));
	}
	struct dice dice = dice_of(1);
	for (int i = 0; i < 2000; i++)
		HOLDS(!step(&dice, mine));
	struct user *second = user_enter(); /* an abandoned one if there is any, never a lost one */
	HOLDS(second && atomic_load(&second->heap.state) == HEAP_LIVE);
	for (int i = 0; i < 2000; i++)
		HOLDS(!step(&dice, second));
	user_leave(second);
	HOLDS(!walk_own_heap(&mine->heap));
	return 0;
}

Test(heap, a_forked_child_lives_with_what_is_whole)
{
	pthread_t threads[3];
	struct user *mine = user_enter();
	struct dice dice = dice_of(5);
	for (uintptr_t i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, work_until_stopped, (void *)(i + 1)), 0);
	for (int i = 0; i < 60; i++) {
		for (int s = 0; s < 200; s++)
			cr_assert_null(step(&dice, mine));
		int status = user_forked(mine, live_on_in_the_child);
		cr_assert_eq(status, 0, "fork %d: %x", i, (unsigned)status);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "%s", (char *)wrong);
	}
}
