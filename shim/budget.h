/* budget.h: the bound on what site-owned slabs may waste.
 *
 * An owned slab is refused when, with it, the owned slabs' unused bytes S would pass  L/8 + allowance,  where L is the
 * thread's live small bytes and the allowance (256 KiB by default) is shared by all threads of the process. Since slabs
 * are only ever added under that condition, the owned slabs' total is at most (1 + 1/8) x L_max + allowance, whatever
 * the program does afterwards: bytes that become unused later were live when they were counted. L and L_max are each
 * heap's own, so with several threads the bound is the sum of theirs, plus the allowance once. A slab that its site lost
 * counts on until it is empty.
 */
#ifndef SLUICE_BUDGET_H
#define SLUICE_BUDGET_H

#include "thread.h"

enum {
	BUDGET_READY_SLACK = 512 << 10,
	BUDGET_READY_TAG = 1 << 10, /* with less, 1000 routes of few blocks each go to the slabs at every other call */
	BUDGET_LARGE_THREAD = 4 << 20,
	BUDGET_LARGE_PROCESS = 32 << 20
};

/* Bytes of the process's allowance. Before the first thread. */
void budget_init(uint64_t allowance);

/* May the thread own one more slab of `bytes`? On true, *charged is what it took of the allowance, in granules. */
bool budget_allows(const struct thread *thread, size_t bytes, uint8_t *charged);

/* Of `count` slabs of `bytes` each, of which it may own one without the allowance: how many? */
unsigned budget_allows_many(const struct thread *thread, size_t bytes, unsigned count);

/* May the thread's caches hold `bytes` more ready? All of them together are bounded by L/8 + BUDGET_READY_SLACK +
 * BUDGET_READY_TAG for each route, which is of the order of what its books take. */
bool budget_allows_ready(const struct thread *thread, size_t bytes);

/* May its caches of large classes hold `bytes` more? If so, they are taken: of BUDGET_LARGE_THREAD for each
 * thread, and of BUDGET_LARGE_PROCESS for all of them. */
bool budget_take_large(struct thread *thread, size_t bytes);
void budget_give_large(struct thread *thread, size_t bytes);

/* The child of a fork: only the calling thread's allowance is still taken, NULL: none is. */
void budget_fork_child(const struct thread *thread);

#endif
