/* Memory for sluice's own tables: zero-filled, aligned, apart from each other, and reused. */
#include "pools/meta.h"
#include "pools/os.h"
#include "tests/dice.h"
#include "tests/forked.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { PIECES = 512, STEPS = 30000, SIZE_MOST = 200000 };

struct held {
	unsigned char *at;
	size_t bytes;
	unsigned char pattern;
};

static bool all_are(const unsigned char *at, size_t bytes, unsigned char value)
{
	return bytes == 0 || (at[0] == value && memcmp(at, at + 1, bytes - 1) == 0);
}

/* Pieces never overlap (each keeps its own pattern), are zero when they come and aligned to 64. */
static const char *churn(uint64_t seed, int steps)
{
	struct held *held = mmap(NULL, PIECES * sizeof(*held), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dice dice = dice_of(seed);
	const char *wrong = NULL;
	for (int i = 0; i < steps && !wrong; i++) {
		struct held *h = &held[dice_below(&dice, PIECES)];
		if (h->at) {
			if (!all_are(h->at, h->bytes, h->pattern))
				wrong = "a piece keeps its bytes";
			meta_give(h->at, h->bytes);
			h->at = NULL;
			continue;
		}
		h->bytes = dice_below(&dice, dice_chance(&dice, 3) ? SIZE_MOST : 3000);
		h->pattern = (unsigned char)(1 + dice_below(&dice, 255));
		h->at = meta_take(h->bytes);
		if (!h->at)
			return "the kernel gave no memory";
		if ((uintptr_t)h->at % 64)
			wrong = "a piece is aligned to 64";
		if (!all_are(h->at, h->bytes, 0))
			wrong = "a piece comes filled with zeros";
		memset(h->at, h->pattern, h->bytes);
	}
	for (int i = 0; i < PIECES; i++)
		if (held[i].at)
			meta_give(held[i].at, held[i].bytes);
	munmap(held, PIECES * sizeof(*held));
	return wrong;
}

Test(meta, random_pieces_keep_apart)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		const char *wrong = churn(seed, STEPS);
		cr_assert_null(wrong, "seed %lu: %s", seed, wrong);
	}
}

static void *churn_thread(void *seed)
{
	return (void *)(uintptr_t)churn((uintptr_t)seed, STEPS / 4);
}

Test(meta, threads_keep_apart)
{
	pthread_t threads[4];
	for (uintptr_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn_thread, (void *)(100 + i)), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		cr_assert_null(wrong, "seed %d: %s", 100 + i, (char *)wrong);
	}
}

Test(meta, a_returned_piece_serves_the_next_of_its_size)
{
	void *piece = meta_take(1000);
	memset(piece, 7, 1000);
	meta_give(piece, 1000);
	cr_assert_eq(meta_take(1024), piece, "both are 1 KiB");
	cr_assert(all_are(piece, 1024, 0));
}

/* The same tables again and again cost nothing more. */
Test(meta, bytes_stay_when_everything_comes_back)
{
	cr_assert_null(churn(9, STEPS));
	size_t bytes = meta_bytes();
	cr_assert_gt(bytes, 0);
	cr_assert_null(churn(9, STEPS));
	cr_assert_eq(meta_bytes(), bytes);
}

enum { ASKERS = 2, ROUNDS = 1000, CHUNK = 4 << 20 };
static void *_Atomic home;
static pthread_barrier_t round_ends;

static void *ask_for_chunks(void *argument)
{
	void **seen = argument;
	for (unsigned i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&round_ends);
		seen[i] = meta_chunk(&home, CHUNK);
		if (pthread_barrier_wait(&round_ends) == PTHREAD_BARRIER_SERIAL_THREAD) {
			meta_give(home, CHUNK);
			home = NULL;
		}
	}
	return NULL;
}

/* Threads that ask at once get one and the same, and what those took that came second goes back. A piece of this size, used before,
 * takes so long to clear that they all find none there. */
Test(meta, a_chunk_is_taken_once)
{
	static void *seen[ASKERS][ROUNDS], *spare[ASKERS];
	pthread_t askers[ASKERS];
	for (unsigned t = 0; t < ASKERS; t++)
		spare[t] = meta_take(CHUNK);
	for (unsigned t = 0; t < ASKERS; t++)
		meta_give(spare[t], CHUNK);
	size_t before = meta_bytes();
	pthread_barrier_init(&round_ends, NULL, ASKERS);
	for (unsigned t = 0; t < ASKERS; t++)
		pthread_create(&askers[t], NULL, ask_for_chunks, seen[t]);
	for (unsigned t = 0; t < ASKERS; t++)
		pthread_join(askers[t], NULL);
	for (unsigned i = 0; i < ROUNDS; i++) {
		cr_assert_not_null(seen[0][i]);
		for (unsigned t = 1; t < ASKERS; t++)
			cr_assert_eq(seen[t][i], seen[0][i]);
	}
	cr_assert_eq(meta_bytes(), before);
}

/* Small pieces share a chunk, whatever big ones come in between. */
Test(meta, big_pieces_leave_the_chunk_to_the_small_ones)
{
	meta_take(64);
	size_t before = meta_bytes(), big = 0;
	for (int i = 0; i < 32; i++) {
		meta_take(64 << 10);
		meta_take(100 << 10);
		big += (64 << 10) + (128 << 10);
		meta_take(64);
	}
	cr_assert_leq(meta_bytes() - before, big + (64 << 10), "32 pieces of 64 bytes fit into a chunk");
}

static int refused_and_back(void)
{
	struct rlimit none = {0, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
	size_t bytes = meta_bytes();
	void *spare = meta_take(512 << 10);
	meta_give(spare, 512 << 10);
	HOLDS(setrlimit(RLIMIT_AS, &none) == 0);
	HOLDS(!meta_take(1 << 20) && meta_take(300 << 10) == spare);
	while (meta_take(4096)) /* to the end of the chunk */
		;
	HOLDS(meta_bytes() == bytes + (512 << 10) || meta_bytes() == bytes + (576 << 10));
	HOLDS(setrlimit(RLIMIT_AS, &all) == 0);
	HOLDS(meta_take(1 << 20) && meta_take(4096));
	return 0;
}

Test(meta, refusal_is_null_and_passes)
{
	cr_assert_eq(forked(refused_and_back), 0);
}

static int churn_in_the_child(void)
{
	meta_fork_child();
	return churn(6, 1000) ? 1 : 0;
}

/* A child made while another thread is at work finds the lock free and the lists whole. */
Test(meta, fork_handlers_leave_the_child_a_whole_table)
{
	pthread_t thread;
	cr_assert_eq(pthread_create(&thread, NULL, churn_thread, (void *)5), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(forked_between(meta_fork_prepare, churn_in_the_child, meta_fork_parent), 0);
	void *wrong;
	pthread_join(thread, &wrong);
	cr_assert_null(wrong);
}
