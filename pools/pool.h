/* pool.h: taking blocks of one class, many at a time.
 *
 * A pool's slabs are in three places: the current one, a list of those with free blocks, a list of the full ones. All
 * functions are called by the thread that acts for the heap. A slab leaves its pool when its last block is given back,
 * unless it is the current one: so a program that frees and allocates around a slab's edge does not make it come and go.
 */
#ifndef SLUICE_POOL_H
#define SLUICE_POOL_H

#include "heap.h"
#include "range.h"

/* Empty shared pools for a fresh heap. */
void heap_pools_init(struct heap *heap);

struct pool *pool_at(const struct heap *heap, uint16_t index);

/* Opens an owned pool for (tag, class); NULL when the heap has HEAP_OWNED_MAX or memory is out. */
struct pool *pool_open(struct heap *heap, uint16_t tag, unsigned class);

/* Up to `want` blocks for `tag`, linked by their first word, last one NULL. Returns how many; 0: pool_grow first. */
uint32_t pool_take(struct heap *heap, struct pool *pool, uint16_t tag, uint32_t want, void **list);

/* Gives one more slab to the pool. */
enum range_refusal pool_grow(struct heap *heap, struct pool *pool);

/* Blocks that pool_take gave and the program never saw go back. */
void pool_untake(struct heap *heap, void *list);

/* slab_give said that something is due. */
void slab_event(struct heap *heap, struct slab *slab);

/* Brings used, live bytes and the owned tally up to date. */
void slab_fold(struct heap *heap, struct slab *slab);

/* After frees were counted in bulk: moves or retires the slab as its state demands. */
void slab_settle(struct heap *heap, struct slab *slab);

/* Turns an owned pool's slabs into shared ones and closes it. false: no memory for the tags, it stays. */
bool pool_share(struct heap *heap, struct pool *pool);

/* Gives the current slab back if nothing of it is used. */
void pool_shed(struct heap *heap, struct pool *pool);

/* The pool's list surgery, for heap_claim. */
void pool_detach(struct heap *heap, struct pool *pool, struct slab *slab);
void pool_attach(struct heap *heap, struct pool *pool, struct slab *slab);

/* Called before an owned slab's memory goes or changes hands, so that shim's budget can take its charge back. */
extern void (*slab_discharge)(struct slab *slab);

#endif
