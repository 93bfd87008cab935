/* heap_user.c: see heap_user.h.
 */
#include "heap_user.h"

#include "pools/meta.h"
#include "tests/forked.h"

#include <criterion/criterion.h>

enum { BATCH_MOST = 64, BATCH_BYTES_MOST = 16 << 10 };

uint8_t user_class_of[USER_KEYS];

void users_begin(void)
{
	classes_init();
	cr_assert(range_init(1 << 30));
	range_decay_set(-1);
	for (unsigned key = 0; key < USER_KEYS; key++)
		user_class_of[key] = (uint8_t)(key % 12 * 4);
}

struct walk users_walk(uint64_t alive)
{
	struct walk seen = walk_pools();
	cr_assert_null(seen.wrong, "%s (granule %u)", seen.wrong, seen.granule);
	cr_assert_eq(seen.used - seen.cached, alive, "%lu alive, not %lu", seen.used - seen.cached, alive);
	return seen;
}

struct user *user_enter(void)
{
	struct heap *heap = heap_adopt();
	if (heap)
		return user_of(heap);
	struct user *user = meta_take(sizeof(*user));
	if (!user)
		return NULL;
	for (unsigned key = 0; key < USER_KEYS; key++)
		user->pool_of[key] = POOL_NONE;
	if (heap_init(&user->heap))
		return user;
	meta_give(user, sizeof(*user));
	return NULL;
}

void user_leave(struct user *user)
{
	user_settle(user);
	heap_abandon(&user->heap);
}

uint16_t user_tag(struct user *user, unsigned key)
{
	if (!user->tag_of[key])
		user->tag_of[key] = heap_tag_new(&user->heap, key + 1);
	return user->tag_of[key];
}

static uint16_t translate(struct heap *heap, struct heap *from, uint16_t tag)
{
	return user_tag(user_of(heap), (unsigned)from->caches[tag].key - 1);
}

static void grow_batch(struct cache *cache, size_t size)
{
	uint32_t batch = 2u * (uint32_t)cache->batch + 1;
	if (batch > BATCH_MOST || batch * size > BATCH_BYTES_MOST)
		batch = cache->batch ? (uint32_t)cache->batch : 1;
	cache->batch = batch;
	cache_set_most(cache, 2 * batch);
}

static uint32_t fetch(struct user *user, unsigned key, uint32_t want, void **list, enum range_refusal *why)
{
	struct heap *heap = &user->heap;
	bool owned = user->pool_of[key] != POOL_NONE;
	struct pool *pool = owned ? pool_at(heap, user->pool_of[key]) : &heap->shared[user_class_of[key]];
	uint16_t tag = user->tag_of[key];
	uint32_t most = want == BATCH_MOST ? class_table[pool->class].capacity : want; /* whole lists too */
	*why = RANGE_OK;
	uint32_t count = pool_take(heap, pool, tag, want, most, list);
	if (!count && !owned && heap_claim(heap, pool->class, translate))
		count = pool_take(heap, pool, tag, want, most, list);
	if (!count && (*why = pool_grow(heap, pool, pool_growth(pool))) == RANGE_OK)
		count = pool_take(heap, pool, tag, want, most, list);
	return count;
}

void *user_take(struct user *user, unsigned key, enum range_refusal *why)
{
	size_t size = class_table[user_class_of[key]].size;
	uint16_t tag = user_tag(user, key);
	*why = RANGE_NO_MEMORY;
	if (!tag)
		return NULL;
	void *block = cache_take(&user->heap.caches[tag], size);
	if (block)
		return block;
	heap_drain(&user->heap);
	block = cache_take(&user->heap.caches[tag], size);
	if (block)
		return block;
	grow_batch(&user->heap.caches[tag], size);
	void *list = NULL;
	uint32_t count = fetch(user, key, user->heap.caches[tag].batch, &list, why);
	struct cache *cache = &user->heap.caches[tag]; /* a claim may have moved the caches */
	cache->free = list;
	cache_supply(cache, count);
	return count ? cache_take(cache, size) : NULL;
}

void *user_must_take(struct user *user, unsigned key)
{
	enum range_refusal why;
	void *block = user_take(user, key, &why);
	cr_assert_not_null(block, "refused: %d", why);
	return block;
}

void user_give(struct user *user, void *block)
{
	struct slab *slab = slab_of(block);
	if (!user || slab_owner(slab) != (uintptr_t)&user->heap) {
		if (user)
			heap_free_foreign(&user->heap, slab, block);
		else
			heap_free_remote(slab, block);
		return;
	}
	struct cache *cache = &user->heap.caches[slab_tag(slab, block)];
	if (cache_give(cache, block))
		cache_shrink(&user->heap, cache, cache->most / 2);
}

bool user_resize(struct user *user, void *block, unsigned key)
{
	uint16_t after = user_tag(user, key), before = slab_of(block)->tag;
	if (!after || !pool_resize(&user->heap, slab_of(block), user_class_of[key], after))
		return false;
	struct cache *from = &user->heap.caches[before], *to = &user->heap.caches[after];
	from->supplied--;
	to->allocs++;
	to->supplied++;
	return true;
}

bool user_own(struct user *user, unsigned key)
{
	uint16_t tag = user_tag(user, key);
	struct pool *pool = tag && user->pool_of[key] == POOL_NONE ? pool_open(&user->heap, tag, user_class_of[key]) : NULL;
	if (pool)
		user->pool_of[key] = pool->index;
	return pool;
}

void user_share(struct user *user, unsigned key)
{
	pool_share(&user->heap, pool_at(&user->heap, user->pool_of[key]));
	user->pool_of[key] = POOL_NONE;
}

static void empty(struct heap *heap, struct cache *cache)
{
	cache_shrink(heap, cache, 0);
	cache->batch = 0;
	cache_set_most(cache, 0);
}

void user_settle(struct user *user)
{
	for (uint32_t tag = 1; tag <= user->heap.tags; tag++)
		empty(&user->heap, &user->heap.caches[tag]);
}

static void lost(struct heap *heap, uint16_t tag)
{
	user_of(heap)->pool_of[heap->caches[tag].key - 1] = POOL_NONE;
}

void user_age(struct user *user)
{
	heap_age(&user->heap, lost);
}

static void prepare(void)
{
	heap_fork_prepare();
	range_fork_prepare();
	meta_fork_prepare();
}

static void go_on(void)
{
	meta_fork_parent();
	range_fork_parent();
	heap_fork_parent();
}

static struct {
	struct user *mine;
	int (*run)(struct user *);
} child;

static int go_on_in_the_child(void)
{
	meta_fork_child();
	range_fork_child();
	heap_fork_child(&child.mine->heap);
	return child.run(child.mine);
}

int user_forked(struct user *mine, int (*run)(struct user *))
{
	child.mine = mine;
	child.run = run;
	return forked_between(prepare, go_on_in_the_child, go_on);
}

int64_t user_alive(unsigned key)
{
	int64_t alive = 0;
	for (struct heap *heap = heap_first(); heap; heap = heap->next) {
		uint16_t tag = user_of(heap)->tag_of[key];
		if (tag)
			alive += cache_alive(&heap->caches[tag]);
	}
	return alive;
}
