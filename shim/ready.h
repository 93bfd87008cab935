/* ready.h: how many blocks each cache of a thread may keep ready, and how many it asks the pools for at once.
 *
 *   refill ──► ready_grow_batch     twice as many blocks the next time, up to where it pays
 *   overflow ──► ready_overflow     the cache is full: it may hold more if it is refilled and overflows in turn
 *   once in a while ──► ready_age   a cache nobody takes from is emptied and starts anew
 *   by the clock ──► ready_decay    the same for large classes
 *
 * What a cache may hold (`most`) is changed here only, and with it the thread's three sums of it (thread.h), which the budget reads;
 * `churned`, `seen` and `refilled` are looked at here only. All of it belongs to the
 * calling thread, off the fast path.
 */
#ifndef SLUICE_READY_H
#define SLUICE_READY_H

#include "route.h"

/* Before the first thread. */
void ready_init(void);

/* The tag's cache is about to be refilled: sets its batch, and what it may hold with that. */
void ready_grow_batch(struct thread *thread, uint16_t tag);

/* A refill may take as many blocks, if they come without being looked at (pool_take): a slab's whole free list, where full
 * batches do not suffice and the budget lets as much lie ready; else the batch. */
uint32_t ready_batch_max(const struct thread *thread, uint16_t tag);

/* The tag's cache has been refilled with `count` blocks, at most ready_batch_max. */
void ready_refilled(struct thread *thread, uint16_t tag, uint32_t count);

/* cache_give said that the thread's cache holds too much. */
void ready_overflow(struct thread *thread, struct cache *cache);

/* The route is about to get a pool of its own, or to lose it: what its cache may hold is to count as such. */
void ready_set_owned(struct thread *thread, uint16_t tag, bool owned);

/* Small classes: empties the caches nobody has taken from since the last call. */
void ready_age(struct thread *thread);

/* Large classes: the same, once a decay period has gone by; the heap's spare slabs go with it. Called at each refill, with
 * its class; it looks at the clock at those of large classes, and at some of the others, and then for memory pressure too. */
void ready_decay(struct thread *thread, unsigned class);

/* Gives back what lies ready of large classes and the heap's spare slabs, as malloc_trim asks. */
void ready_trim(struct thread *thread);

/* Gives every block the caches hold ready back to the pools; the thread is about to go. */
void ready_settle(struct thread *thread);

#endif
