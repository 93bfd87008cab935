/* The walker itself: each rule is broken once, by hand, in a heap where everything occurs; it must name that rule, and
 * find nothing once it is mended. */
#include "pools/walk.h"
#include "pools/pool.h"
#include "tests/heap_user.h"

#include <criterion/criterion.h>
#include <string.h>

enum { SHARED = 0, OWNED = 1, LONG = 2, SINGLE = 3, SPARE = 4, OTHER = 5 };

static struct user *user;
static struct slab *current, *partly, *full, *owned, *longer,
	*single;                        /* longer: of several granules; single: of one block */
static char *cached, *used, *freed; /* blocks: in a cache, with the program, on `partly`'s free list */

static void *take(unsigned key)
{
	enum range_refusal why;
	return user_take(user, key, &why);
}

static struct slab *slab_in(enum slab_state state, unsigned key)
{
	for (uint32_t i = 0; i < range_usage().granules; i++)
		if (slab_state(&range.slabs[i]) == state && range.slabs[i].class == user_class_of[key] &&
		    range.slabs[i].next != SLAB_NIL)
			return &range.slabs[i];
	return NULL;
}

static void setup(void)
{
	static void *blocks[3000];
	classes_init();
	cr_assert(range_init(64 << 20));
	range_decay_set(-1);
	user_class_of[SHARED] = 9; /* 160 bytes, 102 a slab */
	user_class_of[OTHER] = user_class_of[SHARED];
	user_class_of[OWNED] = 19;
	user_class_of[LONG] = 60;
	user_class_of[SINGLE] = CLASSES - 1;
	user_class_of[SPARE] = CLASS_SINGLE;
	cr_assert_not_null(user = user_enter());
	for (int i = 0; i < 1000; i++)
		blocks[i] = take(i % 10 ? SHARED : OTHER); /* so that their slabs have tags */
	for (int i = 300; i < 800; i += 3)
		user_give(user, blocks[i]);
	user_settle(user);
	cr_assert(user_own(user, OWNED));
	for (int i = 0; i < 200; i++)
		blocks[i] = take(OWNED);
	used = blocks[0];
	for (int i = 0; i < 30; i++)
		take(LONG);
	single = slab_of(take(SINGLE));
	user_give(user, take(SPARE));
	cache_shrink(&user->heap, &user->heap.caches[user_tag(user, SPARE)], 0);
	cr_assert_gt(user->heap.spare_bytes, 0);
	user_give(user, cached = blocks[1]);
	/* Some come from another thread, and are not home yet. */
	for (int i = 301; i < 400; i += 3)
		user_give(NULL, blocks[i]);
	current = &range.slabs[user->heap.shared[user_class_of[SHARED]].current];
	partly = slab_in(SLAB_PARTLY, SHARED);
	full = slab_in(SLAB_FULL, SHARED);
	owned = slab_of(used);
	longer = slab_in(SLAB_FULL, LONG);
	cr_assert(current && partly && full && owned && longer && partly->next != SLAB_NIL && longer->granules > 1);
	cr_assert_neq(user->heap.shared[user_class_of[SHARED]].current, SLAB_NIL);
	freed = partly->free;
	cr_assert_not_null(freed);
	cr_assert_null(walk_pools().wrong);
	cr_assert_null(walk_own_heap(&user->heap));
}

TestSuite(walk, .init = setup);

/* With `what` set to `value` the walker says `sentence`; with its own value, nothing. */
#define BREAK(what, value, sentence)                                                                                   \
	do {                                                                                                               \
		__typeof__((what) + 0) saved = (what);                                                                         \
		(what) = (value);                                                                                              \
		const char *wrong = walk_pools().wrong;                                                                        \
		(what) = saved;                                                                                                \
		cr_expect(wrong &&strcmp(wrong, sentence) == 0, "%s = %s: %s", #what, #value, wrong ? wrong : "nothing said"); \
		cr_expect_null(walk_pools().wrong);                                                                            \
	} while (0)

static struct pool *pool_of_key(unsigned key)
{
	return user->pool_of[key] == POOL_NONE ? &user->heap.shared[user_class_of[key]]
	                                       : pool_at(&user->heap, user->pool_of[key]);
}

Test(walk, sees_blocks)
{
	char *next = *(char **)freed;
	BREAK(*(void **)freed, freed, "a block is free once");
	BREAK(*(void **)freed, freed + 16, "a free block begins where a block begins");
	BREAK(*(void **)freed, used, "a free block lies in its slab");
	BREAK(*(void **)freed, slab_start(partly) - 160, "a free block lies in its slab");
	BREAK(*(void **)freed, NULL, next ? "the free list holds what is not used" : "");
	BREAK(partly->free, NULL, "the free list holds what is not used");
	BREAK(partly->used, partly->used + 1, "the free list holds what is not used");
	uint32_t capacity = class_table[current->class].capacity;
	cr_assert_lt(current->carved, capacity);
	void *beyond = slab_start(current) + (slab_first_block(current) + current->carved) % capacity * 160;
	BREAK(current->free, beyond, "a free block was carved");
	BREAK(partly->used, partly->carved + 1, "used blocks have been carved");
	BREAK(partly->carved, 200, "a slab has at most its class's blocks carved");
}

Test(walk, sees_remote_frees)
{
	struct slab *slab = NULL;
	for (uint32_t i = 0; i < range_usage().granules && !slab; i++)
		if (atomic_load(&range.slabs[i].remote) >> 32 > 1)
			slab = &range.slabs[i];
	cr_assert_not_null(slab);
	uint64_t word = atomic_load(&slab->remote);
	BREAK(slab->remote, word + (UINT64_C(1) << 32), "the remote list is as long as its count");
	BREAK(slab->remote, word - (UINT64_C(1) << 32), "the remote list is as long as its count");
	BREAK(slab->remote, word + 1, "a free block begins where a block begins");
	char *first = slab_start(slab) + ((size_t)(uint32_t)word - 1) * 16;
	BREAK(*(void **)first, first, "a block is free once");
	if (slab->free)
		BREAK(*(void **)first, slab->free, "a block is free once");
}

Test(walk, sees_parcels)
{
	struct user *sender = user_enter();
	void *blocks[3 * PARCEL_BLOCKS];
	for (int i = 0; i < 3 * PARCEL_BLOCKS; i++)
		blocks[i] = take(SHARED);
	for (int i = 0; i < 2 * PARCEL_BLOCKS + 2; i++)
		user_give(sender, blocks[i]);
	struct parcel *open = NULL, *sent = atomic_load(&user->heap.inbox);
	for (int i = 0; i < OUTBOX_LANES; i++)
		open = sender->heap.outbox.open[i] ? sender->heap.outbox.open[i] : open;
	cr_assert(open && sent && sent->next);
	cr_assert_null(walk_pools().wrong);
	BREAK(open->count, PARCEL_BLOCKS + 1, "a parcel holds at most so many blocks");
	BREAK(open->count, 0, "an open parcel has a block");
	BREAK(open->blocks[1], (void *)&sender, "a block in a parcel lies in the range");
	BREAK(open->blocks[1], open->blocks[0], "a block is in a parcel once");
	BREAK(open->blocks[1], (void *)((char *)open->blocks[0] + 16), "a block in a parcel begins where a block begins");
	BREAK(open->blocks[1], (void *)(range.base + ((size_t)(range_usage().granules - 1) << GRANULE_SHIFT)),
	      "a block in a parcel lies in a slab");
	BREAK(sent->to, &sender->heap, "a parcel is on the inbox it is for");
	BREAK(sent->count, 0, "a parcel on an inbox has a block");
	BREAK(sent->next, NULL, "a parcel that was sent is on an inbox");
	BREAK(sent->next->next, sent, "an inbox ends");
	BREAK(sender->heap.outbox.open[0], (struct parcel *)blocks, "a heap knows its parcels");
	struct slab *slab = slab_of(blocks[2 * PARCEL_BLOCKS + 5]);
	BREAK(slab->remote, (UINT64_C(3) << 32) | REMOTE_ALL, "a slab without links is free as a whole");
}

Test(walk, sees_slabs)
{
	BREAK(partly->class, CLASSES, "a slab has a class");
	BREAK(partly->class, 60, "a slab is cut as its class says");
	BREAK(partly->tag_shift, partly->tag_shift + 1, "a slab is cut as its class says");
	BREAK(longer->granules, 1, "a slab is cut as its class says");
	BREAK(longer[1].granules, 2, "a slab's rest points back at it");
	BREAK(longer[1].owner, (uintptr_t)&user->heap, "a slab's rest has no owner, so that frees look for its head");
	BREAK(longer[1].state, SLAB_NONE, "a slab's rest points back at it");
	BREAK(partly->owner, 0, "a slab has an owner");
	BREAK(partly->tag_shift, SLAB_ONE_TAG, "a slab has tags or is its own");
	BREAK(partly->tags, NULL, "a slab has tags or is its own");
	BREAK(owned->tags, partly->tags, "a slab has tags or is its own");
	BREAK(owned->tag, 0, "an owned slab carries its pool's tag");
	BREAK(partly->pool, partly->pool + 1, "a slab fits its pool");
	BREAK(pool_of_key(OWNED)->open, false, "a slab fits its pool");
}

Test(walk, sees_states)
{
	BREAK(partly->state, SLAB_FULL, "a full slab has every block used");
	BREAK(full->state, SLAB_PARTLY, "a partly free slab has a free block");
	BREAK(partly->state, SLAB_REST, "a slab is in the list of its state");
	BREAK(partly->state, SLAB_NONE, "a granule is free or in a slab");
	BREAK(partly->state, 7, "a slab is current, partly free or full");
	BREAK(partly->state, SLAB_CURRENT, "a slab is in the list of its state");
	BREAK(current->state, SLAB_PARTLY, "the current slab is the pool's");
	struct slab *none = &range.slabs[range_usage().granules - 1];
	cr_assert_eq(slab_state(none), SLAB_NONE);
	BREAK(none->state, SLAB_REST, "a granule is free or in a slab");
}

Test(walk, sees_single_blocks)
{
	cr_assert_gt(single->granules, SLAB_REST_MAX);
	BREAK(single->state, SLAB_CURRENT, "a slab of a single block is never current");
	BREAK(single[SLAB_REST_MAX].state, SLAB_REST, "far behind a slab's start the records are empty");
	BREAK(single[SLAB_REST_MAX - 1].state, SLAB_NONE, "a slab's rest points back at it");
	BREAK(single->granules, single->granules - 1, "a slab is cut as its class says");
	BREAK(single->tags, partly->tags, "a slab has tags or is its own");
	BREAK(single->pool, CLASSES + 5, "a slab fits its pool");
}

Test(walk, sees_lists)
{
	struct pool *pool = pool_of_key(SHARED);
	BREAK(pool->current, SLAB_NIL, "a pool's slabs are all in its lists");
	BREAK(pool->partly, partly->next, "lists are linked both ways");
	BREAK(pool->full, SLAB_NIL, "a pool's slabs are all in its lists");
	BREAK(pool->partly_last, pool->partly, "a pool knows the last of its partly free slabs");
	BREAK(pool->partly_last, SLAB_NIL, "a pool knows the last of its partly free slabs");
	BREAK(pool->slabs, pool->slabs + 1, "a pool's slabs are all in its lists");
	BREAK(pool->slabs, 1, "a pool knows how many slabs it has");
	BREAK(pool->empty, pool->empty + 1, "a pool knows how many empty slabs it keeps");
	BREAK(range.slabs[partly->next].prev, SLAB_NIL, "lists are linked both ways");
	BREAK(range.slabs[pool->partly].next, pool->partly, "lists are linked both ways");
	BREAK(range.slabs[pool->partly].next, slab_index(owned), "a slab is in the list of its state");
}

Test(walk, sees_caches)
{
	struct cache *cache = &user->heap.caches[user_tag(user, OWNED)];
	cr_assert_eq(cache->free, cached);
	BREAK(cache->free, *(void **)cached, "a cache's list is as long as its counters say");
	BREAK(cache->room, cache->room + 1, "a cache's list is as long as its counters say");
	BREAK(cache->most, cache->most + 1, "a cache's list is as long as its counters say");
	BREAK(cache->supplied, cache->supplied - 1, "what the slabs gave out went to the caches");
	BREAK(*(void **)cached, cached, "a cache's list is as long as its counters say");
	BREAK(*(void **)cached, &cache, "a cached block lies in the range");
	BREAK(*(void **)cached, slab_start(full), "a cached block belongs to the cache's tag");
	BREAK(cache->free, freed, "a cached block belongs to the cache's tag");
}

Test(walk, sees_books)
{
	struct heap *heap = &user->heap;
	BREAK(heap->spare_bytes, 0, "its spare bytes are the empty slabs of a single block");
	BREAK(heap->owned_pools, heap->owned_pools + 1, "a heap knows how many pools sites own");
	BREAK(heap->used_bytes, heap->used_bytes + 16, "a heap's used bytes are its slabs' used blocks");
	BREAK(heap->owned_bytes, 0, "its owned bytes are the slabs that are or were owned");
	BREAK(heap->owned_used_bytes, heap->owned_used_bytes - 1, "its owned used bytes are their used blocks");
	BREAK(owned->budgeted, false, "its owned bytes are the slabs that are or were owned");
	BREAK(partly->budgeted, true, "its owned bytes are the slabs that are or were owned");
	/* A slab of the range that nobody lists. */
	enum range_refusal why;
	struct slab *stray = range_take(1, 1, &why);
	stray->class = 0;
	stray->tags = &stray->tag;
	stray->tag = pool_of_key(OWNED)->tag;
	cr_expect_not_null(walk_pools().wrong);
	range_give(stray);
	cr_expect_null(walk_pools().wrong);
}

Test(walk, own_heap_sees_its_slabs_too)
{
	void *saved = partly->free;
	partly->free = NULL;
	cr_expect_str_eq(walk_own_heap(&user->heap), "the free list holds what is not used");
	partly->free = saved;
	user->heap.used_bytes++;
	cr_expect_str_eq(walk_own_heap(&user->heap), "a heap's used bytes are its slabs' used blocks");
	user->heap.used_bytes--;
	cr_expect_null(walk_own_heap(&user->heap));
}

Test(walk, counts_what_it_sees)
{
	struct walk seen = walk_pools();
	cr_expect_eq(seen.bytes, range_usage().active);
	cr_expect_eq(seen.owned_bytes, user->heap.owned_bytes);
	cr_expect_eq(seen.used - seen.cached, (uint64_t)(user_alive(SHARED) + user_alive(OTHER) - 33 + user_alive(OWNED) +
	                                                 user_alive(LONG) + user_alive(SINGLE)));
}
