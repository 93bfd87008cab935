/* Large blocks: where they grow and shrink in place and where they move, and that calloc's are zero whatever was there. */
#include "pools/walk.h"
#include "shim/allocate.h"
#include "shim/ready.h"
#include "tests/acting.h"
#include "tests/books.h"
#include "tests/dice.h"
#include "tests/sanitized.h"
#include "tests/sites.h"
#include "tests/steps.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

static __attribute__((constructor(101))) void begin(void)
{
	acting_begin("decay:-1,range:64M");
}

/* A block born here, grown there: it stays in place while it fits, moves to the other thread's heap when it does not. */
static void *grow_elsewhere(void *block)
{
	for (size_t bytes = 20000; bytes < 3 << 20; bytes += bytes / 3) {
		block = reallocate(block, bytes, pc_of(1));
		if (!block || *(unsigned char *)block != 0xA7)
			return NULL;
		((unsigned char *)block)[bytes - 1] = 1;
		books_reallocated(15, bytes);
	}
	release(block);
	books_freed(15);
	return (void *)1;
}

Test(large, another_threads_large_block_grows)
{
	for (int i = 0; i < 10; i++) {
		pthread_t thread;
		void *good;
		unsigned char *block = allocate(18000, pc_of(15));
		*block = 0xA7;
		books_allocated(15, 18000);
		cr_assert_eq(pthread_create(&thread, NULL, grow_elsewhere, block), 0);
		pthread_join(thread, &good);
		cr_assert_not_null(good);
		books_check();
	}
}

/* Zero is what calloc's blocks are, whether fresh, purged, ready, spare, cut, or grown over an old one's bytes. */
Test(large, large_zeroed_blocks_are_zero_whatever_was_there)
{
	struct dice dice = dice_of(90);
	for (int i = 0; i < 200; i++) {
		size_t bytes = 1 + dice_large_size(&dice) % CLASS_SIZE_MAX;
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
Test(large, large_blocks_grow_and_shrink_in_place)
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

enum { SITE = 30 };

static const size_t shorter = 1 << 20, longer = 1280 << 10;
static volatile unsigned steps, wrong_steps;

static unsigned slots_of(unsigned class)
{
	unsigned slots = 0;
	for (uint32_t i = 0; i < range_usage().granules; i++)
		if (slab_owner(&range.slabs[i]) && slab_state(&range.slabs[i]) != SLAB_REST && range.slabs[i].class == class)
			slots += class_table[class].capacity;
	return slots;
}

/* What a fork's child would find if another thread forked at this moment. */
static void on_step(int sig)
{
	size_t sizes[] = {shorter, longer};
	(void)sig;
	steps++;
	for (unsigned i = 0; i < 2; i++)
		wrong_steps += cache_alive(cache_of(SITE, sizes[i])) > (int64_t)slots_of(class_of(sizes[i]));
}

/* A report says of each class that no more blocks are alive than its slabs hold. A child's has what the other threads were
 * at for ever. */
Test(large, a_fork_at_any_step_of_a_resize_finds_a_slab_for_each_block)
{
	if (SANITIZED || !STEPS_ARE_KNOWN)
		cr_skip_test("steps are known of x86-64 alone, and not of a sanitizer's code");
	route(SITE, shorter);
	route(SITE, longer);
	void *block = allocate(shorter, pc_of(SITE));
	cr_assert_eq(cache_alive(cache_of(SITE, shorter)), 1);
	steps_begin(on_step);
	void *grown = reallocate(block, longer, pc_of(SITE));
	void *shrunk = reallocate(grown, shorter, pc_of(SITE));
	steps_end();
	cr_assert(grown == block && shrunk == block);
	cr_assert_gt(steps, 100);
	cr_assert_eq(wrong_steps, 0, "%u of %u steps", wrong_steps, steps);
	release(block);
}
