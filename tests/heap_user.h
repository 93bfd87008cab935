/* heap_user.h: the least a caller of pools/ must do to serve malloc and free.
 *
 * What shim/ does with routes, without its policies: a key (a kind of block of one class) has one tag on each heap, a
 * cache that misses asks the key's pool for a batch, a block that another heap's slab holds goes there. Tests of pools/
 * drive heaps through these few functions, from one thread or many, and compare with a model of their own.
 */
#ifndef HEAP_USER_H
#define HEAP_USER_H

#include "pools/pool.h"
#include "pools/walk.h"

enum { USER_KEYS = 96 };

struct user {
	struct heap heap;
	uint16_t tag_of[USER_KEYS];  /* 0: none yet */
	uint16_t pool_of[USER_KEYS]; /* index of its owned pool, or POOL_NONE */
};

/* The class of every key; set before the first user. */
extern uint8_t user_class_of[USER_KEYS];

/* How a test begins: a range of 1 GiB that keeps its memory, and keys of twelve classes; those twelve apart share one. */
void users_begin(void);

/* The pools are whole, and that many blocks with the program; the test fails otherwise. */
struct walk users_walk(uint64_t alive);

/* A heap for the calling thread: an abandoned one or a fresh one. NULL: no memory. */
struct user *user_enter(void);

/* Empties the caches and leaves the heap behind. */
void user_leave(struct user *user);

static inline struct user *user_of(struct heap *heap)
{
	return (struct user *)heap; /* it comes first */
}

/* The key's tag on the heap, made if need be; 0: no memory. */
uint16_t user_tag(struct user *user, unsigned key);

/* A block of the key; NULL: memory is out, *why says how. */
void *user_take(struct user *user, unsigned key, enum range_refusal *why);

/* The same for a test that cannot go on without. */
void *user_must_take(struct user *user, unsigned key);

/* Gives a block back, whoever's it is; user may be NULL for a thread without a heap. */
void user_give(struct user *user, void *block);

/* Makes a block, its slab's only one and the user's, one of the key, where it lies. false: no room behind it. */
bool user_resize(struct user *user, void *block, unsigned key);

/* Lets the key own a pool. false: no. */
bool user_own(struct user *user, unsigned key);

/* Makes the key's owned pool shared. */
void user_share(struct user *user, unsigned key);

/* Hands everything the caches hold back to the slabs. */
void user_settle(struct user *user);

/* heap_age with what it takes to notice a lost pool. */
void user_age(struct user *user);

/* A child that goes on with its user, the only one left, and ends with what `run` returns: its wait status, 0 for good.
 * Around it, as in shim/, the fork handlers of all of pools/. */
int user_forked(struct user *mine, int (*run)(struct user *mine));

/* Blocks of the key alive on all heaps by their books: allocs - frees. Exact when nothing is on its way. */
int64_t user_alive(unsigned key);

#endif
