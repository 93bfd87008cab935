/* pool.h: blocks of one class, in batches.
 *
 * A pool's slabs are in three places: the current one, a list of those with free blocks, a list of the full ones. All
 * functions are called by the thread that acts for the heap. A slab that becomes empty stays while its pool has few
 * such, so that a program that frees and allocates around a slab's edge does not make it come and go.
 */
#ifndef SLUICE_POOL_H
#define SLUICE_POOL_H

#include "heap.h"
#include "range.h"

/* Empty shared pools for a fresh heap. */
void heap_pools_init(struct heap *heap);

struct pool *pool_at(const struct heap *heap, uint16_t index);

/* Is the slab one tag's, by the owner that the caller read of it (or NULL)? Any thread may ask; false too where the slab has
 * changed hands since. */
bool slab_is_tags_own(const struct heap *owner, const struct slab *slab);

/* Opens an owned pool for (tag, class); NULL when the heap has HEAP_OWNED_MAX or memory is out. */
struct pool *pool_open(struct heap *heap, uint16_t tag, unsigned class);

/* Opens one more pool of the class for blocks of all tags, beside the shared one: its slabs have tags whatever the others
 * have, and nobody takes from it who was not given it. NULL as above. */
struct pool *pool_open_aside(struct heap *heap, unsigned class);

/* Would the shared pool of the class take the next block from a slab that has tags already? */
bool pool_is_tagged(const struct heap *heap, unsigned class);

/* Up to `want` blocks for `tag`, linked by their first word, last one NULL; up to `most` where that is less work: a slab's
 * whole free list. Returns how many; 0: pool_grow first. */
uint32_t pool_take(struct heap *heap, struct pool *pool, uint16_t tag, uint32_t want, uint32_t most, void **list);

/* Hands the first `count` blocks of a list, linked by their first word, all of this heap's slabs, back. Returns the rest. */
void *pool_give(struct heap *heap, void *list, uint32_t count);

/* Every block of the full slab is back, and what was in them, links too, is gone: it is as if it was never carved. */
void pool_renew(struct heap *heap, struct slab *slab);

/* How many slabs the pool should grow by: the more the faster it grows, and no more than a sixteenth of what it has. */
unsigned pool_growth(const struct pool *pool);

/* Gives so many more slabs to the pool, or as many as there are: RANGE_OK if it is one at least. */
enum range_refusal pool_grow(struct heap *heap, struct pool *pool, unsigned count);

/* The block a slab's carving starts with; it goes on in address order and around. */
uint32_t slab_first_block(const struct slab *slab);

/* Takes up to `want` of the blocks that lie ready in another tag's cache of the same heap and class, the newest ones, for
 * `tag`: as long as they are in shared slabs. Returns how many; linked in *list. */
uint32_t cache_pass(struct cache *from, uint16_t tag, uint32_t want, void **list);

/* Moves a slab with free blocks from an owned pool of the class to the shared one, if there is such a pool that nobody has
 * taken from for a while. To be asked before the shared pool grows: what one site has left is room for another. */
bool pool_reclaim(struct heap *heap, unsigned class);

/* Has the shared pool free blocks in a slab that was reclaimed, or lost by its owner? */
bool pool_has_reclaimed(const struct pool *shared);

/* Turns an owned pool's slabs into shared ones and closes it. In the heap's books they stay owned, so that what a site
 * left behind keeps being held against the next one's. */
void pool_share(struct heap *heap, struct pool *pool);

/* Gives back every slab that has no used block. */
void pool_shed(struct heap *heap, struct pool *pool);

/* Gives back the empty slabs of a single block. */
void heap_shed_spares(struct heap *heap);

/* Makes the only block of a full slab one of another such class, where it lies, for the tag; the caller keeps the caches'
 * books. false: what lies behind it is not free, or the cap. */
bool pool_resize(struct heap *heap, struct slab *slab, unsigned class, uint16_t tag);

/* The pool's list surgery, for heap_claim. */
void pool_detach(struct heap *heap, struct pool *pool, struct slab *slab);
void pool_attach(struct heap *heap, struct pool *pool, struct slab *slab);

/* Called before the memory of a slab with a charge goes, so that shim's budget can take its charge back. */
extern void (*slab_discharge)(struct slab *slab);

#endif
