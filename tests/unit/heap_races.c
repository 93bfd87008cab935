/* Heaps and threads, all at once: threads that come and go, own and share pools, and free each other's blocks. They work
 * between two barriers; while they wait, the walker looks at everything and the books are held against the model. And forks
 * in the middle of it. */
#define _GNU_SOURCE
#include "pools/walk.h"
#include "tests/dice.h"
#include "tests/forked.h"
#include "tests/heap_user.h"

#include <criterion/criterion.h>
#include <pthread.h>

TestSuite(heap_races, .init = users_begin);

enum { KEYS = 24, THREADS = 4, ROUNDS = 12, STEPS = 6000, MAILBOXES = 512 };

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
	users_walk(0);
	/* Every heap is left now, so whoever freed a slab's last block gave it back. */
	cr_assert_eq(range_usage().active, 0, "seed %lu: %zu bytes stay", seed, range_usage().active);
}

Test(heap_races, everything_at_once_1)
{
	everything_at_once(100);
}

Test(heap_races, everything_at_once_2)
{
	everything_at_once(200);
}

Test(heap_races, everything_at_once_3)
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

Test(heap_races, slabs_that_come_and_go_under_remote_frees)
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
	users_walk(0);
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

Test(heap_races, a_forked_child_lives_with_what_is_whole)
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
